from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Collection
from datetime import timedelta
from typing import Any

import pytest
from queue_lab import DEADLINE, Lab, open_lab, within

from litestar_queues import (
    BackendError,
    BackendUnavailableError,
    FixedBackoff,
    QueueConfigurationError,
    RefusedError,
    State,
    Worker,
    current_task,
    snooze,
)
from litestar_queues.records import Want
from litestar_queues.worker import worker as worker_module

pytestmark = pytest.mark.anyio


class Gate:
    """A task's function that tells when it began, and ends when it is let go."""

    def __init__(self, lab: Lab, name: str = "wait", **options: Any) -> None:
        self.begun: list[str] = []
        self.interrupted: list[str] = []
        self.go = asyncio.Event()
        self.lab = lab

        async def wait() -> str:
            self.begun.append(current_task().id)
            lab.backend.stir.set()
            try:
                await self.go.wait()
            except asyncio.CancelledError:
                self.interrupted.append(current_task().id)
                lab.backend.stir.set()
                raise
            return "done"

        self.task = lab.task(name, **options)(wait)

    async def enqueue(self, count: int, **options: Any) -> list[str]:
        results = await self.lab.service.enqueue_many([self.task.using(**options).call() for _ in range(count)])
        return [result.id for result in results]

    async def running(self, count: int) -> None:
        await self.lab.until(lambda: len(self.begun) >= count)


def wants(lab: Lab) -> list[Want]:
    return [args[0] for args in lab.backend.of("claim")]


async def states(lab: Lab, ids: Collection[str]) -> set[State]:
    return {(await lab.stored(id_)).state for id_ in ids}


async def ended(lab: Lab, task_id: str) -> State:
    result = await lab.service.get(task_id)
    assert result is not None
    return (await within(result.wait())).status


async def test_a_worker_runs_what_is_enqueued_and_keeps_the_result() -> None:
    async with open_lab() as lab:
        lab.task("add")(lambda a, b: a + b)
        before = await lab.service.enqueue("add", 1, 2)
        async with lab.worker() as running:
            after = await lab.service.enqueue("add", 3, 4)
            assert [(await within(r.wait())).result for r in (before, after)] == [3, 7]
            assert (await running.drain()).drained
        record = await lab.stored(before.id)
        assert (record.worker, record.attempt, record.heartbeat_at) == ("w1", 1, None)
        assert lab.told("fence_loss") == []


async def test_a_worker_claims_as_many_as_it_has_room_for_and_no_more() -> None:
    async with open_lab(worker_poll_interval=0.01) as lab:
        gate = Gate(lab)
        ids = await gate.enqueue(7)
        async with lab.worker(max_concurrency=3) as running:
            await gate.running(3)
            assert gate.begun == ids[:3]
            claims = len(wants(lab))
            for _ in range(50):  # nothing that is ready to happen may make it claim more
                await asyncio.sleep(0)
            assert (len(wants(lab)), len(gate.begun)) == (claims, 3)
            gate.go.set()
            await lab.until(lambda: len(lab.told("complete")) == 7)
            assert {want.limit for want in wants(lab)} <= {1, 2, 3}
            assert {(want.worker, want.queues) for want in wants(lab)} == {("w1", None)}
            assert (await running.drain()).drained


async def test_a_worker_claims_again_at_once_while_batches_come_back_full() -> None:
    async with open_lab(worker_batch_size=2, worker_max_concurrency=6) as lab:
        gate = Gate(lab)
        await gate.enqueue(5)
        async with lab.worker():
            await gate.running(5)
            kinds = [kind for kind, _ in lab.backend.calls if kind in ("claim", "next_due")]
            assert kinds[:3] == ["claim", "claim", "claim"]
            assert [want.limit for want in wants(lab)][:3] == [2, 2, 2]
            gate.go.set()


async def test_a_full_worker_claims_as_soon_as_a_task_has_ended() -> None:
    async with open_lab(worker_poll_interval=1000, worker_max_concurrency=1) as lab:
        lab.task("quick")(lambda: None)
        results = [await lab.service.enqueue("quick") for _ in range(5)]
        async with lab.worker():
            for result in results:
                assert (await within(result.wait())).status is State.COMPLETED


