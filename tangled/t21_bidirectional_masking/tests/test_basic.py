# Tangled from chapters/21-bidirectional-masking.qmd; edit the chapter, then run make tangle. sha256:1e64401f5782ac0d
"""Chapter 21: shapes, values, gradients, and the property that all of it is for."""

import numpy as np
import pytest

from tangled.t18_rnn import RNN, rnn, rnn_backward
from tangled.t19_lstm import LSTM
from tangled.t20_gru import GRU
from tangled.testing import (
    assert_close,
    assert_dtypes,
    assert_repeatable,
    check_gradients,
    check_module_gradients,
    rng,
)

NAMES = ("w_ih", "w_hh", "b_ih", "b_hh")
LENGTHS = np.array([3, 5, 0, 1, 3, 2])
JUNK = (np.nan, np.inf, -np.inf, 1e30)


def weights(D=3, H=4, seed=0, scale=0.7):
    """w_ih (D, H), w_hh (H, H), b_ih (H,), b_hh (H,)."""
    draw = rng(seed)
    return [scale * draw.standard_normal(shape) for shape in ((D, H), (H, H), (H,), (H,))]


def real(lengths, T):
    """The mask, written out."""
    return np.array([[t < n for t in range(T)] for n in lengths], bool).reshape(len(lengths), T)


def with_junk(x, lengths, junk=np.nan):
    """x (B, T, ...) with something else in its padding."""
    x = x.copy()
    x[~real(lengths, x.shape[1])] = junk
    return x


@pytest.mark.value
@pytest.mark.parametrize("kind", ["tanh", "relu"])
def test_golden_rnn(level, golden, kind):
    """Outputs, last states and all gradients, as PyTorch's packed sequences have them."""
    case = golden(f"rnn-{kind}")
    (out, h_T), cache = level.masked_rnn(**case.inputs)
    assert_close(out, case.outputs["out"], what="out")
    assert_close(h_T, case.outputs["h_T"], what="h_T")
    grads = level.masked_rnn_backward(case.upstream["out"], case.upstream["h_T"], cache)
    for got, wrt in zip(grads, ("x", "h0", *NAMES), strict=True):
        assert_close(got, case.grads[wrt], what="d" + wrt)


@pytest.mark.value
@pytest.mark.parametrize("name, f, first", [("mean", "masked_mean", "x"), ("last", "last_outputs", "out"),
                                            ("loss", "masked_cross_entropy", "logits")])
def test_golden_reductions(level, golden, name, f, first):
    """One number, or one vector, of each sequence."""
    case = golden(name)
    found, cache = getattr(level, f)(**case.inputs)
    assert_close(np.asarray(found), case.outputs["result"], what=f)
    upstream = case.upstream["result"]
    got = getattr(level, f + "_backward")(float(upstream) if upstream.ndim == 0 else upstream, cache)
    assert_close(got, case.grads[first], what="d" + first)


@pytest.mark.value
def test_golden_pack(level, golden):
    """Steps by time, sequences by length, ties in their order; and back."""
    case = golden("pack")
    x, lengths = case.inputs["x"], case.inputs["lengths"]
    data, sizes, order = level.pack(x, lengths)
    for got, name in ((data, "data"), (sizes, "sizes"), (order, "order")):
        assert_close(np.asarray(got), case.outputs[name], tol=0, what=name)
    assert_close(level.reverse_sequences(x, lengths), case.outputs["reversed"], tol=0, what="reversed")
    assert_close(level.unpack(data, sizes, order, 6), with_junk(x, lengths, 0), tol=0, what="there and back")
    assert_close(level.unpack(data, sizes, order, 8)[:, 6:], np.zeros((5, 2, 3)), tol=0, what="a wider array")


@pytest.mark.value
def test_worked_trace(level):
    """The numbers of the chapter's trace."""
    x, one = np.array([[4.0, 2, 6], [4, 0, 0]])[..., None], np.ones((1, 1))
    (out, h_T), cache = level.masked_rnn(x, np.array([3, 1]), np.zeros((2, 1)), one, one / 2, nonlinearity="relu")
    assert_close(out[..., 0], np.array([[4.0, 4, 8], [4, 0, 0]]), what="out")
    assert_close(h_T[:, 0], np.array([8.0, 4]), what="h_T")
    _, dh0, *_ = level.masked_rnn_backward(np.zeros((2, 3, 1)), np.ones((2, 1)), cache)
    assert_close(dh0[:, 0], np.array([0.125, 0.5]), what="dh0")


