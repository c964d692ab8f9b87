"""Any book, any line edited: it is home and tangles to the edited file, or everything is as it was."""

from __future__ import annotations

import tempfile

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.configuration import set_hypothesis_home_dir

from tests.books import chunk, files, head, make_book, stitch, tangle, text

set_hypothesis_home_dir(tempfile.gettempdir())  # nothing of it in the repository
HERE = "level2_vectorized.py"
CHAPTER = "chapters/27-x.qmd"

# -- round trips

CODE = st.lists(
    st.sampled_from(
        [
            "a = 1",
            "b = 2  # eq. 27.1",
            "c = [1,\n     2]",
            "if a:\n    b = 3",
            "",
            "def f():\n    return 1",
            's = """x\n  y\n"""',
            '"""Doc.\n\nMore.\n"""',
            "@f\ndef g():\n    pass",
            "d = 4 \t",
        ]
    ),
    min_size=1,
    max_size=5,
).map(lambda parts: "\n".join(parts) + "\n")


@st.composite
def books(draw):
    """A chapter with a few files, chunks within chunks, in lists and quotations, with any line ends."""
    names = [f"Chunk {i}" for i in range(draw(st.integers(0, 4)))]
    body, open_ = "$$ a $$ {#eq-27-a}\n\n", list(names)
    for _i in range(draw(st.integers(1, 3))):
        code = draw(CODE)
        while open_ and draw(st.booleans()):
            code += draw(st.sampled_from(["<<%s>>\n", "if 1:\n    <<%s>>\n"])) % open_.pop()
        body += chunk(code, file=draw(st.sampled_from([HERE, "b.py"])))
    for name in names:
        code = draw(CODE) + "x = 1\n"
        if open_ and draw(st.booleans()):
            code += f"<<{open_.pop()}>>\n"
        block = chunk(code, chunk=name)
        prefix = draw(st.sampled_from(["", "", "> ", "  "]))
        body += (
            "".join(
                prefix + line + "\n" if prefix != "  " or line else "\n" for line in block.split("\n")[:-1]
            )
            + "\n"
        )
    if open_:
        body += chunk("".join(f"<<{name}>>\n" for name in open_), file="c.py")
    end = draw(st.sampled_from(["\n", "\r\n"]))
    return (head() + body).replace("\n", end).encode()


@settings(max_examples=200, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(books(), st.data())
def test_tangle_edit_stitch_round_trip(tmp_path_factory, chapter, data):
    """Whatever line is edited: it is home and tangles to the edited file, or everything is as it was."""
    root = make_book(tmp_path_factory.mktemp("trip"), chapter)
    status, said = tangle(root)
    if status:  # a made-up chapter may be no Python; then it has a line
        assert "chapters/27-x.qmd:" in said
        return
    before = files(root)
    assert stitch(root)[0] == 0 and files(root) == before and (root / CHAPTER).read_bytes() == chapter
    path = data.draw(st.sampled_from(sorted(p for p in before if p.count("/") == 2 and "__init__" not in p)))
    lines = (root / path).read_text().split("\n")
    at = data.draw(st.integers(1, len(lines) - 1))
    blank = lines[at][: len(lines[at]) - len(lines[at].lstrip())]
    how = data.draw(st.sampled_from(["insert", "delete", "replace"]))
    lines[at : at + (how != "insert")] = [] if how == "delete" else [blank + "new = 1  # eq. 27.1"]
    (root / path).write_text("\n".join(lines))
    mine = (root / path).read_bytes()
    if mine.rstrip(b"\n") == before[path].rstrip(b"\n"):  # how many line ends end a file is not an edit
        return
    status, said = stitch(root)
    if status:
        assert (
            path in said and (root / path).read_bytes() == mine and (root / CHAPTER).read_bytes() == chapter
        )
    else:
        assert tangle(root, "--check") == (0, "")
        want, have = mine.decode().split("\n")[1:], text(root, path).split("\n")
        strip = lambda lines: [line.rstrip() for line in lines]
        assert "\n".join(strip(have)).rstrip() == "\n".join(strip(want)).rstrip()
        assert (root / CHAPTER).read_bytes().count(b"\r\n") in (0, (root / CHAPTER).read_bytes().count(b"\n"))
