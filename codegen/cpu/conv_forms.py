"""The forms that a convolution may take, priced: plain tiles, tiles on panels of weights, Winograd's, squares.

A form is in the source of its kernel, so nothing here may depend on the number of images, nor on the length of a
sequence (windows of one axis). Sizes of images do count: a model works on one size, as a rule.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from graphkeras.codegen.cpu import (
    conv_narrow,
    conv_wide,
    conv_wide_grad,
    cost_model,
    depthwise,
    winograd,
    winograd_grad,
)
from graphkeras.codegen.cpu.choices import Candidate
from graphkeras.codegen.cpu.cost_model import Tile
from graphkeras.codegen.cpu.vectors import register_tile, vector_width, vectors
from graphkeras.codegen.cpu.window import Window

IMAGES = 8  # over which what is done once per launch is spread
LINE = 1024  # pixels of a sequence whose length is not known
UNUSUAL = 1.05  # tiles must be so much better than the usual one
ROUNDED = 1.25  # Winograd's form must be so much faster: it rounds three times as much

# cycles
COPIED = 2.5  # to copy a vector of weights to a panel
FAR = 0.6  # more to load one where all do not fit near the core, a line apart from its neighbours
INPUTS, OUTPUTS, WEIGHTS = 110.0, 80.0, 130.0  # Winograd's transforms of a tile for a vector of channels ...
FLAT = 8.0  # ... and by how much those of a flat one are less
READ = (32.0, 12.0, 6.0)  # bytes per cycle of Winograd's weights and sums: second and third level, memory
NARROW = 0.62  # cycles of a product of two vectors along the depth: a little more than in a tile one vector wide
BLOCKS = 0.95  # of the cycles of plain tiles, where x and dy are copied in blocks of channels
SHARED, COPIES = 1.1, 11.0  # squares of groups: a product, with sharing its input; an output beside its products
EDGE = 1.05  # of pixels that are copied because windows reach over the edge


@dataclass(frozen=True)
class Form:
    """name: "tiles", "panels", "winograd", "narrow", "squares", or "blocks" of channels (gradients of kernels).

    tile: of the first two. joined: groups that are computed as one, with zeros for the weights between them: a few
    channels of a group leave most lanes of a vector empty, and then this is less work than it saves. exchanged: the
    gradient of the kernel of `Window.exchanged`, whose lanes are the channels in.
    """

    name: str
    tile: Tile | None = None
    joined: int = 1
    exchanged: bool = False

    def __str__(self) -> str:
        tile = "" if self.tile is None else f",{self.tile}"
        joined = f",joined={self.joined}" if self.joined > 1 else ""
        return f"{self.name}{tile}{joined}" + (",exchanged" if self.exchanged else "")


def spec_of(c: Window) -> str:
    """The window without what belongs to the data."""
    axes = []
    for a in c.axes:
        size = f"{a.count}of{a.size}" if len(c.axes) > 1 else "any"
        axes.append(f"{size},taps={a.taps},stride={a.stride},dilation={a.dilation},low={a.low},step={a.step}")
    axes[-1] += ",one way" if _looks_one_way(c) else ""
    return f"{c.dtype},groups={c.groups},channels={c.cin}to{c.cout},axes={';'.join(axes)}"


def forms_of(c: Window) -> list[Candidate]:
    """Of a convolution, or of the gradient of its input."""
    found = _forms_of(c)
    for n in _joins(c):
        found += _joined(c, n, _forms_of(c.joined(n)))
    return found


def _forms_of(c: Window) -> list[Candidate]:
    usual = usual_tile(c)
    found = [_candidate(Form("tiles", t), _tiles(c, t), t != usual) for t in _tiles_for(c, usual)]
    if conv_wide.can(c):
        usual = conv_wide.usual_tile(c)
        found += [_candidate(Form("panels", t), _panels(c, t), t != usual) for t in _tiles_for(c, usual)]
    if winograd.can(c) and not _looks_one_way(c):
        found.append(_candidate(Form("winograd"), _winograd(c)))
    if conv_narrow.can(c):
        found.append(_candidate(Form("narrow"), _edges(c) * IMAGES * _pixels(c) * conv_narrow.products(c) * NARROW))
    if depthwise.can(c):
        found.append(_candidate(Form("squares"), _squares(c)))
    return found


def is_one_launch(c: Window, phases: Sequence[Window]) -> bool:
    """Whether squares do all phases of an input's gradient at once; without strides they are one of the forms."""
    if not depthwise.can(c, gradient_of_input=True):
        return False
    if c.depthwise:
        return True
    if len(phases) == 1 or 2 * c.cin > vector_width(c.dtype):  # wide groups are good products, phase by phase
        return False
    parts = sum(min(form.seconds for form in forms_of(phase)) for phase in phases)
    return cost_model.seconds(_squares(c, gradient_of_input=True)) < parts


def forms_of_gradient(c: Window, dtype: str) -> list[Candidate]:
    """Of the gradient of its kernel. dtype: of the result."""
    found = _forms_of_gradient(c, dtype)
    for n in _joins(c) if dtype == c.dtype else ():
        found += _joined(c, n, _forms_of_gradient(c.joined(n), dtype))
    if c.groups == 1 and c.cout < c.cin and dtype == c.dtype and all(a.stride == 1 for a in c.axes):
        found += _exchanged(c, _forms_of_gradient(c.exchanged(), dtype))
    return found


def _looks_one_way(c: Window) -> bool:
    """Whether outputs of a sequence read nothing after themselves (causal), or nothing before: then they are not to
    follow from it even by rounding, as those of a tile in Winograd's form do."""
    return len(c.axes) == 1 and any(
        a.count == a.size and a.taps > 1 and a.low in (0, (a.taps - 1) * a.dilation) for a in c.axes
    )


