"""Every mistake in a chapter: one line with the place, what was found and what was expected; status 1."""

from __future__ import annotations

import pytest

from tests.books import APPENDIX, GOOD, chunk, files, head, make_book, tangle

HERE = "level2_vectorized.py"
FIRST = head().count("\n") + 1  # the line of the first thing after the heading


def said(root, body: str, more: str = "") -> list[str]:
    """The messages about a chapter with this body; nothing may have been written."""
    status, out = tangle(make_book(root, head(more=more) + body))
    assert status == 1, out
    assert set(files(root)) == set()
    lines = out.splitlines()
    assert all(line.startswith(("chapters/27-x.qmd:", "_quarto.yml:")) for line in lines), out
    assert all("expected" in line or "did you mean" in line for line in lines), out
    return [line.removeprefix("chapters/27-x.qmd:") for line in lines]


def code(line: int) -> int:
    return FIRST + line


ONE = [
    (
        "undefined",
        chunk("x = 1\n<<Shfit>>\n", file=HERE)
        + chunk("y = 1\n", chunk="Shift")
        + chunk("<<Shift>>\n", file=HERE),
        2,
        "no chunk named 'Shfit'; did you mean 'Shift' (line 14)?",
    ),
    (
        "undefined, nothing near",
        chunk("<<Some other thing>>\n", file=HERE),
        1,
        "no chunk named 'Some other thing'; expected a chunk= of this chapter",
    ),
    (
        "capitals",
        chunk("<<scale>>\n<<Scale>>\n", file=HERE) + chunk("x = 1\n", chunk="Scale"),
        1,
        "did you mean 'Scale'",
    ),
    (
        "unused",
        chunk("x = 1\n", chunk="Never"),
        0,
        "chunk 'Never' is never used; expected <<Never>> somewhere, or file=",
    ),
    (
        "cycle",
        chunk("<<A>>\n", file=HERE)
        + chunk("<<B>>\n", chunk="A")
        + chunk("x = 1\n<<C>>\n", chunk="B")
        + chunk("<<A>>\n", chunk="C"),
        5,
        "chunks include each other: "
        "'A' (line 14) -> 'B' (line 19) -> 'C' (line 23) -> 'A'; expected no cycle",
    ),
    ("cycle of one", chunk("x = 1\n<<A>>\n", file=HERE, chunk="A"), 2, "'A' (line 11) -> 'A'"),
    (
        "cycle through a pitfall",
        chunk("<<A>>\n", file=HERE)
        + chunk("x = 1\n", chunk="A")
        + chunk("<<A>>\n", pitfall="p", replaces="A"),
        9,
        "'A' (line 18) -> 'A'",
    ),
    (
        "duplicate",
        chunk("<<A>>\n", file=HERE) + chunk("x = 1\n", chunk="A") + chunk("x = 2\n", chunk="A"),
        8,
        "chunk 'A' is already defined at chapters/27-x.qmd:13; "
        "expected another name, or extend= to add to it",
    ),
    (
        "extend of nothing",
        chunk("<<Shift>>\n", file=HERE) + chunk("x = 1\n", chunk="Shift") + chunk("x = 1\n", extend="Shfit"),
        8,
        "extend='Shfit', but there is no such chunk; did you mean 'Shift' (line 13)?",
    ),
    (
        "extend before",
        chunk("<<A>>\n", file=HERE) + chunk("x = 1\n", extend="A") + chunk("x = 1\n", chunk="A"),
        4,
        "extend='A' stands before its chunk (line 17); expected it after",
    ),
    (
        "extend with file",
        chunk("x = 1\n", file=HERE, chunk="A") + chunk("x = 1\n", file=HERE, extend="A"),
        4,
        "extend= adds to a chunk where that chunk stands",
    ),
    (
        "absolute target",
        chunk("x = 1\n", file="/etc/x.py"),
        0,
        "target '/etc/x.py' is outside tangled/t27_x/",
    ),
    ("target above", chunk("x = 1\n", file="../x.py"), 0, "target '../x.py' is outside"),
    ("target above, hidden", chunk("x = 1\n", file="tests/../../x.py"), 0, "is outside"),
    ("target with a backslash", chunk("x = 1\n", file="tests\\\\x.py"), 0, "is outside"),
    ("target not Python", chunk("x = 1\n", file="notes.txt"), 0, "or no module; expected a name such as"),
    ("target empty", chunk("x = 1\n", file=""), 0, "is outside"),
    (
        "target derived",
        chunk("x = 1\n", file="__init__.py"),
        0,
        "is derived by tangle; expected another file",
    ),
    ("target in pitfalls", chunk("x = 1\n", file="pitfalls/a.py"), 0, "expected pitfall= and replaces="),
    (
        "target in capitals",
        chunk("x = 1\n", file="a.py") + chunk("x = 1\n", file="A.py"),
        5,
        "differ in capitals alone",
    ),
    (
        "target is a folder too",
        chunk("x = 1\n", file="tests.py") + chunk("x = 1\n", file="tests/test_a.py"),
        1,
        "stands beside a folder of that name",
    ),
    (
        "does not compile",
        chunk("x = 1\n", file=HERE)
        + chunk("def f():\n    <<A>>\n", file=HERE)
        + chunk("y = 1\ny = (\n", chunk="A"),
        11,
        "Python does not compile: '(' was never closed: 'y = ('",
    ),
    (
        "bad indentation",
        chunk("def f():\nx = 1\n", file=HERE),
        2,
        "Python does not compile: expected an indented block",
    ),
    ("return outside", chunk("x = 1\nreturn x\n", file=HERE), 2, "'return' outside function"),
    (
        "nested too deep",
        chunk("x = " + "(" * 300 + ")" * 300 + "\n", file=HERE),
        1,
        "Python does not compile",
    ),
    (
        "a pitfall does not compile",
        chunk("<<A>>\n", file=HERE)
        + chunk("x = 1\n", chunk="A")
        + chunk("x = = 1\n", pitfall="p", replaces="A"),
        9,
        "Python does not compile",
    ),
    ("unknown attribute", chunk("x = 1\n", fiel=HERE), 0, "unknown attribute 'fiel'; did you mean 'file'?"),
    (
        "unknown attribute, nothing near",
        chunk("x = 1\n", file=HERE, qqqq="1"),
        0,
        "unknown attribute 'qqqq'; expected one of file, chunk, extend, pitfall, replaces",
    ),
    ("attribute twice", '```{.python file="a.py" file="b.py"}\n```\n', 0, "attribute 'file' given twice"),
    (
        "attribute not quoted to the end",
        '```{.python chunk="A B}\nx = 1\n```\n',
        0,
        "cannot read 'chunk=\"A B'",
    ),
    ("attribute of two bare words", "```{.python chunk=A B}\nx = 1\n```\n", 0, "cannot read 'B'"),
    ("no braces", '```python file="a.py"\nx = 1\n```\n', 0, "attributes without braces"),
    ("brace not closed", '```{.python file="a.py"\nx = 1\n```\n', 0, "attributes not closed"),
    (
        "a cell",
        '```{python file="a.py"}\nx = 1\n```\n',
        0,
        "a cell {python …} is run, not tangled; expected {.python …}",
    ),
    ("not Python", '```{.bash file="a.py"}\nx = 1\n```\n', 0, "file= on a block that is not Python"),
    (
        "a backtick in the name",
        '```{.python file="a.py" chunk="The `x`"}\nx = 1\n```\n',
        0,
        "a backtick in a chunk's",
    ),
    (
        "brackets in the name",
        chunk("x = 1\n", file=HERE, chunk="a <<b>>"),
        0,
        "expected a phrase without < > and quotes",
    ),
    ("no name", chunk("x = 1\n", chunk=""), 0, "chunk=''; expected a phrase"),
    ("tabs and spaces in one line", chunk("if True:\n  \tx = 1\n", file=HERE), 2, "tabs mixed with spaces"),
    (
        "tabs and spaces in one file",
        chunk("if 1:\n    x = 1\nif 1:\n\ty = 1\n", file=HERE),
        4,
        "tabs mixed with spaces",
    ),
    (
        "tabs included at spaces",
        chunk("if 1:\n    <<A>>\n", file=HERE) + chunk("if 2:\n\ty = 1\n", chunk="A"),
        7,
        "tabs mixed with spaces in the indentation; expected spaces",
    ),
    (
        "reference beside code",
        chunk("y = <<Scale>> it\n<<Scale>>\n", file=HERE) + chunk("x = 1\n", chunk="Scale"),
        1,
        "a reference beside code: 'y = <<Scale>> it'; expected <<…>> alone on its line",
    ),
    (
        "reference with a comment",
        chunk("<<Scale it>>  # now\n<<Scale it>>\n", file=HERE) + chunk("x = 1\n", chunk="Scale it"),
        1,
        "a reference beside code",
    ),
    (
        "fence not closed",
        'text\n\n```{.python file="a.py"}\nx = 1\n',
        2,
        "fence opened here is never closed; expected ```",
    ),
    ("fence closed too short", '````{.python file="a.py"}\nx = 1\n```\n', 0, "expected ````"),
    ("fence not closed in a list", '- a\n\n  ```{.python file="a.py"}\n  x = 1\n\nb\n', 2, "is never closed"),
    ("plain fence not closed", "```bash\nls\n", 0, "is never closed"),
    (
        "comment not closed",
        "<!-- a\n\n" + chunk("x = 1\n", file=HERE),
        0,
        "comment opened here is never closed; expected -->",
    ),
    (
        "comment within a paragraph",
        "text <!-- a\n" + chunk("x = 1\n", file=HERE) + "-->\n",
        0,
        "begins within a paragraph",
    ),
    (
        "pitfall of nothing",
        chunk("<<Scale>>\n", file=HERE)
        + chunk("x = 1\n", chunk="Scale")
        + chunk("x = 2\n", pitfall="p", replaces="Sclae"),
        8,
        "pitfall 'p' replaces 'Sclae', but there is no such chunk; did you mean 'Scale' (line 13)?",
    ),
    (
        "pitfall elsewhere",
        chunk("x = 1\n", file=HERE)
        + chunk("<<A>>\n", file="level1_naive.py")
        + chunk("x = 1\n", chunk="A")
        + chunk("x = 2\n", pitfall="p", replaces="A"),
        12,
        "replaces nothing: 'A' is no part of level2_vectorized.py",
    ),
    (
        "pitfall that is none",
        chunk("<<A>>\n", file=HERE)
        + chunk("x = 1\n", chunk="A")
        + chunk("x = 1\n", pitfall="p", replaces="A"),
        8,
        "pitfall 'p' equals the original; expected a wrong version",
    ),
    (
        "pitfall replaces twice",
        chunk("<<A>>\n", file=HERE)
        + chunk("x = 1\n", chunk="A")
        + chunk("x = 2\n", pitfall="p", replaces="A")
        + chunk("x = 3\n", pitfall="p", replaces="A"),
        12,
        "replaces 'A' twice, first at chapters/27-x.qmd:17",
    ),
    ("pitfall alone", chunk("x = 1\n", pitfall="p"), 0, "pitfall= and replaces= go together"),
    ("replaces alone", chunk("x = 1\n", replaces="p"), 0, "pitfall= and replaces= go together"),
    (
        "pitfall with file",
        chunk("x = 1\n", file="a.py", chunk="A") + chunk("x = 1\n", file="b.py", pitfall="p", replaces="A"),
        4,
        "a pitfall takes no other attribute",
    ),
    (
        "pitfall's name",
        chunk("x = 1\n", file=HERE, chunk="A") + chunk("x = 2\n", pitfall="Forgot it", replaces="A"),
        4,
        "expected words in small letters joined by hyphens",
    ),
    (
        "label twice",
        "$$ a $$ {#eq-27-a}\n\n$$ b $$ {#eq-27-a}\n",
        2,
        "equation label 'eq-27-a' is already claimed by",
    ),
    ("null character", "a\0b\n", 0, "a null character"),
]


