"""The PDF: bookmarks, margins, page references, text alternatives, and the same bytes every time."""

from __future__ import annotations

import re

import pytest
from typeset_sample import built, write_sample
from typeset_sample import pdf_pages as pages

from scripts.errors import Problem
from scripts.typeset import PDF, overfull, typeset
from scripts.typeset.margins import _File
from scripts.typeset.printed import compile_pdf
from scripts.typeset.typst_writer import TypstWriter


def pdf() -> bytes:
    return (built() / "_book" / PDF).read_bytes()


def titles(data: bytes) -> list[str]:
    """The bookmarks."""
    found = []
    for body in _File(data).objects.values():
        if b"/Title" in body and (b"/Dest" in body or b"/A<<" in body or b"/A " in body):
            literal = re.search(rb"/Title ?(\((?:\\.|[^\\)])*\)|<[0-9A-Fa-f]+>)", body)[1]
            raw = bytes.fromhex(literal[1:-1].decode()) if literal[:1] == b"<" else literal[1:-1]
            found.append(raw[2:].decode("utf-16-be") if raw[:2] == b"\xfe\xff" else raw.decode("latin-1"))
    return found


def test_nothing_stands_in_the_margins():
    assert overfull(built() / "_book" / PDF) == []


def test_bookmarks():
    names = titles(pdf())
    for title in ("Module 4 · Transformers and production", "Positional encodings", "Rotation", "Testing"):
        assert any(title in name for name in names), (title, names)


def test_language_title_and_tags():
    data = pdf()
    assert b"/Lang(en" in data and b"/MarkInfo" in data and b"Sample Book" in data
    assert b"<pdfuaid:part>1</pdfuaid:part>" in data


def test_text_alternatives_reach_the_file():
    assert b"A saw-tooth line over an axis." in pdf()


def test_running_heads_and_page_references():
    text = pages(pdf())
    assert any("Chapter 27" in page and "Positional encodings" in page for page in text)
    home = next(k for k, page in enumerate(text) if "Make a view" in page and "copies" in page)
    chapter = next(k for k, page in enumerate(text) if "equivariant" in page)
    index = next(page for page in text if page.startswith("Index of identifiers"))
    first = next(k for k, page in enumerate(text) if page.startswith("Preface"))
    assert str(home - first + 1) in re.findall(r"\d+", index) and chapter > home


def test_long_lines_are_folded_and_other_formats_left_out():
    text = "".join(pages(pdf()))
    assert "↪" in text and "Only on paper." in text and "Only on the web." not in text
    assert "Hint 2 (algorithm)." in text


OVERFULL = """#set page(paper: "a4", margin: (inside: 2.5cm, outside: 2.2cm))
Fits.
#pagebreak()
#box(width: 5cm, box(width: 20cm)[This_is_one_line_that_is_much_too_long_for_its_box_and_leaves_the_page,
as anybody can see who looks at the page, and some more words])
#pagebreak()
#move(dx: -2cm)[left]
"""


def test_what_leaves_the_margins_is_found(tmp_path):
    (tmp_path / "x.typ").write_text(OVERFULL, encoding="utf-8")
    compile_pdf(tmp_path / "x.typ", tmp_path / "x.pdf")
    found = overfull(tmp_path / "x.pdf")
    assert {page for page, _ in found} == {2, 3} and ("left" in dict(found)[3])


def test_letter_paper_and_the_same_bytes_again(tmp_path):
    project = write_sample(tmp_path / "build" / "book")
    for name in ("one", "two"):
        typeset(project, tmp_path / name, ("pdf",), paper="us-letter", work=tmp_path / f"work-{name}")
    one, two = ((tmp_path / name / PDF).read_bytes() for name in ("one", "two"))
    assert one == two
    assert re.search(rb"/MediaBox ?\[0 0 612 792\]", one)
    assert overfull(tmp_path / "one" / PDF) == []


def test_one_chapter_has_a_pdf_of_its_own(tmp_path):
    typeset(write_sample(tmp_path / "build" / "book"), tmp_path / "_book", ("pdf",), only="27")
    assert [file.name for file in (tmp_path / "_book").iterdir()] == ["27-positional-encodings.pdf"]
    text = pages((tmp_path / "_book" / "27-positional-encodings.pdf").read_bytes())
    assert text[0].startswith("Chapter 27") and any("Vaswani" in page for page in text)


def test_a_table_longer_than_a_page_goes_on_over_it(tmp_path):
    project = write_sample(tmp_path / "build" / "book")
    chapter = project / "chapters" / "27-positional-encodings.qmd"
    rows = "".join(f"| row{n}row | 100.0 % |\n" for n in range(90))
    chapter.write_text(f"{chapter.read_text()}\n| name | share |\n|:--|:--|\n{rows}\n: Ninety. {{#tbl-27-ninety}}\n\n"
                       "@tbl-27-ninety is long.\n")
    typeset(project, tmp_path / "_book", ("pdf",), only="27")
    text = pages((tmp_path / "_book" / "27-positional-encodings.pdf").read_bytes())
    found = [[n for n in range(90) if f"row{n}row" in page] for page in text]
    assert sum(map(len, found)) == 90 and sum(map(bool, found)) >= 2
    assert len({page.count("share") for page, there in zip(text, found) if there}) == 1, "the head is there each time"


def test_unknown_paper(tmp_path):
    with pytest.raises(Problem, match="unknown paper"):
        typeset(write_sample(tmp_path / "build" / "book"), tmp_path / "_book", ("pdf",), paper="a5")


class Seen(TypstWriter):
    """Writes down, of each figure, whether a long listing is near it."""

    def __init__(self):
        self.listing_near, self.seen = False, {}

    def block_Float(self, block):
        self.blocks(block["body"])
        self.seen[block["label"]] = self.listing_near
        return ""

    def block_Div(self, block):
        return self.blocks(block["c"][1])

    def block_Para(self, block):
        return ""

    block_Chunk = block_Para


def test_no_figure_floats_near_a_long_listing():
    """Also where the figure stands in a division, and where a heading and a short line are between"""
    long = {"t": "Chunk", "body": [{"t": "Program", "source": "x\n" * 20}]}
    line, paragraph = ({"t": "Para", "c": [{"t": "Str", "c": "word " * n}]} for n in (3, 90))

    def figure(name):
        return {"t": "Div", "c": [["", [], []], [{"t": "Float", "label": name, "body": [line]}]]}
    writer = Seen()
    writer.blocks([figure("ahead"), line, long, line, line, paragraph, figure("behind"), paragraph, paragraph,
                   figure("far")])
    assert writer.seen == {"ahead": True, "behind": True, "far": False} and writer.listing_near is False
