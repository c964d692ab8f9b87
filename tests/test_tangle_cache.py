"""The cache only saves work: with it and without it, the result is the same."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from scripts.tangling import fresh
from tests.books import APPENDIX, GOOD, LEVEL, chunk, edit, files, make_book, tangle

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture
def book(tmp_path) -> Path:
    """A small book, tangled."""
    root = make_book(tmp_path / "book")
    assert tangle(root)[0] == 0
    return root


def test_the_cache_sees_every_change(book):
    for path in files(book):
        if path.endswith(".py"):
            data = (book / path).read_bytes()
            assert fresh.unchanged(book)
            (book / path).write_bytes(data[:-1] + b"#")  # the same size, within the same tick
            assert not fresh.unchanged(book), path
            (book / path).write_bytes(data)
            tangle(book)
    for path in ("chapters/27-x.qmd", "_quarto.yml", "chapters/a-testing.qmd"):
        assert fresh.unchanged(book)
        data = (book / path).read_bytes()
        (book / path).write_bytes(data[:-2] + b"#\n")
        assert not fresh.unchanged(book), path
        (book / path).write_bytes(data)
        tangle(book)
    assert fresh.unchanged(book)
    (book / "tangled/stray.py").write_text("")
    assert not fresh.unchanged(book)


def test_the_cache_grows_old_and_then_needs_no_hashes(book, monkeypatch):
    path = book / fresh.CACHE
    assert json.loads(path.read_text())["young"]
    time.sleep(0.15)
    assert fresh.unchanged(book) and not json.loads(path.read_text())["young"]
    assert fresh.unchanged(book)
    edit(book, LEVEL, "0::2", "0: :2")
    assert not fresh.unchanged(book)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"python": 1}'])
def test_a_broken_cache_is_no_matter(book, content):
    (book / fresh.CACHE).write_text(content)
    assert tangle(book) == (0, "tangled/ is up to date\n")


def test_a_cache_that_cannot_be_written(tmp_path):
    root = make_book(tmp_path)
    (root / ".cache").write_text("a file")
    assert tangle(root)[0] == 0 and tangle(root)[0] == 0


def test_the_tools_own_changes_count(book, monkeypatch):
    assert fresh.unchanged(book)
    monkeypatch.setattr(fresh, "TOOLS", book / "tangled")
    assert not fresh.unchanged(book)


def test_after_a_kill_the_cache_is_not_believed(book, monkeypatch):
    (book / fresh.STAGE).mkdir()
    assert not fresh.unchanged(book)


def test_git_checkout_of_an_old_version_is_seen(book):
    edit(book, "chapters/a-testing.qmd", "LIMIT = 1", "LIMIT = 2")
    old = (book / "tangled/testing.py").read_bytes()
    tangle(book)
    (book / "tangled/testing.py").write_bytes(old)  # clean, but of an older chapter
    assert tangle(book) == (0, "tangled/testing.py: changed\n")


def test_appendix_in_a_folder_gets_its_init(tmp_path):
    text = APPENDIX.replace("[testing.py]", "[testing.py, tests/test_testing.py]") + chunk(
        "x = 1\n", file="tests/test_testing.py"
    )
    root = make_book(tmp_path, {"27-x": GOOD, "a": text}, ["a"])
    assert tangle(root)[0] == 0 and (root / "tangled/tests/__init__.py").exists()
    assert tangle(root, "--only", "chapters/a.qmd", "--check")[0] == 0
