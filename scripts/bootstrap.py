"""Set up `.venv` for a part of the book: `python3 scripts/bootstrap.py EXTRA …`.

EXTRA is one or more of core, test, book, reference, quarto, mpi (pyproject.toml). Every verb calls this (door.py)
whenever a part is not there yet. Standard library only, and kept to what Python 3.6 can read, so that an old
Python gets a sentence and not a syntax error. Safe to run again at any time: an interrupted run is taken up
where it stopped, a working `.venv` is used as it is.

LOCK=0 in the environment takes the newest versions within the ranges, whatever requirements.lock says.
"""

import os
import shutil
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
OLDEST = (3, 10)
UNREACHABLE = ("Temporary failure in name resolution", "Name or service not known", "getaddrinfo failed",
               "nodename nor servname", "Network is unreachable", "Failed to establish a new connection",
               "ConnectTimeoutError", "Connection refused", "No route to host", "ProxyError",
               "Max retries exceeded", "Read timed out")


class Refused(Exception):
    """Set-up can't go on; the text says why and what to do."""


def say(text):
    print(text)
    sys.stdout.flush()


def run(command, **more):
    """Run quietly; returns (status, what it printed on either stream)."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **more)
    return done.returncode, done.stdout.decode(errors="replace")


def last_lines(text, count=6):
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    return "\n".join("    " + line for line in lines[-count:])


def dotted(version):
    return f"{version[0]}.{version[1]}"


# -- the virtual environment

def venv_python(root):
    folder, name = ("Scripts", "python.exe") if os.name == "nt" else ("bin", "python")
    return os.path.join(root, ".venv", folder, name)


def asked(python, code):
    """What `python -c code` prints, or None where it does not run."""
    try:
        done = subprocess.run([python, "-I", "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                              timeout=60)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode().strip() if done.returncode == 0 else None


def version_of(python):
    text = asked(python, "import sys; print('%d %d' % sys.version_info[:2])")
    return tuple(int(part) for part in text.split()) if text else None


def new_enough_python(here=sys.version_info[:2]):
    """This Python, or a newer one on the PATH where this one is too old."""
    if here >= OLDEST:
        return sys.executable
    for minor in range(19, OLDEST[1] - 1, -1):
        other = shutil.which(f"python3.{minor}")
        if other and version_of(other) == (3, minor):
            say(f"This is Python {dotted(here)}; the book needs {dotted(OLDEST)} or newer: using {other}.")
            return other
    raise Refused(f"This is Python {dotted(here)}; the book needs {dotted(OLDEST)} or newer. Install one, "
                  "then name it: make PYTHON=/path/to/python3.12 ...")


def check_venv_module(python):
    if asked(python, "import venv, ensurepip") is None:
        version = dotted(version_of(python) or OLDEST)
        raise Refused(f"{python} can't make virtual environments: its venv or ensurepip module is missing. "
                      f"On Debian and Ubuntu: sudo apt-get install python{version}-venv. Then run the same "
                      "command again.")


def ensure_venv(root):
    """A `.venv` that runs and has pip; makes it, or mends it, where needed. Returns its Python."""
    python, folder = venv_python(root), os.path.join(root, ".venv")
    version = version_of(python)
    if version and version >= OLDEST:
        if asked(python, "import pip") is not None:
            return python
        say("Finishing .venv: pip is not in it yet.")
        if run([python, "-m", "ensurepip", "--upgrade"])[0] == 0:
            return python
    base = new_enough_python()
    check_venv_module(base)
    if os.path.isdir(folder) and os.listdir(folder):
        fault = f"is for Python {dotted(version)}" if version else "does not run"
        say(f"The .venv here {fault}; making it anew with Python {dotted(version_of(base))}.")
    else:
        say(f"Making .venv with Python {dotted(version_of(base))}; all is installed there and nowhere else.")
    status, output = run([base, "-m", "venv", "--clear", folder])
    if status:
        raise Refused("Making .venv failed; its last lines:\n" + last_lines(output))
    return python


# -- what is installed in it

def uses_lock():
    return os.environ.get("LOCK", "1") not in ("0", "no", "off", "")


def requirements(python, root, *arguments):
    """The lines that scripts/requirements.py prints, run by the Python of `.venv`."""
    done = subprocess.run([python, "-I", os.path.join(root, "scripts", "requirements.py"), *arguments],
                          capture_output=True)
    if done.returncode == 0:
        return done.stdout.decode().splitlines()
    errors = done.stderr.decode(errors="replace").strip()
    last = errors.splitlines()[-1] if errors else ""
    if last.startswith("KeyError: "):
        raise Refused(f"pyproject.toml has no extra {last[len('KeyError: '):]}.")
    raise Refused("Reading pyproject.toml and requirements.lock failed:\n" + last_lines(errors))


def missing(python, root, extras):
    """(what is not within the ranges, what differs from the lock), as lists of lines."""
    lines = requirements(python, root, "missing", *extras, *([] if uses_lock() else ["--no-lock"]))
    return ([line[6:] for line in lines if line.startswith("range ")],
            [line[5:] for line in lines if line.startswith("lock ")])


def locked_python(root):
    """The Python that requirements.lock was made with, as "3.11", or None."""
    path = os.path.join(root, "requirements.lock")
    if not os.path.isfile(path):
        return None
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("# Made with Python "):
                return line.split()[4]
    return None


def pip_command(python, root, extras):
    command = [python, "-m", "pip", "install", "--no-input", "--disable-pip-version-check", "--prefer-binary",
               "--retries", "2", "--progress-bar", "off"]
    if uses_lock() and locked_python(root) == dotted(version_of(python)):
        command += ["-c", os.path.join(root, "requirements.lock")]
    return command + [line for line in requirements(python, root, "list", *extras) if line]


def run_pip(command, log):
    """Run pip, its output in `log`; on a terminal one line shows what it is at. Returns (status, output)."""
    environment = dict(os.environ, PIP_USER="0", PYTHONUNBUFFERED="1")
    for name in ("PYTHONHOME", "PYTHONPATH"):
        environment.pop(name, None)
    output, show = [], sys.stdout.isatty() and os.name != "nt"      # older consoles there show the code itself
    with open(log, "w", encoding="utf-8") as file:
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment,
                                 universal_newlines=True, errors="replace")
        try:
            for line in child.stdout:
                output.append(line)
                file.write(line)
                if show and line.lstrip().startswith(("Collecting", "Downloading", "Installing", "Building")):
                    sys.stdout.write("\r\033[K  " + line.strip()[:76])
                    sys.stdout.flush()
            child.wait()
        finally:
            if child.poll() is None:
                child.terminate()
                child.wait()
            if show:
                sys.stdout.write("\r\033[K")
    return child.returncode, "".join(output)


def explain(output):
    """What pip's failure means, in a line, with its own last lines where that is not known."""
    if "No space left on device" in output:
        return "The disk is full. Free some space, then run the same command again."
    if any(sign in output for sign in UNREACHABLE):
        return ("The package index can't be reached: is this machine offline, or behind a proxy that pip "
                "does not know? Run the same command again when it is not; what was made so far is kept.")
    return "pip failed; its last lines (all of them are in .venv/setup.log):\n" + last_lines(output)


