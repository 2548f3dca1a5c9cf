"""Gated recurrent unit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphkeras import ops
from graphkeras.layers.input_spec import InputSpec
from graphkeras.layers.rnn.cell import RecurrentCell, Step, from_cell, masked_states, recurrent_product
from graphkeras.layers.rnn.rnn import CellLayer

_CELL_CONFIG = (
    "units",
    "activation",
    "recurrent_activation",
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
    "reset_after",
)


class GRUCell(RecurrentCell):
    """One step of a gated recurrent unit (Cho et al., 2014).

    With update gate z and reset gate r: `h = z * h + (1 - z) * activation(x @ K + bias + r * (h @ R + bias))`, or
    `(r * h) @ R` in the place of `r * (h @ R + bias)` with `reset_after=False`, as in the first version of the paper.

    Args:
        units: size of the state, which is the output.
        activation: function for the new values; None for none.
        recurrent_activation: function for the gates.
        use_bias: whether to add a bias.
        kernel_initializer, recurrent_initializer, bias_initializer: for the `(features, 3 * units)` kernel, the
            `(units, 3 * units)` recurrent kernel and the bias: `(2, 3 * units)`, one for each kernel, or
            `(3 * units,)` with `reset_after=False`. The order is z, r, new values.
        kernel_regularizer, recurrent_regularizer, bias_regularizer: penalties added to the loss.
        kernel_constraint, recurrent_constraint, bias_constraint: functions applied to the weights after each update.
        dropout: fraction of the inputs to drop in training.
        recurrent_dropout: fraction of the state to drop in training, each gate by itself.
        reset_after: whether the reset gate is applied after the product (as cuDNN does) or before it.
        seed: int for reproducible dropout.

    Raises:
        ValueError: if `units` is not positive.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> cell = layers.GRUCell(4)
        >>> output, states = cell(np.ones((2, 3), "float32"), cell.get_initial_state(2))
        >>> output.shape
        (2, 4)
    """

    CONFIG = (*_CELL_CONFIG, "seed")
    GATES = 3

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
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
        reset_after: bool = True,
        seed: Any = None,
        **kwargs: Any,
    ) -> None:
        self.store_cell(locals(), units)
        self.state_size = units

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        width = 3 * self.units
        self.kernel = self.add_parameter("kernel", (input_shape[-1], width))
        self.recurrent_kernel = self.add_parameter("recurrent_kernel", (self.units, width), prefix="recurrent")
        # Two rows with reset_after, also to tell the two kinds of weights apart in files.
        shape = (2, width) if self.reset_after else (width,)
        self.bias = self.add_parameter("bias", shape) if self.use_bias else None

    def project(self, inputs: Any, training: bool) -> Any:
        bias = self.bias if self.bias is None or not self.reset_after else self.bias[0]
        return self.project_gates(inputs, self.kernel, bias, training)

    def recurrence(self, states: Sequence[Any], training: bool) -> Step:
        masks = self.state_masks(states, training)
        kernel = ops.convert_to_tensor(self.recurrent_kernel)
        return self._reset_after(kernel, masks) if self.reset_after else self._reset_before(kernel, masks)

    def _reset_after(self, kernel: Any, masks: Any) -> Step:
        parts = ops.split(kernel, 3, axis=1) if masks is not None else [kernel]
        bias = None if self.bias is None else self.bias[1]
        gate = self.recurrent_activation

        def step(projected: Any, states: Sequence[Any]) -> tuple[Any, list[Any]]:
            (h,) = states
            inner = recurrent_product(h, kernel, parts, masks)
            inner = inner if bias is None else ops.add(inner, bias)
            xs, hs = ops.split(projected, 3, axis=-1), ops.split(inner, 3, axis=-1)
            z, r = gate(xs[0] + hs[0]), gate(xs[1] + hs[1])
            h = _mix(z, h, self.activation(xs[2] + r * hs[2]))
            return h, [h]

        return step

    def _reset_before(self, kernel: Any, masks: Any) -> Step:
        gates = kernel[:, : 2 * self.units]
        parts = ops.split(gates, 2, axis=1) if masks is not None else [gates]
        last = kernel[:, 2 * self.units :]
        first_masks = masks[:2] if isinstance(masks, list) else masks
        gate = self.recurrent_activation

        def step(projected: Any, states: Sequence[Any]) -> tuple[Any, list[Any]]:
            (h,) = states
            xs = ops.split(projected, 3, axis=-1)
            hs = ops.split(recurrent_product(h, gates, parts, first_masks), 2, axis=-1)
            z, r = gate(xs[0] + hs[0]), gate(xs[1] + hs[1])
            seen = masked_states(h, masks, 3)[2]
            h = _mix(z, h, self.activation(xs[2] + ops.matmul(r * seen, last)))
            return h, [h]

        return step


def _mix(z: Any, old: Any, new: Any) -> Any:
    return z * old + (1 - z) * new


@from_cell(*_CELL_CONFIG)
class GRU(CellLayer):
    """Gated recurrent unit layer: a `GRUCell` run over the time steps of its input.

    Inputs of shape `(batch, time, features)` give `(batch, units)`, or `(batch, time, units)` with `return_sequences`.

    Args:
        units, activation, recurrent_activation, use_bias, kernel_initializer, recurrent_initializer, bias_initializer,
            kernel_regularizer, recurrent_regularizer, bias_regularizer, kernel_constraint, recurrent_constraint,
            bias_constraint, dropout, recurrent_dropout, reset_after, seed: see `GRUCell`.
        activity_regularizer: penalty on the output, added to the loss.
        return_sequences, return_state, go_backwards, stateful, unroll: see `RNN`.
        use_cudnn: accepted for scripts that set it; one implementation serves all cases.

    Call arguments: see `RNN`.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> outputs, state = layers.GRU(4, return_sequences=True, return_state=True)(np.ones((2, 5, 3), "float32"))
        >>> outputs.shape, state.shape
        ((2, 5, 4), (2, 4))
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
        reset_after: bool = True,
        use_cudnn: Any = "auto",
        **kwargs: Any,
    ) -> None:
        super().__init__(GRUCell, "gru_cell", locals())
        self.input_spec = InputSpec(ndim=3)
        self.store_use_cudnn(use_cudnn)
