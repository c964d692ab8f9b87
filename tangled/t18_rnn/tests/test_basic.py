# Tangled from chapters/18-rnn.qmd; edit the chapter, then run make tangle. sha256:1ec80c3c5e0a7946
"""Chapter 18: shapes, values and gradients."""

from itertools import pairwise

import numpy as np
import pytest

from tangled.testing import assert_close, assert_dtypes, assert_repeatable, check_gradients, check_module_gradients, rng

NAMES = ("w_ih", "w_hh", "b_ih", "b_hh")


def weights(D=3, H=4, seed=0, scale=0.7):
    """w_ih (D, H), w_hh (H, H), b_ih (H,), b_hh (H,)."""
    draw = rng(seed)
    return [scale * draw.standard_normal(shape) for shape in ((D, H), (H, H), (H,), (H,))]


@pytest.mark.value
@pytest.mark.parametrize("kind", ["tanh", "relu"])
def test_golden_step(level, golden, kind):
    """One step and its six gradients."""
    case = golden(f"step-{kind}")
    out, cache = level.rnn_step(**case.inputs)
    assert_close(out, case.outputs["h_new"], what="h_new")
    grads = level.rnn_step_backward(case.upstream["h_new"], cache)
    for got, wrt in zip(grads, ("x", "h", *NAMES), strict=True):
        assert_close(got, case.grads[wrt], what="d" + wrt)


@pytest.mark.gradient
@pytest.mark.parametrize("kind", ["tanh", "relu"])
def test_golden_sequence(level, golden, kind):
    """A whole sequence, an initial state, gradients of all outputs and of the last state."""
    case = golden(f"rnn-{kind}")
    (out, h_T), cache = level.rnn(**case.inputs)
    assert_close(out, case.outputs["out"], what="out")
    assert_close(h_T, case.outputs["h_T"], what="h_T")
    grads = level.rnn_backward(case.upstream["out"], case.upstream["h_T"], cache)
    for got, wrt in zip(grads, ("x", "h0", *NAMES), strict=True):
        assert_close(got, case.grads[wrt], what="d" + wrt)


@pytest.mark.gradient
def test_golden_embedding(level, golden):
    """Rows of the table; an id that occurs more than once gets the sum."""
    case = golden("embedding")
    out, cache = level.embedding(**case.inputs)
    assert_close(out, case.outputs["out"], tol=0, what="out")
    assert_close(level.embedding_backward(case.upstream["out"], cache), case.grads["table"], what="dtable")


@pytest.mark.shape
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("ih, hh", [(True, True), (True, False), (False, True), (False, False)])
def test_shapes_and_types(level, dtype, ih, hh):
    """Shapes and dtypes of the inputs; gradients of the biases that were given."""
    w_ih, w_hh, b_ih, b_hh = (w.astype(dtype) for w in weights())
    x, h = rng(1).standard_normal((2, 5, 3)).astype(dtype), np.zeros((2, 4), dtype)
    biases = (b_ih if ih else None, b_hh if hh else None)
    (out, h_T), cache = level.rnn(x, h, w_ih, w_hh, *biases)
    grads = level.rnn_backward(out, h_T, cache)
    assert out.shape == (2, 5, 4) and h_T.shape == (2, 4)
    assert [g.shape for g in grads] == [x.shape, h.shape, (3, 4), (4, 4)] + [(4,)] * (ih + hh)
    new, of_step = level.rnn_step(x[:, 0], h, w_ih, w_hh, *biases)
    step = level.rnn_step_backward(new, of_step)
    assert [g.shape for g in step] == [(2, 3), (2, 4), (3, 4), (4, 4)] + [(4,)] * (ih + hh)
    rows, of_rows = level.embedding(np.array([1, 0]), w_ih)
    assert {a.dtype for a in (out, h_T, *grads, new, *step, rows, level.embedding_backward(rows, of_rows))} == {
        np.dtype(dtype)}


