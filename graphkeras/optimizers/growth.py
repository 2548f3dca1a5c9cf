"""An optimizer that has been built learns of variables that became trainable since: what it has learned is kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from graphkeras.core.trace import eager


def grow(optimizer: Any, trainable: Sequence[Any], order: Sequence[Any]) -> None:
    """Give the optimizer state for those of `trainable` that it does not know.

    order: all variables of the model. The optimizer keeps its variables in this order, so that lists of the model's
        trainable values fit to it (`stateless_apply`).
    """
    wrapper, optimizer = optimizer, getattr(optimizer, "inner_optimizer", optimizer)
    known = getattr(optimizer, "_trainable_variables", None)
    if known is None or not optimizer.built or hasattr(optimizer, "optimizers"):
        return
    ids = {id(v) for v in known}
    new = [v for v in trainable if id(v) not in ids]
    if not new:
        return
    rank = {id(v): i for i, v in enumerate(order)}
    variables = sorted([*known, *new], key=lambda v: rank.get(id(v), len(rank)))
    old = _keyed(list(optimizer.variables), known)
    fixed = (optimizer._iterations, optimizer.__dict__.get("_learning_rate"))
    optimizer.__dict__["_variables"] = [v for v in optimizer.variables if any(v is f for f in fixed)]
    optimizer.built = False
    optimizer.build(variables)
    with eager():
        for key, slot in _keyed(list(optimizer.variables), variables).items():
            source = old.get(key)
            if source is not None and source is not slot and source.shape == slot.shape:
                slot.assign(source.value)
    if wrapper is not optimizer:
        wrapper.__dict__["_trainable_variables"] = variables
        wrapper._trainable_variables_indices = {id(v): i for i, v in enumerate(variables)}


def _keyed(slots: Sequence[Any], variables: Sequence[Any]) -> dict[Any, Any]:
    """Slots by name and by the variable that they belong to: variables of one path have slots of one name."""
    owners: dict[str, list[Any]] = {}
    for variable in variables:
        owners.setdefault(variable.path.replace("/", "_").replace(":", "_"), []).append(variable)
    seen: Counter[str] = Counter()
    keyed = {}
    for slot in slots:
        turn = seen[slot.name]
        seen[slot.name] += 1
        prefixes = [p for p in owners if slot.name.startswith(f"{p}_")]
        candidates = owners[max(prefixes, key=len)] if prefixes else []
        keyed[slot.name, id(candidates[turn]) if turn < len(candidates) else turn] = slot
    return keyed
