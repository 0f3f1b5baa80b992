"""The registry: everything that a queue backend promises, one sentence each.

This file is the source of the guarantees' page, of the terminal's table and of the report; it imports the standard
library alone. An id is never given to another promise, and never renumbered: a promise that is withdrawn leaves a gap.

Words, which docs/reference/glossary.md explains too. A *waiting* task is pending or scheduled, an *active* one is waiting,
dispatched or running, and every other one is *terminal*. A task is *due* from its `due_at` on, and *overdue* from its
`expires_at` on, until it starts. The *holder* of a key is the active task that has it.

An *event* changes a task, and a *fence* counts its events. The *owner* of a task is the client that claimed it, until the
next event. A *lost owner* is a client after whose claim another client wrote an event: it claimed, settled, recovered or
cancelled the task. To *settle* is to commit a `complete` or a `fail` without retry; to *give back* is to commit a
`requeue`, a `release`, a `snooze` or a `fail` with retry. An owner that leaves *nulls* the heartbeat of its task. A task
is *stale* if its owner has been silent for longer than its *window*, or has nulled the heartbeat; a *recoverer* moves it.

A *reservation* is a claim with `want.reserve`, which makes tasks `dispatched`; a *dispatcher* makes it, and commits a
`dispatch` to store the reference of the *run* that it started elsewhere. It can *release*, *snooze* or *divert* the task
instead. A dispatched task is *silent* if nobody has written it for longer than its `stale_after`. A *hint* is a message
that tasks have come; a *named record* is a small value with a version, in which the queue keeps its schedules.

A *scheduler* reads schedules, and enqueues an *occurrence*, which is a task, for each *fire* that is due. A *look* is one
pass of a scheduler over the schedules. A fire that no look finds within the schedule's `misfire_grace` is *missed*.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ("AREAS", "GUARANTEES", "Guarantee", "Profile")


class Profile(StrEnum):
    """A set of guarantees that a backend is judged by as a whole."""

    CORE = "core"
    """What every backend keeps, without exception."""
    NOTIFICATIONS = "notifications"
    """What is kept by backends whose clients wake each other, and what stays true where they do not."""
    BULK = "bulk"
    """What is kept of many tasks at once, and of tables that are not as the backend would make them."""
    TRANSACTIONAL = "transactional"
    """What is kept by backends that enqueue in a transaction of the application's."""
    DISPATCH = "dispatch"
    """What is kept by backends that keep dispatched tasks, which their runs claim by id."""
    SCHEDULING = "scheduling"
    """What the schedules of the library do on every backend."""
    FAULTS = "faults"
    """What is kept while a store refuses or replies are lost. A target says how that can be provoked."""
    SCALE = "scale"
    """What many tasks and many calls cost. It is measured only if somebody asks for it."""


@dataclass(frozen=True, slots=True)
class Guarantee:
    """One promise: its id, what must hold, and the profile that it belongs to."""

    id: str
    must: str
    profile: Profile

    @property
    def area(self) -> str:
        """The letters before the number: a key of `AREAS`."""
        return self.id.partition("-")[0]


AREAS: dict[str, str] = {
    "LIF": "What is stored, and how it changes",
    "KEY": "Keys",
    "CLM": "Claims",
    "OWN": "Who may write",
    "HBT": "Heartbeats",
    "REC": "Recovery of stale tasks",
    "CAN": "Cancellation",
    "EXP": "Expiry",
    "RET": "Retention",
    "STA": "Reading and counting",
    "LCK": "Locks",
    "RCD": "Named records",
    "SCM": "Stores and schemas",
    "CLK": "Clocks",
    "NTF": "Wakeups",
    "BLK": "Many tasks at once",
    "ARW": "Tables of other shapes",
    "TXN": "Transactions of the application's",
    "EXE": "Tasks that run elsewhere",
    "SCH": "Schedules",
    "ERR": "Errors",
    "CST": "Cost",
}
"""What each group of guarantees is about, in the order in which they are read."""

