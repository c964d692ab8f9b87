# Tangled from chapters/16-normalizations.qmd; edit the chapter, then run make tangle. sha256:8ee9e788f94a8472
"""Chapter 16: which numbers are averaged, and whether samples know each other. Drawings return a figure."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Rectangle

from tangled.t09_batch_norm import batch_norm
from tangled.t16_normalizations import group_norm

AXES = [("batch norm", range(4), [2]), ("layer norm", [1], range(6)), ("instance norm", [1], [2]),
        ("group norm, 2 groups", [1], range(3))]


def draw_axes(samples=4, channels=6, pixels=3):
    """Four panels: shaded what shares a mean, hatched what shares gamma."""
    figure, panels = plt.subplots(1, 4, figsize=(6.6, 1.9))
    for ax, (title, rows, columns) in zip(panels, AXES):
        for n in range(samples):
            for c in range(channels):
                shade = "0.7" if n in rows and c in columns else "white"
                hatch = "//////" if c == 2 else None
                ax.add_patch(Rectangle((c, n), 1, 1, facecolor=shade, edgecolor="0.35", linewidth=0.8, hatch=hatch))
                for k in range(1, pixels):
                    ax.plot([c + k / pixels] * 2, [n, n + 1], color="0.6", linewidth=0.3)
                    ax.plot([c, c + 1], [n + k / pixels] * 2, color="0.6", linewidth=0.3)
        ax.plot(2.5, 1.5, "o", color="black", markersize=3.5)
        ax.set(xlim=(-0.1, channels + 0.1), ylim=(samples + 0.1, -0.1), aspect="equal")
        ax.set_xticks([])
        ax.set_yticks([])
        ax.set_title(title, fontsize=8)
        ax.set_xlabel("channel", fontsize=7)
        for side in ax.spines.values():
            side.set_visible(False)
    panels[0].set_ylabel("sample", fontsize=7)
    return figure


def moved_by_companions(normalise, size, companies=40, shape=(16, 8, 8), seed=0):
    """RMS deviation of one sample's output over companies of size - 1 others."""
    rng = np.random.default_rng(seed)
    batch = np.empty((size, *shape))
    batch[0] = rng.standard_normal(shape)
    outs = []
    for _ in range(companies):
        batch[1:] = rng.standard_normal((size - 1, *shape)) * rng.uniform(0.5, 1.5, (size - 1, 1, 1, 1))
        outs.append(normalise(batch)[0])
    return float(np.std(outs, axis=0).mean())


def draw_companions(sizes=(2, 4, 8, 16, 32, 64)):
    """Batch norm against batch size; the others stay where they are."""
    C = 16
    of_batch = lambda x: batch_norm(x, np.ones(C), np.zeros(C), None, None, True)[0]
    rest = [moved_by_companions(lambda x, g=g: group_norm(x, g)[0], size) for g in (1, 4, C) for size in sizes]
    figure, ax = plt.subplots(figsize=(4.6, 2.3))
    ax.loglog(sizes, [moved_by_companions(of_batch, size) for size in sizes], "o-", color="black", label="batch norm")
    ax.text(2.2, 0.012, f"layer, group, instance norm: at most {max(rest):.0e}", fontsize=8)
    ax.set(xlabel="batch size N", ylabel="deviation", ylim=(0.01, 0.6))
    ax.minorticks_off()
    ax.set_xticks(sizes, [str(size) for size in sizes])
    ax.legend()
    return figure
