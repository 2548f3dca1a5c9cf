"""Every rewriting rule as text: rule, graph before, graph after. The first lines of both are the inputs."""

from __future__ import annotations

from tests.ir.rule_cases import algebra, canonical, layout

CASES = [*canonical.CASES, *algebra.CASES, *layout.CASES]