@pytest.mark.parametrize("body, line, message", [case[1:] for case in ONE], ids=[case[0] for case in ONE])
def test_one_mistake(tmp_path, body, line, message):
    lines = said(tmp_path, body)
    hits = [each for each in lines if message in each]
    assert hits, lines
    number = hits[0].partition(":")[0]
    assert number == str(FIRST + line) or number.startswith(" "), lines


def test_bad_utf8_has_a_line(tmp_path):
    root = make_book(tmp_path, GOOD.encode().replace(b"Returns", b"R\xe9turns"))
    assert tangle(root) == (1, "chapters/27-x.qmd:19: byte 0xe9 is not UTF-8; expected UTF-8\n")


def test_file_without_a_package(tmp_path):
    root = make_book(tmp_path, {"a": APPENDIX + chunk("x = 1\n", file="tesitng.py")}, ["a"])
    assert tangle(root) == (
        1,
        "chapters/a.qmd:11: file='tesitng.py', but the chapter has no package; expected a name "
        "listed in `shared:`; did you mean 'testing.py'?\n",
    )


def test_pitfall_without_a_package(tmp_path):
    root = make_book(tmp_path, {"a": APPENDIX + chunk("x = 1\n", pitfall="p", replaces="A")}, ["a"])
    assert "a pitfall in a chapter without a package" in tangle(root)[1]


