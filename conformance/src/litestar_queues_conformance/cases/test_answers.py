"""LIF-21: the types of answers. What each method answers is looked at in every case; here each is called once."""

from __future__ import annotations

from datetime import timedelta

from litestar_queues.lifecycle import Complete, State, step
from litestar_queues.records import Dispatched, Finished, Matching, NamedRecord, Overdue, Stale, Want
from litestar_queues_conformance.answers import TYPES
from litestar_queues_conformance.harness import T0, Check, Store, at, guarantee
from litestar_queues_conformance.moves import RESULT, reach

_QUERIES = (
    Stale.since(at(9999)),
    Dispatched(at=at(9999)),
    Overdue(at(9999)),
    Finished(at(9999)),
    Matching(),
)


@guarantee("LIF-21")
async def test_every_answer_is_of_its_type(store: Store, check: Check) -> None:
    a = await store.actor()
    await a.now()
    new = store.new_task(key="k", description="d", timeout=5.0, expires_at=at(500), execution_profile="large")
    await a.enqueue_many([new, store.new_task(key="k"), store.new_task(run_at=at(99))], now=T0)
    [owned] = await a.claim(Want(worker="w", limit=1, stale_after=60.0), now=at(1))
    await a.touch_heartbeats([owned.held], now=at(2))
    await a.commit([step(owned, Complete(RESULT), at(3))])
    for state in (State.PENDING, State.RUNNING, State.FAILED):
        await reach(store, a, state)
    await a.get([new.id, store.new_id()])
    for query in _QUERIES:
        await a.find(query, 99)
    await a.count()
    await a.count(("default",))
    await a.next_due()
    name = f"{store.new_id()} lock"
    await a.lock(name, "w", timedelta(seconds=9), now=T0)
    await a.lock(name, "v", timedelta(seconds=9), now=T0)
    await a.unlock(name, "v")
    await a.unlock(name, "w")
    await a.write_records([NamedRecord(name, 1, '{"a": 1}')])
    await a.read_records(name)
    await a.delete([step(owned, Complete(RESULT), at(3)).held])
    wrong = store.answers.all()
    check(TYPES, not wrong, wrong)
