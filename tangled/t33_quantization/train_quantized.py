# Tangled from chapters/33-quantization.qmd; edit the chapter, then run make tangle. sha256:eb9376c149f8b6e0
"""The mini-GPT in integers: python -m tangled.t33_quantization.train_quantized --help"""

import argparse
import sys
import time

import numpy as np

from tangled.data import load_shakespeare
from tangled.records import store_run
from tangled.t03_optimizers import AdamW
from tangled.t06_backpropagation import CrossEntropyLoss, Progress
from tangled.t30_mini_gpt import GPT, evaluate
from tangled.t30_mini_gpt.pretrained import load_pretrained
from tangled.t33_quantization.level2_vectorized import QuantizedGPT, at_quantized_weights, calibrate

BITS, CHANNEL = 3, (None, 1)                                    # of the fine-tuning
SWEEP = (2, 3, 4, 5, 6, 8)                                      # bits, a scale for each channel
MODELS = {"float32": {"bits": None},
          "INT8, a matrix": {"block": None},
          "INT8, a channel": {},
          "INT8, activations too": {"activations": 8},
          "INT4, a channel": {"bits": 4},
          "INT4, a channel, mse": {"bits": 4, "method": "mse"},
          "INT4, groups of 32": {"bits": 4, "block": (32, 1)},
          "float32, INT8 cache": {"bits": None, "cache_bits": 8},
          "INT8, activations and cache": {"activations": 8, "cache_bits": 8},
          "INT4, groups of 32, INT8 cache": {"bits": 4, "block": (32, 1), "cache_bits": 8}}


def parse(argv):
    """The options of the command."""
    parser = argparse.ArgumentParser(description="Quantise the mini-GPT that ships; measure bytes and loss.")
    parser.add_argument("--symbols", type=int, default=1 << 13, help="held-out symbols to predict (default 8192)")
    parser.add_argument("--steps", type=int, default=40, help="of fine-tuning with 3 bits (default 40)")
    parser.add_argument("--lr", type=float, default=3e-4, help="of fine-tuning (default 3e-4)")
    parser.add_argument("--record", action="store_true", help="write golden/records/t33.json")
    given = parser.parse_args(argv)
    if given.symbols < 65 or given.steps < 1 or not 0 < given.lr < 1:
        raise ValueError(f"symbols = {given.symbols}, steps = {given.steps}, lr = {given.lr}; expected at least 65, "
                         "at least 1, and a rate between 0 and 1")
    return given


def bytes_of_caches(model):
    """Of keys and values of one text that fills the context, an int."""
    caches = model.start()
    model(np.zeros((1, model.context), int), caches)
    return sum(cache.nbytes for cache in caches)


def table(model, held, models, progress=False):
    """{name: bytes, bytes of the cache, loss} of a GPT quantised in each of the ways."""
    found, bar = {}, Progress(len(models), progress)
    for name, options in models.items():
        q = QuantizedGPT(model, **options)
        found[name] = {"bytes": q.nbytes, "cache": bytes_of_caches(q), "loss": evaluate(q, held)}
        bar.advance(f"{name} {found[name]['loss']:.4f}")
    bar.close()
    return found


def matrices(model):
    """The weights of a GPT's blocks, a list of Parameters."""
    return [p for b in model.blocks for p in b.parameters() if p.data.ndim == 2]


def fine_tuned(model, ids, steps, lr, grids=None, progress=False):
    """A copy of a GPT after some steps on random batches; with grids, at weights quantised to BITS."""
    copy = GPT.from_state(model.state_dict(), model.num_heads)
    loss, rng, T = CrossEntropyLoss(), np.random.default_rng(0), model.context
    optimizer, bar = AdamW(copy.parameters(), lr, weight_decay=0.0), Progress(steps, progress)

    def run():
        at = rng.integers(0, len(ids) - T, (16, 1)) + np.arange(T)
        found = loss(copy(ids[at]), ids[at + 1])
        copy.backward(loss.backward())
        return found
    for step in range(steps):
        copy.zero_grad()
        found = run() if grids is None else at_quantized_weights(matrices(copy), grids, BITS, run)
        optimizer.lr = lr * (1 - step / steps)
        optimizer.step()
        bar.advance(f"loss {found:.3f}")
    bar.close()
    return copy


def loss_at(model, grids, held):
    """The loss of a GPT with the matrices of its blocks at BITS."""
    return at_quantized_weights(matrices(model), grids, BITS, lambda: evaluate(model, held))


def with_three_bits(model, ids, held, given):
    """Losses with 3 bits: as it is, after fine-tuning in floats, and after fine-tuning on the grid."""
    grids = [calibrate(p.data, BITS, True, CHANNEL, "mse") for p in matrices(model)]
    copies = {"floats": fine_tuned(model, ids, given.steps, given.lr, progress=True),
              "grid": fine_tuned(model, ids, given.steps, given.lr, grids, progress=True)}
    own = [calibrate(p.data, BITS, True, CHANNEL, "mse") for p in matrices(copies["floats"])]
    return {"before": loss_at(model, grids, held), "floats": loss_at(copies["floats"], own, held),
            "grid": loss_at(copies["grid"], grids, held), "floats, not quantised": evaluate(copies["floats"], held)}


def perform(given):
    """Quantise, measure, fine-tune, say what came of it, and record it if asked."""
    begun = time.perf_counter()
    text, (model, tokens) = load_shakespeare(), load_pretrained()
    cut = len(text) * 9 // 10
    held = tokens.encode(text[cut:cut + given.symbols + 1])
    models = table(model, held, MODELS, progress=True)
    for name, row in models.items():
        print(f"{name:32} {row['bytes']:9,} bytes, cache {row['cache']:7,}, {row['loss']:.4f} nats a symbol")
    rows = table(model, held, {str(b): {"bits": b} for b in SWEEP}, progress=True)
    sweep = {bits: row["loss"] for bits, row in rows.items()}
    print("a channel, bits " + ", ".join(f"{b}: {loss:.4f}" for b, loss in sweep.items()))
    three = with_three_bits(model, tokens.encode(text[:cut]), held, given)
    print(f"3 bits, a channel: {three['before']:.4f}; after {given.steps} steps in floats {three['floats']:.4f}, "
          f"on the grid {three['grid']:.4f}")
    if given.record:
        store_run(33, "train_quantized", seconds=time.perf_counter() - begun, values={
            "models": models, "sweep": sweep, "three bits": three, "symbols": given.symbols, "steps": given.steps,
            "matrices": sum(p.data.size for p in matrices(model)),
            "parameters": sum(p.data.size for p in model.parameters())})


def main(argv=None):
    """The command; the exit status."""
    try:
        perform(parse(argv))
    except KeyboardInterrupt:
        print("\ninterrupted")
        return 130
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
