# Tangled from chapters/31-kv-cache.qmd; edit the chapter, then run make tangle. sha256:3e4969afc1dae1e9
"""Chapter 31: what the levels cost."""

import numpy as np

from tangled.measuring import Ladder, torch_available
from tangled.t30_mini_gpt import GPT
from tangled.t31_kv_cache import level1_naive, level2_vectorized
from tangled.t31_kv_cache import level3_memory_efficient as level3

LEVELS = {"level 1": level1_naive, "level 2": level2_vectorized, "level 3": level3}
TINY, ONE, MANY = "8 tokens, 1 layer of 6", "255 tokens, 4 layers of 128", "16 texts of 64 tokens, 4 layers of 128"
LENGTHS = (16, 32, 64, 128, 256, 512, 1023)
STEPS = {f"one token, {S} before it": S for S in LENGTHS}


def _state(V, context, D, heads, layers):
    """First weights of chapter 30."""
    return GPT(V, context, D, heads, layers).state_dict()


def _tiny(level):
    state, ids = _state(7, 8, 6, 3, 1), np.arange(8)[None] % 7

    def call():
        decoder = level.Decoder(state, 3)
        for t in range(8):
            decoder.extend(ids[:, t:t + 1])
    return call


def _writing(state, n, batch):
    """Greedy texts behind one token each, by levels 2 and 3 and PyTorch."""
    decoders = {"level 2": level2_vectorized.Decoder(state, 4, batch), "level 3": level3.Decoder(state, 4, batch)}
    ids = np.zeros((batch, 1), np.int64)
    calls = {name: lambda d=d: level2_vectorized.generate(d, ids, n, temperature=0) for name, d in decoders.items()}
    if torch_available():
        from tangled.t31_kv_cache.contestant import Appended, Buffered
        appended, buffered = Appended(state, 4), Buffered(state, 4)
        calls |= {"level 4": lambda: appended.write(n, batch), "best PyTorch": lambda: buffered.write(n, batch)}
    return calls


def _steps(state, S):
    """A token behind S others: with the cache, and by reading everything again."""
    ids, decoders = np.arange(S + 1)[None] % 64, {}
    for name, level in (("level 2", level2_vectorized), ("level 3", level3)):
        decoders[name, "cache"], decoders[name, "again"] = (level.Decoder(state, 4) for _ in range(2))
        decoders[name, "cache"].extend(ids[:, :S])

    def cached(decoder):
        decoder.extend(ids[:, S:])
        decoder.truncate([S])

    def again(decoder):
        decoder.extend(ids)
        decoder.truncate([0])
    return {f"{name}, {'with' if how == 'cache' else 'without'}":
            lambda d=d, f={"cache": cached, "again": again}[how]: f(d) for (name, how), d in decoders.items()}


def ladders():
    """A toy, a text, texts, and a token at different lengths."""
    calls = {name: _tiny(level) for name, level in LEVELS.items()}
    if torch_available():
        from tangled.t31_kv_cache import level4_pytorch_reference
        calls["level 4"] = _tiny(level4_pytorch_reference)
    yield Ladder(TINY, calls, note="float32")
    state = _state(64, 256, 128, 4, 4)
    yield Ladder(ONE, _writing(state, 255, 1), note="float32, greedy")
    yield Ladder(MANY, _writing(state, 64, 16), note="float32, greedy")
    state = _state(64, 1024, 128, 4, 4)
    for name, S in STEPS.items():
        yield Ladder(name, _steps(state, S), note="float32, 4 layers of 128")
