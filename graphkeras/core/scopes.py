"""Context managers that change how names, variables and dtypes behave inside a `with` block."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

from graphkeras.core.dtypes import is_float_dtype, standardize_dtype
from graphkeras.core.global_state import get_global_attribute, set_global_attribute


class name_scope:
    """Variables created inside get `name/` before their path; scopes nest.

    Args:
        name: a string without "/".
        caller: the object that opens the scope; the same object opening the same name twice in a row counts once.
        deduplicate: whether that rule applies.
        override_parent: a path to use in place of the enclosing scopes' path.

    Example:

    >>> import graphkeras as keras
    >>> with keras.name_scope("encoder"):
    ...     v = keras.Variable([1.0], name="scale")
    >>> v.path
    'encoder/scale'
    """

    def __init__(
        self, name: str, caller: Any = None, deduplicate: bool = True, override_parent: str | None = None
    ) -> None:
        if not isinstance(name, str) or "/" in name:
            raise ValueError(f"Argument `name` must be a string without '/'. Received: name={name!r}")
        self.name = name
        self.caller = caller
        self.deduplicate = deduplicate
        self.override_parent = override_parent
        self._pushed: list[bool] = []

    def __enter__(self) -> name_scope:
        stack = get_global_attribute("name_scopes", [], set_to_default=True)
        top = stack[-1] if stack else None
        repeated = (
            self.deduplicate
            and self.caller is not None
            and top is not None
            and top.caller is self.caller
            and top.name == self.name
        )
        if not repeated:
            stack.append(self)
        self._pushed.append(not repeated)
        return self

    def __exit__(self, *exc: Any) -> None:
        stack = get_global_attribute("name_scopes")
        if self._pushed.pop() and stack:
            stack.pop()


def current_path() -> str:
    """The names of the open scopes, joined by "/"; empty outside of them."""
    path = ""
    for scope in get_global_attribute("name_scopes", ()):
        parent = path if scope.override_parent is None else scope.override_parent
        path = f"{parent}/{scope.name}" if parent else scope.name
    return path


class AutocastScope:
    """Inside, float variables that allow it are read in `dtype` (None: as they are)."""

    def __init__(self, dtype: Any) -> None:
        self.dtype = None if dtype is None else standardize_dtype(dtype)
        if self.dtype is not None and not is_float_dtype(self.dtype):
            raise ValueError(f"AutocastScope takes a float dtype, such as 'float16'. Received: dtype={dtype!r}")
        self._before: list[Any] = []

    def maybe_cast(self, value: Any) -> Any:
        """The tensor in the scope's dtype if it is a float tensor."""
        if self.dtype is not None and is_float_dtype(value.dtype) and value.dtype != self.dtype:
            from graphkeras.core.convert import cast

            return cast(value, self.dtype)
        return value

    def __enter__(self) -> AutocastScope:
        self._before.append(get_autocast_scope())
        set_global_attribute("autocast_scope", self)
        return self

    def __exit__(self, *exc: Any) -> None:
        set_global_attribute("autocast_scope", self._before.pop())


def get_autocast_scope() -> AutocastScope | None:
    return get_global_attribute("autocast_scope")


