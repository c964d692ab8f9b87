"""Watches the chapters and workspace/; on a save, tangles and tests what the save touched. Ctrl-C ends it.

A chapter is tangled, then its topic is tested and every topic that imports it. A learner's file is graded.
At a terminal it goes on from function to function, and takes keys: see desk/steps.py.
One thing runs at a time; a save while it runs ends it and begins anew. Nothing is left running at the end.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from scripts.desk.keys import Keys
from scripts.desk.steps import Steps
from scripts.errors import Problem, Problems
from scripts.reading.chapters import Book, read_book

PAUSE = 0.3                                         # seconds between two looks
WATCHED = ("_quarto.yml", "chapters/*.qmd", "workspace/t[0-9][0-9]*.py")
GROUPS = hasattr(os, "killpg")                              # a command and its children are ended together
IMPORT = re.compile(r"^\s*(?:from|import)\s+tangled\.(\w+)", re.M)
MORE = re.compile(r"^\s*from\s+tangled\s+import\s+(.+)$", re.M)
CLOSING = re.compile(r"\d+ (?:passed|failed|error)")


@dataclass
class Job:
    """One command, what it is called on the screen, and whether all it prints is shown."""

    title: str
    arguments: list[str]
    whole: bool = True


def snapshot(root: Path) -> dict[str, tuple[int, int]]:
    """Path -> (time, size) of everything watched."""
    found = {}
    for pattern in WATCHED:
        for path in root.glob(pattern):
            if "." in path.stem:                    # t27_x.rope.1.py: what `start RESET=` has kept
                continue
            with contextlib.suppress(OSError):
                state = path.stat()
                found[path.relative_to(root).as_posix()] = (state.st_mtime_ns, state.st_size)
    return found


def changed(before: dict, after: dict) -> list[str]:
    """What was saved or is new; what went away needs nothing."""
    return [path for path, state in after.items() if before.get(path) != state]


# -- what a save touches

def imported(root: Path, package: str) -> set[str]:
    """The names under `tangled` that a package's files import."""
    names = set()
    for path in sorted((root / "tangled" / package).rglob("*.py")):
        with contextlib.suppress(OSError, UnicodeDecodeError):
            text = path.read_text(encoding="utf-8")
            names |= set(IMPORT.findall(text))
            for line in MORE.findall(text):
                names |= set(re.findall(r"\w+", line.partition("#")[0]))
    return names - {package}


def dependents(root: Path, book: Book, names: set[str]) -> list[int]:
    """The topics whose packages import one of `names`, directly or through another."""
    packages = {c.package: c.topic for c in book.chapters if c.package}
    uses = {package: imported(root, package) for package in packages}
    reached, more = set(names), set(names)
    while more:
        more = {package for package, used in uses.items() if used & more} - reached
        reached |= more
    return sorted(packages[name] for name in reached - names if name in packages)


def jobs(root: Path, paths: list[str]) -> list[Job]:
    """What to do for the files that were saved, in order."""
    book = read_book(root, only=[])
    todo, topics, names = [], [], set()
    chapters = [path for path in paths if not path.startswith("workspace/")]
    for chapter in book.chapters:
        if chapter.path in chapters:
            names |= {chapter.package, *(Path(s).stem for s in chapter.meta.get("shared", []))} - {None}
            topics += [] if chapter.topic is None else [chapter.topic]
    if "_quarto.yml" in chapters:
        todo.append(Job("tangle", ["tangle"]))
    else:
        todo += [Job(f"tangle {path}", ["tangle", "--only", path]) for path in chapters]
    todo += [Job(f"topic {topic}", ["test", "--topic", str(topic)]) for topic in topics]
    todo += [Job(f"topic {topic}, which imports it", ["test", "--topic", str(topic)], whole=False)
             for topic in dependents(root, book, names) if topic not in topics]
    known = {c.package: c.topic for c in book.chapters if c.package}
    for path in paths:
        package, extra, _ = Path(path).stem.partition("_exercises")
        if not path.startswith("workspace/") or (topic := known.get(package)) is None:
            continue
        if extra:
            todo.append(Job(f"your exercises of topic {topic}", ["test", "--topic", str(topic), "--exercises"]))
        else:
            todo.append(Job(f"your topic {topic}", ["test", "--topic", str(topic), "--impl", "workspace"]))
    return todo


# -- running it

class Runner:
    """Runs one command at a time in a group of its own, so that all of it can be ended."""

    def __init__(self, root: Path, command: list[str]):
        self.root, self.command, self.child = root, command, None

    def run(self, arguments: list[str], interrupted) -> tuple[int | None, str]:
        """(status, output); the status is None where `interrupted()` became true first."""
        with tempfile.TemporaryFile() as output:
            self.child = subprocess.Popen([*self.command, *arguments], cwd=self.root, stdout=output,
                                          stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                                          start_new_session=GROUPS)
            try:
                while self.child.poll() is None:
                    if interrupted():
                        return None, ""
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        self.child.wait(PAUSE)
                output.seek(0)
                return self.child.returncode, output.read().decode(errors="replace")
            finally:
                self.end()

    def end(self) -> None:
        """End the command and whatever it started."""
        child, self.child = self.child, None
        if child is None:
            return
        if not GROUPS:                                      # Windows
            child.kill()
            child.wait()
            return
        for number in (signal.SIGTERM, signal.SIGKILL):     # the second also for what it may have left behind
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(2)


