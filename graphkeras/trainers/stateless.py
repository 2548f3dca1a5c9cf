"""Steps as functions of the state: `train_step(self, state, data)` returns `(logs, state)`.

The state is a tuple of lists of tensors: the values of the trainable variables, of the other ones, of the optimizer's
and of the metrics'. A step of this form reads its state from the argument and assigns nothing; what it returns is
assigned to the variables here, inside the same graph, so that it is compiled like any other step.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from graphkeras.core import tree
from graphkeras.core.derivatives import value_and_grad
from graphkeras.core.scopes import StatelessScope
from graphkeras.core.trace import origin
from graphkeras.core.variable import Variable
from graphkeras.trainers.data_adapters import data_adapter_utils as utils

METHODS = {"train": "train_step", "test": "test_step", "predict": "predict_step"}
GROUPS = {
    "train": ("trainable_variables", "non_trainable_variables", "optimizer_variables", "metrics_variables"),
    "test": ("trainable_variables", "non_trainable_variables", "metrics_variables"),
    "predict": ("trainable_variables", "non_trainable_variables"),
}


def takes_state(function: Callable[..., Any]) -> bool:
    """Whether a step is written as a function of `(state, data)`: it needs two arguments."""
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(function).parameters.values()
    return sum(p.kind in positional and p.default is p.empty for p in parameters) == 2


def run_step(model: Any, mode: str, batch: Any) -> Any:
    """What the model's step for `mode` reports for a batch; its state is read from and put into the variables."""
    step = getattr(model, METHODS[mode])
    return call_with_state(model, mode, step, batch) if takes_state(step) else step(batch)


def call_with_state(model: Any, mode: str, function: Callable[..., Any], data: Any) -> Any:
    """`function(state, data)` with the present state; assigns the state that it returns, returns the rest."""
    groups = variables_of(model, mode)
    before = tuple([v.value for v in group] for group in groups)
    name = f"{type(model).__name__}.{METHODS[mode]}(state, data)"
    returned = function(before, data)
    if not isinstance(returned, tuple) or len(returned) != 2:
        raise ValueError(
            f"{name} must return {_expected(mode)}. Received: {returned!r} (of type {type(returned).__name__})."
        )
    result, after = returned
    if mode == "predict":  # a prediction changes no weights: Keras has the step return the others only
        after = (before[0], after)
    if not isinstance(after, (tuple, list)) or len(after) != len(groups):
        raise ValueError(f"{name} must return {_expected(mode)}. Received a state with {_count(after)} parts.")
    for label, group, old, new in zip(GROUPS[mode], groups, before, after, strict=True):
        _assign(f"{name}: `{label}`", group, old, list(new))
    return result


def variables_of(model: Any, mode: str) -> tuple[list[Variable], ...]:
    """The variables behind each part of the state."""
    optimizer = model.optimizer
    groups = {"optimizer_variables": [] if optimizer is None else optimizer.variables}
    return tuple(groups[name] if name in groups else getattr(model, name) for name in GROUPS[mode])


def _assign(what: str, variables: Sequence[Variable], old: Sequence[Any], new: Sequence[Any]) -> None:
    if len(new) != len(variables):
        raise ValueError(
            f"{what} of the returned state must hold one value per variable. Expected {len(variables)}, received "
            f"{len(new)}. Return the list as it was given where the step does not change it."
        )
    for variable, before, after in zip(variables, old, new, strict=True):
        if after is not before and after is not variable:
            variable.assign(after)


def _expected(mode: str) -> str:
    names = ", ".join(GROUPS[mode])
    return "(outputs, non_trainable_variables)" if mode == "predict" else f"(logs, ({names}))"


def _count(x: Any) -> str:
    return str(len(x)) if isinstance(x, (tuple, list)) else f"no parts ({type(x).__name__})"


