"""How two answers are compared: exactly, with types, and with a text that names what differs.

The text stays short however long the answers are: it names the tasks that are missing, the tasks that nobody expected,
the first position that is out of order, and of equal tasks the fields that differ.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from enum import Enum
from typing import Any, cast

import msgspec

from litestar_queues.records import Enqueued, Held, TaskRecord

__all__ = ("JSON_FIELDS", "LONGEST", "difference", "json_value", "shortened", "shown")

JSON_FIELDS = ("args", "kwargs", "metadata", "progress", "result", "error")
"""The fields of a record that hold JSON text: a backend may write the same value in other characters."""
LONGEST = 1500
"""The most characters of a text that says what differs."""
_SHOWN = 100
_NAMES, _ENTRIES, _FIELDS = 5, 3, 5
"""How many ids, entries of a collection, and fields of a record are named at most."""


def difference(actual: Any, expected: Any, where: str = "") -> str | None:
    """What differs, in words; None where nothing does."""
    found = _difference(actual, expected, where)
    return None if found is None else shortened(found, LONGEST)


def json_value(text: str | None) -> Any:
    """A JSON text as a value in which `1`, `1.0` and `true` differ, and the order of an object's keys does not count."""
    return None if text is None else _typed(json.loads(text))


def shortened(text: str, most: int) -> str:
    """The text, or where it is longer than `most` characters its beginning and its length."""
    return text if len(text) <= most else f"{text[:most]}... ({len(text):,} characters)"


def shown(value: Any) -> str:
    """A value in at most a line; of a task, which one it is and how it stands."""
    match value:
        case TaskRecord():
            return f"the task {value.id} ({value.state}, fence {value.fence})"
        case Enqueued() | (bool(), TaskRecord()):
            return f"the task {_record(value).id} ({_record(value).state}, fence {_record(value).fence})"
        case list() | tuple() if len(cast("Sequence[Any]", value)) > _NAMES:
            entries = cast("Sequence[Any]", value)
            return f"[{_names(map(shown, entries))}]"
        case _:
            return shortened(repr(value), _SHOWN)


def _difference(actual: Any, expected: Any, where: str) -> str | None:
    kinds = actual, expected
    match kinds:
        case (TaskRecord(), TaskRecord()):
            return _records(actual, expected, where)
        case (Enqueued(), Enqueued()):
            is_new = _difference(actual.is_new, expected.is_new, f"{where}is_new of {expected.record.id} ")
            return is_new or _records(actual.record, expected.record, where)
        case (list() | tuple(), list() | tuple()):
            return _sequences(actual, expected, where)
        case (Mapping(), Mapping()):
            return _mappings(actual, expected, where)
        case (AbstractSet(), AbstractSet()) if isinstance(actual, type(expected)):
            return _members(Counter(actual), Counter(expected), where)
        case (datetime(), datetime()):
            same = actual == expected and actual.utcoffset() == expected.utcoffset()
        case _:
            same = _same_kind(actual, expected) and _plain(actual, expected) == expected
    return None if same else f"{where}{_unequal(actual, expected)}"


def _same_kind(actual: Any, expected: Any) -> bool:
    """Whether one is of the other's type, or of a subclass; a truth value is no number, and a state no text."""
    own = isinstance(actual, (bool, Enum))
    return type(actual) is type(expected) or (isinstance(actual, type(expected)) and not own)


def _plain(actual: Any, expected: Any) -> Any:
    """A struct of a subclass as one of the expected type: structs of two types are never equal."""
    if type(actual) is type(expected) or not isinstance(expected, msgspec.Struct):
        return actual
    return type(expected)(*(getattr(actual, name) for name in expected.__struct_fields__))


def _typed(value: Any) -> Any:
    match value:
        case list():
            return ["list", *(_typed(one) for one in value)]  # pyright: ignore[reportUnknownVariableType]  # of anything
        case dict():
            return {"type": "object", "of": {key: _typed(one) for key, one in value.items()}}  # pyright: ignore[reportUnknownVariableType]  # of anything
        case _:
            return (type(value).__name__, repr(value))


def _records(actual: TaskRecord, expected: TaskRecord, where: str) -> str | None:
    """Every field that differs."""
    found: list[str] = []
    for field in TaskRecord.__struct_fields__:
        a, e = getattr(actual, field), getattr(expected, field)
        name = f"{where}{field} of {expected.id} " if not found else f"{field} "
        if field in JSON_FIELDS and isinstance(a, str) and isinstance(e, str):
            if not _same_json(a, e):
                found.append(f"{name}{_unequal(a, e)}")
        elif one := _difference(a, e, name):
            found.append(one)
    return _listed(found, _FIELDS) if found else None


def _same_json(actual: str, expected: str) -> bool:
    try:
        return bool(json_value(actual) == json_value(expected))
    except ValueError:  # what a backend gives need not be JSON
        return actual == expected


