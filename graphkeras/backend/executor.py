"""The only door from the frontend to the compiler: graphs go in, executables come out.

An executable reads bound arrays and runs any number of steps in one native call. Outputs that are donated to an input
(new weights over old ones) are written in place, so that the next step of the same call sees them.
"""

from __future__ import annotations

import sys
import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from graphkeras.backend.structure import SAME, Names, structure
from graphkeras.core import global_state, placement
from graphkeras.ir import residence
from graphkeras.ir.graph import Graph
from graphkeras.ir.interpreter import evaluate
from graphkeras.ir.types import numpy_dtype

CACHE_SIZE = 128
PROFILED_STEPS = 64  # steps of a program whose kernels are timed (some 50 ns a kernel)
Arrays = Sequence[np.ndarray]


class Executable(Protocol):
    """A compiled graph with arrays bound to its inputs and outputs.

    Graphs of equal structure share one executable: whoever binds it holds `lock` until its run is over, and sets
    `owner` to find out later whether its own arrays are still the bound ones.
    """

    graph: Graph
    lock: threading.RLock
    owner: Any
    stays_bound: bool  # whether a run after `release` still finds the arrays, if somebody else keeps them alive

    def bind(self, inputs: Arrays, outputs: Arrays, state: Sequence[int] = (), names: Names = SAME) -> None:
        """Say where the inputs are read and the outputs written; a donated output is the array of its input.

        state: positions of the inputs that are arrays of variables: a device keeps their values between runs, and
        their owner asks for them (`graphkeras.ir.residence`). names: what errors call the layers.
        """

    def run(self, steps: int = 1) -> None:
        """Run the graph `steps` times on the bound arrays."""

    def release(self) -> None:
        """Forget the bound arrays, so that nothing is kept alive between runs."""


@dataclass(frozen=True)
class Piece:
    """One executable of a step, for reports: what it is a part of ("" for a step that is one graph), and its names."""

    title: str
    executable: Executable
    names: Names


class InterpretedExecutable:
    """Runs the graph with the NumPy references: slow and exact; all outputs of a step appear together or not at all."""

    stays_bound = False

    def __init__(self, graph: Graph, donate: Mapping[int, int]) -> None:
        self.graph = graph
        self.lock = threading.RLock()
        self.owner: Any = None
        self._inputs: Arrays = ()
        self._outputs: Arrays = ()

    def bind(self, inputs: Arrays, outputs: Arrays, state: Sequence[int] = (), names: Names = SAME) -> None:
        self._inputs, self._outputs = inputs, outputs

    def run(self, steps: int = 1) -> None:
        residence.refresh_all(self._inputs)
        for _ in range(steps):
            results = evaluate(self.graph, self._inputs)
            # A result may be an input itself, which another result is about to overwrite.
            results = [np.array(r) for r in results]
            for target, result in zip(self._outputs, results, strict=True):
                np.copyto(target, result)
        residence.changed_all(self._outputs)

    def release(self) -> None:
        self._inputs = self._outputs = ()


class NativeExecutable:
    """A compiled program and the graph it came from."""

    stays_bound = True

    def __init__(self, graph: Graph, program: Any) -> None:
        self.graph = graph
        self.program = program
        self.lock = threading.RLock()
        self.owner: Any = None
        self._bound: tuple[Arrays, Arrays] = ((), ())
        self.steps_done = 0
        self._times: list[float] | None = None
        self.time_again()

    def bind(self, inputs: Arrays, outputs: Arrays, state: Sequence[int] = (), names: Names = SAME) -> None:
        self.program.named = names
        # The program keeps addresses only: a reference kept there would make a variable copy itself before each run.
        self._bound = (inputs, outputs)
        self.program.bind(inputs, outputs, keep=False)

    def run(self, steps: int = 1) -> None:
        residence.refresh_all(self._bound[0])
        self.program.run(steps)
        residence.changed_all(self._bound[1])
        self.steps_done += steps
        if self._times is None and self.steps_done >= self._timed_until:
            self._times = self.program.measured()
            self.program.stop_profile()

    def release(self) -> None:
        self._bound = ((), ())

    @property
    def arena_nbytes(self) -> int:
        """Temporary memory of one run, in bytes."""
        return self.program.arena_nbytes

    def time_again(self) -> None:
        """Time the kernels of the next `PROFILED_STEPS` steps; what was measured before is forgotten."""
        with self.lock:
            self._times = None
            self._timed_until = self.steps_done + PROFILED_STEPS
            self.program.keep_profile()

    def kernel_rows(self, names: Names = SAME) -> list[tuple[Any, ...]]:
        """Each kernel in order, its layers as `names` calls them; see codegen's `report.kernel_rows`."""
        from graphkeras.codegen.report import kernel_rows

        return kernel_rows(self.program, self._times if self._times is not None else self.program.measured(), names)

    def taken_apart(self, names: Names = SAME) -> list[str]:
        """Which composites have no template here, and why."""
        from graphkeras.codegen.report import taken_apart

        return taken_apart(self.program, names)

    def roof_share(self, flops: float, nbytes: float, seconds: float) -> float | None:
        """Part of the machine's nearest limit that so much work in so many seconds is; the first call measures it."""
        from graphkeras.codegen.cpu import roof, runner

        return roof.measure(runner.thread_count(), tries=5).share(flops, nbytes, seconds) if seconds else None


