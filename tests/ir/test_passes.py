"""Rewriting rules: text before -> text after, and soundness on awkward numbers in every dtype."""

from __future__ import annotations

import re

import numpy as np
import pytest

from graphkeras.ir.graph import Builder, Graph
from graphkeras.ir.interpreter import evaluate
from graphkeras.ir.node import Node
from graphkeras.ir.parser import ParseError, parse
from graphkeras.ir.passes import pipeline
from graphkeras.ir.passes.joins import join_reductions
from graphkeras.ir.passes.rewrite import Rule, rewrite
from graphkeras.ir.printer import equal, to_text
from graphkeras.ir.types import is_float, is_inexact, numpy_dtype
from graphkeras.ir.verify import verify
from tests.ir.rule_cases import CASES

RULES = {r.name: r for stage in pipeline.DOCS if stage not in pipeline.PLAIN for r in pipeline._rules(stage)}
DTYPES = ("float32", "float64", "float16", "bfloat16", "complex64", "int32", "int8", "uint8", "bool")
SPECIAL = (np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 2.5, -3.0, 1e-40, 60000.0)
ZERO_SIGN = {"reduce_nothing", "sum_of_broadcast", "factor_out_of_sum", "sum_of_parts"}
"""Rules about sums, whose zeros have no specified sign (sum_of_parts: in gradients only)."""
FINITE = {"factor_out_of_sum"}  # gradients only, where the factor is not a constant
BETTER = {"log_of_softmax", "log_of_sigmoid"}  # finite where the plain form is -inf: that is what they are for


def graph_of(text: str) -> Graph:
    inputs = re.findall(r"^\s*(%\d+) = input", text, re.MULTILINE)
    return parse(f"graph ({', '.join(inputs)}) {{{text}}}")


def in_order(graph: Graph) -> Graph:
    """The same graph with its nodes numbered by a walk from the outputs."""
    b, table = Builder(), {}

    def visit(node: Node) -> Node:
        if node not in table:
            table[node] = b.copy_node(node, [visit(i) for i in node.inputs])
        return table[node]

    return Graph([visit(i) for i in graph.inputs], [visit(o) for o in graph.outputs], graph.name)


@pytest.mark.parametrize(("name", "before", "after"), CASES)
def test_rule(name: str, before: str, after: str) -> None:
    made = rewrite(graph_of(before), [RULES[name]])
    verify(made, graph_of(before), name)
    assert equal(in_order(made), in_order(graph_of(after))), to_text(in_order(made))


def test_every_rule_has_a_case() -> None:
    assert set(RULES) == {name for name, _, _ in CASES}


def awkward(graph: Graph, seed: int) -> list[np.ndarray]:
    """Inputs full of special values, of the largest and smallest integers."""
    rng = np.random.default_rng(seed)
    arrays = []
    for node in graph.inputs:
        dtype = numpy_dtype(node.dtype)
        if is_inexact(node.dtype):
            values = rng.choice(np.array(SPECIAL), node.shape)
        elif node.dtype == "bool":
            values = rng.integers(0, 2, node.shape)
        else:
            info = np.iinfo(dtype)
            values = rng.choice(np.array([0, 1, 2, 3, info.max, info.min]), node.shape)
        arrays.append(np.asarray(values).astype(dtype))
    return arrays


def same(got: np.ndarray, want: np.ndarray, name: str) -> bool:
    """Equal bits but for rounding; NaNs, infinities and signs of zeros in the same places."""
    if not is_inexact(want.dtype.name):
        return bool(np.array_equal(got, want))
    if np.iscomplexobj(want):
        return same(got.real, want.real, name) and same(got.imag, want.imag, name)
    tolerance = {"float16": 4e-3, "bfloat16": 3e-2, "float32": 1e-6}.get(want.dtype.name, 1e-14)
    a, b = got.astype(np.float64), want.astype(np.float64)
    if name in FINITE:
        a, b = a[np.isfinite(b)], b[np.isfinite(b)]
    if name in BETTER:
        a, b = a[~np.isinf(b)], b[~np.isinf(b)]
    signs = name in ZERO_SIGN or np.array_equal(np.signbit(a[b == 0]), np.signbit(b[b == 0]))
    return (
        bool(np.allclose(a, b, rtol=tolerance, atol=0 if name not in BETTER else tolerance, equal_nan=True)) and signs
    )


