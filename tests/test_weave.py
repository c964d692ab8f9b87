"""The woven book: chunks with their captions and links, cells replaced by outputs, hints, index, line map."""

from __future__ import annotations

import base64
import json

import pytest
import yaml
from small_book import chapter, edit, make, tangled

from scripts.reading.chapters import read_book
from scripts.reading.prose import inline_cells, spans
from scripts.weave import squeeze, weave
from scripts.weaving.subjects import Subjects
from scripts.weaving.woven_apart import PRINT
from scripts.weaving.woven_cells import plain_svg, weave_cell
from scripts.weaving.woven_chunks import Piece
from scripts.weaving.woven_front import order, time
from scripts.weaving.woven_pitfalls import caught, differing

SVG = {"output_type": "display_data", "data": {"image/svg+xml": "<svg/>", "text/plain": "<Figure size 1x1>"}}
VALUE = lambda text: [{"output_type": "display_data", "data": {"text/plain": text}}]
STDOUT = {"output_type": "stream", "name": "stdout", "text": "total 3.0\n"}
STDERR = {"output_type": "stream", "name": "stderr", "text": "careful\n"}
TABLE = {"output_type": "execute_result",
         "data": {"text/markdown": "| n |\n|---|\n| 1 |", "text/plain": "<Table>"}}
ERROR = {"output_type": "error", "ename": "ZeroDivisionError", "evalue": "division", "traceback": []}
RAN = {"chapters/01-sums.qmd": [[STDOUT, SVG], VALUE("3.0"), VALUE("two")],
       "chapters/02-means.qmd": [VALUE("42"), [TABLE], [ERROR]]}


def woven(root, ran=None, **changes):
    """(folder, result) of the small book, woven."""
    make(root, **changes)
    book, made = tangled(root)
    result = weave(book, made, RAN if ran is None else ran, root / "build/book")
    return root / "build/book", result


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    folder, _ = woven(tmp_path_factory.mktemp("woven"))
    return {p.relative_to(folder).as_posix(): p.read_text(encoding="utf-8") for p in folder.rglob("*.*")
            if p.suffix != ".woff2"}


@pytest.fixture(scope="module")
def sums(texts):
    return texts["chapters/01-sums.qmd"]


# -- chunks
def test_a_chunk_says_where_it_goes(sums):
    assert """\
::: {#chunk-01-run-over-the-entries .chunk}
[Run over the \\*entries\\*]{.chunk-name} [`level1_naive.py`, in `total`]{.chunk-file}

``` {.python .chunk-code}
for entry in x:
    s += entry                      # eq. 1.1
```

[[See @eq-01-sum.]{.said} [Used in [Add one by one](#chunk-01-add-one-by-one){.pageref}.]{.said} \
[Extended in [part 2](#chunk-01-run-over-the-entries-2){.pageref}.]{.said} \
[Got wrong in pitfall [1.1](#chunk-01-pitfall-forgot-the-last){.pageref}.]{.said}]{.chunk-links}

:::
""" in sums


def test_references_in_a_chunk_stay_for_the_typesetter(sums):
    assert "    <<Run over the *entries*>>\n    return s\n" in sums


def test_a_piece_without_a_name_has_its_file_alone(sums):
    assert "::: {#chunk-01-level1-naive-py .chunk}\n[`level1_naive.py`]{.chunk-file}\n" in sums


def test_a_continued_chunk_leads_back(sums):
    assert "[`level1_naive.py`, in `total`, continued]{.chunk-file}" in sums
    assert "[[Continues [Run over the \\*entries\\*](#chunk-01-run-over-the-entries){.pageref}.]{.said}]" in sums


def test_a_pitfall_stands_beside_what_it_replaces(sums):
    right = "[Run over the \\*entries\\*](#chunk-01-run-over-the-entries){.pageref}"
    assert f"""\
::: {{#chunk-01-pitfall-forgot-the-last .pitfall}}
[Pitfall 1.1: forgot the last]{{.chunk-name}}

::: {{.pitfall-pair layout-ncol=2}}

::: {{.pitfall-right}}
[**right**: {right}]{{.pitfall-label}}

``` {{.python .chunk-code marked="1 3"}}
for entry in x:
    s += entry  # eq. 1.1
s = float(s)
```

:::

::: {{.pitfall-wrong}}
[**wrong**]{{.pitfall-label}}

``` {{.python .chunk-code marked="1"}}
for entry in x[:-1]:
    s += entry
```

:::

:::

:::
""" in sums


