"""Looks at queues, and runs what waits in them, in tests without an event loop."""

from __future__ import annotations

from collections.abc import Callable, Collection, Coroutine, Sequence
from contextlib import ExitStack
from datetime import timedelta
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar, overload

from anyio.from_thread import start_blocking_portal

from litestar_queues.errors import QueueError
from litestar_queues.lifecycle import State
from litestar_queues.result import TaskResult
from litestar_queues.service import QueueService
from litestar_queues.task import Task, TaskCall, TaskTemplate
from litestar_queues.testing.base import Tester, check_enqueued, check_function, check_refuted, find_enqueued
from litestar_queues.testing.draining import Drained, Maintained, drain, maintain
from litestar_queues.testing.performing import Performed, perform_sync
from litestar_queues.testing.views import EnqueuedTask

__all__ = ("QueueTester",)

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class QueueTester(Tester):
    """Looks at queues and runs tasks, in tests without an event loop: those with `TestClient`.

    Inside its `with` block, workers inside applications claim nothing, so that a test finds what was enqueued, and runs it
    itself. At its end, whatever the test changed (`travel`, `inline`) is undone.

    Args:
        source: A queue service; or a test client, an application or a `QueuePlugin`, for the service of the application
            once that runs. None: the one service that is open when it is needed. A service that is not open yet is opened
            for the `with` block, in a thread of its own.
    """

    _portal: ExitStack | None = None

    def run(self, function: Callable[[], Coroutine[Any, Any, T]], /) -> T:
        """Run an async function in the event loop of the service, and return what it returns.

        Raises:
            QueueError: No service is open, its event loop is the caller's own, or `function` is no function.
        """
        check_function(function)
        home = self.service.home
        if home is None:
            raise QueueError("this queue service is not open: use `with QueueTester(service)`, which opens it")
        return home.run_blocking(function)

    def __enter__(self) -> Self:
        self.start()
        if isinstance(self._source, QueueService) and self._source.home is None:
            with ExitStack() as stack:
                stack.callback(self.stop)
                portal = stack.enter_context(start_blocking_portal())
                portal.call(self._source.open)
                stack.callback(portal.call, self._source.close)
                self._portal = stack.pop_all()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        portal, self._portal = self._portal, None
        if portal is not None:
            portal.close()
        self.stop()

    def enqueued(
        self,
        task: Task[..., Any] | TaskTemplate[..., Any] | str | None = None,
        /,
        *,
        queue: str | None = None,
        state: State | Collection[State] | None = None,
    ) -> list[EnqueuedTask]:
        """The stored tasks, in the order in which they were enqueued; those that ended, too, unless `state` says more.

        Args:
            task: Only those of this task, or of this name.
            queue: Only those in this queue.
            state: Only those in this state, or in one of these.

        Raises:
            UnknownTaskError: No task of this name is registered.
            TaskArgumentError: `task` is neither a task nor a name.
            QueueError: There is no such state, or `queue` is not one name.
        """
        service = self.service
        return self.run(lambda: find_enqueued(service, task, queue=queue, state=state))

    @overload
    def assert_enqueued(self, task: TaskCall[Any], /, *, count: int | None = None) -> list[EnqueuedTask]: ...
    @overload
    def assert_enqueued(self, task: Task[..., Any] | TaskTemplate[..., Any], /) -> list[EnqueuedTask]: ...
    @overload
    def assert_enqueued(
        self, task: Task[P, Any] | TaskTemplate[P, Any], /, *args: P.args, **kwargs: P.kwargs
    ) -> list[EnqueuedTask]: ...
    @overload
    def assert_enqueued(self, task: str, /, *args: Any, **kwargs: Any) -> list[EnqueuedTask]: ...
    def assert_enqueued(self, task: Any, /, *args: Any, **kwargs: Any) -> list[EnqueuedTask]:
        """Check that a task was enqueued, whatever its state is now.

        Arguments are compared as the values that the function gets, defaults filled in: `send("a")` is `send(address="a")`,
        and 1 is not True. `unittest.mock.ANY` fits every value. Without arguments, any arguments fit.

        Args:
            task: The task, or its name. With `task.using(...)`, these options have to be as stated, too; durations within
                five seconds. A call (`task.call(...)`, `task.using(...).call(...)`) is compared with its arguments, also
                where it has none.
            *args: Its arguments.
            **kwargs: Its keyword arguments. With a call: `count`, how often it has to be there.

        Returns:
            The tasks that fit.

        Raises:
            AssertionError: There is none, or not so many; the text lists what is there instead, and in what it differs.
            TaskArgumentError: No such task can ever be enqueued: the arguments do not fit the function.
            UnknownTaskError: No task of this name is registered.
        """
        service = self.service
        return self.run(lambda: check_enqueued(service, task, args, kwargs))

    @overload
    def refute_enqueued(self, task: TaskCall[Any] | Task[..., Any] | TaskTemplate[..., Any], /) -> None: ...
    @overload
    def refute_enqueued(
        self, task: Task[P, Any] | TaskTemplate[P, Any], /, *args: P.args, **kwargs: P.kwargs
    ) -> None: ...
    @overload
    def refute_enqueued(self, task: str, /, *args: Any, **kwargs: Any) -> None: ...
    def refute_enqueued(self, task: Any, /, *args: Any, **kwargs: Any) -> None:
        """Check that no such task was enqueued; the arguments are those of `assert_enqueued`.

        Raises:
            AssertionError: There is one; the text lists them.
            TaskArgumentError: No such task can ever be enqueued: the arguments do not fit the function.
            UnknownTaskError: No task of this name is registered.
        """
        service = self.service
        self.run(lambda: check_refuted(service, task, args, kwargs))

    def drain(
        self,
        *,
        with_scheduled: bool = False,
        queues: Sequence[str] | None = None,
        raises: bool = False,
        limit: int = 1000,
        timeout: float | timedelta = 60,
    ) -> Drained:
        """Run everything that is due, one task after the other, and what those tasks enqueue; then return.

        Stale tasks are recovered and overdue ones expire, as a worker does it. A task that waits for another one has that
        one run meanwhile. A failed attempt waits for its retry as usual, so that the retry runs with `with_scheduled`.

        Args:
            with_scheduled: Run what is scheduled for later, too, retries and snoozed tasks included: time moves on for each
                as far as it has to, and comes back afterwards.
            queues: Only tasks in these queues.
            raises: Raise where a task failed for good.
            limit: The most attempts, against tasks that enqueue themselves without end.
            timeout: How long this may take, in seconds or as a timedelta.

        Returns:
            What ran, with the outcomes.

        Raises:
            DrainError: A task failed, and `raises` is set; or the limit or the timeout is reached. Names the tasks.
            QueueConfigurationError: `queues` is one text instead of a list of names.
        """
        service = self.service

        async def run() -> Drained:
            return await drain(service, with_scheduled=with_scheduled, queues=queues, limit=limit, timeout=timeout)

        drained = self.run(run)
        if raises:
            drained.raise_failed()
        return drained

    def maintain(self) -> Maintained:
        """Recover stale tasks, expire overdue ones and delete old ones, as a worker does now and then.

        A drain does the same, but deletes nothing.
        """
        service = self.service
        return self.run(lambda: maintain(service))

    def enqueue(self, call: TaskCall[R], /) -> TaskResult[R]:
        """Enqueue a call (`task.call(...)`), from the test itself."""
        service = self.service
        return self.run(lambda: service.enqueue(call))

    def get(self, task_id: str, /) -> EnqueuedTask | None:
        """A task by its id, as it is now; None where it is not stored."""
        service = self.service
        found = self.run(lambda: service.get(task_id))
        return None if found is None else EnqueuedTask.of(service, found.record)

    @overload
    def perform(self, task: TaskCall[R], /, *, attempt: int = 1, raises: bool = True) -> Performed[R]: ...
    @overload
    def perform(self, task: Task[P, R] | TaskTemplate[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Performed[R]: ...
    def perform(self, task: Any, /, *args: Any, **kwargs: Any) -> Performed[Any]:
        """As the function `perform_sync`: run a task's function once, without a queue."""
        return perform_sync(task, *args, **kwargs)
