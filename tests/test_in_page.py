"""Exercises in the page: what is carried grades as the terminal does; the door, the Python, the gate's verdict."""

import io
import json
import re
import subprocess
import sys
import tarfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from scripts.gates import browser
from scripts.grading import guard
from scripts.grading.carried import carried, packages
from scripts.tangling import pitfalls
from scripts.typeset import exercising, page_python

ROOT = Path(__file__).resolve().parents[1]
CHAPTER, PACKAGE = "chapters/00-prerequisites.qmd", "t00_prerequisites"


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    """The archive of topic 0, unpacked where nothing else of the book is, and its facts."""
    archive, facts = carried(ROOT, CHAPTER)
    folder = tmp_path_factory.mktemp("page")
    with tarfile.open(fileobj=io.BytesIO(archive)) as file:
        file.extractall(folder)
    return folder, facts


def graded(folder: Path, text: str) -> dict:
    """What the page is told of a text, by this Python in place of the page's."""
    code = ("import json, sys\nfrom scripts.grading import in_page\nheard = []\n"
            "found = in_page.run(sys.stdin.read(), heard.append)\nprint(json.dumps(found | {'heard': heard}))")
    done = subprocess.run([sys.executable, "-c", code], input=text, cwd=folder, capture_output=True, text=True,
                          timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.strip().split("\n")[-1])


def test_the_solution_passes_where_only_the_archive_is(unpacked):
    folder, _ = unpacked
    assert not (folder / "chapters").exists()
    found = graded(folder, (ROOT / "tangled" / PACKAGE / "level2_vectorized.py").read_text())
    assert found["status"] == 0 and found["failed"] == 0 and found["passed"] > 20, found["report"]
    assert {r["why"] for r in found["records"] if r["outcome"] == "skipped"} == {
        "measures time or memory, which a page cannot"}
    assert any("collected" in what for what in found["heard"]) and found["heard"][-1]["end"] == 0


def test_a_pitfall_is_named_with_its_line_in_the_chapter(unpacked):
    folder, facts = unpacked
    wrong = next(iter(pitfalls.build(ROOT, PACKAGE).values()))
    found = graded(folder, wrong.path.read_text())
    report = "\n".join(found["report"])
    assert found["status"] and f'equals pitfall {wrong.number} "{wrong.name}"' in " ".join(report.split()), report
    line = int(wrong.place.partition(":")[2])
    assert any(first <= line <= last for first, last, _ in facts["chunks"])
    assert f"test {CHAPTER}:" in report


def test_the_stub_and_a_file_that_does_not_parse_are_failures(unpacked):
    folder, facts = unpacked
    assert "not written yet" in "\n".join(graded(folder, facts["stub"])["report"])
    found = graded(folder, "def f(:\n")
    assert found["status"] and f"workspace/{PACKAGE}.py:1" in "\n".join(found["report"])


def test_a_run_that_the_page_ended_is_told_as_the_terminal_tells_it(unpacked):
    folder, _ = unpacked
    entries = [{"collected": ["a", "b"]}, {"start": f"tangled/{PACKAGE}/tests/test_basic.py::test_x[workspace]",
                                            "limit": 10.0, "time": 0.0}]
    code = ("import json, sys\nfrom scripts.grading import in_page\n"
            "print(json.dumps(in_page.unfinished(json.load(sys.stdin))))")
    done = subprocess.run([sys.executable, "-c", code], input=json.dumps(entries), cwd=folder, capture_output=True,
                          text=True, timeout=120)
    found = json.loads(done.stdout)
    assert found["status"] == 1 and "took longer than its time limit (10 s)" in " ".join(found["report"])


def test_a_file_of_tests_that_cannot_be_imported_is_left_out_by_name(unpacked):
    folder, _ = unpacked
    other = folder / "tangled" / PACKAGE / "tests" / "test_other.py"
    other.write_text("import no_such_module_at_all\n")
    try:
        found = graded(folder, (ROOT / "tangled" / PACKAGE / "level2_vectorized.py").read_text())
    finally:
        other.unlink()
    assert found["status"] == 0 and found["absent"] == ["test_other.py"]
    assert "left out in a page: test_other.py (ModuleNotFoundError" in found["report"][-1]


def test_packages_are_followed_through_imports():
    found = packages(ROOT, "t06_backpropagation")
    assert {"t06_backpropagation", "t05_mlp_forward"} <= found
    assert all(int(name[1:3]) <= 6 for name in found)


# -- the door

def book(root: Path, topic: int | None = 0):
    chapter = SimpleNamespace(meta={} if topic is None else {"topic": topic}, path=CHAPTER,
                              page="chapters/00-prerequisites.html")
    return SimpleNamespace(project=SimpleNamespace(sources=root), written=[chapter]), chapter


def made(root: Path) -> None:
    """A Python for pages as small as can be."""
    folder = root / page_python.FOLDER
    folder.mkdir(parents=True)
    for name in page_python.PARTS:
        (folder / f"{name}.gz").write_bytes(b"\x1f\x8b" + name.encode())
    (folder / "stamp").write_text(page_python.recipe())


def test_door_without_a_python_says_so_and_loads_nothing(tmp_path):
    (tmp_path / "tangled" / PACKAGE / "tests").mkdir(parents=True)
    (tmp_path / "tangled" / PACKAGE / "tests" / "test_basic.py").write_text("")
    text = exercising.door(*book(tmp_path))
    assert "make start TOPIC=0" in text and "without the Python" in text and "script" not in text
    exercising.write(book(tmp_path)[0], tmp_path / "_book")
    assert not (tmp_path / "_book").exists()
    assert exercising.door(*book(tmp_path, None)) == ""


