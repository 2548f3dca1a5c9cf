"""Where weights and assets go: HDF5 files (one, or shards with an index), and folders."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from graphkeras.saving.safe_h5 import find_group, get_array, h5py, open_file, put_array


class Entry:
    """The variables of one object, like a dict. A group is made in the file when the first of them is written."""

    def __init__(self, store: Any, path: str) -> None:
        self._store = store
        self._path = path

    def __setitem__(self, key: str, value: Any) -> None:
        self._store.put(self._path, key, np.asarray(value))

    def __getitem__(self, key: str) -> np.ndarray:
        for group in self._store.groups(self._path):
            if key in group:
                return get_array(group, key)
        raise KeyError(key)

    def keys(self) -> list[str]:
        return [key for group in self._store.groups(self._path) for key in group]

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __contains__(self, key: str) -> bool:
        return key in self.keys()

    def __len__(self) -> int:
        return len(self.keys())

    def __delitem__(self, key: str) -> None:
        for group in self._store.groups(self._path):
            if key in group:
                del group[key]
                return
        raise KeyError(key)

    def items(self) -> list[tuple[str, np.ndarray]]:
        return [(key, self[key]) for key in self.keys()]

    def values(self) -> list[np.ndarray]:
        return [self[key] for key in self.keys()]


def _vars_path(path: str) -> str:
    return f"{path}/vars" if path else "vars"


class H5Store:
    """Weights in one HDF5 file: group `<path of attributes>/vars` with data sets "0", "1", ...

    Args:
        file: an open `h5py.File`.
    """

    def __init__(self, file: Any) -> None:
        self.file = file

    def make(self, path: str, name: str | None = None) -> Entry:
        """The entry of an object that is being saved; a group with its name is made at once."""
        if name is not None:
            self.file.require_group(_vars_path(path)).attrs["name"] = name
        return Entry(self, path)

    def get(self, path: str) -> Entry:
        return Entry(self, path)

    def has_path(self, path: str) -> bool:
        return path in self.file

    def put(self, path: str, key: str, value: np.ndarray) -> None:
        put_array(self.file.require_group(_vars_path(path)), key, value)

    def groups(self, path: str) -> list[Any]:
        """The groups that hold the variables of an object: one, or none."""
        group = find_group(self.file, _vars_path(path))
        if group is None and "_layer_checkpoint_dependencies" in self.file:  # files of Keras 2.13
            older = path.replace("layers", "_layer_checkpoint_dependencies")
            group = find_group(self.file, _vars_path(older))
        return [] if group is None else [group]


class ShardWriter:
    """Weights in several HDF5 files of bounded size, and an index of them in JSON.

    Args:
        index: path that ends in `.weights.json`.
        max_shard_size: in GB (2**30 bytes).
    """

    def __init__(self, index: Any, max_shard_size: float) -> None:
        self.index = json_path(index, "Saving")
        self.limit = float(max_shard_size) * 2**30
        self.total = 0
        self._size = 0
        self._count = 0
        self._map: dict[str, list[str]] = {}
        self._file: Any = None
        self._next_file()

    def _next_file(self) -> None:
        self.close_file()
        name = f"{self.index.stem.replace('.weights', '')}_{self._count:05}.weights.h5"
        self._count += 1
        self._size = 0
        self._shard = name
        self._file = h5py().File(self.index.with_name(name), "w")

    def make(self, path: str, name: str | None = None) -> Entry:
        if name is not None:
            self._file.require_group(_vars_path(path)).attrs["name"] = name
        return Entry(self, path)

    def put(self, path: str, key: str, value: np.ndarray) -> None:
        if value.nbytes > self.limit:
            raise ValueError(
                f"The size of variable {key} of '{path}' is {value.nbytes} bytes, which exceeds the maximum shard size "
                f"of {self.limit:.0f} bytes. Increase the `max_shard_size` parameter (in GB)."
            )
        if self._size + value.nbytes > self.limit:
            self._next_file()
        self._size += value.nbytes
        self.total += value.nbytes
        group = self._file.require_group(_vars_path(path))
        put_array(group, key, value)
        shards = self._map.setdefault(group.name, [])
        if self._shard not in shards:
            shards.append(self._shard)

    def groups(self, path: str) -> list[Any]:
        group = self._file.get(_vars_path(path))
        return [] if group is None else [group]

    def close_file(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def close(self) -> None:
        """Close the last shard and write the index."""
        self.close_file()
        index = {
            "metadata": {"total_size": self.total},
            "weight_map": {path: shards[0] if len(shards) == 1 else shards for path, shards in self._map.items()},
        }
        self.index.write_text(json.dumps(index, indent=4))


class ShardReader:
    """Weights out of the files that a `.weights.json` index names. The files lie beside the index."""

    def __init__(self, index: Any) -> None:
        self.index = json_path(index, "Loading")
        if not self.index.is_file():
            raise FileNotFoundError(f"No such weights file: {self.index}")
        self._map = json.loads(self.index.read_text())["weight_map"]
        self._files: dict[str, Any] = {}
        self._open = contextlib.ExitStack()

    def _shards(self, path: str) -> list[str]:
        found = self._map.get(f"/{_vars_path(path)}", [])
        return [found] if isinstance(found, str) else found

    def _file(self, name: str) -> Any:
        if name not in self._files:
            if not isinstance(name, str) or name != os.path.basename(name) or "\\" in name:
                raise ValueError(
                    f"Not allowed: {self.index} names the shard {name!r}. Shards lie beside the index, and are named "
                    "without a folder."
                )
            self._files[name] = self._open.enter_context(open_file(self.index.with_name(name), "r"))
        return self._files[name]

    def get(self, path: str) -> Entry:
        return Entry(self, path)

    def has_path(self, path: str) -> bool:
        return any(key == f"/{path}" or key.startswith(f"/{path}/") for key in self._map)

    def groups(self, path: str) -> list[Any]:
        found = (find_group(self._file(name), _vars_path(path)) for name in self._shards(path))
        return [group for group in found if group is not None]

    def close(self) -> None:
        self._open.close()


def json_path(path: Any, verb: str) -> pathlib.Path:
    path = pathlib.Path(path)
    if path.suffix == ".json":
        return path
    renamed = path.with_suffix(".json")
    warnings.warn(
        f"{verb} sharded weights requires `*.json` as the extension. The original path: {path} will be renamed to "
        f"{renamed}.",
        stacklevel=4,
    )
    return renamed


class AssetFolder:
    """Files that layers keep beside their weights, such as vocabularies: one folder per layer."""

    def __init__(self, root: Any) -> None:
        self.root = pathlib.Path(root)

    def _inside(self, path: str) -> pathlib.Path:
        root = self.root.resolve()
        full = (root / path.replace("\\", "/")).resolve()
        if full != root and root not in full.parents:
            raise ValueError(f"Invalid asset path: '{path}' escapes the asset directory.")
        return full

    def make(self, path: str) -> str:
        full = self._inside(path)
        full.mkdir(parents=True, exist_ok=True)
        return str(full)

    def get(self, path: str) -> str | None:
        full = self._inside(path)
        return str(full) if full.exists() else None

    def has_path(self, path: str) -> bool:
        return self._inside(path).exists()
