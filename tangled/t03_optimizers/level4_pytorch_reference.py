# Tangled from chapters/03-optimizers.qmd; edit the chapter, then run make tangle. sha256:e89f270c848f8205
"""Optimisers, level 4: torch.optim on arrays that it shares; makes the golden outputs."""

import copy
import math
import warnings

import numpy as np
import torch

from tangled.testing import Case


class TorchOptimizer:
    """A rule of torch.optim on the memory of our parameters, of any shapes."""

    def __init__(self, rule, parameters, lr, **settings):
        self.parameters = list(parameters)
        self.tensors = [torch.from_numpy(p.data).requires_grad_() for p in self.parameters]
        self.optimiser = rule(self.tensors, lr=lr, **settings)

    @property
    def lr(self):
        """The learning rate."""
        return self.optimiser.param_groups[0]["lr"]

    @lr.setter
    def lr(self, value):
        """Set it."""
        self.optimiser.param_groups[0]["lr"] = value

    def step(self):
        """Hand over the gradients, and step."""
        for p, tensor in zip(self.parameters, self.tensors):
            tensor.grad = None if p.grad is None else torch.from_numpy(np.asarray(p.grad))
        self.optimiser.step()

    def zero_grad(self):
        """Zeros in every gradient that there is."""
        for p in self.parameters:
            if p.grad is not None:
                p.grad = np.zeros_like(p.data)

    def state_dict(self):
        """torch's own, copied."""
        return copy.deepcopy(self.optimiser.state_dict())

    def load_state_dict(self, state):
        """Take back what `state_dict` gave."""
        self.optimiser.load_state_dict(copy.deepcopy(state))


class SGD(TorchOptimizer):
    """torch.optim.SGD."""

    def __init__(self, parameters, lr=0.01, weight_decay=0.0):
        super().__init__(torch.optim.SGD, parameters, lr, weight_decay=weight_decay)


class Momentum(TorchOptimizer):
    """torch.optim.SGD with momentum."""

    nesterov = False

    def __init__(self, parameters, lr=0.01, momentum=0.9, weight_decay=0.0):
        super().__init__(torch.optim.SGD, parameters, lr, momentum=momentum,
                         weight_decay=weight_decay, nesterov=self.nesterov and momentum > 0)


class Nesterov(Momentum):
    """torch.optim.SGD with nesterov=True."""

    nesterov = True


class AdaGrad(TorchOptimizer):
    """torch.optim.Adagrad."""

    def __init__(self, parameters, lr=0.01, eps=1e-10, weight_decay=0.0):
        super().__init__(torch.optim.Adagrad, parameters, lr, eps=eps, weight_decay=weight_decay)


class RMSProp(TorchOptimizer):
    """torch.optim.RMSprop."""

    def __init__(self, parameters, lr=0.01, rho=0.99, eps=1e-8, weight_decay=0.0):
        super().__init__(torch.optim.RMSprop, parameters, lr, alpha=rho, eps=eps,
                         weight_decay=weight_decay)


class Adam(TorchOptimizer):
    """torch.optim.Adam."""

    rule = torch.optim.Adam

    def __init__(self, parameters, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0):
        super().__init__(self.rule, parameters, lr, betas=betas, eps=eps,
                         weight_decay=weight_decay)


class AMSGrad(TorchOptimizer):
    """torch.optim.Adam with amsgrad=True."""

    def __init__(self, parameters, lr=1e-3, **settings):
        super().__init__(torch.optim.Adam, parameters, lr, amsgrad=True, **settings)


class AdamW(Adam):
    """torch.optim.AdamW."""

    rule = torch.optim.AdamW

    def __init__(self, parameters, lr=1e-3, betas=(0.9, 0.999), eps=1e-8,
                 weight_decay=0.01):
        super().__init__(parameters, lr, betas, eps, weight_decay)


class TorchSchedule:
    """A scheduler of torch.optim.lr_scheduler on one of our optimisers."""

    def __init__(self, optimizer, make):
        self.optimizer, self.make, self.base = optimizer, make, optimizer.lr
        self.load_state_dict({"base": optimizer.lr, "t": 0})

    def step(self):
        """One more update is done."""
        self.t += 1
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")              # step() before an optimiser's step()
            self.scheduler.step()
        self.optimizer.lr = self.dummy.param_groups[0]["lr"]

    def state_dict(self):
        """The rate at the start, and the updates done."""
        return {"base": self.base, "t": self.t}

    def load_state_dict(self, state):
        """Start again, and step as often."""
        self.base, self.t = state["base"], 0
        self.dummy = torch.optim.SGD([torch.zeros(1)], lr=self.base)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.scheduler = self.make(self.dummy)
        self.optimizer.lr = self.dummy.param_groups[0]["lr"]
        for _ in range(state["t"]):
            self.step()