async def test_a_slot_is_free_as_soon_as_its_task_has_ended_stored_or_not() -> None:
    async with open_lab(worker_poll_interval=1000, worker_max_concurrency=1) as lab:
        gate = Gate(lab)
        await gate.enqueue(2)
        lab.backend.gates["commit"] = asyncio.Event()
        async with lab.worker():
            await gate.running(1)
            gate.go.set()
            await gate.running(2)
            lab.backend.gates["commit"].set()
            await lab.until(lambda: len(lab.told("complete")) == 2)


async def test_a_worker_serves_its_queues_alone() -> None:
    async with open_lab() as lab:
        lab.task("quick")(lambda: None)
        other = await lab.service.enqueue("quick", queue="other")
        mine = [await lab.service.enqueue("quick", queue=queue) for queue in ("mail", "sms")]
        async with lab.worker(queues=["sms", "mail", "sms"]) as running:
            for result in mine:
                await within(result.wait())
            assert (await running.drain()).drained
        assert {want.queues for want in wants(lab)} == {("mail", "sms")}
        assert (await lab.stored(other.id)).state is State.PENDING


async def test_a_worker_leaves_alone_what_runs_elsewhere() -> None:
    async with open_lab() as lab, lab.worker():
        await lab.until(lambda: wants(lab))
        assert {want.execution_backends for want in wants(lab)} == {("local", "immediate")}


async def test_an_idle_worker_starts_at_once_what_is_enqueued_in_its_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "_SHORTEST_POLL", 1000)
    async with open_lab(worker_poll_interval=1000) as lab, lab.worker(queues=["mail"]):
        lab.task("quick")(lambda: None)
        await lab.until(lambda: lab.backend.of("next_due"))
        result = await lab.service.enqueue("quick", queue="mail")
        assert (await within(result.wait())).status is State.COMPLETED


async def test_a_hint_that_comes_while_the_worker_claims_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "_SHORTEST_POLL", 1000)
    async with open_lab(worker_poll_interval=1000) as lab:
        lab.task("quick")(lambda: None)
        lab.backend.gates["next_due"] = asyncio.Event()
        async with lab.worker():
            await lab.until(lambda: lab.backend.of("next_due"))  # it has claimed nothing, and is about to pause
            result = await lab.service.enqueue("quick")
            lab.backend.gates["next_due"].set()
            assert (await within(result.wait())).status is State.COMPLETED


async def test_an_idle_worker_wakes_when_the_next_task_comes_due(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "_SHORTEST_POLL", 1000)
    async with open_lab(worker_poll_interval=1000) as lab, lab.worker():
        lab.task("quick")(lambda: None)
        result = await lab.service.enqueue("quick", delay=0.05)
        assert (await within(result.wait())).status is State.COMPLETED
        record = result.record
        assert record.started_at is not None
        assert record.started_at >= record.due_at


async def test_an_idle_worker_looks_less_and_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    async def pause(self: Worker, longest: float) -> None:
        pauses.append(longest)
        if len(pauses) == 8:
            self.drain()

    monkeypatch.setattr(Worker, "_pause", pause)
    async with open_lab(worker_poll_interval=1.0) as lab, lab.worker() as running:
        await within(running.run)
        assert pauses == [0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.0, 1.0]


class Hints:
    """Wakeups from other processes."""

    def __init__(self, lab: Lab) -> None:
        self.lab, self.waits, self.hint, self.broken = lab, 0, asyncio.Event(), 1

    async def notify(self, queues: Collection[str]) -> None: ...

    async def wait(self, queues: tuple[str, ...] | None, seconds: float) -> bool:
        self.waits += 1
        self.lab.backend.stir.set()
        if self.broken:
            self.broken -= 1
            raise BackendUnavailableError("no channel")
        await self.hint.wait()
        self.hint.clear()
        return True


