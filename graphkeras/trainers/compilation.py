"""`compile`: what the model is trained with."""

from __future__ import annotations

import warnings
from typing import Any

from graphkeras import metrics as metrics_module
from graphkeras import optimizers as optimizers_module
from graphkeras.core.tracking import DoNotTrackScope
from graphkeras.saving import serialization_lib
from graphkeras.trainers.compile_loss import CompileLoss
from graphkeras.trainers.compile_utils import CompileMetrics, check_identifiers
from graphkeras.trainers.programs import Programs


class Compilation(Programs):
    """What `Trainer` inherits to keep optimizer, losses, metrics and the way of running."""

    compiled: bool
    steps_per_execution: int
    _run_eagerly: bool
    _jit_compile: Any

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: Any = None,
        loss_weights: Any = None,
        metrics: Any = None,
        weighted_metrics: Any = None,
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
        jit_compile: Any = "auto",
        auto_scale_loss: bool = True,
    ) -> None:
        """Say how the model is to be trained.

        Args:
            optimizer: name or Optimizer.
            loss: name, function `(y_true, y_pred) -> values` or Loss; for several outputs a list or dict of them
                (None: this output has no loss). "crossentropy" chooses the kind by the shapes.
            loss_weights: float, or list or dict of floats by which the losses are added up.
            metrics: list of names, functions or Metrics; for several outputs one entry per output, by position or
                name. "accuracy" and "crossentropy" choose the kind by the shapes.
            weighted_metrics: like `metrics`, but these see `sample_weight` and `class_weight`.
            run_eagerly: run every step as plain Python, for debugging: values can be printed and inspected.
            steps_per_execution: batches between two calls of batch callbacks.
            jit_compile: accepted; steps are always compiled unless `run_eagerly`.
            auto_scale_loss: under the policy "mixed_float16", wrap the optimizer in a LossScaleOptimizer.

        Compiling again without `loss` or `metrics` keeps the earlier ones. Misspelt names raise ValueError here.

        Example:

        >>> import graphkeras as keras
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, activation="softmax")])
        >>> model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        """
        check_identifiers(loss, metrics, weighted_metrics)
        if isinstance(steps_per_execution, bool) or not isinstance(steps_per_execution, int) or steps_per_execution < 1:
            raise ValueError(f"`steps_per_execution` must be an integer >= 1. Received: {steps_per_execution!r}")
        names = getattr(self, "output_names", None)
        optimizer = optimizers_module.get(optimizer)
        with DoNotTrackScope():
            self.optimizer = self._scaled(optimizer) if auto_scale_loss else optimizer
            if loss is not None:
                self._compile_loss = CompileLoss(loss, loss_weights, output_names=names)
                self.loss = loss
            if metrics is not None or weighted_metrics is not None:
                self._compile_metrics = CompileMetrics(metrics, weighted_metrics, output_names=names)
            self._loss_tracker = metrics_module.Mean(name="loss")
            self._compile_config = dict(
                optimizer=optimizer,
                loss=loss,
                loss_weights=loss_weights,
                metrics=metrics,
                weighted_metrics=weighted_metrics,
                run_eagerly=run_eagerly,
                steps_per_execution=steps_per_execution,
                jit_compile=jit_compile if jit_compile != "auto" else not run_eagerly,
            )
        if jit_compile is True and run_eagerly:
            warnings.warn(
                "If `run_eagerly` is True, then `jit_compile` cannot also be True. Disabling `jit_compile`.",
                stacklevel=2,
            )
        self._jit_compile = bool(jit_compile) and not run_eagerly
        self.run_eagerly = run_eagerly
        self.steps_per_execution = steps_per_execution
        self.stop_training = False
        self.compiled = True
        self.train_function = self.test_function = self.predict_function = None
        self._forget_programs()
        self.__dict__.pop("_trained_state", None)

    def _scaled(self, optimizer: Any) -> Any:
        from graphkeras.optimizers.loss_scale_optimizer import LossScaleOptimizer

        policy = getattr(self, "dtype_policy", None)
        if (
            optimizer is None
            or getattr(policy, "name", "") != "mixed_float16"
            or isinstance(optimizer, LossScaleOptimizer)
        ):
            return optimizer
        return LossScaleOptimizer(optimizer, name="loss_scale_optimizer")

    @property
    def jit_compile(self) -> bool:
        """Whether steps are compiled (they are unless `run_eagerly`)."""
        return not self._run_eagerly if self._jit_compile is None else self._jit_compile

    @jit_compile.setter
    def jit_compile(self, value: Any) -> None:
        self._jit_compile = value

    @property
    def run_eagerly(self) -> bool:
        return self._run_eagerly

    @run_eagerly.setter
    def run_eagerly(self, value: bool) -> None:
        self._run_eagerly = bool(value)
        self._forget_programs()

    def get_compile_config(self) -> dict[str, Any]:
        """The arguments of `compile` as a serializable dict."""
        if self.compiled and hasattr(self, "_compile_config"):
            return serialization_lib.serialize_dict(self._compile_config)
        return {}

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compile as a `get_compile_config` dict says, and build the optimizer if the model is built."""
        if type(self).compile is not Compilation.compile:
            warnings.warn(
                "`compile()` was not called as part of model loading because the model's `compile()` method is custom. "
                "All subclassed Models that have `compile()` overridden should also override `get_compile_config()` "
                "and `compile_from_config(config)`. Alternatively, you can call `compile()` manually after loading.",
                stacklevel=2,
            )
            return
        self.compile(**serialization_lib.deserialize_keras_object(config))
        if self.optimizer is not None and self.built:  # type: ignore[attr-defined]
            self.optimizer.build(self.trainable_variables)  # type: ignore[attr-defined]
