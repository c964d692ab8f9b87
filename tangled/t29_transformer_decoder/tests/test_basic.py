# Tangled from chapters/29-transformer-decoder.qmd; edit the chapter, then run make tangle. sha256:abe1a6cdee3e3d10
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
    for seed, chosen in ((21, np.arange(3)), (22, rows), (52, np.array([1, 2, 0])), (53, np.array([0, 0, 2])),
                         (23, np.arange(3))):
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
    known = [(state, [x[:, 0], x[:, 1]])]                       # a tree: each step from one that was made before
    for k, parent in enumerate((0, 1, 0, 1, 2, 2, 3, 0, 5, 1, 4, 5)):
        (before, read), token = known[parent], draw(80 + k, 3, 6)
        got, after = level.decoder_block_step(token, before, w, num_heads=2)
        known.append((after, [*read, token]))
        want, _ = level.decoder_block(np.stack(known[-1][1], axis=1), memory, w, mask, num_heads=2)
        assert_close(got, want[:, -1], what=f"step {k} of the tree")


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
@pytest.mark.value
def test_module_in_steps_and_under_padding(level):
    """The module's steps are its forward pass, with its own activation and eps; NaN in the padding reaches nothing."""
    block, mask = level.DecoderBlock(6, 3, 5, activation="gelu_tanh", rng=rng(46)).astype(np.float64), [[1, 1, 0, 0]]
    mask, x, memory = np.array([[1, 1, 1, 1], *mask], bool), draw(47, 2, 3, 6), draw(48, 2, 4, 6)
    for norm in (block.norm1, block.norm2, block.norm3):
        norm.eps = 0.3
    arrays = {name: p.data for name, p in block.arrays().items()}
    want, cache = level.decoder_block(x, memory, arrays, mask, num_heads=3, activation="gelu_tanh", eps=0.3)
    wanted = level.decoder_block_backward(want, cache)
    memory[1, 2:] = np.nan
    out, state, steps = block(x, memory, mask), block.start(memory, mask), []
    for t in range(3):
        y, state = block.step(x[:, t], state)
        steps.append(y)
    assert_close(out, want, tol=1e-12, what="out")
    assert_close(np.stack(steps, axis=1), want, tol=1e-12, what="out, step by step")
    for name, a, b in zip(("dx", "dmemory"), block.backward(want), wanted):
        assert_close(a, b, tol=1e-12, what=name)
    for name, parameter in block.arrays().items():
        assert_close(off_zero(name, parameter.grad), off_zero(name, wanted[2][name]), tol=1e-12, what="d" + name)


@pytest.mark.levels(2, 3)
@pytest.mark.gradient
def test_dropout_in_training_only(level):
    """In evaluation nothing is dropped; in training the gradient goes with what was dropped."""
    block = level.DecoderBlock(6, 2, 5, dropout=0.4, rng=rng(27)).astype(np.float64)
    x, memory = draw(28, 2, 3, 6), draw(29, 2, 4, 6)
    sure = level.DecoderBlock(6, 2, 5, rng=rng(27)).astype(np.float64)
    assert_close(block.eval()(x, memory), sure(x, memory), tol=1e-12, what="out in evaluation")
    wanted = sure.backward(x)
    for got, want in zip(block.train().backward(x), wanted):    # of the pass in evaluation, though training is on
        assert_close(got, want, tol=1e-12, what="a gradient of what was not dropped")
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


@pytest.mark.levels(2, 3)
@pytest.mark.value
def test_every_part_gets_what_the_model_was_given(level):
    """One rate and one generator for all noise, one activation, the number of blocks, weights by the generator."""
    def build(seed):
        return level.Transformer(9, 8, 2, 3, 6, dropout=0.3, activation="gelu_tanh", rng=rng(seed))
    model, twin, other = build(34), build(34), build(35)
    noises = [module for module in model.modules() if hasattr(module, "rng")]
    rates = [getattr(module, "p", getattr(module, "dropout", None)) for module in noises]
    assert rates == [0.3] * (2 + 3 * 4 + 3 * 6), "embeddings, heads, networks, and behind every sublayer"
    assert len({id(module.rng) for module in noises}) == 1
    blocks = [*model.encoder.blocks, *model.blocks]
    assert [block.ffn.activation for block in blocks] == ["gelu_tanh"] * 6
    assert_close(model.table.data.std() * 8 ** 0.5, np.float32(1), tol=0.3, what="the table's spread")
    for a, b, c in zip(model.parameters(), twin.parameters(), other.parameters()):
        assert a.data.dtype == np.float32
        assert_close(a.data, b.data, tol=0, what="a weight, drawn again")
        assert a.data.ndim == 1 or np.abs(a.data - c.data).max() > 1e-3, "a weight that no seed changes"


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


@pytest.mark.levels(2, 3)
@pytest.mark.value
def test_weights_go_to_pytorch_and_back(level, golden):
    """By value: neither side hears of what is done to the other's arrays afterwards."""
    model, source, lengths, tokens = network(level, golden("training"))
    logits, state = model(source, lengths, tokens), level.to_pytorch(model)
    other = level.Transformer(*golden("training").inputs["sizes"].tolist(), rng=rng(54)).astype(np.float64)
    assert level.from_pytorch(other, state) is other
    for array in state.values():
        array += 1
    for each in (model, other):
        assert_close(each(source, lengths, tokens), logits, tol=0, what="logits")


