# Tangled from chapters/22-word2vec.qmd; edit the chapter, then run make tangle. sha256:55b303661df86a3b
"""Chapter 22: shapes, values and gradients."""

import numpy as np
import pytest

from tangled.testing import assert_close, assert_dtypes, assert_repeatable, check_gradients, numeric_gradient, rng


def words(B=5, K=3, V=9, D=4, dtype=np.float64, seed=0):
    """centre (B,), context (B,), negatives (B, K), w_in (V, D), w_out (V, D)."""
    draw = rng(seed)
    tables = [draw.standard_normal((V, D)).astype(dtype) for _ in range(2)]
    return draw.integers(0, V, B), draw.integers(0, V, B), draw.integers(0, V, (B, K)), *tables


def bags(B=5, C=6, K=3, V=9, D=4, dtype=np.float64, seed=0):
    """context (B, C), mask (B, C), centre (B,), negatives (B, K), tables (V, D)."""
    _, centre, negatives, w_in, w_out = words(B, K, V, D, dtype, seed)
    draw = rng(seed + 100)
    return draw.integers(0, V, (B, C)), draw.random((B, C)) < 0.6, centre, negatives, w_in, w_out


def dense(grad, V):
    """ids (n,) and rows (n, D) as a table (V, D)."""
    ids, rows = grad
    table = np.zeros((V, rows.shape[1]), rows.dtype)
    table[ids] = rows
    return table


def compare(got, case):
    """Loss and both sparse gradients against a golden case."""
    loss, (ids_in, rows_in), (ids_out, rows_out) = got
    assert isinstance(loss, float)
    assert_close(np.asarray(loss), case.outputs["loss"], what="loss")
    assert ids_in.tolist() == case.outputs["ids_in"].tolist() and ids_out.tolist() == case.outputs["ids_out"].tolist()
    assert_close(rows_in, case.outputs["rows_in"], what="rows of w_in")
    assert_close(rows_out, case.outputs["rows_out"], what="rows of w_out")


@pytest.mark.value
def test_golden_skip_gram(level, golden):
    """Loss and gradients; repeated centres and negatives, a negative that equals its positive."""
    case = golden("skip-gram")
    compare(level.skip_gram_step(**case.inputs), case)


@pytest.mark.value
def test_golden_cbow(level, golden):
    """A full window, an empty one, and some between."""
    case = golden("cbow")
    compare(level.cbow_step(**case.inputs), case)


@pytest.mark.value
def test_golden_sampling(level, golden):
    """The common part."""
    case = golden("sampling")
    loss, dh, (ids, rows) = level.negative_sampling(**case.inputs)
    assert_close(np.asarray(loss), case.outputs["loss"], what="loss")
    assert_close(dh, case.outputs["dh"], what="dh")
    assert ids.tolist() == case.outputs["ids_out"].tolist()
    assert_close(rows, case.outputs["rows_out"], what="rows of w_out")


@pytest.mark.levels(2, 3, 4)
@pytest.mark.gradient
def test_golden_info_nce(level, golden):
    """More keys than queries, a temperature."""
    case = golden("info-nce")
    loss, cache = level.info_nce(**case.inputs)
    assert_close(np.asarray(loss), case.outputs["loss"], what="loss")
    for got, name in zip(level.info_nce_backward(1.7, cache), ("queries", "keys"), strict=True):
        assert_close(got, case.grads[name], what="d" + name)


@pytest.mark.value
def test_worked_trace(level):
    """The numbers of the chapter's trace."""
    w_in, w_out = np.array([[1.0, 0], [0, 0]]), np.array([[0.0, 2], [np.log(3), 0]])
    loss, (ids, d_in), (found, d_out) = level.skip_gram_step(*map(np.array, ([0], [0], [[1]])), w_in, w_out)
    assert_close(np.asarray(loss), np.asarray(np.log(2) + np.log(4)), tol=1e-12, what="loss")
    assert ids.tolist() == [0] and found.tolist() == [0, 1]
    assert_close(d_in, np.array([[0.75 * np.log(3), -1]]), tol=1e-12, what="d_in")
    assert_close(d_out, np.array([[-0.5, 0], [0.75, 0]]), tol=1e-12, what="d_out")


