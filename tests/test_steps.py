"""`make watch` at a terminal: from function to function, and its keys."""

from __future__ import annotations

import os
import sys

import pytest
from desk_book import FRONT, LEVEL2, PACKAGE

from scripts import watch
from scripts.desk.keys import Keys
from scripts.desk.steps import Steps

STUB = '    raise NotImplementedError("{} is yours to write")\n'
ALL = ["double", "checked", "quadruple", "negate", "apply", "Pair", "Layer", "Scaled"]


@pytest.fixture
def root(tmp_path):
    package = tmp_path / "tangled" / PACKAGE
    package.mkdir(parents=True)
    (package / "level2_vectorized.py").write_text(LEVEL2)
    for folder in ("workspace", "chapters"):
        (tmp_path / folder).mkdir()
    (tmp_path / "chapters" / "91-desk.qmd").write_text(FRONT)
    (tmp_path / "_quarto.yml").write_text("book:\n  chapters: [chapters/91-desk.qmd]\n")
    return tmp_path


class Desk:
    """Steps whose commands are answered from a table: name -> (status, output)."""

    def __init__(self, root, **answers):
        self.said, self.called, self.answers = [], [], answers
        self.steps = Steps(root, self.run, self.said.append, lambda text, command: self.said.append(text))

    def run(self, arguments):
        self.called.append(arguments)
        name = arguments[arguments.index("--only") + 1] if "--only" in arguments else arguments[0]
        return self.answers.get(name, (0, "5 of 5 tests passed (100 %)\n"))


def mine(root, text=LEVEL2):
    (root / "workspace" / f"{PACKAGE}.py").write_text(text)


def names_tested(desk):
    return [words[4] for words in desk.called if "--only" in words]


def test_on_to_the_first_that_is_not_written(root):
    mine(root, LEVEL2.replace("    return -x\n", STUB.format("negate")))
    desk = Desk(root, checked=(1, "no test of your file touches checked; expected …"))
    desk.steps.begin()
    assert names_tested(desk) == ALL[:3]
    text = "\n".join(desk.said)
    assert "double: right, 5 of 5 tests passed (100 %)" in text and "checked: no test calls it" in text
    assert f"Topic 91: 3 of 8 right. Now negate, workspace/{PACKAGE}.py:" in text
    assert text.endswith("not written yet.\nh hint   r reset negate   q quit")


def test_it_stays_where_a_test_fails(root):
    mine(root)
    desk = Desk(root, quadruple=(1, "FAILED your file"))
    desk.steps.go(91, PACKAGE)
    desk.steps.go(91, PACKAGE)
    assert names_tested(desk) == ["double", "checked", "quadruple", "quadruple"]
    assert desk.said[-2] == "FAILED your file" and "2 of 8 right. Now quadruple" in desk.said[-1]


def test_behind_the_last_the_whole_file(root):
    mine(root)
    desk = Desk(root)
    desk.steps.go(91, PACKAGE)
    assert names_tested(desk) == ALL and desk.called[-1] == ["test", "--topic", "91", "--impl", "workspace"]
    assert "Topic 91: all 8 functions are right." in desk.said[-2]
    desk = Desk(root, test=(1, "FAILED together"))
    desk.steps.go(91, PACKAGE)
    assert "the file as a whole does not" in desk.said[-2] and desk.steps.at_hand() == "double"


def test_keys(root):
    mine(root, LEVEL2.replace("    return -x\n", STUB.format("negate")))
    desk = Desk(root, start=(0, "negate is to be written again\n"), hint=(0, "Hint 1\n"))
    desk.steps.press("h")
    assert "make start TOPIC=0" in desk.said[-1]
    desk.steps.begin()
    for key in "hrx":
        desk.steps.press(key)
    assert desk.called[-2:] == [["hint", "--topic", "91"], ["start", "--topic", "91", "--reset", "negate"]]
    assert desk.said[-2:] == ["\nHint 1", "\nnegate is to be written again"]


def test_a_save_meanwhile_and_a_file_that_cannot_be_read(root):
    mine(root)
    desk = Desk(root, checked=(None, ""))
    desk.steps.go(91, PACKAGE)
    assert names_tested(desk) == ["double", "checked"]
    mine(root, "def double(\n")
    desk.steps.go(91, PACKAGE)
    assert desk.said[-1].startswith(f"workspace/{PACKAGE}.py:1: ")


def test_nothing_begun(root):
    desk = Desk(root)
    desk.steps.begin()
    assert desk.said == ["There is no file of yours yet; begin with: make start TOPIC=0"] and not desk.called


def test_what_is_kept_is_not_watched(root):
    mine(root)
    (root / "workspace" / f"{PACKAGE}.double.1.py").write_text("x = 1\n")
    assert [path for path in watch.snapshot(root) if path.startswith("workspace")] == [f"workspace/{PACKAGE}.py"]


@pytest.mark.skipif(os.name != "posix", reason="a pseudo-terminal")
def test_keys_of_a_terminal():
    """Each key at once; `q` is seen while others wait; the terminal is as it was in the end."""
    import pty
    import termios
    above, below = pty.openpty()
    before = termios.tcgetattr(below)
    with os.fdopen(below) as stream, Keys(stream) as keys:
        assert keys.next(0.01) == "" and not keys.holds("q")
        os.write(above, b"Hq")
        assert keys.holds("q") and [keys.next(1), keys.next(1), keys.next(0)] == ["h", "q", ""]
        keys.__exit__()
        assert termios.tcgetattr(stream) == before
    os.close(above)
    assert "termios" in sys.modules
