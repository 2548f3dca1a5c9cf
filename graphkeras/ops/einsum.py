"""Index notation: `einsum` products and `rearrange` patterns."""

from __future__ import annotations

import builtins
import itertools
import math
import re
from typing import Any

from graphkeras.core.operation import keras_op
from graphkeras.ops.base import Tensor, apply, cast_to, dot_general, permute, promote, reduce, reshape_to, to_tensor


# -- einsum ------------------------------------------------------------------------------------------
@keras_op
def einsum(subscripts: str, *operands: Any, **kwargs: Any) -> Any:
    """Sum of products in Einstein's notation, "ij,jk->ik"; "..." stands for axes to broadcast.

    >>> from graphkeras import ops
    >>> ops.einsum("ij,jk->ik", ops.ones((2, 3)), ops.ones((3, 4))).shape
    (2, 4)
    """
    if not isinstance(subscripts, str):
        raise ValueError(f"einsum: argument `subscripts` must be a string; received {subscripts!r}")
    tensors = [to_tensor(x) for x in operands]
    if builtins.all(t.dtype == "int8" for t in tensors):
        dtype, tensors = "int32", [cast_to(t, "int32") for t in tensors]
    else:
        tensors = promote(*tensors)
        dtype = tensors[0].dtype
        tensors = [cast_to(t, "int32") for t in tensors] if dtype == "bool" else tensors
    terms, output = _labels(subscripts, tensors)
    sizes: dict[str, int] = {}
    for term, t in zip(terms, tensors, strict=True):
        for label, n in zip(term, t.shape, strict=True):
            if n != 1 and sizes.get(label, 1) not in (1, n):
                raise ValueError(f"einsum: index {label!r} of {subscripts!r} has sizes {sizes[label]} and {n}")
            sizes[label] = builtins.max(n, sizes.get(label, 1)) if n else 0
    work = [_single(term, t, sizes) for term, t in zip(terms, tensors, strict=True)]
    while len(work) > 1:
        i, j = _cheapest(work, sizes)
        b, a = work.pop(j), work.pop(i)
        needed = set(output).union(*(term for term, _ in work)) if work else set(output)
        work.append(_pair(a, b, needed))
    return cast_to(_final(*work[0], output, sizes), dtype)


def _labels(subscripts: str, tensors: list[Tensor]) -> tuple[list[str], str]:
    """One character per axis of every operand and of the result; "..." gets characters of its own."""
    text = subscripts.replace(" ", "")
    left, arrow, right = text.partition("->")
    terms = left.split(",")
    if len(terms) != len(tensors):
        raise ValueError(f"einsum: {subscripts!r} has {len(terms)} terms; received {len(tensors)} operands")
    free = (chr(c) for c in itertools.count(0x100))
    named = [len(term.replace("...", "")) for term in terms]
    spare = [len(t.shape) - n for t, n in zip(tensors, named, strict=True)]
    for term, n, t in zip(terms, spare, tensors, strict=True):
        if n < 0 or (n and "..." not in term):
            raise ValueError(f"einsum: term {term!r} of {subscripts!r} does not fit an operand of shape {t.shape}")
    width = builtins.max([n for n, term in zip(spare, terms, strict=True) if "..." in term], default=0)
    dots = "".join(next(free) for _ in range(width))
    full = [t.replace("...", dots[width - n :]) for t, n in zip(terms, spare, strict=True)]
    if arrow:
        output = right.replace("...", dots)
    else:
        names = "".join(t.replace("...", "") for t in terms)
        output = dots + "".join(sorted(c for c in set(names) if names.count(c) == 1))
    unknown = set(output) - set("".join(full))
    if unknown or len(set(output)) != len(output):
        raise ValueError(f"einsum: the result of {subscripts!r} must name indices of the operands, each once")
    return full, output


Term = tuple[str, Tensor]


def _single(term: str, t: Tensor, sizes: dict[str, int]) -> Term:
    """Repeated indices become diagonals; axes of 1 that broadcast against others go."""
    from graphkeras.ops.diagonals import diagonal

    while len(set(term)) != len(term):
        label = next(c for c in term if term.count(c) > 1)
        i = term.index(label)
        j = term.index(label, i + 1)
        t = diagonal(t, 0, i, j)
        term = term[:i] + term[i + 1 : j] + term[j + 1 :] + label
    keep = [i for i, c in enumerate(term) if not (t.shape[i] == 1 and sizes[c] != 1)]
    return "".join(term[i] for i in keep), reshape_to(t, [t.shape[i] for i in keep])


def _cheapest(work: list[Term], sizes: dict[str, int]) -> tuple[int, int]:
    """The pair whose product touches the fewest elements."""
    pairs = itertools.combinations(range(len(work)), 2)
    return builtins.min(pairs, key=lambda p: math.prod(sizes[c] for c in set(work[p[0]][0]) | set(work[p[1]][0])))


