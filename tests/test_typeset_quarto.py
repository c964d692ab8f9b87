"""The real Quarto: its command lines, tried with a stand-in for the program."""

from __future__ import annotations

import stat
import sys

import pytest

from scripts.errors import Problem
from scripts.typeset import PDF
from scripts.typeset.quarto import commands, render

STAND_IN = f"""#!{sys.executable}
import pathlib, sys
project = pathlib.Path.cwd()
(project / "calls").open("a").write(" ".join(sys.argv[1:]) + "\\n")
if "epub" in sys.argv:
    sys.exit("no EPUB today")
(project / "_book" / "chapters").mkdir(parents=True, exist_ok=True)
if "html" in sys.argv:
    (project / "_book" / "index.html").write_text("<p>site</p>")
else:
    (project / "_book" / "Deep-Learning-from-Scratch.pdf").write_text("pdf")
"""


def test_one_command_for_each_format(tmp_path):
    lines = commands("quarto", tmp_path, ("pdf", "html"), "us-letter")
    assert lines == [
        ["quarto", "render", str(tmp_path), "--to", "html", "--no-clean"],
        ["quarto", "render", str(tmp_path), "--to", "typst", "--no-clean", "-M", "papersize:us-letter"],
    ]


def test_one_chapter(tmp_path):
    (line,) = commands("quarto", tmp_path, ("html",), only="chapters/27-x.qmd")
    assert line[2] == str(tmp_path / "chapters" / "27-x.qmd")


@pytest.fixture
def quarto(tmp_path):
    program = tmp_path / "quarto"
    program.write_text(STAND_IN, encoding="utf-8")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    (tmp_path / "book").mkdir()
    return str(program)


def test_results_have_the_book_s_names(tmp_path, quarto):
    render(quarto, tmp_path / "book", tmp_path / "_book", ("html", "pdf"))
    assert (tmp_path / "_book" / "index.html").is_file() and (tmp_path / "_book" / PDF).read_text() == "pdf"
    assert len((tmp_path / "book" / "calls").read_text().splitlines()) == 2


def test_a_failure_is_a_problem(tmp_path, quarto):
    with pytest.raises(Problem, match="quarto render --to epub failed: no EPUB today"):
        render(quarto, tmp_path / "book", tmp_path / "_book", ("epub",))
