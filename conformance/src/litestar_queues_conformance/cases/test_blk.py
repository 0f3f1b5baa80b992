"""BLK and ARW: many tasks at once, by whichever way the backend has for that."""

from __future__ import annotations

from typing import Any, cast

import pytest

from litestar_queues.backends.base import QueueBackend
from litestar_queues.lifecycle import Complete, Fail, State
from litestar_queues.records import Enqueued, Matching, NewTask, TaskRecord, admit
from litestar_queues_conformance.harness import T0, Check, Store, at, guarantee
from litestar_queues_conformance.moves import ERROR, RESULT, claim_all, commit, ids, stored
from litestar_queues_conformance.target import Reshapes

_ALL = 1_000_000
_SIZES = (0, 1, 2, 999, 2500)


def _varied(store: Store, n: int) -> list[NewTask]:
    """So many tasks without keys that differ in every field, some of whose fields are left out."""
    kinds: list[dict[str, Any]] = [
        {},
        {
            "queue": "mail",
            "priority": -7,
            "max_attempts": 9,
            "args": '[1e22, "\\u0000", 123456789012345678901234567890, 1.0]',
            "kwargs": '{"k": "it\'s \\"quoted\\" \\\\ 你好 \U0001f389"}',
            "metadata": '{"t": null}',
            "description": "é\t\n'",
            "timeout": 0.1,
        },
        {"run_at": at(60, microseconds=1), "expires_at": at(600, microseconds=999_999), "priority": 2**31 - 1},
        {"run_at": at(-60), "execution_backend": "remote", "execution_profile": "large", "queue": "Mail "},
        {"args": '"5"', "kwargs": "{}", "metadata": "{}", "priority": -(2**31), "timeout": 1 / 3},
    ]
    return [store.new_task(name=f"task.{i % 7}", **kinds[i % len(kinds)]) for i in range(n)]


async def _same_as_one_by_one(check: Check, id_: str, actor: QueueBackend, batch: list[NewTask]) -> None:
    expected = [admit(new, T0) for new in batch]
    answers = await actor.enqueue_many(batch, now=T0)
    check.equal(id_, answers, [Enqueued(record, True) for record in expected], "the answers")
    found = await actor.get(ids(batch))
    check.equal(id_, found, {record.id: record for record in expected}, "what is stored")


@pytest.mark.parametrize("size", _SIZES)
@guarantee("BLK-01")
async def test_a_batch_of_any_size_is_stored_in_every_field(store: Store, check: Check, size: int) -> None:
    for there in store.in_each_way():
        a = await there.actor()
        await _same_as_one_by_one(check, "BLK-01", a, _varied(store, size))
        kept = await a.find(Matching(), _ALL)
        check.equal("BLK-01", len(kept), size, "how many are stored")


@guarantee("BLK-01")
async def test_a_large_batch_without_a_time_is_stamped_by_the_store(store: Store, check: Check) -> None:
    for there in store.in_each_way():
        a = await there.actor()
        before = await a.now()
        batch = store.new_tasks(1500)
        answers = await a.enqueue_many(batch)
        after = await a.now()
        times = {one.record.created_at for one in answers}
        check.equal("BLK-01", len(times), 1, "how many times a batch was stamped with")
        check("BLK-01", all(before <= at_ <= after for at_ in times), f"stamped {times}, between {before} and {after}")
        stored_ = {one.record.id: one.record for one in answers}
        check.equal("BLK-01", await a.get(ids(batch)), stored_, "what is stored")


@guarantee("BLK-02")
async def test_a_large_batch_that_was_stored_in_part_is_completed_and_nothing_is_doubled(
    store: Store, check: Check
) -> None:
    for there in store.in_each_way():
        await _completed(there, check)


async def _completed(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    batch = _varied(store, 1200)
    await a.enqueue_many(batch[400:800], now=T0)
    answers = await b.enqueue_many(batch, now=T0)
    check.equal("BLK-02", [one.is_new for one in answers], [True] * 1200, "whether each is this batch's own")
    expected = {new.id: admit(new, T0) for new in batch}
    check.equal("BLK-02", {one.record.id: one.record for one in answers}, expected, "the answers")
    again = await a.enqueue_many(batch, now=at(5))
    check.equal("BLK-02", {one.record.id: one.record for one in again}, expected, "the answers to a repetition")
    check.equal("BLK-02", await b.get(ids(batch)), expected, "what is stored")
    check.equal("BLK-02", len(await a.find(Matching(), _ALL)), 1200, "how many are stored")


@guarantee("BLK-02")
async def test_a_large_batch_with_keys_among_it_is_deduplicated(store: Store, check: Check) -> None:
    a = await store.actor()
    holder = await store.enqueue(a, key="held")
    batch = [store.new_task(key="held" if i == 500 else f"k{i % 600}" if i % 2 else None) for i in range(1000)]
    answers = await a.enqueue_many(batch, now=T0)
    first: dict[str | None, TaskRecord] = {"held": holder}
    for new, answer in zip(batch, answers, strict=True):
        mine = new.key is None or new.key not in first
        record = admit(new, T0) if mine else first[new.key]
        if new.key is not None:
            first.setdefault(new.key, record)
        check.equal("BLK-02", answer, Enqueued(record, mine), f"the answer to {new.key!r}")


# Tables whose columns are not as create_schema puts them


async def _reshaped(store: Store, check: Check, id_: str, how: str) -> None:
    declared = store.target.capabilities.columns
    check.equal(
        id_, isinstance(store.target, Reshapes), declared, "whether the target makes other tables, as declared,"
    )
    if not declared:
        check.absent(id_, "columns")
        return
    for there in store.in_each_way():
        await cast("Reshapes", store.target).reshape(there.config, how)
        with check.works(id_, f"the life of tasks in a table that is {how}"):
            await _whole_life(there, check, id_, await there.actor())


async def _whole_life(store: Store, check: Check, id_: str, actor: QueueBackend) -> None:
    """Every way in which rows are written and read."""
    for size in (0, 1, 1200):
        await _same_as_one_by_one(check, id_, actor, _varied(store, size))
    keyed = await store.enqueue(actor, key="k", priority=2**31 - 1)
    claimed = await claim_all(actor, now=at(1))
    check(id_, claimed[0].id == keyed.id or claimed[0].priority == 2**31 - 1, "the claim does not keep the order")
    completed = await commit(actor, claimed[0], Complete(RESULT), at(2))
    failed = await commit(actor, claimed[1], Fail(ERROR), at(2))
    check.equal(id_, await stored(actor, completed.id), completed, "a completed task")
    check.equal(id_, await stored(actor, failed.id), failed, "a failed task")
    check.equal(
        id_, await actor.touch_heartbeats([claimed[2].held], now=at(3)), {claimed[2].id}, "a heartbeat's answer"
    )
    check.equal(id_, await actor.delete([completed.held]), {completed.id}, "a deletion's answer")
    counts = {one.state: 0 for one in await actor.count()}
    for one in await actor.count():
        counts[one.state] += one.tasks
    check.equal(id_, counts.get(State.FAILED), 1, "how many failed tasks are counted")


@guarantee("ARW-01")
async def test_columns_may_stand_in_another_order(store: Store, check: Check) -> None:
    await _reshaped(store, check, "ARW-01", "reordered")


@guarantee("ARW-02")
async def test_a_table_may_have_grown_columns_of_the_application(store: Store, check: Check) -> None:
    await _reshaped(store, check, "ARW-02", "grown")
