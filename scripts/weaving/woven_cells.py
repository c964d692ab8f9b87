"""A cell and its outputs in the form that Quarto gives to executed cells, so that nothing is left to run."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field

FALSE = (False, "false")
ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
DULL = re.compile(r"[\[(]*(?:<Figure|<Axes|<matplotlib|<BarContainer|array\(\[.*<(?:Axes|matplotlib)|Text\()")
MARKS = {"code-fold", "code-summary", "lst-cap", "code-line-numbers"}


@dataclass
class Woven:
    """Markdown rows (text, the chapter's line) and the pictures they show (name -> bytes)."""
    rows: list[tuple[str, int]] = field(default_factory=list)
    pictures: dict[str, bytes] = field(default_factory=dict)

    def add(self, text: str, line: int) -> None:
        self.rows += [(row, line) for row in text.split("\n")]


def quoted(value) -> str:
    text = " ".join(str(value).split())
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def fence(text: str, least: int = 3) -> str:
    """A run of backticks longer than any in the text."""
    return "`" * max([least, *(len(run) + 1 for run in re.findall(r"`{3,}", text))])


def weave_cell(cell, outputs, stem: str, number: int, defaults: dict, cite=lambda text: text) -> Woven:
    """The Markdown of one cell. `outputs` is None where it was not run: its label is kept."""
    options, woven = {**defaults, **cell.options}, Woven()
    if options.get("include", True) in FALSE:
        return woven
    woven.add("::: {.cell}\n", cell.line)
    if options.get("echo", True) not in FALSE:
        _code(woven, cell, options, cite)
    if options.get("output", True) not in FALSE and options.get("eval", True) not in FALSE:
        _results(woven, cell, outputs, options, f"{stem}-{options.get('label') or f'cell-{number}'}")
    woven.add(":::", cell.line)
    return woven


def _code(woven: Woven, cell, options: dict, cite) -> None:
    source = cell.source.strip("\n")
    skipped = len(cell.source) - len(cell.source.lstrip("\n"))
    label = str(options.get("lst-label", ""))
    words = [f"#{label}"] if label else []
    words += [".python", ".cell-code"]
    words += [f"{key}={quoted(str(options[key]).lower() if options[key] in (True, False) else options[key])}"
              for key in sorted(MARKS & set(options)) if key != "lst-cap" or label]
    run = fence(source)
    woven.add(f"{run} {{{' '.join(words)}}}", cell.line)
    for n, line in enumerate(source.split("\n")):
        woven.add(cite(line), cell.first + skipped + n)
    woven.add(run + "\n", cell.line)


def _results(woven: Woven, cell, outputs, options: dict, name: str) -> None:
    """Texts in order; figures or tables gathered under the cell's label, if it has one."""
    label, shown = str(options.get("label", "")), []
    for kind, text in _texts(woven, outputs or [], options, name):
        if kind in {"fig-": ("picture",), "tbl-": ("picture", "markdown")}.get(label[:4], ()):
            shown.append(text)
        elif kind == "asis":
            woven.add(text, cell.line)
        else:
            kind = kind if kind in ("stdout", "stderr", "error") else "display"
            woven.add(f"::: {{.cell-output .cell-output-{kind}}}\n{text}\n:::\n", cell.line)
    if label.startswith(("fig-", "tbl-")):
        woven.add(_float(label, shown, options), cell.line)


def _texts(woven: Woven, outputs, options: dict, name: str):
    """(kind, Markdown) of what is to be seen: stdout, stderr, error, text, markdown, asis or picture."""
    pictures, total = 0, sum(_is_picture(o) for o in outputs)
    for output in _joined(outputs):
        if output["output_type"] == "stream":
            if output["name"] == "stdout" and options.get("output") == "asis":
                yield "asis", _join(output["text"]) + "\n"
            elif output["name"] == "stdout" or options.get("warning", False) not in FALSE:
                yield output["name"], _block(_join(output["text"]))
        elif output["output_type"] == "error":
            yield "error", _block(f"{output['ename']}: {output['evalue']}")
        elif _is_picture(output):
            pictures += 1
            yield "picture", _picture(woven, output["data"], options, name, pictures, total)
        elif "text/markdown" in output["data"]:
            yield "markdown", _join(output["data"]["text/markdown"]).strip("\n") + "\n"
        elif (text := _join(output["data"].get("text/plain", ""))) and not DULL.match(text):
            yield "text", _block(text)


def _joined(outputs):
    """The same stream twice in a row is one text."""
    done: list[dict] = []
    for output in outputs:
        if (output["output_type"] == "stream" and done and done[-1]["output_type"] == "stream"
                and done[-1]["name"] == output["name"]):
            done[-1] = {**done[-1], "text": _join(done[-1]["text"]) + _join(output["text"])}
        else:
            done.append(output)
    return done


def _join(text) -> str:
    return "".join(text) if isinstance(text, list) else str(text)


def _block(text: str) -> str:
    text = ANSI.sub("", text).rstrip()
    text = "\n".join(line.rsplit("\r", 1)[-1] for line in text.split("\n"))    # a progress bar's last state
    run = fence(text)
    return f"{run}\n{text}\n{run}"


def _is_picture(output) -> bool:
    return bool({"image/svg+xml", "image/png"} & set(output.get("data", ())))


def _picture(woven: Woven, data: dict, options: dict, name: str, number: int, total: int) -> str:
    """Keep the picture, and the Markdown that shows it."""
    suffix = f"-{number}" if total > 1 else ""
    if "image/svg+xml" in data:
        file, content = f"{name}{suffix}.svg", plain_svg(_join(data["image/svg+xml"])).encode()
    else:
        file, content = f"{name}{suffix}.png", base64.b64decode(_join(data["image/png"]))
    woven.pictures[file] = content
    alts, captions = options.get("fig-alt", ""), options.get("fig-subcap")
    alt = alts[min(number, len(alts)) - 1] if isinstance(alts, list) and alts else alts
    words = [f"fig-alt={quoted(alt)}"] if alt else []
    words += [f"width={quoted(options['out-width'])}"] if "out-width" in options else []
    caption, label = "", str(options.get("label", ""))
    if isinstance(captions, list) and number <= len(captions):
        caption = str(captions[number - 1])
        words = [f"#{label}-{number}", *words] if label.startswith("fig-") else words
    elif not label.startswith("fig-"):
        caption = str(options.get("fig-cap", ""))
    return f"![{caption}](figures/{file})" + (f"{{{' '.join(words)}}}" if words else "") + "\n"


def plain_svg(text: str) -> str:
    """Matplotlib's SVG as EPUB allows it: no external DTD, and every path says what it draws, if only nothing."""
    text = re.sub(r"<!DOCTYPE[^>]*>\s*", "", text, count=1)
    return re.sub(r'<path (?![^>]*\bd=")', '<path d="M0 0" ', text)


def _float(label: str, shown: list[str], options: dict) -> str:
    """A figure or table with its caption, in the form of a division."""
    columns = f" layout-ncol={options['layout-ncol']}" if "layout-ncol" in options else ""
    body = "\n".join(shown) if shown else "(Not run in this rendering.)\n"
    caption = str(options.get(f"{label[:3]}-cap", "")).strip()
    return f"::: {{#{label}{columns}}}\n\n{body}\n" + (f"{caption}\n" if caption else "") + ":::\n"
