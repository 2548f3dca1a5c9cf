"""Vector registers and cache sizes that templates are shaped by."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from graphkeras.codegen.cpu import target as machine


@dataclass(frozen=True)
class Vectors:
    """Vector bytes, registers, and whether a masked load is one instruction."""

    bytes: int
    registers: int
    masks: bool
    l1: int = 32 * 1024
    l2: int = 1024 * 1024


AVX512 = Vectors(64, 32, True)
AVX2 = Vectors(32, 16, True, l2=512 * 1024)
SSE = Vectors(16, 16, False, l2=512 * 1024)
NEON = Vectors(16, 32, False)
_WIDE = ("x86-64-v4", "skylake-avx512", "cascadelake", "icelake", "sapphirerapids", "znver4", "znver5")
_MIDDLE = ("x86-64-v3", "haswell", "broadwell", "skylake", "znver1", "znver2", "znver3", "alderlake")


def vectors() -> Vectors:
    """The vector unit to generate for: the host's, or that of the CPU named by GRAPHKERAS_CPU."""
    return _vectors(machine.processor())


@cache
def _vectors(wanted: machine.Processor) -> Vectors:
    if wanted.architecture in ("aarch64", "arm"):
        return NEON
    if wanted != machine.host():
        if wanted.name.startswith(_WIDE):
            return AVX512
        return AVX2 if wanted.name.startswith(_MIDDLE) else SSE
    features = machine.binding().get_host_cpu_features()
    if features.get("avx512f") and features.get("avx512vl"):
        return AVX512
    return AVX2 if features.get("avx2") and features.get("fma") else SSE


def vector_width(dtype: str) -> int:
    """Elements of `dtype` (float32 or float64) in one vector register."""
    return vectors().bytes // (8 if dtype == "float64" else 4)


def register_tile(rows: int, columns: int) -> tuple[int, int]:
    """(mr, nv) for `rows` rows and `columns` vectors of columns: fills the registers with little left over.

    Rows are a batch as often as not, so the tile knows two kinds of them, one and many: kernels serve all batch sizes.
    """
    wide = vectors().registers == 32
    mr = 1 if rows == 1 else 8 if wide else 4
    most = (24 if wide else 12) // mr

    def cost(n: int) -> tuple[float, int]:
        """Panels of equal width, the widest that waste no more than a narrower one; an odd panel is one too many."""
        panels = -(-columns // n)
        return panels * n * (1 + 0.25 / n) * (1.03 if panels > 4 and panels % 2 else 1), -n

    return mr, min(range(1, most + 1), key=cost)
