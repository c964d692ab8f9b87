# Tangled from chapters/03-optimizers.qmd; edit the chapter, then run make tangle. sha256:97c43e7a1e40df90
"""Chapter 3: pictures of steps, paths, rates and schedules. Each takes results, returns a figure."""

import matplotlib.pyplot as plt
import numpy as np

import tangled.t03_optimizers as rules

STYLES = {"SGD": ("0.45", ":"), "Momentum": ("C0", "-"), "Nesterov": ("C1", "--"),
          "AdaGrad": ("0.45", ":"), "RMSProp": ("C2", "-."), "Adam": ("C0", "-"), "AdamW": ("C1", "--")}
FAMILIES = (("SGD", "Momentum", "Nesterov"), ("AdaGrad", "RMSProp", "Adam", "AdamW"))
ARROW = {"arrowstyle": "-|>", "color": "0.25", "lw": 0.9, "shrinkA": 0, "shrinkB": 0}


def draw_mechanism():
    """Left one step on a bowl as a sum of arrows, right the rules as one diagram."""
    figure, (bowl, blocks) = plt.subplots(1, 2, figsize=(6.5, 2.25), layout="constrained",
                                          gridspec_kw={"width_ratios": [1, 1.75]})
    _draw_bowl(bowl)
    _draw_blocks(blocks)
    return figure


def _draw_bowl(ax):
    curvature, rate, mu = np.array([1.0, 6.0]), 0.13, 0.9
    w, v = np.array([-2.2, 0.62]), np.array([-7.5, 2.2])
    x, y = np.meshgrid(np.linspace(-2.9, 0.6, 80), np.linspace(-0.65, 1.15, 80))
    ax.contour(x, y, 0.5 * (curvature[0] * x * x + curvature[1] * y * y), 8, colors="0.85", linewidths=0.6)
    ahead = w - rate * mu * v
    arrows = ((w, -rate * curvature * w, "-", r"$-\eta g$", (-0.5, -0.12)),
              (w, -rate * mu * v, "--", r"$-\eta\mu v_{t-1}$", (-0.1, 0.14)),
              (ahead, -rate * curvature * w, "-", "", (0, 0)),
              (ahead, -rate * curvature * ahead, ":", r"$-\eta\nabla f$ ahead", (0.2, 0.08)))
    for start, step, style, text, shift in arrows:
        ax.annotate("", start + step, start, arrowprops={**ARROW, "linestyle": style})
        ax.text(*(start + step / 2 + shift), text, fontsize=7)
    ax.annotate("", ahead - rate * curvature * w, w, arrowprops={**ARROW, "lw": 2.2})
    ax.text(-1.95, -0.12, r"$-\eta v_t$", fontsize=8, weight="bold")
    ax.plot(*w, "ko", ms=3.5)
    ax.text(w[0] - 0.5, w[1] + 0.12, r"$w_{t-1}$", fontsize=8)
    ax.plot(0, 0, "k+")
    ax.axis("off")


BOXES = {  # name: (x, y, width, text)
    "g": (0.0, 0.0, 0.95, "$g_t$\n(n,)"),
    "m": (1.35, 0.62, 3.0, r"$m \leftarrow \beta_1 m + (1-\beta_1)\,g$"),
    "v": (1.35, -0.62, 3.0, r"$v \leftarrow \beta_2 v + (1-\beta_2)\,g^2$"),
    "M": (4.7, 0.62, 1.5, r"$m/(1-\beta_1^t)$"),
    "V": (4.7, -0.62, 1.5, r"$v/(1-\beta_2^t)$"),
    "q": (6.65, 0.0, 1.35, "$\\hat m/$\n$(\\sqrt{\\hat v}+\\varepsilon)$"),
    "w": (8.4, 0.0, 1.3, "$w - \\eta\\,\\cdot$\n(n,)"),
}


def _draw_blocks(ax):
    for x, y, width, text in BOXES.values():
        ax.add_patch(plt.Rectangle((x, y - 0.3), width, 0.6, facecolor="0.96", edgecolor="0.25", lw=0.8))
        ax.text(x + width / 2, y, text, ha="center", va="center", fontsize=7)
    for a, b in ("gm", "gv", "mM", "vV", "Mq", "Vq", "qw"):
        (x, y, width, _), (u, v, _, _) = BOXES[a], BOXES[b]
        ax.annotate("", (u, v), (x + width, y), arrowprops=ARROW)
    for y, text in ((1.12, "upper row alone: Momentum"), (-1.28, "lower row alone: RMSProp; a sum: AdaGrad")):
        ax.text(3.5, y, text, ha="center", fontsize=7, style="italic")
    ax.text(8.6, 1.12, r"AdamW: first $w \leftarrow (1-\eta\omega)\,w$", ha="center", fontsize=7, style="italic")
    ax.text(9.05, -0.62, "neither row:\nSGD", ha="center", fontsize=7, style="italic")
    ax.set(xlim=(-0.1, 10.3), ylim=(-1.45, 1.45))
    ax.axis("off")


