"""All op records; importing this package registers them."""

from graphkeras.ir.ops import (
    composite,
    contract,
    control,
    gather,
    pointwise_binary,
    pointwise_unary,
    random,
    reduce,
    source,
    view,
    window,
)

__all__ = [
    "composite",
    "contract",
    "control",
    "gather",
    "pointwise_binary",
    "pointwise_unary",
    "random",
    "reduce",
    "source",
    "view",
    "window",
]
