"""A client with those of python-oracledb's methods that SQLSpec's driver calls, in front of a PostgreSQL.

It is stricter than the real one: it refuses parameters that are not in the text, empty texts, texts that are longer than a
VARCHAR2, and lists and batches that are no JSON.
"""

from __future__ import annotations

import asyncio
import json
import queue
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import oracledb as _oracledb
import psycopg

from litestar_queues_matrix.oracle_standin.words import SETUP, binds_in, translated

oracledb: Any = _oracledb  # whose types of columns are not typed

__all__ = ("AsyncPool", "BadBindError", "Lob", "Pool", "Sent", "checked", "set_up")

_LONGEST = 4000
_JSON = ("ids", "keys", "queues", "held", "batch", "states", "names", "execution_backends")
_CODES = {
    "23502": 1400,
    "23505": 1,
    "23514": 2290,
    "25006": 16000,
    "40001": 8177,
    "40P01": 60,
    "42P01": 942,
    "42710": 955,
    "42P07": 955,
    "55P03": 54,
}
_SETUP_LOCK = 810_019


class BadBindError(AssertionError):
    """A parameter that Oracle would refuse, or take for another."""


@dataclass(frozen=True, slots=True)
class Lob:
    """A temporary LOB with its text."""

    kind: Any
    text: str


@dataclass(frozen=True, slots=True)
class Sent:
    """A statement as it reached the client, with its parameters."""

    text: str
    parameters: Mapping[str, Any]


