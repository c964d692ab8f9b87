"""`make grade FILES='submissions/*.py' TOPIC=9`: many files graded, one after the other, each in processes of its own.

Everything is read before anything runs; each file is graded from a copy, in a folder of its own. It goes into
build/grades/09/: grades.csv, one report a file, the files as they were graded, and state.json, from which a run that
was stopped goes on. What a file does to another, or to a report, makes its own row fail and no other.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import secrets
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from scripts import keeping
from scripts.errors import Problem
from scripts.grading import ledger, parent
from scripts.teaching.handed_in import File, Watched, dates, find, fingerprint, report_name, table

ROOT = Path(__file__).resolve().parent.parent
SECONDS = 900.0                                         # for one file, all its tests together
BEGUN = 3                                               # a file that ended the grader so often is not tried again
OURS = ("scripts", "tangled", "golden")


def main(argv: list[str]) -> int:
    given = arguments(argv)
    if os.name != "posix":
        raise Problem("", 0, "grading the files of others needs a POSIX system, whose sessions keep their processes "
                             "apart; on Windows run it in WSL")
    from scripts.test import number, tangle
    topic, package = number(given.topic)
    tangle(topic)
    if given.exercises and not (ROOT / "tangled" / package / "tests" / "test_exercises.py").is_file():
        raise Problem("", 0, f"topic {topic} has no graded exercises yet")
    files = find(given.files, ROOT)
    folder = ROOT / "build" / "grades" / f"{topic:02d}{'-exercises' * given.exercises}"
    return Grader(folder, package, given.exercises, given.seconds).grade(files, given.force)


def arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m scripts grade", description=__doc__.split("\n")[0])
    parser.add_argument("--files", help="a pattern, in quotes: 'submissions/*.py', 'handed in/**/*.py'; or a folder")
    parser.add_argument("--topic")
    parser.add_argument("--exercises", action="store_true", help="the graded exercises of the topic")
    parser.add_argument("--force", action="store_true", help="grade again what has been graded")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="at most, for one file (default: %(default)g)")
    given = parser.parse_args(argv)
    if given.topic is None:
        raise Problem("", 0, "TOPIC= is missing; expected such as: make grade FILES='submissions/*.py' TOPIC=9")
    return given


class Grader:
    """One topic's grades: what is known of them, and how the rest is found."""

    def __init__(self, folder: Path, package: str, exercises: bool, seconds: float):
        self.folder, self.package, self.exercises, self.seconds = folder, package, exercises, seconds
        self.state = keeping.load(folder / "state.json", good=lambda d: all(isinstance(v, dict) for v in d.values()))
        self.watched = Watched(ROOT)
        self.dates, self.book = dates(ROOT, OURS), fingerprint(ROOT, OURS)

    def grade(self, files: list[File], force: bool) -> int:
        """Grade what is not graded yet, a line a file; the status is 0 where all was graded, whatever came of it."""
        rows = []
        for file in files:
            if file.data is not None:
                self.watched.keep(file.path, file.data, ours=False)
        for row in self.state.values():                            # reports of before, lest one be changed now
            with contextlib.suppress(OSError, KeyError):
                self.watched.keep(ROOT / row["report"], (ROOT / row["report"]).read_bytes())
        width = max(len(file.shown) for file in files)
        try:
            for file in files:
                known = None if force else self.known(file)
                row = known or self.graded(file, files)
                rows.append(row)
                print(f"{file.shown:{width}s}  {said(row)}{'  (as graded before)' if known else ''}", flush=True)
                self.watched.write(self.folder / "grades.csv", table(rows))
        except KeyboardInterrupt:
            print(f"stopped: {len(rows)} of {len(files)} graded; the same command goes on from here", flush=True)
            return 130
        right = sum(row["result"] == "passed" for row in rows)
        print(f"{right} of {len(rows)} passed all their tests: {shown(self.folder / 'grades.csv')}, reports beside it")
        return 0

    def key(self, file: File) -> str:
        """What a grade is of: these bytes, tested by this book."""
        return hashlib.sha256(f"{file.sha256} {self.book}".encode()).hexdigest()

    def known(self, file: File) -> dict | None:
        """The grade of before, where neither the file nor the book has changed and its report is still there."""
        row = self.state.get(file.shown, {})
        whole = row.get("key") == self.key(file) and "result" in row and (ROOT / row["report"]).is_file()
        return row if whole else None

    def graded(self, file: File, files: list[File]) -> dict:
        """Grade one file; its row. That it was begun is kept, for it may end us."""
        before = self.state.get(file.shown, {})
        begun = before.get("begun", 0) + 1 if before.get("key") == self.key(file) else 1
        self.keep(file, {"key": self.key(file), "begun": begun})
        if file.data is None:
            outcome, text = failed(file.fault), ""
        elif begun > BEGUN:
            outcome, text = failed(f"grading it ended the grader {begun - 1} times; FORCE=1 tries again"), ""
        else:
            try:
                outcome, text = self.apart(file, files)
            except KeyboardInterrupt:
                self.keep(file, {"key": self.key(file), "begun": begun - 1})
                raise
            outcome = self.looked_round(outcome, file)
        row = self.row(file, outcome)
        self.store(file)
        self.watched.write(ROOT / row["report"], f"{file.shown}\n{said(row)}\n{text.rstrip()}\n")
        self.keep(file, row)
        return row

    def keep(self, file: File, entry: dict) -> None:
        self.state[file.shown] = entry
        keeping.save(self.folder / "state.json", self.state)
        self.watched.keep(self.folder / "state.json", (self.folder / "state.json").read_bytes())

    def store(self, file: File) -> None:
        """Keep the file as it was graded, beside its report."""
        path = self.folder / "files" / report_name(file.shown, "")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.data or b"")

    def row(self, file: File, outcome: dict) -> dict:
        passed, tests = outcome["passed"], outcome["tests"]
        report = self.folder / "reports" / report_name(file.shown, ".txt")
        return {"key": self.key(file), "file": file.shown, "result": "passed" if outcome["right"] else "failed",
                "passed": passed, "tests": tests, "share": f"{100 * passed // tests if tests else 0} %",
                "not measured": outcome["unmeasured"], "reason": outcome["reason"].replace("\n", " "),
                "report": report.relative_to(ROOT).as_posix()}

    def apart(self, file: File, files: list[File]) -> tuple[dict, str]:
        """Run the tests on a copy of the file, in a session of its own; what came of it, and what it printed."""
        with tempfile.TemporaryDirectory(prefix="book-grade-", ignore_cleanup_errors=True) as place:
            place = Path(place).resolve()
            copy = place / "room" / file.path.name
            copy.parent.mkdir()
            copy.write_bytes(file.data)
            status, entries = self.run(copy, place, [*{str(f.path.parent) for f in files}, str(self.folder)])
            text = (place / "output").read_bytes().decode("utf-8", "replace")
        clean = lambda words: words.replace(str(copy), file.shown).replace(str(copy.parent) + os.sep, "")
        outcome = next((entry["result"] for entry in entries if "result" in entry), None) or failed(
            f"took longer than {self.seconds:g} s in all, and was ended" if status is None else
            f"the process that graded it was ended by signal {-status}" if status < 0 else
            f"the process that graded it ended with status {status} and no result")
        return outcome | {"reason": clean(outcome["reason"])}, clean(text)

    def run(self, copy: Path, place: Path, closed: list[str]) -> tuple[int | None, list[dict]]:
        """The process that grades one file: its exit status (None: too slow), and the lines that it signed."""
        key = secrets.token_hex(32).encode()
        inlet, outlet = os.pipe()
        os.write(outlet, key)
        os.close(outlet)
        command = [sys.executable, "-m", "scripts.teaching.alone", "--package", self.package, "--file", str(copy),
                   "--room", str(copy.parent), "--result", str(place / "result"), "--key-from", str(inlet)]
        command += [word for folder in closed for word in ("--closed", folder)] + ["--exercises"] * self.exercises
        parent.adopt_orphans()
        before = set(parent.children_of(os.getpid()))
        with open(place / "output", "wb") as output:
            child = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output,
                                     stderr=subprocess.STDOUT, pass_fds=(inlet,), start_new_session=True)
        os.close(inlet)
        try:
            status = child.wait(self.seconds)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            with contextlib.suppress(OSError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            parent.end_orphans(before)
        return status, ledger.read(place / "result", key)[0]

    def looked_round(self, outcome: dict, file: File) -> dict:
        """What changed beyond the run's own folder is a reason to fail; were it the book, no grade would count."""
        if dates(ROOT, OURS) != self.dates:
            raise Problem("", 0, f"the book's own files (scripts/, tangled/ or golden/) changed while {file.shown} was "
                                 "graded; no grade counts until they are as they were: see git status")
        if changed := self.watched.changed():
            return failed(f"{', '.join(changed[:3])} changed while it ran", outcome)
        return outcome


def failed(reason: str, outcome: dict | None = None) -> dict:
    counts = outcome or {"passed": 0, "tests": 0, "unmeasured": 0}
    return counts | {"right": False, "reason": reason}


def said(row: dict) -> str:
    """`passed, 156 tests`, or `failed, 150 of 156 tests passed: the reason`."""
    if row["result"] == "passed":
        return f"passed, {row['tests']} tests" + (f", {row['not measured']} not measured" * bool(row["not measured"]))
    counts = f", {row['passed']} of {row['tests']} tests passed" if row["tests"] else ""
    return f"failed{counts}: {row['reason']}"


def shown(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()
