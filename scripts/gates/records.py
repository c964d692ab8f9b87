"""Gates on what was measured: records are fresh, pages quote them, rendering measures nothing."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from scripts.gates.results import SITE, rendered
from scripts.reading.prose import classify, inline_cells

TIMERS = {"measure": "measures a ladder", "time_ratio": "measures time", "growth_exponent": "measures time",
          "rounds_of": "measures time", "seconds_a_call": "measures time", "perf_counter": "reads the clock",
          "process_time": "reads the clock", "timeit": "reads the clock"}
EXCUSES = (r"(?i:not installed here|not measured\b(?! (?:by|in|with|against))"
           r"|by (?:at most )?0(?:\.0*)?e\+00|not run in this rendering)|(?<!\w)None of PyTorch")
NAN = r"(?<![\w.*])[+-]?nan(?![\w*])"                      # what a cell prints may be one, on purpose
SILENT = re.compile(r"<(script|style|math|annotation|svg|code)\b.*?</\1>"
                    r'|<span class="(?:pitfall-name|nocase)">.*?</span>', re.S)        # names, titles of other people's
PRINTED = re.compile(r'<div class="code output">.*?</div>', re.S)


def fresh(book) -> list[str]:
    """Every ladder and run was made by the code as it is."""
    return [f"{chapter.path}:{line}: {why}" for chapter in book.selected for line, why in judge(chapter)]


def judge(chapter):
    """(line, what is wrong) for one chapter's record."""
    from tangled.recording import changed, path_of, read
    topic = Path(chapter.path).name.partition("-")[0] if chapter.topic is None else chapter.topic
    line, found = benchmark_line(chapter), read(topic)
    if line and not found["ladders"]:
        yield line, f"golden/records/{path_of(topic).name} has no ladders; run: make bench TOPIC={topic} ARGS=--record"
    stale: dict[tuple, list[str]] = {}
    judged = {key: changed(topic, by) for key, by in found["by"].items()}
    for kind in ("ladders", "runs"):
        for name, entry in found[kind].items():
            files = judged[entry["by"]]
            if files:
                stale.setdefault((", ".join(files), command(kind, topic, name)), []).append(name)
    for (files, again), names in stale.items():
        yield line or 1, f"recorded before {files} changed: {'; '.join(names)}; run: {again}"


def command(kind: str, topic, name: str) -> str:
    """What renews a ladder or a run."""
    if kind == "ladders" or name == "asides":
        return f"make bench TOPIC={topic} ARGS=--record"
    if isinstance(topic, int):
        return f"make train TOPIC={topic} ONLY={name} ARGS=--record"
    return f"python -m tangled.{name} --record"


def benchmark_line(chapter) -> int:
    """Where the chapter's ladders are defined; 0 if it has none."""
    target = f"tangled/{chapter.package}/benchmark.py"
    return next((chunk.line for chunk in chapter.chunks if chunk.target == target), 0)


def quiet(book) -> list[str]:
    """No cell measures or trains: that is what records are for."""
    offenders = []
    for chapter in book.selected:
        for line, why in measuring_cells(chapter):
            offenders.append(f"{chapter.path}:{line}: this cell {why}; a page quotes the record "
                             f"(tangled.records, see appendix A)")
    return offenders


def measuring_cells(chapter):
    """(line, what it does) of each call that measures or runs a program."""
    kinds = classify(chapter)
    sources = [(cell.first, cell.source) for cell in chapter.cells]
    sources += [(n, text) for n, line in enumerate(chapter.lines, 1) if kinds[n - 1] != "hidden"
                for text in inline_cells(line)]
    for first, source in sources:
        try:
            tree = ast.parse(source)
        except SyntaxError:                                   # IPython's magics
            if re.search(r"^\s*%+(?:timeit|time)\b", source, re.M):
                yield first, "measures time"
            continue
        programs = set(re.findall(r"\btrain_\w+", source))
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                name = called(node.func)
                counts = any(k.arg == "measure" and ast.unparse(k.value) == "'memory'" for k in node.keywords)
                if name.rpartition(".")[2] in TIMERS and not counts:
                    yield first + node.lineno - 1, TIMERS[name.rpartition(".")[2]]
                elif name.endswith("main") and name.rpartition(".")[0] in programs:
                    yield first + node.lineno - 1, "runs a long program"


def called(function: ast.expr) -> str:
    """`time.perf_counter`, of the call of it."""
    if isinstance(function, ast.Attribute):
        return f"{called(function.value)}.{function.attr}".lstrip(".")
    return function.id if isinstance(function, ast.Name) else ""


def pages(book) -> list[str]:
    """No finished page excuses itself for a number that it does not have."""
    bad = rendered(book)
    names = {f"{Path(chapter.path).stem}.html" for chapter in book.selected}
    for path in [] if bad else sorted(SITE.rglob("*.html")):
        if path.name in names or len(names) == len(book.chapters):
            bad += [f"{path}:{line}: the page says {text!r}; expected a number of the record"
                    for line, text in excuses(path.read_text(encoding="utf-8"))]
    return bad


def excuses(html: str):
    """(line, phrase) of each fallback in the running text, tables and printed outputs of a page."""
    printed = [(html.count("\n", 0, match.start()), match[0]) for match in PRINTED.finditer(html)]
    text = SILENT.sub(lambda match: "\n" * match[0].count("\n"), html)
    for start, part, pattern in [(0, text, f"{EXCUSES}|{NAN}"), *((n, part, EXCUSES) for n, part in printed)]:
        for number, line in enumerate(part.split("\n"), start + 1):
            for match in re.finditer(pattern, re.sub(r"<[^>]*>", " ", line)):
                yield number, match[0]


def readme(book) -> list[str]:
    """README.md's tables are the records'."""
    from scripts.recording.readme import START, drawn, readme_text
    text = readme_text(Path("."))
    if drawn(text, Path(".")) == text:
        return []
    line = text.count("\n", 0, text.index(START)) + 1
    return [f"README.md:{line}: the tables are not the records'; run: make bench ARGS=--readme"]
