"""The chunk language: what a chapter says and what comes out."""

from __future__ import annotations

import pytest

from tests.books import GOOD, LEVEL, PACKAGE, chunk, files, head, make_book, tangle, text, wrong

HERE = "level2_vectorized.py"


def made(root, body: str, path: str = LEVEL, more: str = "") -> str:
    """Tangle a chapter with this body; the generated file."""
    status, said = tangle(make_book(root, head(more=more) + body))
    assert status == 0, said
    return text(root, path)


def test_the_whole_of_a_small_book(tmp_path):
    status, said = tangle(make_book(tmp_path))
    assert status == 0 and said.count(": new") == 6
    assert sorted(files(tmp_path)) == [
        "tangled/__init__.py",
        f"{PACKAGE}/__init__.py",
        f"{PACKAGE}/level2_vectorized.py",
        f"{PACKAGE}/tests/__init__.py",
        f"{PACKAGE}/tests/test_basic.py",
        "tangled/testing.py",
    ]
    assert (
        text(tmp_path)
        == '''\
import numpy as np


def rotate(x):
    """Turn x (eq. 27.1).

    Returns the same shape.
    """
    even = x[..., 0::2]
    odd = x[..., 1::2]
    return even, odd                 # eq. 27.1
'''
    )
    pitfall = wrong(tmp_path, "swapped_halves")
    assert pitfall.startswith("# Pitfall 27.1: swapped halves\nimport numpy as np\n")
    assert "even = x[..., 1::2]" in pitfall
    first = (tmp_path / LEVEL).read_text().partition("\n")[0]
    assert first.startswith(
        "# Tangled from chapters/27-x.qmd; edit the chapter, then run make tangle. sha256:"
    )


def test_derived_package_exports_public_names(tmp_path):
    code = (
        "LIMIT = 1\n_hidden = 2\nlower = 3\nA, B = 1, 2\nWIDTH: int = 4\n\n\nclass Table:\n    pass\n\n\n"
        "def rope(x):\n    return x\n\n\ndef _private():\n    pass\n"
    )
    init = made(tmp_path, chunk(code, file=HERE), f"{PACKAGE}/__init__.py")
    names = ["A", "B", "LIMIT", "Table", "WIDTH", "rope"]
    assert (
        init
        == '"""Topic 27."""\n\nfrom tangled.t27_x.level2_vectorized import (\n'
        + "".join(f"    {n},\n" for n in names)
        + ")\n\n__all__ = [\n"
        + "".join(f'    "{n}",\n' for n in names)
        + "]\n"
    )


def test_exports_of_several_modules_in_order(tmp_path):
    body = chunk("def b():\n    pass\n", file="second.py") + chunk("def a():\n    pass\n", file="first.py")
    init = made(tmp_path, body, f"{PACKAGE}/__init__.py", "exports: [first, second]\n")
    assert init.index("t27_x.first") < init.index("t27_x.second")


def test_pieces_of_a_file_are_joined_as_a_reader_expects(tmp_path):
    body = (
        chunk('"""Doc."""\n', file=HERE)
        + chunk("\n\nimport math\n\n", file=HERE)
        + chunk("LIMIT = 1\n", file=HERE)
        + chunk("# about f\ndef f():\n    return math.pi\n", file=HERE)
        + chunk("@f\nclass A:\n    pass\n", file=HERE)
        + chunk("LAST = 2\n", file=HERE)
        + chunk("\n", file=HERE)
    )
    assert made(tmp_path, body.replace("@f\n", "@list\n").replace("@list\n", "")) == (
        '"""Doc."""\n\nimport math\n\nLIMIT = 1\n\n\n# about f\ndef f():\n    return math.pi\n\n\n'
        "class A:\n    pass\n\n\nLAST = 2\n"
    )


def test_extension_adds_to_a_chunk_and_spaces_definitions(tmp_path):
    body = (
        chunk("class A:\n    <<Methods>>\n\n\n<<Helpers>>\n", file=HERE)
        + chunk("def one(self):\n    pass\n", chunk="Methods")
        + chunk("def two(self):\n    pass\n", extend="Methods")
        + chunk("def f():\n    pass\n", chunk="Helpers")
        + chunk("def g():\n    pass\n", extend="Helpers")
        + chunk("LAST = 1\n", extend="Helpers")
    )
    assert made(tmp_path, body) == (
        "class A:\n    def one(self):\n        pass\n\n    def two(self):\n        pass\n\n\n"
        "def f():\n    pass\n\n\ndef g():\n    pass\nLAST = 1\n"
    )


