# Tangled from chapters/22-word2vec.qmd; edit the chapter, then run make tangle. sha256:d474b282458a81c7
"""Word vectors by PyTorch, with dense gradients. NumPy in, NumPy out."""

import numpy as np
import torch
import torch.nn.functional as F

import tangled.t22_word2vec.checks as check
from tangled.testing import Case


def _leaf(array):
    """A tensor that wants a gradient."""
    return torch.from_numpy(np.array(array, check.working(array.dtype))).requires_grad_()


def _loss(h, target, negatives, w_out):
    """The mean loss of tensors h (B, D), w_out (V, D)."""
    target, negatives = torch.from_numpy(target), torch.from_numpy(negatives)
    positive = (h * F.embedding(target, w_out)).sum(-1)         # (B,)
    scores = torch.bmm(F.embedding(negatives, w_out), h[:, :, None])[:, :, 0]
    counted = negatives != target[:, None]
    return -(F.logsigmoid(positive).sum() + F.logsigmoid(-scores)[counted].sum()) / max(len(h), 1)


def _rows(leaf, grad, *ids):
    """The rows of a dense gradient that were read: ids (n,), rows (n, D)."""
    found = np.unique(np.concatenate([i.reshape(-1) for i in ids]))
    return found, grad.numpy()[found]


def sum_rows(ids, rows):
    """As level 2, ids (n,), rows (n, D), by a sparse tensor."""
    ids, rows = check.sparse(ids, rows)
    shape = (int(ids.max(initial=0)) + 1, rows.shape[1])
    wide = torch.from_numpy(np.array(rows, check.working(rows.dtype)))
    joined = torch.sparse_coo_tensor(torch.from_numpy(ids)[None], wide, shape, check_invariants=True).coalesce()
    return joined.indices()[0].numpy(), joined.values().numpy().astype(rows.dtype)


def negative_sampling(h, target, negatives, w_out):
    """As level 2, h (B, D), target (B,), negatives (B, K), w_out (V, D)."""
    h, target, negatives, w_out = check.sampled(h, target, negatives, w_out)
    leaves = _leaf(h), _leaf(w_out)
    loss = _loss(leaves[0], target, negatives, leaves[1])
    dh, dw = torch.autograd.grad(loss, leaves)
    found, rows = _rows(leaves[1], dw, target, negatives)
    return float(loss.detach()), dh.numpy().astype(h.dtype), (found, rows.astype(h.dtype))


def skip_gram_step(centre, context, negatives, w_in, w_out):
    """As level 2, centre (B,), context (B,), negatives (B, K), tables (V, D)."""
    w_in, w_out = check.tables(w_in, w_out)
    centre = check.ids("centre", centre, ("B",), len(w_in))
    _, context, negatives, _ = check.sampled(w_in[centre], context, negatives, w_out, "context")
    leaves = _leaf(w_in), _leaf(w_out)
    loss = _loss(F.embedding(torch.from_numpy(centre), leaves[0]), context, negatives, leaves[1])
    d_in, d_out = torch.autograd.grad(loss, leaves)
    grads = _rows(leaves[0], d_in, centre), _rows(leaves[1], d_out, context, negatives)
    return float(loss.detach()), *((ids, rows.astype(w_in.dtype)) for ids, rows in grads)


def cbow_step(context, mask, centre, negatives, w_in, w_out):
    """As level 2, context (B, C), mask (B, C), centre (B,), negatives (B, K), tables (V, D)."""
    w_in, w_out = check.tables(w_in, w_out)
    context, mask = check.bag(context, mask, len(w_in))
    rows = np.zeros((len(context), w_in.shape[1]), w_in.dtype)
    _, centre, negatives, _ = check.sampled(rows, centre, negatives, w_out, "centre")
    leaves = _leaf(w_in), _leaf(w_out)
    kept = torch.from_numpy(mask)[:, :, None]
    rows = F.embedding(torch.from_numpy(context), leaves[0]).masked_fill(~kept, 0)
    loss = _loss(rows.sum(1) / kept.sum(1).clamp(min=1), centre, negatives, leaves[1])
    d_in, d_out = torch.autograd.grad(loss, leaves)
    grads = _rows(leaves[0], d_in, context[mask]), _rows(leaves[1], d_out, centre, negatives)
    return float(loss.detach()), *((ids, rows.astype(w_in.dtype)) for ids, rows in grads)


def info_nce(queries, keys, temperature=1.0):
    """As level 2, queries (N, D), keys (M, D)."""
    queries, keys = check.pairs(queries, keys)
    leaves = _leaf(queries), _leaf(keys)
    logits = leaves[0] @ leaves[1].T / check.positive("temperature", temperature)
    loss = F.cross_entropy(logits, torch.arange(len(queries)))
    return queries.dtype.type(loss.detach().numpy()), (loss, leaves, queries.dtype)


def info_nce_backward(dloss, cache):
    """As level 2, dloss a number."""
    loss, leaves, dtype = cache
    grads = torch.autograd.grad(loss, leaves, torch.tensor(float(dloss), dtype=loss.dtype), retain_graph=True)
    return tuple(grad.numpy().astype(dtype) for grad in grads)


def golden_cases(rng):
    """Inputs from `rng`; outputs and gradients in float64. All sizes differ; ids repeat."""
    B, K, V, D = 6, 3, 8, 4
    tables = {name: rng.standard_normal((V, D)) for name in ("w_in", "w_out")}
    words = {"context": np.array([1, 5, 1, 0, 5, 7]), "negatives": rng.integers(0, V, (B, K))}
    words["negatives"][0] = [1, 2, 2]                           # one equals the positive, two are equal
    inputs = {"centre": np.array([3, 0, 3, 3, 6, 1]), **words, **tables}
    names = ("loss", "ids_in", "rows_in", "ids_out", "rows_out")
    loss, d_in, d_out = skip_gram_step(**inputs)
    yield Case("skip-gram", inputs, dict(zip(names, (np.asarray(loss), *d_in, *d_out))))
    h = rng.standard_normal((B, D))
    inputs = {"h": h, "target": words["context"], "negatives": words["negatives"], "w_out": tables["w_out"]}
    loss, dh, d_out = negative_sampling(**inputs)
    yield Case("sampling", inputs, {"loss": np.asarray(loss), "dh": dh, "ids_out": d_out[0], "rows_out": d_out[1]})
    context, mask = rng.integers(0, V, (B, 5)), rng.random((B, 5)) < 0.6
    mask[0], mask[1] = True, False
    inputs = {"context": context, "mask": mask, "centre": words["context"], "negatives": words["negatives"], **tables}
    loss, d_in, d_out = cbow_step(**inputs)
    yield Case("cbow", inputs, dict(zip(names, (np.asarray(loss), *d_in, *d_out))))
    inputs = {"queries": rng.standard_normal((3, D)), "keys": rng.standard_normal((5, D)), "temperature": 0.4}
    loss, cache = info_nce(**inputs)
    yield Case("info-nce", inputs, {"loss": loss}, {"loss": np.asarray(1.7)},
               dict(zip(("queries", "keys"), info_nce_backward(1.7, cache))))