@pytest.mark.gradient
@pytest.mark.parametrize("kind", ["tanh", "relu"])
@pytest.mark.parametrize("seed", range(6))
def test_one_by_one(level, kind, seed):
    """A padded batch is its sequences one by one, outputs and all gradients, whatever stands in the padding."""
    draw = rng(40 + seed)
    B, T = int(draw.integers(2, 6)), int(draw.integers(1, 8))
    lengths = draw.integers(0, T + 1, B)
    lengths[:2] = [0, 1] if seed % 2 else [1, T]
    junk = JUNK[seed % 4]
    x, h0 = with_junk(draw.standard_normal((B, T, 3)), lengths, junk), draw.standard_normal((B, 4))
    parameters = weights()
    (out, h_T), cache = level.masked_rnn(x, lengths, h0, *parameters, kind)
    dout, dh_T = with_junk(draw.standard_normal(out.shape), lengths, junk), draw.standard_normal(h_T.shape)
    dx, dh0, *grads = level.masked_rnn_backward(dout, dh_T, cache)
    totals = [np.zeros_like(p) for p in parameters]
    for b, n in enumerate(lengths):
        alone = slice(b, b + 1)
        (want, end), of_one = rnn(x[alone, :n], h0[alone], *parameters, kind)
        assert_close(out[alone, :n], want, tol=1e-12, what=f"outputs of sequence {b}")
        assert_close(h_T[alone], end, tol=1e-12, what=f"last state of sequence {b}")
        want_dx, want_dh0, *more = rnn_backward(dout[alone, :n], dh_T[alone], of_one)
        assert_close(dx[alone, :n], want_dx, tol=1e-12, what=f"dx of sequence {b}")
        assert_close(dh0[alone], want_dh0, tol=1e-12, what=f"dh0 of sequence {b}")
        totals = [total + grad for total, grad in zip(totals, more)]
    for got, want, name in zip(grads, totals, NAMES, strict=True):
        assert_close(got, want, tol=1e-11, what="d" + name)
    gone = ~real(lengths, T)
    assert not out[gone].any() and not dx[gone].any()


@pytest.mark.gradient
def test_means_and_losses_one_by_one(level):
    """Junk in the padding changes neither a mean nor a loss, nor their gradients."""
    T, mask = 5, real(LENGTHS, 5)
    x, targets = rng(1).standard_normal((6, T, 7)), rng(2).integers(0, 7, (6, T))
    for junk in JUNK:
        dirty, wild = with_junk(x, LENGTHS, junk), np.where(mask, targets, -99)
        mean, of_mean = level.masked_mean(dirty, mask)
        dmean = rng(3).standard_normal(mean.shape)
        dx = level.masked_mean_backward(dmean, of_mean)
        loss, of_loss = level.masked_cross_entropy(dirty, wild, mask)
        dlogits = level.masked_cross_entropy_backward(0.7, of_loss)
        last, of_last = level.last_outputs(dirty, LENGTHS)
        total = 0.0
        for b, n in enumerate(LENGTHS):
            want = x[b, :n].mean(0) if n else np.zeros(7)
            assert_close(mean[b], want, tol=1e-12, what=f"mean of sequence {b}")
            assert_close(dx[b, :n], np.tile(dmean[b] / max(n, 1), (n, 1)), tol=1e-12, what="dx")
            assert_close(last[b], x[b, n - 1] if n else np.zeros(7), tol=0, what="last")
            log_p = x[b, :n] - np.log(np.exp(x[b, :n]).sum(-1, keepdims=True))
            total -= log_p[np.arange(n), targets[b, :n]].sum()
            want = (np.exp(log_p) - np.eye(7)[targets[b, :n]]) * 0.7 / LENGTHS.sum()
            assert_close(dlogits[b, :n], want, tol=1e-12, what="dlogits")
        assert_close(np.asarray(loss), np.asarray(total / LENGTHS.sum()), tol=1e-12, what="loss")
        assert not dx[~mask].any() and not dlogits[~mask].any()
        dlast = level.last_outputs_backward(last, of_last)
        assert_close(dlast.sum(1), last, tol=0, what="one step each")


