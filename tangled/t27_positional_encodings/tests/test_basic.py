# Tangled from chapters/27-positional-encodings.qmd; edit the chapter, then run make tangle. sha256:c17d4aca2df2778c
"""Chapter 27: shapes, values and gradients."""

import numpy as np
import pytest

from tangled.testing import assert_close, check_gradients, rng

LAYOUTS = ("interleaved", "half")
INPUTS = {"learned_positions": ["table"], "add_positions": ["x", "encoding"], "rope": ["x"]}
OPS = ("learned_positions", "add_positions-shared", "add_positions-own",
       "rope-interleaved", "rope-half", "rope-offset", "rope-offset-half", "rope-packed",
       "rope-packed-interleaved")
FUNCTIONS = ("sinusoidal_table", "sinusoidal_table-base", "alibi_bias", "alibi_bias-past", "alibi_slopes-1",
             "alibi_slopes-3", "alibi_slopes-8", "alibi_slopes-12", "alibi_slopes-20")


@pytest.mark.value
@pytest.mark.parametrize("name", FUNCTIONS)
def test_golden_tables(level, golden, name):
    """Columns, exponents, defaults; slopes for 12 heads are filled up from those for 16."""
    case = golden(name)
    function = name.partition("-")[0]
    assert_close(getattr(level, function)(**case.inputs), case.outputs["out"], what=function)


@pytest.mark.value
@pytest.mark.parametrize("name", ["rope_tables", "rope_tables-base"])
def test_golden_rope_tables(level, golden, name):
    """Cosines first, sines second, at D/2 frequencies; another base."""
    case = golden(name)
    for got, name in zip(level.rope_tables(**case.inputs), ("cos", "sin")):
        assert_close(got, case.outputs[name], what=name)


@pytest.mark.value
@pytest.mark.parametrize("name", OPS)
def test_golden_values(level, golden, name):
    """Lookup, addition along the time axis, both layouts, an offset, packed positions."""
    case = golden(name)
    op = name.partition("-")[0]
    assert_close(getattr(level, op)(**case.inputs)[0], case.outputs["out"], what=op)


@pytest.mark.gradient
@pytest.mark.parametrize("name", OPS)
def test_golden_gradients(level, golden, name):
    """Sums over repeats and over the batch, the opposite rotation; random upstream weights."""
    case = golden(name)
    op = name.partition("-")[0]
    _, cache = getattr(level, op)(**case.inputs)
    grads = getattr(level, op + "_backward")(case.upstream["out"], cache)
    grads = grads if isinstance(grads, tuple) else (grads,)
    for got, wrt in zip(grads, INPUTS[op], strict=True):
        assert_close(got, case.grads[wrt], what="d" + wrt)


@pytest.mark.gradient
@pytest.mark.parametrize("positions", [[2, 0, 2, 2], [3, 1, 0, 2], [[1, 1], [1, 1]]])
def test_learned_gradient(level, positions):
    """Central differences: a row read three times, each once, one always; unread rows get 0."""
    table, positions = rng(2).standard_normal((5, 3)), np.array(positions)
    check_gradients(lambda table: level.learned_positions(table, positions),
                    level.learned_positions_backward, [table])
    out, cache = level.learned_positions(table, positions)
    assert_close(level.learned_positions_backward(out, cache)[4], np.zeros(3), what="dtable of an unread row")


@pytest.mark.value
def test_every_row_can_be_read(level):
    """All rows in order, the last included: the table itself, and a gradient that is dout."""
    table, dout = rng(6).standard_normal((2, 5, 3))
    out, cache = level.learned_positions(table, np.arange(5))
    assert_close(out, table, tol=0, what="out")
    assert_close(level.learned_positions_backward(dout, cache), dout, tol=0, what="dtable")


@pytest.mark.gradient
@pytest.mark.parametrize("shape", [(3, 2), (4, 3, 2)])
def test_add_gradient(level, shape):
    """Central differences of both inputs: a shared encoding sums over the batch."""
    inputs = [rng(3).standard_normal((4, 3, 2)), rng(4).standard_normal(shape)]
    check_gradients(level.add_positions, level.add_positions_backward, inputs)


@pytest.mark.gradient
def test_cache_keeps_its_own_positions(level):
    """The array of positions may be refilled for the next batch before backward is called."""
    positions = np.array([2, 0, 2])
    out, cache = level.learned_positions(np.ones((4, 2)), positions)
    turned, rotation = level.rope(np.ones((1, 1, 3, 2)), *level.rope_tables(4, 2), positions)
    positions[:] = 1
    read = np.array([[1.0, 0, 2, 0]] * 2).T
    assert_close(level.learned_positions_backward(out, cache), read, what="dtable")
    assert_close(level.rope_backward(turned, rotation), np.ones((1, 1, 3, 2)), tol=1e-12, what="dx")


