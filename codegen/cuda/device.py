"""A device as programs share it: its memory, the arena, and the copies of host arrays that it keeps.

Temporaries of all programs live in one arena, which grows with the largest of them. The state of models (weights,
optimizer moments, counters) and data sets stay on the device between runs; who reads such an array on the host gets it
fetched (`ir/residence.py`).
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable
from typing import Any

import numpy as np

from graphkeras.codegen import flags
from graphkeras.codegen.cuda.driver import DeviceMemoryError, Driver
from graphkeras.codegen.cuda.target import CUDA, target_for
from graphkeras.codegen.target import Target
from graphkeras.ir import residence

GRAIN = 512


class OutOfMemory(MemoryError):
    """The device cannot hold what a program needs; the message holds the figures of the plan."""


class Resident:
    """The device's copy of a host array. newest: where the newest value stands, "host", "device" or "both"."""

    def __init__(self, device: Device, array: np.ndarray) -> None:
        self._device = device
        self.nbytes = array.nbytes
        self.address = device.take(array.nbytes, "an array that stays on the device")
        self.newest = "host"
        key = id(array)

        def gone(_: Any) -> None:
            if device.residents.get(key) is self:  # else its lease has ended: the memory may be another array's
                del device.residents[key]
                device.dead.append((self.address, self.nbytes))

        self.array = weakref.ref(array, gone)

    def fetch(self) -> None:
        array = self.array()
        if self.newest != "device" or array is None:
            return
        with self._device.lock:
            driver = self._device.driver
            self._device.enter()
            driver.download(array, self.address, self._device.stream)
            driver.synchronize(self._device.stream)
            self.newest = "both"

    def outdated(self) -> None:
        self.newest = "host"

    def upload(self) -> bool:
        """Queue the host's value, if it is the newer one; whether that was so."""
        array = self.array()
        if self.newest != "host" or array is None:
            return False
        self._device.driver.upload(self.address, array, self._device.stream)
        self.newest = "both"
        return True


