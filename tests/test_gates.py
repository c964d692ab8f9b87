"""Each gate of `make check` is seen to fail on a planted defect."""

from __future__ import annotations

import importlib
import re
import shutil
from pathlib import Path

import pytest

from scripts import check
from scripts.gates import prose, records, results, runs, site, structure
from scripts.reading.chapters import read_book

ROOT = Path(__file__).resolve().parent.parent
CHAPTER = "chapters/00-prerequisites.qmd"
WRONG = "terms = np.exp(check.wide(x))\n"             # the pitfall forgot-the-shift


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A copy of the repository with topic 0 alone; `edit` changes its chapter and re-tangles."""
    def others(folder, names):
        return [n for n in names if n == "__pycache__" or (n[:1] == "t" and n[1:3].isdigit() and n[1:3] != "00")]
    for name in ("tangled", "golden"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=others)
    (tmp_path / "chapters").mkdir()
    shutil.copy(ROOT / CHAPTER, tmp_path / CHAPTER)
    for name in ("pyproject.toml", "references.bib"):
        shutil.copy(ROOT / name, tmp_path)
    preface = "# Preface {.unnumbered}\n\nAbout [@knuth1984literate].\n"
    (tmp_path / "index.qmd").write_text(preface, encoding="utf-8")
    (tmp_path / "_quarto.yml").write_text(
        "project:\n  type: book\nbook:\n  title: Small\n  chapters:\n    - index.qmd\n    - " + CHAPTER + "\n",
        encoding="utf-8")
    (tmp_path / "scripts").symlink_to(ROOT / "scripts")
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def edit(old: str, new: str, count: int = 1) -> None:
    text = Path(CHAPTER).read_text(encoding="utf-8")
    assert text.count(old) >= 1, f"{old!r} is not in the chapter"
    Path(CHAPTER).write_text(text.replace(old, new, count), encoding="utf-8")
    from scripts.tangle import tangle
    assert tangle(Path("."), [CHAPTER]) == 0


def offenders(gate) -> list[str]:
    found = gate(read_book(only=0))
    assert all(line.partition(":")[2].partition(":")[0].isdigit() for line in found), found
    return found


def test_every_gate_exists():
    """Each row of the table names a function that can be imported."""
    for name, (target, _) in check.GATES.items():
        module, function = target.split(":")
        assert callable(getattr(importlib.import_module(module), function)), name


def test_a_clean_chapter_passes(small):
    """The gates on text have nothing to say about the chapter as it is."""
    for gate in (structure.complete, structure.listed, structure.targets, structure.imports,
                 structure.docstrings, prose.figures, prose.numbers):
        assert offenders(gate) == [], gate.__name__


def test_exit_status_is_the_count(small, capsys):
    edit('.hint title="Hint 3', 'title="Hint 3')
    assert check.main(["--topic", "0", "--gate", "complete"]) == 1
    assert "1 offender" in capsys.readouterr().out


@pytest.mark.parametrize("old, new, said", [
    ('.hint title="Hint 3', 'title="Hint 3', "2 hints, expected 3"),
    ('file="tests/test_stress.py"', 'file="tests/test_more.py"', "nothing tangles to tests/test_stress.py"),
    ('pitfall="', 'data-pitfall="', "0 pitfalls, expected at least 3"),
])
def test_complete(small, old, new, said):
    text = Path(CHAPTER).read_text(encoding="utf-8")
    Path(CHAPTER).write_text(text.replace(old, new, -1 if "pitfall" in old else 1), encoding="utf-8")
    assert any(said in line for line in structure.complete(read_book_loosely()))


def read_book_loosely():
    """The book with the mistakes that tangle would have refused first."""
    from scripts.reading.chapters import Book, Chapter
    chapter = Chapter(CHAPTER, Path(CHAPTER).read_bytes())
    return Book(Path("."), [chapter], [chapter])


def test_complete_wants_golden_outputs(small):
    Path("golden/t00.npz").unlink()
    assert "no golden outputs" in offenders(structure.complete)[0]


def test_listed(small):
    Path("chapters/05-forgotten.qmd").write_text("# Forgotten\n", encoding="utf-8")
    assert offenders(structure.listed) == ["_quarto.yml:1: chapters/05-forgotten.qmd exists but is not listed"]


def test_targets(small):
    edit('api: "softmax(x)"', 'api: "softmax(x, axis=-1)"')
    assert "the code has softmax(x)" in offenders(structure.targets)[0]
    edit('api: "softmax(x, axis=-1)"', 'api: "soft(x)"')
    assert "no public soft " in offenders(structure.targets)[0]


@pytest.mark.parametrize("line, said", [
    ("import scipy", "imports scipy"), ("from torch import nn", "imports torch"),
    ("from tangled.t05_later import x", "imports tangled.t05_later"), ("SOLVE = np.linalg.lstsq", "lstsq")])
def test_imports(small, line, said):
    path = Path("tangled/t00_prerequisites/level2_vectorized.py")
    path.write_text(path.read_text(encoding="utf-8") + f"\n{line}\n", encoding="utf-8")
    assert any(said in found for found in structure.imports(read_book(only=0)))


def test_docstrings(small):
    edit("    x : ndarray of shape (..., C), floating point", "    x : array", 1)
    edit("    ndarray of shape (..., C), of the dtype of `x`\n        Positive", "    array\n        Positive", 1)
    assert "softmax gives no shapes" in offenders(structure.docstrings)[0]
    assert offenders(structure.docstrings)[0].startswith(CHAPTER)


@pytest.mark.parametrize("old, new, said", [
    ("#| fig-alt: \"Four strips", "#| fig-nothing: \"Four strips", "text alternative of 0"),
    ("@fig-00-views shows one block", "The figure shows one block", "nobody mentions @fig-00-views"),
    ("#| fig-cap: \"One block", "#| fig-nothing: \"One block", "no fig-cap")])
def test_figures(small, old, new, said):
    edit(old, new)
    assert any(said in line for line in offenders(prose.figures))


def test_numbers(small):
    edit("The loops lose by a factor", "Level 1 takes 31.5 ms. The loops lose by a factor")
    assert "'31.5 ms' is typed by hand" in offenders(prose.numbers)[0]


@pytest.mark.parametrize("sentence, caught", [
    ("Level 3 is faster than level 2.", True), ("It is a little slower, as we saw, than PyTorch.", True),
    ("It takes half of PyTorch's time.", True), ("Level 2 runs almost as fast as that.", True),
    ("A mask is many times slower.", True), ("BLAS does it faster than `sum` does.", True),
    ("It takes twice the memory that PyTorch does.", False), ("Level 3 is `{python} w` than level 2.", False),
    ("It grows faster than the number of pictures.", False), ("The second half of level 3 is shorter.", False),
    ("Level 3 is faster than level 2 [@harris2020array].", False), ("Suppose level 3 were faster than level 2.", False),
    ("Success is a step no slower than PyTorch's.", False), ("Twice the rows, twice the time.", False)])
def test_comparisons(small, sentence, caught):
    edit("The loops lose by a factor", f"{sentence} The loops lose by a factor")
    found = [line for line in offenders(prose.comparisons) if "typed by hand" in line]
    assert len(found) == caught, found


@pytest.fixture
def recorded(small, monkeypatch):
    """The small repository with its own folder of records, topic 0's in it."""
    from tangled import recording
    monkeypatch.setattr(recording, "HERE", small / "tangled")
    monkeypatch.setattr(recording, "FOLDER", small / "golden" / "records")
    (small / "README.md").write_text("<!-- bench:start -->\n<!-- bench:end -->\n", encoding="utf-8")
    refresh(recording)
    return small


