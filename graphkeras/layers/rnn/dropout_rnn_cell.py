"""DropoutRNNCell: dropout masks of a recurrent cell, drawn once for all steps of a batch."""

from __future__ import annotations

from typing import Any

from graphkeras import ops
from graphkeras import random as gk_random
from graphkeras.core.tensor import Tensor
from graphkeras.core.trace import current_trace, is_live


class DropoutRNNCell:
    """Mixin for cells with the attributes `dropout`, `recurrent_dropout` and `seed_generator`.

    A mask is made when it is first asked for and kept until `reset_dropout_mask` / `reset_recurrent_dropout_mask`,
    which `RNN` calls after each batch. A cell with the attribute `dropout_mask_count` gets a list of so many masks.
    """

    dropout: float
    recurrent_dropout: float
    seed_generator: Any

    def get_dropout_mask(self, step_input: Any) -> Any:
        """The mask for inputs of one step, like `step_input`; None if `dropout` is 0."""
        return self._kept_mask("_dropout_mask", step_input, self.dropout)

    def get_recurrent_dropout_mask(self, step_input: Any) -> Any:
        """The mask for the state, like `step_input`; None if `recurrent_dropout` is 0."""
        return self._kept_mask("_recurrent_dropout_mask", step_input, self.recurrent_dropout)

    def reset_dropout_mask(self) -> None:
        self.__dict__["_dropout_mask"] = None

    def reset_recurrent_dropout_mask(self) -> None:
        self.__dict__["_recurrent_dropout_mask"] = None

    def _kept_mask(self, name: str, like: Any, rate: float) -> Any:
        if rate <= 0:
            return None
        # Not through attribute tracking: a mask is no state, and the layer is locked when it is made.
        kept = self.__dict__.get(name)
        if kept is None or not all(_usable(m) for m in (kept if isinstance(kept, list) else [kept])):
            kept = self.__dict__[name] = self._create_dropout_mask(like, rate)
        return kept

    def _create_dropout_mask(self, like: Any, rate: float) -> Any:
        def mask() -> Any:
            return gk_random.dropout(ops.ones_like(like), rate=rate, seed=self.seed_generator)

        count = getattr(self, "dropout_mask_count", None)
        return mask() if count is None else [mask() for _ in range(count)]


def _usable(mask: Tensor) -> bool:
    """Not left over from a trace that has ended, nor from eager code before this trace."""
    return is_live(mask) and (mask.is_traced or current_trace() is None)
