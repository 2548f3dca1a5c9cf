"""The real driver's class on a stand-in for cuda.bindings.driver, which does as its manual says, on the simulator."""

from __future__ import annotations

import ctypes
import enum
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from graphkeras.codegen import flags
from graphkeras.codegen.compile import compile_graph
from graphkeras.codegen.cuda import compiler, driver, product_launch, simulator
from graphkeras.codegen.cuda import device as devices
from graphkeras.codegen.cuda.compiler import Cubin, CudaUnavailable
from graphkeras.codegen.cuda.device import Device, OutOfMemory
from graphkeras.codegen.cuda.simulator_memory import Memory
from graphkeras.codegen.cuda.target import CUDA, target_for
from graphkeras.codegen.kernel import Buffer, TensorMap, Where, Window
from graphkeras.ir import residence
from graphkeras.ir.graph import Builder, Graph
from graphkeras.ir.interpreter import evaluate
from graphkeras.ir.types import TensorType, numpy_dtype


class Result(enum.IntEnum):
    CUDA_SUCCESS = 0
    CUDA_ERROR_OUT_OF_MEMORY = 2
    CUDA_ERROR_NO_DEVICE = 100
    CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED = 900


NOWHERE = Buffer(0, Where.ARENA)
MAP_TYPES = {"bf16": ("bfloat16",), "f16": ("float16",), "f32": ("float32",), "tf32": ("float32",)}


@dataclass
class Description:
    """A CUtensorMap: opaque, passed by value."""

    handle: int

    def getPtr(self) -> int:
        return 0


