"""A worker as a process: signals in, exit codes out."""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager, suppress
from itertools import pairwise
from types import FrameType
from typing import Any, Protocol, TypeVar

from litestar_queues.execution.forks import OWN_HANDLERS
from litestar_queues.worker.exit import WorkerExit
from litestar_queues.worker.worker import Worker

__all__ = (
    "EARLY",
    "EXIT_DRAINED",
    "EXIT_FORCED",
    "EXIT_STARTUP",
    "Leaver",
    "Signals",
    "expect_signals",
    "is_worker_process",
    "run_process",
    "run_until_signalled",
    "seconds_left",
)

T = TypeVar("T")
EXIT_DRAINED = 0
"""Every task ended by itself."""
EXIT_FORCED = 1
"""Tasks were interrupted, or outcomes could not be stored."""
EXIT_STARTUP = 2
"""The worker could not start."""
_CLOSING = 0.7
"""Seconds that a process has to close its store where its worker took all of its time."""
_HARD_END = 1.3
"""Seconds from the latest end of the worker to the end of the process, even where Python runs no code any more."""
_NUMBERS = (signal.SIGTERM, signal.SIGINT)
_log = logging.getLogger("litestar_queues.worker")


class Leaver(Protocol):
    """What a signal tells to leave: a worker, or the run of one task."""

    @property
    def longest_leave(self) -> float:
        """Seconds from `drain` to its end, at most."""
        ...

    def drain(self) -> None:
        """Begin nothing more, and leave."""
        ...

    def abort(self) -> None:
        """Leave at once."""
        ...


class Signals:
    """The signals of a worker process: the first drains the worker, each further one makes it give back its tasks.

    Args:
        owns_process: Whether the process exists for the worker. Then a signal before the worker runs ends the process at
            once, with `early_exit`, and one after it changes nothing. From the first signal on, the process has a limited
            time, whatever hangs.
        early_exit: The exit code of such a process.
        early_words: What it writes to stderr then.
    """

    def __init__(
        self,
        *,
        owns_process: bool = False,
        early_exit: int = EXIT_DRAINED,
        early_words: str = "The worker was stopped before it had started.",
    ) -> None:
        self._owns_process = owns_process
        self._early_exit = early_exit
        self._early_words = f"{early_words}\n".encode()
        self._worker: Leaver | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._received = 0
        self._limited = threading.Lock()
        """Taken for good by the first who limits the time that the process has."""
        self._before: dict[signal.Signals, Any] = {}

    def install(self) -> None:
        """Take the signals over from their handlers. Only in the main thread. Harmless when repeated."""
        OWN_HANDLERS.add(self._handle)
        for number in _NUMBERS:
            if signal.getsignal(number) != self._handle:
                self._before.setdefault(number, signal.getsignal(number))
                signal.signal(number, self._handle)

    def ignore(self) -> None:
        """Ignore the signals from now on: Python gives up its handlers while it exits, and a late one would be a crash."""
        for number in _NUMBERS:
            signal.signal(number, signal.SIG_IGN)

    def restore(self) -> None:
        """Give the signals back to their handlers."""
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._before.clear()
        OWN_HANDLERS.discard(self._handle)
        if self._limited.locked():  # whoever goes on after the run has all the time
            faulthandler.cancel_dump_traceback_later()
            self._limited = threading.Lock()

    @contextmanager
    def driving(self, worker: Leaver) -> Generator[None, None, None]:
        """Send the signals to a worker of the running event loop."""
        loop = asyncio.get_running_loop()
        with _heard(loop, self._limit) if self._owns_process else self._handled_by(loop):
            self.install()
            self._loop, self._worker = loop, worker
            try:
                yield
            finally:
                self._loop = None

    @contextmanager
    def _handled_by(self, loop: asyncio.AbstractEventLoop) -> Generator[None, None, None]:
        """Have the loop woken by its own handler, where the signal reaches another thread than the one that runs ours."""
        for number in _NUMBERS:
            self._before.setdefault(number, signal.getsignal(number))
            loop.add_signal_handler(number, _nothing)
            signal.signal(number, self._handle)
        try:
            yield
        finally:
            for number in _NUMBERS:
                loop.remove_signal_handler(number)
            self.restore()

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        """Python runs this between two steps of whatever the main thread does, also where the event loop is blocked."""
        self._received += 1
        worker, loop = self._worker, self._loop
        if worker is None:
            if self._owns_process:
                with suppress(OSError):
                    os.write(2, self._early_words)
                os._exit(self._early_exit)
        elif loop is not None:
            if self._owns_process:
                self._limit()
            with suppress(RuntimeError):  # the loop was closed at this moment
                loop.call_soon_threadsafe(worker.drain if self._received == 1 else worker.abort)

    def _limit(self) -> None:
        """Have the interpreter end the process from a thread that needs no Python, and show what every thread did.

        From the first signal on: it is heard by two threads, neither of which may be able to run.
        """
        if self._worker is not None and self._limited.acquire(blocking=False):
            with suppress(OSError, ValueError, RuntimeError):
                faulthandler.dump_traceback_later(self._worker.longest_leave + _HARD_END, exit=True, file=2)


