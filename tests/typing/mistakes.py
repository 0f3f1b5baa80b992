"""Mistakes that type checkers must find: read by mypy and pyright, both strict, and never run.

Each expected complaint is an ignore of its own kind on its line, and an ignore that is not needed is a complaint. No line
gives a checker a second reason to complain, such as a variable that nobody reads.
"""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from litestar_queues import EnqueueOptions, QueuedBackgroundTask, QueueService, Task, TaskResult, task


@task("send", retries=3)
async def send(address: str) -> int:
    return len(address)


@task
def add(a: int, b: int = 1, *, label: str = "") -> int:
    return a + b


@task
async def receive(payload: dict[str, Any]) -> str:
    return str(payload)


async def plain(address: str) -> int:
    return len(address)


def takes_text(*values: str) -> None: ...


def takes_number(*values: int) -> None: ...


async def of_arguments(service: QueueService) -> None:
    await service.enqueue(send, 3)  # type: ignore[arg-type]
    await service.enqueue(send)  # type: ignore[arg-type, call-arg]
    await service.enqueue(send, "a", "b")  # type: ignore[arg-type, call-arg]
    await service.enqueue(send, adress="a")  # type: ignore[call-overload]
    await service.enqueue(send, address=3)  # type: ignore[call-overload]
    await service.enqueue(add, 1, lable="x")  # type: ignore[call-arg]
    await service.enqueue(add, 1, 2, "x")  # type: ignore[arg-type, call-arg]
    await service.enqueue(receive, "payload")  # type: ignore[arg-type]
    await service.enqueue(receive)  # type: ignore[arg-type, call-arg]
    await service.enqueue(send.using(delay=30), 3)  # type: ignore[arg-type]
    await service.enqueue(send.using(delay=30))  # type: ignore[arg-type, call-arg]
    await service.enqueue(send.using(delay=30), address=3)  # type: ignore[call-overload]
    await service.enqueue(send.call("a"), "b")  # type: ignore[call-overload]
    await service.enqueue(plain, "a")  # type: ignore[call-overload]
    await service.enqueue(send(""))  # type: ignore[call-overload]
    asyncio.run(service.enqueue(send, 3))  # type: ignore[arg-type]
    await service.enqueue_many([send])  # type: ignore[arg-type]
    await service.enqueue_many([send.using(delay=3)])  # type: ignore[arg-type]
    await service.enqueue_many(send.call("a"))  # type: ignore[call-overload]
    service.prepare(send, 3)  # type: ignore[arg-type]
    service.prepare(send)  # type: ignore[arg-type, call-arg]
    QueuedBackgroundTask(send, 3)  # type: ignore[arg-type]
    QueuedBackgroundTask(send)  # type: ignore[arg-type, call-arg]
    QueuedBackgroundTask(send.using(delay=3), 3)  # type: ignore[arg-type]
    QueuedBackgroundTask(plain, "a")  # type: ignore[call-overload]
    await send.enqueue(3)  # type: ignore[arg-type]
    send.call()  # type: ignore[call-arg]
    send.call(3)  # type: ignore[arg-type]
    send.using(delay=3).call()  # type: ignore[call-arg]
    await send(3)  # type: ignore[arg-type]
    add("1")  # type: ignore[arg-type]