def test_what_catches_a_pitfall():
    """The tests that `caught=` names, with a link to the chunk that defines them."""
    from types import SimpleNamespace as Fake
    test = Piece(Fake(lines=["def test_all(level):"], pitfall=None), Fake(path="c"), "chunk-01-t", "")
    piece = Piece(Fake(keys={"caught": "test_all test_none"}), Fake(path="c"), "x", "")
    chunks = Fake(pieces={"c": [test]})
    assert caught(piece, chunks) == [
        "[Caught by [`test_all`](#chunk-01-t){.pageref} and `test_none`.]{.chunk-links}", ""]
    assert caught(Piece(Fake(keys={}), Fake(path="c"), "x", ""), chunks) == []


def test_what_differs_is_marked_and_comments_do_not_count():
    assert differing(["a = 1   # eq. 1.1", "b", "c"], ["a = 1", "d", "c"]) == ([2], [2])
    assert differing(["a"], ["a", "b"]) == ([], [2])


def test_a_chunk_in_several_files(tmp_path):
    body = """
    ```{.python file="level1_naive.py"}
    def f():
        <<Give one>>
    ```

    ```{.python file="level2_vectorized.py"}
    class A:
        def g(self):
            <<Give one>>
    ```

    ```{.python chunk="Give one"}
    return 1
    ```
    """
    folder, _ = woven(tmp_path, {}, sums=chapter(body), means=chapter("Nothing.", 2))
    text = (folder / "chapters/01-sums.qmd").read_text()
    assert "[`level1_naive.py` and `level2_vectorized.py`, in `f`]{.chunk-file}" in text
    assert ("[[Used in [level1\\_naive.py](#chunk-01-level1-naive-py){.pageref}, "
            "[level2\\_vectorized.py](#chunk-01-level2-vectorized-py){.pageref}.]{.said}]{.chunk-links}") in text


# -- inline code
def test_the_first_mention_in_a_section_is_a_link(sums):
    assert "We call [`total`](#chunk-01-add-one-by-one){.identifier} here, and `total` again" in sums
    assert "[`level1_naive.py`](#chunk-01-level1-naive-py){.identifier}; not `sum`" in sums
    assert "See [`total`](#sec-01-code)." in sums, "what is a link already stays"
    assert "## The code of `total` {#sec-01-code}" in sums, "headings stay"
    assert "In this section [`total`](#chunk-01-add-one-by-one){.identifier} is linked once more" in sums


def test_names_of_other_chapters(texts):
    means = texts["chapters/02-means.qmd"]
    for code, place in (("total", "01-sums.qmd#chunk-01-add-one-by-one"),
                        ("mean", "#chunk-02-level1-naive-py"),
                        ("t01_sums.total", "01-sums.qmd#chunk-01-add-one-by-one"),
                        ("tangled.testing.close", "a-tools.qmd#chunk-a-compare")):
        assert f"[`{code}`]({place}){{.identifier}}" in means


def test_spans():
    text = r"a `b` ``c ` d`` $x_`$ [l `m`](u){.c} \` \[n `o`] `p`{.q} [@k, `r`]"
    found = [(kind, part) for kind, part in spans(text) if kind != "text"]
    assert "".join(part for _, part in spans(text)) == text
    assert found == [("code", "`b`"), ("code", "``c ` d``"), ("math", "$x_`$"), ("link", "[l `m`](u){.c}"),
                     ("code", "`o`"), ("link", "`p`{.q}"), ("code", "`r`")]
    assert inline_cells("`{python} a[1]` and `` `{python} b` `` and `python`") == ["a[1]"]


