"""`make test TOPIC=91 ONLY=double IMPL=workspace`: one function's tests."""

from __future__ import annotations

import pytest
from desk_book import LEVEL2, PACKAGE, make_desk
from harness_book import scripts

from scripts.grading import chosen

WRITTEN = 'def apply(f, x):\n    """f(x), whatever f is."""\n    return f(x)\n'
STUB = 'def apply(f, x):\n    """f(x), whatever f is."""\n    raise NotImplementedError("apply is yours to write")\n'


@pytest.fixture(scope="module")
def repo(tmp_path_factory):
    return make_desk(tmp_path_factory.mktemp("only"))


def only(repo, names, text, *more):
    (repo / "workspace" / f"{PACKAGE}.py").write_text(text)
    return scripts(repo, "test", "--topic", "91", "--only", names, "--no-tangle", *more, timeout=120)


def test_its_tests_alone(repo):
    """A mistake elsewhere does not matter, one in it does; no score is kept."""
    done = only(repo, "negate", LEVEL2.replace("return x + x", "return x"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 of 9 tests of topic 91 touch negate" in done.stdout
    assert "4 of 4 tests passed (100 %)" in done.stdout
    done = only(repo, "double", LEVEL2.replace("return x + x", "return x"), "--impl", "workspace")
    assert done.returncode == 1 and "0 of 2 tests passed" in done.stdout
    assert not (repo / "workspace" / ".progress.json").exists()


def test_what_is_unwritten_elsewhere(repo):
    """A test that also needs another function says so, and fails nothing."""
    done = only(repo, "negate", LEVEL2.replace(WRITTEN, STUB))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "skipped 1: also needs apply, which is not written yet" in done.stdout
    assert "3 of 3 tests passed (100 %), 1 skipped" in done.stdout
    done = only(repo, "negate", LEVEL2.replace(WRITTEN, ""))
    assert done.returncode == 0 and "also needs apply" in done.stdout
    done = only(repo, "apply", LEVEL2.replace(WRITTEN, STUB))
    assert done.returncode == 1 and "1 not written yet: apply" in done.stdout


def test_no_test_left_is_no_success(repo):
    stub = LEVEL2.replace("    return -x\n", '    raise NotImplementedError("negate is yours to write")\n')
    done = only(repo, "apply", stub)
    assert done.returncode != 0 and "all 1 were skipped (also needs negate, which is not written yet)" in done.stdout


@pytest.mark.parametrize("arguments, words", [
    (["--topic", "91", "--only", "doubel"], "ONLY='doubel' is no public function or class of topic 91; did you mean"),
    (["--topic", "91", "--only", ""], "expected one of double, checked"),
    (["--only", "double"], "ONLY=double needs a topic; expected: make test TOPIC=27 ONLY=rope IMPL=workspace"),
    (["--topic", "91", "--only", "double", "--level", "2"], "a file of yours has no levels"),
    (["--topic", "91", "--only", "double", "--exercises"], "ONLY=double knows no exercises")])
def test_wrong_calls(repo, arguments, words):
    (repo / "workspace" / f"{PACKAGE}.py").write_text(LEVEL2)
    done = scripts(repo, "test", "--no-tangle", *arguments, timeout=120)
    assert done.returncode == 1 and words in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr


def test_unwritten():
    assert chosen.unwritten(NotImplementedError("Layer.forward is yours to write")) == "Layer.forward"
    assert chosen.unwritten(NotImplementedError("no such mode")) == chosen.unwritten(ValueError("x")) == ""
    with pytest.raises(AttributeError) as caught:
        _ = chosen.missing
    assert chosen.unwritten(caught.value) == "missing"
    with pytest.raises(AttributeError) as caught:
        _ = "text".missing
    assert chosen.unwritten(caught.value) == ""