def install(python, root, extras):
    amiss, other = missing(python, root, extras)
    if not amiss and not other:
        return
    lines = [line.split(" (")[0] for line in amiss or other]
    listed = ", ".join(lines[:6]) + (f" and {len(lines) - 6} more" if len(lines) > 6 else "")
    say(f"Installing into .venv, for {' and '.join(extras) or 'the core'}: {listed}.")
    if any(line.startswith("torch") for line in amiss):
        say("PyTorch is large; the README says how to take its smaller CPU build where pip takes another.")
    started = time.time()
    status, output = run_pip(pip_command(python, root, extras), os.path.join(root, ".venv", "setup.log"))
    if status and not amiss:        # all within the ranges: good enough to work with
        say("The exact versions of requirements.lock can't be had now; going on with those installed.")
        return
    if status:
        raise Refused(explain(output))
    amiss, _ = missing(python, root, extras)
    if amiss:
        raise Refused("pip ended well, but these are still amiss: " + ", ".join(amiss))
    say(f"Ready, after {time.time() - started:.0f} s.")


# -- the command

def exclusively(root):
    """Hold the folder, so that two terminals setting up at once take turns. Returns what holds it."""
    try:
        import fcntl
    except ImportError:
        return None
    handle = os.open(root, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        say("Another set-up of this folder is running; waiting for it.")
        fcntl.flock(handle, fcntl.LOCK_EX)
    return handle


def set_up(root, argv):
    python = ensure_venv(root)
    if argv == ["--venv"]:
        return
    extras = [name for name in argv if name != "core"]
    install(python, root, extras)
    for name in ["core", *extras]:
        with open(os.path.join(root, ".venv", "ready-" + name), "w"):
            pass


def main(argv, root=ROOT):
    if not argv or (argv != ["--venv"] and any(name.startswith("-") for name in argv)):
        say(__doc__.strip())
        return 0 if argv in (["-h"], ["--help"]) else 2
    held = None
    try:
        held = exclusively(root)
        set_up(root, argv)
    except Refused as reason:
        sys.stderr.write(f"{reason}\n")
        return 1
    except OSError as error:
        sys.stderr.write(f"Set-up stopped: {error.filename or root}: {error.strerror}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\nSet-up stopped; run the same command again to go on from here.\n")
        return 130
    finally:
        if held is not None:
            os.close(held)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
