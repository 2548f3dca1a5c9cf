"""Choices that were measured, on disk beside the kernels: one JSON file for each, in the folder `tuned` of the cache.

A file's name hashes the processor and the versions that kernels depend on (`fingerprint`), the version of the
candidates, and the problem; so a folder may be shared by machines. Files are written aside and moved into place. What
cannot be read, or names a candidate that does not exist, is left alone with a warning: the choice is then open again.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import os
import threading
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

from graphkeras.codegen import flags
from graphkeras.codegen.cpu import target
from graphkeras.codegen.cpu.fingerprint import fingerprint

VERSION = 1
"""Of the candidates: another number where old measurements say nothing about new kernels."""

_table: dict[str, str | None] = {}  # key -> winner; None: nobody knows


def key_of(kind: str, spec: str) -> str:
    """The name of a choice's file, without the suffix."""
    parts = (fingerprint(), str(VERSION), kind, spec)
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=20).hexdigest()


def winner(kind: str, spec: str, names: Sequence[str]) -> str | None:
    """The name of the candidate that won, if that is known and it is one of `names`."""
    folder = _folder()
    key = key_of(kind, spec)
    place = f"{folder}/{key}"
    if place not in _table:
        _table[place] = _read(folder, key, kind, spec) if folder is not None and key in _listed(folder) else None
    found = _table[place]
    if found is not None and found not in names:
        _warn(f"{place}.json", f"it names {found!r}, and the candidates are {', '.join(names)}")
        _table[place] = found = None
    return found


def remember(kind: str, spec: str, name: str, seconds: Mapping[str, float]) -> None:
    """Note the winner of a measurement, for this process and those to come."""
    folder, key = _folder(), key_of(kind, spec)
    _table[f"{folder}/{key}"] = name
    if folder is None:
        return
    entry = {
        "kind": kind,
        "spec": spec,
        "winner": name,
        "microseconds": {k: round(1e6 * v, 3) for k, v in seconds.items() if math.isfinite(v)},
        "cpu": target.processor().name,
    }
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        aside = folder / f".{key}.{os.getpid()}.{threading.get_ident()}"
        try:
            aside.write_text(json.dumps(entry, indent=1) + "\n")
            os.replace(aside, folder / f"{key}.json")
        finally:
            aside.unlink(missing_ok=True)
    except OSError as error:
        warnings.warn(
            f"measured choices are not kept: cannot write to {folder} ({error.strerror}). "
            "Set GRAPHKERAS_CACHE to a folder that can be written, or to off.",
            stacklevel=2,
        )


def forget() -> None:
    """Look at the disk again from now on."""
    _table.clear()
    _listed.cache_clear()


def _folder() -> Path | None:
    cache = flags.CACHE.value
    return None if cache is None else cache / "tuned"


@functools.cache
def _listed(folder: Path) -> frozenset[str]:
    """Keys on disk: one look at the folder, as most processes find it empty."""
    try:
        return frozenset(name.removesuffix(".json") for name in os.listdir(folder) if name.endswith(".json"))
    except OSError:
        return frozenset()


def _read(folder: Path, key: str, kind: str, spec: str) -> str | None:
    path = folder / f"{key}.json"
    try:
        entry = json.loads(path.read_text())
        if not isinstance(entry, dict) or not isinstance(entry.get("winner"), str):
            raise ValueError('it has no text "winner"')
        if (entry.get("kind"), entry.get("spec")) != (kind, spec):
            raise ValueError(f"it is about {entry.get('kind')!r} of {entry.get('spec')!r}")
    except (OSError, ValueError) as error:
        _warn(str(path), str(error))
        return None
    return entry["winner"]


def _warn(path: str, why: str) -> None:
    warnings.warn(
        f"the measured choice in {path} is ignored: {why}. GRAPHKERAS_TUNE=1 measures again; the file may be deleted.",
        stacklevel=2,
    )
