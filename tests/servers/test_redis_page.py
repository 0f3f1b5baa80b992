"""What `docs/how-to/redis.md` shows works when it is pasted, with another address."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any

import pytest
import redis.asyncio
from page_lab import PAGES, blocks, runs_a_task

from litestar_queues import QueueConfig
from litestar_queues.backends.redis import RedisBackendConfig
from litestar_queues.errors import QueueConfigurationError
from litestar_queues_matrix.servers import Server, ServerUnavailable, find_first, launch, resp, rows_of
from litestar_queues_matrix.servers.cluster import ClusterServer

pytestmark = pytest.mark.anyio

PAGE = PAGES["docs/how-to/redis.md"]
CODE = blocks("docs/how-to/redis.md", "python")
FIRST, VALKEY, OWN_CLIENT, CLUSTER = range(4)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    try:
        source = find_first((*rows_of("valkey"), *rows_of("redis")), os.environ, given=False, docker=False)
    except ServerUnavailable as error:
        pytest.skip(str(error))
    with launch(source, os.environ) as server:
        yield server


def sample(number: int, url: str) -> dict[str, Any]:
    """What a sample defines, with another address in the place of the one that it shows."""
    code, replaced = re.subn(r"localhost:\d+", url.partition("://")[2].partition("/")[0], CODE[number])
    assert replaced == 1
    names: dict[str, Any] = {}
    exec(compile(code, f"redis.md, sample {number}", "exec"), names)
    return names


def test_what_the_page_names_of_redis_py_exists() -> None:
    assert "RedisCluster" in PAGE
    assert "decode_responses=True" in PAGE
    assert callable(redis.asyncio.RedisCluster)
    assert callable(redis.asyncio.Sentinel.master_for)


@pytest.mark.parametrize("number", [FIRST, VALKEY])
async def test_a_configuration_runs_tasks(server: Server, number: int) -> None:
    await runs_a_task(sample(number, server.url)["config"])


async def test_a_client_of_ones_own_runs_tasks_and_stays_open(server: Server) -> None:
    names = sample(OWN_CLIENT, server.url)
    await runs_a_task(names["config"])
    assert await names["client"].ping()
    await names["client"].aclose()


async def test_a_cluster_runs_tasks() -> None:
    source = find_first((*rows_of("valkey"), *rows_of("redis")), os.environ, given=False, docker=False)
    with ClusterServer(source, os.environ) as cluster:
        await runs_a_task(sample(CLUSTER, cluster.url)["config"])


async def test_a_user_with_the_rights_named_runs_tasks_in_its_own_prefix_alone(server: Server) -> None:
    rules, remarks = re.findall(r"`((?:[~&+][^`\s]+\s?)+)`", PAGE.partition("A user of an ACL needs")[2])[:2]
    assert "{orders}" in rules
    with resp.connected(server.url) as command:
        command("ACL", "SETUSER", "orders", "on", ">pw", *rules.split())
    url = server.url.replace("://", "://orders:pw@").replace("valkey:", "redis:")
    await runs_a_task(QueueConfig(queue_backend=RedisBackendConfig(url=url, key_prefix="orders")))
    for more, told in (((), False), (remarks.split(), True)):
        with resp.connected(server.url) as command:
            command("ACL", "SETUSER", "orders", *more)
        backend: Any = RedisBackendConfig(url=url, key_prefix="orders").create_backend()
        await backend.open()
        assert bool(await backend.remarks()) is told
        await backend.close()
    stranger = RedisBackendConfig(url=url, key_prefix="mail", notifications=False).create_backend()
    with pytest.raises(QueueConfigurationError, match="permission"):
        await stranger.open()
    await stranger.close()
