"""Functions that hand values to Python code: it runs in every call, what it computes with tensors runs compiled.

A tree of paths cannot serve code like `print(float(loss))`: each call has another value. Here the function is recorded
anew in each call; a value that Python asks for is computed by a compiled graph, and so is the rest at the end. Graphs
are compiled once, because numbers that differ from call to call become inputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphkeras.backend.executor import Executable
from graphkeras.backend.segments import Env, Segment
from graphkeras.backend.structure import Names
from graphkeras.core.tensor import Tensor
from graphkeras.core.trace import Trace
from graphkeras.core.variable import Variable
from graphkeras.ir.graph import reachable
from graphkeras.ir.node import Node
from graphkeras.ir.types import TensorType, dtype_name, numpy_dtype

SMALL = 256  # elements; larger arrays that Python hands in are inputs at once


class Constants:
    """Which of the numbers that Python hands in are the same in every call, by the order in which they come."""

    def __init__(self) -> None:
        self._seen: list[Any] = []
        self._varying: set[int] = set()

    def varies(self, position: int, array: np.ndarray) -> bool:
        """Whether this number, the one at `position`, has been another one before."""
        if array.size > SMALL:
            key = None
            self._varying.add(position)
        else:
            key = array.dtype.name, array.shape, array.tobytes()
        if position == len(self._seen):
            self._seen.append(key)
        elif self._seen[position] != key:
            self._varying.add(position)
        return position in self._varying


class InteractiveTrace(Trace):
    """Records one call and computes values by compiled graphs as they are asked for."""

    def __init__(self, name: str, arrays: Sequence[np.ndarray], constants: Constants) -> None:
        super().__init__()
        self.name, self.arrays, self.constants = name, arrays, constants
        self.env: Env = {}
        self.computed: list[tuple[Executable | None, Names]] = []  # in order, for reports
        self._lifted = 0

    def input(self, type: TensorType, name: str = "") -> Tensor:
        tensor = super().input(type, name)
        self.env[tensor.data] = self.arrays[len(self.inputs) - 1]  # type: ignore[index]
        return tensor

    def read(self, variable: Variable) -> Tensor:
        new = variable not in self.values
        tensor = super().read(variable)
        if new:
            self.env[self.reads[variable]] = variable._value
        return tensor

    def lift(self, x: Any, dtype: str | None = None) -> Node:
        if (isinstance(x, Tensor) and x.trace is not None) or hasattr(x, "read_value"):
            return super().lift(x, dtype)
        if isinstance(x, Tensor):
            array: np.ndarray = x.data  # type: ignore[assignment]
        else:
            array = np.asarray(x)
            if dtype is not None and not hasattr(x, "__array__"):
                array = array.astype(numpy_dtype(dtype))
        position, self._lifted = self._lifted, self._lifted + 1
        if not self.constants.varies(position, array):
            return self._constant(array)
        type = TensorType(array.shape, dtype_name(array.dtype))
        node = self.builder.input(type, f"value{position}")
        self.env[node] = np.array(array, order="C")  # as it is now
        return node

    def concrete_value(self, tensor: Tensor) -> np.ndarray:
        self.check_live(tensor)
        node: Node = tensor.data  # type: ignore[assignment]
        self.compute(Segment(guard=node))
        return self.env[node].copy()

    def compute(self, segment: Segment) -> None:
        """Put the values that a segment is to compute into `env`."""
        known = set(self.env)
        segment.members = reachable(segment.wanted, stop=known) - known
        segment.run(self.env, self.name)
        self.computed.append((segment.executable, segment.names))
