"""Python lambdas in configs: their code object, marshalled and in base64 (the layout of Keras's files).

Loading one runs code from the file, so `deserialize_keras_object` does it with `safe_mode=False` only.
"""

from __future__ import annotations

import base64
import marshal
import types
from typing import Any


def dump_function(fn: types.FunctionType) -> tuple[str, Any, Any]:
    """(code, defaults, values of the closure) of a Python function."""
    code = base64.encodebytes(marshal.dumps(fn.__code__)).decode("ascii")
    closure = tuple(cell.cell_contents for cell in fn.__closure__) if fn.__closure__ else None
    return code, fn.__defaults__, closure


def load_function(dumped: Any, names: dict[str, Any] | None = None) -> types.FunctionType:
    """The function that `dump_function` wrote; `names` are its globals (default: builtins, np, keras, ops)."""
    code, defaults, closure = (dumped, None, None) if isinstance(dumped, str) else dumped
    cells = None if closure is None else tuple(types.CellType(value) for value in closure)
    try:
        loaded = marshal.loads(base64.b64decode(code))
    except (ValueError, EOFError, TypeError) as error:
        raise ValueError(
            "The lambda in this file cannot be read: its bytecode was written by another version of Python. Define it "
            "as a named function, decorate it with @register_keras_serializable() and save the model again."
        ) from error
    default = None if defaults is None else tuple(defaults)
    return types.FunctionType(loaded, _globals() if names is None else names, loaded.co_name, default, cells)


def _globals() -> dict[str, Any]:
    import builtins

    import numpy as np

    import graphkeras

    return {
        "__builtins__": builtins,
        "np": np,
        "numpy": np,
        "keras": graphkeras,
        "graphkeras": graphkeras,
        "ops": graphkeras.ops,
    }
