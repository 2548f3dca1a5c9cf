"""`function`: any Python function of tensors, compiled."""

from __future__ import annotations

import functools
import sys
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphkeras.backend.paths import PathTree, Recorded
from graphkeras.backend.segments import Segment
from graphkeras.core import tree
from graphkeras.core.keras_tensor import KerasTensor
from graphkeras.core.tensor import Tensor
from graphkeras.core.trace import Trace, current_trace
from graphkeras.core.variable import Variable
from graphkeras.ir.types import TensorType, dtype_name, numpy_dtype

MAX_TREES = 256  # of one function: kinds of arguments and their shapes


class CompiledFunction:
    """A Python function that runs compiled; see `function`."""

    def __init__(self, fn: Callable[..., Any], input_signature: Sequence[Any] | None, verbose: bool) -> None:
        functools.update_wrapper(self, fn)
        self._fn, self._signature, self._verbose = fn, input_signature, verbose
        self._trees: OrderedDict[Any, PathTree] = OrderedDict()
        self._bound: dict[int, tuple[Any, CompiledFunction]] = {}
        self.trace_reasons: list[str] = []

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        if instance is None:
            return self
        if id(instance) not in self._bound:
            method = functools.partial(self._fn, instance)
            functools.update_wrapper(method, self._fn)
            self._bound[id(instance)] = instance, CompiledFunction(method, self._signature, self._verbose)
        return self._bound[id(instance)][1]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        leaves = tree.flatten((args, kwargs))
        if current_trace() is not None or any(isinstance(x, KerasTensor) for x in leaves):
            return self._fn(*args, **kwargs)  # part of something larger
        if self._signature is not None:
            args = self._conform(args, kwargs)
        paths, arrays = self._tree(args, kwargs)
        return _Output.unpack(*paths.run(arrays))

    def _tree(self, args: Any, kwargs: Any) -> tuple[PathTree, list[np.ndarray]]:
        """The tree of paths for arguments of this kind, and the arrays among them."""
        leaves = tree.flatten((args, kwargs))
        arrays = [a for a in map(_array, leaves) if a is not None]
        key = (_structure((args, kwargs)), tuple(map(_kind, leaves)))
        paths = self._trees.get(key)
        if paths is None:
            self._note(key)
            places = tree.map_structure(_Input.of, (args, kwargs))
            paths = self._trees[key] = PathTree(self.__name__, functools.partial(self._record, places))  # type: ignore[attr-defined]
            while len(self._trees) > MAX_TREES:
                self._trees.popitem(last=False)
        else:
            self._trees.move_to_end(key)
        return paths, arrays

    def _record(self, places: Any, trace: Trace) -> Recorded:
        args, kwargs = tree.map_structure(lambda x: trace.input(x.type) if isinstance(x, _Input) else x, places)
        return _Output.pack(self._fn(*args, **kwargs), trace)

    def _note(self, key: Any) -> None:
        """Say why a trace is needed."""
        if not self._trees:
            reason = "first call"
        else:
            near = next(reversed(self._trees))
            if near[0] != key[0]:
                reason = f"the structure of the arguments is new: {key[0]}, last {near[0]}"
            else:
                changed = [(i, a, b) for i, (a, b) in enumerate(zip(near[1], key[1], strict=True)) if a != b]
                reason = "; ".join(f"argument {i}: {_text(b)}, last {_text(a)}" for i, a, b in changed)
        self.trace_reasons.append(reason)
        if self._verbose:
            print(f"{self.__name__} is traced: {reason}", file=sys.stderr)  # type: ignore[attr-defined]

    def _conform(self, args: Sequence[Any], kwargs: Any) -> tuple[Any, ...]:
        """The arguments in the dtypes of `input_signature`."""
        assert self._signature is not None
        name = self.__name__  # type: ignore[attr-defined]
        if kwargs or len(args) != len(self._signature):
            raise TypeError(
                f"{name}() has an input_signature of {len(self._signature)} positional arguments. "
                f"Received {len(args)} and the keywords {sorted(kwargs)}."
            )
        conformed = []
        for i, (x, spec) in enumerate(zip(args, self._signature, strict=True)):
            array = np.asarray(x, dtype=numpy_dtype(spec.dtype))
            fits = len(array.shape) == len(spec.shape) and all(
                want is None or got == want for got, want in zip(array.shape, spec.shape, strict=True)
            )
            if not fits:
                raise ValueError(
                    f"argument {i} of {name}() must have shape {tuple(spec.shape)} by its input_signature. "
                    f"Received shape {array.shape}."
                )
            conformed.append(Tensor(array))
        return tuple(conformed)

    # -- a look inside -----------------------------------------------------------------------------
    def lower(self, *args: Any, **kwargs: Any) -> Lowered:
        """What the function becomes for these arguments; it is run with them if their path has not been seen."""
        if self._signature is not None:
            args = self._conform(args, kwargs)
        paths, arrays = self._tree(args, kwargs)
        paths.run(arrays)
        return Lowered(paths)


