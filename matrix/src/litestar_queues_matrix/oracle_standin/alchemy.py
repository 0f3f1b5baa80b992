"""The target `alchemy-oracle-standin`: the statements of the Advanced Alchemy backend for Oracle, on a PostgreSQL.

The backend takes the statements that it has for Oracle. SQLAlchemy compiles them for PostgreSQL, and they are put into
PostgreSQL's words on their way, as those of the other stand-in are. So what the statements say, and what happens between several
clients, is held to the guarantees; what SQLAlchemy's Oracle dialect and Oracle itself make of them is not.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from litestar_queues.backends.advanced_alchemy.backend import AdvancedAlchemyBackend
from litestar_queues.backends.advanced_alchemy.dialects import ORACLE as ORACLE_DIALECT
from litestar_queues.backends.advanced_alchemy.failures import AlchemyFailures
from litestar_queues.backends.advanced_alchemy.statements import PREFIX, ModelText, ModelUpdate
from litestar_queues.backends.advanced_alchemy.table import QueueTable
from litestar_queues.backends.base import QueueBackend
from litestar_queues.backends.retry import PATIENCE
from litestar_queues.backends.sql.families import POSTGRES
from litestar_queues_matrix.alchemy import AlchemyAdapter, AlchemyServerTarget, model_of
from litestar_queues_matrix.oracle_standin.client import set_up
from litestar_queues_matrix.oracle_standin.target import LEAST
from litestar_queues_matrix.oracle_standin.words import in_words
from litestar_queues_matrix.servers import Product, ServerRow

__all__ = ("alchemy_oracle_standin",)

_PARAMETER = re.compile(rf"%\(({PREFIX}\w+)\)s(::\w+)?")
_LEAVING = re.compile(r"INSERT INTO (\S+) (\(.*?\)) VALUES \((.*)\) ON CONFLICT DO NOTHING", re.DOTALL)
_UNLESS = " AND ".join(
    f"NOT EXISTS (SELECT 1 FROM {{table}} t WHERE t.{name} = %({name})s)"  # noqa: S608  # names of ours
    for name in ("task_id", "active_key")
)
_STAND_IN = replace(
    ORACLE_DIALECT,
    family=replace(
        ORACLE_DIALECT.family,
        verdicts=POSTGRES.verdicts,
        # The type of the columns wants times with their zone, wherever it is not Oracle's own.
        bind_time=POSTGRES.bind_time,
    ),
)


def _in_words(_connection: Any, _cursor: Any, text: str, parameters: Any, context: Any, _many: Any) -> tuple[str, Any]:
    """PostgreSQL's words for what is Oracle's own."""
    if isinstance(getattr(context.compiled, "statement", None), ModelText | ModelUpdate):
        text = in_words(_PARAMETER.sub(r":\1", text))
    if (found := _LEAVING.fullmatch(text)) is not None:  # as the backend says it to Oracle
        text = f"INSERT INTO {found[1]} {found[2]} SELECT {found[3]} WHERE {_UNLESS.format(table=found[1])}"
    return text, parameters


def _engine(*arguments: Any, **more: Any) -> AsyncEngine:
    engine = create_async_engine(*arguments, **more)
    event.listen(engine.sync_engine, "before_cursor_execute", _in_words, retval=True)
    return engine


@dataclass(frozen=True, slots=True)
class AlchemyOracleStandInTarget(AlchemyServerTarget):
    """A store as on any server, with the row of Oracle's dialect."""

    @property
    def rows(self) -> tuple[ServerRow, ...]:
        rows = AlchemyServerTarget.rows.__get__(self)
        return tuple(row for row in rows if int(row.version) >= LEAST)

    def unavailable(self, env: Mapping[str, str]) -> str | None:
        if find_spec("oracledb") is None:
            return f"its drivers are not installed: pip install {self.adapter.install}"
        return AlchemyServerTarget.unavailable(self, env)

    def engine_config(self, config: dict[str, Any]) -> Any:
        made = AlchemyServerTarget.engine_config(self, config)
        made.engine_config.connect_args["options"] = "-c search_path=public,oracle -c timezone=UTC"
        made.create_engine_callable = _engine
        return made

    async def open(self, config: dict[str, Any]) -> QueueBackend:
        await asyncio.to_thread(set_up, config["url"])  # what the URL leads to may live in this event loop
        backend = AdvancedAlchemyBackend(
            self.engine_config(config),
            QueueTable.of(model_of(config["table"])),
            _STAND_IN,
            AlchemyFailures(_STAND_IN.family, config["server"], {}),
            create_schema=True,
            heartbeats=None,
            patience=PATIENCE,
            limit=60.0,
            channel=None,
        )
        await backend.open()
        return backend

    async def server_version(self, config: dict[str, Any]) -> str:
        return f"{config['server']}, in the place of Oracle"


alchemy_oracle_standin = AlchemyOracleStandInTarget(
    adapter=AlchemyAdapter(
        name="alchemy-oracle-standin",
        scheme="postgresql+psycopg",
        config_class="",
        driver="psycopg",
        install="oracledb psycopg[binary]",
        products=(Product.POSTGRESQL,),
        connection=lambda _url: {},
        loads_arrow=False,
        notifies=False,
    )
)
