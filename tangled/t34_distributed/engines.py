# Tangled from chapters/34-distributed.qmd; edit the chapter, then run make tangle. sha256:fba57eb3300a77f6
"""Chapter 34: the same Group over MPI and over torch.distributed."""

import os

import numpy as np

from tangled.t34_distributed.group import Group
from tangled.t34_distributed.local import spawn

ENGINES = "local", "mpi", "gloo"
MISSING = "mpi4py is not installed; expected it for --engine mpi: pip install 'dl-from-scratch[mpi]'"


class Pending:
    """A request, and the array (any shape) that must live until it is done."""

    def __init__(self, request, kept):
        self.request, self.kept = request, kept

    def wait(self):
        """Return when the array may be changed."""
        self.request.wait()


class MPIGroup(Group):
    """A rank of MPI's, started by mpiexec."""

    def __init__(self):
        try:
            from mpi4py import MPI
        except (ImportError, RuntimeError) as error:
            raise ValueError(MISSING) from error
        self.mpi, self.world = MPI, MPI.COMM_WORLD
        self.rank, self.size = self.world.rank, self.world.size

    def send(self, x, to):
        """As `Group.send`, x of any shape, by Isend."""
        kept = np.ascontiguousarray(x)
        return Pending(self.world.Isend(kept, to), kept)

    def recv(self, out, source):
        """As `Group.recv`, by Recv."""
        room = np.empty(out.shape, out.dtype)
        self.world.Recv(room, source)
        out[...] = room

    def all_reduce(self, x):
        """The sum of x (any shape) over all ranks, by MPI's own way."""
        total = np.empty(x.shape, x.dtype)
        self.world.Allreduce(np.ascontiguousarray(x), total)
        return total


class GlooGroup(Group):
    """A rank of torch.distributed's gloo."""

    def __init__(self, rank, size, folder, seconds):
        import torch
        import torch.distributed as dist

        from tangled.t34_distributed.level4_pytorch_reference import connect
        torch.set_num_threads(1)
        self.rank, self.size, self.tensor = rank, size, torch.from_numpy
        self.gloo = connect(dist.FileStore(os.path.join(folder, "store"), size), rank, size, seconds)

    def send(self, x, to):
        """As `Group.send`, x of any shape."""
        kept = self.tensor(np.array(x))
        return Pending(self.gloo.send([kept], to, 0), kept)

    def recv(self, out, source):
        """As `Group.recv`."""
        room = self.tensor(np.empty(out.shape, out.dtype))
        self.gloo.recv([room], source, 0).wait()
        out[...] = room.numpy()

    def all_reduce(self, x):
        """The sum of x (any shape) over all ranks, by gloo's own way."""
        total = self.tensor(np.array(x))
        self.gloo.allreduce([total]).wait()
        return total.numpy()


def run(engine, ranks, target, arguments, seconds=20.0, limit=600.0):
    """[result of each rank] of a target as for `spawn`; under MPI this process is one of the ranks: [its own]."""
    if engine not in ENGINES:
        raise ValueError(f"engine = {engine!r}; expected one of {', '.join(ENGINES)}")
    if engine != "mpi":
        return spawn(ranks, target, arguments, seconds, limit, "gloo" if engine == "gloo" else "memory")
    import importlib
    group, (module, _, name) = MPIGroup(), target.partition(":")
    if ranks not in (None, group.size):
        raise ValueError(f"ranks = {ranks}, but MPI has started {group.size}; expected: mpiexec -n {ranks} python -m "
                         "tangled.t34_distributed.train_distributed --engine mpi")
    try:
        return [getattr(importlib.import_module(module), name)(group, **arguments)]
    except BaseException as error:
        if group.size > 1:                                      # or the others would wait for ever
            print(f"rank {group.rank} raised {type(error).__name__}: {error}", flush=True)
            group.world.Abort(1)
        raise
