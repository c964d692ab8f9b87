# Tangled from chapters/31-kv-cache.qmd; edit the chapter, then run make tangle. sha256:7371860f10070949
"""The server under load, and speculation: python -m tangled.t31_kv_cache.measure_server --help"""

import argparse
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from itertools import islice

import numpy as np

from tangled.data import load_shakespeare
from tangled.records import store_run
from tangled.t30_mini_gpt.pretrained import load_pretrained
from tangled.t31_kv_cache.clients import ask, get, malformed, send
from tangled.t31_kv_cache.draft import NgramDraft
from tangled.t31_kv_cache.level3_memory_efficient import Decoder, generate, speculative_decode

PROMPTS = ["KING HENRY:\n", "First Citizen:\n", "O Romeo, ", "My lord,", "What is the ", "Enter ", "The ", "I "]


def parse(argv):
    """The options of the command."""
    parser = argparse.ArgumentParser(description="Serve, ask, abuse and end the server; and speculate.")
    parser.add_argument("--seconds", type=float, default=60.0, help="with all clients (default 60)")
    parser.add_argument("--short", type=float, default=10.0, help="with fewer clients (default 10)")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 64], help="default 1 8 64; the last is all")
    parser.add_argument("--malformed", type=int, default=1000, help="bad requests (default 1000)")
    parser.add_argument("--texts", type=int, default=24, help="texts written by speculation (default 24)")
    parser.add_argument("--batch", type=int, default=32, help="rows of the server (default 32)")
    parser.add_argument("--record", action="store_true", help="write golden/records/t31.json")
    given = parser.parse_args(argv)
    if min(given.clients) < 1 or max(given.clients) > 128 or not 0 < given.seconds <= 600 or not 0 < given.short <= 600:
        raise ValueError(f"clients = {given.clients}, seconds = {given.seconds}; expected 1 to 128, and 0 to 600")
    if not 0 <= given.malformed <= 100_000 or not 1 <= given.texts <= 10_000:
        raise ValueError(f"malformed = {given.malformed}, texts = {given.texts}; expected 0 to 100000, and 1 to 10000")
    return given


