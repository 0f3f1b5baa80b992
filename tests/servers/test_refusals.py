"""Servers that refuse writes for a while: finished tasks keep their outcomes, and none of them fails."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import urlsplit, urlunsplit

import pytest
from acceptance.database import ServedDatabase
from refusal_lab import Refusal, refused
from waiting import DEADLINE

from litestar_queues import State, TooLargeError
from litestar_queues_matrix.servers import Server, ask, resp

pytestmark = pytest.mark.anyio

TABLE = "litestar_queue_task"
USER = "queue_app"
MIB = 1 << 20


class Served:
    """A database, and the user by whom the queues reach it: one that is no superuser."""

    def __init__(self, server: Server, database: ServedDatabase) -> None:
        self._server = server
        self.superuser = database
        parts = urlsplit(database.url)
        self.name = parts.path.strip("/")
        netloc = f"{USER}:queue@127.0.0.1:{parts.port}"
        place = database.place | {"url": urlunsplit(parts._replace(netloc=netloc))}
        self.database: ServedDatabase = type(database)(**place)

    def run(self, *statements: str) -> None:
        """Run statements as the superuser."""
        first = ["SET default_transaction_read_only = off"] if self.is_postgres else []
        ask.execute(self.superuser.url, *first, *statements)

    @contextmanager
    def between(self, before: list[str], after: list[str], *, cut: bool = True) -> Iterator[None]:
        """Statements that begin a refusal, and those that end it; connections are made anew where `cut` is set."""
        self.run(*before)
        if cut:
            self.superuser.cut_connections()
        try:
            yield
        finally:
            self.run(*after)
            if cut:
                self.superuser.cut_connections()

    @property
    def is_postgres(self) -> bool:
        return self.superuser.url.startswith("postgresql")

    def refusals(self) -> Mapping[str, Refusal]:
        """The ways in which this server can be made to refuse."""
        renamed = f"{TABLE}_rebuilt"
        if self.is_postgres:
            database = f"ALTER DATABASE {self.name}"
            return {
                "read only": lambda: self.between(
                    [f"{database} SET default_transaction_read_only = on"],
                    [f"{database} RESET default_transaction_read_only"],
                ),
                "renamed": lambda: self.between(
                    [f"ALTER TABLE {TABLE} RENAME TO {renamed}"],
                    [f"ALTER TABLE {renamed} RENAME TO {TABLE}"],
                    cut=False,
                ),
                "revoked": lambda: self.between(
                    [f"REVOKE UPDATE ON {TABLE} FROM {USER}"], [f"GRANT UPDATE ON {TABLE} TO {USER}"], cut=False
                ),
                "no connections": lambda: self.between(
                    [f"ALTER ROLE {USER} CONNECTION LIMIT 0"], [f"ALTER ROLE {USER} CONNECTION LIMIT -1"]
                ),
                "no time": lambda: self.between(
                    [f"ALTER ROLE {USER} SET statement_timeout = 1", *_slow_updates()],
                    [f"ALTER ROLE {USER} RESET statement_timeout", f"DROP TRIGGER slow ON {TABLE}"],
                ),
            }
        return {
            "read only": lambda: self.between(["SET GLOBAL read_only = 1"], ["SET GLOBAL read_only = 0"], cut=False),
            "renamed": lambda: self.between(
                [f"RENAME TABLE {TABLE} TO {renamed}"], [f"RENAME TABLE {renamed} TO {TABLE}"], cut=False
            ),
            "revoked": lambda: self.between(
                [f"REVOKE UPDATE ON {self.name}.* FROM {USER}@'%'"], [f"GRANT UPDATE ON {self.name}.* TO {USER}@'%'"]
            ),
        }


def _slow_updates() -> list[str]:
    return [
        "CREATE OR REPLACE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(1); RETURN NEW; END $$",
        f"CREATE TRIGGER slow BEFORE UPDATE ON {TABLE} FOR EACH STATEMENT EXECUTE FUNCTION slow()",
    ]


@pytest.fixture
def served(killable: Server, database: ServedDatabase) -> Iterator[Served]:
    if killable.url.startswith(resp.SCHEMES):
        pytest.skip("has tables only in our imagination")
    served = Served(killable, database)
    if served.is_postgres:
        served.run(
            f"CREATE ROLE {USER} LOGIN PASSWORD 'queue'",
            f"GRANT CREATE ON DATABASE {served.name} TO {USER}",
            f"GRANT ALL ON SCHEMA public TO {USER}",
        )
    else:
        served.run(f"CREATE USER {USER}@'%' IDENTIFIED BY 'queue'", f"GRANT ALL ON {served.name}.* TO {USER}@'%'")
    yield served
    if served.is_postgres:
        served.run(f"DROP OWNED BY {USER} CASCADE", f"DROP ROLE {USER}")
    else:
        served.run(f"DROP USER {USER}@'%'")


async def test_outcomes_outlive_every_refusal_of_a_database(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    async with refused(served.database.backend()) as lab:
        if served.is_postgres:  # so that an owner's rights can be taken from it by another
            served.run(f"GRANT UPDATE ON {TABLE} TO {USER}")
        for name, refusal in served.refusals().items():
            caplog.clear()
            with caplog.at_level(logging.WARNING, "litestar_queues.worker"):
                await lab.end_while(refusal)
            said = [record.getMessage() for record in caplog.records if "for the store" in record.getMessage()]
            assert len([line for line in said if "outcome" in line]) == 2, (name, said)


@contextmanager
def _set_to(url: str, before: tuple[str, ...], after: tuple[str, ...]) -> Iterator[None]:
    with resp.connected(url) as command:
        command(*before)
    try:
        yield
    finally:
        with resp.connected(url) as command:
            command(*after)


async def test_outcomes_outlive_every_refusal_of_a_key_value_server(
    killable: Server, database: ServedDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    if not killable.url.startswith(resp.SCHEMES):
        pytest.skip("has tables")
    url = killable.url
    refusals: dict[str, Refusal] = {
        "replica": lambda: _set_to(url, ("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE")),
        "too few replicas": lambda: _set_to(
            url, ("CONFIG", "SET", "min-replicas-to-write", "1"), ("CONFIG", "SET", "min-replicas-to-write", "0")
        ),
        "rights": lambda: _set_to(
            url, ("ACL", "SETUSER", "default", "-evalsha", "-eval"), ("ACL", "SETUSER", "default", "+@all")
        ),
        "no connections": lambda: _no_clients(url),
    }
    async with refused(database.backend()) as lab:
        for name, refusal in refusals.items():
            caplog.clear()
            with caplog.at_level(logging.WARNING, "litestar_queues.worker"):
                await lab.end_while(refusal)
            said = [record.getMessage() for record in caplog.records if "for the store" in record.getMessage()]
            assert len([line for line in said if "outcome" in line]) == 2, (name, said)


@contextmanager
def _no_clients(url: str) -> Iterator[None]:
    """A server that takes one client, which is ours."""
    with resp.connected(url) as command:
        before = command("CONFIG", "GET", "maxclients")[1]
        command("CONFIG", "SET", "maxclients", "1")
        command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        try:
            yield
        finally:
            command("CONFIG", "SET", "maxclients", before)


@contextmanager
def limited_to(url: str, size: int) -> Iterator[str]:
    """A server that takes no more than so many bytes at once; the name of its limit."""
    if url.startswith(resp.SCHEMES):
        with resp.connected(url) as command:
            before = command("CONFIG", "GET", "proto-max-bulk-len")[1]
            command("CONFIG", "SET", "proto-max-bulk-len", str(size))
            yield "proto-max-bulk-len"
            command("CONFIG", "SET", "proto-max-bulk-len", before)
        return
    with ask.connected(url) as cursor:
        cursor.execute("SELECT @@max_allowed_packet")
        (before,) = cursor.fetchone()
        cursor.execute(f"SET GLOBAL max_allowed_packet = {size}")
    yield "max_allowed_packet"
    ask.execute(url, f"SET GLOBAL max_allowed_packet = {before}")


@pytest.fixture
def limited(killable: Server) -> Iterator[str]:
    if killable.url.startswith("postgresql"):
        pytest.skip("takes a gigabyte")
    with limited_to(killable.url, MIB) as name:
        yield name


async def test_a_result_that_is_too_large_fails_alone_and_says_how_large_it_is(
    database: ServedDatabase, limited: str
) -> None:
    async with refused(database.backend()) as lab:
        with pytest.raises(
            TooLargeError, match=rf"the arguments of task wait .* take 2\.\d MiB .*\({limited}\)"
        ) as raised:
            await lab.service.enqueue(lab.task, 0, text="x" * (2 * MIB))
        assert raised.value.size > 2 * MIB
        assert raised.value.limit < MIB
        assert (await lab.service.stats()).totals[State.PENDING] == 0
        small = await lab.begin(20)
        large = await lab.service.enqueue(lab.task, 0, 2 * MIB)
        await lab.until(lambda: lab.begun == 21)
        lab.go.set()
        ended = [await asyncio.wait_for(result.wait(), DEADLINE) for result in small]
        assert {(one.status, one.attempt) for one in ended} == {(State.COMPLETED, 1)}
        failed = await asyncio.wait_for(large.wait(), DEADLINE)
        assert failed.status is State.FAILED
        assert failed.error is not None
        assert f"({limited})" in str(failed.error)
        assert "2.0 MiB" in str(failed.error)


async def test_a_batch_that_is_too_large_as_a_whole_is_stored_in_parts(database: ServedDatabase, limited: str) -> None:
    if limited == "proto-max-bulk-len":
        pytest.skip("stores a batch by one command, or refuses it")
    async with refused(database.backend()) as lab:
        results = await lab.begin(12, 300 << 10)
        lab.go.set()
        ended = [await asyncio.wait_for(result.wait(), DEADLINE) for result in results]
        assert {(one.status, one.attempt) for one in ended} == {(State.COMPLETED, 1)}
        args = [lab.task.call(number, text="x" * (300 << 10)) for number in range(12)]
        assert len(await lab.service.enqueue_many(args)) == 12


async def test_a_limit_that_is_lowered_under_a_worker_is_found_out(killable: Server, database: ServedDatabase) -> None:
    if killable.url.startswith("postgresql"):
        pytest.skip("takes a gigabyte")
    async with refused(database.backend()) as lab:
        results = [*await lab.begin(5), await lab.service.enqueue(lab.task, 0, 2 * MIB)]
        await lab.until(lambda: lab.begun == 6)
        with limited_to(killable.url, MIB) as name:
            database.cut_connections()
            lab.go.set()
            ended = [await asyncio.wait_for(result.wait(), DEADLINE) for result in results]
            assert [one.status for one in ended] == [*[State.COMPLETED] * 5, State.FAILED]
            assert f"({name})" in str(ended[-1].error)
            with pytest.raises(TooLargeError):
                await lab.service.enqueue(lab.task, 0, text="x" * (2 * MIB))
