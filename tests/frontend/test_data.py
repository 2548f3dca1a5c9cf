"""Data adapters: what counts as data, how it is cut into batches, and clear errors."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import graphkeras as keras
from graphkeras.trainers.data_adapters import (
    ArrayDataAdapter,
    GeneratorDataAdapter,
    IterableDataAdapter,
    PyDatasetAdapter,
    get_data_adapter,
)
from graphkeras.trainers.data_adapters import data_adapter_utils as utils
from graphkeras.trainers.data_adapters.array_data_adapter import train_validation_split
from graphkeras.trainers.epoch_iterator import EpochIterator
from graphkeras.utils import PyDataset


@pytest.fixture(autouse=True)
def interpreted(monkeypatch):
    monkeypatch.setenv("GRAPHKERAS_TARGET", "interpret")


def linear(**compiled):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")])
    model.compile(**{"optimizer": keras.optimizers.SGD(0.0), "loss": "mse", **compiled})
    return model


X = np.arange(30, dtype="float32").reshape(10, 3)
Y = np.arange(10, dtype="float32")[:, None]
LOSS = float(np.mean((X.sum(1, keepdims=True) - Y) ** 2))


# -- arrays ------------------------------------------------------------------------------------------
def test_batches_of_arrays():
    adapter = ArrayDataAdapter(X, Y, batch_size=4)
    assert (adapter.num_batches, adapter.batch_size, adapter.partial_batch_size) == (3, 4, 2)
    batches = list(adapter.batches())
    assert [x.shape[0] for x, _ in batches] == [4, 4, 2]
    np.testing.assert_array_equal(np.concatenate([x for x, _ in batches]), X)


def test_batch_size_from_steps():
    assert ArrayDataAdapter(X, Y).batch_size == 32
    assert ArrayDataAdapter(X, Y, steps=4).batch_size == 3
    for wrong in (0, -1, 2.5):
        with pytest.raises(ValueError, match="batch_size"):
            ArrayDataAdapter(X, Y, batch_size=wrong)


def test_orders():
    def order(shuffle):
        return ArrayDataAdapter(X, Y, batch_size=4, shuffle=shuffle).order()

    assert order(False) is None
    assert sorted(order(True)) == list(range(10))
    within = order("batch")
    for start in (0, 4, 8):
        assert sorted(within[start : start + 4]) == list(range(start, min(start + 4, 10)))
    keras.utils.set_random_seed(1) if hasattr(keras.utils, "set_random_seed") else np.random.seed(1)
    first = order(True)
    keras.utils.set_random_seed(1) if hasattr(keras.utils, "set_random_seed") else np.random.seed(1)
    np.testing.assert_array_equal(first, order(True))


def test_dtypes():
    adapter = ArrayDataAdapter({"f": X.astype("float64"), "i": np.arange(10), "b": np.ones(10, bool)})
    batch = next(adapter.batches())
    assert {k: v.dtype.name for k, v in batch.items()} == {"f": "float32", "i": "int64", "b": "bool"}
    for wrong in (np.array(["a", "b"]), np.array([[1], [1, 2]], dtype=object)):
        with pytest.raises(ValueError, match=r"Invalid dtype: .*`x`"):
            ArrayDataAdapter(wrong)


def test_cardinality_lists_the_sizes():
    with pytest.raises(ValueError, match=r"(?s)cardinality is ambiguous.*'x' sizes: 10.*'y' sizes: 9"):
        ArrayDataAdapter(X, Y[:9])
    with pytest.raises(ValueError, match=r"x\['a'\].*10"):
        ArrayDataAdapter({"a": X, "b": X[:3]}, Y)


def test_pandas_and_sparse_and_tensors():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=["a", "b", "c"])
    series = pandas.Series(Y[:, 0])
    model = linear()
    np.testing.assert_allclose(model.evaluate(frame, series, verbose=0), LOSS, rtol=1e-5)
    np.testing.assert_allclose(model.evaluate(keras.ops.array(X), keras.ops.array(Y), verbose=0), LOSS, rtol=1e-5)
    history = model.fit(frame, series, validation_split=0.5, verbose=0)
    expected = np.mean((X[5:].sum(1, keepdims=True) - Y[5:]) ** 2)
    np.testing.assert_allclose(history.history["val_loss"], [expected], rtol=1e-5)
    sparse = pytest.importorskip("scipy.sparse")
    np.testing.assert_allclose(model.evaluate(sparse.csr_matrix(X), Y, verbose=0), LOSS, rtol=1e-5)


def test_large_sparse_matrices_are_made_dense_by_batch(monkeypatch):
    sparse = pytest.importorskip("scipy.sparse")
    monkeypatch.setattr("graphkeras.trainers.data_adapters.array_data_adapter.DENSE_LIMIT", 10)
    adapter = ArrayDataAdapter(sparse.csr_matrix(X), Y, batch_size=4)
    assert not adapter.is_resident
    np.testing.assert_array_equal(np.concatenate([x for x, _ in adapter.batches()]), X)
    np.testing.assert_allclose(linear().evaluate(sparse.csr_matrix(X), Y, verbose=0), LOSS, rtol=1e-5)


def test_foreign_tensors_by_array_protocol():
    class Foreign:
        shape = X.shape
        dtype = X.dtype

        def __array__(self, dtype=None, copy=None):
            return X

    np.testing.assert_allclose(linear().predict(Foreign(), verbose=0), X.sum(1, keepdims=True), rtol=1e-5)


def test_nested_inputs_and_outputs():
    a, b = keras.Input((3,), name="a"), keras.Input((3,), name="b")
    model = keras.Model({"a": a, "b": b}, {"sum": a + b, "difference": a - b})
    out = model.predict({"a": X, "b": 2 * X}, batch_size=4, verbose=0)
    np.testing.assert_allclose(out["sum"], 3 * X)
    np.testing.assert_allclose(out["difference"], -X)


def test_lists_of_numbers_are_not_arrays():
    with pytest.raises(ValueError, match=r"(?s)Unrecognized data type.*np\.array"):
        get_data_adapter([[1.0, 2.0]], [0])


def test_split():
    (x, y, w), (vx, vy, vw) = train_validation_split((X, Y, None), 0.3)
    assert len(x) == len(y) == 7 and len(vx) == len(vy) == 3 and w is None and vw is None
    np.testing.assert_array_equal(vx, X[7:])
    with pytest.raises(ValueError, match="not sufficient"):
        train_validation_split((X[:1], Y[:1], None), 0.5)
    with pytest.raises(ValueError, match="only supported"):
        train_validation_split(((b for b in [X]), None, None), 0.5)


# -- weights -----------------------------------------------------------------------------------------
def test_class_weights():
    expected = [1.0, 2.0, 0.5]
    for y in (np.array([0, 1, 2]), np.array([[0], [1], [2]]), np.eye(3)):
        np.testing.assert_array_equal(utils.class_weight_to_sample_weights(y, {1: 2.0, "2": 0.5}), expected)
    with pytest.raises(ValueError, match="class indices"):
        utils.class_weight_to_sample_weights(np.array([0]), {"dog": 1.0})
    with pytest.raises(ValueError, match="same time"):
        ArrayDataAdapter(X, Y, sample_weight=Y[:, 0], class_weight={0: 1.0})


def test_class_weights_per_output():
    adapter = ArrayDataAdapter(X, {"a": Y, "b": Y}, class_weight={"a": {3: 2.0}})
    _, _, weight = next(adapter.batches())
    assert weight["a"][3] == 2.0 and weight["b"].tolist() == [1.0] * 10
    with pytest.raises(ValueError, match="single output"):
        ArrayDataAdapter(X, [Y, Y], class_weight={0: 1.0})


def test_sample_weights_of_several_outputs():
    adapter = ArrayDataAdapter(X, [Y, Y], sample_weight=Y[:, 0])
    _, _, weight = next(adapter.batches())
    np.testing.assert_array_equal(weight[0], weight[1])
    with pytest.raises(ValueError, match="one scalar score per sample"):
        ArrayDataAdapter(X, [Y, Y], sample_weight=X)
    with pytest.raises(ValueError, match="did not match"):
        ArrayDataAdapter(X, [Y, Y], sample_weight=[Y])


def test_pack_and_unpack():
    assert utils.unpack_x_y_sample_weight([1, 2]) == (1, 2, None)
    assert utils.unpack_x_y_sample_weight({"a": 1}) == ({"a": 1}, None, None)
    with pytest.raises(ValueError, match="4 elements"):
        utils.unpack_x_y_sample_weight((1, 2, 3, 4))
    assert utils.pack_x_y_sample_weight([1]) == ([1],)
    assert utils.pack_x_y_sample_weight(1) == 1


# -- streams -----------------------------------------------------------------------------------------
def batches(size=4):
    for i in range(0, 10, size):
        yield X[i : i + size], Y[i : i + size]


def test_generator():
    model = linear()
    np.testing.assert_allclose(model.evaluate(batches(), verbose=0), LOSS, rtol=1e-5)
    np.testing.assert_allclose(model.predict(((x,) for x, _ in batches()), verbose=0), X.sum(1, keepdims=True))
    np.testing.assert_allclose(model.fit(batches(), verbose=0).history["loss"], [LOSS], rtol=1e-5)
    with pytest.raises(ValueError, match="tuples"):
        GeneratorDataAdapter([x, y] for x, y in batches())
    with pytest.raises(ValueError, match="no batch"):
        GeneratorDataAdapter(iter(()))
    with pytest.raises(ValueError, match=r"`y` should not be passed"):
        model.fit(batches(), Y)


def test_generator_that_ends_too_early():
    seen = []
    note = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: seen.append(batch))
    with pytest.warns(UserWarning, match="ran out of data"):
        linear().fit(batches(), steps_per_epoch=2, epochs=2, verbose=0, callbacks=[note])
    assert seen == [0, 1, 0]


class Loader:
    """A data set of another library: it can be iterated again and again."""

    def __init__(self):
        self.passes = 0

    def __iter__(self):
        self.passes += 1
        return ([x, y] for x, y in batches())

    def __len__(self):
        return 3


def test_iterable_by_duck_typing():
    loader = Loader()
    history = linear().fit(loader, epochs=2, validation_data=Loader(), verbose=0)
    np.testing.assert_allclose(history.history["val_loss"], [LOSS, LOSS], rtol=1e-5)
    assert history.params["steps"] == 3 and loader.passes == 2
    adapter = get_data_adapter(loader, class_weight={0: 2.0})
    assert isinstance(adapter, IterableDataAdapter)
    assert next(adapter.batches())[2].tolist() == [2.0, 1.0, 1.0, 1.0]


class Squares(PyDataset):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.begins = self.ends = 0

    def __len__(self):
        return 3

    def __getitem__(self, index):
        return X[4 * index : 4 * index + 4], Y[4 * index : 4 * index + 4]

    def on_epoch_begin(self):
        self.begins += 1

    def on_epoch_end(self):
        self.ends += 1


@pytest.mark.parametrize("workers", [1, 3])
def test_pydataset(workers):
    dataset = Squares(workers=workers, max_queue_size=2)
    adapter = get_data_adapter(dataset, shuffle=False)
    assert isinstance(adapter, PyDatasetAdapter) and adapter.num_batches == 3
    np.testing.assert_array_equal(np.concatenate([x for x, _ in adapter.batches()]), X)
    history = linear().fit(dataset, epochs=2, verbose=0)
    np.testing.assert_allclose(history.history["loss"], [LOSS, LOSS], rtol=1e-5)
    assert dataset.begins == dataset.ends == 2


def test_pydataset_without_len_is_endless():
    class Endless(PyDataset):
        @property
        def num_batches(self):
            return None

        def __getitem__(self, index):
            return X[:4], Y[:4]

    history = linear().fit(Endless(workers=2), steps_per_epoch=5, epochs=2, verbose=0)
    assert len(history.epoch) == 2


def test_pydataset_errors():
    class Bad(Squares):
        def __getitem__(self, index):
            return 5

    with pytest.raises(ValueError, match="must return a tuple or a dict"):
        linear().fit(Bad(), verbose=0)

    class Forgetful(PyDataset):
        def __init__(self):
            pass

        def __len__(self):
            return 1

        def __getitem__(self, index):
            return X, Y

    with pytest.warns(UserWarning, match="super"):
        linear().fit(Forgetful(), verbose=0)


def test_pydataset_error_in_a_worker_reaches_the_caller():
    class Failing(Squares):
        def __getitem__(self, index):
            if index == 2:
                raise OSError("cannot read batch 2")
            return super().__getitem__(index)

    with pytest.raises(OSError, match="cannot read batch 2"):
        linear().evaluate(Failing(workers=2), verbose=0)


# -- epochs ------------------------------------------------------------------------------------------
def pieces(iterator, limit):
    iterator.begin_epoch()
    found = []
    while (work := iterator.next(limit)) is not None:
        found.append((work.begin, work.end, [(s.steps, s.rows.batch if s.rows else None) for s in work.segments]))
    iterator.end_epoch()
    return found


def test_pieces_of_array_epochs():
    assert pieces(EpochIterator(X, Y, batch_size=4), 100) == [(0, 2, [(2, 4), (1, 2)])]
    assert pieces(EpochIterator(X, Y, batch_size=4), 1) == [(0, 0, [(1, 4)]), (1, 1, [(1, 4)]), (2, 2, [(1, 2)])]
    iterator = EpochIterator(X, Y, batch_size=2, steps_per_epoch=3)
    assert pieces(iterator, 100) == [(0, 2, [(3, 2)])]
    with pytest.warns(UserWarning, match="ran out of data"):
        assert pieces(iterator, 100) == [(0, 1, [(2, 2)])]
    assert pieces(iterator, 100) == [(0, 2, [(3, 2)])]


def test_steps_cap(monkeypatch):
    keras.config.set_max_steps_per_epoch(2)
    keras.config.set_max_epochs(1)
    try:
        with pytest.warns(UserWarning, match="Limiting"):
            history = linear().fit(X, Y, batch_size=2, epochs=3, verbose=0)
        assert history.params["steps"] == 2 and len(history.epoch) == 1
    finally:
        keras.config.set_max_steps_per_epoch(None)
        keras.config.set_max_epochs(None)


def test_peeking_uses_up_nothing():
    iterator = EpochIterator(batches())
    iterator.peek()
    iterator.peek()
    assert [p[2] for p in pieces(iterator, 1)] == [[(1, None)]] * 3


def test_arrays_are_not_copied():
    adapter = ArrayDataAdapter(X, Y)
    assert adapter.data[0] is X
    before = sys.getrefcount(X)
    model = linear()
    model.fit(X, Y, verbose=0)
    del model, adapter
    assert sys.getrefcount(X) <= before
