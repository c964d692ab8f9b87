"""`make stitch`: an edit goes home, or stays where it is with both places named. It is never lost."""

from __future__ import annotations

import os

import pytest

import scripts.tangling.transaction as transaction
from tests.books import GOOD, LEVEL, PACKAGE, chunk, edit, files, head, make_book, stitch, tangle, text, wrong

HERE = "level2_vectorized.py"
CHAPTER = "chapters/27-x.qmd"


def book_of(root, body: str, more: str = ""):
    root = make_book(root, head(more=more) + body)
    status, said = tangle(root)
    assert status == 0, said
    return root


def goes_home(root, path: str, old: str, new: str, chapter: str = CHAPTER) -> str:
    """Edit a generated file and stitch; the chapter afterwards. Tangling must then give the edited file."""
    edit(root, path, old, new)
    mine = text(root, path)
    status, said = stitch(root)
    assert status == 0, said
    assert f"from {path}" in said and text(root, path) == mine
    assert tangle(root) == (0, "tangled/ is up to date\n")
    return (root / chapter).read_bytes().decode()


def refused(root, path: str, old: str, new: str, *places: str) -> str:
    """Edit a generated file; stitching must refuse, name the places and change nothing."""
    edit(root, path, old, new)
    before, chapters = files(root), files(root, "chapters")
    status, said = stitch(root)
    assert status == 1 and files(root) == before and files(root, "chapters") == chapters
    for place in places:
        assert place in said, said
    return said


@pytest.fixture
def book(tmp_path):
    root = make_book(tmp_path)
    tangle(root)
    return root


# -- what goes home


def test_nothing_to_do(book):
    assert stitch(book) == (0, "no generated file was edited by hand\n")


def test_a_changed_line_in_an_included_chunk(book):
    assert "\neven = x[..., ::2]\n" in goes_home(
        book, LEVEL, "    even = x[..., 0::2]", "    even = x[..., ::2]"
    )
    assert "even = x[..., 1::2]" in wrong(book, "swapped_halves")


def test_lines_inserted_deleted_and_moved(tmp_path):
    root = book_of(
        tmp_path,
        chunk("def f():\n    <<A>>\n", file=HERE) + chunk("a = 1\nb = 2\nc = 3\nreturn a\n", chunk="A"),
    )
    after = goes_home(root, LEVEL, "    b = 2\n    c = 3\n", "    c = 3\n\n    if c:\n        b = 2\n")
    assert "\na = 1\nc = 3\n\nif c:\n    b = 2\nreturn a\n```" in after
    after = goes_home(root, LEVEL, "\n    if c:\n        b = 2\n", "")
    assert "\na = 1\nc = 3\nreturn a\n```" in after


def test_edits_of_several_files_and_chapters_at_once(book):
    edit(book, "tangled/testing.py", "LIMIT = 1", "LIMIT = 2")
    edit(book, f"{PACKAGE}/tests/test_basic.py", "assert rotate", "assert callable(rotate)")
    after = goes_home(book, LEVEL, "1::2", "1: :2")
    assert "LIMIT = 2" in (book / "chapters/a-testing.qmd").read_text() and "callable(rotate)" in after


def test_equations_are_turned_back(book):
    after = goes_home(
        book,
        LEVEL,
        "return even, odd                 # eq. 27.1",
        "return (even, odd)  # by eq. 27.1, not eq. 27.9",
    )
    assert "return (even, odd)  # by @eq-27-turn, not eq. 27.9" in after


def test_a_label_written_by_hand(book):
    edit(book, LEVEL, "    odd = x[..., 1::2]", "    odd = x[..., 1::2]  # @eq-27-turn")
    assert stitch(book)[0] == 0
    assert "odd = x[..., 1::2]  # @eq-27-turn" in (book / CHAPTER).read_text()
    assert "odd = x[..., 1::2]  # eq. 27.1" in text(book) and tangle(book, "--check")[0] == 0


