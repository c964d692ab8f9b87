"""What a topic's tests need where there is no copy of the book, as in a page: its files, and facts of its chapter."""

from __future__ import annotations

import ast
import gzip
import io
import json
import tarfile
from pathlib import Path

from scripts.grading import levels
from scripts.learn import stub_text
from scripts.reading.chapters import Book, Chapter, read_book
from scripts.tangling import pitfalls
from scripts.tangling.outputs import chapter_outputs
from scripts.weaving.woven_chunks import ids

TOOLS = ("scripts/*.py", "scripts/grading/*.py", "scripts/reading/*.py", "scripts/tangling/*.py")
NOT_RUN = ("benchmark.py", f"{levels.STEMS[4]}.py")
DATA = {"load_en_fr": "en-fr-phrases.tsv.gz", "load_cps85": "cps85.csv", "load_nhefs": "nhefs.csv",
        "load_first_names": "first-names.txt.gz", "load_shakespeare": "shakespeare-9plays.txt.gz"}
SMALL = 100_000                                     # bytes of a data set that is carried for what it is needed by


def carried(root: Path, path: str) -> tuple[bytes, dict]:
    """A compressed archive of all that the tests of a chapter need, and what the page itself should know."""
    book = read_book(root, only=path)
    chapter = book.selected[0]
    built = pitfalls.build(root, chapter.package)
    files = [p for pattern in TOOLS for p in sorted(root.glob(pattern))]
    files += [root / "pyproject.toml", *sorted(root.glob("tangled/*.py")),
              *sorted(root.glob("tangled/tests/*.py"))]
    needed = packages(root, chapter.package)
    for package in sorted(needed):
        files += [p for p in sorted((root / "tangled" / package).glob("*.py")) if p.name not in NOT_RUN]
    files += sorted((root / "tangled" / chapter.package / "tests").glob("*.py"))
    files += [p.path for p in built.values()]
    files += data_of(root, chapter.package, needed)
    golden = root / "golden" / f"t{chapter.topic:02d}.npz"
    files += [golden] if golden.is_file() else []
    named = [(p.relative_to(root).as_posix(), p.read_bytes()) for p in files]
    facts = json.dumps(facts_of(root, chapter, book, built, {name for name, _ in named}))
    return packed([*named, ("page.json", facts.encode())]), {
        "topic": chapter.topic, "package": chapter.package, "source": chapter.path,
        "stub": stub_text(book, chapter), "chunks": chunks_of(chapter),
        "limit": 10.0}


def facts_of(root: Path, chapter: Chapter, book: Book, built: dict, names: set[str]) -> dict:
    """Rows of the generated files and pitfalls, for `in_page.prepare`."""
    rows = {target: (output.chapter, [line for _, line in output.rows])
            for target, output in chapter_outputs(chapter, book).items() if target in names}
    return {"package": chapter.package, "rows": rows,
            "pitfalls": [{"stem": p.stem, "number": p.number, "name": p.name, "place": p.place, "caught": p.caught}
                         for p in built.values()]}


def data_of(root: Path, package: str, needed: set[str]) -> list[Path]:
    """The small data sets that a package or its tests read, and the smallest that the packages it needs read."""
    texts = {p: "".join(path.read_text(encoding="utf-8") for path in (root / "tangled" / p).rglob("*.py"))
             for p in needed}
    found = []
    for load, name in DATA.items():
        path = root / "data" / name
        if load in texts[package] or (path.stat().st_size < SMALL and any(load in text for text in texts.values())):
            found.append(path)
    return found


def chunks_of(chapter: Chapter) -> list[tuple[int, int, str]]:
    """(first line, last line, id on the page) of each chunk: where the report's places lead."""
    return [(chunk.line, chunk.end, id) for chunk, id in zip(chapter.chunks, ids(chapter))]


def packages(root: Path, first: str) -> set[str]:
    """The topics' packages that a package and its tests import, however far."""
    found, todo = set(), [first]
    while todo:
        if (now := todo.pop()) in found:
            continue
        found.add(now)
        folder = root / "tangled" / now
        for path in [*folder.glob("*.py"), *(folder.glob("tests/*.py") if now == first else [])]:
            if path.name not in NOT_RUN:
                todo += imported(path)
    return found


def imported(path: Path) -> list[str]:
    """The topics' packages that a file names in an import."""
    names = [name for node in ast.walk(ast.parse(path.read_bytes())) for name in levels.imported(node)]
    return [name.split(".")[1] for name in names if name.startswith("tangled.t") and name.split(".")[1][1:3].isdigit()]


def packed(files: list[tuple[str, bytes]]) -> bytes:
    """A tar file, compressed; the same for the same files."""
    inside = io.BytesIO()
    with tarfile.open(fileobj=inside, mode="w") as archive:
        for name, data in files:
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return gzip.compress(inside.getvalue(), 9, mtime=0)
