"""From kernel sources to addresses: the table of this process, the disk cache, the compiler, in this order.

An entry is one file, `<key>.gko`: a magic word, a checksum, the object. The key hashes the source, the compiler and the
CPU. Files are written aside and moved into place, so any number of processes may share a folder; an entry that does not
pass its checksum is built again. The source lies beside it as `<key>.py`, to be read.
"""

from __future__ import annotations

import hashlib
import os
import queue
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from graphkeras.codegen import flags
from graphkeras.codegen.cpu import target
from graphkeras.codegen.cpu.cores import available_cores
from graphkeras.codegen.cpu.fingerprint import fingerprint

MAGIC = b"GKO1"
PARALLEL_FROM = 6
"""Missing kernels from which worker processes pay: one takes 0.1 s to start, a kernel 60 ms."""
WORKERS = 16

_lock = threading.Lock()
_table: dict[str, int] = {}  # symbol -> address


@dataclass
class Counts:
    """What `load` did so far in this process."""

    compiled: int = 0
    from_disk: int = 0
    from_memory: int = 0
    rejected: int = 0


counts = Counts()


def load(sources: Sequence[str]) -> list[int]:
    """Addresses of the kernels with these sources; compiles what neither this process nor the disk has."""
    symbols = [symbol_of(s) for s in sources]
    with _lock:
        missing = {name: s for name, s in zip(symbols, sources, strict=True) if name not in _table}
        counts.from_memory += len(sources) - len(missing)
        if missing:
            objects = _objects(list(missing.values()))
            _add((name, objects[s]) for name, s in missing.items())
        return [_table[name] for name in symbols]


def load_known(kernels: Sequence[tuple[str, str]]) -> list[int] | None:
    """Addresses of kernels given as (symbol, key of the entry); None where the disk has not got one of them."""
    folder = flags.CACHE.value
    with _lock:
        found: dict[str, bytes] = {}
        for symbol, key in kernels:
            if symbol not in _table:
                data = None if folder is None else read_entry(folder, key)
                if data is None:
                    return None
                found[symbol] = data
        counts.from_memory += len(kernels) - len(found)
        counts.from_disk += len(found)
        _add(found.items())
        return [_table[symbol] for symbol, _ in kernels]


def _add(objects: Iterable[tuple[str, bytes]]) -> None:
    objects = list(objects)
    if objects:
        _table.update(zip((name for name, _ in objects), target.load_objects(objects), strict=True))


def symbol_of(source: str) -> str:
    """What the machine code of a source is called."""
    return "gk_" + hashlib.blake2b(source.encode(), digest_size=16).hexdigest()


def entry_key(source: str) -> str:
    """The name of a source's entry in the folder, without its suffix."""
    return hashlib.blake2b(f"{fingerprint()}\0{source}".encode(), digest_size=20).hexdigest()


def _objects(sources: Sequence[str]) -> dict[str, bytes]:
    folder = flags.CACHE.value
    found: dict[str, bytes] = {}
    if folder is not None:
        for source in sources:
            data = read_entry(folder, entry_key(source))
            if data is not None:
                found[source] = data
        counts.from_disk += len(found)
    missing = [s for s in sources if s not in found]
    for source, data in compile_all(missing):
        found[source] = data
        counts.compiled += 1
        if folder is not None:
            write_entry(folder, entry_key(source), source, data)
    return found


# -- the disk -------------------------------------------------------------------------------------------
def _checksum(key: str, data: bytes) -> bytes:
    """Bound to the key, so that an entry under another's name is refused as well."""
    return hashlib.blake2b(key.encode() + data, digest_size=16).digest()


def read_entry(folder: Path, key: str) -> bytes | None:
    """The object of an entry; None where there is none that passes its checksum."""
    return read_sealed(folder / f"{key}.gko", key)


def read_sealed(path: Path, key: str) -> bytes | None:
    """What `write_sealed` wrote under this key; None where the file is missing or is anything else."""
    try:
        raw = path.read_bytes()
    except OSError:
        return None
    head = len(MAGIC) + 16
    data = raw[head:]
    if raw[: len(MAGIC)] != MAGIC or raw[len(MAGIC) : head] != _checksum(key, data):
        counts.rejected += 1
        return None
    return data


def write_sealed(path: Path, key: str, data: bytes) -> None:
    """Write bytes with their checksum, aside first and then into place."""
    _replace(path, MAGIC + _checksum(key, data) + data)


def write_entry(folder: Path, key: str, source: str, data: bytes) -> None:
    """Keep an object and its source; a warning where the folder cannot be written."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _replace(folder / f"{key}.py", source.encode())
        write_sealed(folder / f"{key}.gko", key, data)
    except OSError as error:
        warnings.warn(
            f"compiled kernels are not kept: cannot write to {folder} ({error.strerror}). "
            "Set GRAPHKERAS_CACHE to a folder that can be written, or to off.",
            stacklevel=4,
        )


def _replace(path: Path, data: bytes) -> None:
    aside = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        aside.write_bytes(data)
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


# -- compiling ------------------------------------------------------------------------------------------
def compile_all(sources: Sequence[str]) -> Iterable[tuple[str, bytes]]:
    """(source, object) of each source, in any order; uses other cores from PARALLEL_FROM sources on."""
    if not sources:
        return
    from graphkeras.codegen.cpu import compiler

    todo: queue.SimpleQueue[str] = queue.SimpleQueue()
    for source in sorted(sources, key=len, reverse=True):  # the long ones first, so that no worker ends late
        todo.put(source)
    crew = [_Worker(todo) for _ in range(_worker_count(len(sources)))]
    try:
        yield from ((s, compiler.compile_object(s)) for s in _drain(todo))
        for worker in crew:
            yield from worker.results()
        yield from ((s, compiler.compile_object(s)) for s in _drain(todo))  # given back by workers that died
    finally:
        for worker in crew:
            worker.stop()


def _drain(todo: queue.SimpleQueue[str]) -> Iterable[str]:
    while True:
        try:
            yield todo.get_nowait()
        except queue.Empty:
            return


def _worker_count(missing: int) -> int:
    if missing < PARALLEL_FROM or not sys.executable:
        return 0
    return max(0, min(available_cores() - 1, missing // 3, WORKERS))


class _Worker:
    """A compiler process, and the thread that feeds it from the common queue.

    A new interpreter, not a fork: the parent has threads, and the user's script need not guard its main part.
    """

    def __init__(self, todo: queue.SimpleQueue[str]) -> None:
        self._todo = todo
        self._done: list[tuple[str, bytes]] = []
        self._error: Exception | None = None
        self._ready = False
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
        environment |= {flag.variable: flag.value for flag in (flags.FRONTEND, flags.CPU)}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "graphkeras.codegen.cpu.compiler", "--worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
        )
        self._thread = threading.Thread(target=self._feed, name="graphkeras-compile", daemon=True)
        self._thread.start()

    def _feed(self) -> None:
        from graphkeras.codegen.cpu import compiler

        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None
        if compiler.read_message(stdout) is None:  # it says when it can compile; until then others take the work
            return
        self._ready = True
        for source in _drain(self._todo):
            try:
                compiler.write_message(stdin, 0, source.encode())
                answer = compiler.read_message(stdout)
            except OSError:
                answer = None
            if answer is None:  # the process died (killed, out of memory): this source is compiled here
                self._todo.put(source)
                return
            kind, payload = answer
            if kind != 0:
                self._error = compiler.CompileError(payload.decode())
                return
            self._done.append((source, payload))

    def results(self) -> Iterable[tuple[str, bytes]]:
        if not self._ready:  # too late to be of use
            self._process.kill()
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._done

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
