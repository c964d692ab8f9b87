"""Several files in the place of level 2, one after another in one process: `python -m scripts.gates.trial`.

Read from stdin, as JSON: `[{"name": …, "package": …, "file": …, "tests": [pytest's ids], "first": true}, …]`. A line
of JSON is written for each: `{"name": …, "unusable": "" or why, "outcomes": {test: "passed" | "failed" | "skipped"},
"tail": …}`. `first`: stop at the first failure. Importing NumPy, PyTorch and pytest takes longer than most of the
tests, so it is done once.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from pathlib import Path

import pytest

from scripts.grading import pitfalls
from scripts.grading.levels import Unusable, load_file

LEAN = [word for name in ("cacheprovider", "hypothesispytest", "anyio") for word in ("-p", f"no:{name}")]


class Outcomes:
    """A plugin that keeps what became of each test."""

    def __init__(self):
        self.found: dict[str, str] = {}

    def pytest_runtest_logreport(self, report) -> None:
        name = report.nodeid.rpartition("/")[2]
        if report.failed:
            self.found[name] = "failed"
        elif report.skipped:
            self.found[name] = "skipped"
        elif report.when == "call":
            self.found.setdefault(name, "passed")


def tried(job: dict) -> dict:
    """One file, tested."""
    plugin, said = Outcomes(), io.StringIO()
    try:
        load_file(Path(job["file"]), job["package"])
    except Unusable as error:                        # each test would fail, and that would prove nothing
        return {"name": job["name"], "unusable": str(error), "outcomes": {}, "tail": ""}
    arguments = [*job["tests"], "--impl", job["file"], "-q", "--tb=line", *LEAN, *(["-x"] if job.get("first") else [])]
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        pytest.main(arguments, plugins=[plugin])
    return {"name": job["name"], "unusable": "", "outcomes": plugin.found,
            "tail": " ".join(said.getvalue().strip().split("\n")[-3:])}


def main() -> None:
    jobs = json.load(sys.stdin)
    pitfalls.matching = lambda *_: ([], [])          # nobody asks here which pitfall a pitfall equals
    answers = os.fdopen(os.dup(1), "w")              # what a test prints does not get between the answers
    os.dup2(2, 1)
    for job in jobs:
        print(json.dumps(tried(job)), file=answers, flush=True)


if __name__ == "__main__":
    main()
