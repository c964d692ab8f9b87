# Tangled from chapters/14-resnet.qmd; edit the chapter, then run make tangle. sha256:98dabd3f77c6804a
"""Residual blocks and networks by PyTorch. NumPy in, NumPy out."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import tangled.t14_resnet.checks as check
from tangled.testing import Case


def basic_block(x, w1, gamma1, beta1, w2, gamma2, beta2, w_shortcut=None, gamma_s=None, beta_s=None, stride=1,
                preactivation=False, eps=1e-5):
    """As level 2; the cache is the graph."""
    arrays, dtype = check.block(x, w1, gamma1, beta1, w2, gamma2, beta2, w_shortcut, gamma_s, beta_s, stride,
                                preactivation, eps)
    leaves = [None if a is None else torch.from_numpy(a.copy()).requires_grad_() for a in arrays]
    x, w1, gamma1, beta1, w2, gamma2, beta2, w_s, gamma_s, beta_s = leaves
    norm = lambda z, gamma, beta: F.batch_norm(z, None, None, gamma, beta, True, eps=eps)
    if preactivation:
        h = F.relu(norm(x, gamma1, beta1))
        z = F.conv2d(h, w1, stride=stride, padding=1)
        z = F.conv2d(F.relu(norm(z, gamma2, beta2)), w2, padding=1)
        out = z + (x if w_s is None else F.conv2d(h, w_s, stride=stride))
    else:
        h = F.relu(norm(F.conv2d(x, w1, stride=stride, padding=1), gamma1, beta1))
        a = norm(F.conv2d(h, w2, padding=1), gamma2, beta2)
        out = F.relu(a + (x if w_s is None else norm(F.conv2d(x, w_s, stride=stride), gamma_s, beta_s)))
    used = [leaf for leaf in leaves if leaf is not None]
    return out.detach().numpy().astype(dtype), (out, used, dtype)


def basic_block_backward(dout, cache):
    """The gradients of the arrays that went in, in their order, by autograd."""
    out, leaves, dtype = cache
    dout = check.gradient(dout, tuple(out.shape), out.detach().numpy().dtype)
    grads = torch.autograd.grad(out, leaves, torch.from_numpy(dout.copy()), retain_graph=True)
    return tuple(grad.numpy().astype(dtype) for grad in grads)


def _conv(in_channels, filters, kernel, stride=1):
    """A convolution without bias, initialised as in torchvision."""
    conv = nn.Conv2d(in_channels, filters, kernel, stride, kernel // 2, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return conv


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions on x (N, C, H, W); written out, as a PyTorch user would."""

    expansion, residual = 1, True

    def __init__(self, in_channels, channels, stride=1, preactivation=False, zero_init=True):
        super().__init__()
        self.preactivation, out = preactivation, channels * self.expansion
        self._layers(in_channels, channels, stride)
        if zero_init:
            nn.init.zeros_(self.last()[0].weight if preactivation else self.last()[1].weight)
        self.shortcut = None
        if self.residual and (stride != 1 or in_channels != out):
            parts = [_conv(in_channels, out, 1, stride)] + ([] if preactivation else [nn.BatchNorm2d(out)])
            self.shortcut = nn.Sequential(*parts)

    def _layers(self, in_channels, channels, stride):
        self.conv1, self.conv2 = _conv(in_channels, channels, 3, stride), _conv(channels, channels, 3)
        self.bn1 = nn.BatchNorm2d(in_channels if self.preactivation else channels)
        self.bn2 = nn.BatchNorm2d(channels)

    def last(self):
        """The last convolution and its normalisation."""
        return self.conv2, self.bn2

    def branch(self, x):
        """The residual branch of x (N, C, H, W)."""
        if self.preactivation:
            return self.conv2(F.relu(self.bn2(self.conv1(x))))
        return self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))

    def forward(self, x):
        """x (N, C, H, W) to (N, F, OH, OW)."""
        h = F.relu(self.bn1(x)) if self.preactivation else x
        out = self.branch(h)
        if self.residual:
            out = out + (self.shortcut(h) if self.shortcut is not None else x)
        return out if self.preactivation else F.relu(out)


