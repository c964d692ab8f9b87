"""The real Quarto, where it is installed: the command lines, and where their results go.

Facts of Quarto 1.10: `--to X` removes the other formats from its output folder unless `--no-clean` is given;
a book's PDF and EPUB are named after its title; the Typst format makes the PDF.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from scripts.errors import Problem
from scripts.typeset.book import EPUB, PDF

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
           only: str | None = None) -> None:
    """Run Quarto and put its results into `out`, named as the embedded typesetter names them."""
    environment = {"SOURCE_DATE_EPOCH": "946684800", **os.environ}
    for command in commands(program, project, formats, paper, only):
        done = subprocess.run(command, cwd=project, capture_output=True, text=True, env=environment)
        if done.returncode:
            said = [line for line in (done.stderr or done.stdout).strip().split("\n") if line.strip()]
            raise Problem("", 0, f"quarto render --to {command[4]} failed: " + "\n".join(said[-6:]))
    collect(project / "_book", out)


def collect(made: Path, out: Path) -> None:
    """Copy the site; the one PDF and the one EPUB get the book's file names."""
    shutil.copytree(made, out, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.pdf", "*.epub"))
    for pattern, name in (("*.pdf", PDF), ("*.epub", EPUB)):
        for file in sorted(made.glob(pattern))[-1:]:
            shutil.copyfile(file, out / name)
