"""What the conformance suite does not look at: the memory backend's own indexes."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from litestar_queues.backends.base import BackendConfig, DispatchingBackend, QueueBackend
from litestar_queues.backends.memory import MemoryBackend, MemoryBackendConfig
from litestar_queues.clock import ManualClock
from litestar_queues.lifecycle import (
    UNSTARTED,
    WAITING,
    Cancel,
    Complete,
    Dispatch,
    Divert,
    Event,
    Fail,
    IllegalTransition,
    LoseHeartbeat,
    Release,
    Requeue,
    Revive,
    Snooze,
    State,
    step,
)
from litestar_queues.records import Dispatched, NewTask, TaskRecord, Want, claim_order, is_silent

pytestmark = pytest.mark.anyio
QUEUES = ("a", "b")


def now_(coroutine: Any) -> Any:
    """The answer of a coroutine that waits for nothing, as no method of the memory backend may."""
    try:
        coroutine.send(None)
    except StopIteration as answer:
        return answer.value
    pytest.fail("a method of the memory backend awaited something")


class Indexes(RuleBasedStateMachine):
    """Random events; afterwards every index must say what a look at every task says."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock(datetime(2030, 1, 1, tzinfo=UTC))
        self.backend = MemoryBackend(self.clock)
        self.made = 0

    def tasks(self) -> list[TaskRecord]:
        return list(self.backend.tasks.values())

    @rule(queue=st.sampled_from(QUEUES), wait=st.integers(-1, 3), priority=st.integers(0, 2), key=st.sampled_from([None, "k", "l"]), lasts=st.sampled_from([None, 5]), where=st.sampled_from(["local", "far"]))  # fmt: skip
    def enqueue(self, *, queue: str, wait: int, priority: int, key: str | None, lasts: int | None, where: str) -> None:
        now = self.clock.now()
        self.made += 1
        new = NewTask(
            id=f"t{self.made}", name="n", queue=queue, priority=priority, key=key, max_attempts=2,
            run_at=now + timedelta(seconds=wait), execution_backend=where,
            expires_at=None if lasts is None else now + timedelta(seconds=lasts),
        )  # fmt: skip
        holder = next((t for t in self.tasks() if key is not None and t.active_key == key), None)
        (answer,) = now_(self.backend.enqueue_many([new]))
        assert answer.is_new is (holder is None)
        assert answer.record.id == (new.id if holder is None else holder.id)

    @rule(limit=st.integers(0, 3), queues=st.sampled_from([None, ("a",), ("a", "b"), ("b", "c"), ()]), where=st.sampled_from([None, ("local",), ()]), reserve=st.booleans())  # fmt: skip
    def claim(
        self, *, limit: int, queues: tuple[str, ...] | None, where: tuple[str, ...] | None, reserve: bool
    ) -> None:
        now = self.clock.now()
        expected = sorted(
            (
                t for t in self.tasks()
                if t.state in WAITING and t.due_at <= now and (t.expires_at is None or t.expires_at > now)
                and (queues is None or t.queue in queues) and (where is None or t.execution_backend in where)
            ),
            key=claim_order,
        )  # fmt: skip
        want = Want(worker="w", limit=limit, queues=queues, execution_backends=where, reserve=reserve, stale_after=2.0)
        claimed = now_(self.backend.claim(want))
        assert [t.id for t in claimed] == [t.id for t in expected[:limit]]
        assert all(t.state is (State.DISPATCHED if reserve else State.RUNNING) for t in claimed)

    @rule(data=st.data(), reserve=st.booleans())
    def claim_by_id(self, *, data: st.DataObject, reserve: bool) -> None:
        if not self.tasks():
            return
        now = self.clock.now()
        task = data.draw(st.sampled_from(sorted(self.tasks(), key=lambda t: t.id)))
        may = task.state in (WAITING if reserve else UNSTARTED)
        may = may and task.due_at <= now and (task.expires_at is None or task.expires_at > now)
        want = Want(worker="w", limit=1, tasks=(task.held,), reserve=reserve, stale_after=2.0)
        assert now_(self.backend.claim(want)) == ([step(task, want.event, now)] if may else [])

    @rule(data=st.data())
    def happen(self, data: st.DataObject) -> None:
        if not self.tasks():
            return
        now = self.clock.now()
        task = data.draw(st.sampled_from(sorted(self.tasks(), key=lambda t: t.id)))
        events: list[Event] = [
            Complete("1"), Fail('"e"'), Fail('"e"', now + timedelta(seconds=2)), Requeue(), Cancel(), Revive(),
            Snooze(now + timedelta(seconds=1)), LoseHeartbeat('"e"'), Release(), Dispatch("run", 2.0),
            Divert("far", '"e"'), Divert("local", '"e"'),
        ]  # fmt: skip
        event = data.draw(st.sampled_from(events))
        try:
            after = step(task, event, now)
        except IllegalTransition:
            return
        taken = any(
            t.id != after.id and after.active_key is not None and t.active_key == after.active_key for t in self.tasks()
        )
        assert now_(self.backend.commit([after])) == (set() if taken else {after.id})
        assert now_(self.backend.commit([after])) == set()

    @rule()
    def forget(self) -> None:
        first = self.tasks()[:2]
        assert now_(self.backend.delete([t.held for t in first])) == {t.id for t in first if t.finished_at is not None}

    @rule(seconds=st.integers(1, 3))
    def wait(self, seconds: int) -> None:
        self.clock.advance(seconds)

    @invariant()
    def indexes_agree(self) -> None:
        tasks = self.tasks()
        counted = Counter((t.queue, t.state) for t in tasks)
        assert {(c.queue, c.state): c.tasks for c in now_(self.backend.count())} == counted
        assert self.backend.keys == {t.active_key: t.id for t in tasks if t.active_key is not None}
        assert {s: set(ids) for s, ids in self.backend._by_state.items()} == {
            s: {t.id for t in tasks if t.state is s} for s in State
        }
        assert set(self.backend._expiring) == {t.id for t in tasks if t.state in UNSTARTED and t.expires_at is not None}
        query = Dispatched(at=self.clock.now())
        assert {t.id for t in now_(self.backend.find(query, 999))} == {t.id for t in tasks if is_silent(t, query)}
        for queues in (None, ("a",), ("b", "c")):
            later = [t.due_at for t in tasks if t.state is State.SCHEDULED and (queues is None or t.queue in queues)]
            assert now_(self.backend.next_due(queues)) == min(later, default=None)


