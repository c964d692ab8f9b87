"""When a card is due: fsrs decides, workspace/.review.json remembers.

One entry a card that has been seen: `{"25-why-mask-with-inf-before": {"due": "2026-…", "stability": 2.3, …}}`.
"""

from __future__ import annotations

import datetime
import zlib
from pathlib import Path

from scripts import keeping

MEMORY = "workspace/.review.json"
RATINGS = ("again", "hard", "good", "easy")      # 1 to 4, as fsrs counts
AHEAD = datetime.timedelta(minutes=20)           # a card due so soon is shown rather than nothing


def now() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc)


def is_memory(data: dict) -> bool:
    """Can every entry be made a card of fsrs again?"""
    from fsrs import Card
    return all(Card.from_dict(entry) for entry in data.values())


class Schedule:
    """The cards of some questions, and what is remembered of them."""

    def __init__(self, root: Path, keys: list[str]):
        from fsrs import Scheduler
        self.path, self.keys, self.scheduler = root / MEMORY, keys, Scheduler()

    def memory(self) -> dict[str, dict]:
        return keeping.load(self.path, is_memory)

    def card(self, key: str, memory: dict):
        """A question's card, new or as it was left."""
        from fsrs import Card
        return Card.from_dict(memory[key]) if key in memory else Card(card_id=zlib.crc32(key.encode()))

    def waiting(self, at: datetime.datetime) -> list[str]:
        """The cards seen before that are due, the one that waits longest first."""
        memory = self.memory()
        due = {key: self.card(key, memory).due for key in self.keys if key in memory}
        return sorted((key for key, when in due.items() if when <= at), key=lambda key: (due[key], key))

    def new(self) -> list[str]:
        """The cards that were never seen, in the order of the book."""
        memory = self.memory()
        return [key for key in self.keys if key not in memory]

    def rate(self, key: str, rating: int, at: datetime.datetime) -> datetime.datetime:
        """Remember how well a card was known (1 to 4); when it is due next."""
        from fsrs import Rating
        memory = self.memory()
        card, _ = self.scheduler.review_card(self.card(key, memory), Rating(rating), at)
        memory[key] = card.to_dict()
        keeping.save(self.path, memory)
        return card.due

    def intervals(self, key: str, at: datetime.datetime) -> list[datetime.timedelta]:
        """What each rating would lead to."""
        from fsrs import Rating
        card = self.card(key, self.memory())
        return [self.scheduler.review_card(card, Rating(n), at)[0].due - at for n in range(1, 5)]


def span(time: datetime.timedelta) -> str:
    """A time in words: `10 min`, `8 days`."""
    minutes = time.total_seconds() / 60
    for size, one, many in ((60 * 24 * 30.4, "month", "months"), (60 * 24, "day", "days"), (60, "hour", "hours")):
        if minutes >= 0.95 * size:
            count = round(minutes / size)
            return f"{count} {one if count == 1 else many}"
    return f"{max(1, round(minutes))} min"
