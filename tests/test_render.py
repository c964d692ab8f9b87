"""`make render` and `make preview`: the whole way, the choice of the engine, the server."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest
from small_book import edit, make

from scripts import preview, render, tools
from scripts.errors import Problem, Problems
from scripts.reading.chapters import read_book
from scripts.weaving import engines, kernel


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """The small book, rendered once as a site."""
    root = make(tmp_path_factory.mktemp("book"))
    (root / "pyproject.toml").touch()
    assert render.main(["--root", str(root), "--formats", "html", "--engine", "embedded"]) == 0
    return root


def test_from_chapters_to_a_site(root, capsys):
    page = (root / "_book/chapters/01-sums.html").read_text(encoding="utf-8")
    assert "total 3.0" in page and "chunk-01-add-one-by-one" in page
    before = kernel.STARTS
    edit(root / "chapters/01-sums.qmd", "We call", "We often call")
    assert render.main(["--root", str(root), "--formats", "html", "--engine", "embedded"]) == 0
    said = capsys.readouterr().out
    assert [line.split()[0] for line in said.split("\n") if line[:1].isalpha()] == [
        "tangle", "execute", "weave", "typeset", "done"]
    assert "nothing to run" in said and "_book/index.html" in said and before == kernel.STARTS
    assert "We often call" in (root / "_book/chapters/01-sums.html").read_text(encoding="utf-8")


def test_one_chapter(root, capsys, monkeypatch):
    """A mistake in another chapter does not count, and the other is not run."""
    calls = []
    monkeypatch.setattr("scripts.typeset.typeset", lambda *args, **kw: calls.append(args), raising=False)
    edit(root / "chapters/02-means.qmd", "mean([])\n", "mean([1.0, 2.0])\n")
    before = kernel.STARTS
    assert render.main(["--root", str(root), "--formats", "html,pdf", "--topic", "1", "--engine", "embedded",
                        "--paper", "us-letter"]) == 0
    assert before == kernel.STARTS
    (project, out, formats, paper, only), = calls
    assert (project, out) == (root / "build/book", root / "_book")
    assert (formats, paper, only) == (("html", "pdf"), "us-letter", "chapters/01-sums.qmd")
    edit(root / "chapters/02-means.qmd", "mean([1.0, 2.0])\n", "mean([])\n")


def test_a_hand_edit_stops_it(root, capsys):
    path = root / "tangled/t01_sums/level1_naive.py"
    text = path.read_text()
    path.write_text(text.replace("s = 0.0", "s = 1.0"))
    status = render.main(["--root", str(root), "--formats", "html"])
    said = capsys.readouterr()
    path.write_text(text)
    assert status == 1 and "s = 1.0" in said.out + said.err


@pytest.mark.parametrize("argv, what", [(["--formats", "html,doc"], "html, pdf, epub"),
                                        (["--formats", ","], "html, pdf"), (["--topic", "7"], "no topic 7")])
def test_what_it_refuses(root, argv, what):
    with pytest.raises((Problem, Problems), match=what):
        render.main(["--root", str(root), *argv])


def test_environment(monkeypatch):
    monkeypatch.setenv("ENGINE", "embedded")
    monkeypatch.setenv("PAPER", "letter")
    wanted = render.settings(render.parser("render").parse_args([]))
    assert (wanted.engine, wanted.paper, wanted.formats) == ("embedded", "us-letter", ("html", "pdf", "epub"))
    monkeypatch.setenv("PAPER", "foolscap")
    with pytest.raises(Problem, match="PAPER=foolscap; expected a4, letter"):
        render.settings(render.parser("render").parse_args([]))


# -- Quarto, played by a script
def quarto(folder: Path, monkeypatch, version: str, status: int = 0) -> Path:
    """A program of that name, first on the path, which notes how it was called."""
    folder.mkdir(exist_ok=True)
    program, notes = folder / "quarto", folder / "notes"
    program.write_text(f"""#!/bin/sh
