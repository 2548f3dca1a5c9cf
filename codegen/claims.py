"""Which composites keep a template of their own, and why others are taken apart into primitives."""

from __future__ import annotations

from graphkeras.codegen import flags
from graphkeras.codegen.lower import emitter_of, refusal_of
from graphkeras.codegen.target import Target
from graphkeras.ir.node import Node


class Claims:
    """Answers the pipeline's question for one program; `declined` keeps (node, reason) where the answer was no."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.declined: list[tuple[Node, str]] = []

    def __call__(self, node: Node) -> bool:
        if emitter_of(node.op, self.target) is None:
            return False
        off = "attention_tiles" in flags.PASSES.value
        reason = "attention_tiles is switched off" if off else refusal_of(node, self.target)
        if reason is not None:
            self.declined.append((node, reason))
        return reason is None
