"""Networks that decide how deep they are and which parts they use."""

from __future__ import annotations

import numpy as np

import graphkeras as keras
from graphkeras import ops
from tests.programs.record import Case, draw, program


def dense(x, layer):
    return ops.matmul(x, layer["w"]) + layer["b"]


def params(dtype, inputs, outputs, seed, scale=0.6):
    return {"w": draw(dtype, inputs, outputs, seed=seed, scale=scale), "b": draw(dtype, outputs, seed=seed + 50)}


def stack(dtype, count, units=4):
    return [params(dtype, units, units, seed) for seed in range(count)]


@program
def early_exit(dtype):
    """The network stops after the block whose head is sure."""

    def run(blocks, head, x):
        for block in blocks:
            x = ops.tanh(dense(x, block))
            p = ops.softmax(dense(x, head))
            if ops.mean(-ops.sum(p * ops.log(p), axis=-1)) < 0.2:
                break
        return p

    blocks, head = stack(dtype, 4), params(dtype, 4, 3, 9, 2.0)
    return Case(run, [(blocks, head, draw(dtype, 2, 4, seed=s, scale=2.0)) for s in range(4)], wrt=(0, 1, 2))


@program
def stochastic_depth(dtype):
    """Blocks are left out at random."""
    seeds = keras.random.SeedGenerator(3)

    def run(blocks, x):
        for block in blocks:
            if keras.random.uniform((), seed=seeds) < 0.4:
                continue
            x = x + ops.relu(dense(x, block))
        return x

    return Case(run, [(stack(dtype, 3), draw(dtype, 2, 4, seed=s)) for s in range(6)], variables=[seeds.state])


@program
def adaptive_computation_time(dtype):
    """A recurrent cell ponders until its halting probabilities sum to one (Graves, 2016)."""

    def run(cell, halt, x):
        state, total, mixed = ops.zeros_like(x), 0.0, ops.zeros_like(x)
        for _ in range(6):
            state = ops.tanh(dense(state, cell) + x)
            p = ops.mean(ops.sigmoid(ops.sum(state * halt, axis=-1)))
            if total + p > 0.99:
                return mixed + (1 - total) * state
            total, mixed = total + p, mixed + p * state
        return mixed

    cell, halt = params(dtype, 4, 4, 1), draw(dtype, 4, seed=2)
    return Case(run, [(cell, halt, draw(dtype, 2, 4, seed=s, scale=2.0)) for s in range(4)], wrt=(0, 1, 2))


@program
def pondering(dtype):
    """A drawn number decides after every step whether to halt (PonderNet)."""
    seeds = keras.random.SeedGenerator(8)

    def run(cell, halt, x):
        state, going = ops.zeros_like(x), 1.0
        for _ in range(5):
            state = ops.tanh(dense(state, cell) + x)
            p = ops.sigmoid(ops.mean(ops.matmul(state, halt)))
            if keras.random.uniform((), seed=seeds, dtype=dtype) < p:
                return state * (going * p)
            going = going * (1 - p)
        return state * going

    inputs = [(params(dtype, 4, 4, 1), draw(dtype, 4, seed=2), draw(dtype, 2, 4, seed=s)) for s in range(4)]
    return Case(run, inputs, wrt=(0, 1, 2), variables=[seeds.state])


@program
def data_dependent_depth(dtype):
    """A number in the data says how many blocks to run."""

    def run(blocks, x, depth):
        for i in range(int(depth)):
            x = ops.tanh(dense(x, blocks[i % 3]))
        return x

    return Case(run, [(stack(dtype, 3), draw(dtype, 2, 4), np.array(n, "int32")) for n in (0, 2, 5)], wrt=(0, 1))


@program
def mixture_of_experts(dtype):
    """The two experts that a gate scores highest for the batch."""

    def run(experts, gate, x):
        scores = ops.softmax(ops.mean(dense(x, gate), axis=0))
        weights, chosen = ops.top_k(scores, 2)
        total = 0.0
        for rank in range(2):
            expert = experts[int(chosen[rank])]
            total = total + weights[rank] * ops.relu(dense(x, expert))
        return total / ops.sum(weights)

    experts, gate = stack(dtype, 4), params(dtype, 4, 4, 7)
    return Case(run, [(experts, gate, draw(dtype, 3, 4, seed=s, scale=2.0)) for s in range(4)], wrt=(0, 1, 2))


