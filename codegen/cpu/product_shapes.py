"""How products are cut: register tiles, what is copied first, rows of an item, parts of the depth; and their prices.

Two forms: "broadcast" tiles (one element of A times a row of B's panel) and "dot" tiles (both operands along the
depth). The tile of a form is in its source, so it follows the columns and other features. All else are arguments, and
may follow the batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from graphkeras.codegen.cpu import cost_model
from graphkeras.codegen.cpu.choices import Candidate
from graphkeras.codegen.cpu.cost_model import Tile
from graphkeras.codegen.cpu.params import SERIAL
from graphkeras.codegen.cpu.product import Product
from graphkeras.codegen.cpu.vectors import vector_width, vectors

KBLOCK = 1024
SHORT_BLOCK = 512  # depth of blocks where a row of tiles walks over several panels: A's part stays in the first cache
ROWS_AT_MOST = 512  # of an item that copies its panels
DEPTH = 256  # for which tiles are priced: it may be a batch
UNUSUAL = 1.02  # tiles must be so much better than the usual one
ITEMS = 8  # of a product, where there is work for so many
PART = 512  # of the depth, at least, where it is split into parts that are many
OWN_PART, OWN_BYTES = 128, 2**16  # the least depth and memory of B that a thread keeps to itself

# cycles, fitted as those of cost_model.py
COPIED = 2.5  # to copy a vector of a panel
FAR_RUN = 60.0  # to reach each row of the panels that are copied together, where B does not fit the second-level cache
AWAY, FAR_AWAY = 0.05, 2.0  # to load one from where it is, where B fits the second-level cache, and where it does not
TURNED = 0.3  # to copy an element of a panel across its grain
ADDED = 2.3  # to add the lanes of a sum
LINE = 64  # bytes
ITEM, ROW = 150.0, 3.0  # to begin an item, and for the tables of each of its rows
FEW = 0.1  # more for each halving of ITEMS
HANDED_OVER = 40.0  # for a line that another core wrote: 5 where both share a cache, 70 where they do not
BARRIER = 2000.0  # to wait for the other threads once more


@dataclass(frozen=True)
class Shape:
    """How a product is cut.

    mode, mr, nv: the tile. pack: "always", "never", or "asked": the source can copy B's panel, an argument says whether
    it does (`packed`). masked: B's last panel ends before the tile does. chunk: rows of an item. kblock: length of k
    blocks, 0 where there are none. parts: of the depth, summed separately; 0 where no size of the problem is split.
    group: panels of an item. turned: rows of A are copied, a strip at a time.
    """

    mode: str
    mr: int
    nv: int
    pack: str
    packed: bool
    masked: bool
    chunk: int
    kblock: int
    parts: int = 0
    group: int = 1
    turned: bool = False

    def __str__(self) -> str:
        packed = ",packed" if self.packed else ""
        parts = f",parts={self.parts}" if self.parts > 1 else ""
        group = f",panels={self.group}" if self.group > 1 else ""
        return f"{self.mode},rows={self.chunk}{group}{packed}{parts}"

    def columns(self, dtype: str) -> int:
        """Columns of a panel."""
        return self.nv if self.mode == "dot" else self.nv * vector_width(dtype)


@dataclass(frozen=True)
class Forms:
    """The tiles of the forms that a product takes at this size or another; None: not that form."""

    broadcast: Tile | None
    dot: Tile | None

    def __str__(self) -> str:
        return f"{self.broadcast},{self.dot}"


# -- tiles: the source depends on them --------------------------------------------------------------------
def forms_of(p: Product, features: bool) -> list[tuple[str, str, list[Candidate]]]:
    """(field of Forms, name of the choice, tiles) of each form that the product may take; features as in `form_of`."""
    dot, either = _along_depth(p)
    found = [("dot", "dot tile", _dot_tiles(p))] if dot else []
    return [*found, ("broadcast", "tile", _broadcast_tiles(p, features))] if either or not dot else found


def form_of(p: Product, features: bool) -> str:
    """What the tiles of a product follow. features: the number of rows is one of the model's, not of the data's."""
    rows = "1" if p.m == 1 else f"{p.m}" if _rows_are_features(p, features) else "many"
    ranks = "".join(str(len(axes)) for axes in (p.batch, p.rows, p.depth, p.columns))
    lines = "columns" if p.along_columns else "depth"
    return f"{p.dtype},rows={rows},columns={p.n},axes={ranks},along={lines}"


def _rows_are_features(p: Product, features: bool) -> bool:
    """Where A is contiguous along the depth, its rows are those of the data; else the depth is, as a rule."""
    return features and not (p.depth and p.depth[-1][1] == 1)


def _along_depth(p: Product) -> tuple[bool, bool]:
    """Whether tiles of dot products fit (both operands contiguous along a long depth), and pay for few rows only."""
    if not p.depth or p.depth[-1][1] != 1 or p.depth[-1][2] != 1 or not vectors().masks:
        return False, False
    if p.n == 1:
        return p.depth[-1][0] >= vector_width(p.dtype), False
    fits = p.depth[-1][0] >= 6 * vector_width(p.dtype) and not p.along_columns
    return fits, fits and p.m > 1


def runs_along_depth(p: Product) -> bool:
    """Rows of A are contiguous along the depth, or there is no telling."""
    return len(p.depth) != 1 or p.depth[0][1] == 1


def _broadcast_tiles(p: Product, features: bool) -> list[Candidate]:
    """Tiles for the product's columns; the height that suits most batches stays unless another is clearly better."""
    columns = -(-p.n // vector_width(p.dtype))
    rows = p.m if p.m == 1 or _rows_are_features(p, features) else cost_model.ROWS
    usual = 1 if rows == 1 else 8 if vectors().registers == 32 else 4
    found = []
    for tile in cost_model.tiles():
        if (tile.mr == 1) == (rows == 1):
            cycles = tile.over(rows, columns, DEPTH, tail=True) * (1.0 if tile.mr == usual else UNUSUAL)
            found.append(Candidate(str(tile), cost_model.seconds(cycles), tile))
    return found


def _dot_tiles(p: Product) -> list[Candidate]:
    """Tiles of dot products: rows by columns, which may belong to a batch; few or many of them is all that counts."""
    wide = vectors().registers == 32
    if p.n == 1:
        tiles = [(8, 1)] if p.m > 1 else [(1, 1)]
    elif p.m == 1:
        tiles = [(1, 8), (1, 12), (1, 4)] if p.n >= 8 else [(1, 1)]
    else:
        tiles = [(4, 6), (5, 5), (4, 5), (6, 4), (4, 4)] if wide else [(3, 3), (2, 4), (4, 2)]
    rows = 1 if p.m == 1 else cost_model.ROWS
    found = []
    for mr, nc in tiles:
        cycles = _dot_cycles(rows, p.n, DEPTH, mr, nc, vector_width(p.dtype))
        cycles *= 1.0 if (mr, nc) == tiles[0] else UNUSUAL
        found.append(Candidate(f"{mr}x{nc}", cost_model.seconds(cycles), Tile(mr, nc)))
    return found


def _dot_cycles(rows: int, columns: int, depth: int, mr: int, nc: int, width: int) -> float:
    sums = mr * nc
    waiting = cost_model.LATENCY if sums < cost_model.FMAS * cost_model.LATENCY else 0.0
    unit = vectors().bytes
    left = mr * unit / cost_model.bytes_per_cycle(rows * depth * unit / width)  # all rows stream by
    right = nc * unit / cost_model.bytes_per_cycle(nc * depth * unit / width)  # while these stay
    step = max(sums / cost_model.FMAS, 1.05 * (mr + nc) / cost_model.LOADS, waiting, left, right) + cost_model.STEP
    whole = -(-rows // mr) * -(-columns // nc) * (-(-depth // width) * step + cost_model.BEGIN)
    return whole + ADDED * rows * columns


# -- cuts: arguments of a source --------------------------------------------------------------------------
def cuts(p: Product, forms: Forms) -> list[Candidate]:
    """All ways to cut the product with these tiles, priced."""
    found = dict.fromkeys(_cuts(p, forms))
    return [Candidate(str(s), cost_model.seconds(_cycles(p, s)), s) for s in found]


def _cuts(p: Product, forms: Forms) -> Iterator[Shape]:
    for shape in (_dot(p, forms.dot), _broadcast(p, forms.broadcast)):
        if shape is None:
            continue
        for packed in (False, True) if shape.pack == "asked" and p.m > 1 else (shape.packed,):
            if packed and len(p.depth) > 1 and p.k > 4 * KBLOCK:
                continue
            for parts in dict.fromkeys((shape.parts, 1 if shape.parts else 0)):
                one = _grouped(p, replace(shape, packed=packed, parts=parts))
                yield one
                half = -(-one.chunk // (2 * one.mr)) * one.mr
                if 2 * one.mr <= half < one.chunk and parts < 2:
                    yield replace(one, chunk=half)


def cheapest(p: Product, forms: Forms) -> Shape:
    """The cut that the model puts first."""
    return min(cuts(p, forms), key=lambda c: c.seconds).value


def other_form(p: Product, forms: Forms, shape: Shape) -> Shape | None:
    """The form that the same product takes with many more or fewer rows, or None: it has one form."""
    return _broadcast(p, forms.broadcast) if shape.mode == "dot" else _dot(p, forms.dot)


def _dot(p: Product, tile: Tile | None) -> Shape | None:
    if tile is None:
        return None
    chunk = _rows_per_item(p, tile.mr, -(-p.n // tile.nv))
    return Shape("dot", tile.mr, tile.nv, "never", False, False, chunk, 0)


def _broadcast(p: Product, tile: Tile | None) -> Shape | None:
    if tile is None:
        return None
    width = vector_width(p.dtype)
    panel = width * tile.nv
    uneven = p.n % panel != 0
    pack = "always" if not p.along_columns or (uneven and not vectors().masks) else "asked"
    kblock = (KBLOCK if p.k > KBLOCK * 3 // 2 else max(p.k, 1)) if len(p.depth) <= 1 else 0
    chunk = _rows_per_item(p, tile.mr, -(-p.n // panel))
    masked = pack == "asked" and uneven
    shape = Shape("broadcast", tile.mr, tile.nv, pack, pack == "always", masked, chunk, kblock)
    return replace(shape, parts=_splits(p, shape))


def _grouped(p: Product, s: Shape) -> Shape:
    """The shape with short blocks of the depth and as many panels to an item as fit the second cache, if it copies."""
    if not s.packed or s.mr == 1:
        return s
    width, blocked = vector_width(p.dtype), len(p.depth) <= 1
    itemsize, panels = vectors().bytes // width, -(-p.n // (s.nv * width))
    depth, parts = -(-p.k // max(s.parts, 1)), max(s.parts, 1)
    kblock = max(1, -(-depth // max(1, round(depth / SHORT_BLOCK)))) if blocked else 0
    group = min(panels, max(1, vectors().l2 // 2 // (s.nv * vectors().bytes * max(1, kblock or depth))))
    chunk = _even_share(p.m, ROWS_AT_MOST)
    wanted = ITEMS if p.work > SERIAL else 1
    while parts * p.batches * -(-p.m // chunk) * -(-panels // group) < wanted and (group > 1 or chunk > 64):
        if chunk > 64 * group or group == 1:  # copies of B serve `chunk` rows, those of A `group` panels
            chunk = -(-chunk // 2)
        else:
            group = -(-group // 2)
    group = -(-panels // -(-panels // group))
    far = not runs_along_depth(p) and bool(p.depth) and kblock * abs(p.depth[0][1]) * itemsize > vectors().l2
    return replace(s, chunk=-(-chunk // s.mr) * s.mr, kblock=kblock, group=group, turned=far and group > 1)


def _even_share(rows: int, most: int) -> int:
    """Rows of each of an even number of items, or of one, with `most` rows at most."""
    items = max(1, -(-rows // most))
    return -(-rows // (items + items % 2 if items > 1 else 1))


def _rows_per_item(p: Product, mr: int, panels: int) -> int:
    """Rows of an item: many enough to reuse B's panel, few enough for eight items where there is work for them."""
    most = 128 if p.along_columns else 256  # copying a panel across its grain should serve more rows
    chunk = -(-_even_share(p.m, most) // mr) * mr
    while p.work > SERIAL and chunk > mr:
        items = p.batches * panels * -(-p.m // chunk)
        if items >= ITEMS or (chunk <= 2 * mr and items > 1):
            break
        chunk = -(-chunk // (2 * mr)) * mr
    return max(chunk, mr)


def _splits(p: Product, shape: Shape) -> int:
    """Parts of the depth that are summed separately, at most: where few items would have very much depth, and where
    threads that share B's columns would read the rows of it that others have written.

    0: no size of this problem is split: its columns alone make items enough, or its depth is short by nature.
    """
    if shape.pack != "asked" or len(p.depth) != 1 or not vectors().masks:
        return 0
    panels = -(-p.n // shape.columns(p.dtype))
    features = p.depth[0][1] == 1  # along the rows of A: the depth is no batch
    few = panels < 4 and not (features and p.k < 4 * PART and p.m > 1)
    itemsize = vectors().bytes // vector_width(p.dtype)
    own = p.rewritten and not p.batch and not (features and p.k * p.n * itemsize < OWN_BYTES)
    if few and p.k >= 4 * PART and p.flops >= 4 * SERIAL and p.batches * -(-p.m // shape.chunk) * panels < 4:
        return min(16, p.k // PART)
    if own and p.k >= 2 * OWN_PART and p.flops > SERIAL:
        return 2
    return 1 if few or own else 0


def _cycles(p: Product, s: Shape) -> float:
    """Cycles of the whole product, more where there are few items for several threads."""
    width, columns = vector_width(p.dtype), s.columns(p.dtype)
    panels, chunks, parts = -(-p.n // columns), -(-p.m // s.chunk), max(s.parts, 1)
    depth = -(-p.k // parts)
    items = p.batches * -(-panels // s.group) * chunks * parts
    size_of_b = p.k * p.n * vectors().bytes // width
    near = size_of_b <= vectors().l2
    arriving = 0.0 if near else size_of_b / cost_model.bytes_per_cycle(size_of_b)  # B, where nothing asks for it early
    if s.mode == "dot":
        cycles = (_dot_cycles(p.m, p.n, p.k, s.mr, s.nv, width) + arriving) * p.batches
    else:
        tile = Tile(s.mr, s.nv)
        block = min(depth, s.kblock or depth)
        cycles = p.batches * parts * -(-depth // max(block, 1)) * tile.over(p.m, panels * s.nv, block, tail=True)
        vectors_of_panels = float(p.batches * panels * chunks * parts * depth * s.nv)
        if s.packed:
            cycles += vectors_of_panels * (COPIED if p.along_columns else TURNED * width)
            runs = FAR_RUN * vectors_of_panels / (s.nv * s.group) if p.along_columns else 0.0
            cycles += 0.0 if near else runs + arriving * p.batches * (chunks - 1)
        else:
            cycles += vectors_of_panels / chunks * -(-p.m // s.mr) * (AWAY if near else FAR_AWAY)
    if parts > 1:
        cycles += 8.0 * parts * p.batches * p.m * p.n / cost_model.FROM_L2
    cycles += items * ITEM + ROW * items * min(s.chunk, p.m)
    cycles *= _uneven(items) if p.work > SERIAL else 1.0
    while p.work > SERIAL and 0 < items < ITEMS:
        items, cycles = 2 * items, cycles * (1 + FEW)
    return cycles + _exchange(p, parts)


def _exchange(p: Product, parts: int) -> float:
    """Cycles for what threads read that others have written: half of B, or half of the partial sums."""
    if not p.rewritten or p.batch or p.work <= SERIAL:
        return 0.0
    itemsize = vectors().bytes // vector_width(p.dtype)
    handed = (p.m if parts > 1 else p.k) * p.n * itemsize / LINE / 2
    return handed * HANDED_OVER + (BARRIER if parts > 1 else 0.0)


def _uneven(items: int) -> float:
    """How much longer the busier of two threads works than the average one, and the busiest of four."""
    teams = [n for n in (2, 4) if items >= n]
    return sum(-(-items // n) * n / items for n in teams) / len(teams) if teams else 1.0
