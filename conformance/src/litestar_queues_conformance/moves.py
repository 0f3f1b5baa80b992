"""Moves that many cases begin with: a task in each state, an event for each row of the table.

Every move is made of the port's own calls at times around `T0`, so that a case reads as the calls of two clients.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec

from litestar_queues.backends.base import QueueBackend
from litestar_queues.lifecycle import (
    TRANSITIONS,
    Cancel,
    Complete,
    Dispatch,
    Divert,
    Event,
    EventName,
    Expire,
    Fail,
    LoseHeartbeat,
    NullHeartbeat,
    Release,
    Requeue,
    Revive,
    Snooze,
    State,
    Transition,
    step,
)
from litestar_queues.records import Held, Matching, NewTask, TaskRecord, Want
from litestar_queues_conformance.compare import shown
from litestar_queues_conformance.harness import T0, Store, Violation, at

__all__ = (
    "ERROR",
    "FATES",
    "LOST",
    "REF",
    "REFUSED",
    "RESULT",
    "ROWS",
    "WINDOW",
    "WRITES",
    "beat_at",
    "claim_all",
    "claim_one",
    "commit",
    "dispatched",
    "event_of",
    "everything",
    "ids",
    "kinds",
    "picture",
    "pictures",
    "reach",
    "reserve_all",
    "reserve_one",
    "row_name",
    "running",
    "stored",
    "superseded",
)

ERROR = '{"type": "ValueError", "message": "no"}'
RESULT = '{"answer": 42}'
LOST = '{"type": "HeartbeatLost"}'
REFUSED = '{"type": "DispatchRefused", "message": "no quota"}'
REF = "projects/p/locations/eu/jobs/j/executions/x-1"
"""The reference of a run."""
WINDOW = 60.0
"""Seconds for which a reservation, or a run, may be silent here unless a case says otherwise."""
_ALL = 1_000_000


async def stored(actor: QueueBackend, id_: str) -> TaskRecord:
    """The record as this client reads it.

    Raises:
        Violation: It is not there.
    """
    record = (await actor.get([id_])).get(id_)
    if record is None:
        raise Violation(f"the task {id_} is not there, and nobody deleted it")
    return record


async def commit(actor: QueueBackend, record: TaskRecord, event: Event, now: datetime) -> TaskRecord:
    """The record after the event, which was stored.

    Raises:
        Violation: It was refused, to its rightful owner.
    """
    after = step(record, event, now)
    answer = await actor.commit([after])
    if answer != {record.id}:
        raise Violation(f"{event.name} by the rightful owner of {record.id} was answered with {shown(answer)}")
    return after


async def claim_one(
    actor: QueueBackend,
    record: TaskRecord,
    *,
    worker: str = "worker-a",
    now: datetime = T0,
    stale_after: float | None = None,
) -> TaskRecord:
    """Claim this task under the fence that it has here.

    Raises:
        Violation: It was not given.
    """
    claimed = await actor.claim(Want(worker=worker, limit=1, tasks=(record.held,), stale_after=stale_after), now=now)
    if ids(claimed) != [record.id]:
        raise Violation(
            f"a task that could be claimed was not given to its only claimer: {shown(record)}, due {record.due_at}; "
            f"the claim at {now} returned {shown(claimed)}"
        )
    return claimed[0]


async def beat_at(actor: QueueBackend, beats: Sequence[tuple[Held, datetime]]) -> None:
    """Beat for each task at its time: for those of one time in one call, so that they have one time, whosever clock tells it."""
    for now in dict.fromkeys(moment for _, moment in beats):
        await actor.touch_heartbeats([held for held, moment in beats if moment == now], now=now)


async def claim_all(actor: QueueBackend, *, now: datetime, worker: str = "worker-a", **want: Any) -> list[TaskRecord]:
    """Claim whatever there is."""
    return await actor.claim(Want(worker=worker, limit=_ALL, **want), now=now)


async def running(
    store: Store,
    actor: QueueBackend,
    *,
    worker: str = "worker-a",
    now: datetime = T0,
    stale_after: float | None = None,
    **fields: Any,
) -> TaskRecord:
    """A new task with these fields that `worker` claimed at `now`, with this window."""
    waiting = await store.enqueue(actor, now=now, **fields)
    return await claim_one(actor, waiting, worker=worker, now=now, stale_after=stale_after)


async def reserve_all(
    actor: QueueBackend,
    *,
    now: datetime,
    worker: str = "dispatcher-a",
    stale_after: float = WINDOW,
    limit: int = _ALL,
    **want: Any,
) -> list[TaskRecord]:
    """Reserve whatever there is."""
    return await actor.claim(Want(worker=worker, limit=limit, reserve=True, stale_after=stale_after, **want), now=now)


async def reserve_one(
    actor: QueueBackend,
    record: TaskRecord,
    *,
    worker: str = "dispatcher-a",
    now: datetime = T0,
    stale_after: float = WINDOW,
) -> TaskRecord:
    """Reserve this task under the fence that it has here.

    Raises:
        Violation: It was not given.
    """
    reserved = await reserve_all(actor, now=now, worker=worker, stale_after=stale_after, tasks=(record.held,))
    if ids(reserved) != [record.id]:
        raise Violation(
            f"a task that could be reserved was not given to its only dispatcher: {shown(record)}, due {record.due_at}; "
            f"the reservation at {now} returned {shown(reserved)}"
        )
    return reserved[0]


async def dispatched(
    store: Store,
    actor: QueueBackend,
    *,
    ref: str | None = None,
    worker: str = "dispatcher-a",
    now: datetime = T0,
    stale_after: float = WINDOW,
    **fields: Any,
) -> TaskRecord:
    """A new task with these fields that a dispatcher reserved at `now`; with `ref`, its run was started then."""
    waiting = await store.enqueue(actor, now=now, **fields)
    reserved = await reserve_one(actor, waiting, worker=worker, now=now, stale_after=stale_after)
    return reserved if ref is None else await commit(actor, reserved, Dispatch(ref, stale_after), now)


async def superseded(store: Store, actor: QueueBackend, **fields: Any) -> tuple[TaskRecord, TaskRecord]:
    """A task as its lost owner knows it, and as `worker-b` has it now."""
    lost = await running(store, actor, max_attempts=5, **fields)
    waiting = await commit(actor, lost, LoseHeartbeat(LOST), at(60))
    return lost, await claim_one(actor, waiting, worker="worker-b", now=at(61))


async def reach(store: Store, actor: QueueBackend, state: State, **fields: Any) -> TaskRecord:
    """A new task in this state: enqueued at `T0`, claimed a second later, finished two seconds later."""
    match state:
        case State.PENDING:
            return await store.enqueue(actor, **fields)
        case State.SCHEDULED:
            return await store.enqueue(actor, **{"run_at": at(3600), **fields})
        case State.EXPIRED:
            waiting = await store.enqueue(actor, **{"expires_at": at(1.5), **fields})
            return await commit(actor, waiting, Expire(), at(2))
        case State.DISPATCHED:
            return await reserve_one(actor, await store.enqueue(actor, **fields), now=at(1))
        case State.RUNNING:
            return await claim_one(actor, await store.enqueue(actor, **fields), now=at(1))
        case _:
            owned = await claim_one(actor, await store.enqueue(actor, **fields), now=at(1))
            return await commit(actor, owned, _LAST[state], at(2))


_LAST: dict[State, Event] = {
    State.COMPLETED: Complete(RESULT),
    State.FAILED: Fail(ERROR),
    State.CANCELLED: Cancel(),
}

ROWS: tuple[Transition, ...] = tuple(
    row for row in TRANSITIONS if row.event not in (EventName.CLAIM, EventName.RESERVE)
)
"""Every transition that is a commit."""


def row_name(row: Transition) -> str:
    """What to call the row in a case's name."""
    return f"{row.state}-{row.event}-{row.guard}"


