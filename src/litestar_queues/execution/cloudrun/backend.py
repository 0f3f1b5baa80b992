"""The execution backend "cloudrun": starts an execution for each task, and asks for its state."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, TypeVar

from litestar_queues.errors import BackendError, BackendUnavailableError, InvalidTaskError, QueueConfigurationError
from litestar_queues.execution.base import Failed, Outlook, RunState, Started
from litestar_queues.execution.cloudrun.api import CloudRunApi
from litestar_queues.execution.cloudrun.complaints import Complaints
from litestar_queues.execution.cloudrun.environment import Environment
from litestar_queues.execution.cloudrun.jobs import Jobs, is_execution
from litestar_queues.execution.cloudrun.sentences import sentence_of
from litestar_queues.execution.cloudrun.troubles import CallError, Trouble
from litestar_queues.pauses import Backoffs
from litestar_queues.records import TaskRecord

__all__ = ("CloudRunExecutionBackend", "Limits")

T = TypeVar("T")
_log = logging.getLogger("litestar_queues")
_STATES = "The state of executions in Cloud Run"
"""The subject of what is logged about `status`."""
_STATUS = 15.0
"""Seconds for which states are asked for. A reconciler waits for 20 s, and would lose what is known by then."""
_LEAST = 0.1
"""Seconds that a call gets even where the time of its batch is over."""
_CONNECTION = "The connection to Cloud Run"
"""The subject of what is logged about credentials."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is sent to Cloud Run, and how long a reply may take.

    Attributes:
        calls: The most calls at the same time: so many dispatches, and so many questions for states.
        request: Seconds that one call may take.
        dispatch: Seconds that a batch may take with all retries.
    """

    calls: int
    request: float
    dispatch: float


class CloudRunExecutionBackend:
    """Runs each task in an execution of a job. Made by `CloudRunExecutionConfig`.

    Args:
        jobs: The job of each profile.
        environment: Makes the variables of a run.
        timeout: Seconds after which Cloud Run ends a run.
        fallback: The execution backend of tasks that Cloud Run refuses.
        limits: How much is sent, and for how long.
        channel_factory: Makes the channel to the API.
        backoffs: The pauses before calls are sent again.
    """

    name = "cloudrun"
    is_remote = True

    def __init__(
        self,
        jobs: Jobs,
        environment: Environment,
        *,
        timeout: float | None,
        fallback: str | None,
        limits: Limits,
        channel_factory: Callable[[], Any] | None,
        backoffs: Backoffs | None = None,
    ) -> None:
        self.fallback = fallback
        self._jobs = jobs
        self._environment = environment
        self._timeout = timeout
        self._limits = limits
        self._backoffs = backoffs or Backoffs(first=0.5, longest=5.0)
        self._api = CloudRunApi(channel_factory)
        self._complaints = Complaints()
        self._dispatches = asyncio.Semaphore(limits.calls)
        self._questions = asyncio.Semaphore(limits.calls)

    async def open(self) -> None:
        """Do nothing: the first call connects, so that a worker without credentials still runs other tasks."""

    async def close(self) -> None:
        await self._api.close()

    def check_profile(self, profile: str | None) -> None:
        """Refuse a profile that names no job.

        Raises:
            InvalidTaskError: It is not one of `profiles`.
            QueueConfigurationError: No profile is named, and the configuration has neither `job_name` nor a profile
                "default".
        """
        self._jobs.of(profile)

    async def dispatch(self, tasks: Sequence[TaskRecord]) -> list[Started | Failed]:
        until = asyncio.get_running_loop().time() + self._limits.dispatch
        if (failed := await self._connect(until)) is not None:
            return [failed] * len(tasks)
        async with asyncio.TaskGroup() as group:
            runs = [group.create_task(self._start(task, until)) for task in tasks]
        return [run.result() for run in runs]

    async def status(self, refs: Collection[str]) -> Mapping[str, RunState]:
        until = asyncio.get_running_loop().time() + _STATUS
        asked = [ref for ref in dict.fromkeys(refs) if is_execution(ref)]
        if not asked or await self._connect(until) is not None:
            return {}
        async with asyncio.TaskGroup() as group:
            states = [group.create_task(self._state(ref, until)) for ref in asked]
        return dict(zip(asked, (state.result() for state in states), strict=True))

    async def cancel(self, ref: str) -> None:
        until = asyncio.get_running_loop().time() + self._limits.dispatch
        if not is_execution(ref):
            return
        if (unconnected := await self._connect(until)) is not None:
            raise BackendUnavailableError(f"{ref} cannot be cancelled: {unconnected.reason}")
        try:
            await self._insist(until, lambda deadline: self._api.cancel(ref, deadline=deadline))
        except _GivenUpError as error:
            failed = error.last
            if failed.trouble is Trouble.MISSING or failed.code == "FAILED_PRECONDITION":
                return  # it has ended
            kind = BackendUnavailableError if failed.trouble.passes else BackendError
            raise kind(f"{ref} cannot be cancelled: {sentence_of(failed, ref)}") from None

    async def _connect(self, until: float) -> Failed | None:
        """Connect once for a batch; returns what each call of it would end with."""
        try:
            async with asyncio.timeout_at(until):
                await self._api.connect()
        except TimeoutError:
            what = "Google's packages and credentials were not loaded in time"
            error = CallError(Trouble.BUSY, "DEADLINE_EXCEEDED", what)
        except CallError as failed:
            error = failed
        else:
            return None
        reason = sentence_of(error, "")
        self._complaints.about(_CONNECTION, error.code, reason, level=logging.ERROR)
        return Failed(reason, error.trouble.outlook)

    async def _start(self, task: TaskRecord, until: float) -> Started | Failed:
        try:
            job = self._jobs.of(task.execution_profile)
        except (InvalidTaskError, QueueConfigurationError) as error:  # the configuration was another one at the enqueue
            self._complaints.about(f"profile {task.execution_profile}", "unknown", str(error), level=logging.ERROR)
            return Failed(str(error), Outlook.REFUSED)
        variables = self._environment.of(task, job)
        try:
            async with asyncio.timeout_at(until):
                await self._dispatches.acquire()
        except TimeoutError:
            return Failed(
                f"Cloud Run took no more runs within {self._limits.dispatch:g} s: the task waits", Outlook.FOR_NOW
            )
        try:
            ref = await self._insist(
                until,
                lambda deadline: self._api.run_job(job, variables, limit=self._timeout, deadline=deadline),
            )
        except _GivenUpError as error:
            reason = self._without_secrets(sentence_of(error.last, job))
            level = logging.WARNING if error.last.trouble.passes else logging.ERROR
            self._complaints.about(job, error.last.code, reason, level=level)
            return Failed(reason, Outlook.UNCLEAR if error.is_unclear else error.last.trouble.outlook)
        except Exception as error:  # noqa: BLE001  # the batch's other runs have started, and their references must be stored
            _log.exception("the dispatch of task %s to Cloud Run failed", task.id)
            return Failed(f"the dispatch to Cloud Run raised {type(error).__name__}: see the log", Outlook.UNCLEAR)
        finally:
            self._dispatches.release()
        self._complaints.over(job)
        return Started(ref)

    async def _state(self, ref: str, until: float) -> RunState:
        try:
            async with asyncio.timeout_at(until), self._questions:
                state = await self._api.state(ref, deadline=min(self._limits.request, _STATUS))
        except TimeoutError:
            return RunState.ACTIVE
        except CallError as error:
            sentence = f"Running tasks count as active, because their state is unknown. {sentence_of(error, ref)}"
            level = logging.WARNING if error.trouble.passes else logging.ERROR
            self._complaints.about(_STATES, error.code, sentence, level=level)
            return RunState.ACTIVE
        self._complaints.over(_STATES)
        return state

    async def _insist(self, until: float, call: Callable[[float], Awaitable[T]]) -> T:
        """Call, and again after what passes, until the time of the loop is `until`.

        Raises:
            _GivenUpError: The last call failed, and another one makes no sense or has no time.
        """
        time = asyncio.get_running_loop().time
        is_unclear = False
        for tries in count(1):
            try:
                return await call(max(_LEAST, min(self._limits.request, until - time())))
            except CallError as failed:
                error = failed
            is_unclear = is_unclear or error.trouble is Trouble.UNCLEAR
            pause = self._backoffs.after(tries)
            if not error.trouble.passes or time() + pause.seconds >= until:
                raise _GivenUpError(error, is_unclear=is_unclear)
            await pause.wait()
        raise AssertionError("the tries are endless")

    def _without_secrets(self, text: str) -> str:
        """The text without the values of `extra_env`, which a reply may repeat."""
        for value in self._environment.extra.values():
            if len(value) > 3:
                text = text.replace(value, "***")
        return text


class _GivenUpError(Exception):
    """A call failed for good, or for as long as there was time.

    Attributes:
        last: The last failure.
        is_unclear: Whether one of the calls may have had its effect.
    """

    def __init__(self, last: CallError, *, is_unclear: bool) -> None:
        super().__init__(str(last))
        self.last = last
        self.is_unclear = is_unclear
