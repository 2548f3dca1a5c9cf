"""Recurrent layers: values recorded from Keras 3.15.1, gradients, masks, states, dropout, wrappers."""

from __future__ import annotations

import doctest
import importlib
import json
import pathlib
import warnings
from typing import Any

import numpy as np
import pytest

import graphkeras as keras
from graphkeras import layers, ops
from graphkeras.backend import executor
from graphkeras.core.keras_tensor import KerasTensor
from graphkeras.core.masking import get_keras_mask
from graphkeras.core.trace import Trace
from graphkeras.ir.autodiff import gradients
from graphkeras.ir.interpreter import evaluate
from graphkeras.ir.types import type_of
from tests.frontend.layer_cases import run_traced

GOLDEN = pathlib.Path(__file__).parent / "golden"
RECORDED = json.loads((GOLDEN / "recurrent_values.json").read_text())
SHAPE = (2, 5, 3)
MASK = np.array([[1, 1, 0, 1, 0], [0, 1, 1, 1, 0]], bool)
X = np.random.default_rng(3).normal(size=SHAPE).astype("float32")
VIDEO = np.random.default_rng(4).normal(size=(2, 3, 4, 5, 2)).astype("float32")


def fill(layer: Any, seed: int, scale: float = 0.7) -> None:
    """Weights that the recording used too."""
    rng = np.random.default_rng(seed)
    layer.set_weights([rng.normal(size=w.shape).astype("float32") * scale for w in layer.get_weights()])


def make(case: dict[str, Any]) -> Any:
    name, arguments = case["layer"], dict(case["arguments"])
    if name == "Bidirectional":
        mode = arguments.pop("merge_mode")
        return layers.Bidirectional(layers.LSTM(4, **arguments), merge_mode=mode)
    if name == "stack":
        return layers.RNN([layers.LSTMCell(4), layers.GRUCell(3), layers.SimpleRNNCell(2)], **arguments)
    if name == "ConvLSTM2D":
        return layers.ConvLSTM2D(3, (2, 3), **arguments)
    return getattr(layers, name)(4, **arguments)


def call(layer: Any, case: dict[str, Any], x: Any) -> list[Any]:
    extra: dict[str, Any] = {}
    if "mask" in case["call"]:
        extra["mask"] = ops.convert_to_tensor(MASK)
    if "initial_state" in case["call"]:
        rng = np.random.default_rng(9)
        count = 2 if case["layer"] == "LSTM" else 1
        extra["initial_state"] = [
            ops.convert_to_tensor(rng.normal(size=(2, 4)).astype("float32")) for _ in range(count)
        ]
    return keras.tree.flatten(layer(x, **extra))


def case_id(case: dict[str, Any]) -> str:
    return "-".join([case["layer"], *(f"{k}={v}" for k, v in case["arguments"].items()), *case["call"]])


def _seed(position: int) -> int:
    """The recording numbered the cases within each group."""
    name = RECORDED[position]["layer"]
    if name in ("LSTM", "GRU", "SimpleRNN"):
        return position // 11
    return position - next(i for i, c in enumerate(RECORDED) if c["layer"] == name)


@pytest.mark.parametrize("position", range(len(RECORDED)), ids=lambda i: case_id(RECORDED[i]))
def test_recorded_values(position: int) -> None:
    case = RECORDED[position]
    x = VIDEO if case["layer"] == "ConvLSTM2D" else X
    layer = make(case)
    layer.build(x.shape)
    fill(layer, _seed(position))
    found = call(layer, case, x)
    assert len(found) == len(case["outputs"])
    for y, expected in zip(found, case["outputs"], strict=True):
        np.testing.assert_allclose(np.asarray(y), expected, rtol=1e-4, atol=3e-5)
    with Trace() as trace:
        traced = call(layer, case, trace.input(type_of(x)))
    graph = trace.finish(traced)
    values = evaluate(graph, [x, *(v.numpy() for v in trace.reads)])
    for y, value in zip(found, values, strict=True):
        np.testing.assert_allclose(value, np.asarray(y), rtol=1e-5, atol=1e-6)


