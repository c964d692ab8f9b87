"""All files or none: a full disk, and files that change between reading and writing."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import scripts.tangling.transaction as transaction
from tests.books import LEVEL, PACKAGE, chunk, edit, files, grown, make_book, tangle

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture
def book(tmp_path) -> Path:
    """A small book, tangled."""
    root = make_book(tmp_path / "book")
    assert tangle(root)[0] == 0
    return root


@pytest.mark.parametrize(
    "name, fails_at",
    [(n, k) for n in ("write_bytes", "link", "rename") for k in (0, 1, 3)] + [("mkdir", 0), ("replace", 0)],
)
def test_disk_full_changes_nothing(book, monkeypatch, name, fails_at):
    grown(book)
    before, count = files(book), [0]
    owner = Path if name in ("write_bytes", "mkdir") else os
    real = getattr(owner, name)

    def full(*args, **kwargs):
        if "book" in str(args[0]) and "cache" not in str(args[0]):
            count[0] += 1
            if count[0] == fails_at + 1:
                raise OSError(28, "No space left on device", str(args[0]))
        return real(*args, **kwargs)

    monkeypatch.setattr(owner, name, full)
    status, said = tangle(book)
    monkeypatch.undo()
    assert status == 1 and said.count("\n") == 1 and "the disk is full; nothing was changed" in said
    assert files(book) == before
    assert tangle(book)[0] == 0 and tangle(book, "--check")[0] == 0


def test_a_real_limit_on_file_size(book):
    grown(book)
    path = book / "chapters/27-x.qmd"
    path.write_text(path.read_text() + chunk("".join(f"a{i} = {i}\n" for i in range(3000)), file="long.py"))
    before = files(book)
    limit = lambda: (
        resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192)),
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN),
    )
    done = subprocess.run(
        [sys.executable, "-m", "scripts", "tangle", "--root", str(book)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        preexec_fn=limit,
    )
    assert (done.returncode, done.stderr) == (1, "tangled/: the disk is full; nothing was changed\n")
    assert files(book) == before and tangle(book)[0] == 0


def test_no_permission_is_one_line(book, monkeypatch):
    grown(book)
    before = files(book)

    def denied(path, data):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "write_bytes", denied)
    status, said = tangle(book)
    monkeypatch.undo()
    assert (
        status == 1
        and said.count("\n") == 1
        and "cannot be written (Permission denied); nothing was changed" in said
    )
    assert files(book) == before


def test_a_stage_that_cannot_be_made(book, monkeypatch):
    grown(book)
    monkeypatch.setattr(transaction, "recover", lambda root: None)
    (book / transaction.STAGE).write_text("a file")
    status, said = tangle(book)
    assert (
        status == 1 and "nothing was changed" in said and (book / transaction.STAGE).read_text() == "a file"
    )


def test_a_file_system_without_links(book, monkeypatch):
    grown(book)

    def no_links(source, target):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    assert tangle(book)[0] == 0 and tangle(book, "--check")[0] == 0


@pytest.mark.parametrize("moment", ["before", "while"])
@pytest.mark.parametrize("how", ["in place", "renamed"])
def test_a_target_that_changes_meanwhile_is_not_lost(book, monkeypatch, moment, how):
    """Somebody saves a generated file between our reading and our writing."""
    grown(book)
    before = files(book)
    mine = before[LEVEL] + b"# mine\n"

    def save():
        if how == "in place":
            (book / LEVEL).write_bytes(mine)
        else:
            (book / "saved").write_bytes(mine)
            os.replace(book / "saved", book / LEVEL)

    real_commit, real_rename = transaction.commit, os.rename
    if moment == "before":
        monkeypatch.setattr(transaction, "commit", lambda *a: (save(), real_commit(*a)))
    else:

        def rename(source, target):
            if str(source).endswith("level2_vectorized.py"):
                save()
            real_rename(source, target)

        monkeypatch.setattr(os, "rename", rename)
    status, said = tangle(book)
    monkeypatch.undo()
    assert (
        status == 1
        and f"{LEVEL}: changed while it was being replaced; nothing was changed, run again\n" == said
    )
    assert files(book) == before | {LEVEL: mine}


def test_a_file_that_appears_meanwhile_is_not_lost(book, monkeypatch):
    grown(book)
    real = transaction.commit
    monkeypatch.setattr(
        transaction, "commit", lambda *a: ((book / PACKAGE / "more.py").write_text("mine"), real(*a))
    )
    assert tangle(book)[0] == 1 and (book / PACKAGE / "more.py").read_text() == "mine"


def test_a_file_that_vanishes_meanwhile(book, monkeypatch):
    grown(book)
    real = transaction.commit
    monkeypatch.setattr(transaction, "commit", lambda *a: ((book / LEVEL).unlink(), real(*a)))
    assert tangle(book)[0] == 1
    monkeypatch.undo()
    assert tangle(book)[0] == 0


def test_a_chapter_that_changes_meanwhile_is_tangled_the_next_time(book, monkeypatch):
    edit(book, "chapters/a-testing.qmd", "LIMIT = 1", "LIMIT = 2")
    real = transaction.commit
    monkeypatch.setattr(
        transaction,
        "commit",
        lambda *a: (real(*a), edit(book, "chapters/a-testing.qmd", "LIMIT = 2", "LIMIT = 3")),
    )
    assert tangle(book)[0] == 0
    monkeypatch.undo()
    assert tangle(book) == (0, "tangled/testing.py: changed\n")
    assert "LIMIT = 3" in (book / "tangled/testing.py").read_text()
