"""`make bench TOPIC=91 IMPL=workspace`: the learner's file on the ladders."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from desk_book import LEVEL2, PACKAGE, make_desk
from harness_book import environment, scripts

from scripts.desk import ladder

STUB = '    raise NotImplementedError("{} is yours to write")\n'
CALL = "bench", "--topic", "91", "--impl", "workspace", "--budget", "0.05"


@pytest.fixture(scope="module")
def repo(tmp_path_factory):
    return make_desk(tmp_path_factory.mktemp("ladder"))


def bench(repo, text, *more):
    (repo / "workspace" / f"{PACKAGE}.py").write_text(text)
    return scripts(repo, *CALL, *more, timeout=240)


def rows(repo) -> dict[str, list[str]]:
    return {e["name"]: [row["level"] for row in e["rows"]] for e in json.loads((repo / "build/bench.json").read_text())}


def test_on_every_ladder_that_uses_it(repo):
    done = bench(repo, LEVEL2)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"workspace/{PACKAGE}.py, 9 tests passed" in done.stdout
    levels = ["level 1", "level 2", "level 3", "your file"]
    assert rows(repo) == {"double": levels, "negate, prepared": levels, "quadruple": levels}
    assert "91  nothing of it\nleft out: it uses nothing of your file" in done.stdout
    assert "no levels" not in done.stdout and "your file: " in done.stdout


@pytest.mark.skipif(os.name != "posix", reason="needs a terminal of POSIX")
def test_at_a_terminal(repo):
    (repo / "workspace" / f"{PACKAGE}.py").write_text(LEVEL2)
    ours, theirs = os.openpty()
    child = subprocess.Popen([sys.executable, "-m", "scripts", *CALL, "--only", "double"], cwd=repo, stdin=theirs,
                             stdout=theirs, stderr=theirs, env=environment())
    os.close(theirs)
    said = b""
    try:
        while more := os.read(ours, 4096):
            said += more
    except OSError:                                     # the other end is closed
        pass
    finally:
        os.close(ours)
        status = child.wait(60)
    assert status == 0 and b"your file: " in said, said.decode()


def test_what_is_not_written_is_left_out_by_name(repo):
    """In a call, and while a ladder is prepared; the others are measured."""
    done = bench(repo, LEVEL2.replace("    return -x\n", STUB.format("negate"))
                 .replace("    return double(double(x))\n", STUB.format("quadruple")))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "not all tests of workspace" in done.stdout and "a wrong function may be a fast one" in done.stdout
    assert "Not written yet, and left out: quadruple, negate" in done.stdout
    assert "left out: it needs negate, which is not written yet" in done.stdout
    assert "left out: it needs quadruple, which is not written yet" in done.stdout
    assert list(rows(repo)) == ["double"]


def test_one_ladder_of_a_file_that_lacks_a_function(repo):
    done = bench(repo, LEVEL2.replace("@_checked\ndef quadruple", "def quadruples"), "--only", "quad")
    assert done.returncode == 1 and "it needs quadruple, which your file does not have" in done.stdout
    assert "91  double" not in done.stdout


@pytest.mark.parametrize("body, words", [
    ("import os\n    os._exit(0)", "your file raises Quit: os._exit"),
    ("import subprocess\n    subprocess.run(['true'])", "starts a process (subprocess), which graded code must not"),
    ("import tangled.t91_desk.level2_vectorized", "which is the solution"),
    ("raise ValueError('no')", "left out: your file raises ValueError: no")])
def test_bounded(repo, body, words):
    done = bench(repo, LEVEL2.replace("    return -x\n", f"    {body}\n    return -x\n"), "--only", "prepared")
    assert done.returncode == 1 and words in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("arguments, words", [
    (["--impl", "workspace"], "IMPL=workspace; expected such as: make bench TOPIC=9 IMPL=workspace"),
    (["--topic", "91", "--impl", "mine.py"], "IMPL=mine.py; expected such as"),
    (["--topic", "91", "--impl", "workspace", "--record"], "--record is for the levels")])
def test_wrong_calls(repo, arguments, words):
    done = scripts(repo, "bench", *arguments, timeout=120)
    assert done.returncode == 1 and done.stderr.startswith(words) and len(done.stderr.splitlines()) == 1


def test_share():
    def of(yours, **others):
        return [{"level": name.replace("_", " "), "seconds": s} for name, s in others.items()] + [
            {"level": "your file", "seconds": yours}]
    assert ladder.share(of(1.0, level_1=100.0, level_2=10.0, level_3=1.0)) == 1.0
    assert ladder.share(of(10.0, level_1=100.0, level_2=10.0, level_3=1.0)) == pytest.approx(0.5)
    assert ladder.share(of(200.0, level_2=100.0, level_4=1.0)) == 0.0
    assert ladder.share(of(0.1, level_2=100.0, level_4=1.0)) == pytest.approx(1.5)
    assert ladder.share(of(1.0, level_2=1.1, level_3=1.0)) is None
    assert "150% of the ladder from level 2 (100 s) up to level 4 (1 s)" in ladder.said(
        of(0.1, level_2=100.0, level_4=1.0))
