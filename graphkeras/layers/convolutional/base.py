"""What all convolution layers share: arguments, bias, activation."""

from __future__ import annotations

from typing import Any

from graphkeras import ops
from graphkeras.core.config import standardize_data_format
from graphkeras.core.keras_tensor import KerasTensor
from graphkeras.core.spec import compute_output_spec
from graphkeras.layers.arguments import channel_axis, int_tuple, padding_mode, positive
from graphkeras.layers.configured import SpatialLayer
from graphkeras.layers.input_spec import InputSpec

PER_DIMENSION = ("kernel_size", "strides", "dilation_rate")
COMMON = ("kernel_size", "strides", "padding", "data_format", "dilation_rate", "activation", "use_bias")


def identifiers(*names: str) -> tuple[str, ...]:
    """The config names of weights' initializers, then regularizers, then constraints."""
    return (
        *(f"{n}_initializer" for n in names),
        *(f"{n}_regularizer" for n in names),
        "activity_regularizer",
        *(f"{n}_constraint" for n in names),
    )


class ConvolutionLayer(SpatialLayer):
    """Base of all convolutions: `activation(convolve(inputs) + bias)`; `convolve` is the subclass's part."""

    PER_DIMENSION = PER_DIMENSION
    ALLOW_CAUSAL = False

    def store_window(self, kernel_size: Any, strides: Any, padding: Any, dilation_rate: Any, data_format: Any) -> None:
        """Check and keep the arguments that every convolution has."""
        self.kernel_size = int_tuple(kernel_size, self.rank, "kernel_size")
        self.strides = int_tuple(strides, self.rank, "strides")
        self.dilation_rate = int_tuple(dilation_rate, self.rank, "dilation_rate")
        self.padding = padding_mode(padding, allow_causal=self.ALLOW_CAUSAL)
        self.data_format = standardize_data_format(data_format)
        if max(self.strides) > 1 and max(self.dilation_rate) > 1:
            raise ValueError(
                "`strides > 1` not supported in conjunction with `dilation_rate > 1`. "
                f"Received: strides={self.strides} and dilation_rate={self.dilation_rate}"
            )
        self.input_spec = InputSpec(min_ndim=self.rank + 2)

    def input_channels(self, input_shape: tuple[int | None, ...]) -> int:
        """The number of input channels, which from now on is required of all inputs."""
        axis = channel_axis(self.data_format)
        channels = input_shape[axis]
        if channels is None:
            raise ValueError(
                f"Layer {self.name}: the number of channels (axis {axis} for data_format={self.data_format!r}) must be "
                f"known when the layer is built. Received: input_shape={input_shape}"
            )
        self.input_spec = InputSpec(min_ndim=self.rank + 2, axes={axis: channels})
        return channels

    def add_bias_parameter(self, filters: int) -> None:
        self.bias = self.add_parameter("bias", (filters,)) if self.use_bias else None

    def kernel_shapes(self, channels: int) -> list[tuple[int, ...]]:
        """Shapes of the kernels for inputs with that many channels."""
        raise NotImplementedError

    def kernels(self) -> list[Any]:
        """The kernels, in the order of `kernel_shapes`."""
        raise NotImplementedError

    def convolve(self, inputs: Any, *kernels: Any) -> Any:
        raise NotImplementedError

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        channels: Any = input_shape[channel_axis(self.data_format)]
        tensors = [KerasTensor(s, self.compute_dtype) for s in (input_shape, *self.kernel_shapes(channels))]
        return compute_output_spec(self.convolve, *tensors).shape

    def call(self, inputs: Any) -> Any:
        outputs = self.convolve(inputs, *self.kernels())
        if self.bias is not None:
            shape = [1] * (self.rank + 2)
            shape[channel_axis(self.data_format)] = self.bias.shape[0]
            outputs = ops.add(outputs, ops.reshape(self.bias, shape))
        return outputs if self.activation is None else self.activation(outputs)

    def window(self) -> dict[str, Any]:
        """The keyword arguments that all convolution ops take."""
        return {
            "strides": self.strides,
            "padding": self.padding,
            "data_format": self.data_format,
            "dilation_rate": self.dilation_rate,
        }


def check_filters(filters: int | None, groups: int = 1) -> None:
    positive(filters, "filters")
    if groups <= 0:
        raise ValueError(f"The number of groups must be a positive integer. Received: groups={groups}.")
    if filters is not None and filters % groups:
        raise ValueError(
            "The number of filters must be evenly divisible by the number of groups. "
            f"Received: groups={groups}, filters={filters}."
        )
