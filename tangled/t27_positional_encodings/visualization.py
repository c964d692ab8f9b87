# Tangled from chapters/27-positional-encodings.qmd; edit the chapter, then run make tangle. sha256:7dcd346caecebe1a
"""Chapter 27: pictures of tables, rotations, scores, biases. Each returns a figure."""

import matplotlib.pyplot as plt
import numpy as np

from tangled.t27_positional_encodings import interleaved_to_half, rope, rope_tables


def draw_clocks(dim=8, positions=6, base=10000.0):
    """The hands (cos, sin) of D/2 pairs at the first positions, one circle a pair."""
    cos, sin = rope_tables(positions, dim, base)                # (L, D/2) each
    figure, axes = plt.subplots(1, dim // 2, figsize=(6.2, 1.9))
    for i, ax in enumerate(axes):
        ax.add_patch(plt.Circle((0, 0), 1, fill=False, color="0.8"))
        for p, shade in enumerate(plt.cm.Blues(np.linspace(0.35, 1, positions))):
            ax.annotate("", (cos[p, i], sin[p, i]), (0, 0),
                        arrowprops={"arrowstyle": "-|>", "color": shade})
        ax.set(aspect="equal", xlim=(-1.1, 1.1), ylim=(-1.1, 1.1), xticks=[], yticks=[],
               frame_on=False, title=f"$\\theta_{i}$ = {base ** (-2 * i / dim):g}")
    return figure


def draw_table(table):
    """Heat map of a table (L, D)."""
    figure, ax = plt.subplots(figsize=(6.2, 2.3))
    image = ax.imshow(table, aspect="auto", cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest")
    ax.set(xlabel="feature", ylabel="position")
    figure.colorbar(image, ax=ax, shrink=0.9)
    return figure


def draw_permutation(dim=8):
    """The permutation (D,) between the two layouts, as lines from one row of boxes to another."""
    figure, ax = plt.subplots(figsize=(6.2, 1.5))
    perm, half = interleaved_to_half(dim), dim // 2
    for j, c in enumerate(perm):
        colour = f"C{j % half}"
        ax.plot([c, j], [0.78, 0.22], color=colour)
        for place, height, feature in ((c, 1, c), (j, 0, c)):
            ax.text(place, height, f"$x_{{{feature}}}$", ha="center", va="center",
                    bbox={"boxstyle": "round,pad=0.35", "facecolor": "white",
                          "edgecolor": colour, "linewidth": 1.6})
    ax.set(xlim=(-2.2, dim - 0.4), ylim=(-0.4, 1.4))
    ax.axis("off")
    for height, name in ((1, "interleaved"), (0, "half-split")):
        ax.text(-0.7, height, name, ha="right", va="center")
    return figure


def draw_scores(dim=64, reach=256, seed=0):
    """Scores against distance: relative, of equal vectors, of independent vectors."""
    generator = np.random.default_rng(seed)
    cos, sin = rope_tables(reach + 200, dim)
    distances = np.arange(reach)

    def scores(q, k, start=0):
        """q, k (N, D) at positions start and start + distance: (N, reach)."""
        q = rope(q[:, None, None], cos, sin, [start])[0]                    # (N, 1, 1, D)
        k = np.repeat(k[:, None, None], reach, 2)                           # (N, 1, reach, D)
        k = rope(k, cos, sin, start + distances)[0]
        return (q * k).sum(-1)[:, 0] / dim ** 0.5

    figure, axes = plt.subplots(1, 3, figsize=(6.4, 2.2))
    q, k = generator.standard_normal((2, 40, dim))
    for start, dashes in zip((0, 10, 50, 200), ((1, 0), (4, 4), (2, 2), (1, 3))):
        axes[0].plot(scores(q[:1], k[:1], start)[0], dashes=dashes)
    equal = generator.standard_normal((200, dim))
    axes[1].plot(scores(equal, equal).mean(0), color="C0", label="measured")
    expected = 2 * cos[:reach].sum(1) / dim ** 0.5
    axes[1].plot(expected, color="C1", dashes=(2, 2), label="sum of cosines")
    axes[2].plot(scores(q, k).T, color="0.4", alpha=0.25, linewidth=0.6)
    for ax, title in zip(axes, ("one q, one k, four starts", "q = k, mean", "independent q, k")):
        ax.set(title=title, xlabel="distance")
    axes[0].set_ylabel("score")
    axes[1].legend()
    return figure


def draw_bias(bias, slopes, heads):
    """Heat maps of some heads of a bias (H, T, S)."""
    figure, axes = plt.subplots(1, len(heads), figsize=(6.4, 1.9), sharey=True)
    colours = plt.get_cmap("YlGnBu_r").with_extremes(bad="0.85")
    for ax, h in zip(axes, heads):
        image = ax.imshow(np.ma.masked_invalid(bias[h]), cmap=colours, vmin=-8, vmax=0)
        ax.set(title=f"m = 1/{1 / slopes[h]:.0f}", xlabel="key")
    axes[0].set_ylabel("query")
    figure.colorbar(image, ax=axes, shrink=0.8)
    return figure
