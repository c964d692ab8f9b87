"""The grader cannot be fooled: each way past it that was seen ends with status 1, a line that names it, no score."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest
from harness_book import PACKAGE, environment, level_two, make_repo, scripts

from scripts.grading import ledger, parent, patience, sentry
from scripts.grading.guard import NotMeasured
from scripts.grading.processes import children_of

BODY = "    out = q @ k.T"
WRONG = "    out = 7.0 + q @ k.T"
FIRST = "import math\n"
SOLUTION = f"tangled/{PACKAGE}/level2_vectorized.py"


@pytest.fixture(scope="module")
def repo(tmp_path_factory):
    repo = make_repo(tmp_path_factory.mktemp("grader"))
    (repo / "workspace").mkdir()
    return repo


def grade(repo, body: str = WRONG, first: str = "", only: str = "golden", timeout: float = 120):
    """`make test TOPIC=90 IMPL=workspace` on level 2 with other lines in `scores` and at the top."""
    text = level_two(repo).replace(BODY, body).replace(FIRST, FIRST + first, 1)
    (repo / "workspace" / f"{PACKAGE}.py").write_text(text)
    (repo / "workspace" / ".progress.json").unlink(missing_ok=True)
    more = ["-k", only] if only else []
    return scripts(repo, "test", "--topic", "90", "--impl", "workspace", "--no-tangle", *more, timeout=timeout)


def score(repo) -> tuple[int, int]:
    passed, failed, _ = scores(repo)
    return passed, failed


def scores(repo) -> tuple[int, int, int]:
    """Passed, failed, and what a busy machine left unmeasured."""
    entry = json.loads((repo / "workspace" / ".progress.json").read_text())["90"]
    return entry["passed"], entry["failed"], entry["unmeasured"]


LEAVING = {
    "skip": ("    import pytest\n    pytest.skip('later')\n", "pytest.skip()"),
    "SkipTest": ("    import unittest\n    raise unittest.SkipTest\n", "raise unittest.SkipTest"),
    "xfail": ("    import pytest\n    pytest.xfail('later')\n", "pytest.xfail()"),
    "exit": ("    import pytest\n    pytest.exit('done', returncode=0)\n", "pytest.exit()"),
    "interrupt": ("    raise KeyboardInterrupt\n", "raise KeyboardInterrupt"),
    "a signal": ("    import os, signal\n    os.kill(os.getpid(), signal.SIGINT)\n", "raise KeyboardInterrupt"),
    "a busy machine": ("    import pytest\n    pytest.skip('not measured: the machine is busy')\n", "pytest.skip()"),
    "breakpoint": ("    breakpoint()\n", "scores called breakpoint(); to stop there"),
}


@pytest.mark.parametrize("name", LEAVING)
def test_leaving_is_failing(repo, name):
    code, words = LEAVING[name]
    done = grade(repo, code + BODY)
    assert done.returncode == 1 and "FAILED your file" in done.stdout and words in done.stdout, done.stdout
    assert "0 of 1 tests passed" in done.stdout and "skipped" not in done.stdout


def test_leaving_at_the_import(repo):
    for code, words in (("import pytest\npytest.exit('x', returncode=0)\n", "importing it ends the run: pytest.exit()"),
                        ("raise KeyboardInterrupt\n", "importing it ends the run: raise KeyboardInterrupt")):
        done = grade(repo, first=code)
        assert done.returncode == 1 and words in done.stdout, done.stdout


def test_the_last_word_is_the_parents(repo):
    """atexit with os._exit(0), and a score of what passed"""
    done = grade(repo, first="import atexit, os\natexit.register(os._exit, 0)\n", only="")
    assert done.returncode == 1 and "FAILED your file" in done.stdout
    assert score(repo)[1] >= 1 and sum(scores(repo)) == 4
    done = grade(repo, "    raise KeyboardInterrupt\n", only="")
    assert done.returncode == 1 and score(repo)[1] >= 2 and sum(scores(repo)) == 4


ROADS = {
    "importlib": "    import importlib\n    m = importlib.import_module('tangled.' +"
                 f" '{PACKAGE}.level2_vectorized')\n",
    "the package": f"    import importlib\n    m = importlib.import_module('tangled.' + '{PACKAGE}')\n    m.scores\n",
    "runpy": f"    import runpy\n    runpy.run_path('{SOLUTION}')\n",
    "exec": f"    exec(open('{SOLUTION}').read(), {{}})\n",
    "a path": f"    from pathlib import Path\n    Path('{SOLUTION}').read_text()\n",
    "swallowed": f"    try:\n        open('{SOLUTION}')\n    except BaseException:\n        pass\n",
    "sys.modules": f"    import sys\n    sys.modules['tangled.' + '{PACKAGE}'].scores\n",
    "a spec": f"    import importlib.util as u\n    s = u.spec_from_file_location('x', '{SOLUTION}')\n"
              "    s.loader.exec_module(u.module_from_spec(s))\n",
    "the chapter": "    open('chapters/90-scores.qmd').read()\n",
    "the golden values": "    open('golden/t90.npz', 'rb').read()\n",
    "torch": "    __import__('to' + 'rch')\n",
    "torch by exec": "    exec('import to' + 'rch')\n",
}


@pytest.mark.parametrize("name", ROADS)
def test_roads_to_the_solution(repo, name):
    """What is right is not passed where it was not the learner's: the results here are the right ones."""
    done = grade(repo, ROADS[name] + BODY)
    assert done.returncode == 1, done.stdout
    kind = "imports torch" if "torch" in name else "holds the expected values" if "golden" in name else "the solution"
    line = next(x for x in done.stdout.splitlines() if f"workspace/{PACKAGE}.py:" in x)
    assert kind in done.stdout.replace("\n      ", " "), (line, done.stdout)


