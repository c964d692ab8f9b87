# Tangled from chapters/10-mnist.qmd; edit the chapter, then run make tangle. sha256:2790cacdb4f984b5
"""Chapter 10: one training run, and the experiments around it that the chapter quotes."""

import time
from dataclasses import dataclass

import numpy as np

from tangled.data import DATA, wrong
from tangled.t10_mnist import level2_vectorized
from tangled.t10_mnist import level3_memory_efficient as level
from tangled.t10_mnist.base import recipe

SETTINGS = {"samples": 60_000, "epochs": 10, "batch": 128, "lr": 0.002, "weight_decay": 0.1,
            "dropout": 0.1, "widths": [784, 256, 128, 10], "seed": 0}
RECIPE = {"seed": 10, "widths": (784, 256, 128, 10), "batch": 64, "steps": 100, "side": 28}


def load(split):
    """Images (N, 28, 28), bytes, and labels (N,) of "train" or "test", by our own reader."""
    prefix = DATA / "mnist" / {"train": "train", "test": "t10k"}[split]
    paths = [f"{prefix}-images-idx3-ubyte.gz", f"{prefix}-labels-idx1-ubyte.gz"]
    images, labels = map(level.read_idx, paths)
    if images.shape[1:] != (28, 28) or labels.shape != images.shape[:1]:
        raise wrong(" with ".join(paths), f"shapes {images.shape} and {labels.shape}",
                    "(N, 28, 28) and (N,)")
    return images, labels


@dataclass
class Run:
    """A trained model, its history, its answers, logits (N, K) to labels (N,), and the time:
    seconds by the clock, and of processors."""

    model: object
    history: dict
    logits: np.ndarray
    target: np.ndarray
    seconds: float
    processor: float

    @property
    def said(self):
        """The predicted classes (N,)."""
        return self.logits.argmax(axis=1)

    @property
    def accuracy(self):
        """The share of right answers."""
        return level.accuracy(self.target, self.said)

    @property
    def error(self):
        """The standard error of the accuracy; eq. 10.8."""
        return float(np.sqrt(self.accuracy * (1 - self.accuracy) / len(self.target)))


def experiment(training, test, path=None, progress=False, watch=False, **changes):
    """Train on the first samples of a pair (images, labels), answer another pair: a Run.

    `watch` adds the loss and accuracy on the other pair after each epoch to the history.
    """
    settings, start = SETTINGS | changes, (time.perf_counter(), time.process_time())
    images, labels = (array[:settings["samples"]] for array in training)
    initial, shuffle, noise = (np.random.default_rng([settings["seed"], k]) for k in range(3))
    scale = level.pixel_statistics(images)
    loader = level.make_loader(images, labels, settings["batch"], *scale, shuffle)
    validation = level.make_loader(*test, 1000, *scale)
    model = level.build_model(initial, settings["widths"], settings["dropout"], noise)
    engine = level.build_engine(model, settings["epochs"] * len(loader), settings["lr"],
                                settings["weight_decay"])
    history = level.train(engine, loader, settings["epochs"], path,
                          {"shuffle": shuffle, "noise": noise},
                          validation if watch else None, settings, progress)
    spent = time.perf_counter() - start[0], time.process_time() - start[1]
    return Run(model, history, *level.predict(model, validation), *spent)


CODINGS = ("bytes", "0 to 1", "standardised")


def codings(images, labels):
    """What three codings of images (N, ...) do to curvature and first loss.

    Returns
    -------
    {coding: (mean square, largest eigenvalue, its share, spread of logits, predicted loss, loss)}
    """
    found = {}
    for name, scale in zip(CODINGS, ((0.0, 1.0), (0.0, 255.0), level2_vectorized.pixel_statistics(images))):
        x = level2_vectorized.prepare(images, *scale)
        ones = np.hstack([x, np.ones((len(x), 1), np.float32)])           # (N, D + 1)
        values = np.linalg.eigvalsh((ones.T @ ones).astype(np.float64) / len(x))
        logits = level2_vectorized.build_model(np.random.default_rng(0))(x).astype(np.float64)  # (N, K)
        top = logits.max(axis=1)
        loss = np.mean(np.log(np.exp(logits - top[:, None]).sum(axis=1)) + top
                       - logits[np.arange(len(x)), labels])
        spread = logits.var(axis=1).mean()
        found[name] = (np.mean(x**2, dtype=np.float64), values[-1], values[-1] / values.sum(), spread,
                       np.log(10) + spread / 2, loss)
    return found


def worst(found, count=20):
    """Of a Run, the most expensive mistakes: {"index" | "true" | "said" | "sure": list (count,)}."""
    index = level.worst_mistakes(found.logits, found.target, count)
    return {"index": index, "true": found.target[index].astype(int), "said": found.said[index],
            "sure": sure(found.logits[index])}


def sure(logits):
    """The largest probability of each row of logits (N, K): (N,)."""
    z = logits - logits.max(axis=1, keepdims=True)
    return 1 / np.exp(z).sum(axis=1)


