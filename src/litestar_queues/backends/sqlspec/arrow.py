"""Bulk loads by Arrow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from litestar_queues.backends.sql.program import Load
from litestar_queues.columns import BY_NAME, ColumnKind

__all__ = ("arrow_table", "is_installed")


def is_installed() -> bool:
    """Whether pyarrow is there."""
    return find_spec("pyarrow") is not None


def arrow_table(load: Load) -> Any:
    """The rows as an Arrow table: each column under its name, in the one type that it always has."""
    pa: Any = import_module("pyarrow")  # which says nothing of its types
    types = _types(pa, load.columns)
    return pa.table({name: pa.array(values, type=types[name]) for name, values in load.columns.items()})


def _types(pa: Any, columns: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    """The types of the columns; those of times depend on how the family writes them, as `created_at` shows."""
    example = columns["created_at"][0]
    time = pa.string()
    if isinstance(example, datetime):
        time = pa.timestamp("us", tz=None if example.tzinfo is None else "UTC")
    of_kind: Mapping[ColumnKind, Any] = {
        "int": pa.int32(), "bigint": pa.int64(), "float": pa.float64(), "time": time,
    }  # fmt: skip
    return {name: of_kind.get(BY_NAME[name].kind, pa.string()) for name in columns}
