"""Models (`graphkeras.models`)."""

from __future__ import annotations

from typing import Any

from graphkeras.models.model import Model, model_from_json  # isort: skip  the others are made of it
from graphkeras.models.cloning import clone_model
from graphkeras.models.functional import Functional
from graphkeras.models.sequential import Sequential

__all__ = ["Functional", "Model", "Sequential", "clone_model", "load_model", "model_from_json", "save_model"]


def __getattr__(name: str) -> Any:
    if name in ("load_model", "save_model"):
        from graphkeras import saving

        return getattr(saving, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
