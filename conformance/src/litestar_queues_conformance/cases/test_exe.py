"""EXE: tasks that run elsewhere.

Every case begins by looking whether the target declares `dispatch`. Where it does not, the case checks that a reservation
is refused with its error and changes nothing, and that is all.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any

import pytest

from litestar_queues.backends.base import QueueBackend
from litestar_queues.lifecycle import (
    TERMINAL,
    Cancel,
    Claim,
    Complete,
    Dispatch,
    Divert,
    Event,
    Expire,
    Fail,
    LoseHeartbeat,
    Release,
    Requeue,
    Reserve,
    Snooze,
    State,
    Transition,
    step,
)
from litestar_queues.records import (
    PRIORITY_MAX,
    PRIORITY_MIN,
    REF_MAX,
    Dispatched,
    Enqueued,
    Held,
    Matching,
    NewTask,
    Overdue,
    Stale,
    TaskRecord,
    Want,
    admit,
    claim_order,
)
from litestar_queues_conformance.dispatching import keeps_dispatched
from litestar_queues_conformance.harness import T0, Check, Store, at, guarantee
from litestar_queues_conformance.moves import (
    ERROR,
    LOST,
    REF,
    REFUSED,
    RESULT,
    ROWS,
    WINDOW,
    beat_at,
    claim_all,
    claim_one,
    commit,
    dispatched,
    event_of,
    ids,
    kinds,
    picture,
    pictures,
    reach,
    reserve_all,
    reserve_one,
    row_name,
    running,
    stored,
)

_MICROSECOND = timedelta(microseconds=1)
_HOUR = timedelta(hours=1)
_REMOTE = "cloudrun"
LONG_REF = ('projects/p/\u00e9\u4f60\U0001f389 it\'s "quoted" % ?/' + "x" * REF_MAX)[:REF_MAX]


# Reservations


@guarantee("EXE-31")
async def test_a_backend_keeps_dispatched_tasks_exactly_where_its_target_declares_so(
    store: Store, check: Check
) -> None:
    await keeps_dispatched(store, check, "EXE-31")


@guarantee("EXE-01")
async def test_dispatchers_at_once_never_reserve_the_same_task(store: Store, check: Check) -> None:
    if not await keeps_dispatched(store, check, "EXE-01"):
        return
    actors = await store.actors(4)
    batch = [store.new_task(queue=f"q{i % 2}", priority=i % 3) for i in range(60)]
    await actors[0].enqueue_many(batch, now=T0)
    given: list[str] = []
    for round_ in range(60):
        answers = await asyncio.gather(
            *(reserve_all(actor, now=at(round_), worker=f"d{i}", limit=4) for i, actor in enumerate(actors))
        )
        for i, answer in enumerate(answers):
            check.equal("EXE-01", [one.worker for one in answer], [f"d{i}"] * len(answer), "whose the reserved are")
        reserved = [one for answer in answers for one in answer]
        given += ids(reserved)
        check("EXE-01", len(given) == len(set(given)), f"reserved twice: {sorted(given)}")
        found = await actors[0].get(ids(reserved))
        check.equal("EXE-01", found, {one.id: one for one in reserved}, "the reserved tasks as they are stored")
        if len(given) == len(batch):
            break
    check.equal("EXE-01", sorted(given), sorted(ids(batch)), "what was reserved in all")


@guarantee("EXE-01")
async def test_a_dispatcher_and_a_worker_at_once_never_get_the_same_task(store: Store, check: Check) -> None:
    if not await keeps_dispatched(store, check, "EXE-01"):
        return
    actors = await store.actors(4)
    for _ in range(10):
        waiting = await store.enqueue(actors[0])
        wants = [
            Want(worker=f"w{i}", limit=1, tasks=(waiting.held,), reserve=bool(i % 2), stale_after=WINDOW)
            for i in range(len(actors))
        ]
        answers = await asyncio.gather(
            *(actor.claim(want, now=at(1)) for actor, want in zip(actors, wants, strict=True))
        )
        winners = [one for answer in answers for one in answer]
        check.equal("EXE-01", ids(winners), [waiting.id], "who got the task")
        check.equal("EXE-01", await stored(actors[0], waiting.id), winners[0], "the task as it is stored")


@pytest.mark.parametrize("state", [State.PENDING, State.SCHEDULED])
@pytest.mark.parametrize("by", ["queue", "id"])
@guarantee("EXE-02")
async def test_a_reservation_stores_and_returns_the_step(store: Store, check: Check, state: State, by: str) -> None:
    if not await keeps_dispatched(store, check, "EXE-02"):
        return
    a, b = await store.actors(2)
    new = store.new_task(
        key="k",
        run_at=at(5) if state is State.SCHEDULED else None,
        expires_at=at(99),
        metadata='{"m": 1}',
        execution_backend=_REMOTE,
        execution_profile="large",
    )
    await a.enqueue_many([new], now=T0)
    dispatcher = "host-1/pid 7/gr\u00fcn \U0001f389"
    tasks = (Held(new.id, 0),) if by == "id" else None
    reserved = await reserve_all(b, now=at(10, microseconds=3), worker=dispatcher, stale_after=7.25, tasks=tasks)
    expected = step(admit(new, T0), Reserve(dispatcher, 7.25), at(10, microseconds=3))
    check.equal("EXE-02", reserved, [expected], "the answer")
    check.equal("EXE-02", await stored(a, new.id), expected, "what another client reads")
    check.equal("EXE-02", (expected.attempt, expected.started_at), (0, None), "the attempt, and when it started")


_GIVEN_BACK: dict[str, Event] = {
    "retry": Fail(ERROR, at(0)),
    "retry later": Fail(ERROR, at(50)),
    "requeue": Requeue(),
    "snooze": Snooze(at(50)),
    "recover": LoseHeartbeat(LOST),
}


@pytest.mark.parametrize("name", _GIVEN_BACK)
@guarantee("EXE-02")
async def test_a_later_reservation_clears_the_reference_and_leaves_the_attempt(
    store: Store, check: Check, name: str
) -> None:
    if not await keeps_dispatched(store, check, "EXE-02"):
        return
    a, b = await store.actors(2)
    waiting = await dispatched(store, a, ref=REF, max_attempts=3)
    owned = await claim_one(a, waiting, now=at(1))
    await a.touch_heartbeats([Held(owned.id, owned.fence, '{"done": 1}')], now=at(1))
    again = await commit(a, await stored(a, owned.id), _GIVEN_BACK[name], at(2))
    expected = step(again, Reserve("dispatcher-b", WINDOW), at(60))
    reserved = await reserve_all(b, now=at(60), worker="dispatcher-b")
    check.equal("EXE-02", reserved, [expected], "the answer")
    check.equal("EXE-02", await stored(a, owned.id), expected, "what another client reads")
    check.equal("EXE-02", reserved[0].attempt, again.attempt, "the attempt")
    check.equal("EXE-02", reserved[0].execution_ref, None, "the reference")


@guarantee("EXE-02")
async def test_a_batch_of_reservations_stores_and_returns_each_step(store: Store, check: Check) -> None:
    if not await keeps_dispatched(store, check, "EXE-02"):
        return
    a, b = await store.actors(2)
    batch = [store.new_task(args=f"[{i}]", queue=f"q{i % 3}", priority=i % 4) for i in range(300)]
    await a.enqueue_many(batch, now=T0)
    for window, part in ((1e-6, 100), (1e9, 100), (1 / 3, 100)):
        reserved = await reserve_all(b, now=at(1), stale_after=window, limit=part)
        there = await a.get(ids(reserved))
        given = {new.id: new for new in batch}
        expected = {id_: step(admit(given[id_], T0), Reserve("dispatcher-a", window), at(1)) for id_ in ids(reserved)}
        check.equal("EXE-02", len(reserved), part, "how many were reserved")
        check.equal("EXE-02", {one.id: one for one in reserved}, expected, f"the answer, with the window {window}")
        check.equal("EXE-02", there, expected, f"what another client reads, with the window {window}")


def _mixed(store: Store) -> list[tuple[NewTask, datetime]]:
    """Tasks and when they are enqueued, of many priorities, times, queues and execution backends; some are overdue."""
    mixed = [
        (
            store.new_task(
                priority=priority,
                queue=store.random.choice(("a", "b", "c")),
                execution_backend=backend,
                run_at=at(run_at) if run_at else None,
                expires_at=at(expires_at) if expires_at else None,
            ),
            at(microseconds=moment),
        )
        for priority in (PRIORITY_MIN, -1, 0, 1, PRIORITY_MAX)
        for moment in (0, 1, 10, 999_999)
        for backend in ("local", _REMOTE)
        for run_at, expires_at in ((0, 0), (5, 0), (0, 600), (0, 601), (600, 9_000), (601, 0))
    ]
    store.random.shuffle(mixed)
    return mixed


@pytest.mark.parametrize(
    "filters",
    [
        {},
        {"queues": ("a",)},
        {"queues": ("c", "a")},
        {"queues": ("A", "a ")},
        {"queues": ()},
        {"execution_backends": (_REMOTE,)},
        {"execution_backends": (_REMOTE, "local"), "queues": ("b",)},
        {"execution_backends": ("CloudRun", f"{_REMOTE} ")},
        {"execution_backends": ()},
    ],
    ids=str,
)
@guarantee("EXE-03")
async def test_a_reservation_takes_what_a_claim_would_take_in_its_order(
    store: Store, check: Check, filters: dict[str, Any]
) -> None:
    if not await keeps_dispatched(store, check, "EXE-03"):
        return
    a, b = await store.actors(2)
    claimed_from = await store.another().actor()
    mixed = _mixed(store)
    for new, now in mixed:
        for actor in (a, claimed_from):
            await actor.enqueue_many([new], now=now)
    for limit in (0, 1, 7, 5, 1000):
        expected = await claimed_from.claim(Want(worker="w", limit=limit, **filters), now=at(600))
        reserved = await reserve_all(b, now=at(600), limit=limit, **filters)
        check.equal("EXE-03", ids(reserved), ids(expected), f"what a reservation of {limit} took")


@guarantee("EXE-03")
async def test_a_reservation_by_id_takes_the_tasks_named_under_their_fences(store: Store, check: Check) -> None:
    if not await keeps_dispatched(store, check, "EXE-03"):
        return
    a, b = await store.actors(2)
    records = [await store.enqueue(a, priority=i % 3, now=at(i)) for i in range(9)]
    early = await store.enqueue(a, run_at=at(20, microseconds=1), priority=9)
    overdue = await store.enqueue(a, expires_at=at(20), priority=9)
    named = (*(one.held for one in reversed(records[1:8])), early.held, overdue.held, Held(records[0].id, 1))
    in_order = sorted(records[1:8], key=claim_order)
    expected = ids(in_order)
    check.equal("EXE-03", ids(await reserve_all(b, now=at(20), limit=5, tasks=named)), expected[:5], "5 of 7 named")
    check.equal("EXE-03", ids(await reserve_all(b, now=at(20), limit=5, tasks=named)), expected[5:], "the rest")
    check.equal("EXE-03", ids(await reserve_all(b, now=at(20))), ids([records[8], records[0]]), "those not named")


@guarantee("EXE-03")
async def test_a_reservation_finds_its_tasks_behind_thousands_of_others(store: Store, check: Check) -> None:
    if not await keeps_dispatched(store, check, "EXE-03"):
        return
    a, b = await store.actors(2)
    await a.enqueue_many([store.new_task(priority=9) for _ in range(3000)], now=T0)
    matching = store.new_tasks(3, execution_backend=_REMOTE)
    await a.enqueue_many(matching, now=at(1))
    for limit, expected in ((1, matching[:1]), (99, matching[1:])):
        reserved = await reserve_all(b, now=at(2), limit=limit, execution_backends=(_REMOTE,), queues=("default",))
        check.equal("EXE-03", ids(reserved), ids(expected), f"a reservation of {limit} behind 3,000 local tasks")


@guarantee("EXE-04")
async def test_a_reservation_takes_waiting_tasks_alone(store: Store, check: Check) -> None:
    if not await keeps_dispatched(store, check, "EXE-04"):
        return
    a, b = await store.actors(2)
    tasks = await kinds(store, a)
    referenced = await dispatched(store, a, ref=REF)
    others = {
        id_: text for id_, text in (await pictures(a)).items() if id_ not in ids([tasks["pending"], tasks["scheduled"]])
    }
    named = tuple(Held(one.id, fence) for one in (*tasks.values(), referenced) for fence in range(4))
    check.equal("EXE-04", ids(await reserve_all(b, now=at(20), tasks=named)), [tasks["pending"].id], "reserved by id")
    check.equal("EXE-04", ids(await reserve_all(b, now=at(4000))), [tasks["scheduled"].id], "reserved later")
    check.equal("EXE-04", await reserve_all(b, now=at(9_000_000)), [], "reserved much later, when all are silent")
    check.equal("EXE-04", await reserve_all(b, now=at(9_000_000), tasks=named), [], "reserved by id much later")
    now = await pictures(a)
    check.equal("EXE-04", {id_: now[id_] for id_ in others}, others, "the tasks that do not wait")


# Claims of dispatched tasks


@guarantee("EXE-05")
async def test_a_claim_without_ids_takes_no_dispatched_task(store: Store, check: Check) -> None:
    if not await keeps_dispatched(store, check, "EXE-05"):
        return
    a, b = await store.actors(2)
    out = [
        await dispatched(store, a, priority=9, execution_backend=_REMOTE),
        await dispatched(store, a, priority=9, ref=REF),
        await reserve_one(a, await store.enqueue(a, run_at=at(5), priority=9), now=at(6), stale_after=1e-6),
    ]
    silent = await dispatched(store, a, priority=9)
    out.append((await b.get([silent.id]))[silent.id])
    wanted = await store.enqueue(a, priority=-9)
    wants: list[dict[str, Any]] = [
        {"queues": ("default",), "execution_backends": (_REMOTE, "local")},
        {"execution_backends": (_REMOTE,)},
        {"queues": ("default",)},
        {"execution_ref": REF},
        {},
    ]
    for now in (at(7), at(4000)):
        for want in wants:
            claimed = await claim_all(b, now=now, **want)
            if claimed:
                check.equal("EXE-05", ids(claimed), [wanted.id], f"a claim of {want}")
    check.equal("EXE-05", (await stored(a, wanted.id)).state, State.RUNNING, "the task that is not dispatched")
    check.equal("EXE-05", await a.get(ids(out)), {one.id: one for one in out}, "the dispatched tasks")


@pytest.mark.parametrize("referenced", [False, True])
@pytest.mark.parametrize("own_ref", [None, f"{REF}/own"])
@pytest.mark.parametrize("state", [State.PENDING, State.SCHEDULED])
@guarantee("EXE-32")
async def test_a_runs_claim_stores_and_returns_the_step(
    store: Store, check: Check, *, referenced: bool, own_ref: str | None, state: State
) -> None:
    if not await keeps_dispatched(store, check, "EXE-32"):
        return
    a, b = await store.actors(2)
    run_at = at(5) if state is State.SCHEDULED else None
    waiting = await store.enqueue(a, run_at=run_at, key="k", metadata='{"m": 1}', execution_backend=_REMOTE)
    out = await reserve_one(a, waiting, now=at(6))
    if referenced:
        out = await commit(a, out, Dispatch(REF, 900.0), at(7))
    want = Want(worker="run/\u00e9 1", limit=9, tasks=(out.held,), stale_after=12.5, execution_ref=own_ref)
    claimed = await b.claim(want, now=at(8, microseconds=5))
    expected = step(out, Claim("run/\u00e9 1", 12.5, own_ref), at(8, microseconds=5))
    check.equal("EXE-32", claimed, [expected], "the answer")
    check.equal("EXE-32", await stored(a, out.id), expected, "what another client reads")
    check.equal("EXE-32", (expected.attempt, expected.started_at), (1, at(8, microseconds=5)), "the attempt")
    check.equal("EXE-32", await b.claim(want, now=at(9)), [], "the same claim again")
    done = await commit(b, expected, Complete(RESULT), at(10))
    check.equal("EXE-32", await stored(a, out.id), done, "the completed task")


@guarantee("EXE-06")
async def test_a_run_claims_its_task_before_the_reference_is_stored_and_after(store: Store, check: Check) -> None:
    if not await keeps_dispatched(store, check, "EXE-06"):
        return
    a, b = await store.actors(2)
    for run_at in (None, at(5)):
        for ref in (None, REF):
            out = await reserve_one(a, await store.enqueue(a, run_at=run_at, execution_backend=_REMOTE), now=at(6))
            if ref is not None:
                out = await commit(a, out, Dispatch(ref, WINDOW), at(7))
            want = Want(worker="r", limit=9, tasks=(out.held,), execution_ref="own")
            check.equal("EXE-06", ids(await b.claim(want, now=at(8))), [out.id], f"a run's claim, with {ref} stored")
            check.equal("EXE-06", await b.claim(want, now=at(9)), [], "the same claim again")


@guarantee("EXE-06")
async def test_runs_of_many_dispatched_tasks_are_claimed_at_once_in_the_order_of_claiming(
    store: Store, check: Check
) -> None:
    if not await keeps_dispatched(store, check, "EXE-06"):
        return
    a, b = await store.actors(2)
    batch = [store.new_task(priority=i % 3) for i in range(120)]
    await a.enqueue_many(batch, now=T0)
    out = await reserve_all(a, now=at(1), limit=100)
    waiting = [one for one in (await a.get(ids(batch))).values() if one.state is State.PENDING]
    named = [*out, *waiting]
    store.random.shuffle(named)
    want = Want(worker="r", limit=110, tasks=tuple(one.held for one in named))
    in_order = sorted(named, key=claim_order)
    expected = ids(in_order)
    claimed = await b.claim(want, now=at(2))
    check.equal("EXE-06", ids(claimed), expected[:110], "a claim of 110 of 120 named, 100 of them dispatched")
    check.equal("EXE-06", ids(await b.claim(want, now=at(2))), expected[110:], "the rest")


@guarantee("EXE-06")
async def test_a_claim_by_id_keeps_to_its_filters(store: Store, check: Check) -> None:
    if not await keeps_dispatched(store, check, "EXE-06"):
        return
    a, b = await store.actors(2)
    out = await dispatched(store, a, queue="mail", execution_backend=_REMOTE)
    others: list[dict[str, Any]] = [
        {"queues": ("Mail", "default")},
        {"queues": ()},
        {"execution_backends": ("local",)},
        {"execution_backends": ()},
    ]
    for filters in others:
        claimed = await claim_all(b, now=at(5), tasks=(out.held,), **filters)
        check.equal("EXE-06", claimed, [], f"a claim by id with {filters}")
    claimed = await b.claim(Want(worker="r", limit=0, tasks=(out.held,)), now=at(5))
    check.equal("EXE-06", claimed, [], "a claim of 0 by id")
    claimed = await claim_all(b, now=at(5), tasks=(out.held,), queues=("mail",), execution_backends=(_REMOTE,))
    check.equal("EXE-06", ids(claimed), [out.id], "a claim by id with its own queue and execution backend")


@guarantee("EXE-07")
async def test_a_run_claims_its_task_under_the_stored_fence_alone(store: Store, check: Check) -> None:
    if not await keeps_dispatched(store, check, "EXE-07"):
        return
    a, b = await store.actors(2)
    reserved = await dispatched(store, a)
    again = await reserve_one(a, await commit(a, reserved, Release(), at(1)), now=at(2))
    referenced = await commit(a, again, Dispatch(REF, WINDOW), at(3))
    for out in (await dispatched(store, a), referenced):
        before = picture(out)
        for fence in {*range(-1, out.fence + 4)} - {out.fence}:
            claimed = await claim_all(b, now=at(9), tasks=(Held(out.id, fence),), execution_ref="late")
            check.equal("EXE-07", claimed, [], f"a claim under fence {fence} of a task whose fence is {out.fence}")
        check.equal("EXE-07", picture(await stored(a, out.id)), before, "the task after claims under other fences")
        claimed = await claim_all(b, now=at(9), tasks=(Held(out.id, out.fence - 1), out.held))
        check.equal("EXE-07", ids(claimed), [out.id], "a claim under an earlier fence and the stored one")


@guarantee("EXE-08")
async def test_of_runs_that_claim_one_task_at_once_one_gets_it(store: Store, check: Check) -> None:
    if not await keeps_dispatched(store, check, "EXE-08"):
        return
    actors = await store.actors(4)
    for i in range(10):
        out = await dispatched(store, actors[0], ref=REF if i % 2 else None)
        wants = [Want(worker=f"r{n}", limit=1, tasks=(out.held,), execution_ref=f"run-{n}") for n in range(len(actors))]
        answers = await asyncio.gather(
            *(actor.claim(want, now=at(1)) for actor, want in zip(actors, wants, strict=True))
        )
        winners = [one for answer in answers for one in answer]
        check.equal("EXE-08", ids(winners), [out.id], "which runs got the task")
        check.equal("EXE-08", await stored(actors[0], out.id), winners[0], "the task as it is stored")


@guarantee("EXE-09")
async def test_a_run_leaves_its_own_reference_on_the_record(store: Store, check: Check) -> None:
    if not await keeps_dispatched(store, check, "EXE-09"):
        return
    a, b = await store.actors(2)
    for earlier in (None, REF, LONG_REF):
        for own in ("r", LONG_REF, REF.upper()):
            out = await dispatched(store, a, ref=earlier)
            claimed = await claim_all(b, now=at(5), tasks=(out.held,), execution_ref=own)
            check.equal("EXE-09", [one.execution_ref for one in claimed], [own], f"the answer, after {earlier!r:.20}")
            check.equal(
                "EXE-09", (await stored(a, out.id)).execution_ref, own, f"the stored one, after {earlier!r:.20}"
            )
    waiting = await store.enqueue(a)
    claimed = await claim_all(b, now=at(5), tasks=(waiting.held,), execution_ref=REF)
    check.equal("EXE-09", [one.execution_ref for one in claimed], [REF], "the answer for a task that only waits")
    check.equal("EXE-09", (await stored(a, waiting.id)).execution_ref, REF, "the one that is stored for it")


@guarantee("EXE-10")
async def test_a_claim_without_a_reference_keeps_the_stored_one(store: Store, check: Check) -> None:
    if not await keeps_dispatched(store, check, "EXE-10"):
        return
    a, b = await store.actors(2)
    for earlier in (None, REF, LONG_REF):
        out = await dispatched(store, a, ref=earlier, max_attempts=3)
        claimed = await claim_all(b, now=at(5), tasks=(out.held,))
        check.equal("EXE-10", [one.execution_ref for one in claimed], [earlier], f"the answer, after {earlier!r:.20}")
        check.equal(
            "EXE-10", (await stored(a, out.id)).execution_ref, earlier, f"the stored one, after {earlier!r:.20}"
        )
        await commit(b, claimed[0], Fail(ERROR, at(0)), at(6))
        [again] = await claim_all(b, now=at(7))
        check.equal("EXE-10", again.execution_ref, earlier, "the reference after a later claim from the queue")
        check.equal("EXE-10", (await stored(a, out.id)).execution_ref, earlier, "the stored one after a later claim")


# Commits of dispatched tasks


_DISPATCHED_ROWS = tuple(row for row in ROWS if row.state is State.DISPATCHED)


@pytest.mark.parametrize("referenced", [False, True])
@pytest.mark.parametrize("row", _DISPATCHED_ROWS, ids=row_name)
@guarantee("EXE-11")
async def test_every_transition_of_a_dispatched_task_is_stored(
    store: Store, check: Check, row: Transition, *, referenced: bool
) -> None:
    if not await keeps_dispatched(store, check, "EXE-11"):
        return
    a, b = await store.actors(2)
    event, now, fields = event_of(row)
    referenced = referenced and not isinstance(event, Dispatch)
    before = await dispatched(store, a, ref=REF if referenced else None, key="k", execution_profile="large", **fields)
    expected = step(before, event, now)
    check.equal("EXE-11", await b.commit([expected]), {before.id}, f"the answer to {event.name}")
    check.equal("EXE-11", await stored(a, before.id), expected, f"the task after {event.name}")


@guarantee("EXE-11")
async def test_a_batch_of_dispatched_tasks_is_stored_each_as_its_own(store: Store, check: Check) -> None:
    if not await keeps_dispatched(store, check, "EXE-11"):
        return
    a, b = await store.actors(2)
    await a.enqueue_many(store.new_tasks(200), now=T0)
    reserved = await reserve_all(a, now=at(1))
    events: list[Event] = [
        *(Dispatch(f"{LONG_REF}/{i}", 10.0 + i) for i in range(194)),
        Release(), Cancel(), Snooze(at(77)), Divert("local", REFUSED), LoseHeartbeat(LOST), Snooze(at(0)),
    ]  # fmt: skip
    after = [step(one, event, at(2)) for one, event in zip(reserved, events, strict=True)]
    check.equal("EXE-11", await b.commit(after), set(ids(reserved)), "the answer")
    check.equal("EXE-11", await a.get(ids(reserved)), {one.id: one for one in after}, "the tasks")


_FATES: dict[str, tuple[Event | None, ...]] = {
    "referenced": (Dispatch("other", WINDOW),),
    "claimed by its run": (None,),
    "completed by its run": (None, Complete(RESULT)),
    "failed by its run": (None, Fail(ERROR)),
    "retried": (None, Fail(ERROR, at(500))),
    "released": (Release(),),
    "reserved again": (Release(), Reserve("dispatcher-b", WINDOW)),
    "snoozed": (Snooze(at(500)),),
    "recovered": (LoseHeartbeat(LOST),),
    "recovered, and reserved again": (LoseHeartbeat(LOST), Reserve("dispatcher-b", WINDOW)),
    "diverted": (Divert("local", REFUSED),),
    "diverted, and claimed": (Divert("local", REFUSED), None),
    "cancelled": (Cancel(),),
    "expired": (Expire(),),
}
"""What can become of a dispatched task behind its dispatcher's back; None is a claim by id."""


