"""The CUDA target: what the lowering needs to know of it. Loads nothing heavy."""

from __future__ import annotations

import functools
from dataclasses import replace

from graphkeras.codegen.target import Target

CUDA = Target(
    "cuda",
    "graphkeras.codegen.cuda",
    (
        "product_launch",
        "attention",
        "attention_grad",
        "conv",
        "pool",
        "gather",
        "random",
        "sorting",
        "pointwise",
        "reduce",
    ),
    "graphkeras.codegen.cuda.body:CudaBody",
    "graphkeras.codegen.cuda.program:CudaProgram",
    align=512,
    arch=(8, 0),
)
"""Kernels that every GPU since Ampere runs."""

HOPPER = (9, 0)
"""The one compute capability whose tensor cores take whole tiles from shared memory (wgmma)."""


@functools.cache
def target_for(arch: tuple[int, int]) -> Target:
    """The target of one generation of GPUs: templates look at `ctx.target.arch` when they choose among kernels."""
    return replace(CUDA, arch=arch)
