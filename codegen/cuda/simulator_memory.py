"""Memory of the simulated device, and the shadow that finds races."""

from __future__ import annotations

from bisect import bisect_right

import numpy as np

from graphkeras.codegen.kernel import TensorMap
from graphkeras.ir.types import numpy_dtype

BASE = 1 << 20
GAP = 512


class Shadow:
    """Who touched each byte last, and when: thread, barriers it had passed."""

    def __init__(self, size: int) -> None:
        self.resize(size)

    def resize(self, size: int) -> None:
        self._who = np.full((2, size), -1, np.int64)  # last reader, last writer
        self._block = np.zeros((2, size), np.int64)
        self._warp = np.zeros((2, size), np.int64)
        self.published: np.ndarray | None = None  # clocks of the blocks at the grid's last barrier
        self._many = np.zeros(size, bool)  # several threads read since

    @property
    def size(self) -> int:
        return self._who.shape[1]

    def written(self, places: np.ndarray) -> np.ndarray:
        return self._who[1, places] >= 0

    def touch(
        self,
        places: np.ndarray,
        who: np.ndarray,
        threads: int,
        block: np.ndarray,
        warp: np.ndarray,
        oldest: int,
        write: bool,
    ) -> str | None:
        """Note an access (places: one row per thread) and say which race it is, if any."""
        found = None
        for column in places.T:
            if self._unordered(1, column, who, threads, block, warp, oldest).any():
                found = "written by another thread, with no barrier in between"
            others = self._unordered(0, column, who, threads, block, warp, oldest)
            if write:
                many = self._many[column] & (self._block[0, column] >= block) & (self._who[0, column] >= oldest)
                if (others | many).any():
                    found = "written while another thread may still have to read it: no barrier in between"
                self._note(1, column, who, block, warp)
                if (self._who[1, column] != who).any():
                    found = "written by several threads at once"
                self._many[column] = False
            else:
                fresh = self._who[0, column] >= oldest
                same_epoch = fresh & (self._block[0, column] >= block)
                self._many[column] = others | (self._many[column] & same_epoch)
                self._note(0, column, who, block, warp)
                self._many[column] |= self._who[0, column] != who
        return found

    def _note(self, row: int, places: np.ndarray, who: np.ndarray, block: np.ndarray, warp: np.ndarray) -> None:
        self._who[row, places] = who
        self._block[row, places] = block
        self._warp[row, places] = warp

    def _unordered(
        self,
        row: int,
        places: np.ndarray,
        who: np.ndarray,
        threads: int,
        block: np.ndarray,
        warp: np.ndarray,
        oldest: int,
    ) -> np.ndarray:
        """Where the last access was another thread's of this launch, with no barrier since that both took part in."""
        last = self._who[row, places]
        other = (last >= oldest) & (last != who)
        same_block = (last - oldest) // threads == (who - oldest) // threads
        same_warp = same_block & ((last - oldest) % threads // 32 == (who - oldest) % threads // 32)
        ordered = same_block & (self._block[row, places] < block) | same_warp & (self._warp[row, places] < warp)
        if self.published is not None:
            block = np.clip((last - oldest) // threads, 0, len(self.published) - 1)
            ordered |= self._block[row, places] < self.published[block]
        return other & ~ordered


def sampled(addresses: np.ndarray, size: int, count: int) -> np.ndarray:
    """The bytes of each access that stand for it in the shadow: every second one of wider elements."""
    step = min(size, 2)
    return addresses[:, None] + np.arange(0, size * count, step)


class Memory:
    """Global memory: allocations with gaps between them."""

    def __init__(self) -> None:
        self.data = np.zeros(1 << 16, np.uint8)
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._top = BASE
        self._threads = 0
        self.oldest = 0  # first thread number of this launch
        self.shadow = Shadow(0)
        self.checked = True
        self.conditions: dict[int, int] = {}  # of conditional nodes of graphs, by handle
        self.maps: dict[int, tuple[TensorMap, int]] = {}  # descriptions for the copy engine, with addresses

    # -- allocation --------------------------------------------------------------------------------
    def allocate(self, nbytes: int) -> int:
        """Address of fresh memory, 512-byte aligned, filled with 0xFF (NaN)."""
        address = self._top
        self._starts.append(address)
        self._ends.append(address + nbytes)
        self._top = -(-(address + nbytes + GAP) // 512) * 512
        if self._top - BASE > self.data.nbytes:
            grown = np.zeros(2 * (self._top - BASE), np.uint8)
            grown[: self.data.nbytes] = self.data
            self.data = grown
        self.data[address - BASE : address - BASE + nbytes] = 0xFF
        return address

    def free(self, address: int) -> None:
        """Accesses to it are problems from now on; the space is not used again."""
        k = self._starts.index(address)
        del self._starts[k], self._ends[k]

    def upload(self, array: np.ndarray) -> int:
        """Allocate and fill."""
        address = self.allocate(max(array.nbytes, 1))
        self.write(address, np.ascontiguousarray(array))
        return address

    def describe(self, spec: TensorMap, address: int) -> int:
        """What a kernel gets for a TensorMap; refuses what the driver would refuse."""
        size, rows = numpy_dtype(spec.dtype).itemsize, spec.box[0]
        wrong = address % 16 or any(s % 16 or not 0 < s < 2**40 for s in spec.steps)
        wrong = wrong or not all(0 < n <= 2**32 for n in spec.extents) or not 2 <= len(spec.extents) <= 5
        wrong = wrong or len(spec.steps) != len(spec.extents) - 1 or rows * size > 128 or rows * size % 16
        if spec.window is None:
            wrong = wrong or len(spec.box) != len(spec.extents) or not all(0 < n <= 256 for n in spec.box)
        else:
            limit = {3: 2**15, 4: 2**7, 5: 2**4}.get(len(spec.extents), 0)
            corners = (*spec.window.low, *spec.window.high)
            wrong = wrong or not all(-limit <= c < limit for c in corners) or not 0 < spec.box[1] <= 1024
            wrong = wrong or not all(0 < s <= 8 for s in spec.window.strides)
        if wrong:
            raise ValueError(f"the driver would not take {spec} at {address:#x}")
        handle = (1 << 52) + len(self.maps)
        self.maps[handle] = (spec, address)
        return handle

    def write(self, address: int, array: np.ndarray) -> None:
        raw = np.frombuffer(np.ascontiguousarray(array).tobytes(), np.uint8)
        self._check_range(address, raw.nbytes)
        self.data[address - BASE : address - BASE + raw.nbytes] = raw

    def read(self, address: int, nbytes: int) -> np.ndarray:
        """A copy of the bytes."""
        self._check_range(address, nbytes)
        return self.data[address - BASE : address - BASE + nbytes].copy()

    def download(self, address: int, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        count = int(np.prod(shape, dtype=np.int64))
        return self.read(address, count * dtype.itemsize).view(dtype).reshape(shape)

    def _check_range(self, address: int, nbytes: int) -> None:
        k = bisect_right(self._starts, address) - 1
        if nbytes and (k < 0 or address + nbytes > self._ends[k]):
            raise ValueError(f"{nbytes} bytes at {address:#x} are not inside an allocation")

    # -- for the machine ---------------------------------------------------------------------------
    def inside(self, addresses: np.ndarray, nbytes: int) -> bool:
        """Whether all accesses stay in an allocation."""
        if not addresses.size:
            return True
        k = np.searchsorted(self._starts, addresses, side="right") - 1
        return bool((k >= 0).all() and (addresses + nbytes <= np.asarray(self._ends)[k]).all())

    def new_launch(self) -> None:
        """What earlier launches touched is no race any more."""
        self._threads += 1 << 32
        self.oldest = self._threads
        if self.shadow.size < self.data.nbytes:
            self.shadow.resize(self.data.nbytes)

    def new_threads(self, count: int, first: int) -> np.ndarray:
        """Numbers of the threads of a launch, from thread `first` of its grid."""
        return self.oldest + first + np.arange(count, dtype=np.int64)


class SharedMemory:
    """Shared memory of each block of a batch, side by side."""

    def __init__(self, blocks: int, nbytes: int) -> None:
        self.nbytes = -(-nbytes // 16) * 16
        self.data = np.full((blocks, self.nbytes), 0xCD, np.uint8)
        self.flat = self.data.reshape(-1)
        self.shadow = Shadow(blocks * self.nbytes)
        self.checked = True
