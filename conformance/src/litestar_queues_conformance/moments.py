"""The two modes of time in which cases run, and how the times of a case become those of calls.

A case tells its times as seconds around `T0`, and passes them as `now=`. In production nobody passes `now=`. So every case
runs again with the store's own time, once for each of some of its moments. That moment is the *present*: its calls leave
`now=` out. Earlier moments lie as far back as in the case, and are given. Later ones lie `GAP` further ahead, and are
given, so that none of them comes while the case runs. Calls and answers are translated (see `telling`), and the case sees
no difference.

Where calls are given their times, these are the case's, moved by so many days and seconds as the seed says. All distances
stay what they are, so that nothing but a backend that has something against a date finds a difference.

A time in an answer is told as the present only where it lies between the beginning of the case and now. A store that
stamps anything else than its own time answers with a time that no case expects.
"""

from __future__ import annotations

import string
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Literal, Protocol, Self

from litestar_queues.backends.base import QueueBackend

__all__ = ("GAP", "SLACK", "TIMES", "Alias", "Onward", "Present", "Shifted", "Telling", "Time", "presents")

Time = Literal["given", "store"]
"""Whether calls are given their time, or leave it to the store."""
TIMES: tuple[Time, ...] = ("given", "store")
GAP = timedelta(hours=5)
"""How much further ahead the moments after the present lie."""
SLACK = timedelta(hours=1)
"""How much later something may end that began in the present: longer than a case runs, and shorter than `GAP`."""
_LATE = timedelta(seconds=5)
"""How much later than by this machine's clock the store's may say that it is."""
_FAR = timedelta(days=300_000)
"""Times that are so far away stand for the ends of what can be stored, and stay what they are."""
_DAYS = 20_000
"""How many days later than a case says its given times may be. They stay ahead of this machine's time, as `T0` is."""
_DAY = 86_400
_NEAR = datetime(1900, 1, 1, tzinfo=UTC), datetime(2800, 1, 1, tzinfo=UTC)
"""Given times before and behind stand for the ends of what can be stored, too."""
_MORE = 2
_OURS = "conformance."


@dataclass(frozen=True, slots=True)
class Alias:
    """What the tasks and the workers of a case are really called: no backend behaves for the suite's names alone.

    Attributes:
        word: Drawn; it takes the place of `conformance` in the name of a task, and stands before the name of a worker. An
            empty one changes nothing.
    """

    word: str = ""

    @classmethod
    def drawn(cls, random: Random) -> Self:
        """Eight letters."""
        return cls("".join(random.choices(string.ascii_lowercase, k=8)))

    def name(self, told: str) -> str:
        """What a task is really called."""
        return f"{self.word}.{told.removeprefix(_OURS)}" if self.word and told.startswith(_OURS) else told

    def told_name(self, real: str) -> str:
        """What the case calls a task."""
        own = f"{self.word}."
        return f"{_OURS}{real.removeprefix(own)}" if self.word and real.startswith(own) else real

    def worker(self, told: str) -> str:
        """What a worker is really called."""
        return f"{self.word} {told}" if self.word else told

    def told_worker(self, real: str) -> str:
        """What the case calls a worker."""
        return real.removeprefix(f"{self.word} ") if self.word else real


class Telling(Protocol):
    """How the times and the names of a case become those of calls, and those of answers become the case's again."""

    @property
    def alias(self) -> Alias:
        """What tasks and workers are really called."""
        ...

    async def begin(self, client: QueueBackend) -> None:
        """Look at the store's clock; harmless when repeated."""
        ...

    def now(self, told: datetime | None) -> datetime | None:
        """What is passed as `now=`."""
        ...

    def real(self, told: datetime) -> datetime:
        """The time in a call, for this time of the case."""
        ...

    def told(self, real: datetime) -> datetime:
        """The time of the case, for this time in an answer."""
        ...

    def lasts(self, since: datetime | None, seconds: float) -> float:
        """How many seconds it really is from this time of the case (None: the present) until so many later."""
        ...

    def told_window(self, seconds: float) -> float:
        """What the case calls the window in an answer."""
        ...


