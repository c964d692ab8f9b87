"""`make start RESET=`: one function's stub back, every other byte as it was; `make solution`: one function shown."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from desk_book import FRONT, LEVEL2, PACKAGE

from scripts import learn
from scripts.desk import reset, solution
from scripts.errors import Problem

HERE = Path(__file__).resolve().parent.parent
MINE = f"workspace/{PACKAGE}.py"
DOUBLE = '''@kept  # mine
# a comment between
def double(x, extra=1):
    # inside
    y = x + x
    return y  # last
'''
STUB = '''def double(x):
    """Twice x, of any shape."""
    raise NotImplementedError("double is yours to write")
'''
BEFORE = "# of mine\nimport numpy as np\n\nkept = lambda f: f\n\n\n# above it\n"
AFTER = "    # behind it\n\n\nclass Layer:\n\tpass\n\nrest = 'ende'"


@pytest.fixture
def root(tmp_path):
    """A book of one topic, tangled by hand."""
    package = tmp_path / "tangled" / PACKAGE
    package.mkdir(parents=True)
    (tmp_path / "workspace").mkdir()
    (tmp_path / "chapters").mkdir()
    (tmp_path / "chapters" / "91-desk.qmd").write_text(FRONT)
    (tmp_path / "_quarto.yml").write_text("book:\n  chapters: [chapters/91-desk.qmd]\n")
    (package / "level2_vectorized.py").write_text(LEVEL2)
    return tmp_path


def start(root, name, *more):
    return learn.start(["--topic", "91", "--reset", name, *more], root)


def beside(root) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((root / "workspace").iterdir())}


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1"])
def test_every_other_byte_stays(root, capsys, end, encoding):
    """Decorators, comments around it, tabs, line ends, the encoding and the missing end of the last line."""
    head = "# -*- coding: latin-1 -*-\n# \xe9\n" if encoding == "latin-1" else "# \xe9\n"
    before, body, after = ((x.replace("\n", end)) for x in (head + BEFORE, DOUBLE, AFTER))
    (root / MINE).write_bytes((before + body + after).encode(encoding))
    assert start(root, "double") == 0
    stub = STUB.replace("\n", end)
    decorators = "@kept  # mine\n# a comment between\n".replace("\n", end)
    assert (root / MINE).read_bytes() == (before + decorators + stub + after).encode(encoding)
    plain = encoding.removesuffix("-sig")
    cookie = f"# -*- coding: iso-8859-1 -*-{end}" if encoding == "latin-1" else ""
    assert beside(root)[f"{PACKAGE}.double.1.py"] == (cookie + body).encode(plain)
    assert capsys.readouterr().out == (f"double is to be written again: {MINE}:{8 + (encoding == 'latin-1') + 3}.\n"
                                       f"Yours so far is in workspace/{PACKAGE}.double.1.py.\n")


def test_what_is_kept_is_numbered_and_never_overwritten(root):
    for k in range(1, 4):
        (root / MINE).write_text(f"def double(x):\n    return {k}\n")
        start(root, "double")
    kept = beside(root)
    assert [kept[f"{PACKAGE}.double.{k}.py"] for k in (1, 2, 3)] == [
        f"def double(x):\n    return {k}\n".encode() for k in (1, 2, 3)]
    assert kept[f"{PACKAGE}.py"].decode() == STUB and len(kept) == 4


def test_a_stub_stays_as_it_is(root, capsys):
    (root / MINE).write_bytes(STUB.replace("\n", "\r\n").encode())
    start(root, "double")
    assert "nothing changed" in capsys.readouterr().out and list(beside(root)) == [f"{PACKAGE}.py"]


def test_a_class_and_decorators_of_the_stub(root):
    (root / MINE).write_text("class Pair:\n    x = 1\n\n\nclass Scaled:\n    def __init__(self): self.x = 1")
    start(root, "Pair")
    start(root, "Scaled")
    text = (root / MINE).read_text()
    assert text.startswith('@dataclass\nclass Pair:\n    """Two numbers."""\n\n    a: float\n    b: float\n')
    assert text.endswith('raise NotImplementedError("Scaled.__init__ is yours to write")')


def test_what_is_not_there_is_added(root, capsys):
    (root / MINE).write_text("x = 1")
    start(root, "double")
    assert (root / MINE).read_text() == "x = 1\n\n\n" + STUB
    assert capsys.readouterr().out == f"{MINE} had no double; its stub now stands at the end.\n"


def test_a_link_and_its_mode_stay(root, tmp_path):
    real = tmp_path / "elsewhere.py"
    real.write_text(DOUBLE.replace("@kept  # mine\n", ""))
    real.chmod(0o640)
    (root / MINE).symlink_to(real)
    start(root, "double")
    assert (root / MINE).is_symlink() and "NotImplementedError" in real.read_text()
    assert real.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("text, name, said", [
    ("def double(x:\n", "double", f"{MINE}:1: "),
    (None, "double", f"{MINE}: is not there; run: make start TOPIC=91"),
    (LEVEL2, "doubel", "RESET='doubel' is no function or class of the stub; did you mean 'double'?"),
    (LEVEL2, "", "RESET='' is no function or class of the stub; expected one of double, "),
    (LEVEL2, "Layer.forward", "RESET='Layer.forward' is no function or class of the stub"),
    ("x = 1\ndouble = lambda x: 2 * x\n", "double", f"{MINE}:2: double is bound here; expected a def or class"),
    ("from other import double\n", "double", f"{MINE}:1: double is bound here"),
    ("if True:\n    def double(x): return 2 * x\n", "double", f"{MINE}:2: double is bound here"),
    ("x = 1; y = '''\n'''; \\\ndef double(x): pass\n", "double", f"{MINE}:3: invalid syntax")])
def test_refused_in_one_line(root, text, name, said):
    if text is not None:
        (root / MINE).write_text(text)
    before = beside(root)
    with pytest.raises(Problem) as caught:
        start(root, name)
    assert str(caught.value).startswith(said) and "\n" not in str(caught.value)
    assert beside(root) == before


def test_one_or_all(root):
    (root / MINE).write_text(LEVEL2)
    with pytest.raises(Problem, match="one function, or all of them"):
        start(root, "double", "--force")


def test_a_save_meanwhile_stays(root):
    (root / MINE).write_text("new")
    with pytest.raises(Problem, match="was saved meanwhile and stays as it is"):
        reset.replace(root / MINE, b"old", b"ours")
    assert beside(root) == {f"{PACKAGE}.py": b"new"}


TRIAL = """
import sys
from pathlib import Path
from scripts import learn
from scripts.desk import solution
print("ready", flush=True)
for verb in sys.argv[2:]:
    if verb == "reset":
        learn.start(["--topic", "91", "--reset", "double"], Path(sys.argv[1]))
    else:
        solution.main(["--topic", "91", "--only", verb], Path(sys.argv[1]))
