"""`service.schedules`: make, change, pause, resume, remove and look at schedules."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from litestar_queues.calls import AnyTask, make_call
from litestar_queues.clock import since_boot
from litestar_queues.errors import InvalidScheduleError, QueueError, ScheduleNotFoundError
from litestar_queues.lifecycle import State
from litestar_queues.loops import HomeLoop, carried
from litestar_queues.options import new_id
from litestar_queues.records import TaskRecord
from litestar_queues.result import TaskResult
from litestar_queues.schedules.checking import checked_call, definition_of
from litestar_queues.schedules.deciding import has_due
from litestar_queues.schedules.firing import fire_due
from litestar_queues.schedules.model import (
    PREFIX,
    Definition,
    Occurrence,
    Schedule,
    Skipped,
    Template,
    read_all,
    read_schedule,
    record_name,
    write_schedule,
)
from litestar_queues.schedules.options import ScheduleSettings, split_options
from litestar_queues.schedules.previewing import Previewed, preview
from litestar_queues.schedules.spec import ScheduleSpec
from litestar_queues.schedules.syncing import Declared, is_gone, number_of
from litestar_queues.task import TaskCall

if TYPE_CHECKING:
    from litestar_queues.service import QueueService

__all__ = ("ScheduleInfo", "Schedules")

_log = logging.getLogger("litestar_queues")
_FRESH = 15.0
"""For so many seconds what was read may be acted on: after that, others may have dealt with it."""
_BESIDE = 20
"""How many occurrences are known to be active beside the latest one."""
_TRIES = 20
"""How often a change is tried again when the schedule moves under it."""


class ScheduleInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule, as it was at the time of the call.

    Attributes:
        name: Its name.
        task: The name of the task that it enqueues.
        queue: Where.
        definition: Everything that was said of it.
        from_code: Whether the code declares it; otherwise it was made at run time.
        paused_at: Since when it has been paused.
        removed_at: When it was removed.
        next_fire: The moment of its next fire, in UTC; None where it has none.
        last: Its latest occurrence.
        last_status: The state of that; None where retention has deleted it.
        waiting: How many fires wait for the end of the latest occurrence (`overlap="queue"`).
        skipped: Fires without an occurrence of their own, and why; the latest last.
        enqueued: How many occurrences there have been.
    """

    name: str
    task: str
    queue: str
    definition: Definition
    from_code: bool
    paused_at: datetime | None
    removed_at: datetime | None
    next_fire: datetime | None
    last: Occurrence | None
    last_status: State | None
    waiting: int
    skipped: tuple[Skipped, ...]
    enqueued: int

    def to_dict(self) -> dict[str, Any]:
        """Everything as values that JSON has, defaults included."""
        found: dict[str, Any] = _plain(self)
        definition = found.pop("definition")
        return {**found, "when": str(self.definition.spec), **definition}


