"""Front matter, `_quarto.yml`, and one chapter tangled alone: every mistake has a line."""

from __future__ import annotations

import pytest

from tests.books import GOOD, chunk, head, make_book, tangle

FRONT = [
    ("topic: twenty", 2, "topic: 'twenty'; expected a whole number from 0 to 99"),
    ("topic: true", 2, "topic: True; expected a whole number"),
    (
        "topic: 27\npackage: positional",
        3,
        "package: 'positional'; expected a name such as t27_positional_encodings",
    ),
    ("topic: 27\npackage: t26_positional", 3, "expected a name such as t27_positional_encodings"),
    ("topic: 27", 2, "`topic:` without `package:`; expected both"),
    ("topic: 27\npackage: t27_x\nmodule: 5", 4, "module: 5; expected a whole number from 0 to 4"),
    ("topic: 27\npackage: t27_x\ndifficulty: 0", 4, "difficulty: 0; expected a whole number from 1 to 3"),
    ("topic: 27\npackage: t27_x\nminutes: long", 4, "minutes: 'long'"),
    ("topic: 27\npackage: t27_x\nneeds: 1", 4, "needs: 1; expected a list of topic numbers, such as [1, 25]"),
    (
        "topic: 27\npackage: t27_x\nneeds: [3]",
        4,
        "needs topic 3; expected earlier topics that are written: none",
    ),
    ("topic: 27\npackage: t27_x\nneeds: [27]", 4, "needs topic 27; expected earlier topics"),
    (
        "topic: 27\npackage: t27_x\nexports: [a.py]",
        4,
        "exports: ['a.py']; expected a list of modules without .py",
    ),
    ("topic: 27\npackage: t27_x\nexports: [levle]", 4, "exports 'levle', but no chunk has file=\"levle.py\""),
    (
        "topic: 27\npackage: t27_x\ntargets: [a]",
        4,
        "targets: ['a']; expected a list of {api: …, time: …, space: …}",
    ),
    ("topic: 27\npackage: t27_x\nshared: testing.py", 4, "shared: 'testing.py'; expected a list of files"),
    ("topic: 27\npackage: t27_x\nshared: [../x.py]", 4, "shared: '../x.py' is not a module under tangled/"),
    (
        "topic: 27\npackage: t27_x\nshared: [t01_y/x.py]",
        4,
        "shared: 't01_y/x.py' is not a module under tangled/",
    ),
    ("topci: 27", 2, "unknown key 'topci' in the front matter; did you mean 'topic'?"),
    ("wholly: 1", 2, "unknown key 'wholly' in the front matter; expected one of topic, package"),
    (
        "topic: 27\npackage: t27_x\ntitle: X",
        4,
        "`title:` in the front matter; expected the title as the first heading",
    ),
    ("topic: [27", 3, "YAML: "),
    ("- a\n- b", 2, "front matter is not a list of keys; expected `key: value`"),
    ("topic: 2021-09-09\npackage: t27_x", 2, "expected a whole number"),
    ("date: 2021-99-99", 2, "YAML: "),
]


@pytest.mark.parametrize("front, line, message", FRONT, ids=[f[0].splitlines()[-1] for f in FRONT])
def test_front_matter(tmp_path, front, line, message):
    root = make_book(tmp_path, f"---\n{front}\n---\n\n# X {{#sec-x}}\n")
    status, out = tangle(root)
    assert status == 1
    assert any(
        each.startswith(f"chapters/27-x.qmd:{line}: ") and message in each for each in out.splitlines()
    ), out


def test_front_matter_never_closed(tmp_path):
    assert tangle(make_book(tmp_path, "---\ntopic: 27\n# X\n")) == (
        1,
        "chapters/27-x.qmd:1: front matter opened here is never closed; expected a line `---` after it\n",
    )


# -- the list of chapters


@pytest.mark.parametrize(
    "quarto, message",
    [
        (None, "_quarto.yml: not found in"),
        ("book: [", "_quarto.yml:2: YAML: "),
        ("project: book\n", "_quarto.yml: no `book:`; expected `book:` with `chapters:`"),
        ("- a\n", "_quarto.yml: no `book:`"),
        (
            "book:\n  chapters:\n    - chapters/27-x.qmd\n    - chapters/28-y.qmd\n",
            "_quarto.yml:4: chapters/28-y.qmd is listed, but there is no such file; expected it to exist",
        ),
        (
            "book:\n  chapters:\n    - chapters/27-x.qmd\n    - chapters/27-x.qmd\n",
            "_quarto.yml:4: chapters/27-x.qmd is listed twice; expected once",
        ),
        (
            "book:\n  chapters:\n    - ../x.qmd\n",
            "_quarto.yml:3: ../x.qmd leaves the repository; expected a path below it",
        ),
        (
            "book:\n  chapters:\n    - chapters\n    - part: chapters/27-x.qmd\n    - folder.qmd\n",
            "_quarto.yml:5: folder.qmd: Is a directory",
        ),
        (b"book: \xff\n", "_quarto.yml: invalid start byte; expected UTF-8"),
    ],
)
def test_quarto_yml(tmp_path, quarto, message):
    root = make_book(tmp_path)
    (root / "folder.qmd").mkdir()
    if quarto is None:
        (root / "_quarto.yml").unlink()
    else:
        (root / "_quarto.yml").write_bytes(quarto if isinstance(quarto, bytes) else quarto.encode())
    status, out = tangle(root)
    assert status == 1 and out.startswith(message.partition(":")[0]) and message in out


# -- one chapter alone


@pytest.mark.parametrize(
    "which",
    [
        ("--topic", "27"),
        ("--only", "chapters/27-x.qmd"),
        ("--only", "./chapters/27-x.qmd"),
        ("--only", "27-x.qmd"),
    ],
)
def test_one_chapter_does_not_mind_the_others(tmp_path, which):
    root = make_book(
        tmp_path, {"01-x": head(1) + chunk("<<A>>\n", file="a.py"), "27-x": GOOD, "28-x": "---\n"}
    )
    (root / "_quarto.yml").write_text((root / "_quarto.yml").read_text() + "    - chapters/29-x.qmd\n")
    status, out = tangle(root, *which)
    assert status == 0, out
    assert (root / "tangled/t27_x/level2_vectorized.py").exists() and not (root / "tangled/t01_x").exists()
    assert tangle(root)[0] == 1


def test_one_chapter_may_need_one_that_is_not_yet_written(tmp_path):
    root = make_book(tmp_path, head(more="needs: [2]\n"))
    (root / "_quarto.yml").write_text("book:\n  chapters: [chapters/02-y.qmd, chapters/27-x.qmd]\n")
    assert tangle(root, "--topic", "27")[0] == 0


def test_a_wrong_topic_or_chapter_lists_what_there_is(tmp_path):
    root = make_book(tmp_path)
    assert tangle(root, "--topic", "3") == (1, "no topic 3; expected one of 27\n")
    assert tangle(root, "--only", "chapters/27-y.qmd") == (
        1,
        "_quarto.yml: no chapter 'chapters/27-y.qmd'; did you mean 'chapters/27-x.qmd'?\n",
    )
