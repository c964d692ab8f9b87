# Tangled from chapters/23-seq2seq.qmd; edit the chapter, then run make tangle. sha256:b774da0d9a8fbb41
"""Sequence to sequence by PyTorch. NumPy in, NumPy out."""

import numpy as np
import torch
import torch.nn.functional as F

import tangled.t23_seq2seq.checks as check
from tangled.t23_seq2seq.base import rows_of, select
from tangled.t23_seq2seq.phrases import load_phrases
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


def _mean_loss(logits, targets, mask):
    """The mean over true places; torch's own is NaN for none."""
    rows, targets = logits[torch.from_numpy(mask.copy())], torch.from_numpy(targets[mask].astype(np.int64))
    return F.cross_entropy(rows, targets, reduction="sum") / max(len(targets), 1)


def masked_cross_entropy(logits, targets, mask):
    """As level 2, logits (..., V)."""
    logits, targets, mask = check.masked(logits, targets, mask)
    leaf = _leaf(logits)
    loss = _mean_loss(leaf, targets, mask)
    return logits.dtype.type(loss.item()), ((loss,), [leaf], logits.dtype)


def masked_cross_entropy_backward(dloss, cache):
    """As level 2, dloss a number to dlogits (..., V)."""
    return _gradients([check.scalar("dloss", dloss)], cache)[0]


def lengths_to_mask(lengths, T):
    """As level 2, lengths (B,)."""
    T = check.whole("T", T, 0)
    lengths = torch.from_numpy(check.lengths("lengths", lengths, np.shape(lengths)[:1], T))
    return (torch.arange(T) < lengths[:, None]).numpy()


def last_outputs(out, lengths):
    """As level 2, out (B, T, H), by gather."""
    out = check.floats("out", out, ("B", "T", "H"))
    lengths = check.lengths("lengths", lengths, out.shape[:1], out.shape[1], 1)
    leaf = _leaf(out)
    places = torch.from_numpy(lengths - 1)[:, None, None].expand(-1, 1, out.shape[2])
    last = leaf.gather(1, places)[:, 0]
    return last.detach().numpy().astype(out.dtype), ((last,), [leaf], out.dtype)


def last_outputs_backward(dlast, cache):
    """As level 2, dlast (B, H)."""
    (last,), _, dtype = cache
    return _gradients([check.gradient("dlast", dlast, tuple(last.shape), dtype)], cache)[0]


def teacher_forced_loss(h0, tokens, lengths, table, w_ih, w_hh, b_ih, b_hh, w_out, b_out, inputs=None):
    """As level 2, h0 (B, H), by torch's fused GRU."""
    (h0, tokens, lengths, *arrays), inputs = check.teacher(
        h0, tokens, lengths, (table, w_ih, w_hh, b_ih, b_hh, w_out, b_out), inputs)
    leaves = [_leaf(a) for a in (h0, *arrays)]
    start, table, w_ih, w_hh, b_ih, b_hh, w_out, b_out = leaves
    x = F.embedding(torch.from_numpy((tokens[:, :-1] if inputs is None else inputs).astype(np.int64)), table)
    if 0 in x.shape:                                            # which torch refuses
        out = start[:, None].expand(-1, x.shape[1], -1)
    else:
        out, _ = torch.gru(x, start[None], [w_ih.T, w_hh.T, b_ih, b_hh], True, 1, 0.0, False, False, True)
    loss = _mean_loss(out @ w_out + b_out, tokens[:, 1:], lengths_to_mask(lengths, x.shape[1]))
    return h0.dtype.type(loss.item()), ((loss,), leaves, h0.dtype)


def teacher_forced_loss_backward(dloss, cache):
    """As level 2, dloss a number, by autograd."""
    return _gradients([check.scalar("dloss", dloss)], cache)


def greedy_decode(step, state, bos, eos, max_len):
    """As level 2: all rows to the end, then cut."""
    bos, eos, max_len, _, _ = check.searching(bos, eos, max_len)
    last, found = torch.full((rows_of(state),), bos), []
    for _ in range(max_len if len(last) else 0):
        log_p, state = step(state, last.numpy())
        last = torch.from_numpy(check.log_probs(log_p, len(last), eos)).argmax(1)
        found.append(last)
    table = torch.stack(found, 1).tolist() if found else []
    return [np.array(row[:row.index(eos)] if eos in row else row, np.int64) for row in table]


