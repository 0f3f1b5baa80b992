"""Everything that a developer does, as sessions: `nox -l` lists them. `nox` alone is lint, types and tests."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import nox
from nox.virtualenv import VirtualEnv

ROOT = Path(__file__).parent
BUILD = ROOT / "build"
CODE = (
    "src", "conformance", "matrix", "examples", "demo", "drill", "bench", "simulate", "soak", "mutate", "tests", "docs",
    ".ci/pip_install.py", "dev.py", "noxfile.py",
)  # fmt: skip
TYPED = (
    "src", "conformance/src", "matrix/src", "examples/backend/src", "examples/execution", "examples/shop", "demo",
    "drill", "bench", "simulate", "soak", "mutate", "docs", ".ci/pip_install.py", "dev.py", "noxfile.py",
)  # fmt: skip
SUITE = ("-e", "conformance", "-e", "matrix")
PACKAGES = ("-e", ".[advanced-alchemy,sqlspec]", *SUITE)
ANTLR = ("antlr4ts-sql@1.1.0", "antlr4ts@0.5.0-alpha.4")
"""A grammar of Oracle's language, which only npm has."""
TARGETS = ("memory", "aiosqlite", "sqlite", "duckdb", "alchemy-aiosqlite", "queue_in_files.conformance:Target")
"""The backends that need no server: each is a target of the conformance suite."""
DRIVERS = ("tests/unit/test_redis_config.py", "tests/unit/test_sqlspec_forms.py")
"""Unit tests that need drivers of servers, and skip what is not installed: the session `oracle`, which has all, runs them."""
OLDEST_SQLALCHEMY = "sqlalchemy>=2.0.41,<2.1"
LOCKED = ("test", "servers", "oracle", "bench", "lint", "types", "build")
"""The dependency groups whose versions constraints.txt holds."""
FROM_SDIST = (
    "tests/unit/test_lifecycle.py",
    "tests/unit/test_records.py",
    "tests/unit/test_memory.py",
    "tests/unit/test_task.py",
)

nox.needs_version = ">=2025.2.9"
nox.options.sessions = ["lint", "types", "tests"]
nox.options.reuse_existing_virtualenvs = True
nox.options.error_on_external_run = True

PYPROJECT = nox.project.load_toml("pyproject.toml")
MARK = "litestar-queues.json"
"""Lies in an environment whose installation has come to its end, and holds what was installed."""
ELSEWHERE = ("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_PYTHON", "PIP_DRY_RUN", "PIP_REPORT", "PYTHONHOME")
"""Variables that would send an installation, or a Python, somewhere else than into the session's environment."""
FOUND = frozenset((ROOT / ".nox").glob("*")) if (ROOT / ".nox").is_dir() else frozenset[Path]()
"""The environments that there were before this run."""

for _name in ELSEWHERE:
    os.environ.pop(_name, None)
