"""Writing: nothing of anybody's is overwritten, only what changed is touched, all of it or nothing."""

from __future__ import annotations

import contextlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import scripts.transaction as transaction
from scripts import fresh
from tests.books import APPENDIX, GOOD, LEVEL, PACKAGE, chunk, edit, files, head, make_book, tangle

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture
def book(tmp_path) -> Path:
    """A small book, tangled."""
    root = make_book(tmp_path / "book")
    assert tangle(root)[0] == 0
    return root


def stats(root: Path) -> dict:
    return {p: (root / p).stat().st_mtime_ns for p in files(root)}


# -- only what changed ---------------------------------------------------------------------------------------------

def test_twice_changes_nothing(book):
    before, times = files(book), stats(book)
    assert tangle(book) == (0, "tangled/ is up to date\n")
    shutil.rmtree(book / ".cache")
    assert tangle(book) == (0, "tangled/ is up to date\n")
    assert files(book) == before and stats(book) == times
    assert tangle(book, "--check") == (0, "")


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
    assert not (book / PACKAGE / "tests").exists()                                  # not even the folder
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


# -- edited by hand ------------------------------------------------------------------------------------------------

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


@pytest.mark.parametrize("change", [
    lambda s: s.replace("even = x[..., 0::2]", "even = x", 1), lambda s: s + "# mine\n", lambda s: s.rstrip("\n") + "  \n",
    lambda s: s.replace("sha256:", "sha256:0", 1) + "x = 1\n", lambda s: "# mine\n" + s, lambda s: s.partition("\n")[0] + "\n",
    lambda s: s.replace("odd", "O"), lambda s: s.replace("\n    odd", "\n\n    odd", 1)])
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


# -- places where no file may go -----------------------------------------------------------------------------------

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


# -- all or nothing ------------------------------------------------------------------------------------------------

def grown(root: Path) -> None:
    """A change to every file of the book, and a file more and one less."""
    path = root / "chapters/27-x.qmd"
    text = path.read_text().replace("x[", "x [").replace("assert rotate", "assert  rotate").replace("Topic 27", "Topic 2 7")
    text = text.replace("tests/test_basic.py", "tests/test_all.py")
    path.write_text(text + chunk("y = 2\n", file="more.py"))
    edit(root, "chapters/a-testing.qmd", "LIMIT = 1", "LIMIT = 2")


@pytest.mark.parametrize("name, fails_at", [(n, k) for n in ("write_bytes", "link", "rename", "mkdir", "replace")
                                            for k in (0, 1, 3)])
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
    if count[0] <= fails_at:
        pytest.skip("not called so often")
    assert status == 1 and said.count("\n") == 1 and "the disk is full; nothing was changed" in said
    assert files(book) == before
    assert tangle(book)[0] == 0 and tangle(book, "--check")[0] == 0


def test_a_real_limit_on_file_size(book):
    grown(book)
    path = book / "chapters/27-x.qmd"
    path.write_text(path.read_text() + chunk("".join(f"a{i} = {i}\n" for i in range(3000)), file="long.py"))
    before = files(book)
    limit = lambda: (resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192)), signal.signal(signal.SIGXFSZ, signal.SIG_IGN))
    done = subprocess.run([sys.executable, "-m", "scripts", "tangle", "--root", str(book)], cwd=REPOSITORY,
                          capture_output=True, text=True, preexec_fn=limit)
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
    assert status == 1 and said.count("\n") == 1 and "cannot be written (Permission denied); nothing was changed" in said
    assert files(book) == before


def test_a_stage_that_cannot_be_made(book, monkeypatch):
    grown(book)
    monkeypatch.setattr(transaction, "recover", lambda root: None)
    (book / transaction.STAGE).write_text("a file")
    status, said = tangle(book)
    assert status == 1 and "nothing was changed" in said and (book / transaction.STAGE).read_text() == "a file"


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
    assert status == 1 and f"{LEVEL}: changed while it was being replaced; nothing was changed, run again\n" == said
    assert files(book) == before | {LEVEL: mine}


