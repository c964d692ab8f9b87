# Tangled from chapters/30-mini-gpt.qmd; edit the chapter, then run make tangle. sha256:d694b333dbcef785
"""Mini-GPT, level 2: the model as a module, its op, the sampler, and what tunes a trained model."""

import math
from itertools import pairwise

import numpy as np

import tangled.t30_mini_gpt.checks as check
from tangled.t06_backpropagation import CrossEntropyLoss, Module, Parameter, evaluating
from tangled.t08_regularization import Dropout
from tangled.t16_normalizations import LayerNorm
from tangled.t18_rnn import Embedding, sample_categorical
from tangled.t28_transformer_encoder import EncoderBlock


def encode_piece(data, ranks):
    """Replay the merges of byte-pair encoding on one piece of text; Sennrich et al. (2016), section 3.2.

    Parameters
    ----------
    data : bytes, of length (n,), n at least 1
    ranks : dict from bytes to int, in the order learned; the 256 single bytes are in it

    Returns
    -------
    list of int : the tokens
    """
    if data in ranks:
        return [ranks[data]]
    parts = [data[k:k + 1] for k in range(len(data))]
    while len(parts) > 1:
        pairs = [a + b for a, b in pairwise(parts)]
        k = min(range(len(pairs)), key=lambda j: ranks.get(pairs[j], len(ranks)))
        best = pairs[k]
        if best not in ranks:
            break
        parts[k:k + 2] = [best]
    return [ranks[part] for part in parts]


class GPT(Module):
    """A decoder-only transformer with tied tables; Radford et al. (2019).

    Parameters
    ----------
    vocab_size, context, d_model, num_heads, num_layers : int, V, the most tokens at once, D, H, L
    dropout : float, in training, of the embeddings and inside the blocks
    rng : numpy.random.Generator, for weights and dropout; by default one with the seed 0

    Attributes
    ----------
    wte : Embedding of shape (V, D), read as rows by the first layer and as columns by the last
    wpe : Embedding of shape (context, D), the learned positions
    blocks : list of causal EncoderBlocks with a tanh GELU of width 4D
    norm : LayerNorm of shape (D,)
    """

    def __init__(self, vocab_size, context, d_model, num_heads, num_layers, dropout=0.0, rng=None):
        rng = np.random.default_rng(0) if rng is None else check.generator(rng)
        self.vocab_size, self.context = (
            check.whole("vocab_size", vocab_size), check.whole("context", context))
        self.num_heads, D, L = num_heads, d_model, check.whole("num_layers", num_layers)
        self.wte, self.wpe = Embedding(vocab_size, D, rng), Embedding(context, D, rng)
        self.drop = Dropout(dropout, rng)
        self.blocks = [EncoderBlock(D, num_heads, 4 * D, dropout, activation="gelu_tanh", causal=True,
                                    rng=rng) for _ in range(L)]
        self.norm = LayerNorm(D)
        for name, p in self.named_parameters():
            if p.data.ndim == 2:
                p.data[...] = 0.02 * rng.standard_normal(p.data.shape)
                if name.endswith(("out_proj.weight", "linear2.weight")):
                    p.data /= math.sqrt(2 * L)
            elif name.endswith("bias"):
                p.data[...] = 0

    def forward(self, ids):
        """ids (B, T), T at most the context, to logits (B, T, V)."""
        ids = check.ids(ids, self.vocab_size, self.context)
        x = self.wte(ids) + self.wpe(np.arange(ids.shape[1]))   # (B, T, D)       eq. 30.1
        x = self.drop(x)
        for block in self.blocks:
            x = block(x)                                        # eq. 30.2
        self.cache = self.norm(x)                               # h, (B, T, D)
        return self.cache @ self.wte.weight.data.T              # eq. 30.3

    def backward(self, dlogits):
        """dlogits (B, T, V): adds to all gradients; integers have none."""
        h, table = self.kept(), self.wte.weight
        rows = dlogits.reshape(-1, self.vocab_size)             # (B T, V)
        table.accumulate(rows.T @ h.reshape(-1, h.shape[-1]))           # (V, D)           eq. 30.5
        dx = self.norm.backward(dlogits @ table.data)
        for block in reversed(self.blocks):
            dx = block.backward(dx)
        dx = self.drop.backward(dx)
        self.wpe.backward(dx.sum(axis=0))
        self.wte.backward(dx)                                           # adds             eq. 30.5

    @classmethod
    def from_state(cls, state, num_heads):
        """A GPT with these weights, in their dtype; its sizes are those of the arrays."""
        V, context, D, F, L = check.state(state)
        if F != 4 * D:
            raise ValueError(f"weights have an MLP of width {F}; expected 4 x {D}")
        model = cls(V, context, D, num_heads, L).astype(np.asarray(state["wte.weight"]).dtype)
        model.load_state_dict(state)
        return model


