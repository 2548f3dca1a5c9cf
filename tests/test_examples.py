"""Every script in examples/ runs as a user runs it, compiled, with fewer epochs; each checks its own result."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pytest

EXAMPLES = pathlib.Path(__file__).parent.parent / "examples"
# Half a minute each while no kernel is cached: `make test-long`.
SLOW = {"contrastive", "gan", "own_training", "text", "transfer", "wgan_gp"}
SCRIPTS = [p for p in sorted(EXAMPLES.glob("*.py")) if p.stem not in SLOW or "GRAPHKERAS_LONG_TESTS" in os.environ]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_example(script):
    pytest.importorskip("sklearn")
    pytest.importorskip("pandas")
    env = {**os.environ, "GRAPHKERAS_QUICK": "1", "KERAS_MAX_EPOCHS": "5"}
    env.pop("GRAPHKERAS_TARGET", None)
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, env=env, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert done.stdout.strip()
