"""Interviews: the task, the page, the clock, the hidden tests, the report; what survives and what is refused."""

from __future__ import annotations

import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
import types
from pathlib import Path
from types import SimpleNamespace

import pytest
from desk_book import PACKAGE, make_desk

from scripts import interview
from scripts.errors import Problem
from scripts.gates import interviews as gate
from scripts.interviewing import choosing, examples, grading, page
from scripts.interviewing.completing import put
from scripts.interviewing.desk import Desk
from scripts.interviewing.lines import Lines
from scripts.interviewing.session import FOLDER, Session
from scripts.interviewing.tasks import tasks_of
from scripts.reading.chapters import find_topic, read_book

HERE = Path(__file__).resolve().parent.parent
CHAPTER = '''---
topic: 91
package: t91_desk
module: 4
needs: []
targets:
  - {api: "double(x)", time: "O(N)", space: "O(N)"}
interview:
  - functions: [double]
    minutes: 30
    asked: 5
    says: "Write `double`, which gives $2 x$."
    examples: ["double(np.ones(2))", "double(3.0)"]
    follow_ups: ["why twice", "zero"]
  - functions: [negate]
    minutes: 10
    asked: 2
    says: "Write it."
    examples: ["negate(1.0)", "negate([2.0])"]
    follow_ups: ["zero"]
---

# The desk {#sec-desk}

### Interview questions

**Why twice?**

::: {.callout-note collapse="true" title="Answer"}
Because $x + x = 2x$.
:::

**What about zero?**

::: {.callout-note collapse="true" title="Answer"}
It stays.
:::

**And a third one?**

::: {.callout-note collapse="true" title="Answer"}
Not asked.
:::
'''
MEASURING = '''

from tangled.measuring import growth_exponent


@pytest.mark.performance
def test_memory(level):
    """Memory grows as N"""
    exponent = growth_exponent(lambda n: lambda: level.double(np.ones(n)), [20_000, 40_000, 80_000], measure="memory")
    assert 0.8 < exponent < 1.2
'''
INDENT = " " * 11
RIGHT = "    return x + x"
BODY = '    raise NotImplementedError("double is yours to write")'


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A repository with two tasks; what the tests touch has been found out."""
    repo = make_desk(tmp_path_factory.mktemp("interview"))
    (repo / "chapters/91-desk.qmd").write_text(CHAPTER)
    with open(repo / f"tangled/{PACKAGE}/tests/test_basic.py", "a") as file:
        file.write(MEASURING)
    grading.hidden_tests(repo, tasks(repo)[0])
    return repo


@pytest.fixture
def repo(made):
    """The same, without interviews."""
    import shutil
    shutil.rmtree(made / "workspace", ignore_errors=True)
    return made


def tasks(repo: Path) -> list:
    return tasks_of(repo, find_topic(read_book(repo, only=[]), 91))


def begun(repo: Path, number: int = 0) -> tuple[Session, object]:
    """An interview of which nothing is written yet."""
    task = tasks(repo)[number]
    expected = examples.expected(repo, task)
    text = page.page(repo, task, "The desk", task.minutes, expected)
    return Session.begin(repo, task, task.minutes, text, expected), task


def write(session: Session, body: str) -> None:
    text = session.file.read_text()
    assert BODY in text
    session.file.write_text(text.replace(BODY, body))


class Candidate:
    """`make interview` in a process of its own, and what is typed into it."""

    def __init__(self, repo: Path, *options: str):
        self.repo, self.said = repo, ""
        self.child = subprocess.Popen([sys.executable, "-m", "scripts", "interview", *options], cwd=repo, text=True,
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self) -> None:
        while text := os.read(self.child.stdout.fileno(), 4096):
            self.said += text.decode()

    def until(self, text: str, seconds: float = 300) -> str:
        """Wait until it has said this."""
        end = time.monotonic() + seconds
        while text not in self.said:
            assert time.monotonic() < end, f"{text!r} did not come: {self.said}"
            assert self.reader.is_alive() or text in self.said, f"ended without {text!r}: {self.said}"
            time.sleep(0.02)
        return self.said

    def type(self, text: str) -> None:
        self.child.stdin.write(text)
        self.child.stdin.flush()

    def end(self) -> str:
        """Close the input and wait."""
        self.child.stdin.close()
        self.child.wait(timeout=300)
        self.reader.join()
        return self.said

    def kill(self) -> None:
        os.kill(self.child.pid, signal.SIGKILL)
        self.end()


# -- the page

def test_the_page_holds_paragraph_examples_and_signature(repo):
    task = tasks(repo)[0]
    text = page.page(repo, task, "The desk", 30, examples.expected(repo, task))
    assert text.startswith("# Interview, topic 91, The desk: 30 minutes.\n#\n# Write double, which gives 2 x.\n")
    assert "#     double(np.ones(2))\n#     -> [2. 2.]\n#     double(3.0)\n#     -> 6.0\n" in text
    unwrapped = text.replace("\n# ", " ")
    assert "may be called as it is: checked, quadruple, negate, apply, Pair, Layer, Scaled." in unwrapped
    assert f'def double(x):\n    """Twice x, of any shape."""\n{BODY}\n' in text
    assert "_twice" not in text and "class" not in text and "functools" not in text


def test_a_decorator_stays_where_it_is_needed(repo):
    session, task = begun(repo, 1)
    assert "@_checked\ndef negate(x):" in session.file.read_text()
    got, _ = examples.results(repo, task, session.file)
    assert got[0]["error"] == "negate is yours to write"


# -- the examples

@pytest.mark.parametrize("body, said", [
    (RIGHT, ["  ok     double(np.ones(2))", "  ok     double(3.0)"]),
    ("    return 2.1 * x", ["  WRONG  double(np.ones(2))", f"{INDENT}got      [2.1 2.1]", f"{INDENT}expected [2. 2.]"]),
    ("    return x @ x", ["  WRONG  double(3.0)", f"{INDENT}TypeError: unsupported operand type(s) for @"]),
    ("    import torch", [f"{INDENT}<file>:LINE: imports torch; only NumPy"]),
    ("    return x +", [f"{INDENT}<file>:LINE: invalid syntax"])])
def test_examples_are_compared(repo, body, said):
    session, task = begun(repo)
    write(session, body)
    got, _ = examples.results(repo, task, session.file)
    lines = examples.compared(task, got, session.data["expected"])
    number = len(session.file.read_text().partition(body)[0].split("\n"))
    place = f"{session.file.relative_to(repo).as_posix()}:{number}:"
    shown = [line.replace(place, "<file>:LINE:") for line in lines]
    for start in said:
        assert any(line.startswith(start) for line in shown), (start, shown)


def test_an_example_without_an_end_is_ended(repo):
    session, task = begun(repo)
    write(session, "    while True: pass")
    got, _ = examples.results(repo, task, session.file, seconds=3.0)
    assert got[0]["error"] == "takes longer than 3 s: a loop without an end?"


def test_the_others_call_the_readers_functions_wherever_they_keep_them():
    part = types.ModuleType("part")
    exec("def f(x): return 1\n"
         "def g(x): return f(x)\n"
         "TABLE = {'f': (f, g), 'n': 3}\n"
         "class Layer:\n"
         "    op, same = staticmethod(f), f\n"
         "    def forward(self): return self.op(0), g(0), TABLE['f'][0](0), TABLE['f'][1](0), self.same()\n"
         "class Below(Layer): pass\n", vars(part))
    assert part.Below().forward() == (1,) * 5
    put(part, {"f": lambda x: 2})
    assert part.Below().forward() == part.Layer().forward() == (2,) * 5 and part.TABLE["n"] == 3


# -- the clock

class Typed:
    """Lines that come one by one, and nothing in between."""

    def __init__(self, *lines):
        self.waiting = list(lines)

    def get(self, seconds=None):
        line = self.waiting.pop(0) if self.waiting else None
        if line == "nothing":
            raise queue.Empty
        return line


def desk(repo, session, task, *lines, step=100.0):
    """A sitting in which so many seconds pass between two looks."""
    now = [0.0]

    def later():
        now[0] += step
        return now[0]
    return Desk(repo, session, task, Typed(*lines), now=later)


def test_a_pause_is_not_counted(repo, capsys):
    session, task = begun(repo)
    assert not desk(repo, session, task, "nothing", "p", "nothing", "nothing", "", "p", "q").write()
    assert session.data["used"] == 500.0                 # of nine hundred and more
    said = capsys.readouterr().out
    assert "Paused at 23:20; p goes on." in said and "Paused at 23:20; p goes on, q leaves." in said


def test_the_time_runs_out(repo, capsys):
    session, task = begun(repo)
    assert desk(repo, session, task, *["nothing"] * 50).write()
    said = capsys.readouterr().out
    assert "10:00 left.\n5:00 left.\n" in said and said.endswith("Time is up. The file is handed in as it is now.\n")


def test_the_end_of_the_input_leaves(repo):
    session, task = begun(repo)
    assert not desk(repo, session, task).write()
    assert Session.unfinished(repo).folder == session.folder


def test_lines_come_whole_however_they_are_sent():
    inlet, outlet = os.pipe()
    lines = Lines(inlet, "utf-8")
    for piece in (b"on", b"e\r\ntw\xc3", b"\xb6\n\nlast"):
        os.write(outlet, piece)
        time.sleep(0.05)
    os.close(outlet)
    assert [lines.get(5) for _ in range(6)] == ["one", "tw\u00f6", "", "last", None, None]


# -- from the beginning to the report

def test_a_whole_interview(repo):
    """Two saves, handed in, both questions answered; the report is kept."""
    candidate = Candidate(repo, "--topic", "91", "--minutes", "7")
    said = candidate.until("q: leave, to go on later")
    assert "Topic 91, The desk: double, 7 minutes (asked very often, new to you)." in said
    assert "Write double, which gives 2 x." in said
    session = Session.all(repo)[0]
    write(session, RIGHT)
    assert "ok     double(3.0)" in candidate.until("ok     double(3.0)")
    candidate.type("s\n")
    candidate.until("Why twice?")
    assert "Because x + x = 2x." not in candidate.said
    candidate.type("One and\none.\n\n")
    candidate.until("What about zero?")
    assert "Because x + x = 2x." in candidate.said
    candidate.type("\n")
    said = candidate.end()
    assert candidate.child.returncode == 0, said
    assert "5 of 5 hidden tests passed: solved." in said
    assert re.search(r"Time: 0:\d\d of 7:00, pauses not counted; the examples were run 1 time\.", said)
    assert "target of double(x): time O(N); space O(N)" in said
    assert re.search(r"measured: memory grows with the power (0\.9|1\.0)\d \(passed: Memory grows as N\)", said)
    assert "equals none of the chapter's pitfalls" in said and "- And a third one?" in said
    report = (session.folder / "report.txt").read_text()
    assert "    One and\n    one.\n  the chapter's:\n    Because x + x = 2x." in report and "(none)" in report
    assert Session.unfinished(repo) is None
    assert Session.all(repo)[0].data["result"]["solved"]


def test_a_wrong_solution_is_told_and_asked_about(repo):
    candidate = Candidate(repo, "--topic", "91")
    candidate.until("q: leave, to go on later")
    write(Session.all(repo)[0], "    return 3 * x")
    candidate.until("WRONG")
    candidate.type("s\n\n\n")
    said = candidate.end()
    assert re.search(r"1 of 5 hidden tests passed: not solved", said)
    assert 'Your code fails here: "By name". Why' in said


def test_killed_at_any_step_it_goes_on(repo):
    """kill -9 while writing, then while questions are asked: the same command goes on from there."""
    first = Candidate(repo, "--topic", "91")
    first.until("q: leave, to go on later")
    write(Session.all(repo)[0], RIGHT)
    first.until("ok     double(3.0)")
    first.kill()
    second = Candidate(repo)
    assert "left on the clock." in second.until("n begins another: ")
    second.type("\ns\n")
    second.until("Why twice?")
    second.type("Mine.\n\n")
    second.until("What about zero?")
    second.kill()
    third = Candidate(repo, "--topic", "91")
    assert ", handed in." in third.until("n begins another: ")
    third.type("\n\n")
    said = third.end()
    assert "Question 2 of 2" in said and "Question 1" not in said and "5 of 5 hidden tests passed: solved." in said
    assert "    Mine.\n" in (Session.all(repo)[0].folder / "report.txt").read_text()


def test_another_may_be_begun_and_the_first_stays(repo):
    session, _ = begun(repo)
    candidate = Candidate(repo, "--topic", "91")
    candidate.until("n begins another: ")
    candidate.type("n\n")
    candidate.until("q: leave, to go on later")
    assert "stays as it is" in candidate.said and "negate, 10 minutes" in candidate.said    # double was had
    candidate.end()
    assert [s.phase for s in Session.all(repo)] == ["left", "writing"] and session.file.is_file()


def test_nothing_is_overwritten(repo):
    """Two in the same minute have folders of their own; what was handed in is copied once."""
    first, second = begun(repo)[0], begun(repo)[0]
    assert first.folder != second.folder
    write(first, RIGHT)
    first.hand_in()
    first.file.write_text("x = 1\n")
    assert RIGHT in first.hand_in().read_text()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills copies of this process")
def test_the_state_survives_the_end_of_the_process(repo):
    """Killed at any moment while it saves, a hundred times: the clock never goes back, and the state is whole."""
    session, _ = begun(repo)
    path, used = session.folder / "state.json", 0.0
    for trial in range(100):
        pid = os.fork()
        if pid == 0:
            while True:
                session.data["used"] += 0.001
                session.save()
        before, end = path.stat().st_mtime_ns, time.monotonic() + 10
        while path.stat().st_mtime_ns == before and time.monotonic() < end:
            time.sleep(0.0002)
        time.sleep(0.0003 * (trial % 13))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        session = Session.unfinished(repo)
        assert session is not None and session.data["used"] > used
        used = session.data["used"]
    assert not list(session.folder.glob("*.damaged*"))


# -- the choice

def test_the_choice(repo):
    """Often asked, not mastered, due; what was had comes later."""
    both = tasks(repo)
    assert choosing.choose(repo, both) == (both[0], "asked very often, new to you")
    session, _ = begun(repo)
    session.change(phase="done", result={"solved": True})
    chosen, why = choosing.choose(repo, both)
    assert chosen == both[1] and why == "asked now and then, new to you"
    progress = {"91": {"passed": 3, "failed": 0}}
    assert choosing.judge(both[1], progress, {}, [])[0] == 2
    cards = {f"91-{n}": {"due": "2020-01-01T00:00:00+00:00"} for n in range(3)} | {"90-x": {"due": "2020-01-01"}}
    points, why = choosing.judge(both[1], progress, cards, [])
    assert points == 3.5 and why == "asked now and then, passed by your file, 3 of its questions are due"


# -- what is refused

@pytest.mark.parametrize("old, new, said", [
    ("[double]", "[duoble]", "9: interview: 'duoble' is no public function or class of level2_vectorized; did you "
                             "mean 'double'?"),
    ('"why twice", "zero"', '"why thrice", "zero"', "9: the question 'why thrice' is there not"),
    ("double(3.0)", "double(3.0", "9: interview: the example 'double(3.0' is no expression"),
    ("follow_ups: [\"zero\"]", "follow_ups: [\"fro\"]", "15: the question 'fro' is there not")])
def test_a_task_names_what_is_there(repo, old, new, said):
    path = repo / "chapters/91-desk.qmd"
    path.write_text(CHAPTER.replace(old, new))
    try:
        with pytest.raises(Problem, match=re.escape(f"chapters/91-desk.qmd:{said}")):
            tasks(repo)
    finally:
        path.write_text(CHAPTER)


@pytest.mark.parametrize("old, new, said", [
    ("minutes: 30", "minutes: 3", "9: interview: minutes: 3; expected a whole number from 5 to 120"),
    ("asked: 2", "asked: often", "15: interview: asked: 'often'; expected a whole number from 1"),
    ('says: "Write it."', "tells: x", "15: interview: unknown key 'tells'"),
    ('says: "Write it."', "tells: x", "15: interview: a task without says; expected says: a paragraph"),
    ('["negate(1.0)", "negate([2.0])"]', '["negate(1.0)"]', "15: interview: examples: ['negate(1.0)']; expected a list "
                                                            "of two expressions")])
def test_a_task_is_read_strictly(tmp_path, old, new, said):
    (tmp_path / "chapters").mkdir()
    (tmp_path / "_quarto.yml").write_text("book:\n  chapters: [chapters/91-desk.qmd]\n")
    assert old in CHAPTER
    (tmp_path / "chapters/91-desk.qmd").write_text(CHAPTER.replace(old, new))
    found = [str(problem) for problem in read_book(tmp_path, only=[]).chapters[0].problems]
    assert any(line.startswith(f"chapters/91-desk.qmd:{said}") for line in found), found


@pytest.mark.parametrize("options, said", [
    (["--topic", "x"], "TOPIC='x' is no number"), (["--topic", "90"], "no topic 90; expected one of 91"),
    (["--minutes", "0"], "MINUTES=0; expected 1 or more"), (["--minutes", "ten"], "MINUTES='ten' is no number")])
def test_wrong_calls_end_in_a_line(repo, options, said):
    with pytest.raises(Problem, match=re.escape(said)):
        interview.main(options, repo)


def test_a_damaged_state_is_put_aside(repo, capsys):
    session, _ = begun(repo)
    (session.folder / "state.json").write_text('{"phase": "writing"}')
    assert Session.all(repo) == [] and session.file.is_file()
    assert "it is now state.damaged.json" in capsys.readouterr().out
    assert list((repo / FOLDER).glob("*/state.damaged.json"))


# -- the gates

def test_level_two_passes_the_hidden_tests_and_a_blank_page_none(repo):
    assert gate.judge(repo, tasks(repo)[0]) == []


def test_a_hidden_test_that_a_blank_page_passes_is_told(repo, monkeypatch):
    """Chosen on purpose: a test of another function."""
    task = tasks(repo)[0]
    idle = grading.hidden_tests(repo, tasks(repo)[1])[1:2]
    monkeypatch.setattr(grading, "hidden_tests", lambda root, task: idle)
    found = gate.judge(repo, task)
    assert found == ["chapters/91-desk.qmd:9: the blank page passes test_double_in_its_name_alone[workspace]"]


def test_every_chapter_of_the_book_has_its_tasks(monkeypatch):
    monkeypatch.chdir(HERE)
    book = SimpleNamespace(selected=read_book(HERE, only=[]).chapters)
    assert gate.interviews(book) == []
    monkeypatch.setitem(gate.SEVERAL, 25, 9)
    assert len(found := gate.interviews(book)) == 1 and "3 tasks for an interview, expected 9" in found[0]


@pytest.mark.parametrize("topic", [0, 25])
def test_a_page_of_the_book_can_be_imported_and_completed(topic, tmp_path):
    """The blank page runs its examples, as far as the functions are not written."""
    for number, task in enumerate(tasks_of(HERE, find_topic(read_book(HERE, only=[]), topic))):
        wanted = examples.expected(HERE, task)
        path = tmp_path / f"{number}.py"
        path.write_text(page.page(HERE, task, "", task.minutes, wanted))
        got, _ = examples.results(HERE, task, path)
        assert all("yours to write" in result["error"] for result in got), got


def test_values_are_compared():
    nan = float("nan")
    array = {"shape": [2], "kind": "f", "entries": [1.0, nan]}
    assert examples.same(array, json.loads(json.dumps(array)))
    assert examples.same([1, 2.0 + 1e-9], [1, 2.0]) and not examples.same([1, 2.1], [1, 2.0])
    assert not examples.same({**array, "shape": [1, 2]}, array) and not examples.same(None, array)
    assert examples.same({"shape": [], "kind": "f", "entries": [2.0]}, 2.0) and not examples.same(True, 1)
