"""What the looks of reapers tell: since when the store has been in service, and whether it is still the same one."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta

import pytest
from queue_lab import Lab, WatchedBackend, hour, open_lab, within

from litestar_queues import BackendUnavailableError, State, StoreReplacedError
from litestar_queues.backends.memory import MemoryBackend
from litestar_queues.clock import ManualClock
from litestar_queues.records import NamedRecord
from litestar_queues.worker.uptime import KnownStore, Uptime

pytestmark = pytest.mark.anyio

MINUTE = timedelta(minutes=1)
LOOKS, MARK = "maintenance", "maintenance.store"
WRITES = {"enqueue_many", "claim", "touch_heartbeats", "commit", "delete", "lock", "unlock", "write_records"}


class Store:
    """A store, and the reapers of several workers that look after it."""

    def __init__(self) -> None:
        self.time = ManualClock()
        self.backend = WatchedBackend(MemoryBackend(self.time))

    def worker(self, known: KnownStore | None = None) -> Uptime:
        return Uptime(self.backend, self.time, window=MINUTE, interval=MINUTE, known=known)

    def empty(self, *names: str) -> None:
        """Delete these records, or everything."""
        inner = self.backend.inner
        for name in names or list(inner.records):
            del inner.records[name]
        if not names:
            inner.tasks.clear()

    def replace(self) -> None:
        """Put another store in its place."""
        self.backend.inner = MemoryBackend(self.time)

    def edit(self, name: str, value: str) -> None:
        before = self.backend.inner.records[name]
        self.backend.inner.records[name] = NamedRecord(name, before.version, value)

    def backup(self) -> dict[str, NamedRecord]:
        return dict(self.backend.inner.records)


async def test_a_store_that_was_emptied_is_told_to_every_worker_that_knew_it() -> None:
    store = Store()
    workers = [store.worker() for _ in range(3)]
    for worker in workers:
        await worker.note()
    store.empty()
    for worker in workers[:2]:
        with pytest.raises(
            StoreReplacedError, match=r"emptied, or another one is in its place.*Start the process again"
        ):
            await worker.note()
    await store.worker().note()  # a process that was started again
    with pytest.raises(StoreReplacedError):
        await workers[2].note()


async def test_another_store_in_its_place_is_told_again_and_again_and_nothing_is_written_there() -> None:
    store = Store()
    worker = store.worker()
    await worker.note()
    store.replace()
    await store.worker().note()
    store.backend.calls.clear()
    for _ in range(3):
        with pytest.raises(StoreReplacedError):
            await worker.note()
    assert {kind for kind, _ in store.backend.calls} & WRITES == set()


async def test_a_worker_that_starts_with_an_empty_store_takes_it_as_it_is() -> None:
    store = Store()
    await store.worker().note()
    store.empty()
    worker = store.worker()
    await worker.note()
    await worker.note()


@pytest.mark.parametrize("name", [LOOKS, MARK])
async def test_whoever_deletes_one_record_has_not_replaced_the_store(name: str) -> None:
    store = Store()
    workers = [store.worker() for _ in range(2)]
    for _ in range(3):
        for worker in workers:
            await worker.note()
        store.empty(name)
    await workers[0].note()
    assert set(store.backend.inner.records) == {LOOKS, MARK}


@pytest.mark.parametrize("value", ["", "no JSON", "[]", "{}", '{"store": "another", "since": "2020-01-01T00:00:00Z"}'])
@pytest.mark.parametrize("name", [LOOKS, MARK])
async def test_whoever_edits_one_record_has_not_replaced_the_store(name: str, value: str) -> None:
    store = Store()
    first, second = store.worker(), store.worker()
    await first.note()
    await second.note()
    store.edit(name, value)
    await first.note()
    await second.note()
    store.edit(LOOKS, "no JSON")
    store.edit(MARK, "no JSON")
    await first.note()
    await second.note()


@pytest.mark.parametrize("name", [LOOKS, MARK])
async def test_a_deleted_or_edited_record_costs_no_more_than_a_grace(name: str) -> None:
    store = Store()
    worker = store.worker()
    since = await worker.note()
    for _ in range(4):
        store.time.advance(60)
        assert await worker.note() == since
    store.empty(name)
    assert await worker.note() == (store.time.now() if name == LOOKS else since)


async def test_a_restored_backup_is_the_same_store_and_gives_a_grace() -> None:
    store = Store()
    worker = store.worker()
    await worker.note()
    backup = store.backup()
    for _ in range(5):
        store.time.advance(60)
        await worker.note()
    store.time.advance(60)
    store.backend.inner.records.clear()
    store.backend.inner.records.update(backup)
    assert await worker.note() == store.time.now()
    assert store.backend.inner.records[LOOKS].version == 2


async def test_a_look_that_could_not_be_written_does_not_make_the_worker_forget_its_store() -> None:
    store = Store()
    worker = store.worker()
    await worker.note()
    store.backend.away = {"write_records"}
    with pytest.raises(BackendUnavailableError, match="away"):
        await worker.note()
    store.backend.away.clear()
    store.empty()
    with pytest.raises(StoreReplacedError):
        await worker.note()


async def test_a_store_that_one_client_of_the_worker_knew_is_known_to_the_other() -> None:
    store, known = Store(), KnownStore()
    await store.worker(known).note()
    store.empty()
    with pytest.raises(StoreReplacedError):
        await store.worker(known).note()


def emptied(lab: Lab) -> None:
    lab.backend.inner.records.clear()


async def test_a_worker_leaves_a_store_that_was_emptied_and_writes_nothing_more_to_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with open_lab(maintenance_interval=0.01, worker_heartbeat_interval=0.01, worker_stale_after=60) as lab:
        begun = asyncio.Event()

        @lab.task("endless")
        async def endless() -> None:
            begun.set()
            await asyncio.Event().wait()

        result = await lab.service.enqueue("endless")
        noticed: list[int] = []

        class Notice(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                if "leaves, with" in record.getMessage():
                    noticed.append(len(lab.backend.calls))

        notice = Notice()
        logging.getLogger("litestar_queues.worker").addHandler(notice)
        async with lab.worker() as running:
            await within(begun.wait())
            await lab.until(lambda: lab.backend.of("unlock") or len(lab.backend.of("write_records")) > 2)
            emptied(lab)
            ended = await within(running.run)
            calls = len(lab.backend.calls)
        logging.getLogger("litestar_queues.worker").removeHandler(notice)
        assert isinstance(ended.replaced, StoreReplacedError)
        assert not ended.drained
        assert (ended.given_back, ended.unsettled) == ([], [result.id])
        assert (await lab.stored(result.id)).state is State.RUNNING
        written = [kind for kind, _ in lab.backend.calls[noticed[0] : calls] if kind in WRITES]
        # A heartbeat that was on its way then may still arrive: it names a task and a fence, and changes nothing elsewhere.
        assert written in ([], ["touch_heartbeats"])
        assert f"leaves, with 1 tasks ({result.id}): " in caplog.text
        assert f"1 outcomes unstored, because its store is gone: {result.id}" in caplog.text


async def test_an_outcome_that_waited_for_a_store_is_named_and_not_written_to_another_one(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with open_lab(maintenance_interval=0.01, worker_stale_after=60) as lab:
        lab.task("quick")(lambda: 5)
        lab.backend.away = {"commit"}
        async with lab.worker() as running:
            result = await lab.service.enqueue("quick")
            await lab.until(lambda: lab.backend.of("commit") and len(lab.backend.of("write_records")) > 1)
            emptied(lab)
            await lab.until(lambda: "leaves, with 1 tasks" in caplog.text)
            lab.backend.away.clear()
            ended = await within(running.run)
        assert ended.unsettled == [result.id]
        assert (await lab.stored(result.id)).state is State.RUNNING


async def test_a_look_after_an_hour_without_looks_is_no_replaced_store() -> None:
    store = Store()
    worker = store.worker()
    await worker.note()
    store.time.advance(hour().total_seconds())
    assert await worker.note() == store.time.now()
