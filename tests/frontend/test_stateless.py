"""Steps and parts as functions of the state: Keras's stateless forms and `train_step(self, state, data)`."""

from __future__ import annotations

import traceback
import warnings

import numpy as np
import pytest

import graphkeras as keras
from graphkeras import layers, ops
from graphkeras.trainers.step import StepProgram

RNG = np.random.default_rng(0)
X = RNG.normal(size=(96, 6)).astype("float32")
Y = (X[:, :2].sum(axis=1, keepdims=True) > 0).astype("float32")


def build(cls=keras.Model, **compiled):
    """A small model with dropout, batch statistics, a penalty and a loss of a layer."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input((6,))
    h = layers.Dense(8, activation="tanh", kernel_regularizer=keras.regularizers.L2(0.01))(inputs)
    h = layers.BatchNormalization()(h)
    h = layers.ActivityRegularization(l2=0.001)(h)
    h = layers.Dropout(0.25, seed=3)(h)
    model = cls(inputs, layers.Dense(1, activation="sigmoid")(h))
    settings = {"optimizer": keras.optimizers.Adam(0.01), "loss": "binary_crossentropy", "metrics": ["mae"]}
    model.compile(**{**settings, **compiled})
    return model


class FromState(keras.Model):
    """The step of the guide: losses, gradients, update and metrics as functions of the state."""

    def compute(self, trainable, non_trainable, x, y):
        y_pred, non_trainable, losses = self.stateless_call(
            trainable, non_trainable, x, training=True, return_losses=True
        )
        loss = ops.mean(keras.losses.binary_crossentropy(y, y_pred)) + sum(losses)
        return loss, (y_pred, non_trainable)

    def train_step(self, state, data):
        trainable, non_trainable, optimizer_variables, metrics_variables = state
        x, y = data
        (loss, (y_pred, non_trainable)), grads = keras.value_and_grad(self.compute, has_aux=True)(
            trainable, non_trainable, x, y
        )
        trainable, optimizer_variables = self.optimizer.stateless_apply(optimizer_variables, grads, trainable)
        logs, new = {}, []
        for metric in self.metrics:
            own = metrics_variables[len(new) : len(new) + len(metric.variables)]
            own = (
                metric.stateless_update_state(own, loss, sample_weight=len(x))
                if metric.name == "loss"
                else metric.stateless_update_state(own, y, y_pred)
            )
            result = metric.stateless_result(own)
            logs.update(result if isinstance(result, dict) else {metric.name: result})
            new += own
        return logs, (trainable, non_trainable, optimizer_variables, new)


class BySuper(keras.Model):
    """All three steps of the built-in form, called with the state."""

    def train_step(self, state, data):
        logs, state = super().train_step(state, data)
        return {**logs, "twice": 2 * logs["loss"]}, state

    def test_step(self, state, data):
        return super().test_step(state, data)

    def predict_step(self, state, data):
        return super().predict_step(state, data)


def weights(model):
    return [v.numpy() for v in [*model.variables, *model.optimizer.variables]]


def assert_same(a, b, **tolerance):
    for left, right in zip(a, b, strict=True):
        np.testing.assert_allclose(left, right, **{"rtol": 2e-5, "atol": 2e-6, **tolerance})


@pytest.mark.parametrize("cls", [FromState, BySuper])
def test_step_of_state_trains_as_the_built_in_one(cls):
    expected, model = build(), build(cls)
    histories = [m.fit(X, Y, epochs=3, batch_size=32, shuffle=False, verbose=0).history for m in (expected, model)]
    assert_same(weights(model), weights(expected))
    assert_same(histories[1]["loss"], histories[0]["loss"])
    assert_same(histories[1]["mae"], histories[0]["mae"])
    assert all(isinstance(p, StepProgram) for p in model._programs.values())
    assert_same(model.evaluate(X, Y, verbose=0), expected.evaluate(X, Y, verbose=0))
    assert_same([model.predict(X, verbose=0)], [expected.predict(X, verbose=0)])


@pytest.mark.parametrize("cls", [FromState, BySuper])
def test_step_of_state_is_the_same_in_eager_mode(cls):
    compiled, eager = build(cls), build(cls, run_eagerly=True)
    for model in (compiled, eager):
        model.fit(X, Y, epochs=2, batch_size=40, shuffle=False, verbose=0)
    assert_same(weights(eager), weights(compiled))


def test_scaled_loss_in_a_step_of_state():
    optimizers = [keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1), initial_scale=64.0) for _ in "ab"]
    expected, model = build(optimizer=optimizers[0]), build(BySuper, optimizer=optimizers[1])
    for m in (expected, model):
        m.fit(X, Y, epochs=2, batch_size=32, shuffle=False, verbose=0)
    assert_same(weights(model), weights(expected))


def test_a_step_of_state_that_decides_on_values():
    class Careful(BySuper):
        def train_step(self, state, data):
            logs, after = super().train_step(state, data)
            if logs["loss"] > 1e6:  # decided in Python, on a value of the step
                return logs, state
            return logs, after

    plain, careful = build(BySuper), build(Careful)
    for model in (plain, careful):
        model.fit(X, Y, epochs=1, batch_size=32, shuffle=False, verbose=0)
    assert_same(weights(careful), weights(plain))


def test_wrong_states_are_refused_and_the_model_stays_as_it_was():
    class Short(BySuper):
        def train_step(self, state, data):
            logs, after = super().train_step(state, data)
            return logs, (after[0][:-1], *after[1:])

    class Bare(BySuper):
        def train_step(self, state, data):
            return super().train_step(state, data)[0]

    for cls, text in ((Short, "one value per variable"), (Bare, "must return")):
        model = build(cls)
        before = weights(model)
        with pytest.raises(ValueError, match=text):
            model.fit(X, Y, verbose=0)
        assert_same(weights(model)[: len(before)], before)


def test_an_error_in_the_middle_of_an_epoch_keeps_what_was_learned():
    class Data(keras.utils.PyDataset):
        broken = True

        def __len__(self):
            return 3

        def __getitem__(self, i):
            if self.broken and i == 2:
                raise OSError("the disk is gone")
            return X[32 * i : 32 * (i + 1)], Y[32 * i : 32 * (i + 1)]

    for cls in (FromState, keras.Model):
        model, data = build(cls), Data()
        with pytest.raises(OSError, match="disk"):
            model.fit(data, shuffle=False, verbose=0)
        expected = build(cls)
        for i in range(2):
            expected.train_on_batch(X[32 * i : 32 * (i + 1)], Y[32 * i : 32 * (i + 1)])
        assert_same(model.get_weights(), expected.get_weights(), rtol=0, atol=0)
        data.broken = False
        model.fit(data, verbose=0)
        assert int(model.optimizer.iterations) == 5


def test_stateless_compute_loss_names_what_is_missing():
    model = build()
    with pytest.raises(ValueError, match="`trainable_variables` must hold"):
        model.stateless_compute_loss([], [], [], y=Y, y_pred=Y)


@pytest.mark.parametrize("make", [keras.optimizers.SGD, keras.optimizers.Adam, keras.optimizers.Muon])
def test_stateless_apply_is_apply(make):
    start, gradient = RNG.normal(size=(4, 3)).astype("float32"), RNG.normal(size=(4, 3)).astype("float32")
    v = keras.Variable(start)
    optimizer, reference = make(learning_rate=0.1), make(learning_rate=0.1)
    optimizer.build([v])
    w = keras.Variable(start)
    reference.build([w])
    state, value = [s.value for s in optimizer.variables], [v.value]
    step = keras.function(lambda s, g, t: optimizer.stateless_apply(s, g, t))
    for _ in range(3):
        value, state = step(state, [gradient], value)
        reference.apply([gradient], [w])
    np.testing.assert_array_equal(v.numpy(), start)
    np.testing.assert_allclose(np.array(value[0]), w.numpy(), rtol=1e-5, atol=1e-6)
    assert int(state[0]) == 3 and int(optimizer.iterations) == 0


def test_stateless_metrics_and_seeds():
    metric = keras.metrics.MeanSquaredError()
    state = metric.stateless_reset_state()
    for i in range(3):
        state = metric.stateless_update_state(state, X[i], Y[i])
    expected = np.mean([(X[i] - Y[i]) ** 2 for i in range(3)])
    np.testing.assert_allclose(float(metric.stateless_result(state)), expected, rtol=1e-5)
    assert float(metric.result()) == 0.0
    seeds = keras.random.SeedGenerator(5)
    first = seeds.state.numpy()
    with keras.StatelessScope([(seeds.state, seeds.state.value)]) as scope:
        drawn = keras.random.normal((3,), seed=seeds)
    np.testing.assert_array_equal(seeds.state.numpy(), first)
    assert not np.array_equal(np.array(scope.get_current_value(seeds.state)), first)
    np.testing.assert_array_equal(np.array(drawn), np.array(keras.random.normal((3,), seed=seeds)))


class OwnFunction(keras.Model):
    """Counts the calls of a train function of its own."""

    calls = 0

    def make_train_function(self, force=False):
        inner = super().make_train_function(force)

        def run(iterator):
            type(self).calls += 1
            return {**inner(iterator), "calls": float(self.calls)}

        self.train_function = run
        return run


def test_make_train_function_of_ones_own():
    plain, model = build(), build(OwnFunction)
    OwnFunction.calls = 0
    plain.fit(X, Y, batch_size=32, epochs=2, shuffle=False, verbose=0)
    history = model.fit(X, Y, batch_size=32, epochs=2, shuffle=False, verbose=0).history
    assert history["calls"] == [3.0, 6.0]
    assert_same(weights(model), weights(plain), rtol=0, atol=0)
    assert all(isinstance(p, StepProgram) for p in model._programs.values())
    model.train_on_batch(X[:32], Y[:32])
    assert OwnFunction.calls == 7


def test_make_function_of_state_and_of_predictions():
    class Both(keras.Model):
        def make_train_function(self, force=False):
            if self.train_function is None or force:
                step = keras.function(lambda state, data: super(Both, self).train_step(state, data))
                self.train_function = lambda state, iterator: step(state, next(iterator))
            return self.train_function

        def make_predict_function(self, force=False):
            inner = super().make_predict_function(force)
            self.predict_function = lambda iterator: -inner(iterator)
            return self.predict_function

    plain, model = build(), build(Both)
    for m in (plain, model):
        m.fit(X, Y, batch_size=32, epochs=1, shuffle=False, verbose=0)
    assert_same(weights(model), weights(plain))
    np.testing.assert_allclose(model.predict(X, verbose=0), -plain.predict(X, verbose=0), rtol=1e-5)


@pytest.mark.parametrize("optimizer", ["adam", "scaled"])
def test_freezing_between_two_fits_reaches_steps_of_state(optimizer):
    """Frozen, trained, thawed: the same numbers as with the built-in step; the optimizer's slots are kept."""

    def made():
        adam = keras.optimizers.Adam(0.01)
        return keras.optimizers.LossScaleOptimizer(adam, initial_scale=4.0) if optimizer == "scaled" else adam

    models = [build(cls, optimizer=made()) for cls in (keras.Model, BySuper)]
    for model in models:
        model.layers[1].trainable = False
        for trainable in (False, True, False):
            model.layers[1].trainable = trainable
            before = model.layers[1].kernel.numpy()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model.fit(X, Y, batch_size=32, epochs=1, shuffle=False, verbose=0)
            assert np.array_equal(before, model.layers[1].kernel.numpy()) != trainable
    assert_same(weights(models[1]), weights(models[0]))
    optimizer = getattr(models[1].optimizer, "inner_optimizer", models[1].optimizer)
    trained = [id(v) for v in optimizer._trainable_variables]
    assert trained == [id(v) for v in models[1].weights if id(v) in trained]


