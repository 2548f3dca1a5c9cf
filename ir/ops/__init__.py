"""All op records; importing this package registers them."""

from graphkeras.ir.ops import (
    composite,
    composite_layers,
    composite_losses,
    contract,
    control,
    custom,
    gather,
    gather_along,
    pointwise_binary,
    pointwise_unary,
    random,
    reduce,
    sorting,
    source,
    view,
    window,
)

__all__ = [
    "composite",
    "composite_layers",
    "composite_losses",
    "contract",
    "control",
    "custom",
    "gather",
    "gather_along",
    "pointwise_binary",
    "pointwise_unary",
    "random",
    "reduce",
    "sorting",
    "source",
    "view",
    "window",
]
