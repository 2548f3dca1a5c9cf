"""What programs of all targets share: the parts of a plan, checks of the arrays they are bound to, rows for reports.

A target adds where buffers live and how the plan is run: `codegen.program.Program`, `codegen.cuda.program.CudaProgram`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

import numpy as np

from graphkeras.codegen.kernel import Buffer, Instruction, Kernel
from graphkeras.codegen.schedule import all_calls, chunks
from graphkeras.ir.node import Origin
from graphkeras.ir.types import TensorType, numpy_dtype

Status = tuple[int, int, int, int]
"""What a kernel says of bad data: (code, node id, bad value, extent)."""


Named = Callable[[Origin], Origin]


def same(origin: Origin) -> Origin:
    """The place as it was called when it was compiled."""
    return origin


class KernelError(IndexError, RuntimeError):
    """A kernel found an index out of range. `status` is (code, node id, bad value, extent)."""

    def __init__(self, message: str, status: Status) -> None:
        super().__init__(message)
        self.status = status


class Row(NamedTuple):
    """One kernel of a plan, as `explain_rows` tells it."""

    name: str
    origins: tuple[str, ...]
    extent: int
    chunks: int
    flops: float
    nbytes: float
    reason: str


class Timing(NamedTuple):
    """Mean time of one kernel call in a step, in seconds, and what it moved and computed."""

    name: str
    seconds: float
    flops: float
    nbytes: float


class BaseProgram(ABC):
    """A plan with its buffers.

    instructions: the plan. inputs, outputs: buffers in the order that `bind` takes arrays; input_types, output_types:
        dtypes and shapes, checked by `bind` where given. A result that overwrites an input has the input's buffer.
    offsets, arena_nbytes: places of the ARENA buffers, in bytes. status: CONST buffer of int64[4] that kernels set on
        bad data; explain_error(status) makes the message of the KernelError that `run` then raises.
    """

    def __init__(
        self,
        instructions: Sequence[Instruction],
        *,
        inputs: Sequence[Buffer] = (),
        outputs: Sequence[Buffer] = (),
        input_types: Sequence[TensorType] | None = None,
        output_types: Sequence[TensorType] | None = None,
        offsets: Mapping[Buffer, int] | None = None,
        arena_nbytes: int = 0,
        status: Buffer | None = None,
        explain_error: Callable[[Status], str] | None = None,
        name: str = "program",
    ) -> None:
        self.name = name
        self._inputs, self._outputs = tuple(inputs), tuple(outputs)
        self._types = (_expected("input", inputs, input_types), _expected("output", outputs, output_types))
        self._offsets, self.arena_nbytes = dict(offsets or {}), arena_nbytes
        self._explain_error = explain_error
        self.named: Named = same  # what errors call layers: whoever binds may call them otherwise
        self._describe(instructions)
        self._alive: Sequence[np.ndarray] = ()
        numbers = {b: k for k, b in enumerate(inputs)}
        self._donated = {k: numbers[b] for k, b in enumerate(outputs) if b in numbers}
        self._build(status)

    def _describe(self, instructions: Sequence[Instruction]) -> None:
        """Keep what reports want to know."""
        self.instructions = tuple(instructions)
        self.kernels: tuple[Kernel, ...] = tuple(c.kernel for c in all_calls(self.instructions))
        self.groups: Sequence[Any] = ()  # of the fusion, for explain()
        self.declined: Sequence[tuple[Any, str]] = ()  # composites that were taken apart, and why

    @abstractmethod
    def _build(self, status: Buffer | None) -> None:
        """Make everything that can be made before arrays are known."""

    # -- use ---------------------------------------------------------------------------------------
    @abstractmethod
    def run(self, steps: int = 1, threads: int | None = None) -> None:
        """Run the plan `steps` times on the arrays that are bound. Raises KernelError when a kernel found bad data."""

    def _check_counts(self, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray]) -> None:
        for what, arrays, types in (("input", inputs, self._types[0]), ("output", outputs, self._types[1])):
            if len(arrays) != len(types):
                raise ValueError(f"{self.name}: expected {len(types)} {what} arrays, received {len(arrays)}")

    def _check_array(self, what: str, number: int, array: np.ndarray, buffer: Buffer) -> None:
        """An array must be what the plan was made for: kernels trust its shape, dtype and layout."""
        expected = self._types[what == "output"][number]
        if not isinstance(array, np.ndarray):
            raise TypeError(f"{self.name}: {what} {number}: expected a NumPy array, received {type(array).__name__}")
        if expected is not None and (array.shape, array.dtype) != expected:
            raise ValueError(
                f"{self.name}: {what} {number}: expected {expected[1]}{list(expected[0])}, "
                f"received {array.dtype}{list(array.shape)}; convert or reshape the array"
            )
        if array.size and array.nbytes < buffer.nbytes:
            raise ValueError(f"{self.name}: {what} {number}: expected {buffer.nbytes} bytes, received {array.nbytes}")
        flags = array.flags
        if not flags.c_contiguous or not flags.aligned:
            raise ValueError(f"{self.name}: {what} {number} must be contiguous and aligned; use np.ascontiguousarray")
        if what == "output" and not flags.writeable:
            raise ValueError(f"{self.name}: output {number} is read-only; pass an array that can be written")

    def _raise_status(self, status: Status) -> NoReturn:
        raise KernelError(self.error_text(status), status)

    def error_text(self, status: Status) -> str:
        """What to tell the user of bad data that a kernel found."""
        if self._explain_error is not None:
            return self._explain_error(status)
        code, node, bad, extent = status
        return f"{self.name}: a kernel found bad data (code {code}, node %{node}, value {bad}, allowed extent {extent})"

    # -- looking inside ----------------------------------------------------------------------------
    def explain_rows(self) -> list[Row]:
        """The kernels in order of execution: what they are for and what they cost."""
        return [
            Row(k.name, tuple(map(str, k.origins)), k.extent, chunks(k), k.flops, k.nbytes, k.reason)
            for k in self.kernels
        ]

    @property
    @abstractmethod
    def kernels_run(self) -> list[Kernel]:
        """The kernels that have work, in the order of `measured`."""

    @abstractmethod
    def keep_profile(self) -> None:
        """Measure every run from now on."""

    @abstractmethod
    def stop_profile(self) -> None:
        """Measure no longer."""

    @abstractmethod
    def measured(self) -> list[float]:
        """Seconds per step in each of `kernels_run` since `keep_profile` (0 before)."""

    @abstractmethod
    def profile(self, repeats: int = 10, threads: int | None = None) -> list[Timing]:
        """Time of each kernel in a run of `repeats` steps. The bound arrays are as before afterwards."""


def _expected(what: str, buffers: Sequence[Buffer], given: Sequence[TensorType] | None) -> list[Any]:
    if given is None:
        return [None] * len(buffers)
    if len(given) != len(buffers):
        raise ValueError(f"expected one type for each of {len(buffers)} {what} buffers, received {len(given)}")
    return [(t.shape, numpy_dtype(t.dtype)) for t in given]
