"""An event loop that stands still is reported, with the code that keeps it."""

from __future__ import annotations

import asyncio
import ctypes
import inspect
import logging
import re
import threading
from collections.abc import Iterator

import pytest
from apart_lab import apart_lab
from queue_lab import within
from waiting import DEADLINE

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("quick_backoffs")]
NAMES = re.compile(
    r"(?P<whose>task \S+ \(\w+\)|the application) has kept the event loop for .* at (?P<file>\S+):(?P<line>\d+):"
)


class Reports(logging.Handler):
    """What the watch logs, and an event that is set with each line of it."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.came = threading.Event()
        self.silences: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if "has kept the event loop" in text:
            self.lines.append(text)
            self.came.set()
        if "no thread of this process" in text:  # as also on a machine that is very slow
            self.silences.append(text)


@pytest.fixture
def reports() -> Iterator[Reports]:
    reports, logger = Reports(), logging.getLogger("litestar_queues.worker")
    logger.addHandler(reports)
    yield reports
    logger.removeHandler(reports)


def keep_the_loop(until: threading.Event) -> None:
    assert until.wait(DEADLINE / 10)  # whose innermost frame is Python's own, and nobody's to change


LINES = inspect.getsourcelines(keep_the_loop)
HERE = range(LINES[1], LINES[1] + len(LINES[0]))


def named(line: str) -> str:
    """Whom a report names; the place has to be that of the function above, or of its caller in this file."""
    found = NAMES.match(line)
    assert found is not None, line
    assert found["file"] == __file__
    assert int(found["line"]) in HERE
    assert "in keep_the_loop" in line, "the stack"
    return found["whose"]


async def test_a_blocking_task_is_named_with_file_and_line_and_told_once_the_loop_moves(reports: Reports) -> None:
    lab, _ = apart_lab(worker_blocked_after=0.05)
    told_before: list[object] = []

    @lab.task("compute")  # type: ignore[untyped-decorator]
    async def compute() -> None:
        keep_the_loop(reports.came)
        told_before.extend(lab.told("loop_blocked"))

    async with lab.service, lab.worker():
        result = await lab.service.enqueue(compute)
        await lab.until(lambda: lab.told("loop_blocked", result.id))
        await within(result.wait())
        assert named(reports.lines[0]) == f"task {result.id} (compute)"
        assert told_before == []
        assert lab.service.operations.counters["loop_blocked"] == 1
    assert len(reports.lines) == 1
    assert len(lab.told("loop_blocked")) == 1


async def test_an_asyncio_task_that_a_task_starts_is_its_own(reports: Reports) -> None:
    lab, _ = apart_lab(worker_blocked_after=0.05)

    @lab.task("gathers")  # type: ignore[untyped-decorator]
    async def gathers() -> None:
        async def one() -> None:
            keep_the_loop(reports.came)

        await asyncio.gather(asyncio.create_task(one()))

    async with lab.service, lab.worker():
        result = await lab.service.enqueue(gathers)
        await within(result.wait())
        await lab.until(lambda: lab.told("loop_blocked", result.id))
    assert named(reports.lines[0]) == f"task {result.id} (gathers)"


async def test_code_of_the_application_is_reported_and_counted(reports: Reports) -> None:
    lab, _ = apart_lab(worker_blocked_after=0.05)
    async with lab.service, lab.worker():
        await lab.until(lambda: lab.backend.of("claim"))
        keep_the_loop(reports.came)
        async with asyncio.timeout(DEADLINE):
            while not lab.service.operations.counters["loop_blocked"]:  # noqa: ASYNC110  # nothing tells of it
                await asyncio.sleep(0)
        assert lab.service.operations.counters["loop_blocked"] == 1
    assert named(reports.lines[0]) == "the application"
    assert lab.told("loop_blocked") == []


async def test_each_standstill_is_reported_once(reports: Reports) -> None:
    lab, second = apart_lab(worker_blocked_after=0.03)
    async with lab.service, lab.worker():
        for n in (1, 2):
            await lab.until(lambda: lab.backend.of("claim"))
            keep_the_loop(reports.came)
            second.block_for(5, "now")  # the watch looks several times more
            reports.came.clear()
            async with asyncio.timeout(DEADLINE):
                while lab.service.operations.counters["loop_blocked"] < n:  # noqa: ASYNC110  # nothing tells of it
                    await asyncio.sleep(0)
            assert len(reports.lines) == n


async def test_native_code_that_keeps_pythons_lock_is_reported_afterwards(reports: Reports) -> None:
    lab, second = apart_lab(worker_blocked_after=0.05, worker_heartbeat_interval=0.01, worker_stale_after=0.1)
    holding_the_lock = ctypes.PyDLL(None)

    @lab.task("native")  # type: ignore[untyped-decorator]
    async def native() -> None:
        holding_the_lock.usleep(300_000)

    async with lab.service, lab.worker():
        await lab.until(lambda: len(second.of("lock")) > 1)  # the thread runs, the watch included
        result = await lab.service.enqueue(native)
        await within(result.wait())
        # On a busy machine, others come before it, of shorter silences.
        await lab.until(lambda: any("others may have taken its tasks over" in line for line in reports.silences))


async def test_a_loop_that_moves_is_not_reported(reports: Reports) -> None:
    lab, second = apart_lab(worker_blocked_after=1)

    @lab.task("waits")  # type: ignore[untyped-decorator]
    async def waits() -> None:
        await lab.until(lambda: len(second.of("touch_heartbeats")) > 20)

    async with lab.service, lab.worker():
        await within((await lab.service.enqueue(waits)).wait())
        assert lab.service.operations.counters["loop_blocked"] == 0
    assert reports.lines == []
