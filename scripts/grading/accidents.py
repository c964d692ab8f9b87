"""An exception in a topic's test, said in a few lines: what happened, where in code and test."""

from __future__ import annotations

import difflib
import linecache
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from scripts.grading import solution
from scripts.grading.guard import LeftOver, Quit, TimeLimit
from scripts.grading.sentry import Forbidden

ROOT = Path(__file__).resolve().parents[2]
LINES = 6                                     # of an assertion's text


@dataclass
class Accident:
    """What happened. `kind`: mismatch, assertion, todo, missing, unusable, time, exit, memory, error …"""

    kind: str
    lines: list[str]
    code: str = ""                            # "chapters/27-x.qmd:402 in rope"
    test: str = ""
    pitfalls: list[dict] = field(default_factory=list)
    alike: list[dict] = field(default_factory=list)


def place(filename: str, line: int) -> str:
    """`chapters/27-x.qmd:402` for a line of a generated file, else the file's own name and line."""
    path = os.path.realpath(filename)
    inside = path.startswith(str(ROOT) + os.sep)
    shown = os.path.relpath(path, ROOT).replace(os.sep, "/") if inside else filename
    if shown.startswith("tangled/"):
        try:
            from scripts.tangling.origin import locate
            found = locate(path, line)
        except Exception:
            found = None
        if found:
            return f"{found[0]}:{found[1]}"
    return f"{shown}:{line}"


def frames(trace) -> list[tuple[str, int, str]]:
    """(file, line, function) of a traceback, outermost first."""
    found = []
    while trace is not None:
        code = trace.tb_frame.f_code
        found.append((code.co_filename, trace.tb_lineno, getattr(code, "co_qualname", code.co_name)))
        trace = trace.tb_next
    return found


def is_code(filename: str, package: str, impl_path: str) -> bool:
    """Does a frame belong to the code under test?"""
    path = os.path.realpath(filename)
    if impl_path and path == os.path.realpath(impl_path):
        return True
    folder = str(ROOT / "tangled" / package)
    return path.startswith(folder + os.sep) and not path.startswith(os.path.join(folder, "tests") + os.sep)


def describe(error: BaseException, item, package: str, impl_path: str = "") -> Accident:
    """The accident behind an exception that a test of `package` raised."""
    error = innermost(error)
    seen = frames(error.__traceback__)
    inside = [f for f in seen if is_code(f[0], package, impl_path)] if kind_of(error) != "Unusable" else []
    of_test = [f for f in seen if os.path.realpath(f[0]) == os.path.realpath(item.path)]
    accident = name_it(error, inside, of_test, impl_path)
    if inside and not accident.code:
        filename, line, name = inside[-1]
        accident.code = f"{place(filename, line)} in {name}"
    accident.test = test_place(item, of_test)
    if impl_path and accident.kind in ("mismatch", "assertion", "error"):
        accident.lines += solution.advice(error, item, package, impl_path)
    return accident


def kind_of(error: BaseException) -> str:
    """The name of the exception's type."""
    return type(error).__name__


def innermost(error: BaseException) -> BaseException:
    """The first exception of a group, all the way down."""
    while getattr(error, "exceptions", None):
        error = error.exceptions[0]
    return error


def test_place(item, of_test) -> str:
    """Chapter and tangled line of the failing line of the test, or of its definition."""
    if of_test:
        line = of_test[-1][1]
    else:
        line = getattr(getattr(item.function, "__code__", None), "co_firstlineno", 1)
    chapter = place(str(item.path), line)
    own = f"{os.path.relpath(item.path, ROOT).replace(os.sep, '/')}:{line}"
    return chapter if chapter == own else f"{chapter} ({own})"


