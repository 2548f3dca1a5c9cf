"""Layers whose matrix can be kept as small integers: `layer.quantize("int8")`, `layer.quantize("int4")`.

The integers are turned back into floats where they are used. In the int8 mode inputs are rounded to 8 bits too, with a
gradient as if they were not (a straight-through estimate).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphkeras import ops
from graphkeras.core.scopes import name_scope
from graphkeras.layers.lora import LoraLayer


class QuantizedLayer(LoraLayer):
    """Base of `Dense`, `EinsumDense` and `Embedding`.

    A subclass says which axes of its matrix share a scale (`reduced_axes`), and with `TRANSPOSED` that these come last.
    Int4 integers are kept as a matrix (summed axes, other axes), two along the last axis in each byte.
    """

    TRANSPOSED = False
    QUANTIZES_INPUTS = True
    quantization_config: Any = None

    def reduced_axes(self) -> tuple[int, ...]:
        raise NotImplementedError

    # -- building ----------------------------------------------------------------------------------
    def add_matrix(self, shape: tuple[int, ...], **options: Any) -> None:
        """Create the matrix: as floats, or as integers if the dtype policy says so."""
        self._matrix_shape = tuple(shape)
        if self.quantization_mode is None:
            self._set_matrix(self.add_parameter(self.LORA, shape, **options))
        else:
            self.quantized_build(shape, self.quantization_mode, self.quantization_config)

    def _set_matrix(self, variable: Any) -> None:
        setattr(self, f"_{self.LORA}", variable)

    def quantized_build(self, shape: Any, mode: str, config: Any = None) -> None:
        """Create the variables of a quantised layer: integers, scale, and zero points and indices of groups."""
        config = config or self._policy_config(mode)
        self.inputs_quantizer = config.activation_quantizer if self.QUANTIZES_INPUTS else None
        self._int4_block_size = _block_size(config)
        parts = self.quantize_matrix(np.zeros(shape, "float32"), config)
        for name, value in parts.items():
            self._add_quantized(name, value)
        if self._int4_block_size:
            rows = math.prod(shape[a] for a in self.reduced_axes())
            self._add_quantized("g_idx", np.floor_divide(np.arange(rows), self._int4_block_size).astype("float32"))
        self._is_quantized = True

    def _add_quantized(self, name: str, value: Any) -> None:
        value = ops.convert_to_numpy(value)
        dtype = value.dtype.name if name == "g_idx" or value.dtype.name == "int8" else self.variable_dtype

        def initializer(shape: Any, dtype: Any = None) -> Any:
            return ops.cast(value, dtype)

        parent = (self.path or "").rpartition("/")[0]
        with name_scope(self.name, caller=self, override_parent=parent):
            variable = self.add_weight(
                name=name, shape=value.shape, initializer=initializer, dtype=dtype, trainable=False
            )
        setattr(self, f"_{name}" if name == self.LORA else name, variable)

    def _policy_config(self, mode: str | None) -> Any:
        """What the dtype policy says: "int4/64_from_float32" means groups of 64, "int4_from_float32" none."""
        from graphkeras.quantizers.quantization_config import Int4QuantizationConfig, resolve_config

        if mode == "int4":
            return Int4QuantizationConfig(block_size=getattr(self._policy_here(), "block_size", None))
        return resolve_config(mode, None)

    # -- floats to integers ------------------------------------------------------------------------
    def quantize_matrix(self, matrix: Any, config: Any) -> dict[str, Any]:
        """Integers, scale and perhaps zero points, by the names of their attributes, in the form they are kept."""
        from graphkeras import quantizers

        matrix = ops.convert_to_tensor(ops.convert_to_numpy(matrix))
        if config.mode == "int8":
            quantizer = config.weight_quantizer or quantizers.AbsMaxQuantizer(axis=self.reduced_axes())
            values, scale = quantizer(matrix, to_numpy=True)
            return {self.LORA: values, f"{self.LORA}_scale": self.keep_scale(scale)}
        rows = math.prod(self._matrix_shape[a] for a in self.reduced_axes())
        flat = ops.transpose(matrix) if self.TRANSPOSED else ops.reshape(matrix, (rows, -1))
        zero = None
        if _block_size(config):
            values, scale, zero = quantizers.abs_max_quantize_grouped_with_zero_point(flat, config.block_size)
        else:
            quantizer = config.weight_quantizer or quantizers.AbsMaxQuantizer(value_range=(-8, 7))
            values, scale = quantizer(flat, axis=0)
            scale = ops.squeeze(scale, 0)
        if self.TRANSPOSED:
            values, scale = ops.transpose(values), ops.transpose(scale)
            zero = None if zero is None else ops.transpose(zero)
        parts = {self.LORA: quantizers.pack_int4(values, axis=-1)[0], f"{self.LORA}_scale": scale}
        return parts if zero is None else {**parts, f"{self.LORA}_zero": zero}

    def keep_scale(self, scale: Any) -> Any:
        """The int8 scale as it is kept, without the axes that share it."""
        return ops.squeeze(scale, axis=self.reduced_axes())

    def broadcast_scale(self, scale: Any) -> Any:
        """A kept int8 scale in a shape that broadcasts with the matrix."""
        for axis in sorted(a % len(self._matrix_shape) for a in self.reduced_axes()):
            scale = ops.expand_dims(scale, axis)
        return scale

    # -- integers to floats ------------------------------------------------------------------------
    def _base_matrix(self) -> Any:
        stored = getattr(self, f"_{self.LORA}")
        return stored if not self.is_quantized else ops.cast(self._dequantized(), self.compute_dtype)

    @property
    def is_quantized(self) -> bool:
        """Whether the matrix is kept as integers."""
        return getattr(self, "_is_quantized", False)

    def _dequantized(self) -> Any:
        from graphkeras.quantizers.quantizers import dequantize_groups, unpack_int4

        stored = ops.convert_to_tensor(getattr(self, f"_{self.LORA}"))
        scale = ops.convert_to_tensor(getattr(self, f"{self.LORA}_scale"))
        if self.quantization_mode == "int8":
            return ops.divide(ops.cast(stored, scale.dtype), self.broadcast_scale(scale))
        reduced = math.prod(self._matrix_shape[a] for a in self.reduced_axes())
        last = reduced if self.TRANSPOSED else math.prod(self._matrix_shape) // reduced
        values = unpack_int4(stored, last, axis=-1)
        if self._int4_block_size:
            zero = getattr(self, f"{self.LORA}_zero")
            values = dequantize_groups(values, scale, zero, self.g_idx, axis=1 if self.TRANSPOSED else 0)
        else:
            values = ops.divide(ops.cast(values, scale.dtype), ops.expand_dims(scale, -1) if self.TRANSPOSED else scale)
        return ops.reshape(values, self._matrix_shape)

    def rounded_inputs(self, inputs: Any, axis: Any = -1) -> Any:
        """The inputs rounded by the inputs' quantizer; their gradient is that of the inputs."""
        quantizer = getattr(self, "inputs_quantizer", None)
        if quantizer is None:
            return inputs
        values, scale = quantizer(inputs, axis=axis)
        rounded = ops.divide(ops.cast(values, inputs.dtype), scale)
        return ops.add(inputs, ops.stop_gradient(ops.subtract(rounded, inputs)))

    # -- the public way ----------------------------------------------------------------------------
    def quantize(self, mode: Any = None, type_check: bool = True, config: Any = None) -> None:
        """Replace the matrix by integers.

        Args:
            mode: "int8" or "int4".
            type_check: refuse subclasses, whose `call` may need the floats.
            config: an `Int8QuantizationConfig` or `Int4QuantizationConfig`, instead of the mode.

        Raises:
            ValueError: before the layer is built, a second time, and for an unknown mode.
            NotImplementedError: for subclasses of the built-in layers.
        """
        from graphkeras.quantizers.quantization_config import resolve_config

        if type_check and not type(self).__module__.startswith(__name__.rpartition(".")[0] + "."):
            raise NotImplementedError(
                f"Layer {type(self).__name__} does not have a `quantize()` method implemented: it is a subclass. Pass "
                "type_check=False if its call() uses the matrix as its base class does."
            )
        if not self.built:
            raise ValueError(
                f"Cannot quantize a layer that isn't yet built. Layer '{self.name}' (of type "
                f"'{type(self).__name__}') is not built yet."
            )
        if self.is_quantized:
            raise ValueError(
                f"Layer '{self.name}' is already quantized with dtype_policy='{self.dtype_policy.name}'. "
                f"Received: mode={mode}"
            )
        config = resolve_config(mode, config)
        if config.mode == "int8" and self.compute_dtype == "float16":
            raise ValueError(f"Quantization mode='int8' doesn't work well with compute_dtype='float16' ({self.name}).")
        self.quantization_config = config
        self._tracker.unlock()
        self._replace_matrix(config)
        self._tracker.lock()
        if self.dtype_policy.quantization_mode is None:
            from graphkeras import dtype_policies

            name = "int8" if config.mode == "int8" else f"int4/{_block_size(config) or -1}"
            self._policy_quantized(dtype_policies.get(f"{name}_from_{self.dtype_policy.name}"))

    def _replace_matrix(self, config: Any) -> None:
        parts = self.quantize_matrix(self._base_matrix(), config)
        delattr(self, f"_{self.LORA}")
        self.quantized_build(self._matrix_shape, config.mode, config)
        for name, value in parts.items():
            getattr(self, f"_{name}" if name == self.LORA else name).assign(value)

    @property
    def dtype_policy(self) -> Any:
        """The dtype policy. Setting a quantised one quantises a built layer."""
        return self._dtype_policy

    @dtype_policy.setter
    def dtype_policy(self, value: Any) -> None:
        self._policy_quantized(value)
        mode = self.quantization_mode
        if mode is not None and self.built and not self.is_quantized:
            self.quantize(mode, type_check=False)

    def _policy_quantized(self, value: Any) -> None:
        LoraLayer.dtype_policy.fset(self, value)  # type: ignore[attr-defined]

    # -- files -------------------------------------------------------------------------------------
    def stored_names(self) -> list[str]:
        """Attributes of the variables in files, in order."""
        return [f"_{self.LORA}", "bias", f"{self.LORA}_scale", f"{self.LORA}_zero", "g_idx"]

    @property
    def variable_serialization_spec(self) -> dict[str | None, list[str]]:
        """Names of the variables that files hold, in order, for each quantization mode."""
        plain = [n.removeprefix("_") for n in self.stored_names()]
        floats = [n for n in plain if not n.endswith(("_scale", "_zero")) and n != "g_idx"]
        return {None: floats, "int8": [n for n in plain if not n.endswith("_zero") and n != "g_idx"], "int4": plain}

    def save_own_variables(self, store: Any) -> None:
        if not self.is_quantized:
            super().save_own_variables(store)
            return
        values: dict[str, Any] = {}
        if self.lora_enabled:
            config = self.quantization_config or self._policy_config(self.quantization_mode)
            parts = self.quantize_matrix(self._matrix(), config)
            values = {f"_{n}" if n == self.LORA else n: ops.convert_to_numpy(v) for n, v in parts.items()}
        present = [n for n in self.stored_names() if getattr(self, n, None) is not None]
        for i, name in enumerate(present):
            store[str(i)] = values.get(name, getattr(self, name))

    def load_own_variables(self, store: Any) -> None:
        if not self.is_quantized:
            super().load_own_variables(store)
            return
        present = [n for n in self.stored_names() if getattr(self, n, None) is not None]
        self._check_load_own_variables(store, [getattr(self, n) for n in present])
        for i, name in enumerate(present):
            getattr(self, name).assign(store[str(i)])
        if self.lora_enabled:
            for factor in self._lora_factors():
                factor.assign(ops.zeros(factor.shape))

    def get_config(self) -> dict[str, Any]:
        from graphkeras.saving import serialize_keras_object

        return {**super().get_config(), "quantization_config": serialize_keras_object(self.quantization_config)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        if config.get("quantization_config") is not None:
            from graphkeras.saving import deserialize_keras_object

            config = {**config, "quantization_config": deserialize_keras_object(config["quantization_config"])}
        return super().from_config(config)


def _block_size(config: Any) -> int | None:
    size = getattr(config, "block_size", None)
    return None if size in (None, -1) else size
