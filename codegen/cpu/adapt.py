"""How many threads a program should use, learned while it runs.

Results do not depend on the number of threads, so a program may change it between two calls. On a quiet machine all
threads win; where other jobs hold the cores, threads that wait for one another at every kernel lose badly (4x was
seen), and one thread is best. Runs that are long enough to be timed are compared by the fastest of the last few: the
cores of a virtual machine share a cache at times, and at times not even that, for some runs or some seconds, and the
mean of a bad time would send a program to one thread that is twice as fast on two for most of the time. The loser is
tried again now and then, for a few short runs, unless the first one shows that it is far behind.
"""

from __future__ import annotations

import math
from collections import deque

TIMED_FROM = 1e-3  # seconds of a run below which waking the threads would hide the difference
RECENT = 8  # runs of the winner that count
TRIAL = 3  # runs of the other choice when it is tried
TRIED_FOR = 4e-3  # seconds that such a run would take the winner, or one step
FAR = 1.5  # times as slow: not worth a second run
FIRST_RETRY = 4  # timed runs after which the loser gets another chance; doubled each time it loses again
LAST_RETRY, LAST_RETRY_FAR = 32, 64


class ThreadChoice:
    """Chooses between one thread and `most`."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._best = most
        self._recent: deque[float] = deque(maxlen=RECENT)  # seconds per step of the best choice
        self._trial: list[float] = []  # of the other one, while it is tried
        self._wait = FIRST_RETRY
        self._since = 0  # timed runs since the loser was tried
        self._warm = False

    def pick(self) -> int:
        """The number of threads for the next run."""
        if self.most == 1 or self._since < self._wait:
            return self._best
        return 1 if self._best == self.most else self.most

    def share(self, threads: int, steps: int) -> int:
        """How many of a run's steps to make with `threads`: a choice that is on trial gets a few, not the whole run."""
        if threads == self._best or not self._recent:
            return steps
        return min(steps, math.ceil(TRIED_FOR / min(self._recent)))

    def learn(self, threads: int, steps: int, seconds: float) -> None:
        """Note how long a run took."""
        if seconds < TIMED_FROM or threads not in (1, self.most):
            return
        if not self._warm:  # the first run wakes threads and touches memory for the first time
            self._warm = True
            return
        if threads == self._best:
            self._recent.append(seconds / steps)
            self._since += 1
        elif self._recent:
            self._trial.append(seconds / steps)
            self._judge(threads)

    def _judge(self, threads: int) -> None:
        best = min(self._recent)
        far = min(self._trial) > FAR * best
        if len(self._trial) < TRIAL and not far:
            return
        if min(self._trial) < best:
            self._best, self._wait = threads, FIRST_RETRY
            self._recent = deque(self._trial, maxlen=RECENT)
        else:
            self._wait = min(2 * self._wait, LAST_RETRY_FAR if far else LAST_RETRY)
        self._trial, self._since = [], 0
