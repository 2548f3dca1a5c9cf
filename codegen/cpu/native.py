"""What the plan loop needs beyond kernels: calls by address, atomics, the pause instruction, the clock.

Sources import it as `from graphkeras.codegen.cpu.native import *`. Addresses are plain int64.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from graphkeras.codegen.cpu.dialect import intrinsic, signature, types

__all__ = ["call_kernel", "copy_bytes", "fetch_add", "flush_subnormals", "load_acquire", "load_i32", "load_i64",
           "load_u8", "nanoseconds", "pause", "restore_float_mode", "store_i64", "store_release",
           "yield_core"]  # fmt: skip

I8, I32, I64 = (ir.IntType(n) for n in (8, 32, 64))
WORD = types.int64


def _pointer(builder: Any, address: Any, kind: ir.Type = I64) -> Any:
    return builder.inttoptr(address, kind.as_pointer())


def _external(builder: Any, name: str, kind: ir.FunctionType) -> Any:
    return builder.module.globals.get(name) or ir.Function(builder.module, kind, name)


@intrinsic
def call_kernel(typingctx, function, args, lo, hi):  # type: ignore[no-untyped-def]
    """Call void function(args, lo, hi) by its address."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = ir.FunctionType(ir.VoidType(), [I64] * 3)
        builder.call(builder.inttoptr(args[0], kind.as_pointer()), args[1:])
        return context.get_dummy_value()

    return signature(types.none, WORD, WORD, WORD, WORD), codegen


@intrinsic
def copy_bytes(typingctx, target, source, nbytes):  # type: ignore[no-untyped-def]
    """memmove."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        byte = I8.as_pointer()
        move = _external(builder, "memmove", ir.FunctionType(byte, [byte, byte, I64]))
        builder.call(move, [_pointer(builder, args[0], I8), _pointer(builder, args[1], I8), args[2]])
        return context.get_dummy_value()

    return signature(types.none, WORD, WORD, WORD), codegen


@intrinsic
def fetch_add(typingctx, address, value):  # type: ignore[no-untyped-def]
    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.atomic_rmw("add", _pointer(builder, args[0]), args[1], "acq_rel")

    return signature(WORD, WORD, WORD), codegen


@intrinsic
def load_acquire(typingctx, address):  # type: ignore[no-untyped-def]
    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.load_atomic(_pointer(builder, args[0]), "acquire", 8)

    return signature(WORD, WORD), codegen


@intrinsic
def store_release(typingctx, address, value):  # type: ignore[no-untyped-def]
    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        builder.store_atomic(args[1], _pointer(builder, args[0]), "release", 8)
        return context.get_dummy_value()

    return signature(types.none, WORD, WORD), codegen


@intrinsic
def store_i64(typingctx, address, value):  # type: ignore[no-untyped-def]
    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        builder.store(args[1], _pointer(builder, args[0]))
        return context.get_dummy_value()

    return signature(types.none, WORD, WORD), codegen


def _load(kind: ir.IntType, signed: bool):  # type: ignore[no-untyped-def]
    def typed(typingctx, address):  # type: ignore[no-untyped-def]
        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            value = builder.load(_pointer(builder, args[0], kind))
            if kind is I64:
                return value
            return builder.sext(value, I64) if signed else builder.zext(value, I64)

        return signature(WORD, WORD), codegen

    return intrinsic(typed)


load_i64, load_i32, load_u8 = _load(I64, True), _load(I32, True), _load(I8, False)


@intrinsic
def pause(typingctx):  # type: ignore[no-untyped-def]
    """Tell the core that this is a waiting loop."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        machine = builder.module.triple.split("-")[0]
        if machine in ("x86_64", "i686", "amd64"):
            builder.call(_external(builder, "llvm.x86.sse2.pause", ir.FunctionType(ir.VoidType(), [])), [])
        elif machine in ("aarch64", "arm64"):
            builder.call(_external(builder, "llvm.aarch64.hint", ir.FunctionType(ir.VoidType(), [I32])), [I32(1)])
        return context.get_dummy_value()

    return signature(types.none), codegen


@intrinsic
def yield_core(typingctx):  # type: ignore[no-untyped-def]
    """Let another thread have this core."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        builder.call(_external(builder, "sched_yield", ir.FunctionType(I32, [])), [])
        return context.get_dummy_value()

    return signature(types.none), codegen


X86_FLUSH = 0x8040  # MXCSR: results (bit 15) and operands (bit 6) below the normal range count as zero
ARM_FLUSH = 1 << 24  # FPCR.FZ: both


def _mxcsr(builder: Any, word: Any, store: bool) -> None:
    kind = ir.FunctionType(ir.VoidType(), [I8.as_pointer()])
    name = "llvm.x86.sse.stmxcsr" if store else "llvm.x86.sse.ldmxcsr"
    builder.call(_external(builder, name, kind), [builder.bitcast(word, I8.as_pointer())])


def _set_fpcr(builder: Any, mode: Any) -> None:
    builder.call(_external(builder, "llvm.aarch64.set.fpcr", ir.FunctionType(ir.VoidType(), [I64])), [mode])


@intrinsic
def flush_subnormals(typingctx):  # type: ignore[no-untyped-def]
    """From now on this thread takes numbers below the normal range for zero; returns the mode that it had before."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        machine = builder.module.triple.split("-")[0]
        if machine in ("x86_64", "amd64"):
            word = builder.alloca(I32)
            _mxcsr(builder, word, store=True)
            before = builder.load(word)
            builder.store(builder.or_(before, I32(X86_FLUSH)), word)
            _mxcsr(builder, word, store=False)
            return builder.zext(before, I64)
        if machine in ("aarch64", "arm64"):
            before = builder.call(_external(builder, "llvm.aarch64.get.fpcr", ir.FunctionType(I64, [])), [])
            _set_fpcr(builder, builder.or_(before, I64(ARM_FLUSH)))
            return before
        return I64(0)

    return signature(WORD), codegen


@intrinsic
def restore_float_mode(typingctx, mode):  # type: ignore[no-untyped-def]
    """Undo flush_subnormals."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        machine = builder.module.triple.split("-")[0]
        if machine in ("x86_64", "amd64"):
            word = builder.alloca(I32)
            builder.store(builder.trunc(args[0], I32), word)
            _mxcsr(builder, word, store=False)
        elif machine in ("aarch64", "arm64"):
            _set_fpcr(builder, args[0])
        return context.get_dummy_value()

    return signature(types.none, WORD), codegen


@intrinsic
def nanoseconds(typingctx, clock):  # type: ignore[no-untyped-def]
    """The system's clock number `clock` (time.CLOCK_MONOTONIC)."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pair = builder.alloca(ir.ArrayType(I64, 2))
        get = _external(builder, "clock_gettime", ir.FunctionType(I32, [I32, pair.type]))
        builder.call(get, [builder.trunc(args[0], I32), pair])
        seconds, rest = (builder.load(builder.gep(pair, [I32(0), I32(k)])) for k in (0, 1))
        return builder.add(builder.mul(seconds, I64(1_000_000_000)), rest)

    return signature(WORD, WORD), codegen
