"""Variables, scopes, random state, global settings and dtype policies."""

import copy

import numpy as np
import pytest

import graphkeras as keras
from graphkeras import ops
from graphkeras.core.scopes import AutocastScope
from graphkeras.core.trace import Trace


@pytest.fixture(autouse=True)
def fresh_session():
    keras.backend.clear_session(free_memory=False)
    yield
    keras.backend.clear_session(free_memory=False)


def test_values_from_arrays_callables_and_names():
    assert keras.Variable(np.array([1, 2])).dtype == "int64"
    assert keras.Variable(2.0).shape == ()
    v = keras.Variable(lambda shape, dtype: np.full(shape, 3, dtype), shape=(2,), dtype="int32")
    np.testing.assert_array_equal(v, [3, 3])
    np.testing.assert_array_equal(keras.Variable("ones", shape=(2, 1)), [[1], [1]])


def test_a_first_value_is_taken_over_only_where_nobody_else_has_it():
    kept = np.ones(3, np.float32)
    tensor = ops.convert_to_tensor(np.ones(3, np.float32))
    starts = {
        "array": (lambda shape, dtype: kept, kept),
        "tensor": (lambda shape, dtype: tensor, tensor.numpy()),
        "view": (lambda shape, dtype: kept[:], kept),
        "initializer": (keras.initializers.Constant(tensor), tensor.numpy()),
    }
    for name, (start, source) in starts.items():
        v = keras.Variable(start, shape=(3,), dtype="float32")
        assert not np.shares_memory(v.writable(), source), name
    fresh = []

    def make(shape, dtype):
        array = np.zeros(shape, dtype)
        fresh.append(array.__array_interface__["data"][0])
        return ops.convert_to_tensor(array)

    v = keras.Variable(make, shape=(3,), dtype="float32")
    assert v.writable().__array_interface__["data"][0] == fresh[0]


def test_wrong_construction_is_explained():
    with pytest.raises(ValueError, match="needs the `shape`"):
        keras.Variable(lambda shape, dtype: np.zeros(shape))
    with pytest.raises(ValueError, match="must be known"):
        keras.Variable("zeros", shape=(None, 2))
    with pytest.raises(ValueError, match="cannot contain character `/`"):
        keras.Variable(1.0, name="a/b")
    with pytest.raises(ValueError, match="aggregation"):
        keras.Variable(1.0, aggregation="median")


def test_assignment():
    v = keras.Variable([1.0, 2.0])
    returned = v.assign_add([1.0, 1.0])
    np.testing.assert_array_equal(returned, [2, 3])
    v.assign_sub(1.0 * v)
    np.testing.assert_array_equal(v, [0, 0])
    with pytest.raises(ValueError, match="must match"):
        v.assign([1.0])
    v.assign(np.array([1, 2], "int64"))
    assert v.dtype == "float32"


def test_a_tensor_read_before_does_not_change():
    v = keras.Variable([1.0, 2.0])
    before = v.value
    v.assign([5.0, 5.0])
    v.writable()[0] = 7
    np.testing.assert_array_equal(before, [1, 2])
    held = v.value
    v.writable()[0] = 9
    np.testing.assert_array_equal(held, [7, 5])
    np.testing.assert_array_equal(v, [9, 5])


def test_writable_copies_only_when_somebody_else_holds_the_array():
    v = keras.Variable([1.0, 2.0])
    address = v.writable().ctypes.data
    assert v.writable().ctypes.data == address
    held = v.value
    assert v.writable().ctypes.data != address
    assert held.numpy()[0] == 1.0


def test_operators_and_protocols():
    v = keras.Variable([1.0, 2.0])
    np.testing.assert_array_equal(1 + v * 2, [3, 5])
    assert float(keras.Variable(2.5)) == 2.5
    assert int(keras.Variable(3)) == 3
    with pytest.raises(TypeError, match="scalar"):
        float(v)
    with pytest.raises(TypeError, match="boolean"):
        bool(v)
    assert {v: 1}[v] == 1
    array = v.numpy()
    array[0] = 5
    assert float(v.value[0]) == 1.0


def test_deepcopy_owns_its_value():
    v = keras.Variable([1.0], name="w")
    other = copy.deepcopy(v)
    other.assign([2.0])
    assert (float(v.value[0]), other.path) == (1.0, "w")


def test_paths_follow_scopes():
    with keras.name_scope("a"), keras.name_scope("b"):
        assert keras.Variable(1.0, name="v").path == "a/b/v"
    with keras.name_scope("a"), keras.name_scope("b", override_parent="c"):
        assert keras.Variable(1.0, name="v").path == "c/b/v"
    assert keras.Variable(1.0).path == "variable"
    assert keras.Variable(1.0).path == "variable_1"


def test_traced_reads_and_writes_stay_in_the_trace():
    v = keras.Variable(1.0, name="v")
    with Trace() as trace:
        v.assign_add(2.0)
        assert v.value.is_traced
        graph = trace.finish([trace.values[v]])
    assert list(trace.writes) == [v]
    assert graph.inputs[0].attrs["name"] == "v"
    assert float(v) == 1.0


def test_variables_made_while_tracing_have_a_value_at_once():
    with Trace():
        v = keras.Variable("ones", shape=(2,))
    np.testing.assert_array_equal(v, [1, 1])


