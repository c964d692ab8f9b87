# Tangled from chapters/33-quantization.qmd; edit the chapter, then run make tangle. sha256:33c1fbad0f2088b2
"""Chapter 33: what the levels cost."""

import numpy as np

from tangled.measuring import Ladder, torch_available
from tangled.t33_quantization import level1_naive, level2_vectorized, level3_memory_efficient

LEVELS = {"level 1": level1_naive, "level 2": level2_vectorized, "level 3": level3_memory_efficient}
TINY, SHORT, LONG = (f"product ({M}, {K}) by ({K}, {N})" for M, K, N in ((3, 40, 5), (256, 512, 512), (256, 4097, 512)))
ROW, FLOAT = "product (1, 1024) by (1024, 1024)", "float32, NumPy"
MANY, LEAST, NIBBLES = "quantize (1024, 1024)", "calibrate by mse, 1,048,576 numbers", "unpack 1,048,576 numbers"


def _product(M, K, N):
    """Integers; PyTorch's _int_mm, its float32 product of the same numbers, and NumPy's."""
    draw = np.random.default_rng(0)
    a, b = draw.integers(-127, 128, (M, K), np.int8), draw.integers(-127, 128, (K, N), np.int8)
    calls = {name: lambda m=m: m.int8_matmul(a, b) for name, m in LEVELS.items()
             if name != "level 1" or M * K * N < 1000}
    if torch_available():
        import torch
        left, right = torch.from_numpy(a), torch.from_numpy(b)
        if M > 16:
            calls["level 4"] = lambda: torch._int_mm(left, right)
        x, w = left.float(), right.float()
        calls["best PyTorch"] = lambda: x @ w
    if M != 3:
        of_x, of_w = a.astype(np.float32), b.astype(np.float32)
        calls[FLOAT] = lambda: of_x @ of_w
    return calls


def _quantize():
    """A scale for each of 1,024 columns."""
    x = np.random.default_rng(1).standard_normal((1024, 1024), np.float32)
    scale, zero_point = level2_vectorized.calibrate(x, block=(None, 1))
    calls = {name: lambda m=LEVELS[name]: m.quantize(x, scale, zero_point) for name in ("level 2", "level 3")}
    if torch_available():
        import torch
        given, s = torch.from_numpy(x), torch.from_numpy(scale)
        calls["level 4"] = lambda: (given / s).round().clamp(-127, 127).to(torch.int8)
    return calls


def _least():
    """One scale for many numbers."""
    x = np.random.default_rng(2).laplace(size=1 << 20).astype(np.float32)
    calls = {name: lambda m=LEVELS[name]: m.calibrate(x, method="mse") for name in ("level 2", "level 3")}
    if torch_available():
        from tangled.t33_quantization import level4_pytorch_reference as torch_level
        calls["level 4"] = lambda: torch_level.calibrate(x, method="mse")
    return calls


def _unpack():
    """Two integers a byte."""
    packed = np.random.default_rng(3).integers(0, 256, (1024, 512), np.uint8)
    calls = {name: lambda m=LEVELS[name]: m.unpack_int4(packed, 1024) for name in ("level 2", "level 3")}
    if torch_available():
        import torch
        given = torch.from_numpy(packed)
        calls["level 4"] = lambda: torch.bitwise_right_shift(torch.stack([given << 4, given], -1).flatten(-2)
                                                             .view(torch.int8), 4)
    return calls


def ladders():
    """Products, one row, quantising, calibrating, unpacking."""
    yield Ladder(TINY, _product(3, 40, 5), note="int8")
    yield Ladder(SHORT, _product(256, 512, 512), operations="134 million", note="int8; best PyTorch: float32")
    yield Ladder(LONG, _product(256, 4097, 512), operations="1,074 million", note="int8; best PyTorch: float32")
    yield Ladder(ROW, _product(1, 1024, 1024), operations="2 million", note="int8; best PyTorch: float32")
    yield Ladder(MANY, _quantize(), note="float32, a scale for each column")
    yield Ladder(LEAST, _least(), note="float32, one scale")
    yield Ladder(NIBBLES, _unpack(), note="uint8")