def event_of(row: Transition) -> tuple[Event, datetime, dict[str, Any]]:
    """An event that takes this row, its time, and the fields that the task needs for it."""
    event, fields = _EVENTS[row.event, row.guard]
    return event, at(10), dict(fields)


_EVENTS: dict[tuple[EventName, str], tuple[Event, dict[str, Any]]] = {
    (EventName.COMPLETE, "always"): (Complete(RESULT), {}),
    (EventName.FAIL, "retry_later"): (Fail(ERROR, at(99, microseconds=7)), {"max_attempts": 3}),
    (EventName.FAIL, "retry_now"): (Fail(ERROR, at(-5)), {"max_attempts": 3}),
    (EventName.FAIL, "always"): (Fail(ERROR, at(99)), {"max_attempts": 1}),
    (EventName.REQUEUE, "repeatable"): (Requeue(), {}),
    (EventName.REQUEUE, "always"): (Requeue(), {"max_recoveries": 0}),
    (EventName.RELEASE, "always"): (Release(), {}),
    (EventName.SNOOZE, "until_future"): (Snooze(at(88, microseconds=9)), {}),
    (EventName.SNOOZE, "until_past"): (Snooze(at(-1)), {}),
    (EventName.LOSE_HEARTBEAT, "recoverable"): (LoseHeartbeat(LOST), {"max_recoveries": 1}),
    (EventName.LOSE_HEARTBEAT, "always"): (LoseHeartbeat(LOST), {"max_recoveries": 0}),
    (EventName.NULL_HEARTBEAT, "always"): (NullHeartbeat(), {}),
    (EventName.CANCEL, "always"): (Cancel(), {}),
    (EventName.EXPIRE, "overdue"): (Expire(), {"expires_at": at(9)}),
    (EventName.REVIVE, "not_overdue"): (Revive(), {}),
    (EventName.DISPATCH, "unreferenced"): (Dispatch(f"{REF}/\u00e9", 77.5), {}),
    (EventName.DIVERT, "always"): (Divert("another", REFUSED), {"execution_backend": "cloudrun"}),
}

