# Tangled from chapters/a-testing.qmd; edit the chapter, then run make tangle. sha256:2e6be0f5c1bd8d41
"""The harness, tested on mistakes planted for it."""
import numpy as np
import pytest

from tangled.diagnosis import CONTEXT, diagnose
from tangled.measuring import Ladder, Together, growth_exponent, measure, peak_memory, time_ratio
from tangled.testing import (
    Mismatch,
    assert_close,
    check_gradients,
    check_module_gradients,
    expect_value_error,
    numeric_gradient,
    rng,
    upstream_like,
)

A = rng(3).standard_normal((6, 8, 5)) + 0.3          # no symmetry, no zeros
S = rng(4).standard_normal((6, 6)) + 0.3             # square


MISTAKES = [
    (A * 0.0, A, "everything is zero"),
    (-A, A, "the sign is flipped everywhere"),
    (A / np.sqrt(8), A, "1/sqrt(8), 8 being the size of axis 1"),
    (A / 6, A, "1/6, 6 being the size of axis 0"),
    (A * 6 / 5, A, "6/5, 6 being the size of axis 0"),
    (A / np.log(2), A, "a logarithm to base 2"),
    (S.T, S, "it is transposed"),
    (A.transpose(1, 0, 2), A, "axes permuted: got = expected.transpose(1, 0, 2)"),
    (A.transpose(0, 2, 1).reshape(A.shape), A, "reshaped where a transpose is needed"),
    (A.reshape(48, 5), A, "a reshape is missing"),
    (A[:, None], A, "an axis of size one was added or lost"),
    (A, A.sum(0), "not summed over axis 0 (the batch?)"),
    (A, A.mean((0, 1)), "not averaged over axis (0, 1)"),
    (A.sum(1), A, "summed over axis 1, which should stay"),
    (np.broadcast_to(A[:1], A.shape), A[:1], "the same numbers are repeated"),
    (np.broadcast_to(A.sum(0), A.shape), A, "the sum over axis 0 stands in every place along it"),
    (np.roll(A, 1, 1), A, "shifted by one along axis 1: entry i holds what belongs at i - 1"),
    (np.concatenate([A[1:], A[:1] * 0]), A, "along axis 0: entry i holds what belongs at i + 1"),
    (A[:, ::-1], A, "reversed along axis 1"),
    (A[:, np.r_[0:8:2, 1:8:2]], A, "half-split where interleaved is expected, along axis 1"),
    (A[:, np.argsort(np.r_[0:8:2, 1:8:2])], A, "interleaved where half-split is expected, along axis 1"),
    (A[:, [1, 0, 3, 2, 5, 4, 7, 6]], A, "neighbours are swapped, pair by pair, along axis 1"),
    (A[[2, 0, 1, 3, 5, 4]], A, "in another order along axis 0: expected[2, 0, 1, 3, 5, 4]"),
    (rng(1).permutation(A.ravel()).reshape(A.shape), A, "the right numbers in the wrong places"),
    (A * np.where(np.arange(8) % 2, -1, 1)[:, None], A, "in 120 of 240 entries only at the odd indices"),
    (np.abs(A), A, "the sign is flipped in"),
    (A.astype(np.float32).astype(np.float64), A, "computed in float32"),
    (A.astype(np.float16).astype(np.float64), A, "computed in float16"),
    (A + 0.25, A, "off by a constant: got = expected +0.25"),
    (A + rng(5).random((6, 1, 5)), A, "off by a constant along axis 1"),
    (A * (1 + rng(5).random((6, 8, 1))), A, "off by a factor for each slice along axis 2"),
    (np.square(A), A, "the square of what is expected"),
    (np.exp(A), A, "the exponential of what is expected"),
    (1.0 - A, A, "one minus what is expected"),
    (np.triu(S), S, "only below the diagonal"),
    (np.tril(S), S, "only above the diagonal of the last two axes (the mask?)"),
    (S + np.eye(6), S, "only on the diagonal"),
    (np.where(np.arange(8)[:, None] == 7, 9.0, A), A, "only at index 7, the last, of axis 1"),
    (np.where(np.arange(8)[:, None] < 3, A * A, A), A, "only at indices 0 to 2 of axis 1"),
    (np.where(A > 1.2, np.nan, A), A, "NaN in"),
    (np.where(A > 1.2, np.inf, A), A, "inf in"),
    (A * (1 + 1e-3 * rng(6).random(A.shape)), A, "close: off by"),
]


@pytest.mark.parametrize("got, expected, words", MISTAKES, ids=[words[:40] for _, _, words in MISTAKES])
def test_each_mistake_is_named(got, expected, words):
    """A planted mistake fails, and the message names it"""
    CONTEXT.clear()
    assert_close(expected, expected)
    with pytest.raises(Mismatch) as caught:
        assert_close(got, expected, tol=1e-9)
    assert words in str(caught.value)