os.environ |= {"PIP_USER": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_ROOT_USER_ACTION": "ignore"}


def install(session: nox.Session, *groups: str, packages: Sequence[str] = PACKAGES, constrained: bool = True) -> None:
    """Install the packages of this repository and these dependency groups, in the versions of constraints.txt.

    An environment that has them already is left as it is. One whose installation was interrupted, or that was made for
    another Python, is made again.
    """
    wanted = [*packages, *(nox.project.dependency_groups(PYPROJECT, *groups) if groups else ())]
    if constrained:
        wanted = ["-c", "constraints.txt", *wanted]
    environment = session.virtualenv
    if not isinstance(environment, VirtualEnv):
        session.warn("no environment of nox's own: it has to hold", *wanted)
        return
    mark = Path(environment.location) / MARK
    state = {"python": [sys.version, sys.base_prefix], "installed": wanted, "files": _fingerprint()}
    before: dict[str, object] = json.loads(mark.read_text(encoding="utf-8")) if mark.exists() else {}
    if before == state:
        return
    if Path(environment.location) in FOUND and before.get("python") != state["python"]:
        session.log("its environment is incomplete, or another Python's: making it again")
        environment.reuse_existing = False
        environment.create()
    mark.unlink(missing_ok=True)
    if session.venv_backend == "uv":
        session.install(*wanted, silent=False)
    else:
        session.run_install("python", ".ci/pip_install.py", session.name, *wanted)
    mark.write_text(json.dumps(state), encoding="utf-8")


def _fingerprint() -> str:
    """Of the files that say what is installed."""
    files = ("constraints.txt", "pyproject.toml", "conformance/pyproject.toml", "matrix/pyproject.toml")
    return hashlib.sha256(b"".join((ROOT / file).read_bytes() for file in files)).hexdigest()


def _names_tests(arguments: Sequence[str]) -> bool:
    return any((ROOT / argument.partition("::")[0]).exists() for argument in arguments)


@nox.session
def lint(session: nox.Session) -> None:
    """Ruff: rules and format. `nox -s lint -- --fix` repairs what can be."""
    install(session, "lint", packages=())
    paths = [path for path in CODE if (ROOT / path).exists()]
    if "--fix" in session.posargs:
        session.run("ruff", "check", "--fix", *paths)
        session.run("ruff", "format", *paths)
        return
    session.run("ruff", "check", *paths)
    session.run("ruff", "format", "--check", *paths)


@nox.session
def types(session: nox.Session) -> None:
    """Mypy and pyright, both strict, and the typing tests."""
    install(session, "test", "servers", "types")
    paths = [path for path in TYPED if (ROOT / path).exists()]
    session.run("mypy", *paths)
    session.run("pyright", *paths)
    typing = sorted(str(path) for path in (ROOT / "tests" / "typing").glob("*.py"))
    if typing:
        session.run("mypy", *typing)
        session.run("pyright", *typing)
    # Where no server is, these tests are not run, and what they import is not noticed to be missing.
    session.run("pytest", "-q", "--collect-only", "tests/servers", "tests/upgrade", silent=True)


@nox.session
def tests(session: nox.Session) -> None:
    """Every test that needs no server: unit, integration and acceptance, with real processes on SQLite."""
    install(session, "test")
    # Half of the time is spent waiting for processes, so that two at once take little more than half of it on any machine.
    session.run("pytest", *(session.posargs or ["-n", "2", "--dist", "loadfile"]))


@nox.session
def servers(session: nox.Session) -> None:
    """Workers and crashes on servers: on all that can be had here, or on those named: `-- --on=asyncpg@postgresql15`."""
    install(session, "test", "servers")
    session.run("pytest", *(session.posargs if _names_tests(session.posargs) else ["tests/servers", *session.posargs]))


@nox.session
def upgrade(session: nox.Session) -> None:
    """Databases of the first version, opened and worked on by both: on all that can be had, or `-- --on=asyncpg`."""
    install(session, "test", "servers")
    session.run("pytest", *(session.posargs if _names_tests(session.posargs) else ["tests/upgrade", *session.posargs]))


@nox.session
def oracle(session: nox.Session) -> None:
    """Oracle's statements, as far as that goes without one: parsed, and sent through its adapters to a PostgreSQL.

    And the unit tests that need every driver, and no server.
    """
    install(session, "test", "servers", "oracle")
    antlr = BUILD / "antlr"
    if shutil.which("npm") and not (antlr / "node_modules").exists():  # where there is none, the report says so
        antlr.mkdir(parents=True, exist_ok=True)
        session.run("npm", "install", "--silent", *ANTLR, f"--prefix={antlr}", external=True, success_codes=range(256))
    env = {"LITESTAR_QUEUES_ANTLR_DIR": str(antlr)}
    session.run("pytest", *(session.posargs or ["tests/oracle"]), env=env)
    if not session.posargs:
        session.run("pytest", "-q", *DRIVERS)


@nox.session
def matrix(session: nox.Session) -> None:
    """The conformance suite on every backend and server that can be had, or on those named: `-- asyncpg '*@mysql9'`."""
    install(session, "test", "servers")
    session.run("python", "-m", "litestar_queues_matrix", f"--out={BUILD / 'matrix'}", *session.posargs)


@nox.session
def conformance(session: nox.Session) -> None:
    """The conformance suite on each backend that needs no server, or on those named: `-- --on=memory`, `-- --backend=asyncpg`."""
    if any("backend" in argument for argument in session.posargs):
        install(session, "test", "servers")
        session.run("pytest", *session.posargs)
        return
    named = [argument.removeprefix("--on=") for argument in session.posargs if argument.startswith("--on=")]
    if unknown := set(named) - set(TARGETS):
        session.error(f"--on={min(unknown)}: those that need no server are {', '.join(TARGETS)}")
    install(session, "test")
    options = [argument for argument in session.posargs if not argument.startswith("--on=")]
    for target in named or TARGETS:
        report = BUILD / "conformance" / f"{target.partition(':')[0]}.json"
        session.run("pytest", f"--backend={target}", f"--report-json={report}", *options)


@nox.session
def sqlalchemy(session: nox.Session) -> None:
    """Advanced Alchemy's tests and suite on the oldest series of SQLAlchemy; constraints.txt has the newest one."""
    install(session, "test")
    session.run_install("python", "-m", "pip", "install", "-q", OLDEST_SQLALCHEMY)
    session.run("python", "-c", "import sqlalchemy; print('SQLAlchemy', sqlalchemy.__version__)")
    if any(not argument.startswith("--queue-time") for argument in session.posargs):
        session.run("pytest", *session.posargs)
        return
    session.run(
        "pytest",
        "-q",
        *sorted(str(path) for path in Path("tests").glob("*/test_alchemy_*.py") if path.parent.name != "servers"),
    )
    session.run("pytest", "-q", "-n", "2", "--backend=alchemy-aiosqlite", *session.posargs)


@nox.session
def saboteurs(session: nox.Session) -> None:
    """Broken backends, each of which the suite must catch: in memory, or on servers: `-- --server=postgresql18`."""
    if any(argument.partition("=")[0] == "--server" for argument in session.posargs):
        install(session, "test", "servers")
        session.run("python", "-m", "litestar_queues_matrix.saboteurs", *session.posargs)
        return
    install(session, "test")
    session.run("python", "-m", "litestar_queues_conformance.saboteur_run", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """Make the generated pages; `-- --check` fails where one is stale instead."""
    install(session)
    session.run("python", "docs/generate.py", *session.posargs)


@nox.session
def demo(session: nox.Session) -> None:
    """The whole thing, once: a server, workers, 1,000 tasks, a worker killed, and the guarantees checked."""
    install(session, "demo", packages=("-e", ".[sqlspec]", *SUITE))
    session.run("python", "demo/run.py", *session.posargs)


@nox.session
def simulate(session: nox.Session) -> None:
    """Workers in virtual time, with faults, judged by rules: 1,000 seeds, or `-- --seeds 5000`, `-- --seed 7 --trace`."""
    install(session, packages=("-e", "."))
    session.run("python", "simulate/run.py", *session.posargs)


@nox.session
def mutants(session: nox.Session) -> None:
    """Mechanical mutants of the package, and which tests kill them: 100 a file, or `-- --file heart.py --sample 20`."""
    needs_server = any(argument.endswith((".lua", "postgres.sql")) for argument in session.posargs)
    install(session, "test", *(("servers",) if needs_server else ()))
    session.run("python", "mutate/run.py", *session.posargs)


@nox.session
def drill(session: nox.Session) -> None:
    """Faults against real servers and worker processes, judged by rules: `-- --minutes 1 --on aiosqlite,asyncpg`."""
    install(session, "test", "servers")
    session.run("python", "drill/run.py", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Rates beside a bare driver doing the same writes, as ratios from this run: on SQLite, or `-- --server postgres`."""
    install(session, "test", *(("servers", "bench") if "--server" in session.posargs else ()))
    session.run("python", "bench/run.py", *session.posargs)


@nox.session
def soak(session: nox.Session) -> None:
    """A worker for ten minutes, and what of it grows: `-- --minutes 1` is a short one, `-- --on asyncpg@postgresql15` elsewhere."""
    install(session, "test", *(("servers",) if any(one.startswith("--on") for one in session.posargs) else ()))
    session.run("python", "soak/run.py", *session.posargs)


@nox.session
def build(session: nox.Session) -> None:
    """Build both distributions, look into them, install both wheels together, and run tests from the unpacked sdist."""
    install(session, "demo", "build", packages=())
    out = BUILD / "dist"
    shutil.rmtree(out, ignore_errors=True)
    for folder in (".", "conformance"):
        session.run("python", "-m", "build", "--outdir", str(out), folder, silent=True)
    session.run("python", "docs/check_wheels.py", str(out))
    wheels = [f"{wheel}[sqlspec]" if "conformance" not in wheel.name else str(wheel) for wheel in out.glob("*.whl")]
    session.run_install(
        "python", "-m", "pip", "install", "-q", "--force-reinstall", "--no-deps", *map(str, out.glob("*.whl"))
    )
    session.run_install("python", ".ci/pip_install.py", session.name, "-c", "constraints.txt", *wheels)
    (sdist,) = out.glob("litestar_queues-*.tar.gz")
    shutil.unpack_archive(sdist, out / "unpacked")
    (unpacked,) = (out / "unpacked").iterdir()
    with session.chdir(unpacked):
        session.run("pytest", "-q", "-p", "no:cacheprovider", *FROM_SDIST)


@nox.session(reuse_venv=False)
def lock(session: nox.Session) -> None:
    """Write constraints.txt anew from the newest versions that fit: names and versions, nothing else."""
    install(session, *LOCKED, constrained=False)
    frozen = session.run("python", "-m", "pip", "freeze", "--exclude-editable", silent=True)
    lines = sorted(line for line in str(frozen).splitlines() if "==" in line and "@" not in line)
    (ROOT / "constraints.txt").write_text("\n".join(lines) + "\n")
    session.log(f"{len(lines)} versions")
