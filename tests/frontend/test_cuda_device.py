"""Models on a (simulated) CUDA device: chosen by name, trained and used like on the CPU, with the same numbers."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from collections.abc import Iterator

import numpy as np
import pytest

import graphkeras as keras
from graphkeras.backend import executor
from graphkeras.codegen import flags
from tests.gpu import test_gpu_training
from tests.gpu.test_gpu_training import MODELS, curve


@pytest.fixture
def simulated() -> Iterator[None]:
    with keras.device("cuda:simulated"), warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*runs on the CPU.*")
        yield


class Scale(keras.layers.Layer):
    """y = tanh(x * w + b): a layer of pointwise work and sums."""

    def build(self, input_shape) -> None:
        self.w = self.add_weight(shape=input_shape[1:], initializer="ones", name="w")
        self.b = self.add_weight(shape=input_shape[1:], initializer="zeros", name="b")

    def call(self, x):
        return keras.ops.tanh(x * self.w + self.b)


def data(n: int = 48) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    x = rng.standard_normal((n, 12)).astype("float32")
    return x, np.tanh(0.5 * x - 0.2).astype("float32")


def test_a_cleared_session_gives_memory_back(simulated: None) -> None:
    driver = executor.open_device("cuda:simulated").driver
    made = model()
    made.fit(*data(), epochs=1, verbose=0)
    free, _ = driver.memory()
    weights = made.get_weights()
    keras.utils.clear_session()
    assert driver.memory()[0] > free
    np.testing.assert_array_equal(made.get_weights()[0], weights[0])
    made.fit(*data(), epochs=1, verbose=0)  # what is still used works as before
    assert not np.array_equal(made.get_weights()[0], weights[0])


def model() -> keras.Model:
    keras.utils.set_random_seed(5)
    made = keras.Sequential([keras.Input((12,)), Scale()])
    made.compile(optimizer=keras.optimizers.Adam(0.05), loss="mse", metrics=["mae"])
    return made


def batches(x: np.ndarray, y: np.ndarray, size: int = 16):
    while True:
        for k in range(0, len(x), size):
            yield x[k : k + size], y[k : k + size]


def train(made: keras.Model) -> dict[str, list[float]]:
    return made.fit(batches(*data()), steps_per_epoch=3, epochs=3, verbose=0).history


def kind_of(made: keras.Model) -> set[str]:
    return {type(p.executable).__name__ for p in made.__dict__["_programs"].values()}


def test_training_agrees_with_the_cpu(simulated: None) -> None:
    with keras.device("cpu"):
        here = model()
        expected = train(here)
    there = model()
    history = train(there)
    assert kind_of(there) == {"DeviceExecutable"} and kind_of(here) == {"NativeExecutable"}
    for name, values in expected.items():
        np.testing.assert_allclose(history[name], values, rtol=2e-5)
    for a, b in zip(here.get_weights(), there.get_weights(), strict=True):
        np.testing.assert_allclose(b, a, rtol=2e-4, atol=2e-6)
    x, _ = data(7)
    np.testing.assert_allclose(there.predict_on_batch(x), here.predict_on_batch(x), rtol=1e-4, atol=1e-5)


def test_weights_can_be_read_and_set_between_steps(simulated: None) -> None:
    made = model()
    x, y = data(16)
    made.train_on_batch(x, y)
    layer = made.layers[-1]
    first = layer.w.numpy()
    assert abs(first - 1.0).max() > 0.01  # fetched from the device
    layer.w.assign(np.zeros(12))
    np.testing.assert_allclose(made.predict_on_batch(x)[0], np.tanh(layer.b.numpy()), rtol=1e-5, atol=1e-6)
    made.train_on_batch(x, y)
    assert abs(layer.w.numpy()).max() < 0.2


def test_the_same_model_moves_between_devices(simulated: None) -> None:
    x, y = data(16)
    there, here = model(), model()
    there.train_on_batch(x, y)
    here.train_on_batch(x, y)
    here._forget_programs()  # its next steps are compiled for the device in force
    with keras.device("cpu"):
        here.train_on_batch(x, y)
    there.train_on_batch(x, y)
    for a, b in zip(here.get_weights(), there.get_weights(), strict=True):
        np.testing.assert_allclose(b, a, rtol=2e-4, atol=2e-6)


def test_a_saved_model_is_the_newest(simulated: None, tmp_path) -> None:
    made = model()
    made.train_on_batch(*data(16))
    made.save_weights(tmp_path / "m.weights.h5")
    other = model()
    other.load_weights(tmp_path / "m.weights.h5")
    for a, b in zip(made.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def perceptron() -> keras.Model:
    keras.utils.set_random_seed(2)
    made = keras.Sequential(
        [
            keras.Input((12,)),
            keras.layers.Dense(16, "relu"),
            keras.layers.Dropout(0.3),
            keras.layers.Dense(3, "softmax"),
        ]
    )
    made.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return made


def test_a_perceptron_trained_on_whole_arrays(simulated: None) -> None:
    """Products, dropout, cross-entropy, Adam, metrics; the data set, its order and the step's state on the device."""
    x, _ = data(40)
    labels = np.arange(40) % 3

    def run() -> tuple[keras.Model, dict]:
        made = perceptron()
        return made, made.fit(x, labels, batch_size=16, epochs=2, verbose=0).history

    there, history = run()
    assert kind_of(there) == {"DeviceExecutable"}
    with keras.device("cpu"):
        here, expected = run()
    for name, values in expected.items():
        np.testing.assert_allclose(history[name], values, rtol=1e-4)
    for a, b in zip(here.get_weights(), there.get_weights(), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(there.predict(x, verbose=0), here.predict(x, verbose=0), rtol=1e-3, atol=1e-5)
    assert there.evaluate(x, labels, verbose=0)[1] == pytest.approx(here.evaluate(x, labels, verbose=0)[1])


@pytest.mark.skipif(not os.environ.get("GRAPHKERAS_LONG_TESTS"), reason="takes minutes; make test-long")
@pytest.mark.parametrize("make", MODELS, ids=lambda m: m.__name__)
def test_small_models_of_all_kinds(make, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `make test-gpu` trains on a GPU, with fewer steps: convolutions, LSTM, attention, normalisation."""
    monkeypatch.setattr(test_gpu_training, "SMALL", True)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*runs on the CPU.*")
        there, _ = curve(make, "cuda:simulated", False)
    here, _ = curve(make, "cpu", False)
    np.testing.assert_allclose(there, here, rtol=2e-3)


# -- selection ------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "name, own",
    [("cpu", "cpu"), ("CPU:0", "cpu"), ("cuda:simulated", "cuda:simulated"), ("gpu:simulated", "cuda:simulated")],
)
def test_names_of_devices(name: str, own: str) -> None:
    with flags.TARGET("cpu"), keras.device(name):
        assert keras.config.get_device() == own
    with flags.TARGET("cpu"):
        assert keras.config.get_device() == "cpu"


def test_scopes_win_over_settings_and_the_environment() -> None:
    with flags.TARGET("cuda"):
        assert executor.target() == "cuda:0"
        keras.config.set_device("cuda:simulated")
        try:
            assert executor.target() == "cuda:simulated"
            with keras.device("cpu"):
                assert executor.target() == "cpu"
        finally:
            keras.config.set_device(None)
        assert executor.target() == "cuda:0"


@pytest.mark.parametrize("name", ["tpu:0", "cuda:x", "cpu:1", ""])
def test_unknown_devices_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="Expected 'cpu', or 'cuda:N'"):
        keras.device(name)
    with pytest.raises(ValueError, match="must be a string"):
        keras.device(0)


def test_one_line_says_which_device_and_why() -> None:
    code = (
        "import numpy as np, graphkeras as k\n"
        "k.config.set_device('cuda:simulated')\n"
        "m = k.Sequential([k.Input((4,)), k.layers.ReLU()])\n"
        "m.predict_on_batch(np.ones((2, 4), 'float32'))\n"
        "m.predict_on_batch(np.ones((3, 4), 'float32'))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    lines = [line for line in done.stderr.splitlines() if line.startswith("graphkeras")]
    assert lines == ["graphkeras: models run on simulated device (cuda:simulated), chosen by config.set_device"], (
        done.stderr
    )


def test_what_is_missing_is_named() -> None:
    """Here is no GPU, as a rule, and perhaps no package: the message says which, and what to do."""
    from graphkeras.codegen.cuda import compiler

    try:
        keras.config.set_device("cuda:0")
    except compiler.CudaUnavailable as error:
        assert "pip install 'graphkeras[cuda]'" in str(error) or "driver" in str(error)
    else:
        keras.config.set_device(None)
        pytest.skip("there is a GPU")
    assert keras.config.get_device() != "cuda:0"


def test_the_cpu_never_loads_cuda() -> None:
    code = (
        "import sys, numpy as np, graphkeras as k\n"
        "m = k.Sequential([k.Input((4,)), k.layers.Dense(3)])\n"
        "m.compile('adam', 'mse'); m.fit(np.ones((8, 4)), np.ones((8, 3)), verbose=0)\n"
        "print([n for n in sys.modules if 'cuda' in n and n.startswith('graphkeras')])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


@pytest.fixture
def uploads(simulated: None, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Bytes of every upload."""
    driver, found = executor.open_device("cuda:simulated").driver, []
    upload = driver.upload

    def noted(address, host, stream):
        found.append(host.nbytes)
        upload(address, host, stream)

    monkeypatch.setattr(driver, "upload", noted)
    return found


def test_data_are_uploaded_once_for_all_epochs(uploads: list[int]) -> None:
    x, y = data()
    held_out = tuple(a[:40].copy() for a in (x, y))
    stop = keras.callbacks.EarlyStopping(patience=9, monitor="loss")
    model().fit(x, y, epochs=3, batch_size=16, validation_data=held_out, callbacks=[stop], verbose=0)
    assert uploads.count(x.nbytes) == 2  # x and y
    assert uploads.count(held_out[0].nbytes) == 2
    assert not executor.open_device("cuda:simulated").parked  # nothing is kept after the training


def test_what_a_callback_changes_is_seen(uploads: list[int]) -> None:
    x, y = data()

    class Fade(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            x[:] = 0.0
            y[:] = np.tanh(0.0)

    fade = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: Fade().on_epoch_end(epoch))
    for callback in (Fade(), fade):
        x[:], y[:] = data()
        del uploads[:]
        history = model().fit(x, y, epochs=2, batch_size=48, callbacks=[callback], verbose=0).history
        assert uploads.count(x.nbytes) == 4
        assert history["loss"][1] < 0.1 * history["loss"][0]


def test_parked_data_make_room(simulated: None) -> None:
    device = executor.open_device("cuda:simulated")
    x = np.ones(1 << 18, np.float32)
    device.lease([x])
    device.park([x])
    free, _ = device.driver.memory()
    device.trim()
    assert device.driver.memory()[0] >= free + x.nbytes
    assert not device.is_resident(x)
    device.lease([x])  # as if it had never been there
    assert device.is_resident(x) and device.resident(x).newest == "host"
    device.end_lease([x])
