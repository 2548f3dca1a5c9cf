"""The kernels of a training step, and how near each comes to the limits of the machine that ran it.

The limits are measured in the same run: floating-point peak on registers and bandwidth of copies in memory, with all
threads (codegen/cpu/roof.py). Times are means over 64 steps, the middle one of several such; flops and bytes are those
that the mathematics needs. A share over 100 % of the bandwidth means that the data stays in caches; over 100 % of the
peak, that the algorithm (Winograd's) needs fewer flops than the mathematics. `nearest` is the larger of the two shares.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.contestants import THREADS
from benchmarks.records import Record, median, record, si, table

MACHINE = "machine"
LEAST = 0.02  # part of the step's time from which on a kernel is printed


def machine() -> Record:
    """The limits of this machine, measured now (about a second)."""
    from graphkeras.codegen.cpu import roof

    limits = roof.measure(THREADS)
    facts = {"peak_gflops": limits.flops / 1e9, "one_thread_gflops": limits.flops_one / 1e9}
    facts |= {"copy_gbs": limits.bytes / 1e9, "one_thread_copy_gbs": limits.bytes_one / 1e9}
    return record(MACHINE, MACHINE, **facts)


def machine_text(records: Sequence[Record]) -> str:
    """One line about the limits; nothing where they were not measured."""
    found = [r for r in records if r["case"] == MACHINE]
    if not found:
        return ""
    return "machine: " + ", ".join(f"{k} {median(found[0], k):.1f}" for k in found[0]["figures"])


def with_shares(kernels: Sequence[Mapping[str, Any]], limits: Record) -> list[dict[str, Any]]:
    """The kernels of a step with rates in flops and bytes per second, and their shares of the machine's."""
    flops, nbytes = median(limits, "peak_gflops") * 1e9, median(limits, "copy_gbs") * 1e9
    total = sum(k["seconds"] for k in kernels)
    made = []
    for k in kernels:
        seconds = k["seconds"]
        rates = {"flops_s": k["flops"] / seconds, "bytes_s": k["nbytes"] / seconds} if seconds else {}
        shares = {"flops_share": rates["flops_s"] / flops, "bytes_share": rates["bytes_s"] / nbytes} if rates else {}
        made.append({**k, **rates, **shares, "time_share": seconds / total if total else 0.0})
    return made


def summary(kernels: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Figures of a whole step: seconds in kernels, and the part of them that the limits alone would take."""
    seconds = sum(k["seconds"] for k in kernels)
    nearest = sum(k["seconds"] * max(k.get("flops_share", 0.0), k.get("bytes_share", 0.0)) for k in kernels)
    return {"kernels_s": seconds, "roof_share": nearest / seconds} if seconds else {}


def merged(kernels: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Kernels of one name and phase added up (the blocks of a network have many), with their number as `count`."""
    found: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for k in kernels:
        found.setdefault((k["kernel"], k["phase"]), []).append(k)
    made = []
    for group in found.values():
        if len(group) == 1:
            made.append({**group[0], "count": 1})
            continue
        names = dict.fromkeys(x for k in group for x in (k["layer"], *k["layers"]))
        seconds = sum(k["seconds"] for k in group)
        sums: dict[str, float] = {"seconds": seconds, "time_share": sum(k["time_share"] for k in group)}
        for rate in ("flops_s", "flops_share", "bytes_s", "bytes_share"):  # means over time
            sums[rate] = sum(k.get(rate, 0.0) * k["seconds"] for k in group) / (seconds or 1.0)
        made.append({**group[0], **sums, "layers": tuple(names), "count": len(group)})
    return made


def shown(kernels: Sequence[Mapping[str, Any]], least: float = LEAST) -> tuple[list[dict[str, Any]], int]:
    """Those that take at least this part of the step, merged, the longest first; and how many others there are."""
    found = sorted((k for k in merged(kernels) if k["time_share"] >= least), key=lambda k: -k["seconds"])
    return found, len(kernels) - sum(k["count"] for k in found)


def title(kernel: Mapping[str, Any]) -> str:
    """The name of a kernel, and how many there are of it."""
    return kernel["kernel"] + (f" ({kernel['count']})" if kernel.get("count", 1) > 1 else "")


def text(case: str, kernels: Sequence[Mapping[str, Any]], least: float = LEAST) -> str:
    """A table of one step's kernels."""
    head = (f"kernels of {case}", "layers", "phase", "time", "of step", "GFLOP/s", "of peak", "GB/s", "of copies")
    many, others = shown(kernels, least)
    rows = [(title(k), layers(k), k["phase"], *cells(k)) for k in many]
    if others:
        seconds, share = (sum(k[n] for k in kernels) - sum(k[n] for k in many) for n in ("seconds", "time_share"))
        rows.append((f"{others} more", "", "", si(seconds, "s"), si(share, "share"), *[""] * 4))
    whole = summary(kernels)
    sums = (si(whole.get("kernels_s", float("nan")), "s"), "100 %", "", "", "", "")
    nearest = whole.get("roof_share", float("nan"))
    last = f"nearest limit, weighted by time: {si(nearest, 'share')} of {case}'s kernels"
    return table(head, [*rows, ("all", "", "", *sums)]) + "\n" + last


def layers(kernel: Mapping[str, Any], width: int = 28) -> str:
    """The layers of a kernel, the one it belongs to first."""
    names = ", ".join(dict.fromkeys(x for x in (kernel["layer"], *kernel["layers"]) if x))
    return names if len(names) <= width else names[: width - 1] + "…"


def cells(kernel: Mapping[str, Any]) -> tuple[str, ...]:
    """Time, its share of the step, GFLOP/s, share of the peak, GB/s, share of the copies' bandwidth."""
    nothing = float("nan")
    rates = [kernel.get(n, nothing) for n in ("flops_s", "flops_share", "bytes_s", "bytes_share")]
    numbers = ["-" if r != r else f"{r / 1e9:.1f}" if n % 2 == 0 else si(r, "share") for n, r in enumerate(rates)]
    return (si(kernel["seconds"], "s"), si(kernel["time_share"], "share"), *numbers)
