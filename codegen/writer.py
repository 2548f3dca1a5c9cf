"""Indented source text, with names that are given once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class Writer:
    """Collects lines of Python source. `with w.block("for i in range(n)")` indents."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._depth = 0
        self._names = 0

    def line(self, text: str = "") -> None:
        self._lines.append("    " * self._depth + text if text else "")

    def name(self, stem: str) -> str:
        """A fresh variable name."""
        self._names += 1
        return f"{stem}{self._names}"

    @contextmanager
    def block(self, head: str) -> Iterator[None]:
        self.line(head + ":")
        self._depth += 1
        yield
        self._depth -= 1

    @contextmanager
    def maybe_block(self, head: str | None) -> Iterator[None]:
        """A block when there is a head, else just the body."""
        if head is None:
            yield
            return
        with self.block(head):
            yield

    def text(self) -> str:
        return "\n".join(self._lines) + "\n"
