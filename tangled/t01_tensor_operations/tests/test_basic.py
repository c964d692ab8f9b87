# Tangled from chapters/01-tensor-operations.qmd; edit the chapter, then run make tangle. sha256:a6ff4bc2c654f1b3
"""Shapes, values and adjoints of the tensor operations."""

import itertools

import numpy as np
import pytest

from tangled.testing import assert_close, check_gradients, rng

GOLDEN = {"matmul": ["matmul", "matmul_batched"], "sliding_windows": ["windows"],
          **{f: [f"{f}{name}_{axis}" for name in ("", "_square") for axis in range(-3, 3)]
             for f in ("softmax", "logsumexp")},
          "einsum2": [f"einsum_{fate}" for fate in (
              "matrix", "batch", "attention", "outer", "diagonal", "lonely", "full", "two_inner",
              "hadamard", "diagonals", "batch_order", "names", "capitals", "scattered", "unsorted")]}


@pytest.mark.value
@pytest.mark.parametrize("function, name", [(f, name) for f in GOLDEN for name in GOLDEN[f]])
def test_golden(level, golden, function, name):
    """PyTorch's values: stacks that broadcast, each axis, each fate of a letter, a step of 3."""
    case = golden(name)
    got = getattr(level, function)(**case.inputs)
    assert_close(got, case.outputs["out"], what=function, dtype=np.float64)


@pytest.mark.shape
@pytest.mark.parametrize("shape", [(), (5,), (2, 3, 4), (4, 1, 3), (2, 1), (1, 1, 1)])
def test_contiguous_strides(level, shape):
    """The strides of NumPy's fresh arrays, for both orders and several entry sizes; the defaults."""
    for dtype, order in itertools.product([np.float64, np.float32, np.int8], "CF"):
        expected = np.empty(shape, dtype, order=order).strides
        got = level.contiguous_strides(shape, np.dtype(dtype).itemsize, order)
        assert got == expected and all(type(s) is int for s in got), (got, expected)
    assert level.contiguous_strides(shape) == np.empty(shape).strides


@pytest.mark.shape
@pytest.mark.parametrize("shapes", [
    ((3,), (4, 3)), ((4, 1), (3,), (1, 1)), ((2, 1, 5), (7, 1)), ((), (2, 3)), ((1,), (0,)), ((5,),),
    (), ((),), ((0, 1), (1, 3)), ((2, 3), (2, 3), (2, 3)), ((1, 4), (1, 1), (6, 1, 4)), ((2,), (1,))])
def test_broadcast_shapes(level, shapes):
    """What NumPy predicts, for none to three shapes, scalars and empty axes included."""
    got = level.broadcast_shapes(*shapes)
    assert got == np.broadcast_shapes(*shapes) and all(type(n) is int for n in got)


STRETCHES = [((4,), (3, 4)), ((3, 1), (3, 4)), ((2, 1, 4), (2, 3, 4)), ((), (2, 3)), ((1,), (1,)),
             ((2, 3), (2, 3)), ((1, 3, 1), (5, 2, 3, 4)), ((1, 1), (1, 2)), ((1, 4), (1, 4))]


@pytest.mark.value
@pytest.mark.parametrize("small, large", STRETCHES)
def test_broadcast_to_value(level, small, large):
    """Every entry, against NumPy's own broadcast; the shape may also be a list."""
    x = rng(1).standard_normal(small)
    assert_close(level.broadcast_to(x, list(large)), np.broadcast_to(x, large), what="broadcast_to")


@pytest.mark.value
@pytest.mark.levels(1, 2, 3)
def test_views_walk_any_strides(level):
    """Transposed, every second, backwards: the strides of `x` are kept, whatever they are."""
    x = rng(1).standard_normal((4, 6)).astype(np.float32)
    for small, large in [(x.T, (3, 6, 4)), (x[::2, 1:2], (2, 5)), (x[::-1, ::-1], (1, 4, 6))]:
        got = level.broadcast_to(small, large)
        assert got.dtype == np.float32
        assert_close(got, np.broadcast_to(small, large), what="broadcast_to")
    assert level.sliding_windows(np.arange(6.0)[::-1], 3, 2).tolist() == [[5, 4, 3], [3, 2, 1]]


