# Tangled from chapters/22-word2vec.qmd; edit the chapter, then run make tangle. sha256:5896a44910ec95e2
"""word2vec: vectors of words, from their neighbours."""

from tangled.t22_word2vec.level2_vectorized import (
    AliasTable,
    cbow_step,
    info_nce,
    info_nce_backward,
    init_tables,
    keep_probability,
    negative_sampling,
    noise_weights,
    skip_gram_pairs,
    skip_gram_step,
    subsample,
    sum_rows,
    update_rows,
)

__all__ = [
    "AliasTable",
    "cbow_step",
    "info_nce",
    "info_nce_backward",
    "init_tables",
    "keep_probability",
    "negative_sampling",
    "noise_weights",
    "skip_gram_pairs",
    "skip_gram_step",
    "subsample",
    "sum_rows",
    "update_rows",
]