def gpt(ids, weights, num_heads):
    """Logits of all next tokens.

    Parameters
    ----------
    ids : ndarray of shape (B, T), integers below V, T at most the context
    weights : dict of ndarray by the names of `GPT.state_dict`, all in one floating dtype: wte.weight of
        shape (V, D), wpe.weight (context, D), and the rest
    num_heads : int, a divisor of D

    Returns
    -------
    logits : ndarray of shape (B, T, V), in the dtype of the weights; float16 is computed in float32
    cache : for `gpt_backward`

    Raises
    ------
    ValueError : for other names, shapes or dtypes, ids out of range, or more tokens than the context
    """
    given = check.model(ids, weights, num_heads)
    model = GPT.from_state(given.weights, given.heads)
    return model(given.ids).astype(given.dtype, copy=False), (given, model)


def gpt_backward(dlogits, cache):
    """Gradients of `gpt`.

    Parameters
    ----------
    dlogits : ndarray of shape (B, T, V)
    cache : from `gpt`

    Returns
    -------
    dict of ndarray : a gradient for every array of the weights, under its name and in its shape
    """
    given, model = cache
    shape = (*given.ids.shape, model.vocab_size)
    dlogits = check.gradient(dlogits, shape, model.wte.weight.data.dtype)
    model.zero_grad()
    model.backward(dlogits)
    grads = dict(model.named_parameters())
    return {name: grads[name].grad.astype(given.dtype) for name in given.weights}


def repetition_penalty(logits, seen, penalty):
    """Make what has been written less likely; Keskar et al. (2019), section 4.1.

    Parameters
    ----------
    logits : ndarray of shape (..., V), floating
    seen : ndarray of shape (..., n), integers below V; how often a token occurs does not matter
    penalty : float, at least 1; 1 changes nothing

    Returns
    -------
    ndarray of shape (..., V) : positive logits of seen tokens divided by it, negative ones multiplied
    """
    logits = check.logits(logits)
    seen, penalty = check.seen(seen, logits.shape, logits.shape[-1]), check.real("penalty", penalty, 1)
    out = logits.copy()
    picked = np.take_along_axis(logits, seen, axis=-1)
    lowered = np.where(picked > 0, picked / penalty, picked * penalty)              # eq. 30.11
    np.put_along_axis(out, seen, lowered.astype(out.dtype), axis=-1)
    return out


def filter_logits(logits, temperature=1.0, top_k=None, top_p=None, min_p=None):
    """Logits of the tokens that may be drawn, -inf for the others.

    Parameters
    ----------
    logits : ndarray of shape (..., V), floating
    temperature : float, at least 0; 0 leaves the largest logit, the first of several
    top_k : int or None; the k largest
    top_p : float in (0, 1] or None; the fewest largest whose probabilities, of what top_k left, reach p
    min_p : float in [0, 1] or None; those with at least p times the largest probability

    Returns
    -------
    ndarray of shape (..., V), in the dtype of logits : logits / temperature. A token that is as likely
        as one that stays, stays. Sources: Fan et al. (2018), Holtzman et al. (2020), Nguyen et al. (2025)
    """
    logits, how = check.logits(logits), check.choice(temperature, top_k, top_p, min_p)
    if how.temperature == 0:
        best = logits.argmax(axis=-1)[..., None] == np.arange(logits.shape[-1])
        return np.where(best, logits, logits.dtype.type(-np.inf))
    z = logits.astype(np.float64)
    z = (z - z.max(axis=-1, keepdims=True)) / how.temperature   # (..., V), the largest is 0
    least = np.full((*z.shape[:-1], 1), -np.inf)                # what a logit has to reach
    if how.top_k is not None:
        least = np.sort(z, axis=-1)[..., -min(how.top_k, z.shape[-1]), None]
    if how.top_p is not None:
        falling = -np.sort(-np.where(z >= least, z, -np.inf), axis=-1)
        p = np.exp(falling)
        before = (p.cumsum(axis=-1) - p) / p.sum(axis=-1, keepdims=True)        # mass of the larger ones
        kept = before < how.top_p                                       # eq. 30.9
        least = np.maximum(least, np.where(kept, falling, np.inf).min(axis=-1, keepdims=True))
    if how.min_p is not None:
        least = np.maximum(least, math.log(how.min_p))          # eq. 30.10
    warm = (logits / how.temperature).astype(logits.dtype)
    return np.where(z >= least, warm, logits.dtype.type(-np.inf))


