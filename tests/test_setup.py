"""`make verify-setup`, `make train` and `make serve`."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import requirements, serve, setup_report, train
from scripts.errors import Problem
from scripts.verbs import VERBS

HERE = Path(__file__).resolve().parent.parent


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "110")                # what is said is wrapped
    (tmp_path / "pyproject.toml").write_text(
        '[project]\ndependencies = ["numpy>=1"]\n[project.optional-dependencies]\n'
        'test = ["pytest>=1"]\nbook = ["PyYAML>=1"]\nreference = ["torch>=2"]\n')
    (tmp_path / "data").mkdir()
    rows = ["file\tbytes\tsha256\torigin\tlicence\tcut"]
    for name, text in (("a.csv", b"1,2\n"), ("b.csv", b"3,4\n")):
        (tmp_path / "data" / name).write_bytes(text)
        rows.append(f"{name}\t{len(text)}\t{hashlib.sha256(text).hexdigest()}\there\tCC0\twhole")
    (tmp_path / "data/MANIFEST.tsv").write_text("\n".join(rows) + "\n")
    (tmp_path / ".venv").mkdir()
    return tmp_path


def told(root, capsys):
    status = setup_report.main([], root)
    return status, capsys.readouterr().out


def test_all_is_here(root, capsys):
    status, out = told(root, capsys)
    assert status == 0, out
    for line in ("Python {}.{}.{} at".format(*sys.version_info[:3]), "test (make test): pytest ", "BLAS ",
                 "2 files, 0.0 MB, sha256 as in data/MANIFEST.tsv", "GB free", "can be written to",
                 "All that make test and make render need is here."):
        assert line in out, line
    assert max(map(len, out.split("\n"))) <= 110


def test_a_missing_package_and_a_wrong_version(root, capsys):
    path = root / "pyproject.toml"
    text = path.read_text().replace("pytest>=1", "pytest>=9999")
    path.write_text(text.replace("PyYAML>=1", "no-such-thing"))
    status, out = told(root, capsys)
    words = " ".join(out.split())
    assert status == 1 and "2 things missing" in out
    assert "is outside >=9999 -> python3 scripts/bootstrap.py test" in words
    assert "no-such-thing is not installed -> python3 scripts/bootstrap.py book" in words


def test_a_marker_for_another_python_is_passed_over(root, capsys):
    path = root / "pyproject.toml"
    path.write_text(path.read_text().replace('"pytest>=1"', '"pytest>=1", \'gone>=1; python_version < "3"\''))
    assert told(root, capsys)[0] == 0


def test_data_that_went_or_changed(root, capsys):
    (root / "data/a.csv").unlink()
    (root / "data/b.csv").write_text("changed")
    status, out = told(root, capsys)
    assert status == 1
    assert "data/a.csv is not there" in out and "-> git checkout -- data/a.csv" in out
    assert "data/b.csv has changed" in out and "0 files" in out


def test_no_manifest(root, capsys):
    (root / "data/MANIFEST.tsv").unlink()
    assert told(root, capsys)[0] == 1


def test_no_venv_yet(root, capsys):
    (root / ".venv").rmdir()
    status, out = told(root, capsys)
    assert status == 1 and "no .venv yet" in out and "-> make setup" in out


def test_a_project_file_that_is_no_toml(root, capsys):
    (root / "pyproject.toml").write_text("[project")
    status, out = told(root, capsys)
    assert status == 1 and "pyproject.toml can't be read" in out


def test_without_pip_names_alone_are_told(root, capsys, monkeypatch):
    monkeypatch.setattr(requirements, "Requirement", None)
    assert told(root, capsys)[0] == 0


def test_what_may_be_missing_is_only_a_note(root, capsys, monkeypatch):
    real = requirements.installed
    monkeypatch.setattr(requirements, "installed", lambda name: None if name == "torch" else real(name))
    monkeypatch.setattr(setup_report.shutil, "which", lambda name: None)
    status, out = told(root, capsys)
    assert status == 0 and "level 4 is skipped" in out and "-> python3 scripts/bootstrap.py reference" in out
    assert "the embedded typesetter is used" in out


@pytest.mark.parametrize("version, state", [("1.10.18", "ok"), ("1.9.0", "ok"), ("1.4.5", "note"),
                                            ("", "note")])
def test_quarto_is_asked_for_its_version(tmp_path, monkeypatch, version, state):
    program = tmp_path / "quarto"
    program.write_text(f"#!/bin/sh\necho {version}\n")
    program.chmod(0o755)
    monkeypatch.setattr(setup_report.shutil, "which", lambda name: str(program))
    assert setup_report.quarto_line().state == state


def test_little_room_is_noted(root, capsys, monkeypatch):
    monkeypatch.setattr(setup_report, "ROOM", 10 ** 18)
    status, out = told(root, capsys)
    assert status == 0 and "wants 2 GB" in out


def test_this_repository_as_a_process():
    done = subprocess.run([sys.executable, "-m", "scripts", "verify-setup"], cwd=HERE, capture_output=True,
                          text=True)
    assert "Traceback" not in done.stderr and "sha256 as in data/MANIFEST.tsv" in done.stdout


# -- train

@pytest.fixture
def book(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(HERE)]))   # our scripts, its programs
    (tmp_path / "chapters").mkdir()
    package = tmp_path / "tangled/t02_b"
    package.mkdir(parents=True)
    for folder in (package, package.parent):
        (folder / "__init__.py").touch()
    for topic, name, extra in ((1, "a", ""), (2, "b", "train: [train_line, train_table]\n")):
        (tmp_path / f"chapters/{topic:02d}-{name}.qmd").write_text(
            f"---\ntopic: {topic}\npackage: t{topic:02d}_{name}\n{extra}---\n\n# {name} {{#sec-{name}}}\n")
    (tmp_path / "_quarto.yml").write_text("book:\n  chapters: [chapters/01-a.qmd, chapters/02-b.qmd]\n")
    for stem in ("train_line", "train_table"):
        (package / f"{stem}.py").write_text(
            f"import sys\n\n\ndef main(argv):\n    print('{stem}', argv)\n    return len(argv) > 2\n\n\n"
            "if __name__ == '__main__':\n    sys.exit(main(sys.argv[1:]))\n")
    return tmp_path


def test_train_runs_the_programs_in_order(book, capfd):
    assert train.main(["--topic", "2", "--"], book) == 0
    assert capfd.readouterr().out == ("python -m tangled.t02_b.train_line\ntrain_line []\n"
                                      "python -m tangled.t02_b.train_table\ntrain_table []\n")


def test_train_passes_arguments_on(book, capfd):
    assert train.main(["--topic", "2", "--only", "train_table", "--", "--epochs", "5"], book) == 0
    assert capfd.readouterr().out.endswith("train_table ['--epochs', '5']\n")


def test_train_stops_at_the_first_that_fails(book, capfd):
    assert train.main(["--topic", "2", "--", "a", "b", "c"], book) == 1
    assert "train_table" not in capfd.readouterr().out


def test_train_wants_a_record_where_one_is_asked_for(book, capfd):
    with pytest.raises(Problem, match=r"train_line\.py: has stored nothing; expected it to call .*store_run"):
        train.main(["--topic", "2", "--only", "train_line", "--", "--record"], book)
    path = book / "tangled/t02_b/train_line.py"
    path.write_text("from pathlib import Path\nfolder = Path('golden/records')\n"
                    "folder.mkdir(parents=True, exist_ok=True)\n(folder / 't02.json').write_text('{}')\n")
    assert train.main(["--topic", "2", "--only", "train_line", "--", "--record"], book) == 0


@pytest.mark.parametrize("argv, said", [
    (["--topic", "1"],
     "topic 1 has no end-to-end program; topics that do: TOPIC=2 (train_line, train_table)"),
    ([], "TOPIC= is missing; topics with a program: TOPIC=2"), (["--"], "TOPIC= is missing"),
    (["--topic", "x"], "TOPIC='x' is no number"), (["--topic", "9"], "no topic 9"),
    (["--topic", "2", "--only", "other"], "expected one of train_line, train_table"),
    (["--topic"], "missing")])
def test_train_says_what_there_is(book, argv, said):
    with pytest.raises(Problem) as caught:
        train.main(argv, book)
    assert said in str(caught.value)


# -- serve

def served(book, *argv):
    """`python -m scripts serve …` in a book of its own, whose `tangled` is not this one."""
    return subprocess.run([sys.executable, "-m", "scripts", "serve", *argv], cwd=book, capture_output=True, text=True,
                          timeout=60, env={**os.environ, "PYTHONPATH": str(HERE)})


def test_serve_runs_the_module_of_the_front_matter(book):
    chapter = book / "chapters/02-b.qmd"
    chapter.write_text(chapter.read_text().replace("train: [", "serve: counter\ntrain: ["))
    (book / "tangled/t02_b/counter.py").write_text(
        "import os\n\n\ndef main(argv):\n    print(argv, os.environ['OPENBLAS_NUM_THREADS'])\n    return 3\n")
    done = served(book, "--topic", "2", "--", "--port", "0")
    assert (done.returncode, done.stderr) == (3, "") and done.stdout.startswith("['--port', '0'] ")
    (book / "tangled/t02_b/counter.py").unlink()
    done = served(book, "--topic", "2")
    assert done.returncode == 1 and "counter.py: is not there; expected it to be tangled" in done.stderr


@pytest.mark.parametrize("argv, said", [
    (["--topic", "1"], "topic 1 has no server; topics that do: TOPIC=2"), (["--topic"], "TOPIC= is missing"),
    ([], "TOPIC= is missing; topics with a server: TOPIC=2"), (["--topic", "x", "--"], "TOPIC='x' is no number"),
    (["--topic", "9"], "no topic 9")])
def test_serve_says_what_there_is(book, argv, said):
    chapter = book / "chapters/02-b.qmd"
    chapter.write_text(chapter.read_text().replace("train: [", "serve: counter\ntrain: ["))
    with pytest.raises(Problem) as caught:
        serve.main(argv, book)
    assert said in str(caught.value)


def test_train_before_tangling(book):
    (book / "tangled/t02_b/train_line.py").unlink()
    with pytest.raises(Problem, match=r"tangled/t02_b/train_line\.py: is not there"):
        train.main(["--topic", "2"], book)


# -- what the README promises

def test_every_make_command_of_the_readme_exists():
    text = (HERE / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"(?:^|`|\$ )make ([a-z-]+)", text, re.M))
    assert {"render", "test"} <= named <= set(VERBS), named - set(VERBS)


def test_the_readme_names_every_data_set():
    text = (HERE / "README.md").read_text(encoding="utf-8")
    rows = (HERE / "data/MANIFEST.tsv").read_text(encoding="utf-8").splitlines()[1:]
    for name in {row.split("\t")[0].partition("/")[0] for row in rows}:
        assert f"`{name}" in text, name


def test_the_readme_has_a_place_for_the_measured_table():
    text = (HERE / "README.md").read_text(encoding="utf-8")
    assert text.index("<!-- bench:start -->") < text.index("<!-- bench:end -->")
