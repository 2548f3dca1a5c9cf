"""Shapes: reshape, transpose, join, split, repeat, pad."""

from __future__ import annotations

import builtins
import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphkeras.core.operation import keras_op
from graphkeras.core.trace import ScratchTrace
from graphkeras.ops.base import (
    Tensor,
    apply,
    axes_of,
    axis_of,
    broadcast,
    concat,
    concrete,
    current_trace,
    expand,
    need_concrete,
    need_int,
    part,
    permute,
    promote,
    reshape_to,
    static_shape,
    to_tensor,
)


@keras_op
def reshape(x: Any, newshape: Any) -> Any:
    """Same elements in another shape; one dimension may be -1 (or None) and is worked out.

    >>> from graphkeras import ops
    >>> ops.reshape(ops.arange(6), (2, -1)).shape
    (2, 3)
    """
    x = to_tensor(x)
    return apply("reshape", x, shape=_resolved(x.shape, newshape))


def _resolved(old: tuple[int, ...], newshape: Any) -> tuple[int, ...]:
    dims = [newshape] if isinstance(newshape, (int, np.integer)) else newshape
    if isinstance(dims, (list, tuple)) and None in dims:
        # None comes from ops.shape of a symbolic tensor: its own dimension if -1 is taken, else whatever fits.
        free = -1 in [d for d in dims if d is not None] or [*dims].count(None) > 1
        dims = [(old[i] if free and i < len(old) else -1) if d is None else d for i, d in enumerate(dims)]
    shape = list(static_shape(dims, "reshape"))
    size = math.prod(old)
    if shape.count(-1) > 1 or builtins.any(n < -1 for n in shape):
        raise ValueError(
            f"reshape: argument `newshape` may hold one -1 and no other negative number; received {newshape}"
        )
    if -1 in shape:
        known = -math.prod(shape)
        if (known == 0 and size) or (known and size % known):
            raise ValueError(
                f"reshape: argument `newshape` must divide the {size} elements of shape {old}; received {newshape}"
            )
        shape[shape.index(-1)] = size // known if known else 0
    if math.prod(shape) != size:
        raise ValueError(
            f"reshape: argument `newshape` must keep the number of elements: shape {old} has {size}; "
            f"received {newshape} with {math.prod(shape)}"
        )
    return tuple(shape)


@keras_op
def ravel(x: Any) -> Any:
    """All elements in one dimension."""
    x = to_tensor(x)
    return reshape_to(x, (math.prod(x.shape),))


@keras_op
def transpose(x: Any, axes: Any = None) -> Any:
    """Dimensions in another order (reversed if `axes` is None)."""
    x = to_tensor(x)
    rank = len(x.shape)
    if axes is None:
        return permute(x, range(rank)[::-1])
    perm = tuple(axis_of(a, rank, "transpose") for a in axes)
    if sorted(perm) != list(range(rank)):
        raise ValueError(f"transpose: argument `axes` must name each of the {rank} axes once; received {axes}")
    return permute(x, perm)


@keras_op
def swapaxes(x: Any, axis1: int, axis2: int) -> Any:
    """Two dimensions exchanged."""
    x = to_tensor(x)
    rank = len(x.shape)
    i, j = axis_of(axis1, rank, "swapaxes"), axis_of(axis2, rank, "swapaxes")
    perm = list(range(rank))
    perm[i], perm[j] = j, i
    return permute(x, perm)


@keras_op
def moveaxis(x: Any, source: Any, destination: Any) -> Any:
    """Dimensions moved to other places; the others keep their order."""
    x = to_tensor(x)
    rank = len(x.shape)
    src = [axis_of(a, rank, "moveaxis") for a in ([source] if isinstance(source, int) else source)]
    dst = [axis_of(a, rank, "moveaxis") for a in ([destination] if isinstance(destination, int) else destination)]
    if len(src) != len(dst):
        raise ValueError(f"moveaxis: as many destinations as sources are expected; received {source} and {destination}")
    rest = iter(i for i in range(rank) if i not in src)
    perm = [src[dst.index(i)] if i in dst else next(rest) for i in range(rank)]
    return permute(x, perm)


@keras_op
def expand_dims(x: Any, axis: Any) -> Any:
    """A dimension of 1 (or several) inserted, counted in the result."""
    x = to_tensor(x)
    where = axis if isinstance(axis, (list, tuple)) else (axis,)
    rank = len(x.shape) + len(where)
    places = {axis_of(a, rank, "expand_dims") for a in where}
    rest = iter(x.shape)
    return reshape_to(x, [1 if i in places else next(rest) for i in range(rank)])


