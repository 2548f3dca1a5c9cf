"""Plots as inline SVG: grouped bars, stacked bars, lines on logarithmic axes. No script, no library."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

COLOURS = ("#1f6feb", "#d97706", "#2da44e", "#a855f7", "#db2777", "#57606a", "#0891b2", "#ca8a04", "#7c2d12", "#16a34a")
WIDTH, LEFT, BAR = 860, 230, 16


def number(value: float) -> str:
    return f"{value:.3g}"


def _text(x: float, y: float, words: str, anchor: str = "start", size: int = 12) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}">{escape(words)}</text>'


def _svg(height: float, parts: Sequence[str], title: str) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" width="{WIDTH}" role="img">'
    return "\n".join([head, f"<title>{escape(title)}</title>", *parts, "</svg>"])


def legend(names: Sequence[str], y: float = 14) -> str:
    parts, x = [], float(LEFT)
    for k, name in enumerate(names):
        parts.append(f'<rect x="{x:.1f}" y="{y - 10:.1f}" width="11" height="11" fill="{colour(k)}"/>')
        parts.append(_text(x + 15, y, name))
        x += 28 + 7 * len(name)
    return "".join(parts)


def colour(k: int) -> str:
    return COLOURS[k % len(COLOURS)]


def bars(title: str, groups: Mapping[str, Mapping[str, tuple[float, float]]], unit: str = "", mark: float = 0.0) -> str:
    """A group of bars for each key: {group: {name: (value, error)}}. mark: where a dashed line stands (0: none).

    An error is drawn as a line from value - error to value + error.
    """
    names = list(dict.fromkeys(n for g in groups.values() for n in g))
    high = max((v + e for g in groups.values() for v, e in g.values() if v == v), default=1.0) or 1.0
    scale = (WIDTH - LEFT - 90) / max(high, mark)
    parts, y = [legend(names)], 28.0
    for group, values in groups.items():
        parts.append(_text(LEFT - 8, y + BAR * len(values) / 2 + 4, group, "end"))
        for name, (value, error) in values.items():
            if value == value:
                length = max(value * scale, 0.5)
                fill = colour(names.index(name))
                parts.append(f'<rect x="{LEFT}" y="{y:.1f}" width="{length:.1f}" height="{BAR - 3}" fill="{fill}"/>')
                if error > 0:
                    ends = LEFT + max(value - error, 0) * scale, LEFT + (value + error) * scale
                    middle = y + (BAR - 3) / 2
                    parts.append(_line(ends[0], middle, ends[1], middle, "#24292f"))
                parts.append(_text(LEFT + (value + error) * scale + 5, y + 10, f"{number(value)} {unit}", size=11))
            y += BAR
        y += 10
    if mark:
        parts.append(_line(LEFT + mark * scale, 22, LEFT + mark * scale, y, "#24292f", dashed=True))
    return _svg(y + 4, parts, title)


def stacks(title: str, rows: Mapping[str, Mapping[str, float]], unit: str = "") -> str:
    """One bar a row, made of its parts: {row: {part: value}}."""
    names = list(dict.fromkeys(n for r in rows.values() for n in r))
    high = max((sum(r.values()) for r in rows.values()), default=1.0) or 1.0
    scale = (WIDTH - LEFT - 90) / high
    parts, y = [legend(names)], 28.0
    for row, values in rows.items():
        parts.append(_text(LEFT - 8, y + 13, row, "end"))
        x = float(LEFT)
        for name, value in values.items():
            fill, words = colour(names.index(name)), escape(f"{name}: {number(value)} {unit}")
            shape = f'x="{x:.1f}" y="{y:.1f}" width="{value * scale:.2f}" height="{BAR}"'
            parts.append(f'<rect {shape} fill="{fill}"><title>{words}</title></rect>')
            x += value * scale
        parts.append(_text(x + 5, y + 13, f"{number(sum(values.values()))} {unit}", size=11))
        y += BAR + 8
    return _svg(y + 4, parts, title)


def lines(title: str, series: Mapping[str, Sequence[tuple[float, float]]], x_name: str, y_name: str) -> str:
    """A curve for each name on two logarithmic axes; points are (x, y), both positive."""
    every = [p for points in series.values() for p in points if p[0] > 0 and p[1] > 0]
    if not every:
        return _svg(20, [_text(10, 15, "nothing measured")], title)
    height, bottom, right = 330.0, 290.0, WIDTH - 20.0
    spans = [_span([p[k] for p in every]) for k in (0, 1)]

    def at(point: tuple[float, float]) -> tuple[float, float]:
        x, y = ((math.log10(v) - low) / (high - low) for v, (low, high) in zip(point, spans, strict=True))
        return LEFT - 150 + x * (right - LEFT + 150), bottom - y * (bottom - 30)

    parts = [legend(list(series)), _text(right, bottom + 32, x_name, "end"), _text(4, 20, y_name)]
    for x in sorted({p[0] for p in every}):
        place = at((x, 10 ** spans[1][0]))[0]
        parts += [_line(place, 30, place, bottom, "#d0d7de"), _text(place, bottom + 16, number(x), "middle", 11)]
    for exponent in range(math.ceil(spans[1][0]), math.floor(spans[1][1]) + 1):
        place = at((10 ** spans[0][0], 10.0**exponent))[1]
        parts += [
            _line(LEFT - 150, place, right, place, "#d0d7de"),
            _text(LEFT - 156, place + 4, f"1e{exponent}", "end", 11),
        ]
    for k, points in enumerate(series.values()):
        places = [at(p) for p in sorted(points) if p[0] > 0 and p[1] > 0]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour(k)}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour(k)}"/>' for x, y in places]
    return _svg(height, parts, title)


def _span(values: Sequence[float]) -> tuple[float, float]:
    """Range of the decimal logarithms with a margin."""
    low, high = math.log10(min(values)), math.log10(max(values))
    margin = max(0.05, (high - low) * 0.05)
    return low - margin, high + margin


def _line(x1: float, y1: float, x2: float, y2: float, stroke: str, dashed: bool = False) -> str:
    more = ' stroke-dasharray="4 3"' if dashed else ""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{stroke}"{more}/>'
