"""What a worker does while its store is away, slow, or silent."""

from __future__ import annotations

import asyncio

import pytest
from queue_lab import open_lab, within
from test_worker import Gate, ended, states

from litestar_queues import State, current_task
from litestar_queues.lifecycle import LoseHeartbeat, step
from litestar_queues.records import Want

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("quick_backoffs")]
EVERYTHING = {"claim", "commit", "touch_heartbeats", "find", "get", "lock", "now", "next_due", "delete"}


async def test_a_store_that_goes_away_and_comes_back_costs_time_and_nothing_else() -> None:
    async with open_lab(worker_heartbeat_interval=0.01, maintenance_interval=0.01) as lab:
        gate = Gate(lab)
        ids = await gate.enqueue(12)
        async with lab.worker(max_concurrency=4) as running:
            await gate.running(4)
            lab.backend.away |= EVERYTHING
            gate.go.set()
            lab.backend.calls.clear()
            await lab.until(
                lambda: all(len(lab.backend.of(kind)) >= 3 for kind in ("claim", "commit", "touch_heartbeats", "now"))
            )
            assert lab.told("complete") == []
            assert not running.run.done()
            lab.backend.away.clear()
            await lab.until(lambda: len(lab.told("complete")) == 12)
            assert await states(lab, ids) == {State.COMPLETED}
            assert {(await lab.stored(id_)).attempt for id_ in ids} == {1}
            assert lab.told("fence_loss") == []
            assert gate.begun == ids, "nothing ran twice"
            assert (await running.drain()).drained


@pytest.mark.parametrize("kind", ["claim", "commit", "touch_heartbeats", "find", "lock", "now", "next_due"])
async def test_any_one_call_may_fail_for_a_while(kind: str) -> None:
    async with open_lab(worker_heartbeat_interval=0.01, maintenance_interval=0.01) as lab:
        gate = Gate(lab)
        async with lab.worker() as running:
            held = await gate.enqueue(2)
            await gate.running(2)
            lab.backend.away.add(kind)
            lab.backend.calls.clear()
            if kind == "commit":
                gate.go.set()
            await lab.until(lambda: len(lab.backend.of(kind)) >= 2)
            lab.backend.away.clear()
            gate.go.set()
            held += await gate.enqueue(2)
            for id_ in held:
                assert await ended(lab, id_) is State.COMPLETED
            assert (await running.drain()).drained


async def test_what_was_claimed_starts_even_where_the_next_question_fails() -> None:
    async with open_lab() as lab, lab.worker():
        lab.backend.away.add("next_due")
        lab.task("quick")(lambda: 5)
        result = await lab.service.enqueue("quick")
        assert (await within(result.wait())).result == 5


async def test_a_settlement_whose_reply_was_lost_is_neither_doubled_nor_a_loss() -> None:
    async with open_lab() as lab, lab.worker() as running:
        gate = Gate(lab, key="k")
        (id_,) = await gate.enqueue(1)
        await gate.running(1)
        lab.backend.deaf.append("commit")
        gate.go.set()
        await lab.until(lambda: lab.told("complete"))
        assert (await running.drain()).drained
        assert len(lab.backend.of("commit")) == 2
        assert (await lab.stored(id_)).state is State.COMPLETED
        assert (len(lab.told("complete")), lab.told("fence_loss")) == (1, [])
        assert lab.service.operations.counters["complete"] == 1


async def test_a_batch_whose_reply_was_lost_is_resolved_task_by_task() -> None:
    async with open_lab(worker_settle_delay=0.05) as lab, lab.worker() as running:
        gate = Gate(lab)
        ids = await gate.enqueue(6)
        await gate.running(6)
        await lab.backend.inner.commit([(await lab.service.operations.backend.get([ids[2]]))[ids[2]].evolve(fence=2)])
        lab.backend.deaf.append("commit")
        gate.go.set()
        await lab.until(lambda: len(lab.told("complete")) == 5 and lab.told("fence_loss"))
        assert [e.task_id for e in lab.told("fence_loss")] == [ids[2]]
        assert {e.task_id for e in lab.told("complete")} == set(ids) - {ids[2]}
        assert (await running.drain()).drained