async def of_options(service: QueueService) -> None:
    await service.enqueue(send, "a", retrys=3)  # type: ignore[call-arg]
    await service.enqueue(send, "a", delay="soon")  # type: ignore[call-arg]
    await service.enqueue(send, "a", priority="high")  # type: ignore[call-arg]
    await service.enqueue(send, "a", timeout="5")  # type: ignore[call-arg]
    await service.enqueue(send, "a", key=3)  # type: ignore[call-arg]
    await service.enqueue(send, "a", unique_by="args")  # type: ignore[call-arg]
    await service.enqueue(send, "a", delay=3, retrys=3)  # type: ignore[call-arg]
    await service.enqueue(send, "a", expires_at=timedelta(1))  # type: ignore[call-arg]
    await service.enqueue(send.call("a"), retrys=3)  # type: ignore[call-overload]
    await service.enqueue(send.call("a"), delay="soon")  # type: ignore[call-overload]
    await service.enqueue("send", "a", delay="soon")  # type: ignore[call-overload]
    await service.enqueue(send.using(delay=3), "a", retrys=3)  # type: ignore[call-arg]
    send.using(prority=3)  # type: ignore[call-arg]
    send.using(retries="3")  # type: ignore[arg-type]
    send.using(session=None)  # type: ignore[call-arg]
    send.using(delay=3).using(prority=3)  # type: ignore[call-arg]
    send.using(delay=3).using(priority="high")  # type: ignore[arg-type]
    service.prepare(send, "a", retrys=3)  # type: ignore[call-arg]
    service.prepare(send, "a", delay="soon")  # type: ignore[call-arg]
    service.prepare("send", "a", delay="soon")  # type: ignore[call-overload]
    service.prepare(send.call("a"), session=None)  # type: ignore[call-overload]
    QueuedBackgroundTask(send, "a", retrys=3)  # type: ignore[call-arg]
    QueuedBackgroundTask(send, "a", delay="soon")  # type: ignore[call-arg]
    QueuedBackgroundTask(send.call("a"), retrys=3)  # type: ignore[call-overload]
    QueuedBackgroundTask("send", "a", delay="soon")  # type: ignore[call-overload]
    EnqueueOptions(prority=3)  # type: ignore[typeddict-unknown-key]
    EnqueueOptions(priority="high")  # type: ignore[typeddict-item]


async def of_both(service: QueueService, session: object) -> None:
    await service.enqueue(send, 3, delay=30)  # type: ignore[arg-type, call-arg]
    await service.enqueue(send, delay=30)  # type: ignore[arg-type, call-arg]
    await service.enqueue(send, "a", "b", delay=30)  # type: ignore[call-arg]
    await service.enqueue(send.using(delay=3), 3, priority=3)  # type: ignore[arg-type, call-arg]
    await service.enqueue(send, 3, session=session)  # type: ignore[arg-type, call-arg]
    await service.enqueue(send, session=session)  # type: ignore[arg-type, call-arg]
    await service.enqueue(add, 1, label="x", delay=30)  # type: ignore[call-arg]
    service.prepare(send, 3, delay=30)  # type: ignore[arg-type, call-arg]
    QueuedBackgroundTask(send, 3, delay=30)  # type: ignore[arg-type, call-arg]


async def of_results(service: QueueService) -> None:
    result = await service.enqueue(send, "a")
    takes_text(result.value())  # type: ignore[arg-type]
    takes_number(result.result)  # type: ignore[arg-type]
    takes_text((await result.wait(5, raises=True)).value())  # type: ignore[arg-type]
    takes_text((await service.enqueue(send.using(delay=3), "a")).value())  # type: ignore[arg-type]
    takes_text((await service.enqueue(send, "a", delay=3)).value())  # type: ignore[arg-type]
    takes_text((await service.enqueue_many([send.call("a")]))[0].value())  # type: ignore[arg-type]
    takes_text(await send("a"))  # type: ignore[arg-type]
    takes_text(add(1))  # type: ignore[arg-type]
    takes_number(send("a"))  # type: ignore[arg-type]
    takes_number((await service.enqueue(receive, {})).value())  # type: ignore[arg-type]
    await add(1)  # type: ignore[misc]
    await result.wait("5")  # type: ignore[arg-type]
    await result.wait(5, True)  # type: ignore[call-arg]
    takes_result_of_text(result)  # type: ignore[arg-type]


def takes_result_of_text(result: TaskResult[str]) -> None: ...


@task("wrong", unique_by="name")  # type: ignore[call-overload, untyped-decorator]
def wrong() -> None: ...


@task("wrong", retry=3)  # type: ignore[call-overload, untyped-decorator]
def wrong_too() -> None: ...


@task("wrong", cron=5)  # type: ignore[call-overload, untyped-decorator]
def wrong_as_well() -> None: ...


@task(3)  # type: ignore[call-overload, untyped-decorator]
def no_name() -> None: ...


def takes_a_task_of_text(one: Task[[str], int], other: Task[..., str]) -> None: ...


takes_a_task_of_text(add, receive)  # type: ignore[arg-type]
takes_a_task_of_text(send, send)  # type: ignore[arg-type]


class Sender:
    @task("sender.send")
    def send(self, address: str) -> None: ...


Sender.send.call("a")  # type: ignore[arg-type, call-arg]
