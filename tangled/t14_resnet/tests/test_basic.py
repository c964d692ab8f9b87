# Tangled from chapters/14-resnet.qmd; edit the chapter, then run make tangle. sha256:bd16c9f77683163d
"""Chapter 14: shapes, values and gradients."""

import numpy as np
import pytest

from tangled.testing import assert_close, assert_dtypes, assert_repeatable, check_gradients, check_module_gradients, rng

CASES = ("identity", "projection", "stride", "stride-three", "pre-identity", "pre-projection")
NETS = ("net-basic", "net-bottleneck", "net-preactivation", "net-pre-bottleneck", "net-imagenet", "net-plain")
ARRAYS = ("x", "w1", "gamma1", "beta1", "w2", "gamma2", "beta2", "w_shortcut", "gamma_s", "beta_s")


def parts(C, F, projected=False, preactivation=False, seed=0):
    """Random arrays of a block, w1 to the last, as a dict."""
    draw, first = rng(seed), C if preactivation else F
    shapes = {"w1": (F, C, 3, 3), "gamma1": (first,), "beta1": (first,), "w2": (F, F, 3, 3), "gamma2": (F,),
              "beta2": (F,)}
    shapes |= {"w_shortcut": (F, C, 1, 1)} if projected else {}
    shapes |= {"gamma_s": (F,), "beta_s": (F,)} if projected and not preactivation else {}
    return {name: draw.standard_normal(shape) for name, shape in shapes.items()}


def call(level, options):
    """basic_block of positional arrays, for the checks of the harness; a None is left out."""
    return lambda *arrays: level.basic_block(*arrays, **options)


@pytest.mark.value
@pytest.mark.parametrize("name", CASES)
def test_golden_values(level, golden, name):
    """Values by PyTorch: both orders, identity and projection, strides and eps."""
    case = golden(name)
    assert_close(level.basic_block(**case.inputs)[0], case.outputs["out"], what="out")


@pytest.mark.gradient
@pytest.mark.parametrize("name", CASES)
def test_golden_gradients(level, golden, name):
    """Gradients of every array by PyTorch, in the order of the arguments, random upstream weights."""
    case = golden(name)
    grads = level.basic_block_backward(case.upstream["out"], level.basic_block(**case.inputs)[1])
    names = [name for name in ARRAYS if name in case.inputs]
    for got, wrt in zip(grads, names, strict=True):
        assert_close(got, case.grads[wrt], what="d" + wrt)


@pytest.mark.value
def test_arguments_in_their_order(level):
    """Without a keyword: the arrays, stride, preactivation, eps."""
    x, given = rng(1).standard_normal((2, 3, 5, 4)), parts(3, 4, True, True)
    out, _ = level.basic_block(x, *given.values(), None, None, 2, True, 0.3)
    wanted, _ = level.basic_block(x, **given, stride=2, preactivation=True, eps=0.3)
    assert_close(out, wanted, tol=0, what="out")


@pytest.mark.shape
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("preactivation", [False, True])
def test_shapes_and_types(level, dtype, preactivation):
    """Shapes as the table has them; every result has the dtype of x."""
    given = [a.astype(dtype) for a in parts(3, 4, True, preactivation).values()]
    x = rng(1).standard_normal((2, 3, 7, 5)).astype(dtype)
    out, cache = level.basic_block(x, *given, stride=2, preactivation=preactivation)
    assert out.shape == (2, 4, 4, 3) and out.dtype == dtype
    grads = level.basic_block_backward(out, cache)
    assert [g.shape for g in grads] == [a.shape for a in (x, *given)]
    assert {g.dtype for g in grads} == {np.dtype(dtype)}


@pytest.mark.value
def test_worked_trace(level):
    """The two pixels of the chapter's trace, forward and backward."""
    x, w = np.array([1.0, 3.0]).reshape(1, 1, 1, 2), np.zeros((1, 1, 3, 3))
    w[0, 0, 1, 1] = 1.0
    one, zero, two = np.ones(1), np.zeros(1), np.full(1, 2.0)
    out, cache = level.basic_block(x, w, one, zero, w, two, zero, eps=1e-12)
    assert_close(out.ravel(), np.array([0.0, 5.0]), tol=1e-8, what="y")
    dx, _, _, _, _, dgamma2, dbeta2 = level.basic_block_backward(np.array([7.0, 1.0]).reshape(out.shape), cache)
    assert_close(dx.ravel(), np.array([0.0, 1.0]), tol=1e-8, what="dx: the identity path alone")
    assert_close(np.concatenate([dgamma2, dbeta2]), np.ones(2), tol=1e-8, what="dgamma2, dbeta2")


