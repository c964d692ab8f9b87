"""The real Quarto, where it is installed: the command lines, and where their results go.

Facts of Quarto 1.10: `--to X` removes the other formats from its output folder unless `--no-clean` is given;
a book's PDF and EPUB are named after its title; the Typst format makes the PDF.
"""

from __future__ import annotations

import itertools
import re
import shutil
import subprocess
from pathlib import Path

from scripts.errors import Problem, Problems
from scripts.tools import environment, message
from scripts.typeset.book import EPUB, PDF

COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
ERROR, WARNING = re.compile(r"\s*(?:\[?ERROR\b|error\b)"), re.compile(r"\s*(?:\(?W\)|\[?WARN(?:ING)?\b|warning\b)")
MOST = 24                               # lines of a failure that are shown
TARGETS = {"html": "html", "pdf": "typst", "epub": "epub"}


def commands(program: str, project: Path, formats, paper: str = "a4",
             only: str | None = None) -> list[list[str]]:
    """One `quarto render` for each format, in an order in which none removes what another made.

    `only` is a chapter's path in the project.
    """
    target = str(Path(project) / only) if only else str(project)
    lines = []
    for format in (name for name in TARGETS if name in formats):
        extra = ["-M", f"papersize:{paper}"] if format == "pdf" else []
        lines.append([program, "render", target, "--to", TARGETS[format], "--no-clean", *extra])
    return lines


def render(program: str, project: Path, out: Path, formats, paper: str = "a4",
           only: str | None = None, said: list[str] | None = None) -> None:
    """Run Quarto and put its results into `out`, named as the embedded typesetter names them.

    A format that fails keeps no other from being made; all failures are raised at the end. Warnings go to `said`.
    """
    problems = []
    for command in commands(program, project, formats, paper, only):
        done = subprocess.run(command, cwd=project, capture_output=True, text=True, encoding="utf-8",
                              errors="replace", env={"SOURCE_DATE_EPOCH": "946684800", **environment()})
        text = f"{done.stderr}\n{done.stdout}"
        if done.returncode:
            what = failure(text) or f"exit status {done.returncode}"
            problems.append(Problem("", 0, f"quarto render --to {command[4]} failed: {what}"))
            continue
        if said is not None:
            said += [line for line in plain(text) if WARNING.match(line)]
        collect(Path(project) / "_book", out)
    if problems:
        raise Problems(problems)


def plain(text: str) -> list[str]:
    """The lines without colours."""
    return [line.rstrip() for line in COLOUR.sub("", text).split("\n") if line.strip()]


def failure(text: str) -> str:
    """What Quarto and Typst call errors, each with the lines that say where; else the last words."""
    lines, found = plain(message(COLOUR.sub("", text))), []
    for k, line in enumerate(lines):
        if ERROR.match(line):
            found += [row for row in [line, *context(lines[k + 1:])] if row not in found]
    return "\n".join(found[:MOST] or lines[-6:])


def context(lines: list[str]) -> list[str]:
    """The picture of the place that Typst draws below a message."""
    return list(itertools.takewhile(lambda line: re.match(r"\s*(?:[┌│=╭╰]|\d+ │|-->)", line), lines))


def collect(made: Path, out: Path) -> None:
    """Copy the site; the one PDF and the one EPUB get the book's file names."""
    shutil.copytree(made, out, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.pdf", "*.epub"))
    for pattern, name in (("*.pdf", PDF), ("*.epub", EPUB)):
        for file in sorted(made.glob(pattern))[-1:]:
            shutil.copyfile(file, out / name)
