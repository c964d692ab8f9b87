"""start, hint and progress, on a small book made for the purpose."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import learn
from scripts.errors import Problem
from scripts.grading import stub
from scripts.reading import plaintext
from scripts.reading.chapters import find_topic, read_book

HERE = Path(__file__).resolve().parent.parent

CHAPTER = r"""---
topic: {topic}
package: t{topic:02d}_{name}
module: {module}
needs: []
---

# {title} {{#sec-{name}}}

$$ a = b $$ {{#eq-{topic:02d}-one}}

## Rotation by pairs {{#sec-{topic:02d}-rotation}}

::: {{.callout-tip collapse="true" .hint title="Hint 1 (shapes)"}}
Take $\theta_i \in \mathbb{{R}}^{{B \times T}}$ as in @eq-{topic:02d}-one and @sec-{topic:02d}-rotation.

- first `x[0]`
- then *the rest*
:::

::: {{.callout-tip collapse="true" .hint title="Hint 2 (algorithm)"}}
$$ y = \frac{{x}}{{\sqrt{{d}}}} $$
:::

::: {{.callout-tip collapse="true" .hint title="Hint 3 (optimisation)"}}
In place.

```python
x *= 2
```
:::

```{{.python file="level2_vectorized.py"}}
x = 1
```
"""

MODULE = '''# Tangled from chapters/27-b.qmd; edit the chapter, then run make tangle. sha256:0123
"""Level 2: whole arrays."""

from __future__ import annotations

import math
from functools import lru_cache, wraps

import numpy as np

from tangled.t01_a import unbroadcast

# what is small enough
EPS = 1e-5
_TABLE = [1, 2]
_recording = True
BUILT = rope(np.ones(2))


def _private(x):
    return x * EPS


def _logged(f):
    """Needed while the file is read."""
    @wraps(f)
    def inner(*args):
        return f(*args)
    return inner


@lru_cache(maxsize=8)
def rope(
    x,              # (B, T, D)
    base=10000.0,   # slowest
    key=lambda v: v,
):  # -> (B, T, D)
    """Rotate.

    Parameters
    ----------
    x : ndarray of shape (B, T, D)
    """
    secret = _private(x)
    return secret * math.pi


def bare(x): return unbroadcast(x, ())


@_logged
def documented(x): "In one line."; return x


class _Base:
    def shared(self):
        return 1

    def _hidden(self):
        return 2


class Rotary(_Base):
    """A thing with state."""

    kind = "rotary"
    _secret = _private(3)

    def __init__(self, d: int):
        self.d = d

    @property
    def size(self) -> int:
        """Its size."""
        return self.d

    def _inner(self):
        return 0

    def backward(self, dout):
        # the trick is here
        return dout * 2


class Plain:
    def _only(self):
        return 1


if __name__ == "__main__":
    print(rope(np.ones(2)))
'''


def make_book(root: Path, topics=((1, 0, "a", "First"), (27, 4, "b", "Second: *with* $x^2$"))) -> Path:
    (root / "chapters").mkdir(parents=True)
    files = []
    for topic, module, name, title in topics:
        files.append(f"chapters/{topic:02d}-{name}.qmd")
        text = CHAPTER.format(topic=topic, module=module, name=name, title=title)
        (root / files[-1]).write_text(text, encoding="utf-8")
        package = root / "tangled" / f"t{topic:02d}_{name}"
        package.mkdir(parents=True)
        (package / "level2_vectorized.py").write_text(MODULE, encoding="utf-8")
    (root / "_quarto.yml").write_text("book:\n  chapters:\n" + "".join(f"    - {f}\n" for f in files))
    return root


@pytest.fixture
def root(tmp_path):
    return make_book(tmp_path)


# -- the stub

@pytest.fixture
def text(root):
    book = read_book(root, only=[])
    return learn.stub_text(book, find_topic(book, 27))


def test_stub_keeps_what_a_learner_needs(text):
    for kept in ('"""Level 2: whole arrays."""', "import numpy as np", "import math", "EPS = 1e-5",
                 "# what is small enough", "x,              # (B, T, D)", "):  # -> (B, T, D)",
                 "x : ndarray of shape (B, T, D)", "@lru_cache(maxsize=8)", "class Rotary(_Base):",
                 'kind = "rotary"', "@property", '"""In one line."""', "_TABLE = [1, 2]",
                 "from tangled.t01_a import unbroadcast", "def _logged(f):"):
        assert kept in text, kept


def test_stub_gives_nothing_away(text):
    for gone in ("secret", "_private", "_inner", "_hidden", "_only", "_recording", "the trick is", "__main__",
                 "sha256", "return x", "math.pi", "self.d = d"):
        assert gone not in text, gone


def test_stub_says_how_to_go_on(text):
    head = text.split('"""')[0]
    assert "make test TOPIC=27 IMPL=workspace" in head
    assert "make hint TOPIC=27" in head and "tangled/t27_b/" in head and "Second: with x^2" in head


def test_every_public_body_of_the_stub_raises(text):
    tree = ast.parse(text)
    public = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)
              and n.name not in ("_logged", "inner")]
    assert [n.name for n in public] == ["rope", "bare", "documented", "shared", "__init__", "size",
                                        "backward"]
    for node in public:
        assert isinstance(node.body[-1], ast.Raise), node.name
        assert len(node.body) <= 2, node.name


