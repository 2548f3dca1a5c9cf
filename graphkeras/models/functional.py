"""Functional: a model that is a graph of layers between inputs and outputs."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from typing import Any

from graphkeras.core import tree
from graphkeras.core.convert import convert_to_tensor
from graphkeras.core.errors import describe
from graphkeras.core.function import Function
from graphkeras.core.keras_tensor import KerasTensor
from graphkeras.core.masking import get_keras_mask, set_keras_mask
from graphkeras.core.tensor import Operators
from graphkeras.core.trace import apply
from graphkeras.core.tracking import DoNotTrackScope
from graphkeras.layers.input_layer import InputLayer
from graphkeras.layers.input_spec import InputSpec
from graphkeras.layers.layer import Layer
from graphkeras.models.clone_graph import clone_graph_nodes, is_input_tensor
from graphkeras.models.model import Model


class Functional(Function, Model):
    """What `Model(inputs, outputs)` makes.

    Args:
        inputs: KerasTensors, alone or in a list, tuple or dict. Tensors in the middle of another model make a
            sub-model, which shares its layers.
        outputs: KerasTensors that depend on the inputs, in any structure.
        name: string.
        trainable: whether the weights are trained.

    Example:

    >>> import graphkeras as keras
    >>> x = keras.Input((4,))
    >>> hidden = keras.layers.Dense(3, activation="relu")(x)
    >>> model = keras.Model(x, keras.layers.Dense(1)(hidden))
    >>> keras.Model(x, hidden).output_shape
    (None, 3)
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        return super().__new__(cls, *args, **kwargs)

    def __init__(self, inputs: Any, outputs: Any, name: str | None = None, **kwargs: Any) -> None:
        trainable = kwargs.pop("trainable", None)
        if kwargs:
            raise ValueError(f"Unrecognized keyword arguments passed to {type(self).__name__}: {kwargs}")
        _check_tensors(inputs, outputs)
        flat_inputs = tree.flatten(inputs)
        if not all(is_input_tensor(x) for x in flat_inputs):
            inputs, outputs = clone_graph_nodes(inputs, outputs)
        with DoNotTrackScope():
            Function.__init__(self, inputs, outputs, name=name)
        if trainable is not None:
            self.trainable = trainable
        for layer in self.layers:
            self._tracker.track(layer)
        self.build(None)
        self._convert_input_args = False
        self._allow_non_tensor_positional_args = True
        self.__dict__["output_names"] = [x._keras_history.operation.name for x in self.outputs]

    @property
    def input_names(self) -> list[str]:
        return [x.name for x in self._inputs]

    def _lock_state(self) -> None:
        return None  # layers outside of the graph may still be attached

    def _obj_type(self) -> str:
        return "Functional"

    @property
    def layers(self) -> list[Any]:
        return [op for op in self._operations if isinstance(op, Layer)]

    @layers.setter
    def layers(self, _: Any) -> None:
        raise AttributeError("`Model.layers` attribute is reserved and should not be used. Please use another name.")

    def build(self, input_shape: Any) -> None:
        self.built = True

    @property
    def input(self) -> Any:
        """The inputs as they were given to the constructor."""
        return self._inputs_struct

    @property
    def output(self) -> Any:
        """The outputs as they were given to the constructor."""
        return self._outputs_struct

    @property
    def input_shape(self) -> Any:
        shapes = [x.shape for x in self._inputs]
        return shapes[0] if len(shapes) == 1 else shapes

    @property
    def output_shape(self) -> Any:
        shapes = [x.shape for x in self._outputs]
        return shapes[0] if len(shapes) == 1 else shapes

    def add_loss(self, loss: Any) -> None:
        raise NotImplementedError(
            f"Functional model '{self.name}': `add_loss` takes no symbolic tensors. Write a layer which calls "
            "`self.add_loss(...)` in its `call`, and apply it to the tensor."
        )

    # -- calling -----------------------------------------------------------------------------------
    def call(self, inputs: Any, training: Any = None, mask: Any = None, **kwargs: Any) -> Any:
        values = self._standardize_inputs(inputs)
        if mask is not None:
            for x, m in zip(values, tree.flatten(mask), strict=False):
                if m is not None:
                    set_keras_mask(x, m)
        context = {"training": training, **kwargs}
        outputs = self._run_through_graph(values, operation_fn=lambda op: _with_context(op, context))
        return unpack_singleton(outputs)

    def compute_output_spec(self, inputs: Any, training: Any = None, mask: Any = None, **kwargs: Any) -> Any:
        flat = self._arrange_inputs(inputs, warn=False)
        for x, reference in zip(flat, self._inputs, strict=True):
            if x is not None:
                _check_shape(self, x, reference)
        return unpack_singleton(Function.compute_output_spec(self, tree.pack_sequence_as(self._inputs_struct, flat)))

    def compute_output_shape(self, input_shape: Any) -> Any:
        return Function.compute_output_shape(self, input_shape)

    def _set_output_masks(self, first: Any, outputs: Any, previous_mask: Any) -> None:
        return None  # the layers inside have done it

    def _assert_input_compatibility(self, inputs: Any) -> None:
        keys = self._input_keys() if isinstance(inputs, dict) else None
        flat = [inputs.get(k, False) for k in keys] if keys is not None else tree.flatten(inputs)
        if len(flat) == len(self._inputs):
            self._check_optional(flat)
        Layer._assert_input_compatibility(self, inputs)

    def _check_optional(self, flat: list[Any]) -> None:
        for x, reference in zip(flat, self._inputs, strict=True):
            layer = reference._keras_history.operation
            if x is None and isinstance(layer, InputLayer) and not layer.optional:
                raise ValueError(
                    f"The input '{reference.name}' of model '{self.name}' is not optional, but None was passed. "
                    "Please provide a valid tensor, or make it `Input(..., optional=True)`."
                )

    def _standardize_inputs(self, inputs: Any) -> list[Any]:
        """Tensors in the order, dtype and rank of the model's inputs."""
        flat = self._arrange_inputs(inputs)
        self._check_optional(flat)
        return [x if x is None else self._fit_input(x, r) for x, r in zip(flat, self._inputs, strict=True)]

    def _fit_input(self, x: Any, reference: KerasTensor) -> Any:
        mask = get_keras_mask(x)
        original, x = x, convert_to_tensor(x, dtype=reference.dtype)
        rank, wanted = len(x.shape), len(reference.shape)
        if rank == wanted + 1 and x.shape[-1] == 1:
            x = apply("reshape", x, shape=x.shape[:-1])
        elif rank == wanted - 1 and reference.shape[-1] == 1:
            x = apply("reshape", x, shape=(*x.shape, 1))
        elif rank != wanted:
            single = tuple(x.shape) == reference.shape[1:]
            raise ValueError(
                f"Invalid input shape for input '{reference._keras_history.operation.name}' of model '{self.name}'. "
                f"Expected shape {reference.shape}, but input has incompatible shape {tuple(x.shape)}. "
                + ("For one sample add a batch axis: x[None]." if single else "The first axis is the batch.")
            )
        if mask is not None and x is not original:
            set_keras_mask(x, mask)
        return x

    def _arrange_inputs(self, inputs: Any, warn: bool = True) -> list[Any]:
        """The values in the order of `self.inputs`: by position, or by name from a dict."""
        struct = self._inputs_struct
        if isinstance(inputs, dict) and (keys := self._input_keys()) is not None:
            missing = [k for k, x in zip(keys, self._inputs, strict=True) if k not in inputs and not _is_optional(x)]
            if missing:
                raise ValueError(f"{self._mismatch(inputs)}\nMissing: {missing}")
            extra = [k for k in inputs if k not in keys]
            if extra and warn:
                warnings.warn(f"{self._mismatch(inputs)}\nNot used: {extra}", stacklevel=5)
            return [inputs.get(k) for k in keys]
        flat = tree.flatten(inputs)
        by_order = isinstance(struct, dict) and not isinstance(inputs, dict) and list(struct) != sorted(struct)
        if len(flat) != len(self._inputs) or (by_order and len(flat) > 1):
            raise ValueError(self._mismatch(inputs))
        alone = len(flat) == 1 and not tree.is_nested(inputs) and isinstance(struct, (list, tuple))
        try:
            tree.assert_same_structure(
                tree.lists_to_tuples((inputs,) if alone else inputs), tree.lists_to_tuples(struct)
            )
        except ValueError:
            warnings.warn(self._mismatch(inputs), stacklevel=5)
        return flat

    def _input_keys(self) -> list[Any] | None:
        """The keys by which a dict of data gives the inputs, or None where the structure is deeper."""
        struct = self._inputs_struct
        if isinstance(struct, dict):
            flat = all(isinstance(x, KerasTensor) for x in struct.values())
            return [path[0] for path, _ in tree.flatten_with_path(struct)] if flat else None
        values = struct if isinstance(struct, (list, tuple)) else [struct]
        return [x.name for x in values] if all(isinstance(x, KerasTensor) for x in values) else None

    def _mismatch(self, inputs: Any) -> str:
        expected = tree.map_structure(lambda x: x.name, self._inputs_struct)
        received = tree.map_structure(_describe, inputs)
        return (
            f"The structure of `inputs` doesn't match the expected structure of model '{self.name}'.\n"
            f"Expected: {expected}\nReceived: inputs={received}"
        )

    # -- input spec --------------------------------------------------------------------------------
    @property
    def input_spec(self) -> Any:
        if "_manual_input_spec" in self.__dict__:
            return self._manual_input_spec
        if isinstance(self._inputs_struct, dict):
            keys = self._input_keys()
            return None if keys is None else [_spec(x, k) for k, x in zip(keys, self._inputs, strict=True)]
        return [_spec(x, x._keras_history.operation.name) for x in self._inputs]

    @input_spec.setter
    def input_spec(self, value: Any) -> None:
        self._manual_input_spec = value

    # -- config ------------------------------------------------------------------------------------
    def get_config(self) -> dict[str, Any]:
        if not functional_like_constructor(type(self)):
            return Model.get_config(self)  # a subclass with its own constructor arguments
        from graphkeras.models.functional_config import functional_to_config

        return functional_to_config(self)


