"""The files that are handed in: found, and read once before any of them runs, so that none can change another."""

from __future__ import annotations

import csv
import glob
import hashlib
import io
import os
import shlex
from dataclasses import dataclass
from pathlib import Path

from scripts import keeping
from scripts.errors import Problem

COLUMNS = ("file", "result", "passed", "tests", "share", "not measured", "reason", "report")


@dataclass
class File:
    """One file: its name as shown, and its bytes as they were when the grading began (None: not to be read)."""

    path: Path
    shown: str
    data: bytes | None
    fault: str = ""

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data or b"").hexdigest()


def find(text: str | None, root: Path) -> list[File]:
    """The files that FILES names: a pattern, a folder, or several of them."""
    if not text:
        raise Problem("", 0, "FILES= is missing; expected such as: make grade FILES='submissions/*.py' TOPIC=9")
    paths = matching(text)
    if not paths:
        try:
            paths = [path for word in shlex.split(text) for path in matching(word)]
        except ValueError:
            paths = []
    if not paths:
        what = "is a folder without a Python file" if Path(text).is_dir() else "names no file that is there"
        raise Problem("", 0, f"FILES={text!r} {what}; expected such as submissions/*.py")
    unique = {os.path.realpath(path): path for path in sorted(paths)}
    return [read(Path(path), root) for path in unique.values()]


def matching(pattern: str) -> list[str]:
    """The files of one name, one folder, or one pattern (`**` goes into folders)."""
    if Path(pattern).is_dir():
        pattern = os.path.join(glob.escape(pattern), "*.py")
    found = [pattern] if os.path.exists(pattern) else glob.glob(pattern, recursive=True)
    return [path for path in found if os.path.isfile(path)]


def read(path: Path, root: Path) -> File:
    """A file with its bytes; its name is relative to the root where it lies there."""
    full = Path(os.path.abspath(path))
    inside = full.is_relative_to(root)
    shown = full.relative_to(root).as_posix() if inside else full.as_posix()
    try:
        return File(full, shown, full.read_bytes())
    except OSError as error:
        return File(full, shown, None, f"cannot be read: {error.strerror}")


def report_name(shown: str, ending: str) -> str:
    """Where what belongs to a file stands in a folder of results: files of one name in two folders have two."""
    return shown.replace(":", "").lstrip("/") + ending


def table(rows: list[dict]) -> str:
    """The CSV; what a spreadsheet would take for a formula is text."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({k: "'" + v if isinstance(v, str) and v[:1] in "=+-@\t" and v else v for k, v in row.items()})
    return stream.getvalue()


class Watched:
    """Files whose bytes are known, so that what a run changed of them is found and named.

    What is ours (reports, the table) is then written anew. A file that was handed in is left as it is, for somebody
    else may have changed it; as it was, it is kept among the results.
    """

    def __init__(self, root: Path):
        self.root, self.known, self.ours = root, {}, set()

    def keep(self, path: Path, data: bytes, ours: bool = True) -> None:
        self.known[path] = data
        if ours:
            self.ours.add(path)

    def write(self, path: Path, text: str) -> None:
        """Write a file of ours, and know it from now on."""
        keeping.write(path, text)
        self.keep(path, text.encode())

    def changed(self) -> list[str]:
        """The names of the files that are no longer what they were, each once."""
        found = [path for path, data in self.known.items() if now(path) != data]
        for path in found:
            if path in self.ours:
                path.unlink(missing_ok=True)                        # it may be a link by now
                keeping.write(path, self.known[path].decode())
            else:
                self.known[path] = now(path)
        return [os.path.relpath(path, self.root).replace(os.sep, "/") for path in found]


def now(path: Path) -> bytes | None:
    """A file's bytes, or None where it is not to be read."""
    try:
        return path.read_bytes()
    except OSError:
        return None


def files_of(root: Path, folders: tuple[str, ...]):
    """All files below these folders but what Python compiles, in order."""
    for folder in folders:
        for path in sorted((root / folder).rglob("*")):
            if path.is_file() and path.suffix != ".pyc" and path.name != ".lock":
                yield path


def fingerprint(root: Path, folders: tuple[str, ...]) -> str:
    """A hash of all that the files below these folders hold."""
    digest = hashlib.sha256()
    for path in files_of(root, folders):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def dates(root: Path, folders: tuple[str, ...]) -> dict[Path, tuple]:
    """Size and dates of each of these files: nobody changes one and leaves all of them as they were."""
    found = {}
    for path in files_of(root, folders):
        status = path.stat()
        found[path] = status.st_size, status.st_mtime_ns, status.st_ctime_ns
    return found
