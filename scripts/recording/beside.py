"""A measured ladder beside its record, as lines of text."""

from __future__ import annotations


def recorded(topic: int) -> dict:
    """The topic's ladders in the record, by name."""
    from tangled.records import record
    try:
        found = record(topic)
    except FileNotFoundError:
        return {}
    return {name: found.ladder(name) for name in found.names()}


def beside(topic: int, here, there) -> list[str]:
    """A measured ladder as lines of text, with the record's times and ratios at the right."""
    lines = f"{topic:02d}  {here}".split("\n")
    if there is None:
        return [*lines, "(no record of this ladder)"]
    from tangled.measuring import SECONDS, scaled, times
    rows = {row.level: row for row in there.rows}
    right = ["record", *(f"{scaled(rows[r.level].seconds, SECONDS):>8s}  {times(rows[r.level].ratio)}"
                         if r.level in rows else "-" for r in here.rows)]
    width = max(map(len, lines[1:1 + len(right)])) + 4
    shown = [f"{line:{width}s}{text}" for line, text in zip(lines[1:], right)]
    return [lines[0], *shown, *lines[1 + len(right):], f"(record: {there.note})"]
