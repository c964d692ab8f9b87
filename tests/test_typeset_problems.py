"""What is wrong with a chapter is said in one line each, all at once, with the place where it stands."""

from __future__ import annotations

import json

import pytest
from typeset_sample import ZERO, write_sample

from scripts.errors import Problem, Problems
from scripts.typeset import pandoc, typeset

PATH = "chapters/00-prerequisites.qmd"
BAD = """
See @fig-nothing and @eq-00-maen, [a link](#sec-00-whta), [a page](99-nowhere.qmd), and [@su2012].

![There is no such file](figures/none.svg){fig-alt="none"}

$$ \\color{red}{x} $$ {#eq-00-red}

## Again {#sec-00-what}

Raw <kbd>x</kbd>, and ![far](https://example.org/x.png).
"""
FOUND = [
    (16, "@eq-00-maen refers to nothing; expected a label of the book; did you mean @eq-00-mean?"),
    (16, "@fig-nothing refers to nothing; expected a label of the book"),
    (16, "@su2012 is not known; did you mean @su2021?"),
    (
        16,
        "the link '#sec-00-whta' leads nowhere; expected a chapter or an id of the book; "
        "did you mean #sec-00-what?",
    ),
    (16, "the link '99-nowhere.qmd' leads nowhere; expected a chapter or an id of the book"),
    (18, "the image 'figures/none.svg' is not there"),
    (20, "formula: \\color is not in the checked subset of TeX (in \\color{red}{x})"),
    (22, "the id 'sec-00-what' is used twice in this chapter"),
    (24, "raw html is not set in every format: '<kbd>'"),
    (24, "raw html is not set in every format: '</kbd>'"),
    (24, "the image 'https://example.org/x.png' would be loaded from the network; expected a file"),
]


def problems(tmp_path, **changes) -> list[str]:
    project = write_sample(tmp_path / "build" / "book", **changes)
    with pytest.raises(Problems) as caught:
        typeset(project, tmp_path / "_book", ("html",))
    return caught.value.problems


def test_all_at_once_with_their_lines(tmp_path):
    found = problems(tmp_path, **{"00_prerequisites": ZERO + BAD})
    shift = len(ZERO.rstrip("\n").split("\n")) + 2 - 16
    expected = {f"{PATH}:{line + shift}: {message}" for line, message in FOUND}
    assert set(found) == expected
    assert not (tmp_path / "_book" / "index.html").exists()


def test_lines_come_from_the_woven_map(tmp_path):
    project = write_sample(tmp_path / "build" / "book", **{"00_prerequisites": ZERO + "\n@fig-nothing\n"})
    count = len((project / PATH).read_text(encoding="utf-8").split("\n"))
    (project / "lines.json").write_text(json.dumps({PATH: [500 + k for k in range(count)]}), encoding="utf-8")
    with pytest.raises(Problems, match=r"00-prerequisites\.qmd:5\d\d: @fig-nothing"):
        typeset(project, tmp_path / "_book", ("html",))


def test_a_label_in_two_chapters(tmp_path):
    text = "# Testing {#sec-testing}\n\n## Views {#sec-01-views}\n"
    found = problems(tmp_path, a_testing=text)
    assert (
        "chapters/a-testing.qmd:3: the label 'sec-01-views' is also in chapters/01-tensor-operations.qmd"
        in found
    )


@pytest.mark.parametrize(
    "change, message",
    [
        ({"_quarto": "book: [\n"}, "_quarto.yml:.*not YAML"),
        ({"00_prerequisites": "---\na: [\n---\n# X\n"}, r"00-prerequisites.qmd:\d.*front matter is not YAML"),
        ({"_quarto": "book: {chapters: [none.qmd]}\n"}, "none.qmd is listed and not there"),
    ],
)
def test_broken_project_files(tmp_path, change, message):
    with pytest.raises(Problem, match=message):
        typeset(write_sample(tmp_path / "build" / "book", **change), tmp_path / "_book", ("html",))


def test_wrong_arguments(tmp_path):
    project = write_sample(tmp_path / "build" / "book")
    with pytest.raises(Problem, match=r"no chapter .99. in the book; there are 0, 1, 27, A"):
        typeset(project, tmp_path / "_book", ("html",), only="99")
    with pytest.raises(Problem, match="unknown format 'docx'"):
        typeset(project, tmp_path / "_book", ("docx",))
    with pytest.raises(Problem, match=r"no _quarto\.yml"):
        typeset(tmp_path, tmp_path / "_book", ("html",))


def test_the_second_run_reads_only_what_changed(tmp_path, monkeypatch):
    project = write_sample(tmp_path / "build" / "book")
    typeset(project, tmp_path / "_book", ("html",))
    calls = []
    real = pandoc.run
    monkeypatch.setattr(pandoc, "run", lambda *args: calls.append(args) or real(*args))
    typeset(project, tmp_path / "_book", ("html",))
    assert calls == []
    file = project / PATH
    file.write_text(file.read_text(encoding="utf-8") + "\nMore prose.\n", encoding="utf-8")
    typeset(project, tmp_path / "_book", ("html",))
    assert len(calls) == 1
    assert "More prose." in (tmp_path / "_book" / PATH.replace(".qmd", ".html")).read_text(encoding="utf-8")


def test_a_damaged_memory_is_forgotten(tmp_path):
    project = write_sample(tmp_path / "build" / "book")
    memory = tmp_path / "build" / "book-typeset" / "memo.sqlite"
    memory.parent.mkdir(parents=True)
    memory.write_bytes(b"not a database" * 100)
    typeset(project, tmp_path / "_book", ("html",))
    assert (tmp_path / "_book" / "index.html").is_file()


def test_a_number_and_its_percent_sign_stay_together():
    from scripts.typeset.memo import Memo
    from scripts.typeset.pandoc import read_all
    [paragraph], = read_all(["Of 100.0 % and 3 more, a %."], Memo())
    texts = [node.get("c") for node in paragraph["c"]]
    assert texts[2:5] == ["100.0", "\u00a0", "%"] and texts.count("\u00a0") == 1
