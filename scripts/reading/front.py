"""Front matter of the chapters and the order of `_quarto.yml`, read strictly: every mistake has a line."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from scripts.errors import Problem

PACKAGE = re.compile(r"t(\d\d)_[a-z0-9]+(?:_[a-z0-9]+)*")
PART = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
OURS = ("topic", "package", "module", "needs", "difficulty", "minutes", "exports", "targets", "shared",
        "train", "serve", "optional", "interview")
TASK = {"functions": "a list of functions, such as [rope]", "minutes": "a whole number from 5 to 120",
        "asked": "a whole number from 1 (seldom) to 5 (often)", "says": "a paragraph",
        "examples": "a list of two expressions", "follow_ups": "a list of words from the chapter's interview questions"}
QUARTO = ("author", "date", "description", "subtitle", "abstract", "keywords", "format", "execute", "jupyter",
          "engine", "lang", "toc", "number-sections", "bibliography", "aliases", "code-fold", "toc-depth",
          "citation-location", "reference-location", "categories", "image", "image-alt")


def near(name: str, names, where=None) -> str:
    """`; did you mean 'x'?` for a misspelt name, or nothing."""
    import difflib
    lower = {}
    for each in names:
        lower.setdefault(str(each).lower(), each)
    found = difflib.get_close_matches(str(name).lower(), list(lower), 1, 0.6)
    if not found:
        return ""
    hit = lower[found[0]]
    return f"; did you mean {hit!r}{where(hit) if where else ''}?"


def load_yaml(text: str, path: str, first: int):
    """Parse YAML whose first line is line `first` of `path`."""
    import yaml
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return yaml.load(text, Loader=loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        what = getattr(error, "problem", None) or "cannot be read"
        raise Problem(path, first + (mark.line if mark else 0), f"YAML: {what}; "
                                                                "expected `key: value`") from None
    except (ValueError, RecursionError, OverflowError) as error:
        raise Problem(path, first, f"YAML: {error}; expected `key: value`") from None


def split(path: str, lines: list[str]) -> tuple[str, int]:
    """The front matter's text and the number of lines it takes, fences included (0: there is none)."""
    if not lines or lines[0].rstrip() != "---":
        return "", 0
    for n, line in enumerate(lines[1:], 1):
        if line.rstrip() in ("---", "..."):
            return "\n".join(lines[1:n]), n + 1
    raise Problem(path, 1, "front matter opened here is never closed; expected a line `---` after it")


