"""How one statement goes to the database: compiled once, bound each time, and sent on the driver's own connection.

SQLSpec's compiled 0.69 keeps two objects of every `SQL(...)` that it compiles, about 340 bytes, for as long as the process
runs; a text with parameters keeps none, but corrupts memory where the database refuses it. So each statement is compiled
by SQLSpec once. From then on, its text and the order of its parameters are known, and it is sent without SQLSpec's own
dispatch. Everything around that stays SQLSpec's: the session, the conversion of values, the classes of errors, the
observers, the spans and the comments of `enable_sqlcommenter`.

An adapter chooses its `Way`. Those that call the driver directly are also safe to cancel: no coroutine of SQLSpec's
compiled code is on the way. `THROUGH_DRIVER` is for every other adapter.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from sqlspec.core import SQL
from sqlspec.core.sqlcommenter import format_wire_sqlcomment, strip_sqlcomment

# The state of a compiled statement has no public name; `test_sqlspec_forms` fails where it is another one.
from sqlspec.core.statement import ProcessedState

from litestar_queues.backends.sql.program import Call, Rows

__all__ = ("BY_CURSOR", "THROUGH_DRIVER", "Prepared", "Way", "by_position", "prepared", "send", "send_async")

_MOST = 1024
"""Statements that stay prepared; a queue has about 50."""


class _Mark:
    """Stands for the value of a parameter where a statement is compiled. No driver converts it."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A statement that SQLSpec has compiled for one configuration.

    Attributes:
        text: What the driver is sent, with its own placeholders.
        percents: The same, with each percent sign doubled that begins no placeholder.
        order: The names of the parameters by position; None where the driver takes them by name.
        names: The parameter for each of the driver's own names.
        returns_rows: Whether the statement answers with rows.
        operation: SQLSpec's word for the kind of the statement.
        sql: The statement as SQLSpec has it; some drivers look at it when they convert values.
    """

    text: str
    percents: str
    order: tuple[str, ...] | None
    names: Mapping[str, str]
    returns_rows: bool
    operation: str
    sql: SQL


@dataclass(frozen=True, slots=True)
class Way:
    """How an adapter sends a statement that is prepared.

    Attributes:
        send: Takes SQLSpec's driver, the text to send, the prepared statement and its values; returns the `Rows`, or, for an
            async driver, an awaitable of them.
        percents: Whether the driver reads a percent sign as the beginning of a placeholder, so that others are doubled.
    """

    send: Callable[[Any, str, Prepared, Any], Any]
    percents: bool = False


_prepared: dict[tuple[int, str], Prepared] = {}


def prepared(call: Call, config: Any) -> Prepared:
    """The statement of a call, compiled for a configuration; the work is done the first time only."""
    statement_config = config.statement_config
    key = (id(statement_config), call.statement.text)
    found = _prepared.get(key)
    # What is prepared holds on to the configuration, so that no other one can have its id meanwhile.
    if found is None:
        if len(_prepared) >= _MOST:
            _prepared.clear()
        found = _prepared[key] = _compile(call, statement_config)
    return found


def _compile(call: Call, statement_config: Any) -> Prepared:
    marks = {name: _Mark(name) for name in call.parameters}
    sql = SQL(call.statement.text, marks, statement_config=statement_config)
    compiled, given = sql.compile()
    text = strip_sqlcomment(compiled) if statement_config.enable_sqlcommenter else compiled
    by_name = isinstance(given, dict)
    named = cast("dict[str, _Mark]", given if by_name else {})
    order = None if by_name else tuple(mark.name for mark in cast("Sequence[_Mark]", given or ()))
    places = {info.position for info in statement_config.parameter_validator.extract_parameters(text)}
    percents = "".join("%%" if sign == "%" and at not in places else sign for at, sign in enumerate(text))
    return Prepared(
        text=text,
        percents=percents if given else text,
        order=order,
        names={key: mark.name for key, mark in named.items()},
        returns_rows=sql.returns_rows(),
        operation=sql.operation_type,
        sql=sql,
    )


def _bound(driver: Any, call: Call, one: Prepared, config: Any) -> Any:
    """The values of a call, as the driver takes them."""
    given = call.parameters
    values: Any
    if one.order is None:
        values = {key: given[name] for key, name in one.names.items()}
    else:
        values = [given[name] for name in one.order]
    return driver.prepare_driver_parameters(values, config.statement_config, prepared_statement=one.sql)


def _text(one: Prepared, config: Any, way: Way) -> str:
    text = one.percents if way.percents else one.text
    if config.statement_config.enable_sqlcommenter:
        return format_wire_sqlcomment(text, config.statement_config)
    return text


def send(driver: Any, call: Call, config: Any, way: Way) -> Rows:
    """Send a statement on a sync driver.

    Raises:
        SQLSpecError: The database refused it.
        Exception: What the driver raises, where SQLSpec has no class for it.
    """
    one = prepared(call, config)
    values = _bound(driver, call, one, config)
    text = _text(one, config, way)
    runtime = driver.observability
    if runtime.is_idle:
        return _mapped(driver, way, text, one, values)
    watch = _Watch(driver, runtime, text, one, values)
    runtime.emit_query_start_sync(**watch.context)
    watch.begin()
    failure: Exception | None = None
    rows = Rows()
    try:
        rows = _mapped(driver, way, text, one, values)
    except Exception as error:  # noqa: BLE001  # raised below
        failure = error
    watch.end(failure)
    if failure is not None:
        runtime.emit_error_sync(failure, **watch.context)
        raise failure
    runtime.emit_query_complete_sync(**watch.context, rows_affected=rows.affected)
    watch.tell(rows)
    return rows


async def send_async(driver: Any, call: Call, config: Any, way: Way) -> Rows:
    """Send a statement on an async driver.

    Raises:
        SQLSpecError: The database refused it.
        Exception: What the driver raises, where SQLSpec has no class for it.
    """
    one = prepared(call, config)
    values = _bound(driver, call, one, config)
    text = _text(one, config, way)
    runtime = driver.observability
    if runtime.is_idle:
        return await _mapped_async(driver, way.send(driver, text, one, values))
    watch = _Watch(driver, runtime, text, one, values)
    await runtime.emit_query_start_async(**watch.context)
    watch.begin()
    failure: Exception | None = None
    rows = Rows()
    try:
        rows = await _mapped_async(driver, way.send(driver, text, one, values))
    except Exception as error:  # noqa: BLE001  # raised below
        failure = error
    watch.end(failure)
    if failure is not None:
        await runtime.emit_error_async(failure, **watch.context)
        raise failure
    await runtime.emit_query_complete_async(**watch.context, rows_affected=rows.affected)
    watch.tell(rows)
    return rows


def _mapped(driver: Any, way: Way, text: str, one: Prepared, values: Any) -> Rows:
    """The answer, or the error in SQLSpec's class for it."""
    try:
        rows: Rows = way.send(driver, text, one, values)
    except Exception as error:  # noqa: BLE001  # raised below: compiled code had better not run where one is handled
        caught = error
    else:
        return rows
    try:
        handler = driver.handle_database_exceptions()
        handler.__exit__(type(caught), caught, caught.__traceback__)
        raise handler.pending_exception or caught
    finally:
        del caught  # it holds this frame


