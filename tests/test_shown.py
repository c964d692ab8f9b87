"""The same set: what a page shows as chunks, and what is tangled. Refused, with the line, where they differ."""

from __future__ import annotations

import json
import random
from collections import Counter

import pytest

from scripts.errors import Problem
from scripts.gates import shown
from scripts.reading.chapters import read_book
from scripts.typeset.pandoc import READER, run
from tests.books import GOOD, PACKAGE, chunk, head, make_book, tangle, text

FENCE = ["```{.python file=\"level2_vectorized.py\"}", "x = 1", "```"]


def inside(first: str, indent: str) -> str:
    return first + "".join(indent + line + "\n" for line in FENCE)


HIDDEN = {  # pandoc shows a chunk here, and a parser of CommonMark sees none
    "footnote": inside("Text[^1].\n\n[^1]: Note.\n\n", "    "),
    "footnote with a lazy line": inside("Text[^1].\n\n[^1]: Note\ngoes on.\n\n", "    "),
    "definition": inside("Term\n\n:   Its meaning\n\n", "    "),
    "definition that begins with it": "Term\n:   " + FENCE[0] + "\n    x = 1\n    ```\n",
    "list with letters": inside("a) Text\n\n", "    "),
    "list with letters that begins with it": "a) " + FENCE[0] + "\n   x = 1\n   ```\n",
    "list with Roman numbers": inside("(ii) Text\n\n", "     "),
    "list of hashes": inside("#. Text\n\n", "    "),
}
FINE = {  # both see it
    "list": inside("- Text\n\n", "  "),
    "numbers": inside("1. Text\n\n", "   "),
    "quotation": inside("> Text\n>\n", "> "),
    "callout": "::: {.callout-note}\n" + inside("", "") + ":::\n",
}
ONLY_SHOWN = {  # neither does
    "indented": inside("Text\n\n", "    "),
    "longer fence": "````\n" + inside("", "") + "````\n",
    "comment": "<!--\n" + inside("", "") + "-->\n",
}


@pytest.mark.parametrize("name", HIDDEN)
def test_tangle_refuses(tmp_path, name):
    body = "Prose.\n\n" + HIDDEN[name]
    root = make_book(tmp_path, head() + chunk("y = 1\n", file="level1_naive.py") + body)
    status, said = tangle(root)
    line = next(n for n, each in enumerate((root / "chapters/27-x.qmd").read_text().split("\n"), 1)
                if "level2_vectorized" in each)
    assert status == 1 and f"chapters/27-x.qmd:{line}: looks like a chunk and is none" in said, said


@pytest.mark.parametrize("name", FINE)
def test_what_both_see_is_tangled(tmp_path, name):
    root = make_book(tmp_path, head() + FINE[name])
    assert tangle(root)[0] == 0 and text(root, f"{PACKAGE}/level2_vectorized.py") == "x = 1\n"
    assert shown.shown(read_book(root)) == []


@pytest.mark.parametrize("name", ONLY_SHOWN)
def test_what_is_shown_as_an_example(tmp_path, name):
    root = make_book(tmp_path, head() + chunk("y = 1\n", file="level1_naive.py") + ONLY_SHOWN[name])
    status, said = tangle(root)
    assert status == 0 and not (root / f"{PACKAGE}/level2_vectorized.py").exists(), said
    assert shown.shown(read_book(root)) == []


@pytest.mark.parametrize("before, after", [("$$\n", "$$\n"), ("<pre>\n", "</pre>\n"), ("<script>\n", "</script>\n")])
def test_gate_sees_what_the_page_does_not_show(tmp_path, before, after):
    """In a formula or in HTML a chunk is tangled, and the reader would not see it."""
    root = make_book(tmp_path, head() + before + inside("", "") + after)
    offenders = shown.shown(read_book(root))
    assert len(offenders) == 1 and "the page does not show it" in offenders[0]
    line = head().count("\n") + 2
    assert offenders[0].startswith(f"chapters/27-x.qmd:{line}: ")


def test_gate_sees_what_is_not_tangled(tmp_path, monkeypatch):
    """Whatever tangle may come to overlook, the gate compares with pandoc's own tree."""
    root = make_book(tmp_path)
    book = read_book(root)
    chapter = book.chapters[0]
    gone = chapter.chunks.pop(1)
    offenders = shown.shown(book)
    assert offenders == [f"chapters/27-x.qmd:{gone.line}: the page shows this chunk, but it is not tangled; expected "
                         "it at the margin, or in a plain list"]


def test_cells_do_not_disturb(tmp_path):
    cell = "```{python}\n#| echo: false\nprint('''\n\n    ```{.python file=\"a.py\"}\n''')\n```\n\n"
    root = make_book(tmp_path, head() + cell + chunk("y = 1\n", file="level1_naive.py"))
    assert shown.shown(read_book(root)) == []


WRAPS = [("", ""), ("    ", ""), ("  ", ""), ("> ", "> "), ("- ", "  "), ("1. ", "   "), ("a) ", "   "),
         ("(@) ", "    "), (":   ", "    "), ("[^1]: ", "    "), ("#. ", "   "), ("| ", "| "), ("   ", "   "),
         ("\t", "\t"), ("i. ", "   ")]
LINES = ["Prose.", "", "", "Term", ":::", "::: {.callout-tip}", "---", "# Heading", "$$", "<div>", "</div>", "<!--",
         "-->", "[^1]: Note.", "- item", "a) item", ":   meaning", "Text[^1]"]


def mutated(r: random.Random) -> str:
    """The small chapter with lines put in, and blocks put into what can hold one."""
    blocks = GOOD.partition("\n\n")[2].split("\n\n")
    out = []
    for block in blocks:
        first, rest = r.choice(WRAPS) if r.random() < 0.35 else ("", "")
        lines = block.split("\n")
        out += [(first if n == 0 else rest) + line for n, line in enumerate(lines)] + [""]
        if r.random() < 0.4:
            out += r.choices(LINES, k=r.randint(1, 3)) + [""] * r.randint(0, 1)
    return GOOD.partition("\n\n")[0] + "\n\n" + "\n".join(out) + "\n"


def chunks_of_pandoc(chapter) -> Counter:
    return Counter(shown.key(keys, code) for keys, code in shown.in_pandoc(chapter))


def test_mutated_chapters(tmp_path):
    """Of 250 mutations none is taken with another set of chunks than pandoc's: refused by tangle, or by the gate."""
    r, refused, differ, same = random.Random(31), 0, 0, 0
    for n in range(250):
        root = make_book(tmp_path / str(n), mutated(r))
        try:
            book = read_book(root)
        except Exception:
            refused += 1
            continue
        offenders = shown.shown(book)
        chapter = book.chapters[0]
        ours = Counter(shown.key(c.keys, c.lines) for c in chapter.chunks)
        try:
            theirs = chunks_of_pandoc(chapter)
        except Problem:
            theirs = None
        if ours == theirs:
            same += 1
            assert not offenders
        else:
            differ += 1
            assert offenders and all(line.split(":")[1].isdigit() for line in offenders)
    assert refused > 20 and same > 20, (refused, differ, same)


def test_pandoc_reads_json():
    assert json.loads(run(["-f", READER, "-t", "json"], "x\n")[0])["blocks"]
