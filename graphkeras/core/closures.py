"""Functions that use symbolic tensors from around them: `ops.cond(p, lambda: x * 2, lambda: x)` in a Functional model.

Such tensors become operands of the operation. When it runs, the functions get the values in their place.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Iterator
from typing import Any

from graphkeras.core import tree
from graphkeras.core.keras_tensor import KerasTensor


def used_tensors(value: Any) -> list[KerasTensor]:
    """The symbolic tensors that the functions in a structure use."""
    return list({id(x): x for x in _inside(value, set()) if isinstance(x, KerasTensor)}.values())


def used_layers(value: Any) -> list[Any]:
    """The layers that the functions in a structure use."""
    return [x for x in _inside(value, set()) if hasattr(x, "trainable_weights")]


def _inside(value: Any, seen: set[int]) -> Iterator[Any]:
    for leaf in tree.flatten(value):
        if id(leaf) in seen:
            continue
        seen.add(id(leaf))
        if isinstance(leaf, functools.partial):
            yield from _closed((leaf.func, leaf.args, leaf.keywords), seen)
        elif isinstance(leaf, types.FunctionType):
            yield from _closed([_content(c) for c in leaf.__closure__ or ()], seen)
            yield from _closed((leaf.__defaults__, leaf.__kwdefaults__), seen)


def _closed(values: Any, seen: set[int]) -> Iterator[Any]:
    yield from tree.flatten(values)
    yield from _inside(values, seen)


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not assigned yet
        return None


def rebound(value: Any, known: dict[int, Any]) -> Any:
    """A structure in which symbolic tensors, in functions too, are replaced by the values stored under their ids."""
    return tree.map_structure(lambda leaf: _rebound_leaf(leaf, known), value)


def _rebound_leaf(leaf: Any, known: dict[int, Any]) -> Any:
    if isinstance(leaf, KerasTensor):
        return known[id(leaf)]
    if isinstance(leaf, functools.partial) and used_tensors(leaf):
        return functools.partial(*rebound((leaf.func, *leaf.args), known), **rebound(leaf.keywords, known))
    if isinstance(leaf, types.FunctionType) and used_tensors(leaf):
        cells = tuple(types.CellType(rebound(_content(c), known)) for c in leaf.__closure__ or ())
        defaults = None if leaf.__defaults__ is None else rebound(leaf.__defaults__, known)
        made: Callable[..., Any] = types.FunctionType(leaf.__code__, leaf.__globals__, leaf.__name__, defaults, cells)
        made.__kwdefaults__ = rebound(leaf.__kwdefaults__, known) if leaf.__kwdefaults__ else None  # type: ignore[attr-defined]
        return made
    return leaf
