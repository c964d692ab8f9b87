# Tangled from chapters/32-flash-attention.qmd; edit the chapter, then run make tangle. sha256:27ab9b063e10a92b
"""Chapter 32: traffic, counted and derived."""

import numpy as np

from tangled.t32_flash_attention import flash_attention, flash_attention_backward, traffic


def plain_traffic(T, D):
    """Numbers that attention moves forward, with whole arrays (T, T); eq. 32.8."""
    return 4 * T * T + 4 * T * D


def counted(T, D, block_q, block_k):
    """Numbers moved forward and backward: [counted by a run of level 2, by the formula], two pairs."""
    q, k, v, dout = np.random.default_rng(0).standard_normal((4, T, D), np.float32)
    _, cache = flash_attention(q, k, v, block_q=block_q, block_k=block_k)
    flash_attention_backward(dout, cache)
    run = cache.moved["forward"] // 4, cache.moved["backward"] // 4
    return run, traffic(T, T, D, D, block_q, block_k)