class Meta:
    """The checked front matter of one chapter; `problems` collects what is wrong with it."""

    def __init__(self, path: str, text: str):
        self.path, self.text, self.problems = path, text, []
        self.values = {}
        if text.strip():
            self.read()

    def line(self, key: str) -> int:
        for n, line in enumerate(self.text.split("\n"), 2):
            if re.match(rf"[\"']?{re.escape(str(key))}[\"']?\s*:", line):
                return n
        return 1

    def entry(self, key: str, number: int) -> int:
        """The line of an entry of a list, counted from 0; the key's where it is not on a line of its own."""
        lines, first = self.text.split("\n"), self.line(key)
        own = []
        for n in range(first - 1, len(lines)):
            if re.match(r"\S", lines[n]) and not lines[n].startswith("- "):
                break
            if match := re.match(r"( *)- ", lines[n]):
                own.append((len(match[1]), n + 2))
        own = [n for indent, n in own if indent == min(own)[0]]
        return own[number] if number < len(own) else first

    def wrong(self, key: str, message: str, line: int = 0) -> None:
        self.problems.append(Problem(self.path, line or self.line(key), message))

    def read(self) -> None:
        try:
            values = load_yaml(self.text, self.path, 2)
        except Problem as problem:
            self.problems.append(problem)
            return
        if not isinstance(values, dict):
            self.problems.append(Problem(self.path, 2, "front matter is not a list of keys; "
                                                       "expected `key: value`"))
            return
        self.values = values
        for key in values:
            if key == "title" and ("topic" in values or "shared" in values):
                self.wrong(key, "`title:` in the front matter; "
                                "expected the title as the first heading, `# Title {#sec-…}`")
            elif key not in OURS and key not in QUARTO and key != "title":
                self.wrong(key, f"unknown key {key!r} in the front matter" + (
                    near(key, OURS + QUARTO) or f"; expected one of {', '.join(OURS)}"))
        for key in OURS:
            if key in values and not getattr(self, "is_" + key)(values[key]):
                del values[key]
        if ("topic" in values) != ("package" in values) and not self.problems:
            here, other = ("topic", "package") if "topic" in values else ("package", "topic")
            self.wrong(here, f"`{here}:` without `{other}:`; expected both")

    def whole(self, key, value, low, high) -> bool:
        if type(value) is int and low <= value <= high:
            return True
        self.wrong(key, f"{key}: {value!r}; expected a whole number from {low} to {high}")
        return False

    def is_topic(self, value) -> bool:
        return self.whole("topic", value, 0, 99)

    def is_module(self, value) -> bool:
        return self.whole("module", value, 0, 4)

    def is_difficulty(self, value) -> bool:
        return self.whole("difficulty", value, 1, 3)

    def is_minutes(self, value) -> bool:
        return self.whole("minutes", value, 1, 100000)

    def is_package(self, value) -> bool:
        topic = self.values.get("topic")
        match = PACKAGE.fullmatch(value) if isinstance(value, str) else None
        if match and (type(topic) is not int or int(match[1]) == topic):
            return True
        number = f"{topic:02d}" if type(topic) is int else "27"
        self.wrong("package", f"package: {value!r}; expected a name such as t{number}_positional_encodings")
        return False

    def listed(self, key, value, kind, good, expected) -> bool:
        if isinstance(value, list) and all(type(x) is kind and good(x) for x in value):
            return True
        self.wrong(key, f"{key}: {value!r}; expected {expected}")
        return False

    def is_needs(self, value) -> bool:
        return self.listed("needs", value, int, lambda n: n >= 0, "a list of topic numbers, such as [1, 25]")

    def is_exports(self, value) -> bool:
        return self.listed("exports", value, str, lambda s: PART.fullmatch(s) and s != "__init__",
                           "a list of modules without .py, such as [level2_vectorized]")

    def is_targets(self, value) -> bool:
        keys = {"api", "time", "space"}
        return self.listed("targets", value, dict, lambda d: "api" in d and set(d) <= keys,
                           "a list of {api: …, time: …, space: …}")

    def is_train(self, value) -> bool:
        return self.listed("train", value, str, lambda s: PART.fullmatch(s) and s != "__init__",
                           "a list of modules with a main(argv), without .py, such as [train_line]")

    def is_serve(self, value) -> bool:
        if isinstance(value, str) and PART.fullmatch(value) and value != "__init__":
            return True
        self.wrong("serve", f"serve: {value!r}; expected a module with a main(argv), without .py, such as serve")
        return False

    def is_optional(self, value) -> bool:
        if isinstance(value, bool):
            return True
        self.wrong("optional", f"optional: {value!r}; expected true or false")
        return False

    def is_interview(self, value) -> bool:
        if not isinstance(value, list) or not value:
            self.wrong("interview", f"interview: {value!r}; expected a list of tasks, each with {', '.join(TASK)}")
            return False
        good = [self.is_task(entry, self.entry("interview", number)) for number, entry in enumerate(value)]
        return all(good)

    def is_task(self, entry, line: int) -> bool:
        """One task for an interview: every key there, each of its kind."""
        if not isinstance(entry, dict):
            self.wrong("interview", f"interview: {entry!r}; expected a task with {', '.join(TASK)}", line)
            return False
        words = lambda value: isinstance(value, list) and value and all(isinstance(x, str) and x.strip() for x in value)
        whole = lambda value, low, high: type(value) is int and low <= value <= high
        good = {"functions": words, "minutes": lambda v: whole(v, 5, 120), "asked": lambda v: whole(v, 1, 5),
                "says": lambda v: isinstance(v, str) and v.strip(), "follow_ups": words,
                "examples": lambda v: words(v) and len(v) == 2}
        before = len(self.problems)
        for key in [key for key in entry if key not in TASK]:
            self.wrong("interview", f"interview: unknown key {key!r}" + (
                near(key, TASK) or f"; expected {', '.join(TASK)}"), line)
        for key, expected in TASK.items():
            if key not in entry:
                self.wrong("interview", f"interview: a task without {key}; expected {key}: {expected}", line)
            elif not good[key](entry[key]):
                self.wrong("interview", f"interview: {key}: {entry[key]!r}; expected {expected}", line)
        return len(self.problems) == before

    def is_shared(self, value) -> bool:
        if not self.listed("shared", value, str, lambda s: True, "a list of files, such as [testing.py]"):
            return False
        bad = [s for s in value if not module_path(s) or PACKAGE.fullmatch(s.split("/")[0])]
        for s in bad:
            self.wrong("shared", f"shared: {s!r} is not a module under tangled/; expected such as testing.py")
        return not bad


def module_path(name: str) -> bool:
    """True for `a.py`, `tests/test_b.py`: identifiers joined by slashes, inside the folder, ending in .py."""
    return name.endswith(".py") and all(PART.fullmatch(p) for p in name[:-3].split("/"))


def order(root: Path) -> tuple[list[tuple[str, str | None, int]], list[Problem], bytes]:
    """Files of `_quarto.yml` in order: (path, appendix letter or None, line of `_quarto.yml`); its bytes."""
    name = "_quarto.yml"
    try:
        data = (root / name).read_bytes()
        text = data.decode("utf-8-sig")
    except FileNotFoundError:
        raise Problem(name, 0, f"not found in {root.resolve()}; "
                               "expected the book's list of chapters") from None
    except UnicodeDecodeError as error:
        raise Problem(name, 0, f"{error.reason}; expected UTF-8") from None
    config = load_yaml(text, name, 1)
    book = config.get("book") if isinstance(config, dict) else None
    if not isinstance(book, dict):
        raise Problem(name, 0, "no `book:`; expected `book:` with `chapters:`")
    found, problems = _ordered(book, text.split("\n"))
    return found, problems, data


def _ordered(book: dict, lines: list[str]) -> tuple[list[tuple[str, str | None, int]], list[Problem]]:
    found, problems, letters = [], [], iter("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    for key in ("chapters", "appendices"):
        for path in _files(book.get(key) or []):
            places = [n for n, s in enumerate(lines, 1) if path in s] or [0]
            wrong = lambda what, line: problems.append(Problem("_quarto.yml", line, what))
            if path in (p for p, _, _ in found):
                wrong(f"{path} is listed twice; expected once", places[-1])
            elif PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
                wrong(f"{path} leaves the repository; expected a path below it", places[0])
            else:
                found.append((path, next(letters, "Z") if key == "appendices" else None, places[0]))
    return found, problems


def _files(entries):
    for entry in entries if isinstance(entries, list) else [entries]:
        if isinstance(entry, str):
            if entry.endswith(".qmd"):
                yield entry
        elif isinstance(entry, dict):
            for key in ("part", "file", "href"):
                if isinstance(entry.get(key), str) and entry[key].endswith(".qmd"):
                    yield entry[key]
            yield from _files(entry.get("chapters") or [])
