# Tangled from chapters/16-normalizations.qmd; edit the chapter, then run make tangle. sha256:e4454a125a765381
"""Chapter 16: what the levels cost."""

import numpy as np

from tangled.measuring import Ladder, torch_available
from tangled.t16_normalizations import level1_naive, level2_vectorized, level3_memory_efficient

LEVELS = {"level 1": level1_naive, "level 2": level2_vectorized, "level 3": level3_memory_efficient}
TINY, NARROW, WIDE, RMS, GROUP, ADD = (
    "layer norm, (32, 16)", "layer norm, (2048, 128)", "layer norm, (2048, 512)", "RMS norm, (2048, 128)",
    "group norm, 8 groups, (32, 64, 16, 16)", "add + layer norm, (2048, 128)")


def _round_trips(forward, backward, name):
    """{level: a function that runs both passes}; level 1 for the tiny task only."""
    def call(level):
        def run():
            _, cache = forward(level)
            return backward(level, cache)
        return run
    return {key: call(level) for key, level in LEVELS.items() if key != "level 1" or name == TINY}


def _torch(function, arrays, douts):
    """PyTorch without our wrapper: tensors stay tensors."""
    import torch
    leaves = [torch.from_numpy(a.copy()).requires_grad_() for a in arrays]
    upstream = [torch.from_numpy(d.copy()) for d in douts]
    return lambda: torch.autograd.grad(function(*leaves), leaves, upstream)


def _ladder(name, arrays, douts, forward, backward, torch_function):
    calls = _round_trips(forward, backward, name)
    if torch_available():
        calls["level 4"] = _torch(torch_function, arrays, douts)
    return Ladder(name, calls, operations="", note="float32")


def ladders():
    """Forward and backward of each."""
    if torch_available():
        import torch.nn.functional as F
    draw = np.random.default_rng(0).standard_normal
    for name, (R, D) in ((TINY, (32, 16)), (NARROW, (2048, 128)), (WIDE, (2048, 512))):
        x, dout, (g, b) = draw((R, D), np.float32), draw((R, D), np.float32), draw((2, D), np.float32)
        yield _ladder(name, [x, g, b], [dout], lambda m, x=x, g=g, b=b: m.layer_norm(x, g, b),
                      lambda m, c, d=dout: m.layer_norm_backward(d, c),
                      lambda x, g, b: (F.layer_norm(x, g.shape, g, b),))
    x, r, dout, dtotal = draw((4, 2048, 128), np.float32)
    g, b = draw((2, 128), np.float32)
    yield _ladder(RMS, [x, g], [dout], lambda m: m.rms_norm(x, g), lambda m, c: m.rms_norm_backward(dout, c),
                  lambda x, g: (F.rms_norm(x, g.shape, g, 1e-5),))
    yield _ladder(ADD, [x, r, g, b], [dout, dtotal], lambda m: m.add_layer_norm(x, r, g, b),
                  lambda m, c: m.add_layer_norm_backward(dout, dtotal, c),
                  lambda x, r, g, b: (F.layer_norm(x + r, g.shape, g, b), x + r))
    p, dp = draw((2, 32, 64, 16, 16), np.float32)
    h, a = draw((2, 64), np.float32)
    yield _ladder(GROUP, [p, h, a], [dp], lambda m: m.group_norm(p, 8, h, a),
                  lambda m, c: m.group_norm_backward(dp, c), lambda x, g, b: (F.group_norm(x, 8, g, b),))
