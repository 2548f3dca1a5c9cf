"""Encodings of categories, and hashes of strings, that the preprocessing layers share."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphkeras import ops

MODES = ("int", "one_hot", "multi_hot", "count")


def encode(indices: Any, mode: str, depth: int, dtype: str, weights: Any = None) -> Any:
    """Indices as they are ("int"), or as vectors of that depth.

    "one_hot" gives every index a vector (a last axis of 1 is dropped first); "multi_hot" and "count" give one vector
    for the last axis: ones, or numbers of occurrences (with `weights`: sums of weights). Indices outside [0, depth)
    count nowhere.
    """
    indices = ops.convert_to_tensor(indices)
    if mode == "int":
        return ops.cast(indices, dtype)
    shape = tuple(indices.shape)
    if mode == "one_hot":
        if len(shape) > 1 and shape[-1] == 1:
            indices = ops.squeeze(indices, -1)
        return _hits(indices, depth, dtype)
    if not shape:
        indices = ops.expand_dims(indices, 0)
    hits = _hits(indices, depth, dtype)
    if mode == "multi_hot":
        return ops.max(hits, axis=-2)
    if weights is not None:
        hits = hits * ops.expand_dims(ops.cast(weights, dtype), -1)
    return ops.sum(hits, axis=-2)


def _hits(indices: Any, depth: int, dtype: str) -> Any:
    places = ops.arange(depth, dtype=str(indices.dtype))
    return ops.cast(ops.equal(ops.expand_dims(indices, -1), places), dtype)


def encoded_shape(shape: Any, mode: str, depth: int | None) -> tuple[int | None, ...]:
    """The shape that `encode` gives for indices of a shape."""
    shape = tuple(shape)
    if mode == "int":
        return shape
    if not shape:
        return (depth,)
    if mode == "one_hot" and not (len(shape) > 1 and shape[-1] == 1):
        return (*shape, depth)
    return (*shape[:-1], depth)


def text_array(data: Any, encoding: str = "utf-8") -> np.ndarray:
    """Strings of any container (also tensors of other libraries, bytes) as an object array of str."""
    if hasattr(data, "numpy"):
        data = data.numpy()
    array = np.asarray(data, dtype=object)
    return (
        np.vectorize(lambda s: s.decode(encoding) if isinstance(s, bytes) else str(s), otypes=[object])(array)
        if (array.size)
        else array
    )


# -- hashes ------------------------------------------------------------------------------------------------
_MASK = (1 << 64) - 1
_K0, _K1, _K2 = 0xC3A5C85C97CB3127, 0xB492B66FBE98F273, 0x9AE16A3B2F90404F


def _rotate(v: int, n: int) -> int:
    return ((v >> n) | (v << (64 - n))) & _MASK


def _mix(u: int, v: int, mul: int) -> int:
    a = ((u ^ v) * mul) & _MASK
    a ^= a >> 47
    b = ((v ^ a) * mul) & _MASK
    b ^= b >> 47
    return (b * mul) & _MASK


def _word(s: bytes, at: int, size: int = 8) -> int:
    return int.from_bytes(s[at : at + size], "little")


def fingerprint64(s: bytes) -> int:
    """The 64-bit FarmHash fingerprint of Google's FarmHash (G. Pike, 2014), which does not change between versions."""
    n = len(s)
    if n <= 16:
        return _short(s, n)
    if n <= 64:
        return _middle(s, n)
    return _long(s, n)


def _short(s: bytes, n: int) -> int:
    mul = (_K2 + 2 * n) & _MASK
    if n >= 8:
        a, b = (_word(s, 0) + _K2) & _MASK, _word(s, n - 8)
        return _mix((_rotate(b, 37) * mul + a) & _MASK, ((_rotate(a, 25) + b) * mul) & _MASK, mul)
    if n >= 4:
        return _mix(n + (_word(s, 0, 4) << 3), _word(s, n - 4, 4), mul)
    if n == 0:
        return _K2
    y, z = s[0] + (s[n >> 1] << 8), n + (s[-1] << 2)
    v = ((y * _K2) & _MASK) ^ ((z * _K0) & _MASK)
    return ((v ^ (v >> 47)) * _K2) & _MASK


def _middle(s: bytes, n: int) -> int:
    mul = (_K2 + 2 * n) & _MASK
    a = _word(s, 0) * (_K1 if n <= 32 else _K2) & _MASK
    b, c, d = _word(s, 8), _word(s, n - 8) * mul & _MASK, _word(s, n - 16) * _K2 & _MASK
    y = (_rotate((a + b) & _MASK, 43) + _rotate(c, 30) + d) & _MASK
    z = _mix(y, (a + _rotate((b + _K2) & _MASK, 18) + c) & _MASK, mul)
    if n <= 32:
        return z
    e, f = _word(s, 16) * mul & _MASK, _word(s, 24)
    g, h = (y + _word(s, n - 32)) * mul & _MASK, (z + _word(s, n - 24)) * mul & _MASK
    return _mix(
        (_rotate((e + f) & _MASK, 43) + _rotate(g, 30) + h) & _MASK, (e + _rotate((f + a) & _MASK, 18) + g) & _MASK, mul
    )


