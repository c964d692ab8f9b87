# Tangled from chapters/34-distributed.qmd; edit the chapter, then run make tangle. sha256:56560775425d86d4
"""Chapter 34: real processes, few and small; each test says how many it starts."""

import importlib.util
import json
import mmap
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tangled.t34_distributed import train_distributed
from tangled.t34_distributed.engines import GlooGroup
from tangled.t34_distributed.group import Group, Lost
from tangled.t34_distributed.local import ROOT, SLOT, Worker, WorkerError, blamed, cause, spawn
from tangled.t34_distributed.train_failures import SMALL, belongings
from tangled.t34_distributed.training import work
from tangled.t34_distributed.worker import Slots, Stream, as_bytes
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
def test_a_worker_fails(how, ranks, says, monkeypatch, tmp_path):
    """One line with the rank and the reason; no process, no memory and no file is left."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before, fault = belongings(), {"how": how, "rank": 1, "step": 3, "seconds": 60.0}
    with pytest.raises(WorkerError) as caught:
        spawn(ranks, WORK, {"settings": SMALL, "symbols": 4000, "fault": fault}, 3.0, 60.0)
    assert str(caught.value).startswith(says) and "\n" not in str(caught.value)
    assert caught.value.rank == 1 and not list(tmp_path.iterdir())
    nothing_is_left(before)


def told(**notes):
    """Workers that have told this last, or wait for a rank: told(a={"done": 0}, b=2) of ranks 0 and 1."""
    return [SimpleNamespace(rank=rank, last=note if isinstance(note, dict) else {}, silent=note == "silent",
                            waits=note if isinstance(note, int) else None, death=lambda: "was killed")
            for rank, note in enumerate(notes.values())]


@pytest.mark.parametrize("notes, says", [
    ({"a": {"lost": 1}, "b": {"raised": "KeyError: 2"}, "c": "silent"}, (1, "raised KeyError: 2")),
    ({"a": {"lost": 1}, "b": {"lost": 2}, "c": "silent"}, (2, "was killed")),
    ({"a": {"lost": 1}, "b": {"done": 0}, "c": None}, (1, "has ended: rank 0 still waits for it")),
    ({"a": {"late": 1}, "b": {"late": 2}, "c": None}, (2, "has stalled: rank 1 has waited for it for 3 s")),
    ({"a": {"late": 1}, "b": 2, "c": {"done": 0}}, (2, "has ended: rank 1 still waits for it")),
    ({"a": {"late": 1}, "b": 2, "c": 1}, (1, "is in a deadlock: 1 waits for 2, 2 waits for 1")),
    ({"a": 1, "b": 0, "c": None}, None)])
def test_who_is_to_blame(notes, says):
    """Of all that is told the first cause, and not what follows from it."""
    assert cause(told(**notes), 3.0, True) == says
    if "raised" in str(notes):
        assert cause(told(**notes), 3.0, False) == says         # nothing to wait for
    if "late" in str(notes):
        assert cause(told(**notes), 3.0, False) is None         # others may have more to tell
    if notes["a"] == 1:
        assert blamed(1, told(a={"done": 0}, b=2, c=1), "")[1].startswith("is in a deadlock")


def test_a_neighbour_dies_unread():
    """What it had not read makes the socket say `reset`: the neighbour is lost, and nobody raises anything else."""
    here, there = socket.socketpair()
    with here:
        stream = Stream(1, here)
        here.send(bytes(100))
        there.close()
        stream.expect(as_bytes(np.empty(3)))
        with pytest.raises(Lost, match="lost rank 1"):
            stream.pull()


def test_done_is_when_all_is_gone():
    """An array larger than what is on the way may not be changed before its last byte has left."""
    here, there = socket.socketpair()
    with here, there, mmap.mmap(-1, 8 * SLOT) as memory:
        ends = [Slots(1 - mine, link, memory, mine, 2) for mine, link in enumerate((here, there))]
        given, room = np.arange(3 * SLOT, dtype=np.uint8), np.empty(3 * SLOT, np.uint8)
        sending = SimpleNamespace(bytes=as_bytes(given), sent=0, done=False)
        ends[0].queue.append(sending)
        ends[0].push()
        assert not sending.done and ends[0].free == 0
        ends[1].expect(as_bytes(room))
        for _ in range(4):
            come = ends[1].pull()
            ends[0].push()
        assert sending.done and come and np.array_equal(room, given)


def test_notes_in_parts():
    """A note may come in many parts, and several at once; a socket that ends without a last one makes it silent."""
    here, there = socket.socketpair()
    with here, there:
        worker = Worker(0, None, here, None)
        for part in (b'{"waits": 2}\n{"wa', b'its": 3}', b'\n{"done": [1, "'):
            there.send(part)
            assert worker.read()
        assert worker.waits == 3 and worker.last == {}
        there.shutdown(socket.SHUT_WR)
        assert not worker.read() and worker.silent


@pytest.mark.processes(2)
def test_the_parent_is_killed(tmp_path):
    """Its workers end with it, although nobody is left to end them."""
    fault, begun = {"how": "stalled", "rank": 1, "step": 1, "seconds": 600.0}, tmp_path / "step-0.npz"
    asked = {"settings": SMALL | {"every": 1}, "symbols": 4000, "path": str(begun), "fault": fault}
    parent = subprocess.Popen([sys.executable, "-c", "from tangled.t34_distributed.local import spawn; "
                               f"spawn(2, {WORK!r}, {asked!r}, 300.0, 300.0)"], cwd=ROOT)
    deadline = time.monotonic() + 100
    try:
        while not begun.exists() and parent.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)                                    # until a step is made, by workers that have begun
        children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
    finally:
        parent.kill()
        parent.wait()
    while any(alive(pid) for pid in children) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(children) == 2 and not any(alive(pid) for pid in children)


def alive(pid):
    """Does the process run? One that has ended and is not yet collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


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