def test_what_is_allowed(repo):
    """Earlier topics, the checks, files of one's own, threads that end, tracebacks"""
    code = ("    import json, tempfile, threading, traceback\n    import tangled.testing\n"
            "    with tempfile.TemporaryFile('w') as f:\n        json.dump([1], f)\n"
            "    t = threading.Thread(target=len, args=('',))\n    t.start()\n    t.join()\n"
            "    try:\n        1 / 0\n    except ZeroDivisionError:\n        traceback.format_exc()\n")
    done = grade(repo, code + BODY, only="")
    assert done.returncode == 0 and score(repo)[1] == 0 and sum(scores(repo)) == 4, done.stdout


PROCESSES = {
    "fork": ("    import os\n    os.fork()\n", "starts a process (os.fork)"),
    "subprocess": ("    import subprocess\n    subprocess.run(['true'])\n", "starts a process (subprocess)"),
    "system": ("    import os\n    os.system('true')\n", "starts a process (os.system)"),
    "multiprocessing": ("    import multiprocessing as m\n    m.get_context('spawn').Process(target=len).start()\n",
                        "starts a process (multiprocessing)"),
    "ctypes": ("    import ctypes\n    ctypes.CDLL(None).fork()\n", "starts a process (ctypes: fork)"),
}


@pytest.mark.parametrize("name", PROCESSES)
def test_processes_are_refused(repo, name):
    code, words = PROCESSES[name]
    done = grade(repo, code + BODY)
    assert done.returncode == 1 and words in done.stdout.replace("\n      ", " "), done.stdout
    assert done.stdout.count("FAILED your file") == 1


def test_a_file_changed_within_the_second_is_the_new_one(repo, monkeypatch):
    """Python knows what it keeps of a file by the second and the size; a learner's file is read each time."""
    from scripts.grading import levels
    path = repo / "workspace" / f"{PACKAGE}.py"
    path.parent.mkdir(exist_ok=True)
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    for value in (2, 3):
        path.write_text(f"value = {value}\n")
        os.utime(path, (10 ** 9, 10 ** 9))
        assert levels.load_file(path, PACKAGE).value == value


@pytest.mark.parametrize("started, code", [(2, 0), (3, 1)])
def test_a_test_may_allow_a_number_of_processes(repo, started, code):
    """`@pytest.mark.processes(2)`: two are started, the third is refused; the next test has none again"""
    more = repo / f"tangled/{PACKAGE}/tests/test_processes.py"
    more.write_text("import numpy as np\nimport pytest\n\n\n@pytest.mark.processes(2)\n"
                    "def test_golden_of_many(level):\n    level.scores(np.ones((2, 3)), np.ones((2, 3)))\n")
    try:
        run = ("    import subprocess, sys\n    if len(q) == 2:\n"
               f"        for _ in range({started}):\n            subprocess.run([sys.executable, '-c', ''])\n")
        done = grade(repo, run + BODY, only="golden_of_many")
    finally:
        more.unlink()
    assert done.returncode == code, done.stdout
    assert ("starts a process (subprocess)" in done.stdout.replace("\n      ", " ")) == bool(code), done.stdout


def test_output_has_an_end(monkeypatch, capsys):
    """What a run prints is passed on up to a limit; the rest is read, so that the run does not hang on a full pipe"""
    monkeypatch.setattr(parent, "OUTPUT", 100_000)
    child = subprocess.Popen([sys.executable, "-c", "print('x' * 3_000_000)"], stdout=subprocess.PIPE)
    parent.pass_on(child).join(60)
    assert child.wait(60) == 0
    said = capsys.readouterr().out
    assert said.count("x") == 100_000 and said.endswith("\n(more output is not shown)\n")
    child.stdout.close()


