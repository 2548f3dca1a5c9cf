"""Trees, walks and recursion."""

from __future__ import annotations

import numpy as np

import graphkeras as keras
from graphkeras import ops
from tests.programs.record import Case, draw, program

SENTENCES = (
    "((the cat) (sat (on (the mat))))",
    "(she ((saw (a man)) (with (a telescope))))",
    "((not (a (single dull))) moment)",
)


def parse(text: str):
    """Nested pairs of words: a parse tree with two children at every node."""
    stack: list[list] = [[]]
    for token in text.replace("(", " ( ").replace(")", " ) ").split():
        if token == "(":
            stack.append([])
        elif token == ")":
            done = stack.pop()
            stack[-1].append(tuple(done))
        else:
            stack[-1].append(token)
    return stack[0][0]


WORDS = sorted({w for s in SENTENCES for w in s.replace("(", " ").replace(")", " ").split()})


def lstm_params(dtype, units=4):
    return {
        "words": draw(dtype, len(WORDS), units),
        "gates": draw(dtype, 2 * units, 5 * units, seed=1, scale=0.6),
        "bias": draw(dtype, 5 * units, seed=2, scale=0.1),
    }


def compose(params, left, right):
    """A binary tree-LSTM (Tai et al., 2015): one forget gate for each child."""
    (h1, c1), (h2, c2) = left, right
    z = ops.matmul(ops.concatenate([h1, h2]), params["gates"]) + params["bias"]
    i, f1, f2, o, g = ops.split(z, 5)
    c = ops.sigmoid(i) * ops.tanh(g) + ops.sigmoid(f1 + 1) * c1 + ops.sigmoid(f2 + 1) * c2
    return ops.sigmoid(o) * ops.tanh(c), c


@program
def tree_lstm(dtype):
    """The parse tree of a sentence gives the order of computation."""

    def encode(params, tree):
        if isinstance(tree, str):
            row = params["words"][WORDS.index(tree)]
            return row, ops.zeros_like(row)
        return compose(params, encode(params, tree[0]), encode(params, tree[1]))

    return Case(lambda p, tree: encode(p, tree)[0], [(lstm_params(dtype), parse(s)) for s in SENTENCES])


@program
def shift_reduce(dtype):
    """Actions in a tensor push words on a stack or join the two topmost."""

    def run(params, words, actions):
        stack, at = [], 0
        for i in range(actions.shape[0]):
            if actions[i] == 0:
                row = ops.take(params["words"], words[at], axis=0)
                stack.append((row, ops.zeros_like(row)))
                at += 1
            else:
                right, left = stack.pop(), stack.pop()
                stack.append(compose(params, left, right))
        return stack[0][0]

    params = lstm_params(dtype)
    ways = ([0, 0, 1, 0, 1, 0, 1], [0, 0, 0, 0, 1, 1, 1], [0, 0, 1, 0, 0, 1, 1])
    return Case(run, [(params, np.arange(4, dtype="int32") + k, np.array(w, "int32")) for k, w in enumerate(ways)])


@program
def adaptive_quadrature(dtype):
    """Simpson's rule halves an interval where its error is large."""

    def simpson(f, a, b):
        return (b - a) / 6 * (f(a) + 4 * f((a + b) / 2) + f(b))

    def integrate(f, a, b, whole, depth):
        middle = (a + b) / 2
        left, right = simpson(f, a, middle), simpson(f, middle, b)
        if depth == 0 or ops.abs(left + right - whole) < 1e-3:
            return left + right
        return integrate(f, a, middle, left, depth - 1) + integrate(f, middle, b, right, depth - 1)

    def run(sharpness):
        def bump(x):
            return ops.exp(-sharpness * x * x)

        return integrate(bump, 0.0, 2.0, simpson(bump, 0.0, 2.0), 5)

    return Case(run, [(np.array(v, dtype),) for v in (0.3, 2.0, 9.0)])


@program
def alpha_beta(dtype):
    """A game tree is cut where a value proves that a move will not be played."""

    def best(values, low, high, maximise):
        if values.shape[0] == 1:
            return values[0]
        found = None
        half = values.shape[0] // 2
        for part in (values[:half], values[half:]):
            value = best(part, low, high, not maximise)
            if maximise:
                found = value if found is None else ops.maximum(found, value)
                low = ops.maximum(low, found)
            else:
                found = value if found is None else ops.minimum(found, value)
                high = ops.minimum(high, found)
            if low >= high:
                break
        return found

    def run(leaves):
        return best(ops.tanh(leaves), -2.0 * ops.ones_like(leaves[0]), 2.0 * ops.ones_like(leaves[0]), True)

    return Case(run, [(draw(dtype, 16, seed=s),) for s in range(3)])


@program
def hierarchical_softmax_walk(dtype):
    """A walk from the root of a tree of classes, to the likelier side at every node."""

    def run(nodes, x):
        node, log_p = 0, 0.0
        while node < 7:
            score = ops.sum(nodes[node] * x)
            if score > 0:
                node, log_p = 2 * node + 2, log_p + ops.log_sigmoid(score)
            else:
                node, log_p = 2 * node + 1, log_p + ops.log_sigmoid(-score)
        return log_p * (node - 6)

    return Case(run, [(draw(dtype, 7, 5), draw(dtype, 5, seed=s)) for s in (1, 2, 3, 4)], wrt=(0, 1))


@program
def random_walk(dtype):
    """A drawn neighbour at every step, until the walk leaves the line."""
    seeds = keras.random.SeedGenerator(3)

    def run(gains):
        place, total = 2, 0.0
        for _ in range(8):
            total = total + gains[place] * (place + 1)
            right = keras.random.uniform((), seed=seeds) < 0.5
            place = place + 1 if right else place - 1
            if place < 0 or place > 4:
                break
        return total

    return Case(run, [(draw(dtype, 5),)] * 4, variables=[seeds.state])


@program
def quicksort(dtype):
    """A pivot's rank, counted by tensors, divides the numbers: recursion on sizes that depend on values."""

    def sort(x):
        if x.shape[0] < 2:
            return x
        pivot = x[0]
        rest = x[1:]
        order = ops.argsort(ops.cast(rest >= pivot, "int32"))
        rest = ops.take(rest, order, axis=0)
        small = int(ops.sum(ops.cast(rest < pivot, "int32")))
        return ops.concatenate([sort(rest[:small]), pivot[None], sort(rest[small:])])

    return Case(sort, [(draw(dtype, 6, seed=s),) for s in range(3)])
