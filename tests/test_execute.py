"""Cells: what runs when, what is kept, how a failure is told."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from small_book import chapter, edit, make, tangled

from scripts.errors import Problems
from scripts.execute import KEEP, execute, kept, prune, spent, units
from scripts.reading.chapters import read_book
from scripts.weaving import kernel
from scripts.weaving.execution_key import closure, key

ROOT = Path(__file__).resolve().parent.parent


def kernels() -> list[psutil.Process]:
    """The kernels below this process; one that has ended and is not yet collected is none."""
    return [p for p in psutil.Process().children(recursive=True) if is_kernel(p)]


def is_kernel(process: psutil.Process) -> bool:
    try:
        return any("ipykernel" in part for part in process.cmdline())
    except (psutil.ZombieProcess, psutil.NoSuchProcess):
        return False


def run(root: Path) -> tuple[dict, int]:
    """(outputs, kernels started)."""
    before = kernel.STARTS
    return execute(read_book(root)), kernel.STARTS - before


@pytest.fixture(scope="module")
def book(tmp_path_factory) -> Path:
    root = make(tmp_path_factory.mktemp("book"))
    tangled(root)
    return root


def test_what_runs_when(book):
    outputs, started = run(book)
    assert started == 2, "one kernel for each chapter that has cells"
    assert outputs["index.qmd"] == outputs["chapters/a-tools.qmd"] == []
    stream = outputs["chapters/01-sums.qmd"][0][0]
    assert (stream["name"], stream["text"]) == ("stdout", "total 3.0\n")
    first = {p.name: p.read_bytes() for p in (book / ".cache/execute").iterdir()}

    edit(book / "chapters/01-sums.qmd", "We call", "We often call")
    edit(book / "chapters/01-sums.qmd", '"A line, of course."', '"A line."')
    assert run(book)[1] == 0, "prose and captions run nothing"

    edit(book / "tangled/t02_means/level1_naive.py", "return 1.0", "return 2.0")
    assert run(book)[1] == 1, "code runs the chapter that imports it"
    edit(book / "tangled/t01_sums/level1_naive.py", "s = 0.0", "s = 0.00")
    edit(book / "tangled/t01_sums/level1_naive.py", "eq. 1.1", "eq. 1.2")
    assert run(book)[1] == 0, "a comment, or a number written otherwise, runs nothing"
    edit(book / "tangled/t01_sums/level1_naive.py", "s = 0.00", "s = 0")
    assert run(book)[1] == 2, "and what imports it through another chapter"

    edit(book / "tangled/t01_sums/level1_naive.py", "s = 0", "s = 0.0")
    edit(book / "tangled/t02_means/level1_naive.py", "return 2.0", "return 1.0")
    for path in (book / ".cache/execute").iterdir():
        path.unlink()
    run(book)
    again = {p.name: p.read_bytes() for p in (book / ".cache/execute").iterdir()}
    assert again == first, "the same cells give the same bytes"
    assert kernels() == [], "no kernel is left"


def test_failures_are_told_together(tmp_path):
    """Each kind of failure in a chapter of its own, side by side; those that succeed are kept."""
    bodies = {
        1: "```{python}\n#| label: x\na = 1\n\ndef f():\n    raise KeyError('no\\nsuch')\nf()\n```\n",
        2: "Text `{python} undefined` here.\n",
        3: "```{python}\n#| time-limit: 1\nwhile True: pass\n```\n",
        4: "```{python}\nimport os; os._exit(3)\n```\n",
        5: "```{python}\nprint('fine')\n```\n",
        6: "```{python}\nfrom tangled.t06_x import broken\nbroken()\n```\n"}
    names = {n: f"chapters/{n:02d}-x.qmd" for n in bodies}
    quarto = "project:\n  type: book\nbook:\n  chapters:\n    - index.qmd\n"
    make(tmp_path, quarto=quarto + "".join(f"    - {name}\n" for name in names.values()))
    for n, body in bodies.items():
        (tmp_path / names[n]).write_text(chapter(body, n), encoding="utf-8")
    package = tmp_path / "tangled/t06_x"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").write_text("")
    (package / "__init__.py").write_text("def broken():\n    return 1 / 0\n")
    lines = {n: (tmp_path / name).read_text().split("\n") for n, name in names.items()}
    at = lambda n, text: lines[n].index(text) + 1

    with pytest.raises(Problems) as caught:
        execute(read_book(tmp_path))
    told = caught.value.problems
    assert len(told) == 5
    assert told[0] == f"{names[1]}:{at(1, 'f()') - 1}: cell failed: KeyError: 'no\\nsuch'"
    line = at(2, "Text `{python} undefined` here.")
    assert told[1] == (f"{names[2]}:{line}: `{{python}} undefined` failed: "
                       "NameError: name 'undefined' is not defined")
    assert told[2].startswith(f"{names[3]}:") and "longer than 1 s" in told[2]
    assert told[3].startswith(f"{names[4]}:") and "kernel died" in told[3]
    assert told[4].startswith(f"{names[6]}:{at(6, 'broken()')}: cell failed: ZeroDivisionError: ")
    assert "raised in tangled/t06_x/__init__.py:2" in told[4]
    assert kept(read_book(tmp_path), names[5])[0][0]["text"] == "fine\n"
    assert kernels() == []


def test_no_python_starts_no_kernel(tmp_path):
    make(tmp_path, sums=chapter("```{python}\nx = 1\nif x\n    pass\n```\n\nSee `{python} 1 +`.\n"))
    before = kernel.STARTS
    with pytest.raises(Problems) as caught:
        execute(read_book(tmp_path))
    first, second = caught.value.problems
    assert first.startswith("chapters/01-sums.qmd:14: cell is not Python: ")
    assert second.startswith("chapters/01-sums.qmd:18: cell is not Python: ")
    assert before == kernel.STARTS


def test_an_interrupted_run_leaves_no_kernel(tmp_path):
    make(tmp_path, sums=chapter("```{python}\nimport time; time.sleep(100)\n```\n"))
    program = ("import sys; from scripts.reading.chapters import read_book; from scripts.execute import execute; "
               "execute(read_book(sys.argv[1]))")
    process = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], cwd=ROOT,
                               stderr=subprocess.DEVNULL)
    try:
        end = time.time() + 30
        while not (found := kernels()) and time.time() < end:
            time.sleep(0.1)
        time.sleep(0.5)
        os.kill(process.pid, signal.SIGINT)
        process.wait(20)
    finally:
        process.kill()
    _, alive = psutil.wait_procs(found, timeout=10)
    assert found and not alive


def test_the_order_of_what_is_run(book):
    sums = next(c for c in read_book(book).chapters if c.topic == 1)
    assert [(u.inline, u.source.split("\n")[0]) for u in units(sums)] == [
        (False, "import matplotlib.pyplot as plt"), (True, "total([1.0, 2.0])"), (True, '"two"')]


def test_the_closure_of_imports(tmp_path):
    """Through packages, relative imports and strings; not beyond the book."""
    files = {"__init__.py": "", "a/__init__.py": "from .one import f", "a/one.py": "from tangled.b import g",
             "b/__init__.py": "from .two import g", "b/two.py": "NAME = 'data/numbers.csv'",
             "c/__init__.py": "",
             "c/main.py": "import numpy", "d.py": ""}
    for name, text in files.items():
        path = tmp_path / "tangled" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/numbers.csv").write_text("1")
    found = lambda *sources: {p.relative_to(tmp_path / "tangled").as_posix()
                              for p in closure(list(sources), tmp_path)[0]}
    assert found("import numpy") == set()
    assert found("from tangled.a import f") == {"__init__.py", "a/__init__.py", "a/one.py", "b/__init__.py",
                                                "b/two.py"}
    assert found("from tangled import d") == {"__init__.py", "d.py"}
    assert found("import runpy; runpy.run_module('tangled.c.main')") == {"__init__.py", "c/__init__.py",
                                                                         "c/main.py"}
    assert found("%timeit tangled.d") == {"__init__.py", "d.py"}
    assert closure(["import tangled.b"], tmp_path)[1] == {"data/numbers.csv"}


def test_the_key(tmp_path, monkeypatch):
    """Data and versions count, and source text where it is shown; options of the look don't."""
    make(tmp_path)
    tangled(tmp_path)
    cell = lambda source, **options: [kernel.Unit(source, 1, 2, options)]
    plain = key(cell("from tangled.t01_sums import total"), tmp_path)
    assert key(cell("from tangled.t01_sums import total", echo=False), tmp_path) == plain
    assert key(cell("from tangled.t01_sums import total", error=True), tmp_path) != plain
    shows = cell("import inspect; from tangled.t01_sums import total; inspect.getsource(total)")
    before = key(shows, tmp_path)
    edit(tmp_path / "tangled/t01_sums/level1_naive.py", "eq. 1.1", "eq. 1.3")
    assert key(shows, tmp_path) != before
    assert key(cell("from tangled.t01_sums import total"), tmp_path) == plain
    (tmp_path / "numbers.csv").write_text("1")
    reads = cell("open('numbers.csv')")
    before = key(reads, tmp_path)
    (tmp_path / "numbers.csv").write_text("2, and more")
    assert key(reads, tmp_path) != before
    monkeypatch.setattr("scripts.weaving.execution_key.versions", lambda: {"python": "4.0"})
    assert key(cell("from tangled.t01_sums import total"), tmp_path) != plain


