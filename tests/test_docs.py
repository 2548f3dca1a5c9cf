"""The Python blocks of the guide and of the README run, block after block of a page in one process."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent
PAGES = [*sorted((ROOT / "docs" / "guide").glob("*.md")), ROOT / "README.md"]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: pathlib.Path) -> str:
    """The page's blocks as one program whose line numbers are those of the page."""
    text = page.read_text()
    lines = [""] * text.count("\n")
    for match in BLOCK.finditer(text):
        first = text.count("\n", 0, match.start(1))
        for i, line in enumerate(match[1].splitlines()):
            lines[first + i] = line
    return "\n".join(lines)


@pytest.mark.parametrize("page", [p for p in PAGES if "```python" in p.read_text()], ids=lambda p: p.stem)
def test_page(page, tmp_path):
    program = tmp_path / f"{page.stem}.py"
    program.write_text(blocks(page))
    env = {k: v for k, v in os.environ.items() if k != "GRAPHKERAS_TARGET"}
    done = subprocess.run(
        [sys.executable, str(program)], capture_output=True, text=True, cwd=tmp_path, env=env, timeout=300, check=False
    )
    assert done.returncode == 0, f"{page}:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"


def test_the_guide_is_there():
    assert len(PAGES) >= 7
    for page in PAGES:
        for name in re.findall(r"`([a-z_]+\.md)`", page.read_text()):
            assert (page.parent / name).exists(), f"{page.name} speaks of {name}"