# -- cells
def test_a_figure(texts, sums):
    assert """\
::: {.cell}

``` {.python .cell-code}
import matplotlib.pyplot as plt
from tangled.t01_sums import total
plt.plot([0, 1]);
print("total", total([1.0, 2.0]))
```

::: {.cell-output .cell-output-stdout}
```
total 3.0
```
:::

::: {#fig-01-line}

![](figures/01-sums-fig-01-line.svg){fig-alt="A \\"straight\\" line"}

A line, of course.
:::

:::
""" in sums
    assert texts["chapters/figures/01-sums-fig-01-line.svg"] == "<svg/>"


def test_inline_values(texts, sums):
    assert "@fig-01-line shows 3.0 and two; not `` `{python} 1/0` ``." in sums
    assert "| `mean` | 42 |" in texts["chapters/02-means.qmd"]


def test_a_table_and_an_error(texts):
    means = texts["chapters/02-means.qmd"]
    assert "::: {.cell}\n\n::: {#tbl-02-two}\n\n| n |\n|---|\n| 1 |\n\nMade by code.\n:::\n\n:::\n" in means
    assert "::: {.cell-output .cell-output-error}\n```\nZeroDivisionError: division\n```\n:::" in means


def test_nothing_is_left_to_run(texts):
    assert not any("```{python}" in text for text in texts.values())


class Cell:
    def __init__(self, source="x = 1", **options):
        self.source, self.options, self.line, self.first = source, options, 10, 11


def rows(outputs, **options) -> str:
    return "\n".join(text for text, _ in weave_cell(Cell(**options), outputs, "01-x", 1, {}).rows)


def test_options_of_cells():
    assert rows([STDOUT], include=False) == ""
    assert "x = 1" not in rows([STDOUT], echo=False) and "total 3.0" in rows([STDOUT], echo=False)
    assert "total" not in rows([STDOUT], output=False)
    assert "total" not in rows([STDOUT], eval=False) and "x = 1" in rows(None, eval=False)
    assert "careful" not in rows([STDERR]) and "careful" in rows([STDERR], warning=True)
    assert '``` {.python .cell-code code-fold="true" code-summary="Show"}' in rows(
        [], **{"code-fold": True, "code-summary": "Show"})
    assert "\ntotal 3.0\n" in rows([STDOUT], output="asis")
    assert "cell-output" not in rows([STDOUT], output="asis")
    assert '{fig-alt="A" width="60%"}' in rows([SVG], **{"fig-alt": "A", "out-width": "60%"})
    assert "Not run" in rows(None, label="fig-01-a", **{"fig-cap": "Cap"})
    labelled = rows([], **{"lst-label": "lst-01-a", "lst-cap": "Cap"})
    assert '``` {#lst-01-a .python .cell-code lst-cap="Cap"}' in labelled


def test_panels():
    text = rows([SVG, SVG], label="fig-01-two", **{"fig-cap": "Both.", "fig-subcap": ["One", "Two"],
                                                   "fig-alt": ["a", "b"], "layout-ncol": 2})
    assert "::: {#fig-01-two layout-ncol=2}" in text
    assert '![One](figures/01-x-fig-01-two-1.svg){#fig-01-two-1 fig-alt="a"}' in text
    assert '![Two](figures/01-x-fig-01-two-2.svg){#fig-01-two-2 fig-alt="b"}' in text
    assert text.rstrip().endswith("Both.\n:::\n\n:::")


def test_texts_are_cleaned():
    stream = lambda text: {"output_type": "stream", "name": "stdout", "text": text}
    assert "```\nab\n```" in rows([stream("a"), stream("b\n")]), "one stream, one block"
    assert "\x1b" not in rows([stream("\x1b[31mred\x1b[0m")])
    assert "\n100%\n" in rows([stream("  1%\r 50%\r100%\n")]), "a progress bar's last state"
    assert "cell-output" not in rows(VALUE("[<matplotlib.lines.Line2D at 0x7f>]"))
    assert "````\n```\n````" in rows([stream("```")]), "a fence longer than any inside"


