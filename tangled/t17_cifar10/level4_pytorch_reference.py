# Tangled from chapters/17-cifar10.qmd; edit the chapter, then run make tangle. sha256:2d66fab4c9f04822
"""Pictures and their variations by PyTorch. NumPy in, NumPy out."""

import numpy as np
import torch
import torch.nn.functional as F

import tangled.t17_cifar10.checks as check
from tangled.testing import Case


def _tensor(array):
    """A copy as a tensor of the same shape."""
    return torch.from_numpy(np.array(array))


def pictures_of_rows(rows, shape):
    """rows (N, C H W) to (N, C, H, W), by unflatten."""
    rows, shape = check.rows(rows, shape)
    return _tensor(rows).unflatten(1, shape).numpy()


def channel_statistics(images):
    """images (N, C, H, W), bytes: mean, std (C,), float64."""
    values = _tensor(check.some(images)).double() / 255
    std, mean = torch.std_mean(values, dim=(0, 2, 3), correction=0)
    return mean.numpy(), std.numpy()


def normalise(images, mean, std):
    """images (N, C, H, W), bytes: float32."""
    images = check.bytes_of(images)
    mean, std = (_tensor(check.per_channel(k, v, images))[:, None, None] for k, v in (("mean", mean), ("std", std)))
    return ((_tensor(images).double() / 255 - mean) / std).float().numpy()


def crop(images, offsets, padding):
    """images (N, C, H, W), offsets (N, 2)."""
    images, padding = check.pictures(images), check.whole("padding", padding, 0)
    offsets = check.places("offsets", offsets, images, 0, (2 * padding,) * 2)
    padded, (H, W) = F.pad(_tensor(images), (padding,) * 4), images.shape[2:]
    pieces = [p[:, y:y + H, x:x + W] for p, (y, x) in zip(padded, offsets.tolist())]
    return torch.stack(pieces).numpy() if pieces else images.copy()


def flip(images, flags):
    """images (N, C, H, W), flags (N,)."""
    images = check.pictures(images)
    flags, tensor = check.flags(flags, images), _tensor(images)
    return torch.where(_tensor(flags)[:, None, None, None], tensor.flip(3), tensor).numpy()


def cutout(images, centres, size):
    """images (N, C, H, W), centres (N, 2)."""
    images, size = check.pictures(images), check.whole("size", size, 0)
    centres = check.places("centres", centres, images, 0, (images.shape[2] - 1, images.shape[3] - 1))
    tensor = _tensor(images)
    for picture, (y, x) in zip(tensor, (centres - size // 2).tolist()):
        picture[:, max(y, 0):max(y + size, 0), max(x, 0):max(x + size, 0)].zero_()
    return tensor.numpy()


def augment(images, rng, padding=4, size=8):
    """images (N, C, H, W), by NumPy's draws."""
    images, rng = check.pictures(images), check.generator(rng)
    N, _, H, W = images.shape
    offsets = rng.integers(0, 2 * check.whole("padding", padding, 0) + 1, (N, 2))
    flags, centres = rng.random(N) < 0.5, rng.integers(0, (H, W), (N, 2))
    return cutout(flip(crop(images, offsets, padding), flags), centres, size)


def class_activation_map(features, weights, labels):
    """features (N, C, H, W), weights (C, K), labels (N,): (N, H, W)."""
    features, weights, labels = check.maps(features, weights, labels)
    chosen = _tensor(weights).T[_tensor(labels)].to(_tensor(features).dtype)
    return torch.einsum("nchw,nc->nhw", _tensor(features), chosen).numpy()


def golden_cases(rng):
    """Inputs from `rng`; outputs by PyTorch. All sizes differ."""
    images = rng.integers(0, 256, (5, 3, 6, 7)).astype(np.uint8)
    mean, std = channel_statistics(images)
    rows = rng.integers(0, 256, (3, 2 * 4 * 5)).astype(np.uint8)
    yield Case("rows", {"rows": rows, "shape": (2, 4, 5)}, {"out": pictures_of_rows(rows, (2, 4, 5))})
    yield Case("statistics", {"images": images}, {"mean": mean, "std": std})
    given = {"mean": rng.uniform(0.3, 0.6, 3), "std": rng.uniform(0.1, 0.5, 3)}
    yield Case("normalise", {"images": images, **given}, {"out": normalise(images, **given)})
    floats = rng.standard_normal((5, 3, 6, 7))
    offsets = np.array([[0, 4], [2, 2], [4, 0], [1, 3], [3, 1]])
    yield Case("crop", {"images": floats, "offsets": offsets, "padding": 2}, {"out": crop(floats, offsets, 2)})
    flags = np.array([True, False, False, True, False])
    yield Case("flip", {"images": floats, "flags": flags}, {"out": flip(floats, flags)})
    centres = np.array([[0, 0], [5, 6], [2, 3], [0, 6], [4, 1]])
    for size in (3, 4):
        yield Case(f"cutout-{size}", {"images": floats, "centres": centres, "size": size},
                   {"out": cutout(floats, centres, size)})
    weights, labels = rng.standard_normal((3, 4)), np.array([3, 0, 2, 2, 1])
    yield Case("map", {"features": floats, "weights": weights, "labels": labels},
               {"out": class_activation_map(floats, weights, labels)})
