"""The list of verbs, and the two ways to call one: by make and by `python -m scripts`. They are one command."""

from __future__ import annotations

import ast
import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import __main__ as entry
from scripts import bootstrap, chores, door, verbs
from scripts.errors import Problem
from scripts.verbs import VERBS, Unknown, options

HERE = Path(__file__).resolve().parent.parent
ECHO = "#!/bin/sh\nfor word in \"$@\"; do printf '%s\\n' \"$word\"; done\n"


# -- the list

@pytest.mark.parametrize("name", VERBS)
def test_each_verb_is_there(name):
    verb = VERBS[name]
    assert callable(getattr(importlib.import_module(verb.module), verb.function))
    assert set(verb.parts.split()) | set(verb.all_parts.split()) <= set(bootstrap_parts())
    assert verb.group in verbs.GROUPS and verb.what


def bootstrap_parts():
    from scripts import requirements
    return requirements.ranges(HERE)


@pytest.mark.parametrize("name", VERBS)
def test_what_a_verb_takes_it_understands(name):
    """Each variable's option is one that the verb's own module names: neither list can drift from the other"""
    module = Path(importlib.import_module(VERBS[name].module).__file__)
    text = module.read_text(encoding="utf-8")
    if name == "preview":                                   # it has render's options, and a port
        text += (HERE / "scripts/render.py").read_text(encoding="utf-8")
    for variable in verbs.variables(name):
        if variable not in ("ARGS", "IMPL" if name == "train" else ""):
            assert f'"--{variable.lower()}"' in text, variable


def test_help_lists_them_all(capsys):
    assert chores.help([]) == 0
    out = capsys.readouterr().out
    assert all(f"  make {name} " in out for name in VERBS) and "python -m scripts VERB" in out


@pytest.mark.parametrize("module", ["verbs", "door", "__main__"])
def test_an_old_python_can_read_it(module):
    text = (HERE / f"scripts/{module}.py").read_text(encoding="utf-8")
    tree = ast.parse(text, feature_version=(3, 6))
    names = {node.module for node in tree.body if isinstance(node, ast.ImportFrom)}
    assert names <= {"scripts", "scripts.verbs", "typing"} and "from __future__" not in text


# -- make's variables

@pytest.mark.parametrize("words, made", [
    ("test", ""), ("test TOPIC=27", "--topic 27"), ("test --topic 27", "--topic 27"),
    ("test IMPL=workspace TOPIC=27 LEVEL=2", "--topic 27 --impl workspace --level 2"),
    ("test TOPIC=27 -k rope", "--topic 27 -k rope"), ("test TOPIC= LEVEL=2", "--level 2"),
    ("render TOPIC=27 ENGINE=embedded PAPER=letter", "--topic 27 --engine embedded --paper letter"),
    ("start TOPIC=2 FORCE=1", "--topic 2 --force"), ("start TOPIC=2 FORCE=0", "--topic 2"),
    ("start TOPIC=9 EXERCISES=1", "--topic 9 --exercises"), ("hint TOPIC=2 N=3", "--topic 2 --n 3"),
    ("bench TOPIC=1 ONLY=sum", "--topic 1 --only sum"), ("progress", ""),
    ("train TOPIC=2 ONLY=a -- TOPIC=5", "--topic 2 --only a -- TOPIC=5")])
def test_variables_become_options(words, made):
    name, *rest = words.split()
    assert options(name, rest) == made.split()


@pytest.mark.parametrize("words, made", [
    (["test", "IMPL=my file.py", "TOPIC=9"], ["--topic", "9", "--impl", "my file.py"]),
    (["test", "IMPL=C:\\work\\mine.py", "TOPIC=9"], ["--topic", "9", "--impl", "C:\\work\\mine.py"]),
    (["test", "ARGS=-k 'a or b' -x"], ["-k", "a or b", "-x"]),
    (["train", "TOPIC=2", "ARGS=--epochs 5 --a=b"], ["--topic", "2", "--", "--epochs", "5", "--a=b"]),
    (["train", "ARGS=--a #1", "--", "--b"], ["--", "--b", "--a", "#1"])])
def test_words_stay_whole(words, made):
    assert options(words[0], words[1:]) == made


def test_backslashes_in_args_on_windows():
    assert verbs.split(r'--folder C:\work\new "C:\My Documents"', posix=False) == [
        "--folder", r"C:\work\new", r"C:\My Documents"]
    assert verbs.split(r"a\ b", posix=True) == ["a b"]


