"""`litestar queues run`: a worker process."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys
import threading
import time
from contextlib import AbstractAsyncContextManager
from typing import Any

import click
from litestar import Litestar

from litestar_queues.cli.group import command, queue_plugin, shared_service
from litestar_queues.errors import BackendUnavailableError, QueueError
from litestar_queues.execution.process import log_to_stderr
from litestar_queues.pauses import Backoffs
from litestar_queues.service import QueueService
from litestar_queues.serving import HasQueues
from litestar_queues.worker.exit import WorkerExit, some_of
from litestar_queues.worker.supervisor import (
    EARLY,
    EXIT_DRAINED,
    EXIT_FORCED,
    EXIT_STARTUP,
    Signals,
    is_worker_process,
    run_process,
    run_until_signalled,
    seconds_left,
)
from litestar_queues.worker.worker import Worker

__all__ = ("run_command",)

_log = logging.getLogger("litestar_queues")
_NO_WINDOWS = (
    "Windows is not supported: a worker drains on POSIX signals. Run it in the Windows Subsystem for Linux (WSL)."
)


@command("run")
@click.option("--queue", "queues", multiple=True, metavar="NAME", help="A queue to serve; repeatable. All by default.")
@click.option("--max-concurrency", type=click.IntRange(min=1), metavar="N", help="Tasks at once.")
@click.option(
    "--drain-timeout",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="How long tasks may go on after a signal, before they are given back.",
)
@click.option(
    "--wait-for-store",
    type=click.FloatRange(min=0),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for a store that cannot be reached at the start.",
)
def run_command(
    app: Litestar,
    queues: tuple[str, ...],
    max_concurrency: int | None,
    drain_timeout: float | None,
    wait_for_store: float,
) -> None:
    """Run a worker until SIGTERM or SIGINT.

    The first signal drains it: it claims nothing more, and leaves when its tasks have ended; those that have not when
    the drain timeout is over are given back. The second signal gives all of them back at once. A task that is given back
    is pending again, and has spent no attempt. One that must not run a second time fails.

    The process ends at most 8 seconds after the drain timeout, whatever hangs.

    Exit codes: 0 drained, or stopped before it had started; 1 tasks were interrupted, outcomes could not be stored, too many
    calls hang (worker_max_abandoned), or the store is not the same one any more; 2 could not start.
    """
    if sys.platform == "win32":
        click.echo(f"Error: {_NO_WINDOWS}", err=True)
        sys.exit(EXIT_STARTUP)
    signals = EARLY[0] if EARLY else Signals(owns_process=True)
    signals.install()
    try:
        options = {"queues": queues or None, "max_concurrency": max_concurrency, "drain_timeout": drain_timeout}
        sys.exit(_run(queue_plugin(app), signals, options, wait_for_store))
    finally:
        if is_worker_process():
            signals.ignore()
        else:  # a test, or a script, which goes on
            signals.restore()


def _run(plugin: HasQueues, signals: Signals, options: dict[str, Any], wait_for_store: float) -> int:
    """Run the worker; its exit code."""
    log_to_stderr()
    try:
        ended = run_process(_work(plugin, signals, options, wait_for_store))
    except _StartupError as error:
        cause = error.__cause__
        if not isinstance(cause, QueueError):
            _log.error("the worker cannot start", exc_info=cause)
        click.echo(f"Error: the worker cannot start: {cause}", err=True)
        return EXIT_STARTUP
    return _code(ended)


async def _work(plugin: HasQueues, signals: Signals, options: dict[str, Any], wait_for_store: float) -> WorkerExit:
    opening, service = await _open(plugin, wait_for_store)
    try:
        worker = Worker(service, **options)
        # What was imported stays. Each full collection would look through it, for 40 ms, a quarter of a busy worker's time.
        gc.collect()
        gc.freeze()
    except QueueError as error:
        await opening.__aexit__(None, None, None)
        raise _StartupError from error
    try:
        ended = await run_until_signalled(worker, signals)
        click.echo(_farewell(ended), err=True)
        _end_within(seconds_left(worker) + 0.2, _code(ended))
    finally:
        await _close(opening, seconds_left(worker))
    return ended


async def _open(
    plugin: HasQueues, wait_for_store: float
) -> tuple[AbstractAsyncContextManager[QueueService], QueueService]:
    """Open the queues; wait for a store that cannot be reached, for so many seconds."""
    end = time.monotonic() + wait_for_store
    for pause in Backoffs(first=0.5, longest=5.0):
        opening = shared_service(plugin)
        try:
            return opening, await opening.__aenter__()
        except BackendUnavailableError as error:
            left = end - time.monotonic()
            if left <= 0:
                raise _StartupError from error
            _log.warning("the worker waits for its store, %.0f s at most: %s", left, error)
            await asyncio.sleep(min(pause.seconds, left))
        except Exception as error:
            raise _StartupError from error
    raise AssertionError("the pauses have no end")


async def _close(opening: AbstractAsyncContextManager[QueueService], longest: float) -> None:
    """Close the queues, for so many seconds. `_end_within` ends a close that ignores its cancellation."""
    try:
        async with asyncio.timeout(longest):
            await opening.__aexit__(None, None, None)
    except TimeoutError:
        click.echo("The store does not close: the process ends without that.", err=True)
    except Exception:  # noqa: BLE001  # how the worker ended counts
        _log.exception("the store could not be closed")


class _StartupError(Exception):
    """The queues could not be opened; the cause says why."""


def _code(ended: WorkerExit) -> int:
    return EXIT_DRAINED if ended.drained else EXIT_FORCED


def _farewell(ended: WorkerExit) -> str:
    if ended.drained:
        return "The worker has drained."
    said = [
        f"{what}: {len(ids)} ({some_of(ids)})"
        for what, ids in (
            ("given back", ended.given_back),
            ("interrupted, and failed", ended.failed),
            ("left for stale recovery" if ended.replaced is None else "not stored", ended.unsettled),
            ("calls that hang", ended.hung),
        )
        if ids
    ]
    why = "before its tasks ended" if ended.replaced is None else f"its store: {ended.replaced}"
    return "; ".join([f"The worker has left {why}", *said])


def _end_within(seconds: float, code: int) -> None:
    """Make sure that the process ends, with this code.

    Python waits at exit for threads that are not its to stop: those of `asyncio.to_thread` in a task that was given
    back, or of a library. asyncio waits for tasks that ignore their cancellation. That another process can run the
    task by now is a reason to go.
    """

    def end() -> None:
        time.sleep(seconds)
        click.echo("Threads or calls of the tasks or of the store still run: the process ends without them.", err=True)
        os._exit(code)

    threading.Thread(target=end, name="litestar-queues-end", daemon=True).start()
