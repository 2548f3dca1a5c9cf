"""Finding the state of an object: what is assigned to its attributes is sorted into stores, also inside containers."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any

from graphkeras.core.global_state import get_global_attribute, set_global_attribute


class DoNotTrackScope:
    """Inside, assigned attributes are not looked at."""

    def __enter__(self) -> None:
        self._before = get_global_attribute("tracking_off", False)
        set_global_attribute("tracking_off", True)

    def __exit__(self, *exc: Any) -> None:
        set_global_attribute("tracking_off", self._before)


class Tracker:
    """Sorts values into lists.

    Args:
        stores: store name -> (predicate, list). A value goes into the first store whose predicate holds.
        locked message: given to `lock`; after it a new value is an error.
    """

    def __init__(self, stores: dict[str, tuple[Callable[[Any], bool], list[Any]]]) -> None:
        self.stores = stores
        self.locked = False
        self._lock_message = "the object is locked"
        self._ids: dict[int, str] = {}

    def track(self, value: Any) -> Any:
        """Store the value, or what a container holds; containers come back in a form that tracks later changes."""
        if value is None or isinstance(value, (str, int, float)) or get_global_attribute("tracking_off", False):
            return value
        for name, (matches, _) in self.stores.items():
            if matches(value):
                if id(value) not in self._ids:
                    self.add_to_store(name, value)
                return value
        if isinstance(value, tuple):
            parts = [self.track(v) for v in value]
            return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
        if type(value) in (list, TrackedList):
            return TrackedList(value, self)
        if type(value) in (dict, TrackedDict):
            return TrackedDict(value, self)
        if type(value) in (OrderedDict, TrackedOrderedDict):
            return TrackedOrderedDict(value, self)
        if type(value) in (set, TrackedSet):
            return TrackedSet(value, self)
        return value

    def add_to_store(self, name: str, value: Any) -> None:
        if self.locked:
            raise ValueError(self._lock_message)
        self.stores[name][1].append(value)
        self._ids[id(value)] = name

    def is_tracked(self, value: Any) -> bool:
        return id(value) in self._ids

    def untrack(self, value: Any) -> None:
        """Forget a value. Containers are left alone."""
        name = self._ids.pop(id(value), None)
        if name is not None:
            remove_by_id(self.stores[name][1], value)

    def lock(self, msg: str | None = None) -> None:
        self.locked = True
        if msg is not None:
            self._lock_message = msg

    def unlock(self) -> None:
        self.locked = False

    def __deepcopy__(self, memo: Any) -> Tracker:
        import copy

        copied = Tracker({n: (matches, copy.deepcopy(kept, memo)) for n, (matches, kept) in self.stores.items()})
        memo[id(self)] = copied
        copied.locked, copied._lock_message = self.locked, self._lock_message
        copied._ids = {id(v): n for n, (_, kept) in copied.stores.items() for v in kept}
        return copied


def remove_by_id(values: list[Any], value: Any) -> None:
    """Remove an object from a list by identity (equality of variables is a tensor)."""
    for i, other in enumerate(values):
        if other is value:
            del values[i]
            return


class _Telling:
    """A container that tells its tracker what is put in and taken out."""

    tracker: Tracker | None = None

    def _in(self, value: Any) -> Any:
        return value if self.tracker is None else self.tracker.track(value)

    def _out(self, value: Any) -> None:
        if self.tracker is not None:
            self.tracker.untrack(value)


class TrackedList(_Telling, list):
    """A list that tells its tracker what is put in and taken out."""

    def __init__(self, values: Iterable[Any] = (), tracker: Tracker | None = None) -> None:
        self.tracker = tracker
        super().__init__(self._in(v) for v in values)

    def append(self, value: Any) -> None:
        super().append(self._in(value))

    def insert(self, index: Any, value: Any) -> None:
        super().insert(index, self._in(value))

    def extend(self, values: Iterable[Any]) -> None:
        super().extend([self._in(v) for v in values])

    def __iadd__(self, values: Iterable[Any]) -> TrackedList:  # type: ignore[misc,override]
        self.extend(values)
        return self

    def __setitem__(self, index: Any, value: Any) -> None:
        if isinstance(index, slice):
            super().__setitem__(index, [self._in(v) for v in value])
        else:
            super().__setitem__(index, self._in(value))

    def remove(self, value: Any) -> None:
        self._out(value)
        for i, other in enumerate(self):
            if other is value:
                list.__delitem__(self, i)
                return
        super().remove(value)

    def pop(self, index: Any = -1) -> Any:
        value = super().pop(index)
        self._out(value)
        return value

    def clear(self) -> None:
        for value in self:
            self._out(value)
        super().clear()

    def __delitem__(self, index: Any) -> None:
        gone = self[index] if isinstance(index, slice) else [self[index]]
        super().__delitem__(index)
        for value in gone:
            self._out(value)

    def __reduce__(self) -> Any:
        return list, (list(self),)

    def __deepcopy__(self, memo: Any) -> TrackedList:
        import copy

        copied = TrackedList()
        memo[id(self)] = copied
        list.extend(copied, [copy.deepcopy(v, memo) for v in self])
        copied.tracker = copy.deepcopy(self.tracker, memo)
        return copied


class _TrackedMapping(_Telling, dict):
    """What TrackedDict and TrackedOrderedDict share."""

    def __init__(self, values: Any = None, tracker: Tracker | None = None) -> None:
        self.tracker = tracker
        super().__init__({k: self._in(v) for k, v in dict(values or {}).items()})

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(key, self._in(value))

    def update(self, *args: Any, **kwargs: Any) -> None:
        super().update({k: self._in(v) for k, v in dict(*args, **kwargs).items()})

    def setdefault(self, key: Any, default: Any = None) -> Any:
        if key not in self:
            self[key] = default
        return self[key]

    def pop(self, key: Any, *default: Any) -> Any:
        value = super().pop(key, *default)
        self._out(value)
        return value

    def popitem(self) -> tuple[Any, Any]:
        key, value = super().popitem()
        self._out(value)
        return key, value

    def clear(self) -> None:
        for value in self.values():
            self._out(value)
        super().clear()

    def __delitem__(self, key: Any) -> None:
        value = self[key]
        super().__delitem__(key)
        self._out(value)

    def __reduce__(self) -> Any:
        return dict, (dict(self),)

    def __deepcopy__(self, memo: Any) -> Any:
        import copy

        copied = type(self)()
        memo[id(self)] = copied
        dict.update(copied, {k: copy.deepcopy(v, memo) for k, v in self.items()})
        copied.tracker = copy.deepcopy(self.tracker, memo)
        return copied


class TrackedDict(_TrackedMapping):
    """A dict that tells its tracker what is put in and taken out."""


class TrackedOrderedDict(_TrackedMapping, OrderedDict):
    """The same for OrderedDict."""


class TrackedSet(_Telling, set):
    """A set that tells its tracker what is put in and taken out."""

    def __init__(self, values: Iterable[Any] = (), tracker: Tracker | None = None) -> None:
        self.tracker = tracker
        super().__init__(self._in(v) for v in values)

    def add(self, value: Any) -> None:
        super().add(self._in(value))

    def update(self, *others: Iterable[Any]) -> None:
        super().update([self._in(v) for values in others for v in values])

    def remove(self, value: Any) -> None:
        super().remove(value)
        self._out(value)

    def discard(self, value: Any) -> None:
        super().discard(value)
        self._out(value)

    def pop(self) -> Any:
        value = super().pop()
        self._out(value)
        return value

    def clear(self) -> None:
        for value in self:
            self._out(value)
        super().clear()

    def __reduce__(self) -> Any:
        return set, (set(self),)
