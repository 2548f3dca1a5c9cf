"""What the built-in cells and layers share: arguments, dropout, and the split of a step into what depends on the
state and what does not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from graphkeras import initializers, ops
from graphkeras import random as gk_random
from graphkeras.layers.configured import ConfiguredLayer
from graphkeras.layers.rnn.dropout_rnn_cell import DropoutRNNCell

Step = Callable[[Any, Sequence[Any]], tuple[Any, list[Any]]]


class RecurrentCell(ConfiguredLayer, DropoutRNNCell):
    """Base of cells whose step is `recurrence()(project(inputs), states)`.

    `project` is what does not depend on the state, so that `RNN` computes it for all time steps at once: it takes
    inputs with any number of leading axes. `recurrence` returns the rest of the step; it reads the weights once, which
    keeps casts of weights out of the loop.
    """

    GATES = 1

    def store_cell(self, given: dict[str, Any], units: int, implementation: int | None = None) -> None:
        """Check and keep the constructor's arguments: its `locals()`, before anything else is done."""
        others = dict(given["kwargs"])
        if implementation is None:
            implementation = others.pop("implementation", 2)
        super().__init__(**others)
        if units <= 0:
            raise ValueError(
                f"Received an invalid value for argument `units` of {type(self).__name__}, expected a positive "
                f"integer, got {units}."
            )
        self.store(**{name: given[name] for name in self.CONFIG})
        self.units = units
        self.dropout = min(1.0, max(0.0, given["dropout"]))
        self.recurrent_dropout = min(1.0, max(0.0, given["recurrent_dropout"]))
        self.implementation = 1 if self.recurrent_dropout and self.GATES > 1 else implementation
        if self.implementation == 1 and self.GATES > 1:
            self.dropout_mask_count = self.GATES
        self.seed_generator = gk_random.SeedGenerator(given["seed"])
        self.output_size = units

    def add_gate_bias(self) -> Any:
        """The bias of an LSTM's gates: with `unit_forget_bias` ones for the forget gate, the second of the four."""
        return self.add_weight(
            name="bias",
            shape=(4 * self.output_size,),
            initializer=self._forget_ones if self.unit_forget_bias else self.bias_initializer,
            regularizer=self.bias_regularizer,
            constraint=self.bias_constraint,
        )

    def _forget_ones(self, shape: Any, dtype: Any = None) -> Any:
        ones = initializers.get("ones")((self.output_size,), dtype=dtype)
        first, last = (self.bias_initializer((n * self.output_size,), dtype=dtype) for n in (1, 2))
        return ops.concatenate([first, ones, last])

    def project(self, inputs: Any, training: bool) -> Any:
        raise NotImplementedError

    def recurrence(self, states: Sequence[Any], training: bool) -> Step:
        """The function `(projected, states) -> (output, new states)`. `states`: like those it will get."""
        raise NotImplementedError

    def call(self, inputs: Any, states: Any, training: bool = False) -> Any:
        nested = isinstance(states, (list, tuple))
        before = list(states) if nested else [states]
        output, after = self.recurrence(before, training)(self.project(inputs, training), before)
        return output, after if nested else after[0]

    def get_initial_state(self, batch_size: int | None = None) -> list[Any]:
        """Zeros for a batch of that size."""
        sizes = self.state_size if isinstance(self.state_size, (list, tuple)) else [self.state_size]
        return [ops.zeros((batch_size, size), dtype=self.compute_dtype) for size in sizes]

    # -- pieces of `project` and `recurrence` --------------------------------------------------------
    def project_gates(self, inputs: Any, kernel: Any, bias: Any, training: bool) -> Any:
        """`dropped inputs @ kernel + bias`: one product, or one per gate if each gate has a mask of its own."""
        mask = self.input_mask(inputs) if training and 0 < self.dropout < 1 else None
        if isinstance(mask, list):
            parts = ops.split(kernel, self.GATES, axis=1)
            z = ops.concatenate([ops.matmul(inputs * m, k) for m, k in zip(mask, parts, strict=True)], axis=-1)
        else:
            z = ops.matmul(inputs if mask is None else inputs * mask, kernel)
        return z if bias is None else ops.add(z, bias)

    def input_mask(self, inputs: Any) -> Any:
        """The dropout mask for one step, of inputs that may hold all steps (time, batch, features)."""
        return self.get_dropout_mask(inputs if len(inputs.shape) < 3 else inputs[0])

    def state_masks(self, states: Sequence[Any], training: bool) -> Any:
        """The recurrent dropout mask (a list with one per gate where there are several), or None."""
        return self.get_recurrent_dropout_mask(states[0]) if training and 0 < self.recurrent_dropout < 1 else None


def masked_states(h: Any, masks: Any, gates: int) -> list[Any]:
    """The state as each gate sees it."""
    if masks is None:
        return [h] * gates
    return [h * m for m in masks] if isinstance(masks, list) else [h * masks] * gates


def recurrent_product(h: Any, kernel: Any, parts: Sequence[Any], masks: Any) -> Any:
    """`h @ kernel`; with masks, one product for each gate's part of the kernel. `parts` are those parts."""
    if masks is None:
        return ops.matmul(h, kernel)
    seen = masked_states(h, masks, len(parts))
    products = [ops.matmul(x, k) for x, k in zip(seen, parts, strict=True)]
    return products[0] if len(products) == 1 else ops.concatenate(products, axis=-1)


def from_cell(*names: str) -> Callable[[type], type]:
    """Class decorator: read-only attributes of a layer that are those of its cell."""

    def add(cls: type) -> type:
        for name in names:
            setattr(cls, name, property(lambda self, n=name: getattr(self.cell, n)))
        return cls

    return add
