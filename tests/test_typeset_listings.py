"""Print's own way with programs: docstrings shortened, contents by topic, listings and headings that stay together."""

from __future__ import annotations

from scripts.typeset.code import defined
from scripts.typeset.printed import compile_pdf
from scripts.typeset.shortened import shortened
from scripts.typeset.site import TEMPLATES
from scripts.typeset.topics import topics

LONG = '''\
def f(x, w, cache, flag=True):
    """Do it well;
    see eq. 1.1.

    Parameters
    ----------
    x : ndarray of shape (N, C) or (N, C, H, W), floating
    w, b : ndarrays of shape (C,), in the dtype of x
        used if flag
    flag : bool

    Returns
    -------
    out : ndarray of the shape and dtype of x
    cache : as x
    """
    text = """
    stays
    """
    return x
'''
SHORT = '''\
def f(x, w, cache, flag=True):
    """Do it well; see eq. 1.1.
    x (N, C) or (N, C, H, W); w, b (C,) -> out as x"""
    text = """
    stays
    """
    return x
'''


def test_docstrings_shrink_to_their_first_sentence_and_the_shapes():
    assert shortened(LONG) == SHORT
    assert shortened(SHORT) == SHORT
    for same in ('x = """a\n\nb\n"""\n', '"""One line."""\n', 'def f():\n    """Two\n    lines."""\n',
                 'def f():\n    """Never closed\n\n    at all\n', 'print("""\na\n""")\n'):
        assert shortened(same) == same
    assert shortened('"""A module.\n\nMuch more.\n"""\nx = 1') == '"""A module."""\nx = 1'


def heading(level, id, title="T", number="1"):
    return {"level": level, "id": id, "title": [{"t": "Str", "c": title}], "number": number}


def test_contents_list_what_a_chapter_is_about():
    found = topics([
        heading(2, "sec-03-problem"), heading(3, "sec-03-api"), heading(2, "sec-03-why"),
        heading(2, "sec-03-mathematics"), heading(3, "sec-03-momentum"), heading(3, "sec-03-trace"),
        heading(2, "sec-03-frame"), heading(3, "sec-03-inner"), heading(2, "sec-03-code"),
        heading(3, "sec-03-level1"), heading(2, "sec-03-landscapes", "What it looks like"),
        heading(2, "sec-03-pitfalls"), heading(3, "sec-03-bias"), heading(2, "answers-03", number=None)])
    assert [h["id"] for h in found] == ["sec-03-momentum", "sec-03-frame"]


def lines_of(count, word):
    return "(" + "".join(f'("{word}{n}",),' for n in range(count)) + ")"


def pages(tmp_path, body) -> list[str]:
    """The text of each page of a document in the book's template."""
    from typeset_sample import pdf_pages
    (tmp_path / "book.typ").write_text((TEMPLATES / "book.typ").read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "x.typ").write_text(
        '#import "book.typ": *\n#show: book.with(title: "T", single: "C")\n' + body, encoding="utf-8")
    compile_pdf(tmp_path / "x.typ", tmp_path / "x.pdf")
    return pdf_pages((tmp_path / "x.pdf").read_bytes())


def listing(count, word="line", foot="Foot."):
    return f'#listing("c:{word}", [Name], [file.py], [{foot}], 20, {lines_of(count, word)})\n\n'


def test_listings_below_twelve_lines_stay_whole_and_longer_ones_keep_three(tmp_path):
    """Whatever is left of the page: no short listing is divided, and no foot stands alone."""
    filler = lambda n: f"#v({n}cm)\n\n"
    body = "".join(filler(18 + n / 3) + listing(11, f"s{n}x", f"Foot s{n}x.")
                   + "#pagebreak()\n" + filler(18 + n / 3) + listing(30, f"m{n}x", f"Foot m{n}x.")
                   + "#pagebreak()\n" for n in range(9))
    found = pages(tmp_path, body)
    on = lambda text: next(k for k, page in enumerate(found) if text in page)
    for n in range(9):
        assert len({on(f"s{n}x0"), on(f"s{n}x10"), on(f"Foot s{n}x.")}) == 1
        assert len({on(f"m{n}x0"), on(f"m{n}x2")}) == 1
        assert len({on(f"m{n}x27"), on(f"m{n}x29"), on(f"Foot m{n}x.")}) == 1
    assert any(on(f"m{n}x0") != on(f"m{n}x29") for n in range(9)), "long ones may be divided"


def test_no_heading_stands_with_fewer_than_three_lines(tmp_path):
    """A paragraph of six lines under each heading; its second line is never on another page alone."""
    words = " ".join(f"w{k}" for k in range(150))
    body = "".join(f'#v({20 + n / 4}cm)\n#booksection(2, 2, "1.{n}", "c:h{n}", true)[Head{n}x]\n\nbegin{n}x {words}\n\n'
                   "#pagebreak()\n" for n in range(12))
    found = pages(tmp_path, body)
    for n in range(12):
        page = next(page for page in found if f"Head{n}x" in page and f"begin{n}x" in page)
        assert page.count("w") > 40, "three lines at least"


