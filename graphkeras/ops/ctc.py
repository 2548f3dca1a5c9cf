"""Connectionist temporal classification: loss and decoding (Graves et al., 2006)."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphkeras.core.operation import keras_op
from graphkeras.ops.base import (
    Tensor,
    apply,
    broadcast,
    cast_to,
    concat,
    expand,
    full_of,
    iota,
    need_concrete,
    part,
    permute,
    reduce,
    reshape_to,
    result_type,
    select,
    to_tensor,
)

_NEVER = -1e5  # logarithm of a probability that counts as 0, with room for sums of them


@keras_op
def ctc_loss(target: Any, output: Any, target_length: Any, output_length: Any, mask_index: int = 0) -> Any:
    """`-log P(target)` per sample, over all alignments with blanks (`mask_index`) and repetitions.

    target (batch, labels), output (batch, time, classes) unnormalised scores, lengths (batch,).
    """
    labels, scores = to_tensor(target, "int32"), to_tensor(output)
    scores = cast_to(scores, result_type(scores.dtype, "float32"))
    label_length, time_length = to_tensor(target_length, "int32"), to_tensor(output_length, "int32")
    if len(labels.shape) != 2 or len(scores.shape) != 3:
        raise ValueError(
            "ctc_loss: target (batch, labels) and output (batch, time, classes) are expected; received shapes "
            f"{labels.shape} and {scores.shape}"
        )
    batch, steps, _ = scores.shape
    states = 2 * labels.shape[1] + 1
    # States: blank, label, blank, label, ..., blank.
    blanks = full_of((batch, labels.shape[1], 1), int(mask_index), "int32")
    path = reshape_to(concat([blanks, expand(labels, 2)], 2), (batch, states - 1))
    path = concat([path, full_of((batch, 1), int(mask_index), "int32")], 1)
    logp = apply("log_softmax", scores, axis=2)
    emitted = apply("take_along_axis", logp, broadcast(expand(path, 1), (batch, steps, states)), axis=2)
    skips = _skips(path, int(mask_index))
    first = np.full((1, states), _NEVER, dtype=np.float32)
    first[0, 0] = 0.0
    start = broadcast(to_tensor(first, scores.dtype), (batch, states))
    active = apply("lt", expand(iota(steps), 1), expand(time_length, 0))  # (time, batch)
    from graphkeras.ops.control import scan

    def step(alpha: Tensor, x: tuple[Tensor, Tensor]) -> tuple[Tensor, None]:
        found, running = x
        total = _add(_add(alpha, _moved(alpha, 1)), apply("add", _moved(alpha, 2), skips))
        return select(expand(running, 1), apply("add", total, found), alpha), None

    alpha, _ = scan(step, start, (permute(emitted, (1, 0, 2)), active))
    last = apply("mul", label_length, 2)
    ends = concat([expand(last, 1), expand(apply("maximum", apply("sub", last, 1), 0), 1)], 1)
    found = apply("take_along_axis", alpha, ends, axis=1)
    blank_end, label_end = (reshape_to(part(found, 1, i, i + 1), (batch,)) for i in (0, 1))
    label_end = select(apply("gt", label_length, 0), label_end, full_of((), _NEVER, scores.dtype))
    return apply("neg", _add(blank_end, label_end))


def _skips(path: Tensor, blank: int) -> Tensor:
    """0 where a state may be entered from two before it (a label other than that one), else never."""
    batch, states = path.shape
    before = concat([full_of((batch, min(2, states)), blank, "int32"), part(path, 1, 0, max(states - 2, 0))], 1)
    allowed = apply("and", apply("ne", path, blank), apply("ne", path, before))
    return select(allowed, full_of((), 0.0, "float32"), full_of((), _NEVER, "float32"))


def _moved(alpha: Tensor, by: int) -> Tensor:
    batch, states = alpha.shape
    by = min(by, states)
    return concat([full_of((batch, by), _NEVER, alpha.dtype), part(alpha, 1, 0, states - by)], 1)


def _add(a: Tensor, b: Tensor) -> Tensor:
    """log(exp(a) + exp(b)) of finite numbers."""
    distance = apply("neg", apply("abs", apply("sub", a, b)))
    return apply("add", apply("maximum", a, b), apply("log1p", apply("exp", distance)))


@keras_op
def ctc_decode(
    inputs: Any,
    sequence_lengths: Any,
    strategy: str = "greedy",
    beam_width: int = 100,
    top_paths: int = 1,
    merge_repeated: bool = True,
    mask_index: int = 0,
) -> Any:
    """The most probable label sequences: (paths, batch, time) filled up with -1, and their scores (batch, paths).

    "greedy" takes the best class of each step; "beam_search" (values only, not traced) sums over alignments.
    """
    if strategy not in ("greedy", "beam_search"):
        raise ValueError(f"Invalid strategy {strategy}. Supported values are 'greedy' and 'beam_search'.")
    scores = to_tensor(inputs)
    scores = cast_to(scores, result_type(scores.dtype, "float32"))
    lengths = to_tensor(sequence_lengths, "int32")
    if strategy == "greedy":
        return _greedy(scores, lengths, merge_repeated, scores.shape[2] - 1 if mask_index is None else mask_index)
    values, ends = (
        need_concrete(scores, "ctc_decode", "inputs"),
        need_concrete(lengths, "ctc_decode", "sequence_lengths"),
    )
    found = [_beam(v[:n], beam_width, top_paths, mask_index) for v, n in zip(values, ends, strict=True)]
    width = values.shape[1]
    paths = np.full((top_paths, len(found), width), -1, dtype=np.int32)
    totals = np.full((len(found), top_paths), -np.inf, dtype=values.dtype)
    for i, beams in enumerate(found):
        for j, (labels, score) in enumerate(beams):
            paths[j, i, : len(labels)] = labels
            totals[i, j] = score
    return Tensor(paths), Tensor(totals)


def _greedy(scores: Tensor, lengths: Tensor, merge: bool, blank: int) -> tuple[Tensor, Tensor]:
    batch, steps, _ = scores.shape
    best = apply("argmax", scores, axis=2)
    inside = apply("lt", expand(iota(steps), 0), expand(lengths, 1))
    total = reduce(
        "reduce_sum", select(inside, reduce("reduce_max", scores, (2,)), full_of((), 0.0, scores.dtype)), (1,), True
    )
    mask = full_of((), blank, "int32")
    best = select(inside, best, mask)
    if merge and steps > 1:
        same = apply("eq", part(best, 1, 1, steps), part(best, 1, 0, steps - 1))
        best = select(concat([full_of((batch, 1), False, "bool"), same], 1), mask, best)
    dropped = apply("eq", best, blank)
    order = apply("argsort", cast_to(dropped, "int32"), axis=1, descending=False, stable=True)
    best = select(dropped, full_of((), -1, "int32"), best)
    return expand(apply("take_along_axis", best, order, axis=1), 0), apply("neg", total)


def _beam(scores: np.ndarray, width: int, paths: int, blank: int) -> list[tuple[tuple[int, ...], float]]:
    """Prefix beam search: for each prefix the log-probabilities of ending in a blank and in its last label."""
    top = scores - scores.max(axis=1, keepdims=True)
    logp = top - np.log(np.exp(top).sum(axis=1, keepdims=True))
    beams: dict[tuple[int, ...], tuple[float, float]] = {(): (0.0, -np.inf)}
    for row in logp.astype(np.float64):
        grown: dict[tuple[int, ...], tuple[float, float]] = {}

        def gain(prefix: tuple[int, ...], kind: int, amount: float, grown: dict[Any, Any] = grown) -> None:
            before = list(grown.get(prefix, (-np.inf, -np.inf)))
            before[kind] = np.logaddexp(before[kind], amount)
            grown[prefix] = (before[0], before[1])

        for prefix, (in_blank, in_label) in beams.items():
            both = np.logaddexp(in_blank, in_label)
            gain(prefix, 0, both + row[blank])
            for label, p in enumerate(row):
                if label == blank:
                    continue
                if prefix and prefix[-1] == label:
                    gain(prefix, 1, in_label + p)
                    gain((*prefix, label), 1, in_blank + p)
                else:
                    gain((*prefix, label), 1, both + p)
        ranked = sorted(grown.items(), key=lambda item: -np.logaddexp(*item[1]))
        beams = dict(ranked[:width])
    final = sorted(((p, float(np.logaddexp(*s))) for p, s in beams.items()), key=lambda item: -item[1])
    return final[:paths]
