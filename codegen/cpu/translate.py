"""Kernel source -> LLVM IR: a front end for the kernel language, a small part of Python.

One function over int64 arguments; assignments to names and to elements of pointers, `for ... in range(...)`, `while`,
`if`, `break`, `continue`, `return`; calls of intrinsics, `min`, `max`, `abs`. Names of the module (intrinsics, numbers)
are constants. A name has the type of what was last assigned to it; where control flow joins two types of one name
that is used afterwards, it gets the type that holds both, and the function is translated once more.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Iterable, Mapping
from typing import Any

from llvmlite import ir

from graphkeras.codegen.cpu import arithmetic
from graphkeras.codegen.cpu.arithmetic import I64, KernelTypeError, Value, convert, truth
from graphkeras.codegen.cpu.dialect import (
    SCOPES,
    Boolean,
    Context,
    Float,
    Integer,
    IntegerLiteral,
    Intrinsic,
    Pointer,
    Type,
    UniTuple,
    marked,
    types,
)
from graphkeras.codegen.cpu.target import processor

ATTEMPTS = 50
Slot = tuple[Any, Type]  # memory of a name, until LLVM makes registers of it


class _Again(Exception):
    """A name needs another type than was assumed."""


class _Mixed:
    """A name that holds one of several types, depending on the way that control took."""

    def __init__(self, kinds: set[Type]) -> None:
        self.kinds = kinds


State = dict[str, Slot | _Mixed]


def translate(source: str, symbol: str, namespace: Mapping[str, Any], function: str = "kernel") -> ir.Module:
    """A module with `void symbol(i64, ...)` that does what `function` of the source says."""
    tree = ast.parse(source)
    found = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == function]
    if not found:
        raise KernelTypeError(f"the source defines no function {function!r}")
    choices = _Choices()
    for _ in range(ATTEMPTS):
        try:
            return _Translator(found[-1], symbol, namespace, choices).run()
        except _Again:
            continue
    raise KernelTypeError("the types of the function's names do not settle")


class _Choices:
    """What earlier attempts found out."""

    def __init__(self) -> None:
        self.forced: dict[str, Type] = {}
        self.mixed_at: dict[tuple[int, str], set[Type]] = {}  # (loop, name) -> types at its head

    def settle(self, name: str, kinds: set[Type]) -> None:
        """Give a name one type for the whole function."""
        if name in self.forced:
            kinds = kinds | {self.forced[name]}
        kind = _joined(name, kinds)
        if self.forced.get(name) == kind:
            raise KernelTypeError(f"{name} is used where it has several types: {kinds}")
        self.forced[name] = kind
        raise _Again


def _joined(name: str, kinds: set[Type]) -> Type:
    ordered = sorted(kinds, key=repr)
    if all(isinstance(k, Pointer) and k.dtype == ordered[0].dtype for k in ordered):  # type: ignore[attr-defined]
        return Pointer(ordered[0].dtype, SCOPES)  # type: ignore[attr-defined]
    if not all(isinstance(k, (Integer, Float, Boolean)) for k in ordered):
        raise KernelTypeError(f"{name} holds one of {', '.join(map(repr, ordered))}, depending on the way taken")
    found = ordered[0]
    for kind in ordered[1:]:
        found = types.int64 if isinstance(found, Boolean) != isinstance(kind, Boolean) else found
        found = arithmetic.common(found, types.int64 if isinstance(kind, Boolean) else kind)
    return found


class _Translator:
    def __init__(self, tree: ast.FunctionDef, symbol: str, namespace: Mapping[str, Any], choices: _Choices) -> None:
        self.tree, self.namespace, self.choices = tree, namespace, choices
        self.module = ir.Module(symbol)
        self.module.triple = processor().triple  # intrinsics such as `pause` ask for it
        names = [a.arg for a in tree.args.args]
        self.function = ir.Function(self.module, ir.FunctionType(ir.VoidType(), [I64] * len(names)), symbol)
        self.entry = self.function.append_basic_block("entry")
        self.slots: dict[tuple[str, Type], Slot] = {}
        self.state: State = {}
        self.loops: list[tuple[Any, Any, list[State], list[State]]] = []  # next, after, states at each
        body = self.function.append_basic_block("body")
        self.head = ir.IRBuilder(self.entry)
        self.b = ir.IRBuilder(body)
        for name, value in zip(names, self.function.args, strict=True):
            self.assign(name, (value, types.int64))

    def run(self) -> ir.Module:
        self.block(self.tree.body)
        if not self.b.block.is_terminated:
            self.b.ret_void()
        self.head.branch(self.function.blocks[1])
        return self.module

    # -- names ------------------------------------------------------------------------------------------
    def slot(self, name: str, kind: Type) -> Slot:
        if (name, kind) not in self.slots:
            self.slots[name, kind] = self.head.alloca(kind.llvm, name=name), kind
        return self.slots[name, kind]

    def assign(self, name: str, value: Value) -> None:
        found, kind = value[0], types.unliteral(value[1])
        if kind is types.none:
            raise KernelTypeError(f"{name} is assigned a call that gives no value")
        forced = self.choices.forced.get(name, kind)
        place = self.slot(name, forced)
        self.b.store(convert(self.b, found, kind, forced), place[0])
        self.state[name] = place

    def name(self, node: ast.Name) -> Value:
        place = self.state.get(node.id)
        if isinstance(place, _Mixed):
            self.choices.settle(node.id, place.kinds)
        elif place is not None:
            return self.b.load(place[0]), place[1]
        if node.id not in self.namespace:
            raise KernelTypeError(f"the name {node.id!r} is not defined")
        return self.number(self.namespace[node.id], node.id)

    @staticmethod
    def number(value: Any, what: str) -> Value:
        if isinstance(value, bool):
            return ir.Constant(ir.IntType(1), int(value)), types.boolean
        if isinstance(value, int):
            return I64(value), types.int64
        if isinstance(value, float):
            return ir.Constant(ir.DoubleType(), value), types.float64
        raise KernelTypeError(f"{what} is no number and cannot be used as a value")

    def join(self, states: Iterable[State]) -> State:
        """What is known where several ways meet."""
        joined: State = {}
        for state in states:
            for name, place in state.items():
                other = joined.setdefault(name, place)
                if other != place:
                    joined[name] = _Mixed(_kinds(other) | _kinds(place))
        return joined

    # -- statements -------------------------------------------------------------------------------------
    def block(self, statements: Iterable[ast.stmt]) -> None:
        for statement in statements:
            if self.b.block.is_terminated:
                return
            handler = getattr(self, "do_" + type(statement).__name__.lower(), None)
            if handler is None:
                raise KernelTypeError(f"line {statement.lineno}: the kernel language has no {type(statement).__name__}")
            try:
                handler(statement)
            except KernelTypeError as error:
                if str(error).startswith("line "):
                    raise
                raise KernelTypeError(f"line {statement.lineno}: {error}") from None

    def do_expr(self, node: ast.Expr) -> None:
        if not isinstance(node.value, ast.Constant):  # a docstring
            self.expr(node.value)

    def do_pass(self, node: ast.Pass) -> None:
        pass

    def do_return(self, node: ast.Return) -> None:
        self.b.ret_void()

    def do_assign(self, node: ast.Assign) -> None:
        value = self.expr(node.value)
        for target in node.targets:
            self.store(target, value)

    def do_augassign(self, node: ast.AugAssign) -> None:
        if isinstance(node.target, ast.Subscript):
            place = self.element(node.target)
            value = arithmetic.binary(self.b, type(node.op), self.load(place), self.expr(node.value))
            self.put(place, value)
            return
        assert isinstance(node.target, ast.Name)
        self.assign(
            node.target.id,
            arithmetic.binary(self.b, type(node.op), self.name(node.target), self.expr(node.value)),
        )

    def store(self, target: ast.expr, value: Value) -> None:
        if isinstance(target, ast.Name):
            self.assign(target.id, value)
        elif isinstance(target, ast.Subscript):
            self.put(self.element(target), value)
        else:
            raise KernelTypeError(f"cannot assign to {ast.unparse(target)}")

    def do_if(self, node: ast.If) -> None:
        condition = truth(self.b, *self.expr(node.test))
        yes, no, after = (self.function.append_basic_block(n) for n in ("yes", "no", "after"))
        self.b.cbranch(condition, yes, no)
        before, ends = self.state, []
        for start, statements in ((yes, node.body), (no, node.orelse)):
            self.state = dict(before)
            self.b.position_at_end(start)
            self.block(statements)
            if not self.b.block.is_terminated:
                self.b.branch(after)
                ends.append(self.state)
        self.b.position_at_end(after)
        self.state = self.join(ends)
        if not ends:
            self.b.unreachable()

    def do_continue(self, node: ast.Continue) -> None:
        following, _, continued, _ = self.loops[-1]
        continued.append(self.state)
        self.b.branch(following)

    def do_break(self, node: ast.Break) -> None:
        _, after, _, broken = self.loops[-1]
        broken.append(self.state)
        self.b.branch(after)

    def do_while(self, node: ast.While) -> None:
        endless = isinstance(node.test, ast.Constant) and bool(node.test.value)
        head, inside, after = (self.function.append_basic_block(n) for n in ("while", "inside", "done"))
        self.b.branch(head)
        self.b.position_at_end(head)
        start = self.enter(node)
        if endless:
            self.b.branch(inside)
        else:
            self.b.cbranch(truth(self.b, *self.expr(node.test)), inside, after)
        self.body(node, inside, head, after, start, endless)

    def do_for(self, node: ast.For) -> None:
        first, last, step, down = self.range(node.iter)
        counter = self.head.alloca(I64, name="counter")
        self.b.store(first, counter)
        head, inside, following, after = (self.function.append_basic_block(n) for n in ("for", "in", "next", "done"))
        self.b.branch(head)
        self.b.position_at_end(head)
        start = self.enter(node)
        here = self.b.load(counter)
        self.b.cbranch(self.b.icmp_signed(">" if down else "<", here, last), inside, after)
        self.b.position_at_end(following)
        self.b.store(self.b.add(self.b.load(counter), step, flags=("nsw",)), counter)
        self.b.branch(head)
        self.b.position_at_end(inside)
        self.store(node.target, (here, types.int64))
        self.body(node, inside, following, after, start, False)

    def range(self, node: ast.expr) -> tuple[Any, Any, Any, bool]:
        """first, last, step, and whether it counts down (by a literal)."""
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "range"):
            raise KernelTypeError("loops go over range(...)")
        values = [convert(self.b, *self.expr(a), types.int64) for a in node.args]
        first, last = (I64(0), values[0]) if len(values) == 1 else values[:2]
        step = values[2] if len(values) == 3 else I64(1)
        down = len(values) == 3 and isinstance(node.args[2], ast.UnaryOp) and isinstance(node.args[2].op, ast.USub)
        return first, last, step, down

    def enter(self, node: ast.stmt) -> State:
        """The state at a loop's head, where the end of its body comes in as well."""
        for (line, name), kinds in self.choices.mixed_at.items():
            if line == node.lineno and name in self.state and name not in self.choices.forced:
                self.state[name] = _Mixed(kinds)
        return dict(self.state)

    def body(self, node: ast.For | ast.While, inside: Any, following: Any, after: Any, start: State, endless: bool):
        """The statements of a loop; `following` is where an iteration ends, `after` where the loop does."""
        if self.b.block is not inside:
            self.b.position_at_end(inside)
        continued: list[State] = []
        broken: list[State] = []
        self.loops.append((following, after, continued, broken))
        self.block(node.body)
        if not self.b.block.is_terminated:
            self.b.branch(following)
            continued.append(self.state)
        self.loops.pop()
        end = self.join(continued)
        again = False
        for name, place in start.items():
            if name in end and end[name] != place and not isinstance(place, _Mixed):
                self.choices.mixed_at[node.lineno, name] = _kinds(place) | _kinds(end[name])
                again = True
        if again:
            raise _Again
        made = {name: place for name, place in end.items() if name not in start}
        self.state = self.join([*([] if endless else [{**start, **made}]), *broken])
        self.b.position_at_end(after)
        if endless and not broken:
            self.b.unreachable()

    # -- elements of memory -----------------------------------------------------------------------------
    def element(self, node: ast.Subscript) -> tuple[Any, Pointer]:
        pointer, kind = self.expr(node.value)
        index, index_kind = self.expr(node.slice)
        if not isinstance(kind, Pointer) or not isinstance(types.unliteral(index_kind), Integer):
            raise KernelTypeError(f"{ast.unparse(node)}: {kind} has no element {index_kind}")
        return self.b.gep(pointer, [convert(self.b, index, index_kind, types.int64)], inbounds=True), kind

    def load(self, place: tuple[Any, Pointer]) -> Value:
        return marked(self.b, self.b.load(place[0]), place[1].scope), place[1].dtype

    def put(self, place: tuple[Any, Pointer], value: Value) -> None:
        marked(self.b, self.b.store(convert(self.b, *value, place[1].dtype), place[0]), place[1].scope)

    # -- expressions ------------------------------------------------------------------------------------
    def expr(self, node: ast.expr) -> Value:
        if isinstance(node, ast.Name):
            return self.name(node)
        if isinstance(node, ast.Constant):
            return self.number(node.value, repr(node.value))
        if isinstance(node, ast.BinOp):
            return arithmetic.binary(self.b, type(node.op), self.expr(node.left), self.expr(node.right))
        if isinstance(node, ast.Call):
            return self.call(node)
        if isinstance(node, ast.Subscript):
            return self.load(self.element(node))
        if isinstance(node, ast.Compare) and len(node.ops) == 1:
            left, right = self.expr(node.left), self.expr(node.comparators[0])
            return arithmetic.compare(self.b, type(node.ops[0]), left, right)
        if isinstance(node, ast.UnaryOp):
            if isinstance(node.operand, ast.Constant) and isinstance(node.op, ast.USub):
                return self.number(operator.neg(node.operand.value), "-")  # type: ignore[arg-type]
            return arithmetic.unary(self.b, type(node.op), self.expr(node.operand))
        if isinstance(node, ast.BoolOp):
            return self.logic(node)
        if isinstance(node, ast.IfExp):
            return self.choice(node)
        if isinstance(node, ast.Tuple):
            return self.tuple(node)
        raise KernelTypeError(f"the kernel language has no {type(node).__name__}: {ast.unparse(node)}")

    def logic(self, node: ast.BoolOp) -> Value:
        """and, or: what stands right is not computed where the left decides."""
        both = isinstance(node.op, ast.And)
        after = self.function.append_basic_block("decided")
        decided = []
        for operand in node.values[:-1]:
            value = truth(self.b, *self.expr(operand))
            more = self.function.append_basic_block("more")
            decided.append((ir.Constant(ir.IntType(1), int(not both)), self.b.block))
            self.b.cbranch(value, *((more, after) if both else (after, more)))
            self.b.position_at_end(more)
        decided.append((truth(self.b, *self.expr(node.values[-1])), self.b.block))
        self.b.branch(after)
        self.b.position_at_end(after)
        found = self.b.phi(ir.IntType(1))
        for value, block in decided:
            found.add_incoming(value, block)
        return found, types.boolean

    def choice(self, node: ast.IfExp) -> Value:
        condition = truth(self.b, *self.expr(node.test))
        yes, no, after = (self.function.append_basic_block(n) for n in ("yes", "no", "after"))
        self.b.cbranch(condition, yes, no)
        ends = []
        for start, part in ((yes, node.body), (no, node.orelse)):
            self.b.position_at_end(start)
            ends.append((*self.expr(part), self.b.block))
        kinds = {types.unliteral(kind) for _, kind, _ in ends}
        kind = kinds.pop() if len(kinds) == 1 else _joined(ast.unparse(node), kinds)
        incoming = []
        for value, own, block in ends:
            self.b.position_at_end(block)
            incoming.append((convert(self.b, value, own, kind), block))
            self.b.branch(after)
        self.b.position_at_end(after)
        found = self.b.phi(kind.llvm)
        for value, block in incoming:
            found.add_incoming(value, block)
        return found, kind

    def tuple(self, node: ast.Tuple) -> Value:
        values = [self.expr(e) for e in node.elts]
        kinds = {types.unliteral(kind) for _, kind in values}
        kind = kinds.pop() if len(kinds) == 1 else _joined("a tuple", kinds)
        made: Any = ir.Constant(ir.ArrayType(kind.llvm, len(values)), ir.Undefined)
        for k, (value, own) in enumerate(values):
            made = self.b.insert_value(made, convert(self.b, value, own, kind), k)
        return made, UniTuple(kind, len(values))

    # -- calls ------------------------------------------------------------------------------------------
    def call(self, node: ast.Call) -> Value:
        if not isinstance(node.func, ast.Name) or node.keywords:
            raise KernelTypeError(f"cannot call {ast.unparse(node)}")
        name = node.func.id
        function = self.namespace.get(name)
        if isinstance(function, Intrinsic):
            return self.intrinsic(function, node)
        values = [self.expr(a) for a in node.args]
        if function is None and name in ("min", "max") and len(values) == 2:
            return arithmetic.extreme(self.b, name == "min", *values)
        if function is None and name == "abs" and len(values) == 1:
            return arithmetic.absolute(self.b, *values)
        raise KernelTypeError(f"{name!r} is no function of the kernel language")

    def intrinsic(self, function: Intrinsic, node: ast.Call) -> Value:
        name = function.__name__
        if len(node.args) == 1 and isinstance(node.args[0], ast.Constant) and name in CONSTANTS:
            return _constant(name, node.args[0].value)
        values = [self.expr(a) for a in node.args]
        kinds = tuple(types.unliteral(kind) for _, kind in values)
        if function.prefer_literal:
            kinds = tuple(
                IntegerLiteral(a.value) if isinstance(a, ast.Constant) and type(a.value) is int else kind
                for a, kind in zip(node.args, kinds, strict=True)
            )
        try:
            found = function.resolve(kinds)
        except TypeError as error:
            raise KernelTypeError(f"{ast.unparse(node)}: {error}") from None
        if found is None:
            raise KernelTypeError(f"{name} does not take ({', '.join(map(repr, kinds))})")
        signature, emit = found
        args = [convert(self.b, *v, wanted) for v, wanted in zip(values, signature.args, strict=True)]
        return emit(Context, self.b, signature, args), signature.return_type


