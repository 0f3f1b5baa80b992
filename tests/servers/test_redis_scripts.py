"""What is true of the scripts on every Redis and Valkey, beside the guarantees: their calls, their indexes, their bounds."""

from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from acceptance.redis_database import RedisDatabase
from redis_audit import audit
from redis_lab import Opens, database, opened, pair, server

from litestar_queues.backends.redis.backend import RedisBackend
from litestar_queues.backends.redis.keys import INDEX
from litestar_queues.lifecycle import (
    Cancel,
    Complete,
    Dispatch,
    Event,
    Expire,
    Fail,
    IllegalTransition,
    LoseHeartbeat,
    NullHeartbeat,
    Requeue,
    Revive,
    Snooze,
    State,
    step,
)
from litestar_queues.records import (
    PRIORITY_MAX,
    PRIORITY_MIN,
    WINDOW_MAX,
    Dispatched,
    Finished,
    Held,
    Matching,
    NewTask,
    Overdue,
    Stale,
    TaskRecord,
    Want,
)
from litestar_queues_matrix.servers import Server, resp

__all__ = ("database", "opened", "pair", "server")

pytestmark = pytest.mark.anyio

T0 = datetime(2031, 5, 17, 10, 20, 30, 123_456, tzinfo=UTC)
ERROR = '{"type": "E", "message": "m", "traceback": null}'


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def calls(server: Server) -> dict[str, int]:
    """How often each command was called since the last `CONFIG RESETSTAT`, those of scripts included."""
    with resp.connected(server.url) as command:
        lines = command("INFO", "commandstats").decode().splitlines()
        command("CONFIG", "RESETSTAT")
    found = (line.partition(":") for line in lines if line.startswith("cmdstat_"))
    return {name.removeprefix("cmdstat_"): int(said.split("=")[1].split(",")[0]) for name, _, said in found}


async def test_a_batch_of_any_kind_is_one_call(server: Server, opened: Opens) -> None:
    backend = await opened(notifications=False)
    new = [NewTask(id=str(n), name="x", queue=f"q{n % 3}", key=f"k{n}") for n in range(2500)]
    await backend.enqueue_many(new)
    claimed = await backend.claim(Want(worker="w", limit=2500))
    assert len(claimed) == 2500
    held = [record.held for record in claimed]
    now = await backend.now()
    done = [step(record, Complete("1"), now) for record in claimed]
    await backend.commit(done[:1])
    await backend.delete([done[0].held])  # by now the server knows every script
    await backend.touch_heartbeats([])
    await backend.get([])
    calls(server)
    for batch in (
        lambda: backend.enqueue_many([NewTask(id=f"a{n}", name="x") for n in range(2500)]),
        lambda: backend.enqueue_many(new),
        lambda: backend.claim(Want(worker="w", limit=1000)),
        lambda: backend.claim(Want(worker="w", limit=1000, queues=("default", "q1"))),
        lambda: backend.touch_heartbeats(held),
        lambda: backend.commit(done),
        lambda: backend.get([record.id for record in done]),
        lambda: backend.find(Finished(at(0)), 2500),
        lambda: backend.delete([record.held for record in done]),
        backend.count,
        backend.next_due,
    ):
        await batch()
        made = calls(server)
        assert {name: made.get(name, 0) for name in ("evalsha", "eval")}.items() <= {
            "evalsha": 1,
            "eval": made.get("eval", 0),
        }.items()
        assert made.get("eval", 0) <= 1  # where a script was new to the server


async def test_a_server_that_forgot_the_scripts_is_told_them_again(server: Server, opened: Opens) -> None:
    backend = await opened(notifications=False)
    for _ in range(2):
        with resp.connected(server.url) as command:
            command("SCRIPT", "FLUSH")
        [new] = await backend.enqueue_many([NewTask(id="1", name="x")])
        assert new.is_new
        with resp.connected(server.url) as command:
            command("SCRIPT", "FLUSH")
        [claimed] = await backend.claim(Want(worker="w", limit=1))
        done = step(claimed, Complete("1"), await backend.now())
        with resp.connected(server.url) as command:
            command("SCRIPT", "FLUSH")
        assert await backend.commit([done]) == {"1"}
        assert await backend.delete([done.held]) == {"1"}


async def test_what_is_deleted_leaves_nothing(database: RedisDatabase, opened: Opens) -> None:
    backend = await opened(notifications=False)
    new = [NewTask(id=str(n), name="x", queue=f"q{n}", key=f"k{n}", expires_at=at(99)) for n in range(5)]
    await backend.enqueue_many(new, now=T0)
    claimed = await backend.claim(Want(worker="w", limit=5), now=T0)
    done = [step(record, Complete("1"), at(1)) for record in claimed]
    await backend.commit(done)
    await backend.delete([record.held for record in done])
    with resp.connected(database.url) as command:
        keys = {key.decode().partition("}:")[2] for key in command("KEYS", f"{{{database.prefix}}}:*")}
    assert {key.partition(":")[0] for key in keys} == {"backends", "claim"}  # the latter for a minute


