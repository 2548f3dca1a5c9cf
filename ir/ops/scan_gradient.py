"""Reverse mode through scan.

The forward scan is emitted again with a body that also gives, for every step, what the backward pass needs: the
carries it started from and the results of its costly ops. (`Graph.primal` of that body names the original, so that a
pass can drop the original loop: its results are the first results of the new one.) The backward scan runs the other
way. Cotangents of consts that are products over a step, as those of weights are, are not accumulated step by step:
their factors are stacked and multiplied once for all steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from graphkeras.ir.graph import Builder, Graph, reachable
from graphkeras.ir.node import Node
from graphkeras.ir.op import Kind, get_op
from graphkeras.ir.types import is_inexact

COSTLY = (Kind.CONTRACT, Kind.WINDOW, Kind.GATHER, Kind.OPAQUE)
TRANSCENDENTAL = frozenset(("exp", "expm1", "log", "log1p", "sigmoid", "tanh", "softplus", "erf", "sin", "cos", "pow"))
"""Costly too: kept, they also spare the backward pass the products under them (the gates of an LSTM, say)."""
Stacks = Callable[[Node], Node]
Finish = Callable[[Builder, Stacks], Node]


@dataclass
class _Step:
    """The body with its gradient, in a builder of its own."""

    builder: Builder
    inputs: list[Node]  # carries, consts, slices of xs
    outputs: list[Node]
    cts: list[Node | None]  # per output
    grads: dict[Node, Node]  # per input that has one
    varying: set[Node] = field(default_factory=set)  # nodes that change from step to step


def scan_vjp(b: Builder, ct: Sequence[Node | None], node: Node) -> list[Node | None]:
    carries, consts = node.attrs["carries"], node.attrs["consts"]
    step = _differentiate(node, ct)
    plans = {c: _plan(step, step.grads[c]) for c in step.inputs[carries : carries + consts] if c in step.grads}
    factors = _factors(step, [p for p in plans.values() if p is not None])
    backward = _backward_outputs(step, node, plans, factors)
    kept = _kept(step, [n for group in backward.values() for n in group], carries, consts)
    stacks = _forward(b, node, step, kept, factors)
    return _run_backward(b, ct, node, step, plans, backward, stacks)


def _differentiate(node: Node, ct: Sequence[Node | None]) -> _Step:
    from graphkeras.ir.autodiff import gradients

    body: Graph = node.attrs["body"]
    carries, consts = node.attrs["carries"], node.attrs["consts"]
    b = Builder()
    inputs = [b.input(n.type, f"in{i}") for i, n in enumerate(body.inputs)]
    outputs = b.inline(body, inputs)
    cts: list[Node | None] = []
    for i, o in enumerate(outputs):
        needed = is_inexact(o.dtype) and (i < carries or ct[i] is not None)
        cts.append(b.input(o.type, f"ct{i}") if needed else None)
    targets = [n for n in inputs if is_inexact(n.dtype)]
    found = gradients(b, outputs, targets, cts)
    step = _Step(b, inputs, outputs, cts, {t: g for t, g in zip(targets, found, strict=True) if g is not None})
    step.varying = {n for i, n in enumerate(inputs) if not carries <= i < carries + consts}
    step.varying |= {c for c in cts if c is not None}
    for n in sorted(reachable([*outputs, *step.grads.values()]), key=lambda n: n.id):
        if any(i in step.varying for i in n.inputs):
            step.varying.add(n)
    return step


# -- cotangents of consts: sums over the steps -----------------------------------------------------
def _plan(step: _Step, node: Node) -> Finish | None:
    """How to get the sum of `node` over all steps from stacked factors; None if it must be accumulated."""
    if node not in step.varying:
        return None
    simple = {"transpose": ("perm",), "reshape": ("shape",), "cast": ("dtype",), "neg": ()}
    if node.op in simple or (node.op == "pad" and node.attrs["value"] == 0):
        inner = _plan(step, node.inputs[0])
        return None if inner is None else lambda b, get: b.emit(node.op, inner(b, get), **node.attrs)
    if node.op == "add" and node.inputs[0].shape == node.inputs[1].shape == node.shape:
        left, right = (_plan(step, i) for i in node.inputs)
        if left is None or right is None:
            return None
        return lambda b, get: b.add(left(b, get), right(b, get))
    if not all(i in step.varying for i in node.inputs):
        return None
    return {"dot_general": _sum_of_dots, "reduce_sum": _sum_of_sums, "conv_kernel_grad": _sum_of_kernels}.get(
        node.op, lambda n: None
    )(node)


def _sum_of_dots(node: Node) -> Finish:
    """Time becomes one more contracted axis."""
    contract, batch = (tuple(tuple(i + 1 for i in side) for side in node.attrs[k]) for k in ("contract", "batch"))
    with_time = ((0, *contract[0]), (0, *contract[1]))
    return lambda b, get: b.dot_general(*(get(i) for i in node.inputs), contract=with_time, batch=batch)


def _sum_of_sums(node: Node) -> Finish:
    axes, keepdims = node.attrs["axes"], node.attrs["keepdims"]

    def finish(b: Builder, get: Stacks) -> Node:
        total = b.reduce_sum(get(node.inputs[0]), axes=(0, *(a + 1 for a in axes)), keepdims=False)
        return b.reshape(total, shape=node.shape) if keepdims else total

    return finish


def _sum_of_kernels(node: Node) -> Finish:
    """Time and batch become one batch."""

    def finish(b: Builder, get: Stacks) -> Node:
        flat = []
        for i in node.inputs:
            stack = get(i)
            flat.append(b.reshape(stack, shape=(stack.shape[0] * stack.shape[1], *stack.shape[2:])))
        return b.conv_kernel_grad(*flat, **node.attrs)

    return finish


def _factors(step: _Step, plans: Sequence[Finish]) -> list[Node]:
    """The nodes whose stacks the plans ask for, found by running them on stand-ins in a scratch builder."""
    found: dict[Node, Node] = {}
    scratch = Builder()

    def get(node: Node) -> Node:
        if node not in found:
            found[node] = scratch.input(node.type.with_shape((1, *node.shape)), f"factor{len(found)}")
        return found[node]

    for plan in plans:
        plan(scratch, get)
    return list(found)


# -- the two loops ---------------------------------------------------------------------------------
def _backward_outputs(
    step: _Step, node: Node, plans: dict[Node, Finish | None], factors: Sequence[Node]
) -> dict[str, list[Node]]:
    """Results of the backward body by their use, as nodes of the step's builder."""
    carries, consts = node.attrs["carries"], node.attrs["consts"]
    b = step.builder

    def grad(n: Node) -> Node:
        return step.grads[n] if n in step.grads else b.full_like(n, 0)

    xs = [step.grads[n] for n in step.inputs[carries + consts :] if n in step.grads]
    stacked = {*step.inputs, *step.cts[carries:], *xs}
    return {
        "carries": [grad(n) for n in step.inputs[:carries] if is_inexact(n.dtype)],
        "sums": [step.grads[c] for c, plan in plans.items() if plan is None],
        "xs": xs,
        "factors": [f for f in factors if f not in stacked],
    }


