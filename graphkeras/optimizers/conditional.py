"""Assignments that happen under a condition known only when the step runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from graphkeras import ops
from graphkeras.core.scopes import StatelessScope
from graphkeras.core.tensor import Tensor


def assign_where(
    condition: Any, update: Callable[[], None], otherwise: Callable[[], None], variables: Sequence[Any]
) -> None:
    """Let `update` assign where `condition` holds and `otherwise` where not.

    In eager code one of the two is called. In a trace both are, and each of `variables` (all that they may assign)
    gets the selected value: a select per element, which fuses with the update, is cheaper than a branch.
    """
    condition = ops.convert_to_tensor(condition)
    if isinstance(condition, Tensor) and not condition.is_traced:
        (update if bool(condition.numpy()) else otherwise)()
        return
    before = [v.value for v in variables]
    after = [_values_after(change, variables, before) for change in (update, otherwise)]
    for variable, old, new, other in zip(variables, before, *after, strict=True):
        if new is not old or other is not old:
            variable.assign(ops.where(condition, new, other))


def _values_after(change: Callable[[], None], variables: Sequence[Any], before: Sequence[Any]) -> list[Any]:
    with StatelessScope(state_mapping=list(zip(variables, before, strict=True))) as scope:
        change()
    return [scope.get_current_value(v) for v in variables]
