"""Sequences: recurrences that skip and stop, dynamic programs, buckets."""

from __future__ import annotations

import numpy as np

from graphkeras import ops
from tests.programs.record import Case, draw, program

NEVER = -1e9


@program
def skip_rnn(dtype):
    """A gate decides at every step whether the state is updated."""

    def run(w, u, gate, xs):
        h, due = ops.zeros_like(xs[0]), 0.3
        for t in range(xs.shape[0]):
            if due > 0.5:
                h = ops.tanh(ops.matmul(h, w) + ops.matmul(xs[t], u))
                due = ops.sigmoid(ops.sum(h * gate))
            else:
                due = due + ops.sigmoid(ops.sum(xs[t] * gate)) / 2
        return h * due

    weights = draw(dtype, 3, 3), draw(dtype, 3, 3, seed=1), draw(dtype, 3, seed=2)
    return Case(run, [(*weights, draw(dtype, 5, 3, seed=s)) for s in range(3, 7)], wrt=(0, 1, 2, 3))


@program
def variable_length(dtype):
    """As many steps as the longest sequence of the batch has."""

    def run(w, xs, lengths):
        h = ops.zeros_like(xs[:, 0])
        for t in range(int(ops.max(lengths))):
            new = ops.tanh(ops.matmul(h, w) + xs[:, t])
            h = ops.where((lengths > t)[:, None], new, h)
        return h

    xs = draw(dtype, 3, 6, 2)
    return Case(
        run, [(draw(dtype, 2, 2), xs, np.array(n, "int32")) for n in ([1, 2, 3], [6, 1, 2], [2, 3, 1])], wrt=(0, 1)
    )


@program
def length_buckets(dtype):
    """Sequences are cut to the smallest bucket that holds them."""

    def run(xs, lengths):
        longest = ops.max(lengths)
        for size in (2, 4, 8):
            if longest <= size:
                break
        kept = xs[:, :size]
        mask = ops.cast(ops.arange(size)[None] < lengths[:, None], xs.dtype)
        return ops.sum(ops.sin(kept) * mask, axis=1) / ops.cast(lengths, xs.dtype)

    return Case(run, [(draw(dtype, 3, 8), np.array(n, "int32")) for n in ([1, 2, 2], [4, 1, 3], [8, 2, 5])])


@program
def viterbi(dtype):
    """The best path through a hidden Markov model, its length given by a tensor."""

    def run(start, moves, emissions, length):
        score, back = start + emissions[0], []
        steps = int(length)
        for t in range(1, steps):
            ways = score[:, None] + moves
            back.append(ops.argmax(ways, axis=0))
            score = ops.max(ways, axis=0) + emissions[t]
        state = ops.argmax(score)
        path = [state]
        for choice in reversed(back):
            state = ops.take(choice, state, axis=0)
            path.append(state)
        return ops.max(score), ops.stack(path[::-1])

    model = draw(dtype, 3), draw(dtype, 3, 3, seed=1)
    return Case(run, [(*model, draw(dtype, 6, 3, seed=2 + n), np.array(n, "int32")) for n in (1, 3, 6)], wrt=(0, 1, 2))


@program
def edit_distance(dtype):
    """Rows of Levenshtein's table, as many as the first word has letters."""

    def run(first, second, cost):
        row = ops.cast(ops.arange(second.shape[0] + 1), cost.dtype) * cost
        for i in range(int(ops.sum(ops.cast(first >= 0, "int32")))):
            differs = ops.cast(second != first[i], cost.dtype)
            above = ops.minimum(row[1:] + cost, row[:-1] + differs)
            new = ops.concatenate([row[:1] + cost, above])
            reach = ops.cast(ops.arange(second.shape[0] + 1), cost.dtype) * cost
            row = -ops.associative_scan(ops.maximum, -(new - reach)) + reach  # letters inserted from the left
        return row[-1]

    words = [[ord(c) - 97 for c in w] + [-1] * (7 - len(w)) for w in ("kitten", "sitting", "it")]
    second = np.array([ord(c) - 97 for c in "sitting"], "int32")
    return Case(run, [(np.array(w, "int32"), second, np.array(1.1, dtype)) for w in words], wrt=(2,))


@program
def ctc_like(dtype):
    """The likelihood of a label sequence over all alignments; repeated letters need a blank between them."""

    def run(scores, labels):
        log_p = ops.log_softmax(scores)
        size = int(ops.sum(ops.cast(labels >= 0, "int32")))
        text: list = [0]
        for i in range(size):
            text += [labels[i], 0]
        alpha = [log_p[0, 0], ops.take(log_p[0], text[1])] + [None] * (len(text) - 2)
        for t in range(1, log_p.shape[0]):
            new = []
            for s, symbol in enumerate(text):
                ways = [a for a in (alpha[s], alpha[s - 1] if s else None) if a is not None]
                if s > 2 and s % 2 and labels[s // 2] != labels[s // 2 - 1] and alpha[s - 2] is not None:
                    ways.append(alpha[s - 2])
                emitted = log_p[t, 0] if symbol is text[0] else ops.take(log_p[t], symbol)
                new.append(ops.logsumexp(ops.stack(ways)) + emitted if ways else None)
            alpha = new
        return ops.logaddexp(alpha[-1], alpha[-2])

    return Case(run, [(draw(dtype, 5, 4), np.array(n, "int32")) for n in ([1, 2, -1], [1, 1, -1], [3, -1, -1])])


@program
def dynamic_time_warping(dtype):
    """A soft alignment of two series, over as many rows as one of them has."""

    def run(a, b, length):
        rows = int(length)
        previous = [ops.zeros_like(a[0])] + [ops.zeros_like(a[0]) - NEVER] * b.shape[0]
        for i in range(rows):
            current = [ops.zeros_like(a[0]) - NEVER]
            for j in range(b.shape[0]):
                ways = ops.stack([previous[j], previous[j + 1], current[j]])
                current.append((a[i] - b[j]) ** 2 - 0.5 * ops.logsumexp(-ways / 0.5))
            previous = current
        return previous[-1]

    return Case(run, [(draw(dtype, 4), draw(dtype, 3, seed=1), np.array(n, "int32")) for n in (1, 2, 4)], wrt=(0, 1))


@program
def run_lengths(dtype):
    """Equal neighbours are counted; a change of value starts a new run."""

    def run(x, scale):
        totals, start = [], 0
        for i in range(1, x.shape[0] + 1):
            if i == x.shape[0] or x[i] != x[start]:
                totals.append(scale ** (i - start) * ops.cast(x[start], scale.dtype))
                start = i
        return ops.stack(totals)

    series = ([1, 1, 2, 2, 2], [3, 3, 3, 3, 3], [1, 2, 3, 3, 4])
    return Case(run, [(np.array(s, "int32"), np.array(1.5, dtype)) for s in series], wrt=(1,))
