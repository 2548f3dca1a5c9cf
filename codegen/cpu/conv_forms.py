"""The forms that a convolution may take, priced: plain tiles, tiles on panels of weights, Winograd's, squares.

A form is in the source of its kernel, so nothing here may depend on the number of images, nor on the length of a
sequence (windows of one axis). Sizes of images do count: a model works on one size, as a rule.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from graphkeras.codegen.cpu import conv_narrow, conv_wide, conv_wide_grad, cost_model, depthwise, winograd
from graphkeras.codegen.cpu.choices import Candidate
from graphkeras.codegen.cpu.cost_model import Tile
from graphkeras.codegen.cpu.vectors import register_tile, vector_width, vectors
from graphkeras.codegen.cpu.window import Window
from graphkeras.codegen.cpu.winograd_sizes import POINTS

IMAGES = 8  # over which what is done once per launch is spread
LINE = 1024  # pixels of a sequence whose length is not known
UNUSUAL = 1.05  # tiles must be so much better than the usual one
ROUNDED = 1.25  # Winograd's form must be so much faster: it rounds three times as much

# cycles
COPIED = 2.5  # to copy a vector of weights to a panel
FAR = 0.6  # more to load one where all do not fit near the core, a line apart from its neighbours
INPUTS, OUTPUTS, WEIGHTS = 110.0, 80.0, 130.0  # Winograd's transforms of a tile for a vector of channels
READ = (32.0, 12.0, 6.0)  # bytes per cycle of Winograd's weights from the second and third level, and from memory
NARROW = 0.62  # cycles of a product of two vectors along the depth: a little more than in a tile one vector wide
BLOCKS = 0.8  # of the cycles of plain tiles, where x and dy are copied in blocks of channels
EDGE = 1.05  # of pixels that are copied because windows reach over the edge


@dataclass(frozen=True)
class Form:
    """name: "tiles", "panels", "winograd", "narrow", "squares", or "blocks" of channels (gradients of kernels).

    tile: of the first two.
    """

    name: str
    tile: Tile | None = None

    def __str__(self) -> str:
        return self.name if self.tile is None else f"{self.name},{self.tile}"


def spec_of(c: Window) -> str:
    """The window without what belongs to the data."""
    axes = []
    for a in c.axes:
        size = f"{a.count}of{a.size}" if len(c.axes) > 1 else "any"
        axes.append(f"{size},taps={a.taps},stride={a.stride},dilation={a.dilation},low={a.low},step={a.step}")
    return f"{c.dtype},groups={c.groups},channels={c.cin}to{c.cout},axes={';'.join(axes)}"


def forms_of(c: Window) -> list[Candidate]:
    """Of a convolution, or of the gradient of its input."""
    usual = usual_tile(c)
    found = [_candidate(Form("tiles", t), _tiles(c, t), t != usual) for t in _tiles_for(c, usual)]
    if conv_wide.can(c):
        usual = conv_wide.usual_tile(c)
        found += [_candidate(Form("panels", t), _panels(c, t), t != usual) for t in _tiles_for(c, usual)]
    if winograd.can(c):
        found.append(_candidate(Form("winograd"), _winograd(c)))
    if conv_narrow.can(c):
        found.append(_candidate(Form("narrow"), _edges(c) * IMAGES * _pixels(c) * conv_narrow.products(c) * NARROW))
    if depthwise.can(c):
        found.append(_candidate(Form("squares"), _squares(c)))
    return found


def forms_of_gradient(c: Window, usual: Tile, dtype: str) -> list[Candidate]:
    """Of the gradient of its kernel. usual: the tile of plain sums. dtype: of the result."""
    rows = math.prod(a.taps for a in c.axes) * c.cin
    found = []
    for t in _tiles_for(c, usual, rows):
        cycles = _vectors(c) if c.depthwise else IMAGES * c.groups * t.over(rows, _columns(c), _pixels(c))
        found.append(_candidate(Form("tiles", t), cycles * _edges(c), t != usual))
    if conv_wide_grad.suits(c):
        cycles = BLOCKS * IMAGES * usual.over(rows, _columns(c), _pixels(c))
        found.append(_candidate(Form("blocks"), cycles))
    if winograd.can(c) and dtype == c.dtype:
        found.append(_candidate(Form("winograd"), _winograd(c)))
    if depthwise.can(c, gradient=True):
        found.append(_candidate(Form("squares"), _squares(c)))
    return found


def usual_tile(c: Window) -> Tile:
    """Of pixels by channels."""
    return Tile(*register_tile(1 << 20, _columns(c)))


def _candidate(form: Form, cycles: float, unusual: bool = False) -> Candidate:
    return Candidate(str(form), cost_model.seconds(cycles * (UNUSUAL if unusual else 1.0)), form)


def _tiles_for(c: Window, usual: Tile, most: int = 1 << 20) -> list[Tile]:
    """Tiles that may do: as wide as the channels at most. Depthwise ones have no weights to share."""
    found = [usual]
    if not c.depthwise:
        found += [t for t in cost_model.tiles() if t != usual and 4 <= t.mr <= most and t.nv <= _columns(c)]
    return found


# -- prices, of IMAGES images ---------------------------------------------------------------------------
def _columns(c: Window) -> int:
    """Vectors of channels of one pass."""
    return -(-(c.groups if c.depthwise else c.cout) // vector_width(c.dtype))


def _pixels(c: Window) -> int:
    """Of one image."""
    return LINE if len(c.axes) == 1 else c.pixels


def _edges(c: Window) -> float:
    return 1.0 if all(a.inside for a in c.axes) else EDGE


def _tiles(c: Window, tile: Tile) -> float:
    if c.depthwise:
        return _vectors(c) * _edges(c)
    pixels = IMAGES * _pixels(c)
    cycles = c.groups * tile.over(pixels, _columns(c), c.depth)
    if conv_wide.can(c):  # lines of weights stand far apart
        cycles += FAR * c.depth * _columns(c) * -(-pixels // tile.mr)
    return cycles * _edges(c)


def _panels(c: Window, tile: Tile) -> float:
    copied = COPIED * c.depth * -(-_columns(c) // tile.nv) * tile.nv
    pieces = -(-c.depth * tile.nv * vectors().bytes // conv_wide.PIECE)  # of the depth, each near while rows use it
    once = tile.over(_pixels(c), _columns(c), -(-c.depth // pieces), tail=True)
    return _edges(c) * IMAGES * pieces * once + copied


def _vectors(c: Window) -> float:
    """Depthwise: two loads for each product."""
    taps = math.prod(a.taps for a in c.axes)
    return IMAGES * _pixels(c) * _columns(c) * (taps + 2.0)


def _squares(c: Window) -> float:
    """Depthwise: each input is loaded once, half of the products hide behind the others."""
    taps = math.prod(a.taps for a in c.axes)
    return IMAGES * _pixels(c) * _columns(c) * (taps / cost_model.FMAS + 2.0)


def _winograd(c: Window) -> float:
    cut = winograd.Cut.of(c)
    width = vector_width(c.dtype)
    tiles = IMAGES * cut.per_image
    product = Tile(cut.mr, cut.nv)
    weights = POINTS * cut.depth * cut.cout * 4
    rate = READ[(weights > vectors().l2) + (weights > 16 * vectors().l2)]
    reads = -(-tiles // cut.block) * weights / rate
    sums = POINTS * product.over(tiles, cut.cout // width, c.cin)
    transforms = tiles * (cut.cin / width * INPUTS + cut.cout / width * OUTPUTS)
    made = c.cin * cut.cout / width * WEIGHTS + 3 * weights / rate
    return ROUNDED * (max(sums, reads) + transforms + made)
