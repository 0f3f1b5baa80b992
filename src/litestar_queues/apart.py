"""A thread with an event loop and a client of the store of its own: what must not wait for users' code runs there."""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from litestar_queues.backends.base import ApartBackend, QueueBackend
from litestar_queues.errors import BackendUnavailableError, QueueError, StoreReplacedError, TasksLockedError
from litestar_queues.events.base import TaskEventKind
from litestar_queues.lifecycle import EventName, State
from litestar_queues.operations import QueueOperations
from litestar_queues.pauses import Backoffs
from litestar_queues.records import Held, TaskRecord

__all__ = ("ApartOperations", "Aside", "open_apart")

T = TypeVar("T")
Run = Callable[[], Coroutine[Any, Any, None]]

_log = logging.getLogger("litestar_queues.worker")
_BACKOFFS = Backoffs(1.0, 60.0)
_CLOSING = 2.0
"""Seconds that the thread gets to end."""
_LET_GO = 0.6
"""Seconds of these that what runs gets to end, then the client, then what is left of both."""
_OPENING = 5.0
"""Seconds for which nothing is said of a client that is being opened."""
_LONG = 60.0
"""Seconds after which a failure counts as the first one again."""


def open_apart(backend: QueueBackend, *, quiet: bool = False) -> QueueBackend | None:
    """A second client of the backend's store, not open yet; None where there cannot be one, with a line in the log unless `quiet`."""
    if backend.process_local:
        return None
    client = backend.apart() if isinstance(backend, ApartBackend) else None
    if client is None and not quiet:
        _log.info(
            "%s: heartbeats stay in the event loop of everything else, because the backend has no settings for connections "
            "of their own",
            backend.name,
        )
    return client


class ApartOperations(QueueOperations):
    """Operations through a client in another event loop. Their events are counted and sent in the first one."""

    main: QueueOperations
    at_home: Callable[[Callable[[], object]], None]

    @classmethod
    def of(
        cls, main: QueueOperations, backend: QueueBackend, at_home: Callable[[Callable[[], object]], None]
    ) -> ApartOperations:
        """The operations of `main` through another client.

        Args:
            main: Counts and sends the events.
            backend: The other client.
            at_home: Has something called in the event loop of `main`.
        """
        made = cls(backend, main.clock)
        made.main, made.at_home = main, at_home
        if main.on_terminal is not None:
            made.on_terminal = lambda records: at_home(partial(made._ended, list(records)))
        if main.on_abandoned_runs is not None:
            made.on_abandoned_runs = lambda records: at_home(partial(made._left, list(records)))
        return made

    def tell(self, kind: TaskEventKind | EventName, records: Iterable[tuple[TaskRecord, State | None]]) -> None:
        self.at_home(partial(self.main.tell, kind, list(records)))

    async def wake(self, records: Iterable[TaskRecord]) -> None:
        waiting = list(records)
        self.at_home(lambda: _keep(asyncio.get_running_loop().create_task(self.main.wake(waiting))))

    def _left(self, records: list[TaskRecord]) -> None:
        if self.main.on_abandoned_runs is not None:
            self.main.on_abandoned_runs(records)

    def _ended(self, records: list[TaskRecord]) -> None:
        if self.main.on_terminal is not None:
            self.main.on_terminal(records)


_kept: set[asyncio.Task[Any]] = set()
_stuck: set[asyncio.Task[Any]] = set()
"""What did not end when its thread did. Nothing can be done about it; kept, so that its end does not come in the middle."""


def _keep(task: asyncio.Task[Any]) -> None:
    _kept.add(task)
    task.add_done_callback(_kept.discard)


