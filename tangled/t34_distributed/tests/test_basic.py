# Tangled from chapters/34-distributed.qmd; edit the chapter, then run make tangle. sha256:6ef0cbb7af8aabac
"""Chapter 34: sums over ranks, gradients of all tokens, optimiser state in shares."""

import threading
from types import SimpleNamespace

import numpy as np
import pytest

from tangled.t03_optimizers import AdamW
from tangled.t06_backpropagation import Parameter
from tangled.t30_mini_gpt import GPT
from tangled.t34_distributed.group import Deadlock, Group
from tangled.t34_distributed.replaying import replay, simulate
from tangled.testing import assert_close, assert_layouts, assert_repeatable, rng

OPS = "ring_all_reduce", "tree_all_reduce"
SIZES = (1, 2, 3, 4, 5, 8)


def sums(level, name, xs, order=None, out=False):
    """The op on every rank, xs (R, ...): a list of R results; `out`: into a copy of x itself."""
    def work(group):
        x = xs[group.rank].copy()
        return getattr(level, name)(group, x, *([x] if out else []))
    return simulate(len(xs), work, order)


@pytest.mark.value
@pytest.mark.parametrize("name", OPS)
@pytest.mark.parametrize("case", [f"sum-{size}-{axes}" for size in (2, 3, 4) for axes in (1, 2, 3)])
def test_golden_sums(level, golden, case, name):
    """gloo's sums, of vectors, matrices and more."""
    found = golden(case)
    for total in sums(level, name, found.inputs["x"]):
        assert_close(total, found.outputs["sum"], tol=1e-10, what="sum")


@pytest.mark.value
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", SIZES)
def test_ring_equals_tree_and_sum(level, size, dtype):
    """The same bits on every rank, and the serial sum up to rounding; sizes that the ranks do not divide."""
    for n in (7, 23, 3 * size, size - 1, 2):
        xs = rng(n).standard_normal((size, n)).astype(dtype)
        want = xs.astype(float).sum(axis=0)
        for name in OPS:
            found = sums(level, name, xs)
            assert all(total.tobytes() == found[0].tobytes() for total in found), f"{name} differs between ranks"
            assert found[0].dtype == dtype
            assert_close(found[0].astype(float), want, tol=1e-12 if dtype == np.float64 else 2e-6, what="sum")


@pytest.mark.levels(1, 2, 3)
@pytest.mark.value
@pytest.mark.parametrize("name", OPS)
def test_any_order(level, name):
    """Forty orders of events, arrays not copied before they are received, results changed at once: the same."""
    xs = rng(0).standard_normal((4, 11))

    def work(group):
        total = getattr(level, name)(group, xs[group.rank].copy())
        kept = total.copy()
        total *= 0                                              # whoever still reads it reads zeros
        group.barrier()
        return kept
    for order in (None, *range(39)):
        for total in simulate(4, work, order):
            assert_close(total, xs.sum(axis=0), tol=1e-12, what="sum")


@pytest.mark.levels(1, 2, 3)
@pytest.mark.value
@pytest.mark.parametrize("size", SIZES)
def test_halves_of_the_ring(level, size):
    """reduce_scatter gives each rank its piece, all_gather puts the pieces together."""
    xs = rng(1).standard_normal((size, 4, 5))

    def work(group):
        piece = level.reduce_scatter(group, xs[group.rank])
        return piece, level.all_gather(group, piece, 20)
    for rank, (piece, whole) in enumerate(simulate(size, work)):
        a, b = level.part(20, rank, size)
        assert piece.shape == (b - a,)
        assert_close(piece, xs.sum(axis=0).ravel()[a:b], tol=1e-12, what="piece")
        assert_close(whole, xs.sum(axis=0).ravel(), tol=1e-12, what="whole")


@pytest.mark.levels(1, 2, 3)
@pytest.mark.value
def test_every_send_is_awaited(level, monkeypatch):
    """Nobody returns while an array of his is under way: an engine may forget what it was not asked for."""
    monkeypatch.setattr(level, "BLOCK", 2, raising=False)

    def work(group):
        open_, send = [0], group.send

        def counted(x, to):
            sent, wait = send(x, to), None
            wait, open_[0] = sent.wait, open_[0] + 1
            sent.wait = lambda: (wait(), open_.append(open_.pop() - 1))[0]
            return sent
        group.send, left = counted, []
        for name in (*OPS, "reduce_scatter", "broadcast"):
            getattr(level, name)(group, np.ones(7))
            left.append(open_[0])
        level.all_gather(group, np.ones(level.part(7, group.rank, group.size)[1]
                                        - level.part(7, group.rank, group.size)[0]), 7)
        return [*left, open_[0]]
    for left in simulate(3, work):
        assert left == [0] * 5