@pytest.mark.value
def test_worked_trace(level):
    """The numbers of the chapter's trace."""
    x, one = np.array([1.0, 2, 0]).reshape(1, 3, 1), np.ones((1, 1))
    (out, _), cache = level.rnn(x, 0 * one, one, one / 2, nonlinearity="relu")
    assert_close(out.ravel(), np.array([1, 2.5, 1.25]), what="h")
    dx, dh0, dw_ih, dw_hh = level.rnn_backward(np.array([0.0, 0, 1]).reshape(1, 3, 1), None, cache)
    assert_close(dx.ravel(), np.array([0.25, 0.5, 1.0]), what="dx")
    assert_close(np.array([dh0.item(), dw_ih.item(), dw_hh.item()]), np.array([0.125, 1.25, 3.0]), what="dh0, dw")


@pytest.mark.gradient
@pytest.mark.parametrize("kind", ["tanh", "relu"])
def test_central_differences(level, kind):
    """Every entry of every gradient, through both results."""
    x, h0 = rng(2).standard_normal((2, 4, 3)), rng(3).standard_normal((2, 4))
    check_gradients(lambda *a: level.rnn(*a, nonlinearity=kind), lambda d, cache: level.rnn_backward(*d, cache),
                    [x, h0, *weights()])
    check_gradients(lambda *a: level.rnn_step(*a, nonlinearity=kind), level.rnn_step_backward,
                    [x[:, 0].copy(), h0, *weights()])


@pytest.mark.gradient
def test_without_a_last_gradient(level):
    """dh_T of None is zeros; h_T is the last output, and its gradient adds to that one's."""
    x, h0 = rng(4).standard_normal((2, 5, 3)), rng(5).standard_normal((2, 4))
    (out, h_T), cache = level.rnn(x, h0, *weights())
    assert_close(h_T, out[:, -1], tol=0, what="h_T")
    dout, dh_T = rng(6).standard_normal(out.shape), rng(7).standard_normal(h_T.shape)
    for a, b in zip(level.rnn_backward(dout, None, cache), level.rnn_backward(dout, np.zeros((2, 4)), cache)):
        assert_close(a, b, tol=1e-12, what="None against zeros")
    moved = dout.copy()
    moved[:, -1] += dh_T
    for a, b in zip(level.rnn_backward(dout, dh_T, cache), level.rnn_backward(moved, None, cache)):
        assert_close(a, b, tol=1e-12, what="through the last output")


@pytest.mark.gradient
@pytest.mark.parametrize("cuts", [[3], [1, 4], [0, 7]])
def test_windows_equal_the_whole(level, cuts):
    """State handed on, gradient handed back: windows of any length give the whole sequence's results."""
    x, h0, parameters = rng(8).standard_normal((2, 7, 3)), rng(9).standard_normal((2, 4)), weights()
    (out, h_T), cache = level.rnn(x, h0, *parameters)
    dout, dh_T = rng(10).standard_normal(out.shape), rng(11).standard_normal(h_T.shape)
    want = level.rnn_backward(dout, dh_T, cache)
    state, caches, outs, edges = h0, [], [], [0, *cuts, 7]
    for a, b in pairwise(edges):
        (piece, state), cache = level.rnn(x[:, a:b], state, *parameters)
        outs.append(piece)
        caches.append(cache)
    assert_close(np.concatenate(outs, 1), out, tol=1e-12, what="outputs")
    assert_close(state, h_T, tol=1e-12, what="state")
    ds, dx, totals = dh_T, [], 0
    for (a, b), cache in zip(reversed(list(pairwise(edges))), reversed(caches)):
        piece, ds, *grads = level.rnn_backward(dout[:, a:b], ds, cache)
        dx.insert(0, piece)
        totals = [g + t for g, t in zip(grads, totals)] if totals else grads
    for got, expected, name in zip((np.concatenate(dx, 1), ds, *totals), want, ("x", "h0", *NAMES)):
        assert_close(got, expected, tol=1e-10, what="d" + name)


