# Tangled from chapters/34-distributed.qmd; edit the chapter, then run make tangle. sha256:48e4b72cc2e695e1
"""Chapter 34: real processes, few and small; each test says how many it starts."""

import importlib.util
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from tangled.t34_distributed import train_distributed
from tangled.t34_distributed.group import Group
from tangled.t34_distributed.local import WorkerError, spawn
from tangled.t34_distributed.train_failures import SMALL, belongings
from tangled.t34_distributed.training import work
from tangled.testing import assert_close

WORK, SUMS = "tangled.t34_distributed.training:work", "tangled.t34_distributed.training:sums"
NUMBERS = [0, 1, 2, 5, 1000, 150_001]                           # 1.2 MB: larger than any pipe, and than a slot


def nothing_is_left(before):
    """No child lives, no file or memory is open, and none has a name."""
    assert not belongings() - before


@pytest.mark.processes(4)
@pytest.mark.parametrize("ranks, way", [(2, "memory"), (4, "memory"), (2, "sockets"), (4, "sockets")])
def test_sums(ranks, way):
    """Ring and tree: the same bits on every rank, the serial sum up to rounding."""
    before = belongings()
    found = spawn(ranks, SUMS, {"sizes": NUMBERS}, 30.0, 100.0, way)
    assert all(each == found[0] for each in found), "the ranks differ"
    assert max(error for _, error in found[0]) < 1e-14 * 40
    nothing_is_left(before)


@pytest.mark.processes(3)
@pytest.mark.parametrize("how, ranks, says", [
    ("killed", 3, "rank 1 was killed by signal 9 (SIGKILL)"),
    ("raises", 2, "rank 1 raised FloatingPointError: the loss is nan after 3 steps"),
    ("stalled", 3, "rank 1 has stalled: rank")])
def test_a_worker_fails(how, ranks, says):
    """One line with the rank and the reason; no process and no memory is left."""
    before, fault = belongings(), {"how": how, "rank": 1, "step": 3, "seconds": 60.0}
    with pytest.raises(WorkerError) as caught:
        spawn(ranks, WORK, {"settings": SMALL, "symbols": 4000, "fault": fault}, 3.0, 60.0)
    assert str(caught.value).startswith(says) and "\n" not in str(caught.value)
    assert caught.value.rank == 1
    nothing_is_left(before)


@pytest.mark.processes(4)
def test_resume_after_a_kill(tmp_path):
    """Killed in step 8, gone on from the checkpoint after 6: the weights of a run in one process, to 1e-10."""
    settings = SMALL | {"every": 3, "dtype": "float64", "batch": 5, "sharded": True}
    asked = {"settings": settings, "path": str(tmp_path / "run.npz"), "symbols": 4000, "weights": True}
    with pytest.raises(WorkerError, match="rank 0 was killed"):
        spawn(2, WORK, asked | {"fault": {"how": "killed", "rank": 0, "step": 8, "seconds": 0}}, 20.0, 100.0)
    found = spawn(2, WORK, asked, 20.0, 100.0)
    want = work(Group(), settings, symbols=4000, weights=True)
    for each in found:
        assert_close(np.array(each["weights"]), np.array(want["weights"]), tol=1e-10, what="weights")
        assert_close(np.array(each["losses"]), np.array(want["losses"]), tol=1e-10, what="losses")


@pytest.mark.processes(2)
def test_program_under_gloo():
    """torch.distributed: the weights of our own engine, to 1e-10."""
    if importlib.util.find_spec("torch") is None:
        pytest.skip("PyTorch is not installed")
    asked = {"settings": SMALL | {"dtype": "float64", "steps": 4}, "symbols": 4000, "weights": True}
    want = work(Group(), **asked)
    for each in spawn(2, WORK, asked, 60.0, 110.0, "gloo"):
        assert_close(np.array(each["weights"]), np.array(want["weights"]), tol=1e-10, what="weights")


@pytest.mark.processes(2)
def test_program_under_mpi(tmp_path):
    """Two ranks under mpiexec: the weights of one process, to 1e-10."""
    mpiexec = train_distributed.mpiexec_of()
    if mpiexec is None:
        pytest.skip("mpi4py is not installed (extra: mpi)")
    asked = {"settings": SMALL | {"dtype": "float64", "steps": 4}, "symbols": 4000, "weights": True}
    asking, answer = tmp_path / "ask.json", tmp_path / "answer.json"
    asking.write_text(json.dumps(asked))
    command = [mpiexec, "-n", "2", sys.executable, "-m", "tangled.t34_distributed.under_mpi", str(asking), str(answer)]
    subprocess.run(command, check=True, timeout=100, env=os.environ | {"OPENBLAS_NUM_THREADS": "1"})
    found, want = json.loads(answer.read_text()), work(Group(), **asked)
    assert_close(np.array(found["weights"]), np.array(want["weights"]), tol=1e-10, what="weights")


def test_spawn_refuses(monkeypatch):
    """Nine workers, another way, a worker that would start workers."""
    with pytest.raises(ValueError, match=r"size = 9, way = 'memory'; expected 1 to 8"):
        spawn(9, SUMS)
    with pytest.raises(ValueError, match="way = 'pigeons'"):
        spawn(2, SUMS, way="pigeons")
    monkeypatch.setenv("TANGLED_RANK", "0")
    with pytest.raises(RuntimeError, match="must not start workers"):
        spawn(2, SUMS)