def variants(text: str) -> list[str]:
    """The graph in other dtypes, with other constants, and in the other phase."""
    found = [re.sub(r"\bfloat32\b", d, text) for d in DTYPES] if "int" not in text and "float16" not in text else [text]
    numbers = re.findall(r"const\((-?[\d.]+)\)", text)
    for number in dict.fromkeys(numbers):
        for other in ("0.0", "-0.0", "inf", "nan", "1e-40", "1e+38", "3", "-2", "True"):
            found += [t.replace(f"const({number})", f"const({other})") for t in found[: len(DTYPES)]]
    return found + [t.replace("  # dense [backward]", "") for t in found if "backward" in t]


@pytest.mark.parametrize("name", sorted(RULES))
def test_rule_is_sound(name: str) -> None:
    fired = 0
    for text in [v for n, before, _ in CASES if n == name for v in variants(before)]:
        try:
            graph = graph_of(text)
        except (ParseError, OverflowError):  # the ops do not take this dtype, or the dtype not this constant
            continue
        made = rewrite(graph, [RULES[name]])
        verify(made, graph, name)
        changed = not equal(in_order(made), in_order(graph))
        fired += changed
        for seed in range(12 if changed else 0):
            arrays = awkward(graph, seed)
            with np.errstate(all="ignore"):
                pairs = zip(evaluate(made, arrays), evaluate(graph, arrays), strict=True)
            for got, want in pairs:
                assert same(got, want, name), f"{to_text(graph)}\n{to_text(made)}\n{arrays}\n{got}\n{want}"
    assert fired


@pytest.mark.parametrize("dtype", ["float32", "int32"])
def test_reductions_join(dtype: str) -> None:
    text = f"""
        %0 = input("x") : {dtype}[2,3,4,5]
        %1 = reduce_max(%0, axes=(1, 3), keepdims=False) : {dtype}[2,4]
        %2 = reduce_max(%1, axes=(1,), keepdims=False) : {dtype}[2]
        return %2"""
    graph = graph_of(text)
    made = join_reductions(graph)
    assert "%1 = reduce_max(%0, axes=(1, 2, 3), keepdims=False)" in to_text(made) and len(made.nodes) == 2
    arrays = awkward(graph, 0)
    np.testing.assert_array_equal(evaluate(made, arrays)[0], evaluate(graph, arrays)[0])
    both = graph_of(text.replace("return %2", "return %2, %1"))
    assert join_reductions(both) is both


def test_zero_is_added_where_it_changes_something() -> None:
    """x + 0.0 makes -0.0 to 0.0, so it is no no-op."""
    b = Builder()
    x = b.input(graph_of(CASES[0][1]).inputs[0].type, "x")
    made = rewrite(Graph([x], [b.add(x, 0.0)]), [RULES["add_zero"]])
    assert made.outputs[0].op == "add"
    assert rewrite(Graph([x], [b.add(b.abs(x), 0.0)]), [RULES["add_zero"]]).outputs[0].op == "abs"


def test_rules_settle_or_say_so() -> None:
    flip = Rule("flip", ("add",), lambda b, n: b.sub(n.inputs[0], n.inputs[1]))
    flop = Rule("flop", ("sub",), lambda b, n: b.add(n.inputs[0], n.inputs[1]))
    b = Builder()
    x = b.input(graph_of(CASES[0][1]).inputs[0].type, "x")
    with pytest.raises(AssertionError, match="do not settle"):
        rewrite(Graph([x], [b.add(x, 1.0)]), [flip, flop])


def test_stages_and_rules_have_names() -> None:
    names = pipeline.names()
    assert {*pipeline.STAGES, "loops"} - {"decompose"} <= names and set(RULES) <= names
    assert all(is_float("float32") and doc for doc in pipeline.DOCS.values())
    assert set(pipeline.STAGES) | {"loops"} == set(pipeline.DOCS)
