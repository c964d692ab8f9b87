"""KaTeX inside Python: formulas become HTML with MathML while the book is made, not in the browser."""

from __future__ import annotations

import atexit
import functools
import json
import re
from pathlib import Path

from scripts.typeset.mathematics.tokens import TexError
from scripts.typeset.memo import Memo

FOLDER = Path(__file__).parents[1] / "vendor" / "katex"
LOOSE = re.compile("<mi[^>]*>[^<]*</mi><mo>\u2061</mo>")      # KaTeX makes two children of \\min where MathML wants one
RENDER = """
function render(tex, display) {
  try {
    return JSON.stringify({html: katex.renderToString(tex, {displayMode: display, output: "htmlAndMathml",
                                                            strict: "error", throwOnError: true})});
  } catch (fault) { return JSON.stringify({error: String(fault.message)}); }
}"""


@functools.cache
def _engine():
    from py_mini_racer import MiniRacer

    engine = MiniRacer()
    atexit.register(engine.close)       # left to the interpreter's end, it waits for its thread for ever (3.13)
    engine.eval((FOLDER / "katex.min.js").read_text(encoding="utf-8") + RENDER + ";0")
    return engine


@functools.cache
def version() -> str:
    return str(_engine().eval("katex.version"))


@functools.cache
def _source_hash() -> str:
    return Memo().key((FOLDER / "katex.min.js").stat().st_size, RENDER)


def render(tex: str, display: bool, memo: Memo) -> str:
    """HTML with MathML inside. Raises TexError with KaTeX's own message."""
    key = memo.key("katex", _source_hash(), tex, display)
    known = memo.get(key)
    answer = json.loads(known or _engine().eval(f"render({json.dumps(tex)}, {json.dumps(display)})"))
    if "error" in answer:
        raise TexError(_shortened(answer["error"]))
    if known is None:
        memo.put(key, json.dumps(answer))
    return LOOSE.sub(lambda found: f"<mrow>{found[0]}</mrow>", answer["html"])


def _shortened(message: str) -> str:
    """KaTeX's message without its picture of the place, which is underlined letter by letter."""
    message = re.sub(r"^KaTeX parse error: ", "", message)
    return re.sub(r" at (?:position \d+|end of input):.*$", "", message, flags=re.S)


def mathml(html: str) -> str:
    """The MathML part alone, for readers of EPUB."""
    return re.search(r"<math.*?</math>", html, re.S)[0]