def _kept(step: _Step, wanted: Sequence[Node], carries: int, consts: int) -> list[Node]:
    """Forward values that the backward body reads: incoming carries, and results of costly ops."""
    forward = reachable(step.outputs)
    stop = {n for n in forward if n in step.varying and _is_costly(n)} | set(step.inputs)
    used = reachable(wanted, stop=stop) & stop
    used -= set(step.inputs[carries:])
    return sorted(used, key=lambda n: n.id)


def _is_costly(node: Node) -> bool:
    if node.op in TRANSCENDENTAL:
        return True
    return get_op(node.op).kind in COSTLY and not isinstance(node.type, tuple) and node.op != "random_bits"


def _forward(b: Builder, node: Node, step: _Step, kept: Sequence[Node], factors: Sequence[Node]) -> dict[Node, Node]:
    """Stacks over all steps of xs and of the kept values, as nodes of the outer builder."""
    carries, consts = node.attrs["carries"], node.attrs["consts"]
    xs = node.inputs[carries + consts :]
    stacks = dict(zip(step.inputs[carries + consts :], xs, strict=True))
    extra = list(dict.fromkeys([*kept, *(f for f in factors if f in step.inputs[:carries])]))
    if extra:
        body = Graph(step.inputs, [*step.outputs, *extra], f"{node.attrs['body'].name}.saving")
        body.primal = node.attrs["body"]
        scan = b.emit("scan", *node.inputs, **{**node.attrs, "body": body})
        for i, n in enumerate(extra, len(step.outputs)):
            stacks[n] = b.item(scan, i)
    return stacks


