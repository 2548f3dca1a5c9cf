"""Training steps on one new shape after another: `python shape_worker.py LOOP` prints one JSON line.

For each of 20 lengths or batch sizes in mixed order: the seconds of the first step with it and of a later one, and how
many kernels were compiled, after the first shape. Nothing comes from a disk cache that the caller has not filled.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import numpy as np

LENGTHS = (40, 17, 128, 25, 96, 33, 200, 51, 9, 75, 64, 150, 12, 110, 29, 83, 48, 180, 21, 140)
BATCHES = (32, 7, 128, 13, 48, 200, 3, 96, 64, 21, 5, 256, 33, 16, 80, 11, 150, 2, 120, 40)
LOOPS = {
    "lengths_lstm": LENGTHS,
    "lengths_text": LENGTHS,
    "lengths_transformer": LENGTHS,
    "batches_mlp": BATCHES,
    "batches_cnn": BATCHES,
}
VOCABULARY = 1000


def model_of(keras: Any, loop: str) -> Any:
    """A model whose inputs may have any length, or those of a usual workload."""
    from benchmarks.workloads import build

    if loop.startswith("batches"):
        return build(keras, loop.removeprefix("batches_") + ":batch=32").model
    k = keras.layers
    tokens = keras.Input((None,), dtype="int32")
    x = k.Embedding(VOCABULARY, 32)(tokens)
    if loop == "lengths_lstm":
        x = k.LSTM(64)(x)
    elif loop == "lengths_text":
        x = k.GlobalMaxPooling1D()(k.Conv1D(64, 5, activation="relu")(x))
    else:
        x = k.LayerNormalization()(x + k.MultiHeadAttention(2, 32)(x, x))
        x = k.GlobalAveragePooling1D()(x + k.Dense(32, activation="relu")(x))
    return keras.Model(tokens, k.Dense(10, activation="softmax")(x))


def data_of(model: Any, loop: str, size: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(size)
    if loop.startswith("batches"):
        return rng.random((size, *model.input_shape[1:]), dtype=np.float32), rng.integers(0, 10, size)
    return rng.integers(0, VOCABULARY, (16, size)).astype(np.int32), rng.integers(0, 10, 16)


def measure(loop: str) -> dict[str, Any]:
    import graphkeras as keras
    from graphkeras.codegen.cpu import cache

    model = model_of(keras, loop)
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy")
    first: list[float] = []
    again: list[float] = []
    compiled: list[int] = []
    batches = [data_of(model, loop, size) for size in LOOPS[loop]]
    for seconds in (first, again):
        for x, y in batches:
            before, begin = cache.counts.compiled, time.perf_counter()
            model.train_on_batch(x, y)
            seconds.append(time.perf_counter() - begin)
            compiled.append(cache.counts.compiled - before)
    count = len(batches)
    return {
        "first_s": first[0],
        "new_s": first[1:],
        "seen_s": again,
        "first_compiled_count": compiled[0],
        "new_compiled_count": sum(compiled[1:count]),
        "seen_compiled_count": sum(compiled[count:]),
        "which": [size for size, made in zip(LOOPS[loop][1:], compiled[1:count], strict=True) if made],
    }


def main() -> None:
    from worker import ROOT, bind_cores, own_stdout

    out = own_stdout()
    bind_cores()
    sys.path[0] = ROOT
    print(json.dumps(measure(sys.argv[1])), file=out, flush=True)


if __name__ == "__main__":
    main()
