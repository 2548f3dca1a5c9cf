"""All tests verify every graph after every stage of the compiler, and none takes a program that another one made."""

from __future__ import annotations

import os

from graphkeras.ir.passes import pipeline

pipeline.VERIFY = True
os.environ["GRAPHKERAS_PROGRAMS"] = "0"
