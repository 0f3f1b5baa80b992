"""Which files are mutated, and which tests judge the mutants of each: the most telling first."""

from __future__ import annotations

from collections.abc import Mapping

from mutate.judge import ROOT, Judge

__all__ = ("CORE", "SERVED", "TABLE", "name_of")

_CASES = "conformance/src/litestar_queues_conformance/cases"
_ORDER = (
    "machine", "clm", "own", "rec", "key", "hbt", "lif", "can", "exp", "sta", "ret", "lck", "rcd", "exe", "blk", "ntf", "txn",
    "scm",
)  # fmt: skip
"""The state machine first: it kills most mutants within a second."""
_SCHEDULES = "test_sch.py"
"""Cases of `litestar_queues.schedules`, of which no file of the table is a part: they are left out."""
_BURSTS = "test_bursts.py"
_UNIT = "tests/unit"


def _suite(target: str) -> Judge:
    files = [f"test_{area}.py" for area in _ORDER]
    rest = sorted({path.name for path in (ROOT / _CASES).glob("test_*.py")} - {*files, _SCHEDULES})
    if "@" not in target:  # no other process sees it, or one writes at a time
        rest.remove(_BURSTS)
    options = () if target == "memory" else ("--queue-time=once",)  # half of the time, and they take six times as long
    return Judge(tests=tuple(f"{_CASES}/{file}" for file in (*files, *rest)), target=target, options=options)


def _unit(*names: str) -> Judge:
    """The tests of these names, and those that mutants of the first one asked for."""
    own = f"{_UNIT}/test_mutants_{names[0]}.py"
    files = [f"{_UNIT}/test_{name}.py" for name in names]
    return Judge(tests=(*([own] if (ROOT / own).exists() else []), *files))


CORE = "src/litestar_queues"
_SCRIPTS = sorted(path.name for path in (ROOT / CORE / "backends/redis/lua").glob("*.lua"))
_MEMORY = _suite("memory")
_SQLITE = _suite("aiosqlite")
_POSTGRES = _suite("asyncpg@postgresql18")
_VALKEY = _suite("redis@valkey9")

TABLE: Mapping[str, Judge] = {
    f"{CORE}/backends/memory.py": _MEMORY,
    f"{CORE}/lifecycle.py": _MEMORY,
    f"{CORE}/backends/sql/engine.py": _SQLITE,
    f"{CORE}/backends/sql/one_statement.py": _SQLITE,
    f"{CORE}/backends/sql/sqlite.sql": _SQLITE,
    f"{CORE}/backends/sql/postgres.sql": _POSTGRES,
    **{f"{CORE}/backends/redis/lua/{name}": _VALKEY for name in _SCRIPTS},
    f"{CORE}/worker/worker.py": _unit(
        "worker", "worker_starts", "worker_shutdown", "worker_outage", "troubles", "dispatching"
    ),
    f"{CORE}/worker/settler.py": _unit("settler", "worker_outage", "worker", "troubles"),
    f"{CORE}/worker/heart.py": _unit("heart", "worker_outage", "worker"),
    f"{CORE}/worker/reaper.py": _unit("worker_reaper", "uptime", "worker"),
    f"{CORE}/operations.py": _unit("operations", "schedules", "worker_reaper", "dispatching"),
    f"{CORE}/service.py": _unit("service", "operations", "task", "background"),
    f"{CORE}/codec.py": _unit("codec", "task", "service"),
}
"""Each file, from the root of the checkout, and its judge."""
SERVED = frozenset(file for file, judge in TABLE.items() if "@" in judge.target)
"""Those whose judge needs a server."""


def name_of(file: str) -> str:
    """How readers call a file."""
    return file.removeprefix(f"{CORE}/")