def _surface(where):
    """x, y and the values of a function of (2,) over its box, (120, 120) each."""
    x, y = np.meshgrid(np.linspace(*where["box"][:2], 120), np.linspace(*where["box"][2:], 120))
    z = np.array([where["function"](np.array(w))[0] for w in zip(x.ravel(), y.ravel())]).reshape(x.shape)
    return x, y, z


def _contours(ax, where, surface):
    """Level lines, close together near the minimum."""
    ax.contour(*surface, levels=np.geomspace(0.05, surface[2].max(), 10), colors="0.85", linewidths=0.6)
    ax.plot(*where["goal"], "k+")
    ax.set(xlim=where["box"][:2], ylim=where["box"][2:])


def draw_valley(runs, where):
    """A panel for each (title, path)."""
    figure, axes = plt.subplots(1, 3, figsize=(6.4, 1.7), sharey=True)
    surface = _surface(where)
    for ax, (title, path) in zip(axes, runs):
        _contours(ax, where, surface)
        ax.plot(*path.T, ".-", color="C0" if title.startswith("SGD") else "C1", lw=0.8, ms=3)
        ax.set_title(title, fontsize=7.5)
    return figure


def draw_paths(*found):
    """For each (where, {rule: path}): paths and values, momentum and adaptive rules apart."""
    figure, axes = plt.subplots(len(found), 4, figsize=(6.8, 3.3), layout="constrained")
    for row, (where, paths) in zip(axes, found):
        surface = _surface(where)
        for left, right, family in zip(row[::2], row[1::2], FAMILIES):
            _contours(left, where, surface)
            for name in family:
                colour, style = STYLES[name]
                left.plot(*paths[name].T, color=colour, ls=style, lw=1.0)
                values = [where["function"](w)[0] for w in paths[name]]
                right.semilogy(values, color=colour, ls=style, lw=1.0, label=name)
            right.set(ylim=(1e-6, 60))
    for ax in axes[-1, 1::2]:
        ax.set(xlabel="step")
        ax.legend(fontsize=6, loc="lower left")
    for ax in axes.ravel():
        ax.tick_params(labelsize=6)
    return figure


def draw_rates():
    """The contraction factor of momentum against lr * curvature."""
    figure, ax = plt.subplots(figsize=(4.7, 1.8))
    product = np.linspace(0, 4, 801)
    for mu, style in ((0.0, ":"), (0.5, "-."), (0.8, "--"), (0.95, "-")):
        half = (1 + mu - product) / 2
        root = np.sqrt(half * half - mu + 0j)                              # of eq. 3.12
        factor = np.maximum(abs(half + root), abs(half - root))
        ax.plot(product, np.where(factor <= 1, factor, np.nan), style, label=f"μ = {mu:g}")
    ax.set(xlabel="ηλ", ylabel="factor a step", ylim=(0, 1.02))
    ax.legend(loc="lower right")
    return figure


def draw_pictures(constant, noisy, losses, steps=100):
    """Schedules; Adam's steps for constant (steps,) and for noisy gradients; {label: losses, means of 20}."""
    figure, ((ax, first), (second, third)) = plt.subplots(2, 2, figsize=(6.4, 3.4))
    t = np.arange(steps)
    ax.step(t, rules.step_decay(t, 1.0, 25, 0.5), ":", where="mid", label="step, 0.5 every 25")
    ax.plot(t, rules.cosine_decay(t, 1.0, steps), label="cosine")
    ax.plot(t, rules.cosine_decay(t, 1.0, steps, warmup=10, final=0.1), "--", label="warm-up 10, to 0.1")
    ax.set(xlabel="updates made", ylabel="learning rate", ylim=(0, 1.05))
    at = np.unique(np.geomspace(1, len(constant), 200).astype(int))
    first.semilogx(at, constant[at - 1], label="corrected")
    first.semilogx(at, (1 - 0.9**at) / np.sqrt(1 - 0.999**at), "--", label="not corrected")
    first.set(xlabel="update", ylabel="step / lr", ylim=(0, 8.5))
    line = np.geomspace(0.03, 10, 100)
    second.semilogx(line, 1 / np.sqrt(1 + line**2), color="0.45", label="predicted")
    second.semilogx(*noisy, "o", color="C1", label="measured")
    second.set(xlabel="noise / mean of the gradient", ylabel="step / lr", ylim=(0, 1.1))
    for (label, loss), style in zip(losses.items(), (":", "--", "-.", "-")):
        third.semilogy(20 * np.arange(len(loss)), loss, style, label=label)
    third.set(xlabel="update", ylabel="mean squared error")
    for panel in (ax, first, second, third):
        panel.legend(fontsize=6.5)
    return figure