WRITES: dict[str, Event] = {
    "complete": Complete('"late"'),
    "fail": Fail('"late"'),
    "retry": Fail('"late"', at(999)),
    "requeue": Requeue(),
    "release": Release(),
    "snooze": Snooze(at(999)),
    "cancel": Cancel(),
    "null_heartbeat": NullHeartbeat(),
    "lose_heartbeat": LoseHeartbeat('"late"'),
}
"""Everything that an owner can write of a task that runs."""

Fate = Callable[[QueueBackend, TaskRecord], Awaitable[None]]


def _by(*events: Event) -> Fate:
    async def happen(actor: QueueBackend, record: TaskRecord) -> None:
        for event in events:
            record = await commit(actor, record, event, at(60))

    return happen


async def _claimed_again(actor: QueueBackend, record: TaskRecord) -> None:
    waiting = await commit(actor, record, LoseHeartbeat(LOST), at(60))
    await claim_one(actor, waiting, worker="worker-b", now=at(61))


FATES: dict[str, Fate] = {
    "claimed again": _claimed_again,
    "recovered": _by(LoseHeartbeat(LOST)),
    "requeued": _by(Requeue()),
    "released": _by(Release()),
    "snoozed": _by(Snooze(at(500))),
    "retried later": _by(Fail(ERROR, at(500))),
    "completed": _by(Complete(RESULT)),
    "failed": _by(Fail(ERROR)),
    "cancelled": _by(Cancel()),
    "revived": _by(Cancel(), Revive()),
    "heartbeat nulled": _by(NullHeartbeat()),
}
"""What can become of a task that runs, with attempts left, behind its owner's back; each takes the task from it."""


async def kinds(store: Store, actor: QueueBackend, **fields: Any) -> dict[str, TaskRecord]:
    """One task in every state."""
    return {state.value: await reach(store, actor, state, **fields) for state in store.states}


async def everything(actor: QueueBackend) -> list[TaskRecord]:
    """Every record of the store."""
    return await actor.find(Matching(), _ALL)


def ids(records: Iterable[TaskRecord | NewTask]) -> list[str]:
    """The ids, in order."""
    return [one.id for one in records]


def picture(record: TaskRecord) -> str:
    """The record as text: equal pictures are equal in every character."""
    return msgspec.json.encode(record).decode()


async def pictures(actor: QueueBackend) -> dict[str, str]:
    """Every record of the store as text, by id."""
    return {record.id: picture(record) for record in await everything(actor)}
