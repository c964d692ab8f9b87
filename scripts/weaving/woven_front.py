"""What stands around the woven chapters: front matter, the facts under a title, the project's own files."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from scripts.reading.chapters import Book, Chapter

STARS = {1: "1 of 3 (easy)", 2: "2 of 3 (takes thought)", 3: "3 of 3 (hard)"}
ORDER = re.compile(r"\bO\(((?:[^()]|\([^()]*\))*)\)")
TRY = re.compile(r"\{[^}]*#sec-[\w]+-try\b")
CSS = "chunks.css"


def front_matter(chapter: Chapter) -> list[str]:
    """What Quarto and the embedded typesetter need of it, and no more."""
    rows = [f"topic: {chapter.topic}"] if chapter.topic is not None else []
    rows += [f'{key}: "{chapter.meta[key]}"' for key in ("lang",) if key in chapter.meta]
    return ["---", *rows, "---", ""] if rows else []


def facts(chapter: Chapter, book: Book) -> list[str]:
    """Difficulty, time, what it builds on, and the targets, from the front matter."""
    meta = chapter.meta
    if chapter.topic is None:
        return []
    said = [f"**Difficulty** {STARS[meta['difficulty']]}"] if meta.get("difficulty") in STARS else []
    said += [f"**Time** about {time(meta['minutes'])}"] if meta.get("minutes") else []
    needs = [c for c in book.chapters if c.topic in (meta.get("needs") or [])]
    said += ["**Builds on** " + ", ".join(reference(c) for c in needs)] if needs else []
    said += [f"**Program** `tangled.{chapter.package}`"] if chapter.package else []
    rows = [" · ".join(said), ""] if said else []
    rows += targets(meta.get("targets") or [])
    return ["", "::: {.topic-facts}", "", *rows, ":::", ""] if rows else []


def invitation(chapter: Chapter, heading: str) -> list[str]:
    """Under "Stop here and try": how to begin and how to be graded, the same words in every chapter."""
    if chapter.topic is None or not TRY.search(heading):
        return []
    given = any(chunk.file == "checks.py" for chunk in chapter.chunks)
    checks = "; what is invalid is refused for you, by `checks.py`" if given else ""
    file = f"workspace/{chapter.package}.py"
    return ["", f"`make start TOPIC={chapter.topic}` writes `{file}` with signatures, docstrings and empty "
                f"bodies{checks}. `make test TOPIC={chapter.topic} IMPL=workspace` grades it, and "
                f"`make hint TOPIC={chapter.topic}` gives the next hint.", ""]


def reference(chapter: Chapter) -> str:
    return f"@{chapter.anchor} ({chapter.title})" if chapter.anchor else f"chapter {chapter.number}"


def time(minutes: int) -> str:
    hours, rest = divmod(int(minutes), 60)
    if not hours:
        return f"{rest} minutes"
    hours, half = hours + (rest >= 45), 15 <= rest < 45
    if hours == 1 and not half:
        return "an hour"
    return f"{hours}½ hours" if half else f"{hours} hours"


def targets(rows: list[dict]) -> list[str]:
    """The table of what is to be reached."""
    if not rows:
        return []
    cell = lambda text: order(str(text or "").replace("|", "\\|")) or " "
    api = lambda text: "`" + str(text).replace("|", "\\|") + "`" if text else " "
    lines = ["| To be written | Time | Space |", f"|:{'-' * 42}|:{'-' * 14}|:{'-' * 18}|"]
    lines += [f"| {api(row.get('api'))} | {cell(row.get('time'))} | {cell(row.get('space'))} |"
              for row in rows]
    return [*lines, ""]


def order(text: str) -> str:
    """`O(B H T D)` as mathematics; any other text as it is."""
    def tex(match):
        inside = re.sub(r"\blog\b", r"\\log", match[1].strip())
        if not re.fullmatch(r"[\w\s+*/^.()²³\\-]*", inside):
            return match[0]
        inside = inside.replace("²", "^2").replace("³", "^3").replace("*", r"\,")
        inside = re.sub(r"(?<=[A-Za-z0-9)]) +(?=[A-Za-z0-9(\\\\])", r"\\, ", inside)
        return f"$O({inside})$"
    return ORDER.sub(tex, text)


def project(book: Book, page: str) -> dict[str, bytes]:
    """The woven project's `_quarto.yml`, its style for chunks, the bibliography."""
    import yaml
    root = Path(book.root)
    config = yaml.safe_load((root / "_quarto.yml").read_text(encoding="utf-8"))
    config["execute"] = {"enabled": False}
    contents = config["book"]
    known = {c.path for c in book.chapters}
    contents["chapters"] = present(contents.get("chapters") or [], known)
    contents["appendices"] = [*present(contents.get("appendices") or [], known), page]
    html = config.setdefault("format", {}).setdefault("html", {}) or {}
    styles = as_list(html.get("css"))
    config["format"]["html"] = {**html, "theme": html.get("theme", "default"), "css": [*styles, CSS]}
    files = {"_quarto.yml": yaml.safe_dump(config, sort_keys=False, allow_unicode=True, width=110).encode(),
             CSS: STYLE.encode()}
    for name in [*as_list(config.get("bibliography")), *as_list(config.get("csl")), *styles]:
        if (root / name).is_file():
            files[posixpath.normpath(name)] = (root / name).read_bytes()
    return files


def present(entries: list, known: set[str]) -> list:
    """The entries of `_quarto.yml` that are written; a part without chapters goes."""
    kept = []
    for entry in entries:
        if isinstance(entry, dict):
            chapters = [path for path in entry.get("chapters", []) if path in known]
            kept += [{**entry, "chapters": chapters}] if chapters else []
        elif entry in known:
            kept.append(entry)
    return kept


def as_list(value) -> list:
    return list(value) if isinstance(value, list) else [] if value is None else [value]


STYLE = """\
/* Chunks of the program, for a site made by Quarto; the embedded typesetter brings its own. */
.chunk { border-left: 3px solid #0072b2; padding-left: .9em; margin: 1.2em 0; }
.chunk > p:first-child { margin-bottom: .3em; font-size: .9em; }
.chunk-name { font-style: italic; }
.chunk-name::before { content: "\\27e8"; }
.chunk-name::after { content: "\\27e9"; }
.chunk-file { float: right; opacity: .75; }
.chunk-file code { background: none; }
.chunk-links, .chunk-equations { font-size: .85em; opacity: .85; }
.chunk pre { margin-bottom: .4em; }
a.identifier { text-decoration: none; }
a.identifier:hover { text-decoration: underline; }
.topic-facts { border: 1px solid #8884; border-radius: 6px; padding: .8em 1em .2em;
  margin: 1em 0 1.5em; font-size: .95em; }
.index ul { columns: 22em; list-style: none; padding-left: 0; }
.quarto-figure img, .figure img { background: #fff; border-radius: 6px; }
"""
