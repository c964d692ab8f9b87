"""The book while it is being set: its chapters as trees, every label, and the problems met on the way."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from scripts.errors import Problem
from scripts.typeset.memo import Memo
from scripts.typeset.project import Chapter, Project

PDF = "deep-learning-from-scratch.pdf"
EPUB = "deep-learning-from-scratch.epub"
KINDS = {
    "fig": "Figure",
    "tbl": "Table",
    "lst": "Listing",
    "eq": "Equation",
    "sec": "Section",
    "thm": "Theorem",
    "lem": "Lemma",
    "cor": "Corollary",
    "prp": "Proposition",
    "cnj": "Conjecture",
    "def": "Definition",
    "exm": "Example",
    "exr": "Exercise",
    "sol": "Solution",
    "rem": "Remark",
    "alg": "Algorithm",
}
STATEMENTS = {"thm", "lem", "cor", "prp", "cnj", "def", "exm", "exr", "sol", "rem", "alg"}
LABEL = re.compile(rf"(?:{'|'.join(KINDS)})-[\w.:-]+")


@dataclass
class Label:
    """Something that `@label` may refer to."""

    id: str
    kind: str  # a key of KINDS, or "chapter"
    number: str | None
    chapter: Chapter
    title: list = field(default_factory=list)

    @property
    def word(self) -> str:
        return self.chapter.word if self.kind == "chapter" else KINDS[self.kind]


@dataclass
class Book:
    project: Project
    memo: Memo
    labels: dict[str, Label] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    citations: dict[str, list] = field(default_factory=dict)  # what a citation reads like
    cited: set[str] = field(default_factory=set)                # keys of what the written chapters cite
    references: list = field(default_factory=list)  # the entries of the bibliography
    references_chapter: Chapter | None = None
    cache: dict = field(default_factory=dict)

    @property
    def chapters(self) -> list[Chapter]:
        return self.project.chapters

    @property
    def written(self) -> list[Chapter]:
        return [chapter for chapter in self.chapters if chapter.written]

    def problem(self, chapter: Chapter, needle: str, message: str, nth: int = 1) -> None:
        """Note a mistake; `needle` is text that stands on its line in the chapter, for the `nth` time."""
        from scripts.typeset.places import line_of

        if chapter.written:
            self.problems.append(Problem(chapter.path, line_of(self.project, chapter, needle, nth), message))

    def by_path(self, path: str) -> Chapter | None:
        return next((chapter for chapter in self.chapters if chapter.path == path), None)
