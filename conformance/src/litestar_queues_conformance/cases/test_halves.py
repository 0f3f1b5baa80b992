"""SCM-06 and SCM-08: a schema that is there in part."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta

from litestar_queues.backends.base import QueueBackend
from litestar_queues.lifecycle import Complete
from litestar_queues.records import NamedRecord
from litestar_queues_conformance.harness import T0, Check, Store, at, guarantee
from litestar_queues_conformance.moves import RESULT, claim_one, commit, kinds, pictures
from litestar_queues_conformance.target import Halves

_IDS = ("SCM-06", "SCM-08")
_TTL = timedelta(hours=1)


@dataclass(slots=True)
class _Stored:
    """What a store holds, by the kind of the part that holds it."""

    tasks: dict[str, str] = field(default_factory=dict[str, str])
    locks: list[str] = field(default_factory=list[str])
    records: dict[str, NamedRecord] = field(default_factory=dict[str, NamedRecord])

    def without(self, kinds: Iterable[str]) -> _Stored:
        """What is left where the parts that hold these kinds are gone."""
        lost = set(kinds)
        return _Stored(
            {} if "tasks" in lost else self.tasks,
            [] if "locks" in lost else self.locks,
            {} if "records" in lost else self.records,
        )

    async def read(self, client: QueueBackend) -> _Stored:
        """The same as a client has it now."""
        held = [name for name in self.locks if not await client.lock(name, "somebody else", _TTL, now=at(2))]
        return _Stored(await pictures(client), held, await client.read_records(""))


async def _work(store: Store, client: QueueBackend, number: int, stored: _Stored) -> _Stored:
    """Use every table, with keys; what is stored then."""
    await store.enqueue(client, key=f"key {number}")
    owned = await claim_one(client, await store.enqueue(client, key=f"another {number}"), now=at(1))
    await commit(client, owned, Complete(RESULT), at(2))
    lock, record = f"lock {number}", NamedRecord(f"record {number}", 1, '{"n": 1}')
    await client.lock(lock, "a", _TTL, now=T0)
    await client.write_records([record])
    return _Stored(await pictures(client), [*stored.locks, lock], {**stored.records, record.name: record})


# The schema knows no time: once is enough.
@guarantee("SCM-06", "SCM-08", time="given", deadline=240.0)
async def test_what_is_missing_of_a_schema_is_created_and_what_is_stored_stays(store: Store, check: Check) -> None:
    target = store.target
    if not isinstance(target, Halves):
        for id_ in _IDS:
            if target.capabilities.columns:
                check.unknown(id_, "the target cannot remove a part of the schema: it has no `parts` and no `halve`")
            else:
                check(id_, True, "declared absent")  # there is no table that could be missing
                check.absent(id_, "columns")
        return
    a = await store.actor()
    await kinds(store, a, metadata='{"m": 1}')
    stored = await _work(store, a, 0, _Stored())
    await a.close()
    whole = dict(await target.parts(store.config))
    if not whole:
        for id_ in _IDS:
            check.unknown(id_, "the target lists no part of the schema")
        return
    # Each part alone, the tasks last; and all but the tasks, which a creation leaves that ended after its first statement.
    turns: list[tuple[str, ...]] = [(part,) for part in sorted(whole, key=lambda part: (whole[part] == "tasks", part))]
    turns.insert(-1, tuple(part for part in whole if whole[part] != "tasks"))
    for number, parts in enumerate(turns, 1):
        named = ", ".join(parts)
        for part in parts:
            if part in await target.parts(store.config):  # an index goes with its table
                await target.halve(store.config, part)
        if there := set(parts) & set(await target.parts(store.config)):
            for id_ in _IDS:
                check.unknown(id_, f"`halve` of the target did not remove {', '.join(sorted(there))}")
            return
        with check.works("SCM-06", f"opening a store without {named}"):
            clients = await asyncio.gather(*(store.actor() for _ in range(1 if len(parts) == 1 else 3)))
        check.equal(
            "SCM-06", sorted(await target.parts(store.config)), sorted(whole), f"the schema after {named} was missing"
        )
        client = clients[0]
        left = stored.without(whole[part] for part in parts)
        check.equal("SCM-08", await left.read(client), left, f"what is stored after {named} was missing")
        with check.works("SCM-06", f"work in a store that was without {named}"):
            stored = await _work(store, client, number, left)
        for one in clients:
            await one.close()
