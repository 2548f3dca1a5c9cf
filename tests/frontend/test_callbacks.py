"""Callbacks and the progress bar."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

import graphkeras as keras
from graphkeras import callbacks
from graphkeras.callbacks.model_checkpoint import BatchCounter
from graphkeras.utils import Progbar
from graphkeras.utils.python_utils import pythonify_logs


@pytest.fixture(autouse=True)
def interpreted(monkeypatch):
    monkeypatch.setenv("GRAPHKERAS_TARGET", "interpret")


def data(n=20):
    x = np.random.default_rng(0).normal(size=(n, 3)).astype("float32")
    return x, x.sum(1, keepdims=True)


def linear(rate=0.05, **compiled):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, use_bias=False)])
    model.compile(keras.optimizers.SGD(rate, **compiled.pop("optimizer", {})), "mse", **compiled)
    return model


class Order(callbacks.Callback):
    """Writes down every hook."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def __getattribute__(self, name):
        if name.startswith("on_"):
            calls = object.__getattribute__(self, "calls")
            return lambda *args, **kwargs: calls.append(name)
        return object.__getattribute__(self, name)


def test_order_of_hooks():
    x, y = data(8)
    note = Order()
    linear().fit(x, y, batch_size=4, validation_data=(x, y), epochs=2, verbose=0, callbacks=[note])
    epoch = ["on_epoch_begin", *["on_train_batch_begin", "on_train_batch_end"] * 2, "on_test_begin"]
    # Validation has one batch of 8 with the batch size of 4: two.
    epoch += [*["on_test_batch_begin", "on_test_batch_end"] * 2, "on_test_end", "on_epoch_end"]
    assert note.calls == ["on_train_begin", *epoch * 2, "on_train_end"]


def test_logs_are_sorted_floats():
    logs = pythonify_logs({"b": np.float32(1), "a": np.array(2.0), "c": {"d": 3}})
    assert list(logs.items()) == [("a", 1.0 * 2), ("b", 1.0), ("d", 3.0)]
    assert all(type(v) is float for v in logs.values())


def test_history_is_fresh_for_each_fit():
    x, y = data()
    model = linear()
    first, second = (model.fit(x, y, verbose=0) for _ in range(2))
    assert first is not second and len(second.history["loss"]) == 1 and model.history is second


class Feed(callbacks.Callback):
    """Puts given values into the logs of each epoch."""

    def __init__(self, name, values):
        super().__init__()
        self.name, self.values = name, values

    def on_epoch_end(self, epoch, logs=None):
        logs[self.name] = self.values[epoch]


@pytest.mark.parametrize(
    ("options", "values", "epochs"),
    [
        ({"patience": 0}, [3, 2, 2.5, 1], 3),
        ({"patience": 2}, [3, 2, 2.5, 2.4, 1], 4),
        ({"patience": 1, "min_delta": 0.5}, [3, 2.8, 2.7, 2.6], 2),
        ({"patience": 1, "mode": "max"}, [1, 2, 3, 2, 4], 4),
        ({"patience": 2, "baseline": 1.0}, [3, 3.1, 3.2, 3.3], 2),
        ({"patience": 1, "start_from_epoch": 2}, [1, 2, 3, 4, 5], 4),
    ],
)
def test_early_stopping(options, values, epochs):
    x, y = data()
    stop = callbacks.EarlyStopping(monitor="val_x", **{"mode": "min", **options})
    values = [float(v) for v in values]
    history = linear().fit(x, y, epochs=len(values), verbose=0, callbacks=[Feed("val_x", values), stop])
    assert len(history.epoch) == epochs


def test_early_stopping_restores_the_best_weights():
    x, y = data()
    kept = []
    model = linear()
    keep = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: kept.append(model.get_weights()[0]))
    stop = callbacks.EarlyStopping(monitor="v", mode="min", patience=1, restore_best_weights=True)
    model.fit(x, y, epochs=5, verbose=0, callbacks=[Feed("v", [3.0, 1.0, 2.0, 3.0, 4.0]), keep, stop])
    assert len(kept) == 3
    np.testing.assert_array_equal(model.get_weights()[0], kept[1])


