"""Saboteurs of the SQL backends: that each still has something to break, and the runner's plans. No server is needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from litestar_queues.backends.sql.families import MYSQL, POSTGRES
from litestar_queues_conformance.examine import Verdict, markdown
from litestar_queues_conformance.guarantees import AREAS, GUARANTEES
from litestar_queues_conformance.saboteurs import EXEMPT, ORDER
from litestar_queues_conformance.target import Target, load_target
from litestar_queues_matrix.saboteurs import BENIGN, SABOTEURS, NothingToBreak, Statements
from litestar_queues_matrix.saboteurs.__main__ import main, plan, suspect
from litestar_queues_matrix.saboteurs.base import Benign, Saboteur
from litestar_queues_matrix.servers import ServerUnavailable, rows_of

ALL: dict[str, type[Saboteur | Benign]] = {**SABOTEURS, **BENIGN}
URLS = {
    "postgresql": "postgresql://u@127.0.0.1:1/d",
    "mysql": "mysql://u@127.0.0.1:1/d",
    "mariadb": "mysql://u@127.0.0.1:1/d",
}


def broken(backend: type[Saboteur | Benign]) -> tuple[Any, dict[str, str]]:
    """The adapter's row and the statements with the defect, and what they are without it."""
    target: Any = backend()
    made = target.base.sqlspec_config({"url": URLS[target.base.rows[0].product], "table": "t"})
    store, statements = target._broken(made, "t")
    return store, {name: one.text for name, one in statements.items()}


@pytest.mark.parametrize("name", ALL)
def test_every_saboteur_has_something_to_break(name: str) -> None:
    backend = ALL[name]
    store, statements = broken(backend)
    whole = {n: one.text for n, one in Statements(POSTGRES if "postgres" in name else MYSQL, "t").all().items()}
    defect = (
        statements != whole
        or vars(backend).keys() & {"engine", "backend", "family", "store", "_connection"}
        or bool(backend.zones)
    )
    assert defect, "nothing is wrong with it"
    assert store.family.swapping is None


@pytest.mark.parametrize("name", ALL)
def test_every_saboteur_can_be_named_and_says_what_it_does(name: str) -> None:
    backend = ALL[name]
    target: Target = load_target(backend.target_name(backend().base.rows[0].name))
    assert type(target) is backend
    assert (backend.__doc__ or "").strip().endswith(".")
    assert set(backend.areas) <= set(AREAS)


@pytest.mark.parametrize("name", SABOTEURS)
def test_every_saboteur_is_judged_by_its_own_guarantee_and_those_that_could_come_first(name: str) -> None:
    backend = SABOTEURS[name]
    made = suspect(backend, "postgresql18")
    assert made.ids is not None
    assert made.ids[-1] == backend.guarantee, "nothing that would come later is needed"
    assert {GUARANTEES[id_].area for id_ in made.ids} <= set(backend.areas)
    assert suspect(backend, "postgresql18", whole=True).ids is None


def test_what_memory_cannot_break_is_broken_in_sql() -> None:
    assert set(EXEMPT) <= {one.guarantee for one in SABOTEURS.values()}
    assert set(EXEMPT) <= set(ORDER)


def test_a_replacement_that_finds_nothing_is_an_error() -> None:
    statements = Statements(POSTGRES, "t")
    with pytest.raises(NothingToBreak, match="no statement of the postgres family holds 'NOWAIT'"):
        statements.replace("NOWAIT", "")
    with pytest.raises(NothingToBreak, match="'get' of the postgres family does not hold 'SKIP LOCKED'"):
        statements.drop("SKIP LOCKED", "claim", "get")
    with pytest.raises(NothingToBreak, match="'absent'"):
        statements.drop("SKIP LOCKED", "absent")


def test_a_replacement_changes_the_statements_named_and_no_others() -> None:
    statements, whole = Statements(MYSQL, "t"), Statements(MYSQL, "t").all()
    statements.drop("SKIP LOCKED", "claim_lock")
    changed = [name for name, one in statements.all().items() if one != whole[name]]
    assert changed == ["claim_lock"]


def test_a_server_that_is_asked_for_and_missing_is_an_error(tmp_path: Path) -> None:
    env = {rows_of("postgresql15")[0].bin_variable: str(tmp_path)}
    with pytest.raises(ServerUnavailable, match="postgresql15"):
        plan(["postgresql15"], [], env)
    with pytest.raises(ServerUnavailable, match="no saboteurs for oracle, but for: postgresql18"):
        plan(["oracle"], [], {})
    with pytest.raises(SystemExit) as ended:
        main(["--server", "oracle"])
    assert ended.value.code == 2


def test_what_would_be_no_defect_on_a_server_is_not_run_there_with_the_reason() -> None:
    env = {rows_of("mariadb10.11")[0].url_variable: URLS["mariadb"], rows_of("mysql9")[0].url_variable: URLS["mysql"]}
    on_mariadb, on_mysql = (
        plan([server], ["RewritesJson", "SecondsOnly"], env) for server in ("mariadb10.11", "mysql9")
    )
    assert [backend.__name__ for _, backend in on_mariadb.runs] == ["SecondsOnly"]
    assert on_mariadb.not_run == (
        "RewritesJson@mariadb10.11: it is no defect there: its JSON is LONGTEXT by another name",
    )
    assert [backend.__name__ for _, backend in on_mysql.runs] == ["SecondsOnly", "RewritesJson"]
    assert on_mysql.not_run == ()


def test_the_kill_matrix_names_the_server_and_the_mode_of_time() -> None:
    verdict = Verdict(
        name="Some@postgresql18",
        defect="Something is wrong.",
        guarantee="KEY-01",
        broken=("KEY-01", "KEY-03"),
        otherwise=(),
        example="",
        passed=1,
        seconds=0.0,
        server="PostgreSQL 18.1",
        times=("store",),
    )
    assert "| KEY-01 | `Some@postgresql18` | Something is wrong. | store | KEY-03 | PostgreSQL 18.1 |" in markdown(
        [verdict], {}
    )
