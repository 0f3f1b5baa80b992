"""What `perform` and `perform_sync` promise unit tests of tasks."""

from __future__ import annotations

import asyncio
import threading
import uuid
from contextvars import ContextVar
from datetime import timedelta
from typing import Any

import pytest

from litestar_queues import (
    EncodingError,
    InvalidTaskError,
    NonRetryableError,
    Progress,
    QueueError,
    TaskArgumentError,
    TaskRegistry,
    current_task,
    non_retryable,
    snooze,
    task,
)
from litestar_queues.testing import perform, perform_sync

registry = TaskRegistry()
SEEN: ContextVar[str] = ContextVar("seen", default="nothing")


@task("double", registry=registry)
async def double(number: int) -> int:
    return 2 * number


@task("resize", retries=2, registry=registry)
def resize(image: uuid.UUID, attempt: str = "") -> str:
    context = current_task()
    context.progress(0.5, f"{type(image).__name__} in {threading.current_thread().name}")
    return f"{attempt}{context.attempt} of {context.max_attempts}: {dict(context.metadata)}"


@task("fail", retries=1, registry=registry)
async def fail(kind: str) -> Any:
    current_task().progress(0.2)
    if kind == "final":
        non_retryable("no such image")
    if kind == "snooze":
        snooze(timedelta(minutes=5))
    if kind == "unstorable":
        return object()
    raise {"exit": SystemExit(3), "cancel": asyncio.CancelledError()}.get(kind, ValueError(kind))


@task("lie", registry=registry)
async def lie() -> int:
    return "no number"  # type: ignore[return-value]


@task("slow", timeout=0.01, registry=registry)
async def slow() -> None:
    await asyncio.Event().wait()


@task("nested", registry=registry)
def nested() -> int:
    SEEN.set("nested")
    return current_task().run_async(perform, double, 4).value


@pytest.mark.anyio
async def test_a_task_runs_in_a_context_of_its_own_and_returns_its_value() -> None:
    done = await perform(double, 4)
    assert (done.value, done.error, done.snoozed, done.progress, done.would_retry) == (8, None, None, None, False)
    with pytest.raises(QueueError, match="no task runs here"):
        current_task()


@pytest.mark.anyio
async def test_a_task_may_call_others_through_its_context_and_leaves_nothing_behind() -> None:
    assert (await perform(nested)).value == 8
    assert SEEN.get() == "nothing"


def test_a_sync_test_performs_sync_and_async_tasks() -> None:
    done = perform_sync(resize.using(metadata={"by": "ada"}), uuid.UUID(int=7), attempt="argument, ")
    assert done.value == "argument, 1 of 3: {'by': 'ada'}"
    assert done.progress == Progress(0.5, "UUID in litestar-queues-task")
    assert done.context.metadata == {"by": "ada"}
    assert perform_sync(double, 4).value == 8


def test_the_number_of_the_attempt_is_an_option_of_a_call_and_no_argument() -> None:
    call = resize.using(retries=4).call(uuid.UUID(int=7))
    assert perform_sync(call, attempt=3).value == "3 of 5: {}"
    with pytest.raises(InvalidTaskError, match="has no attempt 6, but 5"):
        perform_sync(call, attempt=6)
    with pytest.raises(TaskArgumentError, match="takes attempt= and raises= with it"):
        perform_sync(call, 7)  # type: ignore[call-overload]
    with pytest.raises(TaskArgumentError, match="perform takes a task"):
        perform_sync(print)  # type: ignore[call-overload]


def test_what_the_function_raises_is_raised_or_kept() -> None:
    with pytest.raises(ValueError, match="broken"):
        perform_sync(fail, "broken")
    done = perform_sync(fail.call("broken"), raises=False)
    assert isinstance(done.error, ValueError)
    assert (done.would_retry, done.progress) == (True, Progress(0.2))
    assert not perform_sync(fail.call("broken"), attempt=2, raises=False).would_retry
    with pytest.raises(ValueError, match="broken"):
        _ = done.value


@pytest.mark.parametrize(
    ("kind", "error"),
    [("final", NonRetryableError), ("unstorable", EncodingError), ("exit", SystemExit), ("cancel", QueueError)],
)
def test_ends_of_other_kinds_are_told_apart(kind: str, error: type[BaseException]) -> None:
    with pytest.raises(error):
        perform_sync(fail, kind)
    done = perform_sync(fail.call(kind), raises=False)
    assert done.would_retry is (kind in ("exit", "cancel"))


def test_a_snooze_is_no_error_and_no_value() -> None:
    done = perform_sync(fail, "snooze")
    assert (done.snoozed, done.error) == (timedelta(minutes=5), None)
    with pytest.raises(QueueError, match="'fail' returned nothing: it snoozed for 0:05:00"):
        _ = done.value


def test_a_value_that_does_not_fit_its_annotation_is_an_error() -> None:
    with pytest.raises(EncodingError, match="does not fit the return annotation"):
        _ = perform_sync(lie).value


def test_the_timeout_of_a_task_holds() -> None:
    with pytest.raises(TimeoutError, match="attempt 1 took longer than its timeout"):
        perform_sync(slow)


def test_arguments_that_no_worker_could_read_are_refused() -> None:
    with pytest.raises(TaskArgumentError, match="Expected `int`"):
        perform_sync(double, "4")  # type: ignore[arg-type]


@pytest.mark.anyio
async def test_a_cancelled_performance_stops_the_task() -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    @task("hang", registry=TaskRegistry())
    async def hang() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    running = asyncio.ensure_future(perform(hang))
    await begun.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert ended.is_set()


@pytest.mark.anyio
async def test_the_sync_form_refuses_to_run_inside_a_loop() -> None:
    with pytest.raises(QueueError, match=r"use `await perform"):
        perform_sync(double, 4)
