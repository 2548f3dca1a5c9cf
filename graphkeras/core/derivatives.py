"""Derivatives of Python functions: grad, value_and_grad, vjp, jvp, jacobian, hessian.

All of them record the function with GradientTapes, so they work in eager code and inside compiled functions, nest, and
take nested structures of tensors.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from graphkeras.core import tree
from graphkeras.core.convert import convert_to_tensor
from graphkeras.core.dtypes import is_float_dtype
from graphkeras.core.tape import GradientTape
from graphkeras.core.tensor import Tensor
from graphkeras.core.trace import current_trace

ArgNums = int | Sequence[int]


def value_and_grad(fn: Callable[..., Any], argnums: ArgNums = 0, has_aux: bool = False) -> Callable[..., Any]:
    """A function that returns what `fn` returns and the gradient of it.

    Args:
        fn: function that returns a float scalar tensor, or `(scalar, anything)` with `has_aux`.
        argnums: position of the argument to differentiate for, or a tuple of positions.
        has_aux: whether `fn` returns more than the scalar.

    Returns:
        function of the same arguments, which returns `(result of fn, gradient)`. The gradient has the structure of the
        argument (a tuple of them for several positions), zeros where the result does not depend on it.

    Raises:
        ValueError: the result is no float scalar, or an argument to differentiate for holds no float tensors.

    Example:

    >>> import graphkeras as keras
    >>> value, gradient = keras.value_and_grad(lambda x: x**2)(keras.ops.array(3.0))
    >>> float(value), float(gradient)
    (9.0, 6.0)
    """

    @functools.wraps(fn)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        with GradientTape() as tape:
            args, chosen = _watched(tape, args, argnums, "value_and_grad")
            result = fn(*args, **kwargs)
            value = result[0] if has_aux else result
            _check_scalar(value)
            gradient = tape.gradient(value, chosen, unconnected_gradients="zero")
        return _known(result), _known(gradient)

    return wrapped


def grad(fn: Callable[..., Any], argnums: ArgNums = 0, has_aux: bool = False) -> Callable[..., Any]:
    """A function that computes the gradient of `fn`; arguments as for `value_and_grad`.

    Returns:
        function that returns the gradient, or `(gradient, aux)` with `has_aux`.

    Example:

    >>> import graphkeras as keras
    >>> slope = keras.grad(keras.grad(lambda x: x**3))
    >>> float(slope(keras.ops.array(2.0)))
    12.0
    """

    @functools.wraps(fn)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        result, gradient = value_and_grad(fn, argnums, has_aux)(*args, **kwargs)
        return (gradient, result[1]) if has_aux else gradient

    return wrapped


def vjp(fn: Callable[..., Any], *primals: Any) -> tuple[Any, Callable[[Any], tuple[Any, ...]]]:
    """The value of `fn(*primals)` and a function from weights of its outputs to the gradients of their sum.

    Args:
        fn: function of tensors.
        primals: its arguments, float tensors or structures of them.

    Example:

    >>> import graphkeras as keras
    >>> value, pull = keras.vjp(lambda x: x * x, keras.ops.array([1.0, 2.0]))
    >>> pull(keras.ops.array([1.0, 10.0]))[0].tolist()
    [2.0, 40.0]
    """
    with GradientTape(persistent=True) as tape:
        args, chosen = _watched(tape, primals, tuple(range(len(primals))), "vjp")
        value = fn(*args)

    def pull(cotangents: Any) -> tuple[Any, ...]:
        return tuple(tape.gradient(value, list(chosen), cotangents, unconnected_gradients="zero"))

    return _known(value), pull


def jvp(fn: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
    """The value of `fn(*primals)` and its derivative in the direction of `tangents`.

    Args:
        fn: function of tensors that returns a float tensor.
        primals: its arguments.
        tangents: a direction for each, of the same structure.

    The derivative J v is taken in reverse twice: u -> J' u is linear in u, and its own reverse is J.

    Example:

    >>> import graphkeras as keras
    >>> value, slope = keras.jvp(lambda x: x * x, [keras.ops.array(3.0)], [keras.ops.array(1.0)])
    >>> float(value), float(slope)
    (9.0, 6.0)
    """
    from graphkeras import ops

    with GradientTape() as outer:
        args, chosen = _watched(outer, primals, tuple(range(len(primals))), "jvp")
        value = fn(*args)
        weights = ops.multiply(value, 0)  # any value would do
        pulled = outer.gradient(value, list(chosen), weights, unconnected_gradients="zero")
        pairs = zip(tree.flatten(pulled), tree.flatten(list(tangents)), strict=True)
        along = sum(ops.sum(g * convert_to_tensor(t, dtype=g.dtype)) for g, t in pairs)
        derivative = outer.gradient(along, weights, unconnected_gradients="zero")
    return _known(value), _known(derivative)


def jacobian(fn: Callable[..., Any], argnums: ArgNums = 0) -> Callable[..., Any]:
    """A function that computes all first derivatives of `fn`: shape `output.shape + argument.shape`.

    Example:

    >>> import graphkeras as keras
    >>> keras.jacobian(lambda x: x * x)(keras.ops.array([1.0, 2.0])).tolist()
    [[2.0, 0.0], [0.0, 4.0]]
    """

    @functools.wraps(fn)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        with GradientTape() as tape:
            args, chosen = _watched(tape, args, argnums, "jacobian")
            result = tape.jacobian(fn(*args, **kwargs), chosen, unconnected_gradients="zero")
        return _known(result)

    return wrapped


def hessian(fn: Callable[..., Any], argnums: int = 0) -> Callable[..., Any]:
    """A function that computes all second derivatives of a scalar function for one tensor argument.

    Example:

    >>> import graphkeras as keras
    >>> keras.hessian(lambda x: keras.ops.sum(x**3))(keras.ops.array([1.0, 2.0])).tolist()
    [[6.0, 0.0], [0.0, 12.0]]
    """
    return jacobian(grad(fn, argnums), argnums)


def _watched(tape: GradientTape, args: Sequence[Any], argnums: ArgNums, name: str) -> tuple[tuple[Any, ...], Any]:
    """The arguments with tensors that the tape knows, and those among them to differentiate for."""
    positions = (argnums,) if isinstance(argnums, int) else tuple(argnums)
    found = list(args)
    for p in positions:
        if not -len(args) <= p < len(args):
            raise ValueError(f"{name}(): argnums={argnums} names argument {p}, received {len(args)} arguments.")
        found[p] = tree.map_structure(functools.partial(_watch, tape, f"{name}(): argument {p}"), args[p])
    chosen = [found[p] for p in positions]
    return tuple(found), chosen[0] if isinstance(argnums, int) else tuple(chosen)


def _watch(tape: GradientTape, what: str, x: Any) -> Tensor:
    tensor = convert_to_tensor(x)
    if not is_float_dtype(tensor.dtype):
        raise ValueError(f"{what} must hold float tensors to differentiate for. Received dtype {tensor.dtype}.")
    return tape.tensor(tensor)


def _check_scalar(value: Any) -> None:
    if not isinstance(value, Tensor) or value.shape != () or not is_float_dtype(value.dtype):
        received = f"shape {value.shape}, dtype {value.dtype}" if isinstance(value, Tensor) else repr(value)
        raise ValueError(
            f"The function to differentiate must return a float scalar tensor. Received: {received}. "
            "Reduce it with ops.sum() or ops.mean(), or use jacobian()."
        )


def _known(result: Any) -> Any:
    """Tensors whose tape has ended as concrete ones."""
    trace = current_trace()

    def leave(x: Any) -> Any:
        ended = isinstance(x, Tensor) and x.trace is not None and trace is None
        return Tensor(x.numpy()) if ended else x

    return tree.map_structure(leave, result)
