"""`make notebook TOPIC=27`: a chapter as `build/notebooks/27-….ipynb`, made on demand and never committed.

Prose becomes Markdown cells. Cells become code cells, so the notebook runs from the top: they import the
tangled package. The chapter's chunks stand between them as they are printed; what they define is in that
package.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from scripts.errors import Problem, Problems
from scripts.execute import inline, kept, units
from scripts.reading.chapters import Book, Cell, Chapter, Chunk, read_book
from scripts.reading.prose import replace_inline_cells
from scripts.weaving.softened import Names, Softener
from scripts.weaving.woven_cells import FALSE, fence
from scripts.weaving.woven_chunks import cited

FOLDER = Path("build/notebooks")
FIRST = '''\
# The programs of the book, from wherever below its folder this notebook lies.
import os
import sys
from pathlib import Path

places = [Path.cwd(), *Path.cwd().parents, *map(Path, filter(None, [os.environ.get("TANGLED_HOME")]))]
root = next((p for p in places if (p / "tangled").is_dir() and (p / "_quarto.yml").is_file()), None)
if root is None:
    raise SystemExit(f"{Path.cwd()} is not in the book's folder: put this notebook somewhere below it, or set "
                     "TANGLED_HOME to that folder")
os.chdir(root)
sys.path.insert(0, str(root))
%matplotlib inline'''


def main(argv: list[str]) -> int:
    options = argparse.ArgumentParser(prog="python -m scripts notebook", description=__doc__.split("\n")[0])
    options.add_argument("--topic", action="append", type=int, help="a topic's number; may be given again")
    options.add_argument("--only", action="append", help="a chapter's path")
    options.add_argument("--root", type=Path, default=Path())
    args = options.parse_args(argv)
    only = [*(args.topic or []), *(args.only or [])]
    if not only:
        raise Problem("", 0, "which chapter? expected --topic 27 (make notebook TOPIC=27), or --only PATH")
    book = read_book(args.root, only)
    for chapter in book.selected:
        print(write(book, chapter))
    return 0


def write(book: Book, chapter: Chapter) -> str:
    """Write one chapter's notebook; its path below the root."""
    import nbformat
    target = FOLDER / (Path(chapter.path).stem + ".ipynb")
    notebook = build(book, chapter)
    nbformat.validate(notebook)
    path = Path(book.root) / target
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")
    return target.as_posix()


def build(book: Book, chapter: Chapter):
    """The notebook of one chapter."""
    import nbformat
    cells = [code(FIRST)]
    softener, values = Softener(chapter, Names(book)), inline_values(book, chapter)
    say = lambda n, line: evaluated(line, iter(values.get(n, [])))
    prose: list[str] = []
    n = chapter.front_lines + 1
    for block in sorted([*chapter.chunks, *chapter.cells], key=lambda b: b.line):
        prose.append(softener.soften(n, block.line - 1, say))
        n = block.end + 1
        if isinstance(block, Chunk):
            prose.append(shown(block, book))
        elif block.options.get("eval", True) in FALSE or softener.open:    # in a callout it can't be run
            prose.append(listing(block.source))
        else:
            cells += [*markdown(prose), code(block.source, block)]
            prose = captions(block, softener)
    cells += markdown([*prose, softener.soften(n, len(chapter.lines), say)])
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number:03d}"
    notebook = nbformat.v4.new_notebook(cells=cells)
    notebook.metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
                         "language_info": {"name": "python"}, "title": chapter.title}
    return notebook


def code(source: str, cell: Cell | None = None):
    import nbformat
    made = nbformat.v4.new_code_cell(source.strip("\n"))
    options = cell.options if cell else {}
    if options.get("error"):
        made.metadata["tags"] = ["raises-exception"]
    if options.get("echo", True) in FALSE or options.get("include", True) in FALSE:
        made.metadata["jupyter"] = {"source_hidden": True}
    return made


def markdown(parts: list[str]) -> list:
    import nbformat
    text = "\n\n".join(p.strip("\n") for p in parts if p.strip())
    return [nbformat.v4.new_markdown_cell(text)] if text else []


def shown(chunk: Chunk, book: Book) -> str:
    """A chunk as it is printed: its name and file, then the code."""
    if chunk.pitfall:
        head = f"*Pitfall: {chunk.pitfall.replace('-', ' ')}* (in place of ⟨{chunk.replaces}⟩)"
    else:
        name = chunk.name or chunk.extend
        head = " ".join(filter(None, [f"⟨{name}⟩" if name else "", "continued" if chunk.extend else "",
                                      f"`{chunk.file}`" if chunk.file else ""]))
    return f"{head}\n\n{listing(cited(chr(10).join(chunk.lines), book.equations))}"


def listing(source: str) -> str:
    run = fence(source)
    return f"{run}python\n{source.strip(chr(10))}\n{run}"


def captions(cell: Cell, softener: Softener) -> list[str]:
    """What a labelled cell's figure or table is called, under it."""
    label = str(cell.options.get("label", ""))
    text = str(cell.options.get(f"{label[:3]}-cap", "")) if label[:4] in ("fig-", "tbl-") else ""
    if not text:
        return []
    name = softener.names.labels.get(label, "")
    return [f"*{name}.* {softener.line(text, 'prose')}"]


def inline_values(book: Book, chapter: Chapter) -> dict[int, list[str]]:
    """What the inline expressions gave when the chapter was last rendered; their code if it was not."""
    from scripts.weave import value_of
    try:
        outputs = kept(book, chapter.path)
    except (Problem, Problems):
        outputs = None
    values: dict[int, list[str]] = {}
    if outputs is None:
        for unit in inline(chapter):
            values.setdefault(unit.line, []).append(f"`{unit.source}`")
        return values
    for unit, output in zip(units(chapter), outputs):
        if unit.inline:
            values.setdefault(unit.line, []).append(value_of(output))
    return values


def evaluated(line: str, values) -> str:
    return replace_inline_cells(line, lambda expression: next(values, f"`{expression}`"))