class Lowered:
    """The compiled segments of a function, in the order in which its paths were found."""

    def __init__(self, paths: PathTree) -> None:
        self._segments = [s for s in paths.segments() if s.graph is not None]

    @property
    def graphs(self) -> list[Any]:
        """The graph of each segment as it was traced."""
        return [s.graph for s in self._segments]

    def text(self, optimized: bool = False) -> str:
        """The graphs as text, before or after the passes."""
        from graphkeras.ir.passes.pipeline import optimise
        from graphkeras.ir.printer import to_text

        return "\n".join(to_text(optimise(g) if optimized else g) for g in self.graphs)

    @property
    def kernels(self) -> list[str]:
        """Sources of the kernels, without repetitions."""
        found: dict[str, None] = {}
        for segment in self._segments:
            found.update(dict.fromkeys(_sources(segment)))
        return list(found)

    def __str__(self) -> str:
        return self.text()


def _sources(segment: Segment) -> list[str]:
    program = getattr(segment.executable, "program", None)
    return [] if program is None else [source for kernel in program.kernels for source in kernel.sources]


class _Input:
    """Where an array stands in the arguments."""

    def __init__(self, type: TensorType) -> None:
        self.type = type

    @staticmethod
    def of(x: Any) -> Any:
        array = _array(x)
        return x if array is None else _Input(TensorType(array.shape, dtype_name(array.dtype)))


class _Output:
    """Where a traced tensor stood in what the function returned."""

    def __init__(self, index: int) -> None:
        self.index = index

    @staticmethod
    def pack(result: Any, trace: Trace) -> Recorded:
        outputs: list[Tensor] = []

        def place(x: Any) -> Any:
            if isinstance(x, Variable):
                x = x.value
            if not isinstance(x, Tensor) or x.trace is None:
                return x
            outputs.append(x)
            return _Output(len(outputs) - 1)

        payload = tree.map_structure(place, result)
        return Recorded(outputs, payload)

    @staticmethod
    def unpack(payload: Any, arrays: Sequence[np.ndarray]) -> Any:
        return tree.map_structure(lambda x: Tensor(arrays[x.index]) if isinstance(x, _Output) else x, payload)


def _array(x: Any) -> np.ndarray | None:
    """The array of an argument that is an input of the graph; None for everything that is part of the code."""
    if isinstance(x, Tensor):
        return x.numpy()
    return np.asarray(x) if isinstance(x, (np.ndarray, np.generic)) else None


def _kind(x: Any) -> Any:
    """What has to agree for two arguments to use the same trace."""
    array = _array(x)
    if array is not None:
        return "array", array.dtype.name, array.shape
    if isinstance(x, (bool, int, float, complex, str, bytes, type(None))):
        return type(x).__name__, repr(x)
    return type(x).__name__, id(x)


def _text(kind: Any) -> str:
    return f"{kind[1]}{list(kind[2])}" if kind[0] == "array" else f"{kind[0]} {kind[1]}"


def _structure(x: Any) -> Any:
    if isinstance(x, dict):
        return "dict", *((k, _structure(v)) for k, v in x.items())
    if isinstance(x, (list, tuple)):
        return type(x).__name__, *map(_structure, x)
    return "*"


def function(
    fn: Callable[..., Any] | None = None, *, input_signature: Sequence[Any] | None = None, verbose: bool = False
) -> Any:
    """Compile a Python function of tensors.

    Args:
        fn: function of tensors, arrays, Python values and nested structures of them. It may read and assign variables,
            and look at values (`if`, `while`, `int(t)`): each way through its code is compiled when it is first taken.
        input_signature: list of `InputSpec`s or `KerasTensor`s, one per positional argument: arguments are converted to
            these dtypes and must have these shapes (None: any extent).
        verbose: print why the function is traced anew. The reasons are also in `trace_reasons`.

    Returns:
        `CompiledFunction`, which is called like `fn`. Arrays may change from call to call; other values, shapes and
        dtypes each have a trace of their own. Python code runs only while it is traced. `lower(*args)` shows graphs
        and kernels.

    Example:

    >>> import graphkeras as keras
    >>> from graphkeras import ops
    >>> @keras.function
    ... def halve(x, limit):
    ...     while ops.sum(x) > limit:
    ...         x = x / 2
    ...     return x
    >>> halve(ops.array([4.0, 8.0]), ops.array(4.0)).tolist()
    [1.0, 2.0]
    """
    if fn is None:
        return functools.partial(function, input_signature=input_signature, verbose=verbose)
    if not callable(fn):
        raise TypeError(f"function() takes a callable. Received: {fn!r} (of type {type(fn).__name__}).")
    return CompiledFunction(fn, input_signature, verbose)
