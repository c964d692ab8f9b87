# Tangled from chapters/06-backpropagation.qmd; edit the chapter, then run make tangle. sha256:54836b1de8743a4d
"""Chapter 06: gradients, classes, values."""

import numpy as np
import pytest

from tangled.gradients import check_module_gradients
from tangled.t02_autograd import Tensor
from tangled.testing import assert_close, check_gradients, expect_value_error, rng

OPS = {"linear": ["x", "W", "b"], "linear-no-bias": ["x", "W"],
       "linear-sequences": ["x", "W", "b"], "relu": ["x"], "mse": ["pred"],
       "softmax_cross_entropy": ["logits"], "softmax_cross_entropy-extreme": ["logits"],
       "softmax_cross_entropy-sequences": ["logits"]}


@pytest.mark.gradient
@pytest.mark.parametrize("name", OPS)
def test_golden_gradients(level, golden, name):
    """Sums over the batch, closed gates, p - y; the upstream gradient is random."""
    case, op = golden(name), name.partition("-")[0]
    out, cache = getattr(level, op)(**case.inputs)
    assert_close(out, case.outputs["out"], what=op)
    grads = getattr(level, op + "_backward")(case.upstream["out"], cache)
    grads = grads if isinstance(grads, tuple) else (grads,)
    for got, wrt in zip(grads, OPS[name], strict=True):
        assert_close(got, case.grads[wrt], what="d" + wrt)


@pytest.mark.gradient
def test_golden_network(level, golden):
    """Three layers: gradients in the order of the layers, and that of the input."""
    case = golden("mlp")
    layers = list(zip(case.inputs["weights"], case.inputs["biases"]))
    _, cache = level.mlp_forward(case.inputs["x"], layers)
    dx, grads = level.mlp_backward(case.upstream["out"], cache)
    assert_close(dx, case.grads["x"], what="dx")
    for k, (dW, db) in enumerate(grads):
        assert_close(dW, case.grads[f"W{k}"], what=f"dW{k}")
        assert_close(db, case.grads[f"b{k}"], what=f"db{k}")


@pytest.mark.gradient
@pytest.mark.parametrize("shape", [(4, 3), (1, 3), (2, 3, 3)])
def test_linear_by_differences(level, shape):
    """Every entry of dx, dW and db, also for one row and for sequences."""
    x, W, b = (rng(k).standard_normal(s) for k, s in enumerate((shape, (3, 2), (2,))))
    check_gradients(level.linear, level.linear_backward, [x, W, b])
    check_gradients(level.linear, level.linear_backward, [x, W])


@pytest.mark.gradient
def test_losses_by_differences(level):
    """Every entry, with an upstream gradient that is not 1."""
    logits, y = rng(3).standard_normal((5, 4)), np.array([0, 3, 3, 1, 2])
    check_gradients(lambda logits: level.softmax_cross_entropy(logits, y),
                    level.softmax_cross_entropy_backward, [logits])
    target = rng(4).standard_normal((3, 2))
    check_gradients(lambda pred: level.mse(pred, target), level.mse_backward,
                    [rng(5).standard_normal((3, 2))])


@pytest.mark.gradient
def test_relu_by_differences(level):
    """Away from the kink; at 0 itself the slope is taken as 0."""
    x = rng(6).standard_normal((3, 4))
    check_gradients(level.relu, level.relu_backward, [x + np.copysign(0.1, x)])
    _, cache = level.relu(np.array([0.0, 1.0, -1.0]))
    assert level.relu_backward(np.array([5.0, -7.0, 9.0]), cache).tolist() == [0, -7, 0]


@pytest.mark.value
def test_cross_entropy_gradient_sums_to_zero(level):
    """What one class gains the others lose; no entry exceeds its share 1/N (eq. 6.10)."""
    logits, y = 50 * rng(7).standard_normal((6, 5)), np.array([0, 1, 2, 3, 4, 0])
    _, cache = level.softmax_cross_entropy(logits, y)
    dlogits = level.softmax_cross_entropy_backward(1.0, cache)
    assert_close(dlogits.sum(axis=1), np.zeros(6), tol=1e-12, what="row sums")
    assert 0.1 < np.abs(dlogits).max() <= 1 / 6


def engine_gradients(x, y, layers, squared):
    """Loss and gradients of x and of each layer's W and b, by Chapter 02's engine."""
    leaves = [Tensor(x), *(Tensor(a) for pair in layers for a in pair)]
    h = leaves[0]
    for k in range(len(layers)):
        h = (h.relu() if k else h) @ leaves[2 * k + 1] + leaves[2 * k + 2]
    if squared:
        loss = ((h - y) * (h - y)).mean()
    else:
        largest = h.data.max(axis=1, keepdims=True)
        log_sum = (h - largest).exp().sum(axis=1).log() + largest[:, 0]
        loss = (log_sum - h[np.arange(len(y)), y]).mean()
    loss.backward()
    return loss.data, [leaf.grad for leaf in leaves]


