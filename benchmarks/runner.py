"""Worker processes, and how they are asked: in turn, each round in another order, so that nobody has a fixed place."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.contestants import Contestant

PAUSE = 0.15  # seconds between two contestants: thread pools of the one before spin on for a while
TIMEOUT = 900.0  # seconds after which a silent worker has failed
BURIAL = 20.0  # seconds in which a process must be gone; one that hangs in a driver cannot be ended
T = TypeVar("T")


@contextlib.contextmanager
def kernel_folder() -> Iterator[str]:
    """Where suites that do not time compiles keep kernels: in GRAPHKERAS_CACHE if it is set, else for the run only."""
    given = os.environ.get("GRAPHKERAS_CACHE", "")
    if given and given.lower() not in ("0", "off"):
        yield given
    else:
        with tempfile.TemporaryDirectory() as folder:
            yield folder


class WorkerFailed(RuntimeError):
    """A worker ended or was silent for too long; the message holds the end of what it said."""


def last_words(text: str) -> str:
    """The line of an output that says what went wrong: the last that names an error, else the last."""
    lines = [x.strip() for x in text.splitlines() if x.strip()]
    errors = [x for x in lines if re.match(r"[\w.]*(Error|Exception|Unavailable|OutOfMemory)\b.*: ", x)]
    return (errors or lines or ["said nothing"])[-1][:300]


class Runner:
    """A worker process; `start` is what it reported when it was ready. patience: seconds until silence is failure."""

    def __init__(
        self, who: Contestant, *arguments: str, script: str = "worker.py", patience: float = TIMEOUT, **env: str
    ) -> None:
        self.who, self.patience = who, patience
        self.errors = tempfile.TemporaryFile(mode="w+", errors="replace")  # noqa: SIM115 (closed in close)
        command = [who.python, str(Path(__file__).parent / script), *arguments]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            env=who.env(**env),
        )
        try:
            self.start = self._read()
        except WorkerFailed:
            self.close()
            raise

    def _read(self) -> Any:
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], self.patience)
        line = self.process.stdout.readline() if ready else ""
        if not line:
            end = f"ended with code {self._buried(BURIAL)}" if ready else f"was silent for {self.patience:.0f} s"
            self._buried(0)
            self.errors.seek(0)
            raise WorkerFailed(f"{self.who.name} {end}: {last_words(self.errors.read())}")
        return json.loads(line)

    def _buried(self, seconds: float) -> int | None:
        """The process's exit code; it is killed after so many seconds. None where even that does not end it."""
        for wait in (seconds, BURIAL):
            try:
                return self.process.wait(timeout=wait)
            except subprocess.TimeoutExpired:
                self.process.kill()
        return None

    def ask(self, **request: Any) -> Any:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # _read says why it is gone
        return self._read()

    def close(self) -> None:
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):  # a request that nobody read
                    stream.close()
        self._buried(BURIAL)
        self.errors.close()


class Field:
    """Contestants by name. One that fails leaves a note and takes no further part. pause: seconds between two."""

    def __init__(self, pause: float = PAUSE) -> None:
        self.pause = pause
        self.runners: dict[str, Runner] = {}
        self.notes: dict[str, str] = {}

    def enter(self, name: str, make: Callable[[], Runner]) -> None:
        try:
            self.runners[name] = make()
        except (WorkerFailed, OSError) as error:
            self.notes[name] = str(error)

    def __enter__(self) -> Field:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def each(self, do: Callable[[Runner], T], order: Sequence[str] | None = None) -> dict[str, T]:
        """do(runner) for everybody still there, in the given order."""
        results = {}
        for name in order if order is not None else list(self.runners):
            runner = self.runners.get(name)
            if runner is None:
                continue
            time.sleep(self.pause)
            try:
                results[name] = do(runner)
            except WorkerFailed as error:
                self.notes[name] = str(error)
                self.runners.pop(name).close()
        return results

    def rounds(self, count: int, do: Callable[[Runner], T]) -> dict[str, list[T]]:
        """The answers of `count` rounds; the first place goes round and every other round runs backwards."""
        answers: dict[str, list[T]] = {name: [] for name in self.runners}
        for number in range(count):
            for name, value in self.each(do, round_order(list(self.runners), number)).items():
                answers[name].append(value)
        return answers

    def close(self) -> None:
        for runner in self.runners.values():
            runner.close()
        self.runners.clear()


def round_order(names: Sequence[str], number: int) -> list[str]:
    """Rotated by one in each round, and reversed in each second one."""
    if not names:
        return []
    first = number // 2 % len(names)
    order = [*names[first:], *names[:first]]
    return order[::-1] if number % 2 else order
