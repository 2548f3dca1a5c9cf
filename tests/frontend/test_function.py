"""`keras.function`: structures, signatures, reasons for traces, a look inside."""

from __future__ import annotations

import numpy as np
import pytest

import graphkeras as keras
from graphkeras import ops


def test_function_keeps_structures_and_says_why_it_traces():
    @keras.function
    def pair(d, flag=False):
        return {"sum": d["a"] + d["b"], "flag": flag, "none": None}

    result = pair({"a": np.ones(2, "float32"), "b": np.ones(2, "float32")})
    assert np.array(result["sum"]).tolist() == [2, 2] and result["flag"] is False and result["none"] is None
    pair({"a": np.ones(2, "float32"), "b": np.zeros(2, "float32")})
    pair({"a": np.ones(3, "float32"), "b": np.zeros(3, "float32")})
    pair({"a": np.ones(3, "float32"), "b": np.zeros(3, "float32")}, flag=True)
    assert len(pair.trace_reasons) == 3
    assert "float32[3], last float32[2]" in pair.trace_reasons[1]
    assert "structure" in pair.trace_reasons[2]


def test_function_with_input_signature():
    @keras.function(input_signature=[keras.InputSpec(shape=(None, 2), dtype="float32")])
    def double(x):
        return x * 2

    assert double([[1, 2]]).dtype == "float32"
    with pytest.raises(ValueError, match=r"argument 0 of double\(\) must have shape \(None, 2\)"):
        double([[1, 2, 3]])
    with pytest.raises(TypeError, match="input_signature of 1"):
        double([[1, 2]], [[1, 2]])


def test_function_as_method_and_lowered():
    class Scaler:
        def __init__(self, factor):
            self.factor = keras.Variable(factor)

        @keras.function
        def __call__(self, x):
            return x * self.factor if ops.sum(x) > 0 else x

    two, three = Scaler(2.0), Scaler(3.0)
    x = np.ones(2, "float32")
    assert np.array(two(x)).tolist() == [2, 2] and np.array(three(x)).tolist() == [3, 3]
    lowered = type(two).__call__.__get__(two).lower(x)
    assert "reduce_sum" in lowered.text() and "mul" in str(lowered)
    assert any("def kernel" in source for source in lowered.kernels)


def test_reasons_are_printed(capsys):
    @keras.function(verbose=True)
    def double(x, k=2):
        return x * k

    double(np.ones(2, "float32"))
    double(np.zeros(2, "float32"))
    double(np.ones(2, "int32"))
    double(np.ones((2, 1), "int32"))
    double(np.ones((2, 1), "int32"), k=3)
    said = capsys.readouterr().err.splitlines()
    assert [line.split(": ", 1)[1] for line in said[:3]] == [
        "first call",
        "argument 0: int32[2], last float32[2]",
        "argument 0: int32[2, 1], last int32[2]",
    ]
    assert len(said) == 4 and "structure" in said[3]


def test_many_shapes_are_remembered():
    @keras.function
    def total(x):
        return ops.sum(x * 2)

    for _ in range(2):
        assert [float(total(np.ones(n, "float32"))) for n in range(1, 41)] == [2.0 * n for n in range(1, 41)]
    assert len(total.trace_reasons) == 40


def test_lowered_before_and_after_the_passes():
    @keras.function
    def f(x):
        return ops.relu(x * 1.0 + 0.0) if ops.sum(x) > 0 else x

    lowered = f.lower(np.ones(2, "float32"))
    assert len(lowered.graphs) == 2  # the decision, and the way that was taken
    assert lowered.text().count("mul") > lowered.text(optimized=True).count("mul")
    assert all(source.strip() for source in lowered.kernels)
