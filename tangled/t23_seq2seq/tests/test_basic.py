# Tangled from chapters/23-seq2seq.qmd; edit the chapter, then run make tangle. sha256:0ff48612ca534a01
"""Chapter 23: shapes, values and gradients of the loss."""

import numpy as np
import pytest

from tangled.testing import (
    assert_close,
    assert_dtypes,
    assert_repeatable,
    check_gradients,
    check_module_gradients,
    rng,
)

NAMES = ("h0", "table", "w_ih", "w_hh", "b_ih", "b_hh", "w_out", "b_out")
PAD, BOS, EOS = 0, 1, 2


def arrays(B=3, E=2, H=4, V=7, seed=0, dtype=np.float64):
    """h0 (B, H) and the decoder's seven arrays."""
    draw, G = rng(seed), 3 * H
    shapes = ((B, H), (V, E), (E, G), (H, G), (G,), (G,), (H, V), (V,))
    return [(0.8 * draw.standard_normal(shape)).astype(dtype) for shape in shapes]


def phrases(lengths=(4, 6, 2), T=6, V=7, seed=1):
    """tokens (B, T + 1) from BOS to EOS and padding, and lengths (B,)."""
    lengths = np.array(lengths)
    tokens = rng(seed).integers(3, V, (len(lengths), T + 1))
    tokens[:, 0] = BOS
    tokens[:, 1:][np.arange(T) >= lengths[:, None]] = PAD
    tokens[np.arange(len(lengths)), lengths] = EOS
    return tokens, lengths


@pytest.mark.value
@pytest.mark.parametrize("name", ["teacher", "own"])
def test_golden_loss(level, golden, name):
    """The loss and eight gradients; under a teacher, and for inputs of its own."""
    case = golden(name)
    loss, cache = level.teacher_forced_loss(**case.inputs)
    assert_close(np.asarray(loss), case.outputs["loss"], what="loss")
    grads = level.teacher_forced_loss_backward(case.upstream["loss"], cache)
    for got, wrt in zip(grads, NAMES, strict=True):
        assert_close(got, case.grads[wrt], what="d" + wrt)


@pytest.mark.gradient
def test_golden_masked(level, golden):
    """The mean over true places; zeros at the others."""
    case = golden("masked")
    loss, cache = level.masked_cross_entropy(**case.inputs)
    assert_close(np.asarray(loss), case.outputs["loss"], what="loss")
    dlogits = level.masked_cross_entropy_backward(1.5, cache)
    assert_close(dlogits, case.grads["logits"], what="dlogits")
    assert not dlogits[~case.inputs["mask"]].any()


@pytest.mark.shape
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_shapes_and_types(level, dtype):
    """Shapes and dtypes of the inputs."""
    given, (tokens, lengths) = arrays(dtype=dtype), phrases()
    loss, cache = level.teacher_forced_loss(given[0], tokens, lengths, *given[1:])
    grads = level.teacher_forced_loss_backward(1.0, cache)
    assert [g.shape for g in grads] == [a.shape for a in given]
    out = given[6].T[None].repeat(3, 0).copy()                  # (3, 7, 4)
    last, of_last = level.last_outputs(out, lengths)
    small, of_loss = level.masked_cross_entropy(out, np.zeros((3, 7), int), np.ones((3, 7), bool))
    dout, dlogits = level.last_outputs_backward(last, of_last), level.masked_cross_entropy_backward(1, of_loss)
    assert last.shape == (3, 4) and dout.shape == dlogits.shape == out.shape and np.ndim(loss) == 0 == np.ndim(small)
    assert {np.asarray(a).dtype for a in (loss, *grads, last, small, dout, dlogits)} == {np.dtype(dtype)}
    mask = level.lengths_to_mask(lengths, 6)
    assert mask.dtype == bool and mask.tolist() == [[t < n for t in range(6)] for n in lengths]


@pytest.mark.gradient
def test_central_differences(level):
    """Every entry of every gradient."""
    tokens, lengths = phrases((3, 1), 3, 5)
    check_gradients(lambda h0, *rest: level.teacher_forced_loss(h0, tokens, lengths, *rest),
                    level.teacher_forced_loss_backward, arrays(2, 6, 4, 5))
    tokens, lengths = phrases()
    logits, mask = rng(2).standard_normal((3, 6, 5)), rng(3).random((3, 6)) < 0.6
    targets = rng(4).integers(0, 5, (3, 6))
    check_gradients(lambda z: level.masked_cross_entropy(z, targets, mask), level.masked_cross_entropy_backward,
                    [logits])
    check_gradients(lambda out: level.last_outputs(out, lengths), level.last_outputs_backward,
                    [rng(5).standard_normal((3, 6, 2))])


