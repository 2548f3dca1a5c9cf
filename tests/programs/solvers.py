"""Iterations until something has converged, and sampling until something is accepted."""

from __future__ import annotations

import numpy as np

import graphkeras as keras
from graphkeras import ops
from tests.programs.record import Case, draw, program


@program
def newton(dtype):
    """Newton steps for x^3 = a until all residuals are small."""

    def run(a):
        x = ops.ones_like(a)
        while ops.max(ops.abs(x**3 - a)) > 1e-3:
            x = x - (x**3 - a) / (3 * x * x)
        return x

    return Case(run, [(np.array(v, dtype),) for v in ([1.1, 1.3], [2.0, 9.0], [0.6, 30.0])])


@program
def bisection(dtype):
    """Halve an interval, on the side where the sign changes."""

    def f(x, slope):
        return x * x * x + slope * x - 2

    def run(slope):
        low, high = ops.zeros_like(slope), 2 * ops.ones_like(slope)
        for _ in range(6):
            middle = (low + high) / 2
            if f(middle, slope) > 0:
                high = middle
            else:
                low = middle
        x = (low + high) / 2
        return x - f(x, slope) / (3 * x * x + slope)  # one Newton step makes it depend on the slope

    return Case(run, [(np.array(v, dtype),) for v in (0.5, 1.7, 4.0)])


@program
def power_iteration(dtype):
    """The largest eigenvalue, to a tolerance."""

    def run(matrix):
        a = ops.matmul(matrix, ops.transpose(matrix))
        v = ops.ones_like(a[0]) / 2
        value = ops.zeros_like(v[0])
        for _ in range(30):
            w = ops.matmul(a, v)
            new = ops.norm(w)
            v = w / new
            if ops.abs(new - value) < 1e-2 * new:
                return new
            value = new
        return value

    return Case(run, [(draw(dtype, 4, 4, seed=s),) for s in range(3)])


@program
def k_means(dtype):
    """Clusters until no point changes sides."""

    def run(points):
        centres, before = points[:3], None
        for _ in range(10):
            distance = ops.sum((points[:, None] - centres[None]) ** 2, axis=-1)
            nearest = ops.argmin(distance, axis=1)
            if before is not None and ops.all(nearest == before):
                break
            before = nearest
            member = ops.cast(ops.one_hot(nearest, 3), points.dtype)
            centres = ops.matmul(ops.transpose(member), points) / (ops.sum(member, axis=0)[:, None] + 1e-3)
        return centres

    return Case(run, [(draw(dtype, 12, 2, seed=s),) for s in range(4)])


@program
def line_search(dtype):
    """Backtracking until the step is good enough (Armijo's rule)."""

    def f(x):
        return ops.sum(x**4) / 4 - ops.sum(x)

    def run(x):
        slope = x**3 - 1
        value, drop, t = f(x), ops.sum(slope * slope), 2.0
        while f(x - t * slope) > value - 0.3 * t * drop:
            t = t / 2
        return x - t * slope

    return Case(run, [(np.array(v, dtype),) for v in ([0.1, 0.2], [2.0, -1.0], [4.0, 3.0])])


@program
def trust_region(dtype):
    """The radius grows after good steps and shrinks after bad ones, which are taken back."""

    def f(x):
        return ops.sum(ops.sin(2 * x) + 0.25 * x * x)

    def run(x):
        radius = 1.0
        for _ in range(5):
            gradient = 2 * ops.cos(2 * x) + 0.5 * x
            step = -radius * gradient / (ops.norm(gradient) + 0.1)
            gain = f(x) - f(x + step)
            hoped = -ops.sum(step * gradient)
            if gain < 0.1 * hoped:
                radius = radius / 2
                continue
            x = x + step
            if gain > 0.7 * hoped:
                radius = radius * 2
        return x

    return Case(run, [(draw(dtype, 3, seed=s, scale=2.0),) for s in range(4)])