class Aside:
    """The thread. Nothing in it waits for the event loop in which it was made.

    Args:
        main: The operations of everything else, in the running event loop.
        client: The second client of the store, not open yet.
    """

    def __init__(self, main: QueueOperations, client: QueueBackend) -> None:
        self._main = main
        self._client = client
        self._home = asyncio.get_running_loop()
        self.operations = ApartOperations.of(main, client, self.call_at_home)
        """Everything through the second client, once that is open."""
        self.is_open = False
        """Whether the second client is open."""
        self._why = "it is not open yet"
        self._said_from = time.monotonic() + _OPENING
        self._tried = asyncio.Event()  # waited for and set in the thread's event loop alone
        self._sharing: set[str] = set()
        self._stopping = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._ended: Future[None] = Future()
        self._thread: threading.Thread | None = None

    def start(self, *runs: Run) -> None:
        """Run these in the thread, until `stop`."""
        self._thread = threading.Thread(target=self._work, args=runs, name="litestar-queues-heart", daemon=True)
        self._thread.start()

    def leave(self) -> None:
        """Have everything in the thread cancelled and the client closed, soon."""
        self._stopping.set()
        loop, stop = self._loop, self._stop
        if loop is not None and stop is not None:
            with suppress(RuntimeError):  # it has ended by itself
                loop.call_soon_threadsafe(stop.set)

    async def stop(self, longest: float = math.inf) -> None:
        """Do as `leave`, and wait for the end of the thread: for so many seconds at most, and never for long."""
        self.leave()
        ended = asyncio.wrap_future(self._ended)
        longest = min(longest, _CLOSING)
        await asyncio.wait({ended}, timeout=longest)
        if not ended.done():
            _log.warning("the thread of the heartbeats did not end within %.1f s", longest)
        elif self._thread is not None:
            self._thread.join(_LET_GO)  # it has run its last line of ours, and takes no time any more

    def call_at_home(self, call: Callable[[], object]) -> None:
        """Have something called in the event loop of everything else, soon."""
        try:
            self._home.call_soon_threadsafe(call)
        except RuntimeError:  # the loop is closed, and nobody listens any more
            _log.debug("what happened to tasks could not be told any more")

    async def run_at_home(self, function: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run something in the event loop of everything else, and wait for it.

        Raises:
            QueueError: That loop has ended.
        """
        running = function()
        try:
            future = asyncio.run_coroutine_threadsafe(running, self._home)
        except RuntimeError as error:
            running.close()
            raise QueueError("the event loop of the worker has ended") from error
        return await asyncio.wrap_future(future)

    async def open(self) -> None:
        """Open the client, and try until it is open."""
        for pause in _BACKOFFS:
            try:
                await self._client.open()
            except Exception as error:  # noqa: BLE001  # whatever it was, everything goes through the other client meanwhile
                self._why, self._said_from = str(error), 0.0
                self._tried.set()
                await pause.wait()
            else:
                self.is_open = True
                self._tried.set()
                return

    async def tried(self) -> None:
        """Wait for the first attempt at opening the client, which is made soon: not for long where it hangs."""
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, self._said_from - time.monotonic())):
                await self._tried.wait()

    async def touch(self, held: Sequence[Held]) -> set[str]:
        """Write heartbeats through the client; while it cannot be had, through that of everything else.

        Raises:
            QueueError: Neither stored them.
        """
        return await self.through_either(
            "heartbeats",
            lambda: self.operations.touch_heartbeats(held),
            lambda: self._main.touch_heartbeats(held),
        )

    async def through_either(
        self, what: str, own: Callable[[], Coroutine[Any, Any, T]], main: Callable[[], Coroutine[Any, Any, T]]
    ) -> T:
        """Do something through the client; while it cannot be had, in the event loop of everything else.

        Args:
            what: Its name in the log.
            own: Does it through the client.
            main: Does it without, in the other event loop.

        Raises:
            QueueError: Neither did it.
            StoreReplacedError: The client says so.
            TasksLockedError: The client says so.
        """
        try:
            done = await self._through(own)
        except (StoreReplacedError, TasksLockedError):
            raise
        except Exception as error:  # noqa: BLE001  # whatever it was, the other client may do better
            if what not in self._sharing and (self.is_open or time.monotonic() >= self._said_from):
                self._sharing.add(what)
                _log.warning("no connection of its own for %s, so that the pool is shared meanwhile: %s", what, error)
            return await self.run_at_home(main)
        if what in self._sharing:
            self._sharing.discard(what)
            _log.info("there is a connection of its own for %s again", what)
        return done

    async def _through(self, own: Callable[[], Coroutine[Any, Any, T]]) -> T:
        if not self.is_open:
            raise BackendUnavailableError(self._why)
        return await own()

    def _work(self, *runs: Run) -> None:
        try:
            loop = asyncio.new_event_loop()
            running = loop.create_task(self._run(runs))
            while not running.done():
                try:
                    loop.run_until_complete(running)
                except BaseException:  # noqa: BLE001  # KeyboardInterrupt and SystemExit pass through the event loop
                    _log.exception("the thread of the heartbeats was interrupted, and goes on")
            _let_go(loop)
            loop.close()
        except BaseException:  # noqa: BLE001  # whatever it was, the log names it, and others recover what is no longer kept alive
            _log.exception("the thread of the heartbeats has ended")
        finally:
            self._ended.set_result(None)

    async def _run(self, runs: Sequence[Run]) -> None:
        self._stop, self._loop = asyncio.Event(), asyncio.get_running_loop()
        running = {self._loop.create_task(self._again(run)) for run in runs}
        if not self._stopping.is_set():
            await self._stop.wait()
        for task in running:
            task.cancel()
            task.add_done_callback(_note)
        if running:
            await asyncio.wait(running, timeout=_LET_GO)
        closing = self._loop.create_task(self._close())
        await asyncio.wait({closing}, timeout=_LET_GO)

    async def _close(self) -> None:
        try:
            await self._client.close()
        except Exception:  # noqa: BLE001  # the thread ends in any case
            _log.exception("the connection of the heartbeats could not be closed")

    async def _again(self, run: Run) -> None:
        """Run this, and again after a pause where it fails: nothing that happens there may end the heartbeats."""
        backoffs = iter(_BACKOFFS)
        while True:
            began = time.monotonic()
            try:
                return await run()
            except BaseException:
                if self._stopping.is_set():
                    raise
                if time.monotonic() - began > _LONG:
                    backoffs = iter(_BACKOFFS)
                pause = next(backoffs)
                _log.exception("the thread of the heartbeats begins again in %.1f s", pause.seconds)
            await pause.wait()


def _note(ended: asyncio.Task[None]) -> None:
    if not ended.cancelled() and (error := ended.exception()) is not None:
        _log.debug("what ran for the heartbeats has ended with %r", error)


def _let_go(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel what is left in an event loop, and let it end, for a bounded time."""
    if left := asyncio.all_tasks(loop):
        for task in left:
            task.cancel()
        with suppress(KeyboardInterrupt, SystemExit):
            _, stuck = loop.run_until_complete(asyncio.wait(left, timeout=_LET_GO))
            _stuck.update(stuck)
    loop.run_until_complete(loop.shutdown_asyncgens())