def test_what_no_rule_explains():
    """Random numbers in the place of the answer get no explanation"""
    CONTEXT.clear()
    assert diagnose(rng(8).standard_normal(A.shape), A) == ""
    assert diagnose(np.array(["a"]), np.array(["b"])) == ""


def test_arrays_of_the_test_are_recognised():
    """An input returned unchanged, two results in the wrong order, a missing upstream gradient"""
    other, upstream = rng(7).standard_normal((2, 6, 6))
    CONTEXT.clear()
    CONTEXT.update({"input x": other, "the upstream gradient of out": upstream})
    try:
        assert diagnose(other, S) == "it equals input x"
        assert diagnose(S / upstream, S) == "the upstream gradient is missing: " \
            "got * the upstream gradient of out is right"
        CONTEXT["input q"] = rng().standard_normal((3, 64))
        assert "1/sqrt(64), 64 being the size of axis 1 of input q" in diagnose(S / 8, S)
    finally:
        CONTEXT.clear()


@pytest.mark.parametrize("got, words", [
    (None, "is a return missing?"), ([1.0, 2.0], "is a list, not an array"),
    (np.ones(3), "has shape (3,), expected (2,)"), (np.array([1, 2]), "is of type int64, expected floating"),
    (np.array([1.0, np.nan]), "NaN in 1 of 2 entries, first at [1]"), (np.zeros(2), "everything is zero"),
    (np.array([True, True]), "is of type bool")])
def test_refused(got, words):
    """None, lists, shapes, kinds of numbers and NaN are told apart"""
    with pytest.raises(Mismatch) as caught:
        assert_close(got, np.array([1e-7, 2e-7]))
    assert words in str(caught.value)


def test_tolerance():
    """Relative for large entries; zeros never pass for something small"""
    assert_close(np.array([1e6 + 5.0, 1e-6]), np.array([1e6, 0.0]))
    assert_close(np.array([np.nan, np.inf, 1.0]), np.array([np.nan, np.inf, 1.0]))
    assert_close((np.ones(2), {"a": np.ones(1)}), (np.ones(2), {"a": np.ones(1)}))
    assert_close(1.0, np.array(1.0))
    assert_close(np.zeros((0, 3)), np.zeros((0, 3)))
    for got, expected in (([1e6 + 50.0, 0.0], [1e6, 0.0]), ([0.0, 0.0], [1e-9, 0.0]),
                          ([1e-4, 0.0], [0.0, 0.0]), ([-np.inf, 0.0], [np.inf, 0.0]),
                          ([1.0, 0.0], [np.nan, 0.0])):
        with pytest.raises(Mismatch):
            assert_close(np.array(got), np.array(expected))
    with pytest.raises(Mismatch, match="float32"):
        assert_close(np.ones(2), np.ones(2), dtype=np.float32)
    for got in ((np.ones(2),), {"b": np.ones(2)}, np.ones(2)):
        with pytest.raises(Mismatch):
            assert_close(got, (np.ones(2), np.ones(2)))


def bad_half(error):
    """A function that refuses x with a given exception."""
    def half(x):
        raise error
    return half


def test_expect_value_error():
    """The refusal must be a ValueError that names the argument and the expectation"""
    expect_value_error("x", bad_half(ValueError("x has 3 features, expected an even number")), 3)
    for error in (ValueError("expected an even number"), ValueError("x is bad"), TypeError("x must be even"),
                  ValueError("axis must be even")):
        with pytest.raises(AssertionError):
            expect_value_error("x", bad_half(error), 3)
    with pytest.raises(AssertionError, match="accepted a bad 'x'"):
        expect_value_error("x", lambda x: x, 3)
    with pytest.raises(NotImplementedError):
        expect_value_error("x", bad_half(NotImplementedError()), 3)


def affine(x, weight, bias):
    """x (N, D), weight (D, M), bias (M,) -> (N, M)."""
    return np.tanh(x @ weight + bias), (x, weight, np.tanh(x @ weight + bias))


def affine_backward(dout, cache):
    x, weight, out = cache
    dz = dout * (1.0 - out * out)                        # (N, M)
    return dz @ weight.T, x.T @ dz, dz.sum(0)


INPUTS = rng(1).standard_normal((5, 4)), rng(2).standard_normal((4, 3)), rng(3).standard_normal(3)


def spoiled(change):
    """A backward pass whose three gradients go through `change(dx, dweight, dbias)`."""
    return lambda dout, cache: change(*affine_backward(dout, cache))


