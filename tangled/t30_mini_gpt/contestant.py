# Tangled from chapters/30-mini-gpt.qmd; edit the chapter, then run make tangle. sha256:67916d157d9f9af2
"""Chapter 30: the same network and the same recipe in PyTorch, for `training.train`."""

import torch
import torch.nn.functional as F

from tangled.t30_mini_gpt.level4_pytorch_reference import TorchGPT
from tangled.t30_mini_gpt.training import BETAS


class Torch:
    """PyTorch's model with its fused AdamW."""

    def __init__(self, state, settings):
        torch.set_num_threads(settings["threads"])
        self.net, self.clip = TorchGPT(state, settings["heads"]), settings["clip"]
        self.context = self.net.context
        groups = [{"params": [p for p in self.net.parameters() if (p.ndim >= 2) == big], "weight_decay": decay}
                  for big, decay in ((True, settings["weight_decay"]), (False, 0.0))]
        self.optimizer = torch.optim.AdamW(groups, settings["lr"], BETAS, fused=True)

    @torch.no_grad()
    def __call__(self, ids):
        """ids (B, T) to logits (B, T, V), NumPy both."""
        return self.net(torch.from_numpy(ids)).numpy()

    def update(self, batches, lr):
        """One step on the mean over batches (x, y): the loss before it."""
        self.optimizer.zero_grad()
        total = 0.0
        for x, y in batches:
            logits = self.net(torch.from_numpy(x))
            loss = F.cross_entropy(logits.flatten(0, 1), torch.from_numpy(y).flatten()) / len(batches)
            loss.backward()
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), self.clip)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.step()
        return total

    def parts(self):
        """What a checkpoint holds."""
        return {"model": Kept(self.net), "optimizer": KeptMoments(self.optimizer)}


class Kept:
    """A PyTorch module whose state is NumPy arrays."""

    def __init__(self, net):
        self.net = net

    def state_dict(self):
        """{name: array}."""
        return {name: value.numpy().copy() for name, value in self.net.state_dict().items()}

    def load_state_dict(self, state):
        """Take back what `state_dict` gave."""
        self.net.load_state_dict({name: torch.from_numpy(a.copy()) for name, a in state.items()})


class KeptMoments:
    """An AdamW whose steps and moments are NumPy arrays."""

    def __init__(self, optimizer):
        self.optimizer = optimizer

    def parameters(self):
        """All, in order."""
        return [p for group in self.optimizer.param_groups for p in group["params"]]

    def state_dict(self):
        """{"0.step": ..., "0.exp_avg": ..., ...}."""
        return {f"{k}.{name}": value.numpy().copy() for k, p in enumerate(self.parameters())
                for name, value in self.optimizer.state[p].items()}

    def load_state_dict(self, state):
        """Take back what `state_dict` gave."""
        for key, array in state.items():
            k, _, name = key.partition(".")
            self.optimizer.state[self.parameters()[int(k)]][name] = torch.from_numpy(array.copy())
