# Tangled from chapters/32-flash-attention.qmd; edit the chapter, then run make tangle. sha256:acc8ec7df031a661
"""Chapter 32: arguments checked, for all levels and for yours."""

from tangled.t25_self_attention.checks import gradient, heads, whole

__all__ = ["arguments", "gradient", "sizes"]


def arguments(q, k, v, causal, scale, block_q, block_k, mask):
    """q (..., Tq, D), k (..., Tk, D), v (..., Tk, Dv), mask (..., Tq, Tk) or None, scale, dtype, sizes of a tile."""
    blocks = whole("block_q", block_q, 1), whole("block_k", block_k, 1)
    q, k, v, mask, scale, dtype = heads(q, k, v, mask, causal, scale)
    return q, k, v, mask, q.shape[-1] ** -0.5 if scale is None else scale, dtype, blocks


def sizes(Tq, Tk, D, Dv, block_q, block_k):
    """The arguments of traffic as ints."""
    lengths = [whole(name, n, 0) for name, n in (("Tq", Tq), ("Tk", Tk), ("D", D), ("Dv", Dv))]
    return *lengths, whole("block_q", block_q, 1), whole("block_k", block_k, 1)
