"""Runs a session of the noxfile on any Python 3.11 or newer: `python3 dev.py demo`, `python3 dev.py tests`.

dev.py finds nox, or brings it: by uv, by pipx, or by pip into a folder of this checkout. It needs nothing but Python and
pip, and installs nothing outside of this checkout and the caches of these tools.

Python 3.0 can parse this file, so that an old Python prints a sentence and not a syntax error: no f-strings here.
"""

import sys

if sys.version_info < (3, 11):
    sys.stderr.write(
        "dev.py: this project needs Python 3.11 or newer, and this is Python {0}.{1} ({2}). "
        "Run dev.py with a newer one, for example: python3.12 dev.py demo\n".format(
            sys.version_info[0], sys.version_info[1], sys.executable
        )
    )
    sys.exit(2)

import argparse
import contextlib
import hashlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Generator, Mapping, Sequence
from importlib import metadata, util
from pathlib import Path
from types import FrameType
from typing import NoReturn

ROOT = Path(__file__).resolve().parent
NOX = (2025, 2, 9)
"""The oldest nox that the noxfile accepts: its `nox.needs_version`."""
FOLDER = ROOT / ".dev"
"""What dev.py makes; git ignores it."""
REQUIREMENT = "nox>=" + ".".join(map(str, NOX))
UNWANTED = (
    "PIP_TARGET",
    "PIP_PREFIX",
    "PIP_ROOT",
    "PIP_PYTHON",
    "PIP_DRY_RUN",
    "PIP_REPORT",
    "PYTHONHOME",
    "__PYVENV_LAUNCHER__",
)
"""Variables that send an installation, or a Python, somewhere else."""
HELP = """\
usage: python3 dev.py SESSION... [-- ARGUMENTS]

    python3 dev.py demo     the whole thing, once: a server, workers, 1,000 tasks, a worker killed
    python3 dev.py tests    every test that needs no server; `-- tests/unit -k name` runs some
    python3 dev.py -l       the sessions that there are

Everything else goes to nox as it is: python3 dev.py --nox-help prints its options, and --version its version.
"""
PROBE = "import importlib.metadata, nox.__main__, virtualenv; print(importlib.metadata.version('nox'))"
PROBE_FILE = """\
import importlib.metadata, json, sys
print("dev.py:" + json.dumps([importlib.metadata.version("nox"), sys.base_prefix, list(sys.version_info[:3])]))
"""


class Unable(Exception):
    """Why dev.py cannot go on; the message says what to do."""


def say(text: str) -> None:
    """Print a line of dev.py's own; standard output is nox's."""
    sys.stderr.write("dev.py: {}\n".format(text))
    sys.stderr.flush()


def clean_environment() -> "dict[str, str]":
    """The environment without what would lead pip astray: it may be set for the user's other work."""
    env = {name: value for name, value in os.environ.items() if name not in UNWANTED}
    env.update(PIP_REQUIRE_VIRTUALENV="0", PIP_USER="0", PIP_DISABLE_PIP_VERSION_CHECK="1")
    env["PIP_ROOT_USER_ACTION"] = "ignore"  # it warns root, who has said where to install
    if not _is_writable(Path("~").expanduser()):
        # pip then does without a cache, but virtualenv and uv keep their files there.
        FOLDER.mkdir(exist_ok=True)
        for name in ("XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"):
            env.setdefault(name, str(FOLDER / "home"))
    return env


def _is_writable(folder: Path) -> bool:
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)


def new_enough(version: str) -> bool:
    """Whether the noxfile accepts nox in this version."""
    numbers = [int(part) if part.isdigit() else 0 for part in version.split(".")[:3]]
    return tuple(numbers) >= NOX


def importable() -> "list[str] | None":
    """This Python's own nox."""
    try:
        version = metadata.version("nox")
    except metadata.PackageNotFoundError:
        return None
    if not new_enough(version) or util.find_spec("nox") is None or util.find_spec("virtualenv") is None:
        return None
    if not _answers(sys.executable):
        return None
    say("nox {} of {}".format(version, sys.executable))
    return [sys.executable, "-m", "nox"]


def on_path(env: Mapping[str, str]) -> "list[str] | None":
    """A nox among the commands, if it runs on this very Python: its sessions take the Python that nox runs on."""
    command = shutil.which("nox")
    if command is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        probe = Path(folder, "noxfile.py")
        probe.write_text(PROBE_FILE, encoding="utf-8")
        done = _run([command, "--noxfile", str(probe), "-l"], env)
    lines = [line for line in done.stdout.splitlines() if line.startswith("dev.py:")]
    if not lines:
        return None
    version, base, python = json.loads(lines[0].partition(":")[2])
    if not new_enough(version) or base != sys.base_prefix or python != list(sys.version_info[:3]):
        return None
    say("nox {} ({})".format(version, command))
    return [command]


