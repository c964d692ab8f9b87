"""Killed at any moment: the next run completes or undoes, and nothing that was written is lost."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import scripts.tangling.transaction as transaction
from scripts.tangling import fresh
from tests.books import LEVEL, chunk, edit, files, grown, head, make_book, tangle

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture
def book(tmp_path) -> Path:
    """A small book, tangled."""
    root = make_book(tmp_path / "book")
    assert tangle(root)[0] == 0
    return root


def test_killed_at_every_step(tmp_path, monkeypatch):
    """Stop before each call that changes the disk, as a kill does; the next run must complete or undo."""

    class Killed(BaseException):
        pass

    names = [(os, n) for n in ("link", "rename", "replace", "rmdir")] + [
        (Path, "mkdir"),
        (Path, "write_bytes"),
        (Path, "write_text"),
        (shutil, "rmtree"),
    ]
    start = make_book(tmp_path / "start")
    tangle(start)
    finished = shutil.copytree(start, tmp_path / "finished")
    grown(finished)
    tangle(finished)
    for step in range(1000):
        book = shutil.copytree(start, tmp_path / f"run{step}")
        grown(book)
        left = [step]

        def deadly(real, left=left):
            def call(*args, **kwargs):
                left[0] -= 1
                if left[0] < 0:
                    raise Killed
                return real(*args, **kwargs)

            return call

        with monkeypatch.context() as patch:
            for owner, name in names:
                patch.setattr(owner, name, deadly(getattr(owner, name)))
            try:
                tangle(book)
                killed = False
            except Killed:
                killed = True
        after = {p: d for p, d in files(book).items() if not p.startswith(fresh.STAGE)}
        known = set(files(start).values()) | set(files(finished).values())
        assert set(after.values()) <= known  # no file is torn
        assert tangle(book)[0] == 0
        assert files(book) == files(finished)
        shutil.rmtree(book)
        if not killed:
            break
    assert step > 20


def big(root: Path, turn: int) -> None:
    for topic in range(1, 5):
        text = head(topic) + "".join(chunk(f"x{i} = {turn}\n" * 20, file=f"part{i}.py") for i in range(6))
        (root / f"chapters/{topic:02d}-x.qmd").write_text(text)


CHILD = """\
import io, os, sys
sys.path.insert(0, %r)
from scripts import tangle
from scripts.reading import chapters
from scripts.tangling import plan, transaction
for line in sys.stdin:
    pid = os.fork()
    if not pid:
        sys.stdout = io.StringIO()
        os._exit(tangle.main(["--root", %r]))
    print(pid, flush=True)
    print(os.waitpid(pid, 0)[1], flush=True)
"""


def test_killed_at_a_hundred_random_moments(tmp_path):
    """Real processes, really killed. A hand-written file and the chapters survive; the next run completes."""
    root = make_book(tmp_path, {f"{topic:02d}-x": head(topic) for topic in range(1, 5)})
    big(root, 0)
    assert tangle(root)[0] == 0
    (root / "tangled/mine.py").write_text("mine = 1\n")
    # forked from one warm process, so that a hundred kills take seconds; each child is killed from outside
    child = CHILD % (str(REPOSITORY), str(root))
    r = random.Random(7)
    killed = 0
    with subprocess.Popen(
        [sys.executable, "-c", child], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:

        def run(delay: float | None) -> int:
            process.stdin.write("go\n")
            process.stdin.flush()
            pid = int(process.stdout.readline())
            if delay is not None:
                time.sleep(delay)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return int(process.stdout.readline())

        big(root, 1)
        start = time.perf_counter()
        assert run(None) == 0
        took = time.perf_counter() - start
        turn = 1
        while killed < 100:
            turn += 1
            big(root, turn)
            if run(r.uniform(0.3, 1.05) * took) == signal.SIGKILL:
                killed += 1
            else:
                took *= 0.95  # the first run was slower than the rest
            texts = {path: data for path, data in files(root).items() if not path.startswith(fresh.STAGE)}
            for path, data in texts.items():
                if "/part" in path:  # each file is whole: old or new
                    values = set(data.decode().partition("\n")[2].split("\n")) - {""}
                    assert len(values) == 1, path
        process.stdin.close()
    assert (root / "tangled/mine.py").read_text() == "mine = 1\n"
    assert tangle(root)[0] == 0 and tangle(root, "--check")[0] == 0
    assert not (root / fresh.STAGE).exists()
    assert all(f"= {turn}\n".encode() in d for p, d in files(root).items() if "/part" in p)


def staged(book: Path, monkeypatch) -> list[dict]:
    """Stop a run right after its journal is written."""

    class Killed(BaseException):
        pass

    def stop(*args):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(transaction, "_step", stop)
        with pytest.raises(Killed):
            tangle(book)
    return json.loads((book / fresh.STAGE / "journal.json").read_text())


def test_an_edit_between_a_kill_and_the_next_run_is_not_lost(book, monkeypatch):
    grown(book)
    staged(book, monkeypatch)
    edit(book, LEVEL, "0::2", "0:None:2")
    mine = (book / LEVEL).read_bytes()
    status, said = tangle(book)
    assert status == 1 and f"{LEVEL}: edited by hand" in said
    assert (book / LEVEL).read_bytes() == mine


def test_killed_while_a_changed_file_was_taken_and_another_written(book, monkeypatch):
    grown(book)
    entries = staged(book, monkeypatch)
    i = next(i for i, e in enumerate(entries) if e["path"] == LEVEL)
    stage = book / fresh.STAGE
    os.rename(book / LEVEL, stage / f"old-{i}")
    (stage / f"old-{i}").write_bytes(b"one version of mine\n")
    (book / LEVEL).write_bytes(b"another version of mine\n")
    (book / f"{LEVEL}.kept1").write_bytes(b"already here\n")
    tangle(book)
    assert (book / LEVEL).read_bytes() == b"another version of mine\n"
    assert (book / f"{LEVEL}.kept2").read_bytes() == b"one version of mine\n"
    assert not stage.exists()


def test_two_runs_at_once_wait_for_each_other(tmp_path):
    root = make_book(tmp_path, {f"{topic:02d}-x": head(topic) for topic in range(1, 5)})
    big(root, 0)
    runs = [
        subprocess.Popen(
            [sys.executable, "-m", "scripts", "tangle", "--root", str(root)],
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(4)
    ]
    said = [run.communicate()[0] for run in runs]
    assert [run.returncode for run in runs] == [0] * 4
    assert sum("new" in s for s in said) == 1 and sum(s == "tangled/ is up to date\n" for s in said) == 3


def test_a_system_without_locks(book, monkeypatch):
    monkeypatch.setitem(sys.modules, "fcntl", None)
    grown(book)
    assert tangle(book)[0] == 0
