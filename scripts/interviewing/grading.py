"""The hidden tests of a task: those of the topic that touch its functions, run as any file of a reader's is graded."""

from __future__ import annotations

import contextlib
import io
import tempfile
from pathlib import Path

from scripts import keeping
from scripts.grading import parent
from scripts.grading.touching import fingerprint, touched
from scripts.interviewing import page
from scripts.interviewing.tasks import Task

FEW = 5
PLUGIN = "scripts.interviewing.hidden"


def hidden_tests(root: Path, task: Task) -> list[str]:
    """The ids of the tests that call a function of the task; where those are few, of those too that call it through
    others."""
    names, tests = set(task.functions), touched(root, task.package)
    found = [test for test, (called, _) in tests.items() if names & set(called)]
    if len(found) <= FEW:
        found = [test for test, (called, through) in tests.items() if names & {*called, *through}]
    return found or failing_blank(root, task)


def failing_blank(root: Path, task: Task) -> list[str]:
    """The tests that fail while the functions are not written: for a function that level 2 itself does not have."""
    kept = root / "build" / "touching" / f"{task.package}-{task.name}.json"
    state = {"of": fingerprint(root, task.package), "functions": list(task.functions)}
    found = keeping.load(kept, lambda data: data["tests"])
    if found.get("state") != state:
        print(f"Looking which tests of topic {task.topic} need {task.name} (once) ...", flush=True)
        with tempfile.TemporaryDirectory(prefix="book-interview-") as folder:
            blank = Path(folder) / "blank.py"
            blank.write_text(page.page(root, task, "", task.minutes, []), encoding="utf-8")
            run = grade(root, task, blank, list(touched(root, task.package)))
        found = {"state": state, "tests": [r["id"] for r in run.records if r["outcome"] == "failed"]}
        keeping.save(kept, found)
    return found["tests"]


def grade(root: Path, task: Task, file: Path, tests: list[str]) -> parent.Run:
    """Run the hidden tests on a file, in a bounded process; what pytest prints is not shown."""
    with tempfile.TemporaryDirectory(prefix="book-interview-") as folder:
        chosen = Path(folder) / "tests.txt"
        chosen.write_text("\n".join(tests) + "\n", encoding="utf-8")
        arguments = ["-p", PLUGIN, "--impl", str(file), "--complete", ",".join(task.functions),
                     "--parts", ",".join(task.exports), "--chosen", str(chosen), "-p", "no:cacheprovider",
                     f"tangled/{task.package}"]
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            found = parent.run(arguments, root, graded=True)
    if not found.collected and not found.records:
        found.said.append(printed.getvalue().strip()[-400:] or "the tests could not be run")
    return found


def verdict(found: parent.Run, tests: list[str]) -> dict:
    """What is remembered of a run. `solved`: every hidden test passed, or could not be measured on a busy machine."""
    passed, unmeasured = found.count("passed"), found.count("unmeasured")
    skipped = found.count("skipped")
    return {"tests": len(tests) - skipped, "passed": passed, "unmeasured": unmeasured, "said": found.said,
            "records": found.records, "solved": bool(passed) and not found.status and not found.said
            and passed + unmeasured + skipped == len(tests)}
