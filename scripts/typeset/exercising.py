"""Exercises that run in the page: the door in a chapter, and what the site carries for them.

    door(book, chapter)     the HTML at the gate: a button, or a word that this edition has no Python
    write(book, out)        assets/exercise/: an archive a topic, the Python of all of them, editor and script
"""

from __future__ import annotations

import base64
import json
import posixpath
from pathlib import Path

from scripts.typeset import page_python
from scripts.typeset.assets import HERE, copy
from scripts.typeset.assets import write as write_text
from scripts.typeset.book import Book
from scripts.typeset.project import Chapter

CODEMIRROR = HERE / "vendor" / "codemirror"
FOLDER = "assets/exercise"


def package_of(book: Book, chapter: Chapter) -> str:
    """The package of a topic that a learner's file can be graded on, or ""."""
    topic = chapter.meta.get("topic")
    found = [] if topic is None else book.project.sources.glob(f"tangled/t{topic:02d}_*/tests/test_*.py")
    return next((path.parts[-3] for path in found), "")


def parts(book: Book) -> list[Path]:
    """The Python for pages, as it has been made; empty where it has not."""
    return page_python.parts(book.project.sources)


def door(book: Book, chapter: Chapter) -> str:
    """What stands at the gate of a topic, below the hints."""
    if not (package := package_of(book, chapter)):
        return ""
    topic, found = chapter.meta["topic"], parts(book)
    start = f"<code>make start TOPIC={topic}</code>"
    if not found:
        return (f'<div class="exercise absent"><p>Write it at the terminal: {start}. (This copy of the book was made '
                'without the Python that runs in the page.)</p></div>\n')
    root = posixpath.relpath(".", posixpath.dirname(chapter.page) or ".")
    size = round(sum(path.stat().st_size for path in found) / 1e6)
    return (f'<section class="exercise" aria-label="Write it in the page" data-assets="{root}/{FOLDER}" '
            f'data-topic="{topic}" data-package="{package}">\n'
            f'<p><button type="button" class="exercise-open" disabled="disabled">Write it in this page</button> '
            f"<span>The stub in an editor, the tests in a Python of the page's own ({size} MB, loaded when you press "
            f"the button; nothing leaves your machine). At the terminal: {start}.</span></p>\n"
            f'<script src="{root}/{FOLDER}/door.js" defer="defer"></script></section>\n')


def write(book: Book, out: Path) -> None:
    """Write what the doors open, where there is a Python to run."""
    found, chapters = parts(book), {package: c for c in book.written if (package := package_of(book, c))}
    if not found or not chapters:
        return
    folder = out / FOLDER
    for path in found:
        copy(path, folder / path.name)
    packed = {path.name: base64.b64encode(path.read_bytes()).decode("ascii") for path in found}
    write_text(folder / "python.js", f"bookExercise.python({json.dumps(packed)});\n")
    for name in ("door.js", "exercise.js", "exercise.css"):
        copy(HERE / "exercise" / name, folder / name)
    worker = (HERE / "exercise" / "worker.js").read_text(encoding="utf-8")
    write_text(folder / "worker.js", f"bookExercise.worker({json.dumps(worker)});\n")
    copy(CODEMIRROR / "codemirror.js", folder / "codemirror.js")
    copy(HERE / "exercise" / "NOTICE.txt", out / "assets" / "licences" / "page-python.txt")
    copy(CODEMIRROR / "LICENSE", out / "assets" / "licences" / "codemirror.txt")
    for package, chapter in chapters.items():
        write_text(folder / f"{package}.js", topic_script(book, chapter))


def topic_script(book: Book, chapter: Chapter) -> str:
    """What one topic needs, as a script: pages opened from a disk can load nothing else."""
    from scripts.grading.carried import carried
    archive, facts = carried(book.project.sources, chapter.path)
    facts["archive"] = base64.b64encode(archive).decode("ascii")
    return f"bookExercise.topic({json.dumps(facts, ensure_ascii=False)});\n"
