"""Graded exercises: a stub, a run that grades it, the place in `progress`, and the gates that keep them honest."""

from __future__ import annotations

import json
import shutil

import pytest
from books import tangle
from harness_book import PACKAGE, make_repo, run, scripts

SOLUTION = '''
## Exercises {#sec-90-questions}

**1 (●, graded: halved).** Halve. **2 (●●●, graded: `loud`, `quiet`).** Two.

```{.python file="exercises.py"}
"""Exercises on scores."""
import numpy as np

from tangled.t90_scores import scores


def halved(q, k):
    """Half the scores of q (N, D) and k (M, D): (N, M)."""
    return scores(q, k)[0] / 2


def loud(x):
    """x (N,), doubled."""
    return _times(x, 2)


def quiet(x):
    """x (N,), a tenth of it."""
    return _times(x, 0.1)


def _times(x, factor):
    return np.asarray(x) * factor
```

```{.python file="tests/test_exercises.py"}
import numpy as np

from tangled.testing import assert_close


def test_halved(exercises, golden):
    """Half of the golden scores"""
    case = golden("plain")
    got = exercises.halved(case.inputs["q"], case.inputs["k"])
    assert_close(got, case.outputs["out"] / 2, what="halved")


def test_loud(exercises):
    """Twice, and a tenth"""
    assert_close(exercises.loud(np.arange(3.0)), np.arange(3.0) * 2, what="loud")
    assert_close(exercises.quiet(np.arange(3.0)), np.arange(3.0) / 10, what="quiet")
```
'''
CHAPTER = "chapters/90-scores.qmd"
FILE = f"workspace/{PACKAGE}_exercises.py"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    repo = make_repo(tmp_path_factory.mktemp("exercises"))
    with open(repo / CHAPTER, "a", encoding="utf-8") as chapter:
        chapter.write(SOLUTION)
    assert tangle(repo)[0] == 0
    return repo


@pytest.fixture
def repo(made):
    shutil.rmtree(made / "workspace", ignore_errors=True)
    return made


def start(repo) -> str:
    done = scripts(repo, "start", "--topic", "90", "--exercises")
    assert done.returncode == 0, done.stderr
    return done.stdout


def solution(repo) -> str:
    return (repo / "tangled" / PACKAGE / "exercises.py").read_text(encoding="utf-8")


def graded(repo, code: str | None = None, *more: str):
    if code is not None:
        (repo / "workspace").mkdir(exist_ok=True)
        (repo / FILE).write_text(code, encoding="utf-8")
    return scripts(repo, "test", "--topic", "90", "--exercises", "--no-tangle", *more)


def test_the_stub(repo):
    said = start(repo)
    assert f"{FILE} is yours: 3 bodies to write." in said and "make test TOPIC=90 EXERCISES=1" in said
    text = (repo / FILE).read_text(encoding="utf-8")
    assert "from tangled.t90_scores import scores" in text and "_times" not in text
    assert text.count("raise NotImplementedError(") == 3 and '"""x (N,), doubled."""' in text


def test_start_never_overwrites(repo):
    start(repo)
    (repo / FILE).write_text("mine = 1\n")
    assert "stays as it is" in start(repo) and "EXERCISES=1 FORCE=1" in start(repo)
    assert (repo / FILE).read_text() == "mine = 1\n"


def test_every_test_fails_on_the_stub(repo):
    start(repo)
    done = graded(repo)
    assert done.returncode == 1 and "0 of 2 tests passed" in done.stdout


def test_the_solution_passes_and_is_remembered(repo):
    done = graded(repo, solution(repo))
    assert done.returncode == 0 and "2 of 2 tests passed (100 %)" in done.stdout, done.stdout
    assert "your file" in done.stdout
    kept = json.loads((repo / "workspace/.progress.json").read_text())["90"]
    assert kept["exercises"]["passed"] == 2 and "passed" not in kept
    assert ", exercises 2 of 2" in scripts(repo, "progress").stdout


def test_a_started_file_shows(repo):
    start(repo)
    assert ", exercises started" in scripts(repo, "progress").stdout


def test_a_wrong_one_is_told(repo):
    done = graded(repo, solution(repo).replace("_times(x, 2)", "_times(x, 3)"))
    assert done.returncode == 1 and "test_loud" in done.stdout and "test_halved" not in done.stdout