@pytest.mark.shape
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_shapes_and_types(level, dtype):
    """Ids rise and are those that were used; rows have the dtype of the tables."""
    arguments = words(dtype=dtype)
    centre, context, negatives = arguments[:3]
    loss, (ids, d_in), (found, d_out) = level.skip_gram_step(*arguments)
    assert isinstance(loss, float) and ids.dtype == found.dtype == np.int64
    assert ids.tolist() == sorted(set(centre.tolist()))
    assert found.tolist() == sorted({*context.tolist(), *negatives.reshape(-1).tolist()})
    assert d_in.shape == (len(ids), 4) and d_out.shape == (len(found), 4) and d_in.dtype == d_out.dtype == dtype
    bag = bags(dtype=dtype)
    _, (ids, d_in), (_, d_out) = level.cbow_step(*bag)
    assert ids.tolist() == sorted(set(bag[0][bag[1]].tolist()))
    assert d_in.shape == (len(ids), 4) and d_in.dtype == d_out.dtype == dtype
    want = level.skip_gram_step(*(a.astype(np.float64) if a.dtype.kind == "f" else a for a in arguments))
    got = level.skip_gram_step(*arguments)
    assert_close(np.asarray(got[0]), np.asarray(want[0]), tol=1e-6, what="loss, computed wide")
    for a, b in zip(got[1:], want[1:]):
        assert_close(a[1].astype(float), b[1], tol=2e-3 if dtype == np.float16 else 1e-5, what="rows")
    bag = bags(C=40, dtype=dtype)
    want = level.cbow_step(*(a.astype(np.float64) if a.dtype.kind == "f" else a for a in bag))
    got = level.cbow_step(*bag)
    assert_close(np.asarray(got[0]), np.asarray(want[0]), tol=1e-6, what="loss of bags, computed wide")
    for a, b in zip(got[1:], want[1:]):
        assert_close(a[1].astype(float), b[1], tol=2e-3 if dtype == np.float16 else 1e-5, what="rows of bags")


@pytest.mark.gradient
def test_central_differences(level):
    """Every entry of both tables, for both models."""
    arguments = words(seed=1)
    arguments[2][0] = arguments[1][0]                           # negatives that equal the positive
    for step, first in ((level.skip_gram_step, arguments), (level.cbow_step, bags(seed=2))):
        tables = first[-2:]
        _, *grads = step(*first)
        for k in range(2):
            want = numeric_gradient(lambda s=step, a=first: np.asarray(s(*a)[0]), tables[k], np.asarray(1.0))
            assert_close(dense(grads[k], 9), want, tol=1e-6, what=("d_in", "d_out")[k])


@pytest.mark.levels(2, 3, 4)
@pytest.mark.gradient
@pytest.mark.parametrize("N, M", [(3, 5), (4, 4), (1, 2), (1, 1)])
def test_info_nce_differences(level, N, M):
    """Queries and keys; temperatures."""
    for temperature in (1.0, 0.3):
        check_gradients(lambda q, k, t=temperature: level.info_nce(q, k, t), level.info_nce_backward,
                        [rng(3).standard_normal((N, 6)), rng(4).standard_normal((M, 6))])


@pytest.mark.levels(2, 3, 4)
@pytest.mark.value
def test_info_nce_in_each_dtype(level):
    """Loss and gradients in the dtype of the queries; arrays that are overwritten after forward change nothing."""
    queries, keys, f_backward = rng(3).standard_normal((3, 6)), rng(4).standard_normal((5, 6)), level.info_nce_backward
    assert_dtypes(lambda q, k: level.info_nce(q, k, 0.3), [queries, keys], scales=(1.0, 30.0), refuses=(np.int64,),
                  f_backward=f_backward)
    far = np.float16(300) * np.eye(4, dtype=np.float16)         # 90,000 is no float16
    loss, cache = level.info_nce(far, far)
    assert loss == 0 and loss.dtype == np.float16 and not any(grad.any() for grad in f_backward(1.0, cache))
    want = f_backward(1.0, level.info_nce(queries, keys, 0.3)[1])
    own = queries.copy(), keys.copy()
    _, cache = level.info_nce(*own, 0.3)
    for array in own:
        array[...] = 0
    for got, one in zip(f_backward(1.0, cache), want, strict=True):
        assert_close(got, one, tol=0, what="gradient")


