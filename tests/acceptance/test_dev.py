"""dev.py on a Python that refuses to be installed into, as Debian's and Homebrew's do: it brings nox by itself."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
PATIENCE = 120.0
"""Seconds that a process may take: a download included."""
OWN_NOXFILE = """
import sys
from pathlib import Path
import nox

@nox.session(venv_backend="none")
def echo(session):
    print("given:", session.posargs)
    if "fail" in session.posargs:
        session.error("as it should")

@nox.session(venv_backend="none")
def hold(session):
    Path("begun").touch()
    session.run(sys.executable, "-c", "import sys; sys.stdin.read()", external=True)
"""


def base_python(*code: str) -> str:
    """What the Python below this environment prints."""
    executable = str(getattr(sys, "_base_executable", sys.executable))
    return subprocess.run([executable, "-c", *code], capture_output=True, text=True, check=False).stdout.strip()


def make_python(prefix: Path, *, pip: bool) -> Path:
    """An externally managed Python: this one's standard library under a prefix of its own, with its marker."""
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    real = Path(os.__file__).resolve().parent
    library = prefix / "lib" / version
    library.mkdir(parents=True)
    for entry in real.iterdir():
        if entry.name not in {"site-packages", "dist-packages", "EXTERNALLY-MANAGED", "ensurepip", "sitecustomize.py"}:
            (library / entry.name).symlink_to(entry)
    (library / "EXTERNALLY-MANAGED").write_text("[externally-managed]\nError=ask the distribution\n")
    (prefix / "bin").mkdir()
    python = prefix / "bin" / "python3"
    shutil.copy2(os.path.realpath(sys.executable), python)
    if pip:
        where = run([python, "-c", "import site; print(site.getsitepackages()[-1])"]).stdout.strip()
        own = importlib.util.find_spec("pip")
        found = own.origin if own is not None else base_python("import pip; print(pip.__file__)")
        assert found, "no pip in this environment, nor in the Python below it"
        Path(where).mkdir(parents=True, exist_ok=True)
        (Path(where) / "pip").symlink_to(Path(found).parent)
    return python


def environment(python: Path, **more: str) -> dict[str, str]:
    """The environment of a shell that finds this Python, and neither nox nor uv nor pipx."""
    left = ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME", "NOXSESSION")
    kept = {name: value for name, value in os.environ.items() if name not in left}
    return {**kept, "PATH": str(python.parent), "PYTHONDONTWRITEBYTECODE": "1", **more}


def run(
    command: Sequence[str | Path], cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*map(str, command)], cwd=cwd, env=env, capture_output=True, text=True, check=False, timeout=PATIENCE
    )


def make_checkout(folder: Path) -> Path:
    """What dev.py and the noxfile need of this checkout."""
    (folder / ".ci").mkdir(parents=True)
    for name in ("dev.py", "noxfile.py", "pyproject.toml", ".ci/pip_install.py"):
        shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_python(tmp_path_factory.mktemp("a base"), pip=True)


@pytest.fixture
def checkout(tmp_path: Path, index: None) -> Path:
    return make_checkout(tmp_path / "ein Pfad mit Größe")


