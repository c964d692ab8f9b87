"""Pandoc, from its PyPI wheel: reading Markdown into its syntax tree, and citations."""

from __future__ import annotations

import functools
import json
import re
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from scripts.errors import Problem
from scripts.tools import environment, message
from scripts.typeset.memo import Memo

# `1. @eq-x.` must be a list item that cites an equation, not an example list
READER = "markdown-example_lists"
PERCENT = re.compile(r'(\d"\}),\{"t":"Space"\},(?=\{"t":"Str","c":"%)')      # in pandoc's JSON


@functools.cache
def program() -> str:
    import pypandoc

    return pypandoc.get_pandoc_path()


@functools.cache
def version() -> str:
    import pypandoc

    return str(pypandoc.get_pandoc_version())


def run(arguments: Sequence[str], text: str) -> tuple[str, str]:
    """What pandoc wrote to its output and to its error stream."""
    done = subprocess.run(
        [program(), *arguments], input=text, capture_output=True, text=True, encoding="utf-8", errors="replace",
        env=environment(),
    )
    if done.returncode:
        raise Problem("", 0, f"pandoc stopped: {message(done.stderr) or f'exit status {done.returncode}'}")
    return done.stdout, done.stderr


def read_all(texts: Sequence[str], memo: Memo, workers: int = 2) -> list[list]:
    """The blocks of each Markdown text, several texts at once; texts seen before are not read again."""
    keys = [memo.key("markdown", READER, version(), text) for text in texts]
    found = {key: memo.get(key) for key in keys}
    missing = {key: text for key, text in zip(keys, texts) if found[key] is None}
    with ThreadPoolExecutor(workers) as pool:
        jobs = pool.map(lambda text: run(["-f", READER, "-t", "json"], text)[0], missing.values())
        for key, tree in zip(missing, jobs):
            found[key] = memo.put(key, tree)
    return [json.loads(bound(found[key]))["blocks"] for key in keys]


def bound(tree: str) -> str:
    """No line ends between a number and its %."""
    return PERCENT.sub(r'\1,{"t":"Str","c":"\\u00a0"},', tree)


def read_inlines(texts: Sequence[str], memo: Memo) -> list[list]:
    """Short pieces of Markdown (titles, captions given as attributes), all in one call."""
    document = "".join(f"# {' '.join(text.split())} \n\n" for text in texts)
    headings = [block for block in read_all([document], memo)[0] if block["t"] == "Header"]
    return [heading["c"][2] for heading in headings]


def api_version(memo: Memo) -> list[int]:
    key = memo.key("api", version())
    text = memo.get(key) or memo.put(key, run(["-f", "markdown", "-t", "json"], "")[0])
    return json.loads(text)["pandoc-api-version"]
