# Tangled from chapters/06-backpropagation.qmd; edit the chapter, then run make tangle. sha256:a085a7a560c4a4ee
"""Chapter 06: what is empty, extreme, not a number, or invalid."""

import numpy as np
import pytest

from tangled.testing import (
    assert_close,
    assert_dtypes,
    assert_layouts,
    assert_repeatable,
    expect_value_error,
    rng,
)

pytestmark = pytest.mark.edge
classes = pytest.mark.levels(1, 2, 3)
ones = np.ones


OPS = {"linear": [rng(1).standard_normal(s) for s in ((2, 5, 3), (3, 4), (4,))],
       "relu": [rng(2).standard_normal((2, 5, 3))],
       "softmax_cross_entropy": [3 * rng(3).standard_normal((2, 5, 3)),
                                 rng(3).integers(0, 3, (2, 5))],
       "mse": [rng(k).standard_normal((2, 5, 3)) for k in (4, 5)],
       "mlp_forward": [rng(6).standard_normal((7, 3)),
                       [tuple(rng(k).standard_normal(s) for k, s in enumerate(pair))
                        for pair in (((3, 4), (4,)), ((4, 2), (2,)))]]}


def pair(level, name):
    """An op and its backward, whose results are arrays or tuples of them."""
    backward = getattr(level, name.removesuffix("_forward") + "_backward")
    return getattr(level, name), lambda *given, **out: flat(backward(*given, **out))


def flat(grads):
    """Gradients as one array, or as one flat tuple of arrays."""
    if isinstance(grads, tuple):
        return tuple(a for g in grads for a in (g if isinstance(g, list) else [g])
                     for a in (a if isinstance(a, tuple) else [a]))
    return grads


@pytest.mark.parametrize("name", OPS)
def test_any_layout(level, level_number, name):
    """Gradients do not depend on how arrays lie in memory, nor on where level 3 writes them."""
    op, backward = pair(level, name)
    given = backward if level_number == 3 and name != "mlp_forward" else None
    assert_layouts(op, OPS[name], backward, backward_out=given and True)


@pytest.mark.parametrize("name", OPS)
def test_called_again(level, name):
    """A cache serves twice, for another upstream gradient too, and after another forward pass."""
    assert_repeatable(*[pair(level, name)[0], OPS[name], pair(level, name)[1]])


@pytest.mark.levels(1, 2, 3)
@pytest.mark.parametrize("name", OPS)
def test_every_dtype(level, name):
    """float16, 32 and 64 in, gradients of the same out, and right to its last digits."""
    op, backward = pair(level, name)
    extremes = {"softmax_cross_entropy": [[np.array([[6e4, -6e4, 0], [9, 8, 7]]), np.array([2, 1])]],
                "relu": [[np.array([6e4, -6e4, 6e-8])]]}.get(name, ())
    assert_dtypes(op, OPS[name], f_backward=backward, scales=(1.0, 0.01), extremes=extremes,
                  tol={2: 8e-3})


@pytest.mark.levels(1, 2, 3)
def test_many_rows_of_float16(level, level_number):
    """A bias sums over the batch: 4,099 ones of float16 are 4,100, not 2,048."""
    n = 99 if level_number == 1 else 4099
    out, cache = level.linear(ones((n, 2), np.float16), ones((2, 3), np.float16), ones(3, np.float16))
    _, dW, db = level.linear_backward(ones(out.shape, np.float16), cache)
    assert_close(db, np.full(3, n, np.float16), dtype=np.float16, what="db")
    assert_close(dW, np.full((2, 3), n, np.float16), dtype=np.float16, what="dW")


def test_infinite_gradient_at_a_closed_gate(level):
    """Nothing passes a unit that is off, be it infinite or not a number; what is on passes all."""
    _, cache = level.relu(np.array([-1.0, 2.0, 0.0, 3.0, -4.0, 5.0]))
    dout = np.array([np.inf, np.inf, np.nan, -np.inf, -7.0, np.nan])
    for invalid in ("ignore", "raise"):                         # the values; and that none was made on the way
        with np.errstate(invalid=invalid):
            dx = level.relu_backward(dout, cache)
        assert_close(dx, np.array([0.0, np.inf, 0.0, -np.inf, 0.0, np.nan]), what="dx")


