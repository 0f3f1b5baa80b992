"""The packaged migrations: what they do, who knows of them, and applying them, and no others, when a backend opens."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

from litestar_queues.backends.retry import is_away
from litestar_queues.backends.sql.families import TABLE, Statement
from litestar_queues.backends.sql.program import Call, Program, Steps, reads
from litestar_queues.backends.sql.schema import Found, Schema, schema_of
from litestar_queues.backends.sqlspec.failures import SQLSpecFailures
from litestar_queues.backends.sqlspec.stores import store_of
from litestar_queues.errors import BackendError, BackendUnavailableError, QueueConfigurationError
from litestar_queues.pauses import Backoffs

__all__ = ("EXTENSION", "VERSIONS", "Migrator", "down", "register_migrations", "up")

EXTENSION = "litestar_queues"
"""What SQLSpec calls us: the versions of our migrations begin with `ext_litestar_queues_`."""

FOLDER = Path(__file__).parent / "migrations"
VERSIONS = tuple(sorted(f"ext_{EXTENSION}_{file.stem[:4]}" for file in FOLDER.glob("[0-9]*.py")))

_WHERE = "litestar_queues.backends.sqlspec:migrations"
_TRIES = 6
"""How often the migrations are started where others are in the way, or nobody says why they were not applied."""
_BACKOFFS = Backoffs(0.05)

T = TypeVar("T")


class Run(Protocol):
    """Runs a program on the main pool."""

    async def __call__(self, program: Program[T], /) -> T: ...


def up(context: Any, version: int) -> list[str]:
    """The statements of the migration to a version: those that `create_schema` sends, too."""
    schema = _schema_of(context)
    settings: Mapping[str, Any] = context.extension_config or {}
    found = Found(schema.table, frozenset(settings.get("existing", ())), settings.get("version", 0))
    return schema.texts(found, version)


def down(context: Any, version: int) -> list[str]:
    """The statements that take the migration to a version back."""
    return _schema_of(context).undoing(version)


def _schema_of(context: Any) -> Schema:
    settings: Mapping[str, Any] = context.extension_config or {}
    return schema_of(store_of(context.config).family, settings.get("table_name", TABLE))


def register_migrations(config: Any, table: str) -> None:
    """Let a configuration know of our migrations, so that the application's own runs of SQLSpec see them as known.

    Raises:
        QueueConfigurationError: It knows of them for another table, and one record cannot stand for two.
    """
    known = config.extension_config.get(EXTENSION)
    other = known.get("table_name", table) if isinstance(known, Mapping) else table  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]  # users' settings
    if other != table:
        raise QueueConfigurationError(
            f"run_migrations=True for the table {table!r}, and the same configuration has it for {other!r}: SQLSpec "
            f"records {VERSIONS[0]} once, for one table. Use create_schema=True for one of them, or a second "
            f"configuration whose migration_config names another version_table_name"
        )
    config.add_extension_migrations(EXTENSION, _WHERE, {"table_name": table})


class Migrator:
    """Applies the packaged migrations to a configuration's database, through SQLSpec, and makes sure of it.

    SQLSpec 0.69 answers a failed run as it does a good one, leaves the error behind in the thread, and may fail so where
    two run at once. So each run has a thread and a configuration of its own, its errors are collected by a hook, and what
    counts is the record of it, read afterwards. The configuration knows no other migrations than ours.
    """

    def __init__(self, config: Any, table: str, failures: SQLSpecFailures) -> None:
        self._config = config
        self._table = table
        self._failures = failures
        self._records = self._derived(Found(table)).get_migration_commands().tracker.version_table

    async def apply(self, run: Run, schema: Schema) -> None:
        """Apply what is not recorded as applied; where all is, this costs one statement that reads.

        Args:
            run: Runs a program on the main pool.
            schema: Looks at the tables.

        Raises:
            QueueConfigurationError: They were not applied; names the reason.
            BackendUnavailableError: The database cannot be reached, or others were in the way for too long.
        """
        for tries, pause in enumerate(_BACKOFFS, 1):
            before = await self._pending(run)
            if not before:
                return
            derived = self._derived(await run(schema.look()))
            errors = await _in_a_thread_of_its_own(partial(_migrate, derived))
            pending = await self._pending(run)
            if not pending:
                return
            # If another process has applied one of them meanwhile, it is probably applying the next one.
            conflict = not errors or pending != before or any(self._failures.is_conflict(error) for error in errors)
            if not conflict or tries == _TRIES:
                raise self._failure(pending[0], errors, in_the_way=bool(errors) and conflict)
            await pause.wait()

    def missing_table(self) -> str:
        """What it may mean that the table is missing where the migrations are recorded as applied."""
        return (
            f"{self._records} records {VERSIONS[-1]} as applied, but for another table, or the table was dropped: use "
            f"create_schema=True for this one, or a migration_config with another version_table_name"
        )

    async def _pending(self, run: Run) -> list[str]:
        """Those of our migrations that are not recorded as applied, in order."""
        try:
            applied = await run(self._applied())
        except BackendError as error:
            if is_away(error):
                raise
            applied = set[str]()  # there is no such table yet
        return [version for version in VERSIONS if version not in applied]

    @reads
    def _applied(self) -> Steps[set[str]]:
        text = f"SELECT version_num FROM {self._records}"  # noqa: S608  # a table's name, as SQLSpec writes it
        found = yield Call(Statement("applied_migrations", text))
        return {str(row[0]) for row in found.rows}

    def _derived(self, found: Found) -> Any:
        """A configuration for the same database and the same records, with our migrations and a small pool."""
        config = self._config
        if config.connection_instance is not None and not config.connection_config:
            raise QueueConfigurationError(
                "run_migrations=True needs the connection settings: this configuration was given a pool instead. Run "
                "the migrations beforehand, or use create_schema=True"
            )
        theirs: Mapping[str, Any] = config.migration_config
        ours: dict[str, Any] = {"script_location": str(FOLDER / "none"), "project_root": str(FOLDER.parents[3])}
        schema = theirs.get("version_table_schema") or theirs.get("default_schema")
        ours |= {"version_table_name": theirs["version_table_name"]} if theirs.get("version_table_name") else {}
        ours |= {"version_table_schema": schema} if schema else {}
        derived = config.derive_pool(
            connection_config_overrides=store_of(config).small_pool,
            migration_config=ours,
            extension_config={},
            bind_key="queue_migrations",
        )
        settings = {"table_name": self._table, "existing": sorted(found.names), "version": found.version}
        derived.add_extension_migrations(EXTENSION, _WHERE, settings)
        return derived

    def _failure(self, version: str, errors: list[Exception], *, in_the_way: bool) -> Exception:
        reason = self._failures.text(errors[0]) if errors else "SQLSpec gave no reason; its log may"
        text = f"{self._failures.database}: the migration {version} was not applied: {reason}"
        return BackendUnavailableError(text) if in_the_way else QueueConfigurationError(text)


async def _in_a_thread_of_its_own(work: Callable[[], list[Exception]]) -> list[Exception]:
    executor = ThreadPoolExecutor(1, thread_name_prefix="litestar-queues-migrations")
    try:
        return await asyncio.get_running_loop().run_in_executor(executor, work)
    finally:
        executor.shutdown(wait=False)


def _migrate(config: Any) -> list[Exception]:
    """Run the migrations; the errors that came up, of which the first is likely the reason of the others."""
    errors: list[Exception] = []

    def note(context: dict[str, Any]) -> None:
        errors.append(context["exception"])

    config.get_observability_runtime().register_lifecycle_hook("on_error", note)
    target = partial(config.migrate_up, VERSIONS[-1], allow_missing=True, auto_sync=False, use_logger=True, echo=False)

    async def on_a_loop() -> None:
        try:
            await target()
        finally:
            await config.close_pool()

    try:
        if config.is_async:
            asyncio.run(on_a_loop())
        else:
            try:
                target()
            finally:
                config.close_pool()
    except Exception as error:  # noqa: BLE001  # told by the caller
        errors.append(error)
    return errors