class Bindings:
    """The functions of cuda.bindings.driver that are used: each returns a tuple whose first element is the error."""

    CUresult = Result
    CUdevice_attribute = SimpleNamespace(
        CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR=75,
        CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR=76,
        CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT=16,
    )
    CUfunction_attribute = SimpleNamespace(CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES=8)
    CUtensorMapDataType = SimpleNamespace(
        CU_TENSOR_MAP_DATA_TYPE_BFLOAT16="bf16",
        CU_TENSOR_MAP_DATA_TYPE_FLOAT16="f16",
        CU_TENSOR_MAP_DATA_TYPE_FLOAT32="f32",
        CU_TENSOR_MAP_DATA_TYPE_TFLOAT32="tf32",
    )
    CUtensorMapInterleave = SimpleNamespace(CU_TENSOR_MAP_INTERLEAVE_NONE="none")
    CUtensorMapSwizzle = SimpleNamespace(CU_TENSOR_MAP_SWIZZLE_128B="128B")
    CUtensorMapL2promotion = SimpleNamespace(CU_TENSOR_MAP_L2_PROMOTION_L2_256B="256B")
    CUtensorMapFloatOOBfill = SimpleNamespace(CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE="zeros")
    cuuint32_t = cuuint64_t = int
    CUstream_flags = SimpleNamespace(CU_STREAM_NON_BLOCKING=1)
    CUevent_flags = SimpleNamespace(CU_EVENT_DEFAULT=0, CU_EVENT_DISABLE_TIMING=2)
    CUstreamCaptureMode = SimpleNamespace(CU_STREAM_CAPTURE_MODE_THREAD_LOCAL=1)

    def __init__(self, total: int = 1 << 26) -> None:
        self.memory, self.total, self.used = Memory(), total, 0
        self.recording: list[Any] | None = None
        self.sizes: dict[int, int] = {}
        self.kept: list[Any] = []
        self.graph_launches = 0
        self.largest_shared: dict[str, int] = {}

    def _queue(self, task: Any) -> tuple[Result]:
        if self.recording is not None:
            self.recording.append(task)
        else:
            task()
        return (Result.CUDA_SUCCESS,)

    def cuDeviceGetCount(self) -> Any:
        return Result.CUDA_SUCCESS, 1

    def cuDeviceGet(self, number: int) -> Any:
        return Result.CUDA_SUCCESS, number

    def cuDevicePrimaryCtxRetain(self, device: int) -> Any:
        return Result.CUDA_SUCCESS, "context"

    def cuCtxSetCurrent(self, context: str) -> Any:
        assert context == "context"
        return (Result.CUDA_SUCCESS,)

    def cuDeviceGetAttribute(self, attribute: int, device: int) -> Any:
        return Result.CUDA_SUCCESS, {75: 9, 76: 0, 16: 132}[attribute]

    def cuDeviceGetName(self, length: int, device: int) -> Any:
        return Result.CUDA_SUCCESS, b"Stand-in".ljust(length, b"\0")

    def cuMemGetInfo(self) -> Any:
        return Result.CUDA_SUCCESS, self.total - self.used, self.total

    def cuMemAlloc(self, nbytes: int) -> Any:
        if self.recording is not None:
            return Result.CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, 0
        if self.used + nbytes > self.total:
            return Result.CUDA_ERROR_OUT_OF_MEMORY, 0
        self.used += nbytes
        address = self.memory.allocate(nbytes)
        self.sizes[address] = nbytes
        return Result.CUDA_SUCCESS, address

    def cuMemFree(self, address: int) -> Any:
        self.used -= self.sizes.pop(address)
        self.memory.free(address)
        return (Result.CUDA_SUCCESS,)

    def cuMemHostAlloc(self, nbytes: int, flags: int) -> Any:
        buffer = (ctypes.c_uint8 * nbytes)()
        self.kept.append(buffer)
        return Result.CUDA_SUCCESS, ctypes.addressof(buffer)

    def cuMemcpyHtoDAsync(self, target: int, host: int, nbytes: int, stream: str) -> Any:
        def task() -> None:
            self.memory.write(target, np.frombuffer(ctypes.string_at(host, nbytes), np.uint8))

        return self._queue(task)

    def cuMemcpyDtoHAsync(self, host: int, source: int, nbytes: int, stream: str) -> Any:
        def task() -> None:
            ctypes.memmove(host, self.memory.read(source, nbytes).tobytes(), nbytes)

        return self._queue(task)

    def cuMemcpyDtoDAsync(self, target: int, source: int, nbytes: int, stream: str) -> Any:
        return self._queue(lambda: self.memory.write(target, self.memory.read(source, nbytes)))

    def cuModuleLoadData(self, image: bytes) -> Any:
        return Result.CUDA_SUCCESS, image

    def cuModuleGetFunction(self, module: bytes, name: bytes) -> Any:
        assert name == b"gk_kernel"
        return Result.CUDA_SUCCESS, module.decode()

    def cuFuncSetAttribute(self, function: str, attribute: int, value: int) -> Any:
        assert attribute == 8
        self.largest_shared[function] = value
        return (Result.CUDA_SUCCESS,)

    def cuLaunchKernel(
        self,
        f: str,
        gx: int,
        gy: int,
        gz: int,
        bx: int,
        by: int,
        bz: int,
        shared: int,
        stream: str,
        params: Any,
        extra: int,
    ) -> Any:
        assert (gy, gz, by, bz, extra) == (1, 1, 1, 1, 0) and f"THREADS = {bx}\n" in f
        assert shared <= 48 * 1024 or self.largest_shared[f] >= shared
        values, kinds = params
        letters = f.split('SIGNATURE = "')[1].split('"')[0]
        known = {"f": ctypes.c_double, "t": None}
        assert [known.get(letter, ctypes.c_int64) for letter in letters] == list(kinds)
        values = [v.handle if isinstance(v, Description) else v for v in values]

        def task() -> None:
            simulator.run(f, values, blocks=gx, memory=self.memory, shared=shared).raise_if_wrong()

        return self._queue(task)

    def cuOccupancyMaxActiveBlocksPerMultiprocessor(self, f: str, threads: int, shared: int) -> Any:
        return Result.CUDA_SUCCESS, 1

    def cuTensorMapEncodeTiled(
        self, dtype: str, rank: int, address: int, extents: Any, steps: Any, box: Any, strides: Any, *how: str
    ) -> Any:
        assert how == ("none", "128B", "256B", "zeros") and strides == [1] * rank and len(extents) == rank
        spec = TensorMap(NOWHERE, 0, *MAP_TYPES[dtype], tuple(extents), tuple(steps), tuple(box))
        return self._described(spec, dtype, address)

    def cuTensorMapEncodeIm2col(
        self,
        dtype: str,
        rank: int,
        address: int,
        extents: Any,
        steps: Any,
        low: Any,
        high: Any,
        channels: int,
        pixels: int,
        strides: Any,
        *how: str,
    ) -> Any:
        assert how == ("none", "128B", "256B", "zeros") and strides[0] == strides[-1] == 1 and len(strides) == rank
        window = Window(tuple(low), tuple(high), tuple(strides[1:-1]))
        spec = TensorMap(NOWHERE, 0, *MAP_TYPES[dtype], tuple(extents), tuple(steps), (channels, pixels), window)
        return self._described(spec, dtype, address)

    def _described(self, spec: TensorMap, dtype: str, address: int) -> Any:
        spec = replace(spec, rounded=dtype == "tf32")
        return Result.CUDA_SUCCESS, Description(self.memory.describe(spec, address))

    def cuStreamCreate(self, flags: int) -> Any:
        return Result.CUDA_SUCCESS, "stream"

    def cuStreamBeginCapture(self, stream: str, mode: int) -> Any:
        self.recording = []
        return (Result.CUDA_SUCCESS,)

    def cuStreamEndCapture(self, stream: str) -> Any:
        tasks, self.recording = self.recording, None
        return Result.CUDA_SUCCESS, tasks

    def cuGraphInstantiate(self, graph: Any, flags: int) -> Any:
        return Result.CUDA_SUCCESS, list(graph)

    def cuGraphDestroy(self, graph: Any) -> Any:
        graph.clear()
        return (Result.CUDA_SUCCESS,)

    def cuGraphExecDestroy(self, graph: Any) -> Any:
        return (Result.CUDA_SUCCESS,)

    def cuGraphLaunch(self, graph: Any, stream: str) -> Any:
        self.graph_launches += 1
        for task in graph:
            task()
        return (Result.CUDA_SUCCESS,)

    def cuEventCreate(self, flags: int) -> Any:
        return Result.CUDA_SUCCESS, "event"

    def cuEventRecord(self, event: str, stream: str) -> Any:
        return (Result.CUDA_SUCCESS,)

    def cuEventRecordWithFlags(self, event: str, stream: str, flags: int) -> Any:
        assert flags == 1 and self.recording is not None
        self.recording.append(lambda: None)
        return (Result.CUDA_SUCCESS,)

    def cuEventElapsedTime(self, first: str, second: str) -> Any:
        return Result.CUDA_SUCCESS, 0.25

    def cuEventDestroy(self, event: str) -> Any:
        return (Result.CUDA_SUCCESS,)

    def cuEventSynchronize(self, event: str) -> Any:
        return (Result.CUDA_SUCCESS,)

    def cuStreamSynchronize(self, stream: str) -> Any:
        return (Result.CUDA_SUCCESS,)

    def cuStreamWaitEvent(self, stream: str, event: str, flags: int) -> Any:
        return (Result.CUDA_SUCCESS,)


