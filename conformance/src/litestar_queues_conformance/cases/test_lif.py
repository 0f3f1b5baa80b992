"""LIF: what is stored, and how it changes."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from litestar_queues.backends.base import QueueBackend
from litestar_queues.lifecycle import (
    TERMINAL,
    Cancel,
    Claim,
    Complete,
    Event,
    Expire,
    Fail,
    LoseHeartbeat,
    Requeue,
    Revive,
    Snooze,
    State,
    Transition,
    step,
)
from litestar_queues.records import (
    PRIORITY_MAX,
    PRIORITY_MIN,
    Enqueued,
    Held,
    Matching,
    NewTask,
    Stale,
    TaskRecord,
    Want,
    admit,
)
from litestar_queues_conformance.compare import JSON_FIELDS, difference
from litestar_queues_conformance.fields import CHANGING, FIELDS, NULLABLE, TEXTS, changed, given
from litestar_queues_conformance.harness import T0, Check, Store, at, guarantee
from litestar_queues_conformance.moves import (
    ERROR,
    RESULT,
    ROWS,
    WRITES,
    claim_all,
    claim_one,
    commit,
    event_of,
    ids,
    picture,
    pictures,
    reach,
    row_name,
    running,
    stored,
)

NASTY = (
    "plain",
    'it\'s "quoted" \\ and \\\' \\" too',
    "100% of %s, :name, ?, $1, {x}, @v, %(p)s; -- DROP",
    "NULL",
    "None",
    "Grüße, 你好, שלום, नमस्ते, \u0301combining",
    "\U0001f389\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0010ffff",
    "tab\tnewline\ncr\rnbsp\u00a0 separator\u2028 control\x01\x1f\x7f",
    " space at both ends ",
    "'",
    "\\",
    "0",
)


@guarantee("LIF-01")
async def test_every_field_of_a_new_task_is_stored_as_it_was_given(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    new = store.new_task(**given())
    [answer] = await a.enqueue_many([new], now=T0)
    check.equal("LIF-01", answer, Enqueued(admit(new, T0), True), "the answer")
    check.equal("LIF-01", await stored(b, new.id), admit(new, T0), "what another client reads")


@guarantee("LIF-01")
async def test_a_claim_answers_with_every_field_as_it_was_given(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    new = store.new_task(**given(run_at=None))
    await a.enqueue_many([new], now=T0)
    expected = step(admit(new, T0), Claim("worker-b"), at(1))
    check.equal("LIF-01", await claim_all(b, now=at(1), worker="worker-b"), [expected], "the answer")
    check.equal("LIF-01", await stored(a, new.id), expected, "what another client reads")


@guarantee("LIF-01")
async def test_what_is_left_out_of_a_new_task_is_left_out_of_its_record(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    new = store.new_task()
    [answer] = await a.enqueue_many([new], now=T0)
    check.equal("LIF-01", answer, Enqueued(admit(new, T0), True), "the answer")
    check.equal("LIF-01", await stored(b, new.id), admit(new, T0), "what another client reads")


@guarantee("LIF-01")
async def test_texts_come_back_character_by_character(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    batch = [store.new_task(**{name: text[: FIELDS[name].longest] for name in TEXTS}) for text in NASTY]
    answers = await a.enqueue_many(batch, now=T0)
    expected = [admit(new, T0) for new in batch]
    check.equal("LIF-01", [one.record for one in answers], expected, "the answers")
    found = await b.get(ids(batch))
    check.equal("LIF-01", found, {record.id: record for record in expected}, "what another client reads")


@pytest.mark.parametrize("character", ["x", "é", "你", "\U0001f389"])
@guarantee("LIF-01")
async def test_the_longest_texts_are_stored_whole(store: Store, check: Check, character: str) -> None:
    a, b = await store.actors(2)
    new = store.new_task(**{name: character * (FIELDS[name].longest or 0) for name in TEXTS})
    await a.enqueue_many([new], now=T0)
    check.equal("LIF-01", await stored(b, new.id), admit(new, T0), "what another client reads")


@guarantee("LIF-01")
async def test_times_come_back_to_the_microsecond_and_in_utc(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    base = datetime(2031, 12, 31, 23, 59, 59, tzinfo=UTC)
    for microsecond in (0, 1, 10, 100_000, 120_000, 999_000, 999_999):
        now = base.replace(microsecond=microsecond)
        zone = timezone(timedelta(hours=5, minutes=45))
        new = store.new_task(run_at=(now + timedelta(days=1)).astimezone(zone), expires_at=now.replace(year=2199))
        await a.enqueue_many([new], now=now)
        check.equal("LIF-01", await stored(b, new.id), admit(new, now), "what another client reads")


@guarantee("LIF-01")
async def test_a_run_at_that_has_come_means_pending_since_now(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    for run_at in (at(-3600), at(microseconds=-1), T0, at(microseconds=1)):
        new = store.new_task(run_at=run_at)
        await a.enqueue_many([new], now=T0)
        check.equal("LIF-01", await stored(b, new.id), admit(new, T0), f"a task with run_at {run_at - T0} from now")


@guarantee("LIF-01")
async def test_numbers_come_back_at_the_ends_of_their_ranges(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    for priority, attempts, timeout in (
        (PRIORITY_MIN, 1, 1e-6),
        (PRIORITY_MAX, 2**31 - 1, 1 / 3),
        (0, 2, 86_400.0 * 365),
    ):
        new = store.new_task(priority=priority, max_attempts=attempts, timeout=timeout)
        await a.enqueue_many([new], now=T0)
        check.equal("LIF-01", await stored(b, new.id), admit(new, T0), "what another client reads")


def _deep(levels: int) -> Any:
    value: Any = "bottom"
    for i in range(levels):
        value = [value] if i % 2 else {"down": value}
    return value


JSON_VALUES: dict[str, Any] = {
    "null": None,
    "true": True,
    "false": False,
    "zero": 0,
    "one": 1,
    "one point zero": 1.0,
    "minus one": -1,
    "a tenth": 0.1,
    "a third": 1 / 3,
    "tiny": -2.5e-7,
    "2**53 + 1": 2**53 + 1,
    "-(2**63)": -(2**63),
    "2**63": 2**63,
    "2**64 - 1": 2**64 - 1,
    "empty string": "",
    "empty list": [],
    "empty object": {},
    "one of each": [None, True, 1, 1.0, "", [], {}, [None], {"": None}, [[]], [{}]],
    "unicode": NASTY,
    "a string that looks like JSON": '{"a": [1, null]}',
    "a string that looks like a number": "5",
    "a string that says null": "null",
    "a quoted string": '"quoted"',
    "a time": "2031-05-17T10:20:30.123456+00:00",
    "escapes": "\\ \\\\ \\n \\u0041 / \b\f",
    "keys that differ by case": {"k": 1, "K": 2, "k ": 3, "\uff4b": 4},
    "1 MiB": "x" * (1 << 20),
    "1 MiB of unicode": "é你\U0001f389" * (1 << 17),
    "many": list(range(20_000)),
    "64 levels": _deep(64),
    "200 levels": _deep(200),
    "2**64": 2**64,
    "a hundred digits": 10**100 + 7,
    "1e22, which is no integer": 1e22,
    "minus zero": -0.0,
    "the largest float": 1.7976931348623157e308,
    "a NUL": "a\x00b",
}


@pytest.mark.parametrize("name", JSON_VALUES)
@guarantee("LIF-02")
async def test_json_comes_back_as_the_value_that_it_was(store: Store, check: Check, name: str) -> None:
    a, b = await store.actors(2)
    value = json.dumps(JSON_VALUES[name], ensure_ascii=False)
    new = store.new_task(args=f"[{value}]", kwargs=f'{{"k": {value}}}', metadata=f'{{"m": {value}}}', max_attempts=2)
    await a.enqueue_many([new], now=T0)
    await _same_json(check, b, admit(new, T0), "args", "kwargs", "metadata")

    owned = await claim_one(a, admit(new, T0), now=at(1))
    await a.touch_heartbeats([Held(owned.id, owned.fence, value)], now=at(2))
    beaten = owned.evolve(heartbeat_at=at(2), progress=value)
    await _same_json(check, b, beaten, "progress")

    failed = await commit(a, beaten, Fail(value, at(3)), at(3))
    await _same_json(check, b, failed, "error", "args", "kwargs", "metadata")
    again = await claim_one(b, failed, now=at(4))
    for field in ("args", "kwargs", "metadata", "progress", "error"):
        check.equal("LIF-02", _one_spelling(getattr(again, field)), _one_spelling(getattr(failed, field)), field)
    completed = await commit(b, again, Complete(value), at(5))
    await _same_json(check, a, completed, "result", "progress", "args", "kwargs", "metadata")


async def _same_json(check: Check, actor: QueueBackend, expected: TaskRecord, *fields: str) -> None:
    found = await stored(actor, expected.id)
    for field in fields:
        check.equal("LIF-02", _one_spelling(getattr(found, field)), _one_spelling(getattr(expected, field)), field)


@guarantee("LIF-02")
async def test_a_null_result_is_a_result_and_none_is_none(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    owned = await running(store, a)
    for field in ("result", "error", "progress"):
        check.equal("LIF-02", getattr(await stored(b, owned.id), field), None, f"{field} before there is one")
    await commit(a, owned, Complete("null"), at(1))
    after = await stored(b, owned.id)
    check.equal("LIF-02", after.result, "null", "the result")
    check.equal("LIF-02", after.error, None, "the error")


def _changed(record: TaskRecord) -> dict[str, Any]:
    return {field: getattr(record, field) for field in ("id", *CHANGING) if field != "fence"}


def _kept(record: TaskRecord) -> dict[str, Any]:
    return {field: getattr(record, field) for field in record.__struct_fields__ if field not in CHANGING}


def _json_free(record: TaskRecord) -> TaskRecord:
    """The record with its JSON texts in one spelling, so that fields can be compared alone."""
    return record.evolve(**{field: _one_spelling(getattr(record, field)) for field in JSON_FIELDS})


def _one_spelling(text: str | None) -> str | None:
    return None if text is None else json.dumps(json.loads(text), sort_keys=True)


async def _through(store: Store, row: Transition) -> tuple[TaskRecord, TaskRecord, TaskRecord, set[str]]:
    """Take a task through this row; the record before, as it must be, as another client reads it, and the answer."""
    a, b = await store.actors(2)
    event, now, fields = event_of(row)
    before = await reach(store, a, row.state, **fields, key="k", description="d", metadata='{"m": 1}', timeout=2.5)
    if row.state in (State.RUNNING, State.DISPATCHED):
        await a.touch_heartbeats([Held(before.id, before.fence, '{"done": 7}')], now=at(5))
        before = await stored(a, before.id)
    expected = step(before, event, now)
    answer = await a.commit([expected])
    return before, expected, await stored(b, before.id), answer


@pytest.mark.parametrize("row", ROWS, ids=row_name)
@guarantee("LIF-03")
async def test_a_commit_stores_what_the_transition_changed(store: Store, check: Check, row: Transition) -> None:
    if row.state not in store.states:
        check("LIF-03", row.state is State.DISPATCHED, f"no task of this store can be {row.state}")
        return
    before, expected, found, answer = await _through(store, row)
    check.equal("LIF-03", answer, {before.id}, "the answer")
    check.equal("LIF-03", _changed(_json_free(found)), _changed(_json_free(expected)), f"the task after {row.event}")


@guarantee("LIF-03")
async def test_a_commit_stores_and_clears_every_field_that_can_change(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    before = await running(store, a, execution_backend="remote")
    after = changed(before)
    check.equal("LIF-03", await a.commit([after]), {before.id}, "the answer")
    check.equal("LIF-03", _changed(_json_free(await stored(b, before.id))), _changed(_json_free(after)), "what was set")
    nothing = dict.fromkeys(NULLABLE.intersection(CHANGING))
    cleared = after.evolve(**nothing, fence=after.fence + 1)
    check.equal("LIF-03", await b.commit([cleared]), {before.id}, "the answer")
    check.equal(
        "LIF-03", _changed(_json_free(await stored(a, before.id))), _changed(_json_free(cleared)), "what was cleared"
    )


@guarantee("LIF-03")
async def test_a_batch_of_commits_stores_each_task_as_its_own(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    owned = [await running(store, a, max_attempts=2) for _ in range(5)]
    events: list[Event] = [Complete('"a"'), Fail('"b"'), Fail('"c"', at(50)), Requeue(), Snooze(at(70))]
    after = [step(record, event, at(1 + i)) for i, (record, event) in enumerate(zip(owned, events, strict=True))]
    check.equal("LIF-03", await a.commit(after), set(ids(owned)), "the answer")
    found = await b.get(ids(owned))
    expected = {one.id: _changed(_json_free(one)) for one in after}
    check.equal(
        "LIF-03", {id_: _changed(_json_free(one)) for id_, one in found.items()}, expected, "what another client reads"
    )


@pytest.mark.parametrize("row", ROWS, ids=row_name)
@guarantee("LIF-04")
async def test_a_commit_leaves_alone_what_no_transition_changes(store: Store, check: Check, row: Transition) -> None:
    if row.state not in store.states:
        check("LIF-04", row.state is State.DISPATCHED, f"no task of this store can be {row.state}")
        return
    before, _, found, _ = await _through(store, row)
    check.equal("LIF-04", _kept(_json_free(found)), _kept(_json_free(before)), f"the task after {row.event}")


@guarantee("LIF-04")
async def test_claims_and_heartbeats_leave_alone_what_no_transition_changes(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    new = store.new_task(**given(run_at=None))
    enqueued = _kept(_json_free(admit(new, T0)))
    await a.enqueue_many([new], now=T0)
    owned = await claim_one(a, admit(new, T0), now=at(1))
    check.equal("LIF-04", _kept(_json_free(await stored(b, new.id))), enqueued, "the task after a claim")
    await a.touch_heartbeats([Held(owned.id, owned.fence, "[2]")], now=at(2))
    check.equal("LIF-04", _kept(_json_free(await stored(b, new.id))), enqueued, "the task after a heartbeat")


_LAST: dict[State, Event] = {
    State.COMPLETED: Complete(RESULT),
    State.FAILED: Fail(ERROR),
    State.CANCELLED: Cancel(),
}


@pytest.mark.parametrize("state", sorted(TERMINAL))
@guarantee("LIF-05")
async def test_a_terminal_task_stays_as_it_is(store: Store, check: Check, state: State) -> None:
    a, b = await store.actors(2)
    waiting = await store.enqueue(a, max_attempts=9, expires_at=at(1.5) if state is State.EXPIRED else None)
    if state is State.EXPIRED:
        terminal = await commit(a, waiting, Expire(), at(2))
        lost = waiting.evolve(state=State.RUNNING)  # nobody can have owned it; its reader pretends
    else:
        lost = await claim_one(a, waiting, now=at(1))
        terminal = await commit(a, lost, _LAST[state], at(2))
    before = picture(await stored(b, terminal.id))

    for fence in range(terminal.fence + 3):
        named = await b.claim(Want(worker="w", limit=9, tasks=(Held(terminal.id, fence),)), now=at(100))
        check.equal("LIF-05", named, [], f"a claim of a {state} task under fence {fence}")
        await b.touch_heartbeats([Held(terminal.id, fence, '"late"')], now=at(100))
        check.equal("LIF-05", picture(await stored(a, terminal.id)), before, f"the record after a beat under {fence}")
    check.equal("LIF-05", await claim_all(b, now=at(100)), [], "a claim of anything")
    for name, event in WRITES.items():
        late = step(lost, event, at(100))
        check.equal("LIF-05", await b.commit([late]), set[str](), f"a late {name}")
    check.equal("LIF-05", picture(await stored(a, terminal.id)), before, "the record after all that")


@pytest.mark.parametrize("state", [State.FAILED, State.CANCELLED])
@guarantee("LIF-05")
async def test_a_revived_task_lives_again(store: Store, check: Check, state: State) -> None:
    a, b = await store.actors(2)
    terminal = await reach(store, a, state, key="k")
    revived = await commit(b, terminal, Revive(), at(50))
    check.equal("LIF-05", (await stored(a, terminal.id)).state, revived.state, "the state of a revived task")
    check.equal("LIF-05", ids(await claim_all(a, now=at(51))), [terminal.id], "the claim of a revived task")


@pytest.mark.parametrize("name", ["retry", "snooze"])
@guarantee("LIF-06")
async def test_a_task_given_back_for_later_waits_for_its_time(store: Store, check: Check, name: str) -> None:
    a, b = await store.actors(2)
    owned = await running(store, a, max_attempts=5)
    due = at(100, microseconds=500)
    await commit(a, owned, Fail(ERROR, due) if name == "retry" else Snooze(due), at(1))
    check.equal("LIF-06", await b.next_due(), due, "when the task comes due")
    for early in (at(2), at(50), at(99)):
        check.equal("LIF-06", await claim_all(b, now=early), [], f"a claim {due - early} early")
    claimed = await claim_all(b, now=at(101), worker="worker-b")
    check.equal("LIF-06", ids(claimed), [owned.id], "a claim after its time has come")


@pytest.mark.parametrize("name", ["retry at once", "requeue", "recover", "snooze into the past"])
@guarantee("LIF-06")
async def test_a_task_given_back_at_once_can_be_claimed_at_once(store: Store, check: Check, name: str) -> None:
    a, b = await store.actors(2)
    owned = await running(store, a, max_attempts=5)
    events: dict[str, Event] = {
        "retry at once": Fail(ERROR, at(-10)),
        "requeue": Requeue(),
        "recover": LoseHeartbeat(ERROR),
        "snooze into the past": Snooze(at(-10)),
    }
    await commit(a, owned, events[name], at(10))
    check.equal("LIF-06", ids(await claim_all(b, now=at(11))), [owned.id], "the next claim")


@guarantee("LIF-07")
async def test_a_batch_is_answered_task_by_task_in_its_order(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    holder = await store.enqueue(b, key="held")
    batch: list[NewTask] = []
    for i in range(60):
        key = "held" if i % 7 == 0 else f"key-{i}" if i % 3 == 0 else None
        fields = {} if key == "held" else {"priority": store.random.randint(-5, 5), "queue": f"q{i % 4}"}
        batch.append(store.new_task(key=key, args=f"[{i}]", **fields))
    answers = await a.enqueue_many(batch, now=at(1))
    expected = [Enqueued(holder, False) if new.key == "held" else Enqueued(admit(new, at(1)), True) for new in batch]
    check.equal("LIF-07", answers, expected, "the answers")
    found = await b.get(ids(batch))
    check.equal("LIF-07", set(found), {new.id for new in batch if new.key != "held"}, "the ids that are stored")


@guarantee("LIF-07")
async def test_a_large_batch_is_stored_and_answered_whole(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    batch = [store.new_task(args=f"[{i}]", key=f"key-{i}" if i % 2 else None) for i in range(3000)]
    answers = await a.enqueue_many(batch, now=T0)
    check.equal("LIF-07", answers, [Enqueued(admit(new, T0), True) for new in batch], "the answers")
    check.equal("LIF-07", sum(one.tasks for one in await b.count()), len(batch), "how many are stored")


@guarantee("LIF-08")
async def test_a_repeated_batch_stores_nothing_twice(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    batch = [store.new_task(key="k"), store.new_task(), store.new_task(key="k"), store.new_task(run_at=at(99))]
    first = await a.enqueue_many(batch, now=T0)
    before = await pictures(b)
    check.equal("LIF-08", await a.enqueue_many(batch, now=at(5)), first, "the answers of the repetition")
    check.equal("LIF-08", await b.enqueue_many(batch, now=at(6)), first, "the answers to another client")
    check.equal("LIF-08", await pictures(a), before, "what is stored")


@guarantee("LIF-08")
async def test_a_batch_repeated_after_some_of_it_ran_starts_nothing_again(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    batch = [store.new_task(key="k"), store.new_task(), store.new_task(key="other")]
    first = [one.record for one in await a.enqueue_many(batch, now=T0)]
    done = await commit(b, await claim_one(b, first[0], now=at(1)), Complete(RESULT), at(2))
    owned = await claim_one(b, first[1], now=at(3))
    answers = await a.enqueue_many(batch, now=at(4))
    expected = [Enqueued(done, True), Enqueued(owned, True), Enqueued(first[2], True)]
    check.equal("LIF-08", answers, expected, "the answers of the repetition")
    check.equal("LIF-08", await b.get(ids(batch)), {one.id: one for one in (done, owned, first[2])}, "what is stored")
    check.equal("LIF-08", ids(await claim_all(b, now=at(5))), [batch[2].id], "what is left to claim")


@guarantee("LIF-09")
async def test_a_batch_is_seen_whole_or_not_at_all(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    batch = store.new_tasks(200)

    async def seen_while(change: Any, state: State) -> list[int]:
        """How many tasks in this state the other client saw, again and again until the change was answered."""
        doing = asyncio.ensure_future(change)
        counts: list[int] = []
        while not doing.done():
            counts.append(len(await b.find(Matching(states=(state,)), 999)))
            await asyncio.sleep(0)
        await doing
        return [*counts, len(await b.find(Matching(states=(state,)), 999))]

    seen = await seen_while(a.enqueue_many(batch, now=T0), State.PENDING)
    check("LIF-09", set(seen) <= {0, 200} and seen[-1] == 200, f"an enqueued batch of 200 was seen as {seen}")
    seen = await seen_while(claim_all(a, now=at(1)), State.RUNNING)
    check("LIF-09", set(seen) <= {0, 200} and seen[-1] == 200, f"a claimed batch of 200 was seen as {seen}")
    owned = list((await b.get(ids(batch))).values())
    seen = await seen_while(a.commit([step(one, Complete(RESULT), at(2)) for one in owned]), State.COMPLETED)
    check("LIF-09", set(seen) <= {0, 200} and seen[-1] == 200, f"a committed batch of 200 was seen as {seen}")
    done = [one.evolve(fence=one.fence + 1).held for one in owned]
    seen = await seen_while(a.delete(done), State.COMPLETED)
    check("LIF-09", set(seen) <= {0, 200} and seen[-1] == 0, f"a deleted batch of 200 was seen as {seen}")


@guarantee("LIF-10")
async def test_an_empty_batch_does_nothing(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    for state in store.states:
        await reach(store, a, state)
    before = await pictures(b)
    check.equal("LIF-10", await a.enqueue_many([], now=at(9)), [], "enqueue_many")
    check.equal("LIF-10", await a.touch_heartbeats([], now=at(9)), set[str](), "touch_heartbeats")
    check.equal("LIF-10", await a.commit([]), set[str](), "commit")
    check.equal(
        "LIF-10", await a.commit([], stale=Stale.since(at(9))), set[str](), "commit with a query for stale tasks"
    )
    check.equal("LIF-10", await a.get([]), {}, "get")
    check.equal("LIF-10", await a.delete([]), set[str](), "delete")
    check.equal("LIF-10", await a.claim(Want(worker="w", limit=9, tasks=()), now=at(9)), [], "claim")
    check.equal("LIF-10", await pictures(b), before, "what is stored")


@guarantee("LIF-11")
async def test_what_was_answered_is_visible_to_every_client_at_once(store: Store, check: Check) -> None:
    a, b, c = await store.actors(3)
    new = store.new_task(max_attempts=3)
    for reader in (b, c):
        check.equal("LIF-11", await reader.get([new.id]), {}, "a task before it is enqueued")
    [one] = await a.enqueue_many([new], now=T0)
    for reader in (a, b, c):
        check.equal("LIF-11", await reader.get([new.id]), {new.id: one.record}, "an enqueued task")
    owned = await claim_one(b, one.record, now=at(1))
    for reader in (a, b, c):
        check.equal("LIF-11", await reader.get([new.id]), {new.id: owned}, "a claimed task")
    await b.touch_heartbeats([owned.held], now=at(2))
    for reader in (a, b, c):
        check.equal("LIF-11", (await stored(reader, new.id)).heartbeat_at, at(2), "a heartbeat")
    done = await commit(b, owned, Complete(RESULT), at(3))
    for reader in (a, b, c):
        check.equal("LIF-11", await reader.get([new.id]), {new.id: done}, "a completed task")
    await c.delete([done.held])
    for reader in (a, b, c):
        check.equal("LIF-11", await reader.get([new.id]), {}, "a deleted task")


@guarantee("LIF-30")
async def test_get_answers_with_the_stored_ones_of_its_ids(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    batch = store.new_tasks(2500)
    await a.enqueue_many(batch, now=T0)
    wanted = batch[::2]
    asked = [*ids(wanted), *(store.new_id() for _ in range(1000)), wanted[0].id]
    found = await b.get(asked)
    check.equal("LIF-30", set(found), set(ids(wanted)), "the ids that were found")
    wrong = [new.id for new in wanted if difference(found[new.id], admit(new, T0))]
    check.equal("LIF-30", wrong, [], "records that stand under another's id")
    check.equal("LIF-30", await b.get([store.new_id()]), {}, "an id that nobody has")


@guarantee("LIF-31")
async def test_a_record_that_was_handed_out_does_not_change(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    new = store.new_task(max_attempts=3, metadata='{"m": 1}')
    [one] = await a.enqueue_many([new], now=T0)
    handed = [one.record, await stored(b, new.id)]
    before = [picture(record) for record in handed]
    owned = await claim_one(b, one.record, now=at(1))
    handed += [owned, await stored(a, new.id)]
    before += [picture(record) for record in handed[2:]]
    await b.touch_heartbeats([Held(owned.id, owned.fence, "[1]")], now=at(2))
    await commit(b, owned, Fail(ERROR, at(3)), at(3))
    check.equal("LIF-31", [picture(record) for record in handed], before, "the records after the task went on")


@guarantee("LIF-32")
async def test_the_stores_clock_is_utc_with_microseconds_and_never_goes_back(store: Store, check: Check) -> None:
    actors = await store.actors(2)
    readings = [await actors[i % 2].now() for i in range(50)]
    check("LIF-32", all(one.utcoffset() == timedelta(0) for one in readings), f"not in UTC: {readings[0]!r}")
    check("LIF-32", readings == sorted(readings), "the clock went back between two readings")
    check("LIF-32", any(one.microsecond % 1000 for one in readings), f"no microseconds in any of {readings[:3]}")


@guarantee("LIF-12")
async def test_without_a_time_given_the_stores_clock_stamps_every_write(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    new = store.new_task()
    t0 = await b.now()
    [one] = await a.enqueue_many([new])
    t1 = await b.now()
    check("LIF-12", t0 <= one.record.created_at <= t1, f"enqueued at {one.record.created_at}, between {t0} and {t1}")
    check.equal("LIF-12", one.record, admit(new, one.record.created_at), "the record")
    [owned] = await a.claim(Want(worker="worker-a", limit=1))
    t2 = await b.now()
    check("LIF-12", owned.started_at is not None and t1 <= owned.started_at <= t2, f"claimed at {owned.started_at}")
    await a.touch_heartbeats([owned.held])
    t3 = await b.now()
    beaten = (await stored(b, new.id)).heartbeat_at
    check("LIF-12", beaten is not None and t2 <= beaten <= t3, f"a heartbeat at {beaten}, between {t2} and {t3}")
    check("LIF-12", await a.lock("l", "a", timedelta(hours=1)), "a free lock was refused")
    check("LIF-12", not await b.lock("l", "b", timedelta(hours=1)), "a lock of an hour was given away at once")


@guarantee("LIF-12")
async def test_without_a_time_given_what_lies_ahead_is_not_claimed(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    now = await a.now()
    later = await store.enqueue(a, now=now, run_at=now + timedelta(hours=1))
    over = await store.enqueue(a, now=now - timedelta(hours=2), expires_at=now - timedelta(hours=1))
    ready = await store.enqueue(a, now=now)
    claimed = await b.claim(Want(worker="w", limit=9))
    check.equal("LIF-12", ids(claimed), [ready.id], f"claimed, beside {later.id} of later and the overdue {over.id}")
