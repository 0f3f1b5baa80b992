"""Programs: what is done in one transaction, without doing any I/O.

A program is a generator that yields a `Call`, is sent the `Rows` that it brought, and returns the answer. It is started
afresh for each attempt, so that a transaction which lost a conflict is tried again as a whole. Whoever runs it owns the
connection, the transaction and the time to wait.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

from litestar_queues.backends.retry import ConflictError, LostConnectionError
from litestar_queues.backends.sql.family import Kind, Statement

__all__ = (
    "Call",
    "ConflictError",
    "Done",
    "LostConnectionError",
    "Program",
    "Rows",
    "Steps",
    "advance",
    "defines",
    "reads",
    "statements",
    "writes",
    "writes_each",
    "writes_once",
)

T = TypeVar("T")
S = TypeVar("S")
P = ParamSpec("P")


@dataclass(frozen=True, slots=True)
class Call:
    """A statement to send, with its named parameters."""

    statement: Statement
    parameters: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class Load:
    """Rows to be loaded into a table in bulk, in whichever way the database has for that."""

    table: str
    columns: Mapping[str, Sequence[Any]]
    """The values of each column, in the order of the rows."""
    leaving: bool = False
    """Whether a row whose id is stored, or whose key is held, is left out, where it would otherwise be an error: then the
    answer says how many rows were stored, or, with a negative number, that this is not known."""


@dataclass(frozen=True, slots=True)
class Rows:
    """What a statement brought: its rows, values by position; and how many rows a write without any changed."""

    rows: Sequence[Sequence[Any]] = ()
    affected: int = 0


Steps = Generator[Call | Load, Rows, T]


@dataclass(frozen=True, slots=True)
class Done(Generic[T]):
    """The answer of a program that has come to its end."""

    answer: T


def advance(steps: Steps[T], rows: Rows | None = None) -> Call | Load | Done[T]:
    """Give the rows of the last statement to a program, or nothing to start it; the next statement, or the end."""
    try:
        return next(steps) if rows is None else steps.send(rows)
    except StopIteration as done:
        return Done(done.value)


@dataclass(frozen=True, slots=True)
class Program(Generic[T]):
    """The steps of one transaction, the kind that it needs, and whether it may be repeated.

    One that may be repeated answers the second time as it would have the first time, or as a write that was refused: so
    where the reply was lost, it is sent once more. An unhurried one may take as long as it does: a server that builds an
    index is silent for a while, and well.
    """

    name: str
    kind: Kind
    start: Callable[[], Steps[T]]
    repeatable: bool = True
    unhurried: bool = False


def _program(
    kind: Kind, *, repeatable: bool = True, unhurried: bool = False
) -> Callable[[Callable[Concatenate[S, P], Steps[T]]], Callable[Concatenate[S, P], Program[T]]]:
    def decorate(steps: Callable[Concatenate[S, P], Steps[T]]) -> Callable[Concatenate[S, P], Program[T]]:
        @wraps(steps)
        def make(self: S, /, *args: P.args, **kwargs: P.kwargs) -> Program[T]:
            return Program(steps.__name__, kind, lambda: steps(self, *args, **kwargs), repeatable, unhurried)

        return make

    return decorate


defines = _program(Kind.WRITE, unhurried=True)
"""Makes a program that defines tables of a method that yields its statements."""
reads = _program(Kind.READ)
"""Makes a program that reads of a method that yields its statement."""
writes = _program(Kind.WRITE)
"""Makes a program that writes of a method that yields its statements, which take effect together."""
writes_each = _program(Kind.EACH)
"""Makes a program of a method that yields statements each of which may take effect by itself."""
writes_once = _program(Kind.EACH, repeatable=False)
"""The same for what would do more if it were repeated after a lost reply."""


def statements(name: str, texts: Sequence[str]) -> Program[None]:
    """A program of statements that stand in no family's file, which take effect together."""

    def steps() -> Steps[None]:
        for text in texts:
            yield Call(Statement(name, text))

    return Program(name, Kind.WRITE, steps, unhurried=True)
