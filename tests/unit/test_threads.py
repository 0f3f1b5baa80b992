from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from contextvars import ContextVar

import pytest
from queue_lab import DEADLINE, within

from litestar_queues.execution.threads import ThreadSlots

pytestmark = pytest.mark.anyio


class Door:
    """A function that tells when it began, and returns when it is let go."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.begun, self.go = asyncio.Event(), threading.Event()

    def __call__(self) -> str:
        self.loop.call_soon_threadsafe(self.begun.set)
        assert self.go.wait(DEADLINE)
        return "through"


async def until_free(slots: ThreadSlots) -> None:
    await within(slots.run(lambda: None))


async def test_a_function_runs_in_a_thread_of_its_own_context() -> None:
    variable: ContextVar[int] = ContextVar("variable", default=0)
    variable.set(1)

    def function() -> tuple[int, int]:
        seen = variable.get()
        variable.set(2)
        return threading.get_ident(), seen

    thread, seen = await ThreadSlots(1).run(function)
    assert thread != threading.get_ident()
    assert (seen, variable.get()) == (1, 1)


@pytest.mark.parametrize("error", [ValueError("v"), SystemExit(3), KeyError("k"), asyncio.CancelledError()])
async def test_what_a_function_raises_is_raised_here_and_frees_the_slot(error: BaseException) -> None:
    slots = ThreadSlots(1)

    def function() -> None:
        raise error

    with pytest.raises(type(error)):
        await slots.run(function)
    assert slots.busy == 0
    await until_free(slots)


async def test_a_stop_iteration_does_not_hang() -> None:
    slots = ThreadSlots(1)
    with pytest.raises(RuntimeError, match="StopIteration"):
        await within(slots.run(lambda: next(iter(()))))
    assert slots.busy == 0


async def test_only_so_many_functions_run_at_once() -> None:
    slots, doors = ThreadSlots(2), [Door() for _ in range(4)]
    runs = [asyncio.ensure_future(slots.run(door)) for door in doors]
    await within(doors[0].begun.wait())
    await within(doors[1].begun.wait())
    assert slots.busy == 2
    assert not doors[2].begun.is_set()
    doors[0].go.set()
    await within(doors[2].begun.wait())
    assert not doors[3].begun.is_set()
    for door in doors:
        door.go.set()
    assert await within(asyncio.gather(*runs)) == ["through"] * 4
    assert slots.busy == 0


async def test_an_abandoned_function_keeps_its_slot_until_it_returns() -> None:
    slots, stuck, next_one = ThreadSlots(1), Door(), Door()
    abandoned = asyncio.ensure_future(slots.run(stuck))
    await within(stuck.begun.wait())
    abandoned.cancel()
    with pytest.raises(asyncio.CancelledError):
        await abandoned
    waiting = asyncio.ensure_future(slots.run(next_one))
    await asyncio.sleep(0)
    assert slots.busy == 1
    assert not next_one.begun.is_set()
    stuck.go.set()
    await within(next_one.begun.wait())
    next_one.go.set()
    assert await within(waiting) == "through"
    assert slots.busy == 0


async def test_an_abandoned_function_that_fails_frees_its_slot_in_silence() -> None:
    slots, go = ThreadSlots(1), threading.Event()

    def function() -> None:
        assert go.wait(DEADLINE)
        raise ValueError

    abandoned = asyncio.ensure_future(slots.run(function))
    await asyncio.sleep(0)
    abandoned.cancel()
    go.set()
    await until_free(slots)
    assert slots.busy == 0


async def test_a_caller_cancelled_while_it_waits_takes_no_slot() -> None:
    slots, door = ThreadSlots(1), Door()
    first = asyncio.ensure_future(slots.run(door))
    await within(door.begun.wait())
    second = asyncio.ensure_future(slots.run(lambda: None))
    await asyncio.sleep(0)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    door.go.set()
    await within(first)
    await until_free(slots)
    assert slots.busy == 0


async def test_a_caller_cancelled_before_its_first_step_takes_no_slot() -> None:
    slots = ThreadSlots(1)
    never = asyncio.ensure_future(slots.run(lambda: None))
    never.cancel()
    with pytest.raises(asyncio.CancelledError):
        await never
    await until_free(slots)
    assert slots.busy == 0


async def test_the_time_spent_waiting_for_a_thread_does_not_count() -> None:
    slots, door = ThreadSlots(1), Door()
    first = asyncio.ensure_future(slots.run(door))
    await within(door.begun.wait())
    loop = asyncio.get_running_loop()
    timer = asyncio.timeout(DEADLINE)
    asked: list[float] = []
    granted: list[float] = []

    async def second() -> None:
        async with timer:
            asked.append(timer.when() or 0.0)
            await slots.run(lambda: None, timer)
            granted.append(timer.when() or 0.0)

    waiting = asyncio.ensure_future(second())
    while timer.when() is not None:  # noqa: ASYNC110  # it waits now, and its time stands still
        await asyncio.sleep(0)
    door.go.set()
    await within(asyncio.gather(first, waiting))
    assert asked[0] < granted[0] <= loop.time() + DEADLINE


def test_a_function_that_never_returns_does_not_keep_the_process_from_ending() -> None:
    code = """
import asyncio, threading
from litestar_queues.execution.threads import ThreadSlots
async def main():
    begun = asyncio.Event()
    loop = asyncio.get_running_loop()
    def stuck():
        loop.call_soon_threadsafe(begun.set)
        threading.Event().wait(60)
    run = asyncio.ensure_future(ThreadSlots(1).run(stuck))
    await begun.wait()
    run.cancel()
asyncio.run(main())
print("ended")
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=DEADLINE, check=True)
    assert (ended.stdout, ended.stderr) == ("ended\n", "")


async def test_a_reserved_slot_is_used_once_or_given_back() -> None:
    slots = ThreadSlots(1)
    freed: list[int] = []
    slots.on_free.add(lambda: freed.append(slots.free))
    slot = slots.reserve()
    assert slot is not None
    assert (slots.free, slots.reserve()) == (0, None)
    slot.give_back()
    slot.give_back()
    assert (slots.free, freed) == (1, [1])
    slot = slots.reserve()
    assert await within(slots.run(lambda: "ran", slot=slot)) == "ran"
    assert slot is not None
    slot.give_back()
    assert (slots.free, slots.busy) == (1, 0)


async def test_more_slots_are_for_those_that_wait() -> None:
    slots, doors = ThreadSlots(1), [Door(), Door()]
    runs = [asyncio.ensure_future(slots.run(door)) for door in doors]
    await within(doors[0].begun.wait())
    assert slots.free == 0
    slots.allow(2)
    await within(doors[1].begun.wait())
    for door in doors:
        door.go.set()
    await within(asyncio.gather(*runs))
    assert slots.free == 2
