"""A client whose clock or time zone is wrong: what the calls of a block take for the time, or for local time.

CPython keeps the methods of `datetime` in a dictionary that can be reached. They are replaced for the time of the block,
as are `time.time` and `time.time_ns`, in the whole process. Code that is not Python's reads the right clock. Monotonic
clocks, which event loops use, stay as they are.
"""

from __future__ import annotations

import ctypes
import gc
import os
import sys
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, tzinfo
from types import ModuleType
from typing import Any, cast

from litestar_queues_conformance.harness import NotFoundOut

__all__ = ("in_zone", "skewed")

_CLOSE = timedelta(minutes=1)
_NANOSECONDS = 1_000_000_000


@contextmanager
def skewed(by: timedelta) -> Generator[None]:
    """The calls in the block find this machine's clock ahead by so much, or behind.

    Raises:
        NotFoundOut: This Python does not let its clock be skewed.
    """
    real = _since_some_time()
    with _methods(datetime, _ahead(by)), _functions(by):
        found = _since_some_time() - real
        if abs(found - by) > _CLOSE:
            raise NotFoundOut(f"the clock of this Python was to be skewed by {by}, and was by {found}")
        yield


def _since_some_time() -> datetime:
    return datetime.now(UTC) - timedelta(seconds=time.monotonic())


@contextmanager
def in_zone(name: str) -> Generator[None]:
    """The block's calls find this local time zone, as POSIX writes it: `XXX-05:45` is so much ahead of UTC.

    Raises:
        NotFoundOut: The platform does not let a process change its time zone.
    """
    set_zone = cast("Callable[[], None] | None", getattr(time, "tzset", None))
    if set_zone is None:
        raise NotFoundOut("this platform does not let a process change its time zone")
    before = os.environ.get("TZ")
    try:
        os.environ["TZ"] = name
        set_zone()
        yield
    finally:
        if before is None:
            del os.environ["TZ"]
        else:
            os.environ["TZ"] = before
        set_zone()


def _ahead(by: timedelta) -> dict[str, Any]:
    now = datetime.__dict__["now"]
    utcnow = datetime.__dict__["utcnow"]

    def skewed_now(cls: type[datetime], tz: tzinfo | None = None) -> datetime:
        # Through UTC: where local time jumps, an hour of it need not be an hour.
        moment = now.__get__(None, cls)(UTC) + by
        return cast("datetime", moment.astimezone(tz) if tz is not None else moment.astimezone().replace(tzinfo=None))

    def skewed_utcnow(cls: type[datetime]) -> datetime:
        return cast("datetime", utcnow.__get__(None, cls)() + by)

    return {"now": skewed_now, "utcnow": skewed_utcnow}


@contextmanager
def _methods(cls: type, methods: Mapping[str, Callable[..., Any]]) -> Generator[None]:
    """Replace class methods of a class that is written in C.

    Raises:
        NotFoundOut: Its dictionary cannot be reached.
    """
    held = gc.get_referents(cls.__dict__)
    found: list[dict[str, Any]] = [one for one in held if type(one) is dict and one.keys() >= methods.keys()]
    if len(found) != 1:
        raise NotFoundOut(f"this Python does not let the methods of {cls.__name__} be replaced")
    members = found[0]
    before = {name: members[name] for name in methods}
    try:
        members |= {name: classmethod(method) for name, method in methods.items()}
        _forget(cls)
        yield
    finally:
        members |= before
        _forget(cls)


def _forget(cls: type) -> None:
    """Forget where the class has its methods, as every change of a class does."""
    ctypes.pythonapi.PyType_Modified(ctypes.py_object(cls))


@contextmanager
def _functions(by: timedelta) -> Generator[None]:
    """Skew what `time` has, also for modules that imported it by name."""
    now, now_ns = time.time, time.time_ns
    seconds, nanoseconds = by.total_seconds(), int(by.total_seconds() * _NANOSECONDS)
    replaced: dict[str, tuple[Any, Callable[[], Any]]] = {
        "time": (now, lambda: now() + seconds),
        "time_ns": (now_ns, lambda: now_ns() + nanoseconds),
    }
    holders = [
        (names, name, real, skewed_one)
        for names in [
            vars(module)
            for module in cast("list[object]", list(sys.modules.values()))
            if isinstance(module, ModuleType)
        ]
        for name, (real, skewed_one) in replaced.items()
        if names.get(name) is real
    ]
    try:
        for names, name, _, skewed_one in holders:
            names[name] = skewed_one
        yield
    finally:
        for names, name, real, _ in holders:
            names[name] = real
