# Tangled from chapters/24-bahdanau-attention.qmd; edit the chapter, then run make tangle. sha256:16b9fabc80bc2b98
"""Attention over a source by PyTorch. NumPy in, NumPy out."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import tangled.t24_bahdanau_attention.checks as check
from tangled.testing import Case


def _leaf(array):
    """A tensor that wants a gradient."""
    return torch.from_numpy(np.array(array, check.working(array.dtype))).requires_grad_()


def _gradients(douts, cache):
    """Gradients of the leaves, zeros for what is not used."""
    outs, leaves, dtype = cache
    given = [torch.from_numpy(np.array(d, dtype=out.detach().numpy().dtype)) for d, out in zip(douts, outs)]
    grads = torch.autograd.grad(outs, leaves, given, retain_graph=True, allow_unused=True)
    return tuple((torch.zeros_like(leaf) if grad is None else grad).numpy().astype(dtype)
                 for grad, leaf in zip(grads, leaves))


def _array(tensor, dtype):
    """A tensor as an array of its own."""
    return tensor.detach().numpy().astype(dtype)


def additive(query, keys, w_query, v, w_key=None):
    """Tensors: scores (B, Tq, S)."""
    keys = keys if w_key is None else keys @ w_key
    return torch.tanh((query @ w_query)[:, :, None] + keys[:, None]) @ v


def dot(query, keys):
    """Tensors: scores (B, Tq, S)."""
    return query @ keys.mT


def general(query, keys, w):
    """Tensors: scores (B, Tq, S)."""
    return query @ w @ keys.mT


SCORES = {"additive": additive, "dot": dot, "general": general}


def _scored(score, arrays):
    """Scores as an array, and a cache."""
    leaves = [_leaf(a) for a in arrays if a is not None]
    out = score(*leaves)
    return _array(out, arrays[0].dtype), ((out,), leaves, arrays[0].dtype)


def _scored_backward(dscores, cache):
    """Gradients of the arrays."""
    (out,), _, dtype = cache
    return _gradients([check.gradient("dscores", dscores, tuple(out.shape), dtype)], cache)


def additive_score(query, keys, w_query, v, w_key=None):
    """As level 2, query (B, Tq, D)."""
    return _scored(additive, check.additive(query, keys, w_query, v, w_key))


def dot_score(query, keys):
    """As level 2, query (B, Tq, D)."""
    return _scored(dot, check.dot(query, keys))


def general_score(query, keys, w):
    """As level 2, query (B, Tq, D)."""
    return _scored(general, check.general(query, keys, w))


def additive_score_backward(dscores, cache):
    """As level 2, dscores (B, Tq, S)."""
    return _scored_backward(dscores, cache)


def dot_score_backward(dscores, cache):
    """As level 2, dscores (B, Tq, S)."""
    return _scored_backward(dscores, cache)


def general_score_backward(dscores, cache):
    """As level 2, dscores (B, Tq, S)."""
    return _scored_backward(dscores, cache)


def attended(query, keys, values, mask, score, weights):
    """Tensors, mask (B, S): contexts (B, Tq, C) and weights (B, Tq, S), zeros where nothing is real."""
    keys, values = (a.masked_fill(~mask[..., None], 0) for a in (keys, values))
    scores = score(query, keys, *weights)
    p = F.softmax(scores.masked_fill(~mask[:, None], -1e30), 2) * mask[:, None]
    return p @ values, p


def attend(query, keys, values, mask=None, score="dot", weights=()):
    """As level 2, query (B, Tq, D)."""
    query, keys, values, mask, weights = check.attended(query, keys, values, mask, score, weights)
    leaves = [_leaf(a) for a in (query, keys, values, *weights)]
    outs = attended(*leaves[:3], torch.from_numpy(mask.copy()), SCORES[score], leaves[3:])
    return tuple(_array(out, query.dtype) for out in outs), (outs, leaves, query.dtype)


def attend_backward(dcontext, dp, cache):
    """As level 2, dcontext (B, Tq, C), dp (B, Tq, S) or None."""
    (context, p), _, dtype = cache
    dp = np.zeros(p.shape, dtype) if dp is None else check.gradient("dp", dp, tuple(p.shape), dtype)
    return _gradients([check.gradient("dcontext", dcontext, tuple(context.shape), dtype), dp], cache)


def decode(x, h, annotations, w_query, w_key, v, w_ih, w_hh, b_ih, b_hh, mask):
    """Tensors, mask (B, S): states (B, T, H), contexts (B, T, C), weights (B, T, S); keys projected once."""
    annotations = annotations.masked_fill(~mask[..., None], 0)
    keys, found = annotations @ w_key, ([], [], [])
    for t in range(x.shape[1]):
        seen, p = attended(h[:, None], keys, annotations, mask, additive, (w_query, v))
        h = torch.gru_cell(torch.cat([x[:, t], seen[:, 0]], 1), h, w_ih.T, w_hh.T, b_ih, b_hh)
        for rows, row in zip(found, (h, seen[:, 0], p[:, 0])):
            rows.append(row)
    sizes = h.shape[1], annotations.shape[2], annotations.shape[1]
    return tuple(torch.stack(rows, 1) if rows else x.new_zeros(len(x), 0, n) for rows, n in zip(found, sizes))


def attention_decoder(x, h0, annotations, mask, w_query, w_key, v, w_ih, w_hh, b_ih, b_hh):
    """As level 2, x (B, T, E)."""
    arrays, mask = check.decoder(x, h0, annotations, mask, w_query, w_key, v, w_ih, w_hh, b_ih, b_hh)
    leaves, dtype = [_leaf(a) for a in arrays], arrays[0].dtype
    outs = decode(*leaves, torch.from_numpy(mask.copy()))
    return tuple(_array(out, dtype) for out in outs), (outs[:2], leaves, dtype)


def attention_decoder_backward(dout, dcontexts, cache):
    """As level 2, dout (B, T, H), dcontexts (B, T, C)."""
    outs, leaves, dtype = cache
    if not outs[0].requires_grad:
        return tuple(np.zeros(leaf.shape, dtype) for leaf in leaves)
    given = [check.gradient(name, d, tuple(out.shape), dtype)
             for name, d, out in zip(("dout", "dcontexts"), (dout, dcontexts), outs)]
    return _gradients(given, cache)


class Translator(nn.Module):
    """`AttentionSeq2Seq` by PyTorch's own modules; made from one of ours, with its weights, in float64."""

    def __init__(self, ours):
        super().__init__()
        (V, E), (H, A) = ours.encoder.table.weight.data.shape, ours.decoder.w_query.data.shape
        W = len(ours.decoder.table.weight.data)
        self.read, self.encoder = nn.Embedding(V, E), nn.GRU(E, H, batch_first=True)
        self.written, self.cell = nn.Embedding(W, E), nn.GRUCell(E + H, H)
        self.w_query, self.w_key = nn.Linear(H, A, bias=False), nn.Linear(H, A, bias=False)
        self.v, self.out = nn.Linear(A, 1, bias=False), nn.Linear(2 * H, W)
        self.double()
        with torch.no_grad():
            for theirs, parameter in self.beside(ours):
                value = torch.from_numpy(parameter.data.astype(np.float64))
                table = theirs is self.read.weight or theirs is self.written.weight
                theirs.copy_(value if table else (value.mT if value.ndim == 2 else value).reshape(theirs.shape))

    def beside(self, ours):
        """[(a parameter here, the same of ours)]."""
        gru, cell = self.encoder, self.cell
        theirs = [self.read.weight, gru.weight_ih_l0, gru.weight_hh_l0, gru.bias_ih_l0, gru.bias_hh_l0,
                  self.written.weight, self.w_query.weight, self.w_key.weight, self.v.weight,
                  cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.bias_hh, self.out.weight, self.out.bias]
        encoder, decoder = ours.encoder, ours.decoder
        return list(zip(theirs, [encoder.table.weight, *encoder.gru.of_layer(0), decoder.table.weight,
                                 *decoder.of_op(), decoder.out.weight, decoder.out.bias], strict=True))

    def forward(self, source, lengths, tokens):
        """Ids (B, S), lengths (B,), tokens (B, T + 1): the mean loss over tokens that are not 0; p (B, T, S)."""
        packed = nn.utils.rnn.pack_padded_sequence(self.read(source), lengths, True, False)
        out, h = self.encoder(packed)
        annotations, _ = nn.utils.rnn.pad_packed_sequence(out, True, total_length=source.shape[1])
        mask, h = torch.arange(source.shape[1]) < lengths[:, None], h[0]
        keys, logits, weights = self.w_key(annotations), [], []
        for x in self.written(tokens[:, :-1]).unbind(1):
            scores = self.v(torch.tanh(self.w_query(h)[:, None] + keys))[..., 0]
            p = F.softmax(scores.masked_fill(~mask, -torch.inf), 1)
            seen = (p[..., None] * annotations).sum(1)
            h = self.cell(torch.cat([x, seen], 1), h)
            logits.append(self.out(torch.cat([h, seen], 1)))
            weights.append(p)
        logits = torch.stack(logits, 1)
        return F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), ignore_index=0), torch.stack(weights, 1)


