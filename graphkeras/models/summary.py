"""`model.summary()`: a table of layers, output shapes and parameter counts."""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Callable, Iterable
from typing import Any

from graphkeras.core import tree
from graphkeras.core.config import is_interactive_logging_enabled
from graphkeras.core.dtypes import dtype_size

_UNITS = ("B", "KB", "MB", "GB", "TB", "PB")
_NUMBER, _NONE, _CLASS, _YES, _NO = 34, 45, 33, 34, 9  # colours


def count_params(weights: Iterable[Any]) -> int:
    return sum(math.prod(w.shape) for w in weights)


def memory_size(weights: Iterable[Any]) -> float:
    """Bytes of the weights, each counted once."""
    distinct = {id(w): w for w in weights}.values()
    return sum(math.prod(w.shape) * dtype_size(w.dtype) for w in distinct) / 8


def readable_size(size: float) -> str:
    """1536 -> "1.50 KB"."""
    for unit in _UNITS[:-1]:
        if size < 1024:
            return f"{size:.2f} {unit}"
        size /= 1024
    return f"{size:.2f} {_UNITS[-1]}"


def _coloured(text: Any, colour: int) -> str:
    return f"[color({colour})]{text}[/]"


def _bold(text: str) -> str:
    return f"[bold]{text}[/]"


def _shape_text(shape: Any) -> str:
    extents = [_coloured(d, _NONE if d is None else _NUMBER) for d in shape]
    return f"({', '.join(extents)})"


def _output_shapes(layer: Any) -> Any:
    """The shapes of a layer's output in their structure, or None where they are not known."""
    if layer._inbound_nodes:
        return [x.shape for x in layer._inbound_nodes[-1].output_tensors]
    shapes = getattr(layer, "_build_shapes_dict", None)
    if not shapes:
        return None
    try:
        return layer.output_shape if hasattr(layer, "output_shape") else layer.compute_output_shape(**shapes)
    except Exception:  # a summary is a picture: a shape that cannot be inferred is shown as unknown
        return None


def output_shape_text(layer: Any) -> str:
    shapes = _output_shapes(layer)
    if shapes is None:
        return "?"
    text = tree.map_shape_structure(_shape_text, shapes)
    flat = tree.flatten(text)
    return flat[0] if len(flat) == 1 else str(text).replace("'", "")


def _is_chain(model: Any) -> bool:
    """Whether every layer has one input, from the layer before it."""
    from graphkeras.models.functional import Functional

    if not isinstance(model, Functional):
        return True
    members = set()
    for nodes in model._nodes_by_depth.values():
        if len(nodes) > 1 or len(nodes[0].input_tensors) > 1:
            return False
        members.add(nodes[0])
    return all(sum(n in members for n in layer._inbound_nodes) <= 1 for layer in model.layers)


def _connections(layer: Any, members: set[Any]) -> str:
    found = []
    for node in layer._inbound_nodes:
        if node in members:
            for x in node.input_tensors:
                op, node_index, tensor_index = x._keras_history
                found.append(f"{op.name}[{_coloured(node_index, _NUMBER)}][{_coloured(tensor_index, _NUMBER)}]")
    return ", ".join(found) or "-"


class _Rows:
    """The cells of the table."""

    def __init__(self, model: Any, chain: bool, expand_nested: bool, show_trainable: bool) -> None:
        self.members = {n for nodes in model._nodes_by_depth.values() for n in nodes} if not chain else set()
        self.chain = chain
        self.expand_nested = expand_nested
        self.show_trainable = show_trainable

    def of(self, layer: Any, level: int = 0) -> list[list[str]]:
        rows = [self._fields(layer, "   " * level + "└ " if level else "")]
        if self.expand_nested:
            for nested in getattr(layer, "layers", None) or ():
                rows += self.of(nested, level + 1)
        return rows

    def _fields(self, layer: Any, prefix: str) -> list[str]:
        from rich.markup import escape

        name = f"{escape(prefix + layer.name)} ({_coloured(escape(type(layer).__name__), _CLASS)})"
        fields = [name, output_shape_text(layer), self._params(layer)]
        if not self.chain:
            fields.append(_connections(layer, self.members))
        if self.show_trainable:
            fields.append(self._trainable(layer))
        return fields

    def _params(self, layer: Any) -> str:
        if not hasattr(layer, "built"):
            return _coloured(0, _NUMBER)  # a plain operation
        if not layer.built:
            return f"{_coloured(0, _NUMBER)} (unbuilt)"
        return _coloured(f"{layer.count_params():,}", _NUMBER)

    def _trainable(self, layer: Any) -> str:
        if not getattr(layer, "weights", ()):
            return _bold("-")
        return _bold(_coloured("Y", _YES) if layer.trainable else _coloured("N", _NO))


