"""random_bits: element i is a function of the key and of i alone; the same bits as on the CPU."""

from __future__ import annotations

import math

from graphkeras.codegen.cpu.handler import CpuHandler, Val
from graphkeras.codegen.cuda.source import THREADS, Source
from graphkeras.codegen.fuse import Group
from graphkeras.codegen.lower import Lowering, lowers
from graphkeras.codegen.writer import Writer
from graphkeras.ir.op import get_op

EACH = 4
"""Words that a thread makes, and stores at once."""


@lowers("random_bits", target="cuda")
def lower_random_bits(ctx: Lowering, group: Group) -> None:
    node = group.anchor
    key, y = ctx.contiguous(node.inputs[0]), ctx.output(node)
    size = math.prod(node.shape)
    each = EACH if y.offset % EACH == 0 and y.buffer.align >= 16 else 1
    source = Source("uniform 32-bit words from a key and each element's index (Threefry-2x32)", (node,))
    inside = Writer()
    names = [Val(name, "uint32") for name in ("k0", "k1", "low", "high")]
    bits = get_op("random_bits").lower(CpuHandler(inside), *names)
    f = source.functions
    f.line("@device")
    with f.block("def bits(k0, k1, i)"):
        f.line("low = uint32(i)")
        f.line("high = uint32(i >> 32)")
        for line in inside.text().splitlines():
            f.line(line)
        f.line(f"return {bits}")
    f.line()
    f.line()
    w = source.w
    count, keys, target = source.word(size), source.source(key), source.destination(y)
    w.line(f"k0 = fetch_uint32({keys}, 0)")
    w.line(f"k1 = fetch_uint32({keys}, 1)")
    w.line(f"i = (block_index() * {THREADS} + thread_index()) * {each}")
    if each == 1:
        with w.block(f"if i < {count}"):
            w.line(f"store_uint32({target}, i, bits(k0, k1, i))")
    else:
        with w.block(f"if i + {each} <= {count}"):
            values = ", ".join(f"bits(k0, k1, i + {q})" for q in range(each))
            w.line(f"store{each}_uint32({target}, i, ({values}))")
        with w.block("else"), w.block(f"for k in range(i, {count})"):
            w.line(f"store_uint32({target}, k, bits(k0, k1, k))")
    if size:
        blocks = -(-size // (THREADS * each))
        ctx.launch(source.kernel("random_bits", blocks, flops=80.0 * size, nbytes=4.0 * size))