async def _mapped_async(driver: Any, sending: Awaitable[Rows]) -> Rows:
    """The same of an async driver."""
    try:
        return await sending
    except Exception as error:  # noqa: BLE001  # as above
        caught = error
    try:
        handler = driver.handle_database_exceptions()
        await handler.__aexit__(type(caught), caught, caught.__traceback__)
        raise handler.pending_exception or caught
    finally:
        del caught


class _Watch:
    """What the observers of one statement learn, in the way in which SQLSpec's own dispatch reports it."""

    def __init__(self, driver: Any, runtime: Any, text: str, one: Prepared, values: Any) -> None:
        self._runtime = runtime
        self._mode = driver.statement_config.execution_mode
        self.context: dict[str, Any] = {
            "sql": text,
            "parameters": values,
            "driver": type(driver).__name__,
            "operation": one.operation,
            "is_many": False,
            "is_script": False,
        }
        self._span: Any = None
        self._began = 0.0
        self._took = 0.0

    def begin(self) -> None:
        said = self.context
        self._span = self._runtime.start_query_span(said["sql"], said["operation"], said["driver"])
        self._began = time.perf_counter()

    def end(self, error: Exception | None) -> None:
        self._took = time.perf_counter() - self._began
        self._runtime.span_manager.end_span(self._span, error=error)

    def tell(self, rows: Rows) -> None:
        """Report the statement to the observers that see each one."""
        self._runtime.emit_statement_event(
            **self.context,
            execution_mode=self._mode,
            rows_affected=rows.affected,
            duration_s=self._took,
            storage_backend=None,
            started_at=self._began,
        )


