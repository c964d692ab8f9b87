"""`make render`: tangle, execute, weave, typeset, into `_book/` (`preview.py` does it again at every save).

    python -m scripts render [--topic 27 | --only chapters/a-testing.qmd] [--engine auto|embedded|quarto]
                             [--paper a4|letter] [--formats html,pdf,epub] [--traceback]
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import time
from dataclasses import dataclass
from pathlib import Path

from scripts.errors import Problem, Problems
from scripts.reading.chapters import Book, read_book

FORMATS = ("html", "pdf", "epub")
ENGINES = ("auto", "embedded", "quarto")
PAPERS = {"a4": "a4", "letter": "us-letter", "us-letter": "us-letter"}
BUILD, OUT = Path("build/book"), Path("_book")


@dataclass
class Settings:
    root: Path
    only: list | None = None                            # topics and paths; None: the whole book
    engine: str = "auto"
    paper: str = "a4"
    formats: tuple[str, ...] = FORMATS
    jobs: int = 2
    details: bool = False
    quiet: bool = False
    fetch: bool = False                                 # whether npm and pip may be asked for the pages' Python


class Steps:
    """Says what is being done, and how long it took."""

    def __init__(self, quiet: bool = False):
        self.quiet, self.start = quiet, time.perf_counter()

    @contextlib.contextmanager
    def step(self, name: str):
        start, said = time.perf_counter(), []
        yield said
        self.say(f"{name:9s} {time.perf_counter() - start:5.1f} s  {', '.join(said)}")

    def say(self, text: str) -> None:
        if not self.quiet:
            print(text, flush=True)

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self.start


def parser(verb: str) -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(prog=f"python -m scripts {verb}", description=__doc__.split("\n")[0])
    options.add_argument("--topic", action="append", type=int, help="one topic, by number")
    options.add_argument("--only", action="append", help="one chapter, by path")
    options.add_argument("--engine", choices=ENGINES, default=os.environ.get("ENGINE") or "auto")
    options.add_argument("--paper", choices=PAPERS, default=os.environ.get("PAPER") or "a4")
    options.add_argument("--formats", default=os.environ.get("FORMATS") or ",".join(FORMATS))
    options.add_argument("--jobs", type=int, default=2, help="chapters run at a time")
    options.add_argument("--traceback", action="store_true", help="the whole traceback of a failing cell")
    options.add_argument("--no-fetch", action="store_true", help="ask no network for the Python of the pages")
    options.add_argument("--root", type=Path, default=Path())
    return options


def settings(args: argparse.Namespace) -> Settings:
    formats = tuple(f for f in args.formats.replace(" ", ",").split(",") if f)
    wrong = [f for f in formats if f not in FORMATS]
    if wrong or not formats:
        raise Problem("", 0, f"formats {args.formats!r}; expected some of {', '.join(FORMATS)}")
    for name, value, known in (("ENGINE", args.engine, ENGINES), ("PAPER", args.paper, PAPERS)):
        if value not in known:
            raise Problem("", 0, f"{name}={value}; expected {', '.join(known)}")
    only = [*(args.topic or []), *(args.only or [])] or None
    return Settings(args.root.resolve(), only, args.engine, PAPERS[args.paper], formats, args.jobs,
                    args.traceback, fetch=not args.no_fetch)


def main(argv: list[str]) -> int:
    return render(settings(parser("render").parse_args(argv)))


def render(wanted: Settings) -> int:
    """The whole way from chapters to `_book/`; the exit status."""
    steps = Steps(wanted.quiet)
    with steps.step("tangle") as said:
        if tangle(wanted, said):
            return 1
    book = read_book(wanted.root, wanted.only)
    with steps.step("execute") as said:
        executed = run_cells(book, wanted, steps, said)
    python_for_pages(wanted, steps)
    with alone(wanted.root, steps):
        made = weave_and_typeset(wanted, book, executed, steps)
    for path in made:
        steps.say(f"  {path}")
    steps.say(f"done in {steps.seconds:.1f} s")
    return 0


def python_for_pages(wanted: Settings, steps: Steps) -> None:
    """The Python that runs in the pages, where npm and pip can fetch it; the book is whole without it."""
    from scripts.typeset import page_python
    if "html" not in wanted.formats or not wanted.fetch or not any(wanted.root.glob("tangled/t*/tests/test_*.py")):
        return
    try:
        page_python.make(wanted.root, steps.say)
    except page_python.Unavailable as why:
        steps.say(f"the pages have no Python to write exercises in: {why}")


@contextlib.contextmanager
def alone(root: Path, steps: Steps):
    """One run at a time may write in build/ and _book/; a second one waits."""
    (root / "build").mkdir(exist_ok=True)
    with open(root / "build" / "render.lock", "w") as handle:
        try:
            import fcntl
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                steps.say("another run is writing the book; waiting for it")
                fcntl.flock(handle, fcntl.LOCK_EX)
        except ImportError:                                     # no file locks on this system
            pass
        yield


def weave_and_typeset(wanted: Settings, book: Book, executed: dict, steps: Steps) -> list:
    """The two steps that write: build/book/, then `_book/`; the files that readers open."""
    with steps.step("weave") as said:
        from scripts.weave import weave
        result = weave(book, generated(book), executed, wanted.root / BUILD)
        said.append(f"{len(result.written)} files written, {result.unchanged} unchanged"
                    + (f", {len(result.removed)} removed" if result.removed else ""))
    with steps.step("typeset") as said:
        from scripts.weaving.engines import typeset_book
        return typeset_book(wanted, book, said)


def tangle(wanted: Settings, said: list[str]) -> int:
    """Bring tangled/ up to date; 1 if a hand edit stands in the way (tangle has said so)."""
    from scripts.tangle import main as tangle_main
    argv = ["--root", str(wanted.root)]
    for each in wanted.only or []:
        argv += ["--topic", str(each)] if isinstance(each, int) else ["--only", str(each)]
    heard = io.StringIO()
    with contextlib.redirect_stdout(heard):
        status = tangle_main(argv)
    lines = [line for line in heard.getvalue().split("\n") if line]
    if status:
        print("\n".join(lines))
        return status
    said.append(lines[0] if len(lines) == 1 else f"{len(lines)} files changed")
    return 0


def run_cells(book: Book, wanted: Settings, steps: Steps, said: list[str]) -> dict:
    """Outputs of the chapters to be rendered; of the others what is kept, if it is true still."""
    from scripts.execute import execute, prune
    chosen = [c.path for c in book.selected]
    ran: list[str] = []

    def log(text: str) -> None:
        ran.append(text)
        steps.say(text)

    executed = execute(book, chosen, wanted.jobs, log, details=wanted.details)
    for chapter in book.chapters:
        if chapter.path not in executed:
            executed[chapter.path] = what_is_kept(book, chapter.path)
    prune(book)
    said.append(f"{len(ran)} of {len(chosen)} chapters run, the others kept" if ran else "nothing to run")
    return executed


def what_is_kept(book: Book, path: str):
    from scripts.execute import kept
    try:
        return kept(book, path)
    except (Problem, Problems, OSError):
        return None


def generated(book: Book) -> dict:
    """What tangle makes; where only some chapters are asked for, mistakes in others don't count."""
    from scripts.tangling.outputs import chapter_outputs, outputs
    if len(book.selected) == len(book.chapters):
        return outputs(book)
    found: dict = {}
    for chapter in book.chapters:
        with contextlib.suppress(*(() if chapter in book.selected else (Problem, Problems))):
            found |= chapter_outputs(chapter, book)
    return found
