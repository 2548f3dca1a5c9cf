"""What a tile of a depthwise convolution is; plans of kernels know it without loading a compiler."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Square:
    """A tile: outputs, taps, strides and dilation along both axes, and elements between neighbours in a row."""

    outputs: tuple[int, int]
    taps: tuple[int, int]
    strides: tuple[int, int]
    dilation: tuple[int, int]
    x_step: int
    w_step: int
    y_step: int

    @property
    def inputs(self) -> tuple[int, int]:
        return tuple(  # type: ignore[return-value]
            (o - 1) * s + (t - 1) * d + 1
            for o, t, s, d in zip(self.outputs, self.taps, self.strides, self.dilation, strict=True)
        )

    def meetings(self, axis: int, place: int) -> list[tuple[int, int]]:
        """(output, tap) pairs of an axis that meet at an input."""
        pairs = ((o, t) for o in range(self.outputs[axis]) for t in range(self.taps[axis]))
        return [(o, t) for o, t in pairs if o * self.strides[axis] + t * self.dilation[axis] == place]

    def products(self) -> Iterator[tuple[tuple[int, int], list[tuple[tuple[int, int], tuple[int, int]]]]]:
        """Each input that is used, with its (output, tap) pairs."""
        for r in range(self.inputs[0]):
            for c in range(self.inputs[1]):
                pairs = [
                    ((i, j), (s, t)) for i, s in self.meetings(0, r) for j, t in self.meetings(1, c)
                ]  # fmt: skip
                if pairs:
                    yield (r, c), pairs
