"""Runs the cells of the chapters: one kernel each, several at once, outputs kept in `.cache/execute/`.

    outputs = execute(book)                     {chapter path: [outputs of each unit]}
    outputs = execute(book, ["chapters/27-positional-encodings.qmd"])

A unit is a cell that is to be evaluated, or an inline `{python}` expression, in the order of the page. What
is kept is named by a hash of all that it depends on (`execution_key.py`): editing prose runs nothing, editing
code runs the chapters that import it.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from pathlib import Path

from scripts.errors import Problem, Problems
from scripts.reading.chapters import Book, Chapter
from scripts.reading.prose import classify, inline_cells
from scripts.weaving import kernel
from scripts.weaving.execution_key import key
from scripts.weaving.kernel import Unit

LIMIT = 120                                             # seconds a cell may take
BUDGET = 8                                              # processor seconds for all cells of a chapter
KEEP = 3                                                # sets of outputs kept for a chapter
FALSE = (False, "false")


def units(chapter: Chapter) -> list[Unit]:
    """What there is to run in a chapter, in order of the lines."""
    cells = [Unit(c.source, c.line, c.first, c.options) for c in chapter.cells
             if c.options.get("eval", True) not in FALSE]
    return sorted([*cells, *inline(chapter)], key=lambda u: u.line)


def inline(chapter: Chapter) -> list[Unit]:
    """The inline expressions of a chapter's prose."""
    if "{python}" not in chapter.text:
        return []
    kinds = classify(chapter)
    return [Unit(expression, n, n, {}, True) for n, line in enumerate(chapter.lines, 1)
            if kinds[n - 1] != "hidden" for expression in inline_cells(line)]


def execute(book: Book, paths: list[str] | None = None, jobs: int = 2, log=None, limit: int = LIMIT,
            details: bool = False) -> dict[str, list[list[dict]]]:
    """The outputs of every chapter (or of those in `paths`); runs what is not kept, reports what fails."""
    root = Path(book.root).resolve()
    chosen = [c for c in book.chapters if paths is None or c.path in paths]
    found, waiting = {}, []
    for chapter in chosen:
        todo = units(chapter)
        _compile(chapter.path, todo)
        name = key(todo, root) if todo else ""
        kept = _load(root, chapter.path, name) if todo else []
        if kept is None:
            waiting.append((chapter.path, todo, name))
        else:
            found[chapter.path] = kept
    if waiting:
        found |= _run_all(waiting, root, jobs, log, limit, details)
    return found


def kept(book: Book, path: str) -> list[list[dict]] | None:
    """What is kept of a chapter, if it is true still; None if it would have to be run."""
    root = Path(book.root).resolve()
    todo = units(next(c for c in book.chapters if c.path == path))
    return _load(root, path, key(todo, root)) if todo else []


def _compile(path: str, todo: list[Unit]) -> None:
    """Refuse what is no Python before a kernel is started."""
    problems = []
    for unit in todo:
        source = f"({unit.source}\n)" if unit.inline else unit.source
        if any(line.lstrip().startswith(("%", "!")) for line in source.split("\n")):
            continue
        try:
            compile(source, "cell", "eval" if unit.inline else "exec", dont_inherit=True,
                    flags=0x2000)                       # top-level await, as IPython allows
        except (SyntaxError, ValueError) as error:
            line = unit.first + ((getattr(error, "lineno", None) or 1) - 1 if not unit.inline else 0)
            problems.append(Problem(path, line, f"cell is not Python: {getattr(error, 'msg', error)}"))
    if problems:
        raise Problems(problems)


def _run_all(waiting, root: Path, jobs: int, log, limit: int, details: bool) -> dict:
    """Run the chapters that need it; keep what succeeds, then raise what failed."""
    found, problems = {}, []
    log = log or (lambda text: None)

    async def one(gate, path, todo, name):
        async with gate:
            try:
                result = await kernel.run(path, todo, root, limit, details)
            except (Problem, Problems) as problem:
                problems.append(problem)
                log(f"  {path}: failed")
                return
            _keep(root, path, name, result.outputs)
            found[path] = result.outputs
            log(f"  {path}: {len(todo)} cells and expressions, {spent(result, todo)}")

    async def every():
        gate = asyncio.Semaphore(jobs)
        await asyncio.gather(*(one(gate, *item) for item in waiting))

    asyncio.run(every())
    if problems:
        raise Problems(problems)
    return found


def spent(result: kernel.Run, todo: list[Unit]) -> str:
    """`3.2 s`, of the processor, without the kernel's start; over the budget also which cells took the most."""
    total = sum(result.each)
    if total <= BUDGET:
        return f"{total:.1f} s"
    slowest = sorted(zip(result.each, todo), key=lambda pair: -pair[0])[:3]
    named = ", ".join(f"line {unit.line} {seconds:.1f} s" for seconds, unit in slowest if seconds > 0.5)
    return f"{total:.1f} s: over the budget of {BUDGET} s a chapter ({named})"


def _folder(root: Path) -> Path:
    return root / ".cache" / "execute"


def _stem(path: str) -> str:
    return path.removesuffix(".qmd").replace("/", "_")


def _load(root: Path, path: str, name: str) -> list[list[dict]] | None:
    file = _folder(root) / f"{_stem(path)}@{name}.json"
    try:
        outputs = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    os.utime(file)                                      # the prune keeps what was used last
    return outputs


def _keep(root: Path, path: str, name: str, outputs) -> None:
    """Write a chapter's outputs, whole or not at all, and drop its oldest ones."""
    folder = _folder(root)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{_stem(path)}@{name}.json"
    partial = file.with_suffix(f".{os.getpid()}.partial")
    partial.write_text(json.dumps(outputs, ensure_ascii=False), encoding="utf-8")
    os.replace(partial, file)
    old = sorted(folder.glob(f"{_stem(path)}@*.json"), key=lambda p: p.stat().st_mtime, reverse=True)
    for extra in old[KEEP:]:
        extra.unlink(missing_ok=True)


def prune(book: Book) -> int:
    """Drop what is kept of chapters that are gone; the number of files dropped."""
    folder = _folder(Path(book.root).resolve())
    names = {_stem(c.path) for c in book.chapters}
    gone = [p for p in folder.glob("*") if p.name.partition("@")[0] not in names
            or (p.suffix == ".partial" and time.time() - p.stat().st_mtime > 3600)]
    for path in gone:
        path.unlink(missing_ok=True)
    return len(gone)
