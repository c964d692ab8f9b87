# Tangled from chapters/31-kv-cache.qmd; edit the chapter, then run make tangle. sha256:c49668edb7dbf0e1
"""Chapter 31: what is empty, single, laid out otherwise, too much, or invalid."""

import contextlib

import numpy as np
import pytest

from tangled.t31_kv_cache.tests.test_basic import model, whole
from tangled.testing import assert_close, assert_layouts, expect_value_error, rng

pytestmark = pytest.mark.edge


@pytest.mark.parametrize("ids", [np.zeros(3, int), np.zeros((2, 3)), np.zeros((2, 0), int), np.full((2, 1), 7),
                                 np.full((2, 1), -1), np.zeros((3, 1), int), "text"])
def test_refuses_ids(level, ids):
    """Other shapes, no integers, no tokens, numbers that are none of the vocabulary."""
    decoder = level.Decoder(*model(0), 2)
    with pytest.raises(ValueError):
        decoder.extend(ids)
    assert decoder.lengths.tolist() == [0, 0]


@pytest.mark.parametrize("argument, options", [
    ("counts", {"counts": [1], "rows": [0, 2]}), ("counts", {"counts": [1, 4], "rows": [0, 2]}),
    ("counts", {"counts": [-1, 1], "rows": [0, 2]}), ("counts", {"counts": [1.0, 1.0], "rows": [0, 2]}),
    ("rows", {"rows": [0]}), ("rows", {"rows": [0, 0]}), ("rows", {"rows": [0, 3]}),
    ("rows", {"rows": [-1, 1]}), ("rows", {"rows": [0.0, 1.0]})])
def test_refuses_counts_and_rows(level, argument, options):
    """More than there are, twice the same, none of the cache."""
    decoder = level.Decoder(*model(1), 3)
    expect_value_error(argument, decoder.extend, np.zeros((2, 3), int), **options)
    assert decoder.lengths.tolist() == [0, 0, 0]


def test_no_room(level):
    """One row too long is a refusal of the whole call, at 5 of a capacity of 5; nothing has changed."""
    for name in ("learned-mha", "rope-mha"):
        weights, heads = model(2, name)
        decoder, lengths = level.Decoder(weights, heads, 4, 5), np.array([2, 3, 1, 5])
        decoder.extend(rng(3).integers(0, 7, (4, 5)), lengths)
        with contextlib.suppress(ValueError):
            decoder.extend(rng(4).integers(0, 7, (4, 3)))
        assert_close(decoder.lengths, lengths, tol=0, what="lengths after what had no room")
        decoder, ids = level.Decoder(weights, heads, 2, 5), rng(3).integers(0, 7, (2, 5))
        decoder.extend(ids[:, :3], [2, 3])
        for _ in range(2):
            with pytest.raises(ValueError, match="ids would make 6 tokens; expected at most the capacity of 5"):
                decoder.extend(ids[:, :3])
            assert decoder.lengths.tolist() == [2, 3]
        got = decoder.extend(ids[:, 3:])
        assert_close(got[1], whole(ids, weights, heads)[1, 3:], tol=1e-6, what="logits of the full row")
        expect_value_error("ids", decoder.extend, ids[:, :2])
        assert decoder.lengths.tolist() == [4, 5]


def test_a_single_token_is_looked_at(level):
    """One token of one row, the most frequent call: none outside of the vocabulary, and none beyond the window."""
    weights, heads = model(14)
    decoder, ids = level.Decoder(weights, heads), rng(15).integers(0, 7, (1, 9))
    for t in range(9):
        for wrong in (-1, 7):
            expect_value_error("ids", decoder.extend, np.array([[wrong]]))
        expect_value_error("rows", decoder.extend, ids[:, :1], rows=[1])
        assert not decoder.extend(ids[:, t:t + 1], [0]).any() and decoder.lengths.tolist() == [t]
        got = decoder.extend(ids[:, t:t + 1])
    assert_close(got, whole(ids, weights, heads)[:, -1:], tol=1e-6, what="logits of the last token")
    expect_value_error("ids", decoder.extend, ids[:, :1])
    assert decoder.lengths.tolist() == [9]


