"""Shape and dtype inference of any Python function of tensors, by tracing it.

Unknown extents (None) are replaced by one number, then by another: extents that come out different are unknown too.
So the shape rules of the primitives are the only shape code.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from graphkeras.core import tree
from graphkeras.core.convert import convert_to_tensor
from graphkeras.core.global_state import get_global_attribute, set_global_attribute
from graphkeras.core.keras_tensor import KerasTensor
from graphkeras.core.scopes import SymbolicScope
from graphkeras.core.tensor import Operators, Tensor
from graphkeras.core.trace import ScratchTrace, ValueRequested, eager
from graphkeras.ir.types import TensorType, numpy_dtype

# Primes, so that a product never looks like a known extent; then numbers with many divisors, for functions that
# split or fold an unknown extent.
_FILLS = ((251, 257), (5040, 10080))


def compute_output_spec(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """What `fn` returns for these arguments, as KerasTensors in the same nested structure.

    Args:
        fn: a function of tensors. It runs, twice where an extent is unknown, but computes no values of the arguments.
        args, kwargs: its arguments; KerasTensors in them (also nested) stand for tensors.
    """
    leaves = [x for x in tree.flatten((args, kwargs)) if isinstance(x, KerasTensor)]
    if all(None not in x.shape for x in leaves):
        return tree.map_structure(_to_spec, _run(fn, args, kwargs, 1))
    first_error: Exception | None = None
    for small, large in _FILLS:
        try:
            a, b = _run(fn, args, kwargs, small), _run(fn, args, kwargs, large)
        except Exception as error:
            first_error = first_error or error
            continue
        tree.assert_same_structure(a, b)
        return tree.map_structure(_merge, a, b)
    assert first_error is not None
    try:  # unknown extents of two inputs may differ and broadcast: then at least 1 fits
        return tree.map_structure(_unknown_if_one, _run(fn, args, kwargs, 1))
    except Exception:
        raise first_error from None


def with_unknown_extents(message: str) -> str:
    """An error message with None where a shape in it shows a stand-in of an unknown extent."""
    stand_ins = "|".join(str(n) for pair in _FILLS for n in pair)
    return re.sub(rf"(?<=[(, ])(?:{stand_ins})(?=[,)])", "None", message)


def values_were_guessed() -> bool:
    """Whether the last function given to `compute_output_spec` asked for values: parts of it may not have run."""
    return bool(get_global_attribute("values_guessed"))


def _run(fn: Callable[..., Any], args: Any, kwargs: Any, fill: int) -> Any:
    """Run `fn` on placeholders. Where it asks for values it is run with guesses, which serve to learn its shapes."""
    set_global_attribute("values_guessed", False)
    found, problems = [], []
    for guess in (0, 1):  # both, so that layers on both sides of a decision are built
        trace = _GuessingTrace(guess)
        try:
            found.append(_run_in(trace, fn, args, kwargs, fill))
        except Exception as error:
            if not trace.requested:
                raise
            problems.append(error)
        if not trace.requested:
            break
        set_global_attribute("values_guessed", True)
    if found:
        return found[0]
    if isinstance(problems[0], ValueRequested):
        raise problems[0]
    raise ValueRequested(str(problems[0])) from problems[0]


class _GuessingTrace(ScratchTrace):
    """Answers questions for values with zeros (no) or ones (yes)."""

    MOST = 100  # after so many the answer may be why a loop does not end

    def __init__(self, guess: int) -> None:
        super().__init__()
        self._guess, self._asked = guess, 0

    def concrete_value(self, tensor: Tensor) -> np.ndarray:
        self.requested = True
        self._asked += 1
        if self._asked > self.MOST:
            return super().concrete_value(tensor)
        return np.full(tensor.shape, self._guess, numpy_dtype(tensor.dtype))


def _run_in(trace: ScratchTrace, fn: Callable[..., Any], args: Any, kwargs: Any, fill: int) -> Any:
    before = get_global_attribute("stateless_scope")
    set_global_attribute("stateless_scope", None)
    try:
        with eager(), trace, SymbolicScope():
            made: dict[int, Tensor] = {}

            def placeholder(x: Any) -> Any:
                if not isinstance(x, KerasTensor):
                    return x
                if id(x) not in made:
                    shape = tuple(fill if d is None else d for d in x.shape)
                    made[id(x)] = trace.input(TensorType(shape, x.dtype), x.name)
                return made[id(x)]

            args, kwargs = tree.map_structure(placeholder, (args, kwargs))
            return fn(*args, **kwargs)
    finally:
        set_global_attribute("stateless_scope", before)


def _as_tensor(x: Any) -> Any:
    if isinstance(x, (Tensor, KerasTensor)):
        return x
    if isinstance(x, (Operators, bool, int, float, complex)) or hasattr(x, "__array__"):
        return convert_to_tensor(x)
    return x


def _to_spec(x: Any) -> Any:
    x = _as_tensor(x)
    return KerasTensor(x.shape, x.dtype) if isinstance(x, Tensor) else x


def _unknown_if_one(x: Any) -> Any:
    x = _as_tensor(x)
    return KerasTensor(tuple(None if d == 1 else d for d in x.shape), x.dtype) if isinstance(x, Tensor) else x


def _merge(a: Any, b: Any) -> Any:
    a, b = _as_tensor(a), _as_tensor(b)
    if not isinstance(a, Tensor) or not isinstance(b, Tensor):
        return a
    if len(a.shape) != len(b.shape):
        raise ValueError(f"the rank of the output depends on the extents of the input: {a.shape} or {b.shape}.")
    return KerasTensor(tuple(m if m == n else None for m, n in zip(a.shape, b.shape, strict=True)), a.dtype)
