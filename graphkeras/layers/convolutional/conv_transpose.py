"""Conv1DTranspose, Conv2DTranspose, Conv3DTranspose."""

from __future__ import annotations

from typing import Any

from graphkeras import ops
from graphkeras.layers.arguments import int_tuple
from graphkeras.layers.convolutional.base import COMMON, ConvolutionLayer, check_filters, identifiers


class BaseConvTranspose(ConvolutionLayer):
    """Base of the transposed convolutions; the kernel has shape `(*kernel_size, filters, channels)`."""

    CONFIG = ("filters", "output_padding", *COMMON, *identifiers("kernel", "bias"))

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: Any = "valid",
        output_padding: Any = None,
        data_format: str | None = None,
        dilation_rate: Any = 1,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(activity_regularizer=activity_regularizer, **kwargs)
        check_filters(filters)
        self.store_window(kernel_size, strides, padding, dilation_rate, data_format)
        self.output_padding = self._check_output_padding(output_padding)
        self.store(
            filters=filters,
            activation=activation,
            use_bias=use_bias,
            kernel_initializer=kernel_initializer,
            bias_initializer=bias_initializer,
            kernel_regularizer=kernel_regularizer,
            bias_regularizer=bias_regularizer,
            kernel_constraint=kernel_constraint,
            bias_constraint=bias_constraint,
        )

    def _check_output_padding(self, value: Any) -> tuple[int, ...] | None:
        if value is None:
            return None
        found = int_tuple(value, self.rank, "output_padding", allow_zero=True)
        for i, (extra, stride) in enumerate(zip(found, self.strides, strict=True)):
            if extra >= stride:
                raise ValueError(
                    "`output_padding` must be strictly less than `strides` for all dimensions. At dimension "
                    f"{i}, `output_padding` is {extra} but `strides` is {stride}. "
                    f"Received: output_padding={found}, strides={self.strides}"
                )
        return found

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        channels = self.input_channels(input_shape)
        self.kernel = self.add_parameter("kernel", self.kernel_shapes(channels)[0])
        self.add_bias_parameter(self.filters)

    def kernel_shapes(self, channels: int) -> list[tuple[int, ...]]:
        return [(*self.kernel_size, self.filters, channels)]

    def kernels(self) -> list[Any]:
        return [self.kernel]

    def convolve(self, inputs: Any, *kernels: Any) -> Any:
        return ops.conv_transpose(inputs, *kernels, output_padding=self.output_padding, **self.window())


class Conv1DTranspose(BaseConvTranspose, rank=1):
    """Transposed convolution of sequences: the map that a `Conv1D` of the same arguments applies to gradients.

    With a stride of s the output is about s times as long as the input.

    Args:
        filters: number of output channels.
        kernel_size, strides, dilation_rate: ints.
        padding: "valid" or "same".
        output_padding: extra steps at the end, less than `strides`, to choose among the lengths that the convolution
            would map to this input; default inferred.
        data_format, activation, use_bias, kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer,
            activity_regularizer, kernel_constraint, bias_constraint: as for `Conv1D`.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layers.Conv1DTranspose(4, 3, strides=2)(np.ones((2, 5, 3), "float32")).shape
        (2, 11, 4)
    """


class Conv2DTranspose(BaseConvTranspose, rank=2):
    """Transposed convolution of images: the map that a `Conv2D` of the same arguments applies to gradients.

    Args:
        filters: number of output channels.
        kernel_size, strides, dilation_rate: an int or a pair.
        padding: "valid" or "same".
        output_padding: extra rows and columns at the end, less than `strides`; default inferred.
        data_format, activation, use_bias, kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer,
            activity_regularizer, kernel_constraint, bias_constraint: as for `Conv2D`.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layers.Conv2DTranspose(4, 3, strides=2, padding="same")(np.ones((2, 5, 5, 3), "float32")).shape
        (2, 10, 10, 4)
    """


class Conv3DTranspose(BaseConvTranspose, rank=3):
    """Transposed convolution of volumes: the map that a `Conv3D` of the same arguments applies to gradients.

    Args:
        filters: number of output channels.
        kernel_size, strides, dilation_rate: an int or three ints.
        padding: "valid" or "same".
        output_padding: extra planes at the end, less than `strides`; default inferred.
        data_format, activation, use_bias, kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer,
            activity_regularizer, kernel_constraint, bias_constraint: as for `Conv3D`.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layers.Conv3DTranspose(2, 2)(np.ones((1, 3, 3, 3, 2), "float32")).shape
        (1, 4, 4, 4, 2)
    """

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = (1, 1, 1),
        padding: Any = "valid",
        data_format: str | None = None,  # before output_padding, unlike in 1 and 2 dimensions
        output_padding: Any = None,
        dilation_rate: Any = (1, 1, 1),
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            filters=filters,
            kernel_size=kernel_size,
            strides=strides,
            padding=padding,
            output_padding=output_padding,
            data_format=data_format,
            dilation_rate=dilation_rate,
            activation=activation,
            use_bias=use_bias,
            kernel_initializer=kernel_initializer,
            bias_initializer=bias_initializer,
            kernel_regularizer=kernel_regularizer,
            bias_regularizer=bias_regularizer,
            activity_regularizer=activity_regularizer,
            kernel_constraint=kernel_constraint,
            bias_constraint=bias_constraint,
            **kwargs,
        )
