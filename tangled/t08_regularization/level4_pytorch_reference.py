# Tangled from chapters/08-regularization.qmd; edit the chapter, then run make tangle. sha256:0dbc0a7d727eed69
"""Regularisation, level 4: PyTorch. NumPy arrays in and out; gradients by autograd."""

import numpy as np
import torch
from torch.nn import functional

import tangled.t08_regularization.checks as check
from tangled.testing import Case


def _leaf(x):
    return torch.from_numpy(np.require(x, requirements=["C", "W"])).requires_grad_()


def _gradient(dout, cache):
    """Gradient of the leaf (in its shape) for `dout` in the output's shape."""
    out, leaf = cache
    dout = torch.as_tensor(np.asarray(dout, leaf.detach().numpy().dtype))
    return torch.autograd.grad(out, leaf, dout.reshape(out.shape), retain_graph=True)[0].numpy()


def _scalar(out, leaf):
    """(NumPy scalar, cache) of a scalar output."""
    return out.detach().numpy()[()], (out, leaf)


def l1_penalty(w, strength):
    """strength * sum |w| of w (...): a scalar."""
    w, strength = check.penalty(w, strength)
    leaf = _leaf(w)
    return _scalar(strength * torch.linalg.vector_norm(leaf, 1), leaf)


def l2_penalty(w, strength):
    """strength / 2 * sum w^2 of w (...): a scalar."""
    w, strength = check.penalty(w, strength)
    leaf = _leaf(w)
    return _scalar(strength / 2 * leaf.pow(2).sum(), leaf)


def _scalar_backward(name):
    def backward(dout, cache):
        """Gradient in the shape of the input."""
        return _gradient(check.scalar(name, dout), cache)
    return backward


l1_penalty_backward = l2_penalty_backward = _scalar_backward("dpenalty")


def soft_threshold(w, threshold):
    """w (...) moved by threshold towards 0, and not across."""
    w, threshold = check.floats("w", w), check.nonnegative("threshold", threshold)
    return functional.softshrink(_leaf(w).detach(), threshold).numpy()


def weights_of(parameters):
    """Those parameters whose data have two axes or more."""
    return [p for p in check.parameters(parameters) if torch.from_numpy(p.data).dim() >= 2]


def decay_weights(parameters, lr, weight_decay):
    """AdamW's decay: a step of it with gradients of zero."""
    check.decay(lr, weight_decay)
    for parameter in weights_of(parameters):
        tensor = torch.nn.Parameter(torch.from_numpy(parameter.data))     # shares its memory
        tensor.grad = torch.zeros_like(tensor)
        torch.optim.AdamW([tensor], lr=lr, weight_decay=weight_decay).step()


def max_norm(parameters, limit, axis=0):
    """Scale down, in place, units whose weights along `axis` are longer than limit."""
    weights, limit, axes = check.bound(parameters, limit, axis)
    for parameter in weights:
        tensor = torch.from_numpy(parameter.data)
        length = torch.linalg.vector_norm(tensor, dim=axes, keepdim=True)
        tensor.copy_(torch.where(length > limit, tensor * (limit / length), tensor))


def dropout(x, p, rng, training=True):
    """torch.nn.functional.dropout, seeded from rng: out (...)."""
    x, p = check.noisy(x, p, rng, training)
    leaf = _leaf(x)
    if not training or p == 0:
        return x, (leaf * 1, leaf)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(rng.integers(1 << 63)))
        out = functional.dropout(leaf, p, training=True)
    return out.detach().numpy(), (out, leaf)


def dropout_backward(dout, cache):
    """Gradient dx (...)."""
    return _gradient(check.floats("dout", dout, tuple(cache[0].shape)), cache)


def label_smoothing_cross_entropy(logits, y, smoothing):
    """Mean loss of logits (N, K) against smoothed classes y (N,)."""
    logits, y, smoothing = check.smoothed(logits, y, smoothing)
    leaf, classes = _leaf(logits), torch.from_numpy(y.reshape(-1).astype(np.int64))
    loss = functional.cross_entropy(leaf.flatten(0, -2), classes, label_smoothing=smoothing)
    return _scalar(loss, leaf)


label_smoothing_cross_entropy_backward = _scalar_backward("dloss")


def golden_cases(rng):
    """Inputs from `rng`; outputs and gradients in float64."""
    for name, f in (("l1_penalty", l1_penalty), ("l2_penalty", l2_penalty)):
        inputs = {"w": rng.standard_normal((3, 4, 2)), "strength": 0.3}
        yield _graded(name, f, "w", rng, inputs)
    w = rng.standard_normal((5, 4))
    yield Case("soft_threshold", {"w": w, "threshold": 0.4}, {"out": soft_threshold(w, 0.4)})
    for name, shape, smoothing in (("tenth", (6, 10), 0.1), ("none", (6, 5), 0.0),
                                   ("all", (4, 3), 1.0), ("sequence", (2, 3, 7), 0.25)):
        inputs = {"logits": 3 * rng.standard_normal(shape),
                  "y": rng.integers(0, shape[-1], shape[:-1]), "smoothing": smoothing}
        yield _graded(f"smoothing-{name}", label_smoothing_cross_entropy, "logits", rng, inputs)
    for p in (0.1, 0.5, 0.8):
        x = 1 + rng.random((30, 20))
        out, cache = dropout(x, p, rng)
        dout = 1 + rng.random(x.shape)
        yield Case(f"dropout-{p}", {"x": x, "p": p}, {"out": out}, {"out": dout},
                   {"x": _gradient(dout, cache)})
    yield _adamw(rng)
    W = rng.standard_normal((6, 5)) * np.array([0.1, 0.5, 1.0, 2.0, 0.0])
    bounded = torch.renorm(torch.from_numpy(W), 2, 1, 1.0).numpy()
    yield Case("max_norm", {"W": W, "limit": 1.0}, {"W": bounded})


def _graded(name, f, wrt, rng, inputs):
    """A case of a scalar op, with its gradient for a random upstream number."""
    out, cache = f(**inputs)
    dout = np.float64(rng.standard_normal())
    return Case(name, inputs, {"out": np.asarray(out)}, {"out": np.asarray(dout)},
                {wrt: _gradient(dout, cache)})


def _adamw(rng, lr=0.05, weight_decay=0.4, steps=6):
    """torch.optim.AdamW with given gradients; the bias is in a group without decay."""
    W, b = (torch.nn.Parameter(torch.from_numpy(rng.standard_normal(s))) for s in ((3, 4), (4,)))
    inputs = {"W": W.detach().numpy().copy(), "b": b.detach().numpy().copy(), "lr": lr,
              "weight_decay": weight_decay, "dW": rng.standard_normal((steps, 3, 4)),
              "db": rng.standard_normal((steps, 4))}
    groups = [{"params": [W]}, {"params": [b], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=lr, weight_decay=weight_decay)
    for dW, db in zip(inputs["dW"], inputs["db"]):
        W.grad, b.grad = torch.from_numpy(dW.copy()), torch.from_numpy(db.copy())
        optimizer.step()
    return Case("adamw", inputs, {"W": W.detach().numpy(), "b": b.detach().numpy()})
