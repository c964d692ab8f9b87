"""The tasks that the chapters name in their front matter, `interview:`, with their follow-up questions found."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path

from scripts.errors import Problem
from scripts.grading.touching import definitions
from scripts.reading.chapters import Book, Chapter
from scripts.reading.front import near
from scripts.reading.questions import Question, find, questions


@dataclass(frozen=True)
class Task:
    """One task. `line`: of its entry in the chapter at `path`."""

    topic: int
    package: str
    exports: tuple[str, ...]
    functions: tuple[str, ...]
    minutes: int
    asked: int                                   # how often: 1 (seldom) to 5
    says: str                                    # Markdown
    examples: tuple[str, ...]                    # expressions
    follow_ups: tuple[Question, ...]
    path: str
    line: int

    @property
    def name(self) -> str:
        return self.functions[0]


def tasks_of(root: Path, chapter: Chapter) -> list[Task]:
    """A chapter's tasks; a Problem where an entry names what is not there."""
    there, entries = questions(chapter), chapter.meta.get("interview") or []
    found = []
    for number, entry in enumerate(entries):
        line = chapter.front_entry("interview", number)
        check_names(root, chapter, entry, line)
        follow_ups = tuple(find(words, there, chapter.path, line) for words in entry["follow_ups"])
        found.append(Task(chapter.topic, chapter.package, tuple(chapter.exports), tuple(entry["functions"]),
                          entry["minutes"], entry["asked"], entry["says"], tuple(entry["examples"]), follow_ups,
                          chapter.path, line))
    return found


def check_names(root: Path, chapter: Chapter, entry: dict, line: int) -> None:
    """Every function is a public one of the topic, every example an expression."""
    public = [name for stem in chapter.exports for name in definitions(root, chapter.package, stem)]
    for name in entry["functions"]:
        if name not in public:
            said = near(name, public) or f"; expected one of {', '.join(public)}"
            raise Problem(chapter.path, line, f"interview: {name!r} is no public function or class of "
                          f"{', '.join(chapter.exports)}{said}")
    for example in entry["examples"]:
        try:
            ast.parse(example, mode="eval")
        except SyntaxError as error:
            raise Problem(chapter.path, line, f"interview: the example {example!r} is no expression "
                          f"({error.msg})") from None


def all_tasks(root: Path, book: Book) -> list[Task]:
    """The tasks of the whole book, in its order."""
    return [task for chapter in book.chapters if chapter.topic is not None for task in tasks_of(root, chapter)]