@pytest.fixture
def bindings(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bindings]:
    made = Bindings()
    monkeypatch.setattr(driver, "_bindings", lambda: made)
    monkeypatch.setattr(compiler, "load", lambda sources, arch: [Cubin(s.encode(), 32, 0, 0, 0) for s in sources])
    monkeypatch.setitem(devices._devices, "cuda:0", Device(driver.CudaDriver(0)))
    yield made


def test_a_program_on_the_driver(bindings: Bindings) -> None:
    b = Builder()
    x = b.input(TensorType((40, 24), "float32"), "x")
    w = b.input(TensorType((24,), "float32"), "w")
    graph = Graph([x, w], [b.add(w, b.reduce_sum(b.tanh(x), axes=(0,), keepdims=False)), b.softmax(x, axis=1)])
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(n.shape).astype(np.float32) for n in graph.inputs]
    expected = evaluate(graph, arrays)
    with devices.using("cuda:0") as device:
        assert device.driver.name == "Stand-in" and device.driver.arch == (9, 0)
        program = compile_graph(graph, {0: 1}, target=CUDA)
    result = np.empty((40, 24), np.float32)
    program.bind(arrays, [arrays[1], result], state=(1,))
    program.run(1)
    residence.refresh(arrays[1])
    np.testing.assert_allclose(arrays[1], expected[0], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(result, expected[1], rtol=1e-5)
    program.run(3)
    assert bindings.graph_launches == 4
    assert program.measured() == [pytest.approx(0.25e-3)] * len(program.kernels_run)


@pytest.mark.parametrize("what", ["product", "convolution"])
def test_descriptions_of_arrays_reach_the_kernels(
    bindings: Bindings, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Kernels of Hopper's own get them by value, in the graph that is captured once."""
    monkeypatch.setattr(product_launch, "synchronous_cycles", lambda *_: float("inf"))
    b = Builder()
    if what == "product":
        x, y = b.input(TensorType((72, 64), "float32"), "x"), b.input(TensorType((80, 64), "float32"), "y")
        result = b.dot_general(x, y, contract=((1,), (1,)), batch=((), ()))
    else:
        x, y = b.input(TensorType((4, 7, 6, 64), "bfloat16"), "x"), b.input(TensorType((3, 3, 64, 64), "bfloat16"), "y")
        result = b.conv(x, y, strides=(2, 1), padding=((1, 1), (0, 1)), dilation=(1, 1), groups=1)
    graph = Graph([x, y], [result])
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(n.shape).astype(numpy_dtype(n.dtype)) for n in graph.inputs]
    with devices.using("cuda:0") as device, flags.TF32(1):
        program = compile_graph(graph, target=device.target)
    assert "hopper_product" in program.kernels[0].name
    got = np.empty(result.shape, numpy_dtype(result.dtype))
    program.bind(arrays, [got])
    for _ in range(3):  # two places for data, in turn
        got[...] = 0
        program.run()
        want = evaluate(graph, arrays)[0].astype(np.float64)
        np.testing.assert_allclose(got.astype(np.float64), want, rtol=8e-3, atol=8e-3 * np.abs(want).max())
        arrays[0][...] = -arrays[0]
    assert bindings.graph_launches == 3


def test_kernels_for_older_gpus_can_be_asked_for(bindings: Bindings) -> None:
    with devices.using("cuda:0") as device:
        assert device.target.arch == (9, 0)
        with flags.GPU("8.0"):
            assert device.target is target_for((8, 0))
        with (
            flags.GPU("10.0"),
            pytest.raises(ValueError, match=r"GRAPHKERAS_GPU: expected 8\.0 or .* 9\.0, received 10\.0"),
        ):
            _ = device.target
        with pytest.raises(ValueError, match="a compute capability such as"), flags.GPU("new"):
            pass


def test_errors_of_the_driver_have_names(bindings: Bindings) -> None:
    made = driver.CudaDriver(0)
    with pytest.raises(driver.DeviceMemoryError):
        made.allocate(1 << 30)
    made.begin_capture("stream")
    with pytest.raises(driver.DriverError, match="cuMemAlloc: CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED"):
        made.allocate(64)
    made.end_capture("stream")
    with pytest.raises(CudaUnavailable, match=r"cuda:3 was asked for, but the driver shows 1 device"):
        driver.CudaDriver(3)
    with pytest.raises(OutOfMemory, match=r"64\.0 MiB"):
        Device(made).take(1 << 30, "a test")


def test_the_functions_exist() -> None:
    """With the package installed: everything that the driver calls is there by that name."""
    if importlib.util.find_spec("cuda") is None or importlib.util.find_spec("cuda.bindings") is None:
        pytest.skip("cuda-bindings is not installed")
    from cuda.bindings import driver as cu

    for name in dir(Bindings):
        if name.startswith(("cu", "CU")):
            assert hasattr(cu, name), name
    for holder in (Bindings.CUdevice_attribute, Bindings.CUstream_flags, Bindings.CUevent_flags):
        kind = next(k for k, v in vars(Bindings).items() if v is holder)
        for name, value in vars(holder).items():
            assert int(getattr(getattr(cu, kind), name)) == value
