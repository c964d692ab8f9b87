# Tangled from chapters/29-transformer-decoder.qmd; edit the chapter, then run make tangle. sha256:41976eaf59ac127d
"""Chapter 29: shapes, values and gradients."""

import numpy as np
import pytest

from tangled.t03_optimizers import Adam
from tangled.t23_seq2seq import beam_search, greedy_decode, lengths_to_mask
from tangled.t23_seq2seq.base import select
from tangled.t28_transformer_encoder import smoothed_cross_entropy, smoothed_cross_entropy_backward
from tangled.t29_transformer_decoder import checks
from tangled.testing import (
    assert_close,
    assert_dtypes,
    assert_repeatable,
    check_gradients,
    rng,
)

BLOCKS = ("plain", "padded", "tanh", "relu", "eps")


def weights(seed, D=6, F=7, dtype=np.float64):
    """A dict for decoder_block."""
    shapes = {name: (D, D) if name[0] in "wu" else (D,) for name in checks.NAMES} | {"w1": (D, F), "b1": (F,),
                                                                                     "w2": (F, D)}
    return {name: (rng(seed + k).standard_normal(s) / (1 if len(s) == 1 else D ** 0.5)).astype(dtype)
            for k, (name, s) in enumerate(shapes.items())}


def draw(seed, *shape, dtype=np.float64):
    """Standard normal numbers."""
    return rng(seed).standard_normal(shape).astype(dtype)


def off_zero(name, array):
    """Gradients of the keys' biases are 0, up to rounding: plus 1, so that rounding is compared with 1."""
    return array + 1 if name in ("b_k", "a_k") else array


def walk(level, x, state, w, **options):
    """All tokens of x (B, T, D), one after the other: out (B, T, D), and the last state."""
    out = []
    for t in range(x.shape[1]):
        y, state = level.decoder_block_step(x[:, t], state, w, **options)
        out.append(y)
    return np.stack(out, axis=1), state


@pytest.mark.value
@pytest.mark.parametrize("name", BLOCKS)
def test_golden_values(level, golden, name):
    """Blocks by PyTorch: heads, activations, padding, another eps."""
    assert_close(level.decoder_block(**golden(name).inputs)[0], golden(name).outputs["out"], what="out")


@pytest.mark.gradient
@pytest.mark.parametrize("name", BLOCKS)
def test_golden_gradients(level, golden, name):
    """Gradients of x, of the memory and of all weights, by name."""
    case = golden(name)
    dx, dmemory, dweights = level.decoder_block_backward(case.upstream["out"], level.decoder_block(**case.inputs)[1])
    assert list(dweights) == list(checks.NAMES)
    for key, got in ({"x": dx, "memory": dmemory} | dweights).items():
        assert_close(off_zero(key, got), off_zero(key, case.grads[key]), what="d" + key)


@pytest.mark.value
@pytest.mark.parametrize("name", BLOCKS)
def test_steps_equal_the_whole(level, golden, name):
    """Token by token with kept keys: what the block gives for all tokens at once."""
    given = dict(golden(name).inputs)
    x, memory, w, mask = given.pop("x"), given.pop("memory"), given.pop("weights"), given.pop("memory_mask", None)
    state = level.start_decoding(memory, w, mask, num_heads=given["num_heads"])
    assert_close(walk(level, x, state, w, **given)[0], golden(name).outputs["out"], what="out, step by step")


@pytest.mark.gradient
def test_central_differences(level):
    """Every entry of every gradient, with padding in the memory."""
    w, mask = weights(0, 4, 3), np.array([[True, True, False], [True, True, True]])

    def forward(x, memory, *arrays):
        return level.decoder_block(x, memory, dict(zip(w, arrays)), mask, num_heads=2)

    def backward(dout, cache):
        dx, dmemory, dweights = level.decoder_block_backward(dout, cache)
        return dx, dmemory, *dweights.values()

    check_gradients(forward, backward, [draw(1, 2, 2, 4), draw(2, 2, 3, 4), *w.values()], names=["x", "memory", *w])


@pytest.mark.value
def test_worked_trace(level):
    """The token of the chapter: it fetches the mean of two memories, and shares its gradient between them."""
    w = {name: np.zeros(s.shape) for name, s in weights(0, 2, 2).items()}
    w |= {"gamma2": np.ones(2), "u_v": np.eye(2), "u_o": np.eye(2)}
    out, cache = level.decoder_block(np.array([[[1.0, -1]]]), np.array([[[4.0, 0], [2, 6], [9, 9]]]), w,
                                     np.array([[True, True, False]]), num_heads=1)
    assert_close(out, np.array([[[4.0, 2]]]), tol=1e-12, what="out")
    dx, dmemory, _ = level.decoder_block_backward(np.array([[[1.0, 0]]]), cache)
    assert_close(dx, np.array([[[1.0, 0]]]), tol=1e-12, what="dx")
    assert_close(dmemory, np.array([[[0.5, 0], [0.5, 0], [0, 0]]]), tol=1e-12, what="dmemory")


