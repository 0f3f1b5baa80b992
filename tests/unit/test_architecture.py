from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from collections.abc import Iterable, Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from types import ModuleType

import pytest

import litestar_queues
import litestar_queues_conformance
import litestar_queues_matrix
from litestar_queues.backends.memory import MemoryBackend

ROOT = Path(litestar_queues.__file__).parent
PACKAGE = "litestar_queues"
SOURCES = sorted(path for path in ROOT.rglob("*.py") if "__pycache__" not in path.parts)


def module_of(path: Path, root: Path = ROOT) -> str:
    parts = path.relative_to(root.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path) -> set[str]:
    """Every module of this package that a file imports, inside functions and for type checkers too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} imports relatively"
            module = node.module or ""
            found.add(module)
            found |= {f"{module}.{alias.name}" for alias in node.names if f"{module}.{alias.name}" in MODULES}
    return {name for name in found if name == PACKAGE or name.startswith(f"{PACKAGE}.")}


MODULES = {module_of(path) for path in SOURCES}
IMPORTS = {module_of(path): imports_of(path) for path in SOURCES}


def inside(module: str, *packages: str) -> bool:
    return any(module == f"{PACKAGE}.{p}" or module.startswith(f"{PACKAGE}.{p}.") for p in packages)


ELSEWHERE = {f"{PACKAGE}.execution.{name}" for name in ("remote", "process", "cloudrun.entrypoint")}
"""What runs in a process of its own, started by an execution backend: it stands above the service, as a worker does."""


def broken(of: set[str], *forbidden: str) -> list[str]:
    return sorted(f"{m} -> {i}" for m in of for i in IMPORTS[m] if inside(i, *forbidden) or i == PACKAGE)


def test_every_file_is_looked_at() -> None:
    assert len(MODULES) > 25
    assert IMPORTS[f"{PACKAGE}.worker.worker"] >= {f"{PACKAGE}.service", f"{PACKAGE}.worker.liveness"}


@pytest.mark.parametrize(
    ("layer", "may"),
    [
        ("errors", set[str]()),
        ("lifecycle", set[str]()),
        ("columns", set[str]()),
        ("records", {"columns", "errors", "lifecycle"}),
        ("backends.base", {"records"}),
        ("clock", {"backends.base"}),
        ("backoff", {"errors"}),
        ("codec", {"errors"}),
        ("notifier", set[str]()),
    ],
)
def test_the_ground_floor_knows_only_what_lies_below_it(layer: str, may: set[str]) -> None:
    assert {name.removeprefix(f"{PACKAGE}.") for name in IMPORTS[f"{PACKAGE}.{layer}"]} <= may


def test_no_backend_knows_what_stands_above_the_port() -> None:
    backends = {m for m in MODULES if inside(m, "backends")}
    above = (
        "service", "operations", "worker", "execution", "plugin", "cli", "task", "options", "config", "events", "result",
        "context", "background", "litestar",
    )  # fmt: skip
    assert broken(backends, *above) == []


def test_what_stands_above_the_port_knows_no_backend() -> None:
    above = {m for m in MODULES if not inside(m, "backends", "plugin", "cli") and m != PACKAGE}
    known = [
        f"{m} -> {i}" for m in sorted(above) for i in sorted(IMPORTS[m])
        if inside(i, "backends") and i.removeprefix(f"{PACKAGE}.") not in ("backends", "backends.base", "backends.delegating")
    ]  # fmt: skip
    assert known == [f"{PACKAGE}.config -> {PACKAGE}.backends.registry"]


def test_one_backend_does_not_know_another() -> None:
    engine, sqlspec = {m for m in MODULES if inside(m, "backends.sql")}, f"{PACKAGE}.backends.sqlspec"
    memory = f"{PACKAGE}.backends.memory"
    assert broken(engine, "backends.sqlspec", "backends.advanced_alchemy", "backends.memory") == []
    assert broken({memory}, "backends.sql", "backends.sqlspec", "backends.advanced_alchemy") == []
    assert broken({m for m in MODULES if m.startswith(sqlspec)}, "backends.memory", "backends.advanced_alchemy") == []
    alchemy = {m for m in MODULES if inside(m, "backends.advanced_alchemy")}
    assert broken(alchemy, "backends.memory", "backends.sqlspec") == []


def test_the_core_knows_neither_the_worker_nor_litestar() -> None:
    core = {
        m
        for m in MODULES
        if not inside(m, "worker", "plugin", "cli", "background", "litestar", "testing") and m != PACKAGE
    } - ELSEWHERE
    assert broken(core, "worker", "plugin", "cli") == []


@pytest.mark.parametrize(
    ("low", "high"),
    [
        ("execution", ("worker", "service", "operations", "plugin", "cli")),
        ("events", ("worker", "service", "operations", "execution", "plugin", "cli")),
        ("operations", ("service", "worker", "task", "execution", "plugin", "cli")),
        ("worker", ("plugin", "cli")),
        ("service", ("worker", "plugin", "cli")),
        ("plugin", ("testing",)),
        ("cli", ("testing",)),
    ],
)
def test_dependencies_point_one_way(low: str, high: tuple[str, ...]) -> None:
    assert broken({m for m in MODULES if inside(m, low)} - ELSEWHERE, *high) == []


def test_only_commands_know_what_runs_elsewhere() -> None:
    known = {m for m in MODULES if IMPORTS[m] & ELSEWHERE and not inside(m, "cli")}
    assert known <= ELSEWHERE
    assert broken(ELSEWHERE, "plugin", "cli", "testing") == []


CLIENTS = (
    "sqlspec", "sqlalchemy", "advanced_alchemy", "redis", "valkey", "google", "grpc", "click", "rich_click", "rich",
    "aiosqlite", "asyncpg", "pydantic", "uvicorn",
)  # fmt: skip


def test_importing_the_package_imports_no_client() -> None:
    # Litestar itself imports Advanced Alchemy where that is installed: here, for Litestar, it is not.
    code = (
        "import sys; sys.modules['advanced_alchemy'] = None; import litestar_queues; "
        f"print(*sorted(name for name in {CLIENTS!r} if sys.modules.get(name)))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.split() == []


@pytest.mark.parametrize(
    ("target", "missing"),
    [
        ("memory", ("sqlspec", "sqlalchemy", "advanced_alchemy", "redis", "valkey")),
        ("sqlite", ("sqlalchemy", "advanced_alchemy", "redis", "valkey")),
        ("duckdb", ("sqlalchemy", "advanced_alchemy", "redis", "valkey")),
        ("sqlserver", ("sqlalchemy", "advanced_alchemy", "redis", "valkey")),
        ("redis", ("sqlspec", "sqlalchemy", "advanced_alchemy")),
        ("alchemy", ("redis", "valkey")),
    ],
)
def test_a_target_imports_no_library_that_its_backend_does_not_need(target: str, missing: tuple[str, ...]) -> None:
    code = f"import sys; sys.modules.update(dict.fromkeys({missing!r})); import litestar_queues_matrix.{target}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_no_file_reads_a_clock_that_it_was_not_given() -> None:
    wall = ("datetime.now(", "utcnow(", "time.time(")
    found = [
        module_of(p) for p in SOURCES if module_of(p) != f"{PACKAGE}.clock"
        and any(word in p.read_text(encoding="utf-8").split('"""', 2)[-1] for word in wall)
    ]  # fmt: skip
    # Named in the text of an error, for example; a database without a server has no clock of its own.
    assert set(found) <= {f"{PACKAGE}.records", f"{PACKAGE}.backends.sqlspec.backend"}


