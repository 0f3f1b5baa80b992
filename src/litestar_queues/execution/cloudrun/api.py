"""Calls to the Cloud Run Admin API by Google's client, which is imported and connected at the first call.

Google's packages are typed in part only, so that everything of theirs is `Any` here and nowhere else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from importlib import import_module
from typing import Any

from litestar_queues.execution.base import RunState
from litestar_queues.execution.cloudrun.jobs import execution_of
from litestar_queues.execution.cloudrun.troubles import CallError, Trouble, trouble_of

__all__ = ("CloudRunApi",)

_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_OPTIONS = (("grpc.max_reconnect_backoff_ms", 10_000),)
"""gRPC's own longest pause between two connections is two minutes: an outage would last so much longer for its clients."""
_GRACE = 2.0
"""Seconds after a call's deadline by which gRPC has raised it. A call that has not ended then is left alone."""


@dataclass(frozen=True, slots=True)
class _Packages:
    """Google's packages."""

    run: Any
    jobs: Any
    executions: Any
    auth: Any
    auth_errors: Any
    errors: Any

    @classmethod
    def load(cls) -> _Packages:
        """Import them: half a second."""
        run = import_module("google.cloud.run_v2")
        return cls(
            run=run,
            jobs=import_module("google.cloud.run_v2.services.jobs.transports"),
            executions=import_module("google.cloud.run_v2.services.executions.transports"),
            auth=import_module("google.auth"),
            auth_errors=import_module("google.auth.exceptions"),
            errors=import_module("google.api_core.exceptions"),
        )

    def credentials(self) -> tuple[Any, str]:
        """The Application Default Credentials, and the domain of the services that they are for."""
        credentials, _project = self.auth.default(scopes=[_SCOPE])
        return credentials, str(getattr(credentials, "universe_domain", "googleapis.com"))


@dataclass(frozen=True, slots=True)
class _Connection:
    """Both clients, on one channel."""

    packages: _Packages
    channel: Any
    jobs: Any
    executions: Any


class CloudRunApi:
    """Starts, looks up and cancels executions. Every failure is a `CallError`.

    Args:
        channel_factory: Makes the channel; None makes one with the Application Default Credentials.
    """

    def __init__(self, channel_factory: Callable[[], Any] | None) -> None:
        self._channel_factory = channel_factory
        self._connection: _Connection | None = None
        self._connecting = asyncio.Lock()

    async def connect(self) -> None:
        """Make the clients, if there are none yet. gRPC connects at the first call.

        Raises:
            CallError: The process has no credentials.
        """
        await self._connect()

    async def close(self) -> None:
        """End the connection. Calls that are under way fail. The next call connects again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.channel.close()

    async def run_job(self, job: str, environment: Mapping[str, str], *, limit: float | None, deadline: float) -> str:
        """Start an execution with one task, and return its reference without waiting for its end.

        Args:
            job: The full name of the job.
            environment: Variables for its container.
            limit: Seconds after which Cloud Run ends the execution; None leaves the job's own limit.
            deadline: Seconds that the call may take.
        """
        connection = await self._connect()
        run = connection.packages.run
        kinds = run.RunJobRequest.Overrides
        variables = [run.EnvVar(name=name, value=value) for name, value in environment.items()]
        overrides = kinds(task_count=1, container_overrides=[kinds.ContainerOverride(env=variables)])
        if limit is not None:
            overrides.timeout = timedelta(seconds=limit)
        request = run.RunJobRequest(name=job, overrides=overrides)
        operation = await self._call(connection, connection.jobs.run_job, request, deadline)
        execution = operation.metadata  # of the operation as it was answered: its end is not waited for
        if execution is None or not execution.name:
            raise CallError(Trouble.UNCLEAR, "UNKNOWN", "the reply names no execution")
        return execution_of(job, str(execution.name))

    async def state(self, ref: str, *, deadline: float) -> RunState:
        """What Cloud Run knows of an execution; VANISHED where it knows none of this name."""
        connection = await self._connect()
        request = connection.packages.run.GetExecutionRequest(name=ref)
        try:
            execution = await self._call(connection, connection.executions.get_execution, request, deadline)
        except CallError as error:
            if error.trouble is Trouble.MISSING:
                return RunState.VANISHED
            raise
        return _state_of(connection.packages.run, execution)

    async def cancel(self, ref: str, *, deadline: float) -> None:
        """Ask Cloud Run to end an execution; its end is not waited for."""
        connection = await self._connect()
        request = connection.packages.run.CancelExecutionRequest(name=ref)
        await self._call(connection, connection.executions.cancel_execution, request, deadline)

    async def _connect(self) -> _Connection:
        async with self._connecting:
            if self._connection is None:
                packages = await asyncio.to_thread(_Packages.load)
                channel = await self._channel(packages)
                jobs, executions = packages.jobs, packages.executions
                self._connection = _Connection(
                    packages,
                    channel,
                    packages.run.JobsAsyncClient(transport=jobs.JobsGrpcAsyncIOTransport(channel=channel)),
                    packages.run.ExecutionsAsyncClient(
                        transport=executions.ExecutionsGrpcAsyncIOTransport(channel=channel)
                    ),
                )
            return self._connection

    async def _channel(self, packages: _Packages) -> Any:
        if self._channel_factory is not None:
            return self._channel_factory()
        try:
            # In a thread: it reads files, and may wait for a metadata server that does not exist.
            credentials, domain = await asyncio.to_thread(packages.credentials)
            transport = packages.jobs.JobsGrpcAsyncIOTransport
            return transport.create_channel(f"run.{domain}", credentials=credentials, options=_OPTIONS)
        except packages.auth_errors.GoogleAuthError as error:
            raise CallError(Trouble.CREDENTIALS, type(error).__name__) from error

    async def _call(
        self, connection: _Connection, method: Callable[..., Awaitable[Any]], request: Any, deadline: float
    ) -> Any:
        errors = connection.packages.errors
        try:
            async with asyncio.timeout(deadline + _GRACE):
                return await method(request, retry=None, timeout=deadline)
        except errors.GoogleAPICallError as error:
            code = "UNKNOWN" if error.grpc_status_code is None else str(error.grpc_status_code.name)
            raise trouble_of(code, str(error.message)) from error
        except connection.packages.auth_errors.GoogleAuthError as error:
            raise CallError(Trouble.CREDENTIALS, type(error).__name__) from error
        except TimeoutError as error:
            raise CallError(Trouble.UNCLEAR, "DEADLINE_EXCEEDED") from error
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            # Nobody cancelled this task: the channel was closed under the call.
            raise CallError(Trouble.UNCLEAR, "CANCELLED", "the connection was closed") from None


def _state_of(run: Any, execution: Any) -> RunState:
    """An execution has one task, so that one that ended in some way has the whole ended so."""
    conditions = {one.type_: one for one in execution.conditions}
    completed = conditions.get("Completed")
    states = run.Condition.State
    ended = completed is not None and completed.state in (states.CONDITION_SUCCEEDED, states.CONDITION_FAILED)
    if not execution.completion_time and not ended:
        return RunState.ACTIVE
    if execution.succeeded_count:
        return RunState.SUCCEEDED
    if execution.cancelled_count:
        return RunState.CANCELLED
    if execution.failed_count or completed is None:
        return RunState.FAILED
    if completed.state == states.CONDITION_SUCCEEDED:
        return RunState.SUCCEEDED
    reasons = run.Condition.ExecutionReason
    return RunState.CANCELLED if completed.execution_reason == reasons.CANCELLED else RunState.FAILED
