"""The real Quarto: its command lines, tried with a stand-in for the program."""

from __future__ import annotations

import posixpath
import re
import stat
import sys
from pathlib import Path

import pytest
import yaml

from scripts.errors import Problems
from scripts.typeset import PDF
from scripts.typeset.pandoc import READER, run
from scripts.typeset.quarto import commands, failure, render

ROOT = Path(__file__).resolve().parents[1]

STAND_IN = f"""#!{sys.executable}
import pathlib, sys
project = pathlib.Path.cwd()
(project / "calls").open("a").write(" ".join(sys.argv[1:]) + "\\n")
if "epub" in sys.argv:
    sys.exit("no EPUB today")
(project / "_book" / "chapters").mkdir(parents=True, exist_ok=True)
if "html" in sys.argv:
    (project / "_book" / "index.html").write_text("<p>site</p>")
else:
    (project / "_book" / "Deep-Learning-from-Scratch.pdf").write_text("pdf")
"""


def test_one_command_for_each_format(tmp_path):
    lines = commands("quarto", tmp_path, ("pdf", "html"), "us-letter")
    assert lines == [
        ["quarto", "render", str(tmp_path), "--to", "html", "--no-clean"],
        ["quarto", "render", str(tmp_path), "--to", "typst", "--no-clean", "-M", "papersize:us-letter"],
    ]


def test_one_chapter(tmp_path):
    (line,) = commands("quarto", tmp_path, ("html",), only="chapters/27-x.qmd")
    assert line[2] == str(tmp_path / "chapters" / "27-x.qmd")


@pytest.fixture
def quarto(tmp_path):
    program = tmp_path / "quarto"
    program.write_text(STAND_IN, encoding="utf-8")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    (tmp_path / "book").mkdir()
    return str(program)


def test_results_have_the_book_s_names(tmp_path, quarto):
    render(quarto, tmp_path / "book", tmp_path / "_book", ("html", "pdf"))
    assert (tmp_path / "_book" / "index.html").is_file() and (tmp_path / "_book" / PDF).read_text() == "pdf"
    assert len((tmp_path / "book" / "calls").read_text().splitlines()) == 2


def test_a_failure_is_a_problem_and_keeps_what_is_finished(tmp_path, quarto):
    with pytest.raises(Problems, match="quarto render --to epub failed: no EPUB today"):
        render(quarto, tmp_path / "book", tmp_path / "_book", ("epub", "html"))
    assert (tmp_path / "_book" / "index.html").is_file()


def test_what_is_shown_of_a_failure():
    """The lines that are called errors with their place, wherever they stand; no backtrace, no colours."""
    text = """[1m[3/9] chapters/09-batch-norm.qmd[22m
[typst]: Compiling book.typ to book.pdf...
error: label `<chunk-09-x>` does not exist in the document
    ┌─ book.typ:120:3
120 │ #link(<chunk-09-x>)[x]
help: something
\x1b[91mERROR: Typst compilation failed\x1b[39m
Stack trace:
    at renderPandoc (file:///opt/quarto/quarto.js:1:2)
    at async x (y)
more
"""
    assert failure(text) == """error: label `<chunk-09-x>` does not exist in the document
    ┌─ book.typ:120:3
120 │ #link(<chunk-09-x>)[x]
ERROR: Typst compilation failed"""
    assert failure("one\ntwo") == "one\ntwo"


def test_warnings_are_passed_on(tmp_path):
    program = tmp_path / "quarto"
    program.write_text("#!/bin/sh\nmkdir -p _book\necho 'WARNING: Unable to resolve' >&2\necho fine\n")
    program.chmod(0o755)
    (tmp_path / "book").mkdir()
    render(str(program), tmp_path / "book", tmp_path / "_book", ("html",), said=(said := []))
    assert said == ["WARNING: Unable to resolve"]


# -- the filter, run by the pandoc that we have
FILTER = ROOT / "scripts/weaving/quarto/book.lua"
SOURCE = """
$$x$$ {#eq-09-one}

$$y$$ {#eq-09-two}

[a listing](#chunk-1){.pageref .web} and [another](#chunk-2){.pageref}

``` {.python file="a.py" marked="2"}
x = 1   # @eq-09-two, @eq-05-loss-of-all
y = 2
```
"""


def filtered(format: str) -> str:
    return run(["-f", "markdown", "-t", format, "--lua-filter", str(FILTER), "--syntax-highlighting=none"], SOURCE)[0]


def test_links_to_listings_that_print_does_not_have_are_not_made():
    assert "chunk-1" not in filtered("typst") and "a listing and" in filtered("typst")
    assert "#chunk-1" in filtered("html") and "chunk-2" in filtered("typst")