def test_no_features(level):
    """Layers of 0 inputs or 0 outputs have gradients of those shapes."""
    for lead in ((2,), (2, 5)):
        out, cache = level.linear(ones((*lead, 0)), ones((0, 3)), ones(3))
        dx, dW, db = level.linear_backward(2 * out, cache)
        rows = float(np.prod(lead))
        assert dx.shape == (*lead, 0) and dW.shape == (0, 3)
        assert_close(db, np.full(3, 2 * rows), what="db")
        out, cache = level.linear(ones((*lead, 3)), ones((3, 0)), ones(0))
        dx, dW, db = level.linear_backward(out, cache)
        assert dW.shape == (3, 0) and db.shape == (0,)
        assert_close(dx, np.zeros((*lead, 3)), what="dx")


def test_numbers_without_axes(level):
    """The gradient of a single number is an array of no axes."""
    _, cache = level.relu(np.array(3.0))
    dx = level.relu_backward(np.array(2.0), cache)
    _, cache = level.mse(np.array(3.0), np.array(1.0))
    dpred = level.mse_backward(1.0, cache)
    assert isinstance(dx, np.ndarray) and isinstance(dpred, np.ndarray)
    assert_close((dx, dpred), (np.array(2.0), np.array(4.0)), what="gradients")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_extreme_logits(level, dtype):
    """Logits of 1e4: gradients of exactly -1/N, 0 and 1/N, without a warning."""
    logits = np.array([[1e4, -1e4, 0], [-1e4, 1e4, 0]], dtype)
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        _, cache = level.softmax_cross_entropy(logits, np.array([0, 0]))
        dlogits = level.softmax_cross_entropy_backward(1.0, cache)
    assert dlogits.dtype == dtype
    assert_close(dlogits, np.array([[0, 0, 0], [-0.5, 0.5, 0]], dtype), what="dlogits")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtype_is_kept(level, dtype):
    """float32 stays float32 in every gradient, whatever the type of dloss."""
    x, W, b = ones((2, 3), dtype), ones((3, 4), dtype), ones(4, dtype)
    out, cache = level.linear(x, W, b)
    assert {g.dtype for g in level.linear_backward(out, cache)} == {np.dtype(dtype)}
    out, cache = level.relu(x)
    assert level.relu_backward(out, cache).dtype == dtype
    for dloss in (2, 2.0, np.float64(2), np.array(2.0)):
        _, cache = level.softmax_cross_entropy(x, [0, 1])
        assert level.softmax_cross_entropy_backward(dloss, cache).dtype == dtype
        _, cache = level.mse(x, 0 * x)
        dpred = level.mse_backward(dloss, cache)
        assert_close(dpred, np.full((2, 3), 2 / 3, dtype), dtype=dtype, what="dpred")


def test_no_rows(level):
    """An empty batch goes through the layers, and leaves gradients of 0."""
    out, cache = level.linear(ones((0, 3)), ones((3, 2)), ones(2))
    dx, dW, db = level.linear_backward(out, cache)
    assert dx.shape == (0, 3) and not dW.any() and not db.any() and dW.shape == (3, 2)
    out, cache = level.relu(ones((0, 2)))
    assert level.relu_backward(out, cache).shape == (0, 2)


def test_input_gradient_can_be_left_out(level):
    """input_grad=False gives None in place of dx, and the other gradients as before."""
    out, cache = level.linear(ones((2, 3)), ones((3, 2)), ones(2))
    dx, dW, db = level.linear_backward(out, cache, input_grad=False)
    assert dx is None
    assert_close(dW, np.full((3, 2), 8.0), what="dW")
    assert_close(db, np.array([8.0, 8.0]), what="db")


def test_not_a_number_stays_in_its_row(level):
    """A NaN in the gradient of one sample spoils dx of that sample, and all of dW."""
    _, cache = level.linear(ones((2, 3)), ones((3, 2)), ones(2))
    dx, dW, _ = level.linear_backward(np.array([[1.0, np.nan], [1.0, 1.0]]), cache)
    assert np.isnan(dx).all(axis=1).tolist() == [True, False]
    assert np.isnan(dW).all(axis=0).tolist() == [False, True]


@pytest.mark.parametrize("op, inputs", [("linear", (ones((2, 3)), ones((3, 4)), ones(4))),
                                        ("relu", (ones((2, 3)),))])
