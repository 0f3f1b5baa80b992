from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import pytest
from sql_lab import FORMS, Lab

from litestar_queues.backends.memory import MemoryBackend
from litestar_queues.backends.sql.engine import PROMOTED_AT_ONCE
from litestar_queues.backends.sql.family import Family, Statement
from litestar_queues.clock import ManualClock
from litestar_queues.lifecycle import (
    TERMINAL,
    WAITING,
    Cancel,
    Complete,
    Dispatch,
    Divert,
    Expire,
    Fail,
    IllegalTransition,
    LoseHeartbeat,
    NullHeartbeat,
    Release,
    Requeue,
    Revive,
    Snooze,
    State,
    step,
)
from litestar_queues.records import (
    Count,
    Dispatched,
    Enqueued,
    Finished,
    Held,
    Matching,
    NamedRecord,
    NewTask,
    Overdue,
    Stale,
    TaskRecord,
    Want,
)

pytestmark = pytest.mark.anyio

QUEUES = ("default", "mail", "Mail", "reports")
BACKENDS = ("local", "remote")
KEYS = (None, None, "k", "K", "k ", "\u00e4")


class Actor:
    """Does the same random things to two backends, and compares what they answer."""

    def __init__(self, seed: int, family: Family, statements: Mapping[str, Statement]) -> None:
        self.random = random.Random(seed)
        self.clock = ManualClock()
        self.backends: tuple[Any, Any] = (MemoryBackend(self.clock), Lab(statements, self.clock, family=family))
        self.known: list[TaskRecord] = []
        self.made = 0
        self.seen: set[tuple[State, bool]] = set()

    @property
    def now(self) -> datetime:
        return self.clock.now()

    async def both(self, method: str, *args: Any, **kwargs: Any) -> Any:
        answers = [await getattr(backend, method)(*args, **kwargs) for backend in self.backends]
        expected, found = [self.settled(answer) for answer in answers]
        assert found == expected, f"{method}{args}{kwargs}"
        return answers[1]

    def settled(self, answer: Any) -> Any:
        """The answer without what is left to a backend: when it makes a due task pending, and the order of counts."""
        match answer:
            case TaskRecord() if answer.state is State.SCHEDULED and answer.due_at <= self.now:
                return answer.evolve(state=State.PENDING)
            case Enqueued(record, is_new):
                return Enqueued(self.settled(record), is_new)
            case [Count(), *_]:
                counts: dict[tuple[str, str], int] = defaultdict(int)
                for one in answer:
                    counts[one.queue, "waiting" if one.state in WAITING else one.state] += one.tasks
                return counts
            case list():
                return [self.settled(one) for one in answer]
            case dict():
                return {id_: self.settled(one) for id_, one in answer.items()}
            case _:
                return answer

    def time(self) -> datetime:
        return self.now + timedelta(seconds=self.random.choice((-60, -1, 0, 0.000001, 1, 30, 300)))

    def task(self) -> NewTask:
        self.made += 1
        pick = self.random.choice
        return NewTask(
            id=f"{pick('abc')}{self.made:05}",
            name=pick(("app.one", "app.two")),
            queue=pick(QUEUES),
            key=pick(KEYS),
            priority=pick((-(2**31), -1, 0, 0, 1, 2**31 - 1)),
            max_attempts=pick((1, 2, 5)),
            max_recoveries=pick((0, 1, 3)),
            run_at=pick((None, None, self.time())),
            expires_at=pick((*[None] * 3, self.time())),
            execution_backend=pick(BACKENDS),
            timeout=pick((None, 0.1, 1 / 3, 1e-7)),
            args=pick(("[]", '["\\u0000", "\u2028", "{}", 12345678901234567890]')),
            metadata=pick(("{}", '{"":""}')),
            description=pick((None, 'it\'s "quoted"\n')),
        )

    def events(self) -> tuple[Any, ...]:
        return (
            Complete('{"ok":"\U0001f600"}'),
            Fail('"no"', None),
            Fail('"no"', self.time()),
            Requeue(),
            Dispatch(self.random.choice(("run/1", "run/2", "run/3")), self.random.choice((5.0, 20.000001))),
            Dispatch("run/4", 5.0),
            Divert(self.random.choice(BACKENDS), '"refused"'),
            Release(),
            Snooze(self.time()),
            LoseHeartbeat('"lost"'),
            NullHeartbeat(),
            Cancel(),
            Expire(),
            Revive(),
            Revive(),
        )

    def subset(self, of: tuple[str, ...]) -> tuple[str, ...] | None:
        return self.random.choice((None, tuple(self.random.sample(of, self.random.randint(1, len(of))))))

    def held(self) -> tuple[Held, ...]:
        some = self.random.sample(self.known, min(len(self.known), 6))
        some += [record for record in self.known if record.state is State.DISPATCHED and record not in some][:3]
        return tuple(
            Held(r.id, r.fence - self.random.choice((0, 0, 0, 1)), self.random.choice((None, '"50 %"')), self.window())
            for r in some
        )

    async def enqueue(self) -> None:
        tasks = [self.task() for _ in range(self.random.randint(0, 8))]
        answers = await self.both("enqueue_many", tasks)
        self.known += [answer.record for answer in answers if answer.is_new]
        if self.random.random() < 0.2:  # an unclear failure: the batch again
            await self.both("enqueue_many", tasks)

    async def claim(self) -> None:
        reserve = self.random.random() < 0.3
        want = Want(
            worker=self.random.choice(("w1", "w2")),
            limit=self.random.choice((0, 1, 3, 10)),
            stale_after=5.0 if reserve else self.window(),
            reserve=reserve,
            execution_ref=None if reserve else self.random.choice((None, None, "run/own")),
            queues=self.subset(QUEUES),
            tasks=self.held() if self.random.random() < 0.3 else None,
            execution_backends=self.subset(BACKENDS),
        )
        await self.both("claim", want)

    async def touch(self) -> None:
        await self.both("touch_heartbeats", self.held())

    async def commit(self) -> None:
        changed: dict[str, TaskRecord] = {}
        running = [record for record in self.known if record.state in (State.RUNNING, State.DISPATCHED)]
        others = self.random.sample(self.known, min(len(self.known), 4))
        for record in {r.id: r for r in (*running, *others)}.values():
            for event in self.random.sample(self.events(), 5):
                with suppress(IllegalTransition):
                    changed[record.id] = step(record, event, self.now)
        tasks = list(changed.values())
        for task in self.random.sample(tasks, len(tasks) // 4):  # somebody whose task it is no more
            changed[task.id] = task.evolve(fence=task.fence - 1)
        stale = self.random.choice((None, None, self.stale()))
        await self.both("commit", list(changed.values()), stale=stale)

    def window(self) -> float | None:
        return self.random.choice((None, 5.0, 20.000001))

    def stale(self) -> Stale:
        return Stale(
            at=self.time(),
            window=self.random.choice((0, 5, 20.5)),
            own_windows=self.random.random() < 0.7,
            longest=self.random.choice((None, None, 0.5, 20.5)),
        )

    async def records(self) -> None:
        name = self.random.choice(("a", "a b", "b"))
        stored = (await self.both("read_records", self.random.choice(("", "a", name)))).get(name)
        version = 0 if stored is None else stored.version
        await self.both("write_records", [NamedRecord(name, max(version + self.random.choice((0, 1, 1, 2)), 1), "[5]")])

    async def find(self) -> None:
        query = self.random.choice(
            (
                self.stale(),
                Overdue(self.time()),
                Dispatched(at=self.time(), execution_backends=self.subset(BACKENDS)),
                Finished(self.time()),
                Matching(states=(State.FAILED, State.RUNNING), queues=self.subset(QUEUES)),
                Matching(names=("app.one",), key=self.random.choice(KEYS)),
            )
        )
        await self.both("find", query, self.random.choice((0, 1, 5, 1000)))

    async def delete(self) -> None:
        terminal = [record.held for record in self.known if record.state in TERMINAL]
        await self.both("delete", [*self.random.sample(terminal, min(len(terminal), 2)), *self.held()[:2]])

    async def lock(self) -> None:
        name, owner = self.random.choice("xy"), self.random.choice(("a", "b"))
        await self.both("lock", name, owner, timedelta(seconds=self.random.choice((1, 60))))
        if self.random.random() < 0.3:
            await self.both("unlock", self.random.choice("xy"), self.random.choice(("a", "b")))

    async def act(self) -> None:
        kinds = (self.enqueue, self.claim, self.claim, self.touch, self.commit, self.commit, self.find, self.delete)
        await self.random.choice((*kinds, self.lock, self.records))()
        self.clock.advance(self.random.choice((0, 0.000001, 0.5, 20)))
        self.known = await self.both("find", Matching(), 100_000)
        await self.both("count", self.subset(QUEUES))
        self.seen |= {(record.state, record.attempt > 1) for record in self.known}
        ids = [record.id for record in self.random.sample(self.known, min(len(self.known), 5))]
        await self.both("get", [*ids, "no such id"])


@pytest.mark.parametrize("form", FORMS)
async def test_engine_answers_and_stores_what_the_memory_backend_does(form: str) -> None:
    family, statements = FORMS[form]
    seen: set[tuple[State, bool]] = set()
    sent: set[str] = set()
    for seed in range(8):
        actor = Actor(seed, family, statements)
        for _ in range(150):
            await actor.act()
        seen |= actor.seen
        sent |= actor.backends[1].sent
    others = {"check_schema", "next_due", "next_due_queues", "version"}
    assert sorted(family.engine.owed(family) - others - sent) == [], "statements that no operation needed"
    assert {state for state, _ in seen} == set(State), "the histories did not get far enough to mean anything"
    assert any(repeated for _, repeated in seen), "no task was tried twice"


@pytest.fixture(params=FORMS)
def lab(request: pytest.FixtureRequest) -> Lab:
    family, statements = FORMS[request.param]
    return Lab(statements, family=family)


def new(id_: str, **fields: Any) -> NewTask:
    return NewTask(id=id_, name="app.task", **fields)


def after(seconds: float) -> datetime:
    return ManualClock().now() + timedelta(seconds=seconds)


def reserving(limit: int = 1) -> Want:
    return Want(worker="dispatcher", limit=limit, reserve=True, stale_after=30)


async def test_a_run_claims_its_own_task_under_the_fence_that_stands_and_keeps_the_reference(lab: Lab) -> None:
    await lab.enqueue_many([new("a")])
    [reserved] = await lab.claim(reserving(), now=after(0))
    assert (reserved.state, reserved.fence, reserved.attempt) == (State.DISPATCHED, 1, 0)
    assert (reserved.worker, reserved.started_at, reserved.execution_ref) == ("dispatcher", None, None)
    assert await lab.commit([step(reserved, Dispatch("run/1", 60), after(1))]) == {"a"}

    def run(fence: int, **more: Any) -> Want:
        return Want(worker="run", limit=1, tasks=(Held("a", fence),), **more)

    assert await lab.claim(run(1), now=after(2)) == [], "that fence was the reservation's"
    assert await lab.claim(Want(worker="w", limit=9), now=after(2)) == [], "a claim by queue takes no dispatched task"
    again = Want(worker="d", limit=1, tasks=(Held("a", 2),), reserve=True, stale_after=30)
    assert await lab.claim(again, now=after(2)) == [], "it is reserved already"
    [claimed] = await lab.claim(run(2), now=after(2))
    assert (claimed.state, claimed.fence, claimed.attempt) == (State.RUNNING, 3, 1)
    assert (claimed.worker, claimed.started_at, claimed.execution_ref) == ("run", after(2), "run/1")
    assert await lab.claim(run(2), now=after(3)) == [], "another run of the same task is too late"


async def test_a_run_brings_its_own_reference_and_a_new_reservation_clears_it(lab: Lab) -> None:
    await lab.enqueue_many([new("a", max_attempts=2)])
    [reserved] = await lab.claim(reserving(), now=after(0))
    own = Want(worker="run", limit=1, tasks=(reserved.held,), execution_ref="run/own")
    [claimed] = await lab.claim(own, now=after(1))
    assert claimed.execution_ref == "run/own"
    await lab.commit([step(claimed, Fail('"no"', after(2)), after(2))])
    [again] = await lab.claim(reserving(), now=after(3))
    assert (again.execution_ref, again.attempt, again.started_at) == (None, 1, after(1))


async def test_next_due_is_the_first_scheduled_task_of_the_queues_asked(lab: Lab) -> None:
    await lab.enqueue_many(
        [new("a", queue="x", run_at=after(30)), new("b", queue="y", run_at=after(20)), new("c", queue="z")]
    )
    assert await lab.next_due() == after(20)
    assert await lab.next_due(("x",)) == after(30)
    assert await lab.next_due(("x", "y", "z")) == after(20)
    assert await lab.next_due(("z",)) is None
    assert await lab.next_due(()) is None


async def test_a_key_given_up_in_a_batch_can_be_taken_later_in_the_same_batch(lab: Lab) -> None:
    await lab.enqueue_many([new("old", key="k")])
    [old] = (await lab.get(["old"])).values()
    cancelled = step(old, Cancel(), after(0))
    assert await lab.commit([cancelled]) == {"old"}
    await lab.enqueue_many([new("young", key="k")])
    [young] = (await lab.get(["young"])).values()
    revived = step(cancelled, Revive(), after(1))
    assert await lab.commit([revived]) == set()
    assert await lab.commit([revived, step(young, Cancel(), after(1))]) == {"young"}
    [young] = (await lab.get(["young"])).values()
    both = [revived, step(young, Revive(), after(1))]
    assert await lab.commit(both) == {"old"}, "only the first of two that want one key"


async def test_a_claim_makes_a_bounded_number_of_due_tasks_pending_and_leaves_their_fences(lab: Lab) -> None:
    count = PROMOTED_AT_ONCE + 50
    await lab.enqueue_many([new(f"{i:05}", run_at=after(1 + i / 1000)) for i in range(count)])
    [claimed] = await lab.claim(Want(worker="w", limit=1), now=after(60))
    assert (claimed.id, claimed.fence, claimed.attempt) == ("00000", 1, 1)
    waiting = (await lab.get([f"{i:05}" for i in range(1, count)])).values()
    assert {record.fence for record in waiting} == {0}
    pending = [record.id for record in waiting if record.state is State.PENDING]
    assert sorted(pending) == [f"{i:05}" for i in range(1, PROMOTED_AT_ONCE + 1)], "the longest due first"
