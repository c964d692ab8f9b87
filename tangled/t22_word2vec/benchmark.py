# Tangled from chapters/22-word2vec.qmd; edit the chapter, then run make tangle. sha256:9729153e44c799d2
"""Chapter 22: what the levels cost, and what the vocabulary does not."""

import numpy as np

from tangled.measuring import Ladder, torch_available
from tangled.t22_word2vec import level1_naive, level2_vectorized, level3_memory_efficient

LEVELS = {"level 1": level1_naive, "level 2": level2_vectorized, "level 3": level3_memory_efficient}
TINY, STEP = "16 pairs, 2 negatives, 8 numbers", "512 pairs, 5 negatives, 64 numbers"
GROWTH = "the same by the size of the tables"
TASKS = {TINY: (16, 2, 8, 1_000), STEP: (512, 5, 64, 6_000)}
SIZES, RATE = (1_000, 10_000, 100_000), 1e-6


def zipf(draw, shape, V):
    """Ids of V words whose counts fall as 1 / rank, to the power 3/4."""
    weights = np.arange(1, V + 1) ** -0.75
    return draw.choice(V, shape, p=weights / weights.sum())


def _step(level, ids, tables):
    """Loss, gradients, and the update."""
    def call():
        loss, *grads = level.skip_gram_step(*ids, *tables)
        for table, grad in zip(tables, grads):
            level.update_rows(table, grad, RATE)
        return loss
    return call


def _torch(ids, tables):
    """PyTorch as its users write it: embeddings with sparse gradients, SGD."""
    import torch
    import torch.nn.functional as F
    nets = [torch.nn.Embedding.from_pretrained(torch.from_numpy(t.copy()), freeze=False, sparse=True) for t in tables]
    optimizer = torch.optim.SGD([net.weight for net in nets], RATE)
    centre, context, negatives = (torch.from_numpy(i) for i in ids)

    def call():
        h = nets[0](centre)
        scores = torch.bmm(nets[1](negatives), h[:, :, None])[:, :, 0]
        others = F.logsigmoid(-scores) * (negatives != context[:, None])
        loss = -(F.logsigmoid((h * nets[1](context)).sum(1)).sum() + others.sum()) / len(h)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss
    return call


def _best_torch(ids, tables):
    """Gradients by hand, added to the tables by index_add_."""
    import torch
    w_in, w_out = (torch.from_numpy(t.copy()) for t in tables)
    centre, context, negatives = (torch.from_numpy(i) for i in ids)
    words = torch.cat([context[:, None], negatives], 1)
    counted = (words != context[:, None]).float()
    counted[:, 0] = 1
    first = torch.zeros(words.shape)
    first[:, 0] = 1

    @torch.no_grad()
    def call():
        h, rows = w_in[centre], w_out[words]
        scores = torch.bmm(rows, h[:, :, None])[:, :, 0]
        loss = (torch.nn.functional.softplus(scores) - first * scores).mul_(counted).sum() / len(h)
        g = (torch.sigmoid(scores) - first).mul_(counted).div_(len(h))
        dh = torch.bmm(g[:, None], rows)[:, 0]
        w_out.index_add_(0, words.view(-1), (g[:, :, None] * h[:, None]).view(-1, h.shape[1]), alpha=-RATE)
        w_in.index_add_(0, centre, dh, alpha=-RATE)
        return loss
    return call


def _dense(ids, tables):
    """The gradient as a table, and all of it subtracted."""
    def call():
        loss, *grads = level3_memory_efficient.skip_gram_step(*ids, *tables)
        for table, (found, rows) in zip(tables, grads):
            whole = np.zeros_like(table)
            whole[found] = rows
            table -= np.float32(RATE) * whole
        return loss
    return call


def ladders():
    """Steps with their updates."""
    draw = np.random.default_rng(0)
    normal = lambda V, D: draw.standard_normal((V, D), dtype=np.float32) * np.float32(0.1)
    for name, (B, K, D, V) in TASKS.items():
        ids, tables = [zipf(draw, shape, V) for shape in (B, B, (B, K))], [normal(V, D), normal(V, D)]
        calls = {k: _step(m, ids, [t.copy() for t in tables]) for k, m in LEVELS.items()
                 if k != "level 1" or name == TINY}
        if torch_available():
            calls |= {"level 4": _torch(ids, tables), "best PyTorch": _best_torch(ids, tables)}
        yield Ladder(name, calls, note="float32, with the update")
    B, K, D, _ = TASKS[STEP]
    ids, calls = [zipf(draw, shape, 1_000) for shape in (B, B, (B, K))], {}
    for V in SIZES:
        places = draw.permutation(V)[:1_000]                    # the same words, spread over V rows
        spread, tables = [places[part] for part in ids], [normal(V, D), normal(V, D)]
        calls[f"sparse, V {V:,}"] = _step(level3_memory_efficient, spread, tables)
        calls[f"dense, V {V:,}"] = _dense(spread, tables)
    yield Ladder(GROWTH, calls, note="float32, level 3")
