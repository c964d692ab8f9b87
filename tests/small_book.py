"""A book of two chapters and an appendix, small enough to be read at a glance; for the tests of the tools."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

from scripts.reading.chapters import read_book
from scripts.tangling.outputs import outputs

QUARTO = """\
project:
  type: book
  output-dir: _book
  execute-dir: project
book:
  title: "A small book"
  author: "Nobody"
  chapters:
    - index.qmd
    - part: "The part"
      chapters:
        - chapters/01-sums.qmd
        - chapters/02-means.qmd
  appendices:
    - chapters/a-tools.qmd
bibliography: references.bib
execute:
  echo: true
  warning: false
format:
  html:
    toc: true
    html-math-method: mathml
  typst:
    papersize: a4
"""
INDEX = "# Preface {.unnumbered}\n\nRead @sec-sums.\n"
BIB = """\
@article{knuth1984literate,
  author  = {Knuth, Donald E.},
  title   = {Literate Programming},
  year    = {1984}
}
"""
SUMS = '''\
---
topic: 1
package: t01_sums
module: 0
needs: []
difficulty: 1
minutes: 90
exports: [level1_naive]
targets:
  - {api: "total(x)", time: "O(N log N)", space: "one | number"}
---

# Sums {#sec-sums}

We call `total` here, and `total` again, and `level1_naive.py`; not `sum`. See [`total`](#sec-01-code).

$$s = \\sum_i x_i$$ {#eq-01-sum}

## The code of `total` {#sec-01-code}

```{.python file="level1_naive.py"}
"""Sums."""
```

```{.python file="level1_naive.py" chunk="Add one by one"}
def total(x):
    """The sum of x (N,)."""
    s = 0.0
    <<Run over the *entries*>>
    return s
```

```{.python chunk="Run over the *entries*"}
for entry in x:
    s += entry                      # @eq-01-sum
```

```{.python extend="Run over the *entries*"}
s = float(s)
```

In this section `total` is linked once more.

```{.python pitfall="forgot-the-last" replaces="Run over the *entries*"}
for entry in x[:-1]:
    s += entry
```

## Try {#sec-01-try}

::: {.callout-tip collapse="true" .hint title="Hint 1 (shapes)"}
Think of `total`:

$$y = x$$ {#eq-01-hint}
:::

::: {.callout-tip collapse="true" .hint title="Hint 2 (algorithm)"}
Add.
:::

## Results {#sec-01-results}

```{python}
#| label: fig-01-line
#| fig-cap: "A line, of course."
#| fig-alt: "A \\"straight\\" line"
import matplotlib.pyplot as plt
from tangled.t01_sums import total
plt.plot([0, 1]);
print("total", total([1.0, 2.0]))
```

@fig-01-line shows `{python} total([1.0, 2.0])` and `{python} "two"`; not `` `{python} 1/0` ``.
'''
MEANS = '''\
---
topic: 2
package: t02_means
module: 0
needs: [1]
difficulty: 2
minutes: 40
exports: [level1_naive]
---

# Means {#sec-means}

By @eq-01-sum and [@knuth1984literate, p. 3], `mean` needs `total` and `t01_sums.total` and
`tangled.testing.close`.

```{.python file="level1_naive.py"}
"""Means."""

from tangled.t01_sums import total


def mean(x):
    """The mean of x (N,)."""
    return total(x) / len(x)


class Box:
    """Holds a mean."""

    def value(self):
        """The mean."""
        return 1.0
```

| A | B |
|---|---|
| `mean` | `{python} 6 * 7` |

: A table. {#tbl-02-one}

```{python}
#| label: tbl-02-two
#| tbl-cap: "Made by code."
#| echo: false
class Table:
    def _repr_markdown_(self):
        return "| n |\\n|---|\\n| 1 |"
from tangled.t02_means import mean
Table()
```

```{python}
#| error: true
mean([])
```
'''
TOOLS = '''\
---
shared: [testing.py]
---

# Tools {#sec-tools}

```{.python file="testing.py" chunk="Compare"}
def close(a, b):
    """Are they close?"""
    return abs(a - b) < 1e-5
```
'''


def make(root: Path, **changes: str) -> Path:
    """Write the book below `root`; `sums=`, `means=`, `tools=`, `index=`, `quarto=` replace a file's text."""
    texts = {"_quarto.yml": changes.get("quarto", QUARTO), "index.qmd": changes.get("index", INDEX),
             "references.bib": BIB, "chapters/01-sums.qmd": changes.get("sums", SUMS),
             "chapters/02-means.qmd": changes.get("means", MEANS),
             "chapters/a-tools.qmd": changes.get("tools", TOOLS)}
    for name, text in texts.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


def tangled(root: Path):
    """Write what tangle makes; -> (book, outputs)."""
    book = read_book(root)
    made = outputs(book)
    for name, output in made.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(output.text, encoding="utf-8")
    return book, made


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text, f"{old!r} is not in {path}"
    path.write_text(text.replace(old, new), encoding="utf-8")


def chapter(body: str, topic: int = 1) -> str:
    """A chapter that holds this body and no program."""
    front = f"topic: {topic}\npackage: t{topic:02d}_x\nmodule: 0\nneeds: []\ndifficulty: 1\nminutes: 5\n"
    return f"---\n{front}---\n\n" + f"# Chapter {topic} {{#sec-x{topic}}}\n\n" + dedent(body)