def at_run_time(node: ast.AST) -> Iterator[ast.AST]:
    """Everything below a node but what only type checkers read."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        yield child
        yield from at_run_time(child)


@pytest.mark.parametrize("package", [litestar_queues, litestar_queues_conformance, litestar_queues_matrix])
def test_no_modules_import_each_other_at_run_time(package: ModuleType) -> None:
    """Imports inside functions count."""
    assert package.__file__ is not None
    root = Path(package.__file__).parent
    files = {module_of(path, root): path for path in root.rglob("*.py")}
    graph: dict[str, set[str]] = {}
    for module, path in files.items():
        nodes = list(at_run_time(ast.parse(path.read_text(encoding="utf-8"))))
        plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
        froms = [(node.module or "", node.names) for node in nodes if isinstance(node, ast.ImportFrom)]
        taken = {full if (full := f"{of}.{one.name}") in files else of for of, names in froms for one in names}
        graph[module] = (plain | taken) & files.keys()
    assert sum(map(len, graph.values())) > len(files)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))


SUITE = {
    path: ast.parse(path.read_text(encoding="utf-8"))
    for path in Path(*litestar_queues_conformance.__path__).rglob("*.py")
}


def hidden(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def names_of(trees: Iterable[ast.AST], *, bound: bool) -> set[str]:
    """The names with an underscore before them that code gives to something of its own, or else that it reads."""
    found: set[str] = set()
    for node in (node for tree in trees for node in ast.walk(tree)):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name) if bound:
                found.add(name)
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()) if bound:
                found.add(name)
            case ast.Attribute(attr=name, ctx=ast.Load()) | ast.alias(name=name) if not bound:
                found.add(name)
            case _:
                pass
    return set(filter(hidden, found))


def test_the_suite_uses_no_private_name_of_the_library() -> None:
    """It is another distribution, and may be of another version."""
    own, read = names_of(SUITE.values(), bound=True), names_of(SUITE.values(), bound=False)
    assert read - own == {"_exit"}, "os._exit is Python's"
    heirs = [tree for path, tree in SUITE.items() if path.parent.name == "saboteurs"]
    inherited = names_of([ast.parse(inspect.getsource(MemoryBackend))], bound=True)
    assert "_by_state" in inherited
    assert (names_of(heirs, bound=True) | names_of(heirs, bound=False)) & inherited == set()