@pytest.mark.value
@pytest.mark.levels(2, 3, 4)
def test_broadcast_to_is_a_view(level):
    """A write to the original is seen through the result: no byte was copied."""
    x = np.zeros((3, 1))
    view = level.broadcast_to(x, (2, 3, 4))
    x[1, 0] = 7.0
    assert np.array_equal(view[:, 1, :], np.full((2, 4), 7.0)), "a copy, expected a view"
    assert view.strides[0] == view.strides[2] == 0


@pytest.mark.value
@pytest.mark.levels(2, 3)
def test_views_are_read_only(level):
    """Entries that share memory must not be written through: NumPy refuses."""
    for view in (level.broadcast_to(np.zeros(3), (2, 3)), level.sliding_windows(np.zeros(5), 3)):
        with pytest.raises(ValueError, match="read-only"):
            view[0, 0] = 1.0


@pytest.mark.shape
@pytest.mark.parametrize("n, window, step, count", [
    (10, 4, 2, 4), (10, 4, 1, 7), (4, 4, 5, 1), (5, 1, 2, 3), (1, 1, 1, 1), (11, 4, 3, 3)])
def test_sliding_windows_count(level, n, window, step, count):
    """floor((n - w) / s) + 1 windows, whether or not the last one ends at the end."""
    assert level.sliding_windows(np.arange(n * 1.0), window, step).shape == (count, window)


@pytest.mark.value
@pytest.mark.levels(2, 3, 4)
def test_sliding_windows_is_a_view(level):
    """One write shows in every window over it; strided input works; the default step is 1."""
    x = np.zeros((2, 12))[:, ::2]
    view = level.sliding_windows(x, 3)
    x[1, 2] = 5.0
    assert view.shape == (2, 4, 3)
    assert view[1].tolist() == [[0, 0, 5], [0, 5, 0], [5, 0, 0], [0, 0, 0]]


@pytest.mark.gradient
@pytest.mark.parametrize("k", range(5))
def test_unbroadcast_golden(level, golden, k):
    """Padded axes, stretched axes, both, and a scalar, against the gradient of torch's expand."""
    case = golden(f"unbroadcast_{k}")
    got = level.unbroadcast(case.inputs["grad"], case.inputs["shape"].tolist())
    assert_close(got, case.outputs["out"], what="unbroadcast")


@pytest.mark.gradient
@pytest.mark.parametrize("small, large", STRETCHES)
def test_unbroadcast_is_the_adjoint(level, small, large):
    """<Bx, g> = <x, B^T g> for random x and g (eq. 1.5)."""
    x, g = rng(2).standard_normal(small), rng(3).standard_normal(large)
    left, right = np.sum(level.broadcast_to(x, large) * g), np.sum(x * level.unbroadcast(g, small))
    assert_close(right, left, what="<x, B^T g>")


@pytest.mark.gradient
@pytest.mark.parametrize("shape, axes", [
    ((5,), (0, 1)), ((4, 1), (0, 2)), ((3, 1, 5), 1), ((1, 4, 5), 0), ((3, 4, 1), 2), ((4, 5), 0),
    ((1, 5), (0, 1)), ((3, 1, 1), (1, 2)), ((), (0, 1, 2)), ((3, 4, 5), ())])
def test_unbroadcast_of_any_gradient(level, shape, axes):
    """float32 stays float32; integers and gradients in F order have the same sums."""
    cube = rng(4).integers(-9, 9, (3, 4, 5))
    for grad in (cube.astype(np.float32), cube.astype(np.int32), np.asfortranarray(cube * 1.0),
                 cube[::-1, ::-1].astype(np.float16), cube.astype(np.float32).swapaxes(0, 1)):
        grad = grad if grad.shape == cube.shape else grad.swapaxes(0, 1)
        got = level.unbroadcast(grad, shape)
        expected = grad.astype(float).sum(axis=axes).reshape(shape).astype(grad.dtype)
        assert isinstance(got, np.ndarray), f"a {type(got).__name__}, expected an array"
        assert_close(got, expected, what="unbroadcast", dtype=grad.dtype)


