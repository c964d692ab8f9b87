"""`make watch`: what a save touches, and that nothing is left running."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from scripts import watch

HERE = Path(__file__).resolve().parent.parent
FAKE = textwrap.dedent("""
    import json, os, subprocess, sys, time
    from pathlib import Path
    with open("log", "a") as log:
        log.write(json.dumps(sys.argv[1:]) + "\\n")
    if Path("slow").exists():
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        Path("pids").write_text(f"{os.getpid()} {child.pid}")
        time.sleep(600)
    print("a table\\n=== 3 passed in 0.1s ===")
    sys.exit(int(Path("status").read_text()) if Path("status").exists() else 0)
    """)


def chapter(root: Path, topic: int, name: str, extra: str = "") -> None:
    (root / f"chapters/{topic:02d}-{name}.qmd").write_text(
        f"---\ntopic: {topic}\npackage: t{topic:02d}_{name}\n{extra}---\n\n# {name} {{#sec-{name}}}\n")
    package = root / f"tangled/t{topic:02d}_{name}"
    package.mkdir(parents=True)
    (package / "level2_vectorized.py").write_text("import numpy\n")


@pytest.fixture
def root(tmp_path):
    (tmp_path / "chapters").mkdir()
    (tmp_path / "workspace").mkdir()
    for topic, name in ((1, "a"), (2, "b"), (3, "c"), (4, "d")):
        chapter(tmp_path, topic, name)
    (tmp_path / "tangled/t02_b/level2_vectorized.py").write_text("from tangled.t01_a import x\n")
    (tmp_path / "tangled/t03_c/tests").mkdir()
    (tmp_path / "tangled/t03_c/tests/test_basic.py").write_text("  from tangled import os, t02_b  # t04_d\n")
    (tmp_path / "chapters/a-testing.qmd").write_text("---\nshared: [testing.py]\n---\n\n# T {#sec-t}\n")
    (tmp_path / "tangled/t04_d/level2_vectorized.py").write_text("import tangled.testing as t\n")
    (tmp_path / "_quarto.yml").write_text("book:\n  chapters:\n" + "".join(
        f"    - chapters/{n:02d}-{name}.qmd\n" for n, name in ((1, "a"), (2, "b"), (3, "c"), (4, "d")))
        + "  appendices:\n    - chapters/a-testing.qmd\n")
    (tmp_path / "fake.py").write_text(FAKE)
    return tmp_path


def planned(root, *paths):
    return [job.arguments for job in watch.jobs(root, list(paths))]


def test_a_chapter_is_tangled_and_what_imports_it_tested(root):
    assert planned(root, "chapters/01-a.qmd") == [
        ["tangle", "--only", "chapters/01-a.qmd"], ["test", "--topic", "1"], ["test", "--topic", "2"],
        ["test", "--topic", "3"]]


def test_a_chapter_that_nothing_imports(root):
    assert planned(root, "chapters/03-c.qmd")[1:] == [["test", "--topic", "3"]]


def test_two_chapters_are_each_tested_once(root):
    assert planned(root, "chapters/01-a.qmd", "chapters/02-b.qmd")[2:] == [
        ["test", "--topic", "1"], ["test", "--topic", "2"], ["test", "--topic", "3"]]


def test_an_appendix_tests_what_uses_its_modules(root):
    assert planned(root, "chapters/a-testing.qmd")[1:] == [["test", "--topic", "4"]]


def test_a_learners_file_is_graded(root):
    assert planned(root, "workspace/t02_b.py") == [["test", "--topic", "2", "--impl", "workspace"]]
    assert planned(root, "workspace/t77_other.py") == []


def test_the_order_of_chapters_is_watched(root):
    assert planned(root, "_quarto.yml") == [["tangle"]]


def test_what_is_seen(root):
    before = watch.snapshot(root)
    assert "chapters/01-a.qmd" in before and "_quarto.yml" in before and "fake.py" not in before
    (root / "workspace/t02_b.py").write_text("x = 1\n")
    (root / "workspace/.t02_b.py.swp").write_text("editors do that")
    (root / "chapters/04-d.qmd").unlink()
    assert watch.changed(before, watch.snapshot(root)) == ["workspace/t02_b.py"]


def test_as_make():
    assert watch.as_make(["test", "--topic", "27", "--impl", "workspace"]) == \
        "make test TOPIC=27 IMPL=workspace"


@pytest.mark.parametrize("text, said", [
    ("a\n=== 3 passed in 1s ===\n\n", "3 passed in 1s"),
    ("1 failed, 2 passed\nsee above\n", "1 failed, 2 passed"),
    ("nothing counted\n", "nothing counted"), ("", "no output")])
def test_summary(text, said):
    assert watch.summary(text) == said


# -- one round, with a command that only notes how it was called

@pytest.fixture
def watching(root, monkeypatch):
    monkeypatch.setattr(watch, "PAUSE", 0.02)
    return watch.Watch(root, [sys.executable, "fake.py"], watch.Screen(io.StringIO()))


def log(root):
    path = root / "log"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def touch(path: Path) -> None:
    path.write_text(path.read_text() + "\n" if path.exists() else "x = 1\n")


def test_a_round(root, watching):
    touch(root / "chapters/02-b.qmd")
    assert watching.stir()
    watching.round()
    assert log(root) == [["tangle", "--only", "chapters/02-b.qmd"], ["test", "--topic", "2"],
                         ["test", "--topic", "3"]]
    said = watching.screen.out.getvalue()
    assert "saved: chapters/02-b.qmd" in said and "a table" in said
    assert said.count("a table") == 1 and "topic 3, which imports it\n3 passed in 0.1s" in said
    assert said.rstrip().endswith("Watching; Ctrl-C ends.") and not watching.stir()


def test_a_chapter_that_does_not_tangle_is_not_tested(root, watching):
    (root / "status").write_text("1")
    touch(root / "chapters/02-b.qmd")
    watching.round()
    assert [words[0] for words in log(root)] == ["tangle"]


def test_a_failing_topic_does_not_hide_the_next(root, watching):
    touch(root / "workspace/t01_a.py")
    touch(root / "workspace/t02_b.py")
    (root / "status").write_text("1")
    watching.round()
    assert len(log(root)) == 2


def test_a_broken_book_is_said_and_survived(root, watching):
    (root / "_quarto.yml").write_text("book: [")
    watching.round()
    assert "_quarto.yml:2: YAML" in watching.screen.out.getvalue()
    assert log(root) == []


def test_whatever_goes_wrong_is_survived(root, watching, monkeypatch):
    calls = []

    def broken(*_):
        calls.append(1)
        if len(calls) > 2:
            raise KeyboardInterrupt
        raise OSError("the disk is gone")

    monkeypatch.setattr(watching, "round", broken)
    touch(root / "workspace/t01_a.py")
    with pytest.raises(KeyboardInterrupt):
        watching.forever()
    assert watching.screen.out.getvalue().count("OSError: the disk is gone (still watching)") == 2


def test_a_long_output_is_cut_on_a_terminal(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    out = Terminal()
    watch.Screen(out).show("\n".join(map(str, range(500))), "make test TOPIC=1")
    assert out.getvalue().count("\n") < 60 and "more lines: make test TOPIC=1" in out.getvalue()


# -- as a process

def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state != "Z"
    except OSError:
        pass
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return not Path("/proc").is_dir()


def wait_for(condition, seconds=15):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if condition():
            return True
        time.sleep(0.05)
    return False


@pytest.fixture
def process(root):
    driver = (f"import sys; sys.path.insert(0, {str(HERE)!r})\nfrom pathlib import Path\n"
              "from scripts import watch\nwatch.PAUSE = 0.05\n"
              f"sys.exit(watch.main([], Path('.'), [{sys.executable!r}, 'fake.py']))\n")
    child = subprocess.Popen([sys.executable, "-c", driver], cwd=root, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, text=True, start_new_session=True)
    line = child.stdout.readline()
    assert line.startswith("Watching 5 files"), line
    yield child
    if child.poll() is None:
        child.kill()
    child.wait()
    child.stdout.close()


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_the_end_is_clean(root, process, name):
    (root / "slow").touch()
    touch(root / "workspace/t01_a.py")
    assert wait_for(lambda: (root / "pids").exists() and len((root / "pids").read_text().split()) == 2)
    pids = [int(pid) for pid in (root / "pids").read_text().split()]
    assert all(map(alive, pids))
    process.send_signal(getattr(signal, name))
    out = process.communicate(timeout=15)[0]
    assert process.returncode == 0 and out.endswith("Stopped watching.\n") and "Traceback" not in out
    assert wait_for(lambda: not any(map(alive, pids)), 5)


def test_a_save_meanwhile_begins_anew(root, process):
    (root / "slow").touch()
    touch(root / "workspace/t01_a.py")
    assert wait_for((root / "pids").exists)
    first = int((root / "pids").read_text().split()[0])
    (root / "slow").unlink()
    touch(root / "workspace/t02_b.py")
    both = [["test", "--topic", topic, "--impl", "workspace"] for topic in "21"]
    assert wait_for(lambda: log(root)[1:] == both), log(root)
    assert wait_for(lambda: not alive(first), 5)
    process.send_signal(signal.SIGINT)
    assert "saved again; beginning anew" in process.communicate(timeout=15)[0]
