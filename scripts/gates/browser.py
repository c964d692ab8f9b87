"""The exercises of the finished pages in real browsers, without a network: does what the terminal says hold there?

Each page of `_book/` that has an exercise is opened, its button pressed and its editor given level 2, which must
pass, and each pitfall, which must be caught by its name. Chromium reads the pages from the disk, Firefox a few of
them from a local server. What no browser is there for is left out, with a word.
"""

from __future__ import annotations

import contextlib
import functools
import http.server
import json
import os
import queue
import shutil
import subprocess
import tempfile
import threading
from pathlib import Path

from scripts.tangling import pitfalls

SITE = "_book"
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
FIREFOX = ("firefox-esr", "firefox")
IN_FIREFOX = (1, 11, 27)                                # topics: one each for tensors, images, sequences
SILENCE = 900.0                                         # seconds without a word from a page until it has failed
LEFT_OUT = Path(__file__).with_name("browser_left_out.txt")
NARROW = "fails it in a page"                           # of the reason that `grading.in_page` gives
SCRIPT = """<script>
addEventListener("load", async () => {
  const tell = (what) => fetch("%(tell)s", { method: "POST", mode: "no-cors", body: JSON.stringify(what) });
  addEventListener("error", (event) => tell({ error: event.message }));
  const box = document.querySelector("section.exercise");
  const outcome = () => new Promise((resolve) => {
    box.addEventListener("exercise-report", (event) => resolve({ report: event.detail }), { once: true });
    box.addEventListener("exercise-failed", (event) => resolve({ error: event.detail }), { once: true });
  });
  box.querySelector(".exercise-open").click();
  while (!box.querySelector(".cm-content")) await new Promise((resolve) => setTimeout(resolve, 100));
  for (const [name, text] of %(variants)s) {
    bookExercise.replace(text);
    const told = outcome();
    const began = performance.now();
    bookExercise.run();
    await tell({ name, seconds: 0, ...(await told), seconds: (performance.now() - began) / 1000 });
  }
  tell({ end: true });
});
</script></body>"""


def exercises(book) -> list[str]:
    """Offenders: a page whose exercise does not say what the terminal says."""
    site, offenders, seen = (book.root / SITE).resolve(), [], 0
    chromium, firefox = found(CHROMIUM), found(FIREFOX)
    if not (chromium or firefox):
        print("browser: neither Chromium nor Firefox is installed; nothing was looked at")
        return []
    for chapter in book.selected:
        page = site / chapter.path.replace(".qmd", ".html")
        if not page.is_file() or 'class="exercise-open"' not in page.read_text(encoding="utf-8"):
            continue
        seen += 1
        wanted = variants(book.root, chapter.package)
        if chromium:
            offenders += judged(chapter, "Chromium", opened(chromium, page, wanted, from_disk=True))
        if firefox and chapter.topic in IN_FIREFOX:
            offenders += judged(chapter, "Firefox", opened(firefox, page, wanted, from_disk=False))
    if not seen:
        print(f"browser: no page in {SITE}/ has an exercise to run (make render, where npm is installed)")
    return offenders


def found(names: tuple[str, ...]) -> str | None:
    """The first of some programs that is installed."""
    return next((path for name in names if (path := shutil.which(name))), None)


def variants(root: Path, package: str) -> dict[str, str]:
    """What the editor is given: level 2 under "", each pitfall under its number."""
    level2 = root / "tangled" / package / "level2_vectorized.py"
    wrong = {p.number: p.path.read_text(encoding="utf-8") for p in pitfalls.build(root, package).values()}
    return {"": level2.read_text(encoding="utf-8")} | wrong


# -- a page in a browser

def opened(browser: str, page: Path, wanted: dict[str, str], from_disk: bool):
    """What a page tells, as it tells it, opened in a browser that reaches nothing but this machine."""
    told: queue.Queue = queue.Queue()
    site = next(folder for folder in page.parents if folder.name == SITE)
    copy = page.with_name(f"{page.stem}.check.html")
    with listening(told, site) as port, tempfile.TemporaryDirectory(prefix="browser-gate-") as profile:
        values = {"tell": f"http://127.0.0.1:{port}/", "variants": in_script(list(wanted.items()))}
        text = page.read_text(encoding="utf-8")
        copy.write_text(text.replace("</body>", SCRIPT % values), encoding="utf-8")
        address = copy.as_uri() if from_disk else values["tell"] + copy.relative_to(site).as_posix()
        process = subprocess.Popen(command(browser, profile, address), stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL, start_new_session=True)
        try:
            yield from heard(told)
        finally:
            copy.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                os.killpg(process.pid, 9)
            process.wait()


def in_script(value) -> str:
    """JSON that may stand in a script of a page."""
    return json.dumps(value).replace("</", "<\\/")


def command(browser: str, profile: str, address: str) -> list[str]:
    """A headless browser with a profile of its own and no network."""
    if "firefox" in browser:
        prefs = {"network.proxy.type": 1, "network.proxy.http": "127.0.0.1", "network.proxy.http_port": 9,
                 "network.proxy.ssl": "127.0.0.1", "network.proxy.ssl_port": 9,
                 "network.proxy.no_proxies_on": "127.0.0.1", "browser.shell.checkDefaultBrowser": False}
        lines = [f"user_pref({json.dumps(k)}, {json.dumps(v)});" for k, v in prefs.items()]
        Path(profile, "user.js").write_text("\n".join(lines))
        return [browser, "--headless", "--no-remote", "--profile", profile, address]
    return [browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", f"--user-data-dir={profile}",
            "--disable-background-timer-throttling",
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", address]


@contextlib.contextmanager
def listening(told: queue.Queue, site: Path):
    """A server of the site on this machine that puts what is posted to it into the queue; its port."""
    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_POST(self):
            told.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


def heard(told: queue.Queue):
    """What the page tells, until it has said all or nothing for long."""
    while True:
        try:
            what = told.get(timeout=SILENCE)
        except queue.Empty:
            yield {"name": None, "error": f"the page said nothing for {SILENCE:g} s"}
            return
        if what.get("end"):
            return
        yield what


# -- the verdict

def judged(chapter, browser: str, told) -> list[str]:
    """Offenders of one page."""
    offenders, left_out = [], left_out_of(chapter.package)
    say = lambda text: offenders.append(f"{chapter.path}:1: in {browser}, {text}")
    for what in told:
        name = f"pitfall {what['name']}" if what.get("name") else "level 2"
        if what.get("error"):
            say(f"{name}: {what['error']}")
            continue
        report, records = what["report"], what["report"]["records"]
        narrow = sorted({r["name"] for r in records if r["outcome"] == "skipped" and NARROW in r["why"]})
        print(f"  {chapter.package} {browser}: {name}, {report['passed']} passed, {report['failed']} failed, "
              f"{len(narrow)} the solution fails, {what['seconds']:.0f} s", flush=True)
        if not what["name"]:
            if report["status"]:
                say("level 2 fails: " + " | ".join(report["report"])[:300])
            for test in {*narrow, *report.get("absent", ())} - left_out:
                say(f"{test} is left out because the solution fails it, and {LEFT_OUT.name} does not name it")
        elif what["name"] not in report["named"]:
            say(f"{name} has no name: {report['failed']} tests fail")
    return offenders


def left_out_of(package: str) -> set[str]:
    """The tests of a package that are known to ask for a newer NumPy or wider integers than a page has."""
    lines = (line.split(None, 1) for line in LEFT_OUT.read_text(encoding="utf-8").split("\n") if line.strip())
    return {name for own, name in lines if own == package}
