"""What the kernel does before a chapter's first cell: the figures' style, and failures that name a line.

The figures are SVG with their letters as paths, in the style of the repository's `matplotlibrc`, which plain
Quarto finds too, and here in the book's own typeface: plain Quarto may not have it, and would say so on the page.
On a dark page they stand on a white card. The same program gives the same bytes.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

STYLE = Path(__file__).resolve().parents[2] / "matplotlibrc"
FONTS = Path(__file__).resolve().parents[1] / "typeset" / "vendor" / "fonts" / "print"
FACE = "Source Sans 3"
LETTERS = {                                             # it runs smaller than the typeface of matplotlibrc
    "font.family": [FACE, "DejaVu Sans"],               # the second has the signs that the first lacks
    "font.size": 9.3, "axes.titlesize": 9.9, "axes.labelsize": 9.3, "legend.fontsize": 8.3,
    "xtick.labelsize": 8.3, "ytick.labelsize": 8.3,
    "font.monospace": ["Source Code Pro", "DejaVu Sans Mono"],
    "mathtext.fontset": "custom", "mathtext.fallback": "stixsans", "mathtext.cal": "cmsy10",
    "mathtext.rm": FACE, "mathtext.it": f"{FACE}:italic", "mathtext.bf": f"{FACE}:bold", "mathtext.sf": FACE,
}
MARK = "@cell "


def set_up(shell) -> None:
    """Prepare one IPython shell: style, inline figures, seeds for nothing (cells seed themselves)."""
    shell.run_line_magic("matplotlib", "inline")
    import matplotlib
    from matplotlib_inline.backend_inline import set_matplotlib_formats
    matplotlib.rcdefaults()
    matplotlib.rc_file(STYLE)
    use_face(matplotlib)
    set_matplotlib_formats("svg", bbox_inches="tight", pad_inches=0.04,
                           metadata={"Date": None, "Creator": None})
    shell._chapter_lines = True                         # tangled/__init__.py leaves such a shell alone
    shell.set_custom_exc((Exception,), _failure)


def use_face(matplotlib) -> None:
    """The book's typeface for letters and formulas; its semibold is what a figure asks for as bold."""
    from matplotlib import font_manager
    known = font_manager.fontManager
    for path in sorted(FONTS.glob("*.otf")):
        known.addfont(path)
    known.ttflist += [replace(face, weight=700) for face in known.ttflist
                      if face.weight == 600 and Path(face.fname).parent == FONTS]
    matplotlib.rcParams.update(LETTERS)
    from matplotlib._mathtext_data import tex2uni
    tex2uni.update(theta=0x3D1, vartheta=0x3B8)         # its italics have the two shapes the other way round


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
