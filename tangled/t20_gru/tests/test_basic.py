# Tangled from chapters/20-gru.qmd; edit the chapter, then run make tangle. sha256:5fbc3829f65b2ed6
"""Chapter 20: shapes, values and gradients."""

from itertools import pairwise

import numpy as np
import pytest

from tangled.testing import assert_close, assert_dtypes, assert_repeatable, check_gradients, check_module_gradients, rng

NAMES = ("w_ih", "w_hh", "b_ih", "b_hh")
both = pytest.mark.parametrize("kind", ["pytorch", "cho"])


def weights(D=3, H=4, seed=0, scale=0.7):
    """w_ih (D, 3H), w_hh (H, 3H), b_ih (3H,), b_hh (3H,)."""
    draw = rng(seed)
    return [scale * draw.standard_normal(shape) for shape in ((D, 3 * H), (H, 3 * H), (3 * H,), (3 * H,))]


def with_gates(parameters, r=None, z=None):
    """The same weights, with gates that stand at sigmoid(r) and sigmoid(z) whatever comes in."""
    parameters, H = [p.copy() for p in parameters], len(parameters[1])
    for k, value in enumerate((r, z)):
        if value is not None:
            for p in parameters:
                p[..., k * H:(k + 1) * H] = 0
            parameters[2][k * H:(k + 1) * H] = value
    return parameters


def sigmoid(a):
    """The logistic function."""
    return 1 / (1 + np.exp(-a))


@pytest.mark.value
@both
def test_golden_step(level, golden, kind):
    """One step and its six gradients."""
    case = golden(f"step-{kind}")
    out, cache = level.gru_step(**case.inputs)
    assert_close(out, case.outputs["h_new"], what="h_new")
    grads = level.gru_step_backward(case.upstream["h_new"], cache)
    for got, wrt in zip(grads, ("x", "h", *NAMES), strict=True):
        assert_close(got, case.grads[wrt], what="d" + wrt)


@pytest.mark.gradient
@both
def test_golden_sequence(level, golden, kind):
    """A whole sequence, an initial state, gradients of all outputs and of the last state."""
    case = golden(f"gru-{kind}")
    (out, h_T), cache = level.gru(**case.inputs)
    assert_close(out, case.outputs["out"], what="out")
    assert_close(h_T, case.outputs["h_T"], what="h_T")
    grads = level.gru_backward(case.upstream["out"], case.upstream["h_T"], cache)
    for got, wrt in zip(grads, ("x", "h0", *NAMES), strict=True):
        assert_close(got, case.grads[wrt], what="d" + wrt)


@pytest.mark.shape
@both
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("ih, hh", [(True, True), (True, False), (False, True), (False, False)])
def test_shapes_and_types(level, kind, dtype, ih, hh):
    """Shapes and dtypes of the inputs; a bias that is None is one of zeros, without a gradient."""
    w_ih, w_hh, b_ih, b_hh = (w.astype(dtype) for w in weights())
    x, h = rng(1).standard_normal((2, 5, 3)).astype(dtype), np.full((2, 4), 0.5, dtype)
    biases = (b_ih if ih else None, b_hh if hh else None)
    (out, h_T), cache = level.gru(x, h, w_ih, w_hh, *biases, kind)
    grads = level.gru_backward(out, h_T, cache)
    assert out.shape == (2, 5, 4) and h_T.shape == (2, 4)
    assert [g.shape for g in grads] == [x.shape, h.shape, (3, 12), (4, 12)] + [(12,)] * (ih + hh)
    new, of_step = level.gru_step(x[:, 0], h, w_ih, w_hh, *biases, kind)
    step = level.gru_step_backward(new, of_step)
    assert [g.shape for g in step] == [(2, 3), (2, 4), (3, 12), (4, 12)] + [(12,)] * (ih + hh)
    assert {a.dtype for a in (out, h_T, *grads, new, *step)} == {np.dtype(dtype)}
    zeros = [np.zeros(12, dtype) if b is None else b for b in biases]
    (same, _), cache = level.gru(x, h, w_ih, w_hh, *zeros, kind)
    assert_close(same.astype(float), out.astype(float), tol=0, what="out, biases of zeros")
    kept = [g for g, there in zip(level.gru_backward(out, h_T, cache), (1, 1, 1, 1, ih, hh)) if there]
    for a, b in zip(grads, kept, strict=True):
        assert_close(a.astype(float), b.astype(float), tol=0, what="gradients, biases of zeros")


