"""`make start TOPIC=27 RESET=rope`: one function's stub back into the learner's file, the old text kept beside it.

Nothing else of the file changes, by a byte. The old text is written first and the file then replaced in one step:
ended at any moment, the file is the old or the new one, and what was written is in one of the two.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from scripts.desk.source import KINDS, Source, Span
from scripts.errors import Problem
from scripts.reading.front import near


def reset(path: Path, shown: str, stub: str, name: str, start: str) -> list[str]:
    """Give `name` its stub back in the file at `path`; the lines to print. `start`: the verb that makes the file."""
    fresh = Source(stub.encode(), "the stub")
    names = [node.name for node in fresh.tree.body if isinstance(node, KINDS) and not node.name.startswith("_")]
    if name not in names:
        said = near(name, names) or f"; expected one of {', '.join(names)}"
        raise Problem("", 0, f"RESET={name!r} is no function or class of the stub{said}")
    mine = Source.read(path, shown, start)
    new, old = fresh.find(name), mine.find(name)
    if old is None:
        if line := mine.otherwise_bound(name):
            raise Problem(shown, line, f"{name} is bound here; expected a def or class of that name at the top of the "
                          "file, which could be taken out")
        replace(path, mine.data, appended(mine, new))
        return [f"{shown} had no {name}; its stub now stands at the end."]
    changed = replaced(mine, old, new)
    if changed == mine.data:
        return [f"{name} is as the stub has it already ({shown}:{old.first}); nothing changed."]
    kept = keep(path, name, encoded_alone(old))
    replace(path, mine.data, changed)
    kept_as = shown.replace(path.name, kept.name)
    return [f"{name} is to be written again: {shown}:{old.first}.", f"Yours so far is in {kept_as}."]


def replaced(mine: Source, old: Span, new: Span) -> bytes:
    """The file with the stub in the place of a definition; its decorators stay, where it has any."""
    first = old.first if old.node.decorator_list else old.top
    text = new.taken(new.first if old.node.decorator_list else new.top)
    text = in_file(mine, text)
    if not mine.lines[old.last - 1].endswith((b"\n", b"\r")):           # the file ends without a line end
        text = text.rstrip(b"\r\n")
    return checked(mine, b"".join(mine.lines[:first - 1]) + text + b"".join(mine.lines[old.last:]), new)


def appended(mine: Source, new: Span) -> bytes:
    """The file with a stub behind what it holds."""
    end = mine.newline.encode()
    gap = end * 2 if not mine.data or mine.data.endswith((b"\n", b"\r")) else end * 3
    return checked(mine, mine.data + gap + in_file(mine, new.taken()), new)


def in_file(mine: Source, text: bytes) -> bytes:
    """The stub's text with the line ends and in the encoding of the learner's file."""
    lines = text.decode().rstrip("\n").split("\n")
    encoding = "utf-8" if mine.encoding == "utf-8-sig" else mine.encoding
    return mine.newline.join([*lines, ""]).encode(encoding, "backslashreplace")


def checked(mine: Source, data: bytes, new: Span) -> bytes:
    """The new bytes, once it is seen that they are Python and hold the stub."""
    found = Source(data, mine.shown).find(new.node.name)
    if found is None or found.is_stub() != new.is_stub():
        raise Problem(mine.shown, 0, f"{new.node.name} cannot be replaced there; expected it to begin and end on lines "
                      "of its own")
    return data


def encoded_alone(old: Span) -> bytes:
    """A definition as a file of its own, in the encoding of the file that it was in."""
    encoding = old.source.encoding
    cookie = b"" if encoding.startswith("utf-8") else f"# -*- coding: {encoding} -*-{old.source.newline}".encode()
    return cookie + old.taken()


def keep(path: Path, name: str, data: bytes) -> Path:
    """Write the old text to the first free of STEM.NAME.1.py, STEM.NAME.2.py, …; all of it or nothing."""
    n = 1
    temporary = path.with_name(f".{path.stem}.{name}.{os.getpid()}.tmp")
    write_through(temporary, data)
    try:
        while True:
            kept = path.with_name(f"{path.stem}.{name}.{n}.py")
            if not os.path.lexists(kept):
                try:
                    os.link(temporary, kept)                            # fails where the file exists
                    return kept
                except FileExistsError:
                    pass
                except OSError:                                         # no hard links here
                    os.rename(temporary, kept)
                    return kept
            n += 1
    finally:
        temporary.unlink(missing_ok=True)


def replace(path: Path, before: bytes, data: bytes) -> None:
    """Put new bytes into the file in one step, unless somebody has saved it meanwhile."""
    path = path.resolve()                                               # a link stays one
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    write_through(temporary, data)
    try:
        shutil.copymode(path, temporary)
        if path.read_bytes() != before:
            raise Problem(path.name, 0, "was saved meanwhile and stays as it is; call again")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_through(path: Path, data: bytes) -> None:
    """Write a file, and wait until the disk has it."""
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
