"""Reverse mode through a loop whose number of steps is known only when it has run.

The forward loop is emitted again with a tape: `slots` states from which it can be run again. At first every state is
kept. When the tape is full every second state is dropped and from then on only every second one is kept, and so on, so
memory is fixed and the states on the tape stay evenly spaced (docs/adr/0007). The backward loop goes through the tape
from its end, runs each stretch again on a second tape and pulls the cotangents through it. A loop with a known `bound`
that fits keeps every state and has no second tape.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from graphkeras.ir.graph import Builder, Graph
from graphkeras.ir.node import Node
from graphkeras.ir.types import is_inexact, numpy_dtype

TAPE_BYTES = 1 << 24
MIN_SLOTS, MAX_SLOTS = 16, 256

Nodes = Sequence[Node]
Body = Callable[[Builder, Nodes, Nodes], list[Node]]  # (builder, carries, consts) -> results


def while_vjp(b: Builder, ct: Sequence[Node | None], node: Node) -> list[Node | None]:
    loop = _Loop(node)
    if not loop.floats:
        return [None] * len(node.inputs)
    tape = _forward(b, loop)
    ct_carries = [c if (c := ct[i]) is not None else b.full_like(loop.start[i], 0) for i in loop.floats]
    sums = [b.full_like(loop.consts[i], 0) for i in loop.summed]
    pulled = _backward(b, loop, tape, [*ct_carries, *sums])
    found: list[Node | None] = [None] * len(node.inputs)
    for place, grad in zip([*loop.floats, *(len(loop.start) + i for i in loop.summed)], pulled, strict=True):
        found[place] = grad
    return found


class _Loop:
    """The parts of a while node, and which of them have gradients."""

    def __init__(self, node: Node) -> None:
        carries = node.attrs["carries"]
        self.node = node
        self.cond: Graph = node.attrs["cond"]
        self.body: Graph = node.attrs["body"]
        self.start, self.consts = node.inputs[:carries], node.inputs[carries:]
        self.floats = [i for i, n in enumerate(self.start) if is_inexact(n.dtype)]
        scratch = Builder()
        inputs = [scratch.input(n.type, "") for n in node.inputs]
        cts = [scratch.input(self.start[i].type, "") for i in self.floats]
        _, by_const = self._gradients(scratch, inputs, cts)
        self.summed = [i for i, g in enumerate(by_const) if g is not None]  # consts that the next state depends on
        nbytes = sum(math.prod(n.shape) * numpy_dtype(n.dtype).itemsize for n in self.start)
        slots = min(max(TAPE_BYTES // max(nbytes, 1), MIN_SLOTS), MAX_SLOTS) // 2 * 2
        bound = node.attrs.get("bound", 0)
        self.direct = 0 < bound <= slots  # every state fits on the tape
        self.slots = bound if self.direct else slots

    def holds(self, b: Builder, state: Nodes, consts: Nodes) -> Node:
        return b.inline(self.cond, [*state, *consts])[0]

    def step(self, b: Builder, state: Nodes, consts: Nodes) -> list[Node]:
        return b.inline(self.body, [*state, *consts])

    def pull(self, b: Builder, state: Nodes, consts: Nodes, cts: Nodes) -> list[Node]:
        """Cotangents of one step's state, and sums over the consts that have one, from those after it."""
        before, sums = cts[: len(self.floats)], cts[len(self.floats) :]
        by_state, by_const = self._gradients(b, [*state, *consts], before)
        return [*by_state, *(b.add(s, by_const[i]) for s, i in zip(sums, self.summed, strict=True))]  # type: ignore[arg-type]

    def _gradients(self, b: Builder, inputs: Nodes, cts: Nodes) -> tuple[list[Node], list[Node | None]]:
        from graphkeras.ir.autodiff import gradients

        n = len(self.start)
        outputs = b.inline(self.body, inputs)
        given = dict(zip(self.floats, cts, strict=True))
        targets = [x for x in inputs if is_inexact(x.dtype)]
        found = iter(gradients(b, outputs, targets, [given.get(i) for i in range(n)]))
        grads = [next(found) if is_inexact(x.dtype) else None for x in inputs]
        zeros = (b.full_like(inputs[i], 0) for i in self.floats)
        return [grads[i] or z for i, z in zip(self.floats, zeros, strict=True)], grads[n:]


