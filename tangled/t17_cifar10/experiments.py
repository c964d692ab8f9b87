# Tangled from chapters/17-cifar10.qmd; edit the chapter, then run make tangle. sha256:b15e908d7ded57ad
"""Chapter 17: one training run, and the same steps in PyTorch."""

import time
from dataclasses import dataclass

import numpy as np

from tangled.t06_backpropagation import Module
from tangled.t10_mnist import confusion_matrix, train
from tangled.t17_cifar10.level2_vectorized import predict
from tangled.t17_cifar10.pictures import emoji
from tangled.t17_cifar10.recipe import SETTINGS, build, loaders

SMALL = SETTINGS | {"blocks": [1, 1], "widths": [4, 6], "batch": 8, "seed": 17, "padding": 2, "size": 5}


@dataclass
class Run:
    """A trained model, its history, logits (N, K) plain and averaged over the mirror, labels (N,), seconds."""

    model: Module
    history: dict
    plain: np.ndarray
    mirrored: np.ndarray
    target: np.ndarray
    seconds: float

    def accuracy(self, logits):
        """The share of right answers."""
        return float((logits.argmax(axis=1) == self.target).mean())

    def confusion(self):
        """Counts (K, K): a row for each true class."""
        K = self.mirrored.shape[1]
        return confusion_matrix(self.target, self.mirrored.argmax(axis=1), K)


def run(train_set, test_set, classes, settings=SETTINGS, path=None, progress=False, watch=True):
    """Train on a pair (images, labels), answer another; goes on where the file `path` leaves off: a Run."""
    start = time.perf_counter()
    varied, plain, rng, scale = loaders(settings, train_set, test_set)
    engine = build(settings, classes, settings["epochs"] * len(varied))
    history = train(engine, varied, settings["epochs"], path, {"draws": rng}, plain if watch else None,
                    settings, progress)
    logits = [predict(engine.model, test_set[0], *scale, mirrored=mirrored) for mirrored in (False, True)]
    return Run(engine.model, history, *logits, test_set[1].astype(np.int64), time.perf_counter() - start)


def steps_of(settings, count):
    """A small network in float64 and `count` batches of varied emoji, ((x, labels), ...)."""
    images, labels, *test, names = emoji()
    varied, *_ = loaders(settings, (images, labels), tuple(test))
    engine = build(settings, len(names), count)
    engine.model.astype(np.float64)
    batches = [(x.astype(np.float64), y) for (x, y), _ in zip(varied, range(count))]
    return engine, batches


def trajectory(settings=SMALL, count=20):
    """Losses (count,) of training steps in float64."""
    engine, batches = steps_of(settings, count)
    return np.array([engine.step(*batch)[0] for batch in batches])


def torch_trajectory(settings=SMALL, count=20):
    """The same by PyTorch, from the same weights, on the same batches."""
    import torch
    import torch.nn.functional as F

    from tangled.t14_resnet.level4_pytorch_reference import ResNet
    engine, batches = steps_of(settings, count)
    model = ResNet(tuple(settings["blocks"]), tuple(settings["widths"]), engine.model.fc.weight.data.shape[1]).double()
    load_into(model, engine.model.state_dict())
    groups = [p for p in model.parameters() if p.ndim > 1], [p for p in model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.SGD([{"params": group, "weight_decay": decay} for group, decay in
                                 zip(groups, (settings["weight_decay"], 0.0))],
                                settings["lr"], settings["momentum"], nesterov=True)
    rate = lambda t: engine_rate(t, count)
    schedule, losses = torch.optim.lr_scheduler.LambdaLR(optimizer, rate), []
    for x, y in batches:
        loss = F.cross_entropy(model(torch.from_numpy(x)), torch.from_numpy(y), label_smoothing=settings["smoothing"])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
    return np.array(losses)


def engine_rate(t, steps):
    """The factor of the learning rate after t updates: warm-up over a tenth, then a cosine."""
    from tangled.t03_optimizers import cosine_decay
    return cosine_decay(t, 1.0, steps, warmup=steps // 10)


def load_into(model, state):
    """Copy a state_dict of ours into a PyTorch network with the same names; linear weights turned."""
    import torch
    theirs = model.state_dict()
    for name, value in state.items():
        array = value.T if name == "fc.weight" else value
        theirs[name].copy_(torch.from_numpy(np.array(array)))
