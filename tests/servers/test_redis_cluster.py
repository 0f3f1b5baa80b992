"""A cluster of three: one slot holds all keys of a namespace, and another server may hold those of the next."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest

from litestar_queues.backends.redis import RedisBackendConfig
from litestar_queues.backends.valkey import ValkeyBackendConfig
from litestar_queues.errors import BackendError, QueueConfigurationError
from litestar_queues.lifecycle import Complete, step
from litestar_queues.records import Matching, NewTask, Want
from litestar_queues_matrix.servers import ServerUnavailable, find, resp, rows_of
from litestar_queues_matrix.servers.cluster import CLUSTERED, ClusterServer

pytestmark = pytest.mark.anyio

CONFIGS = {"redis": RedisBackendConfig, "valkey": ValkeyBackendConfig}
PREFIXES = [f"tenant-{number}" for number in range(12)]


def _pairs() -> Iterator[Any]:
    for name, client in (("redis7", "valkey"), ("valkey9", "redis"), ("redis8", "redis"), ("valkey8", "valkey")):
        (row,) = rows_of(name)
        try:
            source = find(row, os.environ, given=not CLUSTERED, docker=False)
        except ServerUnavailable as error:
            yield pytest.param(None, id=f"{client}@{name}", marks=pytest.mark.skip(reason=str(error)))
        else:
            yield pytest.param((source, client), id=f"{client}@{name}")


@pytest.fixture(scope="module", params=_pairs())
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[ClusterServer, str]]:
    source, client = request.param
    with ClusterServer(source, os.environ) as cluster:
        yield cluster, client


def keys_on(cluster: ClusterServer) -> list[set[str]]:
    """The prefixes of the keys on each server."""
    found: list[set[str]] = []
    for node in cluster.nodes:
        with resp.connected(node.url) as command:
            found.append({key.decode().partition("}")[0].strip("{") for key in command("KEYS", "*")})
    return found


async def live(backend: Any) -> None:
    """One task's whole life, and a batch."""
    new = [NewTask(id=str(n), name="x", key=f"k{n}", queue=f"q{n % 3}") for n in range(30)]
    assert all(answer.is_new for answer in await backend.enqueue_many(new))
    claimed = await backend.claim(Want(worker="w", limit=20))
    assert len(claimed) == 20
    assert len(await backend.touch_heartbeats([one.held for one in claimed])) == 20
    done = [step(one, Complete("1"), await backend.now()) for one in claimed]
    assert len(await backend.commit(done)) == 20
    assert len(await backend.find(Matching(), 99)) == 30
    assert len(await backend.delete([one.held for one in done])) == 20


async def test_namespaces_are_spread_and_each_is_whole_on_one_server(pair: tuple[ClusterServer, str]) -> None:
    cluster, client = pair
    for prefix in PREFIXES:
        backend = CONFIGS[client](url=cluster.url, cluster=True, key_prefix=prefix).create_backend()
        await backend.open()
        await live(backend)
        assert any("keeps nothing on the disk" in remark for remark in await backend.remarks())
        await backend.close()
    found = keys_on(cluster)
    assert sorted(prefix for prefixes in found for prefix in prefixes) == sorted(PREFIXES)
    assert all(found)


async def test_a_cluster_client_of_the_applications_is_used_and_left_open(pair: tuple[ClusterServer, str]) -> None:
    cluster, client = pair
    library = import_module(f"{client}.asyncio.cluster")
    made = getattr(library, f"{client.capitalize()}Cluster").from_url(
        cluster.url.replace("redis:", f"{client}:").replace("valkey:", f"{client}:")
    )
    try:
        backend = CONFIGS[client](client=made, key_prefix="given").create_backend()
        await backend.open()
        await live(backend)
        await backend.close()
        assert await made.ping()
    finally:
        await made.aclose()


async def test_a_client_of_one_server_is_told_of_the_cluster(pair: tuple[ClusterServer, str]) -> None:
    cluster, client = pair
    refused: list[str] = []
    for node in cluster.nodes:
        backend = CONFIGS[client](url=node.url, key_prefix="alone", notifications=False).create_backend()
        try:
            await backend.open()
            await backend.enqueue_many([NewTask(id="1", name="x")])
        except (BackendError, QueueConfigurationError) as error:
            refused.append(str(error))
        await backend.close()
    assert ["cluster=True" in error for error in refused] == [True, True]
