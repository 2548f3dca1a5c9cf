"""Reads the text form of graphs (see `printer`) back."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graphkeras.ir.graph import Builder, Graph
from graphkeras.ir.node import Literal, Node, Origin
from graphkeras.ir.types import TensorType, numpy_dtype

_TOKEN = re.compile(
    r"""(?P<space>[ \t]+)|(?P<newline>\n)|(?P<origin>\#[^\n]*)
    |(?P<node>%\d+)|(?P<body>&\d+)|(?P<hash>@[0-9a-f]+)
    |(?P<string>"(?:[^"\\]|\\.)*")
    |(?P<number>[-+]?(?:inf\b|nan\b|(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?))
    |(?P<name>[A-Za-z_]\w*)
    |(?P<sign>[=(){}\[\],:])""",
    re.VERBOSE,
)
_ORIGIN = re.compile(r"#\s*(?P<layer>.*?)(?: \((?P<file>[^()]*):(?P<line>\d+)\))?(?: \[(?P<phase>\w+)\])?\s*$")
_WORDS = {"True": True, "False": False, "None": None}


class ParseError(ValueError):
    """The text is not a graph; the message gives line, column, what was expected and what stands there."""


def parse(text: str, constants: Mapping[str, np.ndarray] | None = None) -> Graph:
    """The graph that the text describes. `constants`: the side table that `to_text` filled.

    Types in the text are checked against the shape rules. Raises ParseError.

        >>> graph = parse('graph "g" (%0) { %0 = input("x") : float32[2] \\n %1 = exp(%0) : float32[2] \\n return %1 }')
        >>> graph.outputs[0].op
        'exp'
    """
    reader = _Reader(text, constants or {})
    graph = reader.graph()
    reader.end()
    return graph


class _Reader:
    def __init__(self, text: str, constants: Mapping[str, np.ndarray]) -> None:
        self.text = text
        self.constants = constants
        self.bodies: dict[str, Graph] = {}
        self.tokens = list(self._split())
        self.at = 0

    # -- tokens ------------------------------------------------------------------------------------
    def _split(self) -> Any:
        place = 0
        while place < len(self.text):
            found = _TOKEN.match(self.text, place)
            if found is None:
                self._fail(place, "a token")
            assert found is not None
            if found.lastgroup not in ("space", "newline"):
                yield found.lastgroup, found.group(), place
            place = found.end()
        yield "end", "", place

    def _fail(self, place: int, expected: str) -> None:
        line = self.text.count("\n", 0, place) + 1
        column = place - self.text.rfind("\n", 0, place)
        found = self.text[place : place + 30].split("\n")[0] or "the end"
        raise ParseError(f"line {line}, column {column}: expected {expected}; found {found!r}")

    def peek(self) -> tuple[str, str]:
        kind, text, _ = self.tokens[self.at]
        return kind, text

    def take(self, kind: str, text: str | None = None) -> str:
        while kind != "origin" and self.tokens[self.at][0] == "origin":
            self.at += 1  # a comment where none has a meaning
        found, value, place = self.tokens[self.at]
        if found != kind or (text is not None and value != text):
            self._fail(place, repr(text) if text else f"a {kind}")
        self.at += 1
        return value

    def accept(self, text: str) -> bool:
        if self.peek()[1] != text or self.peek()[0] not in ("sign", "name"):
            return False
        self.at += 1
        return True

    def end(self) -> None:
        self.take("end")

    # -- graphs ------------------------------------------------------------------------------------
    def graph(self) -> Graph:
        self.take("name", "graph")
        number = self.take("body") if self.peek()[0] == "body" else None
        primal = self._body() if self.accept("extends") else None
        name = json.loads(self.take("string")) if self.peek()[0] == "string" else "graph"
        self.take("sign", "(")
        inputs = self._numbers(")")
        self.take("sign", "{")
        builder = Builder()
        nodes: dict[str, Node] = {}
        while self.peek()[0] in ("node", "origin"):
            if self.peek()[0] == "origin":
                self.at += 1
                continue
            self._statement(builder, nodes)
        self.take("name", "return")
        outputs = self._numbers(None)
        self.take("sign", "}")
        graph = Graph([self._find(nodes, n) for n in inputs], [self._find(nodes, n) for n in outputs], name)
        graph.primal = primal
        if number is not None:
            self.bodies[number] = graph
        return graph

    def _numbers(self, close: str | None) -> list[str]:
        found = []
        while self.peek()[0] == "node":
            found.append(self.take("node"))
            if not self.accept(","):
                break
        if close is not None:
            self.take("sign", close)
        return found

    def _find(self, nodes: Mapping[str, Node], name: str) -> Node:
        if name not in nodes:
            self._fail(self.tokens[self.at - 1][2], f"a value defined before (not {name})")
        return nodes[name]

    def _statement(self, builder: Builder, nodes: dict[str, Node]) -> None:
        name = self.take("node")
        start = self.tokens[self.at - 1][2]
        self.take("sign", "=")
        op = self.take("name")
        self.take("sign", "(")
        operands: list[Any] = []
        attrs: dict[str, Any] = {}
        while not self.accept(")"):
            if self.tokens[self.at + 1][1] == "=":
                key = self.take("name")
                self.take("sign", "=")
                attrs[key] = self._value()
            elif self.peek()[0] == "node":
                operands.append(self._find(nodes, self.take("node")))
            else:
                operands.append(self._value())
            if not self.accept(","):
                self.take("sign", ")")
                break
        self.take("sign", ":")
        type = self._type()
        with builder.origin(self._origin()):
            try:
                node = self._make(builder, op, operands, attrs, type)
            except (KeyError, TypeError, ValueError) as error:
                self._fail(start, f"a valid node ({error})")
        if node.type != type:
            self._fail(start, f"type {node.type} of {op}")
        nodes[name] = node

    def _make(self, builder: Builder, op: str, operands: Sequence[Any], attrs: dict[str, Any], type: Any) -> Node:
        if op == "input":
            return builder.input(type, operands[0] if operands else "")
        if op == "const":
            (value,) = operands
            if not isinstance(value, np.ndarray):
                elements = value if isinstance(value, list) else [value]
                value = np.array(elements).astype(numpy_dtype(type.dtype)) if elements else np.empty(0)
                value = np.asarray(value, numpy_dtype(type.dtype)).reshape(type.shape)
            return builder.emit("const", value=Literal(value))
        return builder.emit(op, *operands, **attrs)

    def _origin(self) -> Origin:
        if self.peek()[0] != "origin":
            return Origin()
        found = _ORIGIN.match(self.take("origin"))
        assert found is not None
        layer = found["layer"] if found["layer"] != "<no layer>" else ""
        return Origin(layer, found["file"] or "", int(found["line"] or 0), found["phase"] or "forward")

    # -- values ------------------------------------------------------------------------------------
    def _type(self) -> Any:
        if self.accept("("):
            parts = []
            while not self.accept(")"):
                parts.append(self._type())
                self.accept(",")
            return tuple(parts)
        dtype = self.take("name")
        self.take("sign", "[")
        shape = []
        while not self.accept("]"):
            shape.append(int(self.take("number")))
            self.accept(",")
        return TensorType(tuple(shape), dtype)

    def _body(self) -> Graph:
        if self.peek()[0] != "body":
            return self.graph()
        name = self.take("body")
        if name not in self.bodies:
            self._fail(self.tokens[self.at - 1][2], f"a body defined before (not {name})")
        return self.bodies[name]

    def _value(self) -> Any:
        kind, text = self.peek()
        if kind == "body" or text == "graph":
            return self._body()
        if self.accept("("):
            return tuple(self._sequence(")"))
        if self.accept("["):
            return self._sequence("]")
        if self.accept("complex"):
            self.take("sign", "(")
            return complex(*self._sequence(")"))
        if kind == "hash":
            key = self.take("hash")[1:]
            if key not in self.constants:
                self._fail(self.tokens[self.at - 1][2], "a constant of the side table")
            return self.constants[key]
        if kind == "string":
            return json.loads(self.take("string"))
        if kind == "name" and text in ("nan", "inf"):
            return float(self.take("name"))
        if kind == "name" and text in _WORDS:
            return _WORDS[self.take("name")]
        number = self.take("number")
        return int(number) if number.lstrip("+-").isdigit() else float(number)

    def _sequence(self, close: str) -> list[Any]:
        values = []
        while not self.accept(close):
            values.append(self._value())
            if not self.accept(","):
                self.take("sign", close)
                break
        return values
