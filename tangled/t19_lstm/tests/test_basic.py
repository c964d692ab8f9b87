# Tangled from chapters/19-lstm.qmd; edit the chapter, then run make tangle. sha256:0f9014e5e474ec71
"""Chapter 19: shapes, values and gradients."""

from itertools import pairwise

import numpy as np
import pytest

from tangled.t06_backpropagation import Module
from tangled.testing import assert_close, assert_dtypes, assert_repeatable, check_gradients, check_module_gradients, rng

NAMES = ("w_ih", "w_hh", "b_ih", "b_hh")


def weights(D=3, H=4, seed=0, scale=0.7):
    """w_ih (D, 4H), w_hh (H, 4H), b_ih (4H,), b_hh (4H,)."""
    draw = rng(seed)
    return [scale * draw.standard_normal(shape) for shape in ((D, 4 * H), (H, 4 * H), (4 * H,), (4 * H,))]


def sequence(level):
    """`lstm` and its backward with the outputs side by side: (out, h_T, c_T)."""
    def forward(*arrays):
        (out, (h, c)), cache = level.lstm(*arrays)
        return (out, h, c), cache
    return forward, lambda d, cache: level.lstm_backward(*d, cache)


def step(level):
    """`lstm_step` and its backward for a pair of gradients."""
    return level.lstm_step, lambda d, cache: level.lstm_step_backward(*d, cache)


@pytest.mark.value
def test_golden_step(level, golden):
    """One step and its seven gradients."""
    case = golden("step")
    names = ("x", "h", "c", *NAMES)
    (h, c), cache = level.lstm_step(*(case.inputs[name] for name in names))
    assert_close(h, case.outputs["h"], what="h")
    assert_close(c, case.outputs["c"], what="c")
    grads = level.lstm_step_backward(case.upstream["h"], case.upstream["c"], cache)
    for got, wrt in zip(grads, names, strict=True):
        assert_close(got, case.grads[wrt], what="d" + wrt)


@pytest.mark.gradient
def test_golden_sequence(level, golden):
    """A whole sequence, initial states, gradients of all outputs and of both last states."""
    case = golden("lstm")
    names = ("x", "h0", "c0", *NAMES)
    (out, (h_T, c_T)), cache = level.lstm(*(case.inputs[name] for name in names))
    for got, name in ((out, "out"), (h_T, "h_T"), (c_T, "c_T")):
        assert_close(got, case.outputs[name], what=name)
    grads = level.lstm_backward(case.upstream["out"], case.upstream["h_T"], case.upstream["c_T"], cache)
    for got, wrt in zip(grads, names, strict=True):
        assert_close(got, case.grads[wrt], what="d" + wrt)


@pytest.mark.value
def test_worked_trace(level):
    """The trace of the chapter: one unit, gates of 1/2 and g = x / 2, no recurrent weights."""
    x, zero = np.arctanh(np.array([0.8, 0.0])).reshape(1, 2, 1), np.zeros((1, 1))
    w_ih = np.array([[0, 0, 1.0, 0]])
    (out, (_, c_T)), cache = level.lstm(x, zero, zero, w_ih, np.zeros((1, 4)))
    assert_close(c_T, np.array([[0.2]]), tol=1e-12, what="c_T")
    assert_close(out.ravel(), np.tanh([0.4, 0.2]) / 2, tol=1e-12, what="out")
    dx, dh0, dc0, dw_ih, dw_hh = level.lstm_backward(np.zeros((1, 2, 1)), None, np.ones((1, 1)), cache)
    assert_close(dc0, np.array([[0.25]]), tol=1e-12, what="dc0")
    assert_close(dx.ravel(), np.array([0.5 * 0.5 * 0.36, 0.5]), tol=1e-12, what="dx")
    want = np.arctanh(0.8) * np.array([[0.5 * 0.8 / 4, 0, 0.5 * 0.5 * 0.36, 0]])
    assert_close(dw_ih, want, tol=1e-12, what="dw_ih")
    assert_close(dh0, zero, tol=1e-12, what="dh0")
    want = np.tanh(0.4) / 2 * np.array([[0, 0.4 / 4, 0.5, 0]])
    assert_close(dw_hh, want, tol=1e-12, what="dw_hh")


@pytest.mark.gradient
@pytest.mark.parametrize("biases", [0, 1, 2])
def test_central_differences(level, biases):
    """Every entry of every gradient, through all results; without biases, with one, with both."""
    x, h0, c0 = rng(2).standard_normal((2, 5, 3)), *rng(3).standard_normal((2, 2, 4))
    parameters = weights()[:2 + biases]
    check_gradients(*sequence(level), [x, h0, c0, *parameters])
    check_gradients(*step(level), [x[:, 0].copy(), h0, c0, *parameters])


