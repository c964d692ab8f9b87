# Tangled from chapters/b-data.qmd; edit the chapter, then run make tangle. sha256:4a61f15d605642cf
"""Fetch the full public sets by name: whole, checked, and resumed where the line broke."""

from __future__ import annotations

import contextlib
import csv
import difflib
import email.utils
import json
import os
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import requests
import urllib3

from tangled.data import DATA, sha256_of
from tangled.outside import safe_extract

try:
    import fcntl
except ImportError:                                   # Windows
    fcntl = None
    import msvcrt

CACHE = DATA.parent / ".cache" / "data"
CHUNK = 1 << 14
AGAIN = {408, 425, 429, 500, 502, 503, 504}           # answers that may be better next time

INSIDE = {"cifar-10": "cifar-10-batches-bin"}         # the folder in a set's archive


def fetch(name, root=CACHE, progress=True):
    """Make sure that a full public set is on disk.

    Parameters
    ----------
    name : a set of data/REMOTE.tsv
    root : folder for all sets; default .cache/data in the repository
    progress : whether to draw a bar, if standard error is a terminal

    Returns
    -------
    Path of the folder of the set's files, the `root` of the loaders of tangled.data

    Raises
    ------
    ValueError for an unknown name; DownloadError, in one line, if the set can't be had
    """
    sets = known_sets()
    if name not in sets:
        near = difflib.get_close_matches(str(name), sets, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"name is {name!r}; expected one of {', '.join(sets)}{hint}")
    folder = Path(root) / name
    for url, size, sha256 in sets[name]:
        path = folder / url.rpartition("/")[2]
        download(url, path, sha256, size, progress=progress)
    if name not in INSIDE:
        return folder
    with locked(folder / "unpacked.lock"):
        if not (folder / "unpacked").exists():
            safe_extract(path, folder / "unpacked")
    return folder / "unpacked" / INSIDE[name]


