"""The progress bar, in the format that Keras prints."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from graphkeras.utils import io_utils

BOLD, GREEN, GREY, PLAIN = "\x1b[1m", "\x1b[32m", "\x1b[37m", "\x1b[0m"


class Progbar:
    """A bar of progress with running values behind it.

    Values whose names are stateless are averaged over the steps between updates; stateful ones are shown as given.

    Args:
        target: number of steps expected; None if unknown.
        width: characters of the bar.
        verbose: 0 silent, 1 a bar that is drawn over itself, 2 one line at the end.
        interval: seconds that must pass between two drawings.
        stateful_metrics: names shown as they are (all others are averaged).
        stateless_metrics: names that are averaged (all others shown as they are). Give at most one of the two.
        unit_name: what a step is called in the time per step.

    Example:

    >>> bar = Progbar(target=2, verbose=0)
    >>> bar.update(1, [("loss", 0.5)])
    """

    def __init__(
        self,
        target: int | None,
        width: int = 20,
        verbose: int = 1,
        interval: float = 0.05,
        stateful_metrics: Iterable[str] | None = None,
        stateless_metrics: Iterable[str] | None = None,
        unit_name: str = "step",
    ) -> None:
        if stateful_metrics is not None and stateless_metrics is not None:
            raise ValueError(
                "Only one of `stateful_metrics` (all others are averaged) and `stateless_metrics` (all others are "
                "shown as given) can be provided, not both. "
                f"Received: stateful_metrics={stateful_metrics}, stateless_metrics={stateless_metrics}"
            )
        self.target = target
        self.width = width
        self.verbose = verbose
        self.interval = interval
        self.unit_name = unit_name
        self.stateful_metrics = set(stateful_metrics or ()) if stateless_metrics is None else None
        self.stateless_metrics = None if stateless_metrics is None else set(stateless_metrics)
        self._dynamic_display = (
            (hasattr(sys.stdout, "isatty") and sys.stdout.isatty())
            or "ipykernel" in sys.modules
            or "posix" in sys.modules
            or "PYCHARM_HOSTED" in os.environ
        )
        self._seen_so_far = 0
        self._values: dict[str, list[Any]] = {}  # name -> [sum, count]
        self._start = time.time()
        self._last_update = 0.0
        self._time_after_first_step: float | None = None
        self._prev_total_width = 0

    def update(
        self, current: int, values: Sequence[tuple[str, Any]] | None = None, finalize: bool | None = None
    ) -> None:
        """Move to step `current`.

        Args:
            current: steps done so far.
            values: pairs (name, value of the last step).
            finalize: whether this is the last drawing; None: when `current` reaches the target.
        """
        if finalize is None:
            finalize = self.target is not None and current >= self.target
        for name, value in values or ():
            self._record(name, value, current, finalize)
        self._seen_so_far = current
        now = time.time()
        per_unit = self._estimate_step_duration(current, now)
        if self.verbose == 1:
            if now - self._last_update < self.interval and not finalize:
                return
            self._draw_bar(current, now, per_unit, finalize)
        elif self.verbose == 2 and finalize and self.target:
            self._draw_line(current, now, per_unit)
        self._last_update = now

    def add(self, n: int, values: Sequence[tuple[str, Any]] | None = None) -> None:
        """Move `n` steps on."""
        self.update(self._seen_so_far + n, values)

    def _record(self, name: str, value: Any, current: int, finalize: bool) -> None:
        if self.stateless_metrics is not None:
            averaged = name in self.stateless_metrics
        else:
            averaged = name not in (self.stateful_metrics or ())
        if not averaged or finalize:
            self._values[name] = [value, 1]
            return
        weight = max(current - self._seen_so_far, 1)
        total = self._values.setdefault(name, [0.0, 0])
        total[0] += value * weight
        total[1] += weight

    def _draw_bar(self, current: int, now: float, per_unit: float, finalize: bool) -> None:
        message = "\b" * self._prev_total_width + "\r" if self._dynamic_display else "\n"
        hidden = 8  # control characters, which take no room on the screen
        if self.target:
            digits = int(math.log10(self.target)) + 1
            bar = f"{BOLD}{current:{digits}d}/{self.target}{PLAIN} "
            done = int(self.width * current / self.target)
            if done > 0:
                bar += f"{GREEN}{'━' * done}{PLAIN}"
                hidden += 9
            bar += f"{GREY}{'━' * (self.width - done)}{PLAIN}"
            hidden += 17
        else:
            bar = f"{current:7d}/Unknown"
        if self.target and not finalize:
            info = f" {BOLD}{_duration(per_unit * (self.target - current))}{PLAIN}"
        else:
            info = f" {BOLD}{now - self._start:.0f}s{PLAIN}"
        info += self._format_time(per_unit, self.unit_name) + self._format_values()
        total_width = len(bar) + len(info) - hidden
        message += bar + info + " " * max(self._prev_total_width - total_width, 0)
        if finalize:
            message += "\n"
        io_utils.print_msg(message, line_break=False)
        self._prev_total_width = total_width

    def _draw_line(self, current: int, now: float, per_unit: float) -> None:
        assert self.target
        digits = int(math.log10(self.target)) + 1
        text = f"{current:{digits}d}/{self.target} - {now - self._start:.0f}s"
        text += f" -{self._format_time(per_unit, self.unit_name)}{self._format_values()}\n"
        io_utils.print_msg(text, line_break=False)

    def _format_values(self) -> str:
        text = ""
        for name, (total, count) in self._values.items():
            mean = (total if isinstance(total, float) else float(np.mean(total))) / max(1, count)
            text += f" - {name}: {mean:.4f}" if abs(mean) > 1e-3 else f" - {name}: {mean:.4e}"
        return text

    def _format_time(self, time_per_unit: float, unit_name: str) -> str:
        if time_per_unit >= 1 or time_per_unit == 0:
            return f" {time_per_unit:.0f}s/{unit_name}"
        if time_per_unit >= 1e-3:
            return f" {time_per_unit * 1e3:.0f}ms/{unit_name}"
        return f" {time_per_unit * 1e6:.0f}us/{unit_name}"

    def _estimate_step_duration(self, current: int, now: float) -> float:
        """Seconds per step; the first step, which pays for tracing, does not count once there are others."""
        if not current:
            return 0.0
        if self._time_after_first_step is not None and current > 1:
            estimate = (now - self._time_after_first_step) / (current - 1)
        else:
            estimate = (now - self._start) / current
        if current == 1:
            self._time_after_first_step = now
        return estimate


def _duration(seconds: float) -> str:
    whole = int(seconds)
    if seconds > 3600:
        return f"{whole // 3600}:{whole % 3600 // 60:02d}:{whole % 60:02d}"
    if seconds > 60:
        return f"{whole // 60}:{whole % 60:02d}"
    return f"{whole}s"
