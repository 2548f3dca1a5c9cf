"""Which device computes: the CPU, or a GPU that was asked for.

The innermost `with device(...)` wins, then `config.set_device`, then the environment variable GRAPHKERAS_TARGET, then
the CPU. Whole graphs (steps of `fit`, `predict`, compiled functions) run on the device; eager operations on single
tensors always run on the CPU.
"""

from __future__ import annotations

import re
import sys
from typing import Any

from graphkeras.core.global_state import get_global_attribute, set_global_attribute

_setting: list[str | None] = [None]
_announced: set[str] = set()


def parse(name: Any) -> str:
    """The device's own name: "cpu", "cuda:0", "cuda:1" ... "gpu" means "cuda", and no number means 0."""
    if not isinstance(name, str):
        raise ValueError(
            f"Argument `device_name` must be a string such as 'cpu' or 'cuda:0'. Received: device_name={name!r}"
        )
    found = re.fullmatch(r"(cpu|cuda|gpu)(?::(\d+|simulated))?", name.strip().lower())
    if found is None or (found[1] == "cpu" and found[2] not in (None, "0")):
        raise ValueError(f"Unknown device {name!r}. Expected 'cpu', or 'cuda:N' ('gpu:N') such as 'cuda:0'.")
    return "cpu" if found[1] == "cpu" else f"cuda:{found[2] or 0}"


def set_device(name: str | None) -> None:
    """Set where models run from now on: "cpu", "cuda:0" ... None goes back to GRAPHKERAS_TARGET.

    Models that have compiled their steps already run them where they are until they are compiled again.

    Raises:
        RuntimeError: the GPU, its driver or a package is missing; the message says which and what to install.

    Example:

    >>> import graphkeras
    >>> graphkeras.config.set_device("cpu")
    >>> graphkeras.config.set_device(None)  # back to what GRAPHKERAS_TARGET says
    """
    wanted = None if name is None else parse(name)
    if wanted is not None:
        _check(wanted)
    _setting[0] = wanted


def device_name() -> str:
    """The device that computes: "cpu", "cuda:0" ..., or "interpret" if GRAPHKERAS_TARGET says so."""
    return chosen()[0]


def chosen() -> tuple[str, str]:
    """The device, and who chose it."""
    from graphkeras.backend import executor

    scope = get_global_attribute("device_scope")
    if scope is not None:
        return _or_target(scope), "with device(...)"
    if _setting[0] is not None:
        return _or_target(_setting[0]), "config.set_device"
    target = executor.flag_target()
    return ("cuda:0" if target == "cuda" else target), "GRAPHKERAS_TARGET"


def _or_target(name: str) -> str:
    """On the CPU, GRAPHKERAS_TARGET=interpret still means the interpreter."""
    from graphkeras.backend import executor

    target = executor.flag_target()
    return target if name == "cpu" and target in ("interpret", "null") else name


def _check(name: str) -> None:
    if name != "cpu":
        from graphkeras.backend import executor

        executor.open_device(name)


def announce(name: str, description: str, reason: str) -> None:
    """One line for the first use of a device."""
    if name not in _announced:
        _announced.add(name)
        print(f"graphkeras: models run on {description} ({name}), chosen by {reason}", file=sys.stderr)


class device:
    """`with device("cuda:0")`: what is compiled inside runs on that device.

    Args:
        device_name: "cpu", "cuda:N" or "gpu:N".

    Example:

    >>> import graphkeras
    >>> import numpy as np
    >>> model = graphkeras.Sequential([graphkeras.Input((2,)), graphkeras.layers.ReLU()])
    >>> with graphkeras.device("cpu"):
    ...     model.predict(np.array([[1.0, -1.0]]), verbose=0).tolist()
    [[1.0, 0.0]]
    """

    def __init__(self, device_name: str) -> None:
        self.device_name = device_name
        self._name = parse(device_name)

    def __enter__(self) -> device:
        _check(self._name)
        self._before = get_global_attribute("device_scope")
        set_global_attribute("device_scope", self._name)
        return self

    def __exit__(self, *exc: Any) -> None:
        set_global_attribute("device_scope", self._before)
