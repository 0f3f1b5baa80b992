"""TXN: tasks that are enqueued in a transaction of the application's."""

from __future__ import annotations

from contextlib import suppress
from typing import cast

from litestar_queues.backends.base import QueueBackend, TransactionalBackend
from litestar_queues.lifecycle import Complete
from litestar_queues.records import Enqueued, admit
from litestar_queues_conformance.harness import T0, Check, Store, at, guarantee
from litestar_queues_conformance.hearing import heard, marked, ready
from litestar_queues_conformance.moves import RESULT, claim_all, commit, everything, ids, running
from litestar_queues_conformance.target import Transacts


class _RollBack(Exception):
    """What leaves a transaction that is not to be committed."""


async def _can(store: Store, check: Check, *ids_: str) -> bool:
    """Whether there is anything to check; that a backend takes sessions only if its target says so, is checked here."""
    declared = store.target.capabilities.transactional
    actor = await store.actor()
    for id_ in ids_:
        check.equal(id_, isinstance(actor, TransactionalBackend), declared, "whether it takes sessions, as declared,")
        check.equal(
            id_, isinstance(store.target, Transacts), declared, "whether the target makes sessions, as declared,"
        )
        if not declared:
            check.absent(id_, "transactional")
    return declared


async def _bound(store: Store, session: object) -> QueueBackend:
    return cast("TransactionalBackend", await store.actor()).bind(session)


@guarantee("TXN-01", "TXN-30")
async def test_what_is_enqueued_in_a_transaction_is_there_when_it_commits_and_not_before(
    store: Store, check: Check
) -> None:
    if not await _can(store, check, "TXN-01", "TXN-30"):
        return
    b = await store.actor()
    batch = [store.new_task(key="k"), store.new_task(run_at=at(60)), store.new_task(queue="mail", metadata='{"m": 1}')]
    async with cast("Transacts", store.target).transaction(store.config) as session:
        answers = await (await _bound(store, session)).enqueue_many(batch, now=T0)
        check.equal("TXN-30", answers, [Enqueued(admit(new, T0), True) for new in batch], "the answers")
        check.equal("TXN-01", await b.get(ids(batch)), {}, "what another client reads before the commit")
        check.equal("TXN-01", await b.count(), [], "what another client counts before the commit")
        check.equal("TXN-01", await everything(b), [], "what another client finds before the commit")
    expected = {new.id: admit(new, T0) for new in batch}
    check.equal("TXN-30", await b.get(ids(batch)), expected, "what another client reads after the commit")
    claimed = await claim_all(b, now=at(1))
    check.equal("TXN-30", sorted(ids(claimed)), sorted(ids([batch[0], batch[2]])), "what can be claimed then")


@guarantee("TXN-30")
async def test_without_a_time_the_store_s_own_counts_in_a_transaction_too(store: Store, check: Check) -> None:
    if not await _can(store, check, "TXN-30"):
        return
    b = await store.actor()
    before = await b.now()
    new = store.new_task()
    async with cast("Transacts", store.target).transaction(store.config) as session:
        [answer] = await (await _bound(store, session)).enqueue_many([new])
    check.equal("TXN-30", await b.get([new.id]), {new.id: answer.record}, "what was answered, and is stored,")
    created_at = answer.record.created_at
    check("TXN-30", before <= created_at <= await b.now(), f"created at {created_at}, between two looks at the clock")


@guarantee("TXN-02")
async def test_what_is_enqueued_in_a_transaction_never_was_when_it_rolls_back(store: Store, check: Check) -> None:
    if not await _can(store, check, "TXN-02"):
        return
    b = await store.actor()
    batch = [store.new_task(key="k"), *(store.new_task() for _ in range(5))]
    with suppress(_RollBack):
        async with cast("Transacts", store.target).transaction(store.config) as session:
            await (await _bound(store, session)).enqueue_many(batch, now=T0)
            raise _RollBack
    check.equal("TXN-02", await b.get(ids(batch)), {}, "what another client reads after the rollback")
    check.equal("TXN-02", await b.count(), [], "what is counted after the rollback")
    check.equal("TXN-02", await claim_all(b, now=at(1)), [], "what can be claimed after the rollback")
    again = store.new_task(key="k")
    [answer] = await b.enqueue_many([again], now=at(2))
    check.equal("TXN-02", answer, Enqueued(admit(again, at(2)), True), "the answer to a key that was rolled back")


