"""Programs that choose the next token, pointer or action."""

from __future__ import annotations

import numpy as np

import graphkeras as keras
from graphkeras import ops
from tests.programs.record import Case, draw, program

STOP = 0


@program
def greedy_decoding(dtype):
    """The likeliest token is fed back until the stop token comes."""

    def run(table, w, out, h):
        token, total, tokens = 1, 0.0, []
        for _ in range(6):
            h = ops.tanh(ops.matmul(h, w) + table[token])
            log_p = ops.log_softmax(ops.matmul(h, out))
            token = int(ops.argmax(log_p))
            total = total + log_p[token]
            tokens.append(token)
            if token == STOP:
                break
        return total, ops.array(tokens)

    weights = draw(dtype, 5, 3), draw(dtype, 3, 3, seed=1), draw(dtype, 3, 5, seed=2, scale=2.0)
    return Case(run, [(*weights, draw(dtype, 3, seed=s)) for s in (3, 4, 5)], wrt=(0, 1, 2, 3))


@program
def beam_search(dtype):
    """The best beams are kept until all of them have stopped."""

    def run(table, w, out, h):
        beams = 2
        state = ops.stack([h] * beams)
        scores = ops.array([0.0, -10.0], dtype=table.dtype)
        token, done = ops.ones((beams,), "int32"), ops.zeros((beams,), "bool")
        for _ in range(5):
            new = ops.tanh(ops.matmul(state, w) + ops.take(table, token, axis=0))
            log_p = ops.log_softmax(ops.matmul(new, out))
            only_stop = ops.where(ops.arange(4) == STOP, ops.zeros_like(log_p), ops.zeros_like(log_p) - 1e9)
            total = scores[:, None] + ops.where(done[:, None], only_stop, log_p)
            scores, flat = ops.top_k(ops.reshape(total, (-1,)), beams)
            beam, token = flat // 4, ops.cast(flat % 4, "int32")
            state, done = ops.take(new, beam, axis=0), ops.logical_or(ops.take(done, beam, axis=0), token == STOP)
            if ops.all(done):
                break
        return scores, state

    weights = draw(dtype, 4, 3), draw(dtype, 3, 3, seed=1), draw(dtype, 3, 4, seed=2, scale=2.0)
    return Case(run, [(*weights, draw(dtype, 3, seed=s)) for s in (3, 4, 7)], wrt=(0, 1, 2, 3))


@program
def pointer_network(dtype):
    """Items are pointed at one after the other, none twice, until the pointer says stop."""

    def run(items, query):
        left, total = ops.zeros_like(items[:, 0]), 0.0
        for _ in range(4):
            scores = ops.matmul(items, query) + left
            log_p = ops.log_softmax(scores)
            chosen = int(ops.argmax(scores))
            total = total + log_p[chosen]
            if chosen == STOP:
                break
            query = ops.tanh(query + items[chosen])
            left = left - 1e3 * ops.cast(ops.arange(4) == chosen, left.dtype)
        return total, query

    return Case(run, [(draw(dtype, 4, 3), draw(dtype, 3, seed=s)) for s in (1, 2, 3, 4)], wrt=(0, 1))


@program
def transducer(dtype):
    """A blank moves on to the next frame, a symbol stays at this one."""

    def run(frames, table, out):
        h, t, total, token = ops.zeros_like(frames[0]), 0, 0.0, 1
        for _ in range(8):
            log_p = ops.log_softmax(ops.matmul(ops.tanh(frames[t] + h), out))
            token = ops.argmax(log_p)
            total = total + ops.max(log_p)
            if token == STOP:
                t += 1
                if t == frames.shape[0]:
                    break
            else:
                h = ops.tanh(h / 2 + ops.take(table, token, axis=0))
        return total

    weights = draw(dtype, 4, 3, seed=1), draw(dtype, 3, 4, seed=2, scale=2.0)
    return Case(run, [(draw(dtype, 3, 3, seed=s), *weights) for s in (0, 1, 6)], wrt=(0, 1, 2))


