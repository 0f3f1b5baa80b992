"""Saboteurs of the scripts: that each still has something to break, and each script somebody who breaks it."""

from __future__ import annotations

import pytest

from litestar_queues_conformance.guarantees import AREAS, GUARANTEES
from litestar_queues_conformance.saboteurs import ORDER
from litestar_queues_conformance.target import load_target
from litestar_queues_matrix import hosted
from litestar_queues_matrix.saboteurs import NothingToBreak
from litestar_queues_matrix.saboteurs.__main__ import plan, suspect
from litestar_queues_matrix.saboteurs.redis import BENIGN, SABOTEURS, Edited, Suspect

ALL: dict[str, type[Suspect]] = {**SABOTEURS, **BENIGN}
WHOLE = Edited().all()


def changed(backend: type[Suspect]) -> set[str]:
    edited = Edited()
    backend().edit(edited)
    return {name for name, script in edited.all().items() if script.digest != WHOLE[name].digest}


@pytest.mark.parametrize("name", ALL)
def test_every_saboteur_has_something_to_break_and_says_what(name: str) -> None:
    backend = ALL[name]
    assert changed(backend)
    assert (backend.__doc__ or "").strip().endswith(".")
    assert type(load_target(backend.target_name("valkey9"))) is backend
    assert set(backend.areas) <= set(AREAS)


@pytest.mark.parametrize("name", SABOTEURS)
def test_every_saboteur_is_judged_by_its_own_guarantee_and_those_that_could_come_first(name: str) -> None:
    backend = SABOTEURS[name]
    assert backend.guarantee is not None
    assert GUARANTEES[backend.guarantee].area in backend.areas
    judged = suspect(backend, "valkey9")
    assert judged.ids is not None
    assert judged.ids[-1] == backend.guarantee
    assert [ORDER.index(id_) for id_ in judged.ids] == sorted(ORDER.index(id_) for id_ in judged.ids)


def test_every_script_that_decides_has_a_saboteur() -> None:
    touched = [names for backend in SABOTEURS.values() if len(names := changed(backend)) < len(WHOLE)]
    assert set(WHOLE) - set().union(*touched) == {"count", "get", "now", "read_named"}


def test_a_saboteur_that_has_nothing_to_break_says_so() -> None:
    with pytest.raises(NothingToBreak, match=r"claim\.lua"):
        Edited().replace("claim", "what is not there")


def test_they_run_on_both_servers_and_on_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosted, "find_spec", lambda _name: True)
    env = {"LITESTAR_QUEUES_VALKEY9_URL": "valkey://h:1/0", "LITESTAR_QUEUES_POSTGRESQL15_URL": "postgresql://h:1/d"}
    runs = plan(["valkey9"], ["SmallPieces", "KEY-04"], env).runs
    assert [backend.__name__ for _, backend in runs] == ["FreesNoKey", "SmallPieces"]
    assert not plan(["postgresql15"], ["SmallPieces"], env).runs