def test_the_running_head_names_the_section_at_the_top(tmp_path):
    """Page 3 begins within section 1.1, although 1.2 begins further down on it."""
    body = ('#bookchapter("Chapter", "1", "c:c", 1)[One]\n\nx\n#pagebreak()\n'
            '#booksection(2, 2, "1.1", "c:a", true)[Alpha]\n\ny\n#pagebreak()\nz\n#v(10cm)\n'
            '#booksection(2, 2, "1.2", "c:b", true)[Beta]\n\nz\n#pagebreak()\nu\n#pagebreak()\nv')
    found = pages(tmp_path, body)
    assert found[2].startswith("1.1Alpha") and found[4].startswith("1.2Beta")


def test_what_a_line_defines():
    program = ["MOST = 3", "BOUND: int = 4", "class Box(Base):", "    def value(self):", "        x = 1", "",
               "    def other(self): ...", "def free(a,", "         b):", "    return A == b", "@property",
               "def last(self):"]
    assert defined(program) == ["MOST", "BOUND", "Box", "Box.value", "", "", "Box.other", "free", "", "", "", "last"]


def test_the_index_leads_to_the_line_that_defines(tmp_path):
    """A listing of two pages: its head, a name on the second page, one with no line of its own, a use of a name."""
    lines = "".join(f'("x{k} = {k}",),\n' for k in range(80))
    rows = f'(("anchor", "", "c:l:Box"), "class Box:",),\n{lines}(("anchor", "", "c:l:last"), "def last(self):",),\n'
    entries = "".join(f'#indexpages((("c:l", {bold}),), of: "{name}")\n\n'
                      for name, bold in (("Box", "true"), ("Box.last", "true"), ("gone", "true"), ("last", "false")))
    found = pages(tmp_path, f'#listing("c:l", [A box], [a.py], [], 20, (\n{rows}))\n#pagebreak()\n{entries}')
    assert "def last" not in found[0] and "def last" in found[1]
    assert "".join(found[2].split()).endswith("1211")


def pitfall(longest):
    side = lambda kind: f'([*{kind}*], (1,), (("a{kind}",), ("b{kind}",),))'
    return f'#pitfall("c:p{longest}", [Pitfall 1.1], [Caught.], {longest}, ({side("right")}, {side("wrong")}))\n\n'


def test_right_and_wrong_stand_side_by_side_where_both_fit(tmp_path):
    from scripts.typeset.margins import _File
    for longest, beside in ((40, True), (70, False)):
        pages(tmp_path, pitfall(longest))
        _, items = next(_File((tmp_path / "x.pdf").read_bytes()).pages())
        left = {text: start for start, _, text in items}
        assert (left["wrong"] > left["right"] + 200) == beside and (left["bwrong"] > left["bright"] + 200) == beside


PITFALL = """# Tensor operations {#sec-tensor-operations}

## Views {#sec-01-views}

::: {#chunk-01-make-a-view .pitfall}
[Pitfall 1.1: copied]{.chunk-name}

::: {.pitfall-pair layout-ncol=2}

::: {.pitfall-right}
[**right**: [Make](#sec-01-views){.pageref}]{.pitfall-label}

``` {.python .chunk-code marked="2"}
a = 1
b = view(a)
```

:::

::: {.pitfall-wrong}
[**wrong**]{.pitfall-label}

``` {.python .chunk-code marked="2 3"}
a = 1
b = copy(a)
c = 0
```

:::

:::

[Caught by `test_view`.]{.chunk-links}

:::

Text[, on paper]{.content-hidden when-format="html"}[, on the web]{.content-visible when-format="html"}.
"""


def test_a_pitfall_on_the_web(tmp_path):
    from typeset_sample import write_sample

    from scripts.typeset import PDF, typeset
    typeset(write_sample(tmp_path / "build/book", **{"01_tensor_operations": PITFALL}), tmp_path, ("html", "pdf"))
    page = (tmp_path / "chapters/01-tensor-operations.html").read_text(encoding="utf-8")
    assert 'class="pitfall-pair narrow"' in page and "Pitfall 1.1: copied" in page
    assert page.count('<span class="marked">') == 3 and "Caught by <code>test_view</code>." in page
    assert "Text, on the web." in page and "on paper" not in page
    from typeset_sample import pdf_pages
    text = "".join(pdf_pages((tmp_path / PDF).read_bytes()))
    assert "Text, on paper." in text and "Text, on the web" not in text


def test_a_likeness_is_to_an_array():
    text = ('def f(x):\n    """Divide.\n\n    Parameters\n    ----------\n    x : ndarray of shape (N,)\n'
            '    y : ndarray of the shape of x\n    dw : in the shape of its array\n    n : int, as many as there are\n'
            '    ffn : as SwiGLU\n\n    Attributes\n    ----------\n    a : ndarray of shape (M,)\n    """\n')
    assert shortened(text) == 'def f(x):\n    """Divide.\n    x (N,); y as x; a (M,)"""\n'


def test_shapes_that_are_joined():
    for joined in ("(K, M) and (K,)", "(K, M), (K,)", "(K, M) or (K,)"):
        text = ('def f(W, u):\n    """Divide.\n\n    Returns\n    -------\n    both : ndarrays of shapes '
                f'{joined}: the weights, the next start\n    cache : for the way back\n    """\n')
        assert f"-> both {joined}" in shortened(text)
