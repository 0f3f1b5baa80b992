"""The run of one task elsewhere, on a store whose every answer the test decides."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from queue_lab import Lab, WatchedBackend, open_lab, within

from litestar_queues import RefusedError, State, StoreReplacedError, TaskRecord
from litestar_queues.execution import remote
from litestar_queues.execution.remote import RemoteExit, TaskRun, run_task
from litestar_queues.lifecycle import Dispatch, Event, Release
from litestar_queues.operations import Move
from litestar_queues.records import Want

pytestmark = pytest.mark.anyio


async def reserved(lab: Lab, name: str = "add") -> TaskRecord:
    """A task that a dispatcher has reserved."""
    task = await lab.service.enqueue(name)
    want = Want(worker="dispatcher", limit=1, tasks=(task.record.held,), reserve=True, stale_after=600)
    (record,) = await lab.service.operations.claim(want)
    return record


async def happens(lab: Lab, record: TaskRecord, event: Event) -> None:
    assert (await lab.service.operations.apply([Move(record, event)])).stored


def once_before(backend: WatchedBackend, kind: str, act: Callable[[], Any]) -> None:
    """Have something happen in the store just before the next call of this kind."""
    call, done = backend._call, False

    async def watched(called: str, *args: Any, **kwargs: Any) -> Any:
        nonlocal done
        if called == kind and not done:
            done = True
            await act()
        return await call(called, *args, **kwargs)

    backend._call = watched  # type: ignore[method-assign]


@pytest.fixture
def add() -> Callable[[Lab], None]:
    def add_to(lab: Lab) -> None:
        @lab.task("add")
        async def add() -> int:
            return 3

    return add_to


async def test_a_reference_that_is_stored_between_the_look_and_the_claim_costs_nothing(add: Any) -> None:
    async with open_lab() as lab:
        add(lab)
        record = await reserved(lab)
        once_before(lab.backend, "claim", lambda: happens(lab, record, Dispatch("the dispatcher's", 600)))
        assert await run_task(lab.service, record.id, fence=record.fence, execution_ref="own") is RemoteExit.SUCCESS
        stored = await lab.stored(record.id)
        assert (stored.attempt, stored.execution_ref, stored.result) == (1, "own", "3")


async def test_a_reservation_that_is_given_back_between_the_look_and_the_claim_is_lost(add: Any) -> None:
    async with open_lab() as lab:
        add(lab)
        record = await reserved(lab)
        once_before(lab.backend, "claim", lambda: happens(lab, record, Release()))
        assert await run_task(lab.service, record.id, fence=record.fence) is RemoteExit.CLAIM_LOST
        stored = await lab.stored(record.id)
        assert (stored.state, stored.attempt, stored.fence) == (State.PENDING, 0, record.fence + 1)


async def test_a_task_that_is_reserved_anew_between_the_look_and_the_claim_is_lost(add: Any) -> None:
    async with open_lab() as lab:
        add(lab)
        record = await reserved(lab)

        async def anew() -> None:
            await happens(lab, record, Release())
            held = (await lab.stored(record.id)).held
            want = Want(worker="another dispatcher", limit=1, tasks=(held,), reserve=True, stale_after=600)
            assert await lab.backend.inner.claim(want)

        once_before(lab.backend, "claim", anew)
        assert await run_task(lab.service, record.id, fence=record.fence) is RemoteExit.CLAIM_LOST
        assert (await lab.stored(record.id)).state is State.DISPATCHED


@pytest.mark.usefixtures("quick_backoffs")
async def test_a_claim_that_a_locked_row_refuses_is_tried_again(add: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_lab() as lab:
        add(lab)
        record = await reserved(lab)
        refusals, claim = [True, True], lab.backend.inner.claim

        async def locked(want: Want, **options: Any) -> list[TaskRecord]:
            return [] if refusals and refusals.pop() else await claim(want, **options)

        monkeypatch.setattr(lab.backend.inner, "claim", locked)
        assert await run_task(lab.service, record.id, fence=record.fence) is RemoteExit.SUCCESS
        assert refusals == []


@pytest.mark.usefixtures("quick_backoffs")
@pytest.mark.parametrize("kind", ["get", "claim", "commit"])
async def test_an_answer_that_is_lost_runs_the_task_once(add: Any, kind: str) -> None:
    async with open_lab() as lab:
        add(lab)
        record = await reserved(lab)
        lab.backend.deaf.append(kind)
        assert await run_task(lab.service, record.id, fence=record.fence) is RemoteExit.SUCCESS
        stored = await lab.stored(record.id)
        assert (stored.state, stored.attempt, stored.fence) == (State.COMPLETED, 1, record.fence + 2)


@pytest.mark.usefixtures("quick_backoffs")
async def test_a_task_that_another_run_of_the_same_name_claimed_is_not_taken_for_ones_own(add: Any) -> None:
    async with open_lab() as lab:
        add(lab)
        record = await reserved(lab)
        await lab.service.operations.claim(Want(worker="run", limit=1, tasks=(record.held,), stale_after=600))
        ended = await run_task(lab.service, record.id, fence=record.fence, worker="run")
        assert ended is RemoteExit.CLAIM_LOST


@pytest.mark.usefixtures("quick_backoffs")
@pytest.mark.parametrize("how", ["away", "hangs"])
@pytest.mark.parametrize("kind", ["get", "claim"])
async def test_a_store_that_stays_away_is_a_failure_after_the_limit(add: Any, kind: str, how: str) -> None:
    async with open_lab() as lab:
        add(lab)
        record = await reserved(lab)
        if how == "away":
            lab.backend.away.add(kind)
        else:
            lab.backend.gates[kind] = asyncio.Event()
        ended = await within(run_task(lab.service, record.id, fence=record.fence, wait_for_store=0.05))
        assert ended is RemoteExit.FAILURE
        assert await lab.stored(record.id) == record


async def test_a_run_that_is_stopped_before_it_looks_leaves_the_task(add: Any) -> None:
    async with open_lab() as lab:
        add(lab)
        record = await reserved(lab)
        stop = asyncio.Event()
        lab.backend.gates["get"] = asyncio.Event()
        running = asyncio.create_task(run_task(lab.service, record.id, stop=stop))
        await lab.until(lambda: len(lab.backend.of("get")) == 1)
        stop.set()
        assert await within(running) is RemoteExit.FAILURE
        assert await lab.stored(record.id) == record


async def test_a_claim_that_is_answered_after_the_stop_is_given_back(add: Any) -> None:
    async with open_lab() as lab:
        add(lab)
        record = await reserved(lab)
        gate = lab.backend.gates["claim"] = asyncio.Event()
        run = TaskRun(lab.service, record.id, fence=record.fence)
        running = asyncio.create_task(run.run())
        await lab.until(lambda: len(lab.backend.of("claim")) == 2)
        run.drain()
        for _ in range(20):  # it waits for the answer now
            await asyncio.sleep(0)
        gate.set()
        assert await within(running) is RemoteExit.FAILURE
        stored = await lab.stored(record.id)
        assert (stored.state, stored.attempt, stored.worker) == (State.PENDING, 0, None)


async def test_a_reference_needs_a_store_that_keeps_dispatched_tasks(add: Any) -> None:
    async with open_lab() as lab:
        add(lab)
        record = await reserved(lab)
        lab.backend.dispatches = False  # type: ignore[attr-defined]
        assert await run_task(lab.service, record.id, execution_ref="own") is RemoteExit.NO_CONFIGURATION


async def test_an_outcome_that_can_never_be_stored_becomes_a_failure(add: Any) -> None:
    async with open_lab() as lab:
        add(lab)
        record = await reserved(lab)
        lab.backend.refusal = RefusedError("no such result")
        lab.backend.refuse = lambda record: record.state is State.COMPLETED
        assert await run_task(lab.service, record.id) is RemoteExit.FAILURE
        stored = await lab.stored(record.id)
        assert stored.state is State.FAILED
        assert "no such result" in str(stored.error)


async def test_a_store_that_was_replaced_ends_the_run(add: Any) -> None:
    async with open_lab(worker_heartbeat_interval=0.01, worker_stale_after=10) as lab:
        add(lab)
        record = await reserved(lab)

        async def replaced(*_: Any, **__: Any) -> Any:
            raise StoreReplacedError("the file was deleted")

        async def replace() -> None:
            for kind in ("get", "commit", "touch_heartbeats"):
                setattr(lab.backend, kind, replaced)

        lab.backend.gates["commit"] = asyncio.Event()
        running = asyncio.create_task(run_task(lab.service, record.id))
        await lab.until(lambda: lab.backend.of("commit"))
        await replace()
        lab.backend.gates["commit"].set()
        lab.backend.away.add("commit")
        assert await within(running) is RemoteExit.FAILURE


@pytest.mark.parametrize("why", ["cancelled", "taken"])
@pytest.mark.parametrize("deaf", [False, True], ids=["heeds", "deaf"])
async def test_a_task_that_is_lost_is_stopped(monkeypatch: pytest.MonkeyPatch, why: str, *, deaf: bool) -> None:
    monkeypatch.setattr(remote, "_UNWIND", 0.05)
    began, goes_on, interrupted = asyncio.Event(), asyncio.Event(), asyncio.Event()
    async with open_lab(worker_heartbeat_interval=0.01, worker_stale_after=10) as lab:

        @lab.task("endless")
        async def endless() -> None:
            began.set()
            while not goes_on.is_set():
                try:
                    await goes_on.wait()
                except asyncio.CancelledError:
                    interrupted.set()
                    if not deaf:
                        raise

        record = await reserved(lab, "endless")
        running = asyncio.create_task(run_task(lab.service, record.id))
        await within(began.wait())
        if why == "cancelled":
            await lab.service.cancel(record.id)
        else:
            await happens(lab, await lab.stored(record.id), Release())
        assert await within(running) is (RemoteExit.CANCELLED if why == "cancelled" else RemoteExit.CLAIM_LOST)
        assert (await lab.stored(record.id)).state is (State.CANCELLED if why == "cancelled" else State.PENDING)
        assert interrupted.is_set()
        goes_on.set()


@pytest.mark.parametrize("how", ["stop", "cancel"])
async def test_a_task_that_does_not_stop_is_left_behind_and_given_back(
    monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(remote, "_UNWIND", 0.05)
    began, goes_on, stop = asyncio.Event(), asyncio.Event(), asyncio.Event()
    async with open_lab() as lab:

        @lab.task("deaf")
        async def deaf() -> None:
            began.set()
            while not goes_on.is_set():
                try:
                    await goes_on.wait()
                except asyncio.CancelledError:
                    continue

        record = await reserved(lab, "deaf")
        running = asyncio.create_task(run_task(lab.service, record.id, stop=stop))
        await within(began.wait())
        if how == "stop":
            stop.set()
            assert await within(running) is RemoteExit.FAILURE
        else:
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await within(running)
        stored = await lab.stored(record.id)
        assert (stored.state, stored.attempt) == (State.PENDING, 0)
        goes_on.set()


async def test_an_attempt_that_ends_while_it_is_stopped_keeps_its_outcome() -> None:
    began, stop = asyncio.Event(), asyncio.Event()
    async with open_lab() as lab:

        @lab.task("cleans_up")
        async def cleans_up() -> str:
            began.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                return "done"
            return "never"

        record = await reserved(lab, "cleans_up")
        running = asyncio.create_task(run_task(lab.service, record.id, stop=stop))
        await within(began.wait())
        stop.set()
        assert await within(running) is RemoteExit.SUCCESS
        assert (await lab.stored(record.id)).result == '"done"'


@pytest.mark.parametrize("how", ["raises", "cancels"])
async def test_a_task_that_cancels_itself_spends_its_attempt(how: str) -> None:
    async with open_lab() as lab:

        @lab.task("cancels_itself")
        async def cancels_itself() -> None:
            running = asyncio.current_task()
            if how == "raises" or running is None:
                raise asyncio.CancelledError
            running.cancel()
            await asyncio.Event().wait()

        record = await reserved(lab, "cancels_itself")
        assert await run_task(lab.service, record.id) is RemoteExit.FAILURE
        assert (await lab.stored(record.id)).state is State.FAILED


async def test_a_run_does_no_maintenance(add: Any) -> None:
    async with open_lab() as lab:
        add(lab)
        record = await reserved(lab)
        before = len(lab.backend.calls)
        assert await run_task(lab.service, record.id) is RemoteExit.SUCCESS
        assert [kind for kind, _ in lab.backend.calls[before:]] == ["get", "claim", "commit"]