def presents(told: Present) -> tuple[datetime, ...]:
    """Which of a case's moments become the present after the first run of it: the last one, and one in the middle."""
    others = sorted(set(told.moments) - {told.moment})
    return tuple(others) if len(others) <= _MORE else (others[-1], others[len(others) // 2])


@dataclass(slots=True)
class Present:
    """One moment of a case is the present; see the text of this module.

    Attributes:
        moment: The case's.
        began: What the store's clock said when the case began.
        began_at: What this machine's monotonic clock said then.
        moments: Those at which the case has called the store.
        windows: What the case calls a window that had to be longer.
        alias: What tasks and workers are really called.
    """

    moment: datetime
    began: datetime | None = None
    began_at: float = 0.0
    moments: dict[datetime, None] = field(default_factory=dict[datetime, None])
    windows: dict[float, float] = field(default_factory=dict[float, float])
    alias: Alias = field(default_factory=Alias)

    async def begin(self, client: QueueBackend) -> None:
        """Look at the store's clock, the first time."""
        if self.began is None:
            self.began_at = time.monotonic()
            self.began = await client.now()

    def now(self, told: datetime | None) -> datetime | None:
        """None for the present."""
        if told is None:
            return None
        self.moments[told] = None
        return None if told == self.moment else self.real(told)

    def real(self, told: datetime) -> datetime:
        ahead = told - self.moment
        if abs(ahead) > _FAR:
            return told
        if ahead > timedelta(0):
            ahead += GAP
        return (_begun(self.began) + ahead).astimezone(told.tzinfo or UTC)

    def told(self, real: datetime) -> datetime:
        ahead = real - _begun(self.began)
        if abs(ahead) > _FAR:
            return real
        if ahead >= GAP:
            return self.moment + ahead - GAP
        so_far = timedelta(seconds=time.monotonic() - self.began_at) + _LATE
        return self.moment if timedelta(0) <= ahead <= so_far else self.moment + ahead

    def lasts(self, since: datetime | None, seconds: float) -> float:
        since = self.moment if since is None else since
        try:
            longer = (self.real(since + timedelta(seconds=seconds)) - self.real(since)).total_seconds()
        except OverflowError:  # longer than there is time
            return seconds
        if longer == seconds:
            return seconds
        self.windows[longer] = seconds
        return longer

    def told_window(self, seconds: float) -> float:
        return self.windows.get(seconds, seconds)


@dataclass(frozen=True, slots=True)
class Shifted:
    """Every call is given its time, and all of them are so much later than the case says.

    Attributes:
        by: How much later.
        alias: What tasks and workers are really called.
    """

    by: timedelta = timedelta(0)
    alias: Alias = field(default_factory=Alias)

    @classmethod
    def drawn(cls, random: Random) -> Self:
        """Some days and seconds; the microseconds of a case stay what they are."""
        return cls(timedelta(days=random.randrange(_DAYS), seconds=random.randrange(_DAY)), Alias.drawn(random))

    async def begin(self, client: QueueBackend) -> None:
        """Need no clock."""

    def now(self, told: datetime | None) -> datetime | None:
        return None if told is None else self.real(told)

    def real(self, told: datetime) -> datetime:
        return told if _far(told) else told + self.by

    def told(self, real: datetime) -> datetime:
        return real if _far(real) else real - self.by

    def lasts(self, since: datetime | None, seconds: float) -> float:
        del since
        return seconds

    def told_window(self, seconds: float) -> float:
        return seconds


@dataclass(slots=True)
class Onward:
    """From one moment of a case on, no call is given its time. All distances stay what they are.

    Attributes:
        moment: The case's.
        began: What the store's clock said when the case began.
        alias: What tasks and workers are really called.
    """

    moment: datetime
    began: datetime | None = None
    alias: Alias = field(default_factory=Alias)

    async def begin(self, client: QueueBackend) -> None:
        """Look at the store's clock, the first time."""
        if self.began is None:
            self.began = await client.now()

    def now(self, told: datetime | None) -> datetime | None:
        """None from the moment on."""
        return None if told is None or told >= self.moment else self.real(told)

    def real(self, told: datetime) -> datetime:
        return told + (_begun(self.began) - self.moment)

    def told(self, real: datetime) -> datetime:
        return real - (_begun(self.began) - self.moment)

    def lasts(self, since: datetime | None, seconds: float) -> float:
        del since
        return seconds

    def told_window(self, seconds: float) -> float:
        return seconds


def _far(moment: datetime) -> bool:
    """Whether it stands for an end of what can be stored."""
    return not _NEAR[0] < moment < _NEAR[1]


def _begun(began: datetime | None) -> datetime:
    if began is None:
        raise RuntimeError("begin() comes before everything else")
    return began