@pytest.mark.gradient
@pytest.mark.parametrize("preactivation", [False, True])
@pytest.mark.parametrize("projected, F, stride", [(False, 2, 1), (True, 2, 1), (True, 3, 2)])
def test_central_differences(level, preactivation, projected, F, stride):
    """Every entry of every gradient; also of a projection where the identity would fit."""
    given = parts(2, F, projected, preactivation, seed=3)
    x = rng(4).standard_normal((2, 2, 4, 5))
    check_gradients(call(level, {"stride": stride, "preactivation": preactivation, "eps": 0.1}),
                    level.basic_block_backward, [x, *given.values()])


@pytest.mark.gradient
@pytest.mark.parametrize("preactivation", [False, True])
@pytest.mark.parametrize("projected", [False, True])
def test_called_twice(level, preactivation, projected):
    """The cache survives, nothing is shared, nothing that was handed in changes."""
    given = parts(2, 3 if projected else 2, projected, preactivation, seed=5)
    x = rng(6).standard_normal((2, 2, 3, 4))
    assert_repeatable(call(level, {"preactivation": preactivation}), [x, *given.values()],
                      f_backward=level.basic_block_backward)


@pytest.mark.gradient
@pytest.mark.parametrize("preactivation", [False, True])
def test_out_belongs_to_the_caller(level, preactivation):
    """What is done to out afterwards does not reach the gradients."""
    given = parts(3, 3, preactivation=preactivation)
    x = rng(6).standard_normal((2, 3, 4, 5))
    out, cache = level.basic_block(x, **given, preactivation=preactivation)
    dout = rng(8).standard_normal(out.shape)
    wanted = [grad.copy() for grad in level.basic_block_backward(dout, cache)]
    out[...] = 0
    for got, want in zip(level.basic_block_backward(dout, cache), wanted, strict=True):
        assert_close(got, want, tol=0, what="gradient")


@pytest.mark.value
@pytest.mark.parametrize("preactivation", [False, True])
def test_a_silent_branch_is_the_identity(level, preactivation):
    """Last scale and shift 0, or last weights 0: out is x, and dx is dout, both exactly."""
    given = parts(3, 3, preactivation=preactivation)
    for name in ("w2",) if preactivation else ("gamma2", "beta2"):
        given[name][...] = 0
    x = np.abs(rng(7).standard_normal((2, 3, 4, 5))) + 0.1      # behind a ReLU
    out, cache = level.basic_block(x, **given, preactivation=preactivation)
    assert_close(out, x, tol=0, what="out")
    assert not np.shares_memory(out, x), "out is x itself"
    dout = rng(8).standard_normal(x.shape)
    grads = level.basic_block_backward(dout, cache)
    assert_close(grads[0], dout, tol=0, what="dx")
    moved = grads[4] if preactivation else grads[5]
    assert np.abs(moved).min() > 1e-3, "the branch gets no gradient and can never begin"


@pytest.mark.value
def test_an_infinite_upstream_stops_at_the_mask(level):
    """Where out is 0 the gradient is 0, whatever arrives."""
    given = parts(3, 3)
    given["gamma2"][...], given["beta2"][...] = 0, 0
    x = rng(9).standard_normal((2, 3, 4, 5))
    kept = x.copy()
    out, cache = level.basic_block(x, **given)
    assert_close(x, kept, tol=0, what="x afterwards")
    dout = np.where(out == 0, np.inf, 1.0)
    with np.errstate(all="ignore"):
        dx = level.basic_block_backward(dout, cache)[0]
    assert_close(dx, (out > 0).astype(float), tol=1e-12, what="dx")


