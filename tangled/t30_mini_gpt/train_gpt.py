# Tangled from chapters/30-mini-gpt.qmd; edit the chapter, then run make tangle. sha256:e1df52a521354230
"""A mini-GPT on nine plays: python -m tangled.t30_mini_gpt.train_gpt --help"""

import argparse
import hashlib
import json
import os
import sys
from pathlib import Path

import numpy as np

from tangled.data import load_shakespeare
from tangled.measuring import torch_available
from tangled.records import store_run
from tangled.t30_mini_gpt.level2_vectorized import evaluate
from tangled.t30_mini_gpt.level3_memory_efficient import FlatGPT
from tangled.t30_mini_gpt.training import SETTINGS, Numpy, sample, train

CHOICES = {"greedy": {"temperature": 0}, "temperature 1": {}, "top-p 0.9": {"top_p": 0.9},
           "temperature 1.5": {"temperature": 1.5}, "temperature 1.5, min-p 0.1": {"temperature": 1.5, "min_p": 0.1}}


def parse(argv):
    """The options of the command."""
    parser = argparse.ArgumentParser(description="Train a mini-GPT on the plays; resumes by itself.")
    parser.add_argument("--data", help="a text file in place of the plays, such as TinyShakespeare's input.txt")
    parser.add_argument("--minutes", type=float, default=10.0, help="of training, evaluations not counted (default 10)")
    parser.add_argument("--steps", type=int, help="so many steps instead of minutes")
    for name, default in SETTINGS.items():
        parser.add_argument("--" + name.replace("_", "-"), type=type(default), default=default,
                            help=f"default {default}" + (" for characters" if name == "merges" else ""))
    parser.add_argument("--only", choices=("numpy", "torch"), help="train one of the two; default: ours, and with "
                        "--record both")
    parser.add_argument("--fresh", action="store_true", help="start anew; an old checkpoint is set aside")
    parser.add_argument("--record", action="store_true", help="write golden/records/t30.json and the network")
    parser.add_argument("--folder", default="checkpoints", help="of the checkpoints")
    parser.add_argument("--out", default="build/train_gpt.png", help="the figure")
    given = parser.parse_args(argv)
    for name in ("width", "heads", "layers", "context", "batch", "accumulate", "warmup", "threads"):
        if getattr(given, name) < 1:
            raise ValueError(f"{name} = {getattr(given, name)}; expected at least 1")
    if not 0 < given.minutes < 10_000 or (given.steps is not None and given.steps < 1):
        raise ValueError(f"minutes = {given.minutes}, steps = {given.steps}; expected more than 0")
    if given.record and (given.data is not None or given.merges or given.only):
        raise ValueError("record with data, merges or only; expected the plays, by characters, by ours and PyTorch")
    if (given.record or given.only == "torch") and not torch_available():
        raise ValueError("torch is not installed; expected it for --record and --only torch")
    return given


def path_of(given, settings, name, text):
    """Where the checkpoint of these settings and this text lives; set aside if --fresh."""
    which = {"text": hashlib.sha256(text.encode()).hexdigest(), "minutes": given.minutes, "steps": given.steps}
    which |= settings
    digest = hashlib.sha256(json.dumps(which, sort_keys=True).encode()).hexdigest()[:8]
    path = Path(given.folder) / f"gpt-{name}-{digest}.npz"
    if given.fresh and path.exists():
        free = next(p for k in range(1, 10_000) if not (p := path.with_name(f"{path.stem}.old-{k}.npz")).exists())
        path.rename(free)
        print(f"{path} set aside as {free.name}")
    return path


