"""The `.keras` file: a zip archive of config.json, metadata.json, model.weights.h5 and assets/.

Members are read by name, never by what the archive says about where to put them.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import posixpath
import secrets
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Iterator
from typing import Any

METADATA = "metadata.json"
CONFIG = "config.json"
WEIGHTS = "model.weights.h5"
WEIGHTS_NPZ = "model.weights.npz"
ASSETS = "assets"

IN_MEMORY = 1 << 26  # weights up to this size (bytes) are not written to a temporary file
_FLOOR = 1 << 26
_MAX_EXPANSION = 100
_MAX_ASSETS = 1 << 36


@contextlib.contextmanager
def replacing(path: Any) -> Iterator[str]:
    """A path to write to, in the same folder; it takes the place of `path` when all went well."""
    path = os.path.realpath(os.fspath(path))
    folder, name = os.path.split(path)
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"Cannot write {path}: the folder {folder} does not exist.")
    temporary = os.path.join(folder, f".{name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)


@contextlib.contextmanager
def open_archive(path_or_io: Any) -> Iterator[zipfile.ZipFile]:
    """A zip archive for reading, its members' sizes checked."""
    name = os.fspath(path_or_io) if isinstance(path_or_io, (str, os.PathLike)) else "the file"
    try:
        archive = zipfile.ZipFile(path_or_io, "r")
    except zipfile.BadZipFile as error:
        raise ValueError(f"{name} is not a `.keras` file: {error}. It may be damaged or of another format.") from error
    with archive:
        for info in archive.infolist():
            _check_size(info)
        yield archive


def _check_size(info: zipfile.ZipInfo) -> None:
    if info.file_size > _FLOOR and info.file_size > _MAX_EXPANSION * info.compress_size:
        raise ValueError(
            f"Not allowed: ZIP member '{info.filename}' declares {info.file_size} bytes but only {info.compress_size} "
            "are stored on disk; refusing to load a potential decompression bomb."
        )


def read_member(archive: zipfile.ZipFile, name: str) -> bytes:
    try:
        return archive.read(name)
    except KeyError:
        raise ValueError(
            f"The archive {archive.filename or ''} has no member '{name}': it is not a `.keras` file, or was not "
            f"written to its end. It has: {archive.namelist()[:10]}"
        ) from None


@contextlib.contextmanager
def member_file(archive: zipfile.ZipFile, name: str) -> Iterator[Any]:
    """A member as a seekable file: in memory when small, else in a temporary file."""
    with tempfile.SpooledTemporaryFile(max_size=IN_MEMORY) as file:
        with archive.open(name) as member:
            shutil.copyfileobj(member, file, 1 << 20)
        file.seek(0)
        yield file


def write_member(archive: zipfile.ZipFile, name: str, file: Any) -> None:
    """Store what is in a seekable file as a member."""
    file.seek(0)
    with archive.open(zipfile.ZipInfo(name), "w", force_zip64=True) as member:
        shutil.copyfileobj(file, member, 1 << 20)


def write_assets(archive: zipfile.ZipFile, folder: Any) -> None:
    """Store all files below a folder as members of assets/."""
    folder = pathlib.Path(folder)
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            archive.write(path, f"{ASSETS}/{path.relative_to(folder).as_posix()}")


def extract_assets(archive: zipfile.ZipFile, folder: Any) -> bool:
    """Write the members of assets/ below a folder; whether there were any.

    Raises:
        ValueError: for names that lead out of the folder, for links, and when all together are too large.
    """
    found, total = False, 0
    for info in archive.infolist():
        name = info.filename.replace("\\", "/")
        if not name.startswith(f"{ASSETS}/") or info.is_dir():
            continue
        relative = name[len(ASSETS) + 1 :]
        parts = relative.split("/")
        if ".." in parts or "" in parts or posixpath.isabs(relative) or ":" in relative:
            raise ValueError(f"Invalid asset path: '{info.filename}' escapes the asset directory.")
        if stat.S_ISLNK(info.external_attr >> 16):
            raise ValueError(f"Not allowed: ZIP member '{info.filename}' is a link.")
        total += info.file_size
        if total > _MAX_ASSETS:
            raise ValueError(f"Not allowed: the assets in {archive.filename} are larger than {_MAX_ASSETS} bytes.")
        target = pathlib.Path(folder, *parts)
        target.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(info) as member, open(target, "wb") as file:
            shutil.copyfileobj(member, file)
        found = True
    return found
