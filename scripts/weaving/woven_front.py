"""What stands around the woven chapters: front matter, the facts under a title, the project's own files."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from scripts.reading.chapters import Book, Chapter

STARS = {1: "1 of 3 (easy)", 2: "2 of 3 (takes thought)", 3: "3 of 3 (hard)"}
WORDS = ("no one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
         "seventeen eighteen nineteen twenty")
NUMBERS = dict(enumerate(re.split(" ", WORDS)))
NUMBERS |= {tens + n: f"{word}-{NUMBERS[n]}" for tens, word in ((20, "twenty"), (30, "thirty")) for n in range(1, 10)}
NUMBERS[30] = "thirty"
PHRASE = re.compile(r"\b(?!log\b)[a-z]{2,}(?: of (?:[a-z]{2,}|(?=[A-Za-z]\b)))?")
ORDER = re.compile(r"\bO\(((?:[^()]|\([^()]*\))*)\)")
TRY = re.compile(r"\{[^}]*#sec-[\w]+-try\b")
EXERCISES = re.compile(r"#{2,3} Exercises\b")
CSS, FILTER, KATEX = "chunks.css", "book.lua", "katex"
HERE = Path(__file__).parent
VENDORED = HERE.parent / "typeset" / "vendor" / "katex"


def front_matter(chapter: Chapter) -> list[str]:
    """What Quarto and the embedded typesetter need of it, and no more."""
    up = posixpath.relpath(".", posixpath.dirname(chapter.path) or ".")
    rows = [f"topic: {chapter.topic}"] if chapter.topic is not None else []
    rows += katex(up) if up != "." else []
    rows += [f'{key}: "{chapter.meta[key]}"' for key in ("lang",) if key in chapter.meta]
    return ["---", *rows, "---", ""] if rows else []


def katex(up: str) -> list[str]:
    """Quarto sets mathematics with the copy of KaTeX in the project; the address is the page's own."""
    return ["format:", "  html:", "    html-math-method:", "      method: katex", f"      url: {up}/{KATEX}/"]


def facts(chapter: Chapter, book: Book) -> list[str]:
    """Difficulty, time, what it builds on, and the targets, from the front matter."""
    meta = chapter.meta
    if chapter.topic is None:
        return []
    said = ["**Optional**"] if meta.get("optional") else []
    said += [f"**Difficulty** {STARS[meta['difficulty']]}"] if meta.get("difficulty") in STARS else []
    said += [f"**Time** about {time(meta['minutes'])}"] if meta.get("minutes") else []
    needs = [c for c in book.chapters if c.topic in (meta.get("needs") or [])]
    said += ["**Builds on** " + ", ".join(reference(c, chapter) for c in needs)] if needs else []
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
    begin = f"make start TOPIC={chapter.topic}"
    rest = (f"writes `{file}` with signatures, docstrings and empty bodies{checks}. "
            f"`make test TOPIC={chapter.topic} IMPL=workspace` grades it, and `make hint TOPIC={chapter.topic}` "
            "gives the next hint.")
    return ["", '::: {.content-visible when-format="html"}', "", "```{.bash}", begin, "```", "", f"This {rest}", "",
            ":::", "", '::: {.content-hidden when-format="html"}', "", f"`{begin}` {rest}", "", ":::", ""]


def marks(chapter: Chapter, heading: str) -> list[str]:
    """Under "Exercises": what the marks mean, and how the graded ones are begun."""
    if chapter.topic is None or not EXERCISES.match(heading):
        return []
    graded = any(chunk.file == "exercises.py" for chunk in chapter.chunks)
    how = (f" A graded one has tests: `make start TOPIC={chapter.topic} EXERCISES=1` writes its stub, and "
           f"`make test TOPIC={chapter.topic} EXERCISES=1` grades it.") if graded else ""
    return ["", f"Marks: ● a few minutes, ●● an hour, ●●● an evening.{how}", ""]


def contents(book: Book, here: Chapter) -> list[str]:
    """What the book holds, by part: for the front page, from the front matter."""
    topics = [c for c in book.chapters if c.topic]
    hours = round(sum(int(c.meta.get("minutes") or 0) for c in topics) / 60)
    number = NUMBERS.get(len(topics), str(len(topics)))
    rows = [f"{number[:1].upper()}{number[1:]} {'topics' if len(topics) != 1 else 'topic'}, about {hours} hours "
            "of reading and writing:", ""]
    number_of = lambda c: f"{c.number} " if c.number and not is_unnumbered(c) else ""
    named = {c.path: f"{number_of(c)}{link_to(c, here)}" for c in book.chapters
             if c.path != here.path and c.anchor}
    for part, paths in parts(book):
        titles = " · ".join(named[path] for path in paths if path in named)
        rows += [f"- **{part}**: {titles}" if part else f"- {titles}"] if titles else []
    return ["", *rows, ""]


