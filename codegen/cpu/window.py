"""A windowed product: what forms of convolution share, without printing anything."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Axis:
    """One spatial axis. Output i (of `count`) stands at `first + i * step` of `extent` and reads input
    i * stride + t * dilation - low (zero outside [0, size)) for t < taps."""

    count: int
    extent: int
    size: int
    taps: int
    stride: int
    dilation: int
    low: int
    first: int = 0
    step: int = 1

    @property
    def reach(self) -> int:
        """Input positions that all outputs touch."""
        return max(0, (self.count - 1) * self.stride + (self.taps - 1) * self.dilation + 1)

    @property
    def inside(self) -> bool:
        """No output reads over an edge."""
        return self.low <= 0 and self.reach - self.low <= self.size


@dataclass(frozen=True)
class Window:
    """One launch: axes, groups, and channels in and out per group."""

    dtype: str
    images: int
    axes: tuple[Axis, ...]
    groups: int
    cin: int
    cout: int

    @property
    def depthwise(self) -> bool:
        return self.groups > 1 and self.cin == 1 and self.cout == 1

    @property
    def last_two(self) -> tuple[Axis, Axis]:
        """The axes of rows and columns of an image; the first is trivial where the window has one."""
        rows, columns = (Axis(1, 1, 1, 1, 1, 1, 0), *self.axes)[-2:]
        return rows, columns

    @property
    def channels(self) -> int:
        """Of an output."""
        return self.groups * self.cout

    @property
    def pixels(self) -> int:
        return math.prod(a.count for a in self.axes)

    @property
    def depth(self) -> int:
        return self.cin * math.prod(a.taps for a in self.axes)

    @property
    def flops(self) -> float:
        return 2.0 * self.images * self.pixels * self.depth * self.cout * self.groups

    def joined(self, n: int) -> Window:
        """The same outputs with `n` groups in one, of whose weights all but 1 / n are zero."""
        return replace(self, groups=self.groups // n, cin=self.cin * n, cout=self.cout * n)

    def exchanged(self) -> Window:
        """The window whose kernel's gradient is this one's with taps turned round and channels exchanged.

        x and dy change places. Without strides and groups.
        """
        axes = tuple(
            Axis(a.size, a.size, a.count, a.taps, 1, a.dilation, (a.taps - 1) * a.dilation - a.low) for a in self.axes
        )
        return replace(self, axes=axes, cin=self.cout, cout=self.cin)
