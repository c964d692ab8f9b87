"""The embedded typesetter: a plain Quarto book project becomes a web site, a PDF and an EPUB.

It needs what PyPI has (pandoc, Typst, Pygments and a JavaScript engine, all as wheels) and no other program.
`quarto.py` runs the real Quarto instead, where it is installed.
"""

from __future__ import annotations

from scripts.typeset.embedded import FORMATS, PDF, typeset

__all__ = ["FORMATS", "PDF", "typeset"]