def requests():
    """64 different requests, and the text that each must get."""
    model, tokens = load_pretrained()
    decoder, found = Decoder(model.state_dict(), model.num_heads), []
    for seed in range(64):
        prompt, how = PROMPTS[seed % 8], [{}, {"temperature": 0.7}, {"top_k": 5}, {"temperature": 0}][seed // 8 % 4]
        body = {"prompt": prompt, "tokens": 8 + 5 * seed % 33, "seed": seed, "stream": seed % 3 > 0, **how}
        ids = generate(decoder, tokens.encode(prompt), body["tokens"], rng=np.random.default_rng(seed), **how)
        found.append((body, tokens.decode(ids)))
    return found


def begin(batch, reading=1.0):
    """The server in a process of its own: process and address."""
    command = [sys.executable, "-m", "tangled.t31_kv_cache.serve", "--port", "0", "--batch", str(batch),
               "--reading", str(reading), "--seconds", "600", "--queue", "128"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True,
                               env={**os.environ, "OPENBLAS_NUM_THREADS": "1"})
    if not select.select([process.stdout], [], [], 60)[0]:
        process.kill()
        raise ValueError("the server did not begin within a minute")
    line = process.stdout.readline()
    return process, ("127.0.0.1", int(line.split("127.0.0.1:")[1].split()[0]))


def load(address, clients, seconds, wanted):
    """Clients that ask, one request after the other: what they got, as numbers."""
    end, results = time.monotonic() + seconds, [[] for _ in range(clients)]

    def client(k):
        turn = k
        while time.monotonic() < end:
            body, text = wanted[turn % len(wanted)]
            turn += 1
            try:
                answer = ask(address, body, 30.0)
                right = answer.text == text and answer.reason == "length"
                right &= answer.lines == (body["tokens"] + 1 if body["stream"] else 1)
                results[k].append((answer.status, right, len(answer.text), answer.first, answer.seconds))
            except (OSError, ValueError):
                results[k].append((0, False, 0, 0.0, 0.0))
    begin_ = time.monotonic()
    together(client, range(clients))
    took, every = time.monotonic() - begin_, [one for mine in results for one in mine]
    ok = [one for one in every if one[0] == 200]
    waits = np.array([one[4] for one in ok] or [np.nan])
    return {"requests": len(every), "lost": sum(one[0] == 0 for one in every),
            "refused": sum(one[0] not in (0, 200) for one in every), "wrong": sum(not one[1] for one in ok),
            "tokens a second": sum(one[2] for one in ok) / took, "seconds": took,
            "fewest of a client": min(map(len, results)), "most of a client": max(map(len, results)),
            "median wait": float(np.median(waits)), "longest wait": float(waits.max())}


def together(f, arguments, most=64):
    """f of each argument, in at most so many threads, all of which have ended after it."""
    arguments, lock = list(arguments), threading.Lock()

    def work():
        while True:
            with lock:
                if not arguments:
                    return
                argument = arguments.pop(0)
            f(argument)
    threads = [threading.Thread(target=work) for _ in range(min(most, len(arguments)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def abuse(address, count, slow=1.5):
    """So many malformed requests: how many of each kind got their status, and those that did not."""
    right, wrong = Counter(), []

    def one(bad):
        status = send(address, bad)
        if status == bad.status:
            right[str(status)] += 1
        else:
            wrong.append(f"{bad.name}: {status} for {bad.status}")
    together(one, islice(malformed(np.random.default_rng(0), slow), count), 32)
    return dict(sorted(right.items())), wrong


def finish(process, address, wanted):
    """SIGTERM while requests are being written: exit status, and whether all of them were finished."""
    ended = []
    threads = [threading.Thread(target=lambda body=body: ended.append(ask(address, body, 30.0).reason))
               for body, _ in wanted[:8]]
    for thread in threads:
        thread.start()
    time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    for thread in threads:
        thread.join()
    process.stdout.read()
    return process.wait(30), sorted(set(ended))


def speculation(texts):
    """Tokens a pass, acceptance and time, by k, on held-out prompts; and without speculation."""
    model, tokens = load_pretrained()
    ids = tokens.encode(load_shakespeare())
    held, found = ids[len(ids) * 9 // 10:], {}
    target = Decoder(model.state_dict(), model.num_heads)
    draft = NgramDraft(ids[:len(ids) * 9 // 10], model.vocab_size, capacity=model.context)
    prompts, n = [held[k:k + 16] for k in range(0, texts * 500, 500)], 48
    for name, temperature in (("temperature 1", 1.0), ("temperature 0.7", 0.7)):
        plain = fastest(lambda t=temperature: [generate(target, prompt, n, temperature=t) for prompt in prompts])[0]
        for k in (1, 2, 3, 4, 6):
            seconds, done = fastest(lambda k=k, t=temperature: [
                speculative_decode(target, draft, prompt[None], n, k, t)[1] for prompt in prompts])
            passes, drafted, accepted = (sum(each) for each in zip(*done))
            found[f"{name}, k {k}"] = {"tokens a pass": texts * n / passes, "accepted": accepted / drafted,
                                       "time": seconds / plain}
    return found


def fastest(f):
    """Processor seconds of the fastest of three calls, and what the last gave."""
    seconds = []
    for _ in range(3):
        start = time.process_time()
        result = f()
        seconds.append(time.process_time() - start)
    return min(seconds), result


def perform(given):
    """Everything, and the record if asked."""
    start, wanted, values = time.monotonic(), requests(), {"clients": {}}
    process, address = begin(given.batch)
    try:
        for count in given.clients:
            seconds = given.seconds if count == max(given.clients) else given.short
            values["clients"][str(count)] = found = load(address, count, seconds, wanted)
            print(f"{count} clients: " + ", ".join(f"{key} {value:.4g}" for key, value in found.items()), flush=True)
        values["statuses"], wrong = abuse(address, given.malformed)
        values |= {"malformed": given.malformed, "misjudged": len(wrong), "misjudgements": wrong[:5]}
        values["health after"] = get(address, "/health")[0]
        values["right after"] = all(ask(address, body).text == text for body, text in wanted[:8])
        print(f"{given.malformed} malformed requests: {values['statuses']}; wrong: {wrong[:5]}; "
              f"health {values['health after']}", flush=True)
        metrics = dict(line.rsplit(" ", 1) for line in get(address, "/metrics")[1].splitlines())
        values["rows a step"] = int(metrics["rows_stepped_total"]) / max(int(metrics["steps_total"]), 1)
        values["exit"], values["ended"] = finish(process, address, wanted)
        print(f"exit status {values['exit']}, requests at the end: {values['ended']}", flush=True)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        process.stdout.close()
    values["speculation"], values["batch"] = speculation(given.texts), given.batch
    for name, each in values["speculation"].items():
        print(f"{name}: " + ", ".join(f"{key} {value:.3f}" for key, value in each.items()))
    if given.record:
        store_run(31, "measure_server", values=values, seconds=time.monotonic() - start)


def main(argv=None):
    """The command; the exit status."""
    try:
        perform(parse(argv))
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    if "OPENBLAS_NUM_THREADS" not in os.environ:
        os.environ["OPENBLAS_NUM_THREADS"] = "1"
        os.execv(sys.executable, [sys.executable, "-m", "tangled.t31_kv_cache.measure_server", *sys.argv[1:]])
    sys.exit(main())
