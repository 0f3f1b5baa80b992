"""A client of the store that looks at the type of every answer, so that a wrong type is one finding, and not one for each case.

An answer of a wrong type is noted once for the whole run, under LIF-21, and is handed on as what the port promises: the
cases then judge its values. An answer that cannot be turned into the promised type ends its case.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar, cast

import msgspec

from litestar_queues.backends.base import QueueBackend
from litestar_queues.columns import BY_NAME
from litestar_queues.lifecycle import State, stored_state
from litestar_queues.records import Count, Enqueued, Held, NamedRecord, NewTask, Query, Stale, TaskRecord, Want
from litestar_queues_conformance.outcomes import Violation
from litestar_queues_conformance.wrapping import Wrapper, with_the_rest

__all__ = ("TYPES", "Answers", "typed", "wrong_type")

TYPES = "LIF-21"
"""The guarantee that every answer has the type that the port names."""


K = TypeVar("K")


class Answers:
    """The wrong types that a run has met.

    Attributes:
        wrong: One sentence for each.
    """

    def __init__(self) -> None:
        self.wrong: dict[str, None] = {}
        self._told: set[str] = set()

    def note(self, sentence: str) -> None:
        """Keep what is wrong."""
        self.wrong[sentence] = None

    def all(self) -> str:
        """Everything that is wrong, in one sentence; from now on it counts as reported."""
        self._told.update(self.wrong)
        return "; ".join(self.wrong)

    def untold(self) -> Violation | None:
        """What nobody has reported yet, in one sentence; from now on it counts as reported."""
        new = [sentence for sentence in self.wrong if sentence not in self._told]
        self._told.update(new)
        if not new:
            return None
        violation = Violation(f"{TYPES}: {'; '.join(new)}")
        violation.complete = True
        return violation


class _Looks:
    """Looks at the answers of one method.

    Args:
        method: What is called.
        answers: Where wrong types are kept.
    """

    def __init__(self, method: str, answers: Answers) -> None:
        self._method, self._answers = method, answers

    def items(self, answer: Any, kind: type[Any], look: Callable[[Any], Any]) -> Any:
        """A list or a set with these entries."""
        found: Any = answer
        if not isinstance(answer, kind):
            if not isinstance(answer, Collection) or isinstance(answer, (str, bytes)):
                raise self._refused(answer, kind)
            found = _make(kind, self._noted("", answer, kind))
        looked = [look(one) for one in found]
        same = all(new is old for new, old in zip(looked, found, strict=True))
        return found if same else _make(kind, looked)

    def mapping(self, answer: Any, look: Callable[[Any], Any]) -> dict[str, Any]:
        """A dictionary whose keys are texts."""
        found: dict[Any, Any] = answer
        if not isinstance(answer, dict):
            if not isinstance(answer, Mapping):
                raise self._refused(answer, dict)
            found = dict(cast("Mapping[Any, Any]", self._noted("", answer, dict)))
        looked = {self.plain(key, str, " with a key that is"): look(one) for key, one in found.items()}
        same = all(looked.get(key) is one for key, one in found.items())
        return found if same else looked

    def plain(self, value: Any, kind: type[K], where: str = "") -> K:
        """A value of one of the plain types."""
        right = type(value) is kind or (isinstance(value, kind) and not isinstance(value, bool))
        if right and not _is_naive(value):
            return cast("K", value)
        return cast("K", self._turned(value, kind, where))

    def record(self, record: Any) -> Any:
        """A task's record, each field of which is of its type."""
        return self._struct(record, TaskRecord, _FIELDS)

    def enqueued(self, answer: Any) -> Any:
        """What became of a new task."""
        if not isinstance(answer, Enqueued):
            raise self._refused(answer, Enqueued)
        record, is_new = self.record(answer.record), self.plain(answer.is_new, bool, " with an is_new that is")
        return answer if record is answer.record and is_new is answer.is_new else Enqueued(record, is_new)

    def count(self, answer: Any) -> Any:
        """A count."""
        return self._struct(answer, Count, _OF_COUNTS)

    def named(self, answer: Any) -> Any:
        """A named record."""
        return self._struct(answer, NamedRecord, _OF_NAMED)

    def text(self, answer: Any) -> Any:
        """An id, or a name, among others."""
        return self.plain(answer, str, " with an entry that is")

    def _struct(self, answer: Any, kind: type[msgspec.Struct], fields: Sequence[tuple[str, type[Any], bool]]) -> Any:
        if not isinstance(answer, kind):
            raise self._refused(answer, kind)
        changes: dict[str, Any] = {}
        for (name, of, nullable), value in zip(fields, msgspec.structs.astuple(answer), strict=False):
            if (type(value) is of and of is not datetime) or (value is None and nullable):
                continue
            looked = self.plain(value, of, f" with {_an(name)} that is")
            if looked is not value:
                changes[name] = looked
        return msgspec.structs.replace(answer, **changes) if changes else answer

    def _turned(self, value: Any, kind: type[Any], where: str) -> Any:
        try:
            turned = _TURNS[kind](value)
        except (TypeError, ValueError, AttributeError):
            raise self._refused(value, kind, where) from None
        self._noted(where, value, kind)
        return turned

    def _noted(self, where: str, value: Any, kind: type[Any]) -> Any:
        self._answers.note(self._sentence(where, value, kind))
        return value

    def _refused(self, value: Any, kind: type[Any], where: str = "") -> Violation:
        sentence = self._sentence(where, value, kind)
        self._answers.note(sentence)
        self._answers.untold()
        return Violation(f"{TYPES}: {sentence}")

    def _sentence(self, where: str, value: Any, kind: type[Any]) -> str:
        return f"{self._method} answers{where} {_kind(value)}, and promises {_PROMISED.get(kind) or _an(kind.__name__)}"


