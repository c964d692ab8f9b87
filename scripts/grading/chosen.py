"""`ONLY=rope`: the tests that touch a function, and what a test says that stops in another, unwritten one.

`scripts test` writes the choice to a file, pytest reads it with `--alone FILE`. A test that stops because another
function of the topic is not written yet says nothing about the chosen one: it is skipped, with its reason.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path

STUB = re.compile(r"^([A-Za-z_][\w.]*) is yours to write$")      # what `make start` puts into a body


@dataclass
class Chosen:
    """What is tested alone. `others`: the topic's further names; `tests`: ids of a learner's tests."""

    names: list[str]
    others: list[str]
    tests: list[str]

    def write(self, path: Path) -> None:
        """Keep it in a file."""
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    def waits_for(self, error: BaseException) -> str:
        """The other function or method whose body, or text, is missing; "" where that is not what happened."""
        name = unwritten(error)
        return name if name.partition(".")[0] in self.others else ""


def read(path: str | None) -> Chosen | None:
    """The choice in a file, None without one."""
    return Chosen(**json.loads(Path(path).read_text(encoding="utf-8"))) if path else None


def unwritten(error: BaseException) -> str:
    """`Decoder.extend`, of the exception that its stub raises or that its absence from a module causes; else ""."""
    if isinstance(error, NotImplementedError):
        match = STUB.match(str(error))
        return match[1] if match else ""
    if isinstance(error, AttributeError) and type(getattr(error, "obj", None)).__name__ == "module":
        return error.name or ""
    return ""