def _pair(a: Term, b: Term, needed: set[str]) -> Term:
    a, b = _summed(a, needed | set(b[0])), _summed(b, needed | set(a[0]))
    both = [c for c in a[0] if c in b[0]]
    batch, contract = [c for c in both if c in needed], [c for c in both if c not in needed]
    free_a, free_b = [c for c in a[0] if c not in both], [c for c in b[0] if c not in both]
    product = dot_general(
        a[1],
        b[1],
        ([a[0].index(c) for c in contract], [b[0].index(c) for c in contract]),
        ([a[0].index(c) for c in batch], [b[0].index(c) for c in batch]),
    )
    return "".join(batch + free_a + free_b), product


def _summed(term: Term, keep: set[str]) -> Term:
    axes = tuple(i for i, c in enumerate(term[0]) if c not in keep)
    if not axes:
        return term
    return "".join(c for c in term[0] if c in keep), reduce("reduce_sum", term[1], axes)


def _final(term: str, t: Tensor, output: str, sizes: dict[str, int]) -> Tensor:
    term, t = _summed((term, t), set(output))
    missing = [c for c in output if c not in term]
    t = reshape_to(t, (*t.shape, *(1 for _ in missing)))
    term += "".join(missing)
    t = permute(t, [term.index(c) for c in output])
    shape = tuple(sizes[c] for c in output)
    return t if t.shape == shape else apply("broadcast_to", t, shape=shape)


# -- rearrange ---------------------------------------------------------------------------------------
@keras_op
def rearrange(tensor: Any, pattern: str, **axes_lengths: int) -> Any:
    """Reshape and transpose by names: "b (h h2) w c -> b h w (h2 c)" with h2=2 (einops notation).

    >>> from graphkeras import ops
    >>> ops.rearrange(ops.ones((2, 6)), "a (b c) -> (a b) c", c=3).shape
    (4, 3)
    """
    x = to_tensor(tensor)
    left, arrow, right = pattern.partition("->")
    if not arrow or "->" in right:
        raise ValueError(f"rearrange: argument `pattern` must have the form 'a b -> b a'; received {pattern!r}")
    before, after = _groups(left, pattern), _groups(right, pattern)
    spare = len(x.shape) - builtins.sum(1 for g in before if g != ["..."])
    if (["..."] in before and spare < 0) or (["..."] not in before and spare != 0):
        raise ValueError(f"rearrange: pattern {pattern!r} does not fit a tensor of shape {x.shape}")
    dots = [f"...{i}" for i in range(spare)]
    before = [g for group in before for g in ([[d] for d in dots] if group == ["..."] else [group])]
    after = [g for group in after for g in ([[d] for d in dots] if group == ["..."] else [group])]
    after = [[n for name in g for n in (dots if name == "..." else [name])] for g in after]
    sizes = _axis_sizes(before, x.shape, axes_lengths, pattern)
    names = [n for g in before for n in g]
    wanted = [n for g in after for n in g]
    if sorted(names) != sorted(wanted) or len(set(names)) != len(names):
        raise ValueError(f"rearrange: both sides of {pattern!r} must name the same axes, each once")
    x = reshape_to(x, [sizes[n] for n in names])
    x = permute(x, [names.index(n) for n in wanted])
    return reshape_to(x, [math.prod(sizes[n] for n in g) for g in after])


def _groups(text: str, pattern: str) -> list[list[str]]:
    """Axes as lists of names: brackets join several; "1" has no name."""
    found: list[list[str]] = []
    for token in re.findall(r"\([^()]*\)|[^\s()]+|[()]", text.replace("…", "...")):
        names = token.strip("()").split()
        if token in "()" and token:
            raise ValueError(f"rearrange: unbalanced brackets in {pattern!r}")
        bad = [n for n in names if not (n.isidentifier() or n in ("1", "..."))]
        if bad:
            raise ValueError(f"rearrange: {bad[0]!r} in {pattern!r} is no axis name")
        found.append([n for n in names if n != "1"])
    return found


def _axis_sizes(before: list[list[str]], shape: tuple[int, ...], given: dict[str, int], pattern: str) -> dict[str, int]:
    sizes: dict[str, int] = dict(given)
    for group, n in zip(before, shape, strict=True):
        open_ = [name for name in group if name not in sizes]
        known = math.prod(sizes[name] for name in group if name in sizes)
        if len(open_) > 1:
            raise ValueError(f"rearrange: give the sizes of all but one of {open_} in {pattern!r}")
        if (open_ and (known == 0 or n % known)) or (not open_ and known != n):
            raise ValueError(
                f"rearrange: an axis of size {n} (shape {shape}) does not fit ({' '.join(group)}) in {pattern!r}"
            )
        if open_:
            sizes[open_[0]] = n // known
    return sizes