@keras_op
def squeeze(x: Any, axis: Any = None) -> Any:
    """Dimensions of 1 removed (all of them, or those named)."""
    x = to_tensor(x)
    shape = x.shape
    if axis is None:
        return reshape_to(x, [n for n in shape if n != 1])
    axes = axes_of(axis, len(shape), "squeeze")
    for a in axes:
        if shape[a] != 1:
            raise ValueError(
                f"squeeze: argument `axis` must name dimensions of size 1; received axis={axis} for shape {shape}"
            )
    return reshape_to(x, [n for i, n in enumerate(shape) if i not in axes])


@keras_op
def broadcast_to(x: Any, shape: Any) -> Any:
    """Repeated along dimensions of 1 and new leading ones (without copying)."""
    x = to_tensor(x)
    dims = static_shape(shape, "broadcast_to")
    return broadcast(x, dims)


@keras_op
def flip(x: Any, axis: Any = None) -> Any:
    """Reversed along the axes (all by default)."""
    x = to_tensor(x)
    axes = axes_of(axis, len(x.shape), "flip")
    return apply("reverse", x, axes=axes) if axes else x


@keras_op
def flipud(x: Any) -> Any:
    """Reversed along the first axis."""
    return flip(x, 0)


@keras_op
def fliplr(x: Any) -> Any:
    """Reversed along the second axis."""
    return flip(x, 1)


@keras_op
def rot90(array: Any, k: int = 1, axes: tuple[int, int] = (0, 1)) -> Any:
    """Turned k times by 90 degrees in the plane of two axes, from the first towards the second."""
    x = to_tensor(array)
    rank = len(x.shape)
    if rank < 2:
        raise ValueError(f"rot90: argument `array` must have at least 2 dimensions; received shape {x.shape}")
    if len(axes) != 2 or axis_of(axes[0], rank) == axis_of(axes[1], rank):
        raise ValueError(f"rot90: argument `axes` must name two different axes; received {axes}")
    i, j = (axis_of(a, rank, "rot90") for a in axes)
    turns = k % 4
    if turns == 0:
        return x
    if turns == 2:
        return apply("reverse", x, axes=tuple(sorted((i, j))))
    perm = list(range(rank))
    perm[i], perm[j] = j, i
    if turns == 1:
        return permute(apply("reverse", x, axes=(j,)), perm)
    return apply("reverse", permute(x, perm), axes=(j,))


# -- joining -----------------------------------------------------------------------------------------
def _same_dtype(xs: Any, op: str) -> list[Tensor]:
    if not isinstance(xs, (list, tuple)):
        xs = list(to_tensor(xs))
    if not xs:
        raise ValueError(f"{op}: argument `xs` must hold at least one tensor; received an empty list")
    return promote(*xs)


@keras_op
def concatenate(xs: Any, axis: int = 0) -> Any:
    """Tensors joined along an existing axis (None: flattened first)."""
    parts = _same_dtype(xs, "concatenate")
    if axis is None:
        return concat([reshape_to(p, (math.prod(p.shape),)) for p in parts], 0)
    shapes = [p.shape for p in parts]
    where = axis_of(axis, len(shapes[0]), "concatenate")
    if builtins.any(s[:where] + s[where + 1 :] != shapes[0][:where] + shapes[0][where + 1 :] for s in shapes):
        raise ValueError(f"concatenate: shapes must agree except on axis {axis}; received {shapes}")
    return concat(parts, where)


@keras_op
def stack(x: Any, axis: int = 0) -> Any:
    """Tensors of one shape joined along a new axis."""
    parts = _same_dtype(x, "stack")
    if len({p.shape for p in parts}) > 1:
        raise ValueError(f"stack: all shapes must be equal; received {[p.shape for p in parts]}")
    where = axis_of(axis, len(parts[0].shape) + 1, "stack")
    return concat([expand(p, where) for p in parts], where)


@keras_op
def hstack(xs: Any) -> Any:
    """Joined along the second axis (the first for 1-d tensors)."""
    parts = [reshape_to(p, (1,)) if not p.shape else p for p in _same_dtype(xs, "hstack")]
    return concatenate(parts, 0 if len(parts[0].shape) == 1 else 1)


@keras_op
def vstack(xs: Any) -> Any:
    """Joined along the first axis, 1-d tensors as rows."""
    parts = [reshape_to(p, (1, math.prod(p.shape))) if len(p.shape) < 2 else p for p in _same_dtype(xs, "vstack")]
    return concatenate(parts, 0)


@keras_op
def dstack(xs: Any) -> Any:
    """Joined along the third axis."""

    def deep(p: Tensor) -> Tensor:
        shape = p.shape
        if len(shape) >= 3:
            return p
        return reshape_to(p, (*shape, 1) if len(shape) == 2 else (1, math.prod(shape), 1))

    return concatenate([deep(p) for p in _same_dtype(xs, "dstack")], 2)