@pytest.mark.gradient
def test_rest_is_zero(level):
    """PyTorch's gradient of the whole tables is 0 in every row that is not returned."""
    torch = pytest.importorskip("torch")
    centre, context, negatives, *tables = words(B=4, V=30, seed=5)
    negatives[1, 0] = context[1]
    loss, *grads = level.skip_gram_step(centre, context, negatives, *tables)
    w_in, w_out = (torch.from_numpy(t).requires_grad_() for t in tables)
    h, t, n = w_in[centre], w_out[context], w_out[negatives]
    terms = torch.nn.functional.softplus(-(h * t).sum(1)).sum()
    terms = terms + (torch.nn.functional.softplus((n * h[:, None]).sum(2))
                     * torch.from_numpy(negatives != context[:, None])).sum()
    (terms / 4).backward()
    assert_close(np.asarray(loss), (terms / 4).detach().numpy(), tol=1e-10, what="loss")
    for grad, table in zip(grads, (w_in, w_out)):
        assert_close(dense(grad, 30), table.grad.numpy(), tol=1e-10, what="gradient")


@pytest.mark.value
def test_negative_that_equals_the_positive(level):
    """It does not count: the row's loss and gradients are those without it, and the divisor stays B."""
    centre, context, negatives, w_in, w_out = words(B=1, K=2)
    spoilt = np.array([[context[0], negatives[0, 1]]])
    got = level.skip_gram_step(centre, context, spoilt, w_in, w_out)
    want = level.skip_gram_step(centre, context, spoilt[:, 1:], w_in, w_out)
    assert_close(np.asarray(got[0]), np.asarray(want[0]), tol=1e-12, what="loss")
    for a, b in zip(got[1:], want[1:]):
        assert_close(a[1], b[1], tol=1e-12, what="rows")


@pytest.mark.levels(1, 2, 3)
@pytest.mark.edge
def test_an_infinite_score_that_does_not_count(level):
    """The target's score overflows to infinity, and so does that of a negative that equals it: no NaN."""
    rows, target = np.array([[1e200, 0.0], [0.0, 0.0]]), np.zeros(1, int)
    with np.errstate(over="ignore"):
        loss, dh, _ = level.negative_sampling(rows[:1], target, np.array([[0, 1]]), rows)
    assert_close(np.asarray(loss), np.log(2), tol=1e-12, what="loss")
    assert_close(dh, np.zeros((1, 2)), tol=0, what="dh")


@pytest.mark.value
def test_batch_is_the_mean_of_pairs(level):
    """Loss and gradients of a batch: the mean over its pairs, one by one."""
    *ids, w_in, w_out = words(B=7, V=5, seed=6)
    loss, *grads = level.skip_gram_step(*ids, w_in, w_out)
    single = [level.skip_gram_step(*(a[b:b + 1] for a in ids), w_in, w_out) for b in range(7)]
    assert_close(np.asarray(loss), np.asarray(np.mean([s[0] for s in single])), tol=1e-12, what="loss")
    for k in range(2):
        want = np.mean([dense(s[k + 1], 5) for s in single], axis=0)
        assert_close(dense(grads[k], 5), want, tol=1e-12, what="gradient")


@pytest.mark.value
@pytest.mark.parametrize("n, V", [(40, 7), (300, 200), (900, 100_000), (600, 3), (90, 65_000), (90, 65_537)])
def test_sum_rows(level, n, V):
    """Runs of all lengths; ids beyond 16 bits; few ids and many."""
    ids, rows = rng(7).integers(0, V, n), rng(8).standard_normal((n, 3))
    ids[::5] = V - 1
    found, sums = level.sum_rows(ids, rows)
    want = np.unique(ids)
    assert found.dtype == np.int64 and found.tolist() == want.tolist()
    assert_close(sums, np.stack([rows[ids == k].sum(0) for k in want]), tol=1e-10, what="sums")


@pytest.mark.value
def test_half_precision_sums(level):
    """3,000 rows of 1: float16 alone would stop at 2,048."""
    _, sums = level.sum_rows(np.zeros(3000, int), np.ones((3000, 2), np.float16))
    assert sums.dtype == np.float16
    assert_close(sums.astype(float), np.full((1, 2), 3000.0), tol=1e-12, what="sums")


@pytest.mark.value
def test_repeatable(level):
    """Called twice the same; nothing shared, nothing changed that was handed in."""
    assert_repeatable(level.skip_gram_step, words())
    assert_repeatable(level.cbow_step, bags())
    ids, rows = np.array([1, 3, 4]), rng(9).standard_normal((3, 2))
    assert_repeatable(level.sum_rows, [ids, rows])
    if hasattr(level, "info_nce"):
        assert_repeatable(level.info_nce, [rng(10).standard_normal((3, 2)), rows], level.info_nce_backward)


