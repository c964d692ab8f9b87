"""A thousand mangled chapters: each tangles, or gets a message with a line. Never a traceback."""

from __future__ import annotations

import random
import re

from tests.books import APPENDIX, GOOD, chunk, files, head, make_book, run, tangle

RICH = GOOD.replace(
    "module: 1\n",
    "module: 1\ndifficulty: 2\nminutes: 90\nneeds: []\nexports: [level2_vectorized]\n"
    'targets:\n  - {api: "f(x)", time: "O(n)", space: "O(1)"}\n',
) + (
    '- a list\n\n  ```{.python file="visualization.py"}\n'
    "  def draw():\n      s = '''\n  a\n  '''\n  ```\n\n"
    '> ```{.python extend="Split the features"}\n> # more\n> ```\n\n'
    '<!--\n```{.python file="no.py"}\nx\n```\n-->\n\n'
    '````\n```{.python chunk="shown"}\n```\n````\n\n'
    "::: {.callout-note}\n~~~{.python file='benchmark.py'}\n<<Loop>>\n~~~\n:::\n\n"
    + chunk("for i in range(3):\n\tpass\n", chunk="Loop")
    + "```{python}\n#| label: fig-x\n1\n```\n"
)
BITS = [
    "```",
    "````",
    "~~~",
    "<<",
    ">>",
    "<<Rotate>>",
    "<<Loop>>",
    "<!--",
    "-->",
    "{",
    "}",
    '"',
    "'",
    "\t",
    "\r\n",
    "\r",
    "\0",
    "\ufeff",
    "\u2028",
    "\x0c",
    "é",
    "---\n",
    "# ",
    "- ",
    "> ",
    "    ",
    "$$",
    "{#eq-27-turn}",
    "@eq-27-turn",
    "@eq-27-",
    "=",
    "\\",
    '"""',
    "(",
    '{.python file="a.py"}',
    '{.python chunk="A"}',
    "file=",
    "pitfall=",
    "../",
    "[",
    ":",
    "topic: 3\n",
    "\n",
    "\n\n",
    "𝔘",
    "&",
    "*a",
    "!!python/object:os.system",
    "? ",
    "1e999",
    "2021-13-45",
    "<<<",
    ">>>",
    "__init__.py",
    "/",
    "::: x\n",
]
LINE = re.compile(r"chapters/(27-x|a-testing)\.qmd:[1-9]\d*: .*(; expected |; did you mean )")


def mangle(r: random.Random, text: str) -> bytes:
    """One to four small accidents."""
    for _ in range(r.randint(1, 4)):
        at = r.randrange(len(text) + 1)
        lines = text.split("\n")
        i, j = r.randrange(len(lines)), r.randrange(len(lines))
        what = r.randrange(8)
        if what == 0:
            text = text[:at] + text[at + r.randint(1, 30) :]
        elif what in (1, 2):
            text = text[:at] + r.choice(BITS) + text[at:]
        elif what == 3:
            lines[i], lines[j] = lines[j], lines[i]
        elif what == 4:
            lines.insert(i, lines[j])
        elif what == 5:
            del lines[min(i, j) : min(i, j) + r.randint(1, 4)]
        elif what == 6:
            lines[i] = r.choice(["  ", "\t", "> ", "- ", "    "]) + lines[i]
        else:
            lines[i] = r.choice(BITS) + lines[i] + r.choice(BITS)
        if what > 2:
            text = "\n".join(lines)
        if not text:
            text = "\n"
    data = text.encode()
    if r.random() < 0.1 and data:
        at = r.randrange(len(data))
        data = data[:at] + bytes([r.randrange(256)]) + data[at + 1 :]
    return data


def test_a_thousand_mangled_chapters(tmp_path):
    r = random.Random(27)
    root = make_book(tmp_path, {"27-x": RICH, "a-testing": APPENDIX}, ["a-testing"])
    status, said = tangle(root)
    assert status == 0, said
    results = {0: 0, 1: 0}
    for turn in range(1000):
        data = mangle(r, RICH)
        (root / "chapters/27-x.qmd").write_bytes(data)
        before = files(root)
        status, said = tangle(root)
        results[status] += 1
        if status:
            assert files(root) == before, data
            assert said and all(LINE.match(line) for line in said[:-1].split("\n")), (said, data)
        elif turn % 10 == 0:
            assert tangle(root, "--check")[0] == 0, data
    assert min(results.values()) > 100, results


def test_mangled_lists_of_chapters(tmp_path):
    r = random.Random(28)
    root = make_book(tmp_path)
    quarto = (root / "_quarto.yml").read_text()
    for _ in range(100):
        (root / "_quarto.yml").write_bytes(mangle(r, quarto))
        status, said = tangle(root)
        assert status in (0, 1) and (status == 0 or "_quarto.yml" in said or "chapters/" in said), said


def test_mangled_generated_files(tmp_path):
    """Whatever stands in tangled/, it is not lost: it is taken home, refused, or was tangle's own."""
    r = random.Random(29)
    root = make_book(tmp_path)
    tangle(root)
    clean, chapters = files(root), files(root, "chapters")
    for _ in range(150):
        path = r.choice([p for p in clean if p.endswith(".py")])
        mine = mangle(r, clean[path].decode())
        (root / path).write_bytes(mine)
        status, said = run("stitch", root)
        if status:
            assert (root / path).read_bytes() == mine and path in said, (said, mine)
        status, said = tangle(root)
        if status:
            assert (root / path).read_bytes() == mine, (said, mine)
        for name, data in {**clean, **chapters}.items():
            (root / name).write_bytes(data)


def test_many_chapters_mangled_together(tmp_path):
    r = random.Random(30)
    for turn in range(10):
        texts = {
            f"{n:02d}-x": mangle(r, head(n) + chunk(f"x = {n}\n", file="level2_vectorized.py"))
            for n in range(1, 5)
        }
        status, said = tangle(make_book(tmp_path / str(turn), texts))
        assert status in (0, 1) and (status == 0 or said)
