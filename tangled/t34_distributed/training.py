# Tangled from chapters/34-distributed.qmd; edit the chapter, then run make tangle. sha256:d68b808a3d07c802
"""Chapter 34: a mini-GPT trained by any number of ranks."""

import os
import signal
import time
from pathlib import Path

import numpy as np

from tangled.data import load_shakespeare
from tangled.t03_optimizers import cosine_decay
from tangled.t10_mnist import load_checkpoint, save_checkpoint
from tangled.t30_mini_gpt.level3_memory_efficient import FlatGPT
from tangled.t30_mini_gpt.training import first_state, prepare
from tangled.t34_distributed.group import Group
from tangled.t34_distributed.level3_memory_efficient import (
    ShardedAdamW,
    broadcast,
    part,
    ring_all_reduce,
    synchronise,
)

SETTINGS = {"width": 32, "heads": 2, "layers": 2, "context": 32, "batch": 24, "micro": 8, "lr": 5e-3, "warmup": 20,
            "weight_decay": 0.1, "clip": 1.0, "steps": 200, "every": 50, "seed": 0, "sharded": False,
            "dtype": "float32"}
BETAS, FINAL = (0.9, 0.99), 0.02


class Trainer:
    """A mini-GPT, its optimiser, and a step that all ranks of a group make together.

    Parameters
    ----------
    group : Group
    state : dict of ndarray, first weights as of `GPT.state_dict`; rank 0's count
    settings : dict, see SETTINGS
    """

    def __init__(self, group, state, settings):
        self.group, self.settings = group, settings
        self.model = FlatGPT(state, settings["heads"])
        matrices, vectors = self.model.parameters
        self.weights = np.concatenate([matrices.data, vectors.data])
        self.edge, self.gradient = len(matrices.data), np.zeros_like(self.weights)
        self.reduce = getattr(group, "all_reduce", None)        # the engine's own, where it has one
        self.reduce = self.reduce and (lambda group, x: group.all_reduce(x))
        options = {"lr": settings["lr"], "betas": BETAS, "weight_decay": settings["weight_decay"]}
        alone = group if settings["sharded"] else Group()       # a group of one keeps all moments
        broadcast(group, self.weights)
        self.optimizer = ShardedAdamW(alone, self.weights, decayed=self.edge, **options)
        for array, name in ((self.weights, "data"), (self.gradient, "grad")):
            setattr(matrices, name, array[:self.edge])
            setattr(vectors, name, array[self.edge:])

    def step(self, batches, lr):
        """One update on this rank's micro-batches, pairs (b, t): the mean loss of all."""
        self.gradient[...] = 0
        tokens, loss = sum(x.size for x, _ in batches), 0.0
        for x, y in batches:
            share = x.size / tokens
            loss += share * self.model.loss_and_gradients(x, y, share)      # eq. 34.1
        self.optimizer.lr, clip = lr, self.settings["clip"]
        if self.settings["sharded"]:
            self.optimizer.step(self.gradient, tokens, clip)
        else:
            mean, _ = synchronise(self.group, self.gradient[None], [tokens], clip,
                                  self.reduce)
            self.optimizer.step(mean, 1)
        total = ring_all_reduce(self.group, np.array([loss * tokens, tokens]))
        return float(total[0] / total[1])

    def state_dict(self):
        """Weights (n,) and the whole optimiser; all ranks must call it."""
        return {"weights": self.weights.copy(), **self.optimizer.state_dict()}

    def load_state_dict(self, state):
        """Go on from `state_dict`'s weights (n,) and moments, on however many ranks."""
        self.weights[...] = state["weights"]
        self.optimizer.load_state_dict(state)


def micro_batches(ids, starts, settings):
    """Pairs (x, y) of windows of ids that begin at `starts`, of equal length and at most `micro` windows."""
    T, most, found = settings["context"], settings["micro"], {}
    for start in starts:
        found.setdefault(min(T, len(ids) - 1 - start), []).append(start)
    for length, these in found.items():
        for k in range(0, len(these), most):
            at = np.array(these[k:k + most])[:, None] + np.arange(length)
            yield ids[at], ids[at + 1]


