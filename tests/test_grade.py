"""`make grade`: many files, none of which changes another's result, a report, or its own."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from harness_book import PACKAGE, environment, level_two, make_repo, scripts

from scripts.errors import Problem
from scripts.teaching import handed_in
from scripts.verbs import options

pytestmark = pytest.mark.skipif(os.name != "posix", reason="make grade needs a POSIX system")
BODY = "    out = q @ k.T"
FOLDER = "handed in"


@pytest.fixture(scope="module")
def repo(tmp_path_factory):
    return make_repo(tmp_path_factory.mktemp("grade"))


@pytest.fixture
def class_of(repo):
    """`class_of({"a.py": (code at the top, code in scores)})`: files that are right, but for what they do besides."""
    import shutil
    for folder in (FOLDER, "build/grades"):
        shutil.rmtree(repo / folder, ignore_errors=True)

    def write(files):
        for name, (first, inside) in files.items():
            path = repo / FOLDER / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(level_two(repo).replace("import math\n", "import math\n" + first, 1)
                            .replace(BODY, inside + BODY))
        return repo
    return write


def grade(repo, *more, timeout=500):
    return scripts(repo, "grade", f"FILES={FOLDER}/**/*.py", "TOPIC=90", *more, timeout=timeout)


def rows(repo, folder="90") -> dict[str, dict]:
    with open(repo / f"build/grades/{folder}/grades.csv", newline="") as file:
        return {row["file"].removeprefix(f"{FOLDER}/"): row for row in csv.DictReader(file)}


OTHER, TABLE, REPORT = f"{FOLDER}/honest.py", "build/grades/90/grades.csv", "build/grades/90/reports/x.txt"
ATTACKS = {                                        # name: (at the top, in scores, what the row says)
    "os._exit": ("", "    import os; os._exit(0)\n", "os._exit()"),
    "exit at the end": ("import atexit, os\natexit.register(os._exit, 0)\n", "    1 / 0\n", "ZeroDivisionError"),
    "pytest.exit": ("import pytest\npytest.exit('done', returncode=0)\n", "", "pytest.exit()"),
    "pytest.skip": ("", "    import pytest; pytest.skip('x')\n", "pytest.skip()"),
    "another's file": ("", f"    open({OTHER!r}, 'w').write('x')\n", f"writes to {OTHER}"),
    "another's file, removed": ("", f"    import os; os.remove({OTHER!r})\n", "changes "),
    "another's answer": ("", f"    open({OTHER!r}).read()\n", f"reads {OTHER}, which is another's"),
    "the table": ("", f"    open({TABLE!r}, 'a').write('x')\n", f"writes to {TABLE}"),
    "a report": ("", f"    open({REPORT!r}, 'w').write('x')\n", f"writes to {REPORT}"),
    "the grader": ("", "    open('scripts/grade.py', 'a').write('x')\n", "writes to scripts/grade.py"),
    "the parent": ("import os, signal\nos.kill(os.getppid(), signal.SIGKILL)\n", "", "sends a signal to process"),
    "the parent, swallowed": ("", "    import os\n    try:\n        os.kill(os.getppid(), 9)\n"
                              "    except BaseException:\n        pass\n", "sends a signal to process"),
    "ctypes": ("", "    import ctypes, os; ctypes.CDLL(None).kill(os.getppid(), 9)\n", "calls kill of the system"),
    "fork": ("", "    import os; os.fork()\n", "starts a process (os.fork)"),
    "the solution": ("", f"    open('tangled/{PACKAGE}/level2_vectorized.py').read()\n", "holds the solution"),
    "a forged result": ("", "    import sys\n    path = sys.argv[sys.argv.index('--results') + 1]\n"
                        "    open(path, 'a').write('{\"end\": 0}\\n')\n", "not written by the harness"),
}


def test_attacks_fail_alone(class_of):
    """Each ends as a failed row with its reason; the honest file beside them passes, whenever it is graded"""
    repo = class_of({f"{name}.py": code[:2] for name, code in ATTACKS.items()} | {"honest.py": ("", "")})
    honest = (repo / OTHER).read_bytes()
    done = grade(repo)
    assert done.returncode == 0, done.stdout + done.stderr
    found = rows(repo)
    for name, (_, _, words) in ATTACKS.items():
        row = found[f"{name}.py"]
        assert row["result"] == "failed" and words in row["reason"], (name, row)
        assert int(row["passed"]) < 4 or "harness" in words, row
    assert found["honest.py"] == found["honest.py"] | {"result": "passed", "passed": "4", "tests": "4", "reason": ""}
    assert (repo / OTHER).read_bytes() == honest and not (repo / REPORT).exists()
    assert f"1 of {len(ATTACKS) + 1} passed all their tests: {TABLE}" in done.stdout
    assert all((repo / row["report"]).is_file() for row in found.values())
    assert "book-grade-" not in done.stdout + "".join((repo / row["report"]).read_text() for row in found.values())


def test_loops_and_floods_have_an_end(class_of):
    repo = class_of({"loop.py": ("while True: pass\n", ""), "slow.py": ("import time\ntime.sleep(1)\n", ""),
                     "flood.py": ("", "    print('x' * 30_000_000)\n    1 / 0\n")})
    assert grade(repo, "ARGS=--seconds 120").returncode == 0
    found = rows(repo)
    assert "importing it takes longer than 10 s" in found["loop.py"]["reason"]
    assert found["flood.py"]["result"] == "failed" and (repo / found["flood.py"]["report"]).stat().st_size < 5_000_000
    assert found["slow.py"]["result"] == "passed"
    assert "--seconds" in " ".join(options("grade", ["ARGS=--seconds 1"]))
    assert grade(repo, "FORCE=1", "ARGS=--seconds 0.5").returncode == 0
    assert all("longer than 0.5 s in all" in row["reason"] for row in rows(repo).values())


def test_the_grader_of_one_file_is_killed(repo, monkeypatch, tmp_path):
    """Whatever way it was ended: no signed line, no pass"""
    from scripts import grade as verb
    monkeypatch.setattr(verb, "ROOT", repo)
    grader = verb.Grader(repo / "build/grades/91", PACKAGE, False, 60)
    for status, words in ((-9, "was ended by signal 9"), (0, "with status 0 and no result"), (None, "longer than")):
        monkeypatch.setattr(grader, "run", lambda copy, place, closed, status=status: (
            (place / "output").write_text("") and None, (status, []))[1])
        outcome, _ = grader.apart(handed_in.File(tmp_path / "a.py", "a.py", b"x"), [])
        assert not outcome["right"] and words in outcome["reason"]


def test_names_and_broken_files(class_of):
    """A space, one name in two folders, a file that is none"""
    repo = class_of({"my file.py": ("", ""), "a/x.py": ("", ""), "b/x.py": ("", "    1 / 0\n")})
    unscaled = level_two(repo).replace("out = out / math.sqrt(q.shape[-1])", "out = out * 1.0")
    (repo / FOLDER / "unscaled.py").write_text(unscaled)
    (repo / FOLDER / "broken.py").write_text("def scores(q, k)\n    return q\n")
    (repo / FOLDER / "=1+1.py").write_bytes(b"\xff\xfe\x00")
    assert grade(repo).returncode == 0
    found = rows(repo)
    assert {n: r["result"] for n, r in found.items()} == {
        "my file.py": "passed", "a/x.py": "passed", "b/x.py": "failed", "broken.py": "failed", "=1+1.py": "failed",
        "unscaled.py": "failed"}
    assert 'equals pitfall 90.1 "forgot the scale"' in found["unscaled.py"]["reason"]
    assert found["broken.py"]["reason"] == f"{FOLDER}/broken.py:1: expected ':'"
    assert len({row["report"] for row in found.values()}) == 6
    assert (repo / "build/grades/90/files" / FOLDER / "a/x.py").read_bytes() == (repo / FOLDER / "a/x.py").read_bytes()


def test_it_goes_on(class_of):
    """Again: what is graded is kept, unless the file changed; after kill -9 as well"""
    repo = class_of({"a.py": ("", ""), "b.py": ("import time\ntime.sleep(6)\n", ""), "c.py": ("", "    1 / 0\n")})
    command = [sys.executable, "-m", "scripts", "grade", f"FILES={FOLDER}", "TOPIC=90"]
    child = subprocess.Popen(command, cwd=repo, env=environment(), stdout=subprocess.PIPE, text=True)
    line = next(line for line in child.stdout if line.startswith(FOLDER))
    assert "a.py  passed, 4 tests" in line
    time.sleep(2)
    child.send_signal(signal.SIGKILL)
    child.communicate(timeout=60)
    state = json.loads((repo / "build/grades/90/state.json").read_text())
    assert state[f"{FOLDER}/b.py"]["begun"] == 1 and "result" in state[f"{FOLDER}/a.py"]
    said = grade(repo).stdout
    assert said.count("(as graded before)") == 1 and "a.py  passed, 4 tests  (as graded before)" in said
    (repo / FOLDER / "c.py").write_text(level_two(repo))
    said = grade(repo).stdout
    assert said.count("(as graded before)") == 2 and "3 of 3 passed" in said
    signal.signal(signal.SIGINT, signal.default_int_handler)     # or children of a run in the background ignore it
    child = subprocess.Popen([*command, "FORCE=1"], cwd=repo, env=environment(), stdout=subprocess.PIPE, text=True)
    next(line for line in child.stdout if line.startswith(FOLDER))
    time.sleep(2)
    child.send_signal(signal.SIGINT)
    out = child.communicate(timeout=60)[0]
    assert child.returncode == 130 and "stopped: 1 of 3 graded; the same command goes on from here" in out


def test_a_file_that_ends_the_grader_is_not_tried_for_ever(class_of):
    repo = class_of({"a.py": ("", "")})
    from scripts import grade as verb
    grader = verb.Grader(repo / "build/grades/90", PACKAGE, False, 60)
    assert grade(repo).returncode == 0
    state = json.loads((repo / "build/grades/90/state.json").read_text())
    entry = state[f"{FOLDER}/a.py"]
    (repo / "build/grades/90/state.json").write_text(json.dumps({f"{FOLDER}/a.py": {"key": entry["key"], "begun": 3}}))
    said = grade(repo).stdout
    assert "failed: grading it ended the grader 3 times; FORCE=1 tries again" in said and grader.state == {}


def test_what_changed_meanwhile_is_named(tmp_path):
    """A report of ours is written anew; what was handed in is somebody's, and stays"""
    watched = handed_in.Watched(tmp_path)
    mine, theirs = tmp_path / "report.txt", tmp_path / "b.py"
    theirs.write_text("x = 1\n")
    watched.write(mine, "passed\n")
    watched.keep(theirs, b"x = 1\n", ours=False)
    assert watched.changed() == []
    mine.unlink()
    mine.symlink_to(theirs)
    theirs.write_text("x = 2\n")
    assert sorted(watched.changed()) == ["b.py", "report.txt"] and watched.changed() == []
    assert mine.read_text() == "passed\n" and theirs.read_text() == "x = 2\n" and not mine.is_symlink()