def known_sets(path=DATA / "REMOTE.tsv"):
    """What can be fetched: dict from a set's name to its files, each (url, size, sha256)."""
    sets = {}
    with open(path, encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            entry = row["url"], int(row["bytes"]), row["sha256"]
            sets.setdefault(row["set"], []).append(entry)
    return sets


class DownloadError(OSError):
    """Why a file can't be had, and what to do about it, in one line."""


class Again(Exception):
    """An attempt failed in a way that may pass; `wait` is what the server asked for, in s."""

    def __init__(self, why, wait=0.0):
        super().__init__(why)
        self.wait = wait


def download(url, path, sha256, size=None, *, progress=False, timeout=20.0, tries=4,
             pause=0.5, limit=1 << 31):
    """Fetch one file whose sha256 is known, unless it is there.

    Parameters
    ----------
    url : str, http or https
    path : where the file shall be; what is unfinished waits beside it, as `<path>.part`
    sha256 : str of 64 hexadecimal digits
    size : int or None, the file's bytes, if known
    progress : whether to draw a bar, if standard error is a terminal
    timeout : seconds without a byte after which an attempt is given up
    tries : attempts in a row that bring nothing new, after which all is given up
    pause : seconds before the second attempt, doubled for each one after it
    limit : the largest file to accept, in bytes

    Returns
    -------
    Path of the whole file, its sha256 checked
    """
    job = Job(url, Path(path), sha256, size, timeout, limit, progress)
    job.path.parent.mkdir(parents=True, exist_ok=True)
    with locked(job.beside(".lock")):
        if job.path.exists():
            return job.check_present()
        best, failures = job.have(), 0
        while True:
            try:
                attempt(job)
                return job.settle()
            except Again as again:
                trouble = again
            failures = 1 if job.have() > best else failures + 1
            best = max(best, job.have())
            if failures >= tries:
                raise job.failure(f"{trouble}, {tries} times in a row")
            time.sleep(max(pause * 2 ** (failures - 1), min(trouble.wait, 30.0)))


def strong_validator(headers):
    """A strong ETag, else a date of change that was old when it was sent, else None."""
    if "ETag" in headers:
        return None if headers["ETag"].startswith("W/") else headers["ETag"]
    try:
        changed = email.utils.parsedate_to_datetime(headers["Last-Modified"])
        now = email.utils.parsedate_to_datetime(headers["Date"])
        return headers["Last-Modified"] if (now - changed).total_seconds() >= 60 else None
    except (KeyError, ValueError, TypeError):
        return None


def attempt(job):
    """Ask for what is missing and append what comes to the partial file."""
    start, validator = job.resume_point()
    if start and start == job.size:
        return                                        # only the check was missing
    headers = {"User-Agent": "dl-from-scratch", "Accept-Encoding": "identity"}
    if start:
        headers |= {"Range": f"bytes={start}-", "If-Range": validator}
    try:
        with requests.Session() as session, open_url(job, session, headers) as response:
            start, total = judge(job, response, start)
            receive(job, response, start, total)
    except (requests.RequestException, urllib3.exceptions.HTTPError) as trouble:
        raise Again(in_words(trouble, job)) from None


def judge(job, response, start):
    """By status and headers: (offset of the answer's first byte, size of the file or None)."""
    status, headers = response.status_code, response.headers
    total = headers.get("Content-Length", "")
    if status == 416:                                 # our part is longer than the file is
        job.forget()
    if status == 416 or status in AGAIN:
        wait = headers.get("Retry-After", "")
        raise Again(f"the server answered {status}", float(wait) if wait.isdigit() else 0.0)
    if status == 206:
        sent, _, total = headers.get("Content-Range", "").partition("/")
        if not sent.startswith(f"bytes {start}-"):
            job.forget()
            raise Again(f"the server sent {sent!r}, expected bytes {start}-")
    elif status == 200:                               # no ranges here, or a changed file
        start = 0
    else:
        raise job.failure(f"the server answered {status}")
    total = int(total) if total.isdigit() else None
    job.check_room(total)
    if start == 0:
        job.remember(strong_validator(headers))
    return start, total


def open_url(job, session, headers):
    """The answer at the end of at most five redirects, its body not yet read."""
    url, came_from = job.url, ""
    for _ in range(6):
        scheme, host = urlsplit(url).scheme, urlsplit(url).hostname
        if scheme not in ("http", "https") or (scheme, came_from) == ("http", "https"):
            raise job.failure(f"led to {url}, expected {came_from or 'http or https'}")
        session.trust_env = host not in ("127.0.0.1", "localhost", "::1")   # no proxy to here
        response = session.get(url, headers=headers, stream=True, timeout=job.timeout,
                               allow_redirects=False)
        if not response.is_redirect:
            return response
        response.close()
        url, came_from = urljoin(url, response.headers["Location"]), scheme
    raise job.failure("redirected more than five times")


def receive(job, response, start, total):
    """Write the answer's bytes from offset `start` on; raise Again if they end early."""
    got, most = start, job.size or job.limit
    with contextlib.closing(Bar(job, total)) as bar, job.writing(start) as file:
        for piece in response.raw.stream(CHUNK, decode_content=False):
            got += len(piece)
            if got > most:
                file.truncate(0)
                raise job.failure(f"more than {most} bytes came, expected at most that")
            file.write(piece)
            bar.show(got)
    job.fresh = start == 0 and got == total
    if total is not None and got < total:
        raise Again(f"the line closed after {got} of {total} bytes")


def in_words(trouble, job):
    """An exception of requests or urllib3 in a few words."""
    host = urlsplit(job.url).netloc
    if isinstance(trouble, (requests.Timeout, urllib3.exceptions.TimeoutError)):
        return f"{host} sent nothing for {job.timeout:g} s"
    if isinstance(trouble, requests.exceptions.SSLError):
        return f"the certificate of {host} was not accepted"
    if isinstance(trouble, requests.exceptions.ProxyError):
        return f"the proxy opened no way to {host}"
    if isinstance(trouble, requests.ConnectionError):
        return f"no connection to {host} (offline?)"
    return f"the line to {host} broke after {job.have()} bytes"


@dataclass
class Job:
    """One file to fetch, and its partial file on disk."""

    url: str
    path: Path
    sha256: str
    size: int | None
    timeout: float
    limit: int
    progress: bool
    fresh: bool = False                               # came whole, in one answer

    def beside(self, suffix):
        return self.path.with_name(self.path.name + suffix)

    def have(self):
        """The bytes in the partial file: int."""
        part = self.beside(".part")
        return part.stat().st_size if part.exists() else 0

    def resume_point(self):
        """(offset, validator) to go on from; (0, None) if nothing there can be trusted."""
        have = self.have()
        if self.size and have >= self.size:
            return (have, None) if have == self.size else (0, None)
        try:
            note = json.loads(self.beside(".part.json").read_text())
            usable = note["url"] == self.url and note["validator"]
        except (OSError, ValueError, KeyError, TypeError):
            usable = False
        return (have, note["validator"]) if usable else (0, None)

    def remember(self, validator):
        """Note what the partial file is a part of."""
        note = {"url": self.url, "validator": validator}
        self.beside(".part.json").write_text(json.dumps(note))

    def forget(self):
        """Drop the partial file."""
        for suffix in (".part", ".part.json"):
            self.beside(suffix).unlink(missing_ok=True)

    @contextlib.contextmanager
    def writing(self, start):
        """The partial file, cut to `start` bytes and open there; on the disk at the end."""
        try:
            with open(self.beside(".part"), "r+b" if start else "wb") as file:
                file.seek(start)
                file.truncate()
                yield file
                file.flush()
                os.fsync(file.fileno())
        except OSError as trouble:
            if isinstance(trouble, (DownloadError, requests.RequestException)):
                raise
            why = f"writing failed ({trouble.strerror}), {self.have()} bytes are kept"
            raise self.failure(why) from None

    def settle(self):
        """The path of the whole file; a partial file with the wrong bytes is dropped."""
        found = sha256_of(self.beside(".part"))
        if found != self.sha256:
            self.forget()
            if self.fresh:
                raise self.failure(f"the bytes that came have the sha256 {found}")
            raise Again(f"the pieces together have the sha256 {found}")
        os.replace(self.beside(".part"), self.path)
        self.forget()
        return self.path

    def check_present(self):
        """The path of a file that was there already, if its bytes are right."""
        found = sha256_of(self.path)
        if found != self.sha256:
            raise DownloadError(f"{self.path}: found sha256 {found}; expected {self.sha256}; "
                                "delete the file to fetch it again")
        return self.path

    def check_room(self, total):
        """Refuse a file of the wrong size, or too large, before its bytes come."""
        if total is None:
            return
        if total != (self.size or total) or total > self.limit:
            expected = self.size or f"at most {self.limit}"
            raise self.failure(f"the server has {total} bytes, expected {expected}")
        free = shutil.disk_usage(self.path.parent).free
        if total - self.have() > free:
            raise self.failure(f"{free} bytes are free on the disk, {total} are to come")

    def failure(self, why):
        """A DownloadError that says what to do by hand."""
        size = f"{self.size} bytes, " if self.size else ""
        return DownloadError(f"{self.url}: {why}; you can fetch it by other means and put it "
                             f"at {self.path} ({size}sha256 {self.sha256})")


@contextlib.contextmanager
def locked(path):
    """Hold a lock between processes; the system drops it when its holder ends or dies."""
    with open(path, "a+b") as file:
        if fcntl:
            fcntl.flock(file, fcntl.LOCK_EX)
        while not fcntl:
            with contextlib.suppress(OSError):        # it gives up after ten seconds
                msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)
                break
        yield


class Bar:
    """A progress bar of ASCII on standard error, if that is a terminal."""

    def __init__(self, job, total):
        self.name, self.total, self.last = job.path.name, total or job.size, 0.0
        self.drawn = job.progress and sys.stderr.isatty()

    def show(self, got):
        """Draw the bar, ten times a second at most."""
        due = time.monotonic() - self.last > 0.1 or got == self.total
        if not self.drawn or not due:
            return
        self.last = time.monotonic()
        line = f"{got / 1e6:7.1f} MB"
        if self.total:
            bar = "#" * (20 * got // self.total)
            line = f"[{bar:.<20s}] {100 * got // self.total:3d} % {line}"
        print(f"\r{self.name}  {line}", end="", file=sys.stderr, flush=True)

    def close(self):
        """End the line."""
        if self.drawn:
            print(file=sys.stderr)


def main(names):
    """Fetch the sets named on the command line; without names, list what there is."""
    for name in names or known_sets():
        try:
            size = sum(file[1] for file in known_sets().get(name, ()))
            print(f"{name}: {fetch(name)}" if names else f"{name:18s}{size / 1e6:7.1f} MB")
        except (DownloadError, ValueError) as problem:
            print(problem, file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
