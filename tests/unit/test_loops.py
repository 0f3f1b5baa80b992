"""A service is used from other event loops than the one in which it was opened."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextvars import ContextVar
from typing import Any

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from queue_lab import Lab, within

from litestar_queues import (
    QueueConfigurationError,
    QueuedBackgroundTask,
    QueueError,
    QueueService,
    State,
    TaskRegistry,
    Worker,
    task,
)

pytestmark = pytest.mark.anyio
WHO: ContextVar[str] = ContextVar("who", default="nobody")
registry = TaskRegistry()


@task("add", registry=registry)
async def add(a: int, b: int = 1) -> int:
    return a + b


class Elsewhere:
    """A service that is open in the loop of another thread."""

    def __init__(self, portal: BlockingPortal) -> None:
        self.portal = portal
        self.lab = Lab()
        self.lab.service.registry = registry
        self.service = self.lab.service
        self.threads: list[int] = []
        call = self.lab.backend._call

        async def watched(*args: Any, **kwargs: Any) -> Any:
            self.threads.append(threading.get_ident())
            return await call(*args, **kwargs)

        self.lab.backend._call = watched  # type: ignore[method-assign]
        portal.call(self.service.open)


@pytest.fixture
def elsewhere() -> Iterator[Elsewhere]:
    with start_blocking_portal() as portal:
        made = Elsewhere(portal)
        yield made
        portal.call(made.service.close)


async def test_every_call_runs_in_the_loop_of_the_service(elsewhere: Elsewhere) -> None:
    service = elsewhere.service
    result = await service.enqueue(add, 1)
    (other,) = await service.enqueue_many([add.call(2)])
    assert await service.get(other.id) is not None
    assert (await service.stats()).totals[State.PENDING] == 2
    assert (await service.cancel(result.id)).status is State.CANCELLED
    assert (await service.retry(result.id)).status is State.PENDING
    assert (await result.refresh()).status is State.PENDING
    assert (await service.enqueue(add, 3, execution_backend="immediate")).result == 4
    assert (await add.enqueue(5)).status is State.PENDING
    waiting = asyncio.ensure_future(result.wait(60))
    await service.cancel(result.id)
    assert (await within(waiting, 60)).status is State.CANCELLED
    assert set(elsewhere.threads) == {elsewhere.portal.call(threading.get_ident)}
    assert threading.get_ident() not in elsewhere.threads


async def test_errors_and_context_variables_are_carried_over(elsewhere: Elsewhere) -> None:
    with pytest.raises(QueueError, match="no task named 'nosuch'"):
        await elsewhere.service.enqueue("nosuch")

    @task("who", registry=TaskRegistry())
    async def who() -> str:
        return WHO.get()

    elsewhere.service.registry.add(who)
    WHO.set("ada")
    assert (await elsewhere.service.enqueue(who, execution_backend="immediate")).result == "ada"


async def test_a_cancellation_is_carried_over_and_waited_for(elsewhere: Elsewhere) -> None:
    begun, ended = threading.Event(), threading.Event()

    @task("hang", registry=TaskRegistry())
    async def hang() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    elsewhere.service.registry.add(hang)
    enqueuing = asyncio.ensure_future(elsewhere.service.enqueue(hang, execution_backend="immediate"))
    assert await asyncio.to_thread(begun.wait, 60)
    enqueuing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await within(enqueuing, 60)
    assert ended.is_set()
    (record,) = elsewhere.lab.backend.inner.tasks.values()
    assert (record.state, record.attempt) == (State.PENDING, 0), "given back before the caller went on"


async def test_a_timeout_of_the_caller_is_its_own(elsewhere: Elsewhere) -> None:
    result = await elsewhere.service.enqueue(add, 1)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await result.wait()
    assert elsewhere.service.waited_for == ()


async def test_a_session_of_another_loop_is_refused(elsewhere: Elsewhere) -> None:
    with pytest.raises(QueueConfigurationError, match="a session cannot be used in two"):
        await elsewhere.service.enqueue(add, 1, session=object())
    with pytest.raises(QueueConfigurationError, match="a session cannot be used in two"):
        await elsewhere.service.enqueue_many([add.call(1)], session=object())
    assert elsewhere.lab.backend.of("enqueue_many") == []


async def test_a_worker_in_another_loop_is_refused(elsewhere: Elsewhere) -> None:
    with pytest.raises(QueueError, match="a worker has to run in the event loop in which its queue service was opened"):
        await Worker(elsewhere.service).run()


async def test_a_service_is_closed_from_another_loop(elsewhere: Elsewhere) -> None:
    await elsewhere.service.close()
    assert len(elsewhere.lab.backend.of("close")) == 1
    assert threading.get_ident() not in elsewhere.threads
    await elsewhere.service.open()
    assert (await elsewhere.service.enqueue(add, 1)).is_new
    await elsewhere.service.close()


def test_a_thread_with_a_loop_of_its_own_may_enqueue(elsewhere: Elsewhere) -> None:
    assert asyncio.run(elsewhere.service.enqueue(add, 1)).status is State.PENDING


def test_a_coroutine_without_an_asyncio_loop_is_an_error_that_says_so(elsewhere: Elsewhere) -> None:
    call = elsewhere.service.enqueue(add, 1)
    with pytest.raises(QueueError, match="no asyncio event loop runs here"):
        call.send(None)
    opening = QueueService().open()
    with pytest.raises(QueueError, match="needs a running asyncio event loop"):
        opening.send(None)


def left_open(run: Callable[[Coroutine[Any, Any, Any]], Any]) -> QueueService:
    service = QueueService(registry=registry)
    run(service.open())
    return service


async def test_a_service_whose_loop_has_ended_says_so_and_is_forgotten(caplog: pytest.LogCaptureFixture) -> None:
    service = await asyncio.to_thread(left_open, asyncio.run)
    with pytest.raises(QueueError, match="belongs to another event loop, which has ended"):
        await service.stats()
    with caplog.at_level(logging.WARNING), pytest.raises(QueueError, match="no queue service is open"):
        await add.enqueue(1)
    assert "a queue service was left open when its event loop ended" in caplog.text
    async with QueueService(registry=registry) as another:
        assert (await add.enqueue(1)).is_new
        assert (await another.stats()).totals[State.PENDING] == 1


async def test_a_service_that_was_left_open_opens_again_in_another_loop() -> None:
    service = await asyncio.to_thread(left_open, asyncio.run)
    async with service:
        assert (await service.enqueue(add, 1)).is_new
    service = await asyncio.to_thread(left_open, asyncio.run)
    await service.close()
    assert service.home is None


async def test_a_service_whose_loop_does_not_run_now_says_so_at_once() -> None:
    loop = asyncio.new_event_loop()
    service = await asyncio.to_thread(left_open, loop.run_until_complete)
    with pytest.raises(QueueError, match="belongs to another event loop, which does not run now"):
        await within(service.stats(), 60)
    await asyncio.to_thread(loop.run_until_complete, service.close())
    loop.close()


async def test_a_loop_that_stops_during_a_call_ends_the_call_with_an_error() -> None:
    loop = asyncio.new_event_loop()
    lab = Lab()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    asyncio.run_coroutine_threadsafe(lab.service.open(), loop).result(60)
    lab.backend.gates["count"] = asyncio.Event()
    counting = asyncio.ensure_future(lab.service.stats())
    while not lab.backend.of("count"):  # noqa: ASYNC110  # an event belongs to one loop
        await asyncio.sleep(0)
    loop.call_soon_threadsafe(loop.stop)
    with pytest.raises(QueueError, match="stopped before this call came to its end"):
        await within(counting, 60)
    thread.join()
    for pending in asyncio.all_tasks(loop):
        pending.cancel()
    async with QueueService(registry=registry):
        assert (await add.enqueue(1)).is_new, "the one whose loop runs is meant"
    await asyncio.to_thread(loop.run_until_complete, lab.service.close())
    loop.close()


async def test_a_loop_that_is_shut_down_during_a_call_ends_the_call_with_an_error() -> None:
    lab = Lab()
    started = threading.Event()

    async def serve() -> None:
        await lab.service.open()
        lab.backend.gates["count"] = asyncio.Event()
        started.set()
        while not lab.backend.of("count"):  # noqa: ASYNC110  # an event belongs to one loop
            await asyncio.sleep(0)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    assert await asyncio.to_thread(started.wait, 60)
    with pytest.raises(QueueError, match=r"cancelled in the event loop of its queue service|stopped before"):
        await within(lab.service.stats(), 60)
    await asyncio.to_thread(thread.join)
    await lab.service.close()


def test_a_background_task_is_made_in_any_thread(elsewhere: Elsewhere) -> None:
    background = QueuedBackgroundTask(add, 1)
    asyncio.run(background())
    assert len(elsewhere.lab.backend.of("enqueue_many")) == 1
