"""dot_general: odd shapes, strides, batches, depths and epilogues against NumPy."""

import numpy as np
import pytest

from tests.codegen.harness import kernels, run


def _random(shape, dtype="float32", seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(dtype)


def _matmul(b, x, y):
    return b.dot_general(x, y, contract=((1,), (0,)), batch=((), ()))


def _close(got, want, depth=1):
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=2e-6 + 3e-7 * depth)


SHAPES = [
    (1, 1, 1), (1, 10, 784), (2, 3, 5), (7, 17, 9), (8, 48, 16), (32, 10, 100), (33, 49, 65), (64, 1, 300), (1, 300, 7),
    (5, 512, 40), (130, 96, 33), (129, 100, 257), (16, 64, 0), (3, 130, 2000), (200, 30, 1600), (20, 30, 5000),
]  # fmt: skip


@pytest.mark.parametrize("m, n, k", SHAPES)
def test_row_major_product(m, n, k):
    x, y = _random((m, k)), _random((k, n), seed=1)
    (got,) = run(_matmul, x, y)
    _close(got, x.astype(np.float64) @ y, k)


@pytest.mark.parametrize(
    "m, n, k", [(5, 7, 130), (32, 64, 10), (100, 33, 200), (1, 50, 128), (70, 1, 256), (300, 40, 64)]
)
@pytest.mark.parametrize("turn", ["a", "b", "ab"])
def test_transposed_operands_are_read_in_place_or_packed(m, n, k, turn):
    x = _random((k, m) if "a" in turn else (m, k))
    y = _random((n, k) if "b" in turn else (k, n), seed=1)

    def build(b, p, q):
        return b.dot_general(p, q, contract=((0 if "a" in turn else 1,), (1 if "b" in turn else 0,)), batch=((), ()))

    (got,) = run(build, x, y)
    _close(got, (x.T if "a" in turn else x).astype(np.float64) @ (y.T if "b" in turn else y), k)


@pytest.mark.parametrize("m, n, k", [(1037, 210, 300), (530, 333, 1100), (700, 1024, 1), (2100, 70, 130)])
@pytest.mark.parametrize("turn", ["", "a", "b", "ab"])
def test_groups_of_panels_and_strips_of_turned_rows(m, n, k, turn):
    """Sizes whose items have several panels, blocks of the depth, and rows of A far apart; edges everywhere."""
    x = _random((k, m) if "a" in turn else (m, k))
    y, bias, more = _random((n, k) if "b" in turn else (k, n), seed=1), _random((n,), seed=2), _random((m, n), seed=3)
    contract = ((0 if "a" in turn else 1,), (1 if "b" in turn else 0,))

    def build(b, p, q, s, r):
        product = b.dot_general(p, q, contract=contract, batch=((), ()))
        return b.add(b.relu(b.add(product, s)), r)

    (got,) = run(build, x, y, bias, more)
    want = (x.T if "a" in turn else x).astype(np.float64) @ (y.T if "b" in turn else y)
    _close(got, np.maximum(want + bias, 0) + more, k)
    (got,) = run(lambda b, p, q: b.dot_general(p, q, contract=contract, batch=((), ())), x, y)
    _close(got, want, k)


def test_turned_rows_of_several_axes():
    x, y = _random((1200, 2, 130)), _random((1200, 400), seed=1)

    def build(b, p, q):
        return b.dot_general(b.transpose(p, perm=(0, 2, 1)), q, contract=((0,), (0,)), batch=((), ()))

    (got,) = run(build, x, y)
    _close(got, np.einsum("kab,kn->ban", x.astype(np.float64), y), 1200)


def test_batches_with_heads_in_the_middle():
    q, k, v = (_random((2, 19, 3, 24), seed=s) for s in range(3))

    def build(b, q, k, v):
        scores = b.dot_general(q, k, contract=((3,), (3,)), batch=((0, 2), (0, 2)))
        return scores, b.dot_general(scores, v, contract=((3,), (1,)), batch=((0, 1), (0, 2)))

    scores, mixed = run(build, q, k, v)
    want = np.einsum("bthd,bshd->bhts", q, k)
    _close(scores, want, 24)
    np.testing.assert_allclose(mixed, np.einsum("bhts,bshd->bhtd", want, v), rtol=1e-4, atol=1e-3)


def test_long_dot_rows_with_batches():
    q, k = _random((3, 11, 2, 160)), _random((3, 21, 2, 160), seed=1)
    (got,) = run(lambda b, q, k: b.dot_general(q, k, contract=((3,), (3,)), batch=((0, 2), (0, 2))), q, k)
    _close(got, np.einsum("bthd,bshd->bhts", q, k), 160)