@pytest.mark.parametrize("given, said", [
    (["TOPIC=90"], "FILES= is missing; expected such as: make grade FILES='submissions/*.py' TOPIC=9"),
    (["FILES=nowhere/*.py", "TOPIC=90"], "FILES='nowhere/*.py' names no file that is there; expected such as"),
    (["FILES=chapters", "TOPIC=90"], "FILES='chapters' is a folder without a Python file"),
    (["FILES=scripts/grade.py"], "TOPIC= is missing"), (["FILES=x", "TOPIC=7"], "no topic 7"),
    (["FILES=x", "TOPIC=90", "EXERCISES=1"], "topic 90 has no graded exercises yet")])
def test_wrong_calls_end_in_a_line(repo, given, said):
    done = scripts(repo, "grade", *given)
    assert done.returncode == 1 and said in done.stderr and done.stderr.count("\n") == 1


def test_files_are_found(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("in/a.py", "in/b c.py", "in/deep/d[1].py", "in/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    names = lambda text: [file.shown for file in handed_in.find(text, tmp_path)]
    assert names("in/*.py") == names("in") == names("in/a.py 'in/b c.py'") == ["in/a.py", "in/b c.py"]
    assert names("in/b c.py") == ["in/b c.py"] and names("in/deep/d[1].py") == ["in/deep/d[1].py"]
    assert names("in/**/*.py") == ["in/a.py", "in/b c.py", "in/deep/d[1].py"]
    with pytest.raises(Problem, match="names no file"):
        handed_in.find("in/'x", tmp_path)


def test_a_spreadsheet_gets_no_formula():
    text = handed_in.table([{"file": "=1+1.py", "reason": "a, \"b\""}])
    assert text.splitlines()[1] == "'=1+1.py,,,,,,\"a, \"\"b\"\"\","