@pytest.mark.gradient
@pytest.mark.parametrize("squared", [False, True])
def test_every_gradient_equals_the_engines(level, squared):
    """The ops, chained by hand, against reverse-mode differentiation of one program."""
    generator = rng(8)
    layers = [(generator.standard_normal(s), generator.standard_normal(s[1]))
              for s in ((4, 6), (6, 5), (5, 3))]
    x = generator.standard_normal((7, 4))
    y = generator.standard_normal((7, 3)) if squared else generator.integers(0, 3, 7)
    name = "mse" if squared else "softmax_cross_entropy"
    out, cache = level.mlp_forward(x, layers)
    loss, of_loss = getattr(level, name)(out, y)
    dx, grads = level.mlp_backward(getattr(level, name + "_backward")(1.0, of_loss), cache)
    expected_loss, expected = engine_gradients(x, y, layers, squared)
    assert_close(loss, expected_loss, tol=1e-9, what="loss")
    for k, got in enumerate([dx, *(g for pair in grads for g in pair)]):
        assert_close(got, expected[k], tol=1e-9, what=f"gradient {k}")


@pytest.mark.value
def test_worked_trace(level):
    """The numbers of the chapter's table; the closed gate blocks."""
    layers = [(np.array([[0.5, -1.0], [0.25, 0.5]]), np.array([0.0, -0.5])),
              (np.array([[2.0, 0.0, -1.0], [1.0, -1.0, 1.0]]), np.array([0.0, 0.5, 0.0]))]
    logits, cache = level.mlp_forward(np.array([[1.0, 2.0]]), layers)
    _, of_loss = level.softmax_cross_entropy(logits, np.array([0]))
    dlogits = level.softmax_cross_entropy_backward(1.0, of_loss)
    _, ((dW1, db1), (dW2, _)) = level.mlp_backward(dlogits, cache)
    assert_close(dlogits, np.array([[-0.2144, 0.1753, 0.0391]]), tol=5e-4, what="dlogits")
    assert_close(db1, np.array([-0.4679, 0.0]), tol=5e-4, what="db1")
    assert_close(dW1, np.array([[-0.4679, 0.0], [-0.9358, 0.0]]), tol=5e-4, what="dW1")
    assert not dW2[1].any()


classes = pytest.mark.levels(1, 2, 3)


def network(level, seed=0, sizes=(3, 5, 4)):
    """Linear, ReLU, Linear."""
    generator = rng(seed)
    return level.Sequential(level.Linear(*sizes[:2], generator), level.ReLU(),
                            level.Linear(*sizes[1:], generator))


@classes
@pytest.mark.gradient
def test_modules_by_differences(level):
    """Every parameter of a network, and its input, through forward and backward alone."""
    check_module_gradients(network(level), [rng(1).standard_normal((4, 3))])
    sequences = rng(3).standard_normal((2, 5, 3))
    check_module_gradients(level.Linear(3, 2, rng(2), bias=False), [sequences])


@classes
@pytest.mark.gradient
def test_loss_modules_by_differences(level):
    """The classes start the backward pass with 1: the gradient of what they returned."""
    pred, target = rng(4).standard_normal((3, 2)), rng(5).standard_normal((3, 2))
    for make, t in ((level.MSELoss, target), (level.CrossEntropyLoss, np.array([1, 0, 1]))):
        def backward(dout, loss):
            return dout * loss.backward()

        def forward(pred, make=make, t=t):
            loss = make()
            return np.float64(loss(pred, t)), loss
        check_gradients(forward, backward, [pred])


@classes
@pytest.mark.gradient
def test_gradients_add_up(level):
    """Two backward passes give twice the gradient; zero_grad forgets, in place."""
    model, x = network(level), rng(1).standard_normal((4, 3)).astype(np.float32)
    dout = rng(2).standard_normal((4, 4)).astype(np.float32)
    first = []
    for times in (1, 2):
        model(x)
        model.backward(dout)
        for k, p in enumerate(model.parameters()):
            first.append(p.grad.copy())
            assert_close(p.grad, times * first[k], what=f"after {times} passes")
    arrays = [p.grad for p in model.parameters()]
    model.zero_grad()
    for p, array in zip(model.parameters(), arrays):
        assert p.grad is array and not p.grad.any() and np.abs(first[0]).max() > 0
        p.grad = None
    model(x)
    model.backward(dout)
    for k, p in enumerate(model.parameters()):
        assert_close(p.grad, first[k], what="after None")


