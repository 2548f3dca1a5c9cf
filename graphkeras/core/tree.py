"""Nested structures: lists, tuples, named tuples and dicts with anything else as leaves.

Dicts are walked in the order of their sorted keys, an OrderedDict in its own order; None is a leaf.
"""

from __future__ import annotations

import warnings
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

_SEQUENCES = (list, tuple, deque)


class MAP_TO_NONE:
    """Returned by the function given to `traverse` to replace an element by None."""


def is_nested(structure: Any) -> bool:
    """True for a list, tuple, named tuple, dict or deque (also an empty one)."""
    return isinstance(structure, (*_SEQUENCES, dict))


def _keys(mapping: dict[Any, Any]) -> list[Any]:
    if isinstance(mapping, OrderedDict):
        return list(mapping)
    try:
        return sorted(mapping)
    except TypeError:  # keys of several types: their order of insertion
        return list(mapping)


def _children(structure: Any) -> tuple[list[Any], list[Any]]:
    """The path entries and the elements of one level."""
    if isinstance(structure, dict):
        keys = _keys(structure)
        return keys, [structure[k] for k in keys]
    return list(range(len(structure))), list(structure)


def _rebuild(structure: Any, children: Sequence[Any]) -> Any:
    """A structure of the same kind with other elements (given in the order of `_children`)."""
    if isinstance(structure, dict):
        values = dict(zip(_keys(structure), children, strict=True))
        ordered = [(k, values[k]) for k in structure]
        if isinstance(structure, defaultdict):
            return defaultdict(structure.default_factory, ordered)
        return OrderedDict(ordered) if isinstance(structure, OrderedDict) else dict(ordered)
    if isinstance(structure, tuple):
        return type(structure)(*children) if hasattr(structure, "_fields") else tuple(children)
    if isinstance(structure, deque):
        return deque(children, maxlen=structure.maxlen)
    return list(children)


def _same_level(a: Any, b: Any) -> bool:
    """Whether two structures have the same kind and the same entries on this level."""
    if not is_nested(a) or not is_nested(b):
        return is_nested(a) == is_nested(b)
    if isinstance(a, dict) or isinstance(b, dict):
        return isinstance(a, dict) and isinstance(b, dict) and set(a) == set(b)
    named = hasattr(a, "_fields") or hasattr(b, "_fields")
    if named and type(a) is not type(b):
        return False
    kinds = [next(k for k in _SEQUENCES if isinstance(s, k)) for s in (a, b)]
    return kinds[0] is kinds[1] and len(a) == len(b)


def _mismatch(a: Any, b: Any) -> ValueError:
    kinds = [_kind(s) for s in (a, b)]
    detail = ""
    if isinstance(a, dict) and isinstance(b, dict):
        detail = f" Dictionary key mismatch: expected {list(a)}, received {list(b)}."
    elif kinds[0] == kinds[1] and is_nested(a):
        detail = f" Node arity mismatch: expected {len(a)} elements, received {len(b)}."
    return ValueError(
        f"Structures don't have the same nested structure.{detail} Expected {kinds[0]}: {a!r}. "
        f"Received {kinds[1]}: {b!r}"
    )


def _kind(structure: Any) -> str:
    if hasattr(structure, "_fields"):
        return f"a namedtuple {type(structure).__name__}"
    return f"a {type(structure).__name__}" if is_nested(structure) else "a leaf"


def flatten(structure: Any) -> list[Any]:
    """The leaves in order.

    Example:

    >>> flatten({"b": [1, None], "a": 2})
    [2, 1, None]
    """
    leaves: list[Any] = []
    _collect(structure, leaves)
    return leaves


def _collect(structure: Any, leaves: list[Any]) -> None:
    if is_nested(structure):
        for child in _children(structure)[1]:
            _collect(child, leaves)
    else:
        leaves.append(structure)


def flatten_with_path(structure: Any) -> list[tuple[tuple[Any, ...], Any]]:
    """Pairs of (path, leaf); a path is a tuple of keys and indices."""
    if not is_nested(structure):
        return [((), structure)]
    found = []
    for entry, child in zip(*_children(structure), strict=True):
        found += [((entry, *path), leaf) for path, leaf in flatten_with_path(child)]
    return found


def map_structure(func: Callable[..., Any], *structures: Any, none_is_leaf: bool = True) -> Any:
    """Apply `func` to corresponding leaves; the result has the first structure's form.

    none_is_leaf: when False, None is kept as it is and `func` does not see it.
    Raises ValueError when the structures differ.
    """
    if not callable(func):
        raise TypeError(f"`func` must be callable. Received: func={func!r} (of type {type(func)})")
    if not structures:
        raise ValueError("map_structure needs at least one structure")
    return _map(func, structures, none_is_leaf)


