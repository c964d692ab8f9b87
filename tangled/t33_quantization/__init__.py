# Tangled from chapters/33-quantization.qmd; edit the chapter, then run make tangle. sha256:39ca4f9d6a459029
"""Quantisation."""

from tangled.t33_quantization.level2_vectorized import (
    KVCache,
    QuantizedGPT,
    QuantizedLinear,
    at_quantized_weights,
    calibrate,
    dequantize,
    fake_quantize,
    fake_quantize_backward,
    int8_matmul,
    pack_int4,
    quantize,
    unpack_int4,
)

__all__ = [
    "KVCache",
    "QuantizedGPT",
    "QuantizedLinear",
    "at_quantized_weights",
    "calibrate",
    "dequantize",
    "fake_quantize",
    "fake_quantize_backward",
    "int8_matmul",
    "pack_int4",
    "quantize",
    "unpack_int4",
]
