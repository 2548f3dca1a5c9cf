"""Several optimizers, each for some of the variables."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from typing import Any

from graphkeras.optimizers.loss_scale_optimizer import LossScaleOptimizer
from graphkeras.optimizers.optimizer import Optimizer
from graphkeras.saving.serialization_lib import deserialize_keras_object, serialize_keras_object


class OptimizerMap(MutableMapping):
    """Which optimizer a variable gets: the one whose pattern matches the whole path, else the default.

    Args:
        default_optimizer: for variables that no pattern matches.
        optimizer_map: dict from regular expression to optimizer.

    Example:
        >>> import graphkeras as keras
        >>> choice = keras.optimizers.OptimizerMap(keras.optimizers.Adam())
        >>> choice["^embedding/.*"] = keras.optimizers.SGD()
    """

    def __init__(self, default_optimizer: Optimizer, optimizer_map: dict[str, Optimizer] | None = None) -> None:
        if not isinstance(default_optimizer, Optimizer):
            raise TypeError(f"default_optimizer must be a Keras Optimizer instance. Received: {default_optimizer}")
        if optimizer_map is not None and not isinstance(optimizer_map, dict):
            raise TypeError(f"optimizer_map must be a dictionary. Received: {optimizer_map}")
        self._default_optimizer = default_optimizer
        self._optimizer_map = optimizer_map or {}

    @property
    def default_optimizer(self) -> Optimizer:
        return self._default_optimizer

    def __call__(self, variable: Any) -> Optimizer:
        return self[variable.path]

    def __getitem__(self, key: str) -> Optimizer:
        if key in self._optimizer_map:
            return self._optimizer_map[key]
        matching = [pattern for pattern in self._optimizer_map if re.fullmatch(pattern, key)]
        if len(matching) > 1:
            raise ValueError(f"Multiple optimizers assigned to variable {key}: the patterns {matching} match it.")
        return self._optimizer_map[matching[0]] if matching else self._default_optimizer

    def __setitem__(self, key: str, optimizer: Optimizer) -> None:
        if not isinstance(key, str):
            raise ValueError(f"key must be a string. Received: {key}")
        if key in self._optimizer_map:
            raise ValueError(
                f"'{key}' already exists in the OptimizerMap with value {self._optimizer_map[key]}. Please make sure "
                "to not use duplicated keys."
            )
        if not isinstance(optimizer, Optimizer):
            raise ValueError(f"optimizer must be a Keras Optimizer instance. Received: {optimizer}")
        if isinstance(optimizer, (LossScaleOptimizer, MultiOptimizer)):
            raise ValueError(f"optimizer cannot be {type(optimizer).__name__}.")
        self._optimizer_map[key] = optimizer

    def __delitem__(self, key: str) -> None:
        del self._optimizer_map[key]

    def __len__(self) -> int:
        return len(self._optimizer_map)

    def __iter__(self) -> Iterator[str]:
        return iter(self._optimizer_map)

    def get_config(self) -> dict[str, Any]:
        return {
            "default_optimizer": serialize_keras_object(self._default_optimizer),
            "optimizer_map": serialize_keras_object(self._optimizer_map),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> OptimizerMap:
        parts = (config["default_optimizer"], config["optimizer_map"])
        return cls(*(deserialize_keras_object(part, custom_objects=custom_objects) for part in parts))


class MultiOptimizer(Optimizer):
    """Updates each variable with the optimizer that a map (or a function of the variable) gives it.

    Args:
        optimizer_map: `OptimizerMap`, or a function from variable to optimizer.
        loss_scale_factor: passed on to all optimizers.
        name: name.
    """

    def __init__(
        self,
        optimizer_map: OptimizerMap | Callable[[Any], Optimizer],
        loss_scale_factor: float | None = None,
        name: str | None = None,
    ) -> None:
        self.__dict__["_inner_optimizers"] = []
        super().__init__(learning_rate=0.0, loss_scale_factor=loss_scale_factor, name=name)
        self.__dict__["_optimizer_map"] = optimizer_map
        self._var_to_optimizer_idx: dict[int, int] = {}
        if isinstance(optimizer_map, OptimizerMap):
            for optimizer in (*optimizer_map.values(), optimizer_map.default_optimizer):
                self._index_of(optimizer)

    def _index_of(self, optimizer: Optimizer) -> int:
        for i, known in enumerate(self._inner_optimizers):
            if known is optimizer:
                return i
        optimizer.loss_scale_factor = self.loss_scale_factor
        self._inner_optimizers.append(optimizer)
        return len(self._inner_optimizers) - 1

    def build(self, variables: Sequence[Any]) -> None:
        if self.built:
            return
        for variable in variables:
            optimizer = self._optimizer_map(variable)
            if not isinstance(optimizer, Optimizer):
                raise ValueError(f"Optimizer for variable {variable} is not an Optimizer instance: {optimizer!r}.")
            if isinstance(optimizer, (LossScaleOptimizer, MultiOptimizer)):
                raise ValueError(f"{type(optimizer).__name__} cannot be used inside an MultiOptimizer.")
            self._var_to_optimizer_idx[id(variable)] = self._index_of(optimizer)
        for optimizer, own in zip(self._inner_optimizers, self._split(variables), strict=True):
            if own:
                optimizer.build([v for (v,) in own])
        super().build(variables)

    def _var_key(self, variable: Any) -> int:
        return id(variable)

    def _split(self, variables: Sequence[Any], *others: Sequence[Any]) -> list[list[tuple[Any, ...]]]:
        """For each optimizer, its variables (with the matching members of the other lists)."""
        parts: list[list[tuple[Any, ...]]] = [[] for _ in self._inner_optimizers]
        for row in zip(variables, *others, strict=True):
            parts[self._var_to_optimizer_idx[id(row[0])]].append(row)
        return parts

    @property
    def optimizers(self) -> list[Optimizer]:
        return self._inner_optimizers

    @property
    def variables(self) -> list[Any]:
        """Own variables, then those of the optimizers in their order."""
        return [*self._variables, *(v for optimizer in self._inner_optimizers for v in optimizer.variables)]

    @property
    def learning_rate(self) -> Any:
        raise AttributeError(
            "Learning rate cannot be accessed on a MultiOptimizer. Access the learning rate on the individual "
            "sub-optimizers instead."
        )

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        raise AttributeError(
            "Learning rate cannot be set on a MultiOptimizer. Set the learning rate on the individual sub-optimizers "
            "instead."
        )

    @property
    def loss_scale_factor(self) -> float | None:
        return self.__dict__.get("_loss_scale_factor")

    @loss_scale_factor.setter
    def loss_scale_factor(self, value: float | None) -> None:
        self.__dict__["_loss_scale_factor"] = value
        for optimizer in self._inner_optimizers:
            optimizer.loss_scale_factor = value

    @property
    def iterations(self) -> Any:
        return self._iterations

    def apply(self, grads: Sequence[Any], trainable_variables: Sequence[Any] | None = None) -> None:
        """Let each optimizer apply the gradients of its variables."""
        if len(grads) == 0:
            return
        variables = self._variables_for(grads, trainable_variables)
        if len(grads) != len(variables):
            raise ValueError(
                f"Gradients must match trainable variables one-to-one. Received {len(grads)} gradients and "
                f"{len(variables)} variables."
            )
        for optimizer, own in zip(self._inner_optimizers, self._split(variables, grads), strict=True):
            if own:
                optimizer.apply([g for _, g in own], [v for v, _ in own])
        self._iterations.assign_add(1)

    def finalize_variable_values(self, var_list: Sequence[Any]) -> None:
        for optimizer, own in zip(self._inner_optimizers, self._split(var_list), strict=True):
            if own:
                optimizer.finalize_variable_values([v for (v,) in own])

    def get_config(self) -> dict[str, Any]:
        return {
            "optimizer_map": serialize_keras_object(self._optimizer_map),
            "loss_scale_factor": self.loss_scale_factor,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Optimizer:
        chosen = deserialize_keras_object(config["optimizer_map"], custom_objects=custom_objects)
        return cls(**{**config, "optimizer_map": chosen})