def test_a_named_root_can_be_used_elsewhere_too(tmp_path):
    body = chunk("x = 1\n", file=HERE, chunk="Set x") + chunk(
        "if True:\n    <<Set x>>\n", file="level1_naive.py"
    )
    assert made(tmp_path, body, f"{PACKAGE}/level1_naive.py") == "if True:\n    x = 1\n"


def test_phrases_are_compared_with_single_blanks(tmp_path):
    body = chunk("<<Set   the value>>\n", file=HERE) + chunk("x = 1\n", chunk="Set the  value")
    assert made(tmp_path, body) == "x = 1\n"


def test_nested_references_add_their_indentation(tmp_path):
    body = (
        chunk("def f():\n    <<A>>\n", file=HERE)
        + chunk("if True:\n    <<B>>\n", chunk="A")
        + chunk("x = 1\n\nreturn x\n", chunk="B")
    )
    assert made(tmp_path, body) == "def f():\n    if True:\n        x = 1\n\n        return x\n"


def test_a_pitfall_may_replace_two_chunks_and_use_others(tmp_path):
    body = (
        chunk("<<A>>\n<<B>>\n", file=HERE)
        + chunk("a = 1\n", chunk="A")
        + chunk("<<C>>\n", chunk="B")
        + chunk("c = 3\n", chunk="C")
        + chunk("a = 2\n<<C>>\n", pitfall="both-wrong", replaces="A")
        + chunk("b = 4\n", pitfall="both-wrong", replaces="B")
        + chunk("c = 5\n", pitfall="other", replaces="C")
    )
    made(tmp_path, body)
    assert wrong(tmp_path, "both_wrong") == "# Pitfall 27.1: both wrong\na = 2\nc = 3\nb = 4\n"
    assert wrong(tmp_path, "other").startswith("# Pitfall 27.2: other\n")


def test_a_pitfall_takes_the_last_exported_module_with_its_chunk(tmp_path):
    body = (
        chunk("<<A>>\n", file="scalar.py")
        + chunk("b = 1\n", file="tensor.py")
        + chunk("a = 1\n", chunk="A")
        + chunk("a = 2\n", pitfall="wrong", replaces="A")
    )
    made(tmp_path, body, f"{PACKAGE}/scalar.py", "exports: [scalar, tensor]\n")
    assert "a = 2" in wrong(tmp_path, "wrong")


def test_a_pitfall_of_a_root_chunk(tmp_path):
    body = (
        chunk("a = 1\n", file=HERE, chunk="A")
        + chunk("b = 1\n", file=HERE)
        + chunk("a = 2\n", pitfall="w", replaces="A")
    )
    made(tmp_path, body)
    assert wrong(tmp_path, "w") == "# Pitfall 27.1: w\na = 2\n\nb = 1\n"


# -- equations


def test_equations_are_numbered_by_their_labels(tmp_path):
    body = (
        "$$ a $$\n\n$$ b $$ {#eq-27-b}\n\n$$\nc\n$$ {#eq-27-c}\n\n````\n$$ x $$ {#eq-27-shown}\n````\n\n"
        "Written `$$ x $$ {#eq-27-inline}`.\n\n<!-- $$ x $$ {#eq-27-comment} -->\n\n$$ d $$ {#eq-27-d}\n\n"
        + chunk("# @eq-27-b, @eq-27-c; (@eq-27-d)\nx = 1\n", file=HERE)
    )
    assert made(tmp_path, body) == "# eq. 27.1, eq. 27.2; (eq. 27.3)\nx = 1\n"


def test_equations_of_other_chapters_and_of_appendices(tmp_path):
    root = make_book(
        tmp_path,
        {
            "01-a": head(1) + "$$ a $$ {#eq-01-a}\n" + chunk("x = 1  # @eq-c-z\n", file=HERE),
            "27-x": head() + chunk("x = 1  # @eq-01-a\n", file=HERE),
            "c-z": "# Notation {#sec-c}\n\n$$ z $$ {#eq-c-z}\n",
        },
        ["c-z"],
    )
    assert tangle(root)[0] == 0
    assert text(root) == "x = 1  # eq. 1.1\n"
    assert text(root, "tangled/t01_x/level2_vectorized.py") == "x = 1  # eq. A.1\n"


