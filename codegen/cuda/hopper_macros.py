"""Tensor cores of Hopper (wgmma): a warpgroup of 128 threads multiplies tiles that stand in shared memory.

The product of 64 x columns numbers lies with the threads as the PTdef tile_step(
    kind: str, columns: int, depth: int, steps: tuple[int, int], turned: tuple[bool, bool], left: int
) -> Macro: manual says ("Register Fragments for
wgmma.mma_async.m64nNk16", matrix D): warp w has rows 16 w to 16 w + 15, lane l of it rows l / 4 and l / 4 + 8, columns
8 j + 2 (l % 4) and the next; value 4 j + 2 h + q is that of row l / 4 + 8 h, column 8 j + 2 (l % 4) + q.
"""

from __future__ import annotations

from typing import Any

from graphkeras.codegen.cuda import simulator_hopper
from graphkeras.codegen.cuda.language import Intrinsic
from graphkeras.codegen.cuda.macros import Macro, register

ROWS = 64
CHUNK = 32
"""Columns that `tile_share` stores at a time."""

KINDS = {"bfloat16": ("bf16", 16), "float16": ("f16", 16), "tf32": ("tf32", 8)}
"""Name in PTdef tile_step(
    kind: str, columns: int, depth: int, steps: tuple[int, int], turned: tuple[bool, bool], left: int
) -> Macro: and depth of one instruction."""


def values_of(columns: int) -> int:
    """Sums that each thread holds."""
    return ROWS * columns // 128


@register("tile_zero")
def tile_zero(columns: int) -> Macro:
    """tile_zero() -> sums."""
    n = values_of(columns)
    text = " ".join(f"mov.f32 ${k}, 0f00000000;" for k in range(n))
    return Macro(Intrinsic("tile_zero", text, (("float32", n),)), lambda m: simulator_hopper.zeros(m, n))


@register("tile_step")
def tile_step(
    kind: str, columns: int, depth: int, steps: tuple[int, int], turned: tuple[bool, bool], left: int
) -> Macro:
    """tile_step(sums, a, b) -> sums: products along `depth` numbers; returns when `left` of them are still at work.

    a, b: descriptors of the tiles. steps: from one instruction's tile to the next one's, in bytes. turned: whether
    neighbours in memory are neighbours along rows of A, along columns of B.
    """
    n = values_of(columns)
    name, deep = KINDS[kind]
    sums = ", ".join(f"${k}" for k in range(n))
    flags = "" if kind == "tf32" else f", {int(turned[0])}, {int(turned[1])}"
    lines = [f"{{ .reg .pred p; .reg .b64 a, b; setp.ne.b32 p, 1, 0; mov.b64 a, ${2 * n}; mov.b64 b, ${2 * n + 1};"]
    lines.append("wgmma.fence.sync.aligned;")
    for k in range(depth // deep):
        if k:
            lines.append(f"add.s64 a, a, {steps[0] // 16}; add.s64 b, b, {steps[1] // 16};")
        lines.append(
            f"wgmma.mma_async.sync.aligned.m64n{columns}k{deep}.f32.{name}.{name} {{{sums}}}, a, b, p, 1, 1{flags};"
        )
    lines.append(f"wgmma.commit_group.sync.aligned; wgmma.wait_group.sync.aligned {left}; }}")
    ins = (("float32", n), "int64", "int64")
    spec = Intrinsic("tile_step", "\n".join(lines), (("float32", n),), ins, effects=True, convergent=True, tied=n)

    def twin(m: Any, sums: Any, a: Any, b: Any) -> Any:
        return simulator_hopper.tile_step(m, sums, a, b, kind, columns, depth, deep, steps, turned, left)

    return Macro(spec, twin)


@register("tile_end")
def tile_end(columns: int) -> Macro:
    """tile_end(sums) -> sums: returns when all products are done."""
    n = values_of(columns)
    text, ins = "wgmma.wait_group.sync.aligned 0;", (("float32", n),)
    spec = Intrinsic("tile_end", text, ins, ins, effects=True, convergent=True, tied=n)
    return Macro(spec, simulator_hopper.tile_end)


@register("tile_share")
def tile_share(columns: int, row: int) -> Macro:
    """tile_share(sums, chunk, s): columns 32 chunk ... 32 chunk + 31 to shared memory, float32 in rows of `row` bytes.

    s: where this thread's first value goes. The sums stay in registers, so the chunk is looked for by branches.
    """
    n = values_of(columns)
    lines = ["{ .reg .pred p;"]
    for chunk in range(columns // CHUNK):
        lines.append(f"setp.ne.s64 p, ${n}, {chunk}; @p bra SKIP{chunk};")
        for j in range(CHUNK // 8):
            first = 4 * (chunk * CHUNK // 8 + j)
            for half in range(2):
                place = f"[${n + 1} + {half * 8 * row + j * 32}]"
                lines.append(f"st.shared.v2.f32 {place}, {{${first + 2 * half}, ${first + 2 * half + 1}}};")
        lines.append(f"SKIP{chunk}:")
    spec = Intrinsic("tile_share", "\n".join(lines) + " }", (), (("float32", n), "int64", "shared"), effects=True)

    def twin(m: Any, sums: Any, chunk: Any, s: Any) -> None:
        simulator_hopper.tile_share(m, sums, chunk, s, row, CHUNK)

    return Macro(spec, twin)
