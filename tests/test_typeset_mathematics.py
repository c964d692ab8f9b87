"""TeX to Typst, and the check that both engines set a formula."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from scripts.typeset import check_formula, formula_problems
from scripts.typeset.mathematics.formulas import check_formulas, formulas_in, typst_faults
from scripts.typeset.mathematics.tokens import TexError
from scripts.typeset.mathematics.typst_math import convert

BOTH_SET = [
    r"\operatorname{softmax}(QK^\top/\sqrt d)V",
    r"\operatorname*{arg\,max}_{x \in X} f(x)",
    r"\odot \otimes \oplus",
    r"\lVert x \rVert_2^2 + \lvert y \rvert",
    r"\langle R_m q, R_n k\rangle",
    r"\left. \frac{a}{b} \right|_{x=0}",
    r"\begin{pmatrix} \cos\theta & -\sin\theta \\ \sin\theta & \cos\theta \end{pmatrix}",
    r"\begin{aligned} a &= b + c \\ &= d, & e &= f \end{aligned}",
    r"\begin{cases} x & \text{if } x > 0, \\ 0 & \text{otherwise} \end{cases}",
    r"\begin{array}{l|c} a & b \\ \hline c & d \end{array}",
    r"\begin{bmatrix} 1 \\ 2 \end{bmatrix}",
    r"\underbrace{a + b}_{\text{the sum of $a$}}",
    r"\overset{!}{=}",
    r"\xrightarrow{f}",
    r"\sum_{\substack{i<j \\ j<n}} x_{ij}",
    r"\tfrac12 + \dfrac{1}{2} + \cfrac{1}{1+x} + \binom{n}{k} + \dbinom nk",
    r"x'_i + f''(x)",
    r"\hat{\beta}\,\bar x\,\tilde y",
    r"\mathbf{W}\boldsymbol{\theta}\mathcal{L}\mathbb{R}^{B \times T}\mathrm{tr}",
    r"\Bigl( \frac{1}{D} \Bigr)",
    r"p(x \mid y) \propto \exp\!\bigl(-\tfrac{1}{2}\|x\|^2\bigr)",
    r"\lim_{h \to 0} \max_i a_i",
    r"\not= \ne \notin",
    r"O(n \log n), \quad 10^{-5}",
    r"\left\lfloor \frac{n}{2} \right\rfloor",
    r"\phantom{x} y \boxed{z}",
    r"\{1, \dots, n\}",
]


@pytest.mark.parametrize("tex", BOTH_SET)
def test_the_subset_is_set_by_both_engines(tex):
    assert check_formula(tex, True) is None


@pytest.mark.parametrize(
    "tex, typst",
    [
        ("x^12", "x^(1) 2"),
        (r"a_i^2", "a_(i)^(2)"),
        (r"\frac12", "frac(1, 2)"),
        (r"3.14", "3.14"),
        (r"\operatorname{Var}(x)", r'op("Var") \( x \)'),
        (r"\operatorname*{argmax}_x", 'op("argmax", limits: #true)_(x)'),
        (r"\text{if } x", '"if "x'),
        (r"\mathrm{data}", '"data"'),
        (r"\mathbf{W}", "bold(upright(W))"),
        (r"f'", "f^(prime)"),
        (r"{a}_b", "a_(b)"),
        (r"\sqrt[3]{x}", "root(3, x)"),
        ("a, b", r"a \, b"),
        ("1{,}040", r'1 class("normal", \,) 040'),
    ],
)
def test_translations(tex, typst):
    assert convert(tex) == typst


@pytest.mark.parametrize(
    "tex, words",
    [
        (r"\color{red}{x}", "color"),
        (r"\foo", "foo"),
        (r"\left( x", "ends"),
        (r"a_b_c", "two"),
        ("{x", "ends"),
        (r"\begin{tikzcd} a \end{tikzcd}", "tikzcd"),
        (r"\begin{pmatrix} 1", "no \\end"),
        ("x}", "without"),
        (r"\frac{1}", "ends"),
        (r"\left? x \right)", "delimiter"),
        (r"\text{\foo}", "inside"),
        (r"\begin{cases} a \end{pmatrix}", "ends with"),
    ],
)
def test_what_is_not_in_the_subset_is_refused(tex, words):
    with pytest.raises(TexError, match=words.replace("\\", r"\\")):
        convert(tex)


def test_one_bad_formula_among_many_is_found():
    pairs = [("x^2", False)] * 5 + [(r"\undefined", True)] + [(f"x_{{{k}}}", True) for k in range(20)]
    faults = check_formulas(pairs)
    assert [k for k, fault in enumerate(faults) if fault] == [5]
    assert "undefined" in faults[5]


def test_typst_s_own_refusal_is_found_too():
    faults = typst_faults([("a", True), ("thisisnotavariable", True), ("b", False)])
    assert faults[0] is faults[2] is None and "unknown variable" in faults[1]


SOURCE = """---
title: "$no$"
---
Costs $5 and $6, but $x^2$ and
$$
y
  = z
$$ {#eq-a}
`$code$` and ```` `$more$` ````
```python
"$$also code$$"
```
<!-- $comment$ --> \\$ $a$ escaped, $b
c$.

A dollar $ alone and $ another, $n$th.
"""


def test_formulas_and_their_lines():
    found = [(formula.line, formula.tex, formula.display) for formula in formulas_in("x.qmd", SOURCE)]
    assert found == [
        (4, "x^2", False),
        (6, "y\n  = z", True),
        (13, "a", False),
        (13, "b\nc", False),
        (16, "n", False),
    ]


def test_problems_name_chapter_and_line():
    chapter = SimpleNamespace(path="chapters/27-x.qmd", text="Text.\n\n$$ \\foo $$\n\nand $x$\n")
    problems = formula_problems(SimpleNamespace(chapters=[chapter]))
    assert [str(problem) for problem in problems] == [
        "chapters/27-x.qmd:3: KaTeX: Undefined control sequence: \\foo (in \\foo)"
    ]


def test_numbers_in_formulas_are_refused():
    """Inline code is not run between dollar signs, and the reader would see its source."""
    text = ("One $x = 3$ and `{python} a` of $y$.\n\nTwo $x = `{python} a`$.\n\n"
            "`$x` is `{python} b` $z$.\n\n$$\nx = `{python} c`\n$$\n")
    book = SimpleNamespace(chapters=[SimpleNamespace(path="a.qmd", text=text)])
    found = [str(problem) for problem in formula_problems(book)]
    assert [line.split(" ")[0] for line in found] == ["a.qmd:3:", "a.qmd:8:"]
    assert all("expected the number beside the formula" in line for line in found)
