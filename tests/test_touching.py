"""Which tests touch which function, seen while level 2 is tested."""

from __future__ import annotations

import pytest
from desk_book import LEVEL2, PACKAGE, make_desk

from scripts.errors import Problem
from scripts.grading import touching
from scripts.grading.tracing import learners

FILE = f"tangled/{PACKAGE}/tests/test_basic.py::"
TOUCHED = {
    "double": ["test_table[workspace-double]", "test_by_getattr[workspace-double]"],
    "checked": ["test_table[workspace-double]", "test_table[workspace-quadruple]",
                "test_by_getattr[workspace-double]", "test_class[workspace]"],
    "quadruple": ["test_table[workspace-quadruple]"],
    "negate": ["test_by_getattr[workspace-negate]", "test_double_in_its_name_alone[workspace]",
               "test_callback[workspace]", "test_in_a_thread[workspace]"],
    "apply": ["test_callback[workspace]"],
    "Pair": ["test_dataclass[workspace]"],
    "Layer": ["test_class[workspace]"],
    "Scaled": ["test_class[workspace]"],
}


@pytest.fixture(scope="module")
def repo(tmp_path_factory):
    return make_desk(tmp_path_factory.mktemp("touching"))


@pytest.mark.parametrize("name", TOUCHED)
def test_each_name(repo, name):
    """Parametrised tests one by one; not by a test's title, and through others only where no test calls it."""
    assert touching.tests_touching(repo, PACKAGE, [name]) == [FILE + test for test in TOUCHED[name]]


def test_several_names_keep_the_order_of_the_tests(repo):
    found = touching.tests_touching(repo, PACKAGE, ["Pair", "double"])
    assert found == [FILE + test for test in (*TOUCHED["double"], *TOUCHED["Pair"])]


def test_names(repo):
    assert touching.public_names(repo, PACKAGE) == list(TOUCHED)
    with pytest.raises(Problem, match=r"^ONLY='quadrupel' is no public function or class of topic 91; "
                                      r"did you mean 'quadruple'\?$"):
        touching.tests_touching(repo, PACKAGE, ["quadrupel"])
    with pytest.raises(Problem, match=r"^ONLY='_twice' is no public .*; expected one of double, checked"):
        touching.tests_touching(repo, PACKAGE, ["_twice"])


def test_traced_once_until_the_topic_changes(repo, monkeypatch):
    touching.touched(repo, PACKAGE)
    runs, trace = [], touching.traced
    monkeypatch.setattr(touching, "traced", lambda *given: runs.append(1) or trace(*given))
    path = repo / "tangled" / PACKAGE / "level2_vectorized.py"
    touching.touched(repo, PACKAGE)
    assert not runs
    try:
        path.write_text(LEVEL2.replace("return double(double(x))", "return _twice(_twice(x))") + "# changed\n")
        assert touching.tests_touching(repo, PACKAGE, ["double"]) == [FILE + test for test in TOUCHED["double"]]
    finally:
        path.write_text(LEVEL2)
    assert runs == [1]
    kept = repo / "build" / "touching" / f"{PACKAGE}.json"
    kept.write_text(kept.read_text()[:40])                      # cut short: traced again
    assert touching.tests_touching(repo, PACKAGE, ["Pair"])
    assert runs == [1, 1]
    assert [path.name for path in kept.parent.iterdir()] == [kept.name]


def test_tests_that_cannot_be_run(repo):
    path = repo / "tangled" / PACKAGE / "tests" / "test_basic.py"
    text = path.read_text()
    try:
        path.write_text("import nothing_of_this_name\n" + text)
        with pytest.raises(Problem, match="could not be run on level 2; see: make test TOPIC=91 LEVEL=2"):
            touching.touched(repo, PACKAGE)
    finally:
        path.write_text(text)


def test_ids():
    assert learners("a/b.py::test_x[level2-level-half]") == "a/b.py::test_x[workspace-level-half]"
    assert learners("a/b.py::test_x") == "a/b.py::test_x"
