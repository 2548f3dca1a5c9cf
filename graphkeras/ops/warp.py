"""Images read at computed places: affine, perspective and elastic transforms, `map_coordinates`."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphkeras.core.operation import keras_op
from graphkeras.ops.base import (
    FLOATS,
    Tensor,
    apply,
    broadcast,
    cast_to,
    concat,
    expand,
    floating,
    full_of,
    part,
    reshape_to,
    select,
    to_tensor,
)
from graphkeras.ops.resample import as_batch, from_batch

ORDERS = {"nearest": 0, "bilinear": 1}
FILL_MODES = ("constant", "nearest", "wrap", "mirror", "reflect")


def _check(value: Any, name: str, allowed: Sequence[Any]) -> None:
    if value not in allowed:
        raise ValueError(
            f"Invalid value for argument `{name}`. Expected of one {set(allowed)}. Received: {name}={value}"
        )


def _inside(index: Tensor, n: int, mode: str) -> tuple[Tensor, Tensor | None]:
    """An index within [0, n) and, for mode "constant", whether it was one already."""
    last = n - 1
    clipped = apply("minimum", apply("maximum", index, 0), last)
    if mode == "constant":
        return clipped, apply("eq", clipped, index)
    if mode == "nearest":
        return clipped, None
    if mode == "wrap":
        return _modulo(index, n), None
    if mode == "mirror":  # about the centres of the outer elements
        period = max(2 * last, 1)
        place = _modulo(index, period)
        return apply("minimum", place, apply("sub", period, place)) if last else clipped, None
    place = _modulo(index, 2 * n)  # reflect: about the outer edges
    return apply("minimum", place, apply("sub", 2 * n - 1, place)), None


def _modulo(index: Tensor, n: int) -> Tensor:
    """index mod n by way of floats, whose division runs in vectors; exact for indices below 2**24."""
    turns = apply("floor", apply("div", cast_to(index, "float32"), float(n)))
    return apply("sub", index, apply("mul", cast_to(turns, "int32"), n))


def _neighbours(place: Tensor, order: int) -> list[tuple[Tensor, Tensor | None]]:
    """The samples beside a place on one axis with their weights (None: 1)."""
    if order == 0:
        away = apply("mul", apply("sign", place), apply("floor", apply("add", apply("abs", place), 0.5)))
        return [(cast_to(away, "int32"), None)]
    low = apply("floor", place)
    weight = apply("sub", place, low)
    index = cast_to(low, "int32")
    return [(index, apply("sub", 1.0, weight)), (apply("add", index, 1), weight)]


def _sampled(
    read: Callable[[Tensor], Tensor],
    sizes: Sequence[int],
    places: Sequence[Tensor],
    order: int,
    mode: str,
    value: float,
    lift: Callable[[Tensor], Tensor],
) -> Tensor:
    """Weighted sum over the corners of the cell around each place.

    read: flat index -> elements; lift: gives weights and conditions the rank of the elements.
    """
    total: Tensor | None = None
    for corner in itertools.product(*(_neighbours(p, order) for p in places)):
        flat: Tensor | None = None
        weight: Tensor | None = None
        valid: Tensor | None = None
        for (index, w), n in zip(corner, sizes, strict=True):
            index, ok = _inside(index, n, mode)
            flat = index if flat is None else apply("add", apply("mul", flat, n), index)
            weight = w if weight is None else (weight if w is None else apply("mul", weight, w))
            valid = ok if valid is None else (valid if ok is None else apply("and", valid, ok))
        assert flat is not None
        found = read(flat)
        if valid is not None:
            found = select(broadcast(lift(valid), found.shape), found, to_tensor(value, found.dtype))
        if weight is not None:
            found = apply("mul", found, lift(cast_to(weight, found.dtype)))
        total = found if total is None else apply("add", total, found)
    assert total is not None
    return total


def _warped(images: Tensor, rows: Tensor, columns: Tensor, order: int, mode: str, value: float) -> Tensor:
    """(N, H, W, C) read at rows and columns (N, h, w)."""
    n, h, w, c = images.shape
    _, high, wide = rows.shape
    dtype = images.dtype
    flat = reshape_to(images if dtype in FLOATS else floating(images), (n, h * w, c))

    def read(index: Tensor) -> Tensor:
        where = broadcast(reshape_to(index, (n, high * wide, 1)), (n, high * wide, c))
        return apply("take_along_axis", flat, where, axis=1)

    result = _sampled(read, (h, w), (rows, columns), order, mode, value, lambda t: reshape_to(t, (n, high * wide, 1)))
    return _as_images(reshape_to(result, (n, high, wide, c)), dtype)


def _as_images(x: Tensor, dtype: str) -> Tensor:
    return cast_to(x if dtype in FLOATS else apply("round", x), dtype)


def _grid(h: int, w: int) -> tuple[Tensor, Tensor]:
    """Row and column numbers, (1, h, w)."""
    y, x = np.meshgrid(np.arange(h, dtype="float32"), np.arange(w, dtype="float32"), indexing="ij")
    return to_tensor(y[None]), to_tensor(x[None])


def _entries(transforms: Tensor, count: int) -> list[Tensor]:
    """The columns of (N, count) as (N, 1, 1)."""
    n = transforms.shape[0]
    return [reshape_to(part(transforms, 1, i, i + 1), (n, 1, 1)) for i in range(count)]


@keras_op
def affine_transform(
    images: Any,
    transform: Any,
    interpolation: str = "bilinear",
    fill_mode: str = "constant",
    fill_value: float = 0,
    data_format: Any = None,
) -> Any:
    """Images whose point (x, y) comes from (a0 x + a1 y + a2, b0 x + b1 y + b2) of the input.

    transform: (a0, a1, a2, b0, b1, b2, 0, 0), one for all or one per image.
    """
    _check(interpolation, "interpolation", tuple(ORDERS))
    _check(fill_mode, "fill_mode", FILL_MODES)
    x, single, layout = as_batch(images, data_format, "affine_transform")
    matrix = to_tensor(transform, "float32")
    if len(matrix.shape) not in (1, 2):
        raise ValueError(
            "Invalid transform rank: expected rank 1 (single transform) or rank 2 (batch of transforms). "
            f"Received input with shape: transform.shape={matrix.shape}"
        )
    n, h, w, _ = x.shape
    matrix = broadcast(matrix if len(matrix.shape) == 2 else expand(matrix, 0), (n, 8))
    a0, a1, a2, b0, b1, b2, _, _ = _entries(matrix, 8)
    row, column = _grid(h, w)

    def linear(p: Tensor, q: Tensor, r: Tensor) -> Tensor:
        return apply("add", apply("add", apply("mul", p, column), apply("mul", q, row)), r)

    moved = _warped(x, linear(b0, b1, b2), linear(a0, a1, a2), ORDERS[interpolation], fill_mode, fill_value)
    return from_batch(moved, single, layout)


@keras_op
def perspective_transform(
    images: Any,
    start_points: Any,
    end_points: Any,
    interpolation: str = "bilinear",
    fill_value: float = 0,
    data_format: Any = None,
) -> Any:
    """Images bent so that the four `start_points` (x, y) land on the four `end_points`."""
    _check(interpolation, "interpolation", tuple(ORDERS))
    x, single, layout = as_batch(images, data_format, "perspective_transform")
    start, end = to_tensor(start_points, "float32"), to_tensor(end_points, "float32")
    for points, name in ((start, "start_points"), (end, "end_points")):
        if points.shape[-2:] != (4, 2) or len(points.shape) not in (2, 3):
            raise ValueError(
                f"Invalid {name} shape: expected (4,2) for a single image or (N,4,2) for a batch. "
                f"Received shape: {points.shape}"
            )
    if start.shape != end.shape:
        raise ValueError(
            "start_points and end_points must have the same shape. "
            f"Received start_points.shape={start.shape}, end_points.shape={end.shape}"
        )
    n, h, w, _ = x.shape
    start, end = (p if len(p.shape) == 3 else expand(p, 0) for p in (start, end))
    coefficients = broadcast(_homography(start, end), (n, 8))
    c = _entries(coefficients, 8)
    row, column = _grid(h, w)

    def linear(p: Tensor, q: Tensor, r: Any) -> Tensor:
        return apply("add", apply("add", apply("mul", p, column), apply("mul", q, row)), r)

    scale = linear(c[6], c[7], 1.0)
    rows, columns = apply("div", linear(c[3], c[4], c[5]), scale), apply("div", linear(c[0], c[1], c[2]), scale)
    return from_batch(_warped(x, rows, columns, ORDERS[interpolation], "constant", fill_value), single, layout)


def _homography(start: Tensor, end: Tensor) -> Tensor:
    """(N, 8) coefficients of the projective map that takes end points to start points."""
    n = start.shape[0]
    sx, sy, ex, ey = (part(p, 2, i, i + 1) for p in (start, end) for i in (0, 1))  # (N, 4, 1)
    one, zero = full_of((n, 4, 1), 1.0, "float32"), full_of((n, 4, 1), 0.0, "float32")

    def negated(a: Tensor, b: Tensor) -> Tensor:
        return apply("neg", apply("mul", a, b))

    upper = concat([ex, ey, one, zero, zero, zero, negated(sx, ex), negated(sx, ey)], 2)
    lower = concat([zero, zero, zero, ex, ey, one, negated(sy, ex), negated(sy, ey)], 2)
    found = apply("solve", concat([upper, lower], 1), concat([sx, sy], 1))
    return reshape_to(found, (n, 8))


@keras_op
def map_coordinates(
    inputs: Any, coordinates: Any, order: int, fill_mode: str = "constant", fill_value: float = 0
) -> Any:
    """inputs read at fractional places: coordinates (rank of inputs, ...); order 0 nearest, 1 linear."""
    x, places = to_tensor(inputs), to_tensor(coordinates)
    if places.shape[0] != len(x.shape):
        raise ValueError(
            "First dim of `coordinates` must be the same as the rank of `inputs`. "
            f"Received inputs with shape: {x.shape} and coordinate leading dim of {places.shape[0]}"
        )
    if len(places.shape) < 2:
        raise ValueError(
            f"Invalid coordinates rank: expected at least rank 2. Received input with shape: {places.shape}"
        )
    _check(fill_mode, "fill_mode", FILL_MODES)
    _check(order, "order", (0, 1))
    dtype = x.dtype
    flat = reshape_to(x if dtype in FLOATS else floating(x), (math.prod(x.shape),))
    axes = [floating(reshape_to(part(places, 0, i, i + 1), places.shape[1:])) for i in range(len(x.shape))]

    def read(index: Tensor) -> Tensor:
        return apply("take", flat, index, axis=0, mode="clip")

    return _as_images(_sampled(read, x.shape, axes, order, fill_mode, fill_value, lambda t: t), dtype)


@keras_op
def elastic_transform(
    images: Any,
    alpha: float = 20.0,
    sigma: float = 5.0,
    interpolation: str = "bilinear",
    fill_mode: str = "reflect",
    fill_value: float = 0.0,
    seed: Any = None,
    data_format: Any = None,
) -> Any:
    """Images whose points are moved by smooth random fields (Simard et al., 2003)."""
    from graphkeras.core.seed_generator import draw_seed
    from graphkeras.ops.filters import gaussian_blur
    from graphkeras.random.sampling import _keys, _standard_normal

    _check(interpolation, "interpolation", tuple(ORDERS))
    _check(fill_mode, "fill_mode", FILL_MODES)
    x, single, layout = as_batch(images, data_format, "elastic_transform")
    n, h, w, _ = x.shape
    width = int(6 * sigma) | 1
    shifts = []
    for key in _keys(draw_seed(seed), 2):
        field = apply("mul", _standard_normal(key, (n, h, w, 1)), float(sigma))
        field = gaussian_blur(field, (width, width), (sigma, sigma), "channels_last")
        shifts.append(apply("mul", reshape_to(field, (n, h, w)), float(alpha)))
    row, column = _grid(h, w)
    rows, columns = apply("add", row, shifts[1]), apply("add", column, shifts[0])
    return from_batch(_warped(x, rows, columns, ORDERS[interpolation], fill_mode, fill_value), single, layout)
