# Tangled from chapters/10-mnist.qmd; edit the chapter, then run make tangle. sha256:790b839cc9c42aba
"""Figures of chapter 10."""

import matplotlib.pyplot as plt
import numpy as np

from tangled.t10_mnist import level2_vectorized, level3_memory_efficient, train_mnist
from tangled.t10_mnist.base import recipe

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#4D4D4D"
TRAJECTORY = {"seed": 10, "widths": (784, 256, 128, 10), "batch": 64, "steps": 100, "side": 28}


def draw_digits(images, labels, rows=5):
    """The first pictures (28, 28) of each class, one class a column."""
    columns = [np.concatenate(list(images[labels == k][:rows])) for k in range(10)]
    figure, ax = plt.subplots(figsize=(4.1, 2.1))
    ax.imshow(np.concatenate(columns, axis=1), cmap="gray", interpolation="none")
    ax.set_axis_off()
    return figure


class Table:
    """Rows of text that show themselves as a table."""

    def __init__(self, *rows):
        self.rows = rows

    def _repr_markdown_(self):
        head, *rest = ("| " + " | ".join(row) + " |" for row in self.rows)
        ruler = "|:---|" + "---:|" * (len(self.rows[0]) - 1)
        return "\n".join([head, ruler, *rest]) + "\n"


def codings(images, labels):
    """What three codings of images (N, ...) do to curvature and first loss: a Table."""
    mean, std = level2_vectorized.pixel_statistics(images)
    rows = [("pixels", "mean square", "largest eigenvalue", "share", "spread", "predicted", "loss")]
    for name, scale in (("bytes", (0.0, 1.0)), ("0 to 1", (0.0, 255.0)),
                        ("standardised", (mean, std))):
        x = level2_vectorized.prepare(images, *scale)
        ones = np.hstack([x, np.ones((len(x), 1), np.float32)])           # (N, D + 1)
        values = np.linalg.eigvalsh((ones.T @ ones).astype(np.float64) / len(x))
        model = level2_vectorized.build_model(np.random.default_rng(0))
        logits = model(x).astype(np.float64)                              # (N, K)
        top = logits.max(axis=1)
        loss = np.mean(np.log(np.exp(logits - top[:, None]).sum(axis=1)) + top
                       - logits[np.arange(len(x)), labels])
        spread = logits.var(axis=1).mean()
        found = (np.mean(x**2, dtype=np.float64), values[-1], values[-1] / values.sum(), spread,
                 np.log(10) + spread / 2, loss)
        rows.append((name, *(f"{v:,.0f}" if v > 1000 else f"{v:.2f}" for v in found)))
    return Table(*rows)


def plot_history(left, history):
    """Losses and errors by epoch."""
    epochs = np.arange(1, len(history["loss"]) + 1)
    for name, label, colour in (("", "training", BLUE), ("validation_", "test", ORANGE)):
        left.semilogy(epochs, history[name + "loss"], color=colour, label=f"loss, {label}")
        errors = 1 - np.array(history[name + "accuracy"])
        left.semilogy(epochs, np.maximum(errors, 1e-4), ":", color=colour, label=f"errors, {label}")
    left.set(xlabel="epoch")
    left.legend(fontsize=7)