class DeviceExecutable(NativeExecutable):
    """A program on a GPU: state stays there, and whoever reads it on the host asks for it."""

    def bind(self, inputs: Arrays, outputs: Arrays, state: Sequence[int] = (), names: Names = SAME) -> None:
        self.program.named = names
        self._bound = (inputs, outputs)
        self.program.bind(inputs, outputs, keep=False, state=state)

    def run(self, steps: int = 1) -> None:
        self.program.run(steps)
        self.steps_done += steps

    def roof_share(self, flops: float, nbytes: float, seconds: float) -> float | None:
        """None: the limits of GPUs are not measured."""
        return None


class _Cache:
    """The most recently used executables by structure. Thread-safe; `compiled` counts the misses."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.compiled = 0
        self._entries: OrderedDict[Any, Executable] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Any, make: Callable[[], Executable]) -> Executable:
        with self._lock:
            if key in self._entries:
                self._entries.move_to_end(key)
                return self._entries[key]
        made = make()
        with self._lock:
            self.compiled += 1
            self._entries[key] = made
            while len(self._entries) > self.size:
                self._entries.popitem(last=False)
        return made

    def clear(self) -> None:
        with self._lock:
            self._entries.clear()


cache = _Cache(CACHE_SIZE)


def flag_target() -> str:
    """What GRAPHKERAS_TARGET says: "cpu" by default."""
    from graphkeras.codegen.flags import TARGET

    return TARGET.value


def tensor_float_32(enabled: bool | None = None) -> bool:
    """Whether GPUs may round float32 products to tf32; set first where `enabled` is given."""
    from graphkeras.codegen.flags import TF32

    if enabled is not None:
        TF32.set(int(enabled))
    return TF32.value


def target() -> str:
    """Where graphs run: "cpu", "interpret", or a device such as "cuda:0"."""
    return placement.chosen()[0]


def open_device(name: str) -> Any:
    """The device called "cuda:0" ...; RuntimeError says what is missing."""
    from graphkeras.codegen.cuda import device

    return device.get(name)


def _release_memory() -> None:
    """Give the memory of devices back that nobody uses; imports nothing where none was used."""
    devices = sys.modules.get("graphkeras.codegen.cuda.device")
    if devices is not None:
        devices.release_all()


global_state.when_memory_is_freed(_release_memory)


def hold_data(arrays: Arrays) -> None:
    """These arrays do not change until `release_data`: a device may keep them."""
    name = target()
    if name.startswith("cuda"):
        open_device(name).lease(arrays)


def park_data(arrays: Arrays) -> None:
    """These arrays are not used until `hold_data`, nor do they change: a device may keep them while it has memory."""
    name = target()
    if name.startswith("cuda"):
        open_device(name).park(arrays)


def release_data(arrays: Arrays) -> None:
    """These arrays may change: a device must not rely on the values it has."""
    name = target()
    if name.startswith("cuda"):
        open_device(name).end_lease(arrays)


def compile(graph: Graph, donate: Mapping[int, int] | None = None, interpret: bool = False) -> Executable:
    """An executable for `graph`.

    Args:
        graph: what to run.
        donate: {index of an output: index of the input whose memory it overwrites}.
        interpret: use the NumPy references whatever the target is.

    Graphs of equal structure share an executable: what it tells about layers is to be read through
    `Names(executable.graph, graph)`.
    """
    aliases = dict(donate or {})
    where = "interpret" if interpret else target()
    key = (where, *_settings(), structure(graph), tuple(sorted(aliases.items())))
    return cache.get(key, lambda: _make(graph, aliases, where))


def _make(graph: Graph, aliases: dict[int, int], where: str) -> Executable:
    if where == "interpret":
        return InterpretedExecutable(graph, aliases)
    if where.startswith("cuda"):
        return _make_for_device(graph, aliases, where)
    if where != "cpu":
        raise NotImplementedError(f"GRAPHKERAS_TARGET={where!r} cannot run models yet. Use 'cpu' or 'interpret'.")
    from graphkeras.codegen import saved

    try:
        return NativeExecutable(graph, saved.program_of(graph, aliases))
    except NotImplementedError as error:
        from graphkeras.codegen.lower import LoweringError  # not loaded where the program comes from the disk

        if not isinstance(error, LoweringError):
            raise
        warnings.warn(f"{graph.name} runs interpreted, which is slow: {error}.", stacklevel=2)
        return InterpretedExecutable(graph, aliases)


def _make_for_device(graph: Graph, aliases: dict[int, int], where: str) -> Executable:
    from graphkeras.codegen.compile import compile_graph
    from graphkeras.codegen.cuda import device
    from graphkeras.codegen.lower import LoweringError

    with device.using(where) as found:
        placement.announce(where, found.driver.name, placement.chosen()[1])
        try:
            return DeviceExecutable(graph, compile_graph(graph, aliases, target=found.target))
        except LoweringError as error:
            warnings.warn(f"{graph.name} runs on the CPU: {error} for {where}.", stacklevel=2)
    return _make(graph, aliases, "cpu")


def _settings() -> tuple[Any, ...]:
    """What programs depend on besides their graph: set differently, another one is compiled."""
    from graphkeras.codegen import flags

    return flags.TF32.value, flags.GPU.value, flags.FRONTEND.value, flags.PASSES.value


def empty_outputs(graph: Graph) -> list[np.ndarray]:
    """Fresh arrays for all outputs of a graph."""
    return [np.empty(n.type.shape, dtype=numpy_dtype(n.type.dtype)) for n in graph.outputs]
