# Tangled from chapters/27-positional-encodings.qmd; edit the chapter, then run make tangle. sha256:eb48af6a68999abc
"""Chapter 27: pictures of what it is handed. Each returns a figure."""

from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np

CHAIN = [(0.0, "x\n(B, T, D)"), (1.35, "+"), (2.7, "q, k\n(B, H, T, D)"), (4.1, "turn"),
         (5.5, "q k$^\\top$\n(B, H, T, S)"), (6.9, "+"), (8.1, "softmax")]
PLACES = {1.35: ("sines, or learned:\ntable (L, D)", "row p", "$\\bar x$ = $\\bar y$",
                 "$\\bar E$: sum over\nall who read a row"),
          4.1: ("RoPE: cos, sin\n(L, D/2) each", "row p", "$\\bar x$ = $\\bar y$ turned by $-p\\,\\theta_i$",
                "constant:\nno gradient"),
          6.9: ("ALiBi: slope x (j $-$ i)\n(H, T, S)", "head h", "$\\bar x$ = $\\bar y$",
                "constant:\nno gradient")}


def draw_mechanism():
    """Where a table is added, where pairs are turned, where a bias is added; backward dashed."""
    figure, ax = plt.subplots(figsize=(6.6, 1.9))
    forward = {"arrowstyle": "-|>", "color": "black", "shrinkA": 0, "shrinkB": 0}
    back = {**forward, "linestyle": (0, (3, 2)), "color": "0.35"}
    for x, text in CHAIN:
        place = x in PLACES
        box = {"boxstyle": "circle,pad=0.3" if place else "square,pad=0.4", "edgecolor": "black",
               "facecolor": "0.88" if place else "white", "linewidth": 0.8}
        ax.text(x, 1, text, ha="center", va="center", fontsize=7, bbox=box)
    for (x, _), (then, _) in pairwise(CHAIN):
        gaps = [0.3 if at in PLACES else 0.5 for at in (x, then)]
        ax.annotate("", (then - gaps[1], 1), (x + gaps[0], 1), arrowprops=forward)
    ax.annotate("", (-0.4, 1.5), (8.5, 1.5), arrowprops=back)
    for x, (table, row, gradient, below) in PLACES.items():
        ax.text(x, 0, table, ha="center", va="center", fontsize=7,
                bbox={"boxstyle": "square,pad=0.4", "edgecolor": "black", "facecolor": "0.95", "hatch": None})
        ax.annotate("", (x - 0.1, 0.72), (x - 0.1, 0.3), arrowprops=forward)
        ax.text(x - 0.2, 0.5, row, ha="right", va="center", fontsize=6.5)
        ax.text(x, 1.56, gradient, ha="center", va="bottom", fontsize=7, style="italic")
        if x == 1.35:
            ax.annotate("", (x + 0.15, 0.3), (x + 0.15, 0.72), arrowprops=back)
        ax.text(x + 0.25, 0.5, below, ha="left", va="center", fontsize=6, style="italic", color="0.25")
    ax.set(xlim=(-0.6, 8.7), ylim=(-0.35, 1.85))
    ax.axis("off")
    return figure


def draw_clocks(cos, sin):
    """The hands of D/2 pairs at the first positions, one circle a pair; cos, sin (L, D/2)."""
    figure, axes = plt.subplots(1, cos.shape[1], figsize=(6.2, 1.5))
    for i, ax in enumerate(axes):
        ax.add_patch(plt.Circle((0, 0), 1, fill=False, color="0.8"))
        for p, shade in enumerate(np.linspace(0.75, 0.0, len(cos))):
            ax.annotate("", (cos[p, i], sin[p, i]), (0, 0),
                        arrowprops={"arrowstyle": "-|>", "color": str(shade)})
            if i == 0:
                ax.text(1.22 * cos[p, i], 1.22 * sin[p, i], str(p), ha="center", va="center", fontsize=7)
        theta = np.arctan2(sin[1, i], cos[1, i])
        ax.set(aspect="equal", xlim=(-1.35, 1.35), ylim=(-1.35, 1.35), xticks=[], yticks=[],
               frame_on=False)
        ax.set_title(f"$\\theta_{i}$ = {theta:g}", fontsize=8)
    return figure