@dataclass
class _Tape:
    """Results of the forward loop: steps done; state i * stride is in slot order[i], for i < filled."""

    steps: Node
    stride: Node
    filled: Node
    order: Node
    states: Nodes

    @property
    def all(self) -> list[Node]:
        return [self.steps, self.stride, self.filled, self.order, *self.states]

    @staticmethod
    def of(nodes: Nodes) -> _Tape:
        steps, stride, filled, order = nodes[:4]
        return _Tape(steps, stride, filled, order, nodes[4:])


# -- pieces ----------------------------------------------------------------------------------------
def _while(
    b: Builder, test: Body, step: Body, carry: Nodes, consts: Nodes, name: str, of: Graph | None = None
) -> Nodes:
    """A while node from functions that emit its graphs. `of`: the body of the loop that it can stand for."""

    def graph(fn: Body, what: str) -> Graph:
        inner = Builder()
        inputs = [inner.input(n.type, f"in{i}") for i, n in enumerate((*carry, *consts))]
        return Graph(inputs, fn(inner, inputs[: len(carry)], inputs[len(carry) :]), f"{name} {what}")

    body = graph(step, "body")
    body.primal = of
    node = b.emit("while", *carry, *consts, cond=graph(test, "condition"), body=body, carries=len(carry))
    return [b.item(node, i) for i in range(len(carry))]


def _int(b: Builder, value: int) -> Node:
    return b.const(value, "int32")


def _stack(b: Builder, like: Nodes, slots: int) -> list[Node]:
    return [b.full((slots, *n.shape), 0, n.dtype) for n in like]


def _put(b: Builder, stacks: Nodes, values: Nodes, at: Node) -> list[Node]:
    zero = _int(b, 0)
    return [
        b.dynamic_update_slice(s, b.reshape(v, shape=(1, *v.shape)), at, *[zero] * len(v.shape))
        for s, v in zip(stacks, values, strict=True)
    ]


def _get(b: Builder, stacks: Nodes, at: Node) -> list[Node]:
    zero = _int(b, 0)
    return [
        b.reshape(b.dynamic_slice(s, at, *[zero] * (len(s.shape) - 1), sizes=(1, *s.shape[1:])), shape=s.shape[1:])
        for s in stacks
    ]


def _several(b: Builder, loop: _Loop, state: Nodes, times: Node, consts: Nodes, checked: bool) -> tuple[Nodes, Node]:
    """Up to `times` steps, while the condition holds if `checked`; returns the state and the number of steps."""
    n = len(state)

    def test(b: Builder, carry: Nodes, fixed: Nodes) -> list[Node]:
        left = b.lt(carry[n], fixed[0])
        return [b.emit("and", loop.holds(b, carry[:n], fixed[1:]), left) if checked else left]

    def step(b: Builder, carry: Nodes, fixed: Nodes) -> list[Node]:
        return [*loop.step(b, carry[:n], fixed[1:]), b.add(carry[n], 1)]

    found = _while(b, test, step, [*state, _int(b, 0)], [times, *consts], loop.node.attrs["body"].name)
    return found[:n], found[n]


