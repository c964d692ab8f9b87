"""Gates that run the chapters' tests: on every level, on the stub, on every pitfall."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from scripts.gates.structure import place, topics
from scripts.tangling.pitfalls import build, stem

LIMIT = 900  # seconds for the tests of one topic


def outcomes(package: str, *options: str, cwd: str | Path = ".") -> tuple[dict[str, str], str]:
    """Runs a topic's tests; {test: "passed" | "failed" | "skipped"} and the end of what pytest printed."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        command = [sys.executable, "-m", "pytest", f"tangled/{package}", "-q", "--tb=line",
                   "-p", "no:cacheprovider", f"--junitxml={report}", *options]
        environment = {**os.environ, "PYTHONPATH": str(cwd), "OPENBLAS_NUM_THREADS": "1",
                       "PYTHONDONTWRITEBYTECODE": "1"}
        run = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True,
                             timeout=LIMIT, stdin=subprocess.DEVNULL)
        tail = " ".join((run.stdout + run.stderr).strip().split("\n")[-3:])
        return (read_report(report) if report.exists() else {}), tail


def read_report(path: Path) -> dict[str, str]:
    """The outcomes in a JUnit report."""
    found = {}
    for case in ElementTree.parse(path).iter("testcase"):
        kinds = {child.tag for child in case}
        state = "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
        found[f"{case.get('classname', '').rpartition('.')[2]}.py::{case.get('name')}"] = state
    return found


def each(function, items) -> list[str]:
    """Two at a time: the tests use one thread each."""
    with ThreadPoolExecutor(2) as pool:
        return [line for lines in pool.map(function, items) for line in lines]


def test_place(chapter, test: str) -> str:
    """The chapter line of `test_basic.py::test_x[level2]`."""
    file, _, name = test.partition("::")
    path = Path("tangled", chapter.package, "tests", file)
    wanted = f"def {name.partition('[')[0]}("
    if path.exists():
        for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
            if line.startswith(wanted):
                return place(path.as_posix(), number)
    return f"{chapter.path}:1"


def levels(book) -> list[str]:
    """The tests pass on every level, in a tree in which later topics do not exist."""
    return each(levels_of, topics(book))


def levels_of(chapter) -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        isolated_tree(Path(folder), chapter.topic)
        found, tail = outcomes(chapter.package, cwd=folder)
    if "passed" not in found.values():
        return [f"{chapter.path}:1: no test passed: {tail}"]
    bad = [f"{test_place(chapter, test)}: {test} failed with only topics up to {chapter.topic}"
           for test, state in found.items() if state == "failed"]
    return bad + [f"{chapter.path}:1: no test ran on level {number}" for number in (1, 2, 3, 4)
                  if not any(re.search(rf"[\[-]level{number}[\]-]", test) for test in found)]


def isolated_tree(root: Path, topic: int) -> None:
    """A copy of what a topic's tests need, without the packages of later topics."""
    def later(folder, names):
        return [name for name in names if name == "__pycache__" or topic < topic_of(name)]

    def topic_of(name):
        return int(name[1:3]) if name[:1] == "t" and name[1:3].isdigit() else -1
    shutil.copytree("tangled", root / "tangled", ignore=later)
    shutil.copy("pyproject.toml", root)
    for name in ("scripts", "chapters", "golden", "data", "_quarto.yml", "index.qmd"):
        (root / name).symlink_to(Path(name).resolve())


def stubs(book) -> list[str]:
    """No test may pass on a learner's untouched file."""
    return each(lambda chapter: stub_of(book, chapter), topics(book))


def stub_of(book, chapter) -> list[str]:
    from scripts.learn import stub_text
    with tempfile.TemporaryDirectory() as folder:
        stub = Path(folder, f"{chapter.package}.py")
        stub.write_text(stub_text(book, chapter), encoding="utf-8")
        if why := unusable(stub, chapter):
            return [f"{chapter.path}:1: the stub cannot be loaded: {why}"]
        found, tail = outcomes(chapter.package, "--impl", str(stub))
    if "failed" not in found.values():
        return [f"{chapter.path}:1: no test ran on the stub: {tail}"]
    return [f"{test_place(chapter, test)}: {test} passes on the stub" for test, state in found.items()
            if state == "passed"]


def unusable(file: Path, chapter) -> str:
    """Why the tests could not import a file at all (then each would fail, and prove nothing), or ""."""
    code = ("import sys; from pathlib import Path; from scripts.grading.levels import load_file; "
            "load_file(Path(sys.argv[1]), sys.argv[2])")
    run = subprocess.run([sys.executable, "-c", code, str(file), chapter.package], capture_output=True, text=True)
    return run.stderr.strip().split("\n")[-1] if run.returncode else ""


def pitfalls(book) -> list[str]:
    """Each pitfall fails a test; `caught` says which."""
    jobs = [(chapter, name) for chapter in topics(book)
            for name in dict.fromkeys(chunk.pitfall for chunk in chapter.chunks if chunk.pitfall)]
    return each(lambda job: pitfall_of(*job), jobs)


def pitfall_of(chapter, name: str) -> list[str]:
    file = build(Path("."), chapter.package)[stem(name)].path
    line = next(chunk.line for chunk in chapter.chunks if chunk.pitfall == name)
    if why := unusable(file, chapter):
        return [f"{chapter.path}:{line}: pitfall {name!r} cannot be loaded: {why}"]
    found, tail = outcomes(chapter.package, "--impl", str(file))
    if not found:
        return [f"{chapter.path}:{line}: no test ran on pitfall {name!r}: {tail}"]
    caught = [test for test, state in found.items() if state == "failed"]
    if not caught:
        return [f"{chapter.path}:{line}: no test catches pitfall {name!r}"]
    names = dict.fromkeys(test.partition("::")[2].partition("[")[0] for test in caught)
    if not any(test in chapter.text[after(chapter, line):] for test in names):
        return [f"{chapter.path}:{line}: the prose names none of the tests that catch {name!r}: {', '.join(names)}"]
    return []


def after(chapter, line: int) -> int:
    """Where the section of a pitfall begins, as an index into the chapter's text."""
    lines = chapter.text.split("\n")
    start = max((n for n in range(line) if lines[n].startswith("## ")), default=0)
    return len("\n".join(lines[:start]))
