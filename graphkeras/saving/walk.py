"""The walk over an object's parts that decides where in a file each layer's weights are.

Parts are found under the names of attributes, public ones first, each group in the order of the alphabet; members of
lists and dicts under the snake-case name of their class, numbered when it repeats. An object met twice is stored where
it is met first. The order and the names are Keras's, because they are its file format.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Iterator
from typing import Any

from graphkeras.core.naming import to_snake_case


def is_saveable(obj: Any) -> bool:
    """Layers, operations, models, optimizers, losses and metrics."""
    return hasattr(type(obj), "_obj_type")


@functools.cache
def _uninteresting(kind: str) -> frozenset[str]:
    """Attributes that every object of this kind has, which hold no parts of their own."""
    if kind in ("Layer", "Functional", "Sequential"):
        from graphkeras.layers.layer import Layer

        extra = {"Functional": ["operations", "_operations"], "Sequential": ["_functional"]}.get(kind, [])
        return frozenset([*dir(Layer()), *extra])
    if kind == "Optimizer":
        from graphkeras.optimizers.optimizer import Optimizer

        return frozenset(dir(Optimizer(1.0))) - {"variables"}
    if kind == "Operation":
        from graphkeras.core.operation import Operation

        return frozenset(dir(Operation()))
    if kind == "Metric":
        from graphkeras.metrics.metric import Metric

        return frozenset(dir(Metric()))
    if kind == "Loss":
        from graphkeras.losses.loss import Loss

        return frozenset(dir(Loss()))
    return frozenset()


def parts(obj: Any) -> Iterator[tuple[str, Any]]:
    """(attribute name, value) of the attributes that can hold parts."""
    kind = obj._obj_type()
    if kind in ("Sequential", "Functional"):
        yield "layers", obj.layers
    skipped = _uninteresting(kind)
    for name in sorted(dir(obj), key=lambda name: f"~{name}" if name.startswith("_") else name):
        if name.startswith("__") or name in skipped:
            continue
        try:
            value = getattr(obj, name)
        except Exception:  # a property that cannot be read now holds nothing to save
            continue
        yield name, value


def members(container: Any) -> Iterator[tuple[str, Any]]:
    """(name in the file, value) of the parts in a list, tuple or dict."""
    used: dict[str, int] = {}
    for value in container.values() if isinstance(container, dict) else container:
        if is_saveable(value):
            name = to_snake_case(type(value).__name__)
        elif isinstance(value, (list, dict, tuple)):
            name = "container"
        else:
            continue
        used[name] = used.get(name, -1) + 1
        yield (f"{name}_{used[name]}" if used[name] else name), value


def join(path: str, name: str) -> str:
    return f"{path}/{name}" if path else name


class StateWriter:
    """Writes the weights and assets of an object and its parts.

    Args:
        weights: H5Store or ShardWriter.
        assets: AssetFolder or None.
        skip: objects that are left out.
    """

    def __init__(self, weights: Any, assets: Any = None, skip: Any = ()) -> None:
        self.weights = weights
        self.assets = assets
        self._visited = {id(obj) for obj in skip}

    def save(self, obj: Any, path: str = "") -> None:
        if id(obj) in self._visited:
            return
        self._visited.add(id(obj))
        if hasattr(obj, "save_own_variables"):
            name = getattr(obj, "name", None)
            obj.save_own_variables(self.weights.make(path, name if isinstance(name, str) else None))
        if self.assets is not None and hasattr(obj, "save_assets"):
            obj.save_assets(self.assets.make(path))
        for name, part in parts(obj):
            self._save_part(part, join(path, name), set())

    def _save_part(self, part: Any, path: str, around: set[int]) -> None:
        if is_saveable(part):
            self.save(part, path)
        elif isinstance(part, (list, dict, tuple)) and id(part) not in around:
            around.add(id(part))
            for name, member in members(part):
                self._save_part(member, join(path, name), around)


class StateReader:
    """Reads them back. What cannot be loaded is collected in `errors`, as pairs of object and exception.

    Args:
        weights: H5Store or ShardReader.
        assets: AssetFolder or None.
        skip: objects that are left as they are.
    """

    def __init__(self, weights: Any, assets: Any = None, skip: Any = ()) -> None:
        self.weights = weights
        self.assets = assets
        self.errors: dict[int, tuple[Any, Exception]] = {}
        self._visited = {id(obj) for obj in skip}
        self._around: set[int] = set()  # objects that are being loaded: parts may refer to their owner

    def load(self, obj: Any, path: str = "") -> None:
        if id(obj) in self._visited or id(obj) in self._around:
            return
        loaded = self._load_own(obj, path)
        before = len(self.errors)
        self._around.add(id(obj))
        for name, part in parts(obj):
            self._load_part(part, join(path, name), set())
        self._around.discard(id(obj))
        # An object with errors below is tried again where it is met under another path.
        if loaded and len(self.errors) <= before:
            self._visited.add(id(obj))
        if loaded:
            self.errors.pop(id(obj), None)

    def _load_own(self, obj: Any, path: str) -> bool:
        try:
            if hasattr(obj, "load_own_variables"):
                obj.load_own_variables(self.weights.get(path))
            if self.assets is not None and hasattr(obj, "load_assets"):
                obj.load_assets(self.assets.get(path))
        except Exception as error:  # reported for all objects together, when the whole file was gone through
            self.errors[id(obj)] = (obj, error)
            return False
        return True

    def _load_part(self, part: Any, path: str, around: set[int]) -> None:
        if is_saveable(part):
            self.load(part, path)
        elif isinstance(part, (list, dict, tuple)) and id(part) not in around:
            around.add(id(part))
            for name, member in members(part):
                inner = join(path, name)
                if is_saveable(member) or self._has(inner):
                    self._load_part(member, inner, around)
                else:
                    self._load_unstored(member, inner, around)

    def _has(self, path: str) -> bool:
        return self.weights.has_path(path) or (self.assets is not None and self.assets.has_path(path))

    def _load_unstored(self, container: Any, path: str, around: set[int]) -> None:
        """A nested container the file lacks: older versions of Keras did not save these."""
        before = dict(self.errors)
        self._load_part(container, path, around)
        missing = self.errors.keys() - before.keys()
        if missing:
            warnings.warn(
                f"Skipping nested container at '{path}': no matching group found in the saved file. This usually means "
                "that the file was saved with a version of Keras which did not save layers nested inside containers. "
                f"These objects keep their initial weights: {[self.errors[i][0] for i in missing]}",
                stacklevel=2,
            )
        self.errors = before