@program
def conjugate_gradients(dtype):
    """A linear system, until the residual is small."""

    def run(root, b):
        a = ops.matmul(root, ops.transpose(root)) + ops.cast(ops.eye(4), root.dtype)
        x, r = ops.zeros_like(b), b
        p, rr = r, ops.sum(b * b)
        for _ in range(4):
            ap = ops.matmul(a, p)
            alpha = rr / ops.sum(p * ap)
            x, r = x + alpha * p, r - alpha * ap
            new = ops.sum(r * r)
            if new < 1e-2:
                break
            p, rr = r + new / rr * p, new
        return x

    cases = [(draw(dtype, 4, 4, seed=s), draw(dtype, 4, seed=9, scale=c)) for s, c in ((0, 1.0), (1, 0.1), (2, 0.02))]
    return Case(run, cases, wrt=(0, 1))


@program
def sinkhorn(dtype):
    """Rows and columns are scaled in turn until both sum to one."""

    def run(scores):
        plan = ops.exp(scores)
        for _ in range(20):
            plan = plan / ops.sum(plan, axis=1, keepdims=True)
            plan = plan / ops.sum(plan, axis=0, keepdims=True)
            if ops.max(ops.abs(ops.sum(plan, axis=1) - 1)) < 0.02:
                break
        return plan

    return Case(run, [(draw(dtype, 4, 4, seed=s, scale=c),) for s, c in ((0, 0.5), (1, 1.0), (2, 2.0))])


@program
def neural_ode(dtype):
    """A network as a vector field, with steps as large as the error allows."""

    def run(w, x):
        def field(x):
            return ops.tanh(ops.matmul(x, w)) - 0.3 * x

        t, h = 0.0, 0.5
        for _ in range(12):
            k1 = field(x)
            k2 = field(x + h * k1)
            error = ops.max(ops.abs(h / 2 * (k2 - k1)))  # Heun against Euler
            if error > 0.05:
                h = h / 2
                continue
            x, t = x + h / 2 * (k1 + k2), t + h
            if t >= 1.0:
                break
            if error < 0.01:
                h = h * 2
        return x

    return Case(run, [(draw(dtype, 3, 3, scale=c), draw(dtype, 2, 3, seed=1)) for c in (0.3, 1.0, 2.0)], wrt=(0, 1))


@program
def deep_equilibrium(dtype):
    """A layer is repeated until its state stands still."""

    def run(w, x):
        z = ops.zeros_like(x)
        for _ in range(25):
            new = ops.tanh(ops.matmul(z, w) + x)
            if ops.max(ops.abs(new - z)) < 5e-2:
                return new
            z = new
        return z

    return Case(run, [(draw(dtype, 3, 3, scale=c), draw(dtype, 2, 3, seed=1)) for c in (0.1, 0.3, 0.4)], wrt=(0, 1))


@program
def pagerank(dtype):
    """Ranks are passed along links until they settle."""

    def run(links, weights):
        rank = ops.ones_like(weights) / 5
        while True:
            new = 0.15 / 5 + 0.85 * ops.matmul(rank * weights, links)
            new = new / ops.sum(new)
            if ops.sum(ops.abs(new - rank)) < 0.03:
                return new
            rank = new

    links = np.random.default_rng(0).random((5, 5)).astype(dtype)
    return Case(run, [(links**k, 1 + 0.1 * draw(dtype, 5, seed=k)) for k in (1, 3, 6)], wrt=(0, 1))


@program
def rejection_sampling(dtype):
    """Draw until a sample lies inside."""
    seeds = keras.random.SeedGenerator(11)

    def run(scale):
        for _ in range(12):
            point = keras.random.uniform((2,), -1.0, 1.0, seed=seeds, dtype=dtype)
            if ops.sum(point * point) < 0.4:
                break
        return point * scale

    return Case(run, [(np.array(v, dtype),) for v in (1.0, 2.0, 3.0, 1.5)], variables=[seeds.state])


@program
def metropolis(dtype):
    """A chain that keeps or refuses each proposal."""
    seeds = keras.random.SeedGenerator(5)

    def run(mean):
        x, taken = ops.zeros_like(mean), 0
        for _ in range(4):
            y = x + keras.random.normal((2,), seed=seeds, dtype=dtype)
            ratio = ops.exp(ops.sum((x - mean) ** 2 - (y - mean) ** 2) / 2)
            if keras.random.uniform((), seed=seeds, dtype=dtype) < ratio:
                x, taken = y * (1 + 0.1 * mean), taken + 1
        return x * taken

    return Case(run, [(draw(dtype, 2, seed=s),) for s in range(4)], variables=[seeds.state])
