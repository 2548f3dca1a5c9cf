"""Bad input gives an error that names what is wrong and how to mend it, and leaves the model as it was."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import graphkeras as keras
from graphkeras import layers, ops


@pytest.fixture(autouse=True)
def interpreted(monkeypatch):
    monkeypatch.setenv("GRAPHKERAS_TARGET", "interpret")


RNG = np.random.default_rng(0)
X = RNG.normal(size=(20, 4)).astype("float32")
Y = RNG.integers(0, 3, 20)
ONE_HOT = np.eye(3, dtype="float32")[Y]


def classifier(units=3, activation="softmax", loss="sparse_categorical_crossentropy", **kwargs):
    model = keras.Sequential(
        [keras.Input((4,)), layers.Dense(8, "relu", name="hidden"), layers.Dense(units, activation, name="head")],
        name="net",
    )
    model.compile("adam", loss, **kwargs)
    return model


def regression(loss="mse", units=3, **kwargs):
    return classifier(units, None, loss, **kwargs)


def two_outputs(**kwargs):
    a = keras.Input((4,), name="a")
    model = keras.Model(a, [layers.Dense(2, name="p")(a), layers.Dense(1, name="q")(a)], name="net")
    model.compile("adam", **kwargs)
    return model


def words():
    model = keras.Sequential(
        [keras.Input((5,), dtype="int32"), layers.Embedding(10, 4, name="words"), layers.Flatten(), layers.Dense(1)]
    )
    model.compile("adam", "mse")
    return model


def says(error, *texts):
    message = str(error.value)
    for text in texts:
        assert text in message, f"{text!r} is missing in: {message}"
    assert "\x1b" not in message


PAIR = [np.zeros((20, 2)), np.zeros((20, 1))]

# name: (model, call, parts of the message)
DATA = {
    "feature size": (classifier, lambda m: m.fit(X[:, :3], Y), ("'hidden'", "axis -1", "value 4", "(20, 3)")),
    "rank": (classifier, lambda m: m.fit(X.reshape(20, 2, 2), Y), ("'net'", "(None, 4)", "(20, 2, 2)")),
    "one sample": (classifier, lambda m: m.predict(X[0]), ("'net'", "(None, 4)", "x[None]")),
    "strings": (classifier, lambda m: m.fit(X.astype(str), Y), ("`x`", "str", "numbers", "StringLookup")),
    "objects": (classifier, lambda m: m.fit(X.astype(object), Y), ("`x`", "object", "np.stack")),
    "string labels": (classifier, lambda m: m.fit(X, np.array(["a", "b"] * 10)), ("`y`", "str", "StringLookup")),
    "list as x": (classifier, lambda m: m.fit(X.tolist(), Y), ("list", "np.array")),
    "no targets": (classifier, lambda m: m.fit(X), ("'net'", "`y` is None")),
    "no validation targets": (classifier, lambda m: m.fit(X, Y, validation_data=X), ("`y` is None", "(x, y)")),
    "validation size": (classifier, lambda m: m.fit(X, Y, validation_data=(X[:, :2], Y)), ("'hidden'", "(20, 2)")),
    "labels": (classifier, lambda m: m.fit(X, Y + 5), ("`y`", "'net'", "3 classes", "0..2", "8 units")),
    "negative labels": (classifier, lambda m: m.fit(X, -1 - Y), ("`y`", "0..2", "Number the labels from 0")),
    "labels, evaluate": (classifier, lambda m: m.evaluate(X, Y + 5), ("`y`", "3 classes", "0..2")),
    "labels, batch": (classifier, lambda m: m.train_on_batch(X, Y + 5), ("`y`", "3 classes", "0..2")),
    "labels, generator": (classifier, lambda m: m.fit(b for b in [(X, Y), (X, Y + 5)]), ("`y`", "0..2")),
    "labels, one unit": (lambda: classifier(1, "sigmoid"), lambda m: m.fit(X, Y), ("1 class", "binary_crossentropy")),
    "lengths": (classifier, lambda m: m.fit(X, Y[:10]), ("cardinality", "'x' sizes: 20", "'y' sizes: 10")),
    "weights length": (classifier, lambda m: m.fit(X, Y, sample_weight=np.ones(3)), ("'sample_weight' sizes: 3",)),
    "empty": (classifier, lambda m: m.fit(X[:0], Y[:0]), ("`x` has 0 samples", "at least one")),
    "empty generator": (classifier, lambda m: m.fit(iter(())), ("yielded no batch",)),
    "batch size": (classifier, lambda m: m.fit(X, Y, batch_size=0), ("`batch_size`", "positive", "0")),
    "split": (classifier, lambda m: m.fit(X, Y, validation_split=1.5), ("`validation_split`", "1.5")),
    "class names": (classifier, lambda m: m.fit(X, Y, class_weight={"a": 1.0}), ("`class_weight`", "'a'", "integer")),
    "list from a generator": (
        classifier,
        lambda m: m.fit(([X, Y] for _ in range(3)), steps_per_epoch=2),
        ("tuples", "(inputs, targets)", "list"),
    ),
    "shapes change": (classifier, lambda m: m.fit(b for b in [(X, Y), (X, Y), (X[:, :2], Y)]), ("(20, 2)",)),
    "one-hot loss": (
        lambda: classifier(loss="categorical_crossentropy"),
        lambda m: m.fit(X, Y),
        ("(20,)", "(20, 3)", "sparse_categorical_crossentropy", "to_categorical"),
    ),
    "sparse loss": (classifier, lambda m: m.fit(X, ONE_HOT), ("(20, 3)", "'categorical_crossentropy'")),
    "mse": (regression, lambda m: m.fit(X, np.zeros((20, 2))), ("mean_squared_error", "(20, 2)", "(20, 3)", "units")),
    "mse, flat": (regression, lambda m: m.fit(X, np.zeros(20)), ("(20,)", "(20, 3)")),
    "mae": (lambda: regression("mae"), lambda m: m.fit(X, np.zeros((20, 3, 2))), ("(20, 3, 2)", "(20, 3)")),
    "token ids": (words, lambda m: m.fit(np.full((20, 5), 12), np.zeros(20)), ("words", "12", "0..9", "input_dim")),
    "token ids, predict": (words, lambda m: m.predict(np.full((2, 5), 10)), ("words", "10", "0..9")),
    "one y for two": (lambda: two_outputs(loss="mse"), lambda m: m.fit(X, PAIR[0]), ("'p', 'q'", "(20, 2)", "(20, 1)")),
    "y keys": (
        lambda: two_outputs(loss="mse"),
        lambda m: m.fit(X, {"p": PAIR[0], "z": PAIR[1]}),
        ("['p', 'z']", "['p', 'q']"),
    ),
    "loss count": (lambda: two_outputs(loss=["mse"]), lambda m: m.fit(X, PAIR), ("list of 1", "2 outputs", "None")),
    "loss names": (
        lambda: two_outputs(loss={"p": "mse", "r": "mse"}),
        lambda m: m.fit(X, PAIR),
        ("['p', 'q']", "['p', 'r']"),
    ),
    "loss returns None": (lambda: regression(lambda t, p: None), lambda m: m.fit(X, ONE_HOT), ("None", "`return`")),
    "callback class": (
        classifier,
        lambda m: m.fit(X, Y, callbacks=[keras.callbacks.EarlyStopping]),
        ("Callback instances", "EarlyStopping(...)"),
    ),
    "monitor": (
        classifier,
        lambda m: m.fit(X, Y, callbacks=[keras.callbacks.EarlyStopping("val_los")]),
        ("val_los", "mode='min'", "['loss']"),
    ),
    "weights count": (classifier, lambda m: m.set_weights([np.zeros((4, 8))]), ("'net'", "length 1", "4 weights")),
    "weights shape": (
        classifier,
        lambda m: m.layers[0].set_weights([np.zeros((8, 4)), np.zeros(8)]),
        ("hidden", "(4, 8)", "(8, 4)"),
    ),
    "layer name": (classifier, lambda m: m.get_layer("hiden"), ("hiden", "Did you mean 'hidden'?")),
    "file name": (classifier, lambda m: m.save("net"), (".keras", "net")),
    "weights file name": (classifier, lambda m: m.save_weights("net.h5"), (".weights.h5", "net.h5")),
}


@pytest.mark.parametrize("case", DATA)
def test_bad_data_leaves_the_model_usable(case):
    build, call, parts = DATA[case]
    model = build()
    before = model.get_weights()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises((ValueError, TypeError)) as error:
            call(model)
    says(error, *parts)
    if "generator" not in case and case != "shapes change":  # batches before the bad one were trained on
        for old, new in zip(before, model.get_weights(), strict=True):
            np.testing.assert_array_equal(old, new)
    x = np.zeros((2, 5), "int32") if build is words else X
    first = model.predict(x, verbose=0)
    assert all(np.isfinite(a).all() for a in (first if isinstance(first, list) else [first]))


UNKNOWN = {
    "optimizer": (lambda: regression().compile("adamm", "mse"), "'adam'"),
    "loss": (lambda: regression().compile("adam", "mean_square_error"), "'mean_squared_error'"),
    "metric": (lambda: regression().compile("adam", "mse", metrics=["acuracy"]), "'accuracy'"),
    "activation": (lambda: layers.Dense(3, activation="reluu"), "'relu'"),
    "initializer": (lambda: layers.Dense(3, kernel_initializer="glorot_unifrom"), "'glorot_uniform'"),
    "regularizer": (lambda: layers.Dense(3, kernel_regularizer="l3"), "'l2'"),
    "constraint": (lambda: layers.Dense(3, kernel_constraint="max_normm"), "'max_norm'"),
    "metrics as a string": (lambda: regression().compile("adam", "mse", metrics="mae"), "['mae']"),
    "learning rate": (lambda: keras.optimizers.Adam(lr=0.1), "`learning_rate`"),
    "layer argument": (lambda: layers.Dense(3, activaton="relu"), "activaton", "Did you mean 'activation'?"),
    "units": (lambda: layers.Dense(-3), "positive integer"),
    "padding": (lambda: layers.Conv2D(3, 3, padding="sames"), "'valid', 'same'"),
    "dtype": (lambda: layers.Dense(3, dtype="float31"), "float31"),
    "shape": (lambda: keras.Input(4), "(4,)"),
    "checkpoint suffix": (lambda: keras.callbacks.ModelCheckpoint("a.ckpt"), "`.keras`"),
    "weights suffix": (lambda: keras.callbacks.ModelCheckpoint("a.h5", save_weights_only=True), "`.weights.h5`"),
}


@pytest.mark.parametrize("case", UNKNOWN)
def test_unknown_arguments(case):
    call, *hints = UNKNOWN[case]
    with pytest.raises(ValueError if case != "metrics as a string" else (ValueError, TypeError)) as error:
        call()
    says(error, *hints)


def test_input_of_another_shape_says_what_to_do():
    for shape, parts in (
        ((20, 7), ("'hidden'", "value 4", "(20, 7)", "that the layer was built for")),
        ((4,), ("(4,)",)),
    ):
        with pytest.raises(ValueError) as error:
            classifier()(np.zeros(shape, "float32"))
        says(error, *parts)
    with pytest.raises(ValueError) as error:
        layers.LSTM(3, name="memory")(np.zeros((5, 4), "float32"))
    says(error, "'memory'", "expected ndim=3", "found ndim=2", "(5, 4)", "An axis is missing")
    with pytest.raises(ValueError) as error:
        layers.LSTM(3, name="memory")(np.zeros((5, 4, 2, 1), "float32"))
    says(error, "'memory'", "expected ndim=3", "found ndim=4", "Reshape the data")


def test_epochs_must_be_a_number():
    with pytest.raises(TypeError) as error:
        classifier().fit(X, Y, epochs="5", verbose=0)
    says(error, "`epochs`", "integer", "'5'")


def test_losses_by_name_for_one_output():
    with pytest.raises(KeyError) as error:
        classifier(loss={"heed": "mse"}).fit(X, ONE_HOT, verbose=0)
    says(error, "heed", "Pass one loss")


def test_unbuilt_and_uncompiled():
    bare = keras.Sequential([layers.Dense(3, name="d")], name="bare")
    for call in (
        lambda: bare.fit(X, ONE_HOT),
        lambda: bare.evaluate(X, ONE_HOT),
        lambda: bare.train_on_batch(X, ONE_HOT),
    ):
        with pytest.raises(ValueError) as error:
            call()
        says(error, "`compile()`", "bare")
    with pytest.raises(ValueError) as error:
        keras.Sequential([layers.Dense(3)], name="bare").count_params()
    says(error, "bare", "build")
    with pytest.raises(AttributeError, match="kernel"):
        layers.Dense(3).kernel  # noqa: B018
    bare.compile("adam")
    with pytest.raises(ValueError, match="No loss"):
        bare.fit(X, ONE_HOT, verbose=0)


def test_nan_is_refused_before_it_costs_the_weights():
    x = X.copy()
    x[3, 1] = np.nan
    model = classifier()
    model.fit(X, Y, verbose=0)
    learned = model.get_weights()
    with pytest.raises(ValueError, match=r"`x` contains 1 NaN .*at index \(3, 1\).*Expected numbers.*Nothing was"):
        model.fit(x, Y, verbose=0)
    for before, after in zip(learned, model.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
    assert np.isfinite(model.fit(X, Y, verbose=0).history["loss"]).all()
    y = ONE_HOT.astype("float32")
    y[2, 0] = np.nan
    with pytest.raises(ValueError, match="`y` contains 1 NaN"):
        regression().fit(X, y, verbose=0)


def test_nan_that_a_model_deals_with_is_its_own_affair():
    x = X.copy()
    x[3, 1] = np.nan
    inputs = keras.Input(X.shape[1:])
    cleaned = keras.ops.where(keras.ops.isnan(inputs), 0.0, inputs)
    model = keras.Model(inputs, layers.Dense(3)(cleaned))
    model.compile("sgd", "mse")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isfinite(model.fit(x, ONE_HOT, verbose=0).history["loss"]).all()

    class Own(keras.Model):
        def train_step(self, data):
            return super().train_step(data)

    own = Own(inputs, layers.Dense(3)(inputs))
    own.compile("sgd", "mse")
    with pytest.warns(UserWarning, match="`x` contains 1 NaN"):
        own.fit(x, ONE_HOT, verbose=0)


def test_class_numbers_in_a_binary_loss():
    with pytest.warns(UserWarning, match=r"from 0 to 2.*sparse_categorical_crossentropy"):
        classifier(1, "sigmoid", "binary_crossentropy").fit(X, Y, verbose=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        classifier(1, "sigmoid", "binary_crossentropy").fit(X, Y > 0, verbose=0)


# -- layers and callbacks of one's own -----------------------------------------------------------------


class Fails(layers.Layer):
    """Raises while `active` is set."""

    active = False

    def call(self, x):
        if Fails.active:
            raise RuntimeError("a bug of my own")
        return x


@pytest.mark.parametrize("eagerly", [False, True])
def test_a_layer_that_raises(eagerly):
    class AtBatch(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            Fails.active = batch == 1

    model = keras.Sequential([keras.Input((4,)), Fails(name="shaky"), layers.Dense(3)])
    model.compile("adam", "mse", run_eagerly=eagerly)
    if not eagerly:
        Fails.active = True
    try:
        with pytest.raises(RuntimeError) as error:
            model.fit(X, ONE_HOT, batch_size=4, verbose=0, callbacks=[AtBatch()] if eagerly else None)
        says(error, "'shaky'", "a bug of my own", "(4, 4)" if eagerly else "shape=")
    finally:
        Fails.active = False
    before = model.evaluate(X, ONE_HOT, verbose=0)
    model.fit(X, ONE_HOT, epochs=5, verbose=0)
    assert model.evaluate(X, ONE_HOT, verbose=0) < before


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt])
def test_a_callback_that_raises(kind, tmp_path):
    class Stops(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 2:
                raise kind("stop here")

    model = regression()
    with pytest.raises(kind, match="stop here"):
        model.fit(X, ONE_HOT, batch_size=4, verbose=0, callbacks=[Stops()])
    assert int(model.optimizer.iterations.numpy()) == 3
    model.save(tmp_path / "m.keras")
    again = keras.models.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(again.predict(X, verbose=0), model.predict(X, verbose=0))
    model.fit(X, ONE_HOT, verbose=0)


@pytest.mark.parametrize("where", ["generator", "dataset"])
def test_data_that_raises(where):
    class Rows(keras.utils.PyDataset):
        def __len__(self):
            return 5

        def __getitem__(self, index):
            if index == 3:
                raise OSError("row 3 is gone")
            return X, ONE_HOT

    def generate():
        data = Rows()
        yield from (data[i] for i in range(5))

    model = regression()
    with pytest.raises(OSError, match="row 3 is gone"):
        model.fit(generate() if where == "generator" else Rows(), verbose=0)
    model.fit(X, ONE_HOT, verbose=0)


def test_forgotten_super_init():
    class Forgot(layers.Layer):
        def __init__(self):
            self.units = 2

        def call(self, x):
            return x

    class ForgotModel(keras.Model):
        def __init__(self):
            self.dense = layers.Dense(2)

        def call(self, x):
            return self.dense(x)

    for make, name in ((Forgot, "'Forgot'"), (ForgotModel, "'ForgotModel'")):
        with pytest.raises(RuntimeError) as error:
            make()(X)
        says(error, name, "super().__init__()")


def test_state_made_in_call():
    class Weight(layers.Layer):
        def call(self, x):
            self.w = self.add_weight(shape=(4,))
            return x * self.w

    class Lost(layers.Layer):
        def call(self, x):
            return layers.Dense(3)(x)

    with pytest.raises(ValueError) as error:
        Weight(name="mine")(X)
    says(error, "'mine'", "__init__", "build()")
    model = keras.Sequential([keras.Input((4,)), Lost(name="mine"), layers.Dense(3)])
    model.compile("adam", "mse")
    with pytest.raises(ValueError) as error:
        model.fit(X, ONE_HOT, verbose=0)
    says(error, "mine/", "kernel", "__init__")


def test_no_call_and_no_result():
    class Silent(layers.Layer):
        def call(self, x):
            x * 2

    with pytest.raises(NotImplementedError, match=r"(?s)bare.*call"):
        layers.Layer(name="bare")(X)
    with pytest.raises(ValueError, match="None"):
        keras.Sequential([keras.Input((4,)), Silent(name="mine"), layers.Dense(2, name="after")])


def test_unknown_extents_in_messages_are_none():
    class Wrong(layers.Layer):
        def build(self, input_shape):
            self.w = self.add_weight(shape=(5, 4))

        def call(self, x):
            return ops.matmul(x, self.w)

    with pytest.raises(ValueError) as error:
        keras.Sequential([keras.Input((4,)), Wrong(name="mine")])
    says(error, "'mine'", "(None, 4)", "(5, 4)")


# -- symbolic and traced tensors ------------------------------------------------------------------------


def test_values_of_symbolic_tensors():
    x = keras.Input((4,))
    with pytest.raises(TypeError, match=r"ops\.where"):
        bool(x > 0)
    with pytest.raises(ValueError, match=r"graphkeras\.ops"):
        float(x)
    with pytest.raises(ValueError, match="NumPy array"):
        np.array(x)


def test_numpy_functions_become_ops():
    x = keras.Input((4,))
    assert np.exp(x).shape == (None, 4)
    assert np.mean(x, axis=1).shape == (None,)
    assert np.concatenate([x, x], axis=1).shape == (None, 8)
    assert (np.ones((4,), "float32") + x).shape == (None, 4)
    model = keras.Model(x, np.sqrt(np.square(x) + np.float32(1)))
    np.testing.assert_allclose(model.predict(X, verbose=0), np.sqrt(X**2 + 1), rtol=1e-5)
    with pytest.raises(TypeError, match=r"graphkeras\.ops"):
        np.convolve(x, x)


def test_numpy_functions_of_concrete_tensors():
    x = ops.convert_to_tensor(X)
    assert isinstance(np.exp(x), np.ndarray)
    assert isinstance(np.mean(x, axis=1), np.ndarray)
    assert isinstance(X + x, type(x)) and isinstance(x + X, type(x))
    array = X.copy()
    array += x
    np.testing.assert_array_equal(array, X + X)


def test_numpy_loss_trains():
    model = regression(lambda y_true, y_pred: np.mean(np.square(y_true - y_pred)))
    twin = regression("mse")
    twin.set_weights(model.get_weights())
    model.fit(X, ONE_HOT, shuffle=False, verbose=0)
    twin.fit(X, ONE_HOT, shuffle=False, verbose=0)
    np.testing.assert_allclose(model.get_weights()[0], twin.get_weights()[0], rtol=1e-4, atol=1e-6)


def test_values_inside_functions_given_to_ops():
    class Exact(layers.Layer):
        def call(self, x):
            return ops.cond(ops.sum(x) > 0, lambda: x * float(ops.max(x)), lambda: x)

    with pytest.raises(Exception) as error:
        keras.Sequential([keras.Input((4,)), Exact(name="mine")])
    says(error, "'mine'", "inside a function given to", "cond", "run_eagerly=True")


# -- models ---------------------------------------------------------------------------------------------


def test_wrong_graphs():
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    with pytest.raises(ValueError) as error:
        keras.Model(a, layers.Dense(2)(layers.Add()([a, b])))
    says(error, "not connected", "['b']", "Add them")
    with pytest.raises(ValueError) as error:
        keras.Model(X, X)
    says(error, "KerasTensors", "Tensor(shape=(20, 4)")
    with pytest.raises(ValueError, match="unique"):
        keras.Sequential([keras.Input((4,)), layers.Dense(2, name="a"), layers.Dense(2, name="a")])
    with pytest.raises(ValueError, match=r"rnn2.*ndim=3"):
        keras.Sequential([keras.Input((4, 2)), layers.LSTM(3, name="rnn"), layers.LSTM(3, name="rnn2")])


def test_files(tmp_path):
    classifier().save_weights(tmp_path / "w.weights.h5")
    other = classifier(units=5)
    before = other.get_weights()
    with pytest.raises(ValueError) as error:
        other.load_weights(tmp_path / "w.weights.h5")
    says(error, "head", "(8, 5)", "(8, 3)", "skip_mismatch=True")
    assert other.get_weights()[2].shape == before[2].shape
    with pytest.raises(ValueError, match="is missing"):
        keras.models.load_model(tmp_path / "nothing.keras")
    (tmp_path / "text.keras").write_text("hello")
    with pytest.raises(ValueError, match="not a zip archive"):
        keras.models.load_model(tmp_path / "text.keras")


def test_custom_objects_are_asked_for(tmp_path):
    class Mine(layers.Layer):
        def call(self, x):
            return x

    keras.Sequential([keras.Input((4,)), Mine()]).save(tmp_path / "m.keras")
    with pytest.raises(Exception) as error:
        keras.models.load_model(tmp_path / "m.keras")
    says(error, "'Mine'", "@register_keras_serializable()", "custom_objects")
    assert keras.models.load_model(tmp_path / "m.keras", custom_objects={"Mine": Mine}).count_params() == 0