@pytest.mark.gradient
def test_truncation(level):
    """The state crosses the window's edge, the gradient does not."""
    x, h0, parameters = rng(12).standard_normal((2, 6, 3)), np.zeros((2, 4)), weights(scale=0.9)
    (first, state), _ = level.rnn(x[:, :3], h0, *parameters)
    (second, _), cache = level.rnn(x[:, 3:], state, *parameters)
    (whole, _), of_whole = level.rnn(x, h0, *parameters)
    assert_close(np.concatenate([first, second], 1), whole, tol=1e-12, what="outputs")
    fresh, _ = level.rnn(x[:, 3:], h0, *parameters)[0]
    assert np.abs(second - fresh).max() > 1e-3
    dout = np.zeros(whole.shape)
    dout[:, 3:] = rng(13).standard_normal((2, 3, 4))
    full, cut = level.rnn_backward(dout, None, of_whole), level.rnn_backward(dout[:, 3:], None, cache)
    assert_close(cut[0], full[0][:, 3:], tol=1e-12, what="dx within the window")
    assert np.abs(full[0][:, :3]).max() > 1e-3
    assert np.abs(full[3] - cut[3]).max() > 1e-3


@pytest.mark.gradient
def test_called_twice(level):
    """The cache survives, nothing is shared, nothing that was handed in changes."""
    x, h0 = rng(14).standard_normal((2, 3, 3)), rng(15).standard_normal((2, 4))
    assert_repeatable(level.rnn, [x, h0, *weights()], f_backward=lambda d, cache: level.rnn_backward(*d, cache))
    assert_repeatable(level.rnn_step, [x[:, 0].copy(), h0, *weights()], f_backward=level.rnn_step_backward)
    assert_repeatable(level.embedding, [np.array([2, 0, 2]), x[0]], f_backward=level.embedding_backward)
    (out, h_T), cache = level.rnn(x, h0, *weights())
    new, of_step = level.rnn_step(x[:, 0], h0, *weights())
    for grads in (level.rnn_backward(out, h_T, cache), level.rnn_step_backward(new, of_step)):
        assert not np.shares_memory(grads[4], grads[5]), "db_ih and db_hh are one array"


@pytest.mark.gradient
@pytest.mark.parametrize("only", [2, 3])
def test_one_bias_alone(level, only):
    """Without the other bias: the values and gradients of a bias of zeros in its place."""
    x, h0, alone, both = rng(37).standard_normal((2, 5, 3)), rng(38).standard_normal((2, 4)), weights(), weights()
    alone[5 - only], both[5 - only] = None, np.zeros(4)
    (out, _), cache = level.rnn(x, h0, *alone)
    (want, h_T), of_both = level.rnn(x, h0, *both)
    assert_close(out, want, tol=1e-12, what="out")
    new, of_step = level.rnn_step(x[:, 0], h0, *alone)
    assert_close(new, want[:, 0], tol=1e-12, what="h_new")
    assert_close(level.rnn_step_backward(h_T, of_step)[4], level.rnn_step_backward(
        h_T, level.rnn_step(x[:, 0], h0, *both)[1])[4], tol=1e-12, what="db of a step")
    for a, b in zip(level.rnn_backward(want, h_T, cache), level.rnn_backward(want, h_T, of_both)):
        assert_close(a, b, tol=1e-12, what="gradient")


