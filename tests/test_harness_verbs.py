"""The verbs `test` and `bench`, and what guards a test."""

from __future__ import annotations

import json
import time

import pytest
from harness_book import PACKAGE, level_two, make_repo, scripts

import scripts.test as verb
from scripts import bench
from scripts.errors import Problem
from scripts.grading import guard, levels
from tangled.measuring import torch_available


@pytest.fixture(scope="module")
def repo(tmp_path_factory):
    repo = make_repo(tmp_path_factory.mktemp("verbs"))
    (repo / "workspace").mkdir()
    return repo


@pytest.fixture
def workspace(repo):
    path = repo / "workspace" / f"{PACKAGE}.py"
    path.write_text(level_two(repo))
    return path


@pytest.fixture
def here(repo, monkeypatch):
    """The verb's module, at work on the small repository, with little patience."""
    monkeypatch.setattr(verb, "ROOT", repo)
    monkeypatch.setattr(verb, "GRACE", 0.5)


def test_a_topic(repo):
    done = scripts(repo, "test", "--topic", "90")
    assert done.returncode == 0 and "17 of 17 tests passed (100 %)" in done.stdout
    assert "Topic 90 scores" in done.stdout


def test_workspace_and_score(repo, workspace):
    done = scripts(repo, "test", "--topic", "90", "--impl", "workspace")
    assert done.returncode == 0 and "4 of 4 tests passed" in done.stdout
    score = json.loads((repo / "workspace" / ".progress.json").read_text())["90"]
    assert (score["passed"], score["failed"]) == (4, 0)
    workspace.write_text("def scores(q, k):\n    raise NotImplementedError\n")
    done = scripts(repo, "test", "--topic", "90", "--impl", "workspace")
    score = json.loads((repo / "workspace" / ".progress.json").read_text())["90"]
    assert done.returncode == 1 and (score["passed"], score["failed"]) == (0, 4)


def test_options_go_on_to_pytest(repo):
    done = scripts(repo, "test", "--topic", "90", "--level", "2", "-k", "golden or shape")
    assert done.returncode == 0 and "2 of 2 tests passed" in done.stdout


@pytest.mark.parametrize("arguments, words", [
    (["--topic", "91"], "90"), (["--topic", "x"], "expected one of 90"),
    (["--topic", "90", "--level", "7"], "expected 1, 2, 3 or 4"),
    (["--impl", "workspace"], "needs a topic, such as"),
    (["--topic", "90", "--impl", "nowhere.py"], "expected workspace, or the path of a Python file")])
def test_wrong_options(repo, arguments, words):
    done = scripts(repo, "test", *arguments)
    assert done.returncode == 1 and words in done.stderr and "Traceback" not in done.stderr


def test_before_make_start(repo):
    (repo / "workspace" / f"{PACKAGE}.py").unlink(missing_ok=True)
    done = scripts(repo, "test", "--topic", "90", "--impl", "workspace")
    assert done.returncode == 1 and "make start TOPIC=90" in done.stderr


def test_a_hand_edit_stops_the_run(repo):
    path = repo / "tangled" / PACKAGE / "level1_naive.py"
    kept = path.read_text()
    path.write_text(kept + "x = 1\n")
    try:
        done = scripts(repo, "test", "--topic", "90")
        assert done.returncode == 1 and "passed" not in done.stdout
        assert scripts(repo, "test", "--topic", "90", "--no-tangle").returncode == 0
    finally:
        path.write_text(kept)


def test_a_process_that_dies(repo, workspace, here, capfd):
    """A signal ends pytest's process: the report is printed all the same"""
    die = "    import os, signal\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    workspace.write_text(level_two(repo).replace("    out = q @ k.T", die))
    found = verb.run_pytest([f"tangled/{PACKAGE}", "--impl", "workspace", "-k", "features or golden"], graded=True)
    out = capfd.readouterr().out
    assert found.status == 1 and "the process was ended by signal 9" in out and "FAILED your file  test_golden" in out
    assert "1 failed, 0 passed; the run did not reach its end" in out
    assert [r["name"] for r in found.records] == ["test_golden"]


