"""How long the suite waits. Every deadline of the suite is counted here, in fair seconds.

A *fair second* is the time in which a machine at its usual speed gets a second's work done. A thread measures the pace
of this machine all the time: it repeats the same small piece of work, and compares its duration with the shortest so
far. On a machine that is nine times slower than usual, a fair second takes nine seconds. Time in which the process did
not run at all, such as a suspended laptop's, does not count.

A deadline only guards against waiting for ever. It says nothing about the backend: a case that meets one has not found
out anything. A guarantee that something ends is judged by `ended_beside`, which first makes sure that the machine gets
other work done.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Generator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import Any

__all__ = (
    "SLOW",
    "START_SECONDS",
    "TURN",
    "Deadline",
    "Late",
    "Stopwatch",
    "ended_beside",
    "fair_time",
    "slowness_so_far",
    "starting",
    "within",
)

SLOW = 2.0
"""How many times slower than usual a machine is that makes a store's own time limits run out."""
START_SECONDS = 120.0
"""Fair seconds that the start of other processes may take; no deadline of a case counts them."""
TURN = 0.1
"""Seconds between two looks at whether something has ended."""
_PAUSE = 2.0
"""Seconds between two measurements: each costs about 45 ms of one core. A scheduler favours whoever sleeps, so that a
much shorter piece of work is done at once on the busiest machine."""
_WORK = 200_000
_USUAL = 0.2
"""Seconds that a slow but idle machine needs for the work. A slower one counts as slow however idle it is."""
_SLOWEST = 60.0
"""The factor at which fair time no longer slows down, so that every deadline comes at some time."""
_NOISE = 1.5
"""The factor up to which the pace counts as usual."""
_UNASKED = 60.0
"""Seconds without a question after which the thread ends."""


class _Pace:
    """The thread that measures, and the clock that it drives."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._usual = _USUAL
        self._factor = 1.0
        self._fair = 0.0
        """Fair seconds up to the last measurement."""
        self._measured_at = 0.0
        self._asked_at = 0.0

    def time(self) -> float:
        """The fair seconds that have passed since some moment; starts the thread where it does not run."""
        with self._lock:
            now = self._asked_at = time.monotonic()
            if self._thread is None or not self._thread.is_alive():
                self._measured_at = now
                self._thread = threading.Thread(target=self._run, daemon=True, name="pace of the machine")
                self._thread.start()
            return self._fair + min(now - self._measured_at, _PAUSE) / self._factor

    def _run(self) -> None:
        while True:
            began, cpu_began = time.monotonic(), time.thread_time()
            hashlib.pbkdf2_hmac("sha256", b"a piece of work", b"without the GIL", _WORK)
            now, cpu = time.monotonic(), time.thread_time() - cpu_began
            with self._lock:
                self._note(now, took=now - began, cpu=cpu)
                if now - self._asked_at > _UNASKED:
                    self._thread = None
                    return
            time.sleep(_PAUSE)

    def _note(self, now: float, *, took: float, cpu: float) -> None:
        self._usual = min(self._usual, cpu or self._usual)
        factor = min(took / self._usual, _SLOWEST)
        self._factor = factor if factor > _NOISE else 1.0
        shown = min(now - self._measured_at, _PAUSE)
        # A thread that woke late has waited for the machine: that time was nobody's.
        self._fair += max(min(now - self._measured_at, _PAUSE + took) / self._factor, shown / _SLOWEST)
        self._measured_at = now


_pace = _Pace()


def fair_time() -> float:
    """Fair seconds since some moment; never decreases by more than the resolution of about a second."""
    return _pace.time()


class Stopwatch:
    """Measures how long something takes, and how slow the machine is meanwhile."""

    def __init__(self) -> None:
        self._wall, self._fair = time.monotonic(), fair_time()

    @property
    def seconds(self) -> float:
        """Seconds by the clock on the wall."""
        return time.monotonic() - self._wall

    @property
    def slowness(self) -> float:
        """How many times slower than usual the machine has been since the start: 1 where it had its usual speed."""
        return max(self.seconds / max(fair_time() - self._fair, 0.001), 1.0) if self.seconds > _PAUSE else 1.0

    def __str__(self) -> str:
        slow = f"; the machine was {self.slowness:.0f} times slower than usual" if self.slowness >= _NOISE else ""
        return f"{self.seconds:.{0 if self.seconds >= 10 else 1}f} s{slow}"  # no more digits than count


class Deadline:
    """A time limit in fair seconds, which begins now."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.watch = Stopwatch()
        self._end = fair_time() + seconds
        self._held_since: float | None = None

    @property
    def left(self) -> float:
        """The fair seconds that are left; below 0 where the deadline has passed."""
        now = fair_time()
        return self._end + self._held(now) - now

    def _held(self, now: float) -> float:
        return 0.0 if self._held_since is None else min(now - self._held_since, START_SECONDS)

    def restart(self) -> None:
        """Begin again: there was progress."""
        self._end = fair_time() + self.seconds

    @contextmanager
    def uncounted(self) -> Generator[None]:
        """Do not count the time of the block, up to `START_SECONDS`."""
        self._held_since = fair_time()
        try:
            yield
        finally:
            self._end += self._held(fair_time())
            self._held_since = None

    @contextmanager
    def of_the_case(self) -> Generator[None]:
        """Make this the deadline that `starting` holds back."""
        token = _of_the_case.set(self)
        try:
            yield
        finally:
            _of_the_case.reset(token)


