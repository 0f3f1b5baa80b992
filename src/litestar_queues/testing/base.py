"""What both testers share: whose service it is, and what a test changes for a while."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any

from litestar_queues.errors import QueueError, TaskArgumentError
from litestar_queues.lifecycle import State
from litestar_queues.plugin import QueuePlugin
from litestar_queues.records import Matching
from litestar_queues.service import QueueService
from litestar_queues.serving import open_service
from litestar_queues.task import Task, TaskTemplate
from litestar_queues.testing.matching import Expectation, TaskLike
from litestar_queues.testing.scheduling import fire_schedules
from litestar_queues.testing.travelling import move, set_offset
from litestar_queues.testing.views import EnqueuedTask
from litestar_queues.worker.hold import IN_APP

if TYPE_CHECKING:
    from typing import TypeAlias

    from litestar import Litestar
    from litestar.testing import AsyncTestClient, TestClient

    Source: TypeAlias = QueueService | QueuePlugin | Litestar | TestClient[Any] | AsyncTestClient[Any]

__all__ = ("Tester", "Until", "check_enqueued", "check_function", "check_refuted", "find_enqueued")

_MOST = 100_000


class Until:
    """A change that holds from now on: until the end of its `with` block, or of the test where it has none."""

    def __init__(self, undo: Callable[[], None]) -> None:
        self._undo: Callable[[], None] | None = undo

    def end(self) -> None:
        """Undo it. Harmless when repeated."""
        undo, self._undo = self._undo, None
        if undo is not None:
            undo()

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.end()


class Tester:
    """The part of a tester that needs no event loop.

    Args:
        source: A queue service; or a test client, an application or a `QueuePlugin`, for the service of the application,
            once that runs. None: the one service that is open when it is needed.
    """

    def __init__(self, source: Source | None = None) -> None:
        self._source: Any = source
        self._journeys: list[Callable[[], None]] = []
        self._inlined: list[Callable[[], None]] = []
        self._held: Until | None = None

    @property
    def service(self) -> QueueService:
        """The open service that this tests.

        Raises:
            QueueError: None is open; or several are, and the tester was not made for one of them.
        """
        source = self._source
        if source is None:
            try:
                return open_service()
            except QueueError as error:
                error.add_note(
                    "(for a test: start the application first, inside `with TestClient(app)`; where several run, make a "
                    "tester for one of them, with QueueTester(client) or AsyncQueueTester(client))"
                )
                raise
        if isinstance(source, QueueService):
            return source
        if isinstance(source, QueuePlugin):
            return source.service
        app = getattr(source, "app", source)
        try:
            plugin: QueuePlugin = app.plugins.get(QueuePlugin)
        except (AttributeError, KeyError) as error:
            raise QueueError(
                f"{type(source).__qualname__} is no queue service, and no application with a QueuePlugin: make the tester "
                "with the test client, the application, its QueuePlugin or a QueueService"
            ) from error
        return plugin.service

    def start(self) -> None:
        """Keep the workers inside applications of this process from claiming: the test runs the tasks itself.

        A worker in another process, and one that the test starts itself, are not kept from it. Harmless when repeated.
        """
        if self._held is None:
            IN_APP.take()
            self._held = Until(IN_APP.release)

    def release_workers(self) -> None:
        """Let the workers inside applications claim again, for the rest of the test."""
        if self._held is not None:
            self._held.end()

    def inline(self) -> Until:
        """Have new tasks run at once, inside their enqueue, as `QueueConfig(execution_backend="immediate")` does.

        Not run so are tasks with a delay, tasks that are enqueued with `session=`, and tasks that state another
        `execution_backend` themselves.
        """
        service = self.service
        before = service.config
        service.config = replace(before, execution_backend="immediate")

        def undo() -> None:
            service.config = before

        return _until(undo, self._inlined)

    def travel(self, to: timedelta | float | datetime) -> Until:
        """Move the time of the queue, by a duration (seconds, or a timedelta) or to a time with its zone.

        Time goes on from there. What is due, stale, overdue or old then, is found by the next `drain` or `maintain`. Schedules
        fire as they do where no worker ran meanwhile, before the test looks at tasks or drains: see their `catch_up`.
        Journeys add up. Only the queue travels: the wall clock of the application stays as it is.

        Raises:
            InvalidTaskError: A duration is negative, a time has no zone, or the journey ends beyond the year 9998.
        """
        service = self.service
        before = service.clock.offset
        move(service, to)

        def undo() -> None:
            with suppress(QueueError):  # closed meanwhile
                set_offset(service, before)

        return _until(undo, self._journeys)

    def stop(self) -> None:
        """Undo every change that still holds. Harmless when repeated."""
        for changes in (self._journeys, self._inlined):
            while changes:
                changes.pop()()
        self.release_workers()
        self._held = None


def _until(undo: Callable[[], None], changes: list[Callable[[], None]]) -> Until:
    """A change that is the latest of its kind. When it ends, the later ones end first: they count from it."""

    def end() -> None:
        while undo in changes:
            changes.pop()()

    changes.append(undo)
    return Until(end)


def check_function(function: object) -> None:
    """Refuse what `run` cannot call, such as a coroutine.

    Raises:
        QueueError: `function` cannot be called.
    """
    if callable(function):
        return
    what = type(function).__qualname__
    if inspect.iscoroutine(function):
        what = f"the coroutine of {function.__qualname__}"
        function.close()  # or Python warns that nobody awaited it
    raise QueueError(f"run takes an async function, which it calls, not {what}: write run(lambda: service.cancel(id_))")


async def find_enqueued(
    service: QueueService,
    task: Task[..., Any] | TaskTemplate[..., Any] | str | None = None,
    *,
    queue: str | None = None,
    state: State | Collection[State] | None = None,
) -> list[EnqueuedTask]:
    """Stored tasks, in the order in which they were enqueued."""
    if isinstance(task, (Task, TaskTemplate)):
        task = task.task.name if isinstance(task, TaskTemplate) else task.name
    if task is not None and not isinstance(task, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without a type checker
        raise TaskArgumentError(f"enqueued takes a task or its name, not {type(task).__qualname__}")
    if queue is not None and not isinstance(queue, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # as above
        raise QueueError(f"enqueued takes the name of one queue, not {queue!r}")
    await fire_schedules(service)
    query = Matching(
        states=None if state is None else _states(state),
        queues=None if queue is None else (queue,),
        names=None if task is None else (service.registry.get(task).name,),
    )
    found = await service.operations.backend.find(query, _MOST)
    return [EnqueuedTask.of(service, one) for one in sorted(found, key=lambda one: (one.created_at, one.id))]


def _states(state: State | Collection[State]) -> tuple[State, ...]:
    """The states, also of a caller who writes them as texts.

    Raises:
        QueueError: There is no such state.
    """
    try:
        return tuple(map(State, (state,) if isinstance(state, str) else state))
    except (TypeError, ValueError) as error:
        raise QueueError(f"{state!r} is no state of a task: the states are {', '.join(State)}") from error


async def check_enqueued(
    service: QueueService, task: TaskLike, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> list[EnqueuedTask]:
    """See `QueueTester.assert_enqueued`."""
    count = None
    if not isinstance(task, (Task, TaskTemplate, str)):
        count = kwargs.pop("count", None)
    wanted = Expectation.of(task, args, kwargs, service.registry)
    tasks = await find_enqueued(service)
    matching = wanted.matching(tasks)
    if count is None and not matching:
        raise AssertionError(f"{wanted} is not enqueued; {wanted.others(tasks)}")
    if count is not None and len(matching) != count:
        raise AssertionError(f"{wanted} is enqueued {len(matching)} times, not {count}; {wanted.others(tasks)}")
    return matching


async def check_refuted(service: QueueService, task: TaskLike, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """See `QueueTester.refute_enqueued`."""
    unwanted = Expectation.of(task, args, kwargs, service.registry)
    if found := unwanted.matching(await find_enqueued(service)):
        listed = "\n".join(f"  {task}" for task in found[:10])
        raise AssertionError(f"{unwanted} is enqueued {len(found)} times:\n{listed}")
