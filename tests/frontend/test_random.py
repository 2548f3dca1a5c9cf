"""Random functions: distributions, seeds, determinism."""

from __future__ import annotations

import numpy as np
import pytest

from graphkeras import random
from graphkeras.core.trace import Trace
from graphkeras.ir.interpreter import evaluate

N = 20000

MOMENTS = [
    (lambda s: random.normal((N,), 1.0, 2.0, seed=s), 1.0, 2.0),
    (lambda s: random.uniform((N,), -1.0, 3.0, seed=s), 1.0, 4 / 12**0.5),
    (lambda s: random.truncated_normal((N,), seed=s), 0.0, 0.8796),
    (lambda s: random.randint((N,), 0, 10, seed=s), 4.5, 8.25**0.5),
    (lambda s: random.gamma((N,), 3.0, seed=s), 3.0, 3**0.5),
    (lambda s: random.gamma((N,), 0.5, seed=s), 0.5, 0.5**0.5),
    (lambda s: random.beta((N,), 2.0, 3.0, seed=s), 0.4, 0.2),
    (lambda s: random.binomial((N,), 10.0, 0.3, seed=s), 3.0, 2.1**0.5),
    (lambda s: random.binomial((N,), 1000.0, 0.3, seed=s), 300.0, 210**0.5),
]


@pytest.mark.parametrize(("draw", "mean", "deviation"), MOMENTS)
def test_moments(draw, mean, deviation):
    x = draw(7).numpy().astype("float64")
    assert abs(x.mean() - mean) < 5 * deviation / N**0.5
    assert x.std() == pytest.approx(deviation, rel=0.05)


def test_ranges():
    x = random.uniform((N,), seed=1).numpy()
    assert x.min() >= 0 and x.max() < 1
    assert random.uniform((N,), dtype="float16", seed=1).numpy().max() < 1
    assert np.abs(random.truncated_normal((N,), seed=1).numpy()).max() <= 2
    assert set(random.randint((N,), -1, 2, dtype="int8", seed=1).numpy().tolist()) == {-1, 0, 1}


def test_seeds():
    generator = random.SeedGenerator(3)
    first, second = random.normal((4,), seed=generator).numpy(), random.normal((4,), seed=generator).numpy()
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(random.normal((4,), seed=3), first)
    assert not np.array_equal(random.normal((4,)).numpy(), random.normal((4,)).numpy())


def test_categorical_follows_the_logits():
    logits = np.log(np.array([[0.2, 0.3, 0.5], [0.0, 1.0, 0.0]], dtype="float32") + 1e-12)
    x = random.categorical(logits, N, seed=0).numpy()
    np.testing.assert_allclose(np.bincount(x[0]) / N, [0.2, 0.3, 0.5], atol=0.02)
    assert (x[1] == 1).all()


def test_shuffle_keeps_the_rows():
    x = np.arange(60).reshape(20, 3)
    y = random.shuffle(x, seed=1).numpy()
    assert not np.array_equal(x, y)
    np.testing.assert_array_equal(np.sort(y, axis=0), x)


def test_dropout():
    x = np.ones((100, 200), dtype="float32")
    y = random.dropout(x, 0.25, seed=1).numpy()
    assert set(np.unique(y)) == {0.0, np.float32(1 / 0.75)}
    assert (y == 0).mean() == pytest.approx(0.25, abs=0.01)
    rows = random.dropout(x, 0.5, noise_shape=(None, 1), seed=1).numpy()
    assert all(len(set(r)) == 1 for r in rows)
    assert (random.dropout(x, 0.0, seed=1).numpy() == 1).all()


def test_traced_numbers_equal_eager_ones_and_the_state_moves_on():
    generator = random.SeedGenerator(5)
    eager = random.normal((3,), seed=5).numpy()
    with Trace() as trace:
        a = random.normal((3,), seed=generator)
        b = random.normal((3,), seed=generator)
        state = trace.values[generator.state]
        graph = trace.finish([a, b, state])
    first, second, after = evaluate(graph, [generator.state.numpy()])
    np.testing.assert_array_equal(first, eager)
    assert not np.array_equal(first, second)
    assert after.tolist() == [5, 2]


def test_integer_dtype_is_required():
    with pytest.raises(ValueError, match="integer `dtype`"):
        random.randint((2,), 0, 3, dtype="float32")
