"""Host arrays whose newest value may stand somewhere else: in the memory of a GPU.

A device that keeps a copy of an array registers it here. Who is about to read the array on the host calls `refresh`
first; who has written it in place calls `changed`. Both cost one look at an empty table where no device is in use.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Protocol

import numpy as np


class Copy(Protocol):
    """A device's copy of one host array."""

    def fetch(self) -> None:
        """Bring the newest value to the host array, if the device has it."""

    def outdated(self) -> None:
        """The host array was written: the device's value counts no more."""


_copies: dict[int, tuple[weakref.ref[np.ndarray], Copy]] = {}


def register(array: np.ndarray, copy: Copy) -> None:
    """From now on `copy` belongs to `array`, until the array dies or `forget`."""
    key = id(array)
    _copies[key] = weakref.ref(array, lambda _: _copies.pop(key, None)), copy


def forget(array: np.ndarray) -> None:
    _copies.pop(id(array), None)


def refresh(array: np.ndarray) -> None:
    """Make sure that the host array holds the newest value."""
    if _copies:
        found = _copies.get(id(array))
        if found is not None:
            found[1].fetch()


def changed(array: np.ndarray) -> None:
    """Say that the host array has been written."""
    if _copies:
        found = _copies.get(id(array))
        if found is not None:
            found[1].outdated()


def changed_all(arrays: Iterable[np.ndarray]) -> None:
    if _copies:
        for array in arrays:
            changed(array)


def refresh_all(arrays: Iterable[np.ndarray]) -> None:
    if _copies:
        for array in arrays:
            refresh(array)