CONSTANTS = {"float32": types.float32, "float64": types.float64, "int32": types.int32, "int64": types.int64}


def _constant(name: str, value: Any) -> Value:
    kind = CONSTANTS[name]
    if isinstance(kind, Float):
        return ir.Constant(kind.llvm, float(value)), kind
    if isinstance(value, float):
        raise KernelTypeError(f"{name}({value}) is no integer")
    width = kind.bitwidth
    return ir.Constant(kind.llvm, (int(value) + (1 << (width - 1))) % (1 << width) - (1 << (width - 1))), kind


def _kinds(place: Slot | _Mixed) -> set[Type]:
    return place.kinds if isinstance(place, _Mixed) else {place[1]}


def with_fast_math(module: ir.Module, flags: Iterable[str]) -> None:
    """Give the floating-point instructions of a module that have no flags of their own `flags`."""
    flags = tuple(flags)
    if not flags:
        return
    scalars = (ir.FloatType(), ir.DoubleType())
    operations = {"fadd", "fsub", "fmul", "fdiv", "frem", "fcmp"}
    for function in module.functions:
        for block in function.blocks:
            for instruction in block.instructions:
                if instruction.opname in operations and not instruction.flags:
                    instruction.flags.extend(flags)
                elif instruction.opname == "call" and instruction.type in scalars:
                    instruction.fastmath.update(flags)
