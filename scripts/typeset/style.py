"""The site's style, which stands in each page: a page is painted without waiting for a second file."""

from __future__ import annotations

import functools
import re
from pathlib import Path

HERE = Path(__file__).parent
KATEX = HERE / "vendor" / "katex"
SHEETS = ("book.css", "code.css")               # of assets/, in this order


@functools.cache
def sheet() -> str:
    """KaTeX's rules and ours, without comments; fonts are addressed from the folder of assets."""
    katex = katex_style().replace("url(fonts/", "url(katex/fonts/")
    return squeezed("\n".join([katex, *((HERE / "assets" / name).read_text(encoding="utf-8") for name in SHEETS)]))


def katex_style() -> str:
    """KaTeX's style sheet, with the one font format that every browser reads; paper does not wait for a face."""
    style = (KATEX / "katex.min.css").read_text(encoding="utf-8")
    style = style.replace("font-display:block", "font-display:swap")
    return re.sub(r",url\([^)]*\) format\(\"(?:woff|truetype)\"\)", "", style)


def squeezed(style: str) -> str:
    style = re.sub(r"/\*.*?\*/", "", style, flags=re.S)
    return re.sub(r"\s*\n\s*", "\n", style).strip()


def style_of(root: str) -> str:
    """The style for a page from which `root` leads to the site's first folder."""
    return sheet().replace("url(", f"url({root}/assets/")


@functools.cache
def theme() -> str:
    """The script that runs before the page is painted."""
    return squeezed((HERE / "assets" / "theme.js").read_text(encoding="utf-8"))