@pytest.mark.value
def test_worked_loss(level):
    """A decoder that always says (1/2, 1/4, 1/4): the loss is the mean of three logarithms, not of four."""
    B, T, V, H = 2, 2, 3, 2
    zero = [np.zeros(s) for s in ((V, 2), (2, 3 * H), (H, 3 * H), 3 * H, 3 * H, (H, V))]
    tokens = np.array([[1, 0, 2], [1, 2, 0]])                   # two to predict; one, and padding
    b_out = np.log([0.5, 0.25, 0.25])
    loss, cache = level.teacher_forced_loss(np.zeros((B, H)), tokens, np.array([T, 1]), *zero, b_out)
    assert_close(np.asarray(loss), np.asarray((np.log(2) + 2 * np.log(4)) / 3), what="loss")
    db_out = level.teacher_forced_loss_backward(3.0, cache)[-1]
    assert_close(db_out, np.array([3 * 0.5 - 1, 3 * 0.25, 3 * 0.25 - 2]), what="db_out")


@pytest.mark.value
def test_padding_is_nothing(level):
    """Other symbols in the padding, and more of it, change neither loss nor gradients."""
    given, (tokens, lengths) = arrays(), phrases()
    loss, cache = level.teacher_forced_loss(given[0], tokens, lengths, *given[1:])
    want = level.teacher_forced_loss_backward(1.0, cache)
    other = np.concatenate([tokens, np.full((3, 2), 5)], axis=1)
    other[:, 1:][np.arange(8) >= lengths[:, None]] = 5
    again, cache = level.teacher_forced_loss(given[0], other, lengths, *given[1:])
    assert_close(np.asarray(again), np.asarray(loss), tol=1e-12, what="loss")
    for got, expected, name in zip(level.teacher_forced_loss_backward(1.0, cache), want, NAMES):
        assert_close(got, expected, tol=1e-12, what="d" + name)


@pytest.mark.value
def test_one_by_one(level):
    """A batch is its phrases, each alone and without padding, weighted by what there is to predict."""
    given, (tokens, lengths) = arrays(), phrases()
    loss, _ = level.teacher_forced_loss(given[0], tokens, lengths, *given[1:])
    total = sum(n * level.teacher_forced_loss(given[0][k:k + 1], tokens[k:k + 1, :n + 1], lengths[k:k + 1],
                                              *given[1:])[0] for k, n in enumerate(lengths))
    assert_close(np.asarray(loss), np.asarray(total / lengths.sum()), tol=1e-10, what="loss")


@pytest.mark.value
def test_last_is_the_last_real(level):
    """Not the last of the array, and its gradient goes there."""
    out = rng(6).standard_normal((3, 5, 2))
    last, cache = level.last_outputs(out, np.array([5, 1, 3]))
    assert_close(last, np.stack([out[0, 4], out[1, 0], out[2, 2]]), tol=0, what="last")
    dlast, want = rng(7).standard_normal((3, 2)), np.zeros(out.shape)
    want[[0, 1, 2], [4, 0, 2]] = dlast
    assert_close(level.last_outputs_backward(dlast, cache), want, tol=0, what="dout")


@pytest.mark.gradient
def test_called_twice(level):
    """The cache survives, and what was handed in is neither changed nor kept."""
    given, (tokens, lengths) = arrays(), phrases()
    assert_repeatable(lambda h0, *rest: level.teacher_forced_loss(h0, tokens, lengths, *rest), given,
                      f_backward=level.teacher_forced_loss_backward)
    mask, targets, logits = np.ones((2, 3), bool), np.array([[0, 1, 2], [3, 3, 0]]), rng(8).standard_normal((2, 3, 4))
    assert_repeatable(lambda z: level.masked_cross_entropy(z, targets, mask), [logits],
                      f_backward=level.masked_cross_entropy_backward)
    _, cache = level.masked_cross_entropy(logits, targets, mask)
    want = level.masked_cross_entropy_backward(1.0, cache)
    _, cache = level.masked_cross_entropy(logits, targets, mask)
    targets[...], mask[...], logits[...] = 1, False, 0
    assert_close(level.masked_cross_entropy_backward(1.0, cache), want, tol=0, what="dlogits")
    out, sizes = rng(9).standard_normal((2, 3, 4)), np.array([3, 1])
    assert_repeatable(lambda x: level.last_outputs(x, sizes), [out], f_backward=level.last_outputs_backward)
    last, cache = level.last_outputs(out, sizes)
    want = level.last_outputs_backward(last, cache)
    sizes[...] = 2
    assert_close(level.last_outputs_backward(last, cache), want, tol=0, what="dout")
    kept = out.copy()
    last[...] = 7
    assert_close(out, kept, tol=0, what="out, once last is overwritten")


