"""The verdict of the drill of schedules: each rule is broken by its own account, and by no other."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))
from drill import journal  # the drill is no package of the environment
from drill.schedules.plan import draw
from drill.schedules.rules import RULES, Account, Began, Kept, judge, lateness, read_fires

from litestar_queues.lifecycle import State
from litestar_queues.records import TaskRecord, admit
from litestar_queues.schedules.fires import Fire, jitter_of, occurrence_id
from litestar_queues.schedules.model import Definition, Schedule, Skipped, Template
from litestar_queues.schedules.options import ScheduleSettings
from litestar_queues.schedules.spec import ScheduleSpec

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def schedule(**more: Any) -> Schedule:
    """`s` fires each second, and has to enqueue each fire, unless more is given."""
    spec = ScheduleSpec(interval=1.0, jitter=more.pop("jitter", 0.0))
    given: dict[str, Any] = {"overlap": "allow", "catch_up": "all"}
    given |= {name: more.pop(name) for name in tuple(given) if name in more}
    return Schedule(
        name="s", cursor=NOW, definition=Definition(template=Template(task="t"), spec=spec, **given), **more
    )


STRICT, LOOSE, LATE = schedule(), schedule(overlap="skip"), schedule(jitter=1.0)


def fire(number: int) -> Fire:
    at = NOW + number * SECOND
    return Fire(at, at.replace(tzinfo=None).isoformat())


def occurrence(number: int, of: Schedule = STRICT, **changes: Any) -> TaskRecord:
    """The task of a fire, on time and completed unless changed."""
    at = fire(number).at
    return admit(of.occurrence(fire(number), at), at).evolve(**{"state": State.COMPLETED, **changes})


def ran(record: TaskRecord, after: float = 0.01, **changes: Any) -> Began:
    due = (record.due_at - NOW).total_seconds()
    given = {"id": record.id, "schedule": "s", "fire": record.created_at, "at": due + after, **changes}
    return Began(**given)


def account(*tasks: TaskRecord, of: Schedule = STRICT, fires: int = 3, **more: Any) -> Account:
    """Of a schedule with so many fires, in whose store these tasks are; each of them has run once unless given."""
    kept = Kept()
    kept.see(of.evolve(skipped=more.pop("skipped", ())))
    given: dict[str, Any] = {
        "began": [ran(one) for one in tasks],
        "until": fire(fires).at,
        "failing": frozenset(),
        **more,
    }
    after = given.pop("after", of.evolve(cursor=fire(fires).at))
    return Account(
        before={"s": of}, after={"s": after}, kept={"s": kept}, tasks={one.id: one for one in tasks}, since=NOW, **given
    )


def broken(*tasks: TaskRecord, **more: Any) -> list[str]:
    return [rule for rule, _ in judge(account(*tasks, **more))]


ALL = tuple(map(occurrence, (1, 2, 3)))
SKIPPED = Skipped("overlap", fire(2).at, fire(2).at)


def test_fires_that_all_became_one_task_break_no_rule() -> None:
    assert broken(*ALL) == []
    assert broken(*(occurrence(number, LATE) for number in (1, 2, 3)), of=LATE, began=[
        ran(occurrence(number, LATE), fire=fire(number).at) for number in (1, 2, 3)
    ]) == []  # fmt: skip
    again = [*map(ran, ALL), ran(ALL[0], after=5.0)]
    assert broken(*ALL, began=again) == [], "an occurrence that is recovered runs again"


def lost() -> dict[str, Any]:
    return {"tasks": (ALL[0], ALL[2])}


def skipped_though_it_must_not_be() -> dict[str, Any]:
    return {"tasks": (ALL[0], ALL[2]), "skipped": (SKIPPED,)}


def twice_in_the_store() -> dict[str, Any]:
    return {"tasks": (*ALL, ALL[1].evolve(id="another"))}


def twice_in_the_journal() -> dict[str, Any]:
    return {"tasks": ALL, "began": [*map(ran, ALL), ran(ALL[1], id="another")]}


def no_fire() -> dict[str, Any]:
    at = fire(2).at + 0.5 * SECOND
    between = Fire(at, at.replace(tzinfo=None).isoformat())
    odd = admit(STRICT.occurrence(between, between.at), between.at).evolve(state=State.COMPLETED)
    return {"tasks": (*ALL, odd)}


def of_another_schedule() -> dict[str, Any]:
    other = ALL[1].evolve(id="other", metadata=ALL[1].metadata.replace('"s"', '"z"'))
    return {"tasks": (*ALL, other), "began": [*map(ran, ALL), ran(other, schedule="z")]}


def enqueued_early() -> dict[str, Any]:
    early = occurrence(2, created_at=fire(2).at - 0.3 * SECOND)
    return {"tasks": (ALL[0], early, ALL[2]), "began": list(map(ran, ALL))}


def due_before_its_jitter() -> dict[str, Any]:
    tasks = [occurrence(number, LATE) for number in (1, 2, 3)]
    began = [ran(one, fire=fire(number).at) for number, one in enumerate(tasks, 1)]
    tasks[1] = tasks[1].evolve(due_at=tasks[1].due_at - 0.001 * SECOND)
    return {"tasks": tasks, "of": LATE, "began": began}


def began_before_its_jitter() -> dict[str, Any]:
    tasks = [occurrence(number, LATE) for number in (1, 2, 3)]
    assert all(jitter_of(LATE.definition.spec, one.id) > timedelta(0) for one in tasks)
    began = [ran(one, fire=fire(number).at) for number, one in enumerate(tasks, 1)]
    began[1] = ran(tasks[1], after=-0.3, fire=fire(2).at)
    return {"tasks": tasks, "of": LATE, "began": began}


def unaccounted() -> dict[str, Any]:
    elsewhere = Skipped("overlap", fire(1).at, fire(1).at)
    return {"tasks": (ALL[0], ALL[2]), "of": LOOSE, "skipped": (elsewhere,)}


def uncounted() -> dict[str, Any]:
    one_of_two = Skipped("overlap", fire(2).at, fire(3).at, 1)
    return {"tasks": ALL[:1], "of": LOOSE, "skipped": (one_of_two,)}


def never_ran() -> dict[str, Any]:
    return {"tasks": ALL, "began": list(map(ran, ALL[:2]))}


def pending() -> dict[str, Any]:
    return {"tasks": (*ALL[:2], occurrence(3, state=State.PENDING))}


def failed() -> dict[str, Any]:
    return {"tasks": (*ALL[:2], occurrence(3, state=State.FAILED))}


def completed_though_it_fails() -> dict[str, Any]:
    failing = [one.evolve(state=State.FAILED) for one in ALL[:2]]
    return {"tasks": (*failing, ALL[2]), "failing": frozenset({"s"})}


def stopped() -> dict[str, Any]:
    return {"tasks": ALL, "until": fire(4).at}


def came_late() -> dict[str, Any]:
    return {"tasks": ALL, "stopped": ("s",)}


def odd() -> dict[str, Any]:
    return {"tasks": ALL, "odd": ("worker 1 ended with 3",)}


CASES = [
    (lost, "lost"),
    (skipped_though_it_must_not_be, "lost"),
    (twice_in_the_store, "twice"),
    (twice_in_the_journal, "twice"),
    (no_fire, "odd task"),
    (of_another_schedule, "odd task"),
    (enqueued_early, "early"),
    (due_before_its_jitter, "early"),
    (began_before_its_jitter, "early"),
    (unaccounted, "unaccounted"),
    (uncounted, "uncounted"),
    (never_ran, "never ran"),
    (pending, "wrong end"),
    (failed, "wrong end"),
    (completed_though_it_fails, "wrong end"),
    (stopped, "stopped"),
    (came_late, "stopped"),
    (odd, "odd end"),
]


@pytest.mark.parametrize(("case", "rule"), CASES)
def test_a_rule_is_broken_by_its_own_account(case: Any, rule: str) -> None:
    given = case()
    tasks = given.pop("tasks")
    found = set(broken(*tasks, **given))
    # A second task of a fire has an id that is not the fire's, and what ran without being stored is odd as well.
    assert found == ({rule, "odd task"} if rule == "twice" else {rule})


def test_every_rule_has_an_account_that_breaks_it() -> None:
    assert {rule for _, rule in CASES} == RULES.keys()


def test_what_is_skipped_and_said_so_or_still_waits_breaks_no_rule() -> None:
    assert broken(ALL[0], ALL[2], of=LOOSE, skipped=(SKIPPED,)) == []
    waits = LOOSE.evolve(cursor=fire(3).at, waiting=(fire(3),))
    assert broken(*ALL[:2], of=LOOSE, after=waits) == []


def test_entries_that_were_pushed_out_or_grew_are_counted_once() -> None:
    kept = Kept()
    kept.see(LOOSE.evolve(skipped=(SKIPPED,)))
    kept.see(LOOSE.evolve(skipped=(Skipped("overlap", fire(2).at, fire(4).at, 3),)))
    kept.see(LOOSE.evolve(skipped=(Skipped("missed", fire(7).at, fire(8).at, 2),)))
    assert kept.fires == 5
    assert [kept.covers(fire(number)) for number in (1, 2, 4, 5, 7, 8, 9)] == [
        False,
        True,
        True,
        False,
        True,
        True,
        False,
    ]


def test_lateness_is_counted_from_the_fire_by_the_time_of_the_store() -> None:
    tasks = (ALL[0], occurrence(2, created_at=fire(2).at + 0.5 * SECOND))
    assert lateness(account(*tasks)) == [0.0, 0.5]


def test_the_journal_of_a_drill_has_the_fires_beside_the_executions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "journal"
    monkeypatch.setenv(journal.PLACE, str(place))
    journal.write("begins", id="t", fence=1, kind="occurrence")
    journal.write("fires", id="t", schedule="s", fire=NOW.isoformat())
    journal.write("ok", id="t", fence=1)
    (one,) = read_fires(place)
    assert (one.id, one.schedule, one.fire) == ("t", "s", NOW)
    assert [done.how for done in journal.read(place).executions["t"]] == ["ok"]


def test_schedules_are_drawn_alike_from_a_seed_and_are_possible() -> None:
    drawn = draw(3, 60)
    assert list(drawn) == list(draw(3, 60))
    assert list(drawn) != list(draw(4, 60))
    made = [ScheduleSettings(**one.options).definition(Template(task="t")) for one in drawn]
    assert {(one.overlap, one.catch_up) for one in made} >= {("allow", "all"), ("skip", "once"), ("queue", "all")}
    assert len({occurrence_id(one.name, two.spec, fire(1)) for one, two in zip(drawn, made, strict=True)}) == 60
