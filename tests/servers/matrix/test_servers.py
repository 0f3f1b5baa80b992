from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from litestar_queues_matrix.servers import Product, Server, ServerRow, ServerUnavailable, ask, find, launch, resp, start


def keep(url: str, *numbers: int) -> None:
    """Store numbers, where none were before."""
    if url.startswith(resp.SCHEMES):
        with resp.connected(url) as command:
            for number in numbers:
                command("SADD", "kept", number)
        return
    ask.execute(url, "CREATE TABLE kept (id INT)", *(f"INSERT INTO kept VALUES ({number})" for number in numbers))


def kept(url: str) -> int:
    """How many are stored."""
    if url.startswith(resp.SCHEMES):
        with resp.connected(url) as command:
            return int(command("SCARD", "kept"))
    with ask.connected(url) as cursor:
        cursor.execute("SELECT COUNT(*) FROM kept")
        return int(cursor.fetchone()[0])


def forget(url: str) -> None:
    """Remove them."""
    if url.startswith(resp.SCHEMES):
        with resp.connected(url) as command:
            command("DEL", "kept")
        return
    ask.drop_tables(url, "kept")


@contextmanager
def asking(url: str) -> Iterator[Callable[[], object]]:
    """A question to the server on a connection that is open already."""
    if url.startswith(resp.SCHEMES):
        with resp.connected(url) as command:
            yield partial(command, "PING")
        return
    with ask.connected(url) as cursor:
        yield partial(cursor.execute, "SELECT 1")


def test_a_server_says_the_version_that_it_was_asked_for_by(running: Server, row: ServerRow) -> None:
    said = running.version()
    assert f"{said.rpartition(' ')[2]}.".startswith(f"{row.version}.")
    assert said.lower().startswith(row.product)
    assert running.describe() == f"{said} ({row.name}, {running.origin})"


def test_what_was_committed_survives_a_kill(running: Server) -> None:
    url = running.url
    keep(url, 1, 2)
    for _ in range(2):
        running.kill()
        with pytest.raises(ask.NotAnswering):
            ask.version(url)
        running.restart()
        assert (running.url, kept(url)) == (url, 2)
    forget(url)


def test_a_server_that_runs_is_not_started_twice(running: Server) -> None:
    with pytest.raises(RuntimeError, match=r"restart\(\) comes after kill\(\)"):
        running.restart()


def test_a_paused_server_answers_nobody_until_it_is_resumed(running: Server) -> None:
    with asking(running.url) as question:
        answered = threading.Event()

        def query() -> None:
            question()
            answered.set()

        running.pause()
        thread = threading.Thread(target=query)
        thread.start()
        try:
            assert not answered.wait(0.3)
        finally:
            running.resume()
        assert answered.wait(30)
        thread.join()


def test_two_servers_of_one_row_share_nothing(running: Server, row: ServerRow) -> None:
    with launch(find(row, os.environ, given=False), os.environ) as other:
        assert other.url != running.url
        keep(other.url, 1)
        keep(running.url, 1, 2)
        assert kept(other.url) == 1
        forget(running.url)
        assert kept(other.url) == 1


def test_a_paused_server_can_be_stopped_and_stopped_again(row: ServerRow) -> None:
    with launch(find(row, os.environ, given=False), os.environ) as server:
        server.pause()
        server.stop()
        with pytest.raises(ask.NotAnswering):
            ask.version(server.url)
        server.stop()
        with pytest.raises(ServerUnavailable, match="the server was stopped"):
            server.kill()


OWNER = """
import signal
from litestar_queues_matrix.servers import start
server = start("{name}", given=False)
print(server.url, flush=True)
signal.pause()
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_server_is_gone_when_its_owner_was_killed(row: ServerRow, tmp_path: Path, number: signal.Signals) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER.format(name=row.name)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "LITESTAR_QUEUES_MATRIX_TMP": str(tmp_path)},
    )
    assert owner.stdout is not None
    url = owner.stdout.readline().strip()
    assert url, owner.communicate(timeout=60)[1]
    ask.version(url)
    assert list(tmp_path.iterdir())
    owner.send_signal(number)
    owner.communicate(timeout=60)  # its guardian writes to the same pipe, which ends when the guardian does
    with pytest.raises(ask.NotAnswering):
        ask.version(url)
    assert list(tmp_path.iterdir()) == []


def test_a_forked_child_does_not_stop_the_server(running: Server) -> None:
    child = multiprocessing.get_context("fork").Process(target=running.stop)
    child.start()
    child.join(30)
    assert child.exitcode == 0
    running.version()


def test_a_setting_of_the_servers_own_is_in_force() -> None:
    settings = {"default_transaction_isolation": "serializable"}
    with start(Product.POSTGRESQL, settings=settings) as server, ask.connected(server.url) as cursor:
        cursor.execute("SHOW default_transaction_isolation")
        assert cursor.fetchone()[0] == "serializable"


@pytest.mark.parametrize(("durable", "fsync"), [(False, "off"), (True, "on")])
def test_only_a_durable_server_waits_for_the_disk(durable: bool, fsync: str) -> None:  # noqa: FBT001  # a parameter
    with start(Product.POSTGRESQL, durable=durable, given=False) as server, ask.connected(server.url) as cursor:
        cursor.execute("SHOW fsync")
        assert cursor.fetchone()[0] == fsync


def test_a_server_that_does_not_start_says_why() -> None:
    with pytest.raises(ServerUnavailable, match="nonsense"):
        start(Product.POSTGRESQL, settings={"nonsense": "on"})
