"""Times `python -m scripts tangle` as whole processes on a synthetic book of 34 chapters.

Each has about 1,000 lines and 40 chunks.

    python tests/bench_tangle.py [RUNS]

Prints the best and the median wall time and the best CPU time of a cold run (no tangled/, no cache), of one
that has nothing to do, of one without the cache, and of one after a chapter was edited.
"""

from __future__ import annotations

import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WORDS = [
    "gradient",
    "loss",
    "softmax",
    "attention",
    "token",
    "embedding",
    "residual",
    "kernel",
    "variance",
    "batch",
    "stride",
    "cache",
    "logits",
    "entropy",
    "descent",
    "momentum",
]
TARGETS = [
    "level1_naive.py",
    "level2_vectorized.py",
    "level3_memory_efficient.py",
    "level4_pytorch_reference.py",
    "visualization.py",
    "tests/test_basic.py",
    "tests/test_edge.py",
    "tests/test_stress.py",
]


def prose(r: random.Random, lines: int) -> str:
    return (
        "\n".join(" ".join(r.choices(WORDS, k=12)) + "." if i % 4 != 3 else "" for i in range(lines)) + "\n"
    )


def body(r: random.Random, lines: int, indent: str = "") -> str:
    return "".join(
        f"{indent}v{i} = {r.randint(1, 99)} * {i} + {r.randint(1, 9)}  # {r.choice(WORDS)}\n"
        for i in range(lines)
    )


def chunk(attributes: str, code: str) -> str:
    return f"```{{.python {attributes}}}\n{code}```\n"


def chapter(topic: int) -> str:
    """About 1,000 lines with 40 chunks, 5 for each of 8 files."""
    r = random.Random(topic)
    parts = [
        f"---\ntopic: {topic}\npackage: t{topic:02d}_{WORDS[topic % 16]}\nmodule: {topic % 5}\nneeds: []\n"
        'difficulty: 2\nminutes: 90\ntargets:\n  - {api: "f(x)", time: "O(n)", space: "O(1)"}\n---\n\n'
        f"# {WORDS[topic % 16].title()} {{#sec-{topic}}}\n\n{prose(r, 20)}"
    ]
    for target in TARGETS:
        stem = target.rpartition("/")[2][:-3]
        code = (
            f'"""Topic {topic}, {stem}."""\n\nimport math\n\n\n'
            f'def {stem}_a():\n    """Doc.\n\n    More.\n    """\n'
            f"    <<Set up {stem}>>\n    <<Loop over {stem}>>\n    return v0 + math.pi\n"
            f"\n\n<<Helpers of {stem}>>\n"
        )
        parts += [
            f"\n## {target}\n\n$$ x = {topic} $$ {{#eq-{topic:02d}-{stem.replace('_', '-')}}}\n\n",
            prose(r, 13),
            chunk(f'file="{target}" chunk="Root of {stem}"', code),
            prose(r, 9),
            chunk(f'chunk="Set up {stem}"', body(r, 12)),
            prose(r, 9),
            chunk(f'chunk="Loop over {stem}"', "for k in range(3):\n" + body(r, 10, "    ")),
            prose(r, 9),
            chunk(
                f'chunk="Helpers of {stem}"',
                f"def {stem}_h(x):\n    # @eq-{topic:02d}-level1-naive\n"
                + body(r, 12, "    ")
                + "    return v0 + x\n",
            ),
            prose(r, 8),
            chunk(
                f'extend="Helpers of {stem}"',
                f"def {stem}_g(x):\n" + body(r, 10, "    ") + "    return v0 - x\n",
            ),
        ]
    return "".join(parts)


def synthetic_book(root: Path, chapters: int = 34) -> None:
    (root / "chapters").mkdir(parents=True)
    lines = ["book:", "  chapters:"]
    for topic in range(1, chapters + 1):
        lines.append(f"    - chapters/{topic:02d}-x.qmd")
        (root / f"chapters/{topic:02d}-x.qmd").write_text(chapter(topic), encoding="utf-8")
    (root / "_quarto.yml").write_text("\n".join(lines) + "\n", encoding="utf-8")


def run(root: Path) -> tuple[float, float]:
    """Wall and CPU seconds of one process."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "scripts", "tangle", "--root", str(root)],
        cwd=ROOT,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main(runs: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "book"
        synthetic_book(root)
        texts = [p.read_text() for p in (root / "chapters").iterdir()]
        print(
            f"{len(texts)} chapters, {sum(t.count(chr(10)) for t in texts)} lines, "
            f"{sum(t.count('```{.python') for t in texts)} chunks"
        )

        def cold():
            shutil.rmtree(root / "tangled", ignore_errors=True)
            shutil.rmtree(root / ".cache", ignore_errors=True)

        def edited():
            path = root / "chapters/17-x.qmd"
            path.write_text(path.read_text().replace("v3 = ", "v3 = 1 + ", 1))

        run(root)
        print(f"{'':24s}  best wall  median wall  best CPU   (ms, {runs} runs)")
        for name, prepare in (
            ("cold", cold),
            ("nothing changed", lambda: None),
            ("same, without the cache", lambda: shutil.rmtree(root / ".cache", ignore_errors=True)),
            ("one chapter edited", edited),
        ):
            times = []
            for _ in range(runs):
                prepare()
                times.append(run(root))
            wall, cpu = zip(*times)
            print(
                f"{name:24s} {min(wall) * 1e3:10.0f} {statistics.median(wall) * 1e3:12.0f}"
                f" {min(cpu) * 1e3:9.0f}"
            )
        print(sum(1 for _ in (root / "tangled").rglob("*.py")), "files")


if __name__ == "__main__":
    os.environ["PYTHONDONTWRITEBYTECODE"] = ""
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 7)
