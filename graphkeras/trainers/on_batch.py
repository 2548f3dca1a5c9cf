"""Runs of one batch: train_on_batch and its like, and the functions that run one step."""

from __future__ import annotations

from typing import Any

from graphkeras.core import tree
from graphkeras.trainers.checks import check_labels
from graphkeras.trainers.data_adapters import data_adapter_utils as utils
from graphkeras.trainers.programs import Programs
from graphkeras.utils.python_utils import pythonify_logs


def run_batch(program: Any, batch: Any, model: Any = None) -> None:
    """Check and run one batch; with its class numbers, where a model is given."""
    if model is not None:
        y = utils.unpack_x_y_sample_weight(batch)[1]
        if y is not None:
            check_labels(model, y)
    arrays = [leaf for leaf in tree.flatten(batch) if leaf is not None]
    program.check(arrays)
    program.run(arrays)


class OnBatch(Programs):
    """What `Trainer` inherits to run single batches."""

    # -- one batch ---------------------------------------------------------------------------------
    def train_on_batch(
        self, x: Any, y: Any = None, sample_weight: Any = None, class_weight: Any = None, return_dict: bool = False
    ) -> Any:
        """One training step on one batch; returns loss and metrics of this batch as `evaluate` does.

        Example:

        >>> import numpy as np
        >>> import graphkeras as keras
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> x, y = np.ones((8, 2)), np.ones((8, 1))
        >>> losses = [model.train_on_batch(x, y) for _ in range(5)]
        >>> bool(losses[-1] < losses[0])
        True
        """
        self._assert_compile_called("train_on_batch")
        if class_weight is not None:
            if sample_weight is not None:
                raise ValueError(
                    "Arguments `sample_weight` and `class_weight` cannot be specified at the same time. "
                    f"Received: sample_weight={sample_weight}, class_weight={class_weight}"
                )
            sample_weight = utils.class_weight_to_sample_weights(utils.to_numpy(y), class_weight)
        return self._on_batch("train", x, y, sample_weight, return_dict)

    def test_on_batch(self, x: Any, y: Any = None, sample_weight: Any = None, return_dict: bool = False) -> Any:
        """Loss and metrics of one batch, as `evaluate` returns them.

        Example:

        >>> import numpy as np
        >>> import graphkeras as keras
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> x, y = np.ones((8, 2)), np.ones((8, 1))
        >>> model.set_weights([np.zeros((2, 1)), np.zeros(1)])
        >>> model.test_on_batch(x, y)
        1.0
        """
        self._assert_compile_called("test_on_batch")
        return self._on_batch("test", x, y, sample_weight, return_dict)

    def predict_on_batch(self, x: Any) -> Any:
        """The outputs for one batch as NumPy arrays.

        Example:

        >>> import numpy as np
        >>> import graphkeras as keras
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> x, y = np.ones((8, 2)), np.ones((8, 1))
        >>> model.predict_on_batch(x).shape
        (8, 1)
        """
        batch = self._standard_batch(x)
        self._symbolic_build(batch, "predict")
        program = self._step_program("predict", batch)
        run_batch(program, batch)
        return program.outputs()

    def _on_batch(self, mode: str, x: Any, y: Any, sample_weight: Any, return_dict: bool) -> Any:
        batch = self._standard_batch(x, y, sample_weight)
        self._refresh(mode)
        if not self._has_program(mode, batch):
            self._symbolic_build(batch, mode)
        self.reset_metrics()
        program = self._step_program(mode, batch)
        run_batch(program, batch, self)
        logs = pythonify_logs(program.logs(self))
        return logs if return_dict else self._flatten_metrics_in_order(logs)

    def _standard_batch(self, x: Any, y: Any = None, sample_weight: Any = None) -> Any:
        parts = []
        for label, part in (("x", x), ("y", y), ("sample_weight", sample_weight)):
            leaves = [None if v is None else utils.standardize(v, label) for v in tree.flatten(part)]
            parts.append(tree.pack_sequence_as(part, leaves))
        utils.check_data_cardinality(*parts[:2])
        return utils.pack_x_y_sample_weight(*parts)

    # -- functions that run one step -----------------------------------------------------------------
    def make_train_function(self, force: bool = False) -> Any:
        """A function that takes an iterator of batches and runs one training step; `force` traces the step anew.

        It is also kept as `self.train_function`. Override this to run something around each step: set
        `self.train_function` to a function of an iterator that returns logs (or of `(state, iterator)` that returns
        logs and state), and `fit` calls it batch by batch.
        """
        return self._make_function("train", force)

    def make_test_function(self, force: bool = False) -> Any:
        return self._make_function("test", force)

    def make_predict_function(self, force: bool = False) -> Any:
        return self._make_function("predict", force)

    def _make_function(self, mode: str, force: bool) -> Any:
        name = f"{mode}_function"
        if force:
            self._forget_programs()
        if force or getattr(self, name, None) is None:

            def run_one(iterator: Any) -> Any:
                batch = tree.map_structure(
                    lambda v: None if v is None else utils.standardize(v, "data"), next(iterator)
                )
                self._symbolic_build(batch, mode)
                program = self._compiled_step(mode, batch)
                run_batch(program, batch)
                return program.outputs() if mode == "predict" else program.logs(self)

            setattr(self, name, run_one)
        return getattr(self, name)
