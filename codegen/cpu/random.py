"""random_bits: element i is a function of the key and of i, so items need nothing of each other."""

from __future__ import annotations

import math

from graphkeras.codegen.cpu.handler import CpuHandler, Val
from graphkeras.codegen.cpu.params import Params, small_kernel
from graphkeras.codegen.fuse import Group
from graphkeras.codegen.lower import Lowering, lowers
from graphkeras.codegen.writer import Writer
from graphkeras.ir.op import get_op


@lowers("random_bits")
def lower_random_bits(ctx: Lowering, group: Group) -> None:
    node = group.anchor
    params = Params()
    params.source("key", ctx.contiguous(node.inputs[0]))
    params.target("y", ctx.output(node))
    w = Writer()
    w.line("k0 = key[0]")
    w.line("k1 = key[1]")
    with w.block("for i in range(lo, hi)"):
        w.line("low = uint32(i)")
        w.line("high = uint32(i >> 32)")
        names = [Val(name, "uint32") for name in ("k0", "k1", "low", "high")]
        bits = get_op("random_bits").lower(CpuHandler(w), *names)
        w.line(f"y[i] = {bits}")
    size = math.prod(node.shape)
    lines = w.text().splitlines()
    head = "Uniform random 32-bit words from a key and each element's index (Threefry-2x32, 20 rounds)."
    ctx.launch(small_kernel("random_bits", head, params, lines, size, 8192, node, 4.0 * size))
