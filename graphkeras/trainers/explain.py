"""`model.explain()` and `model.profile()`: layers, the kernels they became, and where the time of a step goes.

Every compiled step times its kernels during its first 64 runs, so looking costs no further training.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from graphkeras.backend.executor import Piece

WIDTH = 120  # of the tables, also where the terminal is narrower
ROOF_WIDTH = 9


class KernelRow(NamedTuple):
    """One kernel of a step: time in seconds, work in flops and bytes, what it computes and for which layers.

    refusals: which neighbours are not part of it, and why. reason: why its operations are one kernel.
    choices: which of several ways it was made in (tile, form, cut), and whether that was modelled or measured.
    roof: part of the machine's nearest limit that is reached (floating-point peak, or bandwidth of copies in memory);
        above 1 where the data stays in caches, None where it was not measured.
    segment: of a step whose Python code decides on values, which piece of it this is; "" where the step is one graph.
    """

    layer: str
    phase: str
    kernel: str
    seconds: float
    flops: float
    nbytes: float
    operations: int
    layers: tuple[str, ...]
    refusals: tuple[str, ...]
    reason: str = ""
    choices: tuple[str, ...] = ()
    roof: float | None = None
    segment: str = ""


class Explain:
    """What `Trainer` inherits to show its compiled steps."""

    def profile(self, mode: str = "train") -> list[KernelRow]:
        """The kernels of the newest compiled step, in order, with measured times and shares of the machine's limits.

        The first call in a process measures the limits, which takes about a second and 128 MiB a thread. A step whose
        Python code decides on values has the kernels of all its segments; `segment` tells them apart.

        Args:
            mode: "train", "test" or "predict".

        Returns:
            list of `KernelRow`.

        Raises:
            ValueError: nothing has been compiled for this mode yet.

        Example:

        >>> import numpy as np
        >>> import graphkeras as keras
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        >>> model.compile("sgd", "mse")
        >>> _ = model.fit(np.zeros((64, 4)), np.zeros((64, 2)), verbose=0)
        >>> sum(row.seconds for row in model.profile()) > 0
        True
        """
        return self._kernel_rows(mode, roof=True)

    def _kernel_rows(self, mode: str = "train", roof: bool = False) -> list[KernelRow]:
        return [row for piece in self._pieces(mode) for row in self._rows_of(piece, roof)]

    def reset_profile(self, mode: str = "train") -> None:
        """Forget the times of the first runs, which found cold caches: the next 64 steps are timed instead.

        Args:
            mode: "train", "test" or "predict".

        Raises:
            ValueError: nothing has been compiled for this mode yet.
        """
        for piece in self._pieces(mode):
            piece.executable.time_again()  # type: ignore[attr-defined]

    def _rows_of(self, piece: Piece, roof: bool) -> list[KernelRow]:
        executable: Any = piece.executable
        rows = [KernelRow(*row, segment=piece.title) for row in executable.kernel_rows(piece.names)]
        if roof:
            rows = [row._replace(roof=executable.roof_share(row.flops, row.nbytes, row.seconds)) for row in rows]
        return [_shorten(self.name, row) for row in rows]  # type: ignore[attr-defined]

    def explain(self, mode: str = "train", kernels: bool = False, reasons: bool = False, roof: bool = False) -> None:
        """Print what the compiler made of the model: layers, fused kernels, share of time, bytes and flops.

        Args:
            mode: "train", "test" or "predict".
            kernels: one line per kernel in the order of execution, instead of one per layer and phase.
            reasons: also say why operations were fused, which neighbours were not and why, which ops were taken
                apart because no template takes them as a whole, and which of several ways each kernel was made in.
            roof: also show how near kernels come to the machine's limits, which are measured first (see `profile`).

        A step whose Python code decides on values is shown segment by segment, with the decisions that lead there.
        """
        from rich.console import Console

        for number, piece in enumerate(self._pieces(mode)):
            rows = self._rows_of(piece, roof)
            console = Console(highlight=False)
            width = WIDTH + (ROOF_WIDTH if roof else 0)
            if console.width < width:
                console = Console(highlight=False, width=width)
            if number:
                console.print()
            title = f"{self.name}: " + (f"{mode} step, {piece.title}" if piece.title else f"one {mode} step")  # type: ignore[attr-defined]
            console.print(_table(rows if kernels else _by_layer(rows), title), markup=False)
            console.print(_summary(rows, piece), markup=False)
            if reasons:
                for line in _reasons(rows, piece):
                    console.print("  " + line, markup=False)

    def _pieces(self, mode: str) -> Sequence[Piece]:
        """The compiled pieces of the step that has run most."""
        programs = [p for key, p in self.__dict__.get("_programs", {}).items() if key[0] == mode]
        native = [[piece for piece in p.pieces() if hasattr(piece.executable, "kernel_rows")] for p in programs]
        if any(native):
            return max(native, key=lambda pieces: sum(p.executable.steps_done for p in pieces))  # type: ignore[attr-defined]
        verb = {"train": "fit", "test": "evaluate"}.get(mode, mode)
        raise ValueError(
            f"Model {self.name!r} has no compiled {mode} step to explain. "  # type: ignore[attr-defined]
            f"Call `{verb}()` first (without run_eagerly and with GRAPHKERAS_TARGET=cpu)."
        )


def _reasons(rows: Iterable[KernelRow], piece: Piece) -> list[str]:
    said = []
    for row in rows:
        said += [f"{row.kernel}: {row.reason}"] if row.reason else []
        said += [f"{row.kernel} without {text}" for text in row.refusals]
        said += [f"{row.kernel}: {text}" for text in row.choices]
    return said + [f"taken apart: {text}" for text in piece.executable.taken_apart(piece.names)]  # type: ignore[attr-defined]


def _shorten(model: str, row: KernelRow) -> KernelRow:
    """Layer paths without the model's own name."""

    def short(path: str) -> str:
        return path.removeprefix(model + "/")

    return row._replace(layer=short(row.layer), layers=tuple(short(x) for x in row.layers))


