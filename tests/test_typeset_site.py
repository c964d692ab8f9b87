"""The HTML site, read as a browser and as a reader would."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree

import pytest
from typeset_sample import built, write_sample

from scripts.gates.site import broken
from scripts.typeset import typeset
from scripts.typeset.assets import FONTS, HERE
from scripts.typeset.gate import split
from scripts.typeset.html_tables import Tables, named
from scripts.typeset.pictures import size_of
from scripts.typeset.stretches import tall
from scripts.typeset.style import sheet

ROTARY = "chapters/27-positional-encodings.html"


def page(path: str = ROTARY) -> str:
    return (built() / "_book" / path).read_text(encoding="utf-8")


def test_every_link_lands_and_nothing_asks_the_network():
    assert broken(built() / "_book") == []


def test_every_page_is_well_formed():
    for file in (built() / "_book").rglob("*.html"):
        text = re.sub(r"<(meta|link|input)([^>]*)>", r"<\1\2/>", file.read_text(encoding="utf-8"))
        body = text[text.index("<html") :].replace(" hidden>", ">").replace(" defer>", ">")
        ElementTree.fromstring(body)


@pytest.mark.parametrize(
    "words",
    [
        '<span class="secno">27</span> Positional encodings',
        '<a class="xref" href="00-prerequisites.html#eq-00-mean">Equation\u00a00.1</a>',
        '<a class="xref" href="#eq-27-rotation">27.1</a>',
        '<a class="xref" href="#fig-27-wave">Figs.\u00a027.1</a>',
        '<a class="xref" href="#fig-27-two-a">Figure\u00a027.2 (a)</a>',
        "Theorem 27.1 ",
        '<a class="xref" href="01-tensor-operations.html">Chapter\u00a01</a>',
        '<span class="caption-label">Table 27.1</span> The ladder, measured',
        '<span class="caption-label">Listing 27.1</span> A line that is <em>too long</em>',
        "A title <em>inside</em>",
        'alt="A saw-tooth line over an axis."',
        "Only on the web.",
    ],
)
def test_numbers_references_and_captions(words):
    assert words in page()


def test_other_formats_are_left_out():
    assert "Only on paper" not in page() and "Anywhere but" not in page() and "sec-27-hints" not in page()


def test_chapter_zero_is_unnumbered_and_its_equations_are_not():
    text = page("chapters/00-prerequisites.html")
    assert '<h1 id="sec-prerequisites">Prerequisites</h1>' in text and "(0.1)" in text
    assert '<h2 id="sec-00-what">What you need' in text


def test_appendices_have_letters():
    text = page("chapters/a-testing.html")
    assert (
        '<span class="secno appendix">A</span> Testing' in text
        and "(A.1)" in text
        and "A.1</span> Helpers" in text
    )


def test_chunks_link_to_chunks_and_equations():
    text = page()
    assert re.search(r'<a class="chunkref" href="#chunk-27-split-the-features-into-pairs">', text)
    assert '<a href="#eq-27-rotation">eq. 27.1</a>' in text
    assert '<a href="00-prerequisites.html#eq-00-mean">eq. 0.1</a>' in text
    assert '<a href="01-tensor-operations.html#chunk-01-make-a-view">Make a view</a>' in text


def test_annotations_hints_outputs_and_footnotes():
    text = page()
    assert (
        text.count('class="mark"') == 2 and '<ol class="annotations">' in text and "# &lt;1&gt;" not in text
    )
    assert text.count('<details class="callout tip hint">') == 2
    assert '<div class="code output"><pre><code>m=0  score 0.4411' in text
    one = page("chapters/01-tensor-operations.html")
    assert 'href="#fn1"' in one and 'id="fn1"' in one and 'href="#fnref1"' in one


def test_citations_lead_to_the_bibliography():
    assert re.search(r'Su et al\. \(<a href="\.\./references\.html#ref-su2021">2024</a>\)', page())
    assert 'id="ref-vaswani2017"' in page("references.html")


def test_mathematics_is_set_beforehand_and_can_be_read_aloud():
    assert page().count("<math ") > 15 and 'class="katex-html" aria-hidden="true"' in page()


def test_a_mark_stays_with_the_short_formula_before_it():
    """`$m$,` is one piece for the browser's line breaks, and so is the stop behind a short formula in a list."""
    bound = re.findall(r'<span class="bound"><span class="katex">.*?</span>([^<\s]{1,3})</span>', page(), re.S)
    assert "," in bound and "." in bound