class TypedClient(Wrapper):
    """A client of the store whose answers are looked at.

    Args:
        inner: The client. Whatever it has beyond the port, `typed` has, too.
        answers: Where wrong types are kept.
    """

    def __init__(self, inner: QueueBackend, answers: Answers) -> None:
        super().__init__(inner)
        self.answers = answers

    def again(self, made: QueueBackend) -> QueueBackend:
        return typed(made, self.answers)

    async def now(self) -> datetime:
        return self._at("now").plain(await self.inner.now(), datetime)

    async def enqueue_many(self, tasks: Sequence[NewTask], *, now: datetime | None = None) -> list[Enqueued]:
        looks = self._at("enqueue_many")
        found: list[Enqueued] = looks.items(await self.inner.enqueue_many(tasks, now=now), list, looks.enqueued)
        return found

    async def claim(self, want: Want, *, now: datetime | None = None) -> list[TaskRecord]:
        looks = self._at("claim")
        found: list[TaskRecord] = looks.items(await self.inner.claim(want, now=now), list, looks.record)
        return found

    async def touch_heartbeats(self, held: Sequence[Held], *, now: datetime | None = None) -> set[str]:
        looks = self._at("touch_heartbeats")
        found: set[str] = looks.items(await self.inner.touch_heartbeats(held, now=now), set, looks.text)
        return found

    async def commit(self, tasks: Sequence[TaskRecord], *, stale: Stale | None = None) -> set[str]:
        looks = self._at("commit")
        found: set[str] = looks.items(await self.inner.commit(tasks, stale=stale), set, looks.text)
        return found

    async def get(self, ids: Collection[str]) -> dict[str, TaskRecord]:
        looks = self._at("get")
        return looks.mapping(await self.inner.get(ids), looks.record)

    async def find(self, query: Query, limit: int) -> list[TaskRecord]:
        looks = self._at("find")
        found: list[TaskRecord] = looks.items(await self.inner.find(query, limit), list, looks.record)
        return found

    async def count(self, queues: tuple[str, ...] | None = None) -> list[Count]:
        looks = self._at("count")
        found: list[Count] = looks.items(await self.inner.count(queues), list, looks.count)
        return found

    async def next_due(self, queues: tuple[str, ...] | None = None) -> datetime | None:
        answer = await self.inner.next_due(queues)
        return None if answer is None else self._at("next_due").plain(answer, datetime)

    async def delete(self, held: Sequence[Held]) -> set[str]:
        looks = self._at("delete")
        found: set[str] = looks.items(await self.inner.delete(held), set, looks.text)
        return found

    async def lock(self, name: str, owner: str, ttl: timedelta, *, now: datetime | None = None) -> bool:
        return self._at("lock").plain(await self.inner.lock(name, owner, ttl, now=now), bool)

    async def unlock(self, name: str, owner: str) -> bool:
        return self._at("unlock").plain(await self.inner.unlock(name, owner), bool)

    async def read_records(self, prefix: str) -> dict[str, NamedRecord]:
        looks = self._at("read_records")
        return looks.mapping(await self.inner.read_records(prefix), looks.named)

    async def write_records(self, records: Sequence[NamedRecord]) -> set[str]:
        looks = self._at("write_records")
        found: set[str] = looks.items(await self.inner.write_records(records), set, looks.text)
        return found

    def _at(self, method: str) -> _Looks:
        return _Looks(method, self.answers)


