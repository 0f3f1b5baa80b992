"""One example of each guarantee: a situation, what happens in it, and what the backend then does.

The words are those of `guarantees.py`. An example shows the promise, and is not the whole of it: the cases check more.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ("EXAMPLES", "Example")


@dataclass(frozen=True, slots=True)
class Example:
    """Three clauses without a full stop: "Given `given`, when `when`, then `then`"."""

    given: str
    when: str
    then: str

    def __str__(self) -> str:
        return f"Given {self.given}, when {self.when}, then {self.then}."


EXAMPLES: dict[str, Example] = {
    "LIF-01": Example(
        "a new task with `queue` 'mail' and `run_at` 12:00:00.000001 UTC",
        "a client enqueues it, and another client reads it",
        "both get the record of `records.admit`, and its `due_at` is 12:00:00.000001 UTC",
    ),
    "LIF-02": Example(
        "a task with the arguments `[1, 1.0, null, 18446744073709551616]`",
        "another client reads it",
        "it gets the same four values: an int, a float, null and an int",
    ),
    "LIF-03": Example(
        "a running task under fence 1",
        "its owner commits `complete` with the result 42",
        "the stored task is completed under fence 2, with the result 42 and no heartbeat",
    ),
    "LIF-04": Example(
        "a running task with the priority 5 and the description 'Send the invoice'",
        "its owner commits `complete`",
        "the priority, the description and every other field that is set at enqueueing are as before",
    ),
    "LIF-05": Example(
        "a completed task under fence 2",
        "a client sends a heartbeat for it under fence 1 or fence 2",
        "the stored record is as it was, field for field",
    ),
    "LIF-06": Example(
        "a running task that its owner snoozes until 12:00",
        "a worker claims at 11:59, and again at 12:00",
        "the first claim returns nothing, and the second returns the task",
    ),
    "LIF-07": Example(
        "a batch of A, B and C, where the running task R holds the key of B",
        "a client enqueues the batch",
        "the answer is A with `is_new` true, R with `is_new` false, and C with `is_new` true",
    ),
    "LIF-08": Example(
        "a batch of A and B that was enqueued, and A that has run since",
        "the client enqueues the same batch again",
        "`is_new` is true for both again, A is still completed, and B is stored once",
    ),
    "LIF-09": Example(
        "a client that enqueues a batch of 200 tasks",
        "another client counts them again and again meanwhile",
        "each of its counts is 0 or 200",
    ),
    "LIF-10": Example(
        "a store with one task in each state",
        "a client calls `commit([])`",
        "the answer is the empty set, and every task is as it was",
    ),
    "LIF-11": Example(
        "a client whose `enqueue_many` has just returned the task A",
        "another client calls `get` with the id of A",
        "it gets A",
    ),
    "LIF-30": Example(
        "three stored tasks A, B and C",
        "a client calls `get` with the ids of A and B, and one that nobody has",
        "the answer is the records of A and B",
    ),
    "LIF-31": Example(
        "a record that `claim` has returned, without progress",
        "its owner sends a heartbeat with progress",
        "the record in the client's hands still has no progress",
    ),
    "LIF-12": Example(
        "a store with a clock of its own",
        "a client enqueues a task without `now`",
        "`created_at` of the task is a time between the store's clock before and after the call",
    ),
    "LIF-32": Example(
        "two clients of one store",
        "they call `now` 50 times in turn",
        "each answer is in UTC, and none is earlier than the one before",
    ),
    "LIF-13": Example(
        "a drawn history: enqueue A, claim A, let A come back by a retry, cancel A",
        "the suite sends it to the backend and to its model",
        "each answer and each stored task of the backend equal those of the model",
    ),
    "LIF-17": Example(
        "a task with `run_at` and `expires_at` in the last microseconds of the year 9999",
        "another client reads it",
        "both times are as they were given",
    ),
    "LIF-18": Example(
        "a task with 2,147,483,646 attempts",
        "a client claims it",
        "it has 2,147,483,647 attempts",
    ),
    "LIF-19": Example(
        "a worker whose name has `WORKER_MAX` characters of four bytes each",
        "it claims a task",
        "the stored task has that name, whole",
    ),
    "LIF-20": Example(
        "two queues named 'café', one with a composed and one with a decomposed accent",
        "a client claims from one of them",
        "it gets the tasks of that queue alone",
    ),
    "LIF-22": Example(
        "a waiting task under the fence 4,294,967,295",
        "a client claims it",
        "the task is running under the fence 4,294,967,296",
    ),
    "LIF-21": Example(
        "a batch of heartbeats",
        "`touch_heartbeats` returns",
        "the answer is a set of texts, or of a subclass of these",
    ),
    "LIF-14": Example(
        "a pending task",
        "one client claims it while another reads it again and again",
        "each record read is the pending one or the running one, whole",
    ),
    "LIF-15": Example(
        "an enqueue of 900 tasks",
        "its caller cancels it half-way, and calls it again",
        "the store has none or all of the 900 before the second call, and all of them after it",
    ),
    "LIF-16": Example(
        "an enqueue of 900 tasks",
        "the process that makes it is killed half-way",
        "the store has none or all of the 900",
    ),
    "KEY-01": Example(
        "four clients that enqueue one task each with the key 'invoice-7', at the same moment",
        "all four calls have returned",
        "one of the tasks is stored, and all four clients got that one",
    ),
    "KEY-02": Example(
        "a batch of A and B, both with the key 'k'",
        "a client enqueues the batch",
        "A is stored, and the answer for B is A with `is_new` false",
    ),
    "KEY-03": Example(
        "a running task R that holds the key 'k'",
        "a client enqueues another task with the key 'k' and a higher priority",
        "the answer is R with `is_new` false, and R is as it was",
    ),
    "KEY-04": Example(
        "a failed task with the key 'k'",
        "a client enqueues a new task with the key 'k'",
        "the new task is stored under its own id, and `is_new` is true",
    ),
    "KEY-05": Example(
        "a completed task A with the key 'k' and the result 42",
        "a client enqueues B with the key 'k', and B fails",
        "A is as it was: completed, with its key and the result 42",
    ),
    "KEY-06": Example(
        "a running task R that holds the key 'k'",
        "its owner commits `complete` while another client enqueues N with the key 'k'",
        "the other client gets R and N is not stored, or it gets N and N is stored",
    ),
    "KEY-07": Example(
        "an active task with the key 'User-1'",
        "a client enqueues a task with the key 'user-1'",
        "the new task is stored, because the two keys differ",
    ),
    "KEY-08": Example(
        "30 tasks without a key, with the same name and arguments",
        "a client enqueues them in one batch",
        "all 30 are stored",
    ),
    "KEY-09": Example(
        "a failed task A with the key 'k', and an active task B that holds the key now",
        "a client commits `revive` for A",
        "the answer is empty, and both tasks are as they were",
    ),
    "KEY-30": Example(
        "failed tasks A and B, and an active task that holds the key of A",
        "a client commits `revive` for both",
        "the answer is the id of B, and B is pending",
    ),
    "KEY-10": Example(
        "a running task R that holds the key 'k'",
        "its owner commits a `fail` with a retry in an hour, and a client enqueues the key",
        "the answer is R with `is_new` false",
    ),
    "KEY-11": Example(
        "a failed task A with the key 'k', and an active task B that holds the key now",
        "a client deletes A, and enqueues the key",
        "the answer is B with `is_new` false",
    ),
    "KEY-12": Example(
        "a task with a key that has been running for 30 days",
        "a client enqueues a task with that key",
        "the answer is the running task",
    ),
    "CLM-01": Example(
        "a pending task under fence 0, with `attempt` 0",
        "the worker 'w' claims it at 12:00",
        "the task is running under fence 1, with `attempt` 1, and `started_at` and `heartbeat_at` 12:00",
    ),
    "CLM-02": Example(
        "one pending task, and four workers",
        "all four claim at the same moment",
        "one worker gets the task, and the other three get nothing",
    ),
    "CLM-03": Example(
        "A with the priority 0, due at 10:00; B with 0, due at 10:01; C with 9, due at 10:02",
        "a worker claims up to three tasks at 11:00",
        "the answer is C, A, B",
    ),
    "CLM-04": Example(
        "a task that is due at 12:00:00.000000",
        "a worker claims at 11:59:59.999999",
        "the answer is empty, and the task is as it was",
    ),
    "CLM-05": Example(
        "a scheduled task that is due at 12:00",
        "a worker claims at 12:00, and no other call was made since the task was enqueued",
        "the answer is the task",
    ),
    "CLM-06": Example(
        "nine tasks that match",
        "a worker claims with the limit 5",
        "the answer has five tasks",
    ),
    "CLM-07": Example(
        "one task in the queue 'mail', and one in the queue 'Mail'",
        "a worker claims from the queue 'mail'",
        "the answer is the first task alone",
    ),
    "CLM-08": Example(
        "3,000 tasks of a higher priority in the queue 'other', and one task in the queue 'default'",
        "a worker claims one task from the queue 'default'",
        "the answer is that one task",
    ),
    "CLM-09": Example(
        "a pending task under fence 2",
        "a worker claims it by id under fence 0",
        "the answer is empty, and the task is as it was",
    ),
    "CLM-10": Example(
        "a task that was claimed under fence 1, and is pending again under fence 2",
        "a worker claims it",
        "its fence is 3",
    ),
    "CLM-11": Example(
        "a running task whose owner has been silent for a day",
        "a worker claims without ids",
        "the answer is empty: recovery has to move the task first",
    ),
    "CLM-30": Example(
        "two pending tasks, one in the queue 'mail' and one in the queue 'other'",
        "a worker claims from the queue 'mail'",
        "the task in 'other' is as it was, field for field",
    ),
    "CLM-12": Example(
        "the first of two pending tasks, which the unfinished claim of another client has locked",
        "a worker claims up to two tasks",
        "the claim returns the second task, before the other claim has ended",
    ),
    "CLM-13": Example(
        "a pending task under fence 0",
        "a claim with a limit of 10 names it twice under that fence",
        "the answer has it once, under fence 1",
    ),
    "CLM-14": Example(
        "the queues 'a:b', 'a%b' and 'a_b'",
        "a client claims from 'a_b'",
        "it gets the tasks of 'a_b' alone",
    ),
    "CLM-15": Example(
        "3,000 pending tasks",
        "a claim names all of them by id",
        "it takes all of them, in the order of claiming",
    ),
    "CLM-16": Example(
        "three pending tasks",
        "a client claims with a limit of 2^64",
        "it gets all three",
    ),
    "OWN-01": Example(
        "a running task under fence 3",
        "its earlier owner, which claimed it under fence 1, commits `complete`",
        "the answer is empty",
    ),
    "OWN-02": Example(
        "a running task under fence 3",
        "its earlier owner, which claimed it under fence 1, commits `requeue`",
        "the answer is empty",
    ),
    "OWN-03": Example(
        "a running task under fence 3 without progress",
        "its earlier owner commits `complete` over fence 1, with progress",
        "the stored task is running under fence 3, without progress",
    ),
    "OWN-04": Example(
        "a batch of A, which the client owns, and B, which it has lost",
        "the client commits `complete` for both",
        "the answer is the id of A alone",
    ),
    "OWN-05": Example(
        "a running task that two clients have read under fence 1",
        "one commits `complete` and the other `cancel`, at the same moment",
        "one of them gets the id of the task, and the other one gets an empty answer",
    ),
    "OWN-06": Example(
        "a running task under fence 1",
        "a client commits a record of it with the fence 3",
        "the answer is empty, and the task is as it was",
    ),
    "OWN-07": Example(
        "a running task under fence 1, for which five heartbeats with progress were sent",
        "its owner commits `complete`",
        "the task is completed under fence 2",
    ),
    "OWN-08": Example(
        "a running task under fence 1",
        "one commit has `complete` for it, and after that `fail`",
        "the stored task is completed under fence 2",
    ),
    "HBT-01": Example(
        "a running task under fence 1 with the progress 50",
        "its owner sends a heartbeat under fence 1 at 12:00, without progress",
        "`heartbeat_at` is 12:00, the progress is still 50, and every other field is as it was",
    ),
    "HBT-02": Example(
        "A, which runs under fence 1, and B, which runs under fence 3",
        "a client sends heartbeats for both under fence 1",
        "the answer is the id of A alone",
    ),
    "HBT-03": Example(
        "a running task under fence 3",
        "its earlier owner sends a heartbeat under fence 1, with progress",
        "the stored record is as it was, field for field",
    ),
    "HBT-04": Example(
        "a running task with a fresh heartbeat",
        "its owner commits `null_heartbeat`, and another client looks for stale tasks",
        "the answer has the task",
    ),
    "HBT-30": Example(
        "a running task under fence 1 whose owner commits `null_heartbeat`",
        "the owner sends a heartbeat under fence 1",
        "the answer is empty, and the task still has no heartbeat",
    ),
    "HBT-05": Example(
        "a running task under fence 1",
        "a batch has two heartbeats for it, with progress 10 and then 20",
        "the answer names it once, and its progress is 20",
    ),
    "REC-01": Example(
        "a window of 60 s, and running tasks with heartbeats at 11:59:00.000000 and 11:58:59.999999",
        "a client looks for tasks that are stale at 12:00",
        "the answer is the second task alone",
    ),
    "REC-02": Example(
        "stale tasks A with a heartbeat at 10:01, B with one at 10:00, and C without one",
        "a client looks for up to two stale tasks",
        "the answer is C, B",
    ),
    "REC-03": Example(
        "a stale task that a recoverer has read",
        "its owner sends a heartbeat, and the recoverer then commits `lose_heartbeat` with `stale`",
        "the answer is empty, and the task is still running",
    ),
    "REC-04": Example(
        "stale tasks A and B that a recoverer has read, and A that its owner has completed since",
        "the recoverer commits `lose_heartbeat` for both, with `stale`",
        "the answer is the id of B alone",
    ),
    "REC-30": Example(
        "a stale task that four recoverers have read",
        "all four commit `lose_heartbeat` for it at the same moment",
        "one of them gets the id of the task, and the fence is one higher than before",
    ),
    "REC-05": Example(
        "a task with `max_recoveries` 1 that was claimed for the first time, and is stale",
        "it is recovered, claimed again, and recovered again",
        "it is pending with `attempt` 0 after the first recovery, and failed after the second",
    ),
    "REC-06": Example(
        "a stale task that a recoverer has read, and that its owner has completed since",
        "the recoverer commits `lose_heartbeat`",
        "the answer is empty, and the task is still completed",
    ),
    "REC-07": Example(
        "a task that was claimed at 12:00 with `stale_after` 5 s",
        "a client whose query has a window of 30 s looks for tasks that are stale at 12:00:06",
        "the answer has the task",
    ),
    "REC-08": Example(
        "tasks with the windows 5 s and 3,600 s, both silent for a day",
        "a client looks for stale tasks with `longest` 20 s",
        "the answer has the first task, and not the second",
    ),
    "REC-09": Example(
        "1,200 stale tasks that a recoverer has read",
        "the owner of the last one sends a heartbeat, and the recoverer commits",
        "the commit moves 1,199 tasks, and that one stays running",
    ),
    "CAN-01": Example(
        "a scheduled task under fence 0",
        "a client commits `cancel` for it",
        "the stored task is cancelled under fence 1",
    ),
    "CAN-30": Example(
        "a pending task under fence 0 that an operator cancels",
        "a worker claims it by id, under whatever fence",
        "the answer is empty",
    ),
    "CAN-02": Example(
        "a running task under fence 1 that an operator cancels",
        "its owner sends the next heartbeat under fence 1",
        "the answer does not have the id of the task",
    ),
    "EXP-01": Example(
        "a pending task that expires at 12:00:00.000000",
        "a worker claims at 12:00:00.000000",
        "the answer is empty",
    ),
    "EXP-30": Example(
        "1,500 overdue tasks of a higher priority, and twelve others",
        "a worker claims one task",
        "the answer is one of the twelve: the first in the order of claiming",
    ),
    "EXP-02": Example(
        "a task that expires at 12:00, was claimed at 11:00, and was requeued at 11:30",
        "a worker claims at 12:00",
        "the answer is empty",
    ),
    "EXP-03": Example(
        "waiting tasks A and B that expire at 12:00 and 11:00, and C that expires at 12:01",
        "a client looks for tasks that are overdue at 12:00",
        "the answer is B, A",
    ),
    "RET-01": Example(
        "a completed task under fence 2, and a failed task that was revived since a client read it",
        "the client deletes both, under the fences that it read",
        "the answer is the id of the completed task, and the revived task is still stored",
    ),
    "RET-02": Example(
        "a running task under fence 1",
        "a client deletes it under fence 1",
        "the answer is empty, and the task is as it was",
    ),
    "RET-03": Example(
        "tasks that finished at 10:00, 11:00 and 12:00",
        "a client looks for tasks that finished before 12:00",
        "the answer has the first two, the one of 10:00 first",
    ),
    "RET-04": Example(
        "a completed task that a client has deleted",
        "another client calls `get`, `find` and `count`",
        "the task is in none of the answers",
    ),
    "RET-05": Example(
        "a completed task under fence 2",
        "a deletion names it under fence 1 and under fence 2",
        "the task is deleted, and the answer names it once",
    ),
    "STA-01": Example(
        "a queue with two pending tasks and one running task",
        "the owner commits `complete` for the running task, and a client counts",
        "the counts of the queue are two pending and one completed",
    ),
    "STA-02": Example(
        "a failed task in the queue 'mail', and a failed and a pending task in the queue 'default'",
        "a client looks for failed tasks in the queue 'default'",
        "the answer is the one task that is both",
    ),
    "STA-03": Example(
        "a pending task, and scheduled tasks that are due at 12:00 and 13:00",
        "a client calls `next_due`",
        "the answer is 12:00",
    ),
    "STA-04": Example(
        "tens of thousands of tasks, three of which are failed",
        "a client searches for failed tasks",
        "it finds the three, the newest first",
    ),
    "LCK-01": Example(
        "a free lock 'leader', and four clients",
        "all four call `lock` at the same moment, each as another owner",
        "one call returns True, and the other three return False",
    ),
    "LCK-02": Example(
        "a lock that the owner 'a' took at 12:00:00 for 30 s",
        "the owner 'b' calls `lock` at 12:00:29.999999, and again at 12:00:30",
        "the first call returns False, and the second returns True",
    ),
    "LCK-03": Example(
        "a lock that the owner 'a' took at 12:00:00 for 30 s",
        "'a' calls `lock` again at 12:00:20, and 'b' calls it at 12:00:40",
        "'a' gets True and 'b' gets False: the lock ends at 12:00:50",
    ),
    "LCK-04": Example(
        "a lock that the owner 'a' holds",
        "'b' calls `unlock`, and then 'a' calls it",
        "'b' gets False, 'a' gets True, and the lock is free",
    ),
    "LCK-05": Example(
        "the locks 'Nightly' and 'nightly'",
        "two clients take one each",
        "both have theirs",
    ),
    "RCD-01": Example(
        "a named record that is stored with the version 1",
        "a client writes it with the version 3, and then with the version 2",
        "the first write is not stored, and the second is",
    ),
    "RCD-02": Example(
        "a named record that is stored with the version 1, and four clients",
        "all four write the version 2 at the same moment, each with its own value",
        "one client gets the name of the record, and its value is stored",
    ),
    "RCD-03": Example(
        "the named records 's:a', 's:b' and 'S:c'",
        "a client calls `read_records('s:')`",
        "the answer is 's:a' and 's:b'",
    ),
    "SCM-01": Example(
        "a store with a running task, and a lock that an owner holds",
        "a client calls `create_schema` again",
        "the call returns, and the task and the lock are as they were",
    ),
    "SCM-02": Example(
        "a store that nobody has opened yet",
        "eight clients open it at the same moment, and each enqueues a task",
        "every call succeeds, and every client sees all eight tasks",
    ),
    "SCM-03": Example(
        "two stores, and an active task with the key 'k' in the first one",
        "a client enqueues the key 'k' in the second store",
        "the new task is stored there",
    ),
    "SCM-04": Example(
        "a client with four calls of `enqueue_many` under way",
        "the application calls `close`",
        "`close` returns, and each of the four calls ends",
    ),
    "SCM-30": Example(
        "a client that has claimed a task",
        "it closes, and another client calls `get` with the id of the task",
        "the answer is the running task, as the first client left it",
    ),
    "SCM-05": Example(
        "a backend with `process_local` false",
        "another process opens the store, and reads a task",
        "it gets the task",
    ),
    "SCM-06": Example(
        "a store whose table of locks was dropped",
        "a client opens it with `create_schema`",
        "the table is there, and `lock` works",
    ),
    "SCM-07": Example(
        "a client that was opened, used and closed",
        "somebody counts the threads, descriptors and sessions",
        "there are as many as before it was opened",
    ),
    "SCM-08": Example(
        "a store with ten tasks, one index of which was dropped",
        "a client opens it with `create_schema`",
        "the index is there, and the ten tasks are as they were",
    ),
    "SCM-09": Example(
        "a process that has enqueued four tasks, claimed two and completed one of them",
        "it is killed, and a new client opens the store",
        "`get` returns two pending tasks, a running and a completed one",
    ),
    "ERR-01": Example(
        "a client in the middle of an `enqueue_many`",
        "its connection is cut",
        "the call returns all of its answers, or raises a `BackendError`",
    ),
    "ERR-02": Example(
        "a client whose connections were cut",
        "it calls `claim` again and again",
        "the calls soon return what a client with new connections gets",
    ),
    "ERR-03": Example(
        "an `enqueue_many` of one task that the store has taken",
        "its reply is lost on the way",
        "the task is stored once, and the call returns it or raises an error",
    ),
    "ERR-04": Example(
        "a client whose store was stopped",
        "it calls `claim`",
        "the call raises `BackendUnavailableError`",
    ),
    "ERR-05": Example(
        "a store that is read-only for a while",
        "a client calls `enqueue_many`",
        "the call raises `BackendUnavailableError`, and nothing is stored",
    ),
    "ERR-06": Example(
        "a client whose store was read-only, and is not any more",
        "it calls `enqueue_many`",
        "the task is stored",
    ),
    "CLK-01": Example(
        "a target that declares `server_clock` absent, and a client whose clock is an hour fast",
        "the client calls `now`",
        "the answer is an hour fast",
    ),
    "CLK-02": Example(
        "a target that declares `server_clock`, and a client whose clock is an hour fast",
        "it claims a task that is due in half an hour, without `now`",
        "the answer is empty",
    ),
    "CLK-03": Example(
        "a client whose local time zone is Tokyo's",
        "it calls `now` at 03:00 UTC",
        "the answer is 03:00 UTC",
    ),
    "CLK-04": Example(
        "a task that is due at 12:00, and was seen as due at 12:01",
        "the clock goes back to 11:00, and a client claims",
        "the answer is empty",
    ),
    "NTF-01": Example(
        "a client that gets no hints",
        "another client enqueues three tasks, and the first one claims",
        "it gets all three",
    ),
    "NTF-02": Example(
        "a target that declares no notifications",
        "a client reads `wakeups`",
        "the value is None",
    ),
    "NTF-03": Example(
        "a worker that waits for hints for the queue 'q'",
        "a client enqueues a task in 'q', and the worker gets the hint and claims",
        "the worker gets the task",
    ),
    "NTF-04": Example(
        "a worker that waits for hints, and a running task",
        "the owner commits `complete` for the task",
        "the worker gets no hint",
    ),
    "NTF-05": Example(
        "a worker that waits for hints for the queues 'q1', 'q2' and 'q3'",
        "a client enqueues one batch of 90 tasks, 30 in each queue",
        "the worker gets one hint",
    ),
    "NTF-06": Example(
        "a worker in another process that waits for hints for the queues 'x' and 'q'",
        "a client sends a hint for the queue 'q'",
        "the worker wakes",
    ),
    "NTF-07": Example(
        "a worker that waits for hints, and whose connections to the server are cut",
        "a client sends hints until the deadline",
        "the worker gets one of them, without being opened anew",
    ),
    "NTF-08": Example(
        "a client to which nobody sends hints",
        "it waits for 50 ms",
        "`wait` returns False",
    ),
    "NTF-30": Example(
        "a client in which a worker waits for hints for an hour",
        "the application closes the client",
        "`close` returns at once, and the wait ends",
    ),
    "BLK-01": Example(
        "2,500 tasks that differ in every field",
        "a client enqueues them in one batch",
        "each of the 2,500 answers is in its place, and is what the task would get alone",
    ),
    "BLK-02": Example(
        "a batch of 1,200 tasks, of which 400 are stored already",
        "a client enqueues the batch",
        "`is_new` is true for all, and 1,200 tasks are stored",
    ),
    "BLK-03": Example(
        "a client that enqueues a batch of 1,500 tasks",
        "another client counts them again and again meanwhile",
        "each of its counts is 0 or 1,500",
    ),
    "BLK-04": Example(
        "a batch of 6,000 tasks, every second of which has a key",
        "a client enqueues it while another counts",
        "the counts are 0 and 6,000, and nothing between",
    ),
    "BLK-05": Example(
        "3,000 running tasks",
        "their owner completes all of them in one commit while another client counts",
        "the counts of completed tasks are 0 and 3,000, and nothing between",
    ),
    "ARW-01": Example(
        "a table whose columns stand in the reverse order",
        "a client enqueues 1,200 tasks, and claims and commits some",
        "each answer is the one that the backend's own table gives",
    ),
    "ARW-02": Example(
        "a table to which the application has added a column",
        "a client enqueues 1,200 tasks, and claims and commits some",
        "each answer is the one that the backend's own table gives",
    ),
    "TXN-01": Example(
        "an open transaction in which the application has enqueued a task",
        "another client calls `get` with the id of the task",
        "the answer is empty",
    ),
    "TXN-30": Example(
        'a transaction in which the application enqueued a task with the metadata `{"m": 1}`',
        "the transaction commits, and another client reads the task",
        "it gets the record of `records.admit`, with its metadata",
    ),
    "TXN-02": Example(
        "a transaction in which the application enqueued a task with the key 'k'",
        "the transaction rolls back, and another client enqueues the key 'k'",
        "the second task is stored, and is the only one",
    ),
    "TXN-03": Example(
        "a running task R that holds the key 'k'",
        "the application enqueues the key 'k' in a transaction",
        "the answer is R with `is_new` false",
    ),
    "TXN-04": Example(
        "a backend that is bound to a session, and has enqueued a task there",
        "the application calls `close` of the backend, and rolls the transaction back",
        "the task is not stored",
    ),
    "TXN-05": Example(
        "a worker that waits for hints, and a transaction in which the application enqueued a task",
        "the transaction commits",
        "the worker gets a hint",
    ),
    "TXN-31": Example(
        "a worker that waits for hints, and a transaction in which the application enqueued a task",
        "the transaction rolls back",
        "the worker gets no hint",
    ),
    "TXN-06": Example(
        "a transaction that has enqueued a task with a free key",
        "another client enqueues that key and is done first, and the transaction commits",
        "the commit raises an error, or its task is stored",
    ),
    "TXN-07": Example(
        "a transaction that has enqueued a task",
        "the bound backend calls `get` for it, and another client does, too",
        "the first finds it, and the second does not",
    ),
    "TXN-08": Example(
        "a transaction, and a backend that is bound to it",
        "the bound backend calls `claim`",
        "it raises `QueueConfigurationError`, and the tasks are as they were",
    ),
    "TXN-09": Example(
        "a transaction that has enqueued a task with a key, and was rolled back",
        "another client enqueues that key",
        "it gets its own task as new, at once",
    ),
    "TXN-10": Example(
        "a transaction that has enqueued one task and deleted another",
        "it rolls back",
        "the first task is not stored, and the second is",
    ),
    "EXE-01": Example(
        "one pending task, and four dispatchers",
        "all four reserve at the same moment",
        "one dispatcher gets the task, and the other three get nothing",
    ),
    "EXE-02": Example(
        "a pending task under fence 4, with `attempt` 1 and the reference of an earlier run",
        "a dispatcher reserves it",
        "the task is dispatched under fence 5, with `attempt` 1 and without a reference",
    ),
    "EXE-03": Example(
        "A with the priority 0 and B with the priority 9, both pending",
        "a dispatcher reserves one task",
        "the answer is B",
    ),
    "EXE-04": Example(
        "a running task under fence 1",
        "a dispatcher reserves it by id under fence 1",
        "the answer is empty, and the task is as it was",
    ),
    "EXE-05": Example(
        "a dispatched task whose reservation ran out an hour ago",
        "a worker claims without ids",
        "the answer is empty, and the task is as it was",
    ),
    "EXE-06": Example(
        "a dispatched task under fence 1, whose reference is not stored yet",
        "its run claims it by id under fence 1",
        "the run gets the task, running under fence 2",
    ),
    "EXE-07": Example(
        "a dispatched task under fence 3 that was reserved under fence 1 before",
        "the run of the earlier reservation claims it by id under fence 1",
        "the answer is empty, and the task is as it was",
    ),
    "EXE-08": Example(
        "a dispatched task under fence 1, and four runs",
        "all four claim it by id under fence 1 at the same moment",
        "one run gets the task, and the other three get nothing",
    ),
    "EXE-09": Example(
        "a dispatched task with the reference 'run-1'",
        "a run claims it by id with the `execution_ref` 'run-2'",
        "the stored reference is 'run-2'",
    ),
    "EXE-10": Example(
        "a dispatched task with the reference 'run-1'",
        "a run claims it by id without an `execution_ref`",
        "the stored reference is still 'run-1'",
    ),
    "EXE-11": Example(
        "a dispatched task under fence 1 without a reference",
        "its dispatcher commits `dispatch` with the reference 'run-1'",
        "the stored task is dispatched under fence 2, with the reference 'run-1'",
    ),
    "EXE-12": Example(
        "a task that was dispatched under fence 1, and was cancelled since",
        "its dispatcher commits `dispatch` over fence 1",
        "the answer is empty, and the task is still cancelled, without a reference",
    ),
    "EXE-13": Example(
        "a dispatched task under fence 1",
        "its run claims it while its dispatcher commits `dispatch`, both over fence 1",
        "the run gets the task or the reference is stored, and not both",
    ),
    "EXE-14": Example(
        "a dispatched task D that holds the key 'k'",
        "a client enqueues the key 'k'",
        "the answer is D with `is_new` false",
    ),
    "EXE-15": Example(
        "a dispatched task under fence 1",
        "a client sends a heartbeat under fence 1 at 12:00, with `stale_after` 7.5 s",
        "`heartbeat_at` is 12:00, `stale_after` is 7.5 s, and every other field is as it was",
    ),
    "EXE-16": Example(
        "a dispatched task under fence 3",
        "an earlier dispatcher sends a heartbeat under fence 1",
        "the task is as it was",
    ),
    "EXE-17": Example(
        "dispatched tasks with `stale_after` 60 s, last heard of at 11:59:00.000000 and 11:58:59.999999",
        "a client looks for tasks that are silent at 12:00",
        "the answer is the second task alone",
    ),
    "EXE-18": Example(
        "silent dispatched tasks of the execution backends 'local' and 'cloudrun'",
        "a client looks for silent tasks of 'cloudrun'",
        "the answer is the second task alone",
    ),
    "EXE-19": Example(
        "silent dispatched tasks A with a heartbeat at 10:01, B with one at 10:00, and C without one",
        "a client looks for up to two silent tasks",
        "the answer is C, B",
    ),
    "EXE-20": Example(
        "a dispatched task that its dispatcher snoozes until 12:00",
        "a worker claims at 12:00",
        "the answer is the task",
    ),
    "EXE-21": Example(
        "a dispatched task without a heartbeat",
        "a client looks for stale tasks",
        "the answer is empty",
    ),
    "EXE-22": Example(
        "a dispatched task without a heartbeat",
        "a client commits `lose_heartbeat` for it, with `stale`",
        "the answer is empty, and the task is as it was",
    ),
    "EXE-23": Example(
        "a task that was cancelled while it was dispatched",
        "its run claims it by id, under whatever fence",
        "the answer is empty",
    ),
    "EXE-24": Example(
        "a dispatched task under fence 1 that expires at 12:00:00.000000",
        "its run claims it by id under fence 1 at 12:00:00.000000",
        "the answer is empty, and the task is as it was",
    ),
    "EXE-25": Example(
        "a dispatched task that expires at 11:00, and a pending task that expires at 12:00",
        "a client looks for tasks that are overdue at 12:00",
        "the answer is both, the dispatched task first",
    ),
    "EXE-26": Example(
        "a dispatched task under fence 1",
        "a client deletes it under fence 1",
        "the answer is empty, and the task is as it was",
    ),
    "EXE-27": Example(
        "three pending tasks",
        "a dispatcher reserves one of them, and a client counts",
        "the counts are two pending and one dispatched",
    ),
    "EXE-28": Example(
        "a task that its dispatcher diverted from 'cloudrun' to 'local'",
        "a worker claims for the execution backend 'local'",
        "the answer is the task",
    ),
    "EXE-29": Example(
        "a task that its dispatcher diverted from 'cloudrun' to 'local'",
        "a dispatcher reserves for the execution backend 'cloudrun'",
        "the answer is empty, and the task is as it was",
    ),
    "EXE-30": Example(
        "a dispatched task that expired an hour ago by the store's clock",
        "its run claims it by id without `now`",
        "the answer is empty",
    ),
    "EXE-31": Example(
        "a target that declares `dispatch`",
        "a client reads `dispatches`",
        "the value is True",
    ),
    "EXE-32": Example(
        "a dispatched task under fence 1, with `attempt` 0",
        "its run claims it by id under fence 1",
        "the task is running under fence 2, with `attempt` 1",
    ),
    "SCH-01": Example(
        "a schedule with one fire that is due, and four schedulers",
        "all four look at the same moment",
        "one occurrence of the fire is stored, and the schedule counts one",
    ),
    "SCH-02": Example(
        "a scheduler that ended after it enqueued the fire of 10:00, and before it noted that",
        "another scheduler looks",
        "one occurrence of the fire of 10:00 is stored",
    ),
    "SCH-03": Example(
        "a fire whose occurrence has completed, which a slow scheduler does not know",
        "the slow scheduler enqueues the fire",
        "the occurrence is as it was: completed",
    ),
    "SCH-04": Example(
        "a schedule that a scheduler has read, and that a person has paused since",
        "the scheduler writes the schedule as it read it",
        "the write is not stored, and the schedule is still paused",
    ),
    "SCH-05": Example(
        'a schedule with `catch_up="skip"`, and three fires that were missed',
        "a scheduler looks",
        "no occurrence is stored, and the schedule notes three fires as skipped",
    ),
    "SCH-06": Example(
        'a schedule with `catch_up="once"`, and missed fires of 10:00, 11:00 and 12:00',
        "a scheduler looks",
        "one occurrence is stored, with the id of the fire of 10:00",
    ),
    "SCH-07": Example(
        'a schedule with `catch_up="all"` and `catch_up_limit` 10, and 14 fires that were missed',
        "a scheduler looks",
        "the occurrences of the latest ten fires are stored",
    ),
    "SCH-08": Example(
        'a schedule with `overlap="skip"` whose last occurrence still runs',
        "its next fire comes due, and a scheduler looks",
        "no new occurrence is stored",
    ),
    "SCH-09": Example(
        'a schedule with `overlap="allow"` whose last occurrence still runs',
        "its next fire comes due, and a scheduler looks",
        "the occurrence of that fire is stored",
    ),
    "SCH-10": Example(
        'a schedule with `overlap="queue"`, an occurrence that runs, and fires of 11:00 and 12:00 that wait',
        "the occurrence completes, and a scheduler looks",
        "the occurrence of 11:00 is stored, and that of 12:00 is not",
    ),
    "SCH-11": Example(
        "a schedule that fires at every hour, is paused at 10:30, and is resumed at 12:30",
        "a scheduler looks at 13:00",
        "the fire of 13:00 has an occurrence, and those of 11:00 and 12:00 have none",
    ),
    "SCH-12": Example(
        "a schedule that is paused",
        "an operator calls `run_now`",
        "one task of the schedule is stored, and can be claimed at once",
    ),
    "SCH-13": Example(
        "a schedule at 02:30 in Berlin, where the clock goes from 02:00 to 03:00 on 30 March 2031",
        "a scheduler looks every half hour",
        "one occurrence is stored for that day, due at 03:00",
    ),
    "SCH-14": Example(
        "a schedule at every half hour in Berlin, where the hour from 02:00 comes twice on 26 October 2031",
        "a scheduler looks every half hour",
        "02:00 and 02:30 have two occurrences each",
    ),
    "SCH-15": Example(
        "a schedule whose last occurrence has failed",
        "its next fire comes due, and a scheduler looks",
        "the occurrence of that fire is stored",
    ),
    "SCH-16": Example(
        "a schedule whose occurrences have the key 'k', which another task holds at 10:00 and not at 11:00",
        "a scheduler looks at 10:00 and at 11:00",
        "the fire of 10:00 is skipped, and that of 11:00 has an occurrence",
    ),
    "SCH-17": Example(
        "a schedule that fires at every hour",
        "a person changes it to every three hours at 10:30",
        "the fire of 10:00 has an occurrence, and the fires after 10:30 are three hours apart",
    ),
    "SCH-18": Example(
        "a schedule that fires at every hour, and whose fire of 10:00 is due",
        "a person removes it at 10:30",
        "the fire of 10:00 has an occurrence, and that of 11:00 has none",
    ),
    "SCH-19": Example(
        "a first and a second version of the code, both of which have been synchronised",
        "a worker with the first version starts again",
        "the stored schedules are still those of the second version",
    ),
    "SCH-20": Example(
        "two new versions of the code that declare other schedules",
        "workers of both start at the same moment",
        "the stored schedules are those of one version: the one that was numbered last",
    ),
    "SCH-21": Example(
        "an occurrence that completed, and whose fire the schedule has not noted yet",
        "a worker deletes everything that has ended",
        "the occurrence is still stored",
    ),
    "SCH-22": Example(
        "an occurrence whose fire the schedule has noted, and which completed 23 hours ago",
        "a worker deletes everything that has ended",
        "the occurrence is still stored",
    ),
    "SCH-23": Example(
        "six occurrences that have to be kept, and seven other tasks that have ended",
        "a worker deletes everything that has ended, two tasks at a time",
        "the seven tasks are deleted, and the six occurrences are stored",
    ),
    "SCH-24": Example(
        "two stores that each have a schedule with the name 's'",
        "a scheduler of the first store looks",
        "occurrences are stored in the first store, and none in the second",
    ),
    "SCH-25": Example(
        "a scheduler that took the lock for 15 s at 12:00:00, and ended",
        "another scheduler looks at 12:00:15",
        "it fires the schedules that are due",
    ),
    "SCH-26": Example(
        "the schedules 'nightly' and 'Nightly', both due",
        "a scheduler looks",
        "each of them has an occurrence",
    ),
    "SCH-27": Example(
        "a schedule with a name of 200 characters, and arguments of 60,000 characters",
        "a client writes it, and another client reads it",
        "it gets the same schedule, field for field",
    ),
    "SCH-28": Example(
        "a schedule with the queue 'reports' and the priority -7, and a fire at 10:00 that is due",
        "a scheduler looks",
        "the stored occurrence has that queue and that priority, and names the fire of 10:00",
    ),
    "CST-01": Example(
        "a store with 100,000 finished tasks and ten that are due",
        "a client claims the ten",
        "it reads a bounded multiple of what it reads in a store with the ten alone",
    ),
    "CST-02": Example(
        "a client that has made 1,000 calls",
        "it makes 1,000 more",
        "it takes as much memory as before",
    ),
}
"""The example of every guarantee, by its id."""
