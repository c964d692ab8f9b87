"""Stop here and try: a gate across the page, and behind it what gives the solution away, folded.

The page shows all of it where no script runs; `assets/book.js` remembers who has opened which gate.
"""

from __future__ import annotations

import html
import re

from scripts.typeset import exercising, stretches
from scripts.typeset.project import Chapter

TRY = re.compile(r"sec-(\w{1,2})-try")
LAST = re.compile(r"sec-\w{1,2}-pitfalls")      # the last section that belongs behind it
SHUT = """(function (box) {
var known = "";
try { known = localStorage.getItem("book-gate-" + box.dataset.gate); } catch (_) { known = ""; }
box.open = known === "open";
})(document.currentScript.parentNode);"""


class Gates:
    """Mixed into the HtmlWriter."""

    def gated(self, chapter: Chapter) -> str:
        """The chapter's blocks, with its gate if it has one."""
        before, gate, behind, after = split(chapter.blocks)
        if not self.folding:
            return self.blocks(chapter.blocks)
        if not gate:
            return self.stretches(before)
        return self.stretches(before) + self.gate(gate) + self.behind(gate[0], behind) + self.stretches(after)

    def stretches(self, blocks: list) -> str:
        first, *others = stretches.grouped(blocks)
        return self.blocks(first) + "".join(stretches.stretch(self.blocks(group)) for group in others)

    def gate(self, blocks: list) -> str:
        topic = TRY.fullmatch(blocks[0]["id"])[1]
        door = exercising.door(self.book, self.chapter)
        return (
            f'<section class="gate" aria-labelledby="{blocks[0]["id"]}">\n{self.blocks(blocks)}'
            f'<div class="gate-exercise" data-topic="{topic}">{door}</div>\n</section>\n'
        )

    def behind(self, heading: dict, blocks: list) -> str:
        if not blocks:
            return ""
        topic = TRY.fullmatch(heading["id"])[1]
        titles = " · ".join(self.inlines(block["title"]) for block in blocks if is_section(block))
        return (
            f'<details class="solutions" data-gate="{html.escape(topic)}" open="open">'
            f'<summary><span class="open-gate">The solutions</span> <small>{titles}</small></summary>\n'
            f"<script>\n{SHUT}\n</script>\n{self.stretches(blocks)}</details>\n"
        )


def split(blocks: list) -> tuple[list, list, list, list]:
    """What stands before the gate, in it, behind it and after that; all but the first empty without a gate."""
    heads = [k for k, block in enumerate(blocks) if is_section(block)]
    here = next((k for k in heads if TRY.fullmatch(blocks[k]["id"])), None)
    if here is None:
        return blocks, [], [], []
    later = [*(k for k in heads if k > here), len(blocks)]
    last = next((n for n, k in enumerate(later[:-1]) if LAST.fullmatch(blocks[k]["id"])), 0)
    first, end = later[0], later[min(last + 1, len(later) - 1)]
    return blocks[:here], blocks[here:first], blocks[first:end], blocks[end:]


def is_section(block: dict) -> bool:
    return block["t"] == "Heading" and block["level"] == 2