def test_refuses_another_shape(level, op, inputs):
    """A dout that would broadcast, or of integers, is refused by name."""
    out, cache = getattr(level, op)(*inputs)
    for dout in (out[:1], out[..., :1], out[0], out.astype(int), 1.0):
        expect_value_error("dout", getattr(level, op + "_backward"), dout, cache)


def test_refuses_a_loss_gradient_of_many(level):
    """A loss is one number, and so is its gradient."""
    for op, inputs in (("softmax_cross_entropy", (ones((2, 3)), [0, 1])),
                       ("mse", (ones(3), ones(3)))):
        _, cache = getattr(level, op)(*inputs)
        for dloss in (ones(2), "1", None, [1, 2]):
            expect_value_error("dloss", getattr(level, op + "_backward"), dloss, cache)


def trainer(level, model):
    """An engine for classes, with a learning rate of 1."""
    descent = level.GradientDescent(model.parameters(), 1.0)
    return level.Engine(model, level.CrossEntropyLoss(), descent)


@classes
def test_refuses_invalid_parts(level):
    """Loaders without rows or with unequal ones, rates and layers that are none."""
    x, y, model = ones((4, 2), np.float32), np.zeros(4, int), level.Linear(2, 3, rng(0))
    for arrays in (x, (), (x, y[:3]), (x[:0], y[:0]), (x, 1.0)):
        expect_value_error("arrays", level.DataLoader, arrays, 2)
    for size in (0, -1, 2.0, True, None):
        expect_value_error("batch_size", level.DataLoader, (x, y), size)
    for generator in (0, np.random.RandomState(0)):
        expect_value_error("rng", level.DataLoader, (x, y), 2, generator)
        expect_value_error("rng", level.Linear, 2, 3, generator)
    for lr in (0, -1.0, np.nan, np.inf, "1", True):
        expect_value_error("lr", level.GradientDescent, model.parameters(), lr)
    for parameters in ([], [x], 2 * model.parameters()):
        expect_value_error("parameters", level.GradientDescent, parameters, 0.1)
    expect_value_error("modules", level.Sequential, model, np.tanh)
    expect_value_error("data", level.Parameter, [1, 2])
    engine = trainer(level, model)
    expect_value_error("epochs", engine.fit, level.DataLoader((x, y), 2), 0)


@classes
def test_gradients_have_the_shape_of_their_parameter(level):
    """One that would broadcast is refused; None, or another shape or dtype, starts anew."""
    p = level.Parameter(ones(3, np.float32))
    for grad in (ones(1), ones((1, 3)), 1.0):
        expect_value_error("grad", p.accumulate, grad)
    p.grad = None
    level.GradientDescent([p], 0.5).step()
    assert p.data.tolist() == [1, 1, 1]
    p.accumulate(np.full(3, 2, np.float32))
    assert p.grad.tolist() == [2, 2, 2] and p.grad.dtype == np.float32
    for data in (ones(3), ones(4), ones(4, np.float32)):
        p.data = data
        p.zero_grad()
        assert (p.grad.shape, p.grad.dtype) == (data.shape, data.dtype) and not p.grad.any()
    p.zero_grad()
    p.grad[1:] = 3
    assert p.grad.tolist() == [0, 3, 3, 3]
    assert "(4,)" in repr(p) and "float32" in repr(p)


@classes
def test_refuses_a_loader_without_batches(level, capsys):
    """A mean over no samples would be a loss of 0; the first layer gets its dx back."""
    model = level.Linear(2, 3, rng(0))
    engine = trainer(level, model)
    few = level.DataLoader((ones((3, 2), np.float32), np.zeros(3, int)), 4, drop_last=True)
    assert len(few) == 0
    expect_value_error("loader", engine.fit, few, 1)
    expect_value_error("loader", engine.evaluate, few)
    expect_value_error("loader", engine.fit, few, 1, progress="always")
    assert model.input_grad and capsys.readouterr().err == ""


@classes
def test_a_module_without_passes(level):
    """A subclass that forgot forward or backward is told which."""
    for name, call in (("forward", level.Module()), ("backward", level.Module().backward)):
        with pytest.raises(NotImplementedError, match=f"Module has no {name}"):
            call(ones(2))