def _sequences(actual: Sequence[Any], expected: Sequence[Any], where: str) -> str | None:
    names, wanted = _identities(actual), _identities(expected)
    if names is not None and wanted is not None and names != wanted:
        return _members(Counter(names), Counter(wanted), where) or _order(actual, expected, names, wanted, where)
    pairs = list(zip(actual, expected, strict=False))
    found = [one for i, (a, e) in enumerate(pairs) if (one := _difference(a, e, f"{where}[{i}] "))]
    if len(actual) != len(expected):
        longer = f"{where}has {len(actual)} entries, not {len(expected)}"
        if found:
            return f"{longer}: the first difference: {found[0]}"
        more, what = (actual, "not expected") if len(actual) > len(expected) else (expected, "missing")
        return f"{longer}: {what}: {_names(map(shown, more[len(pairs) :]))}"
    if not found:
        return None
    return _listed(found, _ENTRIES) if len(found) == 1 else f"{len(found)} entries differ: {_listed(found, _ENTRIES)}"


def _mappings(actual: Mapping[Any, Any], expected: Mapping[Any, Any], where: str) -> str | None:
    if wrong := _members(Counter(list(actual)), Counter(list(expected)), where, what="keys"):
        return wrong
    found = [one for key in expected if (one := _difference(actual[key], expected[key], f"{where}[{shown(key)}] "))]
    if not found:
        return None
    return _listed(found, _ENTRIES) if len(found) == 1 else f"{len(found)} values differ: {_listed(found, _ENTRIES)}"


def _members(actual: Counter[Any], expected: Counter[Any], where: str, *, what: str = "entries") -> str | None:
    """What is missing, and what was not expected; nothing about the order."""
    missing, extra = expected - actual, actual - expected
    if not missing and not extra:
        return None
    again = [one for one in extra if expected[one]]
    new = [one for one in extra if not expected[one]]
    parts = [
        f"{says}: {_names(sorted(map(shown, ones)))}"
        for says, ones in (("missing", missing), ("not expected", new), ("given more than once", again))
        if ones
    ]
    return f"{where}has {actual.total()} {what}, not {expected.total()}: {'; '.join(parts)}"


def _order(
    actual: Sequence[Any], expected: Sequence[Any], names: Sequence[Any], wanted: Sequence[Any], where: str
) -> str:
    """Where two sequences of the same tasks part."""
    at = next(i for i, (a, e) in enumerate(zip(names, wanted, strict=True)) if a != e)
    return (
        f"{where}has the {len(actual)} expected entries in another order: [{at}] is {_placed(actual[at])}, "
        f"not {_placed(expected[at])}"
    )


def _identities(entries: Sequence[Any]) -> list[Hashable] | None:
    """What each entry is called, where all of them can be told apart by that: the ids of tasks, or texts."""
    names = [_identity(entry) for entry in entries]
    return None if None in names else names


def _identity(entry: Any) -> Hashable:
    match entry:
        case str():
            return entry
        case TaskRecord() | Held():
            return entry.id
        case Enqueued() | (bool(), TaskRecord()):
            return _record(entry).id
        case _:
            return None


def _record(entry: Any) -> TaskRecord:
    return entry.record if isinstance(entry, Enqueued) else cast("TaskRecord", entry[1])


def _placed(entry: Any) -> str:
    """An entry, and for a task what its place in an order can depend on."""
    record = entry if isinstance(entry, (str, TaskRecord, Held)) else _record(entry)
    if not isinstance(record, TaskRecord):
        return shown(record)
    return f"{record.id} (priority {record.priority}, due {record.due_at}, created {record.created_at})"


def _unequal(actual: Any, expected: Any) -> str:
    texts = isinstance(actual, (str, bytes)) and type(actual) is type(expected)
    if texts and max(len(actual), len(expected)) > _SHOWN:
        return _long_texts(actual, expected)
    return f"is {shown(actual)}, not {shown(expected)}"


def _long_texts(actual: str | bytes, expected: str | bytes) -> str:
    shorter = min(len(actual), len(expected))
    at = next((i for i in range(shorter) if actual[i] != expected[i]), shorter)
    begin, end = max(at - 10, 0), at + 30
    return (
        f"has {len(actual):,} characters, not {len(expected):,}, and differs from position {at:,} on: "
        f"{actual[begin:end]!r}, not {expected[begin:end]!r}"
    )


def _listed(found: Sequence[str], most: int) -> str:
    more = f" (and {len(found) - most} more)" if len(found) > most else ""
    return f"{'; '.join(found[:most])}{more}"


def _names(names: Iterable[str]) -> str:
    listed = list(names)
    more = f" and {len(listed) - _NAMES} more" if len(listed) > _NAMES else ""
    return f"{', '.join(listed[:_NAMES])}{more}"
