"""What CI leaves out in one turn runs in another."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from itertools import chain
from pathlib import Path

import pytest

from litestar_queues_matrix.__main__ import pairs, selected

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / ".ci" / "run"
EVERYWHERE = ("postgresql18", "postgresql15", "mariadb10.11", "mysql9")
"""The servers that each of their backends is run on."""
ONE_IS_ENOUGH = ("cockroach-standin-", "oracle-standin", "alchemy-oracle-standin")
"""Stand-ins, which run on PostgreSQL 18 alone."""


def patterns(name: str) -> list[str]:
    """The words of an array of the script."""
    found = re.search(rf"^{name}=\(([^)]*)\)", SCRIPT.read_text(encoding="utf-8"), re.MULTILINE)
    assert found is not None, name
    return found[1].replace("'", " ").split()


def test_every_backend_runs_on_every_kind_of_server_in_some_turn() -> None:
    not_installed = {pair for pair in pairs() if "@" not in pair}  # its driver: then its servers are not known here
    named = chain.from_iterable(patterns(name) for name in ("always", "turn_0", "turn_1", "turn_2"))
    run = set(selected([one for one in named if one.partition("@")[0] not in not_installed]))
    wanted = {
        pair
        for pair in pairs()
        if (server := pair.partition("@")[2]) in EVERYWHERE
        and not (server == "postgresql15" and pair.startswith(ONE_IS_ENOUGH))
    }
    assert wanted - run == set()
    assert {"redis@valkey9", "valkey@redis7"} <= run


def test_every_backend_that_needs_no_server_runs_in_some_turn_and_by_both_times() -> None:
    found = re.search(r"^TARGETS = \(([^)]*)\)", (ROOT / "noxfile.py").read_text(encoding="utf-8"), re.MULTILINE)
    assert found is not None
    targets = {one.strip().strip('"') for one in found[1].split(",")}
    turns = [patterns(f"suite_{turn}") for turn in "012"]
    assert {"memory", *chain.from_iterable(turns)} == targets
    assert {turn[0] for turn in turns} == {"aiosqlite", "sqlite", "duckdb"}


def test_every_golden_database_is_upgraded_in_some_turn() -> None:
    run = {one.partition("@")[0] for turn in "012" for one in patterns(f"upgrade_{turn}")}
    folders = (ROOT / "tests" / "golden" / "v1").glob("*/data.sql")
    through = {"sqlite": "aiosqlite", "postgres": "asyncpg", "mariadb": "asyncmy"}
    drivers = {"-".join(through.get(part, part) for part in folder.parent.name.split("-")) for folder in folders}
    assert run == drivers | {"redis", "valkey"}


@pytest.mark.parametrize("turn", ["0", "1", "2"])
def test_the_log_ends_with_what_did_not_run(tmp_path: Path, turn: str) -> None:
    (tmp_path / ".ci").mkdir()
    shutil.copy(SCRIPT, tmp_path / ".ci")
    shutil.copy(ROOT / "constraints.txt", tmp_path)
    (tmp_path / "dev.py").write_text("import sys; print('ran', *sys.argv[1:])\n")
    env = {**os.environ, "LITESTAR_QUEUES_TURN": turn}
    done = subprocess.run(["bash", ".ci/run"], cwd=tmp_path, env=env, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    ran, _, left = done.stdout.partition("== Not run in turn")
    [upgraded] = re.findall(r"ran upgrade -- (.*)\n", ran)
    for other in {"0", "1", "2"} - {turn}:
        assert f"LITESTAR_QUEUES_TURN={other}" in left
        for pattern in patterns(f"turn_{other}"):
            assert f"suite on {pattern}\n" in left
            assert f" {pattern} " not in ran
        for name in patterns(f"upgrade_{other}"):
            assert f"upgrade on {name}\n" in left
            assert f"--on={name} " not in f"{upgraded} "
        for name in patterns(f"suite_{other}"):
            assert f"suite without a server on {name}\n" in left
    for pattern in patterns(f"turn_{turn}"):
        assert (f" {pattern} " in ran) != (f"suite on {pattern}\n" in left)
    for name in patterns(f"upgrade_{turn}"):
        assert f"--on={name} " in f"{upgraded} "
    for name in patterns(f"suite_{turn}"):
        assert f" --on={name}" in ran
    named = re.findall(r"saboteurs in memory, part (\d) of 6\n", left)
    [part] = re.findall(r"ran saboteurs -- --part (\d)/6\n", ran)
    assert len({part, *named}) == 4, "one runs, one in each of the other turns, and one in three days"
    assert re.search(r"ran saboteurs -- --server \S+ --part [1-4]/4\n", ran)


def test_a_step_that_fails_fails_ci(tmp_path: Path) -> None:
    (tmp_path / ".ci").mkdir()
    shutil.copy(SCRIPT, tmp_path / ".ci")
    (tmp_path / "dev.py").write_text("import sys; sys.exit(3 * ('lint' in sys.argv))\n")
    done = subprocess.run(["bash", ".ci/run"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert "everything holds" not in done.stdout
