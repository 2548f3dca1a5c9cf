"""All tests verify every graph after every stage of the compiler."""

from __future__ import annotations

from graphkeras.ir.passes import pipeline

pipeline.VERIFY = True
