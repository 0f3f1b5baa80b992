"""What the first version left behind: its code, and databases that this code filled, as text.

`tests/golden/v1` holds the wheel, the tasks as that code read them back (`records.json`, the same from every store), and a
folder for each kind of database: `create.sql`, the statements that created its tables, and `data.sql`, or `keys.jsonl`
with a command for each key of Redis.
"""

from __future__ import annotations

import json
import sqlite3
import zipfile
from collections.abc import Iterable
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from litestar_queues_matrix.servers import ask, resp

__all__ = ("FOLDERS", "PREFIX", "TABLE", "V1", "create", "expected", "load", "run", "run_duckdb", "unpack")

V1 = Path(__file__).parents[1] / "golden" / "v1"
FOLDERS = {
    "aiosqlite": "sqlite",
    "duckdb": "duckdb",
    "asyncpg": "postgres",
    "asyncmy": "mariadb",
    "redis": "redis",
    "valkey": "redis",
    "alchemy-aiosqlite": "alchemy-sqlite",
    "alchemy-asyncpg": "alchemy-postgres",
    "alchemy-asyncmy": "alchemy-mariadb",
}
"""The folder of what each driver reaches."""
TABLE = "litestar_queue_task"
PREFIX = "golden"
"""What the keys of Redis began with."""


def unpack(folder: Path) -> Path:
    """Unpack the first version's code; the folder that Python has to find before the new one."""
    (wheel,) = V1.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


@cache
def expected() -> dict[str, dict[str, Any]]:
    """Every task by its id, as the first version's code read it back."""
    found: list[dict[str, Any]] = json.loads((V1 / "records.json").read_text(encoding="utf-8"))
    return {record["id"]: record for record in found}


def load(place: dict[str, Any]) -> None:
    """Bring an empty database into the state in which the first version left it."""
    folder = V1 / FOLDERS[place["through"]]
    if folder.name == "redis":
        _load_keys(place, (folder / "keys.jsonl").read_text(encoding="utf-8").strip().split("\n"))
        return
    # Not as lines: texts hold carriage returns.
    run(place, b"".join((folder / file).read_bytes() for file in ("create.sql", "data.sql")).decode())


def create(place: dict[str, Any], table: str | None = None) -> None:
    """Make the tables of the first version, empty, in a database that may have others; under another name, if given."""
    text = (V1 / FOLDERS[place["through"]] / "create.sql").read_text(encoding="utf-8")
    run(place, text if table is None else text.replace(TABLE, table))


def run(place: dict[str, Any], script: str) -> None:
    """Run several statements by a driver alone."""
    at = place["at"]
    if place["through"] == "duckdb":
        run_duckdb(at, script)
    elif "://" not in at:
        with closing(sqlite3.connect(at)) as connection:
            connection.executescript(script)
    elif at.startswith("mysql"):
        _run_mysql(at, script)
    else:
        ask.execute(at, script)


def run_duckdb(path: str, script: str) -> list[Any]:
    """Run several statements in DuckDB; the rows of the last one."""
    import duckdb

    with duckdb.connect(path) as connection:
        return connection.execute(script).fetchall()


def _run_mysql(url: str, script: str) -> None:
    import pymysql
    from pymysql.constants import CLIENT

    parts = urlsplit(url)
    connection = pymysql.connect(
        host=parts.hostname,
        port=parts.port or 3306,
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        database=parts.path.strip("/"),
        client_flag=CLIENT.MULTI_STATEMENTS,
        autocommit=True,
    )
    with closing(connection), connection.cursor() as cursor:
        cursor.execute(script)
        while cursor.nextset():
            pass


def _load_keys(place: dict[str, Any], lines: Iterable[str]) -> None:
    with resp.connected(place["at"]) as command:
        for line in lines:
            name, key, *rest = json.loads(line)
            command(name, key.replace(f"{{{PREFIX}}}", f"{{{place['prefix']}}}", 1), *rest)