def test_monitor_direction_and_missing_monitor():
    x, y = data()
    stop = callbacks.EarlyStopping(monitor="loss", patience=0)
    linear(metrics=["mae"]).fit(x, y, epochs=2, verbose=0, callbacks=[stop])
    assert stop.monitor_op is keras.ops.less
    with pytest.raises(ValueError, match="Pass `mode='max'`"):
        linear().fit(x, y, verbose=0, callbacks=[callbacks.EarlyStopping(monitor="unknown")])
    with pytest.warns(UserWarning, match="not available"):
        linear().fit(x, y, verbose=0, callbacks=[callbacks.EarlyStopping(monitor="val_loss")])


def test_reduce_lr_on_plateau():
    x, y = data()
    model = linear(0.1)
    reduce = callbacks.ReduceLROnPlateau(monitor="v", mode="min", factor=0.5, patience=1, cooldown=1, min_lr=0.03)
    values = [1.0] * 6
    history = model.fit(x, y, epochs=6, verbose=0, callbacks=[Feed("v", values), reduce])
    np.testing.assert_allclose(history.history["learning_rate"], [0.1, 0.1, 0.05, 0.03, 0.03, 0.03], rtol=1e-6)
    with pytest.raises(ValueError, match="factor"):
        callbacks.ReduceLROnPlateau(factor=2.0)


def test_learning_rate_scheduler_reaches_the_compiled_step():
    x, y = data()
    model = linear(0.1)
    start = model.get_weights()[0]
    schedule = callbacks.LearningRateScheduler(lambda epoch, rate: 0.0 if epoch < 2 else 0.1)
    kept = []
    keep = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: kept.append(model.get_weights()[0]))
    history = model.fit(x, y, epochs=3, verbose=0, callbacks=[schedule, keep])
    np.testing.assert_array_equal(kept[1], start)
    assert np.abs(kept[2] - start).max() > 0
    np.testing.assert_allclose(history.history["learning_rate"], [0.0, 0.0, 0.1], rtol=1e-6)
    with pytest.raises(ValueError, match="should be a float"):
        model.fit(x, y, verbose=0, callbacks=[callbacks.LearningRateScheduler(lambda epoch: "fast")])


def test_csv_logger(tmp_path):
    x, y = data()
    path = tmp_path / "log.csv"
    model = linear(metrics=["mae"])
    model.fit(x, y, epochs=2, verbose=0, callbacks=[callbacks.CSVLogger(path)])
    model.fit(x, y, epochs=1, verbose=0, callbacks=[callbacks.CSVLogger(path, append=True)])
    rows = list(csv.DictReader(path.open()))
    assert [r["epoch"] for r in rows] == ["0", "1", "0"]
    assert list(rows[0]) == ["epoch", "loss", "mae", "val_loss", "val_mae"]
    assert rows[0]["val_loss"] == "NA" and float(rows[0]["loss"]) > 0


def test_terminate_on_nan():
    x, y = data()
    model = linear(1e30)
    history = model.fit(x, y, epochs=10, verbose=0, callbacks=[callbacks.TerminateOnNaN()])
    assert len(history.epoch) < 10
    with pytest.raises(RuntimeError, match="NaN or Inf loss"):
        linear(1e30).fit(x, y, epochs=10, verbose=0, callbacks=[callbacks.TerminateOnNaN(raise_error=True)])


