"""The candidate's time: the clock runs, the examples are run on each save, and lines typed are obeyed."""

from __future__ import annotations

import queue
import time
from pathlib import Path

from scripts.interviewing import examples
from scripts.interviewing.lines import END, Lines
from scripts.interviewing.session import Session, clock
from scripts.interviewing.tasks import Task

LOOK = 0.25                                      # seconds between two looks at the file
TOLD = (600, 300, 60)                            # seconds left at which the clock is told
HELP = "save: run the examples   Enter: the clock   p: pause   s: hand in   q: leave, to go on later"


class Desk:
    """One sitting at the file."""

    def __init__(self, root: Path, session: Session, task: Task, lines: Lines, now=time.monotonic):
        self.root, self.session, self.task, self.lines, self.now = root, session, task, lines, now
        self.paused, self.before, self.saved = False, now(), now()
        self.seen = self.stamp()

    def write(self) -> bool:
        """Until it is handed in or the time is up (True), or the candidate leaves (False)."""
        while self.session.left > 0:
            self.tick()
            if self.stamp() != self.seen and not self.paused:
                self.run_examples()
            try:
                line = self.lines.get(LOOK)
            except queue.Empty:
                continue
            if line is END or line.strip().lower() in ("q", "quit"):
                self.session.save()
                return False
            if line.strip().lower() == "s":
                self.tick(save=True)
                return True
            self.obey(line.strip().lower())
        print("Time is up. The file is handed in as it is now.")
        return True

    def obey(self, word: str) -> None:
        """p, Enter, or help."""
        if word == "p":
            self.tick(save=True)
            self.paused = not self.paused
            print(f"Paused at {clock(self.session.left)}; p goes on." if self.paused else
                  f"{clock(self.session.left)} left.", flush=True)
        elif self.paused:
            print(f"Paused at {clock(self.session.left)}; p goes on, q leaves.", flush=True)
        elif word in ("", "t"):
            print(f"{clock(self.session.left)} left.", flush=True)
        else:
            print(HELP, flush=True)

    def tick(self, save: bool = False) -> None:
        """Let the clock run, unless paused, and keep it once a second."""
        now, left = self.now(), self.session.left
        if not self.paused:
            self.session.data["used"] += now - self.before
            for seconds in TOLD:
                if left > seconds >= self.session.left > 0:
                    print(f"{clock(self.session.left)} left.", flush=True)
        self.before = now
        if save or (now - self.saved >= 1 and not self.paused):
            self.session.save()
            self.saved = now

    def stamp(self) -> tuple[int, int] | None:
        """When the file was saved, and its size; None while it is not there."""
        try:
            state = self.session.file.stat()
            return state.st_mtime_ns, state.st_size
        except OSError:
            return None

    def run_examples(self) -> None:
        """Run the two public examples on what was saved. The clock runs on."""
        self.seen = self.stamp()
        if self.seen is None:
            return
        got, printed = examples.results(self.root, self.task, self.session.file)
        self.session.data["runs"] += 1
        self.tick(save=True)
        print(f"\nSaved, {clock(self.session.left)} left.")
        if printed.strip():
            print("\n".join(f"  | {line}" for line in printed.rstrip().split("\n")[-10:]))
        print("\n".join(examples.compared(self.task, got, self.session.data["expected"])), flush=True)
