"""Freezing, sharing, recurrent state, mixed precision, masks: what Keras did (tests/fixtures/training_cases.py)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import graphkeras as keras
from tests.fixtures.training_cases import CASES

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"
RECORDED = np.load(FIXTURES / "training.npz")
CLOSE = {"mixed_training": 0.1}  # half precision: rounding differs


@pytest.fixture(autouse=True)
def plain_policy():
    yield
    keras.config.set_dtype_policy("float32")


@pytest.mark.filterwarnings("ignore:The `trainable` state", "ignore:Layer .* was passed an input with a mask")
@pytest.mark.parametrize("name", CASES)
def test_as_keras(name):
    keras.utils.set_random_seed(0)
    keras.backend.clear_session()
    found = {f"{name}:{key}": value for key, value in CASES[name](keras).items()}
    expected = {key: RECORDED[key] for key in RECORDED.files if key.startswith(f"{name}:")}
    assert list(found) == list(expected)
    for key, want in expected.items():
        got = np.asarray(found[key])
        if want.dtype.kind == "U":
            assert got.tolist() == want.tolist(), key
        else:
            tolerance = CLOSE.get(name, 2e-4)
            np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance, err_msg=key)
