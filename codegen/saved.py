"""Whole programs on disk: a process that meets a graph which another one has compiled runs its plan at once.

An entry is `programs/<key>.gkp` in the folder of kernels: an image (image.py) behind a checksum. The key hashes the
traced graph, which outputs overwrite which inputs, the settings, the compiler's own files, and what kernels depend on
(fingerprint.py). Nothing in it is executed but the kernels it names, which have entries of their own. What only
reports need, the kernels' graph nodes and reasons, is not kept: it is made again when somebody asks.
"""

from __future__ import annotations

import functools
import hashlib
import os
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from graphkeras.codegen import flags
from graphkeras.codegen.base_program import Status
from graphkeras.codegen.cpu import cache
from graphkeras.codegen.cpu.fingerprint import fingerprint
from graphkeras.codegen.image import Image, ImageError
from graphkeras.codegen.kernel import Buffer, Instruction, Kernel, Where
from graphkeras.codegen.program import Program
from graphkeras.ir.digest import NoDigest, digest
from graphkeras.ir.graph import Graph

MOST = 2000  # entries that the folder keeps: the oldest go
LARGEST = 64 << 20  # bytes of a program that is worth keeping


class Counts:
    """What `program_of` did so far in this process."""

    def __init__(self) -> None:
        self.loaded = self.saved = 0


counts = Counts()


def program_of(graph: Graph, aliases: Mapping[int, int]) -> Program:
    """The program of a graph for the CPU: from the disk, or compiled, and then kept there for the next process.

    aliases: output index -> input index whose memory the output takes. Raises what `compile_graph` raises.
    """
    folder = _folder()
    key = None if folder is None else _key(graph, aliases)
    if folder is None or key is None:
        return _compile(graph, aliases)
    path = folder / f"{key}.gkp"
    found = _load(path, key, graph, aliases)
    if found is None:
        found = _compile(graph, aliases)
        _save(path, key, found)
    return found


def _compile(graph: Graph, aliases: Mapping[int, int]) -> Program:
    from graphkeras.codegen.compile import compile_graph  # passes, fusion and templates: not needed where it is saved

    return compile_graph(graph, aliases)


class SavedProgram(Program):
    """A program whose plan comes from the disk; what reports want to know of it is compiled again."""

    def __init__(self, image: Image, addresses: Sequence[int], graph: Graph, again: Callable[[], Program]) -> None:
        self._given = image, addresses
        self._again = again
        inputs = [Buffer(n.type.nbytes, Where.INPUT, k) for k, n in enumerate(graph.inputs)]
        outputs = [Buffer(n.type.nbytes, Where.OUTPUT, k) for k, n in enumerate(graph.outputs)]
        for output, source in image.donated.tolist():
            outputs[output] = inputs[source]
        super().__init__(
            (),
            inputs=inputs,
            outputs=outputs,
            input_types=[n.type for n in graph.inputs],
            output_types=[n.type for n in graph.outputs],
            arena_nbytes=image.arena_nbytes,
            name=graph.name,
        )

    def _build(self, status: Buffer | None) -> None:
        image, addresses = self._given
        self._install(image, addresses)
        del self._given

    def _describe(self, instructions: Sequence[Instruction]) -> None:
        """Nothing is known until somebody asks."""

    def error_text(self, status: Status) -> str:
        self._compiled.named = self.named
        return self._compiled.error_text(status)

    @functools.cached_property
    def _compiled(self) -> Program:
        program = self._again()
        if program.image.to_bytes() != self.image.to_bytes():
            raise RuntimeError(
                f"{self.name}: the plan on disk is not the one that this compiler makes of the same graph. Delete the "
                f"folder {_folder()}, start again, and report it, please."
            )
        return program

    @property
    def instructions(self) -> tuple[Instruction, ...]:  # type: ignore[override]
        return self._compiled.instructions

    @property
    def kernels(self) -> tuple[Kernel, ...]:  # type: ignore[override]
        return self._compiled.kernels

    @property
    def kernels_run(self) -> list[Kernel]:
        return self._compiled.kernels_run

    @property
    def groups(self) -> Sequence[Any]:  # type: ignore[override]
        return self._compiled.groups

    @property
    def declined(self) -> Sequence[tuple[Any, str]]:  # type: ignore[override]
        return self._compiled.declined