def test_png():
    picture = {"output_type": "display_data", "data": {"image/png": base64.b64encode(b"PNG").decode()}}
    made = weave_cell(Cell(label="fig-01-p"), [picture], "01-x", 1, {})
    assert made.pictures == {"01-x-fig-01-p.png": b"PNG"}


# -- hints, facts, index
def test_hints_fold_on_the_web_and_move_in_print(sums):
    web, _, paper = sums.partition("::: {.content-hidden when-format=\"html\"}\n\n## Hints")
    assert ('::: {.content-visible when-format="html"}\n\n::: {.callout-tip collapse="true" .hint '
            'title="Hint 1 (shapes)"}\nThink of') in web
    assert "The hints stand at the [end of the chapter](#hints-01){.pageref}." in web
    assert paper.startswith(" {#hints-01 .unnumbered}\n\n::: {.apart}\n\n**Hint 1 (shapes).** Think of")
    assert paper.endswith("**Hint 2 (algorithm).** Add.\n\n:::\n\n:::\n")
    assert "{#eq-01-hint}" in web and "{#eq-01-hint}" not in paper, "a label stands once"


QUESTIONS = chapter("""
    ## Stop here and try {#sec-01-try}

    ## Questions {#sec-01-questions}

    **Why is the sky `blue`?** Think.

    ::: {.callout-note collapse="true" title="Answer"}
    Because of $$x$$ {#eq-01-sky}
    :::

    ### Exercises {#sec-01-exercises}

    **3 (●).** Prove:

    $$y = x$$

    ::: {.callout-note title="Answer" collapse="true"}
    It is so.
    :::

    ::: {.callout-note collapse="true" title="An aside"}
    This stays.
    :::
    """)


def test_answers_fold_on_the_web_and_move_in_print(tmp_path):
    """Each question leads to its answer at the chapter's end, and back."""
    folder, _ = woven(tmp_path, {}, sums=QUESTIONS, means=chapter("Nothing.", 2))
    text = (folder / "chapters/01-sums.qmd").read_text()
    body, _, end = text.partition("## Answers {#answers-01 .unnumbered}")
    link = lambda n: f'[[answer](#answer-01-{n}){{.pageref}}]{{.content-hidden when-format="html"}}'
    assert f"::: {{#question-01-1}}\n:::\n\n**Why is the sky `blue`?** Think. {link(1)}\n" in body
    assert f"$$y = x$$\n\n{link(2)}\n" in body, "after a formula the link is a paragraph of its own"
    assert '::: {.callout-note collapse="true" title="Answer"}\nBecause of' in body
    assert "::: {#answer-01-1}\n[**Why is the sky `blue`?**](#question-01-1){.pageref} Because of" in end
    assert "[**Exercise 3**](#question-01-2){.pageref} It is so." in end
    assert "This stays" in body and "This stays" not in end


def test_how_to_begin_is_said_by_the_template(tmp_path):
    folder, _ = woven(tmp_path, {}, sums=QUESTIONS, means=chapter("Nothing.", 2))
    text = (folder / "chapters/01-sums.qmd").read_text()
    assert "### Exercises {#sec-01-exercises}\n\nMarks: ● a few minutes, ●● an hour, ●●● an evening.\n" in text
    rest = ("writes `workspace/t01_x.py` with signatures, docstrings and empty bodies. `make test TOPIC=1 "
            "IMPL=workspace` grades it, and `make hint TOPIC=1`")
    web, paper = (f'::: {{.content-{kind} when-format="html"}}\n\n' for kind in ("visible", "hidden"))
    assert f"{{#sec-01-try}}\n\n{web}```{{.bash}}\nmake start TOPIC=1\n```\n\nThis {rest}" in text
    assert f"{paper}`make start TOPIC=1` {rest}" in text


def test_the_map_stands_on_the_front_page(tmp_path):
    folder, _ = woven(tmp_path, {}, index="# Preface {.unnumbered}\n\n::: {.topic-map}\n:::\n")
    assert '![](figures/topic-map.svg){.drawn fig-alt="Which topics build on which. 1 Sums; 2 Means' in (
        folder / "index.qmd").read_text()
    assert '<a href="chapters/01-sums.html">' in (folder / "figures" / "topic-map.svg").read_text()


