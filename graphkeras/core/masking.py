"""Masks travel on tensors, as the attribute `_keras_mask`."""

from __future__ import annotations

from typing import Any


def get_keras_mask(x: Any) -> Any:
    """The mask of a tensor, or None."""
    return getattr(x, "_keras_mask", None)


def set_keras_mask(x: Any, mask: Any) -> None:
    """Give a tensor a mask. Objects that cannot carry one (arrays, numbers, None) are left alone."""
    try:
        x._keras_mask = mask
    except AttributeError:
        return
