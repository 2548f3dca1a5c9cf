"""The functions of the CUDA kernel language on NumPy arrays, one element per thread."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from graphkeras.codegen.cuda import language, simulator_hopper, simulator_tensor
from graphkeras.codegen.cuda.macros import macro_of
from graphkeras.codegen.cuda.simulator import Local, Machine
from graphkeras.codegen.cuda.simulator_memory import BASE, sampled
from graphkeras.ir.types import numpy_dtype

I64 = np.int64


def namespace(machine: Machine) -> dict[str, Any]:
    """Everything that a source may name."""
    names: dict[str, Any] = {"inf": math.inf, "nan": math.nan, "device": lambda f: f}
    names.update(_casts())
    names.update(_scalars())
    names.update(_threads(machine))
    for name, kind, dtype, count in language.memory_ops():
        names[name] = memory_op(machine, kind, dtype, count)
    names.update(_words(machine))
    names.update(simulator_tensor.twins(machine))
    names.update(simulator_hopper.twins(machine))
    names["local_array"] = lambda count, dtype: Local(machine, count, dtype.dtype)
    names["macro"] = lambda name, *parameters: _bound(machine, macro_of(name, parameters).twin)
    return names


def _bound(machine: Machine, twin: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *operands: twin(machine, *operands)


# -- scalars ----------------------------------------------------------------------------------------------
class _Cast:
    """float32(x), int32(x) ...; also says the dtype of local arrays."""

    def __init__(self, name: str) -> None:
        self.dtype = np.dtype(name)

    def __call__(self, x: Any) -> Any:
        if self.dtype.kind in "iu" and isinstance(x, int):
            return np.asarray(x & (2 ** (8 * self.dtype.itemsize) - 1), np.uint64).astype(self.dtype)[()]
        return np.asarray(x).astype(self.dtype)[()]


def _casts() -> dict[str, Any]:
    names: dict[str, Any] = {}
    for name in language.SIZES:
        if name in ("bool", *language.HALF):
            continue
        names[name] = _Cast(name)
        names["bitcast_" + name] = _bitcast(np.dtype(name))
    for spec in language.conversions():
        names[spec.name] = _saturating(np.dtype(spec.name.split("_to_")[1]))
    for name in language.HALF:
        half = numpy_dtype(name)
        names[f"{name}_to_float32"] = lambda x, d=half: np.asarray(x, np.uint16).view(d).astype(np.float32)[()]
        names[f"float32_to_{name}"] = lambda x, d=half: np.asarray(x, np.float32).astype(d).view(np.uint16)[()]
    return names


def _bitcast(dtype: np.dtype) -> Callable[[Any], Any]:
    return lambda x: np.asarray(x).view(dtype)[()]


def _saturating(dtype: np.dtype) -> Callable[[Any], Any]:
    info = np.iinfo(dtype)

    def convert(x: Any) -> Any:
        x = np.asarray(x)
        whole = np.trunc(np.where(np.isnan(x), 0, x).astype(np.float64))
        result = np.where(whole <= float(info.min), info.min, 0).astype(dtype)
        inside = (whole > float(info.min)) & (whole < float(info.max))
        result = np.where(inside, np.where(inside, whole, 0).astype(dtype), result)
        return np.where(whole >= float(info.max), np.asarray(info.max, dtype), result).astype(dtype)[()]

    return convert


def _fma(a: Any, b: Any, c: Any) -> Any:
    if np.asarray(a).dtype == np.float32:
        wide = np.asarray(a, np.float64) * np.asarray(b, np.float64) + np.asarray(c, np.float64)
        return wide.astype(np.float32)[()]
    return a * b + c


def _quotient(a: Any, b: Any) -> Any:
    a, b = np.asarray(a), np.asarray(b)
    safe = np.where(b == 0, np.ones_like(b), b)
    down = a // safe
    return (down + ((a % safe != 0) & ((a < 0) != (safe < 0))).astype(down.dtype)).astype(a.dtype)[()]


def _shr_logical(a: Any, b: Any) -> Any:
    a = np.asarray(a)
    unsigned = np.dtype(f"u{a.dtype.itemsize}")
    return (a.view(unsigned) >> np.asarray(b).astype(unsigned)).view(a.dtype)[()]


def _divided(i: Any, word: Any) -> Any:
    magic, shift = np.asarray(word) & 0xFFFFFFFF, np.asarray(word) >> 32
    high = (np.asarray(i).astype(np.uint64) * magic.astype(np.uint64)) >> np.uint64(32)
    return ((high.astype(I64) + i) & 0xFFFFFFFF) >> shift


def _lowest_bit(word: Any) -> Any:
    word = np.asarray(word).astype(I64)
    return np.where(word == 0, 32, np.log2(np.maximum(word & -word, 1)).astype(I64))[()]


def _select(c: Any, a: Any, b: Any) -> Any:
    return np.asarray(np.where(c, a, b))[()]


def _scalars() -> dict[str, Any]:
    return {
        "fma": _fma,
        "fabs": np.abs,
        "sqrt": np.sqrt,
        "floor": np.floor,
        "ceil": np.ceil,
        "trunc": np.trunc,
        "rint": np.rint,
        "minimum": np.minimum,
        "maximum": np.maximum,
        "min": np.minimum,
        "max": np.maximum,
        "abs": np.abs,
        "select": _select,
        "quotient": _quotient,
        "shr_logical": _shr_logical,
        "reduce_add": np.add,
        "reduce_mul": np.multiply,
        "divided": _divided,
        "lowest_bit": _lowest_bit,
        "exp2_approx": np.exp2,
        "tanh_approx": np.tanh,
    }


# -- threads ----------------------------------------------------------------------------------------------
def _threads(m: Machine) -> dict[str, Any]:
    def set_condition(handle: Any, value: Any) -> None:
        for lane in np.flatnonzero(m.mask):
            m.memory.conditions[int(m.vec(handle)[lane])] = int(m.vec(value)[lane])

    def sync_warp() -> None:
        m.together("sync_warp", 32)
        m.warp_clock[m.mask] += 1

    def exchange(source: Callable[[np.ndarray, Any], np.ndarray]) -> Callable[[Any, Any], np.ndarray]:
        lanes = np.arange(32)

        def shuffle(x: Any, by: Any) -> np.ndarray:
            m.together("a shuffle", 32)
            rows = m.warps(x)
            at = source(np.broadcast_to(lanes, rows.shape), m.warps(by))
            return np.take_along_axis(rows, np.where((at < 0) | (at > 31), lanes, at), 1).reshape(-1)

        return shuffle

    def ballot(c: Any) -> np.ndarray:
        m.together("a ballot", 32)
        bits = (m.warps(c).astype(np.uint32) << np.arange(32, dtype=np.uint32)).sum(1, dtype=np.uint32)
        return np.repeat(bits, 32)

    return {
        "thread_index": lambda: m.thread,
        "block_index": lambda: m.block,
        "block_count": lambda: m.grid,
        "thread_number": lambda: m.thread.astype(np.uint32),
        "block_number": lambda: m.block.astype(np.uint32),
        "grid_size": lambda: np.uint32(m.grid),
        "sync_threads": m.sync,
        "sync_part": m.sync_part,
        "set_condition": set_condition,
        "arrive_and_wait": m.arrive,
        "sync_warp": sync_warp,
        "shuffle_xor": exchange(lambda lane, by: lane ^ by),
        "shuffle_down": exchange(lambda lane, by: lane + by),
        "shuffle": exchange(lambda lane, by: by),
        "ballot": ballot,
        "shared_memory": lambda: 0,
    }


# -- memory -----------------------------------------------------------------------------------------------
def memory_op(m: Machine, kind: str, dtype: str, count: int) -> Callable[..., Any]:
    size = language.SIZES[dtype]
    memory_type = numpy_dtype("uint8" if dtype == "bool" else dtype)
    register = np.dtype(language.register_type(dtype))
    shared = kind.startswith("shared")

    def places(p: Any, i: Any) -> np.ndarray:
        """Element index into the typed memory of each running thread, checked."""
        address = m.vec(p, I64) + m.vec(i, I64) * size
        at = address[m.mask]
        width = min(size * count, 16)
        if at.size and (at % width).any():
            m.problem("misaligned", f"{width} bytes at an address that is no multiple of it")
            return np.zeros(0, I64)
        if shared:
            return shared_places(m, address, size, count, kind.endswith("store"))
        if not m.memory.inside(at, size * count):
            m.problem("wild address", f"{size * count} bytes outside of every allocation")
            return np.zeros(0, I64)
        if m.memory.checked and at.size:
            m.access(m.memory.shadow, sampled(at - BASE, size, count), kind == "store")
        return (at - BASE) // size

    def typed() -> np.ndarray:
        return (m.shared.flat if shared else m.memory.data).view(memory_type)

    def load(p: Any, i: Any) -> Any:
        at = places(p, i)
        result = []
        for k in range(count):
            value = np.zeros(m.lanes, register)
            if at.size:
                value[m.mask] = typed()[at + k].astype(register)
            result.append(value)
        return result[0] if count == 1 else tuple(result)

    def store(p: Any, i: Any, v: Any) -> None:
        at = places(p, i)
        if at.size:
            for k, value in enumerate((v,) if count == 1 else v):
                typed()[at + k] = m.vec(value)[m.mask].astype(register).astype(memory_type)

    return store if kind.endswith("store") else load


def shared_places(m: Machine, address: np.ndarray, size: int, count: int, write: bool) -> np.ndarray:
    """Element indices into all blocks' shared memory, for the running threads; notes races and bank conflicts."""
    at = address[m.mask]
    if at.size and (at.min() < 0 or at.max() + size * count > m.shared.nbytes):
        m.problem("wild address", f"outside of the {m.shared.nbytes} bytes of shared memory")
        return np.zeros(0, I64)
    _conflicts(m, address, size * count)
    at = at + m.local_block[m.mask] * m.shared.nbytes
    if m.shared.checked and at.size:
        bytes_ = sampled(at, size, count)
        if not write and not m.shared.shadow.written(bytes_).all():
            m.problem("uninitialised", "shared memory is read that nobody wrote")
        m.access(m.shared.shadow, bytes_, write)
        m.ordered(at, size * count, write)
    return at // size