def test_stub_runs_and_raises_by_name(text):
    space = {}
    exec(compile(text.replace("from tangled.t01_a import unbroadcast", ""), "stub", "exec"), space)
    assert space["BUILT"] is None
    with pytest.raises(NotImplementedError, match="rope is yours to write"):
        space["rope"](1)
    with pytest.raises(NotImplementedError, match=r"Rotary\.__init__ is yours"):
        space["Rotary"](4)
    assert space["Plain"]() is not None


def test_stub_refers_to_nothing_that_went(text):
    assert stub.undefined_names(text) == set()


def ruff(text, folder):
    """What ruff says of a stub that stands where a learner's does."""
    (folder / "tangled").mkdir(exist_ok=True)
    (folder / "pyproject.toml").write_text((HERE / "pyproject.toml").read_text())
    (folder / "stub.py").write_text(text)
    return subprocess.run([sys.executable, "-m", "ruff", "check", "--no-cache", "stub.py"], cwd=folder,
                          capture_output=True, text=True).stdout


def test_stub_is_clean_for_ruff(text, tmp_path):
    assert "All checks passed" in ruff(text, tmp_path)


def test_two_modules_make_one_stub():
    first = ('"""Scalars."""\nimport math\n\n\nclass Value:\n    def go(self):\n        return math.e\n\n\n'
             "def both():\n    return 1\n")
    second = ('"""Arrays."""\nimport numpy as np\n\nfrom .level1_scalar import Value\n'
              "from .level0 import thing\n\n\ndef both():\n    return thing(Value())\n\n\n"
              "def more(v: Value):\n    return np.e\n")
    text = stub.stub_of([("level1_scalar", first), ("level2_vectorized", second)], "# head", "t02_x")
    assert text.count("def both") == 1 and text.count("class Value") == 1
    assert "from tangled.t02_x.level0 import thing" in text and "level1_scalar import" not in text
    assert text.index("class Value") < text.index("def more")
    assert '"""Arrays."""' in text and "Scalars" not in text
    compile(text, "stub", "exec")


def test_two_modules_stub_is_clean_for_ruff(tmp_path):
    first = ('"""Doc."""\nimport os\nimport math\nfrom typing import Any, TYPE_CHECKING\nimport numpy as np\n'
             "\n\ndef f(x: Any):\n    return os, math, np\n")
    text = stub.stub_of([("a", first), ("b", first.replace("f(", "g("))], "# head", "t02_x")
    assert "All checks passed" in ruff(text, tmp_path)


def test_every_stub_of_this_book_compiles():
    book = read_book(HERE, only=[])
    written = [c for c in book.chapters if c.package and all(
        (HERE / "tangled" / c.package / f"{stem}.py").is_file() for stem in c.exports)]
    for chapter in written:
        text = learn.stub_text(book, chapter)
        compile(text, chapter.package, "exec")
        assert "raise NotImplementedError" in text, chapter.path
        assert stub.undefined_names(text) == set(), chapter.path


# -- start

def test_start_makes_the_file(root, capsys):
    assert learn.start(["--topic", "27"], root) == 0
    path = root / "workspace/t27_b.py"
    assert "raise NotImplementedError" in path.read_text()
    out = capsys.readouterr().out
    assert "workspace/t27_b.py is yours: 7 bodies to write" in out
    assert "make test TOPIC=27 IMPL=workspace" in out
    assert [p.name for p in path.parent.iterdir()] == ["t27_b.py"]


