"""Losses and metrics of a compiled model: which belongs to which output, how they are called, weighted and named."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from graphkeras import losses as losses_module
from graphkeras import metrics as metrics_module
from graphkeras.core import tree
from graphkeras.core.naming import to_snake_case
from graphkeras.metrics.metric import Metric

ACCURACY = ("accuracy", "acc")
CROSSENTROPY = ("crossentropy", "ce")


# -- identifiers ------------------------------------------------------------------------------------
def target_kind(y_true: Any, y_pred: Any) -> str:
    """ "binary", "sparse" (integer labels) or "categorical" (one-hot), from the shapes of targets and outputs."""
    if y_pred.shape[-1] == 1:
        return "binary"
    fewer = len(y_true.shape) < len(y_pred.shape)
    return "sparse" if fewer or (y_true.shape[-1] == 1 and y_pred.shape[-1] > 1) else "categorical"


def _object_name(obj: Any) -> str:
    if hasattr(obj, "name"):
        return obj.name
    name = getattr(obj, "__name__", None) or type(obj).__name__
    return to_snake_case(name.replace("<lambda>", "lambda"))


def get_metric(identifier: Any, y_true: Any, y_pred: Any) -> Any:
    """The Metric for a string, function or instance; "accuracy" and "crossentropy" choose by the shapes."""
    if identifier is None:
        raise ValueError("Expected a metric, received None. Remove the None, or name one metric (or []) per output.")
    word = identifier.lower() if isinstance(identifier, str) else None
    if word in ACCURACY or word in CROSSENTROPY:
        prefix = {"binary": "Binary", "sparse": "SparseCategorical", "categorical": "Categorical"}
        suffix = "Accuracy" if word in ACCURACY else "Crossentropy"
        metric = getattr(metrics_module, prefix[target_kind(y_true, y_pred)] + suffix)(name=identifier)
    else:
        metric = metrics_module.get(identifier)
    name = identifier if isinstance(identifier, str) else _object_name(metric)
    if not isinstance(metric, Metric):
        return metrics_module.MeanMetricWrapper(metric, name=name)
    if metric.name != name:
        metric.name = name
    return metric


def get_loss(identifier: Any, y_true: Any, y_pred: Any) -> Any:
    """The Loss for a string, function or instance; "crossentropy" chooses by the shapes. None stays None."""
    if identifier is None:
        return None
    loss = identifier
    if isinstance(identifier, str) and identifier.lower() in CROSSENTROPY:
        name = {"binary": "binary", "sparse": "sparse_categorical", "categorical": "categorical"}
        loss = f"{name[target_kind(y_true, y_pred)]}_crossentropy"
    loss = losses_module.get(loss)
    if isinstance(loss, losses_module.Loss):
        return loss
    name = identifier if isinstance(identifier, str) else _object_name(loss)
    from graphkeras.losses.wrapper import LossFunctionWrapper

    return LossFunctionWrapper(loss, name=name)


def check_identifiers(loss: Any, *metrics: Any) -> None:
    """Resolve every string once, so that a misspelt one fails in compile() and not at the first batch."""
    for leaf in tree.flatten(loss):
        if isinstance(leaf, str) and leaf.lower() not in CROSSENTROPY:
            losses_module.get(leaf)
    for leaf in tree.flatten(metrics):
        if isinstance(leaf, str) and leaf.lower() not in (*ACCURACY, *CROSSENTROPY):
            metrics_module.get(leaf)


# -- metrics ----------------------------------------------------------------------------------------
class MetricsList(Metric):
    """The metrics of one output, called together."""

    def __init__(self, metrics: Sequence[Any], name: str = "metrics_list", output_name: str | None = None) -> None:
        super().__init__(name=name)
        self.metrics = list(metrics)
        self.output_name = output_name

    def _single_metrics(self) -> list[Any]:
        return list(self.metrics)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        for metric in self.metrics:
            metric.update_state(y_true, y_pred, sample_weight=sample_weight)

    def reset_state(self) -> None:
        for metric in self.metrics:
            metric.reset_state()

    def result(self) -> dict[str, Any]:
        return {m.name: m.result() for m in self.metrics}

    def get_config(self) -> dict[str, Any]:
        raise NotImplementedError("A list of metrics belongs to its model; serialize the metrics one by one.")


class CompileMetrics(Metric):
    """What `compile(metrics=..., weighted_metrics=...)` asked for, matched with the outputs at the first batch.

    Args:
        metrics, weighted_metrics: list, tuple or dict of identifiers; with several outputs one entry per output, by
            position, by name, or in the structure of the outputs.
        output_names: the model's output names in order.
    """

    def __init__(
        self, metrics: Any, weighted_metrics: Any, name: str = "compile_metric", output_names: Any = None
    ) -> None:
        super().__init__(name=name)
        for argument, value in (("metrics", metrics), ("weighted_metrics", weighted_metrics)):
            if value and not isinstance(value, (list, tuple, dict)):
                raise ValueError(
                    f"Expected `{argument}` argument to be a list, tuple, or dict. "
                    f"Received instead: {argument}={value} of type {type(value)}. Write {argument}=[{value!r}]."
                )
        self._user_metrics = metrics
        self._user_weighted_metrics = weighted_metrics
        self.built = False
        self.name = "compile_metrics"
        self.output_names = output_names
        self._plain: list[MetricsList | None] = []
        self._weighted: list[MetricsList | None] = []
        self._keys: list[Any] | None = None  # of a flat dict of outputs, in order

    @property
    def metrics(self) -> list[Any]:
        return [m for entry in (*self._plain, *self._weighted) if entry is not None for m in entry.metrics]

    @property
    def variables(self) -> list[Any]:
        return [v for m in self.metrics for v in m.variables]

    def build(self, y_true: Any, y_pred: Any) -> None:
        """Make the metrics for targets and outputs of these structures and shapes."""
        count = len(tree.flatten(y_pred))
        flat = tree.is_nested(y_pred) and len(y_pred) == count
        names = self.output_names
        if flat and isinstance(y_pred, dict) and not (names and set(y_pred) == set(names)):
            names = list(y_pred) if isinstance(y_pred, OrderedDict) else sorted(y_pred)
        self._keys = list(names) if count > 1 and flat and names else None
        self._plain = self._match(self._user_metrics, y_true, y_pred, count, flat, names, "metrics")
        self._weighted = self._match(
            self._user_weighted_metrics, y_true, y_pred, count, flat, names, "weighted_metrics"
        )
        self.built = True

    def _match(
        self, metrics: Any, y_true: Any, y_pred: Any, count: int, flat: bool, names: Any, argument: str
    ) -> list[MetricsList | None]:
        if not metrics:
            return [None] * count
        if count == 1:
            return [_metrics_list(tree.flatten(metrics), tree.flatten(y_true)[0], tree.flatten(y_pred)[0], None)]
        per_output: Any = None
        if flat and isinstance(metrics, (list, tuple)) and len(metrics) == count:
            per_output = metrics
        elif flat and names and isinstance(metrics, dict) and set(metrics) <= set(names):
            per_output = [metrics.get(name) for name in names]
        try:
            if per_output is not None:
                rows = zip(per_output, self._flat(y_true), self._flat(y_pred), names or [None] * count, strict=True)
                return [_metrics_list(*row) for row in rows]
            shape = tree.lists_to_tuples(y_pred)
            labels = tree.pack_sequence_as(shape, names or [None] * count)
            parts = (tree.lists_to_tuples(metrics), tree.lists_to_tuples(y_true), shape, labels)
            return tree.flatten(tree.map_structure_up_to(shape, _metrics_list, *parts))
        except (ValueError, TypeError) as error:
            structure = tree.map_structure(lambda _: "X", y_pred)
            raise ValueError(
                f"{error}\nInvalid `{argument}`. With {count} outputs it should contain metrics objects and either be "
                f"a dict or a list matching the output names {self.output_names} or match the output structure of the "
                f"model: {structure}.\nReceived: {argument}={metrics}"
            ) from error

    def _flat(self, y: Any) -> list[Any]:
        return [y[k] for k in self._keys] if isinstance(y, dict) and self._keys is not None else tree.flatten(y)

    def _single_metrics(self) -> list[Any]:
        return list(self.metrics)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        if not self.built:
            self.build(y_true, y_pred)
        targets, outputs = self._flat(y_true), self._flat(y_pred)
        for entry, y_t, y_p in zip(self._plain, targets, outputs, strict=False):
            if entry is not None:
                entry.update_state(y_t, y_p)
        weights: list[Any] = [None] * len(targets) if sample_weight is None else self._flat(sample_weight)
        if len(weights) < len(targets):
            weights = [weights[0]] * len(targets)
        for entry, y_t, y_p, weight in zip(self._weighted, targets, outputs, weights, strict=False):
            if entry is not None:
                entry.update_state(y_t, y_p, weight)

    def reset_state(self) -> None:
        for entry in (*self._plain, *self._weighted):
            if entry is not None:
                entry.reset_state()

    def result(self) -> dict[str, Any]:
        """All results by name: `{output}_` before it for several outputs, `_1`, `weighted_` for repeated ones."""
        if not self.built:
            raise ValueError("Cannot get result() of the compiled metrics before the first batch: they are not built.")
        results: dict[str, Any] = {}
        seen: dict[str, int] = {}
        for entries, weighted in ((self._plain, False), (self._weighted, True)):
            for entry in entries:
                if entry is None:
                    continue
                prefix = f"{entry.output_name}_" if entry.output_name else ""
                for metric in entry.metrics:
                    name = prefix + metric.name
                    if weighted and name in seen:
                        name = f"{prefix}weighted_{metric.name}"
                    results[_unique(name, seen)] = metric.result()
        return results

    def get_config(self) -> dict[str, Any]:
        raise NotImplementedError("Compiled metrics belong to their model; use model.get_compile_config().")


def _unique(name: str, seen: dict[str, int]) -> str:
    count = seen.get(name, 0)
    seen[name] = count + 1
    return name if not count else f"{name}_{count}"


def _metrics_list(metrics: Any, y_true: Any, y_pred: Any, output_name: str | None = None) -> MetricsList | None:
    if metrics is None:
        return None
    entries = metrics if isinstance(metrics, (list, tuple)) else [metrics]
    return MetricsList([get_metric(m, y_true, y_pred) for m in entries], output_name=output_name)
