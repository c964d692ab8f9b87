"""The whole run in two processes: as one of them would have said it, and none of them left over."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time

import psutil
import pytest
from harness_book import PACKAGE, environment, make_repo, run

import scripts.test as verb
from scripts.grading import sharing

TWO = [*sharing.SHARED, "-n", "2"]
TOOLS = '''"""Tests of the tools: one of each outcome."""
import warnings

import pytest


def test_passes():
    warnings.warn("a warning of the tools")


def test_fails():
    print("said before")
    assert 1 == 2, "one is two"


def test_skips():
    pytest.skip("not here")
'''
WAITING = '''import os
import pathlib
import time

import pytest


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_is_there(n):
    """With ENDS, it goes on when the other process is gone"""
    while n == 1 and "ENDS" in os.environ and not pathlib.Path(os.environ["ENDS"]).exists():
        time.sleep(0.1)
    time.sleep(n == 1 and "ENDS" in os.environ and 2)
'''
MORE = '''import os

import pytest


@pytest.mark.value
@pytest.mark.levels(2)
def test_wrong(level):
    """A failure with a pitfall's number would be named"""
    assert level.scores is None


@pytest.mark.levels(2)
def test_ends(level):
    if os.environ.get("ENDS"):
        open(os.environ["ENDS"], "w").close()
        os.kill(os.getpid(), 9)
'''


@pytest.fixture(scope="module")
def repo(tmp_path_factory):
    pytest.importorskip("xdist")
    repo = make_repo(tmp_path_factory.mktemp("sharing"))
    (repo / "tests").mkdir()
    (repo / "tests" / "test_tools.py").write_text(TOOLS)
    for name, text in (("a_waiting", WAITING), ("more", MORE)):
        (repo / f"tangled/{PACKAGE}/tests/test_{name}.py").write_text(text)
    return repo


def kept(found) -> dict:
    """The records by test."""
    return {r["id"]: r for r in found.records}


def after(text: str, mark: str) -> str:
    """What stands from a mark to the closing line, without the seconds and the order of pytest's short lines."""
    return re.sub(r" in [\d.]+s.*", "", text[text.index(mark):])


def test_two_say_what_one_says(repo):
    """Records, table, failures, warnings, closing line and status are those of one process"""
    one, two = run(repo, "tests"), run(repo, "tests", *TWO)
    assert kept(two) == kept(one) and len(two.records) == 26
    assert two.status == one.status == 1
    assert after(two.text, "\ntopic  ") == after(one.text, "\ntopic  ") and "2 failed, 23 passed, 1 skipped" in two.text
    for said in ("one is two", "said before", "a warning of the tools", "FAILED level 2  test_wrong"):
        assert one.text.count(said) == two.text.count(said) > 0, said


def test_the_verb(repo):
    """`make test`, on two cores whatever this machine has"""
    code = ("import os, sys\nos.cpu_count = lambda: 2\nfrom scripts.__main__ import main\n"
            "sys.exit(main(['test', '--no-tangle', '-k', 'scores or tools']))")
    done = subprocess.run([sys.executable, "-c", code], cwd=repo, env=environment(), capture_output=True, text=True)
    assert done.returncode == 1 and "90 scores" in done.stdout and "bringing up nodes" in done.stdout, done.stdout
    assert "\n2 failed, 23 passed, 1 skipped, 1 warning in " in done.stdout, done.stdout


def test_a_choice_of_none(repo):
    found = run(repo, *TWO, "-k", "no_such_name")
    assert found.status == 5 and "no test ran: 23 were left out by the options" in found.text


def test_a_process_that_dies(repo, monkeypatch, tmp_path):
    """Its test has failed, once; what the other had begun is done"""
    monkeypatch.setenv("ENDS", str(tmp_path / "ended"))
    found = run(repo, "tests", *TWO)
    assert found.status == 1 and len(found.records) == 23 == len(kept(found))
    ended = next(r for r in found.records if r["kind"] == "ended")
    assert ended["id"].endswith("test_more.py::test_ends[level2]") and (ended["package"], ended["level"]) == (
        PACKAGE, "level2")
    assert "FAILED level 2  test_ends" in found.text and "2 failed, 21 passed" in found.text


def test_a_wait_that_cannot_be_interrupted():
    code = ("import signal, time\nfrom scripts.grading.sharing import ended_after\n"
            "with ended_after(0): pass\nwith ended_after(60): print('within', flush=True)\n"
            "with ended_after(0.3):\n    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])\n"
            "    time.sleep(60)\nprint('beyond')")
    done = subprocess.run([sys.executable, "-c", code], cwd=verb.ROOT, capture_output=True, text=True, timeout=30)
    assert done.returncode == 1 and done.stdout == "within\n" and "Timeout" in done.stderr


@pytest.mark.skipif(os.name != "posix", reason="signals of a group")
def test_ctrl_c_leaves_nothing(repo):
    (repo / "tests" / "test_slow.py").write_text("import time\n\n\ndef test_slow():\n    time.sleep(100)\n")
    signal.signal(signal.SIGINT, signal.default_int_handler)     # or children of a run in the background ignore it
    code = "import scripts.test as verb, sys; verb.run_pytest(sys.argv[1:])"
    child = subprocess.Popen([sys.executable, "-c", code, "tests", *TWO], cwd=repo, env=environment(),
                             start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        assert wait_for(lambda: len(psutil.Process(child.pid).children(recursive=True)) == 3)
        below = psutil.Process(child.pid).children(recursive=True)
        time.sleep(1)
        os.killpg(child.pid, signal.SIGINT)
        child.wait(20)
        assert wait_for(lambda: not any(p.is_running() and p.status() != "zombie" for p in below))
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
        child.communicate()
        (repo / "tests" / "test_slow.py").unlink()


def wait_for(happened, seconds: float = 30.0) -> bool:
    """Does it happen within so many seconds?"""
    end = time.monotonic() + seconds
    while not (done := happened()) and time.monotonic() < end:
        time.sleep(0.1)
    return done


@pytest.mark.parametrize("cores, rest, number", [
    (1, [], None), (None, [], None), (2, [], "2"), (64, ["-x", "-k", "rope"], "2"), (2, ["-s"], None),
    (2, ["--pdb"], None)])
def test_how_many(monkeypatch, cores, rest, number):
    """Two at most; one on one core, or where somebody sits at the terminal"""
    monkeypatch.setattr(sharing.os, "cpu_count", lambda: cores)
    options = sharing.options(rest)
    assert (options[options.index("-n") + 1] if options else None) == number


@pytest.mark.parametrize("argv, shared", [([], True), (["--level", "2"], True), (["--topic", "27"], False)])
def test_a_topic_has_one_process(monkeypatch, argv, shared):
    monkeypatch.setattr(sharing.os, "cpu_count", lambda: 2)
    seen = []
    monkeypatch.setattr(verb, "run_pytest", lambda arguments, graded: seen.extend(arguments) or verb.parent.Run(0))
    assert verb.main(["--no-tangle", *argv]) == 0
    assert ("-n" in seen) == shared