async def _happen(actor: QueueBackend, record: TaskRecord, fate: str) -> TaskRecord:
    for i, event in enumerate(_FATES[fate]):
        match event:
            case None:
                record = await claim_one(actor, record, worker="run-b", now=at(60 + i))
            case Reserve():
                record = await reserve_one(actor, record, worker=event.worker, now=at(60 + i))
            case _:
                record = await commit(actor, record, event, at(60 + i))
    return record


@pytest.mark.parametrize("fate", _FATES)
@guarantee("EXE-12")
async def test_a_late_reference_is_not_stored(store: Store, check: Check, fate: str) -> None:
    if not await keeps_dispatched(store, check, "EXE-12"):
        return
    a, b = await store.actors(2)
    expires_at = at(30) if fate == "expired" else at(9_000)
    reserved = await dispatched(store, a, max_attempts=3, expires_at=expires_at)
    await _happen(b, reserved, fate)
    before = picture(await stored(b, reserved.id))
    late: list[Event] = [
        Dispatch("late", WINDOW), Release(), Snooze(at(900)), Divert("other", REFUSED), LoseHeartbeat('"late"'), Cancel()
    ]  # fmt: skip
    for event in late:
        answer = await a.commit([step(reserved, event, at(100))])
        check.equal("EXE-12", answer, set[str](), f"the answer to a late {event.name} of a task that was {fate}")
        check.equal("EXE-12", picture(await stored(b, reserved.id)), before, f"a task that was {fate}")