@pytest.mark.gradient
@pytest.mark.parametrize("B, T", [(2, 3), (1, 3), (2, 1)])
def test_cache_is_private(level, B, T):
    """Results that are overwritten and ids that are changed after the call do not change the gradients."""
    x, h0, parameters = rng(32).standard_normal((B, T, 3)), rng(33).standard_normal((B, 4)), weights()
    dout, ids = rng(34).standard_normal((B, T, 4)), np.array([2, 0, 2])
    for kind in ("tanh", "relu"):
        (out, h_T), cache = level.rnn(x, h0, *parameters, nonlinearity=kind)
        want = level.rnn_backward(dout, None, cache)
        (out, h_T), cache = level.rnn(x, h0, *parameters, nonlinearity=kind)
        out[...] = h_T[...] = 7
        for a, b in zip(level.rnn_backward(dout, None, cache), want):
            assert_close(a, b, tol=0, what="gradient")
        new, cache = level.rnn_step(x[:, 0], h0, *parameters, nonlinearity=kind)
        want = level.rnn_step_backward(dout[:, 0], cache)
        new[...] = 7
        for a, b in zip(level.rnn_step_backward(dout[:, 0], cache), want):
            assert_close(a, b, tol=0, what="gradient of a step")
    _, cache = level.embedding(ids, np.ones((3, 3)))
    ids[...] = 1
    want = np.array([[1.0, 1, 1], [0, 0, 0], [2, 2, 2]])
    assert_close(level.embedding_backward(np.ones((3, 3)), cache), want, tol=1e-12, what="dtable")


@pytest.mark.value
def test_long_sums_of_half_precision(level):
    """3,000 gradients of 1: float16 alone would stop at 2,048."""
    one = np.ones((1, 1), np.float16)
    _, cache = level.rnn(np.zeros((1, 3000, 1), np.float16), 0 * one, one, 0 * one, one[0] * 0)
    db = level.rnn_backward(np.ones((1, 3000, 1), np.float16), None, cache)[4]
    assert_close(db.astype(float), np.array([3000.0]), tol=1e-12, what="db_ih")
    _, cache = level.embedding(np.zeros(3000, int), one)
    dtable = level.embedding_backward(np.ones((3000, 1), np.float16), cache)
    assert_close(dtable.astype(float), np.array([[3000.0]]), tol=1e-12, what="dtable")
    dout = np.tile(np.array([6e4, 6e4, -6e4, -6e4], np.float16), 8)[:, None]     # sums beyond 65,504 on their way
    dout = np.repeat(dout, 2, axis=1)                           # of two columns, added up row by row
    _, cache = level.embedding(np.zeros(32, int), np.ones((1, 2), np.float16))
    assert_close(level.embedding_backward(dout, cache).astype(float), np.zeros((1, 2)), tol=0, what="dtable")
    ones = np.ones((32, 2), np.float16)
    _, cache = level.rnn_step(ones, 0 * ones, 0 * ones[:2], 0 * ones[:2], ones[0], nonlinearity="relu")
    assert_close(level.rnn_step_backward(dout, cache)[4].astype(float), np.zeros(2), tol=0, what="db_ih of a step")


@pytest.mark.value
def test_half_precision_within(level):
    """60,000 + 60,000 - 60,000 is beyond float16 on its way."""
    b = np.array([6e4], np.float16)
    x, one = b.reshape(1, 1, 1), np.ones((1, 1), np.float16)
    (out, _), _ = level.rnn(x, 0 * one, one, one, b, -b, "relu")
    assert_close(out.astype(float).ravel(), b.astype(float), tol=0, what="out")
    for x, h, w, b_ih, b_hh in ((b, 0, 1, b, -b), (-b, 0, 1, b, b), (b, 0, 2, -b, 0 * b), (0 * b, b, 2, 0 * b, -b)):
        new, _ = level.rnn_step(x[None], h * one, w * one, w * one, b_ih, b_hh, "relu")
        assert_close(new.astype(float).ravel(), b.astype(float), tol=0, what="h_new")


@pytest.mark.value
def test_dtypes(level):
    """float16 is computed in float32; every dtype is right at large and small inputs."""
    assert_dtypes(level.rnn_step, [rng(16).standard_normal((2, 3)), np.zeros((2, 4)), *weights()],
                  f_backward=level.rnn_step_backward, scales=(1.0, 1e-2))


