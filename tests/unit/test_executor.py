from __future__ import annotations

import asyncio
import json
import logging
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from queue_lab import DEADLINE, within

from litestar_queues import (
    FixedBackoff,
    InvalidTaskError,
    NonRetryableError,
    QueueError,
    State,
    TaskContext,
    TaskRegistry,
    current_task,
    non_retryable,
    snooze,
)
from litestar_queues import task as task_decorator
from litestar_queues.clock import ManualClock
from litestar_queues.execution.executor import TaskExecutor, error_text
from litestar_queues.lifecycle import Claim, Complete, Event, Fail, Snooze, step
from litestar_queues.records import NewTask, TaskRecord, admit

pytestmark = pytest.mark.anyio
NOW = datetime(2030, 1, 1, tzinfo=UTC)
TEN_SECONDS = FixedBackoff(10)


class Bench:
    """An executor, and claimed tasks for it."""

    def __init__(self, threads: int = 2) -> None:
        self.registry, self.clock = TaskRegistry(), ManualClock(NOW)
        self.executor = TaskExecutor(self.registry, self.clock, threads=threads)

    def context(
        self, function: Callable[..., Any] | None, *args: Any, backoff: Any = TEN_SECONDS, **fields: Any
    ) -> TaskContext:
        texts = ("[]", "{}")
        if function is not None:
            made = task_decorator("job", backoff=backoff, registry=self.registry)(function)
            texts = made.signature.encode(args, {})
        new = NewTask(**{"id": "t1", "name": "job", "args": texts[0], "kwargs": texts[1], "max_attempts": 3, **fields})
        return TaskContext(step(admit(new, NOW), Claim("w"), NOW))

    async def run(self, function: Callable[..., Any] | None, *args: Any, **fields: Any) -> Event:
        return await within(self.executor.execute(self.context(function, *args, **fields)))


def error_of(event: Event) -> dict[str, Any]:
    assert isinstance(event, Fail)
    error: dict[str, Any] = json.loads(event.error)
    return error


@dataclass
class Point:
    x: int
    at: datetime


async def test_an_async_and_a_sync_function_complete_with_their_result() -> None:
    async def slow(point: Point, by: uuid.UUID) -> Point:
        return Point(point.x + by.int, point.at)

    def fast(point: Point, by: uuid.UUID) -> Point:
        return Point(point.x + by.int, point.at)

    expected = Complete('{"x":3,"at":"2030-01-01T00:00:00Z"}')
    for function in (slow, fast):
        assert await Bench().run(function, Point(1, NOW), uuid.UUID(int=2)) == expected


async def test_nothing_is_a_result() -> None:
    assert await Bench().run(lambda: None) == Complete("null")


class Unprintable(Exception):
    def __str__(self) -> str:
        raise ValueError("no text")


class Unshowable(Exception):
    def __str__(self) -> str:
        return 5  # type: ignore[return-value]  # noqa: PLE0307  # on purpose


class Odd(BaseException): ...


class Rude(BaseException):
    """No part of it can be read."""

    def __str__(self) -> str:
        raise SystemExit(9)

    __repr__ = __str__

    @property
    def __cause__(self) -> Any:  # type: ignore[override]
        raise KeyboardInterrupt


class RudeStop(StopIteration):
    def __str__(self) -> str:
        raise SystemExit(9)


class RudeRefusal(NonRetryableError):
    def __str__(self) -> str:
        raise SystemExit(9)


class Meta(type):
    def __getattribute__(cls, name: str) -> Any:
        if name == "__qualname__":
            raise KeyboardInterrupt
        return super().__getattribute__(name)


class Nameless(ValueError, metaclass=Meta): ...


def chained(count: int) -> BaseException:
    error: BaseException = ValueError("first")
    for number in range(count):
        error, error.__cause__ = ValueError(number), error
    return error


def circular() -> BaseException:
    one, two = ValueError(1), ValueError(2)
    one.__cause__, two.__cause__ = two, one
    return one


def nested(depth: int) -> BaseException:
    error: BaseException = ValueError("innermost")
    for _ in range(depth):
        error = BaseExceptionGroup("group", [error])
    return error


