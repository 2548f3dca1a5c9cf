"""The op record: everything the compiler knows of one primitive, in one place.

A record holds the shape rule, an independent NumPy reference, the gradient, the lowering data and test
samples. New concerns become side tables with a default (see `Op.extra`), never another required field.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any


class Kind(enum.Enum):
    """How an op lowers, and nothing else."""

    SOURCE = "source"  # input, const, iota: no inputs
    POINTWISE = "pointwise"  # one scalar body per element, NumPy broadcasting
    REDUCE = "reduce"  # a monoid over some axes
    CONTRACT = "contract"  # dot_general
    WINDOW = "window"  # convolution, pooling
    VIEW = "view"  # index maps
    GATHER = "gather"  # indexed reads and writes
    OPAQUE = "opaque"  # rng, sort, control flow, linear algebra
    COMPOSITE = "composite"  # a graph of primitives with a name and, often, a gradient of its own


@dataclass(frozen=True)
class Sample:
    """One test case: arrays are drawn by `tests` from the given shapes, dtypes and ranges."""

    shapes: tuple[tuple[int, ...], ...]
    attrs: Mapping[str, Any] = field(default_factory=dict)
    low: float | tuple[float, ...] = -2.0
    high: float | tuple[float, ...] = 2.0
    dtypes: tuple[str, ...] | None = None  # per input; None: the op's float dtypes
    make: Callable[..., Any] | None = None  # rng -> arrays, where ranges do not say enough
    differentiable: bool = True


@dataclass(frozen=True)
class Op:
    """One primitive.

    infer(*types, **attrs) -> type(s): the only shape code; raises ValueError/TypeError with expected and received.
    reference(*arrays, **attrs) -> array(s): NumPy, written independently of `lower`.
    vjp(b, ct, node) -> sequence of cotangents (None: zero), one per input, in output shape for POINTWISE
        (un-broadcasting happens once, in autodiff).
    lower: scalar body `body(h, *xs, **attrs)` for POINTWISE, a Monoid for REDUCE, template data else.
    decompose(b, node) -> Node: for COMPOSITE (and decomposable) ops, the graph of primitives.
    """

    name: str
    kind: Kind
    infer: Callable[..., Any]
    reference: Callable[..., Any]
    vjp: Callable[..., Any] | None = None
    lower: Any = None
    decompose: Callable[..., Any] | None = None
    samples: tuple[Sample, ...] = ()
    tolerance: float = 1e-6
    doc: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)


_REGISTRY: dict[str, Op] = {}


def register(op: Op) -> Op:
    if op.name in _REGISTRY:
        raise ValueError(f"op {op.name!r} is registered twice")
    _REGISTRY[op.name] = op
    return op


def get_op(name: str) -> Op:
    try:
        return _REGISTRY[name]
    except KeyError:
        _load()
    if name in _REGISTRY:
        return _REGISTRY[name]
    raise KeyError(f"no op named {name!r}; known ops: {', '.join(sorted(_REGISTRY))}")


def all_ops() -> Iterable[Op]:
    _load()
    return tuple(_REGISTRY.values())


def _load() -> None:
    """Importing the records registers them."""
    import graphkeras.ir.ops  # noqa: F401
