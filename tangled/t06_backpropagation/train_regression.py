# Tangled from chapters/06-backpropagation.qmd; edit the chapter, then run make tangle. sha256:65ef70e214e2d5df
"""Wages from schooling and experience: python -m tangled.t06_backpropagation.train_regression --help"""

from types import SimpleNamespace

import numpy as np

from tangled.data import load_cps85, train_test_split
from tangled.t06_backpropagation import (
    DataLoader,
    Engine,
    GradientDescent,
    Linear,
    MSELoss,
    ReLU,
    Sequential,
)
from tangled.t06_backpropagation.train_clusters import save


def load(seed=0):
    """Standardised x (N, 2), centred log wages y (N, 1), float32; x_test, y_test."""
    table = load_cps85()
    x = np.stack([table["education"], table["experience"]], axis=1)      # (534, 2), years
    y = np.log(table["wage"])[:, None]                                   # (534, 1)
    train_rows, test_rows = train_test_split(len(x), test=0.2, seed=seed)
    mean, scale, middle = x[train_rows].mean(0), x[train_rows].std(0), y[train_rows].mean()
    x, y = ((x - mean) / scale).astype(np.float32), (y - middle).astype(np.float32)
    return SimpleNamespace(x=x[train_rows], y=y[train_rows], x_test=x[test_rows],
                           y_test=y[test_rows], mean=mean, scale=scale, middle=middle)


def least_squares(table, columns):
    """The best linear function of columns(x) (N, D) and a constant: a function of x."""
    features = columns(table.x).astype(np.float64)                       # (N, D)
    centre, middle = features.mean(0), table.y.mean(0)                   # (D,), (1,)
    A = features - centre
    weights = np.linalg.solve(A.T @ A, A.T @ (table.y - middle))         # eq. 6.15, (D, 1)
    return lambda x: (columns(x) - centre) @ weights + middle


def train(table, hidden=16, epochs=60, batch=32, lr=0.02, seed=0, progress=False):
    """The model, trained on table.x (N, 2) and table.y (N, 1), and its history."""
    rng = np.random.default_rng(seed)
    model = Sequential(Linear(2, hidden, rng), ReLU(), Linear(hidden, 1, rng))
    engine = Engine(model, MSELoss(), GradientDescent(model.parameters(), lr))
    test = DataLoader((table.x_test, table.y_test), len(table.y_test))
    history = engine.fit(DataLoader((table.x, table.y), batch, rng), epochs, test, progress)
    return model.eval(), history


def candidates(table, model):
    """Four functions of x (N, 2), by name."""
    return {"the mean": lambda x: np.zeros((len(x), 1)),
            "linear": least_squares(table, lambda x: x),
            "with a square": least_squares(table, lambda x: np.hstack([x, x[:, 1:] ** 2])),
            "network": model}


def main(argv=None):
    """The command: train, compare with least squares, save a figure."""
    from tangled.t02_autograd.train_line import arguments
    given = arguments(argv, "Wages from schooling and experience.", hidden=16, epochs=60,
                      batch=32, lr=0.02, seed=0, out="build/train_regression.png")
    table = load(given.seed)
    model, history = train(table, given.hidden, given.epochs, given.batch, given.lr,
                           given.seed, progress=True)
    for name, predict in candidates(table, model).items():
        errors = [float(np.mean((predict(x) - y) ** 2))
                  for x, y in ((table.x, table.y), (table.x_test, table.y_test))]
        print(f"{name:14s} error {errors[0]:.4f} in training, {errors[1]:.4f} on test rows")
    square = candidates(table, model)["with a square"]
    save(lambda figures: figures.draw_wages(table, model, square, history), given.out)


if __name__ == "__main__":
    main()
