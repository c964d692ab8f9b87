"""A small Quarto book with every construct that the typesetter takes, written into a folder."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from pathlib import Path

CONFIG = """
project: {type: book, output-dir: _book}
book:
  title: "Sample Book"
  subtitle: "Every construct once"
  author: "The authors"
  chapters:
    - index.qmd
    - chapters/00-prerequisites.qmd
    - part: "Module 0 · Foundations"
      chapters: [chapters/01-tensor-operations.qmd]
    - part: "Module 4 · Transformers and production"
      chapters: [chapters/27-positional-encodings.qmd]
  appendices:
    - chapters/a-testing.qmd
    - chapters/identifiers.qmd
bibliography: references.bib
"""

BIBLIOGRAPHY = """
@article{su2021, author = {Su, Jianlin and Lu, Yu and Pan, Shengfeng}, title = {RoFormer: Rotary embedding},
  journal = {Neurocomputing}, volume = {568}, year = {2024}}
@inproceedings{vaswani2017, author = {Vaswani, Ashish and Shazeer, Noam}, title = {Attention is all you need},
  booktitle = {Advances in Neural Information Processing Systems}, year = {2017}}
"""

INDEX = """
# Preface {#sec-preface .unnumbered}

Thirty-four topics, each *derived*, **built** and measured. Start with @sec-tensor-operations, or look
something up in the [index](chapters/identifiers.qmd).

$$ e^{i\\pi} = -1 $$ {#eq-preface-euler}
"""

ZERO = """---
topic: 0
---

# Prerequisites {#sec-prerequisites .unnumbered}

An unnumbered chapter whose equations are numbered all the same, as @eq-00-mean shows.

$$
\\bar x = \\frac{1}{n} \\sum_{i=1}^{n} x_i
$$ {#eq-00-mean}

## What you need {#sec-00-what}

Python, patience, and [the next chapter](01-tensor-operations.qmd#sec-01-views).
"""

ONE = """---
topic: 1
package: t01_tensor_operations
---

# Tensor operations {#sec-tensor-operations}

A tensor is a block of memory and a rule for reading it.[^memory] Later chapters use it, see @sec-27-rotation.

[^memory]: The rule is *shape*, *strides* and an offset: $\\text{address} = o + \\sum_k i_k s_k$.

## Views {#sec-01-views}

::: {#chunk-01-make-a-view .chunk}
[Make a view]{.chunk-name} [level2_vectorized.py]{.chunk-file}

``` {.python .chunk-code}
def view(x, shape):
    return x.reshape(shape)        # no copy
```

[Used in [Rotate](ROTARY-rotate-each-pair-by-its-angle){.pageref}.]{.chunk-links}
:::

| operation | copies | cost |
|:----------|:------:|-----:|
| `reshape` of a contiguous array | no | $O(1)$ |
| `transpose` | no | $O(1)$ |
| `ravel` of a transpose | yes | $O(n)$ |

: What copies. {#tbl-01-copies}

@tbl-01-copies is short.
"""

APPENDIX = r"""
# Testing {#sec-testing}

Tolerances, see [the rotation](27-positional-encodings.qmd#sec-27-rotation){.pageref}.

$$ \frac{f(x+h) - f(x-h)}{2h} = f'(x) + O(h^2) $$ {#eq-a-central}

@eq-a-central is checked in every entry.

## Helpers {#sec-a-helpers}

A [small]{.smallcaps} [part]{#a-part .underline}, ~~struck~~, x^2^ and H~2~O, 'quoted', a hard\
break, [a link](https://example.org), and [the preface](../index.qmd "a title").

a. letters
b. of a list

(i) and Roman numerals

| A line
| and another

---

| left | right |
|:-----|------:|
| no caption | 1 |

: {tbl-colwidths="[30,70]"}

![From the root, in pixels.](/chapters/figures/27-wave.svg){width=120 fig-alt="A wave from the root"}

::: {#tbl-a-two layout-ncol=2}
::: {#tbl-a-one}
| a |
|---|
| 1 |

One
:::

::: {#tbl-a-other}
| b |
|---|
| 2 |

Other
:::

Two tables, @tbl-a-one and @tbl-a-other.
:::

::: {layout-ncol=2}
![](figures/27-wave.svg){fig-alt="left"}

![](figures/27-shift.svg){fig-alt="right"}
:::

```{.unknownlanguage #some-code}
no colours
```

::: {.cell #a-cell}
::: {.cell-output .cell-output-error}
```
ValueError: shape (2, 3)
```
:::
:::

::: {.callout-caution #a-box collapse="false"}
Open, and with an id: [here](#a-box), [code](#some-code), [part](#a-part).
:::

::: {#exr-a-one}
Do it.
:::

::: {.proof name="of nothing"}
$$ 1 = 1 $$
:::
"""

ROTARY = "27-positional-encodings.qmd#chunk-27"
IDENTIFIERS = f"""
# Index of identifiers and chunks {{#sec-identifiers .unnumbered}}

::: {{.index}}
- `rope`: [Rotate each pair by its angle]({ROTARY}-rotate-each-pair-by-its-angle){{.pageref}}
- `view`: [Make a view](01-tensor-operations.qmd#chunk-01-make-a-view){{.pageref}}
- *Split the features into pairs*: [chapter 27]({ROTARY}-split-the-features-into-pairs){{.pageref}}
:::
"""


def write_sample(folder: Path, **changes: str) -> Path:
    """Write the project; `changes` replaces whole files by their stem with `_` for `-`."""
    texts = {
        "_quarto.yml": CONFIG,
        "references.bib": BIBLIOGRAPHY,
        "index.qmd": INDEX,
        "chapters/00-prerequisites.qmd": ZERO,
        "chapters/01-tensor-operations.qmd": ONE.replace("ROTARY", ROTARY),
        "chapters/27-positional-encodings.qmd": rotary_chapter(),
        "chapters/a-testing.qmd": APPENDIX,
        "chapters/identifiers.qmd": IDENTIFIERS,
        "chapters/figures/27-wave.svg": picture("#1f5f8b", 0),
        "chapters/figures/27-shift.svg": picture("#b7791f", 40),
    }
    for path, text in texts.items():
        text = changes.get(Path(path).stem.replace("-", "_"), text)
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text.lstrip("\n"), encoding="utf-8")
    return folder


def rotary_chapter() -> str:
    return (Path(__file__).parent / "data" / "typeset_chapter.qmd").read_text(encoding="utf-8")


def picture(colour: str, shift: int) -> str:
    points = " ".join(f"{x},{60 - 40 * ((x + shift) % 80 - 40) / 40:.1f}" for x in range(10, 390, 4))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="400" height="140" viewBox="0 0 400 140">'
        f'<rect width="400" height="140" fill="white"/>'
        f'<path d="M10 120H390M10 10V120" stroke="#555" fill="none"/>'
        f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/></svg>'
    )


@functools.cache
def built() -> Path:
    """The sample, in all formats: a folder with `build/book/` and `_book/`, made once in a test run."""
    from scripts.typeset import typeset

    root = Path(tempfile.mkdtemp(prefix="typeset-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    typeset(write_sample(root / "build" / "book"), root / "_book")
    return root


def pdf_pages(data: bytes) -> list[str]:
    """The text of each page of a PDF, in the order in which it is drawn."""
    from scripts.typeset.margins import _File

    return ["".join(text for _, _, text in items) for _, items in _File(data).pages()]
