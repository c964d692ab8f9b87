"""Gates on what the tools make: the tangled package, golden outputs, formulas, the finished book."""

from __future__ import annotations

import contextlib
import io
import re
import subprocess
import sys
from pathlib import Path

from scripts.gates import passed, site
from scripts.gates.structure import place

SITE = Path("_book")
_RENDERED: dict[Path, list[str]] = {}     # root -> what the one rendering of this run complained about


def said_by(function, *arguments) -> tuple[int, list[str]]:
    """The exit status of a verb, and the lines that it printed."""
    from scripts.errors import Problem, Problems
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        try:
            status = function(*arguments) or 0
        except (Problem, Problems) as mistake:
            status = 1
            print(mistake)
    return status, [line for line in out.getvalue().split("\n") if line.strip()]


def retangled(book) -> list[str]:
    """What `tangle --check` says."""
    from scripts.tangle import main
    only = [] if book.selected == book.chapters else ["--only", *(chapter.path for chapter in book.selected)]
    status, lines = said_by(main, ["--check", *only])
    return [re.sub(r"^([^\s:]+\.\w+): ", r"\1:1: ", line) for line in lines] if status else []


def ruff(book) -> list[str]:
    """Ruff on the repository; generated files are reported at their chapter's line."""
    command = [sys.executable, "-m", "ruff", "check", "--no-cache", "--output-format", "concise", "."]
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode not in (0, 1):
        return [f"pyproject.toml:1: ruff: {run.stderr.strip()}"]
    found = re.findall(r"^(\S+?):(\d+):\d+: (.*)$", run.stdout, re.M)
    return [f"{place(path, int(line))}: {text}" for path, line, text in found]


def golden(book) -> list[str]:
    """What `golden --check` says."""
    from scripts.golden import main

    def judged() -> list[str]:
        status, lines = said_by(main, ["--check"])
        return lines if status else []
    made_of = passed.contents(["golden", "tangled", "scripts/golden.py", "scripts/grading/golden_file.py"])
    return unless_passed("golden", judged, passed.digest([made_of, passed.machine()]))


def formulas(book) -> list[str]:
    """Every formula of the chapters, in KaTeX and in Typst."""
    from scripts.typeset import formula_problems
    return [str(problem) for problem in formula_problems(book)]


def rendered(book) -> list[str]:
    """Renders the book, once for all gates and not at all if nothing has changed; what it complains about."""
    root = Path.cwd()
    if root not in _RENDERED and not passed.before("rendered", "book", passed.book_key()):
        from scripts.render import main
        status, lines = said_by(main, ["--engine", "embedded"])
        bad = [line for line in lines if re.match(r"\S+:\d+: ", line)] or lines[-3:] if status else []
        _RENDERED[root] = bad
        if not bad:
            passed.remember("rendered", "book", passed.book_key())
    return list(_RENDERED.get(root, []))


def links(book) -> list[str]:
    """The finished site: every link lands, nothing comes from the network."""
    return rendered(book) or unless_passed("links", lambda: site.broken(SITE))


def overfull(book) -> list[str]:
    """The finished PDF: no text past the margins."""
    from scripts.typeset import overfull as past_the_margin
    bad, pdfs = rendered(book), sorted(SITE.glob("*.pdf"))
    if not pdfs:
        return [*bad, f"{SITE}:1: no PDF"]
    return bad + unless_passed("overfull", lambda: [
        f"{pdf}:{page}: text past the margin: {text!r}" for pdf in pdfs for page, text in past_the_margin(pdf)])


def unless_passed(gate: str, function, key: str = "") -> list[str]:
    """What a gate on the finished book (or what `key` stands for) says; nothing if it said nothing of just this."""
    key = key or passed.book_key()
    if passed.before(gate, "book", key):
        return []
    bad = function()
    if not bad:
        passed.remember(gate, "book", key)
    return bad
