"""Write `tests/golden` anew, in an environment with the groups `test` and `servers`.

`python tests/upgrade/make.py v1` has the first version's wheel fill a database of each kind (see `fill.py`), and plain
drivers write down what is there then. `python tests/upgrade/make.py schema` writes the newest version's catalogues.
"""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from catalogue import catalogue, file_of
from golden import FOLDERS, PREFIX, V1, run_duckdb, unpack
from places import backend_config

from litestar_queues_matrix.servers import ask, resp, start

TABLES = ("litestar_queue_task", "litestar_queue_task_lock")
SERVERS = {"asyncpg": "postgresql", "asyncmy": "mariadb", "redis": "redis"}
"""The server of each driver that needs one."""
FAMILIES = ("cockroach", "oracle")
"""Those that are not at hand: only what creates their tables is kept."""
_FAMILY = """
import json, sys
from litestar_queues.backends.sql import families
json.dump(families.schema_statements(getattr(families, sys.argv[1].upper())), sys.stdout)
"""


def write_schema() -> None:
    """Write what the catalogue of each database shows of the tables that this version creates."""
    with tempfile.TemporaryDirectory(prefix="golden-") as temporary:
        for through in FOLDERS:
            if FOLDERS[through] == "redis":
                continue
            with _empty(through, Path(temporary)) as place:
                asyncio.run(_create(place))
                file_of(through).parent.mkdir(exist_ok=True)
                file_of(through).write_text("".join(f"{line}\n" for line in catalogue(place)), encoding="utf-8")


async def _create(place: dict[str, Any]) -> None:
    backend = backend_config(place, create_schema=True).create_backend()
    await backend.open()
    await backend.close()


def write_v1() -> None:
    """Make every folder, and compare what the first version read back from each database."""
    records: Any = None
    with tempfile.TemporaryDirectory(prefix="golden-") as temporary:
        old = unpack(Path(temporary) / "old")
        for through, name in FOLDERS.items():
            if through == "valkey":
                continue
            folder = V1 / name
            folder.mkdir(exist_ok=True)
            with _empty(through, Path(temporary)) as place:
                made = json.loads(_by_the_old_code(old, str(Path(__file__).with_name("fill.py")), json.dumps(place)))
                records = records or made["records"]
                if made["records"] != records:
                    raise SystemExit(f"{name}: the tasks are not those of the other stores")
                _write(folder, place, made["schema"])
        for family in FAMILIES:
            (V1 / family).mkdir(exist_ok=True)
            _write_schema(V1 / family, json.loads(_by_the_old_code(old, "-c", _FAMILY, family)))
    lines = ",\n".join(json.dumps(record, ensure_ascii=False) for record in records)
    (V1 / "records.json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")


def _by_the_old_code(old: Path, *arguments: str) -> str:
    env = {**os.environ, "PYTHONPATH": str(old)}
    return subprocess.run([sys.executable, *arguments], env=env, check=True, stdout=subprocess.PIPE, text=True).stdout


@contextmanager
def _empty(through: str, folder: Path) -> Iterator[dict[str, Any]]:
    """An empty database."""
    product = SERVERS.get(through.removeprefix("alchemy-"))
    if product is None:
        yield {"through": through, "at": str(folder / f"{through}.db")}
        return
    with start(product, given=False) as server:
        if product == "redis":
            yield {"through": through, "at": server.url, "prefix": PREFIX}
            return
        ask.execute(server.url, "CREATE DATABASE golden")
        yield {"through": through, "at": f"{server.url.rpartition('/')[0]}/golden"}


