"""How a worker ends."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Sequence
from typing import Any

import pytest
from apart_lab import apart_lab, hearts
from queue_lab import Lab, Running, open_lab, within
from test_worker import Gate, ended, states
from waiting import DEADLINE

from litestar_queues import BackendUnavailableError, State, Worker, WorkerExit, apart
from litestar_queues.records import Held
from litestar_queues.worker import worker as worker_module
from litestar_queues.worker.supervisor import run_until_signalled

pytestmark = pytest.mark.anyio


@pytest.fixture
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a worker waits for at its end takes no time."""
    for name in ("_UNWIND", "_LAST_WRITE", "_HURRY"):
        monkeypatch.setattr(worker_module, name, 0.02)


class Stubborn:
    """A task that does not heed its cancellation."""

    def __init__(self, lab: Lab) -> None:
        self.begun, self.go, self.heard = asyncio.Event(), asyncio.Event(), 0

        @lab.task("stubborn", retries=1)
        async def stubborn() -> str:
            self.begun.set()
            while not self.go.is_set():
                try:
                    await self.go.wait()
                except asyncio.CancelledError:
                    self.heard += 1
                    lab.backend.stir.set()
            return "done"


async def test_a_worker_that_drains_lets_its_tasks_end_and_claims_no_more() -> None:
    async with open_lab() as lab:
        gate = Gate(lab)
        ids = await gate.enqueue(2)
        async with lab.worker() as running:
            await gate.running(2)
            running.worker.drain()
            (late,) = await gate.enqueue(1)
            claims = len(lab.backend.of("claim"))
            gate.go.set()
            assert await within(running.run) == WorkerExit([], [])
        assert len(lab.backend.of("claim")) == claims
        assert await states(lab, ids) == {State.COMPLETED}
        assert (await lab.stored(late)).state is State.PENDING


async def test_what_does_not_end_in_time_is_given_back_without_spending_its_attempt() -> None:
    async with open_lab(worker_drain_timeout=0.01) as lab:
        gate = Gate(lab, retries=0)
        ids = await gate.enqueue(2)
        async with lab.worker() as running:
            await gate.running(2)
            ended_ = await running.drain()
        assert (sorted(ended_.given_back), ended_.unsettled, ended_.drained) == (ids, [], False)
        for id_ in ids:
            record = await lab.stored(id_)
            assert (record.state, record.attempt, record.fence, record.heartbeat_at) == (State.PENDING, 0, 2, None)
        gate.go.set()
        async with lab.worker(name="w2"):
            assert {await ended(lab, id_) for id_ in ids} == {State.COMPLETED}
            assert {(await lab.stored(id_)).worker for id_ in ids} == {"w2"}


async def test_a_task_that_must_not_run_a_second_time_is_said_to_have_failed_not_to_be_given_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with open_lab(worker_drain_timeout=0) as lab:
        gate, once = Gate(lab), Gate(lab, "once", requeue_on_stale=False)
        (again,), (never,) = await gate.enqueue(1), await once.enqueue(1)
        async with lab.worker() as running:
            await gate.running(1)
            await once.running(1)
            ended_ = await running.drain()
        assert (ended_.given_back, ended_.failed, ended_.unsettled, ended_.drained) == ([again], [never], [], False)
        assert [(await lab.stored(id_)).state for id_ in (again, never)] == [State.PENDING, State.FAILED]
    assert not WorkerExit(failed=[never]).drained
    assert f"interrupted 1 tasks that must not run a second time, and so failed: {never}" in caplog.text


@pytest.mark.usefixtures("no_patience")
async def test_a_second_client_that_hangs_keeps_no_worker_from_ending(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart, "_CLOSING", 10 * DEADLINE)
    lab, second = apart_lab(worker_drain_timeout=0)
    hangs, release = threading.Event(), threading.Event()

    async def hang(_: Sequence[Held]) -> set[str]:
        hangs.set()
        release.wait()
        raise BackendUnavailableError("it hung")

    try:
        async with lab.service:
            gate = Gate(lab)
            (id_,) = await gate.enqueue(1)
            async with lab.worker() as running:
                await gate.running(1)
                lab.backend.away.add("commit")
                monkeypatch.setattr(second, "touch_heartbeats", hang)
                assert await asyncio.to_thread(hangs.wait, DEADLINE)
                assert (await running.drain()).unsettled == [id_], "which the worker has the time to say"
    finally:
        release.set()
        for thread in hearts():
            thread.join(DEADLINE)


