"""`make check`: every gate, in order. A gate returns its offenders as `file:line: text`.

Two take an hour or more for the whole book, and of what they see most is held by others: they run only by name.
"""

from __future__ import annotations

import argparse
import importlib
import time
from pathlib import Path

from scripts.reading.chapters import read_book

GATES = {  # name: (function, what it promises)
    "retangled": ("scripts.gates.results:retangled", "re-tangling changes nothing"),
    "complete": ("scripts.gates.structure:complete", "every topic has its files, hints, pitfalls and levels"),
    "shown": ("scripts.gates.shown:shown", "what the page shows as chunks is what was tangled"),
    "form": ("scripts.gates.form:form", "the skeleton's headings, a picture before the mathematics"),
    "references": ("scripts.gates.form:references", "no reference to a section that is not there"),
    "graded": ("scripts.gates.structure:graded", "two graded exercises a chapter, one of them hard"),
    "interviews": ("scripts.gates.interviews:interviews", "each chapter names tasks for an interview"),
    "listed": ("scripts.gates.structure:listed", "_quarto.yml names the chapters there are"),
    "targets": ("scripts.gates.structure:targets", "the front matter's API is the code's API"),
    "imports": ("scripts.gates.structure:imports", "levels 1-3 import only what they may"),
    "docstrings": ("scripts.gates.structure:docstrings", "public docstrings give shapes"),
    "figures": ("scripts.gates.prose:figures", "every figure has a text alternative and is mentioned"),
    "numbers": ("scripts.gates.prose:numbers", "measured numbers in prose come from executed cells"),
    "comparisons": ("scripts.gates.prose:comparisons", "comparisons in words come from records"),
    "records": ("scripts.gates.records:fresh", "every record was made by the code as it is"),
    "quiet": ("scripts.gates.records:quiet", "rendering measures nothing"),
    "readme": ("scripts.gates.records:readme", "README's table is the records'"),
    "citations": ("scripts.gates.prose:citations", "citations and references.bib agree"),
    "ruff": ("scripts.gates.results:ruff", "ruff has nothing to say"),
    "golden": ("scripts.gates.results:golden", "golden outputs match their manifest and level 4"),
    "formulas": ("scripts.gates.results:formulas", "every formula typesets in both outputs"),
    "links": ("scripts.gates.results:links", "no broken link or reference, nothing asked of the network"),
    "pages": ("scripts.gates.records:pages", "no page excuses itself for a number it does not have"),
    "overfull": ("scripts.gates.results:overfull", "no text past the margins of the PDF"),
    "levels": ("scripts.gates.runs:levels", "tests pass on every level, with only topics up to their own"),
    "stubs": ("scripts.gates.runs:stubs", "every test fails on the stub"),
    "hidden": ("scripts.gates.interviews:hidden", "an interview's hidden tests: level 2 passes all, a blank page none"),
    "pitfalls": ("scripts.gates.runs:pitfalls", "every pitfall fails a test that it names"),
    "browser": ("scripts.gates.browser:exercises", "level 2 passes in its page, every pitfall is named there"),
}
BY_NAME = ("hidden", "browser")


def run_gate(name: str, book) -> list[str]:
    """The offenders of one gate, sorted by place."""
    module, function = GATES[name][0].split(":")
    return sorted(getattr(importlib.import_module(module), function)(book))


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="make check", description=__doc__.split("\n")[0])
    parser.add_argument("--gate", action="append", choices=GATES,
                        help=f"only this gate (may be repeated); {' and '.join(BY_NAME)} run only so")
    parser.add_argument("--topic", type=int, help="only this topic's chapter")
    options = parser.parse_args(argv)
    book = read_book(Path("."), only=options.topic)
    count = 0
    for name in options.gate or [name for name in GATES if name not in BY_NAME]:
        start = time.perf_counter()
        offenders = run_gate(name, book)
        verdict = f"{len(offenders)} offender{'s' * (len(offenders) != 1)}" if offenders else "ok"
        print(f"{name:11s} {GATES[name][1]:66s} {verdict} ({time.perf_counter() - start:.1f} s)", flush=True)
        for line in offenders:
            print(f"  {line}")
        count += len(offenders)
    print(f"{count} offender{'s' * (count != 1)}")
    return min(count, 125)

