"""Changes many files at once or none: whatever happens on the way, nothing that somebody wrote is lost.

1. *Stage*: the new files are written beside their places, in `tangled/.staging`. A failure here changes
   nothing.
2. *Journal*: one atomic rename declares the change. Killed before it, the next run throws the stage away;
   killed after it, the next run finishes.
3. *Commit*: each old file is moved into the stage, compared with what was read, and the new one linked into
   the gap. A file that somebody changed meanwhile is put back, and all others with it.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from scripts.errors import Problem
from scripts.reading import STAGE


@dataclass
class Change:
    """One file: its contents when it was read and those it shall have (None: no such file)."""

    path: str
    old: bytes | None
    new: bytes | None


def _sha(data: bytes | None) -> str | None:
    return None if data is None else hashlib.sha256(data).hexdigest()


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


@contextmanager
def lock(root: Path):
    """One run at a time in this repository; a second one waits. Recovers first what a killed run left."""
    folder = root / "tangled"
    if not folder.is_dir():
        try:
            folder.mkdir()
        except OSError as error:
            raise Problem("tangled/", 0, f"{_why(error)}; nothing was changed") from None
    handle = None
    try:
        import fcntl
        handle = os.open(folder, os.O_RDONLY)
        fcntl.flock(handle, fcntl.LOCK_EX)
    except (ImportError, OSError):
        pass                                          # a system without locks: the checks below still hold
    try:
        recover(root)
        yield
    finally:
        if handle is not None:
            os.close(handle)


def commit(root: Path, changes: list[Change]) -> None:
    """Make all the changes, or none and raise a `Problem`."""
    if not changes:
        return
    stage, made = root / STAGE, []
    entries = [{"path": c.path, "old": _sha(c.old), "new": _sha(c.new)} for c in changes]
    try:
        stage.mkdir()
    except OSError as error:
        raise Problem(STAGE, 0, f"{_why(error)}; nothing was changed") from None
    try:
        _write_stage(root, stage, changes, entries, made)
    except BaseException as error:
        _clear(stage, made)
        raise _problem(error) from None
    try:
        for i, entry in enumerate(entries):
            if not _step(root, stage, i, entry):
                raise Problem(entry["path"], 0, "changed while it was being replaced; "
                                                "nothing was changed, run again")
    except (OSError, Problem) as error:
        _undo(root, stage, entries, made)
        raise _problem(error) from None
    _clear(stage, [])
    _prune(root, changes)


def _write_stage(root: Path, stage: Path, changes: list[Change], entries: list[dict], made: list[Path]):
    for i, change in enumerate(changes):
        if change.new is not None:
            _folders((root / change.path).parent, made)
            (stage / f"new-{i}").write_bytes(change.new)
    (stage / "journal.part").write_text(json.dumps(entries))
    os.replace(stage / "journal.part", stage / "journal.json")


def _problem(error: BaseException) -> BaseException:
    if isinstance(error, OSError):
        return Problem("tangled/", 0, f"{_why(error)}; nothing was changed")
    return error


def _why(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return "the disk is full"
    return f"{error.filename or 'a file'} cannot be written ({error.strerror})"


def _folders(folder: Path, made: list[Path]) -> None:
    if not folder.is_dir():
        _folders(folder.parent, made)
        folder.mkdir()
        made.append(folder)


def _clear(stage: Path, made: list[Path]) -> None:
    shutil.rmtree(stage, ignore_errors=True)
    for folder in reversed(made):
        with suppress(OSError):
            folder.rmdir()


def _link(source: Path, target: Path) -> bool:
    """Give `source` the name `target` too, unless that name is taken."""
    try:
        os.link(source, target)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT) or target.exists():
            raise
        target.write_bytes(source.read_bytes())       # a file system without links
    return True


def _step(root: Path, stage: Path, i: int, entry: dict) -> bool:
    """One file from old to new. False, and the file as it was, if it is not what was read."""
    path, old, new = root / entry["path"], stage / f"old-{i}", stage / f"new-{i}"
    if entry["old"] is not None and not old.exists():
        try:
            os.rename(path, old)
        except FileNotFoundError:
            return False
        if _sha(_read(old)) != entry["old"]:
            _give_back(old, path)
            return False
        if entry["new"] is not None:
            shutil.copymode(old, new)
    return entry["new"] is None or _link(new, path)


def _give_back(old: Path, path: Path) -> None:
    """Put a file back where it was, or beside it if somebody has written another one there."""
    if _link(old, path) or _read(old) == _read(path):
        old.unlink()
    else:
        k = 1
        while not _link(old, path.with_name(f"{path.name}.kept{k}")):
            k += 1
        old.unlink()


def _undo(root: Path, stage: Path, entries: list[dict], made: list[Path]) -> None:
    for i, entry in enumerate(entries):
        path, old, new = root / entry["path"], stage / f"old-{i}", stage / f"new-{i}"
        if new.exists() and path.exists() and os.path.samefile(new, path):
            path.unlink()
        if old.exists():
            _give_back(old, path)
    _clear(stage, made)


def recover(root: Path) -> None:
    """Finish the change that a killed run had declared; throw away one that it had not."""
    stage = root / STAGE
    if not stage.exists():
        return
    try:
        entries = json.loads((stage / "journal.json").read_text())
    except (OSError, ValueError):
        _clear(stage, [])
        return
    for i, entry in enumerate(entries):
        path, old, new = root / entry["path"], stage / f"old-{i}", stage / f"new-{i}"
        if old.exists() and _sha(_read(old)) != entry["old"]:
            _give_back(old, path)                     # killed between taking a changed file and giving it
        elif old.exists():
            if entry["new"] is not None and not path.exists():
                _link(new, path)
        elif _sha(_read(path)) == entry["old"]:
            _step(root, stage, i, entry)
    _clear(stage, [])
    _prune(root, [Change(e["path"], None, None) for e in entries if e["new"] is None])


def _prune(root: Path, changes: list[Change]) -> None:
    """Remove the folders that deletions have emptied (a `__pycache__` does not count)."""
    for change in changes:
        folder = (root / change.path).parent
        while change.new is None and root / "tangled" in folder.parents and folder.is_dir():
            if any(p.name != "__pycache__" for p in folder.iterdir()):
                break
            shutil.rmtree(folder, ignore_errors=True)
            folder = folder.parent
