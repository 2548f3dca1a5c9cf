"""Fourier transforms, frames, correlation."""

from __future__ import annotations

import builtins
from typing import Any

import numpy as np

from graphkeras.core.operation import keras_op
from graphkeras.ops.base import (
    Tensor,
    apply,
    broadcast,
    cast_to,
    floating,
    full_of,
    part,
    promote,
    promote_floating,
    reshape_to,
    to_tensor,
)


def _complex_pair(x: Any, op: str) -> Tensor:
    """A complex tensor from a (real, imaginary) pair."""
    if not isinstance(x, (tuple, list)) or len(x) != 2:
        raise ValueError(
            f"{op}: argument `x` should be a tuple of two tensors (real, imaginary); received {type(x).__name__}"
        )
    re, im = promote_floating(*x)
    if re.shape != im.shape:
        raise ValueError(
            f"{op}: Both the real and imaginary parts should have the same shape; received {re.shape} and {im.shape}"
        )
    if re.dtype in ("float16", "bfloat16"):
        re, im = cast_to(re, "float32"), cast_to(im, "float32")
    return apply("complex", re, im)


def _parts(z: Tensor) -> tuple[Tensor, Tensor]:
    return apply("real", z), apply("imag", z)


@keras_op
def fft(x: Any) -> Any:
    """Discrete Fourier transform of the last axis of a (real, imaginary) pair; a pair comes back."""
    z = _complex_pair(x, "fft")
    return _parts(apply("fft", z, kind="fft", axes=(len(z.shape) - 1,)))


@keras_op
def fft2(x: Any) -> Any:
    """Discrete Fourier transform of the last two axes of a (real, imaginary) pair."""
    z = _complex_pair(x, "fft2")
    rank = len(z.shape)
    return _parts(apply("fft", z, kind="fft", axes=(rank - 2, rank - 1)))


@keras_op
def ifft2(x: Any) -> Any:
    """Inverse of `fft2`."""
    z = _complex_pair(x, "ifft2")
    rank = len(z.shape)
    return _parts(apply("fft", z, kind="ifft", axes=(rank - 2, rank - 1)))


def _sized(x: Tensor, n: int) -> Tensor:
    """The last axis cut or filled with zeros to n."""
    axis, size = len(x.shape) - 1, x.shape[-1]
    if size >= n:
        return part(x, axis, 0, n)
    none = (0,) * axis
    return apply("pad", x, low=(*none, 0), high=(*none, n - size), interior=(*none, 0), value=0.0)


@keras_op
def rfft(x: Any, fft_length: int | None = None) -> Any:
    """Fourier transform of real numbers along the last axis: the (real, imaginary) first n // 2 + 1 values."""
    x = floating(x)
    x = cast_to(x, "float32") if x.dtype in ("float16", "bfloat16") else x
    n = x.shape[-1] if fft_length is None else int(fft_length)
    return _parts(apply("fft", _sized(x, n), kind="rfft", axes=(len(x.shape) - 1,)))


@keras_op
def irfft(x: Any, fft_length: int | None = None) -> Any:
    """Inverse of `rfft`: real numbers from the first half of their transform."""
    z = _complex_pair(x, "irfft")
    return _irfft(z, 2 * (z.shape[-1] - 1) if fft_length is None else int(fft_length))


