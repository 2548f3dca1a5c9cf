"""LSTMs whose products are convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from graphkeras import ops
from graphkeras.core.config import standardize_data_format
from graphkeras.core.keras_tensor import KerasTensor
from graphkeras.core.spec import compute_output_spec
from graphkeras.layers.arguments import channel_axis, int_tuple, padding_mode
from graphkeras.layers.input_spec import InputSpec
from graphkeras.layers.rnn.cell import RecurrentCell, Step, from_cell, masked_states
from graphkeras.layers.rnn.rnn import CellLayer

_CELL_CONFIG = (
    "filters",
    "kernel_size",
    "strides",
    "padding",
    "data_format",
    "dilation_rate",
    "activation",
    "recurrent_activation",
    "use_bias",
    "kernel_initializer",
    "recurrent_initializer",
    "bias_initializer",
    "unit_forget_bias",
    "kernel_regularizer",
    "recurrent_regularizer",
    "bias_regularizer",
    "kernel_constraint",
    "recurrent_constraint",
    "bias_constraint",
    "dropout",
    "recurrent_dropout",
)


class ConvLSTMCell(RecurrentCell):
    """One step of a convolutional LSTM (Shi et al., 2015): an LSTM with convolutions in the place of products.

    The input is convolved with the given strides, padding and dilation; the state, which has the shape of the result,
    with strides 1 and "same" padding.

    Args:
        rank: number of spatial dimensions, 1 to 3.
        filters: number of channels of the states and of the output.
        kernel_size, strides, padding, data_format, dilation_rate: of the convolution of the input.
        activation, recurrent_activation, use_bias, kernel_initializer, recurrent_initializer, bias_initializer,
            unit_forget_bias, kernel_regularizer, recurrent_regularizer, bias_regularizer, kernel_constraint,
            recurrent_constraint, bias_constraint, dropout, recurrent_dropout, seed: as for `LSTMCell`.

    Raises:
        ValueError: for sizes that are not positive or do not go together, and for inputs of unknown size.
    """

    CONFIG = (*_CELL_CONFIG, "seed")
    GATES = 4

    def __init__(
        self,
        rank: int,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Any = 1,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        unit_forget_bias: bool = True,
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        seed: Any = None,
        **kwargs: Any,
    ) -> None:
        if rank > 3:
            raise ValueError(f"Rank {rank} convolutions are not currently implemented. Received: rank={rank}")
        self.store_cell(locals(), filters, implementation=1)
        self.rank = rank
        self.kernel_size = int_tuple(kernel_size, rank, "kernel_size")
        self.strides = int_tuple(strides, rank, "strides")
        self.padding = padding_mode(padding)
        self.data_format = standardize_data_format(data_format)
        self.dilation_rate = int_tuple(dilation_rate, rank, "dilation_rate")
        if max(self.strides) > 1 and max(self.dilation_rate) > 1:
            raise ValueError(
                "Specifying `strides > 1` is not compatible with `dilation_rate > 1`. Please provide `strides=1` or "
                f"`dilation_rate=1`. Received: strides={self.strides} and dilation_rate={self.dilation_rate}"
            )
        self.input_spec = InputSpec(ndim=rank + 2)
        self.state_size = -1  # depends on the input's size

    # -- building, shapes --------------------------------------------------------------------------------
    def build(self, inputs_shape: Any, states_shape: Any = None) -> None:
        axis = channel_axis(self.data_format)
        spatial = inputs_shape[1:-1] if axis == -1 else inputs_shape[2:]
        if None in spatial:
            raise ValueError(
                "ConvLSTM layers only support static input shapes for the spatial dimension. Received invalid input "
                f"shape: input_shape={inputs_shape}"
            )
        channels = inputs_shape[axis]
        if channels is None:
            raise ValueError(
                f"The channel dimension of the inputs (axis {axis}) should be defined. Found None. Full input shape "
                f"received: input_shape={inputs_shape}"
            )
        self.input_spec = InputSpec(ndim=self.rank + 2, shape=(None, *inputs_shape[1:]))
        self._step_shape = tuple(inputs_shape[1:])
        width = 4 * self.filters
        self.kernel = self.add_parameter("kernel", (*self.kernel_size, channels, width))
        self.recurrent_kernel = self.add_parameter(
            "recurrent_kernel", (*self.kernel_size, self.filters, width), prefix="recurrent"
        )
        self.bias = self.add_gate_bias() if self.use_bias else None

    def compute_output_shape(self, inputs_shape: Any, states_shape: Any = None) -> Any:
        channels = inputs_shape[channel_axis(self.data_format)]
        shapes = (inputs_shape, (*self.kernel_size, channels, self.filters))
        tensors = [KerasTensor(s, self.compute_dtype) for s in shapes]
        shape = compute_output_spec(self._input_conv, *tensors).shape
        return shape, [shape, shape]

    def get_initial_state(self, batch_size: int | None = None) -> list[Any]:
        """Zeros for a batch of that size; the cell must be built, because their size follows from the input's."""
        shape = self.compute_output_shape((batch_size, *self._step_shape))[0]
        return [ops.zeros(shape, dtype=self.compute_dtype) for _ in range(2)]

    # -- the step ----------------------------------------------------------------------------------------
    def _input_conv(self, x: Any, kernel: Any) -> Any:
        return ops.conv(
            x,
            kernel,
            strides=self.strides,
            padding=self.padding,
            data_format=self.data_format,
            dilation_rate=self.dilation_rate,
        )

    def _gate_axis(self) -> int:
        return -1 if self.data_format == "channels_last" else -1 - self.rank

    def input_mask(self, inputs: Any) -> Any:
        return self.get_dropout_mask(inputs if len(inputs.shape) == self.rank + 2 else inputs[0])

    def project(self, inputs: Any, training: bool) -> Any:
        """The convolution of one step, or of all steps as one batch."""
        masks = self.input_mask(inputs) if training and 0 < self.dropout < 1 else None
        lead = inputs.shape[: len(inputs.shape) - self.rank - 1]

        def convolve(x: Any, kernel: Any, bias: Any) -> Any:
            y = self._input_conv(ops.reshape(x, (-1, *x.shape[len(lead) :])), kernel)
            if bias is not None:  # before the steps are parted again, so that it rides along with the convolution
                shape = [1] * len(y.shape)
                shape[self._gate_axis()] = bias.shape[0]
                y = y + ops.reshape(bias, shape)
            return ops.reshape(y, (*lead, *y.shape[1:]))

        kernel = ops.convert_to_tensor(self.kernel)
        bias = None if self.bias is None else ops.convert_to_tensor(self.bias)
        if masks is None:
            return convolve(inputs, kernel, bias)
        biases = [None] * 4 if bias is None else ops.split(bias, 4)
        parts = zip(masks, ops.split(kernel, 4, axis=-1), biases, strict=True)
        return ops.concatenate([convolve(inputs * m, k, b) for m, k, b in parts], axis=self._gate_axis())

    def recurrence(self, states: Sequence[Any], training: bool) -> Step:
        masks = self.state_masks(states, training)
        kernel = ops.convert_to_tensor(self.recurrent_kernel)
        parts = ops.split(kernel, 4, axis=-1) if masks is not None else [kernel]
        gate, act, axis = self.recurrent_activation, self.activation, self._gate_axis()

        def step(projected: Any, states: Sequence[Any]) -> tuple[Any, list[Any]]:
            seen = masked_states(states[0], masks, len(parts))
            products = [
                ops.conv(x, k, padding="same", data_format=self.data_format) for x, k in zip(seen, parts, strict=True)
            ]
            inner = products[0] if len(products) == 1 else ops.concatenate(products, axis=axis)
            i, f, g, o = ops.split(projected + inner, 4, axis=axis)
            c = gate(f) * states[1] + gate(i) * act(g)
            h = gate(o) * act(c)
            return h, [h, c]

        return step


