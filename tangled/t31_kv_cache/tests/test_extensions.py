# Tangled from chapters/31-kv-cache.qmd; edit the chapter, then run make tangle. sha256:a50ec8e5e929a6c8
"""Chapter 31: pages, prefixes, speculation."""

import numpy as np
import pytest

from tangled.t31_kv_cache.tests.test_basic import model, pieces, whole
from tangled.testing import assert_close, expect_value_error, rng


def sound(cache):
    """Blocks are free or used, tables and counts agree, no table is longer than it must be."""
    used = np.bincount([block for table in cache.tables for block in table], minlength=cache.blocks)
    assert cache.users.tolist() == used.tolist()
    assert sorted(cache.free) == [block for block in range(cache.blocks) if not used[block]]
    for table, length in zip(cache.tables, cache.lengths.tolist()):
        assert len(table) == -(-length // cache.block_size) and len(set(table)) == len(table)
    assert {block: prefix for prefix, block in cache.known.items()} == cache.prefix_of


def paged(level, seed=0, batch=4, blocks=12, block_size=2, name="learned-mqa"):
    """A decoder on pages, its weights and heads."""
    weights, heads = model(seed, name)
    kv = weights["blocks.0.attention.k_proj.weight"].shape[1] * heads // 12
    cache = level.PagedCache(2, batch, kv, blocks, block_size, 12 // heads, np.float64)
    return level.Decoder(weights, heads, cache=cache), weights, heads


@pytest.mark.levels(2)
@pytest.mark.value
@pytest.mark.parametrize("block_size", [1, 2, 3, 9])
@pytest.mark.parametrize("name", ["learned-mha", "rope-gqa"])
def test_pages_equal_a_buffer(level, block_size, name):
    """Logits do not depend on how the cache is stored."""
    decoder, weights, heads = paged(level, 1, 3, 30, block_size, name)
    ids, counts = rng(2).integers(0, 7, (3, 9)), np.array([4, 1, 3])
    truth = whole(ids, weights, heads)
    got = decoder.extend(ids[:, :4], counts)
    for b, count in enumerate(counts):
        assert_close(got[b, :count], truth[b, :count], tol=1e-6, what=f"row {b}")
    got = decoder.extend(ids[np.arange(3)[:, None], counts[:, None] + np.arange(5)])
    for b, count in enumerate(counts):
        assert_close(got[b], truth[b, count:count + 5], tol=1e-6, what=f"row {b}, next tokens")
    sound(decoder.cache)


@pytest.mark.levels(2)
@pytest.mark.value
def test_blocks_come_back(level):
    """A hundred and twenty turns of five rows on twelve blocks; at the end all are free."""
    decoder, weights, heads = paged(level, 3, 5)
    draw, texts = rng(4), [[] for _ in range(5)]
    for turn in range(120):
        row = int(draw.integers(5))
        if len(texts[row]) > 6 or (texts[row] and draw.random() < 0.3):
            kept = int(draw.integers(0, 2))
            decoder.truncate([kept], [row])
            del texts[row][kept:]
        ids = draw.integers(0, 7, (1, draw.integers(1, 3)))
        needed = -(-(len(texts[row]) + ids.size) // 2) - -(-len(texts[row]) // 2)
        if needed > len(decoder.cache.free):
            with pytest.raises(level.OutOfBlocks):
                decoder.extend(ids, rows=[row])
        else:
            logits = decoder.extend(ids, rows=[row])
            texts[row] += ids[0].tolist()
            if turn % 5 == 0:
                truth = whole(np.array([texts[row]]), weights, heads)[0, -1]
                assert_close(logits[0, -1], truth, tol=1e-6, what=f"turn {turn}")
        sound(decoder.cache)
    decoder.truncate(np.zeros(5, int))
    assert len(decoder.cache.free) == 12 and not decoder.cache.users.any()


@pytest.mark.levels(2)
@pytest.mark.value
def test_out_of_blocks(level):
    """A clear refusal, before anything is written: lengths, tables and keys are as they were."""
    decoder, weights, heads = paged(level, 5, 3, blocks=4)
    ids = rng(6).integers(0, 7, (3, 3))
    decoder.extend(ids[:2, :2], rows=[0, 1])
    kept, tables = decoder.cache.data.copy(), [list(table) for table in decoder.cache.tables]
    with pytest.raises(level.OutOfBlocks, match="ids need 6 more blocks of 2 tokens; expected at most the 2 of 4"):
        decoder.extend(ids)
    assert issubclass(level.OutOfBlocks, ValueError)
    assert decoder.lengths.tolist() == [2, 2, 0] and decoder.cache.tables == tables
    assert np.array_equal(decoder.cache.data, kept)
    decoder.truncate([0], [1])
    assert_close(decoder.extend(ids[2:], rows=[2]), whole(ids[2:], weights, heads), tol=1e-6, what="logits after it")


@pytest.mark.levels(2)
@pytest.mark.value
def test_a_prefix_is_shared(level):
    """Published blocks are given to who begins alike, and only as far; the rest is read; logits are right."""
    decoder, weights, heads = paged(level, 7)
    cache, text = decoder.cache, np.array([1, 2, 3, 4, 5, 6])
    decoder.extend(text[None], rows=[0])
    assert cache.share(1, text) == 0, "nothing has been published"
    cache.publish(0, text)
    for row, other, reused in ((1, [1, 2, 3, 4, 0, 0], 4), (2, [1, 2, 0, 4, 5, 6], 2), (3, [0, 2, 3, 4, 5, 6], 0)):
        assert cache.share(row, np.array(other)) == reused
        assert cache.tables[row] == cache.tables[0][:reused // 2]
        got = decoder.extend(np.array([other[reused:]]), rows=[row])
        assert_close(got, whole(np.array([other]), weights, heads)[:, reused:], tol=1e-6, what=f"row {row}")
        sound(cache)
    assert len({block for table in cache.tables for block in table}) == 12 - 3, "three blocks spared"
    decoder.truncate([0], [3])
    assert cache.share(3, text) == 4, "the last token has to be read, so its block is not shared"


@pytest.mark.levels(2)
@pytest.mark.value
def test_a_prefix_is_all_that_came_before(level):
    """Blocks with the same tokens behind other beginnings are not the same, however far back these parted."""
    decoder, weights, heads = paged(level, 22, 3, blocks=15)
    cache, texts = decoder.cache, np.array([[1, 2, 3, 4, 5, 6, 0, 1], [6, 5, 3, 4, 5, 6, 0, 1]])
    decoder.extend(texts[:1, :4], rows=[0])
    cache.publish(0, texts[0])
    decoder.extend(texts[1:], rows=[1])
    cache.publish(1, texts[1])
    decoder.extend(texts[:1, 4:], rows=[0])                     # the third block is known behind the other text
    assert cache.share(2, texts[0]) == 4
    got = decoder.extend(texts[:1, 4:], rows=[2])
    assert_close(got, whole(texts[:1], weights, heads)[:, 4:], tol=1e-6, what="logits")
    sound(cache)


@pytest.mark.levels(2)
@pytest.mark.value
def test_what_is_published(level):
    """Full blocks whose tokens are known, whether more or fewer are named than the row has; each once."""
    decoder, _, _ = paged(level, 7, block_size=2)
    cache, text = decoder.cache, np.array([1, 2, 3, 4, 5, 6, 0])
    decoder.extend(text[None, :5], rows=[0])
    for named, shared in ((text[:1], 0), (text[:3], 2), (text, 4)):             # 5 tokens are there
        cache.publish(0, named)
        assert cache.share(1, text) == shared
        decoder.truncate([0], [1])
        sound(cache)
    decoder.extend(text[None, :4], rows=[2])                    # the same text, in blocks of its own
    cache.publish(2, text[:4])
    sound(cache)
    assert cache.share(1, text) == 4 and cache.tables[1] == cache.tables[0][:2]
    decoder.truncate([0] * 4)
    decoder.extend(text[None, 4:6], rows=[3])                   # takes what has been free for longest
    assert cache.share(0, text) == 4
    sound(cache)


@pytest.mark.levels(2)
@pytest.mark.shape
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_dtype_of_a_cache(level, dtype):
    """What is asked for; a decoder's own has the dtype of its weights."""
    weights, heads = model(0, dtype=dtype)
    caches = [level.KVCache(2, 3, 1, 8, 4, dtype), level.PagedCache(2, 3, 1, 4, 2, 4, dtype),
              level.Decoder(weights, heads, 3, 8).cache]
    assert [cache.data.dtype for cache in caches] == [dtype] * 3
    numbers = [2 * 2 * 3 * 1 * 8 * 4, 2 * 2 * 4 * 1 * 2 * 4, 2 * 2 * 3 * 3 * 8 * 4]
    assert [cache.nbytes for cache in caches] == [n * np.dtype(dtype).itemsize for n in numbers]


@pytest.mark.levels(2)
@pytest.mark.value
def test_a_prefix_outlives_its_row(level):
    """Free blocks stay known until they are taken; then they are not."""
    decoder, weights, heads = paged(level, 8, 2, blocks=4)
    cache, text = decoder.cache, np.array([[1, 2, 3, 4, 5]])
    decoder.extend(text, rows=[0])
    cache.publish(0, text[0])
    decoder.truncate([0], [0])
    decoder.extend(text[:, :2], rows=[0])                       # takes the block that has been free for longest
    assert cache.share(1, text[0]) == 4
    sound(cache)
    decoder.truncate([0], [0])
    got = decoder.extend(text[:, 4:], rows=[1])
    assert_close(got, whole(text, weights, heads)[:, 4:], tol=1e-6, what="logits")
    decoder.truncate([0], [1])
    other = np.array([[6, 6, 6, 6, 6, 6, 6, 6]])
    decoder.extend(other, rows=[0])
    assert cache.share(1, text[0]) == 0 and not cache.tables[1]
    sound(cache)


@pytest.mark.levels(2)
@pytest.mark.value
def test_copy_on_write(level):
    """Two texts that part in the middle of a block, written in turn: neither sees the other's tokens."""
    decoder, weights, heads = paged(level, 9, block_size=4)
    first, second = np.array([[1, 2, 3, 4, 5, 6, 0, 1]]), np.array([[1, 2, 3, 4, 5, 2, 2, 6]])
    decoder.extend(first[:, :5], rows=[0])
    decoder.cache.fork(0, 1)
    assert decoder.cache.tables[0] == decoder.cache.tables[1]
    got = [[], []]
    for t in range(5, 8):
        for row, text in enumerate((first, second)):
            got[row].append(decoder.extend(text[:, t:t + 1], rows=[row]))
        sound(decoder.cache)
    for row, text in enumerate((first, second)):
        assert_close(np.concatenate(got[row], axis=1), whole(text, weights, heads)[:, 5:], tol=1e-6, what=f"row {row}")
    assert decoder.cache.tables[0][0] == decoder.cache.tables[1][0] and decoder.cache.users.max() == 2


@pytest.mark.levels(2)
@pytest.mark.value
def test_both_write_at_once(level):
    """Two rows with a shared last block, extended in one call: one copy is enough; none, if nothing is read."""
    decoder, weights, heads = paged(level, 10, 2, blocks=2, block_size=4)
    ids = np.array([[1, 2, 3], [1, 2, 5]])
    decoder.extend(ids[:1, :2], rows=[0])
    decoder.cache.fork(0, 1)
    decoder.extend(ids[:, 2:], [0, 0])
    assert decoder.cache.tables[0] == decoder.cache.tables[1] and len(decoder.cache.free) == 1
    assert_close(decoder.extend(ids[:, 2:]), whole(ids, weights, heads)[:, 2:], tol=1e-6, what="logits")
    sound(decoder.cache)


@pytest.mark.levels(2)
@pytest.mark.value
def test_what_is_overwritten_is_not_known(level):
    """A published block that its row goes back into is published no more."""
    decoder, _, _ = paged(level, 11)
    text, other = np.array([[1, 2, 3, 4]]), np.array([[1, 2, 3, 0]])
    decoder.extend(text, rows=[0])
    decoder.cache.publish(0, text[0])
    decoder.truncate([3], [0])
    decoder.extend(other[:, 3:], rows=[0])
    assert decoder.cache.share(1, np.array([1, 2, 3, 4, 5])) == 2
    sound(decoder.cache)
    decoder, _, _ = paged(level, 11)
    decoder.extend(text, rows=[0])
    decoder.cache.publish(0, text[0])
    decoder.truncate([1], [0])
    decoder.extend(other[:, 3:], rows=[0])                      # the first block is not known, the second is
    assert decoder.cache.share(1, np.array([1, 2, 3, 4, 5])) == 0
    sound(decoder.cache)


@pytest.mark.levels(2)
@pytest.mark.edge
def test_pages_refuse(level):
    """Sizes of nothing; rows that are not empty."""
    expect_value_error("block_size", level.PagedCache, 2, 3, 1, 4, 0, 5)
    expect_value_error("blocks", level.PagedCache, 2, 3, 1, 2.5, 2, 5)
    decoder, _, _ = paged(level, 12)
    decoder.extend(np.array([[1, 2]]), rows=[0])
    expect_value_error("row", decoder.cache.share, 0, np.array([1, 2]))
    expect_value_error("row", decoder.cache.fork, 1, 0)
    expect_value_error("lengths", decoder.truncate, [3], [0])


def chi_square(found, p):
    """The statistic, over cells with five expected or more and one for the others."""
    n = found.sum()
    big = n * p >= 5
    cells = [(found[big], n * p[big]), (np.array([found[~big].sum()]), np.array([n * p[~big].sum()]))]
    return sum(((f - e) ** 2 / e).sum() for f, e in cells if e.sum() > 0), int(big.sum()) - (0 if (~big).any() else 1)


@pytest.mark.levels(2)
@pytest.mark.value
@pytest.mark.parametrize("how", [{}, {"temperature": 0.7, "top_k": 3}])
def test_speculation_keeps_the_distribution(level, how):
    """20,000 texts of three tokens by a tiny model and a tiny draft: chi-square against the target's own."""
    from tangled.t30_mini_gpt import filter_logits
    target, heads = model(13, V=4, context=6, D=6, L=1)
    draft, _ = model(14, V=4, context=6, D=6, L=1)
    n, ids = 20_000, np.tile([1, 3], (20_000, 1))
    tokens, done = level.speculative_decode(level.Decoder(target, heads, n), level.Decoder(draft, heads, n), ids, 3, 2,
                                            **how, rng=rng(15))
    texts = np.array(np.unravel_index(np.arange(64), (4, 4, 4))).T              # all of them, (64, 3)
    full = np.concatenate([np.tile([1, 3], (64, 1)), texts], axis=1)
    z = filter_logits(whole(full, target, heads)[:, 1:4], **how)
    p = np.exp(z - np.logaddexp.reduce(z, axis=2, keepdims=True))
    p = np.take_along_axis(p, texts[..., None], axis=2)[..., 0].prod(axis=1)
    found = np.bincount(np.ravel_multi_index(tokens.T, (4, 4, 4)), minlength=64)
    assert not found[p == 0].any()
    statistic, freedom = chi_square(found[p > 0], p[p > 0])
    limit = freedom * (1 - 2 / (9 * freedom) + 3.09 * (2 / (9 * freedom)) ** 0.5) ** 3      # 99.9 %, Wilson-Hilferty
    assert statistic < limit, f"chi-square {statistic:.1f} with {freedom} degrees of freedom, 99.9 % below {limit:.1f}"
    assert 0 < done.accepted < done.drafted


@pytest.mark.levels(2, 3)
@pytest.mark.value
@pytest.mark.parametrize("k", [0, 1, 3, 9])
def test_greedy_speculation(level, k):
    """At temperature 0 the text is the target's, whatever the draft says; with itself all is accepted."""
    target, heads = model(16)
    draft, _ = model(17)
    ids = rng(18).integers(0, 7, (3, 2))
    make = lambda weights: level.Decoder(weights, heads, 3)
    want = level.generate(make(target), ids, 8, temperature=0)                 # to the end of the window
    pair = make(target), make(draft)
    for _ in range(2):                                          # what they had read is forgotten
        tokens, done = level.speculative_decode(*pair, ids, 8, k, temperature=0)
        assert tokens.tolist() == want.tolist() and done.passes <= 8
    tokens, done = level.speculative_decode(make(target), make(target), ids, 8, k, temperature=0)
    assert tokens.tolist() == want.tolist() and done.accepted == done.drafted
    assert done.passes == -(-8 // (k + 1))


@pytest.mark.levels(2)
@pytest.mark.value
@pytest.mark.parametrize("how", [{"top_k": 2}, {"top_p": 0.6}, {"min_p": 0.4}])
def test_speculation_is_given_the_options(level, how):
    """Nothing is written that the options rule out; the generator given is the one that draws."""
    from tangled.t30_mini_gpt import filter_logits
    target, heads = model(13, V=5, D=6, L=1)
    draft, _ = model(14, V=5, D=6, L=1)
    ids = np.tile([1, 3], (200, 1))
    make = lambda: (level.Decoder(target, heads, 200), level.Decoder(draft, heads, 200))
    one, again, other = (level.speculative_decode(*make(), ids, 4, 2, **how, rng=rng(seed))[0] for seed in (1, 1, 2))
    assert one.tolist() == again.tolist() != other.tolist()
    plain = level.speculative_decode(*make(), ids, 4, 2, **how)[0]
    seeded = level.speculative_decode(*make(), ids, 4, 2, **how, rng=np.random.default_rng(0))[0]
    assert plain.tolist() == seeded.tolist(), "the default generator has the seed 0"
    full = np.concatenate([ids, one], axis=1)
    z = filter_logits(whole(full, target, heads)[:, 1:-1], **how)
    assert np.isfinite(np.take_along_axis(z, one[..., None], axis=2)).all(), "a token that the options rule out"
    assert np.isinf(z).any(axis=2).mean() > 0.5


@pytest.mark.levels(2)
@pytest.mark.value
def test_speculation_far_out(level):
    """Logits of many thousands: the largest is certain, and no power overflows."""
    target, heads = model(16)
    for name in ("norm.weight", "norm.bias"):
        target[name] = 1e4 * target[name]
    ids = rng(18).integers(0, 7, (3, 2))
    make = lambda: level.Decoder(target, heads, 3)
    want = level.generate(make(), ids, 8, temperature=0)
    tokens, _ = level.speculative_decode(make(), level.Decoder(model(17)[0], heads, 3), ids, 8, 3)
    assert tokens.tolist() == want.tolist()


@pytest.mark.levels(2, 3)
@pytest.mark.value
def test_rows_at_different_paces(level):
    """A row at the end of its window beside rows that are still drafting: it reads no more."""
    target, heads = model(16)
    draft = {name: a + 0.05 * rng(20).standard_normal(a.shape) for name, a in target.items()}
    ids = rng(18).integers(0, 7, (4, 2))
    for seed in range(6):
        pair = [level.Decoder(weights, heads, 4) for weights in (target, draft)]
        tokens, done = level.speculative_decode(*pair, ids, 8, 4, rng=rng(seed))
        assert tokens.shape == (4, 8) and 0 < done.accepted < done.drafted
        assert all((decoder.lengths <= 9).all() for decoder in pair)


@pytest.mark.levels(2)
@pytest.mark.edge
def test_speculation_refuses(level):
    """No room, no prompt, drafts of nothing."""
    weights, heads = model(19)
    decoders = [level.Decoder(weights, heads) for _ in range(2)]
    expect_value_error("n", level.speculative_decode, *decoders, np.array([[1, 2]]), 9)
    expect_value_error("counts", level.speculative_decode, *decoders, np.zeros((1, 0), int), 1)
    expect_value_error("k", level.speculative_decode, *decoders, np.array([[1]]), 1, -1)
    expect_value_error("temperature", level.speculative_decode, *decoders, np.array([[1]]), 1, 1, -1.0)
    tokens, done = level.speculative_decode(*decoders, np.array([[1]]), 0)
    assert tokens.shape == (1, 0) and done == (0, 0, 0)


@pytest.mark.levels(2)
@pytest.mark.value
def test_verify_at_the_edges(level):
    """Certain acceptance, certain refusal, no drafts; a draw at the very end takes a token that may be had."""
    p, q = np.array([[[0.0, 1.0, 0.0], [0.5, 0.5, 0.0]]]), np.array([[[0.0, 1.0, 0.0]]])
    almost = np.nextafter(1.0, 0.0)
    assert [a.tolist() for a in level.verify(p, q, [[1]], [[almost, almost]])] == [[1], [1]]
    assert [a.tolist() for a in level.verify(p, q[:, :, ::-1], [[0]], [[0.0, 0.5]])] == [[0], [1]]
    for u in (0.3, 0.0, almost):                                # 0 takes no token that cannot be had either
        assert [a.tolist() for a in level.verify(p[:, :1], q[:, :0], np.zeros((1, 0), int), [[u]])] == [[0], [1]]
    assert [a.shape for a in level.verify(p[:0], q[:0], np.zeros((0, 1), int), np.zeros((0, 2)))] == [(0,), (0,)]


@pytest.mark.levels(2)
@pytest.mark.value
def test_pieces_on_pages(level):
    """One token at a time over the edge of every block; and to the end of the last."""
    decoder, weights, heads = paged(level, 20, 2, blocks=8, block_size=3, name="rope-mha")
    ids = rng(21).integers(0, 7, (2, 9))
    assert_close(pieces(decoder, ids, range(1, 9)), whole(ids, weights, heads), tol=1e-6, what="logits")
    decoder, weights, heads = paged(level, 20, 1, blocks=3, block_size=3, name="rope-mha")
    assert decoder.capacity == 9
    assert_close(pieces(decoder, ids[:1], [4, 8]), whole(ids[:1], weights, heads), tol=1e-6, what="logits")