def test_the_key_has_the_records_that_are_read(tmp_path):
    make(tmp_path)
    tangled(tmp_path)
    (tmp_path / "tangled/records.py").write_text("def record(topic):\n    pass\n")
    folder = tmp_path / "golden/records"
    folder.mkdir(parents=True)
    for name in ("t01.json", "t02.json", "t02_weights.npz"):
        (folder / name).write_text("{}")
    files = lambda source: {Path(name).name for name in closure([source], tmp_path)[1]}
    assert files("from tangled.records import record\nrecord(2)") == {"t02.json", "t02_weights.npz"}
    assert files("from tangled.records import record\nrecord(n)") == {"t01.json", "t02.json", "t02_weights.npz"}
    assert files("from tangled.t01_sums import total\nrecord(2)") == set()
    cell = [kernel.Unit("from tangled.records import record\nrecord(2)", 1, 2, {})]
    before = key(cell, tmp_path)
    (folder / "t01.json").write_text("{ }")
    assert key(cell, tmp_path) == before
    (folder / "t02.json").write_text("{ }")
    assert key(cell, tmp_path) != before


def test_what_takes_too_long_is_named():
    """The seconds of a chapter's cells, and over the budget the lines that took them."""
    cells = [kernel.Unit("", line, line, {}) for line in (10, 20, 30)]
    assert spent(kernel.Run([], 9.0, [1.0, 2.0, 0.1]), cells) == "3.1 s"
    assert spent(kernel.Run([], 9.0, [1.0, 7.5, 0.1]), cells) == (
        "8.6 s: over the budget of 8 s a chapter (line 20 7.5 s, line 10 1.0 s)")


