"""`litestar queues schedules` and `scheduler-health`: schedules, for operators."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, NoReturn, TypeVar

import click
import msgspec
from litestar import Litestar
from litestar.cli._utils import LitestarGroup
from rich.markup import escape
from rich.table import Table

from litestar_queues.cli.group import (
    EXIT_SOME_FAILED,
    command,
    fail,
    output,
    queue_plugin,
    queues_group,
    with_service,
)
from litestar_queues.clock import SystemClock
from litestar_queues.errors import InvalidTaskError, QueueError, ScheduleNotFoundError, UnknownTaskError
from litestar_queues.schedules.health import EXIT_LATE, SchedulerHealth, scheduler_health
from litestar_queues.schedules.managing import ScheduleInfo
from litestar_queues.schedules.model import Template
from litestar_queues.schedules.options import ScheduleSettings
from litestar_queues.schedules.previewing import Previewed, preview
from litestar_queues.service import QueueService
from litestar_queues.task import import_task_modules

__all__ = ("schedules_group",)

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

_json = click.option("--json", "as_json", is_flag=True, help="JSON, for machines.")
_names = click.argument("names", nargs=-1, required=True, metavar="NAME...")


def _when(function: F) -> F:
    """Give a command the options of a schedule."""
    for option in (
        click.option(
            "--misfire-grace", type=float, metavar="SECONDS", help="How late a fire may be found without being missed."
        ),
        click.option(
            "--overlap", type=click.Choice(["skip", "allow", "queue"]), help="While the last occurrence is active."
        ),
        click.option(
            "--catch-up-limit", type=int, metavar="N", help="How many fires `--catch-up all` catches up with."
        ),
        click.option("--catch-up", type=click.Choice(["skip", "once", "all"]), help="About fires that were missed."),
        click.option(
            "--jitter", type=float, metavar="SECONDS", help="How long after its fire an occurrence may begin."
        ),
        click.option("--timezone", metavar="ZONE", help="Whose wall clock the cron expression means; UTC by default."),
        click.option("--interval", type=float, metavar="SECONDS", help="How often."),
        click.option("--cron", metavar="EXPRESSION", help="When: five fields, or six with seconds first, or @daily."),
    ):
        function = option(function)
    return function


@click.group("schedules", cls=LitestarGroup, invoke_without_command=True)
@_json
@click.option("--removed", is_flag=True, help="Those that were removed, too.")
def schedules_group(ctx: click.Context, *, as_json: bool, removed: bool) -> None:
    """List schedules, and look after them.

    Without a command: each schedule with its last and its next fire, and what became of the last occurrence.
    """
    if ctx.invoked_subcommand is None:
        app: Litestar = ctx.obj.app
        _show(with_service(app, lambda service: service.schedules.list(removed=removed)), as_json=as_json)


queues_group.add_command(schedules_group)


def _command(name: str) -> Callable[[F], F]:
    """Make a function a command of the group; `app` is what Litestar has loaded."""

    def decorate(function: F) -> F:
        schedules_group.command(name)(function)
        return function

    return decorate


@_command("preview")
@click.argument("name", required=False)
@click.option("--count", type=click.IntRange(min=1, max=10_000), default=10, show_default=True, help="How many fires.")
@click.option("--stored", is_flag=True, help="As it is stored, whatever the code declares.")
@click.option(
    "--after", metavar="TIME", help="Fires later than this time, in ISO 8601 with its offset; now by default."
)
@_when
@_json
def preview_command(
    app: Litestar, name: str | None, count: int, after: str | None, *, stored: bool, as_json: bool, **options: Any
) -> None:
    """Show the next fires of a schedule, and what the changes of its clock do to them.

    With NAME: of the schedule as the code declares it, whether that was deployed or not, or else as it is stored. With --cron
    or --interval: of these.

    Exit codes: 0; 1 there is no such schedule, or it means no time that comes; 2 the queues cannot be used.
    """
    begin = _time(after)
    said = {option: value for option, value in options.items() if value is not None}
    if (name is None) == (not said):
        fail("preview takes the NAME of a schedule, or --cron or --interval, and not both")
    plugin = queue_plugin(app)
    try:
        import_task_modules(plugin.config.task_modules)
        declared = None if stored else plugin.registry.schedules.get(name or "")
        settings = ScheduleSettings(**said) if said else None if declared is None else declared.settings
        if settings is not None:
            spec = settings.definition(Template(task="preview")).spec
            found: Sequence[Previewed] = preview(spec, begin or SystemClock().now(), count)
        else:
            found = with_service(
                app, lambda service: _reasoned(service.schedules.preview(name or "", count, after=begin, stored=stored))
            )
    except _Refused as refused:
        _refuse(refused.reason)
    except InvalidTaskError as error:
        _refuse(error)
    except QueueError as error:
        fail(str(error))
    if as_json:
        click.echo(msgspec.json.encode(found).decode())
        return
    table = Table("fire", "UTC", "")
    for one in found:
        local = f"{one.local:%a %Y-%m-%d %H:%M:%S} {one.local:%z}"
        table.add_row(
            local, f"{one.at:%Y-%m-%d %H:%M:%S}", escape(one.note or ""), style="yellow" if one.note else None
        )
    output().print(table)


@_command("create")
@click.argument("name")
@click.argument("task")
@click.option("--args", "arguments", default="[]", metavar="JSON", help="The task's arguments: a list.")
@click.option("--kwargs", "keywords", default="{}", metavar="JSON", help="Its keyword arguments: an object.")
@click.option("--queue", metavar="NAME", help="Where its occurrences are enqueued.")
@click.option("--priority", type=int, metavar="N")
@click.option("--retries", type=int, metavar="N", help="How many attempts may follow the first.")
@_when
@_json
def create_command(
    app: Litestar,
    name: str,
    task: str,
    *,
    arguments: str,
    keywords: str,
    as_json: bool,
    **options: Any,
) -> None:
    """Make a schedule NAME of the task TASK, which fires from now on.

    Exit codes: 0; 1 it cannot be made, with the reason; 2 the queues cannot be used.
    """
    args = _decoded("--args", arguments, list[Any])
    kwargs = _decoded("--kwargs", keywords, dict[str, Any])

    async def create(service: QueueService) -> ScheduleInfo:
        call = service.registry.get(task).call(*args, **kwargs)
        said = {option: value for option, value in options.items() if value is not None}
        return await service.schedules.create(call, name=name, **said)

    _change(app, [create], as_json=as_json)


@_command("change")
@click.argument("name")
@_when
@_json
def change_command(app: Litestar, name: str, *, as_json: bool, **options: Any) -> None:
    """Change when a schedule fires, and what it does about fires that were missed or overlap.

    What is not said stays. A schedule of the code stays as it is changed here until the code says something else of it.

    Exit codes: 0; 1 it cannot be changed, with the reason; 2 the queues cannot be used.
    """
    said = {option: value for option, value in options.items() if value is not None}
    _change(app, [lambda service: service.schedules.change(name, **said)], as_json=as_json)


@_command("pause")
@_names
@_json
def pause_command(app: Litestar, names: tuple[str, ...], *, as_json: bool) -> None:
    """Let schedules not fire any more, until they are resumed.

    Exit codes: 0; 1 some are not there; 2 the queues cannot be used.
    """
    _change(app, [_named(lambda service, name: service.schedules.pause(name), name) for name in names], as_json=as_json)


@_command("resume")
@_names
@_json
def resume_command(app: Litestar, names: tuple[str, ...], *, as_json: bool) -> None:
    """Let paused schedules fire again. What they missed meanwhile is not caught up with.

    Exit codes: 0; 1 some are not there; 2 the queues cannot be used.
    """
    _change(
        app, [_named(lambda service, name: service.schedules.resume(name), name) for name in names], as_json=as_json
    )


@_command("remove")
@_names
@_json
def remove_command(app: Litestar, names: tuple[str, ...], *, as_json: bool) -> None:
    """Remove schedules. Their occurrences stay. One of the code stays removed until the code changes it.

    Exit codes: 0; 1 some are not there; 2 the queues cannot be used.
    """
    _change(
        app, [_named(lambda service, name: service.schedules.remove(name), name) for name in names], as_json=as_json
    )


@_command("run")
@click.argument("name")
def run_now_command(app: Litestar, name: str) -> None:
    """Enqueue an occurrence at once, also of a paused schedule; prints its id.

    Exit codes: 0; 1 there is no such schedule; 2 the queues cannot be used.
    """
    try:
        result = with_service(app, lambda service: _reasoned(service.schedules.run_now(name)))
    except _Refused as refused:
        _refuse(refused.reason)
    if not result.is_new:
        click.echo(f"Error: an active task holds its key: {result.id}", err=True)
        sys.exit(EXIT_SOME_FAILED)
    click.echo(result.id)


@_command("sync")
@click.option("--force", is_flag=True, help="What this code says holds, also where newer code has replaced it.")
@_json
def sync_command(app: Litestar, *, as_json: bool, force: bool) -> None:
    """Bring the schedules of the code into the store, as workers do when they start.

    Older code that starts again changes nothing. To go back to older code on purpose, say --force.
    """
    changed = with_service(app, lambda service: service.schedules.sync(force=force))
    if as_json:
        click.echo(msgspec.json.encode(changed).decode())
    else:
        click.echo("\n".join(changed) if changed else "Nothing has changed.")


@command("scheduler-health")
@click.option(
    "--minutes",
    type=click.FloatRange(min=0, min_open=True),
    default=5.0,
    show_default=True,
    help="How long ago the last look of the scheduler may be.",
)
@_json
def health_command(app: Litestar, minutes: float, *, as_json: bool) -> None:
    """Say whether schedules are fired, for monitoring.

    Exit codes: 0 they are; 2 the queues cannot be used; 3 no worker has ever fired schedules; 4 the last look is older than
    --minutes, or a fire is due and late.
    """
    health = with_service(app, lambda service: scheduler_health(service, timedelta(minutes=minutes)))
    click.echo(msgspec.json.encode(health.to_dict()).decode() if as_json else _told(health))
    sys.exit(health.exit_code)


def _told(health: SchedulerHealth) -> str:
    if health.leader is None:
        return "No worker has ever fired schedules: start one, `litestar queues run`."
    looked = f"{health.leader.worker} looked at {health.leader.at:%Y-%m-%d %H:%M:%S} UTC"
    if health.exit_code == EXIT_LATE:
        late = ", ".join(health.late[:10])
        return f"Schedules are not fired in time: {looked}{f'; late: {late}' if late else ''}."
    return f"Schedules are fired: {looked}."


class _Refused(Exception):  # carries a reason through `with_service`
    def __init__(self, reason: QueueError) -> None:
        super().__init__(str(reason))
        self.reason = reason


async def _reasoned(awaited: Awaitable[T]) -> T:
    """Let what is the user's to mend past `with_service`, which takes every other error for unusable queues."""
    try:
        return await awaited
    except (InvalidTaskError, ScheduleNotFoundError, UnknownTaskError) as error:
        raise _Refused(error) from error


