"""What the tools draw: the map of the topics, and bars of a chapter's measurements."""

from __future__ import annotations

import json
import re
import types
import xml.etree.ElementTree as ElementTree

import pytest

from scripts.weaving.drawings import PALETTE, Topic, bars_in_words, decades, ladder_bars, span, topic_map, words_of
from scripts.weaving.woven_drawn import bars, short

ROWS = {"level 1": {"seconds": 0.02727}, "level 2": {"seconds": 0.0002977}, "level 3": {"seconds": 6.666e-05},
        "level 4": {"seconds": 7.515e-05}, "best PyTorch": {"seconds": 3.9e-05}}
TOPICS = [Topic(1, "Sums & more", "Part A", [], "chapters/01.html"),
          Topic(2, "Means", "Part A", [1], "chapters/02.html"),
          Topic(3, "Ends", "Part B", [1, 2], "chapters/03.html")]


def widths(text: str) -> list[float]:
    return [float(width) for width in re.findall(r'<rect [^>]*width="([\d.]+)"', text)]


def test_bars_are_as_long_as_the_logarithm_of_their_times():
    text = ladder_bars(ROWS)
    ElementTree.fromstring(text)
    one, two, three, four = widths(text)
    low, high = decades([row["seconds"] for level, row in ROWS.items() if level in ("level 1", "level 3")])
    assert (low, high) == (-5, -1), "the shortest bar is to be seen, and the longest fits"
    assert one - two == pytest.approx(200 / (high - low) * 1.962, abs=0.2), "log10(27.27 / 0.2977)"
    assert one > two > four > three > 0
    for words in ("27 ms", "298 µs", "67 µs", "75 µs", "PyTorch"):
        assert words in text
    assert "best" not in text


def test_times_in_words():
    assert [span(s) for s in (2.5, 0.9996, 0.0273, 9.96e-5, 4e-9)] == ["2.5 s", "1.0 s", "27 ms", "100 µs", "4.0 ns"]
    assert bars_in_words("sums", {"level 2": ROWS["level 2"], "level 4": ROWS["level 4"]}) == (
        "Bars on a logarithmic scale, time of a call of sums: level 2 298 µs, level 4 75 µs.")


def test_the_map_has_every_topic_and_no_arc_that_follows_from_others():
    text = topic_map(TOPICS)
    ElementTree.fromstring(text)
    assert re.findall(r'<path class="([^"]*)"', text) == ["n1 n2", "n2 n3"], "3 needs 1 by way of 2"
    assert re.findall(r'<a href="([^"]*)">', text) == [topic.page for topic in TOPICS]
    assert "Sums &amp; more" in text and text.count("Part A") == 1 and "Part B" in text
    colours = set(re.findall(r'(?:fill|stroke)="(#\w+)"', text + ladder_bars(ROWS)))
    assert colours <= set(PALETTE), "colours that the site's style knows"
    assert words_of(TOPICS).endswith("2 Means builds on 1; 3 Ends builds on 1, 2.")


def test_every_line_of_the_map_fits_a_narrow_screen():
    width, height = map(int, re.search(r'width="(\d+)" height="(\d+)"', topic_map(TOPICS)).groups())
    assert width <= 390 - 2 * 17 and height > 3 * 22


def test_bars_stand_under_the_heading_of_a_topic_with_a_record(tmp_path):
    chapter = types.SimpleNamespace(topic=7)
    assert bars(chapter, "## Measured {#sec-07-measured}", tmp_path) == ([], {})
    by = {"machine": "A processor", "threads": "one thread"}
    few = {"by": "x", "rows": {"level 1": {"seconds": 1.0}}}
    record = {"ladders": {"few": few, "a_b": {"by": "x", "note": "float32", "rows": ROWS}}, "by": {"x": by}}
    (tmp_path / "golden" / "records").mkdir(parents=True)
    (tmp_path / "golden" / "records" / "t07.json").write_text(json.dumps(record), encoding="utf-8")
    rows, files = bars(chapter, "## Measured {#sec-07-measured}", tmp_path)
    assert list(files) == ["07-measured.svg"] and rows[1] == '::: {.content-visible when-format="html"}'
    assert rows[3].startswith(r"![a\_b (float32): time of a call at each level")
    assert "A processor, one thread" in rows[3] and "level 3 67 µs" in rows[3]
    assert bars(chapter, "## The code {#sec-07-code}", tmp_path) == ([], {})


@pytest.mark.parametrize("title, words", [
    ("word2vec: vectors of words", "word2vec"), ("LSTM, a memory with gates", "LSTM"),
    ("Depths and widths", "Depths and widths"),
    ("Tensor operations and broadcasting", "Tensor operations")])
def test_titles_on_the_map(title, words):
    assert short(title) == words