@pytest.mark.value
def test_either_bias(level):
    """The second alone is as the first alone, and both are their sum; a gradient for each that is given."""
    x, h0, c0 = rng(4).standard_normal((2, 5, 3)), *rng(5).standard_normal((2, 2, 4))
    w_ih, w_hh, b_ih, b_hh = weights()
    dout = rng(6).standard_normal((2, 5, 4))
    found = []
    for pair in ((b_ih + b_hh, None), (None, b_ih + b_hh), (b_ih, b_hh)):
        (out, _), cache = level.lstm(x, h0, c0, w_ih, w_hh, *pair)
        grads = level.lstm_backward(dout, None, None, cache)
        (new, _), of_step = level.lstm_step(x[:, 0], h0, c0, w_ih, w_hh, *pair)
        steps = level.lstm_step_backward(dout[:, 0], None, of_step)
        assert len(grads) == len(steps) == 5 + sum(b is not None for b in pair)
        found.append([out, new, *grads[:6], *steps[:6]])
    for other in found[1:]:
        for a, b in zip(other, found[0], strict=True):
            assert_close(a, b, tol=1e-10, what="by either bias")
    assert_close(grads[5], grads[6], tol=1e-12, what="both biases")
    assert not np.shares_memory(grads[5], grads[6]) and not np.shares_memory(steps[5], steps[6])


@pytest.mark.gradient
def test_without_last_gradients(level):
    """None is zeros; h_T is the last output, and its gradient adds to that one's."""
    x, h0, c0 = rng(7).standard_normal((2, 5, 3)), *rng(8).standard_normal((2, 2, 4))
    (out, (h_T, _)), cache = level.lstm(x, h0, c0, *weights())
    assert_close(h_T, out[:, -1], tol=0, what="h_T")
    dout, zeros = rng(9).standard_normal(out.shape), np.zeros((2, 4))
    dh_T, dc_T = rng(10).standard_normal((2, 2, 4))
    moved = dout.copy()
    moved[:, -1] += dh_T
    for one, other in (((dout, None, dc_T), (dout, zeros, dc_T)), ((dout, dh_T, None), (dout, dh_T, zeros)),
                       ((dout, dh_T, dc_T), (moved, None, dc_T))):
        for a, b in zip(level.lstm_backward(*one, cache), level.lstm_backward(*other, cache), strict=True):
            assert_close(a, b, tol=1e-12, what="gradient")
    _, cache = level.lstm_step(x[:, 0], h0, c0, *weights())
    for one, other in (((None, dc_T), (zeros, dc_T)), ((dh_T, None), (dh_T, zeros))):
        for a, b in zip(level.lstm_step_backward(*one, cache), level.lstm_step_backward(*other, cache), strict=True):
            assert_close(a, b, tol=0, what="gradient of a step")


@pytest.mark.gradient
@pytest.mark.parametrize("cuts", [[3], [1, 4], [0, 7]])
def test_windows_equal_the_whole(level, cuts):
    """States handed on, gradients handed back: windows of any length give the whole sequence's results."""
    x, (h, c), parameters = rng(11).standard_normal((2, 7, 3)), rng(12).standard_normal((2, 2, 4)), weights()
    forward, backward = sequence(level)
    (out, h_T, c_T), cache = forward(x, h, c, *parameters)
    dout, (dh, dc) = rng(13).standard_normal(out.shape), rng(14).standard_normal((2, 2, 4))
    want = backward((dout, dh, dc), cache)
    caches, outs, edges = [], [], [0, *cuts, 7]
    for a, b in pairwise(edges):
        (piece, h, c), cache = forward(x[:, a:b], h, c, *parameters)
        outs.append(piece)
        caches.append(cache)
    for got, expected in ((np.concatenate(outs, 1), out), (h, h_T), (c, c_T)):
        assert_close(got, expected, tol=1e-12, what="outputs and states")
    dx, totals = [], 0
    for (a, b), cache in zip(reversed(list(pairwise(edges))), reversed(caches)):
        piece, dh, dc, *grads = backward((dout[:, a:b], dh, dc), cache)
        dx.insert(0, piece)
        totals = [g + t for g, t in zip(grads, totals)] if totals else grads
    got = np.concatenate(dx, 1), dh, dc, *totals
    for a, b, name in zip(got, want, ("x", "h0", "c0", *NAMES), strict=True):
        assert_close(a, b, tol=1e-10, what="d" + name)


