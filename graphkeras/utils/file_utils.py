"""Files from the net, kept in a cache folder, and archives unpacked without leaving their folder."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tarfile
import tempfile
import urllib.error
import urllib.parse
import urllib.request
import warnings
import zipfile
from typing import Any

from graphkeras.core.config import keras_home
from graphkeras.utils import io_utils
from graphkeras.utils.progbar import Progbar

_TIMEOUT = 60  # seconds without any data


def get_file(
    fname: Any = None,
    origin: str | None = None,
    untar: bool = False,
    md5_hash: str | None = None,
    file_hash: str | None = None,
    cache_subdir: str = "datasets",
    hash_algorithm: str = "auto",
    extract: bool = False,
    archive_format: Any = "auto",
    cache_dir: Any = None,
    force_download: bool = False,
) -> str:
    """The path of a file that is downloaded when it is not in the cache yet.

    Args:
        fname: name in the cache; default the last part of `origin`.
        origin: URL.
        file_hash: expected hash in hexadecimal (SHA-256 or MD5); a file with another one is an error.
        md5_hash: the same, MD5 only.
        hash_algorithm: "sha256", "md5" or "auto" (by the length of the hash).
        extract: unpack a tar or zip archive and return the folder.
        untar: the same, tar only.
        archive_format: "tar", "zip", a list of them, "auto" or None.
        cache_dir: default `~/.keras` (or `KERAS_HOME`).
        cache_subdir: folder in it.
        force_download: download even if the file is there.

    Raises:
        OSError: when the file cannot be downloaded; says where to put it by hand.
        ValueError: when the hash differs.

    Example:

    >>> import pathlib, tempfile, graphkeras as keras
    >>> source = pathlib.Path(tempfile.mkdtemp(), "words.txt")
    >>> _ = source.write_text("a b c")
    >>> path = keras.utils.get_file("copy.txt", source.as_uri(), cache_dir=tempfile.mkdtemp())  # doctest: +ELLIPSIS
    Downloading data from file:...
    >>> pathlib.Path(path).read_text()
    'a b c'
    """
    if origin is None:
        raise ValueError('Please specify the "origin" argument (URL of the file to download).')
    if md5_hash is not None and file_hash is None:
        file_hash, hash_algorithm = md5_hash, "md5"
    folder = _cache_folder(cache_dir, cache_subdir)
    target, extracted = _targets(folder, os.fspath(fname) if fname else None, origin, extract or untar)
    if force_download or not os.path.exists(target) or not _is_valid(target, file_hash, hash_algorithm):
        _download(origin, target, file_hash, hash_algorithm)
    if not (extract or untar):
        return target
    if not extract_archive(target, extracted, "tar" if untar else archive_format):
        warnings.warn(f"Could not extract {target}: it is no archive of format {archive_format!r}.", stacklevel=2)
    return extracted


def _cache_folder(cache_dir: Any, cache_subdir: str) -> str:
    base = os.path.expanduser(os.fspath(cache_dir) if cache_dir is not None else keras_home())
    folder = os.path.join(base, cache_subdir)
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError:
        folder = os.path.join(tempfile.gettempdir(), ".keras", cache_subdir)
        os.makedirs(folder, exist_ok=True)
    return folder


def _targets(folder: str, fname: str | None, origin: str, extract: bool) -> tuple[str, str]:
    """(path of the download, path of the unpacked archive)."""
    name = fname or os.path.basename(urllib.parse.urlsplit(origin).path)
    if not name:
        raise ValueError(
            f"Can't parse the file name from the origin provided: '{origin}'. Please specify the `fname` argument."
        )
    if os.sep in name:
        raise ValueError(
            "Paths are no longer accepted as the `fname` argument. To specify the file's parent directory, use the "
            f"`cache_dir` argument. Received: fname={name}"
        )
    if not extract:
        return os.path.join(folder, name), ""
    if fname and "." in name:
        return os.path.join(folder, name), os.path.join(folder, f"{name[: name.find('.')]}_extracted")
    return os.path.join(folder, f"{name}_archive"), os.path.join(folder, name)


def _is_valid(path: str, file_hash: str | None, algorithm: str) -> bool:
    if file_hash is None or validate_file(path, file_hash, algorithm=algorithm):
        return True
    io_utils.print_msg(
        f"A local file was found at {path}, but it is incomplete or outdated: its {algorithm} hash is not {file_hash}. "
        "It is downloaded again."
    )
    return False


def _download(origin: str, target: str, file_hash: str | None, algorithm: str) -> None:
    io_utils.print_msg(f"Downloading data from {origin}")
    partial = f"{target}.part{os.getpid()}"
    try:
        try:
            with urllib.request.urlopen(origin, timeout=_TIMEOUT) as response, open(partial, "wb") as file:
                _copy(response, file)
        except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
            code = f"{getattr(error, 'code', None)} -- " if hasattr(error, "code") else ""
            raise OSError(
                f"URL fetch failure on {origin}: {code}{getattr(error, 'reason', error)}. Without a connection, put "
                f"the file at {target} yourself; it is used from there."
            ) from error
        if file_hash is not None and not validate_file(partial, file_hash, algorithm=algorithm):
            raise ValueError(
                f"Incomplete or corrupted file detected. The {algorithm} file hash of {origin} is "
                f"{hash_file(partial, _hasher(algorithm, file_hash))}, which does not match the provided value of "
                f"{file_hash}."
            )
        os.replace(partial, target)
    finally:
        if os.path.exists(partial):
            os.remove(partial)


def _copy(response: Any, file: Any) -> None:
    length = response.headers.get("Content-Length")
    total = int(length) if length else None
    bar = Progbar(total, unit_name="byte") if total and total > 1 << 20 else None
    done = 0
    while chunk := response.read(1 << 16):
        file.write(chunk)
        done += len(chunk)
        if bar is not None and done <= (total or 0):
            bar.update(done)


# -- hashes ----------------------------------------------------------------------------------------
def _hasher(algorithm: Any, file_hash: str | None = None) -> Any:
    if not isinstance(algorithm, str):
        return algorithm
    if algorithm == "sha256" or (algorithm == "auto" and file_hash is not None and len(file_hash) == 64):
        return hashlib.sha256()
    return hashlib.md5(usedforsecurity=False)


def hash_file(fpath: Any, algorithm: Any = "sha256", chunk_size: int = 65535) -> str:
    """The hash of a file in hexadecimal."""
    hasher = _hasher(algorithm)
    with open(fpath, "rb") as file:
        while chunk := file.read(chunk_size):
            hasher.update(chunk)
    return hasher.hexdigest()


def validate_file(fpath: Any, file_hash: str, algorithm: str = "auto", chunk_size: int = 65535) -> bool:
    """Whether a file has a hash."""
    return hash_file(fpath, _hasher(algorithm, file_hash), chunk_size) == str(file_hash)


# -- archives --------------------------------------------------------------------------------------
def extract_archive(file_path: Any, path: Any = ".", archive_format: Any = "auto") -> bool:
    """Unpack a tar or zip archive; whether it was one of the formats. Members that lead out of `path` are skipped.

    archive_format: "tar", "zip", a list of them, "auto" (both), or None (neither).
    """
    if archive_format is None:
        return False
    formats = ["tar", "zip"] if archive_format == "auto" else archive_format
    formats = [formats] if isinstance(formats, str) else formats
    for kind in formats:
        if kind not in ("tar", "zip"):
            raise NotImplementedError(f"Unknown archive format: {kind!r}. Expected 'tar' or 'zip'.")
        if kind == "tar" and tarfile.is_tarfile(file_path):
            with tarfile.open(file_path) as archive:
                _extract_tar(archive, os.fspath(path))
            return True
        if kind == "zip" and zipfile.is_zipfile(file_path):
            with zipfile.ZipFile(file_path) as archive:
                _extract_zip(archive, os.fspath(path))
            return True
    return False


def _inside(root: str, name: str) -> str | None:
    """The path of a member below `root`; None if it would lie elsewhere."""
    root = os.path.realpath(root)
    full = os.path.realpath(os.path.join(root, name))
    return full if full == root or full.startswith(root + os.sep) else None


def _extract_zip(archive: zipfile.ZipFile, path: str) -> None:
    for info in archive.infolist():
        if _inside(path, info.filename) is None or stat.S_ISLNK(info.external_attr >> 16):
            _skip(info.filename)
        else:
            archive.extract(info, path)


def _extract_tar(archive: tarfile.TarFile, path: str) -> None:
    for info in archive:
        target = _inside(path, info.name)
        link = None
        if target is not None and info.issym():
            link = _inside(path, os.path.join(os.path.dirname(info.name), info.linkname))
        elif target is not None and info.islnk():
            link = _inside(path, info.linkname)
        is_link = info.issym() or info.islnk()
        if target is None or (is_link and link is None) or not (is_link or info.isfile() or info.isdir()):
            _skip(info.name)
        elif info.isfile():
            os.makedirs(os.path.dirname(target), exist_ok=True)
            source = archive.extractfile(info)
            assert source is not None
            with source, open(target, "wb") as file:
                shutil.copyfileobj(source, file)
        elif info.isdir():
            os.makedirs(target, exist_ok=True)
        else:
            _extract_link(archive, info, path)


def _extract_link(archive: tarfile.TarFile, info: tarfile.TarInfo, path: str) -> None:
    if hasattr(tarfile, "data_filter"):
        archive.extract(info, path, filter="data")
    else:
        archive.extract(info, path)


def _skip(name: str) -> None:
    warnings.warn(f"Skipping invalid path during archive extraction: '{name}'.", stacklevel=4)
