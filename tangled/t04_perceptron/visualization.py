# Tangled from chapters/04-perceptron.qmd; edit the chapter, then run make tangle. sha256:69efdf312c2bf0de
"""Figures of chapter 04."""

import matplotlib.pyplot as plt
import numpy as np

from tangled.t04_perceptron import bce_with_logits, perceptron_predict, sigmoid

BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "0.6"


def draw_samples(ax, x, y, size=4):
    """Class +1 as orange triangles, class -1 as blue discs."""
    ax.plot(*x[y > 0].T, "^", color=ORANGE, markersize=size, zorder=3)
    ax.plot(*x[y < 0].T, "o", color=BLUE, markersize=size, zorder=3)


def draw_line(ax, v, limits, **style):
    """The line w x + b = 0 of v = (w, b) within square limits."""
    normal = v[:2] / np.linalg.norm(v[:2])
    foot = -v[2] / np.linalg.norm(v[:2]) * normal
    along = np.array([-normal[1], normal[0]])
    reach = 1.5 * (limits[1] - limits[0])
    ends = foot + np.array([[-reach], [reach]]) * along
    ax.plot(*ends.T, **style)
    ax.set(xlim=limits, ylim=limits, aspect="equal", xticks=[], yticks=[])


def draw_geometry():
    """Lengths and angles of one correction; shapes and gradients of a logistic unit."""
    figure, axes = plt.subplots(1, 2, figsize=(6.6, 2.7), width_ratios=(1, 1.55))
    draw_correction(axes[0])
    draw_flow(axes[1])
    return figure


def draw_correction(ax):
    """A line, its normal w, a sample on the wrong side, and the line after the correction."""
    w, b, x = np.array([1.0, -0.4]), 0.3, np.array([0.25, 1.7])          # z = -0.13
    arrow = {"arrowstyle": "->", "shrinkA": 0, "shrinkB": 0}
    for v, c, style, name in ((w, b, "-", "w"), (w + x, b + 1, "--", "w + x")):
        draw_line(ax, np.append(v, c), (-2.2, 2.4), color="0.15", linestyle=style, linewidth=1.2)
        foot = -c * v / (v @ v)
        ax.annotate("", foot + v, foot, arrowprops={**arrow, "linestyle": style})
        ax.text(*(foot + 1.08 * v), name, fontsize=8, ha="left", va="center")
    ax.plot(*x, "^", color=ORANGE, markersize=5)
    ax.plot(*x, "o", markersize=10, fillstyle="none", color="0.2")
    ax.text(x[0] - 0.25, x[1] + 0.1, "x, y = +1", fontsize=8, ha="right")
    far = np.array([1.2, -1.3])
    foot = far - (far @ w + b) / (w @ w) * w
    ax.plot(*far, "^", color=ORANGE, markersize=5)
    ax.plot(*np.array([far, foot]).T, ":", color="0.3")
    ax.text(*(far + np.array([0.1, -0.25])), "$|z|/\\Vert w\\Vert$", fontsize=8, ha="center", va="top")
    ax.set(xlim=(-2.2, 2.4), ylim=(-2.2, 2.4), xticks=[], yticks=[], aspect="equal")


def draw_flow(ax):
    """Boxes for X, z, p and the loss with their shapes; dashed arrows for the gradients."""
    boxes = (("X", "(N, D)"), ("z = X w + b", "(N,)"), ("p = $\\sigma$(z)", "(N,)"), ("mean loss", "()"))
    for k, (name, shape) in enumerate(boxes):
        ax.text(2.6 * k, 1.0, f"{name}\n{shape}", ha="center", va="center", fontsize=7.5,
                bbox={"boxstyle": "round,pad=0.35", "facecolor": "white", "edgecolor": "0.2"})
        if k:
            ax.annotate("", (2.6 * k - 0.95, 1.0), (2.6 * k - 1.65, 1.0), arrowprops={"arrowstyle": "->"})
    back = {"arrowstyle": "->", "linestyle": "--", "connectionstyle": "arc3,rad=-0.3"}
    ax.annotate("", (2.7, 0.55), (7.8, 0.55), arrowprops=back)
    ax.text(5.2, -0.75, "dz = (p - y)/N\n(N,)", ha="center", va="center", fontsize=7.5)
    for x, text in ((0.6, "dw = $X^T$dz\n(D,)"), (3.4, "db = $\\Sigma$ dz\n()")):
        ax.annotate("", (x, -1.0), (2.5, 0.5), arrowprops={**back, "connectionstyle": "arc3"})
        ax.text(x, -1.4, text, ha="center", va="center", fontsize=7.5)
    ax.set(xlim=(-1.1, 9.0), ylim=(-1.9, 1.7))
    ax.axis("off")


