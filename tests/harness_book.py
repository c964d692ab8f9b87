"""A repository with one small topic, for the tests of the harness: `make_repo(folder)`, then `grade(repo, code)`.

The topic: scores q k^T / sqrt(d), forward and backward; two pitfalls; tests of every category.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "t90_scores"
PLAIN = [word for name in ("cacheprovider", "hypothesispytest", "anyio") for word in ("-p", f"no:{name}")]
CHAPTER = '''---
topic: 90
package: t90_scores
module: 4
difficulty: 1
minutes: 10
---

# Scores {#sec-scores}

```{.python file="level2_vectorized.py"}
"""Scores of queries against keys."""
import math

import numpy as np
```

```{.python file="level2_vectorized.py"}
def scores(q, k):
    """Scores.

    Parameters
    ----------
    q : ndarray of shape (N, D)
    k : ndarray of shape (M, D)
    """
    if q.shape[-1] != k.shape[-1]:
        raise ValueError(f"k has {k.shape[-1]} features, expected {q.shape[-1]}")
    out = q @ k.T                                  # (N, M)
    <<Scale the scores>>
    return out, (q, k)
```

```{.python chunk="Scale the scores"}
out = out / math.sqrt(q.shape[-1])
```

```{.python file="level2_vectorized.py"}
def scores_backward(dout, cache):
    """Gradients of q (N, D) and k (M, D)."""
    q, k = cache
    dout = dout / math.sqrt(q.shape[-1])
    <<Send the gradient to both>>
    return dq, dk
```

```{.python chunk="Send the gradient to both"}
dq = dout @ k
dk = dout.T @ q
```

```{.python pitfall="forgot-the-scale" replaces="Scale the scores"}
out = out * 1.0
```

```{.python pitfall="gradient-of-a-sum" replaces="Send the gradient to both"}
dq = np.broadcast_to(k.sum(0), q.shape) / math.sqrt(q.shape[-1])
dk = dout.T @ q
```

```{.python file="level4_pytorch_reference.py"}
"""Golden values (by NumPy here)."""
import numpy as np

from tangled.testing import Case
from tangled.t90_scores.level2_vectorized import scores, scores_backward


def golden_cases(rng):
    """One case."""
    q, k = rng.standard_normal((5, 4)), rng.standard_normal((3, 4))
    out, cache = scores(q, k)
    dout = rng.standard_normal(out.shape)
    dq, dk = scores_backward(dout, cache)
    yield Case(name="plain", inputs={"q": q, "k": k, "times": 2, "mode": "full", "sizes": (3, 4), "mask": None},
               outputs={"out": out}, upstream={"out": dout}, grads={"q": dq, "k": dk})
    yield Case(name="nested", inputs={"params": {"W": q, "b": [k, q]}}, outputs={"n": np.float64(3.0)})
```

```{.python file="tests/test_basic.py"}
import pytest

from tangled.testing import assert_close, check_gradients, expect_value_error, rng


@pytest.mark.shape
def test_shape(level):
    """Five queries against three keys give (5, 3)"""
    assert level.scores(rng().standard_normal((5, 4)), rng().standard_normal((3, 4)))[0].shape == (5, 3)
```

```{.python file="tests/test_basic.py"}
@pytest.mark.value
def test_golden(level, golden):
    """The golden scores"""
    case = golden("plain")
    assert_close(level.scores(case.inputs["q"], case.inputs["k"])[0], case.outputs["out"], what="scores")
```

```{.python file="tests/test_basic.py"}
@pytest.mark.gradient
def test_gradients(level):
    """Central differences"""
    check_gradients(level.scores, level.scores_backward, (rng(1).standard_normal((3, 4)),
                                                          rng(2).standard_normal((2, 4))))
```

```{.python file="tests/test_basic.py"}
@pytest.mark.levels(3)
@pytest.mark.performance
def test_only_level_3(level, level_number):
    """A test that is for one level"""
    assert level_number == 3
```

```{.python file="tests/test_basic.py"}
@pytest.mark.edge
def test_features_differ(level):
    """Queries and keys with different numbers of features are refused"""
    expect_value_error("k", level.scores, rng().standard_normal((5, 4)), rng().standard_normal((3, 3)))
```
'''
QUARTO = """project:
  type: book
book:
  title: "Mini"
  chapters:
    - index.qmd
    - chapters/90-scores.qmd
  appendices:
    - chapters/a-testing.qmd
