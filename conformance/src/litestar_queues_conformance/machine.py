"""A Hypothesis state machine that drives a backend and the model side by side, and wants the same answers of both.

What it draws: tasks with few keys and few queues, so that they meet; events on tasks as they are and as they were some
events ago, so that owners are lost; a clock that moves by nothing, a microsecond, or minutes. Two clients take turns.

Where the time is the store's own, a history begins in the past, with given times, and goes on in the present, without.
What lies ahead is hours away there, so that it does not come while the history is drawn. The machine learns from an
answer when the call was made, and the model is told that time.

What differs first is named by the area of guarantees that the call belongs to: the stored tasks, by that of the last call.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, Phase, note, seed, settings
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from litestar_queues.backends.base import QueueBackend
from litestar_queues.lifecycle import (
    TERMINAL,
    WAITING,
    Cancel,
    Complete,
    Dispatch,
    Divert,
    Event,
    Expire,
    Fail,
    IllegalTransition,
    LoseHeartbeat,
    NullHeartbeat,
    Release,
    Requeue,
    Revive,
    Snooze,
    State,
    step,
)
from litestar_queues.records import (
    Dispatched,
    Enqueued,
    Finished,
    Held,
    Matching,
    NamedRecord,
    NewTask,
    Overdue,
    Query,
    Stale,
    TaskRecord,
    Want,
)
from litestar_queues_conformance.fields import FIELDS, otherwise
from litestar_queues_conformance.guarantees import AREAS
from litestar_queues_conformance.harness import T0, Check, Store, Violation
from litestar_queues_conformance.model import Model, as_of
from litestar_queues_conformance.moments import Alias, Onward, Shifted, Time
from litestar_queues_conformance.progress import Progress

__all__ = ("EXAMPLES", "EXAMPLES_VARIABLE", "SHRINK_VARIABLE", "STEPS", "histories", "run_machine")

EXAMPLES_VARIABLE = "LITESTAR_QUEUES_EXAMPLES"
"""The environment variable that says how many histories are drawn."""
EXAMPLES = 200
"""How many histories are drawn without it."""
SHRINK_VARIABLE = "LITESTAR_QUEUES_SHRINK"
"""The environment variable that, as `0`, leaves a failing history as it was found: for who asks only whether one is."""
STEPS = 40
"""How long a history can be."""
EQUAL = "LIF-13"
"""The guarantee that the machine is for."""

_AREA_OF_QUERY: dict[type[Any], str] = {
    Stale: "REC",
    Overdue: "EXP",
    Finished: "RET",
    Dispatched: "EXE",
    Matching: "STA",
}

V = TypeVar("V")
Ahead = Callable[[float], datetime]
"""What lies so many seconds from now, or behind."""
_EVENTS: dict[str, Callable[[Ahead], Event]] = {
    "complete": lambda _: Complete('{"done": true}'),
    "fail": lambda _: Fail('{"type": "Error"}'),
    "retry now": lambda ahead: Fail('{"type": "Error"}', ahead(0)),
    "retry later": lambda ahead: Fail('{"type": "Error"}', ahead(30)),
    "requeue": lambda _: Requeue(),
    "release": lambda _: Release(),
    "snooze": lambda ahead: Snooze(ahead(0.000001)),
    "snooze until a past time": lambda ahead: Snooze(ahead(-1)),
    "lose heartbeat": lambda _: LoseHeartbeat('{"type": "HeartbeatLost"}'),
    "null heartbeat": lambda _: NullHeartbeat(),
    "cancel": lambda _: Cancel(),
    "expire": lambda _: Expire(),
    "revive": lambda _: Revive(),
    "dispatch": lambda ahead: Dispatch(f"run/{ahead(0).microsecond}", 10.0),
    "divert": lambda _: Divert("remote", '{"type": "DispatchRefused"}'),
    "divert to where it was enqueued for": lambda _: Divert("local", '{"type": "DispatchRefused"}'),
}
_TIMES = (-60.0, 0.0, 0.000001, 0.001, 10.0, 60.0)
"""Seconds from now, for everything that lies in the future or the past."""
_WINDOWS = (None, 10.0, 0.000001)
"""Seconds for which an owner may be silent."""
_QUEUES = ("default", "mail", "Mail")
_BACKENDS = ("local", "remote")
_KEYS = ("k", "K", "k ")
_REFS = (None, None, "own")
"""References that a claim may bring."""
_STATES = (
    *(None, (), tuple(sorted(WAITING)), (State.RUNNING,), tuple(sorted(TERMINAL)), (State.FAILED, State.EXPIRED)),
    *((State.DISPATCHED,), (State.DISPATCHED, State.RUNNING)),
)
"""Filters that do not part scheduled from pending, which a backend may tell apart late."""

_ORDINARY = set(NewTask.__struct_fields__) - {"id", "name", "args", "key", "queue", "priority", "max_attempts"} - {
    "run_at", "expires_at", "execution_backend", "max_recoveries",
}  # fmt: skip
"""The fields of a new task that have no meaning for the machine, which only come back as they were."""

_task_fields = st.fixed_dictionaries(
    {},
    optional={
        **{name: st.just(one.value) for name, one in FIELDS.items() if name in _ORDINARY},
        "key": st.sampled_from(_KEYS),
        "queue": st.sampled_from(_QUEUES[1:]),
        "priority": st.sampled_from((-(2**31), -1, 1, 2**31 - 1)),
        "max_attempts": st.sampled_from((2, 3)),
        "max_recoveries": st.sampled_from((0, 1)),
        "run_in": st.sampled_from(_TIMES),
        "expires_in": st.sampled_from(_TIMES),
        "execution_backend": st.sampled_from(_BACKENDS[1:]),
    },
)
_actors = st.integers(0, 1)
_ages = st.sampled_from((0, 0, 0, 1, 2))
"""How many events ago a task was read: 0 is as it is now."""
_choices = st.integers(0, 59)
"""Which of those that are possible, whose number every count up to five divides."""
_seldom = st.sampled_from((False, False, True))
_limits = st.sampled_from((0, 1, 2, 10))
_queue_filters = st.none() | st.lists(st.sampled_from(_QUEUES), max_size=2, unique=True).map(tuple)
_some = st.none() | st.lists(st.sampled_from(_BACKENDS), max_size=2, unique=True).map(tuple)


_tasks: Bundle[str] = Bundle("tasks")
_several = st.lists(_tasks, min_size=1, max_size=3, unique=True)


class _Seen:
    """How many histories there were, and whether one differed: said while it happens, because all of it takes long."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress, self._histories, self._differs = progress, 0, False

    def one_more(self) -> None:
        self._histories += 1
        if self._progress is not None:
            remark = f"looking for the shortest history, {self._histories} so far" if self._differs else ""
            self._progress.at(self._histories, remark, seldom=True)

    def differing(self, violation: Violation) -> None:
        if self._progress is not None and not self._differs:
            self._progress.at(self._histories, f"a history differs from the model's: {violation}")
        self._differs = True


