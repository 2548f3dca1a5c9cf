"""One contestant in a process of its own: reads requests (JSON lines) from stdin, writes results to stdout.

    python worker.py MODULE WORKLOAD

It binds itself to BENCH_THREADS cores before anything is imported, builds the workload, makes one training step and
reports how long that took. Then it answers: {"do": "fit", "epochs": n, "per_batch": bool} -> seconds per step;
{"do": "predict", "calls": n} -> seconds per call (median); {"do": "memory"} -> {"peak", "arena"} in bytes;
{"do": "time_predict"} -> calls that fill a round;
{"do": "kernels", "rounds": n} -> the kernels of the training step with their times, and {"do": "plan"} -> a digest of
them (both of graphkeras only). Runs with nothing but the framework, NumPy and the standard library.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from typing import IO, Any

START = time.perf_counter()
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def own_stdout() -> IO[str]:
    """A stream for results alone: what frameworks print, from Python or native code, goes to stderr from now on."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return out


def bind_cores() -> list[int]:
    """Keep this process, and all threads it will have, on BENCH_THREADS physical cores: the first ones allowed."""
    wanted = int(os.environ.get("BENCH_THREADS", "0"))
    if not wanted or not hasattr(os, "sched_setaffinity"):
        return []
    seen, chosen = set(), []
    for cpu in sorted(os.sched_getaffinity(0)):
        try:
            with open(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list") as f:
                core = f.read().strip()
        except OSError:
            core = str(cpu)
        if core not in seen and len(chosen) < wanted:
            seen.add(core)
            chosen.append(cpu)
    os.sched_setaffinity(0, chosen)
    return chosen


def set_threads(keras: Any) -> dict[str, Any]:
    """Tell the framework behind `keras` how many threads it has, before it makes them; returns what it then says."""
    wanted = int(os.environ["BENCH_THREADS"])
    backend = os.environ.get("KERAS_BACKEND", "") if keras.__name__ == "keras" else ""
    if backend == "tensorflow":
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(wanted)
        tf.config.threading.set_inter_op_parallelism_threads(wanted)
        return {"threads": tf.config.threading.get_intra_op_parallelism_threads()}
    if backend == "torch":
        import torch

        torch.set_num_threads(wanted)
        return {"threads": torch.get_num_threads()}
    return {"threads": wanted}  # JAX has no call to ask; NPROC and the cores say it


def process_age() -> float:
    """Seconds since this process began, so that interpreter start-up counts."""
    try:
        with open("/proc/self/stat") as f:
            ticks = int(f.read().rsplit(")", 1)[1].split()[19])
        with open("/proc/uptime") as f:
            return float(f.read().split()[0]) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, IndexError):
        return time.perf_counter() - START


def peak_memory() -> int:
    """Largest resident size so far, in bytes. Not ru_maxrss where it can be helped: that begins with the parent's."""
    try:
        with open("/proc/self/status") as f:
            return next(int(line.split()[1]) * 1024 for line in f if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def main() -> None:
    out = own_stdout()
    cores = bind_cores()
    sys.path[0] = ROOT  # not this folder: its names would hide modules of others
    module, name = sys.argv[1], sys.argv[2]
    begin = time.perf_counter()
    keras = __import__(module)
    facts = {"import": time.perf_counter() - begin, "cores": cores, **set_threads(keras)}
    from benchmarks.workloads import build

    facts["memory_import"] = peak_memory()
    keras.utils.set_random_seed(0)
    begin = time.perf_counter()
    work = build(keras, name)
    work.model.compile(optimizer="adam", loss=work.loss, metrics=work.metrics)
    facts["build"] = time.perf_counter() - begin
    work.model.train_on_batch(work.rows(work.batch_size), work.y[: work.batch_size])
    facts["first_step"] = process_age()
    facts["steps"] = work.steps
    print(json.dumps(facts), file=out, flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(keras, work, json.loads(line))), file=out, flush=True)


def answer(keras: Any, work: Any, request: dict[str, Any]) -> Any:
    if request["do"] == "fit":
        return fit(keras, work, request["epochs"], request.get("per_batch", False))
    if request["do"] == "predict":
        return statistics.median(predict(work, request["calls"]))
    if request["do"] == "time_predict":
        predict(work, 8)
        return max(5, min(2000, round(request["seconds"] / statistics.median(predict(work, 8)))))
    if request["do"] == "kernels":
        return kernels(work, request["rounds"])
    if request["do"] == "plan":
        return plan(work)
    return {"peak": peak_memory(), "arena": arena(keras)}


def kernels(work: Any, rounds: int) -> list[dict[str, Any]]:
    """The kernels of the training step, in order; seconds are the middle one of several measurements."""
    times = []
    for _ in range(rounds):
        work.model.reset_profile()
        epochs = max(1, -(-64 // work.steps))
        work.model.fit(work.x, work.y, batch_size=work.batch_size, epochs=epochs, verbose=0)
        rows = work.model._kernel_rows()
        times.append([row.seconds for row in rows])
    found = []
    for row, seconds in zip(rows, zip(*times, strict=True), strict=True):
        kept = {k: getattr(row, k) for k in ("layer", "phase", "kernel", "flops", "nbytes", "operations", "layers")}
        found.append({**kept, "seconds": statistics.median(seconds)})
    return found


def plan(work: Any) -> str:
    """A digest of what the training step became: equal ones run the same kernels on the same pieces of work."""
    import hashlib

    from graphkeras.codegen.report import explain

    text = ""
    for piece in work.model._pieces("train"):
        program = piece.executable.program
        text += explain(program) + "".join(source for k in program.kernels for source in k.sources)
    return hashlib.sha256(text.encode()).hexdigest()


def fit(keras: Any, work: Any, epochs: int, per_batch: bool) -> float:
    callbacks = []
    if per_batch:

        class EveryBatch(keras.callbacks.Callback):
            def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
                """Being here is all it does: the loop must come back to Python for each batch."""

        callbacks.append(EveryBatch())
    begin = time.perf_counter()
    work.model.fit(work.x, work.y, batch_size=work.batch_size, epochs=epochs, verbose=0, callbacks=callbacks)
    return (time.perf_counter() - begin) / (epochs * work.steps)


def predict(work: Any, calls: int) -> list[float]:
    one, times = work.rows(1), []
    for _ in range(calls):
        begin = time.perf_counter()
        work.model.predict(one, verbose=0)
        times.append(time.perf_counter() - begin)
    return times


def arena(keras: Any) -> int:
    """Temporary memory that graphkeras planned: the largest arena of its programs, in bytes; 0 for others."""
    if keras.__name__ == "keras":
        return 0
    from graphkeras.backend import executor

    return max((getattr(e, "arena_nbytes", 0) for e in executor.cache._entries.values()), default=0)


if __name__ == "__main__":
    main()
