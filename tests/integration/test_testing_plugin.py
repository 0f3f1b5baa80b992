"""What the pytest plugin promises: fixtures when they are used, and nothing otherwise."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from page_lab import STRICT

LAB = str(Path(__file__).parents[1])
HEAVY = ("litestar", "litestar_queues", "msgspec", "sqlalchemy", "sqlspec")


def pytest_run(folder: Path, *options: str, **files: str) -> subprocess.CompletedProcess[str]:
    """A pytest session of its own, as a user has it, with this plugin and anyio's alone."""
    for name, text in files.items():
        (folder / f"{name}.py").write_text(f"import sys\nsys.path.insert(0, {LAB!r})\n{text}")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:litestar_queues_conformance", "-p", "no:cacheprovider"]
    return subprocess.run([*command, *options], cwd=folder, capture_output=True, text=True, check=False, timeout=600)


def test_a_session_without_the_fixtures_imports_neither_litestar_nor_the_library(tmp_path: Path) -> None:
    done = pytest_run(
        tmp_path,
        test_idle=f"def test_idle():\n    assert [one for one in {HEAVY!r} if one in sys.modules] == []\n",
    )
    assert "1 passed" in done.stdout, done.stdout + done.stderr
    listed = pytest_run(tmp_path, "--fixtures", "-v").stdout
    assert "queue_tester -- " in listed
    assert "async_queue_tester -- " in listed


TESTS = """
import asyncio
import pytest
from litestar.testing import AsyncTestClient, TestClient
from shop_lab import make_app, make_service, welcome

def test_sync(queue_tester):
    with TestClient(make_app(in_app_worker=True)) as client:
        client.post("/signup/ada")
        queue_tester.assert_enqueued(welcome, "ada")
        assert queue_tester.drain().completed

@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_async(async_queue_tester):
    async with AsyncTestClient(make_app(in_app_worker=True)) as client:
        await client.post("/signup/ada")
        await welcome.enqueue("bob")
        await async_queue_tester.assert_enqueued(welcome, "ada")
        assert len(await async_queue_tester.drain()) == 2

def test_own_runner(async_queue_tester):
    async def body():
        async with make_service():
            await welcome.enqueue("ada")
            await async_queue_tester.assert_enqueued(welcome, "ada")
    asyncio.run(body())

def test_travelled(queue_tester):
    with TestClient(make_app()):
        queue_tester.travel(3600)
        queue_tester.inline()

def test_afterwards():
    from litestar_queues.worker.hold import IN_APP
    assert not IN_APP()
"""


def test_the_fixtures_serve_sync_tests_anyio_tests_and_tests_with_a_loop_of_their_own(tmp_path: Path) -> None:
    done = pytest_run(tmp_path, *STRICT, test_shop=TESTS)
    assert "5 passed" in done.stdout, done.stdout + done.stderr


def test_a_failing_test_leaves_nothing_held_for_the_next_one(tmp_path: Path) -> None:
    broken = TESTS.replace("queue_tester.inline()", "queue_tester.inline()\n        raise RuntimeError('broken')")
    done = pytest_run(tmp_path, test_shop=broken)
    assert "1 failed, 4 passed" in done.stdout, done.stdout + done.stderr


def test_a_failed_assertion_is_a_failure_with_its_text(tmp_path: Path) -> None:
    wrong = TESTS.replace(
        'queue_tester.assert_enqueued(welcome, "ada")\n        assert queue',
        'queue_tester.assert_enqueued(welcome, "eve")\n        assert queue',
    )
    done = pytest_run(tmp_path, test_shop=wrong)
    assert "AssertionError: welcome(address='eve', language='en') is not enqueued; enqueued instead:" in done.stdout
    assert "address: 'ada', not 'eve'" in done.stdout


def test_a_fixture_of_the_users_own_comes_first(tmp_path: Path) -> None:
    own = "import pytest\n@pytest.fixture\ndef queue_tester():\n    return 7\n"
    done = pytest_run(tmp_path, conftest=own, test_own="def test_own(queue_tester):\n    assert queue_tester == 7\n")
    assert "1 passed" in done.stdout, done.stdout + done.stderr


PARALLEL = """
import pytest
from litestar.testing import TestClient
from shop_lab import aiosqlite, make_app, welcome

@pytest.mark.parametrize("number", range(4))
def test_one(number, queue_tester, tmp_path):
    with TestClient(make_app(aiosqlite(tmp_path))) as client:
        client.post(f"/signup/{number}")
        assert [task.args for task in queue_tester.enqueued()] == [(str(number),)]
        assert len(queue_tester.drain()) == 1
"""


def test_tests_run_side_by_side(tmp_path: Path) -> None:
    done = pytest_run(tmp_path, "-n", "2", test_parallel=PARALLEL)
    assert "4 passed" in done.stdout, done.stdout + done.stderr