@contextmanager
def _heard(loop: asyncio.AbstractEventLoop, hear: Callable[[], None]) -> Generator[None, None, None]:
    """Have signals wake a loop until it ends, without a handler of its own, and have `hear` called in a thread at each.

    A loop that has a handler gives it up when it is closed: a signal at that moment ends the process by default, or is
    written to a socket that is closed already.

    The interpreter runs a handler between two steps of the main thread. One that reaches it just before it blocks outside of
    Python, or another thread, waits until that is over. Its number comes through the socket at once.
    """
    reading, writing = socket.socketpair()
    with reading, writing:
        writing.setblocking(False)
        before = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)

        def listen() -> None:
            with suppress(OSError):
                while numbers := reading.recv(4096):
                    if any(number in _NUMBERS for number in numbers):
                        hear()
                    with suppress(RuntimeError):  # it was closed at this moment
                        loop.call_soon_threadsafe(_nothing)
                    if before >= 0:  # the application's signals
                        with suppress(OSError):
                            os.write(before, numbers)

        listening = threading.Thread(target=listen, name="litestar-queues-signals", daemon=True)
        listening.start()
        try:
            yield
        finally:
            now = signal.set_wakeup_fd(-1)  # the application may have set another one meanwhile
            signal.set_wakeup_fd(before if now == writing.fileno() else now, warn_on_full_buffer=False)
            writing.shutdown(socket.SHUT_RDWR)
            listening.join(_CLOSING)


def _nothing() -> None:
    """The signal has been handled by the time that the event loop hears of it."""


async def run_until_signalled(worker: Worker, signals: Signals | None = None) -> WorkerExit:
    """Run a worker until SIGTERM or SIGINT: the first drains it, the second makes it give back everything at once."""
    with (signals or Signals()).driving(worker):
        return await worker.run()


def run_process(main: Coroutine[Any, Any, T]) -> T:
    """Run the main coroutine of a worker process, as `asyncio.run` does.

    A `KeyboardInterrupt` or `SystemExit` that a task's callback raises passes through the event loop, and ends
    `asyncio.run`. Here the loop goes on. (Signals raise none: a worker process has handlers for them.)
    """
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        task = loop.create_task(main)
        while True:
            try:
                return loop.run_until_complete(task)
            except (KeyboardInterrupt, SystemExit) as error:
                if task.done():
                    raise
                _log.critical(
                    "%s passed through the event loop, and the worker goes on", type(error).__name__, exc_info=error
                )


EARLY: list[Signals] = []
"""The handlers of this process, where it has had them since before its command began."""


def expect_signals() -> None:
    """Handle the signals of `litestar queues run` while it still imports the application.

    Litestar imports the application before it knows the command. Without a handler, a SIGTERM meanwhile would be a crash
    in the eyes of a supervisor.
    """
    if not EARLY and is_worker_process():
        signals = Signals(owns_process=True)
        with suppress(ValueError):  # not the main thread
            signals.install()
            EARLY.append(signals)


def is_worker_process(command: str = "run") -> bool:
    """Whether the command of this process is `litestar queues run`; a child that it spawned only has its arguments."""
    # While a spawned child imports the application, it does not know yet that it has a parent.
    if multiprocessing.parent_process() is not None or any("from multiprocessing." in one for one in sys.orig_argv):
        return False
    name, arguments = os.path.split(sys.argv[0])[1] if sys.argv else "", sys.argv[1:]
    return name in ("litestar", "__main__.py") and ("queues", command) in pairwise(arguments)


def seconds_left(worker: Worker) -> float:
    """How long the process may take from now on, after its worker has left."""
    limit = 5.0 if worker.ends_by is None else min(5.0, worker.ends_by - time.monotonic() + _CLOSING)
    return max(limit, _CLOSING / 2)
