"""The loop over time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from graphkeras import ops
from graphkeras.core import tree

StepFunction = Callable[[Any, Any], tuple[Any, Any]]


def time_major(x: Any) -> Any:
    """(batch, time, ...) as (time, batch, ...), and back."""
    return ops.transpose(x, (1, 0, *range(2, len(x.shape))))


def run_steps(
    step: StepFunction,
    sequences: Any,
    states: list[Any],
    *,
    mask: Any = None,
    reverse: bool = False,
    unroll: bool = False,
    zero_output: bool = False,
    all_outputs: bool = False,
) -> tuple[Any, list[Any]]:
    """Runs `output, states = step(x, states)` over the leading axis of `sequences`.

    mask: (batch, time) bool. Where it is false the states stay as they were, and the output is that of the step before
        (at the start: the first state) or zero with `zero_output`.
    Returns the outputs (time, batch, ...) in the order of processing, or the last one, and the final states.
    """
    length = sequences.shape[0]
    if length == 0:
        raise ValueError(
            f"A recurrent layer needs at least one time step. Received sequences of length 0: the input, with time "
            f"first, has shape {tuple(sequences.shape)}."
        )
    loop = _Loop(step, states, zero_output, all_outputs)
    steps = None if mask is None else time_major(ops.cast(mask, "bool"))
    if unroll:
        ys = []
        for t in reversed(range(length)) if reverse else range(length):
            states, y = loop(states, sequences[t], None if steps is None else steps[t])
            ys.append(y)
        outputs = None if ys[0] is None else ops.stack(ys) if all_outputs else ys[-1]
    else:
        xs = (sequences,) if steps is None else (sequences, steps)
        states, outputs = ops.scan(lambda s, x: loop(s, *x), states, xs, reverse=reverse)
        if outputs is not None and not all_outputs:
            outputs = outputs[0 if reverse else length - 1]
        elif outputs is not None and reverse:
            outputs = ops.flip(outputs, axis=0)
    if outputs is None:  # the last output is one of the states
        outputs = tree.flatten(states)[loop.output_state]
        if zero_output and steps is not None:
            outputs = _where(steps[0 if reverse else length - 1], outputs, ops.zeros_like(outputs))
    return outputs, states


class _Loop:
    """One step with its mask. `output_state` is the position of the state that is the output, if one is."""

    def __init__(self, step: StepFunction, states: Any, zero_output: bool, all_outputs: bool) -> None:
        self.step, self.zero_output, self.all_outputs = step, zero_output, all_outputs
        self.output_state = -1

    def __call__(self, states: Any, x: Any, mask: Any = None) -> tuple[Any, Any]:
        output, after = self.step(x, states)
        if not tree.is_nested(after):
            after = [after]
        flat_before, flat_after = tree.flatten(states), tree.flatten(after)
        same = next((i for i, s in enumerate(flat_after) if s is output), -1)
        if mask is not None:
            flat_after = [_where(mask, a, b) for a, b in zip(flat_after, flat_before, strict=True)]
            output = self._masked_output(output, same, mask, states, flat_after)
        states = tree.pack_sequence_as(states, flat_after)
        if same >= 0 and not self.all_outputs:
            self.output_state = same
            return states, None
        return states, output

    def _masked_output(self, output: Any, same: int, mask: Any, states: Any, flat_after: Sequence[Any]) -> Any:
        if self.zero_output:
            return _where(mask, output, ops.zeros_like(output)) if self.all_outputs or same < 0 else output
        if same >= 0:
            return flat_after[same]
        previous = states[0] if not tree.is_nested(states[0]) else tree.flatten(states[-1])[0]
        if tuple(previous.shape) != tuple(output.shape):
            raise ValueError(
                "A masked step repeats the output of the step before, which is taken from the cell's first state. "
                f"This needs a first state of the output's shape {tuple(output.shape)}; received a state of shape "
                f"{tuple(previous.shape)}. Order the cell's states so, or pass zero_output_for_mask=True."
            )
        return _where(mask, output, previous)


def _where(mask: Any, x: Any, y: Any) -> Any:
    """Select by batch element."""
    return ops.where(ops.reshape(mask, (*mask.shape, *(1,) * (len(x.shape) - len(mask.shape)))), x, y)
