# Tangled from chapters/25-self-attention.qmd; edit the chapter, then run make tangle. sha256:db7734fd66255b30
"""Chapter 25: the mechanism, masks, weights, sharpness, memory. Drawings return a figure."""

import matplotlib.pyplot as plt
import numpy as np

from tangled.t25_self_attention import causal_mask, masked_softmax, padding_mask, window_mask


def _matrix(ax, x, y, shades, cell=0.42, hidden=None):
    """A grid of grey cells with its lower left corner at (x, y); hidden ones are hatched."""
    rows, columns = shades.shape
    for r, c in np.ndindex(rows, columns):
        masked = hidden is not None and hidden[r, c]
        face = "white" if masked else str(1 - 0.75 * shades[r, c])
        ax.add_patch(plt.Rectangle((x + c * cell, y + (rows - 1 - r) * cell), cell, cell, facecolor=face,
                                   edgecolor="0.45", linewidth=0.5, hatch="/////" if masked else None))


def draw_mechanism(T=5, seed=3, row=3):
    """Forward in the upper row, with shapes, one query framed; backward in the lower."""
    figure = plt.figure(figsize=(6.6, 3.45), layout="none")
    ax = figure.add_axes((0, 0, 1, 1))
    light = lambda rows, columns: np.full((rows, columns), 0.12)
    hidden, scores = ~causal_mask(T, T), 1.3 * np.random.default_rng(seed).standard_normal((T, T))
    p = masked_softmax(scores, ~hidden)
    dp = np.random.default_rng(seed + 1).standard_normal((T, T))
    ds = np.abs(p * (dp - (p * dp).sum(-1, keepdims=True)))
    _matrix(ax, 0, 3.4, light(T, 3))
    _matrix(ax, 2.0, 5.65, light(3, T))
    _matrix(ax, 2.0, 3.4, 0.35 * (scores - scores.min()) / np.ptp(scores), hidden=hidden)
    _matrix(ax, 6.6, 3.4, p, hidden=hidden)
    _matrix(ax, 9.5, 3.4, light(T, 2))
    _matrix(ax, 11.3, 3.4, light(T, 2))
    _matrix(ax, 4.0, 0.1, ds / ds.max(), 0.36, hidden)
    for x, columns in ((0, 3), (2.0, T), (6.6, T), (11.3, 2)):
        ax.add_patch(plt.Rectangle((x, 3.4 + (T - 1 - row) * 0.42), columns * 0.42, 0.42, fill=False, linewidth=1.8))
    labels = [(0.63, 3.2, "$Q$\n$T_q \\times D$"), (4.75, 6.5, "$K^\\top$\n$D \\times T_k$"),
              (3.05, 3.2, "$S = c\\, Q K^\\top$\n$T_q \\times T_k$"), (7.65, 3.2, "$P$\n$T_q \\times T_k$"),
              (9.92, 3.2, "$V$\n$T_k \\times D_v$"), (11.72, 3.2, "$O = P V$\n$T_q \\times D_v$"),
              (5.35, 5.35, "softmax of\neach row"), (-0.35, 4.62, "query\n$i$"),
              (11.72, 1.5, "$\\bar{O}$\n$T_q \\times D_v$"),
              (8.85, 1.8, "$\\bar{V} = P^\\top \\bar{O}$\n$T_k \\times D_v$"),
              (8.85, 0.9, "$\\bar{P} = \\bar{O} V^\\top$\n$T_q \\times T_k$"),
              (4.9, 2.5, "$\\bar{S} = P \\odot (\\bar{P} - \\delta)$,  $T_q \\times T_k$"),
              (1.3, 1.8, "$\\bar{Q} = c\\, \\bar{S} K$\n$T_q \\times D$"),
              (1.3, 0.9, "$\\bar{K} = c\\, \\bar{S}^\\top Q$\n$T_k \\times D$")]
    for x, y, text in labels:
        ax.text(x, y, text, ha="center", va="top", fontsize=8)
    for start, end, y in ((4.3, 6.4, 4.45), (10.9, 9.9, 1.0), (7.8, 6.0, 1.0), (3.8, 2.5, 1.0)):
        ax.annotate("", (end, y), (start, y), arrowprops={"arrowstyle": "->", "linewidth": 1})
    ax.plot([-0.6, 12.5], [2.56, 2.56], color="0.6", linewidth=0.6)
    ax.set(xlim=(-0.8, 12.6), ylim=(0, 7.0), aspect="equal")
    ax.axis("off")
    return figure


def draw_masks():
    """Four masks as grey cells."""
    figure, axes = plt.subplots(1, 4, figsize=(6.4, 1.9))
    masks = {"causal": causal_mask(6, 6), "causal, 3 queries": causal_mask(3, 6),
             "window 2, sink 1": window_mask(6, 6, 2, 1),
             "padding": np.broadcast_to(padding_mask([4], 6)[0, 0], (6, 6))}
    for ax, (name, mask) in zip(axes, masks.items()):
        _matrix(ax, 0, 1 - len(mask) / 6, 0.6 * mask.astype(float), 1 / 6)
        ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
        ax.set_title(name, fontsize=8)
        ax.axis("off")
    return figure


def draw_recall(text, weights, out, alphabet):
    """weights (T, T) as a picture, with what out (T, A) predicts at the right."""
    figure, ax = plt.subplots(figsize=(4.3, 3.2))
    shown = [c if c != " " else "_" for c in text]
    ax.imshow(weights, cmap="gray_r", vmin=0, vmax=1, interpolation="nearest")
    ax.set_xticks(range(len(text)), shown, fontsize=7)
    ax.set_yticks(range(len(text)), shown, fontsize=7)
    ax.set(xlabel="value at (its key: the two characters before)", ylabel="query at")
    for i, row in enumerate(out):
        guess = alphabet[int(row.argmax())]
        ax.text(len(text) + 0.2, i, f"{guess if guess != ' ' else '_'}  {row.max():.2f}", va="center", fontsize=6.5)
    return figure


def draw_sharpness(widths, entropies, traces):
    """Two panels against the width of a head; each array is (2, len(widths)), scaled and not."""
    figure, axes = plt.subplots(1, 2, figsize=(6.2, 2.3))
    for ax, values, label in ((axes[0], entropies, "entropy / log T"), (axes[1], traces, "trace of the Jacobian")):
        for row, style, name in zip(values, ("-o", "--s"), ("scaled", "not scaled")):
            ax.plot(widths, row, style, color="0.2", label=name, markersize=4)
        ax.set(xscale="log", xlabel="D", ylabel=label, ylim=(0, 1.05))
    axes[0].legend(fontsize=8)
    return figure


def draw_memory(lengths, peaks):
    """Peak bytes by length, a line for each name in peaks."""
    figure, ax = plt.subplots(figsize=(4.6, 2.2))
    for (name, values), style in zip(peaks.items(), ("--s", "-o", ":^")):
        ax.plot(lengths, np.array(values) / 1e6, style, color="0.2", label=name, markersize=4)
    ax.set(xscale="log", yscale="log", xlabel="T", ylabel="peak, million bytes")
    ax.set_xticks(lengths, [str(T) for T in lengths])
    ax.minorticks_off()
    ax.legend(fontsize=8)
    return figure
