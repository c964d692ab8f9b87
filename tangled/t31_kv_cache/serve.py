# Tangled from chapters/31-kv-cache.qmd; edit the chapter, then run make tangle. sha256:3dcbe1f16c056423
"""The trained network behind a port: python -m tangled.t31_kv_cache.serve --help"""

import argparse
import os
import signal
import sys
import threading

from tangled.t30_mini_gpt.pretrained import load_pretrained
from tangled.t31_kv_cache.level3_memory_efficient import Decoder
from tangled.t31_kv_cache.server import Limits, Server


def parse(argv):
    """The options of the command."""
    parser = argparse.ArgumentParser(description="Serve the mini-GPT of chapter 30; Ctrl-C ends it in good order.")
    parser.add_argument("--host", default="127.0.0.1", help="default 127.0.0.1: this machine alone")
    parser.add_argument("--port", type=int, default=8031, help="default 8031; 0 takes any")
    parser.add_argument("--batch", type=int, default=16, help="requests that are written at a time (default 16)")
    parser.add_argument("--queue", type=int, default=64, help="requests that may wait (default 64)")
    parser.add_argument("--connections", type=int, default=Limits().connections, help="connections at a time")
    parser.add_argument("--reading", type=float, default=Limits().reading, help="seconds for a request to arrive")
    parser.add_argument("--serving", type=float, default=Limits().serving, help="seconds for an answer")
    parser.add_argument("--grace", type=float, default=5.0, help="seconds to finish in, at the end (default 5)")
    parser.add_argument("--seconds", type=float, help="end by itself after so long")
    given = parser.parse_args(argv)
    for name in ("batch", "queue", "connections", "reading", "serving"):
        if not 0 < getattr(given, name) < 1e6:
            raise ValueError(f"{name} = {getattr(given, name)}; expected more than 0")
    if not 0 <= given.port < 65536 or not 0 <= given.grace < 1e6:
        raise ValueError(f"port = {given.port}, grace = {given.grace}; expected a port, and at least 0 seconds")
    return given


def build(given):
    """A Server that has not started."""
    model, tokens = load_pretrained()
    limits = Limits(connections=given.connections, reading=given.reading, serving=given.serving)
    decoder = Decoder(model.state_dict(), model.num_heads, batch=given.batch)
    return Server((given.host, given.port), decoder, tokens, given.queue, limits)


def main(argv=None, ready=None):
    """The command; the exit status. `ready`, if given, is called with the server when it listens."""
    stop = threading.Event()
    try:
        given = parse(argv)
        server = build(given)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    old = {}
    if threading.current_thread() is threading.main_thread():
        old = {kind: signal.signal(kind, lambda *_: stop.set()) for kind in (signal.SIGINT, signal.SIGTERM)}
    server.start()
    try:
        print(f"serving on http://{given.host}:{server.server_address[1]}  (POST /generate, GET /metrics, /health)",
              flush=True)
        if ready is not None:
            ready(server)
        stop.wait(given.seconds)
    finally:
        for kind, handler in old.items():                       # a second Ctrl-C is not waited for
            signal.signal(kind, handler)
        print("finishing what has been begun", flush=True)
        server.stop(given.grace)
    print(f"ended: {server.scheduler.counts['tokens']} tokens in {server.scheduler.counts['steps']} steps", flush=True)
    return 0


if __name__ == "__main__":
    if "OPENBLAS_NUM_THREADS" not in os.environ:                # threads for clients, none inside a product
        os.environ["OPENBLAS_NUM_THREADS"] = "1"
        os.execv(sys.executable, [sys.executable, "-m", "tangled.t31_kv_cache.serve", *sys.argv[1:]])
    sys.exit(main())