@pytest.mark.levels(2, 3, 4)
@pytest.mark.value
@pytest.mark.parametrize("preactivation", [False, True])
def test_dtypes(level, preactivation):
    """float16 is computed in float32 and rounded once; large and small numbers in every dtype."""
    given = parts(2, 3, True, preactivation, seed=10)
    x = rng(11).standard_normal((2, 2, 3, 4))
    assert_dtypes(call(level, {"preactivation": preactivation}), [x, *given.values()],
                  (np.float16, np.float32, np.float64), f_backward=level.basic_block_backward,
                  tol={4: 2e-4})


def built(level, case):
    """The network of a golden case at a level, in float64, with the case's weights."""
    options = dict(case.inputs["options"])
    if "block" in options:
        options["block"] = getattr(level, options["block"])
    net = getattr(level, case.inputs["kind"])(**options).astype(np.float64)
    net.load_state_dict(dotted(case.inputs["state"]))
    return net


def dotted(arrays):
    """{name: array} with the names of `state_dict`, which a golden file has with "/"."""
    return {name.replace("/", "."): array for name, array in arrays.items()}


@pytest.mark.levels(2, 3)
@pytest.mark.value
@pytest.mark.parametrize("name", NETS)
def test_networks_equal_pytorch(level, golden, name):
    """The same names and weights: logits, running statistics, and logits in evaluation after the step."""
    case = golden(name)
    net = built(level, case)
    assert_close(net(case.inputs["x"]), case.outputs["out"], what="logits")
    state = net.state_dict()
    for key, want in dotted(case.outputs).items():
        if key.startswith("after."):
            assert_close(state[key.removeprefix("after.")], want, what=key)
    assert_close(net.eval()(case.inputs["x"]), case.outputs["evaluated"], what="logits in evaluation")


@pytest.mark.levels(2, 3)
@pytest.mark.gradient
@pytest.mark.parametrize("name", NETS)
def test_networks_learn_as_pytorch(level, golden, name):
    """Gradients of the input and of every parameter, by name; called twice, they add up."""
    case = golden(name)
    net, x, wanted = built(level, case), case.inputs["x"].copy(), dotted(case.grads)
    for times in (1, 2):
        net(x)
        assert_close(net.backward(case.upstream["out"]), wanted["x"], what="dx")
        grads = {name: p.grad for name, p in net.named_parameters()}
        assert sorted([*grads, "x"]) == sorted(wanted)
        for key, grad in grads.items():
            assert_close(grad, times * wanted[key], what=key)
    assert_close(x, case.inputs["x"], tol=0, what="x after two steps")


@pytest.mark.levels(2, 3)
@pytest.mark.gradient
@pytest.mark.parametrize("name, stride", [("BasicBlock", 1), ("BasicBlock", 2), ("Bottleneck", 2), ("PlainBlock", 1)])
@pytest.mark.parametrize("preactivation", [False, True])
def test_block_modules(level, name, stride, preactivation):
    """Central differences for x and every parameter."""
    block = getattr(level, name)(3, 2, stride, preactivation=preactivation, zero_init=False, rng=rng(12))
    check_module_gradients(block, [rng(13).standard_normal((2, 3, 4, 5))])


@pytest.mark.levels(2, 3)
@pytest.mark.gradient
@pytest.mark.parametrize("stem", ["small", "imagenet"])
def test_pictures_that_need_no_gradient(level, stem):
    """Without input_grad all parameters get what they got with it; at level 3 dx is None."""
    net = level.ResNet((1, 1), (3, 4), 5, 2, stem=stem, zero_init=False, rng=rng(12)).astype(np.float64)
    x, found = rng(13).standard_normal((3, 2, 9, 7)), []
    for wanted in (True, False, True):
        net.input_grad = wanted
        net.zero_grad()
        dx = net.backward(np.cos(net(x)))
        assert dx is None if level.__name__.endswith("efficient") and not wanted else dx.shape == x.shape
        found.append([p.grad.copy() for p in net.parameters()])
    for key, *grads in zip(dict(net.named_parameters()), *found):
        for grad in grads[1:]:
            assert_close(grad, grads[0], tol=0, what=key)


