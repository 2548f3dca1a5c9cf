"""What the runtime asks of a CUDA driver, and the real one, through cuda.bindings.

The interface is small so that a simulated device can stand in for it in tests (`simulated.py`). Addresses are integers,
streams, events, functions and graphs are opaque. Copies, launches and replays are queued; `synchronize` waits.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from graphkeras.codegen.cuda import compiler
from graphkeras.codegen.cuda.compiler import CudaUnavailable
from graphkeras.codegen.kernel import Kernel, TensorMap

MAP_TYPES = {"float32": "FLOAT32", "float16": "FLOAT16", "bfloat16": "BFLOAT16"}
"""The driver's names of what the copy engine moves."""


CHOICES_SINCE = 12080
"""The driver's version from which graphs hold loops and branches out of several."""
RECORD_IN_GRAPH = 1
"""CU_EVENT_RECORD_EXTERNAL: a node of the graph, not an order among streams that the capture turns into edges."""
SPARE = 4
"""Loops and branches inside of each other for which streams are made before a capture begins."""


class DeviceMemoryError(MemoryError):
    """The device has not enough memory left."""


class DriverError(RuntimeError):
    """The CUDA driver reported an error; the message holds its name."""


class Driver(Protocol):
    """A device that kernels run on."""

    name: str
    arch: tuple[int, int]

    def memory(self) -> tuple[int, int]:
        """Free and total bytes."""

    def allocate(self, nbytes: int) -> int:
        """Address of device memory, 256-byte aligned; DeviceMemoryError where there is none."""

    def free(self, address: int) -> None: ...

    def host_buffer(self, nbytes: int) -> np.ndarray:
        """Page-locked host memory as uint8, for copies that run beside the program."""

    def function(self, kernel: Kernel) -> Any:
        """The loaded kernel, compiled where it is not in the cache."""

    def tensor_map(self, spec: TensorMap, address: int) -> Any:
        """The description of an array for the copy engine, to be given among the `words` of a launch."""

    def stream(self) -> Any: ...

    def upload(self, address: int, host: np.ndarray, stream: Any) -> None:
        """Queue a copy of a contiguous host array, which must stay as it is until the copy has run."""

    def download(self, host: np.ndarray, address: int, stream: Any) -> None: ...

    def copy(self, target: int, source: int, nbytes: int, stream: Any) -> None: ...

    def launch(self, function: Any, kernel: Kernel, words: Sequence[Any], stream: Any) -> None:
        """Queue a kernel; `words` are its parameters: integers, floats and what `tensor_map` gave."""

    def begin_capture(self, stream: Any) -> None:
        """What is queued from now on becomes a graph instead of running."""

    def end_capture(self, stream: Any) -> Any: ...

    def has_choices(self) -> bool:
        """Whether graphs can hold loops and branches (conditional nodes)."""

    def condition(self, stream: Any) -> int:
        """A new condition in the graph that is being captured; a kernel sets it by this handle (`conditions.py`)."""

    def choice(self, stream: Any, condition: int, loops: bool, count: int) -> list[Any]:
        """Queue a node that runs body number `condition`, or, if it loops, its only body while that is not 0."""

    def begin_body(self, body: Any) -> Any:
        """A stream; what is queued on it becomes the body."""

    def end_body(self, stream: Any) -> None: ...

    def replay(self, graph: Any, stream: Any) -> None: ...

    def drop_graph(self, graph: Any) -> None: ...

    def timer(self) -> Any:
        """An event that knows its time."""

    def drop_timer(self, timer: Any) -> None: ...

    def mark(self, timer: Any, stream: Any) -> None:
        """Queue a record of the time; in a capture each replay records it anew."""

    def seconds(self, first: Any, second: Any) -> float:
        """Between two records that are done."""

    def event(self) -> Any: ...

    def record(self, event: Any, stream: Any) -> None: ...

    def wait(self, stream: Any, event: Any) -> None:
        """What is queued on the stream from now on runs after the event."""

    def wait_event(self, event: Any) -> None:
        """Wait on the host."""

    def synchronize(self, stream: Any) -> None: ...