def test_an_unknown_equation_is_refused_with_a_suggestion(tmp_path):
    root = make_book(tmp_path, GOOD.replace("odd                 # @eq-27-turn", "odd  # @eq-27-trun"))
    status, said = tangle(root)
    assert (status, said) == (
        1,
        "chapters/27-x.qmd:22: no equation labelled 'eq-27-trun'; did you mean 'eq-27-turn'?\n",
    )


# -- what is a chunk and what only looks like one

INNER = chunk("x = 1\n", file=HERE)


@pytest.mark.parametrize(
    "body",
    [
        INNER,
        '~~~{.python file="level2_vectorized.py"}\nx = 1\n~~~\n',
        '````{.python file="level2_vectorized.py"}\nx = 1\n````\n',
        '``` {.python .annotate file=level2_vectorized.py #lst-27-x lst-cap="A listing"}\nx = 1\n```\n',
        "``` {.python file='level2_vectorized.py'}\nx = 1\n``````\n",
        '   ```{.python file="level2_vectorized.py"}\n   x = 1\n   ```\n',
        '- an item\n\n  ```{.python file="level2_vectorized.py"}\n  x = 1\n  ```\n',
        '1. an item\n   ```{.python file="level2_vectorized.py"}\n   x = 1\n   ```\n',
        '- an item\n  - within one\n\n    ```{.python file="level2_vectorized.py"}\n    x = 1\n    ```\n',
        '> ```{.python file="level2_vectorized.py"}\n> x = 1\n> ```\n',
        '> - ```{.python file="level2_vectorized.py"}\n>   x = 1\n>   ```\n',
        '::: {.callout-note}\n```{.python file="level2_vectorized.py"}\nx = 1\n```\n:::\n',
        ":::: {.callout-note}\n::: {.inner}\n\n" + INNER + ":::\n::::\n",
        'A paragraph\n```{.python file="level2_vectorized.py"}\nx = 1\n```\nand more\n',
        "<!-- a comment -->\n" + INNER,
        "<!--\na comment\n-->\n" + INNER,
        "Text <!-- a comment --> text\n\n" + INNER,
        INNER.rstrip("\n"),
    ],
)
def test_where_a_chunk_may_stand(tmp_path, body):
    assert made(tmp_path, body) == "x = 1\n"


@pytest.mark.parametrize(
    "body",
    [
        "````\n" + INNER + "````\n",
        "````markdown\n" + INNER + "````\n",
        "~~~~\n" + INNER + "~~~~\n",
        "~~~\n" + INNER + "~~~\n",
        "<!--\n" + INNER + "-->\n",
        "<!-- hidden\n" + INNER + "more -->\n",
        '- item\n\n  ````\n  ```{.python file="level2_vectorized.py"}\n  x = 1\n  ```\n  ````\n',
        '> <!--\n> ```{.python file="level2_vectorized.py"}\n> x = 1\n> ```\n> -->\n',
        'text\n\n    ```{.python file="level2_vectorized.py"}\n    x = 1\n    ```\n',
        "```python\nx = 1\n```\n",
        "```{.python}\nx = 1\n```\n",
        '```{.python .annotate #lst-27-a lst-cap="shown" filename="a.py"}\nx = 1\n```\n',
        "```{python}\n#| label: fig-x\nx = 1\n```\n",
        '```{.bash filename="run"}\nmake tangle\n```\n',
        "```{mermaid}\nflowchart\n```\n",
        "```{=typst}\nx\n```\n",
    ],
)
def test_what_is_only_shown(tmp_path, body):
    made(tmp_path, body, f"{PACKAGE}/__init__.py")
    assert not (tmp_path / LEVEL).exists()


@pytest.mark.parametrize(
    "code",
    [
        "y = x << y >> z\n",
        "y = x <<y>> z\n",
        's = "<<A>>"\n',
        "# see <<A>>\n",
        '"""See <<A>> here."""\n',
        "y = 1  # <<A>>\n",
        '"""\n<<A>>\n"""\n',
        "s = '''\n    <<nothing of the kind>>\n'''\n",
        '"""One\n\n<<A>>\n"""\nx = "\\"\\"\\""\n',
        's = "a\\\n<<A>>\\\nb"\n',
    ],
)
def test_brackets_within_strings_and_beside_code_are_text(tmp_path, code):
    body = chunk("x = y = z = 1\n" + code + "<<A>>\n", file=HERE) + chunk("a = 1\n", chunk="A")
    assert made(tmp_path, body) == "x = y = z = 1\n" + code + "a = 1\n"


