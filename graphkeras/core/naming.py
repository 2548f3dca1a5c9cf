"""Automatic names: `dense`, `dense_1`, ... from class names and a counter per session."""

from __future__ import annotations

import re
from collections import defaultdict

from graphkeras.core.global_state import get_global_attribute


def to_snake_case(name: str) -> str:
    """`GlobalAveragePooling2D` -> `global_average_pooling2d`."""
    name = re.sub(r"\W+", "", name)
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


def _uids() -> defaultdict[str, int]:
    return get_global_attribute("object_name_uids", defaultdict(int), set_to_default=True)


def auto_name(prefix: str) -> str:
    """A name that was not given before in this session."""
    return uniquify(to_snake_case(prefix))


def uniquify(name: str) -> str:
    uids = _uids()
    taken = uids[name]
    uids[name] += 1
    return f"{name}_{taken}" if taken else name


def get_uid(prefix: str = "") -> int:
    """The next number of `prefix`, counted from 1 in each session."""
    uids = _uids()
    uids[prefix] += 1
    return uids[prefix]
