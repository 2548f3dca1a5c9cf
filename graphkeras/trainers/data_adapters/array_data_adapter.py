"""Whole arrays in memory: the step gathers the batches itself, from the arrays and a permutation."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from graphkeras.core import tree
from graphkeras.trainers.data_adapters import data_adapter_utils as utils
from graphkeras.trainers.data_adapters.data_adapter import DataAdapter

DENSE_LIMIT = 1 << 30  # bytes; larger sparse matrices are made dense batch by batch


class ArrayDataAdapter(DataAdapter):
    """Arrays (or nested structures of them) cut into batches along their first axis.

    Args:
        x, y, sample_weight: array-likes or structures of them, all with the same number of samples.
        batch_size: samples per batch; default ceil(n / steps) if `steps` is given, else 32.
        steps: batches per epoch that the caller asked for.
        shuffle: True permutes the samples each epoch, "batch" permutes within each batch, False keeps the order.
        class_weight: {class: weight}, turned into sample weights.
    """

    def __init__(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        batch_size: int | None = None,
        steps: int | None = None,
        shuffle: bool | str = False,
        class_weight: Any = None,
    ) -> None:
        if not can_convert_arrays((x, y, sample_weight)):
            raise ValueError(f"Expected all elements of `x` to be array-like. Received invalid types: x={x}")
        if class_weight is not None:
            if sample_weight is not None:
                raise ValueError("You cannot specify `class_weight` and `sample_weight` at the same time.")
            sample_weight = _class_weights(y, class_weight)
        elif sample_weight is not None:
            sample_weight = _per_output(y, sample_weight)
        self.num_samples = utils.check_data_cardinality(x, y, sample_weight)
        self._sparse = False
        parts = (("x", x), ("y", y), ("sample_weight", sample_weight))
        self.data = utils.pack_x_y_sample_weight(*(self._convert(label, part) for label, part in parts))
        self._batch_size = _batch_size(self.num_samples, batch_size, steps)
        self.shuffle = shuffle

    @property
    def is_resident(self) -> bool:  # type: ignore[override]
        return not self._sparse

    @property
    def num_batches(self) -> int:
        return math.ceil(self.num_samples / self._batch_size)

    @property
    def batch_size(self) -> int:
        return self._batch_size

    @property
    def has_partial_batch(self) -> bool:
        return self.partial_batch_size > 0

    @property
    def partial_batch_size(self) -> int:
        return self.num_samples % self._batch_size

    def order(self) -> np.ndarray | None:
        """The samples' order in the next pass as an int64 permutation; None for the order they have."""
        n = self.num_samples
        if not self.shuffle:
            return None
        if self.shuffle != "batch":
            return np.random.permutation(n).astype(np.int64, copy=False)
        whole = n - self.partial_batch_size
        order = np.arange(n, dtype=np.int64)
        rows = order[:whole].reshape(-1, self._batch_size)
        order[:whole] = np.random.default_rng(np.random.randint(2**31)).permuted(rows, axis=1).reshape(-1)
        np.random.shuffle(order[whole:])
        return order

    def batches(self) -> Iterator[Any]:
        order = self.order()
        for start in range(0, self.num_samples, self._batch_size):
            stop = min(start + self._batch_size, self.num_samples)
            rows: Any = slice(start, stop) if order is None else order[start:stop]
            yield tree.map_structure(lambda a, rows=rows: _rows(a, rows), self.data)

    def _convert(self, label: str, part: Any) -> Any:
        def convert(path: Any, leaf: Any) -> Any:
            if leaf is None:
                return None
            if utils.is_scipy_sparse(leaf) and math.prod(leaf.shape) * 8 > DENSE_LIMIT:
                self._sparse = True
                return leaf.tocsr()
            return utils.standardize(leaf, label + "".join(f"[{p!r}]" for p in path))

        leaves = [convert(path, leaf) for path, leaf in tree.flatten_with_path(part)]
        return tree.pack_sequence_as(part, leaves)


def can_convert_arrays(arrays: Any) -> bool:
    """True if every leaf is None or array-like, and at least one is."""
    leaves = tree.flatten(arrays)
    return all(leaf is None or utils.is_array_like(leaf) for leaf in leaves) and any(x is not None for x in leaves)


