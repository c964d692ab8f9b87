"""The interview questions of a chapter: what is asked in bold, and the answer in the callout after it.

    **Why divide by the square root?**

    ::: {.callout-note collapse="true" title="Answer"}
    …
    :::
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass

from scripts.errors import Problem
from scripts.reading import plaintext

HEADING = re.compile(r"^(#+) +Interview questions\b")
OPENS = re.compile(r'^:{3,} *\{.*\.callout-.*title="Answer"')
CLOSES = re.compile(r"^:{3,} *$")
WORDS = 5                                        # of a question, in its key


@dataclass(frozen=True)
class Question:
    """One question. `key`: its topic and first words, such as "25-why-mask-with-inf-before"."""

    topic: int
    key: str
    text: str                                    # Markdown, as is the answer
    answer: str
    path: str
    line: int


def questions(chapter) -> list[Question]:
    """The interview questions of a chapter, in its order."""
    first, after = section(chapter)
    found, keys, asked, line = [], set(), [], 0
    number = first
    while number < after:
        text = chapter.lines[number - 1]
        if OPENS.match(text):
            end = next((n for n in range(number + 1, after) if CLOSES.match(chapter.lines[n - 1])), after)
            wording = question_text(asked)
            if not wording:
                raise Problem(chapter.path, number, "an answer without a question; expected **the question** before it")
            key = key_of(chapter.topic, wording, keys)
            keys.add(key)
            answer = "\n".join(chapter.lines[number:end - 1]).strip("\n")
            found.append(Question(chapter.topic, key, wording, answer, chapter.path, line))
            asked, number = [], end
        elif text.strip():
            line = line if asked else number
            asked.append(text.strip())
        number += 1
    if question_text(asked):
        raise Problem(chapter.path, line, 'a question without an answer; expected ::: {.callout-note title="Answer"}')
    return found


def section(chapter) -> tuple[int, int]:
    """The lines (from, up to) of the interview questions; nothing where a chapter has none."""
    depth, first, code = 0, 1, False
    for number, line in enumerate(chapter.lines, 1):
        code ^= line.startswith("```")
        if code:
            continue
        if depth and re.match(rf"#{{1,{depth}}} ", line):
            return first, number
        if match := HEADING.match(line):
            depth, first = len(match[1]), number + 1
    return (first, len(chapter.lines) + 1) if depth else (1, 1)


def question_text(lines: list[str]) -> str:
    """The bold words among the lines before an answer."""
    match = re.search(r"\*\*(.+?)\*\*", " ".join(lines))
    return match[1] if match else ""


def key_of(topic: int, text: str, taken: set[str]) -> str:
    """Topic and the first words, so many more as make it differ from the others."""
    words = re.findall(r"[a-z0-9]+", plaintext.plain_line(text).lower())
    for count in range(WORDS, len(words) + 1):
        if (key := "-".join([f"{topic:02d}", *words[:count]])) not in taken:
            return key
    return next(key for n in range(1, 99) if (key := "-".join([f"{topic:02d}", *words, str(n)])) not in taken)


def find(words: str, there: list[Question], path: str, line: int) -> Question:
    """The one question that holds these words; a Problem at the place that names them where there is no such one."""
    plain = lambda text: " ".join(re.findall(r"\w+", plaintext.plain_line(text).lower()))
    wanted = plain(words)
    hits = [q for q in there if wanted and wanted in plain(q.text)]
    if len(hits) == 1:
        return hits[0]
    near = difflib.get_close_matches(wanted, [plain(q.text)[:len(wanted) + 8] for q in there], 1, 0.5)
    said = f"; did you mean {near[0]!r}?" if near else "; expected words of one of the chapter's interview questions"
    raise Problem(path, line, f"the question {words!r} is there {'not' if not hits else f'{len(hits)} times'}{said}")