"""


def killed_after(root, seconds: float, *verbs: str) -> None:
    """Run verbs in a process, and kill it so long after it has begun."""
    child = subprocess.Popen([sys.executable, "-c", TRIAL, str(root), *verbs], cwd=HERE, stdout=subprocess.PIPE)
    child.stdout.readline()
    time.sleep(seconds)
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()


@pytest.mark.skipif(os.name != "posix", reason="kill -9")
def test_killed_at_any_moment(root):
    """The file is the old or the new one, and what was written is in it or beside it. DESK_TRIALS=100 tries more."""
    chance = random.Random(1)
    for trial in range(int(os.environ.get("DESK_TRIALS", "4"))):
        for path in (root / "workspace").iterdir():
            path.unlink()
        old = f"x = {trial}\n\n\ndef double(x):\n    return {trial}\n" + "# " + "y" * 200_000 + "\n"
        (root / MINE).write_text(old)
        learn.remember(root, 91, hints=2, solutions=["negate"])
        killed_after(root, chance.uniform(0, 0.06), "reset", "double", "apply")
        now, kept = (root / MINE).read_text(), root / "workspace" / f"{PACKAGE}.double.1.py"
        assert now in (old, old.replace(f"def double(x):\n    return {trial}\n", STUB)), trial
        assert now == old or kept.read_text() == f"def double(x):\n    return {trial}\n", trial
        assert not kept.exists() or kept.stat().st_size > 20, trial
        entry = json.loads((root / learn.MEMORY).read_text())["91"]
        assert entry["hints"] == 2 and entry["solutions"] in (
            ["negate"], ["negate", "double"], ["negate", "double", "apply"]), trial


# -- solution

def show(root, capsys, name):
    assert solution.main(["--topic", "91", "--only", name], root) == 0
    return capsys.readouterr().out


def test_a_solution_is_shown_and_counted_once(root, capsys):
    text = show(root, capsys, "double")
    path = f"tangled/{PACKAGE}/level2_vectorized.py"
    assert text.startswith(f"double, {path}:") and "def double(x):" in text and "_twice(checked(x))" in text
    assert f"It uses _twice ({path}:" in text and "(1 solution of topic 91 seen; " in text
    assert "(1 solution" in show(root, capsys, "double")
    text = show(root, capsys, "quadruple")
    assert "@_checked\ndef quadruple" in text and "(2 solutions of topic 91 seen; " in text
    learn.progress([], root)
    assert "-, 2 solutions seen" in capsys.readouterr().out


@pytest.mark.parametrize("arguments, said", [
    (["--topic", "91"], "ONLY= is missing; expected such as: make solution TOPIC=91 ONLY=name"),
    (["--topic", "91", "--only", "dubble"], "ONLY='dubble' is no public function or class of topic 91; did you mean"),
    (["--only", "double"], "TOPIC= is missing; expected such as: make solution TOPIC=27"),
    (["--topic", "92", "--only", "double"], "no topic 92; expected one of 91")])
def test_wrong_calls(root, arguments, said):
    with pytest.raises(Problem) as caught:
        solution.main(arguments, root)
    assert str(caught.value).startswith(said) and "\n" not in str(caught.value)
    assert not (root / learn.MEMORY).exists()
