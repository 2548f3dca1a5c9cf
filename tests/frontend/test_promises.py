"""What the README promises of whole trainings: same bits, nothing compiled twice, vector code, light, no leaks."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap

import numpy as np
import pytest

import graphkeras as keras
from graphkeras import layers
from graphkeras.codegen.cpu import cache, compiler
from graphkeras.codegen.program import Program


@pytest.fixture(autouse=True)
def native(monkeypatch):
    monkeypatch.setenv("GRAPHKERAS_TARGET", "cpu")


def mlp():
    return keras.Sequential(
        [
            keras.Input((64,)),
            layers.Dense(256, activation="relu"),
            layers.LayerNormalization(),
            layers.Dropout(0.3),
            layers.Dense(256, activation="gelu"),
            layers.Dense(5, activation="softmax"),
        ]
    )


def cnn():
    return keras.Sequential(
        [
            keras.Input((64,)),
            layers.Reshape((8, 8, 1)),
            layers.Conv2D(16, 3, padding="same", activation="relu"),
            layers.Conv2D(32, 3),
            layers.BatchNormalization(),
            layers.MaxPooling2D(),
            layers.SpatialDropout2D(0.2),
            layers.GlobalAveragePooling2D(),
            layers.Dropout(0.2),
            layers.Dense(5, activation="softmax"),
        ]
    )


def lstm():
    return keras.Sequential(
        [
            keras.Input((64,)),
            layers.Reshape((8, 8)),
            layers.LSTM(12, dropout=0.2),
            layers.Dense(5, activation="softmax"),
        ]
    )


def data(rows):
    rng = np.random.default_rng(0)
    return rng.normal(size=(rows, 64)).astype("float32"), rng.integers(0, 5, rows)


def trained(make, rows=200, batch_size=64, epochs=2):
    """A model after a short training from seed 7, and everything the training changed or reported."""
    keras.utils.set_random_seed(7)
    model = make()
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    x, y = data(rows)
    history = model.fit(x, y, batch_size=batch_size, epochs=epochs, validation_split=0.2, verbose=0).history
    state = [*model.get_weights(), *(v.numpy() for v in model.optimizer.variables), model.predict(x, verbose=0)]
    return model, state, history


def same_bits(one, other):
    assert one[2] == other[2]
    for a, b in zip(one[1], other[1], strict=True):
        np.testing.assert_array_equal(a, b)


# -- same bits ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("make", [mlp, cnn])
def test_same_bits_from_run_to_run_and_for_any_number_of_threads(make, monkeypatch):
    parallel = set()
    run = Program.run

    def with_threads(count):
        def chosen(program, steps=1, threads=None):
            parallel.add((count, program.image.parallel))
            run(program, steps, count)

        return chosen

    results = []
    for threads in (1, 2, 2):
        monkeypatch.setattr(Program, "run", with_threads(threads))
        results.append(trained(make))
    assert {(1, True), (2, True)} <= parallel  # there was work for several threads
    for other in results[1:]:
        same_bits(results[0], other)
    moved = [np.abs(v).max() for v in results[0][1]]
    assert np.all(np.isfinite(moved)) and len(set(results[0][2]["loss"])) == 2


def test_another_seed_gives_other_bits():
    first = trained(mlp, rows=64, epochs=1)
    keras.utils.set_random_seed(8)
    model = mlp()
    assert any(np.any(a != b) for a, b in zip(model.get_weights(), first[1], strict=False))


# -- nothing compiled twice -------------------------------------------------------------------------------
@pytest.mark.parametrize("make", [mlp, cnn, lstm])
def test_other_batch_sizes_compile_nothing(make, monkeypatch):
    """The last partial batch, another batch size, data of another length: new plans, no machine code.

    `test_batch_generic.py` looks at many more models and sizes, without running them.
    """
    asked: list[str] = []
    load = cache.load
    monkeypatch.setattr(cache, "load", lambda sources: asked.extend(sources) or load(sources))
    model, *_ = trained(make, rows=400, batch_size=80, epochs=1)
    known, compiled = set(asked), cache.counts.compiled
    asked.clear()
    x, y = data(310)
    model.fit(x, y, batch_size=80, verbose=0)  # the last batch has 70 rows
    model.evaluate(x, y, batch_size=80, verbose=0)
    model.predict(x, batch_size=64, verbose=0)
    for size in (72, 33, 8, 7, 2, 110):  # 110 and its inverse in float32 do not make 1
        model.fit(x[: 3 * size], y[: 3 * size], batch_size=size, verbose=0)
    assert asked and not set(asked) - known
    assert cache.counts.compiled == compiled


def test_an_equal_model_and_another_learning_rate_compile_nothing():
    trained(mlp, rows=64, epochs=1)
    compiled = cache.counts.compiled
    keras.utils.set_random_seed(3)
    model = mlp()
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(*data(64), batch_size=64, verbose=0)
    model.optimizer.learning_rate = 1e-4
    model.fit(*data(64), batch_size=64, verbose=0)
    assert cache.counts.compiled == compiled


# -- vector code ------------------------------------------------------------------------------------------
@pytest.mark.parametrize("make", [mlp, cnn])
def test_loops_over_floats_are_vector_code(make, monkeypatch):
    """Every pointwise and reduction kernel of a train step that moves more than a few bytes has float vectors."""
    kernels = {}
    run = Program.run

    def noting(program, *arguments, **named):
        kernels.update({k.source: k for k in program.kernels})
        run(program, *arguments, **named)

    monkeypatch.setattr(Program, "run", noting)
    trained(make, rows=64, epochs=1)
    loops = {
        s: k
        for s, k in kernels.items()
        if k.name.startswith(("map_", "row_reduce", "column_")) and "float32" in s and k.nbytes > 2000
    }
    assert len(loops) >= 4
    plain = [k.name for s, k in loops.items() if not re.search(r"<\d+ x float>", compiler.optimised_ir(s))]
    assert not plain


# -- light --------------------------------------------------------------------------------------------------
def python(code, **environment):
    """What a fresh process prints."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**os.environ, "GRAPHKERAS_TARGET": "cpu", **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_import_takes_less_than_half_a_second(tmp_path):
    """The package itself, and what a first model needs of it (NumPy too), with bytecode that is already there."""
    code = """
        import time
        start = time.process_time()
        import graphkeras as keras
        keras.Sequential, keras.layers.Dense, keras.optimizers.Adam, keras.ops.add
        print(time.process_time() - start)
    """
    bytecode = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(tmp_path)}
    assert min(float(python(code, **bytecode)) for _ in range(3)) < 0.5


