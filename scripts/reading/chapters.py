"""Reads the book: `read_book()` gives the chapters, their chunks, cells and equations, with line numbers.

    book = read_book()                  every mistake of every chapter at once, as `Problems`
    book = read_book(only=27)           only the mistakes of topic 27 (or of a path, or of several)
    chapter = find_topic(book, 27)
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from scripts.errors import Problem, Problems
from scripts.reading import STAGE, front
from scripts.reading.fences import TANGLING, Fence, find

LABEL = re.compile(r"\$\$[ \t]*\n?[ \t]*\{[^}\n]*?#(eq-[\w-]+)[^}\n]*\}")
HEADING = re.compile(r"#[ \t]+(.*?)[ \t]*(\{[^{}]*\})?[ \t]*#*$")
OPTION = re.compile(r"#\|[ \t]?(.*)$")
NEWLINE = re.compile(r"\r\n|\n|\r")
PHRASE = re.compile(r"[^<>\"\n]+")
SLUG = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


def phrase(text: str) -> str:
    """A chunk's name with its blanks made single."""
    return " ".join(text.split())


@dataclass
class Chunk:
    """One block of program text: `line` is its fence, `first` its first code line, `end` the its end."""

    path: str
    name: str | None
    file: str | None
    extend: str | None
    pitfall: str | None
    replaces: str | None
    lines: list[str]
    line: int
    end: int
    target: str | None = None
    id: str = ""
    keys: dict[str, str] = field(default_factory=dict)

    @property
    def first(self) -> int:
        return self.line + 1

    @property
    def place(self) -> str:
        return f"{self.path}:{self.line}"


@dataclass
class Cell:
    """A `{python}` cell: `source` is the code without its `#|` lines and begins at line `first`."""

    path: str
    line: int
    end: int
    first: int
    source: str
    option_lines: list[str]

    @cached_property
    def options(self) -> dict:
        options = front.load_yaml("\n".join(self.option_lines), self.path, self.line + 1)
        if options is not None and not isinstance(options, dict):
            raise Problem(self.path, self.line + 1, "cell options are no list of keys; "
                                                    "expected `#| key: value`")
        return options or {}


