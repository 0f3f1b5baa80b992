"""Changes one small thing at a time, and shows which changes no test notices."""

from __future__ import annotations

import argparse
import os
import queue
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from mutate import lua, python, sql
from mutate.judge import ROOT, Court, Judge, NoCourt, Result, Verdict
from mutate.mutant import Mutant, sampled
from mutate.results import Book, Key, equivalents, record, summary
from mutate.table import SERVED, TABLE, name_of

__all__ = ("main", "mutants_of", "run")

_LANGUAGES: Mapping[str, Callable[[str, str], list[Mutant]]] = {
    ".py": python.mutants,
    ".sql": sql.mutants,
    ".lua": lua.mutants,
}
_OPEN = (Verdict.SURVIVED, Verdict.NOT_FOUND_OUT)


def mutants_of(file: str, source: str) -> list[Mutant]:
    """Every mutant of a file."""
    return _LANGUAGES[Path(file).suffix](file, source)


def run(
    judge: Judge,
    file: str,
    wanted: Sequence[Mutant],
    book: Book,
    *,
    jobs: int = 1,
    root: Path = ROOT,
    package: str = "litestar_queues",
    environment: Mapping[str, str] | None = None,
    again: bool = False,
    stall: float | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> dict[Key, Verdict]:
    """Judge those mutants that the book has no verdict on; returns the verdicts on all of them.

    Args:
        judge: The tests.
        file: The file, from the root.
        wanted: Its mutants.
        book: Where results are written as they come.
        jobs: How many are run at once.
        root: Of the checkout.
        package: Its package.
        environment: More variables for the runs.
        again: Whether survivors are run again.
        stall: Seconds without the end of a test after which a run is ended.
        say: Takes a line for people.

    Raises:
        NoCourt: The tests do not pass on the package as it is.
    """
    source = (root / file).read_text(encoding="utf-8")
    verdicts = book.read(source)
    waiting: queue.SimpleQueue[Mutant] = queue.SimpleQueue()
    for mutant in wanted:
        if mutant.key not in verdicts or (again and verdicts[mutant.key] in _OPEN):
            waiting.put(mutant)
    jobs = min(jobs, waiting.qsize())
    writing = threading.Lock()
    courts: list[Court] = []
    timing = {} if stall is None else {"stall": stall}

    def work() -> None:
        with (
            tempfile.TemporaryDirectory(prefix="mutants-", ignore_cleanup_errors=True) as folder,
            Court(judge, file, Path(folder), root=root, package=package, environment=environment, **timing) as court,
        ):
            courts.append(court)
            say(f"{file}: {waiting.qsize()} mutants to run; the tests take {court.convene():.1f} s")
            while True:
                try:
                    mutant = waiting.get_nowait()
                except queue.Empty:
                    return
                result = court.judge(mutant.text)
                with writing:
                    verdicts[mutant.key] = result.verdict
                    book.write(mutant, source, result)
                    say(_line(mutant, result))

    with ThreadPoolExecutor(max(jobs, 1)) as pool:
        working = [pool.submit(work) for _ in range(jobs)]
        try:
            for job in working:
                job.result()
        except BaseException:  # what the others run ends, too
            for court in courts:
                court.end()
            raise
    return {mutant.key: verdicts[mutant.key] for mutant in wanted}


def _line(mutant: Mutant, result: Result) -> str:
    by = f"  ({result.by})" if result.by else ""
    return (
        f"{result.verdict.value:<13} {result.seconds:6.1f} s  {mutant.number:>4} {mutant.where}: {mutant.mutation}{by}"
    )


@contextmanager
def _served(judge: Judge) -> Generator[Mapping[str, str]]:
    """Have the server of a judge running, for all of its mutants."""
    if "@" not in judge.target:
        yield {}
        return
    from litestar_queues_conformance.target import load_target  # noqa: PLC0415  # most files need no server
    from litestar_queues_matrix.hosted import Hosted  # noqa: PLC0415

    target = load_target(judge.target)
    if not isinstance(target, Hosted):
        raise TypeError(f"{judge.target} is on no server")
    with target.serve(os.environ) as variables:
        yield variables


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="mutate/run.py", description=__doc__)
    parser.add_argument("--file", action="append", help="a file of the table, by the end of its path; repeatable")
    parser.add_argument("--sample", type=int, default=100, help="how many mutants of a file, at most (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="what the sample is drawn by (%(default)s)")
    parser.add_argument("--jobs", type=int, default=1, help="how many are run at once (%(default)s)")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "build" / "mutants.jsonl", help="the results, and where a run goes on"
    )
    parser.add_argument("--again", action="store_true", help="run the survivors among the results again")
    parser.add_argument("--score", action="store_true", help="run nothing: score those of the sample that have results")
    parser.add_argument("--record", action="store_true", help="write the scores to mutate/results.json, for the docs")
    parser.add_argument("--list", action="store_true", help="print the files and how many mutants they have")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 1 where a mutant survived that is not known to change nothing, 2 where nothing can be judged."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # what it started ends with it
    ends: list[str] = options.file or []
    files = [file for file in TABLE if (any(file.endswith(end) for end in ends) if ends else file not in SERVED)]
    for end in ends:
        if not any(file.endswith(end) for file in files):
            parser.error(f"{end!r} is the end of no file of: {', '.join(map(name_of, TABLE))}")
    if options.list:
        for file in files if ends else TABLE:
            _say(
                f"{len(mutants_of(file, (ROOT / file).read_text(encoding='utf-8'))):>5}  {name_of(file)}: {TABLE[file].words}"
            )
        return 0
    began = time.monotonic()
    known = equivalents()
    left = 0
    for file in files:
        judge, source = TABLE[file], (ROOT / file).read_text(encoding="utf-8")
        every = mutants_of(file, source)
        wanted = sampled(every, options.sample, seed=options.seed)
        book = Book(options.out)
        try:
            if options.score:
                verdicts = book.read(source)
            else:
                with _served(judge) as variables:
                    verdicts = run(
                        judge,
                        file,
                        wanted,
                        book,
                        jobs=options.jobs,
                        environment=variables,
                        again=options.again,
                        say=_say,
                    )
        except NoCourt as error:
            sys.stderr.write(f"{file}: nothing can be judged: {error}\n")
            return 2
        score = summary(judge.words, wanted, verdicts, of=len(every), seed=options.seed, known=known)
        left += len(score["survived"])
        _show(source, [one for one in wanted if verdicts.get(one.key) is Verdict.SURVIVED and one.key not in known])
        counts = ", ".join(
            f"{score[one]} {one}" for one in ("killed", "timed out", "not found out", "invalid", "equivalent")
        )
        _say(f"{name_of(file)}: {score['run']} of {len(every)} mutants: {counts}, {len(score['survived'])} survived")
        if options.record:
            record({name_of(file): score})
    _say(f"{left} survived in {time.monotonic() - began:.0f} s (--seed={options.seed} --sample={options.sample})")
    return 1 if left else 0


def _show(source: str, survivors: Sequence[Mutant]) -> None:
    for mutant in survivors:
        _say(f"\nsurvived: {mutant.where}: {mutant.mutation}\n{mutant.diff(source)}")


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