@pytest.mark.value
def test_worked_trace(level):
    """The numbers of the chapter's trace."""
    one, zero, n = np.ones((1, 1)), np.zeros((1, 3)), np.array([[0.0, 0, 1]])
    after, cache = level.gru_step(one, one, zero, n, zero[0], n[0])
    before, _ = level.gru_step(one, one, zero, n, zero[0], n[0], "cho")
    assert_close(np.r_[after[0], before[0]], sigmoid(np.array([2.0, 3.0])), tol=1e-12, what="h")
    _, dh, _, dw_hh, db_ih, db_hh = level.gru_step_backward(one, cache)
    assert_close(dh, np.array([[0.6050]]), tol=1e-4, what="dh")
    assert_close(db_ih, np.array([0.1050, 0.0596, 0.2100]), tol=1e-4, what="db_ih")
    assert_close(db_hh, np.array([0.1050, 0.0596, 0.1050]), tol=1e-4, what="db_hh")
    assert_close(dw_hh[0], db_hh, tol=1e-12, what="dw_hh, of a state of 1")


@pytest.mark.gradient
@both
def test_central_differences(level, kind):
    """Every entry of every gradient, through both results."""
    x, h0 = rng(2).standard_normal((2, 3, 3)), rng(3).standard_normal((2, 4))
    check_gradients(lambda *a: level.gru(*a, variant=kind), lambda d, cache: level.gru_backward(*d, cache),
                    [x, h0, *weights()])
    check_gradients(lambda *a: level.gru_step(*a, variant=kind), level.gru_step_backward,
                    [x[:, 0].copy(), h0, *weights()])


@pytest.mark.value
@both
def test_one_gate_at_a_time(level, kind):
    """Update at 1 keeps the state, at 0 with reset at 0 forgets it, at 0 with reset at 1 is a plain step."""
    x, h, parameters = rng(4).standard_normal((2, 3)), rng(5).standard_normal((2, 4)), weights(seed=6)
    kept, cache = level.gru_step(x, h, *with_gates(parameters, z=50), kind)
    assert_close(kept, h, tol=1e-12, what="kept")
    dh = rng(7).standard_normal((2, 4))
    dx, back, *_ = level.gru_step_backward(dh, cache)
    assert_close(back, dh, tol=1e-12, what="its gradient")
    assert_close(dx, np.zeros((2, 3)), tol=1e-12, what="that of the input")
    w_ih, w_hh, b_ih, b_hh = (p[..., 8:] for p in parameters)
    fresh, _ = level.gru_step(x, h, *with_gates(parameters, r=-50, z=-50), kind)
    want = np.tanh(x @ w_ih + b_ih + (b_hh if kind == "cho" else 0))
    assert_close(fresh, want, tol=1e-12, what="from the input alone")
    plain, _ = level.gru_step(x, h, *with_gates(parameters, r=50, z=-50), kind)
    assert_close(plain, np.tanh(x @ w_ih + b_ih + h @ w_hh + b_hh), tol=1e-12, what="a plain step")


@pytest.mark.value
def test_two_variants(level):
    """Equal where the reset gate is 1, or where there is one unit without a bias; elsewhere not."""
    x, h0, parameters = rng(8).standard_normal((2, 5, 3)), rng(9).standard_normal((2, 4)), weights(seed=10)
    run = lambda h, p, kind: level.gru(x, h, *p, kind)[0][0]
    assert np.abs(run(h0, parameters, "pytorch") - run(h0, parameters, "cho")).max() > 0.05
    open_ = with_gates(parameters, r=50)
    assert_close(run(h0, open_, "cho"), run(h0, open_, "pytorch"), tol=1e-12, what="reset at 1")
    single = weights(3, 1, seed=11)
    assert np.abs(run(h0[:, :1], single, "pytorch") - run(h0[:, :1], single, "cho")).max() > 0.01
    single[3][2] = 0
    assert_close(run(h0[:, :1], single, "cho"), run(h0[:, :1], single, "pytorch"), tol=1e-12, what="one unit")
    half = with_gates(parameters, r=0)                          # 1/2 for all: only the bias is another
    half[3][8:] = 0
    assert_close(run(h0, half, "cho"), run(h0, half, "pytorch"), tol=1e-12, what="the same reset for all")


