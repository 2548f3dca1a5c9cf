"""Blocks of PTX that templates make for their own use: a whole warp tile of a product, say, as one instruction.

A macro is a function of literal parameters that gives a `Macro`: the PTX, and the same computed with NumPy for the
simulator. Sources name it: `tile = macro("tile", 4, 8)`; then `tile(...)` is called like any other function. One block
of many instructions keeps Numba's work small (its cost grows with the square of the statements) and the accumulators
of tensor cores in registers.

    @register("tile")
    def tile(rows: int, columns: int) -> Macro:
        return Macro(Intrinsic("tile", text, outs, ins), twin)

`twin(machine, *operands)` gets the simulator's `Machine` and arrays with one element per thread (tuples for tuples).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from graphkeras.codegen.cuda.language import Intrinsic

MODULES: tuple[str, ...] = ("hopper_macros",)
"""Modules of this package that register macros; templates add theirs here."""

_MACROS: dict[str, Callable[..., Macro]] = {}


@dataclass(frozen=True)
class Macro:
    intrinsic: Intrinsic
    twin: Callable[..., Any]


def register(name: str) -> Callable[[Callable[..., Macro]], Callable[..., Macro]]:
    """Make a macro known by its name."""

    def decorate(make: Callable[..., Macro]) -> Callable[..., Macro]:
        _MACROS[name] = make
        return make

    return decorate


def macro_of(name: str, parameters: Sequence[Any]) -> Macro:
    """The macro `name` for these parameters."""
    if name not in _MACROS:
        for module in MODULES:
            importlib.import_module(f"graphkeras.codegen.cuda.{module}")
    if name not in _MACROS:
        raise KeyError(f"no macro named {name!r}; known macros: {', '.join(sorted(_MACROS)) or 'none'}")
    return _MACROS[name](*parameters)
