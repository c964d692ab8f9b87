"""What a learner may be told about the solution: signatures, how many values come back, which check is given."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CALLED_WRONGLY = re.compile(r"(?:(\w+)\.)?(\w+)\(\) (?:got an unexpected|got some positional|missing \d|takes )")
ACCEPTED = re.compile(r"(\w+) accepted a bad '(\w+)'")


def advice(error: BaseException, item, package: str, path: str) -> list[str]:
    """Lines about a failure of the learner's file that the stub, or what is given with it, explains."""
    try:
        own, theirs = definitions(path), solution(package)
        return [*signature_line(error, own, theirs), *check_line(str(error), own, theirs, package),
                *pair_line(item, own, theirs)][:1]
    except (OSError, SyntaxError, ValueError):
        return []


def definitions(path: str | Path) -> dict[str, ast.FunctionDef]:
    """The functions of a file by name, methods as "Class.method"."""
    found = {}
    for node in ast.parse(Path(path).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef):
            found[node.name] = node
        elif isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{m.name}": m for m in node.body if isinstance(m, ast.FunctionDef)}
    return found


@functools.lru_cache(8)
def solution(package: str) -> dict[str, ast.FunctionDef]:
    """The functions of level 2 and of the exercises."""
    found = {}
    for stem in ("level2_vectorized", "exercises"):
        path = ROOT / "tangled" / package / f"{stem}.py"
        found |= definitions(path) if path.is_file() else {}
    return found


def signature_line(error: BaseException, own: dict, theirs: dict) -> list[str]:
    """A call that the learner's signature does not take: what the stub's is."""
    match = CALLED_WRONGLY.match(str(error)) if isinstance(error, TypeError) else None
    if not match:
        return []
    name = f"{match[1]}.{match[2]}" if match[1] else match[2]
    mine, right = (ast.unparse(d[name].args) if name in d else None for d in (own, theirs))
    if right is None or mine is None or mine == right:
        return []
    return [f"the stub has {name}({right}); yours has {name}({mine}): names and order are part of the task"]


def check_line(text: str, own: dict, theirs: dict, package: str) -> list[str]:
    """A refusal that is missing although checks.py has it."""
    match = ACCEPTED.match(text)
    if not match or match[1] not in theirs:
        return []
    calls = [node for node in ast.walk(theirs[match[1]]) if isinstance(node, ast.Call)
             and isinstance(node.func, ast.Attribute) and getattr(node.func.value, "id", "") in ("check", "checks")]
    if not calls:
        return []
    call = ast.unparse(calls[0])
    if match[1] in own and call in ast.unparse(own[match[1]]):
        return []
    return [f"tangled/{package}/checks.py has this refusal ready, and the stub imports it: {call}"]


def pair_line(item, own: dict, theirs: dict) -> list[str]:
    """`return out` where (out, cache) is wanted."""
    for name in names_of(getattr(item, "function", None)):
        if name in own and name in theirs:
            wanted, given = values_returned(theirs[name]), values_returned(own[name])
            if wanted and given == [None] * len(given) and given and None not in wanted:
                shown = ast.unparse(next(n for n in ast.walk(own[name]) if isinstance(n, ast.Return)))
                return [f"{name} gives back one value ({shown!r}); {wanted[0]} are expected: "
                        f"{returned_text(theirs[name])}"]
    return []


def values_returned(function) -> list[int | None]:
    """For each `return` of a function: how many values its tuple has; None for a plain expression, -1 for a call."""
    counts = []
    for node in ast.walk(function):
        if isinstance(node, ast.Return) and node.value is not None:
            value = node.value
            counts.append(len(value.elts) if isinstance(value, ast.Tuple) else
                          -1 if isinstance(value, (ast.Call, ast.IfExp)) else None)
    return counts


def returned_text(function) -> str:
    """`(out, cache)`: the solution's names would give it away, so all but the first is the cache."""
    number = next(n for n in values_returned(function) if n)
    return "(out, cache)" if number == 2 and not function.name.endswith("_backward") else f"a tuple of {number}"


def names_of(function) -> list[str]:
    """The names that a test's code refers to, those of functions within it too."""
    found, todo = [], [getattr(function, "__code__", None)]
    while todo:
        code = todo.pop()
        if code is not None:
            found += code.co_names
            todo += [c for c in code.co_consts if hasattr(c, "co_names")]
    return found