def test_every_index_says_what_a_look_at_every_task_says() -> None:
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        Indexes, settings=settings(max_examples=30, stateful_step_count=25, deadline=None)
    )


def test_it_is_a_backend_and_its_config_makes_one() -> None:
    assert isinstance(MemoryBackend(), QueueBackend)
    assert isinstance(MemoryBackend(), DispatchingBackend)
    assert isinstance(MemoryBackendConfig(), BackendConfig)
    assert isinstance(MemoryBackendConfig().create_backend(), MemoryBackend)


async def test_a_claim_does_not_look_at_tasks_that_it_cannot_have(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = MemoryBackend()
    far = datetime(2100, 1, 1, tzinfo=UTC)
    await backend.enqueue_many([NewTask(id=f"b{n}", name="n", queue="b") for n in range(2000)])
    await backend.enqueue_many([NewTask(id=f"f{n}", name="n", queue="a", execution_backend="far") for n in range(2000)])
    await backend.enqueue_many([NewTask(id=f"l{n}", name="n", queue="a", run_at=far) for n in range(2000)])
    await backend.enqueue_many([NewTask(id=f"a{n}", name="n", queue="a") for n in range(3)])
    looked = 0
    under_fence = backend._under_fence

    def counting(id_: str, fence: int) -> TaskRecord | None:
        nonlocal looked
        looked += 1
        return under_fence(id_, fence)

    monkeypatch.setattr(backend, "_under_fence", counting)
    claimed = await backend.claim(Want(worker="w", limit=10, queues=("a",), execution_backends=("local",)))
    assert [task.id for task in claimed] == ["a0", "a1", "a2"]
    assert looked < 20


async def test_tasks_that_moved_on_leave_nothing_behind_once_they_are_passed() -> None:
    clock = ManualClock()
    backend = MemoryBackend(clock)
    await backend.enqueue_many([NewTask(id=f"t{n}", name="n") for n in range(100)])
    for task in [t async for t in _all(backend)]:
        await backend.commit([step(task, Cancel(), clock.now())])
    assert await backend.claim(Want(worker="w", limit=10)) == []
    assert sum(len(heap) for heap in backend._ready.values()) == 0


async def _all(backend: MemoryBackend) -> Any:
    for task in list(backend.tasks.values()):
        yield task