@pytest.mark.levels(2, 3)
@pytest.mark.gradient
@pytest.mark.parametrize("cells", [(RNN, RNN), (LSTM, LSTM), (GRU, GRU), (LSTM, GRU)])
def test_both_directions_one_by_one(level, cells):
    """The same for the module, around each kind of network, two layers deep, and for its final states."""
    pair = [cell(3, H, 2, rng=rng(4 + H)) for cell, H in zip(cells, (4, 5))]
    module = level.Bidirectional(*pair).astype(np.float64)
    x = with_junk(rng(6).standard_normal((6, 5, 3)), LENGTHS)
    out, final = module(x, LENGTHS)
    dout, dfinal = with_junk(rng(7).standard_normal(out.shape), LENGTHS), rng(8).standard_normal(final.shape)
    dx = module.backward((dout, dfinal))
    together = [p.grad.copy() for p in module.parameters()]
    module.zero_grad()
    for b, n in enumerate(LENGTHS):
        one = slice(b, b + 1)
        want, end = module(x[one, :n], LENGTHS[one])
        assert_close(out[one, :n], want, tol=1e-12, what=f"outputs of sequence {b}")
        assert_close(final[one], end, tol=1e-12, what=f"final states of sequence {b}")
        assert_close(dx[one, :n], module.backward((dout[one, :n], dfinal[one])), tol=1e-12, what="dx")
        if n:
            states = module.forward_rnn(x[one, :n])[1], module.backward_rnn(x[one, :n][:, ::-1])[1]
            ends = [(s[0] if isinstance(s, tuple) else s)[-1] for s in states]
            assert_close(end, np.concatenate(ends, 1), tol=1e-12, what="the states after all of it")
    for parameter, want in zip(module.parameters(), together, strict=True):
        assert_close(parameter.grad, want, tol=1e-10, what="gradients of the weights")
    assert not out[~real(LENGTHS, 5)].any() and not dx[~real(LENGTHS, 5)].any()


@pytest.mark.levels(2, 3)
@pytest.mark.value
def test_parity_with_pytorch(level):
    """torch.nn.GRU(bidirectional=True) on packed sequences: outputs, last states and gradients."""
    torch = pytest.importorskip("torch")
    from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
    lengths = np.array([3, 5, 2, 1])
    module = level.Bidirectional(GRU(3, 4, rng=rng(9)), GRU(3, 4, rng=rng(10))).astype(np.float64)
    theirs = torch.nn.GRU(3, 4, batch_first=True, bidirectional=True).double()
    for rnn_of, suffix in ((module.forward_rnn, ""), (module.backward_rnn, "_reverse")):
        for name, parameter in rnn_of.named_parameters():
            dict(theirs.named_parameters())[name + suffix].data = torch.from_numpy(parameter.data.T.copy())
    x = rng(11).standard_normal((4, 5, 3))
    leaf = torch.from_numpy(x).requires_grad_()
    data, h = theirs(pack_padded_sequence(leaf, torch.from_numpy(lengths), batch_first=True, enforce_sorted=False))
    want = pad_packed_sequence(data, batch_first=True)[0]
    out, final = module(x, lengths)
    assert_close(out, want.detach().numpy(), tol=1e-9, what="outputs")
    ends = torch.cat([h[0], h[1]], 1)
    assert_close(final, ends.detach().numpy(), tol=1e-9, what="final states")
    dout, dfinal = rng(12).standard_normal(out.shape), rng(13).standard_normal(final.shape)
    torch.autograd.backward((want, ends), (torch.from_numpy(dout), torch.from_numpy(dfinal)))
    assert_close(module.backward((dout, dfinal)), leaf.grad.numpy(), tol=1e-6, what="dx")
    for rnn_of, suffix in ((module.forward_rnn, ""), (module.backward_rnn, "_reverse")):
        for name, parameter in rnn_of.named_parameters():
            grad = dict(theirs.named_parameters())[name + suffix].grad.numpy().T
            assert_close(parameter.grad, grad, tol=1e-6, what=name + suffix)


@pytest.mark.gradient
@pytest.mark.parametrize("kind", ["tanh", "relu"])
def test_central_differences(level, kind):
    """Every entry of every gradient, through both results."""
    x, h0 = rng(14).standard_normal((6, 5, 3)), rng(15).standard_normal((6, 4))
    check_gradients(lambda x, *a: level.masked_rnn(x, LENGTHS, *a, nonlinearity=kind),
                    lambda d, cache: level.masked_rnn_backward(*d, cache), [x, h0, *weights()])
    check_gradients(lambda x: level.masked_mean(x, real(LENGTHS, 5)), level.masked_mean_backward, [x])
    check_gradients(lambda x: level.last_outputs(x, LENGTHS), level.last_outputs_backward, [x])
    targets = rng(16).integers(0, 3, (6, 5))
    check_gradients(lambda x: level.masked_cross_entropy(x, targets, real(LENGTHS, 5)),
                    level.masked_cross_entropy_backward, [x])


