# Tangled from chapters/06-backpropagation.qmd; edit the chapter, then run make tangle. sha256:6b0a4c038b745dd4
"""Four clusters, two models: python -m tangled.t06_backpropagation.train_clusters --help"""

from types import SimpleNamespace

import numpy as np

from tangled.t06_backpropagation import (
    CrossEntropyLoss,
    DataLoader,
    Engine,
    GradientDescent,
    Linear,
    ReLU,
    Sequential,
)


def create_clusters(rng, samples=250):
    """Points (4 * samples, 2), float32, and classes (4 * samples,): four bent arms."""
    y = np.repeat(np.arange(4), samples)
    radius = np.abs(rng.normal(1.0, 0.35, len(y)))
    angle = y * np.pi / 2 + rng.normal(0.0, 0.22, len(y)) + 2.0 * radius
    x = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return x.astype(np.float32), y


def look_at(hidden, shown=(1, 3), **options):
    """Train, and map the plane after some epochs and the last: regions {epoch: classes of a grid
    (120, 120)}, its side (120,), data (x, y) and history."""
    side = np.linspace(-2.2, 2.2, 120, dtype=np.float32)
    grid = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)     # (14400, 2)
    regions = {}

    def look(model, history):
        epoch = len(history["loss"])
        if epoch in shown:
            regions[epoch] = model(grid).argmax(1).reshape(120, 120)

    model, data, _, history = train(hidden, on_epoch=look, **options)
    regions[len(history["loss"])] = model(grid).argmax(1).reshape(120, 120)
    return SimpleNamespace(regions=regions, side=side, data=data, history=history)


def train(hidden, epochs=40, batch=32, lr=0.1, seed=0, progress=False, on_epoch=None):
    """A model with these hidden widths: model, data (x, y), new points, history."""
    rng = np.random.default_rng(seed)
    data, new = create_clusters(rng), create_clusters(rng)
    widths, modules = (2, *hidden, 4), []
    for k, n in enumerate(widths[1:]):
        modules += [Linear(widths[k], n, rng), ReLU()]
    model = Sequential(*modules[:-1])
    engine = Engine(model, CrossEntropyLoss(), GradientDescent(model.parameters(), lr))
    hook = None if on_epoch is None else lambda history: on_epoch(model, history)
    history = engine.fit(DataLoader(data, batch, rng), epochs, DataLoader(new, len(new[1])),
                         progress=progress, on_epoch=hook)
    return model, data, new, history


def main(argv=None):
    """The command: train a linear model and a network, print accuracies, save a figure."""
    from tangled.t02_autograd.train_line import arguments
    given = arguments(argv, "Four clusters of points.", epochs=40, batch=32, lr=0.1,
                      hidden=32, seed=0, out="build/train_clusters.png")
    rest = {name: getattr(given, name) for name in ("epochs", "batch", "lr", "seed")}
    widths = (given.hidden, given.hidden)
    for name, hidden in (("linear", ()), ("network", widths)):
        outcome = look_at(hidden, progress=True, **rest)
        history = outcome.history
        print(f"{name:8s} loss {history['loss'][-1]:.3f}   right on new points "
              f"{100 * history['validation_accuracy'][-1]:.1f} %")
    save(lambda figures: figures.draw_clusters(outcome), given.out)


def save(draw, out):
    """Draw with the figures' module and save to the path `out`."""
    from pathlib import Path

    import matplotlib
    matplotlib.use("agg")
    from tangled.t06_backpropagation import visualization
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    draw(visualization).savefig(out, dpi=150)
    print(f"saved {out}")


if __name__ == "__main__":
    main()
