"""Operations and the graph they form when called on symbolic tensors.

A call on KerasTensors leaves a Node: which operation, with which arguments, gave which tensors. Functional models are
read from these nodes. Public ops are plain functions decorated with `keras_op`, which makes their Operation for them.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

from graphkeras.core import tree
from graphkeras.core.closures import rebound, used_layers, used_tensors
from graphkeras.core.errors import call_with_context, filter_traceback
from graphkeras.core.introspect import accepts, constructor_arguments, default, is_default, signature_of, to_camel_case
from graphkeras.core.keras_tensor import KerasTensor, any_symbolic_tensors
from graphkeras.core.naming import auto_name
from graphkeras.core.scopes import current_remat, remat
from graphkeras.core.spec import compute_output_spec, with_unknown_extents


class KerasHistory(NamedTuple):
    """Where a KerasTensor comes from: the operation, which of its calls, which of the outputs."""

    operation: Any
    node_index: int
    tensor_index: int


class Arguments:
    """The arguments of one call, with the symbolic tensors among them."""

    def __init__(self, args: Any, kwargs: Any) -> None:
        self.args = tree.map_structure(lambda x: x, tuple(args))
        self.kwargs = tree.map_structure(lambda x: x, dict(kwargs))
        self.keras_tensors = [x for x in tree.flatten((self.args, self.kwargs)) if isinstance(x, KerasTensor)]
        alone = not self.kwargs and len(self.args) == 1 and isinstance(self.args[0], KerasTensor)
        self._only: KerasTensor | None = self.args[0] if alone else None

    def fill_in(self, values: dict[int, Any]) -> tuple[Any, Any]:
        """The arguments with each KerasTensor replaced by the value stored under its id."""
        if self._only is not None:
            return (values[id(self._only)],), {}
        return tree.map_structure(
            lambda x: values.get(id(x)) if isinstance(x, KerasTensor) else x, (self.args, self.kwargs)
        )


class Node:
    """One call of an operation on symbolic tensors. Creating it wires it into the graph."""

    def __init__(self, operation: Any, call_args: Any = (), call_kwargs: Any = None, outputs: Any = None) -> None:
        self.operation = operation
        self.arguments = Arguments(call_args or (), call_kwargs or {})
        self.outputs = [] if outputs is None else tree.flatten(outputs)
        for x in self.outputs:
            if not isinstance(x, KerasTensor):
                raise ValueError(
                    f"All outputs of {type(operation).__name__} {operation.name!r} must be tensors. "
                    f"Received: {x!r} (of type {type(x)})"
                )
        recorded = all(x.record_history for x in self.input_tensors)
        if recorded:
            for x in self.input_tensors:
                if not hasattr(x, "_keras_history"):
                    x._keras_history = KerasHistory(None, 0, 0)
        operation._inbound_nodes.append(self)
        for x in self.input_tensors:
            source = x._keras_history.operation if hasattr(x, "_keras_history") else None
            if source is not None:
                source._outbound_nodes.append(self)
        if recorded:
            index = len(operation._inbound_nodes) - 1
            for i, x in enumerate(self.outputs):
                x._keras_history = KerasHistory(operation, index, i)
        self.is_input = not self.input_tensors

    @property
    def input_tensors(self) -> list[KerasTensor]:
        return self.arguments.keras_tensors

    @property
    def output_tensors(self) -> list[KerasTensor]:
        return self.outputs

    @property
    def parent_nodes(self) -> list[Node]:
        """The nodes whose outputs this one uses, once per use."""
        histories = [x._keras_history for x in self.input_tensors]
        return [h.operation._inbound_nodes[h.node_index] for h in histories if h.operation is not None]

    def __repr__(self) -> str:
        return f"<Node operation={self.operation.name}, id={id(self)}>"


_GET_CONFIG_ADVICE = (
    "Override `get_config()` so that it returns every argument of the constructor:\n\n"
    "    def get_config(self):\n"
    "        config = super().get_config()\n"
    "        config.update({'units': self.units})\n"
    "        return config\n"
)


class _ConstructorSignature:
    """What `inspect.signature` says of a class: its inherited `__init__`, as Python does from 3.11.4 on.

    Earlier ones stop at any `__new__`, however far up, and would show `(*args, **kwargs)`.
    """

    def __get__(self, instance: Any, owner: type) -> inspect.Signature:
        maker = next(c for c in owner.__mro__ if "__new__" in vars(c) or "__init__" in vars(c))
        if instance is not None or "__new__" in vars(maker):
            raise AttributeError("__signature__")
        signature = inspect.signature(vars(maker)["__init__"])
        return signature.replace(parameters=list(signature.parameters.values())[1:])


class Operation:
    """A function with a name, usable on tensors and on symbolic tensors.

    Subclasses write `call` and, where tracing cannot infer it, `compute_output_spec`.

    Example:

    >>> import graphkeras as keras
    >>> class Twice(keras.Operation):
    ...     def call(self, x):
    ...         return x + x
    >>> Twice()(keras.Input((3,))).shape
    (None, 3)
    """

    __signature__ = _ConstructorSignature()

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        instance = super().__new__(cls)
        config, by_signature = constructor_arguments(cls, args, kwargs)
        # Straight into __dict__: the attribute hooks of subclasses are not ready yet.
        instance.__dict__["_auto_config"] = config
        instance.__dict__["_auto_config_by_signature"] = by_signature
        return instance

    def __init__(self, name: str | None = None) -> None:
        if name is None:
            name = auto_name(type(self).__name__)
        if not isinstance(name, str) or "/" in name:
            raise ValueError(
                "Argument `name` must be a string and cannot contain character `/`. "
                f"Received: name={name} (of type {type(name)})"
            )
        self.name = name
        self._inbound_nodes: list[Node] = []
        self._outbound_nodes: list[Node] = []
        self._remat_mode = current_remat()

    @filter_traceback
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._run(args, kwargs)

    def _run(self, args: Any, kwargs: Any) -> Any:
        fn = self.symbolic_call if any_symbolic_tensors(args, kwargs) else self.call
        return call_with_context(fn, f"{type(self).__name__}.call() of '{self.name}'", args, kwargs)

    def symbolic_call(self, *args: Any, **kwargs: Any) -> Any:
        """Infer the outputs and record the call in the graph."""
        outputs = self.compute_output_spec(*args, **kwargs)
        Node(self, args, kwargs, outputs)
        return outputs

    def call(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} must implement `call()`.")

    def quantized_call(self, *args: Any, **kwargs: Any) -> Any:
        """To be overridden by operations with quantized weights."""
        raise NotImplementedError(f"{type(self).__name__} has no quantized form.")

    def rematerialized_call(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Callable[..., Any]:
        """`fn`, with the request to recompute its results in the backward pass if a RematScope asked for it."""
        mode = self._remat_mode
        if mode is None or (mode.mode == "list_of_layers" and self.name not in mode.layer_names):
            return fn
        return remat(fn)

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        """KerasTensors like what `call` returns for these arguments."""
        try:
            return compute_output_spec(self.call, *args, **kwargs)
        except Exception as error:
            name = type(self).__name__
            message = (
                f"Could not automatically infer the output shape / dtype of '{self.name}' (of type {name}). Either "
                f"`{name}.call()` is incorrect, or you need to implement `{name}.compute_output_spec()` or "
                f"`compute_output_shape()`. Error encountered:\n\n{with_unknown_extents(str(error))}"
            )
            try:
                renewed = type(error)(message)
            except Exception:
                renewed = RuntimeError(message)
            raise renewed.with_traceback(error.__traceback__) from None

    # -- config ------------------------------------------------------------------------------------
    @default
    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, from which `from_config` makes an equal object.

        Where a class does not override it, the arguments are recorded by themselves if they are plain values.
        """
        config: dict[str, Any] = {"name": self.name}
        if not is_default(self.get_config):
            return config
        recorded = self._auto_config
        if recorded is not None:
            config.update(recorded)
            if not accepts(type(self), "name"):
                config.pop("name")
            return config
        name = type(self).__name__
        if self._auto_config_by_signature:
            reason = (
                f"Object {name} was created by passing positional only or variadic positional arguments (e.g., "
                "`*args`) to `__init__()`, which the automatic config does not support."
            )
        else:
            reason = (
                f"Object {name} was created by passing non-serializable argument values in `__init__()`, and therefore "
                "the object must override `get_config()` in order to be serializable."
            )
        raise NotImplementedError(f"{reason}\n{_GET_CONFIG_ADVICE}")

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """An object from what `get_config` returned."""
        if isinstance(config.get("dtype"), dict):
            from graphkeras import dtype_policies

            policy = dtype_policies.deserialize(config["dtype"])
            plain = not isinstance(policy, dtype_policies.DTypePolicyMap) and policy.quantization_mode is None
            config = {**config, "dtype": policy.name if plain else policy}
        try:
            return cls(**config)
        except Exception as error:
            raise TypeError(
                f"Error when deserializing class '{cls.__name__}' using config={config}.\n\n"
                f"Exception encountered: {error}"
            ) from error

    # -- graph -------------------------------------------------------------------------------------
    @property
    def input(self) -> Any:
        """The symbolic input of the first call (a list of them where there are several)."""
        return self._node_tensors(0, "input_tensors", "input")

    @property
    def output(self) -> Any:
        """The symbolic output of the first call (a list of them where there are several)."""
        return self._node_tensors(0, "output_tensors", "output")

    def _node_tensors(self, index: int, attribute: str, what: str) -> Any:
        if not self._inbound_nodes:
            raise AttributeError(f"The layer {self.name} has never been called and thus has no defined {what}.")
        if len(self._inbound_nodes) <= index:
            raise ValueError(
                f"Asked to get {what} at node {index}, but {self.name} has only "
                f"{len(self._inbound_nodes)} inbound nodes."
            )
        values = getattr(self._inbound_nodes[index], attribute)
        return values[0] if len(values) == 1 else values

    def _obj_type(self) -> str:
        return "Operation"

    def __repr__(self) -> str:
        return f"<Operation name={self.name}>"


