"""One contestant that trains one model: `train_worker.py KIND SPEC DEVICE PRECISION`, KIND: graphkeras, keras, torch
or torch.compile.

It makes one step and reports {"steps", "weights", "first"}. Then {"do": "fit", "epochs": n} -> seconds per step;
{"do": "curve", "epochs": n} -> mean loss of each epoch, without shuffling. Errors are answered as {"error": text}.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from typing import Any

sys.path[0] = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from benchmarks.worker import own_stdout, process_age  # noqa: E402


def main() -> None:
    out = own_stdout()
    kind, spec, device, precision = sys.argv[1:5]
    if kind.startswith("torch"):
        contestant: Any = _torch(spec, device, precision, kind == "torch.compile")
    else:
        contestant = OverKeras(kind, spec, device, precision)
    contestant.fit(1)
    facts = {"steps": contestant.steps, "weights": contestant.weights, "first": process_age()}
    print(json.dumps(facts), file=out, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = _answer(contestant, request)
        except Exception as error:  # whatever a library may raise
            answer = {"error": f"{type(error).__name__}: {error}"[:600]}
        print(json.dumps(answer), file=out, flush=True)


def _torch(spec: str, device: str, precision: str, compiled: bool) -> Any:
    from benchmarks.gpu.torch_models import Trainer

    return Trainer(spec, device, precision, compiled)


def _answer(contestant: Any, request: dict[str, Any]) -> Any:
    if request["do"] == "curve":
        return contestant.curve(request["epochs"])
    begin = time.perf_counter()
    loss = contestant.fit(request["epochs"])
    if loss != loss:
        raise ArithmeticError("the loss is not a number")
    return (time.perf_counter() - begin) / (request["epochs"] * contestant.steps)


class OverKeras:
    """graphkeras, or Keras on one of its back ends: `fit` with whole arrays."""

    def __init__(self, kind: str, spec: str, device: str, precision: str) -> None:
        self.keras = __import__(kind)
        if kind == "graphkeras":
            self.keras.config.set_device(device)
        _settle(self.keras, device, precision)
        from benchmarks.gpu.models import build

        self.keras.utils.set_random_seed(0)
        self.work = build(self.keras, spec)
        self.work.model.compile(optimizer="adam", loss=self.work.loss, metrics=["accuracy"])
        self.steps = self.work.steps
        self.weights = sum(math.prod(map(int, w.shape)) for w in self.work.model.trainable_weights)

    def fit(self, epochs: int, shuffle: bool = True) -> float:
        return self._fit(epochs, shuffle)[-1]

    def curve(self, epochs: int) -> list[float]:
        return self._fit(epochs, shuffle=False)

    def _fit(self, epochs: int, shuffle: bool) -> list[float]:
        w = self.work
        history = w.model.fit(w.x, w.y, batch_size=w.batch_size, epochs=epochs, verbose=0, shuffle=shuffle)
        return [float(v) for v in history.history["loss"]]


def _settle(keras: Any, device: str, precision: str) -> None:
    """The precision, in the words of each library."""
    if precision == "mixed_bfloat16":
        keras.config.set_dtype_policy(precision)
    tf32 = precision == "tf32"
    backend = os.environ.get("KERAS_BACKEND", "") if keras.__name__ == "keras" else "graphkeras"
    if backend == "graphkeras":
        keras.config.enable_tensor_float_32(tf32)
    elif backend == "torch":
        import torch

        from benchmarks.gpu.torch_kernels import allow_tf32

        allow_tf32(torch, tf32)
    elif backend == "jax" and device != "cpu":
        import jax

        jax.config.update("jax_default_matmul_precision", "tensorfloat32" if tf32 else None)


if __name__ == "__main__":
    main()
