"""One compile of a workload's training step, by stage: `python compile_worker.py WORKLOAD` prints one JSON line.

The stages are the functions that do them, wrapped by clocks that do not count what nested stages took: `trace` is
everything in the first `train_on_batch` that is none of the others (Python of the model, tracing, autodiff, the
step itself).
"""

from __future__ import annotations

import functools
import importlib
import json
import sys
import time
from typing import Any

from worker import ROOT, bind_cores, own_stdout, process_age

COMPILING = (
    ("optimise", "graphkeras.codegen.compile", "optimise"),
    ("fuse", "graphkeras.codegen.fuse", "Fusion.run"),
    ("lower", "graphkeras.codegen.lower", "Lowering.graph"),
    ("plan", "graphkeras.codegen.compile", "plan_memory"),
)
LOADING = (
    ("kernels", "graphkeras.codegen.cpu.cache", "_objects"),
    ("kernels", "graphkeras.codegen.cpu.cache", "load_known"),
    ("load", "graphkeras.codegen.cpu.target", "load_objects"),
)
"""Stage, module and name of the function that does it."""


class Clocks:
    """Exclusive seconds by stage: while an inner clock runs, the outer one stands."""

    def __init__(self) -> None:
        self.seconds = {stage: 0.0 for stage, *_ in (*COMPILING, *LOADING)}
        self._running: list[str] = []
        self._since = time.perf_counter()

    def enter(self, name: str) -> None:
        self._count()
        self._running.append(name)

    def leave(self) -> None:
        self._count()
        self._running.pop()

    def _count(self) -> None:
        now = time.perf_counter()
        if self._running:
            name = self._running[-1]
            self.seconds[name] = self.seconds.get(name, 0.0) + now - self._since
        self._since = now

    def wrap(self, stage: str, module: str, path: str) -> None:
        """Put a clock around a function; raises AttributeError when it is not there any more."""
        owner: Any = importlib.import_module(module)
        *classes, name = path.split(".")
        for part in classes:
            owner = getattr(owner, part)
        function = getattr(owner, name)

        @functools.wraps(function)
        def clocked(*args: Any, **kwargs: Any) -> Any:
            self.enter(stage)
            try:
                return function(*args, **kwargs)
            finally:
                self.leave()

        setattr(owner, name, clocked)


def main() -> None:
    out = own_stdout()
    bind_cores()
    sys.path[0] = ROOT
    print(json.dumps(measure(sys.argv[1])), file=out, flush=True)


def measure(workload: str) -> dict[str, float]:
    """Seconds by stage of import, building and the first training step, with counts of what was compiled."""
    clocks = Clocks()
    clocks.enter("import")
    import graphkeras as keras
    from benchmarks.workloads import build

    clocks.leave()
    clocks.enter("build")
    work = build(keras, workload)
    work.model.compile(optimizer="adam", loss=work.loss, metrics=work.metrics)
    clocks.leave()
    clocks.enter("import")
    from graphkeras.backend import executor
    from graphkeras.codegen import saved
    from graphkeras.codegen.cpu import cache

    for part in LOADING:
        clocks.wrap(*part)
    clocks.leave()
    compile = saved._compile

    def first_compile(*args: Any) -> Any:
        """The compiler is imported where a program is not on disk, so its clocks are put around it then."""
        saved._compile = compile
        for part in COMPILING:
            clocks.wrap(*part)
        return compile(*args)

    saved._compile = first_compile
    clocks.enter("trace")
    work.model.train_on_batch(work.rows(work.batch_size), work.y[: work.batch_size])
    clocks.leave()
    images = [e.program.image for e in executor.cache._entries.values() if hasattr(e, "program")]
    return {
        **{f"{stage}_s": seconds for stage, seconds in clocks.seconds.items()},
        "process_s": process_age(),
        "kernels_count": sum(len(i.calls) for i in images),
        "sources_count": len({symbol for i in images for symbol, _ in i.kernels}),
        "compiled_count": cache.counts.compiled,
        "from_disk_count": cache.counts.from_disk,
    }


if __name__ == "__main__":
    main()