@pytest.mark.parametrize(
    "shapes, contract, batch, formula",
    [
        (((3, 4), (5, 3, 4)), ((0, 1), (1, 2)), ((), ()), "ab,cab->c"),
        (((3, 4, 2), (5, 4, 3)), ((0, 1), (2, 1)), ((), ()), "abd,cba->dc"),
        (((2, 3, 4, 5), (5, 6, 3, 2)), ((1, 3), (2, 0)), ((0,), (3,)), "abcd,deba->ace"),
        (((4,), (5,)), ((), ()), ((), ()), "a,b->ab"),
        (((7,), (7,)), ((0,), (0,)), ((), ()), "a,a->"),
        (((6, 7), (6, 7)), ((1,), (1,)), ((0,), (0,)), "ab,ab->a"),
        (((2, 3, 4, 5, 6), (6, 2, 4, 3)), ((4, 2), (0, 2)), ((0,), (1,)), "abcde,eacf->abdf"),
        (((4, 3, 5, 2), (3, 2, 4, 6)), ((0, 1, 3), (2, 0, 1)), ((), ()), "abcd,bdae->ce"),
    ],
)
def test_general_axes(shapes, contract, batch, formula):
    x, y = _random(shapes[0]), _random(shapes[1], seed=1)
    (got,) = run(lambda b, p, q: b.dot_general(p, q, contract=contract, batch=batch), x, y)
    _close(got, np.einsum(formula, x, y), 30)


@pytest.mark.parametrize("m, n, k", [(37, 50, 20), (8, 10, 300), (20, 30, 12000), (1, 64, 200)])
def test_epilogue_is_applied_to_the_tile(m, n, k):
    x, y, bias, other = _random((m, k)), _random((k, n), seed=1), _random((n,), seed=2), _random((m, n), seed=3)

    def build(b, x, y, bias, other):
        return b.add(b.relu(b.add(_matmul(b, x, y), bias)), other)

    got = run(build, x, y, bias, other)[0]
    _close(got, np.maximum(x.astype(np.float64) @ y + bias, 0) + other, k)
    assert len(kernels(build, x, y, bias, other)) == (2 if k == 12000 else 1)


@pytest.mark.parametrize("dtype", ["float64", "int32", "int8", "uint16", "float16", "bfloat16"])
def test_dtypes(dtype):
    from graphkeras.ir.types import numpy_dtype

    rng = np.random.default_rng(0)
    x, y = (rng.integers(-9, 9, shape).astype(numpy_dtype(dtype)) for shape in ((13, 21), (21, 35)))
    (got,) = run(_matmul, x, y)
    if dtype in ("float16", "bfloat16"):
        want = (x.astype(np.float32) @ y.astype(np.float32)).astype(x.dtype)
    else:
        want = x @ y
    assert got.dtype == x.dtype
    np.testing.assert_array_equal(got, want)


def test_another_batch_size_has_the_same_source():
    y = _random((100, 64))
    sources = {kernels(_matmul, _random((m, 100)), y)[0].source for m in (24, 32, 48)}
    assert len(sources) == 1


@pytest.mark.parametrize("cpu", ["x86-64-v3", "x86-64-v2"])
def test_other_vector_units(cpu, monkeypatch):
    from graphkeras.codegen.cpu.vectors import vectors

    monkeypatch.setenv("GRAPHKERAS_CPU", cpu)
    assert vectors().bytes == (32 if cpu.endswith("v3") else 16)
    for m, n, k in [(5, 7, 130), (33, 50, 20)]:
        x, y = _random((m, k)), _random((k, n), seed=1)
        _close(run(_matmul, x, y)[0], x.astype(np.float64) @ y, k)
        got = run(lambda b, p, q: b.dot_general(p, q, contract=((1,), (1,)), batch=((), ())), x, y.T.copy())[0]
        _close(got, x.astype(np.float64) @ y, k)


def test_rows_far_apart_are_copied_once():
    """A product whose first operand lies across the grain, with many columns, reads a copy along the depth."""
    rng = np.random.default_rng(5)
    x, y = (rng.standard_normal(s).astype(np.float32) for s in ((512, 640), (512, 1024)))

    def build(b, x, y):
        return b.dot_general(x, y, contract=((0,), (0,)), batch=((), ()))

    np.testing.assert_allclose(run(build, x, y)[0], x.T @ y, rtol=0, atol=2e-4)
    assert [k.name.split("_")[0] for k in kernels(build, x, y)] == ["copy", "dot"]
    assert [k.name.split("_")[0] for k in kernels(build, x[:, :64].copy(), y)] == ["dot"]


def test_one_row_goes_to_several_threads_where_it_meets_much_memory():
    def chunks(*sizes):
        x, y = np.ones((1, sizes[0]), np.float32), np.ones(sizes, np.float32)
        (kernel,) = kernels(lambda b, x, y: b.dot_general(x, y, contract=((1,), (0,)), batch=((), ())), x, y)
        return -(-kernel.extent // kernel.chunk)

    assert chunks(1024, 1024) > 1
    assert chunks(784, 256) == 1  # waking a thread would take longer


def test_a_dear_epilogue_goes_to_several_threads():
    def chunks(finish):
        x, y = np.ones((64, 10), np.float32), np.ones((10, 2048), np.float32)

        def build(b, x, y):
            return finish(b, b.dot_general(x, y, contract=((1,), (0,)), batch=((), ())))

        (kernel,) = kernels(build, x, y)
        return -(-kernel.extent // kernel.chunk)

    assert chunks(lambda b, y: b.exp(b.sin(y))) > 1
    assert chunks(lambda b, y: b.relu(y)) == 1
