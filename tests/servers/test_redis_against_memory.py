"""Any moves leave the same tasks on every Redis and Valkey as in the memory backend, and get the same replies."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from acceptance.redis_database import RedisDatabase
from redis_audit import audit
from redis_lab import Opens, database, opened, pair, server

from litestar_queues.backends.memory import MemoryBackend
from litestar_queues.backends.redis.backend import RedisBackend
from litestar_queues.lifecycle import (
    WAITING,
    Cancel,
    Complete,
    Dispatch,
    Divert,
    Event,
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
from litestar_queues.records import Dispatched, Finished, Held, NewTask, Overdue, Query, Stale, TaskRecord, Want

__all__ = ("database", "opened", "pair", "server")

pytestmark = pytest.mark.anyio

T0 = datetime(2031, 5, 17, 10, 20, 30, 123_456, tzinfo=UTC)
ERROR = '{"type": "E", "message": "m", "traceback": null}'
BACKENDS = ("local", "far", "ä:b")
SEED, STEPS = 1, 500


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def alike(records: Iterable[TaskRecord]) -> list[TaskRecord]:
    """Records with the waiting states as one: a backend promotes a scheduled task when it likes."""
    return [one.evolve(state=State.PENDING) if one.state in WAITING else one for one in records]


def by_id(records: Iterable[TaskRecord]) -> list[TaskRecord]:
    return sorted(alike(records), key=lambda one: one.id)


class Both:
    """A backend on a server and one in memory, each of which gets every call."""

    def __init__(self, backends: Sequence[RedisBackend], draw: random.Random) -> None:
        self.backends = backends
        self.memory = MemoryBackend()
        self.draw = draw
        self.now = 0.0
        self.made = 0
        self.seen = set[tuple[str, State]]()
        """From which state which kind of move was stored."""

    @property
    def backend(self) -> RedisBackend:
        return self.draw.choice(self.backends)

    @property
    def stored(self) -> list[TaskRecord]:
        return list(self.memory.tasks.values())

    def some(self, most: int) -> list[TaskRecord]:
        pool = (
            [one for one in self.stored if one.state is State.DISPATCHED] if self.draw.random() < 0.4 else self.stored
        )
        return self.draw.sample(pool, min(most, len(pool)))

    async def enqueue(self) -> None:
        new: list[NewTask] = []
        for _ in range(self.draw.randrange(6)):
            self.made += 1
            fields: dict[str, Any] = {
                "key": self.draw.choice((None, "k", "K")),
                "queue": self.draw.choice(("q", "ü:1")),
                "priority": self.draw.choice((-1, 0, 0, 7)),
                "run_at": self.draw.choice((None, None, at(self.now + 20))),
                "expires_at": self.draw.choice((None, at(self.now + 9), at(self.now + 60))),
                "execution_backend": self.draw.choice(BACKENDS),
                "max_attempts": self.draw.choice((1, 3)),
                "max_recoveries": self.draw.choice((0, 2)),
            }
            new.append(NewTask(id=f"{self.made:04d}-é", name="x", **fields))
        now = at(self.now)
        answers = [await one.enqueue_many(new, now=now) for one in (self.backend, self.memory)]
        assert [one.is_new for one in answers[0]] == [one.is_new for one in answers[1]]

    async def claim(self) -> None:
        reserve = self.draw.random() < 0.5
        named = tuple(one.held for one in self.some(4))
        stale = tuple(Held(one.id, one.fence - 1) for one in self.some(1))
        want = Want(
            worker=self.draw.choice(("w", "v")),
            limit=self.draw.randrange(1, 5),
            queues=self.draw.choice((None, None, ("q",), ("none", "ü:1"))),
            tasks=self.draw.choice((None, named, named + stale)),
            execution_backends=self.draw.choice((None, None, BACKENDS[1:], ("local",))),
            stale_after=self.draw.choice((1.0, 2.5)) if reserve else self.draw.choice((None, 7.0)),
            reserve=reserve,
            execution_ref=None if reserve else self.draw.choice((None, "runs/é")),
        )
        before = dict(self.memory.tasks)
        taken, expected = [alike(await one.claim(want, now=at(self.now))) for one in (self.backend, self.memory)]
        assert taken == expected
        self.seen |= {("reserve" if reserve else "claim", before[one.id].state) for one in taken}

    async def commit(self) -> None:
        events: list[Event] = [
            Complete("1"), Fail(ERROR), Fail(ERROR, at(self.now + 5)), Requeue(), Release(), Snooze(at(self.now + 9)),
            Snooze(at(self.now - 1)), Cancel(), LoseHeartbeat(ERROR), NullHeartbeat(), *[Expire()] * 5, Revive(),
            Dispatch("runs/1", 3.0), Dispatch("runs/2", 60.0), Divert("local", ERROR),
        ]  # fmt: skip
        moved: list[tuple[str, TaskRecord]] = []
        for one in self.some(6):
            if legal := list(_legal(one, events, at(self.now))):
                name, after = self.draw.choice(legal)
                moved.append((name, after if self.draw.random() < 0.9 else after.evolve(fence=one.fence)))
        before = dict(self.memory.tasks)
        records = [after for _, after in moved]
        stale = self.draw.choice((None, None, None, Stale.since(at(self.now - 10))))
        stored, expected = [await one.commit(records, stale=stale) for one in (self.backend, self.memory)]
        assert stored == expected
        self.seen |= {(name, before[after.id].state) for name, after in moved if after.id in stored}

    async def beat(self) -> None:
        held = [
            Held(
                one.id,
                one.fence - self.draw.choice((0, 0, 0, 1)),
                self.draw.choice((None, "1")),
                self.draw.choice((None, 4.0)),
            )
            for one in self.some(9)
        ]
        before = dict(self.memory.tasks)
        kept, expected = [await one.touch_heartbeats(held, now=at(self.now)) for one in (self.backend, self.memory)]
        assert kept == expected
        self.seen |= {("beat", before[id_].state) for id_ in kept}

    async def delete(self) -> None:
        held = [one.held for one in self.some(len(self.stored) // 3)]
        gone, expected = [await one.delete(held) for one in (self.backend, self.memory)]
        assert gone == expected

    async def compare(self) -> None:
        backend = self.backend
        assert by_id((await backend.get([f"{n:04d}-é" for n in range(self.made + 1)])).values()) == by_id(self.stored)
        backends = self.draw.choice((None, (), ("far",), ("local", "ä:b")))
        moment = at(self.now + self.draw.choice((-5, 0, 0.000001, 3, 100)))
        queries: list[Query] = [
            Dispatched(at=moment, execution_backends=backends), Dispatched(at=moment), Overdue(moment), Finished(moment),
            Stale(at=moment, window=2.0), Stale.since(moment),
        ]  # fmt: skip
        for query in queries:
            found, expected = [await one.find(query, 9999) for one in (backend, self.memory)]
            assert alike(found) == alike(expected), query
        for queues in (None, ("q",)):
            counts, expected_counts = [await one.count(queues) for one in (backend, self.memory)]
            assert _owned(counts) == _owned(expected_counts)


def _legal(record: TaskRecord, events: Iterable[Event], now: datetime) -> Iterator[tuple[str, TaskRecord]]:
    """Each event that can happen to the task, and the task after it."""
    for event in events:
        with suppress(IllegalTransition):
            yield event.name.value, step(record, event, now)


def _owned(counts: Iterable[Any]) -> list[Any]:
    return [one for one in counts if one.state not in WAITING]


async def test_any_moves_have_the_same_outcome_as_in_memory(database: RedisDatabase, opened: Opens) -> None:
    draw = random.Random(SEED)
    both = Both([await opened(notifications=False) for _ in range(2)], draw)
    moves = [
        both.enqueue,
        both.enqueue,
        both.claim,
        both.claim,
        both.claim,
        both.commit,
        both.commit,
        both.beat,
        both.delete,
    ]
    for _ in range(STEPS):
        both.now += draw.choice((0, 0.000001, 1, 3, 30, -20))
        await draw.choice(moves)()
        await both.compare()
        audit(database)
    dispatched = {name for name, state in both.seen if state is State.DISPATCHED}
    assert dispatched >= {
        "claim", "beat", "dispatch", "cancel", "divert", "expire", "lose_heartbeat", "release", "snooze"
    }  # fmt: skip
