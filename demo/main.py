"""The demo: a server, workers, a thousand tasks; a worker killed, another one frozen and woken; then the account."""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx

from demo.audit import Account, Store, judge
from demo.needs import CONFORMANCE, told_what_is_missing
from demo.orders import Order, enqueue, plan
from demo.patience import SLOW, NotFoundOut, Patience, slowness
from demo.processes import END, DemoError, Processes, Worker, ended
from demo.show import Show, described

__all__ = ("main",)

ROOT = Path(__file__).parents[1]
BACKEND = "aiosqlite"
PATIENCE = 60.0
"""Seconds in which nothing may move before the demo goes on, on a machine that has nothing else to do."""
ANSWER = 300.0
"""Seconds in which the server answers a request, however slow the machine is."""
_NO_REUSE = httpx.Limits(max_keepalive_connections=0)
"""The server closes connections that idle; a slow client would meet them closed."""
TOO_SLOW = 7
"""The exit code where nothing is wrong, and something was not found out."""
HISTORIES = 80
"""How many the state machine is asked for; it draws half as many by the store's own time."""
CONFORMANCE_PATIENCE = 300.0
"""The same for the suite, which says from time to time how far it is."""
FEWEST = 60


class Demo:
    """One run.

    Args:
        tasks: How many tasks to enqueue.
        out: Where the summary and the logs go.
        folder: Where the database is.
    """

    def __init__(self, tasks: int, out: Path, folder: Path) -> None:
        self.out = out
        self.show = Show()
        self.store = Store(folder)
        logs = out / "logs"
        shutil.rmtree(logs, ignore_errors=True)
        logs.mkdir(parents=True)
        self.processes = Processes(folder, logs)
        self.enqueued: dict[str, str] = {}
        self.repeats = 0
        self.orders = plan(tasks)
        self.must_be_recovered: set[str] = set()
        self.problems: list[str] = []
        self.not_found_out: list[str] = []
        """What the machine was too slow for."""

    async def run(self, *, conformance: bool) -> int:
        """The exit code: 0 where nothing was lost and every guarantee was kept, 7 where the machine was too slow to say."""
        account = await self._tasks()
        guarantees = await self._guarantees() if conformance else None
        return self._conclude(account, guarantees)

    async def _tasks(self) -> Account:
        total = len(self.orders)
        first, second, rest = (
            self.orders[: total // 3],
            self.orders[total // 3 : 2 * total // 3],
            self.orders[2 * total // 3 :],
        )
        self.show.section("A server and two workers")
        workers = [self.processes.start_worker() for _ in range(2)]
        server, url = await self.processes.start_server()
        self.show.say(
            f"Litestar on {url} (process {server.pid}), SQLite in a temporary folder\n{workers[0]}\n{workers[1]}"
        )
        async with (
            httpx.AsyncClient(base_url=url, timeout=ANSWER, limits=_NO_REUSE) as client,
            self.show.progress(total, self.store.states),
        ):
            self.show.section("A worker is killed while it holds tasks (SIGKILL)")
            await self._enqueue(client, first)
            await self._kill_one()
            self.show.section("A worker is frozen until others have done its tasks (SIGSTOP), then woken (SIGCONT)")
            await self._enqueue(client, second)
            await self._freeze_one()
            self.show.section("All workers do the rest")
            await self._enqueue(client, rest)
            await self._until("every task has ended", self._all_ended, self._unended)
        await self._stop(server)
        return self._account()

    async def _enqueue(self, client: httpx.AsyncClient, orders: Sequence[Order]) -> None:
        did = await enqueue(client, orders)
        self.enqueued |= did.tasks
        self.repeats += did.repeats
        self.show.say(
            f"{len(did.tasks)} tasks are enqueued over HTTP: {did.singly} one by one, {did.in_batches} in {did.batches} batches, "
            f"{did.delayed} of them delayed;\n{did.repeats} more requests repeated a key, and got the task that holds it"
        )

    async def _kill_one(self) -> None:
        victim, held = await self.processes.freeze_a_holder(self.store, at_least=2)
        self.processes.kill(victim)
        self.must_be_recovered |= held.keys()
        self.show.say(f"{victim} is killed, holding {len(held)} tasks; {self.processes.start_worker()} replaces it")
        await self._until("the killed worker's tasks are recovered", lambda: self._taken_over(held))
        self.show.say(
            f"their heartbeats stopped, so that others have recovered them, to run again:\n{described(sorted(held))}"
        )

    async def _freeze_one(self) -> None:
        zombie, held = await self.processes.freeze_a_holder(self.store, at_least=2)
        self.must_be_recovered |= held.keys()
        self.show.say(f"{zombie} is frozen, holding {len(held)} tasks; its heartbeats stop")
        if not await self._until("the others have done them", lambda: self._done_by_others(zombie, held)):
            zombie.process.send_signal(signal.SIGCONT)
            return
        before = self.store.rows(held)
        zombie.process.send_signal(signal.SIGCONT)
        self.show.say(f"others have done them all; {zombie} is awake, and believes that it still holds them")
        await self._until("it has learnt of every loss", lambda: held.keys() <= self._lost_by(zombie))
        losses = [event for event in self.store.events("fence_loss", zombie.pid) if event["task_id"] in held]
        refused = sum(event["state"] != "running" for event in losses)
        after = self.store.rows(held)
        changed = [id_ for id_ in held if after[id_] != before[id_]]
        self.problems += [f"task {id_} was changed by {zombie}, which had lost it" for id_ in changed]
        self.show.say(
            f"{len(losses)} fence losses: {refused} outcomes that it wrote were refused, {len(losses) - refused} tasks it "
            f"was told to stop;\n{len(held) - len(changed)} of {len(held)} rows are byte for byte what the successors wrote"
        )

    def _taken_over(self, held: dict[str, Any]) -> bool:
        return all(row["fence"] > held[id_]["fence"] for id_, row in self.store.rows(held).items())

    def _done_by_others(self, zombie: Worker, held: dict[str, Any]) -> bool:
        rows = self.store.rows(held).values()
        return all(row["finished_at"] is not None and f":{zombie.pid}:" not in row["worker"] for row in rows)

    def _lost_by(self, zombie: Worker) -> set[str]:
        return {event["task_id"] for event in self.store.events("fence_loss", zombie.pid)}

    def _all_ended(self) -> bool:
        return not self._unended()

    def _unended(self) -> dict[str, int]:
        return {state: n for state, n in self.store.states().items() if state in ("pending", "scheduled", "running")}

    async def _until(self, what: str, holds: Callable[[], bool], details: Callable[[], object] = str) -> bool:
        patience = Patience(PATIENCE, self.store.moves)
        while not holds():
            self.processes.check()
            if patience.is_over():
                # The account will say what is lost. What only takes longer than it should is not.
                late = self.not_found_out if patience.slowness >= SLOW else self.problems
                late.append(f"waited in vain until {what}, {patience} {details()}".rstrip())
                return False
            await asyncio.sleep(0.1)
        return True

    async def _stop(self, server: Any) -> None:
        codes = await self.processes.drain()
        for worker, code in codes.items():
            if code == -signal.SIGKILL:
                self.not_found_out.append(f"{worker} did not end in time when it was told to, and was killed")
            elif code:
                self.problems.append(f"{worker} drained with exit code {code}")
        server.terminate()
        await ended(server, Patience(END))

    def _account(self) -> Account:
        self.show.section("The account, read by Python's own sqlite3")
        account = judge(self.store, self.enqueued, all_ended=not self.not_found_out)
        missed = self.must_be_recovered - set(account.recovered)
        self.problems += [f"task {id_} was held by a dead worker, and is not reported as recovered" for id_ in missed]
        self.problems += account.wrong
        self.not_found_out += [
            f"task {id_} failed: no heartbeat of its workers came in time" for id_ in account.starved
        ]
        self.show.say(
            f"enqueued {account.enqueued:,}  completed {account.completed:,}  failed {account.failed:,} (made to fail)"
            f"  lost {len(account.lost)}\n"
            f"ran more than once {account.retried:,}, of them recovered from dead or frozen workers "
            f"{len(account.recovered)}\n"
            f"fence losses {account.fence_losses}; outcomes of lost owners accepted {len(account.overwritten)}"
        )
        return account

    async def _guarantees(self) -> dict[str, Any] | None:
        self.show.section(f"What the backend promises: pytest --backend={BACKEND} --queue-time=once")
        self.show.say(
            f"Each case once, by the store's own time as in production, and the state machine with {HISTORIES // 2} histories: the "
            f"whole suite is `pytest --backend={BACKEND}`"
        )
        path = self.out / "conformance.json"
        path.unlink(missing_ok=True)
        # The suite by its name: pytest would import the conftest of every test of the checkout otherwise.
        command = ["-m", "pytest", "--pyargs", "litestar_queues_conformance", f"--backend={BACKEND}"]
        command += [f"--report-json={path}", "--queue-time=once", "-q", "-p", "no:cacheprovider"]
        if find_spec("xdist") is not None:
            command += ["-n", "2"]
        log = self.processes.logs / "conformance.log"
        started = time.monotonic()
        suite = self.processes.start(log.name, *command, env={"LITESTAR_QUEUES_EXAMPLES": str(HISTORIES)})
        async with self.show.waiting("the conformance suite runs", lambda: _percentage(log)):
            await ended(suite, Patience(CONFORMANCE_PATIENCE, lambda: log.stat().st_size))
        if not path.exists():
            self.problems.append(f"the conformance suite did not start: see {log}")
            return None
        report: dict[str, Any] = json.loads(path.read_text())
        self.show.guarantees(report)
        self.show.say(f"{promises(report)}, in {len(report['cases'])} cases and {time.monotonic() - started:.0f} s")
        self.judge(report, suite.returncode, log)
        return report

    def judge(self, report: Mapping[str, Any], returncode: int | None, log: Path) -> None:
        """Note what the report says against the backend, and what the suite did not find out."""
        whole = report["ended"] == "complete"
        if not whole:
            self.not_found_out.append(f"the suite did not come to its end ({report['ended']}): see {log}")
        for one in report["guarantees"].values():
            unasked = one["profile"] == "scale"  # which is measured with an option alone
            if one["result"] == "broken" or (whole and one["result"] == "not run" and not unasked):
                self.problems.append(f"{one['id']} {one['result']}: {one['reason']} (see {log})")
            elif one["result"] == "not found out":
                self.not_found_out.append(f"{one['id']} not found out: {one['reason']}")
        if whole and returncode not in {0, TOO_SLOW} and not report["summary"]["broken"]:
            self.problems.append(f"pytest ended with exit code {returncode}: see {log}")

    def _conclude(self, account: Account, report: dict[str, Any] | None) -> int:
        guarantees = {} if report is None else {id_: one["result"] for id_, one in report["guarantees"].items()}
        summary = {
            "enqueued": account.enqueued,
            "completed": account.completed,
            "failed": account.failed,
            "recovered": len(account.recovered),
            "fence_losses": account.fence_losses,
            "lost": len(account.lost),
            "guarantees": guarantees,
            "recovered_ids": account.recovered,
            "lost_ids": account.lost,
            "refused_outcomes": account.refused_outcomes,
            "repeated_keys": self.repeats,
            "backend": BACKEND,
            "seconds": round(self.show.seconds, 1),
            "problems": self.problems,
            "not_found_out": self.not_found_out,
        }
        path = self.out / "summary.json"
        path.write_text(json.dumps(summary, indent=2) + "\n")
        for text in [*self.problems, *self.not_found_out][:20]:
            self.show.say(text)
        kept = "guarantees not looked at" if report is None else promises(report)
        slow = ": the machine was too slow" if self.not_found_out else ""
        self.show.verdict(
            "FAILED" if self.problems else "NOT FOUND OUT" if self.not_found_out else "PASSED",
            f"{len(account.lost)} of {account.enqueued:,} tasks lost, {len(account.recovered)} recovered, "
            f"{account.fence_losses} fence losses, {kept}{slow} ({self.show.seconds:.0f} s)  {_short(path)}",
        )
        return 1 if self.problems else TOO_SLOW if self.not_found_out else 0


def promises(report: Mapping[str, Any]) -> str:
    """How many of the guarantees held, as far as each case was run, and what became of the others."""
    counts = report["summary"]
    words = {"broken": "broken", "not found out": "not found out", "not run": "not looked at"}
    more = "".join(f", {counts[result]} {word}" for result, word in words.items() if counts[result])
    held = counts["kept"] + counts["absent"] + counts["incomplete"]  # incomplete, because each case was run once
    return f"{held} of {sum(counts.values())} guarantees held{more}"


def _percentage(log: Path) -> str:
    """How far pytest says it is."""
    found = re.findall(r"\[ *\d+%\]", log.read_text(errors="replace"))
    return str(found[-1]) if found else ""


def _short(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="A server, workers, and a thousand tasks that survive what befalls them."
    )
    parser.add_argument("--tasks", type=int, default=1000, metavar="N", help="how many tasks (1000)")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "build" / "demo", metavar="DIR", help="for summary.json and logs"
    )
    parser.add_argument("--skip-conformance", action="store_true", help="leave the conformance suite out")
    given = parser.parse_args()
    if given.tasks < FEWEST:
        parser.error(f"--tasks must be at least {FEWEST}: fewer are done before a worker can be caught holding some")
    return given


def _is_late(error: Exception) -> bool:
    """Whether requests alone have failed: by their time limit, or by the server's, on a machine that is slow."""
    if isinstance(error, ExceptionGroup):
        inner: tuple[Exception, ...] = error.exceptions  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]  # of any errors
        return all(_is_late(one) for one in inner)
    if isinstance(error, httpx.TimeoutException):
        return True
    return isinstance(error, (httpx.TransportError, httpx.HTTPStatusError)) and slowness() >= SLOW


async def _run(given: argparse.Namespace, folder: Path) -> int:
    demo = Demo(given.tasks, given.out.resolve(), folder)
    running = asyncio.ensure_future(demo.run(conformance=not given.skip_conformance))
    received: list[signal.Signals] = []

    def interrupt(number: signal.Signals) -> None:
        received.append(number)
        running.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, interrupt, number)
    try:
        return await running
    except asyncio.CancelledError:
        demo.show.verdict("FAILED", f"interrupted by {received[0].name}; every process of the demo is ended")
        return 128 + received[0]
    except (NotFoundOut, httpx.TimeoutException) as error:
        demo.show.verdict("NOT FOUND OUT", f"{error or type(error).__name__}: the machine was too slow")
        return TOO_SLOW
    except (DemoError, httpx.HTTPError, ExceptionGroup) as error:
        if _is_late(error):
            demo.show.verdict("NOT FOUND OUT", "the server did not do what it was asked: the machine was too slow")
            return TOO_SLOW
        demo.show.verdict("FAILED", f"{type(error).__name__}: {error}")
        return 1
    finally:
        demo.processes.end_all()


def main() -> int:
    """Run the demo; its exit code."""
    if sys.platform == "win32":
        sys.stderr.write("The demo freezes a process with SIGSTOP, which Windows does not have.\n")
        return 2
    given = _arguments()
    if not given.skip_conformance and (missing := told_what_is_missing(*CONFORMANCE)) is not None:
        sys.stderr.write(missing)
        return 2
    folder = Path(tempfile.mkdtemp(prefix="litestar-queues-demo-"))
    try:
        with suppress(KeyboardInterrupt):
            return asyncio.run(_run(given, folder))
        return 130
    finally:
        shutil.rmtree(folder, ignore_errors=True)
