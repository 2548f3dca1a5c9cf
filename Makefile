# Everything starts from a bare Python 3.11+: `make demo` and `make test` create .venv, install, and run.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PROJECT := pyproject.toml setup.py

.PHONY: demo test check lint format types bench bench-ops bench-all peers peers-gpu test-long test-gpu bench-gpu rehearse-gpu clean

demo: $(VENV)/.demo
	$(BIN)/python examples/digits.py

test: $(VENV)/.test
	$(BIN)/python -m pytest -n 2

# Longer than the test command may take: fuzzing with more examples, files exchanged with an installed Keras.
test-long: $(VENV)/.test
	GRAPHKERAS_LONG_TESTS=1 $(BIN)/python -m pytest -n 2

# On a machine with an NVIDIA GPU: ops, gradients and training on the device; then the small part under the sanitizer.
test-gpu: $(VENV)/.cuda
	$(BIN)/python -m pytest tests/gpu tests/codegen/test_cuda_compiler.py
	if command -v compute-sanitizer > /dev/null; then GRAPHKERAS_QUICK=1 compute-sanitizer --error-exitcode 1 \
		$(BIN)/python -m pytest tests/gpu/test_gpu_training.py -k mlp; else echo "compute-sanitizer is not installed"; fi

# All that is to be measured on a GPU, in one run: tests and sanitizer, kernels against copies, cuBLAS and cuDNN, models
# against PyTorch, torch.compile and Keras on JAX and PyTorch (`make peers-gpu`). Or a part: GPU="memory products --quick".
bench-gpu: $(VENV)/.cuda
	$(BIN)/python -m benchmarks.gpu $(GPU)

# The same command without a GPU, with tiny sizes: shows that it runs.
rehearse-gpu: $(VENV)/.test
	$(BIN)/python -m benchmarks.gpu --device cpu --out benchmarks/results/rehearsal.json $(GPU)

check: test lint format types

lint: $(VENV)/.dev
	$(BIN)/ruff check .

format: $(VENV)/.dev
	$(BIN)/ruff format --check .

# mypy knows no package-dir: it gets a folder in which ir/ and codegen/ lie below graphkeras, as they install.
types: $(VENV)/.dev
	mkdir -p build/types/graphkeras
	touch build/types/graphkeras/__init__.py
	ln -sfn ../../../ir build/types/graphkeras/ir
	ln -sfn ../../../codegen build/types/graphkeras/codegen
	$(BIN)/mypy

# Side by side with Keras on JAX, TensorFlow and PyTorch; the peers live in an environment of their own.
bench: $(VENV)/.demo
	$(BIN)/python -m benchmarks models

bench-ops: $(VENV)/.demo
	$(BIN)/python -m benchmarks ops

bench-all: $(VENV)/.demo
	$(BIN)/python -m benchmarks all --html benchmarks/results/report.html

peers:
	$(PYTHON) benchmarks/make_peers.py

peers-gpu:
	$(PYTHON) benchmarks/make_peers.py gpu

clean:
	rm -rf $(VENV) .peers .peers-gpu build *.egg-info

$(BIN)/python:
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "graphkeras needs Python 3.11 or newer"'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(BIN)/python $(PROJECT)
	$(BIN)/python -m pip install -q -e '.[demo]'
	touch $@

$(VENV)/.test: $(BIN)/python $(PROJECT)
	$(BIN)/python -m pip install -q -e '.[demo,test]'
	touch $@

$(VENV)/.cuda: $(BIN)/python $(PROJECT)
	$(BIN)/python -m pip install -q -e '.[demo,test,cuda]'
	touch $@

$(VENV)/.dev: $(BIN)/python $(PROJECT)
	$(BIN)/python -m pip install -q -e '.[demo,test,dev]'
	touch $@
