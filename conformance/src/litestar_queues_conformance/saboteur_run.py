"""Run the suite against backends that are wrong on purpose: `python -m litestar_queues_conformance.saboteur_run`.

What is found out about a saboteur: every guarantee that a check of the suite, by name, found broken. It is *caught*
where its own guarantee is among them, and *first*: before all others of them in `saboteurs.ORDER`, in which the special
stand before the general, so that the id names the reason. A case that ended otherwise (an exception, its deadline)
says that something is wrong, but not what: it is reported, and catches nothing.

The exit code is 1 where a saboteur survives or another guarantee is first, where a benign backend breaks anything, and
where a guarantee has neither a saboteur nor a reason for having none.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import multiprocessing
import os
import re
import sys
import tempfile
import time
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest

from litestar_queues_conformance.guarantees import GUARANTEES, Profile
from litestar_queues_conformance.machine import EXAMPLES_VARIABLE, SHRINK_VARIABLE
from litestar_queues_conformance.plugin import CASES
from litestar_queues_conformance.saboteurs import BENIGN, EXEMPT, SABOTEURS, Benign, Saboteur, first

__all__ = ("Verdict", "judge", "main", "run", "uncovered")

SEED = 1
_EXAMPLES = 50
"""How many histories the state machine draws for each backend that it is run on."""
_NAMED = re.compile(r"\bViolation: ([A-Z]{3}-\d{2}): ")
_BUILD = Path("build") / "saboteurs.json"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a run against one backend found out."""

    name: str
    defect: str
    guarantee: str | None
    """The one that has to be first; None where nothing may be broken."""
    broken: tuple[str, ...]
    """The guarantees that a check found broken, in the order of `saboteurs.ORDER`."""
    otherwise: tuple[str, ...]
    """The cases that ended in another way than by a check."""
    example: str
    """What the first check said."""
    passed: int
    seconds: float

    @property
    def first(self) -> str | None:
        """The guarantee that names the reason."""
        return first(self.broken)

    @property
    def right(self) -> bool:
        """Whether the suite said of this backend what it has to say."""
        if self.guarantee is None:
            return not self.broken and not self.otherwise and self.passed > 0
        return self.first == self.guarantee

    @property
    def words(self) -> str:
        """The verdict for people."""
        if self.guarantee is None:
            return "passed" if self.right else f"refused: {', '.join(self.broken) or 'cases ended otherwise'}"
        if self.right:
            return "caught"
        if self.first is None:
            return "survived" if not self.otherwise else "survived: no check named what ended its cases"
        return f"caught under {self.first}, not {self.guarantee}"


def run(name: str, *, seed: int = SEED, areas: Collection[str] | None = None) -> Verdict:
    """Run the suite against one of the backends, in this process.

    Args:
        name: Of a saboteur or a benign backend.
        seed: What everything is drawn from.
        areas: The files of cases, as in `test_key.py` for "key". None means all that may be needed: the state machine
            is left out for the saboteurs that others catch.
    """
    backend: type[Saboteur | Benign] = SABOTEURS[name] if name in SABOTEURS else BENIGN[name]
    guarantee = backend.guarantee if issubclass(backend, Saboteur) else None
    machine = backend.needs_machine if issubclass(backend, Saboteur) else True
    # What breaks the core is caught by the cases of the core.
    left_out = set[str]() if machine else {"test_machine"}
    if guarantee is not None and GUARANTEES[guarantee].profile is Profile.CORE:
        left_out |= {"test_ntf", "test_blk", "test_txn"}
    files = [path for path in sorted(CASES.glob("test_*.py")) if path.stem not in left_out]
    if areas is not None:
        files = [CASES / f"test_{area}.py" for area in areas]
    started = time.monotonic()
    os.environ.setdefault(SHRINK_VARIABLE, "0")
    os.environ.setdefault(EXAMPLES_VARIABLE, str(_EXAMPLES))
    with tempfile.TemporaryDirectory(prefix="saboteur-") as folder:
        report = _suite(backend.target.name, Path(folder), seed=seed, files=files)
    failed = [case for case in report["cases"] if case["outcome"] != "passed"]
    named = {case["case"]: found[1] for case in failed if (found := _NAMED.search(case["message"] or ""))}
    broken = tuple(id_ for id_ in _ordered(set(named.values())))
    example = next((case["message"] for case in failed if named.get(case["case"]) == first(broken)), "")
    return Verdict(
        name=name,
        defect=(backend.__doc__ or "").strip().splitlines()[0],
        guarantee=guarantee,
        broken=broken,
        otherwise=tuple(f"{case['case']}: {case['message']}" for case in failed if case["case"] not in named),
        example=example.partition("Violation: ")[2].splitlines()[0] if example else "",
        passed=len(report["cases"]) - len(failed),
        seconds=round(time.monotonic() - started, 1),
    )


def judge(verdicts: Iterable[Verdict]) -> list[str]:
    """Everything that is not as it has to be, in words."""
    return [f"{verdict.name}: {verdict.words}" for verdict in verdicts if not verdict.right]


