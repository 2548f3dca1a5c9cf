"""Products on tensor cores (mma.sync, sm_80 and later): bfloat16 and float16, and float32 rounded to tf32 if allowed.

A block computes a tile of C. Asynchronous copies bring the next steps' pieces of A and B into a ring of slots in shared
memory, in the order in which they stand in global memory, while warps work on the present one: ldmatrix turns what has
to be turned. Sums stay in registers (float32), pass through shared memory once, and leave in whole vectors through the
epilogue. What stands outside of the matrices is filled with zeros by the copies. Operands whose rows are no multiple of
8 bytes are brought element by element.

Fragments as in the PTX manual, "Matrix Fragments for mma.m16n8k16" and "mma.m16n8k8".
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from graphkeras.codegen import flags
from graphkeras.codegen.cuda.language import HALF, SIZES
from graphkeras.codegen.cuda.product import BUSY, Matrix, Problem, ProductWriter
from graphkeras.codegen.fuse import Group
from graphkeras.codegen.kernel import Kernel, View

LEAST = 16  # rows, columns and depth that are worth a tile
SPARE = 8  # results between rows in shared memory


@dataclass(frozen=True)
class Numbers:
    """What a tensor core multiplies. name: of its instruction; depth: of one; step: depth of a slot.

    beside: elements between rows of `step` that spread the banks; between rows along a free axis it is always 8.
    """

    name: str
    depth: int
    step: int
    beside: int


KINDS = {
    "bfloat16": Numbers("bfloat16", 16, 32, 8),
    "float16": Numbers("float16", 16, 32, 8),
    "tf32": Numbers("tf32", 8, 16, 4),
}


def numbers_of(p: Problem) -> Numbers | None:
    """How tensor cores take these operands, or None where they do not, or where it would not pay."""
    dtype = p.a.view.dtype
    if min(p.m, p.n, p.k) < LEAST or p.b.view.dtype != dtype:
        return None
    if dtype in HALF:
        return KINDS[dtype]
    return KINDS["tf32"] if dtype == "float32" and flags.TF32.value else None


@dataclass(frozen=True)
class TensorTile:
    """rows x columns of a block, down x across warps."""

    rows: int
    columns: int
    down: int
    across: int
    slots: int

    @property
    def threads(self) -> int:
        return 32 * self.down * self.across

    @property
    def high(self) -> int:
        """16-row tiles of a warp."""
        return self.rows // self.down // 16

    @property
    def wide(self) -> int:
        """8-column tiles of a warp."""
        return self.columns // self.across // 8

    def blocks(self, p: Problem) -> int:
        return -(-p.m // self.rows) * -(-p.n // self.columns) * p.batches


TILES = (TensorTile(128, 128, 2, 4, 4), TensorTile(64, 64, 2, 2, 4))


def tensor_tile_for(p: Problem) -> TensorTile:
    """The large tile where it gives enough blocks."""
    return next((t for t in TILES if t.blocks(p) >= BUSY), TILES[-1])


class TensorKernel(ProductWriter):
    """One kernel being written."""

    def __init__(self, p: Problem, tile: TensorTile, group: Group, numbers: Numbers, parts: int = 1) -> None:
        super().__init__(p, tile, group, parts, f" on tensor cores, {numbers.name}")
        self.tile, self.numbers = tile, numbers
        self.depth = numbers.step
        self.element_size = SIZES[self.lead]
        if tile.threads == 256:
            self.source.constants["BLOCKS"] = 2  # per multiprocessor: at most 128 registers

    # -- the two forms -----------------------------------------------------------------------------
    def whole(self) -> Kernel:
        """Finished results, through the epilogue."""
        self._arguments()
        body, element = self.epilogue()
        width = self.width(body, 8)
        self._walk()
        self._share()
        with self._results(width):
            load = f"shared_load{width if width > 1 else ''}_float32(sc, from_c)"
            self.w.line(f"sum = {load}")
            self.emit(body, element, [f"sum[{q}]" for q in range(width)] if width > 1 else ["sum"])
        return self._kernel("tensor_product", body.traffic)

    def partial(self, target: View) -> Kernel:
        """Sums over a part of k."""
        self._arguments()
        place = self.source.destination(target)
        self._walk()
        self._share()
        width = 4 if self.p.n % 4 == 0 else 1
        n = str(width) if width > 1 else ""
        with self._results(width):
            at = f"part * {self.batches} * {self.m} * {self.n} + {self._index(0, 1)[0]}"
            self.w.line(f"store{n}_float32({place}, {at}, shared_load{n}_float32(sc, from_c))")
        return self._kernel("partial_tensor_product", 0.0)

    # -- the walk along k --------------------------------------------------------------------------
    def _row(self, operand: Matrix, extent: int) -> int:
        """Elements from one row of a slot to the next."""
        return self.depth + self.numbers.beside if operand.along_depth else extent + 8

    def _walk(self) -> None:
        w, tile, p = self.w, self.tile, self.p
        sides = (("a", p.a, tile.rows), ("b", p.b, tile.columns))
        sizes = {}
        for name, operand, extent in sides:
            rows = extent if operand.along_depth else self.depth
            sizes[name] = rows * self._row(operand, extent) * self.element_size
        slot = sum(sizes.values())
        base = self.source.scratch(max(tile.slots * slot, tile.rows * (tile.columns + SPARE) * 4))
        w.line(f"sc = shared_memory() + {base}")
        for name, _, _ in sides:
            w.line(f"at_{name} = {self.pointers[name]} + batch * {self.places[name].batch} * {self.element_size}")
        self._lanes()
        count = tile.high * tile.wide * 4
        w.line(f"total = local_array({count}, float32)")
        with w.block(f"for z in range({count})"):
            w.line("total[z] = float32(0.0)")
        ahead = (tile.slots - 1) * self.depth
        w.line("fill = sc")
        w.line("work = sc")
        end = f"sc + {tile.slots * slot}"
        with w.block(f"for step in range(first - {ahead}, last, {self.depth})"):
            with w.block(
                "if step >= first"
            ):  # the oldest copies have landed, and everyone is done with the slot to fill
                w.line(f"async_wait{tile.slots - 2}()")
                w.line("sync_threads()")
            with w.block(f"if step + {ahead} < last"):
                self._copy("a", p.a, tile.rows, 0, "row0", self.m, p.m)
                self._copy("b", p.b, tile.columns, sizes["a"], "column0", self.n, p.n)
                w.line(f"fill = select(fill + {slot} == {end}, sc, fill + {slot})")
            w.line("async_commit()")
            with w.block("if step >= first"):
                w.line(f"sa = work + start_a * {self.element_size}")
                w.line(f"sb = work + {sizes['a']} + start_b * {self.element_size}")
                with w.block(f"for d in range(0, {self.depth}, {self.numbers.depth})"):
                    self._multiply()
                w.line(f"work = select(work + {slot} == {end}, sc, work + {slot})")
        w.line("async_wait0()")
        w.line("sync_threads()")

    def _copy(self, name: str, operand: Matrix, extent: int, offset: int, start: str, bound: str, free: int) -> None:
        """This thread's share of a step's piece, into the slot `fill`."""
        w, size = self.w, self.element_size
        width = operand.width(free, self.p.k, 16 // size)
        fast = (self.depth if operand.along_depth else extent) // width
        quick, slow = ("v", "u") if operand.along_depth else ("u", "v")
        with w.block(f"for q in range({extent * self.depth // (width * self.tile.threads)})"):
            w.line(f"item = thread_index() + q * {self.tile.threads}")
            w.line(f"{slow} = item >> {fast.bit_length() - 1}")
            w.line(f"{quick} = (item & {fast - 1}) * {width}")
            w.line(f"f = {start} + u")
            w.line(f"d = step + {(self.tile.slots - 1) * self.depth} + v")
            w.line(f"inside = (f < {bound}) & (d < last)")
            place = self.places[name]
            where = place.at(w)
            if place.guarded:
                w.line("inside = inside & ok")
            w.line(f"to = fill + {offset} + ({slow} * {self._row(operand, extent)} + {quick}) * {size}")
            w.line(f"at = select(inside, {where}, 0)")
            if width * size >= 4:
                nbytes = width * size
                copy = "copy_async_part" if nbytes == 16 else f"copy_async{nbytes}_part"
                w.line(f"{copy}(to, at_{name} + at * {size}, int32(select(inside, {nbytes}, 0)))")
                return
            w.line("value = float32(0.0)")
            with w.block("if inside"):
                w.line(f"value = fetch_{self.lead}(at_{name}, at)")
            w.line(f"shared_store_{self.lead}(to, 0, value)")

    # -- fragments ---------------------------------------------------------------------------------
    def _lanes(self) -> None:
        """start_a, start_b: the element of a slot that this thread's fragments start with."""
        w, tile, p = self.w, self.tile, self.p
        w.line("lane = thread_index() & 31")
        w.line("warp = thread_index() >> 5")
        w.line(f"down = warp // {tile.across}")
        w.line(f"own_row = down * {16 * tile.high}")
        w.line(f"own_column = (warp - down * {tile.across}) * {8 * tile.wide}")
        if self.numbers.name == "tf32":
            free, deep = {"a": "(lane >> 2)", "b": "(lane >> 2)"}, {"a": "(lane & 3)", "b": "(lane & 3)"}
        else:  # lanes 8j ... 8j + 7 say where the rows of matrix j are; the second matrix of A has the next rows
            second, third = "(((lane >> 3) & 1) << 3)", "((lane >> 4) << 3)"
            free, deep = {}, {}
            for name, operand, one, two in (("a", p.a, second, third), ("b", p.b, third, second)):
                eight = "(lane & 7)"
                free[name] = f"({eight} + {one})" if operand.along_depth else one
                deep[name] = two if operand.along_depth else f"({eight} + {two})"
        for name, operand, extent, own in (
            ("a", p.a, tile.rows, "own_row"),
            ("b", p.b, tile.columns, "own_column"),
        ):
            row = self._row(operand, extent)
            f, d = f"({own} + {free[name]})", deep[name]
            w.line(f"start_{name} = {f} * {row} + {d}" if operand.along_depth else f"start_{name} = {d} * {row} + {f}")

    def _place(self, name: str, free: str, depth: str) -> str:
        """Elements from the start of a fragment to (free, depth)."""
        operand, extent = (self.p.a, self.tile.rows) if name == "a" else (self.p.b, self.tile.columns)
        row = self._row(operand, extent)
        return f"({free}) * {row} + {depth}" if operand.along_depth else f"({depth}) * {row} + {free}"

    def _multiply(self) -> None:
        """All products of one instruction's depth."""
        w, tile = self.w, self.tile
        w.line(f"own_b = local_array({2 * tile.wide}, uint32)")
        if self.numbers.name == "tf32":
            with w.block(f"for j in range({tile.wide})"):
                for half in range(2):
                    at = self._place("b", "8 * j", f"d + {4 * half}")
                    w.line(f"own_b[2 * j + {half}] = round_tf32(shared_load_float32(sb, {at}))")
        else:
            with w.block(f"for j in range({tile.wide // 2})"):
                w.line(f"pair = {self._matrix('b')}(sb + ({self._place('b', '16 * j', 'd')}) * 2)")
                for r in range(4):
                    w.line(f"own_b[4 * j + {r}] = pair[{r}]")
        with w.block(f"for i in range({tile.high})"):
            if self.numbers.name == "tf32":
                corners = [self._place("a", f"16 * i + {r}", f"d + {c}") for c in (0, 4) for r in (0, 8)]
                loads = ", ".join(f"round_tf32(shared_load_float32(sa, {at}))" for at in corners)
                w.line(f"own_a = ({loads})")
            else:
                w.line(f"own_a = {self._matrix('a')}(sa + ({self._place('a', '16 * i', 'd')}) * 2)")
            with w.block(f"for j in range({tile.wide})"):
                w.line(f"z = (i * {tile.wide} + j) * 4")
                old = "(total[z], total[z + 1], total[z + 2], total[z + 3])"
                w.line(f"new = mma_{self.numbers.name}({old}, own_a, own_b[2 * j], own_b[2 * j + 1])")
                for r in range(4):
                    w.line(f"total[z + {r}] = new[{r}]")

    def _matrix(self, name: str) -> str:
        return "matrix4" if (self.p.a if name == "a" else self.p.b).along_depth else "matrix4_transposed"

    # -- results -----------------------------------------------------------------------------------
    def _share(self) -> None:
        """Sums to shared memory, where slots were."""
        w, tile = self.w, self.tile
        row = tile.columns + SPARE
        with w.block(f"for i in range({tile.high})"), w.block(f"for j in range({tile.wide})"):
            w.line(f"z = (i * {tile.wide} + j) * 4")
            w.line(f"to = (own_row + 16 * i + (lane >> 2)) * {row} + own_column + 8 * j + (lane & 3) * 2")
            w.line("shared_store2_float32(sc, to, (total[z], total[z + 1]))")
            w.line(f"shared_store2_float32(sc, to + {8 * row}, (total[z + 2], total[z + 3]))")
        w.line("sync_threads()")

    @contextmanager
    def _results(self, width: int) -> Iterator[None]:
        """The loop over a thread's results: `row`, `column` of `width` neighbours, `from_c` their place in `sc`."""
        w, tile = self.w, self.tile
        across = tile.columns // width
        with w.block(f"for q in range({tile.rows * across // tile.threads})"):
            w.line(f"item = thread_index() + q * {tile.threads}")
            w.line(f"r = item >> {across.bit_length() - 1}")
            w.line(f"c = (item & {across - 1}) * {width}")
            w.line("row = row0 + r")
            w.line("column = column0 + c")
            w.line(f"from_c = r * {tile.columns + SPARE} + c")
            with w.block(f"if (row < {self.m}) & (column < {self.n})"):
                yield
