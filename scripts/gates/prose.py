"""Gates on the text: figures with alternatives, measured numbers, citations."""

from __future__ import annotations

import re
from pathlib import Path

MEASURED = re.compile(
    r"(?<![\w.@-])\d+(?:[.,]\d+)?\s?(?:ms|µs|us|ns|seconds?|s|MB|MiB|GB|GiB|kB|KiB"
    r"|times (?:faster|slower|less|more)|[x×] (?:faster|slower)|(?:GF|GFLOP)/s|GFLOPS)(?![\w-])")
STATED = re.compile(r"\[@|\b[Ss]uppose\b|\bassum|\btime limit\b|\bat least\b|\bat most\b|\bbudget\b"
                    r"|\bper second\b")
CONTESTANT = r"(?:PyTorch|[Ll]evels? [1-4]|the loops|the default call)"
COMPARED = re.compile(
    rf"\b(?:faster|slower|quicker)\b[^.;:]{{0,60}}?\bthan\b[^.;:]{{0,40}}?(?:{CONTESTANT}|NumPy|BLAS|CODE)"
    r"|\b(?:several|many|\d+|two|three|four|five|ten) times (?:faster|slower|as fast)\b"
    rf"|{CONTESTANT}[^.;:]{{0,60}}?\b(?:is|are|runs?|comes?|becomes?)\b[^.;:]{{0,30}}?"
    r"\b(?:faster|slower|quicker|as fast)\b"
    rf"|\b(?:half|a third|a quarter|twice|three times|four times|ten times|\d+ times)\b[^.;:]{{0,40}}?{CONTESTANT}"
    rf"(?:'s)?[^.;:]{{0,12}}?\b(?:time|memory|speed)\b"
    rf"|\b(?:half|twice|times|nearly|almost|about|just) as (?:fast|slow|long|quick) as\b[^.;:]{{0,40}}?{CONTESTANT}"
    rf"|\b(?:beats?|outruns?|overtakes?)\b[^.;:]{{0,30}}?{CONTESTANT}")
GOAL = re.compile(STATED.pattern + r"|\bSuccess\b|\bshould\b|\bgoal\b")
SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z`$*@(])")
FENCE = re.compile(r"^\s*(`{3,}|~{3,})")
CITE = re.compile(r"(?<![\w`])-?@([A-Za-z][\w:.#$%&+?<>~/-]*[\w])")
REFERENCE = re.compile(r"^(fig|tbl|eq|sec|lst|thm|lem|cor|prp|def|exm|exr)-", re.I)


def prose_lines(text: str):
    """(line number, text) of what is neither front matter, code, mathematics nor comment."""
    fence, front, comment, display = None, text.startswith("---"), False, False
    for number, line in enumerate(text.split("\n"), 1):
        if front:
            front = not (number > 1 and line.strip() == "---")
            continue
        match = FENCE.match(line)
        if fence:
            if match and line.strip().startswith(fence) and not line.strip().strip(fence[0]):
                fence = None
            continue
        if match:
            fence = match[1]
            continue
        if comment or line.lstrip().startswith("<!--"):
            comment = "-->" not in line
            continue
        if line.count("$$") % 2:
            display = not display
            continue
        if not display and not line.lstrip().startswith("$$"):
            yield number, line


def figures(book) -> list[str]:
    """Each figure's `fig-alt`, and an `@fig-…` somewhere in the prose."""
    offenders = []
    for chapter in book.selected:
        prose = "\n".join(line for _, line in prose_lines(chapter.text))
        for cell in chapter.cells:
            label = str(cell.options.get("label", ""))
            if label.startswith("fig-"):
                offenders += [f"{chapter.path}:{cell.line}: figure {label}: {why}"
                              for why in judge_figure(label, cell.options, prose)]
        for match in re.finditer(r"^!\[([^\]]*)\]\([^)]*\)(\{[^}]*\})?", chapter.text, re.M):
            if "fig-alt" not in (match[2] or "") and not match[1]:
                line = chapter.text.count("\n", 0, match.start()) + 1
                offenders.append(f"{chapter.path}:{line}: a picture without a text alternative")
    return offenders


def judge_figure(label: str, options: dict, prose: str):
    alt, caption = str(options.get("fig-alt", "")), str(options.get("fig-cap", ""))
    if len(alt) < 30:
        yield f"text alternative of {len(alt)} characters, expected fig-alt with what the picture shows"
    if not caption:
        yield "no fig-cap"
    if not re.search(rf"@{re.escape(label)}(?![\w-])", prose):
        yield f"nobody mentions @{label}"


def numbers(book) -> list[str]:
    """A measurement typed by hand: a number with a unit of time, memory or speed that is no cited fact."""
    offenders = []
    for chapter in book.selected:
        if chapter.topic is None:
            continue
        for number, line in prose_lines(chapter.text):
            bare = re.sub(r"`[^`]*`|\$[^$]*\$", "", line)
            match = MEASURED.search(bare)
            if match and not STATED.search(line):
                offenders.append(f"{chapter.path}:{number}: {match[0]!r} is typed by hand; measure it in a "
                                 "cell (`{python} …`), cite it, or state it as an assumption")
    return offenders


def comparisons(book) -> list[str]:
    """A comparison of contestants in words, in a sentence without a number or word of the record."""
    offenders = []
    for chapter in book.selected:
        for number, line in prose_lines(chapter.text):
            for sentence in SENTENCE.split(line) if chapter.topic is not None else ():
                match = COMPARED.search(re.sub(r"`[^`]*`", "CODE", sentence))
                if match and "`{python}" not in sentence and not GOAL.search(sentence):
                    offenders.append(f"{chapter.path}:{number}: {match[0]!r} is typed by hand; expected a record's "
                                     "word or number: `{python} says(\"faster\", a, b)`")
    return offenders


def citations(book) -> list[str]:
    """Every `@key` is in references.bib; every entry is cited."""
    text = Path("references.bib").read_text(encoding="utf-8")
    known = {match[1]: text.count("\n", 0, match.start()) + 1
             for match in re.finditer(r"@\w+\{([^,\s]+),", text)}
    cited, offenders = set(), []
    for path in [Path("index.qmd"), *sorted(Path("chapters").glob("*.qmd"))]:
        for number, line in prose_lines(path.read_text(encoding="utf-8")):
            bare = re.sub(r"`[^`]*`", "", line)
            for key in CITE.findall(bare):
                if REFERENCE.match(key):
                    continue
                cited.add(key)
                if key not in known:
                    offenders.append(f"{path.as_posix()}:{number}: @{key} is not in references.bib")
    return offenders + [f"references.bib:{line}: {key} is never cited"
                        for key, line in known.items() if key not in cited]
