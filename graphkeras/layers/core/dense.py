"""Dense: the fully connected layer."""

from __future__ import annotations

from typing import Any

from graphkeras import ops
from graphkeras.layers.input_spec import InputSpec
from graphkeras.layers.quantized import QuantizedLayer


class Dense(QuantizedLayer):
    """Fully connected layer: `activation(inputs @ kernel + bias)`.

    Inputs of shape `(batch, ..., features)` give outputs of shape `(batch, ..., units)`; the product runs over the
    last axis.

    Args:
        units: size of the output's last axis, a positive int.
        activation: function or its name; default none (linear).
        use_bias: whether to add a bias vector.
        kernel_initializer, bias_initializer: for the `(features, units)` kernel and the `(units,)` bias.
        kernel_regularizer, bias_regularizer, activity_regularizer: penalties added to the loss.
        kernel_constraint, bias_constraint: functions applied to the weights after each update.
        lora_rank: if set, the kernel is frozen and a low-rank addition of that rank is trained (`enable_lora`).
        lora_alpha: scale of that addition, `lora_alpha / lora_rank`.
        quantization_config: how `quantize` and quantised dtype policies keep the kernel; default that of the mode.

    Raises:
        ValueError: if `units` is not a positive int, or later inputs have another number of features.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layer = layers.Dense(2, activation="relu")
        >>> layer(np.ones((3, 4), "float32")).shape
        (3, 2)
        >>> [tuple(w.shape) for w in layer.weights]
        [(4, 2), (2,)]
    """

    CONFIG = (
        "units",
        "activation",
        "use_bias",
        "kernel_initializer",
        "bias_initializer",
        "kernel_regularizer",
        "bias_regularizer",
        "kernel_constraint",
        "bias_constraint",
    )

    def __init__(
        self,
        units: int,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        lora_rank: int | None = None,
        lora_alpha: float | None = None,
        quantization_config: Any = None,
        **kwargs: Any,
    ) -> None:
        if not isinstance(units, int) or isinstance(units, bool) or units <= 0:
            raise ValueError(
                f"Received an invalid value for `units` of Dense, expected a positive integer. Received: {units!r}"
            )
        super().__init__(activity_regularizer=activity_regularizer, **kwargs)
        self.store(
            units=units,
            activation=activation,
            use_bias=use_bias,
            kernel_initializer=kernel_initializer,
            bias_initializer=bias_initializer,
            kernel_regularizer=kernel_regularizer,
            bias_regularizer=bias_regularizer,
            kernel_constraint=kernel_constraint,
            bias_constraint=bias_constraint,
            quantization_config=quantization_config,
        )
        self.store_lora(lora_rank, lora_alpha)
        self.input_spec = InputSpec(min_ndim=2)
        self.supports_masking = True

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        features = input_shape[-1]
        self.add_matrix((features, self.units))
        self.bias = self.add_parameter("bias", (self.units,)) if self.use_bias else None
        self.input_spec = InputSpec(min_ndim=2, axes={-1: features})
        self.finish_build()

    def reduced_axes(self) -> tuple[int, ...]:
        return (0,)

    @property
    def kernel(self) -> Any:
        """The `(features, units)` matrix, including the low-rank addition if there is one."""
        return self._matrix()

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        x = ops.matmul(self.rounded_inputs(inputs), self.kernel)
        if self.bias is not None:
            x = ops.add(x, self.bias)
        return x if self.activation is None else self.activation(x)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (*input_shape[:-1], self.units)
