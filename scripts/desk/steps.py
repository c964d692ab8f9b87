"""`make watch` at a terminal: one function of a learner's file after the other, in the order of the stub.

The function at hand is tested alone at each save. When it is right the next is tested, and so on to the first that
is not; behind the last one the whole file is graded, as `make test IMPL=workspace` does.
"""

from __future__ import annotations

from pathlib import Path

from scripts.desk.source import Source
from scripts.errors import Problem, Problems
from scripts.grading.touching import public_names
from scripts.reading.chapters import read_book

UNTESTED = "no test of your file touches"


class Steps:
    """Where the learner is. `run(arguments)` gives (status, output), the status None where a save cut it short."""

    def __init__(self, root: Path, run, say, show):
        self.root, self.run, self.say, self.show = root, run, say, show
        self.topic: int | None = None
        self.package = ""
        self.right: set[str] = set()

    def begin(self) -> None:
        """With the file that was saved last, if there is one."""
        known = {c.package: c.topic for c in read_book(self.root, only=[]).chapters if c.package}
        files = [path for path in (self.root / "workspace").glob("t[0-9][0-9]*.py") if path.stem in known]
        if files:
            latest = max(files, key=lambda path: path.stat().st_mtime_ns)
            self.go(known[latest.stem], latest.stem)
        else:
            self.say("There is no file of yours yet; begin with: make start TOPIC=0")

    def go(self, topic: int, package: str) -> None:
        """Test on from the function at hand."""
        if topic != self.topic:
            self.topic, self.package, self.right = topic, package, set()
        try:
            while (name := self.at_hand()) and self.passes(name):
                self.right.add(name)
            if name is None:
                self.whole()
        except (Problem, Problems) as mistake:
            self.say(str(mistake))

    def at_hand(self) -> str | None:
        """The first function in the order of the stub that is not known to be right."""
        return next((n for n in public_names(self.root, self.package) if n not in self.right), None)

    def place(self, name: str) -> tuple[str, bool]:
        """Where a function stands, and whether it is written."""
        shown = f"workspace/{self.package}.py"
        span = Source.read(self.root / shown, shown, f"make start TOPIC={self.topic}").find(name)
        return (f"{shown}:{span.first}", not span.is_stub()) if span else (shown, False)

    def passes(self, name: str) -> bool:
        """Test one function; True where the next may follow."""
        where, written = self.place(name)
        if not written:
            self.say(f"\n{self.count()} Now {name}, {where}: not written yet.\n{self.keys(name)}")
            return False
        self.say(f"testing {name} ...")
        status, output = self.run(["test", "--topic", str(self.topic), "--only", name, "--impl", "workspace"])
        if status is None:
            return False
        if status == 0 or UNTESTED in output:
            passed = [line for line in output.splitlines() if "tests passed" in line]
            self.say(f"{name}: right, {passed[-1]}" if status == 0 and passed else f"{name}: no test calls it")
            return True
        self.show(output, f"make test TOPIC={self.topic} ONLY={name} IMPL=workspace")
        self.say(f"\n{self.count()} Now {name}, {where}.\n{self.keys(name)}")
        return False

    def whole(self) -> None:
        """Every function is right by itself: grade the file."""
        command = ["test", "--topic", str(self.topic), "--impl", "workspace"]
        status, output = self.run(command)
        if status is None:
            return
        self.show(output, f"make test TOPIC={self.topic} IMPL=workspace")
        if status:
            self.right = set()
            self.say("\nEach function passes its own tests, the file as a whole does not.")
        else:
            self.say(f"\nTopic {self.topic}: all {len(self.right)} functions are right.")
        self.say(self.keys(None))

    def count(self) -> str:
        """`3 of 11 right.`"""
        return f"Topic {self.topic}: {len(self.right)} of {len(public_names(self.root, self.package))} right."

    def keys(self, name: str | None) -> str:
        """What the keys do."""
        return "h hint   " + (f"r reset {name}   " if name else "") + "q quit"

    def press(self, key: str) -> None:
        """`h`: the next hint; `r`: the function at hand begins anew, what was written kept beside it."""
        if self.topic is None:
            self.say("There is no file of yours yet; begin with: make start TOPIC=0")
            return
        name = self.at_hand()
        if key == "h":
            command = ["hint", "--topic", str(self.topic)]
        elif key == "r" and name is not None:
            command = ["start", "--topic", str(self.topic), "--reset", name]
        else:
            return
        self.say("\n" + self.run(command)[1].rstrip())
