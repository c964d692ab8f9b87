# Tangled from chapters/27-positional-encodings.qmd; edit the chapter, then run make tangle. sha256:d9bf568186339eb8
"""Chapter 27: shapes, values and gradients."""

import numpy as np
import pytest

from tangled.testing import assert_close, check_gradients, rng

LAYOUTS = ("interleaved", "half")


def rope(level, x, positions=None, layout="interleaved", rows=64):
    cos, sin = level.rope_tables(rows, x.shape[-1])
    return level.rope(x, cos, sin, positions, layout)[0]


@pytest.mark.shape
def test_table_shapes(level):
    """Tables are (L, D) and twice (L, D/2), in the dtype asked for and float64 by default."""
    assert level.sinusoidal_table(7, 6).shape == (7, 6)
    for table in level.rope_tables(7, 6):
        assert table.shape == (7, 3) and table.dtype == np.float64
    for dtype in (np.float16, np.float32, np.float64):
        assert level.sinusoidal_table(3, 4, dtype=dtype).dtype == dtype
        assert {t.dtype for t in level.rope_tables(3, 4, dtype=dtype)} == {np.dtype(dtype)}
    assert level.sinusoidal_table(3, 4).dtype == np.float64


@pytest.mark.shape
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_results_keep_shape_and_dtype(level, dtype):
    """Every op returns the dtype of its input: a float64 table must not promote float32 activations."""
    x = rng(1).standard_normal((2, 3, 5, 8)).astype(dtype)
    cos, sin = level.rope_tables(9, 8)
    for layout in LAYOUTS:
        out, cache = level.rope(x, cos, sin, layout=layout)
        dx = level.rope_backward(out, cache)
        assert (out.shape, out.dtype) == (dx.shape, dx.dtype) == (x.shape, x.dtype)
    out, cache = level.add_positions(x[:, 0], level.sinusoidal_table(5, 8))
    dx, dencoding = level.add_positions_backward(out, cache)
    assert out.dtype == dx.dtype == dencoding.dtype == dtype and dencoding.shape == (5, 8)
    out, cache = level.learned_positions(x[0, 0], np.array([[4, 0, 4]]))
    assert out.shape == (1, 3, 8) and out.dtype == dtype
    assert level.learned_positions_backward(out, cache).dtype == dtype
    assert level.alibi_bias(np.array([0.5], dtype), 3).dtype == dtype


@pytest.mark.value
@pytest.mark.parametrize("name", ["sinusoidal", "sinusoidal_base"])
def test_sinusoidal_golden(level, golden, name):
    """The table equals PyTorch's: right columns, right exponent, default base 10000."""
    case = golden(name)
    assert_close(level.sinusoidal_table(**case.inputs), case.outputs["out"], what="sinusoidal_table")


@pytest.mark.value
def test_rope_tables_golden(level, golden):
    """Cosines first, sines second, at D/2 frequencies."""
    case = golden("rope_tables")
    for got, name in zip(level.rope_tables(**case.inputs), ("cos", "sin")):
        assert_close(got, case.outputs[name], what=f"rope_tables ({name})")


@pytest.mark.value
def test_tables_far_out(level):
    """Row 40,000 is as exact as row 4: angles are formed in float64, and errors do not pile up."""
    theta = 10000.0 ** (-np.arange(0, 8, 2) / 8)
    cos, sin = level.rope_tables(40001, 8, dtype=np.float32)
    assert_close(cos[40000], np.cos(40000 * theta), tol=1e-6, what="cos far out")
    assert_close(sin[40000], np.sin(40000 * theta), tol=1e-6, what="sin far out")


@pytest.mark.value
def test_sinusoidal_products(level):
    """The product of two rows depends on their distance only (eq. 27.6), and does depend on it."""
    products = (e := level.sinusoidal_table(40, 16)) @ e.T
    for distance in range(12):
        diagonal = np.diagonal(products, distance)
        assert_close(diagonal, np.full_like(diagonal, diagonal[0]), tol=1e-9, what="product")
    assert products[0, 0] - products[0, 3] > 1


