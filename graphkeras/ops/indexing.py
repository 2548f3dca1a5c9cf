"""Reading and writing at indices: NumPy indexing, take, slice, scatter, where, one-hot."""

from __future__ import annotations

import builtins
import math
from typing import Any

import numpy as np

from graphkeras.core.keras_tensor import KerasTensor
from graphkeras.core.operation import keras_op
from graphkeras.core.trace import ScratchTrace
from graphkeras.ops.base import (
    FLOATS,
    INTS,
    Tensor,
    apply,
    axis_of,
    broadcast,
    cast_to,
    concrete,
    current_trace,
    expand,
    floatx,
    full_of,
    need_concrete,
    need_int,
    part,
    permute,
    promote,
    reshape_to,
    standardize_dtype,
    static_shape,
    to_tensor,
)
from graphkeras.ops.base import select as choose


# -- x[key] ------------------------------------------------------------------------------------------
@keras_op
def get_item(x: Any, key: Any) -> Any:
    """`x[key]` with NumPy's rules: ints, slices, None, Ellipsis, integer arrays or tensors, known boolean masks.

    >>> from graphkeras import ops
    >>> int(ops.get_item(ops.arange(5), -1))
    4
    """
    x = to_tensor(x)
    if isinstance(key, list) and any(k is None or k is Ellipsis or isinstance(k, builtins.slice) for k in key):
        key = tuple(key)  # a tuple that went through JSON
    if not x.is_traced and _plain(key):
        return Tensor(np.asarray(x.numpy()[key]))
    items = _full_key(key, x.shape)
    x, items = _basic(x, items)
    arrays = [i for i, item in enumerate(items) if isinstance(item, Tensor)]
    return x if not arrays else _advanced(x, items, arrays)


def _plain(key: Any) -> bool:
    """A key that NumPy may use directly: ints, slices of ints, None, Ellipsis."""
    for item in key if isinstance(key, tuple) else (key,):
        if isinstance(item, builtins.slice):
            if not all(v is None or type(v) is int for v in (item.start, item.stop, item.step)):
                return False
        elif not (item is None or item is Ellipsis or type(item) is int):
            return False
    return True


def _full_key(key: Any, shape: tuple[int, ...]) -> list[Any]:
    """One item per axis of x (int, slice, Tensor) and None for new axes; masks become integer arrays."""
    items: list[Any] = []
    for item in key if isinstance(key, tuple) else (key,):
        if isinstance(item, (bool, np.bool_)) or _is_mask(item):
            items += _mask_indices(item)
        elif isinstance(item, (list, np.ndarray, np.integer, Tensor)) or hasattr(item, "read_value"):
            found = to_tensor(item)
            if found.dtype not in INTS:
                raise IndexError(f"get_item: indices must be integers, slices or bools; received dtype {found.dtype}")
            known = concrete(found)
            items.append(int(known) if known is not None and known.ndim == 0 else found)
        else:
            items.append(item)
    used = builtins.sum(1 for i in items if i is not None and i is not Ellipsis)
    if used > len(shape):
        raise IndexError(f"get_item: too many indices ({used}) for shape {shape}; received key {key}")
    fill = [builtins.slice(None)] * (len(shape) - used)
    where = next((i for i, item in enumerate(items) if item is Ellipsis), None)
    if where is None:
        return items + fill
    return items[:where] + fill + items[where + 1 :]


def _is_mask(item: Any) -> bool:
    if isinstance(item, list):
        item = np.asarray(item)
    return str(getattr(item, "dtype", "")) == "bool"


def _mask_indices(mask: Any) -> list[Any]:
    known = need_concrete(mask, "get_item", "key (a boolean mask; ops.where works with traced masks)")
    return [to_tensor(i.astype("int32")) for i in np.nonzero(known)]


