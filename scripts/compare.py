"""`make compare TOPIC=9 [LEVEL=3] [ONLY=f]`: the reader's functions beside a level's, and what the two cost.

Once the reader's tests pass, or with REVEAL=1. What a call costs is measured while the topic's tests run, on the
largest call that both get: see desk/costing.py.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import io
import json
import shutil
import tempfile
from pathlib import Path

from scripts.desk.source import Source, Span
from scripts.errors import Problem
from scripts.grading import parent
from scripts.grading.chosen import Chosen
from scripts.grading.levels import STEMS
from scripts.grading.touching import known_name, public_names, tests_touching, touched

ROOT = Path(__file__).resolve().parent.parent
FORMAT = {"peak": "peak memory", "made": "arrays made", "passes": "passes", "entries": "entries passed"}


def main(argv: list[str]) -> int:
    given, package, names = arguments(argv)
    topic = int(package[1:3])
    shown = f"workspace/{package}.py"
    mine = Source.read(ROOT / shown, shown, f"make start TOPIC={topic}")
    path = f"tangled/{package}/{STEMS[given.level]}.py"
    theirs = Source.read(ROOT / path, path, "make tangle")
    tests = tests_touching(ROOT, package, names) if given.only else list(touched(ROOT, package))
    if not given.reveal and (why := failing(package, names, tests, given.only)):
        raise Problem("", 0, why)
    costs = [measured(package, names, tests, which) for which in (["--impl", "workspace"],
                                                                  ["--level", str(given.level)])]
    for name in names:
        print("\n".join(pair(name, mine.find(name), theirs.find(name), given.level, shown, path)))
        print("\n".join(table(name, *costs, given.level)) + "\n", flush=True)
    print("A pass is one operation of NumPy's over whole arrays, a view is none; the entries are those of the largest\n"
          "array that it reads or writes. Each row is the largest call in the tests, the same for both.")
    return 0


def arguments(argv: list[str]) -> tuple[argparse.Namespace, str, list[str]]:
    """The options, the topic's package and the functions to compare."""
    from scripts.learn import topic_of
    parser = argparse.ArgumentParser(prog="python -m scripts compare", description=__doc__.split("\n")[0])
    parser.add_argument("--topic")
    parser.add_argument("--level", default="2", help="1, 2 (default) or 3")
    parser.add_argument("--only", help="these functions or classes alone, joined by commas")
    parser.add_argument("--reveal", action="store_true", help="even if the reader's tests do not pass")
    given = parser.parse_args(argv)
    package = topic_of(given.topic, "compare", ROOT)[1].package
    if given.level not in ("1", "2", "3"):
        raise Problem("", 0, f"LEVEL={given.level!r}; expected 1, 2 or 3: what PyTorch does within is not counted")
    given.level = int(given.level)
    names = [name.strip() for name in given.only.split(",")] if given.only else public_names(ROOT, package)
    for name in names:
        known_name(ROOT, package, name)
    return given, package, names


def failing(package: str, names: list[str], tests: list[str], only: str | None) -> str:
    """What still fails, in a line; "" where nothing does."""
    topic = int(package[1:3])
    with tempfile.TemporaryDirectory(prefix="book-compare-") as folder:
        path = Path(folder) / "chosen.json"
        Chosen(names, [n for n in public_names(ROOT, package) if n not in names], tests).write(path)
        with contextlib.redirect_stdout(io.StringIO()):
            found = parent.run([f"tangled/{package}", "--impl", "workspace", "--alone", str(path)], ROOT, True)
    if not found.status:
        return ""
    bad = [r["name"] for r in found.records if r["outcome"] == "failed"]
    first = f" ({', '.join(bad[:2])}{', ...' * (len(bad) > 2)})" if bad else ""
    return (f"{len(bad) or 'not all'} of {len(tests)} tests still fail{first}; make test TOPIC={topic} "
            f"{f'ONLY={only} ' if only else ''}IMPL=workspace shows them, REVEAL=1 compares all the same")


def measured(package: str, names: list[str], tests: list[str], which: list[str]) -> dict:
    """name -> what its largest call cost, of the reader's file or of a level."""
    with tempfile.TemporaryDirectory(prefix="book-compare-") as folder:
        to, of = Path(folder) / "costs.json", Path(folder) / "of.json"
        of.write_text(json.dumps({"names": names, "tests": tests}), encoding="utf-8")
        with contextlib.redirect_stdout(io.StringIO()):
            parent.run([f"tangled/{package}", "-p", "scripts.desk.costing", "--costs-to", str(to),
                        "--costs-of", str(of), *which], ROOT, graded=True)
        with contextlib.suppress(OSError, ValueError):
            return json.loads(to.read_text(encoding="utf-8"))
    return {}


def pair(name: str, mine: Span | None, theirs: Span | None, level: int, shown: str, path: str) -> list[str]:
    """Both texts: side by side where the terminal is wide enough, else one after the other."""
    left = [f"{shown}:{mine.first}", "", *text(mine)] if mine else [f"{shown} has no {name}"]
    right = [f"level {level}, {path}:{theirs.first}", "", *text(theirs)] if theirs else [
        f"level {level} has no {name} of its own (it takes level 2's)"]
    width = max(map(len, left))
    head = f"-- {name} " + "-" * max(0, 60 - len(name))
    if width + 3 + max(map(len, right)) > shutil.get_terminal_size((100, 40)).columns:
        return [head, *left, "", *right, ""]
    rows = max(len(left), len(right))
    left, right = left + [""] * (rows - len(left)), right + [""] * (rows - len(right))
    return [head, *(f"{a:{width}} | {b}".rstrip() for a, b in zip(left, right)), ""]


def text(span: Span) -> list[str]:
    """The lines of a definition without its own docstring, which both have from the stub."""
    lines, node = span.text.expandtabs().splitlines(), span.node
    first = node.body[0]
    if ast.get_docstring(node, clean=False) is not None and len(node.body) > 1 and first.lineno > node.lineno:
        end = first.end_lineno - span.top + 1
        while end < len(lines) and not lines[end].strip():
            end += 1
        del lines[first.lineno - span.top:end]
    return lines


def table(name: str, mine: dict, theirs: dict, level: int) -> list[str]:
    """What the largest call cost, of the function or of each method of a class, the differing ones."""
    lines = []
    for key in [k for k in mine if k == name or k.startswith(name + ".")]:
        a, b = mine[key], theirs.get(key)
        if b is None or a["on"] != b["on"]:
            continue
        rows = [["", *FORMAT.values()], ["yours", *cells(a)], [f"level {level}", *cells(b)]]
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines += [f"{key} on {a['on']}  ({a['test']})"]
        lines += ["  " + "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:]))])
                  for row in rows]
    return lines or [f"no test calls {name} in both in the same way: nothing measured"]


def cells(entry: dict) -> list[str]:
    """Peak, arrays made, passes, entries as text; a dash where a call could not be counted."""
    from tangled.measuring import BYTES, scaled
    return [scaled(entry["peak"], BYTES), *(f"{entry[k]:,}" if k in entry else "-" for k in list(FORMAT)[1:])]
