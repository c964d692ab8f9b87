# Tangled from chapters/04-perceptron.qmd; edit the chapter, then run make tangle. sha256:8c2b48785e471b97
"""Figures of chapter 04."""

import matplotlib.pyplot as plt
import numpy as np

from tangled.t04_perceptron import bce_with_logits, perceptron_predict, sigmoid

BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "0.6"


def two_clouds(gap, n=80, seed=0):
    """x (n, 2) and y (n,): two clouds on both sides of a slanted strip of width `gap`."""
    generator = np.random.default_rng(seed)
    normal = np.array([0.8, 0.6])
    y = np.where(np.arange(n) % 2, 1, -1)
    depth = gap / 2 + np.abs(generator.normal(0, 0.8, n))        # beyond the strip
    along = generator.normal(0, 1.2, n)
    x = (y * depth)[:, None] * normal + along[:, None] * np.array([-0.6, 0.8])
    return x + np.array([0.5, 0.3]), y


def best_direction(points, steps=20_000):
    """Unit vector (D,) with nearly the largest smallest product with points (N, D).

    Walks towards the point of the convex hull that is nearest to the origin
    (Frank and Wolfe's method with an exact line search).
    """
    v = points.mean(0)                                           # (D,), in the hull
    best, margin = v / np.linalg.norm(v), -np.inf
    for _ in range(steps):
        products = points @ v                                    # (N,)
        worst = int(products.argmin())
        if products[worst] / np.linalg.norm(v) > margin:
            best, margin = v / np.linalg.norm(v), products[worst] / np.linalg.norm(v)
        toward = points[worst] - v
        length = toward @ toward
        if length == 0 or v @ toward >= -1e-12:
            break
        v = v + min(1.0, -(v @ toward) / length) * toward
    return best


def history(x, y, epochs=100):
    """Weights (D + 1,) after each mistake, and the sample of each: two lists."""
    points = np.c_[x, np.ones(len(x))] * y[:, None]
    v, weights, samples = np.zeros(points.shape[1]), [], []
    for _ in range(epochs):
        before = len(weights)
        for n, point in enumerate(points):
            if v @ point <= 0:
                v = v + point
                weights.append(v)
                samples.append(n)
        if len(weights) == before:
            break
    return weights, samples


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


def draw_updates(seed=11):
    """The boundary after some of the mistakes, in four panels."""
    x, y = two_clouds(0.4, 40, seed)
    weights, samples = history(x, y)
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


def draw_margin(seed=2):
    """R and gamma, for samples through the origin, plain and multiplied by their labels."""
    x, y = two_clouds(1.1, 36, seed)
    x = x - np.array([0.5, 0.3])
    u = best_direction(x * y[:, None])
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