def test_the_solution_cannot_be_imported(repo):
    done = graded(repo, f"from tangled.{PACKAGE}.exercises import *\n")
    assert done.returncode != 0 and "which is the solution" in done.stdout


def test_no_file_no_exercises_no_topic(repo):
    assert "run: make start TOPIC=90 EXERCISES=1" in graded(repo).stderr
    assert "EXERCISES=1 needs a topic" in scripts(repo, "test", "--exercises").stderr
    done = scripts(repo, "test", "--topic", "90", "--exercises", "--level", "2")
    assert done.returncode == 1 and "LEVEL=2 says nothing here" in done.stderr


def test_a_level_of_the_workspace_is_refused(repo):
    done = scripts(repo, "test", "--topic", "90", "--impl", "workspace", "--level", "2")
    assert done.returncode == 1 and "LEVEL=2 says nothing here: a file of yours has no levels" in done.stderr


def test_they_stay_out_of_other_runs(repo):
    """They run on the chapter's solution with the levels, and not at all for one level or the topic's own file."""
    whole = run(repo)
    assert whole.status == 0 and [r["level"] for r in whole.records].count("solution") == 2
    assert "exercises" in whole.text
    assert all(r["level"] == "level2" for r in run(repo, "--level", "2").records)
    level2 = repo / "tangled" / PACKAGE / "level2_vectorized.py"
    assert len(run(repo, "--impl", str(level2)).records) == 4


# -- the gates


@pytest.fixture
def gates(repo, monkeypatch):
    """`offenders(gate)` in the repository, after `change(old, new)` of the chapter."""
    from scripts.reading.chapters import read_book
    before = (repo / CHAPTER).read_text(encoding="utf-8")
    monkeypatch.chdir(repo)

    class Gates:
        def change(self, old: str, new: str) -> None:
            text = (repo / CHAPTER).read_text(encoding="utf-8")
            assert old in text
            (repo / CHAPTER).write_text(text.replace(old, new), encoding="utf-8")
            assert tangle(repo)[0] == 0

        def offenders(self, gate) -> list[str]:
            return gate(read_book(only=90))
    yield Gates()
    (repo / CHAPTER).write_text(before, encoding="utf-8")
    assert tangle(repo)[0] == 0


def test_gate_graded(gates):
    from scripts.gates.structure import graded
    assert gates.offenders(graded) == []
    gates.change("(●, graded: halved)", "(●)")
    assert gates.offenders(graded) == ["chapters/90-scores.qmd:1: 1 graded exercises, expected at least 2: "
                                       "**3 (●●, graded: name).** …"]
    gates.change("**1 (●)", "**1 (●, graded: halved)")
    gates.change("●●●", "●●")
    assert "no graded exercise is hard" in gates.offenders(graded)[0]
    gates.change("graded: halved", "graded: doubled")
    assert any("doubled: no such function in exercises.py" in line for line in gates.offenders(graded))
    gates.change("    assert_close(exercises.quiet", "    assert_close(exercises . quiet")
    assert any("quiet: tests/test_exercises.py does not test it" in line for line in gates.offenders(graded))


def test_gate_imports(gates):
    from scripts.gates.structure import imports
    assert gates.offenders(imports) == []
    gates.change("from tangled.t90_scores import scores\n", "from tangled.t90_scores.level2_vectorized import scores\n")
    assert any("exercises.py builds on the public names of t90_scores" in line for line in gates.offenders(imports))
    gates.change("level2_vectorized import scores\n", "level2_vectorized import _scaled\n")
    assert gates.offenders(imports) == []
    gates.change("level2_vectorized import _scaled\n", "checks import sizes\n")
    assert gates.offenders(imports) == []
    gates.change("on scores.\"\"\"\nimport numpy", "on scores.\"\"\"\nimport torch")
    assert any("imports torch; exercises.py may import NumPy" in line for line in gates.offenders(imports))


def test_gate_stubs(gates):
    from scripts.gates.runs import stubs
    assert gates.offenders(stubs) == []
    gates.change('    """Twice, and a tenth"""\n', '    """Twice, and a tenth"""\n    return\n')
    found = gates.offenders(stubs)
    assert len(found) == 1 and "test_loud" in found[0] and "passes on the stub of the exercises" in found[0]