@pytest.mark.value
def test_dtypes(level):
    """float16 is computed in float32; every dtype is right at large and small logits."""
    mask, targets = np.ones((2, 3), bool), np.array([[0, 1, 2], [3, 3, 0]])
    assert_dtypes(lambda z: level.masked_cross_entropy(z, targets, mask), [rng(10).standard_normal((2, 3, 4))],
                  f_backward=level.masked_cross_entropy_backward, scales=(1.0, 1e-2, 1e2))
    z = np.array([[1e4, 0, -1e4], [-3e4, 3e4, 3e4]])
    loss, cache = level.masked_cross_entropy(z, np.array([2, 1]), np.ones(2, bool))
    assert_close(np.asarray(loss), np.asarray((2e4 + np.log(2)) / 2), tol=1e-10, what="loss")
    assert np.isfinite(level.masked_cross_entropy_backward(1.0, cache)).all()
    n = 50_000
    many, _ = level.masked_cross_entropy(np.zeros((n, 4), np.float16), np.zeros(n, int), np.ones(n, bool))
    assert abs(float(many) - np.log(4)) < 1e-3, "a sum of 69,315 is more than a float16 can hold"


@pytest.mark.levels(2, 3)
@pytest.mark.gradient
def test_module_gradients(level):
    """Central differences through decoder, vector and encoder."""
    (tokens, lengths), source = phrases(), rng(11).integers(0, 5, (3, 4))
    sizes = np.array([2, 4, 3])
    check_module_gradients(level.Encoder(5, 2, 3, rng(12)), [source, sizes])
    check_module_gradients(level.Decoder(7, 2, 3, rng(13)), [rng(14).standard_normal((3, 3)), tokens, lengths])
    check_module_gradients(level.Seq2Seq(5, 7, 2, 3, rng(15)), [source, sizes, tokens, lengths])


@pytest.mark.levels(2, 3)
@pytest.mark.value
def test_parity_with_pytorch(level):
    """torch's Embedding, packed GRU and Linear with the same weights: the vector, the loss, all gradients."""
    torch = pytest.importorskip("torch")
    ours = level.Seq2Seq(5, 7, 2, 3, rng(16)).astype(np.float64)
    (tokens, lengths), source, sizes = phrases(), rng(17).integers(0, 5, (3, 4)), np.array([2, 4, 3])
    table = {name: torch.from_numpy(p.data.T.copy() if "weight" in name and "table" not in name else p.data.copy()
                                    ).requires_grad_() for name, p in ours.named_parameters()}
    grus = []
    for side in ("encoder", "decoder"):
        gru = torch.nn.GRU(2, 3, batch_first=True).double()
        names = [name for name, _ in gru.named_parameters()]
        grus.append(lambda x, h=None, gru=gru, side=side, names=names: torch.func.functional_call(
            gru, {name: table[f"{side}.gru.{name}"] for name in names}, (x, h)))
    x = torch.nn.functional.embedding(torch.from_numpy(source), table["encoder.table.weight"])
    packed = torch.nn.utils.rnn.pack_padded_sequence(x, torch.from_numpy(sizes), True, False)
    state = grus[0](packed)[1]
    assert_close(ours.start(source, sizes), state[0].detach().numpy(), tol=1e-9, what="c")
    x = torch.nn.functional.embedding(torch.from_numpy(tokens[:, :-1]), table["decoder.table.weight"])
    logits = grus[1](x, state)[0] @ table["decoder.out.weight"].T + table["decoder.out.bias"]
    loss = torch.nn.functional.cross_entropy(logits.reshape(-1, 7), torch.from_numpy(tokens[:, 1:].reshape(-1)),
                                             ignore_index=PAD)
    loss.backward()
    assert_close(np.asarray(ours(source, sizes, tokens, lengths)), loss.detach().numpy(), tol=1e-9, what="loss")
    ours.backward()
    for name, parameter in ours.named_parameters():
        want = table[name].grad.numpy()
        assert_close(parameter.grad, want.T if parameter.grad.shape != want.shape or "_hh" in name or (
            "weight" in name and "table" not in name) else want, tol=1e-6, what=name)