class Breaks(FromState):
    """Fails in its third step, eager or compiled: index 7 is out of range for 5 rows."""

    def train_step(self, state, data):
        x, y = data
        rows = ops.take(ops.zeros((5,)), ops.cast(ops.floor(x[:, 0]), "int32"), axis=0)  # line of the error
        logs, state = super().train_step(state, (x + 0.0 * rows[:, None], y))
        return logs, state


@pytest.mark.parametrize("eager", [False, True])
def test_errors_of_values_in_a_step_of_state_keep_the_last_whole_step(eager):
    x = np.abs(X) % 1.0
    x[70, 0] = 7.0
    model, expected = build(Breaks, run_eagerly=eager), build(FromState)
    with pytest.raises((IndexError, ValueError), match="7"):
        model.fit(iter([(x[:32], Y[:32]), (x[32:64], Y[32:64]), (x[64:], Y[64:])]), verbose=0)
    for i in range(2):
        expected.train_on_batch(x[32 * i : 32 * (i + 1)], Y[32 * i : 32 * (i + 1)])
    assert_same(model.get_weights(), expected.get_weights())
    assert int(model.optimizer.iterations) == 2
    model.fit(x[:64], Y[:64], verbose=0)


@pytest.mark.parametrize("eager", [False, True])
def test_errors_name_the_line_of_a_step_of_ones_own(eager):
    class Wrong(keras.Model):
        def train_step(self, state, data):
            x, _ = data
            return ops.matmul(x, ops.ones((3, 3))), state  # the user's line

    model = build(Wrong, run_eagerly=eager)
    before = model.get_weights()
    with pytest.raises(ValueError) as caught:
        model.fit(X, Y, verbose=0)
    frames = traceback.extract_tb(caught.value.__traceback__)
    assert any("the user's line" in (frame.line or "") for frame in frames)
    assert_same(model.get_weights(), before, rtol=0, atol=0)
    assert np.isfinite(model.predict(X, verbose=0)).all()
