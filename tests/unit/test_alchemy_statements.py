"""The families' statements over models: each stands on the model's own table, whatever that is called."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from alchemy_lab import SWAPPED, model, odd_model, run_every_statement
from sqlalchemy import Connection, Integer, String, create_engine, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import mapped_column

from litestar_queues.backends.advanced_alchemy.dialects import SQLITE
from litestar_queues.backends.advanced_alchemy.statements import ModelStatement
from litestar_queues.backends.advanced_alchemy.table import QueueTable
from litestar_queues.backends.advanced_alchemy.transport import Sender
from litestar_queues.backends.sql.files import TABLE, filled, parsed, renamed
from litestar_queues.backends.sql.program import Program, advance
from litestar_queues.clock import ManualClock
from litestar_queues.lifecycle import Complete, step
from litestar_queues.records import Finished, Matching, NamedRecord, NewTask, Want

NOW = datetime(2030, 1, 1, tzinfo=UTC)
ODD = odd_model(lambda attribute: f'{attribute} "of" %s :it', 'Odd "%s" :tasks', "The Ops")
MODELS = {"swapped": odd_model(SWAPPED.__getitem__), "odd": ODD, "plain": model()}


@pytest.fixture
def connection() -> Iterator[Connection]:
    engine = create_engine("sqlite://")
    with engine.connect() as made:
        made.execute(text("ATTACH DATABASE ':memory:' AS \"The Ops\""))
        yield made


class Lab:
    """Runs the engine's programs over a model's tables in memory."""

    def __init__(self, connection: Connection, made: type[Any]) -> None:
        self.connection = connection
        self.table = QueueTable.of(made)
        for table in (self.table.tasks, self.table.locks, self.table.records):
            table.create(connection)
        self.engine = SQLITE.family.engine(SQLITE.family, SQLITE.statements(self.table), ManualClock(NOW), loads=True)

    def run(self, program: Program[Any]) -> Any:
        steps = program.start()
        return Sender(self.table, SQLITE).run(self.connection, steps, advance(steps))


@pytest.mark.parametrize("made", MODELS.values(), ids=MODELS)
def test_every_statement_stands_on_the_models_own_table(connection: Connection, made: type[Any]) -> None:
    lab = Lab(connection, made)
    run_every_statement(connection, SQLITE.statements(lab.table), NOW)


@pytest.mark.parametrize("made", MODELS.values(), ids=MODELS)
def test_a_task_lives_its_life_in_columns_of_whatever_name(connection: Connection, made: type[Any]) -> None:
    lab = Lab(connection, made)
    engine = lab.engine
    later = NewTask(id="later", name="n", queue="q", run_at=NOW + timedelta(seconds=1), expires_at=NOW)
    new = [NewTask(id=id_, name=f"app.{id_}", queue="q", priority=place) for place, id_ in enumerate("abc")]
    keyed = NewTask(id="keyed", name="n", queue="other", key="k", priority=9)
    assert [one.is_new for one in lab.run(engine.enqueue_many([*new, later, keyed], NOW))] == [True] * 5
    assert not lab.run(engine.enqueue_many([NewTask(id="again", name="n", key="k")], NOW))[0].is_new
    assert lab.run(engine.next_due(None)) == lab.run(engine.next_due(("q",))) == NOW + timedelta(seconds=1)
    claimed = lab.run(engine.claim(Want(worker="w", limit=2, queues=("q",)), NOW))
    assert [(one.id, one.name, one.queue, one.worker, one.started_at) for one in claimed] == [
        ("c", "app.c", "q", "w", NOW), ("b", "app.b", "q", "w", NOW),
    ]  # fmt: skip
    assert [one.id for one in lab.run(engine.claim(Want(worker="w", limit=5), NOW))] == ["keyed", "a"]
    assert lab.run(engine.touch_heartbeats([claimed[0].held], NOW)) == {"c"}
    done = step(claimed[0], Complete("1"), NOW)
    assert lab.run(engine.commit([done], None)) == {"c"}
    assert lab.run(engine.get(["c"])) == {"c": done}
    assert lab.run(engine.find(Matching(names=("app.a",)), 5))[0].id == "a"
    assert lab.run(engine.find(Finished(NOW + timedelta(days=1)), 5)) == [done]
    assert {(one.queue, one.state.value, one.tasks) for one in lab.run(engine.count(("q",)))} == {
        ("q", "running", 2), ("q", "completed", 1), ("q", "scheduled", 1),
    }  # fmt: skip
    assert lab.run(engine.delete([done.held])) == {"c"}
    assert lab.run(engine.lock("l", "me", timedelta(1), NOW))
    assert not lab.run(engine.lock("l", "you", timedelta(1), NOW))
    assert lab.run(engine.unlock("l", "me"))
    first, second = NamedRecord("r", 1, "[1]"), NamedRecord("r", 2, "[2]")
    assert [lab.run(engine.write_records([one])) for one in (second, first, first, second)] == [
        set(), {"r"}, set(), {"r"},
    ]  # fmt: skip
    assert lab.run(engine.read_records("")) == {"r": second}


def test_a_schema_is_the_one_that_the_connection_has_for_the_models(connection: Connection) -> None:
    made = odd_model(str, schema="ops")
    connection.execute(text("CREATE TABLE app_queue_task (somebody TEXT)"))
    lab = Lab(connection.execution_options(schema_translate_map={"ops": "The Ops"}), made)
    lab.run(lab.engine.enqueue_many([NewTask(id="a", name="n")], NOW))
    assert lab.run(lab.engine.claim(Want(worker="w", limit=1), NOW))[0].id == "a"
    assert connection.scalar(text('SELECT count(*) FROM "The Ops".app_queue_task')) == 1


def test_two_models_that_differ_by_their_tables_alone_share_no_statement(connection: Connection) -> None:
    labs = [Lab(connection, model(name)) for name in ("mail_task", "report_task")]
    for lab in labs:
        new = NewTask(id=lab.table.tasks.name, name="n")
        lab.run(lab.engine.enqueue_many([new], NOW))
        assert list(lab.run(lab.engine.get(["mail_task", "report_task"]))) == [new.id]


def test_a_column_of_the_application_that_is_missing_shows_in_the_check(connection: Connection) -> None:
    lab = Lab(connection, model())
    lab.run(lab.engine.check_schema())
    more = QueueTable.of(model(note=mapped_column(String(10), nullable=True)))
    statement = SQLITE.statements(more)["check_schema"]
    assert isinstance(statement, ModelStatement)
    with pytest.raises(OperationalError, match="note"):
        connection.execute(statement.sent)


def test_a_table_without_rowid_is_read_by_the_ids(connection: Connection) -> None:
    made = model(__table_args__={"sqlite_with_rowid": False})
    lab = Lab(connection, made)
    lab.run(lab.engine.enqueue_many([NewTask(id="a", name="n")], NOW))
    assert lab.run(lab.engine.claim(Want(worker="w", limit=1), NOW))[0].id == "a"


def test_each_write_sets_what_columns_of_the_application_get_on_an_update(connection: Connection) -> None:
    made = model(
        rounds=mapped_column(Integer, default=0, onupdate=text("rounds + 1")),
        said=mapped_column(String(10), default="", onupdate="changed"),
        seen=mapped_column("with", Integer, default=0, onupdate=lambda context: len(context.get_current_parameters())),
    )
    lab = Lab(connection, made)
    lab.run(lab.engine.enqueue_many([NewTask(id="a", name="n", run_at=NOW + timedelta(seconds=1))], NOW))
    found = text('SELECT rounds, said, "with" > 0 FROM app_queue_task')
    assert connection.execute(found).one() == (0, "", 0)
    [claimed] = lab.run(lab.engine.claim(Want(worker="w", limit=1), NOW + timedelta(seconds=1)))
    assert connection.execute(found).one() == (2, "changed", 1), "it was promoted, and then claimed"
    assert lab.run(lab.engine.touch_heartbeats([claimed.held], NOW)) == {"a"}
    assert connection.execute(found).one()[0] == 3
    assert lab.run(lab.engine.commit([step(claimed, Complete("1"), NOW)], None)) == {"a"}
    assert connection.execute(found).one()[0] == 4


def test_times_are_stored_as_the_models_columns_have_them(connection: Connection) -> None:
    lab = Lab(connection, model())
    at = NOW + timedelta(microseconds=1)
    lab.run(lab.engine.enqueue_many([NewTask(id="a", name="n", expires_at=NOW + timedelta(days=1))], NOW))
    [claimed] = lab.run(lab.engine.claim(Want(worker="w", limit=1), NOW))
    lab.run(lab.engine.commit([step(claimed, Complete("1"), at)], None))
    lab.run(lab.engine.lock("l", "me", timedelta(1), NOW))
    columns = "enqueued_at, due_at, started_at, heartbeat_at, expires_at, finished_at"
    assert connection.execute(text(f"SELECT {columns} FROM app_queue_task")).one() == (
        *["2030-01-01 00:00:00.000000"] * 3, None, "2030-01-02 00:00:00.000000", "2030-01-01 00:00:00.000001",
    )  # fmt: skip
    assert connection.scalar(text("SELECT expires_at FROM app_queue_task_lock")) == "2030-01-02 00:00:00.000000"


def test_only_columns_of_the_table_are_renamed() -> None:
    names = {"id": "X", "name": "Y", "due_at": "Z", "priority": "U"}
    statement = (
        f"SELECT id, t.id, c.id, 'id' AS name, :id, {TABLE}.name FROM {TABLE} AS t, x AS c "
        "WHERE t.id = c.id ORDER BY t.priority DESC, due_at DESC"
    )
    assert renamed(statement, names) == (
        f"SELECT X, t.X, c.id, 'id' AS Y, :id, {TABLE}.Y FROM {TABLE} AS t, x AS c "
        "WHERE t.X = c.id ORDER BY t.U, Z DESC"
    )
    locks = f"DELETE FROM {TABLE}_lock WHERE name = :name"
    assert renamed(locks, names) == locks


def test_a_slot_or_a_fragment_that_nobody_fills_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="unknown"):
        filled("SELECT /* slot: unknown */", {})
    file = tmp_path / "some.sql"
    file.write_text("-- name: a\nSELECT /* include: unknown */\n")
    with pytest.raises(KeyError, match="unknown"):
        parsed(file)