class StepDecay(TorchSchedule):
    """torch.optim.lr_scheduler.StepLR."""

    def __init__(self, optimizer, step_size, gamma=0.1):
        super().__init__(optimizer, lambda dummy: torch.optim.lr_scheduler.StepLR(
            dummy, step_size, gamma))


def _rise(dummy, warmup):
    """A LinearLR that reaches the full rate with the update `warmup`."""
    return torch.optim.lr_scheduler.LinearLR(dummy, 1 / warmup, 1.0, max(warmup - 1, 1))


class CosineDecay(TorchSchedule):
    """torch's LinearLR, then CosineAnnealingLR, which is stopped at its end."""

    def __init__(self, optimizer, steps, warmup=0, final=0.0):
        self.last = steps

        def make(dummy):
            fall = torch.optim.lr_scheduler.CosineAnnealingLR(dummy, steps - warmup, final)
            if not warmup:
                return fall
            return torch.optim.lr_scheduler.SequentialLR(dummy, [_rise(dummy, warmup), fall],
                                                         [warmup])
        super().__init__(optimizer, make)

    def step(self):
        """One more update is done; after the last, nothing changes."""
        if self.t < self.last:
            super().step()
        else:
            self.t += 1


class Warmup(TorchSchedule):
    """torch.optim.lr_scheduler.LinearLR."""

    def __init__(self, optimizer, warmup):
        super().__init__(optimizer, lambda dummy: _rise(dummy, warmup))


def _after(schedule, t, lr, *settings):
    """The rate that a scheduler has set after t steps."""
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=lr)
    holder = type("Holder", (), {"lr": optimizer.param_groups[0]["lr"]})()
    schedule(holder, *settings).load_state_dict({"base": lr, "t": t})
    return holder.lr


def step_decay(t, lr, step_size, gamma=0.1):
    """StepLR after t steps, t of shape ()."""
    return _after(StepDecay, t, lr, step_size, gamma)


def linear_warmup(t, lr, warmup):
    """LinearLR after t steps, t of shape ()."""
    return _after(Warmup, t, lr, warmup)


def cosine_decay(t, lr, steps, warmup=0, final=0.0):
    """SequentialLR of LinearLR and CosineAnnealingLR after t steps, t of shape ()."""
    return _after(CosineDecay, t, lr, steps, warmup, final)


def clip_by_global_norm(parameters, max_norm):
    """torch.nn.utils.clip_grad_norm_, but nothing is changed if the norm is not finite."""
    tensors = []
    for p in parameters:
        if p.grad is not None:
            tensors.append(torch.from_numpy(p.data).requires_grad_())
            tensors[-1].grad = torch.from_numpy(np.asarray(p.grad))
    norm = float(torch.nn.utils.get_total_norm([tensor.grad for tensor in tensors]))
    if tensors and math.isfinite(norm):
        torch.nn.utils.clip_grad_norm_(tensors, max_norm)
    return norm


