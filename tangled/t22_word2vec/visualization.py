# Tangled from chapters/22-word2vec.qmd; edit the chapter, then run make tangle. sha256:0ee7786724a7e539
"""Chapter 22: a step on two tables, the alias table, a map of words. Drawings return a figure."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Rectangle

from tangled.t22_word2vec.level2_vectorized import AliasTable
from tangled.t22_word2vec.words import principal_axes

GROUPS = {"countries": "soviet china iraq vietnam korea japan germany europe",
          "schools": "school schools teachers students college education teacher math",
          "economy": "tax budget deficit inflation unemployment spending prices wages",
          "farms, energy": "farm farmers agricultural crops oil gas coal energy",
          "arms": "missiles nuclear weapons forces troops military army navy"}


def draw_map(table, numbers):
    """Words of GROUPS on the principal axes of their rows of table (V, D); numbers {word: id}."""
    words = [word for group in GROUPS.values() for word in group.split()]
    rows = table[[numbers[word] for word in words]].astype(np.float64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    points, figure = principal_axes(rows), plt.figure(figsize=(6.4, 4.8))
    ax = figure.gca()
    for k, (group, marker) in enumerate(zip(GROUPS, "os^Dx")):
        x, y = points[8 * k:8 * k + 8].T
        fill = {"color": "black"} if marker == "x" else {"facecolor": str(0.25 * k), "edgecolor": "black"}
        ax.scatter(x, y, s=18, marker=marker, linewidth=0.7, label=group, **fill)
    ax.margins(0.08)
    ax.autoscale_view()                                         # the limits, before places are measured
    marks = ax.transData.transform(points) * 72 / figure.dpi    # in points
    taken = [(x - 3, y - 3, x + 3, y + 3) for x, y in marks]
    for word, point in zip(words, points):
        _label(ax, word, point, taken)
    ax.legend(fontsize=7, loc="lower center")
    ax.set(xlabel="first axis", ylabel="second axis")
    return figure


def _label(ax, word, point, taken):
    """A word beside its mark, at the first place with the fewest marks and earlier labels on it; far ones on a line."""
    x, y = ax.transData.transform(point) * 72 / ax.figure.dpi    # in points
    width = 3.9 * len(word)
    places = [(dx, dy) for dy in (2, -8, 9, -15, 16) for dx in (4, -4 - width)]
    boxes = [(x + dx, y + dy, x + dx + width, y + dy + 7) for dx, dy in places]
    over = [sum(box[0] < b[2] and b[0] < box[2] and box[1] < b[3] and b[1] < box[3] for b in taken) for box in boxes]
    k = over.index(min(over))
    taken.append(boxes[k])
    line = {"arrowstyle": "-", "linewidth": 0.5, "color": "0.6"} if k > 3 else None
    ax.annotate(word, point, places[k], textcoords="offset points", fontsize=7, arrowprops=line)


def draw_alias(weights=(5, 2, 1, 0.5, 1.5)):
    """Columns of a distribution, and the same mass in columns of one height."""
    weights, names, greys = np.array(weights, float), "abcde", ("0.95", "0.8", "0.65", "0.5", "0.35")
    table, V = AliasTable(weights), len(weights)
    figure, (left, right) = plt.subplots(1, 2, figsize=(6.4, 2.1), sharey=True)
    for k, height in enumerate(weights / weights.mean()):
        left.bar(k, height, 0.8, color=greys[k], edgecolor="black")
        left.text(k, height + 0.05, names[k], ha="center", fontsize=9)
        own, other = table.probability[k], table.alias[k]
        for low, high, word in ((0, own, k), (own, 1, other)):
            if high - low > 1e-9:
                right.bar(k, high - low, 0.8, bottom=low, color=greys[word], edgecolor="black")
                ink = "white" if word > 2 else "black"
                right.text(k, (low + high) / 2, names[word], ha="center", va="center", fontsize=9, color=ink)
    left.axhline(1, color="0.4", dashes=(3, 2), linewidth=0.8)
    left.set(title="V times the probability", xticks=[], ylim=(0, 2.9))
    right.set(title="the alias table", xticks=range(V), xticklabels=[f"column {k}" for k in range(V)])
    right.tick_params(labelsize=7)
    return figure


def draw_step(V=9, used=(1, 3, 6)):
    """Two tables, the rows of one pair, forward solid, backward dashed."""
    figure, ax = plt.subplots(figsize=(6.6, 2.9))
    for x, rows, title in ((1.2, (4,), "w_in (V, D)"), (6.6, used, "w_out (V, D)")):
        for k in range(V):
            y = 0.36 * (V - 1 - k)
            shade = "0.75" if k in rows else "white"
            ax.add_patch(Rectangle((x, y), 1.9, 0.32, facecolor=shade, edgecolor="0.5", linewidth=0.7))
        ax.text(x + 0.95, 0.36 * V + 0.08, title, ha="center", fontsize=8)
    at = lambda k: 0.36 * (V - 1 - k) + 0.16
    ax.text(1.1, at(4), "centre: union", ha="right", va="center", fontsize=8)
    labels = ("context: state, pulled", "negative: tax, pushed", "negative: oil, pushed")
    for k, label, pull in zip(used, labels, (True, False, False)):
        ax.text(8.6, at(k), label, va="center", fontsize=8)
        _arrow(ax, (3.15, at(4) + 0.06), (6.55, at(k) + 0.06))
        _arrow(ax, (6.55, at(k) - 0.08), (3.15, at(4) - 0.08), dashed=True)
        ax.text(5.55, at(4) + (at(k) - at(4)) * 0.72 + 0.16, r"$-s$" if pull else r"$s$", fontsize=8, ha="center")
    ax.text(2.15, at(4) - 0.02, r"$v_w$ (D,)", ha="center", va="center", fontsize=8)
    for k, name in zip(used, (r"$u_c$", r"$u_1$", r"$u_2$")):
        ax.text(7.55, at(k) - 0.02, f"{name} (D,)", ha="center", va="center", fontsize=8)
    ax.text(4.3, at(8), r"$\bar v_w = \sum_k g_k u_k$", fontsize=8, ha="center")
    ax.text(7.55, -0.3, r"$\bar u_k = g_k v_w$", fontsize=8, ha="center")
    ax.set(xlim=(-0.6, 11.2), ylim=(-0.5, 3.6))
    ax.axis("off")
    return figure


def _arrow(ax, start, end, dashed=False):
    """An arrow."""
    style = {"linestyle": "--", "color": "0.45"} if dashed else {"linestyle": "-", "color": "0"}
    ax.annotate("", end, start, arrowprops={"arrowstyle": "->", "linewidth": 0.9, **style})
