# Tangled from chapters/29-transformer-decoder.qmd; edit the chapter, then run make tangle. sha256:a910172a4b87de41
"""The transformer decoder."""

from tangled.t29_transformer_decoder.level2_vectorized import (
    DecoderBlock,
    Transformer,
    decoder_block,
    decoder_block_backward,
    decoder_block_step,
    from_pytorch,
    positions,
    start_decoding,
    to_pytorch,
)

__all__ = [
    "DecoderBlock",
    "Transformer",
    "decoder_block",
    "decoder_block_backward",
    "decoder_block_step",
    "from_pytorch",
    "positions",
    "start_decoding",
    "to_pytorch",
]