def test_a_loop_that_cannot_be_interrupted(repo, workspace, here, capfd):
    """Blocked signals and a loop: the process is ended from outside"""
    block = ("    import signal\n    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])\n"
             "    while True:\n        pass\n")
    workspace.write_text(level_two(repo).replace("    out = q @ k.T", block))
    start = time.monotonic()
    found = verb.run_pytest([f"tangled/{PACKAGE}", "--impl", "workspace", "--limit", "1", "-k", "shape"], graded=True)
    assert found.status == 1 and time.monotonic() - start < 20
    assert "where Python cannot be interrupted" in capfd.readouterr().out.replace("\n     ", "")


# -- guard

def spin():
    """In a frame of its own: Python 3.13 misses what is raised in a `while` that ends a `try`."""
    end = time.monotonic() + 5
    while time.monotonic() < end:
        pass


def test_time_limit_by_signal_and_by_thread():
    for limit in (guard.by_signal, guard.by_thread):
        steps = limit(0.2)
        next(steps)
        with pytest.raises(guard.TimeLimit):
            try:
                spin()
            finally:
                steps.close()


def test_no_limit():
    with guard.time_limit(0):
        pass


def test_imports_are_read_from_the_tree():
    import ast
    for code in ("import torch", "import numpy, jax.numpy as j", "from sklearn import svm",
                 "def f():\n import autograd",
                 "import importlib\nimportlib.import_module('tensorflow')", "from tangled import t90_scores"):
        with pytest.raises(levels.Unusable):
            levels.refuse_imports(ast.parse(code), "x.py", PACKAGE)
    for code in ("import numpy", "from tangled.t01_tensor_operations import unbroadcast", "from . import torch",
                 "x = 'import torch'", "import tangled.t02_autograd"):
        levels.refuse_imports(ast.parse(code), "x.py", PACKAGE)


# -- bench

BENCHMARK = """\
from tangled.measuring import Ladder


def ladders():
    yield Ladder('sum', {'level 1': lambda: sum(range(2000)), 'level 4': lambda: 0}, 'n')
    yield Ladder('other', {'level 1': lambda: sum(range(3000)), 'level 4': lambda: 0}, 'n')


def asides():
    return {'price of a branch': 2.5}
"""


@pytest.fixture
def measured(repo):
    """The small repository with two ladders and their record."""
    path = repo / "tangled" / PACKAGE / "benchmark.py"
    path.write_text(BENCHMARK)
    yield repo
    path.unlink()
    (repo / "golden" / "records" / "t90.json").unlink(missing_ok=True)


@pytest.mark.skipif(not torch_available(), reason="a record holds PyTorch's times")
def test_bench_records_and_compares(measured):
    done = scripts(measured, "bench", "--budget", "0.05", "--record")
    assert done.returncode == 0 and "golden/records/t90.json: 2 of 2 ladders" in done.stdout, done.stderr
    record = json.loads((measured / "golden" / "records" / "t90.json").read_text())
    assert list(record["ladders"]) == ["sum", "other"] and record["ladders"]["sum"]["rows"]["level 1"]["ratio"] > 1
    assert record["runs"]["asides"]["values"] == {"price of a branch": 2.5}
    by = record["by"][record["ladders"]["sum"]["by"]]
    assert by["threads"] == "one thread" and by["torch"] and by["instructions"] and "benchmark" in by["code"]
    done = scripts(measured, "bench", "--topic", "90", "--only", "oth", "--budget", "0.05", "--record")
    again = json.loads((measured / "golden" / "records" / "t90.json").read_text())
    assert done.returncode == 0 and again["ladders"]["sum"] == record["ladders"]["sum"]
    done = scripts(measured, "bench", "--topic", "90", "--budget", "0.05")
    assert "price of a branch: 2.5   (record: 2.5)" in done.stdout
    assert "(record: Measured on " in done.stdout and done.stdout.count("  record\n") == 2
    assert json.loads((measured / "golden" / "records" / "t90.json").read_text()) == again
    assert json.loads((measured / "build" / "bench.json").read_text())[0]["rows"][0]["ratio"] > 1


def test_bench_says_what_there_is(measured):
    assert "topics that have one: 90" in scripts(measured, "bench", "--topic", "3").stderr
    assert "no ladder has 'x' in its name" in scripts(measured, "bench", "--only", "x").stderr
    with pytest.raises(Problem):
        bench.packages(999)