class Chapter:
    """One file of the book. Its blocks are read when first asked for; `problems` holds its mistakes."""

    def __init__(self, path: str, data: bytes, letter: str | None = None):
        self.path, self.letter, self.problems = path, letter, []
        self.raw = data
        self.text = self._decode(data)
        self.lines = self.text.split("\n")
        try:
            head, self.front_lines = front.split(path, self.lines)
        except Problem as problem:
            self.problems.append(problem)
            head, self.front_lines = "", len(self.lines)
        self._head = front.Meta(path, head)
        self.problems += self._head.problems
        self.meta: dict = self._head.values
        self.topic: int | None = self.meta.get("topic")
        self.package: str | None = self.meta.get("package")

    def _decode(self, data: bytes) -> str:
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            self.wrong(line, f"byte 0x{data[error.start]:02x} is not UTF-8; expected UTF-8")
            return ""
        if "\0" in text:
            line = text.count("\n", 0, text.index("\0")) + 1
            self.problems.append(Problem(self.path, line, "a null character; expected text"))
            text = text.replace("\0", " ")
        return NEWLINE.sub("\n", text) if "\r" in text else text

    def with_ends(self) -> list[str]:
        """The lines as they are in the file, each with its line end."""
        text, ends = self.raw.decode("utf-8-sig"), NEWLINE.findall(self.raw.decode("utf-8-sig"))
        return [line + end for line, end in zip(NEWLINE.split(text), [*ends, ""])]

    def front_line(self, key: str) -> int:
        """The line of a front matter key (1: it is not there)."""
        return self._head.line(key)

    def front_entry(self, key: str, number: int) -> int:
        """The line of an entry, counted from 0, of a list in the front matter."""
        return self._head.entry(key, number)

    @property
    def number(self) -> str:
        """`27`, `A`, or nothing: what the numbers of its equations and pitfalls begin with."""
        return str(self.topic) if self.topic is not None else self.letter or ""

    @property
    def exports(self) -> list[str]:
        return self.meta.get("exports") or ["level2_vectorized"]

    @cached_property
    def _found(self) -> tuple[list[Fence], list[tuple[int, int]]]:
        """Fences and hidden line ranges; the front matter is blanked so that line numbers stay."""
        if self.front_lines:
            text = "\n" * self.front_lines + "\n".join(self.lines[self.front_lines:])
        else:
            text = self.text
        fences, hidden, problems = find(text if text.endswith("\n") else text + "\n", self.path)
        self.problems += problems
        return fences, hidden

    def hidden(self, line: int) -> bool:
        """True where the line is front matter, code or an HTML comment rather than prose."""
        return line <= self.front_lines or any(a <= line <= b for a, b in self._found[1])

    @property
    def fences(self) -> list[Fence]:
        return self._found[0]

    @cached_property
    def _title(self) -> tuple[str, str, int]:
        for n, line in enumerate(self.lines, 1):
            if line.startswith("# ") and not self.hidden(n) and (match := HEADING.match(line)):
                anchor = re.search(r"#([\w-]+)", match[2] or "")
                return match[1], anchor[1] if anchor else "", n
        return str(self.meta.get("title", "")), "", 0

    @property
    def title(self) -> str:
        return self._title[0]

    @property
    def anchor(self) -> str:
        """The id of the first heading, `sec-positional-encodings`."""
        return self._title[1]

    @cached_property
    def labels(self) -> list[tuple[str, int]]:
        """Labels of the display equations with their lines, in order."""
        if "{#eq-" not in self.text and "#eq-" not in self.text:
            return []
        text = re.sub(r"`[^`\n]*\$\$[^`\n]*`", lambda m: " " * len(m[0]), self.text)
        found = [(m[1], text.count("\n", 0, m.start(1)) + 1) for m in LABEL.finditer(text)]
        return [(label, line) for label, line in found if not self.hidden(line)]

    @cached_property
    def equations(self) -> dict[str, str]:
        """Label -> number: `{"eq-27-rotation": "27.4"}`."""
        numbers: dict[str, str] = {}
        for label, _ in self.labels:
            if label not in numbers:
                numbers[label] = f"{self.number}.{len(numbers) + 1}" if self.number else str(len(numbers) + 1)
        return numbers

    @cached_property
    def chunks(self) -> list[Chunk]:
        return [c for f in self.fences if (c := self._chunk(f))]

    @cached_property
    def cells(self) -> list[Cell]:
        return [self._cell(f) for f in self.fences if f.classes and f.classes[0].split()[0] == "python"]

    def _cell(self, fence: Fence) -> Cell:
        options = []
        for line in fence.body:
            if not (match := OPTION.match(line)):
                break
            options.append(match[1])
        source = "\n".join(fence.body[len(options):])
        return Cell(self.path, fence.line, fence.end, fence.first + len(options), source, options)

    def wrong(self, line: int, message: str) -> None:
        self.problems.append(Problem(self.path, line, message))

    def _chunk(self, fence: Fence) -> Chunk | None:
        keys = fence.keys
        get = lambda key: phrase(keys[key]) if key in keys else None
        if not any(key in keys for key in TANGLING):
            return None
        chunk = Chunk(self.path, get("chunk"), keys.get("file"), get("extend"), keys.get("pitfall"),
                      get("replaces"), fence.body, fence.line, fence.end, None, fence.id, keys)
        self._check(chunk)
        if chunk.file is not None:
            chunk.target = self.target(chunk.file, chunk.line)
        return chunk

    def _check(self, chunk: Chunk) -> None:
        if (chunk.pitfall is None) != (chunk.replaces is None):
            self.wrong(chunk.line, "pitfall= and replaces= go together; expected "
                                   'pitfall="forgot-the-scale" replaces="Scale the scores"')
        elif chunk.pitfall is not None:
            if chunk.name or chunk.file or chunk.extend:
                self.wrong(chunk.line, "a pitfall takes no other attribute; "
                                       "expected pitfall=, replaces= and caught= alone")
            if not SLUG.fullmatch(chunk.pitfall):
                self.wrong(chunk.line, f"pitfall={chunk.pitfall!r}; "
                                       "expected words in small letters joined by hyphens, "
                                       "such as forgot-the-scale")
            if self.package is None:
                self.wrong(chunk.line, "a pitfall in a chapter without a package; "
                                       "expected `package:` in the front matter")
        if "caught" in chunk.keys and chunk.pitfall is None:
            self.wrong(chunk.line, "caught= names the tests that catch a pitfall; expected pitfall= beside it")
        if chunk.extend is not None and (chunk.name or chunk.file):
            self.wrong(chunk.line, "extend= adds to a chunk where that chunk stands; "
                                   "expected it without file= and chunk=")
        for key in ("name", "extend", "replaces"):
            value = getattr(chunk, key)
            if value is not None and not PHRASE.fullmatch(value):
                self.wrong(chunk.line, f"{'chunk' if key == 'name' else key}={value!r}; "
                                       "expected a phrase without < > and quotes")

    def target(self, name: str, line: int) -> str | None:
        """Where `file="name"` goes: the package, or tangled/ itself if `shared:` lists it."""
        shared = self.meta.get("shared", [])
        if name in shared:
            where = "tangled"
        elif self.package:
            where = f"tangled/{self.package}"
        else:
            self.wrong(line, f"file={name!r}, but the chapter has no package; "
                             "expected a name listed in `shared:`"
                             + front.near(name, shared))
            return None
        if not front.module_path(name):
            self.wrong(line, f"target {name!r} is outside {where}/ or no module; expected a name such as "
                             "level2_vectorized.py or tests/test_basic.py")
        elif name.endswith("__init__.py"):
            self.wrong(line, f"target {name!r} is derived by tangle; expected another file")
        elif self.package and name.startswith("pitfalls/"):
            self.wrong(line, f"target {name!r} is derived by tangle; expected pitfall= and replaces=")
        else:
            return f"{where}/{name}"
        return None


