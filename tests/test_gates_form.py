"""Gates on form and references, and the memory of what passed before."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scripts import check
from scripts.gates import form, passed, runs
from scripts.reading.chapters import read_book
from tests.books import GOOD, chunk, head, make_book, tangle

CHAPTER = "chapters/27-x.qmd"
FIGURE = "```{python}\n#| label: fig-27-a\n#| fig-cap: \"A.\"\nplot()\n```\n\n"
NAMES = ("problem", "mathematics", "try", "code", "tests", "pitfalls", "questions")


def skeleton(names=NAMES, before: str = FIGURE) -> str:
    text = ""
    for name in names:
        text += (before if name == "mathematics" else "") + f"## About {name} {{#sec-27-{name}}}\n\nProse.\n\n"
    return head() + text


def offenders(root: Path, gate, text: str) -> list[str]:
    make_book(root, text)
    return gate(read_book(root))


def test_the_form_is_kept(tmp_path):
    assert offenders(tmp_path, form.form, skeleton()) == []


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_heading(tmp_path, name):
    found = offenders(tmp_path, form.form, skeleton([n for n in NAMES if n != name]))
    assert found[0] == f"{CHAPTER}:1: no heading {{#sec-27-{name}}}"


def test_headings_in_another_order(tmp_path):
    found = offenders(tmp_path, form.form, skeleton([*NAMES[:5], "questions", "pitfalls"]))
    assert len(found) == 1 and "sec-27-questions stands before sec-27-pitfalls" in found[0]


def test_no_picture_before_the_mathematics(tmp_path):
    found = offenders(tmp_path, form.form, skeleton(before="") + FIGURE)
    assert len(found) == 1 and "no figure before the mathematics" in found[0]
    image = "![A picture.](a.svg){#fig-27-b}\n\n"
    assert offenders(tmp_path, form.form, skeleton(before=image)) == []


def test_a_heading_in_code_does_not_count(tmp_path):
    text = skeleton(NAMES[:-1]) + "```markdown\n## Questions {#sec-27-questions}\n```\n"
    assert "#sec-27-questions" in offenders(tmp_path, form.form, text)[0]


@pytest.mark.parametrize("text, line, said", [
    ("::: {.callout-tip}\nA.\n:::\n\n:::\n", 5, "closes nothing"),
    ("::: {.content-visible when-format=\"html\"}\nA.\n\n::: {.callout-tip}\nB.\n:::\n", 1, "is never closed"),
    ("```markdown\n:::\n```\n\n:::: {.a}\n::: {.b}\nA.\n:::\n::::\n", None, "")])
def test_every_div_has_its_end(tmp_path, text, line, said):
    before = skeleton()
    found = offenders(tmp_path, form.form, before + text)
    if line is None:
        assert found == []
    else:
        assert len(found) == 1 and said in found[0]
        assert found[0].startswith(f"{CHAPTER}:{before.count(chr(10)) + line}: ")


def test_references(tmp_path):
    text = skeleton() + "See @sec-27-try and @sec-28-later; `@sec-99-code`, a@sec-x.\n"
    found = offenders(tmp_path, form.references, text)
    assert len(found) == 1 and "@sec-28-later leads nowhere" in found[0]
    assert found[0].startswith(f"{CHAPTER}:{text.count(chr(10))}: ")


def test_the_form_counts(tmp_path, monkeypatch, capsys):
    make_book(tmp_path, head() + "## A {#sec-27-problem}\n")
    monkeypatch.chdir(tmp_path)
    assert check.main(["--gate", "form"]) > 0
    assert f"  {CHAPTER}:1: no heading" in capsys.readouterr().out


# -- what passed before


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(make_book(tmp_path, GOOD))
    monkeypatch.delenv("CI", raising=False)
    assert tangle(Path("."))[0] == 0
    return tmp_path


def asked(monkeypatch, found=()) -> list[str]:
    """The chapters for which a gate really runs."""
    asked: list[str] = []

    def run(chapter):
        asked.append(chapter.package)
        return list(found)
    monkeypatch.setattr(runs, "levels_of", run)
    return asked


def levels() -> list[str]:
    return runs.levels(read_book(Path(".")))


def test_what_passed_is_not_run_again(here, monkeypatch):
    ran = asked(monkeypatch)
    assert levels() == levels() == [] and ran == ["t27_x"]


def test_what_failed_is_run_again(here, monkeypatch):
    ran = asked(monkeypatch, ["chapters/27-x.qmd:1: no"])
    assert levels() == levels() == ["chapters/27-x.qmd:1: no"] and ran == ["t27_x"] * 2


def test_in_ci_everything_is_run(here, monkeypatch):
    ran = asked(monkeypatch)
    monkeypatch.setenv("CI", "true")
    levels()
    levels()
    assert ran == ["t27_x"] * 2


@pytest.mark.parametrize("old, new, again", [
    ("even = x[..., 0::2]", "even = x[..., ::2]", True),                # the package
    ("even = x[..., 1::2]", "even = x[..., 3::2]", True),               # a pitfall
    ("assert rotate", "assert callable(rotate)", True),                 # a test
    ("# Topic 27 {", "Prose.\n\n# Topic 27 {", False),
])
def test_what_counts_as_a_change(here, monkeypatch, old, new, again):
    ran = asked(monkeypatch)
    levels()
    path = here / CHAPTER
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    assert tangle(Path("."))[0] == 0
    levels()
    assert len(ran) == 1 + again


def test_golden_outputs_and_earlier_topics_count(here, monkeypatch):
    chapter = read_book(Path(".")).chapters[0]
    keys = [passed.topic_key(chapter, "")]
    Path("golden").mkdir()
    Path("golden/t27.npz").write_bytes(b"x")
    keys.append(passed.topic_key(chapter, ""))
    Path("golden/t28.npz").write_bytes(b"x")
    assert passed.topic_key(chapter, "") == keys[-1]
    keys.append(passed.topic_key(chapter, "other tools"))
    earlier = Path("tangled/t01_y")
    earlier.mkdir()
    (earlier / "__init__.py").write_text("x = 1\n")
    make_book(here, GOOD.replace("import numpy as np\n", "import numpy as np\n\nfrom tangled.t01_y import x\n"))
    tangle(Path("."))
    chapter = read_book(Path(".")).chapters[0]
    keys.append(passed.topic_key(chapter, ""))
    (earlier / "__init__.py").write_text("x = 2\n")
    keys.append(passed.topic_key(chapter, ""))
    assert len(set(keys)) == len(keys) == 5


def test_a_damaged_memory_is_none(here, monkeypatch):
    ran = asked(monkeypatch)
    levels()
    for text in ("{", "[]", json.dumps({"levels t27_x": 3})):
        passed.MEMORY.write_text(text)
        levels()
    assert len(ran) == 4


def test_the_key_of_the_book(here):
    Path("index.qmd").write_text("x")
    keys = [passed.book_key()]
    Path("references.bib").write_text("y")
    keys.append(passed.book_key())
    Path("_book").mkdir()
    Path("_book/a.html").write_text("z")
    keys.append(passed.book_key())
    (here / CHAPTER).write_text(GOOD + "More prose.\n")
    keys.append(passed.book_key())
    assert len(set(keys)) == 4


def test_one_rendering_for_all_gates(here, monkeypatch):
    from scripts.gates import results
    rendered = []

    def render(argv):
        rendered.append(argv)
        Path("_book").mkdir(exist_ok=True)
        Path("_book/index.html").write_text("<p>x</p>")
        return 0
    monkeypatch.setattr("scripts.render.main", render)
    monkeypatch.setattr(results, "_RENDERED", {})
    book = read_book(Path("."))
    assert results.links(book) == results.rendered(book) == [] and len(rendered) == 1
    monkeypatch.setattr(results, "_RENDERED", {})                        # another run: nothing has changed
    assert results.links(book) == [] and len(rendered) == 1
    Path("_book/index.html").write_text("<p>somebody was here</p>")
    assert results.links(book) == [] and len(rendered) == 2


def test_pitfalls_that_name_no_test(tmp_path, monkeypatch):
    body = head() + chunk("a = 1\n", file="level2_vectorized.py", chunk="A")
    body += chunk("a = 2\n", pitfall="p", replaces="A")
    monkeypatch.chdir(make_book(tmp_path, body))
    assert tangle(Path("."))[0] == 0
    found = runs.pitfalls(read_book(Path(".")))
    assert len(found) == 1 and "pitfall 'p' says of no test that it catches it; expected caught=" in found[0]


def test_an_apostrophe_after_a_reference(tmp_path):
    text = skeleton() + "By @eq-28-a's rule, not @eq-28-a’s, nor `@eq-28-a's`.\n"
    found = offenders(tmp_path, form.references, text)
    assert len(found) == 1 and "@eq-28-a' is set with an opening quote" in found[0]
