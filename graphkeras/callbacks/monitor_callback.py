"""Base of the callbacks that watch one value of the logs."""

from __future__ import annotations

import warnings
from typing import Any

from graphkeras import ops
from graphkeras.callbacks.callback import Callback


class MonitorCallback(Callback):
    """Watches `monitor` and knows what an improvement is.

    Args:
        monitor: name in the logs, such as "val_loss".
        mode: "min", "max", or "auto": the direction of the metric of that name.
        baseline: value that counts as the best one at first.
        min_delta: changes smaller than this are no improvement.
    """

    def __init__(
        self, monitor: str = "val_loss", mode: str = "auto", baseline: float | None = None, min_delta: float = 0
    ) -> None:
        super().__init__()
        if mode not in ("auto", "min", "max"):
            warnings.warn(
                f"{type(self).__name__} mode '{mode}' is unknown, fallback to auto mode (known: min, max).",
                stacklevel=3,
            )
            mode = "auto"
        self.monitor = monitor
        self.mode = mode
        self.best = baseline
        self.min_delta = abs(min_delta)
        self.monitor_op: Any = None

    @property
    def needs_direction(self) -> bool:
        """Whether the direction of the watched value matters and is not known yet."""
        return self.monitor_op is None

    def _set_monitor_op(self) -> None:
        """Find out the direction; possible once the model's metrics are built."""
        mode = self.mode if self.mode != "auto" else self._direction()
        self.monitor_op = ops.less if mode == "min" else ops.greater
        self.min_delta = -abs(self.min_delta) if mode == "min" else abs(self.min_delta)

    def _direction(self) -> str:
        name = self.monitor.removeprefix("val_")
        if name == "loss":
            return "min"
        for entry in getattr(self.model, "metrics", ()):
            for metric in entry._single_metrics():
                if metric.name == name and getattr(metric, "_direction", None) is not None:
                    return "max" if metric._direction == "up" else "min"
        known = self._direction_by_output(name)
        if known is not None:
            return known
        raise ValueError(
            f"{type(self).__name__} callback received monitor={self.monitor}, but Keras isn't able to automatically "
            "determine whether that metric should be maximized or minimized. Pass `mode='max'` in order to monitor "
            "based on the highest metric value, or pass `mode='min'` in order to use the lowest value. Or is the "
            f"name misspelt? The logs here: {self._names()}, with val_ before them if there is validation data."
        )

    def _names(self) -> list[str]:
        return sorted(getattr(self.model, "get_metrics_result", dict)())

    def _direction_by_output(self, name: str) -> str | None:
        """Names of models with several outputs: `{output}_loss`, `{output}_{metric}`."""
        compiled = getattr(self.model, "_compile_metrics", None)
        loss = getattr(self.model, "_compile_loss", None)
        if loss is not None and any(m.name == name for m in loss.metrics):
            return "min"
        for entry in (*compiled._plain, *compiled._weighted) if compiled is not None else ():
            for metric in entry.metrics if entry is not None else ():
                if f"{entry.output_name}_{metric.name}" == name and getattr(metric, "_direction", None) is not None:
                    return "max" if metric._direction == "up" else "min"
        return None

    def _is_improvement(self, monitor_value: Any, reference_value: Any) -> bool:
        if reference_value is None:
            return True
        return bool(self.monitor_op(monitor_value - self.min_delta, reference_value))