def _basic(x: Tensor, items: list[Any]) -> tuple[Tensor, list[Any]]:
    """Applies ints, slices and new axes; what is left are full slices and index tensors, one per axis."""
    start, stop, step, flips = [], [], [], []
    shape: list[int] = []  # after slicing: without the axes of ints, with new ones
    left: list[Any] = []
    axis = 0
    advanced = builtins.any(isinstance(i, Tensor) for i in items)
    for item in items:
        if item is None:
            shape.append(1)
            left.append(builtins.slice(None))
            continue
        n = x.shape[axis]
        if isinstance(item, Tensor):
            lo, hi, by = 0, n, 1
            left.append(item)
        elif isinstance(item, builtins.slice):
            lo, hi, by = _slice_bounds(item, n)
            if by < 0:
                flips.append(axis)
                count = len(range(lo, hi, by))
                lo, by = lo + (count - 1) * by if count else 0, -by
                hi = lo + (count - 1) * by + 1 if count else lo
            left.append(builtins.slice(None))
        else:
            index = int(item)
            if not -n <= index < n:
                raise IndexError(
                    f"get_item: index {index} is out of range for axis {axis} of size {n} (shape {x.shape})"
                )
            lo, by = index % n, 1
            hi = lo + 1
            if advanced:  # an int beside arrays is an array of rank 0
                left.append(to_tensor(lo))
                lo, hi = 0, n
        start.append(lo)
        stop.append(builtins.max(lo, hi))
        step.append(by)
        if isinstance(item, (builtins.slice, Tensor)) or advanced:
            shape.append(len(range(lo, stop[-1], by)))
        axis += 1
    if (start, stop, step) != ([0] * axis, list(x.shape), [1] * axis):
        x = apply("slice", x, start=tuple(start), stop=tuple(stop), step=tuple(step))
    if flips:
        x = apply("reverse", x, axes=tuple(flips))
    return reshape_to(x, shape), left


def _slice_bounds(item: builtins.slice, n: int) -> tuple[int, int, int]:
    names = ("start", "stop", "step")
    values = [None if v is None else need_int(v, "get_item", f"slice {name}") for v, name in
              ((getattr(item, name), name) for name in names)]  # fmt: skip
    return builtins.slice(*values).indices(n)


def _advanced(x: Tensor, items: list[Any], arrays: list[int]) -> Tensor:
    """Index arrays: broadcast together and read as one index into the joined axes."""
    indices = [items[a] for a in arrays]
    shape = np.broadcast_shapes(*(i.shape for i in indices))
    together = arrays[-1] - arrays[0] == len(arrays) - 1
    if len(arrays) == 1:
        return apply("take", x, indices[0], axis=arrays[0], mode="check")
    rest = [a for a in range(len(x.shape)) if a not in arrays]
    place = arrays[0] if together else 0
    before, after = (rest[:place], rest[place:])
    x = permute(x, before + arrays + after)
    sizes = x.shape[place : place + len(arrays)]
    flat = reshape_to(x, (*x.shape[:place], math.prod(sizes), *x.shape[place + len(arrays) :]))
    return apply("take", flat, _flat_index(indices, sizes, shape), axis=place, mode="check")


def _flat_index(indices: list[Tensor], sizes: tuple[int, ...], shape: tuple[int, ...]) -> Tensor:
    """One index into joined axes from one per axis; an index out of its own axis becomes one out of all."""
    total = math.prod(sizes)
    flat: Tensor | None = None
    for index, n in zip(indices, sizes, strict=True):
        known = concrete(index)
        if known is not None and known.size and (known.min() < -n or known.max() >= n):
            raise IndexError(f"get_item: an index is out of range for an axis of size {n}; received {index}")
        index = cast_to(index, "int32")
        wrapped = choose(apply("lt", index, 0), apply("add", index, n), index)
        if known is None:
            bad = apply("or", apply("lt", wrapped, 0), apply("ge", wrapped, n))
            wrapped = choose(bad, full_of((), total, "int32"), wrapped)
        flat = wrapped if flat is None else apply("add", apply("mul", flat, n), wrapped)
    assert flat is not None
    return broadcast(flat, shape)


# -- take and slices ---------------------------------------------------------------------------------
def _index(x: Any, op: str) -> Tensor:
    found = to_tensor(x)
    if found.dtype in FLOATS:
        found = cast_to(found, "int32")
    if found.dtype not in INTS and found.dtype != "bool":
        raise TypeError(f"{op}: argument `indices` must be integers; received dtype {found.dtype}")
    return cast_to(found, "int32") if found.dtype == "bool" else found


@keras_op
def take(x: Any, indices: Any, axis: int | None = None) -> Any:
    """Elements (rows) at `indices` along an axis, of the flattened tensor if None. Out of range is an error."""
    x, where = to_tensor(x), _index(indices, "take")
    if axis is None:
        return apply("take", reshape_to(x, (math.prod(x.shape),)), where, axis=0, mode="check")
    return apply("take", x, where, axis=axis_of(axis, len(x.shape), "take"), mode="check")


