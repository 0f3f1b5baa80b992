"""What workers note of their troubles."""

from __future__ import annotations

from datetime import timedelta

import pytest
from queue_lab import open_lab
from test_worker import Gate

from litestar_queues.backends.memory import MemoryBackend
from litestar_queues.clock import ManualClock
from litestar_queues.records import NamedRecord
from litestar_queues.worker.troubles import Trouble, TroubleNotes, read_troubles

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("quick_backoffs")]
MINUTE = timedelta(minutes=1)


class Notes:
    """Notes of some workers in one store."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.backend = MemoryBackend(self.clock)
        self.now: dict[str, Trouble] = {}
        self._notes: dict[str, TroubleNotes] = {}

    async def say(self, worker: str, trouble: Trouble) -> None:
        self.now[worker] = trouble
        if worker not in self._notes:
            self._notes[worker] = TroubleNotes(
                self.backend, self.clock, worker=worker, look=lambda: self.now[worker], lasts=MINUTE
            )
        await self._notes[worker].note()

    async def told(self) -> dict[str, int]:
        found = await read_troubles(self.backend, self.clock.now())
        return {name: one.outcomes_waiting + one.abandoned for name, one in found.items()}


async def test_a_worker_with_which_all_is_well_writes_nothing() -> None:
    notes = Notes()
    await notes.say("a", Trouble())
    assert notes.backend.records == {}


async def test_troubles_of_several_workers_are_told_and_taken_back() -> None:
    notes = Notes()
    await notes.say("a", Trouble(outcomes_waiting=3))
    await notes.say("b", Trouble(abandoned=2))
    assert await notes.told() == {"a": 3, "b": 2}
    await notes.say("a", Trouble())
    assert await notes.told() == {"b": 2}


async def test_a_note_of_a_worker_that_is_gone_runs_out_and_is_removed() -> None:
    notes = Notes()
    await notes.say("gone", Trouble(abandoned=1))
    notes.clock.advance(61)
    assert await notes.told() == {}
    await notes.say("b", Trouble(abandoned=1))
    assert "gone" not in notes.backend.records["troubles"].value


@pytest.mark.parametrize("value", ["", "[]", '{"a": 5}', "null"])
async def test_a_note_that_somebody_edited_is_begun_anew(value: str) -> None:
    notes = Notes()
    notes.backend.records["troubles"] = NamedRecord("troubles", 7, value)
    assert await notes.told() == {}
    await notes.say("a", Trouble(abandoned=1))
    assert await notes.told() == {"a": 1}


async def test_a_worker_notes_the_outcomes_that_the_store_does_not_take() -> None:
    async with open_lab(maintenance_interval=0.01) as lab, lab.worker():
        gate = Gate(lab)
        await gate.enqueue(1)
        await gate.running(1)
        lab.backend.away.add("commit")
        gate.go.set()
        inner = lab.backend.inner
        await lab.until(lambda: '"outcomes_waiting":1' in inner.records.get("troubles", NamedRecord("", 0, "")).value)
        lab.backend.away.clear()
        await lab.until(lambda: inner.records["troubles"].value == "{}")