def generate(model, ids, n, temperature=1.0, top_k=None, top_p=None, min_p=None, penalty=1.0, rng=None):
    """Write n tokens, each drawn from what the model expects after all before it.

    Parameters
    ----------
    model : a GPT, or anything from ids (B, T) to logits (B, T, V) with a `context`
    ids : ndarray of shape (B, T), integers, at least one token; or (T,)
    n : int, at least 0
    temperature, top_k, top_p, min_p : as for `filter_logits`
    penalty : float, as for `repetition_penalty`, of what stands in the context
    rng : numpy.random.Generator; by default one with the seed 0

    Returns
    -------
    ndarray of shape (B, T + n), or (T + n,) : the tokens given and the tokens written
    """
    n, how = check.whole("n", n, 0), check.choice(temperature, top_k, top_p, min_p)
    rng = np.random.default_rng(0) if rng is None else check.generator(rng)
    penalty, text = check.real("penalty", penalty, 1), check.text(ids)
    with evaluating(model):
        for _ in range(n):
            recent = text[:, -model.context:]                               # (B, at most context)
            logits = model(recent)[:, -1].astype(np.float64)    # (B, V), room for z / tau
            if penalty != 1:
                logits = repetition_penalty(logits, recent, penalty)
            logits = filter_logits(logits, *how)
            drawn = sample_categorical(logits, 1.0 if how.temperature else 0.0, rng)
            text = np.concatenate([text, drawn[:, None]], axis=1)
    return text if np.ndim(ids) == 2 else text[0]


def evaluate(model, ids, stride=None, batch=32):
    """Mean loss in nats of every token of a text but the first, each predicted once.

    Parameters
    ----------
    model : a GPT, or anything from ids (B, T) to logits (B, T, V) with a `context`
    ids : ndarray of shape (n,), integers, n at least 2
    stride : int from 1 to the context, by default the context: how far a window is moved. A smaller one
        gives every token, but in the first window, at least context - stride tokens before it
    batch : int, at least 1; windows at a time

    Returns
    -------
    float
    """
    ids, T, batch = np.asarray(ids), min(model.context, len(ids) - 1), check.whole("batch", batch)
    stride = check.whole("stride", model.context if stride is None else stride)
    if len(ids) < 2 or stride > model.context:
        raise ValueError(f"stride = {stride} for {len(ids)} ids; "
                         f"expected at most {model.context}, and two ids")
    starts = [*range(0, len(ids) - 1 - T, stride), len(ids) - 1 - T]
    first = np.array([0] + [a + T - b for a, b in pairwise(starts)])      # places that count begin here
    starts = np.array(starts)
    slices = [slice(k, k + batch) for k in range(0, len(starts), batch)]
    with evaluating(model):
        total = sum(_losses_from(model, ids, starts[k], T, first[k]) for k in slices)
    return float(total / (len(ids) - 1))


