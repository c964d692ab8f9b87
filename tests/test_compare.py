"""`make compare TOPIC=91`: the reader's functions beside a level's; what is counted is counted exactly."""

from __future__ import annotations

import types

import numpy as np
import pytest
from desk_book import LEVEL2, PACKAGE, make_desk
from harness_book import scripts

from scripts.desk import counting

MODULE = types.ModuleType("mine")
MODULE.np = np


def tally(f, *arguments):
    found = counting.counted(f, arguments, {}, MODULE)
    return found.passes, found.entries, found.made


def in_module(text: str):
    exec(text, vars(MODULE))                                    # its `np` is the module's
    return MODULE.f


def test_what_a_pass_is():
    x = np.ones((4, 5))
    assert tally(lambda x: x * 2 + x, x) == (2, 40, 2)
    assert tally(lambda x: x[1:].T.reshape(15, 1)[::2], x) == (1, 15, 1)      # a reshape that has to copy
    assert tally(lambda x: x[None, :, ::2], x) == (0, 0, 0)
    assert tally(lambda x: x.sum(), x) == (1, 20, 0)
    assert tally(lambda x: x.sum(0) / 4, x) == (2, 25, 2)
    assert tally(lambda x: np.exp(x, out=x), x) == (1, 20, 0)
    assert tally(lambda x: x.__imul__(3), x) == (1, 20, 0)
    assert tally(lambda x: x[[0, 2]], x) == (1, 20, 1)
    assert tally(lambda x: x.__setitem__(0, 7.0), x) == (1, 5, 0)
    assert tally(lambda x: x @ x.T, x) == (1, 20, 1)
    assert tally(lambda x: np.einsum("ij,ij->i", x, x), x) == (1, 20, 1)
    assert np.array_equal(x, np.ones((4, 5))) is False              # in place: the caller gives copies


def test_arrays_made_within():
    f = in_module("def f(n):\n    a = np.zeros(n)\n    b = np.empty(n)\n    b[:] = a\n    return np.asarray(b) + a\n")
    assert tally(f, 6) == (3, 18, 3)
    assert MODULE.np is np


def test_an_error_puts_numpy_back():
    with pytest.raises(ZeroDivisionError):
        tally(in_module("def f(x):\n    return x / np.ones(2) / (1 // 0)\n"), np.ones(2))
    assert MODULE.np is np


@pytest.fixture(scope="module")
def repo(tmp_path_factory):
    return make_desk(tmp_path_factory.mktemp("compare"))


def compare(repo, text, *more):
    (repo / "workspace" / f"{PACKAGE}.py").write_text(text)
    return scripts(repo, "compare", "TOPIC=91", *more, timeout=300)


def test_once_it_is_right(repo):
    wrong = compare(repo, LEVEL2.replace("return x + x", "return 3 * x"), "ONLY=double")
    assert wrong.returncode == 1 and not wrong.stdout
    said = wrong.stderr.splitlines()[-1]
    assert said.startswith("2 of 2 tests still fail (test_table[double], test_by_getattr[double]); make test TOPIC=91 "
                           "ONLY=double IMPL=workspace shows them, REVEAL=1 compares all the same")
    mine = LEVEL2.replace("return _twice(checked(x))", "return x + np.zeros_like(x) + x")
    done = compare(repo, mine, "ONLY=double,Layer,negate", "LEVEL=3")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "return x + np.zeros_like(x) + x" in done.stdout and "    return _twice(checked(x))" in done.stdout
    assert "double on (3,) float64  (test_table)" in done.stdout
    rows = [line.split() for line in done.stdout.splitlines() if line.startswith(("  yours", "  level 3"))]
    assert rows[0][-3:] == ["3", "3", "9"] and rows[1][-3:] == ["1", "1", "3"]
    assert "tests passed" not in done.stdout


def test_revealed_all_the_same(repo):
    done = compare(repo, LEVEL2.replace("def negate", "def other"), "ONLY=negate", "REVEAL=1")
    assert done.returncode == 0 and "has no negate" in done.stdout and "nothing measured" in done.stdout


@pytest.mark.parametrize("arguments, words", [
    (["LEVEL=4"], "LEVEL='4'; expected 1, 2 or 3"), (["ONLY=doubel"], "did you mean 'double'?"),
    (["IMPL=workspace"], "make compare knows no IMPL=; it takes LEVEL= ONLY= REVEAL= TOPIC=")])
def test_wrong_calls(repo, arguments, words):
    done = compare(repo, LEVEL2, *arguments)
    assert done.returncode != 0 and words in done.stderr and len(done.stderr.splitlines()) == 1
