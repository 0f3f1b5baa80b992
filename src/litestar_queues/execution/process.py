"""A process that exists for the run of one task: queues in, signals in, an exit code out."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any

from litestar_queues.config import QueueConfig
from litestar_queues.errors import BackendError, BackendUnavailableError, InvalidTaskError, QueueConfigurationError
from litestar_queues.execution.remote import WAIT_FOR_STORE, RemoteExit, TaskRun, log_end
from litestar_queues.pauses import Backoffs
from litestar_queues.records import check_text
from litestar_queues.service import QueueService
from litestar_queues.serving import HasQueues
from litestar_queues.task import TaskRegistry, default_registry
from litestar_queues.worker.supervisor import Signals, run_process

__all__ = (
    "CannotStart",
    "Queues",
    "TaskOrder",
    "checked_fence",
    "checked_id",
    "end_within",
    "log_to_stderr",
    "run_in_process",
    "run_signals",
)

_log = logging.getLogger("litestar_queues")
_BACKOFFS = Backoffs(first=0.2, longest=5.0)
_ID_MAX = 36
"""Longest id of a task, in characters."""
_DIGITS = 19
"""A fence with fewer digits fits into the 64 bits of every database."""
_CLOSING = 2.0
"""Seconds that the store gets to close."""
_ENDING = 1.0
"""Seconds that the event loop gets to end after that."""


@dataclass(frozen=True, slots=True)
class Queues:
    """The queues that a process works on.

    Attributes:
        config: Where they are.
        registry: Where the functions of tasks are found by name.
    """

    config: QueueConfig
    registry: TaskRegistry


@dataclass(frozen=True, slots=True)
class TaskOrder:
    """What a process is started for.

    Attributes:
        task_id: The task to run.
        fence: The fence of the reservation that the process was started for; None takes the task as it stands.
        execution_ref: The whole reference of this run.
        wait_for_store: Seconds for which a store that cannot be reached is waited for.
    """

    task_id: str
    fence: int | None = None
    execution_ref: str | None = None
    wait_for_store: float = WAIT_FOR_STORE


class CannotStart(Exception):
    """The run cannot begin; the text says why, and `code` is the exit code."""

    def __init__(self, code: RemoteExit, reason: str) -> None:
        super().__init__(reason)
        self.code = code


def checked_id(given: str, what: str) -> str:
    """The id of the task to run; `what` says in messages where it came from.

    Raises:
        CannotStart: It is empty, or cannot be the id of a task.
    """
    if not given:
        raise CannotStart(RemoteExit.NO_ID, f"{what} is missing or empty: it names the task to run")
    try:
        check_text("id", given, _ID_MAX)
    except InvalidTaskError as error:
        raise CannotStart(RemoteExit.BAD_ID, f"{what} is no task's id: {error}") from error
    return given


def checked_fence(given: str, what: str) -> int | None:
    """The fence of the reservation; None where none is given.

    Raises:
        CannotStart: It is no whole number.
    """
    if not given:
        return None
    if not (given.isascii() and given.isdigit() and len(given) < _DIGITS):
        raise CannotStart(RemoteExit.BAD_ID, f"{what} is {given[:40]!r}: it has to be a whole number")
    return int(given)


def queues_of(found: object) -> Queues | None:
    """The queues of a configuration, a plugin or an application; None where it has none."""
    if isinstance(found, QueueConfig):
        return Queues(found, default_registry)
    if isinstance(found, HasQueues):
        return Queues(found.config, found.registry)
    plugins: Any = getattr(found, "plugins", ())
    with suppress(TypeError):
        for plugin in plugins:
            if isinstance(plugin, HasQueues):
                return Queues(plugin.config, plugin.registry)
    return None


def run_signals() -> Signals:
    """Signal handlers for such a process: before the run they end it with 1, after that they have the task given back."""
    return Signals(
        owns_process=True,
        early_exit=RemoteExit.FAILURE,
        early_words="exit 1 (failure): stopped before the claim; the task stays as it was",
    )


def run_in_process(queues: Callable[[], Awaitable[Queues]], order: TaskOrder, signals: Signals) -> RemoteExit:
    """Run one task in a new event loop of this thread, and return how it ended.

    Signals are handled where this is the main thread. If something of the task or of the store does not end, such as a
    thread of `asyncio.to_thread`, this ends the process with the code of the run, a few seconds after the run.

    Args:
        queues: Sets up the queues; raises `CannotStart` where it cannot.
        order: Which task.
        signals: The handlers of this process, installed before.
    """
    ending = _Ending()
    try:
        return run_process(_run(queues, order, signals, ending))
    finally:
        ending.reached()


async def _run(
    queues: Callable[[], Awaitable[Queues]], order: TaskOrder, signals: Signals, ending: _Ending
) -> RemoteExit:
    ends_at = time.monotonic() + order.wait_for_store
    try:
        found = await queues()
        log_to_stderr()
        service = await _open(found, ends_at)
    except CannotStart as error:
        log_to_stderr()
        log_end(error.code, order.task_id, str(error))
        ending.expect(error.code, _ENDING)
        return error.code
    run = TaskRun(
        service,
        order.task_id,
        fence=order.fence,
        execution_ref=order.execution_ref,
        wait_for_store=max(ends_at - time.monotonic(), 1.0),
    )
    code = RemoteExit.FAILURE
    try:
        with _driving(signals, run):
            code = await run.run()
            ending.expect(code, _CLOSING + _ENDING)
    finally:
        await _close(service)
    return code


def _driving(signals: Signals, run: TaskRun) -> AbstractContextManager[None]:
    return signals.driving(run) if threading.current_thread() is threading.main_thread() else nullcontext()


async def _open(queues: Queues, ends_at: float) -> QueueService:
    """Open the queues, and wait for a store that cannot be reached.

    Raises:
        CannotStart: They cannot be opened.
    """
    for pause in _BACKOFFS:
        service = QueueService(queues.config, registry=queues.registry)
        try:
            async with asyncio.timeout(max(ends_at - time.monotonic(), 1.0)):
                await service.open()
        except (BackendUnavailableError, TimeoutError) as error:
            left = ends_at - time.monotonic()
            why = str(error) or "it does not answer"
            if left <= 0:
                raise CannotStart(RemoteExit.FAILURE, f"the store could not be reached in time: {why}") from error
            _log.warning("the run waits for its store, %.0f s at most: %s", left, why)
            await asyncio.sleep(min(pause.seconds, left))
        except BackendError as error:
            raise CannotStart(RemoteExit.FAILURE, f"the store refused: {error}") from error
        except Exception as error:
            if not isinstance(error, QueueConfigurationError):
                _log.exception("the queues cannot be opened")
            raise CannotStart(RemoteExit.NO_CONFIGURATION, f"the queues cannot be opened: {error}") from error
        else:
            if service.operations.backend.process_local:
                name = service.operations.backend.name
                await _close(service)
                raise CannotStart(
                    RemoteExit.NO_CONFIGURATION,
                    f"the tasks of the queue backend {name!r} live inside the application's process, where this one does not "
                    "see them: use a backend that processes share",
                )
            return service
    raise AssertionError("the pauses have no end")


async def _close(service: QueueService) -> None:
    """Close the queues, for a bounded time; how the run ended counts, and no failure here changes it."""
    closing = asyncio.create_task(service.close())
    await asyncio.wait({closing}, timeout=_CLOSING)
    if not closing.done():
        _log.warning("the store does not close: the process ends without that")
        closing.cancel()
    elif not closing.cancelled() and (error := closing.exception()) is not None:
        _log.warning("the store could not be closed: %s", error)


class _Ending:
    """Ends the process where its event loop does not come to its end in time."""

    def __init__(self) -> None:
        self._reached = threading.Event()

    def expect(self, code: int, seconds: float) -> None:
        """From now on, the process has so many seconds until `reached`."""
        end_within(seconds, code, unless=self._reached)

    def reached(self) -> None:
        """The event loop has ended."""
        self._reached.set()


def end_within(seconds: float, code: int, *, unless: threading.Event | None = None) -> None:
    """Have the process end after so many seconds, with this code, unless something happens before.

    Python waits at exit for threads that are not its to stop, such as those of `asyncio.to_thread` in a task that was
    interrupted. asyncio waits for tasks that ignore their cancellation.
    """
    stopped = unless or threading.Event()

    def end() -> None:
        if not stopped.wait(seconds):
            os.write(2, b"Threads or calls of the task or of the store still run: the process ends without them.\n")
            os._exit(code)

    threading.Thread(target=end, name="litestar-queues-end", daemon=True).start()


def log_to_stderr() -> None:
    """Let the process say what it does, unless the application's logging says how."""
    if not logging.getLogger().handlers:
        logging.basicConfig(
            level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr
        )
    if _log.level == logging.NOTSET and not _log.isEnabledFor(logging.INFO):
        _log.setLevel(logging.INFO)
