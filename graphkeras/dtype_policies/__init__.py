"""Dtype policies (`graphkeras.dtype_policies`)."""

from __future__ import annotations

from typing import Any

from graphkeras.dtype_policies.policy import DTypePolicy, FloatDTypePolicy, dtype_policy
from graphkeras.dtype_policies.policy_map import DTypePolicyMap
from graphkeras.dtype_policies.quantized import (
    AWQDTypePolicy,
    GPTQDTypePolicy,
    Int4DTypePolicy,
    QuantizedDTypePolicy,
    QuantizedFloat8DTypePolicy,
)

__all__ = [
    "AWQDTypePolicy",
    "DTypePolicy",
    "DTypePolicyMap",
    "FloatDTypePolicy",
    "GPTQDTypePolicy",
    "Int4DTypePolicy",
    "QuantizedDTypePolicy",
    "QuantizedFloat8DTypePolicy",
    "deserialize",
    "get",
    "serialize",
]

_CLASSES = {name: globals()[name] for name in __all__ if name.endswith(("Policy", "Map"))}


def serialize(dtype_policy: Any) -> dict[str, Any]:
    """A policy as a dict that `deserialize` reads."""
    from graphkeras.saving import serialize_keras_object

    return serialize_keras_object(dtype_policy)


def deserialize(config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Any:
    """The policy that `serialize` described."""
    from graphkeras.saving import deserialize_keras_object

    return deserialize_keras_object(config, module_objects=_CLASSES, custom_objects=custom_objects)


def get(identifier: Any) -> Any:
    """A policy from None (the global one), a policy, a policy's name, a dtype or a config.

    Raises ValueError for anything else.
    """
    if identifier is None:
        return dtype_policy()
    if isinstance(identifier, DTypePolicy):
        return identifier
    if isinstance(identifier, dict):
        return deserialize(identifier)
    if isinstance(identifier, str):
        return _quantized(identifier) if identifier.startswith(QuantizedDTypePolicy.MODES) else DTypePolicy(identifier)
    try:
        from graphkeras.core.dtypes import standardize_dtype

        return DTypePolicy(standardize_dtype(identifier))
    except Exception:
        raise ValueError(
            "Cannot interpret `dtype` argument. Expected a string or an instance of DTypePolicy. "
            f"Received: dtype={identifier}"
        ) from None


def _quantized(name: str) -> Any:
    """The policy named like `int8_from_float32` or `gptq/4/128_from_mixed_bfloat16`."""
    mode, separator, source = name.partition("_from_")
    if not separator:
        raise ValueError(f"Cannot convert '{name}' to a quantized policy. Expected '<mode>_from_<policy>'.")
    if mode == "float8":
        return QuantizedFloat8DTypePolicy(mode, source)
    blocks = {"int4/": Int4DTypePolicy, "gptq/": GPTQDTypePolicy, "awq/": AWQDTypePolicy}
    cls = next((c for start, c in blocks.items() if mode.startswith(start)), QuantizedDTypePolicy)
    return cls(mode, source)
