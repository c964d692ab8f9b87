"""The public examples of a task: what level 2 says to them, and whether the reader's file says the same."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from scripts.errors import Problem
from scripts.grading.parent import end_group
from scripts.interviewing.tasks import Task

SECONDS = 10.0
TOLERANCE = 1e-5


def expected(root: Path, task: Task) -> list[dict]:
    """What the examples give, by level 2."""
    found, _ = results(root, task, None, 120.0)
    for example, result in zip(task.examples, found):
        if "error" in result:
            raise Problem(task.path, task.line, f"interview: the example {example!r} fails on level 2: "
                          f"{result['error']}")
    return found


def results(root: Path, task: Task, file: Path | None, seconds: float = SECONDS) -> tuple[list[dict], str]:
    """What each example gives on a file (None: level 2), and what it printed meanwhile."""
    with tempfile.TemporaryDirectory(prefix="book-example-") as folder:
        order, result = Path(folder) / "order.json", Path(folder) / "result.json"
        order.write_text(json.dumps({
            "package": task.package, "exports": task.exports, "functions": task.functions,
            "file": None if file is None else str(file), "expressions": task.examples}), encoding="utf-8")
        command = [sys.executable, "-m", "scripts.interviewing.evaluate", str(order), str(result)]
        child = subprocess.Popen(command, cwd=root, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                 stderr=subprocess.STDOUT, start_new_session=True)
        said, printed = "ended before it had a result", b""
        try:
            printed, _ = child.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            said = f"takes longer than {seconds:g} s: a loop without an end?"
        finally:
            end_group(child, own_session=hasattr(os, "killpg"))
        if result.is_file() and child.returncode == 0:
            return json.loads(result.read_text(encoding="utf-8")), printed.decode("utf-8", "replace")[-2000:]
    return [{"error": said} for _ in task.examples], printed.decode("utf-8", "replace")[-2000:]


def same(got, wanted) -> bool:
    """Are two values the same: shapes and whole numbers exactly, others to five digits?"""
    if isinstance(wanted, (bool, str)) or isinstance(got, bool) or wanted is None:
        return type(got) is type(wanted) and got == wanted
    if isinstance(wanted, (int, float)):
        if not isinstance(got, (int, float)):
            return isinstance(got, dict) and got.get("shape") == [] and same(got["entries"][0], wanted)
        return (math.isnan(got) and math.isnan(wanted)) or got == wanted or \
            math.isclose(got, wanted, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    if isinstance(wanted, list):
        return isinstance(got, list) and len(got) == len(wanted) and all(map(same, got, wanted))
    if wanted.get("shape") == [] and isinstance(got, (int, float)):
        return same(got, wanted["entries"][0])
    return isinstance(got, dict) and set(got) == set(wanted) and (
        all(same(got[key], wanted[key]) for key in wanted if key != "kind"))


def compared(task: Task, got: list[dict], wanted: list[dict]) -> list[str]:
    """A line for each example that is right, a few for one that is not."""
    lines = []
    for example, mine, right in zip(task.examples, got, wanted):
        good = "error" not in mine and same(mine["value"], right["value"])
        lines.append(f"  {'ok   ' if good else 'WRONG'}  {example}")
        if "error" in mine:
            where = f" (line {mine['line']})" if mine.get("line") else ""
            lines.append(f"           {mine['error']}{where}")
        elif not good:
            lines += indented("got", mine["text"]) + indented("expected", right["text"])
    return lines


def indented(word: str, text: str) -> list[str]:
    """A value beside its name, the further lines of it below its first."""
    first, *more = text.split("\n")
    return [f"           {word:9s}{first}", *(" " * 20 + line for line in more)]
