"""The minimum cut of a small network with whole capacities; networkx finds it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TypeVar

N = TypeVar("N", bound=Hashable)


def late_side(edges: Mapping[tuple[N, N], int | None], source: N, target: N) -> set[N]:
    """The nodes behind a minimum cut: those that `source` does not reach any more once the flow is at its maximum.

    edges: (from, to) -> capacity; None: without limit. Of several minimum cuts it is the one nearest to the source.
    Raises ValueError where a path without limit leads to `target`.
    """
    import networkx  # 0.1 s to load: only programs with something to decide pay it

    network = networkx.DiGraph()
    network.add_nodes_from((source, target))
    for (a, b), capacity in edges.items():  # turned round: of equal cuts networkx gives the one nearest to its sink
        network.add_edge(b, a, **({} if capacity is None else {"capacity": capacity}))
    try:
        _, (late, _early) = networkx.minimum_cut(network, target, source)
    except networkx.NetworkXUnbounded:
        raise ValueError("no finite cut: a path without limit leads from source to target") from None
    return set(late)
