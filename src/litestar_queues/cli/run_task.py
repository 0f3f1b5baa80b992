"""`litestar queues run-task`: one task in this process, with an exit code that says what became of it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial

import click
from litestar import Litestar

from litestar_queues.cli.group import command
from litestar_queues.execution.process import (
    CannotStart,
    Queues,
    TaskOrder,
    checked_fence,
    checked_id,
    end_within,
    log_to_stderr,
    queues_of,
    run_in_process,
    run_signals,
)
from litestar_queues.execution.remote import WAIT_FOR_STORE, RemoteExit, log_end
from litestar_queues.worker.supervisor import Signals, is_worker_process

__all__ = ("run_task_command",)


@command("run-task")
@click.argument("task_id", metavar="ID")
@click.option("--fence", default="", metavar="N", help="The fence of the task's reservation, for a dispatched task.")
@click.option("--execution-ref", metavar="REF", help="The whole reference of this run; stored with the task.")
@click.option(
    "--wait-for-store",
    type=click.FloatRange(min=0),
    default=WAIT_FOR_STORE,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for a store that cannot be reached.",
)
def run_task_command(app: Litestar, task_id: str, fence: str, execution_ref: str | None, wait_for_store: float) -> None:
    """Claim one task by its id, run it here, and exit.

    Without a fence, a task that waits or is dispatched is claimed as it stands. With one, it is claimed only if it is still
    dispatched under that reservation. SIGTERM or SIGINT interrupts the task, and gives it back.

    Exit codes: 0 it completed or snoozed; 1 it failed, was given back, or the store could not be reached; 2 no id; 3 no
    possible id or fence; 4 it is not stored; 5 no task of its name is registered; 6 it is not this process's to run, or not any
    more; 7 it was cancelled; 8 the queues cannot be used.
    """
    signals = run_signals()
    signals.install()
    owns_process = is_worker_process("run-task")
    try:
        code = _run(
            app,
            signals,
            lambda: TaskOrder(
                checked_id(task_id, "ID"), checked_fence(fence, "--fence"), execution_ref or None, wait_for_store
            ),
        )
        if owns_process:
            end_within(5.0, code)
        sys.exit(code)
    finally:
        if owns_process:
            signals.ignore()
        else:  # a test, or a script, which goes on
            signals.restore()


def _run(app: Litestar, signals: Signals, order: Callable[[], TaskOrder]) -> RemoteExit:
    try:
        return run_in_process(partial(_queues, app), order(), signals)
    except CannotStart as error:
        log_to_stderr()
        log_end(error.code, "", str(error))
        return error.code


async def _queues(app: Litestar) -> Queues:
    """The queues of the application.

    Raises:
        CannotStart: It has none.
    """
    found = queues_of(app)
    if found is None:
        raise CannotStart(
            RemoteExit.NO_CONFIGURATION,
            "this application has no queues: give it a QueuePlugin, Litestar(plugins=[QueuePlugin(QueueConfig(...))])",
        )
    return found
