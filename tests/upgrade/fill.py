"""Fill an empty store with tasks in every state, by the code of the first version: `python fill.py PLACE`.

`make.py` runs it; the first version's code is the one that Python finds. It prints JSON: what that code created (`schema`)
and every task as that code reads it back (`records`). All times are given to the store, so that all stores hold the same
tasks.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from places import backend_config

from litestar_queues.backends.base import QueueBackend
from litestar_queues.lifecycle import (
    Cancel,
    Claim,
    Complete,
    Event,
    Expire,
    Fail,
    NullHeartbeat,
    Requeue,
    Revive,
    Snooze,
    step,
)
from litestar_queues.records import Held, NewTask, TaskRecord, Want

T0 = datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)
FAR = datetime(2999, 12, 31, 23, 59, 59, 999999, UTC)
"""What is scheduled for then stays scheduled."""
NASTY = (
    'it\'s "quoted" \\ and \\\' \\" too',
    "100% of %s, :name, ?, $1, {x}, @v, %(p)s; -- DROP;\n",
    "NULL",
    "Grüße, 你好, שלום, नमस्ते, \u0301combining",
    "\U0001f389\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0010ffff",
    "tab\tnewline\ncr\rnbsp\u00a0 separator\u2028 control\x01\x1f\x7f",
    " space at both ends ",
    "'",
    "\\",
    "0",
    "é" * 50,
)
JSON = (
    "null",
    "true",
    "-0.0",
    "1.0",
    "1e22",
    "-2.5e-7",
    "1.7976931348623157e308",
    str(2**53 + 1),
    str(-(2**63)),
    str(2**64 - 1),
    str(10**100 + 7),
    '""',
    "[]",
    "{}",
    '"a\\u0000b"',
    '"\\u00e9 \\ud83c\\udf89 é 🎉"',
    '{"k": 1,  "K": [null, {"": [{}]}], "k ": "null"}',
    "[" * 64 + "]" * 64,
    json.dumps(list(NASTY), ensure_ascii=False),
)
NO_NUL = tuple(text for text in JSON if "u0000" not in text and len(text) < 400 and not text.startswith("1" + "0" * 50))
"""Those that a task can return: the codec writes no NUL and no integer beyond 64 bits."""
ERROR = '{"type": "RuntimeError", "message": "é: \\u0000", "traceback": null}'
Steps = list[tuple[float, Event | str]]


def _claimed(*then: tuple[float, Event | str]) -> Steps:
    return [(1, Claim("worker-é-1")), *then]


def _retry(at: float, after: float) -> tuple[float, Event]:
    return at, Fail(ERROR, T0 + timedelta(seconds=after))


def tasks() -> Iterator[tuple[dict[str, Any], Steps]]:
    """Each task's options, and what happens to it: seconds after `T0`, and an event or the progress of a heartbeat."""
    yield from _to_be_run()
    yield from _under_way()
    yield from _not_to_be_run()
    yield from _ended()


def _to_be_run() -> Iterator[tuple[dict[str, Any], Steps]]:
    """Waiting, due, and for a local worker."""
    for number, text in enumerate(NO_NUL):
        yield (
            {"name": "echo", "args": f"[{text}]", "queue": ("default", "mail")[number % 2], "priority": number - 3},
            [],
        )
    yield {"name": "echo", "args": '["key"]', "key": "invoice-1", "priority": 2**31 - 1}, []
    yield {"name": "echo", "args": '["nasty key"]', "key": NASTY[3], "queue": "mail", "priority": -(2**31)}, []
    yield {"name": "echo", "args": '["expires"]', "expires_at": FAR, "timeout": 86400.5, "max_attempts": 2**31 - 1}, []
    yield {"name": "echo", "args": '["due"]', "run_at": T0 + timedelta(hours=1), "metadata": f'{{"m": {JSON[-1]}}}'}, []
    yield (
        {
            "name": "echo",
            "args": '["due, key"]',
            "run_at": T0 + timedelta(hours=2),
            "key": "later-1",
            "max_attempts": 3,
        },
        [],
    )


def _under_way() -> Iterator[tuple[dict[str, Any], Steps]]:
    """Begun before, and not at their end: retries, and tasks of a worker that is gone."""
    more: dict[str, Any] = {"name": "echo", "max_attempts": 3}
    yield {**more, "args": '["retry later"]', "key": "retry-1"}, _claimed(_retry(2, 60))
    yield {**more, "args": '["retry now"]', "queue": "mail"}, _claimed(_retry(2, 2))
    twice = _claimed(_retry(2, 3), (4, Claim("worker-2")), _retry(5, 90))
    yield {**more, "args": '["second retry"]'}, twice
    yield {**more, "args": '["snoozed"]'}, _claimed((2, Snooze(T0 + timedelta(seconds=30))))
    yield {**more, "args": '["given back"]'}, _claimed((2, Requeue()))
    yield {**more, "args": '["revived"]', "key": "revived-1"}, _claimed((2, Fail(ERROR)), (3, Revive()))
    yield {**more, "args": '["stale"]', "key": "stale-1"}, _claimed((2, '{"done": 1, "message": "é"}'))
    yield {**more, "args": '["no heartbeat"]', "queue": "mail"}, _claimed((2, NullHeartbeat()))
    yield {**more, "args": '["stale at its last attempt"]', "max_attempts": 1}, _claimed()


