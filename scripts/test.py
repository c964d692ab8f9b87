"""`make test [TOPIC=27] [IMPL=workspace] [LEVEL=2] [ONLY=rope]`: tangles what is needed, runs pytest and its report.

pytest runs in a process of its own, and all topics together in two (`grading/sharing.py`). What it says about a
learner's file is decided here, from the records that it signed: see `grading/parent.py`. Should it hang where Python
cannot interrupt it, or be ended from within, the report is printed here as well.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
from pathlib import Path

from scripts.errors import Problem
from scripts.grading import parent, sharing, touching
from scripts.grading.chosen import Chosen

ROOT = Path(__file__).resolve().parent.parent
GRACE = parent.GRACE
FAILED = 1


def main(argv: list[str]) -> int:
    options, rest = arguments(argv)
    package, topic = None, None
    if options.topic is not None:
        topic, package = number(options.topic)
    elif options.impl != "levels":
        raise Problem("", 0, f"IMPL={options.impl} needs a topic, such as: make test TOPIC=27 IMPL=workspace")
    if not options.no_tangle:
        tangle(topic)
    if package and not (ROOT / "tangled" / package / "tests").is_dir():
        raise Problem(f"tangled/{package}/tests", 0, "is not there; no chunk of the chapter writes a test")
    if options.impl == "workspace":
        say_missing(package, topic, options.exercises)
    paths = [f"tangled/{package}"] if package else sharing.options(rest)
    extra = ["--impl", options.impl] + (["--level", str(options.level)] if options.level else [])
    extra += ["--exercises"] * options.exercises
    with alone(package, options.only) as more:
        found = run_pytest(paths + extra + more + rest, graded=options.impl != "levels" or options.exercises)
    if options.impl == "workspace" and not rest and not options.only:
        keep_score(topic, found, options.exercises)
    return found.status


def arguments(argv: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """Our options, and what is left for pytest."""
    parser = argparse.ArgumentParser(prog="python -m scripts test", description=__doc__.split("\n")[0],
                                     epilog="Everything else is passed on to pytest, such as -k rope or -x.")
    parser.add_argument("--topic", help="this topic alone")
    parser.add_argument("--impl", default="levels", help="levels (default), workspace, or a Python file")
    parser.add_argument("--level", help="this level alone: 1 to 4")
    parser.add_argument("--only", help="of a learner's file the tests that touch this function or class")
    parser.add_argument("--exercises", action="store_true", help="grade the learner's exercises")
    parser.add_argument("--no-tangle", action="store_true", help="test tangled/ as it is")
    options, rest = parser.parse_known_args(argv)
    if options.level is not None and options.level not in ("1", "2", "3", "4"):
        raise Problem("", 0, f"LEVEL={options.level!r}; expected 1, 2, 3 or 4")
    if options.exercises and options.topic is None:
        raise Problem("", 0, "EXERCISES=1 needs a topic, such as: make test TOPIC=9 EXERCISES=1")
    if options.only is not None and (options.topic is None or options.exercises):
        why = "knows no exercises" if options.exercises else "needs a topic"
        raise Problem("", 0, f"ONLY={options.only} {why}; expected: make test TOPIC=27 ONLY=rope IMPL=workspace")
    if (options.exercises or options.only) and options.impl == "levels":
        options.impl = "workspace"
    if options.level is not None and options.impl != "levels":
        what = "graded exercises have" if options.exercises else "a file of yours has"
        raise Problem("", 0, f"LEVEL={options.level} says nothing here: {what} no levels; expected it left out")
    if options.impl not in ("levels", "workspace") and not Path(options.impl).is_file():
        raise Problem("", 0, f"IMPL={options.impl!r}; expected workspace, or the path of a Python file")
    return options, [word for word in rest if word != "--"]


def number(text: str) -> tuple[int, str]:
    """(27, its package), or a Problem that lists the topics there are."""
    from scripts.reading.chapters import find_topic, read_book
    book = read_book(ROOT, only=())
    if not text.strip().isdigit():
        there = ", ".join(str(c.topic) for c in book.chapters if c.topic is not None)
        raise Problem("", 0, f"TOPIC={text!r} is no number; expected one of {there}")
    chapter = find_topic(book, int(text))
    return chapter.topic, chapter.package


def tangle(topic: int | None) -> None:
    """Bring tangled/ up to date: all of it, or what one topic's tests need. A mistake stops here."""
    from scripts import tangle as verb
    from scripts.reading.chapters import read_book
    only = None if topic is None else needed(read_book(ROOT, only=()), topic)
    if verb.main([]) if only is None else verb.tangle(ROOT, only):
        raise SystemExit(FAILED)