# -- public functions as operations --------------------------------------------------------------------
OP_CLASSES: dict[str, type] = {}  # class name -> the operation class of a public function, for loading models

# Parameters without default that describe the operation instead of being operands.
_ATTRIBUTES = frozenset(
    (
        "newshape",
        "shape",
        "axis",
        "axes",
        "axis1",
        "axis2",
        "repeats",
        "source",
        "destination",
        "num_classes",
        "num",
        "k",
        "shift",
        "n",
        "decimals",
        "dtype",
        "size",
        "indices_or_sections",
        "num_or_sections",
        "pad_width",
        "subscripts",
        "pattern",
        "equation",
        "new_shape",
        "fill_mode",
        "minlength",
    )
)


class FunctionOperation(Operation):
    """The operation of a public function. Its config holds the arguments that are no operands."""

    function: Callable[..., Any]
    signature: inspect.Signature

    def __init__(self, name: str | None = None, **attributes: Any) -> None:
        super().__init__(name=name)
        self._attributes = attributes

    def call(self, *args: Any, **kwargs: Any) -> Any:
        free = [p for p in self.signature.parameters.values() if p.name not in self._attributes]
        if any(p.kind is p.VAR_POSITIONAL for p in free):
            lead, given, rest = [], dict(self._attributes), list(args)
            for p in self.signature.parameters.values():  # what comes before *operands goes by position
                if p.kind is p.VAR_POSITIONAL:
                    break
                lead.append(given.pop(p.name) if p.name in given else rest.pop(0))
            return type(self).function(*lead, *rest, **kwargs, **given)
        named = {p.name: value for p, value in zip(free, args, strict=False)}
        return type(self).function(**named, **kwargs, **self._attributes)

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, **self._attributes}


