# Tangled from chapters/b-data.qmd; edit the chapter, then run make tangle. sha256:04d02366167f9ea9
import gzip
import hashlib
import io
import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import requests

from tangled import data, download
from tangled.tests.loopback import Answer, Loopback
from tangled.tests.test_outside import tar_of

BODY = np.random.default_rng(0).bytes(200_000)
OTHER = np.random.default_rng(1).bytes(200_000)


def sha(body):
    return hashlib.sha256(body).hexdigest()


@pytest.fixture(autouse=True)
def no_world(monkeypatch):
    """No test of this file reaches beyond this machine, and none waits for long."""
    connect = socket.socket.connect
    def only_here(self, address):
        assert address[0] == "127.0.0.1", f"a test went out to {address}"
        return connect(self, address)
    monkeypatch.setattr(socket.socket, "connect", only_here)
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")      # nobody listens there
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)


def get(server, path, body=BODY, **options):
    options = {"timeout": 0.3, "pause": 0.01, "tries": 3, **options}
    return download.download(server.url, path, sha(body), **options)


def refused(server, path, **options):
    """The one-line message of a download that must fail and leave nothing under its name."""
    with pytest.raises(download.DownloadError) as caught:
        get(server, path, **options)
    assert not path.exists()
    message = str(caught.value)
    assert server.url in message and str(path) in message and "\n" not in message
    return message


@pytest.fixture
def path(tmp_path):
    return tmp_path / "set.bin"


@pytest.mark.parametrize("first", [Answer(BODY, cut=70_000), Answer(BODY, stall=70_000)])
def test_resumes_where_the_line_broke(path, first):
    with Loopback(first, Answer(BODY)) as server:
        assert get(server, path).read_bytes() == BODY
    (_, none, _), (_, wanted, condition) = server.asked
    assert none is None and condition == '"1"'
    assert 0 < int(wanted.removeprefix("bytes=").rstrip("-")) <= 70_000
    assert [p.name for p in path.parent.iterdir() if "part" in p.name] == []


def test_a_line_that_always_brings_something_gets_there(path):
    answers = [Answer(BODY, cut=n) for n in range(25_000, 200_000, 25_000)]
    with Loopback(*answers, Answer(BODY)) as server:
        assert get(server, path, tries=2).read_bytes() == BODY
    assert len(server.asked) == 8


def test_a_server_without_ranges_that_always_breaks_is_given_up(path):
    with Loopback(Answer(BODY, cut=70_000, ranges=False)) as server:
        assert "broke after 70000 bytes, 3 times in a row" in refused(server, path)
    assert len(server.asked) == 3


@pytest.mark.parametrize("second", [
    Answer(BODY, ranges=False), Answer(BODY, etag='"2"'), Answer(BODY, status=416),
    Answer(BODY, headers={"Content-Range": "bytes 5-199999/200000"})])
def test_starts_over_when_it_cannot_resume(path, second):
    with Loopback(Answer(BODY, cut=70_000), second, Answer(BODY)) as server:
        assert get(server, path).read_bytes() == BODY
    assert server.asked[1][1] is not None
    if second.status == 416 or second.headers:                # nothing usable came
        assert server.asked[2][1] is None
    else:
        assert len(server.asked) == 2


def test_a_changed_file_is_not_glued_to_the_old_part(path):
    with Loopback(Answer(OTHER, cut=70_000), Answer(BODY, etag='"2"')) as server:
        assert get(server, path).read_bytes() == BODY


def test_a_server_that_glues_two_files_is_found_out(path):
    with Loopback(Answer(OTHER, cut=70_000), Answer(BODY)) as server:       # same ETag
        assert get(server, path).read_bytes() == BODY
    assert [wanted is None for _, wanted, _ in server.asked] == [True, False, True]


@pytest.mark.parametrize("etag", ['W/"1"', ""])
def test_nothing_is_resumed_without_a_strong_validator(path, etag):
    with Loopback(Answer(BODY, cut=70_000, etag=etag), Answer(BODY, etag=etag)) as server:
        get(server, path)
    assert [wanted for _, wanted, _ in server.asked] == [None, None]