def test_print_names_what_only_the_web_shows(tmp_path):
    """One line for neighbouring blocks: whole files by name, parts by theirs; links to them are marked."""
    web = '::: {.content-visible when-format="html"}'
    body = f"""
    ```{{.python file="level1_naive.py"}}
    def f():
        <<Give one>>
    ```

    {web}
    ```{{.python chunk="Give one"}}
    return 1
    ```
    :::

    {web}
    ```{{.python file="checks.py"}}
    def check():
        return f
    ```
    :::

    Text with `check`.

    {web}
    ```{{.python file="level1_naive.py" chunk="Imports of level 1"}}
    import math
    ```
    :::

    And more.

    {web}
    Only words.
    :::
    """
    folder, _ = woven(tmp_path, {}, sums=chapter(body), means=chapter("Nothing.", 2))
    text = (folder / "chapters/01-sums.qmd").read_text()
    note = "::: {.web-note}\nIn the web edition: *Give one* of `level1_naive.py`; `checks.py`.\n:::"
    assert f'{PRINT}\n\n{note}\n\n:::' in text and text.count(".web-note") == 1
    assert "[`check`](#chunk-01-checks-py){.identifier .web}" in text


def test_facts_from_the_front_matter(texts, sums):
    assert sums.startswith("---\ntopic: 1\nformat:\n") and "---\n\n# Sums {#sec-sums}\n\n::: {.topic-facts}\n" in sums
    assert "**Time** about 1½ hours" in sums
    assert r"| `total(x)` | $O(N\, \log N)$ | one \| number |" in sums
    assert "**Builds on** @sec-sums (Sums)" in texts["chapters/02-means.qmd"]
    assert "topic-facts" not in texts["chapters/a-tools.qmd"]


@pytest.mark.parametrize("minutes, said", [(45, "45 minutes"), (60, "an hour"), (90, "1½ hours"),
                                           (110, "2 hours"), (150, "2½ hours"), (180, "3 hours")])
def test_time(minutes, said):
    assert time(minutes) == said


def test_orders_of_growth():
    assert order("O(B H T D) once") == r"$O(B\, H\, T\, D)$ once"
    assert order("O(n^2)") == "$O(n^2)$"
    assert order("O(H (T + S)) or so") == r"$O(H\, (T + S))$ or so"
    assert order("O(size of x)") == r"$O(\text{size of }x)$"
    assert order("O(number of layers)") == r"$O(\text{number of layers})$"
    assert order("O(N in out)") == r"$O(N\, \text{in}\, \text{out})$"
    assert order("O(Tq Tk + n log n)") == r"$O(T_q\, T_k + n\, \log n)$"
    assert order("O(n, really)") == "O(n, really)", "what it cannot read stays as it is"


def test_the_index(texts):
    page = texts["identifiers.qmd"]
    assert page.startswith("# Index of identifiers and chunks {#sec-identifiers .unnumbered}")
    assert ("- `total`: 1: **[level 1](chapters/01-sums.qmd#chunk-01-add-one-by-one)**; "
            "2: [level1\\_naive.py](chapters/02-means.qmd#chunk-02-level1-naive-py)\n") in page
    assert "- `Box.value`: 2: **[level 1](" in page
    assert ("- `total` [**[1](chapters/01-sums.qmd#chunk-01-add-one-by-one){.pageref}**, "
            "[2](chapters/02-means.qmd#chunk-02-level1-naive-py){.pageref}]{.pages of=\"total\"}\n") in page
    assert "- Compare: A: **[testing.py](chapters/a-tools.qmd#chunk-a-compare)**" in page
    config = yaml.safe_load(texts["_quarto.yml"])
    assert config["book"]["appendices"] == ["chapters/a-tools.qmd", "subjects.qmd", "identifiers.qmd"]


