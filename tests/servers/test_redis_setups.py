"""Servers that are full, read only, busy or set up badly; and clients that are the application's own."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from importlib import import_module
from typing import Any

import pytest
from acceptance.redis_database import RedisDatabase
from acceptance.stage import until
from redis_audit import audit
from redis_lab import Opens, database, opened, pair, server

from litestar_queues import QueueConfig, QueueService
from litestar_queues.backends.redis.keys import Namespace
from litestar_queues.errors import BackendUnavailableError
from litestar_queues.lifecycle import Complete, step
from litestar_queues.operations import Move
from litestar_queues.records import Matching, NewTask, Want
from litestar_queues.task import TaskRegistry, task
from litestar_queues_matrix.servers import Server, resp

__all__ = ("database", "opened", "pair", "server")

pytestmark = pytest.mark.anyio

MIB = "[" + "1," * 500_000 + "1]"


@contextmanager
def set_to(server: Server, settings: Mapping[str, str]) -> Iterator[None]:
    """A server with these settings, and as it was afterwards."""
    with resp.connected(server.url) as command:
        before = {name: command("CONFIG", "GET", name)[1] for name in settings}
        for name, value in settings.items():
            command("CONFIG", "SET", name, value)
    try:
        yield
    finally:
        with resp.connected(server.url) as command:
            for name, value in before.items():
                command("CONFIG", "SET", name, value)


def used(server: Server) -> int:
    with resp.connected(server.url) as command:
        said = dict(line.split(":", 1) for line in command("INFO", "memory").decode().splitlines() if ":" in line)
    return int(said["used_memory"])


async def test_a_full_server_refuses_new_tasks_whole_and_lets_the_others_end(
    server: Server, database: RedisDatabase, opened: Opens
) -> None:
    backend = await opened(notifications=False)
    await backend.enqueue_many([NewTask(id=f"old{n}", name="x", key=f"k{n}") for n in range(20)])
    before = database.rows()
    with set_to(server, {"maxmemory": str(used(server) // 2), "maxmemory-policy": "noeviction"}):
        for batch in (
            [NewTask(id="new", name="x", key="new")],
            [NewTask(id=f"n{n}", name="x", args=MIB) for n in range(9)],
        ):
            with pytest.raises(BackendUnavailableError, match="memory is full"):
                await backend.enqueue_many(batch)
            assert database.rows() == before
            audit(database)
        assert await backend.lock("reaper", "me", timedelta(seconds=9))
        claimed = await backend.claim(Want(worker="w", limit=20))
        assert len(claimed) == 20
        assert len(await backend.touch_heartbeats([one.held for one in claimed])) == 20
        done = [step(one, Complete("1"), await backend.now()) for one in claimed]
        assert len(await backend.commit(done)) == 20
        assert len(await backend.delete([one.held for one in done])) == 20
        audit(database)
    [answer] = await backend.enqueue_many([NewTask(id="new", name="x", key="new")])
    assert answer.is_new


@pytest.mark.parametrize(("policy", "warned"), [("noeviction", False), ("volatile-lru", False), ("allkeys-lru", True)])
async def test_a_policy_that_deletes_tasks_is_warned_of(
    server: Server,
    opened: Opens,
    caplog: pytest.LogCaptureFixture,
    policy: str,
    warned: bool,  # noqa: FBT001  # a parameter
) -> None:
    with set_to(server, {"maxmemory-policy": policy}):
        backend = await opened()
        remarks = [remark for remark in await backend.remarks() if policy in remark]
    lines = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert [policy in line and "noeviction" in line for line in lines] == [True] * warned
    assert len(remarks) == warned


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"save": "", "appendonly": "no"}, "keeps nothing on the disk"),
        ({"save": "3600 1", "appendonly": "no"}, "keeps snapshots alone"),
        ({"save": "", "appendonly": "yes", "appendfsync": "everysec"}, "once a second"),
        ({"save": "", "appendonly": "yes", "appendfsync": "always"}, None),
    ],
)
async def test_what_is_lost_with_the_server_is_told(
    server: Server, opened: Opens, settings: dict[str, str], said: str | None
) -> None:
    backend = await opened()
    with set_to(server, settings):
        remarks = await backend.remarks()
    assert [said in remark for remark in remarks if said] == ([] if said is None else [True])
    assert len(remarks) == (said is not None)


@contextmanager
def replica(server: Server) -> Iterator[None]:
    """A server that follows one that is not there."""
    with resp.connected(server.url) as command:
        command("REPLICAOF", "127.0.0.1", "1")
    try:
        yield
    finally:
        with resp.connected(server.url) as command:
            command("REPLICAOF", "NO", "ONE")


async def test_a_replica_is_refused_at_once_and_one_that_becomes_it_takes_nothing(
    server: Server, database: RedisDatabase, opened: Opens
) -> None:
    backend = await opened(notifications=False)
    await backend.enqueue_many([NewTask(id="1", name="x")])
    with replica(server):
        with pytest.raises(BackendUnavailableError, match=r"replica of 127.0.0.1:1\b.*name the primary"):
            await opened()
        for call in (backend.enqueue_many([NewTask(id="2", name="x")]), backend.claim(Want(worker="w", limit=1))):
            with pytest.raises(BackendUnavailableError, match="Nothing was stored"):
                await call
        assert list(await backend.get(["1", "2"])) == ["1"]
    assert [one.id for one in await backend.claim(Want(worker="w", limit=9))] == ["1"]
    assert list(database.rows()) == ["1"]


async def test_a_busy_server_is_waited_for(server: Server, opened: Opens) -> None:
    backend = await opened(notifications=False)
    with set_to(server, {"busy-reply-threshold": "20"}):
        busy = threading.Thread(target=_hold, args=(server.url,))
        busy.start()
        try:
            await until(lambda: asyncio.to_thread(_is_busy, server.url))
            enqueueing = asyncio.create_task(backend.enqueue_many([NewTask(id="1", name="x")]))
            done, _ = await asyncio.wait({enqueueing}, timeout=0.3)
            assert not done
        finally:
            with resp.connected(server.url) as command:
                command("SCRIPT", "KILL")
            busy.join()
    [answer] = await enqueueing
    assert answer.is_new


def _hold(url: str) -> None:
    with suppress(resp.Said, Exception), resp.connected(url) as command:
        command("EVAL", "while true do end", 0)


def _is_busy(url: str) -> bool:
    with resp.connected(url) as command:
        try:
            command("GET", "x")
        except resp.Said as error:
            return str(error).startswith("BUSY")
        return False


async def test_a_server_that_stays_busy_is_unavailable(server: Server, opened: Opens) -> None:
    backend = await opened(notifications=False, retry_timeout=0.2)
    with set_to(server, {"busy-reply-threshold": "20"}):
        busy = threading.Thread(target=_hold, args=(server.url,))
        busy.start()
        try:
            await until(lambda: asyncio.to_thread(_is_busy, server.url))
            with pytest.raises(BackendUnavailableError, match=r"not ready .* nothing was stored"):
                await backend.enqueue_many([NewTask(id="1", name="x")])
        finally:
            with resp.connected(server.url) as command:
                command("SCRIPT", "KILL")
            busy.join()
    assert await backend.get(["1"]) == {}


def client_of(database: RedisDatabase, **options: Any) -> Any:
    library = import_module(f"{database.client}.asyncio")
    port = int(database.url.rpartition(":")[2].partition("/")[0])
    return getattr(library, database.client.capitalize())(port=port, **options)


@pytest.mark.parametrize(
    "options",
    [{}, {"decode_responses": True}, {"protocol": 3}, {"socket_timeout": 0.5}],
    ids=str,
)
async def test_a_client_of_the_applications_is_used_and_left_open(
    database: RedisDatabase, opened: Opens, options: dict[str, Any]
) -> None:
    client = client_of(database, **options)
    try:
        backend, other = await opened(client=client), await opened()
        new = NewTask(id="1", name="ü", args='["\\u0000", "é", 9007199254740993]', queue="q")
        await other.enqueue_many([new])
        [claimed] = await backend.claim(Want(worker="w", limit=1))
        assert claimed.args == new.args
        hearing = asyncio.create_task(backend.wakeups.wait(("q",), 30))
        while not hearing.done():
            await other.wakeups.notify(["q"])
            await asyncio.wait({hearing}, timeout=0.1)
        assert hearing.result()
        await backend.close()
        assert await client.ping()
        with pytest.raises(BackendUnavailableError, match="not open"):
            await backend.now()
    finally:
        await client.aclose()


async def test_two_prefixes_do_not_see_each_other(database: RedisDatabase, opened: Opens) -> None:
    here = await opened(notifications=False)
    there = await opened(notifications=False, key_prefix=f"{database.prefix}:task")
    [one] = await here.enqueue_many([NewTask(id="1", name="here", key="k")])
    [two] = await there.enqueue_many([NewTask(id="1", name="there", key="k")])
    assert (one.is_new, two.is_new) == (True, True)
    assert [task.name for task in await there.claim(Want(worker="w", limit=9))] == ["there"]
    assert [task.name for task in await here.find(Matching(), 9)] == ["here"]
    with resp.connected(database.url) as command:
        for key in command("KEYS", f"{Namespace(f'{database.prefix}:task').space}*"):
            command("DEL", key)


async def test_who_waits_for_a_task_hears_of_its_end_and_does_not_look_again_and_again(
    database: RedisDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("litestar_queues.service._PAUSE_WITH_HINTS", 1000.0)  # so that nothing but a hint ends it
    registry = TaskRegistry()

    @task("waits", registry=registry)
    async def waits() -> int:
        return 5

    async with QueueService(QueueConfig(queue_backend=database.backend()), registry=registry) as service:
        other = QueueService(QueueConfig(queue_backend=database.backend()), registry=registry)
        await other.open()
        looks = 0
        get = service.operations.backend.get

        async def counted(ids: Any) -> Any:
            nonlocal looks
            looks += 1
            return await get(ids)

        service.operations.backend.get = counted  # type: ignore[method-assign]
        for cut in (False, True):
            result = await service.enqueue("waits")
            waiting = asyncio.create_task(result.wait(60))
            wakeups: Any = service.operations.backend.wakeups
            await until(lambda wakeups=wakeups: asyncio.sleep(0, wakeups.hears_ends))
            looks = 0
            if cut:
                database.cut_connections()
            [claimed] = await other.operations.claim(Want(worker="w", limit=1))
            await asyncio.wait({waiting}, timeout=1)
            assert cut or looks <= 1
            await other.operations.apply([Move(claimed, Complete("5"))])
            await waiting
            assert result.result == 5
            assert cut or looks <= 2
        await other.close()