def _joins(c: Window) -> list[int]:
    """How many groups may be joined: until their channels fill vectors."""
    width = vector_width(c.dtype)
    counts = (2, 4, 8, 16) if c.groups > 1 and not c.depthwise else ()
    return [n for n in counts if c.groups % n == 0 and n * min(c.cin, c.cout) <= 2 * width]


def _joined(c: Window, n: int, found: Sequence[Candidate]) -> list[Candidate]:
    """The forms of joined groups that take any number of groups, dearer by two passes over the weights."""
    weights = c.depth * n * c.groups * c.cout
    copies = cost_model.seconds(2 * COPIED * weights / vector_width(c.dtype))
    forms = [(replace(x.value, joined=n), x) for x in found if x.value.name in ("tiles", "winograd")]
    return [Candidate(str(form), x.seconds + copies, form) for form, x in forms]


def _exchanged(c: Window, found: Sequence[Candidate]) -> list[Candidate]:
    """Tiles of the exchanged window, dearer by turning its result."""
    turning = cost_model.seconds(COPIED * c.depth * c.cout)  # lanes of it are few
    forms = [(replace(x.value, exchanged=True), x) for x in found if x.value.name == "tiles"]
    return [Candidate(str(form), x.seconds + turning, form) for form, x in forms]


def _forms_of_gradient(c: Window, dtype: str) -> list[Candidate]:
    usual = usual_gradient_tile(c)
    rows = c.depth
    found = []
    for t in _tiles_for(c, usual, rows):
        cycles = _vectors(c) if c.depthwise else IMAGES * c.groups * t.over(rows, _columns(c), _pixels(c))
        found.append(_candidate(Form("tiles", t), cycles * _edges(c), t != usual))
    if conv_wide_grad.suits(c):
        cycles = BLOCKS * IMAGES * usual.over(rows, _columns(c), _pixels(c))
        found.append(_candidate(Form("blocks"), cycles))
    if winograd.can(c) and dtype == c.dtype:
        found.append(_candidate(Form("winograd"), _winograd_grad(c)))
    if depthwise.can(c, gradient=True):
        found.append(_candidate(Form("squares"), _squares(c)))
    return found


def usual_tile(c: Window) -> Tile:
    """Of pixels by channels."""
    return Tile(*register_tile(1 << 20, _columns(c)))


def usual_gradient_tile(c: Window) -> Tile:
    """Of (tap, channel in) by channels out."""
    mr = _rows_of_tile(c.depth)
    most = max(1, (24 if vectors().registers == 32 else 12) // mr)
    return Tile(mr, min(usual_tile(c).nv, most))


def _rows_of_tile(rows: int) -> int:
    """Tile height; the rows belong to the model, not to the batch, so that it may follow them closely."""
    if vectors().registers != 32:
        return min(4, rows)
    return min((8, 9, 7, 6, 5), key=lambda m: (-(-rows // m) * m, -(-rows // m))) if rows > 4 else max(1, rows)


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


def _squares(c: Window, gradient_of_input: bool = False) -> float:
    """Each input is loaded once, half of the products hide behind the others. Groups' inputs are copied first.

    Gradients of inputs have the window's axes, and their taps meet one of `stride` outputs.
    """
    taps = math.prod(a.taps / a.stride if gradient_of_input else a.taps for a in c.axes)
    each = taps / cost_model.FMAS + 2.0 if c.depthwise else c.cin * taps / cost_model.FMAS * SHARED + COPIES
    return IMAGES * _pixels(c) * -(-c.channels // vector_width(c.dtype)) * each


def _winograd(c: Window) -> float:
    c = _of_known_length(c)
    cut, taps = winograd.Cut.of(c), winograd.added_taps(c)
    tiles = IMAGES * cut.per_image
    weights = cut.points * taps * cut.depth * cut.outputs * 4  # of a section
    reads = -(-tiles // cut.block) * weights / _rate(weights)
    made = taps * c.cin * cut.outputs / vector_width(c.dtype) * WEIGHTS / _flat(cut) + 3 * weights / _rate(weights)
    return ROUNDED * cut.sections * (max(_sums(c, cut), reads) + _transforms(c, cut) + made)


def _winograd_grad(c: Window) -> float:
    c = _of_known_length(c)
    cut = winograd_grad.cut_of(c)
    sums = winograd_grad.sums_of(c, cut) * 4 / cut.sections
    moved = 2 * -(-IMAGES * cut.per_image // cut.block) * sums / _rate(sums)
    return ROUNDED * cut.sections * (_sums(c, cut) + moved + _transforms(c, cut) + 3 * sums / _rate(sums))


def _rate(nbytes: float) -> float:
    """Bytes per cycle of what is read again for each block, by the level in which it fits."""
    return READ[(nbytes > vectors().l2) + (nbytes > 16 * vectors().l2)]


def _sums(c: Window, cut: winograd.Cut) -> float:
    """Cycles of a section's products."""
    columns = cut.cout // vector_width(c.dtype)
    product = Tile(cut.mr, cut.nv).over(IMAGES * cut.per_image, columns, c.cin)
    return cut.points * winograd.added_taps(c) * cut.groups * product


def _transforms(c: Window, cut: winograd.Cut) -> float:
    """Of a section, to points and back."""
    width = vector_width(c.dtype)
    each = winograd.added_taps(c) * cut.inputs / width * INPUTS + cut.outputs / width * OUTPUTS
    return IMAGES * cut.per_image * each / _flat(cut)


def _flat(cut: winograd.Cut) -> float:
    return FLAT if cut.flat else 1.0


def _of_known_length(c: Window) -> Window:
    if len(c.axes) > 1:
        return c
    return replace(c, axes=(replace(c.axes[0], count=LINE),))