@classes
def test_backward_needs_a_forward(level):
    """Without a forward pass there is nothing to differentiate: a RuntimeError says so."""
    for module, arguments in ((level.Linear(2, 2, rng(0)), [ones((1, 2))]),
                              (level.ReLU(), [ones(2)]),
                              (level.MSELoss(), []), (level.CrossEntropyLoss(), [])):
        with pytest.raises(RuntimeError, match=r"backward\(\) came before forward\(\)"):
            module.backward(*arguments)


@pytest.mark.levels(3)
def test_losses_go_back_once(level):
    """The gradient stands where its ingredients stood: a second backward is refused."""
    for loss, target in ((level.MSELoss(), ones((2, 3))), (level.CrossEntropyLoss(), [0, 1])):
        loss(0.5 * ones((2, 3)), target)
        loss.backward()
        with pytest.raises(RuntimeError, match="came before forward"):
            loss.backward()


@classes
def test_modules_take_lists_and_check_gradients(level):
    """Numbers in lists are as good as arrays; a dout that is not like the output is refused."""
    assert level.ReLU()([[1.0, -1.0]]).tolist() == [[1, 0]]
    assert level.MSELoss()([1.0, 2.0], [1, 4]) == 2
    assert_close(level.CrossEntropyLoss()([[0.0, 0.0]], [1]), np.array(np.log(2)), what="loss")
    model = level.Linear(2, 2, rng(0))
    for module in (model, level.ReLU()):
        module(ones((4, 2), np.float32))
        for dout in (ones((2, 4), np.float32), ones((1, 2), np.float32), ones((4, 2), int)):
            expect_value_error("dout", module.backward, dout)
    model.input_grad = False
    assert model.backward(ones((4, 2), np.float32)) is None


@classes
def test_mixed_types_are_refused(level):
    """float64 data in a float32 network would silently double the work; it is an error."""
    expect_value_error("W", level.Linear(2, 2, rng(0)), ones((3, 2)))


@classes
def test_empty_sequential_and_last_batch(level):
    """No modules: the identity. A last batch of one sample trains like any other."""
    empty = level.Sequential()
    assert empty.input_grad and len(empty) == 0
    empty.input_grad = False
    assert empty(ones(3)).tolist() == [1, 1, 1] and not empty.parameters()
    model = level.Linear(2, 3, rng(0))
    engine = trainer(level, model)
    loader = level.DataLoader((ones((5, 2), np.float32), np.zeros(5, int)), 4)
    assert engine.fit(loader, 8)["loss"][-1] < 0.1
    assert engine.model.weight.grad.any()


@classes
def test_progress_bar(level, capsys):
    """Nothing is printed where nobody watches; when asked for, one line of ASCII."""
    model = level.Linear(2, 3, rng(0))
    engine = trainer(level, model)
    loader = level.DataLoader((ones((4, 2), np.float32), np.zeros(4, int)), 2)
    engine.fit(loader, 2)
    assert capsys.readouterr() == ("", "")
    engine.fit(loader, 2, progress="always")
    out, err = capsys.readouterr()
    assert out == "" and err.endswith("\n") and err.isascii() and err.count("\n") == 1
    assert "[" + 30 * "#" + "] 4/4  epoch 2/2  loss 0." in err


@classes
def test_progress_bar_is_quiet_and_clean(level, capsys, monkeypatch):
    """Shown on a terminal if wanted, seldom; a shorter line wipes the longer one out."""
    monkeypatch.setattr("time.monotonic", lambda: 5.0)
    model, x = level.Linear(2, 1, rng(0)), ones((4, 2), np.float32)
    descent = level.GradientDescent(model.parameters(), 0.1)
    engine = level.Engine(model, level.MSELoss(), descent)
    loader = level.DataLoader((x, 100 * x[:, :1]), 2)
    history = engine.fit(loader, 4, progress="always")
    _, first, last = capsys.readouterr().err.rstrip("\n").split("\r")
    assert "] 1/8  epoch 1/4" in first
    assert f"] 8/8  epoch 4/4  loss {history['loss'][-1]:.4f}" in last
    assert len(last) == len(first) > len(last.rstrip())
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    engine.fit(level.DataLoader((x, x[:, :1]), 2), 1, progress=False)
    assert capsys.readouterr().err == ""
    engine.fit(level.DataLoader((x, x[:, :1]), 2), 1)
    assert "] 2/2" in capsys.readouterr().err