def _write(folder: Path, place: dict[str, Any], schema: list[str]) -> None:
    if "prefix" in place:
        with resp.connected(place["at"]) as command:
            lines = sorted(json.dumps(one, ensure_ascii=False) for one in _commands(command))
        (folder / "keys.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return
    _write_schema(folder, schema)
    data = "".join(_insert(place, table) for table in TABLES)
    (folder / "data.sql").write_text(data, encoding="utf-8", newline="")


def _write_schema(folder: Path, schema: Iterable[str]) -> None:
    (folder / "create.sql").write_text("".join(f"{statement};\n\n" for statement in schema), encoding="utf-8")


def _insert(place: dict[str, Any], table: str) -> str:
    columns, rows = _rows(place, table)
    mark = "`" if place["at"].startswith("mysql") else '"'
    names = ", ".join(f"{mark}{column}{mark}" for column in columns)
    lines = ",\n".join(f"({', '.join(row)})" for row in rows)
    return f"INSERT INTO {table} ({names}) VALUES\n{lines};\n"


def _rows(place: dict[str, Any], table: str) -> tuple[list[str], list[list[str]]]:
    """The columns that are written, and the rows as literals."""
    at = place["at"]
    if place["through"] == "duckdb":
        found = run_duckdb(at, f"SELECT column_name FROM information_schema.columns WHERE table_name = '{table}'")
        columns = [row[0] for row in found]
        values = run_duckdb(
            at, f"SELECT {', '.join(f'CAST({one} AS VARCHAR)' for one in columns)} FROM {table} ORDER BY 1"
        )
        return columns, [[_standard(value) for value in row] for row in values]
    if "://" not in at:
        with closing(sqlite3.connect(at)) as connection:
            columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
            quoted = ", ".join(f"quote({column})" for column in columns)
            return columns, [list(row) for row in connection.execute(f"SELECT {quoted} FROM {table} ORDER BY 1")]
    return _rows_of_mysql(at, table) if at.startswith("mysql") else _rows_of_postgres(at, table)


def _standard(value: str | None) -> str:
    return "NULL" if value is None else "'" + value.replace("'", "''") + "'"


def _rows_of_postgres(url: str, table: str) -> tuple[list[str], list[list[str]]]:
    from psycopg import sql

    with ask.connected(url) as cursor:
        cursor.execute("SET timezone = 'UTC'")
        cursor.execute(f"SELECT * FROM {table} LIMIT 0")
        columns = [column.name for column in cursor.description]
        texts = ", ".join(f'CAST("{column}" AS text)' for column in columns)
        cursor.execute(f"SELECT {texts} FROM {table} ORDER BY 1")
        rows = cursor.fetchall()
        return columns, [[sql.Literal(value).as_string(cursor).strip() for value in row] for row in rows]


def _rows_of_mysql(url: str, table: str) -> tuple[list[str], list[list[str]]]:
    with ask.connected(url) as cursor:
        cursor.execute(f"SHOW COLUMNS FROM {table}")  # a generated column takes no value
        columns = [row[0] for row in cursor.fetchall() if "GENERATED" not in row[5]]
        cursor.execute(f"SELECT {', '.join(f'`{column}`' for column in columns)} FROM {table} ORDER BY 1")
        rows = cursor.fetchall()
        return columns, [[cursor.connection.escape(value, cursor.connection.encoders) for value in row] for row in rows]


def _commands(command: resp.Resp) -> Iterator[list[str]]:
    """A command for each key, which makes it."""
    for key in command("KEYS", "*"):
        if command("TTL", key) > 0:  # the answer to a claim, which is kept for as long as it may be repeated
            continue
        kind = command("TYPE", key)
        if kind == b"hash":
            flat = command("HGETALL", key)
            pairs = sorted(zip(flat[::2], flat[1::2], strict=True))
            values = ["HSET", key, *(part for pair in pairs for part in pair)]
        elif kind == b"zset":
            flat = command("ZRANGE", key, 0, -1, "WITHSCORES")
            values = ["ZADD", key, *(part for i in range(0, len(flat), 2) for part in (flat[i + 1], flat[i]))]
        elif kind == b"set":
            values = ["SADD", key, *sorted(command("SMEMBERS", key))]
        else:
            raise SystemExit(f"{key!r} is a {kind!r}, which nobody writes down here")
        yield [part.decode() if isinstance(part, bytes) else part for part in values]


if __name__ == "__main__":
    {"v1": write_v1, "schema": write_schema}[sys.argv[1]]()