@pytest.mark.levels(2, 3)
@pytest.mark.gradient
def test_module_gradients(level):
    """Through outputs and final states, of the input and all weights."""
    module = level.Bidirectional(RNN(3, 4, rng=rng(17)), GRU(3, 2, rng=rng(18)))
    check_module_gradients(module, [rng(19).standard_normal((6, 5, 3)), LENGTHS])


@pytest.mark.shape
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("ih, hh", [(True, True), (True, False), (False, True), (False, False)])
def test_shapes_and_types(level, dtype, ih, hh):
    """Shapes and dtypes of the inputs; gradients of the biases that were given."""
    w_ih, w_hh, b_ih, b_hh = (w.astype(dtype) for w in weights())
    x, h0 = rng(20).standard_normal((6, 5, 3)).astype(dtype), np.zeros((6, 4), dtype)
    (out, h_T), cache = level.masked_rnn(x, LENGTHS, h0, w_ih, w_hh, b_ih if ih else None, b_hh if hh else None)
    grads = level.masked_rnn_backward(out, h_T, cache)
    assert out.shape == (6, 5, 4) and h_T.shape == (6, 4)
    assert [g.shape for g in grads] == [x.shape, h0.shape, (3, 4), (4, 4)] + [(4,)] * (ih + hh)
    mean, of_mean = level.masked_mean(x, real(LENGTHS, 5))
    loss, of_loss = level.masked_cross_entropy(x, np.zeros((6, 5), int), real(LENGTHS, 5))
    last, of_last = level.last_outputs(x, LENGTHS)
    found = (out, h_T, *grads, mean, loss, last, level.masked_mean_backward(mean, of_mean),
             level.masked_cross_entropy_backward(loss, of_loss), level.last_outputs_backward(last, of_last),
             level.reverse_sequences(x, LENGTHS), level.pack(x, LENGTHS)[0])
    assert {a.dtype for a in found} == {np.dtype(dtype)}


@pytest.mark.value
def test_masks_and_padding(level):
    """Columns as many as asked for; values and dtypes kept; there and back."""
    assert_close(level.lengths_to_mask(LENGTHS), real(LENGTHS, 5), tol=0, what="mask")
    assert_close(level.lengths_to_mask(LENGTHS, 7), real(LENGTHS, 7), tol=0, what="a wider mask")
    assert level.lengths_to_mask(LENGTHS.astype(np.uint8)).dtype == bool
    for shape, dtype in (((), np.int16), ((3,), np.float32), ((2, 3), np.float64)):
        given = [(10 * rng(k).standard_normal((n, *shape))).astype(dtype) for k, n in enumerate(LENGTHS)]
        x, lengths = level.pad(given, value=9, T=6)
        assert x.shape == (6, 6, *shape) and x.dtype == dtype and lengths.tolist() == LENGTHS.tolist()
        assert (x[~real(LENGTHS, 6)] == 9).all()
        for got, want in zip(level.unpad(x, lengths), given, strict=True):
            assert_close(got, want, tol=0, what="there and back")
        assert level.pad(given)[0].shape == (6, 5, *shape)


@pytest.mark.value
def test_reversal(level):
    """Its own inverse and its own adjoint; padding stays; any number of axes behind."""
    for shape in ((), (3,), (2, 3)):
        x, y = rng(21).standard_normal((6, 5, *shape)), rng(22).standard_normal((6, 5, *shape))
        back = level.reverse_sequences(x, LENGTHS)
        assert_close(level.reverse_sequences(back, LENGTHS), x, tol=0, what="twice")
        assert_close(np.asarray((back * y).sum()), np.asarray((x * level.reverse_sequences(y, LENGTHS)).sum()),
                     tol=1e-12, what="<Px, y> = <x, Py>")
        assert_close(back[0], np.concatenate([x[0, 2::-1], x[0, 3:]]), tol=0, what="row 0")
        assert not np.shares_memory(back, x)