def by_position(rows: Sequence[Any] | None) -> Sequence[Sequence[Any]]:
    """Rows with their values by position, whatever the user's row factory makes of them."""
    if not rows:
        return ()
    return [tuple(row.values()) for row in rows] if isinstance(rows[0], Mapping) else rows


def _by_cursor(driver: Any, text: str, _one: Prepared, values: Any) -> Any:
    if driver.is_async:
        return _by_cursor_async(driver, text, values)
    with driver.with_cursor(driver.connection) as cursor:
        cursor.execute(text, *([values] if values else []))
        if cursor.description:
            rows = by_position(cursor.fetchall())
            return Rows(rows, len(rows))
        return Rows((), max(cursor.rowcount, 0))


async def _by_cursor_async(driver: Any, text: str, values: Any) -> Rows:
    async with driver.with_cursor(driver.connection) as cursor:
        await cursor.execute(text, *([values] if values else []))
        if cursor.description:
            rows = by_position(await cursor.fetchall())
            return Rows(rows, len(rows))
        return Rows((), max(cursor.rowcount, 0))


def _through_driver(driver: Any, text: str, one: Prepared, values: Any) -> Any:
    # Sharing what SQLSpec knows of the statement is what keeps it from making, and keeping, new objects.
    known = one.sql.get_processed_state()
    state = ProcessedState(
        compiled_sql=text,
        execution_parameters=values,
        parsed_expression=known.parsed_expression,
        operation_type=known.operation_type,
        input_named_parameters=known.input_named_parameters,
        applied_wrap_types=known.applied_wrap_types,
        parameter_casts=known.parameter_casts,
        parameter_profile=known.parameter_profile,
        operation_profile=known.operation_profile,
        expression_is_shared=True,
    )
    # SQLSpec has no public way to make a statement of its parts.
    make: Any = SQL._create_cached_direct  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    statement = make(one.sql.raw_sql, one.sql.statement_config, state, pooled=False)
    if driver.is_async:
        return _dispatched_async(driver, statement)
    with driver.with_cursor(driver.connection) as cursor:
        return _rows_of(driver.dispatch_execute(cursor, statement))


async def _dispatched_async(driver: Any, statement: SQL) -> Rows:
    async with driver.with_cursor(driver.connection) as cursor:
        return _rows_of(await driver.dispatch_execute(cursor, statement))


def _rows_of(result: Any) -> Rows:
    if result.is_select_result:
        return Rows(by_position(result.selected_data), result.data_row_count or 0)
    return Rows((), result.rowcount_override or 0)


BY_CURSOR = Way(_by_cursor)
"""On a cursor, whose description says whether there are rows."""
THROUGH_DRIVER = Way(_through_driver)
"""By SQLSpec's driver, with all that it does besides."""