@pytest.mark.gradient
@pytest.mark.levels(3)
def test_gradients_into_given_arrays(level):
    """Level 3 writes where it is told, also over what it reads."""
    x, dout = rng(1).standard_normal((2, 4, 3))
    _, kept = level.relu(x)
    expected = level.relu_backward(dout, kept)
    assert level.relu_backward(dout, kept, out=dout) is dout and np.array_equal(dout, expected)
    y = np.array([0, 1, 2, 1])
    _, (p, _) = level.softmax_cross_entropy(x, y)
    expected = level.softmax_cross_entropy_backward(2.0, (p.copy(), y))
    assert level.softmax_cross_entropy_backward(2.0, (p, y), out=p) is p
    assert np.array_equal(p, expected)
    _, difference = level.mse(x, 0 * x)
    expected = level.mse_backward(2.0, difference.copy())
    assert level.mse_backward(2.0, difference, out=difference) is difference
    assert np.array_equal(difference, expected)
    W, room = rng(2).standard_normal((3, 5)), np.empty((4, 3))
    out, cache = level.linear(x, W)
    expected = level.linear_backward(out, cache)[0]
    assert level.linear_backward(out, cache, out=room)[0] is room
    assert np.array_equal(room, expected)


@classes
@pytest.mark.gradient
def test_shared_parameter(level):
    """A parameter used by two modules is listed once and receives both gradients."""
    model = level.Sequential(level.Linear(3, 3, rng(0), bias=False), level.ReLU(),
                             level.Linear(3, 3, rng(1), bias=False))
    model[2].weight = model[0].weight
    assert [name for name, _ in model.named_parameters()] == ["0.weight"]
    check_module_gradients(model, [rng(2).standard_normal((4, 3))])


@classes
@pytest.mark.value
def test_names_and_modes(level):
    """Paths of attributes, in their order; train and eval reach every module."""
    class Block(level.Module):
        def __init__(self):
            self.first = level.Linear(2, 2, rng(0))
            self.scale = level.Parameter(np.ones(2, np.float32))
            self.rest = [level.Linear(2, 1, rng(0), bias=False), level.ReLU()]
            self.mean = np.zeros(3)

        def buffers(self):
            return {"mean": self.mean}

    block = Block()
    names = ["first.weight", "first.bias", "scale", "rest.0.weight"]
    assert [name for name, _ in block.named_parameters()] == names
    assert list(block.state_dict()) == [*names, "mean"] and len(block.parameters()) == 4
    assert block.eval() is block and not block.rest[1].training and not block.first.training
    block.train()
    assert block.training and block.rest[1].training


def tree(level, depth=2):
    """Modules in attributes, lists, tuples and dicts, with parameters and buffers at each depth."""
    class Node(level.Module):
        buffer_names = ("count", "mean")

        def __init__(self, depth):
            self.scale = level.Parameter(np.full(2, depth, np.float32))
            self.blocks = [[level.Linear(2, 3, rng(depth))], (level.ReLU(),)]
            self.count, self.mean = np.array(depth), np.full(3, depth / 2, np.float32)
            self.by_name = {"up": Node(depth - 1), "left": level.Linear(3, 1, rng(9), False)} \
                if depth else {}
            self.cache = (self.scale, [level.ReLU()])       # what is kept is no member
    return Node(depth)


NODE = ["scale", "blocks.0.0.weight", "blocks.0.0.bias"]
PATHS = [*NODE, *("by_name.up." + name for name in NODE),
         *("by_name.up.by_name.up." + name for name in NODE),
         "by_name.up.by_name.left.weight", "by_name.left.weight"]


@classes
@pytest.mark.value
def test_every_depth(level):
    """Names, modes, states and gradients of modules in lists, tuples and dicts, three levels deep."""
    model = tree(level)
    assert [name for name, _ in model.named_parameters()] == PATHS
    assert len(model.parameters()) == len(PATHS)
    names = [name for name, _ in model.named_modules()]
    assert names[:4] == ["", "blocks.0.0", "blocks.1.0", "by_name.up"]
    assert len(names) == 11 == len(model.modules()) and names[-1] == "by_name.left"
    assert [m for _, m in model.named_modules()] == model.modules() and model.modules()[0] is model
    for mode, switch in ((False, model.eval), (True, model.train), (False, lambda: model.train(False))):
        assert switch() is model
        assert [m.training for m in model.modules()] == [mode] * 11
    state = model.state_dict()
    buffers = [f"{path}{name}" for path in ("", "by_name.up.", "by_name.up.by_name.up.")
               for name in ("count", "mean")]
    assert sorted(state) == sorted([*PATHS, *buffers])
    assert state["by_name.up.by_name.up.mean"].dtype == np.float32
    for k, p in enumerate(model.parameters()):
        p.accumulate(np.full(p.data.shape, k + 1.0))
    model.by_name["up"].zero_grad()
    gone = [not p.grad.any() for p in model.parameters()]
    assert gone == [name.startswith("by_name.up") for name in PATHS]


