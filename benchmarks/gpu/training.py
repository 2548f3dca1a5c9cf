"""Training of whole models by all contestants, alternating, and loss curves on the device against those on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from benchmarks.contestants import OURS
from benchmarks.gpu.contestants import NEEDS, Here, OnDevice
from benchmarks.gpu.kernels import Effort, ask
from benchmarks.gpu.models import CURVES, LARGE, PRECISIONS, SMALL
from benchmarks.records import Record, record
from benchmarks.runner import Field, Runner

Show = Callable[[Sequence[Record]], None]
ROUND = {"full": 0.6, "tiny": 0.02}  # seconds of training in a round, about
EPOCHS = {"full": 5, "tiny": 3}  # of a loss curve
SAME = 0.02  # part by which the numbers of weights may differ: PyTorch's LSTM has two biases, Keras's one


def _start(who: OnDevice, spec: str, precision: str, effort: Effort) -> Runner:
    kind = who.name if who.name.startswith("torch") else who.module
    arguments = (kind, spec, who.device, precision)
    return Runner(who, *arguments, script="gpu/train_worker.py", patience=effort.patience)


def small(here: Here, effort: Effort, names: Sequence[str], show: Show) -> Iterator[list[Record]]:
    """The small models, in tf32."""
    for spec in SMALL[effort.sizes]:
        yield from _case(spec, "tf32", here, effort, names, show)


def large(here: Here, effort: Effort, names: Sequence[str], show: Show) -> Iterator[list[Record]]:
    """ResNet-50 and the Transformer of 12 layers, in tf32 and in bfloat16."""
    for spec in LARGE[effort.sizes]:
        for precision in PRECISIONS:
            yield from _case(spec, precision, here, effort, names, show)


def _case(
    spec: str, precision: str, here: Here, effort: Effort, names: Sequence[str], show: Show
) -> Iterator[list[Record]]:
    case = f"{spec} {precision}"
    if names and not any(n in case for n in names):
        return
    who = here.some(OURS, *NEEDS)
    field = Field(pause=0.05)
    try:
        for c in who:
            field.enter(c.name, partial(_start, c, spec, precision, effort))
        notes = _other_weights(field)
        first = {name: r.start["first"] for name, r in field.runners.items()}
        epochs = field.each(lambda r: _epochs(r, effort))
        steps = field.rounds(effort.rounds, lambda r: ask(r, do="fit", epochs=epochs[r.who.name]))
        notes |= field.notes
    finally:
        field.close()
    found = []
    for c in who:
        figures: dict[str, Any] = {"first_step_s": first[c.name]} if c.name in first else {}
        if steps.get(c.name):
            figures["step_s"] = steps[c.name]
        found.append(record(case, c.name, notes.get(c.name, ""), **figures))
    show(found)
    yield found


def _epochs(runner: Runner, effort: Effort) -> int:
    """Warm up, then say how many epochs fill a round."""
    ask(runner, do="fit", epochs=1)
    step = ask(runner, do="fit", epochs=1)
    return max(1, round(ROUND[effort.sizes] / (step * runner.start["steps"])))


def _other_weights(field: Field) -> dict[str, str]:
    """Notes about contestants whose model is not the size of ours."""
    sizes = {name: r.start["weights"] for name, r in field.runners.items()}
    ours = sizes.get(OURS)
    if ours is None:
        return {}
    return {
        name: f"{name}: another model: {size} weights, ours has {ours}"
        for name, size in sizes.items()
        if abs(size - ours) > SAME * ours
    }


def curves(here: Here, effort: Effort, names: Sequence[str], show: Show) -> Iterator[list[Record]]:
    """The same training on the device and on the CPU, in float32: how far the losses of an epoch lie apart at most."""
    for spec in CURVES[effort.sizes]:
        if names and not any(n in spec for n in names):
            continue
        field = Field(pause=0.0)
        try:
            for c in here.some(OURS):
                for name, player in (("device", c), ("cpu", replace(c, device="cpu"))):
                    field.enter(name, partial(_start, player, spec, "float32", effort))
            losses = field.each(lambda r: ask(r, do="curve", epochs=EPOCHS[effort.sizes]))
        finally:
            field.close()
        found = [_difference(spec, losses, field.notes)]
        show(found)
        yield found


def _difference(spec: str, losses: dict[str, list[float]], notes: dict[str, str]) -> Record:
    if len(losses) < 2:
        return record(spec, OURS, "; ".join(notes.values()) or "not measured")
    pairs = list(zip(losses["device"], losses["cpu"], strict=True))
    apart = max(abs(a - b) / abs(b) for a, b in pairs)
    return record(spec, OURS, apart_ratio=apart, device_ratio=losses["device"], cpu_ratio=losses["cpu"])
