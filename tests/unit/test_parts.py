"""Batches in parts that a database takes; what is too large by itself is refused, and named."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from litestar_queues.backends.sizes import MIB, Sizes
from litestar_queues.backends.sql.engine import Engine
from litestar_queues.backends.sql.families import DUCKDB, MYSQL, ORACLE, POSTGRES, SQLITE, Family, Kind, statements_of
from litestar_queues.backends.sql.program import Call, Done, Load, Program, Rows, advance
from litestar_queues.clock import ManualClock
from litestar_queues.errors import TooLargeError
from litestar_queues.lifecycle import Claim, Complete, step
from litestar_queues.records import Held, NewTask, TaskRecord, admit

NOW = datetime(2030, 1, 1, tzinfo=UTC)
SMALL = Sizes(part=10_000, most=20_000, called="the_limit")
ESCAPED = replace(SMALL, escaped=True)


def engine_of(family: Family, sizes: Sizes = SMALL) -> Engine:
    family = replace(family, sizes=replace(sizes, told=family.sizes.told))
    return family.engine(family, statements_of(family), ManualClock(NOW))


def new(number: int, size: int, **fields: Any) -> NewTask:
    return NewTask(id=f"task-{number}", name="import_", args=f'["{"x" * size}"]', **fields)


def running(number: int) -> TaskRecord:
    record = admit(NewTask(id=f"task-{number}", name="export"), NOW)
    return step(record, Claim("w"), NOW)


def batches(engine: Engine, program: Program[Any], name: str) -> list[str]:
    """The batches that a program sends by the statements of a name, on a database that stores everything."""
    sent: list[str] = []
    steps = program.start()
    call: Any = advance(steps)
    while not isinstance(call, Done):
        assert not isinstance(call, Load)
        call = advance(steps, _answer(engine, call, name, sent))
    return sent


def _answer(engine: Engine, call: Call, name: str, sent: list[str]) -> Rows:
    if call.statement.name == "now":
        return Rows([(engine.family.bind_time(NOW),)])
    assert call.statement.name.startswith(name)
    batch = str(call.parameters.get("batch") or call.parameters["held"])
    sent.append(batch)
    count = batch.count("task-")
    return Rows([(count, NOW)] if name == "enqueue" else [], count)


@pytest.mark.parametrize("family", [SQLITE, DUCKDB, POSTGRES, MYSQL], ids=lambda family: family.name)
def test_new_tasks_beyond_a_part_travel_in_several_statements_of_one_transaction(family: Family) -> None:
    engine = engine_of(family)
    tasks = [new(number, 3000) for number in range(10)]
    program = engine.enqueue_many(tasks, NOW)
    assert program.kind is Kind.WRITE
    sent = batches(engine, program, "enqueue")
    assert len(sent) > 2
    assert all(len(batch) <= SMALL.part for batch in sent)
    places = ["".join(sent).index(task.id) for task in tasks]
    assert places == sorted(places), "each once, in order"


def test_a_small_batch_is_one_statement_without_a_transaction() -> None:
    engine = engine_of(POSTGRES, POSTGRES.sizes)
    tasks = [new(number, 100) for number in range(1000)]
    program = engine.enqueue_many(tasks, NOW)
    assert program.kind is Kind.ONE
    assert len(batches(engine, program, "enqueue")) == 1


def test_all_parts_of_a_batch_are_stored_at_one_time() -> None:
    engine = engine_of(POSTGRES)
    asked: list[Any] = []
    steps = engine.enqueue_many([new(number, 3000) for number in range(10)], None).start()
    call: Any = advance(steps)
    while not isinstance(call, Done):
        if call.statement.name == "enqueue":
            asked.append(call.parameters["now"])
        stored = str(call.parameters.get("batch")).count("task-")
        call = advance(steps, Rows([(NOW,)] if call.statement.name == "now" else [(stored, NOW)], stored))
    assert len(asked) > 1
    assert set(asked) == {NOW}


@pytest.mark.parametrize("family", [SQLITE, DUCKDB, POSTGRES, MYSQL, ORACLE], ids=lambda family: family.name)
@pytest.mark.parametrize("key", [None, "k"], ids=["unkeyed", "keyed"])
def test_a_task_that_is_too_large_is_named_before_anything_is_sent(family: Family, key: str | None) -> None:
    engine = engine_of(family)
    tasks = [new(0, 10), new(1, 30_000, key=key), new(2, 10)]
    with pytest.raises(
        TooLargeError, match=r"^the arguments of task import_ \(task-1\) take 29\.\d KiB .* 19\.5 KiB \(the_limit\)"
    ):
        batches(engine, engine.enqueue_many(tasks, NOW), "nothing")
    with pytest.raises(TooLargeError, match="the arguments of task import_"):
        batches(engine, engine.load_many(tasks, NOW), "nothing")


@pytest.mark.parametrize("family", [SQLITE, DUCKDB, POSTGRES], ids=lambda family: family.name)
def test_outcomes_beyond_a_part_travel_in_several_statements_of_one_transaction(family: Family) -> None:
    engine = engine_of(family)
    done = [step(running(number), Complete(f'"{"x" * 3000}"'), NOW) for number in range(10)]
    program = engine.commit(done, None)
    assert program.kind is Kind.WRITE
    assert all(len(batch) <= SMALL.part for batch in batches(engine, program, "commit"))
    assert engine.commit(done[:1], None).kind is Kind.EACH


@pytest.mark.parametrize("family", [SQLITE, DUCKDB, POSTGRES, MYSQL, ORACLE], ids=lambda family: family.name)
def test_an_outcome_that_is_too_large_is_named(family: Family) -> None:
    engine = engine_of(family)
    done = [step(running(number), Complete(f'"{"x" * (30_000 if number == 2 else 1)}"'), NOW) for number in range(5)]
    with pytest.raises(TooLargeError, match=r"^the result of task export \(task-2\) takes 29\.\d KiB") as raised:
        engine.commit(done, None)
    assert raised.value.task_id == done[2].id
    assert (raised.value.limit, raised.value.size > 30_000) == (SMALL.most, True)


@pytest.mark.parametrize("family", [SQLITE, DUCKDB, POSTGRES], ids=lambda family: family.name)
def test_heartbeats_beyond_a_part_travel_in_several_statements(family: Family) -> None:
    engine = engine_of(family)
    held = [Held(f"task-{number}", 1, f'"{"x" * 3000}"') for number in range(10)]
    program = engine.touch_heartbeats(held, NOW)
    assert program.kind is Kind.WRITE
    sent = batches(engine, program, "touch_heartbeats")
    assert len(sent) > 2
    assert all(len(batch) <= SMALL.part for batch in sent)


@pytest.mark.parametrize("family", [SQLITE, DUCKDB, POSTGRES, MYSQL, ORACLE], ids=lambda family: family.name)
def test_a_progress_that_is_too_large_is_named(family: Family) -> None:
    engine = engine_of(family)
    held = [Held("a", 1), Held("b", 1, f'"{"x" * 30_000}"')]
    with pytest.raises(TooLargeError, match=r"^the progress of task b takes") as raised:
        batches(engine, engine.touch_heartbeats(held, NOW), "nothing")
    assert raised.value.task_id == "b"


def test_what_a_driver_escapes_counts_twice() -> None:
    assert ESCAPED.of_text("""a"b'c\\d""") == 10
    assert SMALL.of_text("""a"b'c\\d""") == 7
    assert SMALL.of_text("é\N{SNOWMAN}") == 5


def test_a_limit_that_a_server_tells_leaves_room_for_the_statement() -> None:
    told = MYSQL.sizes.limited(64 * MIB)
    assert 63 * MIB < told.most < 64 * MIB
    assert told.part == MYSQL.sizes.part
    small = MYSQL.sizes.limited(1 * MIB)
    assert small.part == small.most < MIB
    assert MYSQL.sizes.limited(1024).most >= 1000 // 2
