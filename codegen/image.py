"""A plan as plain numbers: what a Program needs to run, free of graphs and kernel objects. To bytes, and back.

Buffers are gone: a word of the argument table says which bound array, place in the arena or constant it points to.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from graphkeras.codegen.cpu import cache, plan_codes
from graphkeras.codegen.kernel import Buffer, Where
from graphkeras.codegen.schedule import Code


class ImageError(ValueError):
    """Bytes that do not hold an image."""


@dataclass
class Image:
    """Tables of int64; the addresses in them are filled in by whoever loads it.

    rows: the code; words: the argument table; data: tables of loops and switches; links: (row, column, first of data).
    calls: (row, kernel) of each launch; entries: (word, kernel); scratch: (word, offset in the thread's memory).
    bound: (slot, word, offset), where slots count inputs, then outputs; arena: (word, offset in the arena).
    fixed: (constant, word, offset). donated: (output, input). status: the constant that is the status, or -1.
    kernels: (symbol, key in the cache) of each, in the order that the tables number. seconds: estimated time of a step
    on one core.
    """

    rows: np.ndarray
    words: np.ndarray
    data: np.ndarray
    links: np.ndarray
    calls: np.ndarray
    entries: np.ndarray
    scratch: np.ndarray
    bound: np.ndarray
    arena: np.ndarray
    fixed: np.ndarray
    donated: np.ndarray
    constants: list[np.ndarray]
    kernels: list[tuple[str, str]]
    status: int
    scratch_nbytes: int
    arena_nbytes: int
    parallel: bool
    seconds: float

    def to_bytes(self) -> bytes:
        """A JSON head that says where what stands, a newline, and the arrays one after the other."""
        head: dict[str, object] = {}
        arrays: list[np.ndarray] = []
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray):
                head[field.name] = list(value.shape)
                arrays.append(value)
            elif field.name == "constants":
                head[field.name] = [c.nbytes for c in value]
            else:
                head[field.name] = value
        parts = [json.dumps(head).encode(), b"\n", *(a.tobytes() for a in arrays)]
        return b"".join([*parts, *(c.tobytes() for c in self.constants)])

    @staticmethod
    def from_bytes(raw: bytes) -> Image:
        """Raises ImageError where `raw` was not written by `to_bytes` of this version."""
        try:
            end = raw.index(b"\n")
            head = json.loads(raw[:end])
            at = end + 1
            found: dict[str, Any] = {}
            for field in fields(Image):
                value = head[field.name]
                if field.type == "np.ndarray":
                    size = 8 * int(np.prod(value))
                    found[field.name] = np.frombuffer(raw[at : at + size], np.int64).reshape(value).copy()
                    at += size
                else:
                    found[field.name] = value
            for number, size in enumerate(head["constants"]):
                found["constants"][number] = np.frombuffer(raw[at : at + size], np.uint8)
                at += size
            found["kernels"] = [(symbol, key) for symbol, key in head["kernels"]]
        except (ValueError, KeyError, TypeError) as error:
            raise ImageError(f"no image of a program: {error}") from error
        if at != len(raw) or set(head) != {f.name for f in fields(Image)}:
            raise ImageError("no image of a program: its length is not what its head says")
        return Image(**found)


def image_of(
    code: Code,
    slots: Mapping[Buffer, int],
    offsets: Mapping[Buffer, int],
    donated: Mapping[int, int],
    arena_nbytes: int,
    seconds: float,
    status: np.ndarray | None,
    name: str,
) -> tuple[Image, list[str]]:
    """The image of an encoded plan, and the sources of its kernels.

    slots: places of bound buffers; offsets: of those in the arena; donated: output -> input; status: the array that
    is used in place.
    """
    kernels: dict[str, int] = {}
    calls = [(row, kernels.setdefault(call.kernel.source, len(kernels))) for row, call in code.calls.items()]
    entries = [(word, kernels.setdefault(source, len(kernels))) for word, source in code.entries]
    bound: list[tuple[int, int, int]] = []
    arena: list[tuple[int, int]] = []
    fixed: list[tuple[int, int, int]] = []
    constants: list[np.ndarray] = []
    known = -1
    for buffer, pairs in code.relocations.items():
        if buffer.where is Where.CONST:
            if buffer.data is status:
                known = len(constants)
            fixed += [(len(constants), word, offset) for word, offset in pairs]
            constants.append(np.frombuffer(buffer.data.tobytes(), np.uint8))
        elif buffer.where is Where.ARENA:
            start = _place_of(buffer, offsets, arena_nbytes, name)
            arena += [(word, start + offset) for word, offset in pairs]
        elif buffer in slots:
            bound += [(slots[buffer], word, offset) for word, offset in pairs]
        else:
            raise ValueError(f"{name}: buffer {buffer.label!r} is neither an input nor an output of the program")
    image = Image(
        rows=_table(code.rows, plan_codes.SIZE),
        words=np.array(code.words, np.int64),
        data=np.array(code.data or [0], np.int64),
        links=_table(code.links, 3),
        calls=_table(calls, 2),
        entries=_table(entries, 2),
        scratch=_table(code.scratch, 2),
        bound=_table(sorted(bound), 3),
        arena=_table(arena, 2),
        fixed=_table(fixed, 3),
        donated=_table(list(donated.items()), 2),
        constants=constants,
        kernels=[(cache.symbol_of(source), cache.entry_key(source)) for source in kernels],
        status=known,
        scratch_nbytes=code.scratch_nbytes,
        arena_nbytes=arena_nbytes,
        parallel=code.parallel,
        seconds=seconds,
    )
    return image, list(kernels)


def _place_of(buffer: Buffer, offsets: Mapping[Buffer, int], arena_nbytes: int, name: str) -> int:
    if buffer not in offsets or offsets[buffer] + buffer.nbytes > arena_nbytes:
        raise ValueError(f"{name}: buffer {buffer.label!r} has no place in the arena (a window outside its Loop?)")
    return offsets[buffer]


def _table(rows: Sequence[Sequence[int]], columns: int) -> np.ndarray:
    return np.array(rows, np.int64).reshape(len(rows), columns)