def _irfft(z: Tensor, n: int) -> Tensor:
    return apply("fft", _sized(z, n // 2 + 1), kind="irfft", axes=(len(z.shape) - 1,), length=n)


@keras_op
def extract_sequences(x: Any, sequence_length: int, sequence_stride: int) -> Any:
    """Overlapping frames of the last axis: (..., frames, sequence_length)."""
    return _frames(to_tensor(x), int(sequence_length), int(sequence_stride))


def _frames(x: Tensor, length: int, stride: int) -> Tensor:
    n = x.shape[-1]
    count = builtins.max(0, (n - length) // stride + 1)
    where = (np.arange(count)[:, None] * stride + np.arange(length)).astype("int32")
    return apply("take", x, to_tensor(where), axis=len(x.shape) - 1, mode="clip")


def _window(window: Any, length: int, fft_length: int, dtype: str, op: str) -> Tensor | None:
    """The window in the middle of fft_length zeros."""
    if window is None:
        return None
    if isinstance(window, str):
        if window not in ("hann", "hamming"):
            raise ValueError(
                f"If a string is passed to `window`, it must be one of `'hann'`, `'hamming'`. Received: window={window}"
            )
        low = 0.5 if window == "hann" else 0.54
        values: Any = low - (1 - low) * np.cos(2 * np.pi * np.arange(length) / length)
    else:
        values = window
    found = to_tensor(values, dtype)
    if found.shape != (length,):
        raise ValueError(
            f"The shape of `window` must be equal to [sequence_length].Received: window shape={found.shape}"
        )
    left = (fft_length - length) // 2
    return apply("pad", found, low=(left,), high=(fft_length - length - left,), interior=(0,), value=0.0)


def _check_lengths(op: str, length: int, stride: int, fft_length: int) -> None:
    for name, value in (("sequence_length", length), ("sequence_stride", stride)):
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{op}: argument `{name}` must be a positive integer; received {value}")
    if fft_length < length:
        raise ValueError(
            f"{op}: argument `fft_length` must equal or be larger than `sequence_length`; received "
            f"sequence_length={length}, fft_length={fft_length}"
        )


@keras_op
def stft(
    x: Any, sequence_length: int, sequence_stride: int, fft_length: int, window: Any = "hann", center: bool = True
) -> Any:
    """Fourier transforms of overlapping windows: a pair of (..., frames, fft_length // 2 + 1).

    center: frame i is centred on sample i * stride (the signal is mirrored at its ends).
    """
    _check_lengths("stft", sequence_length, sequence_stride, fft_length)
    x = floating(x)
    shape = _window(window, sequence_length, fft_length, x.dtype, "stft")
    if center:
        from graphkeras.ops.shaping import pad

        around = [(0, 0)] * (len(x.shape) - 1) + [(fft_length // 2, fft_length // 2)]
        x = pad(x, around, mode="reflect")
    frames = _frames(x, fft_length, sequence_stride)
    if shape is not None:
        frames = apply("mul", frames, shape)
    return rfft(frames)


@keras_op
def istft(
    x: Any,
    sequence_length: int,
    sequence_stride: int,
    fft_length: int,
    length: int | None = None,
    window: Any = "hann",
    center: bool = True,
) -> Any:
    """Inverse of `stft`: frames are transformed back, windowed, added up, and divided by the windows' squares."""
    _check_lengths("istft", sequence_length, sequence_stride, fft_length)
    frames = _irfft(_complex_pair(x, "istft"), fft_length)
    shape = _window(window, sequence_length, fft_length, frames.dtype, "istft")
    count = frames.shape[-2]
    total = fft_length + (count - 1) * sequence_stride
    weights = full_of((fft_length,), 1.0, frames.dtype) if shape is None else shape
    signal = _overlap_add(apply("mul", frames, weights), sequence_stride, total)
    power = _overlap_add(broadcast(apply("mul", weights, weights), (count, fft_length)), sequence_stride, total)
    covered = apply("gt", power, 1e-11)
    power = apply("select", covered, power, full_of((), 1.0, power.dtype))
    signal = apply("div", signal, power)
    axis = len(signal.shape) - 1
    start = fft_length // 2 if center else 0
    stop = start + length if length is not None else (total - fft_length // 2 if center else total)
    if stop > total:
        signal = _sized(signal, stop)
    return part(signal, axis, start, stop)


def _overlap_add(frames: Tensor, stride: int, total: int) -> Tensor:
    """(..., count, length) frames added up, `stride` apart."""
    count, length = frames.shape[-2:]
    where = (np.arange(count)[:, None] * stride + np.arange(length)).astype("int32").reshape(-1)
    lead = frames.shape[:-2]
    flat = reshape_to(frames, (*lead, count * length))
    zeros = full_of((*lead, total), 0.0, frames.dtype)
    return apply("scatter", zeros, to_tensor(where), flat, axis=len(lead), combine="add")


@keras_op
def correlate(x1: Any, x2: Any, mode: str = "valid") -> Any:
    """Cross-correlation of two vectors: "valid", "same" or "full" overlaps."""
    if mode not in ("valid", "same", "full"):
        raise ValueError(f"correlate: argument `mode` must be 'valid', 'same' or 'full'; received {mode!r}")
    a, b = promote(x1, x2)
    dtype = a.dtype if a.dtype[0] in "fb" and a.dtype != "bool" else None
    if dtype is None:
        from graphkeras.ops.base import result_type

        dtype = result_type(a.dtype, float)
        a, b = cast_to(a, dtype), cast_to(b, dtype)
    if len(a.shape) != 1 or len(b.shape) != 1:
        raise ValueError(f"correlate: both arguments must be 1-d; received shapes {a.shape} and {b.shape}")
    if a.shape[0] < b.shape[0]:  # swapped, the result runs the other way
        return apply("reverse", _correlate(b, a, mode), axes=(0,))
    return _correlate(a, b, mode)


def _correlate(a: Tensor, b: Tensor, mode: str) -> Tensor:
    m = b.shape[0]
    low = {"valid": 0, "same": m // 2, "full": m - 1}[mode]
    high = {"valid": 0, "same": m - 1 - m // 2, "full": m - 1}[mode]
    padded = apply("pad", a, low=(low,), high=(high,), interior=(0,), value=0.0)
    return apply("dot_general", _frames(padded, m, 1), b, contract=((1,), (0,)), batch=((), ()))
