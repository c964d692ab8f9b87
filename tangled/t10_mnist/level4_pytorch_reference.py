# Tangled from chapters/10-mnist.qmd; edit the chapter, then run make tangle. sha256:cbecf3bc2ff79591
"""MNIST, level 4: PyTorch. NumPy arrays in and out."""

import numpy as np
import torch
from torch.nn import functional

import tangled.t10_mnist.checks as check
from tangled.t03_optimizers import cosine_decay
from tangled.t10_mnist.base import recipe
from tangled.testing import Case


def _tensor(array):
    return torch.from_numpy(np.require(array, requirements=["C", "W"]))


def pixel_statistics(images):
    """Mean and deviation of all pixels of images (N, ...), floats."""
    pixels = _tensor(check.pictures(images, least=1)).double()
    return pixels.mean().item(), pixels.std(correction=0).item()


def prepare(images, mean, std):
    """Standardised rows (N, D), float32, of images (N, ...)."""
    images, mean, std = check.preparation(images, mean, std)
    return ((_tensor(images).flatten(1).float() - mean) / std).numpy()


def accuracy(target, predicted):
    """The share of equal entries of two integer arrays (N,)."""
    target, predicted = check.labels(target, predicted)
    check.some(target)
    return (_tensor(target) == _tensor(predicted)).double().mean().item()


def confusion_matrix(target, predicted, classes):
    """Counts (K, K), int64, of integers (N,): truth in rows, predictions in columns."""
    target, predicted = check.labels(target, predicted, classes)
    pairs = _tensor(target).long() * classes + _tensor(predicted).long()
    return pairs.bincount(minlength=classes**2).reshape(classes, classes).numpy()


def precision_recall(confusion):
    """Precision (K,) and recall (K,) from counts (K, K); 0/0 is NaN."""
    confusion = _tensor(check.counts(confusion)).double()
    diagonal = confusion.diagonal()
    return (diagonal / confusion.sum(0)).numpy(), (diagonal / confusion.sum(1)).numpy()


def worst_mistakes(logits, target, k):
    """Indices (at most k,) of the wrong answers of logits (N, K) to target (N,)."""
    logits, target = check.answers(logits, target, k)
    logits, target = _tensor(logits), _tensor(target).long()    # float64
    loss = functional.cross_entropy(logits, target, reduction="none")
    found = torch.nonzero(logits.argmax(1) != target)[:, 0]
    order = torch.argsort(loss[found], descending=True, stable=True)
    return found[order[:k]].numpy()


def network(layers):
    """nn.Sequential of the pairs (W (in, out), b (out,)), with ReLU between them."""
    modules = []
    for W, b in layers:
        linear = torch.nn.Linear(*W.shape, dtype=_tensor(W).dtype)
        linear.weight.data, linear.bias.data = _tensor(W.T), torch.tensor(b)
        modules += [linear, torch.nn.ReLU()]
    return torch.nn.Sequential(*modules[:-1])


def trajectory(images, labels, layers, steps, lr, weight_decay):
    """Losses (steps,) before each update, on images (M, ...), labels (M,), cut into batches."""
    model, losses = network(layers), []
    optimizer = torch.optim.AdamW(model.parameters(), lr, weight_decay=weight_decay)
    share = lambda t: float(cosine_decay(t, 1.0, steps, warmup=steps // 10))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, share)
    x = _tensor(prepare(images, *pixel_statistics(images)).astype(layers[0][0].dtype))
    y = _tensor(labels).long()
    for inputs, target in zip(x.chunk(steps), y.chunk(steps)):
        loss = functional.cross_entropy(model(inputs), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return np.array(losses)


def golden_cases(rng):
    """Losses of PyTorch from a recipe: 100 steps of the real network, 12 of a small one."""
    large, small = (64, 100, 28, (784, 256, 128, 10)), (6, 12, 7, (49, 8, 10))
    for name, lr, weight_decay, (batch, steps, side, widths) in (
            ("trajectory", 0.002, 0.1, large), ("trajectory-small", 0.002, 0.1, small),
            ("trajectory-rates", 0.03, 2.5, small)):
        made = {"seed": 10, "widths": widths, "batch": batch, "steps": steps, "side": side}
        options = {"lr": lr, "weight_decay": weight_decay}
        losses = trajectory(*recipe(**made), steps, **options)
        yield Case(name, made | options, {"losses": losses})
    images = rng.integers(0, 256, (5, 4, 3), dtype=np.uint8)
    mean, std = pixel_statistics(images)
    yield Case("prepare", {"images": images, "mean": mean, "std": std},
               {"x": prepare(images, mean, std), "statistics": np.array([mean, std])})
    logits, target = 3 * rng.standard_normal((40, 5)), rng.integers(0, 4, 40)
    counts = confusion_matrix(target, logits.argmax(1), 5)
    precision, recall = precision_recall(counts)
    yield Case("counting", {"logits": logits, "target": target},
               {"counts": counts, "precision": precision, "recall": recall,
                "accuracy": np.array(accuracy(target, logits.argmax(1))),
                "worst": worst_mistakes(logits, target, 6)})
