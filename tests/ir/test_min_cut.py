"""The minimum cut, against all cuts of random small networks."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from graphkeras.ir.min_cut import late_side


@pytest.mark.parametrize("seed", range(30))
def test_no_other_cut_costs_less(seed: int) -> None:
    rng = np.random.default_rng(seed)
    inner = list(range(int(rng.integers(1, 7))))
    nodes = ["s", *inner, "t"]
    edges: dict[tuple[object, object], int | None] = {}
    for a, b in itertools.permutations(nodes, 2):
        if b != "s" and a != "t" and rng.random() < 0.5:
            free = rng.random() < 0.15 and (a, b) != ("s", "t") and not (a == "s" or b == "t")
            edges[a, b] = None if free else int(rng.integers(0, 9))

    def cost(late: set[object]) -> float:
        return sum(float("inf") if c is None else c for (a, b), c in edges.items() if a not in late and b in late)

    found = late_side(edges, "s", "t")
    assert "t" in found and "s" not in found
    every = [{"t", *chosen} for r in range(len(inner) + 1) for chosen in itertools.combinations(inner, r)]
    assert cost(found) == min(cost(late) for late in every)


def test_sizes_do_not_matter() -> None:
    edges = {("s", 0): 3, (0, 1): 5, ("s", 1): 1, (1, "t"): 4, (0, "t"): None}
    assert all(
        late_side({e: c if c is None else c * n for e, c in edges.items()}, "s", "t") == late_side(edges, "s", "t")
        for n in (2, 7, 10**12)
    )


def test_a_path_without_limit_is_refused() -> None:
    with pytest.raises(ValueError, match="no finite cut"):
        late_side({("s", 0): None, (0, "t"): None}, "s", "t")


def test_of_equal_cuts_the_one_nearest_to_the_source() -> None:
    edges: dict[tuple[object, object], int | None] = {("s", 0): 2, (0, 1): 2, (1, "t"): 2}
    assert late_side(edges, "s", "t") == {0, 1, "t"}