@classes
@pytest.mark.value
def test_states_of_every_depth(level):
    """A deep state travels whole: parameters and buffers, integers too, in place."""
    model, other = tree(level), tree(level)
    for p in model.parameters():
        p.data += 1
    deep, deep_other = (m.by_name["up"].by_name["up"] for m in (model, other))
    deep.mean += 7
    deep.count += 5
    kept, state = deep_other.mean, model.state_dict()
    other.load_state_dict(state)
    assert deep_other.mean is kept
    assert_close(other.state_dict(), state, what="state")
    assert_close(kept, np.full(3, 7, np.float32), what="buffer")
    assert deep_other.count == 5 and deep_other.count.dtype.kind == "i"
    state["by_name.up.by_name.up.mean"][:] = 0
    assert_close(deep.mean, np.full(3, 7, np.float32), what="a buffer after its copy was changed")
    lacks = {name: a for name, a in model.state_dict().items() if not name.endswith("up.mean")}
    expect_value_error("state", model.load_state_dict, lacks)
    words = {name: a.astype(str) for name, a in model.state_dict().items()}
    with pytest.raises(ValueError, match=r"state\['scale'\] has dtype .*expected float32"):
        model.load_state_dict(words)


@classes
@pytest.mark.value
@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_astype(level, dtype):
    """All floats change their type, at any depth; integers, ties and values stay; gradients are 0."""
    model = tree(level)
    model.tied = model.blocks[0][0].weight
    model.by_name["left"].bias = model.tied
    before = model.state_dict()
    for p in model.parameters():
        p.accumulate(np.ones(p.data.shape, np.float32))
    assert model.astype(dtype) is model and model.cache is None
    after = model.state_dict()
    assert after.keys() == before.keys()
    for name, array in after.items():
        wanted = before[name].dtype if name.endswith("count") else dtype
        assert_close(array, before[name].astype(wanted), dtype=wanted, what=name)
    assert model.tied is model.blocks[0][0].weight is model.by_name["left"].bias
    for p in model.parameters():
        assert_close(p.grad, np.zeros(p.data.shape, dtype), dtype=dtype, what="gradient")
    for wrong in (int, complex, bool, "no type"):
        expect_value_error("dtype", model.astype, wrong)


@classes
@pytest.mark.gradient
def test_tied_weights(level):
    """One Parameter in two modules: one entry, two names in the state, one gradient: the sum."""
    class Tied(level.Module):
        def __init__(self):
            self.read, self.write = level.Linear(3, 4, rng(0)), level.Linear(3, 4, rng(1), False)
            self.write.weight = self.read.weight

        def forward(self, x, z):
            return self.read(x), self.write(z)

        def backward(self, douts):
            return self.read.backward(douts[0]), self.write.backward(douts[1])
    model = Tied()
    assert [name for name, _ in model.named_parameters()] == ["read.weight", "read.bias"]
    assert list(model.state_dict()) == ["read.weight", "read.bias", "write.weight"]
    x, z = (rng(k).standard_normal((5, 3)).astype(np.float32) for k in (2, 3))
    dx, dz = (rng(k).standard_normal((5, 4)).astype(np.float32) for k in (4, 5))
    model(x, z)
    model.backward((dx, dz))
    assert_close(model.read.weight.grad, x.T @ dx + z.T @ dz, what="gradient of the tied weight")
    level.GradientDescent(model.parameters(), 0.5).step()
    assert model.write.weight.data is model.read.weight.data
    errors = level.gradient_check(model, (x, z), rng(6))
    assert list(errors) == ["x0", "x1", "read.weight", "read.bias"]
    assert_close(np.array(list(errors.values())), np.zeros(4), tol=1e-6, what="errors")


@classes
@pytest.mark.value
def test_gradients_belong_to_their_parameter(level):
    """accumulate copies: two parameters never share a gradient, and the caller's array stays."""
    one, other, grad = level.Parameter(np.zeros(3)), level.Parameter(np.zeros(3)), np.arange(3.0)
    for start in ("zeros", "None"):
        for p in (one, other):
            p.grad = None if start == "None" else np.zeros(3)
            p.accumulate(grad)
        one.accumulate(grad)
        assert_close(one.grad, 2 * np.arange(3.0), what="added twice")
        assert_close(other.grad, np.arange(3.0), what="added once")
        assert_close(grad, np.arange(3.0), what="the caller's array")
        grad += 1
        assert_close(other.grad, np.arange(3.0), what="added once, then the array changed")
        grad -= 1
    data = np.ones(3)
    p = level.Parameter(data)
    data += 1
    assert_close(p.data, np.ones(3), what="data of a Parameter, a copy")


@classes
@pytest.mark.value
def test_a_list_of_inputs(level):
    """Several inputs and options reach forward; a float mask and integers are no inputs to check."""
    class Pick(level.Module):
        def __init__(self):
            self.table = level.Parameter(rng(0).standard_normal((4, 3)))

        def forward(self, rows, scale, shift=0.0):
            self.cache = rows, scale
            return self.table.data[rows] * scale + shift

        def backward(self, dout):
            rows, scale = self.kept()
            grad = np.zeros_like(self.table.data)
            np.add.at(grad, rows, dout * scale)
            self.table.accumulate(grad)
            return None, (dout * self.table.data[rows]).sum(axis=1, keepdims=True)
    model, rows, scale = Pick(), np.array([2, 0, 2]), np.array([[1.0], [2.0], [-1.0]])
    expected = model.table.data[rows] * scale
    assert_close(model(rows, scale), expected, what="out")
    assert_close(model(rows, scale, shift=2.0), expected + 2, what="with an option")
    errors = level.gradient_check(model, (rows, scale), rng(1))
    assert list(errors) == ["x1", "table"] and max(errors.values()) < 1e-6