def draw_updates(x, y, weights, samples):
    """The boundary after some of the mistakes, in four panels; arrays of `history`."""
    shown = np.unique(np.linspace(0, len(weights) - 1, 4).round().astype(int))
    figure, axes = plt.subplots(1, len(shown), figsize=(6.4, 1.9))
    grid = np.stack(np.meshgrid(*[np.linspace(-3.4, 3.8, 200)] * 2), -1).reshape(-1, 2)
    for ax, k in zip(axes, shown):
        v = weights[k]
        side = perceptron_predict(grid, v[:2], v[2]).reshape(200, 200)
        ax.contourf(*[np.linspace(-3.4, 3.8, 200)] * 2, side, levels=[0, 2], colors=[ORANGE],
                    alpha=0.12)
        draw_samples(ax, x, y, 3)
        draw_line(ax, v, (-3.4, 3.8), color="0.2", linewidth=1.2)
        ax.plot(*x[samples[k]], "o", markersize=9, fillstyle="none", color="0.2")
        foot = -v[2] * v[:2] / (v[:2] @ v[:2])
        ax.annotate("", foot + v[:2] / np.linalg.norm(v[:2]), foot,
                    arrowprops={"arrowstyle": "->", "color": "0.2"})
        left = int((perceptron_predict(x, v[:2], v[2]) != y).sum())
        ax.set_title(f"mistake {k + 1}: {left} wrong", fontsize=8)
    return figure


def draw_margin(x, y, u):
    """R and gamma for x (n, 2), y (n,) and the best u (2,), plain and multiplied by their labels."""
    gamma, R = (x @ u * y).min(), np.linalg.norm(x, axis=1).max()
    along, angle = np.array([-u[1], u[0]]), np.linspace(0, 2 * np.pi, 200)
    figure, axes = plt.subplots(1, 2, figsize=(5.6, 2.7))
    for ax, points in zip(axes, (x, x * y[:, None])):
        corners = [s * gamma * u + t * 2 * R * along for s, t in ((1, 1), (1, -1), (-1, -1), (-1, 1))]
        ax.fill(*np.array(corners).T, color=GREY, alpha=0.25, linewidth=0)
        ax.plot(R * np.cos(angle), R * np.sin(angle), "--", color=GREY, linewidth=0.8)
        draw_samples(ax, points, y, 3.5)
        draw_line(ax, np.append(u, 0.0), (-1.1 * R, 1.1 * R), color="0.2", linewidth=1.2)
        near = gamma * u + 0.72 * R * along
        ax.annotate("", near, near - gamma * u, arrowprops={"arrowstyle": "<->", "shrinkA": 0,
                                                           "shrinkB": 0, "color": "0.2"})
        ax.text(*(near + 0.09 * R * u), "$\\gamma$", ha="center", va="center")
    far = x[np.linalg.norm(x, axis=1).argmax()]
    axes[0].annotate("", far, (0, 0), arrowprops={"arrowstyle": "->", "shrinkA": 0,
                                                  "shrinkB": 0, "color": GREY})
    axes[0].text(*(0.5 * far + 0.08 * R * along), "R", color="0.3")
    axes[0].set_title("samples", fontsize=9)
    axes[1].set_title("samples times labels", fontsize=9)
    return figure


def draw_bce():
    """Loss and gradient against the logit, for both labels."""
    z = np.linspace(-6, 6, 241)
    figure, axes = plt.subplots(1, 2, figsize=(5.8, 2.3))
    for label, colour, style in ((1, ORANGE, "-"), (0, BLUE, "-.")):
        loss = [bce_with_logits(value, label)[0] for value in z]
        axes[0].plot(z, loss, style, color=colour, label=f"y = {label}")
        axes[0].plot(z, np.maximum(-z if label else z, 0), ":", color="0.4", linewidth=0.9)
        axes[1].plot(z, sigmoid(z) - label, style, color=colour, label=f"y = {label}")
    axes[0].set(xlabel="logit z", ylabel="loss")
    axes[1].set(xlabel="logit z", ylabel="gradient")
    axes[0].legend()
    axes[1].axhline(0, color=GREY, linewidth=0.6)
    return figure


def draw_xor():
    """The lines of the two hidden units, and what the output unit sees of them."""
    x = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    y = np.array([-1, 1, 1, -1])
    figure, axes = plt.subplots(1, 2, figsize=(5.2, 2.5))
    for b, word, where in ((-0.5, "or", (0.45, -0.45)), (-1.5, "and", (1.12, 0.52))):
        draw_line(axes[0], np.array([1.0, 1.0, b]), (-0.6, 1.6), color="0.2", linewidth=1.2)
        axes[0].text(*where, word, fontsize=8)
    draw_samples(axes[0], x, y, 8)
    axes[0].set(xlabel="$x_1$", ylabel="$x_2$", xticks=[0, 1], yticks=[0, 1], title="inputs")
    hidden = np.stack([perceptron_predict(x, np.ones(2), b) for b in (-0.5, -1.5)], 1)
    draw_line(axes[1], np.array([1.0, -1.0, -1.0]), (-1.8, 1.8), color="0.2", linewidth=1.2)
    draw_samples(axes[1], hidden, y, 8)
    for text, where in (("(0, 0)", (-1, -1.5)), ("(0, 1), (1, 0)", (0.85, -1.5)), ("(1, 1)", (1, 1.3))):
        axes[1].text(*where, text, ha="center", fontsize=8)
    axes[1].set(xlabel="or", ylabel="and", xticks=[-1, 1], yticks=[-1, 1], title="hidden units")
    return figure