def checked(text: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The values of the parameters, as PostgreSQL takes them.

    Raises:
        BadBindError: Oracle would not take them, or would take something else.
    """
    if frozenset(parameters) != binds_in(text):
        raise BadBindError(f"{sorted(parameters)} given, {sorted(binds_in(text))} in the text: {text}")
    values: dict[str, Any] = {}
    for name, value in parameters.items():
        if isinstance(value, Lob):
            if value.kind is not oracledb.DB_TYPE_CLOB or not value.text:
                raise BadBindError(f":{name} is no CLOB with a text")
            values[name] = value.text
        elif (
            value is None
            or (isinstance(value, (int, float)) and not isinstance(value, bool))
            or (isinstance(value, str) and value and len(value.encode()) <= _LONGEST)
        ):
            values[name] = value
        else:
            raise BadBindError(f":{name} cannot be {type(value).__name__} {str(value)[:40]!r}")
        if name in _JSON and value is not None:
            json.loads(values[name])
    return values


@dataclass(frozen=True, slots=True)
class _Told:
    """What python-oracledb's errors carry."""

    code: int
    full_code: str
    message: str
    isrecoverable: bool = False

    def __str__(self) -> str:
        return f"{self.full_code}: {self.message}"


def _as_oracles(error: psycopg.Error) -> Exception:
    text = " ".join(str(error).split())
    kind: type[Exception] = oracledb.DatabaseError
    if error.sqlstate is None or error.sqlstate.startswith(("57P", "08")):
        return kind(_Told(0, "DPY-4011", f"the database or network closed the connection ({text})"))
    code = _CODES.get(error.sqlstate, 900)
    if code in (1, 1400, 2290):
        kind = oracledb.IntegrityError
    return kind(_Told(code, f"ORA-{code:05}", text))


def _rows(fetched: Iterable[Sequence[Any]]) -> list[tuple[Any, ...]]:
    return [tuple(int(value) if isinstance(value, Decimal) else value for value in row) for row in fetched]


def _described(cursor: Any) -> list[tuple[Any, ...]] | None:
    if cursor.description is None:
        return None
    kinds = {"text": oracledb.DB_TYPE_CLOB, "numeric": oracledb.DB_TYPE_NUMBER, "timestamp": oracledb.DB_TYPE_TIMESTAMP}
    types = psycopg.adapters.types
    columns: list[tuple[Any, ...]] = []
    for column in cursor.description:
        known = types.get(column.type_code)
        kind = kinds.get(known.name if known else "", oracledb.DB_TYPE_VARCHAR)
        columns.append((column.name.upper(), kind, None, None, None, None, True))
    return columns


class _Cursor:
    def __init__(self, connection: _Connection) -> None:
        self._connection = connection
        self.connection = connection
        self.description: list[tuple[Any, ...]] | None = None
        self.rowcount = -1
        self._fetched: list[tuple[Any, ...]] = []
        self.arraysize = 100
        self.prefetchrows = 2

    def _take(self, cursor: Any, rows: Iterable[Sequence[Any]]) -> None:
        self.description = _described(cursor)
        self.rowcount = max(cursor.rowcount, 0)
        self._fetched = _rows(rows)

    def close(self) -> None: ...


class Cursor(_Cursor):
    """For the sync driver."""

    def execute(self, text: str, parameters: Mapping[str, Any] | None = None, **_options: Any) -> None:
        values = self._connection.note(text, parameters or {})
        try:
            with self._connection.inner.cursor() as cursor:
                cursor.execute(translated(text), values)
                self._take(cursor, cursor.fetchall() if cursor.description else ())
        except psycopg.Error as error:
            raise _as_oracles(error) from error

    def fetchall(self) -> list[tuple[Any, ...]]:
        return self._fetched


class AsyncCursor(_Cursor):
    """For the async driver."""

    async def execute(self, text: str, parameters: Mapping[str, Any] | None = None, **_options: Any) -> None:
        values = self._connection.note(text, parameters or {})
        try:
            async with self._connection.inner.cursor() as cursor:
                await cursor.execute(translated(text), values)
                self._take(cursor, await cursor.fetchall() if cursor.description else ())
        except psycopg.Error as error:
            raise _as_oracles(error) from error

    async def fetchall(self) -> list[tuple[Any, ...]]:
        return self._fetched


class _Connection:
    version = "19.0.0.0.0"
    thin = True
    username = "QUEUES"

    def __init__(self, inner: Any, log: list[Sent | str]) -> None:
        self.inner = inner
        self.log = log
        self.inputtypehandler: Any = None
        self.outputtypehandler: Any = None

    @property
    def transaction_in_progress(self) -> bool:
        return bool(self.inner.info.transaction_status != psycopg.pq.TransactionStatus.IDLE)

    def note(self, text: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        values = checked(text, parameters)
        self.log.append(Sent(text, dict(parameters)))
        return values

    def cancel(self) -> None:
        self.inner.cancel()


class Connection(_Connection):
    """For the sync driver."""

    def cursor(self) -> Cursor:
        return Cursor(self)

    def createlob(self, kind: Any, data: str) -> Lob:
        return Lob(kind, data)

    def commit(self) -> None:
        self._end("commit")

    def rollback(self) -> None:
        self._end("rollback")

    def _end(self, how: str) -> None:
        self.log.append(how)
        try:
            getattr(self.inner, how)()
        except psycopg.Error as error:
            raise _as_oracles(error) from error


class AsyncConnection(_Connection):
    """For the async driver."""

    def cursor(self) -> AsyncCursor:
        return AsyncCursor(self)

    async def createlob(self, kind: Any, data: str) -> Lob:
        return Lob(kind, data)

    async def commit(self) -> None:
        await self._end("commit")

    async def rollback(self) -> None:
        await self._end("rollback")

    async def _end(self, how: str) -> None:
        self.log.append(how)
        try:
            await getattr(self.inner, how)()
        except psycopg.Error as error:
            raise _as_oracles(error) from error


_set_up: set[str] = set()
_setting_up = threading.Lock()


def set_up(url: str) -> None:
    """Give the server at this URL what of Oracle's catalog is asked for, once."""
    with _setting_up:
        if url in _set_up:
            return
        with psycopg.connect(url) as connection:
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (_SETUP_LOCK,))
            for statement in SETUP:
                connection.execute(statement)
        _set_up.add(url)


def _settings(url: str) -> dict[str, Any]:
    return {"conninfo": url, "options": "-c search_path=public,oracle", "connect_timeout": 10}


class Pool:
    """Connections for the sync driver; a broken one is thrown away."""

    def __init__(self, url: str, size: int, log: list[Sent | str]) -> None:
        self._url, self._log = url, log
        self._free: queue.LifoQueue[Connection | None] = queue.LifoQueue()
        for _ in range(size):
            self._free.put(None)

    def acquire(self) -> Connection:
        free = self._free.get(timeout=60)
        if free is not None:
            return free
        try:
            set_up(self._url)
            return Connection(psycopg.connect(**_settings(self._url)), self._log)
        except psycopg.Error as error:
            self._free.put(None)
            raise _as_oracles(error) from error

    def release(self, connection: Connection) -> None:
        try:
            connection.inner.rollback()
        except psycopg.Error:
            connection.inner.close()
            self._free.put(None)
        else:
            self._free.put(connection)

    def close(self) -> None:
        while not self._free.empty():
            free = self._free.get_nowait()
            if free is not None:
                free.inner.close()


class AsyncPool:
    """The same for the async driver."""

    def __init__(self, url: str, size: int, log: list[Sent | str]) -> None:
        self._url, self._log = url, log
        self._slots = asyncio.Semaphore(size)
        self._free: list[AsyncConnection] = []

    async def acquire(self) -> AsyncConnection:
        await self._slots.acquire()
        try:
            if self._free:
                return self._free.pop()
            await asyncio.to_thread(set_up, self._url)  # what the URL leads to may live in this event loop
            return AsyncConnection(await psycopg.AsyncConnection.connect(**_settings(self._url)), self._log)
        except psycopg.Error as error:
            self._slots.release()
            raise _as_oracles(error) from error
        except BaseException:
            self._slots.release()
            raise

    async def release(self, connection: AsyncConnection) -> None:
        try:
            await connection.inner.rollback()
        except psycopg.Error:
            await connection.inner.close()
        else:
            self._free.append(connection)
        finally:
            self._slots.release()

    async def close(self) -> None:
        while self._free:
            await self._free.pop().inner.close()
