# Tangled from chapters/19-lstm.qmd; edit the chapter, then run make tangle. sha256:cf59a48c17639fdc
"""LSTM against RNN on the adding problem: python -m tangled.t19_lstm.train_adding --help"""

import argparse
import hashlib
import json
import sys
import time
from pathlib import Path

from tangled.records import store_run
from tangled.t19_lstm.experiments import BASELINE, SOLVED, train_adder

RUNS = {"lstm": {"cell": "lstm", "hidden": 32, "lr": 1e-2}, "rnn": {"cell": "rnn", "hidden": 64, "lr": 1e-3},
        "lstm, bias 0": {"cell": "lstm", "hidden": 32, "lr": 1e-2, "forget_bias": 0.0}}
EVERY = 100


def numbers(text):
    """Whole numbers of "50,100"."""
    return [int(part) for part in text.split(",")]


def parse(argv):
    """The options of the command."""
    parser = argparse.ArgumentParser(description="The adding problem; resumes by itself.")
    parser.add_argument("--lengths", type=numbers, default=[50, 100, 200], help="default 50,100,200")
    parser.add_argument("--seeds", type=int, default=3, help="how many (default 3)")
    parser.add_argument("--steps", type=int, default=2500, help="at most (default 2500)")
    parser.add_argument("--fresh", action="store_true", help="start anew; old checkpoints are set aside")
    parser.add_argument("--record", action="store_true", help="write golden/records/t19.json")
    parser.add_argument("--folder", default="checkpoints", help="of the checkpoints")
    parser.add_argument("--out", default="build/train_adding.png", help="the figure")
    given = parser.parse_args(argv)
    for name, low in (("seeds", 1), ("steps", 1)):
        if getattr(given, name) < low:
            raise ValueError(f"{name} = {getattr(given, name)}; expected at least {low}")
    if min(given.lengths) < 2:
        raise ValueError(f"lengths = {given.lengths}; expected at least 2 each")
    return given


def path_of(given, name, T, seed):
    """Where the checkpoint of one run lives; set aside if --fresh."""
    which = {"T": T, "seed": seed, "steps": given.steps, **RUNS[name]}
    digest = hashlib.sha256(json.dumps(which, sort_keys=True).encode()).hexdigest()[:8]
    path = Path(given.folder) / f"adding-{digest}.npz"
    if given.fresh and path.exists():
        free = next(other for k in range(1, 10_000)
                    if not (other := path.with_name(f"{path.stem}.old-{k}.npz")).exists())
        path.rename(free)
    return path


def perform(given):
    """All runs, one after the other; the figure; the record if asked."""
    solved, held, curves, begun = {}, {}, {}, time.perf_counter()
    for T in given.lengths:
        for name, options in RUNS.items():
            if name == "lstm, bias 0" and given.lengths[0] != T:
                continue                                        # the shortest is enough to see it
            for seed in range(given.seeds):
                path = None if given.record else path_of(given, name, T, seed)
                found = train_adder(T=T, seed=seed, steps=given.steps, every=EVERY, path=path, progress=True,
                                    **options)
                solved.setdefault(name, {}).setdefault(str(T), []).append(found.solved or 0)
                held.setdefault(name, {}).setdefault(str(T), []).append(found.curves["held"][-1])
                curves[f"{name}, T {T}, seed {seed}"] = found.curves["held"]
    for name, of_lengths in solved.items():
        for T, found in of_lengths.items():
            steps = [str(s) if s else "not" for s in found]
            print(f"{name:>12}, T = {T}: below {SOLVED} after {', '.join(steps)} steps "
                  f"(always 1: {BASELINE:.3f}); last errors {', '.join(f'{e:.4f}' for e in held[name][T])}")
    if given.record:
        values = {"solved": solved, "held": held, "steps": given.steps, "runs": RUNS, "lengths": given.lengths}
        store_run(19, "train_adding", values=values, curves=curves, seconds=time.perf_counter() - begun)
    draw(given.out, curves, given.lengths, given.steps)


def draw(out, curves, lengths, steps):
    """Save the errors to the path `out`."""
    import matplotlib
    matplotlib.use("agg")
    from tangled.t19_lstm import visualization
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    visualization.draw_curves(curves, lengths, steps).savefig(out, dpi=150)
    print(f"saved {out}")


def main(argv=None):
    """The command; the exit status."""
    folder = "checkpoints"
    try:
        given = parse(argv)
        folder = given.folder
        perform(given)
    except KeyboardInterrupt:
        print(f"\ninterrupted: checkpoints are in {folder}; the same command goes on from there")
        return 130
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
