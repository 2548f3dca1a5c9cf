"""Tests for a machine with a GPU: `make test-gpu`. GRAPHKERAS_TEST_DEVICE names another device than cuda:0."""

from __future__ import annotations

import os

import pytest

from graphkeras.codegen.cuda import device as devices
from graphkeras.codegen.cuda.compiler import CudaUnavailable

DEVICE = os.environ.get("GRAPHKERAS_TEST_DEVICE", "cuda:0")


def _why_not() -> str:
    try:
        devices.get(DEVICE)
    except CudaUnavailable as error:
        return str(error)
    return ""


@pytest.fixture(scope="session")
def device_name() -> str:
    """The device under test; tests are skipped where it is not there."""
    reason = _why_not()
    if reason:
        pytest.skip(reason)
    return DEVICE
