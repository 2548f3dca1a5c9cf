"""Where the members of a kernel stand: which element of its iteration space each value is, and how operands are walked.

Views cost nothing here: what a chain of them looks at is the memory of its base, with other strides.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from graphkeras.codegen.kernel import Buffer, View, Where, contiguous_strides
from graphkeras.codegen.views import apply_view, broadcast_strides, collapse
from graphkeras.ir.graph import Graph
from graphkeras.ir.node import Node, scalar_value

if TYPE_CHECKING:
    from graphkeras.codegen.fuse import Group

FREE_VIEWS = frozenset({"reshape", "transpose", "broadcast_to", "slice", "reverse", "stop_gradient", "barrier"})
MANY_ROWS = 65536  # elements from which a table is worth a pass of its own


def squeeze(shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(n for n in shape if n != 1)


def resolve(node: Node) -> Node:
    """The node whose memory a chain of free views looks at."""
    while node.op in FREE_VIEWS:
        node = node.inputs[0]
    return node


def waits_for(node: Node) -> list[Node]:
    """The nodes that barriers in a chain of free views name: what reads the chain runs after them."""
    found = []
    while node.op in FREE_VIEWS:
        if node.op == "barrier":
            found.append(resolve(node.inputs[1]))
        node = node.inputs[0]
    return found


def readers(graph: Graph, node: Node) -> list[Node]:
    """The nodes that read a value: not the barriers that only name it."""
    return [u for u in graph.users[node] if u.op != "barrier" or u.inputs[0] is node]


def assumed_view(node: Node) -> View | None:
    """The layout a value will have when its base is materialised contiguously; None where a view has to copy."""
    chain = []
    base = node
    while base.op in FREE_VIEWS:
        chain.append(base)
        base = base.inputs[0]
    if isinstance(base.type, tuple):
        return None
    view: View | None = View(_NOWHERE, base.dtype, base.shape, contiguous_strides(base.shape))
    for step in reversed(chain):
        assert view is not None
        view = apply_view(step, view)
        if view is None:
            return None
    return view


_NOWHERE = Buffer(0, Where.ARENA)


def row_strides(space: Sequence[int], axes: Sequence[int]) -> tuple[int, ...]:
    """Strides over the full space of a value that has one element per row."""
    kept = contiguous_strides([1 if a in axes else n for a, n in enumerate(space)])
    return tuple(kept)


def merged_level(group: Group, node: Node) -> str | None:
    """ "full": one value per element of the space; "row": one per kept element; None: neither."""
    if node is group.anchor:
        return "full"
    if node in group.reduces:
        return "row"
    shape = squeeze(node.shape)
    if shape == squeeze(group.space):
        return "full"
    if group.axes and shape == squeeze(group.kept):
        return "row"
    return None


def same_element(
    group: Group, seen: Node, base: Node, base_level: str | None, user: Node, user_level: str | None
) -> bool:
    """Whether `user`, reading `seen` (views of `base`), reads the element at which it stands itself."""
    view = assumed_view(seen)
    if view is None or view.offset:
        return False
    shape = user.inputs[0].shape if user in group.reduces else user.shape
    try:
        strides = broadcast_strides(view.shape, view.strides, shape)
    except ValueError:
        return False
    want_full = user_level == "full" or user in group.reduces
    if base_level == "full":
        return want_full and _drop_ones(shape, strides) == _drop_ones(shape, contiguous_strides(shape))
    if not want_full:
        return _drop_ones(shape, strides) == _drop_ones(shape, contiguous_strides(shape))
    if squeeze(shape) != squeeze(group.space):
        return False
    return _drop_ones(shape, strides) == _drop_ones(group.space, row_strides(group.space, group.axes))


def spread(group: Group, view: View, user: Node) -> tuple[int, ...]:
    """Strides, over the group's full space, of an operand as `user` (a member) reads it."""
    reads_full = user in group.reduces
    shape = user.inputs[0].shape if reads_full else user.shape
    steps = iter(_drop_ones(shape, broadcast_strides(view.shape, view.strides, shape)))
    full = reads_full or merged_level(group, user) == "full"
    return tuple(0 if n == 1 or (a in group.axes and not full) else next(steps) for a, n in enumerate(group.space))


def result_strides(group: Group, node: Node, view: View) -> tuple[int, ...]:
    """Strides, over the full space, of a member's own result."""
    steps = iter(_drop_ones(node.shape, view.strides))
    full = node not in group.reduces and merged_level(group, node) == "full"
    return tuple(0 if n == 1 or (a in group.axes and not full) else next(steps) for a, n in enumerate(group.space))


def _drop_ones(shape: Sequence[int], strides: Sequence[int]) -> tuple[int, ...]:
    return tuple(s for n, s in zip(shape, strides, strict=True) if n != 1)


def depends_on(node: Node, sources: set[Node], members: dict[Node, str | None]) -> bool:
    """Whether a member needs one of `sources` (strictly below it), through members only."""
    stack, seen = list(node.inputs), set()
    while stack:
        i = resolve(stack.pop())
        if i in sources:
            return True
        if i in members and i not in seen:
            seen.add(i)
            stack.extend(i.inputs)
    return False


def template_groups(group: Group) -> list[list[int]] | None:
    return epilogue_groups(group.anchor) if group.anchor is not None else None


def epilogue_groups(anchor: Node) -> list[list[int]] | None:
    """Axis groups behind the index names of a template's epilogue; None: the template takes no epilogue."""
    rank = anchor.type.rank if not isinstance(anchor.type, tuple) else 0
    if anchor.op == "dot_general":
        batch = len(anchor.attrs["batch"][0])
        rows = anchor.inputs[0].type.rank - batch - len(anchor.attrs["contract"][0])
        axes = list(range(rank))
        return [axes[:batch], axes[batch : batch + rows], axes[batch + rows :]]
    if anchor.op in ("conv", "conv_input_grad"):
        return [list(range(rank - 1)), [rank - 1]]
    if is_row_sum(anchor):
        return plain_groups(anchor)
    return None


def is_row_sum(node: Node) -> bool:
    """Whether a node adds rows to a large array of zeros: the gradient of an embedding's table."""
    if node.op != "scatter" or node.attrs["combine"] != "add" or node.dtype not in ("float32", "float64"):
        return False
    zeros = scalar_value(node.inputs[0]) == 0
    return zeros and node.type.rank > 1 and node.attrs["axis"] % node.type.rank == 0 and node.type.size >= MANY_ROWS


def plain_groups(anchor: Node) -> list[list[int]]:
    """How templates without epilogue see their contiguous result: one flat index."""
    return [list(range(anchor.type.rank))]


def loop_groups(shape: Sequence[int], operands: Sequence[Sequence[int]]) -> list[list[int]]:
    """Axis groups for a map kernel: merged as far as all operands allow; at least one."""
    return collapse(shape, operands) or [[]]
