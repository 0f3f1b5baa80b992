"""What a saboteur is here: SQLSpec's own backend on a real server, with one defect."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from itertools import count
from typing import Any, ClassVar, cast

from litestar_queues.backends.base import QueueBackend
from litestar_queues.backends.retry import PATIENCE
from litestar_queues.backends.sql.engine import Engine
from litestar_queues.backends.sql.families import Family, Statement, statements_of
from litestar_queues.backends.sqlspec.backend import SQLSpecBackend
from litestar_queues.backends.sqlspec.channel import plan_channel
from litestar_queues.backends.sqlspec.store import QueueStore
from litestar_queues.backends.sqlspec.stores import store_of
from litestar_queues_matrix.saboteurs.suspects import SuspectTarget
from litestar_queues_matrix.servers import Product
from litestar_queues_matrix.servers.ask import execute
from litestar_queues_matrix.sqlserver import TARGETS, SqlServerTarget
from litestar_queues_matrix.tables import reshaped_ddl

__all__ = ("BENIGN", "SABOTEURS", "Benign", "NothingToBreak", "Saboteur", "Statements")


class NothingToBreak(Exception):
    """What a saboteur was to replace is not there any more: the saboteur has to follow the statements."""


class Statements:
    """A family's statements for a table, for a saboteur to edit."""

    def __init__(self, family: Family, table: str) -> None:
        self.table = table
        self._family = family.name
        self._statements = dict(statements_of(family, table))

    def replace(self, old: str, new: str, *names: str) -> None:
        """Write something else, in each of the statements named; without names, wherever it stands.

        Raises:
            NothingToBreak: It does not stand in one of them, or nowhere.
        """
        found = names or tuple(name for name, one in self._statements.items() if old in one.text)
        if not found:
            raise NothingToBreak(f"no statement of the {self._family} family holds {old!r}")
        for name in found:
            before = self._statements.get(name)
            if before is None or old not in before.text:
                raise NothingToBreak(f"the statement {name!r} of the {self._family} family does not hold {old!r}")
            self._statements[name] = Statement(name, before.text.replace(old, new))

    def drop(self, old: str, *names: str) -> None:
        """Leave something out; see `replace`."""
        self.replace(old, "", *names)

    def rewrite(self, pattern: re.Pattern[str], new: str, *names: str) -> None:
        """Put something else in the place of each of the statements named, which the pattern has to match as a whole.

        Raises:
            NothingToBreak: It does not match one of them.
        """
        for name in names:
            found = pattern.fullmatch(self._statements[name].text)
            if found is None:
                raise NothingToBreak(f"the statement {name!r} of the {self._family} family is not as it was")
            self._statements[name] = Statement(name, found.expand(new))

    def add(self, name: str, text: str) -> None:
        """One more statement."""
        self._statements[name] = Statement(name, text)

    def all(self) -> Mapping[str, Statement]:
        """The statements as they are now."""
        return self._statements


