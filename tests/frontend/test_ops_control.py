"""Branches, loops and scans: eager values, recorded graphs, gradients."""

from __future__ import annotations

import numpy as np
import pytest

import graphkeras as keras
from graphkeras import ops, random
from graphkeras.core.keras_tensor import KerasTensor
from graphkeras.core.trace import Trace
from graphkeras.core.variable import Variable
from graphkeras.ir.interpreter import evaluate
from graphkeras.ir.types import TensorType
from tests.frontend.ops_cases import check, gradient, numeric_gradient, traced

X = np.array([1.0, -2.0, 3.0], dtype="float32")


def test_cond_and_switch():
    def pick(x):
        return ops.cond(ops.sum(x) > 0, lambda: x * 2.0, lambda: x - 1.0)

    check(pick, X * 2, X, symbolic=False)
    check(pick, -X - 1, -X, symbolic=False)
    index = np.array(7, dtype="int32")
    check(lambda i, x: ops.switch(i, [ops.negative, ops.exp], x), np.exp(X), index, X)
    np.testing.assert_allclose(gradient(pick, X)[0], [2, 2, 2])


def test_branches_must_agree():
    with pytest.raises(ValueError, match="same shapes and dtypes"):
        traced(lambda x: ops.cond(x[0] > 0, lambda: x, lambda: x[:2]), X)


def test_while_loop():
    def doubled(x):
        return ops.while_loop(lambda v, n: ops.max(v) < 100, lambda v, n: (v * 2, n + 1), (x, 0))

    values, rounds = doubled(X)
    assert int(rounds) == 6 and values.numpy().tolist() == (X * 64).tolist()
    values, rounds = traced(doubled, X)
    assert int(rounds) == 6 and values.tolist() == (X * 64).tolist()
    limited = traced(lambda x: ops.while_loop(lambda v: True, lambda v: (v + 1,), (x,), maximum_iterations=3)[0], X)
    assert limited.tolist() == (X + 3).tolist()


def test_fori_loop_has_a_gradient():
    def power(x):
        return ops.fori_loop(0, 3, lambda i, v: v * x, ops.ones_like(x))

    check(power, X**3, X, symbolic=False)
    np.testing.assert_allclose(gradient(power, X)[0], 3 * X**2, rtol=1e-5)


@pytest.mark.parametrize("reverse", [False, True])
def test_scan_over_structures(reverse):
    def run(xs, w):
        def step(carry, x):
            total = carry["sum"] + x * w
            return {"sum": total, "none": None}, (total, -x)

        carry, ys = ops.scan(step, {"sum": ops.zeros(()), "none": None}, xs, reverse=reverse)
        return carry["sum"], ys[0], ys[1]

    w = np.array(2.0, dtype="float32")
    order = X[::-1] if reverse else X
    sums = np.cumsum(order * 2)
    check(run, (sums[-1], sums[::-1] if reverse else sums, -X), X, w, symbolic=False)
    dx, dw = gradient(lambda xs, w: run(xs, w)[0], X, w)
    np.testing.assert_allclose(dx, [2, 2, 2])
    np.testing.assert_allclose(dw, X.sum())


def test_scan_without_inputs_and_empty():
    carry, ys = ops.scan(lambda c, _: (c + 1, c), 0, length=4)
    assert int(carry) == 4 and ys.numpy().tolist() == [0, 1, 2, 3]
    carry, ys = ops.scan(lambda c, x: (c, x), 0, np.zeros((0, 2), "float32"))
    assert ys.shape == (0, 2)
    with pytest.raises(ValueError, match="shapes may not change"):
        ops.scan(lambda c, x: (ops.stack([c, c]), None), ops.array(1.0), X)


def test_variables_may_be_assigned_inside():
    total = Variable(np.zeros((), "float32"))
    generator = random.SeedGenerator(1)

    def run(x):
        def step(carry, v):
            total.assign(total + v)
            return carry, random.uniform((), seed=generator)

        drawn = ops.scan(step, (), x)[1]
        ops.cond(x[0] > 0, lambda: total.assign(total * 2.0), lambda: total.assign(total * 1.0))
        ops.while_loop(lambda i: i < 3, lambda i: (total.assign_add(1.0), i + 1)[1:], (0,))
        return drawn, ops.identity(1) * total

    with Trace() as trace:
        drawn, _ = run(trace.input(TensorType((3,), "float32")))
        graph = trace.finish([drawn, trace.values[total], trace.values[generator.state]])
    start = {total: total.numpy(), generator.state: generator.state.numpy()}
    traced_values = evaluate(graph, [X, *(start[v] for v in trace.reads)])
    eager, _ = run(X)
    np.testing.assert_array_equal(traced_values[0], eager.numpy())
    assert len(set(eager.numpy().tolist())) == 3
    assert float(traced_values[1]) == float(total.numpy()) == (1 - 2 + 3) * 2 + 3
    assert traced_values[2].tolist() == generator.state.numpy().tolist() == [1, 3]


def test_maps_and_associative_scan():
    check(lambda x: ops.map(lambda v: v * v, x), X * X, X)
    check(lambda x: ops.vectorized_map(lambda v: v + 1, x), X + 1, X)
    check(lambda x: ops.associative_scan(ops.add, x), np.cumsum(X), X)
    check(lambda x: ops.associative_scan(ops.maximum, x, reverse=True), np.maximum.accumulate(X[::-1])[::-1], X)
    check(ops.vectorize(lambda a, b: ops.sum(a) * b, signature="(n),()->()"), [2.0, 4.0], X, np.float32([1, 2]))