def _by_layer(rows: Iterable[KernelRow]) -> list[KernelRow]:
    """Kernels of one layer and phase added up under the name of the longest."""
    found: dict[tuple[str, str], list[KernelRow]] = {}
    for row in rows:
        found.setdefault((row.layer, row.phase), []).append(row)
    merged = []
    for (layer, phase), group in found.items():
        longest = max(group, key=lambda row: row.seconds).kernel
        text = f"{longest} and {len(group) - 1} more" if len(group) > 1 else longest
        others = tuple(dict.fromkeys(x for row in group for x in row.layers))
        sums = [sum(getattr(row, field) for row in group) for field in ("seconds", "flops", "nbytes", "operations")]
        known = [row.roof * row.seconds for row in group if row.roof is not None]
        roof = sum(known) / sums[0] if known and sums[0] else None
        merged.append(KernelRow(layer, phase, text, sums[0], sums[1], sums[2], int(sums[3]), others, (), roof=roof))
    return merged


def _table(rows: list[KernelRow], title: str) -> Any:
    from rich.table import Table
    from rich.text import Text

    total = sum(row.seconds for row in rows) or 1.0
    table = Table(title=Text(title), title_justify="left", box=None, pad_edge=False)
    table.add_column("layers", width=28, no_wrap=True, overflow="ellipsis")
    table.add_column("phase", no_wrap=True)
    table.add_column("kernels", width=30, no_wrap=True, overflow="ellipsis")
    limits = any(row.roof is not None for row in rows)
    for head in ("time", "share", "flops", "bytes", "GFLOP/s", "GB/s", *(["of roof"] if limits else [])):
        table.add_column(head, justify="right", no_wrap=True)
    for row in rows:
        also = [x for x in row.layers if x and x != row.layer]
        name = row.layer + (f" + {', '.join(also)}" if also else "")
        rates = [f"{amount / row.seconds / 1e9:.1f}" if row.seconds else "-" for amount in (row.flops, row.nbytes)]
        share = f"{100 * row.seconds / total:.1f} %"
        if limits:
            rates.append("-" if row.roof is None else f"{100 * row.roof:.0f} %")
        table.add_row(
            name, row.phase, row.kernel, f"{row.seconds * 1e6:.1f} us", share, _si(row.flops), _si(row.nbytes), *rates
        )
    return table


def _summary(rows: list[KernelRow], piece: Piece) -> str:
    seconds = sum(row.seconds for row in rows)
    flops, nbytes = sum(row.flops for row in rows), sum(row.nbytes for row in rows)
    operations = sum(row.operations for row in rows)
    arena = piece.executable.arena_nbytes  # type: ignore[attr-defined]
    return (
        f"{operations} graph operations became {len(rows)} kernels: {seconds * 1e6:.0f} us a step, {_si(flops)}flop, "
        f"{_si(nbytes)}B moved,\n{_si(arena)}B of temporary memory"
    )


def _si(value: float) -> str:
    for unit in ("", "k", "M", "G"):
        if abs(value) < 1000 or unit == "G":
            return f"{value:.3g} {unit}"
        value /= 1000
    return ""