@pytest.mark.gradient
@pytest.mark.parametrize("layout", LAYOUTS)
def test_rope_gradient(level, layout):
    """Central differences of every entry, at positions of shape (B, T)."""
    cos, sin = level.rope_tables(9, 4)
    positions = np.array([[5, 0, 8], [1, 1, 2]])
    check_gradients(lambda x: level.rope(x, cos, sin, positions, layout), level.rope_backward,
                    [rng(5).standard_normal((2, 2, 3, 4))])


@pytest.mark.shape
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_shapes_and_dtypes(level, dtype):
    """Results keep the dtype of the input: a float64 table does not promote float32."""
    x = rng(1).standard_normal((2, 3, 5, 8)).astype(dtype)
    table, (cos, sin) = level.sinusoidal_table(5, 8), level.rope_tables(9, 8)
    assert table.shape == (5, 8) and cos.shape == sin.shape == (9, 4)
    assert table.dtype == cos.dtype == sin.dtype == np.float64
    assert level.sinusoidal_table(5, 8, dtype=dtype).dtype == dtype
    assert {t.dtype for t in level.rope_tables(5, 8, dtype=dtype)} == {np.dtype(dtype)}
    for layout in LAYOUTS:
        out, cache = level.rope(x, cos, sin, layout=layout)
        dx = level.rope_backward(out, cache)
        assert (out.shape, out.dtype) == (dx.shape, dx.dtype) == (x.shape, x.dtype)
    out, cache = level.add_positions(x[:, 0], table)
    dx, dencoding = level.add_positions_backward(out, cache)
    assert out.dtype == dx.dtype == dencoding.dtype == dtype and dencoding.shape == (5, 8)
    out, cache = level.learned_positions(x[0, 0], np.array([[4, 0, 4]]))
    dtable = level.learned_positions_backward(out, cache)
    assert out.shape == (1, 3, 8) and out.dtype == dtable.dtype == dtype
    assert level.alibi_bias(np.array([0.5], dtype), 3).dtype == dtype


@pytest.mark.shape
def test_gradients_have_the_dtype_of_the_input(level):
    """float32 in, and a float64 gradient from above: float32 back, as PyTorch would insist."""
    x, dout = np.ones((2, 3, 5, 4), np.float32), np.ones((2, 3, 5, 4))
    dx = level.rope_backward(dout, level.rope(x, *level.rope_tables(9, 4))[1])
    both = level.add_positions_backward(dout[0], level.add_positions(x[0], x[1, 0])[1])
    dtable = level.learned_positions_backward(dout[0, 0], level.learned_positions(x[0, 0], [1, 0, 1, 4, 2])[1])
    assert [grad.dtype for grad in (dx, *both, dtable)] == [np.float32] * 4


def rope(level, x, positions=None, layout="interleaved", rows=64):
    cos, sin = level.rope_tables(rows, x.shape[-1])
    return level.rope(x, cos, sin, positions, layout)[0]


@pytest.mark.value
@pytest.mark.parametrize("layout", LAYOUTS)
def test_scores_are_relative(level, layout):
    """A common shift of all positions changes no score, another distance does (eq. 27.14)."""
    q, k = rng(6).standard_normal((2, 1, 1, 1, 8))
    q, k = np.repeat(q, 6, axis=2), np.repeat(k, 6, axis=2)     # one query, one key, six places

    def scores(shift):
        places = np.arange(6) + shift
        rotated = rope(level, k, places, layout).swapaxes(-1, -2)
        return (rope(level, q, places, layout) @ rotated)[0, 0]

    for shift in (1, 17, 50):
        assert_close(scores(shift), scores(0), tol=1e-9, what=f"scores shifted by {shift}")
    for distance in range(-5, 6):
        assert np.ptp(np.diagonal(scores(0), distance)) < 1e-9
    assert np.ptp(scores(0)) > 0.1


@pytest.mark.value
def test_sinusoidal_products(level):
    """The product of two rows depends on their distance only (eq. 27.6)."""
    products = (table := level.sinusoidal_table(40, 16)) @ table.T
    for distance in range(12):
        diagonal = np.diagonal(products, distance)
        assert_close(diagonal, np.full_like(diagonal, diagonal[0]), tol=1e-9, what="product")
    assert products[0, 0] - products[0, 3] > 1


@pytest.mark.value
@pytest.mark.parametrize("layout", LAYOUTS)
def test_rotation_group(level, layout):
    """Position 0 is the identity, lengths stay, angles add, and backward undoes forward."""
    x = rng(7).standard_normal((1, 2, 5, 6))
    assert_close(rope(level, x, [0] * 5, layout), x, tol=1e-12, what="position 0")
    turned = rope(level, x, [3] * 5, layout)
    lengths = np.linalg.norm(x, axis=-1)
    assert_close(np.linalg.norm(turned, axis=-1), lengths, tol=1e-12, what="length")
    further = rope(level, x, [12] * 5, layout)
    assert_close(rope(level, turned, [9] * 5, layout), further, tol=1e-9, what="3 + 9")
    out, cache = level.rope(x, *level.rope_tables(5, 6), layout=layout)
    assert_close(level.rope_backward(out, cache), x, tol=1e-12, what="there and back")