def perform(given):
    """Train, say what came of it, draw it, and record it if asked."""
    text = load_shakespeare() if given.data is None else read_text(given.data)
    settings, runs = {name: getattr(given, name) for name in SETTINGS}, {}
    names = [given.only] if given.only else ["numpy", "torch"] if given.record else ["numpy"]
    for name in names:
        found = runs[name] = run(name, text, given, settings)
        print(f"{name}: {found.steps} steps of training in {found.seconds:.0f} s; "
              f"held out, first {len(found.held[:1 << 14]):,} symbols: {found.curves['held'][-1]:.4f} nats a symbol")
    if "numpy" in runs:
        network = rounded(runs["numpy"].runner.model.state_dict(), settings)
        values = judged(network, runs["numpy"], text)
        print(f"held out, all of it: {values['held']:.4f} nats a symbol, {values['bits a byte']:.3f} bits a byte; "
              f"with at least half a context: {values['held, half a context']:.4f}")
        print(f"--- top-p 0.9\n{values['samples']['top-p 0.9']}")
        if given.record:
            record(given, settings, runs, values, network)
    draw(given.out, {name: found.curves for name, found in runs.items()})


def read_text(path):
    """The text of a file; a ValueError that names it where it is not UTF-8."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: byte {error.start} is {error.reason}; expected text in UTF-8") from None


def run(name, text, given, settings):
    """Ours or PyTorch's."""
    make = Numpy
    if name == "torch":
        from tangled.t30_mini_gpt.contestant import Torch as make
    return train(text, settings, given.steps, given.minutes, make, path_of(given, settings, name, text), progress=True)


def rounded(state, settings):
    """The network as it is kept, in float16, ready to run in float32."""
    return FlatGPT({k: a.astype(np.float16).astype(np.float32) for k, a in state.items()}, settings["heads"])


def judged(network, found, text):
    """What the kept network has to say of the last tenth, and samples of it."""
    symbols = len(found.held)
    size = len(text[len(text) * 9 // 10:].encode())
    held = evaluate(network, found.held)
    half = evaluate(network, found.held, stride=max(1, network.context // 2))
    return {"held": held, "perplexity": float(np.exp(held)), "held, half a context": half,
            "bits a byte": held * symbols / size / np.log(2), "bits a byte, half a context":
            half * symbols / size / np.log(2), "symbols": symbols, "vocabulary": network.vocab_size,
            "samples": {name: sample(network, found.tokens, 240, **how) for name, how in CHOICES.items()}}


def record(given, settings, runs, values, network):
    """golden/records/t30.json and the network in float16, with its symbols."""
    ours, tokens = runs["numpy"], runs["numpy"].tokens
    curves = {f"{name} {key}": values_ for name, found in runs.items() for key, values_ in found.curves.items()}
    values |= {"settings": settings, "steps": {name: found.steps for name, found in runs.items()},
               "seconds": {name: found.seconds for name, found in runs.items()}, "early": ours.samples,
               "curve, last": {name: found.curves["held"][-1] for name, found in runs.items()},
               "parameters": sum(p.data.size for p in ours.runner.model.parameters)}
    arrays = {k: a.astype(np.float16) for k, a in network.state_dict().items()}
    arrays["symbols"] = np.array([ord(symbol) for symbol in tokens.symbols], np.uint32)
    store_run(30, "train_gpt", values=values, curves=curves, seconds=sum(r.seconds for r in runs.values()),
              arrays={"network": arrays})


def draw(out, curves):
    """Save the curves to the path `out`."""
    import matplotlib
    matplotlib.use("agg")
    from tangled.t30_mini_gpt import visualization
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    visualization.draw_curves(curves).savefig(out, dpi=150)
    print(f"saved {out}")


def main(argv=None):
    """The command; the exit status."""
    try:
        perform(parse(argv))
    except KeyboardInterrupt:
        print("\ninterrupted: the same command goes on from the last checkpoint")
        return 130
    except (ValueError, OSError, FloatingPointError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    if "OPENBLAS_NUM_THREADS" not in os.environ:                # threads over the batch, none inside a product
        os.environ["OPENBLAS_NUM_THREADS"] = "1"
        os.execv(sys.executable, [sys.executable, "-m", "tangled.t30_mini_gpt.train_gpt", *sys.argv[1:]])
    raise SystemExit(main())
