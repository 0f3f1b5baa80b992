"""Run the suite against backends on servers that are wrong on purpose: `python -m litestar_queues_matrix.saboteurs`.

Each server is started once, for all that run on it. Against a saboteur run the cases of its own guarantee, and those of
every other that could name it first: those before its own in `saboteurs.ORDER`, in the areas that it touches. With
`--whole`, all do that the saboteurs in memory meet.

The exit code is 1 where a saboteur survives or another guarantee is first, where a benign backend breaks anything, and
where a server was asked for that cannot be had.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from litestar_queues_conformance.cases import CASES
from litestar_queues_conformance.examine import Suspect
from litestar_queues_conformance.guarantees import GUARANTEES
from litestar_queues_conformance.saboteur_run import add_options, conclude
from litestar_queues_conformance.saboteurs import ORDER
from litestar_queues_matrix.saboteurs import BENIGN, SABOTEURS, Benign, Saboteur, redis
from litestar_queues_matrix.servers import SERVERS, Product, ServerRow, ServerUnavailable, find_first, rows_of

__all__ = ("AUTO", "Plan", "main", "plan", "suspect")

AUTO = "auto"
Backend = type[Saboteur | Benign] | type[redis.Suspect]
_PRODUCTS = (Product.POSTGRESQL, Product.MYSQL, Product.MARIADB, Product.VALKEY, Product.REDIS)
_BUILD = Path("build") / "saboteurs-sql.json"


@dataclass(frozen=True, slots=True)
class Plan:
    """Who is run on which server, and who is not, with the reason."""

    runs: tuple[tuple[str, Backend], ...]
    not_run: tuple[str, ...]


def suspect(backend: Backend, server: str, *, whole: bool = False, both_times: bool = False) -> Suspect:
    """The backend on a server, as the suite is run against it."""
    guarantee = _guarantee(backend)
    areas = tuple(area for area in CASES if area != "machine")
    before = ORDER if guarantee is None else ORDER[: ORDER.index(guarantee) + 1]
    ids = tuple(id_ for id_ in before if GUARANTEES[id_].area in backend.areas)
    return Suspect(
        name=f"{backend.__name__}@{server}",
        target=backend.target_name(server),
        defect=(backend.__doc__ or "").strip().splitlines()[0],
        guarantee=guarantee,
        areas=areas,
        ids=None if whole else ids,
        time="both" if both_times or guarantee is None else backend.time,
    )


def plan(servers: Sequence[str], only: Sequence[str], env: Mapping[str, str]) -> Plan:
    """Choose, without starting anything.

    Args:
        servers: Names of servers and products, or `AUTO` for the best of each product that is here.
        only: The names of backends and guarantees, if not all.
        env: The environment variables.

    Raises:
        ServerUnavailable: One that was asked for cannot be had.
    """
    rows: list[ServerRow] = []
    not_run: list[str] = []
    for name in servers:
        if name != AUTO:
            rows.append(find_first(_fitting(name), env).row)
            continue
        for product in _PRODUCTS:
            try:
                rows.append(find_first(rows_of(product), env, docker=False).row)
            except ServerUnavailable as error:
                not_run.append(f"{product}: {str(error).splitlines()[0]}")
    backends: dict[str, Backend] = {**SABOTEURS, **BENIGN, **redis.SABOTEURS, **redis.BENIGN}
    runs: list[tuple[str, Backend]] = []
    for row in dict.fromkeys(rows):
        for backend in backends.values():
            guarantee = _guarantee(backend)
            wanted = {backend.__name__, guarantee, GUARANTEES[guarantee].area if guarantee else None}
            if row.product not in backend.products() or (only and wanted.isdisjoint(only)):
                continue
            name = f"{backend.__name__}@{row.name}"
            if (harmless := backend.harmless_on.get(row.product)) is not None:
                not_run.append(f"{name}: it is no defect there: {harmless}")
            elif (reason := backend(row.name).unavailable(env)) is not None:
                not_run.append(f"{name}: {reason}")
            else:
                runs.append((row.name, backend))
    return Plan(tuple(runs), tuple(not_run))


def _guarantee(backend: Backend) -> str | None:
    """The one that has to catch it first; None where nothing may be broken."""
    return getattr(backend, "guarantee", None)


def _fitting(name: str) -> tuple[ServerRow, ...]:
    rows = tuple(row for row in rows_of(name) if row.product in _PRODUCTS)
    if not rows:
        fitting = ", ".join(row.name for row in SERVERS if row.product in _PRODUCTS)
        raise ServerUnavailable(f"there are no saboteurs for {name}, but for: {fitting}")
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; see the module."""
    parser = argparse.ArgumentParser(
        prog="python -m litestar_queues_matrix.saboteurs", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument(
        "--server",
        action="append",
        metavar="NAME",
        help="postgresql18, mysql, ...; or auto; repeatable (default: auto)",
    )
    parser.add_argument("--whole", action="store_true", help="run every case, to see all that each of them breaks")
    parser.add_argument("--list", action="store_true", help="print who would run where, and run nothing")
    add_options(parser, build=_BUILD)
    options = parser.parse_args(arguments)
    try:
        chosen = plan(options.server or [AUTO], options.only or (), os.environ)
    except ServerUnavailable as error:
        parser.error(str(error))
    for text in chosen.not_run:
        sys.stdout.write(f"not run: {text}\n")
    part, parts = options.part
    runs = chosen.runs[part - 1 :: parts]
    if not runs:
        parser.error("nothing is left to run")
    suspects = [
        suspect(backend, server, whole=options.whole, both_times=options.both_times) for server, backend in runs
    ]
    if options.list:
        sys.stdout.write("".join(f"{one.guarantee or 'benign'} {one.name}: {one.defect}\n" for one in suspects))
        return 0
    with ExitStack() as running:
        for server, backend in runs:
            variables = running.enter_context(backend(server).serve(os.environ))
            os.environ.update(variables)
            for name in variables:
                running.callback(os.environ.pop, name, None)
        return conclude(suspects, options, exempt={})


if __name__ == "__main__":
    sys.exit(main())
