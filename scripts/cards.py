"""`make cards [TOPIC=25]`: the interview questions as a deck for Anki, in build/cards/."""

from __future__ import annotations

import argparse
from pathlib import Path

from scripts import learn
from scripts.reviewing import anki
from scripts.reviewing.deck import deck

FOLDER = "build/cards"


def main(argv: list[str], root: Path = Path(".")) -> int:
    parser = argparse.ArgumentParser(prog="python -m scripts cards", description=__doc__)
    parser.add_argument("--topic")
    given = parser.parse_args(argv)
    topic = None if given.topic is None else learn.number(given.topic, "TOPIC", "cards")
    book, questions = deck(root, topic)
    titles = {c.topic: c.title for c in book.chapters if c.topic is not None}
    name = "dl-from-scratch" if topic is None else f"topic-{topic:02d}"
    path = root / FOLDER / f"{name}.apkg"
    anki.write(path, questions, titles, learn.labels(book))
    topics = len({q.topic for q in questions})
    print(f"{path.relative_to(root).as_posix()}: {len(questions)} cards of {topics} topic{'s' * (topics != 1)}. "
          "In Anki: File, Import.\nImporting a newer file later updates the cards and keeps what you have learned.")
    return 0
