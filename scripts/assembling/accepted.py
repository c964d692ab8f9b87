"""Which of the reader's files pass all their tests, and may stand in for level 2."""

from __future__ import annotations

import contextlib
import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

from scripts import keeping
from scripts.reading.chapters import Book, Chapter
from scripts.weaving.execution_key import closure

MEMORY = "build/assembled.json"             # the verdict on a file, by its text and that of what graded it


@dataclass
class Choice:
    """What a topic is trained with: `file`, or level 2 where that is None; `why` in a few words."""

    chapter: Chapter
    file: Path | None
    why: str

    def line(self) -> str:
        """One line for the list that is printed before a run."""
        what = "yours" if self.file else "level 2"
        return f"  {self.chapter.topic:02d}  {self.chapter.title:<44.44} {what:8}{self.why}"


def choose(book: Book, package: str, programs: list[str], root: Path) -> list[Choice]:
    """A choice for each topic whose package the programs import, themselves or through another."""
    sources = [f"import tangled.{package}.{program}" for program in programs]
    packages = {path.parent.name for path in closure(sources, root)[0]}
    return [choice(chapter, root) for chapter in book.chapters
            if chapter.topic is not None and chapter.package in packages]


def choice(chapter: Chapter, root: Path) -> Choice:
    """The reader's file if there is one and all its tests pass; else level 2."""
    path = root / "workspace" / f"{chapter.package}.py"
    if not path.is_file():
        return Choice(chapter, None, "")
    key, memory = digest(path, root / "tangled" / chapter.package), keeping.recall(root / MEMORY)
    if key not in memory:
        print(f"testing {path.relative_to(root).as_posix()} ...", flush=True)
        memory[key] = grade(chapter.package, root)
        keeping.save(root / MEMORY, memory)
    passed, failed = memory[key]
    if failed or not passed:
        return Choice(chapter, None, f"not all tests of workspace/{path.name} pass: make test TOPIC={chapter.topic} "
                                     "IMPL=workspace")
    return Choice(chapter, path, f"workspace/{path.name}, {passed} tests passed")


def digest(path: Path, package: Path) -> str:
    """A hash of a file and of the package whose tests grade it."""
    said = hashlib.sha256(path.read_bytes())
    for part in sorted(package.rglob("*.py")):
        said.update(part.read_bytes())
    return said.hexdigest()


def grade(package: str, root: Path) -> list[int]:
    """[passed, failed] of the reader's file; the tests stop at the first that fails."""
    from scripts.grading import parent
    with contextlib.redirect_stdout(io.StringIO()):
        found = parent.run([f"tangled/{package}", "--impl", "workspace", "-x"], root, True)
    return [found.count("passed"), found.count("failed") or int(bool(found.status))]
