"""What CUDA reductions share: accumulators in registers, and how threads, warps and blocks put theirs together.

Everything is combined in an order that the sizes alone decide, so results have the same bits in every run.
"""

from __future__ import annotations

from collections.abc import Sequence

from graphkeras.codegen.cpu.handler import CpuHandler
from graphkeras.codegen.cpu.nest import Nest
from graphkeras.codegen.cuda.source import WARP, Source
from graphkeras.codegen.writer import Writer
from graphkeras.ir.node import Node
from graphkeras.ir.types import numpy_dtype


class Folds:
    """The reductions of a group: prints `fold<k>` and `merge<k>`, and the statements that use them.

    Accumulators of reduction k are called a<k>_<field> + a suffix that the caller chooses.
    """

    def __init__(self, source: Source, nest: Nest) -> None:
        self.source, self.nest = source, nest
        for k in range(len(nest.group.reduces)):
            self._print(k)

    def _print(self, k: int) -> None:
        w, count = self.source.functions, len(self.nest.fields(k))
        for name, own in ((f"fold{k}", ["x", "position"]), (f"merge{k}", [f"b{f}" for f in range(count)])):
            inside = Writer()
            old = [f"a{f}" for f in range(count)]
            if name.startswith("fold"):
                result = self.nest.accumulate(inside, k, old, "x", "position")
            else:
                result = self.nest.merge(inside, k, old, own)
            w.line("@device")
            with w.block(f"def {name}({', '.join([*old, *own])})"):
                for line in inside.text().splitlines():
                    w.line(line)
                w.line(f"return ({', '.join(result)},)")
            w.line()
            w.line()

    def names(self, k: int, suffix: str = "") -> list[str]:
        return [f"a{k}_{f}{suffix}" for f in range(len(self.nest.fields(k)))]

    def start(self, w: Writer, k: int, suffix: str = "") -> None:
        """Set the accumulators to the identity."""
        for name, (identity, _) in zip(self.names(k, suffix), self.nest.fields(k), strict=True):
            w.line(f"{name} = {identity}")

    def fold(self, w: Writer, k: int, value: str, position: str, suffix: str = "") -> None:
        """One element more."""
        own = self.names(k, suffix)
        self._replace(w, own, f"fold{k}({', '.join([*own, value, position])})")

    def merge(self, w: Writer, k: int, other: Sequence[str], suffix: str = "") -> None:
        """Another accumulator more."""
        own = self.names(k, suffix)
        self._replace(w, own, f"merge{k}({', '.join([*own, *other])})")

    def _replace(self, w: Writer, names: Sequence[str], call: str) -> None:
        result = w.name("m")
        w.line(f"{result} = {call}")
        for f, name in enumerate(names):
            w.line(f"{name} = {result}[{f}]")

    def finish(self, w: Writer, ks: Sequence[int], suffix: str = "") -> dict[Node, str]:
        """Results of reductions from their accumulators."""
        reduces = self.nest.group.reduces
        return {reduces[k]: self.nest.finish(w, k, self.names(k, suffix)) for k in ks}

    # -- across threads ----------------------------------------------------------------------------
    def across_lanes(self, w: Writer, k: int, lanes: int) -> None:
        """Neighbouring `lanes` threads (a power of two up to a warp) put theirs together; all get the same bits."""
        step = lanes // 2
        while step:
            others = []
            for name in self.names(k):
                others.append(w.name("o"))
                w.line(f"{others[-1]} = shuffle_xor({name}, int32({step}))")
            self.merge(w, k, others)
            step //= 2

    def across_block(self, w: Writer, ks: Sequence[int]) -> None:
        """All threads of the block put theirs together, warp by warp, then through shared memory."""
        warps = self.source.threads // WARP
        for k in ks:
            self.across_lanes(w, k, WARP)
        if warps == 1 or not ks:
            return
        places = {k: [self.source.scratch(warps * self.size(k, f)) for f in range(len(self.names(k)))] for k in ks}
        w.line("warp = thread_index() >> 5")
        with w.block("if (thread_index() & 31) == 0"):
            for k in ks:
                for f, name in enumerate(self.names(k)):
                    w.line(f"{self.store(k, f)}(shared_memory() + {places[k][f]}, warp, {name})")
        w.line("sync_threads()")
        for k in ks:
            for f, name in enumerate(self.names(k)):
                w.line(f"{name} = {self.load(k, f)}(shared_memory() + {places[k][f]}, 0)")
            number = w.name("w")
            with w.block(f"for {number} in range(1, {warps})"):
                others = [f"{self.load(k, f)}(shared_memory() + {p}, {number})" for f, p in enumerate(places[k])]
                self.merge(w, k, others)

    # -- fields in memory --------------------------------------------------------------------------
    def dtype(self, k: int, f: int) -> str:
        return self.nest.fields(k)[f][1]

    def size(self, k: int, f: int) -> int:
        dtype = self.dtype(k, f)
        return numpy_dtype("uint8" if dtype == "bool" else dtype).itemsize

    def store(self, k: int, f: int) -> str:
        return f"shared_store_{self.dtype(k, f)}"

    def load(self, k: int, f: int) -> str:
        return f"shared_load_{self.dtype(k, f)}"


def register(dtype: str) -> str:
    return CpuHandler.register_dtype(dtype)