@guarantee("TXN-03")
async def test_keys_count_in_a_transaction_as_they_do_outside(store: Store, check: Check) -> None:
    if not await _can(store, check, "TXN-03"):
        return
    b = await store.actor()
    holder = await store.enqueue(b, key="held")
    ended = await running(store, b, key="free")
    await commit(b, ended, Complete(RESULT), at(1))
    own, another, free = store.new_task(key="own"), store.new_task(key="own"), store.new_task(key="free")
    async with cast("Transacts", store.target).transaction(store.config) as session:
        bound = await _bound(store, session)
        [answer] = await bound.enqueue_many([store.new_task(key="held")], now=at(2))
        check.equal("TXN-03", answer, Enqueued(holder, False), "the answer to a key that is held")
        answers = await bound.enqueue_many([own, free], now=at(2))
        check.equal("TXN-03", [one.is_new for one in answers], [True, True], "whether free keys were taken")
        [answer] = await bound.enqueue_many([another], now=at(3))
        check.equal("TXN-03", answer, Enqueued(admit(own, at(2)), False), "the answer to a key that it took itself")
    [answer] = await b.enqueue_many([store.new_task(key="own")], now=at(4))
    check.equal("TXN-03", answer, Enqueued(admit(own, at(2)), False), "what others are answered after the commit")
    check.equal("TXN-03", sorted(ids(await everything(b))), sorted(ids([holder, ended, own, free])), "what is stored")


@guarantee("TXN-04")
async def test_all_that_a_transaction_enqueued_stands_or_falls_with_it(store: Store, check: Check) -> None:
    if not await _can(store, check, "TXN-04"):
        return
    b = await store.actor()
    await store.enqueue(b, key="held")
    for rolls_back in (False, True):
        first, second, many = store.new_task(), store.new_task(key=f"own {rolls_back}"), store.new_tasks(300)
        with suppress(_RollBack):
            async with cast("Transacts", store.target).transaction(store.config) as session:
                bound = await _bound(store, session)
                await bound.enqueue_many([first], now=T0)
                await bound.enqueue_many([store.new_task(key="held")], now=T0)
                await bound.enqueue_many([], now=T0)
                await bound.enqueue_many([second], now=T0)
                await bound.enqueue_many(many, now=T0)
                check.equal(
                    "TXN-04", sorted(await bound.get(ids([first, second]))), sorted(ids([first, second])), "own"
                )
                await bound.close()
                if rolls_back:
                    raise _RollBack
        there = sorted(await b.get(ids([first, second, *many])))
        expected = [] if rolls_back else sorted(ids([first, second, *many]))
        check.equal("TXN-04", there, expected, f"what is stored, rolled back: {rolls_back}")


@guarantee("TXN-05", "TXN-31")
async def test_a_transaction_wakes_others_when_it_commits_and_never_when_it_rolls_back(
    store: Store, check: Check
) -> None:
    if not await _can(store, check, "TXN-05", "TXN-31"):
        return
    b = await store.actor()
    if b.wakeups is None:
        for id_ in ("TXN-05", "TXN-31"):
            check(id_, not store.target.capabilities.notifications, "notifications are declared, and there are none")
            check.absent(id_, "notifications")
        return
    speaker = await store.actor()
    await ready("TXN-05", speaker, b, ("default",), check)
    with suppress(_RollBack):
        async with cast("Transacts", store.target).transaction(store.config) as session:
            await (await _bound(store, session)).enqueue_many([store.new_task()])
            raise _RollBack
    check("TXN-05", await marked(speaker, b), "a mark did not arrive")
    check.equal("TXN-31", await b.wakeups.wait(("default",), 0), False, "whether a hint came for what was rolled back")
    async with cast("Transacts", store.target).transaction(store.config) as session:
        await (await _bound(store, session)).enqueue_many([store.new_task()])
        check("TXN-05", await marked(speaker, b), "a mark did not arrive")
        check.equal("TXN-31", await b.wakeups.wait(("default",), 0), False, "whether a hint came before the commit")
    check("TXN-05", await heard(speaker, b, ("default",)), "no hint came with the commit")
