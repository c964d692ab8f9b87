# Tangled from chapters/29-transformer-decoder.qmd; edit the chapter, then run make tangle. sha256:96354f816d5aa3a7
"""Chapter 29: one of each, none of each, other layouts, what is invalid."""

import numpy as np
import pytest

from tangled.t29_transformer_decoder import checks
from tangled.testing import assert_close, assert_layouts, expect_value_error, rng

pytestmark = pytest.mark.edge

ones = np.ones


def weights(D=6, F=7, fill=ones):
    """A dict for decoder_block."""
    shapes = {name: (D, D) if name[0] in "wu" else (D,) for name in checks.NAMES} | {"w1": (D, F), "b1": (F,),
                                                                                     "w2": (F, D)}
    return {name: fill(s) for name, s in shapes.items()}


@pytest.mark.parametrize("argument, value", [
    ("x", ones((3, 6))), ("x", ones((2, 3, 6), int)), ("x", ones((2, 0, 6))), ("memory", ones((2, 5, 4))),
    ("memory", ones((3, 5, 6))), ("memory", ones((2, 0, 6))), ("memory", ones((2, 5, 6), np.float32)),
    ("memory_mask", ones((2, 5))), ("memory_mask", ones((2, 3), bool)), ("memory_mask", ones((2, 1, 5), bool)),
    ("num_heads", 4), ("num_heads", 0), ("num_heads", 2.0), ("activation", "silu"), ("activation", None),
    ("eps", 0), ("eps", None)])
def test_refuses(level, argument, value):
    """Arguments of a block that are not as they should be."""
    given = {"x": ones((2, 3, 6)), "memory": ones((2, 5, 6)), "weights": weights(), "num_heads": 2}
    expect_value_error(argument, level.decoder_block, **given | {argument: value})


@pytest.mark.parametrize("name", checks.NAMES)
def test_refuses_weights(level, name):
    """Each weight in another shape or dtype, or missing; unknown names."""
    call = lambda w: level.decoder_block(ones((2, 3, 6)), ones((2, 5, 6)), w, num_heads=2)
    good = weights()
    for bad in (ones((4, *good[name].shape[1:])), good[name].astype(np.float32), good[name][None]):
        others = {"w1": ("w1", "b1", "w2")}.get(name, (name,))
        with pytest.raises(ValueError, match=r" has shape | has dtype ") as caught:
            call(good | {name: bad})
        assert str(caught.value).split()[0] in others
    expect_value_error("weights", call, {k: a for k, a in good.items() if k != name})
    expect_value_error("weights", call, good | {"gamma": ones(6)})


def test_steps_refuse(level):
    """A start and a step that do not fit; an upstream gradient that does not."""
    w, memory = weights(), ones((2, 5, 6))
    state = level.start_decoding(memory, w, num_heads=2)
    for name, x in (("x", ones((3, 6))), ("x", ones((2, 1, 6))), ("x", ones((2, 6), int))):
        expect_value_error(name, level.decoder_block_step, x, state, w, num_heads=2)
    expect_value_error("activation", level.decoder_block_step, ones((2, 6)), state, w, num_heads=2, activation="silu")
    expect_value_error("eps", level.decoder_block_step, ones((2, 6)), state, w, num_heads=2, eps=0.0)
    expect_value_error("memory", level.start_decoding, ones((2, 6)), w, num_heads=2)
    expect_value_error("memory_mask", level.start_decoding, memory, w, ones((2, 5)), num_heads=2)
    cache = level.decoder_block(ones((2, 3, 6)), memory, w, num_heads=2)[1]
    for dout in (ones((2, 1, 6)), ones((2, 3, 6), int)):
        expect_value_error("dout", level.decoder_block_backward, dout, cache)


@pytest.mark.levels(2, 3)
def test_models_refuse(level):
    """Sizes and tokens of a Transformer; the state of another."""
    for name, value in (("vocab", 0), ("d_model", 0), ("num_heads", 3), ("num_layers", 0), ("d_ff", 0),
                        ("dropout", 1.0), ("activation", "silu")):
        given = {"vocab": 9, "d_model": 8, "num_heads": 2, "num_layers": 1, "d_ff": 4} | {name: value}
        expect_value_error(name, level.Transformer, **given)
    model = level.Transformer(9, 8, 2, 1, 4).eval()
    ids, lengths = np.array([[1, 2, 3]]), np.array([3])
    for name, source, inputs in (("source", ids + 6, ids), ("source", ids[0], ids), ("inputs", ids, ids * 1.0),
                                 ("inputs", ids, -ids)):
        expect_value_error(name, model, source, lengths, inputs)
    expect_value_error("lengths", model, ids, np.array([4]), ids)
    expect_value_error("tokens", model.step, model.start(ids, lengths), np.array([9]))
    state = level.to_pytorch(model)
    expect_value_error("state", level.from_pytorch, model, state | {"more": ones(3)})
    expect_value_error("table", level.from_pytorch, model, state | {"table": ones((8, 8))})
    with pytest.raises(RuntimeError):
        level.Transformer(9, 8, 2, 1, 4).backward(ones((1, 3, 9)))