def refresh(recording) -> None:
    """Give topic 0's record the hash of the code as it is, as a new measurement would."""
    from tangled.measuring import Measured, Row
    recording.store_ladders(0, [Measured("sum", [Row("level 3", 1.0, 0.5, 1, "")], "one thread")], keep=["sum"])
    recording.store_run(0, "train_x", values={"x": 1.0}, modules=["level1_naive"])


def test_records_that_are_stale(recorded):
    assert offenders(records.fresh) == []
    edit("total = sum(terms)", "total = math.fsum(terms)")
    found = offenders(records.fresh)
    assert len(found) == 2 and all("before level1_naive.py changed: " in line and CHAPTER in line for line in found)
    assert any("run: make bench TOPIC=0 ARGS=--record" in line for line in found)
    assert any("run: make train TOPIC=0 ONLY=train_x ARGS=--record" in line for line in found)


def test_records_outlive_docstrings(recorded):
    path = Path("tangled/t00_prerequisites/level1_naive.py")
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("total = sum(terms)", "total = sum(terms)     # a comment", 1), encoding="utf-8")
    assert offenders(records.fresh) == []


def test_records_are_wanted(recorded):
    from tangled.recording import path_of
    path_of(0).unlink()
    assert "t00.json has no ladders; run: make bench" in offenders(records.fresh)[0]


def test_readme_is_drawn_from_the_records(recorded):
    from scripts.recording.readme import draw
    assert "run: make bench ARGS=--readme" in records.readme(None)[0]
    draw(Path("."))
    assert records.readme(None) == [] and "| 0 | sum | - | - | 0.5x |" in Path("README.md").read_text("utf-8")


