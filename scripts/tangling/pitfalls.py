"""The wrong versions of a chapter, built when somebody wants them: `build/pitfalls/t27_x/forgot_the_scale.py`.

    build(root, "t27_x")                  {stem: Pitfall}, every file up to date with its chapter
    from tangled.t27_x.pitfalls import forgot_the_scale        (`tangled/__init__.py` asks `find_spec`)

They are no part of the repository: each is level 2 with one chunk replaced, so a line of the chapter would
stand in the package as often as the chapter has pitfalls.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from scripts.errors import Problem, Problems
from scripts.reading.chapters import read_book
from scripts.tangling.outputs import PITFALLS, chapter_outputs, pitfall_file, syntax

MODULE = re.compile(r"tangled\.(t\d\d_\w+)\.pitfalls(?:\.(\w+))?")
SEEN = ".cache/pitfalls.json"                       # digests of pitfalls that were seen to compile, a chapter
_BUILT: dict[tuple, dict[str, Pitfall]] = {}
KNOWN: dict[str, dict[str, Pitfall]] = {}           # of packages whose chapter is not asked: it was, or is not at hand


@dataclass
class Pitfall:
    """One wrong version: `path` is its file, `place` the chapter and line of its first chunk."""

    package: str
    stem: str
    number: str
    name: str
    path: Path
    place: str
    caught: tuple[str, ...] = ()

    @property
    def module(self) -> str:
        return f"tangled.{self.package}.pitfalls.{self.stem}"


def caught(chunks) -> tuple[str, ...]:
    """The tests that the chunks of a pitfall name."""
    return tuple(dict.fromkeys(name for c in chunks for name in c.keys.get("caught", "").split()))


def build(root: Path | str, package: str) -> dict[str, Pitfall]:
    """All pitfalls of a package in the order of the chapter, written where they are missing or stale."""
    if package in KNOWN:
        return KNOWN[package]
    root = Path(root)
    path = next((c.path for c in read_book(root, only=[]).chapters if c.package == package), None)
    if path is None:
        raise Problem("", 0, f"no chapter has the package {package!r}, so it has no pitfalls")
    book = read_book(root, path)
    chapter = book.selected[0]
    key = (os.path.realpath(root), path, chapter.raw)
    if key not in _BUILT:
        made = {t: o for t, o in chapter_outputs(chapter, book).items() if o.kind == "pitfall"}
        if problems := [p for t, o in made.items() if (p := syntax(t, o))]:
            raise Problems(problems)
        for name, output in made.items():
            _write(root / name, output.text)
        _BUILT[key] = _described(root, chapter)
    found = _BUILT[key]
    if missing := [p for p in found.values() if not p.path.is_file()]:
        _BUILT.pop(key)                              # somebody has cleaned up meanwhile
        return build(root, package) if missing else found
    _clear(root / PITFALLS / package, set(found))
    return found


def _described(root: Path, chapter) -> dict[str, Pitfall]:
    chunks: dict[str, list] = {}
    for chunk in chapter.chunks:
        if chunk.pitfall:
            chunks.setdefault(chunk.pitfall, []).append(chunk)
    found = {}
    for k, (slug, own) in enumerate(chunks.items(), 1):
        path = root / pitfall_file(chapter.package, slug)
        found[path.stem] = Pitfall(chapter.package, path.stem, f"{chapter.number}.{k}", slug.replace("-", " "),
                                   path, own[0].place, caught(own))
    return found


def _write(path: Path, text: str) -> None:
    """Replace a file in one step; two processes may build at once."""
    data = text.encode()
    with suppress(OSError):
        if path.read_bytes() == data:
            return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.write_bytes(data)
    os.replace(part, path)


def _clear(folder: Path, wanted: set[str]) -> None:
    """What no chapter makes any more goes."""
    for path in folder.glob("*.py"):
        if path.stem not in wanted:
            path.unlink(missing_ok=True)


def find_spec(name: str, package: str):
    """The import system's question: where is `tangled.t27_x.pitfalls.forgot_the_scale`? (`package`: the folder
    of `tangled`.)"""
    from importlib.machinery import ModuleSpec
    from importlib.util import spec_from_file_location
    if not (match := MODULE.fullmatch(name)):
        return None
    if match[2] is None:                             # the package: a name without a folder
        spec = ModuleSpec(name, None, is_package=True)
        spec.submodule_search_locations = []
        return spec
    found = build(Path(package).parent, match[1]).get(match[2])
    return spec_from_file_location(name, found.path) if found else None


def unseen(root: Path, chapter: str, texts: dict[str, str], compiles) -> list[Problem]:
    """The mistakes of a chapter's pitfalls; those that compiled in an earlier run are not tried again.

    `texts`: target -> text; `compiles(target)` gives its mistake or None.
    """
    try:
        seen = json.loads((root / SEEN).read_bytes())
        known = set(seen.get(chapter, []))
    except (OSError, ValueError, AttributeError, TypeError):
        seen, known = {}, set()
    sums = {t: hashlib.sha256(text.encode()).hexdigest()[:16] for t, text in texts.items()}
    problems = {t: problem for t in texts if sums[t] not in known and (problem := compiles(t))}
    good = sorted(sums[t] for t in texts if t not in problems)
    if set(good) != known:
        seen[chapter] = good
        with suppress(OSError):
            _write(root / SEEN, json.dumps(seen))
    return list(problems.values())