@pytest.mark.parametrize("B, T, S, D, F, H", [(1, 1, 1, 1, 1, 1), (1, 3, 2, 4, 1, 4), (0, 3, 2, 4, 3, 2),
                                              (2, 1, 3, 4, 5, 1)])
def test_one_and_none(level, B, T, S, D, F, H):
    """One sample, token, feature or hidden number; no samples at all. Steps too."""
    draw = rng(0).standard_normal
    x, memory, w = draw((B, T, D)), draw((B, S, D)), weights(D, F, draw)
    out, cache = level.decoder_block(x, memory, w, num_heads=H)
    dx, dmemory, dweights = level.decoder_block_backward(out, cache)
    assert dx.shape == out.shape == x.shape and dmemory.shape == memory.shape
    assert all(dweights[name].shape == a.shape for name, a in w.items())
    state = level.start_decoding(memory, w, num_heads=H)
    for t in range(T):
        y, state = level.decoder_block_step(x[:, t], state, w, num_heads=H)
        assert_close(y, out[:, t], what=f"token {t}")


def test_a_source_without_tokens(level):
    """A memory that is padding throughout gives the bias of the mix, and takes no gradient."""
    draw = rng(1).standard_normal
    x, memory, w, mask = draw((2, 3, 6)), draw((2, 4, 6)), weights(fill=draw), np.zeros((2, 4), bool)
    mask[0] = True
    out, cache = level.decoder_block(x, memory, w, mask, num_heads=2)
    assert np.isfinite(out).all()
    dmemory = level.decoder_block_backward(out, cache)[1]
    assert np.isfinite(dmemory).all() and not dmemory[1].any() and dmemory[0].any()
    silent = w | {"u_o": np.zeros((6, 6))}                      # the same for sample 1
    assert_close(level.decoder_block(x, memory, silent, mask, num_heads=2)[0][1], out[1], tol=1e-10, what="out")
    state = level.start_decoding(memory, w, mask, num_heads=2)
    assert_close(level.decoder_block_step(x[:, 0], state, w, num_heads=2)[0], out[:, 0], tol=1e-10, what="a step")


def test_extremes(level):
    """Large numbers stay finite; a NaN in one sample stays there."""
    draw = rng(2).standard_normal
    w = weights(fill=draw)
    x, memory = 1e4 * draw((2, 3, 6)).astype(np.float64), 1e4 * draw((2, 4, 6))
    out, cache = level.decoder_block(x, memory, w, num_heads=2)
    assert np.isfinite(out).all() and all(np.isfinite(a).all() for a in level.decoder_block_backward(out, cache)[:2])
    bad = memory.copy()
    bad[1, 2, 3] = np.nan
    got, _ = level.decoder_block(x, bad, w, num_heads=2)
    assert_close(got[0], out[0], tol=1e-12, what="the other sample")
    assert np.isnan(got[1]).any()


def test_layouts(level):
    """Any order in memory, forward, backward and in a step."""
    draw = rng(3).standard_normal
    x, memory, w, mask = draw((2, 3, 2)), draw((2, 4, 2)), weights(2, 3, draw), np.arange(4) < [[3], [4]]
    names = ("gamma1", "w_q", "u_k", "a_v", "w1", "b2")

    def backward(dout, cache):
        dx, dmemory, dweights = level.decoder_block_backward(dout, cache)
        return dx, dmemory, *(dweights[name] for name in names)

    def step(x, memory, *arrays):
        named = w | dict(zip(names, arrays))
        state = level.start_decoding(memory, named, mask, num_heads=2)
        return level.decoder_block_step(x, state, named, num_heads=2)[0]
    given = [w[name] for name in names]
    assert_layouts(lambda x, m, *a: level.decoder_block(x, m, w | dict(zip(names, a)), mask, num_heads=2),
                   [x, memory, *given], f_backward=backward, names=["x", "memory", *names], tol=1e-9)
    assert_layouts(step, [x[:, 0], memory, *given], tol=1e-9)
