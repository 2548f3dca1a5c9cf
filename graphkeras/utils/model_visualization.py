"""Pictures of models: `plot_model` and `model_to_dot`, through Graphviz and pydot (the extra "plot")."""

from __future__ import annotations

import html
import itertools
import os
from typing import Any

from graphkeras.core import tree
from graphkeras.utils.optional import require


def model_to_dot(
    model: Any,
    show_shapes: bool = False,
    show_dtype: bool = False,
    show_layer_names: bool = True,
    rankdir: str = "TB",
    expand_nested: bool = False,
    dpi: int = 200,
    subgraph: bool = False,
    show_layer_activations: bool = False,
    show_trainable: bool = False,
    splines: str = "ortho",
    **kwargs: Any,
) -> Any:
    """A `pydot.Dot` graph of a model (a `pydot.Cluster` with `subgraph`).

    Args:
        model: built model.
        show_shapes, show_dtype, show_layer_names, show_layer_activations, show_trainable: what boxes tell.
        rankdir: "TB" (top to bottom) or "LR" (left to right).
        expand_nested: draw the layers of nested models too.
        dpi: dots per inch.
        splines: how edges are drawn, see Graphviz.

    Raises:
        ImportError: without pydot.
    """
    if kwargs.pop("layer_range", None) is not None:
        raise ValueError("Argument `layer_range` is no longer supported.")
    if kwargs:
        raise ValueError(f"Unrecognized keyword arguments: {kwargs}")
    pydot = require("pydot", "model_to_dot")
    drawing = Drawing(
        model, show_shapes, show_dtype, show_layer_names, expand_nested, show_layer_activations, show_trainable
    )
    graph = pydot.graph_from_dot_data(drawing.text(rankdir, dpi, splines))[0]
    if not subgraph:
        return graph
    cluster = pydot.Cluster(graph_name=model.name, label=model.name, style="dashed", labeljust="l")
    for part in (*graph.get_node_list(), *graph.get_edge_list()):
        (cluster.add_node if isinstance(part, pydot.Node) else cluster.add_edge)(part)
    for part in graph.get_subgraph_list():
        cluster.add_subgraph(part)
    return cluster


def plot_model(
    model: Any,
    to_file: Any = "model.png",
    show_shapes: bool = False,
    show_dtype: bool = False,
    show_layer_names: bool = False,
    rankdir: str = "TB",
    expand_nested: bool = False,
    dpi: int = 200,
    show_layer_activations: bool = False,
    show_trainable: bool = False,
    splines: str = "ortho",
    **kwargs: Any,
) -> Any:
    """Draw a model into a file.

    Args:
        to_file: path; its ending is the format ("png", "svg", "pdf", ...). ".dot" writes Graphviz source and needs
            nothing installed.
        model, show_shapes, ...: as in `model_to_dot`.

    Returns:
        in a notebook, the picture; else None.

    Raises:
        ImportError: without pydot or Graphviz.

    Example:

    >>> import os, tempfile, graphkeras as keras
    >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="out")])
    >>> path = os.path.join(tempfile.mkdtemp(), "model.dot")
    >>> keras.utils.plot_model(model, path, show_layer_names=True)
    >>> "out" in open(path).read()
    True
    """
    if kwargs.pop("layer_range", None) is not None:
        raise ValueError("Argument `layer_range` is no longer supported.")
    if kwargs:
        raise ValueError(f"Unrecognized keyword arguments: {kwargs}")
    path = os.fspath(to_file)
    drawing = Drawing(
        model, show_shapes, show_dtype, show_layer_names, expand_nested, show_layer_activations, show_trainable
    )
    text = drawing.text(rankdir, dpi, splines)
    ending = os.path.splitext(path)[1][1:].lower() or "png"
    if ending == "dot":
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return None
    graph = require("pydot", "plot_model").graph_from_dot_data(text)[0]
    try:
        graph.write(path, format=ending)
    except FileNotFoundError as error:
        raise ImportError(
            "plot_model needs the programs of Graphviz, which are not installed (or not on the PATH). See "
            "https://graphviz.org/download/. A path that ends in `.dot` writes the source of the picture without them."
        ) from error
    return _in_notebook(path) if ending in ("png", "jpg", "jpeg") else None


def _in_notebook(path: str) -> Any:
    """The picture, where IPython shows it."""
    try:
        from IPython import display
    except ImportError:
        return None
    return display.Image(filename=path)