@classes
@pytest.mark.value
def test_state_travels(level):
    """A state is a copy; loading writes into what is there, or not at all."""
    one, other = network(level, 1), network(level, 2)
    state, arrays = one.state_dict(), [p.data for p in other.parameters()]
    other.load_state_dict(state)
    x = rng(3).standard_normal((4, 3)).astype(np.float32)
    assert np.array_equal(one(x), other(x))
    assert all(p.data is array for p, array in zip(other.parameters(), arrays))
    state["0.weight"][:] = 0
    assert one.state_dict()["0.weight"].all()
    before = other.state_dict()
    for wrong in ({**before, "2.bias": np.ones(3)}, {"0.weight": np.ones((3, 5))},
                  {**before, "3.b": 1}):
        with pytest.raises(ValueError, match=r"state.*expected"):
            other.load_state_dict({name: 0 * np.asarray(a) for name, a in wrong.items()})
    with pytest.raises(ValueError, match=r"state lacks \['0.bias'\] and has unknown \['b'\]"):
        other.load_state_dict({"b" if name == "0.bias" else name: a
                               for name, a in before.items()})
    assert all(np.array_equal(a, before[name]) for name, a in other.state_dict().items())


@classes
@pytest.mark.value
def test_training_equals_pytorch(level, golden):
    """Twenty steps of Engine: the losses and all final weights are torch.optim.SGD's."""
    case = golden("training")
    model = level.Sequential(level.Linear(4, 7, rng(0)), level.ReLU(),
                             level.Linear(7, 6, rng(0)), level.ReLU(),
                             level.Linear(6, 3, rng(0)))
    linears = [model[0], model[2], model[4]]
    for layer, W, b in zip(linears, case.inputs["weights"], case.inputs["biases"]):
        layer.weight.data, layer.bias.data = W.copy(), b.copy()
    model.zero_grad()
    descent = level.GradientDescent(model.parameters(), case.inputs["lr"])
    engine = level.Engine(model, level.CrossEntropyLoss(), descent)
    loader = level.DataLoader((case.inputs["x"], case.inputs["y"]), batch_size=8)
    history = engine.fit(loader, case.inputs["steps"], progress=False)
    assert_close(np.array(history["loss"]), case.outputs["losses"], tol=1e-9, what="losses")
    for k, layer in enumerate(linears):
        assert_close(layer.weight.data, case.outputs[f"W{k}"], tol=1e-9, what=f"W{k}")
        assert_close(layer.bias.data, case.outputs[f"b{k}"], tol=1e-9, what=f"b{k}")


@classes
@pytest.mark.value
def test_loader(level):
    """Rows stay together, a sample comes once an epoch, each epoch has its own order."""
    x, y = np.arange(20.0).reshape(10, 2), np.arange(10)
    loader = level.DataLoader((x, y), 4, rng(0))
    epochs = [list(loader) for _ in range(2)]
    for batches in epochs:
        assert [len(b) for _, b in batches] == [4, 4, 2] and len(loader) == 3
        assert all(np.array_equal(a[:, 0], 2 * b) for a, b in batches)
        drawn = np.sort(np.concatenate([b for _, b in batches]))
        assert_close(drawn, np.arange(10), what="samples of an epoch")
    orders = [np.concatenate([b for _, b in batches]).tolist() for batches in epochs]
    assert orders[0] != orders[1] != list(range(10))
    again = level.DataLoader((x, y), 4, rng(0))
    assert np.concatenate([b for _, b in again]).tolist() == orders[0]
    alone = list(level.DataLoader((y,), 4))
    assert len(alone) == 3 and alone[2][0].tolist() == [8, 9]
    in_order = level.DataLoader((x, y), 4, drop_last=True)
    assert np.concatenate([b for _, b in in_order]).tolist() == list(range(8))
    assert len(in_order) == 2


