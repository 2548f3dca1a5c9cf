"""Images: files to arrays and back (with Pillow), and resizing that keeps proportions."""

from __future__ import annotations

import io
import os
import pathlib
import warnings
from typing import Any

import numpy as np

from graphkeras.core import config
from graphkeras.utils.optional import require

# Names of interpolations and their names in PIL.Image.Resampling.
INTERPOLATIONS = {
    "nearest": "NEAREST",
    "bilinear": "BILINEAR",
    "bicubic": "BICUBIC",
    "hamming": "HAMMING",
    "box": "BOX",
    "lanczos": "LANCZOS",
}


def _data_format(data_format: str | None) -> str:
    return config.standardize_data_format(data_format)


def array_to_img(x: Any, data_format: str | None = None, scale: bool = True, dtype: Any = None) -> Any:
    """A PIL image from an array of shape (height, width, channels).

    Args:
        x: array with 1 (grey), 3 (RGB) or 4 (RGBA) channels.
        data_format: "channels_last" or "channels_first".
        scale: stretch the values to 0..255.
        dtype: dtype to compute in; the default float by default.

    Raises:
        ImportError: without Pillow.
        ValueError: for other shapes.
    """
    data_format = _data_format(data_format)
    image = require("PIL.Image", "array_to_img")
    x = np.array(x, dtype=dtype or config.floatx())
    if x.ndim != 3:
        raise ValueError(f"Expected image array to have rank 3 (single image). Got array with shape: {x.shape}")
    if data_format == "channels_first":
        x = x.transpose(1, 2, 0)
    if scale:
        x = x - x.min()
        largest = x.max()
        x = x * (255 / largest) if largest else x
    channels = x.shape[2]
    if channels in (3, 4):
        return image.fromarray(x.astype("uint8"))
    if channels == 1:
        return image.fromarray(x[:, :, 0].astype("int32" if x.max() > 255 else "uint8"))
    raise ValueError(f"Unsupported channel number: {channels}. Expected 1, 3 or 4.")


def img_to_array(img: Any, data_format: str | None = None, dtype: Any = None) -> np.ndarray:
    """The values of a PIL image as an array of shape (height, width, channels), 0 to 255.

    Args:
        img: PIL image, or an array of two or three axes.
        data_format: "channels_last" or "channels_first".
        dtype: the default float by default.
    """
    data_format = _data_format(data_format)
    x = np.array(img, dtype=dtype or config.floatx())
    if x.ndim == 2:
        x = x[:, :, None]
    elif x.ndim != 3:
        raise ValueError(f"Unsupported image shape: {x.shape}. Expected (height, width) or (height, width, channels).")
    return x.transpose(2, 0, 1) if data_format == "channels_first" else x


def save_img(
    path: Any,
    x: Any,
    data_format: str | None = None,
    file_format: str | None = None,
    scale: bool = True,
    **kwargs: Any,
) -> None:
    """Write an array as an image file.

    Args:
        path: path or open file.
        x: array as `array_to_img` takes it.
        file_format: "png", "jpeg", ...; default by the ending of the path.
        scale: stretch the values to 0..255.
        kwargs: go to `PIL.Image.Image.save`.
    """
    data_format = _data_format(data_format)
    if file_format is None and isinstance(path, (str, os.PathLike)):
        file_format = pathlib.Path(path).suffix[1:].lower()
    if file_format and file_format.lower() == "jpg":
        file_format = "jpeg"
    img = array_to_img(x, data_format=data_format, scale=scale)
    if img.mode == "RGBA" and file_format == "jpeg":
        warnings.warn("The JPEG format does not support RGBA images, converting to RGB.", stacklevel=2)
        img = img.convert("RGB")
    img.save(path, format=file_format or None, **kwargs)


