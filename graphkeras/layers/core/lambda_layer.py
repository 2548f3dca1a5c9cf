"""Lambda: any Python function as a layer."""

from __future__ import annotations

import inspect
import types
from typing import Any

from graphkeras.core import tree
from graphkeras.layers.layer import Layer
from graphkeras.saving import deserialize_keras_object, serialize_keras_object
from graphkeras.saving.lambdas import dump_function, load_function
from graphkeras.saving.serialization_lib import in_safe_mode


class Lambda(Layer):
    """Calls a Python function of tensors. It has no weights; for those, write a subclass of `Layer`.

    Files store a Python `lambda` as bytecode, which is refused when they are loaded (`safe_mode=True`), because it can
    run any code. A named function registered with `register_keras_serializable` loads everywhere.

    Args:
        function: takes the inputs as first argument, and `mask` or `training` if it has such parameters.
        output_shape: shape of the output without the batch axis, or a function from the input's shape to the full
            output shape; default found by tracing the function.
        mask: the output's mask: a tensor, or a function `(inputs, mask)`; default none.
        arguments: dict of further keyword arguments for the function.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layers.Lambda(lambda x, k: k * x, arguments={"k": 3})(np.ones((1, 2), "float32")).tolist()
        [[3.0, 3.0]]
    """

    def __init__(
        self,
        function: Any,
        output_shape: Any = None,
        mask: Any = None,
        arguments: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.function = function
        self.arguments = arguments or {}
        self.mask = mask
        self.supports_masking = mask is not None
        self._output_shape = output_shape
        parameters = inspect.signature(function).parameters if callable(function) else {}
        self._extra = [n for n in ("mask", "training") if n in parameters]

    def call(self, inputs: Any, mask: Any = None, training: bool | None = None) -> Any:
        available = {"mask": mask, "training": training}
        return self.function(inputs, **{**self.arguments, **{n: available[n] for n in self._extra}})

    def compute_output_shape(self, input_shape: Any) -> Any:
        if self._output_shape is None:
            return super().compute_output_shape(input_shape)
        if callable(self._output_shape):
            return self._output_shape(input_shape)
        batch = tree.flatten(input_shape)[0]
        return tree.map_shape_structure(lambda shape: (batch, *shape), self._output_shape)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        return self.mask(inputs, mask) if callable(self.mask) else self.mask

    def get_config(self) -> dict[str, Any]:
        config = {**super().get_config(), "function": _serialize(self.function)}
        if self._output_shape is not None:
            config["output_shape"] = (
                _serialize(self._output_shape) if callable(self._output_shape) else self._output_shape
            )
        if self.mask is not None:
            config["mask"] = _serialize(self.mask)
        config["arguments"] = serialize_keras_object(self.arguments)
        return config

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None, safe_mode: bool | None = None
    ) -> Any:
        """A layer from its config.

        Raises:
            ValueError: if the config holds a Python lambda, unless `safe_mode` is False.
        """
        allowed = (in_safe_mode() if safe_mode is None else safe_mode) is False
        config = dict(config)
        for name in ("function", "output_shape", "mask", "arguments"):
            if name in config:
                config[name] = _deserialize(config[name], custom_objects, allowed)
        shape = config.get("output_shape")
        if isinstance(shape, list) and all(n is None or isinstance(n, int) for n in shape):
            config["output_shape"] = tuple(shape)
        return cls(**config)


def _serialize(value: Any) -> Any:
    if isinstance(value, types.FunctionType) and value.__name__ == "<lambda>":
        code, defaults, closure = dump_function(value)
        return {"class_name": "__lambda__", "config": {"code": code, "defaults": defaults, "closure": closure}}
    return serialize_keras_object(value)


def _deserialize(value: Any, custom_objects: dict[str, Any] | None, allowed: bool) -> Any:
    if isinstance(value, dict) and value.get("class_name") == "__lambda__":
        if not allowed:
            raise ValueError(
                "The config of a `Lambda` layer holds a Python lambda. Loading it carries a potential risk of "
                "arbitrary code execution, so it is refused by default. If you trust its source, pass "
                "`safe_mode=False` to the loading function or call `graphkeras.config.enable_unsafe_deserialization()`."
            )
        inner = value["config"]
        return load_function((inner["code"], inner["defaults"], inner["closure"]))
    return deserialize_keras_object(value, custom_objects=custom_objects)