def test_start_never_overwrites(root, capsys):
    learn.start(["--topic", "27"], root)
    path = root / "workspace/t27_b.py"
    path.write_text("mine = 1\n")
    assert learn.start(["--topic", "27"], root) == 0
    assert path.read_text() == "mine = 1\n"
    assert "stays as it is" in capsys.readouterr().out


def test_start_by_force_keeps_numbered_backups(root, capsys):
    path = root / "workspace/t27_b.py"
    learn.start(["--topic", "27"], root)
    for n in (1, 2):
        path.write_text(f"mine = {n}\n")
        assert learn.start(["--topic", "27", "--force"], root) == 0
        assert (root / f"workspace/t27_b.{n}.bak").read_text() == f"mine = {n}\n"
    assert "workspace/t27_b.2.bak" in capsys.readouterr().out
    assert "raise NotImplementedError" in path.read_text()


@pytest.mark.parametrize("argument, said", [
    ([], "TOPIC= is missing; expected such as: make start TOPIC=27 (the topics are 1, 27)"),
    (["--topic", "two"], "TOPIC='two' is no number"),
    (["--topic", "99"], "no topic 99; expected one of 1, 27")])
def test_start_with_a_wrong_topic(root, argument, said):
    with pytest.raises(Problem) as caught:
        learn.start(argument, root)
    assert said in str(caught.value)
    assert not (root / "workspace").exists()


def test_start_takes_a_topic_with_leading_zero(root):
    assert learn.start(["--topic", "01"], root) == 0
    assert (root / "workspace/t01_a.py").exists()


def test_start_before_tangling(root):
    (root / "tangled/t27_b/level2_vectorized.py").unlink()
    with pytest.raises(Problem, match="run make tangle"):
        learn.start(["--topic", "27"], root)
    assert not (root / "workspace/t27_b.py").exists()


def test_start_minds_no_mistake_in_another_chapter(root):
    (root / "chapters/01-a.qmd").write_text("---\ntopic: 1\n")
    assert learn.start(["--topic", "27"], root) == 0


# -- hint

def run_hint(root, capsys, *arguments):
    assert learn.hint(["--topic", "27", *arguments], root) == 0
    return capsys.readouterr().out


def test_hints_come_one_after_the_other(root, capsys):
    first, second, third, again = (run_hint(root, capsys) for _ in range(4))
    assert first.startswith("Hint 1 (shapes)\n\nTake theta_i in R^(B x T) as in eq. 27.1 and section "
                            '"Rotation by pairs".')
    assert "  - first x[0]\n  - then the rest" in first and "(1 of 3; the next: make hint TOPIC=27)" in first
    assert "    y = x/sqrt(d)" in second
    assert "    x *= 2" in third and "solution is in tangled/t27_b/" in third
    assert again == third
    assert json.loads((root / "workspace/.progress.json").read_text()) == {"27": {"hints": 3}}


def test_a_hint_by_number_is_remembered(root, capsys):
    assert "Hint 2" in run_hint(root, capsys, "--n", "2")
    assert "Hint 1" in run_hint(root, capsys, "--n", "1")
    assert "Hint 3" in run_hint(root, capsys)


@pytest.mark.parametrize("n", ["0", "4", "x"])
def test_no_such_hint(root, n):
    with pytest.raises(Problem):
        learn.hint(["--topic", "27", "--n", n], root)


def test_a_chapter_without_hints(root):
    path = root / "chapters/27-b.qmd"
    path.write_text(path.read_text().replace(".hint", ".other"))
    with pytest.raises(Problem, match="has no hints"):
        learn.hint(["--topic", "27"], root)


@pytest.mark.parametrize("tex, said", [
    (r"\sqrt{d}", "sqrt(d)"), (r"\frac{\partial L}{\partial W}", "(d L)/(d W)"),
    (r"x \in \mathbb{R}^{B \times T}", "x in R^(B x T)"), (r"\alpha_i \le x^{2}", "alpha_i <= x^2"),
    (r"\lVert x \rVert_2", "||x||_2"), (r"\sum_{i=1}^{d} q_i k_i", "sum_(i=1)^d q_i k_i"),
    (r"\theta_i = 10000^{-2i/D}", "theta_i = 10000^(-2i/D)"), (r"2x\cos(x^2)", "2x cos(x^2)"),
    (r"\operatorname{diag}(p) - p p^\top", "diag(p) - p p^T"), (r"\left( a \right)", "(a)"),
    (r"\begin{pmatrix} a & b \\ c & d \end{pmatrix}", "[a, b; c, d]"), (r"\{1, 2\}", "{1, 2}")])