# -- gradients ---------------------------------------------------------------------------------------------
def gradient_graph(layer: Any, x: np.ndarray, **kwargs: Any) -> tuple[Any, list[np.ndarray]]:
    """The graph of the outputs and the gradients of a weighted sum of them, with its inputs."""
    rng = np.random.default_rng(1)
    with Trace() as trace:
        inputs = trace.input(type_of(x))
        outputs = keras.tree.flatten(layer(inputs, **kwargs))
        loss = sum(ops.sum(y * rng.normal(size=y.shape).astype("float32")) for y in outputs)
        weights = [trace.read(w).data for w in layer.trainable_weights]
        found = gradients(trace.builder, [loss.data], [inputs.data, *weights])
    from graphkeras.core.tensor import Tensor

    graph = trace.finish([*outputs, *(Tensor(g, trace) for g in found)])
    return graph, [x, *(v.numpy() for v in trace.reads)]


GRADIENT_CASES = [
    ("LSTM", {"return_sequences": True}, False),
    ("LSTM", {"return_state": True, "go_backwards": True}, True),
    ("LSTM", {"recurrent_dropout": 0.4, "dropout": 0.3}, True),
    ("GRU", {"return_sequences": True}, True),
    ("GRU", {"reset_after": False}, False),
    ("SimpleRNN", {"return_sequences": True, "zero_output_for_mask": True}, True),
]


