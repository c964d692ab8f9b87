# Tangled from chapters/21-bidirectional-masking.qmd; edit the chapter, then run make tangle. sha256:f0548ec8d500fa32
"""Batches of unequal lengths by PyTorch. NumPy in, NumPy out."""

import numpy as np
import torch
import torch.nn.functional as F
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence, pad_sequence

import tangled.t21_bidirectional_masking.checks as check
from tangled.testing import Case


def _leaf(array):
    """A tensor that wants a gradient."""
    return torch.from_numpy(np.array(array, check.working(array.dtype))).requires_grad_()


def _gradients(outs, douts, leaves, dtype):
    """Gradients of the leaves; zeros where one does not matter."""
    douts = [torch.from_numpy(np.array(d)).to(o.dtype) for o, d in zip(outs, douts)]
    grads = torch.autograd.grad(outs, leaves, douts, retain_graph=True, allow_unused=True)
    return tuple(np.zeros(leaf.shape, dtype) if g is None else g.numpy().astype(dtype)
                 for leaf, g in zip(leaves, grads))


def lengths_to_mask(lengths, T=None):
    """lengths (B,) to a mask (B, T)."""
    lengths = check.lengths(lengths)
    T = check.width(T, lengths.max(initial=0))
    return (torch.arange(T) < torch.from_numpy(lengths)[:, None]).numpy()


def pad(sequences, value=0, T=None):
    """A list of arrays (l, ...) to x (B, T, ...) and lengths (B,)."""
    arrays = check.sequences(sequences)
    lengths = np.array([len(a) for a in arrays])
    T = check.width(T, lengths.max())
    x = pad_sequence([torch.from_numpy(np.array(a)) for a in arrays], batch_first=True, padding_value=value)
    more = torch.full((len(arrays), T - x.shape[1], *x.shape[2:]), value, dtype=x.dtype)
    return torch.cat([x, more], 1).numpy(), lengths


def unpad(x, lengths):
    """x (B, T, ...) to a list of arrays (l, ...)."""
    x = check.batch("x", x)
    lengths = check.lengths(lengths, *x.shape[:2])
    return [row[:n].numpy().copy() for row, n in zip(torch.from_numpy(np.array(x)), lengths)]


def reverse_sequences(x, lengths):
    """x (B, T, ...), lengths (B,): the same shape."""
    x = check.batch("x", x)
    lengths, x = check.lengths(lengths, *x.shape[:2]), torch.from_numpy(np.array(x))
    rows = [torch.cat([row[:n].flip(0), row[n:]]) for row, n in zip(x, lengths)]
    return torch.stack(rows).numpy() if rows else x.numpy()


def pack(x, lengths):
    """x (B, T, ...), lengths (B,): data (N, ...), sizes (longest,), order (B,)."""
    x = check.batch("x", x)
    lengths = check.lengths(lengths, *x.shape[:2])
    order = torch.sort(torch.from_numpy(lengths), descending=True, stable=True).indices
    x, kept = torch.from_numpy(np.array(x)), int((lengths > 0).sum())
    if not kept:
        return np.empty((0, *x.shape[2:]), x.numpy().dtype), np.zeros(0, np.int64), order.numpy()
    packed = pack_padded_sequence(x[order[:kept]], torch.from_numpy(lengths)[order[:kept]], batch_first=True)
    return packed.data.numpy(), packed.batch_sizes.numpy(), order.numpy()


def unpack(data, sizes, order, T=None):
    """The reverse: x (B, T, ...)."""
    data, sizes, order = check.packed(data, sizes, order)
    x = torch.zeros((len(order), check.width(T, len(sizes)), *data.shape[1:]), dtype=torch.from_numpy(data).dtype)
    if len(sizes):
        packed = PackedSequence(torch.from_numpy(np.array(data)), torch.from_numpy(sizes))
        rows, _ = pad_packed_sequence(packed, batch_first=True)
        x[torch.from_numpy(order[:len(rows)]), :rows.shape[1]] = rows
    return x.numpy()


def last_outputs(out, lengths):
    """out (B, T, H), lengths (B,): (B, H), and a cache."""
    out = check.floats("out", out, ("B", "T", "H"))
    leaf, lengths = _leaf(out), check.lengths(lengths, *out.shape[:2])
    rows = [leaf[b, n - 1] if n else leaf.new_zeros(out.shape[2]) for b, n in enumerate(lengths)]
    last = torch.stack([*rows, leaf.sum() * 0 + leaf.new_zeros(out.shape[2])])[:-1]
    return last.detach().numpy().astype(out.dtype), (last, leaf, out.dtype)


def last_outputs_backward(dlast, cache):
    """dlast (B, H): dout (B, T, H)."""
    last, leaf, dtype = cache
    return _gradients([last], [check.gradient("dlast", dlast, tuple(last.shape), dtype)], [leaf], dtype)[0]


def masked_mean(x, mask):
    """x (B, T, D), mask (B, T): (B, D), and a cache."""
    x = check.floats("x", x, ("B", "T", "D"))
    real, leaf = torch.from_numpy(check.mask(mask, x.shape[:2]).copy())[..., None], _leaf(x)
    mean = torch.where(real, leaf, 0).sum(1) / real.sum(1).clamp(min=1)
    return mean.detach().numpy().astype(x.dtype), (mean, leaf, x.dtype)


def masked_mean_backward(dmean, cache):
    """dmean (B, D): dx (B, T, D)."""
    mean, leaf, dtype = cache
    return _gradients([mean], [check.gradient("dmean", dmean, tuple(mean.shape), dtype)], [leaf], dtype)[0]


