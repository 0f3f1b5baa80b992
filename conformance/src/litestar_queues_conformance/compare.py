"""How two answers are compared: exactly, with types, and with a text that shows what differs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from litestar_queues.records import Enqueued, TaskRecord

__all__ = ("JSON_FIELDS", "difference", "json_value")

JSON_FIELDS = ("args", "kwargs", "metadata", "progress", "result", "error")
"""The fields of a record that hold JSON text: a backend may write the same value in other characters."""
_SHOWN = 120


def difference(actual: Any, expected: Any, where: str = "") -> str | None:
    """What differs, in words; None where nothing does."""
    match actual, expected:
        case (TaskRecord(), TaskRecord()):
            return _records(actual, expected, where)
        case (Enqueued(), Enqueued()):
            return difference(actual.is_new, expected.is_new, f"{where}is_new of {expected.record.id} ") or _records(
                actual.record, expected.record, where
            )
        case (list() | tuple(), list() | tuple()):
            return _sequences(actual, expected, where)  # pyright: ignore[reportUnknownArgumentType]  # of anything
        case (Mapping(), Mapping()):
            return _mappings(actual, expected, where)  # pyright: ignore[reportUnknownArgumentType]  # of anything
        case (datetime(), datetime()):
            same = actual == expected and actual.utcoffset() == expected.utcoffset()
        case _:
            same = type(actual) is type(expected) and actual == expected
    return None if same else f"{where}is {_show(actual)}, not {_show(expected)}"


def json_value(text: str | None) -> Any:
    """A JSON text as a value in which `1`, `1.0` and `true` differ, and the order of an object's keys does not count."""
    return None if text is None else _typed(json.loads(text))


def _typed(value: Any) -> Any:
    match value:
        case list():
            return ["list", *(_typed(one) for one in value)]  # pyright: ignore[reportUnknownVariableType]  # of anything
        case dict():
            return {"type": "object", "of": {key: _typed(one) for key, one in value.items()}}  # pyright: ignore[reportUnknownVariableType]  # of anything
        case _:
            return (type(value).__name__, repr(value))


def _records(actual: TaskRecord, expected: TaskRecord, where: str) -> str | None:
    for field in TaskRecord.__struct_fields__:
        a, e = getattr(actual, field), getattr(expected, field)
        name = f"{where}{field} of {expected.id} "
        if field in JSON_FIELDS and isinstance(a, str) and isinstance(e, str):
            if json_value(a) != json_value(e):
                return f"{name}is {_show(a)}, not {_show(e)}"
        elif found := difference(a, e, name):
            return found
    return None


def _sequences(actual: list[Any] | tuple[Any, ...], expected: list[Any] | tuple[Any, ...], where: str) -> str | None:
    if len(actual) != len(expected):
        return f"{where}has {len(actual)} entries, not {len(expected)}: {_show(actual)}, not {_show(expected)}"
    for i, (a, e) in enumerate(zip(actual, expected, strict=True)):
        if found := difference(a, e, f"{where}[{i}] "):
            return found
    return None


def _mappings(actual: Mapping[Any, Any], expected: Mapping[Any, Any], where: str) -> str | None:
    if set(actual) != set(expected):
        return f"{where}has the keys {_show(sorted(map(str, actual)))}, not {_show(sorted(map(str, expected)))}"
    for key in expected:
        if found := difference(actual[key], expected[key], f"{where}[{key!r}] "):
            return found
    return None


def _show(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}... ({len(text)} characters)"
