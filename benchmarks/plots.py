"""Plots as inline SVG: grouped bars, stacked bars, lines on logarithmic axes. No script, no library.

Colours come from the page's style sheet (`c0` ... `c9`, `ink`, `grid`), which has a light and a dark set. Nothing is
told by colour alone: bars carry their name, stacked parts a number, curves a shape and a dash pattern.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

LIGHT = ("#1f6feb", "#b45309", "#1a7f37", "#8250df", "#bf3989", "#57606a", "#0e7490", "#a16207", "#9a3412", "#4d7c0f")
DARK = ("#58a6ff", "#f0a04b", "#56d364", "#bc8cff", "#ff7bbf", "#9aa4ae", "#39c5cf", "#e3c341", "#ff8f6b", "#a3d65c")
DASHES = ("", "7 3", "2 3", "9 3 2 3", "5 5", "1 4")
WIDTH, LEFT, BAR, RIGHT = 860, 230, 17, 170
LABEL = 31  # letters left of a bar


def style() -> str:
    """Rules for all plots of a page."""

    def rules(colours: Sequence[str], ink: str, grid: str) -> str:
        named = "".join(f".c{k}{{fill:{c}}}.s{k}{{stroke:{c}}}" for k, c in enumerate(colours))
        return f"svg text{{fill:{ink}}}.ink{{stroke:{ink}}}.grid{{stroke:{grid}}}{named}"

    light = rules(LIGHT, "#1f2328", "#d0d7de") + "svg text.inside{fill:#ffffff}"
    dark = rules(DARK, "#e6edf3", "#444c56") + "svg text.inside{fill:#0d1117}"
    return f"{light}\n@media (prefers-color-scheme: dark){{{dark}}}"


def number(value: float) -> str:
    return f"{value:.3g}"


def _text(x: float, y: float, words: str, anchor: str = "start", size: int = 12, kind: str = "") -> str:
    more = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}"{more}>{escape(words)}</text>'


def _svg(height: float, parts: Sequence[str], title: str) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" width="{WIDTH}" role="img">'
    return "\n".join([head, f"<title>{escape(title)}</title>", *parts, "</svg>"])


def _shortened(words: str, most: int) -> str:
    return words if len(words) <= most else words[: most - 1] + "…"


def bars(title: str, groups: Mapping[str, Mapping[str, tuple[float, float]]], unit: str = "", mark: float = 0.0) -> str:
    """A group of bars for each key: {group: {name: (value, error)}}. mark: where a dashed line stands (0: none).

    An error is drawn as a line from value - error to value + error. The axis below has ticks in `unit`.
    """
    names = list(dict.fromkeys(n for g in groups.values() for n in g))
    high = max((v + e for g in groups.values() for v, e in g.values() if v == v), default=1.0) or 1.0
    scale = (WIDTH - LEFT - RIGHT) / max(high, mark)
    body, y = [], 12.0
    for group, values in groups.items():
        body.append(_text(LEFT - 8, y + BAR * len(values) / 2 + 4, _shortened(group, LABEL), "end"))
        for name, (value, error) in values.items():
            if value == value:
                body += _bar(y, value, error, scale, names.index(name) % len(LIGHT))
                label = f"{number(value)} {unit} {name}" if len(names) > 1 else f"{number(value)} {unit}"
                body.append(_text(LEFT + (value + error) * scale + 5, y + 11, label, size=11))
            y += BAR
        y += 10
    axis = [_line(LEFT, y, WIDTH - RIGHT, y, "ink")]
    for tick in ticks(max(high, mark)):
        x = LEFT + tick * scale
        axis += [_line(x, 6, x, y + 4, "grid"), _text(x, y + 17, f"{number(tick)} {unit}".strip(), "middle", 11)]
    if mark:
        body.append(_line(LEFT + mark * scale, 4, LEFT + mark * scale, y, "ink", "4 3"))
    return _svg(y + 24, [*axis, *body], title)


def _bar(y: float, value: float, error: float, scale: float, colour: int) -> list[str]:
    length = max(value * scale, 0.5)
    shape = f'<rect class="c{colour}" x="{LEFT}" y="{y:.1f}" width="{length:.1f}" height="{BAR - 3}"/>'
    if error <= 0:
        return [shape]
    middle = y + (BAR - 3) / 2
    return [shape, _line(LEFT + max(value - error, 0) * scale, middle, LEFT + (value + error) * scale, middle, "ink")]


def ticks(high: float) -> list[float]:
    """Round numbers from 0 to `high`, about five."""
    rough = high / 5
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * k for k in (1, 2, 2.5, 5, 10) if unit * k >= rough * 0.999)
    return [step * k for k in range(int(high / step + 1e-9) + 1)]


def stacks(title: str, rows: Mapping[str, Mapping[str, float]], unit: str = "") -> str:
    """One bar a row, made of its parts: {row: {part: value}}. Parts are numbered, and named below."""
    names = list(dict.fromkeys(n for r in rows.values() for n in r))
    high = max((sum(r.values()) for r in rows.values()), default=1.0) or 1.0
    scale = (WIDTH - LEFT - RIGHT) / high
    parts, y = [], 12.0
    for row, values in rows.items():
        parts.append(_text(LEFT - 8, y + 13, _shortened(row, LABEL), "end"))
        x = float(LEFT)
        for name, value in values.items():
            place, wide = names.index(name), value * scale
            words = escape(f"{name}: {number(value)} {unit}")
            shape = f'x="{x:.1f}" y="{y:.1f}" width="{wide:.2f}" height="{BAR}"'
            parts.append(f'<rect class="c{place % len(LIGHT)}" {shape}><title>{words}</title></rect>')
            if wide >= 14:
                parts.append(_text(x + wide / 2, y + 13, str(place + 1), "middle", 11, "inside"))
            x += wide
        parts.append(_text(x + 5, y + 13, f"{number(sum(values.values()))} {unit}", size=11))
        y += BAR + 8
    x = float(LEFT)
    for place, name in enumerate(names):
        words = f"{place + 1} {name}"
        if x + 26 + 7 * len(words) > WIDTH:
            x, y = float(LEFT), y + 18
        parts.append(f'<rect class="c{place % len(LIGHT)}" x="{x:.1f}" y="{y + 2:.1f}" width="11" height="11"/>')
        parts.append(_text(x + 15, y + 12, words))
        x += 30 + 7 * len(words)
    return _svg(y + 22, parts, title)


def lines(title: str, series: Mapping[str, Sequence[tuple[float, float]]], x_name: str, y_name: str) -> str:
    """A curve for each name on two logarithmic axes; points are (x, y), both positive."""
    every = [p for points in series.values() for p in points if p[0] > 0 and p[1] > 0]
    if not every:
        return _svg(20, [_text(10, 15, "nothing measured")], title)
    height, top, bottom, left, right = 340.0, 34.0, 290.0, 80.0, WIDTH - 150.0
    spans = [_span([p[k] for p in every]) for k in (0, 1)]

    def at(point: tuple[float, float]) -> tuple[float, float]:
        x, y = ((math.log10(v) - low) / (high - low) for v, (low, high) in zip(point, spans, strict=True))
        return left + x * (right - left), bottom - y * (bottom - top)

    parts = [_text((left + right) / 2, bottom + 38, x_name, "middle"), _text(8, 18, y_name)]
    for x in sorted({p[0] for p in every}):
        place = at((x, 10 ** spans[1][0]))[0]
        parts += [_line(place, top, place, bottom, "grid"), _text(place, bottom + 16, number(x), "middle", 11)]
    for value in log_ticks(*spans[1]):
        place = at((10 ** spans[0][0], value))[1]
        parts += [_line(left, place, right, place, "grid"), _text(left - 6, place + 4, _seconds(value), "end", 11)]
    labels: list[float] = []
    for k, (name, points) in enumerate(series.items()):
        places = [at(p) for p in sorted(points) if p[0] > 0 and p[1] > 0]
        if not places:
            continue
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        dash = f' stroke-dasharray="{DASHES[k % len(DASHES)]}"' if DASHES[k % len(DASHES)] else ""
        parts.append(f'<polyline class="s{k % len(LIGHT)}" points="{path}" fill="none" stroke-width="2"{dash}/>')
        parts += [_marker(x, y, k) for x, y in places]
        spot = places[-1][1] + 4
        while any(abs(spot - other) < 14 for other in labels):  # names of curves that end together stay apart
            spot += 14
        labels.append(spot)
        parts += [_marker(right + 12, spot - 4, k), _text(right + 22, spot, name)]
    return _svg(height, parts, title)


def _marker(x: float, y: float, k: int) -> str:
    """A small shape, another one for each curve."""
    kind, r = f'class="c{k % len(LIGHT)}"', 4.0
    if k % 4 == 0:
        return f'<circle {kind} cx="{x:.1f}" cy="{y:.1f}" r="{r}"/>'
    if k % 4 == 1:
        return f'<rect {kind} x="{x - r:.1f}" y="{y - r:.1f}" width="{2 * r}" height="{2 * r}"/>'
    corners = {
        2: ((0, -1.3), (1.2, 0.9), (-1.2, 0.9)),
        3: ((0, -1.4), (1.4, 0), (0, 1.4), (-1.4, 0)),
    }[k % 4]
    points = " ".join(f"{x + r * a:.1f},{y + r * b:.1f}" for a, b in corners)
    return f'<polygon {kind} points="{points}"/>'


def log_ticks(low: float, high: float) -> list[float]:
    """Round numbers between two decimal logarithms: powers of ten, with 2 and 5 where they are few."""
    powers = range(math.floor(low), math.ceil(high) + 1)
    factors = (1,) if high - low > 3 else (1, 2, 5) if high - low > 0.7 else (1, 1.5, 2, 3, 4, 5, 6, 8)
    return [f * 10.0**p for p in powers for f in factors if low <= math.log10(f * 10.0**p) <= high]


def _seconds(value: float) -> str:
    for factor, unit in ((1.0, "s"), (1e3, "ms"), (1e6, "us")):
        if value * factor >= 0.9995:
            return f"{value * factor:.3g} {unit}"
    return f"{value:.1g} s"


def _span(values: Sequence[float]) -> tuple[float, float]:
    """Range of the decimal logarithms with a margin."""
    low, high = math.log10(min(values)), math.log10(max(values))
    margin = max(0.05, (high - low) * 0.05)
    return low - margin, high + margin


def _line(x1: float, y1: float, x2: float, y2: float, kind: str, dashes: str = "") -> str:
    more = f' stroke-dasharray="{dashes}"' if dashes else ""
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"{more}/>'
