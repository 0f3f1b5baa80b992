"""What there is in a database, as its own catalogue tells it, to compare two of them."""

from __future__ import annotations

import asyncpg

_POSTGRES = (
    (
        "SELECT c.table_schema, c.table_name, c.column_name, c.data_type, c.character_maximum_length, c.is_nullable, "
        "c.column_default, c.collation_name FROM information_schema.columns AS c "
        "WHERE c.table_schema NOT IN ('pg_catalog', 'information_schema') "
        "ORDER BY c.table_schema, c.table_name, c.ordinal_position"
    ),
    (
        "SELECT schemaname, indexname, indexdef FROM pg_indexes "
        "WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY schemaname, indexname"
    ),
    (
        "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint "
        "WHERE conrelid <> 0 ORDER BY 1, 2"
    ),
    "SELECT oid::regclass::text, reloptions FROM pg_class WHERE reloptions IS NOT NULL ORDER BY 1",
)


async def dump_postgres(dsn: str, *, without: str = "ddl_migrations") -> list[list[str]]:
    connection = await asyncpg.connect(dsn)
    found = [[str(tuple(row)) for row in await connection.fetch(query)] for query in _POSTGRES]
    await connection.close()
    return [[row for row in rows if without not in row] for rows in found]
