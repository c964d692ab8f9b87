"""A page in stretches, from one heading to the next: a browser lays out only those near what is seen.

The style sheet leaves a stretch that is far away alone (`content-visibility: auto`); text in it is found by the
browser's search, and anchors lead into it. How tall it is then is taken from here until it has been seen.
"""

from __future__ import annotations

import re

LINE = 88                       # characters in a line of text
TEXT, CODE, FORMULA, BLOCK = 1.82, 1.3, 5.0, 1.05        # rem: a line of each, and what stands between two blocks
FOLDED = re.compile(r"<details.*?</details>", re.S)
PRE = re.compile(r"<pre.*?</pre>", re.S)
HIDDEN = re.compile(r'<span class="katex-mathml">.*?</math></span>', re.S)
PICTURE = re.compile(r'<(?:img|svg class="drawn")[^>]*? height="(\d+)"[^>]*>')
TAG = re.compile(r"<[^>]*>")
ENDS = re.compile(r"</(?:p|li|tr|figure|h[234])>")


def begins(block: dict) -> bool:
    return block["t"] == "Heading" and block["level"] in (2, 3)


def grouped(blocks: list) -> list[list]:
    """The blocks by stretch; what stands before the first heading comes first, and may be empty."""
    groups: list[list] = [[]]
    for block in blocks:
        if begins(block):
            groups.append([])
        groups[-1].append(block)
    return groups


def stretch(inside: str) -> str:
    return f'<div class="stretch" style="--tall:{tall(inside)}rem">\n{inside}</div>\n'


def tall(inside: str) -> int:
    """About how tall some HTML is, in rem, in the column of a wide screen."""
    shown = FOLDED.sub("<p></p>", inside)
    code = sum(block.count("\n") + 2 for block in PRE.findall(shown))
    pictures = sum(int(height) for height in PICTURE.findall(shown)) / 16
    text = HIDDEN.sub("", PRE.sub("", shown))
    formulas, blocks = text.count('class="eqbody"'), len(ENDS.findall(text))
    lines = len(" ".join(TAG.sub("", text).split())) / LINE + 0.5 * blocks
    return round(TEXT * lines + CODE * code + pictures + FORMULA * formulas + BLOCK * blocks)