@pytest.mark.value
@both
def test_bounded(level, kind):
    """Between the old state and 1, for weights of any size."""
    x, h0, parameters = 30 * rng(12).standard_normal((2, 20, 3)), np.array([[3.0, 0, -1, 0.5]] * 2), weights(scale=9)
    (out, _), _ = level.gru(x, h0, *parameters, kind)
    before = np.concatenate([h0[:, None], out[:, :-1]], 1)
    assert (np.abs(out) <= np.maximum(1, np.abs(before)) + 1e-12).all() and np.abs(out[..., 1:]).max() <= 1


@pytest.mark.value
def test_weighted_mean(level):
    """A state is the mean of all candidates with the weights of eq. 20.5, which sum to 1."""
    x, h0, parameters = rng(13).standard_normal((2, 6, 3)), rng(14).standard_normal((2, 4)), weights(seed=15)
    (out, h_T), _ = level.gru(x, h0, *parameters)
    w_ih, w_hh, b_ih, b_hh = parameters
    states, total, left = np.concatenate([h0[:, None], out[:, :-1]], 1), np.zeros((2, 4)), np.ones((2, 4))
    for t in reversed(range(6)):
        a, s = x[:, t] @ w_ih + b_ih, states[:, t] @ w_hh + b_hh
        r, z = sigmoid(a[:, :4] + s[:, :4]), sigmoid(a[:, 4:8] + s[:, 4:8])
        total += left * (1 - z) * np.tanh(a[:, 8:] + r * s[:, 8:])
        left = left * z
    assert_close(h_T, total + left * h0, tol=1e-12, what="h_T")


@pytest.mark.gradient
def test_without_a_last_gradient(level):
    """dh_T of None is zeros; h_T is the last output, and its gradient adds to that one's."""
    x, h0 = rng(16).standard_normal((2, 5, 3)), rng(17).standard_normal((2, 4))
    (out, h_T), cache = level.gru(x, h0, *weights())
    assert_close(h_T, out[:, -1], tol=0, what="h_T")
    dout, dh_T = rng(18).standard_normal(out.shape), rng(19).standard_normal(h_T.shape)
    for a, b in zip(level.gru_backward(dout, None, cache), level.gru_backward(dout, np.zeros((2, 4)), cache)):
        assert_close(a, b, tol=1e-12, what="None against zeros")
    moved = dout.copy()
    moved[:, -1] += dh_T
    for a, b in zip(level.gru_backward(dout, dh_T, cache), level.gru_backward(moved, None, cache)):
        assert_close(a, b, tol=1e-12, what="through the last output")


@pytest.mark.gradient
@both
@pytest.mark.parametrize("cuts", [[3], [1, 4], [0, 7]])
def test_windows_equal_the_whole(level, kind, cuts):
    """State handed on, gradient handed back: windows of any length give the whole sequence's results."""
    x, h0, parameters = rng(20).standard_normal((2, 7, 3)), rng(21).standard_normal((2, 4)), [*weights(), kind]
    (out, h_T), cache = level.gru(x, h0, *parameters)
    dout, dh_T = rng(22).standard_normal(out.shape), rng(23).standard_normal(h_T.shape)
    want = level.gru_backward(dout, dh_T, cache)
    state, caches, outs, edges = h0, [], [], [0, *cuts, 7]
    for a, b in pairwise(edges):
        (piece, state), cache = level.gru(x[:, a:b], state, *parameters)
        outs.append(piece)
        caches.append(cache)
    assert_close(np.concatenate(outs, 1), out, tol=1e-12, what="outputs")
    assert_close(state, h_T, tol=1e-12, what="state")
    ds, dx, totals = dh_T, [], 0
    for (a, b), cache in zip(reversed(list(pairwise(edges))), reversed(caches)):
        piece, ds, *grads = level.gru_backward(dout[:, a:b], ds, cache)
        dx.insert(0, piece)
        totals = [g + t for g, t in zip(grads, totals)] if totals else grads
    for got, expected, name in zip((np.concatenate(dx, 1), ds, *totals), want, ("x", "h0", *NAMES)):
        assert_close(got, expected, tol=1e-10, what="d" + name)


@pytest.mark.gradient
@both
def test_called_twice(level, kind):
    """The cache survives, nothing is shared, nothing that was handed in changes."""
    x, h0 = rng(24).standard_normal((2, 3, 3)), rng(25).standard_normal((2, 4))
    run, step = (lambda *a: level.gru(*a, kind)), (lambda *a: level.gru_step(*a, kind))
    assert_repeatable(run, [x, h0, *weights()], f_backward=lambda d, cache: level.gru_backward(*d, cache))
    assert_repeatable(step, [x[:, 0].copy(), h0, *weights()], f_backward=level.gru_step_backward)