@pytest.mark.parametrize("backward, words", [
    (spoiled(lambda x, w, b: (x, w, b * 2)), "dbias: 3 of 3 entries are wrong"),
    (spoiled(lambda x, w, b: (x, w)), "returned 2 gradients, expected 3"),
    (spoiled(lambda x, w, b: None), "returned None"),
    (spoiled(lambda x, w, b: (x, None, b)), "dweight is None"),
    (spoiled(lambda x, w, b: (x, w.T, b)), "it is transposed"),
    (spoiled(lambda x, w, b: (x + 1e-5, w, b)), "dx: 20 of 20 entries are wrong"),
    (spoiled(lambda x, w, b: (np.where(np.arange(4) == 3, 0.0, x), w, b)), "only at index 3, the last,"),
    (spoiled(lambda x, w, b: (x * np.nan, w, b)), "NaN in 20 of 20"),
    (lambda dout, cache: affine_backward(np.ones((5, 3)), cache), "the upstream gradient is ignored"),
    (lambda dout, cache: (*affine_backward(dout, cache)[:2], dout), "dbias has shape (5, 3), expected (3,)"),
])
def test_wrong_gradients(backward, words):
    """Each planted mistake in a backward pass fails with its name"""
    check_gradients(affine, affine_backward, INPUTS)
    with pytest.raises(Mismatch) as caught:
        check_gradients(affine, backward, INPUTS)
    assert words in str(caught.value)


def test_ones_are_blind():
    """A wrong softmax gradient passes with upstream ones, and fails here"""
    def softmax(x):
        p = np.exp(x) / np.exp(x).sum(-1, keepdims=True)
        return p, p

    x = rng(0).standard_normal((2, 4))
    wrong = lambda dout, p: p * (dout - dout.mean(-1, keepdims=True))
    ones = np.ones((2, 4))
    numeric = numeric_gradient(lambda: softmax(x)[0], x, ones)
    assert np.allclose(wrong(ones, softmax(x)[1]), numeric, atol=1e-9)
    with pytest.raises(Mismatch):
        check_gradients(softmax, wrong, (x,))
    check_gradients(softmax, lambda dout, p: p * (dout - (dout * p).sum(-1, keepdims=True)), (x,))


def test_two_outputs_one_ignored():
    """With two outputs, the upstream gradient that is not used is named"""
    f = lambda x: ((np.sin(x), np.cos(x)), x)
    x = rng(0).standard_normal(4)
    check_gradients(f, lambda dout, x: dout[0] * np.cos(x) - dout[1] * np.sin(x), (x,))
    with pytest.raises(Mismatch, match="the upstream gradient of output 1 is ignored"):
        check_gradients(f, lambda dout, x: dout[0] * np.cos(x), (x,))


def test_kink_and_curvature():
    """A kink is named; a strongly curved function passes by Richardson's second chance"""
    with pytest.raises(Mismatch, match="f has a kink there"):
        check_gradients(lambda x: (np.maximum(x, 0), x), lambda dout, x: dout * (x > 0), (np.arange(2.0),))
    wave = lambda x: (np.sin(200.0 * x), x)
    check_gradients(wave, lambda dout, x: dout * 200.0 * np.cos(200.0 * x), (np.array([0.1, 0.2, 0.3]),))


def test_inputs_changed_in_place():
    """A forward or backward pass that writes into its input fails, unless it may"""
    def forward(x):
        x *= 1.0 + 1e-9
        return x * 2.0, None
    with pytest.raises(AssertionError, match="the forward pass changed its input 'x'"):
        check_gradients(forward, lambda dout, cache: 2.0 * dout, (np.ones(3),))

    def backward(dout, x):
        x += 1.0
        return 2.0 * dout
    with pytest.raises(AssertionError, match="the backward pass changed its input"):
        check_gradients(lambda x: (2.0 * x, x), backward, (np.ones(3),))
    ones = np.ones(3, np.float32)
    check_gradients(lambda x, way: (2.0 * x, x), lambda dout, x: 2.0 * dout, (ones, "a way"))


class Parameter:
    """An array and its gradient."""

    def __init__(self, data):
        self.data, self.grad = data, None


class Dense:
    """A module: tanh(x W)."""

    def __init__(self, frozen=False, scale=1.0):
        self.weight, self.scale_of = Parameter(INPUTS[1].copy()), Parameter(np.array(1.5))
        self.frozen, self.scale = frozen, scale

    def parameters(self):
        return {"weight": self.weight, "gain": self.scale_of}

    def forward(self, x):
        self.x, self.z = x, x @ self.weight.data
        return np.tanh(self.z) * self.scale_of.data

    def backward(self, dout):
        dz = dout * (1.0 - np.tanh(self.z) ** 2) * self.scale_of.data
        self.scale_of.grad = None if self.frozen else np.sum(dout * np.tanh(self.z))
        self.weight.grad = self.x.T @ dz * self.scale
        return dz @ self.weight.data.T