async def test_an_outcome_that_is_ready_is_stored_before_the_worker_ends() -> None:
    async with open_lab(worker_settle_delay=0.02) as lab:
        gate = Gate(lab)
        lab.task("quick")(lambda: None)
        async with lab.worker() as running:
            await within((await lab.service.enqueue("quick")).wait())
            ids = await gate.enqueue(3)
            await gate.running(3)
            gate.go.set()
            assert (await running.drain()).drained
        assert await states(lab, ids) == {State.COMPLETED}


async def test_a_second_signal_gives_back_at_once() -> None:
    async with open_lab(worker_drain_timeout=1000) as lab:
        gate = Gate(lab)
        ids = await gate.enqueue(2)
        async with lab.worker() as running:
            await gate.running(2)
            running.worker.drain()
            await asyncio.sleep(0)
            assert not running.run.done()
            assert sorted((await running.abort()).given_back) == ids
        assert await states(lab, ids) == {State.PENDING}


async def test_a_second_signal_is_heard_while_the_worker_waits_for_a_task_to_unwind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(worker_module, "_UNWIND", 1000)
    monkeypatch.setattr(worker_module, "_HURRY", 0.01)
    async with open_lab(worker_drain_timeout=0) as lab:
        stubborn = Stubborn(lab)
        result = await lab.service.enqueue("stubborn")
        async with lab.worker() as running:
            await within(stubborn.begun.wait())
            running.worker.drain()
            await lab.until(lambda: stubborn.heard)
            assert (await running.abort()).given_back == [result.id]
        assert (await lab.stored(result.id)).state is State.PENDING
        stubborn.go.set()


async def test_a_second_signal_is_heard_while_the_store_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "_LAST_WRITE", 1000)
    monkeypatch.setattr(worker_module, "_HURRY", 0.01)
    async with open_lab() as lab:
        gate = Gate(lab)
        (id_,) = await gate.enqueue(1)
        async with lab.worker() as running:
            await gate.running(1)
            lab.backend.away.add("commit")
            gate.go.set()
            running.worker.drain()
            await lab.until(lambda: lab.backend.of("commit"))
            ended_ = await running.abort()
        assert (ended_.given_back, ended_.unsettled, ended_.drained) == ([], [id_], False)
        assert (await lab.stored(id_)).state is State.RUNNING


@pytest.mark.usefixtures("no_patience")
async def test_a_claim_that_hangs_keeps_no_worker_from_ending() -> None:
    async with open_lab(worker_drain_timeout=1000) as lab:
        lab.backend.gates["claim"] = asyncio.Event()
        async with lab.worker() as running:
            await lab.until(lambda: lab.backend.of("claim"))
            assert (await running.drain()).drained


async def test_what_is_claimed_while_the_worker_is_told_to_stop_is_given_back_untouched() -> None:
    async with open_lab(worker_drain_timeout=0) as lab:
        gate = Gate(lab)
        (id_,) = await gate.enqueue(1)
        lab.backend.gates["claim"] = asyncio.Event()
        async with lab.worker() as running:
            await lab.until(lambda: lab.backend.of("claim"))
            running.worker.drain()
            await asyncio.sleep(0)
            lab.backend.gates["claim"].set()
            ended_ = await within(running.run)
        assert ended_ == WorkerExit([], []), "nothing was interrupted, so that this is an orderly end"
        record = await lab.stored(id_)
        assert (record.state, record.attempt, record.fence, gate.begun) == (State.PENDING, 0, 2, [])


@pytest.mark.usefixtures("no_patience")
async def test_a_task_that_does_not_heed_its_cancellation_is_given_back_all_the_same() -> None:
    async with open_lab(worker_drain_timeout=0) as lab:
        stubborn = Stubborn(lab)
        result = await lab.service.enqueue("stubborn")
        async with lab.worker() as running:
            await within(stubborn.begun.wait())
            ended_ = await running.drain()
        assert (stubborn.heard, ended_.given_back, ended_.unsettled) == (1, [result.id], [])
        given_back = await lab.stored(result.id)
        assert (given_back.state, given_back.attempt) == (State.PENDING, 0)
        stubborn.go.set()
        for _ in range(10):
            await asyncio.sleep(0)
        assert await lab.stored(result.id) == given_back, "what it returns later counts no more"


