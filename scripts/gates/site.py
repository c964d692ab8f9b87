"""Reads the finished site as a browser would: every internal link must land, nothing may ask the network."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADS = {("link", "href"), ("script", "src"), ("img", "src"), ("source", "src"), ("iframe", "src"),
         ("object", "data"), ("video", "src"), ("audio", "src"), ("use", "href")}
CSS_URL = re.compile(r"url\(\s*['\"]?([^'\")]+)|@import\s+['\"]([^'\"]+)")


class Page(HTMLParser):
    """Ids, links and loaded resources of one page, with line numbers."""

    def __init__(self, text: str):
        super().__init__(convert_charrefs=True)
        self.ids: dict[str, int] = {}
        self.links: list[tuple[str, int]] = []
        self.loads: list[tuple[str, int]] = []
        self.twice: list[tuple[str, int]] = []
        self.alts: list[int] = []
        self.svg, self.style = 0, False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        line, values = self.getpos()[0], dict(attributes)
        self.svg += tag == "svg"
        self.style = tag == "style"
        if "id" in values and not self.svg:
            if values["id"] in self.ids:
                self.twice.append((values["id"], line))
            self.ids.setdefault(values["id"], line)
        if tag == "a" and values.get("href"):
            self.links.append((values["href"], line))
        if tag == "img" and not (values.get("alt") or "").strip():
            self.alts.append(line)
        for name, value in attributes:
            if (tag, name) in LOADS and value and values.get("rel") not in ("next", "prev", "canonical"):
                self.loads.append((value, line))
            if name == "style" and value:
                self.loads += [(a or b, line) for a, b in CSS_URL.findall(value)]

    def handle_endtag(self, tag):
        self.svg -= tag == "svg" and self.svg > 0
        self.style = False

    def handle_data(self, data):
        if self.style:
            self.loads += [(a or b, self.getpos()[0]) for a, b in CSS_URL.findall(data)]


def broken(site: Path) -> list[str]:
    """Offenders of a folder of HTML pages: `page:line: what`."""
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}
    offenders = [f"{site}:1: no index.html"] if site / "index.html" not in pages else []
    for path, page in pages.items():
        offenders += [f"{path}:{line}: {why}" for line, why in judge(path, page, pages)]
    for path in sorted(site.rglob("*.css")):
        for a, b in CSS_URL.findall(path.read_text(encoding="utf-8")):
            target = a or b
            if remote(target):
                offenders.append(f"{path}:1: asks the network for {target}")
            elif not target.startswith(("data:", "#")) and not resolved(path, target).exists():
                offenders.append(f"{path}:1: loads {target}, which does not exist")
    return offenders


def remote(target: str) -> bool:
    return bool(re.match(r"(https?:)?//", target))


def judge(path: Path, page: Page, pages: dict):
    for target, line in page.loads:
        if remote(target):
            yield line, f"asks the network for {target}"
        elif not target.startswith(("data:", "#")) and not resolved(path, target).exists():
            yield line, f"loads {target}, which does not exist"
    for target, line in page.links:
        if urlsplit(target).scheme or remote(target):
            continue
        other = resolved(path, target) if urlsplit(target).path else path
        name = unquote(urlsplit(target).fragment)
        if not other.exists():
            yield line, f"link to {target}, which does not exist"
        elif name and other in pages and name not in pages[other].ids:
            yield line, f"link to {target}: no such place on that page"
    for name, line in page.twice:
        yield line, f"id {name!r} stands twice on the page"
    for line in page.alts:
        yield line, "a picture without a text alternative"


def resolved(page: Path, target: str) -> Path:
    path = page.parent / unquote(urlsplit(target).path)
    return Path(*_normal(path.parts))


def _normal(parts):
    out: list[str] = []
    for part in parts:
        if part == ".." and out and out[-1] != "..":
            out.pop()
        elif part != ".":
            out.append(part)
    return out
