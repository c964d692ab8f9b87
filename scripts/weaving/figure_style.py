"""What the kernel does before a chapter's first cell: the figures' style, and failures that name a line.

The figures are SVG with their letters as paths, sized for a text column of 12 cm, in colours that
colour-blind readers can tell apart (Okabe and Ito's, without the yellow) and that read on white:
on a dark page the figures stand on a white card. The same program gives the same bytes.
"""

from __future__ import annotations

import json

COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#4D4D4D"]
STYLE = {
    "figure.figsize": (4.7, 2.8), "figure.dpi": 100, "savefig.dpi": 200,
    "figure.facecolor": "white", "savefig.facecolor": "white", "axes.facecolor": "white",
    "figure.constrained_layout.use": True,
    "font.family": ["DejaVu Sans"], "font.size": 8.5, "mathtext.fontset": "dejavusans",
    "axes.titlesize": 9, "axes.labelsize": 8.5, "xtick.labelsize": 7.5, "ytick.labelsize": 7.5,
    "legend.fontsize": 7.5, "legend.frameon": False, "axes.titlepad": 5.0,
    "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.7,
    "axes.edgecolor": "#333333", "axes.labelcolor": "#222222", "text.color": "#222222",
    "xtick.color": "#333333", "ytick.color": "#333333", "xtick.major.width": 0.7, "ytick.major.width": 0.7,
    "axes.grid": False, "grid.color": "#D9D9D9", "grid.linewidth": 0.5,
    "lines.linewidth": 1.4, "lines.markersize": 4.0, "image.cmap": "viridis",
    "svg.fonttype": "path", "svg.hashsalt": "dl-from-scratch", "path.simplify": True,
}
MARK = "@cell "


def set_up(shell) -> None:
    """Prepare one IPython shell: style, inline figures, seeds for nothing (cells seed themselves)."""
    shell.run_line_magic("matplotlib", "inline")
    import matplotlib
    from cycler import cycler
    from matplotlib_inline.backend_inline import set_matplotlib_formats
    matplotlib.rcdefaults()
    matplotlib.rcParams.update(STYLE)
    matplotlib.rcParams["axes.prop_cycle"] = cycler(color=COLOURS)
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