# -- text: strings, blanks, line ends


def test_docstrings_move_with_the_code_and_other_strings_stay(tmp_path):
    body = chunk("class A:\n    <<Method>>\n", file=HERE) + chunk(
        'def f(self):\n    """One.\n\n    Two.\n    """\n    s = """a\n  b\n\n"""\n'
        '    t = "x\\\ny"\n    return s + t\n',
        chunk="Method",
    )
    assert made(tmp_path, body) == (
        'class A:\n    def f(self):\n        """One.\n\n        Two.\n        """\n'
        '        s = """a\n  b\n\n"""\n        t = "x\\\ny"\n        return s + t\n'
    )
    space = {}
    exec(text(tmp_path), space)
    assert space["A"]().f() == "a\n  b\n\nxy"


@pytest.mark.parametrize(
    "string",
    [
        '"""a\n  b\n"""',
        "'''a\n  b\n'''",
        'r"""a\n  \\b\n"""',
        'f"""a\n {1 + 1}\n"""',
        '"""a\n  \t\n"""',
        '"""it\'s "so"\n # no comment\n"""',
        '"a\\\n  b"',
        '("""a\n  b""" + \'"\')',
    ],
)
def test_a_string_has_the_same_value_wherever_it_is_included(tmp_path, string):
    body = (
        chunk("if True:\n    if True:\n        <<A>>\n        <<B>>\n", file=HERE)
        + chunk(f"s = {string}\n", chunk="A")
        + chunk(f"t = [\n    {string},\n    <<C>>\n]\n", chunk="B")
        + chunk(f"{string}\n", chunk="C")
    )
    space = {}
    exec(made(tmp_path, body), space)
    assert space["s"] == eval(string) and space["t"] == [eval(string)] * 2


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s.replace(b"\n", b"\r\n"),
        lambda s: b"\xef\xbb\xbf" + s,
        lambda s: s.rstrip(b"\n"),
        lambda s: b"\xef\xbb\xbf" + s.replace(b"\n", b"\r\n").rstrip(),
        lambda s: s.replace(b"\n", b"\r"),
    ],
)
def test_line_ends_bom_and_a_missing_final_newline_change_nothing(tmp_path, change):
    tangle(make_book(tmp_path / "plain", GOOD))
    tangle(make_book(tmp_path / "changed", change(GOOD.encode())))
    assert files(tmp_path / "plain") == files(tmp_path / "changed")


def test_blanks_on_empty_lines_vanish(tmp_path):
    body = chunk("def f():\n    <<A>>\n\n    return x\n", file=HERE) + chunk(
        "x = 1\n    \n\t\ny = 2\n", chunk="A"
    )
    assert made(tmp_path, body) == "def f():\n    x = 1\n\n\n    y = 2\n\n    return x\n"


def test_an_empty_chunk_and_a_file_of_nothing(tmp_path):
    body = (
        chunk("x = 1\n<<A>>\n", file=HERE)
        + '```{.python chunk="A"}\n```\n'
        + chunk("\n", file="level1_naive.py")
    )
    assert made(tmp_path, body) == "x = 1\n"
    assert text(tmp_path, f"{PACKAGE}/level1_naive.py") == ""


def test_unicode_in_names_and_code(tmp_path):
    body = chunk("<<Drehe um θ, überall>>\n", file=HERE) + chunk(
        "s = 'ü \u2028 θ\x0c'\n", chunk="Drehe um θ, überall"
    )
    assert made(tmp_path, body) == "s = 'ü \u2028 θ\x0c'\n"


def test_a_chapter_without_chunks_is_fine(tmp_path):
    root = make_book(tmp_path, {"00-a": "# Preface {.unnumbered}\n", "27-x": GOOD})
    assert tangle(root)[0] == 0


def test_indentation_by_tabs_alone_is_accepted(tmp_path):
    assert made(tmp_path, chunk("def f():\n\treturn 1\n", file=HERE)) == "def f():\n\treturn 1\n"


def test_tabs_in_strings_are_no_indentation(tmp_path):
    code = 'def f():\n    return """\n\tx\n"""\n'
    assert made(tmp_path, chunk(code, file=HERE)) == code
