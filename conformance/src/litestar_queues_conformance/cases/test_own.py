"""OWN: who may write a task, and who may not any more."""

from __future__ import annotations

import asyncio

import pytest

from litestar_queues.lifecycle import Cancel, Complete, Event, Fail, Requeue, Revive, Snooze, State, step
from litestar_queues.records import Held, Want
from litestar_queues_conformance.harness import Check, Store, at, guarantee
from litestar_queues_conformance.moves import (
    ERROR,
    FATES,
    RESULT,
    WRITES,
    claim_all,
    claim_one,
    commit,
    ids,
    picture,
    pictures,
    reach,
    running,
    stored,
    superseded,
)

SETTLE = ("complete", "fail")
GIVE_BACK = tuple(name for name in WRITES if name not in SETTLE)


@pytest.mark.parametrize("fate", FATES)
@guarantee("OWN-01")
async def test_a_lost_owner_cannot_settle(store: Store, check: Check, fate: str) -> None:
    a, b = await store.actors(2)
    for name in SETTLE:
        lost = await running(store, a, max_attempts=5)
        await FATES[fate](b, lost)
        late = step(lost, WRITES[name], at(100))
        check.equal("OWN-01", await a.commit([late]), set[str](), f"a late {name} of a task that was {fate}")


@pytest.mark.parametrize("name", SETTLE)
@guarantee("OWN-01")
async def test_the_owner_settles(store: Store, check: Check, name: str) -> None:
    a, b = await store.actors(2)
    _, owned = await superseded(store, a)
    after = step(owned, WRITES[name], at(100))
    check.equal("OWN-01", await b.commit([after]), {owned.id}, "the answer to the owner")
    check.equal("OWN-01", await stored(a, owned.id), after, "what is stored")


@pytest.mark.parametrize("name", GIVE_BACK)
@guarantee("OWN-02")
async def test_a_lost_owner_cannot_write_anything_else(store: Store, check: Check, name: str) -> None:
    a, b = await store.actors(2)
    for fate, happen in FATES.items():
        lost = await running(store, a, max_attempts=5)
        await happen(b, lost)
        late = step(lost, WRITES[name], at(100))
        if late == await stored(b, lost.id):
            continue  # a repetition, see OWN-05
        check.equal("OWN-02", await a.commit([late]), set[str](), f"a late {name} of a task that was {fate}")


@pytest.mark.parametrize("name", GIVE_BACK)
@guarantee("OWN-02")
async def test_the_owner_gives_back(store: Store, check: Check, name: str) -> None:
    a, b = await store.actors(2)
    _, owned = await superseded(store, a)
    after = step(owned, WRITES[name], at(100))
    check.equal("OWN-02", await b.commit([after]), {owned.id}, "the answer to the owner")
    check.equal("OWN-02", await stored(a, owned.id), after, "what is stored")


