"""The report of an interview: what passed, the time, growth, the pitfall it equals, what would be asked next."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

from scripts.grading import report_table
from scripts.interviewing.session import HANDED_IN, Session, clock
from scripts.interviewing.tasks import Task
from scripts.reading import plaintext
from scripts.reading.chapters import Chapter
from scripts.reading.questions import Question, questions

WIDTH = 88
MORE = 3                                         # questions beyond the follow-ups


def results(task: Task, result: dict) -> list[str]:
    """The table by category and the failures, as `make test` shows them."""
    records = [record | {"level": "workspace"} for record in result["records"]]
    lines = report_table.report(records, "workspace")[1:] if records else []
    return [*lines, *(f"FAILED  {line}" for line in result["said"])]


def summary(session: Session, result: dict) -> list[str]:
    """Passed, time, runs, in two lines."""
    data = session.data
    passed = f"{result['passed']} of {result['tests']} hidden tests passed"
    busy = f", {result['unmeasured']} not measured" if result["unmeasured"] else ""
    return [f"{passed}{busy}: {'solved' if result['solved'] else 'not solved'}.",
            f"Time: {clock(data['used'])} of {data['minutes']}:00, pauses not counted; the examples were run "
            f"{data['runs']} time{'s' * (data['runs'] != 1)}."]


def growth(task: Task, chapter: Chapter, result: dict) -> list[str]:
    """What the tests measured on this file, beside the chapter's targets."""
    lines = ["Growth"]
    for target in chapter.meta.get("targets", []):
        if re.match(r"\w+", target["api"])[0] in task.functions:
            lines += wrapped(f"target of {target['api']}: time {target.get('time', '-')}; "
                             f"space {target.get('space', '-')}")
    measured = [r for r in result["records"] if r["category"] == "performance" and r.get("measured")]
    for record in measured:
        said = f"{record['outcome']}: {record['doc'] or record['name']}"
        lines += wrapped(f"measured: {'; '.join(record['measured'])} ({said})")
    if not measured:
        lines += wrapped("No hidden test of this task measures growth." if result["passed"] else
                         "Nothing could be measured.")
    return lines


def wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent="  ", subsequent_indent="    ", break_long_words=False,
                         break_on_hyphens=False)


def pitfalls(result: dict) -> list[str]:
    """The mistakes of the chapter that the file makes."""
    found = {}
    for record in result["records"]:
        for pitfall in record["pitfalls"]:
            found.setdefault(pitfall["number"], (pitfall, []))[1].append(record["name"])
    if not found:
        return ["Pitfalls", "  It equals none of the chapter's pitfalls."]
    lines = ["Pitfalls"]
    for pitfall, tests in found.values():
        lines += wrapped(f"equals pitfall {pitfall['number']} \"{pitfall['name']}\" ({pitfall['place']}), in "
                         f"{len(tests)} test{'s' * (len(tests) > 1)}")
    return lines


def next_questions(task: Task, chapter: Chapter, result: dict) -> list[str]:
    """What an interviewer would ask next: about the first failure, then of the chapter's other questions."""
    lines = ["What an interviewer would ask next"]
    failed = next((r for r in result["records"] if r["outcome"] == "failed" and r["kind"] != "todo"), None)
    if failed and failed["doc"]:
        lines += wrapped(f"- Your code fails here: \"{failed['doc']}\". Why, and how would you have found out?")
    elif result["solved"]:
        lines += wrapped("- How do time and memory grow, and which of the two would you give up for the other?")
    rest = [q for q in questions(chapter) if q not in task.follow_ups]
    for question in rest[:MORE]:
        lines += wrapped(f"- {plaintext.plain_line(question.text)}")
    return lines


def answers(session: Session, asked: tuple[Question, ...], say) -> list[str]:
    """The follow-up questions with both answers."""
    lines = ["Follow-up questions"]
    for question in asked:
        mine = session.data["answers"].get(question.key)
        lines += ["", *wrapped(plaintext.plain(question.text, WIDTH, say)), "  yours:"]
        lines += textwrap.indent(mine or "(none)", "    ").split("\n")
        lines += ["  the chapter's:", *textwrap.indent(plaintext.plain(question.answer, WIDTH - 4, say),
                                                        "    ").split("\n")]
    return lines


def text(session: Session, task: Task, chapter: Chapter, say, root: Path) -> str:
    """The whole report, as it is kept."""
    result, data = session.data["result"], session.data
    folder = session.folder.relative_to(root).as_posix()
    parts = [[f"Interview of {data['began'].replace('T', ' ')}: {', '.join(task.functions)} "
              f"(topic {task.topic}, {plaintext.plain_line(chapter.title)})", f"handed in: {folder}/{HANDED_IN}"],
             summary(session, result), growth(task, chapter, result), pitfalls(result),
             next_questions(task, chapter, result), answers(session, task.follow_ups, say), results(task, result)]
    return "\n\n".join("\n".join(part) for part in parts) + "\n"
