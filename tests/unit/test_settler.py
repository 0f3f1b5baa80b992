"""Outcomes and a store that does not take them: none is thrown away, and none holds up another."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from typing import Any

import pytest
from queue_lab import within

from litestar_queues.backends.memory import MemoryBackend
from litestar_queues.clock import SystemClock
from litestar_queues.context import TaskContext
from litestar_queues.errors import BackendError, BackendUnavailableError, RefusedError, TooLargeError
from litestar_queues.lifecycle import Complete, Fail, State
from litestar_queues.operations import OUTCOMES_WAITING, QueueOperations
from litestar_queues.pauses import Backoffs, Pause
from litestar_queues.records import Held, NewTask, Stale, TaskRecord, Want
from litestar_queues.worker import settler as settler_module
from litestar_queues.worker.holding import Holding
from litestar_queues.worker.settler import Settler
from litestar_queues.worker.waiting import Waiting, WaitingLog

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("quick_backoffs")]

Mood = Callable[[Sequence[TaskRecord]], BaseException | None]
MIB = 1 << 20


def content(_: Sequence[TaskRecord]) -> None: ...


class Moody(MemoryBackend):
    """A memory backend that refuses writes as it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.mood: Mood = content
        self.locks: dict[str, asyncio.Event] = {}
        """Ids of tasks whose writes wait, each with what lets it go."""
        self.beats_refused: Exception | None = None
        self.most_progress = 10 * MIB
        self.tries: list[list[str]] = []
        self.stir = asyncio.Event()

    async def commit(self, tasks: Sequence[TaskRecord], *, stale: Stale | None = None) -> set[str]:
        self.tries.append([task.id for task in tasks])
        self.stir.set()
        await asyncio.sleep(0)
        for task in tasks:
            if task.id in self.locks:
                await self.locks[task.id].wait()
        if (error := self.mood(tasks)) is not None:
            raise error
        return await super().commit(tasks, stale=stale)

    async def touch_heartbeats(self, held: Sequence[Held], *, now: datetime | None = None) -> set[str]:
        if self.beats_refused is not None:
            raise self.beats_refused
        for one in held:
            if len(one.progress or "") > self.most_progress:
                raise TooLargeError("too large", size=20, limit=10, task_id=one.id)
        return await super().touch_heartbeats(held, now=now)