def test_the_front_page_says_what_is_there(tmp_path):
    folder, _ = woven(tmp_path, {}, index="# Preface {.unnumbered}\n\n::: {.chapters-there}\n:::\n")
    assert """::: {.chapters-there}

Two topics, about 2 hours of reading and writing:

- **The part**: 1 [Sums](chapters/01-sums.qmd#sec-sums) · 2 [Means](chapters/02-means.qmd#sec-means)
- **Appendices**: A [Tools](chapters/a-tools.qmd#sec-tools)

:::""" in (folder / "index.qmd").read_text()


def test_chapters_without_a_number_are_linked(tmp_path):
    """Quarto has no number to refer to them by."""
    zero = chapter("Nothing.", 1).replace("# Chapter 1 {#sec-x1}", "# Before {#sec-before .unnumbered}")
    folder, _ = woven(tmp_path, {}, sums=zero, means=chapter("See @sec-before, `@sec-before`.", 2)
                      .replace("needs: []", "needs: [1]"))
    text = (folder / "chapters/02-means.qmd").read_text()
    assert "**Builds on** [Before](01-sums.qmd#sec-before)" in text
    assert "See [Before](01-sums.qmd#sec-before), `@sec-before`." in text


def test_the_subject_index(tmp_path):
    """Terms of the list where they are emphasised or said three times; marked words always; paragraphs only."""
    body = """
    ## Momentum {#sec-01-momentum}

    A *velocity* is kept. Momentum here.

    A [heavy ball]{.index entry="ball, heavy"} rolls; `Adam`, `[x]{.index}`, $Adam$ are code. Adam is said.

    - Adam in a list, Adam, Adam

    ::: {.callout-note}
    Adam in a box.
    :::
    """
    (tmp_path / "chapters").mkdir()
    (tmp_path / "chapters/subjects.txt").write_text("# terms\nmomentum\nvelocity: velocity, speed\nAdam\n")
    folder, _ = woven(tmp_path, {}, sums=chapter(body), means=chapter("Adam, Adam and\nAdam.", 2))
    page, text = (folder / "subjects.qmd").read_text(), (folder / "chapters/01-sums.qmd").read_text()
    assert "- Adam: [2](chapters/02-means.qmd#about-02-1)\n- ball, heavy: **[1](" in page
    assert "- ball, heavy: **[1](chapters/01-sums.qmd#about-01-2)**" in page
    assert "- momentum: **[1](chapters/01-sums.qmd#about-01-1)**\n- velocity: **[1](" in page
    assert "- velocity [**[1](chapters/01-sums.qmd#about-01-1){.pageref}**]{.pages}" in page
    assert "::: {#about-01-1}\n:::\n\nA *velocity* is kept." in text
    assert "A heavy ball rolls; `Adam`, `[x]{.index}`," in text and "- x:" not in page


def test_a_term_that_is_only_mentioned_stands_where_it_is_mentioned_most(tmp_path):
    (tmp_path / "chapters").mkdir()
    (tmp_path / "chapters/subjects.txt").write_text("momentum\nvelocity\n")
    body = "Of a sum\n$$x = 1$$\nmomentum, momentum.\n"
    folder, _ = woven(tmp_path, {}, sums=chapter("A momentum.\n"), means=chapter(body, 2))
    page, text = (folder / "subjects.qmd").read_text(), (folder / "chapters/02-means.qmd").read_text()
    assert "- momentum: [2](chapters/02-means.qmd#about-02-1)\n" in page and "velocity" not in page
    assert "::: {#about-02-1}\n:::\n\nOf a sum" in text
    assert Subjects(read_book(tmp_path)).without_place() == ["velocity"]


def test_what_only_the_web_shows_has_no_page(tmp_path):
    make(tmp_path)
    tools = tmp_path / "chapters/a-tools.qmd"
    edit(tools, "```{.python", '::: {.content-visible when-format="html"}\n```{.python')
    edit(tools, "1e-5\n```", "1e-5\n```\n:::")
    book, made = tangled(tmp_path)
    weave(book, made, RAN, tmp_path / "build/book")
    page = (tmp_path / "build/book/identifiers.qmd").read_text()
    assert "- `close`: A: **[testing]" in page and "- `close` [" not in page


