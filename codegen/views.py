"""Arithmetic on strided views: what the VIEW ops do without moving data, and which loops can be merged."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

from graphkeras.codegen.kernel import View
from graphkeras.ir.node import Node


def broadcast_strides(shape: Sequence[int], strides: Sequence[int], to: Sequence[int]) -> tuple[int, ...]:
    """Strides of an array of `shape` seen as `to` (NumPy alignment from the right)."""
    lead = len(to) - len(shape)
    found = [0] * lead
    for n, s, m in zip(shape, strides, to[lead:], strict=True):
        if n != m and n != 1:
            raise ValueError(f"cannot broadcast shape {tuple(shape)} to {tuple(to)}")
        found.append(s if n == m and n != 1 else 0)
    return tuple(found)


def broadcast(view: View, shape: tuple[int, ...]) -> View:
    if view.shape == shape:
        return view
    return replace(view, shape=shape, strides=broadcast_strides(view.shape, view.strides, shape))


def reshape_strides(shape: Sequence[int], strides: Sequence[int], new: Sequence[int]) -> tuple[int, ...] | None:
    """Strides of the reshaped array, or None where the data would have to move."""
    old = [(n, s) for n, s in zip(shape, strides, strict=True) if n != 1]
    found: list[int] = []
    target = [n for n in new if n != 1]
    i = j = 0
    while i < len(old) and j < len(target):
        n, m, i2, j2 = old[i][0], target[j], i + 1, j + 1
        while n != m:
            if n < m:
                if i2 == len(old):
                    return None
                n *= old[i2][0]
                i2 += 1
            else:
                if j2 == len(target):
                    return None
                m *= target[j2]
                j2 += 1
        for k in range(i, i2 - 1):  # the old axes must be one run of memory
            if old[k][1] != old[k + 1][0] * old[k + 1][1]:
                return None
        step = old[i2 - 1][1]
        part = []
        for k in range(j2 - 1, j - 1, -1):
            part.append(step)
            step *= target[k]
        found.extend(reversed(part))
        i, j = i2, j2
    if i != len(old) or j != len(target):
        return None
    rest = iter(found)
    return tuple(0 if n == 1 else next(rest) for n in new)


def apply_view(node: Node, view: View) -> View | None:
    """The view that a VIEW op gives on its input's view; None where it needs a copy."""
    if node.op == "reshape":
        if 0 in view.shape:
            return replace(view, shape=node.shape, strides=(0,) * len(node.shape))
        strides = reshape_strides(view.shape, view.strides, node.shape)
        return None if strides is None else replace(view, shape=node.shape, strides=strides)
    if node.op == "transpose":
        perm = node.attrs["perm"]
        return replace(view, shape=node.shape, strides=tuple(view.strides[p] for p in perm))
    if node.op == "broadcast_to":
        return broadcast(view, node.shape)
    if node.op == "slice":
        start, step = node.attrs["start"], node.attrs["step"]
        offset = view.offset + sum(a * s for a, s in zip(start, view.strides, strict=True))
        strides = tuple(0 if n == 1 else s * k for n, s, k in zip(node.shape, view.strides, step, strict=True))
        return replace(view, shape=node.shape, strides=strides, offset=offset)
    if node.op == "reverse":
        axes = {a % len(view.shape) for a in node.attrs["axes"]} if view.shape else set()
        offset = view.offset + sum(view.strides[a] * (view.shape[a] - 1) for a in axes if view.shape[a])
        strides = tuple(-s if i in axes else s for i, s in enumerate(view.strides))
        return replace(view, strides=strides, offset=offset)
    if node.op in ("stop_gradient", "barrier"):
        return view
    return None


def collapse(shape: Sequence[int], operands: Sequence[Sequence[int]]) -> list[list[int]]:
    """Groups of adjacent axes which every operand steps through as one run; extents of one are left out."""
    groups: list[list[int]] = []
    for axis, n in enumerate(shape):
        if n == 1:
            continue
        if groups and all(strides[groups[-1][-1]] == strides[axis] * n for strides in operands):
            groups[-1].append(axis)
        else:
            groups.append([axis])
    return groups


def mergeable(shape: Sequence[int], strides: Sequence[int], axes: Sequence[int]) -> int | None:
    """The one stride with which the flattened `axes` are walked, or None where it takes several."""
    kept = [a for a in axes if shape[a] != 1]
    for outer, inner in itertools.pairwise(kept):
        if strides[outer] != strides[inner] * shape[inner]:
            return None
    return strides[kept[-1]] if kept else 0