_CORE: dict[str, str] = {
    "LIF-01": "A backend MUST store and return every field of a new task exactly as `records.admit` makes it: texts "
    "character by character, times in UTC to the microsecond.",
    "LIF-02": "A backend MUST return arguments, metadata, progress, results and errors as the same JSON values of "
    "the same types, whatever their size, depth, range or script.",
    "LIF-03": "`commit` MUST store every field that a transition can change, exactly as `lifecycle.step` makes it, "
    "for every row of the table of transitions.",
    "LIF-04": "A backend MUST NOT change a field that no transition changes, whether by a claim, a heartbeat or a "
    "commit.",
    "LIF-05": "A backend MUST NOT change a terminal task other than by a revive or a deletion: not by a claim, a "
    "heartbeat, or a commit under an earlier fence.",
    "LIF-06": "`claim` MUST take a task that went back to waiting from its new `due_at` on, and at no earlier time.",
    "LIF-07": "`enqueue_many` MUST return one answer for each task, in the order of the batch: its own record with "
    "`is_new` true, or the holder of its key.",
    "LIF-08": "If a client enqueues a batch again with the same ids, `enqueue_many` MUST change nothing, and return "
    "the same `is_new` for each task, even if some were claimed meanwhile.",
    "LIF-09": "A backend MUST NOT let another client see a part of a batch, whether the batch enqueues, claims, "
    "commits or deletes.",
    "LIF-10": "A method that takes a batch MUST change nothing and return nothing if the batch is empty.",
    "LIF-11": "A backend MUST show a write to every client as soon as the call that made it has returned.",
    "LIF-30": "`get` MUST return the records of those of its ids that are stored, and no others.",
    "LIF-31": "A backend MUST NOT change a record that it has returned.",
    "LIF-12": "If `now` is omitted, a backend MUST use the store's own clock.",
    "LIF-32": "`now` MUST return the store's clock in UTC, with microseconds, and never an earlier time than the "
    "call before.",
    "LIF-13": "After any history of operations, a backend MUST return and store exactly what `records.admit`, "
    "`lifecycle.step` and the rules of the port make.",
    "LIF-17": "A backend MUST store, compare and return times up to the last microsecond of the year 9999, and take "
    "any earlier `run_at` as now.",
    "LIF-18": "A backend MUST store and count attempts and recoveries exactly, up to 2,147,483,647.",
    "LIF-19": "A backend MUST store a worker of `WORKER_MAX` characters and a reference of `REF_MAX` characters as "
    "they are given, whatever characters these are.",
    "LIF-20": "A backend MUST keep texts in the Unicode form in which they are given, in every field and in every "
    "filter.",
    "LIF-21": "A backend MUST give every answer, its entries and their fields the types that the port names; an "
    "answer and its entries may be of subclasses.",
    "LIF-22": "A backend MUST store, compare and raise fences exactly, up to 1,000,000,000,000,000.",
    "LIF-14": "A backend MUST let a client read each task as it was before or as it is after a write of another "
    "client, whole, at every moment of the write.",
    "LIF-15": "If a call is cancelled, a backend MUST let it take effect wholly or not at all, and not hold up the "
    "same call later.",
    "LIF-16": "If the process of a call is killed, a backend MUST let the call take effect wholly or not at all.",
    "KEY-01": "A backend MUST keep at most one active task per key, whichever clients enqueue it, in whichever "
    "queues and under whichever names, in turn or at once.",
    "KEY-02": "If several tasks of a batch have the same key, `enqueue_many` MUST store the first of them, and "
    "return it for the others.",
    "KEY-03": "While a task holds a key, `enqueue_many` MUST return that task, unchanged and with `is_new` false, "
    "and store no other task with the key.",
    "KEY-04": "`enqueue_many` MUST store a new task if the earlier holder of its key is terminal, in whichever of "
    "the terminal states.",
    "KEY-05": "`enqueue_many` MUST NOT change a terminal task whose key it gives to a new task.",
    "KEY-06": "If `enqueue_many` races the last transition of a key's holder, it MUST return the holder or store "
    "the new task: exactly one of the two, and no error.",
    "KEY-07": "A backend MUST treat two keys as equal only if they are equal character by character: case, accents, "
    "composition and spaces count, up to the longest key.",
    "KEY-08": "A backend MUST NOT treat two tasks without a key as having the same key.",
    "KEY-09": "`commit` MUST reject a task whose key another active task holds.",
    "KEY-30": "`commit` MUST store the other tasks of a batch in which it rejects one for its key.",
    "KEY-10": "A backend MUST let a task hold its key without a gap when the task goes back to waiting by a retry, "
    "a requeue, a snooze or a recovery.",
    "KEY-11": "A backend MUST NOT free the key of an active task by anything that happens to an earlier task with "
    "that key, such as its deletion.",
    "KEY-12": "A backend MUST let a task hold its key for as long as it is active, however many days that is.",
    "CLM-01": "`claim` MUST store and return each task exactly as `step(task, Claim(worker), now)` makes it.",
    "CLM-02": "`claim` MUST NOT give one task to two clients under one fence, however many claim at once.",
    "CLM-03": "`claim` MUST take and return the first matching tasks by higher priority, then earlier `due_at`, "
    "then id: one order over all queues and all priorities.",
    "CLM-04": "`claim` MUST NOT take a task before its `due_at`, not even by a microsecond.",
    "CLM-05": "`claim` MUST take a scheduled task from its `due_at` on, in its place of the order, without any call "
    "before, even if more than a thousand come due at once.",
    "CLM-06": "`claim` MUST take as many tasks as match, up to its limit, and none if the limit is 0.",
    "CLM-07": "`claim` MUST NOT take a task of a queue or an execution backend other than the named ones, character "
    "by character: None names all, an empty tuple none.",
    "CLM-08": "`claim` MUST find a task that matches behind any number of tasks that do not.",
    "CLM-09": "A claim by id MUST take exactly those of the named tasks that are stored under the fence given, and "
    "are dispatched or could be claimed without ids.",
    "CLM-10": "A backend MUST raise the fence of a task by exactly one with each claim and each commit, so that no "
    "fence repeats.",
    "CLM-11": "A claim without ids MUST NOT take a task that is neither pending nor scheduled.",
    "CLM-30": "`claim` MUST NOT change a task that it does not take.",
    "CLM-12": "`claim` MUST skip tasks that another client's unfinished claim has locked, and take the free ones in "
    "the order of claiming, without waiting.",
    "CLM-13": "A claim by id MUST give a task once, and count it once towards the limit, however often the claim "
    "names it.",
    "CLM-14": "`claim` MUST compare the names of queues character by character, whatever characters these are.",
    "CLM-15": "`claim` MUST take what matches, in the order of claiming, however many queues or tasks it names.",
    "CLM-16": "`claim` and `find` MUST take any limit, and leave nothing out for one that is larger than all that "
    "is stored.",
    "OWN-01": "`commit` MUST reject a `complete` or a `fail` by a lost owner, whatever has become of the task.",
    "OWN-02": "`commit` MUST reject every other event by a lost owner: one that gives the task back, cancels it, or "
    "nulls its heartbeat.",
    "OWN-03": "`commit` MUST NOT change any field of a task that it rejects.",
    "OWN-04": "`commit` MUST return exactly the ids of the tasks that it stored, whatever mixture of owned and lost "
    "tasks the batch is.",
    "OWN-05": "Of all commits that clients make from one read of a task, a backend MUST store exactly one, even if "
    "they repeat the same commit.",
    "OWN-06": "`commit` MUST reject a task whose id is not stored, or whose stored fence is other than `task.fence "
    "- 1`.",
    "OWN-07": "A backend MUST NOT change the fence of a task, or reject its owner, for anything but an event: not "
    "for a heartbeat, nor when a scheduled task comes due.",
    "OWN-08": "If a batch names a task several times, `commit` MUST judge the first of these outcomes alone, and "
    "ignore the others.",
    "HBT-01": "`touch_heartbeats` MUST set `heartbeat_at` of a running task under the fence given, the progress and "
    "the `stale_after` that are given, and nothing else.",
    "HBT-02": "`touch_heartbeats` MUST return exactly the ids of the tasks that are running or dispatched under the "
    "fences given.",
    "HBT-03": "`touch_heartbeats` MUST NOT change a task for a lost owner, whether the task runs again, waits or is "
    "terminal.",
    "HBT-04": "`find` with `Stale` MUST find a task as soon as its owner has nulled its heartbeat, whatever its "
    "window.",
    "HBT-30": "`touch_heartbeats` MUST reject the owner that nulled the heartbeat of a task, under its earlier fence.",
    "HBT-05": "If a batch names a task several times under one fence, `touch_heartbeats` MUST treat that as one "
    "heartbeat, with the last progress and the last `stale_after` that are given.",
    "REC-01": "`find` with `Stale` MUST find exactly the running tasks without a heartbeat, and those whose "
    "heartbeat is older than their window at the time given.",
    "REC-02": "`find` with `Stale` MUST return the tasks without a heartbeat first, then those with the oldest "
    "heartbeat, then by id, up to the limit.",
    "REC-03": "`commit` with `stale` MUST reject a task that the query does not find any more, such as one that got "
    "a heartbeat since the recoverer read it.",
    "REC-04": "`commit` with `stale` MUST return exactly the ids of the tasks that it moved.",
    "REC-30": "If several recoverers commit the recovery of one task, `commit` MUST store exactly one of them.",
    "REC-05": "A backend MUST store a recovery exactly as `lifecycle.step` makes it: pending and counted while "
    "`max_recoveries` allows, and failed after that.",
    "REC-06": "`commit` MUST reject the recovery of a task that was settled, given back or cancelled since the "
    "recoverer read it.",
    "REC-07": "`find` with `Stale` MUST use the window that the owner's claim or latest heartbeat stored, or the "
    "query's if none is stored or `own_windows` is false.",
    "REC-08": "`find` with `Stale` MUST NOT find a task that has a heartbeat and a window of `longest` seconds or "
    "more.",
    "REC-09": "`commit` with `stale` MUST NOT move a task whose heartbeat has arrived since the recoverer read it, "
    "however many tasks it moves.",
    "CAN-01": "`commit` MUST store the cancellation of a waiting, dispatched or running task exactly as "
    "`lifecycle.step` makes it.",
    "CAN-30": "`claim` MUST NOT take a cancelled task.",
    "CAN-02": "`touch_heartbeats` MUST NOT return the id of a cancelled task, so that the owner learns of it by its "
    "next heartbeat.",
    "EXP-01": "`claim` MUST NOT take a waiting task from its `expires_at` on, not in that very microsecond either.",
    "EXP-30": "`claim` MUST find a task that matches behind any number of overdue tasks.",
    "EXP-02": "`claim` MUST NOT take a task that was claimed in time and waits again, once its `expires_at` has come.",
    "EXP-03": "`find` with `Overdue` MUST find exactly the waiting and dispatched tasks that have an `expires_at` "
    "up to the time given, the earliest first, then by id, up to the limit.",
    "RET-01": "`delete` MUST delete exactly the terminal tasks that are stored under the fences given, and return "
    "their ids.",
    "RET-02": "`delete` MUST NOT delete an active task.",
    "RET-03": "`find` with `Finished` MUST find exactly the terminal tasks that finished before `before`, and at "
    "`since` or later, the earliest first, then by id, up to the limit.",
    "RET-04": "A backend MUST NOT show a deleted task to any reader, in any query or any count.",
    "RET-05": "If a batch names a terminal task several times, `delete` MUST delete it exactly if one of these "
    "names has its stored fence.",
    "STA-01": "`count` MUST return the numbers of the stored tasks in each queue and state, after every transition, "
    "for all queues or the named ones.",
    "STA-02": "`find` with `Matching` MUST find exactly the tasks that every given filter admits, the newest first, "
    "then by id, up to the limit.",
    "STA-03": "`next_due` MUST return the earliest `due_at` of the scheduled tasks in the queues, or None if there "
    "is none; tasks in other states do not count.",
    "STA-04": "`find` MUST find exactly what matches, in its order, also among tens of thousands of other tasks.",
    "LCK-01": "`lock` MUST give a lock to one owner at a time, even if several want it at once; each name is a lock "
    "of its own.",
    "LCK-02": "`lock` MUST give a lock to another owner exactly from the end of its `ttl` on, and not a microsecond "
    "earlier.",
    "LCK-03": "`lock` MUST prolong a lock for its owner until `ttl` from now.",
    "LCK-04": "`unlock` MUST free a lock at once if its owner calls it, and never for a former or another owner, "
    "and return whether it did.",
    "LCK-05": "`lock` MUST tell locks and owners apart by every character of their names, up to the longest.",
    "RCD-01": "`write_records` MUST store a record exactly where the stored version is one below its own; a name "
    "that is not stored has version 0.",
    "RCD-02": "If several clients write the same version of a named record at once, `write_records` MUST store "
    "exactly one of them.",
    "RCD-03": "`read_records` MUST return exactly the records whose names begin with the prefix, with the versions "
    "and values that clients wrote.",
    "SCM-01": "`create_schema` MUST keep every task and every lock if a client calls it again.",
    "SCM-02": "`open` MUST succeed for all of several clients that open a new store at the same moment, and give "
    "them the same store.",
    "SCM-03": "A backend MUST NOT show a client of one store the tasks, keys, counts or locks of another store.",
    "SCM-04": "`close` MUST return and end the client's calls under way, also if a client calls it again.",
    "SCM-30": "A backend MUST keep what a client wrote for other clients and later ones, when that client closes.",
    "SCM-05": "`process_local` MUST be true exactly if other processes cannot see the tasks.",
    "SCM-06": "If `open` creates the schema, it MUST create every table and index that is missing.",
    "SCM-07": "A client that was closed, or whose `open` did not return, MUST have released its threads, file "
    "descriptors, event-loop tasks and server sessions.",
    "SCM-08": "If `open` completes a schema, it MUST keep every task, lock and named record that is stored.",
    "SCM-09": "Where the target declares `durable`, a backend MUST keep what it acknowledged when the processes of all "
    "its clients are killed.",
    "CLK-01": "`now` MUST follow the client's clock exactly where the target declares `server_clock` absent.",
    "CLK-02": "Where the target declares `server_clock`, a call without `now` MUST NOT follow the client's clock.",
    "CLK-03": "`now` MUST return the time in UTC, whatever the client's local time zone is.",
    "CLK-04": "If the time goes back, `claim` MUST NOT take a task before its `due_at`, even if an earlier call "
    "found the task due.",
}

