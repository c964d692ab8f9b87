# Tangled from chapters/02-autograd.qmd; edit the chapter, then run make tangle. sha256:e4a6083ff6cf87a4
"""Income from sex, age, height: python -m tangled.t02_autograd.train_table --help"""

from types import SimpleNamespace

import numpy as np

from tangled import t02_autograd
from tangled.data import load_nhefs, scale_to_unit, train_test_split
from tangled.t02_autograd.train_line import arguments, progress, save


def load(seed=0):
    """The table in [0, 1]: x (N, 3), y (N, 1), and x_test, y_test; `rows` (N, 4) is not scaled."""
    table = load_nhefs()
    rows = np.stack([table["sex=male"], table["age"], table["height_cm"], table["income"]], axis=1)
    train_rows, test_rows = train_test_split(len(rows), test=0.2, seed=seed)
    train, test = scale_to_unit(rows[train_rows], rows[test_rows])
    return SimpleNamespace(x=train[:, :3], y=train[:, 3:], x_test=test[:, :3], y_test=test[:, 3:],
                           rows=rows[train_rows])


def errors(table, predict):
    """Mean squared error of a function (N, 3) -> (N, 1) on the training and on the test rows."""
    return tuple(float(np.mean((predict(x) - y) ** 2))
                 for x, y in ((table.x, table.y), (table.x_test, table.y_test)))


def least_squares(table):
    """The best linear function, from the normal equations."""
    with_one = lambda x: np.hstack([x, np.ones((len(x), 1))])            # (N, 4)
    a = with_one(table.x)
    weights = np.linalg.solve(a.T @ a, a.T @ table.y)                    # (4, 1)
    return lambda x: with_one(x) @ weights


def build(hidden, engine, rng):
    """The parameters and the model (N, 3) -> (N, 1): linear, or with hidden tanh units."""
    first = [2 * rng.standard_normal((3, hidden)), rng.standard_normal(hidden)] if hidden else []
    last = [np.zeros((hidden or 3, 1)), np.zeros(1)]
    parameters = [engine.Tensor(array) for array in first + last]

    def model(x):
        if hidden:
            x = (x @ parameters[0] + parameters[1]).tanh()
        return x @ parameters[-2] + parameters[-1]
    return parameters, model


def train(table, hidden=16, epochs=60, batch=32, lr=0.05, seed=0, engine=t02_autograd, report=None):
    """Descend in mini-batches; gives the trained function on arrays and the history of `errors`."""
    rng, history = np.random.default_rng(seed), []
    parameters, model = build(hidden, engine, rng)

    def predict(x):
        with engine.no_grad():
            return model(engine.Tensor(x)).data

    for epoch in range(epochs):
        descent = engine.SGD(parameters, lr=lr * (1 - epoch / epochs))
        order = rng.permutation(len(table.x))
        for start in range(0, len(order), batch):
            rows = order[start:start + batch]
            difference = model(table.x[rows]) - table.y[rows]            # (batch, 1)
            descent.zero_grad()
            (difference * difference).mean().backward()
            descent.step()
        history.append(errors(table, predict))
        if report:
            report(epoch + 1, epochs, history[-1][0])
    return predict, history


def for_figure(table, models):
    """Errors by epoch, and predictions and averages by age; `models` maps a name to what `train` gives."""
    ages, share, middles = table.rows[:, 1], np.linspace(0, 1, 60), np.arange(27, 73, 5)
    found = SimpleNamespace(
        levels=[errors(table, f)[0] for f in (lambda x: table.y.mean(), least_squares(table))],
        curves={name: [error for error, _ in history] for name, (_, history) in models.items()},
        age=ages.min() + share * np.ptp(ages), middles=middles, predicted={}, averages={})
    for sex, who in ((1, "men"), (0, "women")):
        rows = table.x[:, 0] == sex
        inputs = np.column_stack([np.full(60, sex), share, np.full(60, table.x[rows, 2].mean())])
        found.predicted[who] = {name: predict(inputs) for name, (predict, _) in models.items()}
        found.averages[who] = [table.y[rows & (abs(ages - m) <= 2.5)].mean() for m in middles]
    return found


def main(argv=None):
    """The command: train, compare with what needs no training, save a figure."""
    given = arguments(argv, "Income from sex, age and height.", hidden=16, epochs=60, batch=32,
                      lr=0.05, seed=0, out="build/train_table.png")
    table = load(given.seed)
    predict, history = train(table, given.hidden, given.epochs, given.batch, given.lr, given.seed,
                             report=progress)
    for name, function in (("the mean", lambda x: table.y.mean()), ("trained", predict),
                           ("least squares", least_squares(table))):
        train_error, test_error = errors(table, function)
        print(f"{name:15s} error {train_error:.5f} in training, {test_error:.5f} on the test rows")
    save("plot_table", given.out, for_figure(table, {f"{given.hidden} hidden": (predict, history)}))


if __name__ == "__main__":
    main()
