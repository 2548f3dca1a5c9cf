"""RNN: runs a cell over the time steps of its input."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from graphkeras import ops
from graphkeras.core import tree
from graphkeras.core.scopes import name_scope
from graphkeras.core.trace import eager
from graphkeras.core.tracking import DoNotTrackScope
from graphkeras.core.variable import Variable
from graphkeras.layers.configured import ConfiguredLayer
from graphkeras.layers.layer import Layer
from graphkeras.layers.rnn.cell import RecurrentCell
from graphkeras.layers.rnn.dropout_rnn_cell import DropoutRNNCell
from graphkeras.layers.rnn.loop import run_steps, time_major
from graphkeras.layers.rnn.stacked_rnn_cells import StackedRNNCells
from graphkeras.saving import deserialize_keras_object, serialize_keras_object


class RNN(ConfiguredLayer):
    """Recurrent layer: `output, states = cell(x[:, t], states)` for each time step t.

    Inputs of shape `(batch, time, ...)` give the last output `(batch, ...)`, or all of them with `return_sequences`.
    The loop is compiled to one native loop; the built-in cells project the inputs of all steps in one product first.

    Args:
        cell: an object with `call(inputs, states) -> (output, new states)` and the attribute `state_size` (an int, or a
            list with one entry per state), optionally `output_size` and `get_initial_state(batch_size)`; or a list of
            cells, which are stacked.
        return_sequences: return the outputs of all steps.
        return_state: return the final states after the output.
        go_backwards: process the steps from last to first, and return them in that order.
        stateful: begin each batch with the states in which the last one ended. The batch size must be fixed.
        unroll: repeat the step in the program instead of looping; for short sequences.
        zero_output_for_mask: output zeros at masked steps instead of the output of the step before.

    Call arguments:
        sequences: tensor of shape `(batch, time, ...)`.
        initial_state: list of tensors; zeros by default.
        mask: bool tensor of shape `(batch, time)`, false for steps to skip.
        training: passed to the cell.

    Raises:
        ValueError: if the cell lacks `call` or `state_size`, for a stateful layer without a fixed batch size, and for
            an unrolled one without a fixed number of steps.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layer = layers.RNN([layers.SimpleRNNCell(4), layers.SimpleRNNCell(2)], return_sequences=True)
        >>> layer(np.ones((3, 5, 6), "float32")).shape
        (3, 5, 2)
    """

    CONFIG: tuple[str, ...] = (
        "return_sequences",
        "return_state",
        "go_backwards",
        "stateful",
        "unroll",
        "zero_output_for_mask",
    )

    def __init__(
        self,
        cell: Any,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        zero_output_for_mask: bool = False,
        **kwargs: Any,
    ) -> None:
        if isinstance(cell, (list, tuple)):
            cell = StackedRNNCells(cell)
        _check_cell(cell)
        super().__init__(**kwargs)
        self.store(
            zero_output_for_mask=zero_output_for_mask,
            cell=cell,
            return_sequences=return_sequences,
            return_state=return_state,
            go_backwards=go_backwards,
            stateful=stateful,
            unroll=unroll,
        )
        self.supports_masking = True
        self.input_spec = None
        self.states: Any = None
        self._expected_batch_size: int | None = None
        size = cell.state_size
        if not isinstance(size, (list, tuple, int)):
            raise ValueError(
                "state_size must be an integer, or a list/tuple of integers (one for each state tensor). "
                f"Received: state_size={size} of cell {cell}"
            )
        self.single_state = isinstance(size, int)
        self.state_size = [size] if isinstance(size, int) else list(size)

    # -- shapes, masks ---------------------------------------------------------------------------------
    def compute_output_shape(self, sequences_shape: Any, initial_state_shape: Any = None) -> Any:
        batch, length = sequences_shape[:2]
        states = [(batch, size) if isinstance(size, int) else [(batch, s) for s in size] for size in self.state_size]
        size = getattr(self.cell, "output_size", None)
        if size is None:
            size = self.state_size[0]
        if not isinstance(size, int):
            raise ValueError(f"output_size must be an integer. Received: output_size={size} of cell {self.cell}")
        output = (batch, length, size) if self.return_sequences else (batch, size)
        return (output, *states) if self.return_state else output

    def compute_mask(self, _: Any, mask: Any) -> Any:
        found = tree.flatten(mask)
        output_mask = found[0] if self.return_sequences and found else None
        return [output_mask, *(None for _ in self.state_size)] if self.return_state else output_mask

    # -- building --------------------------------------------------------------------------------------
    def build(self, sequences_shape: Any, initial_state_shape: Any = None) -> None:
        self._build_cell((sequences_shape[0], *sequences_shape[2:]))
        if not self.stateful:
            return
        if self.states is not None:
            self.reset_state()
            return
        if sequences_shape[0] is None:
            raise ValueError(
                f"When using `stateful=True` in a RNN, the batch size must be static. Found dynamic batch size: "
                f"sequences.shape={sequences_shape} in layer {self.name}. Declare it with Input(batch_shape=...)."
            )
        self._create_state_variables(sequences_shape[0])
        self._expected_batch_size = tree.flatten(self.states)[0].shape[0]

    def _build_cell(self, step_shape: Any) -> None:
        if isinstance(self.cell, Layer) and not self.cell.built:
            self.cell.build(step_shape)
            self.cell.built = True

    def _create_state_variables(self, batch_size: int) -> None:
        """States are kept between batches but are no weights: they are neither tracked nor saved."""
        with eager():
            first = self.get_initial_state(batch_size)
        with DoNotTrackScope(), name_scope(self.name, caller=self):
            self.states = tree.map_structure(
                lambda value: Variable(value, dtype=self.variable_dtype, trainable=False, name="rnn_state"), first
            )

    def get_initial_state(self, batch_size: int) -> list[Any]:
        """The states before the first step: those of the cell, or zeros."""
        from_cell = getattr(self.cell, "get_initial_state", None)
        if from_cell is None:
            return [ops.zeros((batch_size, size), dtype=self._cell_dtype()) for size in self.state_size]
        found = from_cell(batch_size=batch_size)
        return list(found) if tree.is_nested(found) else [found]

    def _cell_dtype(self) -> str:
        return getattr(self.cell, "compute_dtype", self.compute_dtype)

    def reset_state(self) -> None:
        """Set the states of a stateful layer to zero."""
        for v in tree.flatten(self.states) if self.states is not None else ():
            v.assign(ops.zeros(v.shape, dtype=v.dtype))

    def reset_states(self) -> None:
        """Same as `reset_state`."""
        self.reset_state()

    # -- the computation -------------------------------------------------------------------------------
    def call(self, sequences: Any, initial_state: Any = None, mask: Any = None, training: bool = False) -> Any:
        if initial_state is None:
            initial_state = self.states if self.stateful else self.get_initial_state(sequences.shape[0])
        if self.stateful and self._expected_batch_size not in (None, sequences.shape[0]):
            raise ValueError(
                "If an RNN is stateful, the batch size of the input sequences must be the same as the batch size of "
                f"the initial state. Layer {self.name}: expected batch size {self._expected_batch_size}, received "
                f"batch size {sequences.shape[0]}."
            )
        initial_state = list(initial_state) if tree.is_nested(initial_state) else [initial_state]
        initial_state = tree.map_structure(lambda x: ops.convert_to_tensor(x, dtype=self._cell_dtype()), initial_state)
        output, states = self.inner_loop(sequences, initial_state, mask, training=training)
        output = ops.cast(output, self.compute_dtype)
        states = tree.map_structure(lambda x: ops.cast(x, self.compute_dtype), states)
        _reset_dropout_masks(self.cell)
        if self.stateful:
            for variable, state in zip(tree.flatten(self.states), tree.flatten(states), strict=True):
                variable.assign(ops.cast(state, variable.dtype))
        return (output, *states) if self.return_state else output

    def inner_loop(self, sequences: Any, initial_state: list[Any], mask: Any, training: bool = False) -> Any:
        """The loop over time: (all outputs, or the last one; final states)."""
        if isinstance(mask, (list, tuple)):
            mask = mask[0]
        by_time = time_major(sequences)
        if self._splits_steps():
            by_time, step = self._split_step(by_time, initial_state, training)
        else:
            step = self._whole_step(by_time, initial_state, training)
        output, states = run_steps(
            step,
            by_time,
            initial_state,
            mask=mask,
            reverse=self.go_backwards,
            unroll=self.unroll,
            zero_output=self.zero_output_for_mask,
            all_outputs=self.return_sequences,
        )
        return (time_major(output) if self.return_sequences else output), states

    def _splits_steps(self) -> bool:
        """Whether the cell's inputs can be projected before the loop: its `call` does nothing else."""
        cell = self.cell
        return (
            isinstance(cell, RecurrentCell)
            and type(cell).call is RecurrentCell.call
            and cell.dtype_policy == self.dtype_policy
            and cell.activity_regularizer is None
        )

    def _split_step(self, by_time: Any, states: list[Any], training: bool) -> tuple[Any, Any]:
        projected = self.cell.project(by_time, training)
        return projected, self.cell.recurrence(states, training)

    def _whole_step(self, by_time: Any, states: list[Any], training: bool) -> Any:
        kwargs = {"training": training} if getattr(self.cell, "_call_has_training_arg", False) else {}
        if training:
            # Masks are drawn before the loop: inside it a seed cannot change.
            _draw_dropout_masks(self.cell, by_time[0], states)
        run = self.cell if callable(self.cell) else self.cell.call
        return lambda x, s: run(x, s, **kwargs)

    # -- config ----------------------------------------------------------------------------------------
    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "cell": serialize_keras_object(self.cell)}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Any:
        config = dict(config)
        cell = deserialize_keras_object(config.pop("cell"), custom_objects=custom_objects)
        return cls(cell, **config)


