"""Defects in the scripts of Redis and Valkey, through valkey-py."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from litestar_queues.backends.base import QueueBackend
from litestar_queues.backends.redis.scripts import Script, make_script, parts, scripts
from litestar_queues_matrix.redis import TARGETS, RedisTarget
from litestar_queues_matrix.saboteurs.base import NothingToBreak
from litestar_queues_matrix.saboteurs.suspects import SuspectTarget
from litestar_queues_matrix.servers import Product

__all__ = ("BENIGN", "SABOTEURS", "Benign", "Edited", "Saboteur", "Suspect")


class Edited:
    """The scripts, for a saboteur to edit; what all begin with is called `common`."""

    def __init__(self) -> None:
        self._parts = dict(parts())

    def replace(self, name: str, old: str, new: str = "") -> None:
        """Write something else, or nothing, in a script, wherever it stands there.

        Raises:
            NothingToBreak: It does not.
        """
        text = self._parts[name]
        if old not in text:
            raise NothingToBreak(f"{name}.lua does not hold {old!r}")
        self._parts[name] = text.replace(old, new)

    def all(self) -> Mapping[str, Script]:
        """The scripts as they are now."""
        common = self._parts["common"]
        return {name: make_script(name, common, self._parts[name]) for name in scripts()}


class Suspect(SuspectTarget):
    """A target whose backend runs edited scripts."""

    client: ClassVar[str] = "valkey"
    guarantee: ClassVar[str | None] = None
    """The guarantee that has to catch it first; None where nothing may be broken."""

    def __init__(self, server: str | None = None) -> None:
        base = TARGETS[self.client]
        self.base: RedisTarget = base if server is None else base.on(server)

    @classmethod
    def products(cls) -> tuple[Product, ...]:
        """The servers that it is for."""
        return TARGETS[cls.client].products

    def edit(self, scripts: Edited) -> None:
        """Do what is wrong with it, or odd."""

    async def open(self, config: dict[str, Any]) -> QueueBackend:
        edited = Edited()
        self.edit(edited)
        backend: Any = self.base.backend_config(config).create_backend()
        backend._scripts = edited.all()  # noqa: SLF001  # to break it
        await backend.open()
        opened: QueueBackend = backend
        return opened


class Saboteur(Suspect):
    """A backend with one defect; its docstring says which, in a sentence."""

    def __init_subclass__(cls) -> None:
        SABOTEURS[f"redis.{cls.__name__}"] = cls


class Benign(Suspect):
    """A backend that keeps every promise in an odd way; its docstring says how."""

    def __init_subclass__(cls) -> None:
        BENIGN[f"redis.{cls.__name__}"] = cls


SABOTEURS: dict[str, type[Saboteur]] = {}
"""Every saboteur by its module and name."""
BENIGN: dict[str, type[Benign]] = {}
"""Every odd but legal backend in the same way."""


# enqueue.lua


class LooksUpNoKey(Saboteur):
    """An enqueue does not ask who holds a key."""

    guarantee = "KEY-01"
    areas = ("KEY",)

    def edit(self, scripts: Edited) -> None:
        scripts.replace("enqueue", "key and call('HGET', keys, key)", "false")


class StoresAnIdTwice(Saboteur):
    """An enqueue does not ask whether an id is stored already."""

    guarantee = "LIF-08"
    areas = ("LIF",)

    def edit(self, scripts: Edited) -> None:
        scripts.replace("enqueue", "call('EXISTS', task_key(id)) == 1", "false")


class ListsNothingNew(Saboteur):
    """An enqueue leaves a task out of the set of all ids."""

    guarantee = "STA-01"
    areas = ("STA",)

    def edit(self, scripts: Edited) -> None:
        scripts.replace("enqueue", "add(space .. 'ids', now .. id)")


class SchedulesNothing(Saboteur):
    """An enqueue ignores when a task is due."""

    guarantee = "LIF-01"
    areas = ("LIF",)

    def edit(self, scripts: Edited) -> None:
        scripts.replace("enqueue", "run_at and run_at > now", "false")


# claim.lua


class PromotesWhatIsNotDue(Saboteur):
    """A claim takes scheduled tasks whatever their time is."""

    guarantee = "CLM-04"
    areas = ("CLM",)

    def edit(self, scripts: Edited) -> None:
        scripts.replace("claim", "merge('later', now)", "merge('later')")
        scripts.replace("claim", "elseif record[AT.due_at] > now then", "elseif false then")


class TakesNamedTasksEarly(Saboteur):
    """A claim by id ignores when a task is due."""

    guarantee = "CLM-04"
    areas = ("CLM",)

    def edit(self, scripts: Edited) -> None:
        scripts.replace("claim", "and record[AT.due_at] <= now")


class PromotesNothing(Saboteur):
    """A claim does not look whether scheduled tasks came due."""

    guarantee = "CLM-03"
    areas = ("CLM",)

    def edit(self, scripts: Edited) -> None:
        scripts.replace("claim", "local left = limit + asked.promoted", "local left = 0")


class PromotesAHandful(Saboteur):
    """A claim makes ten scheduled tasks pending at a time."""

    guarantee = "CLM-05"
    areas = ("CLM",)

    def edit(self, scripts: Edited) -> None:
        scripts.replace("claim", "local left = limit + asked.promoted", "local left = 10")


class ClaimsTheExpired(Saboteur):
    """A claim ignores when a task expires."""

    guarantee = "EXP-01"
    areas = ("EXP",)

    def edit(self, scripts: Edited) -> None:
        scripts.replace("claim", "if expires_at and expires_at <= now then", "if false then")


class StopsAtTheOverdue(Saboteur):
    """A claim that has met many overdue tasks takes nothing of what comes after them."""

    guarantee = "EXP-30"
    areas = ("EXP",)

    def edit(self, scripts: Edited) -> None:
        scripts.replace("claim", "return finish(true)", "return finish(false)")


class IgnoresPriority(Saboteur):
    """What is ready is kept by its time alone."""

    guarantee = "CLM-03"
    areas = ("CLM",)

    def edit(self, scripts: Edited) -> None:
        scripts.replace("common", "string.format('%010.0f', 2147483647 - tonumber(priority))", "'0000000000'")


class SortsPrioritiesAsText(Saboteur):
    """Priorities are not brought to one length before they are sorted."""

    guarantee = "CLM-03"
    areas = ("CLM",)

    def edit(self, scripts: Edited) -> None:
        scripts.replace(
            "common", "'%010.0f', 2147483647 - tonumber(priority)", "'%-10.0f', 2147483647 - tonumber(priority)"
        )


class ForgetsWhoIsFirst(Saboteur):
    """The first tasks of the lanes are not kept up after a claim, so that a claim of any queue misses what follows."""

    guarantee = "CLM-02"
    areas = ("CLM",)

    def edit(self, scripts: Edited) -> None:
        scripts.replace(
            "common",
            "if now then\n                    call('ZADD', key",
            "if now and not before then\n                    call('ZADD', key",
        )


class TakesTheLanesInTurn(Saboteur):
    """A claim of several queues empties one after the other."""

    guarantee = "CLM-03"
    areas = ("CLM",)

    def edit(self, scripts: Edited) -> None:
        scripts.replace("claim", "if not before(heap[i], heap[parent]) then", "if true then")
        scripts.replace("claim", "if heap[child] and before(heap[child], heap[least]) then", "if false then")


class KeepsWhatItClaimed(Saboteur):
    """A claimed task stays in the index of what is ready."""

    guarantee = "CLM-02"
    areas = ("CLM",)

    def edit(self, scripts: Edited) -> None:
        scripts.replace(
            "claim",
            "        remove(lane.ready, member)\n        if expires_at then\n            remove(space .. 'expiring'",
            "        if expires_at then\n            remove(space .. 'expiring'",
        )


class RaisesFencesByTwo(Saboteur):
    """A claim leaves out a fence."""

    guarantee = "CLM-02"
    areas = ("CLM",)

    def edit(self, scripts: Edited) -> None:
        scripts.replace("claim", "tonumber(record[AT.fence]) + 1", "tonumber(record[AT.fence]) + 2")


class ClaimsUnderAnyFence(Saboteur):
    """A claim by id does not look at the fence."""

    guarantee = "CLM-09"
    areas = ("CLM",)

    def edit(self, scripts: Edited) -> None:
        scripts.replace("claim", "and record[AT.fence] == one[2]\n            and takes", "and takes")


class ClaimsForAnyBackend(Saboteur):
    """A claim by id does not look at the execution backend."""

    guarantee = "CLM-09"
    areas = ("CLM",)

    def edit(self, scripts: Edited) -> None:
        scripts.replace("claim", "and (not of or of[record[AT.execution_backend]])")


# commit.lua


class CommitsUnderAnyFence(Saboteur):
    """A commit does not compare the fence."""

    guarantee = "OWN-01"
    areas = ("OWN",)

    def edit(self, scripts: Edited) -> None:
        scripts.replace("commit", "task and INDEX[task.state] and task.fence == after[2]", "task")


class CommitsOverOlderFences(Saboteur):
    """A commit is refused only where the stored fence is higher than the one that it was made from."""

    guarantee = "OWN-06"
    areas = ("OWN",)

    def edit(self, scripts: Edited) -> None:
        scripts.replace("commit", "task.fence == after[2]", "tonumber(task.fence) <= tonumber(after[2])")


class SavesNobody(Saboteur):
    """A recovery does not look at the heartbeat again."""

    guarantee = "REC-03"
    areas = ("REC",)

    def edit(self, scripts: Edited) -> None:
        scripts.replace("commit", "        and asked.stale\n", "        and false\n")


class StaleAMicrosecondEarly(Saboteur):
    """A heartbeat that is exactly as old as its window counts as stale."""

    guarantee = "REC-03"
    areas = ("REC",)

    def edit(self, scripts: Edited) -> None:
        scripts.replace("common", "return heartbeat < oldest[window]", "return heartbeat <= oldest[window]")


class RecoversByItsOwnWindow(Saboteur):
    """A task is stale by the window of whoever looks for stale ones."""

    guarantee = "REC-07"
    areas = ("REC",)

    def edit(self, scripts: Edited) -> None:
        scripts.replace("common", "query.own and window and", "false and")


class FindsOnlyTheFirstOfTheStale(Saboteur):
    """A search for stale tasks ends with the first of them."""

    guarantee = "REC-01"
    areas = ("REC",)

    def edit(self, scripts: Edited) -> None:
        scripts.replace(
            "find_stale", "if #records >= asked.limit then\n        break", "if #records >= 1 then\n        break"
        )


class OverwritesNamedRecords(Saboteur):
    """A named record is written over whatever version there is."""

    guarantee = "RCD-01"
    areas = ("RCD",)

    def edit(self, scripts: Edited) -> None:
        scripts.replace("write_named", "if version == record[2] then", "if version then")


class FreesNoKey(Saboteur):
    """A task that ends keeps its key."""

    guarantee = "KEY-04"
    areas = ("KEY",)

    def edit(self, scripts: Edited) -> None:
        scripts.replace("commit", "call('HDEL', keys, task.key)")


class TakesKeysFromOthers(Saboteur):
    """A revive does not ask who holds the key."""

    guarantee = "KEY-09"
    areas = ("KEY",)

    def edit(self, scripts: Edited) -> None:
        scripts.replace("commit", "and (not task.key or not ACTIVE[state] or is_free(task.key, id))")


class MovesNoIndex(Saboteur):
    """A commit leaves a task in the index where it stood, too."""

    guarantee = "REC-02"
    areas = ("REC",)

    def edit(self, scripts: Edited) -> None:
        scripts.replace("commit", "        displace(task)\n", "        count(task.queue, task.state, -1)\n")


class PlacesNothing(Saboteur):
    """A commit puts a task into no index."""

    guarantee = "LIF-05"
    areas = ("LIF",)

    def edit(self, scripts: Edited) -> None:
        scripts.replace("commit", "        place(task)\n", "        count(task.queue, task.state, 1)\n")


class ForgetsNoField(Saboteur):
    """A commit leaves what is to be None as it was."""

    guarantee = "LIF-08"
    areas = ("LIF",)

    def edit(self, scripts: Edited) -> None:
        scripts.replace("commit", "if #after[9] > 0 then", "if false then")


class AnswersWithAll(Saboteur):
    """A commit answers with whatever it was given."""

    guarantee = "OWN-01"
    areas = ("OWN",)

    def edit(self, scripts: Edited) -> None:
        scripts.replace(
            "commit", "        stored[#stored + 1] = i\n    end\n", "    end\n    stored[#stored + 1] = i\n"
        )


class CountsNothingAnew(Saboteur):
    """A commit does not keep the counts."""

    guarantee = "STA-01"
    areas = ("STA",)

    def edit(self, scripts: Edited) -> None:
        scripts.replace("commit", "\nwrite()\n", "\ncounting = {}\nwrite()\n")


# heartbeat.lua


class BeatsUnderAnyFence(Saboteur):
    """A heartbeat does not compare the fence."""

    guarantee = "HBT-03"
    areas = ("HBT",)

    def edit(self, scripts: Edited) -> None:
        scripts.replace("heartbeat", "and task.fence == held[2]")


class BeatsAnything(Saboteur):
    """A heartbeat is taken of tasks that nobody owns."""

    guarantee = "HBT-03"
    areas = ("HBT",)

    def edit(self, scripts: Edited) -> None:
        scripts.replace("heartbeat", "OWNED[task.state] and")


class LeavesHeartbeatsWhereTheyWere(Saboteur):
    """A heartbeat does not move its task in the index."""

    guarantee = "REC-02"
    areas = ("REC",)

    def edit(self, scripts: Edited) -> None:
        scripts.replace("heartbeat", "        remove(place_of(task))\n")
        scripts.replace("heartbeat", "        add(place_of(task))\n")


class ForgetsProgress(Saboteur):
    """A heartbeat leaves the progress as it was."""

    guarantee = "HBT-01"
    areas = ("HBT",)

    def edit(self, scripts: Edited) -> None:
        scripts.replace("heartbeat", "[3] = 'progress', [4] =", "[4] =")


# delete.lua


class DeletesUnderAnyFence(Saboteur):
    """A deletion does not compare the fence."""

    guarantee = "RET-01"
    areas = ("RET",)

    def edit(self, scripts: Edited) -> None:
        scripts.replace("delete", "and task.fence == held[2]")


class DeletesTheActive(Saboteur):
    """A deletion does not look at the state."""

    guarantee = "RET-01"
    areas = ("RET",)

    def edit(self, scripts: Edited) -> None:
        scripts.replace("delete", "task and TERMINAL[task.state]", "task")


class LeavesCountsOfTheDeleted(Saboteur):
    """A deletion does not keep the counts."""

    guarantee = "RET-04"
    areas = ("RET",)

    def edit(self, scripts: Edited) -> None:
        scripts.replace("delete", "\nwrite()\n", "\ncounting = {}\nwrite()\n")


# The readers


class FindsTheOverdueTooLate(Saboteur):
    """The very time that is asked for does not count for what is overdue."""

    guarantee = "EXP-03"
    areas = ("EXP",)

    def edit(self, scripts: Edited) -> None:
        scripts.replace("find", "(asked.through and AFTER_ALL or '')", "''")


class FindsWithoutLimit(Saboteur):
    """A search by an index ignores the limit."""

    guarantee = "RET-03"
    areas = ("RET",)

    def edit(self, scripts: Edited) -> None:
        scripts.replace("find", ", 'LIMIT', 0, asked.limit")
        scripts.replace("find", "#records < asked.limit", "true")


class FindsTheStaleWithoutLimit(Saboteur):
    """A search for stale tasks answers with all that it looked at."""

    guarantee = "REC-02"
    areas = ("REC",)

    def edit(self, scripts: Edited) -> None:
        scripts.replace("find_stale", "if #records >= asked.limit then", "if false then")


class SearchesAnyKey(Saboteur):
    """A search ignores the key."""

    guarantee = "STA-02"
    areas = ("STA",)

    def edit(self, scripts: Edited) -> None:
        scripts.replace("scan", "and (not asked.key or record[AT.key] == asked.key)")


class SearchesOneMoment(Saboteur):
    """A search ends with the newest moment."""

    guarantee = "STA-02"
    areas = ("STA",)

    def edit(self, scripts: Edited) -> None:
        scripts.replace(
            "scan", "    if #group < size then\n        earlier()", "    if #group < size then\n        moment = nil"
        )


class LooksAtAllQueues(Saboteur):
    """The next time is that of all queues, whichever are asked for."""

    guarantee = "STA-03"
    areas = ("STA",)

    def edit(self, scripts: Edited) -> None:
        scripts.replace("next_due", "if asked.queues then", "if false then")


# Dispatched tasks


class ReservationsCountAnAttempt(Saboteur):
    """A reservation counts an attempt."""

    guarantee = "EXE-02"
    areas = ("EXE",)

    def edit(self, scripts: Edited) -> None:
        scripts.replace(
            "claim",
            "changed.execution_ref = false",
            "changed.execution_ref = false\n        changed.attempt = tostring(tonumber(record[AT.attempt]) + 1)",
        )


class ReservationsKeepTheReference(Saboteur):
    """A reservation keeps the reference of an earlier run."""

    guarantee = "EXE-02"
    areas = ("EXE",)

    def edit(self, scripts: Edited) -> None:
        scripts.replace("claim", "changed.execution_ref = false")


class ReservesAgain(Saboteur):
    """A reservation by id takes dispatched tasks."""

    guarantee = "EXE-04"
    areas = ("EXE",)

    def edit(self, scripts: Edited) -> None:
        scripts.replace("claim", "asked.reserve and WAITING or UNSTARTED", "UNSTARTED")


class KeepsWhatItReserved(Saboteur):
    """A reserved task stays in the index of what is ready."""

    guarantee = "EXE-01"
    areas = ("EXE",)

    def edit(self, scripts: Edited) -> None:
        scripts.replace(
            "claim",
            "        remove(lane.ready, member)\n        if expires_at then",
            "        if not asked.reserve then\n            remove(lane.ready, member)\n        end\n"
            "        if expires_at then",
        )


class WorkersTakeWhatHasAReference(Saboteur):
    """A task whose reference is stored stands in the index of what is ready, too, where reservations pass it by."""

    guarantee = "EXE-05"
    areas = ("EXE",)

    def edit(self, scripts: Edited) -> None:
        scripts.replace(
            "commit",
            "        place(task)\n",
            "        place(task)\n        if state == 'dispatched' then\n            add(PLACES.ready(task))\n        end\n",
        )
        scripts.replace(
            "claim",
            "    elseif record[AT.due_at] > now then",
            "    elseif asked.reserve and record[AT.state] == 'dispatched' then -- passed by\n"
            "    elseif record[AT.due_at] > now then",
        )


class RunsTakeWaitingTasksAlone(Saboteur):
    """A claim by id leaves dispatched tasks."""

    guarantee = "EXE-06"
    areas = ("EXE",)

    def edit(self, scripts: Edited) -> None:
        scripts.replace("claim", "asked.reserve and WAITING or UNSTARTED", "WAITING")


class RunsTakeTheirTasksUnderAnyFence(Saboteur):
    """A claim by id does not look at the fence of a dispatched task."""

    guarantee = "EXE-07"
    areas = ("EXE",)

    def edit(self, scripts: Edited) -> None:
        scripts.replace(
            "claim",
            "record[AT.fence] == one[2]\n            and takes",
            "(record[AT.fence] == one[2] or record[AT.state] == 'dispatched')\n            and takes",
        )


class RunsHaveNoReference(Saboteur):
    """A claim does not store its reference."""

    guarantee = "EXE-09"
    areas = ("EXE",)

    def edit(self, scripts: Edited) -> None:
        scripts.replace("claim", "changed.execution_ref = asked.execution_ref")


class RunsClearTheReference(Saboteur):
    """A claim without a reference clears the one that is stored."""

    guarantee = "EXE-10"
    areas = ("EXE",)

    def edit(self, scripts: Edited) -> None:
        scripts.replace(
            "claim",
            "changed.execution_ref = asked.execution_ref",
            "changed.execution_ref = asked.execution_ref or false",
        )


class CommitsOverDispatchedTasks(Saboteur):
    """A commit does not compare the fence of a dispatched task."""

    guarantee = "EXE-12"
    areas = ("EXE",)

    def edit(self, scripts: Edited) -> None:
        scripts.replace("commit", "task.fence == after[2]", "(task.fence == after[2] or task.state == 'dispatched')")


class ReferencesFreeTheKey(Saboteur):
    """A task whose reference is stored does not keep its key."""

    guarantee = "EXE-14"
    areas = ("EXE",)

    def edit(self, scripts: Edited) -> None:
        scripts.replace(
            "commit",
            "if task.key and ACTIVE[state] then",
            "if task.key and ACTIVE[state] and state ~= 'dispatched' then",
        )


class BeatsTheRunningAlone(Saboteur):
    """A heartbeat of a dispatched task is not taken."""

    guarantee = "EXE-15"
    areas = ("EXE",)

    def edit(self, scripts: Edited) -> None:
        scripts.replace("heartbeat", "OWNED[task.state]", "task.state == 'running'")


class BeatsDispatchedUnderAnyFence(Saboteur):
    """A heartbeat does not compare the fence of a dispatched task."""

    guarantee = "EXE-16"
    areas = ("EXE",)

    def edit(self, scripts: Edited) -> None:
        scripts.replace("heartbeat", "task.fence == held[2]", "(task.fence == held[2] or task.state == 'dispatched')")


class LeavesHeartbeatsOfTheDispatched(Saboteur):
    """A heartbeat does not move a dispatched task in the index."""

    guarantee = "EXE-17"
    areas = ("EXE",)

    def edit(self, scripts: Edited) -> None:
        scripts.replace(
            "heartbeat",
            "        remove(place_of(task))\n        task.heartbeat_at = now\n",
            "        if task.state == 'running' then\n"
            "            remove(place_of(task))\n            task.heartbeat_at = now\n        end\n",
        )


class HasNoWindows(Saboteur):
    """A dispatched task is silent as soon as its heartbeat is past."""

    guarantee = "EXE-17"
    areas = ("EXE",)

    def edit(self, scripts: Edited) -> None:
        scripts.replace("find_dispatched", "own = true", "window = 0")


class TrustsWhoHasNoWindow(Saboteur):
    """A dispatched task without a window is never silent."""

    guarantee = "EXE-17"
    areas = ("EXE",)

    def edit(self, scripts: Edited) -> None:
        scripts.replace("find_dispatched", "not window or is_stale(", "window and is_stale(")


class FindsTheSilentOfAnyBackend(Saboteur):
    """A search for silent tasks does not look at the execution backend."""

    guarantee = "EXE-18"
    areas = ("EXE",)

    def edit(self, scripts: Edited) -> None:
        scripts.replace("find_dispatched", "and (not asked.backends or asked.backends[backend])")


class FindsTheSilentWithoutLimit(Saboteur):
    """A search for silent tasks returns all that it looked at."""

    guarantee = "EXE-19"
    areas = ("EXE",)

    def edit(self, scripts: Edited) -> None:
        scripts.replace(
            "find_dispatched", "if #records >= asked.limit then\n        break", "if false then\n        break"
        )


class PutsOffForEver(Saboteur):
    """A dispatched task that is put off stands in no index."""

    guarantee = "EXE-20"
    areas = ("EXE",)

    def edit(self, scripts: Edited) -> None:
        scripts.replace(
            "commit",
            "        task.state, task.execution_backend = state",
            "        local was = task.state\n        task.state, task.execution_backend = state",
        )
        scripts.replace(
            "commit",
            "        place(task)\n",
            "        if was == 'dispatched' and state == 'scheduled' then\n            count(task.queue, state, 1)\n"
            "        else\n            place(task)\n        end\n",
        )


class CallsTheDispatchedStale(Saboteur):
    """A search for stale tasks goes through those that are dispatched."""

    guarantee = "EXE-21"
    areas = ("EXE",)

    def edit(self, scripts: Edited) -> None:
        scripts.replace("find_stale", "space .. 'running'", "space .. 'dispatched'")


class RecoversTheDispatched(Saboteur):
    """A recovery by heartbeat takes dispatched tasks, too."""

    guarantee = "EXE-22"
    areas = ("EXE",)

    def edit(self, scripts: Edited) -> None:
        scripts.replace("commit", "not (task.state == 'running' and is_stale", "not (OWNED[task.state] and is_stale")


class RunsTakeTheCancelled(Saboteur):
    """A claim by id takes cancelled tasks."""

    guarantee = "EXE-23"
    areas = ("EXE",)

    def edit(self, scripts: Edited) -> None:
        scripts.replace(
            "claim",
            "and takes[record[AT.state]]",
            "and (takes[record[AT.state]] or not asked.reserve and record[AT.state] == 'cancelled')",
        )


class RunsTakeTheExpired(Saboteur):
    """A claim by id ignores when a dispatched task expires."""

    guarantee = "EXE-24"
    areas = ("EXE",)

    def edit(self, scripts: Edited) -> None:
        scripts.replace(
            "claim",
            "and not (record[AT.expires_at] and",
            "and not (record[AT.state] ~= 'dispatched' and record[AT.expires_at] and",
        )


class DispatchedNeverExpire(Saboteur):
    """Dispatched tasks stand in no index by when they expire."""

    guarantee = "EXE-25"
    areas = ("EXE",)

    def edit(self, scripts: Edited) -> None:
        scripts.replace("common", "dispatched = 'expiring_dispatched', ")


class ExpiresTheWaitingFirst(Saboteur):
    """Overdue tasks that wait come before those that are dispatched."""

    guarantee = "EXE-25"
    areas = ("EXE",)

    def edit(self, scripts: Edited) -> None:
        scripts.replace("find", "(not first or before_id(member, first))", "not first")


class DeletesTheDispatched(Saboteur):
    """A deletion takes dispatched tasks, too."""

    guarantee = "EXE-26"
    areas = ("EXE",)

    def edit(self, scripts: Edited) -> None:
        scripts.replace("delete", "TERMINAL[task.state]", "(TERMINAL[task.state] or task.state == 'dispatched')")


class CountsNothingDispatched(Saboteur):
    """A reserved task is in no count."""

    guarantee = "EXE-27"
    areas = ("EXE",)

    def edit(self, scripts: Edited) -> None:
        scripts.replace(
            "common",
            "    count(task.queue, task.state, 1)\n",
            "    count(task.queue, task.state, task.state == 'dispatched' and 0 or 1)\n",
        )


class DivertsInNameAlone(Saboteur):
    """A diverted task goes to the lane of its earlier execution backend."""

    guarantee = "EXE-28"
    areas = ("EXE",)

    def edit(self, scripts: Edited) -> None:
        scripts.replace("commit", "task.state, task.execution_backend = state, after[4]", "task.state = state")


class ReservesByTheEnqueue(Saboteur):
    """A reservation without a time takes that of the enqueue for its heartbeat."""

    guarantee = "EXE-30"
    areas = ("EXE",)

    def edit(self, scripts: Edited) -> None:
        scripts.replace(
            "claim",
            "changed.execution_ref = false",
            "changed.execution_ref = false\n        changed.heartbeat_at = asked.now or record[AT.created_at]",
        )


# lock.lua, unlock.lua


class LocksForEverybody(Saboteur):
    """A lock is given to whoever asks."""

    guarantee = "LCK-01"
    areas = ("LCK",)

    def edit(self, scripts: Edited) -> None:
        scripts.replace("lock", "if holder and", "if false and")


class LocksRunOutEarly(Saboteur):
    """A lock is free in the last microsecond of its time."""

    guarantee = "LCK-02"
    areas = ("LCK",)

    def edit(self, scripts: Edited) -> None:
        scripts.replace(
            "lock",
            "string.sub(holder, 1, TIME) > now",
            "string.sub(holder, 1, TIME - 1) > string.sub(now, 1, TIME - 1)",
        )


class LocksForYears(Saboteur):
    """A lock that is taken by the server's own time lasts for 95 years."""

    guarantee = "LCK-01"
    areas = ("LCK",)
    time = "store"

    def edit(self, scripts: Edited) -> None:
        scripts.replace("lock", "seconds + asked.seconds", "seconds + asked.seconds + 95 * 31557600")


