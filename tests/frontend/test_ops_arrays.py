"""Reductions, shapes, indexing, order and creation against NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from graphkeras import ops
from graphkeras.core.keras_tensor import KerasTensor
from tests.frontend.ops_cases import check, gradient, traced

RNG = np.random.default_rng(1)
X = RNG.normal(size=(3, 4, 2)).astype("float32")


@pytest.mark.parametrize(
    "name",
    [
        "sum",
        "prod",
        "max",
        "min",
        "mean",
        "var",
        "std",
        "any",
        "all",
        "argmax",
        "argmin",
        "amax",
        "amin",
        "ptp",
        "count_nonzero",
    ],
)
@pytest.mark.parametrize("axis", [None, 1, -1])
def test_reductions(name, axis):
    check(lambda x: getattr(ops, name)(x, axis=axis), getattr(np, name)(X, axis=axis), X)


@pytest.mark.parametrize("name", ["sum", "mean", "max", "var"])
def test_reductions_of_several_axes_that_stay(name):
    want = getattr(np, name)(X, axis=(0, 2), keepdims=True)
    check(lambda x: getattr(ops, name)(x, axis=(0, -1), keepdims=True), want, X)


def test_dtypes_of_sums():
    assert ops.sum(np.ones(3, "bool")).dtype == "int32"
    assert ops.sum(np.ones(3, "uint8")).dtype == "uint32"
    assert ops.mean(np.ones(3, "int32")).dtype == "float32"
    assert float(ops.mean(ops.full((4096,), 1.0, "float16"))) == 1.0  # summed in float32


@pytest.mark.parametrize("name", ["nansum", "nanprod", "nanmax", "nanmin", "nanmean", "nanvar", "nanstd", "nanmedian"])
def test_reductions_without_nan(name):
    x = np.where(X > 1, np.nan, X).astype("float32")
    check(lambda t: getattr(ops, name)(t, axis=1), getattr(np, name)(x, axis=1), x)


@pytest.mark.parametrize("method", ["linear", "lower", "higher", "midpoint", "nearest"])
def test_quantiles(method):
    q = np.array([0.1, 0.5, 0.75], dtype="float32")
    check(lambda x: ops.quantile(x, q, axis=1, method=method), np.quantile(X, q, axis=1, method=method), X)
    check(lambda x: ops.percentile(x, 30.0, method=method), np.percentile(X, 30.0, method=method), X)


def test_cumulative_and_differences():
    check(lambda x: ops.cumsum(x, axis=1), np.cumsum(X, axis=1), X)
    check(lambda x: ops.cumprod(x, axis=0), np.cumprod(X, axis=0), X)
    check(lambda x: ops.diff(x, n=2, axis=1), np.diff(X, n=2, axis=1), X)
    check(ops.trapezoid, np.trapezoid(X), X)


def test_histogram():
    counts, edges = ops.histogram(X, bins=5)
    want, want_edges = np.histogram(X, bins=5)
    assert counts.numpy().tolist() == want.tolist()
    np.testing.assert_allclose(edges.numpy(), want_edges, rtol=1e-5)


VIEWS = {
    "reshape": (lambda m, x: m.reshape(x, (4, -1))),
    "transpose": (lambda m, x: m.transpose(x, (2, 0, 1))),
    "swapaxes": (lambda m, x: m.swapaxes(x, 0, -1)),
    "moveaxis": (lambda m, x: m.moveaxis(x, [0, 1], [2, 0])),
    "expand_dims": (lambda m, x: m.expand_dims(x, (0, -1))),
    "flip": (lambda m, x: m.flip(x, 1)),
    "rot90": (lambda m, x: m.rot90(x, 3, (0, 2))),
    "tile": (lambda m, x: m.tile(x, (2, 1, 1, 3))),
    "repeat": (lambda m, x: m.repeat(x, [1, 0, 2], axis=0)),
    "roll": (lambda m, x: m.roll(x, (1, -2), (0, 1))),
    "pad": (lambda m, x: m.pad(x, ((1, 0), (0, 2), (1, 1)), mode="constant", constant_values=3.0)),
    "reflect": (lambda m, x: m.pad(x, ((1, 0), (0, 2), (1, 1)), mode="reflect")),
    "concatenate": (lambda m, x: m.concatenate([x, x], axis=-1)),
    "stack": (lambda m, x: m.stack([x, x], axis=1)),
    "split": (lambda m, x: list(m.split(x, [1, 3], axis=1))),
    "array_split": (lambda m, x: list(m.array_split(x, 3, axis=1))),
    "diagonal": (lambda m, x: m.diagonal(x, 1, 0, 1)),
    "trace": (lambda m, x: m.trace(x, -1, 1, 2)),
    "tril": (lambda m, x: m.tril(x, -1)),
    "triu": (lambda m, x: m.triu(x, 1)),
    "vstack": (lambda m, x: m.vstack([x, x])),
    "meshgrid": (lambda m, x: list(m.meshgrid(x[0, :, 0], x[0, 0]))),
}


@pytest.mark.parametrize("name", VIEWS)
def test_shapes(name):
    check(lambda x: VIEWS[name](ops, x), VIEWS[name](np, X), X)


KEYS = [
    0,
    -1,
    (slice(None), 1),
    (Ellipsis, -1),
    (slice(None, None, -2), None, slice(3, 0, -1)),
    [0, 2],
    ([0, 2], [1, -1]),
    (np.array([[0, 1], [2, 2]]), slice(None), np.array([[0], [1]])),
    (0, slice(None), [1, 0]),
    X > 0.5,
    (X[:, 0, 0] > -10, slice(1, 3)),
]


@pytest.mark.parametrize("key", KEYS, ids=str)
def test_indexing_follows_numpy(key):
    check(lambda x: x[key] if not isinstance(x, np.ndarray) else ops.get_item(x, key), X[key], X)


def test_indexing_with_a_traced_index():
    i = np.array([2, 0], dtype="int32")
    np.testing.assert_array_equal(traced(lambda x, k: x[k, 1], X, i), X[i, 1])
    with pytest.raises(IndexError, match="out of"):
        ops.get_item(ops.array(X), 5)


def test_take_scatter_and_updates():
    i = np.array([[0, 1], [2, 3]], dtype="int32")
    check(lambda x, k: ops.take(x, k, axis=1), np.take(X, i, axis=1), X, i)
    j = RNG.integers(0, 4, (3, 2, 2)).astype("int32")
    check(lambda x, k: ops.take_along_axis(x, k, axis=1), np.take_along_axis(X, j, axis=1), X, j)
    where, values = np.array([[1], [3], [1]], dtype="int32"), np.array([1.0, 2.0, 4.0], dtype="float32")
    check(lambda w, v: ops.scatter(w, v, (5,)), [0, 5, 0, 2, 0], where, values)
    base = np.ones((2, 3), dtype="float32")
    spots = np.array([[0, 1], [1, 2]], dtype="int32")
    check(lambda b, s: ops.scatter_update(b, s, [5.0, 6.0]), [[1, 5, 1], [1, 1, 6]], base, spots)
    check(lambda b: ops.slice_update(b, [0, 1], np.zeros((2, 2), "float32")), [[1, 0, 0], [1, 0, 0]], base)
    check(lambda b: ops.slice(b, [0, 1], [2, -1]), base[:, 1:], base)


def test_a_traced_start_slices_dynamically():
    start = np.array([1, 0], dtype="int32")
    x = X[:, :, 0]
    np.testing.assert_array_equal(traced(lambda t, s: ops.slice(t, s, (2, 3)), x, start), x[1:3, :3])


def test_where_select_one_hot():
    check(lambda x: ops.where(x > 0, x, 0.0), np.where(X > 0, X, 0), X)
    check(lambda x: ops.select([x > 1, x > 0], [x, -x], 9.0), np.select([X > 1, X > 0], [X, -X], 9.0), X)
    labels = np.array([0, 2, 5, -1], dtype="int32")
    check(lambda k: ops.one_hot(k, 3), [[1, 0, 0], [0, 0, 1], [0, 0, 0], [0, 0, 0]], labels)
    check(lambda k: ops.multi_hot(k, 4), [[1, 0, 1, 0]], np.array([[0, 2, 2]], dtype="int32"))


def test_sorting():
    check(lambda x: ops.sort(x, axis=1), np.sort(X, axis=1), X)
    check(lambda x: ops.argsort(x, axis=1), np.argsort(X, axis=1, kind="stable"), X)
    values, places = ops.top_k(X[:, :, 0], 2)
    np.testing.assert_array_equal(values.numpy(), np.sort(X[:, :, 0], axis=1)[:, ::-1][:, :2])
    np.testing.assert_array_equal(np.take_along_axis(X[:, :, 0], places.numpy(), 1), values.numpy())
    edges = np.array([-1.0, 0.0, 1.0], dtype="float32")
    check(lambda x: ops.searchsorted(edges, x, "right"), np.searchsorted(edges, X, "right"), X)
    check(lambda x: ops.digitize(x, edges), np.digitize(X, edges), X)
    labels = np.array([0, 1, 1, 4], dtype="int32")
    assert ops.bincount(labels).numpy().tolist() == [1, 2, 0, 0, 1]
    assert [t.tolist() for t in ops.unique(labels, return_counts=True)] == [[0, 1, 4], [1, 2, 1]]


def test_creation():
    assert ops.arange(2, 9, 3).numpy().tolist() == [2, 5, 8]
    np.testing.assert_allclose(ops.linspace(0, 1, 5).numpy(), np.linspace(0, 1, 5))
    np.testing.assert_allclose(ops.logspace(0, 2, 3).numpy(), [1, 10, 100], rtol=1e-5)
    assert ops.eye(2, 3, 1).numpy().tolist() == [[0, 1, 0], [0, 0, 1]]
    np.testing.assert_allclose(ops.hanning(5).numpy(), np.hanning(5), atol=1e-6)
    np.testing.assert_array_equal(traced(lambda x: ops.arange(3) + ops.zeros((3,), "int32"), X), [0, 1, 2])


def test_unknown_dimensions():
    x = KerasTensor((None, 4), "float32")
    assert ops.sum(x, axis=1).shape == (None,)
    assert ops.reshape(x, (-1, 2)).shape == (None, 2)
    assert ops.matmul(x, np.ones((4, 5), "float32")).shape == (None, 5)
    assert ops.concatenate([x, x], axis=0).shape == (None, 4)
    assert ops.shape(x) == (None, 4)


def test_gradients_of_indexing():
    np.testing.assert_array_equal(gradient(lambda x: x[1, ::2] * 3.0, X)[0][1, ::2], np.full((2, 2), 3.0))
    assert gradient(lambda x: ops.take(x, [1, 1], axis=0), X)[0][1].sum() == 16.0


def test_errors_name_the_argument():
    with pytest.raises(ValueError, match=r"reshape.*newshape.*\(5, 5\)"):
        ops.reshape(X, (5, 5))
    with pytest.raises(ValueError, match="axis 7 is out of bounds"):
        ops.sum(X, axis=7)
    with pytest.raises(ValueError, match=r"repeat: argument `repeats`.*known"):
        traced(lambda n: ops.repeat(X, n, axis=0), np.array([1, 2, 1]))
