"""Layer: building, calling, state, masks, dtypes, losses, config, errors."""

import copy
import pickle
import warnings

import numpy as np
import pytest

import graphkeras as keras
from graphkeras import layers, ops


class Scale(layers.Layer):
    """x * w + b, with a regularizer."""

    def __init__(self, factor=1.0, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def build(self, input_shape):
        self.w = self.add_weight(shape=(input_shape[-1],), initializer="ones", name="w", regularizer="l2")
        self.b = self.add_weight(shape=(), initializer="zeros", trainable=False, name="b")

    def call(self, x):
        return x * self.w * self.factor + self.b


class Stack(layers.Layer):
    """Sublayers in containers, no build()."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.parts = [layers.Dense(3), {"last": layers.Dense(2)}]

    def call(self, x, training=False):
        return self.parts[1]["last"](self.parts[0](x))


class Probe(layers.Layer):
    """Remembers the arguments of its call."""

    def call(self, x, training=None, mask=None):
        self.seen = (training, mask)
        return x


@pytest.fixture(autouse=True)
def fresh_session():
    keras.backend.clear_session(free_memory=False)


# -- building ------------------------------------------------------------------------------------------
def test_weights_are_made_in_build_with_paths_and_order():
    layer = Scale(name="scale")
    layer(np.ones((2, 3)))
    assert [v.path for v in layer.weights] == ["scale/w", "scale/b"]
    assert [v.name for v in layer.trainable_weights] == ["w"]
    assert layer.count_params() == 4
    assert layer.get_build_config() == {"input_shape": (2, 3)}


def test_sublayers_build_themselves_when_there_is_no_build():
    for layer, x in ((Stack(), np.ones((2, 4), "float32")), (Stack(), keras.Input((4,)))):
        layer(x)
        assert [v.shape for v in layer.weights] == [(4, 3), (3,), (3, 2), (2,)]
        assert layer.weights[0].path.startswith(f"{layer.name}/dense")
        assert all(sub.built for sub in layer._flatten_layers())


def test_build_receives_shapes_by_name():
    class Two(layers.Layer):
        def build(self, b_shape, a_shape):
            self.shapes = (a_shape, b_shape)

        def call(self, a, b):
            return a + ops.sum(b)

    layer = Two()
    layer(np.ones((2, 3)), np.ones((4,)))
    assert layer.shapes == ((2, 3), (4,))
    nested = layers.Add()
    nested([np.ones((2, 3)), np.ones((2, 3))])
    assert nested.get_build_config() == {"input_shape": [(2, 3), (2, 3)]}

    class Wrong(layers.Layer):
        def build(self, a_shape, other_shape):
            pass

        def call(self, a, b):
            return a

    with pytest.raises(ValueError, match="does not have argument `other`"):
        Wrong()(np.ones((1,)), np.ones((1,)))


def test_state_is_locked_after_build():
    class Late(layers.Layer):
        def call(self, x):
            self.sub = layers.Dense(1)
            return x

    layer = Late()
    with pytest.raises(ValueError, match="cannot add new elements of state"):
        layer(np.ones((1, 1)))


def test_forgotten_super_init_is_named():
    class Forgetful(layers.Layer):
        def __init__(self):
            self.units = 3

    with pytest.raises(RuntimeError, match=r"Forgetful.*super\(\).__init__"):
        Forgetful()(np.ones((1,)))


def test_build_through_super_builds_once():
    class Child(Scale):
        def build(self, input_shape):
            super().build(input_shape)
            self.extra = self.add_weight(shape=(2,), initializer="zeros", name="extra")

    layer = Child()
    layer.build((None, 3))
    assert [v.name for v in layer.weights] == ["w", "extra", "b"]


def test_layer_without_build_warns_when_built_by_hand():
    with pytest.warns(UserWarning, match="unbuilt state"):
        Stack().build((None, 4))


# -- calls ---------------------------------------------------------------------------------------------
def test_training_goes_explicit_then_outer_then_default():
    inner = Probe()

    class Outer(layers.Layer):
        def __init__(self):
            super().__init__()
            self.inner = inner

        def call(self, x):  # takes no `training`, hands it down all the same
            return self.inner(x)

    x = ops.ones((1, 2))
    outer = Outer()
    outer(x, training=True)
    assert inner.seen[0] is True
    outer(x)
    assert inner.seen[0] is None
    inner(x, training=False)
    assert inner.seen[0] is False


def test_only_tensors_by_position():
    with pytest.raises(ValueError, match="Only input tensors"):
        Probe()(3.0)
    with pytest.raises(TypeError, match=r"Probe.call\(\) of layer 'probe'"):
        Probe(name="probe")(np.ones((1,)), wrong=1)
    with pytest.raises(ValueError, match="mix tensors"):
        Probe()(ops.ones((1,)), mask=[ops.ones((1,)), 3])


def test_floats_are_cast_and_integers_are_not():
    layer = Probe(dtype="bfloat16")
    assert layer(np.ones((2,), "float64")).dtype == "bfloat16"
    assert layer(np.ones((2,), "int64")).dtype == "int64"
    assert Probe(autocast=False)(np.ones((2,), "float64")).dtype == "float64"
    mixed = Scale(dtype="mixed_bfloat16")
    assert (mixed(np.ones((2, 2))).dtype, mixed.w.dtype) == ("bfloat16", "float32")
    assert layer(keras.KerasTensor((None, 2), "float32")).dtype == "bfloat16"


def test_input_spec_names_layer_and_extents():
    layer = layers.Dense(3, name="head")
    layer.build((None, 4))
    with pytest.raises(ValueError, match=r"'head'.*expected axis -1 of input shape to have value 4.*\(2, 5\)"):
        layer(np.ones((2, 5)))
    layer.input_spec = layers.InputSpec(ndim=2)
    with pytest.raises(ValueError, match="expected ndim=2, found ndim=3"):
        layer(np.ones((2, 2, 4)))


def test_errors_in_call_name_layer_and_arguments():
    class Broken(layers.Layer):
        def call(self, x):
            raise ValueError("went wrong")

    with pytest.raises(ValueError, match=r"(?s)Broken.call\(\).*went wrong.*x=Tensor\(shape=\(2, 3\), dtype=float32\)"):
        Broken()(np.ones((2, 3)))
    with pytest.raises(ValueError, match=r"(?s)infer the output shape.*went wrong"):
        Broken()(keras.Input((3,)))


def test_output_shape_is_inferred_by_tracing():
    assert Stack().compute_output_shape((None, 7)) == (None, 2)
    with pytest.raises(NotImplementedError, match="compute_output_shape"):
        layers.Layer().compute_output_shape((2,))


def test_symbolic_call_records_a_node():
    x = keras.Input((4,))
    layer = Stack()
    y = layer(x)
    assert (layer.input is x, layer.output is y) == (True, True)
    assert y.shape == (None, 2)
    with pytest.raises(AttributeError, match="never been called"):
        Stack().output  # noqa: B018


# -- masks ---------------------------------------------------------------------------------------------
def test_masks_travel_with_tensors():
    ids = np.array([[1, 2, 0], [3, 0, 0]])
    x = layers.Embedding(5, 4, mask_zero=True)(ids)
    np.testing.assert_array_equal(x._keras_mask, ids != 0)
    passed = layers.Dropout(0.5)(x)
    np.testing.assert_array_equal(passed._keras_mask, ids != 0)
    probe = Probe()
    probe.supports_masking = True
    probe(x)
    np.testing.assert_array_equal(probe.seen[1], ids != 0)


def test_a_mask_that_is_lost_warns():
    x = layers.Embedding(5, 4, mask_zero=True)(np.array([[1, 0]]))
    with pytest.warns(UserWarning, match="does not support masking"):
        Scale()(x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Scale()(np.ones((1, 2)))


# -- state ---------------------------------------------------------------------------------------------
def test_tracking_in_containers():
    class Holder(layers.Layer):
        def __init__(self):
            super().__init__()
            self.a = keras.Variable(1.0, trainable=False)
            self.b = (keras.Variable(2.0), {"c": layers.Dense(1)})
            self.seeds = [keras.random.SeedGenerator(1)]
            self.many = [layers.Dense(1)]
            self.many.append(layers.Dense(1))
            self.metric = keras.metrics.Mean()

    holder = Holder()
    assert len(holder._layers) == 3
    assert [float(v) for v in holder.weights] == [2.0, 1.0]
    assert len(holder.variables) == 3
    assert len(holder.metrics) == 1
    assert len(holder.metrics_variables) == 2
    del holder.a
    assert len(holder.weights) == 1
    holder.many.pop()
    assert len(holder._layers) == 2


def test_trainable_reaches_everything():
    layer = Stack()
    layer(np.ones((1, 2)))
    layer.trainable = False
    assert layer.trainable_weights == []
    assert len(layer.non_trainable_weights) == 4
    assert not layer.parts[0].kernel.trainable
    layer.trainable = True
    assert len(layer.trainable_weights) == 4
    layer.parts[0].trainable = False
    assert len(layer.trainable_weights) == 2


def test_get_and_set_weights():
    layer = Scale()
    layer.build((None, 2))
    layer.set_weights([np.array([2.0, 3.0]), np.array(1.0)])
    np.testing.assert_array_equal(layer(np.ones((1, 2))), [[3, 4]])
    copied = layer.get_weights()
    copied[0][0] = 100
    assert float(layer.w.value[0]) == 2
    with pytest.raises(ValueError, match="length 1"):
        layer.set_weights([1])
    with pytest.raises(ValueError, match="not compatible"):
        layer.set_weights([np.ones(3), np.array(1.0)])


def test_add_weight_arguments():
    layer = layers.Layer(name="l")
    assert layer.add_weight((2,), "ones", "int32").dtype == "int32"
    assert layer.add_weight(shape=(2,), dtype="int32").numpy().tolist() == [0, 0]
    with pytest.raises(ValueError, match="`name` must be passed as a keyword"):
        layer.add_weight("kernel", (2,))
    with pytest.raises(ValueError, match="both positionally"):
        layer.add_weight((2,), shape=(2,))
    with pytest.raises(ValueError, match="Unrecognized keyword"):
        layers.Dense(1, weight=3)
    with pytest.warns(UserWarning, match="input_shape"):
        layers.Dense(1, input_shape=(2,))


def test_losses_come_from_calls_and_regularizers():
    class Loss(layers.Layer):
        def call(self, x):
            self.add_loss(ops.sum(x))
            return x

    class Outer(layers.Layer):
        def __init__(self):
            super().__init__()
            self.parts = [Loss(), Scale(), layers.Activation("linear", activity_regularizer="l1")]

        def call(self, x):
            for part in self.parts:
                x = part(x)
            return x

    outer = Outer()
    for _ in range(2):  # losses of the last call only
        outer(np.ones((2, 3), "float32"))
        found = sorted(float(v) for v in outer.losses)
        np.testing.assert_allclose(found, [0.01 * 3, 0.01 * 6 / 2, 6.0], rtol=1e-6)
    outer.trainable = False
    assert len(outer.losses) == 2
    outer(keras.Input((3,)))  # a symbolic call adds none
    assert len(outer.losses) == 0


def test_stateless_call_changes_nothing():
    layer = layers.BatchNormalization()
    x = np.random.default_rng(0).normal(size=(8, 2)).astype("float32")
    layer.build(x.shape)
    before = layer.get_weights()
    trainable = [v.numpy() * 2 for v in layer.trainable_variables]
    outputs, updated = layer.stateless_call(trainable, layer.non_trainable_variables, x, training=True)
    np.testing.assert_allclose(np.std(outputs, axis=0), 2, rtol=1e-2)
    np.testing.assert_allclose(updated[0], 0.01 * x.mean(axis=0), rtol=1e-3, atol=1e-6)
    for a, b in zip(before, layer.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError, match="1:1"):
        layer.stateless_call([], layer.non_trainable_variables, x)


# -- config and copies ---------------------------------------------------------------------------------
def test_constructor_arguments_are_recorded():
    layer = Scale(factor=2.5, name="s", trainable=False)
    config = layer.get_config()
    assert (config["factor"], config["name"], config["trainable"]) == (2.5, "s", False)
    copied = Scale.from_config(config)
    assert (copied.factor, copied.name, copied.trainable) == (2.5, "s", False)

    class Plain(layers.Layer):
        def __init__(self, n):
            super().__init__()
            self.n = n

    assert Plain(3).get_config() == {"n": 3}
    assert Plain.from_config({"n": 4}).n == 4
    with pytest.raises(NotImplementedError, match="non-serializable"):
        Plain(object()).get_config()


def test_copies_own_their_state():
    layer = Stack()
    x = np.ones((1, 2), "float32")
    y = np.array(layer(x))
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        np.testing.assert_array_equal(other(x), y)
        other.parts[0].kernel.assign(other.parts[0].kernel * 0)
    np.testing.assert_array_equal(layer(x), y)


def test_dtype_policy_map_is_read_by_path():
    policies = keras.dtype_policies.DTypePolicyMap("float32", {"s": "mixed_bfloat16"})
    layer = Scale(dtype=policies, name="s")
    layer.build((None, 2))
    assert (layer.compute_dtype, layer.variable_dtype, layer.w.dtype) == ("bfloat16", "float32", "float32")