_NOTIFICATIONS: dict[str, str] = {
    "NTF-01": "A backend MUST give every task to a client that polls, even if all hints for the task were lost.",
    "NTF-02": "`wakeups` MUST be None exactly where the target declares no notifications.",
    "NTF-03": "A backend MUST NOT send a hint before the client that it wakes can claim the tasks.",
    "NTF-04": "A backend MUST NOT wake a client for a call that leaves nothing more to run: an empty batch, held "
    "keys, a refused commit, a settled or cancelled task.",
    "NTF-05": "A backend MUST NOT give a waiting client more hints for a batch that has more tasks or queues.",
    "NTF-06": "`notify` MUST wake every other client that waits for one of the queues, alone or among others, or "
    "for any queue, in whichever process.",
    "NTF-07": "A backend MUST deliver hints again to a client whose connections were cut, without another `open`.",
    "NTF-08": "`wait` MUST return when its time is over.",
    "NTF-30": "`close` MUST end every `wait` of its client, and return without waiting for a hint.",
}

_BULK: dict[str, str] = {
    "BLK-01": "`enqueue_many` MUST store and return a batch of any size as it does single tasks: in every field, in "
    "the order of the batch, under one time.",
    "BLK-02": "For a large batch with stored ids or held keys, `enqueue_many` MUST return what it returns for a "
    "small one, and store nothing twice.",
    "BLK-03": "A backend MUST NOT let any client see a part of a large batch, at any moment.",
    "BLK-04": "`enqueue_many` MUST store thousands of tasks in one step, with keys, without, or both, and return "
    "them in their order.",
    "BLK-05": "`claim`, `touch_heartbeats`, `commit` and `delete` MUST change thousands of tasks in one step.",
    "ARW-01": "A backend MUST write and read a table whose columns have another order like its own, in batches of "
    "none, one and many.",
    "ARW-02": "A backend MUST write and read a table to which the application has added columns like its own, in "
    "batches of none, one and many.",
}