@pytest.mark.usefixtures("no_patience")
async def test_what_could_not_be_given_back_is_said_even_if_the_task_ends_meanwhile() -> None:
    async with open_lab(worker_drain_timeout=0) as lab:
        stubborn = Stubborn(lab)
        result = await lab.service.enqueue("stubborn")
        async with lab.worker() as running:
            await within(stubborn.begun.wait())
            lab.backend.away.add("commit")
            running.worker.drain()
            await lab.until(lambda: lab.backend.of("commit"))
            stubborn.go.set()
            ended_ = await within(running.run)
        assert (ended_.given_back, ended_.unsettled) == ([], [result.id])


async def test_a_task_that_ends_while_it_is_given_back_is_settled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "_UNWIND", 0.01)
    async with open_lab(worker_drain_timeout=0) as lab:
        stubborn = Stubborn(lab)
        result = await lab.service.enqueue("stubborn")
        lab.backend.gates["commit"] = asyncio.Event()
        async with lab.worker() as running:
            await within(stubborn.begun.wait())
            running.worker.drain()
            await lab.until(lambda: lab.backend.of("commit"))
            stubborn.go.set()
            for _ in range(10):
                await asyncio.sleep(0)
            lab.backend.gates["commit"].set()
            ended_ = await within(running.run)
        assert (ended_.given_back, ended_.unsettled) == ([result.id], [])
        assert (lab.told("fence_loss"), lab.told("complete")) == ([], [])
        assert (await lab.stored(result.id)).state is State.PENDING


async def test_a_task_that_answers_its_cancellation_with_a_result_has_completed() -> None:
    async with open_lab(worker_drain_timeout=0) as lab:
        begun = asyncio.Event()

        @lab.task("tidy")
        async def tidy() -> str:
            begun.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                return "tidied up"
            return "never"

        result = await lab.service.enqueue(tidy)
        async with lab.worker() as running:
            await within(begun.wait())
            assert (await running.drain()).drained
        assert (await result.refresh()).result == "tidied up"


async def test_a_worker_whose_run_is_cancelled_gives_back_what_it_holds() -> None:
    async with open_lab(worker_drain_timeout=1000) as lab:
        gate = Gate(lab)
        ids = await gate.enqueue(2)
        async with lab.worker() as running:
            await gate.running(2)
            running.run.cancel()
            with pytest.raises(asyncio.CancelledError):
                await within(running.run)
        assert await states(lab, ids) == {State.PENDING}


async def test_a_worker_that_has_ended_leaves_nothing_running() -> None:
    async with open_lab(worker_drain_timeout=0) as lab:
        before = asyncio.all_tasks()
        gate = Gate(lab)
        await gate.enqueue(3)
        async with lab.worker() as running:
            await gate.running(3)
            await running.drain()
        await within(lab.service.events.flush())
        assert asyncio.all_tasks() - before - {running.run} == set()
        assert lab.service.operations.notifier._listeners == set()


async def test_the_maintenance_lock_is_given_back_at_the_end() -> None:
    async with open_lab() as lab:
        async with lab.worker() as running:
            await lab.until(lambda: lab.backend.of("find"))
            await running.drain()
        assert lab.backend.inner.locks == {}


async def until_signalled(lab: Lab, **options: Any) -> Running:
    worker = Worker(lab.service, name="w1", **options)
    running = Running(worker, asyncio.ensure_future(run_until_signalled(worker)))
    await within(worker.started.wait())
    return running


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_first_signal_drains_and_the_second_is_immediate(number: signal.Signals) -> None:
    async with open_lab() as lab:
        gate = Gate(lab)
        ids = await gate.enqueue(2)
        running = await until_signalled(lab, drain_timeout=1000)
        await gate.running(2)
        os.kill(os.getpid(), number)
        await within(running.worker._draining.wait())
        assert not running.worker._aborting.is_set()
        os.kill(os.getpid(), number)
        assert sorted((await within(running.run)).given_back) == ids
        loop = asyncio.get_running_loop()
        assert not loop.remove_signal_handler(number), "the handlers of the process are its own again"


async def test_a_signal_that_finds_the_worker_idle_ends_it_in_order() -> None:
    async with open_lab() as lab:
        running = await until_signalled(lab)
        os.kill(os.getpid(), signal.SIGTERM)
        assert (await within(running.run)).drained