async def test_what_a_worker_could_not_confirm_for_the_stale_window_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    async with open_lab(worker_heartbeat_interval=0.01, worker_stale_after=0.05) as lab, lab.worker() as running:
        gate = Gate(lab)
        ids = await gate.enqueue(2)
        await gate.running(2)
        lab.backend.away.add("touch_heartbeats")
        lab.backend.calls.clear()
        await lab.until(lambda: len(lab.backend.of("touch_heartbeats")) > 10)
        assert gate.interrupted == []
        assert "a heartbeat for 2 tasks was not stored: the store is away; they go on" in caplog.text
        lab.backend.away.clear()
        await lab.until(lambda: "heartbeats are stored again" in caplog.text)
        gate.go.set()
        await lab.until(lambda: len(lab.told("complete")) == 2)
        assert (await running.drain()).drained
        assert await states(lab, ids) == {State.COMPLETED}
        assert lab.told("fence_loss") == []


async def test_a_beat_that_hangs_is_given_up_and_another_one_is_sent() -> None:
    async with open_lab(worker_heartbeat_interval=0.01, worker_stale_after=0.06) as lab, lab.worker():
        gate = Gate(lab)
        (id_,) = await gate.enqueue(1)
        await gate.running(1)
        lab.backend.calls.clear()
        lab.backend.gates["touch_heartbeats"] = asyncio.Event()
        await lab.until(lambda: len(lab.backend.of("touch_heartbeats")) > 3)
        lab.backend.gates.pop("touch_heartbeats").set()
        gate.go.set()
        await lab.until(lambda: lab.told("complete"))
        assert gate.interrupted == []
        assert (await lab.stored(id_)).state is State.COMPLETED


async def test_a_task_that_another_owns_after_the_silence_is_interrupted_then() -> None:
    async with open_lab(worker_heartbeat_interval=0.01, worker_stale_after=0.05) as lab, lab.worker():
        gate = Gate(lab)
        (id_,) = await gate.enqueue(1)
        await gate.running(1)
        lab.backend.away.add("touch_heartbeats")
        record = await lab.stored(id_)
        await lab.backend.inner.commit([step(record, LoseHeartbeat('"e"'), lab.service.clock.now())])
        await lab.backend.inner.claim(Want(worker="another", limit=1))
        lab.backend.away.clear()
        await lab.until(lambda: gate.interrupted)
        assert gate.interrupted == [id_]
        assert [event.task_id for event in lab.told("fence_loss")] == [id_]


async def test_an_outcome_that_is_ready_outlives_the_stale_window() -> None:
    async with open_lab(worker_heartbeat_interval=0.01, worker_stale_after=0.05) as lab, lab.worker():
        gate = Gate(lab)
        (id_,) = await gate.enqueue(1)
        await gate.running(1)
        lab.backend.away |= {"touch_heartbeats", "commit"}
        gate.go.set()
        lab.backend.calls.clear()
        await lab.until(lambda: len(lab.backend.of("touch_heartbeats")) > 10)
        lab.backend.away.clear()
        await lab.until(lambda: lab.told("complete"))
        assert (await lab.stored(id_)).state is State.COMPLETED
        assert lab.told("fence_loss") == []


async def test_a_beat_between_two_tries_to_settle_keeps_the_task() -> None:
    async with open_lab(worker_heartbeat_interval=0.01) as lab, lab.worker():
        gate = Gate(lab)
        (id_,) = await gate.enqueue(1)
        await gate.running(1)
        lab.backend.away.add("commit")
        gate.go.set()
        await lab.until(lambda: lab.backend.of("commit"))
        lab.backend.calls.clear()
        await lab.until(lambda: len(lab.backend.of("touch_heartbeats")) >= 2)
        assert [one.id for one in lab.backend.of("touch_heartbeats")[1][0]] == [id_]
        lab.backend.away.clear()
        await lab.until(lambda: lab.told("complete"))
        assert lab.told("fence_loss") == []


async def test_a_worker_does_not_claim_what_it_could_not_settle() -> None:
    async with open_lab(worker_max_concurrency=2, worker_batch_size=2) as lab, lab.worker() as running:
        ran: list[str] = []
        lab.task("count")(lambda: ran.append(current_task().id))
        lab.backend.away.add("commit")
        await lab.service.enqueue_many([lab.registry.get("count").call() for _ in range(50)])
        await lab.until(lambda: running.worker._settler.backlog > 8)
        claims = len(lab.backend.of("claim"))
        await lab.until(lambda: len(lab.backend.of("commit")) > 5)
        assert len(lab.backend.of("claim")) == claims
        assert 8 < len(ran) <= 10, "four batches wait, and no more than two tasks ran beside them"
        lab.backend.away.clear()
        await lab.until(lambda: len(lab.told("complete")) == 50)
        assert len(ran) == 50