_TRANSACTIONAL: dict[str, str] = {
    "TXN-01": "A backend MUST NOT show another client a task that is enqueued in a transaction before the "
    "transaction commits.",
    "TXN-30": "When a transaction commits, a backend MUST store the tasks enqueued in it as `records.admit` makes "
    "them.",
    "TXN-02": "A backend MUST NOT leave a task, a count or a held key of a transaction that rolled back.",
    "TXN-03": "In a transaction `enqueue_many` MUST treat keys as it does outside: it returns the holder of a held "
    "key, even if the same transaction enqueued it.",
    "TXN-04": "A backend that is bound to a session MUST NOT commit, roll back or close the session's transaction.",
    "TXN-05": "Where clients wake each other, a backend MUST wake them when a transaction commits that enqueued tasks.",
    "TXN-31": "A backend MUST NOT wake a client for a transaction that has not committed, or has rolled back.",
    "TXN-06": "If a bound `enqueue_many` returned a task as new, and the transaction commits without an error, a "
    "backend MUST have stored the task, whatever other clients enqueued meanwhile.",
    "TXN-07": "A bound backend MUST do inside the transaction what `bind` lists as working there, and no other "
    "client sees it before the commit.",
    "TXN-08": "A bound backend MUST refuse what `bind` lists as refused with a `QueueConfigurationError`, and "
    "change nothing.",
    "TXN-09": "A backend MUST NOT let a transaction that was rolled back, or cancelled, hold up another client.",
    "TXN-10": "A rollback MUST undo every write of the backend that is bound to the transaction.",
}