def test_the_page_s_frame():
    text = page()
    for words in (
        '<html lang="en"',
        'class="skip" href="#content"',
        '<main id="content"',
        'class="sections" aria-label="On this page"',
        'aria-current="page"',
        'rel="prev" href="01-tensor-operations.html"',
        'rel="next" href="a-testing.html"',
    ):
        assert words in text
    assert "Module 4 · Transformers and production" in text


def test_search_finds_offline():
    from py_mini_racer import MiniRacer

    assets = built() / "_book" / "assets"
    with MiniRacer() as engine:
        engine.eval("var window = this; " + (assets / "minisearch.js").read_text(encoding="utf-8") + ";0")
        engine.eval((assets / "search-index.js").read_text(encoding="utf-8") + ";0")
        hits = json.loads(
            engine.eval("""
            const ms = new MiniSearch({fields: ["title", "chapter", "text"], storeFields: ["url"]});
            ms.addAll(BOOK_INDEX);
            JSON.stringify(ms.search("rotate_pairs").map((hit) => hit.url))""")
        )
    assert f"{ROTARY}#sec-27-level-2" in hits[:3]


def test_the_search_index_has_names_of_programs_once_and_nothing_printed():
    written = (built() / "_book" / "assets" / "search-index.js").read_text(encoding="utf-8")
    entries = json.loads(written[written.index("["):written.rindex("]") + 1])
    text = next(entry["text"] for entry in entries if entry["url"] == f"{ROTARY}#sec-27-level-2")
    assert text.count("rotate_pairs") == 1 and "def rotate_pairs(" not in text
    assert not any(entry["url"].startswith("identifiers.html") for entry in entries)


