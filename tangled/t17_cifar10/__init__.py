# Tangled from chapters/17-cifar10.qmd; edit the chapter, then run make tangle. sha256:c9dcb06432614887
"""A residual network, trained end to end."""

from tangled.t17_cifar10.level2_vectorized import (
    AugmentedLoader,
    augment,
    channel_statistics,
    class_activation_map,
    crop,
    cutout,
    decay_groups,
    flip,
    normalise,
    pictures_of_rows,
    predict,
)

__all__ = [
    "AugmentedLoader",
    "augment",
    "channel_statistics",
    "class_activation_map",
    "crop",
    "cutout",
    "decay_groups",
    "flip",
    "normalise",
    "pictures_of_rows",
    "predict",
]
