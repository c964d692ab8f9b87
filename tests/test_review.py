"""The interview questions as cards: read, scheduled, kept whatever happens, and as Anki takes them."""

from __future__ import annotations

import datetime
import io
import json
import os
import re
import signal
import sqlite3
import time
import zipfile
from pathlib import Path

import pytest

from scripts import cards, keeping, review
from scripts.errors import Problem
from scripts.reading.chapters import read_book
from scripts.reading.questions import find, questions
from scripts.reviewing import anki, schedule

pytest.importorskip("fsrs", reason="make setup installs it")
pytest.importorskip("genanki", reason="make setup installs it")

HERE = Path(__file__).resolve().parent.parent
START = datetime.datetime(2026, 3, 1, 9, 0, tzinfo=datetime.timezone.utc)
CHAPTER = r"""---
topic: {topic}
package: t{topic:02d}_x
module: 0
needs: []
---

# Chapter {topic} {{#sec-{topic:02d}-x}}

## Questions {{#sec-{topic:02d}-questions}}

### Interview questions

**Why divide by $\sqrt d$,
and `q @ k.T` not?**

::: {{.callout-note collapse="true" title="Answer"}}
Because $a < b$ and $\bar x \ge 0$, see @eq-{topic:02d}-one [@knuth1984literate]; `x[$i]` stays. @he2015delving says so.

$$ y = \frac{{a}}{{b}} $$ {{#eq-{topic:02d}-one}}

```python
x = 1 < 2      # $5
```
:::

**Why divide by two and what then happens here?**

::: {{.callout-note collapse="true" title="Answer"}}
Two.
:::

### Exercises

**1.** No question of this kind.

::: {{.callout-note collapse="true" title="Answer"}}
None.
:::
"""


@pytest.fixture
def root(tmp_path):
    """Two chapters with two questions each."""
    (tmp_path / "chapters").mkdir()
    names = []
    for topic in (3, 4):
        names.append(f"chapters/{topic:02d}-x.qmd")
        (tmp_path / names[-1]).write_text(CHAPTER.format(topic=topic), encoding="utf-8")
    (tmp_path / "_quarto.yml").write_text("book:\n  title: x\n  chapters:\n" + "".join(f"    - {n}\n" for n in names))
    return tmp_path


@pytest.fixture
def clock():
    """A time that only moves when told."""
    class Clock:
        time = START

        def __call__(self):
            return self.time
    return Clock()


def sit(monkeypatch, root, answers: str, *options: str, now) -> None:
    """One sitting, with these lines typed."""
    monkeypatch.setattr("sys.stdin", io.StringIO(answers))
    assert review.main([*options], root, now) == 0


# -- the questions

def test_questions_of_a_chapter(root):
    first, second = questions(read_book(root, only=[]).chapters[0])
    assert first.text == r"Why divide by $\sqrt d$, and `q @ k.T` not?"
    assert (first.key, first.line) == ("03-why-divide-by-sqrt-d", 14)
    assert second.key == "03-why-divide-by-two-and" and second.answer == "Two."


@pytest.mark.parametrize("old, new, said", [
    ("**Why divide by two and what then happens here?**", "Why divide?", "29: an answer without a question"),
    ('::: {.callout-note collapse="true" title="Answer"}\nTwo.\n:::', "Two.", "27: a question without an answer")])
def test_a_question_and_its_answer_belong_together(root, old, new, said):
    path = root / "chapters/03-x.qmd"
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(Problem, match="chapters/03-x.qmd:" + said):
        questions(read_book(root, only=[]).chapters[0])


def test_a_question_is_found_by_a_few_words(root):
    there = questions(read_book(root, only=[]).chapters[0])
    assert find("divide by two", there, "x", 1) is there[1]
    with pytest.raises(Problem, match=r"x:7: the question 'why divide' is there 2 times"):
        find("why divide", there, "x", 7)
    with pytest.raises(Problem, match=r"x:7: the question 'why divide by tow' is there not; did you mean"):
        find("why divide by tow", there, "x", 7)


def test_every_chapter_of_the_book_has_questions_with_keys_of_their_own():
    chapters = [c for c in read_book(HERE, only=[]).chapters if c.topic is not None]
    found = {c.topic: questions(c) for c in chapters}
    assert all(len(there) >= 4 for there in found.values())
    keys = [q.key for there in found.values() for q in there]
    assert len(set(keys)) == len(keys) >= 200


# -- sittings

def test_a_sitting_asks_shows_and_schedules(root, monkeypatch, capsys, clock):
    sit(monkeypatch, root, "\n3\n\neasy\nq\n", "--topic", "3", now=clock)
    said = capsys.readouterr().out
    assert "Why divide by sqrt(d), and q @ k.T not?" in said
    assert "Because a < b and x_bar >= 0, see eq. 3.1; x[$i] stays. He (2015) says" in said
    assert "y = a/b" in said and "3 good (10 min)" in said
    assert "2 questions answered. The next comes back in 10 min." in said
    memory = json.loads((root / schedule.MEMORY).read_text())
    assert set(memory) == {"03-why-divide-by-sqrt-d", "03-why-divide-by-two-and"}