def contrast(one: str, other: str) -> float:
    def light(colour: str) -> float:
        parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((light(one), light(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_colours_have_enough_contrast():
    style = sheet()
    for start in (":root {", '[data-theme="dark"] {'):
        blocks = [part.split("}")[0] for part in style.split(start)[1:]]
        colours = {
            name: value for block in blocks for name, value in re.findall(r"--(\w+): (#\w{6});", block)
        }
        for name in (
            "ink",
            "mute",
            "accent",
            "note",
            "tip",
            "warning",
            "important",
            "caution",
            "kw",
            "str",
            "num",
            "com",
            "fun",
            "bui",
        ):
            for ground in ("paper", "soft", "softer"):
                assert contrast(colours[name], colours[ground]) >= 4.5, (start, name, ground)


def test_one_chapter_alone(tmp_path):
    project = write_sample(tmp_path / "build" / "book")
    typeset(project, tmp_path / "_book", ("html",), only="27")
    text = (tmp_path / "_book" / ROTARY).read_text(encoding="utf-8")
    assert "Chapter\u00a01" in text and 'href="01-tensor-operations.html"' not in text
    assert not (tmp_path / "_book" / "chapters" / "01-tensor-operations.html").exists()
    assert broken(tmp_path / "_book") == []


def test_one_chapter_in_a_finished_book_keeps_the_others(tmp_path):
    project = write_sample(tmp_path / "build" / "book")
    typeset(project, tmp_path / "_book", ("html",))
    before = (tmp_path / "_book" / "assets" / "search-index.js").read_bytes()
    typeset(project, tmp_path / "_book", ("html",), only="27")
    assert 'href="01-tensor-operations.html"' in (tmp_path / "_book" / ROTARY).read_text(encoding="utf-8")
    assert (tmp_path / "_book" / "assets" / "search-index.js").read_bytes() == before
    assert broken(tmp_path / "_book") == []


def test_the_same_files_again(tmp_path):
    typeset(write_sample(tmp_path / "build" / "book"), tmp_path / "_book", ("html",))
    for file in (tmp_path / "_book").rglob("*"):
        if file.is_file() and file.suffix != ".html":
            assert file.read_bytes() == (built() / "_book" / file.relative_to(tmp_path / "_book")).read_bytes()
    text = (tmp_path / "_book" / ROTARY).read_text(encoding="utf-8")
    assert text == re.sub(r'<a class="pdf".*?</a>', "", page())


def test_nothing_keeps_a_page_from_being_painted():
    """No style sheet or script has to be fetched first, and every address in the style leads to a file."""
    for file in (built() / "_book").rglob("*.html"):
        text = file.read_text(encoding="utf-8")
        assert "<style>" in text and 'rel="stylesheet"' not in text
        assert all("defer" in tag for tag in re.findall(r"<script src=[^>]*>", text))
        found = re.findall(r"url\((.*?)\)", text)
        assert found and all((file.parent / address).is_file() for address in found)


def test_the_index_comes_with_the_first_search():
    """No page names it; the script that fetches it does, once it is used."""
    for file in (built() / "_book").rglob("*.html"):
        text = file.read_text(encoding="utf-8")
        assert "search-index" not in text and "minisearch" not in text
    code = (built() / "_book" / "assets" / "search.js").read_text(encoding="utf-8")
    assert 'script("search-index.js")' in code and code.index('addEventListener("focus"') > 0


def test_pictures_keep_their_place():
    for file in (built() / "_book").rglob("*.html"):
        for tag in re.findall(r"<img [^>]*>", file.read_text(encoding="utf-8")):
            assert re.search(r' width="\d+" height="\d+"', tag), tag
    assert ' width="400" height="140"' in page()


def test_sizes_of_pictures(tmp_path):
    for name, head, size in (
        ("points.svg", '<?xml version="1.0"?>\n<svg height="72pt" version="1.1" width="144.5pt">', (193, 96)),
        ("box.svg", '<svg xmlns="x" viewBox="0 0 300 120.4">', (300, 120)),
        ("none.svg", "<svg>", None), ("no.txt", "words", None),
    ):
        (tmp_path / name).write_text(head, encoding="utf-8")
        assert size_of(tmp_path / name) == size, name
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\1\0\0\0\0\x20")
    assert size_of(tmp_path / "a.png") == (256, 32) and size_of(tmp_path / "gone.png") is None


LANDMARKS = re.compile(r"<(nav|main|aside|header|footer|section|form)\b([^>]*)>|<\w+\b([^>]*\brole=\"(?:region|search|"
                       r"complementary|navigation|main|banner|contentinfo|form)\"[^>]*)>")


def test_landmarks_have_names_of_their_own():
    for file in (built() / "_book").rglob("*.html"):
        names = []
        for tag, one, other in LANDMARKS.findall(file.read_text(encoding="utf-8")):
            name = re.search(r'aria-label(?:ledby)?="([^"]*)"', one or other)
            if tag not in ("section", "form") or name:
                names.append((tag, name and name[1]))
        assert len(set(names)) == len(names), (file, names)
        assert sum(tag == "main" for tag, _ in names) == 1


def test_what_has_a_name_has_a_role():
    """A name on a plain division or span is not read aloud."""
    for file in (built() / "_book").rglob("*.html"):
        for tag in re.findall(r"<(?:div|span|pre|p)\b[^>]*\baria-label=[^>]*>", file.read_text(encoding="utf-8")):
            assert "role=" in tag, tag


def heading(id: str, level: int = 2) -> dict:
    return {"t": "Heading", "level": level, "id": id}


def test_what_stands_behind_a_gate():
    ids = ["sec-27-problem", "sec-27-try", "sec-27-code", "sec-27-program", "sec-27-pitfalls", "sec-27-measured"]
    blocks = [heading(id) for id in ids]
    blocks.insert(3, heading("sec-27-level1", 3))
    before, gate, behind, after = ([block["id"] for block in part] for part in split(blocks))
    assert before == ["sec-27-problem"] and gate == ["sec-27-try"] and after == ["sec-27-measured"]
    assert behind == ["sec-27-code", "sec-27-level1", "sec-27-program", "sec-27-pitfalls"]
    assert split(blocks[:1]) == (blocks[:1], [], [], [])
    assert split(blocks[:2]) == (blocks[:1], blocks[1:2], [], [])
    shut = split([heading("sec-27-try"), heading("sec-27-code"), heading("sec-27-looks")])
    assert [block["id"] for block in shut[2]] == ["sec-27-code"]


GATED = """---
topic: 7
---

# Gates {#sec-gates}

Before.

## Stop here and try {#sec-07-try}

Try it.

## The code {#sec-07-code}

::: {#chunk-07-bench .chunk}
[benchmark.py]{.chunk-file}

``` {.python .chunk-code}
x = 1
```
:::

## Pitfalls {#sec-07-pitfalls}

Wrong.

## Measured {#sec-07-measured}

Fast.
"""


def test_a_gate_stands_open_where_no_script_runs_and_folds_the_solutions_where_one_does(tmp_path):
    typeset(write_sample(tmp_path / "build" / "book", **{"00_prerequisites": GATED, "27_positional_encodings": GATED
            .replace("-07", "-27").replace("topic: 7", "topic: 27").replace("sec-gates", "sec-positional-encodings"),
            "01_tensor_operations": "# One {#sec-one}\n", "a_testing": "# A {#sec-testing}\n",
            "identifiers": "# I {#sec-identifiers}\n", "index": "# P {#sec-preface .unnumbered}\n"}),
            tmp_path / "_book", ("html", "epub"))
    text = (tmp_path / "_book" / ROTARY).read_text(encoding="utf-8")
    gate = text.index('<section class="gate" aria-labelledby="sec-27-try">')
    box = text.index('<details class="solutions" data-gate="27" open="open">')
    after = text.rindex('<div class="stretch"', 0, text.index('<h2 id="sec-27-measured">'))
    assert gate < text.index("Try it.") < text.index('<div class="gate-exercise" data-topic="27">') < box
    inside = text[box:after]
    assert "Wrong." in inside and inside.index("localStorage") < inside.index('id="sec-27-code"')
    assert "The code · Pitfalls</small>" in inside and inside.rstrip().endswith("</details>")
    assert re.search(r'<details class="chunkbox" id="chunk-27-bench">\n<summary class="chunk-head">', inside)
    import zipfile
    with zipfile.ZipFile(tmp_path / "_book" / "deep-learning-from-scratch.epub") as book:
        assert not any(b"<details" in book.read(name) for name in book.namelist() if name.endswith(".xhtml"))


FRONT = """# Preface {#sec-preface .unnumbered}

Words of the preface.

::: {.front}

## Built {#sec-preface-built .unnumbered}

[Start](chapters/00-prerequisites.qmd#sec-prerequisites){.start}

![](figures/map.svg){.drawn fig-alt="What builds on what. One; two."}

:::
"""
MAP = ('<svg xmlns="http://www.w3.org/2000/svg" width="30" height="20"><a href="chapters/00-prerequisites.html"><text>0'
       '</text></a><a href="chapters/99-none.html"><text>99</text></a></svg>')


def test_the_front_stands_above_the_preface_with_its_map_in_the_page(tmp_path):
    project = write_sample(tmp_path / "build" / "book", index=FRONT)
    (project / "figures").mkdir()
    (project / "figures" / "map.svg").write_text(MAP, encoding="utf-8")
    typeset(project, tmp_path / "_book", ("html",))
    text = (tmp_path / "_book" / "index.html").read_text(encoding="utf-8")
    built_at = text.index('<h2 id="sec-preface-built">')
    assert text.index('class="cover"') < built_at < text.index("<p>Words of the preface.</p>")
    assert text.count("sec-preface-built\"") == text.count('href="#sec-preface-built"') + 1, "it stands there once"
    assert '<a class="start" href="chapters/00-prerequisites.html">Start</a>' in text
    assert '<svg class="drawn" role="group" aria-label="What builds on what" xmlns' in text
    assert '<a href="chapters/00-prerequisites.html"><text>' in text and "99-none" not in text
    assert broken(tmp_path / "_book") == []


def test_a_movable_figure_brings_its_script_and_keeps_the_printed_one(tmp_path):
    words = '# P {#sec-preface .unnumbered}\n\n::: {.movable figure="rope"}\nAs printed.\n:::\n'
    typeset(write_sample(tmp_path / "build" / "book", index=words), tmp_path / "_book", ("html",))
    text = (tmp_path / "_book" / "index.html").read_text(encoding="utf-8")
    assert re.search(r'<div class="movable" data-figure="rope">\n<p>As printed.</p>', text)
    assert '<script src="./assets/movable.js" defer></script>' in text
    assert "movable" not in (tmp_path / "_book" / ROTARY).read_text(encoding="utf-8").split("</style>")[1]
    assert broken(tmp_path / "_book") == []


def test_a_page_is_laid_out_by_stretches_that_say_about_how_tall_they_are():
    """From each heading to the next, but for the gate, which is short; twice as much text is about twice as tall."""
    body = page()[page().index("<article>"):page().index("</article>")]
    assert body.count('<div class="stretch" style="--tall:') == len(re.findall("<h[23] ", body)) - 1 > 3
    assert re.search(r'</h1>.*?<div class="stretch"[^>]*>\n<h2 ', body, re.S)
    words = "<p>" + "word " * 400 + "</p>"
    assert 1.7 < tall(words * 2) / tall(words) < 2.3
    assert tall("<pre>" + "\n" * 40 + "</pre>") > 40
    assert tall("<details open><p>" + "word " * 400 + "</p></details>") < 5


def test_an_empty_cell_in_a_head_is_no_heading():
    class Writer(Tables):
        def blocks(self, nodes: list) -> str:
            return "".join(nodes)

    row = [{"align": "AlignLeft", "columns": 1, "rows": 1, "body": body} for body in ([], ["time"])]
    made = Writer().table_row(row, ["AlignLeft"] * 2, "th")
    assert made == '<tr><td style="text-align:left"></td><th scope="col" style="text-align:left">time</th></tr>\n'


def test_each_face_has_a_small_file_for_what_most_pages_write():
    faces = re.findall(r"@font-face \{[^}]*\}", (HERE / "assets" / "book.css").read_text(encoding="utf-8"))
    whole = [face for face in faces if "unicode-range" not in face]
    latin = [face for face in faces if "unicode-range" in face]
    assert len(whole) == len(latin) and faces == whole + latin      # the later of two faces goes first
    for one, other in zip(whole, latin):
        large, small = (FONTS / "web" / re.search(r"fonts/([\w.-]+)", face)[1] for face in (one, other))
        assert small.stat().st_size < large.stat().st_size / 3
        assert one.split("src")[0] == other.split("src")[0]
    asked = re.findall(r'"(\w+-\w+\.\w+)"', (HERE / "assets" / "theme.js").read_text(encoding="utf-8"))
    assert asked and all(f"{name}.woff2" in "".join(latin) for name in asked)


def test_a_heading_of_a_table_that_is_a_formula_alone_has_a_name():
    formula = '<math xmlns="m"><mi>x</mi><annotation encoding="application/x-tex">\\bar x_{k}</annotation></math>'
    assert named(formula).startswith('<math aria-label="bar x_ k" xmlns="m">')
    assert named(f"time {formula}") == f"time {formula}" and named("time") == "time"


def test_text_is_printed_while_a_face_is_still_to_come():
    """A browser leaves out all text in a face of which one file is awaited, unless that file swaps."""
    faces = re.findall(r"@font-face ?\{[^}]*\}", sheet())
    late = [face for face in faces if "unicode-range" not in face]
    assert len(late) > 20 and all(re.search(r"font-display: ?swap", face) for face in late)