@pytest.mark.value
def test_no_token_sees_the_next(level):
    """What stands behind a token changes neither its output nor, by its loss, gets a gradient."""
    x, memory, w = draw(3, 2, 5, 6), draw(4, 2, 3, 6), weights(5)
    out, cache = level.decoder_block(x, memory, w, num_heads=3)
    other = x.copy()
    other[:, 3:] = draw(6, 2, 2, 6)
    assert_close(level.decoder_block(other, memory, w, num_heads=3)[0][:, :3], out[:, :3], tol=1e-12, what="the past")
    dout = draw(7, 2, 5, 6)
    dout[:, 3:] = 0
    assert not level.decoder_block_backward(dout, cache)[0][:, 3:].any(), "the future has a gradient"


@pytest.mark.value
def test_every_token_sees_the_whole_source(level):
    """The first token's output depends on the last real token of the memory, though T and S differ."""
    x, memory, w = draw(8, 2, 3, 6), draw(9, 2, 7, 6), weights(10)
    mask = lengths_to_mask([7, 6], 7)
    out, cache = level.decoder_block(x, memory, w, mask, num_heads=2)
    other = memory.copy()
    other[0, 6] += 1
    moved = np.abs(level.decoder_block(x, other, w, mask, num_heads=2)[0] - out)
    assert (moved[0].max(axis=1) > 1e-6).all() and not moved[1].any()
    dout = np.zeros_like(x)
    dout[:, 0] = draw(11, 2, 6)
    dmemory = level.decoder_block_backward(dout, cache)[1]
    assert (np.abs(dmemory[0]).max(axis=1) > 0).all() and not dmemory[1, 6].any()


@pytest.mark.value
@pytest.mark.parametrize("filling", [7.0, np.inf, np.nan])
def test_padding_of_the_source_is_never_read(level, filling):
    """Outputs, all gradients, and steps, the same bits whatever stands in it."""
    x, memory, w, mask = draw(12, 2, 4, 6), draw(13, 2, 5, 6), weights(14), lengths_to_mask([5, 2], 5)
    other = np.where(mask[..., None], memory, filling)
    results = []
    for m in (memory, other):
        out, cache = level.decoder_block(x, m, w, mask, num_heads=2)
        dx, dmemory, dweights = level.decoder_block_backward(out, cache)
        assert not dmemory[1, 2:].any()
        steps, _ = walk(level, x, level.start_decoding(m, w, mask, num_heads=2), w, num_heads=2)
        results.append({"out": out, "dx": dx, "dmemory": dmemory, "steps": steps} | dweights)
    for name, a in results[0].items():
        assert_close(results[1][name], a, tol=0, what=name)


@pytest.mark.value
def test_keys_of_the_memory_are_made_once(level):
    """After the start their projections are not needed any more, and may be anything."""
    x, memory, w = draw(15, 2, 3, 6), draw(16, 2, 5, 6), weights(17)
    out, _ = level.decoder_block(x, memory, w, num_heads=2)
    state = level.start_decoding(memory, w, num_heads=2)
    gone = w | {name: np.full_like(w[name], np.nan) for name in ("u_k", "u_v", "a_k", "a_v")}
    memory[...] = np.nan
    assert_close(walk(level, x, state, gone, num_heads=2)[0], out, what="out")


@pytest.mark.value
def test_a_state_can_branch(level):
    """Rows taken several times, in another order; two ways on from one state; the state stays what it was."""
    x, memory, w, mask = draw(18, 3, 6, 6), draw(19, 3, 5, 6), weights(20), lengths_to_mask([5, 2, 4], 5)
    state = level.start_decoding(memory, w, mask, num_heads=2)
    _, state = walk(level, x[:, :2], state, w, num_heads=2)
    rows, ways = np.array([2, 0, 2, 1]), []
    for seed, chosen in ((21, np.arange(3)), (22, rows), (23, np.arange(3))):
        more = draw(seed, len(chosen), 4, 6)
        got, _ = walk(level, more, select(state, chosen), w, num_heads=2)
        whole = np.concatenate([x[chosen, :2], more], axis=1)
        want, _ = level.decoder_block(whole, memory[chosen], w, mask[chosen], num_heads=2)
        ways.append((got, want[:, 2:]))
    for got, want in ways:
        assert_close(got, want, what="out behind a branch")
    first, after = level.decoder_block_step(x[:, 2], state, w, num_heads=2)
    second, _ = level.decoder_block_step(x[:, 3], state, w, num_heads=2)
    third, _ = level.decoder_block_step(x[:, 4], after, w, num_heads=2)
    again, _ = walk(level, x[:, [2, 4]], state, w, num_heads=2)
    assert_close(np.stack([first, third], 1), again, tol=1e-12, what="the first way, after the second was gone")
    assert np.abs(second - first).max() > 1e-6