_DISPATCH: dict[str, str] = {
    "EXE-01": "A reservation MUST NOT give one task to two dispatchers under one fence, however many reserve at once.",
    "EXE-02": "A reservation MUST store and return each task exactly as `step(task, want.event, now)` makes it: it "
    "counts no attempt, and clears an earlier reference.",
    "EXE-03": "A reservation MUST take the tasks that a claim with the same filters and limit would take, in the "
    "same order.",
    "EXE-04": "A reservation MUST NOT take a task that is neither pending nor scheduled, whether by id or by queue.",
    "EXE-05": "A claim without ids MUST NOT take a dispatched task, even if its reservation has run out.",
    "EXE-06": "A claim by id MUST take a dispatched task under its stored fence, before the reference is stored and "
    "after.",
    "EXE-07": "A claim by id MUST NOT take a dispatched task under a fence other than the stored one.",
    "EXE-08": "If several runs claim one dispatched task at once, `claim` MUST give it to exactly one of them.",
    "EXE-09": "A claim that has an `execution_ref` MUST store it, whatever reference is stored already.",
    "EXE-10": "A claim by id without an `execution_ref` MUST keep the reference that is stored.",
    "EXE-11": "`commit` MUST store every transition of a dispatched task exactly as `lifecycle.step` makes it.",
    "EXE-12": "`commit` MUST NOT store a reference, or anything else, under an earlier fence of a dispatched task, "
    "even if the task was cancelled, claimed, released or deleted since.",
    "EXE-13": "If a run claims its task while the dispatcher stores the reference, a backend MUST store exactly one "
    "of the two.",
    "EXE-14": "A backend MUST let a task hold its key through reservation, reference, release, recovery and "
    "diversion: an enqueue returns the dispatched holder.",
    "EXE-15": "A heartbeat under the fence of a dispatched task MUST set its `heartbeat_at`, the `stale_after` that "
    "is given, and nothing else.",
    "EXE-16": "A heartbeat under another fence MUST NOT change a dispatched task.",
    "EXE-17": "`find` with `Dispatched` MUST find exactly the dispatched tasks that have been silent for longer "
    "than their own `stale_after`, or have no heartbeat or no `stale_after`.",
    "EXE-18": "`find` with `Dispatched` MUST NOT find a task of an execution backend that the query leaves out: "
    "None names all, an empty tuple none.",
    "EXE-19": "`find` with `Dispatched` MUST return the tasks without a heartbeat first, then those with the oldest "
    "heartbeat, then by id, up to the limit.",
    "EXE-20": "`claim` MUST take a dispatched task that was released, snoozed, or recovered with budget left, from "
    "its new `due_at` on and in its place of the order.",
    "EXE-21": "`find` with `Stale` MUST NOT find a dispatched task.",
    "EXE-22": "`commit` with `stale` MUST reject a dispatched task.",
    "EXE-23": "A claim MUST NOT take a task that was cancelled or has expired while it was dispatched.",
    "EXE-24": "A claim by id MUST NOT take a dispatched task from its `expires_at` on, not in that very microsecond "
    "either.",
    "EXE-25": "`find` with `Overdue` MUST find the dispatched tasks that have an `expires_at` up to the time given, "
    "in their places among the waiting ones.",
    "EXE-26": "`delete` MUST NOT delete a dispatched task.",
    "EXE-27": "`count` MUST count each dispatched task once, as dispatched, from its reservation to its next event "
    "that changes the state.",
    "EXE-28": "A claim for the execution backend to which a task was diverted MUST find the task.",
    "EXE-29": "A claim for an earlier execution backend of a diverted task MUST NOT take the task.",
    "EXE-30": "If `now` is omitted, a reservation, a claim by id and a heartbeat of a dispatched task MUST use the "
    "store's clock.",
    "EXE-31": "A backend MUST have `dispatches` true exactly where its target declares `dispatch`.",
    "EXE-32": "A claim of a dispatched task MUST store and return the task exactly as `step(task, want.event, now)` "
    "makes it: it counts one attempt.",
}

