# Tangled from chapters/14-resnet.qmd; edit the chapter, then run make tangle. sha256:77d6c5ec46cc52e0
"""Chapter 14: what the levels cost."""

import numpy as np

from tangled.measuring import Ladder, torch_available
from tangled.t06_backpropagation import CrossEntropyLoss, GradientDescent
from tangled.t12_im2col.level3_memory_efficient import Conv2d as RowConv2d
from tangled.t14_resnet import level1_naive, level2_vectorized, level3_memory_efficient

BLOCK, NETS = "basic block, 4 channels, 8 x 8", {"ResNet-18, width 8": 8, "ResNet-18, width 16": 16}


class RowBlock(level3_memory_efficient.BasicBlock):
    """A block of level 3 with chapter 12's convolution for projections too."""

    conv = RowConv2d


class RowNet(level3_memory_efficient.ResNet):
    """The same for a network."""

    conv = RowConv2d


def _round_trip(level, arrays, dout):
    def call():
        _, cache = level.basic_block(*arrays)
        return level.basic_block_backward(dout, cache)
    return call


def _step(net, x, y):
    """A training step: forward, backward and update."""
    loss, optimizer = CrossEntropyLoss(), GradientDescent(net.parameters(), 0.05)

    def call():
        loss(net(x), y)
        optimizer.zero_grad()
        net.backward(loss.backward())
        optimizer.step()
    return call


def _torch_step(x, y, widths, layout):
    """The same step in PyTorch, with its optimiser."""
    import torch

    from tangled.t14_resnet import level4_pytorch_reference as reference
    layout = getattr(torch, layout)
    net = reference.ResNet((2, 2, 2, 2), widths, 9).to(memory_format=layout)
    x, y = torch.from_numpy(x.copy()).contiguous(memory_format=layout), torch.from_numpy(y.copy())
    optimizer = torch.optim.SGD(net.parameters(), 0.05)

    def call():
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
    return call


def _torch_block(arrays, dout):
    """The block in PyTorch without our wrapper: tensors stay tensors."""
    import torch
    import torch.nn.functional as F
    leaves = [torch.from_numpy(a.copy()).requires_grad_() for a in arrays]
    x, w1, gamma1, beta1, w2, gamma2, beta2 = leaves
    dout = torch.from_numpy(dout.copy())
    norm = lambda z, gamma, beta: F.batch_norm(z, None, None, gamma, beta, True)

    def call():
        h = F.relu(norm(F.conv2d(x, w1, padding=1), gamma1, beta1))
        out = F.relu(norm(F.conv2d(h, w2, padding=1), gamma2, beta2) + x)
        return torch.autograd.grad(out, leaves, dout)
    return call


def ladders():
    """A block, forward and backward, with loops; training steps of a ResNet-18 for 32 x 32 pictures."""
    draw = np.random.default_rng(0)
    shapes = (2, 4, 8, 8), (4, 4, 3, 3), (4,), (4,), (4, 4, 3, 3), (4,), (4,)
    arrays = [draw.standard_normal(shape, dtype=np.float32) for shape in shapes]
    dout = draw.standard_normal(shapes[0], dtype=np.float32)
    calls = {f"level {k}": _round_trip(level, arrays, dout) for k, level in
             enumerate((level1_naive, level2_vectorized, level3_memory_efficient), start=1)}
    calls |= {"level 4": _torch_block(arrays, dout)} if torch_available() else {}
    yield Ladder(BLOCK, calls, operations=f"{3 * 2 * 2 * 9 * 4 * 4 * 64:,} multiply-adds",
                 note="x (2, 4, 8, 8), float32, forward and backward")
    x, y = draw.standard_normal((64, 3, 32, 32), dtype=np.float32), np.arange(64) % 9
    for name, width in NETS.items():
        widths = tuple(width * k for k in (1, 2, 4, 8))
        nets = {"level 2": level2_vectorized.ResNet((2, 2, 2, 2), widths, 9),
                "level 3, by chapter 12": RowNet((2, 2, 2, 2), widths, 9, block=RowBlock),
                "level 3": level3_memory_efficient.ResNet((2, 2, 2, 2), widths, 9)}
        for net in nets.values():
            net.input_grad = False                              # neither does PyTorch's x ask for one
        calls = {key: _step(net, x, y) for key, net in nets.items()}
        if torch_available():
            calls |= {"level 4": _torch_step(x, y, widths, "contiguous_format"),
                      "best PyTorch": _torch_step(x, y, widths, "channels_last")}
        yield Ladder(name, calls, operations="3 x the multiply-adds of a forward pass",
                     note="a training step, x (64, 3, 32, 32), float32")
