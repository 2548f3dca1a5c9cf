"""Conv1D, Conv2D, Conv3D."""

from __future__ import annotations

from typing import Any

from graphkeras import ops
from graphkeras.layers.arguments import spatial_axes
from graphkeras.layers.convolutional.base import COMMON, ConvolutionLayer, check_filters, identifiers
from graphkeras.layers.lora import LoraLayer


class BaseConv(ConvolutionLayer, LoraLayer):
    """Base of the plain convolutions; the kernel has shape `(*kernel_size, channels // groups, filters)`."""

    CONFIG = ("filters", "groups", *COMMON, *identifiers("kernel", "bias"))

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: Any = "valid",
        data_format: str | None = None,
        dilation_rate: Any = 1,
        groups: int = 1,
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
        **kwargs: Any,
    ) -> None:
        super().__init__(activity_regularizer=activity_regularizer, **kwargs)
        check_filters(filters, groups)
        self.store_window(kernel_size, strides, padding, dilation_rate, data_format)
        self.store(
            filters=filters,
            groups=groups,
            activation=activation,
            use_bias=use_bias,
            kernel_initializer=kernel_initializer,
            bias_initializer=bias_initializer,
            kernel_regularizer=kernel_regularizer,
            bias_regularizer=bias_regularizer,
            kernel_constraint=kernel_constraint,
            bias_constraint=bias_constraint,
        )
        self.store_lora(lora_rank, lora_alpha)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        channels = self.input_channels(input_shape)
        if channels % self.groups:
            raise ValueError(
                f"Layer {self.name}: the number of input channels must be evenly divisible by the number of groups. "
                f"Received groups={self.groups}, but the input has {channels} channels "
                f"(full input shape is {input_shape})."
            )
        self._kernel = self.add_parameter("kernel", self.kernel_shapes(channels)[0])
        self.add_bias_parameter(self.filters)
        self.finish_build()

    @property
    def kernel(self) -> Any:
        """The weights `(*kernel_size, channels // groups, filters)`."""
        return self._matrix()

    def kernel_shapes(self, channels: int) -> list[tuple[int, ...]]:
        return [(*self.kernel_size, channels // self.groups, self.filters)]

    def kernels(self) -> list[Any]:
        return [self.kernel]

    def convolve(self, inputs: Any, *kernels: Any) -> Any:
        return self.convolution_op(inputs, *kernels)

    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        """The convolution alone; subclasses may replace it."""
        return ops.conv(inputs, kernel, **self.window())


class Conv1D(BaseConv, rank=1):
    """Convolution of sequences with learned kernels: `(batch, steps, channels)` to `(batch, new_steps, filters)`.

    As usual in this field, a cross-correlation: the kernel is not flipped.

    Args:
        filters: number of output channels.
        kernel_size: number of steps a kernel covers.
        strides: distance between windows.
        padding: "valid" (none), "same" (output as long as the input divided by the stride, rounded up) or "causal"
            (zeros before the start only, so that no output sees a later step).
        data_format: "channels_last" or "channels_first"; default the configured one.
        dilation_rate: distance between the steps a kernel covers; only with strides of 1.
        groups: the channels are split into this many groups that are convolved separately.
        activation: function or its name; default none.
        use_bias: whether to add a bias per filter.
        kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer, activity_regularizer,
            kernel_constraint, bias_constraint: as for `Dense`.

    Raises:
        ValueError: for sizes that are not positive or do not go together.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layers.Conv1D(4, 3, padding="same")(np.ones((2, 10, 3), "float32")).shape
        (2, 10, 4)
    """

    ALLOW_CAUSAL = True

    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        if self.padding != "causal":
            return super().convolution_op(inputs, kernel)
        widths = [(0, 0)] * 3
        widths[spatial_axes(self.data_format, 1)[0]] = (self.dilation_rate[0] * (self.kernel_size[0] - 1), 0)
        return ops.conv(ops.pad(inputs, widths), kernel, **{**self.window(), "padding": "valid"})


class Conv2D(BaseConv, rank=2):
    """Convolution of images with learned kernels: `(batch, rows, columns, channels)` to `(batch, ..., filters)`.

    Args:
        filters: number of output channels.
        kernel_size: rows and columns that a kernel covers, an int or a pair; also `strides` and `dilation_rate`.
        strides: distance between windows.
        padding: "valid" (none) or "same" (output as large as the input divided by the stride, rounded up).
        data_format: "channels_last" or "channels_first"; default the configured one.
        dilation_rate: distance between the elements a kernel covers; only with strides of 1.
        groups: the channels are split into this many groups that are convolved separately.
        activation, use_bias, kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer,
            activity_regularizer, kernel_constraint, bias_constraint: as for `Dense`.

    Raises:
        ValueError: for sizes that are not positive or do not go together.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layer = layers.Conv2D(4, 3, activation="relu")
        >>> layer(np.ones((2, 8, 8, 3), "float32")).shape, tuple(layer.kernel.shape)
        ((2, 6, 6, 4), (3, 3, 3, 4))
    """


class Conv3D(BaseConv, rank=3):
    """Convolution of volumes with learned kernels: `(batch, depth, rows, columns, channels)` to `(..., filters)`.

    Args:
        filters: number of output channels.
        kernel_size, strides, dilation_rate: an int or three ints.
        padding, data_format, groups, activation, use_bias, kernel_initializer, bias_initializer, kernel_regularizer,
            bias_regularizer, activity_regularizer, kernel_constraint, bias_constraint: as for `Conv2D`.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layers.Conv3D(4, 2)(np.ones((1, 4, 4, 4, 2), "float32")).shape
        (1, 3, 3, 3, 4)
    """