async def test_times_and_priorities_sort_to_both_ends(opened: Opens) -> None:
    backend = await opened(notifications=False)
    first, last = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    tasks = [
        NewTask(id="latest", name="x", run_at=last),
        NewTask(id="2262", name="x", run_at=datetime(2262, 4, 12, tzinfo=UTC)),
        NewTask(id="now", name="x", run_at=first),
        NewTask(id="high", name="x", priority=PRIORITY_MAX, run_at=last),
        NewTask(id="higher", name="x", priority=PRIORITY_MAX),
        NewTask(id="low", name="x", priority=PRIORITY_MIN),
        NewTask(id="lower", name="x", priority=PRIORITY_MIN, run_at=at(1)),
        NewTask(id="until", name="x", expires_at=last, priority=1),
    ]
    await backend.enqueue_many(tasks, now=T0)
    assert await backend.next_due() == at(1)
    claimed = await backend.claim(Want(worker="w", limit=99), now=at(2))
    assert [record.id for record in claimed] == ["higher", "until", "now", "low", "lower"]
    assert await backend.next_due() == datetime(2262, 4, 12, tzinfo=UTC)
    claimed = await backend.claim(Want(worker="w", limit=99), now=last)
    assert [record.id for record in claimed] == ["high", "2262", "latest"]
    assert [record.due_at for record in claimed] == [last, datetime(2262, 4, 12, tzinfo=UTC), last]
    assert [record.id for record in await backend.find(Stale.since(last), 99)] == [
        "higher",
        "low",
        "lower",
        "now",
        "until",
    ]


async def test_a_clock_that_goes_back_hides_nothing(database: RedisDatabase, opened: Opens) -> None:
    backend = await opened(notifications=False)
    await backend.enqueue_many(
        [NewTask(id="early", name="x", priority=-1), NewTask(id="other", name="x", queue="q")], now=T0
    )
    await backend.enqueue_many([NewTask(id=f"late{n}", name="x") for n in range(200)], now=at(100))
    await backend.enqueue_many([NewTask(id="over", name="x", expires_at=at(200), priority=9)], now=T0)
    assert [one.id for one in await backend.claim(Want(worker="w", limit=1), now=at(250))] == ["other"]
    audit(database)
    claimed = await backend.claim(Want(worker="w", limit=9), now=at(50))
    assert [one.id for one in claimed] == ["over", "early"]
    audit(database)
    assert len(await backend.claim(Want(worker="w", limit=999), now=at(150))) == 200


async def test_every_queue_is_claimed_from_in_one_order_however_many_there_are(opened: Opens) -> None:
    backend = await opened(notifications=False)
    new = [
        NewTask(
            id=f"{n:05d}", name="x", queue=f"tenant-{n % 700}", priority=n % 5, execution_backend=("a", "bb")[n % 2]
        )
        for n in range(4000)
    ]
    random.Random(5).shuffle(new)
    await backend.enqueue_many(new, now=T0)
    expected = [task.id for task in sorted(new, key=lambda task: (-task.priority, task.id))]
    claimed: list[str] = []
    for limit in (1, 3, 50, 1000, 9999):
        claimed += [one.id for one in await backend.claim(Want(worker="w", limit=limit), now=T0)]
    assert claimed == expected


