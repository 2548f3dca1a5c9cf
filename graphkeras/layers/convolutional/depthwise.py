"""Depthwise convolutions (a kernel per channel) and separable ones (depthwise, then a mix of the channels)."""

from __future__ import annotations

from typing import Any

from graphkeras import ops
from graphkeras.layers.arguments import positive
from graphkeras.layers.convolutional.base import COMMON, ConvolutionLayer, check_filters, identifiers


class BaseDepthwiseConv(ConvolutionLayer):
    """Base of the depthwise convolutions; the kernel has shape `(*kernel_size, channels, depth_multiplier)`."""

    CONFIG = ("depth_multiplier", *COMMON, *identifiers("depthwise", "bias"))

    def __init__(
        self,
        kernel_size: Any,
        strides: Any = 1,
        padding: Any = "valid",
        depth_multiplier: int = 1,
        data_format: str | None = None,
        dilation_rate: Any = 1,
        activation: Any = None,
        use_bias: bool = True,
        depthwise_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        depthwise_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        depthwise_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(activity_regularizer=activity_regularizer, **kwargs)
        positive(depth_multiplier, "depth_multiplier")
        self.store_window(kernel_size, strides, padding, dilation_rate, data_format)
        self.store(
            depth_multiplier=depth_multiplier,
            activation=activation,
            use_bias=use_bias,
            depthwise_initializer=depthwise_initializer,
            bias_initializer=bias_initializer,
            depthwise_regularizer=depthwise_regularizer,
            bias_regularizer=bias_regularizer,
            depthwise_constraint=depthwise_constraint,
            bias_constraint=bias_constraint,
        )

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        channels = self.input_channels(input_shape)
        self.kernel = self.add_parameter("kernel", self.kernel_shapes(channels)[0], prefix="depthwise")
        self.add_bias_parameter(channels * self.depth_multiplier)

    def kernel_shapes(self, channels: int) -> list[tuple[int, ...]]:
        return [(*self.kernel_size, channels, self.depth_multiplier)]

    def kernels(self) -> list[Any]:
        return [self.kernel]

    def convolve(self, inputs: Any, *kernels: Any) -> Any:
        return ops.depthwise_conv(inputs, *kernels, **self.window())


class DepthwiseConv1D(BaseDepthwiseConv, rank=1):
    """Convolution of each channel of sequences with kernels of its own: `channels * depth_multiplier` outputs.

    Args:
        kernel_size, strides, dilation_rate: ints.
        padding: "valid" or "same".
        depth_multiplier: number of kernels per channel.
        data_format: "channels_last" or "channels_first"; default the configured one.
        activation, use_bias: as for `Conv1D`.
        depthwise_initializer, bias_initializer, depthwise_regularizer, bias_regularizer, activity_regularizer,
            depthwise_constraint, bias_constraint: for the kernel `(kernel_size, channels, depth_multiplier)` and bias.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layers.DepthwiseConv1D(3, depth_multiplier=2)(np.ones((2, 10, 3), "float32")).shape
        (2, 8, 6)
    """


class DepthwiseConv2D(BaseDepthwiseConv, rank=2):
    """Convolution of each channel of images with kernels of its own: `channels * depth_multiplier` outputs.

    Args:
        kernel_size, strides, dilation_rate: an int or a pair.
        padding: "valid" or "same".
        depth_multiplier: number of kernels per channel.
        data_format: "channels_last" or "channels_first"; default the configured one.
        activation, use_bias: as for `Conv2D`.
        depthwise_initializer, bias_initializer, depthwise_regularizer, bias_regularizer, activity_regularizer,
            depthwise_constraint, bias_constraint: for the kernel `(*kernel_size, channels, depth_multiplier)` and bias.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layers.DepthwiseConv2D(3)(np.ones((2, 8, 8, 3), "float32")).shape
        (2, 6, 6, 3)
    """


class BaseSeparableConv(ConvolutionLayer):
    """Base of the separable convolutions; a depthwise kernel and a pointwise one `(1, ..., channels * m, filters)`."""

    CONFIG = ("depth_multiplier", "filters", *COMMON, *identifiers("depthwise", "pointwise", "bias"))

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: Any = "valid",
        data_format: str | None = None,
        dilation_rate: Any = 1,
        depth_multiplier: int = 1,
        activation: Any = None,
        use_bias: bool = True,
        depthwise_initializer: Any = "glorot_uniform",
        pointwise_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        depthwise_regularizer: Any = None,
        pointwise_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        depthwise_constraint: Any = None,
        pointwise_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(activity_regularizer=activity_regularizer, **kwargs)
        positive(depth_multiplier, "depth_multiplier")
        check_filters(filters)
        self.store_window(kernel_size, strides, padding, dilation_rate, data_format)
        self.store(
            depth_multiplier=depth_multiplier,
            filters=filters,
            activation=activation,
            use_bias=use_bias,
            depthwise_initializer=depthwise_initializer,
            pointwise_initializer=pointwise_initializer,
            bias_initializer=bias_initializer,
            depthwise_regularizer=depthwise_regularizer,
            pointwise_regularizer=pointwise_regularizer,
            bias_regularizer=bias_regularizer,
            depthwise_constraint=depthwise_constraint,
            pointwise_constraint=pointwise_constraint,
            bias_constraint=bias_constraint,
        )

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        depthwise, pointwise = self.kernel_shapes(self.input_channels(input_shape))
        self.depthwise_kernel = self.add_parameter("depthwise_kernel", depthwise, prefix="depthwise")
        self.pointwise_kernel = self.add_parameter("pointwise_kernel", pointwise, prefix="pointwise")
        self.add_bias_parameter(self.filters)

    def kernel_shapes(self, channels: int) -> list[tuple[int, ...]]:
        deep = channels * self.depth_multiplier
        return [(*self.kernel_size, channels, self.depth_multiplier), (*(1,) * self.rank, deep, self.filters)]

    def kernels(self) -> list[Any]:
        return [self.depthwise_kernel, self.pointwise_kernel]

    def convolve(self, inputs: Any, *kernels: Any) -> Any:
        return ops.separable_conv(inputs, *kernels, **self.window())


class SeparableConv1D(BaseSeparableConv, rank=1):
    """Depthwise convolution of sequences, then a linear map of the channels to `filters`.

    Args:
        filters: number of output channels.
        kernel_size, strides, dilation_rate: ints, for the depthwise part.
        padding: "valid" or "same".
        depth_multiplier: number of depthwise kernels per channel.
        data_format, activation, use_bias: as for `Conv1D`.
        depthwise_initializer, pointwise_initializer, bias_initializer, depthwise_regularizer, pointwise_regularizer,
            bias_regularizer, activity_regularizer, depthwise_constraint, pointwise_constraint, bias_constraint: for
            the two kernels and the bias.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layers.SeparableConv1D(4, 3)(np.ones((2, 10, 3), "float32")).shape
        (2, 8, 4)
    """


class SeparableConv2D(BaseSeparableConv, rank=2):
    """Depthwise convolution of images, then a linear map of the channels to `filters`.

    Args:
        filters: number of output channels.
        kernel_size, strides, dilation_rate: an int or a pair, for the depthwise part.
        padding: "valid" or "same".
        depth_multiplier: number of depthwise kernels per channel.
        data_format, activation, use_bias: as for `Conv2D`.
        depthwise_initializer, pointwise_initializer, bias_initializer, depthwise_regularizer, pointwise_regularizer,
            bias_regularizer, activity_regularizer, depthwise_constraint, pointwise_constraint, bias_constraint: for
            the two kernels and the bias.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layers.SeparableConv2D(4, 3)(np.ones((2, 8, 8, 3), "float32")).shape
        (2, 6, 6, 4)
    """
