"""The dtypes of a layer, as its policy says, and what changes them: quantization."""

from __future__ import annotations

from typing import Any


class LayerDtypes:
    """What `Layer` inherits to know its dtypes."""

    name: str
    path: Any
    call: Any
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
    def quantize(self, mode: Any = None, type_check: bool = True, config: Any = None) -> None:
        """Replace the layer's matrix by integers; for layers that can do so."""
        raise NotImplementedError(
            f"Layer {type(self).__name__} has no `quantize()` method implemented: '{self.name}' stays as it is."
        )

    def quantized_build(self, input_shape: Any, mode: str) -> None:
        """Create the variables of the quantized layer."""
        raise NotImplementedError(f"Layer {type(self).__name__} has no `quantized_build()` method implemented.")

    def quantized_call(self, *args: Any, **kwargs: Any) -> Any:
        """The computation of the quantized layer: `call`, which turns integers back into floats where it reads them."""
        return self.call(*args, **kwargs)