@pytest.mark.gradient
@pytest.mark.parametrize("bias", [-3.0, 0.0, 2.0])
def test_the_carousel(level, bias):
    """With weights of zero the cell's gradient is the product of the forget gates; eq. 19.9."""
    T, b, c0 = 6, np.zeros(16), rng(15).standard_normal((2, 4))
    b[4:8] = bias
    x, zero = np.zeros((2, T, 3)), np.zeros((2, 4))
    (_, (_, c_T)), cache = level.lstm(x, zero, c0, np.zeros((3, 16)), np.zeros((4, 16)), b)
    kept = (1 / (1 + np.exp(-bias))) ** T
    assert_close(c_T, kept * c0, tol=1e-10, what="c_T")
    dc0 = level.lstm_backward(np.zeros((2, T, 4)), None, np.ones((2, 4)), cache)[2]
    assert_close(dc0, np.full((2, 4), kept), tol=1e-10, what="dc0")


@pytest.mark.value
def test_a_cell_that_counts(level):
    """Gates open, g near 1: the cell grows by 1 a step and has no bound; only the output has."""
    b = np.full(4, 30.0)
    zero = np.zeros((1, 1))
    (out, (_, c_T)), cache = level.lstm(np.zeros((1, 9, 1)), zero, zero, np.zeros((1, 4)), np.zeros((1, 4)), b)
    assert_close(c_T, np.array([[9.0]]), tol=1e-9, what="c_T")
    assert_close(out.ravel(), np.tanh(np.arange(1.0, 10)), tol=1e-9, what="out")
    assert_close(level.lstm_backward(0 * out, None, zero + 1, cache)[2], zero + 1, tol=1e-9, what="dc0")


@pytest.mark.gradient
def test_called_twice(level):
    """The cache survives, nothing is shared, nothing that was handed in changes."""
    x, h0, c0 = rng(16).standard_normal((2, 3, 3)), *rng(17).standard_normal((2, 2, 4))
    forward, backward = sequence(level)
    assert_repeatable(forward, [x, h0, c0, *weights()], f_backward=backward)
    forward, backward = step(level)
    assert_repeatable(forward, [x[:, 0].copy(), h0, c0, *weights()], f_backward=backward)


@pytest.mark.gradient
@pytest.mark.parametrize("B, T", [(2, 3), (1, 3), (2, 1)])
def test_cache_is_private(level, B, T):
    """Results that are overwritten after the call do not change the gradients."""
    x, states = rng(18).standard_normal((B, T, 3)), rng(19).standard_normal((2, B, 4))
    dout, dc = rng(20).standard_normal((B, T, 4)), rng(21).standard_normal((B, 4))
    for forward, backward, first, upstream in ((*sequence(level), x, (dout, None, dc)),
                                               (*step(level), x[:, 0], (dout[:, 0], dc))):
        _, cache = forward(first, *states, *weights())
        want = backward(upstream, cache)
        results, cache = forward(first, *states, *weights())
        for result in results:
            result[...] = 7
        for a, b in zip(backward(upstream, cache), want, strict=True):
            assert_close(a, b, tol=0, what="gradient")


@pytest.mark.value
def test_dtypes(level):
    """float16 is computed in float32; every dtype is right at large and small inputs."""
    states = rng(22).standard_normal((2, 2, 4))
    forward, backward = step(level)
    assert_dtypes(forward, [rng(23).standard_normal((2, 3)), *states, *weights()], f_backward=backward,
                  scales=(1.0, 1e-2))
    forward, backward = sequence(level)
    assert_dtypes(forward, [rng(23).standard_normal((2, 5, 3)), *states, *weights()], f_backward=backward,
                  scales=(1.0, 1e-2))


@pytest.mark.value
def test_half_precision(level):
    """A cell that counts to 3,000 and back in float16, which by itself stops at 2,048; so do sums of gradients."""
    T, b = 3000, np.array([30.0, 30, 0, 30], np.float16)
    x = np.where(np.arange(T + 800) < T, 10.0, -10.0).astype(np.float16).reshape(1, -1, 1)
    zero, w_ih = np.zeros((1, 1), np.float16), np.array([[0, 0, 1, 0]], np.float16)
    (_, (_, c_T)), cache = level.lstm(x, zero, zero, w_ih, np.zeros((1, 4), np.float16), b)
    assert c_T.dtype == np.float16
    assert_close(c_T.astype(float), np.array([[T - 800.0]]), tol=1e-3, what="c_T")
    _, cache = level.lstm(0 * x[:, :T], zero, zero, 0 * w_ih, np.zeros((1, 4), np.float16), b)
    db = level.lstm_backward(np.zeros((1, T, 1), np.float16), None, zero + 1, cache)[5]
    assert_close(db.astype(float), np.array([0.0, 0, T, 0]), tol=1e-3, what="db_ih")


