# Tangled from chapters/31-kv-cache.qmd; edit the chapter, then run make tangle. sha256:6df279023008aaab
"""Chapter 31: the mechanism, and times. Drawings return a figure."""

import matplotlib.pyplot as plt
import numpy as np


def _cells(ax, x, y, kinds):
    """A row of unit cells: "k" kept, "n" new, "." free."""
    for k, kind in enumerate(kinds):
        style = {"k": {"facecolor": "0.93", "hatch": "////"}, "n": {"facecolor": "0.25"}, ".": {"facecolor": "w"}}[kind]
        ax.add_patch(plt.Rectangle((x + k, y), 1, 1, edgecolor="0.3", linewidth=0.8, **style))


def draw_mechanism():
    """A step of one layer, and two rows in blocks."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(6.8, 3.0), width_ratios=(1.25, 1))
    arrow = {"arrowstyle": "->", "linewidth": 1.0, "color": "0.2"}
    write = lambda ax, x, y, text, **how: ax.text(x, y, text, ha="center", va="center", fontsize=8, **how)
    for y, name in ((4, "$K$"), (1.6, "$V$")):
        _cells(left, 2, y, "kkkkkkn...")
        write(left, 1.3, y + 0.5, name)
    _cells(left, 8, 7.2, "n")
    write(left, 10.6, 7.7, "$x_t$: one token")
    left.annotate("", (8.5, 5.1), (8.5, 7.1), arrowprops=arrow)
    write(left, 9.5, 6.2, "$k_t, v_t$")
    write(left, 7, 3.3, "$S \\times d$ each, a head")
    _cells(left, 3, 7.2, "n")
    write(left, 2.3, 7.7, "$q_t$")
    left.annotate("", (4.1, 7.7), (7.9, 7.7), arrowprops=arrow)
    for k in range(7):
        left.annotate("", (2.5 + k, 5.05), (3.5, 7.15), arrowprops={**arrow, "linewidth": 0.5})
    left.annotate("", (5.5, 0.2), (5.5, 1.5), arrowprops=arrow)
    write(left, 5.5, -0.4, "$o_t$, and one row of logits $1 \\times V$")
    left.set(xlim=(0, 13.5), ylim=(-1, 8.8))
    for k in range(6):
        y = 7.2 - 1.35 * k
        _cells(right, 6, y, {0: "kkkk", 1: "kkkk", 2: "kk..", 3: "kkk.", 4: "....", 5: "...."}[k])
        write(right, 10.7, y + 0.5, str(k))
    for y, name, blocks in ((5.4, "A", (0, 1, 2)), (2.2, "B", (0, 1, 3))):
        write(right, 0.2, y + 0.5, name)
        for k, block in enumerate(blocks):
            right.add_patch(plt.Rectangle((1 + k, y), 1, 1, facecolor="white", edgecolor="0.3"))
            write(right, 1.5 + k, y + 0.5, str(block))
            start = (1.5 + k, y + 1.05) if block < 2 else (4.05, y + 0.5)
            right.annotate("", (5.9, 7.7 - 1.35 * block), start,
                           arrowprops={**arrow, "linewidth": 0.6, "linestyle": "-" if name == "A" else "--"})
    write(right, 2.5, 7.9, "tables")
    write(right, 8, 8.7, "blocks of 4 tokens")
    right.set(xlim=(-0.5, 11.5), ylim=(-1, 9.2))
    for ax in (left, right):
        ax.axis("off")
    return figure


def draw_times(lengths, seconds):
    """Seconds of a token by the tokens before it, a line for each name in `seconds`."""
    figure, ax = plt.subplots(figsize=(4.8, 2.5))
    for (name, values), style in zip(seconds.items(), ("-o", "--s", "-.^", ":d")):
        ax.plot(lengths, 1e3 * np.array(values), style, color="0.2", label=name, markersize=4)
    ax.set(xscale="log", yscale="log", xlabel="tokens before it", ylabel="ms a token")
    ax.set_xticks(lengths, [str(T) for T in lengths])
    ax.minorticks_off()
    ax.legend(fontsize=7)
    return figure
