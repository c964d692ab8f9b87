r"""Questions as an Anki deck: Markdown becomes HTML, formulae `\( \)` and `\[ \]`, which Anki typesets itself.

A note's GUID is made of its question's key, a deck's number of its name: importing a newer file updates the notes
and leaves what Anki knows of the reader's memory alone.
"""

from __future__ import annotations

import html
import os
import re
import zlib
from pathlib import Path

from scripts.reading import plaintext
from scripts.reading.questions import Question

BOOK = "Deep learning from scratch"
MODEL = 1_607_250_034                            # of the kind of note; never to change
STYLE = """.card { font-family: serif; font-size: 20px; text-align: left; max-width: 42em; margin: auto; }
pre { font-size: 16px; overflow-x: auto; } .where { color: #777; font-size: 14px; }"""
CODE = re.compile(r"^(```|~~~).*?^\1[ \t]*$|(`+)(?!`).+?(?<!`)\2(?!`)(?:\{[^}\n]*\})?", re.M | re.S)
MATHS = re.compile(r"\$\$(.+?)\$\$(?:[ \t]*\n?[ \t]*\{#[^}\n]*\})?|(?<![\\$])\$(?!\s)([^$]+?)(?<!\s)\$(?!\d)", re.S)
MARK = "\ue000{}\ue001"                          # stands for a formula while the Markdown is read
LABEL = re.compile(r"\[?-?@((?:eq|fig|tbl|sec|lst|thm)-[\w-]*\w)\]?")
CITED = re.compile(r"\s*\[@[^\]]*\]")


def field(text: str, say) -> str:
    """The HTML of a piece of a chapter. `say(label)`: what `@eq-25-x` is called."""
    from markdown_it import MarkdownIt
    kept: list[str] = []
    pieces, at = [], 0
    for code in CODE.finditer(text):
        pieces += [prose(text[at:code.start()], kept, say), re.sub(r"\{[^}\n]*\}$", "", code[0])]
        at = code.end()
    pieces.append(prose(text[at:], kept, say))
    page = MarkdownIt("commonmark").enable("table").render("".join(pieces)).strip()
    return re.sub(MARK.format(r"(\d+)"), lambda match: kept[int(match[1])], page)


def prose(text: str, kept: list[str], say) -> str:
    """Text without code: formulae are put aside, references become words, citations go."""
    def keep(match) -> str:
        tex = html.escape((match[1] or match[2]).strip(), quote=False)
        kept.append(rf"\[{tex}\]" if match[1] else rf"\({tex}\)")
        return MARK.format(len(kept) - 1)

    text = LABEL.sub(lambda match: say(match[1]), MATHS.sub(keep, text))
    return re.sub(r"^:{3,}.*$", "", plaintext.cited(CITED.sub("", text)), flags=re.M)


def number(text: str) -> int:
    """A whole number that a name always gives, of the size that Anki uses."""
    return (1 << 30) + zlib.crc32(text.encode())


def write(path: Path, questions: list[Question], titles: dict[int, str], say) -> None:
    """Write the deck, one subdeck a chapter; the file is replaced in one step."""
    import genanki
    model = genanki.Model(
        MODEL, f"{BOOK}: a question", fields=[{"name": name} for name in ("Question", "Answer", "Where")],
        templates=[{"name": "Card", "qfmt": "{{Question}}", "afmt": '{{FrontSide}}<hr id="answer">{{Answer}}'
                    '<p class="where">{{Where}}</p>'}], css=STYLE)
    decks = {}
    for question in questions:
        title = plaintext.plain_line(titles[question.topic])
        name = f"{BOOK}::{question.topic:02d} {title}"
        deck = decks.setdefault(name, genanki.Deck(number(name.partition(" ")[0] + str(question.topic)), name))
        fields = [field(question.text, say), field(question.answer, say), f"Chapter {question.topic}, {title}"]
        deck.add_note(genanki.Note(model, fields, guid=genanki.guid_for("dl-from-scratch", question.key),
                                   tags=[f"topic-{question.topic:02d}"]))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        genanki.Package(list(decks.values())).write_to_file(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
