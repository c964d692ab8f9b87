"""What a chapter's outputs depend on: cells, the tangled modules they import, the data they read, versions.

Modules are hashed by their syntax tree, so a changed comment (or a chapter renamed in the first line) runs
nothing; a module that shows source text (`getsource`) makes the text itself count.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import importlib.metadata
import importlib.util
import json
import platform
import re
from functools import lru_cache
from pathlib import Path

from scripts.errors import Problem, Problems
from scripts.reading.syntax import parse
from scripts.tangling.pitfalls import MODULE as MODULE_OF_PITFALL
from scripts.tangling.pitfalls import build
from scripts.weaving.figure_style import STYLE
from scripts.weaving.kernel import PRELUDE, Unit

MODULE = re.compile(r"\btangled(?:\.\w+)+")
FILE = re.compile(r"^[\w./-]+\.\w+$")
RECORD = re.compile(r"\brecord\((\d*)")
PARTS = ("numpy", "matplotlib", "matplotlib-inline", "ipython", "torch")


def key(units: list[Unit], root: Path) -> str:
    """The name under which the outputs of these units are kept."""
    modules, files, whole = closure([u.source for u in units], root)
    parts = {
        "units": [[u.source.strip("\n"), u.inline, bool(u.options.get("error"))] for u in units],
        "modules": {str(m.relative_to(root)): _module_hash(m, whole) for m in sorted(modules)},
        "data": {name: _file_hash(root / name) for name in sorted(files)},
        "versions": versions(),
        "prelude": [PRELUDE, *map(_file_hash, (Path(__file__).with_name("figure_style.py"), STYLE))],
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:20]


@lru_cache(maxsize=1)
def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in PARTS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "absent"
    return found


def closure(sources: list[str], root: Path) -> tuple[set[Path], set[str], bool]:
    """The tangled modules that the sources import, through one another; the repository's files that any of
    them names in a string; and whether any looks at source text."""
    modules: set[Path] = set()
    files: set[str] = set()
    text = "\n".join(sources)
    whole, waiting = "getsource" in text, []
    for source in sources:
        names, strings = _scan(source, None)
        waiting += names
        files |= strings
    while waiting:
        for path in _module_files(waiting.pop(), root):
            if path not in modules:
                modules.add(path)
                body = path.read_text(encoding="utf-8")
                names, strings = _scan(body, path.relative_to(root))
                waiting += names
                files |= strings
                whole = whole or "getsource" in body
    found = {name for name in files if (root / name).is_file()}
    if any(p.stem == "records" for p in modules):
        found |= recorded(text + "".join(p.read_text(encoding="utf-8") for p in modules if p.parent.name[:1] == "t"
                                         and p.parent.name[1:3].isdigit()), root)
    if any("data" in p.stem for p in modules) and (root / "data").is_dir():
        found |= {p.relative_to(root).as_posix() for p in (root / "data").glob("MANIFEST*")}
    return modules, found, whole


def recorded(text: str, root: Path) -> set[str]:
    """The files of golden/records/ that `record(9)` in the sources reads; all where a topic is not a plain number."""
    topics = set(RECORD.findall(text)) - {""}
    plain = topics and all(re.match(r"record\(\d+\)", m[0]) for m in re.finditer(r"\brecord\([^)]*\)?", text))
    marks = [f"t{int(topic):02d}[._]*" for topic in topics] if plain else ["t*"]
    return {path.relative_to(root).as_posix() for mark in marks for path in (root / "golden/records").glob(mark)}


def _scan(source: str, path: Path | None) -> tuple[list[str], set[str]]:
    """(dotted names under `tangled` that may be imported, strings that look like files)."""
    try:
        tree = parse(source)
    except SyntaxError:                                # IPython's magics: take what the text names
        return MODULE.findall(source), set(re.findall(r"[\w./-]+\.\w+", source))
    names, strings = [], set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [a.name for a in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = _base(node, path)
            names += [base, *(f"{base}.{a.name}" for a in node.names)]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names += MODULE.findall(node.value) if len(node.value) < 200 else []
            if FILE.match(node.value) and len(node.value) < 200:
                strings.add(node.value)
    return [n for n in names if n == "tangled" or n.startswith("tangled.")], strings


def _base(node: ast.ImportFrom, path: Path | None) -> str:
    """The dotted module of `from … import`, relative ones included."""
    if not node.level or path is None:
        return node.module or ""
    package = list(path.with_suffix("").parts)[:-node.level]
    return ".".join(package + ([node.module] if node.module else []))


def _module_files(name: str, root: Path) -> list[Path]:
    """Every file that importing this name runs: the packages on the way, then the module."""
    files, here = [], root
    if match := MODULE_OF_PITFALL.fullmatch(name):
        files, name = _pitfall(match, root), f"tangled.{match[1]}"
    for part in name.split("."):
        here = here / part
        if (here / "__init__.py").is_file():
            files.append(here / "__init__.py")
        elif here.with_suffix(".py").is_file():
            files.append(here.with_suffix(".py"))
            break
        elif not here.is_dir():
            break
    return files


def _pitfall(match, root: Path) -> list[Path]:
    """The file of a pitfall, built if need be; none where it cannot be had, which the cell will say."""
    with contextlib.suppress(Problem, Problems, OSError):
        found = build(root, match[1])
        return [p.path for p in found.values() if match[2] in (None, p.stem)]
    return []


_HASHES: dict[tuple, str] = {}


def _module_hash(path: Path, whole: bool) -> str:
    stat = path.stat()
    known = (path, stat.st_mtime_ns, stat.st_size, whole)
    if known not in _HASHES:
        text = path.read_text(encoding="utf-8")
        with contextlib.suppress(SyntaxError):
            text = text if whole else ast.dump(parse(text))
        _HASHES[known] = hashlib.sha256(text.encode()).hexdigest()
    return _HASHES[known]


def _file_hash(path: Path) -> str:
    stat = path.stat()
    known = (path, stat.st_mtime_ns, stat.st_size)
    if known not in _HASHES:
        _HASHES[known] = hashlib.sha256(path.read_bytes()).hexdigest()
    return _HASHES[known]
