"""Models as scikit-learn estimators. Needs scikit-learn (the extra "sklearn")."""

from __future__ import annotations

from typing import Any

__all__ = ["SKLearnClassifier", "SKLearnRegressor", "SKLearnTransformer"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from graphkeras.utils.optional import require

    require("sklearn", f"wrappers.{name}")
    from graphkeras.wrappers import sklearn_wrapper

    return getattr(sklearn_wrapper, name)


def __dir__() -> list[str]:
    return sorted(__all__)