def test_what_is_due_comes_first_and_again_comes_back_soon(root, monkeypatch, capsys, clock):
    sit(monkeypatch, root, "\n1\nq\n", now=clock)                    # again: due in a minute
    clock.time += datetime.timedelta(minutes=2)
    capsys.readouterr()
    sit(monkeypatch, root, "\n4\nq\n", now=clock)
    assert "Why divide by sqrt(d)" in capsys.readouterr().out.split("shows the answer")[0]
    due = schedule.Schedule(root, ["03-why-divide-by-sqrt-d"])
    assert not due.waiting(clock.time + datetime.timedelta(hours=12))
    assert due.waiting(clock.time + datetime.timedelta(days=60))


def test_new_questions_are_limited_and_wrong_answers_asked_again(root, monkeypatch, capsys, clock):
    sit(monkeypatch, root, "\nfive\n4\n", "--n", "1", now=clock)
    said = capsys.readouterr().out
    assert "'five' is none of them; expected 1 to 4, or q." in said
    assert "1 question answered." in said and "3 have not been seen yet" in said


def test_topics_that_were_begun_come_first(root, monkeypatch, capsys, clock):
    keeping.save(root / "workspace/.progress.json", {"4": {"hints": 1}})
    sit(monkeypatch, root, "q\n", now=clock)
    assert "-- Topic 4, Chapter 4" in capsys.readouterr().out


def test_a_damaged_memory_is_put_aside(root, monkeypatch, capsys, clock):
    (root / "workspace").mkdir()
    (root / schedule.MEMORY).write_text('{"03-x": {"due": 5}}')
    sit(monkeypatch, root, "\n3\nq\n", "--topic", "3", now=clock)
    assert ".review.json could not be read; it is now .review.damaged.json" in capsys.readouterr().out
    assert (root / "workspace/.review.damaged.json").read_text() == '{"03-x": {"due": 5}}'


@pytest.mark.parametrize("options, said", [
    (["--topic", "9"], "no topic 9; expected one of 3, 4"), (["--topic", "x"], "TOPIC='x' is no number"),
    (["--n", "-1"], "N='-1' is no number")])
def test_wrong_calls_end_in_a_line(root, options, said):
    with pytest.raises(Problem, match=re.escape(said)):
        review.main(options, root)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills copies of this process")
def test_the_memory_survives_the_end_of_the_process(root):
    """Killed at any moment while it saves, a hundred times: what was kept before is there, whole."""
    cards = schedule.Schedule(root, [f"03-{n}" for n in range(500)])
    cards.rate(cards.keys[0], 3, START)                  # fsrs is imported, the first file is there
    kept = 1
    for trial in range(100):
        pid = os.fork()
        if pid == 0:
            for key in cards.keys[kept:]:
                cards.rate(key, 3, START)
            os._exit(0)
        size, end = (root / schedule.MEMORY).stat().st_size, time.monotonic() + 10
        while (root / schedule.MEMORY).stat().st_size == size and time.monotonic() < end:
            time.sleep(0.0002)
        time.sleep(0.0003 * (trial % 13))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        data = json.loads((root / schedule.MEMORY).read_text())
        assert schedule.is_memory(data) and len(data) >= kept
        kept = len(data)
    assert kept > 100


# -- Anki

def notes(path: Path) -> dict[str, list[str]]:
    """GUID -> fields of a deck's notes."""
    with zipfile.ZipFile(path) as file:
        data = file.read("collection.anki2")
    copy = path.with_suffix(".db")
    copy.write_bytes(data)
    with sqlite3.connect(copy) as db:
        return {guid: fields.split("\x1f") for guid, fields in db.execute("select guid, flds from notes")}


def test_the_deck_holds_formulae_code_and_words(root, capsys):
    assert cards.main(["--topic", "3"], root) == 0
    found = notes(root / "build/cards/topic-03.apkg")
    assert len(found) == 2
    front, back, where = next(f for f in found.values() if "sqrt" in f[0])
    assert front == r"<p>Why divide by \(\sqrt d\), and <code>q @ k.T</code> not?</p>"
    assert r"Because \(a &lt; b\) and \(\bar x \ge 0\), see eq. 3.1; <code>x[$i]</code> stays. He (2015)" in back
    assert r"\[y = \frac{a}{b}\]" in back and "eq-03" not in back
    assert "<pre><code class=\"language-python\">x = 1 &lt; 2      # $5\n</code></pre>" in back
    assert where == "Chapter 3, Chapter 3"
    assert "build/cards/topic-03.apkg: 2 cards of 1 topic." in capsys.readouterr().out


def test_a_newer_deck_updates_the_older(root):
    """The same GUIDs, decks and kind of note after an answer was rewritten."""
    cards.main([], root)
    before = notes(root / "build/cards/dl-from-scratch.apkg")
    path = root / "chapters/03-x.qmd"
    path.write_text(path.read_text().replace("Two.", "By two."))
    cards.main([], root)
    after = notes(root / "build/cards/dl-from-scratch.apkg")
    assert set(before) == set(after) and len(after) == 4
    assert [k for k in after if before[k] != after[k]] == [k for k in after if "By two." in after[k][1]] != []


def test_every_formula_of_the_book_becomes_one_of_anki():
    """No dollar, label, reference or mark of Markdown is left outside code and formulae."""
    book = read_book(HERE, only=[])
    for chapter in (c for c in book.chapters if c.topic is not None):
        for question in questions(chapter):
            for text in (question.text, question.answer):
                page = anki.field(text, lambda label: "there")
                bare = re.sub(r"<code.*?</code>|\\\(.*?\\\)|\\\[.*?\\\]", "", page, flags=re.S)
                assert not re.search(r"\$|\*\*|@\w|\{#|:::|[\ue000\ue001]", bare), f"{question.path}: {bare}"
