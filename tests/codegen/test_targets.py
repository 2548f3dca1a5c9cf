"""Kernels for other processors: AArch64 with NEON, which is compiled and read here, and AVX2, which is also run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import graphkeras as keras
from graphkeras import layers, ops
from graphkeras.codegen import flags
from graphkeras.codegen.compile import compile_graph
from graphkeras.codegen.cpu import compiler, runner, target, vectors
from graphkeras.codegen.cpu.fingerprint import fingerprint
from graphkeras.codegen.kernel import Kernel
from graphkeras.codegen.report import with_parts
from graphkeras.codegen.schedule import all_calls
from graphkeras.codegen.target import CPU

NEON_CPU = "neoverse-n1"
PRODUCTS = ("dot_", "conv", "attention", "winograd", "depthwise")
"""How the names of kernels begin that must be full of fused multiply-adds."""


class Listing:
    """Takes the place of a Program: keeps the kernels of a plan, loads nothing."""

    def __init__(self, instructions: Any, *, name: str, **rest: Any) -> None:
        self.name = name
        self.kernels = tuple(call.kernel for call in all_calls(instructions))
        self.groups: list[Any] = []
        self.declined: list[Any] = []


TARGET = replace(CPU, program_class=f"{__name__}:Listing")


# -- models -----------------------------------------------------------------------------------------------
def mlp() -> tuple[Any, Any, Any]:
    model = keras.Sequential(
        [keras.Input((20,)), layers.Dense(32, "relu"), layers.Dropout(0.5, seed=1), layers.Dense(5, "softmax")]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model, _normal(8, 20), np.arange(8) % 5


def convnet() -> tuple[Any, Any, Any]:
    parts = [
        keras.Input((16, 16, 3)),
        layers.Conv2D(16, 3, padding="same", use_bias=False),
        layers.BatchNormalization(),
        layers.ReLU(),
        layers.Conv2D(16, 3, padding="same", activation="relu"),
        layers.MaxPooling2D(),
        layers.DepthwiseConv2D(3, padding="same"),
        layers.Conv2D(8, 3, strides=2),
        layers.GlobalAveragePooling2D(),
        layers.Dense(3),
    ]
    model = keras.Sequential(parts)
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse")
    return model, _normal(4, 16, 16, 3), _normal(4, 3)


def recurrent() -> tuple[Any, Any, Any]:
    model = keras.Sequential([keras.Input((6,), dtype="int32"), layers.Embedding(30, 8), layers.LSTM(16)])
    model.compile("rmsprop", "mse")
    return model, np.arange(24).reshape(4, 6) % 30, _normal(4, 16)


def transformer() -> tuple[Any, Any, Any]:
    x = keras.Input((12, 16))
    h = layers.LayerNormalization()(x + layers.MultiHeadAttention(2, 8)(x, x, use_causal_mask=True))
    model = keras.Model(x, layers.LayerNormalization()(h + layers.Dense(16)(layers.Dense(32, "gelu")(h))))
    model.compile("adam", "mse")
    return model, _normal(3, 12, 16), _normal(3, 12, 16)


class Shuffle(layers.Layer):
    """Sorting, gathers, scatters, running sums and random numbers."""

    def call(self, x: Any) -> Any:
        order = ops.argsort(x, axis=-1)
        taken = ops.take_along_axis(x, order, axis=-1)
        noise = keras.random.normal(ops.shape(x), seed=keras.random.SeedGenerator(3))
        spread = ops.scatter_update(ops.zeros((8, 4)), [[1], [5]], ops.reshape(taken[0, :8], (2, 4)))
        best = ops.top_k(x, 2)[0]
        return ops.cumsum(taken + noise, axis=-1) + ops.sum(spread) + ops.sum(best, axis=-1, keepdims=True)


def shuffling() -> tuple[Any, Any, Any]:
    model = keras.Sequential([keras.Input((10,)), layers.Dense(10, "tanh"), Shuffle()])
    model.compile("sgd", "mse")
    return model, _normal(6, 10), _normal(6, 10)


MODELS: dict[str, Callable[[], tuple[Any, Any, Any]]] = {
    f.__name__: f for f in (mlp, convnet, recurrent, transformer, shuffling)
}


def _normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype("float32")


# -- AArch64 ----------------------------------------------------------------------------------------------
def train_kernels(name: str) -> list[Kernel]:
    """The kernels of a model's train step for the processor of the moment, one of each source."""
    keras.utils.set_random_seed(0)
    model, x, y = MODELS[name]()
    with flags.TARGET("interpret"):
        model.train_on_batch(x, y)
    (step,) = (p for key, p in model._programs.items() if key[0] == "train")
    listing = compile_graph(step.executable.graph, step.aliases, target=TARGET)
    found = {k.source: k for k in with_parts(listing.kernels)}
    for kernel in listing.kernels:
        found |= {source: kernel for source in kernel.companions if source not in found}
    return [replace(k, source=source) for source, k in found.items()]


