"""Where a template has more than one way to do its work: candidates as data, and which of them is taken.

A template lists `Candidate`s (a tile, an algorithm, how the work is cut), each with the seconds that `cost_model.py`
expects, and calls `pick`. Without more, the one with the fewest seconds is taken. With GRAPHKERAS_TUNE=1 the first few
are compiled and run on the sizes at hand (`tuning.py`), and the winner is remembered on disk for all later processes.

Two kinds of choice, and what their `spec` may name:
  - forms, which change a kernel's source: only what belongs to the model (features, strides, ranks). A batch size or a
    sequence length in it would make a new kernel for each of them.
  - cuts, which change arguments of a source that is loaded anyway: all sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from graphkeras.codegen import flags

if TYPE_CHECKING:
    from graphkeras.codegen.lower import Lowering


@dataclass(frozen=True)
class Candidate:
    """One way. `name` tells it from the others of its choice, also in files; `seconds`: expected; `value`: what the
    template makes of it."""

    name: str
    seconds: float
    value: Any


Emit = Callable[[Candidate], None]


def pick(ctx: Lowering, kind: str, spec: str, candidates: Sequence[Candidate], emit: Emit | None = None) -> Candidate:
    """The candidate to use, noted for the kernels that the running template launches from now on.

    kind: name of the choice. spec: the problem, as a text without blanks; equal texts get equal answers.
    emit: launches a candidate on `ctx`, so that it can be measured; None: it cannot be here, but was elsewhere.
    """
    ranked = sorted(candidates, key=lambda c: c.seconds)
    chosen, how = ranked[0], "modelled"
    if len(ranked) > 1:
        found = _measured(ctx, kind, spec, ranked, emit) if flags.TUNE.value != "off" else None
        if found is not None:
            chosen, how = found, "measured"
        others = [d for d in ctx.decisions if not d.startswith(f"{kind} ")]  # an op may be several launches
        ctx.decisions = [*others, f"{kind} {chosen.name}, {how}, one of {len(ranked)}"]
    return chosen


def _measured(ctx: Lowering, kind: str, spec: str, ranked: Sequence[Candidate], emit: Emit | None) -> Candidate | None:
    """What was measured once, or is measured now if that is asked for."""
    from graphkeras.codegen.cpu import remembered

    known = remembered.winner(kind, spec, [c.name for c in ranked])
    if known is None and flags.TUNE.value == "measure" and emit is not None and ctx.may_search:
        from graphkeras.codegen.cpu import tuning

        known = tuning.search(ctx, kind, spec, ranked, emit)
    return next((c for c in ranked if c.name == known), None)
