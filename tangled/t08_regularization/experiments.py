# Tangled from chapters/08-regularization.qmd; edit the chapter, then run make tangle. sha256:fa3ba59aa464d166
"""Chapter 08: a small network on few samples, a fifth of them with a label drawn at random."""

from dataclasses import dataclass

import numpy as np

from tangled.data import load_fashion_mnist
from tangled.t06_backpropagation import (
    CrossEntropyLoss,
    DataLoader,
    Engine,
    GradientDescent,
    Linear,
    ReLU,
    Sequential,
)
from tangled.t08_regularization.level2_vectorized import (
    Dropout,
    EarlyStopping,
    LabelSmoothingLoss,
    l2_penalty,
    l2_penalty_backward,
    max_norm,
    soft_threshold,
    weights_of,
)


@dataclass
class Recipe:
    """One way to regularise; 0 switches a part off."""

    name: str
    l1: float = 0.0
    l2: float = 0.0
    dropout: float = 0.0
    smoothing: float = 0.0
    limit: float = 0.0
    patience: int = 0


RECIPES = (Recipe("none"), Recipe("L2, 0.03", l2=0.03), Recipe("L1, 0.001", l1=0.001),
           Recipe("dropout, 0.7", dropout=0.7), Recipe("smoothing, 0.3", smoothing=0.3),
           Recipe("max-norm, 1", limit=1.0), Recipe("early stopping", patience=6))


def load(seed, samples=500, wrong=0.2):
    """Training, validation and test pairs: pictures (N, 784) float32 and classes (N,)."""
    rng = np.random.default_rng(seed)
    images, classes = load_fashion_mnist()
    chosen = rng.permutation(len(images))[:2 * samples]
    x, y = _flat(images[chosen]), classes[chosen].astype(np.int64)
    y = np.where(rng.random(2 * samples) < wrong, rng.integers(0, 10, 2 * samples), y)
    mean = x[:samples].mean(axis=0)
    test, test_y = load_fashion_mnist("test")
    return ((x[:samples] - mean, y[:samples]), (x[samples:] - mean, y[samples:]),
            (_flat(test) - mean, test_y.astype(np.int64)))


def _flat(images):
    """(N, 28, 28) of bytes to (N, 784) float32 from 0 to 1."""
    return images.reshape(len(images), -1).astype(np.float32) / 255


class HeldDescent(GradientDescent):
    """Gradient descent with a penalty before the step, a threshold and a bound after it."""

    def __init__(self, parameters, lr, recipe):
        super().__init__(parameters, lr)
        self.recipe, self.weights = recipe, weights_of(self.parameters)

    def step(self):
        """One step of all that the recipe asks for."""
        recipe = self.recipe
        for weight in self.weights:
            if recipe.l2:
                _, cache = l2_penalty(weight.data, recipe.l2)
                weight.grad += l2_penalty_backward(1.0, cache)            # eq. 8.7
        super().step()
        for weight in self.weights:
            if recipe.l1:
                weight.data[...] = soft_threshold(weight.data, self.lr * recipe.l1)
        if recipe.limit:
            max_norm(self.weights, recipe.limit)


class Run:
    """A network 784-128-10 trained by a recipe; `train` and `test` are its accuracies."""

    def __init__(self, recipe, seed, epochs=40, lr=0.2):
        self.recipe, rng = recipe, np.random.default_rng(seed)
        training, validation, test = load(seed)
        self.first, last = Linear(784, 128, rng), Linear(128, 10, rng)
        self.model = Sequential(self.first, ReLU(), Dropout(recipe.dropout, rng), last)
        self.stopper = EarlyStopping(recipe.patience or epochs)
        loss = LabelSmoothingLoss(recipe.smoothing) if recipe.smoothing else CrossEntropyLoss()
        engine = Engine(self.model, loss, HeldDescent(self.model.parameters(), lr, recipe))
        self.history = engine.fit(DataLoader(training, 50, rng), epochs, progress=False,
                                  validation=DataLoader(validation, 500), on_epoch=self.look)
        if recipe.patience:
            self.model.load_state_dict(self.stopper.state)
        self.train, self.test = (engine.evaluate(DataLoader(pair, 500))["accuracy"]
                                 for pair in (training, test))

    def look(self, history):
        """After each epoch: True where early stopping says so."""
        stop = self.stopper.update(history["validation_loss"][-1], self.model.state_dict())
        return stop and bool(self.recipe.patience)
