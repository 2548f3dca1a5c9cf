"""What happened before what, in a block whose warpgroups go their own ways: clocks that barriers carry along.

Those who touch shared memory are actors: the threads of each warpgroup, its tensor cores, and the copies that report to
each barrier. An actor's accesses are numbered. A warpgroup knows, of each actor, up to which number its accesses are
over; it learns that from barriers, which were told by those who arrived. An access that conflicts with one that it does
not know to be over is a race, in whatever order the simulator happened to run them.

Mattern, "Virtual time and global states of distributed systems" (1989).
"""

from __future__ import annotations

import numpy as np

GRAIN = 16
"""Bytes of shared memory that are looked at as one; the copy engine and tensor cores move no less."""


class Order:
    """The clocks of one block. Actors: warpgroup g is g, its tensor cores groups + g, its proxy fence 2 groups + g."""

    def __init__(self, nbytes: int, groups: int) -> None:
        self.groups = groups
        self._actors = 3 * groups
        self.known = np.zeros((groups, self._actors), np.int64)
        self.known[np.arange(groups), np.arange(groups)] = 1  # what one does oneself is known; accesses start at 1
        count = -(-nbytes // GRAIN)
        self._writer = np.full(count, -1, np.int64)
        self._written = np.zeros(count, np.int64)
        self._reads = np.zeros((self._actors, count), np.int64)
        self._issued = np.zeros(groups, np.int64)  # wgmma groups

    def new_actor(self) -> int:
        """For the copies of a barrier."""
        self._actors += 1
        self.known = np.pad(self.known, ((0, 0), (0, 1)))
        self._reads = np.pad(self._reads, ((0, 1), (0, 0)))
        return self._actors - 1

    # -- knowledge ---------------------------------------------------------------------------------
    def publish(self, group: int) -> np.ndarray:
        """What a warpgroup tells when it arrives somewhere; what it does next is not part of it."""
        told = self.known[group].copy()
        self.known[group, group] += 1
        return told

    def learn(self, group: int, told: np.ndarray) -> None:
        self.known[group] = join(self.known[group], told)

    def fence(self, group: int) -> None:
        """fence.proxy.async: what this warpgroup's threads wrote may be read by copies and tensor cores."""
        self.known[group, 2 * self.groups + group] = self.known[group, group]

    def written(self, grains: np.ndarray) -> np.ndarray:
        return self._writer[grains] >= 0

    # -- accesses ----------------------------------------------------------------------------------
    def threads(self, group: int, grains: np.ndarray, write: bool) -> str | None:
        """Ordinary loads and stores of a warpgroup."""
        found = self._conflict(self.known[group], grains, write)
        self._note(group, self.known[group, group], grains, write)
        return found

    def copy(self, group: int, actor: int, number: int, grains: np.ndarray) -> str | None:
        """A copy into shared memory, issued by a warpgroup; it is over when its barrier's phase `number` is."""
        found = self._conflict(self.known[group], grains, True)
        self._note(actor, number, grains, True)
        return found

    def tensor(self, group: int, grains: np.ndarray) -> str | None:
        """Operands of wgmma; they are read until `wait` says so."""
        found = self._conflict(self.known[group], grains, False)
        own = self._writer[grains]
        by_threads = (own >= 0) & (own < self.groups)
        fences = self.known[group, 2 * self.groups + np.where(by_threads, own, 0)]
        if (by_threads & (fences < self._written[grains])).any():
            found = found or "written by threads, with no fence before tensor cores read it"
        self._note(self.groups + group, self._issued[group] + 1, grains, False)
        return found

    def commit(self, group: int) -> None:
        self._issued[group] += 1

    def wait(self, group: int, left: int) -> None:
        """All but the last `left` products are over."""
        actor = self.groups + group
        self.known[group, actor] = max(self.known[group, actor], self._issued[group] - left)

    def at_work(self, group: int) -> bool:
        """Whether tensor cores may still be writing sums."""
        return bool(self.known[group, self.groups + group] < self._issued[group])

    def _conflict(self, known: np.ndarray, grains: np.ndarray, write: bool) -> str | None:
        writer = self._writer[grains]
        if ((writer >= 0) & (known[writer] < self._written[grains])).any():
            return "written by a copy or another warpgroup that need not be done: no barrier was waited for"
        if write and (self._reads[:, grains] > known[: len(self._reads), None]).any():
            return "written while another warpgroup or its tensor cores may still read it: no barrier was waited for"
        return None

    def _note(self, actor: int, number: int, grains: np.ndarray, write: bool) -> None:
        if write:
            self._writer[grains], self._written[grains] = actor, number
            self._reads[:, grains] = 0
        else:
            self._reads[actor, grains] = number


def join(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Both knowledges together; one may be from before an actor joined."""
    size = max(len(a), len(b))
    return np.maximum(np.pad(a, (0, size - len(a))), np.pad(b, (0, size - len(b))))
