"""What the kernel does before a chapter's first cell: the figures' style, and failures that name a line.

The figures are SVG with their letters as paths, in the style of the repository's `matplotlibrc`, which plain
Quarto finds too. On a dark page they stand on a white card. The same program gives the same bytes.
"""

from __future__ import annotations

import json
from pathlib import Path

STYLE = Path(__file__).resolve().parents[2] / "matplotlibrc"
MARK = "@cell "


def set_up(shell) -> None:
    """Prepare one IPython shell: style, inline figures, seeds for nothing (cells seed themselves)."""
    shell.run_line_magic("matplotlib", "inline")
    import matplotlib
    from matplotlib_inline.backend_inline import set_matplotlib_formats
    matplotlib.rcdefaults()
    matplotlib.rc_file(STYLE)
    set_matplotlib_formats("svg", bbox_inches="tight", pad_inches=0.04,
                           metadata={"Date": None, "Creator": None})
    shell._chapter_lines = True                         # tangled/__init__.py leaves such a shell alone
    shell.set_custom_exc((Exception,), _failure)


def _failure(shell, kind, value, tb, tb_offset=None):
    """Where in the cell it failed, for the chapter's line; then the usual traceback for who asks."""
    import traceback
    cell, frames = None, traceback.extract_tb(tb)
    for frame in frames:
        if "ipykernel_" in frame.filename or frame.filename.startswith("<ipython-input"):
            cell = frame.lineno
    text = traceback.format_exception(kind, value, tb)
    inner = frames[-1] if frames else None
    place = {"line": cell, "file": inner.filename if inner else "", "inner": inner.lineno if inner else 0}
    shown = [MARK + json.dumps(place), "".join(text)]
    shell._showtraceback(kind, value, shown)
    return shown


def show_inline(value) -> None:
    """The value of an inline expression, as text: Markdown if it knows how, else its str."""
    from IPython.display import display
    markdown = getattr(value, "_repr_markdown_", None)
    display({"text/plain": markdown() if markdown else str(value)}, raw=True)
