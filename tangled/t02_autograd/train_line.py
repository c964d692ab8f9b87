# Tangled from chapters/02-autograd.qmd; edit the chapter, then run make tangle. sha256:0526e6ead5c8b3da
"""Linear regression on y = x - 1: python -m tangled.t02_autograd.train_line --help"""

import argparse
from pathlib import Path

import numpy as np

from tangled.t02_autograd import SGD, Value


def create_data(samples=20, noise=0.1, seed=0):
    """Pairs (x, x - 1 + noise), floats, with x evenly random in (-1, 1)."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, samples)
    return list(zip(x.tolist(), (x - 1 + noise * rng.standard_normal(samples)).tolist()))


def train(data, epochs=50, lr=0.4, engine=Value, optimiser=SGD, report=None):
    """Fit w x + b to (x, y) pairs; gives a list of (w, b, loss), floats, one for each epoch."""
    w, b = engine(0.0), engine(0.0)
    descent, history = optimiser([w, b], lr=lr), []
    for epoch in range(epochs):
        loss = sum((w * x + b - y) ** 2 for x, y in data) / len(data)
        descent.zero_grad()
        loss.backward()
        descent.step()
        history.append((float(w.data), float(b.data), float(loss.data)))
        if report:
            report(epoch + 1, epochs, history[-1][2])
    return history


def progress(done, total, loss, width=30):
    """A bar on one line: [######----] 12/50  loss 0.0123."""
    bar = "#" * (width * done // total)
    end = "\n" if done == total else ""
    print(f"\r[{bar:-<{width}}] {done}/{total}  loss {loss:.5f}", end=end, flush=True)


def arguments(argv, description, **defaults):
    """Parse `--name value` for each default, of its type."""
    parser = argparse.ArgumentParser(description=description)
    for name, value in defaults.items():
        parser.add_argument("--" + name, type=type(value), default=value, help=f"default {value}")
    return parser.parse_args(argv)


def main(argv=None):
    """The command: train, print the line found, save a figure."""
    given = arguments(argv, "Fit y = x - 1 with the scalar engine.", epochs=50, samples=20, lr=0.4,
                      noise=0.1, seed=0, out="build/train_line.png")
    data = create_data(given.samples, given.noise, given.seed)
    history = train(data, given.epochs, given.lr, report=progress)
    x, y = np.array(data).T
    for name, (w, b) in (("found", history[-1][:2]), ("least squares", np.polyfit(x, y, 1))):
        print(f"{name:13s} y = {w:.4f} x {b:+.4f}")
    save("plot_line", given.out, data, history)


def save(plot, out, *results):
    """Draw results by the function `plot` of the figures' module and save to the path `out`."""
    import matplotlib
    matplotlib.use("agg")
    from tangled.t02_autograd import visualization
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    getattr(visualization, plot)(*results).savefig(out, dpi=150)
    print(f"saved {out}")


if __name__ == "__main__":
    main()