def test_programs_are_drawn_from_front_matter_and_records(recorded):
    from scripts.recording.readme import draw
    path, chapter = Path("README.md"), Path(CHAPTER)
    path.write_text(path.read_text("utf-8") + "<!-- programs:start -->\n<!-- programs:end -->\n", encoding="utf-8")
    text = chapter.read_text("utf-8").replace("topic: 0\n", "topic: 0\ntrain: [train_x, train_y]\n", 1)
    chapter.write_text(text, encoding="utf-8")
    for stem, said in (("train_x", "Sums: python -m tangled.x --help"), ("train_y", "Means. More of it.")):
        Path(f"tangled/t00_prerequisites/{stem}.py").write_text(f'"""{said}"""\n', encoding="utf-8")
    assert "the tables are not the records'" in records.readme(None)[0]
    draw(path.parent)
    text = path.read_text("utf-8")
    assert records.readme(None) == [] and "| `make train TOPIC=0 ONLY=train_y` | Means | - |" in text
    assert re.search(r"\| `make train TOPIC=0 ONLY=train_x` \| Sums \| (\d+ s|-) \|", text)


@pytest.mark.parametrize("source, said", [
    ("from tangled.measuring import measure\nmeasure(None)", "measures a ladder"),
    ("import time\nstart = time.perf_counter()", "reads the clock"),
    ("growth_exponent(f, (1, 2))", "measures time"), ("%timeit f()", "measures time"),
    ("from tangled.t00_prerequisites import train_x\ntrain_x.main([])", "runs a long program"),
    ("growth_exponent(f, (1, 2), measure='memory')", None), ("r.measured(3)", None), ("peak_memory(f)", None)])
def test_quiet(small, source, said):
    text = Path(CHAPTER).read_text(encoding="utf-8")
    Path(CHAPTER).write_text(text + f"\n```{{python}}\n{source}\n```\n", encoding="utf-8")
    line = text.count("\n") + 3 + source.count("\n")
    found = [each for each in records.quiet(read_book(only=0)) if f":{line}:" in each]
    assert len(found) == (said is not None) and all(said in each for each in found)


def test_inline_measurements_are_seen(small):
    edit("The loops lose by a factor", "They take `{python} measure(ladder)`. The loops lose by a factor")
    assert any("measures a ladder" in line for line in offenders(records.quiet))


@pytest.mark.parametrize("html, said", [
    ("<p>Level 3 takes (PyTorch is not installed here) of it.</p>", "not installed here"),
    ("<td>nan</td>", "nan"),
    ("<p>They differ by at most 0e+00.</p>", "by at most 0e+00"),
    ("<p>a</p>\n<p>It is not <em>x</em> not measured.</p>", "not measured"),
    ("<p>(Not run in this rendering.)</p>", "not run in this rendering"),
    ('<div class="code output"><pre><code>loss nan</code></pre></div>', None),
    ('<div class="code output"><pre><code>PyTorch: not installed here</code></pre></div>', "not installed here"),
    ("<p>If PyTorch is not installed, level 4 is skipped; <code>nan</code>, finance.</p>", None),
    ("<p>NaN in, NaN out; not measured in seconds.</p><script>x = 'nan'</script>", None),
    ('<div class="code"><pre><code>x == nan  # not measured</code></pre></div>', None),
    ('<span class="pitfall-name">Pitfall 25.5: row of nan</span>', None),
    ('<em><span class="nocase">all nan values, issue 7</span></em>', None),
    ("<span class='math'><annotation>nan</annotation></span>", None)])
def test_pages(small, monkeypatch, html, said):
    (small / "_book" / "chapters").mkdir(parents=True)
    (small / "_book" / "chapters" / "00-prerequisites.html").write_text(html, encoding="utf-8")
    monkeypatch.setattr(records, "rendered", lambda book: [])
    found = offenders(records.pages)
    assert len(found) == (said is not None) and all(repr(said).lower() in line.lower() for line in found)


def test_citations(small):
    edit("[@harris2020array]", "[@harris2021array]")
    found = prose.citations(read_book(only=0))
    assert any("@harris2021array is not in references.bib" in line for line in found)
    assert any("harris2020array is never cited" in line for line in found)


def plant(body: str) -> None:
    """Add a test to the chapter."""
    chunk = f'\n```{{.python file="tests/test_edge.py"}}\ndef test_planted(level):\n    {body}\n```\n'
    edit("## Pitfalls", chunk + "\n## Pitfalls")


def test_levels_sees_a_later_topic(small):
    """A test that leans on a later topic fails in the tree that ends at its own."""
    Path("tangled/t09_later").mkdir()
    Path("tangled/t09_later/__init__.py").write_text("", encoding="utf-8")
    plant("import tangled.t09_later")
    found = offenders(runs.levels)
    assert len(found) == 4 and all("test_planted" in line and CHAPTER in line for line in found)