@pytest.mark.parametrize("name", ["learned-mqa", "rope-gqa"])
def test_large_scores(level, name):
    """Scores of many thousands, whose powers are no floats: pieces, single tokens, rows of unequal lengths."""
    weights, heads = model(16, name)
    for k in (0, 1):
        weights[f"blocks.{k}.attention.q_proj.weight"] = 3e4 * weights[f"blocks.{k}.attention.q_proj.weight"]
    ids = rng(17).integers(0, 7, (2, 6))
    truth, alone = whole(ids, weights, heads), level.Decoder(weights, heads, 1, 6)
    for t in range(6):
        assert_close(alone.extend(ids[:1, t:t + 1]), truth[:1, t:t + 1], tol=1e-6, what=f"logits of token {t}")
    both = level.Decoder(weights, heads, 2, 6)
    both.extend(ids[:, :4], [4, 2])
    got = both.extend(ids[[0, 1], [4, 2]][:, None])
    assert_close(got[:, 0], truth[[0, 1], [4, 2]], tol=1e-6, what="logits behind rows of unequal lengths")


@pytest.mark.parametrize("change, argument", [
    ({"num_heads": 5}, "num_heads"), ({"num_heads": 0}, "num_heads"), ({"num_heads": 2.0}, "num_heads"),
    ({"batch": 0}, "batch"), ({"batch": None}, "batch"), ({"capacity": 0}, "capacity"), ({"capacity": 10}, "capacity"),
    ({"base": 0.0}, "base"), ({"base": "10"}, "base")])
def test_decoder_refuses(level, change, argument):
    """Heads that do not divide, rows of nothing, more places than were learned."""
    weights, heads = model(4)
    expect_value_error(argument, level.Decoder, weights, **{"num_heads": heads, **change})


def test_weights_are_looked_at(level):
    """A missing matrix, one too many, another shape, another dtype; heads of keys that fit none."""
    weights, heads = model(5)
    for name, value in (("wte.weight", None), ("blocks.1.norm2.bias", None), ("extra", np.ones(3)),
                        ("norm.bias", np.ones(5)), ("norm.weight", np.ones(12, np.float32)),
                        ("norm.weight", np.ones(12, int))):
        changed = {key: a for key, a in {**weights, name: value}.items() if a is not None}
        expect_value_error(name, level.Decoder, changed, heads)
    odd = {**weights, **{f"blocks.{k}.attention.{p}_proj.weight": np.ones((12, 8)) for k in (0, 1) for p in "kv"}}
    expect_value_error("blocks.0.attention.k_proj.weight", level.Decoder, odd, heads)
    rotary, heads = model(6, "rope-mha")
    expect_value_error("capacity", level.Decoder, rotary, heads)
    expect_value_error("num_heads", level.Decoder, {**rotary}, 4, capacity=5)


def test_truncate_refuses(level):
    """Longer than it is, negative, rows twice; then it still works."""
    decoder = level.Decoder(*model(7), 2)
    decoder.extend(np.zeros((2, 3), int))
    for lengths, rows in (([4, 0], None), ([-1, 0], None), ([1], None), ([1.0, 1.0], None), ([1, 1], [0, 0]),
                          ([1], [2])):
        with pytest.raises(ValueError):
            decoder.truncate(lengths, rows)
    decoder.truncate([2], [1])
    assert decoder.lengths.tolist() == [3, 2]


def test_nothing(level):
    """No rows; rows that read nothing; a model of one head, one layer, one token of a vocabulary of one."""
    weights, heads = model(8)
    decoder = level.Decoder(weights, heads, 2)
    assert decoder.extend(np.zeros((0, 3), int), rows=[]).shape == (0, 3, 7)
    assert not decoder.extend(np.zeros((2, 3), int), [0, 0]).any() and decoder.lengths.tolist() == [0, 0]
    ids = rng(9).integers(0, 7, (2, 4))
    got = decoder.extend(ids, [0, 4])
    assert not got[0].any()
    assert_close(got[1], whole(ids, weights, heads)[1], tol=1e-6, what="logits beside a row that reads nothing")
    tiny, _ = model(10, V=1, context=1, D=3, L=1)
    got = level.Decoder(tiny, 1).extend(np.zeros((1, 1), int))
    assert_close(got, whole(np.zeros((1, 1), int), tiny, 1), tol=1e-6, what="logits of a model of nothing")


@pytest.mark.parametrize("name", ["learned-mqa", "rope-gqa"])
def test_memory_layouts(level, name):
    """Weights and ids in any layout; single tokens and several."""
    weights, heads = model(11, name)
    ids = rng(12).integers(0, 7, (2, 5))

    def read(*arrays):
        decoder = level.Decoder(dict(zip(weights, arrays)), heads, 1, 7)
        return decoder.extend(ids[:1]), decoder.extend(ids[1:, :1])
    assert_layouts(read, list(weights.values()))
    laid = [level.Decoder(weights, heads, 2, 7).extend(a) for a in (ids, np.asfortranarray(ids), ids[::-1][::-1])]
    for other in laid[1:]:
        assert_close(other, laid[0], tol=1e-12, what="logits, ids laid out otherwise")


