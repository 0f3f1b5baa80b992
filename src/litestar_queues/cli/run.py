"""`litestar queues run`: a worker process."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys
import threading
import time

import click
from litestar import Litestar

from litestar_queues.cli.group import command, queue_plugin, shared_service
from litestar_queues.errors import QueueError
from litestar_queues.serving import HasQueues
from litestar_queues.worker.supervisor import EXIT_DRAINED, EXIT_FORCED, EXIT_STARTUP, run_until_signalled
from litestar_queues.worker.worker import Worker, WorkerExit

__all__ = ("run_command",)

_log = logging.getLogger("litestar_queues")
_NO_WINDOWS = (
    "Windows is not supported: a worker drains on POSIX signals. Run it in the Windows Subsystem for Linux (WSL)."
)
_LAST = 5.0
"""Seconds that the process gets to end by itself once its worker has left."""


@command("run")
@click.option("--queue", "queues", multiple=True, metavar="NAME", help="A queue to serve; repeatable. All by default.")
@click.option("--max-concurrency", type=click.IntRange(min=1), metavar="N", help="Tasks at once.")
@click.option(
    "--drain-timeout",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="How long tasks may go on after a signal, before they are given back.",
)
def run_command(
    app: Litestar, queues: tuple[str, ...], max_concurrency: int | None, drain_timeout: float | None
) -> None:
    """Run a worker until SIGTERM or SIGINT.

    The first signal drains it: it claims nothing more, and leaves when its tasks have ended; those that have not when
    the drain timeout is over are given back. The second signal gives all of them back at once. A task that is given back
    is pending again, and has spent no attempt.

    Exit codes: 0 drained; 1 tasks were given back, or outcomes could not be stored; 2 could not start.
    """
    if sys.platform == "win32":
        click.echo(f"Error: {_NO_WINDOWS}", err=True)
        sys.exit(EXIT_STARTUP)
    plugin = queue_plugin(app)
    _log_to_stderr()
    try:
        ended = asyncio.run(_work(plugin, queues or None, max_concurrency, drain_timeout))
    except _StartupError as error:
        cause = error.__cause__
        if not isinstance(cause, QueueError):
            _log.error("the worker cannot start", exc_info=cause)
        click.echo(f"Error: the worker cannot start: {cause}", err=True)
        sys.exit(EXIT_STARTUP)
    sys.exit(_code(ended))


async def _work(
    plugin: HasQueues, queues: tuple[str, ...] | None, max_concurrency: int | None, drain_timeout: float | None
) -> WorkerExit:
    opening = shared_service(plugin)
    try:
        service = await opening.__aenter__()
    except Exception as error:
        raise _StartupError from error
    try:
        worker = Worker(service, queues=queues, max_concurrency=max_concurrency, drain_timeout=drain_timeout)
        # What was imported stays. Each full collection would look through it, for 40 ms, a quarter of a busy worker's time.
        gc.collect()
        gc.freeze()
        ended = await run_until_signalled(worker)
    finally:
        await opening.__aexit__(None, None, None)
    click.echo(_farewell(ended), err=True)
    _end_within(_LAST, _code(ended))
    return ended


class _StartupError(Exception):
    """The queues could not be opened; the cause says why."""


def _code(ended: WorkerExit) -> int:
    return EXIT_DRAINED if ended.drained else EXIT_FORCED


def _farewell(ended: WorkerExit) -> str:
    if ended.drained:
        return "The worker has drained."
    said = [
        f"{what}: {len(ids)} ({', '.join(ids[:20])}{', ...' if len(ids) > 20 else ''})"
        for what, ids in (("given back", ended.given_back), ("left for stale recovery", ended.unsettled))
        if ids
    ]
    return f"The worker has left before its tasks ended; {'; '.join(said)}"


def _end_within(seconds: float, code: int) -> None:
    """Make sure that the process ends, with this code.

    Python waits at exit for threads that are not its to stop: those of `asyncio.to_thread` in a task that was given
    back, or of a library. That another process can run the task by now is a reason to go.
    """

    def end() -> None:
        time.sleep(seconds)
        click.echo("Threads that the tasks started still run: the process ends without them.", err=True)
        os._exit(code)

    threading.Thread(target=end, name="litestar-queues-end", daemon=True).start()


def _log_to_stderr() -> None:
    """Let a worker say what it does, unless the application's logging says how."""
    if not logging.getLogger().handlers:
        logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    if _log.level == logging.NOTSET and not _log.isEnabledFor(logging.INFO):
        _log.setLevel(logging.INFO)
