"""`make stitch`: takes hand edits in tangled/ back into the chapters.

An edit goes home if it lies in one chunk that is used once. Whatever is placed is tangled again in memory and
must give the edited file to the letter; else nothing of that file is taken, and both places are named. So an
edit is either in the chapter afterwards or where it was.
"""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from scripts.errors import Problem, Problems
from scripts.reading.chapters import Book, Chapter, read_book
from scripts.tangle import options, selection
from scripts.tangling.hunks import Hunk, by_hand, comparable, slides
from scripts.tangling.outputs import Output, chapter_outputs, cited, syntax, uncited
from scripts.tangling.plan import Plan, plan, report_refused, text_of
from scripts.tangling.transaction import Change, commit, lock


@dataclass(frozen=True)
class Edit:
    """Lines `first`..`last` of a chapter become `lines` (last < first: an insertion before `first`)."""

    path: str
    first: int
    last: int
    lines: tuple[str, ...]


def main(argv: list[str]) -> int:
    args = options(argv, "stitch")
    with lock(args.root):
        return stitch(args.root, selection(args))


def stitch(root: Path, only=None) -> int:
    book = read_book(root, only)
    before = plan(book, only is None)
    if before.problems:
        raise Problems(before.problems)
    taken: dict[str, Stitcher] = {}
    problems = []
    for target in [t for t, kind in before.refused.items() if kind == "edited"]:
        one = Stitcher(book, before, target)
        try:
            one.find()
            taken[target] = one
        except Problem as problem:
            problems.append(problem)
    if taken:
        _write(root, book, taken, only is None)
    for target, one in taken.items():
        before.refused.pop(target)
        for edit in one.edits:
            print(f"{edit.path}:{edit.first}: took {len(edit.lines)} line(s) from {target}")
    return _report(root, before, bool(taken), problems)


def _write(root: Path, book: Book, taken: dict[str, Stitcher], whole: bool) -> None:
    """Chapters and generated files, all of them or none."""
    texts = rewritten(book, [edit for one in taken.values() for edit in one.edits])
    after = plan(with_texts(book, texts), whole)
    if after.problems:
        raise Problems(after.problems)
    changes = {change.path: change for change in after.changes}
    for target, one in taken.items():
        made = after.outputs[target]
        if comparable(made.text) != one.expected:
            raise one.refuse(0, "the edits of several files cannot be taken together; "
                                "expected one file at a time")
        changes[target] = Change(target, one.raw, made.text.encode())
    chapters = [Change(c.path, c.raw, texts[c.path]) for c in book.chapters if c.path in texts]
    commit(root, chapters + list(changes.values()))


def _report(root: Path, before: Plan, any_taken: bool, problems: list[Problem]) -> int:
    for problem in problems:
        print(problem, file=sys.stderr)
        before.refused.pop(problem.path, None)
    report_refused(root, before)
    if not any_taken and not problems and not before.refused:
        print("no generated file was edited by hand")
    return 1 if problems or before.refused else 0


def _by_path(book: Book) -> dict[str, Chapter]:
    return {c.path: c for c in book.chapters}


def with_texts(book: Book, texts: dict[str, bytes]) -> Book:
    """The book as it would be with these chapters."""
    if not texts:
        return book
    fresh = _by_path(book)
    problems = []
    for path, data in texts.items():
        fresh[path] = Chapter(path, data, fresh[path].letter)
        _ = fresh[path].chunks
        problems += fresh[path].problems
    if problems:
        raise Problems(problems)
    selected = [fresh[c.path] for c in book.selected]
    return Book(book.root, list(fresh.values()), selected, book.missing, book.listing)


def rewritten(book: Book, edits: list[Edit]) -> dict[str, bytes]:
    """The chapters with the edits made: line ends, a BOM and everything else as they are."""
    texts = {}
    for path, chapter in _by_path(book).items():
        mine = sorted({e for e in edits if e.path == path}, key=lambda e: (e.first, e.last), reverse=True)
        if not mine:
            continue
        lines = chapter.with_ends()
        for edit in mine:
            near = lines[min(edit.first, len(lines)) - 1]
            end = "\r\n" if near.endswith("\r\n") else "\r" if near.endswith("\r") else "\n"
            lines[edit.first - 1:edit.last] = [line + end for line in edit.lines]
        mark = b"\xef\xbb\xbf" if chapter.raw.startswith(b"\xef\xbb\xbf") else b""
        texts[path] = mark + "".join(lines).encode()
    return texts


