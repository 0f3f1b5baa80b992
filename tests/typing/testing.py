"""What type checkers make of the testing helpers: read by mypy and pyright, both strict, and never run."""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, assert_type
from unittest.mock import ANY

from litestar import Litestar
from litestar.testing import AsyncTestClient, TestClient

from litestar_queues import QueuePlugin, QueueService, State, TaskResult, task
from litestar_queues.testing import (
    AsyncQueueTester,
    Drained,
    EnqueuedTask,
    Maintained,
    Performed,
    QueueTester,
    Until,
    perform,
    perform_sync,
)


@task("add")
async def add(a: int, b: int = 1) -> int:
    return a + b


@task("join")
def join(*parts: str) -> str:
    return "".join(parts)


def of_sync_tests(tester: QueueTester) -> None:
    assert_type(tester.enqueued(), list[EnqueuedTask])
    assert_type(tester.enqueued(add, queue="q", state=[State.PENDING]), list[EnqueuedTask])
    assert_type(tester.assert_enqueued(add), list[EnqueuedTask])
    assert_type(tester.assert_enqueued(add, 1, b=2), list[EnqueuedTask])
    assert_type(tester.assert_enqueued(add, ANY), list[EnqueuedTask])
    assert_type(tester.assert_enqueued(add.using(queue="q"), 1), list[EnqueuedTask])
    assert_type(tester.assert_enqueued(add.call(1), count=2), list[EnqueuedTask])
    assert_type(tester.assert_enqueued("add", 1), list[EnqueuedTask])
    tester.refute_enqueued(add)
    tester.refute_enqueued(join.using(priority=2), "a", "b")
    assert_type(tester.drain(with_scheduled=True, queues=["q"], raises=True, limit=5, timeout=1), Drained)
    assert_type(tester.drain().failed, tuple[EnqueuedTask, ...])
    assert_type(tester.maintain(), Maintained)
    assert_type(tester.travel(timedelta(hours=1)), Until)
    assert_type(tester.travel(datetime(2030, 1, 1, tzinfo=UTC)), Until)
    assert_type(tester.enqueue(add.call(1)), TaskResult[int])
    assert_type(tester.perform(add, 1), Performed[int])
    assert_type(tester.perform(join.call("a"), attempt=2, raises=False).value, str)
    assert_type(perform_sync(add, 1).value, int)
    with tester.inline(), tester.travel(5):
        pass


async def of_async_tests(tester: AsyncQueueTester, service: QueueService) -> None:
    assert_type(await tester.enqueued(), list[EnqueuedTask])
    assert_type(await tester.assert_enqueued(add, 1), list[EnqueuedTask])
    await tester.refute_enqueued(add.call(1))
    assert_type(await tester.drain(), Drained)
    assert_type(await tester.get("id"), EnqueuedTask | None)
    assert_type(await tester.enqueue(join.call("a")), TaskResult[str])
    assert_type(await perform(add, 1), Performed[int])
    assert_type((await perform(join.using(timeout=3), "a")).value, str)
    assert_type((await tester.perform(add.call(1), attempt=2)).value, int)
    async with AsyncQueueTester(service) as opened:
        assert_type(opened, AsyncQueueTester)


def of_sources(
    app: Litestar, client: TestClient[Litestar], async_client: AsyncTestClient[Litestar], plugin: QueuePlugin
) -> list[Any]:
    return [QueueTester(app), QueueTester(client), QueueTester(async_client), QueueTester(plugin), QueueTester()]


async def of_mistakes(tester: QueueTester) -> None:
    tester.assert_enqueued(add, "1")  # type: ignore[call-overload]
    tester.assert_enqueued(add, 1, c=2)  # type: ignore[call-arg]
    tester.assert_enqueued(add.call(1), 2)  # type: ignore[call-overload]
    tester.refute_enqueued(add.using(queue="q"), "1")  # type: ignore[call-overload]
    tester.travel("tomorrow")  # type: ignore[arg-type]
    QueueTester("app")  # type: ignore[arg-type]
    perform_sync(add)  # type: ignore[call-overload]
    perform_sync(add.call(1), atempt=2)  # type: ignore[call-overload]
    await perform(add, a="1")  # type: ignore[call-overload]
