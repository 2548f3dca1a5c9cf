"""KerasFileEditor: look into a weights file, change it, and see whether it fits a model."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from graphkeras.saving import archive as zips
from graphkeras.saving.safe_h5 import get_array, get_group, h5py, open_file, put_array
from graphkeras.saving.stores import Entry
from graphkeras.saving.walk import StateWriter
from graphkeras.utils.io_utils import print_msg

Tree = dict[str, Any]


class KerasFileEditor:
    """The weights of a `.keras` or `.weights.h5` file as nested dicts, with functions to change them.

    Args:
        filepath: path of the file; it is read once and not changed.

    `weights_dict` holds objects by name and, in each, arrays by "0", "1", ...

    Example:

    >>> import os, tempfile, graphkeras as keras
    >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    >>> path = os.path.join(tempfile.mkdtemp(), "m.weights.h5")
    >>> model.save_weights(path)
    >>> editor = keras.saving.KerasFileEditor(path)
    >>> editor.weights_dict["layers"]["dense"]["0"].shape
    (3, 2)
    >>> editor.rename_object("layers/dense", "first")
    >>> list(editor.weights_dict["layers"])
    ['first']
    """

    def __init__(self, filepath: Any) -> None:
        path = os.fspath(filepath)
        self.filepath = path
        self.metadata: Tree | None = None
        self.config: Tree | None = None
        self.model = None
        self.object_metadata: dict[str, Tree] = {}  # path of an object -> attributes such as its name
        if path.endswith(".keras"):
            with zips.open_archive(path) as archive:
                self.config = json.loads(zips.read_member(archive, zips.CONFIG))
                self.metadata = json.loads(zips.read_member(archive, zips.METADATA))
                with zips.member_file(archive, zips.WEIGHTS) as member, open_file(member, "r") as file:
                    self.weights_dict = self._read(file, "")
        elif path.endswith(".weights.h5"):
            with open_file(path, "r") as file:
                self.weights_dict = self._read(file, "")
        else:
            raise ValueError(
                f"Invalid filename: expected a `.keras` or `.weights.h5` extension. Received: filepath={path}"
            )

    def _read(self, group: Any, path: str) -> Tree:
        found: Tree = {}
        for name in group:
            if name == "vars":
                variables = get_group(group, name)
                found.update({key: get_array(variables, key) for key in variables})
                if variables.attrs:
                    self.object_metadata[path] = dict(variables.attrs)
            elif isinstance(group.get(name, getlink=True), h5py().HardLink) and isinstance(group[name], h5py().Dataset):
                found[name] = get_array(group, name)
            else:
                inner = f"{path}/{name}" if path else name
                found[name] = self._read(get_group(group, name), inner)
        return found

    # -- looking -----------------------------------------------------------------------------------
    def summary(self) -> None:
        """Print the objects in the file with the shapes of their weights."""
        print_msg(f"Keras weights file '{self.filepath}'")
        if self.metadata is not None:
            print_msg("".join(f"  {key}: {value}\n" for key, value in self.metadata.items()).rstrip())
        for depth, name, value in _lines(self.weights_dict):
            text = "" if isinstance(value, dict) else f": shape={value.shape}, dtype={value.dtype}"
            print_msg(f"{'    ' * depth}{name}{text}")

    def compare(self, reference_model: Any) -> dict[str, Any]:
        """Print what differs between the file and a model.

        Returns:
            dict with "status" ("success" or "error"), "error_count" and "match_count" (weights that agree).
        """
        collected = _Shapes()
        StateWriter(collected).save(reference_model)
        errors: list[str] = []
        matches = _compare(self.weights_dict, collected.tree, "", errors)
        for message in errors:
            print_msg(f"...{message}")
        if errors:
            print_msg(f"Found {len(errors)} errors: saved file is not compatible with the reference model")
        else:
            print_msg(f"Comparison successful: saved file has the {matches} weights of the reference model")
        return {"status": "error" if errors else "success", "error_count": len(errors), "match_count": matches}

    # -- changing ----------------------------------------------------------------------------------
    def _edit(self, name: str, edit: Callable[[Tree, str], None]) -> None:
        """Call `edit(parent, key)` for the object with a path, or with a name that occurs once."""
        if "/" in name:
            *parents, key = name.split("/")
            parent: Any = self.weights_dict
            for part in parents:
                parent = parent.get(part) if isinstance(parent, dict) else None
            if not isinstance(parent, dict) or key not in parent:
                raise ValueError(f"Path '{name}' not found in {self.filepath}.")
            edit(parent, key)
            return
        found = list(_parents_of(self.weights_dict, name))
        if len(found) > 1:
            raise ValueError(f"Name '{name}' occurs more than once in the file; try passing a complete path.")
        if not found:
            raise ValueError(f"Name '{name}' does not appear in {self.filepath}. `editor.summary()` lists all objects.")
        edit(found[0], name)

    def rename_object(self, object_name: str, new_name: str) -> None:
        """Rename an object.

        Args:
            object_name: its name, or its path such as "layers/dense_2".
            new_name: name, without a path.
        """
        if "/" in new_name:
            raise ValueError(f"Argument `new_name` should be a leaf name, not a full path name. Received: '{new_name}'")

        def rename(parent: Tree, key: str) -> None:
            parent[new_name] = parent.pop(key)

        self._edit(object_name, rename)

    def delete_object(self, object_name: str) -> None:
        """Remove an object."""
        self._edit(object_name, lambda parent, key: parent.pop(key))

    def add_object(self, object_path: str, weights: dict[str, Any]) -> None:
        """Add an object.

        Args:
            object_path: its path, such as "layers/dense_2".
            weights: arrays by "0", "1", ...
        """
        _check_weights(weights)
        *parents, name = object_path.split("/")
        parent = self.weights_dict
        for part in parents:
            if part not in parent:
                raise ValueError(f"Path '{'/'.join(parents)}' not found in {self.filepath}.")
            parent = parent[part]
        parent[name] = dict(weights)

    def delete_weight(self, object_name: str, weight_name: str) -> None:
        """Remove a weight ("0", "1", ...) of an object."""

        def delete(parent: Tree, key: str) -> None:
            if weight_name not in parent[key]:
                raise ValueError(
                    f"Weight {weight_name} not found in object {object_name}. Weights found: {list(parent[key])}"
                )
            del parent[key][weight_name]

        self._edit(object_name, delete)

    def add_weights(self, object_name: str, weights: dict[str, Any]) -> None:
        """Add weights to an object: arrays by "0", "1", ..."""
        _check_weights(weights)
        self._edit(object_name, lambda parent, key: parent[key].update(weights))

    def save(self, filepath: Any) -> None:
        """Write the weights as they are now to a `.weights.h5` file."""
        path = os.fspath(filepath)
        if not path.endswith(".weights.h5"):
            raise ValueError(
                f"Invalid `filepath` argument: expected a `.weights.h5` extension. Received: filepath={path}"
            )
        with zips.replacing(path) as temporary, h5py().File(temporary, "w") as file:
            self._write(file, self.weights_dict, "")

    def resave_weights(self, filepath: Any) -> None:
        """Same as `save`."""
        self.save(filepath)

    def _write(self, group: Any, tree: Tree, path: str) -> None:
        for name, value in tree.items():
            if isinstance(value, dict):
                self._write(group.require_group(name), value, f"{path}/{name}" if path else name)
            else:
                put_array(group.require_group("vars"), name, np.asarray(value))
        if path in self.object_metadata:
            group.require_group("vars").attrs.update(self.object_metadata[path])


class _Shapes:
    """A store that keeps the arrays of a model as nested dicts, without those that are empty."""

    def __init__(self) -> None:
        self.tree: Tree = {}

    def make(self, path: str, name: str | None = None) -> Entry:
        return Entry(self, path)

    def put(self, path: str, key: str, value: np.ndarray) -> None:
        level = self.tree
        for part in path.split("/") if path else []:
            level = level.setdefault(part, {})
        level[key] = value


def _check_weights(weights: Any) -> None:
    if not isinstance(weights, dict):
        raise ValueError(
            "Argument `weights` should be a dict where keys are weight names (usually '0', '1', etc.) and values are "
            f"NumPy arrays. Received: type(weights)={type(weights)}"
        )


def _holds_weights(value: Any) -> bool:
    return not isinstance(value, dict) or any(_holds_weights(v) for v in value.values())


def _compare(saved: Tree, model: Tree, path: str, errors: list[str]) -> int:
    """Collect what differs; the number of weights that agree."""
    matches = 0
    for key in [*model, *(k for k in saved if k not in model)]:
        inner = f"{path}/{key}"
        kind = "Object" if isinstance(model.get(key, saved.get(key)), dict) else "Weight"
        if key not in saved:
            errors.append(f"{kind} {inner} present in reference model, missing from saved file")
        elif key not in model:
            if _holds_weights(saved[key]):
                errors.append(f"{kind} {inner} present in saved file, missing from reference model")
        elif isinstance(model[key], dict) and isinstance(saved[key], dict):
            matches += _compare(saved[key], model[key], inner, errors)
        elif np.shape(saved[key]) != np.shape(model[key]):
            shapes = f"reference model: {np.shape(model[key])}, saved file: {np.shape(saved[key])}"
            errors.append(f"Weight shape mismatch for {inner}: {shapes}")
        else:
            matches += 1
    return matches


def _parents_of(tree: Tree, name: str) -> Iterator[Tree]:
    """The dicts that hold an object of this name."""
    for key, value in tree.items():
        if key == name:
            yield tree
        if isinstance(value, dict):
            yield from _parents_of(value, name)


def _lines(tree: Tree, depth: int = 0) -> Iterator[tuple[int, str, Any]]:
    for name, value in tree.items():
        yield depth, name, value
        if isinstance(value, dict):
            yield from _lines(value, depth + 1)