@pytest.mark.gradient
@pytest.mark.levels(2, 3)
def test_unbroadcast_of_nothing_stretched(level):
    """Where nothing was stretched, the gradient itself comes back: no copy in the common case."""
    grad = np.ones((1, 3))
    assert level.unbroadcast(grad, (1, 3)) is grad


@pytest.mark.gradient
def test_unbroadcast_by_differences(level):
    """The same by central differences, through the harness that later chapters use."""
    check_gradients(lambda x: (level.broadcast_to(x, (2, 3, 4)), None),
                    lambda dout, cache: level.unbroadcast(dout, (3, 1)),
                    (rng(4).standard_normal((3, 1)),))


@pytest.mark.gradient
def test_softmax_is_the_gradient_of_logsumexp(level):
    """Central differences of logsumexp equal softmax, with a random upstream."""
    check_gradients(lambda x: (level.logsumexp(x), x),
                    lambda dout, x: dout[..., None] * level.softmax(x),
                    (rng(5).standard_normal((3, 4)) * 3,))


@pytest.mark.value
def test_products_keep_float32(level):
    """float32 in, float32 out, also for transposed operands and one-row matrices; integers too."""
    a = rng(6).standard_normal((4, 3)).astype(np.float32)
    for x in (a, (8 * a).astype(np.int32)):
        for got in (level.matmul(x.T, x), level.einsum2("ki,kj->ij", x, x)):
            assert_close(got, x.T @ x, what="product", dtype=x.dtype)
        got = level.einsum2("kij,k->i", x[..., None], x[:, 0])
        assert_close(got, x.T @ x[:, 0], what="einsum2", dtype=x.dtype)
    assert_close(level.matmul(a[:1], a.T[:, 1:2]), a[:1] @ a.T[:, 1:2], what="matmul")
    big = 2**60 + 1                                              # no float64
    assert level.matmul([[big]], [[1]]).tolist() == [[big]]
    assert level.einsum2("ij,j->i", [[big, 1]], [1, 1]).tolist() == [big + 1]


