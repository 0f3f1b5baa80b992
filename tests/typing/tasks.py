"""What type checkers make of tasks: read by mypy and pyright, both strict, and never run.

Every expected complaint is an ignore of its own kind, and an ignore that is not needed is a complaint. What must be
refused is in `mistakes.py`, the shapes of functions in `shapes.py`.
"""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, assert_type

from litestar_queues import (
    AsyncTask,
    EnqueueOptions,
    ExponentialBackoff,
    QueueConfig,
    QueuedBackgroundTask,
    QueueService,
    State,
    SyncTask,
    Task,
    TaskCall,
    TaskError,
    TaskEvent,
    TaskFailedError,
    TaskResult,
    TaskTemplate,
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
    assert_type(add.using(priority=5).using(delay=3).call(1), TaskCall[int])
    assert_type(await add(1), int)
    assert_type(join("a", "b"), str)
    assert_type(await bare(NOON), None)
    assert_type(empty(), list[int])
    await asyncio.create_task(add(1))


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
    assert_type(from_async.value(), int)
    assert_type((await bare.enqueue(NOON)).value(), None)
    assert_type(await from_async.wait(raises=True), TaskResult[int])
    assert_type((await from_async.wait(5, raises=True)).value(), int)
    assert_type(await service.enqueue_many([add.call(1), join.call("a")]), list[TaskResult[Any]])
    assert_type(await service.enqueue_many([add.call(n) for n in range(9)]), list[TaskResult[int]])
    assert_type(await service.get("id"), TaskResult[Any] | None)


async def of_enqueuing(service: QueueService, session: object) -> None:
    assert_type(await service.enqueue(add, 1, b=2, label="x"), TaskResult[int])
    assert_type(await service.enqueue(add.using(delay=30, key="k"), 1, b=2), TaskResult[int])
    assert_type(await service.enqueue(add.using(delay=None), 1, session=session), TaskResult[int])
    assert_type(await service.enqueue(add.call(1, label="x"), session=session), TaskResult[int])
    assert_type(await service.enqueue(add, 1, delay=30), TaskResult[int])
    assert_type(await service.enqueue(add, 1, 2, priority=3, timeout=timedelta(1), session=session), TaskResult[int])
    assert_type(await service.enqueue(join, "a", "b", "c", run_after=NOON, unique_by="task"), TaskResult[str])
    assert_type(await service.enqueue(join, delay=30), TaskResult[str])
    assert_type(await service.enqueue(empty, delay=30), TaskResult[list[int]])
    assert_type(await service.enqueue(empty.using(delay=30)), TaskResult[list[int]])
    assert_type(await service.enqueue("add", 1, b=2, delay=30, session=session), TaskResult[Any])
    assert_type(service.prepare(add, 1), TaskCall[int])
    assert_type(service.prepare(add.using(delay=3), 1), TaskCall[int])
    assert_type(service.prepare(add, 1, delay=3), TaskCall[int])
    assert_type(service.prepare(add.call(1), delay=3), TaskCall[int])
    assert_type(service.prepare("add", 1, b=2, delay=3), TaskCall[Any])
    QueuedBackgroundTask(add, 1, label="x")
    QueuedBackgroundTask(add.using(delay=3), 1)
    QueuedBackgroundTask(add, 1, delay=3)
    QueuedBackgroundTask(add.call(1), delay=3)
    QueuedBackgroundTask("add", 1, b=2, delay=3)


async def of_what_is_known_at_run_time_alone(
    service: QueueService, name: str, values: Any, options: dict[str, Any]
) -> None:
    assert_type(await service.enqueue(name, *values, **options), TaskResult[Any])
    assert_type(await service.enqueue(add, values), TaskResult[int])
    assert_type(await service.enqueue(add, **options), TaskResult[int])
    some: EnqueueOptions = {"delay": 3, "queue": "sums"}
    assert_type(await service.enqueue(add.using(**some), 1), TaskResult[int])
    assert_type(await service.enqueue(add, 1, **some), TaskResult[int])
    assert_type(await service.enqueue(service.registry.get(name), 1, b=2), TaskResult[Any])


async def of_any_task(service: QueueService, one: Task[..., int], template: TaskTemplate[[str], int]) -> None:
    assert_type(await service.enqueue(one, 1, b=2), TaskResult[int])
    assert_type(await service.enqueue(one, 1, delay=2), TaskResult[int])
    assert_type(await service.enqueue(template, "a"), TaskResult[int])
    for either in (add, empty):
        assert_type(either.name, str)


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


def takes_a_kind_of_task(one: AsyncTask[[str], int], other: SyncTask[[str], int], plain: Task[[str], int]) -> None: ...


@task
async def measure(text: str) -> int:
    return len(text)


@task
def measure_here(text: str) -> int:
    return len(text)


assert_type(takes_any_task(add) + takes_any_task(join), str)
takes_a_kind_of_task(measure, measure_here, measure)
takes_a_kind_of_task(measure, measure_here, measure_here)
assert_type(measure_here.__name__, str)


def of_failures(error: TaskFailedError) -> None:
    assert_type(error.error, TaskError | None)
    assert_type(error.status, State)
    assert_type(error.task_id + error.task_name, str)


async def of_unions(
    service: QueueService,
    either: Task[..., int] | str,
    form: Task[[str], int] | TaskTemplate[[str], int],
    *,
    late: bool,
) -> None:
    for one in (measure, measure_here):
        assert_type(await service.enqueue(one, "a", retries=1), TaskResult[int])
        assert_type(await service.enqueue(one, "a"), TaskResult[int])
    await service.enqueue(either, "a")
    await service.enqueue(either, "a", delay=1)
    assert_type(await service.enqueue(form, "a"), TaskResult[int])
    assert_type(await service.enqueue(form, "a", delay=1), TaskResult[int])
    assert_type(await service.enqueue(measure.using(delay=30 if late else None), "a"), TaskResult[int])
    by_name: dict[str, Task[..., object]] = {"a": measure, "b": measure_here}
    assert_type(await service.enqueue(by_name["a"], "a", delay=1), TaskResult[object])
    wider: TaskResult[int | None] = await service.enqueue(measure, "a")
    assert_type(wider.status, State)
    functions: tuple[Callable[[str], Awaitable[int]], Callable[[str], int]] = (measure, measure_here)
    assert_type(len(functions), int)
    calls = [measure.call("a"), measure_here.using(delay=3).call("b")]
    assert_type(await service.enqueue_many(calls), list[TaskResult[int]])
    anything: list[TaskCall[Any]] = []
    anything.append(measure.call("a"))
    assert_type(await service.enqueue_many(anything), list[TaskResult[Any]])