def _map(func: Callable[..., Any], structures: Sequence[Any], none_is_leaf: bool) -> Any:
    first = structures[0]
    if not is_nested(first):
        for other in structures[1:]:
            if is_nested(other):
                raise _mismatch(first, other)
        if first is None and not none_is_leaf:
            return None
        return func(*structures)
    if len(structures) == 1:
        return _rebuild(first, [_map(func, (c,), none_is_leaf) for c in _children(first)[1]])
    for other in structures[1:]:
        if not _same_level(first, other):
            raise _mismatch(first, other)
    keys = _children(first)[0]
    columns = [[s[k] for k in keys] for s in structures]
    return _rebuild(first, [_map(func, row, none_is_leaf) for row in zip(*columns, strict=True)])


def map_structure_up_to(shallow_structure: Any, func: Callable[..., Any], *structures: Any) -> Any:
    """Apply `func` to what the structures hold where `shallow_structure` has its leaves."""
    if not structures:
        raise ValueError("map_structure_up_to needs at least one structure")
    if not is_nested(shallow_structure):
        return func(*structures)
    for other in structures:
        if not is_nested(other) or not _same_level(shallow_structure, other):
            raise _mismatch(shallow_structure, other)
    keys, shallow = _children(shallow_structure)
    parts = [map_structure_up_to(s, func, *(o[k] for o in structures)) for k, s in zip(keys, shallow, strict=True)]
    return _rebuild(shallow_structure, parts)


def assert_same_structure(a: Any, b: Any, check_types: bool | None = None) -> None:
    """Raises ValueError where two structures differ in kind, keys or length.

    check_types: has no effect; `assert_same_paths` is the looser check.
    """
    if check_types is not None:
        warnings.warn(
            "The `check_types` argument is deprecated and has no effect. For a looser check, use `assert_same_paths`.",
            DeprecationWarning,
            stacklevel=2,
        )
    if not _same_level(a, b):
        raise _mismatch(a, b)
    if is_nested(a):
        for key in _children(a)[0]:
            assert_same_structure(a[key], b[key])


def assert_same_paths(a: Any, b: Any) -> None:
    """Raises ValueError unless both structures have the same paths to their leaves (kinds may differ)."""
    a_paths, b_paths = ({path for path, _ in flatten_with_path(s)} for s in (a, b))
    if a_paths != b_paths:
        raise ValueError(
            "`a` and `b` don't have the same paths."
            f"\nPaths only in `a`: {a_paths - b_paths or 'none'}\nPaths only in `b`: {b_paths - a_paths or 'none'}"
        )


def pack_sequence_as(structure: Any, flat_sequence: Iterable[Any]) -> Any:
    """The leaves of `flat_sequence` in the form of `structure`; the inverse of `flatten`."""
    if isinstance(flat_sequence, (str, bytes)) or not hasattr(flat_sequence, "__iter__"):
        raise TypeError(
            f"`flat_sequence` must be an iterable. Received: {flat_sequence!r} (of type {type(flat_sequence)})"
        )
    leaves = list(flat_sequence)
    expected = len(flatten(structure))
    if len(leaves) != expected:
        raise ValueError(
            f"the sequence has a wrong number of leaves: expected {expected}, received {len(leaves)}: {leaves!r}"
        )
    source = iter(leaves)
    return _map(lambda _: next(source), (structure,), True)


def traverse(func: Callable[[Any], Any], structure: Any, top_down: bool = True) -> Any:
    """Replace sub-structures by what `func` returns for them; None keeps them, `MAP_TO_NONE` gives None."""
    if top_down:
        result = func(structure)
        if result is None:
            return _traverse_children(func, structure, top_down)
    else:
        walked = _traverse_children(func, structure, top_down)
        result = func(walked)
        if result is None:
            return walked
    return None if result is MAP_TO_NONE else result


def _traverse_children(func: Callable[[Any], Any], structure: Any, top_down: bool) -> Any:
    if not is_nested(structure):
        return structure
    return _rebuild(structure, [traverse(func, c, top_down=top_down) for c in _children(structure)[1]])


def lists_to_tuples(structure: Any) -> Any:
    """The same structure with every list turned into a tuple."""
    return traverse(lambda s: tuple(s) if isinstance(s, list) else None, structure, top_down=False)


def is_shape(value: Any) -> bool:
    """A tuple or list of ints and Nones."""
    return isinstance(value, (list, tuple)) and all(e is None or isinstance(e, int) for e in value)


def map_shape_structure(func: Callable[[Any], Any], structure: Any) -> Any:
    """`map_structure` in which tuples and lists of ints and Nones are leaves."""
    if is_shape(structure) or not is_nested(structure):
        return func(structure)
    return _rebuild(structure, [map_shape_structure(func, c) for c in _children(structure)[1]])
