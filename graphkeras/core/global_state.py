"""State per thread: scopes that are open, counters of names, the global seed. `clear_session` empties it."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from typing import Any

_state = threading.local()
_releases: list[Callable[[], None]] = []


def get_global_attribute(name: str, default: Any = None, set_to_default: bool = False) -> Any:
    """The value kept under `name` in this thread; `set_to_default` stores the default where there is none."""
    value = getattr(_state, name, None)
    if value is None and default is not None:
        value = default
        if set_to_default:
            set_global_attribute(name, value)
    return value


def set_global_attribute(name: str, value: Any) -> None:
    setattr(_state, name, value)


def clear_session(free_memory: bool = True) -> None:
    """Reset automatic names, the global seed generator and open scopes.

    free_memory: also run Python's garbage collector, so that the memory of deleted models is free at once, on GPUs too.

    Example:

    >>> from graphkeras import backend
    >>> backend.clear_session()
    """
    _state.__dict__.clear()
    if free_memory:
        gc.collect()
        for release in _releases:
            release()


def when_memory_is_freed(release: Callable[[], None]) -> None:
    """Call this too when a session is cleared."""
    _releases.append(release)