@guarantee("EXE-12")
async def test_late_references_in_a_batch_leave_the_others(store: Store, check: Check) -> None:
    if not await keeps_dispatched(store, check, "EXE-12"):
        return
    a, b = await store.actors(2)
    await a.enqueue_many(store.new_tasks(40), now=T0)
    reserved = await reserve_all(a, now=at(1))
    gone = [step(one, Cancel(), at(2)) for one in reserved[::3]]
    await b.commit(gone)
    referred = [step(one, Dispatch(f"run-{i}", WINDOW), at(3)) for i, one in enumerate(reserved)]
    expected = {one.id: one for one in referred} | {one.id: one for one in gone}
    check.equal("EXE-12", await a.commit(referred), set(ids(reserved)) - set(ids(gone)), "the answer")
    check.equal("EXE-12", await b.get(ids(reserved)), expected, "the tasks")


@pytest.mark.parametrize("fate", ["cancelled", "completed by its run"])
@guarantee("EXE-12")
async def test_a_late_reference_brings_no_deleted_task_back(store: Store, check: Check, fate: str) -> None:
    if not await keeps_dispatched(store, check, "EXE-12"):
        return
    a, b = await store.actors(2)
    reserved = await dispatched(store, a, key="k")
    ended = await _happen(b, reserved, fate)
    check.equal("EXE-12", await b.delete([ended.held]), {ended.id}, "the deletion")
    check.equal("EXE-12", await a.commit([step(reserved, Dispatch("late", WINDOW), at(100))]), set[str](), "the answer")
    check.equal("EXE-12", await b.get([reserved.id]), {}, "the deleted task")
    claimed = await claim_all(b, now=at(101), tasks=(reserved.held, ended.held), execution_ref="late")
    check.equal("EXE-12", claimed, [], "a late claim of the deleted task")
    again = store.new_task(key="k")
    [answer] = await b.enqueue_many([again], now=at(102))
    check.equal("EXE-12", answer, Enqueued(admit(again, at(102)), True), "the answer to its key")