def test_a_busy_machine_makes_no_cell_dear(tmp_path):
    """What is counted is the processor's time, a child's too, however long a cell waits."""
    burn = "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass"
    child = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {burn!r}], check=True);"
    cells = [kernel.Unit(source, 1, 2, {}) for source in ("import time\ntime.sleep(0.6)", burn, child, "1 + 1")]
    found = asyncio.run(kernel.run("x.qmd", cells, tmp_path, 60))
    waits, burns, hands_on, adds = found.each
    assert max(waits, adds) < min(burns, hands_on) / 2 and found.seconds > 0.6
    assert [len(outputs) for outputs in found.outputs] == [0, 0, 0, 1]


def test_old_outputs_go(tmp_path):
    make(tmp_path)
    tangled(tmp_path)
    folder = tmp_path / ".cache/execute"
    folder.mkdir(parents=True)
    (folder / "chapters_99-gone@0.json").write_text("[]")
    assert prune(read_book(tmp_path)) == 1
    from scripts.execute import _keep
    for n in range(KEEP + 2):
        _keep(tmp_path, "chapters/01-sums.qmd", f"{n}", [])
        os.utime(folder / f"chapters_01-sums@{n}.json", (n, n))
    _keep(tmp_path, "chapters/01-sums.qmd", "last", [])
    assert sorted(p.name.partition("@")[2] for p in folder.iterdir()) == ["3.json", "4.json", "last.json"]