def uncovered() -> list[str]:
    """The guarantees that have neither a saboteur nor a reason for having none."""
    covered = {saboteur.guarantee for saboteur in SABOTEURS.values()} | set(EXEMPT)
    return [id_ for id_ in GUARANTEES if id_ not in covered]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; see the module."""
    parser = argparse.ArgumentParser(prog="saboteur_run", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", action="append", metavar="ID", help="a guarantee, or a backend's name; repeatable")
    parser.add_argument("--jobs", type=int, default=min(os.cpu_count() or 1, 8), metavar="N")
    parser.add_argument("--seed", type=int, default=SEED, metavar="N")
    parser.add_argument("--markdown", type=Path, metavar="PATH", help="write the kill matrix there too")
    parser.add_argument("--json", type=Path, default=_BUILD, metavar="PATH", help=f"default: {_BUILD}")
    options = parser.parse_args(arguments)
    names = [
        *(n for n, one in SABOTEURS.items() if not options.only or n in options.only or one.guarantee in options.only),
        *(n for n in BENIGN if not options.only or n in options.only),
    ]
    if not names:
        parser.error(f"no backend is called, and no saboteur is for: {', '.join(options.only)}")
    order = list(GUARANTEES)
    names.sort(key=lambda n: order.index(SABOTEURS[n].guarantee) if n in SABOTEURS else len(order))
    started = time.monotonic()
    verdicts: list[Verdict] = []
    with ProcessPoolExecutor(options.jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        running = [pool.submit(run, name, seed=options.seed) for name in names]
        for one in as_completed(running):
            verdicts.append(one.result())
            _say(_line(verdicts[-1]))
    verdicts.sort(key=lambda one: names.index(one.name))
    wrong = judge(verdicts)
    if not options.only:
        wrong += [f"{id_} has no saboteur, and no reason for having none" for id_ in uncovered()]
    for id_, reason in EXEMPT.items():
        _say(f"exempt: {id_}, {reason}")
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(_document(verdicts, options.seed), indent=2, ensure_ascii=False) + "\n")
    if options.markdown is not None:
        options.markdown.parent.mkdir(parents=True, exist_ok=True)
        options.markdown.write_text(_markdown(verdicts), encoding="utf-8")
    caught = sum(one.right and one.guarantee is not None for one in verdicts)
    passed = sum(one.right and one.guarantee is None for one in verdicts)
    benign = sum(one.guarantee is None for one in verdicts)
    _say(
        f"{caught} of {len(verdicts) - benign} saboteurs caught under their own id, {passed} of {benign} benign backends "
        f"passed, in {time.monotonic() - started:.0f} s (--seed={options.seed})"
    )
    for text in wrong:
        _say(f"WRONG: {text}")
    return 1 if wrong else 0


def _suite(target: str, folder: Path, *, seed: int, files: Sequence[Path]) -> dict[str, Any]:
    """The report of a run of the suite, in this process and with no other plugin."""
    ini = folder / "pytest.ini"
    ini.write_text("[pytest]\n")
    report = folder / "report.json"
    options = [
        "-c",
        str(ini),
        "-p",
        "no:cacheprovider",
        "-p",
        "litestar_queues_conformance.plugin",
        "-W",
        "ignore",
        "-q",
        "--tb=short",
    ]
    options += [f"--queue-backend={target}", f"--queue-seed={seed}", f"--report-json={report}"]
    before = os.environ.get("PYTEST_DISABLE_PLUGIN_AUTOLOAD")
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            code = pytest.main([*options, *(str(path) for path in files)])
    finally:
        if before is None:
            del os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"]
        else:
            os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = before
    if code not in {pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED}:
        raise RuntimeError(f"the suite did not run against {target} ({code}):\n{said.getvalue()}")
    loaded: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
    return loaded


def _ordered(ids: Iterable[str]) -> list[str]:
    left, ordered = set(ids), list[str]()
    while (least := first(left)) is not None:
        ordered.append(least)
        left.remove(least)
    return ordered


def _line(verdict: Verdict) -> str:
    mark = "ok   " if verdict.right else "WRONG"
    broken = " ".join(verdict.broken)
    more = f" and {len(verdict.otherwise)} cases otherwise" if verdict.otherwise else ""
    return f"{mark} {verdict.guarantee or 'benign'}  {verdict.name:<32} {verdict.words}: {broken}{more} ({verdict.seconds} s)"


def _document(verdicts: list[Verdict], seed: int) -> dict[str, Any]:
    return {
        "format": 1,
        "seed": seed,
        "verdicts": [{**asdict(one), "first": one.first, "right": one.right} for one in verdicts],
        "exempt": EXEMPT,
    }


def _markdown(verdicts: list[Verdict]) -> str:
    """The kill matrix as a table."""
    lines = [
        "| Guarantee | Saboteur | What is wrong with it | Also broken by it |",
        "|---|---|---|---|",
        *(
            f"| {one.guarantee} | `{one.name}` | {one.defect} | {', '.join(one.broken[1:]) or '-'} |"
            for one in verdicts
            if one.guarantee is not None
        ),
        "",
        "| Benign backend | What is odd about it | Verdict |",
        "|---|---|---|",
        *(f"| `{one.name}` | {one.defect} | {one.words} |" for one in verdicts if one.guarantee is None),
    ]
    if EXEMPT:
        lines += ["", "| Without a saboteur | Why |", "|---|---|", *(f"| {k} | {v} |" for k, v in EXEMPT.items())]
    return "\n".join(lines) + "\n"


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