class _Machine(RuleBasedStateMachine):
    """One history; a subclass of each run says on what."""

    first: Store
    check: Check
    run: Callable[[Coroutine[Any, Any, Any]], Any]
    seen: _Seen
    time: Time

    def __init__(self) -> None:
        super().__init__()
        self.store = self.first.another()
        self.model = Model()
        self.now = T0
        """Given; or what the store's clock has passed, as a history with the store's time tells it."""
        self.made = 0
        self.area = "LIF"
        """What the last call was about: the first difference is named by it."""
        self.known: dict[str, NewTask] = {}
        self.actors: list[QueueBackend] = []

    @initialize(
        target=_tasks, fields=st.lists(_task_fields, min_size=2, max_size=6), earlier=st.sampled_from((0.0, 0.0, 30.0))
    )
    def open(self, fields: list[dict[str, Any]], earlier: float) -> Any:
        if self.time == "store":
            self.store.telling = Onward(T0, alias=Alias.drawn(self.store.random))
            self.now = T0 - timedelta(seconds=earlier)
        else:
            self.store.telling = Shifted.drawn(self.store.random)
        self.actors = self.run(self.store.actors(2))
        return self._enqueue_new(fields, 0)

    def teardown(self) -> None:
        self.run(self.store.aclose())
        self.seen.one_more()

    @rule(target=_tasks, fields=st.lists(_task_fields, min_size=1, max_size=4), actor=_actors)
    def enqueue(self, fields: list[dict[str, Any]], actor: int) -> Any:
        return self._enqueue_new(fields, actor)

    @rule(ids=_several, actor=_actors)
    def enqueue_again(self, ids: list[str], actor: int) -> None:
        self._enqueue([self.known[id_] for id_ in ids], actor)

    def _dispatches(self) -> bool:
        return self.first.target.capabilities.dispatch

    @rule(limit=_limits, queues=_queue_filters, backends=_some, reserve=_seldom, actor=_actors)
    def claim_some(
        self,
        *,
        limit: int,
        queues: tuple[str, ...] | None,
        backends: tuple[str, ...] | None,
        reserve: bool,
        actor: int,
    ) -> None:
        self._claim(self._want(actor, reserve, limit=limit, queues=queues, execution_backends=backends), actor)

    @rule(limit=st.integers(1, 4), window=st.sampled_from(_WINDOWS), actor=_actors)
    def claim(self, limit: int, window: float | None, actor: int) -> None:
        self._claim(Want(worker=f"w{actor}", limit=limit, stale_after=window), actor)

    @rule(ids=_several, age=_ages, reserve=_seldom, ref=st.sampled_from(_REFS), actor=_actors)
    def claim_by_id(self, ids: list[str], age: int, *, reserve: bool, ref: str | None, actor: int) -> None:
        held = tuple(self._read(id_, age).held for id_ in ids if id_ in self.model.versions)
        ref = ref if self._dispatches() and not reserve else None
        self._claim(self._want(actor, reserve, limit=10, tasks=held, execution_ref=ref), actor)

    @rule(limit=st.integers(1, 4), event=_choices, reserve=_seldom, actor=_actors)
    def work(self, limit: int, event: int, *, reserve: bool, actor: int) -> None:
        """Claim or reserve, and do something at once with what was given."""
        self._commit(self._claim(self._want(actor, reserve, limit=limit), actor), event, actor)

    @precondition(lambda self: self.model.owned())
    @rule(which=_choices, event=_choices, actor=_actors)
    def commit_owned(self, which: int, event: int, actor: int) -> None:
        """An owner or a dispatcher does something that it may to what it holds."""
        owned = self.model.owned()
        self._commit([owned[which % len(owned)]], event, actor)

    @precondition(lambda self: self.model.owned())
    @rule(which=_choices, actor=_actors)
    def try_again(self, which: int, actor: int) -> None:
        """An owner fails with a retry at once, or a dispatcher gives back; and somebody claims that task next."""
        owned = self.model.owned()
        record = owned[which % len(owned)]
        event = Fail('{"type": "Error"}', self.now) if record.state is State.RUNNING else Release()
        self._store([step(record, event, self.now)], None, actor)
        held = (self.model.tasks[record.id].held,)
        self._claim(Want(worker=f"w{actor}", limit=1, tasks=held), 1 - actor)

    @precondition(lambda self: self.model.once_dispatched())
    @rule(which=_choices, ref=st.sampled_from(_REFS), actor=_actors)
    def claim_as_run(self, which: int, ref: str | None, actor: int) -> None:
        """A run that was started once claims its task, whatever the task is now."""
        once = self.model.once_dispatched()
        held = (once[which % len(once)].held,)
        self._claim(Want(worker=f"r{actor}", limit=1, tasks=held, execution_ref=ref, stale_after=10.0), actor)

    @precondition(_dispatches)
    @rule(backends=_some, limit=_limits, actor=_actors)
    def recover_silent(self, backends: tuple[str, ...] | None, limit: int, actor: int) -> None:
        silent = self._find(Dispatched(at=self.now, execution_backends=backends), limit, actor)
        after = [step(record, LoseHeartbeat('{"type": "HeartbeatLost"}'), self.now) for record in silent]
        self._store(after, None, actor)

    @rule(ids=_several, age=_ages, event=_choices, actor=_actors)
    def commit(self, ids: list[str], age: int, event: int, actor: int) -> None:
        """Something that was possible when the tasks were read happens to them, possible or not by now."""
        self._commit([self._read(id_, age) for id_ in ids if id_ in self.model.versions], event, actor)

    @precondition(lambda self: self.model.once_owned())
    @rule(which=_choices, event=_choices, actor=_actors)
    def commit_as_lost_owner(self, which: int, event: int, actor: int) -> None:
        """Somebody who held or had reserved a task once does what its owner could do."""
        held = self.model.once_owned()
        self._commit([held[which % len(held)]], event, actor)

    @rule(
        ids=_several,
        age=_ages,
        progress=st.sampled_from((None, "0", '{"at": 1}')),
        window=st.sampled_from(_WINDOWS),
        actor=_actors,
    )
    def touch_heartbeats(
        self, ids: list[str], age: int, progress: str | None, window: float | None, actor: int
    ) -> None:
        held = [Held(id_, self._read(id_, age).fence, progress, window) for id_ in ids if id_ in self.model.versions]
        answer = self.run(self.actors[actor].touch_heartbeats(held, now=self.now))
        beaten: dict[str, TaskRecord] = self.run(self.actors[actor].get(answer if self.is_present else ()))
        at = self._when(one.heartbeat_at for one in beaten.values())
        self._same("HBT", answer, self.model.touch_heartbeats(held, at), f"touch_heartbeats({held}) at {at}")

    @rule(
        window=st.sampled_from((0.0, 0.000001, 10.0)),
        own=st.booleans(),
        longest=st.sampled_from((None, 0.000001, 5.0, 15.0)),
        limit=_limits,
        actor=_actors,
    )
    def recover_stale(self, *, window: float, own: bool, longest: float | None, limit: int, actor: int) -> None:
        query = Stale(at=self.now, window=window, own_windows=own, longest=longest)
        stale = self._find(query, limit, actor)
        after = [step(record, LoseHeartbeat('{"type": "HeartbeatLost"}'), self.now) for record in stale]
        self._store(after, query, actor)

    @precondition(lambda self: self.model.once_owned())
    @rule(which=_choices, seconds=st.sampled_from((0.0, 10.0)), actor=_actors)
    def recover_late(self, which: int, seconds: float, actor: int) -> None:
        """Recover a task as some reader once saw it running or dispatched, whatever it is now."""
        held = self.model.once_owned()
        after = step(held[which % len(held)], LoseHeartbeat('{"type": "HeartbeatLost"}'), self.now)
        self._store([after], Stale(at=self.now, window=seconds), actor)

    @rule(ids=_several, age=_ages, actor=_actors)
    def delete(self, ids: list[str], age: int, actor: int) -> None:
        held = [self._read(id_, age).held for id_ in ids if id_ in self.model.versions]
        answer = self.run(self.actors[actor].delete(held))
        self._same("RET", answer, self.model.delete(held), f"delete({held})")

    @rule(
        seconds=st.sampled_from((-1.0, 0.0, 10.0)),
        states=st.sampled_from(_STATES),
        queues=_queue_filters,
        key=st.sampled_from((None, None, *_KEYS)),
        limit=_limits,
        actor=_actors,
    )
    def look(
        self,
        *,
        seconds: float,
        states: tuple[State, ...] | None,
        queues: tuple[str, ...] | None,
        key: str | None,
        limit: int,
        actor: int,
    ) -> None:
        """Ask everything that can be asked."""
        moment = self.now - timedelta(seconds=seconds)
        earlier = moment - timedelta(seconds=5)
        queries: list[Query] = [Stale.since(moment), Overdue(moment), Finished(moment), Finished(moment, earlier)]
        if self._dispatches():
            queries.append(Dispatched(at=moment))
        for query in queries:
            self._find(query, limit, actor)
        self._find(Matching(states=states, queues=queues, key=key), limit, actor)
        wrong = self.model.legal_count(self.run(self.actors[actor].count(queues)), queues, self.now)
        self.check(EQUAL, wrong is None, f"{_named('STA')}: count({queues}): {wrong}")
        wrong = self.model.legal_next_due(self.run(self.actors[actor].next_due(queues)), queues, self.now)
        self.check(EQUAL, wrong is None, f"{_named('STA')}: next_due({queues}): {wrong}")

    @rule(name=st.sampled_from(("a", "b")), ttl=st.sampled_from((None, 0.000001, 20.0)), actor=_actors)
    def lock(self, name: str, ttl: float | None, actor: int) -> None:
        """Take or prolong a lock, or give it back."""
        owner, client = f"o{actor}", self.actors[actor]
        if ttl is None:
            answer = self.run(client.unlock(name, owner))
            self._same("LCK", answer, self.model.unlock(name, owner), f"unlock({name!r}, {owner!r})")
        else:
            until = self._ahead(ttl) - self.now
            answer = self.run(client.lock(name, owner, until, now=self.now))
            self._same("LCK", answer, self.model.lock(name, owner, until, self._when()), f"lock({name!r}, {owner!r}) ")

    @rule(name=st.sampled_from(("a", "a b", "b")), version=st.sampled_from((0, 1, 1, 1, 2)), actor=_actors)
    def write_records(self, name: str, version: int, actor: int) -> None:
        """Write named records: one after the version that is stored, or after another."""
        before = self.model.records.get(name)
        written = [
            NamedRecord(name, (0 if before is None else before.version) + version, f"[{self.made}, {version}]"),
            NamedRecord("both", 1, "{}"),
        ]
        answer = self.run(self.actors[actor].write_records([one for one in written if one.version > 0]))
        self._same("RCD", answer, self.model.write_records(written), f"write_records({written})")
        for prefix in ("", "a", name):
            found = self.run(self.actors[1 - actor].read_records(prefix))
            self._same("RCD", found, self.model.read_records(prefix), f"read_records({prefix!r})")

    @rule(seconds=st.sampled_from((0.000001, 1.0, 15.0, 60.0)))
    def advance_clock(self, seconds: float) -> None:
        later = self.now + timedelta(seconds=seconds)
        self.now = later if self.time == "given" else max(self.now, min(later, T0))

    @property
    def is_present(self) -> bool:
        """Whether the store's own time counts."""
        return self.time == "store" and self.now >= T0

    def _ahead(self, seconds: float) -> datetime:
        """What lies so far from now: ahead of the present, an hour for each second, and at least one."""
        if self.time == "store" and seconds > 0:
            return self.now + timedelta(hours=max(seconds, 1))
        return self.now + timedelta(seconds=seconds)

    def _when(self, told: Iterable[datetime | None] = ()) -> datetime:
        """When the last call was made, which had no time in the present: as its answer tells, between two looks."""
        before = self.now
        if not self.is_present:
            return before
        self.now = self.run(self.actors[0].now())
        at = min((one for one in told if one is not None), default=before)
        self.check(
            EQUAL, before <= at <= self.now, f"a call was made at {at} by its answer, not {before} to {self.now}"
        )
        return at

    @invariant()
    def every_record_is_the_models(self) -> None:
        if not self.actors:
            return
        ids = list(self.known)
        answer: dict[str, TaskRecord] = self.run(self.actors[self.made % 2].get(ids))
        self._same(
            self.area,
            {id_: as_of(record, self.now) for id_, record in answer.items()},
            {id_: as_of(record, self.now) for id_, record in self.model.get(ids).items()},
            "the stored tasks after that",
        )

    def _enqueue_new(self, fields: list[dict[str, Any]], actor: int) -> Any:
        new = [self._new_task(dict(one)) for one in fields]
        self._enqueue(new, actor)
        return multiple(*(one.id for one in new))

    def _new_task(self, fields: dict[str, Any]) -> NewTask:
        self.made += 1
        for field, name in (("run_in", "run_at"), ("expires_in", "expires_at")):
            if field in fields:
                fields[name] = self._ahead(fields.pop(field))
        # Ids that neither ascend nor descend: the order in which tasks were made is not the order of their ids.
        id_ = str(UUID(int=self.made * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128))
        self.known[id_] = NewTask(id=id_, name=f"conformance.task{self.made % 2}", args=f"[{self.made}]", **fields)
        return self.known[id_]

    def _read(self, id_: str, age: int) -> TaskRecord:
        return self.model.version(id_, age)

    def _enqueue(self, new: list[NewTask], actor: int) -> None:
        answer: list[Enqueued] = self.run(self.actors[actor].enqueue_many(new, now=self.now))
        at = self._when(one.record.created_at for one in answer if one.record.id not in self.model.tasks)
        expected = self.model.enqueue_many(new, at)
        keyed = [one.is_new for one in answer] != [one.is_new for one in expected]
        self._same(
            "KEY" if keyed else "LIF",
            [(one.is_new, as_of(one.record, self.now)) for one in answer],
            [(one.is_new, as_of(one.record, self.now)) for one in expected],
            f"enqueue_many at {at} ",
        )

    def _claim(self, want: Want, actor: int) -> list[TaskRecord]:
        answer: list[TaskRecord] = self.run(self.actors[actor].claim(want, now=self.now))
        at = self._when(one.heartbeat_at for one in answer)
        expected = self.model.claim(want, at)
        self._same("EXE" if want.reserve else "CLM", answer, expected, f"{want} at {at} ")
        return expected

    def _want(self, actor: int, reserve: bool, **want: Any) -> Want:  # noqa: FBT001  # as it is drawn
        if reserve and self._dispatches():
            return Want(worker=f"d{actor}", reserve=True, stale_after=10.0, **want)
        return Want(worker=f"w{actor}", **want)

    def _commit(self, records: list[TaskRecord], event: int, actor: int) -> None:
        after: list[TaskRecord] = []
        for record in records:
            possible = _possible(record, self.now, self._ahead)
            if possible:
                name, changed = possible[event % len(possible)]
                note(f"    # {name} {record.id} (fence {record.fence})")
                after.append(changed)
        self._store(after, None, actor)

    def _store(self, after: list[TaskRecord], stale: Stale | None, actor: int) -> None:
        # What no transition can change is not to be written, whatever a caller has made of it.
        after = [otherwise(one) for one in after]
        answer = self.run(self.actors[actor].commit(after, stale=stale))
        expected = self.model.commit(after, stale)
        what = ", ".join(f"{one.id} {one.state.value} (fence {one.fence})" for one in after)
        self._same("OWN" if stale is None else "REC", answer, expected, f"commit({what}; stale={stale})")

    def _find(self, query: Query, limit: int, actor: int) -> list[TaskRecord]:
        answer: list[TaskRecord] = self.run(self.actors[actor].find(query, limit))
        expected = self.model.find(query, limit)
        self._same(
            _AREA_OF_QUERY[type(query)],
            [as_of(record, self.now) for record in answer],
            [as_of(record, self.now) for record in expected],
            f"find({query}, {limit}) ",
        )
        return expected

    def _same(self, area: str, answer: Any, expected: Any, message: str) -> None:
        self.area = area
        try:
            self.check.equal(EQUAL, answer, expected, f"{_named(area)}: {message}")
        except Violation as violation:
            self.seen.differing(violation)
            raise