@pytest.mark.parametrize("name", MODELS)
def test_train_steps_compile_for_neon(name: str) -> None:
    with flags.CPU(NEON_CPU):
        assert vectors.vectors() is vectors.NEON
        code = [(kernel, compiler.assembly(kernel.source)) for kernel in train_kernels(name)]
    products = maps = 0
    for kernel, text in code:
        called = set(re.findall(r"^\s+bl?\s+([A-Za-z_]\w*)$", text, re.M))
        assert called <= target.ALLOWED, f"{kernel.name} calls {called - target.ALLOWED}"
        if kernel.name.startswith(PRODUCTS):
            products += 1
            assert re.search(r"\bfmla\s+v\d+\.4s", text), kernel.name
        elif kernel.name.startswith("map_") and kernel.flops >= 64:
            maps += 1
            assert re.search(r"\bf[a-z]+\s+v\d+\.4s", text), kernel.name
    assert products >= 2 and maps >= 1


def test_the_plan_loop_compiles_for_aarch64_and_waits_with_its_hint() -> None:
    with flags.CPU(NEON_CPU):
        code = compiler.assembly(runner.plan_loop_source())
    assert re.search(r"^\s+yield$", code, re.M) and re.search(r"\bldap?r\b", code)


def test_the_plan_loop_flushes_subnormals_and_restores_the_mode_on_every_target() -> None:
    with flags.CPU(NEON_CPU):
        arm = compiler.assembly(runner.plan_loop_source())
    assert len(re.findall(r"\bmsr\s+fpcr", arm, re.I)) >= 2 and re.search(r"\bmrs\s+x\d+, fpcr", arm, re.I)


def test_names_of_processors_choose_architecture_vectors_and_cache_entries() -> None:
    seen = set()
    for name, unit in {"neoverse-v1": vectors.NEON, "apple-m1": vectors.NEON, "": None}.items():
        with flags.CPU(name):
            cpu = target.processor()
            assert cpu.architecture == ("aarch64" if unit else target.host().architecture)
            assert unit is None or vectors.vectors() is unit
            assert target.target_machine().triple == cpu.triple
            seen.add(fingerprint())
    assert len(seen) == 3


@pytest.mark.skipif(target.host().architecture != "x86_64", reason="x86-64 only")
def test_code_for_another_architecture_is_not_loaded() -> None:
    source = (
        "from graphkeras.codegen.cpu.support import *\n\n\ndef kernel(args, lo, hi):\n    ptr_int64(args, 0)[lo] = hi\n"
    )
    with flags.CPU(NEON_CPU):
        data = compiler.compile_object(source)
        with pytest.raises(RuntimeError, match=r"code for aarch64, and this process runs on x86_64.*'neoverse-n1'"):
            target.load_objects([(compiler.symbol_of(source), data)])
    (address,) = target.load_objects([(compiler.symbol_of(source), compiler.compile_object(source))])
    assert address


# -- AVX2 -------------------------------------------------------------------------------------------------
def check_steps_against_the_interpreter() -> None:
    """Train the models with kernels for the processor of the moment and with references; the weights must agree."""
    for name in ("mlp", "convnet", "recurrent", "transformer"):
        found = []
        for where in ("cpu", "interpret"):
            keras.utils.set_random_seed(0)
            model, x, y = MODELS[name]()
            with flags.TARGET(where):
                losses = [float(np.ravel(model.train_on_batch(x, y))[0]) for _ in range(2)]
            found.append([np.array(losses), *model.get_weights()])
        for ours, reference in zip(*found, strict=True):
            np.testing.assert_allclose(ours, reference, rtol=2e-3, atol=2e-4, err_msg=name)
        print(name)


@pytest.mark.skipif(target.host().architecture != "x86_64", reason="x86-64 only")
def test_avx2_kernels_compute_what_the_interpreter_does(tmp_path: Any) -> None:
    code = (
        "from graphkeras.codegen.cpu import vectors\n"
        "from tests.codegen.test_targets import check_steps_against_the_interpreter as check\n"
        "assert vectors.vectors() is vectors.AVX2\n"
        "check()"
    )
    environment = {**os.environ, "GRAPHKERAS_CPU": "haswell", "GRAPHKERAS_CACHE": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["mlp", "convnet", "recurrent", "transformer"]
    assert any(tmp_path.glob("*.gko"))
