# Tangled from chapters/30-mini-gpt.qmd; edit the chapter, then run make tangle. sha256:75dcc93726c269a6
"""Chapter 30: how the mini-GPT is trained, by our code and by PyTorch, in one loop."""

import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tangled.t03_optimizers import clip_by_global_norm, cosine_decay
from tangled.t03_optimizers.level3_memory_efficient import AdamW
from tangled.t06_backpropagation import Progress
from tangled.t10_mnist import load_checkpoint, save_checkpoint
from tangled.t18_rnn.tokens import CharTokenizer
from tangled.t30_mini_gpt.bpe import BytePairEncoding
from tangled.t30_mini_gpt.level2_vectorized import GPT, Groups, evaluate, generate
from tangled.t30_mini_gpt.level3_memory_efficient import FlatGPT

SETTINGS = {"width": 128, "heads": 4, "layers": 4, "context": 64, "batch": 16, "accumulate": 1, "lr": 3e-3,
            "warmup": 100, "weight_decay": 0.1, "clip": 1.0, "merges": 0, "seed": 0, "threads": 2}
BETAS, FINAL, CURVE = (0.9, 0.99), 0.02, 1 << 14                # share of lr at the end; symbols of the curve
EARLY = 50, 500                                                 # steps after which a sample is taken


def prepare(text, merges):
    """The tokenizer, and ids of the first nine tenths and of the last tenth of a text."""
    cut = len(text) * 9 // 10
    tokens = BytePairEncoding.train(text[:cut], merges) if merges else CharTokenizer(text)
    return tokens, tokens.encode(text[:cut]), tokens.encode(text[cut:])


def first_state(vocab_size, settings):
    """The weights that both begin with."""
    sizes = (settings[name] for name in ("context", "width", "heads", "layers"))
    return GPT(vocab_size, *sizes, rng=np.random.default_rng(settings["seed"])).state_dict()


class Numpy:
    """Our model with its optimiser."""

    def __init__(self, state, settings):
        self.model, self.clip = FlatGPT(state, settings["heads"], settings["threads"]), settings["clip"]
        self.context = self.model.context
        of = lambda parameter, decay: AdamW([parameter], settings["lr"], BETAS, weight_decay=decay)
        matrices, vectors = self.model.parameters
        self.optimizer = Groups(of(matrices, settings["weight_decay"]), of(vectors, 0.0))
        self.optimizer.zero_grad()

    def __call__(self, ids):
        """ids (B, T) to logits (B, T, V)."""
        return self.model(ids)

    def update(self, batches, lr):
        """One step on the mean over batches (x, y): the loss before it."""
        self.optimizer.zero_grad()
        loss = 0.0
        for x, y in batches:
            loss += self.model.loss_and_gradients(x, y, 1 / len(batches)) / len(batches)       # eq. 30.7
        clip_by_global_norm(self.model.parameters, self.clip)
        self.optimizer.lr = lr
        self.optimizer.step()
        return loss

    def parts(self):
        """What a checkpoint holds."""
        return {"model": self.model, "optimizer": self.optimizer}


@dataclass
class Run:
    """A trained model, its tokens, curves by step, seconds of training, samples from on the way."""

    runner: object
    tokens: object
    held: np.ndarray
    steps: int
    seconds: float
    curves: dict = field(default_factory=dict)
    samples: dict = field(default_factory=dict)


def draw_batches(ids, settings, rng):
    """`accumulate` pairs (x, y) of shape (batch, context), at random places; y is x one symbol later."""
    T, size = settings["context"], (settings["batch"], 1)
    starts = [rng.integers(0, len(ids) - T, size) for _ in range(settings["accumulate"])]
    return [(ids[a + np.arange(T)], ids[a + np.arange(1, T + 1)]) for a in starts]


def sample(model, tokens, count, seed=1, **options):
    """`count` symbols behind a line break, or behind the first symbol where there is none, as text."""
    known = getattr(tokens, "symbols", "\n")
    start = tokens.encode("\n" if "\n" in known else known[0])
    found = generate(model, start, count, rng=np.random.default_rng(seed), **options)
    return tokens.decode(found[1:])


def train(text, settings, steps=None, minutes=None, make=Numpy, path=None, stop=None, every=None, progress=False):
    """Train on nine tenths of a text, watch the last tenth; goes on where the file `path` ends: Run.

    `minutes` of training, evaluations not counted, become a number of steps when the warm-up is over, and again
    at each evaluation. `stop` ends the run at a step, as an interruption would.
    """
    tokens, ids, held = prepare(text, settings["merges"])
    for what, part in (("hold out", held), ("train on", ids)):
        if len(part) < settings["context"] + 2:
            raise ValueError(f"text has {len(part)} symbols to {what}; expected at least {settings['context'] + 2}")
    runner, rng = make(first_state(tokens.vocab_size, settings), settings), np.random.default_rng(settings["seed"])
    record = {"done": 0, "steps": steps, "seconds": 0.0, "curves": {"step": [], "loss": [], "held": []}, "samples": {}}
    if path is not None and Path(path).exists():
        checkpoint = load_checkpoint(path)
        checkpoint.restore(runner.parts(), {"rng": rng})
        record = checkpoint.record
    bar, recent, pace = Progress(record["steps"] or 1, progress), [], []
    bar.done, warmup = record["done"], settings["warmup"]
    while record["steps"] is None or record["done"] < record["steps"]:
        begun, batches, done = time.perf_counter(), draw_batches(ids, settings, rng), record["done"]
        ahead = record["steps"] or 10 * warmup                          # while warming up, it does not matter
        rate = cosine_decay(done, settings["lr"], max(ahead, warmup + 1), warmup, FINAL * settings["lr"])
        recent.append(runner.update(batches, rate))
        if not np.isfinite(recent[-1]):
            raise FloatingPointError(f"the loss is {recent[-1]} after {done + 1} steps; expected a number")
        pace.append(time.perf_counter() - begun)
        record["seconds"] += pace[-1]
        record["done"] = done = done + 1
        gap = every or (record["steps"] or 10 * warmup) // 40 + 1
        fixed = steps is not None or (record["steps"] is not None and (done % gap or done == record["steps"]))
        if done >= warmup and not fixed:
            left = 60 * minutes - record["seconds"]             # at the pace of late
            record["steps"] = done + max(1, round(left / np.mean(pace[-200:])))
        bar.total = record["steps"] or bar.total + 1
        bar.advance(f"loss {recent[-1]:.3f}")
        if done in EARLY:
            record["samples"][str(done)] = sample(runner, tokens, 160)
        if done % gap == 0 or done == record["steps"]:
            loss, recent = float(np.mean(recent)), []
            for key, value in zip(("step", "loss", "held"), (done, loss, evaluate(runner, held[:CURVE]))):
                record["curves"][key].append(value)
            if path is not None:
                save_checkpoint(path, runner.parts(), {"rng": rng}, **record)
        if done == stop:
            break
    bar.close()
    return Run(runner, tokens, held, record["steps"], record["seconds"], record["curves"], record["samples"])
