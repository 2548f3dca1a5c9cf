"""Tensors, symbolic tensors, conversion, dtype promotion, nested structures, shape inference by tracing."""

from collections import OrderedDict, namedtuple

import numpy as np
import pytest

import graphkeras as keras
from graphkeras import ops, tree
from graphkeras.core.convert import convert_to_tensor
from graphkeras.core.operation import function_operation
from graphkeras.core.spec import compute_output_spec
from graphkeras.core.trace import ScratchTrace, TraceError
from graphkeras.ir.types import TensorType

Point = namedtuple("Point", "x y")


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (1.5, "float32"),
        (3, "int32"),
        (2**40, "int64"),
        (True, "bool"),
        ([1, 2], "int32"),
        ([[1.0], [2]], "float32"),
        (np.zeros(2), "float64"),
        (np.zeros(2, "int64"), "int64"),
        (np.float16(1), "float16"),
        ([], "float32"),
    ],
)
def test_conversion_keeps_array_dtypes_and_gives_numbers_the_default(value, dtype):
    assert convert_to_tensor(value).dtype == dtype


def test_conversion_of_lists_that_hold_tensors():
    x = convert_to_tensor([convert_to_tensor([1.0, 2.0]), np.array([3.0, 4.0], "float32")])
    np.testing.assert_array_equal(x, [[1, 2], [3, 4]])


def test_conversion_names_what_is_wrong():
    with pytest.raises(ValueError, match=r"unequal lengths|inhomogeneous"):
        convert_to_tensor([[1.0], [2.0, 3.0]])
    with pytest.raises(ValueError, match="symbolic"):
        convert_to_tensor(keras.KerasTensor((2,)))


def test_convert_to_numpy_is_a_copy():
    x = convert_to_tensor([1.0, 2.0])
    array = ops.convert_to_numpy(x)
    array[0] = 9
    assert float(x[0]) == 1.0


def test_python_protocols_of_a_tensor():
    x = convert_to_tensor([[1.0, 2.0], [3.0, 4.0]])
    assert (x.shape, x.ndim, x.size, len(x)) == ((2, 2), 2, 4, 2)
    assert [float(row[0]) for row in x] == [1.0, 3.0]
    assert f"{x[0, 1]:.1f}" == "2.0"
    np.testing.assert_array_equal(2 - x, [[1, 0], [-1, -2]])
    np.testing.assert_array_equal(np.ones((2, 2), "float32") @ x, [[4, 6], [4, 6]])


@pytest.mark.parametrize(
    ("dtypes", "expected"),
    [
        (("int8", int), "int8"),
        (("int32", float), "float32"),
        (("bfloat16", "float16"), "float32"),
        (("bfloat16", float), "bfloat16"),
        (("bool", int), "int32"),
        (("uint8", "int8"), "int16"),
        (("int64", "float16"), "float16"),
        (("float32", "float64"), "float64"),
        (("float32", "complex64"), "complex64"),
        ((), "float32"),
        ((None, "int32"), "float32"),
    ],
)
def test_promotion(dtypes, expected):
    assert keras.backend.result_type(*dtypes) == expected


def test_dtype_names():
    assert keras.backend.standardize_dtype(np.dtype("int16")) == "int16"
    assert keras.backend.standardize_dtype(float) == "float32"
    assert keras.backend.standardize_dtype(None) == keras.config.floatx()
    with pytest.raises(ValueError, match="Invalid dtype"):
        keras.backend.standardize_dtype("float31")


# -- KerasTensor ---------------------------------------------------------------------------------------
def test_operators_on_symbolic_tensors_give_symbolic_tensors():
    x = keras.KerasTensor((None, 3))
    assert (x * 2 + 1).shape == (None, 3)
    assert (x @ np.ones((3, 5), "float32")).shape == (None, 5)
    assert x[:, 0].shape == (None,)
    assert (x > 0).dtype == "bool"
    assert ops.reshape(x, (-1,)).shape == (None,)
    assert ops.concatenate([x, x], axis=1).shape == (None, 6)


@pytest.mark.parametrize(
    ("use", "error"),
    [(bool, TypeError), (int, ValueError), (float, ValueError), (np.asarray, ValueError), (iter, NotImplementedError)],
)
def test_a_symbolic_tensor_has_no_value(use, error):
    with pytest.raises(error, match=r"symbolic|KerasTensor"):
        use(keras.KerasTensor(()))


def test_symbolic_attributes_are_immutable():
    x = keras.KerasTensor((2, 3), "int32", name="ids")
    assert (x.shape, x.dtype, x.name, x.ndim, x.sparse) == ((2, 3), "int32", "ids", 2, False)
    for name in ("shape", "dtype", "sparse", "ragged"):
        with pytest.raises(AttributeError, match="immutable"):
            setattr(x, name, None)
    with pytest.raises(ValueError, match="same time"):
        keras.KerasTensor((2,), sparse=True, ragged=True)


def test_history_records_operation_and_arguments():
    x = keras.KerasTensor((None, 4))
    y = ops.mean(x, axis=1, keepdims=True)
    operation, node_index, tensor_index = y._keras_history
    assert (operation.name.rstrip("_0123456789"), node_index, tensor_index) == ("mean", 0, 0)
    assert operation.get_config() == {"name": operation.name, "axis": 1, "keepdims": True}
    assert operation.input is x
    assert operation.output is y


