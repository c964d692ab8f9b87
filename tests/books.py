"""Small books for the tests of the tools: `make_book(tmp_path, chapters)` and the verbs, run in-process."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

from scripts.__main__ import main
from scripts.tangling.pitfalls import build

HEAD = "---\ntopic: {topic}\npackage: t{topic:02d}_x\nmodule: 1\n---\n\n"
HEAD += "# Topic {topic} {{#sec-topic-{topic}}}\n\n"


def head(topic: int = 27, more: str = "") -> str:
    text = HEAD.format(topic=topic)
    return text.replace("module: 1\n", "module: 1\n" + more) if more else text


def chunk(code: str, **attributes: str) -> str:
    """A fenced chunk; `file_` and the like are not needed: `chunk("x = 1\\n", file="a.py")`."""
    inner = " ".join(f'{k}="{v}"' for k, v in attributes.items())
    return f"```{{.python {inner}}}\n{code}```\n\n"


LEVEL2 = (
    chunk(
        """\
import numpy as np
""",
        file="level2_vectorized.py",
    )
    + chunk(
        '''\
def rotate(x):
    """Turn x (@eq-27-turn).

    Returns the same shape.
    """
    <<Split the features>>
    return even, odd                 # @eq-27-turn
''',
        file="level2_vectorized.py",
        chunk="Rotate",
    )
    + chunk(
        """\
even = x[..., 0::2]
odd = x[..., 1::2]
""",
        chunk="Split the features",
    )
    + chunk(
        """\
even = x[..., 1::2]
odd = x[..., 0::2]
""",
        pitfall="swapped-halves",
        replaces="Split the features",
    )
)

GOOD = (
    head()
    + "$$ y = R x $$ {#eq-27-turn}\n\n"
    + LEVEL2
    + chunk(
        """\
from tangled.t27_x import rotate


def test_rotate():
    assert rotate
""",
        file="tests/test_basic.py",
    )
)

APPENDIX = "---\nshared: [testing.py]\n---\n\n# Testing {#sec-testing}\n\n" + chunk(
    "LIMIT = 1\n", file="testing.py"
)
PACKAGE = "tangled/t27_x"
LEVEL = PACKAGE + "/level2_vectorized.py"


def make_book(root: Path, chapters: dict[str, str | bytes] | str | None = None, appendices=()) -> Path:
    """Write `_quarto.yml` and the chapters; one string stands for `chapters/27-x.qmd`."""
    if chapters is None:
        chapters, appendices = {"27-x": GOOD, "a-testing": APPENDIX}, ("a-testing",)
    elif isinstance(chapters, (str, bytes)):
        chapters = {"27-x": chapters}
    (root / "chapters").mkdir(parents=True, exist_ok=True)
    lines = ["book:", "  chapters:"]
    lines += [f"    - chapters/{name}.qmd" for name in chapters if name not in appendices]
    lines += ["  appendices:"] * bool(appendices) + [f"    - chapters/{name}.qmd" for name in appendices]
    (root / "_quarto.yml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for name, text in chapters.items():
        data = text if isinstance(text, bytes) else text.encode()
        (root / f"chapters/{name}.qmd").write_bytes(data)
    return root


def run(verb: str, root: Path, *more: str) -> tuple[int, str]:
    """(exit status, everything printed) of `python -m scripts VERB --root ROOT …`."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        status = main([verb, "--root", str(root), *more])
    return status, out.getvalue()


def tangle(root: Path, *more: str) -> tuple[int, str]:
    return run("tangle", root, *more)


def stitch(root: Path, *more: str) -> tuple[int, str]:
    return run("stitch", root, *more)


def text(root: Path, path: str = LEVEL) -> str:
    """A generated file without its first line."""
    return (root / path).read_text(encoding="utf-8").partition("\n")[2]


def wrong(root: Path, stem: str) -> str:
    """A pitfall of `chapters/27-x.qmd`, built, without its first line."""
    return text(root, build(root, "t27_x")[stem].path.relative_to(root).as_posix())


def files(root: Path, under: str = "tangled") -> dict[str, bytes]:
    """Every file below a folder."""
    return {
        p.relative_to(root).as_posix(): p.read_bytes()
        for p in sorted((root / under).rglob("*"))
        if p.is_file()
    }


def edit(root: Path, path: str, old: str, new: str) -> None:
    """Replace text that must be there, once."""
    data = (root / path).read_bytes().decode()
    assert data.count(old) >= 1, (old, data)
    (root / path).write_bytes(data.replace(old, new, 1).encode())


def grown(root: Path) -> None:
    """A change to every file of the book, and a file more and one less."""
    path = root / "chapters/27-x.qmd"
    text = (
        path.read_text()
        .replace("x[", "x [")
        .replace("assert rotate", "assert  rotate")
        .replace("Topic 27", "Topic 2 7")
    )
    text = text.replace("tests/test_basic.py", "tests/test_all.py")
    path.write_text(text + chunk("y = 2\n", file="more.py"))
    edit(root, "chapters/a-testing.qmd", "LIMIT = 1", "LIMIT = 2")