def _not_to_be_run() -> Iterator[tuple[dict[str, Any], Steps]]:
    """Waiting for another time, for another executor, or for too long."""
    for text in NASTY:
        odd: dict[str, Any] = {"name": text, "queue": text, "description": text * 3, "execution_profile": text}
        json_text = json.dumps([text, {text: text}])
        yield {**odd, "key": f"{text}-", "run_at": FAR, "args": json_text, "timeout": 1e-6, "expires_at": FAR}, []
    yield {"name": "echo", "args": '["elsewhere"]', "execution_backend": "cloudrun", "key": "elsewhere-1"}, []
    yield {"name": "echo", "args": '["overdue"]', "expires_at": T0 + timedelta(seconds=9), "key": "overdue-1"}, []
    yield {"name": "echo", "run_at": FAR, "args": '["later retry"]', "max_attempts": 2}, []


def _ended() -> Iterator[tuple[dict[str, Any], Steps]]:
    """In each of the terminal states, with results of every form."""
    for text in JSON:
        options = {
            "name": "app.done",
            "args": f"[{text}]",
            "kwargs": f'{{"k": {text}}}',
            "metadata": f'{{"m": {text}}}',
        }
        yield options, _claimed((2, text), (3, Complete(text)))
    yield {"name": "app.done", "key": "invoice-1-before", "timeout": 1 / 3}, _claimed((3, Complete('"freed its key"')))
    yield {"name": "app.fails", "max_attempts": 2}, _claimed(_retry(2, 3), (4, Claim("worker-2")), (5, Fail(ERROR)))
    yield {"name": "app.cancelled", "key": "cancelled-1"}, [(1, Cancel())]
    yield {"name": "app.cancelled"}, _claimed((2, '{"half": true}'), (3, Cancel()))
    yield {"name": "app.expired", "expires_at": T0 + timedelta(seconds=1)}, [(2, Expire())]


async def fill(backend: QueueBackend) -> list[TaskRecord]:
    """Store the tasks, and take the locks; every task as the backend reads it back."""
    ids = [await _task(backend, number, options, steps) for number, (options, steps) in enumerate(tasks(), 1)]
    assert await backend.lock("golden-é", "owner-é", FAR - T0, now=T0)
    assert await backend.lock("golden-free", "owner", timedelta(seconds=1), now=T0)
    found = await backend.get(ids)
    return [found[id_] for id_ in ids]


async def _task(backend: QueueBackend, number: int, options: dict[str, Any], steps: Steps) -> str:
    new = NewTask(id=f"0192f0c1-2345-7678-9abc-{number:012}", **options)
    [answer] = await backend.enqueue_many([new], now=T0)
    assert answer.is_new, f"{new} meets the key of {answer.record}"
    record = answer.record
    for seconds, event in steps:
        now = T0 + timedelta(seconds=seconds)
        if isinstance(event, str):
            assert await backend.touch_heartbeats([Held(record.id, record.fence, event)], now=now)
            record = (await backend.get([record.id]))[record.id]
        elif isinstance(event, Claim):
            [record] = await backend.claim(Want(worker=event.worker, limit=1, tasks=(record.held,)), now=now)
        else:
            record = step(record, event, now)
            assert await backend.commit([record])
    return record.id


async def main(place: dict[str, Any]) -> None:
    """Fill the store at this place, and print what came of it."""
    schema: list[str] = []
    _listen(place["through"], schema.append)
    backend = backend_config(place, **({} if "prefix" in place else {"create_schema": True})).create_backend()
    await backend.open()
    try:
        records = await fill(backend)
    finally:
        await backend.close()
    json.dump({"schema": schema, "records": msgspec.to_builtins(records)}, sys.stdout)


def _listen(through: str, note: Callable[[str], None]) -> None:
    """Note the statements that create the schema."""
    if through.startswith("alchemy"):
        from sqlalchemy import Engine, event

        @event.listens_for(Engine, "before_cursor_execute")
        def _sent(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:  # pyright: ignore[reportUnusedFunction]
            if statement.lstrip().startswith(("CREATE", "ALTER")):
                note("\n".join(line.rstrip() for line in statement.replace("\t", "    ").strip().splitlines()))
    elif through not in ("redis", "valkey"):
        from litestar_queues.backends.sql import families

        family = {"aiosqlite": "sqlite", "duckdb": "duckdb", "asyncpg": "postgres", "asyncmy": "mysql"}[through]
        for statement in families.schema_statements(getattr(families, family.upper())):
            note(statement)


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