@keras_op
def take_along_axis(x: Any, indices: Any, axis: int | None = None) -> Any:
    """One element per index, `indices` matching x on all other axes (broadcast where 1)."""
    x, where = to_tensor(x), _index(indices, "take_along_axis")
    if axis is None:
        if len(where.shape) != 1:
            raise ValueError(f"take_along_axis: `indices` must be 1-d when axis is None; received shape {where.shape}")
        return apply("take_along_axis", reshape_to(x, (math.prod(x.shape),)), where, axis=0)
    if len(x.shape) != len(where.shape):
        raise ValueError(f"take_along_axis: `indices` must have the rank of x {x.shape}; received shape {where.shape}")
    a = axis_of(axis, len(x.shape), "take_along_axis")
    common = np.broadcast_shapes((*x.shape[:a], 1, *x.shape[a + 1 :]), (*where.shape[:a], 1, *where.shape[a + 1 :]))
    x = broadcast(x, (*common[:a], x.shape[a], *common[a + 1 :]))
    where = broadcast(where, (*common[:a], where.shape[a], *common[a + 1 :]))
    return apply("take_along_axis", x, where, axis=a)


def _starts(start_indices: Any, rank: int, op: str) -> list[Any]:
    """One start per axis: ints where they are known, else traced scalars."""
    if isinstance(start_indices, (list, tuple)):
        starts = list(start_indices)
    else:
        vector = to_tensor(start_indices)
        known = concrete(vector)
        if known is not None:
            starts = [int(v) for v in known.reshape(-1)]
        else:
            starts = [
                reshape_to(apply("slice", vector, start=(i,), stop=(i + 1,), step=(1,)), ())
                for i in range(vector.shape[0])
            ]
    if len(starts) != rank:
        raise ValueError(f"{op}: argument `start_indices` needs one start per axis ({rank}); received {len(starts)}")
    found = []
    for s in starts:
        known = concrete(s)
        found.append(int(known.reshape(())) if known is not None else cast_to(reshape_to(to_tensor(s), ()), "int32"))
    return found


@keras_op
def slice(inputs: Any, start_indices: Any, shape: Any) -> Any:
    """A block of `shape` that begins at `start_indices` (moved inside if it would stick out); -1: to the end."""
    x = to_tensor(inputs)
    starts, wanted = _starts(start_indices, len(x.shape), "slice"), static_shape(shape, "slice")
    if isinstance(current_trace(), ScratchTrace):
        open_ended = [size == -1 and not isinstance(s, int) for size, s in zip(wanted, starts, strict=True)]
        if any(open_ended):  # how far it is to the end depends on a value
            known = [
                n - s if size == -1 and isinstance(s, int) else size
                for size, n, s in zip(wanted, x.shape, starts, strict=True)
            ]
            return KerasTensor([None if o else n for o, n in zip(open_ended, known, strict=True)], x.dtype)
    sizes = [n - int(s) if size == -1 else size for size, n, s in zip(wanted, x.shape, starts, strict=True)]
    for size, n in zip(sizes, x.shape, strict=True):
        if size > n or size < 0:
            raise ValueError(f"slice: argument `shape` must fit in {x.shape}; received {tuple(sizes)}")
    if all(isinstance(s, int) for s in starts):
        low = [builtins.min(builtins.max(s, 0), n - size) for s, n, size in zip(starts, x.shape, sizes, strict=True)]
        high = tuple(lo + size for lo, size in zip(low, sizes, strict=True))
        return apply("slice", x, start=tuple(low), stop=high, step=(1,) * len(low))
    return apply("dynamic_slice", x, *(to_tensor(s, "int32") for s in starts), sizes=tuple(sizes))


@keras_op
def slice_update(inputs: Any, start_indices: Any, updates: Any) -> Any:
    """inputs with the block at `start_indices` replaced by `updates`."""
    x = to_tensor(inputs)
    update = to_tensor(updates, x.dtype)
    starts = _starts(start_indices, len(x.shape), "slice_update")
    return apply("dynamic_update_slice", x, update, *(to_tensor(s, "int32") for s in starts))


# -- scatter -----------------------------------------------------------------------------------------
def _scatter_nd(x: Tensor, indices: Tensor, updates: Tensor, combine: str, op: str) -> Tensor:
    """indices (..., depth) name slices of x's first `depth` axes."""
    depth = indices.shape[-1]
    if depth > len(x.shape):
        raise ValueError(f"{op}: `indices` of depth {depth} point into a tensor of rank {len(x.shape)}")
    sizes, rest = x.shape[:depth], x.shape[depth:]
    lead = indices.shape[:-1]
    columns = [reshape_to(part(indices, len(lead), i, i + 1), lead) for i in range(depth)]
    flat = reshape_to(_flat_index(columns, sizes, lead), (math.prod(lead),))
    updates = reshape_to(broadcast(updates, lead + rest), (math.prod(lead), *rest))
    result = apply("scatter", reshape_to(x, (math.prod(sizes), *rest)), flat, updates, axis=0, combine=combine)
    return reshape_to(result, x.shape)