@pytest.mark.levels(2, 3)
@pytest.mark.gradient
def test_gradients_of_the_block(level):
    """The module, both inputs; it equals the op."""
    block, mask = level.DecoderBlock(4, 2, 3, activation="relu", rng=rng(24)), lengths_to_mask([3, 2], 3)
    x, memory = draw(25, 2, 2, 4), draw(26, 2, 3, 4)
    names = [name for name in block.arrays() if name not in ("b_k", "a_k")]
    block.astype(np.float64)
    arrays = {name: p.data for name, p in block.arrays().items()}
    want, cache = level.decoder_block(x, memory, arrays, mask, num_heads=2, activation="relu")
    assert_close(block(x, memory, mask), want, tol=1e-12, what="out")
    dx, dmemory = block.backward(want)
    got = {"x": dx, "memory": dmemory} | {name: block.arrays()[name].grad for name in names}
    of_x, of_memory, of_weights = level.decoder_block_backward(want, cache)
    for name, a in ({"x": of_x, "memory": of_memory} | of_weights).items():
        if name in got:
            assert_close(got[name], a, tol=1e-10, what="d" + name)


@pytest.mark.levels(2, 3)
@pytest.mark.gradient
def test_dropout_in_training_only(level):
    """In evaluation nothing is dropped; in training the gradient goes with what was dropped."""
    block = level.DecoderBlock(6, 2, 5, dropout=0.4, rng=rng(27)).astype(np.float64)
    x, memory = draw(28, 2, 3, 6), draw(29, 2, 4, 6)
    sure = level.DecoderBlock(6, 2, 5, rng=rng(27)).astype(np.float64)
    assert_close(block.eval()(x, memory), sure(x, memory), tol=1e-12, what="out in evaluation")
    block.train()
    noises = [module for module in block.modules() if hasattr(module, "rng")]
    assert np.abs(block(x, memory) - block(x, memory)).max() > 1e-3 and noises

    def run(x, memory):
        for k, module in enumerate(noises):
            module.rng = rng(30 + k)
        return block(x, memory), None
    check_gradients(run, lambda dout, _: block.backward(dout), [x, memory])
    for layer in (block.attention.out_proj, block.cross.out_proj, block.ffn.linear2):
        layer.weight.data[...], layer.bias.data[...] = 0, 0
    assert_close(block(x, memory), x, tol=0, what="the stream, which nothing is dropped from")


def network(level, case):
    """The Transformer of the golden case, float64."""
    given = dict(case.inputs)
    source, lengths, tokens, sizes = (given.pop(name) for name in ("source", "lengths", "tokens", "sizes"))
    V, D, H, layers, width = (int(n) for n in sizes)
    model = level.Transformer(V, D, H, layers, width).astype(np.float64)
    level.from_pytorch(model, {name.replace("__", "."): a for name, a in given.items()})
    return model, source, lengths, tokens


def loss_and_gradients(model, source, lengths, tokens):
    """One pass of training, with smoothing 0.1 and padding 0."""
    loss, cache = smoothed_cross_entropy(model(source, lengths, tokens[:, :-1]), tokens[:, 1:], 0.1, 0)
    model.zero_grad()
    model.backward(smoothed_cross_entropy_backward(1.0, cache))
    return float(loss)


@pytest.mark.levels(2, 3)
@pytest.mark.gradient
def test_gradients_equal_pytorch(level, golden):
    """torch.nn.Transformer with our table: every gradient of the first step, by its names."""
    model, *batch = network(level, golden("training"))
    assert_close(loss_and_gradients(model, *batch), golden("training").outputs["losses"][0], tol=1e-10, what="loss")
    for parameter in model.parameters():
        parameter.data = parameter.grad
    for name, got in level.to_pytorch(model).items():
        shift = 1.0 * name.endswith("in_proj_bias")             # its middle third is 0
        assert_close(got + shift, golden("training").grads[name.replace(".", "__")] + shift, tol=1e-9, what="d" + name)


@pytest.mark.levels(2, 3)
@pytest.mark.value
def test_training_equals_pytorch(level, golden):
    """Twenty steps of Adam: the same losses to 1e-6."""
    model, *batch = network(level, golden("training"))
    optimizer, losses = Adam(model.parameters(), 0.01), []
    for _ in golden("training").outputs["losses"]:
        losses.append(loss_and_gradients(model, *batch))
        optimizer.step()
    assert_close(np.array(losses), golden("training").outputs["losses"], tol=1e-6, what="losses")


