"""Reading HDF5 files that somebody else wrote: nothing outside the file is opened, and no size is taken on trust.

HDF5 lets a file point at others (external links, external storage, virtual data sets) and declare arrays far larger
than what is stored. All of that is refused.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

# A data set larger than the floor must be backed by stored bytes: real ones, compressed or not, are.
_FLOOR = 1 << 28
_MAX_EXPANSION = 1000


def h5py() -> Any:
    """The h5py module, imported when it is first needed."""
    import h5py

    return h5py


@contextlib.contextmanager
def open_file(path_or_io: Any, mode: str) -> Iterator[Any]:
    """An open `h5py.File`; a file that is missing or is no HDF5 file is named in the error."""
    name = os.fspath(path_or_io) if isinstance(path_or_io, (str, os.PathLike)) else None
    if mode == "r" and name is not None and not os.path.isfile(name):
        raise FileNotFoundError(f"No such weights file: {name}")
    try:
        file = h5py().File(path_or_io, mode)
    except OSError as error:
        raise OSError(
            f"Cannot open {name or 'the weights'} as an HDF5 file (damaged or unfinished?): {error}"
        ) from error
    with file:
        yield file


def _child(parent: Any, name: str) -> Any:
    """A direct member; only hard links are followed."""
    link = parent.get(name, getlink=True)
    if not isinstance(link, h5py().HardLink):
        raise ValueError(
            f"Not allowed: H5 file with {type(link).__name__} (at '{parent.name}/{name}' of {parent.file.filename}). "
            "Links may lead out of the file; save the model again to get a file without them."
        )
    return parent[name]


def get_group(parent: Any, path: str) -> Any:
    """The group at `path` below `parent`.

    Raises:
        KeyError: when there is none.
        ValueError: for links and for data sets.
    """
    current = parent
    for part in path.split("/"):
        if not part:
            raise ValueError(f"Invalid path in H5 file: {path!r}")
        if part not in current:
            raise KeyError(path)
        current = _child(current, part)
        if not isinstance(current, h5py().Group):
            raise ValueError(f"Invalid H5 file, expected Group but received {type(current)} at '{path}'")
    return current


def find_group(parent: Any, path: str) -> Any:
    """The group at `path`, or None."""
    try:
        return get_group(parent, path)
    except KeyError:
        return None


def get_array(group: Any, path: str) -> np.ndarray:
    """The values of the data set at `path` below `group`, checked."""
    *parents, name = path.split("/")
    if parents:
        group = get_group(group, "/".join(parents))
    if name not in group:
        raise KeyError(path)
    dataset = _child(group, name)
    if not isinstance(dataset, h5py().Dataset):
        raise ValueError(f"Invalid H5 file, expected Dataset, received {type(dataset)} at '{path}'")
    if dataset.external:
        raise ValueError(f"Not allowed: H5 file with external Dataset: {dataset.external}")
    if dataset.is_virtual:
        raise ValueError(f"Not allowed: H5 file with virtual Dataset at '{path}'")
    if dataset.dtype.kind not in "biufcV":
        raise ValueError(f"Not allowed: dataset '{path}' holds {dataset.dtype}, expected numbers.")
    declared = math.prod(dataset.shape) * dataset.dtype.itemsize
    stored = dataset.id.get_storage_size()
    if declared > _FLOOR and declared > _MAX_EXPANSION * stored:
        raise ValueError(
            f"Not allowed: H5 dataset '{path}' declares {declared} bytes but only {stored} are stored on disk; "
            "refusing to load a potential decompression/shape bomb."
        )
    return _with_dtype(np.asarray(dataset[()]), dataset.attrs.get("dtype"))


def _with_dtype(values: np.ndarray, stored: Any) -> np.ndarray:
    """Types that HDF5 lacks are kept as raw bytes, with their name in an attribute."""
    if values.dtype.kind != "V":
        return values
    import ml_dtypes

    name = stored.decode() if isinstance(stored, bytes) else stored
    if not isinstance(name, str) or not name.startswith(("bfloat16", "float8_", "float4_", "int4", "uint4")):
        raise ValueError(f"Invalid H5 file: a dataset of raw bytes with dtype attribute {stored!r}.")
    return values.view(getattr(ml_dtypes, name))


def put_array(group: Any, name: str, value: Any) -> None:
    """Write an array, variable or tensor under `name`, which may hold slashes."""
    array = value if isinstance(value, np.ndarray) else np.asarray(value)
    dataset = group.create_dataset(name, data=array)
    if array.dtype.kind == "V" or array.dtype.name in ("bfloat16", "int4", "uint4"):
        dataset.attrs["dtype"] = array.dtype.name
