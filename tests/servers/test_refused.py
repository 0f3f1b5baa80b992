"""A server that is not there, or lets nobody in: what is wrong is said, soon, and never the password."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from urllib.parse import urlsplit, urlunsplit

import pytest
from acceptance.database import ServedDatabase

from litestar_queues.errors import BackendUnavailableError, QueueConfigurationError
from litestar_queues_matrix.servers import Server, ask, resp
from litestar_queues_matrix.servers.running import free_port

pytestmark = pytest.mark.anyio

PASSWORD = "s3cr3t-Pa55word"
SOON = 10.0
"""Seconds; the pool of psycopg alone would say after thirty that it has no connection."""


def elsewhere(database: ServedDatabase, *, user: str = "", port: int | None = None, name: str = "") -> ServedDatabase:
    """The database by another user with the password, at another port, or under another name."""
    parts = urlsplit(database.url)
    password = "" if name else f":{PASSWORD}"  # where it would be the wrong one, too
    at = f"{user or parts.username}{password}@127.0.0.1:{port or parts.port}"
    return type(database)(
        **database.place | {"url": urlunsplit(parts._replace(netloc=at, path=f"/{name}" if name else parts.path))}
    )


@pytest.fixture
def stranger(killable: Server) -> Iterator[str]:
    """A user that has to show a password, and another one than `PASSWORD`."""
    if killable.url.startswith(resp.SCHEMES):
        with resp.connected(killable.url) as command:
            command("ACL", "SETUSER", "stranger", "on", ">another", "~*", "&*", "+@all")
            yield "stranger"
            command("ACL", "DELUSER", "stranger")
        return
    if not killable.url.startswith("postgresql"):
        ask.execute(killable.url, "CREATE USER stranger@'%' IDENTIFIED BY 'another'")
        yield "stranger"
        ask.execute(killable.url, "DROP USER stranger@'%'")
        return
    ask.execute(killable.url, "CREATE ROLE stranger LOGIN PASSWORD 'another'")
    with ask.connected(killable.url) as cursor:
        cursor.execute("SHOW hba_file")
        (path,) = cursor.fetchone()
        cursor.execute("SELECT pg_read_file(%s)", [path])
        (rules,) = cursor.fetchone()
    _write(killable, path, f"host all stranger 127.0.0.1/32 scram-sha-256\n{rules}")
    yield "stranger"
    _write(killable, path, rules)
    ask.execute(killable.url, "DROP ROLE stranger")


def _write(server: Server, path: str, text: str) -> None:
    with ask.connected(server.url) as cursor:
        lines = "), (".join("'" + line.replace("'", "''") + "'" for line in text.splitlines() if "\t" not in line)
        cursor.execute(f"COPY (SELECT * FROM (VALUES ({lines})) AS lines) TO '{path}'")
        cursor.execute("SELECT pg_reload_conf()")


async def refusal(database: ServedDatabase, caplog: pytest.LogCaptureFixture) -> str:
    """What opening it says."""
    backend = database.backend().create_backend()
    started = time.monotonic()
    with (
        caplog.at_level(logging.DEBUG),
        pytest.raises((BackendUnavailableError, QueueConfigurationError)) as caught,
    ):
        await backend.open()
    assert time.monotonic() - started < SOON
    await backend.close()
    text = str(caught.value)
    chain: BaseException | None = caught.value
    parts = urlsplit(database.url)
    assert f"127.0.0.1:{parts.port}{parts.path}" in text
    while chain is not None:
        assert PASSWORD not in str(chain)
        chain = chain.__cause__
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("litestar_queues")]
    assert not [line for line in ours if PASSWORD in line]
    return text


async def test_a_wrong_password(database: ServedDatabase, stranger: str, caplog: pytest.LogCaptureFixture) -> None:
    text = await refusal(elsewhere(database, user=stranger), caplog)
    assert stranger in text


@pytest.mark.named_databases
async def test_a_database_that_is_not_there(database: ServedDatabase, caplog: pytest.LogCaptureFixture) -> None:
    text = await refusal(elsewhere(database, name="nowhere"), caplog)
    assert "nowhere" in text.partition("no connection")[2]


async def test_a_server_that_is_not_there(database: ServedDatabase, caplog: pytest.LogCaptureFixture) -> None:
    await refusal(elsewhere(database, port=free_port()), caplog)