# -- the project
def test_the_project_runs_nothing(texts):
    config = yaml.safe_load(texts["_quarto.yml"])
    assert config["execute"] == {"enabled": False}
    html = config["format"]["html"]
    assert (html["css"], html["theme"]) == (["chunks.css"], "default")
    assert html["html-math-method"] == {"method": "katex", "url": "katex/"}
    assert config["filters"] == ["book.lua"] and config["project"]["resources"] == ["katex/**"]
    assert {"book.lua", "chunks.css", "katex/katex.min.js", "katex/katex.min.css"} <= set(texts)
    assert "url: ../katex/" in texts["chapters/01-sums.qmd"]
    assert "@article{knuth1984literate" in texts["references.bib"]


def test_the_line_map(texts, tmp_path):
    make(tmp_path)
    original = (tmp_path / "chapters/01-sums.qmd").read_text().split("\n")
    lines = json.loads(texts["lines.json"])["chapters/01-sums.qmd"]
    text = texts["chapters/01-sums.qmd"].split("\n")
    for row in ("$$s = \\sum_i x_i$$ {#eq-01-sum}", "## Results {#sec-01-results}", "    return s",
                'print("total", total([1.0, 2.0]))'):
        assert original[lines[text.index(row)] - 1] == row
    assert original[lines[text.index("A line, of course.")] - 1] == "```{python}"


def test_weaving_touches_only_what_changes(tmp_path):
    folder, first = woven(tmp_path)
    assert "chapters/figures/01-sums-fig-01-line.svg" in first.written
    book, made = tangled(tmp_path)
    again = weave(book, made, RAN, folder)
    assert (again.written, again.removed, again.unchanged) == ([], [], len(first.written))
    edit(tmp_path / "chapters/01-sums.qmd", "We call", "We often call")
    edit(tmp_path / "chapters/01-sums.qmd", "fig-01-line", "fig-01-row")
    book, made = tangled(tmp_path)
    changed = weave(book, made, RAN, folder)
    assert changed.written == ["chapters/01-sums.qmd", "chapters/figures/01-sums-fig-01-row.svg"]
    assert changed.removed == ["chapters/figures/01-sums-fig-01-line.svg"]


def test_pictures_of_the_repository_come_along(tmp_path):
    (tmp_path / "chapters/images").mkdir(parents=True)
    (tmp_path / "chapters/images/a.png").write_bytes(b"PNG")
    folder, _ = woven(tmp_path, tools="---\nshared: []\n---\n\n# Tools {#sec-tools}\n\n![A](images/a.png)\n",
                      means=chapter("Nothing.", 2))
    assert (folder / "chapters/images/a.png").read_bytes() == b"PNG"


def test_chapters_that_were_not_run_keep_their_labels(tmp_path):
    folder, _ = woven(tmp_path, {"chapters/01-sums.qmd": None})
    text = (folder / "chapters/01-sums.qmd").read_text()
    assert "::: {#fig-01-line}" in text and "@fig-01-line shows … and …" in text


def test_blank_lines_in_code_stay():
    code = [("```", 1), ("a", 2), ("", 3), ("", 4), ("b", 5), ("```", 6), ("", 7), ("", 8)]
    assert squeeze(code) == code[:7]


def test_pictures_ask_for_no_dtd_and_every_path_draws():
    """What matplotlib writes and EPUB forbids is left out; all else stays as it was."""
    head = '<?xml version="1.0"?>\n<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN"\n  "http://x/svg11.dtd">\n'
    body = '<svg><path id="a" transform="scale(1)"/><path id="d" d="M1 2"/></svg>'
    assert plain_svg(head + body) == ('<?xml version="1.0"?>\n<svg><path d="M0 0" id="a" transform="scale(1)"/>'
                                      '<path id="d" d="M1 2"/></svg>')


def test_the_short_name_of_a_question_opens_nothing_that_it_does_not_close():
    from scripts.weaving.woven_apart import LONG, named
    question = "Is it safe to write `out *= a * b` for the " + "very " * 30 + "long product?"
    for length in range(LONG - 60, LONG):
        row = "x" * length + " " + question
        text = named(row)
        assert all(text.count(sign) % 2 == 0 for sign in "$`*"), text