class Stitcher:
    """Finds the chapter lines that one edited file's changes belong to."""

    def __init__(self, book: Book, before: Plan, target: str):
        self.book, self.target, self.outputs = book, target, before.outputs
        self.output: Output = before.outputs[target]
        self.chapter = _by_path(book).get(self.output.chapter)
        self.raw = (book.root / target).read_bytes()
        self.disk = text_of(self.raw)
        self.edits: list[Edit] = []
        self.expected: list[str] = []
        self.rows = self.output.rows[1:]
        self.indents = self.output.indents[1:]

    def refuse(self, row: int, why: str):
        """A Problem that names the place in the file and the one in the chapter."""
        line = next((n for _, n in [*self.rows[row:], *reversed(self.rows)] if n), 0)
        place = f" (from {self.output.chapter}:{line})" if line else f" (from {self.output.chapter})"
        return Problem(self.target, row + 2, f"{why}{place}; nothing of this file was taken")

    def find(self) -> None:
        """Fill in `edits`, and `expected`: the lines that tangling shall give then. Raises a `Problem`."""
        if self.output.kind == "derived" or self.chapter is None:
            raise self.refuse(0, "edited by hand, but tangle derives this file; "
                                 "expected the edit in the chapter")
        if problem := syntax(self.target, Output(self.disk, [], self.target)):
            raise problem
        hunks = by_hand(self.output, self.disk)
        if hunks is None:
            raise self.refuse(self._first_difference(), "chapter and file were both changed and the changes "
                                                        "cannot be told apart; expected one undone by hand")
        self.edits = [self._choose(hunk) for hunk in hunks]
        try:
            self.expected = self._verify(self.edits, hunks)
        except Problems as problems:
            raise self.refuse(0, f"the edits cannot be taken together: {problems.problems[0]}") from None

    def _first_difference(self) -> int:
        have = self.disk.split("\n")[1:]
        want = self.output.text.split("\n")[1:]
        last = max(0, min(len(want), len(have)) - 2)
        return next((i for i, (a, b) in enumerate(zip(want, have)) if a != b), last)

    def _choose(self, hunk: Hunk) -> Edit:
        """The one chapter edit that makes this change."""
        why = None
        for same in slides(hunk, self.output.text.split("\n")[1:-1]):
            try:
                good = self._good(same)
            except (Problem, Problems) as problem:
                why = why or problem
                continue
            if len(good) > 1:
                places = " or ".join(f"{e.path}:{e.first}" for e in good)
                raise self.refuse(hunk.first, f"an edit between two chunks could go to {places}; "
                                              "expected it in the chapter")
            return good[0]
        if isinstance(why, Problems):
            raise self.refuse(hunk.first, f"the edit cannot be taken: {why.problems[0]}")
        raise why

    def _good(self, hunk: Hunk) -> list[Edit]:
        """The candidates that tangle back; raises the first one's fault if there is none."""
        good, why = [], None
        for edit in dict.fromkeys(self._candidates(hunk)):
            try:
                self._verify([edit], [hunk])
                good.append(edit)
            except (Problem, Problems) as problem:
                why = why or problem
        if not good:
            raise why
        return self._deeper(good, hunk) if len(good) == 2 and hunk.first == hunk.last else good

    def _deeper(self, good: list[Edit], hunk: Hunk) -> list[Edit]:
        """Of two places for an insertion, the included chunk's, if the lines are indented more than it is."""
        around = (hunk.first - 1, hunk.first)
        indents = [self.indents[i] if 0 <= i < len(self.indents) else "" for i in around]
        deep = max(indents, key=len)
        more = (deep + " ", deep + "\t")
        if indents[0] != indents[1] and all(line.startswith(more) for line in hunk.lines if line):
            return [good[indents.index(deep)]]
        return good

    def _candidates(self, hunk: Hunk) -> list[Edit]:
        if hunk.first == hunk.last:
            return self._insertions(hunk)
        first, last = hunk.first, hunk.last
        while first < last and not self.rows[first][1]:
            first += 1
        while last > first and not self.rows[last - 1][1]:
            last -= 1
        if first == last:
            raise self.refuse(hunk.first, "the blank lines between two pieces are made by tangle; "
                                          "expected them as they were")
        chunks = {id(self._owner(i)): self._owner(i) for i in range(first, last)}
        lines = [self.rows[i][1] for i in range(first, last)]
        if len(chunks) > 1 or lines != list(range(lines[0], lines[0] + len(lines))):
            path = self.output.chapter
            raise self.refuse(first, f"an edit that spans several chunks, {path}:{lines[0]} and "
                                     f"{path}:{lines[-1]}; expected it in the chapter")
        return self._variants(first, lines[0], lines[-1], hunk.lines)

    def _insertions(self, hunk: Hunk) -> list[Edit]:
        """After the line before it, or before the next one: often the same place."""
        found, why = [], None
        for i, shift in ((hunk.first - 1, 1), (hunk.first, 0)):
            if 0 <= i < len(self.rows) and self.rows[i][1]:
                line = self.rows[i][1] + shift
                try:
                    found += self._variants(i, line, line - 1, hunk.lines)
                except Problem as problem:
                    why = why or problem
        if found:
            return found
        raise why or self.refuse(hunk.first, "an edit among the blank lines that tangle makes; "
                                             "expected it in the chapter")

    def _owner(self, row: int):
        """The chunk of a row; refuses where a change would show in more places than this one."""
        line = self.rows[row][1]
        chunk = next((c for c in self.chapter.chunks if c.first <= line < c.end), None)
        if chunk is None:
            raise self.refuse(row, "edited by hand, but tangle derives this line")
        places = [f"{t}:{i + 1}" for t, o in self.outputs.items() if o.kind == self.output.kind
                  and o.chapter == self.output.chapter for i, r in enumerate(o.rows) if r[1] == line]
        if len(places) > 1:
            raise self.refuse(row, f"this chunk is used {len(places)} times, at {' and '.join(places)}; "
                                   "expected the edit in the chapter")
        return chunk

    def _variants(self, row: int, first: int, last: int, new: list[str]) -> list[Edit]:
        """The edit with the chunk's indentation taken off the new lines, and (within a string) left on."""
        chunk = self._owner(row)
        indent, prefix = self._indent(chunk), self._prefix(chunk)
        found = []
        for blank in dict.fromkeys((indent, "")):
            codes = [line.removeprefix(blank) for line in uncited(new, self.chapter, self.book)]
            empty = prefix.rstrip() if ">" in prefix else ""
            lines = tuple(prefix + code if code else empty for code in codes)
            found.append(Edit(self.chapter.path, first, last, lines))
        return found

    def _indent(self, chunk) -> str:
        """What tangle puts before the lines of a chunk here."""
        count = Counter(indent for (_, line), indent in zip(self.rows, self.indents)
                        if chunk.first <= line < chunk.end and indent is not None)
        found = [i for i in count if i]
        return found[0] if found else ""

    def _prefix(self, chunk) -> str:
        """What stands before the code in the chapter: the indentation of a list, the > of a quotation."""
        for i, code in enumerate(chunk.lines):
            line = self.chapter.lines[chunk.first + i - 1]
            if code.strip() and line.endswith(code):
                return line[:len(line) - len(code)]
        fence = self.chapter.lines[chunk.line - 1]
        marks = [fence.find(mark) for mark in ("```", "~~~") if mark in fence]
        return "".join(c if c in "> \t" else " " for c in fence[:min(marks, default=0)])

    def _verify(self, edits: list[Edit], hunks: list[Hunk]) -> list[str]:
        """Tangle the chapter with the edits: this file must come out with the changes, others as before."""
        book = with_texts(self.book, rewritten(self.book, edits))
        chapter = _by_path(book)[self.chapter.path]
        made = chapter_outputs(chapter, book)
        row = hunks[0].first if hunks else 0
        want = self.output.text.split("\n")[1:-1]
        for hunk in reversed(hunks):
            want[hunk.first:hunk.last] = hunk.lines
        expected = comparable("\n" + "\n".join(cited(want, chapter, book)) + "\n")
        if self.target not in made or comparable(made[self.target].text) != expected:
            raise self.refuse(row, "the edit cannot be written so that tangling gives it back; "
                                   "expected it in the chapter")
        for target, output in made.items():
            old = self.outputs.get(target)
            if target != self.target and output.kind == "file" and (old is None or old.text != output.text):
                raise self.refuse(row, f"the edit would change {target} as well; expected it in the chapter")
        return expected