@pytest.mark.parametrize("words, said", [
    (["hint", "LEVEL=2", "TOPIC=1"], "make hint knows no LEVEL=; it takes N= TOPIC="),
    (["progress", "N=x"], "make progress knows no N=; it takes ARGS="),
    (["test", "TOPICS=9"], "make test knows no TOPICS=; it takes ARGS= EXERCISES= IMPL= LEVEL="),
    (["train", "N=a", "ARGS=--epochs 5 --a=b"], "make train knows no N=; it takes ARGS= IMPL= ONLY= TOPIC="),
    (["clean", "TOPIC=1"], "make clean knows no TOPIC=; it takes no variables"),
    (["test", "ARGS=-k 'a"], "no closing quotation"), (["tset"], "no verb 'tset'; did you mean 'test'?")])
def test_what_is_not_known_is_refused_in_a_line(words, said, capsys, monkeypatch):
    monkeypatch.delenv("BOOK_GOALS", raising=False)
    monkeypatch.setattr(entry, "run", lambda verb, given: pytest.fail(f"{verb} was run"))     # clean, for one
    assert entry.main(words) == 2
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1


def test_the_goals_of_make_are_not_those_of_what_it_starts(monkeypatch):
    monkeypatch.setenv("BOOK_GOALS", "hint test")
    monkeypatch.setattr(entry.door, "enter", lambda parts, argv: None)
    monkeypatch.setattr(entry, "run", lambda verb, given: int("BOOK_GOALS" in os.environ))
    assert entry.main(["hint", "TOPIC=1"]) == 0


def test_variables_of_another_goal():
    """`make start test TOPIC=9 IMPL=workspace`: what one of them takes is no mistake for the other"""
    assert options("start", ["TOPIC=9", "IMPL=workspace"], ["start", "test"]) == ["--topic", "9"]
    with pytest.raises(Unknown, match="IMPL="):
        options("start", ["TOPIC=9", "IMPL=workspace"], ["start", "hint"])


@pytest.mark.parametrize("verb", ["setup", "lock", "clean"])
def test_chores_take_nothing(verb):
    with pytest.raises(Problem, match=f"make {verb} takes nothing; found --all"):
        getattr(chores, verb)(["--all"])


def test_clean_keeps_what_is_yours(tmp_path):
    for name in ("_book/a", "build/b", "tests/data/__pycache__/c", "workspace/d", "checkpoints/e", ".venv/f"):
        path = tmp_path / name
        path.parent.mkdir(parents=True)
        path.touch()
    chores.clean([], tmp_path)
    left = {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()}
    assert left == {"workspace/d", "checkpoints/e", ".venv/f"} and (tmp_path / "tests/data").is_dir()


# -- make itself

@pytest.fixture
def make(tmp_path):
    """`make …` in a folder with a space in its name, where the Python of `.venv` says what it was asked for."""
    if shutil.which("make") is None or os.name != "posix":
        pytest.skip("no make here")
    root = tmp_path / "le dépôt"
    (root / ".venv/bin").mkdir(parents=True)
    shutil.copy(HERE / "Makefile", root)
    for program in (root / ".venv/bin/python", root / "other"):
        program.write_text(ECHO)
        program.chmod(0o755)

    def call(*words, venv=True):
        if not venv:
            (root / ".venv/bin/python").unlink()
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFL"))}
        done = subprocess.run(["make", *words], cwd=root, capture_output=True, text=True, env=clean, timeout=30)
        return done.stdout.splitlines()
    return call


@pytest.mark.parametrize("words", [
    ["test"], ["test", "TOPIC=27", "IMPL=my own file.py"], ["test", "ARGS=-k 'a or b'", "TOPIC=9"],
    ["train", "TOPIC=2", 'ARGS=--name "x y" --a=b'], ["nonsense", "FOO=1"], ["data"], ["render", "TOPIC="]])
def test_make_hands_everything_on(make, words):
    said = make(*words)
    assert said[:3] == ["-m", "scripts", words[0]] and sorted(said[3:]) == sorted(words[1:])


def test_make_without_a_venv_and_without_a_verb(make):
    assert make() == ["-m", "scripts", "help"]
    assert make("test", "PYTHON=./other", venv=False) == ["-m", "scripts", "test"]


def test_make_and_python_say_the_same():
    plain = {name: value for name, value in os.environ.items() if name != "BOOK_GOALS"}
    done = [subprocess.run([*command, "hint", "LEVEL=2", "TOPIC=1"], cwd=HERE, capture_output=True, text=True,
                           env=plain, timeout=60).stderr.splitlines()[0]
            for command in (["make"], [sys.executable, "-m", "scripts"]) if shutil.which(command[0])]
    assert set(done) == {"make hint knows no LEVEL=; it takes N= TOPIC="}


