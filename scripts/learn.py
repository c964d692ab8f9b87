"""The learner's path: `start` makes the file to write in, `hint` helps on, `progress` says how far you are.

What a learner has done is kept in workspace/.progress.json, one entry a topic:
`{"27": {"hints": 1, "passed": 12, "failed": 3, "when": "2025-01-31T18:20:05"}}`.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import re
import shutil
from pathlib import Path

from scripts.desk.reset import reset
from scripts.errors import Problem
from scripts.grading import stub
from scripts.reading import plaintext
from scripts.reading.chapters import Book, Chapter, find_topic, read_book

WORKSPACE = "workspace"
MEMORY = f"{WORKSPACE}/.progress.json"
SWITCHES = ("--force", "--exercises", "--page")
BAR = 17                                                    # the width of the bar of `progress`
HINT = re.compile(r"^(:{3,})[ \t]*\{(?=[^}\n]*\.hint\b)([^}\n]*)\}[ \t]*$", re.M)


# -- what the three commands share

def options(argv: list[str], verb: str, *flags: str) -> argparse.Namespace:
    """The options of a verb; `--topic` is looked at by `topic_of`."""
    parser = argparse.ArgumentParser(prog=f"python -m scripts {verb}")
    for flag in flags:
        parser.add_argument(flag, action="store_true") if flag in SWITCHES else parser.add_argument(flag)
    return parser.parse_args(argv)


def number(text: str | None, name: str, verb: str, book: Book | None = None) -> int:
    """A whole number that came from the command line."""
    if text is not None and re.fullmatch(r"\d{1,3}", text.strip()):
        return int(text)
    topics = ", ".join(str(c.topic) for c in book.chapters if c.topic is not None) if book else ""
    what = f"{name}={text!r} is no number" if text else f"{name}= is missing"
    raise Problem("", 0, f"{what}; expected such as: make {verb} {name}=27" + (
        f" (the topics are {topics})" if topics else ""))


def topic_of(argument: str | None, verb: str, root: Path) -> tuple[Book, Chapter]:
    """The book and the chapter that `--topic` means; mistakes in other chapters do not matter."""
    book = read_book(root, only=[])
    topic = number(argument, "TOPIC", verb, book)
    return book, find_topic(book, topic)


def workspace_file(chapter: Chapter, root: Path, exercises: bool = False) -> Path:
    return root / WORKSPACE / f"{chapter.package}{'_exercises' * exercises}.py"


def solution(chapter: Chapter) -> str:
    return f"tangled/{chapter.package}/"


# -- memory

def remembered(root: Path) -> dict[str, dict]:
    """What workspace/.progress.json says; a damaged one is put aside, with a word."""
    path = root / MEMORY
    try:
        memory = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(memory, dict) and all(isinstance(entry, dict) for entry in memory.values()):
            return memory
    except FileNotFoundError:
        return {}
    except (ValueError, OSError):
        pass
    aside = path.with_name(".progress.damaged.json")
    os.replace(path, aside)
    print(f"{MEMORY} could not be read; it is now {WORKSPACE}/{aside.name}, and the record starts afresh.")
    return {}


def remember(root: Path, topic: int, **what) -> None:
    """Change one topic's entry; the file is replaced in one step."""
    memory = remembered(root)
    memory.setdefault(str(topic), {}).update(what)
    path = root / MEMORY
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".progress.{os.getpid()}.tmp")
    ordered = dict(sorted(memory.items(), key=lambda item: int(item[0]) if item[0].isdigit() else -1))
    temporary.write_text(json.dumps(ordered, indent=1) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def record(topic: int, passed: int, failed: int, root: Path | str = Path("."), exercises: bool = False,
           unmeasured: int = 0) -> None:
    """Keep the result of grading the learner's file of a topic, or of its exercises; `test` calls this."""
    now = datetime.datetime.now().isoformat(timespec="seconds")
    result = {"passed": int(passed), "failed": int(failed), "unmeasured": int(unmeasured), "when": now}
    remember(Path(root), topic, **({"exercises": result} if exercises else result))


# -- start

def stub_text(book: Book, chapter: Chapter, exercises: bool = False) -> str:
    """The text of `make start` for a chapter: its exported modules (or exercises) with bodies to be written."""
    modules = []
    for stem in ["exercises"] if exercises else chapter.exports:
        path = f"tangled/{chapter.package}/{stem}.py"
        try:
            text = (book.root / path).read_text(encoding="utf-8")
            compile(text, path, "exec", dont_inherit=True)
        except FileNotFoundError:
            raise Problem(path, 0, "is not there; expected it to be tangled: run make tangle") from None
        except SyntaxError as error:
            raise Problem(path, error.lineno or 0, f"{error.msg}; expected Python: run make tangle") from None
        modules.append((stem, text))
    return stub.stub_of(modules, exercises_header(chapter) if exercises else header(chapter), chapter.package)


def exercises_header(chapter: Chapter) -> str:
    topic = chapter.topic
    return "\n".join([
        f"# Topic {topic}, {plaintext.plain_line(chapter.title)}: the graded exercises.",
        "# Replace each `raise NotImplementedError` by your code. Then",
        f"#     make test TOPIC={topic} EXERCISES=1    says which tests pass, and what a failure means",
        f"# The exercises stand near the end of {chapter.path}; the topic's own functions may be imported."])


def header(chapter: Chapter) -> str:
    topic = chapter.topic
    return "\n".join([
        f"# Topic {topic}, {plaintext.plain_line(chapter.title)}: your own version.",
        "# Replace each `raise NotImplementedError` by your code. Then",
        f"#     make test TOPIC={topic} IMPL=workspace    says which tests pass, and what a failure means",
        f"#     make hint TOPIC={topic}                   gives the next of three hints",
        f"# The chapter is {chapter.path}; a solution is in {solution(chapter)}."])


def start(argv: list[str], root: Path = Path(".")) -> int:
    given = options(argv, "start", "--topic", "--force", "--exercises", "--reset")
    book, chapter = topic_of(given.topic, "start", root)
    if given.exercises and not has_exercises(chapter):
        raise Problem(chapter.path, 0, f"topic {chapter.topic} has no graded exercises yet")
    more = " EXERCISES=1" * given.exercises
    path = workspace_file(chapter, root, given.exercises)
    shown = path.relative_to(root).as_posix()
    if given.reset is not None:
        if given.force:
            raise Problem("", 0, f"RESET={given.reset} and FORCE=1: one function, or all of them? Expected one of both")
        stub_now = stub_text(book, chapter, given.exercises)
        print("\n".join(reset(path, shown, stub_now, given.reset, f"make start TOPIC={chapter.topic}{more}")))
        return 0
    if path.exists() and not given.force:
        print(f"{shown} is there already and stays as it is. To begin again, with yours kept beside it: "
              f"make start TOPIC={chapter.topic}{more} FORCE=1")
        return 0
    text = stub_text(book, chapter, given.exercises)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        kept = backup(path)
        print(f"Your version so far is now {kept.relative_to(root).as_posix()}.")
    write_new(path, text)
    todo = text.count("raise NotImplementedError(")
    print(f"{shown} is yours: {todo} {'body' if todo == 1 else 'bodies'} to write.")
    if given.exercises:
        print(f"The exercises are told near the end of {chapter.path}. Then: make test TOPIC={chapter.topic}{more}")
    else:
        print(f"Read {chapter.path} up to the hints, write, then: make test TOPIC={chapter.topic} IMPL=workspace")
    return 0


def has_exercises(chapter: Chapter) -> bool:
    """Does the chapter tell how its exercises are solved, in a file of their own?"""
    return any(chunk.file == "exercises.py" for chunk in chapter.chunks)


def write_new(path: Path, text: str) -> None:
    """Write a file that must not exist yet, all of it or nothing."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(text, encoding="utf-8")
    try:
        os.link(temporary, path)                            # unlike rename, fails where the file exists
    except FileExistsError:
        raise Problem(path.as_posix(), 0, "appeared meanwhile and stays as it is") from None
    except OSError:                                         # no hard links here
        shutil.move(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def backup(path: Path) -> Path:
    """Move a file to the first free of NAME.1.bak, NAME.2.bak, …"""
    n = 1
    while (kept := path.with_name(f"{path.stem}.{n}.bak")).exists():
        n += 1
    os.rename(path, kept)
    return kept


# -- hint

def hints(chapter: Chapter) -> list[tuple[str, str]]:
    """The hints of a chapter, as (title, Markdown)."""
    found = []
    for match in HINT.finditer(chapter.text):
        if chapter.hidden(chapter.text.count("\n", 0, match.start()) + 1):
            continue
        title = re.search(r'title="([^"]*)"', match[2])
        end = re.search(rf"^{match[1]}[ \t]*$", chapter.text[match.end():], re.M)
        body = chapter.text[match.end():match.end() + end.start()] if end else chapter.text[match.end():]
        if not title and (heading := re.match(r"\s*#+ +(.+)\n", body)):
            title, body = heading, body[heading.end():]
        found.append((title[1] if title else f"Hint {len(found) + 1}", body.strip("\n")))
    return found


def labels(book: Book):
    """A function that says in words what `@eq-27-rotation` and its like refer to."""
    kinds = {"fig": "the figure", "tbl": "the table", "lst": "the listing", "thm": "the theorem"}

    def say(label: str) -> str:
        kind, _, rest = label.partition("-")
        if kind == "eq":
            return f"eq. {book.equations.get(label, rest)}"
        if kind == "sec":
            for chapter in book.chapters:
                if match := re.search(rf"^#+ +(.+?) *\{{[^}}\n]*#{re.escape(label)}\b", chapter.text, re.M):
                    return f'section "{plaintext.plain_line(match[1])}"'
        topic, _, name = rest.partition("-")
        return f"{kinds.get(kind, 'section')} {name.replace('-', ' ') if topic.isdigit() else rest}"

    return say


def hint(argv: list[str], root: Path = Path(".")) -> int:
    given = options(argv, "hint", "--topic", "--n")
    book, chapter = topic_of(given.topic, "hint", root)
    found = hints(chapter)
    if not found:
        raise Problem(chapter.path, 0, "has no hints; expected callouts with the class .hint")
    seen = int(remembered(root).get(str(chapter.topic), {}).get("hints", 0))
    n = number(given.n, "N", f"hint TOPIC={chapter.topic}") if given.n else min(seen + 1, len(found))
    if not 1 <= n <= len(found):
        raise Problem("", 0, f"no hint {n}; expected N=1 to N={len(found)}")
    title, body = found[n - 1]
    width = max(40, min(88, shutil.get_terminal_size((88, 24)).columns - 1))
    print(f"{plaintext.plain_line(title)}\n\n{plaintext.plain(body, width, labels(book))}\n")
    if n > seen:
        remember(root, chapter.topic, hints=n)
    if n < len(found):
        print(f"({n} of {len(found)}; the next: make hint TOPIC={chapter.topic})")
    else:
        print(f"({n} of {len(found)}, the last. The solution is in {solution(chapter)};\n"
              f"{chapter.path} tells it from level 1 on.)")
    return 0


# -- progress

def is_done(entry: dict) -> bool:
    return entry.get("passed", 0) > 0 and not entry.get("failed", 0) and not entry.get("unmeasured", 0)


def bar(done: int, of: int, width: int = BAR) -> str:
    """`[###########>     ]`: full when all is done."""
    filled = width * done // of if of else 0
    return "[" + ("#" * filled + ">" * (filled < width)).ljust(width) + "]"


def at_hand(topics: list[Chapter], memory: dict) -> Chapter:
    """The topic that was graded last; before that, the first."""
    when = lambda c: memory.get(str(c.topic), {}).get("when", "")
    graded = [c for c in topics if when(c)]
    return max(graded, key=lambda c: (when(c), c.topic)) if graded else topics[0]


def headline(topics: list[Chapter], memory: dict) -> str:
    """The bar is the module at hand, the percentage the whole book; chapter 0 is only its door.

    What is optional counts once it is done: a reader who leaves it out has read 100 %.
    """
    here = at_hand(topics, memory)
    finished = lambda c: is_done(memory.get(str(c.topic), {}))
    counted = [c for c in topics if c.topic > 0 and (finished(c) or not c.meta.get("optional"))]
    module = [c for c in counted if c.meta.get("module") == here.meta.get("module")]
    done = lambda chapters: sum(finished(c) for c in chapters)
    percent = 100 * done(counted) / len(counted) if counted else 0
    return (f"{bar(done(module), len(module))} Module {here.meta.get('module', 0)} Topic {here.topic:02d} "
            f"({percent:.0f}%)")


def state(chapter: Chapter, entry: dict, root: Path) -> str:
    """One topic in a few words: done, the last result, started, or nothing yet."""
    passed, failed = entry.get("passed", 0), entry.get("failed", 0)
    if is_done(entry):
        text = f"done, {passed} tests passed"
    elif passed or failed:
        busy = entry.get("unmeasured", 0)
        text = f"{passed} of {passed + failed + busy} tests passed" + (f", {busy} not measured" if busy else "")
    elif workspace_file(chapter, root).exists():
        text = "started"
    else:
        text = "optional" if chapter.meta.get("optional") else "-"
    extra = entry.get("exercises") or {}
    if count := extra.get("passed", 0) + extra.get("failed", 0):
        text += f", exercises {extra['passed']} of {count}"
    elif workspace_file(chapter, root, exercises=True).exists():
        text += ", exercises started"
    used = entry.get("hints", 0)
    text += f", {used} hint{'s' * (used > 1)} read" if used else ""
    given_up = len(entry.get("solutions", []))
    text += f", {given_up} solution{'s' * (given_up > 1)} seen" if given_up else ""
    return text + (f"  ({entry['when'][:10]})" if entry.get("when") else "")


def progress(argv: list[str], root: Path = Path(".")) -> int:
    given = options(argv, "progress", "--page")
    book = read_book(root, only=[])
    topics = [c for c in book.chapters if c.topic is not None]
    if not topics:
        raise Problem("_quarto.yml", 0, "lists no chapter with a topic; expected at least one")
    memory = remembered(root)
    print(headline(topics, memory))
    width = max(len(plaintext.plain_line(c.title)) for c in topics)
    for chapter in topics:
        said = state(chapter, memory.get(str(chapter.topic), {}), root)
        print(f"  {chapter.topic:02d}  {plaintext.plain_line(chapter.title):{width}s}  {said}")
    following, line = what_is_next(topics, memory, root)
    print(line)
    if given.page:
        from scripts import progress_page
        parts = progress_page.parts(root)
        rows = [row(chapter, memory.get(str(chapter.topic), {}), root, parts) for chapter in topics]
        path = progress_page.write(root, rows, headline(topics, memory), line, following and following.topic)
        print(f"As a page, with what builds on what: {path}")
    return 0


def what_is_next(topics: list[Chapter], memory: dict, root: Path) -> tuple[Chapter | None, str]:
    """The topic to go on with, and the line that says how."""
    undone = [c for c in [at_hand(topics, memory), *topics] if not is_done(memory.get(str(c.topic), {}))]
    if not undone:
        return None, "All of it done."
    if workspace_file(undone[0], root).exists():
        return undone[0], f"Next: make test TOPIC={undone[0].topic} IMPL=workspace"
    return undone[0], f"Next: make start TOPIC={undone[0].topic}"


def row(chapter: Chapter, entry: dict, root: Path, parts: dict[str, str]):
    """One topic of the page; it links to the rendered chapter where there is one."""
    from scripts.progress_page import Row
    begun = workspace_file(chapter, root).exists() or entry.get("passed", 0) or entry.get("failed", 0)
    page = Path("_book") / Path(chapter.path).with_suffix(".html")
    return Row(chapter.topic, plaintext.plain_line(chapter.title), parts.get(chapter.path, ""),
               "done" if is_done(entry) else "begun" if begun else "open", state(chapter, entry, root),
               [n for n in chapter.meta.get("needs") or [] if isinstance(n, int)],
               f"../{page.as_posix()}" if (root / page).is_file() else "")
