"""Writing: only what changed is touched, and nothing of anybody's is overwritten."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.books import LEVEL, PACKAGE, chunk, edit, files, head, make_book, tangle

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture
def book(tmp_path) -> Path:
    """A small book, tangled."""
    root = make_book(tmp_path / "book")
    assert tangle(root)[0] == 0
    return root


def stats(root: Path) -> dict:
    return {p: (root / p).stat().st_mtime_ns for p in files(root)}


# -- only what changed


def test_twice_changes_nothing(book):
    before, times = files(book), stats(book)
    assert tangle(book) == (0, "tangled/ is up to date\n")
    shutil.rmtree(book / ".cache")
    assert tangle(book) == (0, "tangled/ is up to date\n")
    assert files(book) == before and stats(book) == times
    assert tangle(book, "--check") == (0, "")


def test_a_chapter_that_is_not_listed_is_named(book):
    (book / "chapters/91-forgotten.qmd").write_text("# Forgotten\n", encoding="utf-8")
    for _ in range(2):                                     # with something to do, and with nothing
        status, said = tangle(book)
        assert status == 0 and "chapters/91-forgotten.qmd: is not listed in _quarto.yml" in said
    status, said = tangle(book, "--topic", "91")
    assert status == 1 and "chapters/91-forgotten.qmd: is not listed in _quarto.yml" in said


def test_deterministic(book, tmp_path):
    other = make_book(tmp_path / "other")
    tangle(other)
    assert files(other) == files(book)


def test_only_what_changed_is_touched(book):
    times = stats(book)
    edit(book, "chapters/a-testing.qmd", "LIMIT = 1", "LIMIT = 2")
    assert tangle(book, "--check") == (1, "tangled/testing.py: stale\n")
    assert tangle(book) == (0, "tangled/testing.py: changed\n")
    assert {p for p, t in stats(book).items() if t != times[p]} == {"tangled/testing.py"}
    edit(book, "chapters/27-x.qmd", "# Topic 27", "# Topic twenty-seven")
    assert tangle(book) == (0, f"{PACKAGE}/__init__.py: changed\n")
    edit(book, "chapters/27-x.qmd", "$$ y", "Prose.\n\n$$ y")
    assert tangle(book) == (0, "tangled/ is up to date\n")


def test_a_deleted_target_comes_back(book):
    before = files(book)
    (book / LEVEL).unlink()
    assert tangle(book, "--check") == (1, f"{LEVEL}: missing\n")
    assert tangle(book) == (0, f"{LEVEL}: new\n")
    shutil.rmtree(book / "tangled")
    assert tangle(book)[0] == 0
    (book / LEVEL).write_bytes(b"")
    assert tangle(book)[0] == 0
    assert files(book) == before


def test_left_overs_go_unless_edited(book):
    edit(book, "chapters/27-x.qmd", "tests/test_basic.py", "test_all.py")
    assert "tests/test_basic.py: left over" in tangle(book, "--check")[1]
    status, said = tangle(book)
    assert status == 0 and f"{PACKAGE}/tests/test_basic.py: removed" in said
    assert not (book / PACKAGE / "tests").exists()  # not even the folder
    edit(book, f"{PACKAGE}/test_all.py", "assert rotate", "assert rotate is not None")
    edit(book, "chapters/27-x.qmd", "test_all.py", "test_each.py")
    status, said = tangle(book)
    assert status == 1 and "no chapter makes it any more, but it was edited by hand; kept" in said
    assert "is not None" in (book / PACKAGE / "test_all.py").read_text()
    assert not (book / PACKAGE / "test_each.py").exists()
    assert f"{PACKAGE}/test_all.py: left over and edited by hand" in tangle(book, "--check")[1]


def test_a_renamed_package_and_a_renamed_chapter(book):
    edit(book, "chapters/27-x.qmd", "package: t27_x", "package: t27_y")
    edit(book, "chapters/27-x.qmd", "tangled.t27_x", "tangled.t27_y")
    assert tangle(book)[0] == 0
    assert not (book / PACKAGE).exists() and (book / "tangled/t27_y/tests/test_basic.py").exists()
    os.rename(book / "chapters/27-x.qmd", book / "chapters/27-new.qmd")
    edit(book, "_quarto.yml", "27-x", "27-new")
    assert tangle(book)[0] == 0
    assert "chapters/27-new.qmd" in (book / "tangled/t27_y/level2_vectorized.py").read_text()
    edit(book, "_quarto.yml", "    - chapters/27-new.qmd\n", "")
    tangle(book)
    assert sorted(files(book)) == ["tangled/__init__.py", "tangled/testing.py"]


def test_one_topic_leaves_the_left_overs_of_others(book):
    edit(book, "chapters/a-testing.qmd", "shared: [testing.py]", "shared: [tools.py]")
    edit(book, "chapters/a-testing.qmd", 'file="testing.py"', 'file="tools.py"')
    assert tangle(book, "--topic", "27")[0] == 0
    assert (book / "tangled/testing.py").exists() and not (book / "tangled/tools.py").exists()
    assert tangle(book, "--only", "chapters/a-testing.qmd")[0] == 0
    assert not (book / "tangled/testing.py").exists() and (book / "tangled/tools.py").exists()


def test_other_peoples_files_stay(book):
    (book / "tangled/notes.txt").write_text("mine")
    (book / "tangled/mine.py").write_text("x = 1\n")
    (book / PACKAGE / "__pycache__").mkdir()
    (book / PACKAGE / "__pycache__/a.pyc").write_bytes(b"\0")
    edit(book, "chapters/a-testing.qmd", "LIMIT = 1", "LIMIT = 2")
    assert tangle(book)[0] == 0
    assert (book / "tangled/mine.py").read_text() == "x = 1\n" and (book / "tangled/notes.txt").exists()


# -- edited by hand


@pytest.mark.parametrize("cache", [True, False])
def test_a_hand_edit_stops_everything_and_is_shown(book, cache):
    edit(book, LEVEL, "even = x[..., 0::2]", "even = x[..., 0::2] * 1")
    edit(book, "chapters/a-testing.qmd", "LIMIT = 1", "LIMIT = 2")
    if not cache:
        shutil.rmtree(book / ".cache")
    before = files(book)
    status, said = tangle(book)
    assert status == 1 and files(book) == before
    assert "-    even = x[..., 0::2]\n+    even = x[..., 0::2] * 1\n" in said
    assert f"{LEVEL}: edited by hand; nothing was changed. `make stitch`" in said
    assert tangle(book, "--check") == (1, f"{LEVEL}: edited by hand\ntangled/testing.py: stale\n")


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s.replace("even = x[..., 0::2]", "even = x", 1),
        lambda s: s + "# mine\n",
        lambda s: s.rstrip("\n") + "  \n",
        lambda s: s.replace("sha256:", "sha256:0", 1) + "x = 1\n",
        lambda s: "# mine\n" + s,
        lambda s: s.partition("\n")[0] + "\n",
        lambda s: s.replace("odd", "O"),
        lambda s: s.replace("\n    odd", "\n\n    odd", 1),
    ],
)
def test_any_hand_edit_is_seen(book, change):
    (book / LEVEL).write_text(change((book / LEVEL).read_text()))
    mine = (book / LEVEL).read_bytes()
    assert tangle(book)[0] == 1 and (book / LEVEL).read_bytes() == mine
    edit(book, "chapters/27-x.qmd", "import numpy as np", "import numpy")
    assert tangle(book)[0] == 1 and (book / LEVEL).read_bytes() == mine


def test_an_edit_that_is_in_the_chapter_too_is_no_edit(book):
    edit(book, LEVEL, "0::2", "0:None:2")
    edit(book, "chapters/27-x.qmd", "0::2", "0:None:2")
    assert tangle(book)[0] == 0 and tangle(book, "--check")[0] == 0


def test_a_foreign_file_is_not_overwritten(tmp_path):
    root = make_book(tmp_path)
    (root / "tangled").mkdir()
    (root / "tangled/testing.py").write_text("print('mine')\n")
    status, said = tangle(root)
    assert status == 1 and "tangled/testing.py: not made by tangle" in said and "move it away" in said
    assert files(root) == {"tangled/testing.py": b"print('mine')\n"}
    assert "tangled/testing.py: not made by tangle" in tangle(root, "--check")[1]


def test_line_ends_and_bom_of_a_checkout_are_no_edits(book):
    for path, data in files(book).items():
        (book / path).write_bytes(b"\xef\xbb\xbf" + data.replace(b"\n", b"\r\n"))
    before = files(book)
    assert tangle(book) == (0, "tangled/ is up to date\n") and files(book) == before
    assert tangle(book) == (0, "tangled/ is up to date\n")


def test_a_file_that_is_no_text_is_foreign(book):
    (book / LEVEL).write_bytes(b"\xff\xfe\0\0")
    assert tangle(book)[0] == 1 and (book / LEVEL).read_bytes() == b"\xff\xfe\0\0"


# -- places where no file may go


def test_symbolic_links_are_refused(tmp_path):
    root = make_book(tmp_path / "book")
    outside = tmp_path / "outside"
    outside.mkdir()
    (root / "tangled").mkdir()
    (root / PACKAGE).symlink_to(outside)
    status, said = tangle(root)
    assert status == 1 and f"leads through the symbolic link {PACKAGE}; expected a plain file" in said
    assert said.startswith("chapters/27-x.qmd:") and not list(outside.iterdir())
    (root / PACKAGE).unlink()
    (root / "tangled/testing.py").symlink_to(outside / "x.py")
    assert "symbolic link tangled/testing.py" in tangle(root)[1] and not list(outside.iterdir())
    shutil.rmtree(root / "tangled")
    (root / "tangled").symlink_to(outside)
    assert "symbolic link tangled;" in tangle(root)[1] and not list(outside.iterdir())


def test_a_folder_or_a_file_in_the_way(tmp_path):
    root = make_book(tmp_path)
    (root / LEVEL).mkdir(parents=True)
    assert "is a folder; expected a file" in tangle(root)[1]
    shutil.rmtree(root / PACKAGE)
    (root / "tangled/t27_x.py").write_text("")
    (root / f"{PACKAGE}").mkdir()
    (root / f"{PACKAGE}/tests.py").write_text("")
    assert tangle(root)[0] == 0
    shutil.rmtree(root / "tangled")
    (root / "tangled").write_text("a file")
    assert tangle(root)[0] == 1 and (root / "tangled").read_text() == "a file"


def test_a_file_where_a_folder_should_be(tmp_path):
    root = make_book(tmp_path, head() + chunk("x = 1\n", file="sub.py/a.py".replace(".py/", "_d/")))
    assert tangle(root)[0] == 0