@guarantee("OWN-02")
async def test_an_operator_cannot_cancel_what_was_claimed_since_it_was_read(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    read = await store.enqueue(a)
    owned = await claim_one(b, read, now=at(1))
    check.equal("OWN-02", await a.commit([step(read, Cancel(), at(2))]), set[str](), "a cancel from before the claim")
    check.equal("OWN-02", await a.commit([step(owned, Cancel(), at(3))]), {read.id}, "a cancel from after the claim")


@pytest.mark.parametrize("fate", FATES)
@guarantee("OWN-03")
async def test_a_refused_commit_leaves_the_record_as_it_was(store: Store, check: Check, fate: str) -> None:
    a, b = await store.actors(2)
    lost = await running(store, a, max_attempts=5, key="k", metadata='{"m": 1}')
    await FATES[fate](b, lost)
    before = picture(await stored(b, lost.id))
    for name, event in WRITES.items():
        late = step(lost, event, at(100)).evolve(progress='"late"', execution_ref="late", worker="late")
        await a.commit([late])
        check.equal("OWN-03", picture(await stored(b, lost.id)), before, f"the record after a late {name}")


@guarantee("OWN-03")
async def test_a_refused_commit_changes_nothing_about_what_is_claimed_next(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    lost = await running(store, a, max_attempts=5)
    await FATES["recovered"](b, lost)
    for event in (Snooze(at(9999)), Complete(RESULT), Cancel(), Fail(ERROR, at(9999))):
        await a.commit([step(lost, event, at(100))])
    check.equal("OWN-03", ids(await claim_all(b, now=at(101))), [lost.id], "what is claimed next")


@guarantee("OWN-04")
async def test_a_batch_of_commits_is_answered_with_what_it_stored(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    owned = [await running(store, a, max_attempts=5) for _ in range(5)]
    lost = [await running(store, a, max_attempts=5) for _ in FATES]
    for record, happen in zip(lost, FATES.values(), strict=True):
        await happen(b, record)
    events: list[Event] = [Complete(RESULT), Fail(ERROR), Fail(ERROR, at(200)), Requeue(), Cancel()]
    after = [step(record, event, at(100)) for record, event in zip(owned, events, strict=True)]
    late = [step(record, Complete('"late"'), at(100)) for record in lost]
    batch = [*after, *late]
    store.random.shuffle(batch)
    before = await pictures(a)
    check.equal("OWN-04", await a.commit(batch), set(ids(owned)), "the answer")
    found = await pictures(b)
    check.equal("OWN-04", found, {**before, **{one.id: found[one.id] for one in after}}, "those that were not answered")
    check.equal("OWN-04", await b.get(ids(after)), {one.id: one for one in after}, "those that were answered")


@guarantee("OWN-04")
async def test_a_revive_that_was_refused_its_key_is_not_answered(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    old = await reach(store, a, State.FAILED, key="k")
    await store.enqueue(a, key="k")
    others = [await reach(store, a, State.FAILED), await reach(store, a, State.CANCELLED, key="free")]
    answer = await b.commit([step(one, Revive(), at(20)) for one in (others[0], old, others[1])])
    check.equal("OWN-04", answer, set(ids(others)), "the answer")
    two = [await reach(store, a, State.FAILED, key="one") for _ in range(2)]
    answer = await b.commit([step(one, Revive(), at(20)) for one in two])
    pending = [one.id for one in (await a.get(ids(two))).values() if one.state is State.PENDING]
    check.equal("OWN-04", answer, set(pending), "the answer to two with one key")


@guarantee("OWN-04")
async def test_a_large_batch_of_commits_is_answered_with_what_it_stored(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    await a.enqueue_many([store.new_task() for _ in range(2000)], now=at(0))
    owned = await claim_all(a, now=at(1))
    check.equal("OWN-04", len(owned), 2000, "how many were claimed")
    taken = owned[::3]
    check.equal(
        "OWN-04",
        await b.commit([step(one, Cancel(), at(2)) for one in taken]),
        set(ids(taken)),
        "the answer to the cancels",
    )
    answer = await a.commit([step(one, Complete(RESULT), at(3)) for one in owned])
    check.equal("OWN-04", answer, set(ids(owned)) - set(ids(taken)), "the answer to the completions")
    states = {(one.state, one.tasks) for one in await b.count() if one.tasks}
    check.equal("OWN-04", states, {(State.CANCELLED, len(taken)), (State.COMPLETED, 2000 - len(taken))}, "the counts")


@pytest.mark.parametrize("first", WRITES)
@guarantee("OWN-05")
async def test_of_two_commits_from_one_read_the_first_is_stored(store: Store, check: Check, first: str) -> None:
    a, b = await store.actors(2)
    for second, event in WRITES.items():
        read = await running(store, a, max_attempts=5)
        won = step(read, WRITES[first], at(1))
        check.equal("OWN-05", await a.commit([won]), {read.id}, f"the answer to the first, {first}")
        check.equal("OWN-05", await b.commit([step(read, event, at(2))]), set[str](), f"the answer to a later {second}")
        check.equal("OWN-05", await stored(b, read.id), won, "what is stored")


@guarantee("OWN-05")
async def test_a_repeated_commit_is_refused_and_what_it_wrote_stays(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    for name, event in WRITES.items():
        read = await running(store, a, max_attempts=5)
        after = step(read, event, at(1))
        answers = [await actor.commit([after]) for actor in (a, a, b)]
        check.equal("OWN-05", answers, [{read.id}, set[str](), set[str]()], f"the answers to one {name}, three times")
        check.equal("OWN-05", await stored(b, read.id), after, "what is stored")


@guarantee("OWN-05")
async def test_of_many_commits_at_once_from_one_read_one_is_stored(store: Store, check: Check) -> None:
    actors = await store.actors(4)
    events: list[Event] = [Complete(RESULT), Cancel(), Fail(ERROR), Requeue()]
    for round_ in range(12):
        read = await running(store, actors[0], max_attempts=5)
        order = events[round_ % 4 :] + events[: round_ % 4]
        after = [step(read, event, at(1)) for event in order]
        answers = await asyncio.gather(*(actor.commit([one]) for actor, one in zip(actors, after, strict=True)))
        won = [one for one, answer in zip(after, answers, strict=True) if answer == {read.id}]
        check.equal("OWN-05", len(won), 1, "how many were told that theirs was stored")
        check.equal("OWN-05", await stored(actors[0], read.id), won[0], "what is stored")
        if won[0].state is State.PENDING:
            await commit(actors[0], won[0], Cancel(), at(2))


@guarantee("OWN-06")
async def test_a_fence_that_was_never_given_is_refused(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    owned = await running(store, a)
    before = picture(await stored(a, owned.id))
    after = step(owned, Complete(RESULT), at(1))
    for ahead in (1, 2, 1000):
        answer = await b.commit([after.evolve(fence=after.fence + ahead)])
        check.equal("OWN-06", answer, set[str](), f"a commit {ahead} ahead of the stored fence")
    for behind in (1, 2, 3):
        answer = await b.commit([after.evolve(fence=after.fence - behind)])
        check.equal("OWN-06", answer, set[str](), f"a commit {behind} behind the stored fence")
    check.equal("OWN-06", picture(await stored(a, owned.id)), before, "the record")
    check.equal("OWN-06", await b.commit([after]), {owned.id}, "a commit under the fence as it is")


@guarantee("OWN-06")
async def test_a_commit_creates_nothing(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    there = await running(store, a, key="k")
    before = await pictures(a)
    for fence in (0, 1, there.fence + 1):
        absent = there.evolve(id=store.new_id(), fence=fence, key=None)
        check.equal("OWN-06", await a.commit([absent]), set[str](), f"a commit of an unknown id with fence {fence}")
        check.equal("OWN-06", await b.get([absent.id]), {}, "the unknown task")
    check.equal("OWN-06", await pictures(b), before, "what is stored")


@guarantee("OWN-07")
async def test_heartbeats_and_progress_do_not_cost_the_right_to_write(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    owned = await running(store, a)
    for i in range(5):
        kept = await a.touch_heartbeats([Held(owned.id, owned.fence, f"[{i}]" if i % 2 else None)], now=at(10 + i))
        check.equal("OWN-07", kept, {owned.id}, f"heartbeat {i}")
        check.equal("OWN-07", (await stored(b, owned.id)).fence, owned.fence, f"the fence after heartbeat {i}")
    after = step(owned, Complete(RESULT), at(20))
    check.equal("OWN-07", await a.commit([after]), {owned.id}, "the answer to the owner")
    check.equal("OWN-07", await stored(b, owned.id), after, "what is stored")


@guarantee("OWN-07")
async def test_coming_due_does_not_cost_the_right_to_write(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    read = [await store.enqueue(a, run_at=at(50 + i), queue=f"q{i}") for i in range(3)]
    claimed = await b.claim(Want(worker="w", limit=1, queues=("q0", "q1", "q2")), now=at(100))
    check.equal("OWN-07", ids(claimed), [read[0].id], "the claim of the first of three that came due")
    for record in read[1:]:
        check.equal("OWN-07", (await stored(a, record.id)).fence, record.fence, "the fence of one that came due")
        cancelled = step(record, Cancel(), at(101))
        check.equal("OWN-07", await a.commit([cancelled]), {record.id}, "a cancel from before it came due")
        check.equal("OWN-07", await stored(b, record.id), cancelled, "what is stored")


@guarantee("OWN-07")
async def test_other_tasks_do_not_cost_the_right_to_write(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    waiting = await reach(store, a, State.PENDING)
    owned = await running(store, a)
    for state in store.states:
        await reach(store, b, state)
    for record in (waiting, owned):
        check.equal("OWN-07", await stored(b, record.id), record, "a task that nobody touched")
    cancelled = [step(record, Cancel(), at(9)) for record in (waiting, owned)]
    check.equal("OWN-07", await a.commit(cancelled), {waiting.id, owned.id}, "the answer")
