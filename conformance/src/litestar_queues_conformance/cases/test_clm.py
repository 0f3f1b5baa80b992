"""CLM: who gets what, in which order."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any

import pytest

from litestar_queues.backends.base import QueueBackend
from litestar_queues.lifecycle import (
    Cancel,
    Claim,
    Complete,
    Event,
    Fail,
    LoseHeartbeat,
    NullHeartbeat,
    Requeue,
    Revive,
    Snooze,
    State,
    step,
)
from litestar_queues.records import PRIORITY_MAX, PRIORITY_MIN, Held, NewTask, TaskRecord, Want, admit, claim_order
from litestar_queues_conformance.harness import T0, Check, NotFoundOut, Store, at, guarantee
from litestar_queues_conformance.hearing import SOON
from litestar_queues_conformance.moves import (
    ERROR,
    LOST,
    claim_all,
    commit,
    everything,
    ids,
    kinds,
    picture,
    pictures,
    reach,
    running,
    stored,
)
from litestar_queues_conformance.patience import ended_beside
from litestar_queues_conformance.target import HoldsTasks

_MICROSECOND = timedelta(microseconds=1)


def _beside_fence(*records: TaskRecord) -> list[TaskRecord]:
    """The records but for their fences, which CLM-10 is for."""
    return [one.evolve(fence=0) for one in records]


@pytest.mark.parametrize("state", [State.PENDING, State.SCHEDULED])
@guarantee("CLM-01")
async def test_a_claim_stores_and_answers_the_step(store: Store, check: Check, state: State) -> None:
    a, b = await store.actors(2)
    new = store.new_task(
        key="k", run_at=at(5) if state is State.SCHEDULED else None, expires_at=at(99), metadata='{"m": 1}', priority=3
    )
    await a.enqueue_many([new], now=T0)
    worker = "host-1/pid 7/grün \U0001f389"
    claimed = await b.claim(Want(worker=worker, limit=5), now=at(10, microseconds=3))
    expected = step(admit(new, T0), Claim(worker), at(10, microseconds=3))
    check.equal("CLM-01", _beside_fence(*claimed), _beside_fence(expected), "the answer")
    check.equal("CLM-01", _beside_fence(await stored(a, new.id)), _beside_fence(expected), "what another client reads")


@pytest.mark.parametrize("name", ["retry", "retry later", "requeue", "snooze", "recover"])
@guarantee("CLM-01")
async def test_a_later_claim_stores_and_answers_the_step(store: Store, check: Check, name: str) -> None:
    a, b = await store.actors(2)
    events: dict[str, Event] = {
        "retry": Fail(ERROR, at(0)),
        "retry later": Fail(ERROR, at(50)),
        "requeue": Requeue(),
        "snooze": Snooze(at(50)),
        "recover": LoseHeartbeat(LOST),
    }
    event = events[name]
    owned = await running(store, a, max_attempts=3)
    await a.touch_heartbeats([Held(owned.id, owned.fence, '{"done": 1}')], now=at(1))
    waiting = await commit(a, await stored(a, owned.id), event, at(2))
    expected = step(waiting, Claim("worker-b"), at(60))
    claimed = await claim_all(b, now=at(60), worker="worker-b")
    check.equal("CLM-01", _beside_fence(*claimed), _beside_fence(expected), "the answer")
    check.equal(
        "CLM-01", _beside_fence(await stored(a, owned.id)), _beside_fence(expected), "what another client reads"
    )


@guarantee("CLM-01")
async def test_a_batch_of_claims_stores_and_answers_each_step(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    batch = [store.new_task(args=f"[{i}]", queue=f"q{i % 3}", priority=i % 4) for i in range(40)]
    await a.enqueue_many(batch, now=T0)
    expected = {new.id: step(admit(new, T0), Claim("worker-a"), at(1)) for new in batch}
    claimed = await claim_all(b, now=at(1))
    check.equal("CLM-01", {one.id: one for one in claimed}, expected, "the answer")
    check.equal("CLM-01", await a.get(ids(batch)), expected, "what another client reads")


@guarantee("CLM-02")
async def test_claimers_at_once_never_get_the_same_task(store: Store, check: Check) -> None:
    actors = await store.actors(4)
    batch = [store.new_task(queue=f"q{i % 2}", priority=i % 3) for i in range(60)]
    await actors[0].enqueue_many(batch, now=T0)
    given: list[str] = []
    for round_ in range(60):  # a claimer may find nothing where the others hold what it wants
        answers = await asyncio.gather(
            *(actor.claim(Want(worker=f"w{i}", limit=4), now=at(round_)) for i, actor in enumerate(actors))
        )
        claimed = [one for answer in answers for one in answer]
        given += ids(claimed)
        for i, answer in enumerate(answers):
            check.equal("CLM-02", [one.worker for one in answer], [f"w{i}"] * len(answer), "whose the claimed are")
        check("CLM-02", len(given) == len(set(given)), f"given twice: {sorted(given)}")
        found = await actors[0].get(ids(claimed))
        check.equal("CLM-02", found, {one.id: one for one in claimed}, "the claimed tasks as they are stored")
        if len(given) == len(batch):
            break
    check.equal("CLM-02", sorted(given), sorted(ids(batch)), "what was given in all")


@guarantee("CLM-02")
async def test_of_claimers_of_one_task_at_once_one_gets_it(store: Store, check: Check) -> None:
    actors = await store.actors(4)
    for _ in range(10):
        waiting = await store.enqueue(actors[0])
        wants = [Want(worker=f"w{i}", limit=1, tasks=(waiting.held,)) for i in range(len(actors))]
        answers = await asyncio.gather(
            *(actor.claim(want, now=at(1)) for actor, want in zip(actors, wants, strict=True))
        )
        winners = [one for answer in answers for one in answer]
        check.equal("CLM-02", ids(winners), [waiting.id], "who was given the task")
        check.equal("CLM-02", await stored(actors[0], waiting.id), winners[0], "the task as it is stored")


async def _mixed(store: Store, actor: QueueBackend) -> list[TaskRecord]:
    """Enqueue tasks with ties in everything but the id, at times that sort wrongly as some texts; in the order of claiming."""
    priorities = (PRIORITY_MIN, PRIORITY_MIN + 1, -1, 0, 1, 9, 10, PRIORITY_MAX - 5, PRIORITY_MAX - 1, PRIORITY_MAX)
    whole = T0.replace(microsecond=0)
    times = [whole + timedelta(microseconds=n) for n in (0, 1, 9, 10, 100_000, 120_000, 999_999, 1_000_000)]
    times += [whole - timedelta(days=40), whole + timedelta(seconds=59)]
    mixed = [
        (store.new_task(priority=priority, queue=store.random.choice(("a", "b", "c")), execution_backend=backend), now)
        for priority in priorities
        for now in times
        for backend in ("local", "cloudrun")
    ]
    mixed += [
        (store.new_task(priority=0, run_at=whole + timedelta(seconds=n, microseconds=n)), whole) for n in range(9)
    ]
    store.random.shuffle(mixed)
    records: list[TaskRecord] = []
    for now in dict.fromkeys(now for _, now in mixed):
        batch = [new for new, when in mixed if when == now]  # in one call: they have one time, whosever clock tells it
        records += [one.record for one in await actor.enqueue_many(batch, now=now)]
    return sorted(records, key=claim_order)


@guarantee("CLM-03")
async def test_one_claim_is_answered_in_the_order_of_claiming(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    records = await _mixed(store, a)
    check.equal("CLM-03", ids(await claim_all(b, now=at(600))), ids(records), "the order of one claim of all")


@guarantee("CLM-03")
async def test_claims_one_after_another_follow_the_order_of_claiming(store: Store, check: Check) -> None:
    actors = await store.actors(2)
    records = await _mixed(store, actors[0])
    claimed: list[str] = []
    for turn in range(len(records) // 7 + 1):
        claimed += ids(await actors[turn % 2].claim(Want(worker="w", limit=7), now=at(600)))
    check.equal("CLM-03", claimed, ids(records), "the order of claims of 7")


_IDS = (
    "A",
    "B",
    "Z",
    "a",
    "aa",
    "a-b",
    "ab",
    "b",
    "z",
    "0",
    "10",
    "9",
    "_",
    "~",
    "\u00e4",
    "\u00c4",
    "\u4f60",
    "\U0001f389",
)
"""Whose order by code points is that of no language."""


@guarantee("CLM-03")
async def test_ids_are_ordered_character_by_character(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    batch = [store.new_task(id=id_, queue="ab"[i % 2]) for i, id_ in enumerate(_IDS)]
    store.random.shuffle(batch)
    await a.enqueue_many(batch, now=T0)
    claimed = ids(await b.claim(Want(worker="w", limit=5), now=at(1)))
    claimed += ids(await b.claim(Want(worker="w", limit=5, queues=("a", "b")), now=at(1)))
    claimed += ids(await claim_all(b, now=at(1)))
    check.equal("CLM-03", claimed, sorted(_IDS), "the order of tasks that differ by their ids alone")


@pytest.mark.parametrize("name", ["retry at once", "requeue", "recover", "snooze into the past"])
@guarantee("CLM-03")
async def test_a_task_given_back_goes_behind_those_of_its_priority(store: Store, check: Check, name: str) -> None:
    a, b = await store.actors(2)
    owned = await running(store, a, max_attempts=5)
    others = [await store.enqueue(a, now=at(i)) for i in (1, 2)]
    low = await store.enqueue(a, now=at(1), priority=-1)
    events: dict[str, Event] = {
        "retry at once": Fail(ERROR, at(-10)),
        "requeue": Requeue(),
        "recover": LoseHeartbeat(LOST),
        "snooze into the past": Snooze(at(-10)),
    }
    await commit(a, owned, events[name], at(10))
    later = await store.enqueue(a, now=at(11))
    claimed = await claim_all(b, now=at(20))
    check.equal("CLM-03", ids(claimed), ids([*others, owned, later, low]), "the order of the next claim")


@guarantee("CLM-03")
async def test_several_queues_are_claimed_in_one_order(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    wanted = [one for one in await _mixed(store, a) if one.queue in ("a", "c")]
    claimed: list[str] = []
    for _ in range(len(wanted) // 11 + 1):
        claimed += ids(await b.claim(Want(worker="w", limit=11, queues=("c", "a")), now=at(600)))
    check.equal("CLM-03", claimed, ids(wanted), "the order over two of the queues")


@pytest.mark.parametrize("due", [at(10), at(10).replace(microsecond=0), at(10).replace(microsecond=1), at(864_000)])
@guarantee("CLM-04")
async def test_a_task_is_not_claimed_a_microsecond_early(store: Store, check: Check, due: datetime) -> None:
    a, b = await store.actors(2)
    scheduled = await store.enqueue(a, run_at=due, priority=9)
    early = due - _MICROSECOND
    check.equal("CLM-04", await claim_all(b, now=early), [], "a claim of anything")
    named = Want(worker="w", limit=1, tasks=(scheduled.held,))
    check.equal("CLM-04", await b.claim(named, now=early), [], "a claim by id")
    filtered = Want(worker="w", limit=1, queues=("default",), execution_backends=("local",))
    check.equal("CLM-04", await b.claim(filtered, now=early), [], "a claim by queue")
    check.equal("CLM-04", await stored(b, scheduled.id), scheduled, "the task after early claims")


@guarantee("CLM-04")
async def test_of_tasks_at_hand_and_ahead_those_at_hand_are_claimed(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    due = at(50)
    ready = [await store.enqueue(a), await store.enqueue(a, run_at=at(40))]
    ahead = [await store.enqueue(a, run_at=due, priority=9), await store.enqueue(a, run_at=at(60))]
    check.equal("CLM-04", ids(await claim_all(b, now=due - _MICROSECOND)), ids(ready), "claimed a microsecond before")
    check.equal("CLM-04", ids(await claim_all(b, now=at(60) - _MICROSECOND)), [ahead[0].id], "claimed before the last")
    check.equal("CLM-04", ids(await claim_all(b, now=at(61))), [ahead[1].id], "claimed after its time")


@pytest.mark.parametrize("by", ["anything", "queue", "id"])
@guarantee("CLM-05")
async def test_a_scheduled_task_is_claimed_at_its_very_time(store: Store, check: Check, by: str) -> None:
    a, b = await store.actors(2)
    for due in (at(10), at(20).replace(microsecond=0), at(30).replace(microsecond=999_999)):
        scheduled = await store.enqueue(a, run_at=due)
        want = {
            "anything": Want(worker="w", limit=1),
            "queue": Want(worker="w", limit=1, queues=("default",)),
            "id": Want(worker="w", limit=1, tasks=(scheduled.held,)),
        }[by]
        claimed = await b.claim(want, now=due)
        check.equal("CLM-05", ids(claimed), [scheduled.id], f"a claim at {due}")


@guarantee("CLM-05")
async def test_what_came_due_takes_its_place_among_the_pending(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    records = [
        await store.enqueue(a, now=at(5)),
        await store.enqueue(a, run_at=at(3)),
        await store.enqueue(a, run_at=at(7)),
        await store.enqueue(a, run_at=at(9), priority=1),
        await store.enqueue(a, now=at(8)),
        await store.enqueue(a, run_at=at(4), queue="other"),
    ]
    await store.enqueue(a, run_at=at(11), priority=5)
    records.sort(key=claim_order)
    claimed: list[str] = []
    for _ in records:
        claimed += ids(await b.claim(Want(worker="w", limit=1), now=at(10)))
    check.equal("CLM-05", claimed, ids(records), "the order of single claims")
    check.equal("CLM-05", await claim_all(b, now=at(10)), [], "what is left")


@guarantee("CLM-05")
async def test_more_than_a_thousand_that_come_due_at_once_are_all_claimed(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    batch = [store.new_task(run_at=at(1, microseconds=i), priority=int(i == 900)) for i in range(1500)]
    shuffled = batch.copy()
    store.random.shuffle(shuffled)
    await a.enqueue_many(shuffled, now=T0)
    first = await b.claim(Want(worker="w", limit=10), now=at(10))
    check.equal("CLM-05", ids(first), ids([batch[900], *batch[:9]]), "the first claim of 10")
    claimed = ids(first)
    for _ in range(40):
        claimed += ids(await b.claim(Want(worker="w", limit=100), now=at(10)))
        if len(claimed) >= len(batch):
            break
    expected = ids([batch[900], *(new for new in batch if new is not batch[900])])
    check.equal("CLM-05", claimed, expected, "the claims until nothing is left")


@guarantee("CLM-05")
async def test_a_claim_of_more_than_a_thousand_takes_what_came_due(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    batch = [store.new_task(run_at=at(1, microseconds=i)) for i in range(2200)]
    await a.enqueue_many(batch, now=T0)
    claimed = await b.claim(Want(worker="w", limit=2200), now=at(10))
    check.equal("CLM-05", ids(claimed), ids(batch), "a claim of as many as came due")


@guarantee("CLM-06")
async def test_a_claim_takes_up_to_its_limit(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    batch = store.new_tasks(9)
    await a.enqueue_many(batch, now=T0)
    before = await pictures(a)
    check.equal("CLM-06", await b.claim(Want(worker="w", limit=0), now=at(1)), [], "a claim of 0")
    check.equal("CLM-06", await pictures(a), before, "what is stored after a claim of 0")
    check.equal("CLM-06", ids(await b.claim(Want(worker="w", limit=1), now=at(1))), ids(batch[:1]), "a claim of 1")
    check.equal("CLM-06", ids(await a.claim(Want(worker="w", limit=5), now=at(1))), ids(batch[1:6]), "a claim of 5")
    check.equal("CLM-06", ids(await b.claim(Want(worker="w", limit=5), now=at(1))), ids(batch[6:]), "a claim of 5 of 3")
    check.equal("CLM-06", await a.claim(Want(worker="w", limit=5), now=at(1)), [], "a claim where nothing is left")
    states = {one.state for one in await everything(b)}
    check.equal("CLM-06", states, {State.RUNNING}, "the states of what was claimed")


@guarantee("CLM-06")
async def test_a_claim_takes_its_limit_over_all_queues(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    batch = [store.new_task(id=id_, queue=f"q{i % 5}") for i, id_ in enumerate(ids(store.new_tasks(25)))]
    await a.enqueue_many(batch, now=T0)
    queues = tuple(f"q{i}" for i in range(5))
    first = await b.claim(Want(worker="w", limit=8, queues=queues), now=at(1))
    check.equal("CLM-06", ids(first), ids(batch[:8]), "a claim of 8 from five queues")
    rest = await b.claim(Want(worker="w", limit=100, queues=queues), now=at(1))
    check.equal("CLM-06", ids(rest), ids(batch[8:]), "a claim of the rest")


QUEUES = ("mail", "Mail", "mail ", " mail", "m\u00e4il", "ma%", "m_il", "mail,other", "'mail'", "ma\u0301il", "mail/1")


@guarantee("CLM-07")
async def test_only_the_queues_named_are_claimed_from(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    batch = [store.new_task(queue=queue) for queue in QUEUES]
    await a.enqueue_many(batch, now=T0)
    check.equal("CLM-07", await claim_all(b, now=at(1), queues=()), [], "a claim from no queue")
    check.equal("CLM-07", await claim_all(b, now=at(1), queues=("none", "MAIL")), [], "a claim from empty queues")
    for new in batch:
        claimed = await claim_all(b, now=at(1), queues=(new.queue, "none", new.queue))
        check.equal("CLM-07", ids(claimed), [new.id], f"a claim from {new.queue!a}")


@guarantee("CLM-07")
async def test_only_the_execution_backends_named_are_claimed_for(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    backends = ("local", "Local", "local ", "cloudrun", "cl_udrun", "%")
    batch = [store.new_task(execution_backend=backend) for backend in backends]
    await a.enqueue_many(batch, now=T0)
    check.equal("CLM-07", await claim_all(b, now=at(1), execution_backends=()), [], "a claim for no backend")
    check.equal("CLM-07", await claim_all(b, now=at(1), execution_backends=("LOCAL",)), [], "a claim for another")
    for new in batch:
        claimed = await claim_all(b, now=at(1), execution_backends=(new.execution_backend, "none"))
        check.equal("CLM-07", ids(claimed), [new.id], f"a claim for {new.execution_backend!a}")


@guarantee("CLM-07")
async def test_both_filters_hold_together_and_none_means_any(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    pairs = [(queue, backend) for queue in ("a", "b", "c") for backend in ("local", "cloudrun")]
    batch = [store.new_task(id=id_, queue=q, execution_backend=e)
             for id_, (q, e) in zip(ids(store.new_tasks(6)), pairs, strict=True)]  # fmt: skip
    await a.enqueue_many(batch, now=T0)
    claimed = await claim_all(b, now=at(1), queues=("a", "c"), execution_backends=("cloudrun",))
    check.equal("CLM-07", ids(claimed), ids([batch[1], batch[5]]), "a claim by both filters")
    check.equal("CLM-07", ids(await claim_all(b, now=at(1), queues=("a",))), [batch[0].id], "a claim by queue")
    check.equal("CLM-07", await claim_all(b, now=at(1), queues=(), execution_backends=("local",)), [], "by no queue")
    check.equal("CLM-07", ids(await claim_all(b, now=at(1))), ids(batch[2:5]), "a claim of anything")


@guarantee("CLM-07")
async def test_many_queues_can_be_named(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    batch = store.new_tasks(300)
    batch = [store.new_task(id=new.id, queue=f"tenant-{i}") for i, new in enumerate(batch)]
    await a.enqueue_many(batch, now=T0)
    named = tuple(new.queue for new in batch[:-1])
    check.equal("CLM-07", ids(await claim_all(b, now=at(1), queues=named)), ids(batch[:-1]), "a claim from 299 queues")


@pytest.mark.parametrize("what", ["another queue", "another execution backend", "later", "running"])
@guarantee("CLM-08")
async def test_a_match_is_found_behind_thousands_of_others(store: Store, check: Check, what: str) -> None:
    a, b = await store.actors(2)
    fields: dict[str, dict[str, Any]] = {
        "another queue": {"queue": "other"},
        "another execution backend": {"execution_backend": "cloudrun"},
        "later": {"run_at": at(1000)},
        "running": {},
    }
    await a.enqueue_many([store.new_task(priority=9, **fields[what]) for _ in range(3000)], now=T0)
    if what == "running":
        await claim_all(a, now=at(1))
    match = await store.enqueue(a, now=at(2), priority=-9)
    claimed = await b.claim(Want(worker="w", limit=1, queues=("default",), execution_backends=("local",)), now=at(3))
    check.equal("CLM-08", ids(claimed), [match.id], f"a claim of 1 behind 3,000 of {what}")


@guarantee("CLM-09")
async def test_a_claim_by_id_takes_the_tasks_named_in_the_order_of_claiming(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    records = [await store.enqueue(a, priority=i % 3, now=at(i)) for i in range(9)]
    named = records[1:8]
    named.reverse()
    want = Want(worker="w", limit=5, tasks=tuple(one.held for one in named))
    claimed = await b.claim(want, now=at(20))
    expected = sorted(named, key=claim_order)
    check.equal("CLM-09", claimed, [step(one, Claim("w"), at(20)) for one in expected[:5]], "a claim of 5 of 7 named")
    check.equal("CLM-09", ids(await b.claim(want, now=at(21))), ids(expected[5:]), "the same claim again")
    check.equal("CLM-09", await b.claim(want, now=at(22)), [], "the same claim once all are taken")
    left = {one.id for one in await everything(a) if one.state is State.PENDING}
    check.equal("CLM-09", left, {records[0].id, records[8].id}, "those that were not named")


@guarantee("CLM-09")
async def test_a_claim_by_id_needs_the_fence_as_it_is(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    owned = await running(store, a, max_attempts=5)
    waiting = await commit(a, owned, Requeue(), at(1))
    other = await store.enqueue(a)
    for fence in (0, 1, 3, 4, -1):
        claimed = await b.claim(Want(worker="w", limit=9, tasks=(Held(waiting.id, fence),)), now=at(2))
        check.equal("CLM-09", claimed, [], f"a claim under fence {fence} of a task whose fence is {waiting.fence}")
    named = (Held(waiting.id, 0), other.held, Held(store.new_id(), 0))
    check.equal(
        "CLM-09", ids(await b.claim(Want(worker="w", limit=9, tasks=named), now=at(2))), [other.id], "a mixture"
    )
    check.equal("CLM-09", await stored(a, waiting.id), waiting, "the task after claims under other fences")
    claimed = await b.claim(Want(worker="w", limit=9, tasks=(waiting.held,)), now=at(3))
    check.equal("CLM-09", ids(claimed), [waiting.id], "a claim under the fence as it is")


@guarantee("CLM-09")
async def test_a_claim_by_id_takes_only_what_could_be_claimed_anyway(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    tasks = await kinds(store, a)
    overdue = await store.enqueue(a, expires_at=at(5))
    foreign = await store.enqueue(a, queue="other")
    elsewhere = await store.enqueue(a, execution_backend="cloudrun")
    there = [one for one in tasks.values() if one.state is not State.DISPATCHED]  # EXE-06 is for those
    named = tuple(one.held for one in (*there, overdue, foreign, elsewhere))
    want = Want(worker="w", limit=99, tasks=named, queues=("default",), execution_backends=("local",))
    check.equal("CLM-09", ids(await b.claim(want, now=at(20))), [tasks["pending"].id], "a claim of one in every state")
    unfiltered = Want(worker="w", limit=99, tasks=(foreign.held, elsewhere.held))
    claimed = await b.claim(unfiltered, now=at(21))
    check.equal("CLM-09", sorted(ids(claimed)), sorted(ids([foreign, elsewhere])), "a claim by id alone")
    check.equal("CLM-09", await b.claim(Want(worker="w", limit=0, tasks=named), now=at(21)), [], "a claim of 0")


@guarantee("CLM-10")
async def test_every_claim_and_every_commit_raises_the_fence_by_one(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    record = await store.enqueue(a, max_attempts=9)
    events: list[Event] = [
        Requeue(),
        Fail(ERROR, at(0)),
        NullHeartbeat(),
        LoseHeartbeat(LOST),
        Snooze(at(1)),
        Fail(ERROR),
        Revive(),
        Cancel(),
        Revive(),
    ]
    fences = [record.fence]
    now = T0
    for i, event in enumerate(events):
        now += timedelta(seconds=5)
        actor = (a, b)[i % 2]
        if record.state is State.PENDING and not isinstance(event, Cancel):
            claimed = await actor.claim(Want(worker=f"w{i}", limit=1), now=now)
            check.equal("CLM-10", [one.fence for one in claimed], [fences[-1] + 1], f"the fence of claim {i}")
            fences.append(claimed[0].fence)
            record = claimed[0]
        await actor.touch_heartbeats([record.held], now=now)
        record = await commit(actor, await stored(b, record.id), event, now)
        fences.append((await stored(a, record.id)).fence)
        check.equal("CLM-10", fences[-1], fences[-2] + 1, f"the fence after {event.name}")
    check("CLM-10", len(fences) == len(set(fences)), f"a fence came twice: {fences}")


@guarantee("CLM-11")
async def test_only_waiting_tasks_are_claimed(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    tasks = await kinds(store, a)
    nulled = await running(store, a)
    await commit(a, nulled, NullHeartbeat(), at(2))
    claimed = await claim_all(b, now=at(100))
    check.equal("CLM-11", ids(claimed), [tasks["pending"].id], "claimed of one in every state")
    claimed = await claim_all(b, now=at(4000))
    check.equal("CLM-11", ids(claimed), [tasks["scheduled"].id], "claimed once the scheduled one came due")
    check.equal("CLM-11", await claim_all(b, now=at(9_000_000)), [], "claimed much later")


@guarantee("CLM-30")
async def test_what_a_claim_passes_over_stays_as_it_is(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    for state in store.states:
        await reach(store, a, state, queue="other")
        await reach(store, a, state, execution_backend="cloudrun")
        await reach(store, a, state, **({} if state is State.EXPIRED else {"expires_at": at(30)}))
    wanted = await store.enqueue(a, priority=-9)
    before = await pictures(a)
    want = Want(worker="w", limit=9, queues=("default",), execution_backends=("local",))
    claimed = await b.claim(want, now=at(100))
    check.equal("CLM-30", ids(claimed), [wanted.id], "the claim")
    after = await pictures(a)
    check.equal("CLM-30", after, {**before, wanted.id: picture(claimed[0])}, "everything else")


@guarantee("CLM-30")
async def test_what_a_claim_passes_over_can_be_claimed_next(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    batch = [store.new_task(id=new.id, queue=f"q{i % 2}") for i, new in enumerate(store.new_tasks(20))]
    await a.enqueue_many(batch, now=T0)
    for limit in (0, 1, 2):
        await b.claim(Want(worker="w", limit=limit, queues=("q1",)), now=at(1))
    claimed = await claim_all(a, now=at(2))
    expected = [new.id for new in batch if new.id not in set(ids([new for new in batch if new.queue == "q1"][:3]))]
    check.equal("CLM-30", ids(claimed), expected, "what is claimed next")


async def _proves_to_hold(actor: QueueBackend, elsewhere: QueueBackend, held: NewTask) -> None:
    """See that nobody gets a task that the target says is held: else nothing is found out by passing over it.

    Raises:
        NotFoundOut: Somebody gets it.
    """
    claiming = asyncio.ensure_future(actor.claim(Want(worker="w", limit=1, tasks=(Held(held.id, 0),)), now=at(4)))
    if not await ended_beside(elsewhere.count, [claiming], SOON):  # it waits, as long as the task is held
        claiming.cancel()
        await asyncio.wait({claiming})
        return
    if claiming.result():
        raise NotFoundOut("holding(...) of the target holds nothing: a task that it should hold was given to a claim")


@guarantee("CLM-12")
async def test_a_claim_passes_over_what_another_has_not_finished_with(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    target = store.target
    if not isinstance(target, HoldsTasks):
        check.unknown("CLM-12", "the target cannot hold tasks, and so it was not found out")
        return
    batch = [store.new_task(id=new.id, run_at=at(2) if i % 2 else None) for i, new in enumerate(store.new_tasks(24))]
    await a.enqueue_many(batch, now=T0)
    order = [*batch[::2], *batch[1::2]]  # as they become due
    held = [*order[:3], *order[12:15]]
    elsewhere = await store.another().actor()  # which nobody holds anything of
    async with target.holding(store.config, ids(held)) as holds:
        if not holds:
            check("CLM-12", True, "the backend has no claims that others could come across")
            return
        await _proves_to_hold(b, elsewhere, held[1])
        free = [new for new in order if new not in held]
        wants = {
            "by id": Want(worker="w", limit=9, tasks=tuple(Held(new.id, 0) for new in (held[0], free[0], held[3]))),
            "from a queue": Want(worker="w", limit=3, queues=("default",)),
            "of anything": Want(worker="w", limit=99),
        }
        expected = {"by id": free[:1], "from a queue": free[1:4], "of anything": free[4:]}
        for how, want in wants.items():
            claiming = asyncio.ensure_future(b.claim(want, now=at(5)))
            ended = await ended_beside(elsewhere.count, [claiming], SOON)
            if not ended:
                claiming.cancel()
                await asyncio.wait({claiming})
            check("CLM-12", ended, f"a claim {how} waits for what another has not finished with")
            check.equal(
                "CLM-12", ids(claiming.result()), ids(expected[how]), f"a claim {how} beside what another holds"
            )
    rest = await claim_all(b, now=at(6))
    check.equal("CLM-12", ids(rest), ids(held), "what can be claimed once the other let go of it")


@guarantee("CLM-11")
async def test_a_settled_task_is_not_claimed_again(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    owned = await running(store, a, max_attempts=9)
    check.equal("CLM-11", await claim_all(b, now=at(1000)), [], "a claim while it runs, without a heartbeat for long")
    await commit(a, owned, Complete("1"), at(2000))
    check.equal("CLM-11", await claim_all(b, now=at(3000)), [], "a claim once it has completed")
