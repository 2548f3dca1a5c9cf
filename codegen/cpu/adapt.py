"""How many threads a program should use, learned while it runs.

Results do not depend on the number of threads, so a program may change it between two calls. On a quiet machine all
threads win; where other jobs hold the cores, threads that wait for one another at every kernel lose badly (4x was
seen), and one thread is best. Runs that are long enough to be timed keep an estimate for each choice; the loser is
tried again now and then.
"""

from __future__ import annotations

TIMED_FROM = 1e-3  # seconds of a run below which waking the threads would hide the difference
FIRST_RETRY = 4  # timed runs after which the loser gets another chance; doubled each time it loses again
LAST_RETRY = 64
SMOOTH = 0.5


class ThreadChoice:
    """Chooses between one thread and `most`."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._seconds: dict[int, float] = {}
        self._best = most
        self._wait = FIRST_RETRY
        self._since = 0  # timed runs since the loser was tried
        self._warm = False

    def pick(self) -> int:
        """The number of threads for the next run."""
        if self.most == 1 or self.most not in self._seconds:
            return self.most
        other = 1 if self._best == self.most else self.most
        return other if other not in self._seconds or self._since >= self._wait else self._best

    def learn(self, threads: int, steps: int, seconds: float) -> None:
        """Note how long a run took."""
        if seconds < TIMED_FROM or threads not in (1, self.most):
            return
        if not self._warm:  # the first run wakes threads and touches memory for the first time
            self._warm = True
            return
        step = seconds / steps
        before = self._seconds.get(threads)
        if threads == self._best and before is not None:
            self._seconds[threads] = before + SMOOTH * (step - before)
            self._since += 1
            return
        self._seconds[threads] = step  # an old estimate says nothing about the machine of now
        if len(self._seconds) < 2:
            return
        self._since = 0
        winner = min(self._seconds, key=lambda n: self._seconds[n])
        self._wait = FIRST_RETRY if winner != self._best else min(2 * self._wait, LAST_RETRY)
        self._best = winner
