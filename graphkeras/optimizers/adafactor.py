"""Adafactor: Adam with factored second moments."""

from __future__ import annotations

from typing import Any

from graphkeras import ops
from graphkeras.core.variable import Variable
from graphkeras.optimizers.arguments import shared
from graphkeras.optimizers.optimizer import Optimizer


class Adafactor(Optimizer):
    """For matrices, means over rows and columns stand for the mean of squares of each element (Shazeer and Stern 2018).

    Args:
        learning_rate: float, schedule or function.
        beta_2_decay: the decay of means at step t is `1 - t**beta_2_decay`.
        epsilon_1: added to squared gradients.
        epsilon_2: smallest root mean square of a variable in the scale of its steps.
        clip_threshold: largest root mean square of a step.
        relative_step: let the rate fall with the root of the step number.

    Further arguments: see `Optimizer`.

    Example:

    >>> import numpy as np
    >>> import graphkeras as keras
    >>> optimizer = keras.optimizers.Adafactor(learning_rate=0.1)
    >>> variable = keras.Variable(np.array([1.0, -2.0]))
    >>> optimizer.apply([np.array([0.5, -0.5])], [variable])
    >>> np.round(variable.numpy(), 4).tolist()
    [0.8419, -1.8419]
    """

    _arguments = ("beta_2_decay", "epsilon_1", "epsilon_2", "clip_threshold", "relative_step")

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_2_decay: float = -0.8,
        epsilon_1: float = 1e-30,
        epsilon_2: float = 1e-3,
        clip_threshold: float = 1.0,
        relative_step: bool = True,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None,
        loss_scale_factor: float | None = None,
        gradient_accumulation_steps: int | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**shared(locals()))
        self.beta_2_decay = beta_2_decay
        self.epsilon_1 = epsilon_1
        self.epsilon_2 = epsilon_2
        self.clip_threshold = clip_threshold
        self.relative_step = relative_step

    def build(self, variables: Any) -> None:
        if self.built:
            return
        super().build(variables)
        self._r: list[Any] = []
        self._c: list[Any] = []
        self._v: list[Any] = []
        for variable in variables:
            rows, columns, elements = self._slots(variable)
            self._r.append(rows)
            self._c.append(columns)
            self._v.append(elements)

    def _slots(self, variable: Any) -> tuple[Any, Any, Any]:
        if self._overwrite_variable_with_gradient(variable):
            return None, None, None
        shape, name, dtype = variable.shape, variable.name, variable.dtype
        if len(shape) < 2:  # not factored; the two scalars keep the layout of saved files
            rows, columns = Variable(0, name=name, trainable=False), Variable(0, name=name, trainable=False)
            self._track_variable(rows)
            self._track_variable(columns)
        else:
            rows = self.add_variable(shape[:-1], dtype=dtype, name=name)
            columns = self.add_variable((*shape[:-2], shape[-1]), dtype=dtype, name=name)
        return rows, columns, self.add_variable_from_reference(variable, name="velocity")

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        dtype = variable.dtype
        index = self._get_variable_index(variable)
        gradient = ops.cast(gradient, dtype)
        rate = ops.cast(learning_rate, dtype)
        step = ops.cast(self.iterations + 1, dtype)
        limit = ops.rsqrt(step)
        if self.relative_step and not callable(self._learning_rate):
            rate = ops.minimum(rate, limit)
        scale = ops.maximum(_rms(variable), self.epsilon_2) * ops.minimum(rate, limit)
        decay = 1 - ops.power(step, self.beta_2_decay)
        squares = ops.square(gradient) + self.epsilon_1
        v = self._v[index]
        if len(variable.shape) >= 2:
            r, c = self._r[index], self._c[index]
            rows = decay * r + (1 - decay) * ops.mean(squares, axis=-1)
            columns = decay * c + (1 - decay) * ops.mean(squares, axis=-2)
            self.assign(r, rows)
            self.assign(c, columns)
            share = rows / ops.mean(rows, axis=-1, keepdims=True)
            new_v = ops.expand_dims(share, -1) * ops.expand_dims(columns, -2)
        else:
            new_v = decay * v + (1 - decay) * squares
        self.assign(v, new_v)
        update = gradient / ops.sqrt(new_v)
        shrink = ops.maximum(_rms(update) / self.clip_threshold, 1.0)
        self.assign_sub(variable, (scale / shrink) * update)


def _rms(x: Any) -> Any:
    return ops.sqrt(ops.mean(ops.square(x)))