@classes
@pytest.mark.value
def test_history(level):
    """Means over samples, not batches; accuracies for classes only; hooks are called."""
    x, y = rng(1).standard_normal((10, 3)).astype(np.float32), np.array([0, 1, 2, 3, 0] * 2)
    model, calls = network(level), []
    descent = level.GradientDescent(model.parameters(), 1e-9)
    engine = level.Engine(model, level.CrossEntropyLoss(), descent)
    loader = level.DataLoader((x, y), 4)
    logits = model.eval()(x)
    expected = {"loss": level.CrossEntropyLoss()(logits, y),
                "accuracy": float(np.mean(logits.argmax(1) == y))}
    found = engine.evaluate(loader)
    assert found.keys() == expected.keys() and not model.training
    history = engine.fit(loader, 5, loader, on_step=lambda: calls.append(1),
                         on_epoch=lambda history: len(history["loss"]) == 2)
    assert list(history) == ["loss", "accuracy", "validation_loss", "validation_accuracy"]
    assert len(history["loss"]) == 2 and len(calls) == 6
    assert model.training and model.input_grad
    for name, value in expected.items():
        assert_close(np.array(found[name]), np.array(value), what=name)
        assert_close(np.array(history[name]), np.full(2, value), what=name)
    x3, y3 = np.stack([x, -x], axis=1), np.stack([y, y[::-1]], axis=1)     # (10, 2, 3), (10, 2)
    engine.model = level.Linear(3, 4, rng(0))
    right = float(np.mean(engine.model(x3).argmax(axis=2) == y3))
    assert engine.evaluate(level.DataLoader((x3, y3), 4))["accuracy"] == right > 0
    model = level.Linear(3, 1, rng(0))
    descent = level.GradientDescent(model.parameters(), 0.1)
    engine = level.Engine(model, level.MSELoss(), descent)
    assert list(engine.fit(level.DataLoader((x, x[:, :1]), 5), 1)) == ["loss"]
    assert list(engine.evaluate(level.DataLoader((x, y[:, None]), 5))) == ["loss"]

    class OfColumn(level.MSELoss):
        def forward(self, pred, target):
            return super().forward(pred[:, 0], target)
    engine.loss = OfColumn()
    assert list(engine.evaluate(level.DataLoader((x, x[:, 0]), 5))) == ["loss"]


@classes
@pytest.mark.value
def test_models_of_two_inputs(level):
    """The last array of a batch is the target, all before it are inputs."""
    class OfSum(level.Linear):
        def forward(self, a, b):
            return super().forward(a + b)
    model, x = OfSum(3, 4, rng(0)), rng(1).standard_normal((6, 3)).astype(np.float32)
    descent = level.GradientDescent(model.parameters(), 0.1)
    engine = level.Engine(model, level.CrossEntropyLoss(), descent)
    loader = level.DataLoader((x, -x, np.arange(6) % 4), 6)
    history = engine.fit(loader, 1, validation=loader)
    assert list(history) == ["loss", "accuracy", "validation_loss", "validation_accuracy"]
    assert_close(np.array(history["loss"]), np.array([np.log(4)]), what="loss of sums 0")


@classes
@pytest.mark.value
def test_modes_and_loaders_of_lists(level):
    """fit trains in training mode, evaluate looks in evaluation mode; any iterable is a loader."""
    class Spy(level.ReLU):
        def forward(self, x):
            modes.append(self.training)
            return super().forward(x)
    modes, wanted, x = [], [], rng(1).standard_normal((4, 3)).astype(np.float32)
    model = level.Sequential(level.Linear(3, 5, rng(0)), Spy(), level.Linear(5, 4, rng(0)))
    assert len(model) == 3 and model[1].training
    descent = level.GradientDescent(model.parameters(), 0.1)
    engine = level.Engine(model, level.CrossEntropyLoss(), descent)
    loader = [(x, [0, 1, 2, 3]), (x[:1], [2])]
    look = lambda: wanted.append(model[0].input_grad)
    history = engine.fit(loader, 2, validation=loader, on_step=look)
    assert wanted == 4 * [False] and model[0].input_grad
    model.input_grad = False
    engine.fit(loader, 1)
    assert not model[0].input_grad and not model.input_grad
    assert modes == 2 * [True, True, False, False] + [True, True] and model.training
    assert list(history) == ["loss", "accuracy", "validation_loss", "validation_accuracy"]


@classes
@pytest.mark.value
def test_arrays_stay_where_they_are(level):
    """Gradients and steps change the arrays that others may hold; a loss is a Python float."""
    model = level.Linear(3, 4, rng(0))
    arrays = [(p.data, p.grad) for p in model.parameters()]
    engine = level.Engine(model, level.CrossEntropyLoss(), level.GradientDescent(model.parameters(), 0.5))
    loss, _ = engine.step(rng(1).standard_normal((5, 3)).astype(np.float32), np.array([0, 1, 2, 3, 0]))
    model.parameters()[0].accumulate(np.ones((3, 4), np.float32))
    for p, (data, grad) in zip(model.parameters(), arrays):
        assert p.data is data and p.grad is grad
    assert type(loss) is float
    assert type(level.MSELoss()(np.ones(3, np.float32), np.zeros(3, np.float32))) is float


@classes
@pytest.mark.value
def test_how_a_layer_starts(level):
    """Kaiming's deviation for the layer's inputs, biases of 0, no bias where none is wanted."""
    for n_in, n_out in ((80, 250), (250, 80)):
        layer = level.Linear(n_in, n_out, rng(1))
        assert_close(layer.weight.data.std(), np.sqrt(2 / n_in), tol=0.03, what="deviation")
        assert_close(layer.bias.data, np.zeros(n_out, np.float32), dtype=np.float32, what="bias")
    assert level.Linear(2, 3, rng(1), bias=False).bias is None