def test_stateless_scope():
    v = keras.Variable([1.0, 1.0])
    with keras.StatelessScope([(v, np.array([3.0, 3.0]))]) as scope:
        np.testing.assert_array_equal(v.value, [3, 3])
        v.assign_add([1.0, 1.0])
        np.testing.assert_array_equal(v.value, [4, 4])
    np.testing.assert_array_equal(scope.get_current_value(v), [4, 4])
    np.testing.assert_array_equal(v, [1, 1])
    with pytest.raises(ValueError, match="Variable"):
        keras.StatelessScope([(1.0, 1.0)])
    with pytest.raises(ValueError, match="shape"):
        keras.StatelessScope([(v, 1.0)])


def test_autocast_scope_changes_what_is_read_and_not_what_is_kept():
    v, fixed, counter = keras.Variable([1.0]), keras.Variable([1.0], autocast=False), keras.Variable([1])
    with AutocastScope("bfloat16"):
        assert (v.value.dtype, v.dtype, fixed.value.dtype, counter.value.dtype) == (
            "bfloat16",
            "bfloat16",
            "float32",
            "int32",
        )
        v.assign_add([0.001])  # in the stored dtype: bfloat16 would lose it
    assert float(v.value[0]) == pytest.approx(1.001, abs=1e-7)


def test_regularizer_and_constraint_must_be_callable():
    v = keras.Variable(1.0)
    v.regularizer = v.constraint = abs
    with pytest.raises(ValueError, match="regularizer"):
        v.regularizer = "l2"
    with pytest.raises(ValueError, match="constraint"):
        v.constraint = 1


# -- random state --------------------------------------------------------------------------------------
def test_seed_generator_counts():
    seeds = keras.random.SeedGenerator(7)
    assert [seeds.next().tolist() for _ in range(3)] == [[7, 0], [7, 1], [7, 2]]
    assert seeds.state.path == "seed_generator/seed_generator_state"
    assert keras.random.SeedGenerator.from_config(seeds.get_config()).next().tolist() == [7, 0]
    with pytest.raises(ValueError, match="integer"):
        keras.random.SeedGenerator("7")


def test_set_random_seed_repeats_everything():
    def draw():
        keras.utils.set_random_seed(3)
        return np.random.rand(), keras.random.SeedGenerator().next().tolist(), keras.random.uniform((2,)).tolist()

    assert draw() == draw()


# -- settings ------------------------------------------------------------------------------------------
def test_floatx_decides_defaults():
    try:
        keras.config.set_floatx("float64")
        assert ops.convert_to_tensor(1.0).dtype == "float64"
        assert keras.config.dtype_policy().name == "float64"
    finally:
        keras.config.set_floatx("float32")
    with pytest.raises(ValueError, match="floatx"):
        keras.config.set_floatx("int32")


def test_names_count_per_session():
    names = [keras.layers.Dense(1).name for _ in range(2)]
    keras.backend.clear_session(free_memory=False)
    assert names == ["dense", "dense_1"]
    assert keras.layers.GlobalAveragePooling2D().name == "global_average_pooling2d"
    assert [keras.backend.get_uid("x"), keras.backend.get_uid("x")] == [1, 2]


def test_settings_round_trip():
    assert keras.config.backend() == "graphkeras"
    try:
        keras.config.set_epsilon(1e-5)
        keras.config.set_image_data_format("channels_first")
        keras.config.disable_interactive_logging()
        assert (keras.config.epsilon(), keras.config.image_data_format()) == (1e-5, "channels_first")
        assert not keras.config.is_interactive_logging_enabled()
    finally:
        keras.config.set_epsilon(1e-7)
        keras.config.set_image_data_format("channels_last")
        keras.config.enable_interactive_logging()
    with pytest.raises(ValueError, match="data_format"):
        keras.config.set_image_data_format("rows")


def test_policies():
    policy = keras.dtype_policies.get("mixed_float16")
    assert (policy.compute_dtype, policy.variable_dtype) == ("float16", "float32")
    assert keras.dtype_policies.get(np.float64) == keras.DTypePolicy("float64")
    assert keras.dtype_policies.deserialize(keras.dtype_policies.serialize(policy)) == policy
    with pytest.raises(ValueError, match="Cannot convert"):
        keras.DTypePolicy("float17")
    keras.config.set_dtype_policy("mixed_bfloat16")
    assert keras.layers.Dense(1).compute_dtype == "bfloat16"
    keras.config.set_dtype_policy("float32")
    assert keras.dtype_policies.get("int8_from_mixed_bfloat16").quantization_mode == "int8"


def test_policy_map_goes_by_path():
    policies = keras.dtype_policies.DTypePolicyMap("float32", {"net/head": "bfloat16", r"net/body/.*": "float64"})
    assert policies["net/head"].name == "bfloat16"
    assert policies["net/body/dense"].name == "float64"
    assert policies["other"].name == "float32"
    policies[r"net/body/d.*"] = "float16"
    with pytest.raises(ValueError, match="multiple"):
        policies["net/body/dense"]
    with pytest.raises(ValueError, match="already exist"):
        policies["net/head"] = "float32"