def parts(book: Book) -> list[tuple[str, list[str]]]:
    """The parts of `_quarto.yml` with their chapters; neighbours without a part are one without a name."""
    import yaml
    listed = yaml.safe_load((Path(book.root) / "_quarto.yml").read_text(encoding="utf-8"))["book"]
    found: list[tuple[str, list[str]]] = []
    for entry in listed.get("chapters") or []:
        if isinstance(entry, dict):
            found.append((str(entry.get("part", "")), list(entry.get("chapters") or [])))
        elif found and not found[-1][0]:
            found[-1][1].append(entry)
        else:
            found.append(("", [entry]))
    return [*found, ("Appendices", list(listed.get("appendices") or []))]


def reference(chapter: Chapter, here: Chapter) -> str:
    if not chapter.anchor:
        return f"chapter {chapter.number}"
    if is_unnumbered(chapter):                          # Quarto has no number to refer to
        return link_to(chapter, here)
    return f"@{chapter.anchor} ({chapter.title})"


def link_to(chapter: Chapter, here: Chapter) -> str:
    path = posixpath.relpath(chapter.path, posixpath.dirname(here.path) or ".")
    return f"[{chapter.title}]({path}#{chapter.anchor})"


def is_unnumbered(chapter: Chapter) -> bool:
    return bool(chapter.anchor) and ".unnumbered" in chapter.lines[chapter._title[2] - 1]


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
        inside = match[1].strip()
        if not re.fullmatch(r"[\w\s+*/^.()²³-]*", inside):
            return match[0]
        inside = re.sub(r"\b([A-Z])([a-z])\b", r"\1_\2", inside)             # Tq
        inside = PHRASE.sub(r"\\text{\g<0>}", inside)
        inside = inside.replace("²", "^2").replace("³", "^3").replace("*", r"\,")
        pieces = re.split(r"(\\text\{[^}]*\})", inside)
        pieces[::2] = [re.sub(r"(?<=[A-Za-z0-9)]) +(?=[A-Za-z0-9(])", r"\, ", piece) for piece in pieces[::2]]
        inside = re.sub(r"(?<=\}) (?=[A-Za-z0-9(\\])|(?<=[A-Za-z0-9)]) (?=\\text)", r"\, ", "".join(pieces))
        inside = re.sub(r"\blog\b(\\,)?", r"\\log", inside)
        return f"$O({inside})$"
    return ORDER.sub(tex, text)


def project(book: Book, pages: list[str]) -> dict[str, bytes]:
    """The woven project's `_quarto.yml`, its style for chunks, the bibliography."""
    import yaml
    root = Path(book.root)
    config = yaml.safe_load((root / "_quarto.yml").read_text(encoding="utf-8"))
    config["execute"] = {"enabled": False}
    config["filters"] = [FILTER]
    config.setdefault("project", {})["resources"] = [f"{KATEX}/**"]
    contents = config["book"]
    known = {c.path for c in book.chapters}
    contents["chapters"] = present(contents.get("chapters") or [], known)
    contents["appendices"] = [*present(contents.get("appendices") or [], known), *pages]
    html = config.setdefault("format", {}).setdefault("html", {}) or {}
    config["format"]["html"] = {**html, "theme": html.get("theme", "default"), "css": [CSS],
                                "grid": {"body-width": "900px"},
                                "html-math-method": {"method": "katex", "url": f"{KATEX}/"}}
    files = {"_quarto.yml": yaml.safe_dump(config, sort_keys=False, allow_unicode=True, width=110).encode()}
    files |= {name: (HERE / "quarto" / name).read_bytes() for name in (CSS, FILTER)}
    files |= {f"{KATEX}/{p.relative_to(VENDORED).as_posix()}": p.read_bytes()
              for p in sorted(VENDORED.rglob("*")) if p.is_file()}
    for name in [*as_list(config.get("bibliography")), *as_list(config.get("csl"))]:
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

