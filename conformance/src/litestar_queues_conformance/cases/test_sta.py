"""STA: reading and counting."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

from litestar_queues.backends.base import QueueBackend
from litestar_queues.lifecycle import (
    WAITING,
    Cancel,
    Complete,
    Event,
    Fail,
    LoseHeartbeat,
    Requeue,
    Revive,
    Snooze,
    State,
)
from litestar_queues.records import Matching, TaskRecord
from litestar_queues_conformance.harness import T0, Check, Store, at, guarantee
from litestar_queues_conformance.moments import Present
from litestar_queues_conformance.moves import (
    ERROR,
    LOST,
    RESULT,
    claim_all,
    claim_one,
    commit,
    everything,
    ids,
    kinds,
    pictures,
    reach,
    running,
)


async def _counts(actor: QueueBackend, queues: tuple[str, ...] | None = None) -> dict[tuple[str, State], int]:
    found: dict[tuple[str, State], int] = {}
    for one in await actor.count(queues):
        if one.tasks:
            found[one.queue, one.state] = found.get((one.queue, one.state), 0) + one.tasks
    return found


@guarantee("STA-01")
async def test_the_counts_are_those_of_the_stored_tasks(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    check.equal("STA-01", await _counts(b), {}, "the counts of an empty store")
    for queue, times in (("mail", 1), ("Mail", 2), ("mail ", 3), ("m%", 1)):
        for _ in range(times):
            await kinds(store, a, queue=queue)
    expected = {
        (queue, state): n for queue, n in (("mail", 1), ("Mail", 2), ("mail ", 3), ("m%", 1)) for state in store.states
    }
    check.equal("STA-01", await _counts(b), expected, "the counts of all queues")
    for named in (("mail",), ("Mail", "m%"), ("mail ", "mail ", "none"), ("none",), ()):
        wanted = {pair: n for pair, n in expected.items() if pair[0] in named}
        check.equal("STA-01", await _counts(b, named), wanted, f"the counts of {named}")
    pairs = [(one.queue, one.state) for one in await b.count()]
    check("STA-01", len(pairs) == len(set(pairs)), f"a queue and state counted in two parts: {pairs}")


@guarantee("STA-01")
async def test_the_counts_follow_every_transition(store: Store, check: Check) -> None:
    a, b = await store.actors(2)

    async def as_stored(after: str) -> None:
        stored = Counter((one.queue, one.state) for one in await everything(a))
        check.equal("STA-01", await _counts(b), dict(stored), f"the counts after {after}")

    record = await store.enqueue(a, max_attempts=9, queue="q")
    await store.enqueue(a, run_at=at(9999), queue="q")
    await as_stored("two are enqueued")
    events: list[Event] = [
        Requeue(), Fail(ERROR, at(0)), LoseHeartbeat(LOST), Snooze(at(0)), Fail(ERROR), Revive(), Complete(RESULT)
    ]  # fmt: skip
    for i, event in enumerate(events):
        if not isinstance(event, Revive):
            record = await claim_one(a, record, now=at(10 * i + 1))
            await as_stored("a claim")
            await a.touch_heartbeats([record.held], now=at(10 * i + 2))
            await as_stored("a heartbeat")
        record = await commit(a, record, event, at(10 * i + 3))
        await as_stored(event.name)
        await a.commit([record.evolve(state=State.CANCELLED)])
        await as_stored("a refused commit")
    await a.delete([record.held])
    await as_stored("a deletion")


@guarantee("STA-01")
async def test_a_task_that_came_due_is_counted_once(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    await a.enqueue_many([store.new_task(run_at=at(1 + i)) for i in range(10)], now=T0)
    await claim_all(b, now=at(5))
    waiting = sum(n for (_, state), n in (await _counts(a)).items() if state in WAITING)
    check.equal("STA-01", waiting, 5, "how many wait, whether scheduled or pending")
    check.equal("STA-01", (await _counts(a)).get(("default", State.RUNNING)), 5, "how many run")


def _newest_first(records: list[TaskRecord]) -> list[TaskRecord]:
    records.sort(key=lambda one: one.id)
    records.sort(key=lambda one: one.created_at, reverse=True)
    return records


@guarantee("STA-02")
async def test_exactly_what_every_filter_admits_is_found(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    await kinds(store, a)
    await kinds(store, a, queue="mail", name="mail.send")
    await kinds(store, a, queue="Mail", name="mail.Send")
    for state in (State.COMPLETED, State.FAILED, State.PENDING):
        await reach(store, a, state, key="k", queue="mail")
    for key in ("K", "k ", "k%", "\u00e9", "e\u0301"):
        await reach(store, a, State.PENDING, key=key)
    found = await a.find(Matching(), 99)
    check.equal("STA-02", len(found), 3 * len(store.states) + 8, "how many are found without a filter")
    read = await a.get(ids(found))
    stored = [read[one.id] for one in found]
    if not isinstance(store.telling, Present):
        stored = _newest_first(stored)
    # By the store's own clock, those that were enqueued one after the other have no time in common.
    times = [one.created_at for one in stored]
    check.equal("STA-02", times, sorted(times, reverse=True), "when those were enqueued, the newest first,")
    filters: list[dict[str, Any]] = [
        {},
        *({"states": (state,)} for state in store.states),
        {"states": (State.FAILED, State.PENDING, State.FAILED)},
        {"states": ()},
        {"queues": ("mail",)},
        {"queues": ("Mail", "default")},
        {"queues": ("MAIL", "mai", "m%")},
        {"queues": ()},
        {"names": ("mail.send",)},
        {"names": ("mail.send", "mail.Send")},
        {"names": ("mail_send", "mail%")},
        {"names": ()},
        *({"key": key} for key in ("k", "K", "k ", "k%", "%", "\u00e9", "e\u0301", "none")),
        {"states": (State.PENDING,), "queues": ("mail",)},
        {"states": (State.PENDING,), "queues": ("mail",), "key": "k"},
        {"states": (State.FAILED,), "queues": ("mail",), "names": ("mail.send",)},
        {"queues": ("default",), "key": "k"},
    ]
    for given in filters:
        expected = [one for one in stored if _admits(one, **given)]
        check.equal("STA-02", await b.find(Matching(**given), 99), expected, f"what is found by {given}")


def _admits(
    record: TaskRecord,
    *,
    states: tuple[State, ...] | None = None,
    queues: tuple[str, ...] | None = None,
    names: tuple[str, ...] | None = None,
    key: str | None = None,
) -> bool:
    return (
        (states is None or record.state in states)
        and (queues is None or record.queue in queues)
        and (names is None or record.name in names)
        and (key is None or record.key == key)
    )


@guarantee("STA-02")
async def test_what_is_found_is_newest_first_and_up_to_the_limit(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    moments = [T0.replace(microsecond=0) + timedelta(microseconds=n) for n in (0, 1, 9, 10, 100_000, 1_000_000)]
    for moment in moments:
        await a.enqueue_many([store.new_task(priority=store.random.randint(-9, 9)) for _ in range(3)], now=moment)
    expected = _newest_first(await b.find(Matching(), 99))
    check.equal("STA-02", len(expected), 18, "how many are found")
    before = await pictures(a)
    for limit in (99, 18, 17, 5, 1, 0):
        found = await b.find(Matching(states=(State.PENDING,)), limit)
        check.equal("STA-02", found, expected[:limit], f"the newest {limit}")
    check.equal("STA-02", await pictures(a), before, "what is stored after reading")


@guarantee("STA-03")
async def test_next_due_tells_when_the_first_scheduled_task_comes_due(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    check.equal("STA-03", await b.next_due(), None, "an empty store")
    for state in store.states:
        if state is not State.SCHEDULED:
            await reach(store, a, state, queue="busy")
    check.equal("STA-03", await b.next_due(), None, "a store where nothing is scheduled")
    later = await store.enqueue(a, run_at=at(500, microseconds=1), queue="mail")
    check.equal("STA-03", await b.next_due(), at(500, microseconds=1), "one scheduled task")
    sooner = await store.enqueue(a, run_at=at(400).replace(microsecond=0), queue="Mail", priority=-9)
    await store.enqueue(a, run_at=at(600), queue="Mail", priority=9)
    for queues, expected in (
        (None, sooner.due_at),
        (("Mail",), sooner.due_at),
        (("mail",), later.due_at),
        (("mail", "Mail", "busy"), sooner.due_at),
        (("busy",), None),
        (("MAIL", "m%"), None),
        ((), None),
    ):
        check.equal("STA-03", await b.next_due(queues), expected, f"the first of {queues}")


@guarantee("STA-03")
async def test_next_due_follows_what_becomes_of_the_scheduled(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    first, second = await store.enqueue(a, run_at=at(100)), await store.enqueue(a, run_at=at(200))
    await commit(a, first, Cancel(), at(1))
    check.equal("STA-03", await b.next_due(), at(200), "after the first was cancelled")
    owned = await claim_one(a, second, now=at(200))
    check.equal("STA-03", await b.next_due(), None, "after the second was claimed")
    snoozed = await commit(a, owned, Snooze(at(300)), at(201))
    check.equal("STA-03", await b.next_due(), at(300), "after it was snoozed")
    retried = await running(store, a, max_attempts=2, now=at(2))
    await commit(a, retried, Fail(ERROR, at(250)), at(3))
    check.equal("STA-03", await b.next_due(), at(250), f"after another was to be retried, before {snoozed.id}")