@keras_op
def column_stack(xs: Any) -> Any:
    """1-d tensors as columns (2-d ones as they are) side by side."""
    parts = [reshape_to(p, (math.prod(p.shape), 1)) if len(p.shape) < 2 else p for p in _same_dtype(xs, "column_stack")]
    return concatenate(parts, 1)


@keras_op
def append(x1: Any, x2: Any, axis: int | None = None) -> Any:
    """x2 after x1 along the axis (both flattened if None)."""
    return concatenate([x1, x2], axis)


# -- splitting ---------------------------------------------------------------------------------------
def _pieces(x: Tensor, bounds: Sequence[int], axis: int) -> list[Tensor]:
    n = x.shape[axis]
    edges = [0, *(builtins.min(builtins.max(b + n if b < 0 else b, 0), n) for b in bounds), n]
    return [part(x, axis, lo, builtins.max(lo, hi)) for lo, hi in itertools.pairwise(edges)]


def _bounds(indices: Any, op: str) -> list[int]:
    return [int(i) for i in (indices if isinstance(indices, (list, tuple)) else need_concrete(indices, op, "indices"))]


@keras_op
def split(x: Any, indices_or_sections: Any, axis: int = 0) -> Any:
    """A list of equal parts (int), or of the parts between the given indices."""
    x = to_tensor(x)
    where = axis_of(axis, len(x.shape), "split")
    if isinstance(indices_or_sections, (int, np.integer)):
        n, sections = x.shape[where], int(indices_or_sections)
        if sections <= 0 or n % sections:
            raise ValueError(
                f"split: argument `indices_or_sections` must divide dimension {axis} of shape {x.shape} evenly; "
                f"received {sections}"
            )
        width = n // sections
        return [part(x, where, i * width, (i + 1) * width) for i in range(sections)]
    return _pieces(x, _bounds(indices_or_sections, "split"), where)


@keras_op
def array_split(x: Any, indices_or_sections: Any, axis: int = 0) -> Any:
    """Like `split`, but the parts may differ in length by one."""
    x = to_tensor(x)
    where = axis_of(axis, len(x.shape), "array_split")
    if not isinstance(indices_or_sections, (int, np.integer)):
        return _pieces(x, _bounds(indices_or_sections, "array_split"), where)
    small, large = divmod(x.shape[where], int(indices_or_sections))
    widths = [small + 1] * large + [small] * (int(indices_or_sections) - large)
    return _pieces(x, list(np.cumsum(widths[:-1])), where)


@keras_op
def hsplit(x: Any, indices_or_sections: Any) -> Any:
    """Split along the second axis (the first of a 1-d tensor)."""
    x = to_tensor(x)
    return split(x, indices_or_sections, 0 if len(x.shape) == 1 else 1)


@keras_op
def vsplit(x: Any, indices_or_sections: Any) -> Any:
    """Split along the first axis."""
    return split(x, indices_or_sections, 0)


@keras_op
def dsplit(x: Any, indices_or_sections: Any) -> Any:
    """Split along the third axis."""
    x = to_tensor(x)
    if len(x.shape) < 3:
        raise ValueError(f"dsplit: argument `x` must have at least 3 dimensions; received shape {x.shape}")
    return split(x, indices_or_sections, 2)


@keras_op
def unstack(x: Any, num: int | None = None, axis: int = 0) -> Any:
    """A list of the slices along an axis, without that axis."""
    x = to_tensor(x)
    where = axis_of(axis, len(x.shape), "unstack")
    n = x.shape[where]
    if num is not None and num != n and isinstance(current_trace(), ScratchTrace):
        n = num  # the size is not known yet, only `num` is
        x = part(x, where, 0, n)
    if num is not None and num != n:
        raise ValueError(f"unstack: argument `num` must be the size {n} of axis {axis}; received {num}")
    rest = x.shape[:where] + x.shape[where + 1 :]
    return [reshape_to(part(x, where, i, i + 1), rest) for i in range(n)]


# -- repeating and moving ----------------------------------------------------------------------------
@keras_op
def tile(x: Any, repeats: Any) -> Any:
    """The whole tensor repeated along each axis."""
    x = to_tensor(x)
    times = static_shape(repeats, "tile")
    rank = builtins.max(len(times), len(x.shape))
    times = (1,) * (rank - len(times)) + times
    shape = (1,) * (rank - len(x.shape)) + x.shape
    wide = reshape_to(x, [d for n in shape for d in (1, n)])
    wide = broadcast(wide, [d for t, n in zip(times, shape, strict=True) for d in (t, n)])
    return reshape_to(wide, [t * n for t, n in zip(times, shape, strict=True)])


