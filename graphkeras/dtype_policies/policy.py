"""Dtype policies: in which dtype a layer computes and in which it keeps its weights."""

from __future__ import annotations

from typing import Any

from graphkeras.core.config import floatx
from graphkeras.core.convert import cast, convert_to_tensor
from graphkeras.core.dtypes import is_float_dtype, standardize_dtype
from graphkeras.core.global_state import get_global_attribute, set_global_attribute
from graphkeras.core.keras_tensor import KerasTensor
from graphkeras.core.tensor import Operators, Tensor

_MIXED = {"mixed_float16": "float16", "mixed_bfloat16": "bfloat16"}


class DTypePolicy:
    """The pair of dtypes of a layer.

    Args:
        name: a dtype name (compute and variables alike), or "mixed_float16" / "mixed_bfloat16" (compute in 16 bits,
            variables in float32). None: the global policy.

    Example:

    >>> import graphkeras as keras
    >>> policy = keras.DTypePolicy("mixed_bfloat16")
    >>> policy.compute_dtype, policy.variable_dtype
    ('bfloat16', 'float32')
    """

    def __init__(self, name: str | None = None) -> None:
        if name is None:
            name = dtype_policy().name
        self._name = name
        self._compute_dtype, self._variable_dtype = self._parse_name(name)
        self._quantization_mode: str | None = None

    def _parse_name(self, name: Any) -> tuple[str, str]:
        if not isinstance(name, str):
            raise TypeError(
                f"'name' must be a string, such as 'mixed_float16'. Received: name={name} (of type {type(name)})"
            )
        if name in _MIXED:
            return _MIXED[name], "float32"
        try:
            dtype = standardize_dtype(name)
        except ValueError:
            raise ValueError(
                f"Cannot convert '{name}' to a mixed precision DTypePolicy. Valid policies include 'mixed_float16', "
                "'mixed_bfloat16', and the name of any float dtype such as 'float32'."
            ) from None
        return dtype, dtype

    @property
    def name(self) -> str:
        return self._name

    @property
    def compute_dtype(self) -> str:
        """The dtype of inputs, outputs and of what is computed between."""
        return self._compute_dtype

    @property
    def variable_dtype(self) -> str:
        """The dtype of weights."""
        return self._variable_dtype

    @property
    def quantization_mode(self) -> str | None:
        return self._quantization_mode

    def convert_input(self, x: Any, autocast: bool, dtype: Any) -> Any:
        """An argument of a layer as it goes into `call`: arrays become tensors, floats get `dtype` if `autocast`.

        Integers keep their dtype; what is no tensor or array is returned as it is.
        """
        dtype = standardize_dtype(dtype)
        if isinstance(x, KerasTensor):
            # No operation: the layer's call, which casts by itself, is what the graph records.
            return KerasTensor(x.shape, dtype, name=x.name) if self._should_cast(x, autocast, dtype) else x
        if isinstance(x, Tensor):
            return cast(x, dtype) if self._should_cast(x, autocast, dtype) else x
        if isinstance(x, Operators):
            return self.convert_input(x.value, autocast, dtype)  # type: ignore[attr-defined]
        if hasattr(x, "__array__"):
            return self.convert_input(convert_to_tensor(x), autocast, dtype)
        return x

    def _should_cast(self, x: Any, autocast: bool, dtype: str) -> bool:
        return autocast and x.dtype != dtype and is_float_dtype(x.dtype)

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        return cls(**config)

    def __repr__(self) -> str:
        name = "DTypePolicy" if type(self) is FloatDTypePolicy else type(self).__name__
        return f'<{name} "{self._name}">'

    def __eq__(self, other: object) -> bool:
        plain = (DTypePolicy, FloatDTypePolicy)
        same_kind = type(other) in plain if type(self) in plain else type(other) is type(self)
        return same_kind and self._name == other._name  # type: ignore[attr-defined]

    def __hash__(self) -> int:
        return hash(self._name)


class FloatDTypePolicy(DTypePolicy):
    """Another name of DTypePolicy."""


def dtype_policy() -> Any:
    """The global policy: that of layers created without `dtype`."""
    policy = get_global_attribute("dtype_policy")
    if policy is None:
        policy = DTypePolicy(floatx())
        # Not stored: a later set_floatx must change it.
    return policy


def set_dtype_policy(policy: Any) -> None:
    """Set the policy of layers created from now on.

    policy: a name such as "mixed_float16", or a DTypePolicy.

    Example:

    >>> import graphkeras as keras
    >>> keras.config.set_dtype_policy("mixed_bfloat16")
    >>> keras.config.dtype_policy()
    <DTypePolicy "mixed_bfloat16">
    >>> keras.config.set_dtype_policy("float32")
    """
    if not isinstance(policy, DTypePolicy):
        from graphkeras.dtype_policies import QuantizedDTypePolicy, get

        if isinstance(policy, str) and policy.startswith(QuantizedDTypePolicy.MODES):
            policy = get(policy)
        elif isinstance(policy, str):
            policy = DTypePolicy(policy)
        else:
            raise ValueError(
                "Invalid `policy` argument. Expected the string name of a policy (such as 'mixed_float16') or a "
                f"`DTypePolicy` instance. Received: policy={policy} (of type {type(policy)})"
            )
    set_global_attribute("dtype_policy", policy)