class Device:
    """One device and everything on it."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self.lock = threading.RLock()
        self.stream, self.copy_stream = driver.stream(), driver.stream()
        self.residents: dict[int, Resident] = {}
        self.parked: dict[int, Resident] = {}  # of arrays that are not in use and have not changed
        self.dead: list[tuple[int, int]] = []  # memory of arrays that died; taken back when nobody is at work
        self.dead_graphs: list[Any] = []
        self.arena, self.arena_nbytes = 0, 0
        self._pool: dict[int, list[int]] = {}
        self.host_pool: dict[int, list[np.ndarray]] = {}  # page-locked buffers that programs gave back

    def __repr__(self) -> str:
        return f"<{self.driver.name}, sm_{self.driver.arch[0]}{self.driver.arch[1]}>"

    @property
    def target(self) -> Target:
        """What to compile for."""
        own, wanted = self.driver.arch, flags.GPU.value
        if wanted not in (None, CUDA.arch, own):
            raise ValueError(
                f"GRAPHKERAS_GPU: expected {_dotted(CUDA.arch)} or that of {self!r}, {_dotted(own)}, "
                f"received {_dotted(wanted)}"
            )
        return target_for(wanted or own)

    def enter(self) -> None:
        """Make the device the calling thread's."""
        enter = getattr(self.driver, "enter", None)
        if enter is not None:
            enter()

    # -- memory ------------------------------------------------------------------------------------
    def take(self, nbytes: int, what: str) -> int:
        """Memory of at least `nbytes`; OutOfMemory says what it was wanted for."""
        size = max(GRAIN, -(-nbytes // GRAIN) * GRAIN)
        self._bury()
        if self._pool.get(size):
            return self._pool[size].pop()
        try:
            return self.driver.allocate(size)
        except DeviceMemoryError:
            self.trim()
        try:
            return self.driver.allocate(size)
        except DeviceMemoryError as error:
            raise OutOfMemory(self._figures(size, what)) from error

    def give(self, address: int, nbytes: int) -> None:
        """Hand memory back; it is kept for the next who wants as much."""
        size = max(GRAIN, -(-nbytes // GRAIN) * GRAIN)
        self._pool.setdefault(size, []).append(address)

    def host_buffer(self, nbytes: int) -> np.ndarray:
        """Page-locked host memory, from the pool where there is some: it is dear to make."""
        if self.host_pool.get(nbytes):
            self.driver.synchronize(self.copy_stream)  # a copy out of it may still be under way
            return self.host_pool[nbytes].pop()
        return self.driver.host_buffer(nbytes)

    def trim(self) -> None:
        """Release what nobody uses to the driver."""
        self.end_lease([a for r in list(self.parked.values()) if (a := r.array()) is not None])
        self._bury()
        self.driver.synchronize(self.stream)
        for addresses in self._pool.values():
            for address in addresses:
                self.driver.free(address)
        self._pool.clear()

    def release(self) -> None:
        """Hand all memory to the driver that no program, array or running step holds, the arena included."""
        with self.lock:
            self.enter()
            self.trim()
            if self.arena:
                self.driver.free(self.arena)
                self.arena, self.arena_nbytes = 0, 0

    def _bury(self) -> None:
        while self.dead:
            self.give(*self.dead.pop())
        while self.dead_graphs:
            self.driver.synchronize(self.stream)
            self.driver.drop_graph(self.dead_graphs.pop())

    def reserve_arena(self, nbytes: int) -> int:
        """Address of the arena, which has at least `nbytes`; it moves when it grows."""
        if nbytes > self.arena_nbytes:
            if self.arena:
                self.driver.synchronize(self.stream)
                self.driver.free(self.arena)
                self.arena, self.arena_nbytes = 0, 0
            self.arena = self.take(nbytes, "the temporaries of a step (its arena)")
            self.arena_nbytes = nbytes
        return self.arena

    def _figures(self, nbytes: int, what: str) -> str:
        free, total = self.driver.memory()
        state = sum(r.nbytes for r in self.residents.values())
        return (
            f"{self.driver.name}: {_mib(nbytes)} are wanted for {what}, but {_mib(free)} of {_mib(total)} are free. "
            f"Weights, optimizer state and data on the device take {_mib(state)}, temporaries "
            f"{_mib(self.arena_nbytes)}. "
            "A smaller batch_size makes the temporaries smaller; data sets that do not fit can be given as a generator "
            "or a PyDataset."
        )

    # -- arrays that stay --------------------------------------------------------------------------
    def resident(self, array: np.ndarray) -> Resident:
        """The device's copy of an array; made where there is none."""
        found = self.residents.get(id(array))
        if found is None or found.array() is not array:
            found = self.residents[id(array)] = Resident(self, array)
            residence.register(array, found)
        return found

    def is_resident(self, array: np.ndarray) -> bool:
        found = self.residents.get(id(array))
        return found is not None and found.array() is array

    def end_lease(self, arrays: Iterable[np.ndarray]) -> None:
        """These arrays may change from now on: the copies go."""
        for array in arrays:
            self.parked.pop(id(array), None)
            found = self.residents.pop(id(array), None)
            if found is not None:
                residence.forget(array)
                self.give(found.address, found.nbytes)

    def lease(self, arrays: Iterable[np.ndarray]) -> None:
        """These arrays do not change until the next lease: one upload is enough, or none for those that were parked."""
        for array in arrays:
            parked, found = self.parked.pop(id(array), None), self.resident(array)
            if parked is not found:
                found.outdated()

    def park(self, arrays: Iterable[np.ndarray]) -> None:
        """These arrays are not used until the next lease, nor do they change: copies stay while there is memory."""
        for array in arrays:
            if self.is_resident(array):
                self.parked[id(array)] = self.residents[id(array)]


def _dotted(arch: tuple[int, int] | None) -> str:
    return ".".join(map(str, arch or ()))


def _mib(nbytes: int) -> str:
    return f"{nbytes / 2**20:,.1f} MiB"


_devices: dict[str, Device] = {}
_lock = threading.Lock()


def get(name: str) -> Device:
    """The device called "cuda:0", "cuda:1" ... or "cuda:simulated"; CudaUnavailable where it is not there."""
    with _lock:
        if name not in _devices:
            _devices[name] = Device(_driver(name))
        return _devices[name]


def _driver(name: str) -> Driver:
    _, _, which = name.partition(":")
    if which == "simulated":
        from graphkeras.codegen.cuda.simulated import SimulatedDriver

        return SimulatedDriver()
    from graphkeras.codegen.cuda.driver import CudaDriver

    return CudaDriver(int(which or 0))


def release_all() -> None:
    """`Device.release` of every device that was used."""
    with _lock:
        found = list(_devices.values())
    for device in found:
        device.release()


_current: list[str] = ["cuda:0"]


def current() -> Device:
    """The device for which programs are being made."""
    return get(_current[-1])


class using:
    """`with using("cuda:1")`: programs made inside are for that device."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> Device:
        _current.append(self._name)
        try:
            return current()
        except BaseException:
            _current.pop()
            raise

    def __exit__(self, *exc: object) -> None:
        _current.pop()
