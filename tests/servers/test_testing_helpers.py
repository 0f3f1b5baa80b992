"""The testing helpers work on servers, too: their clocks are given the time of the test."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import pytest
from acceptance.database import ServedDatabase
from litestar.testing import AsyncTestClient, TestClient
from shop_lab import flaky, make_app, order, parent, welcome

from litestar_queues import State
from litestar_queues.records import Want
from litestar_queues.testing import AsyncQueueTester, QueueTester

NUMBER = uuid.UUID(int=7)


def test_an_application_is_tested_through_its_client(database: ServedDatabase, queue_tester: QueueTester) -> None:
    backend: Any = database.backend()
    with TestClient(make_app(backend, in_app_worker=True)) as client:
        client.post("/signup/ada")
        client.post(f"/order/{NUMBER}")
        queue_tester.assert_enqueued(welcome, "ada")
        queue_tester.assert_enqueued(order.using(delay=60), NUMBER)
        assert [task.name for task in queue_tester.drain(with_scheduled=True)] == ["welcome", "order"]
        queue_tester.enqueue(parent.call(3600))
        assert [task.name for task in queue_tester.drain(with_scheduled=True, raises=True)] == ["parent", "welcome"]


@pytest.mark.anyio
async def test_time_moves_through_a_client_in_another_loop(
    database: ServedDatabase, async_queue_tester: AsyncQueueTester
) -> None:
    backend: Any = database.backend()
    async with AsyncTestClient(make_app(backend)):
        await welcome.using(delay=3600).enqueue("delayed")
        await welcome.using(delay=10, expires_in=60).enqueue("expires")
        lost = (await flaky.enqueue(2)).record
        service = async_queue_tester.service
        want = Want(worker="gone", limit=1, tasks=(lost.held,))
        assert await async_queue_tester.run(lambda: service.operations.claim(want))
        assert not await async_queue_tester.drain()
        with async_queue_tester.travel(timedelta(hours=1)):
            drained = await async_queue_tester.drain()
            assert [task.name for task in drained.recovered] == ["flaky"]
            assert [task.args for task in drained.expired] == [("expires",)]
            assert sorted((task.name, task.state) for task in drained) == [
                ("flaky", State.COMPLETED), ("welcome", State.COMPLETED),
            ]  # fmt: skip
            async_queue_tester.travel(timedelta(days=8))
            assert len((await async_queue_tester.maintain()).deleted) == 3