class Stage:
    """A settler on a moody store, with tasks that it holds."""

    def __init__(self, batch_size: int = 100) -> None:
        self.store = Moody()
        self.operations = QueueOperations(self.store, SystemClock())
        self.settled: list[str] = []
        self.settler = Settler(self.operations, self.on_settled, delay=0.0, batch_size=batch_size)
        self.holdings: dict[str, Holding] = {}

    def on_settled(self, holding: Holding) -> None:
        self.settled.append(holding.record.id)
        self.store.stir.set()

    async def claim(self, count: int) -> list[str]:
        have = len(self.holdings)
        ids = [f"t{have + number}" for number in range(count)]
        await self.store.enqueue_many([NewTask(id=id_, name="n") for id_ in ids])
        for record in await self.store.claim(Want(worker="w", limit=count)):
            self.holdings[record.id] = Holding(TaskContext(record))
        return ids

    def end(self, *ids: str, result: str = "1") -> None:
        for id_ in ids:
            self.settler.put(self.holdings[id_], Complete(result))

    async def until(self, condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(60):
            while not condition():
                self.store.stir.clear()
                await self.store.stir.wait()

    async def tried(self, count: int) -> None:
        await self.until(lambda: len(self.store.tries) >= count)

    async def all_settled(self, *ids: str) -> None:
        await self.until(lambda: set(ids) <= set(self.settled))

    async def states(self) -> dict[str, State]:
        return {id_: record.state for id_, record in (await self.store.get(list(self.holdings))).items()}

    async def all_in(self, state: State) -> bool:
        return set((await self.states()).values()) == {state}


@asynccontextmanager
async def opened(batch_size: int = 100) -> AsyncIterator[Stage]:
    stage = Stage(batch_size)
    await stage.store.open()
    running = asyncio.get_running_loop().create_task(stage.settler.run())
    try:
        yield stage
        assert not running.done(), "nothing ends the settler"
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


def says(caplog: pytest.LogCaptureFixture, words: str) -> list[str]:
    return [record.getMessage() for record in caplog.records if words in record.getMessage()]


async def test_outcomes_that_a_store_refuses_for_now_are_stored_when_it_takes_them(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with opened() as stage:
        ids = await stage.claim(5)
        stage.store.mood = lambda _: BackendUnavailableError("read only")
        stage.end(*ids)
        await stage.until(lambda: len(stage.store.tries) > 20)
        assert await stage.all_in(State.RUNNING)
        assert stage.operations.counters[OUTCOMES_WAITING] == 5
        stage.store.mood = content
        await within(stage.settler.flush())
        assert await stage.all_in(State.COMPLETED)
        assert sorted(stage.settled) == ids
        assert stage.operations.counters[OUTCOMES_WAITING] == 0
    assert says(caplog, "for the store") == [
        "5 outcomes wait (tasks t0, t1, t2 and 2 more) for the store: read only",
        *says(caplog, "are stored, after"),
    ]
    assert len(says(caplog, "are stored, after")) == 1


async def test_an_outcome_that_is_too_large_fails_by_itself_and_says_how_large_it_is() -> None:
    def refuses(tasks: Sequence[TaskRecord]) -> TooLargeError | None:
        large = [task.id for task in tasks if task.id == "t3" and task.result is not None]
        return TooLargeError("it takes 20.0 MiB, at most 16.0 MiB", size=20, limit=16, task_id="t3") if large else None

    async with opened() as stage:
        ids = await stage.claim(9)
        stage.store.mood = refuses
        stage.end(*ids)
        await within(stage.settler.flush())
        states = await stage.states()
        assert states.pop("t3") is State.FAILED
        assert set(states.values()) == {State.COMPLETED}
        error = (await stage.store.get(["t3"]))["t3"].error or ""
        assert "TooLargeError" in error
        assert "20.0 MiB, at most 16.0 MiB" in error
        others = [id_ for id_ in ids if id_ != "t3"]
        assert stage.store.tries == [ids, others, ["t3"], ["t3"]], "it was named, and nobody else was tried twice"


@pytest.mark.parametrize("error", [RefusedError("not representable"), UnicodeEncodeError("utf-8", "x", 0, 1, "no")])
async def test_a_batch_is_taken_apart_by_halves_until_the_refused_one_stands_alone(error: Exception) -> None:
    async with opened() as stage:
        ids = await stage.claim(64)
        stage.store.mood = lambda tasks: error if any(t.id == "t40" and t.result for t in tasks) else None
        stage.end(*ids)
        await within(stage.settler.flush())
        states = await stage.states()
        assert states.pop("t40") is State.FAILED
        assert set(states.values()) == {State.COMPLETED}
        assert len([one for one in stage.store.tries if len(one) > 1]) <= 13


async def test_an_unknown_refusal_keeps_its_outcome_and_holds_up_no_other() -> None:
    async with opened() as stage:
        ids = await stage.claim(4)
        stage.store.beats_refused = BackendError("not this either")
        stage.store.mood = lambda tasks: BackendError("what?") if any(task.id == "t1" for task in tasks) else None
        stage.end(*ids)
        await stage.until(lambda: len(stage.settled) == 3)
        later = await stage.claim(3)
        stage.end(*later)
        await stage.until(lambda: len(stage.settled) == 6)
        assert (await stage.states())["t1"] is State.RUNNING
        stage.store.mood = content
        await within(stage.settler.flush())
        assert await stage.all_in(State.COMPLETED)


async def test_an_outcome_counts_as_refused_for_good_while_the_store_takes_its_heartbeat() -> None:
    async with opened() as stage:
        await stage.claim(1)
        stage.store.mood = lambda tasks: BackendError("what?") if tasks[0].state is State.COMPLETED else None
        stage.end("t0")
        await within(stage.settler.flush())
        record = (await stage.store.get(["t0"]))["t0"]
        assert record.state is State.FAILED
        assert "what?" in (record.error or "")
        assert len(stage.store.tries) == 6, "five tries, and the failure"


async def test_an_outcome_is_never_refused_for_good_while_the_store_takes_nothing() -> None:
    async with opened() as stage:
        ids = await stage.claim(3)
        stage.store.beats_refused = BackendError("nothing")
        stage.store.mood = lambda _: BackendError("nothing")
        stage.end(*ids)
        await stage.until(lambda: len(stage.store.tries) > 50)
        assert await stage.all_in(State.RUNNING)
        stage.store.mood = content
        await within(stage.settler.flush())
        assert await stage.all_in(State.COMPLETED)


async def test_a_heartbeat_of_the_worker_counts_as_well() -> None:
    async with opened() as stage:
        await stage.claim(1)
        stage.store.beats_refused = BackendError("of the settler")
        stage.store.mood = lambda tasks: BackendError("what?") if tasks[0].state is State.COMPLETED else None
        stage.end("t0")
        for tries in range(1, 6):
            await stage.tried(tries)
            stage.settler.store_took_something()
        await within(stage.settler.flush())
        assert (await stage.states())["t0"] is State.FAILED


async def test_a_task_of_which_nothing_can_be_stored_is_kept() -> None:
    async with opened() as stage:
        ids = await stage.claim(2)
        stage.store.mood = lambda tasks: RefusedError("never") if any(task.id == "t0" for task in tasks) else None
        stage.end(*ids)
        await stage.until(lambda: len(stage.store.tries) > 30)
        assert await stage.states() == {"t0": State.RUNNING, "t1": State.COMPLETED}
        assert stage.settler.backlog == 1
        stage.store.mood = content
        await within(stage.settler.flush())
        record = (await stage.store.get(["t0"]))["t0"]
        assert record.state is State.FAILED, "its failure had taken the place of its success"
        assert "never" in (record.error or "")


async def test_outcomes_that_are_tried_again_all_the_time_starve_nobody() -> None:
    async with opened() as stage:
        ids = await stage.claim(6)
        stage.store.beats_refused = BackendError("no")
        stage.store.mood = lambda tasks: BackendError("no") if any(task.id in ids for task in tasks) else None
        stage.end(*ids)
        await stage.until(lambda: len(stage.store.tries) > 60)
        for _ in range(20):
            (later,) = await stage.claim(1)
            tries = len(stage.store.tries)
            stage.end(later)
            await stage.all_settled(later)
            assert len(stage.store.tries) <= tries + 3


async def test_a_failure_that_is_too_large_is_replaced_by_a_smaller_one_with_its_retry() -> None:
    async with opened() as stage:
        await stage.store.enqueue_many([NewTask(id="t0", name="n", max_attempts=3)])
        (record,) = await stage.store.claim(Want(worker="w", limit=1))
        stage.holdings["t0"] = Holding(TaskContext(record))
        stage.store.mood = lambda tasks: RefusedError("large") if "x" * 9 in (tasks[0].error or "") else None
        stage.settler.put(stage.holdings["t0"], Fail('"' + "x" * 99 + '"', stage.operations.clock.now()))
        await within(stage.settler.flush())
        stored = (await stage.store.get(["t0"]))["t0"]
        assert stored.state in (State.PENDING, State.SCHEDULED)
        assert "large" in (stored.error or "")


@pytest.mark.parametrize("error", [ZeroDivisionError(), TypeError(), asyncio.CancelledError(), TimeoutError()])
async def test_nothing_that_a_backend_raises_ends_the_settler(error: BaseException) -> None:
    async with opened() as stage:
        ids = await stage.claim(3)
        bad = iter([error] * 4)
        stage.store.mood = lambda _: next(bad, None)
        stage.end(*ids)
        await within(stage.settler.flush())
        assert await stage.all_in(State.COMPLETED)


async def test_an_outcome_that_ends_each_connection_holds_up_neither_its_neighbours_nor_later_ones() -> None:
    async with opened() as stage:
        ids = await stage.claim(40)
        stage.store.mood = lambda tasks: BackendUnavailableError("gone") if any(t.id == "t7" for t in tasks) else None
        stage.end(*ids)
        await stage.until(lambda: len(stage.settled) == 39)
        for _ in range(5):
            later = await stage.claim(10)
            stage.end(*later)
            await stage.all_settled(*later)
        await stage.until(lambda: stage.store.tries.count(["t7"]) > 5)
        later = await stage.claim(10)
        stage.end(*later)
        await stage.all_settled(*later)
        assert [one for one in stage.store.tries if set(one) & set(later)] == [later], "it stands apart by now"
        states = await stage.states()
        assert states.pop("t7") is State.RUNNING, "for now is never for good"
        assert set(states.values()) == {State.COMPLETED}
        stage.store.mood = content
        await within(stage.settler.flush())
        assert await stage.all_in(State.COMPLETED)


@pytest.fixture
def hangs_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settler_module, "_HANGS", 0.0)


@pytest.mark.usefixtures("hangs_soon")
async def test_a_write_that_hangs_holds_up_no_later_one_and_is_given_up_in_parts() -> None:
    async with opened() as stage:
        ids = await stage.claim(4)
        lock = stage.store.locks["t1"] = asyncio.Event()
        stage.end(*ids)
        await stage.tried(1)
        for _ in range(5):
            later = await stage.claim(10)
            stage.end(*later)
            await stage.all_settled(*later)
        assert [one for one in stage.store.tries if "t1" in one] == [ids], "the write that hangs is not made again"
        stage.store.mood = lambda tasks: BackendUnavailableError("given up") if "t1" in [t.id for t in tasks] else None
        lock.set()
        await stage.all_settled("t0", "t2", "t3")
        await stage.until(lambda: stage.store.tries.count(["t1"]) > 1)
        later = await stage.claim(10)
        stage.end(*later)
        await stage.all_settled(*later)
        assert later in stage.store.tries, "batches are as large as before"
        stage.store.mood = content
        await within(stage.settler.flush())
        assert await stage.all_in(State.COMPLETED)


@pytest.mark.usefixtures("hangs_soon")
async def test_so_many_writes_hang_at_once_and_no_more() -> None:
    async with opened(batch_size=1) as stage:
        ids = await stage.claim(8)
        lock = asyncio.Event()
        stage.store.locks = dict.fromkeys(ids, lock)
        stage.end(*ids)
        await stage.tried(3)
        for _ in range(1000):
            await asyncio.sleep(0)
        assert len(stage.store.tries) == 3
        lock.set()
        await stage.all_settled(*ids)
        assert len(stage.store.tries) == len(ids), "each once"


@pytest.mark.usefixtures("hangs_soon")
@pytest.mark.parametrize("stopped", [True, False], ids=["stopped", "cancelled"])
async def test_a_write_that_hangs_ends_with_the_settler(*, stopped: bool) -> None:
    stage = Stage()
    running = asyncio.get_running_loop().create_task(stage.settler.run())
    before = asyncio.all_tasks()
    await stage.claim(2)
    stage.store.locks["t0"] = asyncio.Event()
    stage.end("t0")
    await stage.tried(1)
    stage.end("t1")
    await stage.all_settled("t1")
    assert asyncio.all_tasks() > before
    if stopped:
        stage.settler.stop()
    else:
        running.cancel()
    with suppress(asyncio.CancelledError):
        await within(running)
    assert asyncio.all_tasks() == before - {running}
    assert stage.settler.backlog == 1


async def test_batches_are_whole_again_after_an_outage() -> None:
    async with opened() as stage:
        ids = await stage.claim(60)
        stage.store.mood = lambda _: BackendUnavailableError("gone")
        stage.end(*ids)
        await stage.until(lambda: len(stage.store.tries) > 12)
        stage.store.mood = content
        stage.store.tries.clear()
        await within(stage.settler.flush())
        assert len(stage.store.tries) <= 8


async def test_a_progress_that_cannot_be_stored_costs_no_success() -> None:
    async with opened() as stage:
        await stage.claim(1)
        stage.holdings["t0"].context.progress(0.5, "x" * 100)
        stage.store.mood = lambda tasks: RefusedError("large") if tasks[0].progress else None
        stage.end("t0", result='"done"')
        await within(stage.settler.flush())
        record = (await stage.store.get(["t0"]))["t0"]
        assert (record.state, record.result, record.progress) == (State.COMPLETED, '"done"', None)


async def test_what_follows_from_a_settled_task_may_fail() -> None:
    async with opened() as stage:
        ids = await stage.claim(3)

        def on_settled(holding: Holding) -> None:
            raise ZeroDivisionError(holding.record.id)

        stage.settler._on_settled = on_settled
        stage.end(*ids)
        await within(stage.settler.flush())
        assert await stage.all_in(State.COMPLETED)


async def test_a_worker_that_leaves_tries_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    long = Pause(1000)
    monkeypatch.setattr(Backoffs, "after", lambda *_: long)
    async with opened() as stage:
        ids = await stage.claim(2)
        stage.store.mood = lambda _: BackendUnavailableError("gone")
        stage.end(*ids)
        await stage.until(lambda: stage.store.tries)
        stage.store.mood = content
        await within(stage.settler.flush())
        assert await stage.all_in(State.COMPLETED)


async def test_what_waits_is_counted_from_when_its_task_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settler_module, "_MOMENT", 0.0)
    async with opened() as stage:
        ids = await stage.claim(2)
        assert stage.settler.waiting == Waiting(0, None)
        before = stage.operations.clock.now()
        stage.store.mood = lambda _: BackendUnavailableError("gone")
        stage.end(*ids)
        await stage.until(lambda: len(stage.store.tries) > 2)
        waiting = stage.settler.waiting
        assert waiting.outcomes == 2
        assert waiting.since is not None
        assert before <= waiting.since <= stage.operations.clock.now()
        stage.store.mood = content
        await within(stage.settler.flush())
        assert stage.settler.waiting == Waiting(0, None)


