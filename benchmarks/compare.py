"""`--compare OLD.json`: two reports side by side, and which differences are more than noise."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.records import ENOUGH, UNITS, Report, si, table, unit_of

FLOOR = 0.05
"""Differences below this are never flagged: two runs of one program on one machine differ by as much."""
SPREADS = 3.0
"""How many times the summed noise of both runs a difference must be. Noise is half the distance of quartiles."""
UNKNOWN = 0.25
"""The limit for times that were measured once or twice, whose noise is not known."""
FACTS = ("cpu", "cores", "threads", "python")


@dataclass(frozen=True)
class Change:
    """One figure in both reports. `ratio` is new / old; `verdict` is "worse", "better" or "" (within the noise)."""

    suite: str
    case: str
    who: str
    name: str
    old: float
    new: float
    limit: float
    verdict: str

    @property
    def ratio(self) -> float:
        return self.new / self.old


def changes(old: Report, new: Report) -> Iterator[Change]:
    """Every figure that both reports have, in the order of the new one."""
    before = {
        (suite, r["case"], r["who"], name): f
        for suite, records in old["suites"].items()
        for r in records
        for name, f in r["figures"].items()
    }
    for suite, records in new["suites"].items():
        for r in records:
            for name, f in r["figures"].items():
                known = before.get((suite, r["case"], r["who"], name))
                if known is not None and known["median"]:
                    yield _change(suite, r["case"], r["who"], name, known, f)


def _change(suite: str, case: str, who: str, name: str, old: dict, new: dict) -> Change:
    sign = UNITS[unit_of(name)]
    few = min(len(old["samples"]), len(new["samples"])) < ENOUGH and unit_of(name) == "s"
    limit = max(UNKNOWN if few else FLOOR, SPREADS * (old["noise"] + new["noise"]))
    moved = sign * (new["median"] / old["median"] - 1)
    lowered = sign * (old["median"] / new["median"] - 1) if new["median"] else 0.0
    # A rate that fell to a half and a time that doubled are the same change: measure both as the larger ratio.
    verdict = "worse" if moved > limit or -lowered > limit else "better" if -moved > limit or lowered > limit else ""
    return Change(suite, case, who, name, old["median"], new["median"], limit, verdict if sign else "")


def warnings(old: Report, new: Report) -> list[str]:
    """Facts that make the comparison doubtful: another machine, other settings, other versions."""
    found = []
    for name in FACTS:
        if old["host"].get(name) != new["host"].get(name):
            found.append(f"other {name}: {old['host'].get(name)} then, {new['host'].get(name)} now")
    if old["flags"] != new["flags"]:
        found.append(f"other flags: {old['flags'] or 'none'} then, {new['flags'] or 'none'} now")
    for name, version in new["versions"].items():
        if name != "commit" and old["versions"].get(name, version) != version:
            found.append(f"other {name}: {old['versions'][name]} then, {version} now")
    return found


def text(old: Report, new: Report, everything: bool = False) -> str:
    """The flagged figures (or all of them) with their ratios, and how many there were."""
    found = list(changes(old, new))
    shown = found if everything else [c for c in found if c.verdict]
    lines = [f"compared with {old['when']} ({old['versions'].get('commit', 'no commit')})"]
    lines += [f"! {w}" for w in warnings(old, new)]
    if shown:
        rows = [
            (
                *(f"{c.suite} {c.case}", c.who, c.name, si(c.old, unit_of(c.name)), si(c.new, unit_of(c.name))),
                *(f"{c.ratio:.2f}", f"{c.limit * 100:.0f} %", c.verdict),
            )
            for c in shown
        ]
        lines.append(table(("what", "who", "figure", "old", "new", "new/old", "noise limit", ""), rows))
    worse, better = (sum(c.verdict == v for c in found) for v in ("worse", "better"))
    lines.append(
        f"{len(found)} figures in both: {worse} worse, {better} better, {len(found) - worse - better} within the noise"
    )
    return "\n".join(lines)


def regressions(old: Report, new: Report) -> int:
    """How many figures of graphkeras itself and its variants got worse beyond the noise (peers do not count)."""
    return sum(
        c.verdict == "worse" and not c.who.startswith(("keras-", "numpy", "torch", "onednn", "jax", "machine"))
        for c in changes(old, new)
    )