async def test_a_hint_from_another_process_wakes_an_idle_worker(
    monkeypatch: pytest.MonkeyPatch, quick_backoffs: None
) -> None:
    monkeypatch.setattr(worker_module, "_SHORTEST_POLL", 1000)
    async with open_lab(worker_poll_interval=1000) as lab:
        hints = Hints(lab)
        lab.backend.wakeups = hints  # type: ignore[assignment]
        lab.task("quick")(lambda: None)
        async with lab.worker():
            await lab.until(lambda: hints.waits == 2 and lab.backend.of("next_due"))
            task = lab.registry.get("quick").call().new_task(await lab.backend.inner.now())
            await lab.backend.inner.enqueue_many([task])  # elsewhere: nobody here knows
            hints.hint.set()
            assert await ended(lab, task.id) is State.COMPLETED


async def test_one_write_per_beat_keeps_everything_that_is_held() -> None:
    async with open_lab(worker_heartbeat_interval=0.01) as lab:
        gate = Gate(lab)
        ids = await gate.enqueue(5)
        async with lab.worker():
            await gate.running(5)
            lab.backend.calls.clear()
            await lab.until(lambda: len(lab.backend.of("touch_heartbeats")) >= 3)
            for (held,) in lab.backend.of("touch_heartbeats"):
                assert {one.id for one in held} == set(ids)
                assert {one.fence for one in held} == {1}
            for id_ in ids:
                record = await lab.stored(id_)
                assert record.heartbeat_at is not None
                assert record.started_at is not None
                assert record.heartbeat_at > record.started_at
            gate.go.set()


async def test_a_worker_that_holds_nothing_writes_nothing() -> None:
    async with open_lab(worker_heartbeat_interval=0.001, worker_poll_interval=0.005) as lab, lab.worker():
        await lab.until(lambda: len(lab.backend.of("next_due")) > 10)
        assert [held for (held,) in lab.backend.of("touch_heartbeats") if held[0].fence > 0] == []
        assert lab.backend.of("commit") == []


async def test_what_does_not_come_back_from_a_beat_is_stopped(caplog: pytest.LogCaptureFixture) -> None:
    async with open_lab(worker_heartbeat_interval=0.01) as lab:
        gate = Gate(lab)
        ids = await gate.enqueue(3)
        async with lab.worker() as running:
            await gate.running(3)
            cancelled = (await lab.service.cancel(ids[1])).record
            await lab.until(lambda: gate.interrupted)
            gate.go.set()
            await lab.until(lambda: len(lab.told("complete")) == 2)
            exit_ = await running.drain()
        assert gate.interrupted == [ids[1]]
        assert await lab.stored(ids[1]) == cancelled
        assert [e.task_id for e in lab.told("fence_loss")] == [ids[1]]
        assert lab.service.operations.counters["fence_loss"] == 1
        assert f"fence loss: task {ids[1]} (wait) is no longer this worker's: it was cancelled" in caplog.text
        assert exit_.drained


async def test_a_sync_task_can_see_that_it_was_cancelled() -> None:
    seen = threading.Event()

    def loop_until_cancelled() -> None:
        while not current_task().cancelled:
            assert not seen.wait(0.001)
        seen.set()

    async with open_lab(worker_heartbeat_interval=0.01) as lab, lab.worker() as running:
        lab.task("loop")(loop_until_cancelled)
        result = await lab.service.enqueue("loop")
        await lab.until(lambda: lab.told("claim"))
        await lab.service.cancel(result.id)
        await lab.until(lambda: lab.told("fence_loss"))
        await running.drain()
    assert seen.wait(DEADLINE)


async def test_a_task_that_was_taken_over_is_not_settled_by_its_old_owner() -> None:
    async with open_lab() as lab:
        gate = Gate(lab, retries=1)
        (id_,) = await gate.enqueue(1)
        async with lab.worker(name="old") as running:
            await gate.running(1)
            recovered = await lab.service.operations.requeue_stale_running(timedelta(seconds=-60))
            assert recovered.ids == [id_]
            taken = await lab.backend.inner.claim(Want(worker="new", limit=1))
            assert [record.id for record in taken] == [id_]
            gate.go.set()
            await lab.until(lambda: lab.told("fence_loss"))
            await running.drain()
        assert await lab.stored(id_) == taken[0]


