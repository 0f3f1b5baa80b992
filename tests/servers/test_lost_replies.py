"""The reply to a statement is lost, at every point of every operation; or the network swallows everything."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from typing import TypeVar

import msgspec
import pytest
from acceptance.database import ServedDatabase
from acceptance.stage import until
from acceptance.tasks import quick

from litestar_queues import State
from litestar_queues.backends.base import QueueBackend
from litestar_queues.backends.retry import PATIENCE
from litestar_queues.backends.sql.limit import GRACE
from litestar_queues.clock import SystemClock
from litestar_queues.errors import BackendUnavailableError
from litestar_queues.lifecycle import Complete, Fail, step
from litestar_queues.operations import Move, QueueOperations
from litestar_queues.records import NewTask, TaskRecord, Want
from litestar_queues_matrix.proxy import Proxy, proxy_to

T = TypeVar("T")

pytestmark = pytest.mark.anyio

ANSWERED_WITHIN = 1.0
"""Seconds, as `answer_timeout`."""


@pytest.fixture
async def proxy(database: ServedDatabase) -> AsyncIterator[Proxy]:
    async with proxy_to(database.url) as proxy:
        yield proxy


@pytest.fixture
async def backend(proxy: Proxy, database: ServedDatabase) -> AsyncIterator[QueueBackend]:
    """Through the proxy, without the connections and the traffic of a listener."""
    config = database.through(proxy.port).backend(notifications=False, answer_timeout=ANSWERED_WITHIN)
    backend = config.create_backend()
    await backend.open()
    await _acquaint(backend)
    yield backend
    await backend.close()


async def _acquaint(backend: QueueBackend) -> None:
    """Do everything once: what a server is told, or asked, but once would be lost instead of what the tests are about."""
    await backend.enqueue_many([new_task()])
    [claimed] = await backend.claim(Want(worker="w", limit=1))
    await backend.touch_heartbeats([claimed.held])
    done = step(claimed, Complete("1"), await backend.now())
    await backend.commit([done])
    await backend.get([done.id])
    await backend.delete([done.held])


def new_task(key: str | None = None) -> NewTask:
    task = quick.using(retries=3).call(1).new_task(datetime.now(UTC))
    return msgspec.structs.replace(task, key=key)


async def answered(call: Callable[[], Awaitable[T]]) -> T:
    """The answer of a call. What is lost while a new connection is made may fail it, so that it has to be repeated."""
    with suppress(BackendUnavailableError):
        return await call()
    return await call()


async def at_every_reply(proxy: Proxy, operation: Callable[[int], Awaitable[None]]) -> None:
    """Run an operation again and again, each time with the loss of a later one of its replies, until none is lost.

    What the pool does between operations counts as a part of them.
    """
    before = proxy.dropped
    for number in count():
        lost = proxy.dropped
        proxy.drop(number)
        await operation(number)
        if proxy.dropped == lost:
            break
        assert number < 40
    proxy.disarm()
    assert proxy.dropped - before >= 1, "no reply was lost"


@pytest.mark.parametrize("key", [None, "k"], ids=["unkeyed", "keyed"])
async def test_an_enqueue_is_stored_once_and_says_so(
    proxy: Proxy, backend: QueueBackend, database: ServedDatabase, key: str | None
) -> None:
    stored: list[str] = []

    async def enqueue(number: int) -> None:
        tasks = [new_task(key and f"{key}-{number}-{index}") for index in range(3)]
        answers = await answered(partial(backend.enqueue_many, tasks))
        assert [(answer.record.id, answer.is_new) for answer in answers] == [(task.id, True) for task in tasks]
        stored.extend(task.id for task in tasks)

    await at_every_reply(proxy, enqueue)
    assert sorted(database.rows()) == sorted(stored)


@pytest.mark.parametrize("key", [None, "k"], ids=["unkeyed", "keyed"])
async def test_an_outcome_is_neither_doubled_nor_reported_as_lost(
    proxy: Proxy, backend: QueueBackend, database: ServedDatabase, key: str | None
) -> None:
    operations = QueueOperations(backend, SystemClock())

    async def run(number: int) -> None:
        proxy.disarm()
        await backend.enqueue_many([new_task(key and f"{key}-{number}-{index}") for index in range(2)])
        first, second = await backend.claim(Want(worker="w", limit=2))
        proxy.drop(number)
        moves = [Move(first, Complete("1")), Move(second, Fail('{"type": "E", "message": "m", "traceback": null}'))]
        settled = await answered(partial(operations.apply, moves))
        assert [record.id for record in settled.stored] == [first.id, second.id]
        assert settled.lost == []
        rows = database.rows(first.id, second.id)
        assert [rows[record.id]["state"] for record in settled.stored] == ["completed", "failed"]
        assert [rows[record.id]["fence"] for record in settled.stored] == [first.fence + 1, second.fence + 1]

    await at_every_reply(proxy, run)
    assert operations.counters["complete"] == operations.counters["fail"] > 1
    assert operations.counters["fence_loss"] == 0


async def test_a_claim_gives_a_task_once_and_what_nobody_heard_of_can_be_recovered(
    proxy: Proxy, backend: QueueBackend, database: ServedDatabase
) -> None:
    operations = QueueOperations(backend, SystemClock())
    unheard = 0

    async def claim(number: int) -> None:
        nonlocal unheard
        proxy.disarm()
        # The reply that is lost first may be that to the claim itself: the driver has prepared it before.
        assert await backend.claim(Want(worker="before", limit=1)) == []
        await backend.enqueue_many([new_task()])
        proxy.drop(number)
        claimed: list[TaskRecord] = []
        with suppress(BackendUnavailableError):
            claimed = await backend.claim(Want(worker=f"w{number}", limit=1))
        proxy.disarm()
        if not claimed:
            running = database.count("running")
            recovery = await operations.requeue_stale_running(timedelta(seconds=-5))
            assert len(recovery.requeued) == running
            unheard += running
            claimed = await backend.claim(Want(worker=f"w{number}", limit=1))
        assert len(claimed) == 1
        assert (await operations.complete_task(claimed[0])).state is State.COMPLETED

    await at_every_reply(proxy, claim)
    assert (unheard == 0) if database.resolves_claims else (unheard >= 1)
    assert {row["state"] for row in database.rows().values()} == {"completed"}


async def test_a_network_that_swallows_everything_fails_a_call_in_bounded_time(
    proxy: Proxy, backend: QueueBackend, database: ServedDatabase
) -> None:
    before = new_task()
    await backend.enqueue_many([before])
    proxy.swallow()
    started = time.monotonic()
    calls = [
        backend.enqueue_many([new_task()]),
        backend.claim(Want(worker="w", limit=1)),
        backend.get([before.id]),
        backend.now(),
    ]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    took = time.monotonic() - started
    for answer in answers:
        assert isinstance(answer, BackendUnavailableError), answer
        assert f"127.0.0.1:{proxy.port}" in str(answer)
    # What may be repeated is, for ten seconds; each try has the time to be answered, and twice that to clean up.
    assert took < PATIENCE + ANSWERED_WITHIN + 2 * GRACE

    proxy.release()

    async def is_back() -> bool:
        with suppress(BackendUnavailableError):
            return before.id in await backend.get([before.id])
        return False

    await until(is_back)  # a pool may take its time between two tries
    assert [record.id for record in await backend.claim(Want(worker="w", limit=1))] == [before.id]
    assert list(database.rows()) == [before.id]
