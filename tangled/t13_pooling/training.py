# Tangled from chapters/13-pooling.qmd; edit the chapter, then run make tangle. sha256:a2d4b2158954f437
"""Chapter 13: train the network, and what the chapter quotes of it."""

import time
from dataclasses import dataclass

import numpy as np

from tangled.data import load_fashion_mnist, load_mnist
from tangled.t10_mnist import level3_memory_efficient as mnist
from tangled.t13_pooling.experiments import shifted
from tangled.t13_pooling.model import build_cnn

DATA = {"mnist": load_mnist, "fashion": load_fashion_mnist}
SETTINGS = {"data": "mnist", "samples": 60_000, "epochs": 8, "batch": 128, "lr": 0.003, "weight_decay": 0.1,
            "channels": [8, 24], "hidden": 128, "seed": 0, "held_out": 0}
FASHION = {"data": "fashion", "samples": 6_000, "epochs": 20}


class Pictures:
    """A loader of rows (B, 784) as one of pictures (B, 1, 28, 28)."""

    def __init__(self, loader):
        self.loader = loader

    def __len__(self):
        """Batches in an epoch."""
        return len(self.loader)

    def __iter__(self):
        for x, y in self.loader:
            yield x.reshape(-1, 1, 28, 28), y


@dataclass
class Run:
    """A trained model, its history, its answers (N,) to labels (N,), and the seconds that it took."""

    model: object
    history: dict
    said: np.ndarray
    target: np.ndarray
    seconds: float

    @property
    def accuracy(self):
        """The share of right answers."""
        return mnist.accuracy(self.target, self.said)


def experiment(training, test, path=None, progress=False, watch=False, build=None, **changes):
    """Train on the first samples of a pair (images (N, 28, 28), labels (N,)), answer the other: a Run.

    A checkpoint at `path` is continued. `watch` adds the loss and accuracy on the test pictures after each
    epoch to the history. `build(rng)` is another model, one of rows (N, 784).
    """
    settings, start = SETTINGS | changes, time.perf_counter()
    images, labels = (array[:settings["samples"]] for array in training)
    initial, shuffle = (np.random.default_rng([settings["seed"], k]) for k in range(2))
    scale = mnist.pixel_statistics(images)
    form = Pictures if build is None else lambda loader: loader
    loader = form(mnist.make_loader(images, labels, settings["batch"], *scale, shuffle))
    validation = form(mnist.make_loader(*test, 500, *scale))
    model = build_cnn(initial, settings["channels"], settings["hidden"]) if build is None else build(initial)
    engine = mnist.build_engine(model, settings["epochs"] * len(loader), settings["lr"], settings["weight_decay"])
    history = mnist.train(engine, loader, settings["epochs"], path, {"shuffle": shuffle},
                          validation if watch else None, settings, progress)
    logits, target = mnist.predict(model, validation)
    return Run(model, history, logits.argmax(axis=1), target, time.perf_counter() - start)


def by_shift(run, training, test, shifts=range(5), form=Pictures):
    """The accuracy of a Run on the test pictures (N, 28, 28), shifted."""
    scale = mnist.pixel_statistics(training[0])
    answers = [mnist.predict(run.model, form(mnist.make_loader(shifted(test[0], t), test[1], 500, *scale)))
               for t in shifts]
    return [mnist.accuracy(target, logits.argmax(axis=1)) for logits, target in answers]


def study(seeds, samples=None, epochs=None, say=print):
    """Every number that the chapter quotes: (values, curves) for the record."""
    asked = {key: value for key, value in (("samples", samples), ("epochs", epochs)) if value}
    digits, clothes = [(load("train"), load("test")) for load in DATA.values()]
    runs = {"mnist": [], "fashion": []}
    for seed in seeds:
        for name, pair, changes in (("mnist", digits, {}), ("fashion", clothes, FASHION)):
            run = experiment(*pair, watch=seed == seeds[0], seed=seed, **{**changes, **asked})
            say(f"{name}, seed {seed}: {100 * run.accuracy:.2f} % in {run.seconds:.1f} s")
            runs[name].append(run)
    first, fashion = runs["mnist"][0], runs["fashion"][0]
    plain = experiment(*digits, build=mnist.build_model, seed=seeds[0], **asked)
    training = tuple(array[:samples] for array in digits[0])
    values = {"seeds": list(seeds), "samples": samples or SETTINGS["samples"], "epochs": epochs or SETTINGS["epochs"],
              "accuracy": [run.accuracy for run in runs["mnist"]], "seconds": [run.seconds for run in runs["mnist"]],
              "fashion": [run.accuracy for run in runs["fashion"]],
              "fashion seconds": [run.seconds for run in runs["fashion"]],
              "confusion": mnist.confusion_matrix(first.target, first.said, 10).tolist(),
              "fashion confusion": mnist.confusion_matrix(fashion.target, fashion.said, 10).tolist(),
              "filters": first.model.parameters()[0].data[:, 0].tolist(), "linear": plain.accuracy,
              "shifted": {"convolutional": by_shift(first, training, digits[1]),
                          "linear layers": by_shift(plain, training, digits[1], form=lambda loader: loader)}}
    curves = {f"{name} {key}": history for name, run in (("mnist", first), ("fashion", fashion))
              for key, history in run.history.items()}
    return values, curves