async def test_after_every_operation_each_index_is_what_the_tasks_say(database: RedisDatabase, opened: Opens) -> None:
    draw = random.Random(7)
    backends = [await opened(notifications=False) for _ in range(2)]
    now = 0.0
    number = 0
    for _ in range(150):
        backend = draw.choice(backends)
        now += draw.choice((0, 0.000001, 1, 30, -20))
        stored = sorted((await backend.get(list(database.rows()))).values(), key=lambda one: one.id)
        match draw.randrange(7):
            case 0 | 1:
                new: list[NewTask] = []
                for _ in range(draw.randrange(6)):
                    number += 1
                    fields: dict[str, Any] = {
                        "key": draw.choice((None, "k", "K")),
                        "queue": draw.choice(("q", "ü:1", "q:")),
                        "priority": draw.choice((PRIORITY_MIN, 0, 1, PRIORITY_MAX)),
                        "run_at": draw.choice((None, at(now + 20))),
                        "expires_at": draw.choice((None, None, at(now + 30))),
                        "execution_backend": draw.choice(("local", "ä:b")),
                        "max_attempts": draw.choice((1, 3)),
                    }
                    new.append(NewTask(id=f"{number}-é", name="x", **fields))
                await backend.enqueue_many(new, now=at(now))
            case 2 | 3:
                queues = draw.choice((None, ("q",), ("q:", "ü:1"), ("none",)))
                named = tuple(one.held for one in draw.sample(stored, min(2, len(stored))))
                want = Want(worker="w", limit=draw.randrange(5), queues=queues, tasks=draw.choice((None, None, named)))
                await backend.claim(want, now=at(now))
            case 4 | 5:
                moved = []
                events: list[Event] = [
                    Complete("1"), Fail(ERROR), Fail(ERROR, at(now + 5)), Requeue(), Snooze(at(now + 9)), Cancel(),
                    LoseHeartbeat(ERROR), NullHeartbeat(), Expire(), Revive(),
                ]  # fmt: skip
                for one in draw.sample(stored, min(6, len(stored))):
                    try:
                        moved.append(step(one, draw.choice(events), at(now)))
                    except IllegalTransition:
                        continue
                await backend.commit(moved, stale=draw.choice((None, None, Stale.since(at(now - 10)))))
                await backend.touch_heartbeats(
                    [Held(one.id, one.fence, draw.choice((None, "1"))) for one in stored], now=at(now)
                )
            case _:
                await backend.delete([one.held for one in draw.sample(stored, len(stored) // 3)])
        audit(database)
    assert number > 50


async def test_a_search_takes_turns_and_finds_everything(server: Server, opened: Opens) -> None:
    backend = await opened(notifications=False)
    for batch in range(3):
        await backend.enqueue_many([NewTask(id=f"{batch}-{n}", name=f"n{n % 7}") for n in range(1100)], now=at(batch))
    await backend.enqueue_many([NewTask(id=f"s{n}", name="alone") for n in range(5)], now=at(-5))
    found = await backend.find(Matching(names=("n3",)), 9999)
    assert [one.id for one in found] == sorted((one.id for one in found), key=lambda id_: (-int(id_[0]), id_))
    assert len(found) == 3 * 157
    calls(server)
    assert len(await backend.find(Matching(names=("alone",)), 99)) == 5
    assert calls(server)["evalsha"] >= 4


async def test_overdue_tasks_are_looked_at_once(server: Server, database: RedisDatabase, opened: Opens) -> None:
    backend = await opened(notifications=False)
    over = [NewTask(id=str(n), name="x", priority=9, expires_at=at(1)) for n in range(2500)]
    await backend.enqueue_many([*over, NewTask(id="live", name="x")], now=T0)
    calls(server)
    assert [one.id for one in await backend.claim(Want(worker="w", limit=1), now=at(2))] == ["live"]
    assert calls(server)["evalsha"] == 3
    assert await backend.claim(Want(worker="w", limit=1), now=at(2)) == []
    assert calls(server).get("hmget", 0) == 0
    overdue = await backend.find(Overdue(at(2)), 9999)
    assert len(overdue) == 2500
    assert len(await backend.commit([step(one, Expire(), at(3)) for one in overdue])) == 2500
    audit(database)


def test_every_state_has_its_index() -> None:
    assert set(INDEX) == set(State)


async def test_a_task_in_a_state_of_a_newer_version_is_read_and_left_alone(
    server: Server, database: RedisDatabase, opened: Opens
) -> None:
    backend = await opened(notifications=False)
    await backend.enqueue_many([NewTask(id=name, name="x", key=f"k-{name}") for name in ("newer", "known")])
    [known, newer] = sorted(await backend.claim(Want(worker="w", limit=2)), key=lambda record: record.id)
    with resp.connected(server.url) as command:
        command("HSET", f"{{{database.prefix}}}:task:newer", "state", "reserved")
    stored = (await backend.get(["newer"]))["newer"]
    assert (stored.state, stored.active_key) == ("reserved", "k-newer")
    assert {one.state for one in await backend.find(Matching(), 9)} == {"running", "reserved"}
    [answer] = await backend.enqueue_many([NewTask(id="other", name="x", key="k-newer")])
    assert (answer.is_new, answer.record.id) == (False, "newer")
    with pytest.raises(IllegalTransition, match="'reserved'"):
        step(stored, Cancel(), at(1))
    done = [step(one, Complete("1"), at(1)) for one in (known, newer)]
    assert await backend.commit(done) == {"known"}
    assert await backend.delete([stored.held]) == set()
    assert await backend.get(["newer"]) == {"newer": stored}


async def test_a_task_of_an_older_version_reads_as_it_would_be_upgraded(
    server: Server, database: RedisDatabase, opened: Opens
) -> None:
    backend = await opened(notifications=False)
    await backend.enqueue_many([NewTask(id="old", name="x", max_recoveries=7)])
    with resp.connected(server.url) as command:
        command("HDEL", f"{{{database.prefix}}}:task:old", "recoveries", "max_recoveries", "stale_after", "history")
    stored = (await backend.get(["old"]))["old"]
    assert (stored.recoveries, stored.max_recoveries, stored.stale_after, stored.history) == (0, 3, None, None)
    [claimed] = await backend.claim(Want(worker="w", limit=1))
    assert await backend.commit([step(claimed, Complete("1"), at(1))]) == {"old"}


async def reserved(backend: RedisBackend, *new: NewTask) -> list[TaskRecord]:
    """Enqueue tasks, and reserve them for a minute."""
    await backend.enqueue_many(new, now=T0)
    return await backend.claim(Want(worker="d", limit=9999, reserve=True, stale_after=60.0), now=T0)


async def test_a_reservation_whose_reply_was_lost_is_made_once(
    database: RedisDatabase, opened: Opens, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = await opened(notifications=False)
    await backend.enqueue_many([NewTask(id=str(n), name="x", expires_at=at(9)) for n in range(3)], now=T0)
    asked: list[Mapping[str, Any]] = []
    run = backend._run

    async def run_twice(name: str, values: Mapping[str, Any]) -> Any:
        asked.append(values)
        await run(name, values)
        return await run(name, values)

    monkeypatch.setattr(backend, "_run", run_twice)
    taken = await backend.claim(Want(worker="d", limit=2, reserve=True, stale_after=60.0), now=T0)
    monkeypatch.undo()
    assert [(one.id, one.state, one.fence, one.attempt) for one in taken] == [
        ("0", State.DISPATCHED, 1, 0), ("1", State.DISPATCHED, 1, 0),
    ]  # fmt: skip
    assert await backend.get(["0", "1"]) == {one.id: one for one in taken}
    assert await backend.commit([step(taken[0], Dispatch("runs/1", 5.0), at(1))]) == {"0"}
    again, _ = await run("claim", asked[0])
    assert [row[-1] for row in again] == ["1"]  # the other one has moved on
    audit(database)


async def test_a_dispatched_task_without_a_heartbeat_or_a_window_is_found_at_any_time(opened: Opens) -> None:
    backend = await opened(notifications=False)
    tasks = await reserved(
        backend, *(NewTask(id=name, name="x") for name in ("neither", "no-window", "silent-é", "whole"))
    )
    changes: list[dict[str, Any]] = [
        {"heartbeat_at": None, "stale_after": None}, {"heartbeat_at": at(9), "stale_after": None}, {"heartbeat_at": None, "stale_after": WINDOW_MAX},
        {"heartbeat_at": at(9)},
    ]  # fmt: skip
    moved = [one.evolve(fence=one.fence + 1, **change) for one, change in zip(tasks, changes, strict=True)]
    await backend.commit(moved)
    for moment, found in ((datetime.min.replace(tzinfo=UTC), 3), (at(69), 3), (at(69.000001), 4)):
        ids = [one.id for one in await backend.find(Dispatched(at=moment), 9)]
        assert ids == ["neither", "silent-é", "no-window", "whole"][:found]
    assert [one.id for one in await backend.find(Dispatched(at=at(0)), 2)] == ["neither", "silent-é"]


async def test_a_search_for_silent_dispatched_tasks_takes_turns_and_reads_those_that_it_finds(
    server: Server, opened: Opens
) -> None:
    backend = await opened(notifications=False)
    new = [NewTask(id=f"{n:04}", name="x", execution_backend=("far", "farther")[n // 1500]) for n in range(2500)]
    tasks = await reserved(backend, *new)
    await backend.touch_heartbeats([one.held for one in tasks[:1499]], now=at(1))
    query = Dispatched(at=at(60.5), execution_backends=("far",))
    await backend.find(query, 1)
    calls(server)
    assert [one.id for one in await backend.find(query, 99)] == ["1499"]
    made = calls(server)
    assert made["evalsha"] == 3
    assert made["hmget"] == 2500 + 1
    assert len(await backend.find(Dispatched(at=at(99)), 1200)) == 1200
    assert calls(server)["evalsha"] == 2


async def test_overdue_tasks_come_in_one_order_whether_they_wait_or_are_dispatched(opened: Opens) -> None:
    backend = await opened(notifications=False)
    ids = ["a", "aé", "b", "é", "\U0001f389"]
    await reserved(backend, *(NewTask(id=id_, name="x", expires_at=at(5)) for id_ in ids[::2]))
    await backend.enqueue_many([NewTask(id=id_, name="x", expires_at=at(5)) for id_ in ids[1::2]], now=T0)
    await backend.enqueue_many([NewTask(id="z", name="x", expires_at=at(4))], now=T0)
    assert [one.id for one in await backend.find(Overdue(at(5)), 9)] == ["z", *ids]
    assert [one.id for one in await backend.find(Overdue(at(5)), 3)] == ["z", *ids[:2]]
    assert [one.id for one in await backend.find(Overdue(at(4.9)), 3)] == ["z"]