def attend(item):
    """What needs rules of several kinds: products, a softmax, a loop, a branch, reads at computed places."""
    scores = ops.softmax(ops.matmul(item["keys"], item["query"]))
    mixed = ops.matmul(scores, item["keys"])
    looped = ops.while_loop(lambda v: ops.sum(v * v) > 0.5, lambda v: (v * 0.7,), (mixed,))[0]
    best = ops.take(item["keys"], ops.argmax(scores), axis=0)
    chosen = ops.cond(ops.sum(best) > 0, lambda: ops.sin(best), lambda: best * 2)
    return {"out": looped + chosen, "scores": (scores, ops.cumsum(item["query"]))}


def attend_items(count=4):
    rng = np.random.default_rng(0)
    return [rng.normal(size=s).astype("float32") for s in ((count, 5, 3), (count, 3))]


@pytest.mark.parametrize("mapping", [ops.map, ops.vectorized_map])
def test_maps_over_structures_and_their_gradients(mapping):
    keys, query = attend_items()

    def run(keys, query):
        result = mapping(attend, {"keys": keys, "query": query})
        return result["out"], *result["scores"]

    rows = [attend({"keys": k, "query": q}) for k, q in zip(keys, query, strict=True)]
    expected = [
        np.stack([np.array(p(r)) for r in rows])
        for p in (lambda r: r["out"], lambda r: r["scores"][0], lambda r: r["scores"][1])
    ]
    check(run, expected, keys, query)
    found = gradient(lambda k, q: ops.sum(run(k, q)[0] ** 2), keys, query)
    for i, (k, q) in enumerate(zip(keys, query, strict=True)):
        wanted = gradient(lambda k, q: ops.sum(attend({"keys": k, "query": q})["out"] ** 2), k, q)
        for g, w in zip(found, wanted, strict=True):
            np.testing.assert_allclose(g[i], w, rtol=2e-5, atol=1e-5)


def test_vectorized_map_is_one_product_and_map_a_loop():
    keys, query = attend_items()

    def kinds(mapping):
        with Trace() as trace:
            tensors = [trace.input(TensorType(a.shape, "float32")) for a in (keys, query)]
            result = mapping(lambda pair: ops.matmul(pair[0], pair[1]), tuple(tensors))
            return [n.op for n in trace.finish([result]).nodes]

    assert "scan" in kinds(ops.map)
    assert kinds(ops.vectorized_map).count("dot_general") == 1 and "scan" not in kinds(ops.vectorized_map)


def test_vectorized_map_of_what_cannot_be_recorded_runs_slice_by_slice():
    generator = random.SeedGenerator(1)
    drawn = ops.vectorized_map(lambda v: v + random.uniform((), seed=generator), np.zeros(3, "float32"))
    assert len(set(drawn.tolist())) == 3
    decided = ops.vectorized_map(lambda v: v if v > 0 else -2 * v, X)
    assert decided.tolist() == [1.0, 4.0, 3.0]


def test_gradient_of_associative_scan_over_a_structure():
    a, b = attend_items(6)[1], attend_items(6)[1][::-1].copy()

    def run(a, b):
        return ops.associative_scan(lambda l, r: (l[0] * r[0], r[0] * l[1] + r[1]), (a, b))[1]

    state, states = np.zeros(3), []
    for x, y in zip(a, b, strict=True):
        state = x * state + y
        states.append(state)
    check(run, np.stack(states), a, b)
    for found, wanted in zip(gradient(run, a, b), numeric_gradient(run, a, b), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)


def test_custom_gradient():
    @ops.custom_gradient
    def clipped(x):
        return ops.exp(x), lambda upstream: upstream * 10.0

    check(clipped, np.exp(X), X)
    np.testing.assert_allclose(gradient(lambda x: clipped(x) * 2.0, X)[0], [20, 20, 20])


def test_forward_derivative():
    value, slope = ops.jvp(lambda x: ops.sin(x) * x, (X,), (np.ones_like(X),))
    np.testing.assert_allclose(slope.numpy(), np.cos(X) * X + np.sin(X), rtol=1e-5)
    np.testing.assert_allclose(value.numpy(), np.sin(X) * X, rtol=1e-5)


def test_stop_gradient():
    np.testing.assert_allclose(gradient(lambda x: x * ops.stop_gradient(x), X)[0], X)


def test_symbolic_loops():
    x = KerasTensor((None, 3))
    assert ops.map(lambda v: v * 2, x).shape == (None, 3)
    assert ops.while_loop(lambda v: ops.sum(v) < 3, lambda v: v + 1, [x])[0].shape == (None, 3)


def test_functions_in_a_functional_model_use_tensors_around_them():
    x, scale = keras.Input((3,)), keras.Input(())
    factor = ops.sum(scale)

    def inner(v):
        return v * factor

    y = ops.cond(ops.sum(x) > 0, lambda: inner(x), lambda shift=x: shift - 1)
    z = ops.map(lambda row: row + ops.max(y), x)
    w = ops.while_loop(lambda v: ops.sum(v) < ops.sum(x) + 20, lambda v: (v + 1,), (z,))[0]
    model = keras.Model([x, scale], w)
    assert model.output_shape == (None, 3)
    for sign in (1.0, -1.0):
        a, s = sign * np.float32([[1, 2, 3], [4, 5, 6]]), np.float32([2, 3])
        wanted = a + (a * 5 if sign > 0 else a - 1).max()
        while wanted.sum() < a.sum() + 20:
            wanted = wanted + 1
        np.testing.assert_allclose(model.predict([a, s], verbose=0), wanted)
        np.testing.assert_allclose(model([a, s]), wanted)


def test_a_layer_inside_a_function_of_a_functional_model_is_refused():
    x, dense = keras.Input((3,)), keras.layers.Dense(3)
    with pytest.raises(ValueError, match=r"calls layer 'dense.*', whose weights the model would not know"):
        ops.cond(ops.sum(x) > 0, lambda: dense(x), lambda: x)