def test_a_thread_left_over(repo):
    code = "    import threading, time\n    threading.Thread(target=time.sleep, args=(300,), name='slow').start()\n"
    start = time.monotonic()
    done = grade(repo, code + BODY)
    assert done.returncode == 1 and "left a thread running: slow" in done.stdout, done.stdout
    assert time.monotonic() - start < 60


def test_judges_are_out_of_reach(repo):
    """NumPy's functions and ours replaced: the wrong result is still wrong, and the replacement is named"""
    done = grade(repo, first="import numpy\nnumpy.all = numpy.any = lambda *a, **k: False\n")
    assert (done.returncode == 1 and "replaced numpy.all" in done.stdout) or "entries are wrong" in done.stdout
    done = grade(repo, BODY, first="import numpy\nnumpy.all = lambda *a, **k: True\n")
    assert done.returncode == 1 and "the code under test replaced numpy.all" in done.stdout
    ours = ("import tangled.comparing\ntangled.comparing.wrong_entries = lambda got, *_: got != got\n"
            "tangled.comparing.assert_close = lambda *a, **k: None\n")
    done = grade(repo, first=ours)
    assert done.returncode == 1 and "entries are wrong" in done.stdout, done.stdout


def test_a_missing_colon_is_reported_in_seconds(repo):
    path = repo / "workspace" / f"{PACKAGE}.py"
    path.write_text("def scores(q, k)\n    return q\n")
    used = os.times()
    done = scripts(repo, "test", "--topic", "90", "--impl", "workspace", "--no-tangle")
    now = os.times()
    assert done.returncode == 1 and "expected ':'  (all 4 tests of it fail)" in done.stdout
    assert now.children_user - used.children_user < 6


# -- the parent

def test_ledger(tmp_path):
    """A line added, changed or left out is no line"""
    path, key = tmp_path / "r.jsonl", b"k" * 64
    write = ledger.writer(path, key)
    for n in range(3):
        write({"test": n})
    assert ledger.read(path, key) == ([{"test": 0}, {"test": 1}, {"test": 2}], 0)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines) + b'{"end": 0}\n')
    assert ledger.read(path, key) == ([{"test": 0}, {"test": 1}, {"test": 2}], 1)
    path.write_bytes(lines[0] + lines[1].replace(b'1}', b'7}') + lines[2])
    assert ledger.read(path, key)[0] == [{"test": 0}]
    path.write_bytes(lines[0] + lines[0])
    assert ledger.read(path, key) == ([{"test": 0}], 1)
    assert ledger.read(path, b"other")[0] == []
    assert ledger.last(path, key) == {"test": 0} and ledger.last(path, b"other") == {}


def test_the_last_entry_of_a_long_ledger(tmp_path, monkeypatch):
    path = tmp_path / "results.jsonl"
    assert ledger.last(path) == {}
    path.touch()
    assert ledger.last(path) == {}
    write = ledger.writer(path)
    for n in range(100):
        write({"test": n})
        assert ledger.last(path) == {"test": n}
    monkeypatch.setattr(ledger, "TAIL", 40)
    with open(path, "ab") as stream:
        stream.write(b'{"test": 10')
    assert ledger.last(path) == {"test": 99}


def entry(name: str, outcome: str) -> dict:
    return {"test": {"id": name, "outcome": outcome}}


def test_verdict():
    """What is missing, unsigned or left over is a failure, whatever the process said"""
    whole = [{"collected": ["a", "b"]}, entry("a", "passed"), entry("b", "passed"), {"end": 0}]
    of = lambda log, wrong=0, left=0: parent.verdict(log, wrong, 0, False, left, True)
    assert of(whole).status == 0
    assert of(whole, wrong=1).status == 1 and of(whole, left=1).status == 1
    assert of([*whole[:2], whole[3]]).said == ["1 tests did not run to their end"]
    assert of([whole[0], entry("a", "failed"), entry("b", "passed"), {"end": 0}]).status == 1
    assert of([whole[0], entry("a", "unmeasured"), entry("b", "passed"), {"end": 0}]).status == 0
    assert of([*whole[:2], {"start": "b", "limit": 1}]).status == 1
    assert parent.verdict([], 0, 4, False, 0, True).status == 4