class StatelessSteps:
    """What `Trainer` inherits: losses and whole steps as functions of the values of all variables."""

    optimizer: Any

    def stateless_compute_loss(
        self,
        trainable_variables: Any,
        non_trainable_variables: Any,
        metrics_variables: Any,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """`compute_loss` with given values of the variables, changing nothing.

        Returns the loss, and the three lists of values with what `compute_loss` assigned.

        Example:

        >>> import numpy as np, graphkeras as keras
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> values = ([v.value for v in model.trainable_variables], [], [v.value for v in model.metrics_variables])
        >>> loss, _ = model.stateless_compute_loss(*values, y=np.ones((4, 1)), y_pred=np.zeros((4, 1)))
        >>> float(loss)
        1.0
        """
        given = (trainable_variables, non_trainable_variables, metrics_variables)
        names = GROUPS["test"]
        groups = [getattr(self, name) for name in names]
        for name, group, values in zip(names, groups, given, strict=True):
            if len(group) != len(values):
                raise ValueError(
                    f"stateless_compute_loss(): `{name}` must hold one value per variable of the model's `{name}`. "
                    f"Expected {len(group)}, received {len(values)}."
                )
        pairs = [pair for group, values in zip(groups, given, strict=True) for pair in zip(group, values, strict=True)]
        with StatelessScope(state_mapping=pairs) as scope:
            loss = self._compute_loss(x, y, y_pred, sample_weight, training=training)  # type: ignore[attr-defined]
        return loss, tuple([scope.get_current_value(v) for v in group] for group in groups)

    def compute_loss_and_updates(
        self,
        trainable_variables: Any,
        non_trainable_variables: Any,
        metrics_variables: Any,
        x: Any,
        y: Any,
        sample_weight: Any,
        training: bool = False,
        optimizer_variables: Any = None,
    ) -> Any:
        """Forward pass and loss as a function of the state, for `keras.value_and_grad(..., has_aux=True)`.

        Returns:
            `(loss, (unscaled_loss, y_pred, non_trainable_variables, metrics_variables))`. The first loss is scaled by
            the optimizer while training (float16); losses added by layers and regularization are part of both.
        """
        more = {"training": training} if self._call_has_training_arg else {}  # type: ignore[attr-defined]
        y_pred, non_trainable_variables, losses = self.stateless_call(  # type: ignore[attr-defined]
            trainable_variables, non_trainable_variables, x, return_losses=True, **more
        )
        self.__dict__["_losses_override"] = losses
        try:
            loss, (_, non_trainable_variables, metrics_variables) = self.stateless_compute_loss(
                trainable_variables,
                non_trainable_variables,
                metrics_variables,
                x=x,
                y=y,
                y_pred=y_pred,
                sample_weight=sample_weight,
                training=training,
            )
        finally:
            self.__dict__.pop("_losses_override", None)
        scaled = loss
        if training and self.optimizer is not None:
            known = list(zip(self.optimizer.variables, optimizer_variables or (), strict=bool(optimizer_variables)))
            with StatelessScope(state_mapping=known):
                scaled = self.optimizer.scale_loss(loss)
        return scaled, (loss, y_pred, non_trainable_variables, metrics_variables)

    def _train_step_of_state(self, state: Any, data: Any) -> Any:
        """`train_step` as a function of `(state, data)`."""
        trainable, non_trainable, optimizer_variables, metrics_variables = state
        x, y, sample_weight = utils.unpack_x_y_sample_weight(data)
        function = value_and_grad(self.compute_loss_and_updates, has_aux=True)
        more = {"training": True, "optimizer_variables": optimizer_variables}
        (_, aux), gradients = function(trainable, non_trainable, metrics_variables, x, y, sample_weight, **more)
        loss, y_pred, non_trainable, metrics_variables = aux
        if trainable and self.optimizer is not None:
            trainable, optimizer_variables = self.optimizer.stateless_apply(optimizer_variables, gradients, trainable)
        logs, metrics_variables = self._update_metrics_of_state(metrics_variables, loss, x, y, y_pred, sample_weight)
        return logs, (trainable, non_trainable, optimizer_variables, metrics_variables)

    def _test_step_of_state(self, state: Any, data: Any) -> Any:
        """`test_step` as a function of `(state, data)`."""
        trainable, non_trainable, metrics_variables = state
        x, y, sample_weight = utils.unpack_x_y_sample_weight(data)
        _, aux = self.compute_loss_and_updates(trainable, non_trainable, metrics_variables, x, y, sample_weight)
        loss, y_pred, non_trainable, metrics_variables = aux
        logs, metrics_variables = self._update_metrics_of_state(metrics_variables, loss, x, y, y_pred, sample_weight)
        return logs, (trainable, non_trainable, metrics_variables)

    def _predict_step_of_state(self, state: Any, data: Any) -> Any:
        """`predict_step` as a function of `(state, data)`."""
        more = {"training": False} if self._call_has_training_arg else {}  # type: ignore[attr-defined]
        x, _, _ = utils.unpack_x_y_sample_weight(data)
        return self.stateless_call(*state, x, **more)  # type: ignore[attr-defined]

    def _update_metrics_of_state(
        self, metrics_variables: Any, loss: Any, x: Any, y: Any, y_pred: Any, sample_weight: Any
    ) -> tuple[Any, list[Any]]:
        own = self.metrics_variables  # type: ignore[attr-defined]
        with origin(layer="metrics"), StatelessScope(zip(own, metrics_variables, strict=True)) as scope:
            self._track_loss(loss, x)  # type: ignore[attr-defined]
            logs = self.compute_metrics(x, y, y_pred, sample_weight)  # type: ignore[attr-defined]
            logs = tree.map_structure(lambda v: v.value if isinstance(v, Variable) else v, logs)
        return logs, [scope.get_current_value(v) for v in own]
