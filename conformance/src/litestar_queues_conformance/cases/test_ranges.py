"""LIF-17 to LIF-20, KEY-12, CLM-14 to CLM-16, STA-04, LCK-05: the ends of every range, and as many as there can be.

A fence beyond 32 bits has no case: each commit and each claim raises a fence by one, so that no sequence of calls that a
case can afford comes so far.
"""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime, timedelta
from typing import Literal, cast

import pytest

from litestar_queues.errors import QueueConfigurationError
from litestar_queues.lifecycle import Complete, Event, Fail, Snooze, State, step
from litestar_queues.records import (
    ATTEMPTS_MAX,
    LOCK_MAX,
    PRIORITY_MAX,
    PRIORITY_MIN,
    QUEUE_MAX,
    REF_MAX,
    WORKER_MAX,
    Finished,
    Held,
    Matching,
    NamedRecord,
    Overdue,
    Want,
    admit,
    claim_order,
)
from litestar_queues_conformance.harness import T0, Check, Store, at, guarantee
from litestar_queues_conformance.moves import (
    ERROR,
    RESULT,
    claim_all,
    claim_one,
    commit,
    ids,
    reach,
    running,
    stored,
)
from litestar_queues_conformance.target import SetsFences

_MICROSECOND = timedelta(microseconds=1)
_FIRST = datetime.min.replace(tzinfo=UTC)
_LAST = datetime.max.replace(tzinfo=UTC)
_FOUR = "\U0001f680"
"""A character of four bytes in UTF-8, and of two units in UTF-16."""
_BEYOND = 2**70
"""More than 64 bits hold."""


# Times


@pytest.mark.parametrize("last", [_LAST, _LAST - _MICROSECOND, _LAST.replace(microsecond=0)])
@guarantee("LIF-17")
async def test_a_task_can_wait_and_be_valid_until_the_last_moment(store: Store, check: Check, last: datetime) -> None:
    a, b = await store.actors(2)
    new = store.new_task(run_at=last - _MICROSECOND, expires_at=last, key="k")
    [answer] = await a.enqueue_many([new], now=T0)
    expected = admit(new, T0)
    check.equal("LIF-17", answer.record, expected, "the answer")
    check.equal("LIF-17", await stored(b, new.id), expected, "what another client reads")
    check.equal("LIF-17", await b.next_due(), last - _MICROSECOND, "when the first task comes due")
    check.equal("LIF-17", await claim_all(b, now=at(10**7)), [], "a claim a hundred days later")
    check.equal("LIF-17", await b.find(Overdue(last - _MICROSECOND), 9), [], "what is overdue a microsecond earlier")
    check.equal("LIF-17", await b.find(Overdue(last), 9), [expected], "what is overdue then")