@pytest.mark.parametrize(
    "convert",
    [
        lambda s: s.replace("\n", "\r\n"),
        lambda s: "\ufeff" + s,
        lambda s: s.rstrip("\n"),
        lambda s: "\ufeff" + s.replace("\n", "\r\n"),
        lambda s: s.replace("\n", "\r"),
    ],
)
def test_line_ends_and_bom_of_the_chapter_stay(tmp_path, convert):
    root = make_book(tmp_path, convert(GOOD).encode())
    tangle(root)
    after = goes_home(root, LEVEL, "    odd = x[..., 1::2]\n", "    odd = x[..., 1: :2]\n    odd += 0\n")
    assert after == convert(GOOD.replace("odd = x[..., 1::2]\n", "odd = x[..., 1: :2]\nodd += 0\n", 1))


def test_crlf_on_disk_is_no_hindrance(book):
    (book / LEVEL).write_bytes((book / LEVEL).read_bytes().replace(b"\n", b"\r\n").replace(b"0::2", b"0: :2"))
    assert stitch(book)[0] == 0 and "0: :2" in (book / CHAPTER).read_text()
    assert b"\r" not in (book / CHAPTER).read_bytes()


@pytest.mark.parametrize(
    "lead, inner", [("- item\n\n  ", "  "), ("> ", "> "), ("1. ", "   "), ("   ", "   "), ("> - ", ">   ")]
)
def test_chunks_in_lists_and_quotations(tmp_path, lead, inner):
    body = f'{lead}```{{.python file="{HERE}"}}\n{inner}a = 1\n{inner}b = 2\n{inner}```\n'
    root = book_of(tmp_path, body)
    after = goes_home(root, LEVEL, "b = 2\n", "b = 3\n\nif b:\n    c = 4\n")
    assert f"{inner}b = 3\n{'>' if '>' in inner else ''}\n{inner}if b:\n{inner}    c = 4\n" in after


def test_strings_that_tangle_left_alone(tmp_path):
    body = chunk("def f():\n    <<A>>\n    return s\n", file=HERE) + chunk(
        's = """a\n    b\n"""\nt = 1\n', chunk="A"
    )
    root = book_of(tmp_path, body)
    assert '"""a\n    c\n  d\n"""' in goes_home(root, LEVEL, "    b\n", "    c\n  d\n")
    assert "\nt = 2\n" in goes_home(root, LEVEL, "    t = 1", "    t = 2")


def test_a_whole_function_added_at_the_end_or_taken_away(tmp_path):
    body = (
        chunk("def a():\n    pass\n", file=HERE)
        + chunk("def b():\n    pass\n", file=HERE)
        + chunk("C = 1\n", file=HERE)
    )
    root = book_of(tmp_path, body)
    assert "C = 1\n\n\ndef d():\n    pass\n```" in goes_home(
        root, LEVEL, "C = 1\n", "C = 1\n\n\ndef d():\n    pass\n"
    )
    after = goes_home(root, LEVEL, "def b():\n    pass\n\n\n", "")
    assert '```{.python file="level2_vectorized.py"}\n```' in after
    after = goes_home(
        root, LEVEL, "def a():\n    pass\n\n\n", "def a():\n    pass\n\n\ndef e():\n    pass\n\n\n"
    )
    assert "def e():\n    pass\n" in after


def test_a_line_added_at_the_indentation_of_one_chunk_alone(tmp_path):
    body = chunk("for i in range(2):\n    <<A>>\nx = 1\n", file=HERE) + chunk("if i:\n    y = 1\n", chunk="A")
    root = book_of(tmp_path, body)
    after = goes_home(root, LEVEL, "        y = 1\n", "        y = 1\n        z = 1\n")
    assert "    y = 1\n    z = 1\n```" in after


def test_only_blanks_were_added(book):
    chapter = (book / CHAPTER).read_bytes()
    (book / LEVEL).write_bytes(
        (book / LEVEL).read_bytes().replace(b"\n\n", b"\n   \n").rstrip(b"\n") + b"\n\n\n"
    )
    assert stitch(book)[0] == 0 and (book / CHAPTER).read_bytes() == chapter
    assert tangle(book, "--check") == (0, "")


def test_no_final_newline(book):
    (book / LEVEL).write_bytes((book / LEVEL).read_bytes().rstrip(b"\n").replace(b"0::2", b"::2"))
    assert stitch(book)[0] == 0 and tangle(book, "--check") == (0, "")


# -- what does not


