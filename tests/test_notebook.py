"""A chapter as a notebook: valid, readable without Quarto, and it runs from anywhere."""

from __future__ import annotations

import nbformat
import pytest
from small_book import edit, make, tangled

from scripts.errors import Problem
from scripts.notebook import build, main
from scripts.reading.chapters import read_book
from scripts.weaving.softened import Names, Softener, works


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = make(tmp_path_factory.mktemp("book"))
    edit(root / "chapters/01-sums.qmd", "@fig-01-line shows",
         "::: {.callout-note collapse=\"true\" title=\"Answer\"}\n"
         "See @tbl-02-two, [@knuth1984literate, p. 3] and [the tools](a-tools.qmd).\n:::\n\n"
         "::: {.callout-warning title=\"Beware\"}\nOf `@this`.\n\nAnd that.\n:::\n\n@fig-01-line shows")
    tangled(root)
    return root


@pytest.fixture(scope="module")
def notebook(root):
    book = read_book(root)
    return build(book, book.chapters[1])


@pytest.fixture(scope="module")
def prose(notebook):
    return "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def test_it_is_a_notebook(notebook):
    nbformat.validate(notebook)
    assert [c.cell_type for c in notebook.cells] == ["code", "markdown", "code", "markdown"]
    assert notebook.cells[2].source.startswith("import matplotlib.pyplot as plt\nfrom tangled.t01_sums")


def test_quarto_is_softened(prose):
    assert "# Sums\n" in prose and "{#" not in prose and ":::" not in prose
    assert r"$$s = \sum_i x_i \tag{1.1}$$" in prose
    assert "<details><summary>Hint 1 (shapes)</summary>\n\nThink of `total`:" in prose
    assert "See Table 2.2, (Knuth 1984, p. 3) and the tools.\n\n</details>" in prose
    assert "> **Beware.**\n>\n> Of `@this`.\n>\n> And that." in prose
    assert "*Figure 1.1.* A line, of course." in prose
    assert "Figure 1.1 shows `total([1.0, 2.0])` and `\"two\"`" in prose, "not rendered yet: the code itself"


def test_chunks_are_shown(prose):
    assert '⟨Add one by one⟩ `level1_naive.py`\n\n```python\ndef total(x):\n' in prose
    assert "⟨Run over the *entries*⟩ continued\n\n```python\ns = float(s)\n```" in prose
    assert "# eq. 1.1\n" in prose
    assert "*Pitfall: forgot the last* (in place of ⟨Run over the *entries*⟩)" in prose


def execute(path, folder):
    """Run a notebook as if it lay in a folder."""
    from nbclient import NotebookClient
    made = nbformat.read(path, 4)
    NotebookClient(made, timeout=60, resources={"metadata": {"path": str(folder)}}).execute()
    return made


def test_it_runs_from_anywhere_in_the_clone(root, capsys):
    """Both notebooks, one of which holds a cell that is meant to fail; moved with the clone as well"""
    assert main(["--root", str(root), "--topic", "1", "--topic", "2"]) == 0
    paths = capsys.readouterr().out.split()
    assert paths == ["build/notebooks/01-sums.ipynb", "build/notebooks/02-means.ipynb"]
    (root / "notes").mkdir()
    for path in paths:
        assert str(root) not in (root / path).read_text(encoding="utf-8"), "no path of this machine"
        made = execute(root / path, root / "notes")
        printed = [o.text for c in made.cells for o in c.get("outputs", []) if o.output_type == "stream"]
        assert "01" not in path or printed == ["total 3.0\n"]
    assert made.cells[-1].outputs[0]["ename"] == "ZeroDivisionError"


def test_elsewhere_it_says_where_it_belongs(root, tmp_path, monkeypatch):
    from nbclient.exceptions import CellExecutionError
    assert main(["--root", str(root), "--topic", "1"]) == 0
    path = root / "build/notebooks/01-sums.ipynb"
    monkeypatch.delenv("TANGLED_HOME", raising=False)
    with pytest.raises(CellExecutionError, match="is not in the book's folder: put this notebook somewhere below it"):
        execute(path, tmp_path)
    monkeypatch.setenv("TANGLED_HOME", str(root))
    assert execute(path, tmp_path)


def test_which_chapter(root):
    with pytest.raises(Problem, match="which chapter"):
        main(["--root", str(root)])
    with pytest.raises(Problem, match="no topic 9"):
        main(["--root", str(root), "--topic", "9"])


def test_references(root):
    book = read_book(root)
    softener = Softener(book.chapters[1], Names(book))
    assert softener.references("By @eq-01-sum, @sec-sums and @knuth1984literate; me@home.org.") == (
        'By Equation (1.1), "Sums" and Knuth (1984); me@home.org.')
    assert works(root / "references.bib") == {"knuth1984literate": ("Knuth", "1984")}
    assert works(root / "none.bib") == {}