def _check_tensors(inputs: Any, outputs: Any) -> None:
    for what, given in (("inputs", inputs), ("outputs", outputs)):
        for x in tree.flatten(given):
            if not isinstance(x, KerasTensor):
                raise ValueError(
                    f"All `{what}` values must be KerasTensors: the results of `Input(...)` and of layers called on "
                    f"them. Received: {what}={tree.map_structure(describe, given)}"
                )
    if isinstance(inputs, dict):
        for key, x in inputs.items():
            if isinstance(x, KerasTensor) and key != x.name:
                warnings.warn(
                    "When providing `inputs` as a dict, all keys in the dict must match the names of the corresponding "
                    f"tensors. Received key '{key}' mapping to value {x} which has name '{x.name}'. Change the tensor "
                    f"name to '{key}' (via `Input(..., name='{key}')`)",
                    stacklevel=4,
                )


def _check_shape(model: Any, x: Any, reference: KerasTensor) -> None:
    known = zip(x.shape, reference.shape, strict=False)
    if len(x.shape) != len(reference.shape) or any(None not in (a, b) and a != b for a, b in list(known)[1:]):
        raise ValueError(
            f"{type(model).__name__} '{model.name}' was passed incompatible inputs. For input '{reference.name}', "
            f"expected shape {reference.shape}, but received instead a tensor with shape {tuple(x.shape)}."
        )