def test_operations_are_found_by_class_name_and_made_from_their_config():
    cls = function_operation("Mean")
    op = cls.from_config({"name": "m", "axis": 0})
    np.testing.assert_array_equal(op(np.array([[1.0, 2.0], [3.0, 4.0]], "float32")), [2, 3])
    assert function_operation("NoSuchOp") is None


# -- shape inference -----------------------------------------------------------------------------------
def test_spec_keeps_unknown_extents_apart_from_known_ones():
    x = keras.KerasTensor((None, 6))
    spec = compute_output_spec(lambda x: (ops.reshape(x, (-1, 2)), ops.sum(x, axis=0), ops.shape(x)[1]), x)
    assert [s.shape for s in spec] == [(None, 2), (6,), ()]


def test_spec_of_a_function_that_splits_an_unknown_extent():
    x = keras.KerasTensor((None, 3))
    assert [s.shape for s in compute_output_spec(lambda x: ops.split(x, 2, axis=0), x)] == [(None, 3)] * 2


def test_spec_passes_other_arguments_and_results_through():
    x = keras.KerasTensor((2, 3))
    out = compute_output_spec(lambda d, k: {"y": d["x"] * k, "none": None}, {"x": x}, k=2.0)
    assert out["y"].shape == (2, 3)
    assert out["none"] is None


def test_spec_changes_no_variable():
    v = keras.Variable(1.0)

    def count(x):
        v.assign_add(1.0)
        return x * v

    assert compute_output_spec(count, keras.KerasTensor((None,))).shape == (None,)
    assert float(v) == 1.0


def test_a_traced_tensor_is_refused_where_a_value_is_needed():
    with ScratchTrace() as trace, pytest.raises(TraceError, match=r"ops\.cond"):
        bool(trace.input(TensorType((), "float32")) > 0)


# -- Function ------------------------------------------------------------------------------------------
def test_function_runs_the_operations_between_its_tensors():
    a, b = keras.KerasTensor((2,), name="a"), keras.KerasTensor((2,), name="b")
    f = keras.Function({"a": a, "b": b}, [a + b, a * b])
    total, product = f({"a": np.array([1.0, 2.0], "float32"), "b": np.array([3.0, 4.0], "float32")})
    np.testing.assert_array_equal(total, [4, 6])
    np.testing.assert_array_equal(product, [3, 8])
    assert f.compute_output_shape({"a": (2,), "b": (2,)}) == [(2,), (2,)]
    with pytest.raises(ValueError, match="structure"):
        f([np.ones(2)])


def test_function_names_what_is_not_connected():
    a, b = keras.KerasTensor((2,), name="a"), keras.KerasTensor((2,), name="b")
    with pytest.raises(ValueError, match="disconnected"):
        keras.Function(a, (a + b) * 2)
    with pytest.raises(ValueError, match="cannot be empty"):
        keras.Function([], a)


def test_a_long_chain_of_operations_needs_no_recursion():
    x = y = keras.KerasTensor((2,))
    for _ in range(3000):
        y = -y
    assert len(keras.Function(x, y).operations) == 3000


# -- structures ----------------------------------------------------------------------------------------
def test_flatten_sorts_dicts_and_keeps_none():
    assert tree.flatten({"b": [1, None], "a": Point(2, (3,))}) == [2, 3, 1, None]
    assert tree.flatten(OrderedDict([("b", 1), ("a", 2)])) == [1, 2]
    assert tree.flatten([]) == []
    assert tree.flatten_with_path({"a": [1, 2]}) == [(("a", 0), 1), (("a", 1), 2)]


def test_pack_is_the_inverse_of_flatten():
    structure = {"b": [1, Point(2, 3)], "a": (4, {"c": None})}
    assert tree.pack_sequence_as(structure, tree.flatten(structure)) == structure
    assert list(tree.pack_sequence_as(structure, range(5))) == ["b", "a"]
    with pytest.raises(ValueError, match="leaves"):
        tree.pack_sequence_as(structure, [1])


def test_map_structure_checks_the_structures():
    assert tree.map_structure(lambda a, b: a + b, {"x": [1]}, {"x": [2]}) == {"x": [3]}
    assert tree.map_structure(lambda a: a + 1, [1, None], none_is_leaf=False) == [2, None]
    with pytest.raises(ValueError, match="nested structure"):
        tree.map_structure(lambda a, b: a, [1, 2], [1])
    assert tree.map_structure_up_to({"x": 0}, len, {"x": [1, 2, 3]}) == {"x": 3}


def test_traverse_and_shapes():
    assert tree.lists_to_tuples([1, [2, {"a": [3]}]]) == (1, (2, {"a": (3,)}))
    assert tree.traverse(lambda s: tree.MAP_TO_NONE if s == 2 else None, [1, 2]) == [1, None]
    assert tree.map_shape_structure(len, {"a": (None, 2), "b": [(1, 2, 3)]}) == {"a": 2, "b": [3]}
    assert not tree.is_nested("text")
    with pytest.raises(ValueError, match="paths"):
        tree.assert_same_paths({"a": 1}, {"b": 1})