async def test_progress_travels_with_the_beat_and_outlives_the_attempt() -> None:
    async with open_lab(worker_heartbeat_interval=0.01) as lab:
        go = asyncio.Event()

        @lab.task("step")
        async def step_() -> None:
            current_task().progress(0.25, "first")
            await go.wait()
            current_task().progress(0.75, "last")

        async with lab.worker():
            result = await lab.service.enqueue(step_)
            await lab.until(lambda: lab.told("claim") and len(lab.backend.of("touch_heartbeats")) >= 2)
            progress = (await result.refresh()).progress
            assert progress is not None
            assert (progress.done, progress.message) == (0.25, "first")
            go.set()
            progress = (await within(result.wait())).progress
            assert progress is not None
            assert (progress.done, progress.message) == (0.75, "last")


async def test_an_outcome_is_written_at_once_while_the_worker_is_idle() -> None:
    async with open_lab(worker_settle_delay=1000) as lab, lab.worker():
        lab.task("quick")(lambda: None)
        result = await lab.service.enqueue("quick")
        assert (await within(result.wait())).status is State.COMPLETED
        assert [len(tasks) for (tasks,) in lab.backend.of("commit")] == [1]


async def test_outcomes_are_gathered_while_the_worker_is_busy_and_bounded_in_number() -> None:
    async with open_lab(worker_settle_delay=0.05, worker_batch_size=8, worker_max_concurrency=40) as lab:
        gate = Gate(lab)
        ids = await gate.enqueue(40)
        async with lab.worker():
            await gate.running(40)
            gate.go.set()
            await lab.until(lambda: len(lab.told("complete")) == 40)
        sizes = [len(tasks) for (tasks,) in lab.backend.of("commit")]
        assert sum(sizes) == 40
        assert max(sizes) <= 8
        assert len(sizes) <= 7, "a batch for each eight, the first, and the last"
        assert await states(lab, ids) == {State.COMPLETED}


async def test_a_full_batch_does_not_wait_for_its_delay() -> None:
    async with open_lab(worker_settle_delay=1000, worker_batch_size=4, worker_max_concurrency=9) as lab:

        @lab.task("quick")
        async def quick() -> None: ...

        async with lab.worker() as running:
            await within((await lab.service.enqueue("quick")).wait())  # from now on it is busy, for 1,000 s
            results = await lab.service.enqueue_many([lab.registry.get("quick").call() for _ in range(3)])
            await lab.until(lambda: len(lab.told("claim")) == 4)
            while running.worker._settler.backlog < 3:  # noqa: ASYNC110  # they end by themselves, and wait for a fourth
                await asyncio.sleep(0)
            results.append(await lab.service.enqueue("quick"))
            for result in results:
                assert (await within(result.wait())).status is State.COMPLETED


async def test_outcomes_go_on_gathering_while_a_batch_is_written() -> None:
    async with open_lab(worker_settle_delay=0) as lab:
        gate = Gate(lab)
        lab.task("quick")(lambda: None)
        lab.backend.gates["commit"] = asyncio.Event()
        async with lab.worker():
            await lab.service.enqueue("quick")
            await lab.until(lambda: lab.backend.of("commit"))
            await gate.enqueue(5)
            await gate.running(5)
            gate.go.set()
            for _ in range(20):
                await asyncio.sleep(0)
            lab.backend.gates["commit"].set()
            await lab.until(lambda: len(lab.told("complete")) == 6)
        assert [len(tasks) for (tasks,) in lab.backend.of("commit")] == [1, 5]


async def test_a_result_that_the_store_refuses_fails_its_task_alone() -> None:
    async with open_lab() as lab:
        gate = Gate(lab)
        ids = await gate.enqueue(3)
        lab.backend.refuse = lambda record: record.id == ids[1] and record.result is not None
        lab.backend.refusal = RefusedError("the store refuses a value")
        async with lab.worker() as running:
            await gate.running(3)
            gate.go.set()
            assert [await ended(lab, id_) for id_ in ids] == [State.COMPLETED, State.FAILED, State.COMPLETED]
            assert (await running.drain()).drained
        assert "the store refuses a value" in ((await lab.stored(ids[1])).error or "")


