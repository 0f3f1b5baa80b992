"""Names of keys, and where a task is indexed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from litestar_queues.errors import QueueConfigurationError
from litestar_queues.lifecycle import TERMINAL, UNSTARTED, WAITING, State, holds_key
from litestar_queues.records import TaskRecord

__all__ = ("EXPIRING", "FIELDS", "INDEX", "OWNED", "Namespace", "tables")

INDEX: Mapping[State, str] = {
    State.PENDING: "ready",
    State.SCHEDULED: "later",
    State.DISPATCHED: "dispatched",
    State.RUNNING: "running",
    **dict.fromkeys(TERMINAL, "finished"),
}
"""The index in which a task stands, by its state: this follows from it and from nothing else."""

EXPIRING: Mapping[State, str] = {**dict.fromkeys(WAITING, "expiring"), State.DISPATCHED: "expiring_dispatched"}
"""The index in which an unstarted task stands that can expire. An older version reads the first one alone, so that it does not
meet tasks in a state that it does not know."""

OWNED = frozenset({State.DISPATCHED, State.RUNNING})
"""The states of a task that somebody owns, whose heartbeats count."""

FIELDS = tuple(name for name in TaskRecord.__struct_fields__ if name != "id")
"""The fields of a task's hash, called as those of the record; one that is None is not there."""

_PREFIX_MAX = 200


class Namespace:
    """The keys of one set of queues, all with one hash tag, so that one slot of a cluster holds them.

    Raises:
        QueueConfigurationError: The prefix cannot be used.
    """

    def __init__(self, key_prefix: str) -> None:
        if (
            not isinstance(key_prefix, str)  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without a type checker
            or not 0 < len(key_prefix) <= _PREFIX_MAX
            or any(one in "{}" or not one.isprintable() for one in key_prefix)
        ):
            raise QueueConfigurationError(
                f"key_prefix is a text of 1 to {_PREFIX_MAX} characters, without braces, which make a hash tag of it, and "
                f"without what cannot be printed: not {key_prefix!r:.60}"
            )
        self.space = f"{{{key_prefix}}}:"

    @property
    def hints(self) -> str:
        """The channel of hints to workers."""
        return f"{self.space}hints"

    @property
    def ends(self) -> str:
        """The channel on which ends of tasks are told."""
        return f"{self.space}ends"


def tables() -> str:
    """The tables of `common.lua`, from the lifecycle and the record."""
    places = ", ".join(f"{name} = {place}" for place, name in enumerate(FIELDS, 1))
    return (
        f"local INDEX = {_map(INDEX)} "
        f"local EXPIRING = {_map(EXPIRING)} "
        f"local ACTIVE = {_set(state for state in State if holds_key(state))} "
        f"local WAITING = {_set(WAITING)} "
        f"local UNSTARTED = {_set(UNSTARTED)} "
        f"local OWNED = {_set(OWNED)} "
        f"local TERMINAL = {_set(TERMINAL)} "
        f"local FIELDS = {{ {', '.join(repr(name) for name in FIELDS)} }} "
        f"local AT = {{ {places} }}"
    )


def _map(names: Mapping[State, str]) -> str:
    return f"{{ {', '.join(f'{state.value} = {name!r}' for state, name in sorted(names.items()))} }}"


def _set(states: Iterable[State]) -> str:
    return f"{{ {', '.join(f'{state.value} = true' for state in sorted(states))} }}"