@pytest.mark.value
def test_bigram_counts(level):
    """Rows are what comes first; overlapping pairs; symbols that do not occur."""
    ids = np.array([1, 1, 1, 0, 3, 1])
    want = np.zeros((5, 5), np.int64)
    want[1, 1], want[1, 0], want[0, 3], want[3, 1] = 2, 1, 1, 1
    got = level.bigram_counts(ids, 5)
    assert got.dtype == np.int64
    assert_close(got, want, tol=0, what="counts")
    assert level.bigram_counts(ids[:1], 5).sum() == 0 == level.bigram_counts(ids[:0], 5).sum()


@pytest.mark.value
@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_samples_follow_the_softmax(level, temperature):
    """Small samples exactly by their draws; shares of 20,000 draws (of 2,000 at level 1), by chi-square."""
    logits = np.array([0.3, -1.2, 2.0, 0.0, -0.5])
    n = 20_000 if "level1" not in level.__name__ else 2_000
    p = np.exp((logits - 2.0) / temperature)
    p /= p.sum()
    draws = rng(18).random(60)
    want = np.minimum((p.cumsum() <= draws[:, None]).sum(1), 4)
    got = level.sample_categorical(np.tile(logits, (60, 1)), temperature, rng(18))
    assert_close(got, want, tol=0, what="by the same draws")
    found = np.bincount(level.sample_categorical(np.tile(logits, (n, 1)), temperature, rng(17)), minlength=5)
    assert (((found - n * p) ** 2) / (n * p)).sum() < 18.5      # 4 degrees of freedom: one in a thousand


@pytest.mark.edge
def test_almost_without_temperature(level):
    """The maximum is subtracted before a temperature divides, so that no quotient overflows."""
    logits = np.array([[79.0, 80.0, 79.5], [80.0, 79.0, 79.5]])
    assert level.sample_categorical(logits, 1e-307, rng(19)).tolist() == [1, 0]


@pytest.mark.value
def test_samples_of_many_rows(level):
    """Rows of a block draw in their order; int64; the logits stay as they are."""
    logits = rng(39).standard_normal((2, 3, 4))
    kept, want = logits.copy(), level.sample_categorical(logits.reshape(6, 4), 1.5, rng(40)).reshape(2, 3)
    got = level.sample_categorical(logits, 1.5, rng(40))
    assert_close(got, want, tol=0, what="ids")
    assert got.dtype == np.int64 == level.sample_categorical(logits, 0, rng(40)).dtype
    assert_close(logits, kept, tol=0, what="logits")


class Least(np.random.Generator):
    """A generator whose every draw is the least that there is: 0."""

    def random(self, size=None, *_, **__):
        """Zeros (size)."""
        return np.zeros(() if size is None else size)[()]


@pytest.mark.value
def test_samples_of_no_chance(level):
    """A symbol of probability 0 is not drawn, by a draw of 0 neither."""
    logits = np.array([[-np.inf, 1.0, 0.5], [-1e4, -1e4, 0]])
    assert level.sample_categorical(logits, 1.0, Least(np.random.PCG64(0))).tolist() == [1, 2]


@pytest.mark.value
@pytest.mark.levels(1, 2, 3)
def test_samples_when_cold(level):
    """A low temperature is not 0: close logits still share; far ones do not overflow."""
    logits = np.tile(np.array([1.0, 1.0, 0.0]), (40, 1))
    got = level.sample_categorical(logits, 1e-5, rng(41))
    assert_close(got, (rng(41).random(40) >= 0.5).astype(int), tol=0, what="of two that are equal")
    with np.errstate(over="ignore"):
        assert level.sample_categorical(np.array([0.0, 3, 1]), 1e-308, rng(42)) == 1