@pytest.mark.levels(1, 2, 3)
@pytest.mark.value
def test_update_rows(level):
    """In place; rows without a gradient stay, bit for bit; repeated ids are refused."""
    table = rng(11).standard_normal((6, 3)).astype(np.float32)
    before, rows = table.copy(), np.ones((2, 3), np.float32)
    level.update_rows(table, (np.array([1, 4]), rows), 0.5)
    want = before.copy()
    want[[1, 4]] -= 0.5
    assert_close(table, want, tol=1e-7, what="table")
    assert (table[[0, 2, 3, 5]] == before[[0, 2, 3, 5]]).all() and table.dtype == np.float32
    assert (rows == 1).all(), "the gradient is changed"
    with pytest.raises(ValueError, match="repeated or out of order"):
        level.update_rows(table, (np.array([1, 1]), rows), 0.5)


@pytest.mark.levels(1, 2, 3)
@pytest.mark.value
@pytest.mark.parametrize("weights", [[3, 1, 0, 6, 0.5], [1, 1, 1], [0, 0, 5], [2.0], [1e-300, 1e300, 1e300, 0],
                                     [1.5e308, 1e308, 0, 1.5e308], list(1 / np.arange(1, 400))])
def test_alias_table_is_exact(level, weights):
    """What the table gives each word, added up: the weights, to 12 digits; no word of weight 0 is ever drawn."""
    table, V = level.AliasTable(np.array(weights)), len(weights)
    given = np.bincount(table.alias, 1 - table.probability, V) + table.probability
    want = np.array(weights, np.longdouble)
    assert_close(given / V, (want / want.sum()).astype(float), tol=1e-12, what="distribution")
    assert (table.probability >= 0).all() and (table.probability <= 1).all()
    assert (given[np.array(weights) == 0] == 0).all()


