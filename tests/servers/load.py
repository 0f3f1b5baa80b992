"""Load on a queue while its server fails: producers, and the bookkeeping of what they were told."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from itertools import count

import msgspec
from acceptance.database import ServedDatabase
from acceptance.processes import WorkerProcess
from acceptance.stage import DEADLINE
from acceptance.tasks import fails_first, quick, quick_in_a_thread

from litestar_queues import QueueService
from litestar_queues.errors import BackendUnavailableError
from litestar_queues.records import Enqueued, NewTask
from litestar_queues.task import TaskCall
from litestar_queues_matrix.servers import ask

_AHEAD = 2000
"""How many tasks are enqueued beyond what a test waits for: a fast server would have a backlog of minutes otherwise."""
_RETRIES = 50
"""More than there are faults: an attempt that a fault costs must not be a task's last."""


def new_tasks(number: int, keys: Sequence[str | None]) -> list[NewTask]:
    """A task for each key, of three kinds: async, in a thread, and one that fails first."""
    kinds: list[Callable[[], TaskCall[int]]] = [
        lambda: quick.using(retries=_RETRIES).call(number),
        lambda: quick_in_a_thread.using(retries=_RETRIES).call(number),
        lambda: fails_first.using(retries=_RETRIES).call(),
    ]
    now = datetime.now(UTC)
    made = [kinds[(number + index) % 3]().new_task(now) for index in range(len(keys))]
    return [msgspec.structs.replace(task, key=key) for task, key in zip(made, keys, strict=True)]


@dataclass
class Ledger:
    """What producers were told."""

    acknowledged: dict[str, str] = field(default_factory=dict)
    """By id of the task: the id of the record that was answered, which is another's where that held the key."""
    unclear: int = 0
    """How many calls were not answered."""
    aim: int = 0
    """How many acknowledgements the test has waited for."""
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def more(self, count: int) -> None:
        """Wait for so many acknowledgements from now on."""
        async with asyncio.timeout(DEADLINE), self.changed:
            self.aim = aim = len(self.acknowledged) + count
            self.changed.notify_all()
            await self.changed.wait_for(lambda: len(self.acknowledged) >= aim)

    async def room(self) -> None:
        """Wait until the test has caught up with the producers."""
        async with self.changed:
            await self.changed.wait_for(lambda: len(self.acknowledged) < self.aim + _AHEAD)


class Producer:
    """Enqueues one batch after another. One that was not answered is looked for, and repeated with the same ids.

    Args:
        service: What it enqueues through.
        database: What it looks through.
        ledger: Where it notes what it was told.
        make: Its batches, by number.
        shared: Whether others enqueue the same keys, so that a part of a batch may be somebody else's.
    """

    def __init__(
        self,
        service: QueueService,
        database: ServedDatabase,
        ledger: Ledger,
        make: Callable[[int], list[NewTask]],
        *,
        shared: bool = False,
    ) -> None:
        self._backend = service.operations.backend
        self._database = database
        self._ledger = ledger
        self._make = make
        self._shared = shared

    async def run(self) -> None:
        for number in count():
            await self._ledger.room()
            tasks = self._make(number)
            while (answers := await self._try(tasks)) is None:
                await self._look(tasks)
            async with self._ledger.changed:
                for task, answer in zip(tasks, answers, strict=True):
                    assert answer.is_new == (answer.record.id == task.id), f"{task}: {answer}"
                    assert answer.is_new or self._shared, f"{task} was answered by {answer}"
                    self._ledger.acknowledged[task.id] = answer.record.id
                self._ledger.changed.notify_all()

    async def _try(self, tasks: list[NewTask]) -> list[Enqueued] | None:
        try:
            return await self._backend.enqueue_many(tasks)
        except BackendUnavailableError:
            self._ledger.unclear += 1
            return None

    async def _look(self, tasks: list[NewTask]) -> None:
        """Wait until the server answers again: all of the batch is there, or nothing of it."""
        async with asyncio.timeout(DEADLINE):
            while True:
                with suppress(ask.NotAnswering):
                    stored = await asyncio.to_thread(self._database.rows, *(task.id for task in tasks))
                    break
                await asyncio.sleep(0.02)
        assert self._shared or len(stored) in (0, len(tasks)), f"{len(stored)} of {len(tasks)} are there"


@asynccontextmanager
async def load(service: QueueService, database: ServedDatabase, ledger: Ledger) -> AsyncIterator[None]:
    """Five producers: single and batches, without keys, with keys of their own, and with a few that all want."""
    produce = partial(Producer, service, database, ledger)
    producers = [
        produce(lambda number: new_tasks(number, [None])),
        produce(lambda number: new_tasks(number, [f"single-{number}"])),
        produce(lambda number: new_tasks(number, [None] * 20)),
        produce(lambda number: new_tasks(number, [f"batch-{number}-{index}" for index in range(10)])),
        produce(lambda number: new_tasks(number, [f"shared-{(number + n) % 7}" for n in range(3)]), shared=True),
    ]
    running = [asyncio.create_task(producer.run()) for producer in producers]
    try:
        yield
    finally:
        for task in running:
            task.cancel()
        ended = await asyncio.gather(*running, return_exceptions=True)
    for end in ended:
        if isinstance(end, Exception):
            raise end


async def quiet(database: ServedDatabase) -> None:
    """Wait until no task is left to be done."""
    async with asyncio.timeout(DEADLINE):
        while database.count("pending", "scheduled", "running"):  # noqa: ASYNC110  # nobody tells
            await asyncio.sleep(0.1)


def check(database: ServedDatabase, ledger: Ledger, workers: list[WorkerProcess]) -> None:
    """Judge the end, when all is quiet, by what a plain driver reads."""
    rows = database.rows()
    lost = [id_ for id_ in ledger.acknowledged.values() if id_ not in rows]
    assert lost == [], f"{len(lost)} acknowledged tasks are gone"
    assert Counter(row["state"] for row in rows.values()) == {"completed": len(rows)}
    events = [event for worker in workers for kind in ("complete", "fail") for event in worker.events(kind)]
    for event in events:
        row = rows[event["task_id"]]
        assert row["fence"] >= event["fence"], f"{event} is not stored: {row}"
        if event["kind"] == "complete":
            assert row["fence"] == event["fence"], f"{event} does not hold: {row}"
    times = Counter((event["task_id"], event["fence"]) for event in events)
    assert [each for each, number in times.items() if number > 1] == [], "settled twice under one fence"
