"""Everything that a developer does, as sessions: `nox -l` lists them. `nox` alone is lint, types and tests."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import nox

ROOT = Path(__file__).parent
BUILD = ROOT / "build"
CODE = ("src", "conformance", "matrix", "examples", "demo", "bench", "tests", "docs", "noxfile.py")
TYPED = ("src", "conformance/src", "matrix/src", "examples/backend/src", "demo", "bench", "docs", "noxfile.py")
PACKAGES = ("-e", ".[advanced-alchemy,sqlspec]", "-e", "conformance", "-e", "matrix")
ANTLR = ("antlr4ts-sql@1.1.0", "antlr4ts@0.5.0-alpha.4")
"""A grammar of Oracle's language, which only npm has."""
TARGETS = ("memory", "aiosqlite", "sqlite", "duckdb", "alchemy-aiosqlite", "queue_in_files.conformance:Target")
"""The backends that need no server: each is a target of the conformance suite."""

nox.needs_version = ">=2025.2.9"
nox.options.sessions = ["lint", "types", "tests"]
nox.options.reuse_existing_virtualenvs = True
nox.options.error_on_external_run = True

PYPROJECT = nox.project.load_toml("pyproject.toml")


def install(session: nox.Session, *groups: str, packages: bool = True) -> None:
    """Install the packages of this repository and these dependency groups, in the versions of constraints.txt."""
    wanted = nox.project.dependency_groups(PYPROJECT, *groups) if groups else ()
    session.install("-q", "-c", "constraints.txt", *(PACKAGES if packages else ()), *wanted)


def _names_tests(arguments: Sequence[str]) -> bool:
    return any((ROOT / argument.partition("::")[0]).exists() for argument in arguments)


@nox.session
def lint(session: nox.Session) -> None:
    """Ruff: rules and format. `nox -s lint -- --fix` repairs what can be."""
    install(session, "lint", packages=False)
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


@nox.session
def tests(session: nox.Session) -> None:
    """Every test that needs no server: unit, integration and acceptance, with real processes on SQLite."""
    install(session, "test")
    session.run("pytest", *session.posargs)


@nox.session
def servers(session: nox.Session) -> None:
    """Workers and crashes on servers: on all that can be had here, or on those named: `-- --on=asyncpg@postgresql15`."""
    install(session, "test", "servers")
    session.run("pytest", *(session.posargs if _names_tests(session.posargs) else ["tests/servers", *session.posargs]))


@nox.session
def oracle(session: nox.Session) -> None:
    """Oracle's statements, as far as that goes without one: parsed, and sent through its adapters to a PostgreSQL."""
    install(session, "test", "servers", "oracle")
    antlr = BUILD / "antlr"
    if shutil.which("npm") and not (antlr / "node_modules").exists():  # where there is none, the report says so
        antlr.mkdir(parents=True, exist_ok=True)
        session.run("npm", "install", "--silent", *ANTLR, f"--prefix={antlr}", external=True, success_codes=range(256))
    env = {"LITESTAR_QUEUES_ANTLR_DIR": str(antlr)}
    session.run("pytest", *(session.posargs or ["tests/oracle"]), env=env)


@nox.session
def matrix(session: nox.Session) -> None:
    """The conformance suite on every backend and server that can be had, or on those named: `-- asyncpg '*@mysql9'`."""
    install(session, "test", "servers")
    session.run("python", "-m", "litestar_queues_matrix", f"--out={BUILD / 'matrix'}", *session.posargs)


@nox.session
def conformance(session: nox.Session) -> None:
    """The conformance suite on every backend that needs no server, or on those named: `-- --backend=aiosqlite`."""
    if session.posargs:
        install(session, "test", "servers")
        session.run("pytest", *session.posargs)
        return
    install(session, "test")
    for target in TARGETS:
        report = BUILD / "conformance" / f"{target.partition(':')[0]}.json"
        session.run("pytest", f"--backend={target}", f"--report-json={report}")


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
    install(session, "test")
    session.run("python", "demo/run.py", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Rates beside a bare driver doing the same writes, as ratios from this run: on SQLite, or `-- --server postgres`."""
    install(session, "test", *(("servers", "bench") if "--server" in session.posargs else ()))
    session.run("python", "bench/run.py", *session.posargs)


@nox.session
def build(session: nox.Session) -> None:
    """Build both distributions and look whether what they need is in them."""
    session.install("-q", "-c", "constraints.txt", "build")
    out = BUILD / "dist"
    session.run("python", "-m", "build", "-q", "--outdir", str(out), ".")
    session.run("python", "-m", "build", "-q", "--outdir", str(out), "conformance")
    session.run("python", "docs/check_wheels.py", str(out))


@nox.session
def lock(session: nox.Session) -> None:
    """Write constraints.txt anew from the newest versions that fit: names and versions, nothing else."""
    groups = nox.project.dependency_groups(PYPROJECT, "test", "servers", "oracle", "bench", "lint", "types")
    session.install("-q", *PACKAGES, *groups, "build")
    frozen = session.run("python", "-m", "pip", "freeze", "--exclude-editable", silent=True)
    lines = sorted(line for line in str(frozen).splitlines() if "==" in line and "@" not in line)
    (ROOT / "constraints.txt").write_text("\n".join(lines) + "\n")
    session.log(f"{len(lines)} versions")