def beam_search(step, state, bos, eos, beam=4, max_len=100, length_penalty=0.0):
    """As level 2, N rows, by torch's stable sort."""
    bos, eos, max_len, beam, alpha = check.searching(bos, eos, max_len, beam, length_penalty)
    found = [_search(step, select(state, np.array([n])), bos, eos, beam, max_len, alpha) for n in range(rows_of(state))]
    return [tokens for tokens, _ in found], np.array([score for _, score in found], np.float64)


def _search(step, state, bos, eos, beam, max_len, alpha):
    """One sentence, with no early end: all that the beam holds runs to max_len."""
    tokens, log_p = torch.full((1, 1), bos), torch.zeros(1, dtype=torch.float64)
    ended = []
    for t in range(1, max_len + 1):
        found, state = step(state, tokens[:, -1].numpy())
        found = torch.from_numpy(check.log_probs(found, len(tokens), eos))
        total = (log_p[:, None] + found).reshape(-1)
        log_p, order = total.sort(descending=True, stable=True)
        kept = int(min(beam, torch.isfinite(log_p).sum()))
        log_p, order = log_p[:kept], order[:kept]
        parents, words = order // found.shape[1], order % found.shape[1]
        tokens = torch.cat([tokens[parents], words[:, None]], 1)
        done = words == eos
        ended += [(s.item() / ((5 + t) / 6) ** alpha, row[1:-1]) for s, row in zip(log_p[done], tokens[done])]
        beam -= int(done.sum())
        tokens, log_p, state = tokens[~done], log_p[~done], select(state, parents[~done].numpy())
        if not len(tokens):
            break
    if not ended:
        ended = [(s.item() / ((5 + max_len) / 6) ** alpha, row[1:]) for s, row in zip(log_p, tokens)]
    score, best = max(ended, key=lambda pair: pair[0], default=(-np.inf, torch.zeros(0, dtype=torch.int64)))
    return best.numpy(), score


def scheduled_inputs(step, state, tokens, rate, rng):
    """As level 2, tokens (B, T + 1): a row at a time."""
    tokens, rate, rng = check.ids("tokens", tokens), check.real("rate", rate), check.generator(rng)
    inputs = torch.from_numpy(tokens[:, :-1].astype(np.int64))
    for t in range(1, inputs.shape[1]):
        log_p, state = step(state, inputs[:, t - 1].numpy())
        own = torch.from_numpy(rng.random(len(inputs))) < rate
        inputs[:, t] = torch.where(own, torch.from_numpy(np.array(log_p)).argmax(1), inputs[:, t])
    return inputs.numpy().astype(tokens.dtype)


def exact_match(hypotheses, references):
    """As level 2, of lists of str."""
    hypotheses, references = check.texts(hypotheses, references)
    return float(np.mean(np.array(hypotheses) == np.array(references))) if references else 0.0


def chrf(hypotheses, references):
    """As level 2, of lists of str, by sacrebleu, which need not be installed for anything else."""
    from sacrebleu.metrics import CHRF
    hypotheses, references = check.texts(hypotheses, references)
    return CHRF().corpus_score(hypotheses, [references]).score


def chrf_pairs(count=200):
    """Two lists of `count` str: French phrases with letters dropped, added and exchanged; and as they were."""
    draw, french = np.random.default_rng(23), [f for _, f in load_phrases()]
    references = [french[k] for k in draw.permutation(len(french))[:count]]
    hypotheses = [_spoiled(text, draw) for text in references]
    hypotheses[::10] = references[1::10]                        # every tenth is another phrase
    return hypotheses, references


def _spoiled(text, draw):
    """The text with up to seven small changes."""
    letters = list(text)
    for _ in range(draw.integers(0, 8)):
        kind, k = draw.integers(0, 3), int(draw.integers(0, len(letters) + 1))
        letters[k:k + 1 + (kind == 2)] = ([], ["aeé s"[k % 5], *letters[k:k + 1]], letters[k:k + 2][::-1])[kind]
    return "".join(letters)


