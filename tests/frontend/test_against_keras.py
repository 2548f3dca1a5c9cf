"""Layers and training against what Keras computed (recorded by tests/fixtures/make_keras_fixtures.py), compiled."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import graphkeras as keras
from graphkeras.backend import executor
from graphkeras.core.tensor import Tensor
from graphkeras.core.trace import Trace
from graphkeras.ir.autodiff import gradients
from graphkeras.ir.types import numpy_dtype, type_of
from tests.fixtures.cases import LAYERS, MODELS, LayerCase, batches, set_fixed_weights

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"
RECORDED = np.load(FIXTURES / "layers.npz")
CURVES = np.load(FIXTURES / "curves.npz")


def close(got: np.ndarray, want: np.ndarray, tolerance: float) -> None:
    scale = np.abs(want).max(initial=1e-3)
    np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance * scale)


@pytest.mark.parametrize("case", LAYERS, ids=lambda c: c.name)
def test_layer(case: LayerCase) -> None:
    arrays = case.inputs()
    layer = case.make(keras.layers)
    spread = case.name == "multi_head"
    tensors = [keras.Input(batch_shape=a.shape, dtype=a.dtype.name) for a in arrays]
    layer(*tensors) if spread else layer(tensors if len(tensors) > 1 else tensors[0])
    set_fixed_weights(layer)
    with Trace() as trace:
        inputs = [trace.input(type_of(a)) for a in arrays]
        arguments = inputs if spread else [inputs if len(inputs) > 1 else inputs[0]]
        out = layer(*arguments, **({"training": True} if case.training else {}))
        r = np.random.default_rng(3).normal(size=out.shape).astype(np.float32)
        weights = [trace.lift(v) for v in layer.trainable_variables]
        wrt = [*weights, *([] if case.ids else [i.data for i in inputs])]
        found = gradients(trace.builder, [out.data], wrt, [trace.lift(Tensor(r))])
    zero = [
        Tensor(np.zeros(n.type.shape, n.dtype)) if g is None else Tensor(g, trace)
        for n, g in zip(wrt, found, strict=True)
    ]
    graph = trace.finish([out, *zero], case.name)
    executable = executor.compile(graph)
    results = [np.empty(o.type.shape, numpy_dtype(o.dtype)) for o in graph.outputs]
    executable.bind([*arrays, *(v.writable() for v in trace.reads)], results)
    executable.run(1)
    close(results[0], RECORDED[f"{case.name}/out"], 1e-5)
    names = [f"dw{k}" for k in range(len(weights))] + [f"dx{k}" for k in range(len(wrt) - len(weights))]
    for name, value in zip(names, results[1:], strict=True):
        close(value, RECORDED[f"{case.name}/{name}"], 1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_loss_curve(name: str) -> None:
    make, shape, vocabulary, optimizer = MODELS[name]
    model = make(keras)
    set_fixed_weights(model)
    model.compile(optimizer=optimizer, loss="sparse_categorical_crossentropy")
    losses = [float(model.train_on_batch(x, y)) for x, y in batches(shape, vocabulary)]
    np.testing.assert_allclose(losses, CURVES[name], rtol=1e-3, atol=1e-3)
