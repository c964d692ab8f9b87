"""Which questions are asked: all of the book's, or a topic's."""

from __future__ import annotations

from pathlib import Path

from scripts import learn
from scripts.errors import Problem
from scripts.reading.chapters import Book, find_topic, read_book
from scripts.reading.questions import Question, questions


def deck(root: Path, topic: int | None = None) -> tuple[Book, list[Question]]:
    """The book and the questions, in its order; those of topics that the reader has begun come first."""
    book = read_book(root, only=[])
    begun = learn.remembered(root) if topic is None else {}
    chapters = [c for c in book.chapters if c.topic is not None] if topic is None else [find_topic(book, topic)]
    chapters.sort(key=lambda c: str(c.topic) not in begun)
    found = [question for chapter in chapters for question in questions(chapter)]
    if not found:
        where = chapters[0].path if topic is not None else "chapters/"
        raise Problem(where, 0, "has no interview questions; expected a heading `Interview questions`")
    return book, found
