# Tangled from chapters/18-rnn.qmd; edit the chapter, then run make tangle. sha256:dcd9bd847356eeaf
"""Chapter 18: the models trained, and what is measured on them."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tangled.data import load_first_names
from tangled.t03_optimizers import Adam, CosineDecay, clip_by_global_norm
from tangled.t06_backpropagation import CrossEntropyLoss, Progress
from tangled.t10_mnist import load_checkpoint, save_checkpoint
from tangled.t18_rnn.level2_vectorized import bigram_counts, rnn, rnn_backward, sample_categorical
from tangled.t18_rnn.models import MLP, CharRNN, mlp_windows, streams
from tangled.t18_rnn.tokens import CharTokenizer


def names_data(seed=0):
    """First names as one text ".anna.ben.": ids (n,) to train on (90 %), ids held out, 27."""
    names = load_first_names()
    order = np.random.default_rng(seed).permutation(len(names))
    tokens, cut = CharTokenizer(".abcdefghijklmnopqrstuvwxyz"), len(names) * 9 // 10
    parts = [tokens.encode("." + "".join(names[k] + "." for k in rows)) for rows in (order[:cut], order[cut:])]
    return *parts, tokens.vocab_size


def train_bigram(ids, V, steps=4000, lr=60.0):
    """Counts (V, V), and logits (V, V) found by gradient descent on the same pairs."""
    counts = bigram_counts(ids, V)
    n, logits = counts.sum(), np.zeros((V, V))
    for _ in range(steps):
        p = np.exp(logits - logits.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        logits -= lr * (p * counts.sum(axis=1, keepdims=True) - counts) / n         # eq. 18.3
    return counts, logits


def train_mlp(train, held, V, steps=6000, context=3, embedding=12, hidden=128, batch=256, lr=3e-3, seed=0,
              progress=False):
    """Losses of the MLP: {"loss": training by 1 % of the steps, "held": at the end}."""
    rng = np.random.default_rng(seed)
    model, loss = MLP(V, context, embedding, hidden, rng), CrossEntropyLoss()
    optimizer = Adam(model.parameters(), lr)
    schedule, (x, y) = CosineDecay(optimizer, steps, warmup=steps // 20), mlp_windows(train, context, 0)
    bar, losses = Progress(steps, progress), []
    for _ in range(steps):
        rows = rng.integers(0, len(x), batch)
        losses.append(loss(model(x[rows]), y[rows]))
        optimizer.zero_grad()
        model.backward(loss.backward())
        optimizer.step()
        schedule.step()
        bar.advance(f"loss {losses[-1]:.3f}")
    bar.close()
    contexts, targets = mlp_windows(held, context, 0)
    means = np.array(losses)[:steps // 50 * 50].reshape(-1, steps // 50).mean(1) if steps >= 50 else np.array(losses)
    return {"loss": means.tolist(), "held": loss(model(contexts), targets), "model": model}


@dataclass
class Plays:
    """A trained recurrent model, its tokens, and curves by step."""

    model: CharRNN
    tokens: CharTokenizer
    curves: dict = field(default_factory=dict)


def held_out_loss(model, ids, window=128, batch=16):
    """Mean loss in nats over a text, the state carried along 16 streams; fewer and shorter ones for a short text."""
    if len(ids) < 2:
        raise ValueError(f"ids has {len(ids)} symbols; expected at least 2")
    batch = min(batch, max(1, (len(ids) - 1) // window))
    window = min(window, (len(ids) - 1) // batch)
    loss, state, total, seen = CrossEntropyLoss(), None, 0.0, 0
    for x, y in streams(ids, batch, window):
        total += loss(model(x, state), y) * y.size
        state, seen = model.state, seen + y.size
    return total / seen


def generate(model, tokens, start, count, temperature, rng):
    """`count` symbols after a text `start`, one at a time, the state carried."""
    logits = model(tokens.encode(start)[None])
    found = []
    for _ in range(count):
        symbol = sample_categorical(logits[0, -1], temperature, rng)
        found.append(int(symbol))
        logits = model(np.array([[symbol]]), model.state)
    return tokens.decode(found)


def train_plays(text, steps=3000, hidden=256, embedding=64, batch=32, window=64, lr=2e-3, clip=1.0, seed=0,
                every=250, path=None, stop=None, progress=False):
    """Train on the first nine tenths of a text, judge by the last; goes on where the file `path` ends: Plays.

    `stop` ends the run at a step, as an interruption would; the checkpoint is then that of the last `every`.
    """
    tokens, rng = CharTokenizer(text), np.random.default_rng(seed)
    ids, cut = tokens.encode(text), len(text) * 9 // 10
    model, loss = CharRNN(tokens.vocab_size, embedding, hidden, rng), CrossEntropyLoss()
    optimizer = Adam(model.parameters(), lr)
    schedule = CosineDecay(optimizer, steps, warmup=steps // 20)
    carried = Carried()
    parts = {"model": model, "optimizer": optimizer, "schedule": schedule, "carried": carried}
    curves, done = {"step": [], "loss": [], "held": []}, 0
    if path is not None and Path(path).exists():
        checkpoint = load_checkpoint(path)
        checkpoint.restore(parts)
        done, curves = checkpoint.record["done"], checkpoint.record["curves"]
    bar, recent, batches = Progress(steps - done, progress), [], list(streams(ids[:cut], batch, window))
    if not batches:
        raise ValueError(f"text has {cut} symbols to train on; expected at least {batch * window + 1}")
    for step in range(done, steps if stop is None else min(stop, steps)):
        x, y = batches[step % len(batches)]
        logits = model(x, None if step % len(batches) == 0 else carried.state)
        carried.state = model.state                             # the state goes on, its gradient does not
        recent.append(loss(logits, y))
        optimizer.zero_grad()
        model.backward(loss.backward())
        clip_by_global_norm(model.parameters(), clip)           # all gradients together, before the step
        optimizer.step()
        schedule.step()
        bar.advance(f"loss {recent[-1]:.3f}")
        if (step + 1) % every == 0 or step + 1 == steps:
            for key, value in zip(curves, (step + 1, float(np.mean(recent)), held_out_loss(model, ids[cut:]))):
                curves[key].append(value)
            recent = []
            if path is not None:
                save_checkpoint(path, parts, done=step + 1, curves=curves)
    bar.close()
    return Plays(model, tokens, curves)


class Carried:
    """The state (L, B, H) between two windows, as a part of a checkpoint."""

    state = None

    def state_dict(self):
        """{"state": the array, of no entries where there is none}."""
        return {"state": np.zeros(0) if self.state is None else self.state}

    def load_state_dict(self, entries):
        """Take back what `state_dict` gave."""
        self.state = entries["state"] if entries["state"].size else None


def lag_norms(scale, T=40, H=64, B=16, nonlinearity="tanh", seed=0):
    """Norms (T + 1,) of the gradient of h_T with respect to h_{T-k}, relative to k = 0.

    `scale` is the largest singular value of a random w_hh; inputs are standard normal.
    """
    rng = np.random.default_rng(seed)
    w_hh = rng.standard_normal((H, H))
    w_hh *= scale / np.linalg.norm(w_hh, 2)
    x, w_ih = rng.standard_normal((B, T, 8)), rng.standard_normal((8, H)) / np.sqrt(8) * 0.5
    state, caches = np.zeros((B, H)), []
    for t in range(T):
        (_, state), cache = rnn(x[:, t:t + 1], state, w_ih, w_hh, nonlinearity=nonlinearity)
        caches.append(cache)
    ds = rng.standard_normal((B, H))
    norms = [np.linalg.norm(ds)]
    for cache in reversed(caches):
        ds = rnn_backward(np.zeros((B, 1, H)), ds, cache)[1]
        norms.append(np.linalg.norm(ds))
    return np.array(norms) / norms[0]