@pytest.mark.processes(3)
def test_results_by_rank(tmp_path, monkeypatch):
    """Each rank's own result, in the order of the ranks; arguments are handed on."""
    (tmp_path / "ranks34.py").write_text("def told(group, word):\n    return [group.rank, group.size, word]\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert spawn(3, "ranks34:told", {"word": "so"}, 30.0, 100.0) == [[rank, 3, "so"] for rank in range(3)]


def test_gloo_leaves_its_input(tmp_path):
    """The sum is an array of its own."""
    if importlib.util.find_spec("torch") is None:
        pytest.skip("PyTorch is not installed")
    x, notes = np.arange(3.0), []
    total = GlooGroup(0, 1, str(tmp_path / "store"), 60.0, notes.append).all_reduce(x)
    assert not np.shares_memory(total, x) and total.tolist() == [0, 1, 2]
    assert notes == [{"waits": 0}, {"waits": None}]


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


def test_mpi_expects_all():
    """An array that is shorter than the room for it is refused, as by the other groups."""
    if train_distributed.mpiexec_of() is None:
        pytest.skip("mpi4py is not installed (extra: mpi)")
    program = ("import numpy as np; from tangled.t34_distributed.engines import MPIGroup; group = MPIGroup(); "
               "sent = group.send(np.ones(2), 0); group.recv(np.empty(3), 0)")
    run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert "ValueError: rank 0 sent 16 bytes; expected 24" in run.stderr


def test_spawn_refuses(monkeypatch):
    """Nine workers, another way, a worker that would start workers."""
    with pytest.raises(ValueError, match=r"size = 9, way = 'memory'; expected 1 to 8"):
        spawn(9, SUMS)
    with pytest.raises(ValueError, match="way = 'pigeons'"):
        spawn(2, SUMS, way="pigeons")
    monkeypatch.setenv("TANGLED_RANK", "0")
    with pytest.raises(RuntimeError, match="must not start workers"):
        spawn(2, SUMS)