@keras_op
def repeat(x: Any, repeats: Any, axis: int | None = None) -> Any:
    """Each element repeated along an axis (of the flattened tensor if None)."""
    x = to_tensor(x)
    if axis is None:
        x, where = reshape_to(x, (math.prod(x.shape),)), 0
    else:
        where = axis_of(axis, len(x.shape), "repeat")
    counts = need_concrete(repeats, "repeat", "repeats").reshape(-1)
    n = x.shape[where]
    if counts.size == 1:
        k = int(counts[0])
        wide = expand(x, where + 1)
        wide = broadcast(wide, (*x.shape[: where + 1], k, *x.shape[where + 1 :]))
        return reshape_to(wide, (*x.shape[:where], n * k, *x.shape[where + 1 :]))
    if counts.size != n:
        raise ValueError(
            f"repeat: argument `repeats` must have 1 or {n} numbers for shape {x.shape}; received {counts.size}"
        )
    return apply("take", x, to_tensor(np.repeat(np.arange(n, dtype="int32"), counts)), axis=where, mode="clip")


@keras_op
def roll(x: Any, shift: Any, axis: Any = None) -> Any:
    """Elements moved along the axes; those pushed out come back at the other end."""
    x = to_tensor(x)
    if axis is None:
        flat = reshape_to(x, (math.prod(x.shape),))
        return reshape_to(_roll(flat, need_int(shift, "roll", "shift"), 0), x.shape)
    axes = [axis] if isinstance(axis, int) else list(axis)
    shifts = static_shape(shift, "roll")
    if len(shifts) != len(axes):
        if 1 not in (len(shifts), len(axes)):
            raise ValueError(f"roll: as many shifts as axes are expected; received shift={shift}, axis={axis}")
        shifts, axes = (
            shifts * len(axes) if len(shifts) == 1 else shifts,
            axes * len(shifts) if len(axes) == 1 else axes,
        )
    for amount, a in zip(shifts, axes, strict=True):
        x = _roll(x, amount, axis_of(a, len(x.shape), "roll"))
    return x


def _roll(x: Tensor, amount: int, axis: int) -> Tensor:
    n = x.shape[axis]
    k = amount % n if n else 0
    return x if k == 0 else concat([part(x, axis, n - k, n), part(x, axis, 0, n - k)], axis)


@keras_op
def pad(x: Any, pad_width: Any, mode: str = "constant", constant_values: Any = None) -> Any:
    """Elements added around each axis: constant, "reflect", "symmetric", "edge", "wrap" ... as numpy.pad names them.

    pad_width: int, (before, after), or one pair per axis.
    """
    x = to_tensor(x)
    rank = len(x.shape)
    widths = [tuple(map(int, w)) for w in np.broadcast_to(need_concrete(pad_width, "pad", "pad_width"), (rank, 2))]
    if mode == "constant":
        value = 0 if constant_values is None else constant_values
        known = concrete(to_tensor(value))
        if known is None:
            raise ValueError(
                "pad: argument `constant_values` must be known when the step is traced; received a traced tensor"
            )
        return apply(
            "pad",
            x,
            low=tuple(lo for lo, _ in widths),
            high=tuple(hi for _, hi in widths),
            interior=(0,) * rank,
            value=known.reshape(-1)[0].item(),
        )
    if constant_values is not None:
        raise ValueError(
            f"pad: Argument `constant_values` can only be provided when `mode == 'constant'`; received mode={mode!r}"
        )
    modes = ("reflect", "symmetric", "edge", "wrap")
    if mode not in modes:
        raise ValueError(f"pad: argument `mode` must be 'constant' or one of {modes}; received {mode!r}")
    for axis, (low, high) in enumerate(widths):
        if low or high:
            where = np.pad(np.arange(x.shape[axis], dtype="int32"), (low, high), mode=mode)  # type: ignore[call-overload]
            x = apply("take", x, to_tensor(where), axis=axis, mode="clip")
    return x


@keras_op
def meshgrid(*x: Any, indexing: str = "xy") -> Any:
    """Coordinate arrays from 1-d ones; "xy" puts the second coordinate first."""
    if indexing not in ("xy", "ij"):
        raise ValueError(f"meshgrid: argument `indexing` must be 'xy' or 'ij'; received {indexing!r}")
    vectors = [to_tensor(v) for v in x]
    vectors = [reshape_to(v, (math.prod(v.shape),)) for v in vectors]
    order = list(range(len(vectors)))
    if indexing == "xy" and len(order) > 1:
        order[0], order[1] = 1, 0
    shape = [0] * len(order)
    for place, i in enumerate(order):
        shape[i] = vectors[place].shape[0]
    grids = []
    for place, i in enumerate(order):
        v = vectors[place]
        grids.append(broadcast(reshape_to(v, [v.shape[0] if a == i else 1 for a in range(len(order))]), shape))
    return grids