def test_a_chunk_used_twice(tmp_path):
    body = (
        chunk("def f():\n    <<A>>\n", file=HERE)
        + chunk("<<A>>\n", file="level1_naive.py")
        + chunk("x = 1\n", chunk="A")
    )
    refused(
        book_of(tmp_path, body),
        LEVEL,
        "    x = 1",
        "    x = 2",
        f"{LEVEL}:3: this chunk is used 2 times, at",
        f"{PACKAGE}/level1_naive.py:2 and {LEVEL}:3;",
        f"(from {CHAPTER}:19)",
    )


def test_an_insertion_beside_a_chunk_used_twice_goes_to_the_other(tmp_path):
    body = (
        chunk("def f():\n    <<A>>\n    return x\n", file=HERE)
        + chunk("<<A>>\n", file="b.py")
        + chunk("x = 1\n", chunk="A")
    )
    root = book_of(tmp_path, body)
    assert "<<A>>\n    x += 1\n    return x" in goes_home(
        root, LEVEL, "    return x", "    x += 1\n    return x"
    )


def test_an_edit_over_two_chunks(book):
    refused(
        book,
        LEVEL,
        "    odd = x[..., 1::2]\n    return even, odd",
        "    return even, x",
        f"{LEVEL}:11: an edit that spans",
        f"{CHAPTER}:27",
        f"{CHAPTER}:22",
    )


def test_an_insertion_between_two_chunks_that_could_be_in_either(book):
    said = refused(
        book,
        LEVEL,
        "    return even",
        "    odd += 0\n    return even",
        f"{LEVEL}:12: an edit between two chunks",
    )
    assert f"could go to {CHAPTER}:28 or {CHAPTER}:22" in said


def test_the_blank_lines_between_pieces(book):
    refused(book, LEVEL, "import numpy as np\n\n\n", "import numpy as np\n\n", "are made by tangle", CHAPTER)


def test_derived_files_and_lines(book):
    refused(book, f"{PACKAGE}/__init__.py", "rotate", "turn", "tangle derives this file", CHAPTER)
    tangle_again = book / f"{PACKAGE}/__init__.py"
    tangle_again.unlink()
    tangle(book)
    refused(book, "tangled/__init__.py", "import sys", "import sys, os", "tangle derives this file")
    (book / "tangled/__init__.py").unlink()
    tangle(book)


def test_an_edit_that_is_no_python(book):
    refused(book, LEVEL, "    odd = x", "    odd = = x", f"{LEVEL}:11: Python does not compile")


def test_an_edit_that_cannot_be_written(tmp_path):
    body = chunk("def f():\n    <<A>>\n", file=HERE) + chunk('"""Doc.\n\nMore.\n"""\n', chunk="A")
    root = book_of(tmp_path, body)
    said = refused(
        root, LEVEL, "    More.", "  More.", "cannot be written so that tangling gives it back", CHAPTER
    )
    assert "nothing of this file was taken" in said


def test_code_that_would_close_the_fence(tmp_path):
    root = book_of(tmp_path, chunk('x = """\na\n"""\n', file=HERE))
    refused(root, LEVEL, "\na\n", "\n```\n", "the edit cannot be")


def test_code_that_would_be_a_reference(tmp_path):
    root = book_of(tmp_path, chunk("<<A>>\n", file=HERE, chunk="B") + chunk('"""\nb\n"""\n', chunk="A"))
    edit(root, LEVEL, "\nb\n", "\n<<A>>\n")
    assert stitch(root)[0] == 0


def test_an_edit_that_makes_a_pitfall_equal(book):
    refused(
        book,
        LEVEL,
        "    even = x[..., 0::2]\n    odd = x[..., 1::2]",
        "    even = x[..., 1::2]\n    odd = x[..., 0::2]",
        "the edit cannot be taken",
        "equals the original",
    )


def test_a_line_before_the_first(book):
    refused(book, LEVEL, "# Tangled", "# mine\n# Tangled", "cannot be told apart")


def test_foreign_and_left_over_files(book):
    (book / "tangled/testing.py").write_text("mine")
    status, said = stitch(book)
    assert (
        status == 1 and "not made by tangle" in said and (book / "tangled/testing.py").read_text() == "mine"
    )


