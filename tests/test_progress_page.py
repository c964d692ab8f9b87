"""`make progress ARGS=--page`: a map of the topics in one file that loads nothing."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as xml

import pytest

from scripts import learn, progress_page
from scripts.progress_page import Row, edges, lanes, page


def rows(needs: dict[int, list[int]], **states) -> list[Row]:
    return [Row(n, f"Topic <{n}>", f"Module {n // 3}", states.get(f"t{n}", "open"), "-", needs[n]) for n in needs]


def test_arcs_that_follow_from_others_are_left_out():
    assert edges(rows({1: [], 2: [1], 3: [1, 2], 4: [1, 9], 5: [3, 2, 4]})) == [(1, 2), (2, 3), (1, 4), (3, 5), (4, 5)]
    assert set(edges(rows({1: [2], 2: [1]}))) <= {(1, 2), (2, 1)}, "a circle ends"


def test_arcs_of_two_topics_do_not_lie_on_each_other():
    places = {n: 10 * n for n in range(30)}
    pairs = [(a, b) for a in range(30) for b in range(a + 1, 30) if (a * b) % 7 == 1]
    found = lanes(pairs, places)
    assert sorted((a, b) for a, b, _ in found) == sorted(pairs)
    for a, b, lane in found:
        for c, d, other in found:
            assert a == c or lane != other or b <= c or d <= a


def test_the_page():
    text = page(rows({1: [], 2: [1], 3: [2]}, t1="done", t2="begun"), "[##> ]", "Next: make start TOPIC=3", 2)
    assert "Topic &lt;1&gt;" in text and "Topic <" not in text
    assert not re.search(r"https?:|src=|@import|<script|url\(", text), "it loads nothing"
    states = re.findall(r'class="topic (\w+(?: next)?)" id="t(\d)"', text)
    assert states == [("done", "1"), ("begun next", "2"), ("open", "3")]
    assert text.count("<h2>") == 2 and "needs 2" in text
    drawing = xml.fromstring(text[text.rindex("<svg"):text.rindex("</svg>") + 6])
    assert [p.get("class") for p in drawing.iter("path") if p.get("class") != "half"] == ["e1 e2", "e2 e3"]
    assert [r.get("class") for r in drawing.iter("rect")] == ["mark full", "mark", "mark"]


@pytest.fixture
def root(tmp_path):
    (tmp_path / "chapters").mkdir()
    for n in (1, 2):
        (tmp_path / f"chapters/{n:02d}-a.qmd").write_text(
            f"---\ntopic: {n}\npackage: t{n:02d}_a\nneeds: {list(range(1, n))}\n---\n\n# Ä & {n} {{#sec-a{n}}}\n",
            encoding="utf-8")
    (tmp_path / "_quarto.yml").write_text("book:\n  chapters:\n    - chapters/01-a.qmd\n    - part: 'Module 1 · B'\n"
                                          "      chapters: [chapters/02-a.qmd]\n", encoding="utf-8")
    return tmp_path


def test_it_is_written_on_demand(root, capsys):
    (root / "workspace").mkdir()
    (root / "workspace/.progress.json").write_text(json.dumps({"1": {"passed": 3, "failed": 0, "when": "2026-01-01"}}))
    (root / "_book/chapters").mkdir(parents=True)
    (root / "_book/chapters/02-a.html").touch()
    assert learn.progress([], root) == 0 and not (root / progress_page.PAGE).exists()
    assert learn.progress(["--page"], root) == 0
    assert capsys.readouterr().out.endswith("As a page, with what builds on what: build/progress.html\n")
    text = (root / progress_page.PAGE).read_text(encoding="utf-8")
    assert "Ä &amp; 1" in text and "done, 3 tests passed" in text and "<h2>Module 1 · B</h2>" in text
    assert 'href="../_book/chapters/02-a.html"' in text and "01-a.html" not in text
