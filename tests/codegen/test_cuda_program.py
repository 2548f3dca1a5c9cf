"""Plans on a simulated CUDA device: graphs, copies to and fro, state that stays, errors that say what is wrong."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from graphkeras.codegen.compile import compile_graph
from graphkeras.codegen.cuda import device as devices
from graphkeras.codegen.cuda.device import Device, OutOfMemory
from graphkeras.codegen.cuda.driver import DriverError
from graphkeras.codegen.cuda.program import CudaProgram
from graphkeras.codegen.cuda.simulated import SimulatedDriver
from graphkeras.codegen.cuda.target import CUDA
from graphkeras.ir import residence
from graphkeras.ir.graph import Builder, Graph
from graphkeras.ir.interpreter import evaluate
from graphkeras.ir.node import Origin
from graphkeras.ir.types import TensorType


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[Device]:
    made = Device(SimulatedDriver())
    monkeypatch.setitem(devices._devices, "cuda:simulated", made)
    with devices.using("cuda:simulated"):
        yield made


def compiled(graph: Graph, aliases: dict[int, int] | None = None) -> CudaProgram:
    program = compile_graph(graph, aliases, target=CUDA)
    assert isinstance(program, CudaProgram)
    return program


def linear_step(shapes: Sequence[tuple[int, int]] = ((8, 12),)) -> tuple[Graph, dict[int, int]]:
    """Gradient descent on sum((x * w - y)**2): weights and a step counter are state, x and y data."""
    b = Builder()
    data, state, outputs = [], [], []
    for shape in shapes:
        data += [b.input(TensorType(shape, "float32"), "x"), b.input(TensorType(shape, "float32"), "y")]
    for shape in shapes:
        state.append(b.input(TensorType(shape[1:], "float32"), "w"))
    count = b.input(TensorType((), "int64"), "count")
    losses = []
    for k, w in enumerate(state):
        x, y = data[2 * k : 2 * k + 2]
        error = b.sub(b.mul(x, w), y)
        losses.append(b.reduce_sum(b.mul(error, error), axes=(0, 1), keepdims=False))
        slope = b.reduce_sum(b.mul(error, x), axes=(0,), keepdims=False)
        with b.origin(Origin(phase="update")):
            outputs.append(b.sub(w, b.mul(slope, 0.01)))
    outputs += [b.add(count, b.const(1, "int64")), losses[0]]
    first = len(data)
    return Graph([*data, *state, count], outputs), {k: first + k for k in range(len(state) + 1)}


def arrays_of(graph: Graph, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [
        np.zeros(n.shape, np.int64) if n.dtype == "int64" else rng.standard_normal(n.shape).astype(np.float32)
        for n in graph.inputs
    ]


def bind(program: CudaProgram, graph: Graph, aliases: dict[int, int], arrays: list[np.ndarray]) -> list[np.ndarray]:
    outputs = [
        arrays[aliases[k]] if k in aliases else np.empty(n.shape, np.float32) for k, n in enumerate(graph.outputs)
    ]
    program.bind(arrays, outputs, state=tuple(aliases.values()))
    return outputs


def reference(graph: Graph, aliases: dict[int, int], arrays: list[np.ndarray], steps: int) -> list[np.ndarray]:
    arrays = [a.copy() for a in arrays]
    for _ in range(steps):
        results = evaluate(graph, arrays)
        for k, source in aliases.items():
            arrays[source] = results[k]
    return results


def test_steps_replay_one_graph(device: Device) -> None:
    graph, aliases = linear_step(((8, 12), (5, 7), (40, 64)))
    program = compiled(graph, aliases)
    arrays = arrays_of(graph)
    expected = reference(graph, aliases, arrays, 7)
    outputs = bind(program, graph, aliases, arrays)
    program.run(4)
    program.run(3)
    for array in outputs:
        residence.refresh(array)
    for got, want in zip(outputs, expected, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)
    assert device.driver.replays == 7 and len(program._graphs) == 2  # two sets of places for the inputs
    assert int(outputs[-2]) == 7


def test_updates_are_one_launch(device: Device) -> None:
    graph, aliases = linear_step(((8, 12), (5, 7), (40, 64)))
    updates = [k for k in compiled(graph, aliases).kernels if k.launch is not None and k.launch.table]
    assert len(updates) == 1 and updates[0].extent == 3


def test_state_stays_on_the_device(device: Device) -> None:
    graph, aliases = linear_step()
    program = compiled(graph, aliases)
    arrays = arrays_of(graph)
    w = arrays[2]
    before = w.copy()
    bind(program, graph, aliases, arrays)
    program.run(1)
    np.testing.assert_array_equal(w, before)  # nobody has asked for it
    residence.refresh(w)
    once = reference(graph, aliases, [*arrays[:2], before, np.zeros((), np.int64)], 1)[0]
    np.testing.assert_allclose(w, once, rtol=1e-5)
    w[:] = 0.0
    residence.changed(w)
    program.run(1)
    residence.refresh(w)
    again = reference(graph, aliases, [*arrays[:2], np.zeros_like(w), np.zeros((), np.int64)], 1)[0]
    np.testing.assert_allclose(w, again, rtol=1e-5, atol=1e-7)


def test_batches_may_change_while_they_travel(device: Device) -> None:
    """A batch is copied before `run` returns: what the caller does to its array afterwards is not seen."""
    b = Builder()
    x = b.input(TensorType((6, 4), "float32"), "x")
    total = b.input(TensorType((4,), "float32"), "total")
    graph = Graph([x, total], [b.add(total, b.reduce_sum(x, axes=(0,), keepdims=False))])
    program = compiled(graph, {0: 1})
    batch, state = np.zeros((6, 4), np.float32), np.zeros(4, np.float32)
    program.bind([batch, state], [state], state=(1,))
    for k in range(5):
        batch[:] = k + 1
        program.run(1)
        batch[:] = -1000.0
    residence.refresh(state)
    np.testing.assert_array_equal(state, np.full(4, 6.0 * 15, np.float32))


def test_leased_arrays_are_uploaded_once(device: Device) -> None:
    b = Builder()
    x = b.input(TensorType((6, 4), "float32"), "x")
    graph = Graph([x], [b.add(x, 1.0)])
    program = compiled(graph)
    data, result = np.ones((6, 4), np.float32), np.empty((6, 4), np.float32)
    device.lease([data])
    program.bind([data], [result])
    program.run(1)
    data[:] = 5.0  # against the promise: not seen
    program.run(1)
    assert result[0, 0] == 2.0
    device.lease([data])
    program.run(1)
    assert result[0, 0] == 6.0


def test_dead_arrays_and_programs_give_their_memory_back(device: Device) -> None:
    free, _ = device.driver.memory()
    graph, aliases = linear_step()
    for _ in range(3):
        program = compiled(graph, aliases)
        arrays = arrays_of(graph)
        outputs = bind(program, graph, aliases, arrays)
        program.run(2)
        del program, arrays, outputs
        gc.collect()
    assert all(len(buffers) <= 4 for buffers in device.host_pool.values())  # and so do page-locked buffers
    device.trim()
    assert free - device.driver.memory()[0] == device.arena_nbytes


def test_out_of_memory_gives_the_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(devices._devices, "cuda:simulated", Device(SimulatedDriver(1 << 20)))
    b = Builder()
    x = b.input(TensorType((1 << 19,), "float32"), "x")
    with devices.using("cuda:simulated"):
        program = compiled(Graph([x], [b.add(x, 1.0)]))
    array = np.zeros(1 << 19, np.float32)
    program.bind([array], [np.empty_like(array)])
    with pytest.raises(OutOfMemory, match=r"2\.0 MiB are wanted for .* of 1\.0 MiB are free.*batch_size"):
        program.run()


def test_loops_are_unrolled_into_the_graph(device: Device) -> None:
    body = Builder()
    carry, x = body.input(TensorType((5,), "float32"), "carry"), body.input(TensorType((5,), "float32"), "x")
    new = body.add(body.mul(carry, 0.5), x)
    step = Graph([carry, x], [new, body.mul(new, 2.0)])
    b = Builder()
    first, xs = b.input(TensorType((5,), "float32"), "first"), b.input(TensorType((6, 5), "float32"), "xs")
    node = b.scan(first, xs, body=step, carries=1, consts=0, length=6, reverse=True)
    graph = Graph([first, xs], [b.item(node, 0), b.item(node, 1)])
    program = compiled(graph)
    arrays = arrays_of(graph)
    results = [np.empty(n.shape, np.float32) for n in graph.outputs]
    program.bind(arrays, results)
    program.run()
    for got, want in zip(results, evaluate(graph, arrays), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-6)
    assert device.driver.replays == 1


def test_bad_arrays_are_refused(device: Device) -> None:
    b = Builder()
    x = b.input(TensorType((4,), "float32"), "x")
    program = compiled(Graph([x], [b.neg(x)]))
    good = np.zeros(4, np.float32)
    with pytest.raises(RuntimeError, match="bind"):
        program.run()
    with pytest.raises(ValueError, match="input 0: expected"):
        program.bind([np.zeros(5, np.float32)], [good])
    with pytest.raises(ValueError, match="expected 1 output arrays, received 0"):
        program.bind([good], [])
    with pytest.raises(TypeError, match="NumPy array"):
        program.bind([[0.0] * 4], [good])


def test_a_capture_refuses_what_cuda_refuses(device: Device) -> None:
    device.driver.begin_capture(device.stream)
    with pytest.raises(DriverError, match="captured"):
        device.driver.allocate(64)
    with pytest.raises(DriverError, match="captured"):
        device.driver.synchronize(device.stream)
    device.driver.end_capture(device.stream)


def test_memory_is_given_back_once(device: Device) -> None:
    """An array that dies after its lease has ended does not give back what is another's by then."""
    first = np.zeros(100, np.float32)
    device.lease([first])
    device.end_lease([first])
    kept = np.ones(100, np.float32)
    other = device.resident(kept)
    del first
    gc.collect()
    assert device.take(400, "a test") != other.address
    device.release()


def test_a_few_steps_tell_the_times_of_their_kernels(device: Device) -> None:
    graph, aliases = linear_step()
    program = compiled(graph, aliases)
    arrays = arrays_of(graph)
    results = [arrays[aliases[k]] if k in aliases else np.empty(n.shape, n.dtype) for k, n in enumerate(graph.outputs)]
    state = tuple(aliases.values())
    program.bind(arrays, results, state=state)
    program.run()
    assert program.measured() == [0.0] * len(program.kernels_run)  # the first step finds cold caches
    program.run(10)
    times = program.measured()
    assert len(times) == len(program.kernels_run) and all(t > 0 for t in times)
    assert device.driver.replays == 11 and not program._timed
    program.run(5)
    assert program.measured() == times
    residence.refresh_all(arrays)
    before = [a.copy() for a in arrays]
    timings = program.profile(4)
    residence.refresh_all(arrays)
    assert [t.name for t in timings] == [k.name for k in program.kernels_run] and all(t.seconds > 0 for t in timings)
    for array, old in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(array, old)
    program.keep_profile()
    program.stop_profile()
    program.run(3)
    assert program.measured() == [0.0] * len(times)
