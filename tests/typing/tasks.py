"""What type checkers make of tasks: read by mypy and pyright, both strict, and never run.

Every expected complaint is an ignore of its own kind, and an ignore that is not needed is a complaint.
"""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, assert_type

from litestar_queues import (
    ExponentialBackoff,
    QueueConfig,
    QueueService,
    State,
    Task,
    TaskCall,
    TaskError,
    TaskEvent,
    TaskResult,
    Worker,
    WorkerExit,
    current_task,
    non_retryable,
    task,
)

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)


@task("add", queue="sums", retries=3, backoff=ExponentialBackoff(first=0.5), timeout=timedelta(minutes=1))
async def add(a: int, b: int = 1, *, label: str = "") -> int:
    return a + b


@task("join", unique_by="arguments", delay=5)
def join(*parts: str) -> str:
    return "".join(parts)


@task
async def bare(when: datetime) -> None: ...


@task()
def empty() -> list[int]:
    return []


async def of_tasks() -> None:
    assert_type(add.call(1, 2), TaskCall[int])
    assert_type(join.call("a", "b"), TaskCall[str])
    assert_type(empty.call(), TaskCall[list[int]])
    assert_type(await add.enqueue(1, b=2, label="x"), TaskResult[int])
    assert_type(await join.enqueue("a"), TaskResult[str])
    assert_type(await bare.enqueue(NOON), TaskResult[None])
    assert_type(await empty.enqueue(), TaskResult[list[int]])
    assert_type(await add.using(priority=5).enqueue(1), TaskResult[int])
    assert_type(add.using(priority=5).call(1), TaskCall[int])


async def of_results(service: QueueService) -> None:
    from_async = await add.enqueue(1)
    assert_type(from_async.result, int | None)
    assert_type((await join.enqueue("a")).result, str | None)
    assert_type(await from_async.wait(5), TaskResult[int])
    assert_type((await from_async.refresh()).result, int | None)
    assert_type(from_async.status, State)
    assert_type(from_async.error, TaskError | None)
    assert_type(await service.enqueue(add, 1, 2), TaskResult[int])
    assert_type(await service.enqueue(join, "a"), TaskResult[str])
    assert_type(await service.enqueue(add.call(1), priority=5), TaskResult[int])
    assert_type(await service.enqueue("add", 1), TaskResult[Any])
    assert_type(await service.enqueue_many([add.call(1), join.call("a")]), list[TaskResult[Any]])
    assert_type(await service.get("id"), TaskResult[Any] | None)


async def of_mistakes() -> None:
    await add.enqueue("1")  # type: ignore[arg-type]
    await add.enqueue()  # type: ignore[call-arg]
    await add.enqueue(1, 2, 3)  # type: ignore[call-arg, arg-type]
    await add.enqueue(1, lable="x")  # type: ignore[call-arg]
    await join.enqueue(1)  # type: ignore[arg-type]
    await add.using(priority=5).enqueue("1")  # type: ignore[arg-type]
    add.call(None)  # type: ignore[arg-type]
    (await add.enqueue(1)).result + 1  # type: ignore[operator]


@task("wrong", unique_by="name")  # type: ignore[call-overload, untyped-decorator]
def wrong() -> None: ...


@task("wrong", retry=3)  # type: ignore[call-overload, untyped-decorator]
def wrong_too() -> None: ...


def give_up() -> int:
    non_retryable("no")


def of_contexts() -> None:
    assert_type(current_task().attempt, int)
    assert_type(current_task().cancelled, bool)


async def sink(event: TaskEvent) -> None: ...


async def of_workers() -> None:
    config = QueueConfig(event_sinks=[sink, print], worker_stale_after=timedelta(minutes=1))
    async with QueueService(config) as service:
        assert_type(service, QueueService)
        assert_type(await Worker(service, queues=["a"], drain_timeout=5).run(), WorkerExit)


def takes_any_task(one: Task[..., Any]) -> str:
    return one.name


assert_type(takes_any_task(add) + takes_any_task(join), str)
