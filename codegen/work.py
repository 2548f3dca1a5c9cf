"""What pointwise work costs, in flops of a product: by it templates decide how many threads a kernel is worth."""

from __future__ import annotations

import math

from graphkeras.codegen.body import Body
from graphkeras.ir.node import Node
from graphkeras.ir.passes.recompute import CHEAP, MODERATE

SIMPLE, DIVISION, FUNCTION = 2.0, 8.0, 30.0  # an addition; a division or root; exp, erf, tanh ...
WORD = 200.0  # a random word: rounds of integer arithmetic


def work_of(node: Node) -> float:
    """Flops' worth of one element."""
    if node.op == "random_word":
        return WORD
    return SIMPLE if node.op in CHEAP else DIVISION if node.op in MODERATE else FUNCTION


def work_of_body(body: Body | None) -> float:
    """Flops' worth of a whole epilogue."""
    return 0.0 if body is None else math.prod(body.space) * sum(map(work_of, body.nodes))