def _rows(array: Any, rows: Any) -> Any:
    if array is None:
        return None
    return utils.standardize(array[rows], "x") if utils.is_scipy_sparse(array) else array[rows]


def _batch_size(n: int, batch_size: int | None, steps: int | None) -> int:
    if batch_size is None:
        return math.ceil(n / steps) if steps else 32
    if isinstance(batch_size, bool) or int(batch_size) != batch_size or batch_size < 1:
        raise ValueError(f"`batch_size` must be a positive integer. Received: batch_size={batch_size!r}")
    return int(batch_size)


def _class_weights(y: Any, class_weight: Any) -> Any:
    """Sample weights from class weights; with several outputs the class weights come per output."""
    if not tree.is_nested(y):
        return utils.class_weight_to_sample_weights(utils.to_numpy(y), class_weight)
    if isinstance(y, dict) and isinstance(class_weight, dict) and set(class_weight) <= set(y):
        return {k: _class_weights_or_ones(v, class_weight.get(k)) for k, v in y.items()}
    if isinstance(y, (list, tuple)) and isinstance(class_weight, (list, tuple)) and len(class_weight) == len(y):
        return type(y)(_class_weights_or_ones(v, w) for v, w in zip(y, class_weight, strict=True))
    raise ValueError(
        "`class_weight` is only supported for Models with a single output; for a model with several outputs give one "
        "dict per output, in a list or dict of the same structure as `y`. "
        f"Received: class_weight={class_weight}"
    )


def _class_weights_or_ones(y: Any, class_weight: Any) -> np.ndarray:
    return utils.class_weight_to_sample_weights(utils.to_numpy(y), class_weight or {})


def _per_output(y: Any, sample_weight: Any) -> Any:
    """Sample weights in the structure of `y`: one flat array is repeated for every output."""
    if not tree.is_nested(y):
        return sample_weight
    if tree.is_nested(sample_weight):
        try:
            tree.assert_same_structure(y, sample_weight)
        except ValueError:
            raise ValueError(
                "You should provide one `sample_weight` array per output in `y`. The two structures did not match:\n"
                f"- y: {tree.map_structure(lambda _: '*', y)}\n"
                f"- sample_weight: {tree.map_structure(lambda _: '*', sample_weight)}"
            ) from None
        return sample_weight
    shape = tuple(sample_weight.shape)
    if len(shape) != 1 and not (len(shape) == 2 and shape[1] == 1):
        raise ValueError(
            "For a model with multiple outputs, a single `sample_weight` array should only have one scalar score per "
            f"sample (shape (n,)). Received shape {shape}. Pass one array per output for weights of other shapes."
        )
    return tree.map_structure(lambda _: sample_weight, y)


def train_validation_split(arrays: Any, validation_split: float) -> tuple[Any, Any]:
    """The first and the last part of (x, y, sample_weight), the last holding the share `validation_split`."""
    leaves = [leaf for leaf in tree.flatten(arrays) if leaf is not None]
    wrong = [type(leaf) for leaf in leaves if not utils.is_array_like(leaf)]
    if wrong:
        raise ValueError(
            "Argument `validation_split` is only supported for tensors or NumPy arrays. "
            f"Found incompatible type in the input: {wrong}. Pass `validation_data` instead."
        )
    if not leaves:
        return arrays, arrays
    if not 0.0 < validation_split < 1.0:
        raise ValueError(f"`validation_split` must lie between 0 and 1. Received: validation_split={validation_split}")
    n = utils.check_data_cardinality(*arrays)
    split = math.floor(n * (1.0 - validation_split))
    if split in (0, n):
        raise ValueError(
            f"Training data contains {n} samples, which is not sufficient to split it into a validation and training "
            f"set as specified by `validation_split={validation_split}`. Either provide more data, or a different "
            "value for the `validation_split` argument."
        )

    def part(leaf: Any, rows: slice) -> Any:
        if leaf is None:
            return None
        if utils.is_scipy_sparse(leaf):
            return leaf.tocsr()[rows]
        return utils.to_numpy(leaf)[rows]

    train = tree.map_structure(lambda leaf: part(leaf, slice(0, split)), arrays)
    return train, tree.map_structure(lambda leaf: part(leaf, slice(split, n)), arrays)
