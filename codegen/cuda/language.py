"""The language of CUDA kernel sources, as data: names, types and PTX text. Loads neither Numba nor CUDA.

A kernel is a Python function `kernel(a0, a1, ...)` that every thread of every block runs. Its functions come from
`from graphkeras.codegen.cuda.support import *`. They are bound twice: `support.py` makes each an inline-PTX intrinsic
of Numba-CUDA, `simulator_ops.py` computes the same on NumPy arrays, one element per thread.

Memory. Pointers are int64 byte addresses; `i` counts elements; values are in register form (half floats as float32,
bools as bool). n is 1 (left out), 2, 4, 8 or 16 neighbours, which stand at a multiple of n elements:

    fetch{n}_<dtype>(p, i)          global memory that the kernel does not write: a value, or a tuple of n
    load{n}_<dtype>(p, i)           global memory that it also writes
    store{n}_<dtype>(p, i, v)       v: a value, or a tuple of n
    shared_load{n}_<dtype>(s, i)    shared_store{n}_<dtype>(s, i, v)      s: shared_memory() + offset in bytes
    local_array(n, float32)         registers, where all loops over it have literal trip counts

Threads: thread_index() block_index() block_count() as int64; sync_threads() sync_warp(); shuffle_xor(x, d)
shuffle_down(x, d) shuffle(x, lane) with all 32 lanes; ballot(c) -> uint32; lowest_bit(word): where the lowest one is.
sync_part(k, n): a barrier of the n threads k * n ... of a block, k below 15. arrive_and_wait(p, n): one thread of each
block of a cooperative kernel adds 1 to the uint64 at p and waits until it is n. set_condition(handle, n): which way a
conditional node of a graph goes on.

Scalars: the functions of the CPU's language (`codegen/cpu/support.py`): casts, bitcast_<dtype>, fma, fabs, sqrt, floor,
ceil, trunc, rint, minimum, maximum, select, quotient, shr_logical, reduce_add, reduce_mul, conversions.
divided(i, word) is i // n for 0 <= i < 2**31, where the argument `word` is `divisor(n)`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

REGISTERS = {"float32": "f", "float64": "d", "int32": "r", "uint32": "r", "int64": "l", "uint64": "l"}
"""Types of asm operands and their constraint letters; narrower ones travel in 32-bit registers."""

SIZES = {
    "float32": 4,
    "float64": 8,
    "int8": 1,
    "int16": 2,
    "int32": 4,
    "int64": 8,
    "uint8": 1,
    "uint16": 2,
    "uint32": 4,
    "uint64": 8,
    "bool": 1,
    "float16": 2,
    "bfloat16": 2,
}
"""Bytes in memory of the dtypes that kernels know."""

HALF = ("float16", "bfloat16")
CONDITION = "cudaGraphSetConditional"
SPACES = {"fetch": "global.nc", "load": "global", "store": "global", "shared_load": "shared", "shared_store": "shared"}
COUNTS = (1, 2, 4, 8, 16)


def register_type(dtype: str) -> str:
    return "float32" if dtype in HALF else dtype


@dataclass(frozen=True)
class Intrinsic:
    """One function as inline PTX.

    outs, ins: types of results and operands; ("float32", 4) is a tuple of four. text: PTX with $0, $1 ... for the
    results, then the operands. effects: it reads or writes memory or waits, so it keeps its place among its like.
    convergent: all threads of the warp run it together. tied: the first operands live in the registers of the results.
    index: the operands start with (address, index): the text sees address + index * index bytes instead of the two.
    narrow: that address is one of shared memory.
    """

    name: str
    text: str
    outs: tuple[str | tuple[str, int], ...] = ()
    ins: tuple[str | tuple[str, int], ...] = ()
    effects: bool = False
    convergent: bool = False
    tied: int = 0
    index: int = 0
    narrow: bool = False


def flat(types: tuple[str | tuple[str, int], ...]) -> list[str]:
    """Scalar types, tuples spread."""
    found: list[str] = []
    for t in types:
        found += [t] if isinstance(t, str) else [t[0]] * t[1]
    return found


# -- memory -----------------------------------------------------------------------------------------------
def memory_name(kind: str, dtype: str, count: int) -> str:
    return f"{kind}{count if count > 1 else ''}_{dtype}"


def memory_ops() -> Iterator[tuple[str, str, str, int]]:
    """(name, kind, dtype, count) of every memory function."""
    for kind in SPACES:
        for dtype in SIZES:
            for count in COUNTS:
                yield memory_name(kind, dtype, count), kind, dtype, count


def memory_intrinsic(kind: str, dtype: str, count: int) -> Intrinsic:
    store = kind.endswith("store")
    register = register_type(dtype)
    value: str | tuple[str, int] = register if count == 1 else (register, count)
    address = f"${0 if store else count}"
    names = [f"${k + 1 if store else k}" for k in range(count)]
    lines = _store(SPACES[kind], dtype, names, address) if store else _load(SPACES[kind], dtype, names, address)
    text = "{ " + " ".join(lines) + " }"
    ins = ("int64", "int64", value) if store else ("int64", "int64")
    return Intrinsic(
        memory_name(kind, dtype, count),
        text,
        () if store else (value,),
        ins,
        effects=kind != "fetch",
        index=SIZES[dtype],
        narrow=kind.startswith("shared"),
    )


def _words(space: str, op: str, kind: str, names: list[str], size: int, address: str) -> list[str]:
    """Accesses of at most 16 bytes that cover the registers `names` of `size` bytes each."""
    per = min(len(names), 16 // size)
    lines = []
    for first in range(0, len(names), per):
        part = names[first : first + per]
        vector = f".v{per}" if per > 1 else ""
        group = "{" + ", ".join(part) + "}" if per > 1 else part[0]
        place = f"[{address} + {first * size}]" if first else f"[{address}]"
        operands = f"{group}, {place}" if op == "ld" else f"{place}, {group}"
        lines.append(f"{op}.{space}{vector}.{kind} {operands};")
    return lines


_WHOLE = {"float32": "f32", "float64": "f64", "int32": "b32", "uint32": "b32", "int64": "b64", "uint64": "b64"}
_SIGNED = ("int8", "int16")


def _load(space: str, dtype: str, names: list[str], address: str) -> list[str]:
    size = SIZES[dtype]
    if dtype in _WHOLE:
        return _words(space, "ld", _WHOLE[dtype], names, size, address)
    if len(names) * size < 4:  # a word of its own for each
        lines = [f".reg .b16 h<{len(names)}>;" if dtype in HALF else f".reg .b32 h<{len(names)}>;"]
        kind = "b16" if dtype in HALF else f"{'s' if dtype in _SIGNED else 'u'}{8 * size}"
        lines += _words(space, "ld", kind, [f"h{k}" for k in range(len(names))], size, address)
        return [*lines, *(_widen(dtype, name, f"h{k}") for k, name in enumerate(names))]
    words = len(names) * size // 4
    per = 4 // size
    lines = [f".reg .b32 w<{words}>;"] + ([".reg .b16 h<2>;"] if dtype == "float16" else [])
    lines += _words(space, "ld", "b32", [f"w{k}" for k in range(words)], 4, address)
    for k, name in enumerate(names):
        word, part = f"w{k // per}", k % per
        if dtype == "float16":
            lines += ([f"mov.b32 {{h0, h1}}, {word};"] if not part else []) + [f"cvt.f32.f16 {name}, h{part};"]
        elif dtype == "bfloat16":
            shift = f"shl.b32 {word}, {word}, 16;" if not part else f"and.b32 {word}, {word}, 0xffff0000;"
            if not part:
                lines += [f"{{ .reg .b32 t; shl.b32 t, {word}, 16; mov.b32 {name}, t; }}"]
            else:
                lines += [shift, f"mov.b32 {name}, {word};"]
        else:
            sign = "s" if dtype in _SIGNED else "u"
            lines.append(f"bfe.{sign}32 {name}, {word}, {8 * size * part}, {8 * size};")
    return lines


def _widen(dtype: str, name: str, half: str) -> str:
    if dtype == "float16":
        return f"cvt.f32.f16 {name}, {half};"
    if dtype == "bfloat16":
        return f"{{ .reg .b16 z; mov.b16 z, 0; mov.b32 {name}, {{z, {half}}}; }}"
    return f"mov.b32 {name}, {half};"


def _store(space: str, dtype: str, names: list[str], address: str) -> list[str]:
    size = SIZES[dtype]
    if dtype in _WHOLE:
        return _words(space, "st", _WHOLE[dtype], names, size, address)
    if len(names) * size < 4:
        count = len(names)
        if dtype not in HALF:
            return _words(space, "st", f"u{8 * size}", names, size, address)
        convert = "f16" if dtype == "float16" else "bf16"
        lines = [f".reg .b16 h<{count}>;", *(f"cvt.rn.{convert}.f32 h{k}, {n};" for k, n in enumerate(names))]
        return [*lines, *_words(space, "st", "b16", [f"h{k}" for k in range(count)], size, address)]
    words = len(names) * size // 4
    per = 4 // size
    lines = [f".reg .b32 w<{words}>;"]
    for k in range(words):
        part = names[k * per : (k + 1) * per]
        if dtype in HALF:
            convert = "f16x2" if dtype == "float16" else "bf16x2"
            lines.append(f"cvt.rn.{convert}.f32 w{k}, {part[1]}, {part[0]};")
            continue
        lines.append(f"and.b32 w{k}, {part[0]}, {2 ** (8 * size) - 1};")
        lines += [f"bfi.b32 w{k}, {n}, w{k}, {8 * size * j}, {8 * size};" for j, n in enumerate(part) if j]
    return [*lines, *_words(space, "st", "b32", [f"w{k}" for k in range(words)], 4, address)]


# -- scalars: one text per type ---------------------------------------------------------------------------
def _rounding(mode: str) -> dict[str, str]:
    return {"float32": f"cvt.{mode}.f32.f32 $0, $1;", "float64": f"cvt.{mode}.f64.f64 $0, $1;"}


SCALARS: dict[str, tuple[int, dict[str, str]]] = {
    "fma": (3, {"float32": "fma.rn.f32 $0, $1, $2, $3;", "float64": "fma.rn.f64 $0, $1, $2, $3;"}),
    "fabs": (1, {"float32": "abs.f32 $0, $1;", "float64": "abs.f64 $0, $1;"}),
    "sqrt": (1, {"float32": "sqrt.rn.f32 $0, $1;", "float64": "sqrt.rn.f64 $0, $1;"}),
    "floor": (1, _rounding("rmi")),
    "ceil": (1, _rounding("rpi")),
    "trunc": (1, _rounding("rzi")),
    "rint": (1, _rounding("rni")),
}
"""Functions of floats that keep their type: number of operands, PTX by type."""


def conversions() -> Iterator[Intrinsic]:
    """float -> integer, saturating, NaN to 0."""
    for source, letter in (("float32", "f32"), ("float64", "f64")):
        for target in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"):
            bits, sign = int(target.lstrip("uint")), "u" if target.startswith("u") else "s"
            text = f"cvt.rzi.{sign}{max(bits, 32)}.{letter} $0, $1;"
            if bits < 32:
                low, high = (0, 2**bits - 1) if sign == "u" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
                text += f" min.{sign}32 $0, $0, {high};"
                text += f" max.s32 $0, $0, {low};" if sign == "s" else ""
            yield Intrinsic(f"{source}_to_{target}", text, (target,), (source,))


def _fixed() -> Iterator[Intrinsic]:
    yield Intrinsic("float16_to_float32", _HALF_IN.format("cvt.f32.f16 $0, h;"), ("float32",), ("uint16",))
    yield Intrinsic(
        "bfloat16_to_float32", "{ .reg .b32 t; shl.b32 t, $1, 16; mov.b32 $0, t; }", ("float32",), ("uint16",)
    )
    for name, kind in (("float16", "f16"), ("bfloat16", "bf16")):
        text = f"{{ .reg .b16 h; cvt.rn.{kind}.f32 h, $1; cvt.u32.u16 $0, h; }}"
        yield Intrinsic(f"float32_to_{name}", text, ("uint16",), ("float32",))
    yield Intrinsic("exp2_approx", "ex2.approx.ftz.f32 $0, $1;", ("float32",), ("float32",))
    yield Intrinsic("tanh_approx", "tanh.approx.f32 $0, $1;", ("float32",), ("float32",))
    yield Intrinsic("thread_number", "mov.u32 $0, %tid.x;", ("uint32",))
    yield Intrinsic("block_number", "mov.u32 $0, %ctaid.x;", ("uint32",))
    yield Intrinsic("grid_size", "mov.u32 $0, %nctaid.x;", ("uint32",))
    yield Intrinsic("sync_threads", "bar.sync 0;", effects=True, convergent=True)
    yield Intrinsic("sync_warp", "bar.warp.sync -1;", effects=True, convergent=True)
    text = "{ .reg .b32 n; add.u32 n, $0, 1; bar.sync n, $1; }"
    yield Intrinsic("sync_part", text, (), ("int32", "int32"), effects=True, convergent=True)
    text = (  # releases what the block has written, waits for the others, acquires what they have written
        "{ .reg .pred p; .reg .b64 n; fence.acq_rel.gpu; red.relaxed.gpu.global.add.u64 [$0], 1; "
        "again: ld.acquire.gpu.global.u64 n, [$0]; setp.lt.u64 p, n, $1; @p bra again; fence.acq_rel.gpu; }"
    )
    yield Intrinsic("arrive_and_wait", text, (), ("int64", "int64"), effects=True)
    text = (  # a function of the device's runtime library, which the linker adds
        f"{{ .param .b64 h; .param .b32 v; st.param.b64 [h], $0; st.param.b32 [v], $1; call.uni {CONDITION}, (h, v); }}"
    )
    yield Intrinsic("set_condition", text, (), ("int64", "uint32"), effects=True)
    text = "{ .reg .pred p; setp.ne.u32 p, $1, 0; vote.sync.ballot.b32 $0, p, -1; }"
    yield Intrinsic("ballot", text, ("uint32",), ("bool",), effects=True, convergent=True)
    text = "{ .reg .b32 t; brev.b32 t, $1; clz.b32 t, t; cvt.u64.u32 $0, t; }"
    yield Intrinsic("lowest_bit", text, ("int64",), ("uint32",))
    text = (  # magic in the low half, shift in the high one; see `divisor`
        "{ .reg .b32 n, m, s, q; cvt.u32.u64 n, $1; mov.b64 {m, s}, $2; mul.hi.u32 q, n, m; add.u32 q, q, n; "
        "shr.u32 q, q, s; cvt.u64.u32 $0, q; }"
    )
    yield Intrinsic("divided", text, ("int64",), ("int64", "int64"))
    yield Intrinsic("int_arg", "ld.global.nc.b64 $0, [$1];", ("int64",), ("int64", "int64"), index=8)
    yield Intrinsic("float_arg", "ld.global.nc.f64 $0, [$1];", ("float64",), ("int64", "int64"), index=8)
    text = (
        "{ .reg .pred p; .reg .b64 old, one; mov.b64 one, $1; atom.global.cas.b64 old, [$0], 0, one; "
        "setp.eq.u64 p, old, 0; @p st.global.b64 [$0 + 8], $2; @p st.global.b64 [$0 + 16], $3; "
        "@p st.global.b64 [$0 + 24], $4; }"
    )
    yield Intrinsic("set_status", text, (), ("int64",) * 5, effects=True)


_HALF_IN = "{{ .reg .b16 h; cvt.u16.u32 h, $1; {} }}"


def _tensor() -> Iterator[Intrinsic]:
    """Asynchronous copies and tensor cores (sm_80 and later)."""
    text = "cp.async.cg.shared.global [$0], [$1], 16;"
    yield Intrinsic("copy_async", text, (), ("shared", "int64"), effects=True)
    text = "cp.async.cg.shared.global [$0], [$1], 16, $2;"  # the bytes after the first `$2` become zero
    yield Intrinsic("copy_async_part", text, (), ("shared", "int64", "int32"), effects=True)
    for n in (8, 4):
        text = f"cp.async.ca.shared.global [$0], [$1], {n}, $2;"
        yield Intrinsic(f"copy_async{n}_part", text, (), ("shared", "int64", "int32"), effects=True)
    yield Intrinsic("async_commit", "cp.async.commit_group;", effects=True)
    for k in range(8):
        yield Intrinsic(f"async_wait{k}", f"cp.async.wait_group {k};", effects=True)
    for name, kind in (("matrix4", ""), ("matrix4_transposed", ".trans")):
        text = f"ldmatrix.sync.aligned.m8n8.x4{kind}.shared.b16 {{$0, $1, $2, $3}}, [$4];"
        yield Intrinsic(name, text, (("uint32", 4),), ("shared",), effects=True, convergent=True)
    for dtype, shape, kind in (
        ("bfloat16", "m16n8k16", "bf16"),
        ("float16", "m16n8k16", "f16"),
        ("tf32", "m16n8k8", "tf32"),
    ):
        text = (
            f"mma.sync.aligned.{shape}.row.col.f32.{kind}.{kind}.f32 {{$0, $1, $2, $3}}, {{$8, $9, $10, $11}}, "
            "{$12, $13}, {$4, $5, $6, $7};"
        )
        ins = (("float32", 4), ("uint32", 4), "uint32", "uint32")
        yield Intrinsic(f"mma_{dtype}", text, (("float32", 4),), ins, convergent=True)
    for dtype, kind in (("bfloat16", "bf16x2"), ("float16", "f16x2")):
        yield Intrinsic(f"pack_{dtype}", f"cvt.rn.{kind}.f32 $0, $2, $1;", ("uint32",), ("float32", "float32"))
    yield Intrinsic("round_tf32", "{ .reg .b32 t; cvt.rna.tf32.f32 t, $1; mov.b32 $0, t; }", ("uint32",), ("float32",))


def _engine() -> Iterator[Intrinsic]:
    """Barriers in shared memory and the copy engine (sm_90 and later), registers that warps hand over (sm_90a).

    A barrier is a 64-bit word. Its phase ends when as many threads have arrived as it was made for and all bytes that
    were expected are there; barrier_wait(s, parity) returns when the phase of that parity has ended.
    """
    text = "mbarrier.init.shared::cta.b64 [$0], $1;"
    yield Intrinsic("barrier_init", text, (), ("shared", "int32"), effects=True)
    text = "fence.mbarrier_init.release.cluster; fence.proxy.async.shared::cta;"
    yield Intrinsic("barrier_fence", text, effects=True)
    text = "mbarrier.arrive.expect_tx.shared::cta.b64 _, [$0], $1;"  # arrives, too
    yield Intrinsic("barrier_expect", text, (), ("shared", "int32"), effects=True)
    yield Intrinsic("barrier_arrive", "mbarrier.arrive.shared::cta.b64 _, [$0];", (), ("shared",), effects=True)
    text = (
        "{ .reg .pred p; AGAIN: mbarrier.try_wait.parity.shared::cta.b64 p, [$0], $1; @p bra DONE; bra AGAIN; DONE: }"
    )
    yield Intrinsic("barrier_wait", text, (), ("shared", "int32"), effects=True)
    yield Intrinsic("map_prefetch", "prefetch.tensormap [$0];", (), ("int64",), effects=True)
    for rank in (2, 3):  # copy_box3(to, map, barrier, c0, c1, c2): the innermost coordinate first
        text = f"cp.async.bulk.tensor.{rank}d.shared::cluster.global.mbarrier::complete_tx::bytes "
        text += f"[$0], [$1, {{{', '.join(f'${3 + k}' for k in range(rank))}}}], [$2];"
        ins = ("shared", "int64", "shared", *["int32"] * rank)
        yield Intrinsic(f"copy_box{rank}", text, (), ins, effects=True)
    for rank in (3, 4, 5):  # copy_patch4(to, map, barrier, c, w, h, n, tap_w, tap_h)
        taps = range(rank - 2)
        text = f"{{ .reg .b16 t<{rank - 2}>; " + " ".join(f"cvt.u16.u32 t{k}, ${3 + rank + k};" for k in taps)
        text += f" cp.async.bulk.tensor.{rank}d.shared::cluster.global.im2col.mbarrier::complete_tx::bytes "
        text += f"[$0], [$1, {{{', '.join(f'${3 + k}' for k in range(rank))}}}], [$2], "
        text += f"{{{', '.join(f't{k}' for k in taps)}}}; }}"
        ins = ("shared", "int64", "shared", *["int32"] * (2 * rank - 2))
        yield Intrinsic(f"copy_patch{rank}", text, (), ins, effects=True)
    yield Intrinsic("release_registers40", "setmaxnreg.dec.sync.aligned.u32 40;", effects=True, convergent=True)
    yield Intrinsic("claim_registers232", "setmaxnreg.inc.sync.aligned.u32 232;", effects=True, convergent=True)


def intrinsics() -> Iterator[Intrinsic]:
    """Every function of one fixed type, except the memory functions."""
    yield from conversions()
    yield from _fixed()
    yield from _tensor()
    yield from _engine()


SHUFFLES = {
    "shuffle_xor": "shfl.sync.bfly.b32 {0}, {1}, {2}, 31, -1;",
    "shuffle_down": "shfl.sync.down.b32 {0}, {1}, {2}, 31, -1;",
    "shuffle": "shfl.sync.idx.b32 {0}, {1}, {2}, 31, -1;",
}


def shuffle_intrinsic(name: str, dtype: str) -> Intrinsic:
    """A shuffle of one value; 64-bit ones go in two halves."""
    if SIZES[dtype] < 8:
        text = SHUFFLES[name].format("$0", "$1", "$2")
    else:
        low, high = (SHUFFLES[name].format(p, p, "$2") for p in ("lo", "hi"))
        text = f"{{ .reg .b32 lo, hi; mov.b64 {{lo, hi}}, $1; {low} {high} mov.b64 $0, {{lo, hi}}; }}"
    return Intrinsic(f"{name}_{dtype}", text, (dtype,), (dtype, "int32"), effects=True, convergent=True)


def divisor(n: int) -> int:
    """The word with which `divided` divides by n (1 <= n < 2**31): 32 bits of a reciprocal, and a shift above them.

    Granlund and Montgomery, "Division by invariant integers using multiplication" (1994), for numerators below 2**31.
    """
    n = max(n, 1)  # what is empty is never divided
    shift = (n - 1).bit_length()
    magic = ((1 << 32) * ((1 << shift) - n)) // n + 1
    return magic | shift << 32
