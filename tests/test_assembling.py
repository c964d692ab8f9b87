"""`make train IMPL=workspace`: a program on the reader's own chapters."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import train
from scripts.assembling import accepted
from scripts.errors import Problem
from scripts.grading import parent
from scripts.reading.chapters import read_book

HERE = Path(__file__).resolve().parent.parent
BOOK = read_book(HERE, only=[])
PROGRAMS = [(c.package, stem) for c in BOOK.chapters if c.topic is not None for stem in train.programs(c)]
LEVEL2 = "def double(x):\n    return 2 * x\n\n\ndef twice(x):\n    return double(x)\n"


@pytest.fixture
def book(tmp_path, monkeypatch):
    """A book of two topics whose program uses level 3 of the first, and a reader's file for each."""
    (tmp_path / "chapters").mkdir()
    (tmp_path / "workspace").mkdir()
    for topic, name, extra in ((1, "a", ""), (2, "b", "train: [train_b]\n")):
        package = tmp_path / f"tangled/t{topic:02d}_{name}"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text(f"from tangled.t{topic:02d}_{name}.level2_vectorized import *\n")
        (tmp_path / f"chapters/{topic:02d}-{name}.qmd").write_text(
            f"---\ntopic: {topic}\npackage: t{topic:02d}_{name}\n{extra}---\n\n# {name} {{#sec-{name}}}\n")
    (tmp_path / "tangled/__init__.py").touch()
    (tmp_path / "tangled/t01_a/level2_vectorized.py").write_text(LEVEL2)
    (tmp_path / "tangled/t01_a/level3_memory_efficient.py").write_text("def twice(x):\n    return 'level 3'\n")
    (tmp_path / "tangled/t02_b/level2_vectorized.py").write_text("def other(x):\n    return -x\n")
    (tmp_path / "tangled/t02_b/train_b.py").write_text(
        "import sys\nfrom tangled.t01_a.level3_memory_efficient import twice\nfrom tangled.t02_b import other\n"
        "print(twice(3), other(4), sys.argv[1:])    # takes \"--folder\"\n")
    (tmp_path / "_quarto.yml").write_text("book:\n  chapters: [chapters/01-a.qmd, chapters/02-b.qmd]\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path) + ":" + str(HERE))
    return tmp_path


def mine(book, package, text):
    """Write a reader's file."""
    (book / "workspace" / f"{package}.py").write_text(text)


def verdicts(monkeypatch, **given):
    """Let these packages have passed and failed so many tests; the names that were graded."""
    graded = []

    def grade(package, root):
        graded.append(package)
        return given[package]
    monkeypatch.setattr(accepted, "grade", grade)
    return graded


def test_level_2_stands_in_where_there_is_no_file(book, capfd):
    assert train.main(["--topic", "2", "--impl", "workspace", "--", "--folder", "f"], book) == 0
    said = capfd.readouterr().out
    assert "6 -4 ['--folder', 'f']" in said and said.count("level 2") == 2 and "yours" not in said


def test_a_file_that_passes_is_used_in_the_whole_program(book, monkeypatch, capfd):
    mine(book, "t01_a", "def double(x):\n    return 20 * x\n")           # `twice` of level 2 calls it
    verdicts(monkeypatch, t01_a=[5, 0])
    assert train.main(["--topic", "2", "--impl", "workspace"], book) == 0
    said = capfd.readouterr().out
    assert "yours" in said and "5 tests passed" in said and "\n60 -4 ['--folder', 'checkpoints/workspace-" in said


def test_a_file_that_fails_is_not(book, monkeypatch, capfd):
    mine(book, "t01_a", "def double(x):\n    return 20 * x\n")
    mine(book, "t02_b", "def other(x):\n    return 9\n")
    verdicts(monkeypatch, t01_a=[5, 1], t02_b=[2, 0])
    assert train.main(["--topic", "2", "--impl", "workspace"], book) == 0
    said = capfd.readouterr().out
    assert "\n6 9 " in said and "not all tests of workspace/t01_a.py pass: make test TOPIC=1 IMPL=workspace" in said


def test_a_file_is_graded_anew_when_it_changes(book, monkeypatch, capfd):
    mine(book, "t01_a", "def double(x):\n    return 20 * x\n")
    graded = verdicts(monkeypatch, t01_a=[5, 0])
    for text, count in ((None, 1), (None, 1), ("def double(x):\n    return 30 * x\n", 2), (None, 2)):
        if text:
            mine(book, "t01_a", text)
        assert train.main(["--topic", "2", "--impl", "workspace"], book) == 0
        assert len(graded) == count
    (book / accepted.MEMORY).write_text("{")                              # damaged: as if there were none
    assert train.main(["--topic", "2", "--impl", "workspace"], book) == 0
    assert len(graded) == 3 and "\n90 -4 " in capfd.readouterr().out


def test_checkpoints_of_another_version_are_left_alone(book, monkeypatch, capfd):
    folders = set()
    verdicts(monkeypatch, t01_a=[5, 0])
    for factor in (20, 30, 20):
        mine(book, "t01_a", f"def double(x):\n    return {factor} * x\n")
        assert train.main(["--topic", "2", "--impl", "workspace"], book) == 0
        folders.add(capfd.readouterr().out.split("'--folder', ")[1].strip())
    assert len(folders) == 2


@pytest.mark.parametrize("argv, said", [
    (["--impl", "workspace", "--", "--record"], "a record is of the book's own code"),
    (["--impl", "mine"], "IMPL='mine'; expected workspace"), (["--impl"], "IMPL=None; expected workspace")])
def test_what_cannot_be_put_together(book, argv, said):
    with pytest.raises(Problem, match=said):
        train.main(["--topic", "2", *argv], book)


def test_the_grader_decides(monkeypatch):
    """One failure, or none that was counted in a run that went wrong, is a failure."""
    run = parent.Run(0, [{"outcome": "passed"}] * 3)
    monkeypatch.setattr(parent, "run", lambda *_: run)
    assert accepted.grade("t01_a", HERE) == [3, 0]
    run.status = 1
    assert accepted.grade("t01_a", HERE) == [3, 1]


@pytest.mark.parametrize("package, program", PROGRAMS)
def test_every_program_can_be_put_together(package, program):
    """Level 2 has all that a program takes from level 3."""
    files = json.dumps({c.package: "" for c in BOOK.chapters if c.topic is not None})
    done = subprocess.run([sys.executable, "-m", "scripts.assembling.run", f"tangled.{package}.{program}", files,
                           "--help"], cwd=HERE, env=ONE_THREAD, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert ("--folder" in done.stdout) == train.keeps_checkpoints(HERE, f"tangled.{package}.{program}")


ONE_THREAD = os.environ | {f"{library}_NUM_THREADS": "1" for library in ("OPENBLAS", "OMP", "MKL")}


def test_what_level_2_has_not_is_one_line(book, capfd):
    (book / "tangled/t01_a/level3_memory_efficient.py").write_text("def thrice(x):\n    return 3 * x\n")
    (book / "tangled/t02_b/train_b.py").write_text("from tangled.t01_a.level3_memory_efficient import thrice\n")
    assert train.main(["--topic", "2", "--impl", "workspace"], book) == 1
    said = capfd.readouterr().err.strip()
    assert "takes from level 3 what level 2 has not" in said and "thrice" in said and "\n" not in said


def test_a_real_program_on_a_reader_s_optimiser(tmp_path):
    text = (HERE / "tangled/t03_optimizers/level2_vectorized.py").read_text(encoding="utf-8")
    (tmp_path / "t03_optimizers.py").write_text(text + "\nprint('the reader is here')\n")
    files = {c.package: "" for c in BOOK.chapters if c.topic is not None and c.topic <= 10}
    files["t03_optimizers"] = str(tmp_path / "t03_optimizers.py")
    done = subprocess.run([sys.executable, "-m", "scripts.assembling.run", "tangled.t10_mnist.train_mnist",
                           json.dumps(files), "--samples", "100", "--epochs", "1", "--folder", str(tmp_path),
                           "--out", str(tmp_path / "x.png")], cwd=HERE, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0 and "the reader is here" in done.stdout and "100 pictures" in done.stdout, done.stderr


def test_the_mini_gpt_on_a_reader_s_model(tmp_path):
    """Trained in flat vectors, by level 2's class around a module that is the reader's."""
    text = (HERE / "tangled/t30_mini_gpt/level2_vectorized.py").read_text(encoding="utf-8")
    line = '        """ids (B, T), T at most the context, to logits (B, T, V)."""\n'
    assert text.count(line) == 1
    (tmp_path / "t30_mini_gpt.py").write_text(text.replace(line, line + "        print('the reader is here')\n"))
    (tmp_path / "plays.txt").write_text("All:\nSpeak, speak.\n\n" * 60)
    files = {c.package: "" for c in BOOK.chapters if c.topic is not None and c.topic <= 30}
    files["t30_mini_gpt"] = str(tmp_path / "t30_mini_gpt.py")
    options = {"data": tmp_path / "plays.txt", "steps": 3, "width": 8, "heads": 2, "layers": 1, "context": 6,
               "folder": tmp_path, "out": tmp_path / "x.png"}
    done = subprocess.run([sys.executable, "-m", "scripts.assembling.run", "tangled.t30_mini_gpt.train_gpt",
                           json.dumps(files), *(str(word) for k, v in options.items() for word in (f"--{k}", v))],
                          cwd=HERE, env=ONE_THREAD, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0 and "the reader is here" in done.stdout and "3 steps" in done.stdout, done.stderr


def test_a_program_without_checkpoints_is_given_no_folder(book, capfd):
    (book / "tangled/t02_b/train_b.py").write_text("import sys\nprint('given', sys.argv[1:])\n")
    assert train.main(["--topic", "2", "--impl", "workspace"], book) == 0
    assert "given []" in capfd.readouterr().out


def test_an_interrupt_is_one_line_and_a_program_has_one_thread_a_product(book, capfd, monkeypatch):
    for library in ("OPENBLAS", "OMP", "MKL"):
        monkeypatch.delenv(f"{library}_NUM_THREADS", raising=False)
    (book / "tangled/t02_b/train_b.py").write_text(
        "import os\nprint('threads', os.environ['OPENBLAS_NUM_THREADS'], os.environ['MKL_NUM_THREADS'])\n"
        "raise KeyboardInterrupt\n")
    assert train.main(["--topic", "2"], book) == 130
    said = capfd.readouterr()
    assert "threads 1 1" in said.out and said.out.endswith("\ninterrupted\n") and said.err == ""


def test_an_interrupted_run_that_began_anew_goes_on_without_fresh(book, monkeypatch, capfd):
    class Child:
        returncode = 130

        def wait(self, seconds=None):
            if seconds is None:
                raise KeyboardInterrupt
            return 130

        def poll(self):
            return 130
    monkeypatch.setattr(train.subprocess, "Popen", lambda *args, **options: Child())
    for rest, said in ((["--fresh"], "to go on, leave out --fresh, which begins anew\n"), ([], "")):
        with pytest.raises(KeyboardInterrupt):
            train.run(book, "tangled.t02_b.train_b", rest)
        assert capfd.readouterr().out.partition("\n")[2] == said
