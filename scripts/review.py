"""`make review [TOPIC=25] [N=10]`: the interview questions as cards; fsrs says when each comes back.

The question is shown, then, after Enter, the answer; you say how well you knew it. What is due comes first, then up
to N questions that are new to you. Every answer is kept at once (workspace/.review.json): stop whenever you like.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from scripts import learn
from scripts.reading import plaintext
from scripts.reading.chapters import find_topic
from scripts.reviewing import schedule
from scripts.reviewing.deck import deck

NEW = 10                                         # questions a session that were never seen
ENDS = ("q", "quit", "exit")


class Stop(Exception):
    """The reader has had enough, or there is nobody to answer."""


def main(argv: list[str], root: Path = Path("."), now=schedule.now) -> int:
    parser = argparse.ArgumentParser(prog="python -m scripts review", description=__doc__.split("\n")[0])
    parser.add_argument("--topic")
    parser.add_argument("--n", help=f"questions that are new to you, at most (default {NEW})")
    given = parser.parse_args(argv)
    topic = None if given.topic is None else learn.number(given.topic, "TOPIC", "review")
    book, found = deck(root, topic)
    limit = NEW if given.n is None else learn.number(given.n, "N", "review")
    session = Session(root, book, found, limit, now)
    try:
        session.run()
    except (Stop, KeyboardInterrupt):
        print()
    print(session.closing())
    return 0


class Session:
    """One sitting."""

    def __init__(self, root: Path, book, found, limit: int, now):
        self.book, self.now, self.left = book, now, limit
        self.questions = {q.key: q for q in found}
        self.cards = schedule.Schedule(root, list(self.questions))
        self.say = learn.labels(book)
        self.width = max(40, min(88, shutil.get_terminal_size((88, 24)).columns - 1))
        self.asked = 0

    def run(self) -> None:
        while key := self.next():
            self.show(key)

    def next(self) -> str | None:
        """What is due; else something new; else what comes back within this sitting."""
        if due := self.cards.waiting(self.now()):
            return due[0]
        if self.left > 0 and (new := self.cards.new()):
            self.left -= 1
            return new[0]
        soon = self.cards.waiting(self.now() + schedule.AHEAD) if self.asked else []
        return soon[0] if soon else None

    def show(self, key: str) -> None:
        """One card: question, answer, rating."""
        question = self.questions[key]
        title = plaintext.plain_line(find_topic(self.book, question.topic).title)
        print(f"{'' if not self.asked else chr(10)}-- Topic {question.topic}, {title}  ({self.counts(key)})\n")
        print(plaintext.plain(question.text, self.width, self.say) + "\n")
        ask("Enter shows the answer, q ends: ")
        print("\n" + plaintext.plain(question.answer, self.width, self.say) + "\n")
        times = [schedule.span(time) for time in self.cards.intervals(key, self.now())]
        choice = "   ".join(f"{n} {name} ({time})" for n, (name, time) in enumerate(zip(schedule.RATINGS, times), 1))
        self.cards.rate(key, rating(choice), self.now())
        self.asked += 1

    def counts(self, key: str) -> str:
        """How many more there are."""
        waiting = self.cards.waiting(self.now())
        new = min(self.left, len(self.cards.new()))
        return f"{len(waiting) - (key in waiting)} more due, {new} new"

    def closing(self) -> str:
        """What was done, and when there is something again."""
        done = f"{self.asked} question{'s' * (self.asked != 1)} answered." if self.asked else "Nothing answered."
        memory = self.cards.memory()
        if self.cards.waiting(self.now()):
            return f"{done} {len(self.cards.waiting(self.now()))} more are due now."
        later = [self.cards.card(key, memory).due for key in self.questions if key in memory]
        new = len(self.cards.new())
        coming = f" The next comes back in {schedule.span(min(later) - self.now())}." if later else ""
        return done + coming + (f"\n{new} have not been seen yet; N= says how many of them to begin." if new else "")


def ask(prompt: str) -> str:
    """A line from the reader; `q` or the end of the input ends the session."""
    try:
        said = input(prompt).strip().lower()
    except EOFError:
        raise Stop from None
    if said in ENDS:
        raise Stop
    return said


def rating(choice: str) -> int:
    """1 to 4, by number or by word."""
    while True:
        said = ask(f"{choice}\n? ")
        for n, name in enumerate(schedule.RATINGS, 1):
            if said == str(n) or (said and name.startswith(said)):
                return n
        print(f"{said!r} is none of them; expected 1 to 4, or q.")

