"""Learning rates as functions of the step number, in ops, so that they become part of the compiled step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from graphkeras import ops
from graphkeras.core.config import floatx


class LearningRateSchedule:
    """Base of schedules: called with the step number (a tensor), returns the rate.

    Example:
        >>> import graphkeras as keras
        >>> class Halved(keras.optimizers.schedules.LearningRateSchedule):
        ...     def __call__(self, step):
        ...         return 0.1 * keras.ops.power(0.5, keras.ops.cast(step, "float32"))
        >>> optimizer = keras.optimizers.SGD(Halved())
    """

    def __call__(self, step: Any) -> Any:
        raise NotImplementedError(
            f"Learning rate schedule {type(self).__name__!r} must override `__call__(self, step)`."
        )

    def get_config(self) -> dict[str, Any]:
        raise NotImplementedError(
            f"Learning rate schedule {type(self).__name__!r} must override `get_config()` in order to be serializable."
        )

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> LearningRateSchedule:
        return cls(**config)


class _Named(LearningRateSchedule):
    """A schedule whose config is a list of attributes."""

    _arguments: tuple[str, ...]

    def get_config(self) -> dict[str, Any]:
        return {key: getattr(self, key) for key in (*self._arguments, "name")}


def _positive(argument: str, value: Any) -> Any:
    if value <= 0:
        raise ValueError(f"Argument `{argument}` must be > 0. Received: {argument}={value}")
    return value


def _dtype(rate: Any) -> str:
    return str(rate.dtype) if hasattr(rate, "dtype") else floatx()


class _Periodic(_Named):
    """A rate that falls with the number of periods of `decay_steps` steps: whole ones only, with `staircase`."""

    _arguments = ("initial_learning_rate", "decay_steps", "decay_rate", "staircase")

    def __init__(
        self, initial_learning_rate: Any, decay_steps: int, decay_rate: float, staircase: bool, name: str
    ) -> None:
        self.initial_learning_rate = initial_learning_rate
        self.decay_steps = _positive("decay_steps", decay_steps)
        self.decay_rate = decay_rate
        self.staircase = staircase
        self.name = name

    def _periods(self, step: Any) -> Any:
        periods = ops.cast(step, _dtype(self.initial_learning_rate)) / self.decay_steps
        return ops.floor(periods) if self.staircase else periods


class ExponentialDecay(_Periodic):
    """`initial_learning_rate * decay_rate ** (step / decay_steps)`.

    Args:
        initial_learning_rate: rate at step 0.
        decay_steps: steps in which the rate is multiplied by `decay_rate` once.
        decay_rate: the factor.
        staircase: change only every `decay_steps` steps.
        name: name.

    Example:
        >>> import graphkeras as keras
        >>> float(keras.optimizers.schedules.ExponentialDecay(1.0, 10, 0.25)(5))
        0.5
    """

    def __init__(
        self,
        initial_learning_rate: Any,
        decay_steps: int,
        decay_rate: float,
        staircase: bool = False,
        name: str = "ExponentialDecay",
    ) -> None:
        super().__init__(initial_learning_rate, decay_steps, decay_rate, staircase, name)

    def __call__(self, step: Any) -> Any:
        return self.initial_learning_rate * ops.power(self.decay_rate, self._periods(step))


class PiecewiseConstantDecay(_Named):
    """`values[i]` up to and including step `boundaries[i]`, the last value after them.

    Args:
        boundaries: step numbers, rising.
        values: rates, one more than boundaries.
        name: name.

    Example:

    >>> import graphkeras as keras
    >>> schedule = keras.optimizers.schedules.PiecewiseConstantDecay([100, 200], [0.1, 0.01, 0.001])
    >>> round(float(schedule(150)), 4)
    0.01
    """

    _arguments = ("boundaries", "values")

    def __init__(self, boundaries: Sequence[Any], values: Sequence[Any], name: str = "PiecewiseConstant") -> None:
        if len(boundaries) != len(values) - 1:
            raise ValueError(
                "The length of boundaries should be 1 less than the length of values. Received: "
                f"boundaries={boundaries} of length {len(boundaries)}, and values={values} of length {len(values)}."
            )
        self.boundaries = boundaries
        self.values = values
        self.name = name

    def __call__(self, step: Any) -> Any:
        step = ops.convert_to_tensor(step)
        rate = ops.cast(self.values[-1], _dtype(self.values[0]))
        for boundary, value in zip(reversed(self.boundaries), reversed(self.values[:-1]), strict=True):
            rate = ops.where(step <= ops.cast(boundary, step.dtype), ops.cast(value, rate.dtype), rate)
        return rate


class PolynomialDecay(_Named):
    """From `initial_learning_rate` to `end_learning_rate` in `decay_steps` steps, along `(1 - step/steps)**power`.

    Args:
        initial_learning_rate: rate at step 0.
        decay_steps: length of the way.
        end_learning_rate: rate at its end and after.
        power: 1.0 for a straight line.
        cycle: begin anew, with doubled length, instead of staying at the end.
        name: name.

    Example:

    >>> import graphkeras as keras
    >>> schedule = keras.optimizers.schedules.PolynomialDecay(0.1, decay_steps=100, end_learning_rate=0.01)
    >>> round(float(schedule(50)), 4)
    0.055
    """

    _arguments = ("initial_learning_rate", "decay_steps", "end_learning_rate", "power", "cycle")

    def __init__(
        self,
        initial_learning_rate: Any,
        decay_steps: int,
        end_learning_rate: float = 0.0001,
        power: float = 1.0,
        cycle: bool = False,
        name: str = "PolynomialDecay",
    ) -> None:
        self.initial_learning_rate = initial_learning_rate
        self.decay_steps = _positive("decay_steps", decay_steps)
        self.end_learning_rate = end_learning_rate
        self.power = power
        self.cycle = cycle
        self.name = name

    def __call__(self, step: Any) -> Any:
        step = ops.cast(step, _dtype(self.initial_learning_rate))
        steps: Any = self.decay_steps
        if self.cycle:
            steps = steps * ops.maximum(ops.ceil(step / self.decay_steps), 1.0)
        else:
            step = ops.minimum(step, steps)
        span = self.initial_learning_rate - self.end_learning_rate
        return span * ops.power(1.0 - step / steps, self.power) + self.end_learning_rate


class InverseTimeDecay(_Periodic):
    """`initial_learning_rate / (1 + decay_rate * step / decay_steps)`.

    Args:
        initial_learning_rate: rate at step 0.
        decay_steps: steps that count as one unit of time.
        decay_rate: fall per unit.
        staircase: change only every `decay_steps` steps.
        name: name.

    Example:

    >>> import graphkeras as keras
    >>> schedule = keras.optimizers.schedules.InverseTimeDecay(0.1, decay_steps=100, decay_rate=0.5)
    >>> round(float(schedule(100)), 4)
    0.0667
    """

    def __init__(
        self,
        initial_learning_rate: Any,
        decay_steps: int,
        decay_rate: float,
        staircase: bool = False,
        name: str = "InverseTimeDecay",
    ) -> None:
        super().__init__(initial_learning_rate, decay_steps, decay_rate, staircase, name)

    def __call__(self, step: Any) -> Any:
        return self.initial_learning_rate / (1.0 + self.decay_rate * self._periods(step))


def _cosine(fraction: Any) -> Any:
    """From 1 at fraction 0 to 0 at fraction 1."""
    return 0.5 * (1.0 + ops.cos(math.pi * fraction))


class CosineDecay(_Named):
    """Half a cosine from the initial rate down to `alpha` times it (Loshchilov and Hutter 2017), after a warmup.

    Args:
        initial_learning_rate: rate at step 0.
        decay_steps: steps of the decay (after the warmup).
        alpha: lowest rate, as a share of the one the decay begins with.
        name: name.
        warmup_target: rate to climb to first, in a straight line; None for no warmup.
        warmup_steps: steps of the warmup.

    Example:

    >>> import graphkeras as keras
    >>> schedule = keras.optimizers.schedules.CosineDecay(0.1, decay_steps=100)
    >>> round(float(schedule(50)), 4)
    0.05
    """

    _arguments = ("initial_learning_rate", "decay_steps", "alpha", "warmup_target", "warmup_steps")

    def __init__(
        self,
        initial_learning_rate: Any,
        decay_steps: int,
        alpha: float = 0.0,
        name: str = "CosineDecay",
        warmup_target: float | None = None,
        warmup_steps: int = 0,
    ) -> None:
        self.initial_learning_rate = initial_learning_rate
        self.decay_steps = _positive("decay_steps", decay_steps)
        self.alpha = alpha
        self.name = name
        self.warmup_steps = warmup_steps
        self.warmup_target = warmup_target

    def _decayed(self, step: Any, start: Any) -> Any:
        return start * ((1.0 - self.alpha) * _cosine(step / self.decay_steps) + self.alpha)

    def __call__(self, step: Any) -> Any:
        step = ops.cast(step, _dtype(self.initial_learning_rate))
        if self.warmup_target is None:
            return self._decayed(ops.minimum(step, self.decay_steps), self.initial_learning_rate)
        step = ops.minimum(step, self.decay_steps + self.warmup_steps)
        decayed = self._decayed(step - self.warmup_steps, self.warmup_target)
        if not self.warmup_steps:
            return decayed
        climb = (self.warmup_target - self.initial_learning_rate) * (step / self.warmup_steps)
        return ops.where(step < self.warmup_steps, climb + self.initial_learning_rate, decayed)


class CosineDecayRestarts(_Named):
    """Cosine decays one after the other (Loshchilov and Hutter 2017).

    Args:
        initial_learning_rate: rate at step 0.
        first_decay_steps: steps of the first decay.
        t_mul: each decay is this many times longer than the one before.
        m_mul: each begins with this many times the rate of the one before.
        alpha: lowest rate, as a share of the initial one.
        name: name.

    Example:

    >>> import graphkeras as keras
    >>> schedule = keras.optimizers.schedules.CosineDecayRestarts(0.1, first_decay_steps=100)
    >>> round(float(schedule(50)), 4)
    0.05
    """

    _arguments = ("initial_learning_rate", "first_decay_steps", "t_mul", "m_mul", "alpha")

    def __init__(
        self,
        initial_learning_rate: Any,
        first_decay_steps: int,
        t_mul: float = 2.0,
        m_mul: float = 1.0,
        alpha: float = 0.0,
        name: str = "SGDRDecay",
    ) -> None:
        self.initial_learning_rate = initial_learning_rate
        self.first_decay_steps = _positive("first_decay_steps", first_decay_steps)
        self.t_mul = t_mul
        self.m_mul = m_mul
        self.alpha = alpha
        self.name = name

    def __call__(self, step: Any) -> Any:
        fraction = ops.cast(step, _dtype(self.initial_learning_rate)) / self.first_decay_steps
        if self.t_mul == 1.0:
            restarts = ops.floor(fraction)
            fraction = fraction - restarts
        else:  # the decays' lengths form a geometric series
            restarts = ops.floor(ops.log(1.0 - fraction * (1.0 - self.t_mul)) / math.log(self.t_mul))
            length = ops.power(self.t_mul, restarts)
            fraction = (fraction - (1.0 - length) / (1.0 - self.t_mul)) / length
        height = ops.power(self.m_mul, restarts) * _cosine(fraction)
        return self.initial_learning_rate * ((1.0 - self.alpha) * height + self.alpha)
