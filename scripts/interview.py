"""`make interview [TOPIC=25] [MINUTES=40]`: a task against the clock, hidden tests, follow-up questions, a report.

You are given a file with a signature and a paragraph. Each save runs two examples; `p` pauses, `s` hands in. Then
come the hidden tests and the follow-up questions, one by one, each answer shown after yours. All of it stays in a
folder of workspace/interviews/; whatever ends the process, the same command offers to go on.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from scripts import keeping, learn
from scripts.errors import Problem
from scripts.interviewing import choosing, examples, grading, page, report
from scripts.interviewing.desk import HELP, Desk
from scripts.interviewing.lines import END, Lines
from scripts.interviewing.session import REPORT, Session, clock
from scripts.interviewing.tasks import Task, all_tasks, tasks_of
from scripts.reading import plaintext
from scripts.reading.chapters import Book, find_topic, read_book

LATER = "Left. `make interview` goes on from here."


def main(argv: list[str], root: Path = Path(".")) -> int:
    parser = argparse.ArgumentParser(prog="python -m scripts interview", description=__doc__.split("\n")[0])
    parser.add_argument("--topic")
    parser.add_argument("--minutes", help="on the clock; else what the task is meant to take")
    given = parser.parse_args(argv)
    root = root.resolve()
    topic = None if given.topic is None else learn.number(given.topic, "TOPIC", "interview")
    minutes = None if given.minutes is None else learn.number(given.minutes, "MINUTES", "interview")
    if minutes is not None and minutes < 1:
        raise Problem("", 0, f"MINUTES={minutes}; expected 1 or more")
    book = read_book(root, only=[])
    if topic is not None and not find_topic(book, topic).meta.get("interview"):
        raise Problem(find_topic(book, topic).path, 0, "names no task; expected `interview:` in the front matter")
    interview = Interview(root, book, Lines())
    try:
        return interview.run(topic, minutes)
    except KeyboardInterrupt:
        if interview.session and interview.session.phase not in ("done", "left"):
            interview.session.save()
            print(f"\n{LATER}")
        return 130


class Interview:
    """From the choice of a task to the report; each step begins where the last one was left."""

    def __init__(self, root: Path, book: Book, lines: Lines):
        self.root, self.book, self.lines = root, book, lines
        self.say = learn.labels(book)
        self.session: Session | None = None

    def run(self, topic: int | None, minutes: int | None) -> int:
        self.session, task = self.resumed() or (None, None)
        if self.session is None:
            self.session, task = self.begun(topic, minutes)
        chapter = find_topic(self.book, task.topic)
        if self.session.phase == "writing":
            if not self.written(task):
                print(LATER)
                return 0
            self.session.change(phase="testing")
        if self.session.phase == "testing":
            self.tested(task)
        if not self.asked(task):
            print(LATER)
            return 0
        self.reported(task, chapter)
        return 0

    # -- beginning

    def resumed(self) -> tuple[Session, Task] | None:
        """An interview that was begun before, where the reader wishes to go on with it."""
        session = Session.unfinished(self.root)
        if session is None:
            return None
        chapter = next((c for c in self.book.chapters if c.topic == session.data["topic"]), None)
        there = next((t for t in tasks_of(self.root, chapter) if session.is_of(t)), None) if chapter else None
        if there is None:                        # the book has changed since
            return None
        print(f"Unfinished: {self.place(session)}, {clock(session.left)} left on the clock" + (
            "" if session.phase == "writing" else ", handed in") + ".")
        word = self.lines.ask("Enter goes on with it, n begins another: ")
        if (word or "").strip().lower() not in ("n", "new"):
            return session, there
        session.change(phase="left")
        print(f"{self.place(session)} stays as it is.\n")
        return None

    def begun(self, topic: int | None, minutes: int | None) -> tuple[Session, Task]:
        """A new interview, of one topic's tasks or of the whole book's."""
        tasks = all_tasks(self.root, self.book) if topic is None else tasks_of(self.root, find_topic(self.book, topic))
        if not tasks:
            raise Problem("chapters/", 0, "name no task; expected `interview:` in the front matter of one")
        task, why = choosing.choose(self.root, tasks)
        minutes = minutes or task.minutes
        title = find_topic(self.book, task.topic).title
        expected = examples.expected(self.root, task)
        text = page.page(self.root, task, title, minutes, expected)
        session = Session.begin(self.root, task, minutes, text, expected)
        print(f"Topic {task.topic}, {plaintext.plain_line(title)}: {', '.join(task.functions)}, {minutes} minutes "
              f"({why}).\n")
        return session, task

    def place(self, session: Session) -> str:
        return session.folder.relative_to(self.root).as_posix()

    # -- the steps

    def written(self, task: Task) -> bool:
        """The time at the file; False where the reader leaves."""
        print(plaintext.plain(task.says, report.WIDTH, self.say))
        print(f"\nWrite in {self.session.file.relative_to(self.root).as_posix()}\n{HELP}\n", flush=True)
        return Desk(self.root, self.session, task, self.lines).write()

    def tested(self, task: Task) -> None:
        """The hidden tests, on what was handed in."""
        file = self.session.hand_in()
        tests = grading.hidden_tests(self.root, task)
        print(f"\nHanded in after {clock(self.session.data['used'])}. {len(tests)} hidden tests ...", flush=True)
        found = grading.grade(self.root, task, file, tests)
        self.session.change(result=grading.verdict(found, tests), phase="asking")
        print("\n".join(report.results(task, self.session.data["result"])))

    def asked(self, task: Task) -> bool:
        """The follow-up questions that are still open; False where the reader leaves."""
        answers = self.session.data["answers"]
        for number, question in enumerate(task.follow_ups, 1):
            if question.key in answers:
                continue
            print(f"\nQuestion {number} of {len(task.follow_ups)}. An empty line ends your answer; q leaves.\n")
            print(plaintext.plain(question.text, report.WIDTH, self.say) + "\n", flush=True)
            mine = self.lines.paragraph()
            if mine is END or mine.strip().lower() == "q":
                return False
            answers[question.key] = mine
            self.session.save()
            print(f"The chapter's answer:\n\n{plaintext.plain(question.answer, report.WIDTH, self.say)}", flush=True)
        return True

    def reported(self, task: Task, chapter) -> None:
        """The report, kept and shown."""
        result = self.session.data["result"]
        path = self.session.folder / REPORT
        keeping.write(path, report.text(self.session, task, chapter, self.say, self.root))
        self.session.change(phase="done")
        parts = [report.summary(self.session, result), report.growth(task, chapter, result),
                 report.pitfalls(result), report.next_questions(task, chapter, result)]
        print("\n-- Report\n\n" + "\n\n".join("\n".join(part) for part in parts))
        print(f"\nAll of it, with your answers: {path.relative_to(self.root).as_posix()}")