def _losses_from(model, ids, starts, T, first):
    """The sum of the losses of windows of T ids, each from its place first (b,) on, that begin at starts (b,)."""
    x = starts[:, None] + np.arange(T)                          # (b, T)
    z = model(ids[x])                                           # (b, T, V)
    z = z - z.max(axis=-1, keepdims=True)
    targets = check.targets(ids[x + 1], x.shape, z.shape[-1])
    picked = np.take_along_axis(z, targets[..., None], axis=-1)[..., 0]
    losses = np.log(np.exp(z).sum(axis=-1)) - picked            # (b, T)
    return losses[np.arange(T) >= first[:, None]].sum(dtype=np.float64)


def decay_groups(parameters):
    """Parameters with weight decay, and those without.

    Parameters
    ----------
    parameters : iterable of Parameters of any shapes

    Returns
    -------
    decayed, others : lists; matrices and tables, and what has the shape (n,): biases, scales, shifts
    """
    decayed, others = [], []
    for p in parameters:
        (decayed if p.data.ndim >= 2 else others).append(p)
    return decayed, others


class Groups:
    """Several optimisers with one learning rate, as one."""

    def __init__(self, *optimizers):
        self.optimizers = optimizers

    @property
    def lr(self):
        """The learning rate of all, a number."""
        return self.optimizers[0].lr

    @lr.setter
    def lr(self, value):
        """Set it, a number, in all of them."""
        for each in self.optimizers:
            each.lr = value

    def step(self):
        """One update of each."""
        for each in self.optimizers:
            each.step()

    def zero_grad(self):
        """Forget the gradients of all."""
        for each in self.optimizers:
            each.zero_grad()

    def state_dict(self):
        """{"0.lr": ..., "1.lr": ...}: their states, numbered."""
        return {f"{k}.{name}": value for k, each in enumerate(self.optimizers)
                for name, value in each.state_dict().items()}

    def load_state_dict(self, state):
        """Take back what `state_dict` gave."""
        for k, each in enumerate(self.optimizers):
            mine = {name.partition(".")[2]: v for name, v in state.items() if name.partition(".")[0] == str(k)}
            each.load_state_dict(mine)


class FlatGPT:
    """A GPT for training, whose weights lie in two flat vectors: level 3's class, here around the module.

    Parameters
    ----------
    state : dict of ndarray, as `GPT.state_dict` gives it
    num_heads : int
    threads : int, at least 1; level 3 works on so many parts of a batch side by side, the module on all of it

    Attributes
    ----------
    parameters : two Parameters of shape (n,): all matrices, and all vectors (biases, norms)
    """

    def __init__(self, state, num_heads, threads=1):
        self.model, self.threads = GPT.from_state(state, num_heads), check.whole("threads", threads)
        self.vocab_size, self.context = self.model.vocab_size, self.model.context
        self.groups = decay_groups(self.model.parameters())
        self.parameters = [Parameter(np.concatenate([p.data.ravel() for p in group])) for group in self.groups]

    def weights(self):
        """The module, with what stands in the vectors, which an optimiser may have changed."""
        for group, flat in zip(self.groups, self.parameters):
            ends = np.cumsum([p.data.size for p in group])
            for p, part in zip(group, np.split(flat.data, ends[:-1])):
                p.data[...] = part.reshape(p.data.shape)
        return self.model

    def __call__(self, ids):
        """ids (B, T) to logits (B, T, V)."""
        return self.weights()(ids)

    def loss_and_gradients(self, ids, targets, share=1.0):
        """Mean loss of ids, targets (B, T); adds share times its gradient to the parameters'."""
        model, loss = self.weights(), CrossEntropyLoss()
        ids = check.texts(ids, self.vocab_size, self.context)
        value = loss(model(ids), check.targets(targets, ids.shape, self.vocab_size))
        model.zero_grad()
        model.backward(loss.backward())
        for group, flat in zip(self.groups, self.parameters):
            flat.grad += share * np.concatenate([p.grad.ravel() for p in group])
        return float(value)

    def state_dict(self):
        """Copies by the names of `GPT`."""
        return self.weights().state_dict()

    def load_state_dict(self, state):
        """Take over what `GPT.state_dict` gave."""
        self.model.load_state_dict(state)
        for group, flat in zip(self.groups, self.parameters):
            flat.data[...] = np.concatenate([p.data.ravel() for p in group])