@pytest.mark.value
def test_layouts_differ_by_the_permutation(level):
    """Reordering commutes with rotating (eq. 27.18); the default layout is interleaved."""
    x, perm = rng(8).standard_normal((2, 2, 5, 8)), level.interleaved_to_half(8)
    assert perm.dtype.kind == "i" and perm.tolist() == [0, 2, 4, 6, 1, 3, 5, 7]
    assert level.interleaved_to_half(2).tolist() == [0, 1]
    inter = level.rope(x, *level.rope_tables(5, 8))[0]
    half = level.rope(x[..., perm], *level.rope_tables(5, 8), layout="half")[0]
    assert_close(half, inter[..., perm], tol=1e-12, what="half-split rotation")
    assert np.abs(rope(level, x, None, "half") - inter).max() > 0.1


@pytest.mark.value
@pytest.mark.parametrize("layout", LAYOUTS)
def test_one_token_at_a_time(level, layout):
    """A cache of keys: token t fed alone at position t equals column t of the whole sequence."""
    x = rng(9).standard_normal((2, 3, 6, 4))
    whole = rope(level, x, None, layout)
    for t in range(6):
        alone = rope(level, x[:, :, t:t + 1], [t], layout)
        assert_close(alone, whole[:, :, t:t + 1], tol=1e-12, what=f"token {t}")


@pytest.mark.value
@pytest.mark.parametrize("layout", LAYOUTS)
def test_as_many_heads_as_sequences(level, layout):
    """Where B = H (and B = T), NumPy would line up the wrong axes without a word: each sequence alone."""
    x, positions = rng(11).standard_normal((3, 3, 3, 4)), np.array([[0, 1, 2], [7, 0, 1], [5, 6, 0]])
    whole = rope(level, x, positions, layout)
    for b in range(3):
        assert_close(rope(level, x[b:b + 1], positions[b], layout), whole[b:b + 1], tol=1e-12, what=f"sequence {b}")
    out, _ = level.add_positions(x[0], x[1])
    assert_close(out, x[0] + x[1], tol=1e-12, what="x + encoding (B, T, D)")
    shared, _ = level.add_positions(x[0], x[1, 0])
    assert_close(shared[2], x[0, 2] + x[1, 0], tol=1e-12, what="x + encoding (T, D), of the last sequence")


@pytest.mark.value
@pytest.mark.parametrize("dtype, tol", [(np.float16, 5e-4), (np.float32, 1e-7)])
@pytest.mark.parametrize("row", [2049, 20000])
def test_tables_far_out(level, row, dtype, tol):
    """Row 20,000 of a narrow table is as exact as row 2: angles are float64, and rounded last."""
    angles = row * 100.0 ** (-np.arange(0, 6, 2) / 6)
    cos, sin = (table[row].astype(float) for table in level.rope_tables(20001, 6, 100.0, dtype))
    table = level.sinusoidal_table(20001, 6, 100.0, dtype)[row].astype(float)
    for got, expected, what in ((cos, np.cos(angles), "cos"), (sin, np.sin(angles), "sin"),
                                (table[0::2], np.sin(angles), "sines"), (table[1::2], np.cos(angles), "cosines")):
        assert_close(got - expected + 1.0, np.ones(3), tol=tol, what=what)


@pytest.mark.value
def test_worked_trace(level):
    """The numbers of the chapter's worked trace, to the digits printed there."""
    out = rope(level, np.array([[[[1.0, 2.0, 3.0, 4.0]]]]), [3])[0, 0, 0]
    assert_close(out, np.array([-1.2722, -1.8389, 2.8787, 4.0882]), tol=5e-5, what="trace")


@pytest.mark.value
def test_bias_is_a_causal_ramp(level):
    """One query after three keys: 0 for itself, one slope more for each step back."""
    one = level.alibi_bias(np.array([0.5]), 1, past=3)
    assert_close(one, np.array([[[-1.5, -1.0, -0.5, 0.0]]]), tol=0, what="bias of one query")
    bias = level.alibi_bias(np.array([0.5]), 2)
    assert_close(bias, np.array([[[0.0, -np.inf], [-0.5, 0.0]]]), tol=0, what="bias")
    assert_close(np.copysign(1.0, bias), np.array([[[1.0, -1.0], [-1.0, 1.0]]]), tol=0, what="signs, -0.0 among them")