class _SignatureWhenAsked:
    """A class attribute that is the signature of a function, looked at when it is first needed."""

    def __init__(self, fn: Callable[..., Any]) -> None:
        self._fn = fn

    def __get__(self, instance: Any, owner: type) -> inspect.Signature:
        return signature_of(self._fn)


def keras_op(fn: Callable[..., Any] | None = None, *, class_name: str | None = None) -> Any:
    """Decorator for public ops: called on symbolic tensors they record an operation, else they run.

    class_name: name in saved models; the function's name in camel case by default.

    Example:

    >>> @keras_op
    ... def twice(x):
    ...     return x + x
    """
    if fn is None:
        return functools.partial(keras_op, class_name=class_name)
    name = class_name or to_camel_case(fn.__name__)

    @functools.wraps(fn)
    def op(*args: Any, **kwargs: Any) -> Any:
        if any_symbolic_tensors(args, kwargs):
            used = used_tensors((args, kwargs))
            if not used:
                return _symbolic(cls, args, kwargs)
            operation = WithFunctions(op, args, kwargs, used)
            return operation(operation.operands)
        return fn(*args, **kwargs)

    body = {
        "function": staticmethod(op),
        "signature": _SignatureWhenAsked(fn),
        "__doc__": fn.__doc__,
        "__module__": fn.__module__,
        "__qualname__": name,
    }
    cls = type(name, (FunctionOperation,), body)
    OP_CLASSES.setdefault(name, cls)
    op.operation_class = cls  # type: ignore[attr-defined]
    return op


