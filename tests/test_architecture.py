"""Who may import whom, read from the sources; and what `import graphkeras` may load."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HEAVY = ("numba", "llvmlite", "h5py", "rich", "networkx", "pandas", "sklearn", "tensorflow", "jax", "torch")


def imports(folder: str) -> Iterator[tuple[Path, str, bool]]:
    """(file, imported module, whether at import time) for every import below a folder."""
    for path in sorted((ROOT / folder).rglob("*.py")):
        tree = ast.parse(path.read_text())
        top = {id(n) for n in tree.body}
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield path, alias.name, id(node) in top
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                yield path, node.module, id(node) in top


def offenders(folder: str, forbidden: tuple[str, ...], allowed: tuple[str, ...] = ()) -> list[str]:
    return [
        f"{path.relative_to(ROOT)} imports {module}"
        for path, module, _ in imports(folder)
        if any(module == f or module.startswith(f + ".") for f in forbidden)
        and str(path.relative_to(ROOT)) not in allowed
    ]


def test_ir_stands_alone() -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {module}"
        for path, module, _ in imports("ir")
        if module.startswith("graphkeras") and not module.startswith("graphkeras.ir")
    ]
    assert not wrong
    assert not offenders("ir", ("numba", "llvmlite", "h5py", "rich"))


def test_codegen_knows_no_frontend() -> None:
    assert not [
        f"{path.relative_to(ROOT)} imports {module}"
        for path, module, _ in imports("codegen")
        if module.startswith("graphkeras") and not module.startswith(("graphkeras.ir", "graphkeras.codegen"))
    ]


def test_one_door_to_the_compiler() -> None:
    assert not offenders("graphkeras", ("graphkeras.codegen",), allowed=("graphkeras/backend/executor.py",))
    assert not offenders("graphkeras", ("numba", "llvmlite", "tensorflow", "jax", "torch"))


def test_import_loads_nothing_heavy() -> None:
    code = (
        f"import sys, graphkeras, graphkeras.layers, graphkeras.ops; print([m for m in {HEAVY!r} if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