# -- the two loops ---------------------------------------------------------------------------------
def _forward(b: Builder, loop: _Loop) -> _Tape:
    """The loop again, with a tape."""
    n, slots = len(loop.start), loop.slots

    def test(b: Builder, carry: Nodes, consts: Nodes) -> list[Node]:
        return [loop.holds(b, carry[:n], consts)]

    def step_direct(b: Builder, carry: Nodes, consts: Nodes) -> list[Node]:
        state, tape = carry[:n], _Tape.of(carry[n:])
        states = _put(b, tape.states, state, tape.steps)
        steps = b.add(tape.steps, 1)
        return [*loop.step(b, state, consts), *_Tape(steps, tape.stride, steps, tape.order, states).all]

    def step(b: Builder, carry: Nodes, consts: Nodes) -> list[Node]:
        state, tape = carry[:n], _Tape.of(carry[n:])
        (slot,) = _get(b, [tape.order], tape.filled)
        states = _put(b, tape.states, state, slot)
        after, done = _several(b, loop, state, tape.stride, consts, checked=True)
        filled = b.add(tape.filled, 1)
        full = b.eq(filled, slots)
        place = b.iota(shape=(slots,), dtype="int32", axis=0)
        evens = b.mul(place, 2)  # every second state stays, the slots of the others are free again
        thinned = b.select(b.lt(evens, slots), evens, b.sub(evens, slots - 1))
        made = _Tape(
            b.add(tape.steps, done),
            b.select(full, b.mul(tape.stride, 2), tape.stride),
            b.select(full, _int(b, slots // 2), filled),
            b.take(tape.order, b.select(full, thinned, place), axis=0, mode="clip"),
            states,
        )
        return [*after, *made.all]

    empty = _Tape(
        _int(b, 0), _int(b, 1), _int(b, 0), b.iota(shape=(slots,), dtype="int32", axis=0), _stack(b, loop.start, slots)
    )
    body = step_direct if loop.direct else step
    name = f"{loop.node.attrs['body'].name} with tape"
    return _Tape.of(_while(b, test, body, [*loop.start, *empty.all], loop.consts, name, loop.body)[n:])


def _backward(b: Builder, loop: _Loop, tape: _Tape, cts: Nodes) -> Nodes:
    """Cotangents pulled through all steps, the last one first."""
    k, name = len(cts), f"{loop.node.attrs['body'].name} backward"
    if loop.direct:
        return _pull_stretch(b, loop, tape.states, tape.steps, cts, loop.consts)
    t = len(tape.all)

    def test(b: Builder, carry: Nodes, fixed: Nodes) -> list[Node]:
        return [b.gt(carry[0], 0)]

    def step(b: Builder, carry: Nodes, fixed: Nodes) -> list[Node]:
        """The stretch that follows the last state of the tape that is left."""
        tape, consts = _Tape.of(fixed[:t]), fixed[t:]
        index = b.sub(carry[0], 1)
        (slot,) = _get(b, [tape.order], index)
        length = b.minimum(tape.stride, b.sub(tape.steps, b.mul(index, tape.stride)))
        state = _get(b, tape.states, slot)
        return [index, *_pull_long(b, loop, state, length, carry[1 : k + 1], carry[k + 1 :], consts)]

    second = _stack(b, loop.start, loop.slots)
    found = _while(b, test, step, [tape.filled, *cts, *second], [*tape.all, *loop.consts], name)
    return found[1 : k + 1]


def _pull_long(
    b: Builder, loop: _Loop, state: Nodes, length: Node, cts: Nodes, second: Nodes, consts: Nodes
) -> list[Node]:
    """Pull through `length` steps from `state`, at most `slots` of them at a time; returns cotangents and tape."""
    k, n = len(cts), len(state)

    def test(b: Builder, carry: Nodes, fixed: Nodes) -> list[Node]:
        return [b.gt(carry[0], 0)]

    def step(b: Builder, carry: Nodes, fixed: Nodes) -> list[Node]:
        end, cts, stacks = carry[0], carry[1 : k + 1], carry[k + 1 :]
        state, consts = fixed[:n], fixed[n:]
        begin = b.maximum(b.sub(end, loop.slots), 0)
        size = b.sub(end, begin)
        first, _ = _several(b, loop, state, begin, consts, checked=False)
        stacks = _record(b, loop, first, size, stacks, consts)
        return [begin, *_pull_stretch(b, loop, stacks, size, cts, consts), *stacks]

    name = f"{loop.node.attrs['body'].name} stretch"
    return list(_while(b, test, step, [length, *cts, *second], [*state, *consts], name)[1:])


def _record(b: Builder, loop: _Loop, state: Nodes, size: Node, stacks: Nodes, consts: Nodes) -> Nodes:
    """Write `size` states to the stacks, beginning with `state`."""
    n = len(state)

    def test(b: Builder, carry: Nodes, fixed: Nodes) -> list[Node]:
        return [b.lt(carry[n], fixed[0])]

    def step(b: Builder, carry: Nodes, fixed: Nodes) -> list[Node]:
        after = loop.step(b, carry[:n], fixed[1:])
        return [*after, b.add(carry[n], 1), *_put(b, carry[n + 1 :], after, carry[n])]

    first = _put(b, stacks, state, _int(b, 0))
    name = f"{loop.node.attrs['body'].name} again"
    return _while(b, test, step, [*state, _int(b, 1), *first], [size, *consts], name)[n + 1 :]


def _pull_stretch(b: Builder, loop: _Loop, stacks: Nodes, size: Node, cts: Nodes, consts: Nodes) -> Nodes:
    """Pull through the steps from the first `size` states on the stacks."""
    s = len(stacks)

    def test(b: Builder, carry: Nodes, fixed: Nodes) -> list[Node]:
        return [b.gt(carry[0], 0)]

    def step(b: Builder, carry: Nodes, fixed: Nodes) -> list[Node]:
        index = b.sub(carry[0], 1)
        return [index, *loop.pull(b, _get(b, fixed[:s], index), fixed[s:], carry[1:])]

    name = f"{loop.node.attrs['body'].name} backward"
    return _while(b, test, step, [size, *cts], [*stacks, *consts], name)[1:]