def parameters(kernel: Kernel, words: Sequence[Any]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Values and C types of a launch; None stands for a structure that is passed by value."""

    def kind(word: Any) -> Any:
        if hasattr(word, "getPtr"):
            return None
        return ctypes.c_double if isinstance(word, float) else ctypes.c_int64

    return tuple(words), tuple(map(kind, words))


class CudaDriver:
    """One NVIDIA GPU."""

    def __init__(self, number: int = 0) -> None:
        self._cu = _bindings()
        self.number = number
        count = self._call("cuDeviceGetCount")
        if number >= count:
            raise CudaUnavailable(f"cuda:{number} was asked for, but the driver shows {count} device(s)")
        device = self._call("cuDeviceGet", number)
        self._context = self._call("cuDevicePrimaryCtxRetain", device)
        self._call("cuCtxSetCurrent", self._context)
        attribute = self._cu.CUdevice_attribute
        major = self._call("cuDeviceGetAttribute", attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, device)
        minor = self._call("cuDeviceGetAttribute", attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, device)
        self.arch = (int(major), int(minor))
        text = self._call("cuDeviceGetName", 256, device)
        self.name = bytes(text).split(b"\0")[0].decode()
        self._functions: dict[str, Any] = {}
        self._modules: list[Any] = []
        self._spare: list[Any] = []  # streams on which the bodies of loops and branches are captured
        self._choices: bool | None = None

    def _call(self, name: str, *args: Any) -> Any:
        """Call the driver; returns its results without the error code."""
        error, *results = getattr(self._cu, name)(*args)
        if error != self._cu.CUresult.CUDA_SUCCESS:
            if error == self._cu.CUresult.CUDA_ERROR_OUT_OF_MEMORY:
                raise DeviceMemoryError(f"{name}: out of memory")
            raise DriverError(f"{name}: {error.name}")
        return results[0] if len(results) == 1 else tuple(results)

    def enter(self) -> None:
        """Make the device current for the calling thread."""
        self._call("cuCtxSetCurrent", self._context)

    # -- memory ------------------------------------------------------------------------------------
    def memory(self) -> tuple[int, int]:
        free, total = self._call("cuMemGetInfo")
        return int(free), int(total)

    def allocate(self, nbytes: int) -> int:
        self.enter()
        return int(self._call("cuMemAlloc", nbytes))

    def free(self, address: int) -> None:
        self.enter()
        self._call("cuMemFree", address)

    def host_buffer(self, nbytes: int) -> np.ndarray:
        self.enter()
        address = int(self._call("cuMemHostAlloc", nbytes, 0))
        return np.ctypeslib.as_array((ctypes.c_uint8 * nbytes).from_address(address))

    def upload(self, address: int, host: np.ndarray, stream: Any) -> None:
        self._call("cuMemcpyHtoDAsync", address, host.ctypes.data, host.nbytes, stream)

    def download(self, host: np.ndarray, address: int, stream: Any) -> None:
        self._call("cuMemcpyDtoHAsync", host.ctypes.data, address, host.nbytes, stream)

    def copy(self, target: int, source: int, nbytes: int, stream: Any) -> None:
        self._call("cuMemcpyDtoDAsync", target, source, nbytes, stream)

    # -- kernels -----------------------------------------------------------------------------------
    def function(self, kernel: Kernel) -> Any:
        found = self._functions.get(kernel.source)
        if found is None:
            self.enter()
            (cubin,) = compiler.load([kernel.source], self.arch)
            module = self._call("cuModuleLoadData", cubin.code)
            found = self._call("cuModuleGetFunction", module, compiler.ENTRY.encode())
            self._modules.append(module)
            self._functions[kernel.source] = found
        assert kernel.launch is not None
        if kernel.launch.shared > 48 * 1024:
            attribute = self._cu.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
            self._call("cuFuncSetAttribute", found, attribute, kernel.launch.shared)
        return found

    def tensor_map(self, spec: TensorMap, address: int) -> Any:
        cu, rank = self._cu, len(spec.extents)
        kind = "TFLOAT32" if spec.rounded else MAP_TYPES[spec.dtype]
        dtype = getattr(cu.CUtensorMapDataType, f"CU_TENSOR_MAP_DATA_TYPE_{kind}")
        array = (address, [cu.cuuint64_t(n) for n in spec.extents], [cu.cuuint64_t(n) for n in spec.steps])
        how = (
            cu.CUtensorMapInterleave.CU_TENSOR_MAP_INTERLEAVE_NONE,
            cu.CUtensorMapSwizzle.CU_TENSOR_MAP_SWIZZLE_128B,
            cu.CUtensorMapL2promotion.CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
            cu.CUtensorMapFloatOOBfill.CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE,  # zeros
        )
        if spec.window is None:
            box, ones = ([cu.cuuint32_t(n) for n in v] for v in (spec.box, (1,) * rank))
            return self._call("cuTensorMapEncodeTiled", dtype, rank, *array, box, ones, *how)
        window, strides = spec.window, [cu.cuuint32_t(n) for n in (1, *spec.window.strides, 1)]
        corners = (list(window.low), list(window.high))
        return self._call("cuTensorMapEncodeIm2col", dtype, rank, *array, *corners, *spec.box, strides, *how)

    def launch(self, function: Any, kernel: Kernel, words: Sequence[Any], stream: Any) -> None:
        assert kernel.launch is not None
        launch = "cuLaunchCooperativeKernel" if kernel.launch.cooperative else "cuLaunchKernel"
        limited = kernel.launch.cooperative or kernel.launch.dealt
        blocks = min(kernel.extent, self._resident(function, kernel)) if limited else kernel.extent
        shape = (blocks, 1, 1, kernel.launch.threads, 1, 1, kernel.launch.shared)
        values = parameters(kernel, words) if words else 0
        if kernel.launch.cooperative:
            self._call(launch, function, *shape, stream, values)
        else:
            self._call(launch, function, *shape, stream, values, 0)

    def _resident(self, function: Any, kernel: Kernel) -> int:
        """Blocks that the device holds at a time."""
        assert kernel.launch is not None
        name = "cuOccupancyMaxActiveBlocksPerMultiprocessor"
        each = self._call(name, function, kernel.launch.threads, kernel.launch.shared)
        if not each:
            raise DriverError(
                f"kernel {kernel.name}: no block of {kernel.launch.threads} threads fits a multiprocessor"
            )
        attribute = self._cu.CUdevice_attribute.CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT
        return int(each) * int(self._call("cuDeviceGetAttribute", attribute, self._call("cuDeviceGet", self.number)))

    # -- streams, graphs, events -------------------------------------------------------------------
    def stream(self) -> Any:
        self.enter()
        return self._call("cuStreamCreate", self._cu.CUstream_flags.CU_STREAM_NON_BLOCKING)

    def begin_capture(self, stream: Any) -> None:
        while len(self._spare) < SPARE:
            self._spare.append(self.stream())
        self._call("cuStreamBeginCapture", stream, self._capture_mode)

    @property
    def _capture_mode(self) -> Any:
        return self._cu.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL

    def end_capture(self, stream: Any) -> Any:
        graph = self._call("cuStreamEndCapture", stream)
        made = self._call("cuGraphInstantiate", graph, 0)
        self._call("cuGraphDestroy", graph)
        return made

    def has_choices(self) -> bool:
        if self._choices is None:
            new = hasattr(self._cu, "cuGraphConditionalHandleCreate") and compiler.can_link_conditions()
            self._choices = new and int(self._call("cuDriverGetVersion")) >= CHOICES_SINCE
        return self._choices

    def condition(self, stream: Any) -> int:
        graph, _ = self._captured_so_far(stream)
        return int(self._call("cuGraphConditionalHandleCreate", graph, self._context, 0, 0))

    def choice(self, stream: Any, condition: int, loops: bool, count: int) -> list[Any]:
        cu = self._cu
        graph, before = self._captured_so_far(stream)
        params, kinds = cu.CUgraphNodeParams(), cu.CUgraphConditionalNodeType
        params.type = cu.CUgraphNodeType.CU_GRAPH_NODE_TYPE_CONDITIONAL
        node = params.conditional
        node.handle, node.ctx, node.size = cu.CUgraphConditionalHandle(condition), self._context, count
        node.type = kinds.CU_GRAPH_COND_TYPE_WHILE if loops else kinds.CU_GRAPH_COND_TYPE_SWITCH
        params.conditional = node
        made = self._call("cuGraphAddNode", graph, before, None, len(before), params)
        replace = cu.CUstreamUpdateCaptureDependencies_flags.CU_STREAM_SET_CAPTURE_DEPENDENCIES
        self._call("cuStreamUpdateCaptureDependencies", stream, [made], None, 1, int(replace))
        return list(params.conditional.phGraph_out)

    def _captured_so_far(self, stream: Any) -> tuple[Any, list[Any]]:
        """The graph that is being captured, and the nodes that the next one follows."""
        _, _, graph, nodes, _, count = self._call("cuStreamGetCaptureInfo", stream)
        return graph, list(nodes[:count])

    def begin_body(self, body: Any) -> Any:
        stream = self._spare.pop() if self._spare else self.stream()
        self._call("cuStreamBeginCaptureToGraph", stream, body, None, None, 0, self._capture_mode)
        return stream

    def end_body(self, stream: Any) -> None:
        self._call("cuStreamEndCapture", stream)
        self._spare.append(stream)

    def replay(self, graph: Any, stream: Any) -> None:
        self._call("cuGraphLaunch", graph, stream)

    def drop_graph(self, graph: Any) -> None:
        self._call("cuGraphExecDestroy", graph)

    def event(self) -> Any:
        self.enter()
        return self._call("cuEventCreate", self._cu.CUevent_flags.CU_EVENT_DISABLE_TIMING)

    def timer(self) -> Any:
        self.enter()
        return self._call("cuEventCreate", self._cu.CUevent_flags.CU_EVENT_DEFAULT)

    def drop_timer(self, timer: Any) -> None:
        self._call("cuEventDestroy", timer)

    def mark(self, timer: Any, stream: Any) -> None:
        self._call("cuEventRecordWithFlags", timer, stream, RECORD_IN_GRAPH)

    def seconds(self, first: Any, second: Any) -> float:
        return float(self._call("cuEventElapsedTime", first, second)) * 1e-3

    def record(self, event: Any, stream: Any) -> None:
        self._call("cuEventRecord", event, stream)

    def wait(self, stream: Any, event: Any) -> None:
        self._call("cuStreamWaitEvent", stream, event, 0)

    def wait_event(self, event: Any) -> None:
        self._call("cuEventSynchronize", event)

    def synchronize(self, stream: Any) -> None:
        self._call("cuStreamSynchronize", stream)


@functools.cache
def _bindings() -> Any:
    """cuda.bindings.driver, initialised; CudaUnavailable says what is missing."""
    compiler.require_packages()
    cu = importlib.import_module("cuda.bindings.driver")
    try:
        (error,) = cu.cuInit(0)
    except RuntimeError as failure:  # libcuda.so.1 is not there
        raise CudaUnavailable(
            f"no NVIDIA driver was found ({failure}). Install the driver of your GPU, or use the CPU: "
            "GRAPHKERAS_TARGET=cpu or graphkeras.config.set_device('cpu')"
        ) from failure
    if error != cu.CUresult.CUDA_SUCCESS:
        raise CudaUnavailable(
            f"the NVIDIA driver does not start: {error.name}. Check nvidia-smi, or use the CPU: "
            "GRAPHKERAS_TARGET=cpu or graphkeras.config.set_device('cpu')"
        )
    return cu
