"""The server: Google's protocol by a generic handler over its own messages, and a socket for containers."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import grpc
import grpc.aio
from cloudrun_hooks import SOCKET
from google.cloud import run_v2
from google.longrunning import operations_pb2

from cloudrun.executions import Execution
from cloudrun.faults import Fault, Plan
from cloudrun.starters import ProcessStarter, Starter

__all__ = ("CloudRun",)

_JOBS = "/google.cloud.run.v2.Jobs/"
_EXECUTIONS = "/google.cloud.run.v2.Executions/"
_TESTS = Path(__file__).parents[1]


class CloudRun:
    """A context manager: serves from `async with` to its end, at which it kills every container that is left.

    Args:
        command: What the container of every job runs; nothing, which ends well, unless given.
        starter: Starts containers otherwise than by a command.
        environment: The variables of the jobs. The containers get these, PATH, PYTHONPATH and HOME, and what Cloud Run
            gives, and nothing else of this process.
        jobs: The full or short names of the jobs that exist; None means that every job does.
        max_retries: How often a container is started again after an exit code that is not 0.
        grace: Seconds between SIGTERM and SIGKILL.
        port: Where to listen; 0 for any free one.
    """

    def __init__(
        self,
        command: Sequence[str] = (sys.executable, "-c", ""),
        *,
        starter: Starter | None = None,
        environment: Mapping[str, str] | None = None,
        jobs: Sequence[str] | None = None,
        max_retries: int = 0,
        grace: float = 10.0,
        port: int = 0,
    ) -> None:
        self.plan = Plan()
        self.refuse: str | None = None
        """The status with which every call is refused, whatever it is."""
        self.refuse_reads: str | None = None
        """The status with which every GetExecution is refused."""
        self.refuse_cancels: str | None = None
        self.executions: dict[str, Execution] = {}
        self.calls: Counter[str] = Counter()
        self.metadata: list[dict[str, str]] = []
        """The headers of every call of RunJob, by which a drill knows who called."""
        self.requests: list[run_v2.RunJobRequest] = []
        self.replies = asyncio.Event()
        """Lets replies go that are held."""
        self.under_way, self.most_under_way = 0, 0
        self._starter = starter or ProcessStarter(command)
        self._jobs = None if jobs is None else {job.rpartition("/")[2] for job in jobs}
        self._max_retries = max_retries
        self._grace = grace
        self._port = port
        self._given = dict(environment or {})
        self._folder = Path()
        self._server: grpc.aio.Server | None = None
        self._hooks: asyncio.Server | None = None
        self._every: list[Execution] = []
        self._running: dict[str, asyncio.Task[None]] = {}
        self._waiters: list[tuple[int, asyncio.Event]] = []

    async def __aenter__(self) -> Self:
        self._folder = Path(tempfile.mkdtemp(prefix="cloudrun-"))
        self._hooks = await asyncio.start_unix_server(self._hook, self._folder / "hooks", backlog=1000)
        await self.come_back()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.go_away()
        for execution in self._every:
            execution.stop()
        await asyncio.gather(*self._running.values(), return_exceptions=True)
        await self._starter.close()
        if self._hooks is not None:
            self._hooks.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._port}"

    def channel(self) -> grpc.aio.Channel:
        """A channel to this server: what `CloudRunExecutionConfig(channel_factory=...)` takes."""
        return grpc.aio.insecure_channel(self.address, options=[("grpc.max_reconnect_backoff_ms", 200)])

    # What tests do

    async def go_away(self) -> None:
        """Stop serving, in the middle of what is under way. Containers go on."""
        server, self._server = self._server, None
        if server is not None:
            await server.stop(None)

    async def come_back(self) -> None:
        """Serve again, at the same address."""
        self._server = grpc.aio.server()
        self._server.add_generic_rpc_handlers([_Handler(self)])
        self._port = self._server.add_insecure_port(f"127.0.0.1:{self._port}")
        await self._server.start()

    def execution(self, ref: str) -> Execution:
        """The execution with this full or short name."""
        return next(one for one in self.executions.values() if ref in (one.name, one.short_name))

    def forget(self, ref: str) -> None:
        """Know nothing of an execution any more, as after its deletion. Its container goes on."""
        self.executions.pop(ref)

    async def started(self, count: int) -> list[Execution]:
        """Wait until so many executions were started; returns all."""
        event = asyncio.Event()
        self._waiters.append((count, event))
        self._note()
        await event.wait()
        return list(self.executions.values())

    async def all_ended(self) -> None:
        """Wait for the end of every execution that was started."""
        while running := [one for one in self._running.values() if not one.done()]:
            await asyncio.wait(running)

    # Google's methods

    async def run_job(self, request: run_v2.RunJobRequest, context: Any) -> operations_pb2.Operation:
        self.metadata.append({str(name): str(value) for name, value in context.invocation_metadata()})
        self.requests.append(request)
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            fault = self.plan.take()
            if fault.refuse is not None:
                await _abort(context, fault.refuse)
            if self._jobs is not None and request.name.rpartition("/")[2] not in self._jobs:
                await _abort(context, "NOT_FOUND", "such a resource of the kind JOB does not exist")
            execution = self._start(request, fault)
            if fault.reply == "lost":
                await asyncio.Event().wait()
            if fault.reply == "held":
                await self.replies.wait()
            if fault.reply == "unavailable":
                await _abort(context, "UNAVAILABLE")
            operation = operations_pb2.Operation(name=f"operations/{execution.short_name}")
            if fault.reply != "nameless":
                operation.metadata.Pack(run_v2.Execution.pb(execution.message()))
            return operation
        finally:
            self.under_way -= 1

    async def get_execution(self, request: run_v2.GetExecutionRequest, context: Any) -> run_v2.Execution:
        await self._refuse(self.refuse_reads, context)
        return (await self._known(request.name, context)).message()

    async def cancel_execution(self, request: run_v2.CancelExecutionRequest, context: Any) -> operations_pb2.Operation:
        await self._refuse(self.refuse_cancels, context)
        execution = await self._known(request.name, context)
        if execution.ended.is_set():
            await _abort(context, "FAILED_PRECONDITION", "the execution has completed")
        execution.cancel()
        operation = operations_pb2.Operation(name=f"operations/cancel-{execution.short_name}")
        operation.metadata.Pack(run_v2.Execution.pb(execution.message()))
        return operation

    async def list_executions(
        self, request: run_v2.ListExecutionsRequest, context: Any
    ) -> run_v2.ListExecutionsResponse:
        await self._refuse(self.refuse_reads, context)
        found = [one.message() for one in self.executions.values() if one.job == request.parent]
        return run_v2.ListExecutionsResponse(executions=found)

    async def _known(self, name: str, context: Any) -> Execution:
        execution = self.executions.get(name)
        if execution is None or execution.fault.says == "missing":
            await _abort(context, "NOT_FOUND", "such a resource of the kind EXECUTION does not exist")
        assert execution is not None
        return execution

    async def _refuse(self, status: str | None, context: Any) -> None:
        if status is not None:
            await _abort(context, status)

    def _start(self, request: run_v2.RunJobRequest, fault: Fault) -> Execution:
        overrides = {one.name: one.value for each in request.overrides.container_overrides for one in each.env}
        timeout = request.overrides.timeout
        name = f"{request.name}/executions/{request.name.rpartition('/')[2]}-{len(self._running):05}"
        execution = Execution(
            name,
            overrides,
            fault,
            starter=self._starter,
            environment=self._environment(),
            logs=self._folder,
            max_retries=self._max_retries,
            timeout=timeout.total_seconds() if timeout else None,
            grace=self._grace,
        )
        self.executions[name] = execution
        self._every.append(execution)
        self._running[name] = asyncio.get_running_loop().create_task(execution.run())
        self._note()
        return execution

    def _environment(self) -> dict[str, str]:
        own = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        path = os.pathsep.join([str(_TESTS), os.environ.get("PYTHONPATH", "")]).strip(os.pathsep)
        return {**own, "PYTHONPATH": path, SOCKET: str(self._folder / "hooks"), **self._given}

    def _note(self) -> None:
        for count, event in self._waiters:
            if len(self._running) >= count:
                event.set()

    async def _hook(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            said = json.loads(await reader.readline())
            await self.execution(said["execution"]).at(said["point"])
            writer.write(b"go\n")
            await writer.drain()
        except (ConnectionError, ValueError, StopIteration, asyncio.CancelledError):
            pass
        finally:
            writer.close()


class _Handler(grpc.GenericRpcHandler):
    """Leads Google's methods to the server's."""

    def __init__(self, cloud: CloudRun) -> None:
        operation = operations_pb2.Operation.SerializeToString
        self._cloud = cloud
        self._methods: dict[str, tuple[Callable[[Any, Any], Awaitable[Any]], Any, Any]] = {
            f"{_JOBS}RunJob": (cloud.run_job, run_v2.RunJobRequest, operation),
            f"{_EXECUTIONS}GetExecution": (
                cloud.get_execution, run_v2.GetExecutionRequest, run_v2.Execution.serialize,
            ),
            f"{_EXECUTIONS}ListExecutions": (
                cloud.list_executions, run_v2.ListExecutionsRequest, run_v2.ListExecutionsResponse.serialize,
            ),
            f"{_EXECUTIONS}CancelExecution": (cloud.cancel_execution, run_v2.CancelExecutionRequest, operation),
        }  # fmt: skip

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        path = handler_call_details.method
        if path not in self._methods:
            return None
        method, request, serialize = self._methods[path]
        name = path.rpartition("/")[2]

        async def call(message: Any, context: Any) -> Any:
            self._cloud.calls[name] += 1
            if self._cloud.refuse is not None:
                await _abort(context, self._cloud.refuse)
            return await method(message, context)

        return grpc.unary_unary_rpc_method_handler(call, request.deserialize, serialize)


async def _abort(context: Any, status: str, text: str = "as the test has it") -> None:
    await context.abort(grpc.StatusCode[status], text)