def load_img(
    path: Any,
    color_mode: str = "rgb",
    target_size: Any = None,
    interpolation: str = "nearest",
    keep_aspect_ratio: bool = False,
) -> Any:
    """A PIL image from a file.

    Args:
        path: path, or a BytesIO.
        color_mode: "grayscale", "rgb" or "rgba".
        target_size: (height, width) to resize to.
        interpolation: "nearest", "bilinear", "bicubic", "hamming", "box" or "lanczos".
        keep_aspect_ratio: cut the middle of the right proportions out before resizing.
    """
    image = require("PIL.Image", "load_img")
    if isinstance(path, io.BytesIO):
        img = image.open(path)
    elif isinstance(path, (str, bytes, os.PathLike)):
        with open(path, "rb") as file:
            img = image.open(io.BytesIO(file.read()))
    else:
        raise TypeError(f"path should be path-like or io.BytesIO, not {type(path)}")
    modes = {"grayscale": "L", "rgb": "RGB", "rgba": "RGBA"}
    if color_mode not in modes:
        raise ValueError(f'color_mode must be "grayscale", "rgb", or "rgba". Received: {color_mode!r}')
    if img.mode != modes[color_mode] and not (color_mode == "grayscale" and img.mode in ("I;16", "I")):
        img = img.convert(modes[color_mode])
    if target_size is None or img.size == (target_size[1], target_size[0]):
        return img
    if interpolation not in INTERPOLATIONS:
        raise ValueError(
            f"Invalid interpolation method {interpolation} specified. Supported methods are {', '.join(INTERPOLATIONS)}"
        )
    resample = getattr(image.Resampling, INTERPOLATIONS[interpolation])
    box = None
    if keep_aspect_ratio:
        top, left, height, width = _middle(img.size[1], img.size[0], *target_size)
        box = (left, top, left + width, top + height)
    return img.resize((target_size[1], target_size[0]), resample, box=box)


def _middle(height: int, width: int, target_height: int, target_width: int) -> tuple[int, int, int, int]:
    """(top, left, height, width) of the largest middle part with the proportions of the target."""
    part_height = max(min(height, width * target_height // target_width), 1)
    part_width = max(min(width, height * target_width // target_height), 1)
    return (height - part_height) // 2, (width - part_width) // 2, part_height, part_width


def smart_resize(
    x: Any, size: Any, interpolation: str = "bilinear", data_format: str = "channels_last", **kwargs: Any
) -> Any:
    """Resize images without distorting them: the largest middle part of the right proportions is taken.

    Args:
        x: image or batch of images.
        size: (height, width).
        interpolation: as in `ops.image.resize`.

    Returns:
        array for an array, tensor for a tensor.

    Example:

    >>> import numpy as np
    >>> from graphkeras.preprocessing.image import smart_resize
    >>> smart_resize(np.ones((20, 10, 3)), (4, 4)).shape
    (4, 4, 3)
    """
    from graphkeras import ops

    kwargs.pop("backend_module", None)
    if kwargs:
        raise TypeError(f"smart_resize() got unexpected keyword arguments: {list(kwargs)}")
    if len(size) != 2:
        raise ValueError(f"Expected `size` to be a tuple of 2 integers, but got: {size}.")
    img = ops.convert_to_tensor(x)
    if img.ndim not in (3, 4):
        raise ValueError(
            "Expected an image array with shape `(height, width, channels)`, or `(batch_size, height, width, "
            f"channels)`, but got input with incorrect rank, of shape {tuple(img.shape)}."
        )
    last = data_format == "channels_last"
    height, width = img.shape[-3:-1] if last else img.shape[-2:]
    top, left, part_height, part_width = _middle(height, width, *size)
    rows, columns = slice(top, top + part_height), slice(left, left + part_width)
    img = img[..., rows, columns, :] if last else img[..., rows, columns]
    img = ops.image.resize(img, size=tuple(size), interpolation=interpolation, data_format=data_format)
    return np.array(img) if isinstance(x, np.ndarray) else img
