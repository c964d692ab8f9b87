# Tangled from chapters/18-rnn.qmd; edit the chapter, then run make tangle. sha256:e5fa2a246c621d5f
"""Bigrams by counts and by gradient descent, and the MLP: python -m tangled.t18_rnn.train_names --help"""

import argparse
import sys
import time

import numpy as np

from tangled.records import store_run
from tangled.t18_rnn.experiments import names_data, train_bigram, train_mlp
from tangled.t18_rnn.level2_vectorized import sample_categorical
from tangled.t18_rnn.models import bigram_loss
from tangled.t18_rnn.tokens import CharTokenizer

TOKENS = CharTokenizer(".abcdefghijklmnopqrstuvwxyz")


def names_of(model, context, count, rng):
    """`count` names drawn from an MLP."""
    found = []
    for _ in range(count):
        window, name = [0] * context, ""
        while len(name) < 20:
            symbol = int(sample_categorical(model(np.array([window]))[0], 1.0, rng))
            if symbol == 0:
                break
            name += TOKENS.symbols[symbol]
            window = [*window[1:], symbol]
        found.append(name)
    return found


def main(argv=None):
    """The command; the exit status."""
    parser = argparse.ArgumentParser(description="Models of first names.")
    parser.add_argument("--steps", type=int, default=6000, help="of the MLP (default 6000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--record", action="store_true", help="write golden/records/t18.json")
    given = parser.parse_args(argv)
    if given.steps < 1:
        print(f"steps = {given.steps}; expected at least 1", file=sys.stderr)
        return 1
    start, (train, held, V) = time.perf_counter(), names_data()
    counts, logits = train_bigram(train, V)
    smooth = np.log(counts + 1.0)
    values = {"by_counts": bigram_loss(smooth, held, V), "by_descent": bigram_loss(logits, held, V)}
    run = train_mlp(train, held, V, steps=given.steps, seed=given.seed, progress=True)
    values |= {"mlp": run["held"], "names": names_of(run["model"], 3, 12, np.random.default_rng(given.seed))}
    print(f"nats a letter on names held out: bigram by counts {values['by_counts']:.4f}, by gradient descent "
          f"{values['by_descent']:.4f}, MLP {values['mlp']:.4f}\n" + " ".join(values["names"]))
    if given.record:
        store_run(18, "train_names", values=values, curves={"loss": run["loss"]}, seconds=time.perf_counter() - start)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