def typed(client: QueueBackend, answers: Answers) -> QueueBackend:
    """The client, with its answers looked at."""
    return with_the_rest(TypedClient, client)(client, answers)


def wrong_type(text: str) -> Violation | None:
    """What a traceback of another process says of a wrong type, if that is what ended there."""
    _, found, sentence = text.strip().rpartition(f"Violation: {TYPES}: ")
    return Violation(f"{TYPES}: {sentence}") if found and "\n" not in sentence else None


def _is_naive(value: Any) -> bool:
    return isinstance(value, datetime) and value.tzinfo is None


def _make(kind: Any, entries: Any) -> Any:
    return kind(entries)


def _an(noun: str) -> str:
    return f"{'an' if noun[:1].lower() in 'aeio' else 'a'} {noun}"


def _kind(value: Any) -> str:
    """What a value is, in words."""
    if value is None:
        return "None"
    if _is_naive(value):
        return "a naive datetime"
    return _an(type(value).__name__)


def _state(value: Any) -> State:
    if not isinstance(value, str):
        raise TypeError
    return stored_state(value)


def _aware(value: Any) -> datetime:
    moment: datetime = datetime.fromisoformat(value) if isinstance(value, str) else value
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _number(value: Any) -> int:
    if isinstance(value, float) and not value.is_integer():
        raise ValueError
    return int(value)


def _text(value: Any) -> str:
    if isinstance(value, (bytes, bytearray)):
        return value.decode()
    if value is None:
        raise TypeError
    return str(value)


_TURNS: Mapping[type[Any], Callable[[Any], Any]] = {
    str: _text,
    int: _number,
    float: float,
    bool: bool,
    datetime: _aware,
    State: _state,
}
"""How a value of another type becomes one of the promised type."""
_PROMISED: Mapping[type[Any], str] = {datetime: "a datetime with a time zone"}
_OF_KINDS: Mapping[str, type[Any]] = {
    "state": State,
    "int": int,
    "bigint": int,
    "float": float,
    "time": datetime,
}
_FIELDS = tuple(
    (name, _OF_KINDS.get(BY_NAME[name].kind, str), BY_NAME[name].nullable) for name in TaskRecord.__struct_fields__
)
"""The fields of a record, the type of each, and whether it may be None."""
_OF_COUNTS = (("queue", str, False), ("state", State, False), ("tasks", int, False))
_OF_NAMED = (("name", str, False), ("version", int, False), ("value", str, False))
