# Tangled from chapters/17-cifar10.qmd; edit the chapter, then run make tangle. sha256:bfb12000a5840490
"""Chapter 17: network, loss, optimisers, schedule: how a run is put together."""

import numpy as np

from tangled.t03_optimizers import CosineDecay, Nesterov
from tangled.t06_backpropagation import DataLoader, Engine
from tangled.t08_regularization import LabelSmoothingLoss
from tangled.t10_mnist import Scheduled
from tangled.t14_resnet.level3_memory_efficient import ResNet
from tangled.t17_cifar10.level2_vectorized import AugmentedLoader, decay_groups
from tangled.t17_cifar10.level3_memory_efficient import channel_statistics, normalise

SETTINGS = {"blocks": [2, 2, 2, 2], "widths": [16, 32, 64, 128], "epochs": 40, "batch": 64, "lr": 0.1,
            "momentum": 0.9, "weight_decay": 5e-4, "smoothing": 0.1, "padding": 4, "size": 8, "seed": 0}


class Together:
    """Several optimisers as one: a step of each.

    Parameters
    ----------
    optimizers : list of objects with `step()`, `zero_grad()` and a state
    """

    def __init__(self, optimizers):
        self.optimizers = list(optimizers)

    def step(self):
        """An update of every group."""
        for optimizer in self.optimizers:
            optimizer.step()

    def zero_grad(self):
        """Forget all gradients."""
        for optimizer in self.optimizers:
            optimizer.zero_grad()

    def state_dict(self):
        """{name: array or number} of each optimiser, as "0.name", "1.name"."""
        return {f"{k}.{name}": value for k, optimizer in enumerate(self.optimizers)
                for name, value in optimizer.state_dict().items()}

    def load_state_dict(self, state):
        """Take back what `state_dict` gave."""
        for k, optimizer in enumerate(self.optimizers):
            optimizer.load_state_dict({name.partition(".")[2]: value for name, value in state.items()
                                       if name.partition(".")[0] == str(k)})


def build(settings, classes, steps):
    """An Engine for pictures (N, 3, H, W) in some classes, and as many steps in all."""
    rng = np.random.default_rng([settings["seed"], 0])
    model = ResNet(tuple(settings["blocks"]), tuple(settings["widths"]), classes, rng=rng)
    model.input_grad = False                                    # nobody asks how pictures should change
    parts = []
    for parameters, decay in zip(decay_groups(model.parameters()), (settings["weight_decay"], 0.0)):
        optimizer = Nesterov(parameters, settings["lr"], settings["momentum"], weight_decay=decay)
        parts.append(Scheduled(optimizer, CosineDecay(optimizer, steps, warmup=steps // 10)))
    return Engine(model, LabelSmoothingLoss(settings["smoothing"]), Together(parts))


def loaders(settings, train, test):
    """Loaders of pairs (images, labels), the generator of the first, and the statistics of its images."""
    mean, std = channel_statistics(train[0])
    rng = np.random.default_rng([settings["seed"], 1])
    varied = AugmentedLoader((train[0], train[1].astype(np.int64)), settings["batch"], mean, std, rng,
                             settings["padding"], settings["size"])
    plain = DataLoader((normalise(test[0], mean, std), test[1].astype(np.int64)), 256)
    return varied, plain, rng, (mean, std)