@pytest.mark.levels(2, 3)
@pytest.mark.value
@pytest.mark.parametrize("taught", [True, False])
def test_steps_are_the_sequence(level, taught):
    """Step by step, the log-probabilities of a target sum to what the loss says; gradients add up.
    Also where something else is read than the target."""
    model = level.Seq2Seq(5, 7, 2, 3, rng(18))
    model.decoder.out.weight.data *= np.float32(20)
    (tokens, lengths), source, sizes = phrases(), rng(19).integers(0, 5, (3, 4)), np.array([2, 4, 3])
    state, total = model.start(source, sizes), 0.0
    inputs = None if taught else rng(24).integers(0, 7, (3, 6))
    for t in range(6):
        log_p, state = model.step(state, tokens[:, t] if taught else inputs[:, t])
        assert log_p.shape == (3, 7) and state.shape == (3, 3)
        assert_close(np.exp(log_p).sum(1), np.ones(3, np.float32), tol=1e-5, what="sum of probabilities")
        total -= (log_p[np.arange(3), tokens[:, t + 1]] * (t < lengths)).sum()
    loss = model(source, sizes, tokens, lengths, inputs)
    assert_close(np.asarray(loss), np.asarray(total / lengths.sum(), np.float32), tol=1e-5, what="loss")
    model.backward()
    once = [p.grad.copy() for p in model.parameters()]
    model.backward()
    for parameter, grad in zip(model.parameters(), once):
        assert np.abs(grad).max() > 0
        assert_close(parameter.grad, 2 * grad, tol=1e-5, what="gradient, twice")
    wide = level.Decoder(7, 64, 48, rng(20))
    assert wide.table.weight.data.std() > 0.9 and np.abs(wide.out.weight.data).max() < 0.05


@pytest.mark.levels(2, 3)
@pytest.mark.value
def test_a_step_far_out(level):
    """Logits that are thousands apart, within a row and between rows: probabilities still sum to 1."""
    decoder = level.Decoder(7, 2, 3, rng(25))
    decoder.out.weight.data *= np.float32(1e5)
    h = 0.9 * rng(26).standard_normal((4, 3)).astype(np.float32)
    with np.errstate(over="raise", invalid="raise"):
        log_p, _ = decoder.step(h, np.array([3, 4, 5, 6]))
    assert log_p.min() < -1e3 and log_p.max() <= 0
    assert_close(np.exp(log_p).sum(1), np.ones(4, np.float32), tol=1e-5, what="sum of probabilities")


@pytest.mark.levels(2, 3)
@pytest.mark.value
def test_weights_are_drawn(level):
    """All weights come from the generator that is handed in, and from default_rng(0) where there is none."""
    make = lambda *given: level.Seq2Seq(11, 7, 2, 30, *given).state_dict()
    one, same, other = make(rng(27)), make(rng(27)), make(rng(28))
    default, zero = make(), make(np.random.default_rng(0))
    for name, value in one.items():
        assert_close(same[name], value, tol=0, what=name)
        assert_close(default[name], zero[name], tol=0, what=name)
        assert value.ndim == 1 or np.abs(other[name] - value).max() > 1e-3, f"{name} is not drawn from rng"


@pytest.mark.levels(2, 3, 4)
@pytest.mark.value
def test_scheduled_inputs(level):
    """At rate 0 the teacher's tokens; at 1 what the decoder says to what it has read; between, the share."""
    tokens = rng(21).integers(0, 9, (4, 6))

    def step(state, last):
        scores = np.full((len(last), 9), -9.0)
        scores[np.arange(len(last)), (2 * last + state) % 9] = -0.1
        return scores, state + 1
    kept = tokens.copy()
    got = level.scheduled_inputs(step, np.zeros(4, int), tokens, 0.0, rng(22))
    assert got.shape == (4, 5)
    assert_close(got, tokens[:, :-1], tol=0, what="rate 0")
    want = [tokens[:, 0]]
    for t in range(4):
        want.append((2 * want[-1] + t) % 9)
    got = level.scheduled_inputs(step, np.zeros(4, int), tokens, 1.0, rng(22))
    assert_close(got, np.stack(want, 1), tol=0, what="rate 1")
    draw, mixed = rng(23), [tokens[:, 0]]
    for t in range(4):
        mixed.append(np.where(draw.random(4) < 0.4, (2 * mixed[-1] + t) % 9, tokens[:, t + 1]))
    got = level.scheduled_inputs(step, np.zeros(4, int), tokens, 0.4, rng(23))
    assert_close(got, np.stack(mixed, 1), tol=0, what="rate 0.4")
    assert_close(tokens, kept, tol=0, what="tokens")