def _run_backward(
    b: Builder,
    ct: Sequence[Node | None],
    node: Node,
    step: _Step,
    plans: dict[Node, Finish | None],
    backward: dict[str, list[Node]],
    stacks: dict[Node, Node],
) -> list[Node | None]:
    carries, consts = node.attrs["carries"], node.attrs["consts"]
    inner = Builder()
    stacks = dict(stacks)
    for i, c in enumerate(step.cts[carries:], carries):
        if c is not None:
            stacks[c] = ct[i]  # type: ignore[assignment]
    results = [n for group in backward.values() for n in group]
    needed = reachable(results, stop=set(stacks))
    outer_consts = dict(zip(step.inputs[carries : carries + consts], node.inputs[carries:], strict=False))
    ct_carries = [c for c in step.cts[:carries] if c is not None]
    fixed = [n for n in outer_consts if n in needed]
    slices = [n for n in stacks if n in needed]
    table = {n: inner.input(n.type, f"in{i}") for i, n in enumerate(ct_carries)}
    totals = [inner.input(n.type, f"sum{i}") for i, n in enumerate(backward["sums"])]
    table |= {n: inner.input(n.type, f"const{i}") for i, n in enumerate(fixed)}
    table |= {n: inner.input(n.type, f"x{i}") for i, n in enumerate(slices)}
    inputs = [*(table[n] for n in ct_carries), *totals, *(table[n] for n in fixed + slices)]
    inner.copy_into(sorted(reachable(results, stop=set(table)) - set(table), key=lambda n: n.id), table)
    sums = [inner.add(t, table[n]) for t, n in zip(totals, backward["sums"], strict=True)]
    ys = [table[n] for n in backward["xs"] + backward["factors"]]
    body = Graph(inputs, [*(table[n] for n in backward["carries"]), *sums, *ys], f"{node.attrs['body'].name}.backward")
    init = [
        ct[i] if ct[i] is not None else b.full_like(o, 0)
        for i, o in enumerate(step.outputs[:carries])
        if step.cts[i] is not None
    ]
    init += [b.full_like(n, 0) for n in backward["sums"]]
    scan = b.scan(
        *init,  # type: ignore[arg-type]
        *(outer_consts[n] for n in fixed),
        *(stacks[n] for n in slices),
        body=body,
        carries=len(init),
        consts=len(fixed),
        length=node.attrs["length"],
        reverse=not node.attrs["reverse"],
    )
    return _collect(b, node, step, plans, backward, stacks, scan)


def _collect(
    b: Builder,
    node: Node,
    step: _Step,
    plans: dict[Node, Finish | None],
    backward: dict[str, list[Node]],
    stacks: dict[Node, Node],
    scan: Node,
) -> list[Node | None]:
    """One cotangent per input of the original scan."""
    carries, consts = node.attrs["carries"], node.attrs["consts"]
    items = (b.item(scan, i) for i in range(len(scan.type)))
    by_carry = {n: next(items) for n in step.inputs[:carries] if is_inexact(n.dtype)}
    sums = {c: next(items) for c, plan in plans.items() if plan is None}
    by_x = {n: next(items) for n in step.inputs[carries + consts :] if n in step.grads}
    stacks = {**{step.grads[n]: y for n, y in by_x.items()}, **stacks}
    stacks |= {f: next(items) for f in backward["factors"]}
    found: list[Node | None] = []
    for n in step.inputs:
        plan = plans.get(n)
        if plan is not None:
            found.append(plan(b, stacks.__getitem__))
        else:
            found.append(by_carry.get(n) or sums.get(n) or by_x.get(n))
    return found