class Bottleneck(BasicBlock):
    """1 x 1, 3 x 3 with the stride, 1 x 1 on x (N, C, H, W)."""

    expansion = 4

    def _layers(self, in_channels, channels, stride):
        self.conv1, self.conv2 = _conv(in_channels, channels, 1), _conv(channels, channels, 3, stride)
        self.conv3 = _conv(channels, 4 * channels, 1)
        self.bn1 = nn.BatchNorm2d(in_channels if self.preactivation else channels)
        self.bn2 = nn.BatchNorm2d(channels)
        self.bn3 = nn.BatchNorm2d(channels if self.preactivation else 4 * channels)

    def last(self):
        """The last convolution and its normalisation."""
        return self.conv3, self.bn3

    def branch(self, x):
        """The residual branch of x (N, C, H, W)."""
        if self.preactivation:
            return self.conv3(F.relu(self.bn3(self.conv2(F.relu(self.bn2(self.conv1(x)))))))
        h = F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))
        return self.bn3(self.conv3(h))


class PlainBlock(BasicBlock):
    """Without shortcut, on x (N, C, H, W)."""

    residual = False


class ResNet(nn.Module):
    """As level 2, for x (N, in_channels, H, W)."""

    def __init__(self, blocks, widths, num_classes=10, in_channels=3, block=BasicBlock, stem="small",
                 preactivation=False, zero_init=True):
        super().__init__()
        self.conv1 = _conv(in_channels, widths[0], 7 if stem == "imagenet" else 3, 2 if stem == "imagenet" else 1)
        self.bn1 = None if preactivation else nn.BatchNorm2d(widths[0])
        self.pool = nn.MaxPool2d(3, 2, 1) if stem == "imagenet" else None
        channels, self.stages = widths[0], len(widths)
        for k, (count, width) in enumerate(zip(blocks, widths)):
            stage = []
            for n in range(count):
                stage.append(block(channels, width, 2 if k and not n else 1, preactivation, zero_init))
                channels = width * block.expansion
            setattr(self, f"layer{k + 1}", nn.Sequential(*stage))
        self.bn_last = nn.BatchNorm2d(channels) if preactivation else None
        self.fc = nn.Linear(channels, num_classes)

    def forward(self, x):
        """x (N, in_channels, H, W): logits (N, num_classes)."""
        x = self.conv1(x)
        x = x if self.bn1 is None else F.relu(self.bn1(x))
        x = x if self.pool is None else self.pool(x)
        for k in range(self.stages):
            x = getattr(self, f"layer{k + 1}")(x)
        x = x if self.bn_last is None else F.relu(self.bn_last(x))
        return self.fc(x.mean((2, 3)))


class PlainNet(ResNet):
    """As level 2, for x (N, in_channels, H, W)."""

    def __init__(self, blocks, widths, num_classes=10, in_channels=3, stem="small"):
        super().__init__(blocks, widths, num_classes, in_channels, PlainBlock, stem, zero_init=False)


def state_of(net, grads=False):
    """{name: array} of parameters and buffers, or of gradients, in this book's layout: linear weights (in, out)."""
    found = {name: p.grad for name, p in net.named_parameters()} if grads else net.state_dict()
    arrays = {name: a.detach().numpy().copy() for name, a in found.items() if not name.endswith("batches_tracked")}
    return {name: a.T.copy() if name == "fc.weight" else a for name, a in arrays.items()}


def load_state(net, state):
    """Copy {name: array} in this book's layout into a network."""
    with torch.no_grad():
        for name, tensor in net.state_dict().items():
            if name in state:
                tensor.copy_(torch.from_numpy(np.array(state[name].T if name == "fc.weight" else state[name])))


CASES = {  # name: (N, C, H, W), filters, options of basic_block; all sizes differ
    "identity": ((2, 3, 5, 4), 3, {}),
    "projection": ((2, 3, 5, 6), 4, {}),
    "stride": ((3, 2, 7, 5), 4, {"stride": 2}),
    "stride-three": ((2, 3, 8, 7), 4, {"stride": 3, "eps": 0.3}),
    "pre-identity": ((2, 3, 4, 5), 3, {"preactivation": True}),
    "pre-projection": ((2, 3, 6, 5), 4, {"preactivation": True, "stride": 2, "eps": 0.2})}

