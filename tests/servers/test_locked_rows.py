"""A row that somebody's transaction has locked holds up no other task, and is taken from nobody meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
from acceptance.database import ServedDatabase
from heart_lab import watched_worker
from waiting import DEADLINE

from litestar_queues.backends.base import QueueBackend
from litestar_queues.errors import TasksLockedError
from litestar_queues.lifecycle import LoseHeartbeat, State, step
from litestar_queues.records import Held, NewTask, Stale, TaskRecord, Want
from litestar_queues_matrix.servers import ask

pytestmark = [pytest.mark.anyio, pytest.mark.named_databases]

IDS = [f"01920000-0000-7000-8000-00000000000{digit}" for digit in range(3)]
LOCKED, *FREE = IDS


@contextmanager
def locked(database: ServedDatabase, id_: str) -> Iterator[None]:
    """Hold the row in a transaction, as a console that somebody left open does."""
    with ask.connected(database.url) as cursor:
        cursor.execute("BEGIN")
        cursor.execute(f"SELECT * FROM litestar_queue_task WHERE {database.id_column} = %s FOR UPDATE", (id_,))
        cursor.fetchall()
        yield
        cursor.execute("ROLLBACK")


async def running(backend: QueueBackend) -> list[TaskRecord]:
    await backend.enqueue_many([NewTask(id=id_, name="t", queue="default") for id_ in IDS])
    claimed = await backend.claim(Want(worker="owner", limit=3, stale_after=0.6))
    assert {record.id for record in claimed} == set(IDS)
    return claimed


async def test_it_holds_up_no_other_heartbeat_and_no_recovery(database: ServedDatabase) -> None:
    backend, other = (database.backend(notifications=False).create_backend() for _ in range(2))
    await backend.open()
    await other.open()
    try:
        async with asyncio.timeout(DEADLINE):
            claimed = await running(backend)
            before = await backend.get(IDS)
            beats = [Held(one.id, one.fence, None, 0.6) for one in claimed]
            with locked(database, LOCKED):
                with pytest.raises(TasksLockedError) as caught:
                    await backend.touch_heartbeats(beats)
                assert (caught.value.kept, caught.value.locked) == (set(FREE), {LOCKED})
                assert LOCKED in str(caught.value)
                between = await other.get(IDS)
                assert {id_ for id_ in IDS if between[id_].heartbeat_at != before[id_].heartbeat_at} == set(FREE)

                query = Stale(at=await other.now() + timedelta(hours=1), window=1)
                assert {one.id for one in await other.find(query, 10)} == set(FREE)
                moved = [step(one, LoseHeartbeat('"gone"'), query.at) for one in between.values()]
                assert await other.commit(moved, stale=query) == set(FREE)
            held = [one for one in beats if one.id == LOCKED]
            assert await backend.touch_heartbeats(held) == {LOCKED}
            assert (await other.get([LOCKED]))[LOCKED].state is State.RUNNING
    finally:
        await other.close()
        await backend.close()


async def test_a_heartbeat_waits_for_a_lock_that_ends_soon(database: ServedDatabase) -> None:
    backend = database.backend(notifications=False).create_backend()
    await backend.open()
    try:
        async with asyncio.timeout(DEADLINE):
            claimed = await running(backend)
            before = {record.id: record.heartbeat_at for record in claimed}
            with locked(database, LOCKED):
                beating = asyncio.ensure_future(backend.touch_heartbeats([one.held for one in claimed]))
                while (await backend.get(FREE))[FREE[0]].heartbeat_at == before[FREE[0]]:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
                assert not beating.done()
            assert await beating == set(IDS)
    finally:
        await backend.close()


async def test_its_outcome_holds_up_no_later_one(database: ServedDatabase) -> None:
    store = database.backend(notifications=False, answer_timeout=None)  # it would be given up by that
    async with watched_worker(store) as (service, id_, go):
        with locked(database, id_):
            go.set()
            for _ in range(3):
                async with asyncio.timeout(DEADLINE):
                    await (await service.enqueue("waits")).wait()
            assert database.rows(id_)[id_]["state"] == "running"
        result = await service.get(id_)
        assert result is not None
        async with asyncio.timeout(DEADLINE):
            assert (await result.wait()).status is State.COMPLETED
