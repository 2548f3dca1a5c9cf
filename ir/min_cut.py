"""The minimum cut of a small network with whole capacities, by shortest augmenting paths (Edmonds and Karp)."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Mapping
from typing import TypeVar

N = TypeVar("N", bound=Hashable)


def late_side(edges: Mapping[tuple[N, N], int | None], source: N, target: N) -> set[N]:
    """The nodes behind a minimum cut: those that `source` does not reach any more once the flow is at its maximum.

    edges: (from, to) -> capacity; None: without limit. Of several minimum cuts it is the one nearest to the source.
    Raises ValueError where a path without limit leads to `target`.
    """
    unlimited = 1 + sum(c for c in edges.values() if c is not None)
    left: dict[N, dict[N, int]] = {source: {}, target: {}}
    for (a, b), capacity in edges.items():
        left.setdefault(a, {})[b] = left.get(a, {}).get(b, 0) + (unlimited if capacity is None else capacity)
        left.setdefault(b, {}).setdefault(a, 0)
    total = 0
    while True:
        before = _paths(left, source, target)
        if target not in before:
            return set(left) - set(before)
        path = [target]
        while path[-1] != source:
            path.append(before[path[-1]])
        steps = list(zip(path[1:], path, strict=False))
        amount = min(left[a][b] for a, b in steps)
        total += amount
        if total >= unlimited:
            raise ValueError("no finite cut: a path without limit leads from source to target")
        for a, b in steps:
            left[a][b] -= amount
            left[b][a] += amount


def _paths(left: Mapping[N, Mapping[N, int]], source: N, target: N) -> dict[N, N]:
    """The node before each one on a shortest path from the source, as far as it takes to reach the target."""
    before = {source: source}
    queue = deque([source])
    while queue and target not in before:
        node = queue.popleft()
        for other, capacity in left[node].items():
            if capacity > 0 and other not in before:
                before[other] = node
                queue.append(other)
    return before