@program
def nucleus_sampling(dtype):
    """As many of the likeliest tokens as it takes for 80 % are drawn from."""
    seeds = keras.random.SeedGenerator(2)

    def run(logits):
        p, order = ops.top_k(ops.softmax(logits), 5)
        size = int(ops.sum(ops.cast(ops.cumsum(p) < 0.8, "int32"))) + 1
        kept = p[:size] / ops.sum(p[:size])
        place = ops.sum(ops.cast(ops.cumsum(kept) < keras.random.uniform((), seed=seeds, dtype=dtype), "int32"))
        return ops.take(order, place), ops.log(ops.take(kept, place))

    return Case(
        run,
        [(draw(dtype, 5, seed=s, scale=c),) for s, c in ((0, 0.3), (1, 1.0), (2, 4.0), (3, 1.0))],
        variables=[seeds.state],
    )


@program
def policy_rollout(dtype):
    """A pole is balanced by drawn actions until it falls; the gradient of the return's log-likelihood (REINFORCE)."""
    seeds = keras.random.SeedGenerator(4)

    def run(policy, angle):
        velocity, log_likelihood, reward = ops.zeros_like(angle), 0.0, 0
        for _ in range(6):
            p = ops.sigmoid(policy[0] * angle + policy[1] * velocity)
            if keras.random.uniform((), seed=seeds, dtype=dtype) < p:
                force, log_likelihood = -0.5, log_likelihood + ops.log(p)
            else:
                force, log_likelihood = 0.5, log_likelihood + ops.log(1 - p)
            velocity = velocity + 0.3 * (ops.sin(angle) + force)
            angle = angle + 0.3 * velocity
            reward += 1
            if ops.abs(angle) > 0.35:
                break
        return log_likelihood * reward

    return Case(run, [(draw(dtype, 2), np.array(a, dtype)) for a in (0.0, 0.1, -0.2, 0.3)], variables=[seeds.state])


@program
def bandit(dtype):
    """The arm with the best upper bound is played, and what it paid is kept in variables."""
    counts = keras.Variable(np.ones(3), dtype=dtype, trainable=False)
    sums = keras.Variable(np.zeros(3), dtype=dtype, trainable=False)
    seeds = keras.random.SeedGenerator(6)

    def run(means):
        bounds = sums / counts + ops.sqrt(ops.log(ops.sum(counts)) / counts)
        arm = int(ops.argmax(bounds))
        reward = means[arm] + keras.random.normal((), seed=seeds, dtype=dtype) * 0.1
        counts.assign(counts + ops.cast(ops.arange(3) == arm, dtype))
        sums.assign(sums + reward * ops.cast(ops.arange(3) == arm, dtype))
        return reward * reward

    return Case(run, [(np.array([0.2, 0.5, 0.9], dtype),)] * 8, variables=[counts, sums, seeds.state])


@program
def backtracking(dtype):
    """Queens are set column by column; a column without a free place undoes the one before."""

    def run(scores):
        placed: list[int] = []
        tried = 0
        while len(placed) < 4:
            found = -1
            column = ops.tanh(scores[len(placed)])
            order = ops.argsort(-column)
            for rank in range(tried, 4):
                row = int(order[rank])
                if all(row != r and abs(row - r) != len(placed) - c for c, r in enumerate(placed)):
                    found = row
                    break
            if found >= 0:
                placed.append(found)
                tried = 0
            else:
                last = placed.pop()
                before = ops.argsort(-ops.tanh(scores[len(placed)]))
                tried = int(ops.argmax(ops.cast(before == last, "int32"))) + 1
        return ops.sum(ops.stack([ops.tanh(scores[c])[r] for c, r in enumerate(placed)]))

    return Case(run, [(draw(dtype, 4, 4, seed=s),) for s in range(2)])
