"""`make progress ARGS=--page`: the topics as a page, build/progress.html, with what each of them builds on.

One column of topics, module by module, and beside it an arc from each topic to those that build on it: so it is read
alike on a wide screen, a narrow one and in grey. An arc that others imply is not drawn; each topic names all it needs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from scripts import keeping
from scripts.reading.front import load_yaml
from scripts.reading.needs import edges, lanes

PAGE = "build/progress.html"
ROW, HEAD, LANE = 34, 46, 6                                 # pixels: a topic's height, a module's, between arcs
WORDS = {"done": "done", "begun": "begun", "open": "open"}
MARKS = {"done": '<rect class="mark full" {box}/>', "open": '<rect class="mark" {box}/>',
         "begun": '<rect class="mark" {box}/><path class="half" d="M{x} {bottom}v-12h6v12z"/>'}
STYLE = """
:root { color-scheme: light dark; --ink: #222; --soft: #666; --line: #b0b0b0; --paper: #fff; }
@media (prefers-color-scheme: dark) { :root { --ink: #ddd; --soft: #9a9a9a; --line: #4c4c4c; --paper: #181818; } }
body { font: 15px/1.35 "Source Sans 3", system-ui, sans-serif; color: var(--ink); background: var(--paper);
       max-width: 62rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.4rem; margin: .2rem 0; }
p { margin: .3rem 0 .8rem; }
pre { font-size: .95rem; margin: .4rem 0; white-space: pre-wrap; }
.map { position: relative; padding-left: WIDTHpx; }
svg { position: absolute; left: 0; top: 0; }
svg path { fill: none; stroke: var(--line); stroke-width: 1.3; }
.mark { fill: var(--paper); stroke: var(--ink); stroke-width: 1.5; }
.full, svg .half { fill: var(--ink); stroke: none; }
.full { stroke: var(--ink); }
h2 { font-size: 1rem; height: 1.6rem; margin: 0; padding-top: 1.1rem; line-height: 1.6rem; box-sizing: content-box;
     height: calc(HEADpx - 1.1rem); overflow: hidden; white-space: nowrap; text-overflow: ellipsis; }
.topic { height: ROWpx; display: grid; grid-template-columns: 1.8rem minmax(0, 3fr) minmax(0, 3fr) minmax(0, 2fr);
         gap: .6rem; align-items: center; border-bottom: 1px solid color-mix(in srgb, var(--line) 40%, transparent);
         box-sizing: border-box; }
.topic > * { overflow: hidden; white-space: nowrap; text-overflow: ellipsis; }
.next { font-weight: 700; }
.said, .needs { color: var(--soft); font-size: .85rem; font-weight: 400; }
.open .title { color: var(--soft); }
.next .title { color: var(--ink); }
a { color: inherit; }
@media (max-width: 700px) {
  .topic { grid-template-columns: 1.5rem minmax(0, 1fr); grid-template-rows: 1fr 1fr; gap: 0 .3rem; line-height: 1.1; }
  .topic .title { align-self: end; font-size: .87rem; } .topic .said:empty { display: none; }
  .topic:has(.said:empty) .title { grid-row: 1 / 3; align-self: center; }
  h2 { font-size: .9rem; } .topic .said { grid-column: 2; align-self: start; font-size: .75rem; }
  .topic .number { grid-row: 1 / 3; } .topic .needs { display: none; }
}
"""


@dataclass
class Row:
    """One topic: its state is done, begun or open; `said`, the same in words."""

    topic: int
    title: str
    module: str
    state: str
    said: str
    needs: list[int] = field(default_factory=list)
    link: str = ""


def write(root: Path, rows: list[Row], headline: str, after: str, following: int | None) -> str:
    """Write the page; its path."""
    keeping.write(root / PAGE, page(rows, headline, after, following))
    return PAGE


def parts(root: Path) -> dict[str, str]:
    """Chapter -> the part of the book it stands in, such as "Module 1 · Neural network core"."""
    book = load_yaml((root / "_quarto.yml").read_text(encoding="utf-8-sig"), "_quarto.yml", 1)["book"]
    return {path: str(entry["part"]) for entry in book.get("chapters", []) if isinstance(entry, dict)
            for path in entry.get("chapters") or []}


def page(rows: list[Row], headline: str, after: str, following: int | None) -> str:
    """The page's HTML. `following`: the topic that is next, `after` the line that says so."""
    places, lines, height, module = {}, [], 0, ""
    for row in rows:
        if row.module != module:
            module = row.module
            lines.append(f"<h2>{escape(module)}</h2>")
            height += HEAD
        places[row.topic] = height + ROW // 2
        lines.append(line(row, row.topic == following))
        height += ROW
    arcs = lanes(edges(rows), places)
    width = 34 + LANE * (1 + max((lane for *_, lane in arcs), default=0))
    style = STYLE.replace("WIDTH", str(width)).replace("HEAD", str(HEAD)).replace("ROW", str(ROW))
    style += "".join(f"body:has(#t{row.topic}:hover) .e{row.topic} {{ stroke: var(--ink); stroke-width: 2; }}\n"
                     for row in rows)
    view = '<meta name="viewport" content="width=device-width, initial-scale=1">'
    return "\n".join(['<!doctype html>', '<html lang="en">', '<meta charset="utf-8">', view, "<title>Progress</title>",
                      f"<style>{style}</style>", "<h1>Progress</h1>", f"<pre>{escape(headline)}\n{escape(after)}</pre>",
                      f"<p>{legend()} An arc leads from a topic down to one that builds on it; point at a topic to see "
                      "its own. What a topic needs by way of another is not drawn.</p>", '<div class="map">',
                      drawn(rows, places, arcs, width, height), *lines, "</div>", "</html>", ""])


def legend() -> str:
    """The three marks, each with its word and a space that does not break."""
    return ", ".join(f'<svg style="position:static;vertical-align:-2px" width="14" height="14" aria-hidden="true">'
                     f"{mark(state, 1, 13)}</svg>&nbsp;{word}" for state, word in WORDS.items()) + "."


def mark(state: str, x: float, bottom: float) -> str:
    return MARKS[state].format(x=x, bottom=bottom, box=f'x="{x}" y="{bottom - 12}" width="12" height="12"')


def line(row: Row, following: bool) -> str:
    """One topic in HTML."""
    title = f'<a href="{escape(row.link)}">{escape(row.title)}</a>' if row.link else escape(row.title)
    needs = "needs " + ", ".join(map(str, row.needs)) if row.needs else ""
    said = "" if row.said == "-" else row.said
    said = ": ".join(["next"] * following + [said] * bool(said))
    about = escape("; ".join(filter(None, [row.title, row.said.strip("-"), needs])))
    return (f'<div class="topic {row.state}{" next" * following}" id="t{row.topic}" title="{about}">'
            f'<span class="number">{row.topic:02d}</span><span class="title">{title}</span>'
            f'<span class="said">{escape(said)}</span>'
            f'<span class="needs">{needs}</span></div>')


def drawn(rows: list[Row], places: dict[int, int], arcs: list[tuple[int, int, int]], width: int, height: int) -> str:
    """The arcs and the marks, as SVG."""
    edge = width - 26
    parts = []
    for start, end, lane in arcs:
        x, a, b = edge - LANE * (lane + 1), places[start] + 3, places[end] - 3
        bend = min(7.0, (b - a) / 2)
        parts.append(f'<path class="e{start} e{end}" d="M{edge} {a}H{x + bend:g}Q{x} {a} {x} {a + bend:g}V{b - bend:g}'
                     f'Q{x} {b} {x + bend:g} {b}H{edge}m-4 -3l4 3l-4 3"/>')
    parts += [mark(row.state, edge + 4, places[row.topic] + 6) for row in rows]
    return (f'<svg width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img" '
            f'aria-label="Which topics build on which">{"".join(parts)}</svg>')
