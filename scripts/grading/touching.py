"""Which tests touch which function: `tests_touching(root, package, ["rope"])` -> the ids of a learner's tests.

A test touches a public function or class of its topic when it calls it, itself or through a helper, rather than
through another of them. That is seen, not guessed: level 2 is tested once with `tracing.py` looking on, and what it
saw is kept in build/touching/, together with a hash of the topic as it was.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

from scripts.errors import Problem
from scripts.reading.front import near
from scripts.reading.syntax import parse

SECONDS = 900                                       # for a topic's tests on level 2, and then something is wrong


def tests_touching(root: Path, package: str, names: list[str]) -> list[str]:
    """The ids of the tests of a learner's file that touch one of these functions or classes, in their order.

    For a name that no test calls itself they are the tests in which others call it.
    """
    for name in names:
        known_name(root, package, name)
    tests, wanted = touched(root, package), set()
    for name in names:
        by_test, by_others = ({test for test, found in tests.items() if name in found[k]} for k in (0, 1))
        wanted |= by_test or by_others
    return [test for test in tests if test in wanted]


def known_name(root: Path, package: str, name: str, variable: str = "ONLY") -> None:
    """A Problem in one line for what is no public function or class of the topic."""
    there = public_names(root, package)
    if name not in there:
        said = near(name, there) or f"; expected one of {', '.join(there)}"
        raise Problem("", 0, f"{variable}={name!r} is no public function or class of topic {int(package[1:3])}{said}")


def public_names(root: Path, package: str) -> list[str]:
    """The public functions and classes of a topic, in the order of the stub."""
    return list(dict.fromkeys(name for stem in exported(root, package) for name in definitions(root, package, stem)))


def definitions(root: Path, package: str, stem: str) -> list[str]:
    """The public functions and classes that one module defines."""
    path = root / "tangled" / package / f"{stem}.py"
    try:
        return [node.name for node in public_definitions(path.read_text(encoding="utf-8"))]
    except FileNotFoundError:
        raise Problem(f"tangled/{package}/{stem}.py", 0, "is not there; run make tangle") from None


def public_definitions(text: str) -> list[ast.FunctionDef | ast.ClassDef]:
    """The public functions and classes at the top of a module's text."""
    kinds = ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef
    return [node for node in parse(text).body if isinstance(node, kinds) and not node.name.startswith("_")]


def exported(root: Path, package: str) -> list[str]:
    """The modules of which the stub is made: `exports:` in the front matter."""
    from scripts.reading.chapters import read_book
    return next((c.exports for c in read_book(root, only=[]).chapters if c.package == package), ["level2_vectorized"])


def touched(root: Path, package: str) -> dict[str, list[list[str]]]:
    """The id of each test of a learner's file -> [the names it calls, those called through them].

    Traced where the topic has changed since the last time.
    """
    root = Path(root)
    path, state = root / "build" / "touching" / f"{package}.json", fingerprint(root, package)
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept["state"] == state:
            return kept["tests"]
    found = traced(root, package)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_text(json.dumps({"state": state, "tests": found}, indent=0), encoding="utf-8")
    os.replace(part, path)
    return found


def fingerprint(root: Path, package: str) -> str:
    """A hash of a topic's code and tests, and of what traces them."""
    digest = hashlib.sha256(Path(__file__).with_name("tracing.py").read_bytes())
    for path in sorted((root / "tangled" / package).rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def traced(root: Path, package: str) -> dict[str, list[list[str]]]:
    """Test level 2 with the tracer looking on."""
    print(f"Looking which test of topic {int(package[1:3])} touches what (once; kept in build/touching/) ...",
          file=sys.stderr, flush=True)
    out = root / "build" / "touching" / f"{package}.{os.getpid()}.trace"
    out.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pytest", "-p", "scripts.grading.tracing", "--trace-to", str(out),
               "--traced", ",".join(exported(root, package)), "--level", "2", "-p", "no:cacheprovider",
               f"tangled/{package}"]
    try:
        done = subprocess.run(command, cwd=root, capture_output=True, timeout=SECONDS, stdin=subprocess.DEVNULL)
        found = json.loads(out.read_text(encoding="utf-8")) if out.is_file() else {}
    except subprocess.TimeoutExpired:
        raise Problem("", 0, f"the tests of tangled/{package} did not end within {SECONDS} s") from None
    finally:
        out.unlink(missing_ok=True)
    if not found or done.returncode not in (0, 1):
        raise Problem("", 0, f"the tests of tangled/{package} could not be run on level 2; see: "
                      f"make test TOPIC={int(package[1:3])} LEVEL=2")
    return found