"""


def level_two(repo: Path) -> str:
    """The text of level 2."""
    return (repo / "tangled" / PACKAGE / "level2_vectorized.py").read_text(encoding="utf-8")


def make_repo(folder: Path) -> Path:
    """A repository in `folder`: our scripts and appendix A, one topic with levels 1 to 4, golden values.

    It is made once, beside the folders of all tests, and copied.
    """
    made = folder.parent / "harness-repo"
    if not made.is_dir():
        made_repo(made)
    return Path(shutil.copytree(made, folder / "repo"))


def made_repo(repo: Path) -> None:
    """Write it, tangle it, let it make its golden values."""
    if importlib.util.find_spec("torch") is None:
        pytest.skip("PyTorch not installed (make setup)")       # `golden` writes its files with PyTorch alone
    (repo / "chapters").mkdir(parents=True)
    shutil.copytree(ROOT / "scripts", repo / "scripts", ignore=shutil.ignore_patterns("__pycache__", "templates"))
    (repo / "pyproject.toml").write_text(settings())
    shutil.copy(ROOT / "chapters" / "a-testing.qmd", repo / "chapters")
    (repo / "chapters" / "90-scores.qmd").write_text(chapter_with_all_levels(), encoding="utf-8")
    (repo / "_quarto.yml").write_text(QUARTO)
    (repo / "index.qmd").write_text("# Preface {.unnumbered}\n")
    for verb in (["tangle"], ["golden"]):
        done = scripts(repo, *verb)
        assert done.returncode == 0, done.stdout + done.stderr


def settings() -> str:
    """pyproject.toml that asks for no package: or each call of a verb looks whether all are there."""
    needs, mark, rest = (ROOT / "pyproject.toml").read_text(encoding="utf-8").partition("[tool.setuptools")
    return re.sub(r'^([\w-]+) = \["[^]]*\]', r"\1 = []", needs, flags=re.MULTILINE) + mark + rest


def chapter_with_all_levels() -> str:
    """The chapter, with levels 1 and 3 made of level 2."""
    again = "\n".join(f'```{{.python file="level{n}.py"}}\nfrom tangled.t90_scores.level2_vectorized import *\n```\n'
                      for n in ("1_naive", "3_memory_efficient"))
    level4 = ('```{.python file="level4_pytorch_reference.py"}\n'
              "__all__ = ['scores', 'scores_backward', 'golden_cases']\n```\n")
    return CHAPTER + "\n" + again + level4


def environment() -> dict:
    """One BLAS thread, no options of an outer pytest; what is compiled is kept, for it is imported many times."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST") and k != "PYTHONDONTWRITEBYTECODE"}
    return kept | {"OPENBLAS_NUM_THREADS": "1"}


def forgotten(repo: Path) -> None:
    """Python forgets the topic's files as it compiled them: tests change some within a second, to the same size."""
    for folder in (repo / "tangled" / PACKAGE, repo / "workspace", repo / "build"):
        for cache in list(folder.rglob("__pycache__")):
            shutil.rmtree(cache, ignore_errors=True)


def scripts(repo: Path, *arguments: str, timeout: float = 300) -> subprocess.CompletedProcess:
    """`python -m scripts …` in the repository."""
    forgotten(repo)
    return subprocess.run([sys.executable, "-m", "scripts", *arguments], cwd=repo, env=environment(), text=True,
                          capture_output=True, timeout=timeout)


@dataclass
class Graded:
    """What a run of pytest said: its output, its status, its records."""

    text: str
    status: int
    records: list = field(default_factory=list)

    def failures(self) -> list[dict]:
        return [r for r in self.records if r["outcome"] == "failed"]

    def first(self) -> str:
        """The first line of the first failure."""
        return self.failures()[0]["lines"][0]


def run(repo: Path, *arguments: str, timeout: float = 300) -> Graded:
    """pytest on the topic, with the records that it kept."""
    results = repo / "results.jsonl"
    results.unlink(missing_ok=True)
    forgotten(repo)
    done = subprocess.run([sys.executable, "-m", "pytest", "--results", str(results), *PLAIN,
                           f"tangled/{PACKAGE}", *arguments],
                          cwd=repo, env=environment(), text=True, capture_output=True, timeout=timeout)
    log = [json.loads(x) for x in results.read_text().splitlines()] if results.is_file() else []
    return Graded(done.stdout + done.stderr, done.returncode, [e["test"] for e in log if "test" in e])


def grade(repo: Path, code: str | None, *arguments: str) -> Graded:
    """The learner's file with this code (None: no file), graded by pytest."""
    path = repo / "workspace" / f"{PACKAGE}.py"
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    if code is not None:
        path.write_text(code, encoding="utf-8")
    return run(repo, "--impl", "workspace", *arguments)
