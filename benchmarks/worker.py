"""One contestant in a process of its own: reads requests (JSON lines) from stdin, writes results to stdout.

Requests: {"do": "fit", "epochs": n} -> seconds per step; {"do": "predict", "calls": n} -> seconds per call (median);
{"do": "memory"} -> peak resident bytes. Started as `python worker.py MODULE WORKLOAD`, it first reports how long import, building and
the first training step took.
"""

import json
import resource
import statistics
import sys
import time

START = time.perf_counter()


def process_age() -> float:
    """Seconds since this process began, so that interpreter start-up counts."""
    try:
        with open("/proc/self/stat") as f:
            ticks = int(f.read().rsplit(")", 1)[1].split()[19])
        with open("/proc/uptime") as f:
            return float(f.read().split()[0]) - ticks / 100.0
    except (OSError, IndexError):
        return time.perf_counter() - START


def main() -> None:
    out = sys.stdout
    sys.stdout = sys.stderr  # whatever a framework prints must not mix with the results
    module, name = sys.argv[1], sys.argv[2]
    begin = time.perf_counter()
    keras = __import__(module)
    imported = time.perf_counter() - begin
    from workloads import build

    keras.utils.set_random_seed(0)
    work = build(keras, name)
    work.model.compile(optimizer="adam", loss=work.loss, metrics=["accuracy"])
    work.model.train_on_batch(work.x[: work.batch_size], work.y[: work.batch_size])
    print(json.dumps({"import": imported, "first_step": process_age()}), file=out, flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(work, json.loads(line))), file=out, flush=True)


def answer(work, request):
    if request["do"] == "fit":
        begin = time.perf_counter()
        work.model.fit(work.x, work.y, batch_size=work.batch_size, epochs=request["epochs"], verbose=0)
        return (time.perf_counter() - begin) / (request["epochs"] * work.steps)
    if request["do"] == "predict":
        one = work.x[:1]
        times = []
        for _ in range(request["calls"]):
            begin = time.perf_counter()
            work.model.predict(one, verbose=0)
            times.append(time.perf_counter() - begin)
        return statistics.median(times)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
