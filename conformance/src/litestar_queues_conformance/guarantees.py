"""The registry: everything that a queue backend promises, one sentence each.

This file is the source of the guarantees' page, of the terminal's table and of the report; it imports the standard
library alone. An id is never given to another promise, and never renumbered: a promise that is withdrawn leaves a gap.

Words: to *settle* is to commit a `complete` or a `fail` without retry; to *give back* is to commit a `requeue`, a
`snooze` or a `fail` with retry; a *lost owner* is a client whose claim was superseded, settled or recovered by another. A
*reservation* is a claim with `want.reserve`, which makes tasks `dispatched`; a *dispatcher* makes it, and commits a
`dispatch` to store the reference of the *run* that it started elsewhere.

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
    "NTF": "Wakeups",
    "BLK": "Many tasks at once",
    "ARW": "Tables of other shapes",
    "TXN": "Transactions of the application's",
    "EXE": "Tasks that run elsewhere",
    "SCH": "Schedules",
}
"""What each group of guarantees is about, in the order in which they are read."""

_CORE: dict[str, str] = {
    "LIF-01": "Every field of a new task MUST be stored and answered exactly as `records.admit` has it: texts character "
    "by character up to their longest, times to the microsecond in UTC.",
    "LIF-02": "Arguments, metadata, progress, results and errors MUST read back as the JSON values that they were, of the "
    "same types, whatever their size, depth, range or script.",
    "LIF-03": "A commit MUST store everything that a transition can change, exactly as `lifecycle.step` has it, for every "
    "row of the table.",
    "LIF-04": "What no transition changes MUST stay as it was enqueued, through every claim, heartbeat and commit.",
    "LIF-05": "A terminal task MUST NOT be changed by anything but a revive and retention: no claim, no heartbeat and no "
    "commit of an earlier fence leaves a trace on it.",
    "LIF-06": "A task that is committed back to waiting MUST be claimable again from its new `due_at` on, and not before.",
    "LIF-07": "The answers to an enqueued batch MUST stand in the order of the batch, one for each task, each with that "
    "task's own record and `is_new` true where it was stored.",
    "LIF-08": "Repeating a batch with the same ids MUST store nothing twice, change nothing, and answer as for the first "
    "time, also when some of its tasks were claimed meanwhile.",
    "LIF-09": "Another client MUST see a batch whole or not at all, at every moment.",
    "LIF-10": "An empty batch MUST do nothing and answer nothing, in every method that takes a batch.",
    "LIF-11": "A write MUST be visible to every client as soon as it was answered, `get` MUST answer with the stored ones "
    "of its ids alone, and a record that was handed out MUST NOT change afterwards.",
    "LIF-12": "Without `now`, every write MUST be stamped by the store's own clock, which `now()` tells in UTC, with "
    "microseconds, and which never goes back from one call to the next.",
    "LIF-13": "Whatever the operations and their order, every answer and every stored task MUST equal what "
    "`records.admit`, `lifecycle.step` and the port's rules make of them.",
    "KEY-01": "At most one active task MUST exist per key, whichever clients, queues and task names enqueue it, one after "
    "another or at once.",
    "KEY-02": "Of several tasks with one key in a batch the first MUST be stored, and the others answered with it.",
    "KEY-03": "While a key is held, enqueueing it MUST answer with the holder as it stands, `is_new` false, and change "
    "neither the holder nor anything else.",
    "KEY-04": "A key whose holder is terminal MUST be free: a new task with its own id is stored, whichever of the "
    "terminal states the holder is in.",
    "KEY-05": "A terminal task whose key is taken by a new one MUST keep its record as it was.",
    "KEY-06": "An enqueue that races the holder's last transition MUST end in one of the two legal ways: the holder is "
    "answered, or a new task is stored; never both, never neither, never an error.",
    "KEY-07": "Keys MUST be equal only if they are equal character by character: case, accents, composition, scripts and "
    "spaces at either end count, up to the longest key.",
    "KEY-08": "Tasks without a key MUST never be taken for one another.",
    "KEY-09": "A commit that would take a key from another active task MUST NOT be stored, and MUST NOT keep the others of "
    "its batch from being stored.",
    "KEY-10": "A task that goes back to waiting MUST keep its key without a gap, through every retry, requeue, snooze and "
    "recovery.",
    "KEY-11": "What happens to an earlier task of a key, its deletion included, MUST NOT free the key of its successor.",
    "CLM-01": "A claimed task MUST be stored and answered exactly as `step(task, Claim(worker), now)` has it.",
    "CLM-02": "No task MUST ever be given to two claimers under one fence, however many claim at once.",
    "CLM-03": "A claim MUST take, and answer in that order, the first that match by higher priority, then earlier "
    "`due_at`, then id: one order over all queues, to both ends of the range of priorities.",
    "CLM-04": "A task MUST NOT be claimed before its `due_at`, not by a microsecond.",
    "CLM-05": "A scheduled task MUST be claimable from its `due_at` on, in its place of the order, without anything else "
    "having to happen first, also when more than a thousand come due at once.",
    "CLM-06": "A claim MUST take as many as match, up to its limit and never more; none where the limit is 0.",
    "CLM-07": "A claim MUST take only from the queues and execution backends that it names, exactly as they are spelled; "
    "none given means any, an empty filter means none.",
    "CLM-08": "A task that matches MUST be found behind any number of tasks that do not.",
    "CLM-09": "A claim by id MUST take only the tasks named, each only under the fence given, and only such as could be "
    "claimed anyway, or are dispatched.",
    "CLM-10": "A fence MUST never repeat for a task: a claim raises it by exactly one, and so does each commit.",
    "CLM-11": "A claim without ids MUST take only waiting tasks, and MUST leave those that it passes over as they are.",
    "CLM-12": "A claim MUST NOT wait for tasks that another client's unfinished claim holds: it passes them over, and takes "
    "what is free, in the order of claiming.",
    "OWN-01": "A lost owner MUST NOT settle the task: its `complete` or `fail` is refused whatever has become of the task.",
    "OWN-02": "A lost owner MUST NOT give back, cancel or null the heartbeat of a task that another owns now.",
    "OWN-03": "A refused commit MUST leave the record as it was, field for field.",
    "OWN-04": "A commit MUST answer with exactly the ids that it stored, whatever mixture of owned and lost its batch is.",
    "OWN-05": "Of all commits made from one read of a task exactly one MUST be stored, the same one repeated included.",
    "OWN-06": "A commit MUST be refused where the stored fence is lower than the one below its own, or nothing is stored "
    "under its id.",
    "OWN-07": "The right to write MUST outlive everything but an event: neither heartbeats, nor progress, nor a scheduled "
    "task's coming due change a fence or refuse a commit.",
    "HBT-01": "A heartbeat MUST set `heartbeat_at` of a running task under the fence given, and its progress and "
    "`stale_after` where they are given, and nothing else.",
    "HBT-02": "A batch of heartbeats MUST be answered with exactly the ids that are running or dispatched under the fences "
    "given.",
    "HBT-03": "A lost owner's heartbeat MUST leave no trace: not on a later attempt, not on a waiting task, not on a "
    "terminal one.",
    "HBT-04": "A task whose heartbeat was nulled MUST count as stale at once, and MUST be lost to its earlier owner.",
    "REC-01": "`Stale` MUST find exactly the running tasks without a heartbeat, and those whose heartbeat is older than their "
    "window at the time given (a heartbeat of exactly that age is fresh).",
    "REC-02": "`Stale` MUST be answered oldest heartbeat first, those without any before all others, then by id, up to "
    "the limit.",
    "REC-03": "A heartbeat that arrives between a recoverer's read and its commit MUST save the task: with `stale`, a commit "
    "is refused where that query does not find the stored task any more.",
    "REC-04": "A recovery MUST answer with exactly the ids that it moved, and of two recoverers of one task exactly one "
    "MUST move it.",
    "REC-05": "A recovered task MUST be pending, with the attempt given back and the recovery counted, while its budget of "
    "recoveries lasts, and failed with the error after that, exactly as `lifecycle.step` has it.",
    "REC-06": "A late recovery MUST resurrect nothing: what was settled, given back or cancelled since it was read stays.",
    "REC-07": "`Stale` MUST judge a task by the window that its owner's claim or latest heartbeat stored, whoever recovers it; "
    "by the query's window where they stored none, or where the query says that it counts for all.",
    "REC-08": "`Stale` MUST leave out every task with a heartbeat whose window is not shorter than `longest`.",
    "CAN-01": "A waiting, dispatched or running task that is cancelled MUST be stored as cancelled, as `lifecycle.step` has it, and "
    "MUST never be claimed.",
    "CAN-02": "The owner of a cancelled task MUST learn of it by its next heartbeat, and MUST NOT settle the task.",
    "EXP-01": "A waiting task MUST NOT be claimed from its `expires_at` on, not in that very microsecond, and MUST NOT keep "
    "a claim from taking others.",
    "EXP-02": "A task that was claimed in time and is waiting again MUST NOT be claimed once its `expires_at` has come.",
    "EXP-03": "`Overdue` MUST find exactly the waiting and dispatched tasks whose `expires_at` is the time given or earlier, "
    "the earliest first, then by id, up to the limit.",
    "RET-01": "A deletion MUST forget exactly the terminal tasks that are under the fence given, and answer with their ids.",
    "RET-02": "A task MUST NOT be deleted while it is active.",
    "RET-03": "`Finished` MUST find exactly the terminal tasks, in each of the terminal states, that finished before the "
    "time given (not at it), and where another time is given, at that one or later, the earliest first, then by id, up to the limit.",
    "RET-04": "A deleted task MUST be gone for every reader, from every query and every count.",
    "STA-01": "The counts MUST be those of the stored tasks in each queue and state, after every transition, over all "
    "queues or those named.",
    "STA-02": "`Matching` MUST find exactly the tasks that every given filter admits, the newest first, then by id, up to "
    "the limit.",
    "STA-03": "`next_due` MUST tell when the first scheduled task of the queues comes due, and None where there is none; "
    "pending, dispatched, running and terminal tasks do not count.",
    "LCK-01": "A lock MUST have one owner at a time, also when several want it at once; locks with different names are "
    "different locks.",
    "LCK-02": "A lock that ran out MUST be free for another owner, and MUST NOT be free a microsecond earlier.",
    "LCK-03": "The owner of a lock MUST be able to prolong it, until the new time and no shorter.",
    "LCK-04": "A lock MUST be freed at once by its owner, and by no other, a former owner included; the answer says which.",
    "RCD-01": "A named record MUST be stored where the stored version is one below its own, or where its version is 1 and "
    "nothing is stored under its name; and MUST NOT be stored otherwise.",
    "RCD-02": "Of several that write one named record after the same version at once, exactly one MUST be stored.",
    "RCD-03": "`read_records` MUST answer with exactly the records whose names begin with the prefix, with their versions, and "
    "their values as they were written.",
    "SCM-01": "Creating the schema again MUST be harmless, and keep every task and every lock.",
    "SCM-02": "Several clients that open a new store at the same moment MUST all succeed, and see one store.",
    "SCM-03": "Two stores MUST NOT see each other's tasks, keys, counts or locks.",
    "SCM-04": (
        "Closing a client MUST end, also again and with its calls under way, and MUST leave what they wrote to the others "
        "and to later ones."
    ),
    "SCM-05": "`process_local` MUST say whether the tasks are invisible to other processes.",
}

_NOTIFICATIONS: dict[str, str] = {
    "NTF-01": "No hint MUST ever be needed: whoever polls finds every task, though all hints for it were lost.",
    "NTF-02": "`wakeups` MUST be there where the target declares notifications, and MUST be None where it does not.",
    "NTF-03": "A hint MUST NOT come before its tasks can be seen: whoever is woken by it can claim them at once.",
    "NTF-04": "What leaves nothing more to run MUST NOT wake anybody: a batch whose keys are all held, an empty one, a "
    "refused commit, a task that was settled or cancelled.",
    "NTF-05": "A batch MUST wake one who waits at most once, however many tasks and queues it has.",
    "NTF-06": "A hint for a queue MUST wake a client that waits for that queue, among others or alone, or for any, in "
    "whichever process it is.",
    "NTF-07": "A client whose connections were cut MUST hear hints again, without being opened anew.",
    "NTF-08": "A wait MUST end when its time is over, and when its client is closed; the closing MUST NOT wait for it.",
}

_BULK: dict[str, str] = {
    "BLK-01": "A batch of any size MUST be stored and answered in every field as its tasks would be one by one, in its "
    "order, under one time.",
    "BLK-02": "A large batch of which some tasks are stored already, or some keys are held, MUST be answered as a small one "
    "is, and MUST store nothing twice.",
    "BLK-03": "A large batch MUST be seen whole or not at all, whichever client looks, and whenever.",
    "ARW-01": "A table whose columns stand in another order MUST be written and read as the backend's own, in batches of "
    "none, one and many.",
    "ARW-02": "A table that has grown columns of the application's MUST be written and read as the backend's own, in batches "
    "of none, one and many.",
}

_TRANSACTIONAL: dict[str, str] = {
    "TXN-01": "A task that is enqueued in a transaction MUST NOT be seen by any other client before it commits, and MUST be "
    "stored from then on as `records.admit` has it.",
    "TXN-02": "A task that is enqueued in a transaction that rolls back MUST leave nothing: no task, no count, no held key.",
    "TXN-03": "Keys MUST count in a transaction as they do outside: one that is held, also by the transaction itself, is "
    "answered with its holder.",
    "TXN-04": "Nothing that is bound to a session MUST end its transaction: whatever was enqueued there stands or falls with "
    "it, as a whole.",
    "TXN-05": "Where clients wake each other, a transaction that enqueued MUST wake them when it commits, and MUST NOT when "
    "it rolls back.",
}

_DISPATCH: dict[str, str] = {
    "EXE-01": "Two dispatchers MUST NOT reserve one task under one fence, however many claim at once.",
    "EXE-02": "A reservation MUST store and return each task exactly as `step(task, want.event, now)` makes it: it counts no "
    "attempt, and clears an earlier reference.",
    "EXE-03": "A reservation MUST take the tasks that a claim with the same filters and limit would take, in the same order.",
    "EXE-04": "A reservation MUST NOT take a task that is neither pending nor scheduled, whether by id or by queue.",
    "EXE-05": "A claim without ids MUST NOT take a dispatched task, even if its reservation has run out.",
    "EXE-06": "A claim by id MUST take a dispatched task under its stored fence, before the reference is stored and after.",
    "EXE-07": "A claim by id MUST NOT take a dispatched task under a fence other than the stored one.",
    "EXE-08": "Of several runs that claim one dispatched task at once, exactly one MUST get it.",
    "EXE-09": "A claim that has an `execution_ref` MUST store it, whatever reference is stored already.",
    "EXE-10": "A claim by id without an `execution_ref` MUST keep the reference that is stored.",
    "EXE-11": "A commit MUST store every transition of a dispatched task exactly as `lifecycle.step` has it.",
    "EXE-12": "A commit MUST NOT store a reference, or anything else, under an earlier fence of a dispatched task, even if the "
    "task was cancelled, claimed, released or deleted since.",
    "EXE-13": "If a run claims its task while the dispatcher stores the reference, exactly one of the two MUST be stored.",
    "EXE-14": "A task MUST keep its key through reservation, reference, release, recovery and diversion: an enqueue returns the "
    "dispatched holder.",
    "EXE-15": "A heartbeat under the fence of a dispatched task MUST set its `heartbeat_at`, the `stale_after` that is given, "
    "and nothing else.",
    "EXE-16": "A heartbeat under another fence MUST NOT change a dispatched task.",
    "EXE-17": "`Dispatched` MUST find exactly the dispatched tasks that have been silent for longer than their own "
    "`stale_after`, to the microsecond. A task without a heartbeat or a `stale_after` counts as silent.",
    "EXE-18": "`Dispatched` MUST NOT find a task of an execution backend that the query leaves out: None names all, an empty "
    "tuple none.",
    "EXE-19": "`Dispatched` MUST return the tasks with the oldest heartbeat first, those without any before all others, then by "
    "id, up to the limit.",
    "EXE-20": "A dispatched task that is released, snoozed, or recovered with budget left MUST be claimable again from its new "
    "`due_at` on, in its place of the order.",
    "EXE-21": "`Stale` MUST NOT find a dispatched task.",
    "EXE-22": "A commit with `stale` MUST reject a dispatched task.",
    "EXE-23": "A claim MUST NOT take a task that was cancelled or has expired while it was dispatched.",
    "EXE-24": "A claim by id MUST NOT take a dispatched task from its `expires_at` on, not in that very microsecond.",
    "EXE-25": "`Overdue` MUST find the dispatched tasks whose `expires_at` is the time given or earlier, in their places among "
    "the waiting ones.",
    "EXE-26": "A deletion MUST NOT remove a dispatched task.",
    "EXE-27": "The counts MUST include each dispatched task once, as dispatched, from its reservation to its next event.",
    "EXE-28": "A claim for the execution backend to which a task was diverted MUST find the task.",
    "EXE-29": "A claim for an earlier execution backend of a diverted task MUST NOT take the task.",
    "EXE-30": "If `now` is omitted, a reservation, a claim by id and a heartbeat of a dispatched task MUST use the store's own "
    "clock.",
    "EXE-31": "A backend MUST have `dispatches` true exactly where its target declares `dispatch`.",
    "EXE-32": "A claim of a dispatched task MUST store and return the task exactly as `step(task, want.event, now)` makes it: "
    "it counts one attempt.",
}

_SCHEDULING: dict[str, str] = {
    "SCH-01": "Each fire MUST be enqueued exactly once, however many schedulers look at its schedule at once.",
    "SCH-02": "If a scheduler ends before, inside or after any of its calls of the port, the next look MUST leave each due fire "
    "enqueued exactly once.",
    "SCH-03": "A scheduler that enqueues a fire again MUST NOT change its stored occurrence, in whichever state that is.",
    "SCH-04": "A scheduler that read an earlier version of a schedule MUST NOT change the stored schedule.",
    "SCH-05": 'With `catch_up="skip"`, a look MUST NOT enqueue a missed fire.',
    "SCH-06": 'With `catch_up="once"`, all missed fires MUST become one occurrence, which has the id of the first of them.',
    "SCH-07": 'With `catch_up="all"`, a look MUST enqueue exactly the latest missed fires, up to `catch_up_limit`.',
    "SCH-08": 'With `overlap="skip"`, a look MUST NOT enqueue a fire while the last occurrence is active.',
    "SCH-09": 'With `overlap="allow"`, a look MUST enqueue every fire that is due, also while earlier occurrences are active.',
    "SCH-10": 'With `overlap="queue"`, fires that come due while an occurrence is active MUST be enqueued one after another, '
    "in their order, each after the end of the one before.",
    "SCH-11": "A schedule that is paused and resumed MUST enqueue exactly the fires that come due while it is not paused.",
    "SCH-12": "`run_now` MUST enqueue one task at once, also if the schedule is paused or its last occurrence is active.",
    "SCH-13": "A fire at a fixed time that the clock skips or repeats MUST be enqueued once: at the end of the gap, or in the "
    "first pass.",
    "SCH-14": "A schedule that runs by real time MUST enqueue a fire of its own for each pass of a time that the clock repeats.",
    "SCH-15": "A schedule MUST enqueue its next fire whether its last occurrence completed, failed, expired, was cancelled, "
    "recovered or deleted.",
    "SCH-16": "If another active task holds the key of an occurrence, its fire MUST be skipped, and no other.",
    "SCH-17": "A change of a schedule MUST hold for exactly the fires that come due after it.",
    "SCH-18": "The fires that are due at the removal of a schedule MUST be the last that it enqueues.",
    "SCH-19": "Synchronising the schedules of older code MUST NOT change a stored schedule.",
    "SCH-20": "If several versions of the code are synchronised at once, the stored schedules MUST be those of the latest one.",
    "SCH-21": "A deletion of old tasks MUST keep an occurrence until its schedule has come past its fire.",
    "SCH-22": "A deletion of old tasks MUST keep an occurrence for a day after its end.",
    "SCH-23": "A deletion of old tasks MUST find every other one that is old enough, also behind occurrences that it keeps.",
    "SCH-24": "A schedule MUST fire whatever schedules of its name another store holds.",
    "SCH-25": "If the scheduler that leads is gone, another one MUST fire as soon as the lock is free.",
    "SCH-26": "A look MUST fire every schedule that is due, however many there are, and however alike their names are.",
    "SCH-27": "A schedule MUST read back as it was written, up to the longest name and the largest definition.",
    "SCH-28": "An occurrence MUST be stored with everything that its schedule gives it, and with the time of its fire.",
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
    )
    for id_, must in musts.items()
}
"""Every guarantee by its id, in the order in which they are read."""
