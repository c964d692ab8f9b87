"""Gates that run the chapters' tests: on every level, on the stub, on every pitfall."""

from __future__ import annotations

import builtins
import dis
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from scripts.gates import passed
from scripts.gates.structure import place, topics
from scripts.gates.trial import LEAN
from scripts.learn import has_exercises, stub_text
from scripts.tangling.pitfalls import build

LIMIT = 900  # seconds for the tests of one topic


def outcomes(package: str, *options: str, cwd: str | Path = ".") -> tuple[dict[str, str], str]:
    """Runs a topic's tests; {test: "passed" | "failed" | "skipped"} and the end of what pytest printed."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        command = [sys.executable, "-m", "pytest", f"tangled/{package}", "-q", "--tb=line",
                   *LEAN, f"--junitxml={report}", *options]
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


def each(gate: str, function, chapters) -> list[str]:
    """Two chapters at a time (the tests use one thread each); not those that passed as they are."""
    tools = passed.tools()

    def run(chapter) -> list[str]:
        key = passed.topic_key(chapter, tools)
        if passed.before(gate, chapter.package, key):
            return []
        found = function(chapter)
        if not found:
            passed.remember(gate, chapter.package, key)
        return found
    with ThreadPoolExecutor(2) as pool:
        return [line for lines in pool.map(run, chapters) for line in lines]


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
    return each("levels", levels_of, topics(book))


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
    return each("stubs", lambda chapter: stub_of(book, chapter), topics(book))


def stub_of(book, chapter) -> list[str]:
    return stub_tests(book, chapter) + (stub_tests(book, chapter, True) if has_exercises(chapter) else [])


def stub_tests(book, chapter, exercises: bool = False) -> list[str]:
    """The tests that pass on the stub of a topic, or on that of its exercises."""
    options, word = (["--exercises"], "stub of the exercises") if exercises else ([], "stub")
    with tempfile.TemporaryDirectory() as folder:
        stub = Path(folder, f"{chapter.package}.py")
        stub.write_text(stub_text(book, chapter, exercises), encoding="utf-8")
        if why := unusable(stub, chapter, exercises):
            return [f"{chapter.path}:1: the {word} cannot be loaded: {why}"]
        found, tail = outcomes(chapter.package, "--impl", str(stub), *options)
    if "failed" not in found.values():
        return [f"{chapter.path}:1: no test ran on the {word}: {tail}"]
    return [f"{test_place(chapter, test)}: {test} passes on the {word}" for test, state in found.items()
            if state == "passed"]


def unusable(file: Path, chapter, exercises: bool = False) -> str:
    """Why the tests could not import a file at all (then each would fail, and prove nothing), or ""."""
    code = ("import sys; from pathlib import Path; from scripts.grading.levels import load_file; "
            "load_file(Path(sys.argv[1]), sys.argv[2], exercises=bool(sys.argv[3]))")
    run = subprocess.run([sys.executable, "-c", code, str(file), chapter.package, "yes" * exercises],
                         capture_output=True, text=True)
    return run.stderr.strip().split("\n")[-1] if run.returncode else ""


def pitfalls(book) -> list[str]:
    """Each pitfall fails a test that its `caught=` names."""
    return each("pitfalls", pitfalls_of, topics(book))


def pitfalls_of(chapter) -> list[str]:
    """One process for a chapter's pitfalls; each runs the tests that it names, up to the first failure."""
    built = build(Path("."), chapter.package)
    where = tests_of(chapter.package)
    jobs = [{"name": p.stem, "package": chapter.package, "file": str(p.path),
             "tests": [where[name] for name in p.caught], "first": True} for p in built.values() if p.caught]
    bad = [f"{p.place}: pitfall {p.name!r} says of no test that it catches it; expected caught=\"test_…\""
           for p in built.values() if not p.caught]
    bad += [f"{p.place}: pitfall {p.name!r} fails by a name that nobody defines: {', '.join(names)}"
            for p in built.values() if (names := unknown_names(p.path))]
    answers = trials(jobs)
    for pitfall in (built[job["name"]] for job in jobs):
        bad += [f"{pitfall.place}: {why}" for why in judge_pitfall(pitfall, answers.get(pitfall.stem))]
    return bad


def unknown_names(path: Path) -> list[str]:
    """Names that a file looks up and neither it nor Python defines; code that cannot be reached does not count."""
    codes = [compile(path.read_text(encoding="utf-8"), str(path), "exec")]
    used, known = set(), {*dir(builtins), "__annotations__", "__file__", "__module__", "__qualname__"}
    for code in codes:                                          # grows by the code within
        codes += [inner for inner in code.co_consts if hasattr(inner, "co_code")]
        for step in dis.get_instructions(code):
            if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
                used.add(step.argval)
            elif step.opname in ("STORE_GLOBAL", "STORE_NAME"):
                known.add(step.argval)
    return sorted(used - known)


def judge_pitfall(pitfall, answer: dict | None):
    """What is wrong with one pitfall, given what became of its tests."""
    if answer is None:
        yield f"pitfall {pitfall.name!r} ends the process, or takes longer than {LIMIT} s"
    elif answer["unusable"]:
        yield f"pitfall {pitfall.name!r} cannot be loaded: {answer['unusable']}"
    elif not answer["outcomes"]:
        yield f"no test ran on pitfall {pitfall.name!r}: {answer['tail']}"
    elif "failed" not in answer["outcomes"].values():
        yield f"no test catches pitfall {pitfall.name!r}: it passes {' and '.join(pitfall.caught)}, which it names"


def tests_of(package: str) -> dict[str, str]:
    """{test's name: its id for pytest} of a package."""
    return {name: f"{path.as_posix()}::{name}"
            for path in sorted(Path("tangled", package, "tests").glob("test_*.py"))
            for name in re.findall(r"^def (test_\w+)\(", path.read_text(encoding="utf-8"), re.M)}


def trials(jobs: list[dict]) -> dict[str, dict]:
    """What `trial.py` answered for each job; a job that ended its process has no answer, those after it do."""
    answers: dict[str, dict] = {}
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    while jobs:
        said = finished([sys.executable, "-m", "scripts.gates.trial"], json.dumps(jobs), environment)
        found = [json.loads(line) for line in said.split("\n") if line.endswith("}")]
        answers |= {answer["name"]: answer for answer in found}
        jobs = jobs[len(found) + 1:]
    return answers


def finished(command: list[str], given: str, environment: dict) -> str:
    """What a command wrote until it ended, or was ended."""
    try:
        return subprocess.run(command, input=given, env=environment, capture_output=True, text=True,
                              timeout=LIMIT).stdout
    except subprocess.TimeoutExpired as late:
        return (late.stdout or b"").decode()
