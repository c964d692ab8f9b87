"""`python -m scripts.teaching.alone`: grade one file, in a process of its own, and say what came of it.

The guarded run is that of `make test IMPL=path` (`grading/parent.py`). What it came to is one signed line in a file;
the key comes through a pipe. Should the file that is graded end this process, there is no such line.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from scripts.grading import ledger, parent, processes
from scripts.grading.report_table import pitfall_text, report

ROOT = Path(__file__).resolve().parents[2]


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser()
    for name in ("--package", "--file", "--room", "--result", "--key-from"):
        parser.add_argument(name, required=True)
    parser.add_argument("--closed", action="append", default=[])
    parser.add_argument("--exercises", action="store_true")
    given = parser.parse_args(argv)
    processes.die_with_parent()
    write = ledger.writer(given.result, ledger.key_from(int(given.key_from)))
    arguments = ["-p", "scripts.teaching.confine", "-p", "no:cacheprovider", f"tangled/{given.package}",
                 "--impl", given.file, "--room", given.room,
                 *[word for folder in given.closed for word in ("--closed", folder)]]
    os.environ.update(TMPDIR=given.room, PYTHONDONTWRITEBYTECODE="1")
    found = parent.run(arguments + ["--exercises"] * given.exercises, ROOT, graded=True)
    if not found.complete:
        print("\n".join(report(found.records, given.file)))
    for line in found.said:
        print(f"FAILED  {line}")
    sys.stdout.flush()
    write({"result": outcome(found)})
    return found.status


def outcome(found: parent.Run) -> dict:
    """What came of the run: counts, and the first reason for which it is not all right."""
    tests = max(len(found.collected), len(found.records)) - found.count("skipped")
    return {"passed": found.count("passed"), "tests": tests, "unmeasured": found.count("unmeasured"),
            "right": found.status == 0, "reason": reason(found)}


def reason(found: parent.Run) -> str:
    """The first thing that is wrong, in a line; what a run did besides computing comes before wrong values."""
    failed = sorted((r for r in found.records if r["outcome"] == "failed"), key=rank)
    if not failed:
        return found.said[0] if found.said else "" if found.status == 0 else "no test ran"
    record = failed[0]
    said = record["lines"][0] if record["lines"] else "failed"
    said += "".join(f"; equals {pitfall_text(pitfall)}" for pitfall in record["pitfalls"][:1])
    return said if record["kind"] in ("unusable", "todo") else f"{record['name']}: {said}"


def rank(record: dict) -> int:
    """What ended the run, then what was forbidden, what took too long, what is wrong, what is not written yet."""
    return {"ended": 0, "unusable": 1, "forbidden": 2, "left over": 2, "exit": 2, "time": 3, "memory": 3,
            "todo": 5}.get(record["kind"], 4)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