_of_the_case: ContextVar[Deadline | None] = ContextVar("deadline of the case", default=None)


def slowness_so_far() -> float:
    """How many times slower than usual the machine has been since the case began; 1 outside of a case."""
    deadline = _of_the_case.get()
    return 1.0 if deadline is None else deadline.watch.slowness


@contextmanager
def starting() -> Generator[None]:
    """The block starts other processes: the case's deadline does not count its time."""
    deadline = _of_the_case.get()
    if deadline is None:
        yield
        return
    with deadline.uncounted():
        yield


class Late(TimeoutError):
    """A deadline of `within` has passed; a `TimeoutError` of the block's own is none."""


@asynccontextmanager
async def within(deadline: Deadline | float) -> AsyncGenerator[None]:
    """Like `asyncio.timeout`, in fair seconds.

    Raises:
        Late: The deadline has passed.
    """
    limit = deadline if isinstance(deadline, Deadline) else Deadline(deadline)
    loop = asyncio.get_running_loop()
    timer = asyncio.timeout(None)

    async def expire() -> None:
        # A fair second takes a second at least. The clock has to be asked from time to time.
        while (left := limit.left) > 0:  # noqa: ASYNC110  # a clock of another pace sets no event
            await asyncio.sleep(min(max(left, 0.01), _UNASKED / 4))
        timer.reschedule(loop.time())

    try:
        async with timer:
            watching = asyncio.ensure_future(expire())
            try:
                yield
            finally:
                watching.cancel()
                await asyncio.wait({watching})
    except TimeoutError:
        if timer.expired():
            raise Late(f"not within {limit.seconds:g} s, after {limit.watch}") from None
        raise


async def ended_beside(
    control: Callable[[], Awaitable[Any]], awaited: Collection[asyncio.Future[Any]], seconds: float
) -> bool:
    """Whether all of these have ended before so many fair seconds and so much other work have passed.

    The control is repeated until they have ended. It is given up only after as many controls as fit into the time on
    an idle machine, so that the store has certainly answered others in the meantime.

    Args:
        control: A call of another client, which has nothing to do with those that are awaited.
        awaited: Tasks or futures.
        seconds: Fair seconds.
    """
    deadline = Deadline(seconds)
    turns = int(seconds / TURN)
    while (late := [one for one in awaited if not one.done()]) and (turns > 0 or deadline.left > 0):
        await asyncio.wait(late, timeout=TURN)
        await control()
        turns -= 1
    return all(one.done() for one in awaited)