def _table(model: Any, layers: list[Any], rows: _Rows, line_length: int | None, positions: Any) -> Any:
    from rich.table import Column, Table

    header, alignment = ["Layer (type)", "Output Shape", "Param #"], ["left", "left", "right"]
    width, ends = (88, [0.45, 0.80, 1.0]) if rows.chain else (108, [0.3, 0.56, 0.74, 1.0])
    if not rows.chain:
        header.append("Connected to")
        alignment.append("left")
    ends = list(positions or ends)
    if rows.show_trainable:
        width += 12
        ends = [p * 0.90 for p in ends] + [1.0]
        header.append("Trainable")
        alignment.append("center")
    line_length = line_length or min(width, shutil.get_terminal_size().columns - 4)
    if ends[-1] > 1:  # in characters
        ends = [p / ends[-1] for p in ends]
    columns, used = [], 0
    for name, side, end in zip(header, alignment, ends, strict=True):
        size = int(end * line_length) - used
        if size < 4:
            raise ValueError("Insufficient console width to print summary.")
        columns.append(Column(name, justify=side, width=size))
        used += size
    table = Table(*columns, width=line_length, show_lines=True)
    for layer in layers:
        for row in rows.of(layer):
            table.add_row(*row)
    return table


def _totals(model: Any) -> list[str]:
    trainable, others = model.trainable_weights, model.non_trainable_weights
    optimizer = getattr(model, "optimizer", None) if getattr(model, "compiled", False) else None
    slots = optimizer.variables if optimizer is not None and optimizer.built else None
    lines = [("Total", [*trainable, *others, *(slots or ())]), ("Trainable", trainable), ("Non-trainable", others)]
    if slots is not None:
        lines.append(("Optimizer", slots))
    return [
        f"{_bold(f' {title} params: ')}{_coloured(f'{count_params(weights):,}', _NUMBER)} "
        f"({readable_size(memory_size(weights))})"
        for title, weights in lines
    ]


def print_summary(
    model: Any,
    line_length: int | None = None,
    positions: Any = None,
    print_fn: Callable[[str], Any] | None = None,
    expand_nested: bool = False,
    show_trainable: bool = False,
    layer_range: Any = None,
) -> None:
    """Print the summary of a model; the arguments are those of `Model.summary`."""
    from rich.console import Console
    from rich.markup import escape

    from graphkeras.models.functional import Functional

    layers = model._operations if isinstance(model, Functional) else model.layers
    first, last = layer_bounds(layers, layer_range)
    rows = _Rows(model, _is_chain(model), expand_nested, show_trainable)
    table = _table(model, layers[first:last], rows, line_length, positions)
    if print_fn is None and not is_interactive_logging_enabled():
        import logging

        print_fn = logging.getLogger("graphkeras").info
    console = Console(highlight=False, **({"force_terminal": False, "color_system": None} if print_fn else {}))
    if print_fn is not None:
        console.begin_capture()
    console.print(_bold(f'Model: "{escape(model.name)}"'))
    console.print(table)
    for line in _totals(model):
        console.print(line)
    if print_fn is not None:
        print_fn(console.end_capture())


def layer_bounds(layers: list[Any], layer_range: Any) -> tuple[int, int]:
    """First index and the index after the last, of the layers named in `layer_range` (names or regular expressions)."""
    if layer_range is None:
        return 0, len(layers)
    if len(layer_range) != 2 or not all(isinstance(n, str) for n in layer_range):
        raise ValueError(f"layer_range must be a list or tuple of 2 strings. Received: layer_range = {layer_range}")
    starts = [i for i, layer in enumerate(layers) if re.match(layer_range[0], layer.name)]
    ends = [i for i, layer in enumerate(layers) if re.match(layer_range[1], layer.name)]
    if not starts or not ends:
        raise ValueError(
            f"Passed layer_names do not match the layer names in the model. Received: {layer_range}. "
            f"Names in the model: {[layer.name for layer in layers]}"
        )
    first, last = sorted((starts[0], ends[-1])) if starts[0] > ends[-1] else (starts[0], ends[-1])
    return first, last + 1
