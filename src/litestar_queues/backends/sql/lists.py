"""Lists of columns, as a family writes them: what the slots of its file of statements are filled with.

A file says what a statement is about: its conditions, order, locks and hints. Which columns there are, and in what
order, stands in `litestar_queues.columns` alone.

`columns`
    The columns of a record, to be read.
`table`
    The columns of the table in the definition of version 1, which stays as it is.
`whole_table`, `whole`
    The columns of a table of a later version, in the definition of one that takes its place, and their names.
`column`, `column_name`
    A column that came later, in the statement that adds it, and its name.
`new_columns`, `new_values`, `new_fields`
    What an enqueue inserts into, what it inserts from the rows `n` of its batch, and how the batch is unpacked. Columns
    whose values a file states itself (`stated`) are left out of the first two.
`changes`, `changed_fields`
    What a transition sets from the rows `c` of its batch, and how the batch is unpacked.
`beat_fields`
    The same for those fields of such a batch that a heartbeat writes.
`held_fields`
    How a batch of heartbeats is unpacked: ids, fences, and what travels with a heartbeat.

Besides, each list of values that an update sets ends with the slot `onupdate`: a family's own table has none, and in a model's
it is what columns of the application get on an update.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from litestar_queues.backends.sql.values import COLUMNS, COMMITTED, ENQUEUED, HELD
from litestar_queues.columns import ACTIVE_KEY, BY_NAME, Column, ColumnKind, states_of
from litestar_queues.columns import COLUMNS as ALL

__all__ = ("STORED", "Lists", "later", "quoted")

STORED = tuple(column for one in ALL for column in ((one, ACTIVE_KEY) if one.name == "key" else (one,)))
"""The columns of the table, in their order."""


def later(version: int | None = None) -> Iterable[Column]:
    """The columns that came after version 1, or with this version."""
    return (one for one in STORED if (one.since > 1 if version is None else one.since == version))


def quoted(texts: Iterable[str]) -> str:
    """Texts as a statement lists them."""
    return ", ".join(f"'{text}'" for text in texts)


def _named(field_: str, kind: str, _place: int) -> str:
    return f"{field_} {kind}"


def _filled(text: str, others: Mapping[str, str]) -> str:
    for name, value in others.items():
        text = text.replace(f"<{name}>", value)
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class Lists:
    """How a family writes lists of columns.

    Attributes:
        types: The type of a column, by what it holds.
        unpacked: The type of a field of a batch, where it is another one.
        unpack: One field of a batch from its name, its type and its place.
        shape: What the fields of a batch stand in, at `{0}`.
        read: What reads a column of a kind, where that is not the column alone; `{0}` is the column, `{1}` its name.
        written: What makes a column's value of a batch's field, where that is not the field alone.
        alias: What stands before a column that is read or set.
        spelt: The names of columns that are words of the language.
        names: What a model's table calls its columns, as they are written in a statement.
        fields: The names of a batch's fields that are, where those have to be called otherwise.
        stated: The columns whose values the file's `enqueue` states itself.
        unsent: The fields that the batch of an enqueue does not have.
        constraints: What stands behind a column in the table's definition.
        earlier: The types of kinds up to and including a version, where they were others once.
        adds_required: Whether a column that is added can be one that has to have a value.
    """

    types: Mapping[ColumnKind, str]
    unpacked: Mapping[ColumnKind, str] = field(default_factory=dict[ColumnKind, str])
    unpack: Callable[[str, str, int], str] = _named
    shape: str = "{0}"
    read: Mapping[ColumnKind, str] = field(default_factory=dict[ColumnKind, str])
    written: Mapping[ColumnKind, str] = field(default_factory=dict[ColumnKind, str])
    alias: str = ""
    spelt: Mapping[str, str] = field(default_factory=dict[str, str])
    names: Mapping[str, str] = field(default_factory=dict[str, str])
    fields: Mapping[str, str] = field(default_factory=dict[str, str])
    stated: frozenset[str] = frozenset({"created_at"})
    unsent: frozenset[str] = frozenset()
    constraints: Mapping[str, str] = field(default_factory=dict[str, str])
    earlier: Mapping[int, Mapping[ColumnKind, str]] = field(default_factory=dict[int, Mapping[ColumnKind, str]])
    adds_required: bool = True

    def slots(self, others: Mapping[str, str]) -> dict[str, str]:
        """What each list's slot is filled with; `others` are the slots that it may name, as `<exact>`."""
        inserted = [one for one in STORED if self._is_inserted(one)]
        made = {
            "columns": ", ".join(self._reading(BY_NAME[name]) for name in COLUMNS),
            "table": self._table(1).replace("<states>", quoted(states_of(1))),
            "new_columns": ", ".join(self._spelling(one) for one in inserted),
            "new_values": ", ".join(self._inserting(one) for one in inserted),
            "new_fields": self._unpacking(ENQUEUED, self.unsent),
            "changes": ", ".join(self._setting(BY_NAME[name]) for name in COMMITTED if name != "id"),
            "changed_fields": self._unpacking(COMMITTED),
            "beat_fields": self._unpacking(
                COMMITTED, set(COMMITTED) - {"id", "fence", "progress", "heartbeat_at", "stale_after"}
            ),
            "held_fields": self._unpacking(HELD),
        }
        return {slot: _filled(text, others) for slot, text in made.items()}

    def added(self, column: Column, others: Mapping[str, str]) -> dict[str, str]:
        """What the slots of the statement that adds a column are filled with."""
        return {
            "column": _filled(self._definition(column, column.since), others),
            "column_name": self._spelling(column),
        }

    def whole(self, version: int, others: Mapping[str, str]) -> dict[str, str]:
        """What the slots of the statements are filled with that put a table of a version in the place of an older one."""
        return {
            "whole_table": _filled(self._table(version), {**others, "states": quoted(states_of(version))}),
            "whole": ", ".join(self._spelling(one) for one in STORED if one.since <= version),
        }

    def _is_inserted(self, column: Column) -> bool:
        return (column.enqueued or column.initial is not None) and column.name not in self.stated

    def _spelling(self, column: Column) -> str:
        return self.spelt.get(column.name, column.name)

    def _name(self, column: Column) -> str:
        return self.names.get(column.name) or self._spelling(column)

    def _reading(self, column: Column) -> str:
        name = f"{self.alias}{self._name(column)}"
        return self.read.get(column.kind, "{0}").format(name, column.name)

    def _table(self, version: int) -> str:
        return ",\n    ".join(self._definition(one, version) for one in STORED if one.since <= version)

    def _definition(self, column: Column, version: int) -> str:
        required = "" if column.nullable else " NOT NULL"
        if column.default is not None:
            required = f" DEFAULT {column.default}{required if self.adds_required else ''}"
        type_ = next(
            (
                types[column.kind]
                for last, types in sorted(self.earlier.items())
                if version <= last and column.kind in types
            ),
            self.types[column.kind],
        )
        return f"{self._spelling(column)} {type_}{required}{self.constraints.get(column.name, '')}"

    def _inserting(self, column: Column) -> str:
        if column.initial is not None:
            return str(column.initial)
        # A new task is active, and holds its key.
        return self._written("n", BY_NAME["key"] if column is ACTIVE_KEY else column)

    def _setting(self, column: Column) -> str:
        return f"{self.alias}{self._name(column)} = {self._written('c', column)}"

    def _written(self, rows: str, column: Column) -> str:
        return self.written.get(column.kind, "{0}").format(f"{rows}.{self._field(column)}")

    def _field(self, column: Column) -> str:
        return self.fields.get(column.name) or self._spelling(column)

    def _unpacking(self, batch: Iterable[str], without: Iterable[str] = ()) -> str:
        left = frozenset(without)
        return self.shape.format(
            ", ".join(
                self.unpack(self._field(column), self.unpacked.get(column.kind) or self.types[column.kind], place)
                for place, column in enumerate(BY_NAME[name] for name in batch)
                if column.name not in left
            )
        )