def test_the_log_repeats_itself_after_one_two_and_four_minutes(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    log = WaitingLog()
    with caplog.at_level(logging.WARNING):
        for second in range(8 * 60):
            now = 100.0 + second
            log.refused(["a", "b"], BackendError("no"))
        log.stored()
        log.stored()
    said = [record.getMessage() for record in caplog.records]
    assert [line.partition(" by now")[0] for line in said] == [
        "2 outcomes wait (tasks a, b) for the store: no",
        "2 outcomes wait (tasks a, b) for the store, for 60 s",
        "2 outcomes wait (tasks a, b) for the store, for 180 s",
        "2 outcomes wait (tasks a, b) for the store, for 420 s",
        "the outcomes that waited for the store are stored, after 479.0 s",
    ]


async def test_a_progress_that_is_too_large_costs_no_heartbeat(caplog: pytest.LogCaptureFixture) -> None:
    stage = Stage()
    await stage.store.open()
    ids = await stage.claim(3)
    held = [Held(id_, stage.holdings[id_].record.fence, '"x"') for id_ in ids]
    stage.store.most_progress = 5
    held[1] = Held("t1", held[1].fence, '"too large"')
    assert await stage.operations.touch_heartbeats(held) == set(ids)
    stored = await stage.store.get(ids)
    assert [stored[id_].progress for id_ in ids] == ['"x"', None, '"x"']
    assert says(caplog, "a heartbeat goes without its progress")


async def test_heartbeats_that_are_too_large_together_go_apart() -> None:
    stage = Stage()
    await stage.store.open()
    ids = await stage.claim(5)
    touch, sizes = stage.store.touch_heartbeats, list[int]()

    async def few(held: Sequence[Held], **_: Any) -> set[str]:
        sizes.append(len(held))
        if len(held) > 2:
            raise TooLargeError("all of them", size=2, limit=1)
        return await touch(held)

    stage.store.touch_heartbeats = few  # type: ignore[method-assign]
    held = [stage.holdings[id_].record.held for id_ in ids]
    assert await stage.operations.touch_heartbeats(held) == set(ids)
    assert sizes == [5, 2, 3, 1, 2]


async def test_a_heartbeat_that_is_too_large_without_its_progress_says_so() -> None:
    stage = Stage()

    async def touch_heartbeats(*_: Any, **__: Any) -> set[str]:
        raise TooLargeError("too large", size=2, limit=1, task_id="t0")

    stage.store.touch_heartbeats = touch_heartbeats  # type: ignore[method-assign]
    with pytest.raises(TooLargeError):
        await within(stage.operations.touch_heartbeats([Held("t0", 1)]))