@pytest.mark.levels(2, 3)
@pytest.mark.value
def test_what_a_rank_sends(level):
    """The ring: each rank sends less than twice its vector. The tree: rank 0 sends and takes it twice of 4 ranks."""
    def work(group, name):
        sent, send = [], group.send
        group.send = lambda x, to: (sent.append(x.size), send(x, to))[1]
        getattr(level, name)(group, np.ones(240))
        return sum(sent)
    for size in (2, 3, 4, 5):
        assert simulate(size, lambda group: work(group, "ring_all_reduce")) == [2 * (size - 1) * 240 // size] * size
    assert simulate(4, lambda group: work(group, "tree_all_reduce")) == [480, 240, 480, 240]


@pytest.mark.value
def test_broadcast(level):
    """What rank 0 has, in place, from any number of ranks."""
    for size in SIZES:
        xs = rng(2).standard_normal((size, 3, 2))

        def work(group, xs=xs):
            x = xs[group.rank].copy()
            assert level.broadcast(group, x) is x
            return x
        for x in simulate(size, work):
            assert_close(x, xs[0], tol=0, what="x")


@pytest.mark.shape
@pytest.mark.parametrize("name", OPS)
def test_out(level, name):
    """out= is written and returned, x itself too; without it x stays as it is."""
    xs = rng(3).standard_normal((3, 4, 5)).astype(np.float32)
    for total in sums(level, name, xs, out=True):
        assert_close(total, xs.sum(axis=0), tol=1e-5, what="sum")

    def work(group):
        x, out = xs[group.rank], np.full((4, 5), np.nan, np.float32)
        assert getattr(level, name)(group, x, out=out) is out
        return out
    before = xs.copy()
    for total in simulate(3, work):
        assert_close(total, before.sum(axis=0), tol=1e-5, what="sum")
    assert_close(xs, before, tol=0, what="x")


@pytest.mark.value
def test_part(level):
    """Pieces cover all things in order, and differ by at most one."""
    for n in (0, 1, 5, 12, 13):
        for size in (1, 2, 5, 7):
            pieces = [level.part(n, rank, size) for rank in range(size)]
            assert [i for a, b in pieces for i in range(a, b)] == list(range(n))
            assert max(b - a for a, b in pieces) - min(b - a for a, b in pieces) <= 1


@pytest.mark.gradient
def test_golden_tokens(level, golden):
    """Micro-batches of 5, 1, 2, 9 and 3 tokens on three ranks, one of them without any: the gradient of all."""
    case = golden("tokens")
    ranks, g, counts = np.array(case.inputs["ranks"]), case.inputs["gradients"], case.inputs["counts"]

    def work(group):
        mine = ranks == group.rank
        return level.synchronise(group, g[mine], counts[mine])
    for gradient, norm in simulate(case.inputs["size"], work):
        assert_close(gradient, case.outputs["gradient"], tol=1e-10, what="gradient")
        assert_close(np.array(norm), np.array(case.outputs["norm"]), tol=1e-10, what="norm")


@pytest.mark.gradient
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_synchronise(level, size, dtype):
    """Rows weighted by their tokens over all ranks; shortened when all is summed, and only if it is too long."""
    g, counts = rng(4).standard_normal((size, 3, 6)).astype(dtype), rng(5).integers(0, 7, (size, 3))
    counts[0, 0] = 4
    mean = np.einsum("ra,ran->n", counts, g.astype(float)) / counts.sum()
    norm = np.linalg.norm(mean)
    for longest in (None, 0.3 * norm, 3 * norm):
        found = simulate(size, lambda group, longest=longest: level.synchronise(
            group, g[group.rank], counts[group.rank], longest))
        for gradient, length in found:
            assert gradient.tobytes() == found[0][0].tobytes() and gradient.dtype == dtype
            shrink = 0.3 if longest is not None and longest < norm else 1
            assert_close(gradient.astype(float), shrink * mean, tol=2e-6, what="gradient")
            assert_close(np.array(float(length)), norm, tol=2e-6, what="norm")


@pytest.mark.levels(1, 2, 3)
@pytest.mark.value
def test_norm_of_long_gradients(level):
    """Squares that float32 does not hold: the norm is a float64's, and what is shortened is right."""
    g = np.full((1, 8), 3e25, np.float32)
    for gradient, norm in simulate(2, lambda group: level.synchronise(group, g, [2], max_norm=1.0)):
        assert_close(np.array(norm), np.array(8**0.5 * 3e25), tol=1e-6, what="norm")
        assert_close(gradient.astype(float), np.full(8, 8**-0.5), tol=1e-6, what="gradient")
    found = steps_of(level, np.ones(8, np.float32), g[None].repeat(2, axis=1), np.array([[2, 2]]), 2, longest=1.0)
    assert_close(np.array(found[1].norms), np.array([8**0.5 * 3e25]), tol=1e-6, what="norm")


@pytest.mark.edge
def test_a_mean_over_no_token(level):
    """It may be nan, and counts for nothing: one of two micro-batches, all of a rank's, the sharded optimiser's."""
    g = np.array([[np.nan, np.inf, 1.0], [1.0, 2.0, 3.0]])
    for counts in ([0, 4], [0, 4]), ([0, 0], [0, 4]):
        for gradient, _ in simulate(2, lambda group, counts=counts: level.synchronise(group, g, counts[group.rank])):
            assert_close(gradient, g[1], tol=1e-12, what="gradient")
    found = steps_of(level, np.zeros(3), g[None], np.array([[0, 4]]), 2, lr=0.1, weight_decay=0.0)
    assert_close(found[0].weights, np.full(3, -0.1), tol=1e-6, what="weights")


@pytest.mark.value
def test_worked_trace(level):
    """The chapter's trace: 3 tokens with 2 and 1 with 6 on rank 0, 8 with 1 on rank 1."""
    given = (np.array([[2.0], [6]]), [3, 1]), (np.ones((1, 1)), [8])
    for gradient, norm in simulate(2, lambda group: level.synchronise(group, *given[group.rank])):
        assert_close(gradient, np.array([5 / 3]), tol=1e-12, what="gradient")
        assert_close(np.array(norm), np.array(5 / 3), tol=1e-12, what="norm")


@pytest.mark.value
def test_synchronise_by_another_sum(level):
    """`reduce` takes the place of the ring, and is called once, with one number more than the gradient has."""
    g, counts = rng(6).standard_normal((2, 1, 5)), [[3], [8]]

    def work(group):
        seen = []

        def reduce(group, x):
            seen.append(x.shape)
            return level.tree_all_reduce(group, x)
        return level.synchronise(group, g[group.rank], counts[group.rank], reduce=reduce)[0], seen
    for gradient, seen in simulate(2, work):
        assert_close(gradient, (3 * g[0, 0] + 8 * g[1, 0]) / 11, tol=1e-12, what="gradient")
        assert seen == [(6,)]


@pytest.mark.levels(1, 2, 3)
@pytest.mark.value
@pytest.mark.parametrize("count", [12, 7, 2, 0])
def test_draw_share(level, count):
    """All parts side by side are what one process draws, also in the next step."""
    generators = [np.random.default_rng(8) for _ in range(4)]
    alone = np.random.default_rng(8)
    for _ in range(3):
        shares = [level.draw_share(g, 1000, count, rank, 4) for rank, g in enumerate(generators)]
        assert_close(np.concatenate(shares), alone.integers(0, 1000, count), tol=0, what="places")


def steps_of(level, weights, g, counts, size, longest=None, **options):
    """Weights and moments after all steps, on every rank; g (steps, R, n), counts (steps, R)."""
    def work(group):
        mine = weights + group.rank                             # every rank begins elsewhere
        optimizer = level.ShardedAdamW(group, mine, **options)
        norms = [optimizer.step(step[group.rank], count[group.rank], longest) for step, count in zip(g, counts)]
        return SimpleNamespace(weights=mine, state=optimizer.state_dict(), norms=norms, held=optimizer.held)
    return simulate(size, work)


@pytest.mark.levels(3)
@pytest.mark.value
def test_more_than_a_block(level, monkeypatch):
    """Blocks of 3 numbers, the last one shorter: sums, norms and steps are those of one block."""
    xs = rng(18).standard_normal((3, 25))
    g, counts = rng(19).standard_normal((3, 3, 25)), rng(20).integers(1, 5, (3, 3))

    def results():
        yield from (sums(level, name, xs)[1] for name in OPS)
        yield from simulate(3, lambda group: level.synchronise(group, g[group.rank], counts[group.rank], 0.1))[2]
        each = steps_of(level, xs[0].copy(), g, counts, 3, longest=0.1, lr=0.1, decayed=12, weight_decay=0.3)[1]
        yield from (each.weights, each.state["m"], each.state["v"], np.array(each.norms))
    want = list(results())
    monkeypatch.setattr(level, "BLOCK", 3)
    for got, wanted in zip(results(), want, strict=True):
        assert_close(np.asarray(got), np.asarray(wanted), tol=1e-12, what="result")


@pytest.mark.value
def test_golden_adamw(level, golden):
    """Six steps on three ranks, matrices that decay and vectors that do not: torch.optim.AdamW's weights."""
    case = golden("adamw")
    found = steps_of(level, case.inputs["weights"], case.inputs["gradients"], case.inputs["counts"], 3, lr=0.03,
                     betas=(0.8, 0.95), eps=1e-6, weight_decay=0.2, decayed=7)
    for each in found:
        assert_close(each.weights, case.outputs["weights"], tol=1e-9, what="weights")


@pytest.mark.value
@pytest.mark.parametrize("size, decayed", [(1, 4), (2, 5), (3, 0), (4, 9), (5, None)])
def test_shares_equal_the_whole(level, size, decayed):
    """AdamW on the mean gradient, clipped: weights the same bits on every rank, moments the same as one process's."""
    w, g, counts = rng(9).standard_normal(9), rng(10).standard_normal((4, size, 9)), rng(11).integers(1, 5, (4, size))
    found = steps_of(level, w, g, counts, size, longest=0.9, lr=0.05, betas=(0.7, 0.9), eps=1e-5, weight_decay=0.3,
                     decayed=decayed)
    edge = 9 if decayed is None else decayed
    parts = [(Parameter(w[a:b]), decay) for a, b, decay in ((0, edge, 0.3), (edge, 9, 0.0)) if b > a]
    optimizers = [AdamW([p], 0.05, (0.7, 0.9), 1e-5, decay) for p, decay in parts]
    for step, count in zip(g, counts):
        mean = count @ step / count.sum()
        mean *= min(1, 0.9 / np.linalg.norm(mean))
        pieces = np.split(mean, [edge]) if len(parts) == 2 else [mean]
        for (p, _), optimizer, piece in zip(parts, optimizers, pieces):
            p.grad = piece
            optimizer.step()
    want = np.concatenate([p.data for p, _ in parts])
    for each in found:
        assert each.weights.tobytes() == found[0].weights.tobytes()
        assert_close(each.weights, want, tol=1e-6, what="weights")          # PyTorch clips to 0.9 / (1 + 1e-6)
        for name in "mv":
            moments = np.concatenate([o.state[0][name] for o in optimizers])
            assert_close(each.state[name], moments, tol=5e-6, what=name)
    assert_close(np.array(found[0].norms[0]), np.linalg.norm(counts[0] @ g[0] / counts[0].sum()), tol=1e-9, what="norm")


@pytest.mark.levels(1, 2, 3)
@pytest.mark.value
def test_moments_are_in_shares(level):
    """Each rank holds its piece of two moments, together they are 2 n."""
    found = steps_of(level, np.ones(11), np.ones((1, 4, 11)), np.ones((1, 4), int), 4)
    assert [each.held for each in found] == [2 * (b - a) for a, b in (level.part(11, r, 4) for r in range(4))]


@pytest.mark.value
def test_state_on_other_ranks(level):
    """State that three ranks gave is taken up by two, and they go on as one process would."""
    w, g = rng(12).standard_normal(7), rng(13).standard_normal((5, 6, 7))

    def work(group, start, state, steps):
        mine = start.copy()
        optimizer = level.ShardedAdamW(group, mine, lr=0.1, decayed=3)
        if state:
            optimizer.load_state_dict(state)
        for step in g[steps]:
            share = slice(*level.part(6, group.rank, group.size))
            optimizer.step(step[share].mean(axis=0), 2 * len(step[share]))
        return mine, optimizer.state_dict()
    first, state = simulate(3, lambda group: work(group, w, None, slice(0, 2)))[0]
    kept = {name: state[name].copy() for name in "mv"}
    (want, _), = simulate(1, lambda group: work(group, w, None, slice(0, 5)))
    assert state["t"] == 2
    for size in (2, 1):
        found, _ = simulate(size, lambda group: work(group, first, state, slice(2, 5)))[-1]
        assert_close(found, want, tol=1e-10, what="weights")
        for name in "mv":
            assert_close(state[name], kept[name], tol=0, what=f"{name} of the state that was loaded")


@pytest.mark.value
@pytest.mark.parametrize("size", [1, 2])
def test_state_stays_as_it_was(level, size):
    """What state_dict gave does not follow the steps after it, on one rank either."""
    def work(group):
        optimizer = level.ShardedAdamW(group, np.arange(5.0))
        optimizer.step(np.ones(5), 3)
        state = optimizer.state_dict()
        kept = {name: state[name].copy() for name in "mv"}
        optimizer.step(np.full(5, 7.0), 3)
        return state, kept
    for state, kept in simulate(size, work):
        for name in "mv":
            assert_close(state[name], kept[name], tol=0, what=name)


@pytest.mark.value
def test_lr_may_change(level):
    """A schedule sets lr: 0 changes nothing."""
    def work(group):
        w = np.arange(5.0)
        optimizer = level.ShardedAdamW(group, w, weight_decay=0.5)
        optimizer.lr = 0.0
        optimizer.step(np.ones(5), 3)
        kept = w.copy()
        optimizer.lr = 0.1
        optimizer.step(np.ones(5), 3)
        return kept, w
    for kept, w in simulate(2, work):
        assert_close(kept, np.arange(5.0), tol=0, what="w")
        assert np.abs(w - kept).min() > 0.01


@pytest.mark.value
def test_weights_may_change(level):
    """A step goes on from what stands in the weights, as after a checkpoint; a norm that is allowed changes nothing."""
    def work(group, longest=None):
        w = np.arange(7.0)
        optimizer = level.ShardedAdamW(group, w, lr=0.1, weight_decay=0.0)
        optimizer.step(np.full(7, 0.5), 3, longest)
        w[...] = 100.0
        optimizer.step(np.full(7, 0.5 + group.rank), 3, longest)
        return w
    for longest in (None, 50.0):
        for w, want in zip(simulate(3, lambda group, longest=longest: work(group, longest)), simulate(3, work)):
            assert_close(w, want, tol=0, what="w")
            assert np.abs(w - 99.9).max() < 0.05


@pytest.mark.levels(2)
@pytest.mark.gradient
@pytest.mark.parametrize("every", [1, 2, 3, 9])
def test_checkpointed(level, every):
    """Blocks of a GPT with dropout: the same output, gradients and state of the generator; inputs of segments kept."""
    results = []
    for wrap in (False, True):
        generator = np.random.default_rng(3)
        model = GPT(7, 6, 8, 2, 5, dropout=0.2, rng=generator)
        kept = level.Checkpointed(model.blocks, every, [generator])
        if wrap:
            model.blocks = [kept]
        ids, weights = rng(14).integers(0, 7, (3, 6)), rng(15).standard_normal((3, 6, 7))
        for _ in range(2):
            model.zero_grad()
            logits = model(ids)
            held = sum(each.cache is not None for block in kept.layers for each in block.modules())
            model.backward(weights)
        results.append([logits, *(p.grad for p in model.parameters()), generator.random(3)])
        assert (held == 0) == wrap
        if wrap:
            assert kept.runs == 2 * 2 * 5 and len(kept.cache) == -(-5 // every)
    for got, want in zip(results[1], results[0], strict=True):
        assert_close(got, want, tol=0, what="output, gradients, or the generator")


@pytest.mark.levels(1, 2, 3)
@pytest.mark.value
def test_called_twice(level):
    """Nothing is shared between calls, and inputs stay as they are."""
    x, other = rng(16).standard_normal((2, 3, 4))
    for name in OPS:
        call = lambda x, name=name: sums(level, name, [x, other, -x])[1]
        assert_repeatable(call, [x])
    assert_repeatable(lambda g: simulate(2, lambda group: level.synchronise(group, g, [2, 3, 1], 0.5))[0], [x])


@pytest.mark.edge
@pytest.mark.levels(1, 2, 3)
def test_memory_layouts(level):
    """What counts is the array, not how it lies in memory; out= too."""
    x, other = rng(17).standard_normal((2, 3, 4))
    for name in OPS:
        def call(x, out=None, name=name):
            more = lambda group: {"out": out} if group.rank == 0 and out is not None else {}
            return simulate(3, lambda group: getattr(level, name)(group, x if group.rank == 0 else other,
                                                                  **more(group)))[0]
        assert_layouts(call, [x], out=True)


@pytest.mark.value
@pytest.mark.parametrize("simulate", [simulate, replay])
def test_simulated_ranks(simulate):
    """Deadlocks are known at once, errors arrive, ranks with nothing to say are fine, no thread stays."""
    def all_send_first(group):
        group.send(np.ones(2), (group.rank + 1) % group.size).wait()
    with pytest.raises(Deadlock, match=r"rank 0 waits for rank 1 to take its message; rank 1 waits for rank 2"):
        simulate(3, all_send_first)

    def raises(group):
        if group.rank == 1:
            raise KeyError("lost")
        group.recv(np.empty(2), 1)
    with pytest.raises(KeyError, match="lost"):
        simulate(3, raises)
    with pytest.raises(ValueError, match="expected 3 numbers of float64 from rank 0; found 2"):
        simulate(2, lambda g: g.send(np.ones(2), 1).wait() if g.rank == 0 else g.recv(np.empty(3), 0))
    assert simulate(5, lambda group: group.barrier() or group.rank) == [0, 1, 2, 3, 4]
    assert Group().barrier() is None
    with pytest.raises(ValueError, match="size = 65"):
        simulate(65, lambda group: None)
    assert threading.active_count() < 5


@pytest.mark.levels(1, 2, 3)
@pytest.mark.value
@pytest.mark.parametrize("order", [None, 0, 1, 2])
def test_ranks_without_threads(level, order):
    """Run again from its start, a rank gets what it got before: the bits of ranks in threads."""
    xs = rng(21).standard_normal((5, 7))

    def work(group):
        x = xs[group.rank].copy()
        total = level.ring_all_reduce(group, x).copy()
        level.tree_all_reduce(group, x, out=x)
        group.barrier()
        return total, level.broadcast(group, x), x
    for got, want in zip(replay(5, work, order), simulate(5, work, order), strict=True):
        for a, b in zip(got, want):
            assert_close(a, b, tol=0, what="sum")


@pytest.mark.value
@pytest.mark.parametrize("simulate", [simulate, replay])
def test_an_early_change_is_seen(simulate):
    """What is changed before it has been read arrives changed, and what was read before a change stays as it was."""
    def work(group):
        x = np.full(2, 1.0 + group.rank)
        if group.rank == 0:
            sent, late = group.send(x, 1), np.zeros(1)
            x *= 10                                             # too early
            sent.wait()
            x *= 10                                             # late enough
            group.recv(late, 1)
            return [x[0], late[0]]
        group.recv(x, 0)
        group.send(x[:1], 0).wait()
        return x.tolist()
    assert simulate(2, work) == [[100, 10], [10, 10]]

    def late(group):
        x = np.full(2, 1.0 + group.rank)
        if group.rank == 0:
            sent = group.send(x, 1)
            group.recv(np.zeros(2), 1)
            x *= 10                                             # after a wait, and still too early
            sent.wait()
        else:
            group.send(x, 0).wait()
            group.recv(x, 0)
        return x.tolist()
    assert simulate(2, late) == [[10, 10], [10, 10]]
    own = np.ones((2, 2))                                       # arrays that outlive a run

    def kept(group):
        x, room = own[group.rank], np.zeros(2)
        x[...] = 1 + group.rank
        if group.rank == 0:
            group.send(x, 1).wait()
            x *= 10
            group.recv(room, 1)
        else:
            group.recv(room, 0)
            group.send(x, 0).wait()
        return room.tolist()
    assert simulate(2, kept) == [[2, 2], [1, 1]]


@pytest.mark.value
def test_a_turn_for_each_message():
    """In a drawn order a rank hands over at each message that it sends, and in the usual one only where it waits."""
    begun = []

    def work(group):
        begun.append(group.rank)
        for _ in range(3):
            group.send(np.zeros(1), 1 - group.rank)
    replay(2, work, order=0)
    assert sorted(begun) == [0] * 3 + [1] * 3                   # the first turn leads to the second message
    begun.clear()
    replay(2, work)
    assert begun == [0, 1]
