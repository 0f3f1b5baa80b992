"""An execution backend for litestar-queues: each task runs in a process of its own, on this machine.

A task that crashes, leaks or hangs takes nothing else with it. Linux keeps its limits: no code of the task can ignore them.
This file is the launcher of these processes, too: it sets the limits, and becomes `litestar queues run-task`.
"""

from __future__ import annotations

import asyncio
import math
import os
import resource
import signal
import socket
import sys
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from litestar_queues import InvalidTaskError, TaskRecord
from litestar_queues.execution.base import Failed, Outlook, RunState, Started

HOST = socket.gethostname()


class SubprocessExecution:
    """Starts `litestar queues run-task` for each task, with the application of the worker.

    Args:
        processes: The most processes of one worker at once.
        memory: The most bytes of memory that one process may reserve; None: no limit.
        grace: Seconds after a task's `timeout` until Linux kills its process. The start of the process counts, too. A process
            that is cancelled has as many seconds to end by itself.
    """

    name = "subprocess"
    is_remote = True
    fallback: str | None = None

    def __init__(self, *, processes: int = 4, memory: int | None = None, grace: float = 30.0) -> None:
        self._processes = processes
        self._memory = memory
        self._grace = grace
        self._running: dict[int, str] = {}
        self._ended: dict[str, RunState] = {}

    async def open(self) -> None:
        """Nothing is needed before the first process."""

    async def close(self) -> None:
        """Leave the processes alone: they hold tasks, and end by themselves."""

    def check_profile(self, profile: str | None) -> None:
        """Refuse every profile: all tasks have the same limits."""
        if profile is not None:
            raise InvalidTaskError(
                f"the execution backend 'subprocess' has no profiles, and the task asks for {profile!r}"
            )

    async def dispatch(self, tasks: Sequence[TaskRecord]) -> list[Started | Failed]:
        """Start a process for each task, as long as there is room."""
        return [self._start(task) for task in tasks]

    def _start(self, task: TaskRecord) -> Started | Failed:
        self._reap()
        if len(self._running) >= self._processes:
            return Failed(f"{self._processes} processes run already", Outlook.FOR_NOW)
        timeout = 0 if task.timeout is None else math.ceil(task.timeout + self._grace)
        arguments = [sys.executable, __file__, task.id, str(task.fence), str(self._memory or 0), str(timeout)]
        try:
            # In a session of its own: a signal for the group of the worker is not for its tasks.
            pid = os.posix_spawn(sys.executable, arguments, os.environ, setsid=True)
        except OSError as error:
            return Failed(f"no process could be started: {error}", Outlook.FOR_NOW)
        ref = reference(pid)
        if ref is None:  # it has ended and was collected by somebody else
            return Failed("the process ended at once", Outlook.UNCLEAR)
        self._running[pid] = ref
        return Started(ref)

    async def status(self, refs: Collection[str]) -> Mapping[str, RunState]:
        """What is known of runs on this machine; those of other machines are left out, and so count as active."""
        self._reap()
        return {ref: self._state(ref) for ref in refs if ref.startswith(f"{HOST}:")}

    def _state(self, ref: str) -> RunState:
        if (ended := self._ended.get(ref)) is not None:
            return ended
        return RunState.ACTIVE if runs(ref) else RunState.VANISHED

    async def cancel(self, ref: str) -> None:
        """Have a run end: SIGTERM gives it time to clean up, and SIGKILL follows for it and all that it started."""
        pid = pid_of(ref)
        for number, seconds in ((signal.SIGTERM, self._grace), (signal.SIGKILL, 1.0)):
            if pid is None or not runs(ref):
                return
            with suppress(ProcessLookupError):
                os.killpg(pid, number)
            await self._until_ended(ref, seconds)

    async def _until_ended(self, ref: str, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while runs(ref):  # noqa: ASYNC110  # nobody tells the end of a process that is not ours
                    await asyncio.sleep(0.05)

    def _reap(self) -> None:
        """Note which of our processes have ended, and collect them."""
        for pid, ref in list(self._running.items()):
            try:
                ended, status = os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:  # somebody else has collected it
                del self._running[pid]
                continue
            if ended:
                del self._running[pid]
                self._ended[ref] = RunState.FAILED if os.waitstatus_to_exitcode(status) else RunState.SUCCEEDED
        for ref in list(self._ended)[:-1000]:  # an older one counts as vanished
            del self._ended[ref]


def reference(pid: int) -> str | None:
    """The whole name of a process; None where there is none, or it has ended. Its start tells it from a later one."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    state, *fields = text.rpartition(")")[2].split()
    return None if state in "ZX" else f"{HOST}:{pid}:{fields[18]}"


def pid_of(ref: str) -> int | None:
    """The number of a process of this machine; None for another machine's."""
    host, pid, _ = ref.rsplit(":", 2)
    return int(pid) if host == HOST else None


def runs(ref: str) -> bool:
    """Whether the process runs, on this machine."""
    pid = pid_of(ref)
    return pid is not None and reference(pid) == ref


def launch(task_id: str, fence: str, memory: str, seconds: str) -> None:
    """Set the limits of this process, and become `litestar queues run-task`. Limits, number and start stay the same."""
    if limit := int(memory):
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    signal.alarm(int(seconds))  # Linux ends the process then; 0 is never
    ref = reference(os.getpid()) or ""
    command = ["-m", "litestar", "queues", "run-task", task_id, "--fence", fence, "--execution-ref", ref]
    os.execv(sys.executable, [sys.executable, *command])  # noqa: S606


if __name__ == "__main__":
    launch(*sys.argv[1:])