@pytest.mark.value
def test_samples_at_the_extremes(level):
    """Temperature 0 is the argmax and draws nothing; huge logits; shapes (), (3,), (2, 3)."""
    generator = rng(19)
    logits = rng(20).standard_normal((2, 3, 4))
    assert_close(level.sample_categorical(logits, 0, generator), logits.argmax(-1), tol=0, what="argmax")
    assert_close(np.asarray(generator.random()), np.asarray(rng(19).random()), tol=0, what="the generator's state")
    assert np.shape(level.sample_categorical(logits[0, 0], 1.0, generator)) == ()
    assert level.sample_categorical(np.array([[1.0, 3, 3], [2, 0, 2]]), 0, generator).tolist() == [1, 0]
    for dtype in (np.float16, np.float32):                      # sums of shares are taken in float64
        flat = np.tile(rng(35).standard_normal(3000).astype(dtype), (4, 1))
        want = level.sample_categorical(flat.astype(float), 1.5, rng(36))
        assert_close(level.sample_categorical(flat, 1.5, rng(36)), want, tol=0, what=f"draws of {np.dtype(dtype)}")
    huge = np.array([[1e4, -1e4, 0.0], [-1e300, -1e300, 1e300]])
    assert level.sample_categorical(huge, 0.5, generator).tolist() == [0, 2]


@pytest.mark.levels(2, 3)
@pytest.mark.gradient
@pytest.mark.parametrize("options", [{}, {"num_layers": 2}, {"nonlinearity": "relu", "bias": False},
                                     {"batch_first": False, "num_layers": 2}])
def test_module_gradients(level, options):
    """Central differences for input, state and all parameters."""
    module = level.RNN(3, 4, rng=rng(21), **options)
    shape = (2, 3, 3)
    state = rng(22).standard_normal((options.get("num_layers", 1), shape[1 - options.get("batch_first", True)], 4))
    check_module_gradients(module, [rng(23).standard_normal(shape), state])


@pytest.mark.levels(2, 3)
@pytest.mark.value
@pytest.mark.parametrize("layers, batch_first, bias, kind", [(1, True, True, "tanh"), (3, True, True, "relu"),
                                                             (2, False, True, "tanh"), (2, True, False, "tanh")])
def test_parity_with_pytorch(level, layers, batch_first, bias, kind):
    """Weights go to torch.nn.RNN and back; outputs and all gradients equal, to 1e-6 in float64."""
    torch = pytest.importorskip("torch")
    ours = level.RNN(3, 4, layers, kind, bias, batch_first, rng(24)).astype(np.float64)
    theirs = torch.nn.RNN(3, 4, layers, kind, bias, batch_first).double()
    assert [name for name, _ in theirs.named_parameters()] == [name for name, _ in ours.named_parameters()]
    for name, parameter in theirs.named_parameters():
        value = dict(ours.named_parameters())[name].data
        parameter.data = torch.from_numpy(value.T.copy())
    x, state = rng(25).standard_normal((2, 5, 3)), rng(26).standard_normal((layers, 2 if batch_first else 5, 4))
    out, end = ours(x, state)
    tensors = [torch.from_numpy(a).requires_grad_() for a in (x, state)]
    their_out, their_end = theirs(*tensors)
    assert_close(out, their_out.detach().numpy(), tol=1e-9, what="out")
    assert_close(end, their_end.detach().numpy(), tol=1e-9, what="state")
    dout, dend = rng(27).standard_normal(out.shape), rng(28).standard_normal(end.shape)
    torch.autograd.backward((their_out, their_end), (torch.from_numpy(dout), torch.from_numpy(dend)))
    dx, dstate = ours.backward((dout, dend))
    assert_close(dx, tensors[0].grad.numpy(), tol=1e-6, what="dx")
    assert_close(dstate, tensors[1].grad.numpy(), tol=1e-6, what="dstate")
    for name, parameter in theirs.named_parameters():
        assert_close(dict(ours.named_parameters())[name].grad, parameter.grad.numpy().T, tol=1e-6, what=name)