@pytest.mark.gradient
@both
@pytest.mark.parametrize("B, T", [(2, 3), (1, 3), (2, 1)])
def test_cache_is_private(level, kind, B, T):
    """Results that are overwritten after the call do not change the gradients."""
    x, h0, parameters = rng(26).standard_normal((B, T, 3)), rng(27).standard_normal((B, 4)), [*weights(), kind]
    dout = rng(28).standard_normal((B, T, 4))
    (out, h_T), cache = level.gru(x, h0, *parameters)
    want = level.gru_backward(dout, None, cache)
    out[...] = h_T[...] = 7
    for a, b in zip(level.gru_backward(dout, None, cache), want):
        assert_close(a, b, tol=0, what="gradient")
    new, cache = level.gru_step(x[:, 0], h0, *parameters)
    want = level.gru_step_backward(dout[:, 0], cache)
    new[...] = 7
    for a, b in zip(level.gru_step_backward(dout[:, 0], cache), want):
        assert_close(a, b, tol=0, what="gradient of a step")


@pytest.mark.value
@both
def test_long_sums_of_half_precision(level, kind):
    """3,000 gradients of 1: float16 alone would stop at 2,048."""
    zeros = [np.zeros(shape, np.float16) for shape in ((1, 3000, 1), (1, 1), (1, 3), (1, 3), (3,), (3,))]
    _, cache = level.gru(*zeros, kind)
    dout = np.ones((1, 3000, 1), np.float16)
    dout[0, -1] = 2                                             # 1 + 2 z is 2 then, in every step
    *_, db_ih, db_hh = level.gru_backward(dout, None, cache)
    assert_close(db_ih.astype(float), np.array([0, 0, 3000.0]), tol=1e-12, what="db_ih")
    inside = 3000.0 if kind == "cho" else 1500.0
    assert_close(db_hh.astype(float), np.array([0, 0, inside]), tol=1e-12, what="db_hh")


@pytest.mark.value
@both
def test_half_precision_within(level, kind):
    """60,000 + 60,000 - 120,000 is beyond float16 on its way."""
    big, one = np.float16(6e4), np.ones((1, 1, 1), np.float16)
    n = np.array([[0, 0, big]], np.float16)
    b_ih = np.array([big, -big, big], np.float16)               # reset at 1, update at 0
    (out, _), _ = level.gru(one, one[0], n, -n, b_ih, -n[0], kind)
    new, _ = level.gru_step(one[0], one[0], n, -n, b_ih, -n[0], kind)
    assert_close(np.r_[out.ravel(), new.ravel()].astype(float), np.zeros(2), tol=0, what="tanh(0)")


@pytest.mark.value
@both
def test_dtypes(level, kind):
    """float16 is computed in float32; every dtype is right at large and small inputs."""
    assert_dtypes(lambda *a: level.gru_step(*a, kind),
                  [rng(29).standard_normal((2, 3)), np.full((2, 4), 0.3), *weights()],
                  f_backward=level.gru_step_backward, scales=(1.0, 1e-2))


@pytest.mark.levels(2, 3)
@pytest.mark.gradient
@pytest.mark.parametrize("options", [{}, {"num_layers": 2}, {"variant": "cho", "bias": False},
                                     {"batch_first": False, "num_layers": 2}])
def test_module_gradients(level, options):
    """Central differences for input, states and all parameters."""
    module = level.GRU(3, 4, rng=rng(30), **options)
    shape = (2, 3, 3) if options.get("batch_first", True) else (3, 2, 3)
    state = rng(31).standard_normal((options.get("num_layers", 1), 2, 4))
    check_module_gradients(module, [rng(32).standard_normal(shape), state])


@pytest.mark.levels(2, 3)
@pytest.mark.value
@pytest.mark.parametrize("layers, batch_first, bias", [(1, True, True), (3, True, True), (2, False, True),
                                                       (2, True, False)])