def compared(training, test, seeds):
    """Other settings, other seeds, permuted pixels, on 5,000 pictures: accuracies, and McNemar's p."""
    few = {"samples": 5_000, "epochs": 6}
    order = np.random.default_rng(0).permutation(784)
    permute = lambda pair: (pair[0].reshape(-1, 784)[:, order].reshape(-1, 28, 28), pair[1])
    runs = {name: [experiment(*pairs, seed=seed, **few, **changes) for seed in seeds]
            for name, pairs, changes in (
                ("base", (training, test), {}), ("permuted", (permute(training), permute(test)), {}),
                ("other settings", (training, test), {"weight_decay": 0.2, "dropout": 0.05}))}
    first, target = runs["base"][0], test[1]
    pairs = {"other settings": runs["other settings"][:1], "other seeds": runs["base"][1:]}
    return {"accuracy": {name: [run.accuracy for run in found] for name, found in runs.items()},
            "mcnemar": {name: [level.mcnemar(target, first.said, run.said) for run in found]
                        for name, found in pairs.items()}}


def trajectory(dtype):
    """Level 3's losses (100,) on the recipe of the golden case, in a precision."""
    images, labels, layers = recipe(**RECIPE)
    model = level.build_model(np.random.default_rng(0))
    for p, array in zip(model.parameters(), (a for layer in layers for a in layer)):
        p.data, p.grad = array.astype(dtype), None
    model.zero_grad()
    engine = level.build_engine(model, RECIPE["steps"])
    loader = level.make_loader(images, labels, RECIPE["batch"], *level.pixel_statistics(images))
    return np.array([engine.step(x.astype(dtype), y)[0] for x, y in loader])


def torch_trajectory(dtype):
    """PyTorch's losses (100,) in a precision."""
    from tangled.t10_mnist import level4_pytorch_reference as level4
    images, labels, layers = recipe(**RECIPE)
    layers = [tuple(array.astype(dtype) for array in layer) for layer in layers]
    return level4.trajectory(images, labels, layers, RECIPE["steps"], 0.002, 0.1)


def drift():
    """How far from PyTorch's losses in float64 others are, at most over 100 steps: {name: float}."""
    exact = torch_trajectory(np.float64)
    runs = {"NumPy, float64": trajectory(np.float64), "NumPy, float32": trajectory(np.float32),
            "PyTorch, float32": torch_trajectory(np.float32)}
    return {name: float(np.abs(run - exact).max()) for name, run in runs.items()}


def part_ways(training, test, epochs=8, samples=5000):
    """After each epoch of levels 2 and 3: the largest difference of logits, and other answers."""
    images, labels = (array[:samples] for array in training)
    scale, answers = level.pixel_statistics(images), []
    for one in (level2_vectorized, level):
        model = one.build_model(np.random.default_rng(0))
        loader = one.make_loader(images, labels, 128, *scale, np.random.default_rng(1))
        engine, found = one.build_engine(model, epochs * len(loader)), []
        for _ in range(epochs):
            engine.fit(loader, 1, progress=False)
            found.append(one.predict(model, level.make_loader(*test, 1000, *scale))[0])
        answers.append(found)                                   # (10000, K) each
    return [(float(np.abs(a - b).max()), int(np.sum(a.argmax(1) != b.argmax(1))))
            for a, b in zip(*answers)]


def study(training, test, say=print):
    """Every number that the chapter quotes: (values, curves) for the record."""
    seeds, errors = range(5), {}
    full = [experiment(training, test, watch=seed == 0, seed=seed) for seed in seeds]
    say(f"60,000 pictures: {[run.accuracy for run in full]}")
    small = [experiment(training, test, watch=seed == 0, seed=seed, samples=1000) for seed in seeds]
    for size in (300, 3000, 10_000):
        errors[str(size)] = [1 - experiment(training, test, samples=size, seed=seed).accuracy
                             for seed in range(3)]
    for size, found in ((1000, small), (60_000, full)):
        errors[str(size)] = [1 - run.accuracy for run in found]
    say(f"errors by size: { {size: np.round(found, 4).tolist() for size, found in errors.items()} }")
    one, wrong_ones = full[0], full[0].said != full[0].target
    values = {"accuracy": [run.accuracy for run in full], "small": [run.accuracy for run in small],
              "standard error": one.error, "processor": full[1].processor,
              "errors": dict(sorted(errors.items(), key=lambda item: int(item[0]))),
              "confusion": level.confusion_matrix(one.target, one.said, 10), "worst": worst(one),
              "median sure": float(np.median(sure(one.logits[wrong_ones]))),
              "pairs": [level.mcnemar(one.target, one.said, run.said) for run in full[1:]],
              "drift": drift(), "part ways": part_ways(training, test)}
    say(f"differences: {values['drift']} {values['part ways']}")
    values["compared"] = compared(training, test, seeds)
    return values, {**one.history, **{f"small {k}": v for k, v in small[0].history.items()}}
