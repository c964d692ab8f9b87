# Tangled from chapters/29-transformer-decoder.qmd; edit the chapter, then run make tangle. sha256:c31588bd11d193a4
"""Chapter 29: the graded exercises."""

import numpy as np
import pytest

from tangled.t23_seq2seq import greedy_decode
from tangled.t29_transformer_decoder import Transformer
from tangled.testing import assert_close, rng


@pytest.mark.value
def test_average_weights(exercises):
    """Means in the first one's dtypes; a generator will do; nothing is changed; many small numbers are not lost."""
    states = [{"a": rng(k).standard_normal((3, 2)).astype(np.float32), "b": np.full(2, k, np.float16)}
              for k in range(5)]
    kept = [{name: a.copy() for name, a in state.items()} for state in states]
    got = exercises.average_weights(state for state in states)
    assert set(got) == {"a", "b"} and got["a"].dtype == np.float32 and got["b"].dtype == np.float16
    assert_close(got["a"], np.mean([s["a"].astype(float) for s in states], axis=0).astype(np.float32), what="a")
    assert_close(got["b"], np.full(2, 2, np.float16), tol=0, what="b")
    for state, old in zip(states, kept):
        assert all((state[name] == old[name]).all() for name in old)
    large = exercises.average_weights({"a": np.array([1e4, 60000], np.float16)} for _ in range(3000))
    assert_close(large["a"].astype(float), np.array([1e4, 60000.0]), tol=1e-3, what="a mean of 3,000")
    with pytest.raises(ValueError, match="states"):
        exercises.average_weights([])


def decoder(seed, calls):
    """logits_of for a small sharp model and one source, an EOS that comes soon, and what greedy decoding says."""
    model = Transformer(8, 8, 2, 1, 6, rng=rng(seed)).astype(np.float64).eval()
    for parameter in model.parameters():
        parameter.data += 0.5 * rng(seed + 50).standard_normal(parameter.data.shape)
    source = rng(seed).integers(3, 8, (1, 4))

    def logits_of(tokens):
        calls.append(len(tokens))
        return model(source, np.array([4]), np.asarray(tokens)[None])[0]
    start = model.start(source, np.array([4]))
    eos = int([*greedy_decode(model.step, start, 1, 2, 9)[0], 2][seed])
    return logits_of, eos, greedy_decode(model.step, start, 1, eos, 9)[0].tolist()


@pytest.mark.value
def test_parallel_greedy(exercises):
    """Exactly greedy's output from no draft, a wrong one, a long one, and the right one, which takes one pass."""
    lengths = set()
    for seed in range(6):
        calls = []
        logits_of, eos, want = decoder(seed, calls)
        lengths.add(len(want))
        for draft in ((), (3, 3, 3), tuple(rng(seed).integers(3, 8, 20)), (*want[:4], 7, 7), (eos, 5), tuple(want)):
            calls.clear()
            got, passes = exercises.parallel_greedy(logits_of, 1, eos, 9, draft)
            assert np.asarray(got).tolist() == want, f"draft {draft}"
            assert passes == len(calls) <= len(want) + 1 and max(calls) <= 10
        assert passes == 1, "a right draft was not accepted at once"
    assert len(lengths) > 1
