"""Trying a whole write again that did not come about: what every backend on a server does alike."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

from litestar_queues.errors import BackendError, BackendUnavailableError
from litestar_queues.pauses import Backoffs

__all__ = (
    "LOSSES",
    "PATIENCE",
    "ConflictError",
    "LostConnectionError",
    "RefusedForNowError",
    "is_away",
    "with_retries",
)


class ConflictError(Exception):
    """Something got in the way: nothing of this attempt is stored, and it may be made again as a whole."""


class LostConnectionError(BackendUnavailableError):
    """The connection went away in the middle: whether the attempt took effect is not known."""


class RefusedForNowError(BackendUnavailableError):
    """The store was reached, and refuses for now: nothing was stored. It is not tried again here."""


def is_away(error: BackendError) -> bool:
    """Whether the store is to be waited for, also at the start.

    A running worker waits for a table that is missing for some seconds, or for a privilege; at the start, the same is a
    matter for whoever sets the store up.
    """
    return isinstance(error, BackendUnavailableError) and not isinstance(error, RefusedForNowError)


PATIENCE = 10.0
"""Seconds for which a transaction is tried again before the database counts as unavailable."""

LOSSES = 5
"""How often a repeatable transaction is sent again after its connection was lost."""

_BACKOFFS = Backoffs(0.02, 0.5)

T = TypeVar("T")


async def with_retries(
    attempt: Callable[[], Awaitable[T]],
    *,
    what: str,
    patience: float,
    repeatable: bool = False,
    in_the_way: str = "other transactions were in the way",
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
) -> T:
    """Make attempts until one meets no conflict, with pauses that grow and differ, for about `patience` seconds.

    `in_the_way` says what a conflict is, for the error.

    An attempt whose connection was lost is made again a few times, if it is `repeatable`: a pool hands out what it does
    not know to be dead.

    Raises:
        BackendUnavailableError: The last attempt met a conflict, too, and nothing of it was stored; or its connection was
            lost, and what was stored is not known.
    """
    started = time.monotonic()
    tries = 1
    lost = 0
    while True:
        try:
            return await attempt()
        except ConflictError as conflict:
            left = patience - (time.monotonic() - started)
            if left <= 0:
                raise BackendUnavailableError(
                    f"{what}: {in_the_way} for {time.monotonic() - started:.1f} s and {tries} attempts ({conflict}); nothing "
                    f"was stored, and the same call may work later"
                ) from conflict
        except LostConnectionError:
            lost += 1
            left = patience - (time.monotonic() - started)
            if not repeatable or lost > LOSSES or left <= 0:
                raise
        await sleep(min(_BACKOFFS.after(tries).seconds, left))
        tries += 1
