"""KEY: at most one active task per key."""

from __future__ import annotations

import asyncio

import pytest

from litestar_queues.errors import InvalidTaskError
from litestar_queues.lifecycle import (
    ACTIVE,
    TERMINAL,
    Cancel,
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
from litestar_queues.records import KEY_MAX, Enqueued, Held, Matching, TaskRecord, admit
from litestar_queues_conformance.harness import T0, Check, Store, at, guarantee
from litestar_queues_conformance.moves import (
    ERROR,
    LOST,
    RESULT,
    claim_one,
    commit,
    everything,
    ids,
    picture,
    pictures,
    reach,
    running,
    stored,
)

DISTINCT = (
    ("User-1", "user-1", "USER-1"),
    ("a", "a ", " a", "a  ", "a\t", "a\n", "a\u00a0", "a\u200b"),
    ("e", "\u00e9", "e\u0301", "\u00e8", "E", "\u00c9"),
    ("\u00df", "ss", "SS", "\u1e9e"),
    ("i", "I", "\u0131", "\u0130"),
    ("\u00c5", "\u212b", "A\u030a"),
    ("A", "\uff21", "\u0410", "\u0391"),
    ("ae", "\u00e6", "\u00c6"),
    ("1", "01", "1.0", "+1", "1 "),
    ("a%", "a_", "ab", "a*", "a?", "a\\", "a\\\\"),
    ("null", "NULL", "None", "''", '""'),
    ("\U0001f389", "\U0001f38a", "\ufffd"),
    ("k" * KEY_MAX, "k" * (KEY_MAX - 1) + "K", "k" * (KEY_MAX - 1), "k" * (KEY_MAX - 1) + " "),
    ("\U0001f389" * KEY_MAX, "\U0001f389" * (KEY_MAX - 1) + "\U0001f38a", "\U0001f389" * (KEY_MAX - 1)),
)
"""Keys that some comparison of texts takes for one another."""


@guarantee("KEY-01")
async def test_a_key_admits_one_active_task_whoever_enqueues_it(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    first = await store.enqueue(a, key="k")
    for actor, fields in ((b, {}), (a, {"queue": "mail"}), (b, {"name": "another.task"}), (a, {"priority": 9})):
        answer = await store.enqueue(actor, key="k", now=at(1), **fields)
        check.equal("KEY-01", answer.id, first.id, f"the answer to another task of the key, with {fields}")
    check.equal("KEY-01", ids(await everything(a)), [first.id], "what is stored")
    free = await store.enqueue(b, key="another")
    check("KEY-01", free.id != first.id, "a free key was answered with the holder of another")


@guarantee("KEY-01")
async def test_of_several_clients_at_once_one_gets_the_key(store: Store, check: Check) -> None:
    actors = await store.actors(4)
    for round_ in range(15):
        key = f"key-{round_}"
        tasks = [store.new_task(key=key, queue=f"q{i}") for i in range(len(actors))]
        answers = await asyncio.gather(
            *(actor.enqueue_many([task], now=T0) for actor, task in zip(actors, tasks, strict=True))
        )
        new = [answer for [answer] in answers if answer.is_new]
        check.equal("KEY-01", len(new), 1, f"how many of {len(actors)} clients got {key}")
        check.equal(
            "KEY-01", [one.record.id for [one] in answers], [new[0].record.id] * len(actors), "the holders answered"
        )
        found = await actors[0].find(Matching(key=key), 9)
        check.equal("KEY-01", ids(found), [new[0].record.id], "the tasks of the key that are stored")


@guarantee("KEY-01")
async def test_of_several_batches_at_once_each_key_has_one_task(store: Store, check: Check) -> None:
    actors = await store.actors(3)
    batches = [[store.new_task(key=f"key-{i}") for i in range(30)] for _ in actors]
    batches[1].reverse()
    answers = await asyncio.gather(
        *(actor.enqueue_many(batch, now=T0) for actor, batch in zip(actors, batches, strict=True))
    )
    holders = {one.record.key: one.record.id for batch in answers for one in batch if one.is_new}
    check.equal("KEY-01", sum(one.is_new for batch in answers for one in batch), 30, "how many tasks are new")
    for batch in answers:
        wrong = [one.record.key for one in batch if holders.get(one.record.key) != one.record.id]
        check.equal("KEY-01", wrong, [], "keys that were answered with two holders")
    check.equal("KEY-01", sorted(ids(await everything(actors[0]))), sorted(holders.values()), "what is stored")


@guarantee("KEY-02")
async def test_the_first_of_a_key_in_a_batch_counts(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    one, two, three, four, five, six = (store.new_task(key=k) for k in ("k", None, "k", "other", "k", "other"))
    answers = await a.enqueue_many([one, two, three, four, five, six], now=T0)
    k, free, other = (admit(new, T0) for new in (one, two, four))
    expected = [
        Enqueued(k, True),
        Enqueued(free, True),
        Enqueued(k, False),
        Enqueued(other, True),
        Enqueued(k, False),
        Enqueued(other, False),
    ]
    check.equal("KEY-02", answers, expected, "the answers")
    check.equal("KEY-02", sorted(ids(await everything(b))), sorted(ids([one, two, four])), "what is stored")


@guarantee("KEY-02")
async def test_the_first_counts_also_where_a_later_one_would_come_first(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    first, second = sorted((store.new_id() for _ in range(2)), reverse=True)
    batch = [
        store.new_task(id=first, key="k", run_at=at(99)),
        store.new_task(id=second, key="k"),
    ]
    answers = await a.enqueue_many(batch, now=T0)
    expected = [Enqueued(admit(batch[0], T0), True), Enqueued(admit(batch[0], T0), False)]
    check.equal("KEY-02", answers, expected, "the answers")
    check.equal("KEY-02", ids(await everything(b)), [first], "what is stored")


async def _holder(store: Store, how: str) -> TaskRecord:
    actor = await store.actor()
    match how:
        case "pending" | "scheduled" | "running":
            return await reach(store, actor, State(how), key="k")
        case "beaten":
            owned = await running(store, actor, key="k")
            await actor.touch_heartbeats([Held(owned.id, owned.fence, '{"done": 1}')], now=at(5))
        case _:
            owned = await running(store, actor, key="k")
            await commit(actor, owned, NullHeartbeat(), at(5))
    return await stored(actor, owned.id)


@pytest.mark.parametrize("how", ["pending", "scheduled", "running", "beaten", "nulled"])
@guarantee("KEY-03")
async def test_a_held_key_is_answered_with_its_holder_unchanged(store: Store, check: Check, how: str) -> None:
    holder = await _holder(store, how)
    a, b = await store.actors(2)
    before = await pictures(b)
    new = store.new_task(key="k", priority=99, args="[9]", run_at=at(9999), queue="other", name="other")
    check.equal("KEY-03", await a.enqueue_many([new], now=at(20)), [Enqueued(holder, False)], "the answer")
    check.equal("KEY-03", await b.get([new.id]), {}, "the task that was not stored")
    check.equal("KEY-03", await pictures(b), before, "what is stored")


@pytest.mark.parametrize("state", sorted(TERMINAL))
@guarantee("KEY-04")
async def test_the_key_of_a_terminal_task_is_free(store: Store, check: Check, state: State) -> None:
    a, b = await store.actors(2)
    await reach(store, a, state, key="k")
    new = store.new_task(key="k")
    with check.works("KEY-04", f"enqueueing the key of a {state} task"):
        answer = await b.enqueue_many([new], now=at(20))
    check.equal("KEY-04", answer, [Enqueued(admit(new, at(20)), True)], "the answer")
    check.equal("KEY-04", await stored(a, new.id), admit(new, at(20)), "the new task")
    again = store.new_task(key="k")
    answer = await a.enqueue_many([again], now=at(21))
    check.equal("KEY-04", answer, [Enqueued(admit(new, at(20)), False)], "the answer to a third task of the key")


@pytest.mark.parametrize("state", sorted(TERMINAL))
@guarantee("KEY-05")
async def test_a_terminal_task_keeps_its_record_when_its_key_is_taken(store: Store, check: Check, state: State) -> None:
    a, b = await store.actors(2)
    old = await reach(store, a, state, key="k", metadata='{"m": 1}')
    before = picture(await stored(b, old.id))
    new = await store.enqueue(b, key="k", now=at(20))
    check("KEY-05", new.id != old.id, f"the {state} task itself was answered for a new one")
    check.equal("KEY-05", (await b.get([old.id])).get(old.id), old, "the old record")
    await commit(b, await claim_one(b, new, now=at(21)), Complete('"new"'), at(22))
    check.equal("KEY-05", picture(await stored(a, old.id)), before, "the old record once the new task has ended")


_LAST: dict[str, Event] = {"completed": Complete(RESULT), "failed": Fail(ERROR), "cancelled": Cancel()}


@pytest.mark.parametrize("name", _LAST)
@guarantee("KEY-06")
async def test_an_enqueue_that_races_the_last_transition_ends_legally(store: Store, check: Check, name: str) -> None:
    a, b = await store.actors(2)
    for round_ in range(10):
        key = f"key-{round_}"
        holder = await running(store, a, key=key)
        ended = step(holder, _LAST[name], at(1))
        new = store.new_task(key=key)
        both = [a.commit([ended]), b.enqueue_many([new], now=at(1))]
        stored_ids, answers = await asyncio.gather(*both) if round_ % 2 else reversed(await asyncio.gather(*both[::-1]))
        check.equal("KEY-06", stored_ids, {holder.id}, "the answer to the holder's owner")
        [answer] = answers
        check("KEY-06", isinstance(answer, Enqueued), f"the answer to the enqueue is {answer!r}")
        active = ids(await a.find(Matching(key=key, states=tuple(ACTIVE)), 9))
        if isinstance(answer, Enqueued) and answer.is_new:
            check.equal("KEY-06", answer.record, admit(new, at(1)), "the new task")
            check.equal("KEY-06", active, [new.id], "the active tasks of the key after a new one")
        elif isinstance(answer, Enqueued):
            check("KEY-06", answer.record in (holder, ended), f"not the holder as it was or as it is: {answer.record}")
            check.equal("KEY-06", active, [], "the active tasks of the key after the holder was answered")
        check.equal("KEY-06", await stored(b, holder.id), ended, "the holder")


@guarantee("KEY-06")
async def test_an_enqueue_before_and_one_after_the_last_transition(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    holder = await running(store, a, key="k")
    [before] = await b.enqueue_many([store.new_task(key="k")], now=at(1))
    check.equal("KEY-06", before, Enqueued(holder, False), "the answer before")
    await commit(a, holder, Complete(RESULT), at(2))
    new = store.new_task(key="k")
    [after] = await b.enqueue_many([new], now=at(3))
    check.equal("KEY-06", after, Enqueued(admit(new, at(3)), True), "the answer after")


@pytest.mark.parametrize("keys", DISTINCT, ids=lambda keys: ascii(keys[0])[:12])
@guarantee("KEY-07")
async def test_keys_that_differ_in_any_character_are_different_keys(
    store: Store, check: Check, keys: tuple[str, ...]
) -> None:
    a, b = await store.actors(2)
    holders: dict[str, TaskRecord] = {}
    for key in keys:
        new = store.new_task(key=key)
        with check.works("KEY-07", f"enqueueing the free key {key[-9:]!a}"):
            [answer] = await a.enqueue_many([new], now=T0)
        check.equal("KEY-07", answer, Enqueued(admit(new, T0), True), f"the answer to the free key {key[-9:]!a}")
        holders[key] = answer.record
    for key in keys:
        with check.works("KEY-07", f"enqueueing the held key {key[-9:]!a}"):
            [answer] = await b.enqueue_many([store.new_task(key=key)], now=at(1))
        check.equal("KEY-07", answer, Enqueued(holders[key], False), f"the answer to the held key {key[-9:]!a}")
    fresh = await store.another().actor()
    batch = [store.new_task(key=key) for key in keys]
    expected = [Enqueued(admit(new, T0), True) for new in batch]
    with check.works("KEY-07", "enqueueing all of them in one batch"):
        answers = await fresh.enqueue_many(batch, now=T0)
    check.equal("KEY-07", answers, expected, "the answers to one batch of them")


@guarantee("KEY-07")
async def test_no_key_and_one_too_long_cannot_be_enqueued(store: Store, check: Check) -> None:
    a = await store.actor()
    for key in ("", "k" * (KEY_MAX + 1), "a\x00b"):
        try:
            new = store.new_task(key=key)
        except InvalidTaskError as error:
            check("KEY-07", "key" in str(error), f"the refusal does not say what is wrong: {error}")
        else:
            check("KEY-07", False, f"a task with the key {new.key!a:.20} could be made")
    longest = store.new_task(key="k" * KEY_MAX)
    check.equal("KEY-07", await a.enqueue_many([longest], now=T0), [Enqueued(admit(longest, T0), True)], "the longest")


@guarantee("KEY-08")
async def test_tasks_without_a_key_are_all_stored(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    batch = [store.new_task(args="[1]") for _ in range(30)]
    answers = await a.enqueue_many(batch, now=T0)
    check.equal("KEY-08", answers, [Enqueued(admit(new, T0), True) for new in batch], "the answers to the batch")
    await commit(a, await claim_one(a, admit(batch[0], T0), now=at(1)), Complete(RESULT), at(1))
    more = store.new_task(args="[1]")
    check.equal("KEY-08", await b.enqueue_many([more], now=at(2)), [Enqueued(admit(more, at(2)), True)], "one more")
    check.equal("KEY-08", sorted(ids(await everything(b))), sorted(ids([*batch, more])), "what is stored")


@pytest.mark.parametrize("state", [State.PENDING, State.SCHEDULED, State.RUNNING])
@guarantee("KEY-09", "KEY-30")
async def test_a_revive_takes_no_key_from_an_active_task(store: Store, check: Check, state: State) -> None:
    a, b = await store.actors(2)
    old = await reach(store, a, State.FAILED, key="k")
    holder = await reach(store, a, state, key="k")
    others = [await reach(store, a, State.FAILED), await reach(store, a, State.CANCELLED, key="free")]
    before = await pictures(a)
    after = [step(one, Revive(), at(20)) for one in (others[0], old, others[1])]
    with check.works("KEY-09", "a commit that would take a held key"):
        await b.commit(after)
    found = await pictures(a)
    for record in (old, holder):
        check.equal("KEY-09", found[record.id], before[record.id], "a record that was to stay")
    for record in (after[0], after[2]):
        check.equal("KEY-30", (await stored(a, record.id)).state, State.PENDING, "a task that was to be revived")


@guarantee("KEY-09", "KEY-30")
async def test_of_two_revived_at_once_one_takes_the_key(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    old = [await reach(store, a, State.FAILED, key="k") for _ in range(2)]
    with check.works("KEY-09", "a commit of two that take one key"):
        await b.commit([step(one, Revive(), at(20)) for one in old])
    active = await a.find(Matching(key="k", states=tuple(ACTIVE)), 9)
    check("KEY-09", len(active) <= 1, "both of two with one key were revived")
    check("KEY-30", len(active) >= 1, "neither of two with one key was revived")


@guarantee("KEY-09")
async def test_a_revive_takes_a_free_key(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    old = await reach(store, a, State.FAILED, key="k")
    holder = await reach(store, a, State.COMPLETED, key="k")
    revived = step(old, Revive(), at(20))
    check.equal("KEY-09", await b.commit([revived]), {old.id}, f"the answer beside the completed {holder.id}")
    [answer] = await a.enqueue_many([store.new_task(key="k")], now=at(21))
    check.equal(
        "KEY-09", (answer.record.id, answer.is_new), (old.id, False), "the answer to the key that was taken back"
    )


@pytest.mark.parametrize("name", ["retry", "retry later", "requeue", "snooze", "recover"])
@guarantee("KEY-10")
async def test_a_task_that_waits_again_keeps_its_key(store: Store, check: Check, name: str) -> None:
    a, b = await store.actors(2)
    events: dict[str, Event] = {
        "retry": Fail(ERROR, at(0)),
        "retry later": Fail(ERROR, at(50)),
        "requeue": Requeue(),
        "snooze": Snooze(at(50)),
        "recover": LoseHeartbeat(LOST),
    }
    event = events[name]
    waiting = await commit(a, await running(store, a, key="k", max_attempts=3), event, at(10))
    [answer] = await b.enqueue_many([store.new_task(key="k")], now=at(11))
    check.equal("KEY-10", answer, Enqueued(waiting, False), f"the answer while the task waits after {name}")
    owned = await claim_one(a, waiting, now=at(60))
    [answer] = await b.enqueue_many([store.new_task(key="k")], now=at(61))
    check.equal("KEY-10", answer, Enqueued(owned, False), "the answer while it runs again")
    await commit(a, owned, Complete(RESULT), at(62))
    new = store.new_task(key="k")
    [answer] = await b.enqueue_many([new], now=at(63))
    check.equal("KEY-10", answer, Enqueued(admit(new, at(63)), True), "the answer once it has ended")


@guarantee("KEY-11")
async def test_an_earlier_task_of_a_key_cannot_free_it(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    lost = await running(store, a, key="k")
    old = await commit(a, lost, Fail(ERROR), at(1))
    holder = await store.enqueue(b, key="k", now=at(2))

    async def still_held(after: str) -> None:
        [answer] = await b.enqueue_many([store.new_task(key="k")], now=at(9))
        check.equal("KEY-11", answer, Enqueued(holder, False), f"the answer after {after}")

    await a.commit([step(lost, Complete(RESULT), at(3))])
    await still_held("a late settlement of the earlier task")
    await a.touch_heartbeats([lost.held, old.held], now=at(3))
    await still_held("a late heartbeat of the earlier task")
    await a.commit([step(old, Revive(), at(3))])
    await still_held("a revive of the earlier task")
    check.equal("KEY-11", await a.delete([old.held]), {old.id}, "the deletion of the earlier task")
    await still_held("the deletion of the earlier task")
    await commit(b, await claim_one(b, holder, now=at(10)), Complete(RESULT), at(11))
    new = store.new_task(key="k")
    [answer] = await a.enqueue_many([new], now=at(12))
    check.equal("KEY-11", answer, Enqueued(admit(new, at(12)), True), "the answer once the holder has ended")