class KeepsPastTimes(Saboteur):
    """By the server's own time, a task whose time is past comes due at that time, and not now."""

    guarantee = "LIF-01"
    areas = ("LIF",)
    time = "store"

    def edit(self, scripts: Edited) -> None:
        scripts.replace("enqueue", "waits and run_at or now", "(waits or not asked.now) and run_at or now")


class UnlocksForEverybody(Saboteur):
    """A lock is given back by whoever asks."""

    guarantee = "LCK-04"
    areas = ("LCK",)

    def edit(self, scripts: Edited) -> None:
        scripts.replace("unlock", "or string.sub(holder, TIME + 1) ~= asked.owner")


# Odd, but legal


class SmallPieces(Benign):
    """Commands have at most four values, and cursors read two members at a time."""

    areas = ("LIF", "KEY", "CLM", "OWN", "HBT", "REC", "CAN", "EXP", "RET", "STA", "LCK", "EXE")

    def edit(self, scripts: Edited) -> None:
        scripts.replace("common", "local CHUNK = 2000", "local CHUNK = 4")
        scripts.replace("claim", "size = math.min(size, 1000)", "size = 2")
        scripts.replace("claim", "math.min(cursor.size * 2, 1000)", "2")
        scripts.replace("scan", "math.min(asked.looks - looked, 200)", "math.min(asked.looks - looked, 1)")
