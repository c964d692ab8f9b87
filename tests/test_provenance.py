"""Tracebacks name the chapter; coverage and the debugger see tangled/ as it is."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import traceback
from pathlib import Path

import pytest

import scripts.tangling.origin as origin
import scripts.tangling.provenance as provenance
from scripts.tangling.origin import locate
from tests.books import LEVEL, PACKAGE, chunk, edit, files, head, make_book, tangle

REPOSITORY = Path(__file__).resolve().parent.parent
BODY = (
    chunk(
        """\
def outer(x):
    <<Go in>>
    return x


def wrap(x):
    try:
        return outer(x)
    except ZeroDivisionError as error:
        raise RuntimeError("wrapped") from error
""",
        file="level2_vectorized.py",
    )
    + chunk(
        """\
y = 1    # @eq-27-a
x = y / x
""",
        chunk="Go in",
    )
    + "$$ a $$ {#eq-27-a}\n"
)
LINE = (head() + BODY).split("\n").index("x = y / x") + 1


@pytest.fixture
def book(tmp_path) -> Path:
    """A repository of its own: the tools, and a small book with a function that divides by zero."""
    root = make_book(tmp_path / "book", head() + BODY)
    (root / "scripts").symlink_to(REPOSITORY / "scripts")
    assert tangle(root)[0] == 0
    return root


@pytest.fixture
def copied(tmp_path) -> Path:
    """The same with a real copy of the tools, so that they find this book by their own place."""
    root = make_book(tmp_path / "copy", head() + BODY)
    shutil.copytree(REPOSITORY / "scripts", root / "scripts", ignore=shutil.ignore_patterns("__pycache__", "typeset"))
    assert tangle(root)[0] == 0
    return root


def python(root: Path, code: str, *command: str, **more) -> subprocess.CompletedProcess:
    command = command or ("-c", code)
    env = {**os.environ, "PYTHONPATH": "", "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, *command], cwd=root, capture_output=True, text=True, env=env, timeout=60, **more
    )


CALL = "from tangled.t27_x import outer, wrap\nimport scripts\n"


def test_an_uncaught_exception_names_the_chapter(copied):
    done = python(copied, CALL + "outer(0)")
    assert done.returncode == 1
    assert f'  File "chapters/27-x.qmd", line {LINE}, in outer\n    x = y / x\n' in done.stderr
    assert (
        done.stderr.endswith("ZeroDivisionError: division by zero\n")
        and "level2_vectorized" not in done.stderr
    )
    assert done.stderr.startswith("Traceback (most recent call last):\n")


def test_causes_are_rewritten_too(copied):
    done = python(copied, CALL + "wrap(0)")
    assert done.stderr.count('File "chapters/27-x.qmd"') == 3
    assert (
        "The above exception was the direct cause" in done.stderr and "RuntimeError: wrapped" in done.stderr
    )


def test_an_exception_elsewhere_is_shown_as_ever(copied):
    code = "import tangled\n1 / 0"
    assert python(copied, code).stderr == python(copied, "None\n1 / 0").stderr


@pytest.mark.parametrize("spoil", ["chapters", "scripts", "markdown", "broken", "derived"])
def test_without_chapters_or_tools_the_plain_traceback(copied, spoil):
    code = CALL.replace("import scripts\n", "") + "outer(0)"
    if spoil == "markdown":
        code = "import sys; sys.modules['markdown_it'] = None\n" + code
    elif spoil == "broken":
        edit(copied, "chapters/27-x.qmd", "<<Go in>>", "<<Go out>>")
    elif spoil == "derived":
        edit(copied, LEVEL, "# Tangled from", "# From")
    else:
        shutil.rmtree(copied / spoil)
    done = python(copied, code)
    assert done.returncode == 1 and "level2_vectorized.py" in done.stderr and ".qmd" not in done.stderr
    assert done.stderr.count("Traceback") == 1 and done.stderr.endswith(
        "ZeroDivisionError: division by zero\n"
    )


def test_coverage_sees_the_tangled_lines(book):
    (book / "program.py").write_text("from tangled.t27_x import outer\nouter(1)\n")
    data = book / ".coverage"
    done = python(book, "", "-m", "coverage", "run", f"--data-file={data}", "program.py")
    assert done.returncode == 0, done.stderr
    done = python(
        book, "", "-m", "coverage", "report", f"--data-file={data}", "-m", "--include=*/level2_vectorized.py"
    )
    assert "tangled/t27_x/level2_vectorized.py" in done.stdout
    assert "9-12" in done.stdout  # the body of wrap was not run


def test_the_debugger_stops_in_the_tangled_file(book):
    (book / "program.py").write_text("from tangled.t27_x import outer\nprint('got', outer(2))\n")
    done = python(
        book,
        "",
        "-m",
        "pdb",
        "program.py",
        input="import tangled.t27_x.level2_vectorized\n"
        f"break {LEVEL}:4\ncontinue\np x\nwhere\ncontinue\nquit\n",
    )
    assert f"Breakpoint 1 at {os.path.realpath(book / LEVEL)}:4" in done.stdout
    assert f"{LEVEL}(4)outer()" in done.stdout and "x = y / x" in done.stdout and "got 0.5" in done.stdout


def test_ipython_prints_the_chapter_lines_after_its_own(copied):
    pytest.importorskip("IPython")
    (copied / "ip").mkdir()
    done = python(
        copied,
        "",
        "-m",
        "IPython",
        "--colors=NoColor",
        "--ipython-dir",
        str(copied / "ip"),
        "-c",
        "from tangled.t27_x import outer\nouter(0)",
    )
    said = done.stdout + done.stderr
    assert (
        f'  File "chapters/27-x.qmd", line {LINE}, in outer\n    x = y / x\n' in said
        and "level2_vectorized.py" in said
    )


# -- locate


def test_every_generated_line_knows_its_chapter_line(book):
    chapter = (book / "chapters/27-x.qmd").read_text().split("\n")
    seen = 0
    for n, line in enumerate((book / LEVEL).read_text().split("\n"), 1):
        place = locate(book / LEVEL, n, root=book)
        if place:
            seen += 1
            assert place[0] == "chapters/27-x.qmd"
            assert chapter[place[1] - 1].strip() == line.strip().replace("eq. 27.1", "@eq-27-a")
    assert seen == 11 and locate(book / LEVEL, 1, root=book) is None


def test_locate_after_edits(book):
    edit(book, LEVEL, "    x = y / x", "    z = 1\n    x = y / x")
    assert locate(book / LEVEL, 4, root=book) is None
    assert locate(book / LEVEL, 5, root=book) == ("chapters/27-x.qmd", LINE)
    edit(book, "chapters/27-x.qmd", "$$ a $$", "\n$$ a $$")
    edit(book, "chapters/27-x.qmd", "# Topic 27", "\n# Topic 27")
    assert locate(book / LEVEL, 5, root=book) == ("chapters/27-x.qmd", LINE + 1)


@pytest.mark.parametrize(
    "path, line",
    [
        ("tangled/no.py", 1),
        (LEVEL, 0),
        (LEVEL, 999),
        ("chapters/27-x.qmd", 3),
        ("/etc/passwd", 1),
        ("tangled/__init__.py", 3),
        (f"{PACKAGE}/__init__.py", 3),
        ("tangled/mine.py", 1),
    ],
)
def test_locate_has_no_answer(book, path, line):
    (book / "tangled/mine.py").write_text("x = 1\n")
    assert locate(book / path, line, root=book) is None


def test_locate_of_a_file_that_its_chapter_makes_no_more(book):
    edit(book, "chapters/27-x.qmd", "level2_vectorized.py", "level1_naive.py")
    assert locate(book / LEVEL, 4, root=book) is None


def test_locate_is_cached(book, monkeypatch):
    assert locate(book / LEVEL, 4, root=book)
    monkeypatch.setattr(origin, "read_book", None)
    assert locate(book / LEVEL, 5, root=book)


# -- the pieces, in this process


@pytest.fixture
def here(book, monkeypatch):
    """The tools look at the small book; its function is loaded from its file."""
    monkeypatch.setattr(origin, "ROOT", book)
    monkeypatch.setattr(provenance, "_LINES", {})
    space = {}
    exec(compile((book / LEVEL).read_text(), str(book / LEVEL), "exec"), space)
    return space


def caught(call, *args):
    try:
        call(*args)
    except Exception as error:
        return error


def test_show(here, capsys):
    error = caught(here["wrap"], 0)
    assert provenance.show(type(error), error, error.__traceback__)
    assert capsys.readouterr().err.count('File "chapters/27-x.qmd"') == 3
    error = caught(int, "x")
    assert not provenance.show(type(error), error, error.__traceback__)
    assert capsys.readouterr().err == ""


def test_places(here):
    error = caught(here["outer"], 0)
    assert provenance.places(error.__traceback__) == [("chapters/27-x.qmd", LINE, "outer", "x = y / x")]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="exception groups")
def test_groups(here, capsys):
    group = ExceptionGroup("two", [caught(here["outer"], 0), ValueError()])  # noqa: F821
    assert provenance.show(type(group), group, None)
    assert 'File "chapters/27-x.qmd"' in capsys.readouterr().err


def test_a_cycle_of_causes_ends(here):
    a, b = caught(here["outer"], 0), ValueError("b")
    a.__context__, b.__context__ = b, a
    assert provenance.rewrite(traceback.TracebackException.from_exception(a))


def test_ipython_handler(here, monkeypatch, capsys):
    ipython = pytest.importorskip("IPython")

    class Shell:
        def set_custom_exc(self, kinds, handler):
            self.handler = handler

        def showtraceback(self, *args, **more):
            print("plain")

    shell = Shell()
    monkeypatch.setattr(ipython, "get_ipython", lambda: shell)
    provenance.install_in_ipython()
    handler = shell.handler
    provenance.install_in_ipython()
    assert shell.handler is handler
    error = caught(here["outer"], 0)
    handler(shell, type(error), error, error.__traceback__)
    out, err = capsys.readouterr()
    assert out == "plain\n" and err == f'  File "chapters/27-x.qmd", line {LINE}, in outer\n    x = y / x\n'
    monkeypatch.setattr(provenance, "places", None)
    handler(shell, type(error), error, error.__traceback__)
    monkeypatch.setattr(ipython, "get_ipython", lambda: None)
    provenance.install_in_ipython()


def test_nothing_is_stored(book):
    assert not [p for p in files(book, ".") if "map" in p]
