"""Gates on the tasks for interviews: each chapter names some, and their hidden tests tell right from not written."""

from __future__ import annotations

import tempfile
from pathlib import Path

from scripts.errors import Problem
from scripts.gates import passed
from scripts.gates.structure import topics
from scripts.interviewing import examples, grading, page
from scripts.interviewing.tasks import Task, tasks_of

SEVERAL = {25: 3, 26: 3, 27: 3, 30: 3, 31: 3}    # how many tasks the topics have that are asked most; others one


def interviews(book) -> list[str]:
    """Enough tasks, and each names functions, questions and expressions that are there."""
    offenders = []
    for chapter in topics(book):
        expected = SEVERAL.get(chapter.topic, 1)
        try:
            count = len(tasks_of(Path("."), chapter))
        except Problem as problem:
            offenders.append(str(problem))
            continue
        if count < expected:
            offenders.append(f"{chapter.path}:{chapter.front_line('interview')}: {count} tasks for an interview, "
                             f"expected {expected}")
    return offenders


def hidden(book) -> list[str]:
    """Level 2 passes every hidden test of every task, and the page as it is handed out passes none."""
    offenders, tools = [], passed.tools()
    for chapter in topics(book):
        for task in tasks_of(Path("."), chapter):
            key = passed.digest([passed.topic_key(chapter, tools), task.functions, task.examples])
            if passed.before("hidden", f"{task.topic} {task.name}", key):
                continue
            found = judge(Path(".").resolve(), task)
            offenders += found
            if not found:
                passed.remember("hidden", f"{task.topic} {task.name}", key)
    return offenders


def judge(root: Path, task: Task) -> list[str]:
    """What is wrong with the hidden tests of a task."""
    tests, place = grading.hidden_tests(root, task), f"{task.path}:{task.line}"
    if not tests:
        return [f"{place}: no test touches {', '.join(task.functions)}"]
    stem, _ = page.asked(root, task)
    solution = (root / "tangled" / task.package / f"{stem}.py").read_text(encoding="utf-8")
    blank = page.page(root, task, "", task.minutes, examples.expected(root, task))
    with tempfile.TemporaryDirectory() as folder:
        runs = []
        for name, text in (("solution", solution), ("blank", blank)):
            path = Path(folder) / f"{name}.py"
            path.write_text(text, encoding="utf-8")
            runs.append(grading.verdict(grading.grade(root, task, path, tests), tests))
    right, nothing = runs
    wrong = [r for r in right["records"] if r["outcome"] == "failed"]
    found = [f"{place}: level 2 fails {r['id'].rpartition('::')[2]}: {' '.join(r['lines'])[:120]}" for r in wrong[:3]]
    if not wrong and not right["solved"]:
        found.append(f"{place}: level 2 does not pass: {right['passed']} of {len(tests)}; {' '.join(right['said'])}")
    idle = [r["id"].rpartition("::")[2] for r in nothing["records"] if r["outcome"] == "passed"]
    return found + [f"{place}: the blank page passes {name}" for name in idle[:3]]
