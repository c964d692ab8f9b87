"""Pitfalls are built, not committed: up to date with the chapter, importable, with chapter lines."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.errors import Problem
from scripts.tangling import pitfalls
from scripts.tangling.pitfalls import build
from tests.books import GOOD, LEVEL2, PACKAGE, chunk, files, head, make_book, tangle, wrong

ROOT = Path(__file__).resolve().parent.parent
CHAPTER = "chapters/27-x.qmd"


@pytest.fixture
def book(tmp_path):
    root = make_book(tmp_path)
    assert tangle(root)[0] == 0
    return root


def change(root: Path, old: str, new: str) -> None:
    path = root / CHAPTER
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_tangling_builds_none(book):
    assert not (book / "build").exists() and not any("pitfalls" in name for name in files(book))


def test_what_is_known_of_one(book):
    found = build(book, "t27_x")["swapped_halves"]
    line = (book / CHAPTER).read_text().split("\n").index(
        '```{.python pitfall="swapped-halves" replaces="Split the features"}') + 1
    assert (found.number, found.name, found.place) == ("27.1", "swapped halves", f"{CHAPTER}:{line}")
    assert found.path == book / "build/pitfalls/t27_x/swapped_halves.py"
    assert found.module == "tangled.t27_x.pitfalls.swapped_halves"


def test_one_that_was_committed_goes(book):
    """A clone from the time when they stood in tangled/ is tidied; one edited by hand is kept, and named."""
    old = book / PACKAGE / "pitfalls" / "swapped_halves.py"
    old.parent.mkdir()
    build(book, "t27_x")
    old.write_text((book / "build/pitfalls/t27_x/swapped_halves.py").read_text())
    assert tangle(book) == (0, f"{PACKAGE}/pitfalls/swapped_halves.py: removed\n")
    assert not old.exists()


def test_it_follows_the_chapter(book):
    wrong(book, "swapped_halves")
    change(book, "even = x[..., 1::2]", "even = x[..., 2::2]")
    assert "even = x[..., 2::2]" in wrong(book, "swapped_halves")
    change(book, "return even, odd ", "return (even, odd) ")
    assert "return (even, odd) " in wrong(book, "swapped_halves")


def test_a_renamed_one_leaves_nothing_behind(book):
    wrong(book, "swapped_halves")
    change(book, "swapped-halves", "halves-swapped")
    assert list(build(book, "t27_x")) == ["halves_swapped"]
    assert [p.name for p in (book / "build/pitfalls/t27_x").iterdir()] == ["halves_swapped.py"]


def test_it_comes_back(book):
    path = build(book, "t27_x")["swapped_halves"].path
    path.unlink()
    assert build(book, "t27_x")["swapped_halves"].path.is_file()
    path.write_text("edited\n")
    pitfalls._BUILT.clear()                                     # another process
    assert "odd" in wrong(book, "swapped_halves")


def test_no_such_package(book):
    with pytest.raises(Problem, match="no chapter has the package 't28_y'"):
        build(book, "t28_y")


def test_it_must_compile_although_nobody_builds_it(tmp_path):
    root = make_book(tmp_path, GOOD.replace("even = x[..., 1::2]\nodd = x[..., 0::2]", "even = = 1\nodd = 2"))
    status, said = tangle(root)
    assert status == 1 and "Python does not compile" in said and f"{CHAPTER}:" in said
    assert not (root / "tangled/t27_x").exists()


def test_what_compiled_once_is_not_compiled_again(book, monkeypatch):
    tried = []
    monkeypatch.setattr("scripts.tangling.plan.syntax", lambda target, output: tried.append(target))
    change(book, "assert rotate", "assert callable(rotate)")
    tangle(book)
    assert tried == [f"{PACKAGE}/tests/test_basic.py"]
    change(book, "even = x[..., 1::2]", "even = x[..., 2::2]")
    tangle(book)
    assert tried[1:] == ["build/pitfalls/t27_x/swapped_halves.py"]


# -- as a module


def python(root: Path, code: str) -> subprocess.CompletedProcess:
    if not (root / "scripts").exists():
        (root / "scripts").symlink_to(ROOT / "scripts")
    return subprocess.run([sys.executable, "-c", code], cwd=root, env=os.environ | {"PYTHONPATH": str(root)},
                          capture_output=True, text=True, timeout=60)


def test_importable(book):
    code = ("from tangled.t27_x.pitfalls import swapped_halves as a\n"
            "import tangled.t27_x.pitfalls.swapped_halves as b\n"
            "import numpy as np\nprint(a is b, a.rotate(np.arange(4))[0], a.__name__)")
    assert python(book, code).stdout == "True [1 3] tangled.t27_x.pitfalls.swapped_halves\n"


def test_an_unknown_one(book):
    assert "cannot import name 'no_such'" in python(book, "from tangled.t27_x.pitfalls import no_such").stderr
    assert "No module named" in python(book, "import tangled.t27_x.pitfalls.no_such").stderr
    assert "No module named" in python(book, "import tangled.t27_x.other").stderr


def test_without_the_tools(book):
    """As in an installed package: an import error like any other."""
    code = "import sys; sys.modules['scripts'] = None\nfrom tangled.t27_x.pitfalls import swapped_halves"
    assert "ModuleNotFoundError" in python(book, code).stderr


def test_the_chapters_own_have_chapter_lines():
    code = ("import numpy as np\nfrom tangled.t09_batch_norm.pitfalls import eps_outside_the_root as e\n"
            "e.batch_norm(np.ones((2, 3)), 1, 2, 3, 4, 5)")
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60).stderr
    assert 'File "chapters/09-batch-norm.qmd", line' in said and "build/pitfalls" not in said


# -- the tests that catch it


def with_caught(value: str) -> str:
    return GOOD.replace('replaces="Split the features"}', f'replaces="Split the features" caught="{value}"}}')


def test_caught_is_known(tmp_path):
    root = make_book(tmp_path, with_caught("test_rotate"))
    assert tangle(root)[0] == 0
    assert build(root, "t27_x")["swapped_halves"].caught == ("test_rotate",)


@pytest.mark.parametrize("value, said", [
    ("test_rotat", "caught='test_rotat' is no test of this chapter; did you mean 'test_rotate'?"),
    ("test_rotate other", "caught='other' is no test of this chapter; expected the name of a function in its tests/"),
    (" ", 'caught="" names no test'),
])
def test_caught_must_exist(tmp_path, value, said):
    root = make_book(tmp_path, with_caught(value))
    line = (root / CHAPTER).read_text().split("\n").index(
        f'```{{.python pitfall="swapped-halves" replaces="Split the features" caught="{value}"}}') + 1
    status, text = tangle(root)
    assert status == 1 and f"{CHAPTER}:{line}: {said}" in text


def test_caught_stands_on_pitfalls_alone(tmp_path):
    root = make_book(tmp_path, head() + chunk("x = 1\n", file="level2_vectorized.py", caught="test_x"))
    status, text = tangle(root)
    assert status == 1 and "caught= names the tests that catch a pitfall; expected pitfall= beside it" in text


def test_a_small_chapter_without_tests(tmp_path):
    root = make_book(tmp_path, head() + "$$ y = R x $$ {#eq-27-turn}\n\n" + LEVEL2)
    assert tangle(root)[0] == 0 and "odd" in wrong(root, "swapped_halves")
