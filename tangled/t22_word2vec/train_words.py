# Tangled from chapters/22-word2vec.qmd; edit the chapter, then run make tangle. sha256:60cbd6c37ca6ef31
"""Word vectors of the State of the Union: python -m tangled.t22_word2vec.train_words --help"""

import argparse
import hashlib
import json
import sys
import time
from pathlib import Path

import numpy as np

from tangled.data import load_sotu
from tangled.records import store_run
from tangled.t22_word2vec.experiments import analogies, by_gensim, train
from tangled.t22_word2vec.words import TEN, Vocabulary, nearest

MODELS = ("skip-gram", "cbow")


def parse(argv):
    """The options of the command."""
    parser = argparse.ArgumentParser(description="Train word vectors; an interrupted run resumes by itself.")
    parser.add_argument("--model", choices=MODELS, default="skip-gram")
    for name, default in (("epochs", 12), ("dimensions", 64), ("seed", 0), ("sentences", 10 ** 9)):
        parser.add_argument("--" + name, type=int, default=default, help=f"default {default}")
    parser.add_argument("--record", action="store_true", help="both models; write golden/records/t22.json")
    parser.add_argument("--fresh", action="store_true", help="begin anew")
    parser.add_argument("--folder", default="checkpoints", help="of the checkpoints")
    given = parser.parse_args(argv)
    for name in ("epochs", "dimensions", "sentences"):
        if getattr(given, name) < 1:
            raise ValueError(f"{name} = {getattr(given, name)}; expected at least 1")
    return given


def path_of(given):
    """The checkpoint of these settings."""
    settings = {name: getattr(given, name) for name in ("model", "epochs", "dimensions", "seed", "sentences")}
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]
    return Path(given.folder) / f"words-{digest}.npz"


def perform(given):
    """Train, say what came of it, and record it if asked."""
    sentences, models = load_sotu()[:given.sentences], MODELS if given.record else (given.model,)
    vocabulary = Vocabulary(sentences)
    ids, sentence = vocabulary.encode(sentences)
    path = None if given.record else path_of(given)
    if given.fresh and path is not None:
        path.unlink(missing_ok=True)
    values, curves, arrays, seconds = {"V": len(vocabulary.words), "words": len(ids)}, {}, {}, {}
    for model in models:
        start = time.perf_counter()
        tables = train(ids, sentence, vocabulary.counts, model, given.epochs, given.dimensions, seed=given.seed,
                       path=path, progress=True)
        seconds[model] = time.perf_counter() - start
        values[model] = {"examples": tables.pairs, "seconds": seconds[model], "a_second": tables.pairs / seconds[model],
                         "analogies": analogies(tables.w_in, vocabulary.numbers)}
        curves[model], arrays[model] = tables.curves["loss"], tables.w_in
        show(model, values[model], tables.w_in, vocabulary)
    if given.record:
        keep = np.minimum(1, np.sqrt(1e-3 * len(ids) / vocabulary.counts))
        pairs_a_word = values["skip-gram"]["examples"] / given.epochs / float((keep * vocabulary.counts).sum())
        values["gensim"] = by_gensim(sentences, vocabulary, given.epochs, pairs_a_word, given.dimensions)
        values["settings"] = {"epochs": given.epochs, "dimensions": given.dimensions, "seed": given.seed}
        store_run(22, "train_words", values=values, curves=curves, seconds=seconds["skip-gram"],
                  arrays={"vectors": {"w_in": arrays["skip-gram"]}})


def show(model, values, table, vocabulary):
    """Print neighbours and analogies."""
    print(f"{model}: {values['examples']:,} examples in {values['seconds']:.0f} s")
    for word in TEN:
        if word in vocabulary.numbers:
            near = nearest(table, vocabulary.numbers[word])
            print(f"  {word}: " + ", ".join(vocabulary.words[k] for k in near))
    for family, (right, asked, rank) in values["analogies"].items():
        print(f"  {family}: {right} of {asked} analogies, median rank {rank:g}")


def main(argv=None):
    """The command; the exit status."""
    try:
        perform(parse(argv))
    except KeyboardInterrupt:
        print("\ninterrupted: the same command goes on behind the last epoch")
        return 130
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
