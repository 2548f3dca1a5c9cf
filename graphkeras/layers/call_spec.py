"""The arguments of one layer call: which are tensors, what their shapes are, what outer calls hand down."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from graphkeras.core import tree
from graphkeras.core.global_state import get_global_attribute, set_global_attribute
from graphkeras.core.introspect import signature_of
from graphkeras.core.keras_tensor import KerasTensor
from graphkeras.core.shapes import standardize_shape
from graphkeras.core.tensor import Tensor


def is_tensor_or_symbolic(x: Any) -> bool:
    return isinstance(x, (Tensor, KerasTensor))


class CallSpec:
    """Arguments bound to the signature of `call`.

    Attributes:
        args, kwargs: what `call` is to be given; context arguments that it does not take are left out.
        given: the arguments that the caller passed, context arguments included.
        arguments: all arguments by name, with defaults.
        tensors: those that are tensors or nested tensors.
        nested: names of the nested ones.
        first: the first argument.
    """

    def __init__(self, layer: Any, signature: inspect.Signature, context_args: Any, args: Any, kwargs: Any) -> None:
        context = {n: kwargs[n] for n in context_args if n in kwargs and n not in signature.parameters}
        self.args = args
        self.kwargs = {n: v for n, v in kwargs.items() if n not in context}
        try:
            bound = signature.bind(*args, **self.kwargs)
        except TypeError as error:
            raise TypeError(
                f"{type(layer).__name__}.call() of layer '{layer.name}' was called with wrong arguments: {error}. "
                f"Expected: call{signature}. Received: {len(args)} positional argument(s) and keywords "
                f"{sorted(self.kwargs)}."
            ) from None
        self.given = {**context, **bound.arguments}
        bound.apply_defaults()
        self.bound = bound
        self.arguments: dict[str, Any] = dict(bound.arguments)
        self.tensors: dict[str, Any] = {}
        self.nested: set[str] = set()
        for name, value in self.arguments.items():
            if is_tensor_or_symbolic(value):
                self.tensors[name] = value
            elif tree.is_nested(value) and len(value) > 0:
                self._add_nested(name, value)
        self.first = next(iter(self.arguments.values()), None)
        self.eager = all(isinstance(x, Tensor) for x in self.tensors.values())

    def _add_nested(self, name: str, value: Any) -> None:
        leaves = tree.flatten(value)
        found = [is_tensor_or_symbolic(x) for x in leaves]
        if all(f or x is None for f, x in zip(found, leaves, strict=True)):
            self.tensors[name] = value
            self.nested.add(name)
        elif any(found):
            raise ValueError(
                "In a nested call() argument, you cannot mix tensors and non-tensors. "
                f"Received invalid mixed argument: {name}={value}"
            )

    def shapes(self) -> dict[str, Any]:
        """`{"x_shape": (2, 3)}` for each tensor argument but masks and catch-alls."""
        return {
            f"{name}_shape": tree.map_structure(_shape_of, value)
            for name, value in self.tensors.items()
            if name not in ("mask", "args", "kwargs")
        }


def _shape_of(x: Any) -> Any:
    return None if x is None else standardize_shape(x.shape)


def shapes_for(fn: Callable[..., Any], spec: CallSpec, class_name: str) -> dict[str, Any]:
    """The keyword arguments for `build` or `compute_output_shape`.

    One parameter receives the first tensor argument's shape, whatever its name; several must be named after the
    arguments of `call` with the suffix `_shape`.
    """
    shapes = spec.shapes()
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    names = [p.name for p in signature_of(fn).parameters.values() if p.kind not in variadic]
    if len(names) == 1:
        return {names[0]: next(iter(shapes.values()), None)}
    for name in names:
        argument = name.removesuffix("_shape")
        if name == argument or argument not in spec.arguments:
            what = (
                "which does not end in `_shape`"
                if name == argument
                else f"but `call()` does not have argument `{argument}`"
            )
            raise ValueError(
                f"For a `{fn.__name__}()` method with more than one argument, all arguments should have a `_shape` "
                f"suffix and match an argument from `call()`. E.g. `{fn.__name__}(self, foo_shape, bar_shape)`. "
                f"For layer '{class_name}', received `{fn.__name__}()` argument `{name}`, {what}."
            )
    return {n: shapes[n] for n in names if n in shapes}


class CallContext:
    """Values that an outer call hands down to the layers called inside it, such as `training`."""

    def __init__(self, entry_layer: Any) -> None:
        self.entry_layer = entry_layer
        self.values: dict[str, Any] = {}

    def get_value(self, name: str, default: Any = None) -> Any:
        return self.values.get(name, default)

    def set_value(self, name: str, value: Any) -> None:
        self.values[name] = value


def current_call_context() -> CallContext | None:
    return get_global_attribute("call_context")


def set_call_context(context: CallContext | None) -> None:
    set_global_attribute("call_context", context)
