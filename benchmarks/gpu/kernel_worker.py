"""A library in a process of its own that times single kernels: `kernel_worker.py LIBRARY DEVICE SIZES`,
LIBRARY a name of `contestants`: graphkeras, graphkeras mma.sync, torch.

Requests (JSON lines): {"do": "prepare", "suite": s, "case": name} -> {"norms"} of its results;
{"do": "copy", "nbytes": n} prepares copies instead; {"do": "time", "seconds": s} -> seconds per call.
What goes wrong is answered as {"error": text}: whoever asks decides whether this process can be used further.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

sys.path[0] = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import numpy as np  # noqa: E402

from benchmarks.gpu import cases  # noqa: E402
from benchmarks.worker import own_stdout  # noqa: E402


def main() -> None:
    out = own_stdout()
    library, device, sizes = sys.argv[1:4]
    if library == "torch":
        from benchmarks.gpu import torch_kernels

        worker = Worker(torch_kernels.prepare, torch_kernels.copying, device, sizes)
    else:
        from benchmarks.gpu import ours

        worker = Worker(partial(ours.prepare, older=library != "graphkeras"), ours.copying, device, sizes)
    print(json.dumps({"library": library}), file=out, flush=True)
    for line in sys.stdin:
        try:
            answer = worker.answer(json.loads(line))
        except Exception as error:  # whatever a library may raise
            answer = {"error": f"{type(error).__name__}: {error}"[:600]}
        print(json.dumps(answer), file=out, flush=True)


class Worker:
    """One kernel at a time: `run` is what the last `prepare` made."""

    def __init__(self, prepare: Callable[..., Any], copying: Callable[..., Any], device: str, sizes: str) -> None:
        self.prepare, self.copying, self.device, self.sizes = prepare, copying, device, sizes
        self.run: Callable[[int], None] | None = None
        self.count = 1

    def answer(self, request: dict[str, Any]) -> Any:
        if request["do"] == "time":
            assert self.run is not None
            return self._time(request["seconds"])
        self.run, self.count = None, 1  # what the last case held goes first
        if request["do"] == "copy":
            self.run = self.copying(self.device, request["nbytes"])
            return {}
        case = cases.find(request["suite"], self.sizes, request["case"])
        self.run, results = self.prepare(case, self.device)
        self.run(1)
        if case.case.kernel == "adam":  # what it gives depends on how often it ran
            return {"norms": []}
        flat = [r.reshape(-1).astype(np.float64) for r in results()]
        return {"norms": [math.sqrt(float(v @ v)) for v in flat]}

    def _time(self, seconds: float) -> float:
        """Seconds per call in a row of calls that takes about so long, found by the first request."""
        assert self.run is not None
        while True:
            begin = time.perf_counter()
            self.run(self.count)
            taken = time.perf_counter() - begin
            if taken >= seconds / 2:
                return taken / self.count
            self.count = max(self.count + 1, math.ceil(self.count * min(seconds / max(taken, 1e-9), 16.0)))


if __name__ == "__main__":
    main()
