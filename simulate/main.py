"""Runs many seeds in several processes of this machine, and says which broke which rule."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor

from simulate.faults import Kind
from simulate.rules import RULES
from simulate.simulation import Outcome, Setting, simulate

__all__ = ("main",)

_SHOWN, _PER_RUN, _LISTED = 10, 5, 200
"""How many runs are shown, with how many violations each, and how many seeds are listed."""
_DEFAULT = Setting()


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 1 where a rule was broken."""
    parser = argparse.ArgumentParser(prog="simulate/run.py", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="how many")
    parser.add_argument("--from", type=int, default=0, dest="first", help="the first seed")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes of this machine to use")
    parser.add_argument("--seed", type=int, help="this one alone")
    parser.add_argument("--trace", action="store_true", help="with --seed: all that happened, in order")
    parser.add_argument("--kinds", nargs="*", choices=list(Kind), default=list(Kind), help="the kinds of faults")
    parser.add_argument("--most", type=int, default=_DEFAULT.most, help="the most faults of a run")
    parser.add_argument("--no-noise", action="store_true", help="no single call goes wrong")
    parser.add_argument("--one-window", action="store_true", help="one application alone")
    parser.add_argument(
        "--schedules", type=int, default=0, help="how many schedules a run has; %(default)s unless given"
    )
    parser.add_argument(
        "--hours", type=float, default=None, help="of faults; 100 seconds, or 2 hours with --schedules, unless given"
    )
    options = parser.parse_args(arguments)
    if options.hours is None:
        options.hours = 2 if options.schedules else _DEFAULT.seconds / 3600
    setting = Setting(
        kinds=tuple(map(Kind, options.kinds)),
        most=options.most,
        noise=not options.no_noise,
        windows=not options.one_window,
        schedules=options.schedules,
        seconds=3600 * options.hours,
    )
    seeds = range(options.first, options.first + options.seeds) if options.seed is None else [options.seed]
    # Text is hashed alike in every process of this run and the next one: the order of some sets depends on it.
    os.environ["PYTHONHASHSEED"] = "0"
    began = time.perf_counter()
    jobs = min(options.jobs, len(seeds)) or 1
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        trace = options.trace and options.seed is not None
        outcomes = pool.map(_One(setting, trace=trace), seeds, chunksize=1 if trace else 10)
        return _report(outcomes, replay=_replay(options), began=began)


class _One:
    """One seed, in a process of this machine."""

    def __init__(self, setting: Setting, *, trace: bool) -> None:
        self._setting, self._trace = setting, trace

    def __call__(self, seed: int) -> Outcome:
        return simulate(seed, self._setting, trace=self._trace)


def _replay(options: argparse.Namespace) -> str:
    """What makes a seed mean the same again."""
    words: list[str] = []
    if len(options.kinds) < len(Kind):
        words += ["--kinds", *options.kinds]
    if options.most != _DEFAULT.most:
        words += ["--most", str(options.most)]
    words += ["--no-noise"] * options.no_noise + ["--one-window"] * options.one_window
    if options.schedules:
        words += ["--schedules", str(options.schedules), "--hours", f"{options.hours:g}"]
    return " ".join(["nox -s simulate --", *words])


def _report(outcomes: Iterable[Outcome], *, replay: str, began: float) -> int:
    broken, hit, sums, failing = Counter[str](), Counter[str](), Counter[str](), list[int]()
    for outcome in outcomes:
        sums.update(
            runs=1,
            tasks=outcome.tasks,
            executions=outcome.executions,
            faults=outcome.faults,
            seconds=round(outcome.seconds),
        )
        broken.update(violation.rule for violation in outcome.violations)
        hit.update({violation.rule for violation in outcome.violations})
        if outcome.violations:
            failing.append(outcome.seed)
        if outcome.trace or (outcome.violations and len(failing) <= _SHOWN):
            _show(outcome, replay)
    _print(
        f"{sums['runs']} runs in {time.perf_counter() - began:.1f} s: {sums['seconds']:,} virtual seconds, {sums['tasks']:,} "
        f"tasks, {sums['executions']:,} executions, {sums['faults']:,} faults"
    )
    for rule, meaning in RULES.items():
        if broken[rule]:
            _print(f"  {rule}: {broken[rule]} times in {hit[rule]} runs ({meaning})")
    _print(f"{len(failing)} of {sums['runs']} runs broke a rule")
    if len(failing) > _SHOWN:
        _print(f"their seeds: {' '.join(map(str, failing[:_LISTED]))}{' ...' if len(failing) > _LISTED else ''}")
    return 1 if failing else 0


def _show(outcome: Outcome, replay: str) -> None:
    """A run that broke a rule, and how to have it again; or the trace of one."""
    for line in outcome.trace:
        _print(line)
    _print(f"seed {outcome.seed}, trace {outcome.digest}: {len(outcome.violations)} violations")
    for violation in outcome.violations[: None if outcome.trace else _PER_RUN]:
        _print(f"    {violation.rule}: {violation.text}")
    if outcome.violations:
        _print(f"    again: {replay} --seed {outcome.seed} --trace")


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")