def small(level, seed=31, **options):
    """A sharp little Transformer in evaluation, and two sources."""
    model = level.Transformer(9, 8, 2, 2, 6, rng=rng(seed), **options).astype(np.float64).eval()
    for parameter in model.parameters():
        parameter.data += 0.4 * rng(seed + 1).standard_normal(parameter.data.shape)
    return model, np.array([[3, 4, 5, 6, 2], [8, 7, 2, 0, 0]]), np.array([5, 3])


@pytest.mark.levels(2, 3)
@pytest.mark.gradient
def test_gradients_under_dropout(level):
    """With the noise held still, along random directions through all weights: the slope that backward says."""
    model, source, lengths = small(level, dropout=0.4)
    noises, up = [m for m in model.train().modules() if hasattr(m, "rng")], draw(50, 2, 4, 9)

    def total():
        for k, module in enumerate(noises):
            module.rng = rng(60 + k)
        return float((model(source, lengths, source[:, :4]) * up).sum())
    total()
    model.zero_grad()
    model.backward(up)
    for seed in (100, 200, 300):
        ways = [1e-6 * draw(seed + k, *p.data.shape) for k, p in enumerate(model.parameters())]
        slope, ends = sum(float((p.grad * v).sum()) for p, v in zip(model.parameters(), ways)), []
        for share in (1, -2):                                   # there, and as far the other way
            for parameter, way in zip(model.parameters(), ways):
                parameter.data += share * way
            ends.append(total())
        for parameter, way in zip(model.parameters(), ways):
            parameter.data += way
        assert_close(np.array((ends[0] - ends[1]) / 2e-6), np.array(slope * 1e6), tol=1e-5, what="slope")


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
def test_the_model_s_steps_may_branch(level):
    """Two ways on from one state; no rows at all; logits too large for exp."""
    model, source, lengths = small(level)
    state = model.start(source, lengths)
    for token in (1, 4, 6):
        before, state = state, model.step(state, np.array([token, 5]))[1]
    first, _ = model.step(state, np.array([3, 7]))
    other, _ = model.step(before, np.array([8, 8]))
    again, _ = model.step(state, np.array([3, 7]))
    assert_close(again, first, tol=0, what="the same step, taken again")
    want, _ = Whole(model, source, lengths).step((np.arange(2), np.array([[1, 4], [5, 5]])), np.array([8, 8]))
    assert_close(other, want, tol=1e-9, what="another way on from an earlier state")
    none, after = model.step(select(state, np.array([], np.int64)), np.array([], np.int64))
    assert none.shape == (0, 9) and len(after["t"]) == 0
    model.table.data *= 1e4
    loud, _ = model.step(model.start(source, lengths), np.array([1, 1]))
    assert np.isfinite(loud).all() and (loud.max(axis=1) <= 0).all()


@pytest.mark.levels(2, 3)
@pytest.mark.gradient
def test_gradients_add_up(level):
    """A second backward pass is added to the first, in every weight of the model."""
    model, source, lengths = small(level)
    dlogits, found = draw(51, 2, 4, 9), []
    for _ in range(2):
        model(source, lengths, source[:, :4])
        model.backward(dlogits)
        found.append([p.grad.copy() for p in model.parameters()])
    for once, twice in zip(*found):
        assert_close(twice, 2 * once, tol=1e-10, what="the sum of two gradients")


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
    far = rng(49).integers(0, 9, (1, 131))                      # longer than any table so far
    model(far, np.array([131]), far[:, :67])
    angles = np.arange(131)[:, None] / 10000.0 ** (2 * i / 8)
    want = model.table.data[far] * 8 ** 0.5 + np.stack([np.sin(angles), np.cos(angles)], 2).reshape(131, 8)
    assert_close(seen[2], want, tol=1e-10, what="what the encoder reads far on")
    assert_close(seen[3], want[:, :67], tol=1e-10, what="what the decoder reads far on")
    single = level.Transformer(9, 8, 2, 2, 6, rng=rng(0))
    assert single(source, lengths, source).dtype == np.float32
    assert single.eval().step(single.start(source, lengths), np.array([1, 1]))[0].dtype == np.float32


@pytest.mark.value
def test_half_precision_comes_back(level):
    """float16 in, float16 out: every gradient, and steps, all near those of float64."""
    w, results = weights(43), {}
    x, memory, mask = draw(44, 2, 3, 6), draw(45, 2, 4, 6), lengths_to_mask([4, 2], 4)
    for dtype in (np.float64, np.float16):
        given, own = [a.astype(dtype) for a in (x, memory)], {name: a.astype(dtype) for name, a in w.items()}
        out, cache = level.decoder_block(*given, own, mask, num_heads=2)
        dx, dmemory, dweights = level.decoder_block_backward(given[0], cache)
        steps, _ = walk(level, given[0], level.start_decoding(given[1], own, mask, num_heads=2), own, num_heads=2)
        results[dtype] = {"out": out, "dx": dx, "dmemory": dmemory, "steps": steps} | dweights
    for name, a in results[np.float16].items():
        assert a.dtype == np.float16, f"{name} is {a.dtype}"
        want = results[np.float64][name]
        assert_close(off_zero(name, a.astype(float)), off_zero(name, want), tol=5e-2, what=name)


@pytest.mark.value
def test_dtypes_and_repetition(level):
    """float16, float32, float64; twice the same; nothing that came in is changed."""
    def run(x, memory, *arrays):
        return level.decoder_block(x, memory, dict(zip(checks.NAMES, arrays)), num_heads=2)[0]
    given = [draw(40, 2, 3, 6), draw(41, 2, 4, 6), *weights(42).values()]
    assert_dtypes(run, given, scales=(1.0, 30.0), refuses=(np.int64,), tol={2: 2e-2, 4: 1e-4})
    assert_repeatable(run, given)
