"""Asynchronous copies and tensor-core instructions on NumPy arrays, lane by lane as the PTX manual lays them out."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from graphkeras.codegen.cuda.simulator_memory import BASE, sampled
from graphkeras.ir.types import numpy_dtype

if TYPE_CHECKING:
    from graphkeras.codegen.cuda.simulator import Machine

LANE = np.arange(32)
GROUP, IN_GROUP = LANE // 4, LANE % 4


def twins(m: Machine) -> dict[str, Any]:
    names: dict[str, Any] = {
        "copy_async": lambda s, p: _copy(m, s, p, 16),
        "copy_async_part": lambda s, p, n: _copy(m, s, p, n),
        "copy_async8_part": lambda s, p, n: _copy(m, s, p, n, 8),
        "copy_async4_part": lambda s, p, n: _copy(m, s, p, n, 4),
        "async_commit": lambda: _commit(m),
        "matrix4": lambda s: matrix4(m, s, False),
        "matrix4_transposed": lambda s: matrix4(m, s, True),
        "mma_bfloat16": lambda c, a, b0, b1: mma(m, c, a, (b0, b1), "bfloat16"),
        "mma_float16": lambda c, a, b0, b1: mma(m, c, a, (b0, b1), "float16"),
        "mma_tf32": lambda c, a, b0, b1: mma(m, c, a, (b0, b1), "tf32"),
        "pack_bfloat16": lambda low, high: pack(m, low, high, "bfloat16"),
        "pack_float16": lambda low, high: pack(m, low, high, "float16"),
        "round_tf32": lambda x: round_tf32(m, x),
    }
    for k in range(8):
        names[f"async_wait{k}"] = _waiter(m, k)
    return names


# -- asynchronous copies: they land when they are waited for ----------------------------------------------
def _copy(m: Machine, s: Any, p: Any, count: Any, size: int = 16) -> None:
    source, n = m.vec(p, np.int64)[m.mask], m.vec(count, np.int64)[m.mask]
    target = m.vec(s, np.int64)
    reading = n > 0
    if (source % size).any() or (target[m.mask] % size).any():
        m.problem("misaligned", f"an asynchronous copy of {size} bytes at an address that is no multiple of it")
        return
    if not m.memory.inside(source[reading], 1):
        m.problem("wild address", "an asynchronous copy from outside of every allocation")
        return
    values = np.zeros((len(source), size), np.uint8)
    for k in range(size):
        take = n > k
        values[take, k] = m.memory.data[source[take] - BASE + k]
    m.pending.append((m.mask.copy(), target.copy(), values, m.line()))


def _commit(m: Machine) -> None:
    m.groups.append(m.pending)
    m.pending = []


def _waiter(m: Machine, left: int) -> Callable[[], None]:
    def wait() -> None:
        while len(m.groups) > left:
            for mask, target, values, _ in m.groups.pop(0):
                saved, m.mask = m.mask, mask
                store_rows(m, target, values)
                m.mask = saved

    return wait


def store_rows(m: Machine, target: np.ndarray, values: np.ndarray) -> None:
    """A few bytes (a row of `values`) of each running thread to shared memory."""
    from graphkeras.codegen.cuda.simulator_ops import shared_places

    words = values.shape[1] // 4
    at = shared_places(m, target, 4, words, True)
    if at.size:
        m.shared.flat.reshape(-1, 4)[at[:, None] + np.arange(words)] = values.reshape(-1, words, 4)


# -- tensor cores -----------------------------------------------------------------------------------------
def matrix4(m: Machine, s: Any, transposed: bool) -> tuple[np.ndarray, ...]:
    """ldmatrix.x4: lanes 8j..8j+7 give the rows (16 bytes) of matrix j; lane l gets elements 2(l%4) of row l/4."""
    m.together("ldmatrix", 32)
    address = m.vec(s, np.int64)
    if (address[m.mask] % 16).any() or (address[m.mask] + 16 > m.shared.nbytes).any():
        m.problem("wild address", "ldmatrix reads rows of 16 bytes at multiples of 16 in shared memory")
        return tuple(np.zeros(m.lanes, np.uint32) for _ in range(4))
    place = np.where(m.mask, address + m.local_block * m.shared.nbytes, 0)
    if m.shared.checked:
        rows = sampled(place[m.mask], 4, 4)
        if not m.shared.shadow.written(rows).all():
            m.problem("uninitialised", "shared memory is read that nobody wrote")
        m.access(m.shared.shadow, rows, False)
    _matrix_conflicts(m, address)
    halves = m.shared.flat.view(np.uint16)
    starts = place.reshape(-1, 4, 8) // 2
    matrices = halves[starts[..., None] + np.arange(8)]  # warp, matrix, row, element
    if transposed:
        matrices = matrices.swapaxes(2, 3)
    low = matrices[:, :, GROUP, 2 * IN_GROUP].astype(np.uint32)
    high = matrices[:, :, GROUP, 2 * IN_GROUP + 1].astype(np.uint32)
    words = low | high << np.uint32(16)
    return tuple(words[:, j].reshape(-1) for j in range(4))


def _matrix_conflicts(m: Machine, address: np.ndarray) -> None:
    worst = 1
    for first in range(0, min(m.threads, 128), 8):
        rows = np.unique(address[first : first + 8] >> 4)
        worst = max(worst, int(np.bincount(rows % 8).max()))
    line = m.line()
    m.report.conflicts[line] = max(m.report.conflicts.get(line, 1), worst)


def halves_of(m: Machine, word: Any, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """The two numbers in a 32-bit register, as float32, by warp."""
    word = m.warps(word, np.uint32)
    kind = numpy_dtype(dtype)
    return tuple(
        ((word >> np.uint32(shift)) & np.uint32(0xFFFF)).astype(np.uint16).view(kind).astype(np.float32)
        for shift in (0, 16)
    )  # type: ignore[return-value]


def mma(m: Machine, c: Any, a: Any, b: Any, dtype: str) -> tuple[np.ndarray, ...]:
    """mma.sync m16n8k16 (k8 for tf32): fragments as in the PTX manual, accumulation in float32."""
    m.together("mma", 32)
    warps = m.lanes // 32
    depth = 8 if dtype == "tf32" else 16
    left = np.zeros((warps, 16, depth), np.float32)
    right = np.zeros((warps, depth, 8), np.float32)
    corners = ((0, 0), (8, 0), (0, depth // 2), (8, depth // 2))
    for word, (row, column) in zip(a, corners, strict=True):
        if dtype == "tf32":
            left[:, GROUP + row, IN_GROUP + column] = _tf32(m.warps(word, np.uint32))
        else:
            for half, values in enumerate(halves_of(m, word, dtype)):
                left[:, GROUP + row, 2 * IN_GROUP + column + half] = values
    for k, word in enumerate(b):
        if dtype == "tf32":
            right[:, IN_GROUP + 4 * k, GROUP] = _tf32(m.warps(word, np.uint32))
        else:
            for half, values in enumerate(halves_of(m, word, dtype)):
                right[:, 2 * IN_GROUP + 8 * k + half, GROUP] = values
    product = left @ right
    result = []
    for k, old in enumerate(c):
        part = product[:, GROUP + 8 * (k // 2), 2 * IN_GROUP + k % 2]
        result.append((m.warps(old, np.float32) + part).reshape(-1))
    return tuple(result)


def _tf32(word: np.ndarray) -> np.ndarray:
    """Tensor cores look at the upper 19 bits."""
    return (word & np.uint32(0xFFFFE000)).view(np.float32)


def pack(m: Machine, low: Any, high: Any, dtype: str) -> np.ndarray:
    kind = numpy_dtype(dtype)
    parts = [m.vec(x, np.float32).astype(kind).view(np.uint16).astype(np.uint32) for x in (low, high)]
    return parts[0] | parts[1] << np.uint32(16)


def round_tf32(m: Machine, x: Any) -> np.ndarray:
    """Round to nearest, ties away from zero, to 10 bits of fraction."""
    bits = m.vec(x, np.float32).view(np.uint32)
    return (bits + np.uint32(0x1000)) & np.uint32(0xFFFFE000)