def needed(book, topic: int) -> list[str]:
    """The chapters that a topic's tests import from: its own, those it needs, and the appendices."""
    by_topic = {c.topic: c for c in book.chapters if c.topic is not None}
    wanted, todo = set(), [topic]
    while todo:
        if (now := todo.pop()) in by_topic and now not in wanted:
            wanted.add(now)
            todo += [n for n in by_topic[now].meta.get("needs") or [] if isinstance(n, int)]
    return [c.path for c in book.chapters if c.topic in wanted or (c.topic is None and c.meta.get("shared"))]


def say_missing(package: str, topic: int, exercises: bool = False) -> None:
    """A learner who has not begun is told how."""
    if exercises and not (ROOT / "tangled" / package / "tests" / "test_exercises.py").is_file():
        raise Problem("", 0, f"topic {topic} has no graded exercises yet")
    file, more = f"workspace/{package}{'_exercises' * exercises}.py", " EXERCISES=1" * exercises
    if not (ROOT / file).is_file():
        raise Problem(file, 0, f"is not there; run: make start TOPIC={topic}{more}")


@contextlib.contextmanager
def alone(package: str | None, only: str | None):
    """The options for pytest that choose the tests of some functions, joined by commas; [] for all tests."""
    if only is None:
        yield []
        return
    names = [name.strip() for name in only.split(",")]
    tests = touching.tests_touching(ROOT, package, names)
    if not tests:
        raise Problem("", 0, f"no test of your file touches {only}; expected: make test "
                      f"TOPIC={int(package[1:3])} IMPL=workspace")
    others = [name for name in touching.public_names(ROOT, package) if name not in names]
    print(f"{len(tests)} of {len(touching.touched(ROOT, package))} tests of topic {int(package[1:3])} touch "
          f"{' or '.join(names)}", flush=True)
    with tempfile.TemporaryDirectory(prefix="book-chosen-") as folder:
        path = Path(folder) / "chosen.json"
        Chosen(names, others, tests).write(path)
        yield ["--alone", str(path)]


def run_pytest(arguments: list[str], graded: bool = False) -> parent.Run:
    """Status and records of a run of pytest; its report is printed here where it could not print its own."""
    found = parent.run(arguments, ROOT, graded, GRACE)
    if not found.complete:
        show(found.records, arguments)
    for line in found.said:
        print(f"FAILED  {line}")
    return found


def show(records: list[dict], arguments: list[str]) -> None:
    """The report of a run that could not print its own."""
    from scripts.grading.report_table import report
    impl = arguments[arguments.index("--impl") + 1] if "--impl" in arguments else "levels"
    print()
    for line in report(records, impl):
        print(line)
    failed = sum(r["outcome"] == "failed" for r in records)
    passed = sum(r["outcome"] == "passed" for r in records)
    print(f"\n{failed} failed, {passed} passed; the run did not reach its end")


def keep_score(topic: int, found: parent.Run, exercises: bool = False) -> None:
    """Remember what the learner's file reached, for `make progress`: what did not pass has failed."""
    from scripts.learn import record
    passed, unmeasured = found.count("passed"), found.count("unmeasured")
    tests = max(len(found.collected), len(found.records)) - found.count("skipped")
    failed = max(tests - passed - unmeasured, int(bool(found.status)))
    record(topic, passed, failed, ROOT, exercises, unmeasured)
