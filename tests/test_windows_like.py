"""What Windows does differently, as far as it can be seen elsewhere: line ends, no fcntl, no sessions, its console.

Simulated, not run there: the names of the system's modules are taken away, and what is left must do.
"""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pytest
from harness_book import PACKAGE, environment, level_two, make_repo, scripts

ABSENT = ("fcntl", "resource", "pwd", "grp", "termios", "pty", "readline")
LESS = ("fork", "killpg", "setsid", "getuid", "wait", "waitid")
SITE = f"""import os, signal, sys
for name in {ABSENT}:
    sys.modules[name] = None
for name in {LESS}:
    if hasattr(os, name):
        delattr(os, name)
for name in ("SIGKILL", "SIGALRM", "setitimer", "SIGHUP"):
    if hasattr(signal, name):
        delattr(signal, name)
"""


@pytest.fixture(scope="module")
def repo(tmp_path_factory):
    """The small repository of the harness, in a folder with a space and an accent, with the line ends of Windows."""
    repo = make_repo(tmp_path_factory.mktemp("le dépôt neuf"))
    for path in [*repo.glob("chapters/*.qmd"), *repo.glob("*.yml"), *repo.glob("tangled/**/*.py")]:
        path.write_bytes(path.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))
    (repo / "workspace").mkdir()
    return repo


def without_posix(repo, *words):
    """A verb in a Python whose modules for POSIX are not there; its console knows cp1252 alone."""
    folder = repo / "site"
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(SITE)
    env = environment() | {"PYTHONPATH": str(folder), "PYTHONIOENCODING": "cp1252"}
    code = ("import sys, runpy\nfrom scripts.grading import parent\nfrom types import SimpleNamespace\nimport os\n"
            "parent.os = SimpleNamespace(**{name: getattr(os, name) for name in dir(os)} | {'name': 'nt'})\n"
            "from scripts.__main__ import main\nsys.exit(main(sys.argv[1:]))\n")
    return subprocess.run([sys.executable, "-c", code, *words], cwd=repo, env=env, capture_output=True, timeout=300)


def test_chapters_with_other_line_ends_are_the_same(repo):
    done = scripts(repo, "tangle")
    assert (done.returncode, done.stdout) == (0, "tangled/ is up to date\n"), done.stdout + done.stderr


@pytest.mark.parametrize("wrong", [False, True])
def test_a_learners_file_from_notepad(repo, wrong):
    """CRLF and a byte order mark; without fork, sessions, alarms, locks and limits it is graded as well"""
    text = level_two(repo).replace("q @ k.T", "7 + q @ k.T") if wrong else level_two(repo)
    data = b"\xef\xbb\xbf" + text.encode().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    (repo / f"workspace/{PACKAGE}.py").write_bytes(data)
    done = without_posix(repo, "test", "TOPIC=90", "IMPL=workspace")
    said = done.stdout.decode("cp1252")
    assert done.returncode == wrong and b"Traceback" not in done.stderr, said + done.stderr.decode("cp1252")
    assert ("entries are wrong" in said) == wrong and "tests passed" in said


def test_an_endless_loop_ends_without_alarms(repo):
    (repo / f"workspace/{PACKAGE}.py").write_text(level_two(repo).replace("q @ k.T", "q @ k.T\n    while True: pass"))
    done = without_posix(repo, "test", "TOPIC=90", "IMPL=workspace", "--limit", "1", "-k", "golden")
    said = done.stdout.decode("cp1252")
    assert done.returncode == 1 and "took longer than its time limit and was stopped" in said, said


def test_verbs_of_a_learner(repo):
    for words, said in ((["start", "TOPIC=90", "FORCE=1"], b"is yours: 2 bodies to write"), (["progress"], b"Scores"),
                        (["progress", "ARGS=--page"], b"build/progress.html"), (["tangle"], b"tangled/ is up to date")):
        done = without_posix(repo, *words)
        assert done.returncode == 0 and said in done.stdout, done.stdout + done.stderr


def test_grading_others_is_refused_in_a_line(repo, monkeypatch):
    from scripts import grade
    from scripts.errors import Problem
    monkeypatch.setattr(grade, "os", SimpleNamespace(name="nt"))
    with pytest.raises(Problem, match="needs a POSIX system, whose sessions keep their processes apart; on Windows"):
        grade.main(["--topic", "90", "--files", "x"])
