"""Steps as people write them: each trains to the same weights and logs compiled and eager."""

from __future__ import annotations

import numpy as np
import pytest

import graphkeras as keras
from graphkeras import layers, ops
from graphkeras.trainers.step import StepProgram

X = np.random.default_rng(0).normal(size=(48, 4)).astype("float32")
Y = (X[:, :1] > 0).astype("float32")
WEIGHT = np.linspace(0.5, 2.0, 48).astype("float32")


class ByMetrics(keras.Model):
    """apply_gradients, a persistent tape, metrics updated one by one, results of one's own."""

    def train_step(self, data):
        x, y, weight = keras.utils.unpack_x_y_sample_weight(data)
        with keras.GradientTape(persistent=True) as tape:
            y_pred = self(x, training=True)
            loss = self.compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=weight)
        gradients = tape.gradient(loss, self.trainable_weights)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_weights, strict=True))
        for metric in self.metrics:
            if metric.name == "loss":
                metric.update_state(loss)
            else:
                metric.update_state(y, y_pred, sample_weight=weight)
        return {m.name: m.result() for m in self.metrics}

    def test_step(self, data):
        x, y = data
        return {"apart": ops.mean(ops.abs(y - self(x, training=False))), "rows": ops.shape(x)[0]}

    def predict_step(self, data):
        x = data[0] if isinstance(data, tuple) else data
        y = self(x, training=False)
        return {"y": y, "class": ops.cast(y > 0.5, "int32"), "x": x}


class FromState(keras.Model):
    """The steps of the guide for Keras on JAX, with sample weights and an evaluation of one's own."""

    def train_step(self, state, data):
        trainable, non_trainable, slots, metrics = state
        x, y, weight = keras.utils.unpack_x_y_sample_weight(data)
        function = keras.value_and_grad(self.compute_loss_and_updates, has_aux=True)
        (_, (loss, y_pred, non_trainable, metrics)), gradients = function(
            trainable, non_trainable, metrics, x, y, weight, training=True, optimizer_variables=slots
        )
        trainable, slots = self.optimizer.stateless_apply(slots, gradients, trainable)
        new, logs = [], {}
        for metric in self.metrics:
            own = metrics[len(new) : len(new) + len(metric.variables)]
            if metric.name == "loss":
                own = metric.stateless_update_state(own, loss)
            else:
                own = metric.stateless_update_state(own, y, y_pred, sample_weight=weight)
            logs[metric.name] = metric.stateless_result(own)
            new += own
        return logs, (trainable, non_trainable, slots, new)

    def test_step(self, state, data):
        trainable, non_trainable, metrics = state
        x, y, weight = keras.utils.unpack_x_y_sample_weight(data)
        y_pred, non_trainable = self.stateless_call(trainable, non_trainable, x, training=False)
        loss, state = self.stateless_compute_loss(trainable, non_trainable, metrics, x, y, y_pred, weight)
        return {"apart": loss}, state


class OwnLossAndMetrics(keras.Model):
    """Overrides as they were written before `training` was an argument."""

    def compute_loss(self, x, y, y_pred, sample_weight):
        return ops.mean((y - y_pred) ** 2)

    def compute_metrics(self, x, y, y_pred, sample_weight):
        return {**super().compute_metrics(x, y, y_pred, sample_weight), "range": ops.max(y_pred) - ops.min(y_pred)}


class TwoOptimizers(keras.Model):
    def compile(self, **settings):
        super().compile(**settings)
        self.second = keras.optimizers.SGD(0.1)

    def train_step(self, data):
        x, y = data
        with keras.GradientTape() as tape:
            loss = self.compute_loss(x, y, self(x, training=True))
        variables = self.trainable_variables
        gradients = tape.gradient(loss, variables)
        self.optimizer.apply(gradients[:2], variables[:2])
        self.second.apply(gradients[2:], variables[2:])
        return {"loss": loss, "updates": self.second.iterations}


class Smooth(keras.Model):
    """A penalty on the gradient for the input: a derivative of a derivative."""

    def train_step(self, data):
        x, y = data
        with keras.GradientTape() as outer:
            with keras.GradientTape() as inner:
                inner.watch(x)
                y_pred = self(x, training=True)
                total = ops.sum(y_pred)
            slope = ops.mean(ops.square(inner.gradient(total, x)))
            loss = self.compute_loss(x, y, y_pred) + slope
        self.optimizer.apply(outer.gradient(loss, self.trainable_variables), self.trainable_variables)
        return {"loss": loss, "slope": slope}


def build(cls, **settings):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4,))
    h = layers.Dropout(0.2, seed=1)(layers.Dense(6, activation="tanh")(inputs))
    model = cls(inputs, layers.Dense(1, activation="sigmoid")(h))
    compiled = {"optimizer": "adam", "loss": "binary_crossentropy", "metrics": ["mae"], "weighted_metrics": ["mse"]}
    model.compile(**{**compiled, **settings})
    return model


FITS = {
    "plain": {},
    "sample_weight": {"sample_weight": WEIGHT},
    "class_weight": {"class_weight": {0: 1.0, 1: 3.0}},
    "validation": {"validation_data": (X, Y)},
}
CASES = [
    *[(cls, fit, {}) for cls in (ByMetrics, FromState) for fit in FITS],
    *[(cls, "plain", {}) for cls in (OwnLossAndMetrics, TwoOptimizers, Smooth)],
    (FromState, "plain", {"steps_per_execution": 2}),
    (FromState, "plain", {"loss": "mse"}),
]


@pytest.mark.parametrize(("cls", "fit", "settings"), CASES, ids=lambda v: getattr(v, "__name__", None) or str(v))
def test_compiled_as_eager(cls, fit, settings):
    results = []
    for eager in (False, True):
        model = build(cls, **settings, run_eagerly=eager)
        history = model.fit(X, Y, epochs=2, batch_size=20, shuffle=False, verbose=0, **FITS[fit]).history
        results.append((history, model.get_weights()))
        assert eager or all(isinstance(p, StepProgram) for p in model._programs.values())
    (compiled, weights), (expected, eager_weights) = results
    assert set(compiled) == set(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(compiled[name], values, rtol=1e-4, atol=1e-6, err_msg=name)
    for got, want in zip(weights, eager_weights, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-6)


def test_predictions_of_any_structure():
    results = [build(ByMetrics, run_eagerly=eager).predict(X, batch_size=20, verbose=0) for eager in (False, True)]
    assert set(results[0]) == {"y", "class", "x"}
    for name, value in results[1].items():
        np.testing.assert_allclose(results[0][name], value, rtol=1e-5)
    np.testing.assert_array_equal(results[0]["x"], X)
    assert results[0]["class"].dtype == "int32" and results[0]["y"].shape == (48, 1)


def test_gradient_accumulation_in_a_step_of_state_is_the_large_batch():
    models = []
    for steps, batch in ((None, 48), (3, 16)):
        keras.utils.set_random_seed(0)
        inputs = keras.Input((4,))
        model = FromState(inputs, layers.Dense(1)(inputs))
        model.compile(keras.optimizers.Adam(0.1, gradient_accumulation_steps=steps), "mse")
        model.fit(X, Y, epochs=3, batch_size=batch, shuffle=False, verbose=0)
        models.append(model)
    for got, want in zip(models[1].get_weights(), models[0].get_weights(), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