class Drawing:
    """Graphviz source of a model."""

    def __init__(
        self,
        model: Any,
        shapes: bool,
        dtype: bool,
        names: bool,
        expand: bool,
        activations: bool,
        trainable: bool,
    ) -> None:
        if not model.built:
            raise ValueError(
                "This model has not yet been built. Build the model first by calling `build()` or by calling the model "
                "on a batch of data."
            )
        self.model = model
        self.shapes, self.dtype, self.names = shapes, dtype, names
        self.expand, self.activations, self.trainable = expand, activations, trainable

    def text(self, rankdir: str, dpi: int, splines: str) -> str:
        head = f"rankdir={rankdir}; concentrate=true; dpi={dpi}; splines={splines}; node [shape=plain]"
        return f"digraph {{\n{head}\n" + "\n".join(self._body(self.model)) + "\n}\n"

    def _body(self, model: Any) -> list[str]:
        from graphkeras.models.functional import Functional
        from graphkeras.models.sequential import Sequential

        if isinstance(model, Functional):
            operations = list(model._operations)
            edges = self._functional_edges(model)
        elif isinstance(model, Sequential):
            operations = list(model.layers)
            edges = [(a, b) for a, b in itertools.pairwise(operations)]
        else:
            return [self._box(model)]
        lines = []
        for operation in operations:
            if self._is_open(operation):
                inner = "\n".join(self._body(operation))
                label = html.escape(operation.name)
                lines.append(
                    f'subgraph "cluster_{id(operation)}" {{\nlabel="{label}"; style=dashed; labeljust=l\n{inner}\n}}'
                )
            else:
                lines.append(self._box(operation))
        return lines + [f'"{id(self._last(a))}" -> "{id(self._first(b))}"' for a, b in edges]

    def _functional_edges(self, model: Any) -> list[tuple[Any, Any]]:
        edges = {}
        for node in model._nodes:
            for tensor in node.input_tensors:
                source = tensor._keras_history.operation
                edges[id(source), id(node.operation)] = (source, node.operation)
        return list(edges.values())

    def _is_open(self, operation: Any) -> bool:
        """Whether an operation is a nested model whose layers are drawn."""
        from graphkeras.models.functional import Functional
        from graphkeras.models.sequential import Sequential

        return self.expand and isinstance(operation, (Functional, Sequential)) and bool(operation.layers)

    def _last(self, operation: Any) -> Any:
        """The box that edges out of an operation start from."""
        while self._is_open(operation):
            outputs = getattr(operation, "_outputs", None)
            operation = outputs[0]._keras_history.operation if outputs else operation.layers[-1]
        return operation

    def _first(self, operation: Any) -> Any:
        """The box that edges into an operation end at."""
        while self._is_open(operation):
            operation = operation.layers[0]
        return operation

    def _box(self, layer: Any) -> str:
        kind = type(layer).__name__
        title = f"<b>{html.escape(layer.name)}</b> ({kind})" if self.names else f"<b>{kind}</b>"
        cells = self._cells(layer)
        span = max(len(cells), 1)
        rows = [f'<tr><td colspan="{span}" bgcolor="black"><font color="white">{title}</font></td></tr>']
        activation = getattr(layer, "activation", None)
        if self.activations and activation is not None:
            name = getattr(activation, "name", None) or getattr(activation, "__name__", str(activation))
            rows.append(f'<tr><td colspan="{span}">Activation: <b>{html.escape(str(name))}</b></td></tr>')
        if cells:
            rows.append(f"<tr>{''.join(cells)}</tr>")
        table = f'<table border="0" cellborder="1" cellspacing="0" cellpadding="10">{"".join(rows)}</table>'
        return f'"{id(layer)}" [label=<{table}>, fontname="Helvetica"]'

    def _cells(self, layer: Any) -> list[str]:
        cells = []
        if self.shapes:
            if type(layer).__name__ != "InputLayer":
                cells.append(f"<td>Input shape: <b>{_of_tensors(layer, 'input', 'shape')}</b></td>")
            cells.append(f"<td>Output shape: <b>{_of_tensors(layer, 'output', 'shape')}</b></td>")
        if self.dtype:
            cells.append(f"<td>Output dtype: <b>{_of_tensors(layer, 'output', 'dtype')}</b></td>")
        if self.trainable and getattr(layer, "weights", None):
            colour, word = ("forestgreen", "Trainable") if layer.trainable else ("firebrick", "Non-trainable")
            cells.append(f'<td bgcolor="{colour}"><font color="white"><b>{word}</b></font></td>')
        return cells


def _of_tensors(layer: Any, side: str, attribute: str) -> str:
    """The shapes or dtypes of a layer's input or output; "?" where there are several calls or none."""
    try:
        found = tree.map_structure(lambda x: str(getattr(x, attribute)), getattr(layer, side))
    except (AttributeError, ValueError):
        return "?"
    return html.escape(found if isinstance(found, str) else ", ".join(tree.flatten(found)))
