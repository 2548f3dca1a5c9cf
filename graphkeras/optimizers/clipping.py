"""Limits on the norm of gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphkeras import ops


def clip_by_norm(gradient: Any, limit: float) -> Any:
    """The gradient, scaled down to norm `limit` where it is longer."""
    norm = ops.sqrt(ops.sum(ops.square(gradient)))
    return gradient * (limit / ops.maximum(norm, limit))


def global_norm(gradients: Sequence[Any]) -> Any:
    """The norm of all gradients together."""
    total: Any = None
    for gradient in gradients:
        if gradient is not None:
            squares = ops.sum(ops.square(gradient))
            total = squares if total is None else total + squares
    return ops.sqrt(total)


def clip_by_global_norm(gradients: Sequence[Any], limit: float) -> list[Any]:
    """All gradients times one factor, so that their common norm is at most `limit`. An infinite norm gives nan."""
    norm = global_norm(gradients)
    scale = limit / ops.maximum(norm, limit) + (norm - norm)
    return [None if g is None else g * ops.cast(scale, g.dtype) for g in gradients]
