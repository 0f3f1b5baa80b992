"""CST: what many tasks and many calls cost. These cases run only with `--queue-scale`."""

from __future__ import annotations

import asyncio
import gc
import time
import tracemalloc
from dataclasses import dataclass
from statistics import median
from typing import Any

from litestar_queues.backends.base import QueueBackend
from litestar_queues.lifecycle import Complete, step
from litestar_queues.records import Enqueued, Want
from litestar_queues_conformance.harness import T0, Check, Store, at, guarantee
from litestar_queues_conformance.moves import RESULT, ids
from litestar_queues_conformance.outcomes import GROWS, SCALES
from litestar_queues_conformance.patience import Deadline
from litestar_queues_conformance.target import CountsRows

_FEW = 100
_BATCH = 2_000
_ROUNDS = 25
_FACTOR = 10
"""How many times the cost beside few still counts as bounded: an index of 100,000 is a few levels deeper than one of 100."""
_ROWS = 1_000
"""Rows that all rounds together may read more: what a database looks up of its own tables, and pages of an index."""
_CALLS = 300
_BURSTS = 6
_SLACK = 64 * 1024 + 100 * _CALLS
"""Bytes by which the memory may differ after a burst. One task that is kept of each call is some 1,000 bytes."""
_SETTLING = 5.0
"""Fair seconds within which a server has counted what closed clients read."""


@dataclass(slots=True)
class _Backlog:
    """A store with so many tasks, beside which others are claimed."""

    store: Store
    size: int

    async def fill(self) -> None:
        """Store them: a half can be claimed, a quarter is in another queue, and a quarter is due later."""
        client = await self.store.actor()
        for start in range(0, self.size, _BATCH):
            part = range(start, min(start + _BATCH, self.size))
            kinds: dict[int, dict[str, Any]] = {0: {"queue": "another"}, 1: {"run_at": at(86_400)}}
            tasks = [self.store.new_task(**{"priority": -1, **kinds.get(n % 4, {})}) for n in part]
            await client.enqueue_many(tasks, now=T0)
        await client.close()

    async def claim(self, client: QueueBackend, check: Check) -> float:
        """Claim one new task, which comes before all others; the seconds that the claim took."""
        new = self.store.new_task(priority=9)
        await client.enqueue_many([new], now=T0)
        began = time.perf_counter()
        claimed = await client.claim(Want(worker="worker-a", limit=1, queues=("default",)), now=at(1))
        seconds = time.perf_counter() - began
        check.equal("CST-01", ids(claimed), [new.id], "the task that is claimed first")
        return seconds

    async def rows(self) -> int | None:
        """What the store has read, once it has counted that."""
        target = self.store.target
        if not isinstance(target, CountsRows):
            return None
        found, deadline = await target.rows_read(self.store.config), Deadline(_SETTLING)
        while found is not None and deadline.left > 0:
            await asyncio.sleep(0.3)  # servers count with a delay, and no event tells
            if (again := await target.rows_read(self.store.config)) == found:
                break
            found = again
        return found


# Which time the claims are given makes no difference to what they cost.
@guarantee("CST-01", time="given", deadline=1800.0)
async def test_a_claim_beside_many_costs_as_much_as_one_beside_few(store: Store, check: Check, backlog: int) -> None:
    few, many = (_Backlog(store.another(), size) for size in (_FEW, backlog))
    for one in (few, many):
        await one.fill()
    before = [await one.rows() for one in (few, many)]
    clients = [await one.store.actor() for one in (few, many)]
    seconds: tuple[list[float], list[float]] = [], []
    for number in range(_ROUNDS + 3):
        for one, client, measured in zip((few, many), clients, seconds, strict=True):
            took = await one.claim(client, check)
            if number >= 3:  # the first ones prepare statements
                measured.append(took)
    for client in clients:
        await client.close()
    after = [await one.rows() for one in (few, many)]
    beside = f"beside {backlog:,} tasks and beside {_FEW}"
    if None not in before and None not in after:
        little, much = (end - begin for begin, end in zip(before, after, strict=True) if begin is not None and end)
        word = SCALES if much <= _FACTOR * little + _ROWS else GROWS
        check.figure("CST-01", word, f"{_ROUNDS + 3} enqueues and claims {beside} read {much:,} and {little:,} rows")
        return
    little_time, much_time = (1000 * median(measured) for measured in seconds)
    word = SCALES if much_time <= _FACTOR * little_time else GROWS
    text = f"a claim {beside} takes {much_time:.2f} ms and {little_time:.2f} ms, as a median of {_ROUNDS}"
    check.figure("CST-01", word, f"{text}: {much_time / little_time:.1f} times as long")


async def _burst(store: Store, client: QueueBackend) -> None:
    """So many calls, after which the store holds what it held before."""
    for _ in range(_CALLS // 10):
        answers: list[Enqueued] = await client.enqueue_many(store.new_tasks(2), now=T0)
        claimed = await client.claim(Want(worker="worker-a", limit=2), now=at(1))
        await client.touch_heartbeats([one.held for one in claimed], now=at(2))
        done = [step(one, Complete(RESULT), at(3)) for one in claimed]
        await client.commit(done)
        await client.get(ids([one.record for one in answers]))
        await client.count()
        await client.next_due()
        await client.now()
        await client.read_records("")
        await client.delete([one.held for one in done])


@guarantee("CST-02", time="given", deadline=900.0)
async def test_the_memory_of_a_client_stays_as_it_is_over_many_calls(store: Store, check: Check) -> None:
    client = await store.actor()
    await _burst(store, client)
    was_tracing = tracemalloc.is_tracing()
    if not was_tracing:
        tracemalloc.start()
    grown = list[int]()
    try:
        before = 0
        # Caches fill for a while. What is kept of each call makes every burst larger than the one before.
        while len(grown) <= _BURSTS and (len(grown) < 2 or min(grown[1:]) > _SLACK):
            await _burst(store, client)
            gc.collect()
            now = tracemalloc.get_traced_memory()[0]
            grown.append(now - before)
            before = now
    finally:
        if not was_tracing:
            tracemalloc.stop()
    least = min(grown[1:])
    check("CST-02", least <= _SLACK, f"each of {len(grown) - 1} bursts of {_CALLS} calls left {least:,} bytes or more")