class Screen:
    """Prints what fits one screen; on a terminal every round begins with an empty one."""

    def __init__(self, out=None):
        self.out = out or sys.stdout

    def clear(self) -> None:
        if self.out.isatty():
            self.out.write("\033[2J\033[3J\033[H")

    def say(self, text: str) -> None:
        self.out.write(text + "\n")
        self.out.flush()

    def show(self, text: str, command: str) -> None:
        """The beginning of a long output, with the command that shows all of it."""
        lines = text.rstrip("\n").split("\n")
        room = max(10, shutil.get_terminal_size((100, 40)).lines - 8)
        if self.out.isatty() and len(lines) > room:
            lines = [*lines[:room], f"... {len(lines) - room} more lines: {command}"]
        self.say("\n".join(lines))


def summary(text: str) -> str:
    """The last line of an output that counts tests, or its last line."""
    lines = [line.strip(" =") for line in text.splitlines() if line.strip()]
    counts = [line for line in lines if CLOSING.search(line)]
    return (counts or lines or ["no output"])[-1]


def as_make(arguments: list[str]) -> str:
    """`["test", "--topic", "27"]` -> `make test TOPIC=27`."""
    pairs = zip(arguments[1::2], arguments[2::2])
    return " ".join(["make", arguments[0], *(f"{k[2:].upper()}={v}" for k, v in pairs)])


class Watch:
    def __init__(self, root: Path, command: list[str], screen: Screen):
        self.root, self.screen, self.runner = root, screen, Runner(root, command)
        self.seen = snapshot(root)
        self.undone: list[str] = []                 # what an earlier round was about that a save cut short
        self.keys: Keys | None = None               # at a terminal
        self.steps: Steps | None = None

    def stir(self) -> bool:
        """Whether something was saved since the last round began."""
        return bool(changed(self.seen, snapshot(self.root)))

    def at_terminal(self, keys: Keys) -> None:
        """Take keys, and go on from function to function."""
        self.keys = keys
        self.steps = Steps(self.root, self.attempt, self.screen.say, self.screen.show)

    def attempt(self, arguments: list[str]) -> tuple[int | None, str]:
        """Run a command until it ends, a file is saved or `q` is pressed."""
        return self.runner.run(arguments, lambda: self.stir() or bool(self.keys and self.keys.holds("q")))

    def look(self) -> None:
        """A short pause, in which a key may be pressed."""
        key = self.keys.next(PAUSE) if self.keys else time.sleep(PAUSE)
        if key == "q":
            raise KeyboardInterrupt
        if key:
            self.steps.press(key)

    def round(self) -> None:
        """Wait until the saves have settled, then do what they ask for."""
        now = snapshot(self.root)
        while True:
            time.sleep(PAUSE)
            if (later := snapshot(self.root)) == now:
                break
            now = later
        paths, self.seen = changed(self.seen, now), now
        paths += [path for path in self.undone if path not in paths and path in now]
        self.undone = []
        if not paths:
            return
        self.screen.clear()
        self.screen.say(f"{time.strftime('%H:%M:%S')}  saved: {', '.join(paths)}")
        try:
            todo = jobs(self.root, paths)
        except (Problem, Problems) as mistake:
            self.screen.say(str(mistake))
            return
        for job in todo:
            if not self.do(job):
                break
        if self.stir():
            self.undone = paths
        elif not self.steps:
            self.screen.say("\nWatching; Ctrl-C ends.")

    def do(self, job: Job) -> bool:
        """Run a job and show the result; False where what comes after it makes no sense."""
        self.screen.say(f"\n-- {job.title}")
        if self.steps and "--impl" in job.arguments:
            topic = int(job.arguments[2])
            self.steps.go(topic, next(c.package for c in read_book(self.root, only=[]).chapters if c.topic == topic))
            return True
        status, output = self.attempt(job.arguments)
        if status is None:
            self.screen.say("saved again; beginning anew" if self.stir() else "stopping")
            return False
        if job.whole and (status or job.arguments[0] != "tangle"):
            self.screen.show(output, as_make(job.arguments))
        else:
            self.screen.say(("" if status == 0 else "FAILED: ") + summary(output))
        return status == 0 or job.arguments[0] != "tangle"

    def forever(self) -> None:
        while True:
            try:
                self.look()
                if self.stir():
                    self.round()
            except Exception as error:              # a tool that watches must not fall over
                self.screen.say(f"{type(error).__name__}: {error} (still watching)")


def main(argv: list[str], root: Path = Path("."), command: list[str] | None = None) -> int:
    if argv:
        print("usage: python -m scripts watch", file=sys.stderr)
        return 2

    def stop(*_):
        raise KeyboardInterrupt

    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), stop)
    screen = Screen()
    watch = Watch(root, command or [sys.executable, "-m", "scripts"], screen)
    files = [path for path in watch.seen if path.endswith((".qmd", ".py"))]
    screen.say(f"Watching {len(files)} files in chapters/ and workspace/. Save one to test what it touches; "
               "Ctrl-C ends.")
    try:
        if sys.stdin.isatty() and screen.out.isatty():
            with Keys() as keys:
                watch.at_terminal(keys)
                watch.steps.begin()
                watch.forever()
        watch.forever()
    except KeyboardInterrupt:
        screen.say("\nStopped watching.")
    finally:
        watch.runner.end()
    return 0
