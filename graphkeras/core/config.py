"""Global settings: default dtype, epsilon, image layout, logging and run limits.

Defaults come from `keras.json` in `KERAS_HOME` (or `~/.keras`) where that file exists; it is read, never written.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from graphkeras.core.global_state import get_global_attribute, set_global_attribute

FLOATX_CHOICES = ("bfloat16", "float16", "float32", "float64")
DATA_FORMATS = ("channels_last", "channels_first")

_settings: dict[str, Any] = {
    "floatx": "float32",
    "epsilon": 1e-7,
    "image_data_format": "channels_last",
    "max_epochs": None,
    "max_steps_per_epoch": None,
    "unsafe_deserialization": False,
}


def backend() -> str:
    """The name of the computing backend: always "graphkeras"."""
    return "graphkeras"


def set_backend(backend: str) -> None:
    """Only "graphkeras" is accepted: there is no other backend to change to."""
    if backend != "graphkeras":
        raise ValueError(f"graphkeras has one backend, 'graphkeras'. Received: backend={backend!r}")


def floatx() -> str:
    """The default float dtype, "float32" at first."""
    return _settings["floatx"]


def set_floatx(value: str) -> None:
    """Set the default float dtype: "bfloat16", "float16", "float32" or "float64"."""
    if value not in FLOATX_CHOICES:
        raise ValueError(f"Unknown `floatx` value: {value!r}. Expected one of {FLOATX_CHOICES}.")
    _settings["floatx"] = str(value)


def epsilon() -> float:
    """The small number that keeps divisions and logarithms finite (1e-7)."""
    return _settings["epsilon"]


def set_epsilon(value: float) -> None:
    """Set the value that `epsilon()` returns."""
    _settings["epsilon"] = value


def image_data_format() -> str:
    """ "channels_last" or "channels_first"."""
    return _settings["image_data_format"]


def set_image_data_format(data_format: str) -> None:
    """Set the default layout of images: "channels_last" (height, width, channels) or "channels_first"."""
    _settings["image_data_format"] = _checked_data_format(data_format)


def standardize_data_format(data_format: str | None) -> str:
    """The given layout checked, or the default one for None."""
    return image_data_format() if data_format is None else _checked_data_format(data_format)


def _checked_data_format(data_format: Any) -> str:
    value = str(data_format).lower()
    if value not in DATA_FORMATS:
        raise ValueError(f"`data_format` must be one of {DATA_FORMATS}. Received: data_format={data_format!r}")
    return value


# -- limits for debugging ------------------------------------------------------------------------------
def max_epochs() -> int | None:
    """The most epochs that `fit` runs, or None."""
    return _settings["max_epochs"]


def set_max_epochs(max_epochs: int | None) -> None:
    """Cap the number of epochs of every `fit`, for quick trials. None removes the cap."""
    _settings["max_epochs"] = max_epochs


def max_steps_per_epoch() -> int | None:
    """The most steps per epoch of fit, evaluate and predict, or None."""
    return _settings["max_steps_per_epoch"]


def set_max_steps_per_epoch(max_steps_per_epoch: int | None) -> None:
    """Cap the steps per epoch of fit, evaluate and predict. None removes the cap."""
    _settings["max_steps_per_epoch"] = max_steps_per_epoch


# -- switches ------------------------------------------------------------------------------------------
def is_interactive_logging_enabled() -> bool:
    """Whether progress is printed to standard output (True) or sent to `logging` (False)."""
    return get_global_attribute("interactive_logging", True)


def enable_interactive_logging() -> None:
    """Print progress to standard output."""
    set_global_attribute("interactive_logging", True)


def disable_interactive_logging() -> None:
    """Send progress to Python's `logging` instead of standard output."""
    set_global_attribute("interactive_logging", False)


def is_traceback_filtering_enabled() -> bool:
    """Whether frames of the framework are left out of tracebacks."""
    return get_global_attribute("traceback_filtering", True)


def enable_traceback_filtering() -> None:
    """Leave the framework's own frames out of tracebacks."""
    set_global_attribute("traceback_filtering", True)


def disable_traceback_filtering() -> None:
    """Show complete tracebacks."""
    set_global_attribute("traceback_filtering", False)


def enable_unsafe_deserialization() -> None:
    """Allow loading of configs with arbitrary Python code (Lambda layers). Do so only for files that you trust."""
    set_global_attribute("safe_mode", False)


def is_flash_attention_enabled() -> bool | None:
    """None: attention decides by itself; False: the fused attention is off."""
    return get_global_attribute("flash_attention")


def enable_flash_attention() -> None:
    """Let attention use its fused form where it can (the default)."""
    set_global_attribute("flash_attention", None)


def disable_flash_attention() -> None:
    """Compute attention as plain products and softmax."""
    set_global_attribute("flash_attention", False)


def is_tensor_float_32_enabled() -> bool:
    """Whether float32 products on GPUs may round their operands to tf32."""
    from graphkeras.backend import executor

    return executor.tensor_float_32()


def enable_tensor_float_32(enabled: bool = True) -> None:
    """Let tensor cores of GPUs compute float32 products and convolutions, with operands rounded to 10 bits of fraction.

    Off by default: float32 then means float32. It counts for what is compiled from here on, and changes nothing on the
    CPU. The environment's form is GRAPHKERAS_TF32=1; the same switch in TensorFlow is
    `tf.config.experimental.enable_tensor_float_32_execution`.

    >>> import graphkeras
    >>> graphkeras.config.enable_tensor_float_32()
    >>> graphkeras.config.is_tensor_float_32_enabled()
    True
    >>> graphkeras.config.enable_tensor_float_32(False)
    """
    from graphkeras.backend import executor

    executor.tensor_float_32(enabled)


def is_nnx_enabled() -> bool:
    """Always False: NNX belongs to another backend."""
    return False


def keras_home() -> str:
    """The directory of settings, data sets and downloaded weights."""
    home = os.environ.get("KERAS_HOME")
    return home if home else str(Path.home() / ".keras")


def _load() -> None:
    path = Path(keras_home()) / "keras.json"
    try:
        stored = json.loads(path.read_text())
    except (OSError, ValueError):
        stored = {}
    setters = {"floatx": set_floatx, "epsilon": set_epsilon, "image_data_format": set_image_data_format}
    for name, setter in setters.items():
        if name in stored:
            setter(stored[name])
    for name in ("max_epochs", "max_steps_per_epoch"):
        value = os.environ.get(f"KERAS_{name.upper()}")
        if value:
            _settings[name] = int(value)


_load()