class StatelessScope:
    """Inside, variables take their values from `state_mapping` and assignments stay in the scope.

    Args:
        state_mapping: pairs (variable, value) that the variables are to have.
        collect_losses: whether losses added by layers are kept in the scope's `losses`.
        initialize_variables: accepted for compatibility; variables always have their first value when created.

    Example:

    >>> import graphkeras as keras
    >>> v = keras.Variable(1.0)
    >>> with keras.StatelessScope([(v, 5.0)]) as scope:
    ...     v.assign_add(1.0)
    <Tensor shape=(), dtype=float32, value=6.>
    >>> float(scope.get_current_value(v)), float(v)
    (6.0, 1.0)
    """

    def __init__(
        self,
        state_mapping: Iterable[tuple[Any, Any]] | None = None,
        collect_losses: bool = False,
        initialize_variables: bool = True,
    ) -> None:
        from graphkeras.core.convert import convert_to_tensor
        from graphkeras.core.variable import Variable

        self.collect_losses = collect_losses
        self.initialize_variables = initialize_variables
        self.losses: list[Any] = []
        self.state_mapping: dict[int, Any] = {}
        self._before: list[Any] = []
        for variable, value in state_mapping or ():
            if not isinstance(variable, Variable):
                raise ValueError(
                    "Invalid reference variable in StatelessScope: all keys in argument `mapping` must be Variable "
                    f"instances. Received: {variable!r} (of type {type(variable)})"
                )
            value = convert_to_tensor(value, dtype=variable._dtype)
            if tuple(value.shape) != tuple(variable.shape):
                raise ValueError(
                    "Invalid variable value in StatelessScope: all values in argument `mapping` must be tensors with a "
                    f"shape that matches the corresponding variable shape. Variable {variable.path!r} has shape "
                    f"{variable.shape}. Received a value of shape {tuple(value.shape)}."
                )
            self.state_mapping[id(variable)] = value

    def __enter__(self) -> StatelessScope:
        self._before.append(get_stateless_scope())
        set_global_attribute("stateless_scope", self)
        return self

    def __exit__(self, *exc: Any) -> None:
        set_global_attribute("stateless_scope", self._before.pop())

    def add_loss(self, loss: Any) -> None:
        self.losses.append(loss)

    def add_update(self, update: tuple[Any, Any]) -> None:
        """Record the new value of a variable: `update` is (variable, value)."""
        variable, value = update
        self.state_mapping[id(variable)] = value

    def get_current_value(self, variable: Any) -> Any:
        """The variable's value in this scope, or None if it has none here."""
        return self.state_mapping.get(id(variable))


def get_stateless_scope() -> StatelessScope | None:
    return get_global_attribute("stateless_scope")


def in_stateless_scope() -> bool:
    return get_stateless_scope() is not None


class SymbolicScope:
    """Marks that shapes and dtypes are being inferred and no values computed."""

    def __init__(self) -> None:
        self._before: list[Any] = []

    def __enter__(self) -> SymbolicScope:
        self._before.append(get_global_attribute("symbolic_scope"))
        set_global_attribute("symbolic_scope", self)
        return self

    def __exit__(self, *exc: Any) -> None:
        set_global_attribute("symbolic_scope", self._before.pop())


def in_symbolic_scope() -> bool:
    return get_global_attribute("symbolic_scope") is not None


REMAT_MODES = ("full", "activations", "larger_than", "list_of_layers", None)


class RematScope:
    """Layers created inside ask for their activations to be recomputed in the backward pass.

    Args:
        mode: "full", "activations", "larger_than", "list_of_layers", or None for no recomputation.
        output_size_threshold: elements of output above which "larger_than" recomputes.
        layer_names: the layers that "list_of_layers" means.
    """

    def __init__(
        self, mode: str | None = "full", output_size_threshold: int = 1024, layer_names: list[str] | None = None
    ) -> None:
        if mode not in REMAT_MODES:
            raise ValueError(f"Invalid mode {mode!r}. Supported modes: {', '.join(map(repr, REMAT_MODES))}.")
        self.mode = mode
        self.output_size_threshold = output_size_threshold
        self.layer_names = layer_names or []

    def __enter__(self) -> RematScope:
        get_global_attribute("remat_scopes", [], set_to_default=True).append(self)
        return self

    def __exit__(self, *exc: Any) -> None:
        stack = get_global_attribute("remat_scopes")
        if stack:
            stack.pop()


def current_remat() -> RematScope | None:
    """The innermost RematScope that asks for recomputation, or None."""
    stack = get_global_attribute("remat_scopes")
    return stack[-1] if stack and stack[-1].mode is not None else None


def remat(f: Callable[..., Any]) -> Callable[..., Any]:
    """`f` with the request that what it computes is recomputed in the backward pass.

    The compiler decides between storing and recomputing by itself, so this marks the function and changes no value.
    """

    @functools.wraps(f)
    def rematerialized(*args: Any, **kwargs: Any) -> Any:
        return f(*args, **kwargs)

    rematerialized.is_rematerialized = True  # type: ignore[attr-defined]
    return rematerialized
