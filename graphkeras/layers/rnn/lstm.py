"""Long short-term memory."""

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
    "recurrent_activation",
    "use_bias",
    "unit_forget_bias",
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


class LSTMCell(RecurrentCell):
    """One step of an LSTM (Hochreiter and Schmidhuber, 1997, with the forget gate of Gers et al., 2000).

    `i, f, g, o = split(x @ kernel + h @ recurrent_kernel + bias)`, then `c = f * c + i * g` and `h = o * tanh(c)`;
    `g` passes through `activation` and the gates through `recurrent_activation`.

    Args:
        units: size of the states and of the output.
        activation: function for the new values and for the output; None for none.
        recurrent_activation: function for the gates.
        use_bias: whether to add a bias.
        kernel_initializer, recurrent_initializer, bias_initializer: for the `(features, 4 * units)` kernel, the
            `(units, 4 * units)` recurrent kernel and the bias.
        unit_forget_bias: begin with ones as the forget gate's bias (Jozefowicz et al., 2015).
        kernel_regularizer, recurrent_regularizer, bias_regularizer: penalties added to the loss.
        kernel_constraint, recurrent_constraint, bias_constraint: functions applied to the weights after each update.
        dropout: fraction of the inputs to drop in training.
        recurrent_dropout: fraction of the state to drop in training, each gate by itself.
        seed: int for reproducible dropout.

    Raises:
        ValueError: if `units` is not positive.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> cell = layers.LSTMCell(4)
        >>> output, (h, c) = cell(np.ones((2, 3), "float32"), cell.get_initial_state(2))
        >>> output.shape, c.shape
        ((2, 4), (2, 4))
    """

    CONFIG = (*_CELL_CONFIG, "seed")
    GATES = 4

    def __init__(
        self,
        units: int,
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
        self.store_cell(locals(), units)
        self.state_size = [units, units]

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.kernel = self.add_parameter("kernel", (input_shape[-1], 4 * self.units))
        self.recurrent_kernel = self.add_parameter("recurrent_kernel", (self.units, 4 * self.units), prefix="recurrent")
        self.bias = self.add_gate_bias() if self.use_bias else None

    def project(self, inputs: Any, training: bool) -> Any:
        return self.project_gates(inputs, self.kernel, self.bias, training)

    def recurrence(self, states: Sequence[Any], training: bool) -> Step:
        masks = self.state_masks(states, training)
        kernel = ops.convert_to_tensor(self.recurrent_kernel)
        parts = ops.split(kernel, 4, axis=1) if masks is not None else [kernel]
        gate, act = self.recurrent_activation, self.activation

        def step(projected: Any, states: Sequence[Any]) -> tuple[Any, list[Any]]:
            z = ops.add(projected, recurrent_product(states[0], kernel, parts, masks))
            i, f, g, o = ops.split(z, 4, axis=-1)
            c = gate(f) * states[1] + gate(i) * act(g)
            h = gate(o) * act(c)
            return h, [h, c]

        return step


@from_cell(*_CELL_CONFIG)
class LSTM(CellLayer):
    """Long short-term memory layer: an `LSTMCell` run over the time steps of its input.

    Inputs of shape `(batch, time, features)` give `(batch, units)`, or `(batch, time, units)` with `return_sequences`.
    With `return_state` the final states h and c follow.

    Args:
        units, activation, recurrent_activation, use_bias, kernel_initializer, recurrent_initializer, bias_initializer,
            unit_forget_bias, kernel_regularizer, recurrent_regularizer, bias_regularizer, kernel_constraint,
            recurrent_constraint, bias_constraint, dropout, recurrent_dropout, seed: see `LSTMCell`.
        activity_regularizer: penalty on the output, added to the loss.
        return_sequences, return_state, go_backwards, stateful, unroll: see `RNN`.
        use_cudnn: accepted for scripts that set it; one implementation serves all cases.

    Call arguments: see `RNN`.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> outputs, h, c = layers.LSTM(4, return_sequences=True, return_state=True)(np.ones((2, 5, 3), "float32"))
        >>> outputs.shape, h.shape, c.shape
        ((2, 5, 4), (2, 4), (2, 4))
    """

    CELL_CONFIG = (*_CELL_CONFIG, "activity_regularizer", "seed")

    def __init__(
        self,
        units: int,
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
        unroll: bool = False,
        use_cudnn: Any = "auto",
        **kwargs: Any,
    ) -> None:
        super().__init__(LSTMCell, "lstm_cell", locals())
        self.input_spec = InputSpec(ndim=3)
        self.store_use_cudnn(use_cudnn)