# -- the disk -------------------------------------------------------------------------------------------
def _folder() -> Path | None:
    """Where programs are kept; None while a flag asks to see how they are made."""
    watched = flags.DEBUG.value or flags.DUMP.value or flags.CHECK.value or flags.TUNE.value == "measure"
    kernels = flags.CACHE.value
    return None if kernels is None or watched or not flags.PROGRAMS.value else kernels / "programs"


def _key(graph: Graph, aliases: Mapping[int, int]) -> str | None:
    try:
        found = digest(graph)
    except NoDigest:
        return None
    settings = (sorted(aliases.items()), sorted(flags.PASSES.value), flags.TUNE.value, _tuned(), np.__version__)
    parts = (fingerprint(), _stamp(), repr(settings))
    return hashlib.blake2b(found + "\0".join(parts).encode(), digest_size=20).hexdigest()


@functools.cache
def _stamp() -> str:
    """Changes when a module of the compiler does: names, sizes and times, which Python's own cache trusts as well."""
    rows: list[tuple[str, str, int, int]] = []
    for house in ("graphkeras.ir", "graphkeras.codegen"):
        for top in sys.modules[house].__path__:
            for folder, folders, files in os.walk(top):
                folders[:] = [f for f in folders if f not in ("cuda", "__pycache__")]
                rows += [(house, *_mark(folder, name)) for name in files if name.endswith(".py")]
    return hashlib.blake2b(repr(sorted(rows)).encode(), digest_size=16).hexdigest()


def _mark(folder: str, name: str) -> tuple[str, int, int]:
    found = os.stat(os.path.join(folder, name))
    return f"{os.path.basename(folder)}/{name}", found.st_size, found.st_mtime_ns


def _tuned() -> list[tuple[str, int]]:
    """Measured choices that the compiler goes by."""
    folder = flags.CACHE.value
    if folder is None or flags.TUNE.value == "off":
        return []
    try:
        with os.scandir(folder / "tuned") as entries:
            return sorted((e.name, e.stat().st_mtime_ns) for e in entries if e.name.endswith(".json"))
    except OSError:
        return []


def _load(path: Path, key: str, graph: Graph, aliases: Mapping[int, int]) -> Program | None:
    raw = cache.read_sealed(path, key)
    if raw is None:
        return None
    try:
        image = Image.from_bytes(raw)
    except ImageError:
        return None
    addresses = cache.load_known(image.kernels)
    if addresses is None:
        return None
    counts.loaded += 1
    return SavedProgram(image, addresses, graph, lambda: _compile(graph, aliases))


def _save(path: Path, key: str, program: Program) -> None:
    data = program.image.to_bytes()
    if len(data) > LARGEST:
        return
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        cache.write_sealed(path, key, data)
        _prune(path.parent)
    except OSError as error:
        warnings.warn(
            f"compiled programs are not kept: cannot write to {path.parent} ({error.strerror}). "
            "Set GRAPHKERAS_CACHE to a folder that can be written, or GRAPHKERAS_PROGRAMS to 0.",
            stacklevel=2,
        )
        return
    counts.saved += 1


def _prune(folder: Path) -> None:
    """Let the oldest entries go; other processes may do the same at the same time."""
    with os.scandir(folder) as entries:
        files = [(e.stat().st_mtime_ns, e.path) for e in entries if e.name.endswith(".gkp")]
    for _, old in sorted(files)[: max(0, len(files) - MOST)]:
        Path(old).unlink(missing_ok=True)