if [ "$1" = --version ]; then echo {version}; exit; fi
echo "$@" >> {notes}
mkdir -p _book; echo "<p>Quarto</p>" > _book/index.html
if [ {status} != 0 ]; then echo "ERROR: it is broken" >&2; fi
exit {status}
""")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    return notes


def test_which_engine(tmp_path, monkeypatch):
    formats = ("html", "pdf", "epub")
    monkeypatch.setattr(engines, "quarto", lambda: None)
    assert engines.choose("auto", formats) == (None, (), formats)
    with pytest.raises(Problem, match="no `quarto`"):
        engines.choose("quarto", formats)
    monkeypatch.setattr(engines, "quarto", lambda: ("/q", (1, 8)))
    assert engines.choose("auto", formats) == (None, (), formats), "too old"
    with pytest.raises(Problem, match=r"version 1\.8; expected 1\.9"):
        engines.choose("quarto", formats)
    monkeypatch.setattr(engines, "quarto", lambda: ("/q", (1, 10)))
    assert engines.choose("auto", formats) == ("/q", ("html",), ("pdf", "epub"))
    assert engines.choose("quarto", formats) == ("/q", formats, ())
    assert engines.choose("embedded", formats) == (None, (), formats)


def test_quarto_is_called(root, tmp_path, monkeypatch):
    notes = quarto(tmp_path / "bin", monkeypatch, "1.10.18")
    assert engines.quarto() == (str(tmp_path / "bin/quarto"), (1, 10))
    wanted = render.Settings(root, None, "quarto", "us-letter", ("html", "pdf"))
    made = engines.typeset_book(wanted, read_book(root), said := [])
    project = root / "build/book"
    assert notes.read_text().split("\n")[:2] == [
        f"render {project} --to html --no-clean",
        f"render {project} --to typst --no-clean -M papersize:us-letter"]
    assert said == ["html, pdf by Quarto"] and "_book/index.html" in made
    assert "Quarto" in (root / "_book/index.html").read_text()


def test_quarto_fails(root, tmp_path, monkeypatch):
    quarto(tmp_path / "bin", monkeypatch, "1.9.1", status=1)
    with pytest.raises(Problems, match="--to html failed: ERROR: it is broken"):
        engines.typeset_book(render.Settings(root, None, "quarto", "a4", ("html",)), read_book(root), [])


def test_a_failure_of_quarto_leaves_the_other_formats(root, tmp_path, monkeypatch):
    """The site is Quarto's, the PDF the embedded typesetter's: the one fails, the other is made."""
    quarto(tmp_path / "bin", monkeypatch, "1.10.18", status=1)
    made = []
    monkeypatch.setattr("scripts.typeset.typeset", lambda *args, **kw: made.append(args[2]), raising=False)
    with pytest.raises(Problems, match="it is broken"):
        engines.typeset_book(render.Settings(root, None, "auto", "a4", ("html", "pdf")), read_book(root), [])
    assert made == [("pdf",)]


def test_a_folder_with_any_name_in_a_locale_without_letters(tmp_path):
    """The tools are given a UTF-8 locale, so that neither the folder's name nor a citation stops them."""
    root = make(tmp_path / "Bücher ё")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("LC_", "LANG", "PYTHON"))}
    for how in ({"LANG": "C"}, {"LC_ALL": "C"}, {"LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}):
        done = subprocess.run([sys.executable, "-m", "scripts", "render", "--root", str(root), "--engine",
                               "embedded"], cwd=render.__file__.rpartition("/scripts/")[0],
                              env=environment | how, capture_output=True)
        assert done.returncode == 0, done.stderr.decode("utf-8", "replace")
        for path in ("build/book-typeset", "_book"):
            shutil.rmtree(root / path)


def test_a_tool_s_message_is_shown_and_its_backtrace_is_not():
    said = "pandoc: x.bib: withBinaryFile: does not exist (No such file or directory)\n"
    haskell = said + "HasCallStack backtrace:\n  throwIO, called at libraries/IO.hs:315:19 in ghc-internal\n\n"
    assert tools.message(haskell) == said.strip()
    assert tools.message("ERROR: no\n    at f (file:///q.js:1:2)\nmore") == "ERROR: no\nmore"
    python = 'Traceback (most recent call last):\n  File "x.py", line 1, in <module>\n    f()\nValueError: no'
    assert tools.message(python) == "ValueError: no"


def test_pandoc_s_failure_is_a_problem():
    from scripts.typeset.pandoc import run
    with pytest.raises(Problem, match=r"pandoc stopped: .*[Ee]xtension nope") as found:
        run(["-f", "markdown+nope"], "x")
    assert "CallStack" not in str(found.value)


# -- preview
def fetch(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return answer.read()


def test_the_server_adds_the_script_that_reloads(tmp_path):
    (tmp_path / "a.html").write_text("<body>Hello</body>")
    (tmp_path / "a.css").write_text("p {}")
    web = preview.server(tmp_path, 0)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    try:
        assert web.server_address[0] == "127.0.0.1"
        url = f"http://127.0.0.1:{web.server_address[1]}"
        page = fetch(f"{url}/a.html")
        assert page.startswith(b"<body>Hello<script>") and page.endswith(b"</script></body>")
        assert fetch(f"{url}/a.css") == b"p {}"
        assert fetch(url + preview.VERSION) == str(preview.State.version).encode()
    finally:
        web.shutdown()
        web.server_close()


def test_a_save_renders_that_chapter(root, monkeypatch, capsys):
    asked: list = []
    monkeypatch.setattr("scripts.preview.render", lambda wanted: asked.append(wanted.only))
    stop, version = threading.Event(), preview.State.version
    wanted = render.Settings(root, None, "embedded", "a4", ("html",))
    thread = threading.Thread(target=preview.follow, args=(wanted, stop, 0.02))
    thread.start()
    try:
        time.sleep(0.1)
        edit(root / "chapters/02-means.qmd", "# Means", "# The means")
        end = time.time() + 10
        while not asked and time.time() < end:
            time.sleep(0.02)
    finally:
        stop.set()
        thread.join()
        edit(root / "chapters/02-means.qmd", "# The means", "# Means")
    assert asked == [["chapters/02-means.qmd"]] and preview.State.version == version + 1


def test_a_mistake_waits_for_the_next_save(root, monkeypatch, capsys):
    def fails(wanted):
        raise Problem("chapters/01-sums.qmd", 3, "no")
    monkeypatch.setattr("scripts.preview.render", fails)
    version = preview.State.version
    preview.once(replace(render.Settings(root), formats=("html",)))
    assert capsys.readouterr().err == "chapters/01-sums.qmd:3: no\n" and preview.State.version == version


def test_what_is_rendered_for_what_was_saved(root):
    wanted = render.Settings(root, [1])
    assert preview.chapters_of(wanted, ["chapters/02-means.qmd"]) == ["chapters/02-means.qmd"]
    assert preview.chapters_of(wanted, ["_quarto.yml"]) == [1]
    assert preview.chapters_of(wanted, ["references.bib", "index.qmd"]) == [1]


def test_two_runs_take_turns(tmp_path):
    """A run that finds another one writing waits for it, and says so."""
    import fcntl
    import threading

    from scripts.render import Steps, alone
    said, order = [], []
    steps = Steps(quiet=True)
    steps.say = said.append
    (tmp_path / "build").mkdir()

    def second():
        with alone(tmp_path, steps):
            order.append("second")

    with open(tmp_path / "build" / "render.lock", "w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(0.3)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"] and "waiting" in said[0]
