"""Small integers for weights and activations: scaling by the largest magnitude, groups with zero points, packing."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphkeras import ops

PACKED_DTYPES = ("int8", "uint8")


class Quantizer:
    """Base of objects that map floats to integers and a scale.

    Args:
        output_dtype: dtype of the integers.
    """

    def __init__(self, output_dtype: str = "int8") -> None:
        self.output_dtype = output_dtype

    def __call__(self, x: Any) -> Any:
        """Nothing but `x`; subclasses quantise."""
        return x

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        return cls(**config)

    def get_config(self) -> dict[str, Any]:
        raise NotImplementedError(f"{type(self).__name__} does not implement get_config()")


def abs_max_quantize(
    inputs: Any,
    axis: Any,
    value_range: tuple[int, int] = (-127, 127),
    dtype: str = "int8",
    epsilon: float = 1e-7,
    to_numpy: bool = False,
) -> tuple[Any, Any]:
    """Integers `round(inputs * scale)` and the scale that maps the largest magnitude to the end of the range.

    Args:
        inputs: floats.
        axis: axis or axes that share a scale; they stay with size 1 in the scale.
        value_range: smallest and largest integer.
        dtype: dtype of the integers.
        epsilon: added to the largest magnitude.
        to_numpy: compute with NumPy at once, for weights.

    Example:
        >>> import numpy as np
        >>> from graphkeras import quantizers
        >>> values, scale = quantizers.abs_max_quantize(np.array([[1.0, -0.5]], "float32"), axis=-1)
        >>> values.tolist(), round(float(scale[0, 0]))
        ([[127, -63]], 127)
    """
    axis = tuple(axis) if isinstance(axis, (list, tuple)) else axis
    if to_numpy:
        inputs = ops.convert_to_tensor(ops.convert_to_numpy(inputs))
    x = ops.convert_to_tensor(inputs)
    top = ops.add(ops.max(ops.abs(x), axis=axis, keepdims=True), epsilon)
    scale = ops.cast(ops.divide(value_range[1], top), x.dtype)
    values = ops.clip(ops.round(ops.multiply(x, scale)), value_range[0], value_range[1])
    return ops.cast(values, dtype), scale


def abs_max_quantize_grouped_with_zero_point(
    inputs: Any,
    block_size: int,
    value_range: tuple[int, int] = (-8, 7),
    dtype: str = "int8",
    epsilon: float = 1e-7,
    to_numpy: bool = False,
) -> tuple[Any, Any, Any]:
    """Integers, scales and zero points of a matrix whose rows form groups of `block_size`.

    `(integers - zero) * scale` restores the values: the range of integers covers [min, max] of each group and column.

    Args:
        inputs: floats of shape `(rows, columns)`.
        block_size: rows per group; the last group may be shorter.
        value_range: smallest and largest integer.
        dtype: dtype of the integers.
        epsilon: added to the width of the range of values.
        to_numpy: compute with NumPy at once, for weights.

    Returns:
        integers `(rows, columns)`, scale and int8 zero point `(groups, columns)`.
    """
    x = ops.convert_to_tensor(ops.convert_to_numpy(inputs) if to_numpy else inputs)
    rows, columns = x.shape
    low, high = value_range
    groups = math.ceil(rows / block_size)
    padded = ops.pad(x, ((0, groups * block_size - rows), (0, 0)))
    blocks = ops.reshape(padded, (groups, block_size, columns))
    smallest, largest = ops.min(blocks, axis=1, keepdims=True), ops.max(blocks, axis=1, keepdims=True)
    scale = ops.divide(ops.add(ops.subtract(largest, smallest), epsilon), float(high - low))
    zero = ops.clip(ops.add(ops.round(ops.divide(ops.negative(smallest), scale)), low), low, high)
    values = ops.clip(ops.add(ops.round(ops.divide(blocks, scale)), zero), low, high)
    values = ops.reshape(ops.cast(values, dtype), (groups * block_size, columns))[:rows]
    return values, ops.cast(ops.squeeze(scale, 1), x.dtype), ops.cast(ops.squeeze(zero, 1), "int8")


def dequantize_groups(values: Any, scale: Any, zero: Any, g_idx: Any, axis: int = 0) -> Any:
    """`(values - zero[group]) * scale[group]`, with the group of each position along `axis` in `g_idx`."""
    groups = ops.cast(g_idx, "int32")
    scale = ops.take(scale, groups, axis=axis)
    zero = ops.cast(ops.take(zero, groups, axis=axis), scale.dtype)
    return ops.multiply(ops.subtract(ops.cast(values, scale.dtype), zero), scale)


class AbsMaxQuantizer(Quantizer):
    """Quantises with `abs_max_quantize`.

    Args:
        axis: axis or axes that share a scale; the last one if None.
        value_range, epsilon, output_dtype: as for the function.

    Raises:
        ValueError: if the range does not fit in int8.
    """

    def __init__(
        self,
        axis: Any = None,
        value_range: tuple[int, int] = (-127, 127),
        epsilon: float = 1e-07,
        output_dtype: str = "int8",
    ) -> None:
        super().__init__(output_dtype=output_dtype)
        self.axis = None if axis is None else (axis,) if isinstance(axis, int) else tuple(axis)
        self.value_range = tuple(value_range)
        self.epsilon = epsilon
        if output_dtype == "int8" and (value_range[0] < -128 or value_range[1] > 127):
            raise ValueError(
                "Quantizer with output_dtype='int8' requires value_range to be within the interval [-128, 127]. "
                f"Received: value_range={value_range}"
            )

    def __call__(self, x: Any, axis: Any = None, to_numpy: bool = False) -> tuple[Any, Any]:
        """Integers and scale of `x`."""
        axis = axis if axis is not None else self.axis if self.axis is not None else -1
        return abs_max_quantize(x, axis, self.value_range, self.output_dtype, self.epsilon, to_numpy)  # type: ignore[arg-type]

    def get_config(self) -> dict[str, Any]:
        config: dict[str, Any] = {
            "value_range": self.value_range,
            "epsilon": self.epsilon,
            "output_dtype": self.output_dtype,
        }
        if self.axis is not None:
            config["axis"] = self.axis
        return config


def pack_int4(arr: Any, axis: int = 0, dtype: str = "int8") -> tuple[Any, tuple[int, ...], int]:
    """Two 4-bit integers in each byte: the even ones in the low halves.

    Args:
        arr: integers from -8 to 7 (0 to 15 for uint8), of that dtype.
        axis: axis that is packed; an odd length is padded by a zero.
        dtype: "int8" or "uint8".

    Returns:
        packed tensor, its shape, and the axis's length before.

    Example:
        >>> import numpy as np
        >>> from graphkeras import quantizers
        >>> packed, _, n = quantizers.pack_int4(np.array([1, -2, 3], "int8"))
        >>> packed.shape, quantizers.unpack_int4(packed, n).tolist()
        ((2,), [1, -2, 3])
    """
    if dtype not in PACKED_DTYPES:
        raise ValueError(f"Expected dtype to be 'int8' or 'uint8', but got '{dtype}'.")
    array = np.asarray(ops.convert_to_numpy(arr))
    if array.dtype.name != dtype:
        raise TypeError(f"Expected {dtype} tensor for packing, got {array.dtype.name}.")
    moved = np.moveaxis(array, axis, 0).view("uint8")
    n = moved.shape[0]
    if n % 2:
        moved = np.concatenate([moved, np.zeros((1, *moved.shape[1:]), "uint8")])
    packed = (moved[::2] & 15) | ((moved[1::2] & 15) << 4)
    packed = np.ascontiguousarray(np.moveaxis(packed, 0, axis)).view(dtype)
    return ops.convert_to_tensor(packed), tuple(packed.shape), n


def unpack_int4(packed: Any, orig_len: int, axis: int = 0, dtype: str = "int8") -> Any:
    """The inverse of `pack_int4`.

    Args:
        packed: int8 or uint8 tensor.
        orig_len: the axis's length before packing.
        axis: axis that was packed.
        dtype: "int8" for integers from -8 to 7, "uint8" for 0 to 15.
    """
    if dtype not in PACKED_DTYPES:
        raise ValueError(f"Expected dtype to be 'int8' or 'uint8', but got '{dtype}'.")
    packed = ops.convert_to_tensor(packed)
    if packed.dtype not in PACKED_DTYPES:
        raise TypeError(f"Expected int8 or uint8 tensor for unpacking, got {packed.dtype}")
    axis %= len(packed.shape)
    wide = ops.cast(packed, "int32")
    halves = [ops.bitwise_and(wide, 15), ops.bitwise_and(ops.right_shift(wide, 4), 15)]
    if dtype == "int8":
        halves = [ops.subtract(ops.bitwise_xor(h, 8), 8) for h in halves]
    shape = list(packed.shape)
    shape[axis] *= 2
    pairs = ops.reshape(ops.stack(halves, axis=axis + 1), shape)
    window = tuple(slice(0, orig_len) if i == axis else slice(None) for i in range(len(shape)))
    return ops.cast(pairs[window], dtype)