def test_one_refused_file_does_not_hold_up_another(book):
    edit(book, "tangled/testing.py", "LIMIT = 1", "LIMIT = 2")
    edit(book, f"{PACKAGE}/__init__.py", '"rotate"', '"turn"')
    status, said = stitch(book)
    assert (
        status == 1
        and "took 1 line(s) from tangled/testing.py" in said
        and "tangle derives this file" in said
    )
    assert "LIMIT = 2" in (book / "chapters/a-testing.qmd").read_text()
    assert '"turn"' in text(book, f"{PACKAGE}/__init__.py")


def test_a_chapter_with_mistakes(book):
    edit(book, LEVEL, "0::2", "::2")
    edit(book, CHAPTER, "<<Split the features>>", "<<Split the feature>>")
    assert stitch(book)[0] == 1 and "    even = x[..., ::2]" in text(book)


# -- chapter and file both edited


def test_both_edited_in_different_places(book):
    edit(book, CHAPTER, "import numpy as np\n", "import math\n\nimport numpy as np\n")
    edit(book, CHAPTER, "return even, odd ", "return (even, odd) ")
    edit(book, LEVEL, "0::2", "::2")
    assert tangle(book)[0] == 1
    assert stitch(book)[0] == 0
    for path in (CHAPTER, LEVEL):
        after = (book / path).read_text()
        assert "import math\n" in after and "(even, odd)" in after and "even = x[..., ::2]" in after
    assert tangle(book, "--check") == (0, "")


def test_both_edited_in_neighbouring_lines(book):
    edit(book, CHAPTER, "odd = x[..., 1::2]\n", "odd = x[..., 1: :2]\n")
    edit(book, LEVEL, "even = x[..., 0::2]\n", "even = x[..., 0: :2]\n")
    assert stitch(book)[0] == 0
    assert "even = x[..., 0: :2]\n    odd = x[..., 1: :2]\n" in text(book) and tangle(book, "--check")[0] == 0


def test_both_edited_in_the_same_line(book):
    edit(book, CHAPTER, "odd = x[..., 1::2]\n", "odd = x[..., 1: :2]\n")
    refused(
        book,
        LEVEL,
        "odd = x[..., 1::2]\n",
        "odd = x[..., 1:None:2]\n",
        f"{LEVEL}:11: chapter and file were both changed",
        f"(from {CHAPTER}:27)",
    )


def test_both_edited_too_often_to_tell(tmp_path):
    lines = "".join(f"a{i} = {i}\n" for i in range(60))
    root = book_of(tmp_path, chunk(lines, file=HERE))
    for i in range(0, 20, 2):
        edit(root, CHAPTER, f"a{i} = {i}\n", f"a{i} = -{i}\n")
        edit(root, LEVEL, f"a{i + 30} = ", f"a{i + 30} = -")
    assert stitch(root)[0] == 1


def test_both_edited_alike(book):
    edit(book, CHAPTER, "0::2", "::2")
    edit(book, LEVEL, "0::2", "::2")
    assert stitch(book) == (0, "no generated file was edited by hand\n")
    assert tangle(book)[0] == 0


def test_a_file_edited_while_it_was_stitched_is_not_lost(book, monkeypatch):
    edit(book, LEVEL, "0::2", "::2")
    chapter = (book / CHAPTER).read_bytes()
    real = transaction._step

    def step(root, stage, i, entry):
        if entry["path"] == LEVEL:
            edit(root, LEVEL, "1::2", "1: :2")
        return real(root, stage, i, entry)

    monkeypatch.setattr(transaction, "_step", step)
    assert stitch(book)[0] == 1
    assert "1: :2" in text(book) and "[..., ::2]" in text(book) and (book / CHAPTER).read_bytes() == chapter


def test_a_chapter_edited_while_it_was_stitched_is_not_lost(book, monkeypatch):
    edit(book, LEVEL, "0::2", "::2")
    mine = (book / LEVEL).read_bytes()
    real = os.rename

    def rename(source, target):
        if str(source).endswith("27-x.qmd"):
            edit(book, CHAPTER, "$$ y", "New.\n\n$$ y")
        real(source, target)

    monkeypatch.setattr(os, "rename", rename)
    assert stitch(book)[0] == 1
    monkeypatch.undo()
    assert "New." in (book / CHAPTER).read_text() and (book / LEVEL).read_bytes() == mine
    assert stitch(book)[0] == 0
