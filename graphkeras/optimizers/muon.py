"""Muon: momentum orthogonalised by Newton-Schulz iteration, for matrices; AdamW for the rest."""

from __future__ import annotations

import math
import re
from typing import Any

from graphkeras import ops
from graphkeras.optimizers.arguments import shared
from graphkeras.optimizers.optimizer import Optimizer


class Muon(Optimizer):
    """Steps are the nearest orthogonal matrix to the momentum (Jordan et al. 2024; scale after Liu et al. 2025).

    Variables that are no matrices, embeddings and excluded layers are updated by AdamW.

    Args:
        learning_rate: float, schedule or function.
        adam_beta_1, adam_beta_2, epsilon: AdamW's constants.
        adam_weight_decay: AdamW's weight decay.
        weight_decay: weight decay of the matrices.
        exclude_layers: regular expressions; variables with such a path are updated by AdamW.
        exclude_embeddings: the same for variables with "embedding" in their path.
        muon_a, muon_b, muon_c: the iteration's coefficients.
        adam_lr_ratio: AdamW's rate is the rate times this.
        momentum: decay of the momentum.
        ns_steps: iterations.
        nesterov: look one step of momentum ahead.
        rms_rate: steps are scaled by `sqrt(max(rows, columns)) * rms_rate`; None for no scale.

    Further arguments: see `Optimizer`.
    """

    _arguments = (
        "adam_beta_1",
        "adam_beta_2",
        "adam_weight_decay",
        "epsilon",
        "exclude_layers",
        "exclude_embeddings",
        "muon_a",
        "muon_b",
        "muon_c",
        "adam_lr_ratio",
        "momentum",
        "ns_steps",
        "nesterov",
        "rms_rate",
    )

    def __init__(
        self,
        learning_rate: Any = 0.001,
        adam_beta_1: float = 0.9,
        adam_beta_2: float = 0.999,
        adam_weight_decay: float | None = 0.004,
        epsilon: float = 1e-7,
        weight_decay: float | None = 0.004,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None,
        loss_scale_factor: float | None = None,
        gradient_accumulation_steps: int | None = None,
        name: str | None = None,
        exclude_layers: list[str] | None = None,
        exclude_embeddings: bool = True,
        muon_a: float = 3.4445,
        muon_b: float = -4.7750,
        muon_c: float = 2.0315,
        adam_lr_ratio: float = 1,
        momentum: float = 0.95,
        ns_steps: int = 5,
        nesterov: bool = True,
        rms_rate: float | None = 0.2,
        **kwargs: Any,
    ) -> None:
        super().__init__(**shared(locals()))
        self.exclude_layers = exclude_layers or []
        self.adam_beta_1 = adam_beta_1
        self.adam_beta_2 = adam_beta_2
        self.adam_weight_decay = adam_weight_decay
        self.epsilon = epsilon
        self.exclude_embeddings = exclude_embeddings
        self.muon_a = muon_a
        self.muon_b = muon_b
        self.muon_c = muon_c
        self.adam_lr_ratio = adam_lr_ratio
        self.momentum = momentum
        self.ns_steps = ns_steps
        self.nesterov = nesterov
        self.rms_rate = rms_rate

    def build(self, variables: Any) -> None:
        if self.built:
            return
        super().build(variables)
        self.momentums: list[Any] = [None] * len(variables)
        self.adam_velocities: list[Any] = [None] * len(variables)
        for i, variable in enumerate(variables):
            if not self._overwrite_variable_with_gradient(variable):
                self.momentums[i] = self.add_variable_from_reference(variable, name="momentum")
                if self._should_use_adamw(variable):
                    self.adam_velocities[i] = self.add_variable_from_reference(variable, name="velocity")

    def _should_use_adamw(self, variable: Any) -> bool:
        if len(variable.shape) != 2:
            return True
        if self.exclude_embeddings and "embedding" in variable.path.lower():
            return True
        return any(re.search(pattern, variable.path) for pattern in self.exclude_layers)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        index = self._get_variable_index(variable)
        gradient = ops.cast(gradient, variable.dtype)
        rate = ops.cast(learning_rate, variable.dtype)
        m, v = self.momentums[index], self.adam_velocities[index]
        if v is not None:
            self._adamw_update_step(gradient, variable, rate * self.adam_lr_ratio, m, v)
        else:
            self._muon_update_step(gradient, variable, rate, m)

    def _muon_update_step(self, gradient: Any, variable: Any, rate: Any, m: Any) -> None:
        new_m = m * self.momentum + gradient
        self.assign(m, new_m)
        direction = gradient + self.momentum * new_m if self.nesterov else new_m
        update = self.zeropower_via_newtonschulz5(direction, self.ns_steps)
        self.assign_sub(variable, self.lr_adjust(rate * update))

    def _adamw_update_step(self, gradient: Any, variable: Any, rate: Any, m: Any, v: Any) -> None:
        step = ops.cast(self.iterations + 1, variable.dtype)
        alpha = rate * ops.sqrt(1 - ops.power(self.adam_beta_2, step)) / (1 - ops.power(self.adam_beta_1, step))
        new_m = m + (gradient - m) * (1 - self.adam_beta_1)
        new_v = v + (ops.square(gradient) - v) * (1 - self.adam_beta_2)
        self.assign(m, new_m)
        self.assign(v, new_v)
        self.assign_sub(variable, new_m * alpha / (ops.sqrt(new_v) + self.epsilon))

    def transpose_last_axis(self, x: Any) -> Any:
        return ops.swapaxes(x, -1, -2)

    def lr_adjust(self, x: Any) -> Any:
        """Steps of a matrix at the scale of AdamW's."""
        return x if self.rms_rate is None else x * (math.sqrt(max(x.shape[0], x.shape[1])) * self.rms_rate)

    def zeropower_via_newtonschulz5(self, x: Any, steps: int) -> Any:
        """Roughly the orthogonal factor of a matrix: its singular values are moved close to 1."""
        x = ops.convert_to_tensor(x)
        if len(x.shape) < 2:
            raise ValueError(
                f"Expected gradient or momentum to have at least 2 dimensions. Received: shape={tuple(x.shape)}"
            )
        tall = x.shape[-2] > x.shape[-1]
        x = self.transpose_last_axis(x) if tall else x
        x = x / (ops.sqrt(ops.sum(ops.square(x), axis=(-2, -1), keepdims=True)) + 1e-7)
        for _ in range(steps):
            gram = ops.matmul(x, self.transpose_last_axis(x))
            x = self.muon_a * x + ops.matmul(self.muon_b * gram + self.muon_c * ops.matmul(gram, gram), x)
        return self.transpose_last_axis(x) if tall else x

    def _apply_weight_decay(self, variables: Any) -> None:
        decayed = [v for v in variables if self._use_weight_decay(v)]
        for adamw, weight_decay in ((True, self.adam_weight_decay), (False, self.weight_decay)):
            if weight_decay is not None:
                self._decay([v for v in decayed if self._should_use_adamw(v) is adamw], weight_decay)
