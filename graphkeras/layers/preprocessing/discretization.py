"""Discretization: numbers as the bins they fall into."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from graphkeras import ops
from graphkeras.core import config as gk_config
from graphkeras.core.keras_tensor import KerasTensor
from graphkeras.core.tensor import Operators
from graphkeras.layers.preprocessing.category_encoding import refuse_sparse
from graphkeras.layers.preprocessing.data_layer import DataLayer
from graphkeras.layers.preprocessing.encoding import MODES, encode, encoded_shape


class Discretization(DataLayer):
    """The index of the bin that each number falls into: bin i holds `boundaries[i - 1] <= x < boundaries[i]`.

    Args:
        bin_boundaries: increasing list of numbers; or
        num_bins: how many bins `adapt` makes, with equally many of its data in each.
        epsilon: share of the data by which `adapt` may miss a quantile; smaller is slower and needs more memory.
        output_mode: "int", "one_hot", "multi_hot" or "count" (see `CategoryEncoding`).
        sparse: must be False.

    Raises:
        ValueError: unless exactly one of `bin_boundaries` and `num_bins` is given.

    Example:
        >>> from graphkeras import layers
        >>> layers.Discretization(bin_boundaries=[0.0, 1.0])([[-1.5, 0.2, 3.0]]).tolist()
        [[0, 1, 2]]
    """

    def __init__(
        self,
        bin_boundaries: Any = None,
        num_bins: int | None = None,
        epsilon: float = 0.01,
        output_mode: str = "int",
        sparse: bool = False,
        dtype: Any = None,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        refuse_sparse(sparse, type(self).__name__)
        if output_mode not in MODES:
            raise ValueError(
                f"Unknown value for `output_mode` of Discretization. Expected one of {MODES}. "
                f"Received: output_mode={output_mode}"
            )
        if num_bins is not None and num_bins < 0:
            raise ValueError(f"`num_bins` must be greater than or equal to 0. Received: `num_bins={num_bins}`")
        if (num_bins is None) == (bin_boundaries is None):
            raise ValueError(
                "You need to set either `num_bins` or `bin_boundaries`. Both `num_bins` and `bin_boundaries` should "
                f"not be set. Received: `num_bins={num_bins}` and `bin_boundaries={bin_boundaries}`"
            )
        self.bin_boundaries, self.num_bins, self.epsilon = bin_boundaries, num_bins, epsilon
        self.output_mode, self.sparse = output_mode, sparse
        self.summary = None if bin_boundaries else np.empty((2, 0), "float32")

    @property
    def input_dtype(self) -> str:
        return gk_config.floatx()

    @property
    def output_dtype(self) -> str:
        return "int32" if self.output_mode == "int" else self.compute_dtype

    # -- learning the boundaries -------------------------------------------------------------------------
    def adapt(self, data: Any, steps: int | None = None) -> None:
        """Find boundaries between `num_bins` bins with equally many of the data in each.

        data: an array, or an iterable of batches, of which the first `steps` are taken.
        """
        if self.num_bins is None:
            raise ValueError(
                "Cannot adapt a Discretization layer that has been initialized with `bin_boundaries`, use `num_bins` "
                "instead."
            )
        self.reset_state()
        for batch in batches(data, steps):
            self.update_state(batch)
        self.finalize_state()

    def update_state(self, data: Any) -> None:
        """Add a batch to the summary of the data."""
        values = np.sort(np.asarray(data, dtype="float32").reshape(-1))
        step = max(len(values) * self.epsilon, 1)
        chosen = values[int(step - 1) :: int(step)]
        merged = np.concatenate([np.stack([chosen, np.full_like(chosen, step)]), self.summary], axis=1)
        self.summary = _compressed(merged[:, np.argsort(merged[0])], self.epsilon)

    def finalize_state(self) -> None:
        if self.num_bins is not None:
            self.bin_boundaries = _compressed(self.summary, 1.0 / self.num_bins)[0, :-1].tolist()

    def reset_state(self) -> None:
        if self.num_bins is not None:
            self.summary = np.empty((2, 0), "float32")

    # -- using them --------------------------------------------------------------------------------------
    def call(self, inputs: Any) -> Any:
        if self.bin_boundaries is None:
            raise ValueError(
                "You need to either pass the `bin_boundaries` argument at construction time or call `adapt(dataset)` "
                f"before you can start using the `Discretization` layer {self.name!r}."
            )
        boundaries = np.asarray(self.bin_boundaries, "float32")
        indices = ops.digitize(ops.convert_to_tensor(inputs), boundaries)
        return encode(indices, self.output_mode, len(boundaries) + 1, self.output_dtype)

    def compute_output_shape(self, input_shape: Any) -> Any:
        depth = len(self.bin_boundaries) + 1 if self.bin_boundaries is not None else self.num_bins
        return encoded_shape(input_shape, self.output_mode, depth)

    def compute_output_spec(self, inputs: Any) -> Any:
        return KerasTensor(self.compute_output_shape(inputs.shape), dtype=self.output_dtype)

    def load_own_variables(self, store: Any) -> None:
        """Nothing is stored: the boundaries are in the config."""

    def get_config(self) -> dict[str, Any]:
        return {
            "bin_boundaries": self.bin_boundaries,
            "num_bins": self.num_bins,
            "epsilon": self.epsilon,
            "output_mode": self.output_mode,
            "sparse": self.sparse,
            "name": self.name,
            "dtype": self.dtype,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Any:
        config = dict(config)
        learned = config.pop("bin_boundaries", None) if config.get("num_bins") is not None else None
        layer = cls(**config)
        if learned is not None:
            layer.bin_boundaries = learned
        return layer


def batches(data: Any, steps: int | None) -> Iterator[Any]:
    """Arrays, lists and tensors as one batch; the first `steps` items of other iterables."""
    if isinstance(data, (np.ndarray, Operators, list, tuple)) or not hasattr(data, "__iter__"):
        yield data
        return
    for i, batch in enumerate(data):
        if steps is not None and i >= steps:
            return
        yield batch


def _compressed(summary: np.ndarray, epsilon: float) -> np.ndarray:
    """A summary (values, how many data each stands for) of about 1/epsilon values, at equal shares of the data."""
    if summary.shape[1] * epsilon < 1:
        return summary
    shares = epsilon + np.arange(0.0, 1.0, epsilon)
    total = summary[1].cumsum()
    values = np.interp(shares, total / total[-1], summary[0])
    counts = np.interp(shares, total / total[-1], total)
    return np.stack([values, np.diff(counts, prepend=0.0)]).astype("float32")
