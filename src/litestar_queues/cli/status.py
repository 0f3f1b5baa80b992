"""`litestar queues status`: how many tasks are where."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import click
import msgspec
from litestar import Litestar
from rich.markup import escape
from rich.table import Table

from litestar_queues.backends.base import RemarkedBackend
from litestar_queues.cli.group import command, output, with_service
from litestar_queues.lifecycle import State
from litestar_queues.records import Dispatched, Matching, Stale, TaskRecord, is_silent, queue_names, seconds
from litestar_queues.schedules.leader import read_leader
from litestar_queues.service import QueueService
from litestar_queues.worker.troubles import read_troubles

__all__ = ("status_command",)

_STALE_MAX = 1000
_DISPATCHED_MAX = 1000
_COLOURS = {State.RUNNING: "cyan", State.COMPLETED: "green", State.FAILED: "red", State.EXPIRED: "yellow"}


@command("status")
@click.option("--queue", "queues", multiple=True, metavar="NAME", help="Only this queue; repeatable.")
@click.option("--json", "as_json", is_flag=True, help="JSON, for machines.")
def status_command(app: Litestar, queues: tuple[str, ...], *, as_json: bool) -> None:
    """Show how many tasks of each queue are in each state.

    Dispatched tasks run elsewhere: reserved ones wait for the start of their run, silent ones have not been heard of for
    longer than they may, and the next look of a worker that knows their execution backend settles what becomes of them.

    Stale tasks are running ones whose worker has been silent for longer than its own window; the next maintenance of any
    worker takes them over. Where their number stays, no worker runs.
    """
    status = with_service(app, lambda service: _look(service, queues))
    if as_json:
        click.echo(msgspec.json.encode(status).decode())
    else:
        _show(status)


async def _look(service: QueueService, queues: tuple[str, ...]) -> dict[str, Any]:
    wanted = queue_names(queues) if queues else None
    backend = service.operations.backend
    now = service.clock.now()
    stats = await service.stats(wanted)
    next_due = await backend.next_due(wanted)
    stale = await backend.find(
        Stale(at=now, window=seconds(service.config.worker_stale_after).total_seconds()), _STALE_MAX
    )
    dispatched = await backend.find(Matching(states=(State.DISPATCHED,), queues=wanted), _DISPATCHED_MAX)
    none = dict.fromkeys(State, 0)
    return {
        "backend": backend.name,
        "at": now,
        "queues": {name: stats.queues.get(name, none) for name in sorted({*stats.queues, *(wanted or ())})},
        "totals": stats.totals,
        "next_due": next_due,
        "stale": sum(1 for record in stale if wanted is None or record.queue in wanted),
        "dispatched": _by_execution(dispatched, now),
        "scheduler": await read_leader(backend),
        "troubles": await read_troubles(backend, now),
        "remarks": list(await backend.remarks()) if isinstance(backend, RemarkedBackend) else [],
    }


def _by_execution(records: Sequence[TaskRecord], now: datetime) -> list[dict[str, Any]]:
    """What is dispatched where: of many tasks, the newest."""
    rows: dict[tuple[str, str | None], dict[str, Any]] = {}
    for one in records:
        row = rows.setdefault(
            (one.execution_backend, one.execution_profile),
            {
                "execution_backend": one.execution_backend,
                "execution_profile": one.execution_profile,
                "tasks": 0,
                "reserved": 0,
                "silent": 0,
            },
        )
        row["tasks"] += 1
        row["reserved"] += one.execution_ref is None
        row["silent"] += is_silent(one, Dispatched(at=now))
    return [rows[key] for key in sorted(rows, key=lambda key: (key[0], key[1] or ""))]


def _show(status: dict[str, Any]) -> None:
    console = output()
    title = escape(f"{status['backend']}, {status['at']:%Y-%m-%d %H:%M:%S} UTC")
    table = Table("queue", title=title, title_justify="left")
    for state in State:
        table.add_column(state.value, justify="right", style=_COLOURS.get(state))
    for name, counts in status["queues"].items():
        table.add_row(escape(name), *(str(counts[state]) for state in State))
    table.add_section()
    table.add_row("all", *(str(status["totals"][state]) for state in State), style="bold")
    console.print(table)
    if status["next_due"] is not None:
        console.print(f"The next scheduled task comes due at {status['next_due']:%Y-%m-%d %H:%M:%S} UTC.")
    for row in status["dispatched"]:
        profile = "" if row["execution_profile"] is None else f" ({row['execution_profile']})"
        where = escape(f"{row['execution_backend']}{profile}")
        silent = f", [yellow]{row['silent']} silent[/]" if row["silent"] else ""
        console.print(f"{row['tasks']} tasks are dispatched to {where}: {row['reserved']} without a run yet{silent}.")
    if (leader := status["scheduler"]) is not None:
        console.print(
            f"Schedules are fired by worker {escape(leader.worker)}, which looked at {leader.at:%Y-%m-%d %H:%M:%S} UTC."
        )
    if status["stale"]:
        console.print(f"[red]{status['stale']} running tasks are stale:[/] their workers are gone, or cannot write.")
    for worker, trouble in status["troubles"].items():
        if trouble.outcomes_waiting:
            console.print(
                f"[red]{trouble.outcomes_waiting} outcomes wait[/] in worker {escape(worker)}, since "
                f"{trouble.waiting_since:%Y-%m-%d %H:%M:%S} UTC: the store does not take them. Its log says why."
            )
        if trouble.abandoned:
            console.print(
                f"[red]{trouble.abandoned} calls do not end[/] in worker {escape(worker)}, and hold its threads: it claims "
                "less. Restart it, or set worker_max_abandoned."
            )
    for remark in status["remarks"]:
        console.print(f"[yellow]Note:[/] {escape(remark)}.")