HOSTILE: dict[str, BaseException] = {
    "no text": Rude(),
    "no text of a StopIteration": RudeStop(),
    "no name": Nameless(),
    "a hundred thousand causes": chained(100_000),
    "a circle of causes": circular(),
    "a hundred thousand members": ExceptionGroup("wide", [ValueError(number) for number in range(100_000)]),
    "ten thousand groups in each other": nested(10_000),
}


@pytest.mark.parametrize("case", HOSTILE)
@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("attempts", [1, 3])
async def test_an_exception_that_cannot_be_read_is_a_failure_like_any_other(
    case: str, kind: str, attempts: int, caplog: pytest.LogCaptureFixture
) -> None:
    async def slow() -> None:
        raise HOSTILE[case]

    def fast() -> None:
        raise HOSTILE[case]

    event = await Bench().run(slow if kind == "async" else fast, max_attempts=attempts)
    assert isinstance(event, Fail)
    assert event.retry_at == (None if attempts == 1 else NOW + timedelta(seconds=10))
    assert set(error_of(event)) == {"type", "message", "traceback"}
    assert len(event.error) < 40_000
    assert ("more causes than are kept" in event.error) == ("thousand" in case)
    assert "task t1 (job) failed in" in caplog.text


async def test_a_refusal_to_retry_that_cannot_be_read_fails_for_good() -> None:
    def refuse() -> None:
        raise RudeRefusal

    event = await Bench().run(refuse)
    assert error_of(event)["type"] == "RudeRefusal"
    assert isinstance(event, Fail)
    assert event.retry_at is None


class RudeResult:
    def model_dump(self, mode: str) -> Any:
        raise KeyboardInterrupt(mode)


async def test_a_result_whose_own_code_raises_fails_the_task_for_good() -> None:
    async def make() -> Any:
        return RudeResult()

    event = await Bench().run(make)
    assert error_of(event)["type"] == "KeyboardInterrupt"
    assert isinstance(event, Fail)
    assert event.retry_at is None


