"""`read_book`: chapters, chunks, cells, equations and where they stand."""

from __future__ import annotations

import pytest

from scripts.errors import Problem, Problems
from scripts.reading.chapters import Chapter, find_topic, read_book
from scripts.tangling.outputs import outputs
from tests.books import APPENDIX, GOOD, LEVEL, chunk, head, make_book

CELLS = """\
```{python}
#| label: fig-27-a
#| fig-cap: "A figure"
#| echo: false
import math
print(math.pi)
```

- item

  ```{python}
  x = 1
  ```

```{python}
#| label: [broken
```

```{python}
#| just words
```
"""


@pytest.fixture
def book(tmp_path):
    return read_book(make_book(tmp_path))


def test_chapters_in_order(book):
    assert [(c.path, c.topic, c.letter, c.package, c.title, c.anchor, c.number) for c in book.chapters] == [
        ("chapters/27-x.qmd", 27, None, "t27_x", "Topic 27", "sec-topic-27", "27"),
        ("chapters/a-testing.qmd", None, "A", None, "Testing", "sec-testing", "A"),
    ]
    assert book.chapters[0].meta["module"] == 1 and book.chapters[0].exports == ["level2_vectorized"]
    assert book.equations == {"eq-27-turn": "27.1"}


def test_chunks_know_their_lines(book):
    chapter = find_topic(book, 27)
    for c in chapter.chunks:
        assert chapter.lines[c.line - 1].startswith("```{.python ") and chapter.lines[c.end - 1] == "```"
        assert chapter.lines[c.first - 1 : c.end - 1] == c.lines
    rotate = chapter.chunks[1]
    assert (rotate.name, rotate.file, rotate.target, rotate.place) == (
        "Rotate",
        "level2_vectorized.py",
        LEVEL,
        f"chapters/27-x.qmd:{rotate.line}",
    )
    pitfall = chapter.chunks[3]
    assert (pitfall.pitfall, pitfall.replaces, pitfall.target) == (
        "swapped-halves",
        "Split the features",
        None,
    )


def test_ids_and_listing_captions_of_chunks(tmp_path):
    body = '```{.python #lst-27-a file="a.py" lst-cap="It says \\"x\\""}\nx = 1\n```\n'
    c = read_book(make_book(tmp_path, head() + body)).chapters[0].chunks[0]
    assert c.id == "lst-27-a" and c.keys["lst-cap"] == 'It says "x"'


def test_cells(tmp_path):
    chapter = read_book(make_book(tmp_path, head() + CELLS)).chapters[0]
    first, second, third, fourth = chapter.cells
    assert first.source == "import math\nprint(math.pi)"
    assert first.options == {"label": "fig-27-a", "fig-cap": "A figure", "echo": False}
    assert chapter.lines[first.line - 1] == "```{python}" and chapter.lines[first.first - 1] == "import math"
    assert chapter.lines[first.end - 1] == "```"
    assert second.source == "x = 1" and second.options == {}
    with pytest.raises(Problem, match=rf"27-x.qmd:{third.line + 2}: YAML"):
        _ = third.options
    with pytest.raises(Problem, match="cell options are no list of keys"):
        _ = fourth.options


def test_rows_of_outputs(book):
    made = outputs(book)
    output = made[LEVEL]
    chapter = find_topic(book, 27)
    assert len(output.rows) == output.text.count("\n") and output.rows[0] == ("chapters/27-x.qmd", 0)
    for (path, line), text in zip(output.rows, output.text.split("\n")):
        assert path == chapter.path
        assert not line or chapter.lines[line - 1].strip() == text.strip().replace("eq. 27.1", "@eq-27-turn")
    assert output.kind == "file" and made["tangled/__init__.py"].kind == "derived"


def test_titles(tmp_path):
    texts = {
        "# Plain": ("Plain", ""),
        "# With {#sec-a .unnumbered}": ("With", "sec-a"),
        "#  Spaced  #": ("Spaced", ""),
        "```\n# code\n```\n\n# Later {#sec-b}": ("Later", "sec-b"),
        "No heading": ("", ""),
    }
    for text, (title, anchor) in texts.items():
        chapter = Chapter("x.qmd", text.encode())
        assert (chapter.title, chapter.anchor) == (title, anchor)
    assert Chapter("x.qmd", b"---\ntitle: Old way\n---\n").title == "Old way"


def test_parts_and_other_forms_of_quarto_yml(tmp_path):
    make_book(tmp_path, {"01-a": head(1), "27-x": GOOD, "p": "# Part\n", "b": "# B\n", "c": "# C\n"})
    (tmp_path / "_quarto.yml").write_text("""\
book:
  chapters:
    - text: A link without a file
      href: https://example.org
    - part: "Named part"
      chapters:
        - chapters/01-a.qmd
    - part: chapters/p.qmd
      chapters:
        - file: chapters/27-x.qmd
  appendices: [chapters/b.qmd, chapters/c.qmd]
""")
    book = read_book(tmp_path)
    assert [(c.path[9:-4], c.letter) for c in book.chapters] == [
        ("01-a", None),
        ("p", None),
        ("27-x", None),
        ("b", "A"),
        ("c", "B"),
    ]


def test_only(tmp_path):
    root = make_book(
        tmp_path, {"01-a": head(1) + chunk("x = 1\n", fiel="a.py"), "27-x": GOOD, "a": APPENDIX}, ["a"]
    )
    with pytest.raises(Problems):
        read_book(root)
    book = read_book(root, only=27)
    assert [c.path for c in book.selected] == ["chapters/27-x.qmd"] and len(book.chapters) == 3
    assert [c.path for c in read_book(root, only=["chapters/a.qmd", 27]).selected] == [
        "chapters/27-x.qmd",
        "chapters/a.qmd",
    ]
    assert not book.chapters[0].chunks and book.chapters[0].problems
    assert set(outputs(book)) >= {LEVEL} and "tangled/t01_x/__init__.py" not in outputs(book)


def test_texts_stand_in_for_files(tmp_path):
    root = make_book(tmp_path)
    book = read_book(
        root, texts={"chapters/a-testing.qmd": APPENDIX.replace("LIMIT = 1", "LIMIT = 9").encode()}
    )
    assert "LIMIT = 9" in outputs(book)["tangled/testing.py"].text


def test_lines_with_their_ends():
    data = b"\xef\xbb\xbfa\r\nb\nc\rd"
    chapter = Chapter("x.qmd", data)
    assert chapter.lines == ["a", "b", "c", "d"] and chapter.with_ends() == ["a\r\n", "b\n", "c\r", "d"]


def test_a_wrong_topic(book):
    with pytest.raises(Problem, match=r"^no topic 3; expected one of 27$"):
        find_topic(book, 3)


def test_equations_in_the_preface_have_plain_numbers():
    assert Chapter("index.qmd", b"$$ a $$ {#eq-a}\n$$ b $$ {#eq-b}\n$$ c $$ {#eq-a}\n").equations == {
        "eq-a": "1",
        "eq-b": "2",
    }
