"""What reaches Oracle's client: each statement as it stands in the file, with its parameters, in this order."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any

import oracledb
import psycopg
import pytest
from conftest import Store
from waiting import DEADLINE

from litestar_queues.backends.sql.families import ORACLE, Kind, bare_name, statements_of
from litestar_queues.backends.sql.program import Call, Program, Steps
from litestar_queues.backends.sql.values import ENQUEUED
from litestar_queues.errors import QueueConfigurationError
from litestar_queues.lifecycle import Complete, Fail, State, step
from litestar_queues.records import Dispatched, Finished, Held, Matching, NamedRecord, NewTask, Overdue, Stale, Want
from litestar_queues_matrix.oracle_standin import client
from litestar_queues_matrix.oracle_standin.client import BadBindError, Lob, Sent, checked
from litestar_queues_matrix.oracle_standin.words import SETUP

pytestmark = pytest.mark.anyio


def new(id_: str, **fields: Any) -> NewTask:
    return NewTask(id=id_, name="app.task", **fields)


async def test_a_claim_reads_candidates_locks_them_writes_them_and_commits(store: Store) -> None:
    await store.backend.enqueue_many([new(f"t{i}", priority=i) for i in range(5)])
    since = len(store.log)
    claimed = await store.backend.claim(Want(worker="w", limit=2))
    assert [record.id for record in claimed] == ["t4", "t3"]
    order = ["now", "promote_candidates", "claim_candidates", "lock_candidates", "write_fenced", "commit"]
    assert store.names(since) == order


async def test_tasks_that_another_holds_are_stepped_over_and_never_waited_for(store: Store) -> None:
    await store.backend.enqueue_many([new(f"t{i}", priority=-i) for i in range(6)])
    since = len(store.log)
    table = bare_name(ORACLE, store.config["table"])
    with psycopg.connect(store.config["url"]) as other:
        other.execute(f"""SELECT 1 FROM "{table}" WHERE id IN ('t0', 't2') FOR UPDATE""")
        async with asyncio.timeout(DEADLINE):
            claimed = await store.backend.claim(Want(worker="w", limit=3))
    assert [record.id for record in claimed] == ["t1", "t3", "t4"]
    looked = [name for name in store.names(since) if "candidates" in name]
    assert looked == ["promote_candidates", *["claim_candidates", "lock_candidates"] * 2]
    assert store.last("claim_candidates").parameters["limit"] == 2, "no more are locked than lack"
    assert store.last("claim_candidates").parameters["last_id"] == "t2"


async def test_every_statement_of_the_file_is_sent_as_it_stands_with_just_its_parameters(store: Store) -> None:
    """The client refuses a parameter that is not in the text, or lacks; here all statements meet it."""
    backend = store.backend
    soon, later = timedelta(minutes=1), timedelta(hours=1)
    now = await backend.now()
    await backend.enqueue_many([new("s", run_at=now + soon), new("q", queue="x", run_at=now + soon)])
    await backend.enqueue_many([new("a", key="k"), new("b"), new("c"), new("d", key="k2")])
    await backend.enqueue_many([new("e", key="k")])
    [first] = await backend.claim(Want(worker="w", limit=1), now=now + later)
    await backend.claim(Want(worker="w", limit=9, queues=("x", "y")), now=now + later)
    [held] = await backend.claim(Want(worker="w", limit=1, tasks=(Held("b", 0),)), now=now + later)
    assert await backend.touch_heartbeats([held.held]) == {"b"}
    assert await backend.commit([step(first, Complete('"done"'), now)]) == {first.id}
    [keyed] = (await backend.get(["d"])).values()
    assert await backend.commit([keyed.evolve(fence=keyed.fence + 1)]) == {"d"}
    assert await backend.delete([Held(first.id, first.fence + 1)]) == {first.id}
    for query in (
        Stale.since(now),
        Dispatched(at=now),
        Overdue(now),
        Finished(now),
        Matching(states=(State.FAILED,), names=("n",), key="k"),
    ):
        await backend.find(query, 10)
    await backend.count(("x",))
    await backend.next_due()
    await backend.next_due(("x", "y"))
    assert await backend.lock("name", "owner", later)
    assert await backend.unlock("name", "owner")
    for version in (1, 2):
        await backend.write_records([NamedRecord("r", version, "[]")])
    assert (await backend.read_records("r"))["r"].version == 2
    ours = {*statements_of(ORACLE, store.config["table"])}
    dropping = {name for name in ours if name.startswith("drop_column_")}  # SQLSpec's, where a migration is taken back
    assert {*store.names()} - {"commit", "rollback"} == ours - dropping
    assert len(dropping) == 4


async def test_more_than_4000_bytes_travel_as_a_clob_and_come_back(store: Store) -> None:
    for args, is_lob in ((json.dumps(["x" * 3000]), False), (json.dumps(["\u20ac" * 1500], ensure_ascii=False), True)):
        task = new(f"t{is_lob}", args=args)
        await store.backend.enqueue_many([task])
        batch = store.last("enqueue").parameters["batch"]
        assert isinstance(batch, Lob) is is_lob
        sent = json.loads(batch.text if isinstance(batch, Lob) else batch)
        assert [row[ENQUEUED.index("args")] for row in sent] == [args]
        assert all(len(row) == len(ENQUEUED) for row in sent)
        assert (await store.backend.get([task.id]))[task.id].args == args
    long = [new(f"{i:030}") for i in range(200)]
    await store.backend.enqueue_many(long)
    assert len(await store.backend.get([task.id for task in long])) == 200
    assert isinstance(store.last("get").parameters["ids"], Lob)


async def test_empty_texts_are_stored_as_such_and_none_is_ever_sent(store: Store) -> None:
    backend = store.backend
    await backend.enqueue_many([new("~a"), new("b", key="~k", queue="~")])
    claimed = {record.id: record for record in await backend.claim(Want(worker="", limit=9))}
    assert {(record.worker, record.queue, record.key) for record in claimed.values()} == {
        ("", "default", None),
        ("", "~", "~k"),
    }
    now = await backend.now()
    done = [step(claimed["~a"], Complete(""), now), step(claimed["b"], Fail("", None), now)]
    assert await backend.commit(done) == {"~a", "b"}
    stored = await backend.get(["~a", "b"])
    assert (stored["~a"].result, stored["b"].error, stored["b"].result) == ("", "", None)
    assert await backend.find(Matching(key=""), 9) == []
    assert [record.id for record in await backend.find(Matching(key="~k"), 9)] == ["b"]
    assert await backend.lock("", "", timedelta(minutes=1))
    assert not await backend.lock("", "other", timedelta(minutes=1))
    assert await backend.lock("", "", timedelta(minutes=1))
    assert [await backend.unlock("", "other"), await backend.unlock("", "")] == [False, True]


def fail_once(monkeypatch: pytest.MonkeyPatch, store: Store, name: str, error: Exception | None) -> list[str]:
    """Let the statement of this name fail, or change nothing, the first time that it is sent."""
    failed: list[str] = []
    text = statements_of(ORACLE, store.config["table"])[name].text
    plain, awaited = client.Cursor.execute, client.AsyncCursor.execute

    def hit(sent: str) -> bool:
        if sent != text or failed:
            return False
        failed.append(sent)
        if error is not None:
            raise error
        return True

    def execute(self: Any, sent: str, *args: Any, **options: Any) -> None:
        missed = hit(sent)
        plain(self, sent, *args, **options)
        self.rowcount -= missed

    async def execute_async(self: Any, sent: str, *args: Any, **options: Any) -> None:
        missed = hit(sent)
        await awaited(self, sent, *args, **options)
        self.rowcount -= missed

    monkeypatch.setattr(client.Cursor, "execute", execute)
    monkeypatch.setattr(client.AsyncCursor, "execute", execute_async)
    return failed


def told(code: int) -> Exception:
    return oracledb.DatabaseError(client._Told(code, f"ORA-{code:05}", "in the way"))


@pytest.mark.parametrize(
    "error", [told(60), told(1), told(8177), None], ids=["00060", "00001", "08177", "rows changed"]
)
async def test_a_transaction_that_met_another_is_rolled_back_and_made_once_more_as_a_whole(
    store: Store, monkeypatch: pytest.MonkeyPatch, error: Exception | None
) -> None:
    await store.backend.enqueue_many([new("a")])
    since = len(store.log)
    failed = fail_once(monkeypatch, store, "write_fenced", error)
    claimed = await store.backend.claim(Want(worker="w", limit=1))
    assert [(record.id, record.fence) for record in claimed] == [("a", 1)]
    assert failed
    names = store.names(since)
    assert names.count("commit") == 1
    assert names[-1] == "commit"
    first = names[: names.index("rollback")]
    assert [name for name in first if name == "commit"] == []
    again = names[len(names) - names[::-1].index("rollback") :]
    assert again == ["now", "promote_candidates", "claim_candidates", "lock_candidates", "write_fenced", "commit"]


@pytest.mark.parametrize(("name", "ahead"), [("write_fenced", 1), ("write_heartbeats", 0)])
async def test_a_write_asks_for_the_fence_whatever_was_locked_before(store: Store, name: str, ahead: int) -> None:
    await store.backend.enqueue_many([new("a")])
    [claimed] = await store.backend.claim(Want(worker="w", limit=1))
    statement = statements_of(ORACLE, store.config["table"])[name]

    def write(fence: int) -> Program[int]:
        batch = store.backend.port.engine._commit_batch([claimed.evolve(fence=fence)])

        def steps() -> Steps[int]:
            return (yield Call(statement, {"batch": batch})).affected

        return Program(name, Kind.WRITE, steps)

    for off in (-1, 1):
        assert await store.backend.port.run(write(claimed.fence + ahead + off)) == 0
    assert (await store.backend.get(["a"]))["a"] == claimed
    assert await store.backend.port.run(write(claimed.fence + ahead)) == 1


async def test_a_database_that_would_change_texts_is_refused_when_the_backend_opens(store: Store, target: Any) -> None:
    view = next(statement for statement in SETUP if "nls_session_parameters" in statement)
    with psycopg.connect(store.config["url"], autocommit=True) as other:
        other.execute(view.replace("BINARY", "GERMAN"))
        try:
            with pytest.raises(QueueConfigurationError, match="NLS_SORT is 'GERMAN', and a queue needs 'BINARY'"):
                await target.open(store.config)
        finally:
            other.execute(view)


@pytest.mark.parametrize(
    "parameters",
    [{}, {"id": "x", "more": 1}, {"id": ""}, {"id": "x" * 4001}, {"id": b"x"}, {"id": True}, {"id": ["x"]}],
)
def test_the_client_refuses_parameters_that_oracle_would_not_take(parameters: dict[str, Any]) -> None:
    with pytest.raises(BadBindError):
        checked("SELECT t.id FROM tasks t WHERE t.id = :id AND t.x = ':no'", parameters)
    with pytest.raises(json.JSONDecodeError):
        checked("SELECT t.id FROM t WHERE t.id IN :ids", {"ids": '["cut'})
    assert checked("SELECT 'HH24:MI' FROM t WHERE t.id = :id", {"id": None}) == {"id": None}
    assert Sent("x", {}) == Sent("x", {})