@guarantee("EXE-13")
async def test_of_a_claim_and_a_reference_at_once_one_is_stored(store: Store, check: Check) -> None:
    if not await keeps_dispatched(store, check, "EXE-13"):
        return
    a, b = await store.actors(2)
    for i in range(12):
        reserved = await dispatched(store, a)
        after = step(reserved, Dispatch(REF, WINDOW), at(1))
        want = Want(worker="r", limit=1, tasks=(reserved.held,), execution_ref="own")
        calls: list[Any] = [a.commit([after]), b.claim(want, now=at(2))]
        answers = await asyncio.gather(*(calls if i % 2 else reversed(calls)))
        refs, claimed = answers if i % 2 else reversed(answers)
        told = (refs == {reserved.id}, ids(claimed) == [reserved.id])
        check("EXE-13", sum(told) == 1, f"the reference was stored: {told[0]}, and the run got the task: {told[1]}")
        check.equal("EXE-13", await stored(a, reserved.id), after if told[0] else claimed[0], "what is stored")
        if told[0]:
            again = await claim_all(b, now=at(3), tasks=(after.held,), execution_ref="own")
            check.equal("EXE-13", ids(again), [reserved.id], "the run's second claim, under the fence that it read")


# Keys


@guarantee("EXE-14")
async def test_a_dispatched_task_keeps_its_key(store: Store, check: Check) -> None:
    if not await keeps_dispatched(store, check, "EXE-14"):
        return
    a, b = await store.actors(2)
    record = await store.enqueue(a, key="k", max_attempts=9, max_recoveries=5, execution_backend=_REMOTE)
    other = await store.enqueue(a, key="K")

    async def holds(what: str, now: datetime) -> None:
        for actor in (a, b):
            batch = [store.new_task(key="k", queue="other"), store.new_task(key="k")]
            answers = await actor.enqueue_many(batch, now=now)  # before a snooze is over
            check.equal("EXE-14", answers, [Enqueued(record, False)] * 2, f"the answer to its key once it is {what}")
            check.equal("EXE-14", await b.get(ids(batch)), {}, f"the tasks that were refused once it is {what}")
        check.equal("EXE-14", await stored(b, record.id), record, f"the task once it is {what}")

    for i, event in enumerate((Release(), Snooze(at(20)), LoseHeartbeat(LOST), Divert("local", REFUSED), None)):
        now = at(10 * i + 1)
        record = await reserve_one(a, record, now=now)
        await holds("reserved", now)
        if i % 2 == 0:
            record = await commit(a, record, Dispatch(REF, WINDOW), now)
            await holds("referenced", now)
        if event is not None:
            record = await commit(a, record, event, now)
            await holds(event.name, now)
    record = await claim_one(b, record, now=at(60))
    await holds("claimed", at(60))
    record = await commit(b, record, Complete(RESULT), at(61))
    new = store.new_task(key="k")
    check.equal("EXE-14", await a.enqueue_many([new], now=at(62)), [Enqueued(admit(new, at(62)), True)], "a new one")
    check.equal("EXE-14", await stored(b, other.id), other, "the holder of another key")