class Book:
    """The chapters in the order of `_quarto.yml`."""

    def __init__(self, root: Path, chapters: list[Chapter], selected: list[Chapter], missing=(), listing=b""):
        self.root, self.chapters, self.selected = root, chapters, selected
        self.missing, self.listing = list(missing), listing      # problems of absent files; `_quarto.yml`

    @cached_property
    def equations(self) -> dict[str, str]:
        """Label -> number for the whole book."""
        return {label: number for c in self.chapters for label, number in c.equations.items()}


def read_book(root: Path | str = Path("."), only=None, texts: dict[str, bytes] | None = None) -> Book:
    """Read the book under `root`; raise `Problems` for the chapters meant by `only` (None: all of them).

    `only`: a topic's number, a chapter's path, or several of them. Other chapters are in `book.chapters` too,
    with their own `problems`. `texts` (path -> bytes) stands in for files on disk.
    """
    book, problems = _load(Path(root), texts or {})
    if only is None:
        problems += book.missing
    else:
        book.selected = _select(book, only)
    for chapter in book.selected:
        _ = chapter.chunks
        problems += chapter.problems
    problems += _claims(book, only is not None)
    if problems:
        raise Problems(problems)
    return book


def _load(root: Path, texts: dict[str, bytes]) -> tuple[Book, list[Problem]]:
    entries, problems, listing = front.order(root)
    chapters, missing = [], []
    for path, letter, line in entries:
        try:
            data = texts[path] if path in texts else (root / path).read_bytes()
            chapters.append(Chapter(path, data, letter))
        except FileNotFoundError:
            held = (root / STAGE / "journal.json").exists()
            advice = "run make tangle: it ends what was interrupted" if held else "expected it to exist"
            what = f"{path} is listed, but there is no such file; {advice}"
            missing.append(Problem("_quarto.yml", line, what))
        except OSError as error:
            missing.append(Problem("_quarto.yml", line, f"{path}: {error.strerror}; "
                                                        "expected a readable file"))
    return Book(root, chapters, chapters, missing, listing), problems


def _select(book: Book, only) -> list[Chapter]:
    wanted = [only] if isinstance(only, (int, str)) else list(only)
    chosen = []
    for each in wanted:
        if isinstance(each, int):
            chosen.append(find_topic(book, each))
            continue
        name = str(each).replace("\\", "/").removeprefix("./")
        match = [c for c in book.chapters if name in (c.path, c.path.rpartition("/")[2])]
        if not match:
            raise Problem("_quarto.yml", 0, f"no chapter {each!r}" + (
                front.near(name, [c.path for c in book.chapters]) or "; expected a path listed there"))
        chosen += match
    return [c for c in book.chapters if c in chosen]


def _claims(book: Book, partly: bool) -> list[Problem]:
    """A topic, package, shared file or label that two chapters claim; needs that are not there."""
    problems, seen = [], {}
    topics = {c.topic for c in book.chapters}
    if partly:                                        # the chapters that are still to be written
        unwritten = [re.search(r"(?:^|/)(\d\d)-", p.message) for p in book.missing]
        topics |= {int(match[1]) for match in unwritten if match}
    for c in book.chapters:
        claims = [(k, c.meta[k], c.front_line(k)) for k in ("topic", "package") if k in c.meta]
        claims += [("shared file", s, c.front_line("shared")) for s in c.meta.get("shared", [])]
        if c in book.selected:
            claims += [("equation label", label, line) for label, line in c.labels]
        for kind, value, line in claims:
            other = seen.setdefault((kind, value), (c, line))
            if other != (c, line) and (c in book.selected or other[0] in book.selected):
                problems.append(Problem(c.path, line, f"{kind} {value!r} is already claimed by "
                                                      f"{other[0].path}:{other[1]}; expected another one"))
        for need in c.meta.get("needs", []) if c in book.selected else []:
            if need not in topics or (c.topic is not None and need >= c.topic):
                have = sorted(t for t in topics if t is not None and (c.topic is None or t < c.topic))
                problems.append(Problem(c.path, c.front_line("needs"), f"needs topic {need}; "
                                                                       "expected earlier topics "
                                        f"that are written: {', '.join(map(str, have)) or 'none'}"))
    return problems


def find_topic(book: Book, topic: int) -> Chapter:
    """The chapter with this topic number."""
    for chapter in book.chapters:
        if chapter.topic == topic:
            return chapter
    for path in sorted(book.root.glob(f"chapters/{topic:02d}-*.qmd")):
        raise Problem(f"chapters/{path.name}", 0, "is not listed in _quarto.yml; expected it under `chapters:`")
    have = ", ".join(str(c.topic) for c in book.chapters if c.topic is not None)
    raise Problem("", 0, f"no topic {topic}; expected one of {have or 'none yet'}")
