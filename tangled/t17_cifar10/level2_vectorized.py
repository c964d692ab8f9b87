# Tangled from chapters/17-cifar10.qmd; edit the chapter, then run make tangle. sha256:ddf9b3ab277bd375
"""Pictures and their variations, level 2: whole batches."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

import tangled.t17_cifar10.checks as check
from tangled.t06_backpropagation import DataLoader, evaluating


def pictures_of_rows(rows, shape):
    """Rows of bytes, as CIFAR-10 stores them, to pictures.

    Parameters
    ----------
    rows : ndarray of shape (N, C * H * W), uint8: all of one channel, then all of the next
    shape : (C, H, W)

    Returns
    -------
    ndarray of shape (N, C, H, W), uint8, a copy
    """
    rows, shape = check.rows(rows, shape)
    return rows.reshape(len(rows), *shape).copy()                   # (N, C, H, W)


def channel_statistics(images):
    """Mean and deviation of each channel.

    Parameters
    ----------
    images : ndarray of shape (N, C, H, W), uint8, of the training set

    Returns
    -------
    mean, std : ndarrays of shape (C,), float64, of the values divided by 255
    """
    images = check.some(images)
    values = images / 255.0                                     # (N, C, H, W), float64
    return values.mean(axis=(0, 2, 3)), values.std(axis=(0, 2, 3))  # eq. 17.1


def normalise(images, mean, std):
    """Bytes to numbers around 0.

    Parameters
    ----------
    images : ndarray of shape (N, C, H, W), uint8
    mean, std : ndarrays of shape (C,), floating; std positive

    Returns
    -------
    ndarray of shape (N, C, H, W), float32
    """
    images = check.bytes_of(images)
    mean, std = check.per_channel("mean", mean, images), check.per_channel("std", std, images)
    return ((images / 255.0 - mean[:, None, None]) / std[:, None, None]).astype(np.float32)


def crop(images, offsets, padding):
    """Move each picture within a frame of zeros.

    Parameters
    ----------
    images : ndarray of shape (N, C, H, W)
    offsets : ndarray of shape (N, 2), integers from 0 to 2 padding: row and column of the
        padded picture at which the window begins; padding is the middle, where nothing moves
    padding : int

    Returns
    -------
    ndarray of the shape and dtype of images
    """
    images, padding = check.pictures(images), check.whole("padding", padding, 0)
    offsets = check.places("offsets", offsets, images, 0, (2 * padding,) * 2)
    padded = np.pad(images, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    windows = sliding_window_view(padded, images.shape[2:], axis=(2, 3))    # (N, C, 2p+1, 2p+1, H, W)
    return windows[np.arange(len(images)), :, offsets[:, 0], offsets[:, 1]]     # (N, C, H, W), a copy


def flip(images, flags):
    """Mirror some pictures left to right.

    Parameters
    ----------
    images : ndarray of shape (N, C, H, W)
    flags : ndarray of shape (N,), bool

    Returns
    -------
    ndarray of the shape and dtype of images
    """
    images = check.pictures(images)
    flags = check.flags(flags, images)
    return np.where(flags[:, None, None, None], images[..., ::-1], images)


def cutout(images, centres, size):
    """Set a square of each picture to zero; DeVries and Taylor (2017).

    Parameters
    ----------
    images : ndarray of shape (N, C, H, W)
    centres : ndarray of shape (N, 2), integers, a pixel of the picture each
    size : int; rows from centre - size // 2 on, as many as size, those that exist

    Returns
    -------
    ndarray of the shape and dtype of images
    """
    images, size = check.pictures(images), check.whole("size", size, 0)
    H, W = images.shape[2:]
    centres = check.places("centres", centres, images, 0, (H - 1, W - 1))
    first = centres - size // 2                                 # (N, 2)
    rows = (np.arange(H) >= first[:, :1]) & (np.arange(H) < first[:, :1] + size)        # (N, H)
    columns = (np.arange(W) >= first[:, 1:]) & (np.arange(W) < first[:, 1:] + size)     # (N, W)
    square = rows[:, None, :, None] & columns[:, None, None, :]                         # (N, 1, H, W)
    return np.where(square, images.dtype.type(0), images)


def augment(images, rng, padding=4, size=8):
    """Crop, flip and cut each picture at random.

    Parameters
    ----------
    images : ndarray of shape (N, C, H, W)
    rng : numpy.random.Generator; offsets, flags and centres are drawn in this order
    padding : int, for `crop`
    size : int, for `cutout`

    Returns
    -------
    ndarray of the shape and dtype of images
    """
    images, rng = check.pictures(images), check.generator(rng)
    N, _, H, W = images.shape
    offsets = rng.integers(0, 2 * check.whole("padding", padding, 0) + 1, (N, 2))
    flags = rng.random(N) < 0.5
    centres = rng.integers(0, (H, W), (N, 2))
    return cutout(flip(crop(images, offsets, padding), flags), centres, size)


def class_activation_map(features, weights, labels):
    """How much each place adds to the logit of a class; Zhou et al. (2016), equation 2.

    Parameters
    ----------
    features : ndarray of shape (N, C, H, W), floating: what the global mean was taken of
    weights : ndarray of shape (C, K), floating, of the last linear layer
    labels : ndarray of shape (N,), integers below K: the class that is asked about

    Returns
    -------
    ndarray of shape (N, H, W); its mean over the places is the logit without its bias
    """
    features, weights, labels = check.maps(features, weights, labels)
    return _weigh(features, weights.T[labels])                      # eq. 17.6


def _weigh(features, chosen):
    """features (N, C, H, W) times chosen (N, C), summed over the channels: (N, H, W)."""
    return np.einsum("nchw,nc->nhw", features, chosen.astype(features.dtype, copy=False), optimize=True)


def decay_groups(parameters):
    """Parameters for weight decay, and those it is not for.

    Parameters
    ----------
    parameters : iterable of Parameters of any shapes

    Returns
    -------
    (decayed, others) : lists; matrices and kernels, and what has fewer than two axes
    """
    parameters = list(parameters)
    decayed = [p for p in parameters if p.data.ndim > 1]
    return decayed, [p for p in parameters if p.data.ndim <= 1]


def predict(model, images, mean, std, batch_size=256, mirrored=True):
    """Logits in evaluation mode.

    Parameters
    ----------
    model : Module from (N, C, H, W) to logits (N, K)
    images : ndarray of shape (N, C, H, W), uint8
    mean, std : ndarrays of shape (C,)
    batch_size : int, at least 1
    mirrored : bool; average over each picture and its mirror image

    Returns
    -------
    ndarray of shape (N, K), N at least 1
    """
    images, size = check.some(images), check.whole("batch_size", batch_size, 1)
    parts = [images[k:k + size] for k in range(0, len(images), size)]
    with evaluating(model):
        found = [_logits(model, normalise(part, mean, std), mirrored) for part in parts]
    return np.concatenate(found)


def _logits(model, x, mirrored):
    """Logits (N, K) of pictures x (N, C, H, W); the mean of those of x and its mirror image, if `mirrored`."""
    return (model(x) + model(x[..., ::-1].copy())) / 2 if mirrored else model(x)        # eq. 17.5


class AugmentedLoader(DataLoader):
    """Batches of normalised, varied pictures and their labels, drawn anew in every epoch.

    Parameters
    ----------
    arrays : (images, labels), shapes (N, C, H, W) of bytes and (N,)
    batch_size : int
    mean, std : ndarrays of shape (C,)
    rng : numpy.random.Generator, for the order and for the variations
    padding, size : ints, as for `augment`
    drop_last : bool
    """

    def __init__(self, arrays, batch_size, mean, std, rng, padding=4, size=8, drop_last=True):
        super().__init__(arrays, batch_size, rng, drop_last)
        self.mean, self.std, self.padding, self.size = mean, std, padding, size

    def __iter__(self):
        for images, labels in super().__iter__():
            x = normalise(images, self.mean, self.std)
            yield augment(x, self.rng, self.padding, self.size), labels