@pytest.mark.parametrize("name", ["cancel", "expire", "recover"])
@guarantee("EXE-14")
async def test_a_dispatched_task_that_ends_frees_its_key(store: Store, check: Check, name: str) -> None:
    if not await keeps_dispatched(store, check, "EXE-14"):
        return
    a, b = await store.actors(2)
    events: dict[str, Event] = {"cancel": Cancel(), "expire": Expire(), "recover": LoseHeartbeat(LOST)}
    out = await dispatched(store, a, ref=REF, key="k", expires_at=at(5), max_recoveries=0)
    ended = await commit(b, out, events[name], at(10))
    check("EXE-14", ended.state in TERMINAL, f"the task is {ended.state} in the end")
    new = store.new_task(key="k")
    check.equal("EXE-14", await a.enqueue_many([new], now=at(11)), [Enqueued(admit(new, at(11)), True)], "the answer")
    check.equal("EXE-14", await stored(b, out.id), ended, "the task that ended")


# Heartbeats


@guarantee("EXE-15")
async def test_a_heartbeat_of_a_dispatched_task_sets_its_time_and_its_window(store: Store, check: Check) -> None:
    if not await keeps_dispatched(store, check, "EXE-15"):
        return
    a, b = await store.actors(2)
    for ref in (None, REF):
        out = await dispatched(store, a, ref=ref, key=f"key of {ref}", metadata='{"m": 1}')
        for time, window in ((at(10), None), (at(20, microseconds=1), 7.5), (at(30).replace(microsecond=0), None)):
            kept = await a.touch_heartbeats([Held(out.id, out.fence, None, window)], now=time)
            check.equal("EXE-15", kept, {out.id}, "the answer")
            out = out.evolve(heartbeat_at=time, stale_after=window or out.stale_after)
            check.equal("EXE-15", await stored(b, out.id), out, f"the task after a heartbeat with the window {window}")


@guarantee("EXE-15")
async def test_a_batch_of_heartbeats_serves_running_and_dispatched_tasks(store: Store, check: Check) -> None:
    if not await keeps_dispatched(store, check, "EXE-15"):
        return
    a, b = await store.actors(2)
    await a.enqueue_many(store.new_tasks(600), now=T0)
    out = await reserve_all(a, now=T0, limit=300)
    owned = await claim_all(a, now=T0)
    gone = [*out[::5], *owned[::5]]
    await b.commit([step(one, Cancel(), at(1)) for one in gone])
    held = [one.held for one in (*out, *owned)]
    store.random.shuffle(held)
    expected = set(ids([*out, *owned])) - set(ids(gone))
    check.equal("EXE-15", await a.touch_heartbeats(held, now=at(2)), expected, "the answer")
    there = await b.get(sorted(expected))
    beaten = {one.id: one.evolve(heartbeat_at=at(2)) for one in (*out, *owned) if one.id in expected}
    check.equal("EXE-15", there, beaten, "the tasks")


@pytest.mark.parametrize("fate", _FATES)
@guarantee("EXE-16")
async def test_a_former_dispatchers_heartbeat_leaves_no_trace(store: Store, check: Check, fate: str) -> None:
    if not await keeps_dispatched(store, check, "EXE-16"):
        return
    a, b = await store.actors(2)
    reserved = await dispatched(store, a, max_attempts=3, expires_at=at(30) if fate == "expired" else at(9_000))
    mine = await dispatched(store, a)
    after = await _happen(b, reserved, fate)
    before = picture(await stored(b, reserved.id))
    late = [Held(reserved.id, fence, '"late"', 999.0) for fence in range(after.fence + 3) if fence != after.fence]
    if after.state not in (State.DISPATCHED, State.RUNNING):
        late.append(Held(after.id, after.fence, '"late"', 999.0))
    for one in late:
        kept = await a.touch_heartbeats([one, mine.held], now=at(200))
        check.equal("EXE-16", kept, {mine.id}, f"the answer to a late heartbeat of a task that was {fate}")
        check.equal("EXE-16", picture(await stored(b, reserved.id)), before, f"a task that was {fate}")


# The reconciler's query


@pytest.mark.parametrize("when", [at(100), at(100).replace(microsecond=0), at(100).replace(microsecond=1)])
@guarantee("EXE-17", time="given")  # a microsecond before and after: by the store's own clock, see the next case
async def test_exactly_the_silent_are_found(store: Store, check: Check, when: datetime) -> None:
    if not await keeps_dispatched(store, check, "EXE-17"):
        return
    a, b = await store.actors(2)
    tasks = await kinds(store, a)
    await commit(a, tasks["dispatched"], Cancel(), at(2))
    windows = (1e-6, 0.5, 5.0, 60.000001, 3600.0, 86_400.25)
    silent: list[TaskRecord] = []
    for i, window in enumerate(windows):
        own = timedelta(seconds=window)
        ref = REF if i % 2 else None
        await dispatched(store, a, ref=ref, now=when - own, stale_after=window)
        await dispatched(store, a, ref=ref, now=when - own + _MICROSECOND, stale_after=window)
        silent.append(await dispatched(store, a, ref=ref, now=when - own - _MICROSECOND, stale_after=window))
    await dispatched(store, a, now=T0, stale_after=1e9)
    for nothing in ({"heartbeat_at": None}, {"stale_after": None}, {"heartbeat_at": None, "stale_after": None}):
        record = await dispatched(store, a, now=when + timedelta(days=1), stale_after=9e6)
        lacking = record.evolve(fence=record.fence + 1, **nothing)
        check.equal("EXE-17", await a.commit([lacking]), {record.id}, f"a commit of a dispatched task with {nothing}")
        silent.append(lacking)
    await running(store, a, now=T0, stale_after=1e-6)
    found = await b.find(Dispatched(at=when), 99)
    check.equal("EXE-17", {one.id: one for one in found}, {one.id: one for one in silent}, "what is silent")
    later = await b.find(Dispatched(at=when + _MICROSECOND), 99)
    check.equal("EXE-17", len(later), len(silent) + len(windows), "how many are silent a microsecond later")