def low_rank_linear(x, w, a, b, bias=None, scale=1.0):
    """A linear layer with a correction of rank r; Hu et al. (2022), equation 3.

    Parameters
    ----------
    x : ndarray of shape (..., n), floating
    w : ndarray of shape (n, m), frozen
    a, b : ndarrays of shapes (n, r) and (r, m)
    bias : ndarray of shape (m,), frozen, or None
    scale : float

    Returns
    -------
    out : ndarray of shape (..., m), x w + scale (x a) b + bias
    cache : for `low_rank_linear_backward`
    """
    x, w, a, b, bias, scale = check.low_rank(x, w, a, b, bias, scale)
    inner = x @ a                                               # (..., r)
    out = x @ w + scale * (inner @ b)                           # eq. 30.12
    return out if bias is None else out + bias, (x, w, a, b, inner, scale)


def low_rank_linear_backward(dout, cache):
    """Gradients of `low_rank_linear`: of x and of the correction, none of what is frozen.

    Parameters
    ----------
    dout : ndarray of shape (..., m)
    cache : from `low_rank_linear`

    Returns
    -------
    dx, da, db : ndarrays of shapes (..., n), (n, r) and (r, m)
    """
    x, w, a, b, inner, scale = cache
    dout = check.gradient(dout, (*x.shape[:-1], w.shape[1]), w.dtype, "dout")
    rows = lambda array: array.reshape(-1, array.shape[-1])
    dinner = scale * (dout @ b.T)                               # (..., r)        eq. 30.13
    return dout @ w.T + dinner @ a.T, rows(x).T @ rows(dinner), scale * (rows(inner).T @ rows(dout))


def sequence_log_probs(logits, targets, mask):
    """Log-probability of each sequence: the sum over its positions that count.

    Parameters
    ----------
    logits : ndarray of shape (N, T, V), floating
    targets : ndarray of shape (N, T), integers below V
    mask : ndarray of shape (N, T), bool: True for the positions of the answer

    Returns
    -------
    log_probs : ndarray of shape (N,)
    cache : for `sequence_log_probs_backward`
    """
    logits, targets, mask = check.sequences(logits, targets, mask)
    z = logits - logits.max(axis=-1, keepdims=True)
    log_p = z - np.log(np.exp(z).sum(axis=-1, keepdims=True))
    picked = np.take_along_axis(log_p, targets[..., None], axis=-1)[..., 0]     # (N, T)
    return np.where(mask, picked, 0).sum(axis=1), (log_p, targets, mask)        # not 0 x -inf


def sequence_log_probs_backward(dlog_probs, cache):
    """dlog_probs (N,) to dlogits (N, T, V): one-hot minus softmax where the mask is True, else 0."""
    log_p, targets, mask = cache
    upstream = check.gradient(dlog_probs, mask.shape[:1], log_p.dtype, "dlog_probs")
    change = -np.exp(log_p)
    np.put_along_axis(change, targets[..., None], 1 + np.take_along_axis(change, targets[..., None], -1), -1)
    return change * (mask * upstream[:, None])[..., None]


def dpo_loss(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta=0.1):
    """Direct preference optimisation; Rafailov et al. (2023), equation 7.

    Parameters
    ----------
    policy_chosen, policy_rejected : ndarrays of shape (N,), floating: log-probabilities of the answers
        that were preferred and of the others, by the model that is trained
    reference_chosen, reference_rejected : the same by the model as it was; constants
    beta : float, positive

    Returns
    -------
    loss : float, the mean of -log sigmoid(beta (margin - margin of the reference))
    cache : for `dpo_loss_backward`
    """
    (chosen, rejected, before, before_rejected), beta = check.preferences(
        (policy_chosen, policy_rejected, reference_chosen, reference_rejected), beta)
    margin = beta * ((chosen - rejected) - (before - before_rejected))              # (N,)
    loss = np.logaddexp(0, -margin).mean()                      # eq. 30.15
    return float(loss), (margin, beta)


