"""The same kind of programs in one graph: cond, switch, while_loop, fori_loop, scan, map."""

from __future__ import annotations

import numpy as np

from graphkeras import ops
from tests.programs.record import Case, draw, program


@program
def newton_while_loop(dtype):
    """The number of steps of `while_loop`."""

    def run(a):
        return ops.while_loop(
            lambda x: ops.max(ops.abs(x * x - a)) > 1e-4,
            lambda x: ((x + a / x) / 2,),
            (ops.ones_like(a),),
        )[0]

    return Case(run, [(np.array(v, dtype),) for v in ([1.1, 1.2], [5.0, 9.0], [30.0, 200.0])])


@program
def rnn_until_sure(dtype):
    """Steps of a recurrent cell in `while_loop`, with a limit."""

    def run(w, x):
        def unsure(h, p):
            return ops.max(p) < 0.8

        def step(h, p):
            h = ops.tanh(ops.matmul(h, w) + x)
            return h, p + (1 - p) * ops.sigmoid(ops.sum(h)) / 3

        return ops.while_loop(unsure, step, (ops.zeros_like(x), ops.zeros_like(x[0])), maximum_iterations=20)

    return Case(run, [(draw(dtype, 3, 3), draw(dtype, 3, seed=s)) for s in (1, 2, 3)], wrt=(0, 1))


@program
def nested_loops(dtype):
    """An inner loop whose length the outer one decides."""

    def run(x):
        def outer(i, v):
            inner = ops.while_loop(lambda j, u: j < i, lambda j, u: (j + 1, ops.sin(u) + 0.1 * x), (0, v))
            return i + 1, inner[1] * 1.1

        return ops.while_loop(lambda i, v: ops.logical_and(i < 6, ops.sum(v * v) < 8), outer, (0, x))[1]

    return Case(run, [(draw(dtype, 3, seed=s),) for s in range(3)])


@program
def branches_per_sample(dtype):
    """`cond` inside of `map`: each row takes its own branch."""

    def run(w, xs):
        def one(x):
            return ops.cond(ops.sum(x) > 0, lambda: ops.tanh(ops.matmul(x, w)), lambda: 0.1 * x)

        return ops.map(one, xs)

    return Case(run, [(draw(dtype, 3, 3), draw(dtype, 4, 3, seed=s)) for s in (1, 2)], wrt=(0, 1))


@program
def dispatch(dtype):
    """`switch` chooses an operation for each step of a scan."""

    def run(x, program):
        def step(v, code):
            branches = [lambda v: ops.sin(v), lambda v: v * v, lambda v: -v / 2]
            return ops.switch(code, branches, v), ops.sum(v)

        return ops.scan(step, x, program)

    return Case(run, [(draw(dtype, 3), np.array(p, "int32")) for p in ([0, 1, 2, 0], [2, 2, 1, 1])])


@program
def linear_recurrence(dtype):
    """h = a h + b for all times at once by `associative_scan`; the sign of the end decides what is returned."""

    def run(a, b):
        def join(left, right):
            return left[0] * right[0], right[0] * left[1] + right[1]

        h = ops.associative_scan(join, (ops.sigmoid(a), b))[1]
        return h if ops.sum(h[-1]) > 0 else -h * h

    return Case(run, [(draw(dtype, 6, 2, seed=s), draw(dtype, 6, 2, seed=s + 9)) for s in (0, 1, 2)], wrt=(0, 1))


@program
def trip_count_from_data(dtype):
    """`fori_loop` with bounds that are tensors."""

    def run(x, low, high):
        return ops.fori_loop(low, high, lambda i, v: ops.sin(v) + 0.1 * ops.cast(i, v.dtype) * x, x)

    bounds = ((0, 3), (2, 9), (4, 4))
    return Case(run, [(draw(dtype, 3), *(np.array(b, "int32") for b in pair)) for pair in bounds])


@program
def loop_or_branch(dtype):
    """Python decides between a loop in the graph and none."""

    def run(x):
        if ops.mean(x) > 0:
            return ops.while_loop(lambda v: ops.sum(ops.abs(v)) > 0.5, lambda v: (v * ops.cos(v) / 2,), (x,))[0]
        return ops.scan(lambda c, r: (c + r, c * r), ops.zeros_like(x[0]), x)[1]

    return Case(run, [(draw(dtype, 3, 2, seed=s),) for s in range(4)])