def _with_context(operation: Any, context: dict[str, Any]) -> Callable[..., Any]:
    """The operation with `training` and the like passed on, where it is a layer that hands them down."""
    accepted = getattr(operation, "_call_context_args", ())
    extra = {n: v for n, v in context.items() if n in accepted and v is not None}
    return (lambda *args, **kwargs: operation(*args, **{**kwargs, **extra})) if extra else operation


def _is_optional(x: KerasTensor) -> bool:
    layer = x._keras_history.operation
    return isinstance(layer, InputLayer) and layer.optional


def _spec(x: KerasTensor, name: str) -> InputSpec:
    shape = (None, *x.shape[1:]) if x.shape else ()
    return InputSpec(shape=shape, allow_last_axis_squeeze=True, name=name, optional=_is_optional(x))


def _describe(x: Any) -> str:
    if x is None:
        return "None"
    if isinstance(x, Operators) or hasattr(x, "shape"):
        return f"Tensor(shape={tuple(x.shape)})"
    return repr(x)


def functional_like_constructor(cls: type) -> bool:
    """Whether the class is constructed like Functional, so that `from_config` can make it from a graph."""
    spec = inspect.getfullargspec(cls.__init__)
    if spec.args[1:] == inspect.getfullargspec(Functional.__init__).args[1:]:
        return True
    return spec.varargs is not None and spec.varkw is not None


def unpack_singleton(x: Any) -> Any:
    """The element of a list or tuple of one."""
    return x[0] if isinstance(x, (list, tuple)) and len(x) == 1 else x