async def test_whatever_goes_wrong_with_the_outcome_the_task_has_one(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt("a defect here")

    monkeypatch.setattr(TaskExecutor, "failure", broken)
    event = await Bench().run(broken)
    assert error_of(event)["message"] == "a defect here"
    assert isinstance(event, Fail)
    assert event.retry_at is not None
    assert "the outcome of task t1 (job) could not be made" in caplog.text


ERRORS = [
    KeyboardInterrupt("no key was pressed"), GeneratorExit(),
    ValueError("why"), SystemExit(0), SystemExit("bye"), Unprintable(), Unshowable(), StopIteration(1), TimeoutError("mine"),
    asyncio.CancelledError(), Odd("odd"), ValueError("a\x00b\ud800"), ValueError("x" * 1_000_000),
    ExceptionGroup("several", [ValueError("one"), Unprintable()]), KeyError("k"), RecursionError(),
]  # fmt: skip


@pytest.mark.parametrize("error", ERRORS, ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_whatever_a_task_raises_is_its_failure_and_is_retried(error: BaseException, kind: str) -> None:
    async def slow() -> None:
        raise error

    def fast() -> None:
        raise error

    event = await Bench().run(slow if kind == "async" else fast)
    told = error_of(event)
    assert isinstance(event, Fail)
    assert event.retry_at == NOW + timedelta(seconds=10)
    if not isinstance(error, StopIteration):
        assert told["type"] == type(error).__name__
    assert 0 < len(told["traceback"]) <= 17_000
    assert len(told["message"]) <= 4_000
    assert "\x00" not in event.error


async def test_the_last_attempt_fails_for_good_and_is_logged_with_its_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken() -> None:
        raise ValueError("why")

    event = await Bench().run(broken, max_attempts=1)
    assert isinstance(event, Fail)
    assert event.retry_at is None
    (line,) = caplog.records
    assert (line.levelno, line.getMessage()) == (logging.ERROR, "task t1 (job) failed in its last attempt (1)")
    assert line.exc_info is not None


async def test_a_failure_that_is_retried_is_a_warning_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> None:
        raise ValueError("why")

    await Bench().run(broken)
    (line,) = caplog.records
    assert line.levelno == logging.WARNING
    assert line.getMessage() == "task t1 (job) failed in attempt 1 of 3, the next one in 10.0 s: why"
    assert line.exc_info is None


class Raising:
    def delay(self, attempt: int) -> float:
        raise ZeroDivisionError


class Endless:
    def delay(self, attempt: int) -> float:
        return 1e300


class Nan:
    def delay(self, attempt: int) -> float:
        return float("nan")


class Leaving:
    def delay(self, attempt: int) -> float:
        raise SystemExit(attempt)


class Cancelling:
    def delay(self, attempt: int) -> float:
        raise asyncio.CancelledError


@pytest.mark.parametrize("backoff", [Raising(), Endless(), Nan(), Leaving(), Cancelling()])
async def test_a_backoff_that_makes_no_sense_is_replaced_by_the_usual_one(
    backoff: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> None:
        raise ValueError("why")

    event = await Bench().run(broken, backoff=backoff)
    assert isinstance(event, Fail)
    assert event.retry_at is not None
    assert 0.8 < (event.retry_at - NOW).total_seconds() < 1.2
    assert error_of(event)["message"] == "why"
    assert "the backoff of task t1 (job) failed" in caplog.text


async def test_a_snooze_asks_to_run_later() -> None:
    assert await Bench().run(lambda: snooze(30)) == Snooze(NOW + timedelta(seconds=30))
    assert await Bench().run(lambda: snooze(timedelta(hours=1))) == Snooze(NOW + timedelta(hours=1))

    async def guarded() -> None:
        try:
            snooze(30)
        except Exception:  # noqa: BLE001
            pytest.fail("swallowed")

    assert await Bench().run(guarded) == Snooze(NOW + timedelta(seconds=30))


@pytest.mark.parametrize("delay", [-1, timedelta(seconds=-1), 1e13, float("nan"), "5"])
async def test_a_snooze_that_makes_no_sense_fails_the_attempt(delay: Any) -> None:
    event = await Bench().run(lambda: snooze(delay))
    assert isinstance(event, Fail)
    assert event.retry_at is not None
    assert error_of(event)["type"] == "InvalidTaskError"


async def test_non_retryable_fails_for_good_whatever_the_budget() -> None:
    cause = ValueError("card refused")
    for reason in ("card refused", cause):
        event = await Bench().run(lambda reason=reason: non_retryable(reason), max_attempts=9)
        assert isinstance(event, Fail)
        assert event.retry_at is None
        assert error_of(event)["type"] == "NonRetryableError"
        assert "card refused" in error_of(event)["message"]
    with pytest.raises(NonRetryableError) as raised:
        non_retryable(cause)
    assert raised.value.__cause__ is cause


async def test_a_result_that_cannot_be_stored_fails_for_good_with_the_reason() -> None:
    for result, words in ((object(), "have no JSON form"), (float("nan"), "NaN"), ("\x00", "NUL")):
        event = await Bench().run(lambda result=result: result)
        assert isinstance(event, Fail)
        assert event.retry_at is None
        assert error_of(event)["type"] == "EncodingError"
        assert error_of(event)["message"].startswith("the result of task 'job'")
        assert words in error_of(event)["message"]


async def test_an_unknown_task_fails_for_good_by_its_name() -> None:
    event = await Bench().run(None)
    assert isinstance(event, Fail)
    assert event.retry_at is None
    assert error_of(event)["type"] == "UnknownTaskError"
    assert "no task named 'job' is registered" in error_of(event)["message"]


async def test_stored_arguments_that_fit_no_more_fail_for_good() -> None:
    bench = Bench()
    context = bench.context(lambda a: a, 1)
    bench.registry = TaskRegistry()
    task_decorator("job", registry=bench.registry)(lambda a, b: a)
    event = await TaskExecutor(bench.registry, bench.clock, threads=1).execute(context)
    assert isinstance(event, Fail)
    assert event.retry_at is None
    assert error_of(event)["type"] == "TaskArgumentError"
    assert "the stored arguments do not fit task 'job' any more: missing" in error_of(event)["message"]


async def test_an_async_task_that_takes_too_long_is_interrupted_and_retried() -> None:
    bench, interrupted = Bench(), asyncio.Event()

    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            interrupted.set()
            raise

    context = bench.context(hang, timeout=0.01)
    event = await within(bench.executor.execute(context))
    assert isinstance(event, Fail)
    assert event.retry_at is not None
    assert error_of(event)["type"] == "TimeoutError"
    assert error_of(event)["message"] == "attempt 1 took longer than its timeout of 0.01 s"
    assert interrupted.is_set()
    assert context.cancelled


async def test_a_sync_task_that_takes_too_long_is_abandoned_is_told_and_keeps_its_thread() -> None:
    bench, told, go = Bench(threads=1), threading.Event(), threading.Event()

    def hang() -> None:
        assert go.wait(DEADLINE)
        if current_task().cancelled:
            told.set()

    event = await bench.run(hang, timeout=0.01)
    assert error_of(event)["type"] == "TimeoutError"
    task_decorator("next", registry=bench.registry)(lambda: 5)
    waiting = asyncio.ensure_future(bench.run(None, name="next"))
    await asyncio.sleep(0)
    assert not waiting.done()
    go.set()
    assert await within(waiting) == Complete("5")
    assert told.is_set()


async def test_a_timeout_error_of_the_task_is_its_own() -> None:
    async def impatient() -> None:
        async with asyncio.timeout(0):
            await asyncio.Event().wait()

    told = error_of(await Bench().run(impatient, timeout=60))
    assert (told["type"], "took longer than its timeout" in told["message"]) == ("TimeoutError", False)


async def test_a_task_in_time_has_its_result_and_leaves_no_timer() -> None:
    async def quick() -> int:
        return 5

    assert await Bench().run(quick, timeout=60) == Complete("5")
    assert await Bench().run(lambda: 6, timeout=60) == Complete("6")


async def test_whoever_cancels_the_run_takes_its_outcome_over() -> None:
    bench, begun = Bench(), asyncio.Event()

    async def hang() -> None:
        begun.set()
        await asyncio.Event().wait()

    run = asyncio.ensure_future(bench.executor.execute(bench.context(hang)))
    await within(begun.wait())
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run


async def test_a_task_that_swallows_its_cancellation_completes() -> None:
    bench, begun = Bench(), asyncio.Event()

    async def stubborn() -> str:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "still here"
        return "never"

    run = asyncio.ensure_future(bench.executor.execute(bench.context(stubborn)))
    await within(begun.wait())
    run.cancel()
    assert await within(run) == Complete('"still here"')


async def test_the_context_of_a_task_is_its_own() -> None:
    seen: list[TaskContext] = []

    async def look() -> None:
        seen.append(current_task())

    def look_in_thread() -> None:
        seen.append(current_task())

    contexts = []
    for function in (look, look_in_thread):
        bench = Bench()
        contexts.append(bench.context(function, metadata='{"a":1}', queue="q"))
        await bench.executor.execute(contexts[-1])
    assert [id(one) for one in seen] == [id(one) for one in contexts]
    context = contexts[0]
    assert (context.id, context.name, context.queue, context.attempt, context.max_attempts) == ("t1", "job", "q", 1, 3)
    assert (context.metadata, context.is_last_attempt, context.cancelled) == ({"a": 1}, False, False)
    with pytest.raises(QueueError, match=r"no task runs here: current_task\(\) is for code that a worker runs"):
        current_task()


def test_progress_is_kept_for_the_next_heartbeat() -> None:
    context = Bench().context(lambda: None)
    assert context.latest_progress is None
    context.progress(0.5, "half")
    assert json.loads(context.latest_progress or "") == {"done": 0.5, "message": "half"}
    for wrong in (-0.1, 1.1, float("nan")):
        with pytest.raises(InvalidTaskError, match="progress lies between 0 and 1"):
            context.progress(wrong)


def test_an_error_without_a_cause_is_text_all_the_same() -> None:
    assert json.loads(error_text(None))["type"] == "Unknown"


async def test_a_sync_task_can_call_an_async_function_in_the_loop() -> None:
    loop_thread = threading.get_ident()

    async def where(n: int) -> tuple[int, int]:
        return n, threading.get_ident()

    def outside() -> bool:
        return current_task().run_async(where, 5) == (5, loop_thread)

    async def inside() -> None:
        current_task().run_async(where, 5)

    assert await Bench().run(outside) == Complete("true")
    assert "await the function instead" in error_of(await Bench().run(inside))["message"]


def test_a_task_that_was_never_claimed_has_no_attempt() -> None:
    record: TaskRecord = admit(NewTask(id="t1", name="n"), NOW)
    assert (record.state, record.attempt) == (State.PENDING, 0)