@classes
@pytest.mark.gradient
def test_two_layers(level):
    """Two modules, without anything between them, go back in the opposite order."""
    model = level.Sequential(level.Linear(3, 4, rng(0)), level.Linear(4, 2, rng(1)))
    check_module_gradients(model, [rng(2).standard_normal((5, 3))])


@classes
@pytest.mark.value
def test_a_module_held_twice(level):
    """A module on two paths is listed once, under the first of them, with its parameters."""
    class Pair(level.Module):
        def __init__(self):
            self.first = level.Linear(2, 3, rng(0))
            self.again = [self.first, level.ReLU()]
    names = [name for name, _ in Pair().named_modules()]
    assert names == ["", "first", "again.1"]
    assert [name for name, _ in Pair().named_parameters()] == ["first.weight", "first.bias"]


@classes
@pytest.mark.gradient
def test_gradient_check_is_strict(level):
    """It leaves the module alone, weighs outputs at random, and takes its step from the caller."""
    class Shares(level.Module):
        def forward(self, x):
            return x / x.sum(axis=1, keepdims=True)         # rows sum to 1, whatever x is

        def backward(self, dout):
            return 0 * dout                                 # right for weights of 1 only

    class Cube(level.Module):
        def forward(self, x):
            self.cache = x
            return x ** 3

        def backward(self, dout):
            return 3 * self.kept() ** 2 * dout
    x = 1 + rng(1).random((3, 4))
    assert level.gradient_check(Shares(), x, rng(2))["x"] > 0.5
    assert level.gradient_check(Cube(), x, rng(2))["x"] < 1e-6
    assert level.gradient_check(Cube(), x, rng(2), step=0.3)["x"] > 0.01
    model = network(level)
    model(np.ones((2, 3), np.float32))
    for p in model.parameters():
        p.accumulate(np.full(p.data.shape, 2.0))
    before = model.state_dict()
    level.gradient_check(model, rng(3).standard_normal((4, 3)), rng(4))
    for name, p in model.named_parameters():
        assert_close(p.data, before[name], dtype=np.float32, what=name)
        assert_close(p.grad, np.full(p.data.shape, 2, np.float32), dtype=np.float32, what="d" + name)


@classes
@pytest.mark.value
def test_hook_before_the_update(level):
    """What on_step does to the gradients is what the update sees: a clipped step is a clipped step."""
    x, y = rng(1).standard_normal((6, 3)).astype(np.float32), np.array([0, 1, 2, 3, 0, 1])
    model = level.Linear(3, 4, rng(0))
    before, seen = model.state_dict(), []

    def clip():
        seen.append(float(np.abs(model.weight.grad).max()))
        for p in model.parameters():
            p.grad = np.full(p.data.shape, 0.25, np.float32)
    engine = level.Engine(model, level.CrossEntropyLoss(), level.GradientDescent(model.parameters(), 2.0))
    engine.step(x, y, on_step=clip)
    for name, array in model.state_dict().items():
        assert_close(array, before[name] - 0.5, what=name)
    engine.fit([(x, y)], 1, on_step=clip)
    for name, array in model.state_dict().items():
        assert_close(array, before[name] - 1.0, what=name + " after fit")
    assert len(seen) == 2 and min(seen) > 0


@classes
@pytest.mark.value
def test_evaluate_leaves_the_modes(level):
    """Each module has its mode back, also a frozen one, also after an exception."""
    class Refuses(level.ReLU):
        def forward(self, x):
            if len(x) == 3:
                raise KeyError("three rows")
            return super().forward(x)
    model = level.Sequential(level.Linear(3, 4, rng(0)), Refuses())
    engine = level.Engine(model, level.CrossEntropyLoss(), level.GradientDescent(model.parameters(), 0.1))
    x, y = np.ones((7, 3), np.float32), np.zeros(7, int)
    model[1].eval()
    engine.evaluate(level.DataLoader((x, y), 2))
    modes = [[m.training for m in model.modules()]]
    for rows in (7, 3):
        loader = [(x[:rows], y[:rows]), (x[:3], y[:3])]
        with pytest.raises(KeyError, match="three rows"):
            engine.evaluate(loader)
        modes.append([m.training for m in model.modules()])
    assert modes == 3 * [[True, True, False]]


@classes
@pytest.mark.value
def test_evaluating(level):
    """Evaluation inside, the old modes behind it, also after an error; what has no modules is handed through."""
    from tangled.t06_backpropagation.base import evaluating
    model = level.Sequential(level.ReLU(), level.Sequential(level.ReLU(), level.ReLU()))
    model[1].eval()
    before = [m.training for m in model.modules()]
    assert before == [True, True, False, False, False]
    with evaluating(model) as inside:
        assert inside is model and not any(m.training for m in model.modules())
    assert [m.training for m in model.modules()] == before
    with pytest.raises(KeyError), evaluating(model):
        raise KeyError("inside")
    assert [m.training for m in model.modules()] == before
    with evaluating(abs) as inside:
        assert inside is abs


