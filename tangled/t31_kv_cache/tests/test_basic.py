# Tangled from chapters/31-kv-cache.qmd; edit the chapter, then run make tangle. sha256:5474008185cd0a61
"""Chapter 31: shapes and values."""

import numpy as np
import pytest

from tangled.t16_normalizations import layer_norm
from tangled.t25_self_attention import attention
from tangled.t26_multi_head_attention import merge_heads, repeat_kv, split_heads
from tangled.t27_positional_encodings import rope, rope_tables
from tangled.t28_transformer_encoder import feed_forward
from tangled.t30_mini_gpt import filter_logits, gpt
from tangled.t30_mini_gpt.checks import shapes
from tangled.testing import assert_close, assert_repeatable, rng

MODELS = {"learned-mha": (3, 3, False), "learned-mqa": (3, 1, False), "rope-mha": (3, 3, True),
          "rope-gqa": (6, 2, True)}                             # heads, key heads, rotary


def model(seed, name="learned-mha", dtype=np.float64, V=7, context=9, D=12, L=2):
    """Lively weights and the number of heads."""
    (heads, kv_heads, rotary), draw, found = MODELS[name], rng(seed), {}
    for key, shape in shapes(V, context, D, 4 * D, L).items():
        shape = (*shape[:-1], D // heads * kv_heads) if ".k_proj." in key or ".v_proj." in key else shape
        a = draw.standard_normal(shape)
        found[key] = (1 + a / 4 if "norm" in key and key.endswith("weight") else a / 2).astype(dtype)
    if rotary:
        del found["wpe.weight"]
    return found, heads


def whole(ids, weights, heads, base=10000.0):
    """Logits (B, T, V) of whole sequences, from the ops of earlier chapters, in float64."""
    w, T = {key: a.astype(np.float64) for key, a in weights.items()}, ids.shape[1]
    norm = lambda x, at: layer_norm(x, w[at + ".weight"], w[at + ".bias"])[0]
    x = w["wte.weight"][ids]
    if "wpe.weight" in w:
        x = x + w["wpe.weight"][:T]
    for k in range(sum(key.endswith("norm1.weight") for key in w)):
        at = f"blocks.{k}."
        pair = lambda name, at=at: (w[at + name + ".weight"], w[at + name + ".bias"])
        a, d = norm(x, at + "norm1"), x.shape[2] // heads
        q, key, v = (split_heads(a @ m + b, m.shape[1] // d) for m, b in (pair(f"attention.{c}_proj") for c in "qkv"))
        if "wpe.weight" not in w:
            q, key = (rope(heads_, *rope_tables(T, d, base))[0] for heads_ in (q, key))
        key, v = (repeat_kv(b, heads // b.shape[1]) for b in (key, v))
        m, b = pair("attention.out_proj")
        x = x + merge_heads(attention(q, key, v, causal=True)[0]) @ m + b
        x = x + feed_forward(norm(x, at + "norm2"), *pair("ffn.linear1"), *pair("ffn.linear2"),
                             activation="gelu_tanh")[0]
    return norm(x, "norm") @ w["wte.weight"].T


def pieces(decoder, ids, cuts):
    """Logits of ids (B, T), read in pieces that end at cuts and at T."""
    parts = [decoder.extend(part) for part in np.split(ids, cuts, axis=1) if part.shape[1]]
    return np.concatenate(parts, axis=1)


@pytest.mark.value
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("cuts", [[], [1, 2, 3, 4, 5, 6, 7, 8], [4, 5], [8]])
def test_golden(level, golden, name, cuts):
    """Logits of PyTorch's pass over the whole sequence, however it is cut; to 1e-6."""
    given = golden(name).inputs
    weights = {key: given["weights"][key.replace(".", "_")] for key in model(0, name)[0]}
    decoder = level.Decoder(weights, given["num_heads"], 4, 9, base=given["base"])
    got = pieces(decoder, given["ids"], cuts)
    assert_close(got, golden(name).outputs["logits"], tol=1e-6, what="logits")
    assert decoder.lengths.tolist() == [9] * 4 and decoder.capacity == 9


@pytest.mark.value
@pytest.mark.parametrize("name", MODELS)
def test_float32(level, name):
    """In float32, token by token, to 1e-5 of the whole sequence in float64; logits in float32."""
    weights, heads = model(1, name, np.float32)
    ids = rng(2).integers(0, 7, (2, 9))
    decoder = level.Decoder(weights, heads, 2, 9)
    got = pieces(decoder, ids, range(1, 9))
    assert got.dtype == np.float32
    assert_close(got.astype(float), whole(ids, weights, heads), tol=1e-5, what="logits")


@pytest.mark.value
def test_float16(level):
    """Weights of 16 bits are computed with in 32; the logits have 16 again."""
    weights, heads = model(3, "learned-mqa", np.float16)
    ids = rng(4).integers(0, 7, (1, 8))
    decoder = level.Decoder(weights, heads)
    got = pieces(decoder, ids, range(1, 8))
    assert got.dtype == np.float16
    assert_close(got.astype(float), whole(ids, weights, heads), tol=2e-2, what="logits")


@pytest.mark.value
def test_equals_chapter_30(level):
    """`gpt` of chapter 30, whose weights these are, at the default capacity; a prompt that fills the window."""
    weights, heads = model(5)
    ids = rng(6).integers(0, 7, (3, 9))
    decoder = level.Decoder(weights, heads, 3)
    assert_close(decoder.extend(ids), gpt(ids, weights, heads)[0], tol=1e-6, what="logits")
    with pytest.raises(ValueError, match="ids would make 10 tokens; expected at most"):
        decoder.extend(ids[:, :1])
    assert decoder.lengths.tolist() == [9, 9, 9]


@pytest.mark.value
@pytest.mark.parametrize("name", MODELS)
def test_unequal_prompts(level, name):
    """Prompts of 1 to 6 tokens in one call, then single tokens; each row as if it were alone."""
    weights, heads = model(7, name)
    ids, counts = rng(8).integers(0, 7, (4, 9)), np.array([3, 6, 1, 4])
    decoder, truth = level.Decoder(weights, heads, 4, 9), whole(ids, weights, heads)
    got = decoder.extend(ids[:, :6], counts)
    for step in range(4):
        for b, count in enumerate(counts if step == 0 else np.ones(4, int)):
            start = 0 if step == 0 else counts[b] + step - 1
            assert_close(got[b, :count], truth[b, start:start + count], tol=1e-6, what=f"row {b}, step {step}")
            assert not got[b, count:].any(), "logits behind padding"
        if step < 3:
            got = decoder.extend(ids[np.arange(4), counts + step][:, None])
    assert decoder.lengths.tolist() == (counts + 3).tolist()


@pytest.mark.value
@pytest.mark.parametrize("name", ["learned-mqa", "rope-gqa"])
@pytest.mark.parametrize("seed", range(6))
def test_any_order(level, name, seed):
    """Rows, counts and truncations at random, against the whole sequence of each row."""
    weights, heads = model(9, name)
    decoder, draw, texts = level.Decoder(weights, heads, 4, 9), rng(seed), [[], [], [], []]
    for _ in range(14):
        rows = draw.permutation(4)[:draw.integers(1, 5)]
        if draw.random() < 0.3:
            kept = [int(draw.integers(0, len(texts[row]) + 1)) for row in rows]
            decoder.truncate(kept, rows)
            for row, length in zip(rows, kept):
                del texts[row][length:]
        T = int(draw.integers(1, 5))
        ids = draw.integers(0, 7, (len(rows), T))
        counts = np.array([min(int(draw.integers(0, T + 1)), 9 - len(texts[row])) for row in rows])
        logits = decoder.extend(ids, counts, rows)
        for b, row in enumerate(rows):
            texts[row] += ids[b, :counts[b]].tolist()
            if counts[b]:
                truth = whole(np.array([texts[row]]), weights, heads)[0, -counts[b]:]
                assert_close(logits[b, :counts[b]], truth, tol=1e-6, what=f"row {row}")
        assert decoder.lengths.tolist() == [len(text) for text in texts]


@pytest.mark.value
def test_single_tokens_of_shuffled_rows(level):
    """A token for each of some rows, in an order that is not theirs, though it begins and ends as if it were."""
    weights, heads = model(22)
    ids, counts = rng(23).integers(0, 7, (4, 6)), np.array([2, 3, 1, 2])
    decoder, truth = level.Decoder(weights, heads, 4), whole(ids, weights, heads)
    decoder.extend(ids[:, :3], counts)
    for rows in ([0, 2, 1, 3], [3, 1], [2, 0, 3], [1, 2]):
        got, places = decoder.extend(ids[rows, counts[rows]][:, None], rows=rows), counts[rows]
        assert_close(got[:, 0], truth[rows, places], tol=1e-6, what=f"logits of rows {rows}")
        counts[rows] += 1


@pytest.mark.value
def test_base(level):
    """The base of rotary positions counts, and positions go on where the cache ends."""
    weights, heads = model(10, "rope-mha")
    ids = rng(11).integers(0, 7, (2, 8))
    for base in (10.0, 500000.0):
        decoder = level.Decoder(weights, heads, 2, 8, base=base)
        assert_close(pieces(decoder, ids, [3, 4]), whole(ids, weights, heads, base), tol=1e-6, what=f"base {base}")


@pytest.mark.value
def test_one_token_sees_everything(level):
    """The first token alone changes the logits of the last, read alone: nothing is hidden at T = 1."""
    weights, heads = model(12)
    decoder = level.Decoder(weights, heads)
    last = []
    for first in (0, 1):
        decoder.truncate([0])
        last.append(pieces(decoder, np.array([[first, 2, 3, 4, 5]]), [1, 2, 3, 4])[0, -1])
    assert np.abs(last[0] - last[1]).max() > 1e-3
    middle = []
    for third in (3, 6):
        decoder.truncate([0])
        middle.append(pieces(decoder, np.array([[0, 2, third, 4, 5]]), [1, 2, 3, 4])[0, -1])
    assert np.abs(middle[0] - middle[1]).max() > 1e-3


@pytest.mark.value
def test_two_decoders(level):
    """Two texts, token by token in turn, in two decoders of one model: neither reads the other's keys."""
    weights, heads = model(13)
    ids = rng(14).integers(0, 7, (2, 1, 7))
    decoders, got = [level.Decoder(weights, heads) for _ in range(2)], [[], []]
    for t in range(7):
        for k, decoder in enumerate(decoders):
            got[k].append(decoder.extend(ids[k, :, t:t + 1]))
    for k in range(2):
        assert_close(np.concatenate(got[k], axis=1), whole(ids[k], weights, heads), tol=1e-6, what=f"text {k}")


@pytest.mark.value
def test_a_row_is_used_again(level):
    """After `truncate` to 0 nothing of the longer text before it is seen."""
    weights, heads = model(15)
    long, short = rng(16).integers(0, 7, (2, 9)), rng(17).integers(0, 7, (2, 4))
    decoder = level.Decoder(weights, heads, 2)
    decoder.extend(long)
    decoder.truncate([0], [1])
    assert_close(decoder.extend(short[1:], rows=[1]), whole(short[1:], weights, heads), tol=1e-6, what="logits")
    assert decoder.lengths.tolist() == [9, 4]


@pytest.mark.value
def test_called_twice(level):
    """The same again in a new decoder; weights and ids as they were; logits of the caller's own."""
    weights, heads = model(18, "rope-gqa")
    ids, counts = rng(19).integers(0, 7, (3, 5)), np.array([5, 2, 4])

    def read(*arrays):
        decoder = level.Decoder(dict(zip(weights, arrays)), heads, 3, 8)
        return decoder.extend(ids, counts), decoder.extend(ids[:, :1])
    assert_repeatable(read, list(weights.values()))
    decoder = level.Decoder(weights, heads, 3, 8)
    first = decoder.extend(ids, counts)
    kept = first.copy()
    decoder.extend(ids[:, :2])
    assert_close(first, kept, tol=0, what="logits, after the next call")


@pytest.mark.shape
def test_shapes(level):
    """(B, T, V), for some rows too; lengths as integers."""
    weights, heads = model(20)
    decoder = level.Decoder(weights, heads, 5)
    assert decoder.extend(np.zeros((5, 3), int)).shape == (5, 3, 7)
    assert decoder.extend(np.zeros((2, 4), np.int32), rows=[4, 1]).shape == (2, 4, 7)
    assert decoder.lengths.dtype.kind == "i" and decoder.lengths.tolist() == [3, 7, 3, 3, 7]
    decoder.lengths[0] = 8
    assert decoder.lengths[0] == 3, "lengths handed out are the decoder's own"


@pytest.mark.levels(2, 3)
@pytest.mark.value
@pytest.mark.parametrize("how", [{"temperature": 0}, {"temperature": 1.3}, {"top_k": 3}, {"top_p": 0.8, "min_p": 0.05},
                                 {"top_p": 0.5}, {"min_p": 0.3}])
def test_generate(level, how):
    """Unequal prompts: what a loop without a cache writes from the same draws, one a row and step."""
    weights, heads = model(21)
    ids, counts = rng(22).integers(0, 7, (3, 4)), np.array([2, 4, 1])
    got = level.generate(level.Decoder(weights, heads, 3), ids, 6, counts, **how, rng=rng(23))
    texts, draws = [ids[b, :c].tolist() for b, c in enumerate(counts)], rng(23)
    for _ in range(6):
        logits = np.stack([whole(np.array([text]), weights, heads)[0, -1] for text in texts])
        z = filter_logits(logits, **how)
        p = np.exp(z - z.max(axis=1, keepdims=True)).cumsum(axis=1)
        u = draws.random(3)[:, None] if how.get("temperature") != 0 else np.zeros((3, 1))
        drawn = z.argmax(axis=1) if how.get("temperature") == 0 else (p <= u * p[:, -1:]).sum(axis=1)
        for text, token in zip(texts, drawn.tolist()):
            text.append(token)
    assert got.tolist() == [text[c:] for text, c in zip(texts, counts)]


@pytest.mark.levels(2, 3)
@pytest.mark.value
def test_generate_fills_the_window(level):
    """A prompt that fills it gives one more token; a decoder is used again; a single prompt is a vector."""
    weights, heads = model(24)
    decoder, ids = level.Decoder(weights, heads), rng(25).integers(0, 7, 9)
    assert level.generate(decoder, ids, 1, temperature=0).tolist() == [whole(ids[None], weights, heads)[0, -1].argmax()]
    once, twice = (level.generate(decoder, ids[:3], 7) for _ in range(2))
    assert once.shape == (7,) and once.tolist() == twice.tolist()
    seeded = level.generate(decoder, ids[:3], 7, rng=np.random.default_rng(0))
    assert once.tolist() == seeded.tolist(), "the default generator has the seed 0"
    assert level.generate(decoder, ids[None, :3], 0).shape == (1, 0)
    for n in (8, 100):
        with pytest.raises(ValueError, match=f"n = {n} after 3 tokens; expected at most 7"):
            level.generate(decoder, ids[:3], n)


@pytest.mark.value
def test_bytes_by_hand(level):
    """2 x layers x heads x width x bytes x tokens; buffers; blocks; nothing."""
    if not hasattr(level, "cache_bytes"):
        raise AssertionError("cache_bytes is missing")
    assert level.cache_bytes(3, 2, 5, 7) == 2 * 3 * 2 * 5 * 2 * 7
    assert level.cache_bytes(3, 2, 5, [7, 0, 9], itemsize=4) == 2 * 3 * 2 * 5 * 4 * 16
    assert level.cache_bytes(3, 2, 5, [7, 0, 9], capacity=11) == 2 * 3 * 2 * 5 * 2 * 33
    assert level.cache_bytes(3, 2, 5, [7, 0, 9, 4], block_size=4) == 2 * 3 * 2 * 5 * 2 * (8 + 0 + 12 + 4)
    assert level.cache_bytes(3, 2, 5, [11, 4], capacity=11, block_size=4) == 2 * 3 * 2 * 5 * 2 * 22, "a full buffer"
    assert level.cache_bytes(3, 2, 5, [], capacity=11) == 0
    assert level.cache_bytes(3, 2, 5, []) == 0 and type(level.cache_bytes(3, 2, 5, 7)) is int


@pytest.mark.value
def test_worked_trace(level):
    """The trace of the chapter: 0.4 accepts, 0.6 refuses, and token 0 takes the place."""
    p, q = np.array([[[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]]]), np.array([[[0.2, 0.6, 0.2]]])
    run = lambda u, v: [int(a[0]) for a in level.verify(p, q, np.array([[1]]), np.array([[u, v]]))]
    assert run(0.4, 0.95) == [1, 2] and run(0.4, 0.15) == [1, 1] and run(0.4, 0.0) == [1, 0]
    for v in (0.0, 0.4, 0.999):
        assert run(0.6, v) == [0, 0]


@pytest.mark.value
def test_verify_golden(level, golden):
    """PyTorch's answers; rows with fewer drafts."""
    case = golden("verify")
    accepted, token = level.verify(**case.inputs)
    assert_close(accepted.astype(float), case.outputs["accepted"], tol=0, what="accepted")
    assert_close(token.astype(float), case.outputs["token"], tol=0, what="token")


@pytest.mark.levels(2, 4)
@pytest.mark.value
def test_verify_gives_the_target(level):
    """20,000 draws of two tokens: chi-square against the target's joint distribution of both."""
    draw, n, V = rng(26), 20_000, 5
    p, q = draw.dirichlet(np.ones(V), 1 + V), draw.dirichlet(np.ones(V), 1 + V)        # first, and after each first
    first = draw.choice(V, n, p=q[0])
    second = np.array([(q[1 + u].cumsum() <= x).sum() for u, x in zip(first, draw.random(n))]).clip(max=V - 1)
    accepted, token = level.verify(np.stack([np.broadcast_to(p[0], (n, V)), p[1 + first], p[1 + second]], 1),
                                   np.stack([np.broadcast_to(q[0], (n, V)), q[1 + first]], 1),
                                   np.stack([first, second], 1), draw.random((n, 3)))
    one = np.where(accepted > 0, first, token)
    late = np.array([(p[1 + u].cumsum() <= x).sum() for u, x in zip(token, draw.random(n))]).clip(max=V - 1)
    two = np.where(accepted == 2, second, np.where(accepted == 1, token, late))
    expected = n * (p[0][:, None] * p[1:])
    found = np.bincount(one * V + two, minlength=V * V).reshape(V, V)
    statistic = ((found - expected) ** 2 / expected).sum()
    assert statistic < 51.2, f"chi-square {statistic:.1f} with 24 degrees of freedom: 99.9 % lie below 51.2"
    share = np.minimum(p[0], q[0]).sum()
    assert abs((accepted > 0).mean() - share) < 0.02, "the share that is accepted is the sum of min(p, q)"