@guarantee("EXE-17")
async def test_a_task_is_silent_by_the_window_of_its_latest_event(store: Store, check: Check) -> None:
    if not await keeps_dispatched(store, check, "EXE-17"):
        return
    a, b = await store.actors(2)

    async def silent_after(seconds: float, since: datetime, what: str) -> None:
        until = since + timedelta(seconds=seconds)
        check.equal("EXE-17", await b.find(Dispatched(at=until), 9), [], f"what is silent as long as {what} allows")
        found = await b.find(Dispatched(at=until + _MICROSECOND + store.slack(since)), 9)
        check.equal("EXE-17", found, [await stored(a, out.id)], f"what is silent for longer than {what} allows")

    out = await dispatched(store, a, stale_after=30.0)
    await silent_after(30.0, T0, "the reservation")
    referenced = await commit(a, out, Dispatch(REF, 900.0), at(10))
    await silent_after(900.0, at(10), "the reference")
    await a.touch_heartbeats([referenced.held], now=at(20))
    await silent_after(900.0, at(20), "a heartbeat")
    released = await commit(a, await stored(a, out.id), Release(), at(30))
    check.equal("EXE-17", await b.find(Dispatched(at=at(99_999)), 9), [], "what is silent once it was released")
    await reserve_one(a, released, now=at(40), stale_after=5.5)
    await silent_after(5.5, at(40), "the next reservation")


@guarantee("EXE-18")
async def test_the_silent_are_found_by_their_execution_backends(store: Store, check: Check) -> None:
    if not await keeps_dispatched(store, check, "EXE-18"):
        return
    a, b = await store.actors(2)
    names = ("local", _REMOTE, "CloudRun", f"{_REMOTE} ", "cloudrun%", "cl\u00f6udrun")
    by_name = {name: [await dispatched(store, a, execution_backend=name) for _ in range(2)] for name in names}
    wanted: tuple[tuple[str, ...] | None, ...] = (
        None, (), (_REMOTE,), ("CloudRun", "local"), ("cloudrun_",), (_REMOTE, _REMOTE), ("none",), ("none", "cl\u00f6udrun"),
        names,
    )  # fmt: skip
    for named in wanted:
        found = await b.find(Dispatched(at=at(9_000), execution_backends=named), 99)
        expected = {one.id for name in names for one in by_name[name] if named is None or name in named}
        check.equal("EXE-18", set(ids(found)), expected, f"what is silent of {named}")
        check.equal("EXE-18", len(found), len(expected), f"how many are silent of {named}")
    diverted = await commit(a, by_name["local"][0], Divert(_REMOTE, REFUSED), at(1))
    await reserve_one(a, diverted, now=at(2))
    found = await b.find(Dispatched(at=at(9_000), execution_backends=("local",)), 99)
    check.equal(
        "EXE-18", ids(found), ids(by_name["local"][1:]), "what is silent of the one that a task was diverted from"
    )