def small(level, seed=31, **options):
    """A sharp little Transformer in evaluation, and two sources."""
    model = level.Transformer(9, 8, 2, 2, 6, rng=rng(seed), **options).astype(np.float64).eval()
    for parameter in model.parameters():
        parameter.data += 0.4 * rng(seed + 1).standard_normal(parameter.data.shape)
    return model, np.array([[3, 4, 5, 6, 2], [8, 7, 2, 0, 0]]), np.array([5, 3])


class Whole:
    """Decoding without a cache: all tokens again at every step."""

    def __init__(self, model, source, lengths):
        self.model, self.source, self.lengths = model, source, lengths

    def step(self, state, tokens):
        """state (rows, tokens so far), as chapter 23 wants it."""
        rows, read = state
        read = np.concatenate([read, tokens[:, None]], axis=1)
        logits = self.model(self.source[rows], self.lengths[rows], read)[:, -1]
        logits = logits - logits.max(axis=1, keepdims=True)
        return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)), (rows, read)


@pytest.mark.levels(2, 3)
@pytest.mark.value
def test_decoding_with_a_cache_is_decoding_without(level):
    """Token by token the same log-probabilities; the same greedy output and beam, with its scores."""
    model, source, lengths = small(level)
    slow, start = Whole(model, source, lengths), (np.arange(2), np.empty((2, 0), np.int64))
    state, other = model.start(source, lengths), start
    for token in rng(33).integers(0, 9, (70, 2)):
        (fast, state), (plain, other) = model.step(state, token), slow.step(other, token)
        assert_close(fast, plain, tol=1e-9, what=f"log-probabilities of token {other[1].shape[1]}")
    for a, b in zip(greedy_decode(model.step, model.start(source, lengths), 1, 2, 12),
                    greedy_decode(slow.step, start, 1, 2, 12)):
        assert a.tolist() == b.tolist()
    (found, scores), (want, wanted) = (beam_search(step, begin, 1, 2, 4, 12, 1.0) for step, begin in
                                       ((model.step, model.start(source, lengths)), (slow.step, start)))
    assert [a.tolist() for a in found] == [b.tolist() for b in want]
    assert_close(scores, wanted, tol=1e-9, what="scores")


@pytest.mark.levels(2, 3)
@pytest.mark.value
def test_a_source_is_translated_alike_in_any_batch(level):
    """Alone, or padded to its neighbour's length; whatever the padding says."""
    model, source, lengths = small(level)
    inputs = np.array([[1, 4, 5, 3], [1, 3, 8, 4]])
    logits = model(source, lengths, inputs)
    assert_close(model(source[1:, :3], lengths[1:], inputs[1:]), logits[1:], tol=1e-10, what="logits alone")
    source[1, 3:] = 6
    assert_close(model(source, lengths, inputs), logits, tol=0, what="logits with other padding")


@pytest.mark.levels(2, 3)
@pytest.mark.shape
def test_positions_and_scale(level):
    """The first block reads sqrt(D) vectors plus sines; tables of any length and dtype."""
    model, source, lengths = small(level)
    seen = []
    for module in (model.encoder.blocks[0], model.blocks[0]):
        plain = module.forward
        module.forward = lambda x, *a, plain=plain, **o: (seen.append(x.copy()), plain(x, *a, **o))[1]
    model(source, lengths, source[:, :4])
    t, i = np.arange(5)[:, None], np.arange(4)
    angles = t / 10000.0 ** (2 * i / 8)
    want = model.table.data[source] * 8 ** 0.5 + np.stack([np.sin(angles), np.cos(angles)], 2).reshape(5, 8)
    real = lengths_to_mask(lengths, 5)[..., None]
    assert_close(seen[0] * real, want * real, tol=1e-10, what="what the encoder reads")
    assert_close(seen[1], want[:, :4], tol=1e-10, what="what the decoder reads")
    single = level.Transformer(9, 8, 2, 2, 6, rng=rng(0))
    assert single(source, lengths, source).dtype == np.float32
    assert single.eval().step(single.start(source, lengths), np.array([1, 1]))[0].dtype == np.float32


@pytest.mark.value
def test_dtypes_and_repetition(level):
    """float16, float32, float64; twice the same; nothing that came in is changed."""
    def run(x, memory, *arrays):
        return level.decoder_block(x, memory, dict(zip(checks.NAMES, arrays)), num_heads=2)[0]
    given = [draw(40, 2, 3, 6), draw(41, 2, 4, 6), *weights(42).values()]
    assert_dtypes(run, given, scales=(1.0, 30.0), refuses=(np.int64,), tol={2: 2e-2, 4: 1e-4})
    assert_repeatable(run, given)