def test_marked_lines_and_equations_cited_in_code():
    assert "  x = 1   # eq. 9.2, eq. loss of all of chapter 5\n▌ y = 2" in filtered("typst")
    html = filtered("html")
    assert 'data-marked="2"' in html and "x = 1   # eq. 9.2" in html and "▌" not in html


CONDITIONS = """
local function act(block)
  if not (block.classes:includes("content-visible") or block.classes:includes("content-hidden")) then return end
  local when = block.attributes["when-format"]
  local shown = when and when == "typst" or not when and block.attributes["unless-format"] ~= "typst"
  if block.classes:includes("content-hidden") then shown = not shown end
  return shown and block.content or {}
end
local said = {}
local function id(element)
  if element.identifier ~= "" then table.insert(said, "id " .. element.identifier) end
end
local function link(element) table.insert(said, "link " .. element.target) end
local function cite(element)
  for _, one in ipairs(element.citations) do table.insert(said, "cite " .. one.id) end
end
local function label(text)
  for found in text.text:gmatch("{#(eq%-[%w-]+)}") do table.insert(said, "id " .. found) end
end
return { { Div = act, Span = act },
         { Div = id, Span = id, Header = id, CodeBlock = id, Figure = id, Table = id, Image = id, Link = link,
           Cite = cite, Str = label },
         { Pandoc = function() return pandoc.Pandoc({ pandoc.CodeBlock(table.concat(said, "\\n")) }) end } }
"""


def test_print_has_every_place_that_it_links_to(tmp_path):
    """The whole book, woven, read as Quarto's Typst reads it: one dead link would stop the compiler."""
    from concurrent.futures import ThreadPoolExecutor

    from scripts.reading.chapters import read_book
    from scripts.tangling.outputs import outputs
    from scripts.weave import weave
    book = read_book(ROOT)
    weave(book, outputs(book), {}, tmp_path / "book")
    (tmp_path / "conditions.lua").write_text(CONDITIONS, encoding="utf-8")
    pages = [path.relative_to(tmp_path / "book").as_posix() for path in (tmp_path / "book").rglob("*.qmd")]
    filters = [f"--lua-filter={file}" for file in (tmp_path / "book/book.lua", tmp_path / "conditions.lua")]

    def read(page: str):
        text = (tmp_path / "book" / page).read_text(encoding="utf-8")
        text = run(["-f", READER, "-t", "typst", *filters], text)[0]
        return {kind: re.findall(rf"^{kind} (.*)$", text, re.M) for kind in ("id", "link", "cite")}

    with ThreadPoolExecutor(2) as pool:
        found = dict(zip(pages, pool.map(read, pages)))
    labels = {id for page in found.values() for id in page["id"]}
    dead = [f"{page}: {key}" for page, has in found.items() for key in has["cite"]
            if re.match(r"(eq|fig|tbl|lst)-", key) and key not in labels]
    for page, has in found.items():
        for url in has["link"]:
            path, _, id = url.partition("#")
            target = posixpath.normpath(posixpath.join(posixpath.dirname(page), path)) if path else page
            if "://" not in url and (target not in found or (id and id not in found[target]["id"])):
                dead.append(f"{page}: {url}")
    assert not dead


# -- the repository itself, as plain Quarto sees it
def test_plain_quarto_finds_what_it_needs():
    assert "QUARTO_PYTHON=.venv/bin/python" in (ROOT / "_environment").read_text()
    assert {"/.quarto/", "**/*.quarto_ipynb"} <= set((ROOT / ".gitignore").read_text().split("\n"))
    config = yaml.safe_load((ROOT / "_quarto.yml").read_text(encoding="utf-8"))
    assert all((ROOT / name).is_file() for name in [*config["filters"], config["format"]["html"]["css"]])


def test_the_source_is_written_for_every_printer():
    """Formats are told apart as html or not; links to a chapter name its heading; no unnumbered one is cited."""
    files = [ROOT / "index.qmd", *sorted((ROOT / "chapters").glob("*.qmd"))]
    texts = {path.name: path.read_text(encoding="utf-8") for path in files}
    heading = re.compile(r"^# .*\{#(sec-[\w-]+) \.unnumbered", re.M)
    unnumbered = {label for text in texts.values() for label in heading.findall(text)}
    for name, text in texts.items():
        text = re.sub(r"`[^`\n]*`", "", text)             # what is said of it
        assert set(re.findall(r'(?:when|unless)-format="?([\w:]+)', text)) <= {"html"}, name
        assert not re.findall(r"\]\([\w/-]+\.qmd\)", text), f"{name}: a link to a chapter without #sec-…"
        assert not [label for label in unnumbered if re.search(rf"@{label}\b", text)], name