def _conflicts(m: Machine, address: np.ndarray, nbytes: int) -> None:
    """Worst number of different words in one bank, among the first warps of the first block."""
    lanes = 32 * 4 // max(nbytes, 4)  # that are served at a time
    worst = 1
    for first in range(0, min(m.threads, 128), lanes):
        part = slice(first, first + lanes)
        words = np.unique((address[part][m.mask[part]] >> 2)[:, None] + np.arange(max(nbytes // 4, 1)))
        if words.size:
            worst = max(worst, int(np.bincount(words % 32).max()))
    line = m.line()
    m.report.conflicts[line] = max(m.report.conflicts.get(line, 1), worst)


def _words(m: Machine) -> dict[str, Any]:
    integer, real = memory_op(m, "fetch", "int64", 1), memory_op(m, "fetch", "float64", 1)
    load, store = memory_op(m, "load", "int64", 1), memory_op(m, "store", "int64", 1)

    def set_status(p: Any, code: Any, node: Any, bad: Any, extent: Any) -> None:
        """The first thread wins; one by one, as the hardware's compare-and-swap does it."""
        checked, m.memory.checked = m.memory.checked, False
        for lane in np.flatnonzero(m.mask)[:1]:
            saved, m.mask = m.mask, np.arange(m.lanes) == lane
            if load(p, 0)[lane] == 0:
                for k, value in enumerate((code, node, bad, extent)):
                    store(p, k, value)
            m.mask = saved
        m.memory.checked = checked

    return {"int_arg": integer, "float_arg": real, "set_status": set_status}