def test_stop_training_in_a_batch_still_ends_the_epoch():
    x, y = data()
    ends = []

    class Stop(callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = batch == 1

        def on_epoch_end(self, epoch, logs=None):
            ends.append(sorted(logs))

    linear().fit(x, y, batch_size=4, epochs=3, validation_data=(x, y), verbose=0, callbacks=[Stop()])
    assert ends == [["loss", "val_loss"]]


class SavesWeights(keras.Sequential):
    """Weights as .npz, so that these tests do not need the file formats."""

    def save_weights(self, filepath, overwrite=True, max_shard_size=None):
        with open(filepath, "wb") as file:
            np.savez(file, *self.get_weights())

    def save(self, filepath, overwrite=True, zipped=None, **kwargs):
        self.save_weights(filepath)

    def load_weights(self, filepath, skip_mismatch=False, **kwargs):
        with np.load(filepath) as stored:
            self.set_weights([stored[k] for k in stored.files])


def saving_model():
    model = SavesWeights([keras.Input((3,)), keras.layers.Dense(1, use_bias=False)])
    model.compile(keras.optimizers.SGD(0.05), "mse")
    return model


def test_model_checkpoint(tmp_path):
    x, y = data()
    path = tmp_path / "deep" / "m-{epoch:02d}.keras"
    saving_model().fit(x, y, epochs=2, verbose=0, callbacks=[callbacks.ModelCheckpoint(path)])
    assert sorted(p.name for p in path.parent.iterdir()) == ["m-01.keras", "m-02.keras"]
    best = tmp_path / "best.weights.h5"
    check = callbacks.ModelCheckpoint(best, monitor="v", mode="min", save_best_only=True, save_weights_only=True)
    model = saving_model()
    kept = []
    keep = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: kept.append(model.get_weights()[0]))
    model.fit(x, y, epochs=4, verbose=0, callbacks=[Feed("v", [3.0, 1.0, 2.0, 1.5]), keep, check])
    model.load_weights(best)
    np.testing.assert_array_equal(model.get_weights()[0], kept[1])
    every = tmp_path / "b{epoch}-{batch}.keras"
    saving_model().fit(
        x, y, batch_size=5, epochs=2, verbose=0, callbacks=[callbacks.ModelCheckpoint(every, save_freq=3)]
    )
    assert sorted(p.name for p in tmp_path.glob("b?-?.keras")) == ["b1-3.keras", "b2-2.keras"]
    for wrong in ({"filepath": "x.txt"}, {"filepath": "x.keras", "save_weights_only": True}):
        with pytest.raises(ValueError, match="filepath"):
            callbacks.ModelCheckpoint(**wrong)
    with pytest.raises(KeyError, match="val_acc"):
        saving_model().fit(x, y, verbose=0, callbacks=[callbacks.ModelCheckpoint(tmp_path / "{val_acc}.keras")])


def test_batch_counter_crosses_epochs():
    counter = BatchCounter(3)
    assert [b for b in [*range(4), *range(4)] if counter.due(b)] == [2, 1]


def test_backup_and_restore(tmp_path):
    x, y = data()

    class Crash(callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise RuntimeError("power cut")

    model = saving_model()
    with pytest.raises(RuntimeError, match="power cut"):
        model.fit(x, y, epochs=4, verbose=0, callbacks=[callbacks.BackupAndRestore(tmp_path / "b"), Crash()])
    weights = model.get_weights()[0]
    assert json.loads((tmp_path / "b" / "training_metadata.json").read_text())["epoch"] == 2
    again = saving_model()
    loaded = []
    first = callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: loaded.append((epoch, again.get_weights()[0])))
    history = again.fit(x, y, epochs=4, verbose=0, callbacks=[callbacks.BackupAndRestore(tmp_path / "b"), first])
    assert history.epoch == [2, 3] and loaded[0][0] == 2
    np.testing.assert_array_equal(loaded[0][1], weights)
    assert not (tmp_path / "b").exists()
    assert again.fit(x, y, verbose=0).epoch == [0]  # later runs begin at the beginning