def _named(area: str) -> str:
    return f"{AREAS[area]} ({area})"


def _possible(record: TaskRecord, now: datetime, ahead: Ahead) -> list[tuple[str, TaskRecord]]:
    """Every event that can happen to the task as it was read, but for claims, and what each makes of it."""
    possible: list[tuple[str, TaskRecord]] = []
    for name, event in _EVENTS.items():
        with suppress(IllegalTransition):
            possible.append((name, step(record, event(ahead), now)))
    return possible


def histories(time: Time = "given", wanted: int | None = None) -> int:
    """How many histories are drawn, as the environment wants it or of so many: half where the time is the store's own.

    Raises:
        pytest.UsageError: The environment wants what is no number.
    """
    said = os.environ.get(EXAMPLES_VARIABLE, EXAMPLES)
    try:
        drawn = int(said) if wanted is None else wanted
    except ValueError:
        raise pytest.UsageError(f"{EXAMPLES_VARIABLE}={said!r} is no number of histories") from None
    return drawn if time == "given" else (drawn + 1) // 2


def run_machine(
    store: Store, check: Check, drawn_from: str, progress: Progress | None = None, *, time: Time = "given"
) -> None:
    """Draw histories, and compare the backend with the model after every step of each.

    Args:
        store: One of the backend; each history has another.
        check: Where the evidence goes.
        drawn_from: What everything is drawn from: the same text draws the same histories.
        progress: Who is told how far it is.
        time: Whether every call is given its time, or the store's own counts.

    Raises:
        Violation: An answer or a stored task is not the model's. The shortest history that shows it is in its notes.
    """
    with asyncio.Runner() as runner:
        parts = {"first": store, "check": check, "run": staticmethod(runner.run), "seen": _Seen(progress), "time": time}
        machine = seed(drawn_from)(type("history", (_Machine,), parts))
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=histories(time),
                stateful_step_count=STEPS,
                deadline=None,
                database=None,
                # Without `explain`, which traces every line and makes shrinking take minutes.
                phases=(Phase.generate, Phase.shrink) if os.environ.get(SHRINK_VARIABLE) != "0" else (Phase.generate,),
                derandomize=False,
                suppress_health_check=(HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large),
            ),
        )