@pytest.mark.parametrize(("name", "arguments", "masked"), GRADIENT_CASES)
def test_compiled_gradients_against_float64(name: str, arguments: dict[str, Any], masked: bool) -> None:
    layer = getattr(layers, name)(4, **arguments)
    layer.build(SHAPE)
    fill(layer, 5)
    mask = ops.convert_to_tensor(MASK) if masked else None
    graph, arrays = gradient_graph(layer, X, mask=mask, training=True)
    expected = evaluate(graph, arrays, float64=True)
    compiled = executor.compile(graph)
    outputs = executor.empty_outputs(graph)
    with compiled.lock:
        compiled.bind(arrays, outputs)
        compiled.run()
        compiled.release()
    for found, value in zip(outputs, expected, strict=True):
        np.testing.assert_allclose(found, value, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("name", ["LSTM", "GRU", "SimpleRNN"])
def test_gradients_of_the_loop_are_those_of_the_unrolled_steps(name: str) -> None:
    values = []
    for unroll in (False, True):
        layer = getattr(layers, name)(4, unroll=unroll, return_sequences=True)
        layer.build(SHAPE)
        fill(layer, 6)
        graph, arrays = gradient_graph(layer, X, mask=ops.convert_to_tensor(MASK))
        values.append(evaluate(graph, arrays, float64=True))
    for looped, unrolled in zip(*values, strict=True):
        np.testing.assert_allclose(looped, unrolled, rtol=1e-10, atol=1e-12)


def test_weights_are_multiplied_once_for_all_steps() -> None:
    layer = layers.LSTM(4)
    layer.build(SHAPE)
    graph, _ = gradient_graph(layer, X)
    scans = [n for n in graph.nodes if n.op == "scan"]
    products = [n for s in scans for n in s.attrs["body"].nodes if n.op == "dot_general"]
    shapes = {n.shape for n in products}
    assert shapes == {(2, 16), (2, 4)}  # h @ R forwards, its cotangent backwards; nothing of the weights' shape


# -- states ------------------------------------------------------------------------------------------------
def test_stateful_carries_its_states_between_calls() -> None:
    layer = layers.LSTM(4, stateful=True, return_state=True)
    layer.build(SHAPE)
    plain = layers.LSTM(4, return_state=True)
    plain.build(SHAPE)
    plain.set_weights(layer.get_weights())
    _, *states = plain(X)
    expected, *_ = plain(X, initial_state=states)
    layer(X)
    found, *_ = layer(X)
    np.testing.assert_allclose(np.asarray(found), np.asarray(expected), rtol=1e-6)
    layer.reset_state()
    np.testing.assert_allclose(np.asarray(layer(X)[0]), np.asarray(plain(X)[0]), rtol=1e-6)
    assert len(layer.weights) == 3  # states are no weights


def test_stateful_in_predict_and_fit() -> None:
    inputs = keras.Input(batch_shape=SHAPE)
    layer = layers.GRU(4, stateful=True)
    model = keras.Model(inputs, layer(inputs))
    first = model.predict(X, batch_size=2, verbose=0)
    second = model.predict(X, batch_size=2, verbose=0)
    assert np.abs(first - second).max() > 1e-4
    state = np.asarray(layer.states[0])
    np.testing.assert_allclose(state, second, rtol=1e-6)
    model.compile("sgd", "mse")
    model.fit(X, np.zeros((2, 4), "float32"), batch_size=2, epochs=1, verbose=0)
    assert np.abs(np.asarray(layer.states[0]) - state).max() > 1e-5
    layer.reset_state()
    np.testing.assert_allclose(np.asarray(layer.states[0]), 0)


def test_stateful_wants_a_fixed_batch_size() -> None:
    with pytest.raises(ValueError, match="batch size must be static"):
        layers.LSTM(4, stateful=True).build((None, 5, 3))
    layer = layers.LSTM(4, stateful=True)
    layer(X)
    with pytest.raises(ValueError, match="expected batch size 2, received batch size 1"):
        layer(X[:1])


def test_initial_state_of_symbolic_tensors() -> None:
    sequence, h, c = keras.Input((5, 3)), keras.Input((4,)), keras.Input((4,))
    layer = layers.LSTM(4)
    model = keras.Model([sequence, h, c], layer(sequence, initial_state=[h, c]))
    states = [np.full((2, 4), v, "float32") for v in (0.5, -1.0)]
    expected = layer(X, initial_state=[ops.convert_to_tensor(s) for s in states])
    np.testing.assert_allclose(model.predict([X, *states], verbose=0), np.asarray(expected), rtol=1e-5, atol=1e-6)


# -- dropout -----------------------------------------------------------------------------------------------
def test_one_dropout_mask_for_all_steps() -> None:
    layer = layers.SimpleRNN(
        8, activation=None, use_bias=False, dropout=0.5, seed=3, return_sequences=True, kernel_initializer="identity"
    )
    layer.build((2, 6, 8))
    layer.cell.recurrent_kernel.assign(np.zeros((8, 8)))
    y = np.asarray(layer(np.ones((2, 6, 8), "float32"), training=True))
    assert set(np.unique(y)) == {0.0, 2.0}
    np.testing.assert_array_equal(y, np.repeat(y[:, :1], 6, axis=1))
    again = np.asarray(layer(np.ones((2, 6, 8), "float32"), training=True))
    assert (again != y).any()  # another mask for the next batch
    np.testing.assert_array_equal(np.asarray(layer(np.ones((2, 6, 8), "float32"))), np.ones((2, 6, 8)))


@pytest.mark.parametrize("name", ["LSTM", "GRU", "SimpleRNN"])
def test_recurrent_dropout_is_for_training_only(name: str) -> None:
    layer = getattr(layers, name)(4, recurrent_dropout=0.5, dropout=0.2, seed=1)
    layer.build(SHAPE)
    plain = getattr(layers, name)(4)
    plain.build(SHAPE)
    plain.set_weights(layer.get_weights())
    np.testing.assert_allclose(np.asarray(layer(X)), np.asarray(plain(X)), rtol=1e-5, atol=1e-6)
    assert np.abs(np.asarray(layer(X, training=True)) - np.asarray(plain(X))).max() > 1e-3
    traced, writes = run_traced(layer, X, training=True)
    assert traced.shape == (2, 4) and list(writes) == ["seed_generator_state"]


# -- masks -------------------------------------------------------------------------------------------------
def test_masks_of_embeddings_reach_recurrent_layers_and_pass_through() -> None:
    ids = np.array([[1, 2, 0], [3, 0, 0]])
    embedded = layers.Embedding(5, 4, mask_zero=True)(ids)
    sequence = layers.LSTM(3, return_sequences=True)
    y = sequence(embedded)
    np.testing.assert_array_equal(np.asarray(get_keras_mask(y)), ids != 0)
    np.testing.assert_array_equal(np.asarray(y)[0, 1], np.asarray(y)[0, 2])
    assert get_keras_mask(layers.GRU(3)(embedded)) is None
    both = layers.Bidirectional(sequence)(embedded)
    np.testing.assert_array_equal(np.asarray(get_keras_mask(both)), ids != 0)
    assert (np.asarray(both)[0, 2] == 0).all()


class Counter(layers.Layer):
    """A cell of another kind: the output is no state, and has another size."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.state_size = 3
        self.output_size = 2

    def call(self, inputs: Any, states: Any) -> Any:
        total = states[0] + inputs
        return total[:, :2] * 10, [total]


def test_custom_cell_whose_output_is_no_state() -> None:
    sums = np.cumsum(X, axis=1)
    np.testing.assert_allclose(np.asarray(layers.RNN(Counter())(X)), 10 * sums[:, -1, :2], rtol=1e-5)
    y, state = layers.RNN(Counter(), return_sequences=True, return_state=True, go_backwards=True)(X)
    back = np.cumsum(X[:, ::-1], axis=1)
    np.testing.assert_allclose(np.asarray(y), 10 * back[..., :2], rtol=1e-5)
    np.testing.assert_allclose(np.asarray(state), back[:, -1], rtol=1e-5)
    with pytest.raises(ValueError, match="zero_output_for_mask=True"):
        layers.RNN(Counter())(X, mask=ops.convert_to_tensor(MASK))
    zeroed = layers.RNN(Counter(), return_sequences=True, zero_output_for_mask=True)
    expected = 10 * np.cumsum(X * MASK[..., None], axis=1)[..., :2] * MASK[..., None]
    np.testing.assert_allclose(np.asarray(zeroed(X, mask=ops.convert_to_tensor(MASK))), expected, rtol=1e-5, atol=1e-6)


def test_cells_are_checked() -> None:
    with pytest.raises(ValueError, match="should have a `call` method"):
        layers.RNN(object())
    with pytest.raises(ValueError, match="state_size"):
        layers.RNN(layers.Dense(2))
    with pytest.raises(ValueError, match="positive integer"):
        layers.LSTM(0)
    with pytest.raises(ValueError, match="at least one time step"):
        layers.LSTM(2)(X[:, :0])


# -- wrappers ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("inner", "shape"),
    [
        (lambda: layers.Dense(4, activation="relu"), (2, 3, 5)),
        (lambda: layers.Conv2D(4, 3), (2, 3, 6, 6, 2)),
        (lambda: keras.Sequential([layers.Flatten(), layers.Dense(3)]), (2, 3, 4, 2)),
        (lambda: layers.LSTM(3), (2, 3, 4, 2)),
        (lambda: layers.LayerNormalization(), (2, 3, 4)),
        (lambda: layers.Lambda(lambda x: x - ops.mean(x)), (2, 3, 4)),
    ],
)
def test_time_distributed(inner: Any, shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).normal(size=shape).astype("float32")
    layer = inner()
    wrapped = layers.TimeDistributed(layer)
    y = np.asarray(wrapped(x))
    expected = np.stack([np.asarray(layer(x[:, t])) for t in range(shape[1])], axis=1)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)
    symbolic = wrapped(KerasTensor((None, *shape[1:]), "float32"))
    assert symbolic.shape == (None, *y.shape[1:])


def test_time_distributed_batch_normalization_sees_one_step_at_a_time() -> None:
    x = np.random.default_rng(0).normal(size=(8, 3, 2)).astype("float32") + np.arange(3)[:, None].astype("float32")
    layer = layers.TimeDistributed(layers.BatchNormalization(epsilon=0))
    y = np.asarray(layer(x, training=True))
    np.testing.assert_allclose(y.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(y.std(axis=0), 1, atol=1e-4)


def test_time_distributed_passes_masks() -> None:
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype("float32")
    mask = np.array([[1, 1, 0], [0, 1, 1]], bool)
    layer = layers.TimeDistributed(layers.Dense(2))
    y = layer(x, mask=ops.convert_to_tensor(mask))
    assert y.shape == (2, 3, 4, 2)
    with pytest.raises(ValueError, match="incompatible with the input"):
        layer(x, mask=ops.convert_to_tensor(mask[:, :2]))


def test_bidirectional_weights_and_states() -> None:
    layer = layers.Bidirectional(layers.GRU(2, return_state=True, stateful=True))
    y, *states = layer(X)
    assert y.shape == (2, 4) and len(states) == 2 == len(layer.states)
    weights = [w + 1 for w in layer.get_weights()]
    with_weights = layers.Bidirectional(layers.GRU(2), weights=weights)
    with_weights.build(SHAPE)
    for a, b in zip(with_weights.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(a, b)
    layer.reset_state()
    assert all((np.asarray(s) == 0).all() for s in layer.states)
    with pytest.raises(ValueError, match="go_backwards"):
        layers.Bidirectional(layers.LSTM(2), backward_layer=layers.LSTM(2))
    with pytest.raises(ValueError, match="Invalid merge mode"):
        layers.Bidirectional(layers.LSTM(2), merge_mode="max")


# -- configs -----------------------------------------------------------------------------------------------
EVERY = [
    layers.SimpleRNN(3, return_sequences=True, recurrent_dropout=0.1),
    layers.LSTM(3, unit_forget_bias=False, kernel_regularizer="l2", activity_regularizer="l1"),
    layers.GRU(3, reset_after=False, go_backwards=True, zero_output_for_mask=True),
    layers.RNN([layers.LSTMCell(3), layers.GRUCell(2)], return_state=True),
    layers.Bidirectional(layers.LSTM(3, return_sequences=True), merge_mode="sum"),
    layers.TimeDistributed(layers.Dense(4)),
]


@pytest.mark.parametrize("layer", EVERY, ids=lambda x: type(x).__name__)
def test_config_round_trip(layer: Any) -> None:
    layer.build(SHAPE)
    expected = keras.tree.flatten(layer(X))
    config = json.loads(json.dumps(layers.serialize(layer)))
    copy = layers.deserialize(config)
    assert json.loads(json.dumps(layers.serialize(copy))) == config
    assert [(w.name, w.shape) for w in copy.weights] == [(w.name, w.shape) for w in layer.weights]
    copy.set_weights(layer.get_weights())
    for a, b in zip(keras.tree.flatten(copy(X)), expected, strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


@pytest.mark.parametrize("layer", EVERY, ids=lambda x: type(x).__name__)
def test_symbolic_shapes(layer: Any) -> None:
    symbolic = keras.tree.flatten(layer(KerasTensor((None, None, 3), "float32")))
    for s, y in zip(symbolic, keras.tree.flatten(layer(X)), strict=True):
        assert s.shape == (None, *(None if i == 0 and len(y.shape) == 3 else n for i, n in enumerate(y.shape[1:])))


def test_mixed_precision() -> None:
    for name in ("LSTM", "GRU", "SimpleRNN"):
        layer = getattr(layers, name)(4, dtype="mixed_float16", return_sequences=True)
        y = layer(X)
        full = getattr(layers, name)(4, return_sequences=True)
        full.build(SHAPE)
        full.set_weights(layer.get_weights())
        assert y.dtype == "float16" and layer.weights[0].dtype == "float32"
        np.testing.assert_allclose(np.asarray(y, "float32"), np.asarray(full(X)), atol=5e-3)


def test_default_configs_are_those_of_keras() -> None:
    golden = json.loads((GOLDEN / "default_configs.json").read_text())
    made = {
        "keras.layers.LSTM": layers.LSTM(2, name="lstm"),
        "keras.layers.GRU": layers.GRU(2, name="gru"),
        "keras.layers.SimpleRNN": layers.SimpleRNN(2, name="simple_rnn"),
        "keras.layers.LSTMCell": layers.LSTMCell(2, name="lstm_cell"),
        "keras.layers.GRUCell": layers.GRUCell(2, name="gru_cell"),
        "keras.layers.ConvLSTM2D": layers.ConvLSTM2D(2, 3, name="conv_lstm2d"),
    }
    for name, layer in made.items():
        assert json.loads(json.dumps(layers.serialize(layer)))["config"] == golden[name]["serialized"]["config"], name


def test_docstring_examples() -> None:
    for name in (
        "rnn",
        "lstm",
        "gru",
        "simple_rnn",
        "stacked_rnn_cells",
        "bidirectional",
        "time_distributed",
        "conv_lstm",
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = doctest.testmod(importlib.import_module(f"graphkeras.layers.rnn.{name}"))
        assert result.failed == 0 and result.attempted > 0, name


def test_training_learns_to_remember_the_first_step() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(256, 6, 1)).astype("float32")
    y = (x[:, 0] > 0).astype("float32")
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((6, 1)), layers.LSTM(12), layers.Dense(1, activation="sigmoid")])
    model.compile(keras.optimizers.Adam(0.02), "binary_crossentropy", metrics=["accuracy"])
    history = model.fit(x, y, batch_size=32, epochs=12, verbose=0).history
    assert history["accuracy"][-1] > 0.9