def dpo_loss_backward(dloss, cache):
    """dloss, a number, to dpolicy_chosen and dpolicy_rejected (N,): the second is minus the first."""
    margin, beta = cache
    wrong = np.exp(-np.logaddexp(0, margin))                    # sigmoid(-margin), (N,)
    dchosen = (-float(dloss) * beta / len(margin) * wrong).astype(margin.dtype)     # eq. 30.16
    return dchosen, -dchosen


class LoRA(Module):
    """A frozen Linear and a correction of low rank, which learns; Hu et al. (2022).

    Parameters
    ----------
    linear : Linear of shape (n, m); its arrays are copied and never change
    rank : int, r
    alpha : float; the correction is multiplied by alpha / r
    rng : numpy.random.Generator, for a; b begins at 0, so nothing changes at first

    Attributes
    ----------
    a, b : Parameters of shapes (n, r) and (r, m)
    weight, bias : what stands in for a Linear's: data, merged, and a gradient that goes on to a and b
    """

    buffer_names = "frozen", "frozen_bias"

    def __init__(self, linear, rank, alpha=None, rng=None):
        self.frozen = linear.weight.data.copy()
        self.frozen_bias = np.zeros(0, self.frozen.dtype) if linear.bias is None else linear.bias.data.copy()
        n, m = self.frozen.shape
        rank, rng = check.whole("rank", rank), np.random.default_rng(0) if rng is None else check.generator(rng)
        self.scale = check.real("alpha", rank if alpha is None else alpha, 0) / rank
        self.a = Parameter((rng.standard_normal((n, rank)) / math.sqrt(n)).astype(self.frozen.dtype))
        self.b = Parameter(np.zeros((rank, m), self.frozen.dtype))

    @property
    def weight(self):
        """The merged matrix (n, m), for layers that read weights and not modules."""
        return Merged(self)

    @property
    def bias(self):
        """The frozen bias (m,), or None."""
        return Frozen(self.frozen_bias) if self.frozen_bias.size else None

    def merged(self):
        """w + scale a b, (n, m): a Linear with it computes the same."""
        return self.frozen + (self.scale * (self.a.data @ self.b.data)).astype(self.frozen.dtype)

    def forward(self, x):
        """x (..., n) to (..., m)."""
        bias = self.frozen_bias if self.frozen_bias.size else None
        out, self.cache = low_rank_linear(x, self.frozen, self.a.data, self.b.data, bias, self.scale)
        return out

    def backward(self, dout):
        """dout (..., m) to dx (..., n); adds to the gradients of a and b."""
        dx, da, db = low_rank_linear_backward(dout, self.kept())
        self.a.accumulate(da)
        self.b.accumulate(db)
        return dx


class Frozen:
    """An array that is read like a Parameter's and does not learn."""

    def __init__(self, data):
        self.data = data

    def accumulate(self, grad):
        """Nothing."""


class Merged:
    """The weight of a `LoRA` for a layer that reads it: a gradient dw (n, m) goes on to a and b."""

    def __init__(self, lora):
        self.lora, self.data = lora, lora.merged()

    def accumulate(self, grad):
        """dw (n, m): da = scale dw b^T, db = scale a^T dw."""
        a, b, scale = self.lora.a, self.lora.b, self.lora.scale
        a.accumulate((scale * (grad @ b.data.T)).astype(a.data.dtype))          # eq. 30.14
        b.accumulate((scale * (a.data.T @ grad)).astype(b.data.dtype))


def add_lora(model, rank, alpha=None, names=("q_proj", "v_proj"), rng=None):
    """Put a LoRA in the place of every Linear of those names inside a model's blocks.

    Parameters
    ----------
    model : GPT, changed; all that learns afterwards are the a (n, r) and b (r, m) that are returned
    rank, alpha, rng : as for `LoRA`
    names : of q_proj, k_proj, v_proj, out_proj, linear1, linear2

    Returns
    -------
    list of Parameters
    """
    rng, found = np.random.default_rng(0) if rng is None else rng, []
    for block in model.blocks:
        for holder in (block.attention, block.ffn):
            for name in names:
                if hasattr(holder, name):
                    setattr(holder, name, LoRA(getattr(holder, name), rank, alpha, rng))
                    found += [getattr(holder, name).a, getattr(holder, name).b]
    return found