@pytest.mark.levels(2, 3)
@pytest.mark.value
def test_modules(level):
    """A state of None is zeros; dx alone then; bounds and seeds of the weights; gradients add up."""
    module = level.RNN(3, 16, 2, rng=rng(29))
    x = rng(30).standard_normal((2, 4, 3)).astype(np.float32)
    out, _ = module(x)
    again, _ = module(x, np.zeros((2, 2, 16), np.float32))
    assert_close(out, again, tol=0, what="zeros")
    module(x)
    dx = module.backward((out, None))
    assert dx.shape == x.shape
    once = [p.grad.copy() for p in module.parameters()]
    module.backward((out, None))
    for parameter, grad in zip(module.parameters(), once):
        assert_close(parameter.grad, 2 * grad, tol=1e-6, what="gradient, twice")
        assert 0.6 / 4 < np.abs(parameter.data).max() <= 0.25
    table = level.Embedding(5, 3, rng(31))
    rows = table(np.array([[1, 4, 1]]))
    assert rows.shape == (1, 3, 3) and rows.dtype == np.float32
    assert table.backward(np.ones((1, 3, 3), np.float32)) is None
    assert_close(table.weight.grad.sum(1), np.array([0.0, 6, 0, 0, 3]), what="rows that were read")
    table.backward(np.ones((1, 3, 3), np.float32))
    assert_close(table.weight.grad.sum(1), np.array([0.0, 12, 0, 0, 6]), what="gradient, twice")


@pytest.mark.levels(2, 3)
@pytest.mark.value
def test_first_weights(level):
    """Uniform within the bound, about 0; standard normal; by the generator; each array its own."""
    module, same, other = (level.RNN(3, 16, 2, rng=rng(seed)) for seed in (29, 29, 30))
    assert_close(same.weight_hh_l1.data, module.weight_hh_l1.data, tol=0, what="the same seed")
    assert np.abs(other.weight_hh_l1.data - module.weight_hh_l1.data).max() > 0.1
    parts = [p.data for p in module.parameters()]
    drawn = np.concatenate([part.ravel() for part in parts])
    assert abs(drawn.mean()) < 0.02 and abs(drawn.std() * 4 * 3 ** 0.5 - 1) < 0.08
    assert all((a != b).any() for k, a in enumerate(parts) for b in parts[:k] if a.shape == b.shape)
    table, other = (level.Embedding(60, 30, rng(seed)).weight.data for seed in (31, 32))
    assert abs(table.mean()) < 0.1 and abs(table.std() - 1) < 0.08 and 2.5 < np.abs(table).max() < 6
    assert np.abs(other - table).max() > 1


@pytest.mark.levels(2, 3)
@pytest.mark.value
def test_module_keeps_no_state(level):
    """A call without a state starts at zeros, whatever went before; gradients have the dtype of what they are of."""
    module = level.RNN(3, 4, 2, rng=rng(43)).astype(np.float64)
    x, state = rng(44).standard_normal((2, 5, 3)), rng(45).standard_normal((2, 2, 4))
    first, _ = module(x)
    kept, (_, end) = state.copy(), module(x, state)
    again, _ = module(x)
    assert_close(again, first, tol=0, what="out")
    assert_close(state, kept, tol=0, what="state")
    out, end = module(x, state)
    dx, dstate = module.backward((out, end))
    assert {a.dtype for a in (out, end, dx, dstate)} == {np.dtype(np.float64)}


@pytest.mark.levels(3)
@pytest.mark.value
def test_module_runs_this_level(level):
    """Each layer goes through the ops of the module's own level, or of a class made from it."""
    assert (level.RNN.op, level.RNN.op_backward) == (level.rnn, level.rnn_backward)
    calls = []

    class Counted(level.RNN):
        op = staticmethod(lambda *args: calls.append(1) or level.rnn(*args))
    Counted(3, 4, 2)(np.ones((2, 5, 3), np.float32))
    assert len(calls) == 2
