"""Decides the fires that are due, enqueues their occurrences, and notes that. Whoever does it at the same time does the same."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from litestar_queues.errors import BackendUnavailableError, InvalidTaskError, QueueError
from litestar_queues.events.base import TaskEventKind
from litestar_queues.operations import QueueOperations
from litestar_queues.records import Enqueued, NewTask, TaskRecord
from litestar_queues.schedules.deciding import Choice, Pending, choose, pending, settle
from litestar_queues.schedules.fires import Fire
from litestar_queues.schedules.model import Schedule, Skipped, record_name, write_schedule

__all__ = ("fire_due",)

_log = logging.getLogger("litestar_queues.worker")
_LOOKS = 100
"""How often fires are looked up that may have been enqueued by leaders who died one after the other."""
_AT_ONCE = 100
"""How many schedules are fired in one write; a leader that dies in the middle leaves at most so many to be looked at again."""


async def fire_due(
    operations: QueueOperations,
    schedules: Iterable[Schedule],
    now: datetime,
    is_fresh: Callable[[], bool] = lambda: True,
) -> list[Schedule]:
    """Enqueue the occurrences of all fires that are due, and store how far that has come.

    A fire has one id, whoever enqueues it, so that it is stored once, also where several do this at once, or one dies in the
    middle and another one does it again.

    Args:
        operations: The store.
        schedules: As they were read, a moment ago.
        now: The store's time from before they were read.
        is_fresh: Whether what was read may still be acted on. Asked before each write; what is left is dropped if not.

    Returns:
        Those of the schedules of which something was due and was stored, as they are stored now.
    """
    found = [one for schedule in schedules if (one := pending(schedule, now)) is not None]
    stored: list[Schedule] = []
    for begin in range(0, len(found), _AT_ONCE):
        part = found[begin : begin + _AT_ONCE]
        part_ids = frozenset[str]().union(*(one.ids for one in part))
        known = await operations.backend.get(part_ids)
        choices = [choose(one, known, now) for one in part]
        # The fire that catches up may follow one that a leader enqueued before it died, and another leader that died may have
        # enqueued it, too: what is enqueued was looked up before.
        for _ in range(_LOOKS):
            new = {one.schedule.id_of(fire) for one in choices for fire in one.enqueue} - part_ids
            if not new:
                break
            part_ids |= new
            known |= await operations.backend.get(new)
            choices = [choose(one, known, now) for one in part]
        # A process that stood still since it read them would enqueue what others have dealt with, and retention has deleted.
        if not is_fresh():
            _log.warning("the fires of %d schedules are looked up again: this process stood still", len(found) - begin)
            break
        stored += await _carry_out(operations, part, choices, now)
    return stored


async def _carry_out(
    operations: QueueOperations, part: Sequence[Pending], choices: Sequence[Choice], now: datetime
) -> list[Schedule]:
    tasks: list[tuple[int, Fire, NewTask]] = []
    refused: list[dict[Fire, Skipped]] = [{} for _ in part]
    for index, choice in enumerate(choices):
        for fire in choice.enqueue:
            try:
                tasks.append((index, fire, choice.schedule.occurrence(fire, now)))
            except InvalidTaskError as error:
                refused[index][fire] = _refused(choice.schedule, fire, error)
    fired: list[list[TaskRecord]] = [[] for _ in part]
    for (index, fire, new), answer in zip(tasks, await _enqueue(operations, tasks, choices), strict=True):
        if isinstance(answer, Skipped):
            refused[index][fire] = answer
        elif answer.record.id != new.id:
            refused[index][fire] = Skipped("key", fire.at, fire.at, 1, f"task {answer.record.id} holds it")
        else:
            fired[index].append(answer.record)
    after = [
        settle(choice, one.schedule, refused[i]) for i, (one, choice) in enumerate(zip(part, choices, strict=True))
    ]
    changed = [later for one, later in zip(part, after, strict=True) if later != one.schedule]
    written = await operations.backend.write_records([write_schedule(later) for later in changed])
    stored: list[Schedule] = []
    for index, schedule in enumerate(after):
        if record_name(schedule.name) in written:
            stored.append(schedule.evolve(version=schedule.version + 1))
            operations.tell(TaskEventKind.FIRE, ((record, None) for record in fired[index]))
            _tell_skipped(operations, schedule, (*choices[index].skipped, *refused[index].values()))
    return stored


async def _enqueue(
    operations: QueueOperations, tasks: Sequence[tuple[int, Fire, NewTask]], choices: Sequence[Choice]
) -> Sequence[Enqueued | Skipped]:
    """Store the occurrences: in one write, or each by itself where the store refuses that."""
    if not tasks:
        return ()
    try:
        return await operations.enqueue_many([new for _, _, new in tasks])
    except BackendUnavailableError:
        raise
    except QueueError:
        answers: list[Enqueued | Skipped] = []
        for index, fire, new in tasks:
            try:
                answers += await operations.enqueue_many([new])
            except BackendUnavailableError:
                raise
            except QueueError as error:
                answers.append(_refused(choices[index].schedule, fire, error))
        return answers


def _refused(schedule: Schedule, fire: Fire, error: Exception) -> Skipped:
    _log.error("schedule %r: the occurrence of %s cannot be stored: %s", schedule.name, fire.wall, error)
    return Skipped("refused", fire.at, fire.at, 1, str(error)[:500])


def _tell_skipped(operations: QueueOperations, schedule: Schedule, skipped: Iterable[Skipped]) -> None:
    for one in skipped:
        operations.report_skipped_fires(one.fires)
        _log.log(
            logging.INFO if one.why == "overlap" else logging.WARNING,
            "schedule %r: %d fires from %s to %s have no occurrence of their own: %s%s",
            schedule.name, one.fires, one.first.isoformat(), one.last.isoformat(), one.why,
            "" if one.detail is None else f" ({one.detail})",
        )  # fmt: skip
