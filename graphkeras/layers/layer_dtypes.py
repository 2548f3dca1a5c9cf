"""The dtypes of a layer, as its policy says, and what could change them: quantization."""

from __future__ import annotations

from typing import Any, NoReturn


class LayerDtypes:
    """What `Layer` inherits to know its dtypes."""

    name: str
    path: Any
    _dtype_policy: Any

    @property
    def dtype_policy(self) -> Any:
        return self._dtype_policy

    @dtype_policy.setter
    def dtype_policy(self, value: Any) -> None:
        from graphkeras import dtype_policies

        policy = dtype_policies.get(value)
        if isinstance(self._dtype_policy, dtype_policies.DTypePolicyMap) and self.path:
            if self.path in self._dtype_policy:
                del self._dtype_policy[self.path]
            self._dtype_policy[self.path] = policy
        else:
            self._dtype_policy = policy

    def _policy_here(self) -> Any:
        policy = self._dtype_policy
        return policy[self.path] if self.path and hasattr(policy, "default_policy") else policy

    @property
    def dtype(self) -> str:
        """Same as `variable_dtype`."""
        return self.variable_dtype

    @property
    def compute_dtype(self) -> str:
        """The dtype of inputs, outputs and computation."""
        return self._policy_here().compute_dtype

    @property
    def variable_dtype(self) -> str:  # type: ignore[override]
        """The dtype of weights."""
        return self._policy_here().variable_dtype

    @property
    def quantization_mode(self) -> str | None:
        return self._policy_here().quantization_mode

    @property
    def input_dtype(self) -> str:
        """The dtype that float inputs are cast to."""
        return self.compute_dtype

    # -- quantization ------------------------------------------------------------------------------
    # Quantized layers are not part of graphkeras. The hooks are there for layers that bring their own.
    def quantize(self, mode: Any = None, type_check: bool = True, config: Any = None) -> None:
        """Not available: no layer of graphkeras quantizes its weights."""
        self._not_quantized("quantize")

    def quantized_build(self, input_shape: Any, mode: Any) -> None:
        """To be overridden by layers with quantized weights."""
        self._not_quantized("quantized_build")

    def quantized_call(self, *args: Any, **kwargs: Any) -> Any:
        """To be overridden by layers with quantized weights."""
        self._not_quantized("quantized_call")

    def _not_quantized(self, method: str) -> NoReturn:
        raise NotImplementedError(
            f"Layer {type(self).__name__} ('{self.name}') does not have a `{method}` method implemented: "
            "graphkeras has no quantized layers. Use dtype='mixed_bfloat16' for smaller and faster computations."
        )