def test_swap_ema_weights():
    x, y = data()
    model = linear(0.05, optimizer={"use_ema": True, "ema_momentum": 0.5})
    during = []
    note = callbacks.LambdaCallback(on_test_begin=lambda logs: during.append(model.get_weights()[0]))
    after = []
    keep = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: after.append(model.get_weights()[0]))
    swap = callbacks.SwapEMAWeights()
    model.fit(x, y, batch_size=5, validation_data=(x, y), verbose=0, callbacks=[swap, note, keep])
    assert np.abs(during[0] - after[0]).max() > 0  # averages while validating, own weights again afterwards
    np.testing.assert_allclose(model.get_weights()[0], during[0], rtol=1e-6)  # at the end of fit the averages stay
    with pytest.raises(ValueError, match="use_ema=True"):
        linear().evaluate(x, y, verbose=0, callbacks=[callbacks.SwapEMAWeights()])


def test_batches_are_only_asked_for_where_needed():
    def frequency(*items, mode="train"):
        return callbacks.CallbackList(list(items), verbose=1, epochs=1, steps=1).batch_frequency_of(mode)

    assert frequency(callbacks.History(), callbacks.EarlyStopping(), callbacks.ModelCheckpoint("m.keras")) == "never"
    assert frequency(callbacks.ProgbarLogger()) == "sometimes"
    assert frequency(callbacks.TerminateOnNaN()) == "sometimes"
    assert frequency(callbacks.ModelCheckpoint("m.keras", save_freq=2)) == "every"
    assert frequency(callbacks.LambdaCallback(on_train_batch_end=print)) == "every"
    assert frequency(callbacks.LambdaCallback(on_batch_end=print)) == "every"
    assert frequency(callbacks.LambdaCallback(on_train_batch_end=print), mode="test") == "never"


def test_tensorboard_says_what_is_missing():
    try:
        import tensorboard  # noqa: F401
    except ImportError:
        with pytest.raises(ImportError, match=r"graphkeras\[tensorboard\]"):
            callbacks.TensorBoard("logs")


def test_tensorboard_writes_scalars(tmp_path):
    pytest.importorskip("tensorboard")
    x, y = data()
    board = callbacks.TensorBoard(tmp_path, histogram_freq=1, update_freq=1)
    linear().fit(x, y, validation_data=(x, y), batch_size=5, verbose=0, callbacks=[board])
    assert list((tmp_path / "train").iterdir()) and list((tmp_path / "validation").iterdir())


# -- progress bar ---------------------------------------------------------------------------------------
def test_progbar_format(capsys, monkeypatch):
    clock = iter([100.0, *[100.0 + 0.1 * i for i in range(1, 20)]])
    monkeypatch.setattr("graphkeras.utils.progbar.time.time", lambda: next(clock))
    bar = Progbar(target=4, interval=0.0)
    bar.update(1, [("loss", 2.0)])
    bar.update(2, [("loss", 4.0)])
    bar.update(4, [("loss", 0.0001)])
    text = capsys.readouterr().out
    drawn = "\x1b[1m1/4\x1b[0m \x1b[32m━━━━━\x1b[0m\x1b[37m━━━━━━━━━━━━━━━\x1b[0m \x1b[1m0s\x1b[0m 100ms/step"
    assert f"{drawn} - loss: 2.0000" in text
    assert "2/4" in text and "loss: 3.0000" in text
    assert "loss: 1.0000e-04" in text and text.endswith("\n")


def test_progbar_unknown_target_and_line_mode(capsys):
    bar = Progbar(target=None, interval=0.0)
    bar.update(7, [("a", 1.0)])
    assert "      7/Unknown" in capsys.readouterr().out
    line = Progbar(target=10, verbose=2)
    line.update(5, [("a", 1.0)])
    assert capsys.readouterr().out == ""
    line.update(10, [("a", 1.0)])
    assert capsys.readouterr().out.startswith("10/10 - 0s - ")
    with pytest.raises(ValueError, match="not both"):
        Progbar(3, stateful_metrics=["a"], stateless_metrics=["b"])
