"""Gates on a chapter's form: the headings that every chapter has, a picture before the derivation, references."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

from scripts.gates.prose import prose_lines
from scripts.gates.structure import topics
from scripts.weaving.subjects import LIST, Subjects

SKELETON = ("problem", "mathematics", "try", "code", "tests", "pitfalls", "questions")
ID = re.compile(r"^#{1,6}\s.*\{[^}]*#(sec-[\w-]+)[^}]*\}\s*$")
QUOTE = re.compile(r"@[a-z]+-[\w-]+'")         # pandoc opens a quotation there
REFERENCE = re.compile(r"(?<![\w`\\])@(sec-[\w-]*\w)")
PICTURE = re.compile(r"^!\[[^\]]*\]\([^)]*\)")
DIV = re.compile(r"^\s{0,3}:{3,}\s*(\S.*)?$")


def headings(chapter) -> dict[str, int]:
    """{id: line} of the chapter's headings that have one."""
    return {match[1]: number for number, line in enumerate(chapter.lines, 1)
            if (match := ID.match(line)) and not chapter.hidden(number)}


def form(book) -> list[str]:
    """The skeleton's headings, in its order; a picture before the mathematics; every `:::` has its partner."""
    return ([line for chapter in topics(book) for line in judge_form(chapter)]
            + [line for chapter in book.chapters for line in unbalanced(chapter)])


def unbalanced(chapter):
    """Each `:::` that closes nothing, and each `::: {…}` that is never closed: what follows it would vanish."""
    open_at = []
    for number, line in enumerate(chapter.lines, 1):
        if (match := DIV.match(line)) and not chapter.hidden(number):
            if match[1]:
                open_at.append(number)
            elif open_at:
                open_at.pop()
            else:
                yield f"{chapter.path}:{number}: ::: closes nothing; expected an opening ::: {{…}} before it"
    for number in open_at:
        yield f"{chapter.path}:{number}: ::: is never closed; expected a ::: on a line of its own"


def judge_form(chapter):
    """What is wrong with the form of one chapter."""
    found, number = headings(chapter), f"{chapter.topic:02d}"
    wanted = [f"sec-{number}-{name}" for name in SKELETON]
    missing = [name for name in wanted if name not in found]
    if missing:
        yield f"{chapter.path}:1: no heading {', '.join('{#' + name + '}' for name in missing)}"
    there = [name for name in wanted if name in found]
    for first, second in pairwise(there):
        if found[second] < found[first]:
            yield f"{chapter.path}:{found[second]}: {second} stands before {first}; expected the skeleton's order"
    derivation = found.get(wanted[1])
    if derivation and not any(line < derivation for line in pictures(chapter)):
        yield f"{chapter.path}:{derivation}: no figure before the mathematics; expected a picture of the mechanism"


def pictures(chapter) -> list[int]:
    """The lines of the figures."""
    cells = [cell.line for cell in chapter.cells if str(cell.options.get("label", "")).startswith("fig-")]
    return cells + [n for n, line in enumerate(chapter.lines, 1) if PICTURE.match(line) and not chapter.hidden(n)]


def references(book) -> list[str]:
    """Every `@sec-…` leads to a heading that is there, and no apostrophe after a reference is read as a quote."""
    known = set()
    for chapter in book.chapters:
        known |= set(headings(chapter))
    preface = Path("index.qmd")
    if preface.exists():
        known |= {match[1] for line in preface.read_text(encoding="utf-8").split("\n") if (match := ID.match(line))}
    offenders = []
    for chapter in book.selected:
        for number, line in prose_lines(chapter.text):
            line = re.sub(r"`[^`]*`", "", line)
            if quote := QUOTE.search(line):
                offenders.append(f"{chapter.path}:{number}: {quote[0]} is set with an opening quote; expected "
                                 f"{quote[0][:-1]}\N{RIGHT SINGLE QUOTATION MARK}")
            for name in REFERENCE.findall(line):
                if name not in known:
                    offenders.append(f"{chapter.path}:{number}: @{name} leads nowhere; expected a section that is "
                                     "there, or plain words for a later chapter")
    if book.selected == book.chapters:
        offenders += [f"{LIST}:1: no chapter speaks of {entry!r}; expected a term of the book, or a mark in its text"
                      for entry in Subjects(book).without_place()]
    return offenders
