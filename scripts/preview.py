"""The site as it is being written: a small server for `_book/` that renders a saved chapter again."""

from __future__ import annotations

import functools
import http.server
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

from scripts.errors import Problem, Problems
from scripts.reading.chapters import read_book
from scripts.render import parser, render, settings

VERSION = "/__version"
RELOAD = f"""<script>
(() => {{ let seen = null;
  const look = async () => {{
    try {{
      const now = await (await fetch("{VERSION}")).text();
      if (seen !== null && now !== seen) location.reload();
      seen = now;
    }} catch (gone) {{ }}
    setTimeout(look, 700); }};
  look(); }})();
</script></body>""".encode()


def main(argv: list[str]) -> int:
    """Serve `_book/` on this machine alone, and render a chapter again when it is saved."""
    options = parser("preview")
    options.add_argument("--port", type=int, default=4848)
    options.set_defaults(formats="html")
    args = options.parse_args(argv)
    return serve(settings(args), args.port)


class State:
    """How often the site was made anew."""
    version = 0


class Pages(http.server.SimpleHTTPRequestHandler):
    """Files of the site, each page with the script that asks whether it is still the newest."""

    def do_GET(self) -> None:
        if self.path == VERSION:
            return self.answer(str(State.version).encode(), "text/plain")
        path = Path(self.translate_path(self.path))
        path = path / "index.html" if path.is_dir() and self.path.endswith("/") else path
        if path.suffix == ".html" and path.is_file():
            return self.answer(path.read_bytes().replace(b"</body>", RELOAD, 1), "text/html; charset=utf-8")
        return super().do_GET()

    def answer(self, body: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args) -> None:
        pass


def sources(root: Path) -> dict[str, int]:
    """When each source was last saved."""
    paths = [*root.glob("*.qmd"), *root.glob("chapters/*.qmd"), root / "_quarto.yml", root / "references.bib"]
    found = {}
    for path in paths:
        try:
            found[path.relative_to(root).as_posix()] = path.stat().st_mtime_ns
        except OSError:
            continue
    return found


def server(out: Path, port: int) -> http.server.ThreadingHTTPServer:
    """A server on this machine alone, at the port or the next free one."""
    handler = functools.partial(Pages, directory=str(out))
    for n in range(20):
        try:
            return http.server.ThreadingHTTPServer(("127.0.0.1", port + n if port else 0), handler)
        except OSError:
            continue
    raise Problem("", 0, f"ports {port} to {port + 19} are taken; expected a free one, choose with --port")


def serve(wanted, port: int, stop: threading.Event | None = None) -> int:
    """Serve until interrupted (or until `stop` is set)."""
    out = wanted.root / "_book"
    once(wanted)
    web = server(out, port)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    print(f"http://127.0.0.1:{web.server_address[1]}/  (renders again when saved; Ctrl-C stops)", flush=True)
    try:
        follow(wanted, stop or threading.Event())
    except KeyboardInterrupt:
        print()
    finally:
        web.shutdown()
        web.server_close()
    return 0


def follow(wanted, stop: threading.Event, pause: float = 0.4) -> None:
    """Render what was saved, until told to stop."""
    before = sources(wanted.root)
    while not stop.wait(pause):
        now = sources(wanted.root)
        changed = sorted(p for p in now if now[p] != before.get(p))
        if changed or set(before) - set(now):
            before = now
            once(replace(wanted, only=chapters_of(wanted, changed)))


def chapters_of(wanted, changed: list[str]) -> list | None:
    """The chapters to be rendered for what was saved; None: the whole book."""
    if not changed or not all(p.endswith(".qmd") for p in changed):
        return wanted.only
    try:
        known = {c.path for c in read_book(wanted.root, changed).chapters}
    except (Problem, Problems):
        known = set(changed)
    return [p for p in changed if p in known] or wanted.only


def once(wanted) -> None:
    """Render; a mistake is said and waits for the next save."""
    start = time.perf_counter()
    try:
        if wanted.only:
            print(f"{', '.join(map(str, wanted.only))} ...", flush=True)
        render(replace(wanted, quiet=True))
    except (Problem, Problems) as mistake:
        print(mistake, file=sys.stderr, flush=True)
        return
    State.version += 1
    print(f"rendered in {time.perf_counter() - start:.1f} s", flush=True)
