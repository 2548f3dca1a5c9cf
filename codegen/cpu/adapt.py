"""How many threads a program should use, learned while it runs.

Results do not depend on the number of threads, so a program may change it between two calls. On a quiet machine all
threads win; where other jobs hold the cores, threads that wait for one another at every kernel lose badly (4x was
seen), and one thread is best. Runs that are long enough to be timed keep an estimate for each choice; the loser is
tried again now and then.
"""

from __future__ import annotations

TIMED_FROM = 1e-3  # seconds of a run below which waking the threads would hide the difference
RETRY = 24  # timed runs after which the other choice gets another chance
SMOOTH = 0.5


class ThreadChoice:
    """Chooses between one thread and `most`."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._seconds: dict[int, float] = {}
        self._runs = 0

    def pick(self) -> int:
        """The number of threads for the next run."""
        if self.most == 1 or self.most not in self._seconds:
            return self.most
        if 1 not in self._seconds:
            return 1
        best = min(self._seconds, key=lambda n: self._seconds[n])
        if self._runs % RETRY == RETRY - 1:
            return 1 if best == self.most else self.most
        return best

    def learn(self, threads: int, steps: int, seconds: float) -> None:
        """Note how long a run took."""
        if seconds < TIMED_FROM or threads not in (1, self.most):
            return
        self._runs += 1
        step = seconds / steps
        before = self._seconds.get(threads)
        if before is None and threads == self.most and len(self._seconds) == 0 and self._runs == 1:
            return  # the first run wakes threads and touches memory for the first time
        self._seconds[threads] = step if before is None else before + SMOOTH * (step - before)