@keras_op
def scatter(indices: Any, values: Any, shape: Any) -> Any:
    """Zeros of `shape` with `values` added at `indices` (..., depth)."""
    where, values = _index(indices, "scatter"), to_tensor(values)
    zeros = full_of(static_shape(shape, "scatter"), 0, values.dtype)
    return _scatter_nd(zeros, where, values, "add", "scatter")


_COMBINE = {None: "set", "add": "add", "max": "max", "min": "min", "mul": "mul"}


@keras_op
def scatter_update(inputs: Any, indices: Any, updates: Any, reduction: str | None = None) -> Any:
    """inputs with `updates` written (or added, maxed, ...: `reduction`) at `indices` (..., depth)."""
    if reduction not in _COMBINE:
        raise ValueError(
            f"scatter_update: argument `reduction` must be one of {list(_COMBINE)}; received {reduction!r}"
        )
    x = to_tensor(inputs)
    return _scatter_nd(
        x, _index(indices, "scatter_update"), to_tensor(updates, x.dtype), _COMBINE[reduction], "scatter_update"
    )


# -- choices -----------------------------------------------------------------------------------------
@keras_op
def where(condition: Any, x1: Any = None, x2: Any = None) -> Any:
    """x1 where the condition holds, else x2; with the condition alone: the indices where it holds."""
    if (x1 is None) != (x2 is None):
        raise ValueError("where: give both `x1` and `x2`, or neither")
    if x1 is None:
        return nonzero(condition)
    a, b = promote(x1, x2)
    return choose(cast_to(to_tensor(condition), "bool"), a, b)


@keras_op
def select(condlist: Any, choicelist: Any, default: Any = 0) -> Any:
    """For each element the choice of the first condition that holds, else `default`."""
    if len(condlist) != len(choicelist) or not condlist:
        raise ValueError(
            f"select: as many conditions as choices (at least one) are expected; received {len(condlist)} and "
            f"{len(choicelist)}"
        )
    *choices, result = promote(*choicelist, default)
    for condition, choice in zip(reversed(list(condlist)), reversed(choices), strict=True):
        result = choose(cast_to(to_tensor(condition), "bool"), choice, result)
    return result


@keras_op
def nonzero(x: Any) -> Any:
    """Indices of the nonzero elements, one int32 array per axis. Needs values (their number is the shape)."""
    return tuple(Tensor(i.astype("int32")) for i in np.nonzero(need_concrete(to_tensor(x), "nonzero", "x")))


# -- class indices -----------------------------------------------------------------------------------
@keras_op
def one_hot(x: Any, num_classes: int, axis: int = -1, dtype: Any = None, sparse: bool = False) -> Any:
    """A new axis of size `num_classes` with 1 at the index that x names; out-of-range indices give zeros."""
    if sparse:
        raise ValueError("one_hot: sparse tensors do not exist here; pass sparse=False")
    x = _index(x, "one_hot")
    wanted = standardize_dtype(dtype) if dtype is not None else floatx()
    rank = len(x.shape) + 1
    where = axis_of(axis, rank, "one_hot")
    classes = apply(
        "iota", shape=tuple(num_classes if i == where else 1 for i in range(rank)), dtype="int32", axis=where
    )
    return cast_to(apply("eq", expand(cast_to(x, "int32"), where), classes), wanted)


@keras_op
def multi_hot(
    inputs: Any, num_classes: int | None = None, axis: int = -1, dtype: Any = None, sparse: bool = False, **kwargs: Any
) -> Any:
    """One-hot vectors of the second axis' indices joined by max: 1 for each class that occurs."""
    num_classes = kwargs.pop("num_tokens", num_classes) if num_classes is None else num_classes
    if num_classes is None:
        raise ValueError("multi_hot: argument `num_classes` must be given; received None")
    x = to_tensor(inputs)
    hot = one_hot(x, num_classes, axis, dtype, sparse)
    over = 1 if len(x.shape) > 1 else 0
    if hot.dtype == "bool":
        return apply("reduce_or", hot, axes=(over,), keepdims=False)
    return apply("reduce_max", hot, axes=(over,), keepdims=False)


@keras_op
def unravel_index(indices: Any, shape: Any) -> Any:
    """Positions per axis of indices into the flattened array; negative ones count from the end."""
    flat = _index(indices, "unravel_index")
    dims = static_shape(shape, "unravel_index")
    flat = choose(apply("lt", flat, 0), apply("add", flat, math.prod(dims)), flat)
    found = []
    for n in reversed(dims):
        found.append(apply("mod", flat, n))
        flat = apply("floor_div", flat, n)
    return tuple(reversed(found))
