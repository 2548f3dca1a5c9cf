"""Quantising all layers of a model that can be."""

from __future__ import annotations

import re
import warnings
from typing import Any

from graphkeras.quantizers.quantization_config import resolve_config


def is_selected(layer: Any, filters: Any) -> bool:
    """Whether a layer passes `filters`: None, a regular expression for its name, several of them, or a callable."""
    if filters is None:
        return True
    if callable(filters):
        return bool(filters(layer))
    patterns = [filters] if isinstance(filters, str) else filters
    return any(re.search(p, layer.name) for p in patterns)


def quantize_model(model: Any, mode: Any, config: Any, filters: Any, type_check: bool) -> bool:
    """Quantise the layers without sublayers that pass `filters`. Returns whether there were any.

    Layers with weights that cannot be quantised stay as they are, with a warning.
    """
    if filters is not None and not callable(filters) and not isinstance(filters, (str, list, tuple)):
        raise ValueError(
            "The `filters` argument must be a regex string, a list of regex strings, or a callable. "
            f"Received: {type(filters)}"
        )
    config = resolve_config(mode, config)
    changed = False
    for layer in model._flatten_layers():
        if not is_selected(layer, filters) or layer._layers:
            continue
        try:
            layer.quantize(config.mode, type_check=type_check, config=config)
            changed = True
        except NotImplementedError as error:
            if layer.weights:
                warnings.warn(str(error), stacklevel=3)
    return changed