@pytest.mark.levels(3)
@pytest.mark.edge
def test_softmax_leaves_buffers_as_they_were(level):
    """NumPy's buffers are set for a product; whoever calls has the size that was there."""
    before = np.getbufsize()
    with np.errstate():
        np.setbufsize(before // 2)
        level.softmax(np.zeros((3, 5)))
        assert np.getbufsize() == before // 2
    assert np.getbufsize() == before


@pytest.mark.value
@pytest.mark.levels(3)
@pytest.mark.parametrize("kernel", ["matmul", "outer_products"])
def test_matmul_tiles_cover_everything(level, kernel):
    """Sizes that are no multiple of the tile leave narrow blocks at the borders."""
    a, b = rng(7).standard_normal((11, 7)), rng(8).standard_normal((7, 10))
    kernel = np.matmul if kernel == "matmul" else level.outer_products
    assert_close(level.matmul(a, b, tile=4, kernel=kernel), a @ b, what="matmul")


@pytest.mark.value
@pytest.mark.parametrize("left, right", [((2, 1), (1, 5)), ((1,), (3,)), ((3,), (2, 1)), ((2, 3), ()), ((2,), (2,))])
def test_matmul_stretches_stacks(level, left, right):
    """Stacks with as many axes as each other, of which some are 1, and with more or fewer."""
    a, b = rng(9).standard_normal((*left, 3, 4)), rng(10).standard_normal((*right, 4, 2))
    assert_close(level.matmul(a, b), a @ b, what="matmul")


@pytest.mark.value
@pytest.mark.parametrize("spec", ["ij, jk -> ki", "ijb,bjk->bk", "bji,bkj->ikb",
                                  "ab,cd->dbca", ",ij->ji"])
def test_einsum2_strided(level, spec):
    """Operands that are slices of larger arrays, spaces in `spec`, a scalar operand."""
    lengths = dict(zip("abcdijk", (2, 3, 4, 5, 3, 4, 2)))

    def operand(letters):
        return rng(5).standard_normal([*(lengths[c] for c in letters.strip()), 2])[..., 0]

    a, b = map(operand, spec.split("->")[0].split(","))
    assert_close(level.einsum2(spec, a, b), np.einsum(spec, a, b), what="einsum2")


@pytest.mark.value
def test_exponentials_defaults(level):
    """Without `axis` both reduce over the last; float32 stays, and strided input is as good."""
    x = rng(9).standard_normal((2, 3, 8)).astype(np.float32)[..., ::2]
    soft, total = level.softmax(x), level.logsumexp(x)
    e = np.exp(x.astype(float))
    assert_close(soft, e / e.sum(-1, keepdims=True), what="softmax", dtype=np.float32)
    assert_close(total, np.log(e.sum(-1)), what="logsumexp", dtype=np.float32)
    assert_close(level.softmax(x[0, 0]), soft[0, 0], what="softmax of a vector")
    assert_close(level.logsumexp(x[0, 0]), total[0, 0], what="logsumexp of a vector")


@pytest.mark.value
def test_no_axis_is_a_number(level):
    """Where no axis is left the result is a NumPy scalar, as of np.sum and np.einsum."""
    x = rng(9).standard_normal(5).astype(np.float32)
    expected = np.log(np.exp(x.astype(float)).sum()), x @ x
    for got, right in zip((level.logsumexp(x), level.einsum2("i,i->", x, x)), expected):
        assert isinstance(got, np.float32), f"a {type(got).__name__}, expected np.float32"
        assert_close(got, np.float32(right))


@pytest.mark.value
@pytest.mark.levels(3)
def test_softmax_with_rows_apart(level):
    """Rows that one shift for the block would lose, in the same block as ordinary ones."""
    x = rng(4).standard_normal((300, 7)).astype(np.float32)
    x[::3] -= np.linspace(0, 500, 100, dtype=np.float32)[:, None]
    x[200, 2], x[202] = np.nan, -np.inf
    wide = rng(5).standard_normal((3, 140_000)).astype(np.float32)
    for part in (x, x[:45], x[20:40], x[::2, ::-1], x.T[:, ::5].T, wide):
        with np.errstate(invalid="ignore"):
            e = np.exp(part.astype(float) - part.max(-1, keepdims=True))
            expected = e / e.sum(-1, keepdims=True)
        assert_close(level.softmax(part), expected, tol=5e-7, what="softmax", dtype=np.float32)


@pytest.mark.value
def test_one_hot(level):
    """A 1 at each label, for labels with none, one and two axes; float32."""
    y = np.array([[0, 2], [1, 3]])
    cube = rng(3).integers(0, 5, (2, 3, 4)).astype(np.uint8)
    for labels in (y, y[0], y[1, 1], y.T[:1], cube, cube.T, y.astype(np.int16)):
        got = level.one_hot(labels, 6)
        assert_close(got, np.eye(6)[labels], what="one_hot", dtype=np.float32)
    assert y.tolist() == [[0, 2], [1, 3]], "the labels were changed in place"
    assert level.one_hot(np.arange(300, dtype=np.uint16), 301).argmax(-1).tolist() == list(range(300))


@pytest.mark.value
def test_lists_will_do(level):
    """Nested lists of floats stand for arrays in every function."""
    x = [[0.5, 1.5, -1.0]]
    assert level.broadcast_to(x, (2, 3)).tolist() == x * 2
    assert level.unbroadcast([[1.0, 2.0], [3.0, 4.0]], (2,)).tolist() == [4.0, 6.0]
    assert level.sliding_windows(x, 2).tolist() == [[[0.5, 1.5], [1.5, -1.0]]]
    assert level.matmul(x, [[2.0], [1.0], [1.0]]).tolist() == [[1.5]]
    assert level.einsum2("ij,j->i", x, [2.0, 1.0, 1.0]).tolist() == [1.5]
    assert_close(level.logsumexp(x), np.log(np.exp(x).sum(-1)), what="logsumexp")
    assert_close(level.softmax(x), np.exp(x) / np.exp(x).sum(), what="softmax")
    assert level.one_hot([1, 0], 2).tolist() == [[0, 1], [1, 0]]