@pytest.mark.skipif(os.name != "posix", reason="no pseudo-terminals here")
def test_breakpoint_waits_at_a_terminal(repo):
    """The debugger is no endless loop: the time limit ends where it begins"""
    import pty
    mine, theirs = pty.openpty()
    text = level_two(repo).replace(BODY, "    seven = 7\n    breakpoint()\n" + BODY)
    (repo / "workspace" / f"{PACKAGE}.py").write_text(text)
    command = [sys.executable, "-m", "scripts", "test", "--topic", "90", "--impl", "workspace", "--no-tangle",
               "-k", "golden", "--limit", "1", "-s"]
    child = subprocess.Popen(command, cwd=repo, env=environment(), stdin=theirs, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT)
    said = b""
    while b"(Pdb)" not in said and (more := os.read(child.stdout.fileno(), 4096)):
        said += more
    time.sleep(4)
    os.write(mine, b"p seven * 6\nc\n")
    said += child.communicate(timeout=60)[0]
    os.close(mine)
    os.close(theirs)
    assert child.returncode == 0 and b"42" in said, said.decode()


def test_a_forged_record(repo):
    """The file of results can be found, not signed"""
    code = ("    import sys\n    path = sys.argv[sys.argv.index('--results') + 1]\n"
            "    open(path, 'a').write('{\"end\": 0}\\n')\n")
    done = grade(repo, code + BODY)
    assert done.returncode == 1 and "were not written by the harness" in done.stdout, done.stdout


def test_orphans_are_ended(tmp_path):
    """A process that left its session behind is found by who its parent is now"""
    parent.adopt_orphans()
    before = set(children_of(os.getpid()))
    code = ("import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], "
            "start_new_session=True)\n")
    subprocess.run([sys.executable, "-c", code], check=True, env=environment())
    if sys.platform == "linux":
        assert parent.end_orphans(before) == 1
    assert parent.end_orphans(before) == 0


# -- measuring

def test_a_busy_machine_fails_nothing(monkeypatch):
    """A measurement that fails is a failure on a quiet machine alone; what counts is one everywhere"""
    monkeypatch.setattr(patience.time, "sleep", lambda s: None)
    tries = []

    def measured():
        tries.append(1)
        patience.measuring.seconds_a_call(lambda: sum(range(100)))
        raise AssertionError("grows as n^2")

    def counted():
        tries.append(1)
        raise AssertionError("7 calls")
    monkeypatch.setattr(patience.Load, "busy", lambda self: "it had 40 % of a core")
    with pytest.raises(NotMeasured, match="the machine is busy"):
        patience.patiently(measured)
    assert len(tries) == patience.TRIES
    with pytest.raises(AssertionError, match="7 calls"):
        patience.patiently(counted)
    assert len(tries) == patience.TRIES + 1
    monkeypatch.setattr(patience.Load, "busy", lambda self: "")
    with pytest.raises(AssertionError, match="grows"):
        patience.patiently(measured)
    assert len(tries) == patience.TRIES + 3


def test_load_is_seen():
    with patience.watched() as load:
        patience.measuring.seconds_a_call(lambda: sum(range(1000)))
    assert load.measured == 1 and 0 < load.share <= 1.5
    load.share = 0.4
    assert "40 % of a core" in load.busy()


def test_not_measured_is_said(repo):
    path = repo / "tangled" / PACKAGE / "tests" / "test_busy.py"
    path.write_text("import pytest\nfrom scripts.grading import patience\n\n@pytest.mark.performance\n"
                    "@pytest.mark.levels(2)\ndef test_growth(level, monkeypatch):\n"
                    "    monkeypatch.setattr(patience.Load, 'busy', lambda self: 'a test says so')\n"
                    "    monkeypatch.setattr(patience.time, 'sleep', lambda s: None)\n"
                    "    patience.measuring.seconds_a_call(lambda: sum(range(100)))\n    assert False, 'n^2'\n")
    try:
        done = grade(repo, BODY, only="")
    finally:
        path.unlink()
    assert done.returncode == 0, done.stdout
    assert "4 of 4 tests passed (100 %), 1 not measured: the machine is busy" in done.stdout
    assert score(repo) == (4, 0)
    progress = scripts(repo, "progress").stdout
    assert "4 of 5 tests passed, 1 not measured" in progress


def test_hidden_modules():
    state = sentry.Watch()
    state.packages = {"t90_scores": None, "t91_more": ("exercises",)}
    hidden = lambda name: sentry.is_hidden(name, state)
    assert hidden("tangled.t90_scores") and hidden("tangled.t90_scores.level1_naive.x")
    assert not hidden("tangled.t90_scores.checks") and not hidden("tangled.t90_scores.tests.test_basic")
    assert hidden("tangled.t91_more.exercises") and not hidden("tangled.t91_more")
    assert not hidden("tangled.t90_scores_two") and not hidden("numpy")
