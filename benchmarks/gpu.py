"""`python -m benchmarks.gpu`: kernels on a GPU against its copy bandwidth and against PyTorch, and training steps.

All is measured in one run, alternating; PyTorch is left out where it is not installed. A kernel's time is that of many
replays of its captured graph, divided. Nothing of this has been run on hardware yet.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROUNDS = 9
REPLAYS = 50
MB = 1 << 20


def graphs() -> dict[str, tuple[Any, list[np.ndarray], float, float, Callable[[Any, list[Any]], Any] | None]]:
    """name -> (graph, arrays, bytes that must move, flops, the same in PyTorch)."""
    from graphkeras.ir.graph import Builder, Graph
    from graphkeras.ir.types import TensorType

    rng = np.random.default_rng(0)
    found: dict[str, Any] = {}

    def add(
        name: str, make: Callable[..., Any], shapes: list[tuple[int, ...]], nbytes: float, flops: float, peer: Any
    ) -> None:
        b = Builder()
        inputs = [b.input(TensorType(s, "float32"), f"x{k}") for k, s in enumerate(shapes)]
        arrays = [rng.standard_normal(s).astype(np.float32) for s in shapes]
        found[name] = (Graph(inputs, [make(b, *inputs)]), arrays, nbytes, flops, peer)

    big = (8192, 4096)
    size = 4.0 * big[0] * big[1]
    add("copy (negate)", lambda b, x: b.neg(x), [big], 2 * size, 0, lambda t, a: t.neg(a[0]))
    add(
        "bias + gelu + residual",
        lambda b, x, z, r: b.add(b.gelu(b.add(x, z), approximate=True), r),
        [big, (4096,), big],
        3 * size,
        0,
        lambda t, a: t.nn.functional.gelu(a[0] + a[1], approximate="tanh") + a[2],
    )
    add("softmax", lambda b, x: b.softmax(x, axis=1), [big], 2 * size, 0, lambda t, a: t.softmax(a[0], 1))
    add("row sums", lambda b, x: b.reduce_sum(x, axes=(1,), keepdims=False), [big], size, 0, lambda t, a: a[0].sum(1))
    add(
        "column sums", lambda b, x: b.reduce_sum(x, axes=(0,), keepdims=False), [big], size, 0, lambda t, a: a[0].sum(0)
    )
    add("sum", lambda b, x: b.reduce_sum(x, axes=(0, 1), keepdims=False), [big], size, 0, lambda t, a: a[0].sum())
    for n in (1024, 4096):
        add(
            f"product {n}",
            lambda b, x, y: b.dot_general(x, y, contract=((1,), (0,)), batch=((), ())),
            [(n, n), (n, n)],
            12.0 * n * n,
            2.0 * n**3,
            lambda t, a: a[0] @ a[1],
        )
    settings = {"strides": (1, 1), "padding": ((1, 1), (1, 1)), "dilation": (1, 1), "groups": 1}
    add(
        "convolution 3x3",
        lambda b, x, w: b.conv(x, w, **settings),
        [(64, 56, 56, 64), (3, 3, 64, 64)],
        4.0 * 2 * 64 * 56 * 56 * 64,
        2.0 * 64 * 56 * 56 * 64 * 64 * 9,
        lambda t, a: t.nn.functional.conv2d(a[0].permute(0, 3, 1, 2), a[1].permute(3, 2, 0, 1), padding=1),
    )
    return found


def ours(graph: Any, arrays: list[np.ndarray], device_name: str) -> Callable[[int], float]:
    """Seconds of one replay, measured over so many; inputs and outputs stay on the device."""
    from graphkeras.codegen.compile import compile_graph
    from graphkeras.codegen.cuda import device as devices
    from graphkeras.codegen.cuda.target import CUDA
    from graphkeras.ir.types import numpy_dtype

    with devices.using(device_name) as device:
        program = compile_graph(graph, target=CUDA)
    outputs = [np.empty(n.shape, numpy_dtype(n.dtype)) for n in graph.outputs]
    program.bind(arrays, outputs, state=range(len(arrays)))
    program.run()
    captured = next(iter(program._graphs.values()))[0]

    def measure(replays: int) -> float:
        device.enter()
        device.driver.synchronize(device.stream)
        started = time.perf_counter()
        for _ in range(replays):
            device.driver.replay(captured, device.stream)
        device.driver.synchronize(device.stream)
        return (time.perf_counter() - started) / replays

    return measure


def theirs(peer: Callable[[Any, list[Any]], Any], arrays: list[np.ndarray]) -> Callable[[int], float] | None:
    """The same with PyTorch, eagerly; None where it or its GPU is not there."""
    if importlib.util.find_spec("torch") is None:
        return None
    import torch

    if not torch.cuda.is_available():
        return None
    torch.backends.cuda.matmul.allow_tf32 = False  # we have no tf32 kernels yet: float32 against float32
    torch.backends.cudnn.allow_tf32 = False
    given = [torch.from_numpy(a).cuda() for a in arrays]

    def measure(replays: int) -> float:
        torch.cuda.synchronize()
        started = time.perf_counter()
        for _ in range(replays):
            peer(torch, given)
        torch.cuda.synchronize()
        return (time.perf_counter() - started) / replays

    measure(3)
    return measure


def kernels(device_name: str, names: list[str]) -> list[dict[str, Any]]:
    rows = []
    roof = 0.0
    for name, (graph, arrays, nbytes, flops, peer) in graphs().items():
        if names and not any(n in name for n in names) and not name.startswith("copy"):
            continue
        own, other = ours(graph, arrays, device_name), theirs(peer, arrays) if peer is not None else None
        samples: dict[str, list[float]] = {"ours": [], "torch": []}
        for _ in range(ROUNDS):
            samples["ours"].append(own(REPLAYS))
            if other is not None:
                samples["torch"].append(other(REPLAYS))
        best = statistics.median(samples["ours"])
        rate = nbytes / best
        roof = max(roof, rate) if name.startswith("copy") else roof
        row = {"kernel": name, "seconds": best, "GB/s": rate / 1e9, "TFLOP/s": flops / best / 1e12, "samples": samples}
        row["of copy"] = rate / roof if roof and not flops else None
        row["torch / ours"] = statistics.median(samples["torch"]) / best if samples["torch"] else None
        rows.append(row)
        told = f"{name:24s} {best * 1e6:9.1f} us  {rate / 1e9:7.0f} GB/s  {row['TFLOP/s']:7.2f} TFLOP/s"
        told += f"  {row['of copy']:.2f} of copy" if row["of copy"] else ""
        told += f"  torch / ours {row['torch / ours']:.2f}" if row["torch / ours"] else ""
        print(told, flush=True)
    return rows


def training(device_name: str, names: list[str]) -> list[dict[str, Any]]:
    """Steps per second of small models, whole arrays on the device."""
    import graphkeras as keras
    from tests.gpu.test_gpu_training import MODELS

    rows = []
    for make in MODELS:
        if names and make.__name__ not in names:
            continue
        rng = np.random.default_rng(1)
        x, y = rng.standard_normal((4096, 20)).astype("float32"), rng.integers(0, 4, 4096)
        with keras.device(device_name):
            model = make()
            model.compile("adam", "sparse_categorical_crossentropy")
            model.fit(x, y, batch_size=32, epochs=1, verbose=0)
            seconds = []
            for _ in range(ROUNDS):
                started = time.perf_counter()
                model.fit(x, y, batch_size=32, epochs=2, verbose=0)
                seconds.append(time.perf_counter() - started)
        rate = 256 / statistics.median(seconds)
        rows.append({"model": make.__name__, "steps/s": rate, "samples": seconds})
        print(f"{make.__name__:24s} {rate:9.0f} steps/s (batch 32)", flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("names", nargs="*", help="parts of kernels' names, or models (default: all)")
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--out", default="benchmarks/results/gpu.json")
    arguments = parser.parse_args()
    from graphkeras.codegen.cuda import device as devices
    from graphkeras.codegen.cuda.compiler import CudaUnavailable

    try:
        device = devices.get(arguments.device)
    except CudaUnavailable as error:
        sys.exit(f"nothing can be measured here: {error}")
    print(f"{device.driver.name}, {device.driver.memory()[1] / MB:,.0f} MiB", flush=True)
    report = {
        "device": device.driver.name,
        "kernels": kernels(arguments.device, arguments.names),
        "training": training(arguments.device, arguments.names),
    }
    path = Path(arguments.out)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=1))
    print(f"written to {path}")


if __name__ == "__main__":
    main()
