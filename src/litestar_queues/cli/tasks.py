"""`litestar queues list, show, retry, cancel`: single tasks, for operators."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import click
import msgspec
from litestar import Litestar
from rich.markup import escape
from rich.table import Table

from litestar_queues.cli.group import EXIT_SOME_FAILED, command, output, with_service
from litestar_queues.errors import TaskNotFoundError, TaskStateError
from litestar_queues.lifecycle import State
from litestar_queues.records import Matching
from litestar_queues.result import TaskResult
from litestar_queues.service import QueueService

__all__ = ("cancel_command", "list_command", "retry_command", "show_command")

_ids = click.argument("ids", nargs=-1, required=True, metavar="ID...")
_json = click.option("--json", "as_json", is_flag=True, help="JSON, for machines.")


@command("retry")
@_ids
@_json
def retry_command(app: Litestar, ids: tuple[str, ...], *, as_json: bool) -> None:
    """Let failed or cancelled tasks run again, with a fresh budget of attempts.

    Exit codes: 0 all of them will; 1 some will not, each with its reason; 2 the queues cannot be used.
    """
    _change(app, ids, lambda service, id_: service.retry(id_), as_json=as_json)


@command("cancel")
@_ids
@_json
def cancel_command(app: Litestar, ids: tuple[str, ...], *, as_json: bool) -> None:
    """Cancel tasks. One that runs is stopped at its worker's next heartbeat.

    Exit codes: 0 all of them are; 1 some are not, each with its reason; 2 the queues cannot be used.
    """
    _change(app, ids, lambda service, id_: service.cancel(id_), as_json=as_json)


@command("list")
@click.option(
    "--state", "states", multiple=True, type=click.Choice([state.value for state in State]), help="Repeatable."
)
@click.option("--queue", "queues", multiple=True, metavar="NAME", help="Repeatable.")
@click.option("--task", "names", multiple=True, metavar="NAME", help="The name of a task's function; repeatable.")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True)
@_json
def list_command(
    app: Litestar,
    states: tuple[str, ...],
    queues: tuple[str, ...],
    names: tuple[str, ...],
    limit: int,
    *,
    as_json: bool,
) -> None:
    """List tasks, the newest first."""
    query = Matching(states=tuple(map(State, states)) or None, queues=queues or None, names=names or None)

    async def look(service: QueueService) -> list[TaskResult[Any]]:
        return [TaskResult(service, one) for one in await service.operations.backend.find(query, limit)]

    found = with_service(app, look)
    if as_json:
        _print_json([one.to_dict() for one in found])
        return
    table = Table("id", "task", "queue", "runs on", "state", "attempt", "created (UTC)", "error")
    for one in found:
        record = one.record
        table.add_row(
            record.id,
            escape(record.name),
            escape(record.queue),
            escape("/".join(filter(None, (record.execution_backend, record.execution_profile)))),
            record.state.value,
            f"{record.attempt}/{record.max_attempts}",
            f"{record.created_at:%Y-%m-%d %H:%M:%S}",
            escape(str(one.error or "")[:60]),
        )
    output().print(table)


@command("show")
@click.argument("task_id", metavar="ID")
@_json
def show_command(app: Litestar, task_id: str, *, as_json: bool) -> None:
    """Show everything that is stored of a task.

    Exit codes: 0; 1 it is not stored; 2 the queues cannot be used.
    """
    found = with_service(app, lambda service: service.get(task_id))
    if found is None:
        click.echo(f"Error: no task {task_id!r} is stored: it never was, or retention has deleted it", err=True)
        sys.exit(EXIT_SOME_FAILED)
    stored = found.to_dict()
    if as_json:
        _print_json(stored)
        return
    stored.pop("error")
    history = stored.pop("history")
    console = output()
    table = Table(show_header=False, box=None)
    table.add_column(style="cyan")
    table.add_column(overflow="fold")
    for name, value in stored.items():
        if value is not None:
            table.add_row(name, escape(value if isinstance(value, str) else msgspec.json.encode(value).decode()))
    entries = _listed(history)
    for number, entry in enumerate(entries):
        table.add_row("" if number else "history", escape(_told(entry)))
    if found.error is not None:
        table.add_row("error", escape(str(found.error)))
    console.print(table)
    if found.error is not None and found.error.traceback:
        console.print(escape(found.error.traceback), soft_wrap=True)


def _listed(history: Any) -> list[Any]:
    """The entries of a history; one that somebody edited is an entry of its own."""
    if history is None:
        return []
    if not isinstance(history, list):
        return [history]
    entries: list[Any] = history  # pyright: ignore[reportUnknownVariableType]  # whatever JSON is stored
    return entries


def _told(entry: Any) -> str:
    """An entry of a task's history in one line; one that somebody edited as it is."""
    match entry:
        case {"at": str(at), "attempt": int(attempt), "event": str(event), "type": type_, "message": message}:
            moment = at.partition("+")[0].partition(".")[0].replace("T", " ").removesuffix("Z")
            return " ".join(f"{moment} UTC, attempt {attempt}, {event}: {type_}: {message}".split())
        case _:
            return msgspec.json.encode(entry).decode()


def _change(
    app: Litestar,
    ids: Sequence[str],
    change: Callable[[QueueService, str], Awaitable[TaskResult[Any]]],
    *,
    as_json: bool,
) -> None:
    """Change each of the tasks, say what became of it, and exit with 1 if one could not be."""
    wanted = list(dict.fromkeys(ids))

    async def act(service: QueueService) -> list[dict[str, Any]]:
        return [await _outcome(service, id_, change) for id_ in wanted]

    outcomes = with_service(app, act)
    if as_json:
        _print_json(outcomes)
    for one in outcomes if not as_json else ():
        if one["ok"]:
            click.echo(f"{one['id']}: {one['state']}")
        else:
            click.echo(f"{one['id']}: Error: {one['reason']}", err=True)
    if not all(one["ok"] for one in outcomes):
        sys.exit(EXIT_SOME_FAILED)


async def _outcome(
    service: QueueService, id_: str, change: Callable[[QueueService, str], Awaitable[TaskResult[Any]]]
) -> dict[str, Any]:
    try:
        changed = await change(service, id_)
    except (TaskNotFoundError, TaskStateError) as error:
        return {"id": id_, "ok": False, "state": None, "reason": str(error)}
    return {"id": id_, "ok": True, "state": changed.status.value, "reason": None}


def _print_json(value: Any) -> None:
    click.echo(msgspec.json.encode(value).decode())
