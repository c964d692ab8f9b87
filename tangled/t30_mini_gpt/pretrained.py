# Tangled from chapters/30-mini-gpt.qmd; edit the chapter, then run make tangle. sha256:a97bf44b12fd69b7
"""Chapter 30: the trained network that ships with the book."""

import numpy as np

from tangled.records import record
from tangled.t18_rnn.tokens import CharTokenizer
from tangled.t30_mini_gpt.level2_vectorized import GPT


def load_pretrained():
    """The mini-GPT of the record, and its tokenizer.

    Returns
    -------
    model : GPT in float32, in evaluation, whose ids have the shape (B, T), T at most its context
    tokens : CharTokenizer with `encode` and `decode`
    """
    run = record(30).run("train_gpt")
    arrays = dict(run.arrays("network"))
    tokens = CharTokenizer("".join(map(chr, arrays.pop("symbols").tolist())))
    state = {name: a.astype(np.float32) for name, a in arrays.items()}
    return GPT.from_state(state, int(run.values["settings"]["heads"])).eval(), tokens