def draw_table(table):
    """Heat map of a table (L, D)."""
    figure, ax = plt.subplots(figsize=(6.2, 1.45))
    image = ax.imshow(table, aspect="auto", cmap="gray", vmin=-1, vmax=1, interpolation="nearest")
    ax.set(xlabel="feature", ylabel="position")
    figure.colorbar(image, ax=ax, shrink=0.9)
    return figure


def draw_permutation(perm):
    """The permutation (D,) between the two layouts, as lines from one row of boxes to another."""
    figure, ax = plt.subplots(figsize=(6.2, 1.3))
    dim, half = len(perm), len(perm) // 2
    looks = ((1, 0), (4, 2), (1, 1.5), (5, 1.5, 1, 1.5))
    for j, c in enumerate(perm):
        ax.plot([c, j], [0.78, 0.22], color=str(0.15 * (j % half)), dashes=looks[j % half], linewidth=1.1)
        for place, height in ((c, 1), (j, 0)):
            ax.text(place, height, f"$x_{{{c}}}$", ha="center", va="center", fontsize=8,
                    bbox={"boxstyle": "round,pad=0.35", "facecolor": str(1 - 0.11 * (j % half)),
                          "edgecolor": "black", "linewidth": 0.8})
    ax.set(xlim=(-2.2, dim - 0.4), ylim=(-0.4, 1.4))
    ax.axis("off")
    for height, name in ((1, "interleaved"), (0, "half-split")):
        ax.text(-0.7, height, name, ha="right", va="center")
    return figure


def draw_scores(curves):
    """Scores against distance; curves as from `score_curves`: arrays (reach,) or (N, reach)."""
    figure, axes = plt.subplots(1, 3, figsize=(6.4, 1.9))
    looks = (("0.75", 4.0, (1, 0)), ("0.45", 2.2, (1, 0)), ("black", 1.2, (4, 4)), ("white", 0.7, (1, 3)))
    for line, (colour, width, dashes) in zip(curves["starts"], looks):
        axes[0].plot(line, color=colour, linewidth=width, dashes=dashes)
    axes[1].plot(curves["equal"], color="0.7", linewidth=2.5, label="measured")
    axes[1].plot(curves["expected"], color="black", linewidth=0.9, dashes=(3, 2), label="sum of cosines")
    axes[2].plot(curves["independent"].T, color="0.4", alpha=0.25, linewidth=0.6)
    for ax, title in zip(axes, ("one q, one k, four starts", "q = k, mean", "independent q, k")):
        ax.set_title(title, fontsize=8)
        ax.set(xlabel="distance")
    axes[0].set_ylabel("score")
    axes[1].legend(fontsize=6)
    return figure


def draw_bias(bias, slopes, heads):
    """Heat maps of some heads of a bias (H, T, S)."""
    figure, axes = plt.subplots(1, len(heads), figsize=(6.4, 1.6), sharey=True)
    for ax, h in zip(axes, heads):
        ax.set_facecolor("white")
        ax.add_patch(plt.Rectangle((-0.5, -0.5), *bias.shape[:0:-1], hatch="////", fill=False,
                                   edgecolor="0.6", linewidth=0))
        image = ax.imshow(np.ma.masked_invalid(bias[h]), cmap="gray", vmin=-8, vmax=2, zorder=2)
        ax.set_title(f"m = 1/{1 / slopes[h]:.0f}", fontsize=8)
        ax.set(xlabel="key")
    axes[0].set_ylabel("query")
    figure.colorbar(image, ax=axes, shrink=0.8, boundaries=np.linspace(-8, 0, 33), ticks=[-8, -4, 0])
    return figure
