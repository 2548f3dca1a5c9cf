"""Initializers without randomness."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphkeras import ops
from graphkeras.core.dtypes import standardize_dtype
from graphkeras.initializers.initializer import Initializer
from graphkeras.saving.serialization_lib import deserialize_keras_object, serialize_keras_object


class Constant(Initializer):
    """Fills with a value.

    Args:
        value: a number, or an array that broadcasts to the shape asked for.

    Example:

    >>> import graphkeras as keras
    >>> keras.initializers.Constant(0.5)((2, 2)).numpy().tolist()
    [[0.5, 0.5], [0.5, 0.5]]
    """

    def __init__(self, value: Any = 0.0) -> None:
        self.value = value

    def __call__(self, shape: Any, dtype: Any = None) -> Any:
        return ops.broadcast_to(ops.cast(self.value, standardize_dtype(dtype)), shape)

    def get_config(self) -> dict[str, Any]:
        return {"value": serialize_keras_object(self.value)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Constant:
        return cls(deserialize_keras_object(config["value"]))


class Zeros(Initializer):
    """Fills with 0.

    Example:

    >>> import graphkeras as keras
    >>> keras.initializers.Zeros()((2, 2)).numpy().tolist()
    [[0.0, 0.0], [0.0, 0.0]]
    """

    def __call__(self, shape: Any, dtype: Any = None) -> Any:
        return ops.zeros(shape, dtype=standardize_dtype(dtype))


class Ones(Initializer):
    """Fills with 1.

    Example:

    >>> import graphkeras as keras
    >>> keras.initializers.Ones()((2, 2)).numpy().tolist()
    [[1.0, 1.0], [1.0, 1.0]]
    """

    def __call__(self, shape: Any, dtype: Any = None) -> Any:
        return ops.ones(shape, dtype=standardize_dtype(dtype))


class Identity(Initializer):
    """An identity matrix times `gain`; ones on the main diagonal where the matrix is not square.

    Raises:
        ValueError: for a shape that is not 2-dimensional.

    Example:

    >>> import graphkeras as keras
    >>> keras.initializers.Identity(gain=2.0)((2, 2)).numpy().tolist()
    [[2.0, 0.0], [0.0, 2.0]]
    """

    def __init__(self, gain: float = 1.0) -> None:
        self.gain = gain

    def __call__(self, shape: Any, dtype: Any = None) -> Any:
        if len(shape) != 2:
            raise ValueError(
                "Identity matrix initializer can only be used for 2D matrices. "
                f"Received: shape={tuple(shape)} of rank {len(shape)}."
            )
        return self.gain * ops.eye(*shape, dtype=standardize_dtype(dtype))

    def get_config(self) -> dict[str, Any]:
        return {} if self.gain == 1.0 else {"gain": self.gain}


class STFT(Initializer):
    """The kernel of a convolution that computes a short-time Fourier transform.

    The kernel has shape `(frame_length, 1, fft_length // 2 + 1)`; entry `[t, 0, f]` is the cosine or sine of
    `-2 pi t f / fft_length`, times the window, divided by the scaling.

    Args:
        side: "real" or "imag".
        window: name of a window ("hann", "hamming", "blackman", "bartlett", "cosine", "tukey", "boxcar", ...), the
            values themselves, or None.
        scaling: "density" (divide by the square root of the window's energy), "spectrum" (by the sum of magnitudes)
            or None.
        periodic: whether a named window is periodic rather than symmetric.
    """

    def __init__(
        self, side: str = "real", window: Any = "hann", scaling: str | None = "density", periodic: bool = False
    ) -> None:
        if side not in ("real", "imag"):
            raise ValueError(f"Argument `side` should be 'real' or 'imag'. Received: side={side!r}")
        if isinstance(window, str):
            named_window(window, 1, periodic)
        if scaling not in (None, "density", "spectrum"):
            raise ValueError(f"Argument `scaling` must be None, 'density' or 'spectrum'. Received: scaling={scaling!r}")
        self.side = side
        self.window = window
        self.scaling = scaling
        self.periodic = periodic

    def __call__(self, shape: Any, dtype: Any = None) -> Any:
        frames, _, bins = shape
        times = np.arange(frames, dtype=np.float64).reshape(frames, 1, 1)
        frequencies = np.arange(bins, dtype=np.float64).reshape(1, 1, bins) / max(1, 2 * (bins - 1))
        angle = -2.0 * math.pi * times * frequencies
        kernel = np.cos(angle) if self.side == "real" else np.sin(angle)
        if self.window is not None:
            kernel = kernel * self._scaled_window(frames).reshape(frames, 1, 1)
        return ops.convert_to_tensor(kernel, dtype=standardize_dtype(dtype))

    def _scaled_window(self, frames: int) -> np.ndarray:
        if isinstance(self.window, str):
            window = named_window(self.window, frames, self.periodic)
        else:
            window = np.asarray(self.window, dtype=np.float64)
        if window.shape != (frames,):
            raise ValueError(
                f"Argument `window` must have shape ({frames},), the frame length; received {window.shape}."
            )
        if self.scaling == "density":
            return window / np.sqrt(np.sum(window**2))
        return window / np.sum(np.abs(window)) if self.scaling == "spectrum" else window

    def get_config(self) -> dict[str, Any]:
        return {"side": self.side, "window": self.window, "periodic": self.periodic, "scaling": self.scaling}


# Cosine-sum windows: w[t] = sum_k (-1)^k a_k cos(2 pi k t / (n - 1)).
_COSINE_SUMS = {
    "hann": (0.5, 0.5),
    "hamming": (0.54, 0.46),
    "blackman": (0.42, 0.5, 0.08),
    "blackmanharris": (0.35875, 0.48829, 0.14128, 0.01168),
    "nuttall": (0.3635819, 0.4891775, 0.1365995, 0.0106411),
    "flattop": (0.21557895, 0.41663158, 0.277263158, 0.083578947, 0.006947368),
}


def named_window(name: str, length: int, periodic: bool = False) -> np.ndarray:
    """A window function's samples: `length` of them; a periodic one is a symmetric one of `length + 1`, cut.

    Raises:
        ValueError: for an unknown name.
    """
    known = (*_COSINE_SUMS, "bartlett", "boxcar", "cosine", "triang", "tukey")
    if name not in known:
        raise ValueError(f"Unknown window type {name!r}. Expected one of {', '.join(known)}.")
    if length <= 1:
        return np.ones(length)
    n = length + 1 if periodic else length
    return _window(name, n)[:length]


def _window(name: str, n: int) -> np.ndarray:
    t = np.arange(n) / (n - 1)
    if name in _COSINE_SUMS:
        return sum((-1) ** k * a * np.cos(2 * np.pi * k * t) for k, a in enumerate(_COSINE_SUMS[name]))
    if name == "bartlett":
        return 1 - np.abs(2 * t - 1)
    if name == "cosine":
        return np.sin(np.pi * (np.arange(n) + 0.5) / n)
    if name == "triang":
        return 1 - np.abs(2 * np.arange(n) - (n - 1)) / (n if n % 2 == 0 else n + 1)
    if name == "tukey":  # half of the samples in two cosine slopes
        edge = np.minimum(t, 1 - t)
        return np.where(edge < 0.25, 0.5 * (1 - np.cos(4 * np.pi * edge)), 1.0)
    return np.ones(n)
