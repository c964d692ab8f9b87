# Tangled from chapters/17-cifar10.qmd; edit the chapter, then run make tangle. sha256:0e8eaeda3a48afd4
"""Chapter 17: what a step costs, and what the pictures cost."""

import numpy as np

from tangled.measuring import Ladder, torch_available
from tangled.t03_optimizers import Nesterov
from tangled.t06_backpropagation import CrossEntropyLoss, Engine
from tangled.t14_resnet import level2_vectorized as resnet2
from tangled.t14_resnet import level3_memory_efficient as resnet3
from tangled.t17_cifar10 import level1_naive, level2_vectorized, level3_memory_efficient

STEPS = {8: "ResNet-18, width 8, a step", 16: "ResNet-18, width 16, a step"}
AUGMENT, STATISTICS = "augment 64 pictures", "statistics of 512 pictures"


def _step(resnet, width, x, y):
    model = resnet.ResNet((2, 2, 2, 2), tuple(width * 2 ** k for k in range(4)), 9)
    model.input_grad = False                                    # as in PyTorch, where x asks for no gradient
    engine = Engine(model, CrossEntropyLoss(), Nesterov(model.parameters(), 0.01, 0.9, weight_decay=5e-4))
    return lambda: engine.step(x, y)


def _torch_step(width, x, y, layout):
    import torch
    import torch.nn.functional as F

    from tangled.t14_resnet.level4_pytorch_reference import ResNet
    layout = getattr(torch, layout)
    model = ResNet((2, 2, 2, 2), tuple(width * 2 ** k for k in range(4)), 9).to(memory_format=layout)
    fused = {"fused": True} if layout == torch.channels_last else {}
    optimizer = torch.optim.SGD(model.parameters(), 0.01, 0.9, nesterov=True, weight_decay=5e-4, **fused)
    x, y = torch.from_numpy(x).contiguous(memory_format=layout), torch.from_numpy(y)

    def call():
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
    return call


def ladders():
    """Steps of two widths; the work on a batch of pictures."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((64, 3, 32, 32), dtype=np.float32), rng.integers(0, 9, 64)
    for width, name in STEPS.items():
        calls = {"level 2": _step(resnet2, width, x, y), "level 3": _step(resnet3, width, x, y)}
        if torch_available():
            calls |= {"level 4": _torch_step(width, x, y, "contiguous_format"),
                      "best PyTorch": _torch_step(width, x, y, "channels_last")}
        yield Ladder(name, calls, note="x (64, 3, 32, 32), float32")
    levels = {"level 1": level1_naive, "level 2": level2_vectorized, "level 3": level3_memory_efficient}
    if torch_available():
        from tangled.t17_cifar10 import level4_pytorch_reference
        levels["level 4"] = level4_pytorch_reference
    yield Ladder(AUGMENT, {k: lambda m=m: m.augment(x, np.random.default_rng(0)) for k, m in levels.items()})
    images = rng.integers(0, 256, (512, 3, 32, 32)).astype(np.uint8)
    yield Ladder(STATISTICS, {k: lambda m=m: m.channel_statistics(images) for k, m in levels.items()})