def test_a_date_counts_if_it_was_old():
    old, now = "Wed, 01 May 2024 10:00:00 GMT", "Wed, 01 May 2024 10:02:00 GMT"
    assert download.strong_validator({"Last-Modified": old, "Date": now}) == old
    assert download.strong_validator({"Last-Modified": now, "Date": now}) is None
    assert download.strong_validator({"Last-Modified": "yesterday", "Date": now}) is None


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_process_leaves_a_part_to_resume(path, how):
    with Loopback(Answer(BODY, pace=0.1), Answer(BODY)) as server:
        child = start_process(server, path)
        wait_until(lambda: path.with_name("set.bin.part").exists()
                   and path.with_name("set.bin.part").stat().st_size > 30_000)
        child.send_signal(how)
        child.communicate(timeout=10)
        assert not path.exists()
        assert get(server, path).read_bytes() == BODY
    assert server.asked[1][1] not in (None, "bytes=0-")


def start_process(server, path):
    program = f"from tangled.download import download\ndownload({server.url!r}, " \
              f"{str(path)!r}, {sha(BODY)!r})"
    return subprocess.Popen([sys.executable, "-c", program], cwd=data.DATA.parent,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def wait_until(true):
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_two_processes_fetch_once(path):
    with Loopback(Answer(BODY, pace=0.05)) as server:
        child = start_process(server, path)
        wait_until(lambda: server.asked)
        assert get(server, path).read_bytes() == BODY
        assert child.wait(10) == 0, child.stderr.read()
        child.communicate()
    assert len(server.asked) == 1


def test_wrong_bytes_never_get_the_name(path):
    with Loopback(Answer(OTHER)) as server:
        assert sha(OTHER) in refused(server, path)
    assert len(server.asked) == 1 and not path.with_name("set.bin.part").exists()


@pytest.mark.parametrize("status", [404, 403, 410])
def test_no_means_no(path, status):
    with Loopback(Answer(b"<html>", status=status)) as server:
        assert f"answered {status}" in refused(server, path)
    assert len(server.asked) == 1


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_trouble_that_passes(path, status):
    with Loopback(Answer(status=status), Answer(BODY)) as server:
        assert get(server, path).read_bytes() == BODY
    assert len(server.asked) == 2


def test_tries_again_and_waits_longer_each_time(path, monkeypatch):
    waits = []
    monkeypatch.setattr(download.time, "sleep", waits.append)
    answers = [Answer(status=500), Answer(status=503, headers={"Retry-After": "7"}),
               Answer(status=502)]
    with Loopback(*answers, Answer(BODY)) as server:
        get(server, path, tries=4, pause=0.5)
    assert [wait for wait in waits if wait] == [0.5, 7.0, 2.0]
    with Loopback(Answer(status=500)) as server:
        assert "500, 4 times in a row" in refused(server, path.with_name("b"), tries=4)
    assert len(server.asked) == 4


def test_offline_is_one_line_that_helps(path, monkeypatch):
    with Loopback(Answer(BODY)) as server:
        pass                                                      # closed again
    message = refused(server, path, size=len(BODY))
    assert "no connection" in message and sha(BODY) in message and "200000 bytes" in message


def test_follows_a_redirect_but_not_for_ever(path):
    there = Answer(status=302, headers={"Location": "/elsewhere.bin"})
    with Loopback(there, Answer(BODY)) as server:
        assert get(server, path).read_bytes() == BODY
    assert server.asked[1][0] == "/elsewhere.bin"
    with Loopback(there) as server:
        assert "more than five times" in refused(server, path.with_name("b"))
    assert len(server.asked) == 6


def test_follows_no_redirect_to_a_file_or_to_less_safety(path, tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(BODY)
    with Loopback(Answer(status=302, headers={"Location": secret.as_uri()})) as server:
        assert "file://" in refused(server, path)
    job = download.Job("https://h/x", path, "0" * 64, None, 1.0, 10, False)
    with pytest.raises(download.DownloadError, match="led to http://h/y, expected https"):
        download.open_url(job, Redirecting("http://h/y"), {})


class Redirecting(requests.Session):
    """A session whose every answer is a redirect to one place."""

    def __init__(self, there):
        super().__init__()
        self.there = there

    def get(self, url, **_):
        response = requests.Response()
        response.status_code, response.headers["Location"] = 302, self.there
        response.raw = io.BytesIO()
        return response


def test_size_is_checked_before_and_while_the_bytes_come(path):
    with Loopback(Answer(BODY)) as server:
        assert "has 200000 bytes, expected 150000" in refused(server, path, size=150_000)
        assert "expected at most 1000" in refused(server, path, limit=1000)
    with Loopback(Answer(BODY, length=False)) as server:                    # a lie by silence
        assert "more than 1000 bytes" in refused(server, path, limit=1000)
    assert download.Job(server.url, path, "", None, 1.0, 1, False).have() == 0


def test_bytes_stay_as_they_are_on_the_line(path):
    body = gzip.compress(BODY)
    with Loopback(Answer(body, headers={"Content-Encoding": "gzip"})) as server:
        assert get(server, path, body).read_bytes() == body


def test_a_full_disk_is_told_before(path, monkeypatch):
    usage = type("usage", (), {"free": 1000})
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: usage)
    with Loopback(Answer(BODY)) as server:
        assert "1000 bytes are free" in refused(server, path)


@pytest.mark.skipif(os.name == "nt", reason="POSIX limits")
def test_a_disk_that_fills_keeps_the_part(path):
    import resource
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Loopback(Answer(BODY)) as server:
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, before[1]))
        try:
            assert "writing failed" in refused(server, path)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert path.with_name("set.bin.part").stat().st_size > 30_000
        assert get(server, path).read_bytes() == BODY
    assert server.asked[1][1] is not None


