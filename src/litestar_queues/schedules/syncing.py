"""Brings the schedules that code declares into the store, when a worker starts.

The store numbers the sets of schedules that there have been in the code, in the order in which they first came. What the
latest set says holds. A worker of an older version that starts again has a set that is known, and not the latest: it changes
nothing. Each schedule keeps the number of the set that changed it last, so that one which is slow to do so cannot either.
"""

from __future__ import annotations

import hashlib
import logging
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from importlib.util import find_spec

import msgspec

from litestar_queues.backends.base import QueueBackend
from litestar_queues.errors import QueueError
from litestar_queues.records import NamedRecord
from litestar_queues.schedules.model import Definition

__all__ = ("CODE", "Declared", "SetNumber", "fingerprint", "is_gone", "number_of")

_log = logging.getLogger("litestar_queues.worker")
CODE = "schedules.code"
"""The name of the record of the sets."""
_KEPT = 200
"""How many sets are remembered."""
_TRIES = 20


class Declared(msgspec.Struct, frozen=True):
    """A schedule as the code declares it.

    Attributes:
        name: Its name.
        definition: What it says.
        module: Where.
    """

    name: str
    definition: Definition
    module: str


class SetNumber(msgspec.Struct, frozen=True):
    """Where a set stands among those that there have been.

    Attributes:
        number: Its number, from 1 on.
        is_latest: Whether none came after it.
    """

    number: int
    is_latest: bool


class _Sets(msgspec.Struct, frozen=True):
    numbers: dict[str, int] = {}


def fingerprint(declared: Iterable[Declared]) -> str:
    """A text that another set of schedules does not have."""
    lines = sorted(f"{one.name}\0{one.module}\0{one.definition.fingerprint}" for one in declared)
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogatepass")).hexdigest()[:32]


async def number_of(backend: QueueBackend, declared: Iterable[Declared], *, force: bool = False) -> SetNumber:
    """The number of the set, which is noted where it is new.

    Args:
        backend: The store.
        declared: The set.
        force: Make it the latest, whatever it is.

    Raises:
        QueueError: The store cannot be reached, or others change the record all the time.
    """
    own = fingerprint(declared)
    for _ in range(_TRIES):
        record = (await backend.read_records(CODE)).get(CODE)
        numbers = _read(record)
        latest = max(numbers.values(), default=0)
        if own in numbers and not (force and numbers[own] < latest):
            return SetNumber(numbers[own], numbers[own] == latest)
        kept = dict(sorted({**numbers, own: latest + 1}.items(), key=lambda item: item[1])[-_KEPT:])
        value = msgspec.json.encode(_Sets(kept)).decode()
        if await backend.write_records([NamedRecord(CODE, 1 if record is None else record.version + 1, value)]):
            return SetNumber(latest + 1, is_latest=True)
    raise QueueError(
        f"the schedules of the code could not be noted: others wrote them {_TRIES} times meanwhile; try again"
    )


def is_gone(module: str, own_modules: Mapping[str, object] | frozenset[str]) -> bool:
    """Whether the code of this process knows the module, so that what it does not declare there is declared no more.

    A worker that imports a part of the application knows nothing of the schedules in the rest of it.

    Args:
        module: Where the schedule was declared.
        own_modules: The modules of the tasks that are registered here.
    """
    if module in own_modules:
        return True
    if module == "__main__":
        return False
    if module in sys.modules:
        return True
    package = module.partition(".")[0]
    if package == module or package not in sys.modules:
        return False
    with suppress(ImportError, AttributeError, ValueError):
        return find_spec(module) is None
    return True  # not even its package is there any more


def _read(record: NamedRecord | None) -> dict[str, int]:
    """A record that somebody edited counts as none."""
    if record is None:
        return {}
    try:
        return msgspec.json.decode(record.value, type=_Sets).numbers
    except msgspec.MsgspecError:
        return {}
