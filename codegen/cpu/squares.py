"""What a tile of a convolution of few channels per group is; plans of kernels know it without loading a compiler."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

Pair = tuple[int, int]


@dataclass(frozen=True)
class Square:
    """A tile: outputs, taps, strides and dilation along both axes, and elements between neighbours in a row.

    Output o reads input o * stride + tap * dilation. With `spread`, which is for gradients of inputs, strides stand
    between inputs instead: input i meets output o at a tap where i * spread + tap * dilation = o + phase, and inputs
    are counted from the first that meets any output.

    members: channels of a group, which lie in one vector; 1 if depthwise. A tap has a vector of weights for each of
    them, `w_step // members` apart.
    """

    outputs: Pair
    taps: Pair
    strides: Pair
    dilation: Pair
    x_step: int
    w_step: int
    y_step: int
    spread: Pair = (1, 1)
    phase: Pair | tuple[()] = ()
    ahead: bool = True  # ask for the inputs of the tile below
    members: int = 1

    def _place(self, axis: int, output: int, tap: int) -> int | None:
        """The input at which an output and a tap meet, if there is one; counted from the tile's own place."""
        if not self.phase:
            return output * self.strides[axis] + tap * self.dilation[axis]
        place = output + self.phase[axis] - tap * self.dilation[axis]
        return place // self.spread[axis] if place % self.spread[axis] == 0 else None

    def _places(self, axis: int) -> list[int]:
        pairs = ((o, t) for o in range(self.outputs[axis]) for t in range(self.taps[axis]))
        return [p for o, t in pairs if (p := self._place(axis, o, t)) is not None] or [0]

    @property
    def first(self) -> Pair:
        """The first input along each axis, from the tile's own place."""
        return min(self._places(0)), min(self._places(1))

    @property
    def inputs(self) -> Pair:
        first = self.first
        return max(self._places(0)) - first[0] + 1, max(self._places(1)) - first[1] + 1

    def meetings(self, axis: int, place: int) -> list[Pair]:
        """(output, tap) pairs of an axis that meet at an input."""
        pairs = ((o, t) for o in range(self.outputs[axis]) for t in range(self.taps[axis]))
        return [(o, t) for o, t in pairs if self._place(axis, o, t) == place + self.first[axis]]

    def products(self) -> Iterator[tuple[Pair, list[tuple[Pair, Pair]]]]:
        """Each input that is used, with its (output, tap) pairs."""
        across = [self.meetings(1, c) for c in range(self.inputs[1])]
        for r in range(self.inputs[0]):
            down = self.meetings(0, r)
            for c, pairs in enumerate(across):
                if found := [((i, j), (s, t)) for i, s in down for j, t in pairs]:
                    yield (r, c), found
