"""The targets of the matrix, and its command, as far as they need no server."""

from __future__ import annotations

import json
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

from litestar_queues_conformance.auto import TargetRun
from litestar_queues_conformance.target import GROUP, UnknownTarget, load_target
from litestar_queues_matrix import __main__ as matrix
from litestar_queues_matrix import hosted, sqlserver
from litestar_queues_matrix.adapters import ADAPTERS, Adapter
from litestar_queues_matrix.servers import sources
from litestar_queues_matrix.sqlserver import TARGETS, SqlServerTarget


def test_every_adapter_is_a_target_under_its_name() -> None:
    mine = {one.name for one in entry_points(group=GROUP) if one.value.startswith(f"{sqlserver.__name__}:")}
    assert mine == {one.name for one in ADAPTERS}
    for name in mine:
        assert load_target(name) is TARGETS[name]


def test_a_target_is_put_on_a_server_by_its_name_or_its_kind() -> None:
    target = load_target("asyncpg@postgresql15")
    assert isinstance(target, SqlServerTarget)
    assert target.name == "asyncpg@postgresql15"
    assert [row.name for row in target.rows] == ["postgresql15"]
    assert [row.name for row in TARGETS["pymysql"].on("mysql").rows] == ["mysql9", "mysql8.4"]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("asyncpg@mysql9", "cannot be had: asyncpg does not run on mysql9, but on: postgresql18, "),
        ("asyncpg@nosuch", "cannot be had: unknown server 'nosuch'. Known: "),
        ("memory@postgresql15", "cannot be asked to run on 'postgresql15': it takes no server"),
    ],
)
def test_a_server_that_a_target_does_not_run_on_is_refused(name: str, says: str) -> None:
    with pytest.raises(UnknownTarget, match=says):
        load_target(name)


def test_every_store_has_a_table_of_its_own_on_the_server_that_is_served() -> None:
    served = {"LITESTAR_QUEUES_SERVER_OF_ASYNCPG_POSTGRESQL15": json.dumps({"url": "postgresql://h/d", "server": "PG"})}
    target = TARGETS["asyncpg"].on("postgresql15")
    configs = [target.config(served) for _ in range(100)]
    assert len({config["table"] for config in configs}) == 100
    assert {config["url"] for config in configs} == {"postgresql://h/d"}


def test_a_run_inside_another_is_served_by_that_and_starts_nothing() -> None:
    target = TARGETS["asyncpg"].on("postgresql15")
    with target.serve({"LITESTAR_QUEUES_SERVER_OF_ASYNCPG_POSTGRESQL15": "{}"}) as variables:
        assert variables == {}


@pytest.mark.anyio
@pytest.mark.parametrize("adapter", [one for one in ADAPTERS if "cockroach" in one.name])
async def test_claims_that_swap_hold_nothing(adapter: Adapter) -> None:
    async with SqlServerTarget(adapter=adapter).holding({}, ["t"]) as holds:
        assert not holds


@pytest.mark.anyio
async def test_the_report_says_what_the_server_said() -> None:
    assert await TARGETS["asyncpg"].server_version({"server": "PostgreSQL 15.2 (...)"}) == "PostgreSQL 15.2 (...)"


def test_a_target_without_a_server_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "_docker", lambda: "Docker does not answer")
    assert str(TARGETS["cockroach-asyncpg"].unavailable({})).startswith("cockroachdb cannot be had here: Docker")
    given = {
        "LITESTAR_QUEUES_COCKROACHDB_URL": "postgresql://h/d",
        "LITESTAR_QUEUES_POSTGRESQL15_URL": "postgresql://h/d",
    }
    assert "cannot be had" not in str(TARGETS["cockroach-asyncpg"].unavailable(given))
    assert "cannot be had" not in str(TARGETS["asyncpg"].on("postgresql15").unavailable(given))


def test_the_stand_in_takes_no_server_whose_isolation_it_does_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "_docker", lambda: None)
    env = {"LITESTAR_QUEUES_POSTGRESQL15_URL": "postgresql://h/d"}
    assert TARGETS["asyncpg"].find(env).row.name == "postgresql15"
    assert not isinstance(TARGETS["cockroach-standin-asyncpg"].find(env), sources.Given)


def test_a_target_without_its_driver_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosted, "find_spec", lambda _name: None)
    env = {"LITESTAR_QUEUES_POSTGRESQL15_URL": "postgresql://h/d"}
    target = TARGETS["psycopg"].on("postgresql15")
    assert target.unavailable(env) == "its driver is not installed: pip install psycopg[binary,pool]"


def test_the_matrix_is_every_backend_on_every_server_that_it_runs_on() -> None:
    pairs = matrix.pairs()
    assert {"memory", "asyncpg@postgresql15", "pymysql@mariadb10.11", "oracledb@oracle"} <= {*pairs}
    assert not {"asyncpg", "asyncpg@mysql9"} & {*pairs}
    assert matrix.selected([]) == pairs
    assert matrix.selected(["memory", "psqlpy", "*@mysql9", "memory"])[:3] == [
        "memory",
        "psqlpy@postgresql18",
        "psqlpy@postgresql17",
    ]
    with pytest.raises(UnknownTarget, match="'nosuch' names nothing of: "):
        matrix.selected(["nosuch"])


@pytest.mark.parametrize(
    ("outcomes", "named", "code"),
    [
        (["passed", "not run"], [], 0),
        (["passed", "not run"], ["asyncpg"], 0),
        (["passed", "not run"], ["asyncpg@postgresql18", "asyncpg@postgresql17"], 1),
        (["passed", "failed"], [], 1),
        (["passed", "incomplete"], [], 8),
        (["incomplete", "not found out"], [], 7),
        (["incomplete", "failed"], [], 1),
        (["not run", "not run"], [], 5),
    ],
)
def test_the_command_fails_where_a_run_failed_or_what_was_named_was_not_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, outcomes: list[Any], named: list[str], code: int
) -> None:
    names = ["asyncpg@postgresql18", "asyncpg@postgresql17"]
    runs = [TargetRun(name, outcome, "because") for name, outcome in zip(names, outcomes, strict=True)]
    given: list[Any] = []

    def run_targets(*args: Any, **_options: Any) -> list[TargetRun]:
        given.extend(args)
        return runs

    monkeypatch.setattr(matrix, "run_targets", run_targets)
    assert matrix.main([*named, "--out", str(tmp_path), "--", "-q", "-x"]) == code
    assert given[1] == ["-q", "-x"]
    written = json.loads((tmp_path / "matrix.json").read_text())
    assert [run["outcome"] for run in written["runs"]] == outcomes
    for line in (tmp_path / "matrix.md").read_text().splitlines():
        assert ("not run" in line) is line.startswith("not run: asyncpg@postgresql1")
