"""Layout: in which order of axes values lie in memory.

Values that pointwise ops, reductions, transposes and views tie together form a component: one order of axes serves all
of them, and the transposes inside go. What is computed or read in a fixed order (inputs and outputs, convolutions,
reshapes) votes for an order with the bytes that would have to move if it were another one; the cheapest order wins, if
it is cheaper than the transposes as they stand. Then rules take transposes next to products into the products.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from graphkeras.ir.graph import Builder, Graph
from graphkeras.ir.node import Node
from graphkeras.ir.op import Kind, get_op
from graphkeras.ir.passes.rewrite import rule

Ints = tuple[int, ...]
WALK = 1  # cost per byte of reading in another order inside a kernel that runs anyway
COPY = 2  # cost per byte of a kernel that only copies
VIEWS = frozenset({"slice", "reverse", "pad", "concat", "broadcast_to"})
PER_AXIS = {"slice": ("start", "stop", "step"), "pad": ("low", "high", "interior"), "broadcast_to": ("shape",)}
"""Attributes that hold one number for each axis of the result."""


# -- rules -------------------------------------------------------------------------------------------
@rule("transpose")
def transpose_of_transpose(b: Builder, n: Node) -> Node | None:
    (x,) = n.inputs
    perm = n.attrs["perm"]
    if perm == tuple(range(len(perm))):
        return x
    if x.op == "transpose":
        inner = x.attrs["perm"]
        return b.transpose(x.inputs[0], perm=tuple(inner[p] for p in perm))
    return b.reshape(x, shape=n.shape) if _moves_nothing(perm, x.shape) else None


@rule("transpose")
def transpose_of_product(b: Builder, n: Node) -> Node | None:
    """Swapping the free axes of a product is the product of the swapped operands, and its result is contiguous."""
    (x,) = n.inputs
    if x.op != "dot_general" or n.attrs["perm"] != _swapped(x):
        return None
    contract, batch = x.attrs["contract"], x.attrs["batch"]
    attrs = {**x.attrs, "contract": contract[::-1], "batch": batch[::-1]}
    return b.dot_general(x.inputs[1], x.inputs[0], **attrs)


@rule("dot_general")
def product_of_transpose(b: Builder, n: Node) -> Node | None:
    """A product names the axes it contracts: no need to transpose an operand whose free axes keep their order."""
    for k, operand in enumerate(n.inputs):
        if operand.op != "transpose" or not _keeps_free_axes(n, k, operand.attrs["perm"]):
            continue
        perm = operand.attrs["perm"]
        contract, batch = n.attrs["contract"], n.attrs["batch"]
        inputs = [*n.inputs]
        inputs[k] = operand.inputs[0]
        moved = [tuple(perm[a] for a in axes[k]) for axes in (contract, batch)]
        attrs = [(m, axes[1]) if k == 0 else (axes[0], m) for m, axes in zip(moved, (contract, batch), strict=True)]
        return b.dot_general(*inputs, contract=attrs[0], batch=attrs[1])
    return None


LAYOUT = (transpose_of_transpose, transpose_of_product, product_of_transpose)


def _swapped(product: Node) -> Ints:
    """The permutation that swaps rows and columns of a product's result."""
    lead = len(product.attrs["batch"][0])
    rows = product.inputs[0].type.rank - lead - len(product.attrs["contract"][0])
    rank = product.type.rank
    return (*range(lead), *range(lead + rows, rank), *range(lead, lead + rows))


def _keeps_free_axes(product: Node, k: int, perm: Ints) -> bool:
    """Whether operand k may be given without being transposed by `perm`."""
    contract, batch = product.attrs["contract"][k], product.attrs["batch"][k]
    free = [p for a, p in enumerate(perm) if a not in contract and a not in batch]
    return free == sorted(free)


def _moves_nothing(perm: Ints, shape: Ints) -> bool:
    """Whether a transpose changes only places of axes of extent one."""
    moved = [p for p in perm if shape[p] != 1]
    return moved == sorted(moved)


# -- orders ------------------------------------------------------------------------------------------
def choose_orders(graph: Graph) -> Graph:
    """The graph with one order of axes for each component of values, where that moves fewer bytes."""
    if not any(n.op == "transpose" for n in graph.nodes):
        return graph
    ties = _Ties(graph)
    orders = {root: order for root, members in ties.members.items() if (order := _best(ties, members)) is not None}
    return _Emission(graph, ties, orders).run() if orders else graph