def masked_cross_entropy(logits, targets, mask):
    """logits (B, T, V), targets (B, T), mask (B, T): a number, and a cache."""
    logits = check.floats("logits", logits, ("B", "T", "V"))
    mask = check.mask(mask, logits.shape[:2])
    wanted = np.where(mask, check.targets(targets, mask, logits.shape[2]), -100)
    leaf = _leaf(logits)
    real = torch.where(torch.from_numpy(mask.copy())[..., None], leaf, 0)   # else a NaN there has a gradient of NaN
    total = F.cross_entropy(real.reshape(-1, logits.shape[2]), torch.from_numpy(wanted.flatten()),
                            ignore_index=-100, reduction="sum")
    loss = total / max(int(mask.sum()), 1)
    return logits.dtype.type(loss.item()), (loss, leaf, logits.dtype)


def masked_cross_entropy_backward(dloss, cache):
    """dloss, a number: dlogits (B, T, V)."""
    loss, leaf, dtype = cache
    return _gradients([loss], [np.asarray(check.dloss(dloss))], [leaf], dtype)[0]


def masked_rnn(x, lengths, h0, w_ih, w_hh, b_ih=None, b_hh=None, nonlinearity="tanh"):
    """As level 2, x (B, T, D), by torch's packed call."""
    arrays = check.weights(x, ("B", "T", "D"), h0, w_ih, w_hh, b_ih, b_hh, nonlinearity)
    lengths, dtype = check.lengths(lengths, *arrays[0].shape[:2]), arrays[0].dtype
    leaves = [None if a is None else _leaf(a) for a in arrays]
    x, h0, w_ih, w_hh, b_ih, b_hh = leaves
    kept = torch.from_numpy(np.argsort(-lengths, kind="stable")[:(lengths > 0).sum()])
    out, h_T = x.new_zeros((*x.shape[:2], h0.shape[1])), h0 * 1
    if len(kept):
        steps = pack_padded_sequence(x[kept], torch.from_numpy(lengths)[kept], batch_first=True)
        run = torch.rnn_tanh if nonlinearity == "tanh" else torch.rnn_relu
        zero = torch.zeros(w_hh.shape[0], dtype=w_hh.dtype)
        biases = [zero if b is None else b for b in (b_ih, b_hh)]
        data, end = run(steps.data, steps.batch_sizes, h0[kept][None], [w_ih.T, w_hh.T, *biases], True, 1, 0.0,
                        False, False)
        rows, _ = pad_packed_sequence(PackedSequence(data, steps.batch_sizes), batch_first=True)
        out, h_T = out.clone(), h_T.clone()
        out[kept, :rows.shape[1]] = rows
        h_T[kept] = end[0]
    results = tuple(r.detach().numpy().astype(dtype) for r in (out, h_T))
    out = out if out.requires_grad else out + h0.sum() * 0
    return results, (out, h_T, lengths, [a for a in leaves if a is not None], dtype)


def masked_rnn_backward(dout, dh_T, cache):
    """dout (B, T, H), dh_T (B, H) or None: dx (B, T, D), dh0 (B, H), and of the weights given."""
    out, h_T, lengths, leaves, dtype = cache
    dout = check.gradient("dout", dout, tuple(out.shape), dtype)
    dout = np.where(lengths_to_mask(lengths, out.shape[1])[..., None], dout, 0)
    dh_T = (np.zeros(tuple(h_T.shape), dtype) if dh_T is None
            else check.gradient("dh_T", dh_T, tuple(h_T.shape), dtype))
    return _gradients([out, h_T], [dout, dh_T], leaves, dtype)


def golden_cases(rng):
    """Lengths with 0, 1, ties and the whole width; every dimension of its own size."""
    B, T, D, H, V = 5, 6, 3, 4, 7
    lengths = np.array([3, 6, 0, 1, 3])
    mask, shapes = lengths_to_mask(lengths, T), {"w_ih": (D, H), "w_hh": (H, H), "b_ih": (H,), "b_hh": (H,)}
    weights = {name: 0.7 * rng.standard_normal(shape) for name, shape in shapes.items()}
    for kind in ("tanh", "relu"):
        inputs = {"x": rng.standard_normal((B, T, D)), "lengths": lengths, "h0": rng.standard_normal((B, H)), **weights,
                  "nonlinearity": kind}
        (out, h_T), cache = masked_rnn(**inputs)
        dout, dh_T = rng.standard_normal(out.shape), rng.standard_normal(h_T.shape)
        grads = dict(zip(("x", "h0", *shapes), masked_rnn_backward(dout, dh_T, cache)))
        yield Case(f"rnn-{kind}", inputs, {"out": out, "h_T": h_T}, {"out": dout, "h_T": dh_T}, grads)
    x = rng.standard_normal((B, T, D))
    data, sizes, order = pack(x, lengths)
    yield Case("pack", {"x": x, "lengths": lengths}, {"data": data, "sizes": sizes, "order": order,
                                                      "reversed": reverse_sequences(x, lengths)}, {}, {})
    holes = rng.random((B, T)) < 0.5
    holes[1] = False
    for name, run, back, inputs in (
            ("mean", masked_mean, masked_mean_backward, {"x": x, "mask": holes}),
            ("last", last_outputs, last_outputs_backward, {"out": x, "lengths": lengths}),
            ("loss", masked_cross_entropy, masked_cross_entropy_backward,
             {"logits": 2 * rng.standard_normal((B, T, V)), "targets": rng.integers(0, V, (B, T)), "mask": mask})):
        out, cache = run(**inputs)
        dout = rng.standard_normal(np.shape(out))
        first = next(iter(inputs))
        yield Case(name, inputs, {"result": np.asarray(out)}, {"result": dout}, {first: back(dout, cache)})
