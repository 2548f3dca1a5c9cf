"""Barriers in shared memory, the copy engine and wgmma on NumPy arrays, as the PTX manual describes them.

Shared memory is swizzled as SWIZZLE_128B says: bits 4 to 6 of an address are exchanged by bits 7 to 9. Layouts of
operands: "Strides" and "Canonical layouts" of wgmma in the PTX manual; patches: "im2col mode" there.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from graphkeras.codegen.cuda.language import SIZES
from graphkeras.codegen.cuda.simulator_memory import BASE
from graphkeras.codegen.cuda.simulator_order import GRAIN, join
from graphkeras.ir.types import numpy_dtype

if TYPE_CHECKING:
    from graphkeras.codegen.cuda.simulator_roles import Warpgroup

SWIZZLED = 1 << 62  # in a descriptor: rows of 128 bytes, swizzled
ATOM = 1024  # bytes after which the swizzle repeats


def twins(m: Any) -> dict[str, Any]:
    names: dict[str, Any] = {
        "barrier_init": lambda s, count: _init(m, s, count),
        "barrier_fence": lambda: _fence(m),
        "barrier_expect": lambda s, nbytes: _arrive(m, s, nbytes),
        "barrier_arrive": lambda s: _arrive(m, s, 0),
        "barrier_wait": lambda s, parity: _wait(m, s, parity),
        "map_prefetch": lambda p: None,
        "release_registers40": lambda: m.together("setmaxnreg", 128),
        "claim_registers232": lambda: m.together("setmaxnreg", 128),
    }
    for rank in (2, 3, 4, 5):
        names[f"copy_box{rank}"] = lambda *operands, r=rank: _copy(m, operands[:3], operands[3:], [])
        names[f"copy_patch{rank}"] = lambda *o, r=rank: _copy(m, o[:3], o[3 : 3 + r], o[3 + r :])
    return names


# -- barriers ---------------------------------------------------------------------------------------------
class Barrier:
    """An mbarrier: a phase ends when nobody is missing and all expected bytes have come."""

    def __init__(self, count: int, actor: int, maker: tuple[int, int]) -> None:
        self.count = self.pending = count
        self.actor, self.maker = actor, maker
        self.phase = self.nbytes = 0
        self.fenced = False
        self.gathering = np.zeros(0, np.int64)  # what those who arrived know
        self.told = np.zeros(0, np.int64)  # the same of the phase that ended last

    def ended(self, parity: int) -> bool:
        return (self.phase - 1) & 1 == parity

    def turn(self) -> None:
        if self.pending == 0 and self.nbytes == 0:
            own = np.zeros(self.actor + 1, np.int64)
            own[self.actor] = self.phase + 1
            self.told = join(join(self.told, self.gathering), own)
            self.phase, self.pending = self.phase + 1, self.count


def _each(m: Warpgroup, *operands: Any) -> list[tuple[int, ...]]:
    """Operands of the running threads, one by one."""
    return list(zip(*(m.vec(o, np.int64)[m.mask].tolist() for o in operands), strict=True))


def _find(m: Warpgroup, address: int) -> Barrier | None:
    found = m.own.barriers.get(address)
    if found is None:
        m.problem("no barrier", f"there is none at byte {address} of shared memory")
    elif m.own.order.known[m.group, found.maker[0]] < found.maker[1]:
        m.problem("race", "the barrier is used by a warpgroup that need not have seen it being made: no sync_threads")
    return found


def _init(m: Warpgroup, s: Any, count: Any) -> None:
    order = m.own.order
    for address, n in _each(m, s, count):
        if address % 8 or address + 8 > m.shared.nbytes:
            m.problem("wild address", "a barrier is 8 bytes at a multiple of 8 in shared memory")
            continue
        maker = m.group, int(order.known[m.group, m.group])
        m.own.barriers[address] = Barrier(n, order.new_actor(), maker)


def _fence(m: Warpgroup) -> None:
    m.own.order.fence(m.group)
    for barrier in m.own.barriers.values():
        barrier.fenced = barrier.fenced or barrier.maker[0] == m.group


def _arrive(m: Warpgroup, s: Any, nbytes: Any) -> None:
    for address, n in _each(m, s, nbytes):
        barrier = _find(m, address)
        if barrier is None:
            continue
        if barrier.pending == 0:
            m.problem("barrier", f"more than {barrier.count} arrive in one phase")
            continue
        barrier.gathering = join(barrier.gathering, m.own.order.publish(m.group))
        barrier.pending -= 1
        barrier.nbytes += n
        barrier.turn()


def _wait(m: Warpgroup, s: Any, parity: Any) -> None:
    for address, wanted in sorted(set(_each(m, s, parity))):
        barrier = _find(m, address)
        if barrier is not None:
            m.until(partial(barrier.ended, wanted), "the end of this phase")
            m.own.order.learn(m.group, barrier.told)


# -- copies -----------------------------------------------------------------------------------------------
def _copy(m: Warpgroup, places: Sequence[Any], coordinates: Sequence[Any], taps: Sequence[Any]) -> None:
    for target, handle, address, *rest in _each(m, *places, *coordinates, *taps):
        barrier = _find(m, address)
        if barrier is None:
            continue
        if not barrier.fenced:
            m.problem("missing fence", "the copy engine need not see the barrier: no barrier_fence after barrier_init")
        described = m.memory.maps.get(handle)
        if described is None:
            m.problem("wild address", "no description of an array stands there")
            continue
        spec, base = described
        rank = len(spec.extents)
        if (len(coordinates), bool(taps)) != (rank, spec.window is not None):
            m.problem("wrong copy", f"an array of {rank} axes is copied by {len(coordinates)} coordinates")
            continue
        rows = _patch(spec, rest[:rank], rest[rank:]) if taps else _box(spec, rest)
        _issue(m, spec, base, rows, target, barrier)


def _issue(m: Warpgroup, spec: Any, base: int, rows: np.ndarray, target: int, barrier: Barrier) -> None:
    """rows: element indices into the array, -1 for zeros; a row of the box each."""
    size = SIZES[spec.dtype]
    nbytes = rows.size * size
    if target % ATOM or target + nbytes > m.shared.nbytes or rows.shape[1] * size != 128:
        m.problem("wild address", f"a swizzled copy of {nbytes} bytes needs a multiple of {ATOM} in shared memory")
        return
    grains = np.arange(target // GRAIN, (target + nbytes) // GRAIN)
    found = m.own.order.copy(m.group, barrier.actor, barrier.phase + 1, grains)
    if found is not None:
        m.problem("race", found)
    at = base + rows[rows >= 0] * size
    if at.size and not m.memory.inside(at, size):
        m.problem("wild address", "the described array is not inside an allocation")
        return

    def land() -> None:
        words = m.memory.data.view(numpy_dtype(spec.dtype))
        values = np.where(rows >= 0, words[np.where(rows >= 0, (base - BASE) // size + rows, 0)], 0)
        if spec.rounded:
            bits = values.astype(np.float32).view(np.uint32)
            values = ((bits + np.uint32(0x1000)) & np.uint32(0xFFFFE000)).view(np.float32)
        raw = values.astype(numpy_dtype(spec.dtype)).view(np.uint8).reshape(-1)
        m.shared.flat[swizzled(target + np.arange(nbytes))] = raw
        barrier.nbytes -= nbytes
        barrier.turn()

    m.own.copies.append(land)


def _steps(spec: Any) -> np.ndarray:
    """In elements, of all axes."""
    return np.array([1, *(s // SIZES[spec.dtype] for s in spec.steps)], np.int64)


def _box(spec: Any, start: Sequence[int]) -> np.ndarray:
    at = np.zeros((1,) * len(start), np.int64)
    inside = np.ones_like(at, bool)
    for axis, (first, count, extent, step) in enumerate(zip(start, spec.box, spec.extents, _steps(spec), strict=True)):
        shape = [-1 if a == len(start) - 1 - axis else 1 for a in range(len(start))]
        position = (first + np.arange(count)).reshape(shape)
        at = at + position * step
        inside = inside & (position >= 0) & (position < extent)
    return np.where(inside, at, -1).reshape(-1, spec.box[0])


def _patch(spec: Any, start: Sequence[int], taps: Sequence[int]) -> np.ndarray:
    """Base positions one after another, the innermost spatial axis first; each moved by the tap."""
    window, (channels, pixels) = spec.window, spec.box
    rank = len(taps)
    position, image = list(start[1:-1]), start[-1]
    limits = [n + high for n, high in zip(spec.extents[1:-1], window.high, strict=True)]
    channel = start[0] + np.arange(channels)
    rows = []
    for _ in range(pixels):
        place = [p + t for p, t in zip(position, taps, strict=True)]
        inside = all(0 <= x < n for x, n in zip((*place, image), spec.extents[1:], strict=True))
        at = sum(x * s for x, s in zip((*place, image), _steps(spec)[1:], strict=True))
        rows.append(np.where(inside & (channel >= 0) & (channel < spec.extents[0]), at + channel, -1))
        for axis in range(rank):
            position[axis] += window.strides[axis]
            if position[axis] < limits[axis]:
                break
            position[axis] = window.low[axis]
        else:
            image += 1
    return np.stack(rows)


def swizzled(address: np.ndarray) -> np.ndarray:
    return address ^ ((address >> 7 & 7) << 4)


# -- tensor cores -----------------------------------------------------------------------------------------
def zeros(m: Any, count: int) -> tuple[np.ndarray, ...]:
    return tuple(np.zeros(m.lanes, np.float32) for _ in range(count))


def _operand(m: Warpgroup, word: int, start: int, free: int, deep: int, kind: str, turned: bool) -> np.ndarray:
    """A matrix [free, deep] that a descriptor shows; notes the reads."""
    size = 4 if kind == "tf32" else 2
    lead, stride = (word >> 16 & 0x3FFF) << 4, (word >> 32 & 0x3FFF) << 4
    if word >> 62 != 1:
        m.problem("wrong descriptor", "operands of wgmma are swizzled in rows of 128 bytes here")
    f, d = np.arange(free)[:, None], np.arange(deep)[None]
    if turned:
        at = f // 64 * lead + d // 8 * stride + d % 8 * 128 + f % 64 * size
    else:
        at = f // 8 * stride + f % 8 * 128 + d * size
    at = ((word & 0x3FFF) << 4) + start + at
    if at.max() + size > m.shared.nbytes:
        m.problem("wild address", "an operand of wgmma is outside of shared memory")
        return np.zeros((free, deep), np.float32)
    at = swizzled(at)
    grains = np.unique(at // GRAIN)
    if not m.own.order.written(grains).all():
        m.problem("uninitialised", "wgmma reads shared memory that nobody wrote")
    found = m.own.order.tensor(m.group, grains)
    if found is not None:
        m.problem("race", found)
    if kind == "tf32":
        return (m.shared.flat.view(np.uint32)[at // 4] & np.uint32(0xFFFFE000)).view(np.float32)
    return m.shared.flat.view(numpy_dtype(kind))[at // 2].astype(np.float32)


def _uniform(m: Warpgroup, word: Any) -> int:
    values = np.unique(m.vec(word, np.int64))
    if len(values) > 1:
        m.problem("divergence", "the threads of a warpgroup give different descriptors")
    return int(values[0])


LANE = np.arange(128)
ROW, COLUMN = 16 * (LANE // 32) + LANE % 32 // 4, 2 * (LANE % 4)


def tile_step(
    m: Warpgroup,
    sums: Any,
    a: Any,
    b: Any,
    kind: str,
    columns: int,
    depth: int,
    deep: int,
    steps: tuple[int, int],
    turned: tuple[bool, bool],
    left: int,
) -> tuple[np.ndarray, ...]:
    """See hopper_macros.tile_step."""
    m.together("wgmma", 128)
    words = _uniform(m, a), _uniform(m, b)
    product = np.zeros((64, columns), np.float32)
    for k in range(depth // deep):
        one = _operand(m, words[0], k * steps[0], 64, deep, kind, turned[0])
        other = _operand(m, words[1], k * steps[1], columns, deep, kind, turned[1])
        product = product + one @ other.T
    m.own.order.commit(m.group)
    m.own.order.wait(m.group, left)
    result = []
    for k, old in enumerate(sums):
        j, half, q = k // 4, k // 2 % 2, k % 2
        result.append(m.vec(old, np.float32) + product[ROW + 8 * half, 8 * j + COLUMN + q])
    return tuple(result)


def tile_end(m: Warpgroup, sums: Any) -> Any:
    m.together("wgmma", 128)
    m.own.order.wait(m.group, 0)
    return sums


def tile_share(m: Warpgroup, sums: Any, chunk: Any, s: Any, row: int, width: int) -> None:
    """See hopper_macros.tile_share."""
    if m.own.order.at_work(m.group):
        m.problem("race", "sums are read while tensor cores still write them: no tile_end")
    from graphkeras.codegen.cuda.simulator_ops import memory_op

    first = _uniform(m, chunk) * width // 2
    store = memory_op(m, "shared_store", "float32", 2)
    for j in range(width // 8):
        for half in range(2):
            k = first + 4 * j + 2 * half
            store(m.vec(s, np.int64) + half * 8 * row + j * 32, 0, (sums[k], sums[k + 1]))