class WithFunctions(Operation):
    """An op whose function arguments use symbolic tensors from around them; these become its operands.

    A model that holds it cannot be saved as a config.
    """

    def __init__(self, op: Callable[..., Any], args: Any, kwargs: Any, used: list[KerasTensor]) -> None:
        super().__init__(name=auto_name(op.__name__))
        self._op, self._given = op, (args, kwargs)
        direct = [x for x in tree.flatten(self._given) if isinstance(x, KerasTensor)]
        self._tensors = list({id(x): x for x in (*direct, *used)}.values())
        layers = used_layers(self._given)
        if layers:
            raise ValueError(
                f"ops.{op.__name__}(): a function given to it calls layer {layers[0].name!r}, whose weights the model "
                f"would not know. Write a layer that owns {layers[0].name!r} and uses ops.{op.__name__} in its call()."
            )

    @property
    def operands(self) -> list[KerasTensor]:
        """What to call it with."""
        return self._tensors

    def call(self, values: list[Any]) -> Any:
        known = {id(x): value for x, value in zip(self._tensors, values, strict=True)}
        args, kwargs = rebound(self._given, known)
        return self._op(*args, **kwargs)


def _symbolic(cls: type[FunctionOperation], args: Any, kwargs: Any) -> Any:
    bound = cls.signature.bind(*args, **kwargs)
    operands: list[Any] = []
    keywords: dict[str, Any] = {}
    attributes: dict[str, Any] = {}
    for parameter in cls.signature.parameters.values():
        if parameter.name not in bound.arguments:
            continue
        value = bound.arguments[parameter.name]
        if parameter.kind is parameter.VAR_POSITIONAL:
            operands += value
        elif parameter.kind is parameter.VAR_KEYWORD:
            attributes |= value
        elif _is_attribute(parameter, value):
            attributes[parameter.name] = value
        elif keywords or parameter.kind is parameter.KEYWORD_ONLY or _skipped(cls, parameter, bound.arguments):
            keywords[parameter.name] = value
        else:
            operands.append(value)
    name = attributes.pop("name", None)
    return cls(name=name, **attributes)(*operands, **keywords)


def _is_attribute(parameter: inspect.Parameter, value: Any) -> bool:
    has_default = parameter.default is not parameter.empty
    if not has_default and parameter.name not in _ATTRIBUTES:
        return False
    return not any(isinstance(leaf, KerasTensor) or hasattr(leaf, "__array__") for leaf in tree.flatten(value))


def _skipped(cls: type[FunctionOperation], parameter: inspect.Parameter, given: Any) -> bool:
    """Whether an operand before this one was left at its default, so that this one needs its name."""
    for other in cls.signature.parameters.values():
        if other.name == parameter.name:
            return False
        if other.name not in given and other.kind is not other.VAR_POSITIONAL:
            return True
    return False


def operation_home(cls: type[FunctionOperation]) -> str:
    """The public module of an op, `graphkeras.ops.numpy` say: the module that configs name."""
    import importlib

    name = cls.function.__name__
    for home in ("numpy", "nn", "linalg", "image", "math"):
        if hasattr(importlib.import_module(f"graphkeras.ops.{home}"), name):
            return f"graphkeras.ops.{home}"
    return "graphkeras.ops.core"


def function_operation(class_name: str) -> type | None:
    """The operation class of a public op by its class name, such as "Add"; None if there is none."""
    import graphkeras.ops  # noqa: F401  the decorators there fill the table

    return OP_CLASSES.get(class_name)