@pytest.mark.value
def test_learned_golden(level, golden):
    """Rows are read where positions say, for positions of shape (B, T)."""
    case = golden("learned")
    assert_close(level.learned_positions(**case.inputs)[0], case.outputs["out"], what="learned_positions")


@pytest.mark.gradient
def test_learned_gradient_golden(level, golden):
    """Rows read several times sum their gradients; rows that nobody read get exactly 0."""
    case = golden("learned")
    _, cache = level.learned_positions(**case.inputs)
    dtable = level.learned_positions_backward(case.upstream["out"], cache)
    assert_close(dtable, case.grads["table"], what="dtable")
    assert not dtable[4:].any()


@pytest.mark.gradient
@pytest.mark.parametrize("positions", [[2, 0, 2, 2], [3, 1, 0, 2]])
def test_learned_gradient(level, positions):
    """Central differences, with a row read three times and with every row read once."""
    table = rng(2).standard_normal((4, 3))
    check_gradients(lambda table: level.learned_positions(table, np.array(positions)),
                    level.learned_positions_backward, [table])


@pytest.mark.value
@pytest.mark.parametrize("name", ["add_shared", "add_own"])
def test_add_golden(level, golden, name):
    """The encoding belongs to the time axis, whether the batch shares it or not; gradients likewise."""
    case = golden(name)
    out, cache = level.add_positions(**case.inputs)
    assert_close(out, case.outputs["out"], what="add_positions")
    dx, dencoding = level.add_positions_backward(case.upstream["out"], cache)
    assert_close(dx, case.grads["x"], what="dx")
    assert_close(dencoding, case.grads["encoding"], what="dencoding")


@pytest.mark.gradient
@pytest.mark.parametrize("shape", [(3, 2), (4, 3, 2)])
def test_add_gradient(level, shape):
    """Central differences of both inputs: a shared encoding sums over the batch."""
    inputs = [rng(3).standard_normal((4, 3, 2)), rng(4).standard_normal(shape)]
    check_gradients(level.add_positions, level.add_positions_backward, inputs)


@pytest.mark.value
@pytest.mark.parametrize("name", ["rope_interleaved", "rope_half", "rope_offset", "rope_packed"])
def test_rope_golden(level, golden, name):
    """Both layouts, an offset and packed positions against explicit rotation matrices."""
    case = golden(name)
    assert_close(level.rope(**case.inputs)[0], case.outputs["out"], what="rope")


@pytest.mark.gradient
@pytest.mark.parametrize("name", ["rope_interleaved", "rope_half", "rope_offset", "rope_packed"])
def test_rope_gradient_golden(level, golden, name):
    """Backward turns the other way, at the same positions and in the same layout."""
    case = golden(name)
    _, cache = level.rope(**case.inputs)
    assert_close(level.rope_backward(case.upstream["out"], cache), case.grads["x"], what="dx")


@pytest.mark.gradient
@pytest.mark.parametrize("layout", LAYOUTS)
def test_rope_gradient(level, layout):
    """Central differences of every entry, at positions of shape (B, T)."""
    cos, sin = level.rope_tables(9, 4)
    positions = np.array([[5, 0, 8], [1, 1, 2]])
    check_gradients(lambda x: level.rope(x, cos, sin, positions, layout), level.rope_backward,
                    [rng(5).standard_normal((2, 2, 3, 4))])


@pytest.mark.value
def test_worked_trace(level):
    """The numbers of the chapter's worked trace, to the digits printed there."""
    out = rope(level, np.array([[[[1.0, 2.0, 3.0, 4.0]]]]), [3])
    assert_close(out[0, 0, 0], np.array([-1.2722, -1.8389, 2.8787, 4.0882]), tol=5e-5, what="trace")