def test_maths_in_plain_text(tex, said):
    assert plaintext.plain_maths(tex) == said


@pytest.mark.parametrize("tex", ["{", r"\frac{a}", r"x^", "\\", r"\sqrt", "}", r"\begin{", r"_{", "$",
                                 r"\left"])
def test_broken_maths_does_no_harm(tex):
    assert isinstance(plaintext.plain_maths(tex), str)


def test_plain_text_leaves_code_alone():
    assert plaintext.plain("use `a_b*c*` and snake_case_name, **not** a * b") == \
        "use a_b*c* and snake_case_name, not a * b"


def test_plain_text_wraps():
    text = plaintext.plain("word " * 60, width=40)
    assert max(map(len, text.split("\n"))) <= 40 and text.split() == ["word"] * 60


# -- progress

def test_progress_bar_is_as_promised():
    assert learn.bar(2, 3) == "[###########>     ]"
    assert learn.bar(0, 3) == "[>                ]" and learn.bar(3, 3) == "[" + "#" * 17 + "]"


def test_progress_of_the_whole_course(tmp_path, capsys):
    topics = [(n, 0 if n < 4 else 1 + (n - 4) // 8, f"x{n}", f"Topic {n}") for n in range(35)]
    root = make_book(tmp_path, topics)
    learn.record(0, 5, 0, root)
    learn.record(1, 12, 0, root)
    learn.record(2, 9, 0, root)
    assert learn.progress([], root) == 0
    assert capsys.readouterr().out.startswith("[###########>     ] Module 0 Topic 02 (6%)\n")


def test_optional_topics_count_once_they_are_done(tmp_path, capsys):
    root = make_book(tmp_path, [(n, 1, f"x{n}", f"Topic {n}") for n in range(1, 5)])
    for path in sorted((root / "chapters").glob("0[34]-*.qmd")):
        path.write_text(path.read_text().replace("topic:", "optional: true\ntopic:", 1))
    learn.record(1, 5, 0, root)
    learn.progress([], root)
    out = capsys.readouterr().out
    assert "(50%)" in out and out.count("  optional\n") == 2
    learn.record(3, 5, 0, root)
    learn.progress([], root)
    assert "(67%)" in capsys.readouterr().out


def test_progress_tells_each_topic(root, capsys):
    learn.progress([], root)
    out = capsys.readouterr().out
    assert "[>                ] Module 0 Topic 01 (0%)" in out and "Next: make start TOPIC=1" in out
    learn.start(["--topic", "1"], root)
    learn.hint(["--topic", "27"], root)
    learn.record(27, 12, 3, root)
    capsys.readouterr()
    learn.progress([], root)
    out = capsys.readouterr().out
    assert "01  First             started" in out
    assert "27  Second: with x^2  12 of 15 tests passed, 1 hint read" in out
    assert "Module 4 Topic 27 (0%)" in out and "Next: make start TOPIC=27" in out
    learn.record(27, 12, 0, root)
    capsys.readouterr()
    learn.progress([], root)
    assert "Next: make test TOPIC=1 IMPL=workspace" in capsys.readouterr().out


def test_all_done(root, capsys):
    learn.record(1, 3, 0, root)
    learn.record(27, 4, 0, root)
    learn.progress([], root)
    out = capsys.readouterr().out
    assert "(100%)" in out and "done, 4 tests passed" in out and "All of it done." in out


def test_no_test_passed_is_not_done():
    assert not learn.is_done({"passed": 0, "failed": 0}) and not learn.is_done({"passed": 3, "failed": 1})


def test_record_keeps_the_hints(root, capsys):
    learn.hint(["--topic", "27"], root)
    learn.record(27, 1, 2, root)
    entry = json.loads((root / "workspace/.progress.json").read_text())["27"]
    assert entry.pop("when") and entry == {"hints": 1, "passed": 1, "failed": 2, "unmeasured": 0}


@pytest.mark.parametrize("damage", ["{", "[]", '{"27": 3}', "\xff"])
def test_a_damaged_record_is_put_aside(root, capsys, damage):
    (root / "workspace").mkdir()
    path = root / "workspace/.progress.json"
    path.write_text(damage, encoding="latin-1")
    assert learn.progress([], root) == 0
    assert "starts afresh" in capsys.readouterr().out
    assert path.with_name(".progress.damaged.json").read_text(encoding="latin-1") == damage