def by_a_runner(env: Mapping[str, str]) -> "list[str] | None":
    """By uv or pipx, which keep nox in a cache of their own. Each is tried first: it may be old, or without a network."""
    ways = (
        ("uvx", ["--python", sys.executable, "--from", REQUIREMENT, "nox"]),
        ("uv", ["tool", "run", "--python", sys.executable, "--from", REQUIREMENT, "nox"]),
        ("pipx", ["run", "--python", sys.executable, "--spec", REQUIREMENT, "nox"]),
    )
    for name, arguments in ways:
        command = shutil.which(name)
        if command is None:
            continue
        say("no nox {} or newer here: {} brings it".format(".".join(map(str, NOX)), name))
        done = _run([command, *arguments, "--version"], env, quiet=False)
        if done.returncode == 0:
            return [command, *arguments]
        say("{} could not bring nox (exit code {}): trying another way".format(name, done.returncode))
    return None


def by_pip(env: Mapping[str, str]) -> "list[str]":
    """By pip, into an environment below this checkout; made once for each Python."""
    identity = "{} {} {}".format(sys.base_prefix, sys.version, REQUIREMENT)
    key = "{}-{}".format(sys.implementation.cache_tag, hashlib.sha256(identity.encode()).hexdigest()[:8])
    folder = FOLDER / "nox-{}".format(key)
    if not _answers(_python_of(folder)):
        _make(folder, env)
    return [_python_of(folder), "-m", "nox"]


def _python_of(folder: Path) -> str:
    return str(folder / "bin" / "python")


def _answers(python: str) -> bool:
    """Whether this Python has a complete nox that is new enough."""
    if not Path(python).exists():
        return False
    done = _run([python, "-c", PROBE], os.environ)
    return done.returncode == 0 and new_enough(done.stdout.strip())


def _make(folder: Path, env: Mapping[str, str]) -> None:
    """Make it aside and rename it: an interrupted run leaves nothing that the next one takes for complete."""
    FOLDER.mkdir(exist_ok=True)
    _sweep()
    again = "what is there does not work, so that pip brings it again" if folder.exists() else "pip brings it"
    say("no nox {} or newer here: {}, into {}".format(".".join(map(str, NOX)), again, folder.relative_to(ROOT)))
    made = Path(tempfile.mkdtemp(prefix="new-{}-".format(os.getpid()), dir=str(FOLDER)))
    try:
        _fill(made, env)
        if _answers(_python_of(folder)):
            return  # another run was faster
        if folder.exists():
            folder.rename(made / "broken")
        made.chmod(0o755)
        try:
            made.rename(folder)
        except OSError:
            if not _answers(_python_of(folder)):
                raise
        shutil.rmtree(folder / "broken", ignore_errors=True)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _fill(folder: Path, env: Mapping[str, str]) -> None:
    """An environment with nox in it. It needs no `ensurepip`, and pip takes any folder, whoever manages this Python."""
    if util.find_spec("pip") is None:
        raise Unable(
            "this Python ({}) has no pip. Install it (Debian, Ubuntu: apt install python3-pip; Fedora: dnf install "
            "python3-pip; elsewhere: {} -m ensurepip), or install uv or pipx, and run this again".format(
                sys.executable, sys.executable
            )
        )
    if util.find_spec("venv") is None:
        raise Unable(
            "this Python ({}) has no venv module. Install the whole of its standard library (Debian, Ubuntu: apt install "
            "python3-venv), and run this again".format(sys.executable)
        )
    made = _run([sys.executable, "-m", "venv", "--without-pip", str(folder)], env)
    if made.returncode:
        raise Unable("no environment in {}: {}".format(folder, (made.stdout + made.stderr).strip()))
    ask = _run([_python_of(folder), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], env)
    install = str(ROOT / ".ci" / "pip_install.py")
    done = _run([sys.executable, install, "nox", "--target", ask.stdout.strip(), REQUIREMENT], env, quiet=False)
    if done.returncode or not _answers(_python_of(folder)):
        raise Unable(
            "pip could not bring nox (exit code {}). A nox {} or newer that this Python can import is used as it is, "
            "and so is uv or pipx where it is installed".format(done.returncode, ".".join(map(str, NOX)))
        )