_SCHEDULING: dict[str, str] = {
    "SCH-01": "Schedulers MUST enqueue each fire exactly once, however many of them look at its schedule at once.",
    "SCH-02": "If a scheduler ends before, inside or after any of its calls of the port, the next look MUST leave "
    "each due fire enqueued exactly once.",
    "SCH-03": "A scheduler that enqueues a fire again MUST NOT change its stored occurrence, in whichever state "
    "that is.",
    "SCH-04": "A scheduler that read an earlier version of a schedule MUST NOT change the stored schedule.",
    "SCH-05": 'With `catch_up="skip"`, a look MUST NOT enqueue a missed fire.',
    "SCH-06": 'With `catch_up="once"`, a look MUST enqueue one occurrence for all missed fires, with the id of '
    "the first of them.",
    "SCH-07": 'With `catch_up="all"`, a look MUST enqueue exactly the latest missed fires, up to `catch_up_limit`.',
    "SCH-08": 'With `overlap="skip"`, a look MUST NOT enqueue a fire while the last occurrence is active.',
    "SCH-09": 'With `overlap="allow"`, a look MUST enqueue every fire that is due, also while earlier occurrences '
    "are active.",
    "SCH-10": 'With `overlap="queue"`, a look MUST enqueue fires that come due while an occurrence is active in '
    "their order, each after the end of the one before.",
    "SCH-11": "A schedule that is paused and resumed MUST enqueue exactly the fires that come due while it is not "
    "paused.",
    "SCH-12": "`run_now` MUST enqueue one task at once, also if the schedule is paused or its last occurrence is "
    "active.",
    "SCH-13": "A schedule MUST enqueue a fire at a fixed time once if the clock skips or repeats that time: at the "
    "end of the gap, or in the first pass.",
    "SCH-14": "A schedule that runs by real time MUST enqueue a fire of its own for each pass of a time that the "
    "clock repeats.",
    "SCH-15": "A schedule MUST enqueue its next fire whether its last occurrence completed, failed, expired, was "
    "cancelled, recovered or deleted.",
    "SCH-16": "If another active task holds the key of an occurrence, a look MUST skip the fire of that occurrence, "
    "and no other.",
    "SCH-17": "A scheduler MUST apply a change of a schedule to exactly the fires that come due after it.",
    "SCH-18": "A schedule MUST enqueue the fires that are due when a person or new code removes it, and no later ones.",
    "SCH-19": "Synchronising the schedules of older code MUST NOT change a stored schedule.",
    "SCH-20": "If several versions of the code synchronise their schedules at once, the store MUST keep exactly the "
    "schedules of the latest version.",
    "SCH-21": "A deletion of old tasks MUST keep an occurrence until its schedule has come past its fire.",
    "SCH-22": "A deletion of old tasks MUST keep an occurrence for a day after its end.",
    "SCH-23": "A deletion of old tasks MUST find every other one that is old enough, also behind occurrences that "
    "it keeps.",
    "SCH-24": "A schedule MUST fire whatever schedules of its name another store holds.",
    "SCH-25": "If the scheduler that leads is gone, another one MUST fire as soon as the lock is free.",
    "SCH-26": "A look MUST fire every schedule that is due, however many there are, and however alike their names are.",
    "SCH-27": "A schedule MUST read back exactly as a client wrote it, up to the longest name and the largest "
    "definition.",
    "SCH-28": "A look MUST store an occurrence with everything that its schedule gives it, and with the time of its "
    "fire.",
}

