"""Kernels that tell a conditional node of a CUDA graph which way to go: once more or on, or which branch.

A graph that is replayed holds loops and branches of the plan as conditional nodes (CUDA 12.4 and later): what they run
are graphs in the graph. A kernel in front of the node sets its condition from a number in memory.
"""

from __future__ import annotations

from graphkeras.codegen.cuda.source import WARP, Source
from graphkeras.codegen.kernel import Kernel, Ptr, View


def flag_kernel(flag: Ptr) -> Kernel:
    """Parameters: the condition's handle, then the address of a bool."""
    return _kernel(flag, "bool", "select(load_bool({at}, 0), 1, 0)")


def index_kernel(index: Ptr, count: int) -> Kernel:
    """Parameters: handle, address of an int32, the number of branches; what is out of range takes the nearest."""
    return _kernel(index, "int32", "minimum(maximum(int64(load_int32({at}, 0)), 0), {last} - 1)", count)


def _kernel(at: Ptr, dtype: str, value: str, count: int | None = None) -> Kernel:
    source = Source(f"which way a graph goes on, from a {dtype}", threads=WARP)
    handle = source.word(0)  # known when the graph is made
    pointer = source.source(View(at.buffer, "uint8", (1,), (1,), at.offset))
    last = source.word(count) if count is not None else ""
    with source.w.block("if thread_index() == 0"):
        source.w.line(f"set_condition({handle}, uint32({value.format(at=pointer, last=last)}))")
    return source.kernel(f"condition_{dtype}", 1)
