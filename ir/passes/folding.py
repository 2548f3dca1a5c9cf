"""Constant folding: what depends on constants only is computed once, by the references."""

from __future__ import annotations

from graphkeras.ir.graph import Builder, Graph
from graphkeras.ir.interpreter import apply_reference
from graphkeras.ir.node import Node
from graphkeras.ir.op import Kind, get_op
from graphkeras.ir.passes.rewrite import Rule

LARGEST = 1 << 16  # elements: larger results stay computed, they would only fill the program


def _fold(b: Builder, n: Node) -> Node | None:
    if isinstance(n.type, tuple) or not n.inputs or n.type.size > LARGEST:
        return None
    if not all(i.op == "const" for i in n.inputs):
        return None
    if any(isinstance(v, Graph) for v in n.attrs.values()):
        return None
    return b.const(apply_reference(n, [i.attrs["value"].array for i in n.inputs]))


def folding_rules() -> list[Rule]:
    from graphkeras.ir.op import all_ops

    skipped = {"broadcast_to", "item", "random_bits"}  # a broadcast number costs nothing as it is
    names = tuple(
        op.name for op in all_ops() if op.kind not in (Kind.SOURCE, Kind.COMPOSITE) and op.name not in skipped
    )
    assert all(get_op(name) for name in names)
    return [Rule("fold_constants", names, _fold)]