NETS = {  # name: class, its arguments, (N, C, H, W)
    "net-basic": ("ResNet", {"blocks": (2, 1), "widths": (3, 4), "num_classes": 5, "in_channels": 2}, (3, 2, 7, 6)),
    "net-bottleneck": ("ResNet", {"blocks": (1, 2), "widths": (2, 3), "num_classes": 4, "in_channels": 3,
                                  "block": "Bottleneck"}, (2, 3, 6, 5)),
    "net-preactivation": ("ResNet", {"blocks": (2, 1), "widths": (3, 4), "num_classes": 5, "in_channels": 2,
                                     "preactivation": True}, (3, 2, 5, 6)),
    "net-pre-bottleneck": ("ResNet", {"blocks": (1, 1), "widths": (2, 3), "num_classes": 4, "in_channels": 2,
                                      "preactivation": True, "block": "Bottleneck"}, (3, 2, 6, 7)),
    "net-imagenet": ("ResNet", {"blocks": (1, 1), "widths": (3, 2), "num_classes": 4, "in_channels": 2,
                                "stem": "imagenet"}, (3, 2, 17, 14)),
    "net-plain": ("PlainNet", {"blocks": (1, 2), "widths": (3, 4), "num_classes": 5, "in_channels": 2},
                  (3, 2, 6, 5))}


def golden_cases(rng):
    """Inputs from `rng`; outputs and gradients in float64."""
    for name, (shape, filters, options) in CASES.items():
        yield _block_case(name, shape, filters, options, rng)
    for name, (kind, options, shape) in NETS.items():
        yield _net_case(name, kind, options, shape, rng)


def _block_case(name, shape, filters, options, rng):
    """A case of basic_block with upstream weights and the gradients that they give."""
    C, F = shape[1], filters
    before, projects = options.get("preactivation", False), C != F or options.get("stride", 1) != 1
    draw, vector = rng.standard_normal, lambda n: 1 + 0.5 * rng.standard_normal(n)
    first = C if before else F
    inputs = {"x": draw(shape), "w1": draw((F, C, 3, 3)), "gamma1": vector(first), "beta1": draw(first),
              "w2": draw((F, F, 3, 3)), "gamma2": vector(F), "beta2": draw(F)}
    inputs |= {"w_shortcut": draw((F, C, 1, 1))} if projects else {}
    inputs |= {"gamma_s": vector(F), "beta_s": draw(F)} if projects and not before else {}
    out, cache = basic_block(**inputs, **options)
    dout = draw(out.shape)
    grads = dict(zip(inputs, basic_block_backward(dout, cache)))
    return Case(name, inputs | options, {"out": out}, {"out": dout}, grads)


def _net_case(name, kind, options, shape, rng):
    """A network with random weights, scales and statistics: training step, then evaluation."""
    given = {**options, "block": globals()[options["block"]]} if "block" in options else options
    net = globals()[kind](**given).double()
    state = {k: 1 + 0.5 * rng.standard_normal(a.shape) if a.ndim == 1 else 0.5 * rng.standard_normal(a.shape)
             for k, a in state_of(net).items()}
    state = {k: np.abs(a) if k.endswith("running_var") else a for k, a in state.items()}
    load_state(net, state)
    x = torch.from_numpy(rng.standard_normal(shape)).requires_grad_()
    out = net(x)
    dout = rng.standard_normal(tuple(out.shape))
    out.backward(torch.from_numpy(dout))
    after = {k: a for k, a in state_of(net).items() if "running" in k}
    outputs = {"out": out.detach().numpy(), "evaluated": net.eval()(x).detach().numpy(),
               **_flat({f"after.{k}": a for k, a in after.items()})}
    return Case(name, {"x": x.detach().numpy(), "kind": kind, "options": options, "state": _flat(state)}, outputs,
                {"out": dout}, {"x": x.grad.numpy(), **_flat(state_of(net, grads=True))})


def _flat(arrays):
    """{name: array} with "/" for "." in the names, which a golden file takes for nesting."""
    return {name.replace(".", "/"): array for name, array in arrays.items()}
