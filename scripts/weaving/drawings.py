"""What the tools draw themselves, in grey: the map of the topics, and the bars above a chapter's measurements.

Plain SVG with the colours of PALETTE as attributes, so that print takes it as it is and the site, which puts it
into its pages, can give it the colours of the theme.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape

from scripts.reading.needs import edges, lanes

PALETTE = INK, MUTE, LINE, PAPER = "#1d2731", "#56626f", "#b4bdc6", "#ffffff"
FONT = "'Source Sans 3', 'Source Sans Pro', 'DejaVu Sans', sans-serif"
WIDTH, ROW, HEAD, LANE = 356, 22, 32, 7
LEVELS = {"level 1": "loops", "level 2": "whole arrays", "level 3": "little memory", "level 4": "PyTorch"}
BAR, STEP = 200, 26                                     # the longest bar, and the height of a row


@dataclass
class Topic:
    topic: int
    title: str
    part: str
    needs: list[int]
    page: str


def svg(width: int, height: int, parts: list[str]) -> str:
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
            f'font-family="{FONT}" font-size="14">\n' + "\n".join(parts) + "\n</svg>\n")


def text(x: float, y: float, words: str, fill: str = INK, more: str = "") -> str:
    return f'<text x="{x:g}" y="{y:g}" fill="{fill}"{more}>{escape(words)}</text>'


# -- the map
def topic_map(topics: list[Topic]) -> str:
    """A line for each topic, by part; an arc leads from a topic down to one that builds on it."""
    places, parts, y, part = {}, [], 0, None
    for topic in topics:
        if topic.part != part:
            part, y = topic.part, y + HEAD
            parts.append((0, y - 10, part, None))
        places[topic.topic] = y + ROW // 2
        parts.append((0, y + ROW // 2 + 5, topic.title, topic))
        y += ROW
    arcs = lanes(edges(topics), places)
    edge = 12 + LANE * (1 + max((lane for *_, lane in arcs), default=0))
    out = [arc(places[a] + 3, places[b] - 3, edge, edge - LANE * (lane + 1), f"n{a} n{b}") for a, b, lane in arcs]
    for _, base, words, topic in parts:
        if topic is None:
            out.append(text(edge + 6, base, words, MUTE, ' font-size="12" font-weight="600"'))
        else:
            line = text(edge + 24, base, f"{topic.topic}", MUTE, ' text-anchor="end"') + text(edge + 32, base, words)
            out.append(f'<a href="{escape(topic.page)}">{line}</a>')
    return svg(WIDTH, y + 4, out)


def arc(top: float, bottom: float, edge: float, x: float, name: str) -> str:
    bend = min(7.0, (bottom - top) / 2)
    return (f'<path class="{name}" fill="none" stroke="{LINE}" stroke-width="1.3" d="M{edge} {top}H{x + bend:g}'
            f'Q{x} {top} {x} {top + bend:g}V{bottom - bend:g}Q{x} {bottom} {x + bend:g} {bottom}H{edge}'
            'm-4 -3l4 3l-4 3"/>')


def words_of(topics: list[Topic]) -> str:
    """The map in words."""
    said = [f"{t.topic} {t.title}" + (f" builds on {', '.join(map(str, t.needs))}" if t.needs else "") for t in topics]
    return "Which topics build on which. " + "; ".join(said) + "."


# -- the bars
def ladder_bars(rows: dict[str, dict]) -> str:
    """Times of the levels as bars on a logarithmic scale, with a line at each power of ten."""
    found = [(level, rows[level]["seconds"]) for level in LEVELS if level in rows]
    low, high = decades([seconds for _, seconds in found])
    x = lambda seconds: 150 + BAR * (math.log10(seconds) - low) / (high - low)
    height = STEP * len(found) + 26
    every = 1 if BAR / (high - low) >= 45 else 2         # decades from one name to the next
    out = []
    for k in range(low, high + 1):
        out.append(f'<path fill="none" stroke="{LINE}" stroke-width="1" d="M{x(10.0 ** k):.1f} 2V{height - 22}"/>')
        if (k - low) % every == 0:
            out.append(text(x(10.0 ** k), height - 6, span(10.0 ** k, 0), MUTE, ' font-size="12" text-anchor="middle"'))
    for n, (level, seconds) in enumerate(found):
        y = STEP * n + 4
        out.append(text(142, y + 14, f"{level.removeprefix('level ')}  {LEVELS[level]}", INK, ' text-anchor="end"'))
        fill = LINE if level == "level 4" else MUTE
        out.append(f'<rect x="150" y="{y}" width="{x(seconds) - 150:.1f}" height="18" fill="{fill}"/>')
        out.append(text(x(seconds) + 6, y + 14, span(seconds), INK, ' font-weight="600"'))
    return svg(150 + BAR + 90, height, out)


def decades(seconds: list[float]) -> tuple[int, int]:
    """Powers of ten around the times, so that the shortest bar is seen."""
    low = math.floor(math.log10(min(seconds)) - 0.15)
    return low, max(low + 1, math.ceil(math.log10(max(seconds))))


def span(seconds: float, digits: int = 2) -> str:
    """`27 ms`; two digits count."""
    unit, factor = next((u, f) for u, f in (("s", 1), ("ms", 1e-3), ("µs", 1e-6), ("ns", 1e-9))
                        if seconds >= 0.9995 * f or u == "ns")
    value = seconds / factor
    return f"{value:.0f} {unit}" if value >= 9.95 or not digits else f"{value:.1f} {unit}"


def bars_in_words(name: str, rows: dict[str, dict]) -> str:
    said = [f"{level} {span(rows[level]['seconds'])}" for level in LEVELS if level in rows]
    return f"Bars on a logarithmic scale, time of a call of {name}: {', '.join(said)}."