@program
def capsule_routing(dtype):
    """Votes are weighted by agreement until the agreement no longer changes."""

    def squash(v):
        n = ops.sum(v * v, axis=-1, keepdims=True)
        return v * n / ((1 + n) * ops.sqrt(n + 1e-3))

    def run(votes):
        logits = ops.zeros_like(votes[..., 0])
        for _ in range(8):
            share = ops.softmax(logits, axis=1)
            out = squash(ops.sum(share[..., None] * votes, axis=0))
            agreement = ops.sum(votes * out[None], axis=-1)
            logits = logits + agreement
            if ops.max(ops.abs(ops.softmax(logits, axis=1) - share)) < 0.12:
                break
        return out

    return Case(run, [(draw(dtype, 5, 3, 4, seed=s, scale=c),) for s, c in ((0, 0.4), (1, 0.8), (2, 1.2))])


@program
def hash_routing(dtype):
    """Signs of projections are the number of the expert."""

    def run(experts, planes, x):
        bits = ops.mean(ops.matmul(x, planes), axis=0) > 0
        code = int(ops.sum(ops.cast(bits, "int32") * ops.array([1, 2], "int32")))
        return ops.tanh(dense(x, experts[code]))

    planes = draw(dtype, 4, 2, seed=5)
    return Case(run, [(stack(dtype, 4), planes, draw(dtype, 2, 4, seed=s)) for s in range(5)], wrt=(0, 2))


@program
def conditional_computation(dtype):
    """An expensive branch only for inputs that a cheap one finds hard."""

    def run(cheap, blocks, x):
        y = dense(x, cheap)
        if ops.std(y) > 0.9 and not ops.all(y > 0):
            for block in blocks:
                y = y + ops.relu(dense(y, block))
        elif ops.max(y) > 1.5 or ops.min(y) < -2:
            y = ops.tanh(y)
        return y

    inputs = [
        (params(dtype, 4, 4, 3), stack(dtype, 2), draw(dtype, 2, 4, seed=s, scale=c))
        for s, c in enumerate((0.1, 1.0, 2.0, 3.0))
    ]
    return Case(run, inputs, wrt=(0, 1, 2))


@program
def memory_hops(dtype):
    """A memory is read again until the attention is sharp."""

    def run(memory, question):
        for _ in range(5):
            p = ops.softmax(2.0 * ops.matmul(memory, question))
            question = question + ops.matmul(p, memory)
            if ops.max(p) > 0.9:
                break
        return question

    return Case(run, [(draw(dtype, 6, 3), draw(dtype, 3, seed=s, scale=0.4)) for s in range(1, 5)], wrt=(0, 1))


@program
def graph_halting(dtype):
    """Messages are passed along edges until no node changes much."""

    def run(edges, weight, features):
        h = features
        for _ in range(8):
            new = ops.tanh(ops.matmul(ops.matmul(edges, h), weight) + features)
            moved = ops.max(ops.abs(new - h))
            h = new
            if moved < 0.1:
                break
        return h

    edges = (np.random.default_rng(0).random((5, 5)) < 0.4).astype(dtype) / 3
    return Case(
        run,
        [(edges, draw(dtype, 3, 3, seed=1), draw(dtype, 5, 3, seed=2, scale=c)) for c in (0.01, 0.3, 1.0)],
        wrt=(1, 2),
    )


@program
def growing_network(dtype):
    """A variable counts the calls, and with them the blocks that are switched on."""
    stage = keras.Variable(0, dtype="int32", trainable=False)

    def run(blocks, x):
        stage.assign_add(1)
        for i in range(int(stage // 2) + 1):
            x = x + ops.relu(dense(x, blocks[i]))
        return x

    return Case(run, [(stack(dtype, 4), draw(dtype, 2, 4))] * 5, wrt=(0, 1), variables=[stage])


@program
def numpy_inside(dtype):
    """NumPy sorts errors and gives a threshold back."""

    def run(x):
        errors = ops.abs(x)
        limit = np.quantile(errors.numpy(), 0.75)
        return ops.where(errors > limit, x * float(limit), x * x)

    return Case(run, [(draw(dtype, 4, 3, seed=s),) for s in range(3)], values=True, differentiable=False)