class _Suspect(SuspectTarget):
    """A target whose backend has edited statements, another row, or an engine of its own."""

    adapter: ClassVar[str]
    engine: ClassVar[type[Engine] | None] = None
    """What differs from the family's engine: a class that goes before it."""
    backend: ClassVar[type[SQLSpecBackend]] = SQLSpecBackend
    patience: ClassVar[float] = PATIENCE
    """Seconds for which a transaction is tried again; short where the defect is a conflict that never ends."""
    zones: ClassVar[tuple[str, ...]] = ()
    """The time zones of the sessions, one client after another; none means the server's own."""

    def __init__(self, server: str | None = None) -> None:
        self._zones = count()
        adapter = replace(TARGETS[self.adapter].adapter, connection=self._connection)
        base = SqlServerTarget(adapter=adapter)
        self.base: SqlServerTarget = base if server is None else base.on(server)
        self._connect = TARGETS[self.adapter].adapter.connection

    @classmethod
    def products(cls) -> tuple[Product, ...]:
        """The servers that it is for."""
        return TARGETS[cls.adapter].adapter.products

    # What it does wrongly

    def edit(self, statements: Statements) -> None:
        """Edit the family's statements."""

    def family(self, family: Family) -> Family:
        """What differs from the family."""
        return family

    def store(self, store: QueueStore) -> QueueStore:
        """What differs from the adapter's row."""
        return store

    # The target

    @property
    def ways(self) -> Sequence[str]:
        return self.base.ways

    async def open(self, config: dict[str, Any]) -> QueueBackend:
        made = self.base.sqlspec_config(config)
        store, statements = self._broken(made, config["table"])
        arrow_from = {"arrow": 1, "statement": None}.get(config.get("way", "auto"), store.arrow_from or None)
        backend = self.backend(
            store,
            made,
            statements,
            sqlspec=None,
            create_schema=True,
            table_name=config["table"],
            patience=self.patience,
            limit=60.0,
            arrow_from=arrow_from,
            channel=plan_channel(
                store, made, config["table"], notifications=None, channel=None, transport=None, settings=None
            ),
        )
        await backend.open()
        return cast("QueueBackend", backend)

    def transaction(self, config: dict[str, Any]) -> AbstractAsyncContextManager[Any]:
        return self.base.transaction(config)

    def holding(self, config: dict[str, Any], ids: Sequence[str]) -> AbstractAsyncContextManager[bool]:
        return self.base.holding(config, ids)

    async def parts(self, config: dict[str, Any]) -> Mapping[str, str]:
        return await self.base.parts(config)

    async def halve(self, config: dict[str, Any], part: str) -> None:
        await self.base.halve(config, part)

    async def spoil(self, config: dict[str, Any]) -> None:
        await self.base.spoil(config)

    async def sessions(self, config: dict[str, Any]) -> int | None:
        return await self.base.sessions(config)

    async def rows_read(self, config: dict[str, Any]) -> int | None:
        return await self.base.rows_read(config)

    async def reshape(self, config: dict[str, Any], how: str) -> None:
        _, statements = self._broken(self.base.sqlspec_config(config), config["table"])
        execute(config["url"], reshaped_ddl(statements["create_task_table"].text, how))

    def _broken(self, made: Any, table: str) -> tuple[QueueStore, Mapping[str, Statement]]:
        """The adapter's row and the statements, with the defect in them."""
        store = store_of(made)
        edited = Statements(store.family, table)
        self.edit(edited)
        # Without `swapping`: a backend that finds no SKIP LOCKED would take statements in which nothing is wrong.
        family = self.family(replace(store.family, swapping=None))
        if self.engine is not None:
            family = replace(family, engine=type(self.engine.__name__, (self.engine, family.engine), {}))
        return self.store(replace(store, family=family)), edited.all()

    def _connection(self, url: str) -> dict[str, Any]:
        if not self.zones:
            return self._connect(url)
        zone = self.zones[next(self._zones) % len(self.zones)]
        if url.startswith("postgresql"):
            return self._connect(f"{url}{'&' if '?' in url else '?'}timezone={zone}")
        return {**self._connect(url), "init_command": f"SET time_zone = '{zone}'"}


class Saboteur(_Suspect):
    """A backend with one defect; its docstring says which, in a sentence."""

    guarantee: ClassVar[str]
    """The guarantee that has to catch it first."""

    def __init_subclass__(cls) -> None:
        if not cls.__name__.startswith("_"):  # else what several of them share
            SABOTEURS[f"{cls.__module__.rpartition('.')[2]}.{cls.__name__}"] = cls


class Benign(_Suspect):
    """A backend that keeps every promise in an odd way; its docstring says how."""

    def __init_subclass__(cls) -> None:
        if not cls.__name__.startswith("_"):
            BENIGN[f"{cls.__module__.rpartition('.')[2]}.{cls.__name__}"] = cls


SABOTEURS: dict[str, type[Saboteur]] = {}
"""Every saboteur by its module and name."""
BENIGN: dict[str, type[Benign]] = {}
"""Every odd but legal backend in the same way."""
