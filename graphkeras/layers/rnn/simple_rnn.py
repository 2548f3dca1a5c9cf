"""The fully connected recurrent layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphkeras import ops
from graphkeras.layers.input_spec import InputSpec
from graphkeras.layers.rnn.cell import RecurrentCell, Step, from_cell, recurrent_product
from graphkeras.layers.rnn.rnn import CellLayer

_CELL_CONFIG = (
    "units",
    "activation",
    "use_bias",
    "kernel_initializer",
    "recurrent_initializer",
    "bias_initializer",
    "kernel_regularizer",
    "recurrent_regularizer",
    "bias_regularizer",
    "kernel_constraint",
    "recurrent_constraint",
    "bias_constraint",
    "dropout",
    "recurrent_dropout",
)


class SimpleRNNCell(RecurrentCell):
    """One step of a fully connected recurrent layer: `h = activation(x @ kernel + h @ recurrent_kernel + bias)`.

    Args:
        units: size of the state, which is the output.
        activation: function of the output; None for none.
        use_bias: whether to add a bias.
        kernel_initializer, recurrent_initializer, bias_initializer: for the `(features, units)` kernel, the
            `(units, units)` recurrent kernel and the bias.
        kernel_regularizer, recurrent_regularizer, bias_regularizer: penalties added to the loss.
        kernel_constraint, recurrent_constraint, bias_constraint: functions applied to the weights after each update.
        dropout, recurrent_dropout: fractions of the inputs and of the state to drop in training.
        seed: int for reproducible dropout.

    Raises:
        ValueError: if `units` is not positive.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> cell = layers.SimpleRNNCell(4)
        >>> output, states = cell(np.ones((2, 3), "float32"), cell.get_initial_state(2))
        >>> output.shape
        (2, 4)
    """

    CONFIG = (*_CELL_CONFIG, "seed")

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
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
        self.store_cell(locals(), units, implementation=2)
        self.state_size = units

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.kernel = self.add_parameter("kernel", (input_shape[-1], self.units))
        self.recurrent_kernel = self.add_parameter("recurrent_kernel", (self.units, self.units), prefix="recurrent")
        self.bias = self.add_parameter("bias", (self.units,)) if self.use_bias else None

    def project(self, inputs: Any, training: bool) -> Any:
        return self.project_gates(inputs, self.kernel, self.bias, training)

    def recurrence(self, states: Sequence[Any], training: bool) -> Step:
        masks = self.state_masks(states, training)
        kernel = ops.convert_to_tensor(self.recurrent_kernel)

        def step(projected: Any, states: Sequence[Any]) -> tuple[Any, list[Any]]:
            h = self.activation(ops.add(projected, recurrent_product(states[0], kernel, [kernel], masks)))
            return h, [h]

        return step


@from_cell(*_CELL_CONFIG)
class SimpleRNN(CellLayer):
    """Fully connected recurrent layer: a `SimpleRNNCell` run over the time steps of its input.

    Inputs of shape `(batch, time, features)` give `(batch, units)`, or `(batch, time, units)` with `return_sequences`.

    Args:
        units, activation, use_bias, kernel_initializer, recurrent_initializer, bias_initializer, kernel_regularizer,
            recurrent_regularizer, bias_regularizer, kernel_constraint, recurrent_constraint, bias_constraint, dropout,
            recurrent_dropout, seed: see `SimpleRNNCell`.
        activity_regularizer: penalty on the output, added to the loss.
        return_sequences, return_state, go_backwards, stateful, unroll: see `RNN`.

    Call arguments: see `RNN`.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layers.SimpleRNN(4)(np.ones((2, 5, 3), "float32")).shape
        (2, 4)
    """

    CELL_CONFIG = (*_CELL_CONFIG, "activity_regularizer")

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        seed: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(SimpleRNNCell, "simple_rnn_cell", locals())
        self.input_spec = [InputSpec(ndim=3)]