def windows(length, settings, step):
    """Where the windows of a step begin; the last step of an epoch has fewer."""
    starts = np.arange(0, length - 1, settings["context"])
    an_epoch = -(-len(starts) // settings["batch"])
    epoch, k = divmod(step, an_epoch)
    order = np.random.default_rng([settings["seed"], epoch]).permutation(starts)
    return order[k * settings["batch"]:(k + 1) * settings["batch"]]


def train(group, ids, settings, path=None, vocabulary=None, each=lambda group, step: None):
    """Train on ids (n,), from the checkpoint `path` on if there is one: (trainer, losses by step).

    All that a step depends on is its number, so that a checkpoint needs no state of a generator.
    """
    first = first_state(vocabulary or int(ids.max()) + 1, settings)
    trainer = Trainer(group, {k: a.astype(settings["dtype"]) for k, a in first.items()}, settings)
    losses, warmup = [], max(0, min(settings["warmup"], settings["steps"] - 1))
    if path is not None and Path(path).exists():
        checkpoint = load_checkpoint(path)
        checkpoint.restore({"trainer": trainer})
        losses = checkpoint.record["losses"]
    for step in range(len(losses), settings["steps"]):
        each(group, step)
        starts = windows(len(ids), settings, step)
        mine = starts[slice(*part(len(starts), group.rank, group.size))]
        rate = float(cosine_decay(step, settings["lr"], settings["steps"], warmup, FINAL * settings["lr"]))
        losses.append(trainer.step(list(micro_batches(ids, mine, settings)), rate))
        if path is not None and ((step + 1) % settings["every"] == 0 or step + 1 == settings["steps"]):
            state = trainer.state_dict()                        # all ranks: the moments are in shares
            if group.rank == 0:
                save_checkpoint(path, {"trainer": Held(state)}, losses=losses)
            group.barrier()                                     # nobody runs ahead of a checkpoint
    return trainer, losses


class Held:
    """A state that is already there, for `save_checkpoint`."""

    def __init__(self, state):
        self.state = state

    def state_dict(self):
        """The state, a dict of arrays of any shape."""
        return self.state


def trouble(fault):
    """A function for `train(each=)`: at a step, a rank is killed, or stalls, or raises."""
    def each(group, step):
        if fault and (group.rank, step) == (fault["rank"], fault["step"]):
            if fault["how"] == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            if fault["how"] == "stalled":
                time.sleep(fault["seconds"])
            raise FloatingPointError(f"the loss is nan after {step} steps")
    return each


def work(group, settings, path=None, symbols=None, fault=None, weights=False):
    """What `spawn` runs: losses, the held-out loss, and weights (n,) if asked for."""
    text = load_shakespeare()[:symbols]
    tokens, ids, held = prepare(text, 0)
    shown = lambda group, step: group.rank == 0 and step % 50 == 0 and print(f"step {step}", flush=True)
    each = trouble(fault) if fault else shown if symbols is None else lambda group, step: None
    trainer, losses = train(group, ids, settings, path, tokens.vocab_size, each)
    found = {"losses": losses, "held": held_loss(trainer.model, held), "moments": trainer.optimizer.held}
    return found | ({"weights": trainer.weights.tolist()} if weights else {})


def held_loss(model, held, most=1 << 14):
    """Mean loss on the first symbols (n,) that were held out."""
    from tangled.t30_mini_gpt import evaluate
    return float(evaluate(model, held[:most]))


def sums(group, sizes, level="tangled.t34_distributed.level3_memory_efficient"):
    """Ring and tree on arrays of these sizes, by real ranks: digests of the sums, and their largest error."""
    import hashlib
    import importlib
    module, found = importlib.import_module(level), []
    for n in sizes:
        every = np.random.default_rng(n).standard_normal((group.size, n))
        for op in (module.ring_all_reduce, module.tree_all_reduce):
            total = op(group, every[group.rank])
            error = np.abs(total - every.sum(axis=0)).max(initial=0)
            found.append([hashlib.sha256(total.tobytes()).hexdigest(), float(error)])
    group.barrier()
    return found