@pytest.mark.value
@pytest.mark.parametrize("layout", LAYOUTS)
def test_scores_are_relative(level, layout):
    """Scores survive a common shift of all positions, and differ between distances (eq. 27.14)."""
    q, k = rng(6).standard_normal((2, 1, 1, 1, 8))
    q, k = np.repeat(q, 6, axis=2), np.repeat(k, 6, axis=2)      # one query, one key, six places

    def scores(shift):
        places = np.arange(6) + shift
        return (rope(level, q, places, layout) @ rope(level, k, places, layout).swapaxes(-1, -2))[0, 0]

    for shift in (1, 17, 50):
        assert_close(scores(shift), scores(0), tol=1e-9, what=f"scores shifted by {shift}")
    for distance in range(-5, 6):
        assert np.ptp(np.diagonal(scores(0), distance)) < 1e-9
    assert np.ptp(scores(0)) > 0.1


@pytest.mark.value
@pytest.mark.parametrize("layout", LAYOUTS)
def test_rotation_group(level, layout):
    """Position 0 is the identity, lengths stay, angles add, and backward undoes forward."""
    x = rng(7).standard_normal((1, 2, 5, 6))
    assert_close(rope(level, x, [0] * 5, layout), x, tol=1e-12, what="position 0")
    turned = rope(level, x, [3] * 5, layout)
    assert_close(np.linalg.norm(turned, axis=-1), np.linalg.norm(x, axis=-1), tol=1e-12, what="length")
    assert_close(rope(level, turned, [9] * 5, layout), rope(level, x, [12] * 5, layout), tol=1e-9, what="3 + 9")
    cos, sin = level.rope_tables(5, 6)
    out, cache = level.rope(x, cos, sin, layout=layout)
    assert_close(level.rope_backward(out, cache), x, tol=1e-12, what="there and back")


@pytest.mark.value
def test_layouts_differ_by_the_permutation(level):
    """Reordering commutes with rotating (eq. 27.18); the default layout is interleaved."""
    x, perm = rng(8).standard_normal((2, 2, 5, 8)), level.interleaved_to_half(8)
    assert perm.dtype.kind == "i" and perm.tolist() == [0, 2, 4, 6, 1, 3, 5, 7]
    assert_close(rope(level, x[..., perm], None, "half"), rope(level, x)[..., perm], tol=1e-12, what="half")
    assert np.abs(rope(level, x, None, "half") - rope(level, x)).max() > 0.1
    assert level.interleaved_to_half(2).tolist() == [0, 1]


@pytest.mark.value
@pytest.mark.parametrize("layout", LAYOUTS)
def test_one_token_at_a_time(level, layout):
    """A cache of keys: token t fed alone at position t equals column t of the whole sequence."""
    x = rng(9).standard_normal((2, 3, 6, 4))
    whole = rope(level, x, None, layout)
    for t in range(6):
        assert_close(rope(level, x[:, :, t:t + 1], [t], layout), whole[:, :, t:t + 1], tol=1e-12, what=f"token {t}")


@pytest.mark.value
@pytest.mark.parametrize("heads", [1, 8, 12])
def test_slopes_golden(level, golden, heads):
    """The paper's slopes: for 8 heads 1/2, 1/4, ..., 1/256; for 12 filled up from the sequence for 16."""
    case = golden(f"slopes_{heads}")
    assert_close(level.alibi_slopes(**case.inputs), case.outputs["out"], tol=1e-12, what="alibi_slopes")


@pytest.mark.value
@pytest.mark.parametrize("name", ["bias", "bias_past"])
def test_bias_golden(level, golden, name):
    """0 on the diagonal, falling to the left, -inf to the right, with and without earlier keys."""
    case = golden(name)
    bias = level.alibi_bias(**case.inputs)
    assert_close(bias, case.outputs["out"], what="alibi_bias")
    assert not np.signbit(bias[:, 0, case.inputs["past"]]).any()
    if name == "bias":
        assert_close(level.alibi_bias(case.inputs["slopes"], 5), bias, what="past=0 by default")
