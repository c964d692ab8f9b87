# Tangled from chapters/17-cifar10.qmd; edit the chapter, then run make tangle. sha256:a9045d7370ab4bcd
"""Chapter 17: the graded exercises."""

import numpy as np
import pytest

from tangled.t17_cifar10 import class_activation_map
from tangled.testing import assert_close, numeric_gradient, rng


@pytest.mark.value
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_mixup(exercises, share):
    """Pictures and labels are mixed alike; dtypes are kept, inputs stay."""
    x, labels = rng(0).standard_normal((4, 2, 3)).astype(np.float32), np.array([2, 0, 1, 2])
    order, kept = np.array([1, 2, 3, 0]), x.copy()
    mixed, targets = exercises.mixup(x, labels, 5, share, order)
    assert mixed.dtype == targets.dtype == np.float32
    assert_close(mixed, (share * x + (1 - share) * x[order]).astype(np.float32), tol=1e-6, what="mixed")
    want = np.zeros((4, 5))
    want[np.arange(4), labels] += share
    want[np.arange(4), labels[order]] += 1 - share
    assert_close(targets, want.astype(np.float32), tol=1e-6, what="targets")
    assert_close(x, kept, tol=0, what="x")


@pytest.mark.gradient
def test_soft_cross_entropy(exercises):
    """Hard targets give the ordinary loss; central differences; large logits."""
    logits, targets = rng(1).standard_normal((3, 4)), rng(2).dirichlet(np.ones(4), 3)
    loss, dlogits = exercises.soft_cross_entropy(logits, targets)
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert_close(np.asarray(loss), np.asarray(-(targets * np.log(p)).sum() / 3), tol=1e-10, what="loss")
    f = lambda: np.asarray(exercises.soft_cross_entropy(logits, targets)[0])
    numeric = numeric_gradient(f, logits, np.ones(()))
    assert_close(dlogits, numeric, tol=1e-6, what="dlogits")
    loss, dlogits = exercises.soft_cross_entropy(logits * 1e4, targets)
    assert np.isfinite(loss) and np.isfinite(dlogits).all()


@pytest.mark.value
def test_grad_cam(exercises):
    """For mean and linear layer: the positive part of the class activation map, over H W."""
    features, W = rng(3).standard_normal((3, 4, 2, 5)), rng(4).standard_normal((4, 6))
    head = lambda F: (F.mean((2, 3)) @ W, F.shape)
    back = lambda d, shape: np.broadcast_to((d @ W.T / 10)[..., None, None], shape)
    got = exercises.grad_cam(features, head, back, np.array([5, 0, 2]))
    want = np.maximum(class_activation_map(features, W, np.array([5, 0, 2])), 0) / 10
    assert_close(got, want, tol=1e-10, what="map")