def golden_cases(rng):
    """Inputs from `rng`; outputs and gradients in float64. All sizes differ."""
    B, T, S, D, K, A, C, E, H = 2, 3, 5, 4, 6, 7, 8, 9, 4
    draw = lambda *shape: 0.8 * rng.standard_normal(shape)
    mask = np.arange(S) < np.array([S, 3])[:, None]
    own = {"additive": {"w_query": draw(D, A), "v": draw(A), "w_key": draw(K, A)}, "general": {"w": draw(D, K)},
           "dot": {}}
    ops = {"additive": (additive_score, additive_score_backward), "dot": (dot_score, dot_score_backward),
           "general": (general_score, general_score_backward)}
    for name, (op, op_backward) in ops.items():
        given = {"query": draw(B, T, D), "keys": draw(B, S, D if name == "dot" else K)} | own[name]
        scores, cache = op(**given)
        up = draw(*scores.shape)
        yield Case(name, given, {"scores": scores}, {"scores": up}, dict(zip(given, op_backward(up, cache))))
        given = {k: v for k, v in given.items() if k not in own[name]} | {"values": draw(B, S, C)}
        (context, p), cache = attend(**given, mask=mask, score=name, weights=tuple(own[name].values()))
        ups = draw(*context.shape), draw(*p.shape)
        names = (*given, *own[name])
        yield Case("attend_" + name, given | {"mask": mask, "weights": own[name]}, {"context": context, "p": p},
                   {"context": ups[0], "p": ups[1]}, dict(zip(names, attend_backward(*ups, cache))))
    given = {"x": draw(B, T, E), "h0": draw(B, H), "annotations": draw(B, S, C), "w_query": draw(H, A),
             "w_key": draw(C, A), "v": draw(A), "w_ih": draw(E + C, 3 * H), "w_hh": draw(H, 3 * H),
             "b_ih": draw(3 * H), "b_hh": draw(3 * H)}
    (out, contexts, p), cache = attention_decoder(**given, mask=mask)
    ups = draw(*out.shape), draw(*contexts.shape)
    yield Case("decoder", given | {"mask": mask}, {"out": out, "contexts": contexts, "p": p},
               {"out": ups[0], "contexts": ups[1]}, dict(zip(given, attention_decoder_backward(*ups, cache))))
