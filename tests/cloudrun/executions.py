"""An execution: its container, what became of it, and what the API says of it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from google.cloud import run_v2

from cloudrun.faults import Fault
from cloudrun.starters import Starter

__all__ = ("Execution",)


class Execution:
    """One execution with one task.

    Attributes:
        name: Its full name.
        overrides: The variables of the call that started it.
        exits: The exit codes of its containers so far.
        state: "waiting", "running", "succeeded", "failed" or "cancelled".
    """

    def __init__(
        self,
        name: str,
        overrides: Mapping[str, str],
        fault: Fault,
        *,
        starter: Starter,
        environment: Mapping[str, str],
        logs: Path,
        max_retries: int,
        timeout: float | None,
        grace: float,
    ) -> None:
        self.name = name
        self.overrides = dict(overrides)
        self.fault = fault
        self.exits: list[int] = []
        self.state = "waiting"
        self.timeout = timeout
        self._starter = starter
        self._environment = environment
        self._logs = logs
        self._max_retries = max_retries
        self._grace = grace
        self._pid: int | None = None
        self._cancelled = asyncio.Event()
        self._points: dict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self._released: dict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self._times = {"create_time": datetime.now(UTC)}
        self.ended = asyncio.Event()

    @property
    def short_name(self) -> str:
        return self.name.rpartition("/")[2]

    @property
    def job(self) -> str:
        return self.name.partition("/executions/")[0]

    @property
    def pid(self) -> int | None:
        """The process of the container that runs now."""
        return self._pid

    @property
    def log(self) -> str:
        """What all containers have written."""
        return "".join(path.read_text() for path in sorted(self._logs.glob(f"{self.short_name}-*.log")))

    async def run(self) -> None:
        """Run containers until one ends well, or all have ended badly, or somebody cancels."""
        try:
            if await self._may_start():
                await self._run_containers()
        finally:
            self.kill()
            if self.state in ("waiting", "running"):
                self.state = "cancelled"
            self._times["completion_time"] = datetime.now(UTC)
            self.ended.set()

    async def _may_start(self) -> bool:
        """Whether the container is to start; waits for that."""
        if self.fault.start == "never":
            await self._cancelled.wait()
        elif self.fault.start == "held":
            await self._first(self._released["start"].wait())
        elif self.fault.delay:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._cancelled.wait(), self.fault.delay)
        return not self._cancelled.is_set()

    async def _run_containers(self) -> None:
        for attempt in range(self._max_retries + 1):
            container = await self._starter.start(
                self._variables(attempt), self._logs / f"{self.short_name}-{attempt}.log"
            )
            self._pid, self.state = container.pid, "running"
            self._times.setdefault("start_time", datetime.now(UTC))
            self._points["start"].set()
            ending = asyncio.ensure_future(container.wait())
            await self._end_of(ending)
            self.kill()  # whatever else runs in the container
            self._pid = None
            self.exits.append(ending.result())
            if self._cancelled.is_set():
                self.state = "cancelled"
                return
            if self.exits[-1] == 0:
                self.state = "succeeded"
                return
        self.state = "failed"

    async def _end_of(self, ending: asyncio.Future[int]) -> None:
        """Wait for the end of a container, and bring it about where it is cancelled or takes too long."""
        cancelled = asyncio.ensure_future(self._cancelled.wait())
        try:
            await asyncio.wait({ending, cancelled}, timeout=self.timeout, return_when=asyncio.FIRST_COMPLETED)
            if not ending.done():
                self.signal(signal.SIGTERM)
                await asyncio.wait({ending}, timeout=self._grace)
            if not ending.done():
                self.kill()
            await asyncio.wait({ending})
        finally:
            cancelled.cancel()

    async def _first(self, waiting: Awaitable[Any]) -> None:
        """Wait for this, or the cancellation."""
        both = {asyncio.ensure_future(waiting), asyncio.ensure_future(self._cancelled.wait())}
        _, pending = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        for one in pending:
            one.cancel()

    def _variables(self, attempt: int) -> dict[str, str]:
        return {
            **self._environment,
            **self.overrides,
            "CLOUD_RUN_JOB": self.job.rpartition("/")[2],
            "CLOUD_RUN_EXECUTION": self.short_name,
            "CLOUD_RUN_TASK_INDEX": "0",
            "CLOUD_RUN_TASK_COUNT": "1",
            "CLOUD_RUN_TASK_ATTEMPT": str(attempt),
        }

    # What tests do to it

    def cancel(self) -> None:
        """Send SIGTERM, and SIGKILL after the grace."""
        self._cancelled.set()

    def stop(self) -> None:
        """End at once, whatever it is about to do."""
        self._grace = 0.0
        self._cancelled.set()
        self.kill()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the first process of the container."""
        if self._pid is not None:
            with suppress(ProcessLookupError):
                os.kill(self._pid, number)

    def kill(self) -> None:
        """Kill all processes of the container, without warning."""
        if self._pid is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._pid, signal.SIGKILL)

    async def migrate(self, meanwhile: Callable[[], Awaitable[object]]) -> None:
        """Freeze the container as Cloud Run does when it moves it to another machine; `meanwhile` is the pause.

        SIGTSTP comes first, and SIGSTOP when it was delivered: SIGCONT discards a SIGTSTP that still waits.
        """
        self.signal(signal.SIGTSTP)
        while self._pid is not None and _waits_for_delivery(self._pid, signal.SIGTSTP):  # noqa: ASYNC110  # no event tells of it
            await asyncio.sleep(0.01)
        self.signal(signal.SIGSTOP)
        try:
            await meanwhile()
        finally:
            self.signal(signal.SIGCONT)

    async def at(self, point: str) -> None:
        """The container has come to a point: wait until it may go on. One that is killed here never does."""
        self._points[point].set()
        if self.fault.kill_at == point:
            self.kill()
            await self.ended.wait()
        elif self.fault.hold_at == point:
            await self._released[point].wait()

    async def reached(self, point: str) -> None:
        """Wait until the container has come to this point: "start", or one that it reports."""
        await self._points[point].wait()

    def release(self, point: str) -> None:
        """Let the container go on from this point, now or when it comes there."""
        self._released[point].set()

    # What the API says of it

    def message(self) -> run_v2.Execution:
        """The execution as GetExecution returns it."""
        state = self.fault.says or self.state
        done = state in ("succeeded", "failed", "cancelled")
        times = {**self._times, **({"completion_time": datetime.now(UTC)} if done else {})}
        if not done:
            times.pop("completion_time", None)
        states, reasons = run_v2.Condition.State, run_v2.Condition.ExecutionReason
        condition = run_v2.Condition(type_="Completed", state=states.CONDITION_RECONCILING)
        if done:
            condition.state = states.CONDITION_SUCCEEDED if state == "succeeded" else states.CONDITION_FAILED
        if state in ("failed", "cancelled"):
            condition.execution_reason = (
                reasons.CANCELLED if state == "cancelled" else reasons.JOB_STATUS_SERVICE_POLLING_ERROR
            )
        variables = [run_v2.EnvVar(name=name, value=value) for name, value in self.overrides.items()]
        return run_v2.Execution(
            name=self.name,
            job=self.job.rpartition("/")[2],
            task_count=1,
            running_count=int(state == "running"),
            succeeded_count=int(state == "succeeded"),
            failed_count=int(state == "failed"),
            cancelled_count=int(state == "cancelled"),
            retried_count=max(0, len(self.exits) - 1),
            conditions=[condition],
            template=run_v2.TaskTemplate(containers=[run_v2.Container(env=variables)]),
            **times,
        )


def _waits_for_delivery(pid: int, number: signal.Signals) -> bool:
    """Whether the process has not got the signal yet; where /proc does not tell, it has."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return False
    pending = [int(line.split()[1], 16) for line in lines if line.startswith(("SigPnd:", "ShdPnd:"))]
    return any(mask >> (number - 1) & 1 for mask in pending)
