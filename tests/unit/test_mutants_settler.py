"""What mutants of the settler showed to be untested: its turns, its pauses, and what becomes of a cancelled write."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from queue_lab import within
from test_settler import Stage, content, opened

from litestar_queues.errors import BackendUnavailableError, RefusedError
from litestar_queues.lifecycle import State
from litestar_queues.operations import Move
from litestar_queues.pauses import Pause

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("quick_backoffs")]


async def test_one_that_is_tried_by_itself_and_what_gathers_take_turns() -> None:
    stage = Stage(batch_size=1)
    ids = await stage.claim(6)
    stage.end(*ids)
    settler = stage.settler
    settler._alone = [settler._gathered.popleft() for _ in range(3)]
    turns = [settler._due(1e12) for _ in range(6)]
    assert [[one.after.id for one in turn] for turn in turns] == [["t0"], ["t3"], ["t1"], ["t4"], ["t2"], ["t5"]]


async def test_a_settler_with_nothing_to_do_sleeps_until_there_is_something(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float | None] = []
    sleeping = asyncio.Event()
    timeout = asyncio.timeout

    def noted(delay: float | None) -> Any:
        waits.append(delay)
        sleeping.set()
        return timeout(delay)

    stage = Stage()
    monkeypatch.setattr(asyncio, "timeout", noted)
    running = asyncio.create_task(stage.settler.run())
    await sleeping.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert waits == [None]


async def test_once_the_worker_leaves_no_pause_is_longer_than_a_moment() -> None:
    stage = Stage()
    (id_,) = await stage.claim(1)
    stage.end(id_)
    assert stage.settler._pause(Pause(60.0)) == 60.0
    flushing = asyncio.create_task(stage.settler.flush())
    await asyncio.sleep(0)  # it has begun
    assert stage.settler._pause(Pause(60.0)) == 1.0
    assert stage.settler._pause(Pause(0.5)) == 0.5
    flushing.cancel()


async def test_a_write_that_somebody_cancels_is_tried_again() -> None:
    async with opened() as stage:
        (id_,) = await stage.claim(1)
        stage.store.locks[id_] = asyncio.Event()
        stage.end(id_)
        await within(stage.tried(1))
        (write,) = stage.settler._writing
        write.cancel()
        stage.store.locks.clear()
        await within(stage.all_settled(id_))
        assert await stage.all_in(State.COMPLETED)


async def test_that_all_is_stored_is_not_said_while_an_outcome_waits() -> None:
    said: list[str] = []
    async with opened() as stage:
        ids = await stage.claim(2)
        words = stage.settler._words
        words.stored = lambda: said.append("stored")  # type: ignore[method-assign]
        stage.store.mood = lambda tasks: OSError("no") if any(task.id == "t0" for task in tasks) else None
        stage.end("t0")
        await within(stage.tried(1))
        stage.end("t1")
        await within(stage.all_settled("t1"))
        assert said == []
        stage.store.mood = content
        await within(stage.settler.flush())
        assert set(stage.settled) == set(ids)
        assert said


async def test_a_store_that_refuses_for_now_is_tried_with_half_as_many() -> None:
    async with opened() as stage:
        ids = await stage.claim(16)
        stage.store.mood = lambda _: BackendUnavailableError("read only")
        stage.end(*ids)
        await within(stage.tried(5))
        assert [len(one) for one in stage.store.tries[:5]] == [16, 8, 4, 2, 1]
        stage.store.mood = content
        await within(stage.settler.flush())


async def test_outcomes_that_are_stored_leave_nothing_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "litestar_queues.worker"):
        async with opened() as stage:
            ids = await stage.claim(3)
            stage.end(*ids)
            await within(stage.settler.flush())
            stage.end(*await stage.claim(1))
            await within(stage.settler.flush())
    assert caplog.messages == []


async def test_what_takes_the_place_of_an_outcome_is_tried_from_the_beginning() -> None:
    stage = Stage()
    (id_,) = await stage.claim(1)
    stage.end(id_)
    one = stage.settler._gathered.popleft()
    one.alone, one.counted = 7, 4
    assert stage.settler._replace(one, RefusedError("too long"))
    assert (one.alone, one.counted) == (0, 0)
    assert one.after.state is State.FAILED
    assert list(stage.settler._parts) == [[one]]


async def test_where_there_is_nothing_less_the_outcome_stays_what_it_is() -> None:
    stage = Stage()
    first, second = await stage.claim(2)
    stage.end(first, second)
    failed_already, one = stage.settler._gathered
    failed_already.replaced = 2
    one.move = Move(one.after, one.move.event)  # which has ended: nothing fails any more
    for outcome in (failed_already, one):
        after = outcome.after
        assert not stage.settler._replace(outcome, RefusedError("too long"))
        assert outcome.after is after
    assert not stage.settler._parts