def _bends(node: Node) -> bool:
    """Whether an op can work on any order of axes and gives its result in the same one."""
    return node.op == "transpose" or node.op in VIEWS or get_op(node.op).kind is Kind.POINTWISE


class _Ties:
    """Components of values, and for each value which axis is which axis of its component.

    labels[v][a]: the component's name for axis a of v. tied: (reader, operand) pairs that lie in one order.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.outputs = set(graph.outputs)
        self.root: dict[Node, Node] = {}
        self.labels: dict[Node, Ints] = {}
        self.members: dict[Node, list[Node]] = {}
        self.tied: set[tuple[Node, Node]] = set()
        for node in graph.nodes:
            if isinstance(node.type, tuple):
                continue
            self.root[node] = node
            self.labels[node] = tuple(range(node.type.rank))
            self.members[node] = [node]
            if _bends(node):
                relation = node.attrs["perm"] if node.op == "transpose" else tuple(range(node.type.rank))
                for i in dict.fromkeys(node.inputs):
                    if i.type.rank == node.type.rank and self._tie(node, i, relation):
                        self.tied.add((node, i))

    def _tie(self, node: Node, operand: Node, relation: Ints) -> bool:
        """Make axis a of `node` and axis relation[a] of `operand` the same; False: they are known to differ."""
        mine, other = self.labels[node], self.labels[operand]
        ours, theirs = self.root[node], self.root[operand]
        if ours is theirs:
            return all(mine[a] == other[p] for a, p in enumerate(relation))
        pairs = [(mine[a], other[p]) for a, p in enumerate(relation)]
        if len(self.members[ours]) < len(self.members[theirs]):
            ours, theirs, pairs = theirs, ours, [(p, a) for a, p in pairs]
        new = {p: a for a, p in pairs}
        for member in self.members.pop(theirs):
            self.root[member] = ours
            self.labels[member] = tuple(new[label] for label in self.labels[member])
            self.members[ours].append(member)
        return True

    def permutation(self, node: Node, order: Ints) -> Ints:
        """The transpose that brings `node` from its own order into its component's."""
        own = {label: axis for axis, label in enumerate(self.labels[node])}
        return tuple(own[label] for label in order)


def _best(ties: _Ties, members: Sequence[Node]) -> Ints | None:
    """The order of axes in which a component moves the fewest bytes; None: it stays as it is."""
    moves = [n for n in members if n.op == "transpose" and not _moves_nothing(n.attrs["perm"], n.inputs[0].shape)]
    now = sum(_transpose_cost(ties, n) for n in moves)
    if not now:
        return None
    members = sorted(members, key=lambda n: n.id)
    fixed = [(n, _demands(ties, n)) for n in members]
    candidates = dict.fromkeys(ties.labels[n] for n, demands in fixed if demands)
    costs = {order: 0 for order in candidates}
    for order in candidates:
        for node, demands in fixed:
            perm = ties.permutation(node, order)
            if demands and not _moves_nothing(perm, node.shape):
                costs[order] += node.type.nbytes * max(price for price, content in demands if not content(perm))
    best = min(costs, key=lambda o: costs[o]) if costs else None
    return best if best is not None and costs[best] < now else None


Demand = tuple[int, Callable[[Ints], bool]]  # the price per byte unless a permutation of the value is welcome


def _demands(ties: _Ties, node: Node) -> list[Demand]:
    """What the maker and the readers of a value ask of its order."""
    found: list[Demand] = []
    if not _bends(node) and node.op not in ("const", "iota"):
        kept = (_swapped(node),) if node.op == "dot_general" else ()
        found.append((WALK, lambda perm: perm in kept))
    if node in ties.outputs:
        found.append((COPY, lambda perm: False))
    for user in ties.graph.users[node]:
        if _bends(user) or get_op(user.op).kind is Kind.REDUCE:
            continue
        if user.op == "dot_general":
            found.append((COPY, partial(_product_takes, user, node)))
        else:
            found.append((COPY, lambda perm: False))
    return [*found, (0, lambda perm: False)] if found else []


def _product_takes(product: Node, operand: Node, perm: Ints) -> bool:
    return all(_keeps_free_axes(product, k, inverse(perm)) for k, i in enumerate(product.inputs) if i is operand)


def _transpose_cost(ties: _Ties, node: Node) -> int:
    """What a transpose costs where it stands."""
    (x,) = node.inputs
    perm = node.attrs["perm"]
    if x.op == "dot_general" and perm == _swapped(x) and len(ties.graph.users[x]) == 1:
        return 0
    price = COPY if node in ties.outputs else 0
    for user in ties.graph.users[node]:
        if user.op == "dot_general":
            price = max(price, 0 if _product_takes(user, node, inverse(perm)) else COPY)
        else:
            price = max(price, WALK if _bends(user) or get_op(user.op).kind is Kind.REDUCE else COPY)
    return price * node.type.nbytes