def test_modules():
    """Parameters and inputs are checked; one without a gradient, or with a wrong one, is named"""
    check_module_gradients(Dense(), INPUTS[:1])
    with pytest.raises(Mismatch, match="parameter gain received no gradient"):
        check_module_gradients(Dense(frozen=True), INPUTS[:1])
    with pytest.raises(Mismatch, match="the gradient of weight: 12 of 12"):
        check_module_gradients(Dense(scale=1.0001), INPUTS[:1])
    silent = Dense()
    silent.backward = lambda dout: Dense.backward(silent, dout) is None or None
    with pytest.raises(Mismatch, match="backward returned None"):
        check_module_gradients(silent, INPUTS[:1])
    silent.input_grad = False
    check_module_gradients(silent, INPUTS[:1])


def test_upstream_like():
    """Fixed, and nowhere near zero"""
    weights = upstream_like(np.zeros((50, 50)))
    assert (weights == upstream_like(np.zeros((50, 50)))).all()
    assert np.abs(weights).min() >= 0.1 and abs(weights.mean()) < 0.1


def test_measuring():
    """Growth, ratios and memory come out right on code whose costs are known"""
    table = lambda n: lambda: np.zeros((n, n)).sum()
    assert 1.9 < growth_exponent(table, (100, 200, 400), measure="memory") < 2.1
    count = lambda n: lambda: sum(range(n))
    assert 0.7 < growth_exponent(count, (4000, 16000, 64000)) < 1.3
    assert time_ratio(count(64000), count(4000)) > 5
    assert 8_000_000 <= peak_memory(lambda: np.ones(1_000_000)) < 8_010_000


def test_measured_ladder():
    """A ladder becomes a table, with a row for what is missing"""
    calls = {"level 1": lambda: sum(range(2000)), "level 2": lambda: np.arange(2000).sum()}
    ladder = Ladder("sum", calls, "O(n)")
    result = measure(ladder, budget=0.05)
    assert [row.level for row in result.rows] == ["level 1", "level 2"]
    assert result.ratio("level 1") is None and result.speedup("level 1", "level 2") > 1
    assert "| level 1 |" in result._repr_markdown_() and "O(n)" in str(result)
    pair = measure(Ladder("sum", {"level 1": lambda: sum(range(2000)), "level 4": lambda: 0}), budget=0.05)
    assert pair.ratio("level 1") > 1 and pair.ratio("level 1", to="best PyTorch") == pair.ratio("level 1")
    for level, to in (("level 4", "level 4"), ("level 4", "best PyTorch")):
        expect_value_error("ratio", pair.ratio, level, to)
    expect_value_error("level", pair.ratio, "level 2")
    rows = Together([result, pair])._repr_markdown_().splitlines()[2:]
    assert rows[0].startswith("| sum | 1 |") and rows[1].startswith("|  | 2 |")
    assert rows[-2].startswith("| sum | 1 |") and rows[-1].startswith("|  | 4 |")


def test_ratio_of_single_numbers():
    """A sum for a mean is seven times as much, also where the result is one number"""
    assert "got = 7 * expected" in diagnose(np.array(-9.1), np.array(-1.3))
    assert "got = 0.2 * expected" in diagnose(np.array(0.26), np.array(1.3))
    assert "factor" not in diagnose(np.array(1.7), np.array(1.3))
    assert "got = 2.6 * expected" in diagnose(np.array([2.6, 5.2, 13.0]), np.array([1.0, 2.0, 5.0]))


def test_round_numbers_are_no_float16():
    """Slopes that are powers of two are float16 numbers by themselves; a computation in float16 is still seen"""
    slopes = 2.0 ** -np.arange(1.0, 9.0)
    assert "float16" not in diagnose(slopes * 1.0, slopes * (1.0 + 0.05 * np.sin(np.arange(8.0))))
    x = rng(3).standard_normal(40)
    assert "computed in float16" in diagnose(x.astype(np.float16).astype(float), x)
    assert "computed in float32" in diagnose(x.astype(np.float32).astype(float), x, 1e-9)


def test_a_module_is_left_as_it_was():
    """float32 parameters stay float32, in the same arrays, with the gradients they had"""
    class P:
        data, grad = np.ones((2, 3), np.float32), np.full((2, 3), 5.0, np.float32)

    class M:
        p = P()

        def parameters(self):
            return [self.p]

        def forward(self, x):
            self.x = x
            return x @ self.p.data

        def backward(self, d):
            self.p.grad = self.x.T @ d
            return d @ self.p.data.T
    m, data, grad = M(), P.data, P.grad
    check_module_gradients(m, [rng(1).standard_normal((4, 2))])
    assert m.p.data is data and m.p.grad is grad
    m.backward = lambda d: 0 * m.x
    with pytest.raises(Mismatch):
        check_module_gradients(m, [rng(1).standard_normal((4, 2))])
    assert m.p.data is data and m.p.grad is grad