def _sweep() -> None:
    """Remove what interrupted runs have left."""
    for left in FOLDER.glob("new-*-*"):
        number = left.name.split("-")[1]
        try:
            os.kill(int(number), 0)
        except ProcessLookupError:
            shutil.rmtree(left, ignore_errors=True)
        except (OSError, ValueError):
            continue  # it is at work


def _run(command: Sequence[str], env: Mapping[str, str], *, quiet: bool = True) -> "subprocess.CompletedProcess[str]":
    """Run to the end. What it prints is returned, or goes to standard error, where dev.py's own lines go."""
    try:
        process = subprocess.Popen(
            list(command),
            env=dict(env),
            cwd=str(ROOT),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if quiet else sys.stderr,
            stderr=subprocess.PIPE if quiet else None,
            encoding="utf-8",
            errors="replace",
        )
    except OSError as error:
        return subprocess.CompletedProcess(list(command), 127, "", str(error))
    try:
        out, err = process.communicate()
    except BaseException:  # interrupted: it ends first, so that what it made can be removed
        process.terminate()
        process.wait()
        raise
    return subprocess.CompletedProcess(list(command), process.returncode, out, err)


@contextlib.contextmanager
def _sigterm_interrupts() -> Generator[None, None, None]:
    """Let SIGTERM undo what is half made, as Ctrl-C does."""

    def interrupt(number: int, frame: "FrameType | None") -> NoReturn:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _wait_for_others(sessions: Sequence[str]) -> None:
    """Hold a lock for each session until nox ends: two runs would install into one environment at once."""
    import fcntl  # noqa: PLC0415  # Windows has none, and its users get a sentence before

    (FOLDER / "locks").mkdir(parents=True, exist_ok=True)
    for session in sorted(set(sessions)):
        name = "".join(letter if letter.isalnum() else "-" for letter in session)
        file = os.open(str(FOLDER / "locks" / name), os.O_RDWR | os.O_CREAT, 0o666)
        os.set_inheritable(file, True)  # nox takes this process over, and the lock with it
        try:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say("another run of {} is at work in this checkout: waiting until it has ended".format(session))
                fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:  # a file system without locks
            os.close(file)


def _arguments(given: Sequence[str]) -> "tuple[list[str], list[str]]":
    """The arguments of nox, and the sessions that they name; a bare word in front is a session."""
    words = list(itertools.takewhile(lambda one: not one.startswith("-"), given))
    rest = list(given[len(words) :])
    if words:
        return ["-s", *words, *rest], words
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("-s", "--session", "--sessions", "-e", nargs="*", default=[])
    return rest, parser.parse_known_args(rest[: rest.index("--")] if "--" in rest else rest)[0].session


def _check_the_machine() -> None:
    if sys.platform == "win32":
        raise Unable(
            "Windows is not supported: the workers use POSIX signals. Use the Windows Subsystem for Linux (WSL)"
        )
    if not sys.executable:
        raise Unable(
            "this Python does not know its own path (sys.executable is empty): run dev.py by the path of a Python"
        )
    if not (ROOT / "noxfile.py").is_file():
        raise Unable("no noxfile.py beside dev.py: run it from a whole checkout")
    if not _is_writable(ROOT) or (FOLDER.exists() and not _is_writable(FOLDER)):
        raise Unable(
            "{} is not writable for you, and the environments go there: make a checkout of your own "
            "(git clone {} or cp -r), or change its owner".format(ROOT, ROOT)
        )
    other = ROOT / ".nox"
    if other.exists() and not _is_writable(other):
        raise Unable("{} belongs to another user, who ran this before: remove it, or change its owner".format(other))


def main(given: Sequence[str]) -> NoReturn:
    """Find or bring nox, and become it: its exit code is dev.py's."""
    if not given or given[0] in ("-h", "--help", "help"):
        sys.stdout.write(HELP)
        sys.exit(0)
    _check_the_machine()
    arguments, sessions = _arguments(["--help" if one == "--nox-help" else one for one in given])
    with _sigterm_interrupts():
        env = clean_environment()
        nox = importable() or on_path(env) or by_a_runner(env) or by_pip(env)
        if sessions:
            _wait_for_others(sessions)
    os.chdir(str(ROOT))
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(nox[0], [*nox, *arguments], env)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except Unable as error:
        say(str(error))
        sys.exit(2)
    except KeyboardInterrupt:
        say("interrupted; nothing half-made is left, and the next run begins anew")
        sys.exit(130)
    except OSError as error:
        say("{}".format(error))
        sys.exit(2)