def test_two_chapters_claim_one_topic_package_and_file(tmp_path):
    shared = "shared: [testing.py]\n"
    root = make_book(tmp_path, {"27-x": head(more=shared), "28-x": head(more=shared)})
    status, out = tangle(root)
    assert status == 1
    for line, what in ((2, "topic 27"), (3, "package 't27_x'"), (5, "shared file 'testing.py'")):
        assert (
            f"chapters/28-x.qmd:{line}: {what} is already claimed by chapters/27-x.qmd:{line}; expected"
            in out
        )


def test_two_exported_modules_with_one_name(tmp_path):
    body = chunk("def f():\n    pass\n", file="a.py") + chunk("def f():\n    pass\n", file="b.py")
    assert "5: a and b both define 'f'" in said(tmp_path, body, "exports: [a, b]\n")[0]


def test_all_mistakes_at_once_in_order_of_place(tmp_path):
    body = (
        chunk("<<A>>\nx = (\n", file=HERE)
        + chunk("x = 1\n", chunk="B")
        + chunk("x = 1\n", file="/a.py")
        + "```bash\n"
    )
    lines = said(tmp_path, body)
    assert [int(line.partition(":")[0]) for line in lines] == sorted(
        int(line.partition(":")[0]) for line in lines
    ) and len(lines) == 2
    lines = said(
        tmp_path, chunk("<<A>>\n", file=HERE) + chunk("x = 1\n", chunk="B") + chunk("<<C>>\n", file="b.py")
    )
    assert len(lines) == 3


def test_mistakes_of_several_chapters_at_once(tmp_path):
    root = make_book(
        tmp_path,
        {
            "01-x": head(1) + chunk("<<A>>\n", file="a.py"),
            "27-x": head() + chunk("(\n", file="a.py"),
            "28-x": head(28) + chunk("<<A>>\n", file="a.py"),
        },
    )
    out = tangle(root)[1]
    assert "chapters/01-x.qmd:10:" in out and "chapters/28-x.qmd:10:" in out


def test_too_deep_and_too_many(tmp_path):
    deep = chunk("<<A0>>\n", file=HERE) + "".join(chunk(f"<<A{i + 1}>>\n", chunk=f"A{i}") for i in range(300))
    out = said(tmp_path / "deep", deep + chunk("x = 1\n", chunk="A300"))
    assert "chunks nested more than 200 deep" in out[0]
    wide = chunk("<<A0>>\n", file=HERE) + "".join(
        chunk(f"<<A{i + 1}>>\n" * 4, chunk=f"A{i}") for i in range(12)
    )
    assert (
        "a file of more than 50000 lines" in said(tmp_path / "wide", wide + chunk("x = 1\n", chunk="A12"))[0]
    )
