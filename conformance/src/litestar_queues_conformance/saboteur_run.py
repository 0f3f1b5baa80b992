"""Run the suite against backends in memory that are wrong on purpose: `python -m litestar_queues_conformance.saboteur_run`.

The exit code is 1 where a saboteur survives or another guarantee is first, where a benign backend breaks anything, and
where a guarantee has neither a saboteur nor a reason for having none. It is 7 where nothing is wrong, and some runs have
not found out what they were there for. What is found out, and how: see `examine`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from litestar_queues_conformance.cases import CASES
from litestar_queues_conformance.examine import (
    SEED,
    Suspect,
    Verdict,
    document,
    examine,
    examine_all,
    judge,
    line,
    markdown,
)
from litestar_queues_conformance.guarantees import GUARANTEES, Profile
from litestar_queues_conformance.outcomes import NOT_FOUND_OUT
from litestar_queues_conformance.saboteurs import BENIGN, EXEMPT, SABOTEURS, Benign, Saboteur

__all__ = ("add_options", "conclude", "main", "run", "suspect", "uncovered")

_BUILD = Path("build") / "saboteurs.json"


def suspect(name: str, *, areas: Collection[str] | None = None, both_times: bool = False) -> Suspect:
    """The backend of this name, as the suite is run against it.

    Args:
        name: Of a saboteur or a benign backend.
        areas: The files of cases, as in `test_key.py` for "key". None means all that may be needed: the state machine
            is left out for the saboteurs that others catch.
        both_times: Whether a saboteur meets the cases in both modes of time, and not only in that in which it has to be
            caught.
    """
    backend: type[Saboteur | Benign] = SABOTEURS[name] if name in SABOTEURS else BENIGN[name]
    guarantee = backend.guarantee if issubclass(backend, Saboteur) else None
    machine = backend.needs_machine if issubclass(backend, Saboteur) else True
    # What breaks the core is caught by the cases of the core.
    left_out = set[str]() if machine else {"machine"}
    profile = None if guarantee is None else GUARANTEES[guarantee].profile
    if profile in (Profile.CORE, Profile.SCHEDULING):
        left_out |= {"ntf", "blk", "thousands", "txn", "exe"}
    if profile not in (None, Profile.SCHEDULING):
        left_out.add("sch")
    if profile in (Profile.CORE, Profile.SCHEDULING):
        left_out.add("bound")
    if areas is None:
        areas = [area for area in CASES if area not in left_out]
    return Suspect(
        name=name,
        target=backend.target.name,
        defect=(backend.__doc__ or "").strip().splitlines()[0],
        guarantee=guarantee,
        areas=tuple(areas),
        time="both" if both_times or not issubclass(backend, Saboteur) else backend.time,
    )


def run(name: str, *, seed: int = SEED, areas: Collection[str] | None = None) -> Verdict:
    """Run the suite against one of the backends, in this process; see `suspect`."""
    return examine(suspect(name, areas=areas), seed=seed)


def uncovered() -> list[str]:
    """The guarantees that have neither a saboteur nor a reason for having none."""
    covered = {saboteur.guarantee for saboteur in SABOTEURS.values()} | set(EXEMPT)
    return [id_ for id_ in GUARANTEES if id_ not in covered]


def _part(text: str) -> tuple[int, int]:
    part, _, parts = text.partition("/")
    if not (part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts)):
        raise argparse.ArgumentTypeError(f"{text!r} is no part of several: write 1/3, 2/3 or 3/3, for example")
    return int(part), int(parts)


def add_options(parser: argparse.ArgumentParser, *, build: Path) -> None:
    """The options that every command has which runs saboteurs."""
    parser.add_argument(
        "--only", action="append", metavar="ID", help="a guarantee, an area, or a backend's name; repeatable"
    )
    parser.add_argument("--jobs", type=int, default=min(os.cpu_count() or 1, 8), metavar="N")
    parser.add_argument(
        "--both-times",
        action="store_true",
        help="run the cases in both modes of time, and not only in that in which a saboteur has to be caught",
    )
    parser.add_argument("--seed", type=int, default=SEED, metavar="N")
    parser.add_argument(
        "--part", type=_part, default=(1, 1), metavar="K/N", help="every N-th of them, from the K-th on; all by default"
    )
    parser.add_argument("--markdown", type=Path, metavar="PATH", help="write the kill matrix there too")
    parser.add_argument("--json", type=Path, default=build, metavar="PATH", help=f"default: {build}")


def conclude(
    suspects: Sequence[Suspect], options: argparse.Namespace, *, exempt: dict[str, str], missing: Iterable[str] = ()
) -> int:
    """Examine them all, print and write what was found out, and say by the exit code whether it is as it has to be.

    Args:
        suspects: The backends, in the order in which the table has them.
        options: Those of `add_options`.
        exempt: The guarantees without a saboteur, each with the reason.
        missing: What is wrong beforehand, in words.
    """
    started = time.monotonic()
    verdicts: list[Verdict] = []
    for verdict in examine_all(suspects, jobs=options.jobs, seed=options.seed):
        verdicts.append(verdict)
        _say(line(verdict))
    names = [one.name for one in suspects]
    verdicts.sort(key=lambda one: names.index(one.name))
    wrong = [*judge(one for one in verdicts if not one.open), *missing]
    open_ = judge(one for one in verdicts if one.open)
    for id_, reason in exempt.items():
        _say(f"exempt: {id_}, {reason}")
    options.json.parent.mkdir(parents=True, exist_ok=True)
    written = document(verdicts, seed=options.seed, exempt=exempt)
    options.json.write_text(json.dumps(written, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    if options.markdown is not None:
        options.markdown.parent.mkdir(parents=True, exist_ok=True)
        options.markdown.write_text(markdown(verdicts, exempt), encoding="utf-8")
    caught = sum(one.right and one.guarantee is not None for one in verdicts)
    passed = sum(one.right and one.guarantee is None for one in verdicts)
    benign = sum(one.guarantee is None for one in verdicts)
    _say(
        f"{caught} of {len(verdicts) - benign} saboteurs caught under their own id, {passed} of {benign} benign backends "
        f"passed, in {time.monotonic() - started:.0f} s (--seed={options.seed})"
    )
    for text in wrong:
        _say(f"WRONG: {text}")
    for text in open_:
        _say(text)
    return 1 if wrong else NOT_FOUND_OUT if open_ else 0


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; see the module."""
    parser = argparse.ArgumentParser(prog="saboteur_run", description=(__doc__ or "").partition("\n")[0])
    add_options(parser, build=_BUILD)
    options = parser.parse_args(arguments)
    only: set[str] = set(options.only or ())
    names = [
        *(n for n, one in SABOTEURS.items() if not only or only & {n, one.guarantee, GUARANTEES[one.guarantee].area}),
        *(n for n in BENIGN if not only or n in only),
    ]
    if not names:
        parser.error(f"no backend is called, and no saboteur is for: {', '.join(sorted(only))}")
    order = list(GUARANTEES)
    names.sort(key=lambda n: order.index(SABOTEURS[n].guarantee) if n in SABOTEURS else len(order))
    part, parts = options.part
    names = names[part - 1 :: parts]
    missing = [] if options.only else [f"{id_} has no saboteur, and no reason for having none" for id_ in uncovered()]
    suspects = [suspect(name, both_times=options.both_times) for name in names]
    return conclude(suspects, options, exempt=EXEMPT, missing=missing)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