@pytest.mark.value
def test_packing_is_adjoint_to_unpacking(level):
    """<pack x, y> = <x, unpack y>; packed and unpacked, the padding is zero."""
    x = rng(23).standard_normal((6, 5, 3))
    data, sizes, order = level.pack(x, LENGTHS)
    assert data.shape == (LENGTHS.sum(), 3) and sizes.tolist() == [5, 4, 3, 1, 1]
    assert order.tolist() == [1, 0, 4, 5, 3, 2]
    y = rng(24).standard_normal(data.shape)
    back = level.unpack(y, sizes, order, 5)
    assert_close(np.asarray((data * y).sum()), np.asarray((x * back).sum()), tol=1e-12, what="adjoint")
    words = level.pack(np.arange(30).reshape(6, 5), LENGTHS)[0]
    assert words.tolist() == [5, 0, 20, 25, 15, 6, 1, 21, 26, 7, 2, 22, 8, 9]


@pytest.mark.gradient
def test_called_twice(level):
    """The cache survives, nothing is shared, nothing that was handed in changes."""
    x, h0, mask = rng(25).standard_normal((6, 5, 3)), rng(26).standard_normal((6, 4)), real(LENGTHS, 5)
    assert_repeatable(level.masked_rnn, [x, LENGTHS, h0, *weights()],
                      f_backward=lambda d, cache: level.masked_rnn_backward(*d, cache))
    assert_repeatable(level.masked_mean, [x, mask], f_backward=level.masked_mean_backward)
    assert_repeatable(level.last_outputs, [x, LENGTHS], f_backward=level.last_outputs_backward)
    assert_repeatable(level.masked_cross_entropy, [x, rng(27).integers(0, 3, (6, 5)), mask],
                      f_backward=level.masked_cross_entropy_backward)
    mean, cache = level.masked_mean(x, mask)
    want = level.masked_mean_backward(mean, cache)
    mask[...] = True                                            # the caller's mask, changed after the call
    assert_close(level.masked_mean_backward(mean, cache), want, tol=0, what="dx")


@pytest.mark.value
def test_dtypes(level):
    """float16 is computed in float32."""
    x, mask = rng(28).standard_normal((6, 5, 3)), real(LENGTHS, 5)
    assert_dtypes(lambda x: level.masked_mean(x, mask), [x], f_backward=level.masked_mean_backward)
    assert_dtypes(lambda x: level.masked_cross_entropy(x, np.ones((6, 5), int), mask), [x],
                  f_backward=level.masked_cross_entropy_backward, scales=(1.0, 1e-2, 30.0))
    once = np.minimum(LENGTHS, 1)                               # over many steps float16's own rounding adds up
    assert_dtypes(lambda x, h, *w: level.masked_rnn(x, once, h, *w), [x, np.zeros((6, 4)), *weights()],
                  f_backward=lambda d, cache: level.masked_rnn_backward(*d, cache), scales=(1.0, 1e-2))
    mean, _ = level.masked_mean(np.full((1, 3000, 1), 60.0, np.float16), np.ones((1, 3000), bool))
    assert_close(mean.astype(float), np.array([[60.0]]), tol=0, what="a sum beyond float16")


@pytest.mark.levels(2)
@pytest.mark.value
def test_bucket_batches(level):
    """Every row once; a pool of 1 is a shuffle, one of all sorts; seeds; the last batch may be short."""
    lengths = rng(29).integers(0, 40, 103)
    for pool in (1, 4, None):
        batches = level.bucket_batches(lengths, 8, rng(30), pool)
        assert sorted(np.concatenate(batches).tolist()) == list(range(103)) and max(map(len, batches)) == 8
        again = level.bucket_batches(lengths, 8, rng(30), pool)
        assert all((a == b).all() for a, b in zip(batches, again, strict=True))
    spread = lambda pool: sum(int(np.ptp(lengths[rows])) for rows in level.bucket_batches(lengths, 8, rng(31), pool))
    assert spread(None) < 60 < spread(4) < spread(1)
    first = [int(lengths[level.bucket_batches(lengths, 8, rng(k))[0]].min()) for k in range(20)]
    assert len(set(first)) > 5                                  # batches are shuffled, not in order of length
    same = level.bucket_batches(np.ones(30, int), 30, rng(32))[0]
    assert same.tolist() != sorted(same.tolist())               # ties too
    assert level.bucket_batches(lengths[:0], 8, rng(33)) == []