@guarantee("LIF-17")
async def test_a_task_can_be_put_off_until_the_last_moment(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    events: list[Event] = [Snooze(_LAST), Fail(ERROR, _LAST)]
    for event in events:
        owned = await running(store, a, max_attempts=5)
        after = await commit(a, owned, event, at(1))
        check.equal("LIF-17", await stored(b, owned.id), after, f"the task after a {event.name} until the last moment")
    check.equal("LIF-17", await b.next_due(), _LAST, "when the first task comes due")
    done = await reach(store, a, State.COMPLETED)
    for since in (_FIRST, None, at(-5)):
        found = await b.find(Finished(before=_LAST, since=since), 9)
        check.equal("LIF-17", found, [done], f"what has finished since {since}")


@pytest.mark.parametrize("run_at", [_FIRST, datetime(999, 12, 31, tzinfo=UTC), datetime(1900, 1, 1, tzinfo=UTC)])
@guarantee("LIF-17")
async def test_a_time_in_the_far_past_means_now(store: Store, check: Check, run_at: datetime) -> None:
    a, b = await store.actors(2)
    new = store.new_task(run_at=run_at)
    [answer] = await a.enqueue_many([new], now=T0)
    check.equal("LIF-17", answer.record, admit(new, T0), "the answer")
    check.equal("LIF-17", await stored(b, new.id), admit(new, T0), "what another client reads")
    check.equal("LIF-17", ids(await claim_all(b, now=T0)), [new.id], "a claim at once")


# Numbers


@pytest.mark.parametrize("counted", [2**15 - 1, 2**16 - 1, ATTEMPTS_MAX - 1])
@guarantee("LIF-18")
async def test_attempts_and_recoveries_are_counted_beyond_16_bits(store: Store, check: Check, counted: int) -> None:
    a, b = await store.actors(2)
    owned = await running(store, a, max_attempts=ATTEMPTS_MAX, max_recoveries=ATTEMPTS_MAX)
    waiting = step(owned, Fail(ERROR, at(5)), at(5)).evolve(attempt=counted, recoveries=counted, history=None)
    check.equal("LIF-18", await a.commit([waiting]), {owned.id}, "the answer to a commit")
    check.equal("LIF-18", await stored(b, owned.id), waiting, "what another client reads")
    again = await claim_one(b, waiting, now=at(6))
    check.equal("LIF-18", again.attempt, counted + 1, "the attempt that the next claim counts")
    check.equal("LIF-18", (await stored(a, owned.id)).attempt, counted + 1, "the attempt as it is stored")


@pytest.mark.parametrize("fence", [2**31 - 1, 2**32 - 1, 10**15 - 2])
@guarantee("LIF-22")
async def test_a_fence_is_exact_beyond_32_bits(store: Store, check: Check, fence: int) -> None:
    a, b = await store.actors(2)
    waiting = (await store.enqueue(a)).evolve(fence=fence)
    await cast("SetsFences", store.target).set_fence(store.config, waiting.id, fence)
    check.equal("LIF-22", await stored(b, waiting.id), waiting, "what a client reads")
    earlier = Want(worker="worker-a", limit=1, tasks=(Held(waiting.id, fence % 2**16), Held(waiting.id, fence - 1)))
    check.equal("LIF-22", await a.claim(earlier, now=at(1)), [], "a claim under an earlier fence")
    owned = await claim_one(a, waiting, now=at(1))
    check.equal("LIF-22", owned.fence, fence + 1, "the fence after a claim")
    check.equal(
        "LIF-22", await b.touch_heartbeats([waiting.held], now=at(2)), set[str](), "a heartbeat under an earlier fence"
    )
    check.equal("LIF-22", await b.touch_heartbeats([owned.held], now=at(2)), {owned.id}, "a heartbeat")
    done = await commit(b, await stored(b, owned.id), Complete(RESULT), at(3))
    check.equal("LIF-22", await stored(a, owned.id), done, "the task after a commit")
    check.equal("LIF-22", done.fence, fence + 2, "the fence after a commit")
    check.equal("LIF-22", await a.delete([owned.held]), set[str](), "a deletion under an earlier fence")
    check.equal("LIF-22", await a.delete([done.held]), {done.id}, "a deletion")


# Texts


# By the store's own time, workers have longer names than the case gives them.
@guarantee("LIF-19", time="given")
async def test_the_longest_worker_and_reference_are_stored(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    for letter in ("w", "\u00e9", _FOUR):
        waiting = await store.enqueue(a)
        worker, ref = letter * WORKER_MAX, letter * REF_MAX
        owned = await claim_one(b, waiting, worker=worker, now=at(1))
        check.equal("LIF-19", owned.worker, worker, "the worker that the claim returns")
        check.equal("LIF-19", (await stored(a, waiting.id)).worker, worker, "the worker as it is stored")
        referred = step(owned, Complete(RESULT), at(2)).evolve(execution_ref=ref)
        check.equal("LIF-19", await b.commit([referred]), {waiting.id}, "the answer to a commit of the reference")
        check.equal("LIF-19", await stored(a, waiting.id), referred, "the task with the longest reference")
        for one, other in ((letter + worker, ref), (worker, letter + ref)):
            with pytest.raises(QueueConfigurationError):
                Want(limit=1, worker=one, execution_ref=other)


_FORMS = ("Am\u00e9lie \u00c5", "\uac00\ub098", "\ufb01 \u2126 \u00bd", "q\u0307\u0323", "\u1e9b\u0323")
"""Texts whose normalization forms differ."""


_NORMAL: tuple[Literal["NFC", "NFD", "NFKC", "NFKD"], ...] = ("NFC", "NFD", "NFKC", "NFKD")


def _forms(text: str) -> list[str]:
    return list(dict.fromkeys([text, *(unicodedata.normalize(form, text) for form in _NORMAL)]))


@pytest.mark.parametrize("text", _FORMS)
@guarantee("LIF-20")
async def test_texts_keep_their_unicode_form(store: Store, check: Check, text: str) -> None:
    a, b = await store.actors(2)
    for form in _forms(text):
        value = f'{{"{form}": "{form}"}}'
        new = store.new_task(name=form, queue=form, args=f'["{form}"]', kwargs=value, metadata=value, description=form)
        await a.enqueue_many([new], now=T0)
        [owned] = await b.claim(Want(worker=form, limit=9, queues=(form,)), now=at(1))
        check.equal("LIF-20", owned.id, new.id, f"the task that a claim from the queue {form!a} takes")
        check.equal("LIF-20", owned.worker, form, "the worker that the claim returns")
        done = step(owned, Complete(value), at(2)).evolve(execution_ref=form)
        check.equal("LIF-20", await b.commit([done]), {new.id}, "the answer to a commit")
        check.equal("LIF-20", await stored(a, new.id), done, f"a task whose texts are {form!a}")
        check.equal("LIF-20", await a.find(Matching(names=(form,)), 9), [done], f"the tasks of the name {form!a}")
        check.equal("LIF-20", await a.find(Matching(queues=(form,)), 9), [done], f"the tasks of the queue {form!a}")


@guarantee("LIF-20")
async def test_named_records_keep_their_unicode_form(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    prefix = f"{store.new_id()} "
    records = [NamedRecord(prefix + form, 1, f'"{form}"') for text in _FORMS for form in _forms(text)]
    records.append(NamedRecord(prefix + _FOUR * (LOCK_MAX - len(prefix)), 1, "[]"))
    names = {one.name for one in records}
    check.equal("LIF-20", await a.write_records(records), names, "the names of those that were stored")
    check.equal("LIF-20", await b.read_records(prefix), {one.name: one for one in records}, "what another client reads")


_BETWEEN = (":", "::", "{", "}", "{a}", "%", "%25", "_", "*", "?", "[a]", "'", '"', "`", "\\", "/", "|", ",", ";", ".")
_SPACES = (" ", "  ", "\t", "\n", "\r\n", "\x01", "\x1f", "\x7f", "\u00a0", "\u200b", "\u2028", "\ufeff", "\ufffd")


@guarantee("CLM-14")
async def test_queues_are_compared_character_by_character(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    between = (*_BETWEEN, *_SPACES, "--", "$1", "%s", ":name", "\\n", "null", "%(a)s", "a\u0301", "\u00e1", "a", "A")
    queues = list(dict.fromkeys(name for one in between for name in (one, f"a{one}", f"a{one}b", f"{one}b")))
    queues += [one * QUEUE_MAX for one in ("q", "\u00e9", _FOUR)]
    batch = [store.new_task(queue=queue, run_at=at(50, microseconds=i)) for i, queue in enumerate(queues)]
    await a.enqueue_many(batch, now=T0)
    by_queue = {new.queue: new for new in batch}
    counted = {one.queue: one.tasks for one in await b.count()}
    check.equal("CLM-14", counted, dict.fromkeys(queues, 1), "how many tasks each queue has")
    some = queues if len(queues) < _SOME else sorted(store.random.sample(queues, _SOME))
    for queue in some:  # before any claim, after which a backend may count what is due as pending
        due = by_queue[queue].run_at
        check.equal("CLM-14", await b.next_due((queue,)), due, f"when the queue {queue!a} has a task due")
    for queue in some:
        new = by_queue[queue]
        check.equal("CLM-14", ids(await b.find(Matching(queues=(queue,)), 9)), [new.id], f"what {queue!a} holds")
        counted = {one.queue: one.tasks for one in await b.count((queue,)) if one.tasks}
        check.equal("CLM-14", counted, {queue: 1}, f"the count of the queue {queue!a}")
        claimed = await b.claim(Want(worker="w", limit=9, queues=(queue,)), now=at(60))
        check.equal("CLM-14", ids(claimed), [new.id], f"what a claim from the queue {queue!a} takes")
    taken = {by_queue[queue].id for queue in some}
    rest = await b.claim(Want(worker="w", limit=999, queues=tuple(queues)), now=at(60))
    check.equal("CLM-14", ids(rest), [one for one in ids(batch) if one not in taken], "a claim from all the queues")


_SOME = 30
"""How many queues are looked at alone: each takes five calls."""


@guarantee("LCK-05")
async def test_locks_are_told_apart_by_every_character(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    case = store.new_id()
    between = (":", "{", "}", "%", "_", "*", "'", '"', "\\", "/", " ", "\n", "e\u0301", "\u00e9", "E", "a", "A")
    names = [f"{case}{one}x" for one in between]
    long = case + _FOUR * (LOCK_MAX - len(case) - 1)
    names += [f"{long}1", f"{long}2", f"{case}{'x' * (LOCK_MAX - len(case) - 1)}y"]
    owner = "\U0001f512" * (LOCK_MAX - 1)
    for i, name in enumerate(names):
        own, other = (f"{owner}1", f"{owner}2") if i % 2 else (f"w{name[-2:]}", f"w{name[-2:]} ")
        check.equal("LCK-05", await a.lock(name, own, _TTL, now=T0), True, f"whether the free {name!a} was got")
        check.equal("LCK-05", await b.lock(name, other, _TTL, now=at(1)), False, f"whether {name!a} was got twice")
        check.equal("LCK-05", await b.unlock(name, other), False, f"whether another freed {name!a}")
        check.equal("LCK-05", await a.lock(name, own, _TTL, now=at(2)), True, f"whether {name!a} was prolonged")
    for i, name in enumerate(names):
        own = f"{owner}1" if i % 2 else f"w{name[-2:]}"
        check.equal("LCK-05", await a.unlock(name, own), True, f"whether its owner freed {name!a}")


_TTL = timedelta(seconds=90)


# As long, and as many, as there can be


@guarantee("KEY-12")
async def test_a_key_is_held_for_as_long_as_its_task_is_active(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    waiting = await store.enqueue(a, key="waits")
    owned = await running(store, a, key="runs")
    later = await store.enqueue(a, key="later", run_at=_LAST)
    for days in (1, 8, 32, 400, 4000):
        for holder in (waiting, owned, later):
            found = await store.enqueue(b, now=at(days * 86_400), key=holder.key)
            check.equal("KEY-12", found, holder, f"the answer to a key that has been held for {days} days")


@guarantee("CLM-15")
async def test_a_claim_names_as_many_queues_and_tasks_as_there_are(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    queues = [f"queue {i:04}" for i in range(_QUEUES)]
    priorities = [PRIORITY_MIN, PRIORITY_MAX, *store.random.sample(range(PRIORITY_MIN, PRIORITY_MAX), _QUEUES - 2)]
    batch = [store.new_task(queue=queue, priority=one) for queue, one in zip(queues, priorities, strict=True)]
    records = [one.record for one in await a.enqueue_many(batch, now=T0)]
    wanted = sorted(records, key=claim_order)
    named = (*queues, *(f"none {i}" for i in range(100)))
    claimed = await b.claim(Want(worker="w", limit=_QUEUES // 2, queues=named), now=at(1))
    check.equal("CLM-15", ids(claimed), ids(wanted[: _QUEUES // 2]), f"a claim from {len(named)} queues")
    rest = await claim_all(b, now=at(1))
    check.equal("CLM-15", ids(rest), ids(wanted[_QUEUES // 2 :]), f"a claim from any of {_QUEUES} queues")
    more = [one.record for one in await a.enqueue_many(store.new_tasks(_IDS), now=at(2))]
    given = [one.held for one in more]
    store.random.shuffle(given)
    by_id = await b.claim(Want(worker="w", limit=_IDS, tasks=tuple(given)), now=at(3))
    check.equal("CLM-15", ids(by_id), ids(more), f"a claim of {_IDS} tasks by their ids")
    found = await a.get([one for held in given for one in (held.id, store.new_id())])
    check.equal("CLM-15", found, {one.id: one for one in by_id}, f"what is read of {2 * _IDS} ids")


_QUEUES, _IDS = 300, 2000


@guarantee("CLM-16")
async def test_a_limit_beyond_64_bits_is_none(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    records = [one.record for one in await a.enqueue_many(store.new_tasks(5), now=T0)]
    scheduled = [one.record for one in await a.enqueue_many(store.new_tasks(5, run_at=at(5)), now=T0)]
    for limit in (2**31, 2**32, 2**63, 2**64, _BEYOND):
        everything = await b.find(Matching(), limit)
        check.equal("CLM-16", sorted(ids(everything)), sorted(ids([*records, *scheduled])), f"a find up to {limit}")
    for i, limit in enumerate((2**31, 2**64)):
        named = Want(worker="w", limit=limit, tasks=(records[i].held,))
        check.equal("CLM-16", ids(await b.claim(named, now=at(1))), [records[i].id], f"a claim by id up to {limit}")
    queue = Want(worker="w", limit=2**63, queues=("default",))
    check.equal("CLM-16", ids(await b.claim(queue, now=at(1))), ids(records[2:]), "a claim by queue up to 2**63")
    check.equal("CLM-16", ids(await b.claim(Want(worker="w", limit=_BEYOND), now=at(6))), ids(scheduled), "a claim")
    owned = await b.find(Matching(states=(State.RUNNING,)), _BEYOND)
    check.equal("CLM-16", len(owned), 10, "how many run then")


# No call here depends on the present, and three more stores of so many rows would take longer than all the other cases.
@guarantee("STA-04", deadline=240, time="given")
async def test_what_matches_is_found_among_tens_of_thousands(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    rare = store.new_tasks(3, name="conformance.rare", queue="rare", key=None, expires_at=at(9))
    oldest = [one.record for one in await a.enqueue_many(rare, now=T0)]
    many = store.new_tasks(_ROWS)
    await a.enqueue_many(many, now=at(1))
    newest = [one.record for one in await a.enqueue_many(store.new_tasks(2, expires_at=at(8)), now=at(2))]
    for query in (Matching(names=("conformance.rare",)), Matching(queues=("rare",))):
        check.equal("STA-04", await b.find(query, 9), oldest, f"what {query} finds behind {_ROWS} tasks")
    check.equal("STA-04", await b.find(Overdue(at(9)), 9), [*newest, *oldest], f"what is overdue among {_ROWS} tasks")
    first = await b.find(Matching(states=(State.PENDING,)), 12)
    check.equal("STA-04", ids(first), ids([*newest, *many[:10]]), "the first that are pending")
    check.equal("STA-04", sum(one.tasks for one in await b.count()), _ROWS + 5, "how many tasks are counted")
    everything = await b.find(Matching(), _ROWS + 100)
    check.equal("STA-04", ids(everything), ids([*newest, *many, *oldest]), "all of them, in their order")


_ROWS = 12_000