# Of chrf_pairs(), by sacrebleu 2.6.0, CHRF().sentence_score, in percent; and of all as one corpus.
BY_SACREBLEU = """
5.3418803 71.3131587 89.8855684 100 32.2152037 30.9807427 32.3166413 59.7768913 64.6249724 26.8849206 6.0450318
25.5943605 58.0776715 76.8591348 63.8690476 100 31.8365482 61.4388988 54.3333333 85.079767 6.1902441 28.1809374
88.3570113 66.709754 100 30.0279372 58.6586379 56.9626037 71.5026153 100 7.5867052 61.4880952 69.5362764
37.0706768 29.9374763 40.4517252 53.8527908 26.1500141 28.0908619 100 3.3333333 33.268451 27.6150628 30.9322352
100 100 87.9760226 30.4948191 47.6350039 13.2575758 12.817873 69.7639505 38.6111111 100 100 49.4292282
22.8240741 11.9047619 27.9093046 100 21.4085106 54.2580568 76.5363301 47.0015744 100 18.7539598 76.9636845
28.0555556 100 33.9958159 10.2993075 69.1305253 67.1705541 49.3223906 28.979062 76.723873 59.4371287 77.6648335
35.8236181 100 2.0833333 26.6542959 36.8357905 57.8282828 100 30 79.6871791 38.2352941 83.0748232 47.9166667
11.7018588 58.5616108 13 15.6841289 63.8121758 18.2095443 56.5624897 84.3318004 52.3293808 100 14.9488087
86.7540926 77.4716088 88.5760571 28.68099 28.0555556 19.3452381 46.1910826 55.7738095 26.5103995 6.133276
46.0617979 81.857283 50.8209314 100 72.5734639 63.6899874 47.4020943 32.6094276 34.7420635 13.2793276 81.0306326
32.106458 47.4020943 55.9348672 73.1871936 62.4621451 100 46.3033067 91.4729527 5.2083333 32.9960317 20.8333333
54.4500028 76.7204813 100 43.2113451 46.4285714 100 47.1780774 5.1282051 74.4745749 18.2095443 43.7591388
20.2253234 84.3865313 100 29.3391633 100 47.4481659 1.344086 58.9179047 16.4109122 80.0524391 64.2860382
41.0253252 46.3203463 50.585388 52.1240034 30.2114564 9.1463415 39.6238152 26 100 35.0647366 49.2635614 100
55.4689755 83.4020868 30.0608043 13.479181 100 22.6388889 62.6777609 25.5291005 30.6216931 100 66.7340597
69.8338461 27.0833333 0 17.2413793 57.3407818 54.4628982 53.3800289 82.2912605 27.4746126 56.7594142 34.7138124
20 8.4249084 74.2013421 27.7777778 17.7651905 81.7639937 72.452676 100 100 17.8571429 49.1721983
"""
CORPUS_BY_SACREBLEU = 59.40410976006031


def golden_cases(rng):
    """Inputs from `rng`; outputs and gradients in float64. All sizes differ."""
    B, T, E, H, V = 3, 6, 2, 4, 7
    shapes = {"table": (V, E), "w_ih": (E, 3 * H), "w_hh": (H, 3 * H), "b_ih": (3 * H,), "b_hh": (3 * H,),
              "w_out": (H, V), "b_out": (V,)}
    lengths = np.array([4, 6, 2])
    mask = lengths_to_mask(lengths, T)
    tokens = rng.integers(3, V, (B, T + 1))
    tokens[:, 0], tokens[:, 1:][~mask] = 1, 0
    tokens[np.arange(B), lengths] = 2
    logits = 2 * rng.standard_normal((B, T, V))
    loss, cache = masked_cross_entropy(logits, tokens[:, 1:], mask)
    yield Case("masked", {"logits": logits, "targets": tokens[:, 1:].copy(), "mask": mask}, {"loss": np.asarray(loss)},
               {"loss": np.asarray(1.5)}, {"logits": masked_cross_entropy_backward(1.5, cache)})
    arrays = {"h0": rng.standard_normal((B, H))} | {k: 0.8 * rng.standard_normal(s) for k, s in shapes.items()}
    for name, inputs in (("teacher", None), ("own", rng.integers(1, V, (B, T)))):
        given = arrays | {"tokens": tokens, "lengths": lengths} | ({} if inputs is None else {"inputs": inputs})
        loss, cache = teacher_forced_loss(**given)
        grads = dict(zip(arrays, teacher_forced_loss_backward(0.7, cache)))
        yield Case(name, given, {"loss": np.asarray(loss)}, {"loss": np.asarray(0.7)}, grads)
    hypotheses, references = chrf_pairs()
    yield Case("chrf", {"hypotheses": "\n".join(hypotheses), "references": "\n".join(references)},
               {"sentence": np.array(BY_SACREBLEU.split(), float), "corpus": np.asarray(CORPUS_BY_SACREBLEU)})