def test_a_present_file_is_checked_and_not_asked_for(path):
    path.write_bytes(BODY)
    with Loopback(Answer(BODY)) as server:
        assert get(server, path) == path
        path.write_bytes(OTHER)
        with pytest.raises(download.DownloadError, match="delete the file"):
            get(server, path)
    assert server.asked == [] and path.read_bytes() == OTHER


def test_a_part_that_is_whole_needs_no_request(path):
    path.with_name("set.bin.part").write_bytes(BODY)
    with Loopback(Answer(OTHER)) as server:
        assert get(server, path, size=len(BODY)).read_bytes() == BODY
    assert server.asked == []


@pytest.mark.parametrize("note", ["", "[]", "{}", '{"url": "http://else", "validator": "1"}'])
def test_a_spoilt_note_means_starting_over(path, note):
    path.with_name("set.bin.part").write_bytes(OTHER[:1000])
    path.with_name("set.bin.part.json").write_text(note)
    with Loopback(Answer(BODY)) as server:
        assert get(server, path).read_bytes() == BODY
    assert server.asked[0][1] is None


def test_fetch_gives_the_folder_and_asks_once(tmp_path, monkeypatch):
    batch = bytes([3]) + bytes(3072)
    archive = tar_of(("cifar-10-batches-bin/test_batch.bin", batch))
    with Loopback(Answer(archive)) as server:
        entry = server.url, len(archive), sha(archive)
        monkeypatch.setattr(download, "known_sets", lambda: {"cifar-10": [entry]})
        for _ in range(2):
            folder = download.fetch("cifar-10", tmp_path, progress=False)
    images, labels = data.load_cifar10("test", folder)
    assert images.shape == (1, 3, 32, 32) and labels.tolist() == [3]
    assert len(server.asked) == 1


def test_known_sets_agree_with_what_ships():
    sets = download.known_sets()
    shipped = {entry.file: entry.sha256 for entry in data.read_manifest()}
    for url, size, digest in (file for files in sets.values() for file in files):
        assert url.startswith("https://") and size > 0 and len(digest) == 64
    for url, _, digest in sets["mnist"]:
        assert shipped["mnist/" + url.rpartition("/")[2]] == digest
    with pytest.raises(ValueError, match="did you mean 'cifar-10'"):
        download.fetch("cifar10")


def test_the_command_line(capsys):
    assert download.main([]) == 0 and "cifar-10" in capsys.readouterr().out
    assert download.main(["cifar"]) == 1
    assert "expected one of cifar-10, fashion-mnist" in capsys.readouterr().err


@pytest.mark.parametrize("terminal", [True, False])
def test_the_bar_is_ascii_and_for_terminals(path, monkeypatch, terminal):
    screen = io.StringIO()
    screen.isatty = lambda: terminal
    monkeypatch.setattr(sys, "stderr", screen)
    with Loopback(Answer(BODY)) as server:
        get(server, path, progress=True)
    text = screen.getvalue()
    assert text.isascii() and ("[####################] 100 %" in text) == terminal
    assert text.endswith("\n") if terminal else text == ""
