"""Counter-based random bits: Threefry-2x32 with 20 rounds (Salmon et al., "Parallel random numbers: as easy as 1, 2,
3", SC 2011). A value depends on the key and its own index only, so kernels may compute it anywhere, in any order."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphkeras.ir.op import Kind, Op, Sample, register
from graphkeras.ir.ops.rules import prod, want_shape
from graphkeras.ir.types import TensorType

ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
PARITY = 0x1BD11BDA


def _infer(key: TensorType, *, shape: tuple[int, ...]) -> TensorType:
    if key.shape != (2,) or key.dtype != "uint32":
        raise TypeError(f"random_bits expects a key of type uint32[2]; received {key}")
    return TensorType(want_shape("random_bits", shape), "uint32")


def threefry(k0: Any, k1: Any, x0: np.ndarray, x1: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The block function on uint32 arrays (additions wrap)."""
    k0, k1 = np.uint32(k0), np.uint32(k1)
    keys = (k0, k1, k0 ^ k1 ^ np.uint32(PARITY))
    with np.errstate(over="ignore"):
        x0, x1 = x0 + keys[0], x1 + keys[1]
        for group in range(5):
            for r in ROTATIONS[group % 2]:
                x0 = x0 + x1
                x1 = (x1 << np.uint32(r)) | (x1 >> np.uint32(32 - r))
                x1 = x1 ^ x0
            x0 = x0 + keys[(group + 1) % 3]
            x1 = x1 + keys[(group + 2) % 3] + np.uint32(group + 1)
    return x0, x1


def _reference(key: np.ndarray, *, shape: tuple[int, ...]) -> np.ndarray:
    """Element i is the first word of the block of counter i, exclusive-or the second."""
    index = np.arange(prod(shape), dtype=np.uint64)
    low, high = index.astype(np.uint32), (index >> np.uint64(32)).astype(np.uint32)
    first, second = threefry(key[0], key[1], low, high)
    return (first ^ second).reshape(shape)


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
        Kind.OPAQUE,
        _infer,
        _reference,
        lambda b, ct, node: [None],
        random_bits_body,
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
