# Tangled from chapters/34-distributed.qmd; edit the chapter, then run make tangle. sha256:81eb061b31ee9428
"""Chapter 34: the same Group over MPI and over torch.distributed."""

import datetime
import time

import numpy as np

from tangled.t34_distributed.group import Group, Late, Lost
from tangled.t34_distributed.local import spawn

ENGINES = "local", "mpi", "gloo"
MISSING = "mpi4py is not installed; expected it for --engine mpi: pip install 'dl-from-scratch[mpi]'"


class Pending:
    """How to wait for a request, and the array (any shape) that must live until it is done."""

    def __init__(self, wait, kept):
        self.wait, self.kept = wait, kept


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
        return Pending(self.world.Isend(kept, to).wait, kept)

    def recv(self, out, source):
        """As `Group.recv`, by Recv; a ValueError where fewer bytes come than there is room for."""
        room, status = np.empty(out.shape, out.dtype), self.mpi.Status()
        self.world.Recv(room, source, status=status)
        if (came := status.Get_count(self.mpi.BYTE)) != room.nbytes:
            raise ValueError(f"rank {source} sent {came} bytes; expected {room.nbytes}")
        out[...] = room

    def all_reduce(self, x):
        """The sum of x (any shape) over all ranks, by MPI's own way."""
        total = np.empty(x.shape, x.dtype)
        self.world.Allreduce(np.ascontiguousarray(x), total)
        return total


class GlooGroup(Group):
    """A rank of torch.distributed's gloo.

    Parameters
    ----------
    rank, size : int
    store : str, the path of an empty file in which the ranks meet
    seconds : float, the longest wait for a neighbour
    tell : callable (dict), a note to the parent
    """

    def __init__(self, rank, size, store, seconds, tell):
        import torch
        import torch.distributed as dist

        from tangled.t34_distributed.level4_pytorch_reference import connect
        torch.set_num_threads(1)
        self.rank, self.size, self.tensor = rank, size, torch.from_numpy
        self.seconds, self.tell = seconds, tell
        self.gloo = connect(dist.FileStore(store, size), rank, size, seconds)

    def send(self, x, to):
        """As `Group.send`, x of any shape."""
        kept = self.tensor(np.array(x))
        request = self.gloo.send([kept], to, 0)
        return Pending(lambda: self.until(request, to), kept)

    def recv(self, out, source):
        """As `Group.recv`."""
        room = self.tensor(np.empty(out.shape, out.dtype))
        self.until(self.gloo.recv([room], source, 0), source)
        out[...] = room.numpy()

    def all_reduce(self, x):
        """The sum of x (any shape) over all ranks, by gloo's own way."""
        total = self.tensor(np.array(x))
        self.until(self.gloo.allreduce([total]), (self.rank - 1) % self.size)
        return total.numpy()

    def until(self, request, peer):
        """Wait for a request of gloo's; the parent is told for whom, all_reduce says: for the left one."""
        begun = time.monotonic()
        self.tell({"waits": peer})
        try:
            request.wait(datetime.timedelta(seconds=self.seconds))
        except RuntimeError as error:
            raise (Late if time.monotonic() - begun > self.seconds else Lost)(peer) from error
        self.tell({"waits": None})


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
