"""What mutants of the heart showed to be untested: how often it beats, and what it says."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from queue_lab import within

from litestar_queues.context import TaskContext
from litestar_queues.errors import BackendUnavailableError
from litestar_queues.records import Held, NewTask, admit
from litestar_queues.worker import heart as module
from litestar_queues.worker.heart import Heart
from litestar_queues.worker.holding import Holding

pytestmark = pytest.mark.anyio
LOG = "litestar_queues.worker"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The heart's own clock, which stands still until a test moves it."""
    clock = SimpleNamespace(at=1000.0)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock.at))
    return clock


def holding(id_: str = "a") -> Holding:
    record = admit(NewTask(id=id_, name="task"), datetime(2026, 1, 1, tzinfo=UTC))
    return Holding(TaskContext(record))


def make_heart(
    touch: Callable[[Sequence[Held]], Awaitable[set[str]]], held: Sequence[Holding], **options: Any
) -> Heart:
    options = {"interval": 10.0, "stale_after": 30.0, **options}
    return Heart(touch, lambda: held, lambda lost: None, **options)


async def kept(held: Sequence[Held]) -> set[str]:
    return {one.id for one in held}


async def away(_: Sequence[Held]) -> set[str]:
    raise BackendUnavailableError("on purpose")


async def test_it_beats_once_in_an_interval(clock: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    beats: list[float] = []

    async def touch(held: Sequence[Held]) -> set[str]:
        beats.append(clock.at)
        clock.at += 1  # it takes a while
        return await kept(held)

    async def sleep(seconds: float) -> None:
        clock.at += seconds
        if len(beats) == 4:
            raise asyncio.CancelledError

    monkeypatch.setattr(asyncio, "sleep", sleep)
    with pytest.raises(asyncio.CancelledError):
        await make_heart(touch, [holding()]).run()
    assert beats == [1010, 1020, 1030, 1040]


async def test_an_outage_is_said_once_as_a_warning_and_without_a_traceback(
    clock: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    heart = make_heart(away, [holding()])
    with caplog.at_level(logging.INFO, LOG):
        assert not await heart.beat()
        assert not await heart.beat()
    assert [(one.levelname, one.exc_info) for one in caplog.records] == [("WARNING", None), ("INFO", None)]


async def test_how_long_an_outage_took_counts_from_its_first_beat(
    clock: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    answers = [away, away, kept]

    async def touch(held: Sequence[Held]) -> set[str]:
        return await answers.pop(0)(held)

    heart = make_heart(touch, [holding()])
    with caplog.at_level(logging.WARNING, LOG):
        for _ in range(3):
            await heart.beat()
            clock.at += 5
    assert "heartbeats are stored again, after 10.0 s" in caplog.text


async def test_where_nothing_is_held_no_beat_was_stored_again(caplog: pytest.LogCaptureFixture) -> None:
    held = [holding()]
    heart = make_heart(away, held)
    await heart.beat()
    held.clear()
    with caplog.at_level(logging.INFO, LOG):
        caplog.clear()
        assert await heart.beat()
    assert not heart.is_silent
    assert caplog.messages == []


async def test_a_beat_that_is_stored_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, LOG):
        assert await make_heart(kept, [holding()]).beat()
    assert caplog.messages == []


@pytest.mark.parametrize("error", [OSError, asyncio.CancelledError])
async def test_a_call_that_ends_after_nobody_waits_any_more_disturbs_nobody(
    error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger(LOG), "disabled", True)  # what is logged would keep the call
    complaints: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, complaint: complaints.append(complaint))
    ended = asyncio.Event()

    async def touch(_: Sequence[Held]) -> set[str]:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise error("on purpose") from None
        finally:
            ended.set()
        return set()

    assert not await make_heart(touch, [holding()], stale_after=0.003).beat()
    await within(ended.wait())
    await asyncio.sleep(0)  # for the callbacks of the call
    await asyncio.sleep(0)
    gc.collect()
    loop.set_exception_handler(None)
    assert complaints == []
