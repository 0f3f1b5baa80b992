"""What `AsyncQueueTester` promises, in the service's own event loop and in another one."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from litestar.testing import AsyncTestClient, TestClient
from shop_lab import every_backend, flaky, make_app, make_service, order, parent, refuse, stuck, welcome

from litestar_queues import QueueConfig, QueueError, State
from litestar_queues.testing import AsyncQueueTester, DrainError, QueueTester

pytestmark = pytest.mark.anyio
NUMBER = uuid.UUID(int=7)


@every_backend
async def test_a_test_of_an_application_in_another_loop_finds_and_runs_tasks(
    tmp_path: Path, backend: Callable[[Path], Any], async_queue_tester: AsyncQueueTester
) -> None:
    async with AsyncTestClient(make_app(backend(tmp_path), in_app_worker=True)) as client:
        id_ = (await client.post("/signup/ada")).text
        result = await order.using(delay=60).enqueue(NUMBER)
        await async_queue_tester.assert_enqueued(welcome, "ada")
        await async_queue_tester.assert_enqueued(order.using(delay=60).call(NUMBER), count=1)
        await async_queue_tester.refute_enqueued(welcome, "bob")
        assert [task.name for task in await async_queue_tester.enqueued()] == ["welcome", "order"]
        assert [task.id for task in await async_queue_tester.drain()] == [id_]
        with async_queue_tester.travel(61):
            assert [task.id for task in await async_queue_tester.drain(raises=True)] == [result.id]
        assert (await result.refresh()).result == str(NUMBER)


@every_backend
async def test_a_test_in_the_services_own_loop_needs_no_application(
    tmp_path: Path, backend: Callable[[Path], Any], async_queue_tester: AsyncQueueTester
) -> None:
    async with make_service(backend(tmp_path)):
        await welcome.enqueue("ada")
        await parent.enqueue()
        drained = await async_queue_tester.drain()
        assert [task.result for task in drained] == ["ada:en", "child:en", "child:en"]
        with async_queue_tester.inline():
            assert (await welcome.enqueue("eve")).result == "eve:en"
        found = await async_queue_tester.get((await async_queue_tester.enqueue(refuse.call())).id)
        assert found is not None
        assert found.state is State.PENDING
        with pytest.raises(DrainError, match="NonRetryableError: no"):
            await async_queue_tester.drain(raises=True)
        assert (await async_queue_tester.maintain()).expired == ()


async def test_a_service_that_is_not_open_is_opened_for_the_block() -> None:
    service = make_service()
    async with AsyncQueueTester(service) as tester:
        await tester.enqueue(welcome.call("ada"))
        assert len(await tester.drain()) == 1
    assert service.home is None
    with pytest.raises(QueueError, match="not open"):
        await tester.enqueued()


async def test_the_sync_tester_refuses_to_block_the_loop_of_the_service() -> None:
    async with make_service() as service:
        with pytest.raises(QueueError, match=r"use the async form and await it \(AsyncQueueTester"):
            QueueTester(service).enqueued()
    with TestClient(make_app()):
        assert QueueTester().enqueued() == [], "another thread's loop can be waited for"


async def test_a_drain_that_is_cancelled_gives_its_task_back() -> None:
    async with AsyncQueueTester(make_service()) as tester:
        id_ = (await tester.enqueue(stuck.call())).id
        draining = asyncio.ensure_future(tester.drain())
        while await tester.enqueued(state=State.RUNNING) == []:  # noqa: ASYNC110  # the store has no event for it
            await asyncio.sleep(0)
        draining.cancel()
        with pytest.raises(asyncio.CancelledError):
            await draining
        found = await tester.get(id_)
        assert found is not None
        assert (found.state, found.attempt) == (State.PENDING, 0)


async def test_sessions_are_enqueued_at_the_travelled_time(tmp_path: Path) -> None:
    from sqlspec.adapters.aiosqlite import AiosqliteConfig

    from litestar_queues.backends.sqlspec import SQLSpecBackendConfig

    database = AiosqliteConfig(connection_config={"database": str(tmp_path / "queue.db")})
    async with AsyncQueueTester(make_service(SQLSpecBackendConfig(config=database))) as tester:
        service = tester.service
        before = service.clock.now()
        tester.travel(timedelta(days=2))
        async with database.provide_session() as session:
            await session.begin()
            result = await service.enqueue(welcome.call("ada"), session=session)
            await session.commit()
        assert result.record.created_at - before > timedelta(days=1)
        assert len(await tester.drain()) == 1


async def test_a_retry_in_a_drain_keeps_its_backoff() -> None:
    async with AsyncQueueTester(make_service()) as tester:
        await tester.enqueue(flaky.call(3))
        drained = await tester.drain(with_scheduled=True)
        (task,) = drained
        assert (task.attempt, drained.attempts) == (3, 3)
        started = task.record.started_at
        assert started is not None
        assert started - task.record.created_at >= timedelta(seconds=1200)


def test_the_configuration_is_as_before_after_inline_mode() -> None:
    config = QueueConfig()
    service = make_service()
    with QueueTester(service) as tester, tester.inline():
        assert service.config.execution_backend == "immediate"
    assert service.config == config
