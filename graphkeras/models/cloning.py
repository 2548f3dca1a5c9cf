"""Copies of models with new weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graphkeras.core import tree
from graphkeras.core.keras_tensor import KerasTensor
from graphkeras.layers.input_layer import Input, InputLayer
from graphkeras.models.functional import Functional, functional_like_constructor
from graphkeras.models.model import Model
from graphkeras.models.sequential import Sequential


def clone_model(
    model: Any,
    input_tensors: Any = None,
    clone_function: Callable[[Any], Any] | None = None,
    call_function: Callable[..., Any] | None = None,
    recursive: bool = False,
    **kwargs: Any,
) -> Any:
    """A model of the same layers, made anew from their configs, with newly initialized weights.

    Args:
        model: a Sequential or Functional model, or (without the other arguments) any model that can be saved.
        input_tensors: KerasTensors on which to build the copy.
        clone_function: gives for a layer the one to use in the copy; by default the layer's config makes it.
        call_function: for Functional models, called as `call_function(layer, *args, **kwargs)` in place of the layer.
        recursive: whether `clone_function` is also applied inside nested models.

    Example:

    >>> import graphkeras as keras
    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    >>> keras.models.clone_model(model).count_params()
    3
    """
    cache: dict[int, Any] = kwargs.pop("cache", {})
    if kwargs:
        raise ValueError(f"Unexpected keyword argument(s): {list(kwargs)}")
    if isinstance(model, Sequential):
        if call_function is not None:
            raise ValueError(
                "`call_function` argument is not supported with Sequential models. In a Sequential model, layers are "
                f"applied one after another. Received call_function={call_function}"
            )
        clone = _cached_clone(clone_function, None, recursive, cache)
        return _clone_sequential(model, clone, input_tensors)
    if isinstance(model, Functional) and functional_like_constructor(type(model)):
        clone = _cached_clone(clone_function, call_function, recursive, cache)
        return _clone_functional(model, clone, input_tensors, call_function)
    given = {"clone_function": clone_function, "input_tensors": input_tensors, "call_function": call_function}
    if any(v is not None for v in given.values()):
        raise ValueError(
            "Arguments `clone_function`, `input_tensors` and `call_function` are only supported for Sequential models "
            f"or Functional models. Received model of type '{type(model).__name__}', with {given}"
        )
    from graphkeras.saving import deserialize_keras_object, serialize_keras_object

    return deserialize_keras_object(serialize_keras_object(model), custom_objects={type(model).__name__: type(model)})


def _cached_clone(
    clone_function: Callable[[Any], Any] | None, call_function: Any, recursive: bool, cache: dict[int, Any]
) -> Callable[[Any], Any]:
    """`clone_function` which gives the same copy for the same layer, so that shared layers stay shared."""
    make = clone_function or (lambda layer: type(layer).from_config(layer.get_config()))

    def clone(layer: Any) -> Any:
        if id(layer) not in cache:
            if recursive and isinstance(layer, (Sequential, Functional)):
                calls = None if isinstance(layer, Sequential) else call_function
                cache[id(layer)] = clone_model(
                    layer, clone_function=make, call_function=calls, recursive=True, cache=cache
                )
            else:
                cache[id(layer)] = make(layer)
        return cache[id(layer)]

    return clone


def _clone_sequential(model: Sequential, clone: Callable[[Any], Any], input_tensors: Any) -> Any:
    if not callable(clone):
        raise ValueError(f"Expected `clone_function` argument to be a callable. Received: {clone}")
    layers = [clone(layer) for layer in model.layers]
    first = model._layers[0] if model._layers and isinstance(model._layers[0], InputLayer) else None
    if input_tensors is not None:
        flat = tree.flatten(input_tensors)
        if len(flat) != 1:
            raise ValueError("Argument `input_tensors` must contain a single tensor.")
        if not isinstance(flat[0], KerasTensor):
            raise ValueError(
                f"Argument `input_tensors` must be a KerasTensor. Received invalid value: input_tensors={flat[0]}"
            )
        layers.insert(0, Input(tensor=flat[0], name=first.name if first else None))
    elif first is not None:
        made = Input(batch_shape=first.batch_shape, dtype=first.dtype, name=first.name, optional=first.optional)
        layers.insert(0, made)
    return _compile_like(model, Sequential(layers, name=model.name, trainable=model.trainable))


def _clone_functional(
    model: Functional, clone: Callable[[Any], Any], input_tensors: Any, call_function: Callable[..., Any] | None
) -> Any:
    if not callable(clone):
        raise ValueError(f"Expected `clone_function` argument to be a callable. Received: {clone}")
    if input_tensors is None:
        input_tensors = tree.map_structure(_same_input, model.input)
    elif not all(isinstance(x, KerasTensor) for x in tree.flatten(input_tensors)):
        raise ValueError(
            "All entries in `input_tensors` must be KerasTensors. "
            f"Received invalid values: inputs_tensors={input_tensors}"
        )
    else:
        try:
            tree.assert_same_structure(input_tensors, model.input)
        except ValueError as error:
            raise ValueError(
                "`input_tensors` must have the same structure as model.input"
                f"\nReference structure: {model.input}\nReceived structure: {input_tensors}"
            ) from error
    outputs = model._run_through_graph(input_tensors, operation_fn=clone, call_fn=call_function)
    cls = type(model) if functional_like_constructor(type(model)) else Functional
    return _compile_like(model, cls(input_tensors, outputs, name=model.name))


def _same_input(x: KerasTensor) -> KerasTensor:
    layer = x._keras_history.operation
    optional = layer.optional if isinstance(layer, InputLayer) else False
    return Input(batch_shape=x.shape, dtype=x.dtype, name=x.name, optional=optional)


def _compile_like(model: Model, copy: Model) -> Model:
    if getattr(model, "compiled", False):
        copy.compile_from_config(model.get_compile_config())
    return copy
