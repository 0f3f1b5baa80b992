"""LCK: locks, by which one of many does what only one shall do."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from litestar_queues_conformance.harness import T0, Check, Store, at, guarantee

_MICROSECOND = timedelta(microseconds=1)
_TTL = timedelta(seconds=30)


def _name(store: Store, what: str) -> str:
    """A name that no other case uses, should two stores see each other's locks (that is for SCM-03 to find)."""
    return f"{store.new_id()} {what}"


@guarantee("LCK-01")
async def test_a_lock_has_one_owner(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    reaper = _name(store, "reaper")
    check("LCK-01", await a.lock(reaper, "a", _TTL, now=T0), "a free lock was refused")
    for owner in ("b", "A", "a ", " a", "\u00e0", "a%", ""):
        got = await b.lock(reaper, owner, _TTL, now=at(1))
        check.equal("LCK-01", got, False, f"whether {owner!a} got a lock that 'a' holds")
    check("LCK-01", await a.lock(reaper, "a", _TTL, now=at(2)), "the owner was refused its own lock")


@guarantee("LCK-01")
async def test_locks_with_different_names_are_different_locks(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    case = store.new_id()
    for i, what in enumerate(("reaper", "Reaper", "reaper ", "schedule", "r\u00e9aper", "re\u0301aper", "%", "_")):
        name = f"{case} {what}"
        check.equal("LCK-01", await a.lock(name, f"w{i}", _TTL, now=T0), True, f"whether the free {name!a} was got")
        check.equal("LCK-01", await b.lock(name, "other", _TTL, now=at(1)), False, f"whether {name!a} was got twice")


@guarantee("LCK-01")
async def test_of_many_at_once_one_gets_the_lock(store: Store, check: Check) -> None:
    actors = await store.actors(4)
    leader = _name(store, "leader")
    for round_ in range(15):
        now = at(100 * round_)  # each time the lock of the round before has run out, and is there to be replaced
        got = await asyncio.gather(*(one.lock(leader, f"w{i}", _TTL, now=now) for i, one in enumerate(actors)))
        check.equal("LCK-01", sum(got), 1, "how many got the lock")
        again = [await one.lock(leader, f"w{i}", _TTL, now=now) for i, one in enumerate(actors)]
        check.equal("LCK-01", again, list(got), "who holds it afterwards")


@guarantee("LCK-02")
async def test_a_lock_is_free_when_it_has_run_out_and_not_earlier(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    reaper = _name(store, "reaper")
    start = T0
    for ttl in (_TTL, timedelta(milliseconds=1500), timedelta(microseconds=2), timedelta(days=400)):
        over = start + ttl
        check("LCK-02", await a.lock(reaper, "a", ttl, now=start), "a free lock was refused")
        early = await b.lock(reaper, "b", ttl, now=over - _MICROSECOND)
        check.equal("LCK-02", early, False, f"whether a lock of {ttl} was free a microsecond early")
        now = over + store.slack(start)
        check.equal("LCK-02", await b.lock(reaper, "b", _TTL, now=now), True, f"whether a lock of {ttl} ran out")
        check.equal("LCK-02", await a.lock(reaper, "a", ttl, now=now), False, "whether its former owner has it too")
        await b.unlock(reaper, "b")  # by the store's own time it may have run out, and then either answer is right
        start = over + 2 * _TTL


@guarantee("LCK-03")
async def test_the_owner_prolongs_its_lock(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    reaper = _name(store, "reaper")
    check("LCK-03", await a.lock(reaper, "a", _TTL, now=T0), "a free lock was refused")
    for second in (10, 20, 25):
        check.equal("LCK-03", await a.lock(reaper, "a", _TTL, now=at(second)), True, "whether it was prolonged")
    over = at(25) + _TTL
    for second in (30, 40, 50):
        check.equal("LCK-03", await b.lock(reaper, "b", _TTL, now=at(second)), False, "whether another got it")
    early = await b.lock(reaper, "b", _TTL, now=over - _MICROSECOND)
    check.equal("LCK-03", early, False, "whether another got it before its new end")
    check.equal("LCK-03", await b.lock(reaper, "b", _TTL, now=over), True, "whether another got it at its new end")


@guarantee("LCK-03")
async def test_an_owner_that_comes_late_takes_its_lock_again(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    reaper = _name(store, "reaper")
    await a.lock(reaper, "a", _TTL, now=T0)
    check.equal("LCK-03", await a.lock(reaper, "a", _TTL, now=at(300)), True, "whether a lock that ran out was got")
    check.equal("LCK-03", await b.lock(reaper, "b", _TTL, now=at(329)), False, "whether another got it then")


@guarantee("LCK-04")
async def test_a_lock_is_freed_by_its_owner_alone(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    reaper, schedule = _name(store, "reaper"), _name(store, "schedule")
    check.equal("LCK-04", await a.unlock(reaper, "a"), False, "whether a lock that nobody has was freed")
    await a.lock(reaper, "a", _TTL, now=T0)
    await a.lock(schedule, "a", _TTL, now=T0)
    for owner in ("b", "A", "a "):
        check.equal("LCK-04", await b.unlock(reaper, owner), False, f"whether {owner!a} freed the lock of 'a'")
    check.equal("LCK-04", await b.lock(reaper, "b", _TTL, now=at(1)), False, "whether it was free then")
    check.equal("LCK-04", await a.unlock(reaper, "a"), True, "whether its owner freed it")
    check.equal("LCK-04", await a.unlock(reaper, "a"), False, "whether its owner freed it twice")
    check.equal("LCK-04", await b.lock(schedule, "b", _TTL, now=at(1)), False, "whether the owner's other was freed")
    check.equal("LCK-04", await b.lock(reaper, "b", _TTL, now=at(1)), True, "whether it was free at once")


@guarantee("LCK-04")
async def test_a_former_owner_frees_nothing(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    reaper = _name(store, "reaper")
    await a.lock(reaper, "a", _TTL, now=T0)
    check("LCK-04", await b.lock(reaper, "b", _TTL, now=at(60)), "a lock that ran out was refused")
    check.equal("LCK-04", await a.unlock(reaper, "a"), False, "whether the former owner freed it")
    check.equal("LCK-04", await a.lock(reaper, "a", _TTL, now=at(61)), False, "whether it was free then")
    check.equal("LCK-04", await b.unlock(reaper, "b"), True, "whether its owner freed it")