@pytest.mark.parametrize("name, value", [
    ("p", np.ones((2, 3))), ("p", np.ones((2, 3, 4), int)), ("q", np.ones((2, 3, 4))), ("q", np.ones((2, 2, 5))),
    ("drafted", np.zeros((2, 3), int)), ("drafted", np.full((2, 2), 4)), ("drafted", np.zeros((2, 2))),
    ("uniform", np.zeros((2, 2))), ("uniform", np.ones((2, 3))), ("uniform", np.full((2, 3), np.nan)),
    ("counts", [1]), ("counts", [0, 3]), ("counts", [-1, 0])])
def test_verify_refuses(level, name, value):
    """Shapes that do not belong together, tokens beyond the vocabulary, a draw of 1."""
    given = {"p": np.full((2, 3, 4), 0.25), "q": np.full((2, 2, 4), 0.25), "drafted": np.zeros((2, 2), int),
             "uniform": np.zeros((2, 3))}
    expect_value_error(name, level.verify, **{**given, name: value})


@pytest.mark.parametrize("argument, given", [
    ("layers", (0, 1, 1, 1)), ("kv_heads", (1, 1.5, 1, 1)), ("head_dim", (1, 1, -1, 1)), ("lengths", (1, 1, 1, -1)),
    ("lengths", (1, 1, 1, [2.5]))])
def test_bytes_refuse(level, argument, given):
    """Sizes of nothing."""
    expect_value_error(argument, level.cache_bytes, *given)


def test_bytes_refuse_options(level):
    """A text longer than its buffer; blocks of nothing."""
    expect_value_error("lengths", level.cache_bytes, 1, 1, 1, [3, 9], capacity=8)
    expect_value_error("block_size", level.cache_bytes, 1, 1, 1, [3], block_size=0)
    expect_value_error("capacity", level.cache_bytes, 1, 1, 1, [3], capacity=0)
    expect_value_error("itemsize", level.cache_bytes, 1, 1, 1, [3], itemsize=0)


@pytest.mark.levels(2, 3)
def test_caches_are_looked_at(level):
    """A cache of another model; a buffer of nothing; a generate without a prompt."""
    weights, heads = model(13)
    for sizes in ((1, 2, 3, 5, 4), (2, 2, 1, 5, 4), (2, 2, 3, 5, 3)):
        expect_value_error("cache", level.Decoder, weights, heads, cache=level.KVCache(*sizes, np.float64))
    for k, name in enumerate(("layers", "batch", "heads", "capacity", "head_dim")):
        expect_value_error(name, level.KVCache, *[0 if i == k else 2 for i in range(5)])
    cache = level.KVCache(2, 3, 3, 20, 4, np.float64)
    decoder = level.Decoder(weights, heads, cache=cache)
    assert decoder.capacity == 9 and decoder.cache is cache
    assert cache.nbytes == cache.data.nbytes == 2 * 2 * 3 * 3 * 20 * 4 * 8
    expect_value_error("ids", decoder.extend, np.zeros((3, 10), int))
    alone = level.Decoder(weights, heads, cache=level.KVCache(2, 1, 3, 20, 4, np.float64))
    alone.extend(np.zeros((1, 9), int))
    expect_value_error("ids", alone.extend, np.zeros((1, 1), int))              # learned positions end, not the cache
    expect_value_error("counts", level.generate, decoder, np.zeros((3, 2), int), 1, [0, 1, 2])
    expect_value_error("counts", level.generate, decoder, np.zeros((3, 2), int), 1, [3, 1, 2])
    expect_value_error("rng", level.generate, decoder, np.zeros((3, 2), int), 1, rng=7)
    pages = level.PagedCache(2, 3, 3, 9, 4, 4, np.float64)      # level 3 has no use for them, and says so
    if level.__name__.endswith("level3_memory_efficient"):
        expect_value_error("cache", level.Decoder, weights, heads, cache=pages)
    else:
        ids = rng(24).integers(0, 7, (3, 9))
        assert_close(level.Decoder(weights, heads, cache=pages).extend(ids), whole(ids, weights, heads), tol=1e-6,
                     what="logits from pages")
