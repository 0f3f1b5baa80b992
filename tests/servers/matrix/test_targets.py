from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from litestar_queues.records import NewTask
from litestar_queues_conformance.target import load_target
from litestar_queues_matrix.redis import TARGETS as REDIS
from litestar_queues_matrix.servers import ask, resp
from litestar_queues_matrix.servers.cluster import nodes_of
from litestar_queues_matrix.sqlserver import TARGETS

pytest_plugins = ["pytester"]
pytestmark = pytest.mark.anyio

EXISTING = "SELECT COUNT(*) FROM information_schema.tables WHERE table_name LIKE '{}%'"


def tables(url: str, prefix: str) -> int:
    with ask.connected(url) as cursor:
        cursor.execute(EXISTING.format(prefix))
        return int(cursor.fetchone()[0])


async def test_a_store_is_there_once_it_is_opened_and_gone_once_it_is_reset(target_name: str) -> None:
    target = TARGETS[target_name]
    config, other = target.config(os.environ), target.config(os.environ)
    assert config["table"] != other["table"]
    assert config["url"] == other["url"]
    assert tables(config["url"], config["table"]) == 0
    backend = await target.open(config)
    try:
        [enqueued] = await backend.enqueue_many([NewTask(id="1", name="x")])
        assert enqueued.is_new
        assert await backend.get(["1"])
    finally:
        await backend.close()
    assert tables(config["url"], config["table"]) >= 2
    await target.reset(config)
    await target.reset(config)
    assert tables(config["url"], config["table"]) == 0


def test_a_run_has_one_server_which_its_report_names(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        test_one="""
import pytest
from litestar_queues_conformance import Check, Store, guarantee

@pytest.mark.parametrize("number", range(4))
@guarantee("SCM-05")
async def test_where(store: Store, check: Check, number: int) -> None:
    check("SCM-05", True, "of course")
    with open("urls", "a") as file:
        file.write(store.config["url"] + "\\n")
"""
    )
    result = pytester.runpytest_subprocess("--backend=psycopg@postgresql", "-n2", "test_one.py")
    result.assert_outcomes(passed=8)  # in both modes of time
    result.stdout.fnmatch_lines(["conformance: on PostgreSQL *(postgresql*, from *)"])
    [url] = {*Path("urls").read_text().split()}
    with pytest.raises(ask.NotAnswering):
        ask.version(url)


def test_the_stand_in_runs_at_serializable() -> None:
    target = load_target("cockroach-standin-psycopg")
    with ask.connected(target.config(os.environ)["url"]) as cursor:
        cursor.execute("SHOW default_transaction_isolation")
        assert cursor.fetchone()[0] == "serializable"


@pytest.mark.parametrize("name", [*REDIS, "redis-cluster", "valkey-cluster"])
async def test_a_prefix_is_there_once_something_is_stored_and_gone_once_it_is_reset(name: str) -> None:
    target: Any = load_target(name)
    if reason := target.unavailable(os.environ):
        pytest.skip(reason)
    config, other = target.config(os.environ), target.config(os.environ)
    assert config["prefix"] != other["prefix"]
    assert config["url"] == other["url"]
    backend = await target.open(config)
    try:
        await backend.enqueue_many([NewTask(id="1", name="x")])
        assert await backend.get(["1"])
    finally:
        await backend.close()
    assert keys(config["url"], config["prefix"])
    await target.reset(config)
    await target.reset(config)
    assert not keys(config["url"], config["prefix"])


def keys(url: str, prefix: str) -> list[bytes]:
    found: list[bytes] = []
    for node in nodes_of(url):
        with resp.connected(node) as command:
            found += command("KEYS", f"*{prefix}*")
    return found