def test_a_file_that_appears_meanwhile_is_not_lost(book, monkeypatch):
    grown(book)
    real = transaction.commit
    monkeypatch.setattr(transaction, "commit", lambda *a: ((book / PACKAGE / "more.py").write_text("mine"), real(*a)))
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
    monkeypatch.setattr(transaction, "commit", lambda *a: (
        real(*a), edit(book, "chapters/a-testing.qmd", "LIMIT = 2", "LIMIT = 3")))
    assert tangle(book)[0] == 0
    monkeypatch.undo()
    assert tangle(book) == (0, "tangled/testing.py: changed\n")
    assert "LIMIT = 3" in (book / "tangled/testing.py").read_text()


# -- killed --------------------------------------------------------------------------------------------------------

def test_killed_at_every_step(tmp_path, monkeypatch):
    """Stop before each call that changes the disk, as a kill does; the next run must complete or undo."""
    class Killed(BaseException):
        pass

    names = [(os, n) for n in ("link", "rename", "replace", "rmdir")] + [(Path, "mkdir"), (Path, "write_bytes"),
                                                                        (Path, "write_text"), (shutil, "rmtree")]
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
        assert set(after.values()) <= known                          # no file is torn
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


def test_killed_at_a_hundred_random_moments(tmp_path):
    """Real processes, really killed. A hand-written file and the chapters survive; the next run completes."""
    root = make_book(tmp_path, {f"{topic:02d}-x": head(topic) for topic in range(1, 5)})
    big(root, 0)
    assert tangle(root)[0] == 0
    (root / "tangled/mine.py").write_text("mine = 1\n")
    # forked from one warm process, so that a hundred kills take seconds; each child is killed from outside
    child = ("import os, sys, signal, contextlib, io\nsys.path.insert(0, %r)\nfrom scripts import plan, transaction, tangle, "
             "chapters\nfor line in sys.stdin:\n    pid = os.fork()\n    if not pid:\n        sys.stdout = io.StringIO()\n"
             "        os._exit(tangle.main(['--root', %r]))\n    print(pid, flush=True)\n    print(os.waitpid(pid, 0)[1], "
             "flush=True)\n" % (str(REPOSITORY), str(root)))
    r = random.Random(7)
    killed = 0
    with subprocess.Popen([sys.executable, "-c", child], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
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
                took *= 0.95                                          # the first run was slower than the rest
            texts = {path: data for path, data in files(root).items() if not path.startswith(fresh.STAGE)}
            for path, data in texts.items():
                if "/part" in path:                                   # each file is whole: old or new
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
    runs = [subprocess.Popen([sys.executable, "-m", "scripts", "tangle", "--root", str(root)], cwd=REPOSITORY,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for _ in range(4)]
    said = [run.communicate()[0] for run in runs]
    assert [run.returncode for run in runs] == [0] * 4
    assert sum("new" in s for s in said) == 1 and sum(s == "tangled/ is up to date\n" for s in said) == 3


def test_a_system_without_locks(book, monkeypatch):
    monkeypatch.setitem(sys.modules, "fcntl", None)
    grown(book)
    assert tangle(book)[0] == 0


# -- the cache only saves work -------------------------------------------------------------------------------------

def test_the_cache_sees_every_change(book):
    for path in files(book):
        if path.endswith(".py"):
            data = (book / path).read_bytes()
            assert fresh.unchanged(book)
            (book / path).write_bytes(data[:-1] + b"#")               # the same size, within the same tick
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
    (book / "tangled/testing.py").write_bytes(old)                    # clean, but of an older chapter
    assert tangle(book) == (0, "tangled/testing.py: changed\n")


def test_appendix_in_a_folder_gets_its_init(tmp_path):
    text = APPENDIX.replace("[testing.py]", "[testing.py, tests/test_testing.py]") + chunk("x = 1\n", file="tests/test_testing.py")
    root = make_book(tmp_path, {"27-x": GOOD, "a": text}, ["a"])
    assert tangle(root)[0] == 0 and (root / "tangled/tests/__init__.py").exists()
    assert tangle(root, "--only", "chapters/a.qmd", "--check")[0] == 0
