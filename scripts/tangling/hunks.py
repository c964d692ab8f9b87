"""The changes that a hand made to a generated file, told from those that came with a changed chapter."""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

from scripts.tangling.expand import strings
from scripts.tangling.outputs import HEADING, Output, digest

MOST = 14


class Hunk(NamedTuple):
    """Body lines `first`..`last` (from 0, last exclusive) of the output read `lines` on disk."""

    first: int
    last: int
    lines: list[str]


def comparable(text: str) -> list[str]:
    """Lines without the first, blanks on empty lines (except within strings) and blank lines at the end."""
    lines = text.split("\n")[1:]
    found = strings(lines)
    kept = found.inside - found.docs
    lines = [line if line.strip() or i in kept else "" for i, line in enumerate(lines)]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def by_hand(output: Output, disk: str) -> list[Hunk] | None:
    """What was changed by hand. None if that cannot be told.

    The first line on disk carries the digest of what tangle wrote. If the chapter is the same since, every
    difference is by hand. If not, each difference came either with the chapter or by hand, and the digest
    shows which: only one choice gives back the text that tangle wrote.
    """
    match = HEADING.match(disk.partition("\n")[0])
    if not match:
        return None
    want, have = output.text.split("\n")[1:-1], comparable(disk)
    hunks = list(differences(want, have))
    if digest(output.body) == match[2]:
        return hunks
    hunks = [piece for hunk in hunks for piece in _lines(hunk)]
    if len(hunks) > MOST:
        return None
    for choice in product((True, False), repeat=len(hunks)):
        theirs = [hunk for hunk, ours in zip(hunks, choice) if not ours]
        base = list(want)
        for hunk in reversed(theirs):
            base[hunk.first:hunk.last] = hunk.lines
        if digest("\n".join(base) + "\n" if base else "") == match[2]:
            return _joined([hunk for hunk, ours in zip(hunks, choice) if ours])
    return None


def differences(want: list[str], have: list[str]):
    import difflib
    for op, a, b, c, d in difflib.SequenceMatcher(None, want, have, autojunk=False).get_opcodes():
        if op != "equal":
            yield Hunk(a, b, have[c:d])


def _lines(hunk: Hunk) -> list[Hunk]:
    """A replacement of as many lines as there were, line by line."""
    if hunk.last - hunk.first != len(hunk.lines):
        return [hunk]
    return [Hunk(hunk.first + i, hunk.first + i + 1, [line]) for i, line in enumerate(hunk.lines)]


def _joined(hunks: list[Hunk]) -> list[Hunk]:
    """Neighbouring hunks made one again."""
    out: list[Hunk] = []
    for hunk in hunks:
        if out and out[-1].last == hunk.first:
            out[-1] = Hunk(out[-1].first, hunk.last, out[-1].lines + hunk.lines)
        else:
            out.append(hunk)
    return out


def slides(hunk: Hunk, want: list[str]) -> list[Hunk]:
    """The same change said in other ways: a block that may as well begin some lines higher or lower."""
    found = [hunk]
    if hunk.lines and hunk.first != hunk.last:
        return found
    block = lambda h: h.lines or want[h.first:h.last]
    up = down = hunk
    while len(found) < 40 and up.first > 0 and want[up.first - 1] == block(up)[-1]:
        up = Hunk(up.first - 1, up.last - 1, up.lines[-1:] + up.lines[:-1])
        found.append(up)
    while len(found) < 80 and down.last < len(want) and want[down.last] == block(down)[0]:
        down = Hunk(down.first + 1, down.last + 1, down.lines[1:] + down.lines[:1])
        found.append(down)
    return found