@pytest.mark.usefixtures("quick_backoffs")
async def test_a_task_of_which_nothing_can_be_stored_is_kept_until_the_worker_leaves_and_named_then(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "_LAST_WRITE", 0.1)
    async with open_lab() as lab:
        gate = Gate(lab)
        ids = await gate.enqueue(2)
        lab.backend.refuse = lambda record: record.id == ids[0]
        async with lab.worker() as running:
            await gate.running(2)
            gate.go.set()
            assert await ended(lab, ids[1]) is State.COMPLETED
            await lab.until(lambda: len(lab.backend.of("commit")) >= 4)
            (other,) = await gate.enqueue(1)
            assert await ended(lab, other) is State.COMPLETED
            assert running.worker.waiting.outcomes <= 1
            left = await running.drain()
        assert (left.unsettled, left.drained) == ([ids[0]], False)
        assert (await lab.stored(ids[0])).state is State.RUNNING
        assert f"leaves 1 outcomes unstored, for stale recovery: {ids[0]}" in caplog.text


async def test_an_unknown_task_fails_durably_by_name() -> None:
    async with open_lab() as lab:
        lab.task("gone", retries=5)(lambda: None)
        result = await lab.service.enqueue("gone")
        del lab.registry._tasks["gone"]
        async with lab.worker():
            assert (await within(result.wait())).status is State.FAILED
        assert result.error is not None
        assert result.error.type == "UnknownTaskError"
        assert "no task named 'gone' is registered in this process" in result.error.message
        assert result.attempt == 1


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


async def cancel_itself() -> None:
    current = asyncio.current_task()
    assert current is not None
    current.cancel()
    await asyncio.Event().wait()


async def raise_cancelled() -> None:
    raise asyncio.CancelledError


class Rude(BaseException): ...


def raising(error: BaseException) -> Callable[[], None]:
    def function() -> None:
        raise error

    return function


async def exit_async() -> None:
    raise SystemExit(3)


def in_loop(error: BaseException) -> Callable[[], Any]:
    async def function() -> None:
        raise error

    return function


def in_child(error: BaseException) -> Callable[[], Any]:
    async def function() -> None:
        await asyncio.create_task(in_loop(error)())

    return function


def in_group(error: BaseException) -> Callable[[], Any]:
    async def function() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(in_loop(error)())
            group.create_task(asyncio.Event().wait())

    return function


RUDE: dict[str, Callable[[], Any]] = {
    "sys.exit in a thread": raising(SystemExit(3)),
    "sys.exit in the loop": exit_async,
    "an exception without text": raising(Unprintable()),
    "an exception that is none": raising(Rude()),
    "a task that cancels itself": cancel_itself,
    "a task that raises a cancellation": raise_cancelled,
    "a KeyboardInterrupt in a thread": raising(KeyboardInterrupt()),
    "a KeyboardInterrupt in the loop": in_loop(KeyboardInterrupt()),
    "a GeneratorExit in a thread": raising(GeneratorExit()),
    "a GeneratorExit in the loop": in_loop(GeneratorExit()),
    "a GeneratorExit in an asyncio task of its own": in_child(GeneratorExit()),
    "a group of them": in_loop(BaseExceptionGroup("all", [KeyboardInterrupt(), SystemExit(2), ValueError()])),
    "sys.exit in an asyncio task of its own": in_child(SystemExit(3)),
    "a KeyboardInterrupt in an asyncio task of its own": in_child(KeyboardInterrupt()),
    "a KeyboardInterrupt in a group of asyncio tasks": in_group(KeyboardInterrupt()),
    "a StopIteration": raising(StopIteration()),
    "endless recursion": raising(RecursionError()),
}


@pytest.mark.parametrize("case", RUDE)
async def test_no_task_can_end_its_worker_and_each_failure_costs_an_attempt(case: str) -> None:
    async with open_lab() as lab, lab.worker() as running:
        lab.task("rude", retries=1, backoff=FixedBackoff(0))(RUDE[case])
        lab.task("quick")(lambda: 5)
        rude = await lab.service.enqueue("rude")
        assert (await within(rude.wait())).status is State.FAILED
        assert rude.attempt == 2
        assert rude.error is not None
        quick = await lab.service.enqueue("quick")
        assert (await within(quick.wait())).result == 5
        assert (await running.drain()).drained
        assert running.worker._running == 0


