"""Counter-based random bits: Threefry-2x32 with 20 rounds (Salmon et al., "Parallel random numbers: as easy as 1, 2,
3", SC 2011). A value depends on the key and its own index only, so kernels may compute it anywhere, in any order."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphkeras.ir.graph import Builder
from graphkeras.ir.node import Node
from graphkeras.ir.op import Kind, Op, Sample, register
from graphkeras.ir.ops.rules import broadcast, prod, want_dtype, want_shape
from graphkeras.ir.types import TensorType

ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
PARITY = 0x1BD11BDA
BLOCK = 32768  # elements that the reference computes at a time: its arrays stay in the cache


def _infer(key: TensorType, *, shape: tuple[int, ...]) -> TensorType:
    if key.shape != (2,) or key.dtype != "uint32":
        raise TypeError(f"random_bits expects a key of type uint32[2]; received {key}")
    return TensorType(want_shape("random_bits", shape), "uint32")


def threefry(k0: Any, k1: Any, x0: np.ndarray, x1: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The block function on uint32 arrays (additions wrap)."""
    k0, k1 = np.asarray(k0, np.uint32), np.asarray(k1, np.uint32)
    shape = np.broadcast_shapes(k0.shape, k1.shape, x0.shape, x1.shape)
    x0, x1 = (np.array(np.broadcast_to(x, shape)) for x in (x0, x1))
    _threefry_in_place(k0, k1, x0, x1, np.empty(shape, np.uint32))
    return x0, x1


def _threefry_in_place(k0: Any, k1: Any, x0: np.ndarray, x1: np.ndarray, spare: np.ndarray) -> None:
    keys = (k0, k1, k0 ^ k1 ^ np.uint32(PARITY))
    with np.errstate(over="ignore"):
        np.add(x0, keys[0], out=x0)
        np.add(x1, keys[1], out=x1)
        for group in range(5):
            for r in ROTATIONS[group % 2]:
                np.add(x0, x1, out=x0)
                np.left_shift(x1, np.uint32(r), out=spare)
                np.right_shift(x1, np.uint32(32 - r), out=x1)
                np.bitwise_or(x1, spare, out=x1)
                np.bitwise_xor(x1, x0, out=x1)
            np.add(x0, keys[(group + 1) % 3], out=x0)
            np.add(x1, keys[(group + 2) % 3] + np.uint32(group + 1), out=x1)


def _reference(key: np.ndarray, *, shape: tuple[int, ...]) -> np.ndarray:
    """Element i is the first word of the block of counter i, exclusive-or the second."""
    size = prod(shape)
    found = np.empty(size, np.uint32)
    second, spare = np.empty((2, min(size, BLOCK)), np.uint32)
    steps = np.arange(min(size, BLOCK), dtype=np.uint32)
    for start in range(0, size, BLOCK):  # BLOCK divides 2**32: the high word is the same for a whole block
        first = found[start : start + BLOCK]
        n = len(first)
        np.add(steps[:n], np.uint32(start % 2**32), out=first)
        second[:n] = start >> 32
        _threefry_in_place(key[0], key[1], first, second[:n], spare[:n])
        np.bitwise_xor(first, second[:n], out=first)
    return found.reshape(shape)


def _decompose(b: Builder, node: Node) -> Node:
    """A pointwise function of the flat index, so that it is computed where it is used."""
    (key,) = node.inputs
    words = [b.reshape(b.slice(key, start=(i,), stop=(i + 1,), step=(1,)), shape=()) for i in (0, 1)]
    size = prod(node.shape)
    if size < 2**32:
        return b.random_word(*words, _index(b, node, "uint32"), b.const(0, "uint32"))
    index = _index(b, node, "uint64")
    high = b.cast(b.shr(index, b.const(32, "uint64")), dtype="uint32")
    return b.random_word(*words, b.cast(index, dtype="uint32"), high)


def _index(b: Builder, node: Node, dtype: str) -> Node:
    return b.reshape(b.iota(shape=(prod(node.shape),), dtype=dtype, axis=0), shape=node.shape)


def _word_infer(*types: TensorType) -> TensorType:
    if len(types) != 4:
        raise TypeError(f"random_word expects two words of a key and two of an index; received {len(types)} inputs")
    shape: tuple[int, ...] = ()
    for t in types:
        want_dtype("random_word", t, ("uint32",))
        shape = broadcast("random_word", TensorType(shape, "uint32"), t)
    return TensorType(shape, "uint32")


def _word_reference(k0: np.ndarray, k1: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    first, second = threefry(k0, k1, low, high)
    return np.asarray(first ^ second)


def random_bits_body(h: Any, k0: Any, k1: Any, index_low: Any, index_high: Any) -> Any:
    """uint32 of one element from the key's words and the two words of its flat index (all uint32)."""

    def number(value: int) -> Any:
        return h.const(value, "uint32")

    keys = (k0, k1, h.xor(h.xor(k0, k1), number(PARITY)))
    x0, x1 = h.add(index_low, k0), h.add(index_high, k1)
    for group in range(5):
        for r in ROTATIONS[group % 2]:
            x0 = h.add(x0, x1)
            x1 = h.xor(h.or_(h.shl(x1, number(r)), h.shr(x1, number(32 - r))), x0)
        x0 = h.add(x0, keys[(group + 1) % 3])
        x1 = h.add(h.add(x1, keys[(group + 2) % 3]), number(group + 1))
    return h.xor(x0, x1)


register(
    Op(
        "random_bits",
        Kind.COMPOSITE,
        _infer,
        _reference,
        lambda b, ct, node: [None],
        random_bits_body,
        _decompose,
        samples=(
            Sample(
                ((2,),),
                {"shape": (3, 5)},
                make=lambda rng: [rng.integers(0, 2**32, 2, dtype=np.uint32)],
                differentiable=False,
            ),
        ),
        doc="Uniform uint32 of `shape` from a key.",
        extra={"dtypes": ("uint32",)},
    )
)
register(
    Op(
        "random_word",
        Kind.POINTWISE,
        _word_infer,
        _word_reference,
        lambda b, ct, node: [None] * 4,
        random_bits_body,
        samples=(
            Sample(
                ((), (), (2, 3), ()),
                dtypes=("uint32",) * 4,
                make=lambda rng: [rng.integers(0, 2**32, s, dtype=np.uint32) for s in ((), (), (2, 3), ())],
                differentiable=False,
            ),
        ),
        doc="The uint32 that a key (two words) gives for an index (low and high word).",
        extra={"dtypes": ("uint32",)},
    )
)