def test_stubs_sees_a_test_that_cannot_fail(small):
    plant("assert level")
    found = offenders(runs.stubs)
    assert len(found) == 1 and "test_planted" in found[0] and "passes on the stub" in found[0]


def test_pitfalls_sees_one_that_no_test_catches(small):
    edit(WRONG, "terms = np.exp(check.wide(x) - check.wide(x).max(axis=-1, keepdims=True, initial=-np.inf))\n")
    assert any("no test catches pitfall 'forgot the shift'" in line for line in offenders(runs.pitfalls))


def test_pitfalls_refuses_one_that_cannot_be_loaded(small):
    """It would fail every test, and that would prove nothing."""
    edit(WRONG, WRONG + "import torch\n")
    assert any("cannot be loaded" in line and "torch" in line for line in offenders(runs.pitfalls))


def test_pitfalls_refuses_a_name_that_nobody_defines(small):
    """It would fail by NameError, whatever the mistake; behind a return it is never looked up."""
    edit(WRONG, "terms = np.exp(nowhere)\n")
    assert any("'forgot the shift' fails by a name that nobody defines: nowhere" in line
               for line in offenders(runs.pitfalls))


def test_pitfalls_wants_a_name(small):
    edit(' caught="test_broadcast_shape"', "")
    assert any("says of no test that it catches it" in line and "aligned at the left" in line
               for line in offenders(runs.pitfalls))


def test_pitfalls_that_end_the_process(small):
    """It is named, and the others are still tried."""
    edit(WRONG, WRONG + "import os\nos.kill(os.getpid(), 9)\n")
    found = offenders(runs.pitfalls)
    assert len(found) == 1 and "ends the process" in found[0] and "forgot the shift" in found[0]


def test_retangled(small):
    path = Path("tangled/t00_prerequisites/level1_naive.py")
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("total = sum(terms)", "total = 1"), encoding="utf-8")
    assert any("level1_naive.py" in line for line in results.retangled(read_book(only=0)))


def test_ruff(small):
    edit("import math\n\nimport numpy as np", "import math\nimport os\n\nimport numpy as np")
    found = results.ruff(read_book(only=0))
    assert any("F401" in line and CHAPTER in line for line in found), found


def test_golden(small, monkeypatch):
    monkeypatch.setattr("scripts.golden.ROOT", small)
    edit("yield Case(\"softmax\", {\"x\": x}", "yield Case(\"softmax2\", {\"x\": x}")
    assert any("make golden" in line for line in results.golden(read_book(only=0)))


@pytest.mark.parametrize("body, said", [
    ('<a href="gone.html">x</a>', "gone.html, which does not exist"),
    ('<a href="#nowhere">x</a>', "no such place"),
    ('<script src="https://example.org/x.js"></script>', "asks the network"),
    ('<img src="a.svg" alt="">', "a.svg"), ('<p id="a"></p><p id="a"></p>', "stands twice"),
    ('<img src="index.html">', "without a text alternative"),
    ('<p style="background: url(//example.org/x.png)"></p>', "asks the network")])
def test_links(tmp_path, body, said):
    (tmp_path / "index.html").write_text(f"<html><body>{body}</body></html>", encoding="utf-8")
    assert any(said in line for line in site.broken(tmp_path))


def test_good_links(tmp_path):
    links = '<a href="b.html#x">b</a> <a href="https://doi.org/1">d</a>'
    (tmp_path / "index.html").write_text(links, encoding="utf-8")
    (tmp_path / "b.html").write_text('<p id="x"><a href="./index.html">back</a></p>', encoding="utf-8")
    assert site.broken(tmp_path) == []


def test_formulas(small):
    """A command that one of the two typesetters does not know, at its line."""
    pytest.importorskip("py_mini_racer")
    edit("For $A$ of shape (n, k)", "For $\\nosuchcommand{A}$ of shape (n, k)")
    line = Path(CHAPTER).read_text(encoding="utf-8").split("nosuchcommand")[0].count("\n") + 1
    assert any(f"{CHAPTER}:{line}:" in found for found in results.formulas(read_book(only=0)))


def test_overfull(small, monkeypatch):
    """A line that runs past the margin of a page."""
    typst = pytest.importorskip("typst")
    Path("_book").mkdir()
    Path("wide.typ").write_text("#set page(width: 10cm, height: 5cm, margin: 2cm)\n#box(width: 30cm)["
                                + "unbreakable" * 12 + "]\n", encoding="utf-8")
    typst.compile("wide.typ", output="_book/book.pdf")
    monkeypatch.setattr(results, "rendered", lambda book: [])
    assert any("_book/book.pdf:1: text past the margin" in line for line in results.overfull(None))