@guarantee("EXE-19")
async def test_the_silent_are_found_oldest_first_and_up_to_the_limit(store: Store, check: Check) -> None:
    if not await keeps_dispatched(store, check, "EXE-19"):
        return
    a, b = await store.actors(2)
    batch = [
        store.new_task(priority=store.random.randint(-9, 9), execution_backend=("local", _REMOTE)[i % 2])
        for i in range(40)
    ]
    await a.enqueue_many(batch, now=T0)
    out = await reserve_all(a, now=T0, stale_after=50.0)
    store.random.shuffle(out)
    beats = [at(i // 3, microseconds=i % 2) for i in range(len(out))]
    # The windows differ, so that the one that is silent first is not the one that was heard of first.
    held = [Held(one.id, one.fence, None, 1.0 + i % 5 * 9) for i, one in enumerate(out)]
    await beat_at(a, list(zip(held, beats, strict=True)))
    there = [one for one in (await a.get(ids(out))).values() if one.id not in ids(out[30:])]
    mute = [one.evolve(fence=one.fence + 1, heartbeat_at=None) for one in out[30:]]
    check.equal("EXE-19", await a.commit(mute), set(ids(mute)), "the commit of those without a heartbeat")
    there.sort(key=lambda one: (one.heartbeat_at, one.id))
    expected = [*sorted(ids(mute)), *ids(there)]
    for limit in (40, 25, 10, 9, 1, 0, 1000):
        found = await b.find(Dispatched(at=at(100)), limit)
        check.equal("EXE-19", ids(found), expected[:limit], f"the first {limit} of the silent")
    remote = {one.id for one in batch if one.execution_backend == _REMOTE}
    found = await b.find(Dispatched(at=at(100), execution_backends=(_REMOTE,)), 12)
    check.equal("EXE-19", ids(found), [id_ for id_ in expected if id_ in remote][:12], "the first 12 that are remote")


@guarantee("EXE-19")
async def test_the_silent_are_found_behind_thousands_that_are_not(store: Store, check: Check) -> None:
    if not await keeps_dispatched(store, check, "EXE-19"):
        return
    a, b = await store.actors(2)
    await a.enqueue_many(store.new_tasks(2500), now=T0)
    out = await reserve_all(a, now=T0, stale_after=3600.0)
    check.equal("EXE-19", len(out), 2500, "how many were reserved")
    silent = [await dispatched(store, a, now=at(i), stale_after=1.0) for i in (10, 20, 30)]
    for limit in (2, 99):
        found = await b.find(Dispatched(at=at(60)), limit)
        check.equal("EXE-19", ids(found), ids(silent[:limit]), f"the first {limit} of the silent behind 2,500")


# Giving back


@pytest.mark.parametrize("name", ["release", "snooze", "snooze into the past", "recover"])
@guarantee("EXE-20")
async def test_a_dispatched_task_that_is_given_back_can_be_claimed_again(store: Store, check: Check, name: str) -> None:
    if not await keeps_dispatched(store, check, "EXE-20"):
        return
    a, b = await store.actors(2)
    events: dict[str, Event] = {
        "release": Release(),
        "snooze": Snooze(at(100, microseconds=5)),
        "snooze into the past": Snooze(at(-10)),
        "recover": LoseHeartbeat(LOST),
    }
    for reserves in (False, True):
        queue = f"queue-{reserves}"
        out = [await dispatched(store, a, ref=ref, now=T0, queue=queue) for ref in (None, REF)]
        later = [await store.enqueue(a, now=at(5), queue=queue)]
        low = await store.enqueue(a, now=T0, priority=-1, queue=queue)
        back = [await commit(a, one, events[name], at(10)) for one in out]
        last = await store.enqueue(a, now=at(11), queue=queue)
        early = [] if name != "snooze" else await claim_all(b, now=at(100, microseconds=4), tasks=(back[0].held,))
        check.equal("EXE-20", early, [], "a claim before its time")
        check.equal("EXE-20", await b.next_due((queue,)), back[0].due_at if name == "snooze" else None, "the next due")
        now = at(100, microseconds=5)
        taken = await (reserve_all if reserves else claim_all)(b, now=now, queues=(queue,))
        expected = sorted([*back, *later, low, last], key=claim_order)
        check.equal("EXE-20", ids(taken), ids(expected), f"what is taken after {name}, reserving: {reserves}")


@guarantee("EXE-20")
async def test_a_reservation_that_ran_out_is_found_and_free_again_until_the_budget_is_spent(
    store: Store, check: Check
) -> None:
    if not await keeps_dispatched(store, check, "EXE-20"):
        return
    a, b = await store.actors(2)
    record = await store.enqueue(a, max_recoveries=2, key="k")
    for count in range(3):
        reserved = await reserve_one(a, record, now=at(100 * count), stale_after=30.0)
        check.equal("EXE-20", reserved.recoveries, count, "the recoveries before it")
        [silent] = await b.find(Dispatched(at=at(100 * count + 31)), 9)
        after = step(silent, LoseHeartbeat(LOST), at(100 * count + 31))
        first, second = await b.commit([after]), await a.commit([after])
        check.equal("EXE-20", (first, second), ({record.id}, set[str]()), "the answers to two recoverers")
        check.equal("EXE-20", await stored(a, record.id), after, f"the task after recovery {count + 1}")
        check.equal("EXE-20", await b.find(Dispatched(at=at(9_000)), 9), [], "what is silent after the recovery")
        record = after
    check.equal("EXE-20", record.state, State.FAILED, "the state once no recovery is left")
    check.equal("EXE-20", await claim_all(b, now=at(9_000)), [], "what can be claimed once no recovery is left")


@guarantee("EXE-21")
async def test_a_dispatched_task_is_not_stale(store: Store, check: Check) -> None:
    if not await keeps_dispatched(store, check, "EXE-21"):
        return
    a, b = await store.actors(2)
    out = [await dispatched(store, a, ref=ref, stale_after=window) for ref in (None, REF) for window in (1e-6, 60.0)]
    lacking = out[0].evolve(fence=out[0].fence + 1, heartbeat_at=None, stale_after=None)
    check.equal("EXE-21", await a.commit([lacking]), {lacking.id}, "the commit of one without a heartbeat")
    owned = await running(store, a)
    for query in (
        Stale.since(at(9_000)),
        Stale(at=at(9_000), window=1.0),
        Stale(at=at(9_000), window=1.0, longest=1000.0),
    ):
        check.equal("EXE-21", ids(await b.find(query, 99)), [owned.id], f"what is found by {query}")


@guarantee("EXE-22")
async def test_a_recovery_of_the_stale_moves_no_dispatched_task(store: Store, check: Check) -> None:
    if not await keeps_dispatched(store, check, "EXE-22"):
        return
    a, b = await store.actors(2)
    out = [await dispatched(store, a, ref=ref, stale_after=1e-6) for ref in (None, REF)]
    lacking = out[0].evolve(fence=out[0].fence + 1, heartbeat_at=None, stale_after=None)
    check.equal("EXE-22", await a.commit([lacking]), {lacking.id}, "the commit of one without a heartbeat")
    out[0] = lacking
    owned = await running(store, a)
    before = await pictures(b)
    after = [step(one, LoseHeartbeat(LOST), at(100)) for one in (*out, owned)]
    for query in (Stale.since(at(50)), Stale(at=at(50), window=1.0)):
        check.equal("EXE-22", await b.commit(after[:2], stale=query), set[str](), f"the answer, with {query}")
    check.equal("EXE-22", await b.commit(after, stale=Stale.since(at(50))), {owned.id}, "the answer for a mixture")
    now = await pictures(b)
    check.equal("EXE-22", {id_: now[id_] for id_ in ids(out)}, {id_: before[id_] for id_ in ids(out)}, "the tasks")
    check.equal("EXE-22", await b.commit(after[:2]), set(ids(out)), "the answer without a query")


# Cancellation, expiry, deletion, counting


@guarantee("EXE-23")
async def test_a_task_that_ended_while_it_was_dispatched_is_never_claimed(store: Store, check: Check) -> None:
    if not await keeps_dispatched(store, check, "EXE-23"):
        return
    a, b = await store.actors(2)
    for event in (Cancel(), Expire()):
        for ref in (None, REF):
            out = await dispatched(store, a, ref=ref, expires_at=at(5))
            ended = await commit(b, out, event, at(10))
            named = tuple(Held(out.id, fence) for fence in range(ended.fence + 3))
            for now in (at(4), at(11), at(9_000)):
                claimed = await claim_all(a, now=now, tasks=named, execution_ref="late")
                check.equal("EXE-23", claimed, [], f"a run's claim after {event.name}")
                check.equal("EXE-23", await claim_all(a, now=now), [], f"a claim of anything after {event.name}")
                check.equal("EXE-23", await reserve_all(a, now=now), [], f"a reservation after {event.name}")
            check.equal("EXE-23", await stored(b, out.id), ended, f"the task after {event.name}")
            check.equal("EXE-23", await b.find(Dispatched(at=at(99_999)), 9), [], f"the silent after {event.name}")


@pytest.mark.parametrize("over", [at(100), at(100).replace(microsecond=0), at(100).replace(microsecond=1)])
@guarantee("EXE-24")
async def test_a_dispatched_task_is_claimed_up_to_the_microsecond_before_it_expires(
    store: Store, check: Check, over: datetime
) -> None:
    if not await keeps_dispatched(store, check, "EXE-24"):
        return
    a, b = await store.actors(2)
    for ref in (None, REF):
        out = await dispatched(store, a, ref=ref, expires_at=over)
        for now in (over, over + _MICROSECOND, over + timedelta(days=1)):
            claimed = await claim_all(b, now=now, tasks=(out.held,), execution_ref="own")
            check.equal("EXE-24", claimed, [], f"a run's claim {now - over} after the time")
        check.equal("EXE-24", await stored(a, out.id), out, "the task after claims that came too late")
        claimed = await claim_all(b, now=over - _MICROSECOND, tasks=(out.held,), execution_ref="own")
        check.equal("EXE-24", ids(claimed), [out.id], "a run's claim a microsecond before")


@guarantee("EXE-25")
async def test_the_overdue_are_found_while_they_are_dispatched(store: Store, check: Check) -> None:
    if not await keeps_dispatched(store, check, "EXE-25"):
        return
    a, b = await store.actors(2)
    when = at(100)
    over: list[TaskRecord] = []
    for i in range(12):
        expires_at = when - timedelta(seconds=i // 3, microseconds=i % 2)
        waiting = await store.enqueue(a, expires_at=expires_at, priority=i)
        over.append(waiting if i % 3 == 0 else await reserve_one(a, waiting, stale_after=1e6))
        if i % 3 == 2:
            over[-1] = await commit(a, over[-1], Dispatch(REF, 1e6), at(1))
    await dispatched(store, a, expires_at=when + _MICROSECOND)
    await dispatched(store, a)
    claimed = await dispatched(store, a, expires_at=at(50))
    await claim_one(a, claimed, now=at(1))
    over.sort(key=lambda one: (one.expires_at, one.id))
    for limit in (99, 12, 11, 4, 1, 0):
        check.equal("EXE-25", await b.find(Overdue(at=when), limit), over[:limit], f"the first {limit} of the overdue")
    expired = [step(one, Expire(), when) for one in over]
    check.equal("EXE-25", await b.commit(expired), set(ids(over)), "the answer to their expiry")
    check.equal("EXE-25", await a.get(ids(over)), {one.id: one for one in expired}, "the expired tasks")
    check.equal("EXE-25", await b.find(Overdue(at=when), 99), [], "what is overdue after that")


@guarantee("EXE-26")
async def test_a_dispatched_task_is_not_deleted(store: Store, check: Check) -> None:
    if not await keeps_dispatched(store, check, "EXE-26"):
        return
    a, b = await store.actors(2)
    out = [await dispatched(store, a, ref=ref, key=f"key of {ref}", expires_at=at(5)) for ref in (None, REF)]
    ended = await reach(store, a, State.COMPLETED)
    held = [Held(one.id, fence) for one in out for fence in range(one.fence + 2)]
    check.equal("EXE-26", await b.delete(held), set[str](), "the answer")
    check.equal(
        "EXE-26", await b.delete([*(one.held for one in out), ended.held]), {ended.id}, "the answer for a mixture"
    )
    check.equal("EXE-26", await a.get(ids(out)), {one.id: one for one in out}, "the dispatched tasks")


@guarantee("EXE-27")
async def test_the_counts_see_each_dispatched_task_once(store: Store, check: Check) -> None:
    if not await keeps_dispatched(store, check, "EXE-27"):
        return
    a, b = await store.actors(2)

    async def counts(expected: dict[tuple[str, State], int], what: str) -> None:
        for queues in (None, ("mail", "Mail"), ("Mail",), ()):
            found = {(one.queue, one.state): one.tasks for one in await b.count(queues) if one.tasks}
            wanted = {pair: n for pair, n in expected.items() if n and (queues is None or pair[0] in queues)}
            check.equal("EXE-27", found, wanted, f"the counts of {queues} {what}")
        there = await b.find(Matching(states=(State.DISPATCHED,)), 99)
        wanted_tasks = sum(n for (_, state), n in expected.items() if state is State.DISPATCHED)
        check.equal("EXE-27", len(there), wanted_tasks, f"how many dispatched tasks are found {what}")

    records = [await store.enqueue(a, queue=queue, expires_at=at(70)) for queue in ("mail", "mail", "Mail")]
    scheduled = await store.enqueue(a, queue="mail", run_at=at(5), expires_at=at(70))
    waiting = {("mail", State.PENDING): 2, ("Mail", State.PENDING): 1, ("mail", State.SCHEDULED): 1}
    await counts(waiting, "before")
    out = [await reserve_one(a, one, now=at(6)) for one in (*records, scheduled)]
    all_out = {("mail", State.DISPATCHED): 3, ("Mail", State.DISPATCHED): 1}
    await counts(all_out, "once all are reserved")
    out = [await commit(a, one, Dispatch(REF, WINDOW), at(7)) for one in out]
    await counts(all_out, "once all have a reference")
    await a.touch_heartbeats([one.held for one in out], now=at(8))
    await a.commit([step(one, Cancel(), at(8)).evolve(fence=one.fence) for one in out])
    await counts(all_out, "after heartbeats and a refused commit")
    await claim_one(b, out[0], now=at(9))
    await commit(b, out[1], Cancel(), at(9))
    await commit(b, out[2], Release(), at(9))
    await commit(b, out[3], Snooze(at(60)), at(9))
    ended = {("mail", State.RUNNING): 1, ("mail", State.CANCELLED): 1, ("Mail", State.PENDING): 1}
    await counts(ended | {("mail", State.SCHEDULED): 1}, "once each has gone its way")


# Diversion


async def _diverted(store: Store, actor: QueueBackend, *, ref: str | None, **fields: Any) -> TaskRecord:
    out = await dispatched(store, actor, ref=ref, execution_backend=_REMOTE, **fields)
    return await commit(actor, out, Divert("local", REFUSED), at(1))


@guarantee("EXE-28")
async def test_a_diverted_task_is_claimed_for_the_other_execution_backend(store: Store, check: Check) -> None:
    if not await keeps_dispatched(store, check, "EXE-28"):
        return
    a, b = await store.actors(2)
    for reserves in (False, True):
        for ref in (None, REF):
            other = await store.enqueue(a, now=at(0.5))
            diverted = await _diverted(store, a, ref=ref)
            want = Want(
                worker="w",
                limit=9,
                queues=("default",),
                execution_backends=("local",),
                reserve=reserves,
                stale_after=WINDOW,
            )
            taken = await b.claim(want, now=at(5))
            expected = ids([diverted, other])
            check.equal("EXE-28", ids(taken), expected, f"what is taken for the other one, reserving: {reserves}")
            there = await b.find(Matching(states=(State.PENDING,)), 9)
            check.equal("EXE-28", there, [], "what still waits")


@guarantee("EXE-29")
async def test_a_diverted_task_is_not_taken_for_the_former_execution_backend(store: Store, check: Check) -> None:
    if not await keeps_dispatched(store, check, "EXE-29"):
        return
    a, b = await store.actors(2)
    diverted = [await _diverted(store, a, ref=ref, priority=9) for ref in (None, REF)]
    wanted = await store.enqueue(a, execution_backend=_REMOTE)
    named = tuple(one.held for one in diverted)
    claimed = await claim_all(b, now=at(5), execution_backends=(_REMOTE,), tasks=named)
    check.equal("EXE-29", claimed, [], "a claim by id for the former one")
    reserved = await reserve_all(b, now=at(5), execution_backends=(_REMOTE,))
    check.equal("EXE-29", ids(reserved), [wanted.id], "a reservation for the former one")
    check.equal("EXE-29", await claim_all(b, now=at(5), execution_backends=(_REMOTE,)), [], "a claim for it")
    check.equal("EXE-29", await a.get(ids(diverted)), {one.id: one for one in diverted}, "the diverted tasks")


# The store's clock


@guarantee("EXE-30")
async def test_without_a_time_given_a_reservation_goes_by_the_stores_clock(store: Store, check: Check) -> None:
    if not await keeps_dispatched(store, check, "EXE-30"):
        return
    a, b = await store.actors(2)
    now = await a.now()
    for name, fields in {
        "later": {"run_at": now + _HOUR},
        "over": {"expires_at": now - _HOUR},
        "ready": {"run_at": now - _HOUR, "expires_at": now + _HOUR},
        "waiting": {},
    }.items():
        await store.enqueue(a, now=now - 2 * _HOUR, name=name, **fields)
    before = await b.now()
    reserved = await b.claim(Want(worker="d", limit=9, reserve=True, stale_after=7200.0))
    after = await b.now()
    check.equal("EXE-30", sorted(one.name for one in reserved), ["ready", "waiting"], "what was reserved")
    for one in reserved:
        beaten = one.heartbeat_at
        check("EXE-30", beaten is not None and before <= beaten <= after, f"reserved at {beaten}, {before} to {after}")
        check.equal("EXE-30", await stored(a, one.id), one, "what another client reads")
    for hours, expected in ((1, 0), (3, 2)):
        found = await a.find(Dispatched(at=after + hours * _HOUR), 9)
        check.equal("EXE-30", len(found), expected, f"how many are silent in {hours} hours")


@guarantee("EXE-30")
async def test_without_a_time_given_a_runs_claim_goes_by_the_stores_clock(store: Store, check: Check) -> None:
    if not await keeps_dispatched(store, check, "EXE-30"):
        return
    a, b = await store.actors(2)
    now = await a.now()
    then = now - 3 * _HOUR
    live = await dispatched(store, a, ref=REF, now=then, expires_at=now + _HOUR)
    over = await dispatched(store, a, ref=REF, now=then, expires_at=now - _HOUR)
    before = await b.now()
    named = (live.held, over.held)
    claimed = await b.claim(Want(worker="r", limit=9, tasks=named, execution_ref="own", stale_after=60.0))
    after = await b.now()
    check.equal("EXE-30", ids(claimed), [live.id], "what was claimed")
    started = claimed[0].started_at
    check("EXE-30", started is not None and before <= started <= after, f"claimed at {started}, {before} to {after}")
    expected = {live.id: claimed[0], over.id: over}
    check.equal("EXE-30", await a.get([live.id, over.id]), expected, "the tasks")


@guarantee("EXE-30")
async def test_without_a_time_given_a_heartbeat_of_a_dispatched_task_is_stamped_by_the_store(
    store: Store, check: Check
) -> None:
    if not await keeps_dispatched(store, check, "EXE-30"):
        return
    a, b = await store.actors(2)
    now = await a.now()
    out = await dispatched(store, a, now=now - 3 * _HOUR, stale_after=3600.0)
    check.equal("EXE-30", await b.find(Dispatched(at=now), 9), [out], "what is silent before the heartbeat")
    before = await b.now()
    check.equal("EXE-30", await b.touch_heartbeats([out.held]), {out.id}, "the answer to the heartbeat")
    after = await b.now()
    beaten = (await stored(a, out.id)).heartbeat_at
    check("EXE-30", beaten is not None and before <= beaten <= after, f"beaten at {beaten}, {before} to {after}")
    check.equal("EXE-30", await b.find(Dispatched(at=after), 9), [], "what is silent after the heartbeat")