def name_it(error: BaseException, inside, of_test, impl_path: str) -> Accident:
    """Kind and text of an exception."""
    kind, text = kind_of(error), str(error)
    where = inside[-1] if inside else None
    name = where[2] if where else "the code under test"
    if kind == "Unusable":
        return Accident("unusable", [text])
    if kind == "Mismatch":
        return Accident("mismatch", text.split("\n"))
    if isinstance(error, NotImplementedError):
        return Accident("todo", [f"{name} is not implemented yet"])
    if isinstance(error, TimeLimit):
        return timed_out(error, inside, of_test)
    if isinstance(error, Forbidden):
        return Accident("forbidden", [text])
    if isinstance(error, LeftOver):
        return Accident("left over", [text])
    if isinstance(error, (SystemExit, Quit)):
        return Accident("exit", [left(name, error, text)])
    if isinstance(error, RecursionError):
        return Accident("recursion", [f"{name} calls itself without an end (RecursionError)"])
    if isinstance(error, MemoryError):
        return Accident("memory", [f"out of memory{': ' + text if text else ''}"])
    if isinstance(error, AttributeError) and (said := missing_name(error, impl_path)):
        return Accident("missing", [said])
    return plain(error, kind, text, where)


def left(name: str, error: BaseException, text: str) -> str:
    """A sentence about code that would leave the test, or the program."""
    if text == "breakpoint":
        return f"{name} called breakpoint(); to stop there, run the test at a terminal with ARGS=-s"
    call = f"sys.exit({error.code!r})" if isinstance(error, SystemExit) else text
    if call.startswith("raise "):
        return f"{name} did {call!r}, which would end the test or the run without a failure"
    if call.startswith("pytest."):
        return f"{name} called {call}, which would end the test or the run without a failure"
    return f"{name} called {call if call.endswith(')') else call + '()'}, which would end the program"


def timed_out(error, inside, of_test) -> Accident:
    """A test over its time limit, with the line that ran last."""
    seconds = f" ({error.args[0]:g} s)" if error.args else ""
    lines = [f"took longer than its time limit{seconds} and was stopped: a loop without an end?"]
    if inside:
        text = linecache.getline(inside[-1][0], inside[-1][1]).strip()
        lines.append(f"it stood at: {text}")
    return Accident("time", lines)


def missing_name(error: AttributeError, impl_path: str) -> str:
    """A sentence where the module under test lacks a name, "" for other attribute errors."""
    module = getattr(error, "obj", None)
    name = getattr(error, "name", None)
    if type(module).__name__ != "module" or not name or not getattr(module, "__file__", None):
        return ""
    path = os.path.relpath(module.__file__, ROOT).replace(os.sep, "/")
    near = difflib.get_close_matches(name, [n for n in vars(module) if not n.startswith("_")], 1)
    return f"{path} has no {name!r}" + (f"; did you mean {near[0]!r}?" if near else "")


def plain(error, kind: str, text: str, where) -> Accident:
    """Any other exception: assertions by their text, others by type, text and the failing line."""
    notes = [line for note in getattr(error, "__notes__", []) for line in note.split("\n") if line.strip()]
    if isinstance(error, AssertionError) or kind == "Failed":
        lines = [x.rstrip() for x in text.split("\n") if x.strip()] or ["an assertion of the test failed"]
        lines = lines[:LINES] + ["..."] * (len(lines) > LINES)
        return Accident("assertion", [shorten(x) for x in lines + notes[:4]])
    lines = [shorten(f"{kind}: {text.splitlines()[0] if text else ''}".rstrip(": "))]
    if where:
        source = linecache.getline(where[0], where[1]).strip()
        lines += [f"raised at: {source}"] if source else []
    return Accident("error", lines + [shorten(x) for x in notes[:4]])


def shorten(text: str) -> str:
    """Module paths and addresses out of an assertion's text; long lines cut."""
    text = re.sub(r"<module '([\w.]+)' from '[^']*'>", r"\1", text)
    text = re.sub(r" at 0x[0-9a-f]+", "", text)
    text = text.encode("ascii", "backslashreplace").decode()
    return text if len(text) <= 300 else text[:297] + "..."