def draw_curves(full, training, test, sizes=(300, 1000, 3000, 10_000), seeds=3):
    """By epoch, and by the number of training pictures (N, 28, 28)."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(6.4, 2.4))
    plot_history(left, full.history)
    for size in sizes:
        runs = [train_mnist.experiment(training, test, samples=size, seed=seed)
                for seed in range(seeds if size < 10_000 else 1)]
        plot_errors(right, size, runs)
    plot_errors(right, len(training[0]), [full])
    right.set(xlabel="training pictures", ylabel="errors on test pictures, %",
              xscale="log", yscale="log")
    right.set_yticks([2, 5, 10, 20], ["2", "5", "10", "20"])
    right.minorticks_off()
    return figure


def plot_errors(ax, size, runs):
    """The errors of some runs at one place, with their standard errors."""
    for run in runs:
        ax.errorbar(size, 100 * (1 - run.accuracy), 100 * run.error, fmt="o", color=BLUE,
                    capsize=2, alpha=0.8)


def plot_confusion(ax, found):
    """Counts off the diagonal, recalls on it."""
    counts = level2_vectorized.confusion_matrix(found.target, found.logits.argmax(axis=1), 10)
    recall = level2_vectorized.precision_recall(counts)[1]
    shown = counts * (1 - np.eye(10))
    ax.imshow(shown, cmap="Oranges", vmax=max(15, shown.max()))
    for i, j in np.ndindex(10, 10):
        text = f"{100 * recall[i]:.1f}" if i == j else str(counts[i, j] or "")
        ax.text(j, i, text, ha="center", va="center", fontsize=6 if i == j else 6.5,
                color=GREY if i == j else "black")
    ax.set(xticks=range(10), yticks=range(10), xlabel="said", ylabel="true")


def draw_confusion(found):
    """The table of confusions."""
    figure, ax = plt.subplots(figsize=(2.9, 2.8))
    plot_confusion(ax, found)
    return figure


def plot_mistakes(axes, found, images):
    """The most expensive mistakes among images (N, 28, 28), one in each of the axes."""
    which = level2_vectorized.worst_mistakes(found.logits, found.target, axes.size)
    for ax, n in zip(axes.flat, which):
        z = found.logits[n] - found.logits[n].max()
        sure = 1 / np.exp(z).sum()
        ax.imshow(images[n], cmap="gray_r", interpolation="none")
        ax.set_title(f"{found.target[n]}, said {z.argmax()}\n{100 * sure:.1f} %", fontsize=6.5, pad=2)
    for ax in axes.flat:
        ax.set_axis_off()


def draw_mistakes(found, images, count):
    """The gallery, in rows of ten."""
    figure, axes = plt.subplots(count // 10, 10, figsize=(6.4, 0.105 * count))
    plot_mistakes(axes, found, images)
    return figure


def draw_filters(model, count=20):
    """The longest weight vectors (784,) of the first layer, as pictures."""
    weights = model[0].weight.data                                        # (784, 256)
    longest = np.argsort(-np.linalg.norm(weights, axis=0))[:count]
    figure, axes = plt.subplots(count // 10, 10, figsize=(5.6, 0.58 * count // 10))
    for ax, k in zip(axes.flat, longest):
        picture = weights[:, k].reshape(28, 28)
        size = np.abs(picture).max()
        ax.imshow(picture, cmap="RdBu", vmin=-size, vmax=size, interpolation="none")
        ax.set_axis_off()
    return figure


def draw_report(found, images):
    """One page for the program: curves, confusions, mistakes among images (N, 28, 28)."""
    figure = plt.figure(figsize=(9, 6.5), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=(1.7, 1))
    left, right = above.subplots(1, 2)
    plot_history(left, found.history)
    plot_confusion(right, found)
    plot_mistakes(below.subplots(2, 10), found, images)
    return figure


def trajectory(dtype):
    """Level 3's losses (100,) on the recipe of the golden case, in a precision."""
    level = level3_memory_efficient
    images, labels, layers = recipe(**TRAJECTORY)
    model = level.build_model(np.random.default_rng(0))
    for p, array in zip(model.parameters(), (a for layer in layers for a in layer)):
        p.data, p.grad = array.astype(dtype), None
    model.zero_grad()
    engine = level.build_engine(model, TRAJECTORY["steps"])
    loader = level.make_loader(images, labels, TRAJECTORY["batch"],
                               *level.pixel_statistics(images))
    return np.array([engine.step(x.astype(dtype), y)[0] for x, y in loader])


def torch_trajectory(dtype):
    """PyTorch's losses (100,) in a precision, or None where it is not installed."""
    try:
        from tangled.t10_mnist import level4_pytorch_reference as level4
    except ImportError:
        return None
    images, labels, layers = recipe(**TRAJECTORY)
    layers = [tuple(array.astype(dtype) for array in layer) for layer in layers]
    return level4.trajectory(images, labels, layers, TRAJECTORY["steps"], 0.002, 0.1)


def part_ways(training, test, epochs, samples=5000):
    """After each epoch of levels 2 and 3: the largest difference of logits, other answers."""
    images, labels = (array[:samples] for array in training)
    scale, answers = level3_memory_efficient.pixel_statistics(images), []
    for level in (level2_vectorized, level3_memory_efficient):
        model = level.build_model(np.random.default_rng(0))
        loader = level.make_loader(images, labels, 128, *scale, np.random.default_rng(1))
        engine, found = level.build_engine(model, epochs * len(loader)), []
        for _ in range(epochs):
            engine.fit(loader, 1, progress=False)
            others = level3_memory_efficient.make_loader(*test, 1000, *scale)
            found.append(level.predict(model, others)[0])       # (10000, K)
        answers.append(found)
    return [(np.abs(a - b).max(), int(np.sum(a.argmax(1) != b.argmax(1))))
            for a, b in zip(*answers)]


def measure_drift():
    """PyTorch's losses (100,) in float64, and {name: differences (100,)} of other runs."""
    exact, ours = torch_trajectory(np.float64), trajectory(np.float64)
    exact = ours if exact is None else exact
    runs = {"NumPy, float64": ours, "NumPy, float32": trajectory(np.float32),
            "PyTorch, float32": torch_trajectory(np.float32)}
    return {"exact": exact, "differences": {name: np.abs(run - exact)
                                            for name, run in runs.items() if run is not None}}


def draw_drift(drift):
    """The losses, and how far other arithmetic drifts from them."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(6.4, 2.0))
    left.plot(drift["exact"], color=GREY)
    left.set(xlabel="step", ylabel="loss")
    for (name, values), colour in zip(drift["differences"].items(), (GREEN, BLUE, ORANGE)):
        right.semilogy(np.maximum(values, 1e-17), color=colour, label=name, linewidth=1)
    right.set(xlabel="step", ylabel="difference")
    right.legend(fontsize=7)
    return figure
