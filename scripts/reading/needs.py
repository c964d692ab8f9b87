"""Which topics build on which, as a map: what is drawn of it, and where. A row is anything with `topic` and `needs`."""

from __future__ import annotations


def edges(rows: list) -> list[tuple[int, int]]:
    """(needed, topic), without those that follow from others: of 6 -> 11 -> 12 and 6 -> 12, not the last."""
    there = {row.topic: [n for n in row.needs if any(r.topic == n for r in rows)] for row in rows}
    above: dict[int, set[int]] = {}

    def ancestors(topic: int) -> set[int]:
        if topic not in above:
            above[topic] = set()                                    # a circle, were there one, ends here
            above[topic] = set(there[topic]).union(*map(ancestors, there[topic]))
        return above[topic]
    return [(n, topic) for topic, needs in there.items() for n in needs
            if not any(n in ancestors(other) for other in needs if other != n)]


def lanes(pairs: list[tuple[int, int]], places: dict[int, int]) -> list[tuple[int, int, int]]:
    """(needed, topic, lane): short arcs near the topics, and no two that overlap in one lane but from one topic."""
    taken: list[list[tuple[int, int, int]]] = []
    found = []
    for start, end in sorted(pairs, key=lambda pair: (abs(places[pair[1]] - places[pair[0]]), pair)):
        top, bottom = sorted((places[start], places[end]))
        number = next((n for n, lane in enumerate(taken) if has_room(lane, top, bottom, start)), len(taken))
        taken += [[]] * (number == len(taken))
        taken[number] = [*taken[number], (top, bottom, start)]
        found.append((start, end, number))
    return found


def has_room(lane: list[tuple[int, int, int]], top: int, bottom: int, start: int) -> bool:
    """Does an arc from `start` meet none of another topic in this lane?"""
    return all(bottom <= a or b <= top or owner == start for a, b, owner in lane)