def _plain(value: Any) -> Any:
    """As `msgspec.to_builtins`, which leaves out the defaults that the stored structs leave out."""
    if isinstance(value, msgspec.Struct):
        return {name: _plain(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, tuple):
        return [_plain(one) for one in value]  # pyright: ignore[reportUnknownVariableType]  # whatever is in a struct
    return msgspec.to_builtins(value)


class Schedules:
    """The schedules of an open service.

    They are kept in the store. Workers look there, and enqueue a task at each fire. What is changed here holds from the
    moment of the call: fires that were due until then are enqueued as it was before.
    """

    def __init__(self, service: QueueService) -> None:
        self._service = service

    @property
    def home(self) -> HomeLoop | None:
        """The event loop of the service. The methods may be called from other loops as well."""
        return self._service.home

    @carried
    async def list(self, *, removed: bool = False) -> Sequence[ScheduleInfo]:
        """All schedules, by name; those that were removed, too, where wanted."""
        found = [one for one in (await self._read_all()).values() if removed or one.removed_at is None]
        return await self._views(sorted(found, key=lambda one: one.name))

    @carried
    async def get(self, name: str, /) -> ScheduleInfo | None:
        """A schedule by name; None where there is none, or none any more."""
        found = await self._read(name)
        if found is None or found.removed_at is not None:
            return None
        (view,) = await self._views([found])
        return view

    @carried
    async def create(self, task: AnyTask, /, *args: Any, name: str | None = None, **options: Any) -> ScheduleInfo:
        """Make a schedule, which fires from now on.

        `await service.schedules.create(report, "daily", cron="0 3 * * *", timezone="Europe/Berlin", name="daily")`

        Args:
            task: The task, a template, a call of it, or its registered name.
            *args: Its arguments.
            name: The schedule's; the task's unless given.
            **options: Keyword arguments of the task, its options (`TaskOptions`), and those of the schedule
                (`ScheduleSettings`).

        Raises:
            InvalidScheduleError: The options contradict each other or mean no time that comes; or there is a schedule of this
                name already, which `change` changes.
            InvalidTaskError: The arguments do not fit.
            UnknownTaskError: No task of this name is registered here.
        """
        settings, others = split_options(options)
        call = make_call(self._service.registry, task, args, others)
        name = name or call.task.name
        definition = self._definition(name, call, settings)

        def create(before: Schedule | None, now: datetime) -> Schedule:
            if before is not None and before.removed_at is None:
                raise InvalidScheduleError(
                    f"there is a schedule {name!r} already: change it, or give the new one another name"
                )
            return Schedule(
                name=name, version=0 if before is None else before.version, definition=definition, cursor=now
            )

        return await self._change(name, create)

    @carried
    async def change(self, name: str, /, **options: Any) -> ScheduleInfo:
        """Change when a schedule fires, and what it does about fires that were missed or overlap; see `ScheduleSettings`.

        What is not said stays. A schedule of the code stays as it is changed here, until the code says something else of it.

        Raises:
            ScheduleNotFoundError: There is none of this name.
            InvalidScheduleError: The options contradict each other, or mean no time that comes.
        """
        settings, others = split_options(options)
        if others or settings == ScheduleSettings():
            raise InvalidScheduleError(
                f"change takes {', '.join(ScheduleSettings.__struct_fields__)}, and not {', '.join(others) or 'nothing'}: to "
                "change the task, its arguments or its options, remove the schedule and make another one"
            )

        def change(before: Schedule | None, now: datetime) -> Schedule:
            found = self._present(name, before)
            return found.evolve(definition=settings.over(found.definition), cursor=max(now, found.cursor))

        return await self._change(name, change)

    @carried
    async def pause(self, name: str, /) -> ScheduleInfo:
        """Let a schedule not fire any more, until it is resumed. Harmless when repeated.

        Raises:
            ScheduleNotFoundError: There is none of this name.
        """

        def pause(before: Schedule | None, now: datetime) -> Schedule:
            found = self._present(name, before)
            return found if found.paused_at is not None else found.evolve(paused_at=now)

        return await self._change(name, pause)

    @carried
    async def resume(self, name: str, /) -> ScheduleInfo:
        """Let a paused schedule fire again. Fires of the time in which it was paused are not caught up with.

        Raises:
            ScheduleNotFoundError: There is none of this name.
        """

        def resume(before: Schedule | None, now: datetime) -> Schedule:
            found = self._present(name, before)
            return found if found.paused_at is None else found.evolve(paused_at=None, cursor=max(now, found.cursor))

        return await self._change(name, resume)

    @carried
    async def remove(self, name: str, /) -> ScheduleInfo:
        """Remove a schedule. Its occurrences stay. One that the code declares stays removed until the code changes it.

        Raises:
            ScheduleNotFoundError: There is none of this name.
        """

        def remove(before: Schedule | None, now: datetime) -> Schedule:
            return self._present(name, before).evolve(removed_at=now, waiting=())

        backend = self._service.operations.backend
        record = (await backend.read_records(record_name(name))).get(record_name(name))
        if record is not None and read_schedule(record) is None:
            nothing = Definition(template=Template(task="?"), spec=ScheduleSpec(interval=86400.0))
            now = self._service.clock.now()
            made = Schedule(name=name, version=record.version, definition=nothing, cursor=now, removed_at=now)
            await backend.write_records([write_schedule(made)])
            (view,) = await self._views([made])
            return view
        return await self._change(name, remove)

    @carried
    async def run_now(self, name: str, /) -> TaskResult[Any]:
        """Enqueue an occurrence at once, also where the schedule is paused or the last occurrence is still active.

        Raises:
            ScheduleNotFoundError: There is none of this name.
        """
        service, now = self._service, self._service.clock.now()
        found = self._present(name, await self._read(name))
        template = found.definition.template
        answer = await service.operations.enqueue(template.new_task(name, new_id(), now.isoformat(), now, now))
        if answer.is_new:
            last = Occurrence(answer.record.id, now, answer.record.created_at)

            def note(before: Schedule | None, _now: datetime) -> Schedule:
                current = self._present(name, before)
                beside = current.beside if current.last is None else (*current.beside, current.last.id)
                return current.evolve(last=last, enqueued=current.enqueued + 1, beside=beside[-_BESIDE:])

            try:
                await self._change(name, note)
            except ScheduleNotFoundError:  # it was removed meanwhile, and the task runs all the same
                _log.info("schedule %r was removed while it was run", name)
        return TaskResult(service, answer.record, is_new=answer.is_new)

    @carried
    async def preview(
        self, name: str, /, count: int = 10, *, after: datetime | None = None, stored: bool = False
    ) -> Sequence[Previewed]:
        """The next fires of a schedule, as the code declares it or else as it is stored; what the clocks change is noted.

        Args:
            name: The schedule's.
            count: How many.
            after: Fires later than this; now unless given.
            stored: As it is stored, whatever the code declares.

        Raises:
            ScheduleNotFoundError: There is none of this name.
        """
        declared = None if stored else self._service.registry.schedules.get(name)
        if declared is not None:
            spec = declared.settings.definition(Template(task=declared.call.task.name)).spec
        else:
            spec = self._present(name, await self._read(name)).definition.spec
        return preview(spec, self._service.clock.now() if after is None else after, count)

    @carried
    async def sync(self, *, force: bool = False) -> Sequence[str]:
        """Bring the schedules of the code into the store, as workers do when they start.

        Schedules of older code, which was replaced by newer code, stay as the newer code has them.

        Args:
            force: What this code says holds, also where it is older. For going back to it on purpose.

        Returns:
            The names of the schedules that were made, changed or removed.
        """
        declared = {
            one.name: Declared(one.name, self._definition(one.name, one.call, one.settings), one.module)
            for one in self._service.registry.schedules.values()
        }
        stored = await self._read_all()
        if not declared and not any(one.module is not None and one.removed_at is None for one in stored.values()):
            return []
        modules = frozenset(str(getattr(task, "__module__", "")) for task in self._service.registry.tasks())
        gone = [
            one.name
            for one in stored.values()
            if one.code is not None and one.name not in declared and is_gone(one.module or "", modules)
        ]
        number = await number_of(self._service.operations.backend, declared.values(), force=force)
        different = [one for one in declared.values() if _differs(stored.get(one.name), one)]
        # A set that is not the latest may still have something to bring: a process of it may have died before that.
        changed = [one.name for one in different if await self._declare(one, number.number)]
        changed += [name for name in gone if await self._undeclare(name, number.number)]
        if not number.is_latest:
            older = {name for name in gone if stored[name].removed_at is None} | {one.name for one in different}
            if older := older - set(changed):
                _log.warning(
                    "newer code has changed the schedules since, and they stay as it has them: %s. To go back to what this code "
                    "says, run `litestar queues schedules sync --force`",
                    ", ".join(sorted(older)),
                )
        return sorted(changed)

    async def _declare(self, declared: Declared, number: int) -> bool:
        code = declared.definition.fingerprint
        changed = False

        def declare(before: Schedule | None, now: datetime) -> Schedule | None:
            nonlocal changed
            changed = False
            if before is None:
                changed = True
                since = now - self._service.clock.offset  # a test that has travelled had it before that
                return Schedule(
                    name=declared.name, definition=declared.definition, cursor=since, module=declared.module, code=code,
                    number=number,
                )  # fmt: skip
            if before.number > number or before.code == code:
                return None
            if before.module is None and before.removed_at is None:
                _log.warning(
                    "schedule %r was made at run time, and the code declares another one of that name, which is left out: remove "
                    "the first, or rename the second",
                    declared.name,
                )
                return None
            changed = True
            cursor = before.cursor if before.definition.spec == declared.definition.spec else now
            return before.evolve(
                definition=declared.definition,
                cursor=max(now, before.cursor) if before.removed_at is not None else max(cursor, before.cursor),
                module=declared.module,
                code=code,
                number=number,
                removed_at=None,
            )

        await self._write(declared.name, declare)
        return changed

    async def _undeclare(self, name: str, number: int) -> bool:
        changed = False

        def undeclare(before: Schedule | None, now: datetime) -> Schedule | None:
            nonlocal changed
            changed = before is not None and before.number <= number and before.code is not None
            if before is None or not changed:
                return None
            return before.evolve(code=None, number=number, removed_at=before.removed_at or now, waiting=())

        await self._write(name, undeclare)
        return changed

    def _definition(self, name: str, call: TaskCall[Any], settings: ScheduleSettings) -> Definition:
        checked_call(name, call, settings)
        return definition_of(name, call, self._service.make_task(call), settings)

    async def _change(self, name: str, change: Callable[[Schedule | None, datetime], Schedule | None]) -> ScheduleInfo:
        stored = await self._write(name, change)
        if stored is None:
            raise ScheduleNotFoundError(self._unknown(name))
        (view,) = await self._views([stored])
        return view

    async def _write(
        self, name: str, change: Callable[[Schedule | None, datetime], Schedule | None]
    ) -> Schedule | None:
        """Change a schedule, against whatever else happens to it; fires that are due at the time of the call come first."""
        operations = self._service.operations
        # The time of the call, however long it takes: at each try another fire of a fast schedule would be due.
        now = self._service.clock.now()
        for _ in range(_TRIES):
            began = since_boot()
            found = await self._read(name)
            new = change(found, now)
            if new is None or new == found:
                return found
            if found is not None and has_due(found, now):
                await fire_due(operations, [found], now, partial(_is_fresh, began))
                continue
            if record_name(name) in await operations.backend.write_records([write_schedule(new)]):
                return new.evolve(version=new.version + 1)
        raise QueueError(f"schedule {name!r} could not be changed: it changed {_TRIES} times meanwhile; try again")

    async def _read(self, name: str) -> Schedule | None:
        record = (await self._service.operations.backend.read_records(record_name(name))).get(record_name(name))
        if record is None:
            return None
        if (found := read_schedule(record)) is None:
            raise QueueError(
                f"schedule {name!r} cannot be read: somebody edited its record, or a later version of litestar-queues wrote it. "
                "`litestar queues schedules remove` removes it; then it can be made again"
            )
        return found

    async def _read_all(self) -> dict[str, Schedule]:
        records = await self._service.operations.backend.read_records(PREFIX)
        return read_all(records)

    def _present(self, name: str, found: Schedule | None) -> Schedule:
        if found is None or found.removed_at is not None:
            raise ScheduleNotFoundError(self._unknown(name))
        return found

    def _unknown(self, name: str) -> str:
        return f"no schedule {name!r} is stored: `litestar queues schedules` lists those that are"

    async def _views(self, schedules: Sequence[Schedule]) -> Sequence[ScheduleInfo]:
        ids = [one.last.id for one in schedules if one.last is not None]
        known = await self._service.operations.backend.get(ids) if ids else {}
        return [_view(one, None if one.last is None else known.get(one.last.id)) for one in schedules]


def _is_fresh(since: float) -> bool:
    return since_boot() - since < _FRESH


def _view(schedule: Schedule, last: TaskRecord | None) -> ScheduleInfo:
    template, fire = schedule.definition.template, schedule.next_fire
    return ScheduleInfo(
        name=schedule.name,
        task=template.task,
        queue=template.queue,
        definition=schedule.definition,
        from_code=schedule.code is not None,
        paused_at=schedule.paused_at,
        removed_at=schedule.removed_at,
        next_fire=None if fire is None else fire.at,
        last=schedule.last,
        last_status=None if last is None else last.state,
        waiting=len(schedule.waiting),
        skipped=schedule.skipped,
        enqueued=schedule.enqueued,
    )


def _differs(stored: Schedule | None, declared: Declared) -> bool:
    return stored is None or stored.removed_at is not None or stored.code != declared.definition.fingerprint