def _check_cell(cell: Any) -> None:
    if not hasattr(cell, "call"):
        raise ValueError(f"Argument `cell` should have a `call` method. Received: cell={cell}")
    if getattr(cell, "state_size", None) is None:
        raise ValueError(
            "The RNN cell should have a `state_size` attribute (single integer or list of integers, one integer per "
            f"RNN state). Received: cell={cell}"
        )


def _draw_dropout_masks(cell: Any, x: Any, states: Any) -> None:
    """Let every cell of a stack make its masks for inputs like x."""
    if isinstance(cell, DropoutRNNCell):
        cell.get_dropout_mask(x)
        cell.get_recurrent_dropout_mask(tree.flatten(states)[0])
    if isinstance(cell, StackedRNNCells):
        for inner, state in zip(cell.cells, states, strict=True):
            _draw_dropout_masks(inner, x, state)
            x = cell.run_cell(inner, x, state, training=True)[0]


def _reset_dropout_masks(cell: Any) -> None:
    if isinstance(cell, DropoutRNNCell):
        cell.reset_dropout_mask()
        cell.reset_recurrent_dropout_mask()
    if isinstance(cell, StackedRNNCells):
        for inner in cell.cells:
            _reset_dropout_masks(inner)


class CellLayer(RNN):
    """Base of the layers with a cell of their own (LSTM, GRU, SimpleRNN): the cell's arguments are in their config."""

    CELL_CONFIG: tuple[str, ...] = ()

    def __init__(self, make: Callable[..., Any], name: str, given: dict[str, Any]) -> None:
        """`given`: the arguments of the layer's constructor (its `locals()`), for the cell, for RNN or for both."""
        others = dict(given["kwargs"])
        shared = {k: others[k] for k in ("dtype", "trainable") if k in others}
        shared |= {"implementation": others.pop("implementation")} if "implementation" in others else {}
        own = inspect.signature(RNN.__init__).parameters.keys() - {"self", "cell", "kwargs"} | {"activity_regularizer"}
        arguments = given.keys() - own - {"self", "kwargs", "use_cudnn", "__class__"}
        cell = make(**{k: given[k] for k in arguments}, **shared, name=name)
        super().__init__(cell, **{k: given[k] for k in given.keys() & own}, **others)

    @property
    def seed(self) -> Any:
        return self.cell.seed

    def store_use_cudnn(self, use_cudnn: Any) -> None:
        """Kept for scripts that set it: there is one implementation, so that only True means something else."""
        if use_cudnn not in ("auto", True, False):
            raise ValueError(
                f"Invalid value received for argument `use_cudnn` of {type(self).__name__}. Expected one of "
                f"{{'auto', True, False}}. Received: use_cudnn={use_cudnn}"
            )
        self.use_cudnn = use_cudnn

    def get_config(self) -> dict[str, Any]:
        from graphkeras.layers.configured import resolver

        config = super().get_config()
        del config["cell"]
        for name in self.CELL_CONFIG:
            module, value = resolver(name), getattr(self, name)
            config[name] = value if module is None else module.serialize(value)
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Any:
        return cls(**config)
