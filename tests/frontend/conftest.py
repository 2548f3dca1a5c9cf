"""Fixtures that choose what models run on."""

from __future__ import annotations

import pytest


@pytest.fixture(params=["interpret", "cpu"])
def target(request, monkeypatch):
    monkeypatch.setenv("GRAPHKERAS_TARGET", request.param)
    return request.param


@pytest.fixture
def interpreted(monkeypatch):
    monkeypatch.setenv("GRAPHKERAS_TARGET", "interpret")
