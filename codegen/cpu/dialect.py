"""Types and intrinsics of the kernel language.

An intrinsic is a function `fn(typingctx, *types)` that returns `(signature, codegen)`, or None where it does not take
these types; `codegen(context, builder, signature, values)` prints LLVM instructions. The protocol is Numba's, so that
the same text can be compiled by it (`numba_front.py`). `translate.py` calls intrinsics; `support.py` defines those that
all kernels use.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from llvmlite import ir

SCOPES = 64
"""How many arguments, from the first, have an alias class of their own."""


class Signature:
    """Result and argument types of one call."""

    def __init__(self, return_type: Type, *args: Type) -> None:
        self.return_type, self.args = return_type, args


class Type:
    """A type of values in kernels; equal types have equal keys. Calling one gives a signature that returns it."""

    def __init__(self, name: str, llvm: ir.Type) -> None:
        self.name, self.llvm = name, llvm

    @property
    def key(self) -> Any:
        return self.name

    def __eq__(self, other: object) -> bool:
        return self is other or (type(self) is type(other) and self.key == other.key)  # type: ignore[attr-defined]

    def __hash__(self) -> int:
        return hash(self.key)

    def __call__(self, *args: Type) -> Signature:
        return Signature(self, *args)

    def __repr__(self) -> str:
        return self.name


class Number(Type):
    bitwidth: int


class Integer(Number):
    def __init__(self, bitwidth: int, signed: bool) -> None:
        super().__init__(f"{'' if signed else 'u'}int{bitwidth}", ir.IntType(bitwidth))
        self.bitwidth, self.signed = bitwidth, signed


class Float(Number):
    def __init__(self, bitwidth: int) -> None:
        super().__init__(f"float{bitwidth}", ir.FloatType() if bitwidth == 32 else ir.DoubleType())
        self.bitwidth = bitwidth


class Boolean(Type):
    """One bit in registers."""


class Literal(Type):
    """A constant whose value is part of its type."""


class IntegerLiteral(Literal):
    def __init__(self, value: int) -> None:
        super().__init__(f"literal({value})", ir.IntType(64))
        self.literal_value = value


class UniTuple(Type):
    """`count` values of one type."""

    def __init__(self, dtype: Type, count: int) -> None:
        super().__init__(f"tuple({dtype}, {count})", ir.ArrayType(dtype.llvm, count))
        self.dtype, self.count = dtype, count


class Pointer(Type):
    """A typed address that knows its alias class (`scope`; SCOPES or more: none)."""

    def __init__(self, dtype: Number, scope: int) -> None:
        super().__init__(f"pointer({dtype}, {scope})", dtype.llvm.as_pointer())
        self.dtype, self.scope = dtype, scope


def _unliteral(kind: Type) -> Type:
    return types.int64 if isinstance(kind, IntegerLiteral) else kind


class types:
    """The types by name, as kernels' authors know them."""

    Type, Number, Integer, Float, Boolean = Type, Number, Integer, Float, Boolean
    Literal, IntegerLiteral, UniTuple = Literal, IntegerLiteral, UniTuple
    int8, int16, int32, int64 = (Integer(n, True) for n in (8, 16, 32, 64))
    uint8, uint16, uint32, uint64 = (Integer(n, False) for n in (8, 16, 32, 64))
    float32, float64 = Float(32), Float(64)
    boolean = Boolean("boolean", ir.IntType(1))
    none = void = Type("none", ir.VoidType())

    unliteral = staticmethod(_unliteral)


def signature(return_type: Type, *args: Type) -> Signature:
    return Signature(return_type, *args)


Emit = Callable[[Any, Any, Signature, list[Any]], Any]


class Intrinsic:
    """A function of the kernel language, resolved once for each tuple of argument types."""

    def __init__(self, typed: Callable[..., Any], prefer_literal: bool = False) -> None:
        self.typed, self.prefer_literal = typed, prefer_literal
        self.__name__ = typed.__name__
        self._known: dict[tuple[Type, ...], tuple[Signature, Emit] | None] = {}

    def resolve(self, kinds: tuple[Type, ...]) -> tuple[Signature, Emit] | None:
        if kinds not in self._known:
            self._known[kinds] = self.typed(None, *kinds)
        return self._known[kinds]


def intrinsic(typed: Callable[..., Any] | None = None, *, prefer_literal: bool = False) -> Any:
    """Make an intrinsic. prefer_literal: it is told the values of integer constants (as IntegerLiteral)."""
    if typed is None:
        return lambda fn: Intrinsic(fn, prefer_literal)
    return Intrinsic(typed, prefer_literal)


class Context:
    """What `codegen` gets as its first argument."""

    @staticmethod
    def get_dummy_value() -> Any:
        """The value of a call that gives none."""
        return None


def get_or_insert_function(module: Any, kind: Any, name: str) -> Any:
    """The external function `name` of an LLVM module, declared when it is first asked for."""
    return module.globals.get(name) or ir.Function(module, kind, name)


ROLLED = "graphkeras rolled loop"


def rolled(branch: Any) -> None:
    """Mark the branch back to a loop's head: the body is long enough, LLVM need not unroll it."""
    branch.set_metadata("llvm.loop", branch.parent.module.add_metadata([ROLLED]))


def with_loops_named(text: str) -> str:
    """LLVM wants the name of a loop to refer to itself, which llvmlite cannot print."""
    found = re.search(rf'^(!\d+) = !{{ !"{ROLLED}" }}$', text, re.MULTILINE)
    if found is None:
        return text
    name = found.group(1)
    plain = f'{name} = distinct !{{ {name}, !1000000 }}\n!1000000 = !{{ !"llvm.loop.unroll.disable" }}'
    return text[: found.start()] + plain + text[found.end() :]


def marked(builder: Any, instruction: Any, scope: int) -> Any:
    """Tell LLVM that a load or store touches only memory of argument `scope`. For hand-written intrinsics too."""
    if scope >= SCOPES:
        return instruction
    module = builder.module
    known = module.__dict__.setdefault("_graphkeras_scopes", {})
    if not known:
        domain = module.add_metadata(["graphkeras arguments"])
        known["all"] = [module.add_metadata([f"argument {k}", domain]) for k in range(SCOPES)]
    if scope not in known:
        others = [s for k, s in enumerate(known["all"]) if k != scope]
        known[scope] = module.add_metadata([known["all"][scope]]), module.add_metadata(others)
    instruction.set_metadata("alias.scope", known[scope][0])
    instruction.set_metadata("noalias", known[scope][1])
    return instruction
