"""Which traces share an executable, and what each of them calls its layers."""

from __future__ import annotations

import pytest

from graphkeras.backend.structure import SAME, Names, structure
from graphkeras.ir.graph import Builder, Graph
from graphkeras.ir.node import Origin
from graphkeras.ir.types import TensorType


def chain(*origins: Origin) -> Graph:
    """tanh of tanh of ... of an input, one for each origin."""
    b = Builder()
    x = node = b.input(TensorType((3,), "float32"), "x")
    for origin in origins:
        with b.origin(origin):
            node = b.tanh(node)
    return Graph([x], [node])


A, B, C, D = (Origin(name, f"{name}.py", 7) for name in "abcd")


@pytest.mark.parametrize(
    ("first", "second", "equal"),
    [
        ((A, B), (C, D), True),
        ((A, B), (B, A), True),
        ((A, A), (C, C), True),
        ((A, A), (C, D), False),  # one layer, two layers
        ((A, B), (C, C), False),
        ((A, B, A), (C, D, C), True),
        ((A, B, A), (C, D, D), False),
        ((A, B), (C, D._replace(phase="update")), False),  # what is fused depends on it
    ],
)
def test_names_are_no_part_of_the_structure_but_their_pattern_is(first, second, equal):
    assert (structure(chain(*first)) == structure(chain(*second))) is equal


def test_names_are_those_of_the_traced_graph():
    names = Names(chain(A, B, A), chain(C, D, C))
    assert names(A) == C and names(B) == D
    assert names(A._replace(phase="backward")) == C._replace(phase="backward")  # passes make such
    assert names(Origin("unknown")) == Origin("unknown")
    assert SAME(A) is A


def test_names_inside_of_bodies():
    def loop(outer: Origin, inner: Origin) -> Graph:
        b, body = Builder(), Builder()
        x = b.input(TensorType((3,), "float32"), "x")
        state = body.input(TensorType((3,), "float32"), "state")
        with body.origin(inner):
            made = body.tanh(state)
        with b.origin(outer):
            loop = b.emit("scan", x, body=Graph([state], [made]), carries=1, consts=0, length=4, reverse=False)
            result = b.item(loop, 0)
        return Graph([x], [result])

    first, second = loop(A, B), loop(C, D)
    assert structure(first) == structure(second) != structure(loop(A, A))
    assert Names(first, second)(B) == D