@from_cell(*_CELL_CONFIG)
class ConvLSTM(CellLayer):
    """Base of ConvLSTM1D, 2D and 3D: a `ConvLSTMCell` run over the time steps of its input."""

    CELL_CONFIG = (*_CELL_CONFIG, "activity_regularizer", "seed")
    rank: int

    def __init_subclass__(cls, rank: int | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if rank is not None:
            cls.rank = rank

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Any = 1,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        unit_forget_bias: bool = True,
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        seed: Any = None,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(partial(ConvLSTMCell, self.rank), "conv_lstm_cell", locals())
        self.input_spec = InputSpec(ndim=self.rank + 3)

    def compute_output_shape(self, sequences_shape: Any, initial_state_shape: Any = None) -> Any:
        batch, length = sequences_shape[:2]
        _, *rest = self.cell.compute_output_shape((batch, *sequences_shape[2:]))[0]
        output = (batch, length, *rest) if self.return_sequences else (batch, *rest)
        return (output, (batch, *rest), (batch, *rest)) if self.return_state else output

    def compute_mask(self, _: Any, mask: Any) -> Any:
        found = super().compute_mask(_, mask)
        return [found[0], None, None] if self.return_state else found


class ConvLSTM1D(ConvLSTM, rank=1):
    """Convolutional LSTM over sequences of sequences: `(batch, time, steps, channels)` to `(batch, steps, filters)`.

    Args:
        filters, kernel_size, strides, padding, data_format, dilation_rate, activation, recurrent_activation, use_bias,
            kernel_initializer, recurrent_initializer, bias_initializer, unit_forget_bias, kernel_regularizer,
            recurrent_regularizer, bias_regularizer, kernel_constraint, recurrent_constraint, bias_constraint, dropout,
            recurrent_dropout, seed: see `ConvLSTMCell`.
        activity_regularizer: penalty on the output, added to the loss.
        return_sequences, return_state, go_backwards, stateful: see `RNN`.

    Call arguments: see `RNN`.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layers.ConvLSTM1D(4, 3)(np.ones((2, 5, 8, 3), "float32")).shape
        (2, 6, 4)
    """


class ConvLSTM2D(ConvLSTM, rank=2):
    """Convolutional LSTM over sequences of images: `(batch, time, rows, columns, channels)`.

    Arguments: see `ConvLSTM1D`.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layers.ConvLSTM2D(4, 3, padding="same", return_sequences=True)(np.ones((2, 5, 8, 8, 3), "float32")).shape
        (2, 5, 8, 8, 4)
    """


class ConvLSTM3D(ConvLSTM, rank=3):
    """Convolutional LSTM over sequences of volumes: `(batch, time, d1, d2, d3, channels)`.

    Arguments: see `ConvLSTM1D`.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layers.ConvLSTM3D(2, 3)(np.ones((1, 2, 4, 4, 4, 3), "float32")).shape
        (1, 2, 2, 2, 2)
    """