def test_door_and_what_is_behind_it(tmp_path, monkeypatch):
    (tmp_path / "tangled" / PACKAGE / "tests").mkdir(parents=True)
    (tmp_path / "tangled" / PACKAGE / "tests" / "test_basic.py").write_text("")
    made(tmp_path)
    monkeypatch.setattr(exercising, "topic_script", lambda book, chapter: "bookExercise.topic({});\n")
    text = exercising.door(*book(tmp_path))
    assert text.count("<script") == 1 and 'src="../assets/exercise/door.js"' in text and PACKAGE in text
    exercising.write(book(tmp_path)[0], tmp_path / "_book")
    there = {path.name for path in (tmp_path / "_book" / exercising.FOLDER).iterdir()}
    assert there == {"door.js", "exercise.js", "exercise.css", "worker.js", "codemirror.js", "python.js",
                     f"{PACKAGE}.js", *(f"{name}.gz" for name in page_python.PARTS)}


def test_scripts_parse():
    racer = pytest.importorskip("py_mini_racer")
    for path in sorted((ROOT / "scripts" / "typeset" / "exercise").glob("*.js")):
        text = path.read_text(encoding="utf-8")
        racer.MiniRacer().eval(f"new Function({json.dumps(text)}); 1")


def test_codemirror_is_small_enough_to_be_kept():
    assert (exercising.CODEMIRROR / "codemirror.js").stat().st_size < 500_000


# -- the Python

def test_without_npm_it_is_unavailable_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(page_python.shutil, "which", lambda name: None)
    with pytest.raises(page_python.Unavailable, match="npm is not installed") as caught:
        page_python.make(tmp_path)
    assert "\n" not in str(caught.value) and page_python.parts(tmp_path) == []


def test_modules_are_compiled_where_this_python_makes_the_right_bytecode(monkeypatch):
    monkeypatch.setattr(page_python, "MAGIC", page_python.importlib.util.MAGIC_NUMBER)
    name, data = page_python.compiled("a/b.py", b"x = 1\n", "/a/b.py")
    assert name == "a/b.pyc" and data[:4] == page_python.MAGIC
    assert page_python.compiled("a/b.py", b"x = (\n", "/a/b.py") == ("a/b.py", b"x = (\n")
    monkeypatch.setattr(page_python, "MAGIC", b"none")
    assert page_python.compiled("a/b.py", b"x = 1\n", "/a/b.py") == ("a/b.py", b"x = 1\n")


def test_pygments_comes_without_its_lexers():
    assert page_python.is_wanted("pygments/token.py") and page_python.is_wanted("pygments/lexers/python.py")
    assert not page_python.is_wanted("pygments/lexers/haskell.py")


# -- the harness, where a page has no PyTorch either

def test_a_test_may_ask_for_torch_and_a_learner_may_not_skip():
    def said(call):
        try:
            call()
        except BaseException as error:
            return guard.leaving(error)
    asked = {name for path in ROOT.glob("tangled/*/tests/*.py")
             for name in re.findall(r'importorskip\("([\w.]+)"', path.read_text(encoding="utf-8"))}
    assert {"torch", "sacrebleu.metrics"} <= asked
    for name in asked:
        assert said(lambda name=name: pytest.skip(f"could not import '{name}': no")) == "", name
    assert said(lambda: pytest.skip("could not import 'numpy': no")) == "pytest.skip()"
    assert said(lambda: pytest.skip("enough")) == "pytest.skip()"


# -- the gate

def record(name="test_a", outcome="passed", why="", numbers=()):
    return {"name": name, "outcome": outcome, "why": why, "pitfalls": [{"number": n} for n in numbers]}


def told(name, status, records):
    return {"name": name, "seconds": 1.0, "report": {
        "status": status, "report": ["said"], "passed": 1, "failed": sum(r["outcome"] == "failed" for r in records),
        "records": records, "named": [p["number"] for r in records for p in r["pitfalls"]]}}


@pytest.mark.parametrize("what, offence", [
    (told("", 0, [record()]), None),
    (told("", 1, [record(outcome="failed")]), "level 2 fails: said"),
    (told("", 0, [record("test_q", "skipped", browser.NARROW)]), "test_q is left out"),
    (told("0.1", 1, [record(outcome="failed", numbers=["0.1"])]), None),
    (told("0.1", 1, [record(outcome="failed", numbers=["0.2"])]), "pitfall 0.1 has no name: 1 tests fail"),
    (told("0.1", 0, [record(outcome="skipped", why="starts threads")]), "pitfall 0.1 has no name: 0 tests fail"),
    ({"name": "0.1", "error": "gone"}, "pitfall 0.1: gone"),
])
def test_verdict_of_the_gate(what, offence):
    chapter = SimpleNamespace(path=CHAPTER, package=PACKAGE)
    found = browser.judged(chapter, "Chromium", [what])
    assert (found == []) if offence is None else (len(found) == 1 and offence in found[0])


def test_gate_says_when_there_is_no_browser(monkeypatch, capsys):
    monkeypatch.setattr(browser, "found", lambda names: None)
    assert browser.exercises(SimpleNamespace(root=ROOT, selected=[])) == []
    assert "neither Chromium nor Firefox" in capsys.readouterr().out