def _named(
    change: Callable[[QueueService, str], Awaitable[ScheduleInfo]], name: str
) -> Callable[[QueueService], Awaitable[ScheduleInfo]]:
    return lambda service: change(service, name)


def _change(
    app: Litestar, changes: Sequence[Callable[[QueueService], Awaitable[ScheduleInfo]]], *, as_json: bool
) -> None:
    """Make the changes, show what came of them, and exit with 1 if one could not be made."""
    reasons: list[str] = []

    async def act(service: QueueService) -> list[ScheduleInfo]:
        changed: list[ScheduleInfo] = []
        for change in changes:
            try:
                changed.append(await _reasoned(change(service)))
            except _Refused as refused:
                reasons.append(str(refused))
        return changed

    changed = with_service(app, act)
    if changed or as_json:
        _show(changed, as_json=as_json)
    for reason in reasons:
        click.echo(f"Error: {reason}", err=True)
    if reasons:
        sys.exit(EXIT_SOME_FAILED)


def _show(found: Sequence[ScheduleInfo], *, as_json: bool) -> None:
    if as_json:
        click.echo(msgspec.json.encode([one.to_dict() for one in found]).decode())
        return
    table = Table(
        "schedule", "when", "task", "queue", "next fire (UTC)", "last fire (UTC)", "last occurrence", "skipped"
    )
    for one in found:
        if one.removed_at is not None:
            following = f"removed at {one.removed_at:%Y-%m-%d %H:%M:%S}"
        elif one.paused_at is not None:
            following = f"paused since {one.paused_at:%Y-%m-%d %H:%M:%S}"
        else:
            following = "never" if one.next_fire is None else f"{one.next_fire:%Y-%m-%d %H:%M:%S}"
        last = one.skipped[-1] if one.skipped else None
        table.add_row(
            escape(one.name),
            escape(str(one.definition.spec)),
            escape(one.task),
            escape(one.queue),
            following,
            "" if one.last is None else f"{one.last.fire:%Y-%m-%d %H:%M:%S}",
            "" if one.last is None else "deleted" if one.last_status is None else one.last_status.value,
            "" if last is None else f"{last.why}: {last.fires} until {last.last:%Y-%m-%d %H:%M:%S}",
        )
    output().print(table)


def _refuse(error: QueueError) -> NoReturn:
    click.echo(f"Error: {error}", err=True)
    sys.exit(EXIT_SOME_FAILED)


def _time(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        fail(f"--after is a time in ISO 8601, for example 2026-03-29T00:00+01:00, not {text!r}")
    if found.utcoffset() is None:
        fail(f"--after needs an offset from UTC: {text}Z, for example")
    return found


def _decoded(option: str, text: str, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.MsgspecError as error:
        fail(f"{option} is not what it has to be, as JSON: {error}")
