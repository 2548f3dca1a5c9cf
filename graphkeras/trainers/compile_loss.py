"""The losses of a compiled model: one per output, weighted, summed and tracked."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from graphkeras import losses as losses_module
from graphkeras import metrics as metrics_module
from graphkeras import ops
from graphkeras.core import tree
from graphkeras.core.errors import describe
from graphkeras.trainers.compile_utils import get_loss


class OutputLoss(NamedTuple):
    """One loss: where its tensors are, what computes it, its weight in the total, its name."""

    path: tuple[Any, ...]
    loss: Any
    weight: float | None
    name: str


class _Entry(NamedTuple):
    """Leaf of the loss structure while it is matched (a NamedTuple would be walked, so it is wrapped in `_Box`)."""

    loss: Any
    weight: Any


class _Box:
    def __init__(self, entry: _Entry) -> None:
        self.loss, self.weight = entry


class CompileLoss(losses_module.Loss):
    """What `compile(loss=..., loss_weights=...)` asked for, matched with the outputs at the first batch.

    The value is the weighted sum over the outputs. With more than one loss, `metrics` holds the mean of each
    (unweighted) under `{output}_loss`.

    Args:
        loss: one identifier for all outputs, or a list, tuple or dict of them; None for an output without loss.
        loss_weights: float, or the same structure of floats.
        output_names: the model's output names in order.
    """

    def __init__(
        self,
        loss: Any,
        loss_weights: Any = None,
        reduction: str = "sum_over_batch_size",
        output_names: Any = None,
    ) -> None:
        if loss_weights and not isinstance(loss_weights, (list, tuple, dict, float, int)):
            raise ValueError(
                "Expected `loss_weights` argument to be a float (single output case) or a list, tuple, or dict "
                f"(multiple output case). Received instead: loss_weights={loss_weights} of type {type(loss_weights)}"
            )
        super().__init__(name="compile_loss", reduction=reduction)
        self._user_loss = loss
        self._user_loss_weights = loss_weights
        self.output_names = output_names
        self.built = False
        self._losses: list[OutputLoss] = []
        self._metrics: list[Any] = []
        self._pred_structure: Any = None

    @property
    def metrics(self) -> list[Any]:
        return self._metrics

    @property
    def losses(self) -> list[OutputLoss]:
        """The losses in order, once built."""
        return self._losses

    @property
    def variables(self) -> list[Any]:
        return [v for m in self._metrics for v in m.variables]

    # -- matching ----------------------------------------------------------------------------------
    def build(self, y_true: Any, y_pred: Any) -> None:
        """Match the losses with targets and outputs of these structures."""
        loss, weights = self._ordered(y_pred)
        self._check_count(loss, y_pred)
        loss = self._with_weights(loss, weights)
        names = list(self.output_names or [])
        if isinstance(loss, dict) and not tree.is_nested(y_pred) and list(loss) == names:
            loss = loss[names[0]]
        leaves = tree.flatten(y_pred)
        if len(names) != len(leaves):
            names = [None] * len(leaves)
        labels = tree.pack_sequence_as(y_pred, names)
        if not tree.is_nested(loss):
            shared = loss
            loss = tree.map_structure(lambda _: shared, y_pred)
        self._losses = []
        self._walk(loss, y_true, y_pred, labels, ())
        if len(self._losses) > 1:
            self._metrics = [metrics_module.Mean(name=f"{entry.name}_loss") for entry in self._losses]
        self._pred_structure = tree.map_structure(lambda _: None, y_pred)
        self.built = True

    def _check_count(self, loss: Any, y_pred: Any) -> None:
        count = len(tree.flatten(y_pred))
        flat = isinstance(loss, (list, tuple)) and not any(tree.is_nested(entry) for entry in loss)
        if flat and tree.is_nested(y_pred) and len(loss) not in (count, len(y_pred)):
            raise ValueError(
                f"`loss` is a list of {len(loss)} for a model with {count} outputs "
                f"{self.output_names or ''}. Give one entry per output (None for an output without loss), or a single "
                "loss for all."
            )

    def _ordered(self, y_pred: Any) -> tuple[Any, Any]:
        """A dict by output names as a list by position, where the outputs are a list."""
        loss, weights = self._user_loss, self._user_loss_weights
        if not (self.output_names and isinstance(loss, dict)) or isinstance(y_pred, dict):
            return loss, weights
        if set(self.output_names) != set(loss):
            raise ValueError(
                f"Expected keys {self.output_names} in loss dict, but found loss.keys()={list(loss)}. The keys are the "
                "names of the layers that produce the outputs."
            )
        if isinstance(weights, dict):
            weights = [weights.get(name) for name in self.output_names]
        loss = [loss[name] for name in self.output_names]
        if not tree.is_nested(y_pred):
            return loss[0], weights[0] if isinstance(weights, list) else weights
        return loss, weights

    def _with_weights(self, loss: Any, weights: Any) -> Any:
        def box(item: Any, weight: Any = None) -> Any:
            return None if item is None else _Box(_Entry(item, weight))

        if weights is None:
            return tree.map_structure(box, loss)
        if isinstance(loss, dict) and isinstance(weights, dict) and set(weights) <= set(loss):
            weights = {k: weights.get(k, tree.map_structure(lambda _: None, v)) for k, v in loss.items()}
        try:
            tree.assert_same_structure(loss, weights)
        except ValueError:
            flat = tree.flatten(weights)
            count = len(tree.flatten(loss))
            if count == 1 and len(flat) > 1 and not tree.is_nested(loss):
                return [box(loss, w) for w in flat]
            if count != len(flat):
                raise ValueError(
                    f"`loss_weights` must match the number of losses, got {count} losses and {len(flat)} weights. "
                    f"Received: loss_weights={weights}"
                ) from None
            weights = tree.pack_sequence_as(loss, flat)
        return tree.map_structure(box, loss, weights)

    def _walk(self, loss: Any, y_true: Any, y_pred: Any, labels: Any, path: tuple[Any, ...]) -> None:
        """Collect the losses below one place of the outputs."""
        if loss is None:
            return
        if isinstance(loss, _Box):
            if tree.is_nested(y_pred) and tree.is_nested(labels) and not _takes_structure(loss.loss):
                for key, part in _items(y_pred):
                    self._walk(loss, _part(y_true, key, (*path, key)), part, labels[key], (*path, key))
                return
            self._add(loss, y_true, y_pred, labels, path)
            return
        if isinstance(loss, (list, tuple)):
            leaves = tree.flatten(y_pred)
            if len(loss) == len(leaves) and not any(tree.is_nested(entry) for entry in loss) and tree.is_nested(y_pred):
                loss = tree.pack_sequence_as(y_pred, loss)
            elif not isinstance(y_pred, type(loss)):
                for entry in loss:  # several losses on one output, or on all of them together
                    self._walk(entry, y_true, y_pred, labels, path)
                return
        kinds = (list, tuple) if isinstance(loss, (list, tuple)) else dict
        if not isinstance(y_pred, kinds):
            raise KeyError(
                f"The path: {path} in the `loss` argument, can't be found in the model's output (`y_pred`), which is "
                f"a {type(y_pred).__name__} there. Received: loss entries {[key for key, _ in _items(loss)]}. Pass "
                "one loss where there is one output, or a list or dict in the structure of the outputs."
            )
        for key, entry in _items(loss):
            if entry is not None:
                _check_key(key, path, y_true, y_pred)
                self._walk(entry, y_true[key], y_pred[key], labels[key], (*path, key))

    def _add(self, box: _Box, y_true: Any, y_pred: Any, label: Any, path: tuple[Any, ...]) -> None:
        loss = get_loss(box.loss, y_true, y_pred)
        # By the keys of a dict, else by the layers that produce the outputs.
        places = tree.flatten_with_path(label)
        flat = [where[-1] if where and isinstance(where[-1], str) else name for where, name in places]
        output = loss.name if None in flat else "_".join(flat)
        named = path
        if not path:
            named = (output,)
        elif isinstance(path[-1], int):
            named = (*path[:-1], output)
        self._losses.append(OutputLoss(path, loss, box.weight, "/".join(map(str, named))))

    # -- value -------------------------------------------------------------------------------------
    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        return self.call(y_true, y_pred, sample_weight)

    def call(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:  # type: ignore[override]
        """The total loss, or None if no output has one."""
        if tree.is_nested(y_true) or tree.is_nested(y_pred):
            y_true = self.align(y_true, y_pred)
        if not self.built:
            self.build(y_true, y_pred)
        if not _same_structure(self._pred_structure, y_pred):
            y_pred = tree.pack_sequence_as(self._pred_structure, tree.flatten(y_pred))
        total = None
        trackers: Iterable[Any] = self._metrics or [None] * len(self._losses)
        for (path, loss, weight, _), tracker in zip(self._losses, trackers, strict=True):
            y_p = _at(y_pred, path)
            scale = _at(sample_weight, path) if tree.is_nested(sample_weight) else sample_weight
            value = loss(_at(y_true, path), y_p, scale)
            if value is None:
                raise ValueError(f"The loss {loss.name!r} returned None instead of a tensor: is a `return` missing?")
            value = ops.cast(value, self.dtype)
            if tracker is not None:
                tracker.update_state(value, sample_weight=tree.flatten(y_p)[0].shape[0])
            if weight is not None:
                value = ops.multiply(value, weight)
            total = value if total is None else ops.add(total, value)
        return total

    def align(self, y_true: Any, y_pred: Any) -> Any:
        """The targets in the structure of the outputs."""
        if _same_structure(y_pred, y_true):
            return y_true
        if not tree.is_nested(y_true) and tree.is_nested(y_pred) and len(y_pred) == 1:
            y_true = [y_true]
        by_name = isinstance(y_pred, (list, tuple)) and isinstance(y_true, dict)
        if by_name and set(self.output_names or ()) == set(y_true):
            y_true = [y_true[name] for name in self.output_names]
        if by_name and isinstance(y_true, dict) and self.output_names and set(y_true) - set(self.output_names):
            raise ValueError(
                f"The targets `y` are a dict with the keys {list(y_true)}, but the outputs are named "
                f"{list(self.output_names)} (after the layers that produce them). Rename the keys, or give a list."
            )
        flat, wanted = tree.flatten(y_true), len(tree.flatten(y_pred))
        same_paths = {p for p, _ in tree.flatten_with_path(y_true)} == {p for p, _ in tree.flatten_with_path(y_pred)}
        shallow = tree.is_nested(y_true) and len(y_true) == len(flat)
        if same_paths or (shallow and len(flat) == wanted and not isinstance(y_true, dict)):
            return tree.pack_sequence_as(y_pred, flat)
        losses = tree.flatten(self._user_loss)
        used = [i for i, entry in enumerate(losses) if entry is not None]
        if tree.is_nested(self._user_loss) and len(used) == len(flat):
            spread: list[Any] = [None] * len(losses)
            for i, target in zip(used, flat, strict=True):
                spread[i] = target
            return tree.pack_sequence_as(self._user_loss, spread)
        names = f" (outputs {self.output_names})" if self.output_names else ""
        raise ValueError(
            f"y_true and y_pred have different structures: the targets `y` must have one entry per output{names}, in a "
            "list by position or a dict by output name.\n"
            f"y_true: {tree.map_structure(_shape_of, y_true)}\n"
            f"y_pred: {tree.map_structure(_shape_of, y_pred)}"
        )

    def get_config(self) -> dict[str, Any]:
        raise NotImplementedError("Compiled losses belong to their model; use model.get_compile_config().")


def _takes_structure(loss: Any) -> bool:
    """Whether a loss is the user's own code, which is given all outputs below its place; ours work on one tensor."""
    return not isinstance(loss, str) and not str(getattr(loss, "__module__", "")).startswith("graphkeras.")


def _shape_of(x: Any) -> Any:
    return describe(x) if x is not None else None


def _same_structure(a: Any, b: Any) -> bool:
    try:
        tree.assert_same_structure(a, b)
    except ValueError:
        return False
    return True


def _items(structure: Any) -> list[tuple[Any, Any]]:
    return list(structure.items()) if isinstance(structure, dict) else list(enumerate(structure))


def _at(structure: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        if isinstance(structure, dict) and key not in structure:
            return None
        structure = structure[key]
    return structure


def _part(y_true: Any, key: Any, path: tuple[Any, ...]) -> Any:
    _check_key(key, path[:-1], y_true)
    return y_true[key]


def _check_key(key: Any, path: tuple[Any, ...], *structures: Any) -> None:
    for structure in structures:
        inside = key in structure if isinstance(structure, dict) else tree.is_nested(structure) and key < len(structure)
        if not inside:
            there = list(structure) if isinstance(structure, dict) else tree.map_structure(describe, structure)
            raise KeyError(
                f"The path: {(*path, key)} in the `loss` argument, can't be found in either the model's output "
                f"(`y_pred`) or in the labels (`y_true`). Found there: {there}"
            )
