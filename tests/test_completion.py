"""Completion, in a real bash: verbs, their variables, topics, files; and nothing outside the book's folder."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from scripts import completion
from scripts.verbs import VERBS, variables

HERE = Path(__file__).resolve().parent.parent
BASH = shutil.which("bash")
pytestmark = pytest.mark.skipif(BASH is None or os.name != "posix", reason="no bash here")
BREAKS = "$' \\t\\n\"\\'><=;|&(:'"                              # bash's own: a word ends at "="


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    path = tmp_path_factory.mktemp("completion") / "book.sh"
    path.write_text(completion.script(), encoding="utf-8")
    return path


def offered(script, line: str, folder: Path = HERE, breaks: str = BREAKS, function: str = "_book_make") -> list[str]:
    """What bash offers at the end of a line."""
    code = f"source '{script}'\nCOMP_WORDBREAKS={breaks}\nCOMP_LINE={line!r}\nCOMP_POINT=${{#COMP_LINE}}\n" \
           f"{function}\nprintf '%s\\n' \"${{COMPREPLY[@]}}\""
    done = subprocess.run([BASH, "--norc", "-c", code], cwd=folder, capture_output=True, text=True, timeout=30)
    assert done.stderr == "", done.stderr
    return done.stdout.split()


@pytest.mark.parametrize("line, words", [
    ("make ", list(VERBS)), ("make st", ["start", "stitch"]), ("make hint ", ["TOPIC=", "N="]),
    ("make test TOPIC=27 I", ["IMPL="]), ("make test LEVEL=", ["1", "2", "3", "4"]), ("make hint TOPIC=3 T", []),
    ("make render ENGINE=q", ["quarto"]), ("make zzz", []), ("make start TOPIC=2 EX", ["EXERCISES="]),
    ("make train TOPIC=2 ONLY=train_l", ["train_line", "train_language"])])
def test_what_is_offered(script, line, words):
    assert sorted(offered(script, line)) == sorted(words)


def test_topics_are_those_of_the_chapters(script, tmp_path):
    assert offered(script, "make test TOPIC=") == [str(n) for n in range(35)]
    assert offered(script, "make test TOPIC=2") == ["2", *[str(n) for n in range(20, 30)]]
    root = tmp_path / "le dépôt"
    for name in ("scripts/verbs.py", "_quarto.yml", "chapters/01-a.qmd"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("---\ntopic: 71\n---\n")
    assert offered(script, "make hint TOPIC=", root) == ["71"]


def test_where_a_word_does_not_end_at_the_equals_sign(script):
    assert offered(script, "make test TOPIC=33", breaks="$' \\t\\n'") == ["TOPIC=33"]


def test_files(script, tmp_path):
    for name in ("scripts/verbs.py", "_quarto.yml", "mine.py", "notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert offered(script, "make test TOPIC=1 IMPL=m", tmp_path) == ["mine.py"]
    assert offered(script, "make grade FILES=n", tmp_path) == ["notes.txt"]
    assert offered(script, "make test TOPIC=1 IMPL=w", tmp_path) == ["workspace"]


def test_python_as_well(script):
    assert offered(script, "python -m scripts sta", function="_book_python") == ["start"]
    assert offered(script, "python -m scripts test TOPIC=3", function="_book_python")[0] == "3"
    assert offered(script, "python -m http", function="_book_python") == []


def test_elsewhere_nothing_is_changed(script, tmp_path):
    assert offered(script, "make st", tmp_path) == []


def test_each_verb_with_its_variables(script):
    text = script.read_text(encoding="utf-8")
    assert "@" not in text.replace("[@]", "").replace('"$@"', "")
    for name in VERBS:
        assert not variables(name) or f"    {name}) echo {' '.join(variables(name))} ;;" in text