RULES = {                              # name of the case: (class, settings)
    "sgd": ("SGD", {"lr": 0.1}),
    "sgd-decay": ("SGD", {"lr": 0.1, "weight_decay": 0.1}),
    "momentum": ("Momentum", {"lr": 0.05}),
    "momentum-decay": ("Momentum", {"lr": 0.05, "momentum": 0.8, "weight_decay": 0.1}),
    "nesterov": ("Nesterov", {"lr": 0.05}),
    "nesterov-decay": ("Nesterov", {"lr": 0.05, "momentum": 0.8, "weight_decay": 0.1}),
    "adagrad": ("AdaGrad", {"lr": 0.1}),
    "adagrad-decay": ("AdaGrad", {"lr": 0.1, "weight_decay": 0.1}),
    "adagrad-eps": ("AdaGrad", {"lr": 0.1, "eps": 0.1}),
    "rmsprop": ("RMSProp", {}),
    "rmsprop-decay": ("RMSProp", {"lr": 0.02, "rho": 0.9, "weight_decay": 0.1}),
    "rmsprop-eps": ("RMSProp", {"lr": 0.02, "eps": 0.1}),
    "adam": ("Adam", {"lr": 0.02}),
    "adam-betas": ("Adam", {"lr": 0.02, "betas": (0.5, 0.9)}),
    "adam-decay": ("Adam", {"lr": 0.02, "weight_decay": 0.1}),
    "adam-eps": ("Adam", {"lr": 0.02, "eps": 0.1}),
    "adamw": ("AdamW", {"lr": 0.02}),
    "adamw-decay": ("AdamW", {"lr": 0.02, "betas": (0.8, 0.99), "weight_decay": 0.5}),
    "adagrad-all": ("AdaGrad", {"lr": 0.3, "eps": 0.05, "weight_decay": 0.2}),
    "rmsprop-all": ("RMSProp", {"lr": 0.03, "rho": 0.8, "eps": 0.05, "weight_decay": 0.2}),
    "adam-all": ("Adam", {"lr": 0.03, "betas": (0.7, 0.95), "eps": 0.05, "weight_decay": 0.2}),
    "adamw-all": ("AdamW", {"lr": 0.03, "betas": (0.7, 0.95), "eps": 0.05, "weight_decay": 2.0}),
}
EXERCISES = {
    "amsgrad": ("AMSGrad", {"lr": 0.02}),
    "amsgrad-all": ("AMSGrad", {"lr": 0.05, "betas": (0.7, 0.8), "eps": 0.05, "weight_decay": 0.1}),
}
SCHEDULES = {
    "schedule-step": ("step_decay", {"lr": 0.5, "step_size": 7, "gamma": 0.3}),
    "schedule-warmup": ("linear_warmup", {"lr": 0.5, "warmup": 9}),
    "schedule-cosine": ("cosine_decay", {"lr": 0.5, "steps": 30}),
    "schedule-cosine-final": ("cosine_decay", {"lr": 0.5, "steps": 40, "final": 0.05}),
    "schedule-cosine-warmup": ("cosine_decay", {"lr": 0.5, "steps": 33, "warmup": 5}),
}


def _trajectory(rule, settings, problem):
    """(50, 8): where torch.optim is after each step, its gradients from torch's own engine."""
    start, curvature, noise = (torch.from_numpy(problem[k]) for k in ("start", "curvature", "noise"))
    parts = [start[:6].reshape(2, 3).clone(), start[6:].clone()]
    parameters = [type("Plain", (), {"data": part.numpy(), "grad": None})() for part in parts]
    optimizer, path = globals()[rule](parameters, **settings), []
    for xi in noise:
        w = torch.cat([tensor.detach().reshape(-1) for tensor in optimizer.tensors]).requires_grad_()
        (0.5 * (curvature * w * w).sum() + (xi * w).sum()).backward()
        parameters[0].grad, parameters[1].grad = w.grad[:6].reshape(2, 3).numpy(), w.grad[6:].numpy()
        optimizer.step()
        path.append(np.concatenate([p.data.reshape(-1) for p in parameters]))
    return np.array(path)


def golden_cases(rng):
    """The noisy quadratic, a path on it for every rule, schedules, and clipped gradients."""
    scale = np.array([1.0, 1.0, 0.1, 0.1, 1e-3, 1e-8, 1e-9, 0.0])
    problem = {"start": rng.standard_normal(8), "noise": rng.standard_normal((50, 8)) * scale,
               "curvature": np.array([10.0, 1.0, 0.1, 1.0, 1e-3, 0.0, 0.0, 0.0])}
    yield Case("problem", problem)
    for name, (rule, settings) in {**RULES, **EXERCISES}.items():
        path = _trajectory(rule, settings, problem)
        yield Case(name, {"rule": rule, **settings}, {"path": path})
    for name, (function, settings) in SCHEDULES.items():
        rates = np.array([globals()[function](t, **settings) for t in range(50)])
        yield Case(name, {"function": function, **settings}, {"lr": rates})
    gradients = {"a": rng.standard_normal((3, 4)), "b": 5 * rng.standard_normal(6)}
    for name, max_norm in (("clip", 2.0), ("clip-none", 100.0)):
        parts = {k: type("Plain", (), {"data": np.zeros_like(g), "grad": g.copy()})()
                 for k, g in gradients.items()}
        norm = clip_by_global_norm(parts.values(), max_norm)
        yield Case(name, {**gradients, "max_norm": max_norm},
                   {"norm": np.array(norm), **{k: p.grad for k, p in parts.items()}})