def test_a_process_that_finds_its_kernels_trains_without_a_compiler(tmp_path):
    code = """
        import sys
        import numpy as np
        import graphkeras as keras
        from graphkeras.codegen.cpu import cache
        keras.utils.set_random_seed(1)
        model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(8, activation="tanh"), keras.layers.Dense(1)])
        model.compile("adam", "mse")
        x = np.random.default_rng(0).normal(size=(70, 6)).astype("float32")
        loss = model.fit(x, x[:, :1], epochs=2, verbose=0).history["loss"]
        heavy = sorted({"numba", "h5py", "graphkeras.codegen.cpu.translate"} & set(sys.modules))
        print(cache.counts.compiled > 0, heavy, loss, model.predict(x[:2], verbose=0).tolist())
    """
    cold, warm = (python(code, GRAPHKERAS_CACHE=str(tmp_path)) for _ in range(2))
    assert cold.startswith("True ['graphkeras.codegen.cpu.translate'] ")
    assert warm.startswith("False [] ")
    assert warm.split("] ", 1)[1] == cold.split("] ", 1)[1]  # the same losses and predictions


# -- no leaks -------------------------------------------------------------------------------------------------
RESIDENT = """
    import gc
    import numpy as np
    import graphkeras as keras

    def resident():
        gc.collect()
        for line in open("/proc/self/status"):
            if line.startswith("VmRSS"):
                return int(line.split()[1]) / 1024

    def made():
        model = keras.Sequential(
            [keras.Input((32,)), keras.layers.Dense(256, "relu"), keras.layers.Dense(256), keras.layers.Dense(4)]
        )
        model.compile("adam", "mse")
        return model

    x, y = np.ones((96, 32), "float32"), np.ones((96, 4), "float32")
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="reads the resident memory from /proc")
def test_memory_does_not_grow_with_predictions_and_trainings():
    code = """
    model = made()
    for turn in range(1200):
        model.predict(x[: 1 + turn % 3], verbose=0)
        if turn % 20 == 0:
            model.fit(x, y, verbose=0)
        if turn == 199:
            before = resident()
    print(resident() - before)
    """
    assert float(python(textwrap.dedent(RESIDENT) + textwrap.dedent(code))) < 20  # MB


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="reads the resident memory from /proc")
def test_memory_does_not_grow_with_models():
    """A model that is gone leaves nothing: 0.9 MB of weights and Adam's slots each, 100 of them."""
    code = """
    for turn in range(130):
        model = made()
        model.fit(x, y, verbose=0)
        model.predict(x[:5], verbose=0)
        if turn == 29:
            before = resident()
    print(resident() - before)
    """
    assert float(python(textwrap.dedent(RESIDENT) + textwrap.dedent(code))) < 40  # MB