# -- the door: where a verb runs

@pytest.fixture
def calls(monkeypatch, tmp_path):
    """A root where bootstrap and the other Python are only written down."""
    (tmp_path / "pyproject.toml").write_text("")
    seen = []
    monkeypatch.setattr(door.bootstrap, "main", lambda parts, root: seen.append(("set up", *parts)) or 0)
    monkeypatch.setattr(door, "again", lambda python, argv: seen.append((python, *argv)) or 7)
    monkeypatch.setattr(door, "suffices", lambda parts, root: False)
    return tmp_path, seen


def test_a_bare_python_sets_up_and_goes_on_in_the_venv(calls):
    root, seen = calls
    assert door.enter(["test"], ["hint", "TOPIC=27"], str(root)) == 7
    assert seen == [("set up", "test"), (bootstrap.venv_python(str(root)), "hint", "TOPIC=27")]


def test_what_is_ready_is_not_set_up_again(calls):
    root, seen = calls
    python = Path(bootstrap.venv_python(str(root)))
    python.parent.mkdir(parents=True)
    python.touch()
    (root / ".venv/ready-test").touch()
    assert door.enter(["test"], ["hint"], str(root)) == 7 and len(seen) == 1
    assert door.enter(["test", "book"], ["hint"], str(root)) == 7 and seen[1] == ("set up", "test", "book")
    os.utime(root / "pyproject.toml", (2e9, 2e9))
    assert door.enter(["test"], ["hint"], str(root)) == 7 and seen[3] == ("set up", "test")


def test_within_the_venv_it_goes_on(calls, monkeypatch):
    root, seen = calls
    monkeypatch.setattr(door.sys, "prefix", str(root / ".venv"))
    assert door.enter(["test"], ["hint"], str(root)) is None and seen == [("set up", "test")]
    assert door.enter([], ["help"], str(root)) is None and len(seen) == 1


def test_a_set_up_that_fails_ends_it(calls, monkeypatch):
    root, seen = calls
    monkeypatch.setattr(door.bootstrap, "main", lambda parts, root: 1)
    assert door.enter(["test"], ["hint"], str(root)) == 1 and seen == []


def test_another_virtual_environment_may_do(monkeypatch):
    monkeypatch.setattr(door.sys, "base_prefix", "/elsewhere")
    assert door.suffices(["test"], str(HERE))
    monkeypatch.setattr("scripts.requirements.missing", lambda *_, **__: (["numpy>=9 (not installed)"], []))
    assert not door.suffices(["test"], str(HERE))
    monkeypatch.undo()
    monkeypatch.setattr(door.sys, "base_prefix", door.sys.prefix)
    monkeypatch.delenv("CONDA_PREFIX", raising=False)
    assert not door.suffices(["test"], str(HERE))


@pytest.mark.parametrize("name, python", [("posix", ".venv/bin/python"), ("nt", ".venv/Scripts/python.exe")])
def test_both_layouts_of_a_venv(monkeypatch, name, python):
    with monkeypatch.context() as patch:
        patch.setattr(bootstrap.os, "name", name)
        found = bootstrap.venv_python("root")
    assert found.replace("\\", "/") == f"root/{python}"


@pytest.mark.parametrize("replace", [True, False])
def test_the_other_python_has_the_last_word(tmp_path, replace):
    """By exec, and by a child as on Windows: the same words, the same exit status"""
    if replace and os.name != "posix":
        pytest.skip("no exec here")
    code = (f"import sys; sys.path.insert(0, {str(HERE)!r})\nfrom scripts import door\n"
            f"sys.exit(door.again(sys.executable, ['tset', 'A=b c'], replace={replace}))")
    done = subprocess.run([sys.executable, "-c", code], cwd=HERE, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (2, "no verb 'tset'; did you mean 'test'?\n")


def test_a_console_that_cannot_show_a_character():
    """cp1252, as a Windows console may have: escapes, no crash"""
    done = subprocess.run([sys.executable, "-m", "scripts", "hint", "TOPIC=27", "N=1"], cwd=HERE, capture_output=True,
                          env=os.environ | {"PYTHONIOENCODING": "cp1252"}, timeout=60)
    assert done.returncode == 0 and b"Hint 1" in done.stdout and b"Traceback" not in done.stderr
    done = subprocess.run([sys.executable, "-m", "scripts", "t\u2713st"], cwd=HERE, capture_output=True,
                          env=os.environ | {"PYTHONIOENCODING": "cp1252"}, timeout=60)
    assert done.returncode == 2 and rb"\u2713" in done.stderr and b"Traceback" not in done.stderr
