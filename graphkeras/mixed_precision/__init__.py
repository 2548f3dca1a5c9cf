"""Mixed precision under its old names (`graphkeras.mixed_precision`)."""

from typing import Any

from graphkeras.dtype_policies.policy import DTypePolicy, dtype_policy, set_dtype_policy

Policy = DTypePolicy
global_policy = dtype_policy
set_global_policy = set_dtype_policy

__all__ = [
    "DTypePolicy",
    "LossScaleOptimizer",
    "Policy",
    "dtype_policy",
    "global_policy",
    "set_dtype_policy",
    "set_global_policy",
]


def __getattr__(name: str) -> Any:
    if name == "LossScaleOptimizer":
        from graphkeras.optimizers import LossScaleOptimizer

        return LossScaleOptimizer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