@pytest.mark.levels(3)
@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 5)])
def test_modules_of_level3_ask_for_pictures(level, shape):
    """x of too few axes is refused in one line, as at level 2."""
    for module in (level.Conv2d(3, 4, 3, padding=1, bias=False), level.BatchNorm2d(3), level.NormReLU(3)):
        with pytest.raises(ValueError, match=r"shape|axes|dimension"):
            module(np.ones(shape, np.float32))


@pytest.mark.levels(3)
@pytest.mark.gradient
@pytest.mark.parametrize("kernel, stride, bias", [(1, 2, False), (3, 1, False), (3, 2, False), (3, 1, True),
                                                  (5, 2, True)])
def test_convolutions_without_dx(level, kernel, stride, bias):
    """Each way to convolve can leave dx out, and checks dout all the same."""
    module = level.Conv2d(2, 3, kernel, stride, kernel // 2, bias=bias, rng=rng(14)).astype(np.float64)
    x = rng(15).standard_normal((2, 2, 6, 5))
    dout = np.cos(module(x))
    module.backward(dout)
    wanted = [p.grad.copy() for p in module.parameters()]
    module.input_grad = False
    module.zero_grad()
    module(x)
    assert module.backward(dout) is None
    for parameter, grad in zip(module.parameters(), wanted):
        assert_close(parameter.grad, grad, tol=0, what="gradient")
    with pytest.raises(ValueError, match="dout"):
        module.backward(dout[:1])


@pytest.mark.levels(3)
@pytest.mark.gradient
@pytest.mark.parametrize("kernel, stride", [(1, 2), (3, 1), (3, 2), (5, 2)])
def test_convolutions_keep_and_check_what_they_get(level, kernel, stride):
    """dx is that of the weights which made out; other channels, types and axes are refused whichever way is taken."""
    module = level.Conv2d(2, 3, kernel, stride, kernel // 2, bias=False, rng=rng(14)).astype(np.float64)
    x = rng(15).standard_normal((2, 2, 6, 5))
    dout = np.cos(module(x))
    wanted = module.backward(dout)
    module.weight.data = np.zeros_like(module.weight.data)
    assert_close(module.backward(dout), wanted, tol=0, what="dx")
    for wrong in (x[:, :1], x[:, [0, 1, 1]], x.astype(np.float32), x.astype(int), x[..., None]):
        with pytest.raises(ValueError, match=r"\b[xw] has (shape|dtype)"):
            module(wrong)
    with pytest.raises(RuntimeError, match="before forward"):
        level.Conv2d(2, 3, kernel, stride, kernel // 2, bias=False).backward(dout)


@pytest.mark.levels(2, 3)
@pytest.mark.gradient
@pytest.mark.parametrize("preactivation", [False, True])
def test_blocks_in_evaluation(level, preactivation):
    """Central differences where the running statistics normalise, which are not those of the batch."""
    block = level.BasicBlock(2, 3, 2, preactivation=preactivation, zero_init=False, rng=rng(12))
    block.astype(np.float64)(1 + rng(13).standard_normal((4, 2, 4, 5)))
    check_module_gradients(block.eval(), [rng(14).standard_normal((2, 2, 4, 5))])


@pytest.mark.levels(2, 3)
@pytest.mark.value
@pytest.mark.parametrize("preactivation", [False, True])
def test_module_equals_the_op(level, preactivation):
    """In training, a block module computes what the op does."""
    block = level.BasicBlock(2, 3, 2, preactivation=preactivation, zero_init=False, rng=rng(14)).astype(np.float64)
    x = rng(15).standard_normal((2, 2, 5, 6))
    weights = [p.data for p in (block.conv1.weight, block.bn1.weight, block.bn1.bias, block.conv2.weight,
                                block.bn2.weight, block.bn2.bias)]
    weights += [p.data for p in block.shortcut.parameters()]
    out, cache = level.basic_block(x, *weights, stride=2, preactivation=preactivation)
    assert_close(block(x), out, tol=1e-10, what="out")
    dout = rng(16).standard_normal(out.shape)
    assert_close(block.backward(dout), level.basic_block_backward(dout, cache)[0], tol=1e-10, what="dx")


@pytest.mark.levels(2, 3)
@pytest.mark.value
@pytest.mark.parametrize("name", ["BasicBlock", "Bottleneck"])
@pytest.mark.parametrize("preactivation", [False, True])
def test_zero_init_makes_the_identity(level, name, preactivation):
    """A new block gives back its input and its upstream gradient, exactly, and can leave that state."""
    kind = getattr(level, name)
    block = kind(4 * kind.expansion, 4, preactivation=preactivation, rng=rng(17))
    x = np.abs(rng(18).standard_normal((2, 4 * kind.expansion, 3, 5))).astype(np.float32) + 0.1
    assert_close(block(x), x, tol=0, what="out")
    dout = rng(19).standard_normal(x.shape).astype(np.float32)
    assert_close(block.backward(dout), dout, tol=0, what="dx")
    last = block.pairs()[-1][0 if preactivation else 1].weight
    assert np.abs(last.grad).max() > 1e-3
    other = kind(4 * kind.expansion, 4, preactivation=preactivation, zero_init=False, rng=rng(17))
    assert np.abs(other(x) - x).max() > 0.1


@pytest.mark.levels(2, 3)
@pytest.mark.value
@pytest.mark.parametrize("name, preactivation, projected",
                         [("BasicBlock", False, (0, 1, 1)), ("BasicBlock", True, (0, 1, 1)),
                          ("Bottleneck", False, (1, 1, 1)), ("PlainBlock", False, (0, 0, 0))])
def test_projections_only_where_the_shape_changes(level, name, preactivation, projected):
    """Three stages of two blocks: which have a shortcut with weights, and its layers."""
    net = level.ResNet((2, 2, 2), (2, 3, 5), block=getattr(level, name), preactivation=preactivation)
    found = [[block.shortcut for block in getattr(net, f"layer{k}").layers] for k in (1, 2, 3)]
    for (first, second), wanted in zip(found, projected, strict=True):
        assert second is None
        assert (0 if first is None else len(first)) == wanted * (1 if preactivation else 2)


@pytest.mark.levels(2, 3)
@pytest.mark.value
@pytest.mark.parametrize("name", ["BasicBlock", "Bottleneck", "PlainBlock"])
def test_each_change_of_shape_is_projected(level, name):
    """A stride alone, or channels alone, ask for a shortcut with weights, unless a block has none at all."""
    kind = getattr(level, name)
    for inputs, stride in ((4 * kind.expansion, 2), (3, 1)):
        block = kind(inputs, 4, stride)
        assert (block.shortcut is not None) == (name != "PlainBlock")
        assert block(np.ones((2, inputs, 5, 6), "f")).shape == (2, 4 * kind.expansion, -(-5 // stride), 6 // stride)


@pytest.mark.levels(2, 3)
@pytest.mark.value
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("added", [True, False])
def test_norm_relu(level, training, added):
    """Chapter 9's module, a sum and a ReLU: out, all gradients and statistics, with its momentum and its eps."""
    from tangled.t09_batch_norm import BatchNorm2d
    modules = [kind(3, 0.3, 0.5).astype(np.float64).train(training) for kind in (level.NormReLU, BatchNorm2d)]
    fused, plain = modules
    draw = rng(27)
    for module in modules:
        module.running_mean[...], module.running_var[...] = (1, -1, 0), (2, 3, 0.5)
        module.weight.data[...], module.bias.data[...] = (1, -2, 0.5), (0.1, 0.2, -0.1)
    for times in (1, 2):                                        # gradients and statistics add up
        x, residual, dout = draw.standard_normal((3, 2, 3, 5, 4))
        a = plain(x) + residual * added
        d = np.where(a > 0, dout, 0)
        kept = x.copy(), residual.copy(), dout.copy()
        assert_close(fused(x, residual) if added else fused(x), np.maximum(a, 0), tol=1e-10, what="out")
        dx, *others = fused.backward(dout) if added else (fused.backward(dout),)
        assert_close(dx, plain.backward(d), tol=1e-10, what="dx")
        assert len(others) == added
        for other in others:
            assert_close(other, d, tol=0, what="dresidual")
            assert not np.shares_memory(other, dx) and not np.shares_memory(other, dout)
        for mine, theirs in zip(fused.parameters(), plain.parameters(), strict=True):
            assert_close(mine.grad, theirs.grad, tol=1e-10, what=f"a gradient, {times} times")
        for key, want in plain.state_dict().items():
            assert_close(fused.state_dict()[key], want, tol=1e-10, what=key)
        for array, before in zip((x, residual, dout), kept, strict=True):
            assert_close(array, before, tol=0, what="what was handed in")


@pytest.mark.levels(3)
@pytest.mark.value
def test_norm_of_level3(level):
    """Chapter 9's module by other ops, with its momentum and its eps, in training and behind it."""
    from tangled.t09_batch_norm import BatchNorm2d
    modules = [kind(3, 0.3, 0.5).astype(np.float64) for kind in (level.BatchNorm2d, BatchNorm2d)]
    with pytest.raises(RuntimeError, match="before forward"):
        modules[0].backward(np.ones((2, 3, 5, 4)))
    for training in (True, True, False):
        x, dout = rng(28).standard_normal((2, 2, 3, 5, 4))
        kept = dout.copy()
        lean, plain = [(module.train(training)(x), module.backward(dout), *module.state_dict().values(),
                        *(p.grad for p in module.parameters())) for module in modules]
        for got, want in zip(lean, plain, strict=True):
            assert_close(got, want, tol=1e-10, what="out, dx, state or a gradient")
        assert_close(dout, kept, tol=0, what="dout afterwards")


@pytest.mark.levels(2, 3)
@pytest.mark.gradient
@pytest.mark.parametrize("name, stride", [("BasicBlock", 1), ("BasicBlock", 2), ("Bottleneck", 1), ("PlainBlock", 1)])
@pytest.mark.parametrize("preactivation", [False, True])
def test_blocks_called_twice(level, name, stride, preactivation):
    """A block changes neither x nor dout, and hands out nothing twice."""
    kind = getattr(level, name)
    block = kind(2 * kind.expansion, 2, stride, preactivation=preactivation, zero_init=False).astype(np.float64)
    x = 1 + rng(13).standard_normal((2, 2 * kind.expansion, 4, 3))
    assert_repeatable(lambda x: (block(x), None), [x], f_backward=lambda dout, _: block.backward(dout),
                      interleave=False)


@pytest.mark.levels(2, 3)
@pytest.mark.gradient
@pytest.mark.parametrize("preactivation, stem", [(False, "imagenet"), (True, "small")])
def test_networks_go_back_twice(level, preactivation, stem):
    """Backward before forward is refused; twice behind one forward pass, it gives the same dx and adds up."""
    net = level.ResNet((2, 1), (3, 4), 5, 2, stem=stem, preactivation=preactivation, zero_init=False)
    for module in (net, net.layer1[1], net.layer2[0], *filter(None, (net.pool, net.bn1, net.bn_last))):
        with pytest.raises(RuntimeError, match="before forward"):
            module.backward(np.ones((2, 5), "f"))
    out = net.astype(np.float64)(rng(13).standard_normal((2, 2, 9, 7)))
    dx = net.backward(np.cos(out)).copy()
    grads = [p.grad.copy() for p in net.parameters()]
    assert_close(net.backward(np.cos(out)), dx, tol=0, what="dx")
    for parameter, grad in zip(net.parameters(), grads, strict=True):
        assert_close(parameter.grad, 2 * grad, tol=1e-12, what="a gradient")


@pytest.mark.levels(2, 3)
@pytest.mark.value
def test_parameters_of_resnet18_and_50(level):
    """The published architectures at ImageNet's widths, by torchvision: 11,689,512 and 25,557,032 weights."""
    for blocks, block, count in (((2, 2, 2, 2), "BasicBlock", 11_689_512), ((3, 4, 6, 3), "Bottleneck", 25_557_032)):
        net = level.ResNet(blocks, (64, 128, 256, 512), 1000, 3, getattr(level, block), "imagenet")
        assert sum(p.data.size for p in net.parameters()) == count


@pytest.mark.levels(2, 3)
@pytest.mark.shape
def test_defaults(level):
    """Ten classes, three colours, the small stem; basic blocks, activated last, that begin as the identity."""
    for net in (level.ResNet((1, 1), (2, 3)), level.PlainNet((1, 1), (2, 3)), level.ResNet([1, 1], [2, 3])):
        assert net.fc.weight.data.shape == (3, 10) and net.conv1.weight.data.shape == (2, 3, 3, 3)
        assert net.pool is None and net.bn_last is None
    block = level.ResNet((1,), (2,)).layer1[0]
    assert isinstance(block, level.BasicBlock) and np.abs(block.bn2.weight.data).max() == 0
    for kind, args in ((level.ResNet, ((1,), (2,))), (level.BasicBlock, (2, 3)), (level.Bottleneck, (2, 3))):
        drawn = kind(*args, rng=np.random.default_rng(0)).conv1.weight.data
        assert_close(kind(*args).conv1.weight.data, drawn, tol=0, what=f"{kind.__name__}, the seed 0 by default")


@pytest.mark.levels(2, 3)
@pytest.mark.value
@pytest.mark.parametrize("stem, side", [("small", 8), ("imagenet", 2)])
def test_size_before_the_mean(level, stem, side):
    """A 32 x 32 picture is 8 x 8 behind three stages; ImageNet's stem leaves 2 x 2."""
    net = level.ResNet((1, 1, 1), (2, 3, 4), 5, stem=stem)
    net(rng(20).standard_normal((2, 3, 32, 32)).astype(np.float32))
    assert net.kept() == (2, 4, side, side)


@pytest.mark.levels(2, 3)
@pytest.mark.gradient
def test_pooling_gives_a_tie_to_the_first(level):
    """Of equal entries the first in the window gets the gradient, as in PyTorch; nothing is lost or doubled."""
    pool = level.ResNet((1,), (2,), stem="imagenet").pool
    x = np.zeros((1, 1, 4, 5))
    x[0, 0, 1, 1:4] = 1.0                                       # in windows (0, 0) to (0, 2), and the row below
    assert_close(pool(x)[0, 0], np.ones((2, 3)), tol=0, what="out")
    dx = pool.backward(np.array([[1.0, 2, 4], [8, 16, 32]]).reshape(1, 1, 2, 3))
    wanted = np.zeros((4, 5))
    wanted[1, 1], wanted[1, 3] = 1 + 2 + 8 + 16, 4 + 32
    assert_close(dx[0, 0], wanted, tol=0, what="dx")
    dx = pool.backward(np.full((1, 1, 2, 3), np.inf))
    assert_close(dx[0, 0], np.where(wanted > 0, np.inf, 0), tol=0, what="dx of an infinite dout")


@pytest.mark.levels(2, 3)
@pytest.mark.value
@pytest.mark.parametrize("shape", [(2, 3, 7, 4), (1, 2, 1, 6), (2, 1, 1, 1), (1, 1, 2, 5)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_pooling_of_negative_numbers(level, shape, dtype):
    """What lies beyond the picture is never the maximum; each window on its own; out and dx belong to the caller."""
    pool, x = level.ResNet((1,), (2,), stem="imagenet").pool, -1 - rng(25).random(shape).astype(dtype)
    out = pool(x)
    wanted, moved = np.empty((*shape[:2], -(-shape[2] // 2), -(-shape[3] // 2))), np.zeros(shape)
    dout = rng(26).standard_normal(wanted.shape).astype(dtype)
    for n, c, i, j in np.ndindex(*wanted.shape):
        window = np.full(shape[2:], -np.inf)
        inside = slice(max(0, 2 * i - 1), 2 * i + 2), slice(max(0, 2 * j - 1), 2 * j + 2)
        window[inside] = x[n, c][inside]
        wanted[n, c, i, j] = window.max()
        moved[n, c][np.unravel_index(window.argmax(), window.shape)] += dout[n, c, i, j]
    assert_close(out, wanted, tol=0, what="out", dtype=dtype)
    out[...] = 0
    dx = pool.backward(dout)
    assert_close(dx, moved, tol=1e-6, what="dx", dtype=dtype)
    assert_repeatable(lambda x: (pool(x), None), [x], f_backward=lambda dout, _: pool.backward(dout), interleave=False)


@pytest.mark.levels(2, 3)
@pytest.mark.value
def test_plain_networks_take_the_options(level):
    """Classes, channels, stem and weights as asked for; blocks without shortcuts, all scales 1."""
    net = level.PlainNet((1, 1), (3, 4), 5, 2, "imagenet", rng(21))
    assert net.conv1.weight.data.shape == (3, 2, 7, 7) and net.fc.weight.data.shape == (4, 5)
    assert net.pool is not None and net(np.ones((2, 2, 9, 8), "f")).shape == (2, 5)
    first, again, other = (level.PlainNet((1, 1), (3, 4), rng=r).layer2[0].conv2.weight.data
                           for r in (rng(21), rng(21), rng(22)))
    assert_close(first, again, tol=0, what="the same seed")
    assert np.abs(first - other).max() > 0.01
    for block in (net.layer1[0], net.layer2[0]):
        assert isinstance(block, level.PlainBlock) and block.shortcut is None and not block.preactivation
        assert (block.bn2.weight.data == 1).all()


@pytest.mark.levels(2, 3)
@pytest.mark.value
def test_initial_weights(level):
    """He's deviation by the filters, other weights in every layer, repeated by the seed, all float32."""
    net = level.ResNet((1, 1), (32, 64), 7, 4, rng=rng(21))
    convolutions = {k: p.data for k, p in net.named_parameters() if p.data.ndim == 4}
    for key, w in convolutions.items():
        assert w.dtype == np.float32
        assert_close(w.std(), (2 / (len(w) * w.shape[2] * w.shape[3])) ** 0.5, tol=0.15, what=key)
    w = net.layer2[0].conv1.weight.data
    assert_close(w.std(), (2 / (64 * 9)) ** 0.5, tol=0.03, what="std")
    assert np.abs(w).max() > 3 * w.std(), "not drawn from a normal distribution, which has tails"
    again, other, default = (level.ResNet((1, 1), (32, 64), 7, 4, rng=r) for r in (rng(21), rng(22), None))
    assert_close(again.fc.weight.data, net.fc.weight.data, tol=0, what="the same seed")
    for different in (other, default):
        for key, p in different.named_parameters():
            if p.data.ndim > 1:
                assert np.abs(p.data - dict(net.named_parameters())[key].data).max() > 0.01, key
    blocks = [level.BasicBlock(3, 4, rng=rng(seed)).conv1.weight.data for seed in (21, 22)]
    assert np.abs(blocks[0] - blocks[1]).max() > 0.01
    deep = level.ResNet((2,), (3,), rng=rng(21)).layer1
    for a, b in ((deep[0].conv1, deep[0].conv2), (deep[0].conv1, deep[1].conv1)):
        assert np.abs(a.weight.data - b.weight.data).max() > 0.01, "two layers have the same weights"
    assert np.abs(other.layer1[0].conv1.weight.data - net.layer1[0].conv1.weight.data).max() > 0.01
    assert [net.fc.weight.data.shape, net.conv1.weight.data.shape] == [(64, 7), (32, 4, 3, 3)]


@pytest.mark.levels(2, 3)
@pytest.mark.value
def test_zero_init_of_networks(level):
    """It reaches every block of a network; off, no scale is 0; a plain network has none."""
    for options, index in (({}, 1), ({"preactivation": True}, 0)):
        for zero in (True, False):
            net = level.ResNet((2, 1), (3, 4), zero_init=zero, **options)
            for stage in (net.layer1, net.layer2):
                for block in stage.layers:
                    largest = np.abs(block.pairs()[-1][index].weight.data).max()
                    assert (largest == 0) == zero, f"zero_init={zero}: largest {largest}"
    plain = level.PlainNet((2, 1), (3, 4))
    assert np.abs(plain.layer1[0].bn2.weight.data).min() == 1


@pytest.mark.levels(2, 3)
@pytest.mark.value
def test_every_parameter_moves(level):
    """Two steps from the start of a zero-initialised network: all weights get a gradient and change."""
    net = level.ResNet((2, 1), (4, 6), 5, 2, rng=rng(23))
    x, before = rng(24).standard_normal((6, 2, 8, 9)).astype(np.float32), net.state_dict()
    for _ in range(2):
        net.zero_grad()
        out = net(x)
        net.backward(out - 1)
        for parameter in net.parameters():
            parameter.data -= np.float32(0.05) * parameter.grad
    for key, parameter in net.named_parameters():
        assert np.abs(parameter.data - before[key]).max() > 0, f"{key} did not move"
