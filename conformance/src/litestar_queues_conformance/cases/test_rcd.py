"""RCD: named records. A new version is stored only after the one that its writer has read."""

from __future__ import annotations

import asyncio

from litestar_queues.records import NamedRecord
from litestar_queues_conformance.harness import Check, Store, guarantee


@guarantee("RCD-01")
async def test_a_named_record_is_stored_after_the_version_that_was_seen(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    name = f"{store.new_id()} record"
    stored: NamedRecord | None = None
    for version, seen in ((2, False), (1, True), (1, False), (3, False), (2, True), (2, False), (1, False), (3, True)):
        written = NamedRecord(name, version, f"[{version}]")
        answer = await a.write_records([written])
        check.equal("RCD-01", answer, {name} if seen else set[str](), f"the answer to version {version}")
        stored = written if seen else stored
        expected = {} if stored is None else {name: stored}
        check.equal("RCD-01", await b.read_records(name), expected, f"what is stored after version {version}")


@guarantee("RCD-01")
async def test_each_named_record_of_a_batch_is_judged_by_itself(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    case = store.new_id()
    first = [NamedRecord(f"{case} {i}", 1, "1") for i in range(5)]
    check.equal("RCD-01", await a.write_records(first), {one.name for one in first}, "the answer to new ones")
    mixed = [NamedRecord(f"{case} {i}", 2 if i % 2 else 1, "2") for i in range(7)]
    answer = await b.write_records(mixed)
    check.equal("RCD-01", answer, {f"{case} {i}" for i in (1, 3, 6)}, "the answer to some that can be stored")
    found = await a.read_records(case)
    expected = {one.name: one for one in (*first, *mixed) if one.value == "1" or one.name in answer}
    check.equal("RCD-01", found, expected, "what is stored")
    check.equal("RCD-01", await a.write_records([]), set[str](), "the answer to an empty batch")


@guarantee("RCD-02")
async def test_of_many_that_write_a_version_at_once_one_is_stored(store: Store, check: Check) -> None:
    actors = await store.actors(4)
    name = f"{store.new_id()} leader"
    for version in range(1, 13):
        written = [NamedRecord(name, version, f"[{i}]") for i in range(len(actors))]
        answers = await asyncio.gather(
            *(actor.write_records([one]) for actor, one in zip(actors, written, strict=True))
        )
        winners = [one for one, answer in zip(written, answers, strict=True) if answer]
        check.equal("RCD-02", len(winners), 1, f"how many were told that their version {version} is stored")
        check.equal("RCD-02", await actors[0].read_records(name), {name: winners[0]}, "what is stored")


@guarantee("RCD-03")
async def test_named_records_are_read_by_the_beginning_of_their_names(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    case = store.new_id()
    names = ("s", "s:", "s:a", "s:A", "s:a ", "S:a", "s%", "s_x", "\u00e9", "e\u0301", "t:" + "n" * 150)
    records = {f"{case} {name}": NamedRecord(f"{case} {name}", 1, f'"{i}"') for i, name in enumerate(names)}
    await a.write_records(list(records.values()))
    for prefix in ("", "s", "s:", "s:a", "S", "s%", "s_", "e", "\u00e9", "x", "t:n"):
        expected = {name: one for name, one in records.items() if name.startswith(f"{case} {prefix}")}
        check.equal("RCD-03", await b.read_records(f"{case} {prefix}"), expected, f"what begins with {prefix!a}")
    everything = await b.read_records("")
    check.equal("RCD-03", {name: everything.get(name) for name in records}, records, "those among all")


@guarantee("RCD-03")
async def test_the_values_of_named_records_come_back_as_they_were(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    case = store.new_id()
    values = (
        "{}",
        "null",
        '""',
        '{"b": 1, "a": [1.0, 1e22, 12345678901234567890]}',
        '"\u00e9 \\u0000 \U0001f600"',
        f'"{"x" * 20_000}"',
    )
    records = [NamedRecord(f"{case} {i}", 1, value) for i, value in enumerate(values)]
    await a.write_records(records)
    check.equal("RCD-03", await b.read_records(case), {one.name: one for one in records}, "the records")
    await a.write_records([NamedRecord(one.name, 2, "[]") for one in records[:3]])
    found = await b.read_records(case)
    check.equal(
        "RCD-03",
        {name: one.version for name, one in found.items()},
        {one.name: 2 if i < 3 else 1 for i, one in enumerate(records)},
        "the versions",
    )