@pytest.mark.levels(1, 2, 3)
@pytest.mark.value
def test_draws_follow_the_weights(level):
    """Chi-square of the draws; shapes; the same seed, the same draws."""
    weights = np.array([5.0, 1, 0, 3, 0.2])
    table, n = level.AliasTable(weights), 60_000 if "level1" not in level.__name__ else 6_000
    found = np.bincount(table.draw(n, rng(12)), minlength=5)
    want = n * weights / weights.sum()
    some = want > 0
    assert found[2] == 0 and ((found - want)[some] ** 2 / want[some]).sum() < 16.3       # 3 degrees: one in 1,000
    first = table.draw((3, 4), rng(13))
    assert first.shape == (3, 4) and first.dtype == np.int64
    assert table.probability.dtype == np.float64 and table.alias.dtype == np.int64
    assert first.tolist() == table.draw((3, 4), rng(13)).tolist() and table.draw((0, 2), rng(13)).shape == (0, 2)
    pairs = table.draw((n // 2, 2), rng(14))
    both = np.bincount(pairs[:, 0] * 5 + pairs[:, 1], minlength=25) / (n // 2)
    assert np.abs(both - np.outer(weights, weights).reshape(-1) / weights.sum() ** 2).max() < 0.02


@pytest.mark.levels(2, 3)
@pytest.mark.value
def test_seeds(level):
    """Another seed, other numbers, in all that draws; pairs draw n integers and no more."""
    ids, table = np.repeat(np.arange(4), 25), level.AliasTable(np.array([5.0, 1, 3, 0.2]))
    for draw in (lambda r: table.draw(50, r), lambda r: level.subsample(ids, np.full(4, 0.5), r),
                 lambda r: level.init_tables(9, 4, r)[0]):
        one, same, other = (draw(rng(k)) for k in (1, 1, 2))
        assert (one == same).all() and (one != other).any()
    used, counted = rng(3), rng(3)
    level.skip_gram_pairs(ids, ids, 4, used)
    counted.integers(1, 5, len(ids))
    assert used.bit_generator.state == counted.bit_generator.state


@pytest.mark.levels(1, 2, 3)
@pytest.mark.value
def test_what_has_no_weight_is_never_drawn(level):
    """Also where the generator gives 0.0, as it may."""
    class Lowest:
        def random(self, size=None):
            return 0.0 if size is None else np.zeros(size)

        def integers(self, *given):
            return rng(0).integers(*given)

    for weights in ([0.0, 3, 0, 1], [0.0, 0, 5]):
        drawn = level.AliasTable(np.array(weights)).draw(40, Lowest())
        assert np.array(weights)[drawn].all()
    if hasattr(level, "subsample"):
        assert level.subsample(np.array([0, 1, 0]), np.array([0.0, 0.5]), Lowest()).tolist() == [False, True, False]


@pytest.mark.levels(2, 3)
@pytest.mark.value
def test_noise_and_subsampling(level):
    """Counts to the power 3/4; square roots of frequencies in the text, not in the list of words."""
    counts = np.array([10_000, 16, 81, 1])
    assert_close(level.noise_weights(counts), np.array([1000.0, 8, 27, 1]), tol=1e-12, what="weights")
    assert_close(level.noise_weights(counts, 0.5), np.array([100.0, 4, 9, 1]), tol=1e-12, what="power 1/2")
    counts = np.array([900, 90, 9, 1])
    want = np.sqrt(np.array([1e-3 / 0.9, 1e-3 / 0.09, 1e-3 / 0.009, 1]))
    assert_close(level.keep_probability(counts, 1e-3), want, tol=1e-12, what="keep")
    with np.errstate(all="raise"):
        assert level.keep_probability(np.array([5, 0]), 1e-3)[1] == 1
    ids = np.repeat(np.arange(4), 5_000)
    kept = level.subsample(ids, want, rng(15))
    assert kept.dtype == bool and kept.shape == ids.shape
    shares = kept.reshape(4, -1).mean(axis=1)
    assert shares[3] == 1 and np.abs(shares - want).max() < 0.02


@pytest.mark.levels(1, 2, 3)
@pytest.mark.value
def test_pairs(level):
    """By the definition, with the same reach; never across the end of a sentence, never with itself."""
    ids, sentence = rng(16).integers(0, 20, 25), np.repeat([0, 1, 4, 5], [9, 1, 2, 13])
    centre, context = level.skip_gram_pairs(ids, sentence, 4, rng(17))
    reach = rng(17).integers(1, 5, 25)
    want = [(ids[i], ids[j]) for i in range(25) for j in range(25)
            if i != j and abs(i - j) <= reach[i] and sentence[i] == sentence[j]]
    assert sorted(zip(centre.tolist(), context.tolist())) == sorted(want) and centre.dtype == context.dtype == np.int64
    one = level.skip_gram_pairs(ids, sentence, 1, rng(17))
    assert len(one[0]) == 2 * (8 + 1 + 12)
    for n in (0, 1):
        assert [len(part) for part in level.skip_gram_pairs(ids[:n], sentence[:n], 3, rng(17))] == [0, 0]


@pytest.mark.levels(2, 3)
@pytest.mark.value
def test_training_begins(level):
    """Two steps change both tables: from zeros in both, nothing would ever move."""
    w_in, w_out = level.init_tables(9, 4, rng(18))
    assert w_in.shape == w_out.shape == (9, 4) and w_in.dtype == w_out.dtype == np.float32
    assert_close(np.abs(w_in).max(), np.array(0.125), tol=0.3, what="largest entry of w_in")
    assert not w_out.any() and np.abs(w_in).max() <= 0.125 and (w_in < 0).any() and (w_in > 0).any()
    many = level.init_tables(999, 4, rng(19))[0] * 8
    assert np.abs(np.histogram(many, 4, (-1, 1))[0] / many.size - 0.25).max() < 0.03, "w_in is not uniform"
    before, losses = w_in.copy(), []
    for _ in range(30):
        loss, d_in, d_out = level.skip_gram_step(*words()[:3], w_in, w_out)
        losses.append(loss)
        level.update_rows(w_in, d_in, 2.0)
        level.update_rows(w_out, d_out, 2.0)
    assert np.abs(w_in - before).max() > 1e-2 and w_out.any() and losses[-1] < losses[0] - 0.3


@pytest.mark.levels(2, 3)
@pytest.mark.value
def test_optimum_is_shifted_pmi():
    """Free vectors trained on expected counts: scores tend to PMI minus log K, eq. 22.7."""
    from tangled.t22_word2vec.experiments import optimum
    found, want = optimum()
    assert np.abs(found - want).max() < 0.02
