"""A Quarto book project as it lies on disk: its `_quarto.yml` and the chapters in their order."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from scripts.errors import Problem

FRONT = re.compile(r"\A---[ \t]*\n(.*?\n)(?:---|\.\.\.)[ \t]*\n", re.S)


@dataclass
class Chapter:
    path: str  # "chapters/27-positional-encodings.qmd"
    text: str  # without the front matter
    meta: dict
    part: str | None = None
    appendix: bool = False
    number: str | None = None  # "27", "0", "A": what its equations are numbered by
    numbered: bool = False  # whether the title shows the number
    id: str = ""  # of the title
    title: list = field(default_factory=list)
    blocks: list = field(default_factory=list)
    ids: set[str] = field(default_factory=set)
    formats: dict[str, set[str]] = field(default_factory=dict)  # of ids that are not in every format
    headings: list = field(default_factory=list)
    written: bool = True                    # False: only known, so that references to it have a number
    on_site: bool = False                   # not written now, and a page of the site nevertheless

    @property
    def stem(self) -> str:
        return Path(self.path).stem

    @property
    def page(self) -> str:
        return self.path.removesuffix(".qmd") + ".html"

    @property
    def key(self) -> str:
        """A name for it in places where only letters, digits and hyphens are safe."""
        return re.sub(r"[^A-Za-z0-9]+", "-", self.path.removesuffix(".qmd"))

    def has(self, id: str, format: str) -> bool:
        """Whether an id is there in one output format."""
        return format in self.formats.get(id, (format,))

    @property
    def word(self) -> str:
        return "Appendix" if self.appendix else "Chapter"


@dataclass
class Project:
    folder: Path
    sources: Path  # where the chapters as written by hand lie
    title: str
    subtitle: str
    author: str
    date: str
    language: str
    bibliography: list[Path]
    chapters: list[Chapter]


def read_project(folder: Path, sources: Path | None = None, only: str | None = None) -> Project:
    """Read the project; `only` names the one chapter to be written (by topic, letter or file name)."""
    folder = Path(folder).resolve()
    sources = Path(sources or _sources(folder)).resolve()
    config = _config(folder)
    book = config.get("book", {})
    chapters = [chapter for entry in _entries(book) if (chapter := _chapter(folder, sources, *entry))]
    _letters(chapters)
    if only is not None:
        _choose(chapters, str(only), folder)
    bibliography = config.get("bibliography") or []
    files = [bibliography] if isinstance(bibliography, str) else bibliography
    return Project(
        folder,
        sources,
        str(book.get("title", "Book")),
        str(book.get("subtitle", "")),
        _authors(book.get("author", "")),
        str(book.get("date", "") or ""),
        str(config.get("lang", "en")),
        [folder / name for name in files],
        chapters,
    )


def _sources(folder: Path) -> Path:
    """build/book/ is made from the folder two levels up."""
    above = folder.parents[1] if len(folder.parents) > 1 else folder
    return above if (above / "_quarto.yml").is_file() else folder


def _config(folder: Path) -> dict:
    import yaml

    try:
        return yaml.safe_load((folder / "_quarto.yml").read_text(encoding="utf-8")) or {}
    except FileNotFoundError:
        raise Problem(str(folder), 0, "no _quarto.yml; expected a Quarto book project") from None
    except yaml.YAMLError as fault:
        mark = getattr(fault, "problem_mark", None)
        raise Problem(
            "_quarto.yml", mark.line + 1 if mark else 0, f"not YAML: {getattr(fault, 'problem', fault)}"
        ) from None


def _authors(value) -> str:
    people = value if isinstance(value, list) else [value]
    return ", ".join(
        str(person.get("name", "")) if isinstance(person, dict) else str(person) for person in people
    )


def _entries(book: dict):
    """(path, part, is an appendix) of each file, in order."""
    for entry in book.get("chapters", []):
        if isinstance(entry, dict):
            for path in entry.get("chapters", []):
                yield path, entry.get("part"), False
        else:
            yield entry, None, False
    for path in book.get("appendices", []):
        yield path, "Appendices", True


def _chapter(folder: Path, sources: Path, path: str, part: str | None, appendix: bool) -> Chapter | None:
    woven = (folder / path).is_file()
    file = folder / path if woven else sources / path
    if not file.is_file():
        raise Problem("_quarto.yml", 0, f"{path} is listed and not there")
    text = file.read_text(encoding="utf-8").replace("\r\n", "\n")
    meta, text = split_front_matter(text, path)
    topic = meta.get("topic")
    heading = re.search(r"^# .*$", text, re.M)
    plain = bool(heading and re.search(r"\{[^}]*(\.unnumbered|(?<=[\s{])-(?=[\s}]))[^}]*\}\s*$", heading[0]))
    chapter = Chapter(
        path,
        text,
        meta,
        part,
        appendix,
        number=None if topic is None else str(topic),
        numbered=not plain,
        written=woven,
    )
    if not heading and meta.get("title"):
        chapter.text = f"# {meta['title']}\n\n{text}"
    return chapter


def split_front_matter(text: str, path: str) -> tuple[dict, str]:
    import yaml

    front = FRONT.match(text)
    if not front:
        return {}, text
    try:
        meta = yaml.safe_load(front[1]) or {}
    except yaml.YAMLError as fault:
        mark = getattr(fault, "problem_mark", None)
        raise Problem(
            path, mark.line + 2 if mark else 1, f"front matter is not YAML: {fault.problem}"
        ) from None
    return (meta if isinstance(meta, dict) else {}), text[front.end() :]


def _letters(chapters: list[Chapter]) -> None:
    """Appendices are A, B, C …; a numbered chapter without a topic takes the next free number."""
    letter, last = 0, 0
    for chapter in chapters:
        if chapter.appendix and chapter.numbered:
            chapter.number, letter = chr(ord("A") + letter), letter + 1
        elif chapter.number is None and chapter.numbered:
            chapter.number = str(last + 1)
        if chapter.number is None:
            chapter.numbered = False
        elif chapter.number.isdigit():
            last = int(chapter.number)


def _choose(chapters: list[Chapter], only: str, folder: Path) -> None:
    wanted = only.lstrip("0") or "0"
    names = {chapter.path: {chapter.number, chapter.stem, chapter.path} for chapter in chapters}
    hits = [path for path, known in names.items() if wanted in known or only in known]
    if not hits:
        there = ", ".join(str(chapter.number) for chapter in chapters if chapter.number)
        raise Problem("_quarto.yml", 0, f"no chapter {only!r} in the book; there are {there}")
    for chapter in chapters:
        chapter.written = chapter.path == hits[0]
    if not (folder / hits[0]).is_file():
        raise Problem(hits[0], 0, "this chapter has not been woven")