def _weak(s: bytes, at: int, a: int, b: int) -> tuple[int, int]:
    w, x, y, z = (_word(s, at + 8 * i) for i in range(4))
    a = (a + w) & _MASK
    b = _rotate((b + a + z) & _MASK, 21)
    c = a
    a = (a + x + y) & _MASK
    b = (b + _rotate(a, 44)) & _MASK
    return (a + z) & _MASK, (b + c) & _MASK


def _long(s: bytes, n: int) -> int:
    x, y = 81, (81 * _K1 + 113) & _MASK
    z = (y * _K2 + 113) & _MASK
    z = ((z ^ (z >> 47)) * _K2) & _MASK
    v, w = (0, 0), (0, 0)
    x = (x * _K2 + _word(s, 0)) & _MASK
    blocks = (n - 1) // 64
    for at in (64 * i for i in range(blocks)):
        x, y, z, v, w = _round(s, at, x, y, z, v, w, _K1, 1)
    mul = (_K1 + ((z & 0xFF) << 1)) & _MASK
    w = ((w[0] + ((n - 1) & 63)) & _MASK, w[1])
    v = ((v[0] + w[0]) & _MASK, v[1])
    w = ((w[0] + v[0]) & _MASK, w[1])
    x, y, z, v, w = _round(s, n - 64, x, y, z, v, w, mul, 9)
    first = (_mix(v[0], w[0], mul) + ((y ^ (y >> 47)) * _K0) + z) & _MASK
    return _mix(first, (_mix(v[1], w[1], mul) + x) & _MASK, mul)


def _round(s: bytes, at: int, x: int, y: int, z: int, v: Any, w: Any, mul: int, factor: int) -> tuple[Any, ...]:
    """64 bytes of a long string."""
    x = _rotate((x + y + v[0] + _word(s, at + 8)) & _MASK, 37) * mul & _MASK
    y = _rotate((y + v[1] + _word(s, at + 48)) & _MASK, 42) * mul & _MASK
    x ^= w[1] * factor & _MASK
    y = (y + v[0] * factor + _word(s, at + 40)) & _MASK
    z = _rotate((z + w[0]) & _MASK, 33) * mul & _MASK
    v = _weak(s, at, v[1] * mul & _MASK, (x + w[0]) & _MASK)
    w = _weak(s, at + 32, (z + w[1]) & _MASK, (y + _word(s, at + 16)) & _MASK)
    return z, y, x, v, w


def siphash(s: bytes, key: tuple[int, int]) -> int:
    """SipHash-2-4 (Aumasson and Bernstein, 2012) with a key of two 64-bit numbers."""
    k0, k1 = (k & _MASK for k in key)
    v = [k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D, k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573]

    def rounds(count: int) -> None:
        for _ in range(count):
            v[0] = (v[0] + v[1]) & _MASK
            v[2] = (v[2] + v[3]) & _MASK
            v[1], v[3] = _rotate(v[1], 51) ^ v[0], _rotate(v[3], 48) ^ v[2]
            v[0], v[2] = (_rotate(v[0], 32) + v[3]) & _MASK, (v[2] + v[1]) & _MASK
            v[1], v[3] = _rotate(v[1], 47) ^ v[2], _rotate(v[3], 43) ^ v[0]
            v[2] = _rotate(v[2], 32)

    padded = s + bytes(7 - len(s) % 8) + bytes([len(s) & 0xFF])
    for at in range(0, len(padded), 8):
        m = _word(padded, at)
        v[3] ^= m
        rounds(2)
        v[0] ^= m
    v[2] ^= 0xFF
    rounds(4)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


def cross_fingerprints(values: Any) -> int:
    """One number from the fingerprints of several values (the mixing of MurmurHash, A. Appleby)."""
    mul, result = 0xC6A4A7935BD1E995, 0xDECAFCAFFE
    for value in values:
        mixed = (value & _MASK) * mul & _MASK
        result ^= mul ^ ((mixed ^ (mixed >> 47)) * mul & _MASK)
        result = result * mul & _MASK
        result = (result ^ (result >> 47)) * mul & _MASK
        result ^= result >> 47
    return result


def hash_bucket(text: str, buckets: int, salt: Any = None) -> int:
    """A bucket for a string: FarmHash, or SipHash with two ints as salt."""
    data = text.encode("utf-8")
    return (fingerprint64(data) if salt is None else siphash(data, tuple(salt))) % buckets
