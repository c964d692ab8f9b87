# Tangled from chapters/10-mnist.qmd; edit the chapter, then run make tangle. sha256:23544f3dcedbc353
"""MNIST."""

from tangled.t10_mnist.level2_vectorized import (
    Checkpoint,
    FORMAT,
    Scheduled,
    accuracy,
    build_engine,
    build_model,
    confusion_matrix,
    load_checkpoint,
    make_loader,
    mcnemar,
    pixel_statistics,
    precision_recall,
    predict,
    prepare,
    read_idx,
    save_checkpoint,
    train,
    worst_mistakes,
)

__all__ = [
    "Checkpoint",
    "FORMAT",
    "Scheduled",
    "accuracy",
    "build_engine",
    "build_model",
    "confusion_matrix",
    "load_checkpoint",
    "make_loader",
    "mcnemar",
    "pixel_statistics",
    "precision_recall",
    "predict",
    "prepare",
    "read_idx",
    "save_checkpoint",
    "train",
    "worst_mistakes",
]