@pytest.fixture(scope="module")
def index(python: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A package index that has nox; where none can be reached, the tests are reported as not run."""
    folder = tmp_path_factory.mktemp("index")
    done = run([python, "-m", "pip", "download", "-q", "--no-deps", "-d", folder, "nox"], env=environment(python))
    if done.returncode:
        said = done.stderr.strip().splitlines() or [""]
        pytest.skip(f"not run, for want of a package index that has nox: {said[-1]}")


@pytest.fixture(scope="module")
def brought(python: Path, index: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout into which dev.py has brought nox."""
    checkout = make_checkout(tmp_path_factory.mktemp("brought") / "checkout")
    done = run([python, "dev.py", "--version"], checkout, environment(python))
    assert done.returncode == 0, done.stderr
    (checkout / "noxfile.py").write_text(OWN_NOXFILE)
    return checkout


@pytest.fixture(scope="module")
def dev() -> ModuleType:
    spec = importlib.util.spec_from_file_location("dev", ROOT / "dev.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start processes in groups of their own; what is left of them is killed."""
    started: list[subprocess.Popen[str]] = []

    def start(python: Path, cwd: Path, *arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [str(python), "dev.py", *arguments],
            cwd=cwd, env=environment(python), text=True, start_new_session=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def wait_for(holds: Callable[[], object]) -> None:
    until = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.01)


def brought_folders(checkout: Path) -> list[str]:
    return sorted(path.name for path in (checkout / ".dev").glob("n*"))


def test_nox_is_brought_where_pip_refuses_to_install(python: Path, checkout: Path, tmp_path: Path) -> None:
    refused = run([python, "-m", "pip", "install", "--no-index", "nox"], env=environment(python))
    assert refused.returncode != 0
    assert "externally" in refused.stderr
    elsewhere = tmp_path / "elsewhere"
    env = environment(python, PIP_TARGET=str(elsewhere), PIP_USER="1", PIP_REQUIRE_VIRTUALENV="1", LC_ALL="C")

    done = run([python, "dev.py", "-l"], checkout, env)

    assert done.returncode == 0, done.stderr
    assert "* tests ->" in done.stdout
    assert "- demo ->" in done.stdout
    assert len(re.findall(r"^dev\.py: ", done.stderr, re.MULTILINE)) == 1
    assert not elsewhere.exists()
    assert run([python, "-c", "import nox"]).returncode != 0  # nothing went into the Python itself
    assert len(brought_folders(checkout)) == 1
    again = run([python, "dev.py", "-l"], checkout, env)
    assert (again.returncode, again.stderr) == (0, "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_an_interrupted_run_leaves_nothing_that_breaks_the_next(
    python: Path, checkout: Path, start: Callable[..., subprocess.Popen[str]], number: signal.Signals
) -> None:
    process = start(python, checkout, "--version")
    wait_for(lambda: list(checkout.glob(".dev/new-*/pyvenv.cfg")) or process.poll() is not None)
    os.killpg(process.pid, number)
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert brought_folders(checkout) == []

    assert run([python, "dev.py", "--version"], checkout, environment(python)).returncode == 0


def test_a_folder_that_does_not_work_is_made_again(python: Path, brought: Path, tmp_path: Path) -> None:
    checkout = tmp_path / "copy"
    shutil.copytree(brought, checkout, symlinks=True)
    (missing,) = checkout.glob(".dev/nox-*/lib/*/site-packages/virtualenv")
    shutil.rmtree(missing)
    (checkout / ".dev" / "new-999999999-left").mkdir()

    done = run([python, "dev.py", "--version"], checkout, environment(python))

    assert done.returncode == 0, done.stderr
    assert "does not work" in done.stderr
    assert missing.exists()
    assert len(brought_folders(checkout)) == 1


def test_two_runs_at_once_both_end_well(
    python: Path, checkout: Path, start: Callable[..., subprocess.Popen[str]]
) -> None:
    both = [start(python, checkout, "--version") for _ in range(2)]
    said = [process.communicate(timeout=PATIENCE) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert len(brought_folders(checkout)) == 1


def test_a_session_does_not_run_twice_at_once(
    python: Path, brought: Path, start: Callable[..., subprocess.Popen[str]]
) -> None:
    (brought / "begun").unlink(missing_ok=True)
    first = start(python, brought, "hold")
    wait_for((brought / "begun").exists)
    second = start(python, brought, "hold")
    assert second.stderr is not None
    assert "another run of hold is at work" in second.stderr.readline()
    assert second.poll() is None
    first.communicate(timeout=PATIENCE)
    second.communicate(timeout=PATIENCE)
    assert (first.returncode, second.returncode) == (0, 0)


def test_arguments_go_to_nox_and_its_exit_code_comes_back(python: Path, brought: Path) -> None:
    done = run([python, "dev.py", "echo", "--", "-k", "two words"], brought, environment(python))
    assert done.returncode == 0, done.stderr
    assert "given: ['-k', 'two words']" in done.stdout
    assert run([python, "dev.py", "echo", "--", "fail"], brought, environment(python)).returncode == 1
    unknown = run([python, "dev.py", "nonsense"], brought, environment(python))
    assert unknown.returncode != 0
    assert "nonsense" in unknown.stderr


def test_without_a_network_it_says_what_failed(python: Path, tmp_path: Path) -> None:
    checkout = make_checkout(tmp_path / "checkout")
    nowhere = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "0", "PIP_NO_CACHE_DIR": "1"}
    env = environment(python, PIP_CONFIG_FILE=os.devnull, **nowhere)
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "PIP_NO_INDEX"):
        env.pop(name, None)
    done = run([python, "dev.py", "demo"], checkout, env)
    assert done.returncode == 2
    assert "No matching distribution found for nox" in done.stdout + done.stderr
    assert "PIP_INDEX_URL" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert brought_folders(checkout) == []


def test_without_pip_it_says_what_to_install(tmp_path: Path) -> None:
    python = make_python(tmp_path / "base", pip=False)
    checkout = make_checkout(tmp_path / "checkout")
    done = run([python, "dev.py", "tests"], checkout, environment(python))
    assert done.returncode == 2
    assert "has no pip" in done.stderr
    assert "python3-pip" in done.stderr
    assert brought_folders(checkout) == []


def test_an_old_python_prints_a_sentence() -> None:
    tree = ast.parse((ROOT / "dev.py").read_text(encoding="utf-8"), feature_version=(3, 7))
    too_new = (ast.JoinedStr, ast.AnnAssign, ast.NamedExpr, ast.Match, ast.AsyncFunctionDef)
    assert [node.lineno for node in ast.walk(tree) if isinstance(node, too_new)] == []
    code = "import sys; sys.version_info = (3, 9, 2); exec(compile(open('dev.py', encoding='utf-8').read(), 'dev.py', 'exec'))"
    done = run([sys.executable, "-c", code], ROOT)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "Python 3.11 or newer, and this is Python 3.9" in done.stderr


def test_the_bootstrap_brings_what_the_noxfile_accepts(dev: ModuleType) -> None:
    found = re.search(r'^nox\.needs_version = ">=([\d.]+)"$', (ROOT / "noxfile.py").read_text(), re.MULTILINE)
    assert found is not None
    assert ".".join(map(str, dev.NOX)) == found[1]
    assert dev.new_enough(found[1])
    assert dev.new_enough("2026.10.20")
    assert not dev.new_enough("2024.10.9")


@pytest.mark.parametrize("what", ["windows", "another user's"])
def test_what_cannot_work_is_said_at_once(dev: ModuleType, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    if what == "windows":
        monkeypatch.setattr(sys, "platform", "win32")
    else:
        monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(dev.Unable, match="WSL" if what == "windows" else "is not writable for you"):
        dev._check_the_machine()