def inverse(perm: Ints) -> Ints:
    found = [0] * len(perm)
    for to, come in enumerate(perm):
        found[come] = to
    return tuple(found)


class _Emission:
    """Writes the graph again, each value of a component with a chosen order in that order."""

    def __init__(self, graph: Graph, ties: _Ties, orders: dict[Node, Ints]) -> None:
        self.graph, self.ties = graph, ties
        self.b = Builder()
        self.perms = {n: ties.permutation(n, orders[root]) for root in orders for n in ties.members[root]}
        self.stored: dict[Node, Node] = {}  # in its component's order

    def run(self) -> Graph:
        for node in self.graph.nodes:
            with self.b.origin(node.origin):
                self.stored[node] = self._emit(node)
        outputs = [self._plain(o) for o in self.graph.outputs]
        return Graph([self.stored_input(i) for i in self.graph.inputs], outputs, self.graph.name)

    def stored_input(self, node: Node) -> Node:
        found = self.stored[node]
        while found.op != "input":
            (found,) = found.inputs
        return found

    def _emit(self, node: Node) -> Node:
        perm = self.perms.get(node)
        if perm is not None and _bends(node) and all(self._fits(node, i) for i in node.inputs):
            return self._bend(node, perm)
        if get_op(node.op).kind is Kind.REDUCE and "axes" in node.attrs and node.inputs[0] in self.perms:
            made = self._reduce(node)
        elif node.op == "iota" and perm is not None:
            shape = tuple(node.shape[p] for p in perm)
            return self.b.emit("iota", **{**node.attrs, "shape": shape, "axis": perm.index(node.attrs["axis"])})
        else:
            made = self.b.copy_node(node, [self._plain(i) for i in node.inputs])
        return made if perm is None else self._transpose(made, perm)

    def _fits(self, node: Node, operand: Node) -> bool:
        return node.op != "transpose" or (node, operand) in self.ties.tied

    def _bend(self, node: Node, perm: Ints) -> Node:
        if node.op == "transpose":
            return self.stored[node.inputs[0]]
        inputs = [self.stored[i] if (node, i) in self.ties.tied else self._aligned(i, perm) for i in node.inputs]
        attrs = dict(node.attrs)
        for key in PER_AXIS.get(node.op, ()):
            attrs[key] = tuple(attrs[key][p] for p in perm)
        if node.op == "concat":
            attrs["axis"] = perm.index(attrs["axis"] % len(perm))
        if node.op == "reverse":
            attrs["axes"] = tuple(sorted(perm.index(a % len(perm)) for a in attrs["axes"]))
        return self.b.emit(node.op, *inputs, **attrs)

    def _aligned(self, operand: Node, perm: Ints) -> Node:
        """An operand that broadcasts, or lies in another order, as the reader's order wants it."""
        plain = self._plain(operand)
        if plain.type.rank == 0:
            return plain
        lead = len(perm) - plain.type.rank
        return self._transpose(self.b.reshape(plain, shape=(1,) * lead + plain.shape) if lead else plain, perm)

    def _reduce(self, node: Node) -> Node:
        (x,) = node.inputs
        perm, axes, rank = self.perms[x], node.attrs["axes"], x.type.rank
        inner = tuple(sorted(perm.index(a % rank) for a in axes))
        made = self.b.emit(node.op, self.stored[x], **{**node.attrs, "axes": inner})
        if node.attrs["keepdims"]:
            return self._transpose(made, inverse(perm))
        left = [p for p in perm if p not in axes]
        return self._transpose(made, tuple(left.index(a) for a in sorted(left)))

    def _plain(self, node: Node) -> Node:
        """The value in its own order."""
        perm = self.perms.get(node)
        return self.stored[node] if perm is None else self._transpose(self.stored[node], inverse(perm))

    def _transpose(self, x: Node, perm: Ints) -> Node:
        if x.op == "transpose":
            x, perm = x.inputs[0], tuple(x.attrs["perm"][p] for p in perm)
        if perm == tuple(range(len(perm))):
            return x
        if _moves_nothing(perm, x.shape):
            return self.b.reshape(x, shape=tuple(x.shape[p] for p in perm))
        return self.b.transpose(x, perm=perm)
