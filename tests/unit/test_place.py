"""A database file that is deleted, replaced, moved or linked while it is open."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from acceptance.database import DRIVERS, queue_backend

from litestar_queues import BackendUnavailableError, StoreReplacedError
from litestar_queues.backends.base import ApartBackend, QueueBackend
from litestar_queues.backends.place import FilePlace
from litestar_queues.records import NewTask

pytestmark = pytest.mark.anyio

DELETED, REPLACED = "was deleted while it was in use", "was replaced by another one while it was in use"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "queues.db").write_text("")
    return tmp_path / "queues.db"


def replace(path: Path) -> None:
    other = path.with_name("other.db")
    other.write_text("")
    other.replace(path)


@pytest.mark.parametrize("form", ["{}", "file:{}", "file:{}?mode=rwc", "file://{}?cache=private"])
@pytest.mark.parametrize(("become", "said"), [(Path.unlink, DELETED), (replace, REPLACED)], ids=["deleted", "replaced"])
def test_a_file_that_is_not_the_one_that_was_opened_is_named(
    path: Path, form: str, become: Callable[[Path], None], said: str
) -> None:
    place = FilePlace(form.format(path))
    place.check("sqlite")
    become(path)
    with pytest.raises(
        StoreReplacedError, match=f"^sqlite: the file '{path}' {said}, and nothing is written: start this"
    ):
        place.check("sqlite")


def test_a_file_that_was_moved_away_is_missing_until_it_is_back(path: Path) -> None:
    place = FilePlace(str(path))
    path.rename(path.with_name("aside.db"))
    with pytest.raises(StoreReplacedError, match=DELETED):
        place.check("sqlite")
    path.with_name("aside.db").rename(path)
    place.check("sqlite")


def test_a_link_that_leads_to_another_file_is_another_file(path: Path) -> None:
    link = path.with_name("link.db")
    link.symlink_to(path)
    place = FilePlace(str(link))
    link.unlink()
    link.symlink_to(path)  # the link is another one, and the file is not
    place.check("sqlite")
    (other := path.with_name("other.db")).write_text("")
    link.unlink()
    link.symlink_to(other)
    with pytest.raises(StoreReplacedError, match=REPLACED):
        place.check("sqlite")


@pytest.mark.parametrize("form", ["queues.db", "file:queues.db"])
def test_a_relative_path_in_another_directory_is_unavailable_and_not_replaced(
    path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(path.parent)
    place = FilePlace(form)
    (elsewhere := path.with_name("elsewhere")).mkdir()
    for _ in range(2):  # without a file of that name there, and with one
        os.chdir(elsewhere)
        with pytest.raises(BackendUnavailableError, match=r"working directory.*configure an absolute path") as raised:
            place.check("sqlite")
        assert not isinstance(raised.value, StoreReplacedError)
        os.chdir(path.parent)
        place.check("sqlite")
        (elsewhere / "queues.db").write_text("")
    path.unlink()
    os.chdir(elsewhere)
    with pytest.raises(StoreReplacedError, match=f"'{path}'"):
        place.check("sqlite")


def test_a_file_that_cannot_be_looked_at_counts_as_unchanged(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = FilePlace(str(path))

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "stat", refuse)
        place.check("sqlite")
        unseen = FilePlace(str(path))
    unseen.check("sqlite")
    replace(path)
    unseen.check("sqlite")


def test_a_path_that_is_too_long_to_look_at_counts_as_unchanged(tmp_path: Path) -> None:
    FilePlace(str(tmp_path / ("x" * 5000))).check("sqlite")


@pytest.fixture(params=DRIVERS)
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> QueueBackend:
    return queue_backend(request.param, str(tmp_path / "store.db")).create_backend()


@contextlib.contextmanager
def by_hand(path: Path) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None, timeout=60)) as connection:
        yield connection


async def test_checkpoints_and_vacuum_leave_the_file_as_it_is(backend: QueueBackend, tmp_path: Path) -> None:
    await backend.open()
    try:
        await backend.enqueue_many([NewTask(id="1", name="x")])
        with by_hand(tmp_path / "store.db") as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            connection.execute("VACUUM")
        await backend.enqueue_many([NewTask(id="2", name="x")])
        assert set(await backend.get(["1", "2"])) == {"1", "2"}
    finally:
        await backend.close()


@pytest.mark.parametrize("become", [Path.unlink, replace], ids=["deleted", "replaced"])
async def test_a_second_client_neither_makes_nor_opens_the_file_that_its_first_one_lost(
    backend: QueueBackend, tmp_path: Path, become: Callable[[Path], None]
) -> None:
    path = tmp_path / "store.db"
    await backend.open()
    assert isinstance(backend, ApartBackend)
    second = backend.apart()
    assert second is not None
    try:
        become(path)
        before = path.read_bytes() if path.exists() else None
        for _ in range(2):
            with pytest.raises(StoreReplacedError):
                await second.open()
        with pytest.raises(StoreReplacedError):
            await backend.enqueue_many([NewTask(id="1", name="x")])
        assert (path.read_bytes() if path.exists() else None) == before
    finally:
        await second.close()
        await backend.close()