@pytest.mark.levels(1, 2)
@pytest.mark.gradient
def test_backward_twice(level):
    """A loss that goes back twice says the same twice; level 3 refuses (see its own test)."""
    pred = rng(1).standard_normal((4, 3)).astype(np.float32)
    for loss, target in ((level.CrossEntropyLoss(), np.array([0, 2, 1, 1])),
                         (level.MSELoss(), rng(2).standard_normal((4, 3)))):
        loss(pred, target)
        first = loss.backward().copy()
        loss.backward()
        assert_close(loss.backward(), first, what="the third backward")


@classes
@pytest.mark.value
def test_gradient_check_finds_a_mistake(level):
    """A right module passes; one factor that is off by a thousandth is found and named."""
    model, x = network(level), rng(5).standard_normal((4, 3)).astype(np.float32)
    before = model.state_dict()
    errors = level.gradient_check(model, x, rng(6))
    assert list(errors) == ["x", "0.weight", "0.bias", "2.weight", "2.bias"]
    assert all(error < 1e-6 for error in errors.values())
    assert all(np.array_equal(before[name], a) for name, a in model.state_dict().items())

    class Wrong(level.Linear):
        def backward(self, dout):
            dx = super().backward(dout)
            self.weight.grad *= 1.001
            return dx
    errors = level.gradient_check(Wrong(3, 2, rng(7)), x, rng(8))
    assert 5e-4 < errors["weight"] < 5e-3 and errors["bias"] < 1e-6 and errors["x"] < 1e-6


@classes
@pytest.mark.gradient
def test_gradient_check_of_nothing(level):
    """A gradient of 0 is no mistake; one that never arrives is; small ones count for less."""
    class Centred(level.Linear):
        def forward(self, x):
            out = super().forward(x)
            return out - out.mean(axis=0)

        def backward(self, dout):
            return super().backward(dout - dout.mean(axis=0))

    class Forgot(level.Linear):
        def backward(self, dout):
            return dout @ self.weight.data.T

    class Overwrites(level.Linear):
        def backward(self, dout):
            dx = super().backward(dout).copy()
            dout *= 0
            return dx
    x = rng(9).standard_normal((5, 3))
    for kind in (Centred, Overwrites):
        errors = level.gradient_check(kind(3, 2, rng(7)), x, rng(8))
        assert all(error < 1e-6 for error in errors.values())
    errors = level.gradient_check(Forgot(3, 2, rng(7)), x, rng(8))
    assert errors["x"] < 1e-6 and abs(errors["weight"] - 1) < 1e-6
    assert set(level.gradient_check(level.Linear(3, 2, rng(7)), x[:0], rng(8)).values()) == {0.0}

    assert level.gradient_check(level.Linear(3, 2, rng(7)), 1e4 * x, rng(8))["x"] < 1e-6

    class Doubled(level.Linear):                    # the smaller of two entries, 1 : 1000
        def backward(self, dout):
            dx = super().backward(dout)
            self.weight.grad[1] *= 2
            return dx
    errors = level.gradient_check(Doubled(2, 1, rng(7)), np.array([[10.0, 0.01]]), rng(8))
    assert_close(errors["weight"], np.array(0.1), tol=1e-4, what="error beside a large entry")
    expect_value_error("rng", level.gradient_check, level.ReLU(), x, 8)


@pytest.mark.value
@pytest.mark.levels(2, 3)
def test_milestone(level):
    """Four clusters: loss below 0.2, 95 % right, and every parameter took part."""
    from tangled.t06_backpropagation.train_clusters import create_clusters
    generator = rng(0)
    x, y = create_clusters(generator)
    loader = level.DataLoader((x, y), 32, generator)
    new = level.DataLoader(create_clusters(generator), 1000)
    model = level.Sequential(level.Linear(2, 32, generator), level.ReLU(),
                             level.Linear(32, 32, generator), level.ReLU(),
                             level.Linear(32, 4, generator))
    names = [name for name, _ in model.named_parameters()]
    before, received = model.state_dict(), dict.fromkeys(names, 0.0)

    def watch():
        for name, p in model.named_parameters():
            assert p.grad.shape == p.data.shape and p.grad.dtype == np.float32
            received[name] = max(received[name], float(np.abs(p.grad).max()))

    descent = level.GradientDescent(model.parameters(), lr=0.2)
    engine = level.Engine(model, level.CrossEntropyLoss(), descent)
    history = engine.fit(loader, 10, validation=new, on_step=watch)
    for name, p in model.named_parameters():
        assert received[name] > 1e-3, f"{name} received no gradient"
        assert np.abs(p.data - before[name]).max() > 1e-2, f"{name} did not move"
        assert p.data.dtype == np.float32
    assert history["loss"][0] > 0.5 and history["loss"][-1] < 0.2
    assert history["validation_accuracy"][-1] > 0.95
