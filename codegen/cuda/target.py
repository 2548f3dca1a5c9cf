"""The CUDA target: what the lowering needs to know of it. Loads nothing heavy."""

from __future__ import annotations

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
)