class Flat(Module):
    """An LSTM with one array of states and one of results, for the checks of gradients."""

    def __init__(self, inner):
        self.inner = inner

    def forward(self, x, states):
        """x (B, T, D), states (2, L, B, H): all results in one row."""
        out, (h, c) = self.inner(x, (states[0], states[1]))
        self.shapes = out.shape, h.shape
        return np.concatenate([out.ravel(), h.ravel(), c.ravel()])

    def backward(self, dout):
        """A row of gradients: dx, dstates."""
        n, m = (int(np.prod(shape)) for shape in self.shapes)
        dh, dc = dout[n:n + m].reshape(self.shapes[1]), dout[n + m:].reshape(self.shapes[1])
        dx, states = self.inner.backward((dout[:n].reshape(self.shapes[0]), (dh, dc)))
        return dx, np.stack(states)


@pytest.mark.levels(2, 3)
@pytest.mark.gradient
@pytest.mark.parametrize("options", [{}, {"num_layers": 2}, {"bias": False},
                                     {"batch_first": False, "num_layers": 2, "forget_bias": None}])
def test_module_gradients(level, options):
    """Central differences for input, states and all parameters."""
    module = level.LSTM(3, 2, rng=rng(24), **options)
    B, T = 4, 3
    x = rng(25).standard_normal((B, T, 3) if options.get("batch_first", True) else (T, B, 3))
    check_module_gradients(Flat(module), [x, rng(26).standard_normal((2, options.get("num_layers", 1), B, 2))])


@pytest.mark.levels(2, 3)
@pytest.mark.value
@pytest.mark.parametrize("layers, batch_first, bias", [(1, True, True), (3, True, True), (2, False, True),
                                                       (2, True, False)])
def test_parity_with_pytorch(level, layers, batch_first, bias):
    """Weights go to torch.nn.LSTM and back; outputs and all gradients equal, to 1e-6 in float64."""
    torch = pytest.importorskip("torch")
    ours = level.LSTM(3, 4, layers, bias, batch_first, rng=rng(27)).astype(np.float64)
    theirs = torch.nn.LSTM(3, 4, layers, bias, batch_first).double()
    others = {name: p.detach().clone() for name, p in theirs.named_parameters()}
    x, states = rng(28).standard_normal((2, 5, 3)), rng(29).standard_normal((2, layers, 2 if batch_first else 5, 4))
    for there in (True, False):
        if there:
            theirs.load_state_dict({k: torch.from_numpy(v) for k, v in level.to_pytorch(ours).items()})
        else:
            theirs.load_state_dict(others)
            assert level.from_pytorch(ours, theirs.state_dict()) is ours
        out, ends = ours(x, tuple(states))
        tensors = [torch.from_numpy(a.copy()).requires_grad_() for a in (x, *states)]
        their_out, their_ends = theirs(tensors[0], tuple(tensors[1:]))
        for a, b in zip((out, *ends), (their_out, *their_ends)):
            assert_close(a, b.detach().numpy(), tol=1e-9, what="out, h and c")
        dout, dends = rng(30).standard_normal(out.shape), rng(31).standard_normal(states.shape)
        theirs.zero_grad()
        ours.zero_grad()
        torch.autograd.backward((their_out, *their_ends), [torch.from_numpy(d) for d in (dout, *dends)])
        dx, dstates = ours.backward((dout, tuple(dends)))
        for a, b in zip((dx, *dstates), tensors):
            assert_close(a, b.grad.numpy(), tol=1e-6, what="dx, dh and dc")
        own = dict(ours.named_parameters())
        for name, parameter in theirs.named_parameters():
            assert_close(own[name].grad, parameter.grad.numpy().T, tol=1e-6, what=name)


@pytest.mark.levels(3)
@pytest.mark.value
@pytest.mark.parametrize("biases", [0, 1, 2])
@pytest.mark.parametrize("B, D, H", [(3, 5, 128), (2, 70, 9), (130, 1, 37)])
def test_level3_equals_level2(level, B, D, H, biases):
    """Wide layers, wide inputs, a large batch: values and all gradients, of no bias, one or two."""
    from tangled.t19_lstm import level2_vectorized as plain
    arrays = [rng(30).standard_normal((B, 4, D)), *rng(31).standard_normal((2, B, H)),
              *weights(D, H, 32, 0.1)[:2 + biases]]
    results = []
    for module in (level, plain):
        forward, backward = sequence(module)
        outs, cache = forward(*arrays)
        results.append([*outs, *backward([rng(33 + k).standard_normal(o.shape) for k, o in enumerate(outs)], cache)])
    for k, (got, want) in enumerate(zip(*results, strict=True)):
        assert_close(got, want, tol=1e-10, what=f"result {k}")