def test_parity_with_pytorch(level, layers, batch_first, bias):
    """Weights go to torch.nn.GRU and back; outputs and all gradients equal, to 1e-6 in float64."""
    torch = pytest.importorskip("torch")
    ours = level.GRU(3, 4, layers, bias, batch_first, rng=rng(33)).astype(np.float64)
    theirs = torch.nn.GRU(3, 4, layers, bias, batch_first).double()
    back = level.from_pytorch(level.GRU(3, 4, layers, bias, batch_first, rng=rng(34)).astype(np.float64),
                              theirs.state_dict())
    assert [name for name, _ in theirs.named_parameters()] == [name for name, _ in ours.named_parameters()]
    x, h0 = rng(35).standard_normal((2, 5, 3)), rng(36).standard_normal((layers, 2 if batch_first else 5, 4))
    compare(torch, back, theirs, x, h0)
    theirs.load_state_dict({name: torch.from_numpy(a) for name, a in level.to_pytorch(ours).items()})
    compare(torch, ours, theirs, x, h0)


def compare(torch, ours, theirs, x, h0):
    """Outputs, states and the gradients of everything."""
    out, end = ours(x, h0)
    tensors = [torch.from_numpy(a).requires_grad_() for a in (x, h0)]
    their_out, their_end = theirs(*tensors)
    assert_close(out, their_out.detach().numpy(), tol=1e-9, what="out")
    assert_close(end, their_end.detach().numpy(), tol=1e-9, what="h")
    dout, dend = rng(37).standard_normal(out.shape), rng(38).standard_normal(end.shape)
    theirs.zero_grad()
    torch.autograd.backward((their_out, their_end), (torch.from_numpy(dout), torch.from_numpy(dend)))
    dx, dh0 = ours.backward((dout, dend))
    assert_close(dx, tensors[0].grad.numpy(), tol=1e-6, what="dx")
    assert_close(dh0, tensors[1].grad.numpy(), tol=1e-6, what="dh0")
    for name, parameter in theirs.named_parameters():
        assert_close(dict(ours.named_parameters())[name].grad, parameter.grad.numpy().T, tol=1e-6, what=name)


@pytest.mark.levels(2, 3)
@pytest.mark.value
def test_weights_go_and_come_back(level):
    """Bit for bit, as copies, in the module's dtype; from a file's arrays too."""
    module, other = level.GRU(3, 4, 2, rng=rng(39)), level.GRU(3, 4, 2, rng=rng(40))
    state = level.to_pytorch(module)
    assert {name: a.shape for name, a in state.items()} == {
        "weight_ih_l0": (12, 3), "weight_hh_l0": (12, 4), "bias_ih_l0": (12,), "bias_hh_l0": (12,),
        "weight_ih_l1": (12, 4), "weight_hh_l1": (12, 4), "bias_ih_l1": (12,), "bias_hh_l1": (12,)}
    assert level.from_pytorch(other, {name: a.astype(float) for name, a in state.items()}) is other
    for (name, a), (_, b) in zip(module.named_parameters(), other.named_parameters(), strict=True):
        assert b.data.dtype == np.float32
        assert_close(a.data, b.data, tol=0, what=name)
    level.from_pytorch(other, state)
    for name, a in state.items():
        a[...] = 7
        assert np.abs(getattr(module, name).data).max() < 1 and np.abs(getattr(other, name).data).max() < 1


@pytest.mark.levels(2, 3)
@pytest.mark.value
def test_modules(level):
    """A state of None is zeros; dx alone then; bounds and seeds of the weights; gradients add up."""
    module = level.GRU(3, 16, 2, rng=rng(41))
    x = rng(42).standard_normal((2, 4, 3)).astype(np.float32)
    out, end = module(x)
    again, _ = module(x, np.zeros((2, 2, 16), np.float32))
    assert_close(out, again, tol=0, what="zeros")
    assert_close(end[1], out[:, -1], tol=0, what="the last layer's state")
    module(x)
    dx = module.backward((out, None))
    assert dx.shape == x.shape
    once = [p.grad.copy() for p in module.parameters()]
    module.backward((out, None))
    for parameter, grad in zip(module.parameters(), once):
        assert_close(parameter.grad, 2 * grad, tol=1e-6, what="gradient, twice")
        assert 0.6 / 4 < np.abs(parameter.data).max() <= 0.25
    other = level.GRU(3, 16, 2, rng=rng(41))
    assert_close(other.weight_hh_l1.data, module.weight_hh_l1.data, tol=0, what="the same seed")
    cho = level.GRU(3, 16, 2, variant="cho", rng=rng(41))
    assert np.abs(cho(x)[0] - out).max() > 1e-3