async def test_a_task_that_is_too_slow_is_retried_and_then_fails() -> None:
    async with open_lab() as lab, lab.worker():
        gate = Gate(lab, timeout=0.01, retries=1, backoff=FixedBackoff(0))
        (id_,) = await gate.enqueue(1)
        assert await ended(lab, id_) is State.FAILED
        record = await lab.stored(id_)
        assert record.attempt == 2
        assert "attempt 2 took longer than its timeout of 0.01 s" in (record.error or "")
        assert gate.interrupted == [id_, id_]


async def test_a_snoozed_task_comes_again_and_spends_no_attempt() -> None:
    async with open_lab() as lab, lab.worker():
        seen: list[int] = []

        @lab.task("poll")
        def poll() -> str:
            seen.append(current_task().attempt)
            if len(seen) < 3:
                snooze(0.001)
            return "ready"

        result = await lab.service.enqueue(poll)
        assert (await within(result.wait())).result == "ready"
        assert (seen, result.attempt, len(lab.told("snooze"))) == ([1, 1, 1], 1, 2)


async def test_a_task_cancelled_before_its_first_step_leaks_no_slot() -> None:
    async with open_lab() as lab:
        Gate(lab)
        worker = Worker(lab.service, name="w1")
        result = await lab.service.enqueue("wait")
        (record,) = await lab.service.operations.claim(Want(worker="w1", limit=1))
        worker._start(record, 0.0)
        (holding,) = worker._held.values()
        holding.interrupt(worker_module.Phase.GIVING_BACK)
        assert holding.execution is not None
        await asyncio.wait({holding.execution})
        assert (worker._running, worker._idle.is_set()) == (0, True)
        settling = asyncio.ensure_future(worker._settler.run())
        await within(worker._settler.flush())
        settling.cancel()
        assert worker._held == {}
        assert (await lab.stored(result.id)).state is State.PENDING


async def test_two_workers_share_the_work_and_nothing_runs_twice() -> None:
    async with open_lab(worker_max_concurrency=3) as lab:
        ran: list[str] = []

        @lab.task("count")
        async def count() -> None:
            ran.append(current_task().id)
            await asyncio.sleep(0)

        results = await lab.service.enqueue_many([count.call() for _ in range(100)])
        async with lab.worker(name="one"), lab.worker(name="two"):
            for result in results:
                await within(result.wait())
        assert sorted(ran) == sorted(r.id for r in results)
        assert {event.worker for event in lab.told("claim")} == {"one", "two"}
        assert lab.told("fence_loss") == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_concurrency": 0}, "worker_max_concurrency must be a whole number from 1 on, not 0"),
        ({"queues": "mail"}, "worker_queues is a list of names, not the text 'mail'"),
        ({"queues": []}, "worker_queues is empty"),
        ({"queues": [""]}, "a queue's name is a text"),
        ({"drain_timeout": -1}, "worker_drain_timeout must be seconds"),
    ],
)
async def test_a_worker_that_could_not_work_is_refused_before_it_starts(options: dict[str, Any], words: str) -> None:
    async with open_lab() as lab:
        with pytest.raises(QueueConfigurationError, match=words):
            Worker(lab.service, **options)
        assert lab.service.operations.notifier._listeners == set()


async def test_a_store_that_breaks_its_contract_ends_the_worker_with_its_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "_LAST_WRITE", 0.01)

    def broken(*_: Any, **__: Any) -> Awaitable[Any]:
        raise ZeroDivisionError

    async with open_lab() as lab:
        lab.backend.inner.claim = broken  # type: ignore[method-assign]
        async with lab.worker() as running:
            with pytest.raises(ZeroDivisionError):
                await within(running.run)


async def test_a_store_that_refuses_a_claim_is_asked_again(quick_backoffs: None) -> None:
    async with open_lab() as lab:
        lab.task("quick")(lambda: None)
        claim, refusals = lab.backend.inner.claim, 3

        async def refusing(*args: Any, **kwargs: Any) -> Any:
            nonlocal refusals
            if refusals:
                refusals -= 1
                raise BackendError("not now")
            return await claim(*args, **kwargs)

        lab.backend.inner.claim = refusing  # type: ignore[method-assign]
        async with lab.worker():
            result = await lab.service.enqueue("quick")
            assert (await within(result.wait())).status is State.COMPLETED