@pytest.mark.levels(2, 3)
@pytest.mark.value
def test_there_and_back(level):
    """The names and shapes of torch.nn.LSTM; copies; the module's dtype stays."""
    module, other = level.LSTM(3, 4, 2, rng=rng(32)), level.LSTM(3, 4, 2, rng=rng(33))
    state = level.to_pytorch(module)
    assert {k: v.shape for k, v in state.items()} == {
        "weight_ih_l0": (16, 3), "weight_hh_l0": (16, 4), "bias_ih_l0": (16,), "bias_hh_l0": (16,),
        "weight_ih_l1": (16, 4), "weight_hh_l1": (16, 4), "bias_ih_l1": (16,), "bias_hh_l1": (16,)}
    level.from_pytorch(other, {k: v.astype(np.float64) for k, v in state.items()})
    for (name, a), b in zip(module.named_parameters(), other.parameters(), strict=True):
        assert_close(a.data, b.data, tol=0, what=name)
        assert b.data.dtype == np.float32
        assert not any(np.shares_memory(v, p.data) for v in state.values() for p in (a, b))


@pytest.mark.levels(2, 3)
@pytest.mark.value
@pytest.mark.parametrize("bias", [1.0, 0.0, 4.5])
def test_forget_bias(level, bias):
    """The two biases of the forget gate add up to it, in every layer; nothing else is touched."""
    module, drawn = level.LSTM(3, 16, 2, forget_bias=bias, rng=rng(34)), level.LSTM(3, 16, 2, forget_bias=None,
                                                                                    rng=rng(34))
    default = level.LSTM(3, 16, 2, rng=rng(34))
    for k in range(2):
        total = getattr(module, f"bias_ih_l{k}").data + getattr(module, f"bias_hh_l{k}").data
        assert_close(total[16:32], np.full(16, bias), tol=0, what=f"bias of the forget gate, layer {k}")
        total = getattr(default, f"bias_ih_l{k}").data + getattr(default, f"bias_hh_l{k}").data
        assert_close(total[16:32], np.ones(16), tol=0, what=f"the default, layer {k}")
        for name in ("bias_ih", "bias_hh"):
            a, b = (getattr(m, f"{name}_l{k}").data for m in (module, drawn))
            assert_close(np.delete(a, np.s_[16:32]), np.delete(b, np.s_[16:32]), tol=0, what="the other biases")
            assert np.abs(b[16:32]).max() > 0.1
    assert level.LSTM(3, 16, bias=False, forget_bias=bias).bias_ih_l0 is None


@pytest.mark.levels(2, 3)
@pytest.mark.value
def test_modules(level):
    """No state is zeros; dx alone then; None for gradients; bounds and seeds of the weights; gradients add up."""
    module = level.LSTM(3, 16, 2, rng=rng(35))
    x = rng(36).standard_normal((2, 4, 3)).astype(np.float32)
    out, (h, c) = module(x)
    zeros = np.zeros((2, 2, 16), np.float32)
    again, _ = module(x, (zeros, zeros))
    assert_close(out, again, tol=0, what="zeros")
    both = module.backward((out, (zeros, None)))
    module(x)
    for p in module.parameters():
        p.grad = None
    dx = module.backward(out)
    assert_close(both[0], dx, tol=0, what="dx")
    assert dx.shape == x.shape and out.dtype == h.dtype == c.dtype == np.float32
    assert_close(out[:, -1], h[1], tol=0, what="the last layer's state")
    once = [p.grad.copy() for p in module.parameters()]
    module.backward((out, None))
    for parameter, grad in zip(module.parameters(), once, strict=True):
        assert_close(parameter.grad, 2 * grad, tol=1e-6, what="gradient, twice")
    for name in ("weight_ih_l0", "weight_hh_l1", "weight_ih_l1"):
        assert 0.6 / 4 < np.abs(getattr(module, name).data).max() <= 0.25
    other = level.LSTM(3, 16, 2, rng=rng(35))
    assert_close(other.weight_hh_l1.data, module.weight_hh_l1.data, tol=0, what="the same seed")
