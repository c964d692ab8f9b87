"""One interview: a folder in workspace/interviews/, with the file that is written in and how far it has come.

    state.json       which task, the seconds used, the phase: writing, testing, asking, done, left
    attention.py     the reader's own
    handed-in.py     what it was when it was handed in
    report.txt       at the end

`state.json` is written again each second that the clock runs: a process that is killed loses no more than that.
"""

from __future__ import annotations

import datetime
from pathlib import Path

from scripts import keeping
from scripts.interviewing.tasks import Task

FOLDER = "workspace/interviews"
STATE, HANDED_IN, REPORT = "state.json", "handed-in.py", "report.txt"
PHASES = ("writing", "testing", "asking", "done", "left")


class Session:
    """An interview, as it is on the disk."""

    def __init__(self, folder: Path, data: dict):
        self.folder, self.data = folder, data

    @classmethod
    def begin(cls, root: Path, task: Task, minutes: int, text: str, expected: list) -> Session:
        """A new folder with a blank page in it."""
        when = datetime.datetime.now()
        folder = new_folder(root / FOLDER, f"{when:%Y-%m-%d-%H%M}-{task.name}")
        (folder / f"{task.name}.py").write_text(text, encoding="utf-8")
        session = cls(folder, {"topic": task.topic, "functions": list(task.functions), "minutes": minutes,
                               "used": 0.0, "phase": "writing", "began": when.isoformat(timespec="seconds"),
                               "runs": 0, "expected": expected, "answers": {}})
        session.save()
        return session

    @classmethod
    def all(cls, root: Path) -> list[Session]:
        """Every interview that was begun, the oldest first."""
        found = [cls(path.parent, data) for path in sorted((root / FOLDER).glob(f"*/{STATE}"))
                 if (data := keeping.load(path, is_state))]
        return sorted(found, key=lambda session: session.data["began"])

    @classmethod
    def unfinished(cls, root: Path) -> Session | None:
        """The one that was left last, and can be gone on with."""
        open_ones = [s for s in cls.all(root) if s.phase not in ("done", "left") and s.file.is_file()]
        return open_ones[-1] if open_ones else None

    @property
    def file(self) -> Path:
        return self.folder / f"{self.data['functions'][0]}.py"

    @property
    def phase(self) -> str:
        return self.data["phase"]

    @property
    def left(self) -> float:
        """Seconds on the clock."""
        return max(0.0, 60 * self.data["minutes"] - self.data["used"])

    def is_of(self, task: Task) -> bool:
        return self.data["topic"] == task.topic and self.data["functions"] == list(task.functions)

    def change(self, **what) -> None:
        """Change some of it, and save."""
        self.data.update(what)
        self.save()

    def save(self) -> None:
        keeping.save(self.folder / STATE, self.data)

    def hand_in(self) -> Path:
        """A copy of the file, made once; it is what the hidden tests see, now or after an interruption."""
        path = self.folder / HANDED_IN
        if not path.is_file():
            keeping.write(path, self.file.read_text(encoding="utf-8", errors="replace"))
        return path


def is_state(data: dict) -> bool:
    """Is it the state of an interview, with all that is needed to go on?"""
    return (isinstance(data["functions"], list) and bool(data["functions"]) and data["phase"] in PHASES
            and isinstance(data["topic"], int) and isinstance(data["began"], str) and isinstance(data["answers"], dict)
            and data["minutes"] > 0 and data["used"] >= 0 and isinstance(data["expected"], list) and data["runs"] >= 0)


def new_folder(above: Path, name: str) -> Path:
    """A folder that was not there: NAME, or NAME-2, NAME-3, …"""
    above.mkdir(parents=True, exist_ok=True)
    n = 1
    while True:
        folder = above / (name if n == 1 else f"{name}-{n}")
        try:
            folder.mkdir()
            return folder
        except FileExistsError:
            n += 1


def clock(seconds: float) -> str:
    """`39:05`"""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
