"""What an application says of its queues."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from litestar_queues.backends.base import BackendConfig, QueueBackend
from litestar_queues.backends.registry import PORT, checked, create, lacks, make, refuse_unknown, register_queue_backend
from litestar_queues.errors import QueueConfigurationError
from litestar_queues.events.base import EventSink
from litestar_queues.execution.registry import Execution, check_execution, register_execution_backend
from litestar_queues.records import ATTEMPTS_MAX, QUEUE_MAX, RECOVERIES, WINDOW_MAX, seconds

__all__ = ("QueueConfig", "register_execution_backend", "register_queue_backend")


@dataclass(frozen=True, kw_only=True, slots=True)
class QueueConfig:
    """The queues of an application. Durations are seconds, or timedeltas.

    Args:
        queue_backend: Where tasks are stored: the config of a backend, a backend, or the name of one that is built in,
            registered (`register_queue_backend`) or installed (an entry point in `litestar_queues.backends`).
        execution_backend: Where tasks run that do not say it themselves: "local" (in a worker), "immediate" (inside the
            enqueue, for tests and scripts), the config of an execution backend, an execution backend, or the name of one
            that is registered (`register_execution_backend`). Of several, in a list, the first; tasks can name the others.
        dispatch_timeout: How long the start of a run elsewhere may take. The task is reserved for twice as long.
        dispatch_check_interval: How long a dispatched task may be silent before its run is looked up. A run that ended
            without claiming its task is found so much later at most, and one interval of maintenance.
        task_modules: Modules to import so that their tasks are known, for workers that do not import the application.
        in_app_worker: Whether a worker runs inside the application. None: where only this process can see the tasks.
        worker_queues: The queues that workers serve; None: all.
        worker_max_concurrency: How many tasks one worker runs at once.
        worker_max_threads: How many of them may be sync functions, each of which takes a thread. None: as many as tasks.
        worker_max_abandoned: How many sync functions may hang after their tasks timed out or were cancelled. A worker
            process that has so many drains and exits with 1, so that its supervisor starts another one; a worker inside
            the application goes on with fewer tasks. None: a worker process goes on, too.
        worker_heartbeat_interval: How often a worker says that it still runs what it holds, in one write for all.
        worker_stale_after: How long a task of this worker may go without heartbeat before others take it over. At least
            three times the interval, so that one lost write costs nothing.
        max_recoveries: How often a task whose worker went silent is given to another one before it fails, unless the task
            says so itself. The count starts again when an attempt ends by itself. 0 fails such a task at once.
        worker_heartbeat_thread: Whether heartbeats and maintenance have a thread and connections of their own (one, and a
            second one where both write at once), so that they go on while the event loop is blocked or the pool is
            exhausted. False: they share the event loop and the pool. A store of this process alone needs none of this.
        worker_blocked_after: How long the event loop may stand still before the log names the code that keeps it.
        worker_poll_interval: The longest pause between two looks at an idle store. Wakeups make it shorter.
        worker_drain_timeout: How long a worker that is told to stop waits for its tasks before it gives them back. The
            process ends at most 8 s later, whatever hangs.
        worker_settle_delay: How long outcomes may be gathered for one write while the worker is busy; idle, it writes
            at once.
        worker_batch_size: The most tasks that one claim takes or one write settles.
        maintenance_interval: How often stale, overdue and old tasks are looked for. Stale tasks wait so long for their
            recovery: workers log a warning if this is longer than `worker_stale_after`.
        scheduler: Whether workers fire schedules. One worker at a time does it for all.
        schedule_check_interval: How often they look whether schedules were made or changed elsewhere. A fire comes on time
            whatever this is. When the worker that fires schedules dies, another one does it four such intervals later at most.
        retention: How long terminal tasks are kept; None keeps them for ever.
        event_sinks: Who is told of every transition.
        dependency_key: The name under which handlers get the `QueueService`.

    Raises:
        QueueConfigurationError: A value is out of its range, contradicts another one, or names what does not exist.
    """

    queue_backend: str | BackendConfig | QueueBackend = "memory"
    execution_backend: Execution | Sequence[Execution] = "local"
    dispatch_timeout: float | timedelta = 30.0
    dispatch_check_interval: float | timedelta = 30.0
    task_modules: Sequence[str] = ()
    in_app_worker: bool | None = None
    worker_queues: Sequence[str] | None = None
    worker_max_concurrency: int = 10
    worker_max_threads: int | None = None
    worker_max_abandoned: int | None = None
    worker_heartbeat_interval: float | timedelta = 10.0
    worker_stale_after: float | timedelta = 60.0
    max_recoveries: int = RECOVERIES
    worker_heartbeat_thread: bool = True
    worker_blocked_after: float | timedelta = 2.0
    worker_poll_interval: float | timedelta = 1.0
    worker_drain_timeout: float | timedelta = 20.0
    worker_settle_delay: float | timedelta = 0.01
    worker_batch_size: int = 500
    maintenance_interval: float | timedelta = 10.0
    scheduler: bool = True
    schedule_check_interval: float | timedelta = 5.0
    retention: float | timedelta | None = timedelta(days=7)
    event_sinks: Sequence[EventSink] = ()
    dependency_key: str = "queue_service"

    def __post_init__(self) -> None:
        _check_backend(self.queue_backend)
        check_execution(self.execution_backend)
        for name in ("worker_max_concurrency", "worker_max_threads", "worker_max_abandoned", "worker_batch_size"):
            value = getattr(self, name)
            if value is None and name in ("worker_max_threads", "worker_max_abandoned"):
                continue
            if not isinstance(value, int) or value < 1:
                raise QueueConfigurationError(f"{name} must be a whole number from 1 on, not {value!r}")
        positive = ("worker_heartbeat_interval", "worker_stale_after", "worker_blocked_after", "worker_poll_interval")
        for name in (
            *positive,
            "maintenance_interval",
            "dispatch_timeout",
            "dispatch_check_interval",
            "schedule_check_interval",
        ):
            self._check_duration(name, least=timedelta(milliseconds=1))
        for name in ("worker_drain_timeout", "worker_settle_delay"):
            self._check_duration(name, least=timedelta(0))
        if self.retention is not None:
            self._check_duration("retention", least=timedelta(0))
        for name, longest in (
            ("worker_stale_after", WINDOW_MAX),
            ("dispatch_check_interval", WINDOW_MAX),
            ("dispatch_timeout", WINDOW_MAX / 2),
        ):
            if seconds(getattr(self, name)) > timedelta(seconds=longest):
                raise QueueConfigurationError(f"{name} is at most {longest:g} s, not {getattr(self, name)!r}")
        if type(self.max_recoveries) is not int or not 0 <= self.max_recoveries <= ATTEMPTS_MAX:
            raise QueueConfigurationError(
                f"max_recoveries must be a whole number from 0 to {ATTEMPTS_MAX}, not {self.max_recoveries!r}"
            )
        if seconds(self.worker_stale_after) < 3 * seconds(self.worker_heartbeat_interval):
            raise QueueConfigurationError(
                f"worker_stale_after ({self.worker_stale_after}) is less than three times worker_heartbeat_interval "
                f"({self.worker_heartbeat_interval}): one slow write would get healthy tasks taken over. Raise the "
                "first or lower the second"
            )
        for name in ("worker_queues", "task_modules"):
            if isinstance(value := getattr(self, name), str):
                raise QueueConfigurationError(f"{name} is a list of names, not the text {value!r}: write [{value!r}]")
        for queue in self.worker_queues or ():
            if not isinstance(queue, str) or not 0 < len(queue) <= QUEUE_MAX:  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without a type checker
                raise QueueConfigurationError(f"a queue's name is a text of 1 to {QUEUE_MAX} characters: {queue!r:.60}")
        if self.worker_queues is not None and not self.worker_queues:
            raise QueueConfigurationError("worker_queues is empty: name a queue, or leave it None to serve all of them")

        if callable(self.event_sinks) or not all(map(callable, self.event_sinks)):
            raise QueueConfigurationError("event_sinks is a list of functions that take an event")

    @property
    def threads(self) -> int:
        """How many sync functions one process runs at once."""
        return self.worker_max_concurrency if self.worker_max_threads is None else self.worker_max_threads

    def _check_duration(self, name: str, *, least: timedelta) -> None:
        value = getattr(self, name)
        try:
            fits = seconds(value) >= least
        except (TypeError, ValueError, OverflowError):
            fits = False
        if not fits:
            raise QueueConfigurationError(f"{name} must be seconds or a timedelta of at least {least}, not {value!r}")

    def create_backend(self) -> QueueBackend:
        """The backend to use, not open yet; a backend that was given is that one.

        Raises:
            QueueConfigurationError: It cannot work.
        """
        backend = self.queue_backend
        if isinstance(backend, str):
            return make(backend)
        return create(backend) if isinstance(backend, BackendConfig) else backend


def _check_backend(backend: object) -> None:
    if isinstance(backend, str):
        refuse_unknown(backend)
    elif isinstance(backend, type):
        raise QueueConfigurationError(
            f"queue_backend got a class: write {backend.__qualname__}(...), with its arguments"
        )
    elif not isinstance(backend, BackendConfig) and (missing := lacks(backend)):
        if len(missing) > len(PORT) // 2:
            raise QueueConfigurationError(
                f"queue_backend takes a name, a backend's config or a backend, not {type(backend).__qualname__}"
            )
        checked(backend, "queue_backend")