_FAULTS: dict[str, str] = {
    "ERR-01": "A call whose connection is cut MUST return its full answer or raise a `BackendError`.",
    "ERR-02": "A client whose connections were cut MUST work again without being opened anew.",
    "ERR-03": "If the reply to a call is lost, a backend MUST let the call take effect at most once, except where "
    "a fence or a version guards a repetition, and raise an error or return what it did.",
    "ERR-04": "A call that cannot reach the store MUST raise `BackendUnavailableError`.",
    "ERR-05": "A call that the store refuses for now MUST raise `BackendUnavailableError` and store nothing.",
    "ERR-06": "A client MUST work again without being opened anew once its store takes calls again.",
}

_SCALE: dict[str, str] = {
    "CST-01": "`claim` MUST cost no more beside 100,000 other tasks than a bounded multiple of what it costs beside "
    "few.",
    "CST-02": "The memory that a client takes MUST NOT grow with the number of its calls.",
}

GUARANTEES: dict[str, Guarantee] = {
    id_: Guarantee(id_, must, profile)
    for profile, musts in (
        (Profile.CORE, _CORE),
        (Profile.NOTIFICATIONS, _NOTIFICATIONS),
        (Profile.BULK, _BULK),
        (Profile.TRANSACTIONAL, _TRANSACTIONAL),
        (Profile.DISPATCH, _DISPATCH),
        (Profile.SCHEDULING, _SCHEDULING),
        (Profile.FAULTS, _FAULTS),
        (Profile.SCALE, _SCALE),
    )
    for id_, must in musts.items()
}
"""Every guarantee by its id, in the order in which they are read."""
