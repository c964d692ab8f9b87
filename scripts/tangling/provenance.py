"""Tracebacks that name the chapter: an uncaught exception in tangled code is shown with the chapter's file,
line and text. The code itself is left alone, so coverage and debuggers see tangled/ as it is.

`tangled/__init__.py` installs `show` as `sys.excepthook`. Whatever goes wrong here, the plain traceback is
shown.
"""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path

from scripts.tangling import origin

_LINES: dict[str, list[str]] = {}


def chapter_text(path: str, line: int) -> str:
    """A chapter's line, stripped."""
    if path not in _LINES:
        _LINES[path] = Path(origin.ROOT, path).read_text(encoding="utf-8-sig").split("\n")
    lines = _LINES[path]
    return lines[line - 1].strip() if 0 < line <= len(lines) else ""


def is_tangled(filename: str) -> bool:
    root = os.path.realpath(origin.ROOT)
    folders = os.path.join(root, "tangled", ""), os.path.join(root, *origin.PITFALLS.split("/"), "")
    return os.path.realpath(filename).startswith(folders)


def rewrite(report: traceback.TracebackException, seen: set[int] | None = None) -> bool:
    """Put chapter lines in place of tangled ones, causes and groups included. True if there were any."""
    seen = set() if seen is None else seen
    if report is None or id(report) in seen:
        return False
    seen.add(id(report))
    found = False
    for i, frame in enumerate(report.stack):
        place = origin.locate(frame.filename, frame.lineno) if is_tangled(frame.filename) else None
        if place:
            report.stack[i] = traceback.FrameSummary(place[0], place[1], frame.name, lookup_line=False,
                                                     line=chapter_text(*place))
            found = True
    inner = [report.__cause__, report.__context__, *(getattr(report, "exceptions", None) or [])]
    return sum(rewrite(each, seen) for each in inner) > 0 or found


def show(kind, error, trace) -> bool:
    """Print the traceback with chapter lines; False, and nothing printed, if no frame is tangled."""
    report = traceback.TracebackException(kind, error, trace)
    if not rewrite(report):
        return False
    print("".join(report.format()), end="", file=sys.stderr)
    return True


def places(trace) -> list[tuple[str, int, str, str]]:
    """(chapter, line, function, text) of each tangled frame of a traceback, outermost first."""
    found = []
    for frame, line in traceback.walk_tb(trace):
        filename = frame.f_code.co_filename
        if is_tangled(filename) and (place := origin.locate(filename, line)):
            found.append((*place, frame.f_code.co_name, chapter_text(*place)))
    return found


def install_in_ipython() -> None:
    """In a notebook or IPython: after its own traceback, the chapter lines."""
    from IPython import get_ipython
    shell = get_ipython()
    if shell is None or getattr(shell, "_chapter_lines", False):
        return

    def handler(self, kind, error, trace, tb_offset=None):
        self.showtraceback((kind, error, trace), tb_offset=tb_offset)
        try:
            for path, line, name, text in places(trace):
                print(f'  File "{path}", line {line}, in {name}\n    {text}', file=sys.stderr)
        except Exception:
            pass

    shell.set_custom_exc((Exception,), handler)
    shell._chapter_lines = True
